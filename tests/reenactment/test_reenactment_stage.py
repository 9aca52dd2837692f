"""Self-reenactment of rendered actors by the mesh animator: better than a still picture, and bad input is a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import report_pages

from deepfakemnist.actors import Actor, Framing, load_bank, perform
from deepfakemnist.animate.stages import extract_motion_shard
from deepfakemnist.animation_quality.image_metrics import keypoint_error
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.config.stages import AnimationQualitySettings, ReenactmentSettings
from deepfakemnist.faces.landmarks import FaceLandmarker
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.reenactment.stage import reenact_shard
from deepfakemnist.report.animation_page import write_animation_page
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import CROPPED

pytestmark = pytest.mark.slow

SETTINGS = animator_settings(name="mesh")
FRAMES = 16


@pytest.fixture(scope="module")
def reenacted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict], np.ndarray, Path]:
    """Rows by driver, the frames of the one that turns, and the report page."""
    folder = tmp_path_factory.mktemp("reenact")
    actor = Actor(load_bank(), 9, seed=9)
    turning = perform(actor, "yaw", 3, FRAMES, framing=Framing(head=0.75)).clip()
    clips = {"turning": turning, "changed": turning[::-1], "dropped": turning}
    rows = []
    for name, frames in clips.items():
        made = write_working_clip(folder / f"{name}.mp4", frames, 25.0)
        status = {"status": "ok", "reason": "", "detail": ""}
        rows.append({"video_id": name, "person_id": "p", "action": "yaw", **made.columns(), **status})
    crops, motions = folder / "crops.parquet", folder / "motions.parquet"
    write_table(rows, crops, CROPPED)
    options = {"code": "c0de", "max_failed_fraction": 1.0}
    extract_motion_shard(crops, None, motions, folder / "motions", SETTINGS, **options)
    (folder / "motions/changed.npz").write_bytes((folder / "motions/turning.npz").read_bytes())
    write_table(
        [{**row, "status": "rejected"} if row["video_id"] == "dropped" else row for row in rows], crops, CROPPED
    )
    table = folder / "reenact.parquet"
    reenact_shard(
        crops,
        motions,
        None,
        table,
        SETTINGS,
        AnimationQualitySettings(),
        ReenactmentSettings(),
        device="cpu",
        **options,
    )
    write_animation_page([], [table], folder / "page.html")
    return {row["video_id"]: row for row in read_rows(table)}, turning, folder / "page.html"


def test_a_clip_is_reenacted_better_than_by_its_first_frame(reenacted: tuple) -> None:
    rows, truth, _ = reenacted
    row = rows["turning"]
    still = float(np.abs(truth.astype(int) - truth[:1].astype(int)).mean() / 255)
    assert row["status"] == "ok" and row["frames"] == FRAMES
    # Most pixels are hair, shoulders and wall, which a still picture has right as well; landmarks tell more.
    assert 0 < row["l1"] < still
    landmarks = FaceLandmarker().track(truth)
    assert 0 < row["akd"] < keypoint_error([landmarks[0]] * FRAMES, landmarks) / 2
    # dlib takes the face for the same person.
    assert 0 < row["aed"] < 0.6
    assert 0.5 < row["sharpness_ratio"] < 1.5
    assert (row["animator"], row["checkpoint_sha256"]) == ("mesh", "")


def test_a_changed_motion_is_a_row_and_a_dropped_driver_is_none(reenacted: tuple) -> None:
    rows, _, _ = reenacted
    assert rows.keys() == {"turning", "changed"}
    assert (rows["changed"]["status"], rows["changed"]["reason"]) == ("failed", "input_changed")
    assert rows["changed"]["l1"] is None


def test_the_page_shows_medians_and_refusals(reenacted: tuple) -> None:
    rows, _, page = reenacted
    medians = report_pages.tables(page)["Self-reenactment"]
    row = dict(zip(medians[0], medians[-1], strict=True))
    assert (row["action"], row["drivers"], row["refused"]) == ("all", "1", "1")
    assert row["L1, levels"] == f"{255 * rows['turning']['l1']:.2f}"
    assert row["AKD, %"] == f"{100 * rows['turning']['akd']:.2f}"
