"""Files that other tools read wrongly, each with its right value; see tests/data/video/README.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_clips import read_numbers

from deepfakemnist.media.decode import read_frames
from deepfakemnist.media.probe import probe

FILES = Path(__file__).parents[1] / "data" / "video"

#: Numbers of the frames at the stored rate.
NUMBERS = {
    "h264_bframes.avi": [*range(200)],
    "h264_bframes_without_ctts.mp4": [*range(2, 200)],
    "hevc_open_gop_cut.mkv": [*range(96, 150), 152, 154],
}
#: Stored and shown sizes, sample aspect ratio, rotation and mirroring.
SHAPES = {
    "flag_hflip.mp4": ((640, 360), (640, 360), "1:1", 0, True),
    "driver_right_slope_flag_rot90_hflip.mp4": ((360, 480), (480, 360), "1:1", 90, True),
    "sar_2_1.mp4": ((320, 360), (640, 360), "2:1", 0, False),
    "pal_wide_sar_64_45.mpg": ((720, 576), (1024, 576), "64:45", 0, False),
}


def test_every_file_is_listed() -> None:
    files = {path.name for path in FILES.iterdir()} - {"README.md"}
    assert files == NUMBERS.keys() | SHAPES.keys()


@pytest.mark.parametrize("name", NUMBERS)
def test_frames_in_order(name: str) -> None:
    path = FILES / name
    wanted = NUMBERS[name]
    assert read_numbers(read_frames(path)) == wanted
    at_25 = read_numbers(read_frames(path, fps=25))
    assert list(dict.fromkeys(at_25)) == wanted  # all of them, also where numbers are missing and frames are held
    if wanted == list(range(wanted[0], wanted[-1] + 1)):
        assert at_25 == wanted
    facts = probe(path)
    assert (facts["frames"], facts["fps"]) == (len(wanted), pytest.approx(25, rel=0.06))
    assert facts["frames_left_out"] == (2 if name.startswith("hevc") else 0)


@pytest.mark.parametrize("name", SHAPES)
def test_shape(name: str) -> None:
    stored, shown, aspect, rotation, mirrored = SHAPES[name]
    facts = probe(FILES / name)
    assert (facts["width"], facts["height"]) == stored
    assert (facts["display_width"], facts["display_height"]) == shown
    assert (facts["sample_aspect_ratio"], facts["rotation"], facts["mirrored"]) == (aspect, rotation, mirrored)
    assert next(read_frames(FILES / name)).shape == (shown[1], shown[0], 3)
