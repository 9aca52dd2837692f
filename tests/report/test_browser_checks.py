"""What the checks in a browser notice, on pages of a few lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import accessibility, cut_off, opened
from playwright.sync_api import Browser


def page(folder: Path, body: str) -> Path:
    path = folder / "page.html"
    path.write_text(f'<!DOCTYPE html><html lang="en"><head><title>A page</title></head><body>{body}</body></html>')
    return path


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("<script>console.error('no rows')</script>", "console: no rows"),
        ("<script>rows.sort()</script>", "exception: rows is not defined"),
        ("<img src='https://example.org/a.png' alt='a'>", "request to a host: https://example.org/a.png"),
        ("<img src='missing.png' alt='a'>", "request failed: file://.*missing.png: net::ERR_FILE_NOT_FOUND"),
        (
            """<iframe title="f" src="data:text/html,<script>fetch('https://example.org/b')</script>"></iframe>""",
            "request to a host: https://example.org/b",
        ),
    ],
)
def test_a_page_that_complains_or_asks_a_host_fails(
    chromium: Browser, tmp_path: Path, body: str, complaint: str
) -> None:
    with pytest.raises(AssertionError, match=complaint), opened(chromium, page(tmp_path, body)) as found:
        found.page.wait_for_timeout(200)


GOOD = """
<h1 id="top">Title</h1><img alt="a dot" src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">
<p>Words</p><a href="#top" style="color: #00e">up</a><table><tr><th>a</th></tr><tr><td>1</td></tr></table>
<script>console.warn("slow"); new Image().src = URL.createObjectURL(new Blob(["<svg xmlns='http://www.w3.org/2000/svg'/>"],
  {type: "image/svg+xml"}))</script>
"""


def test_a_page_without_fault_passes(chromium: Browser, tmp_path: Path) -> None:
    with opened(chromium, page(tmp_path, GOOD)) as found:
        found.page.wait_for_timeout(200)
        assert accessibility(found.page.main_frame) == []
        assert cut_off(found.page) == []


def test_missing_texts_and_low_contrast_are_found_in_frames_too(chromium: Browser, tmp_path: Path) -> None:
    fault = "<html lang='en'><title>t</title><img src='data:,'><p style='color:silver'>pale</p><button></button>"
    with opened(chromium, page(tmp_path, f'{GOOD}<iframe title="f" src="data:text/html,{fault}"></iframe>')) as found:
        found.page.frames[1].wait_for_selector("button")
        lines = accessibility(found.page.frames[1])
        assert accessibility(found.page.main_frame) == []
    assert {line.split(":")[0] for line in lines} == {"image-alt", "color-contrast", "button-name"}


def test_the_preferred_scheme_reaches_the_page(chromium: Browser, tmp_path: Path) -> None:
    style = (
        "<style>@media (prefers-color-scheme: dark) { body { background: #000 } } p { color: #333 }</style><p>words</p>"
    )
    for scheme, rules in {"light": [], "dark": ["color-contrast"]}.items():
        with opened(chromium, page(tmp_path, style), scheme=scheme) as found:
            assert [line.split(":")[0] for line in accessibility(found.page.main_frame)] == rules


def test_what_is_wider_than_the_page_is_named(chromium: Browser, tmp_path: Path) -> None:
    wide = "<table id='wide'><tr>" + "<td>12345678901234567890</td>" * 12 + "</tr></table>"
    with opened(chromium, page(tmp_path, wide), width=1000) as found:
        lines = cut_off(found.page)
        assert any(line.startswith("table#wide") for line in lines) and any(line.startswith("page") for line in lines)
    with opened(chromium, page(tmp_path, f"<div style='overflow-x: auto'>{wide}</div>"), width=1000) as found:
        assert [line.split(" ")[0] for line in cut_off(found.page)] == ["table#wide"]
        assert cut_off(found.page, tables=False) == []
    with opened(chromium, page(tmp_path, "<p style='width: 1200px'>long</p>"), width=1000) as found:
        assert [line.split(" ")[0] for line in cut_off(found.page)] == ["p", "page"]
