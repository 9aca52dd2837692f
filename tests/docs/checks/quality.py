"""Check of docs/adding_a_quality.md, run by test_howto_pages.py in a copy of the package."""

import os
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from snakemake.utils import update_config

import deepfakemnist
from deepfakemnist.config.load import Config, load_config
from deepfakemnist.errors import ConfigError
from deepfakemnist.media.compress import compress_shard
from deepfakemnist.media.decode import read_clip
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import CROPPED

HERE = Path.cwd()
PAGE = Path(os.environ["HOWTO_PAGE"]).read_text(encoding="utf-8")


def merged(**qualities: dict | None) -> dict:
    raw: dict = {}
    for name in ("config/config.yaml", "config/presets/demo.yaml", "qualities.yaml"):
        update_config(raw, yaml.safe_load((HERE / name).read_text(encoding="utf-8")))
    raw["compress"]["qualities"].update(qualities)
    return raw


def test_the_copy_is_what_is_tested():
    assert Path(deepfakemnist.__file__).is_relative_to(HERE)


def test_the_qualities_of_the_page_encode_a_clip(tmp_path):
    if "libx265" not in find_ffmpeg().encoders:
        pytest.skip("this ffmpeg lacks libx265")
    config = Config.model_validate(merged())
    assert list(config.compress.qualities) == ["raw", "c23", "c40", "h265-28", "social"]
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    frames = np.stack([np.roll(noise // 2 + 60, 2 * number, axis=1) for number in range(5)])
    made = write_working_clip(tmp_path / "clip.mp4", frames, 25)
    row = {"video_id": "a", "path": str(made.path), "frames": 5, "pixels_sha256": made.pixels_sha256}
    write_table([{**row, "status": "ok", "reason": "", "detail": ""}], tmp_path / "clips.parquet", CROPPED)
    out = tmp_path / "out.parquet"
    options = {"label": 1, "settings": config.compress, "fps": 25.0, "code": "c0de"}
    compress_shard(tmp_path / "clips.parquet", out, tmp_path / "out", **options)
    rows = {row["quality"]: row for row in read_rows(out)}
    assert [row["status"] for row in rows.values()] == ["ok"] * 5
    assert read_clip(rows["social"]["path"]).shape == frames.shape
    with av.open(rows["h265-28"]["path"]) as container:
        assert container.streams.video[0].codec.canonical_name == "hevc"
    assert rows["social"]["psnr_db"] < rows["c23"]["psnr_db"]


def test_the_messages_of_the_page():
    both = {"codec": "libx265", "crf": 28, "qp": 28}
    again = {"crf": 30, "after": "social"}
    for change in ({"h265-28": both}, {"again": again}, {"mixed": {"crf": 30}}):
        with pytest.raises(ConfigError) as error:
            load_config(merged(**change))
        assert str(error.value).splitlines()[1].strip().split("compress: ")[-1].split("config: ")[-1] in PAGE
    with pytest.raises(ConfigError):
        load_config(merged(c40=None))
    raw = merged()
    raw["training"]["trained_on"] = ["h265_28"]
    with pytest.raises(ConfigError) as error:
        load_config(raw)
    assert str(error.value).split("config: ")[1].split(" are ")[0] in PAGE
    with pytest.raises(ConfigError) as error:
        replace(find_ffmpeg(), encoders=frozenset({"libx264"})).require(["libx265"])
    assert str(error.value).partition("which")[0] in PAGE
