"""TPSMM through the stages: from crops to a rendered clip and its row."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from deepfakemnist.animate.stages import animate_shard, extract_motion_shard
from deepfakemnist.animate.tpsmm.checkpoint import LICENCE
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.ids import pair_id
from deepfakemnist.media.decode import read_clip
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import CROPPED, PLANNED

pytestmark = pytest.mark.slow


def test_a_fake_is_what_the_original_program_makes(tmp_path, checkpoint, expected):
    """Compared as decoded: working clips are lossless."""
    settings = animator_settings(name="tpsmm", weights=checkpoint, motion="avd", source_frame=0)
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    clips = {name: tmp_path / f"{name}.mp4" for name in ("anna", "blink-1")}
    write_working_clip(clips["anna"], [expected["source_u8"]], 25.0)
    write_working_clip(clips["blink-1"], list(expected["driving_u8"]), 25.0)
    common = {"action": "blink", "status": "ok", "reason": "", "detail": ""}
    driver = {"video_id": "blink-1", "role": "driver", "person_id": "bob", "path": str(clips["blink-1"]), **common}
    write_table([driver], tmp_path / "crops.parquet", CROPPED)
    options = {"settings": settings, "code": "c0de", "max_failed_fraction": 1.0, "device": "cpu"}
    table = tmp_path / "motions.parquet"
    extract_motion_shard(tmp_path / "crops.parquet", checkpoint, table, tmp_path / "motions", **options)
    (motion,) = read_rows(table)
    assert (motion["status"], motion["frames"], motion["animator"]) == ("ok", 5, "tpsmm")
    plan = {
        "video_id": pair_id("anna", "blink-1"),
        "source_id": "anna",
        "driver_id": "blink-1",
        "person_id": "anna",
        "driver_person_id": "bob",
        "split": "train",
        "round": 1,
        "plan_order": 0,
        "source_path": str(clips["anna"]),
        "source_pixels_sha256": "0" * 64,
        "motion_path": motion["path"],
        "motion_frames": 5,
        "motion_checkpoint_sha256": digest,
        **common,
    }
    write_table([plan], tmp_path / "plan.parquet", PLANNED)
    table = tmp_path / "animations.parquet"
    animate_shard(tmp_path / "plan.parquet", checkpoint, table, tmp_path / "clips", fps=25.0, **options)
    (fake,) = read_rows(table)
    assert (fake["status"], fake["reason"]) == ("ok", "")
    assert (fake["animator"], fake["motion_mode"], fake["precision"]) == ("tpsmm", "avd", "float32")
    assert (fake["checkpoint_sha256"], fake["animator_licence"]) == (digest, LICENCE)
    made = read_clip(fake["path"]).astype(int)
    assert np.abs(made - expected["frames_u8__avd"]).max() <= 1
