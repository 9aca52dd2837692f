"""Real and fake take the same path, and nothing but pixels gets into a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from deepfakemnist.media.compress import compress_shard
from deepfakemnist.media.decode import read_clip
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.pixels import pixels_sha256
from deepfakemnist.settings import CompressSettings, Quality
from deepfakemnist.tables import COMPRESSED, CROPPED, Row, read_rows, read_table, write_table

EXACT = Quality(codec="libx264rgb", qp=0, pix_fmt="rgb24", preset="ultrafast")
FULL_CHROMA = Quality(crf=23, pix_fmt="yuv444p")


def working_row(folder: Path, video_id: str, frames: np.ndarray, **changes: Any) -> Row:
    """Write a clip; return its row of ``tables.CROPPED``."""
    clip = write_working_clip(folder / f"{video_id}.mp4", frames, 25)
    facts = {"path": str(clip.path), "frames": clip.frames, "pixels_sha256": clip.pixels_sha256}
    return {"video_id": video_id, "status": "ok", "reason": "", "detail": "", **facts, **changes}


def compress(folder: Path, rows: list[Row], label: int = 0, **settings: Any) -> list[Row]:
    write_table(rows, folder / "clips.parquet", CROPPED)
    table = folder / "t.parquet"
    options = {"label": label, "settings": CompressSettings(**settings), "fps": 25.0, "code": "c0de"}
    compress_shard(folder / "clips.parquet", table, folder / "out", **options)
    assert read_table(table).schema.equals(COMPRESSED)
    return read_rows(table)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, moving: np.ndarray) -> dict[str, list[Row]]:
    """The same clip through the chain as a real and as a fake one, under other names, in other folders."""
    real, fake = tmp_path_factory.mktemp("real"), tmp_path_factory.mktemp("fake")
    return {
        "real": compress(real, [working_row(real, "person#1", moving)], label=0),
        "fake": compress(fake, [working_row(fake, "src@drv", moving)], label=1),
    }


def test_rows(made: dict[str, list[Row]], moving: np.ndarray) -> None:
    rows = made["fake"]
    assert [row["quality"] for row in rows] == ["raw", "c23", "c40"]
    for row in rows:
        assert (row["video_id"], row["label"], row["status"], row["code"]) == ("src@drv", 1, "ok", "c0de")
        assert (row["frames"], row["width"], row["height"], row["fps"]) == (12, 64, 64, 25.0)
        assert Path(row["path"]).parts[-3:] == ("out", row["quality"], "src@drv.mp4")
        assert row["bytes"] == Path(row["path"]).stat().st_size
        assert row["input_pixels_sha256"] == pixels_sha256(moving)
        clip = read_clip(row["path"])
        assert clip.shape == moving.shape
        assert row["pixels_sha256"] == pixels_sha256(clip)
        assert row["psnr_db"] == pytest.approx(peak_signal_noise_ratio(moving, clip), abs=1e-6)
    raw, c23, c40 = (row["psnr_db"] for row in rows)
    assert raw > c23 > c40 > 15
    assert rows[0]["bytes"] > rows[1]["bytes"] > rows[2]["bytes"]
    assert json.loads(rows[1]["encoder"]) == {
        "codec": "libx264", "crf": 23, "pix_fmt": "yuv420p", "preset": "medium",
    }  # fmt: skip


def test_real_and_fake_files_are_identical(made: dict[str, list[Row]]) -> None:
    for real, fake in zip(made["real"], made["fake"], strict=True):
        data = Path(real["path"]).read_bytes()
        assert data == Path(fake["path"]).read_bytes()
        assert b"person" not in data and b"drv" not in data
        with av.open(real["path"]) as container:
            assert not {"encoder", "title", "creation_time", "comment"} & set(container.metadata)
        assert {**real, "video_id": "", "label": 0, "path": ""} == {**fake, "video_id": "", "label": 0, "path": ""}


def test_one_process_with_these_arguments(made: dict[str, list[Row]]) -> None:
    argv = json.loads(made["real"][0]["ffmpeg_argv"])
    assert {row["ffmpeg_argv"] for row in made["real"]} == {json.dumps(argv)}
    assert argv[0] == "ffmpeg" and argv.count("-i") == 1
    assert [word for word in argv if word.endswith(".mp4")] == ["raw.mp4", "c23.mp4", "c40.mp4"]
    third = argv[argv.index("c23.mp4") + 1 : argv.index("c40.mp4")]
    for option, value in {
        "-vcodec": "libx264",
        "-crf": "40",
        "-preset": "medium",
        "-pix_fmt": "yuv420p",
        "-threads": "1",
        "-map_metadata": "-1",
        "-fflags": "+bitexact",
        "-flags:v": "+bitexact",
        "-movflags": "+faststart",
        "-colorspace": "smpte170m",
        "-color_range": "tv",
    }.items():
        assert third[third.index(option) + 1] == value
    assert "-an" in third
    assert argv[argv.index("-qp") + 1] == "0"


def test_raw_keeps_every_sample_of_the_colour_conversion(made: dict[str, list[Row]], moving: np.ndarray) -> None:
    """Lossless after chroma subsampling: luma is BT.601 of the input, up to rounding."""
    with av.open(made["real"][0]["path"]) as container:
        stream = container.streams.video[0]
        planes = np.stack([frame.to_ndarray() for frame in container.decode(stream)])
        assert (stream.codec_context.pix_fmt, int(stream.codec_context.colorspace)) == ("yuv420p", 6)
    luma = 16 + moving @ np.array([65.481, 128.553, 24.966]) / 255
    assert np.abs(planes[:, :64] - luma).max() < 1.0


def test_colours_do_not_drift(tmp_path: Path) -> None:
    """Flat colours survive within the rounding of 8-bit YUV."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 150, 120)]
    flat = np.stack([np.full((32, 32, 3), colour, np.uint8) for colour in colours])
    (row,) = compress(tmp_path, [working_row(tmp_path, "v", flat)], qualities={"raw": Quality(qp=0)})
    assert np.abs(read_clip(row["path"]).astype(int) - flat).max() <= 2


def test_rgb_is_bit_exact(tmp_path: Path, moving: np.ndarray) -> None:
    odd = moving[:, :33, :47]
    rows = compress(tmp_path, [working_row(tmp_path, "v", odd)], qualities={"exact": EXACT, "full": FULL_CHROMA})
    assert rows[0]["psnr_db"] is None
    assert rows[0]["pixels_sha256"] == rows[0]["input_pixels_sha256"]
    assert rows[1]["psnr_db"] > 25
    assert read_clip(rows[1]["path"]).shape == (12, 33, 47, 3)


def test_cut_to_length(tmp_path: Path, moving: np.ndarray) -> None:
    settings = {"qualities": {"exact": EXACT}, "max_frames": 5}
    (row,) = compress(tmp_path, [working_row(tmp_path, "v", moving)], **settings)
    assert np.array_equal(read_clip(row["path"]), moving[:5])
    assert row["input_pixels_sha256"] == pixels_sha256(moving[:5])


def test_again_gives_the_same_table(tmp_path: Path, moving: np.ndarray) -> None:
    rows = [working_row(tmp_path, "v", moving)]
    first = compress(tmp_path, rows)
    (tmp_path / "t.parquet").unlink()
    assert compress(tmp_path, rows) == first


def test_bad_clips_become_rows(tmp_path: Path, moving: np.ndarray) -> None:
    rows = [
        working_row(tmp_path, "changed", moving, pixels_sha256="0" * 64),
        working_row(tmp_path, "odd", moving[:, :33]),
        working_row(tmp_path, "gone", moving),
        working_row(tmp_path, "dropped", moving, status="rejected", reason="no_face"),
        working_row(tmp_path, "good", moving),
    ]
    Path(rows[2]["path"]).unlink()
    made = compress(tmp_path, rows, label=1, qualities={"c23": Quality(crf=23)})
    assert [(row["video_id"], row["label"], row["status"], row["reason"]) for row in made] == [
        ("changed", 1, "failed", "input_changed"),
        ("odd", 1, "rejected", "odd_size"),
        ("gone", 1, "failed", "missing_file"),
        ("good", 1, "ok", ""),
    ]
    assert made[1]["detail"] == "64x33; yuv420p (c23) needs even sides"
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["good.mp4"]
