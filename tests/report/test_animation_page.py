"""Page on animation quality: charts and medians by action, apart by animator where there are several."""

from __future__ import annotations

import math
from pathlib import Path

import report_pages

from deepfakemnist.report.animation_page import write_animation_page
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import ANIMATION_QUALITY

FIGURES = dict.fromkeys(("correlation", "direction", "identity_kept", "sharpness_ratio", "tearing", "face_share"), 0.25)
OK = {"status": "ok", "reason": "", "detail": "", "person_id": "p"}


def page(folder: Path, transfers: dict[str, float], count: int = 1) -> Path:
    rows = [
        {"video_id": f"s{n}@{label}", "action": "nod", "animator": label, "transfer": transfer, **FIGURES, **OK}
        for label, transfer in transfers.items()
        for n in range(count)
    ]
    write_table(rows, folder / "judge.parquet", ANIMATION_QUALITY)
    write_animation_page([folder / "judge.parquet"], [], folder / "page.html", ["Demo."])
    return folder / "page.html"


def test_animators_are_apart_in_medians_and_charts(tmp_path: Path) -> None:
    path = page(tmp_path, {"mesh": 0.9, "fomm": 0.5})
    header, *rows = report_pages.tables(path)["Medians by action"]
    assert header[:3] == ["animator", "action", "fakes"]
    assert {(row[0], row[1]): row[3] for row in rows}["mesh", "nod"] == "0.90"
    points = report_pages.charts(path)["Transfer by action"]
    assert {(row["animator"], row["video"]): row["transfer"] for row in points} == {
        ("mesh", "s0@mesh"): 0.9,
        ("fomm", "s0@fomm"): 0.5,
    }
    assert "Demo." in report_pages.text(path)


def test_one_animator_is_not_named(tmp_path: Path) -> None:
    tables = report_pages.tables(page(tmp_path, {"mesh": 0.9}))
    assert tables["Medians by action"][0][0] == "action"
    assert tables["Individual fakes"][0][:2] == ["video", "action"]


def test_all_of_many_fakes_are_listed_and_drawn_as_boxes(tmp_path: Path) -> None:
    path = page(tmp_path, {"mesh": 0.9}, count=601)
    assert len(report_pages.tables(path)["Individual fakes"]) == 602
    assert report_pages.charts(path)["Transfer by action"] == [
        {
            "action": "nod",
            "animator": "mesh",
            "fakes": 601,
            **dict.fromkeys(("p5", "p25", "median", "p75", "p95"), 0.9),
        }
    ]


def test_a_metric_that_was_never_measured_has_no_chart(tmp_path: Path) -> None:
    path = page(tmp_path, {"mesh": math.nan})
    assert "Transfer by action" not in report_pages.charts(path)
    assert report_pages.tables(path)["Individual fakes"][1][2] == "–"
