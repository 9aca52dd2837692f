"""FOMM networks against the original program, and the options that it does not have."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from deepfakemnist.animate.fomm.blocks import coordinate_grid
from deepfakemnist.animate.fomm.checkpoint import load_checkpoint
from deepfakemnist.animate.fomm.network import FirstOrderMotionModel, Keypoints, minimum_size, size_multiple
from deepfakemnist.config.animators.fomm import FommModel, GeneratorModel, KeypointModel
from deepfakemnist.errors import ConfigError

pytestmark = pytest.mark.numeric


def nchw(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def keypoints(expected: dict[str, np.ndarray], of: str, which: slice = slice(None)) -> Keypoints:
    return Keypoints(*(torch.from_numpy(expected[f"kp_{of}_{part}"][which]) for part in ("value", "jacobian")))


def test_vox256_has_the_official_tensors(fixtures):
    wanted = json.loads((fixtures / "vox256_shapes.json").read_text())["state_dict_shapes"]
    with torch.device("meta"):
        networks = FirstOrderMotionModel(FommModel())
    for part, parameters in (("kp_detector", 14_215_368), ("generator", 45_575_391)):
        network = getattr(networks, part)
        assert {name: list(tensor.shape) for name, tensor in network.state_dict().items()} == wanted[part]
        assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_keypoints_match_the_original_program(tiny_checkpoint, tiny_model, expected, arithmetic):
    dtype, bounds = arithmetic
    detector = load_checkpoint(tiny_checkpoint, tiny_model).kp_detector.to(dtype)
    with torch.inference_mode():
        for name in ("source", "driving"):
            found = detector(nchw(expected[name].reshape(-1, 64, 64, 3)).to(dtype))
            wanted = keypoints(expected, name)
            np.testing.assert_allclose(found.value, wanted.value, atol=bounds["value"], rtol=0)
            np.testing.assert_allclose(found.jacobian, wanted.jacobian, atol=bounds["jacobian"], rtol=0)


def test_motion_and_image_match_the_original_program(tiny_checkpoint, tiny_model, expected, arithmetic):
    dtype, bounds = arithmetic
    generator = load_checkpoint(tiny_checkpoint, tiny_model, align_corners=False).generator.to(dtype)
    source, driving = (
        Keypoints(*(part.to(dtype) for part in keypoints(expected, *of)))
        for of in (("source",), ("driving", slice(2, 3)))
    )
    with torch.inference_mode():
        encoded = generator.encode(nchw(expected["source"][None]).to(dtype))
        motion = generator.motion(encoded, source, driving)
        np.testing.assert_allclose(motion.mask, expected["frame2_mask"], atol=bounds["mask"], rtol=0)
        np.testing.assert_allclose(motion.occlusion, expected["frame2_occlusion_map"], atol=bounds["occlusion"], rtol=0)
        made = generator.decode(encoded, motion)
        np.testing.assert_allclose(made, expected["frame2_prediction"], atol=bounds["prediction"], rtol=0)


def test_the_initial_antialiasing_kernel_is_that_of_the_checkpoint(tiny_checkpoint, tiny_model):
    trained, new = load_checkpoint(tiny_checkpoint, tiny_model), FirstOrderMotionModel(tiny_model)
    np.testing.assert_allclose(new.kp_detector.down.weight, trained.kp_detector.down.weight, rtol=1e-6)


def test_initial_jacobians_are_the_identity(tiny_model):
    found = FirstOrderMotionModel(tiny_model).eval().kp_detector(torch.rand(2, 3, 64, 64))
    np.testing.assert_allclose(found.jacobian.detach(), np.broadcast_to(np.eye(2), (2, 5, 2, 2)), atol=1e-6)


def test_full_resolution_skip_returns_a_visible_static_source_exactly(small_model):
    generator = FirstOrderMotionModel(small_model, align_corners=True).eval().generator
    torch.nn.init.zeros_(generator.dense_motion_network.occlusion.weight)
    torch.nn.init.constant_(generator.dense_motion_network.occlusion.bias, 50.0)  # everything is visible
    image = torch.rand(1, 3, 32, 32)
    still = Keypoints(torch.rand(1, 4, 2) - 0.5, torch.eye(2).expand(1, 4, 2, 2))
    with torch.inference_mode():
        np.testing.assert_allclose(generator(image, still, still), image, atol=2e-5)


def test_bicubic_sampling_keeps_a_shifted_source_sharper(small_model):
    """Everything is visible and shifted by a third of a pixel: bilinear blurs more, and both stay in 0..1."""
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).round()
    at = torch.rand(1, 4, 2) - 0.5
    identity = torch.eye(2).expand(1, 4, 2, 2)
    contrast = {}
    for sampling in ("bilinear", "bicubic"):
        generator_model = small_model.generator.model_copy(update={"skip_sampling": sampling})
        model = small_model.model_copy(update={"generator": generator_model})
        generator = FirstOrderMotionModel(model, align_corners=True).eval().generator
        dense = generator.dense_motion_network
        for layer in (dense.occlusion, dense.mask):
            torch.nn.init.zeros_(layer.weight)
        torch.nn.init.constant_(dense.occlusion.bias, 50.0)
        with torch.no_grad():
            dense.mask.bias.copy_(torch.tensor([-50.0, 0, 0, 0, 0]))  # all follow the keypoints, none the background
        with torch.inference_mode():
            still = generator(image, Keypoints(at, identity), Keypoints(at, identity))
            moved = generator(image, Keypoints(at, identity), Keypoints(at + 2 / 31 / 3, identity))
        np.testing.assert_allclose(still, image, atol=1e-4)
        assert moved.min() >= 0 and moved.max() <= 1
        contrast[sampling] = moved.std().item()
    assert contrast["bicubic"] > 1.1 * contrast["bilinear"]


def with_dense(model: FommModel, **changes: object) -> FommModel:
    dense = model.generator.dense_motion.model_copy(update=changes)
    return model.model_copy(update={"generator": model.generator.model_copy(update={"dense_motion": dense})})


def test_with_the_prior_an_untrained_model_follows_the_nearest_keypoint(small_model):
    """One keypoint moves by 0.3 and three stay: pixels at the moving one come from 0.3 away, the rest does not move."""
    torch.manual_seed(0)
    model = with_dense(small_model, keypoint_prior=2.0)
    network = FirstOrderMotionModel(model).eval().generator.dense_motion_network
    still = torch.tensor([[[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]]])
    moved = still.clone()
    moved[0, 0] = torch.tensor([-0.2, -0.5])
    identity = torch.eye(2).expand(1, 4, 2, 2)
    with torch.inference_mode():
        motion = network(
            torch.rand(1, 3, 41, 41)[..., :40, :40], Keypoints(still, identity), Keypoints(moved, identity)
        )
    at = lambda x, y: motion.deformation[0, round((y + 1) * 19.5), round((x + 1) * 19.5)].numpy()  # noqa: E731
    np.testing.assert_allclose(at(-0.2, -0.5), (-0.5, -0.5), atol=0.04)
    np.testing.assert_allclose(at(0.5, 0.5), (0.5, 0.5), atol=0.04)
    np.testing.assert_allclose(motion.mask.sum(1), 1, atol=1e-5)


def test_upsampled_masks_have_sharper_edges(small_model):
    """Left of the centre a keypoint moves by 0.4, right of it one stays; upsampling makes the border steeper."""
    at = torch.tensor([[[-0.1, 0.0], [0.1, 0.0], [0.5, 0.5], [0.5, -0.5]]])
    from_far = at + torch.tensor([[[0.0, 0.4], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
    identity = torch.eye(2).expand(1, 4, 2, 2)
    steepest = {}
    for upsampling in (1, 4):
        model = with_dense(small_model, keypoint_prior=8.0, upsampling=upsampling)
        torch.manual_seed(0)
        generator = FirstOrderMotionModel(model).eval().generator
        torch.nn.init.zeros_(generator.dense_motion_network.occlusion.weight)
        torch.nn.init.constant_(generator.dense_motion_network.occlusion.bias, 50.0)
        image = torch.rand(1, 3, 64, 64)
        with torch.inference_mode():
            motion = generator.motion(generator.encode(image), Keypoints(from_far, identity), Keypoints(at, identity))
            still = generator(image, Keypoints(at, identity), Keypoints(at, identity))
        assert motion.mask.shape == (1, 5, 32 * upsampling, 32 * upsampling)
        assert motion.occlusion.shape == (1, 1, 32 * upsampling, 32 * upsampling)
        np.testing.assert_allclose(motion.mask.sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(still, image, atol=4e-5)
        flow = torch.nn.functional.interpolate(motion.deformation[..., 1][None], size=(256, 256), mode="bilinear")
        steepest[upsampling] = flow[..., 128, :].diff(dim=-1).abs().max().item()
    assert steepest[4] > 1.5 * steepest[1]


def test_blended_motion_is_the_weighted_mean_of_all_motions(small_model):
    """Coefficients averaged by the mask against dense motions averaged by it."""
    dense = FirstOrderMotionModel(with_dense(small_model, upsampling=2)).eval().generator.dense_motion_network
    torch.manual_seed(0)
    source, driving = (
        Keypoints(torch.rand(2, 4, 2) - 0.5, torch.eye(2) + 0.2 * torch.randn(2, 4, 2, 2)) for _ in range(2)
    )
    with torch.inference_mode():
        motion = dense(torch.rand(2, 3, 32, 32), source, driving)
        motions = dense._motions(coordinate_grid(64, 64, motion.mask), source, driving)
    wanted = (motion.mask[..., None] * motions).sum(1)
    np.testing.assert_allclose(motion.deformation, wanted, atol=2e-6)


@pytest.mark.parametrize("scale", [0.5, 0.25])
def test_inpainting_at_reduced_resolution(small_model, scale):
    """Visible regions stay as sharp as the source; inpainted ones have the reduced resolution."""
    generator_model = small_model.generator.model_copy(update={"scale_factor": scale})
    model = small_model.model_copy(update={"generator": generator_model})
    generator = FirstOrderMotionModel(model).eval().generator
    occlusion = generator.dense_motion_network.occlusion
    torch.nn.init.zeros_(occlusion.weight)
    image = torch.rand(1, 3, 64, 64)
    still = Keypoints(torch.rand(1, 4, 2) - 0.5, torch.eye(2).expand(1, 4, 2, 2))
    with torch.inference_mode():
        torch.nn.init.constant_(occlusion.bias, 50.0)
        np.testing.assert_allclose(generator(image, still, still), image, atol=4e-5)
        torch.nn.init.constant_(occlusion.bias, -50.0)
        inpainted = generator(image, still, still)
        coarse = torch.nn.functional.interpolate(inpainted, scale_factor=scale, mode="bilinear", antialias=False)
        again = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear")
    assert generator.encode(image).features.shape[-1] == 64 * scale / 4
    assert (inpainted - again).abs().max() < 0.02  # no finer detail
    assert size_multiple(model) == max(8, round(4 / scale))


def test_heads_can_have_smaller_kernels(small_model):
    model = with_dense(small_model, head_kernel=3)
    model = model.model_copy(update={"keypoints": model.keypoints.model_copy(update={"head_kernel": 3})})
    networks = FirstOrderMotionModel(model)
    assert networks.kp_detector.kp.weight.shape[-2:] == (3, 3)
    assert networks.generator.dense_motion_network.mask.weight.shape[-2:] == (3, 3)
    assert minimum_size(model) == 8
    image = torch.rand(2, 3, 32, 32)
    found = networks.kp_detector(image)
    assert networks.generator(image, found, found).shape == (2, 3, 32, 32)


def test_geometry_stays_float32_under_autocast(tiny_checkpoint, tiny_model, expected, rounding):
    generator = load_checkpoint(tiny_checkpoint, tiny_model, align_corners=False).generator
    source, driving = keypoints(expected, "source"), keypoints(expected, "driving", slice(2, 3))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = generator.encode(nchw(expected["source"][None]))
        assert encoded.features.dtype == torch.bfloat16
        motion = generator.motion(encoded, source, driving)
        np.testing.assert_allclose(motion.mask, expected["frame2_mask"], atol=rounding["mask"], rtol=0)
        assert generator.decode(encoded, motion).dtype == torch.float32


def test_supported_image_sizes(tiny_model, small_model):
    assert size_multiple(FommModel()) == 128
    assert (size_multiple(tiny_model), minimum_size(tiny_model)) == (32, 32)
    smallest = minimum_size(small_model)
    assert (size_multiple(small_model), smallest) == (8, 16)
    detector = FirstOrderMotionModel(small_model).eval().kp_detector
    assert torch.isfinite(detector(torch.rand(1, 3, smallest, smallest)).value).all()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (FommModel(keypoints=KeypointModel(scale_factor=0.3)), "scale_factor 0.3 is not allowed"),
        (
            FommModel(generator=GeneratorModel(estimate_occlusion_map=False, full_resolution_skip=True)),
            "full_resolution_skip: true needs",
        ),
        (FommModel(generator=GeneratorModel(scale_factor=0.5)), "scale_factor is 0.5, which needs"),
    ],
)
def test_impossible_architectures_are_refused(model, message):
    with torch.device("meta"), pytest.raises(ConfigError, match=message):
        FirstOrderMotionModel(model)
