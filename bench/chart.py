# SPDX-License-Identifier: Apache-2.0
"""Small charts as SVG files: bars in groups, and lines with logarithmic axes."""

import math
from pathlib import Path
from xml.sax.saxutils import escape

COLOURS = ("#1f6fb4", "#e08214", "#7a7a7a", "#c0504d", "#5a9e5a", "#8064a2")
STYLE = '<style>text{font:12px sans-serif;fill:#222} .axis{stroke:#888} .grid{stroke:#ddd}</style>'


def text(x, y, words, anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x1, y1, x2, y2, kind):
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def legend(names, x, y):
    parts = []
    for name, colour in zip(names, COLOURS):
        parts += [f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colour}"/>', text(x + 14, y, name)]
        x += 30 + 7 * len(name)
    return parts


def write(path, width, height, parts):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    Path(path).write_text("\n".join([head, STYLE, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>"]) + "\n")


def bars(path, title, groups):
    """groups: [(name, {who: share})], shares of 1"""
    names = list(dict.fromkeys(who for _, shares in groups for who in shares))
    left, right, top, thick = 190, 640, 44, 13
    most = max([1.0, *(share for _, shares in groups for share in shares.values())])
    parts, y = [text(10, 16, title), *legend(names, 10, 34)], top
    for name, shares in groups:
        y += 6
        parts.append(text(left - 8, y + thick * len(shares) / 2 + 4, name, "end"))
        for who, share in shares.items():
            width = (right - left) * share / most
            parts.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{thick - 2}" fill="{COLOURS[names.index(who)]}"/>')
            parts.append(text(left + width + 4, y + thick - 3, f"{100 * share:.0f} %"))
            y += thick
    parts.append(line(left, top, left, y + 4, "axis"))
    write(path, right + 50, y + 12, parts)


def lines(path, panels):
    """panels: [(title, {who: [(x, y)]})], both axes logarithmic, one panel beside the other"""
    size, gap, top = 170, 62, 52
    names = list(dict.fromkeys(who for _, curves in panels for who in curves))
    parts = legend(names, 10, 18)
    for index, (title, curves) in enumerate(panels):
        left = gap + index * (size + gap)
        points = [point for curve in curves.values() for point in curve]
        xs, ys = sorted({x for x, _ in points}), [y for _, y in points]
        decades = range(math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys))) + 1)

        def place(x, y):
            across = math.log(x / xs[0]) / math.log(xs[-1] / xs[0])
            up = (math.log10(y) - decades[0]) / (decades[-1] - decades[0])
            return left + size * across, top + size * (1 - up)

        parts.append(text(left + size / 2, top - 8, title, "middle"))
        for decade in decades:
            y = place(xs[0], 10 ** decade)[1]
            parts += [line(left, y, left + size, y, "grid"), text(left - 5, y + 4, f"{10 ** decade:g}", "end")]
        free = left - size  # where the next label may begin
        for x in xs:
            at, words = place(x, ys[0])[0], f"{x:.3g}"
            if at - 4 * len(words) >= free:
                parts.append(text(at, top + size + 16, words, "middle"))
                free = at + 4 * len(words) + 6
        parts += [line(left, top, left, top + size, "axis"), line(left, top + size, left + size, top + size, "axis")]
        for who, curve in curves.items():
            colour = COLOURS[names.index(who)]
            track = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in curve)
            parts.append(f'<polyline points="{track}" fill="none" stroke="{colour}" stroke-width="2"/>')
    write(path, gap + len(panels) * (size + gap), top + size + 28, parts)
