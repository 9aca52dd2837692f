"""What the report's first page adds to Snakemake's report: the overview opens first, and pages of any size open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from browser import opened
from playwright.sync_api import Browser, expect

pytestmark = [pytest.mark.slow, pytest.mark.workflow]

ROOT = Path(__file__).parents[2]
_WORKFLOW = """
report: "{description}"
rule pages:
    output:
        report("results/report/overview.html", category="1 Overview", labels={{"what": "overview"}}),
        report("results/report/gallery.html", category="2 Gallery", labels={{"what": "gallery"}}),
    shell: "false"
"""
_LINK = '<a href="gallery.html" data-page="gallery.html">gallery</a><script>{script}</script>'


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Snakemake's report of two pages, the second of 3 MB."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "Snakefile").write_text(_WORKFLOW.format(description=ROOT / "workflow/report/workflow.rst"))
    pages = folder / "results/report"
    pages.mkdir(parents=True)
    script = (ROOT / "src/deepfakemnist/report/templates/page.js").read_text(encoding="utf-8")
    (pages / "overview.html").write_text(f"<h1>Overview</h1>{_LINK.format(script=script)}")
    (pages / "gallery.html").write_text(f"<h1>Gallery</h1><p>end: {'x' * 3_000_000}</p>")
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
