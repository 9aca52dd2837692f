"""LivePortrait's crop of the source and pasting back, against the original program and on a photograph."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage import data

from deepfakemnist.animate.liveportrait.crop import (
    FaceSquare,
    LandmarkIndices,
    Pasting,
    crop,
    crop_mask,
    face_square,
)
from deepfakemnist.faces.landmarks import FaceLandmarker

#: Points of the schemes that the original uses: InsightFace's 106 and its own 203.
OF_106 = LandmarkIndices(eyes=((33, 35, 40, 39), (87, 89, 94, 93)), lips=(52, 61), box=range(106))
OF_203 = LandmarkIndices(eyes=((0, 6, 12, 18), (24, 30, 36, 42)), lips=(48, 66), box=range(203))
#: The original computes in float32, where positions of about 90 pixels are rounded to 8e-6.
CLOSE = 1e-4


def near(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, atol=CLOSE, rtol=0)


def test_crop_matrices_match_the_original(expected):
    of_106, of_203 = (face_square(expected[f"lmk{n}"], scheme) for n, scheme in ((106, OF_106), (203, OF_203)))
    near(of_106.to_crop(128), expected["M_o2c"])
    near(np.linalg.inv(of_106.to_crop(128)), expected["M_c2o"])
    near(of_106.to_crop(512), expected["crop__source106_512__M_o2c"])
    near(of_203.to_crop(512), expected["crop__source203_512__M_o2c"])
    near(of_203.to_crop(512, upright=False), expected["crop__source203_512_norot__M_o2c"])
    runner = face_square(expected["lmk203"], OF_203, scale=1.5, shift=-0.1)
    near(runner.to_crop(224), expected["crop__landmark_runner_224__M_o2c"])


def test_boxes_of_a_driver_match_the_original(expected):
    squares = [face_square(points, OF_203, scale=2.2, shift=-0.1) for points in expected["driving_lmk203"]]
    boxes = np.array(
        [[x - s / 2, y - s / 2, x + s / 2, y + s / 2] for (x, y), s in ((at.centre, at.side) for at in squares)]
    )
    near(boxes, expected["crop__driving_boxes"])
    mean = boxes.mean(0)
    near(mean, expected["crop__driving_mean_box"])
    whole = FaceSquare((mean[[0, 2]].mean(), mean[[1, 3]].mean()), mean[2] - mean[0], 0)
    near(whole.to_crop(512), expected["crop__driving_512__M_o2c"])


def test_the_crop_matches_the_original(expected):
    cropped = crop(expected["original_u8"], expected["M_o2c"], 128)
    np.testing.assert_array_equal(cropped, expected["crop_u8"])
    np.testing.assert_array_equal(cv2.resize(cropped, (64, 64), interpolation=cv2.INTER_AREA), expected["source_u8"])


def test_pasting_back_matches_the_original(expected):
    np.testing.assert_array_equal(crop_mask(128)[..., 0], expected["mask_crop"])
    pasting = Pasting(expected["original_u8"], expected["M_o2c"], 128)
    np.testing.assert_array_equal(pasting.mask[..., 0], expected["mask_pasted"])
    np.testing.assert_array_equal(pasting(expected["frames_u8__default"][2]), expected["pasted2_u8__default"][0])


def test_a_crop_pasted_back_unchanged_gives_the_picture():
    photograph = np.ascontiguousarray(data.astronaut()[0:256, 96:352])
    to_crop = face_square(FaceLandmarker()(photograph).points).to_crop(512)
    pasted = Pasting(photograph, to_crop, 512)(crop(photograph, to_crop, 512)).astype(int)
    # Sampled twice, so fine texture blurs: by 0.7 levels on average; a matrix that is off by 20 pixels gives 21.
    assert np.abs(pasted - photograph).mean() < 1.5


def test_a_tilted_head_is_turned_upright():
    photograph = np.ascontiguousarray(data.astronaut()[0:256, 96:352])
    turn = cv2.getRotationMatrix2D((128, 128), 20, 1)
    tilted = cv2.warpAffine(photograph, turn, (256, 256))
    landmarker = FaceLandmarker()
    upright, leaning = (face_square(landmarker(picture).points) for picture in (photograph, tilted))
    # Landmarks of the same face differ by a degree and a few pixels between both pictures.
    assert np.degrees(leaning.angle - upright.angle) == pytest.approx(-20, abs=2)
    assert leaning.side == pytest.approx(upright.side, rel=0.05)
    again = landmarker(crop(tilted, leaning.to_crop(256), 256))
    eyes = again.points[263] - again.points[33]
    assert abs(np.degrees(np.arctan2(eyes[1], eyes[0]))) < 4
