"""Stage of animation quality on rendered actors, for which the perfect animation can be rendered, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfakemnist.actors import Actor, Framing, load_bank, perform
from deepfakemnist.animation_quality.stage import assess_shard
from deepfakemnist.config.stages import AnimationQualitySettings
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.report.animation_page import write_animation_page
from deepfakemnist.tables.files import read_rows, read_table, write_table
from deepfakemnist.tables.schemas import ANIMATED, ANIMATION_QUALITY, CROPPED

pytestmark = pytest.mark.slow

OK = {"status": "ok", "reason": "", "detail": ""}
CLOSE = Framing(head=0.75)
FRAMES = 24


@pytest.fixture(scope="module")
def assessed(tmp_path_factory) -> dict[str, dict]:
    """Rows by video: a perfect yaw, a static image, the driver's own clip, and two without a clip."""
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
        return {
            "video_id": name,
            "source_id": "source",
            "driver_id": "driver",
            "person_id": "anna",
            "action": "yaw",
            "split": "test",
            "path": str(folder / f"{name}.mp4"),
            "frames": FRAMES,
            "source_frame": 0,
            "pixels_sha256": name,
            **OK,
            **more,
        }

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
    assess_shard(
        folder / "animate.parquet",
        [folder / "sources.parquet"],
        [folder / "drivers.parquet"],
        table,
        settings=AnimationQualitySettings(),
        code="c0de",
        max_failed_fraction=1.0,
    )
    assert read_table(table).schema.names == ANIMATION_QUALITY.names
    write_animation_page([table], [], folder / "page.html")
    return {"page": {"path": folder / "page.html"}, **{row["video_id"]: row for row in read_rows(table)}}


def test_the_same_performance_by_the_source_is_a_perfect_transfer(assessed):
    perfect = assessed["perfect"]
    assert (perfect["status"], perfect["code"]) == ("ok", "c0de")
    assert perfect["transfer"] == pytest.approx(1, abs=0.12)
    assert perfect["correlation"] > 0.97
    assert perfect["face_share"] == 1
    assert perfect["identity_kept"] > 0.4
    assert 0 < perfect["tearing"] < 2


def test_a_static_image_has_no_transfer_and_full_identity(assessed):
    frozen = assessed["frozen"]
    assert frozen["transfer"] == pytest.approx(0, abs=0.02)
    assert frozen["identity_kept"] == pytest.approx(1, abs=0.01)
    assert frozen["sharpness_ratio"] == pytest.approx(1, abs=0.05)
    assert frozen["tearing"] == pytest.approx(0, abs=0.5)


def test_the_drivers_own_clip_has_full_transfer_and_low_identity(assessed):
    assert assessed["stolen"]["transfer"] == pytest.approx(1, abs=0.02)
    assert assessed["stolen"]["identity_kept"] < assessed["perfect"]["identity_kept"] - 0.3


def test_a_clip_that_cannot_be_scored_is_a_row_with_a_reason(assessed):
    assert assessed["gone"]["status"] == "failed"
    assert "gone.mp4" in assessed["gone"]["detail"]
    assert (assessed["orphan"]["status"], assessed["orphan"]["reason"]) == ("failed", "driver_gone")
    assert "unmade" not in assessed, "rows without an animation are skipped"


def test_the_page_shows_medians_per_action(assessed):
    text = Path(assessed["page"]["path"]).read_text(encoding="utf-8")
    assert "Medians by action" in text
    assert "Individual fakes" in text
    assert f"{assessed['perfect']['transfer']:.2f}" in text
