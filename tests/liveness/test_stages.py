import json

import numpy as np
import pytest

from deepfakemnist.errors import ConfigError
from deepfakemnist.liveness.registry import build
from deepfakemnist.liveness.select import select_shard
from deepfakemnist.liveness.stages import liveness_shard
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.settings import LocalMotionSettings, PlanSettings, WeightFile
from deepfakemnist.tables import ANIMATED, read_rows, write_table

MOTION = LocalMotionSettings(provider="local-motion")


@pytest.fixture
def animations(tmp_path, monkeypatch, tilting, nobody):
    """Four animations: a slope that is one, a slope asked of nobody, a file that is gone, one that failed before."""
    monkeypatch.chdir(tmp_path)
    clips = {"tilt": tilting, "nobody": np.stack([nobody, nobody + 9] * 5), "gone": None, "failed": None}
    rows = []
    for name, frames in clips.items():
        row = {
            "video_id": name,
            "action": "left_slope",
            "path": f"{name}.mp4",
            "status": "ok",
            "reason": "",
            "detail": "",
        }
        if frames is not None:
            row["pixels_sha256"] = write_working_clip(f"{name}.mp4", frames, 25.0).pixels_sha256
        if name == "failed":
            row |= {"status": "failed", "reason": "error"}
        rows.append(row)
    write_table(rows, "animated.parquet", ANIMATED)
    return tmp_path / "animated.parquet"


def judge(animations, settings, table="verdicts.parquet"):
    table = animations.with_name(table)
    tally = liveness_shard(animations, table, settings, fps=25.0, code="c0de")
    return tally, {row["video_id"]: row for row in read_rows(table)}


def test_answers_are_ok_rows_whether_live_or_not_and_errors_are_failed_rows(animations):
    tally, rows = judge(animations, MOTION)
    assert (tally.ok, tally.failed) == (2, 1)
    assert {name: (row["status"], row["live"]) for name, row in rows.items()} == {
        "tilt": ("ok", True),
        "nobody": ("ok", False),
        "gone": ("failed", None),
    }
    tilt = rows["tilt"]
    assert (tilt["provider"], tilt["asked_motion"], tilt["action"]) == ("local-motion", "left_slope", "left_slope")
    assert (tilt["provider_version"], tilt["code"]) == (build(MOTION).version, "c0de")
    assert tilt["score"] >= tilt["threshold"] == 1.0
    assert tilt["latency_s"] > 0
    assert len(tilt["pixels_sha256"]) == 64
    evidence = json.loads(tilt["evidence"])
    assert list(evidence) == sorted(evidence)
    assert evidence["frames_with_face"] == 12
    assert rows["gone"]["provider"] == "local-motion"
    assert rows["gone"]["reason"]


def test_verdicts_feed_selection(animations):
    judge(animations, MOTION)
    select_shard(animations, [animations.with_name("verdicts.parquet")], animations.with_name("selected.parquet"))
    rows = read_rows(animations.with_name("selected.parquet"))
    assert {row["video_id"]: row["reason"] for row in rows} == {
        "tilt": "",
        "nobody": "liveness",
        "gone": "liveness_unanswered",
    }
    assert "gone.mp4" in rows[2]["detail"]


def test_silent_provider_records_its_weights(animations, silent_settings):
    _, rows = judge(animations, silent_settings)
    files = (silent_settings.minifasnet_v2, silent_settings.minifasnet_v1se)
    assert rows["tilt"]["provider_version"] == "+".join(file.sha256 for file in files)
    assert rows["tilt"]["asked_motion"] == "silent"
    assert 0 < rows["tilt"]["score"] < 1
    assert (rows["nobody"]["live"], rows["nobody"]["score"]) == (False, 0.0)


def test_missing_weights_stop_the_stage_before_any_row(animations, silent_settings, tmp_path):
    gone = WeightFile(path=tmp_path / "gone.pth", sha256="0" * 64)
    with pytest.raises(ConfigError, match="gone.pth"):
        judge(animations, silent_settings.model_copy(update={"minifasnet_v1se": gone}))
    assert not (tmp_path / "verdicts.parquet").exists()


def test_settings_of_something_else_are_no_provider():
    with pytest.raises(ConfigError, match="PlanSettings is not a provider; known are local-silent and local-motion"):
        build(PlanSettings())
