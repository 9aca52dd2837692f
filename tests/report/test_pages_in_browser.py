"""Pages of the report as their readers use them, in Chromium: tables, charts, keyboard, contrast, narrow windows."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import altair as alt
import pytest
from browser import accessibility, cut_off, opened, wait_until_shown
from playwright.sync_api import Browser, Locator, Page, expect

from deepfakemnist.report.charts import ROWS
from deepfakemnist.report.pages import write_page
from deepfakemnist.report.parts import Chart, Lead, Table

pytestmark = pytest.mark.slow

LEAD = Lead("Detectors and people.", "A click on a header sorts.", "Numbers of a test mean nothing.")
PEOPLE = [(number, ("yaw", "pitch", "mouth")[number % 3], f"{number % 17 + 40.5:.1f}") for number in range(100, 160)]
ACCURACY = [
    {"action": action, "quality": quality, "accuracy, %": 90.0 - 7 * place, "videos": 40}
    for action in ("yaw", "pitch", "mouth")
    for place, quality in enumerate(("raw", "c23", "c40"))
]
TABLE = Table("People", ["person", "action", "accuracy, %"], PEOPLE)
WORDS = "rejected: the face covers less than a tenth of the frame, and the head turns by more than thirty degrees"
WIDE = Table(
    "Ledger",
    ["video_id", "person", "stage", "status", "reason", "detail", "frames", "fps", "width, px", "height, px"],
    [(f"clip-{number:04}", "129", "crop", "rejected", "no_face", WORDS, 250, 25.0, 640, 480) for number in range(12)],
)


def chart() -> Chart:
    place = alt.Chart(ROWS).encode(x="action:N", xOffset="quality:N", y=alt.Y("accuracy, %:Q"))
    chosen = alt.param("action", bind=alt.binding_select(options=["all", "yaw"], name="action "), value="all")
    bars = place.mark_bar().encode(color="quality:N").transform_filter("action == 'all' || datum.action == action")
    drawing = (bars + alt.Chart(ROWS).mark_rule().encode(y=alt.datum(50))).add_params(chosen)
    return Chart("Accuracy", drawing, ACCURACY, "Bars of accuracy by action and quality, all above 70 %.", "n = 40.")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Page with a table of 60 rows, a chart and a table of long words."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(path, "Detectors", LEAD, [TABLE, chart(), WIDE], ["The people were made by a computer."])
    return path


@pytest.fixture
def shown(chromium: Browser, page: Path) -> Iterator[Page]:
    with opened(chromium, page) as found:
        wait_until_shown(found.page)
        yield found.page


def section(page: Page, title: str) -> Locator:
    return page.locator("section", has=page.get_by_role("heading", name=title, exact=True))


def column(box: Locator, place: int) -> list[str]:
    return box.locator(f"tbody tr td:nth-child({place})").all_inner_texts()


def test_a_table_sorts_by_click_and_by_keyboard(shown: Page) -> None:
    people = section(shown, "People")
    accuracy = people.get_by_role("columnheader", name="accuracy, %")
    accuracy.click()
    expect(accuracy).to_have_attribute("aria-sort", "ascending")
    first = [float(cell) for cell in column(people, 3)]
    assert first == sorted(first) and first[0] == 40.5
    accuracy.get_by_role("button").focus()
    shown.keyboard.press("Enter")
    expect(accuracy).to_have_attribute("aria-sort", "descending")
    assert float(column(people, 3)[0]) == 56.5


def test_a_table_is_searched_and_paged(shown: Page) -> None:
    people = section(shown, "People")
    assert len(column(people, 1)) == 25
    expect(people.get_by_text("1 to 25 of 60 rows")).to_be_visible()
    people.get_by_role("link", name="Next").click()
    assert column(people, 1)[0] == "125"
    people.get_by_role("searchbox").fill("129")
    expect(people.locator("tbody tr")).to_have_count(1)
    assert column(people, 1) == ["129"]


def test_ids_are_text_and_measurements_are_numbers(shown: Page) -> None:
    people = section(shown, "People")
    aligned = [
        people.locator(f"tbody tr:first-child td:nth-child({place})").evaluate("one => getComputedStyle(one).textAlign")
        for place in (1, 2, 3)
    ]
    assert aligned == ["left", "left", "right"]


def saved(page: Page, press: Callable[[], None]) -> str:
    with page.expect_download() as download:
        press()
    return download.value.path().read_text(encoding="utf-8")


def test_a_table_is_saved_with_all_rows_whatever_is_shown(shown: Page) -> None:
    people = section(shown, "People")
    people.get_by_role("searchbox").fill("129")
    text = saved(shown, people.get_by_role("button", name="Save people as CSV").click)
    header, *rows = csv.reader(text.splitlines())
    assert header == ["person", "action", "accuracy, %"]
    assert rows == [[str(cell) for cell in row] for row in PEOPLE]


def test_a_chart_has_marks_and_its_data_open_and_are_saved(shown: Page) -> None:
    accuracy = section(shown, "Accuracy")
    assert accuracy.locator("svg g.mark-rect.role-mark path").count() == len(ACCURACY)
    assert "quality" in accuracy.locator("svg").first.text_content()
    drawing = accuracy.get_by_role("img", name="Bars of accuracy by action and quality, all above 70 %.")
    assert drawing.bounding_box()["width"] > 600
    accuracy.get_by_role("combobox", name="action").select_option("yaw")
    expect(accuracy.locator("svg g.mark-rect.role-mark path")).to_have_count(3)
    assert drawing.bounding_box()["width"] > 600
    accuracy.get_by_text("Data (9 rows)").click()
    accuracy.get_by_role("table").wait_for()
    assert column(accuracy, 3) == [str(row["accuracy, %"]).removesuffix(".0") for row in ACCURACY]
    text = saved(shown, accuracy.get_by_role("button", name="Save accuracy as JSON").click)
    assert json.loads(text) == ACCURACY


def stops(page: Page) -> list[str]:
    """Return what the Tab key reaches, in turn."""
    found: list[str] = []
    for _ in range(120):
        page.keyboard.press("Tab")
        name = page.evaluate(
            """() => {
              const one = document.activeElement;
              if (one === document.body) return "";
              const name = one.getAttribute("aria-label") ?? one.textContent.trim();
              const part = one.closest("section")?.id, role = one.getAttribute("role") ?? one.tagName.toLowerCase();
              return [part, name, role].join(" ");
            }"""
        )
        if not name or found[:1] == [name]:
            break
        found.append(name)
    return found


def test_everything_is_reached_by_the_tab_key(shown: Page) -> None:
    reached = stops(shown)
    for part, what in {
        ("people", "accuracy, %"), ("people", "input"), ("people", "Save people as CSV"), ("people", "Next"),
        ("accuracy", "Data (9 rows)"), ("ledger", "reason"),
    }:  # fmt: skip
        assert any(name.startswith(part + " ") and what in name for name in reached), (part, what, reached)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_has_contrast_and_names_for_those_who_do_not_see_it(chromium: Browser, page: Path, scheme: str) -> None:
    with opened(chromium, page, scheme=scheme) as found:
        wait_until_shown(found.page)
        section(found.page, "Accuracy").get_by_text("Data (9 rows)").click()
        section(found.page, "Accuracy").get_by_role("table").wait_for()
        assert accessibility(found.page.main_frame) == []
        # axe-core passes over the words of drawings.
        paper, *inks = found.page.evaluate(
            """() => [
              getComputedStyle(document.body).backgroundColor,
              ...Array.from(document.querySelectorAll("svg text"), one => getComputedStyle(one).fill),
            ].map(colour => colour.match(/[0-9.]+/g).map(Number))"""
        )
        assert inks and min(contrast(ink, paper) for ink in inks) >= 4.5


def contrast(one: list[float], other: list[float]) -> float:
    """Return the contrast of two colours, as WCAG 2.2 defines it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: list[float]) -> float:
    parts = [part / 255 / 12.92 if part <= 10.3 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@pytest.mark.parametrize(("width", "tables"), [(1000, True), (420, False)])
def test_nothing_is_cut_off(chromium: Browser, page: Path, width: int, tables: bool) -> None:
    """On a phone, a wide table scrolls in its own box."""
    with opened(chromium, page, width=width) as found:
        wait_until_shown(found.page)
        assert cut_off(found.page, tables=tables) == []


def test_a_hundred_thousand_rows_open_sort_and_are_found(
    chromium: Browser, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    rows = [(f"clip-{number}", number % 1000, "yaw", f"{number / 1000:.3f}") for number in range(100_000)]
    write_page(tmp_path / "ledger.html", "Ledger", LEAD, [Table("All", ["video_id", "person", "action", "s"], rows)])
    start = time.monotonic()
    with opened(chromium, tmp_path / "ledger.html") as found:
        wait_until_shown(found.page)
        ready = time.monotonic() - start
        everything = section(found.page, "All")
        expect(everything.get_by_text("1 to 25 of 100,000 rows")).to_be_visible()
        for first in ("0.000", "99.999"):
            everything.locator("thead th:nth-child(4)").click()
            expect(everything.locator("tbody tr:first-child td:nth-child(4)")).to_have_text(first)
        everything.get_by_role("searchbox").fill("clip-54321")
        expect(everything.locator("tbody tr")).to_have_count(1)
        assert column(everything, 4) == ["54.321"]
        size, found_after = (tmp_path / "ledger.html").stat().st_size / 1e6, time.monotonic() - start
    record_property("log", f"{size:.1f} MB: shown after {ready:.1f} s, sorted and found after {found_after:.1f} s")
    assert ready < 60
