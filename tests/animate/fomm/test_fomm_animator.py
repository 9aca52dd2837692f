"""FOMM animator against the original program: modes, batches, missing memory, start frame."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest
import torch
from skimage import data, img_as_ubyte

from deepfakemnist.animate.fomm.animator import FommAnimator
from deepfakemnist.animate.fomm.checkpoint import load_checkpoint
from deepfakemnist.animate.protocol import Animator, Motion
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.errors import ConfigError, Failed

pytestmark = pytest.mark.numeric


@pytest.fixture
def animator(tiny_checkpoint, tiny_model):
    return FommAnimator(load_checkpoint(tiny_checkpoint, tiny_model), device="cpu")


def as_bytes(images: np.ndarray) -> np.ndarray:
    return np.rint(images * 255).astype(np.uint8)


def rendered(animator: Animator, source: np.ndarray, driving: np.ndarray) -> np.ndarray:
    return np.stack(list(animator.render(animator.prepare_source(source), animator.prepare_driving(driving))))


MODES = {
    "absolute": {"motion": "absolute"},
    "relative": {"motion": "relative", "adapt_scale": False},
    "relative_adapt": {"motion": "relative", "adapt_scale": True},
}


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_predictions_match_the_original_program(tiny_checkpoint, tiny_model, expected, mode, align_corners, rounding):
    settings = animator_settings(
        name="fomm", model=tiny_model, align_corners=align_corners, batch_size=4, **MODES[mode]
    )
    animator = FommAnimator.from_checkpoint(tiny_checkpoint, settings, device="cpu")
    state, motion = animator.prepare_source(expected["source"]), animator.prepare_driving(expected["driving"])
    batches = list(animator.predict(state, motion))
    assert [len(batch) for batch in batches] == [4, 2]
    wanted = expected[f"prediction__{mode}__align_corners_{str(align_corners).lower()}"]
    bound = rounding["prediction of own keypoints"]
    np.testing.assert_allclose(np.concatenate(batches), wanted, atol=bound, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("capabilities", [{}, {"avx512_bf16": True, "amx_bf16": True}], ids=["no bfloat16", "bfloat16"])
def test_on_a_cpu_every_precision_gives_the_same_pixels(
    tiny_checkpoint, tiny_model, expected, monkeypatch, caplog, capabilities
):
    """Whatever the capabilities of the processor."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)

    def predicted(precision: str) -> np.ndarray:
        settings = animator_settings(name="fomm", model=tiny_model, precision=precision)
        animator = FommAnimator.from_checkpoint(tiny_checkpoint, settings, device="cpu")
        state, motion = animator.prepare_source(expected["source"]), animator.prepare_driving(expected["driving"])
        made = np.concatenate(list(animator.predict(state, motion)))
        assert animator.info.precision == "float32"
        return made

    exact = predicted("exact")
    assert exact.std() > 0.02
    for precision in ("tf32", "fast"):
        np.testing.assert_array_equal(predicted(precision), exact)
    assert not caplog.records


def test_modes_and_conventions_differ(expected):
    """Otherwise the comparison with the original program could not distinguish them."""
    predictions = [value for name, value in expected.items() if name.startswith("prediction__")]
    for i, one in enumerate(predictions):
        assert all(np.abs(one - other).max() > 1e-3 for other in predictions[:i])


def test_motion_matches_the_original_program(animator, expected, rounding):
    motion = animator.prepare_driving(expected["driving"])
    for part in ("value", "jacobian"):
        wanted = expected[f"kp_driving_{part}"]
        np.testing.assert_allclose(motion[part], wanted, atol=rounding[part], rtol=0)
    assert (len(motion), motion["value"].dtype, motion["jacobian"].dtype) == (6, np.float32, np.float32)


def test_frames_are_rounded_like_skimage(animator, expected):
    state, motion = animator.prepare_source(expected["source"]), animator.prepare_driving(expected["driving"])
    wanted = img_as_ubyte(np.concatenate(list(animator.predict(state, motion))))
    np.testing.assert_array_equal(np.stack(list(animator.render(state, motion))), wanted)


def test_bytes_and_floats_of_an_image_give_the_same_motion(animator, expected):
    driving = as_bytes(expected["driving"])
    floats = animator.prepare_driving((driving / 255).astype(np.float32))
    np.testing.assert_allclose(animator.prepare_driving(driving)["value"], floats["value"], atol=1e-6)


def test_batch_size_has_no_visible_effect(tiny_checkpoint, tiny_model, expected):
    networks = load_checkpoint(tiny_checkpoint, tiny_model)
    source, driving = as_bytes(expected["source"]), as_bytes(expected["driving"])
    one, all_at_once = (
        rendered(FommAnimator(networks, batch_size=size, device="cpu"), source, driving).astype(int) for size in (1, 16)
    )
    assert np.abs(one - all_at_once).max() <= 1


def test_two_runs_give_the_same_pixels(animator, expected):
    source, driving = as_bytes(expected["source"]), as_bytes(expected["driving"])
    np.testing.assert_array_equal(rendered(animator, source, driving), rendered(animator, source, driving))


def test_one_source_state_serves_several_drivers(animator, expected):
    state = animator.prepare_source(expected["source"])
    forward = animator.prepare_driving(expected["driving"])
    backward = Motion({name: array[::-1].copy() for name, array in forward.arrays.items()})
    first = np.stack(list(animator.render(state, forward)))
    other = np.stack(list(animator.render(state, backward)))
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(np.stack(list(animator.render(state, forward))), first)


def test_a_consumer_of_frames_is_not_put_into_inference_mode(animator, expected):
    frames = animator.render(animator.prepare_source(expected["source"]), animator.prepare_driving(expected["driving"]))
    next(frames)
    assert not torch.is_inference_mode_enabled()


def test_motion_survives_its_file_and_the_file_is_reproducible(animator, expected, tmp_path):
    motion = animator.prepare_driving(expected["driving"])
    for name in ("a.npz", "b.npz"):
        motion.save(tmp_path / "motions" / name)
    loaded = Motion.load(tmp_path / "motions" / "a.npz")
    np.testing.assert_array_equal(loaded["value"], motion["value"])
    np.testing.assert_array_equal(loaded["jacobian"], motion["jacobian"])
    assert sorted(path.name for path in (tmp_path / "motions").iterdir()) == ["a.npz", "b.npz"]
    assert (tmp_path / "motions" / "a.npz").read_bytes() == (tmp_path / "motions" / "b.npz").read_bytes()


def test_bad_motion_files_are_named(tmp_path):
    broken, other = tmp_path / "broken.npz", tmp_path / "other.npz"
    broken.write_bytes(b"PK\x03\x04 no archive")
    np.savez(other, value=np.zeros((3, 5, 2), np.float32), jacobian=np.zeros((2, 5, 2, 2), np.float32))
    for path in (broken, other, tmp_path / "missing.npz"):
        with pytest.raises(Failed, match=path.name) as error:
            Motion.load(path)
        assert error.value.reason == "motion_unreadable"


def test_motion_of_another_precision_is_refused(animator, expected):
    state = animator.prepare_source(expected["source"])
    motion = Motion({"value": np.zeros((3, 5, 2)), "jacobian": np.zeros((3, 5, 2, 2), np.float32)})
    with pytest.raises(Failed, match=r"value \(5, 2\) float64 per frame instead of \(5, 2\) float32"):
        next(animator.render(state, motion))


@pytest.mark.parametrize("shape", [(48, 64, 3), (16, 64, 3), (63, 63, 3)])
def test_unsupported_image_sizes_fail(animator, shape):
    with pytest.raises(Failed, match=r"sides from 32 in multiples of 32") as error:
        animator.prepare_source(np.zeros(shape, np.uint8))
    assert error.value.reason == "frame_size"


def test_arrays_that_are_no_images_are_refused(animator):
    with pytest.raises(ValueError, match="float64"):
        animator.prepare_source(np.zeros((64, 64, 3)))
    with pytest.raises(ValueError, match="4 dimensions"):
        animator.prepare_driving(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(Failed, match="no_frames"):
        animator.prepare_driving(np.zeros((0, 64, 64, 3), np.uint8))


def test_motion_of_other_weights_is_refused(animator, expected):
    state = animator.prepare_source(expected["source"])
    motion = Motion({"value": np.zeros((2, 7, 2), np.float32), "jacobian": np.zeros((2, 7, 2, 2), np.float32)})
    with pytest.raises(Failed, match=r"value \(7, 2\) float32 per frame instead of \(5, 2\) float32.* other weights"):
        next(animator.render(state, motion))
    with pytest.raises(Failed, match="the motion has no jacobian"):
        next(animator.render(state, Motion({"value": np.zeros((2, 5, 2), np.float32)})))


def test_collinear_keypoints_need_another_mode(animator, expected):
    state, motion = animator.prepare_source(expected["source"]), animator.prepare_driving(expected["driving"])
    line = np.repeat(np.linspace(-0.5, 0.5, 5, dtype=np.float32)[:, None], 2, axis=1)
    flat = Motion({**motion.arrays, "value": np.broadcast_to(line, motion["value"].shape).copy()})
    with pytest.raises(Failed, match="use adapt_scale: false") as error:
        next(animator.render(state, flat))
    assert error.value.reason == "flat_keypoints"


def test_nan_in_the_output_is_a_failure(tiny_checkpoint, tiny_model, expected):
    networks = load_checkpoint(tiny_checkpoint, tiny_model)
    with torch.no_grad():
        networks.generator.final.bias[0] = float("nan")
    animator = FommAnimator(networks, batch_size=4, device="cpu")
    state, motion = animator.prepare_source(expected["source"]), animator.prepare_driving(expected["driving"])
    for work in (animator.render, animator.predict):
        with pytest.raises(Failed, match="frames from 0 on contain NaN") as error:
            next(work(state, motion))
        assert error.value.reason == "not_finite"


class MemoryOf(torch.nn.Module):
    """Raises OutOfMemoryError for batches of more than ``images``; placed before a layer."""

    def __init__(self, images: int) -> None:
        super().__init__()
        self.images = images
        self.batches: list[int] = []

    def forward(self, x):
        self.batches.append(len(x))
        if len(x) > self.images:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return x


@pytest.fixture
def large_batches(tiny_checkpoint, tiny_model) -> FommAnimator:
    networks = load_checkpoint(tiny_checkpoint, tiny_model)
    return FommAnimator(networks, batch_size=8, device="cpu")


def with_memory(animator: FommAnimator, images: int) -> MemoryOf:
    memory = MemoryOf(images)
    animator.networks.generator.final = torch.nn.Sequential(memory, animator.networks.generator.final)
    return memory


@pytest.mark.slow
def test_running_out_of_memory_halves_the_batch_and_loses_no_frame(large_batches, expected, caplog):
    source, driving = as_bytes(expected["source"]), as_bytes(expected["driving"])
    whole = rendered(large_batches, source, driving).astype(int)
    memory = with_memory(large_batches, images=2)
    split = rendered(large_batches, source, driving).astype(int)
    assert np.abs(whole - split).max() <= 1
    assert memory.batches == [6, 4, 2, 2, 2]
    assert "continuing with batches of 2 frames" in caplog.text
    assert large_batches.batch_size == 2


@pytest.mark.slow
def test_running_out_of_memory_halves_the_batch_for_drivers_too(large_batches, expected):
    driving = as_bytes(expected["driving"])
    whole = large_batches.prepare_driving(driving)
    memory = MemoryOf(2)
    large_batches.networks.kp_detector = torch.nn.Sequential(memory, large_batches.networks.kp_detector)
    split = large_batches.prepare_driving(driving)
    assert memory.batches == [6, 4, 2, 2, 2]
    np.testing.assert_allclose(split["value"], whole["value"], atol=1e-5)
    np.testing.assert_allclose(split["jacobian"], whole["jacobian"], atol=1e-4)


@pytest.mark.slow
def test_the_error_says_what_to_do_when_not_even_one_frame_fits(animator, expected):
    with_memory(animator, images=0)
    with pytest.raises(MemoryError, match="use smaller images"):
        rendered(animator, as_bytes(expected["source"]), as_bytes(expected["driving"]))


def turned(portrait: np.ndarray, degrees: float) -> np.ndarray:
    side = len(portrait)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, 1)
    return cv2.warpAffine(portrait, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return cv2.resize(data.astronaut()[:256, 96:352], (192, 192), interpolation=cv2.INTER_AREA)


@pytest.fixture
def best(tiny_checkpoint, tiny_model):
    return FommAnimator(load_checkpoint(tiny_checkpoint, tiny_model), start_frame="best", device="cpu")


@pytest.mark.slow
def test_the_best_start_frame_has_the_pose_of_the_source(best, portrait, tiny_checkpoint, tiny_model):
    driver = np.stack([turned(portrait, angle) for angle in (-24, -12, 11, 25)])
    state, motion = best.prepare_source(turned(portrait, 10)), best.prepare_driving(driver)
    assert motion["pose"].shape[0] == 4
    assert best.start_of(state, motion) == 2
    frames = np.stack(list(best.render(state, motion)))
    # FOMM's demo animates forwards and backwards from the best frame, each time with it as the first frame.
    first = FommAnimator(load_checkpoint(tiny_checkpoint, tiny_model), device="cpu")
    assert first.start_of(state, motion) == 0
    forwards = Motion({name: array[2:] for name, array in motion.arrays.items()})
    backwards = Motion({name: array[2::-1].copy() for name, array in motion.arrays.items()})
    demo = [*list(first.render(state, backwards))[::-1], *list(first.render(state, forwards))[1:]]
    assert np.abs(frames.astype(int) - np.stack(demo).astype(int)).max() <= 1
    assert np.abs(frames.astype(int) - np.stack(list(first.render(state, motion))).astype(int)).max() > 1


def test_without_faces_the_first_frame_is_the_start(best, portrait, caplog):
    blank = np.full_like(portrait, 90)
    faceless = best.prepare_driving(np.stack([blank, blank]))
    with_face = best.prepare_driving(np.stack([blank, portrait]))
    assert np.isnan(faceless["pose"]).all()
    portrait_state, blank_state = best.prepare_source(portrait), best.prepare_source(blank)
    assert best.start_of(portrait_state, with_face) == 1
    for state, motion in ((portrait_state, faceless), (blank_state, with_face)):
        caplog.clear()
        assert best.start_of(state, motion) == 0
        assert len(list(best.render(state, motion))) == 2
        assert "no face to compare poses by" in caplog.text


def test_best_start_needs_a_motion_with_poses(best, animator, portrait):
    motion = animator.prepare_driving(portrait[None])
    assert "pose" not in motion
    with pytest.raises(Failed, match="prepare it again") as error:
        best.start_of(best.prepare_source(portrait), motion)
    assert error.value.reason == "motion_without_pose"


def test_neutral_starts_where_the_driver_is_frontal(animator, portrait, tiny_checkpoint, tiny_model):
    neutral = FommAnimator(load_checkpoint(tiny_checkpoint, tiny_model), start_frame="neutral", device="cpu")
    driver = np.stack([turned(portrait, angle) for angle in (-40, -20, 0, 20)])
    state, motion = neutral.prepare_source(portrait), neutral.prepare_driving(driver)
    assert neutral.start_of(state, motion) == 2
    still = neutral.prepare_driving(np.stack([driver[2]]))
    frames, (same,) = list(neutral.render(state, motion)), neutral.render(state, still)
    assert np.abs(frames[2].astype(int) - same).max() <= 1, "the start frame changes nothing"
    with pytest.raises(Failed, match="prepare it again") as error:
        neutral.start_of(state, animator.prepare_driving(driver))
    assert error.value.reason == "motion_without_pose"


def test_info_describes_the_animator(tiny_checkpoint, tiny_model):
    networks = load_checkpoint(tiny_checkpoint, tiny_model, align_corners=False)
    exact = FommAnimator(networks, device="cpu", weights_sha256="5a").info
    assert (exact.name, exact.precision, exact.weights_sha256) == ("fomm", "float32", "5a")
    assert (exact.align_corners, set(exact.motion), exact.size) == (
        False,
        {"value", "jacobian", "pose", "neutrality"},
        None,
    )
    loaded = FommAnimator.from_checkpoint(
        tiny_checkpoint, animator_settings(name="fomm", model=tiny_model), device="cpu"
    ).info
    assert loaded.weights_sha256 == hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()


def test_settings_reach_the_checkpoint_check(tiny_checkpoint, tiny_model):
    with pytest.raises(ConfigError, match="do not match animator.model"):
        FommAnimator.from_checkpoint(tiny_checkpoint, animator_settings(name="fomm"), device="cpu")
    with pytest.raises(ConfigError, match="but the config expects"):
        settings = animator_settings(name="fomm", model=tiny_model)
        FommAnimator.from_checkpoint(tiny_checkpoint, settings, sha256="0" * 64, device="cpu")
