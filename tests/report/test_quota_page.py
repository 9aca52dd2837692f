"""Report page on quotas: the verdict first, and accepted fakes by round."""

from __future__ import annotations

from pathlib import Path

import report_pages

from deepfakemnist.planning.rounds import CandidateOutcome
from deepfakemnist.report.quota_page import write_quota_page
from deepfakemnist.tables.schemas import Row


def tried(number: int, action: str, accepted: bool, animator: str = "") -> CandidateOutcome:
    return CandidateOutcome("s", action, "train", number, True, accepted, accepted, "", animator)


def account(action: str, kept: int, ended: str, animator: str = "") -> Row:
    return {
        "animator": animator, "action": action, "wanted": 2, "kept": kept, "accepted": kept, "tried": 3, "planned": 4,
        "pass_rate": kept / 3, "rounds": 2, "ended": ended,
    }  # fmt: skip


def test_a_missed_quota_is_said_first_and_rounds_add_up(tmp_path: Path) -> None:
    outcomes = [tried(1, "nod", True), tried(1, "nod", False), tried(2, "nod", True), tried(1, "smile", False)]
    rows = [account("nod", 2, "full"), account("smile", 0, "pool empty")]
    write_quota_page(rows, outcomes, tmp_path / "page.html", ["Demo."])
    text, tables = report_pages.text(tmp_path / "page.html"), report_pages.tables(tmp_path / "page.html")
    assert "1 of 2 quotas not met: smile (0 of 2, pool empty)." in text
    assert "Demo." in text
    assert tables["Actions"][1] == ["nod", "2", "2", "2", "3", "4", "67", "2", "full"]
    assert tables["Rounds"][1:] == [
        ["1", "nod", "2", "2", "1", "50"],
        ["1", "smile", "1", "1", "0", "0"],
        ["2", "nod", "1", "1", "1", "100"],
    ]
    bars = report_pages.charts(tmp_path / "page.html")["Accepted fakes by round"]
    assert [(row["round"], row["accepted"], row["quota"]) for row in bars if row["action"] == "nod"] == [
        (1, 1, 2),
        (2, 1, 2),
    ]


def test_quotas_of_two_animators_are_apart(tmp_path: Path) -> None:
    outcomes = [tried(1, "nod", True, "mesh"), tried(1, "nod", False, "fomm")]
    rows = [account("nod", 2, "full", "mesh"), account("nod", 0, "max_rounds", "fomm")]
    write_quota_page(rows, outcomes, tmp_path / "page.html")
    assert "nod by fomm (0 of 2, max_rounds)" in report_pages.text(tmp_path / "page.html")
    bars = report_pages.charts(tmp_path / "page.html")["Accepted fakes by round"]
    assert {(row["animator"], row["accepted"]) for row in bars} == {("mesh", 1), ("fomm", 0)}


def test_full_quotas_without_a_fake_have_no_chart(tmp_path: Path) -> None:
    write_quota_page([account("nod", 0, "full")], [], tmp_path / "page.html")
    assert "Every quota is met: 0 fakes kept." in report_pages.text(tmp_path / "page.html")
    assert not report_pages.charts(tmp_path / "page.html")
