"""Check of docs/adding_a_liveness_provider.md, run by test_howto_pages.py in a copy of the package."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from snakemake.utils import update_config

import deepfakemnist
from deepfakemnist.config.base import Settings
from deepfakemnist.config.load import Config, load_config
from deepfakemnist.errors import ConfigError
from deepfakemnist.liveness.registry import build
from deepfakemnist.liveness.stages import liveness_shard
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import ANIMATED

HERE = Path.cwd()
PAGE = Path(os.environ["HOWTO_PAGE"]).read_text(encoding="utf-8")


def merged() -> dict:
    raw: dict = {}
    for name in ("config/config.yaml", "config/presets/demo.yaml", "sharpness.yaml"):
        update_config(raw, yaml.safe_load((HERE / name).read_text(encoding="utf-8")))
    return raw


def test_the_copy_is_what_is_tested():
    assert Path(deepfakemnist.__file__).is_relative_to(HERE)


def test_the_stage_writes_a_verdict_of_the_pages_provider(tmp_path):
    settings = Config.model_validate(merged()).liveness
    provider = settings.providers[1]
    assert (provider.threshold, settings.gates("local-sharpness")) == (40, [])
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    clips = {"sharp": noise, "flat": np.full_like(noise, 90)}
    rows = []
    for name, frames in clips.items():
        made = write_working_clip(tmp_path / f"{name}.mp4", frames, 25.0)
        facts = {"path": str(made.path), "pixels_sha256": made.pixels_sha256}
        rows.append({"video_id": name, "action": "nod", **facts, "status": "ok", "reason": "", "detail": ""})
    write_table(rows, tmp_path / "animated.parquet", ANIMATED)
    liveness_shard(tmp_path / "animated.parquet", tmp_path / "verdicts.parquet", provider, fps=25.0, code="c0de")
    sharp, flat = read_rows(tmp_path / "verdicts.parquet")
    assert (sharp["status"], sharp["live"], sharp["provider"]) == ("ok", True, "local-sharpness")
    assert (flat["status"], flat["live"], flat["score"], flat["threshold"]) == ("ok", False, 0.0, 40.0)
    assert json.loads(flat["evidence"])["reason"] == "blurred"


def test_the_messages_of_the_page():
    class LocalSharpnessSettings(Settings):
        """Settings that the registry has no branch for."""

    with pytest.raises(ConfigError) as error:
        build(LocalSharpnessSettings())
    assert str(error.value).split(" local-silent")[0] in PAGE
    raw = merged()
    raw["liveness"]["providers"][1] = {"provider": "local-blur"}
    with pytest.raises(ConfigError) as error:
        load_config(raw)
    message = next(line for line in str(error.value).splitlines() if "Input tag" in line)
    key, _, found = message.partition(": ")
    assert key.strip() in PAGE
    assert found[found.index("Input tag") :].split(":")[0].replace("local-blur", "local-sharpness") in PAGE
    with pytest.raises(TypeError) as error:
        json.dumps({"score": np.float32(1)})
    assert str(error.value) in PAGE
