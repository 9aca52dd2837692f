"""Lossless working clips, pixel hashes, ffmpeg discovery and x264 instruction sets."""

from __future__ import annotations

import errno
import hashlib
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from made_clips import numbered, ramp, read_numbers

from deepfakemnist.errors import ConfigError, Failed
from deepfakemnist.media import encode
from deepfakemnist.media.decode import read_clip, read_frame
from deepfakemnist.media.encode import (
    DETERMINISTIC_X264,
    FASTER_X264,
    LOSSLESS_X264,
    write_working_clip,
    x264_instruction_set,
)
from deepfakemnist.media.ffmpeg import absolute, ffmpeg_version, find_ffmpeg, frames_input, run_graph
from deepfakemnist.media.picture import Picture
from deepfakemnist.media.pixels import pixels_sha256
from deepfakemnist.tables.schemas import ANIMATED, Row
from deepfakemnist.tables.shards import run_shard


def files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.rglob("*") if entry.is_file())


class TestWorkingClip:
    def test_lossless(self, tmp_path: Path, moving: np.ndarray) -> None:
        clip = write_working_clip(tmp_path / "sub" / "a.mp4", iter(moving), 25)
        assert np.array_equal(read_clip(clip.path), moving)
        assert clip.frames == 12
        assert clip.pixels_sha256 == pixels_sha256(read_clip(clip.path))
        assert files(tmp_path) == ["a.mp4"]
        assert (clip.path.stat().st_mode & 0o444) == 0o444

    @pytest.mark.parametrize("fps", [10, 23.976, 24, 25, 29.97, 30 / 1.001, 50, 119.88])
    @pytest.mark.parametrize("keyframes", [(), (0, 7, 8, 290)])
    def test_any_frame_is_read_alone(self, tmp_path: Path, fps: float, keyframes: tuple[int, ...]) -> None:
        """290 lies behind x264's own second keyframe, at 250."""
        path = write_working_clip(tmp_path / "a.mp4", numbered(300), fps, keyframes).path
        asked = [0, 1, 6, 7, 8, 9, 249, 250, 289, 290, 291, 299]
        assert read_numbers(read_frame(path, index) for index in asked) == asked
        assert np.array_equal(read_clip(path), numbered(300))
        with av.open(str(path)) as container:
            packets = list(container.demux(video=0))
        found = {number for number, packet in enumerate(packets) if packet.is_keyframe}
        assert found >= {0, *keyframes}
        for index in (300, 301, 10_000):
            with pytest.raises(IndexError, match=rf"a.mp4 ends before frame {index}, counted from 0"):
                read_frame(path, index)

    def test_file_has_no_audio_name_or_date(self, tmp_path: Path, moving: np.ndarray) -> None:
        path = write_working_clip(tmp_path / "secret-name.mp4", moving, 25).path
        with av.open(str(path)) as container:
            assert [stream.type for stream in container.streams] == ["video"]
            assert container.streams.video[0].average_rate == 25
            assert not {"encoder", "title", "creation_time"} & set(container.metadata)
        data = path.read_bytes()
        assert b"secret" not in data and b"Lavf" not in data
        assert data.index(b"moov") < data.index(b"mdat")

    @pytest.mark.parametrize(
        ("fps", "rate"),
        [
            (10, Fraction(10)),
            (12.5, Fraction(25, 2)),
            (29.97, Fraction(2997, 100)),
            (30 / 1.001, Fraction(30000, 1001)),
        ],
    )
    def test_rate_is_constant_and_exact(self, tmp_path: Path, moving: np.ndarray, fps: float, rate: Fraction) -> None:
        path = write_working_clip(tmp_path / "a.mp4", moving, fps).path
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.average_rate == rate
            times = [frame.pts * stream.time_base for frame in container.decode(stream)]
            assert times == [number / rate for number in range(len(moving))]
            assert stream.duration * stream.time_base == len(moving) / rate

    def test_threads_write_concurrently(self, tmp_path: Path, moving: np.ndarray) -> None:
        clips = [np.roll(moving, shift, axis=2) for shift in range(8)]
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda n: write_working_clip(tmp_path / f"{n}.mp4", clips[n], 25), range(8)))
        assert [clip.pixels_sha256 for clip in made] == [pixels_sha256(clip) for clip in clips]

    def test_no_ffmpeg_program_is_needed(
        self, tmp_path: Path, moving: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/no/ffmpeg")
        assert write_working_clip(tmp_path / "a.mp4", moving, 25).frames == 12

    def test_no_frames_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(Failed, match="no_frames"):
            write_working_clip(tmp_path / "a.mp4", [], 25)
        assert files(tmp_path) == []

    def test_an_error_midway_leaves_the_old_file(self, tmp_path: Path, moving: np.ndarray) -> None:
        def broken() -> Iterator[np.ndarray]:
            yield from moving[:3]
            raise RuntimeError("animator out of memory")

        write_working_clip(tmp_path / "a.mp4", moving, 25)
        with pytest.raises(RuntimeError, match="out of memory"):
            write_working_clip(tmp_path / "a.mp4", broken(), 25)
        assert np.array_equal(read_clip(tmp_path / "a.mp4"), moving)
        assert files(tmp_path) == ["a.mp4"]

    def test_frame_sizes_must_agree(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="one size"):
            write_working_clip(tmp_path / "a.mp4", [*ramp(2), *ramp(1, height=50)], 25)
        assert files(tmp_path) == []

    def test_encoder_errors_become_encode_failed(self, tmp_path: Path) -> None:
        with pytest.raises(Failed, match="encode_failed"):
            write_working_clip(tmp_path / "a.mp4", [np.zeros((2, 20_000, 3), np.uint8)], 25)
        assert files(tmp_path) == []

    def test_one_wrong_bit_is_detected(
        self, tmp_path: Path, moving: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        right = Picture.rgb

        def wrong(picture: Picture) -> np.ndarray:
            pixels = right(picture)
            pixels[-1, -1, -1] ^= 1
            return pixels

        monkeypatch.setattr(Picture, "rgb", wrong)
        with pytest.raises(Failed, match="encode_differs"):
            write_working_clip(tmp_path / "a.mp4", moving, 25)
        assert files(tmp_path) == []

    def test_a_full_disk_stops_the_job(
        self, tmp_path: Path, moving: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        @contextmanager
        def on_full_disk(path: Path) -> Iterator[Path]:
            (part := path.with_suffix(".part.mp4")).symlink_to("/dev/full")
            yield part

        def work(row: Row) -> Row:
            return {"path": str(write_working_clip(tmp_path / "a.mp4", moving, 25).path)}

        monkeypatch.setattr(encode, "atomic_path", on_full_disk)
        table = tmp_path / "t.parquet"
        with pytest.raises(OSError, match="No space left") as stopped:
            run_shard([{"video_id": "a"}], table, ANIMATED, work, code="c0de")
        assert stopped.value.errno == errno.ENOSPC
        assert not table.exists()


class TestPixels:
    def test_known_hash(self) -> None:
        frame = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
        assert pixels_sha256([frame]) == hashlib.sha256(b"3x2;" + bytes(range(18))).hexdigest()

    def test_hash_depends_on_shape_order_and_values(self, moving: np.ndarray) -> None:
        changed = moving.copy()
        changed[5, 6, 7, 1] ^= 1
        clips = [moving, moving[::-1], moving[1:], changed, moving.reshape(12, 32, 128, 3)]
        assert len({pixels_sha256(clip) for clip in clips}) == 5
        assert pixels_sha256(moving[:, ::2, ::2]) == pixels_sha256(moving[:, ::2, ::2].copy())

    def test_other_arrays_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"\(H,W,3\) uint8, not \(2, 2, 3\) float32"):
            pixels_sha256([np.zeros((2, 2, 3), np.float32)])


class TestProgram:
    def program(self, path: Path, script: str) -> Path:
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def test_search_order(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = find_ffmpeg().path
        for name in ("named", "env", "ffmpeg"):
            self.program(tmp_path / name, f'exec "{real}" "$@"')
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        monkeypatch.delenv("IMAGEIO_FFMPEG_EXE", raising=False)
        assert find_ffmpeg().path == str(tmp_path / "ffmpeg")
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "env"))
        assert find_ffmpeg().path == str(tmp_path / "env")
        assert find_ffmpeg(str(tmp_path / "named")).path == str(tmp_path / "named")

    def test_version_is_the_first_line(self) -> None:
        assert ffmpeg_version().startswith("ffmpeg version ")

    def test_missing_program(self) -> None:
        with pytest.raises(ConfigError, match="'/no/ffmpeg' is not an executable"):
            find_ffmpeg("/no/ffmpeg")

    def test_without_x264(self, tmp_path: Path) -> None:
        poor = self.program(tmp_path / "poor", 'echo "ffmpeg version 1"; echo " V..... libx264 x"')
        with pytest.raises(ConfigError, match=r"poor \(ffmpeg version 1\) lacks the encoder libx264rgb\. Use a build"):
            find_ffmpeg(str(poor))

    def test_cannot_run(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be run"):
            find_ffmpeg(str(self.program(tmp_path / "bad", "exit 3")))

    def test_error_carries_the_ffmpeg_log(self, tmp_path: Path) -> None:
        graph = frames_input(47, 33, 25).output(absolute(tmp_path / "odd.mp4"), vcodec="libx264", pix_fmt="yuv420p")
        with pytest.raises(Failed, match=r"encode_failed: ffmpeg exited with .*not divisible by 2"):
            run_graph(graph, find_ffmpeg(), ramp(40, height=33, width=47))


class TestInstructionSet:
    """The ``asm`` option for x264 is accepted by x264's own parser, in ffmpeg and in PyAV."""

    def warnings_of_ffmpeg(self, params: str) -> str:
        source = ("-f", "lavfi", "-i", "testsrc=size=64x64:rate=25:duration=0.2", "-pix_fmt", "yuv420p")
        words = [*source, "-c:v", "libx264", "-x264-params", params, "-f", "null", "-"]
        head = [find_ffmpeg().path, "-hide_banner", "-nostdin", "-loglevel", "warning"]
        return subprocess.run([*head, *words], capture_output=True, text=True, timeout=60, check=True).stderr

    def warnings_of_pyav(self, params: str) -> list[str]:
        before = av.logging.get_level()
        av.logging.set_level(av.logging.WARNING)
        try:
            with av.logging.Capture() as messages:
                encoder = av.CodecContext.create("libx264", "w")
                encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = 64, 64, "yuv420p", 25
                encoder.options = {"x264-params": params}
                encoder.encode(av.VideoFrame(64, 64, "yuv420p"))
        finally:
            av.logging.set_level(before)
        return [text for _, _, text in messages]

    @pytest.mark.parametrize(
        "params",
        [
            DETERMINISTIC_X264["x264-params"],
            FASTER_X264["x264-params"],
            LOSSLESS_X264["x264-params"],
            f"asm={x264_instruction_set('riscv64')}",
            f"asm={x264_instruction_set('riscv64', portable=False)}",
        ],
    )
    def test_is_accepted(self, params: str) -> None:
        assert self.warnings_of_ffmpeg(params) == ""
        assert self.warnings_of_pyav(params) == []

    def test_an_unknown_set_is_warned_about(self) -> None:
        assert "Error parsing option 'asm = vector9'" in self.warnings_of_ffmpeg("asm=vector9")
        assert any("Error parsing option 'asm = vector9'" in text for text in self.warnings_of_pyav("asm=vector9"))

    def test_is_named_only_on_x86(self) -> None:
        machines = ("x86_64", "AMD64", "aarch64", "arm64", "ppc64le")
        assert [x264_instruction_set(machine) for machine in machines] == ["mmx2", "mmx2", "0", "0", "0"]
        faster = [x264_instruction_set(machine, portable=False) for machine in machines]
        assert faster == ["sse2", "sse2", "auto", "auto", "auto"]
