"""Orientation and shape of faces: what the display matrix does not put right is refused by name."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepfakemnist.config.liveness import LocalActionSettings
from deepfakemnist.config.stages import CropSettings
from deepfakemnist.errors import Rejected
from deepfakemnist.faces.crop import crop_video
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.faces.upright import check_upright, is_checked, turned_scores
from deepfakemnist.liveness.local_action import LocalAction
from deepfakemnist.liveness.protocol import Clip
from deepfakemnist.media.decode import read_clip, read_frames
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.media.probe import probe
from deepfakemnist.tables.schemas import Row

FILES = Path(__file__).parents[1] / "data" / "video"
Crop = Callable[..., Row]


@pytest.fixture
def crop(tmp_path: Path) -> Crop:
    def crop(path: Path, cropped: bool = False) -> Row:
        row = {"video_id": "v", "path": str(path), "role": "source", "start_s": None, "end_s": None, "boxes": None}
        settings = CropSettings(min_frames=10)
        return crop_video({**row, **probe(path), "cropped": cropped}, tmp_path / "crops", settings, FaceDetector())

    return crop


@pytest.fixture(scope="module")
def upright(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """A clip of an upright face."""
    return np.stack(list(read_frames(FILES / "sar_2_1.mp4", fps=25)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flag_hflip.mp4", "sar_2_1.mp4", "pal_wide_sar_64_45.mpg"])
def test_a_face_has_its_true_shape(crop: Crop, name: str) -> None:
    """Mirrored, or stored narrow: the crop shows an upright face, higher than wide but not by half."""
    row = crop(FILES / name)
    faces = FaceDetector()(read_clip(row["path"])[5])
    assert faces[0].score > 0.9
    assert 1.1 < faces[0].box[3] / faces[0].box[2] < 1.6
    eyes, mouth = faces[0].landmarks[:2].mean(axis=0), faces[0].landmarks[3:].mean(axis=0)
    assert mouth[1] - eyes[1] > 30 and abs(mouth[0] - eyes[0]) < 15


@pytest.mark.slow
def test_a_mirrored_driver_tilts_to_its_own_side(crop: Crop) -> None:
    clip = Clip(read_clip(crop(FILES / "driver_right_slope_flag_rot90_hflip.mp4")["path"]), 25.0, "")
    judge = LocalAction(LocalActionSettings(provider="local-action"))
    assert judge.check(clip, "right_slope").score == pytest.approx(4.0, abs=0.4)
    assert judge.check(clip, "left_slope").score == pytest.approx(0, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("turns", "reason"), [(1, "sideways"), (2, "upside_down"), (3, "sideways")])
def test_a_turned_face_is_refused_with_its_repair(
    crop: Crop, tmp_path: Path, upright: np.ndarray, turns: int, reason: str
) -> None:
    turned = np.rot90(upright, turns, axes=(1, 2))
    path = write_working_clip(tmp_path / "turned.mp4", turned, 25).path
    with pytest.raises(Rejected) as caught:
        crop(path)
    degrees = 360 - 90 * turns
    assert caught.value.reason == reason
    assert f"upright when the picture is turned by {degrees} degrees counter-clockwise" in caught.value.detail
    command = caught.value.detail.partition("ffmpeg ")[2].split()
    repaired = tmp_path / "out.mp4"
    words = [{"IN": str(path), "OUT.mp4": str(repaired)}.get(word, word) for word in command]
    subprocess.run([find_ffmpeg().path, "-v", "error", *words], check=True)
    assert np.abs(read_clip(repaired).astype(int) - upright).mean() < 3
    assert crop(repaired)["face_score"] > 0.9


@pytest.mark.slow
def test_a_turned_face_crop_is_refused(crop: Crop, tmp_path: Path, upright: np.ndarray) -> None:
    square = np.ascontiguousarray(upright[:, ::-1, 140:500])
    with pytest.raises(Rejected, match="upside_down"):
        crop(write_working_clip(tmp_path / "square.mp4", square, 25).path, cropped=True)


def test_the_first_frames_and_then_some_are_checked() -> None:
    checked = [sample for sample in range(200) if is_checked(sample)]
    assert checked == [0, 3, 15, 63, 127, 191]


def test_frames_without_a_face_say_nothing() -> None:
    check_upright([])
    check_upright([np.zeros(4)])
    check_upright([np.zeros(4), np.array([0.9, 0, 0.85, 0]), np.array([0.9, 0, 0.91, 0])])
    with pytest.raises(Rejected, match="upside_down"):
        check_upright([np.zeros(4), np.array([0.85, 0, 0.9, 0])])


@pytest.mark.real
@pytest.mark.slow
def test_real_faces_are_upright_and_found_turned(real_data: Path) -> None:
    """The measurement behind the threshold, on frames of the first seconds."""
    detector = FaceDetector()
    for path in sorted((real_data / "real" / "videos").glob("*.mp4")):
        frames = [
            np.array(frame)
            for number, frame in zip(range(40), read_frames(path, fps=25), strict=False)
            if number % 13 == 0
        ]
        for turns, reason in ((0, None), (1, "sideways"), (2, "upside_down"), (3, "sideways")):
            pictures = [np.ascontiguousarray(np.rot90(frame, turns)) for frame in frames]
            scores = [turned_scores(detector, picture, detector(picture)) for picture in pictures]
            found = None
            try:
                check_upright(scores)
            except Rejected as rejection:
                found = rejection.reason
            assert (path.name, turns, found) == (path.name, turns, reason)
