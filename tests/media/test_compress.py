"""Compression stage: real and fake clips share one encode chain, and files carry nothing but pixels."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from deepfakemnist.config.dataset import CompressSettings, MarkSettings, Quality
from deepfakemnist.errors import ConfigError
from deepfakemnist.media.colour import to_samples
from deepfakemnist.media.compress import compress_shard
from deepfakemnist.media.decode import read_clip
from deepfakemnist.media.encode import write_working_clip, x264_instruction_set
from deepfakemnist.media.encoder_notes import encoder_note
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.media.lengths import pair_lengths
from deepfakemnist.media.pixels import pixels_sha256
from deepfakemnist.media.samples import open_samples, samples_sha256
from deepfakemnist.tables.files import read_rows, read_table, write_table
from deepfakemnist.tables.schemas import COMPRESSED, CROPPED, PLANNED, Row

EXACT = Quality(codec="libx264rgb", qp=0, pix_fmt="rgb24", preset="ultrafast")
FFPP = Quality(codec="libx264rgb", crf=0, pix_fmt="rgb24")  # what FaceForensics++ calls raw
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


def stored(path: str) -> np.ndarray:
    """Return all samples of a file, (T,N)."""
    with open_samples(path) as samples:
        return np.stack(list(samples))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, moving: np.ndarray) -> dict[str, list[Row]]:
    """The same clip encoded as a real and as a fake, under different names and folders."""
    real, fake = tmp_path_factory.mktemp("real"), tmp_path_factory.mktemp("fake")
    return {
        "real": compress(real, [working_row(real, "person#1", moving)], label=0),
        "fake": compress(fake, [working_row(fake, "src@drv", moving)], label=1),
    }


@pytest.mark.numeric
def test_a_row_describes_its_encoded_file(made: dict[str, list[Row]], moving: np.ndarray) -> None:
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
        assert row["pixels_sha256"] == samples_sha256(row["path"])
        assert row["sha256"] == hashlib.sha256(Path(row["path"]).read_bytes()).hexdigest()
        assert 0 < row["stream_bytes"] < row["bytes"]
        assert re.fullmatch(r"x264 - core \d+( r\d+ \w+)?", row["encoder_version"])
    raw, c23, c40 = (stored(row["path"]) for row in rows)
    assert rows[0]["psnr_db"] is None  # raw stores exactly the samples that were encoded
    assert rows[1]["psnr_db"] == pytest.approx(peak_signal_noise_ratio(raw, c23), abs=1e-6)
    assert rows[2]["psnr_db"] == pytest.approx(peak_signal_noise_ratio(raw, c40), abs=1e-6)
    assert rows[1]["psnr_db"] > rows[2]["psnr_db"] > 15
    assert 1 == rows[0]["ssim"] > rows[1]["ssim"] > rows[2]["ssim"] > 0.3
    assert rows[0]["bytes"] > rows[1]["bytes"] > rows[2]["bytes"]
    assert json.loads(rows[1]["encoder"]) == {
        "codec": "libx264", "crf": 23, "pix_fmt": "yuv420p", "preset": "medium",
    }  # fmt: skip


def test_real_and_fake_differ_only_in_their_marks(made: dict[str, list[Row]]) -> None:
    marks = {"label", "path", "video_id", "bytes", "sha256", "marks"}
    for real, fake in zip(made["real"], made["fake"], strict=True):
        assert (real["marks"], fake["marks"]) == ("", "comment,c2pa")
        assert {name for name in real if real[name] != fake[name]} == marks
        data = Path(real["path"]).read_bytes()
        assert b"person" not in data
        with av.open(real["path"]) as container:
            assert not {"encoder", "title", "creation_time", "comment"} & set(container.metadata)


def test_unmarked_real_and_fake_files_are_identical(tmp_path: Path, moving: np.ndarray) -> None:
    settings = {"qualities": {"c23": Quality(crf=23)}, "mark": MarkSettings(comment=False, c2pa=False)}
    data = []
    for label, name in enumerate(("person#1", "src@drv")):
        (tmp_path / name).mkdir()
        (row,) = compress(tmp_path / name, [working_row(tmp_path / name, name, moving)], label, **settings)
        data.append(Path(row["path"]).read_bytes())
    assert data[0] == data[1]


def test_all_qualities_come_from_one_ffmpeg_process(made: dict[str, list[Row]]) -> None:
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


def test_raw_is_lossless_after_colour_conversion(made: dict[str, list[Row]], moving: np.ndarray) -> None:
    """Luma equals BT.601 of the input, up to rounding."""
    with av.open(made["real"][0]["path"]) as container:
        stream = container.streams.video[0]
        planes = np.stack([frame.to_ndarray() for frame in container.decode(stream)])
        assert (stream.codec_context.pix_fmt, int(stream.codec_context.colorspace)) == ("yuv420p", 6)
    luma = 16 + moving @ np.array([65.481, 128.553, 24.966]) / 255
    assert np.abs(planes[:, :64] - luma).max() < 1.0


@pytest.mark.numeric
def test_colours_do_not_drift(tmp_path: Path) -> None:
    """Flat colours come back within the rounding of 8-bit YUV."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 150, 120)]
    flat = np.stack([np.full((32, 32, 3), colour, np.uint8) for colour in colours])
    (row,) = compress(tmp_path, [working_row(tmp_path, "v", flat)], qualities={"raw": Quality(qp=0)})
    assert np.abs(read_clip(row["path"]).astype(int) - flat).max() <= 2


@pytest.mark.numeric
def test_rgb_encodes_are_bit_exact(tmp_path: Path, moving: np.ndarray) -> None:
    odd = moving[:, :33, :47]
    rows = compress(
        tmp_path, [working_row(tmp_path, "v", odd)], qualities={"exact": EXACT, "full": FULL_CHROMA, "c0": FFPP}
    )
    assert (rows[0]["psnr_db"], rows[2]["psnr_db"]) == (None, None)
    assert rows[2]["pixels_sha256"] == rows[0]["pixels_sha256"]
    assert np.array_equal(read_clip(rows[0]["path"]), odd)
    assert rows[0]["pixels_sha256"] == hashlib.sha256(np.ascontiguousarray(odd).data).hexdigest()
    assert rows[1]["psnr_db"] > 25
    assert read_clip(rows[1]["path"]).shape == (12, 33, 47, 3)


def test_max_frames_truncates_the_clip(tmp_path: Path, moving: np.ndarray) -> None:
    settings = {"qualities": {"exact": EXACT}, "max_frames": 5}
    (row,) = compress(tmp_path, [working_row(tmp_path, "v", moving)], **settings)
    assert np.array_equal(read_clip(row["path"]), moving[:5])
    assert row["input_pixels_sha256"] == pixels_sha256(moving[:5])


def test_a_clip_known_by_its_checksum_is_decoded_as_far_as_it_is_kept(tmp_path: Path, moving: np.ndarray) -> None:
    """The rest of this clip cannot be decoded, which nobody notices; without a checksum somebody does."""
    row = working_row(tmp_path, "v", moving)

    def compressed(name: str, row: Row) -> Row:
        folder = tmp_path / name
        folder.mkdir()
        (found,) = compress(folder, [row], qualities={"exact": EXACT}, max_frames=5)
        return {column: value for column, value in found.items() if column != "path"}

    whole = compressed("whole", row)
    path = Path(row["path"])
    with av.open(row["path"]) as container:
        last = container.streams.video[0].index_entries[-1]
        place, size = last.pos, last.size
    data = bytearray(path.read_bytes())
    data[place : place + size] = bytes(size)
    path.write_bytes(data)
    assert compressed("part", {**row, "sha256": hashlib.sha256(data).hexdigest()}) == whole
    damaged = compressed("damaged", row)
    assert (damaged["status"], damaged["reason"]) == ("failed", "corrupt")


def test_clips_of_a_pair_are_cut_to_the_shortest(tmp_path: Path, moving: np.ndarray) -> None:
    """A real of 12 frames with planned drivers of 9 and 7, the second rejected later; another real has no fake."""
    source = working_row(tmp_path, "s", moving)
    alone = working_row(tmp_path, "alone", moving)
    fake = working_row(tmp_path, "s@d1", moving[:9])
    table = [{**source, "status": "ok"}, alone, working_row(tmp_path, "dark", moving[:3], status="rejected")]
    write_table(table, tmp_path / "crops.parquet", CROPPED)
    planned = {"source_id": "s", "action": "nod", "split": "test", "status": "ok", "reason": "", "detail": ""}
    plan = [
        {**planned, "video_id": "s@d1", "motion_frames": 9},
        {**planned, "video_id": "s@d2", "motion_frames": 7},
        {**planned, "video_id": "s@yaw", "motion_frames": 2, "status": "rejected"},
        {**planned, "video_id": "dark@d1", "source_id": "dark", "motion_frames": 9, "status": "rejected"},
    ]
    write_table(plan, tmp_path / "plan.parquet", PLANNED)
    lengths = pair_lengths([tmp_path / "crops.parquet"], [tmp_path / "plan.parquet"])
    assert lengths == {"s": 7, "alone": 12, "s@d1": 7, "s@d2": 7}

    write_table([source, alone, fake], tmp_path / "clips.parquet", CROPPED)
    options = {"label": 0, "settings": CompressSettings(qualities={"exact": EXACT}), "fps": 25.0, "code": "c0de"}
    compress_shard(tmp_path / "clips.parquet", tmp_path / "t.parquet", tmp_path / "out", **options, lengths=lengths)
    rows = read_rows(tmp_path / "t.parquet")
    assert [(row["video_id"], row["frames"], row["frames_cut"]) for row in rows] == [
        ("s", 7, 5), ("alone", 12, 0), ("s@d1", 7, 2),
    ]  # fmt: skip
    assert np.array_equal(read_clip(rows[0]["path"]), moving[:7])


def test_config_adds_codecs_and_second_generation_encodes(tmp_path: Path, moving: np.ndarray) -> None:
    qualities = {
        "c23": Quality(crf=23),
        "hevc": Quality(codec="libx265", crf=28, preset="veryfast"),
        "av1": Quality(codec="libsvtav1", crf=35, preset="veryfast"),
        "upload": Quality(crf=28, shrink_to=32, after="c23"),
    }
    wanted = {quality.codec for quality in qualities.values()}
    if missing := wanted - find_ffmpeg().encoders:
        pytest.skip(f"this ffmpeg lacks {', '.join(sorted(missing))}")
    rows = {
        row["quality"]: row for row in compress(tmp_path, [working_row(tmp_path, "v", moving)], qualities=qualities)
    }
    codecs = {}
    for name, row in rows.items():
        assert (row["status"], read_clip(row["path"]).shape) == ("ok", moving.shape)
        with av.open(row["path"]) as container:
            codecs[name] = container.streams.video[0].codec.canonical_name
    assert codecs == {"c23": "h264", "hevc": "hevc", "av1": "av1", "upload": "h264"}
    assert rows["upload"]["psnr_db"] < rows["c23"]["psnr_db"]
    assert rows["hevc"]["encoder_version"].startswith("x265 (build ")
    first, second = (json.loads(rows[name]["ffmpeg_argv"]) for name in ("c23", "upload"))
    assert "upload.mp4" not in first and "c23.mp4" not in second


def test_a_lossless_quality_is_coded_by_the_entropy_coder_that_decodes_fast(made: dict[str, list[Row]]) -> None:
    notes = {row["quality"]: encoder_note(row["path"]) for row in made["real"]}
    assert {name: re.search(r" cabac=\d", note).group() for name, note in notes.items()} == {
        "raw": " cabac=0",
        "c23": " cabac=1",
        "c40": " cabac=1",
    }


def test_pixels_of_one_vendor_are_encoded_faster(tmp_path: Path, moving: np.ndarray) -> None:
    qualities = {"raw": Quality(qp=0), "c23": Quality(crf=23)}
    made: dict[bool, list[Row]] = {}
    for portable in (True, False):
        folder = tmp_path / str(portable)
        folder.mkdir()
        made[portable] = compress(folder, [working_row(folder, "v", moving)], qualities=qualities, portable=portable)
    (exact, lossy), (fast_exact, fast_lossy) = made[True], made[False]
    assert fast_exact["pixels_sha256"] == exact["pixels_sha256"]
    words = json.loads(fast_lossy["ffmpeg_argv"])
    assert f"asm={x264_instruction_set(platform.machine(), portable=False)}" in words
    assert f"asm={x264_instruction_set(platform.machine())}" in json.loads(lossy["ffmpeg_argv"])
    # The few blocks that differ are quantised one step apart: 1 dB at most, were it all of them.
    assert fast_lossy["psnr_db"] == pytest.approx(lossy["psnr_db"], abs=1)


@pytest.mark.parametrize(
    ("quality", "message"),
    [
        ({"codec": "libx265", "qp": 0}, "qp is for libx264"),
        ({"crf": 60}, "crf of libx264 is at most 51"),
        ({"codec": "libsvtav1", "crf": 30, "pix_fmt": "yuv444p"}, "yuv420p only"),
        ({"crf": 23, "after": "c99"}, r"q.after is 'c99'; allowed are \[\]"),
    ],
)
def test_invalid_qualities_are_refused(quality: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompressSettings(qualities={"q": quality})


def test_a_missing_encoder_is_named(tmp_path: Path, moving: np.ndarray) -> None:
    poor = replace(find_ffmpeg(), encoders=frozenset({"libx264"}))
    with pytest.raises(ConfigError, match="compress.qualities needs libx265, which"):
        poor.require(["libx264", "libx265"])


@pytest.mark.numeric
def test_psnr_and_ssim_match_ffmpeg(made: dict[str, list[Row]]) -> None:
    raw, *others = made["real"]
    for row in others:
        words = ["-i", row["path"], "-i", raw["path"], "-lavfi", "[0:v][1:v]ssim;[0:v][1:v]psnr", "-f", "null", "-"]
        shown = subprocess.run([find_ffmpeg().path, "-hide_banner", *words], capture_output=True, text=True, check=True)
        assert row["ssim"] == pytest.approx(float(re.search(r"SSIM Y:([\d.]+)", shown.stderr).group(1)), abs=1e-5)
        assert row["psnr_db"] == pytest.approx(float(re.search(r"average:([\d.]+)", shown.stderr).group(1)), abs=1e-4)


def test_pixel_hash_matches_ffmpeg(made: dict[str, list[Row]], tmp_path: Path, moving: np.ndarray) -> None:
    rgb = compress(tmp_path, [working_row(tmp_path, "v", moving)], qualities={"exact": EXACT, "full": FULL_CHROMA})
    for row, words in [*((row, []) for row in (*made["fake"], rgb[1])), (rgb[0], ["-pix_fmt", "rgb24"])]:
        asked = [find_ffmpeg().path, "-v", "error", "-i", row["path"], "-map", "0:v", *words, "-f", "hash"]
        shown = subprocess.run([*asked, "-hash", "sha256", "-"], capture_output=True, text=True, check=True)
        assert shown.stdout.strip() == f"SHA256={row['pixels_sha256']}"


def test_vmaf_when_ffmpeg_supports_it(tmp_path: Path, moving: np.ndarray) -> None:
    qualities = {"raw": Quality(qp=0, preset="veryfast"), "c40": Quality(crf=40)}
    rows = compress(tmp_path, [working_row(tmp_path, "v", moving)], qualities=qualities, vmaf=True)
    assert rows[0]["vmaf"] is None
    if "libvmaf" in find_ffmpeg().filters:
        assert 0 <= rows[1]["vmaf"] < 95
    else:
        assert rows[1]["vmaf"] is None


def test_ffmpeg_builds_give_the_same_pixels(tmp_path: Path, moving: np.ndarray) -> None:
    bundled, other = imageio_ffmpeg.get_ffmpeg_exe(), shutil.which("ffmpeg")
    if not other or find_ffmpeg(other).version == find_ffmpeg(bundled).version:
        pytest.skip("needs a second ffmpeg on PATH, e.g. Debian's, besides the one in imageio-ffmpeg")
    hashes = []
    for number, program in enumerate((bundled, other)):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_table([working_row(folder, "v", moving)], folder / "clips.parquet", CROPPED)
        options = {"label": 0, "settings": CompressSettings(), "fps": 25.0, "code": "c0de", "ffmpeg": program}
        compress_shard(folder / "clips.parquet", folder / "t.parquet", folder / "out", **options)
        hashes.append([row["pixels_sha256"] for row in read_rows(folder / "t.parquet")])
    assert hashes[0] == hashes[1]


@pytest.mark.slow
@pytest.mark.parametrize("junk", ["85", "165"])
def test_pixels_are_independent_of_cpu_memory_and_x264_build(
    tmp_path: Path, moving: np.ndarray, monkeypatch: pytest.MonkeyPatch, junk: str
) -> None:
    """PyAV ships its own x264, run here in plain C; glibc hands ffmpeg memory filled with junk."""
    monkeypatch.setenv("MALLOC_PERTURB_", junk)
    qualities = {"raw": Quality(qp=0), "q20": Quality(qp=20), "c23": Quality(crf=23), "c40": Quality(crf=40)}
    clips = {"plain": moving, "turned": moving.swapaxes(1, 2), "wide": np.tile(moving, (3, 1, 3, 1))}
    rows = [working_row(tmp_path, name, np.ascontiguousarray(clip)) for name, clip in clips.items()]
    for row in compress(tmp_path, rows, qualities=qualities):
        quality = qualities[row["quality"]]
        rate = {"crf": str(quality.crf)} if quality.qp is None else {"qp": str(quality.qp)}
        path = tmp_path / f"pyav-{row['video_id']}-{row['quality']}.mp4"
        width, height = row["width"], row["height"]
        options = {"preset": quality.preset, "x264-params": "asm=0", **rate}
        with av.open(str(path), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt, stream.thread_count = width, height, "yuv420p", 1
            for samples in to_samples(clips[row["video_id"]], "yuv420p"):
                planes = samples.reshape(height * 3 // 2, width)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
            container.mux(stream.encode(None))
        assert samples_sha256(path) == row["pixels_sha256"], (row["video_id"], row["quality"])
        assert path.read_bytes() != Path(row["path"]).read_bytes()


def test_a_rerun_gives_the_same_table(tmp_path: Path, moving: np.ndarray) -> None:
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
