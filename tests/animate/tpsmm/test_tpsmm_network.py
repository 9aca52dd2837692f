"""Networks of the Thin-Plate-Spline Motion Model against the original program, as they are and optimised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepfakemnist.animate.fomm.blocks import coordinate_grid
from deepfakemnist.animate.fomm.transfer import size_ratio
from deepfakemnist.animate.tpsmm.inference import optimised, rewritten
from deepfakemnist.animate.tpsmm.network import Architecture, EncodedSource, ThinPlateSplineMotionModel, warp
from deepfakemnist.animate.tpsmm.splines import evaluate, fit_splines
from deepfakemnist.animate.tpsmm.transfer import relative_motion

pytestmark = pytest.mark.numeric

#: Limits stated with the reference: rounding alone moves the original by up to a tenth of them.
POINTS, PIXELS = 1e-5, 1e-4


def nchw(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images.reshape(-1, *images.shape[-3:])).permute(0, 3, 1, 2).float() / 255


def assert_close(made: Tensor, wanted: np.ndarray, bound: float, name: str) -> None:
    """Compare arrays of the same rank; of ``wanted``, every nth row and column may be stored."""
    steps = [-(-length // kept) for length, kept in zip(made.shape, wanted.shape, strict=True)]
    kept = made[tuple(slice(None, None, step) for step in steps)]
    np.testing.assert_allclose(kept, wanted, atol=bound, rtol=0, err_msg=name)


@contextmanager
def recorded(network: nn.Module) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Yield inputs and outputs of every module by name, which are filled while the network runs."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def record(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Any, ...], made: Any) -> None:
            if given and isinstance(given[0], Tensor) and isinstance(made, Tensor):
                inputs[name], outputs[name] = given[0], made.clone()

        return hook

    hooks = [module.register_forward_hook(record(name)) for name, module in network.named_modules()]
    try:
        with torch.inference_mode():
            yield inputs, outputs
    finally:
        for hook in hooks:
            hook.remove()


def encoded_source(networks: ThinPlateSplineMotionModel, expected) -> tuple[EncodedSource, Tensor]:
    points = torch.from_numpy(expected["kp_source"])
    with torch.inference_mode():
        return networks.encode(nchw(expected["source_u8"]), points), points


@pytest.fixture(scope="module", params=["plain", "optimised"])
def either(request, networks) -> ThinPlateSplineMotionModel:
    return networks if request.param == "plain" else optimised(networks)


def test_the_default_architecture_has_the_official_tensors(official_shapes):
    with torch.device("meta"):
        networks = ThinPlateSplineMotionModel(Architecture())
    for part, parameters in (
        ("kp_detector", 11_227_812),
        ("dense_motion_network", 37_941_397),
        ("inpainting_network", 24_737_283),
        ("avd_network", 2_583_652),
    ):
        network = getattr(networks, part)
        counters = {name for name in official_shapes[part] if name.endswith("num_batches_tracked")}
        wanted = {name: [] if name in counters else shape for name, shape in official_shapes[part].items()}
        assert {name: list(tensor.shape) for name, tensor in network.state_dict().items()} == wanted
        assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert networks.architecture.size_multiple == 128


def test_key_points_and_what_leads_to_them_match_the_original_program(either, expected):
    with recorded(either) as (_, outputs):
        source = either.kp_detector(nchw(expected["source_u8"]))
    for layer in ("conv1", "bn1", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc"):
        assert_close(outputs[f"kp_detector.fg_encoder.{layer}"], expected[f"source_resnet_{layer}"], PIXELS, layer)
    assert_close(source, expected["kp_source"], POINTS, "source")
    with torch.inference_mode():
        assert_close(either.kp_detector(nchw(expected["driving_u8"])), expected["kp_driving"], POINTS, "driving")


def test_disentangled_key_points_match_the_original_program(either, expected):
    source, driving = (torch.from_numpy(expected[f"kp_{of}"]) for of in ("source", "driving"))
    with recorded(either) as (_, outputs):
        assert_close(either.avd_network(source, driving), expected["kp_avd"], POINTS, "avd")
    assert_close(outputs["avd_network.pose_encoder"], expected["avd_pose_embedding"], POINTS, "pose")
    assert_close(outputs["avd_network.id_encoder"], expected["avd_id_embedding"], POINTS, "identity")


def test_relative_key_points_match_the_original_program(expected):
    source, driving = (torch.from_numpy(expected[f"kp_{of}"]) for of in ("source", "driving"))
    assert_close(relative_motion(source, driving, 0), expected["kp_relative"], POINTS, "relative")
    assert size_ratio(source[0], driving[0]) == pytest.approx(expected["relative_scale"].item(), abs=1e-6)


@pytest.mark.parametrize("mode", ["standard", "relative"])
def test_splines_match_the_original_program(networks, expected, mode):
    points = torch.from_numpy(expected["kp_relative" if mode == "relative" else "kp_driving"][2:3])
    source = torch.from_numpy(expected["kp_source"])
    with torch.inference_mode():
        splines = fit_splines(points.unflatten(1, (10, 5)), source.unflatten(1, (10, 5)))
        motions = networks.dense_motion_network.motions(torch.zeros(1, 3, 16, 16), source, points)
    wanted = {name: expected[f"frame2_{mode}__{name}"] for name in ("tps_theta", "tps_control_params")}
    # Solving by factors instead of an inverse: three times the 3e-6 by which the original is from float64.
    assert_close(splines.affine, wanted["tps_theta"], 1e-5, "affine part")
    assert_close(splines.weights, wanted["tps_control_params"], 1e-5, "weights")
    assert_close(motions, expected[f"frame2_{mode}__transformations"], 1e-5, "motions")


@pytest.mark.parametrize("mode", ["standard", "relative"])
def test_every_intermediate_result_matches_the_original_program(either, expected, mode):
    encoded, source = encoded_source(either, expected)
    driving = torch.from_numpy(expected["kp_relative" if mode == "relative" else "kp_driving"][2:3])
    with recorded(either) as (inputs, outputs):
        prediction = either(encoded, source, driving)
        motion = either.dense_motion_network(encoded, source, driving)
        features = [warp(level, motion.deformation) for level in encoded.features[::-1]]
        shown = warp(encoded.image, motion.deformation)
    dense, painter = "dense_motion_network", "inpainting_network"
    hourglass = f"{dense}.hourglass"
    first = inputs[f"{hourglass}.encoder.down_blocks.0"]
    made = {
        "heatmap": first[:, :51],
        "deformed_source": first[:, 51:].unflatten(1, (11, 3)),
        **{f"hourglass_down{i}": outputs[f"{hourglass}.encoder.down_blocks.{i}"] for i in range(3)},
        **{f"hourglass_out{i}": inputs[f"{hourglass}.decoder.up_blocks.{i + 1}"] for i in range(2)},
        "hourglass_out2": inputs[f"{dense}.maps"],
        "map_logits": outputs[f"{dense}.maps"],
        "contribution_maps": motion.masks,
        "deformation": motion.deformation,
        "deformed": shown,
        **{f"up{i}": outputs[f"{dense}.up.{i}"] for i in range(2)},
        **{f"occlusion{i}": motion.occlusion[i] for i in range(4)},
        **{f"warped_encoder{i}": features[i] * motion.occlusion[i] for i in range(4)},
        **{f"resblock{i}": outputs[f"{painter}.resblock.{i}"] for i in range(6)},
        **{f"inpaint_up{i}": outputs[f"{painter}.up_blocks.{i}"] for i in range(3)},
        "final_input": inputs[f"{painter}.final"],
        "final_logits": outputs[f"{painter}.final"],
        "prediction": prediction,
    }
    prefix = f"frame2_{mode}__"
    stored = {name.removeprefix(prefix) for name in expected if name.startswith(prefix)}
    assert stored - {"tps_theta", "tps_control_params", "transformations"} <= set(made)
    for name in stored & set(made):
        assert_close(made[name], expected[prefix + name], PIXELS, name)


def test_what_is_kept_of_a_source_matches_the_original_program(either, expected):
    encoded, _ = encoded_source(either, expected)
    assert_close(encoded.small, expected["source_small"], PIXELS, "small")
    for level, features in enumerate(encoded.features):
        assert_close(features, expected[f"source_encoder{level}"], PIXELS, f"level {level}")


@pytest.mark.parametrize(
    ("painting", "tf32", "furthest"),
    [(torch.float32, False, PIXELS), (torch.float32, True, PIXELS), (torch.float16, False, 2 / 255)],
)
def test_rewrites_for_a_gpu_preserve_the_output(networks, expected, painting, tf32, furthest):
    """Run on the CPU, which supports float16, too, and ignores TF32."""
    fast = rewritten(networks, painting, tf32=tf32, cpu=False)
    encoded, source = encoded_source(fast, expected)
    driving = torch.from_numpy(expected["kp_driving"][2:3])
    with torch.inference_mode():
        made = fast(encoded, source, driving)
    assert_close(made, expected["frame2_standard__prediction"], furthest, "prediction")
    assert made.dtype == torch.float32


@pytest.mark.slow
def test_networks_of_the_official_size_match_the_original_program(full_size, fixtures, expected):
    """With seeded weights; on pixels of the small pictures, repeated 4×4."""
    with np.load(fixtures / "full_seeded_expected.npz") as file:
        wanted = dict(file)
    networks = optimised(full_size)
    source, first, frame = (
        nchw(picture.repeat(4, axis=0).repeat(4, axis=1))
        for picture in (expected["source_u8"], expected["driving_u8"][0], 255 - expected["driving_u8"][2])
    )
    with torch.inference_mode():
        points, start, driving = (networks.kp_detector(image) for image in (source, first, frame))
        encoded = networks.encode(source, points)
        motion = networks.dense_motion_network(encoded, points, driving)
        prediction = networks.inpainting_network.decode(encoded, motion)
        disentangled = networks.avd_network(points, driving)
    relative = relative_motion(points, torch.cat([start, driving]), 0)[1:]
    for name, made in (
        ("kp_source", points),
        ("kp_driving0", start),
        ("kp_driving2", driving),
        ("kp_relative", relative),
        ("kp_avd", disentangled),
    ):
        assert_close(made, wanted[name], POINTS, name)
    for name, made in (
        ("deformation", motion.deformation),
        ("contribution_maps_sub4", motion.masks),
        ("occlusion0_sub1", motion.occlusion[0]),
        ("occlusion1_sub2", motion.occlusion[1]),
        ("occlusion2_sub4", motion.occlusion[2]),
        ("occlusion3_sub8", motion.occlusion[3]),
        ("prediction_sub4", prediction),
    ):
        assert_close(made, wanted[name], PIXELS, name)


def test_the_original_networks_are_not_modified(networks, expected):
    before = {name: tensor.clone() for name, tensor in networks.state_dict().items()}
    optimised(networks, precision="fast")
    assert all(torch.equal(tensor, before[name]) for name, tensor in networks.state_dict().items())


def test_a_spline_maps_its_control_points_to_their_targets_up_to_the_regularisation():
    """Each row of the system says so: what is missing is 0.01 of the point's weight."""
    random = torch.Generator().manual_seed(0)
    points = torch.rand(1, 1, 5, 2, generator=random) * 2 - 1
    targets = points + 0.2 * (torch.rand(1, 1, 5, 2, generator=random) - 0.5)
    splines = fit_splines(points, targets)
    mapped = evaluate(splines, points[0])[:, :, 0]
    # Four float32 roundings of values up to 4.
    np.testing.assert_allclose(mapped + 0.01 * splines.weights, targets, atol=2e-6, rtol=0)
    assert (mapped - targets).abs().max() < 0.02


def test_control_points_that_fall_together_still_give_a_motion():
    points = torch.full((1, 1, 5, 2), 0.25)
    moved = evaluate(fit_splines(points, points + 0.1), coordinate_grid(8, 8, points))
    assert torch.isfinite(moved).all()
