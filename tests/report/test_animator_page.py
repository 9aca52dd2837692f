"""Report page on the training of an animator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import report_pages

from deepfakemnist.animate.training.loop import TrainingReport
from deepfakemnist.animate.training.losses import StepLosses
from deepfakemnist.report.animator_page import write_animator_page

LOSSES = [StepLosses(step, reconstruction=4 / step, equivariance_value=0.5) for step in (1, 2, 4)]


def page(folder: Path, **more: Any) -> Path:
    facts: dict[str, Any] = {
        "steps": 4, "seconds": 90.0, "device": "cpu", "reconstruction": "pixels", "clips": 7, "people": 3,
        "held_out_clips": 2, "held_out_people": 1, "held_out_l1": 0.01, "copy_l1": 0.02,
        "held_out_landmark_error": None, "losses": LOSSES,
    }  # fmt: skip
    TrainingReport(**{**facts, **more}).save(folder / "training.json")
    write_animator_page(folder / "training.json", folder / "page.html", ["Demo."])
    return folder / "page.html"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (0.01, "2.55 levels of 255, 50 % less than the 5.10 of a still picture."),
        (0.03, "7.65 levels of 255, no less than the 5.10 of a still picture."),
    ],
)
def test_the_result_is_compared_with_a_still_picture(tmp_path: Path, error: float, said: str) -> None:
    text = report_pages.text(page(tmp_path, held_out_l1=error))
    assert f"Held-out L1, on 2 clips of 1 person: {said}" in text
    assert "Demo." in text


def test_losses_are_drawn_without_terms_that_are_off(tmp_path: Path) -> None:
    rows = report_pages.charts(page(tmp_path))["Losses"]
    assert {row["term"] for row in rows} == {"reconstruction", "equiv. value"}
    assert [row["loss"] for row in rows if row["term"] == "reconstruction"] == [4.0, 2.0, 1.0]
    assert ["training time", "1.5 min"] in report_pages.rows(tmp_path / "page.html")


def test_one_logged_step_is_no_curve(tmp_path: Path) -> None:
    assert not report_pages.charts(page(tmp_path, losses=LOSSES[:1]))
