"""LivePortrait as animator: from pictures to frames of 8 bits, its framing, and the settings it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from skimage import data
from torch import Tensor

from deepfakemnist.animate.liveportrait.animator import LivePortraitAnimator
from deepfakemnist.animate.liveportrait.checkpoint import weights_sha256
from deepfakemnist.animate.liveportrait.crop import crop, face_square
from deepfakemnist.animate.liveportrait.openness import Opening, OpeningIndices, openness, openness_of_faces
from deepfakemnist.animate.liveportrait.transfer import Transfer, keypoints
from deepfakemnist.animate.protocol import Motion
from deepfakemnist.animate.registry import load_animator
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.errors import ConfigError, Failed, Rejected
from deepfakemnist.faces.landmarks import FaceLandmarker
from tests.animate.liveportrait.conftest import pictures

#: Of the 203 points that the original measures openness by.
OF_203 = OpeningIndices(Opening(6, 18, (0, 12)), Opening(30, 42, (24, 36)), Opening(90, 102, (48, 66)))


@pytest.fixture
def animator(tiny_weights):
    """Return a function that makes the tiny animator, whose pictures have 64 pixels."""

    def made(**settings: object) -> LivePortraitAnimator:
        return LivePortraitAnimator(tiny_weights, device="cpu", size=64, **settings)

    return made


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """NASA's portrait of Eileen Collins, cropped to a square of 256."""
    return np.ascontiguousarray(data.astronaut()[0:256, 96:352])


def rendered(animator: LivePortraitAnimator, source: np.ndarray, driver: np.ndarray) -> np.ndarray:
    state, motion = animator.prepare_source(source), animator.prepare_driving(driver)
    return np.stack(list(animator.render(state, motion))).astype(int)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(("precision", "mean"), [("exact", 0.01), ("fast", 5.0)])  # fast as in the test of autocast
def test_a_gpu_renders_the_frames_of_the_original(precision, mean, tiny_weights, expected):
    made = LivePortraitAnimator(tiny_weights, device="cuda", size=64, precision=precision)
    frames = rendered(made, expected["source_u8"], expected["driving_u8"])
    assert np.abs(frames - expected["frames_u8__default"]).mean() < mean
    assert np.array_equal(frames, rendered(made, expected["source_u8"], expected["driving_u8"]))
    assert made.info.precision == ("float32" if precision == "exact" else "float32+float16")


@pytest.mark.numeric
@pytest.mark.parametrize("batch_size", [1, 3])
def test_frames_match_the_original(batch_size, animator, expected):
    tiny = animator(batch_size=batch_size)
    frames = rendered(tiny, expected["source_u8"], expected["driving_u8"])
    assert frames.shape == (4, 128, 128, 3) and tiny.info.output_size == 128
    # Levels are floored, so that rounding decides some by 1; were they rounded to nearest, half of them would differ.
    differences = np.abs(frames - expected["frames_u8__default"])
    assert differences.max() <= 1 and (differences > 0).mean() < 0.01


def test_absolute_motion_without_stitching_matches_the_original(animator, expected):
    tiny = animator(transfer=Transfer(relative=False, stitching=False))
    frames = rendered(tiny, expected["source_u8"], expected["driving_u8"][2:3])
    assert np.abs(frames - expected["frame2_u8__absolute_nostitch"]).max() <= 1


def test_a_motion_survives_its_file(animator, expected, tmp_path):
    tiny = animator()
    motion = tiny.prepare_driving(expected["driving_u8"])
    motion.save(tmp_path / "motion.npz")
    loaded = Motion.load(tmp_path / "motion.npz")
    assert set(loaded.arrays) == {"kp", "exp", "R", "scale", "t"} and len(loaded) == 4
    np.testing.assert_allclose(loaded["exp"], expected["driving_exp"], atol=1e-5)
    state = tiny.prepare_source(expected["source_u8"])
    assert all(map(np.array_equal, tiny.render(state, motion), tiny.render(state, loaded)))


def test_a_motion_without_openness_is_refused_where_lips_are_retargeted(animator, expected, face):
    plain, lips = animator(), animator(transfer=Transfer(lip_retargeting=True))
    with pytest.raises(Failed, match="no eye_openness, no lip_openness"):
        list(lips.render(lips.prepare_source(face), plain.prepare_driving(expected["driving_u8"])))


def test_lips_open_as_far_as_the_drivers(animator, face):
    tiny = animator(transfer=Transfer(lip_retargeting=True))
    motion = tiny.prepare_driving(np.stack([face, face]))
    assert motion["lip_openness"].shape == (2, 1) and motion["eye_openness"].shape == (2, 2)
    state = tiny.prepare_source(face)
    motion["lip_openness"][1] += 0.3
    same, opened = (frame.astype(int) for frame in tiny.render(state, motion))
    assert np.abs(same - opened).max() > 2


def test_openness_is_measured_as_in_the_original(expected):
    for whose, points in (("source", expected["lmk203"][None]), ("driving", expected["driving_lmk203"])):
        found = openness(points, OF_203)
        np.testing.assert_allclose(found.eyes, expected[f"{whose}_eye_ratio"], atol=1e-5)
        np.testing.assert_allclose(found.lips, expected[f"{whose}_lip_ratio"], atol=1e-5)


def test_openness_of_a_frame_without_a_face_is_that_of_the_nearest(face):
    found = FaceLandmarker()(face)
    gap = openness_of_faces([None, found, None])
    assert (gap.eyes == openness(found.points[None]).eyes).all() and gap.lips.shape == (3, 1)
    assert 0.15 < gap.eyes[0].mean() < 0.5 and 0 <= gap.lips[0, 0] < 0.5  # she looks at us and smiles with teeth
    with pytest.raises(Rejected, match="no landmarks of a face"):
        openness_of_faces([None])


def test_official_framing_pastes_frames_back_where_they_were(animator, face):
    tiny = animator(framing="official")
    assert tiny.info.framing == "official" and tiny.info.output_size is None
    state = tiny.prepare_source(face)
    to_crop = face_square(FaceLandmarker()(face).points).to_crop(128)
    seen = animator().prepare_source(crop(face, to_crop, 128))
    assert torch.equal(state.volume, seen.volume), "the networks see the crop"
    (frame,) = rendered(tiny, face, np.stack([face]))
    assert frame.shape == face.shape
    outside, changed = state.pasting.mask[..., 0] == 0, np.abs(frame - face).max(-1) > 8
    assert 0.2 < outside.mean() < 0.5  # this photograph is wider than the crop of its face
    assert not changed[outside].any() and changed[~outside].mean() > 0.5


def test_official_framing_needs_a_face(animator):
    with pytest.raises(Rejected, match="no landmarks of a face in the source"):
        animator(framing="official").prepare_source(np.full((256, 256, 3), 127, np.uint8))


def test_relative_motion_may_start_from_another_frame(animator, face, expected):
    tiny = animator(start_frame="best")
    driver = np.stack([np.full_like(face, 127), face])
    motion = tiny.prepare_driving(driver)
    assert tiny.start_of(tiny.prepare_source(face), motion) == 1


def test_settings_reach_the_animator(tiny_folder, tmp_path):
    settings = animator_settings(
        name="liveportrait", weights=tiny_folder, motion="absolute", region="pose", framing="official", allow_cpu=True
    )
    made = load_animator(settings, tiny_folder, "cpu")
    assert made.transfer == Transfer(relative=False, region="pose")
    assert made.info.weights_sha256 == weights_sha256(tiny_folder)
    assert (made.info.size, made.info.framing, made.info.precision) == (256, "official", "float32")
    assert "MIT" in made.info.licence and "not the authors' files" in made.info.licence


def test_a_cpu_is_refused_unless_allowed(tiny_folder):
    with pytest.raises(ConfigError, match="liveportrait needs a GPU"):
        load_animator(animator_settings(name="liveportrait", weights=tiny_folder), tiny_folder, "cpu")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": None}, "five official files"),
        ({"normalize_lip": True, "motion": "absolute"}, "normalize_lip: true has no effect"),
        ({"start_frame": "best", "motion": "absolute"}, "start_frame: best has no effect"),
        ({"region": "pose", "lip_retargeting": True}, "region: pose has no effect"),
        ({"adapt_scale": False}, "adapt_scale"),
    ],
)
def test_settings_without_effect_are_refused(settings, message, tmp_path):
    with pytest.raises(ValidationError, match=message):
        animator_settings(**{"name": "liveportrait", "weights": tmp_path, **settings})


def test_damaged_weights_give_no_frames(tiny_weights, expected):
    torch.nn.init.constant_(tiny_weights.networks.spade_generator.conv_img[0].weight, torch.nan)
    with pytest.raises(Failed, match="NaN or infinity"):
        rendered(
            LivePortraitAnimator(tiny_weights, device="cpu", size=64), expected["source_u8"], expected["driving_u8"]
        )


def test_float16_autocast_approaches_float32(tiny, expected):
    """As ``precision: fast`` does on CUDA; a CPU's autocast rounds the same convolutions."""
    source, driving = pictures(expected["source_u8"][None, ::2, ::2]), pictures(expected["driving_u8"][2:3, ::2, ::2])

    def frame() -> Tensor:
        volume, motion = tiny.appearance_feature_extractor(source).float(), tiny.motion_extractor(source)
        moved = tiny.motion_extractor(driving)
        assert all(part.dtype == torch.float32 for part in (*motion, *moved))
        with torch.autocast("cpu", enabled=False):
            still, x = keypoints(motion), keypoints(moved)
        return tiny.spade_generator(tiny.warping_module(volume, still, x))

    exact = frame()
    with torch.autocast("cpu", dtype=torch.float16):
        reduced = frame()
    assert reduced.dtype == torch.float32 and not torch.equal(exact, reduced)
    # The tiny weights amplify rounding 75 times: 0.07 of float16 at worst; 0.006 on average was measured.
    assert (exact - reduced).abs().mean() < 0.02
