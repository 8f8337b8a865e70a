#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The HTML report of networks that are hard to draw.

    test_page.py ZEROQ                   valid HTML, every section, nothing loaded, hostile names harmless
    test_page.py ZEROQ --browser         the same pages in a headless Chromium: no error, hover, sorting, phone, paper
    test_page.py ZEROQ --look FOLDER     screenshots of the pages, and of reports given as further arguments
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

try:
    import html5lib
    import onnx

    import browser
    import pages
except ImportError as missing:
    print(f"SKIPPED: the HTML report, since Python has no {missing.name}")
    sys.exit(77)

SECTIONS = ["frontier", "layers", "activations", "images", "statistics", "float", "origin"]
MOST_BYTES = 2_000_000
XHTML = "{http://www.w3.org/1999/xhtml}"


def text_of(element):
    return "".join(element.itertext())


# ---- without a browser

def check_valid(page, tree):
    parser = html5lib.HTMLParser(strict=False, namespaceHTMLElements=True)
    parser.parse(page)
    errors = [f"{code} at {place}: {page.decode().splitlines()[place[0] - 1][:200]}" for place, code, _ in parser.errors]
    assert not errors, f"{len(errors)} errors of HTML, such as {errors[0]}"
    ids = [e.get("id") for e in tree.iter() if e.get("id")]
    assert len(ids) == len(set(ids)), f"an id occurs twice in {ids}"


def check_sections(page, tree):
    found = [e.get("id") for e in tree.iter(f"{XHTML}section")]
    assert found == SECTIONS, f"sections {found}"
    for section in tree.iter(f"{XHTML}section"):
        assert len(text_of(section)) > 40, f"section {section.get('id')} is empty"


def check_alone(page, tree):
    """Nothing is loaded: no address but data: and those within the page."""
    assert len(page) < MOST_BYTES, f"{len(page)} bytes"
    for element in tree.iter():
        for key, value in element.attrib.items():
            assert not key.startswith("on"), f"{element.tag} has {key}"
            if key in ("src", "href", "srcset", "action", "data", "poster"):
                assert value.startswith(("data:image/png;base64,", "#")), f"{element.tag} {key}={value[:80]!r}"
    style = "".join(text_of(e) for e in tree.iter(f"{XHTML}style"))
    assert "url(" not in style and "@import" not in style
    assert len(list(tree.iter(f"{XHTML}script"))) == 1
    assert b"Content-Security-Policy" in page


def check_names(page, tree):
    """Hostile names are shown as they are, but for what HTML can't hold, and make no element."""
    tags = {re.sub("{.*}", "", e.tag) for e in tree.iter() if isinstance(e.tag, str)}
    known = set("""html head meta title style body header p h1 h2 h3 h4 b small dl div dt dd nav a main section svg g rect
                   circle line path polyline text span i table thead tbody tr th td ul li details summary img br pre
                   script""".split())
    assert tags <= known, f"elements {tags - known}"
    shown = re.sub("[\u202e\u0007]", "\ufffd", pages.HOSTILE)
    names = [text_of(e) for e in tree.iter(f"{XHTML}td") if e.get("class") == "name"]
    assert any(name.startswith(shown) for name in names), f"{shown!r} is none of {names}"
    titles = [text_of(e) for e in tree.iter() if isinstance(e.tag, str) and e.tag.endswith("title")]
    assert any(shown in title for title in titles)
    assert any("not \ufffd" in text_of(e) for e in tree.iter(f"{XHTML}h4")), "what isn't UTF-8 is shown nowhere"


def check_page(name, path):
    page = path.read_bytes()
    tree = html5lib.parse(page, treebuilder="etree")
    for check in (check_valid, check_sections, check_alone):
        check(page, tree)
    if name.startswith("<"):
        check_names(page, tree)
    return f"{len(page) / 1000:.0f} KB"


# ---- in a browser

def check_quiet(view):
    assert not view.messages, f"console: {view.messages}"


def check_fits(view, width):
    found = view.evaluate("document.documentElement.scrollWidth")
    assert found <= width, f"the page is {found} pixels wide on a screen of {width}"
    flat = view.evaluate("[...document.querySelectorAll('section')].filter(s => s.offsetHeight < 60).map(s => s.id).join()")
    assert flat == "", f"sections without height: {flat}"


def check_tip(view):
    """The text under the pointer is that of the mark, and goes away beside it."""
    x, y = view.evaluate("""(() => { const mark = document.querySelector('#layers .spot');
        mark.scrollIntoView({block: 'center'}); const r = mark.querySelector('.under').getBoundingClientRect();
        return [r.x + r.width / 2, r.y + 9]; })()""")
    view.move(x, y)
    tip = view.evaluate("(t => t.hidden ? '' : t.textContent)(document.getElementById('tip'))")
    assert tip.startswith("1. ") and "bits: " in tip, f"under the pointer: {tip!r}"
    view.move(2, 2)
    assert view.evaluate("document.getElementById('tip').hidden")


def check_sorting(view):
    sort = "document.querySelectorAll('#layers th')[%d].querySelector('button').click()"
    column = "[...document.querySelectorAll('#layers tbody tr')].map(r => Number(r.cells[%d].dataset.v))"
    view.evaluate(sort % 2)
    bits = view.evaluate(column % 2)
    assert bits == sorted(bits, reverse=True), f"sorted by bits: {bits}"
    view.evaluate(sort % 2)
    assert view.evaluate(column % 2) == sorted(bits)
    assert view.evaluate("document.querySelectorAll('#layers th')[2].getAttribute('aria-sort')") == "ascending"


def check_in_browser(view, path):
    for width in (1280, 390):
        for dark in (False, True):
            view.open(path, width, dark)
            check_quiet(view)
            check_fits(view, width)
    view.open(path)
    check_tip(view)
    check_sorting(view)
    check_quiet(view)
    pdf = view.pdf()
    n_pages = len(re.findall(rb"/Type\s*/Page[^s]", pdf))
    assert pdf.startswith(b"%PDF") and n_pages >= 1
    return f"{n_pages} pages on paper"


def look(view, path, folder):
    for name, width, dark in (("wide", 1280, False), ("dark", 1280, True), ("phone", 390, False)):
        view.open(path, width, dark)
        view.screenshot(folder / f"{path.stem}-{name}.png")
    (folder / f"{path.stem}.pdf").write_bytes(view.pdf())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("zeroq", type=Path)
    parser.add_argument("--browser", action="store_true", help="check in a headless Chromium")
    parser.add_argument("--look", type=Path, metavar="FOLDER", help="write screenshots")
    parser.add_argument("reports", nargs="*", type=Path, help="with --look: further reports")
    arguments = parser.parse_args()
    program = browser.find()
    if (arguments.browser or arguments.look) and program is None:
        print(f"SKIPPED: the HTML report in a browser, since none of {', '.join(browser.NAMES)} is installed")
        sys.exit(77)
    view = browser.Browser(program) if arguments.browser or arguments.look else None
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name in pages.CASES:
            path = pages.make(arguments.zeroq.resolve(), Path(scratch), name)
            try:
                remark = check_in_browser(view, path) if arguments.browser else check_page(name, path)
                print(f"ok      {name}: {remark}")
            except AssertionError as found:
                failed += 1
                print(f"FAILED  {name}: {found}")
            if arguments.look:
                look(view, path, arguments.look)
    for path in arguments.reports if arguments.look else []:
        look(view, path.resolve(), arguments.look)
    if view is not None:
        view.close()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
