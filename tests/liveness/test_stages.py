import hashlib
import json
import re

import numpy as np
import pytest
from simulated_vendors import ENVIRONMENT, settings_for, vendors

from deepfakemnist.config.base import WeightFile
from deepfakemnist.config.liveness import LocalActionSettings
from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.liveness.registry import build
from deepfakemnist.liveness.select import select_shard
from deepfakemnist.liveness.simulator.contract import KEYS
from deepfakemnist.liveness.simulator.faults import FaultPlan
from deepfakemnist.liveness.stages import liveness_shard
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import ANIMATED

pytestmark = pytest.mark.slow

ACTION = LocalActionSettings(provider="local-action")


@pytest.fixture
def animations(tmp_path, monkeypatch, tilting, nobody):
    """Four animations: one with the tilt, one without a face, a missing file, and one that failed before."""
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


def run_stage(animations, settings, table="verdicts.parquet", **more):
    table = animations.with_name(table)
    tally = liveness_shard(animations, table, settings, fps=25.0, code="c0de", **more)
    return tally, {row["video_id"]: row for row in read_rows(table)}


def test_verdicts_are_ok_rows_whether_live_or_not_and_errors_are_failed_rows(animations):
    tally, rows = run_stage(animations, ACTION)
    assert (tally.ok, tally.failed) == (2, 1)
    assert {name: (row["status"], row["live"]) for name, row in rows.items()} == {
        "tilt": ("ok", True),
        "nobody": ("ok", False),
        "gone": ("failed", None),
    }
    tilt = rows["tilt"]
    assert (tilt["provider"], tilt["asked_motion"], tilt["action"]) == ("local-action", "left_slope", "left_slope")
    assert (tilt["provider_version"], tilt["code"]) == (build(ACTION).version, "c0de")
    assert tilt["score"] >= tilt["threshold"] == 1.0
    assert tilt["latency_s"] > 0
    assert len(tilt["pixels_sha256"]) == 64
    evidence = json.loads(tilt["evidence"])
    assert list(evidence) == sorted(evidence)
    assert evidence["frames_with_face"] == 24
    assert rows["gone"]["provider"] == "local-action"
    assert rows["gone"]["reason"]


def test_selection_reads_the_verdicts(animations):
    run_stage(animations, ACTION)
    select_shard(animations, [animations.with_name("verdicts.parquet")], animations.with_name("selected.parquet"))
    rows = read_rows(animations.with_name("selected.parquet"))
    assert {row["video_id"]: row["reason"] for row in rows} == {
        "tilt": "",
        "nobody": "liveness",
        "gone": "liveness_unanswered",
    }
    assert "gone.mp4" in rows[2]["detail"]


def test_passive_provider_records_the_sha256_of_its_weights(animations, silent_settings):
    _, rows = run_stage(animations, silent_settings)
    files = (silent_settings.minifasnet_v2, silent_settings.minifasnet_v1se)
    assert rows["tilt"]["provider_version"] == "+".join(file.sha256 for file in files)
    assert rows["tilt"]["asked_motion"] == "silent"
    assert 0 < rows["tilt"]["score"] < 1
    assert (rows["nobody"]["live"], rows["nobody"]["score"]) == (False, 0.0)


def test_missing_weights_stop_the_stage_before_any_row(animations, silent_settings, tmp_path):
    gone = WeightFile(path=tmp_path / "gone.pth", sha256="0" * 64)
    with pytest.raises(ConfigError, match="gone.pth"):
        run_stage(animations, silent_settings.model_copy(update={"minifasnet_v1se": gone}))
    assert not (tmp_path / "verdicts.parquet").exists()


def test_settings_of_another_stage_are_not_a_provider():
    with pytest.raises(ConfigError, match="PlanSettings is not a provider; allowed are local-silent, local-action, "):
        build(PlanSettings())


@pytest.fixture
def keys(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def test_a_vendor_is_queried_over_http_and_the_exchange_is_recorded(animations, keys):
    with vendors() as (simulator, address):
        more = {"motions": {"left_slope": ""}, "answers": animations.with_name("answers")}
        settings = settings_for("baidu", address)
        tally, rows = run_stage(animations, settings, **more)
        _, again = run_stage(animations, settings, "again.parquet", **more)
        assert simulator.account.billed.total() == 2
    assert (tally.ok, tally.failed) == (2, 1)
    tilt = rows["tilt"]
    assert (tilt["provider"], tilt["asked_motion"], tilt["threshold"]) == ("baidu", "silent", 0.3)
    assert (tilt["attempts"], tilt["cost"], len(tilt["request_sha256"]), len(tilt["upload_sha256"])) == (1, 0.2, 64, 64)
    assert tilt["answered_at"].endswith("Z")
    # A cached answer gives exactly the same row.
    assert again["tilt"] == tilt


def test_a_damaged_animation_is_not_sent_to_a_vendor(animations, keys):
    rows = read_rows(animations)
    rows[0]["sha256"] = hashlib.sha256(b"as it was").hexdigest()
    write_table(rows, animations, ANIMATED)
    with vendors() as (_, address):
        more = {"motions": {"left_slope": ""}, "answers": animations.with_name("answers")}
        _, found = run_stage(animations, settings_for("baidu", address), **more)
    assert (found["tilt"]["status"], found["tilt"]["reason"]) == ("failed", "input_changed")
    assert found["nobody"]["status"] == "ok"


def test_only_clips_that_every_gate_classified_as_live_are_sent_to_a_vendor(animations, keys):
    run_stage(animations, ACTION, "gate.parquet")
    with vendors() as (simulator, address):
        _, rows = run_stage(
            animations, settings_for("tianyan", address), motions={"left_slope": "YAW"},
            answers=animations.with_name("answers"), gates=[animations.with_name("gate.parquet")],
        )  # fmt: skip
        assert simulator.account.billed.total() == 1
    assert (rows["tilt"]["status"], rows["tilt"]["asked_motion"]) == ("ok", "YAW")
    assert (rows["nobody"]["status"], rows["nobody"]["reason"]) == ("rejected", "not_asked")
    assert rows["nobody"]["detail"] == "not live according to local-action, so not sent"
    verdicts = [animations.with_name(name) for name in ("gate.parquet", "verdicts.parquet")]
    select_shard(animations, verdicts, animations.with_name("selected.parquet"))
    reasons = {row["video_id"]: row["reason"] for row in read_rows(animations.with_name("selected.parquet"))}
    assert reasons["nobody"] == "liveness"


def test_an_exhausted_quota_ends_the_job_and_the_next_job_resumes(animations, keys):
    more = {"motions": {"left_slope": ""}, "answers": animations.with_name("answers")}
    with vendors() as (simulator, address):
        with pytest.raises(ConfigError, match=r"baidu: baidu: .*\(daily_quota\) are used up"):
            run_stage(animations, settings_for("baidu", address, daily_quota=2), **more)  # a token and one video
        assert not animations.with_name("verdicts.parquet").exists()
        _, rows = run_stage(animations, settings_for("baidu", address), **more)
        assert simulator.account.billed.total() == 2
    assert rows["tilt"]["status"] == rows["nobody"]["status"] == "ok"


def test_neither_files_nor_logs_contain_a_key(animations, keys, caplog, capsys):
    with vendors(faults=FaultPlan(share=0.5, seed=2, hang_s=0.1, slow_s=0.1)) as (_, address):
        for provider in ("baidu", "tianyan", "linkface"):
            run_stage(
                animations, settings_for(provider, address, attempts=20), f"{provider}.parquet",
                motions={"left_slope": "7" if provider == "baidu" else "YAW"}, answers=animations.with_name("answers"),
            )  # fmt: skip
    written = [path.read_bytes() for path in animations.parent.rglob("*") if path.is_file()]
    assert len(written) > 9
    output = capsys.readouterr()
    secrets = [*(re.escape(key.encode()) for key in KEYS.values()), rb"24\.[0-9a-f]{32}"]  # the last: access tokens
    for text in (*written, caplog.text.encode(), output.out.encode(), output.err.encode()):
        for secret in secrets:
            assert not re.search(secret, text)
