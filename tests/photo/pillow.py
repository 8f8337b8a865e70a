#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Photos decoded and resized against Pillow, and damaged ones refused with a sentence.

    pillow.py TOOL_PHOTO"""

import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

try:
    import numpy as np
    from PIL import Image
except ImportError as error:
    print(f"SKIPPED: {error.name} is not installed; ./setup.sh test installs it")
    sys.exit(77)

MODES = {"rgb": "RGB", "grey": "L", "palette": "P", "alpha": "RGBA", "grey_alpha": "LA", "bits": "1"}


def picture(height, width):
    """Smooth colours and some noise, so that JPEG has something to do."""
    random = np.random.default_rng(height * width)
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 11)], axis=-1)
    return Image.fromarray(np.clip(128 + 90 * waves + random.normal(0, 12, waves.shape), 0, 255).astype(np.uint8))


def run(tool, path, height=0, width=0):
    """-> (status, sentence or array [3, h, w])"""
    with tempfile.NamedTemporaryFile() as out:
        done = subprocess.run([tool, str(path), str(height), str(width), out.name], capture_output=True, text=True,
                              timeout=60)
        if done.returncode != 0:
            return done.returncode, done.stdout.strip()
        own = [int(n) for n in done.stdout.split()]
        return 0, np.fromfile(out.name, np.float32).reshape(3, height or own[0], width or own[1])


def expected(path, size=None):
    with Image.open(path) as image:
        image = image.convert("RGB")
        if size is not None:
            image = image.resize(size[::-1], Image.Resampling.BILINEAR)
        return np.asarray(image).transpose(2, 0, 1).astype(np.float32)


def write_photos(folder):
    image = picture(61, 83)
    for name, mode in MODES.items():
        image.convert(mode).save(folder / f"{name}.png")
    Image.fromarray((np.asarray(image.convert("L")).astype(np.uint16) * 257)).save(folder / "deep.png")
    image.save(folder / "interlaced.png", interlace=1)
    image.save(folder / "plain.jpg", quality=90)
    image.save(folder / "subsampled.jpg", quality=60, subsampling=2)
    image.save(folder / "progressive.jpg", progressive=True)
    image.convert("L").save(folder / "grey.jpg")
    picture(1, 1).save(folder / "one.png")


def check_decoding(tool, folder):
    for path in sorted(folder.iterdir()):
        status, found = run(tool, path)
        assert status == 0, f"{path.name}: {found}"
        if path.name == "deep.png":  # Pillow cuts 16 bits off instead of scaling them
            assert np.abs(found[0] - np.asarray(picture(61, 83).convert("L"))).max() <= 1, path.name
            continue
        assert np.abs(found - expected(path)).max() <= (1 if path.suffix == ".jpg" else 0), path.name


def check_resizing(tool, path):
    for size in ((61, 83), (32, 32), (7, 50), (200, 100), (61, 20), (1, 1)):
        status, found = run(tool, path, *size)
        assert status == 0 and np.abs(found - expected(path, size)).max() <= 1.01, (size, found)


def png_header(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
            + struct.pack(">I", 1000) + b"IDAT")


def check_refusals(tool, folder):
    good_jpeg, good_png = (folder / "plain.jpg").read_bytes(), (folder / "rgb.png").read_bytes()
    size_at = good_jpeg.index(b"\xff\xc0") + 5
    picture(9, 9).convert("CMYK").save(folder / "cmyk.jpg")
    cases = {"text.jpg": (b"not a picture", 4, "neither JPEG nor PNG"), "empty.png": (b"", 4, "empty"),
             "cut.jpg": (good_jpeg[: len(good_jpeg) // 2], 4, "damaged JPEG"),
             "cut.png": (good_png[: len(good_png) // 2], 4, "damaged PNG"),
             "head.jpg": (good_jpeg[:4], 4, "damaged JPEG"), "head.png": (good_png[:8], 4, "damaged PNG"),
             "huge.jpg": (good_jpeg[:size_at] + b"\xff\xdc\xff\xdc" + good_jpeg[size_at + 4:], 7, "100 megapixels"),
             "huge.png": (png_header(60000, 60000), 7, "100 megapixels"),
             "none.png": (png_header(0, 5), 4, "damaged PNG"),
             "cmyk.jpg": ((folder / "cmyk.jpg").read_bytes(), 5, "CMYK")}
    for name, (content, status, words) in cases.items():
        (folder / name).write_bytes(content)
        found = run(tool, folder / name)
        assert found[0] == status and words in found[1] and name in found[1], (name, found)
    for name, good in (("flipped.jpg", good_jpeg), ("flipped.png", good_png)):  # any status, but no crash
        random = np.random.default_rng(0)
        for _ in range(60):
            damaged = bytearray(good)
            for at in random.integers(0, len(good), 3):
                damaged[at] = int(random.integers(256))
            (folder / name).write_bytes(bytes(damaged))
            assert run(tool, folder / name)[0] in (0, 4, 5, 7), damaged.hex()


def main():
    tool = sys.argv[1]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_photos(folder)
        check_decoding(tool, folder)
        check_resizing(tool, folder / "rgb.png")
        check_refusals(tool, folder)
    print("photos are decoded and resized as by Pillow; damaged ones are refused")


if __name__ == "__main__":
    main()
