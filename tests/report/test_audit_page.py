"""Report page of the confound audit: the verdict first, and no difference only with its limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import report_pages

from deepfakemnist.report.audit_page import write_audit_page
from deepfakemnist.tables.schemas import Row


def audited(facts: str, verdict: str, **more: Any) -> Row:
    return {
        "quality": "c23", "facts": facts, "verdict": verdict, "fact": "fps", "auc": 0.6, "pair_auc": None, "p": 0.4,
        "detectable_auc": 0.7, "auc_limit": 0.712, "forest_auc": 0.6, "videos": 80, "people": 40, "telling": "fps 0.60",
        **more,
    }  # fmt: skip


def test_what_could_not_be_told_is_no_finding_of_no_difference(tmp_path: Path) -> None:
    rows = [audited("container", "no difference"), audited("traces", "cannot tell", videos=8, people=4)]
    write_audit_page(rows, tmp_path / "page.html", ["Demo."])
    text = report_pages.text(tmp_path / "page.html")
    assert "No leak was found in 2 tests for differences that no picture can cause, of which 1 cannot tell:" in text
    assert "no fact has an AUC above 0.71 (95 % confidence), 80 videos of 40 people." in text
    assert "Too few videos (8 of 4 people) to tell whether real and fake differ in traces" in text
    assert "Demo." in text
    points = report_pages.charts(tmp_path / "page.html")["Separability by facts and quality"]
    assert [(row["verdict"], row["AUC %"], row["at most %"]) for row in points] == [
        ("no difference", 60.0, 71.2),
        ("cannot tell", 60.0, 71.2),
    ]
    assert report_pages.tables(tmp_path / "page.html")["Separability of real and fake"][1] == [
        "c23", "container", "no difference", "fps", "60", "71", "0.400", "80", "40",
    ]  # fmt: skip


def test_without_videos_nothing_was_tested(tmp_path: Path) -> None:
    write_audit_page([], tmp_path / "page.html")
    assert "Nothing was tested for leaks: there are no videos." in report_pages.text(tmp_path / "page.html")
