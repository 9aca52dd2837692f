"""Frame times: every decoded picture is used once and in order, whatever the container says about times."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from made_clips import numbered, read_numbers

from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.decode import read_frames
from deepfakemnist.media.probe import probe

pytestmark = pytest.mark.slow

Run = Callable[..., Path]
COUNT = 60
B_FRAMES = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-bf", "3", "-g", "25", "-crf", "20")


@pytest.fixture(scope="module")
def reordered(run_ffmpeg: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A correct MP4 with B-frames."""
    return run_ffmpeg(*B_FRAMES, tmp_path_factory.mktemp("times") / "b.mp4", frames=numbered(COUNT))


def remux(source: Path, target: Path, times: Callable[[int, int, int], tuple[int, int]]) -> Path:
    """Copy the packets of a video; ``times`` maps packet number, pts and dts to new ones."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            if packet.size:
                assert packet.pts is not None and packet.dts is not None
                packet.pts, packet.dts = times(number, packet.pts, packet.dts)
                packet.stream = stream
                new.mux(packet)
    return target


def decoding_times(number: int, pts: int, dts: int) -> tuple[int, int]:
    """Times that start at 0, as an edit list would hide frames before that."""
    return (dts + 1024, dts + 1024)


@pytest.mark.parametrize("name", ["x.mp4", "x.mov", "x.mkv", "x.ts", "x.flv", "x.nut", "x.avi", "x.asf", "x.mpg"])
def test_every_container_gives_every_frame_once(run_ffmpeg: Run, tmp_path: Path, reordered: Path, name: str) -> None:
    """AVI holds no presentation times; the others do."""
    annex_b = ("-bsf:v", "h264_mp4toannexb") if name in ("x.avi", "x.mpg") else ()
    path = run_ffmpeg("-i", reordered, "-c", "copy", *annex_b, tmp_path / name)
    assert read_numbers(read_frames(path)) == list(range(COUNT))
    assert read_numbers(read_frames(path, fps=25)) == list(range(COUNT))
    facts = probe(path)
    assert (facts["frames"], facts["duration_s"], facts["variable_rate"]) == (
        COUNT,
        pytest.approx(2.4, abs=0.04),
        False,
    )


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.ts", "x.flv"])
@pytest.mark.parametrize("fps", [25, 12.5, 30])
def test_decoding_times_alone(tmp_path: Path, reordered: Path, name: str, fps: float) -> None:
    """Without composition times the frames come in the decoder's order, at the rate of the decoding times."""
    path = remux(reordered, tmp_path / name, decoding_times)
    seen = read_numbers(read_frames(path, fps=fps))
    # MKV and FLV round to milliseconds
    assert seen == [int((k / Fraction(fps) + Fraction(1, 1000)) * 25) for k in range(len(seen))]
    assert len(seen) == COUNT * fps / 25
    assert read_numbers(read_frames(path, fps=25, start_s=0.4, end_s=1.2)) == list(range(10, 30))


def test_decoding_times_far_inside(run_ffmpeg: Run, tmp_path: Path) -> None:
    """A segment that is reached by seeking has the same frames."""
    whole = run_ffmpeg(*B_FRAMES, tmp_path / "long.mp4", frames=numbered(150))
    path = remux(whole, tmp_path / "x.mp4", decoding_times)
    assert read_numbers(read_frames(path, fps=25, start_s=3.2, end_s=4.4)) == list(range(80, 110))


def test_uneven_decoding_times(tmp_path: Path, reordered: Path) -> None:
    """Variable frame rate without composition times: a pause of half a second is kept."""
    with av.open(str(reordered)) as video:
        ticks = round(1 / video.streams.video[0].time_base)  # type: ignore[operator]
    path = remux(reordered, tmp_path / "x.mkv", lambda number, pts, dts: (dts + ticks // 2 * (number >= 30),) * 2)
    seen = read_numbers(read_frames(path, fps=25))
    assert list(dict.fromkeys(seen)) == list(range(COUNT))
    assert len(seen) == pytest.approx(COUNT + 12, abs=1)
    assert max(np.bincount(seen)) == pytest.approx(13, abs=1)
    assert probe(path)["variable_rate"] is True


@pytest.mark.parametrize("copies", [2, 5])
def test_frames_that_share_a_time_are_refused(tmp_path: Path, reordered: Path, copies: int) -> None:
    """Otherwise no frame rate would show them, and nobody would notice."""
    path = remux(
        reordered,
        tmp_path / "x.mp4",
        lambda number, pts, dts: (512 * (number // copies * copies) + number % copies,) * 2,
    )
    for read in (probe, lambda path: list(read_frames(path, fps=25))):
        with pytest.raises(
            Rejected, match=r"time_stamps: .*x\.mp4: \d+ of 60 frames have the time of another; .*ffmpeg"
        ):
            read(path)


def test_times_that_start_again(run_ffmpeg: Run, tmp_path: Path) -> None:
    """Two recordings in one program stream: refused with a command that helps."""
    path = run_ffmpeg("-c:v", "mpeg2video", "-q:v", "2", "-bf", "2", tmp_path / "x.mpg", frames=numbered(COUNT))
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(Rejected, match=r"time_stamps: .* step back from 2\.\d\d s to 0\.\d\d s") as caught:
        list(read_frames(path, fps=25))
    command = caught.value.detail.partition("ffmpeg ")[2].split()
    words = [{"IN": path, "OUT.mp4": tmp_path / "repaired.mp4"}.get(word, word) for word in command]
    assert read_numbers(read_frames(run_ffmpeg(*words), fps=25)) == [*range(COUNT)] * 2


def test_a_fault_behind_a_segment_does_not_matter(tmp_path: Path, reordered: Path) -> None:
    path = tmp_path / "bad.mp4"
    data = bytearray(reordered.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 500] = bytes(500)
    path.write_bytes(data)
    with pytest.raises(Failed, match="corrupt"):
        list(read_frames(path, fps=25))
    assert read_numbers(read_frames(path, fps=25, start_s=0, end_s=0.8)) == list(range(20))
