"""What the report's first page adds to Snakemake's report: the overview opens first, and pages of any size open."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from browser import opened
from playwright.sync_api import Browser, expect

from deepfakemnist.report.pages import write_page

pytestmark = [pytest.mark.slow, pytest.mark.workflow]

ROOT = Path(__file__).parents[2]
_WORKFLOW = """
report: "{description}"
rule pages:
    output:
        report("results/report/overview.html", category="1 Overview", labels={{"what": "overview"}}),
        report("results/report/gallery.html", category="2 Gallery", labels={{"what": "gallery"}}),
        report("results/report/dataset.html", category="3 Dataset", labels={{"what": "summary"}}),
        report("results/report/ledger.html", category="3 Dataset", labels={{"what": "ledger"}}),
    shell: "false"
"""
_LINK = '<a href="gallery.html" data-page="gallery.html">gallery</a><script>{script}</script>'


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Snakemake's report of four pages, one of 3 MB."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "Snakefile").write_text(_WORKFLOW.format(description=ROOT / "workflow/report/workflow.rst"))
    pages = folder / "results/report"
    pages.mkdir(parents=True)
    script = (ROOT / "src/deepfakemnist/report/templates/page.js").read_text(encoding="utf-8")
    (pages / "overview.html").write_text(f"<h1>Overview</h1>{_LINK.format(script=script)}")
    (pages / "gallery.html").write_text(f"<h1>Gallery</h1><p>end: {'x' * 3_000_000}</p>")
    for name in ("Dataset", "Ledger"):
        write_page(pages / f"{name.lower()}.html", name, "Shows something.", [])
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--report", "report.html"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "report.html"


def test_the_overview_opens_first_and_links_open_pages_beyond_what_a_data_url_may_hold(
    chromium: Browser, report: Path
) -> None:
    with opened(chromium, report) as found:
        page = found.page.frame_locator("iframe")
        expect(page.get_by_role("heading")).to_have_text("Overview")
        page.get_by_role("link", name="gallery").click()
        expect(page.get_by_role("heading")).to_have_text("Gallery")
        expect(page.get_by_text("end: xxx")).to_be_visible()


def test_a_category_of_one_page_opens_it_and_a_name_in_a_list_opens_its_page(chromium: Browser, report: Path) -> None:
    with opened(chromium, report) as found:
        heading = found.page.frame_locator("iframe").get_by_role("heading")
        expect(heading).to_have_text("Overview")
        found.page.get_by_text("2 Gallery", exact=True).click()
        expect(heading).to_have_text("Gallery")
        found.page.locator("nav").get_by_text("Results", exact=True).click()
        found.page.get_by_text("3 Dataset", exact=True).click()
        expect(heading).to_have_text("Gallery")  # a list of pages opens none of them
        found.page.locator("nav").get_by_text("ledger", exact=True).click()
        expect(heading).to_have_text("Ledger")
        found.page.frame_locator("iframe").get_by_role("link", name="Overview").click()
        expect(heading).to_have_text("Overview")


def test_on_a_phone_the_menu_lies_over_the_page_and_goes_when_a_page_opens(chromium: Browser, report: Path) -> None:
    with opened(chromium, report, width=420) as found:
        frame = found.page.locator("iframe")
        heading = found.page.frame_locator("iframe").get_by_role("heading")
        expect(heading).to_have_text("Overview")
        found.page.locator("div.fixed a").first.click()
        menu = found.page.locator("nav.h-screen")
        expect(menu).to_be_in_viewport()
        width = frame.bounding_box()["width"]  # type: ignore[index]
        assert width == 420, "the menu squeezes the page"
        found.page.get_by_text("2 Gallery", exact=True).click()
        expect(heading).to_have_text("Gallery")
        expect(menu).to_have_class(re.compile(r"\bw-0\b"))
