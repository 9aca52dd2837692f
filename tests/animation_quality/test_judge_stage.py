"""Animations whose truth is known: the source's own actor does what the driver's actor did."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfakemnist.actors import Actor, Framing, load_bank, perform
from deepfakemnist.animation_quality.stage import judge_shard
from deepfakemnist.config.stages import AnimationQualitySettings
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.report.animation_page import write_animation_page
from deepfakemnist.tables.files import read_rows, read_table, write_table
from deepfakemnist.tables.schemas import ANIMATED, ANIMATION_QUALITY, CROPPED

OK = {"status": "ok", "reason": "", "detail": ""}
CLOSE = Framing(head=0.75)
FRAMES = 24


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> dict[str, dict]:
    """Rows by video: a perfect yaw, a still picture, the driver in its place, and two without a clip."""
    folder = tmp_path_factory.mktemp("judge")
    bank = load_bank()
    source, driver, third = (Actor(bank, identity, seed=identity) for identity in (4, 9, 14))
    still = list(perform(source, "yaw", 3, FRAMES, framing=CLOSE).frames())
    moved = list(perform(driver, "yaw", 3, FRAMES, framing=CLOSE).frames())
    clips = {
        "source": still[:1] * FRAMES,
        "driver": moved,
        "third": list(perform(third, "talk", 1, 16, framing=CLOSE).frames()),
        "perfect": still,
        "frozen": still[:1] * FRAMES,
        "stolen": moved,
    }
    for name, frames in clips.items():
        write_working_clip(folder / f"{name}.mp4", frames, 25.0)

    def crop(name: str, person: str) -> dict:
        row = {"video_id": name, "role": "driver", "person_id": person, "path": str(folder / f"{name}.mp4")}
        return {**row, "pixels_sha256": name, **OK}

    def animation(name: str, **more: object) -> dict:
        row = {
            "video_id": name, "source_id": "source", "driver_id": "driver", "person_id": "anna", "action": "yaw",
            "split": "test", "path": str(folder / f"{name}.mp4"), "frames": FRAMES, "source_frame": 0,
        }  # fmt: skip
        return {**row, "pixels_sha256": name, **OK, **more}

    rows = [
        *(animation(name) for name in ("perfect", "frozen", "stolen")),
        animation("gone"),
        animation("orphan", driver_id="nobody"),
        animation("unmade", status="failed", reason="x"),
    ]
    write_table(rows, folder / "animate.parquet", ANIMATED)
    write_table([crop("source", "anna")], folder / "sources.parquet", CROPPED)
    write_table([crop("driver", "bert"), crop("third", "cleo")], folder / "drivers.parquet", CROPPED)
    table = folder / "judge.parquet"
    judge_shard(
        *(folder / "animate.parquet", folder / "sources.parquet", [folder / "drivers.parquet"], table),
        settings=AnimationQualitySettings(),
        code="c0de",
        max_failed_fraction=1.0,
    )
    assert read_table(table).schema.names == ANIMATION_QUALITY.names
    write_animation_page([table], folder / "page.html")
    return {"page": {"path": folder / "page.html"}, **{row["video_id"]: row for row in read_rows(table)}}


def test_the_same_performance_by_the_source_is_a_perfect_transfer(judged):
    perfect = judged["perfect"]
    assert (perfect["status"], perfect["code"]) == ("ok", "c0de")
    assert perfect["transfer"] == pytest.approx(1, abs=0.12)
    assert perfect["correlation"] > 0.97
    assert perfect["face_share"] == 1
    assert perfect["identity_kept"] > 0.4


def test_a_still_picture_transfers_nothing_and_keeps_everything(judged):
    frozen = judged["frozen"]
    assert frozen["transfer"] == pytest.approx(0, abs=0.02)
    assert frozen["identity_kept"] == pytest.approx(1, abs=0.01)
    assert frozen["sharpness_ratio"] == pytest.approx(1, abs=0.05)


def test_the_drivers_own_face_is_not_the_source(judged):
    assert judged["stolen"]["transfer"] == pytest.approx(1, abs=0.02)
    assert judged["stolen"]["identity_kept"] < judged["perfect"]["identity_kept"] - 0.3


def test_what_cannot_be_judged_is_a_row_that_says_why(judged):
    assert judged["gone"]["status"] == "failed"
    assert "gone.mp4" in judged["gone"]["detail"]
    assert (judged["orphan"]["status"], judged["orphan"]["reason"]) == ("failed", "driver_gone")
    assert "unmade" not in judged, "what was not animated is not judged"


def test_the_page_shows_medians_per_action(judged):
    text = Path(judged["page"]["path"]).read_text(encoding="utf-8")
    assert "Medians per action" in text
    assert "Fakes, 3 of 3" in text
    assert f"{judged['perfect']['transfer']:.2f}" in text
