"""Display geometry: display matrix and sample aspect ratio, compared with what ffmpeg shows."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest

from deepfakemnist.errors import Rejected
from deepfakemnist.media.decode import read_clip, read_frames, read_pictures
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.media.ingest import ingest_video
from deepfakemnist.media.probe import probe

Run = Callable[..., Path]


def shown(path: Path, *filters: str) -> bytes:
    """What ffmpeg displays, as RGB."""
    words = ["-loglevel", "error", "-i", str(path), *(("-vf", ",".join(filters)) if filters else ())]
    words += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    return subprocess.run([find_ffmpeg().path, *words], capture_output=True, check=True).stdout


@pytest.fixture
def stored(tmp_path: Path, moving: np.ndarray) -> Path:
    """A lossless clip, 64 × 40, without symmetry."""
    return write_working_clip(tmp_path / "stored.mp4", moving[:2, :40], 25).path


@pytest.mark.parametrize(("degrees", "mirrored"), [*product((0, 90, 180, 270), (False, True))])
@pytest.mark.parametrize("flip", ["-display_hflip", "-display_vflip"])
def test_every_orientation_is_shown_as_ffmpeg_shows_it(
    run_ffmpeg: Run, tmp_path: Path, stored: Path, degrees: int, mirrored: bool, flip: str
) -> None:
    flags = ("-display_rotation", str(degrees), *((flip,) if mirrored else ()))
    path = run_ffmpeg(*flags, "-i", stored, "-c", "copy", tmp_path / "turned.mp4")
    clip = read_clip(path)
    assert clip.shape == ((2, 64, 40, 3) if degrees % 180 else (2, 40, 64, 3))
    assert clip.tobytes() == shown(path)
    facts = probe(path)
    assert (facts["width"], facts["height"], facts["mirrored"]) == (64, 40, mirrored)
    assert (facts["display_width"], facts["display_height"]) == clip.shape[2:0:-1]
    # The two columns say how to get from the stored picture to the upright one.
    turned = np.rot90(read_clip(stored), facts["rotation"] // 90, axes=(1, 2))
    assert np.array_equal(clip, turned[:, :, ::-1] if facts["mirrored"] else turned)
    # Every way to look at a picture agrees.
    for picture, frame in zip((picture for picture, _ in read_pictures(path)), clip, strict=True):
        assert np.array_equal(picture.region(3, 5, 20, 30), frame[5:35, 3:23])
        assert picture.shrunk(32).shape == ((32, 20, 3) if degrees % 180 else (20, 32, 3))
        assert np.array_equal(picture.scaled_region(2, 4, 24, 24, 24), frame[4:28, 2:26])
        assert picture.near(3, 5, 20, 30).region(3, 5, 20, 30).tobytes() == frame[5:35, 3:23].tobytes()


def with_matrix(path: Path, a: float, b: float, c: float, d: float) -> Path:
    """Overwrite the display matrix in a track header (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 4 + 40
    values = (int(value * 65536) for value in (a, b, 0, c, d, 0, 0, 0, 16384))
    struct.pack_into(">9i", data, at, *values)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("matrix", [(0.866, 0.5, -0.5, 0.866), (1, 0.3, 0, 1), (1, 1, -1, 1)])
def test_a_slanted_picture_is_refused(stored: Path, matrix: tuple[float, ...]) -> None:
    with pytest.raises(Rejected, match="rotation: display rotation is -?[0-9]+ degrees; only multiples of 90"):
        read_clip(with_matrix(stored, *matrix))


@pytest.mark.parametrize("matrix", [(0, 0, 0, 0), (1, 0.001, -0.001, 1), (0.5, 0, 0, 0.5)])
def test_matrices_that_change_nothing(stored: Path, moving: np.ndarray, matrix: tuple[float, ...]) -> None:
    """Empty, slanted by less than a degree, or scaling alone."""
    assert np.array_equal(read_clip(with_matrix(stored, *matrix)), moving[:2, :40])


#: Stored in the container, in the codec, or in both, where the container's counts.
ASPECTS = {
    "codec.mp4": ("-vf", "setsar=2/1", "-c:v", "libx264"),
    "codec.mkv": ("-vf", "setsar=2/1", "-c:v", "libx264"),
    "codec.ts": ("-vf", "setsar=2/1", "-c:v", "libx264"),
    "codec.avi": ("-vf", "setsar=2/1", "-c:v", "libx264"),
    "codec.mpg": ("-vf", "setdar=16/9", "-c:v", "mpeg2video"),
    "mpeg4.avi": ("-vf", "setsar=2/1", "-c:v", "mpeg4"),
    "vp9.webm": ("-vf", "setsar=2/1", "-c:v", "libvpx-vp9"),
    "theora.ogv": ("-vf", "setsar=2/1", "-c:v", "libtheora"),
    "jfif.avi": ("-vf", "setsar=2/1", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
    "rgb.mov": ("-vf", "setsar=2/1", "-c:v", "qtrle", "-pix_fmt", "rgb24"),
    "palette.gif": ("-vf", "setsar=2/1"),
    "narrow.mp4": ("-vf", "setsar=8/9", "-c:v", "libx264"),
    "colours.mp4": ("-vf", "setsar=2/1,scale=out_color_matrix=bt709", "-c:v", "libx264", "-colorspace", "bt709"),
}


@pytest.mark.parametrize("name", ASPECTS)
def test_pixels_become_square(run_ffmpeg: Run, tmp_path: Path, moving: np.ndarray, name: str) -> None:
    words = ASPECTS[name]
    pix_fmt = () if "-pix_fmt" in words or name.endswith("gif") else ("-pix_fmt", "yuv420p")
    path = run_ffmpeg(*words, *pix_fmt, tmp_path / name, frames=[*moving[:3, :48]])
    with av.open(str(path)) as video:
        frame = next(video.decode(video=0))
    width = {"narrow.mp4": 56, "codec.mpg": 86}.get(name, 128)
    assert (frame.width, frame.height) == (64, 48)
    facts = probe(path)
    assert (facts["width"], facts["height"], facts["display_width"], facts["display_height"]) == (64, 48, width, 48)
    assert facts["sample_aspect_ratio"] == {"narrow.mp4": "8:9", "codec.mpg": "4:3"}.get(name, "2:1")
    clip = read_clip(path)
    assert clip.shape == (3, 48, width, 3)
    wanted = shown(path, f"scale={width}:48:flags=bicubic+accurate_rnd+full_chroma_int+bitexact:in_color_matrix=auto")
    difference = np.abs(clip.astype(int) - np.frombuffer(wanted, np.uint8).reshape(clip.shape))
    assert difference.mean() < 2.5  # chroma is enlarged before or after conversion to RGB


def test_the_container_overrules_the_codec(run_ffmpeg: Run, tmp_path: Path, moving: np.ndarray) -> None:
    square = run_ffmpeg("-c:v", "libx264", "-pix_fmt", "yuv420p", tmp_path / "square.mp4", frames=[*moving[:3, :48]])
    for suffix in ("mp4", "mkv"):
        path = run_ffmpeg("-i", square, "-c", "copy", "-aspect", "8:3", tmp_path / f"wide.{suffix}")
        assert read_clip(path).shape == (3, 48, 128, 3)
        assert probe(path)["sample_aspect_ratio"] == "2:1"


def test_a_turned_picture_is_widened_before_it_is_turned(run_ffmpeg: Run, tmp_path: Path, moving: np.ndarray) -> None:
    words = ("-vf", "setsar=2/1", "-c:v", "libx264", "-pix_fmt", "yuv420p")
    flat = run_ffmpeg(*words, tmp_path / "flat.mp4", frames=[*moving[:3, :48]])
    path = run_ffmpeg("-display_rotation", "90", "-i", flat, "-c", "copy", tmp_path / "turned.mp4")
    assert np.array_equal(read_clip(path), np.rot90(read_clip(flat), axes=(1, 2)))
    assert (probe(path)["display_width"], probe(path)["display_height"]) == (48, 128)


def test_nearly_square_pixels_stay(run_ffmpeg: Run, tmp_path: Path, moving: np.ndarray) -> None:
    """1280:1281 only says that a width of 853.3 pixels was rounded to 854."""
    words = ("-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv420p")
    plain = run_ffmpeg(*words, tmp_path / "plain.mp4", frames=[*moving[:3]])
    path = run_ffmpeg("-vf", "setsar=1280/1281:max=2000", *words, tmp_path / "rounded.mp4", frames=[*moving[:3]])
    assert np.array_equal(read_clip(path), read_clip(plain))
    assert probe(path)["sample_aspect_ratio"] == "1280:1281"


def test_pixels_that_cannot_be_meant_are_refused(run_ffmpeg: Run, tmp_path: Path, moving: np.ndarray) -> None:
    path = run_ffmpeg("-vf", "setsar=9/2", "-c:v", "libx264", tmp_path / "x.mp4", frames=[*moving[:3]])
    for read in (probe, read_clip):
        with pytest.raises(Rejected, match=r"sample_aspect: .*x\.mp4: sample aspect ratio 9:2; at most 4:1"):
            read(path)


def test_a_shape_that_changes_is_refused(run_ffmpeg: Run, tmp_path: Path, moving: np.ndarray) -> None:
    """As when a broadcast changes from 4:3 to 16:9."""
    path = tmp_path / "joined.mpg"
    for aspect in ("4:3", "16:9"):
        words = ("-c:v", "mpeg2video", "-q:v", "2", "-aspect", aspect)
        part = run_ffmpeg(*words, tmp_path / "part.mpg", frames=[*moving[:3, :48]])
        path.write_bytes((path.read_bytes() if path.exists() else b"") + part.read_bytes())
    with pytest.raises(Rejected, match="size_changes: .*the sample aspect ratio of the codec changes from 1 to 4/3"):
        read_clip(path)


def test_annotated_boxes_are_in_shown_pixels(run_ffmpeg: Run, tmp_path: Path, moving: np.ndarray) -> None:
    """Annotations refer to the picture that people saw."""
    words = ("-vf", "setsar=2/1", "-c:v", "libx264", "-pix_fmt", "yuv420p")
    path = run_ffmpeg(*words, tmp_path / "flat.mp4", frames=[*moving[:3, :48]])
    reference = {"reference_width": 256, "reference_height": 96}
    row = {"path": str(path), "start_s": None, "end_s": None, "boxes": [[0.0, 64, 32, 128, 48]], **reference}
    assert ingest_video(row)["boxes"] == [[0.0, 32, 16, 64, 24]]
    assert next(read_frames(path)).shape == (48, 128, 3)
