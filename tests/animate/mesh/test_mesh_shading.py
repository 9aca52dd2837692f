import cv2
import numpy as np
import pytest

from deepfakemnist.animate.mesh.shading import Chart, shaded
from deepfakemnist.faces.landmark_sets import OUTER_LIPS
from deepfakemnist.faces.landmarks import head_model

#: Landmarks beside the nasolabial folds of both sides.
FOLDS = (205, 425)


@pytest.fixture(scope="module")
def chart() -> Chart:
    return Chart(head_model())


def creased(picture: np.ndarray, landmarks: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Return the picture with dark folds beside the mouth."""
    mask = np.zeros(picture.shape[:2], np.float32)
    for point in FOLDS:
        cv2.circle(mask, tuple(np.round(landmarks[point, :2]).astype(int).tolist()), round(3 * scale), 1.0, -1)
    return np.round(picture * (1 - 0.4 * cv2.GaussianBlur(mask, (0, 0), 1.5))[..., None]).astype(np.uint8)


def test_folds_of_a_driver_darken_the_same_places_of_a_source(
    chart: Chart, picture: np.ndarray, landmarks: np.ndarray
) -> None:
    # The driver is the same face at twice the size.
    driver = cv2.resize(picture, (512, 512), interpolation=cv2.INTER_CUBIC)
    points = landmarks * 2 + [0.5, 0.5, 0]
    change = chart.change(chart.creases(driver, points), chart.creases(creased(driver, points, 2), points))
    assert -0.35 <= change.min() < -0.1
    turned = chart.change(chart.creases(driver, points), chart.creases(creased(driver, points, 2), points), 14.0)
    assert turned == pytest.approx(change / 2, abs=1e-6), "a head that turns shows another light"
    result = shaded(picture, change, chart.coordinates(landmarks, (256, 256)))
    ratio = result.astype(float).sum(axis=-1) / np.maximum(picture.astype(float).sum(axis=-1), 1)
    for point in FOLDS:
        x, y = landmarks[point, :2].round().astype(int)
        assert 0.6 < ratio[y, x] < 0.9
    lips = np.zeros((256, 256), np.uint8)
    cv2.fillPoly(lips, [np.round(landmarks[list(OUTER_LIPS), :2]).astype(np.int32)], 1)
    above_eyes = np.s_[: int(landmarks[159, 1])]
    assert np.array_equal(result[lips > 0], picture[lips > 0])
    assert np.array_equal(result[above_eyes], picture[above_eyes])


@pytest.mark.parametrize("gain", [0.6, 1.2])
def test_light_and_colour_cancel(chart: Chart, picture: np.ndarray, landmarks: np.ndarray, gain: float) -> None:
    lit = np.clip(picture * (gain * np.array([1.0, 0.95, 0.9])), 0, 255).astype(np.uint8)
    change = chart.change(chart.creases(picture, landmarks), chart.creases(lit, landmarks))
    assert np.abs(change).max() < 0.05
    assert np.abs(change).mean() < 0.003


def test_a_beard_that_moves_makes_no_smudges(chart: Chart, picture: np.ndarray, landmarks: np.ndarray) -> None:
    hairs = np.random.default_rng(1).random((48, 48)) < 0.5
    beard = 1 - 0.6 * cv2.resize(hairs.astype(np.float32), (256, 256), interpolation=cv2.INTER_LINEAR)
    below = np.arange(256)[:, None, None] > landmarks[2, 1]
    before, after = (
        np.where(below, picture * np.roll(beard, shift, axis=1)[..., None], picture).astype(np.uint8)
        for shift in (0, 4)
    )
    change = chart.change(chart.creases(before, landmarks), chart.creases(after, landmarks))
    # Without regard to hairs, 9 % of the chart changes by more than 5 %.
    assert (np.abs(change) > 0.05).mean() < 0.01


def test_without_a_change_the_source_is_as_it_was(chart: Chart, picture: np.ndarray, landmarks: np.ndarray) -> None:
    creases = chart.creases(picture, landmarks)
    change = chart.change(creases, creases)
    assert not change.any()
    layers = np.dstack([picture, np.full((256, 256), 77, np.uint8)])
    assert np.array_equal(shaded(layers, change, chart.coordinates(landmarks, (256, 256))), layers)


def test_creases_keep_nothing_of_eyes_and_mouth(chart: Chart, picture: np.ndarray, landmarks: np.ndarray) -> None:
    creases = chart.creases(picture, landmarks)
    places = chart.coordinates(landmarks, (256, 256))
    for point in (159, 145, 386, 374, 13, 14, 1, 61, 291):
        x, y = landmarks[point, :2].round().astype(int)
        across, down = places[y, x].round().astype(int)
        assert not creases[max(down, 0), max(across, 0)]
    assert (creases != 0).mean() > 0.1
