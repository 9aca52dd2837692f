"""Inference rewrites against the plain networks and the original program."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepfakemnist.animate.fomm.blocks import ResidualBlock, UpBlock
from deepfakemnist.animate.fomm.checkpoint import load_checkpoint
from deepfakemnist.animate.fomm.folded_conv import FoldedConv, check_reduced_layers
from deepfakemnist.animate.fomm.inference import (
    BlockedConv,
    PhasedUp,
    TapwiseConv,
    Target,
    arithmetic,
    decoder_dtype,
    optimised,
    rewritten,
)
from deepfakemnist.animate.fomm.matrix_conv import MatrixConv, MatrixUp, MatrixWinograd
from deepfakemnist.animate.fomm.network import EncodedSource, FirstOrderMotionModel, Keypoints, invert_2x2
from deepfakemnist.animate.fomm.winograd import WinogradResidual
from deepfakemnist.config.animators.fomm import DenseMotionModel, FommModel, GeneratorModel, KeypointModel

pytestmark = pytest.mark.numeric


def settle(network: nn.Module, *inputs: Tensor) -> None:
    """Randomise the affine parameters of every batch norm and compute its statistics."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None
            nn.init.uniform_(norm.weight, 0.7, 1.3)
            nn.init.normal_(norm.bias, 0, 0.1)
    with torch.no_grad():
        network.train()(*inputs)
    network.eval()


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale.detach(), (norm.bias - norm.running_mean * scale).detach()


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    scale, shift = affine(norm)
    return conv.weight.detach() * scale.view(-1, 1, 1, 1), conv.bias.detach() * scale + shift


@pytest.fixture(scope="module")
def images() -> Tensor:
    """A moving soft disc, (3, 3, 64, 64) in 0..1."""
    y, x = np.mgrid[:64, :64].astype(np.float32)
    waves = 0.1 * np.sin(x / 3) * np.cos(y / 5)
    discs = [1 / (1 + np.exp(np.hypot(x - 20 - 9 * i, y - 24 - 6 * i) - 12)) for i in range(3)]
    colours = np.array([0.7, 0.5, 0.4], np.float32)[:, None, None]
    return torch.from_numpy(np.stack([0.2 + waves + disc * colours for disc in discs]).astype(np.float32))


@pytest.fixture(scope="module")
def wide(images) -> FirstOrderMotionModel:
    """Random networks with a bottleneck of 128 channels, which Winograd computes, and settled batch norms."""
    torch.manual_seed(1)
    widths = {"block_expansion": 8, "max_features": 32, "num_blocks": 3}
    generator = GeneratorModel(
        block_expansion=32, max_features=128, num_bottleneck_blocks=2, dense_motion=DenseMotionModel(**widths)
    )
    networks = FirstOrderMotionModel(FommModel(num_kp=4, keypoints=KeypointModel(**widths), generator=generator))
    settle(networks.kp_detector, images)
    with torch.no_grad():
        found = networks.kp_detector(images)
    settle(networks.generator, images, found, Keypoints(*(part.roll(1, 0) for part in found)))
    return networks


def animation(networks: FirstOrderMotionModel, images: Tensor) -> Tensor:
    """Return the first image animated by all images."""
    with torch.inference_mode():
        found = networks.kp_detector(images)
        source = Keypoints(*(part[:1].expand_as(part) for part in found))
        encoded = networks.generator.encode(images[:1])
        encoded = EncodedSource(*(part.expand(3, -1, -1, -1) for part in encoded))
        return networks.generator.decode(encoded, networks.generator.motion(encoded, source, found))


@pytest.mark.slow
def test_exact_equals_the_plain_network_up_to_rounding(wide, images):
    plain, fast = animation(wide, images), animation(optimised(wide), images)
    assert plain.std() > 0.02
    np.testing.assert_allclose(fast, plain, atol=3e-5, rtol=0)  # 6.9e-6 with AVX2, 6.0e-6 with SSE4.1


@pytest.mark.parametrize("precision", ["exact", "tf32", "fast"])
def test_only_fast_on_a_gpu_uses_another_dtype(precision):
    assert decoder_dtype(precision, torch.device("cpu")) == torch.float32
    on_cuda = torch.float16 if precision == "fast" else torch.float32
    assert decoder_dtype(precision, torch.device("cuda")) == on_cuda


def test_every_intermediate_result_matches_the_original_program(tiny_checkpoint, tiny_model, expected, rounding):
    networks = optimised(load_checkpoint(tiny_checkpoint, tiny_model, align_corners=False))
    source = torch.from_numpy(expected["source"][None]).permute(0, 3, 1, 2)
    driving = torch.from_numpy(expected["driving"]).permute(0, 3, 1, 2)
    with torch.inference_mode():
        for name, batch in (("source", source), ("driving", driving)):
            found = networks.kp_detector(batch)
            for part in ("value", "jacobian"):
                wanted = expected[f"kp_{name}_{part}"]
                np.testing.assert_allclose(getattr(found, part), wanted, atol=rounding[part], rtol=0)
        of_source = networks.kp_detector(source)
        encoded = networks.generator.encode(source)
        motion = networks.generator.motion(encoded, of_source, Keypoints(*(part[2:3] for part in found)))
        prediction = networks.generator.decode(encoded, motion)
        for name, made, wanted in (
            ("mask", motion.mask, "frame2_mask"),
            ("occlusion", motion.occlusion, "frame2_occlusion_map"),
            ("prediction", prediction, "frame2_prediction"),
        ):
            bound = rounding[f"{name} of own keypoints"]
            np.testing.assert_allclose(made, expected[wanted], atol=bound, rtol=0)


def test_a_network_with_skip_and_reduced_resolution_is_preserved(small_model):
    torch.manual_seed(0)
    images = torch.rand(3, 3, 32, 32)
    dense = small_model.generator.dense_motion.model_copy(update={"upsampling": 2, "keypoint_prior": 2.0})
    generator = small_model.generator.model_copy(
        update={"scale_factor": 0.5, "skip_sampling": "bicubic", "dense_motion": dense}
    )
    # Noise is the worst case for resampling: sharper sampling amplifies rounding errors of the motion.
    for model, furthest in ((small_model, 5e-5), (small_model.model_copy(update={"generator": generator}), 2e-4)):
        networks = FirstOrderMotionModel(model)
        settle(networks.kp_detector, images)
        np.testing.assert_allclose(
            animation(optimised(networks), images), animation(networks.eval(), images), atol=furthest, rtol=0
        )


def test_the_original_networks_are_not_modified(wide, images):
    before = {name: tensor.clone() for name, tensor in wide.state_dict().items()}
    plain = animation(wide, images)
    optimised(wide, precision="fast")
    assert all(torch.equal(tensor, before[name]) for name, tensor in wide.state_dict().items())
    assert any(parameter.requires_grad for parameter in wide.parameters())
    assert torch.equal(animation(wide, images), plain)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decoder", "tf32", "furthest"),
    [(torch.float32, False, 2e-5), (torch.float32, True, 2e-5), (torch.float16, False, 2 / 255)],
)
def test_rewrites_for_a_gpu_preserve_the_output(wide, images, decoder, tf32, furthest):
    """Run on the CPU, which supports float16, too, and ignores TF32."""
    networks = rewritten(wide, decoder, tf32=tf32, cpu=False)
    with torch.inference_mode():
        found = networks.kp_detector(images)
        assert check_reduced_layers(networks.generator, images, found, found) == []
    reduced = {torch.float16: "+float16", torch.float32: "+tf32" if tf32 else ""}[decoder]
    assert arithmetic(networks) == "float32" + reduced
    np.testing.assert_allclose(animation(networks, images), animation(wide, images), atol=furthest, rtol=0)
    kinds = {type(module) for module in networks.modules()}
    assert kinds >= {TapwiseConv, BlockedConv, FoldedConv, MatrixConv, MatrixUp}
    full = decoder == torch.float32 and not tf32
    assert (MatrixWinograd in {type(module) for module in networks.generator.bottleneck.modules()}) == full
    assert all(isinstance(block, MatrixUp) == full for block in networks.generator.up_blocks)
    assert not kinds & {WinogradResidual, PhasedUp, nn.BatchNorm2d}
    assert networks.generator.final.conv.dtype == decoder


@pytest.mark.parametrize("size", [(2, 16, 16), (1, 9, 18), (3, 4, 3)])
@pytest.mark.parametrize("threads", [1, 2])
def test_winograd_computes_a_residual_block(size, threads):
    torch.manual_seed(0)
    batch, height, width = size
    block = ResidualBlock(256)
    settle(block, torch.randn(8, 256, 8, 8))
    x = torch.randn(batch, 256, height, width)
    quick = WinogradResidual(
        *affine(block.norm1), folded(block.conv1, block.norm2), (block.conv2.weight, block.conv2.bias)
    )
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            # Four times the measured 2.3e-5 with AVX2 and 1.8e-5 with SSE4.1 (two sums of 2,304 products each).
            np.testing.assert_allclose(quick(x), block(x), atol=1e-4, rtol=0)
    finally:
        torch.set_num_threads(1)


def test_winograd_propagates_nan():
    block = ResidualBlock(128).eval()
    quick = WinogradResidual(
        *affine(block.norm1), folded(block.conv1, block.norm2), (block.conv2.weight, block.conv2.bias)
    )
    x = torch.zeros(1, 128, 8, 8)
    x[0, 5, 3, 3] = float("nan")
    with torch.inference_mode():
        assert torch.isnan(quick(x)[0, :, 3, 3]).all()


def test_four_small_convolutions_equal_upsampling_and_convolution():
    torch.manual_seed(0)
    block = UpBlock(12, 20)
    settle(block, torch.randn(4, 12, 9, 7))
    phased = PhasedUp(*folded(block.conv, block.norm))
    x = torch.randn(2, 12, 5, 8)
    with torch.inference_mode():
        np.testing.assert_allclose(phased(x), block(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [1, 2, 4])
@pytest.mark.parametrize("prepack", [False, True])
def test_a_blocked_convolution_equals_the_convolution(side, prepack):
    torch.manual_seed(0)
    conv = nn.Conv2d(10, 3, 7, padding=3)
    blocked = BlockedConv(conv, side, Target(torch.float32, tf32=False, cpu=prepack))
    x = torch.randn(2, 10, 8, 12)
    with torch.inference_mode():
        np.testing.assert_allclose(blocked(x), conv(x), atol=1e-5, rtol=0)


def test_weights_packed_for_one_image_size_work_for_others():
    torch.manual_seed(0)
    weight, bias = torch.randn(64, 32, 3, 3), torch.randn(64)
    packed, plain = (
        FoldedConv(weight, bias, padding=1, relu=True, dtype=torch.float32, prepack=prepack)
        for prepack in (True, False)
    )
    with torch.inference_mode():
        for shape in ((1, 32, 4, 4), (4, 32, 24, 40), (2, 32, 3, 5), (1, 32, 64, 64)):
            x = torch.randn(shape)
            # Values are up to 80. Measured 4.2e-5 with AVX2, 3.1e-5 with SSE4.1.
            np.testing.assert_allclose(packed(x), plain(x), atol=2e-4, rtol=0)


def test_two_by_two_matrices_are_inverted():
    torch.manual_seed(0)
    matrices = torch.randn(3, 5, 2, 2, dtype=torch.float64)
    assert torch.allclose(invert_2x2(matrices), torch.linalg.inv(matrices), atol=1e-9)
    assert not torch.isfinite(invert_2x2(torch.ones(2, 2))).any()
