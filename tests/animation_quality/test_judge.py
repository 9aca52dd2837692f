"""Quality scores of faithful, static, weak, blurred and identity-swapped animations."""

from __future__ import annotations

from importlib.resources import files
from itertools import islice
from math import isnan, nan
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from deepfakemnist.animation_quality.image_metrics import (
    identity_kept,
    keypoint_error,
    reconstruction_l1,
    sharpness_ratio,
)
from deepfakemnist.animation_quality.judge import METRICS, ClipQuality, assess_clip, quality_table
from deepfakemnist.animation_quality.motion import (
    ACTION_SIGNALS,
    MIN_AMPLITUDE,
    Signals,
    action_direction,
    action_transfer,
    amplitude,
    measure_action,
)
from deepfakemnist.config.base import ACTIONS
from deepfakemnist.errors import ConfigError
from deepfakemnist.faces.identity import FaceEmbedder
from deepfakemnist.faces.landmarks import BLENDSHAPES, FaceLandmarker, FaceLandmarks
from deepfakemnist.media.decode import read_frames

_T = np.linspace(0, 1, 40)
#: Rest, action, rest: 0 … 1 … 0.
_CURVE = np.sin(np.pi * _T) ** 2


def _signals(**moving: np.ndarray) -> Signals:
    """Signals of a face at rest except for the given ones."""
    return {name: np.zeros(len(_T)) for name in MIN_AMPLITUDE} | moving


def _collins() -> np.ndarray:
    return cv2.resize(astronaut()[:230, 110:340], (256, 256), interpolation=cv2.INTER_AREA)


def _hopper() -> np.ndarray:
    data = files("matplotlib").joinpath("mpl-data", "sample_data", "grace_hopper.jpg").read_bytes()
    image = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return cv2.resize(image[30:430, 70:470], (256, 256), interpolation=cv2.INTER_AREA)


def _tilting(image: np.ndarray, degrees: float, frames: int = 16) -> list[np.ndarray]:
    """Return a clip of an image that tilts clockwise in the image, to the subject's left, and back."""
    clip = []
    for share in np.sin(np.linspace(0, np.pi, frames)) ** 2:
        matrix = cv2.getRotationMatrix2D((128, 140), -degrees * share, 1.0)
        clip.append(cv2.warpAffine(image, matrix, (256, 256), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT))
    return clip


@pytest.fixture(scope="module")
def landmarker() -> FaceLandmarker:
    return FaceLandmarker()


@pytest.fixture(scope="module")
def embedder() -> FaceEmbedder:
    return FaceEmbedder()


@pytest.fixture(scope="module")
def others(embedder: FaceEmbedder) -> np.ndarray:
    return np.stack([embedder(_hopper()), embedder(np.ascontiguousarray(_hopper()[:, ::-1]))])


def test_every_action_has_signals() -> None:
    assert set(ACTION_SIGNALS) == set(ACTIONS)
    assert {name for signals in ACTION_SIGNALS.values() for name in signals} <= set(MIN_AMPLITUDE)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0, 1.6, -0.5])
def test_slope_is_the_ratio_of_amplitudes(share: float) -> None:
    """Independent of rest poses and of jitter in the result."""
    jitter = 0.05 * np.random.default_rng(0).standard_normal(len(_T))
    jitter -= _CURVE * (jitter @ (_CURVE - _CURVE.mean())) / (_CURVE @ (_CURVE - _CURVE.mean()))
    driver, result = _signals(blink=0.1 + 0.8 * _CURVE), _signals(blink=0.3 + 0.8 * share * _CURVE + jitter)
    assert action_transfer("blink", driver, result).slope == pytest.approx(share, abs=1e-6)


def test_a_static_result_has_no_transfer_and_the_driver_itself_full_transfer() -> None:
    driver = _signals(roll=-15 * _CURVE)
    still, same = action_transfer("right_slope", driver, _signals()), action_transfer("right_slope", driver, driver)
    assert (still.slope, still.correlation) == (0, 0)
    assert (same.slope, same.correlation) == pytest.approx((1, 1))


def test_motion_at_other_times_is_no_transfer() -> None:
    """Same range as the driver's, but a quarter of a period late."""
    driver, result = _signals(yaw=30 * np.sin(2 * np.pi * _T)), _signals(yaw=30 * np.cos(2 * np.pi * _T))
    transfer = action_transfer("yaw", driver, result)
    assert amplitude(result["yaw"]) > 0.9 * amplitude(driver["yaw"])
    assert abs(transfer.slope) < 0.05 and abs(transfer.correlation) < 0.05


def test_noise_is_no_transfer_but_lowers_the_correlation() -> None:
    noise = 0.3 * np.random.default_rng(1).standard_normal(len(_T))
    driver = _signals(jaw=0.6 * _CURVE)
    assert abs(action_transfer("mouth", driver, _signals(jaw=noise)).slope) < 0.35
    assert amplitude(noise) > 1.0  # a ratio of ranges would be 170 %
    noisy = action_transfer("mouth", driver, _signals(jaw=0.6 * _CURVE + noise))
    assert noisy.slope == pytest.approx(1, abs=0.35) and noisy.correlation < 0.8


def test_transfer_is_the_mean_over_signals_that_the_driver_shows() -> None:
    driver = _signals(jaw=0.8 * _CURVE, brow=0.3 * _CURVE)
    assert action_transfer("surprise", driver, _signals(jaw=0.8 * _CURVE)).slope == pytest.approx(0.5)
    only_jaw = driver | {"brow": 0.05 * _CURVE}
    assert action_transfer("surprise", only_jaw, _signals(jaw=0.8 * _CURVE)).slope == pytest.approx(1)


def test_transfer_is_undefined_where_the_driver_does_not_move() -> None:
    transfer = action_transfer("smile", _signals(smile=0.08 * _CURVE, jaw=_CURVE), _signals(smile=_CURVE))
    assert isnan(transfer.slope) and isnan(transfer.correlation)


def test_frames_without_a_face_are_ignored() -> None:
    driver, result = _signals(pitch=20 * _CURVE), _signals(pitch=10 * _CURVE)
    result["pitch"][10:20] = nan
    assert action_transfer("nod", driver, result).slope == pytest.approx(0.5)
    result["pitch"][4:] = nan
    assert isnan(action_transfer("nod", driver, result).slope)


def test_unusable_input_is_an_error() -> None:
    with pytest.raises(ConfigError, match="action 'wink' is not one of blink, mouth"):
        action_transfer("wink", _signals(), _signals())
    short = {name: values[:30] for name, values in _signals().items()}
    with pytest.raises(ValueError, match="equally long, but have 40 and 30 frames"):
        action_transfer("blink", _signals(), short)


def test_direction_distinguishes_left_and_right() -> None:
    left = _signals(roll=3 + 12 * _CURVE)
    assert action_direction("left_slope", left) == pytest.approx(1, abs=0.01)
    assert action_direction("right_slope", left) == pytest.approx(-1, abs=0.01)
    assert isnan(action_direction("left_slope", _signals(roll=2 * _CURVE)))
    assert isnan(action_direction("yaw", _signals(yaw=30 * _CURVE)))


def test_amplitude_ignores_an_outlier_but_not_a_short_blink() -> None:
    outlier, blink = np.zeros(60), np.zeros(60)
    outlier[20], blink[20:23] = 1, 0.8
    assert amplitude(outlier) < 0.2 and amplitude(blink) == pytest.approx(0.8)


def test_signals_are_means_of_their_blendshapes() -> None:
    def face(**shapes: float) -> FaceLandmarks:
        values = np.array([shapes.get(name, 0.0) for name in BLENDSHAPES], np.float32)
        return FaceLandmarks(
            np.zeros((478, 2), np.float32), values, np.array([1, 2, 3], np.float32), 1.0, np.zeros(478)
        )

    signals = measure_action([face(eyeBlinkLeft=1.0, eyeBlinkRight=0.5, browInnerUp=0.9), None, face(jawOpen=0.7)])
    assert signals["blink"][[0, 2]] == pytest.approx([0.75, 0])
    assert signals["brow"][0] == pytest.approx(0.3) and signals["jaw"][2] == pytest.approx(0.7)
    assert [signals[name][0] for name in ("yaw", "pitch", "roll")] == [1, 2, 3]
    assert all(isnan(values[1]) for values in signals.values())


def test_identity_kept_is_normalised_by_chance_similarity() -> None:
    source = np.zeros(128)
    at = np.eye(128)[0]
    others = np.stack([0.9 * at, -0.9 * at])  # similarity 0.25
    assert identity_kept([source], source, others) == pytest.approx(1)
    assert identity_kept([0.9 * np.eye(128)[1]], source, others) == pytest.approx(0)
    assert identity_kept([source, 0.9 * at], source, others) == pytest.approx(0.5)
    assert identity_kept([1.5 * at], source, others) < 0
    assert isnan(identity_kept([], source, others))
    assert isnan(identity_kept([source], source, np.zeros((0, 128))))


def test_blur_lowers_sharpness(landmarker: FaceLandmarker) -> None:
    image = _collins()
    face = landmarker(image)
    ratios = [
        sharpness_ratio([cv2.GaussianBlur(image, (0, 0), sigma)], [face], image, face) for sigma in (0.5, 1.0, 2.0)
    ]
    assert sharpness_ratio([image], [face], image, face) == 1
    assert 1 > ratios[0] > ratios[1] > ratios[2] > 0 and ratios[2] < 0.2
    background = image.copy()
    background[:40] = np.random.default_rng(0).integers(0, 256, (40, 256, 3))
    assert sharpness_ratio([background], [face], image, face) == 1, "the background does not count"
    assert isnan(sharpness_ratio([image], [None], image, face))
    assert isnan(sharpness_ratio([image], [face], image, None))


def test_reconstruction_and_keypoint_errors(landmarker: FaceLandmarker) -> None:
    image = _collins()
    assert reconstruction_l1([image], [image]) == 0
    assert reconstruction_l1([np.full((4, 4, 3), 51, np.uint8)], [np.zeros((4, 4, 3), np.uint8)]) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="equally long, but have 1 and 2 frames"):
        reconstruction_l1([image], [image] * 2)
    with pytest.raises(ValueError, match=r"equal shapes, not \(256, 256, 3\) and \(100, 256, 3\)"):
        reconstruction_l1([image], [image[:100]])
    face = landmarker(image)
    assert face is not None
    eyes = np.linalg.norm(face.points[263] - face.points[33])
    moved = FaceLandmarks(face.points + np.array([3, 4]), face.blendshapes, face.pose, 1.0, face.depth)
    assert keypoint_error([moved, None], [face, face]) == pytest.approx(5 / eyes, rel=1e-4)
    assert isnan(keypoint_error([None], [face]))


@pytest.mark.slow
def test_half_of_the_drivers_tilt_is_half_transfer(
    landmarker: FaceLandmarker, embedder: FaceEmbedder, others: np.ndarray
) -> None:
    """Hopper tilts by 14 degrees, Collins by half of it."""
    driver, result = _tilting(_hopper(), 14), _tilting(_collins(), 7)
    quality = assess_clip(_collins(), driver, result, "left_slope", landmarker, embedder, others)
    assert quality.transfer == pytest.approx(0.5, abs=0.06)
    assert quality.correlation > 0.97 and quality.direction > 0.9
    assert quality.face_share == 1
    assert quality.identity_kept > 0.7
    assert quality.sharpness_ratio == pytest.approx(1, abs=0.3)
    assert isnan(quality.reconstruction_l1) and isnan(quality.keypoint_error)


@pytest.mark.slow
def test_a_static_source_has_full_identity_and_no_transfer(
    landmarker: FaceLandmarker, embedder: FaceEmbedder, others: np.ndarray
) -> None:
    driver = _tilting(_hopper(), 14)
    quality = assess_clip(
        _collins(), driver, [_collins()] * len(driver), "left_slope", landmarker, embedder, others, every=2
    )
    assert abs(quality.transfer) < 0.02 and isnan(quality.direction)
    assert (quality.identity_kept, quality.sharpness_ratio) == pytest.approx((1, 1), abs=0.02)


@pytest.mark.slow
def test_the_driver_as_result_has_full_transfer_and_no_identity(
    landmarker: FaceLandmarker, embedder: FaceEmbedder
) -> None:
    driver = _tilting(_hopper(), -14)
    stranger = embedder(np.ascontiguousarray(_hopper()[:, ::-1]))
    assert stranger is not None
    quality = assess_clip(_collins(), driver, driver, "right_slope", landmarker, embedder, stranger[None])
    assert (quality.transfer, quality.correlation) == pytest.approx((1, 1))
    assert quality.direction > 0.9
    assert quality.identity_kept < 0.3


@pytest.mark.slow
def test_self_reenactment_has_reconstruction_errors(
    landmarker: FaceLandmarker, embedder: FaceEmbedder, others: np.ndarray
) -> None:
    truth = _tilting(_collins(), 10, frames=8)
    result = [cv2.GaussianBlur(frame, (0, 0), 2.0) for frame in truth]
    quality = assess_clip(truth[0], truth, result, "left_slope", landmarker, embedder, others, same_clip=True)
    assert quality.reconstruction_l1 == pytest.approx(reconstruction_l1(result, truth))
    assert quality.reconstruction_l1 > 0
    assert 0 < quality.keypoint_error < 0.03
    assert quality.sharpness_ratio < 0.3


@pytest.mark.slow
def test_no_face_never_raises(landmarker: FaceLandmarker, embedder: FaceEmbedder, others: np.ndarray) -> None:
    sky = np.full((256, 256, 3), 120, np.uint8)
    driver = _tilting(_hopper(), 14, frames=8)
    gone = assess_clip(_collins(), driver, [sky] * 8, "left_slope", landmarker, embedder, others)
    assert gone.face_share == 0
    assert all(isnan(getattr(gone, metric)) for metric in METRICS if metric != "face_share")
    half = assess_clip(sky, driver, [*driver[:4], *[sky] * 4], "left_slope", landmarker, embedder, others)
    assert half.face_share == 0.5 and isnan(half.identity_kept) and isnan(half.sharpness_ratio)
    with pytest.raises(ValueError, match="equally long, but have 8 and 7 frames"):
        assess_clip(_collins(), driver, driver[:7], "left_slope", landmarker, embedder, others)


def test_the_quality_table_has_medians_per_action() -> None:
    def row(action: str, transfer: float) -> ClipQuality:
        return ClipQuality(action, 1.0, transfer, 0.9, nan, 0.5, 0.8)

    table = quality_table([row("smile", 0.4), row("smile", 0.8), row("smile", nan), row("blink", 0.1)])
    assert [(entry["action"], entry["clips"]) for entry in table] == [("blink", 1), ("smile", 3), ("all", 4)]
    blink, smile, everything = table
    assert (smile["transfer"], smile["transfer_n"]) == (pytest.approx(0.6), 2)
    assert (everything["transfer"], everything["transfer_n"]) == (pytest.approx(0.4), 3)
    assert isnan(blink["direction"]) and blink["direction_n"] == 0
    assert set(blink) == {"action", "clips", *METRICS, *(f"{metric}_n" for metric in METRICS)}


@pytest.mark.slow
@pytest.mark.real
def test_real_drivers(real_data: Path, landmarker: FaceLandmarker, embedder: FaceEmbedder) -> None:
    """A real smile transfers fully to itself and not to somebody who talks; identities are not confused."""
    videos = real_data / "real" / "videos"
    smiling = list(read_frames(videos / "lp-d13.mp4", fps=12.5, start_s=6.0, end_s=8.4))
    talking = list(islice(read_frames(videos / "lp-s18.mp4", fps=12.5), len(smiling)))
    people = {name: next(iter(read_frames(videos / f"{name}.mp4", fps=1.0))) for name in ("lp-d0", "vr-1", "vr-5")}
    others = np.stack([embedder(frame) for frame in people.values()])
    own = assess_clip(smiling[0], smiling, smiling, "smile", landmarker, embedder, others, same_clip=True)
    assert own.transfer == pytest.approx(1) and own.direction > 0.9
    assert own.identity_kept > 0.6 and own.reconstruction_l1 == 0 and own.keypoint_error == 0
    other = assess_clip(smiling[0], smiling, talking, "smile", landmarker, embedder, others)
    assert abs(other.transfer) < 0.2 and other.identity_kept < 0.3
