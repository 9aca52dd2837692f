"""Codec and container coverage: every kind of video is read correctly or refused with its reason.

The tables READ and REFUSED are the contract.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace, Interpolation
from made_clips import ramp, ramp_indices
from skimage.data import astronaut

from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.decode import read_clip, read_frames, read_pictures
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.picture import Picture
from deepfakemnist.media.probe import probe

Run = Callable[..., Path]

#: Readable files: name and ffmpeg arguments; each shows the 12 frames of the moving clip.
READ = {
    "h264.mp4": ("-c:v", "libx264", "-qp", "8"),
    "h264.mov": ("-c:v", "libx264", "-qp", "8"),
    "h264.mkv": ("-c:v", "libx264", "-qp", "8"),
    "hevc.mp4": ("-c:v", "libx265", "-crf", "10", "-preset", "ultrafast", "-x265-params", "log-level=none:pools=1"),
    "av1.mp4": ("-c:v", "libaom-av1", "-crf", "10", "-cpu-used", "8"),
    "av1.mkv": ("-c:v", "libaom-av1", "-crf", "10", "-cpu-used", "8"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-crf", "5", "-b:v", "0", "-cpu-used", "8"),
    "vp8.webm": ("-c:v", "libvpx", "-crf", "4", "-b:v", "4M"),
    "mpeg4.avi": ("-c:v", "mpeg4", "-q:v", "2"),
    "mpeg4.mp4": ("-c:v", "mpeg4", "-q:v", "2", "-bf", "2"),
    "mjpeg.avi": ("-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj420p"),
    "theora.ogv": ("-c:v", "libtheora", "-q:v", "10"),
    "rgb.mov": ("-c:v", "qtrle", "-pix_fmt", "rgb24"),
    "opaque.mov": ("-c:v", "qtrle", "-pix_fmt", "argb"),
    "palette.gif": (),
}


@pytest.mark.parametrize("name", READ)
def test_every_frame_is_read(run_ffmpeg: Run, tmp_path: Path, moving: np.ndarray, name: str) -> None:
    pix_fmt = () if "-pix_fmt" in READ[name] or not READ[name] else ("-pix_fmt", "yuv420p")
    path = run_ffmpeg(*READ[name], *pix_fmt, tmp_path / name, frames=[*moving])
    facts = probe(path)
    assert (facts["frames"], facts["width"], facts["height"], facts["bit_depth"]) == (12, 64, 64, 8)
    assert facts["fps"] == pytest.approx(25, rel=0.05)  # WebM rounds to milliseconds, GIF to hundredths
    clip = read_clip(path)
    assert np.abs(clip.astype(int) - moving).mean() < 20
    # each frame is the one it should be, not a neighbour
    distance = [[np.abs(a.astype(int) - b).mean() for b in moving] for a in clip]
    assert np.argmin(distance, axis=1).tolist() == list(range(12))


#: Intact files that are refused: ffmpeg arguments and the reason.
REFUSED = {
    "ten_bits.mp4": ("-c:v libx265 -pix_fmt yuv420p10le -x265-params log-level=none:pools=1", "bit_depth"),
    "hdr10.mkv": ("-c:v ffv1 -pix_fmt yuv420p10le -color_trc smpte2084 -colorspace bt2020nc", "bit_depth"),
    "hlg_in_8_bits.mp4": ("-vf setparams=color_trc=arib-std-b67 -c:v libx264 -pix_fmt yuv420p", "hdr"),
    "interlaced.mp4": ("-c:v libx264 -pix_fmt yuv420p -flags +ildct+ilme -x264-params tff=1", "interlaced"),
    "interlaced.mpg": ("-c:v mpeg2video -flags +ildct+ilme -pix_fmt yuv420p", "interlaced"),
    "see_through.mov": ("-vf format=rgba,colorchannelmixer=aa=0.5 -c:v qtrle -pix_fmt argb", "transparent"),
    "see_through.mkv": ("-vf format=rgba,colorchannelmixer=aa=0.5 -c:v ffv1 -pix_fmt yuva420p", "transparent"),
    "see_through.webm": ("-vf format=rgba,colorchannelmixer=aa=0.5 -c:v libvpx-vp9 -pix_fmt yuva420p", "transparent"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_its_reason(run_ffmpeg: Run, tmp_path: Path, name: str) -> None:
    words, reason = REFUSED[name]
    path = run_ffmpeg(*words.split(), tmp_path / name, frames=ramp(6), fps=25)
    for read in (probe, read_clip):
        with pytest.raises(Rejected) as caught:
            read(path)
        assert (caught.value.reason, path.name in caught.value.detail) == (reason, True)


def test_single_frame(tmp_path: Path) -> None:
    path = write_working_clip(tmp_path / "one.mp4", ramp(2)[1:], 25).path
    facts = probe(path)
    assert (facts["frames"], facts["duration_s"], facts["fps"], facts["variable_rate"]) == (1, 0.04, 25.0, False)
    assert ramp_indices(read_frames(path, fps=25)) == [1]


def test_first_of_two_video_streams_is_read(run_ffmpeg: Run, tmp_path: Path) -> None:
    clips = [write_working_clip(tmp_path / f"{n}.mp4", ramp(9)[n : n + 4], 25).path for n in (0, 5)]
    words = ("-i", clips[0], "-i", clips[1], "-map", "0", "-map", "1", "-c", "copy")
    assert ramp_indices(read_frames(run_ffmpeg(*words, tmp_path / "both.mkv"))) == [0, 1, 2, 3]


def test_cover_art_before_the_video_is_skipped(run_ffmpeg: Run, tmp_path: Path) -> None:
    clip = write_working_clip(tmp_path / "clip.mp4", ramp(4), 25).path
    cover = run_ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1", tmp_path / "cover.jpg")
    words = ("-i", cover, "-i", clip, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0", "attached_pic")
    assert ramp_indices(read_frames(run_ffmpeg(*words, tmp_path / "cover.mp4"))) == [0, 1, 2, 3]


def test_a_file_without_frames_is_refused(run_ffmpeg: Run, tmp_path: Path) -> None:
    words = ("-f", "lavfi", "-i", "testsrc=s=64x64:d=1", "-frames:v", "0", "-c:v", "libx264")
    with pytest.raises((Failed, Rejected)) as caught:
        read_clip(run_ffmpeg(*words, tmp_path / "none.mp4"))
    assert caught.value.reason in ("no_video_stream", "no_frames")


@pytest.mark.slow
def test_8k(run_ffmpeg: Run, tmp_path: Path) -> None:
    source = ("-f", "lavfi", "-i", "testsrc2=s=7680x4320:r=25", "-frames:v", "2")
    encoder = ("-c:v", "libx264", "-preset", "ultrafast")
    path = run_ffmpeg(*source, *encoder, "-pix_fmt", "yuv420p", tmp_path / "8k.mp4")
    pictures = list(read_pictures(path))
    assert [(picture.width, picture.height) for picture, _ in pictures] == [(7680, 4320)] * 2
    assert pictures[0][0].shrunk(320).shape == (180, 320, 3)
    assert pictures[0][0].region(4000, 2000, 300, 200).shape == (200, 300, 3)


@pytest.mark.parametrize("rate", ["24000/1001", "15", "30", "60", "50", "12.5"])
def test_any_rate_becomes_25_in_real_time(run_ffmpeg: Run, tmp_path: Path, rate: str) -> None:
    """Frame k of the result is the one on screen at k / 25 s, or up to 1 ms later, since MKV rounds to that."""
    words = ("-r", rate, "-c:v", "libx264rgb", "-qp", "0", "-preset", "ultrafast")
    path = run_ffmpeg(*words, tmp_path / "x.mp4", frames=ramp(40), fps=float(Fraction(rate)))
    seen = ramp_indices(read_frames(path, fps=25))
    exact = Fraction(rate)
    assert seen == [int((Fraction(k, 25) + Fraction(1, 1000)) * exact) for k in range(len(seen))]
    assert len(seen) == -(-40 * 25 // exact)


@pytest.mark.parametrize(
    ("pix_fmt", "size"),
    [
        ("yuv420p", (96, 80)),
        ("yuvj420p", (96, 80)),
        ("yuv422p", (96, 80)),
        ("yuv444p", (95, 79)),
        ("yuv420p", (95, 79)),
    ],
)
def test_a_region_has_the_same_pixels_as_the_whole_picture(pix_fmt: str, size: tuple[int, int]) -> None:
    width, height = size
    noise = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture = Picture(av.VideoFrame.from_ndarray(noise, "rgb24").reformat(format=pix_fmt))
    whole = picture.rgb()
    for left, top, wide, high in (
        (0, 0, width, height),
        (7, 5, 31, 22),
        (width - 9, height - 20, 9, 20),
        (40, 0, 1, 3),
    ):
        assert np.array_equal(picture.region(left, top, wide, high), whole[top : top + high, left : left + wide])
    with pytest.raises(ValueError, match=f"is not inside {width}x{height}"):
        picture.region(-1, 0, 5, 5)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj422p", "yuv444p"])
def test_a_partial_picture_has_the_same_pixels(pix_fmt: str) -> None:
    """Regions of a partial picture match the whole one; ``holds`` is false for what was dropped."""
    noise = np.random.default_rng(4).integers(0, 256, (320, 480, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(noise, "rgb24").reformat(format=pix_fmt)
    whole = Picture(frame)
    kept = whole.near(150, 90, 200, 130)  # becomes 128, 64 to 384, 256
    assert (kept.width, kept.height) == (480, 320) and kept.nbytes < 0.4 * whole.nbytes
    for box in ((150, 90, 200, 130), (144, 80, 96, 64), (161, 93, 33, 47)):
        assert kept.holds(*box) and whole.holds(*box)
        assert np.array_equal(kept.region(*box), whole.region(*box))
        assert np.array_equal(kept.scaled_region(*box, 48), whole.scaled_region(*box, 48))
    assert not kept.holds(120, 90, 40, 40) and not kept.holds(300, 90, 80, 40)
    corner = whole.near(-40, 200, 200, 200)
    assert corner.holds(-20, 230, 100, 110) and not corner.holds(0, 180, 50, 50)
    # nothing to gain, or a format that cannot be cropped
    assert whole.near(0, 0, 480, 300) is whole
    grey = Picture(frame.reformat(format="gray"))
    assert grey.near(150, 90, 200, 130) is grey and grey.holds(0, 0, 480, 320)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "gbrp"])
def test_planar_rgb_conversion_matches_ffmpeg(pix_fmt: str) -> None:
    """RGB via planes equals ffmpeg's packed RGB, also for values outside the nominal range."""
    stored = av.VideoFrame(96, 80, pix_fmt)
    random = np.random.default_rng(5)
    for plane in stored.planes:
        plane.update(random.bytes(plane.buffer_size))
    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
    packed = stored.reformat(format="rgb24", interpolation=exact, src_colorspace=Colorspace.SMPTE170M)
    assert np.array_equal(Picture(stored).rgb(), packed.to_ndarray())


def test_scaling_before_and_after_rgb_conversion_agree() -> None:
    """The two differ by colour rounding only."""
    stored = av.VideoFrame.from_ndarray(np.ascontiguousarray(astronaut()[:300]), "rgb24").reformat(format="yuv420p")
    seen = av.VideoFrame.from_ndarray(Picture(stored).rgb(), "rgb24")
    for box, size in (((100, 20, 180, 180), 90), ((100, 20, 90, 180), 128)):
        short, long = (Picture(frame).scaled_region(*box, size).astype(int) for frame in (stored, seen))
        assert np.abs(short - long).mean() < 1
        assert np.abs((short - long).mean()) < 0.2


def test_only_the_segment_is_probed(tmp_path: Path) -> None:
    path = write_working_clip(tmp_path / "c.mp4", ramp(50), 25).path
    facts = probe(path, start_s=0.4, end_s=1.2)
    assert (facts["frames"], facts["duration_s"], facts["fps"]) == (20, 0.8, 25.0)
    assert facts["sha256"] == probe(path)["sha256"]
    with pytest.raises(Rejected, match="outside_the_video"):
        probe(path, start_s=5, end_s=6)
