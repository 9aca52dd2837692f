"""LivePortrait through the workflow's stages: motion of a driver, an animated pair, and what its row says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepfakemnist.animate.liveportrait.checkpoint import weights_sha256
from deepfakemnist.animate.protocol import Motion
from deepfakemnist.animate.stages import animate_shard, extract_motion_shard
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.ids import pair_id
from deepfakemnist.media.decode import read_clip
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import CROPPED, PLANNED

pytestmark = pytest.mark.slow

STATUS_OK = {"status": "ok", "reason": "", "detail": ""}
SIDE = 128


def test_a_pair_is_animated_and_its_row_says_how(tiny_folder, expected, tmp_path):
    large = (SIDE, SIDE)
    driver = [cv2.resize(frame, large) for frame in expected["driving_u8"][:2]]
    clips = {"anna": [cv2.resize(expected["source_u8"], large)], "blink-1": driver}
    paths = {name: tmp_path / f"{name}.mp4" for name in clips}
    for name, frames in clips.items():
        write_working_clip(paths[name], frames, 25.0)
    driver_row = {"video_id": "blink-1", "role": "driver", "person_id": "d", "action": "blink", **STATUS_OK}
    write_table([{**driver_row, "path": str(paths["blink-1"])}], tmp_path / "crops.parquet", CROPPED)
    settings = animator_settings(name="liveportrait", weights=tiny_folder, source_frame=0, allow_cpu=True)

    extract_motion_shard(
        tmp_path / "crops.parquet", tiny_folder, tmp_path / "motions.parquet", tmp_path / "motions", settings, "1", 0.0
    )
    (motion,) = read_rows(tmp_path / "motions.parquet")
    assert motion["animator"] == "liveportrait" and motion["checkpoint_sha256"] == weights_sha256(tiny_folder)
    assert Motion.load(motion["path"])["exp"].shape == (2, 21, 3)

    pair = {
        "video_id": pair_id("anna", "blink-1"),
        "source_id": "anna",
        "driver_id": "blink-1",
        "person_id": "anna",
        "driver_person_id": "d",
        "action": "blink",
        "split": "train",
        "round": 1,
        "plan_order": 0,
        "source_path": str(paths["anna"]),
        "source_pixels_sha256": "0" * 64,
        "motion_path": motion["path"],
        "motion_frames": 2,
        "motion_checkpoint_sha256": motion["checkpoint_sha256"],
        **STATUS_OK,
    }
    write_table([pair], tmp_path / "plan.parquet", PLANNED)
    animate_shard(
        tmp_path / "plan.parquet",
        tiny_folder,
        tmp_path / "fakes.parquet",
        tmp_path / "fakes",
        settings,
        25.0,
        "1",
        0.0,
    )
    (row,) = read_rows(tmp_path / "fakes.parquet")
    assert (row["status"], row["animator"], row["framing"]) == ("ok", "liveportrait", "crop")
    assert row["rendered_size"] == 512
    assert "MIT" in row["animator_licence"] and "not the authors' files" in row["animator_licence"]
    assert (row["motion_mode"], row["precision"], row["mouth_from"]) == ("relative", "float32", "source")
    fakes = np.stack(list(read_clip(row["path"])))
    assert fakes.shape == (2, SIDE, SIDE, 3)
