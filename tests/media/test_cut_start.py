"""Stream-copied cuts: what every player shows is read, and what none can show is refused by name."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from made_clips import numbered, read_numbers

from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.decode import read_frames
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.media.probe import probe

pytestmark = pytest.mark.slow

Run = Callable[..., Path]
COUNT = 110
_KEYFRAMES = "open-gop=1:keyint=30:min-keyint=30:bframes=3:b-adapt=0:scenecut=0"
#: Open groups of 30 pictures: the B-frames before a keyframe depend on the group before it.
OPEN_GROUPS = {
    "h264": ("-c:v", "libx264", "-x264-params", _KEYFRAMES),
    "hevc": ("-c:v", "libx265", "-x265-params", f"{_KEYFRAMES}:log-level=none:pools=1"),
    "mpeg2": ("-c:v", "mpeg2video", "-g", "15", "-bf", "2", "-q:v", "2"),
}


@pytest.fixture(scope="module")
def whole(run_ffmpeg: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    suffix = {"mpeg2": "mpg"}
    frames = numbered(COUNT)
    return {
        name: run_ffmpeg(*words, "-pix_fmt", "yuv420p", folder / f"{name}.{suffix.get(name, 'mp4')}", frames=frames)
        for name, words in OPEN_GROUPS.items()
    }


def shown_by_ffmpeg(path: Path) -> list[int]:
    """The numbers of the frames that ffmpeg shows, each once."""
    words = [find_ffmpeg().path, "-v", "quiet", "-i", path, "-fps_mode", "passthrough"]
    words += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(words, capture_output=True, check=True).stdout
    return read_numbers(np.frombuffer(data, np.uint8).reshape(-1, 96, 128, 3))


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mov", "h264.mkv", "hevc.mp4", "hevc.mkv", "hevc.ts", "mpeg2.mpg"])
def test_a_cut_at_an_open_group(run_ffmpeg: Run, tmp_path: Path, whole: dict[str, Path], name: str) -> None:
    path = run_ffmpeg("-ss", "2.9", "-i", whole[name.split(".")[0]], "-c", "copy", tmp_path / name)
    wanted = shown_by_ffmpeg(path)
    assert wanted == list(range(wanted[0], COUNT)) and wanted[0] >= 30
    assert read_numbers(read_frames(path)) == wanted
    assert read_numbers(read_frames(path, fps=25)) == wanted
    assert probe(path)["frames"] == len(wanted)


@pytest.mark.parametrize("name", ["h264.mkv", "h264.nut", "hevc.nut"])
def test_pictures_left_out_are_counted(run_ffmpeg: Run, tmp_path: Path, whole: dict[str, Path], name: str) -> None:
    path = run_ffmpeg("-ss", "2.9", "-i", whole[name.split(".")[0]], "-c", "copy", tmp_path / name)
    packets = packets_of(path)
    facts = probe(path)
    assert facts["frames_left_out"] == packets - len(shown_by_ffmpeg(path)) == packets - facts["frames"]


def packets_of(path: Path) -> int:
    with av.open(str(path)) as video:
        return sum(packet.size > 0 for packet in video.demux(video=0))


@pytest.mark.parametrize("codec", ["hevc", "mpeg2"])
def test_a_recording_that_starts_within_a_group(
    run_ffmpeg: Run, tmp_path: Path, whole: dict[str, Path], codec: str
) -> None:
    """Bytes are missing at the start, as in a broadcast: it begins at the first keyframe."""
    path = run_ffmpeg("-fflags", "+genpts", "-i", whole[codec], "-c", "copy", tmp_path / "cut.ts")
    packets = path.read_bytes()
    tables, middle = packets[: 188 * 3], len(packets) // 188 // 5 * 188
    path.write_bytes(tables + packets[middle:])
    facts = probe(path)
    seen = read_numbers(read_frames(path))
    assert seen == list(range(seen[0], COUNT)) and 0 < seen[0] <= 30
    assert seen == shown_by_ffmpeg(path)
    assert (facts["frames"], facts["frames_left_out"] > 0) == (len(seen), True)


def test_a_cut_without_times_is_refused_with_a_repair(run_ffmpeg: Run, tmp_path: Path, whole: dict[str, Path]) -> None:
    """AVI does not say which pictures are shown."""
    words = ("-c", "copy", "-bsf:v", "h264_mp4toannexb")
    path = run_ffmpeg("-ss", "2.9", "-i", whole["h264"], *words, tmp_path / "cut.avi")
    with pytest.raises(
        Rejected, match=r"cut_mid_group: .*cut\.avi: its first pictures depend on missing ones"
    ) as caught:
        list(read_frames(path))
    command = caught.value.detail.partition("ffmpeg ")[2].split()
    repaired = run_ffmpeg(*({"IN": path, "OUT.mp4": tmp_path / "out.mp4"}.get(word, word) for word in command))
    assert read_numbers(read_frames(repaired)) == shown_by_ffmpeg(path)


def test_a_cut_that_lost_the_codec_headers_is_refused(run_ffmpeg: Run, tmp_path: Path, whole: dict[str, Path]) -> None:
    """x264 does not repeat them at keyframes of open groups, so no player shows this file."""
    path = run_ffmpeg("-i", whole["h264"], "-c", "copy", tmp_path / "cut.ts")
    packets = path.read_bytes()
    path.write_bytes(packets[: 188 * 3] + packets[len(packets) // 188 // 2 * 188 :])
    for read in (probe, lambda path: list(read_frames(path))):
        with pytest.raises(
            Rejected, match=r"cut_mid_group: .*cut\.ts: has no header of its codec .*; cut the original"
        ):
            read(path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_damage_behind_the_cut_is_still_found(
    run_ffmpeg: Run, tmp_path: Path, whole: dict[str, Path], share: float
) -> None:
    path = run_ffmpeg("-ss", "2.9", "-i", whole["h264"], "-c", "copy", tmp_path / "cut.mkv")
    data = bytearray(path.read_bytes())
    at = int(len(data) * share)
    data[at : at + 300] = bytes(300)
    path.write_bytes(data)
    with pytest.raises(Failed, match=r"corrupt|truncated"):
        list(read_frames(path))


def sample(data: bytes, number: int) -> int:
    """Offset of a sample of an MP4 whose samples lie in one chunk after ``mdat``."""
    table = data.find(b"stsz") + 4
    sizes = [int.from_bytes(data[table + 12 + 4 * n : table + 16 + 4 * n]) for n in range(number)]
    return int.from_bytes(data[(at := data.find(b"stco") + 12) : at + 4]) + sum(sizes)


@pytest.mark.parametrize(("first", "usable"), [(45, False), (75, True)])
def test_damage_that_an_edit_list_hides(tmp_path: Path, whole: dict[str, Path], first: int, usable: bool) -> None:
    """It matters when shown frames depend on it, and not when a keyframe lies between; they are at 0, 30, 60, 90."""
    data = bytearray(whole["h264"].read_bytes())
    damaged = sample(data, 36)
    data[damaged + 5 : damaged + 25] = bytes(20)
    path = tmp_path / "edited.mp4"
    path.write_bytes(data)
    with pytest.raises(Failed, match="corrupt"):
        list(read_frames(path))
    # Duration in milliseconds, and start in ticks of 1/12800 s behind the two frames' delay.
    struct.pack_into(">II", data, data.find(b"elst") + 12, 40 * (COUNT - first), 512 * (first + 2))
    path.write_bytes(data)
    if usable:
        assert read_numbers(read_frames(path)) == list(range(first, COUNT))
    else:
        with pytest.raises(Failed, match="corrupt"):
            list(read_frames(path))
