"""Pages of the report with names that others have chosen, which may hold code, and with numbers of every kind."""

from __future__ import annotations

from pathlib import Path

import altair as alt
import numpy as np
import pytest
import report_pages
from browser import opened, wait_until_shown
from playwright.sync_api import Browser

from deepfakemnist.report.charts import ROWS
from deepfakemnist.report.pages import render, write_page
from deepfakemnist.report.parts import Block, Chart, Column, Lead, Table, is_number_column, sort_key

EVIL = [
    '<img src="x" onerror="window.hacked=1">',
    "</script><script>window.hacked=2</script>",
    '"><svg onload="window.hacked=3">',
    "' onmouseover='window.hacked=4",
    "{{ 7 * 7 }}",
]


def hostile_page(path: Path) -> Path:
    """Write a page whose every text is code."""
    rows = [(name, name, number) for number, name in enumerate(EVIL)]
    drawing = alt.Chart(ROWS).mark_bar().encode(x="name:N", y="count:Q", tooltip=["name:N", "count:Q"])
    chart = Chart(EVIL[0], drawing, [{"name": name, "count": 1 + len(name)} for name in EVIL], EVIL[2], EVIL[1])
    parts = [
        Table(EVIL[1], ("video", EVIL[0], EVIL[2]), rows, note=EVIL[0]),
        Table("Long", ("video", "text", "number"), rows * 60),
        chart,
        Block("Sentences", render("bullets.html.j2", sentences=EVIL)),
    ]
    write_page(path, EVIL[1], Lead(*EVIL[:3]), parts, EVIL)
    return path


@pytest.mark.slow
def test_names_that_hold_code_are_shown_and_never_run(chromium: Browser, tmp_path: Path) -> None:
    path = hostile_page(tmp_path / "page.html")
    with opened(chromium, path) as found:
        page = found.page
        wait_until_shown(page)
        for summary in page.locator("details.data > summary").all():
            summary.click()
        page.locator(".data table tbody tr").first.wait_for()
        for mark in page.locator(".drawing path[aria-roledescription=bar], .drawing .mark-rect path").all():
            mark.hover(force=True)
        for cell in page.locator("td").all()[:30]:
            cell.hover()
        assert page.evaluate("window.hacked") is None
        assert EVIL[0] in page.locator("table").nth(1).inner_text()


def test_every_text_of_a_page_is_escaped(tmp_path: Path) -> None:
    text = hostile_page(tmp_path / "page.html").read_text(encoding="utf-8")
    assert not any(code in text for code in ('<img src="x"', "<script>window", "<svg onload", "' onmouseover"))
    assert "{{ 7 * 7 }}" in text and report_pages.text(tmp_path / "page.html").count(EVIL[0]) >= 4


def test_a_long_table_is_complete_in_the_page_though_the_browser_unpacks_it(tmp_path: Path) -> None:
    rows = [(f"v{number}", None, number / 3) for number in range(300)]
    write_page(tmp_path / "page.html", "Long", "Rows.", [Table("Rows", ("video", "nothing", "number"), rows)])
    (found,) = report_pages.tables(tmp_path / "page.html").values()
    assert found[0] == ["video", "nothing", "number"] and len(found) == 301
    assert found[300] == ["v299", "", str(299 / 3)]


def test_the_same_page_has_the_same_bytes(tmp_path: Path) -> None:
    pages = [hostile_page(tmp_path / name).read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]


def test_numbers_of_numpy_and_those_that_are_none_reach_a_chart(tmp_path: Path) -> None:
    rows = [{"x": np.int64(3), "y": np.float32(0.5)}, {"x": 4, "y": float("nan")}]
    drawing = alt.Chart(ROWS).mark_point().encode(x="x:Q", y="y:Q")
    write_page(tmp_path / "page.html", "Chart", "Points.", [Chart("Points", drawing, rows, "Two points.")])
    assert report_pages.charts(tmp_path / "page.html")["Points"] == [{"x": 3, "y": 0.5}, {"x": 4, "y": None}]


@pytest.mark.parametrize(
    ("cell", "key"),
    [
        ("94.3 [91.0–97.1] ± 0.8 / 94.32", 94.3), ("≈ 12", 12.0), ("< 0.001", 0.001), ("+1.25", 1.25), ("−3", -3.0),
        ("1,234", 1234.0), (7, 7.0), ("1e-3", 0.001), ("–", None), ("c23", None), ("3d", None), ("12:30", None),
        (True, None), (None, None),
    ],
)  # fmt: skip
def test_cells_are_sorted_by_the_number_that_they_start_with(cell: object, key: float | None) -> None:
    assert sort_key(cell) == key


def test_names_that_look_like_numbers_are_no_numbers() -> None:
    assert not is_number_column(Column("person"), ["129", "130"])
    assert not is_number_column(Column("version", is_name=True), ["3.11"])
    assert is_number_column(Column("people"), ["129", "–", ""])
    assert not is_number_column(Column("accuracy %"), ["–", ""]), "a column of nothing is none of numbers"
    assert not is_number_column(Column("accuracy %"), ["94", "not known"])
