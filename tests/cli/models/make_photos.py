#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the small photos beside it; kept in the repository, so that testing the program needs no Pillow."""

from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent / "photos"


def main():
    (HERE / "more").mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    for name in ("a.png", "b.jpg", "more/c.JPG", "more/d.jpeg"):
        y, x = np.mgrid[0:10, 0:12]
        slope = random.uniform(-8, 8, (2, 3))
        pixels = 128 + np.multiply.outer(x - 6, slope[0]) + np.multiply.outer(y - 5, slope[1])
        image = Image.fromarray(np.clip(pixels + random.normal(0, 20, pixels.shape), 0, 255).astype(np.uint8))
        image.save(HERE / name, "PNG" if name.endswith("png") else "JPEG")
    (HERE / "labels.txt").write_text("not a photo, and not named like one\n")


if __name__ == "__main__":
    main()
