"""Inference optimisation of the Thin-Plate-Spline Motion Model: graph rewrites that save operations.

All rewrites are exact up to float32 rounding and shared with FOMM (``fomm/inference.py``). On the CPU: upsampling and
the following 3×3 convolution as four 2×2 convolutions, convolutions with few outputs for a square of pixels at a time,
residual blocks by Winograd, weights packed once; benchmarks/tpsmm.json has the speed-up. On CUDA: float32 convolutions
as matrix products; not measured on any GPU.

The key point detector runs once per source and driver and is left as it is: folding its batch norm would save less than
a hundredth, and move key points by 1e-6 instead of 2e-7 from the original's, which ``motion: avd`` amplifies tenfold.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from deepfakemnist.animate.fomm.blocks import DownBlock, ResidualBlock, SameBlock, UpBlock
from deepfakemnist.animate.fomm.inference import (
    Precision,
    TapwiseConv,
    Target,
    decoder_dtype,
    folded_convolution,
    output_convolution,
    upsampling_convolution,
)
from deepfakemnist.animate.tpsmm.instance_norm import (
    InstanceNormReLU,
    InstanceNormResidual,
    WinogradInstanceNormResidual,
)
from deepfakemnist.animate.tpsmm.network import ThinPlateSplineMotionModel


def optimised(
    networks: ThinPlateSplineMotionModel, *, precision: Precision = "exact", device: torch.device | str = "cpu"
) -> ThinPlateSplineMotionModel:
    """Return an evaluation-only copy of ``networks`` on ``device`` that computes the same function faster.

    Args:
        networks: not modified.
        precision: ``exact`` is float32 throughout; on the CPU the others are, too. On CUDA ``tf32`` and ``fast`` reduce
            the precision of the painting, i.e. of what follows the warp: its products in TF32, or its convolutions in
            float16. Motion, splines, source features, norms and the trunk of the residual blocks stay in float32. Run
            ``check_reduced_layers`` before you use its images.
        device: device of the copy; determines the rewrites.
    """
    device = torch.device(device)
    tf32 = precision == "tf32" and device.type == "cuda"
    return rewritten(networks, decoder_dtype(precision, device), tf32=tf32, cpu=device.type == "cpu").to(device)


def rewritten(
    networks: ThinPlateSplineMotionModel, painting: torch.dtype, *, tf32: bool = False, cpu: bool
) -> ThinPlateSplineMotionModel:
    """Return a rewritten copy on the device of ``networks``.

    Args:
        networks: not modified.
        painting: dtype of the painting; float32 with ``cpu``.
        tf32: compute products of the painting in TF32 on CUDA.
        cpu: apply the rewrites for the CPU, else those for a GPU, which give the same result on a CPU, only slower.
    """
    fast = copy.deepcopy(networks).eval().requires_grad_(False)
    target = Target(painting, tf32, cpu)
    motion, painter = fast.dense_motion_network, fast.inpainting_network
    if not cpu:
        setattr(motion, "maps", _tapwise(motion.maps))  # noqa: B010 - another type than the plain network's
        motion.occlusion = nn.ModuleList(map(_tapwise, motion.occlusion))
    _rewrite(motion, target.float32)
    for name, module in list(painter.named_children()):
        # The source is encoded once, so float32 is free there.
        setattr(painter, name, _rewritten(module, target.float32 if name in ("first", "down_blocks") else target))
    return fast


def _tapwise(head: nn.Module) -> TapwiseConv:
    assert isinstance(head, nn.Conv2d)
    return TapwiseConv(head)


def _rewrite(module: nn.Module, target: Target) -> None:
    for name, child in list(module.named_children()):
        setattr(module, name, _rewritten(child, target))


def _rewritten(module: nn.Module, target: Target) -> nn.Module:
    if isinstance(module, ResidualBlock):
        if target.cpu and WinogradInstanceNormResidual.takes(module.conv1.in_channels):
            return WinogradInstanceNormResidual(module)
        convolutions = [
            folded_convolution(conv, None, target, relu=False, winograd=True) for conv in (module.conv1, module.conv2)
        ]
        return InstanceNormResidual(module, *convolutions, cpu=target.cpu)
    if isinstance(module, SameBlock):
        norm = InstanceNormReLU(module.norm, cpu=target.cpu)
        if isinstance(module, UpBlock):
            return nn.Sequential(upsampling_convolution(module.conv, None, target, relu=False), norm)
        conv = folded_convolution(module.conv, None, target, relu=False)
        return (
            nn.Sequential(conv, norm, nn.AvgPool2d(2)) if isinstance(module, DownBlock) else nn.Sequential(conv, norm)
        )
    if isinstance(module, nn.Conv2d):
        return output_convolution(module, target)
    _rewrite(module, target)
    return module
