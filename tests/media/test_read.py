"""Video reading: every defect has its reason; every intact file yields all frames at the right times."""

from __future__ import annotations

import gc
import hashlib
import shlex
import struct
import subprocess
import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from made_clips import ramp, ramp_indices
from PIL import Image

from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.decode import read_clip, read_frames
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.media.probe import probe

Run = Callable[..., Path]
LOSSLESS = ("-c:v", "libx264rgb", "-qp", "0", "-preset", "ultrafast")


def reason(path: Path) -> tuple[str, str]:
    """Return error class and reason, on which probe and read_clip must agree."""
    seen = set()
    for read in (probe, read_clip):
        with pytest.raises((Failed, Rejected)) as caught:
            read(path)
        assert path.name in caught.value.detail
        seen.add((type(caught.value).__name__, caught.value.reason))
    assert len(seen) == 1, seen
    return seen.pop()


@pytest.fixture
def noisy(run_ffmpeg: Run, tmp_path: Path) -> Callable[..., Path]:
    """A video of 50 frames with audio, about 100 kB."""

    def make(name: str, *words: str) -> Path:
        source = ("-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=2,noise=alls=30", "-f", "lavfi", "-i", "sine=d=2")
        video = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "25")
        return run_ffmpeg(*source, *video, "-c:a", "aac", *words, tmp_path / name)

    return make


class TestBroken:
    def test_missing(self, tmp_path: Path) -> None:
        assert reason(tmp_path / "none.mp4") == ("Failed", "missing_file")
        assert reason(tmp_path) == ("Failed", "missing_file")

    def test_empty(self, tmp_path: Path) -> None:
        path = tmp_path / "empty.mp4"
        path.touch()
        assert reason(path) == ("Failed", "empty_file")

    @pytest.mark.parametrize(
        "data",
        [b"<!DOCTYPE html><html><body>Video unavailable</body></html>\n" * 9, bytes(range(256)) * 40, b"x"],
        ids=["html", "noise", "letter"],
    )
    def test_not_a_video(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "page.mp4"
        path.write_bytes(data)
        assert reason(path) == ("Failed", "not_a_video")

    def test_still_image_is_not_a_video(self, run_ffmpeg: Run, tmp_path: Path) -> None:
        assert reason(run_ffmpeg("-frames:v", "1", tmp_path / "p.png", frames=ramp(1))) == ("Failed", "not_a_video")

    @pytest.mark.parametrize(("name", "format_name"), [("a b.webp", "WEBP"), ("a.png", "PNG"), ("clip.mp4", "WEBP")])
    def test_animated_pictures_are_no_videos(self, tmp_path: Path, name: str, format_name: str) -> None:
        pictures = [Image.fromarray(frame) for frame in ramp(3)]
        path = tmp_path / name
        pictures[0].save(path, format_name, save_all=True, append_images=pictures[1:])
        with pytest.raises(Failed) as failure:
            read_clip(path)
        assert failure.value.reason == "not_a_video"
        assert f"magick {shlex.quote(name)} {shlex.quote(path.stem + '.mp4')}" in failure.value.detail

    def test_sound_in_riff_is_not_a_video(self, tmp_path: Path) -> None:
        with wave.open(str(tmp_path / "x.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", "none"))
            file.writeframes(bytes(4000))
        assert reason(tmp_path / "x.wav") == ("Failed", "not_a_video")

    def test_a_playlist_opens_no_other_file(self, tmp_path: Path) -> None:
        """ffmpeg would follow it, but a path in a sheet must give that file or nothing."""
        clip = write_working_clip(tmp_path / "clip.mp4", ramp(4), 25).path
        path = tmp_path / "list.m3u8"
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n")
        assert reason(path) == ("Failed", "not_a_video")

    @pytest.mark.parametrize("name", ["end.mp4", "faststart.mp4", "fragmented.mp4", "cut.mkv", "cut.avi"])
    @pytest.mark.parametrize("share", [0.3, 0.9])
    def test_truncated(self, noisy: Callable[..., Path], name: str, share: float) -> None:
        flags = {"faststart.mp4": "+faststart", "fragmented.mp4": "+frag_keyframe+empty_moov"}.get(name)
        path = noisy(name, *(("-movflags", flags) if flags else ()))
        assert probe(path)["frames"] == 50
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        assert reason(path) == ("Failed", "truncated")

    @pytest.mark.parametrize("lost", [1, 400, 3000])
    def test_a_truncated_matroska_file(self, noisy: Callable[..., Path], lost: int) -> None:
        """It plays like a complete one, some frames short; only its header states how long it should be."""
        path = noisy("cut.mkv", "-an")
        path.write_bytes(path.read_bytes()[:-lost])
        assert reason(path) == ("Failed", "truncated")

    def test_a_live_stream_states_no_size(self, noisy: Callable[..., Path]) -> None:
        assert probe(noisy("live.mkv", "-f", "matroska", "-live", "1"))["frames"] == 50

    @pytest.mark.parametrize(("box", "at", "value"), [(b"stts", 12, 60), (b"stsz", 16 + 4 * 30, 0)])
    def test_fewer_frames_than_the_container_says(
        self, noisy: Callable[..., Path], box: bytes, at: int, value: int
    ) -> None:
        """The index counts 60 frames of 50, or lists a frame without bytes; decoders return what they find."""
        path = noisy("few.mp4", "-an")
        data = bytearray(path.read_bytes())
        struct.pack_into(">I", data, data.find(box) + at, value)
        path.write_bytes(data)
        assert reason(path) == ("Failed", "corrupt")

    def test_header_longer_than_the_frames(self, noisy: Callable[..., Path]) -> None:
        path = noisy("long.avi")
        data = bytearray(path.read_bytes())
        struct.pack_into("<I", data, data.find(b"strh") + 40, 60)
        struct.pack_into("<I", data, data.find(b"avih") + 24, 60)
        path.write_bytes(data)
        assert reason(path) == ("Failed", "truncated")

    @pytest.mark.parametrize("name", ["bad.mp4", "bad.mkv"])
    def test_damaged_in_the_middle(self, noisy: Callable[..., Path], name: str) -> None:
        path = noisy(name)
        data = bytearray(path.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 3000] = np.random.default_rng(1).bytes(3000)
        path.write_bytes(data)
        assert reason(path) == ("Failed", "corrupt")

    def test_audio_only(self, run_ffmpeg: Run, tmp_path: Path) -> None:
        path = run_ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac", tmp_path / "voice.mp4")
        assert reason(path) == ("Rejected", "no_video_stream")

    @pytest.mark.parametrize(("name", "known"), [("x.mkv", b"V_MPEG4/ISO/AVC"), ("x.mp4", b"avc1\0\0\0\0")])
    def test_a_codec_without_a_decoder(self, noisy: Callable[..., Path], name: str, known: bytes) -> None:
        path = noisy(name)
        data = path.read_bytes()
        assert known in data
        path.write_bytes(data.replace(known, known.replace(b"avc1", b"zzzz").replace(b"AVC", b"ZZZ")))
        assert reason(path) == ("Failed", "unknown_codec")

    def test_cover_art_is_not_a_video(self, run_ffmpeg: Run, tmp_path: Path) -> None:
        sound = ("-f", "lavfi", "-i", "sine=d=1", "-f", "lavfi", "-i", "color=red:s=64x64")
        cover = ("-map", "0", "-map", "1", "-c:v", "mjpeg", "-frames:v", "1", "-disposition:v:0", "attached_pic")
        path = run_ffmpeg(*sound, *cover, "-c:a", "aac", tmp_path / "song.m4a")
        assert reason(path) == ("Rejected", "no_video_stream")

    def test_ten_bits(self, run_ffmpeg: Run, tmp_path: Path) -> None:
        path = run_ffmpeg("-c:v", "ffv1", "-pix_fmt", "yuv420p10le", tmp_path / "deep.mkv", frames=ramp(3))
        assert reason(path) == ("Rejected", "bit_depth")


class TestWhole:
    def test_probe_columns(self, noisy: Callable[..., Path]) -> None:
        path = noisy("whole.mp4")
        assert probe(path) == {
            "codec": "h264",
            "pix_fmt": "yuv420p",
            "bit_depth": 8,
            "width": 128,
            "height": 96,
            "sample_aspect_ratio": "1:1",
            "rotation": 0,
            "mirrored": False,
            "display_width": 128,
            "display_height": 96,
            "fps": 25.0,
            "variable_rate": False,
            "duration_s": 2.0,
            "frames": 50,
            "frames_left_out": 0,
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }

    def test_three_frames(self, tmp_path: Path) -> None:
        path = write_working_clip(tmp_path / "short.mp4", ramp(3), 25).path
        assert probe(path)["frames"] == 3
        assert np.array_equal(read_clip(path), np.stack(ramp(3)))

    @pytest.mark.parametrize(
        "name", ["with space.mp4", "Zoë 视频.mp4", 'it\'s "it".mp4', "a:b.mp4", "-dash.mp4", "100%d.mp4", "$(x);&.mp4"]
    )
    @pytest.mark.parametrize("relative", [False, True])
    def test_unusual_file_names(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, relative: bool
    ) -> None:
        monkeypatch.chdir(tmp_path)
        path = Path(name) if relative else tmp_path / name
        write_working_clip(path, ramp(3), 25)
        assert [entry.name for entry in tmp_path.iterdir()] == [name]
        assert probe(path)["frames"] == 3
        assert ramp_indices(read_frames(path)) == [0, 1, 2]

    def test_odd_size(self, tmp_path: Path) -> None:
        path = write_working_clip(tmp_path / "odd.mp4", ramp(2, height=33, width=47), 25).path
        assert (probe(path)["width"], probe(path)["height"]) == (47, 33)
        assert read_clip(path).shape == (2, 33, 47, 3)

    def test_a_wrong_suffix_does_not_matter(self, run_ffmpeg: Run, tmp_path: Path) -> None:
        path = run_ffmpeg(*LOSSLESS, tmp_path / "x.mkv", frames=ramp(5)).rename(tmp_path / "x.mp4")
        assert ramp_indices(read_frames(path)) == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("name", ["first.mp4", "first.mov", "first.mkv", "first.ts"])
    def test_audio_before_the_video(self, run_ffmpeg: Run, tmp_path: Path, moving: np.ndarray, name: str) -> None:
        """Frames that the decoder holds back for B-frames come out after the last packet."""
        picture = run_ffmpeg("-c:v", "libx264", "-bf", "3", "-g", "12", tmp_path / "b.mp4", frames=[*moving] * 2)
        sound = ("-f", "lavfi", "-i", "sine=d=0.96")
        path = run_ffmpeg(
            "-i", picture, *sound, "-map", "1", "-map", "0", "-c:v", "copy", "-c:a", "aac", tmp_path / name
        )
        assert (len(read_clip(path)), probe(path)["frames"]) == (24, 24)
        assert np.array_equal(read_clip(path), read_clip(picture))

    def test_hidden_packets_are_not_damage(self, run_ffmpeg: Run, tmp_path: Path, moving: np.ndarray) -> None:
        """VP8's alternate reference frames are packets that are never displayed."""
        words = ("-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "16", "-b:v", "200k")
        path = run_ffmpeg(*words, tmp_path / "v.webm", frames=[*moving] * 3)
        assert probe(path)["frames"] == 36

    def test_trimmed_without_reencoding(self, noisy: Callable[..., Path], run_ffmpeg: Run, tmp_path: Path) -> None:
        """An edit list hides frames before the cut; that is not damage."""
        path = run_ffmpeg("-ss", "0.6", "-i", noisy("long.mp4"), "-c", "copy", tmp_path / "trimmed.mp4")
        assert probe(path)["frames"] == 35

    @pytest.mark.parametrize(("length", "begin", "left"), [(1000, 0, 25), (1000, 12800, 25), (600, 15360, 15)])
    def test_trimmed_by_an_edit_list(self, noisy: Callable[..., Path], length: int, begin: int, left: int) -> None:
        """Trimming on a phone keeps all samples and shows some; the hidden ones are not missing."""
        path = noisy("edited.mp4", "-an")
        data = bytearray(path.read_bytes())
        struct.pack_into(">II", data, data.find(b"elst") + 12, length, begin)
        path.write_bytes(data)
        assert probe(path)["frames"] == left

    @pytest.mark.parametrize("degrees", [90, 180, 270])
    def test_rotated(self, run_ffmpeg: Run, tmp_path: Path, moving: np.ndarray, degrees: int) -> None:
        stored = write_working_clip(tmp_path / "stored.mp4", moving[:3, :40], 25).path
        path = run_ffmpeg("-display_rotation", str(degrees), "-i", stored, "-c", "copy", tmp_path / "rotated.mp4")
        assert probe(path)["rotation"] == degrees
        assert (probe(path)["width"], probe(path)["height"]) == (64, 40)
        # what ffmpeg displays
        words = ["-loglevel", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        shown = subprocess.run([find_ffmpeg().path, *words], capture_output=True, check=True).stdout
        clip = read_clip(path)
        assert clip.shape == ((3, 40, 64, 3) if degrees == 180 else (3, 64, 40, 3))
        assert clip.tobytes() == shown

    def test_colours_by_tag(self, run_ffmpeg: Run, tmp_path: Path) -> None:
        """Red stays red whichever matrix it was stored with, as long as the tag names the matrix."""
        red = [np.full((32, 32, 3), (200, 30, 60), np.uint8)] * 2
        for matrix, tag in (("bt709", "bt709"), ("bt601", "smpte170m")):
            words = ("-vf", f"scale=out_color_matrix={matrix}:out_range=tv", "-pix_fmt", "yuv420p", "-colorspace", tag)
            path = run_ffmpeg(*words, "-c:v", "libx264", "-qp", "0", tmp_path / f"{matrix}.mp4", frames=red)
            assert np.abs(read_clip(path).astype(int) - red[0]).max() <= 2


class TestTime:
    def test_slower(self, tmp_path: Path) -> None:
        path = write_working_clip(tmp_path / "30.mp4", ramp(30), 30).path
        assert ramp_indices(read_frames(path, fps=25)) == [k * 6 // 5 for k in range(25)]

    @pytest.mark.parametrize("name", ["30.mp4", "30.mkv"])  # MKV rounds times to milliseconds
    def test_same_rate_is_every_frame(self, run_ffmpeg: Run, tmp_path: Path, name: str) -> None:
        path = run_ffmpeg(*LOSSLESS, tmp_path / name, frames=ramp(30), fps=30)
        assert ramp_indices(read_frames(path, fps=30)) == list(range(30))

    def test_ntsc_rate(self, run_ffmpeg: Run, tmp_path: Path) -> None:
        words = ("-r", "30000/1001", *LOSSLESS)
        path = run_ffmpeg(*words, tmp_path / "ntsc.mp4", frames=ramp(60), fps=30000 / 1001)
        assert ramp_indices(read_frames(path, fps=29.97)) == list(range(60))

    def test_faster_holds_frames(self, tmp_path: Path) -> None:
        path = write_working_clip(tmp_path / "10.mp4", ramp(4), 10).path
        seen = []
        for frame in read_frames(path, fps=25):
            seen += ramp_indices([frame])
            frame[:] = 255  # a caller modifies its frame
        assert seen == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]

    def test_uneven_times(self, run_ffmpeg: Run, tmp_path: Path) -> None:
        """Frames 10 to 19 are missing; at a constant rate frame 9 is held meanwhile."""
        words = ("-vf", "select='not(between(n,10,19))'", "-fps_mode", "vfr", *LOSSLESS)
        path = run_ffmpeg(*words, tmp_path / "vfr.mp4", frames=ramp(30))
        facts = probe(path)
        assert (facts["frames"], facts["variable_rate"], facts["duration_s"]) == (20, True, pytest.approx(1.2))
        assert ramp_indices(read_frames(path)) == [*range(10), *range(20, 30)]
        assert ramp_indices(read_frames(path, fps=25)) == [*range(10), *[9] * 10, *range(20, 30)]

    def test_stream_with_a_start_offset(self, run_ffmpeg: Run, tmp_path: Path, moving: np.ndarray) -> None:
        """Transport streams start at 1.4 s; times count from the first frame."""
        path = run_ffmpeg("-c:v", "libx264", "-g", "4", tmp_path / "x.ts", frames=[*moving])
        whole = read_clip(path)
        assert len(whole) == 12
        assert np.array_equal(np.stack(list(read_frames(path, fps=25, start_s=0.2, end_s=0.4))), whole[5:10])

    @pytest.mark.parametrize("fps", [None, 25])
    def test_segment_near_the_beginning(self, tmp_path: Path, fps: float | None) -> None:
        path = write_working_clip(tmp_path / "c.mp4", ramp(50), 25).path
        assert ramp_indices(read_frames(path, fps=fps, start_s=0.4, end_s=0.8)) == list(range(10, 20))

    @pytest.mark.parametrize("name", ["far.mp4", "far.mkv", "far.ts"])
    def test_segment_far_inside(self, run_ffmpeg: Run, tmp_path: Path, name: str) -> None:
        """Reached by seeking where the file allows it, with the same result as decoding everything."""
        grey = [np.full((32, 32, 3), number, np.uint8) for number in range(20, 140)]
        path = run_ffmpeg("-c:v", "libx264", "-qp", "0", "-g", "25", "-bf", "2", tmp_path / name, frames=grey)
        whole = read_clip(path)
        part = np.stack(list(read_frames(path, start_s=3.0, end_s=4.0)))
        assert np.array_equal(part, whole[75:100])
        assert np.array_equal(np.stack(list(read_frames(path, fps=12.5, start_s=3.0, end_s=4.0))), whole[75:100:2])

    def test_the_end_of_a_truncated_file_is_not_the_end_of_the_video(self, noisy: Callable[..., Path]) -> None:
        path = noisy("cut.mkv", "-vf", "tpad=stop_duration=3:stop_mode=clone", "-af", "apad=pad_dur=3")
        assert len(list(read_frames(path, fps=25, start_s=2.5))) == 63
        path.write_bytes(path.read_bytes()[:-20000])
        with pytest.raises(Failed, match="truncated"):
            list(read_frames(path, fps=25, start_s=2.5))

    def test_segment_outside(self, tmp_path: Path) -> None:
        path = write_working_clip(tmp_path / "c.mp4", ramp(50), 25).path
        for start, end in ((5.0, 6.0), (5.0, None), (1.0, 3.0)):
            with pytest.raises(Rejected, match=r"outside_the_video.*c\.mp4.*has 2\.00 s"):
                list(read_frames(path, fps=25, start_s=start, end_s=end))
        assert len(list(read_frames(path, fps=25, start_s=1.0, end_s=2.2))) == 25  # sheets are rounded

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"start_s": -1}, "0 <= start_s < end_s is required, not start_s=-1"),
            ({"start_s": 2, "end_s": 1}, "0 <= start_s < end_s is required, not start_s=2 end_s=1"),
            ({"fps": 0}, "fps must be > 0, not 0"),
        ],
    )
    def test_invalid_arguments(self, tmp_path: Path, arguments: dict[str, float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            list(read_frames(tmp_path / "c.mp4", **arguments))


def test_a_picture_leaves_memory_as_soon_as_nobody_has_it(noisy: Callable[..., Path]) -> None:
    path = noisy("clip.mp4")
    gc.collect()
    # What only the collector of circles would free stays.
    gc.disable()
    try:
        before = sum(isinstance(one, av.VideoFrame) for one in gc.get_objects())
        assert sum(1 for _ in read_frames(path)) == 50
        after = sum(isinstance(one, av.VideoFrame) for one in gc.get_objects())
    finally:
        gc.enable()
    assert after - before < 5
