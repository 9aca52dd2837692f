"""Limits on video from outside: pixels, frames, seconds and memory that a file states or takes."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from deepfakemnist.config.base import MediaLimits
from deepfakemnist.config.dataset import FrameSettings
from deepfakemnist.dataset.imports import import_dataset
from deepfakemnist.errors import ConfigError, Failed, Rejected
from deepfakemnist.media.decode import read_frames
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.ingest import ingest_video
from deepfakemnist.media.marks import coded_stream, read_marks

pytestmark = pytest.mark.slow

_INGEST = """
import json, resource, sys
from deepfakemnist.config.base import MediaLimits
from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.ingest import ingest_video
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before, reason = peak(), ""
try:
    ingest_video({"path": sys.argv[1], "start_s": None, "end_s": None}, limits=MediaLimits(**json.loads(sys.argv[2])))
except (Failed, Rejected) as error:
    reason = str(error)
print(json.dumps([reason, peak() - before]))
"""


def encode(path: Path, *arguments: str) -> Path:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments, str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.mp4"
    write_working_clip(path, np.random.default_rng(1).integers(0, 255, (12, 64, 64, 3), np.uint8), 25)
    return path


def ingest(path: Path, **limits: float) -> str:
    """Return the message with which ingest refuses a file; empty for none."""
    try:
        ingest_video({"path": str(path), "start_s": None, "end_s": None}, limits=MediaLimits(**limits))
    except (Failed, Rejected) as error:
        return str(error)
    return ""


def ingest_alone(path: Path, **limits: int) -> tuple[str, int]:
    """Ingest in a process of its own; return the message and how much its peak memory grew, MB."""
    run = [sys.executable, "-c", _INGEST, str(path), json.dumps(limits)]
    reason, grown = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    return reason, grown


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, ""),
        ({"pixels": 64 * 64, "frames": 12, "seconds": 0.48}, ""),
        ({"pixels": 64 * 64 - 1}, "over_limit: .*64x64 = 4096 pixels; limits.pixels is 4095; convert"),
        ({"frames": 11}, "over_limit: .*more than 11 frames, as limits.frames allows"),
        ({"seconds": 0.4}, "over_limit: .*limits.seconds is 0.4; name segments by start_s and end_s"),
    ],
)
def test_each_limit_has_a_message(small: Path, limits: dict[str, float], message: str) -> None:
    said = ingest(small, **limits)
    assert (said == "") == (message == "")
    if message:
        with pytest.raises(Rejected, match=message):
            raise Rejected(*said.split(": ", 1))


def test_frames_are_counted_where_no_header_counts_them(small: Path, tmp_path: Path) -> None:
    stream = encode(tmp_path / "x.ts", "-i", str(small), "-c", "copy")
    assert ingest(stream) == "" and "more than 11 frames" in ingest(stream, frames=11)


def test_a_picture_that_grows_in_mid_stream_is_refused_by_its_size(small: Path, tmp_path: Path) -> None:
    parts = [
        encode(
            tmp_path / f"{side}.h264", "-i", str(small), "-vf", f"scale={side}:{side}", "-c:v", "libx264", "-bf", "0"
        )
        for side in (64, 512)
    ]
    (tmp_path / "both.h264").write_bytes(b"".join(part.read_bytes() for part in parts))
    both = encode(tmp_path / "both.ts", "-f", "h264", "-i", str(tmp_path / "both.h264"), "-c", "copy")
    assert "size_changes" in ingest(both)
    assert "over_limit" in ingest(both, pixels=64 * 65) and "512x512" in ingest(both, pixels=64 * 65)


def test_frames_days_apart_are_refused(small: Path, tmp_path: Path) -> None:
    """Resampled to 25 frames per second, three frames would be millions."""
    gap = encode(
        tmp_path / "gap.mkv", "-i", str(small), "-vf", "setpts=N*86400/TB", "-frames:v", "3", "-fps_mode", "vfr"
    )
    assert "a frame at 86400 s; limits.seconds is 14400" in ingest(gap)


def test_a_header_that_states_a_giant_picture_costs_no_memory(tmp_path: Path) -> None:
    picture = b"\x2c" + struct.pack("<HHHHB", 0, 0, 16000, 16000, 0) + b"\x02\x02\x4c\x01\x00\x3b"
    (tmp_path / "giant.gif").write_bytes(
        b"GIF89a" + struct.pack("<HHBBB", 16000, 16000, 0x80, 0, 0) + bytes(6) + picture
    )
    reason, grown = ingest_alone(tmp_path / "giant.gif")
    assert reason.split(":")[0] in ("over_limit", "corrupt", "truncated") and grown < 100


def _box(data: bytearray, *path: bytes) -> int:
    """Return where the box of this path begins in an MP4 file."""
    at, end = 0, len(data)
    for kind in path:
        while data[at + 4 : at + 8] != kind:
            at += int.from_bytes(data[at : at + 4], "big")
            assert at < end
        at += 8
    return at - 8


@pytest.mark.parametrize("samples", [1_000_000, 2_000_000_000])
def test_an_index_of_a_billion_frames_costs_no_memory(small: Path, tmp_path: Path, samples: int) -> None:
    data = bytearray(small.read_bytes())
    table = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
    for box, offset, values in ((b"stsz", 12, (1, samples)), (b"stts", 16, (samples,)), (b"stsc", 20, (samples,))):
        at = _box(data, *table, box) + offset
        data[at : at + 4 * len(values)] = struct.pack(f">{len(values)}I", *values)
    (tmp_path / "index.mp4").write_bytes(data)
    reason, grown = ingest_alone(tmp_path / "index.mp4")
    assert (reason.split(":")[0], grown < 250) == ("over_limit", True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the memory of a process")
def test_memory_is_bounded_by_the_operating_system(tmp_path: Path) -> None:
    film = ("-f", "lavfi", "-i", "testsrc2=s=5120x2880:d=0.36", "-c:v", "libx264", "-preset", "ultrafast")
    path = encode(tmp_path / "5k.mp4", *film, "-x264-params", "ref=16", "-pix_fmt", "yuv444p")
    assert ingest_alone(path)[0] == ""
    reason, grown = ingest_alone(path, memory_mb=100)
    assert reason.startswith("over_limit: ") and "takes more than the 100 MB of limits.memory_mb" in reason
    assert grown < 100 + 192  # with what is reserved and not used
    ingest(path, memory_mb=100)  # accepted where this process has freed enough memory before
    # Nothing is bounded any more: a working clip may be as large as it is.
    assert sum(1 for _ in read_frames(path)) == 9 and np.ones(400 << 20, np.uint8).any()


def test_imported_trees_have_limits_too(small: Path, tmp_path: Path) -> None:
    video = tmp_path / "tree/real_dataset/selected_test/s.mp4"
    video.parent.mkdir(parents=True)
    video.write_bytes(small.read_bytes())
    with pytest.raises(ConfigError, match="none of its 1 videos is usable.*limits.frames"):
        import_dataset(tmp_path / "tree", tmp_path / "out", FrameSettings(), limits=MediaLimits(frames=3))


def test_marks_open_no_other_file_either(small: Path, tmp_path: Path) -> None:
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\n{small}\n#EXT-X-ENDLIST\n")
    for read in (read_marks, coded_stream):
        with pytest.raises(Failed, match="not_a_video"):
            read(tmp_path / "list.m3u8")
