"""Inference optimisation of the First Order Motion Model: graph rewrites that save operations.

All rewrites are exact up to float32 rounding. On the CPU: batch norm folded into the preceding convolution, upsampling
and the following 3×3 convolution as four 2×2 convolutions of the small image, convolutions with few outputs computed
for a square of pixels at a time, residual blocks by Winograd, weights packed once; benchmarks/animate.json has the
speed-up on one Zen 4 core. On CUDA, measured in benchmarks/gpu.json: batch norm folded, upsampling and its convolution
as one transposed convolution, the heads of dense motion as matrix products, channels-last memory; ``tf32`` and ``fast``
reduce precision too.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepfakemnist.animate.fomm.blocks import DownBlock, ResidualBlock, SameBlock, UpBlock
from deepfakemnist.animate.fomm.folded_conv import FoldedConv, folded_layers
from deepfakemnist.animate.fomm.network import FirstOrderMotionModel, Generator
from deepfakemnist.animate.fomm.winograd import WinogradResidual

Precision = Literal["exact", "tf32", "fast"]

#: oneDNN computes output channels in groups of 16; fewer cost the same.
_GROUP = 16
#: cuDNN's kernels compute 32 and more: the last convolution of vox-256, 3 outputs, took a sixth of ``exact``.
_CUDA_GROUP = 64


def optimised(
    networks: FirstOrderMotionModel, *, precision: Precision = "exact", device: torch.device | str = "cpu"
) -> FirstOrderMotionModel:
    """Return an evaluation-only copy of ``networks`` on ``device`` that computes the same function faster.

    Args:
        networks: not modified.
        precision: ``exact`` is float32 throughout; on the CPU the others are, too. On CUDA they reduce the precision of
            the decoder, i.e. of what follows the warp: ``tf32`` of its products to TF32, ``fast`` of all of it to
            float16. Motion, source features, warps, the trunk of the residual blocks and the output's sigmoid stay in
            float32. Run ``check_reduced_layers`` on the generator before you use its images.
        device: device of the copy; determines the rewrites.
    """
    device = torch.device(device)
    fast = rewritten(networks, decoder_dtype(precision, device), cpu=device.type == "cpu").to(device)
    if precision == "tf32" and device.type == "cuda":
        for part in _decoder_parts(fast.generator):
            for layer in folded_layers(part).values():
                layer.tf32 = True
    return fast


def decoder_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the dtype of the decoder, i.e. of what follows the warp: float16 for ``fast`` on CUDA, else float32.

    On GPUs float16 is as fast as bfloat16 and eight times as precise: with random vox-256 weights the output of the
    decoder in float16 was within 2 of 255 everywhere, in bfloat16 in 96 % of the values (measured on the CPU). CPUs are
    slow in float16, and bfloat16 with AVX512-BF16 gained about a tenth at errors of 4 of 255 and more.
    """
    return torch.float16 if precision == "fast" and device.type == "cuda" else torch.float32


def arithmetic(networks: FirstOrderMotionModel) -> str:
    """Return the dtypes of optimised networks, and the layers that fell back to float32.

    For example ``float32``, ``float32+float16``, or ``float32+float16 (float32 in final.conv)``.
    """
    layers = folded_layers(networks.generator)
    kinds = dict.fromkeys(["float32", *(layer.arithmetic for layer in layers.values())])
    text = "+".join(kinds)
    fell_back = [name for name, layer in layers.items() if layer.fell_back]
    return f"{text} (float32 in {', '.join(fell_back)})" if fell_back and len(kinds) > 1 else text


def rewritten(networks: FirstOrderMotionModel, decoder: torch.dtype, *, cpu: bool) -> FirstOrderMotionModel:
    """Return a rewritten copy on the device of ``networks``.

    Args:
        networks: not modified.
        decoder: dtype of the decoder; float32 with ``cpu``.
        cpu: apply the rewrites for the CPU, else those for a GPU, which give the same result on a CPU, only slower.
    """
    fast = copy.deepcopy(networks).eval().requires_grad_(False)
    _rewrite(fast.kp_detector, torch.float32, cpu)
    motion = fast.generator.dense_motion_network
    for name in ("mask", "occlusion"):
        head = getattr(motion, name)
        if head is not None and not cpu:
            setattr(motion, name, TapwiseConv(head))
    _rewrite(motion, torch.float32, cpu)
    _rewrite_appearance(fast.generator, decoder, cpu)
    return fast


class PhasedUp(nn.Module):
    """2× nearest-neighbour upsampling, 3×3 convolution and ReLU as four 2×2 convolutions of the small image.

    The nine products of an output pixel have at most four distinct inputs, so weights with equal inputs are summed.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, dtype: torch.dtype, prepack: bool) -> None:
        super().__init__()
        self.phases = nn.ModuleList(
            FoldedConv(_sum_taps(weight, i, j), bias, padding=1, relu=True, dtype=dtype, prepack=prepack)
            for i in (0, 1)
            for j in (0, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) → (B, out, 2H, 2W)."""
        batch, _, height, width = x.shape
        out: Tensor | None = None
        for number, phase in enumerate(self.phases):
            i, j = divmod(number, 2)
            part = phase(x)  # (H+1, W+1): one row and column more than this phase needs
            if out is None:
                shape = (batch, part.shape[1], 2 * height, 2 * width)
                out = torch.empty(shape, dtype=part.dtype, device=x.device, memory_format=torch.channels_last)
            out[:, :, i::2, j::2] = part[:, :, i : i + height, j : j + width]
        assert out is not None
        return out


class TapwiseConv(nn.Module):
    """Padded convolution with few outputs as one matrix product for all taps, whose maps are shifted and summed.

    For CUDA in float32: for the 11 and the 1 outputs of vox-256 cuDNN chooses FFT, which took a quarter of the total
    rendering time with ``fast`` (profiled on an H200).
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.kernel = conv.kernel_size[0]
        # F.fold shifts the map of a tap in the opposite direction.
        taps = conv.weight.flip(2, 3).permute(0, 2, 3, 1)
        self.register_buffer("weight", taps.reshape(1, -1, conv.in_channels).contiguous())
        self.register_buffer("bias", _bias(conv).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) → (B, out, H, W)."""
        size = x.shape[-2:]
        maps = torch.bmm(self.weight.expand(len(x), -1, -1), x.float().flatten(2))
        return F.fold(maps, size, self.kernel, padding=self.kernel // 2).add_(self.bias)


class BlockedConv(nn.Module):
    """Padded convolution with few outputs, computed for ``side``×``side`` pixels at once with a larger kernel.

    Three outputs cost as much as sixteen; 2×2 pixels at once make them twelve.
    """

    def __init__(self, conv: nn.Conv2d, side: int, *, dtype: torch.dtype, prepack: bool) -> None:
        super().__init__()
        self.side = side
        outputs, inputs, kernel, _ = conv.weight.shape
        large = torch.zeros(outputs, side, side, inputs, kernel + side - 1, kernel + side - 1)
        for i in range(side):
            for j in range(side):
                large[:, i, j, :, i : i + kernel, j : j + kernel] = conv.weight
        self.conv = FoldedConv(
            large.flatten(0, 2),
            _bias(conv).repeat_interleave(side**2),
            padding=kernel // 2,
            stride=side,
            relu=False,
            dtype=dtype,
            prepack=prepack,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) → (B, out, H, W); H and W must be multiples of ``side``."""
        return F.pixel_shuffle(self.conv(x), self.side)


class FoldedResidual(nn.Module):
    """Residual block with norm2 folded into conv1; the trunk stays in float32."""

    def __init__(self, block: ResidualBlock, *, dtype: torch.dtype, prepack: bool) -> None:
        super().__init__()
        scale, shift = _affine(block.norm1)
        self.register_buffer("scale", scale.view(1, -1, 1, 1))
        self.register_buffer("shift", shift.view(1, -1, 1, 1))
        self.conv1 = _folded(block.conv1, block.norm2, relu=True, dtype=dtype, prepack=prepack)
        self.conv2 = _folded(block.conv2, None, relu=False, dtype=dtype, prepack=prepack)

    scale: Tensor
    shift: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) → the same shape, float32."""
        x = x.float()
        return x + self.conv2(self.conv1(F.relu_(torch.addcmul(self.shift, x, self.scale))))


def _decoder_parts(generator: Generator) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Return the modules that follow the warp."""
    return generator.bottleneck, generator.up_blocks, generator.final


def _rewrite_appearance(generator: Generator, dtype: torch.dtype, cpu: bool) -> None:
    # The source is encoded once, so float32 is free there; reducing it would cost most of the precision.
    encoder = torch.float32
    for name, part_dtype in {"first": encoder, "down_blocks": encoder, "up_blocks": dtype, "final": dtype}.items():
        setattr(generator, name, _rewritten(getattr(generator, name), part_dtype, cpu))
    for name, block in list(generator.bottleneck.named_children()):
        assert isinstance(block, ResidualBlock)
        winograd = cpu and WinogradResidual.takes(block.conv1.in_channels)
        rewritten = _winograd(block) if winograd else FoldedResidual(block, dtype=dtype, prepack=cpu)
        setattr(generator.bottleneck, name, rewritten)


def _rewrite(module: nn.Module, dtype: torch.dtype, cpu: bool) -> None:
    for name, child in list(module.named_children()):
        setattr(module, name, _rewritten(child, dtype, cpu))


def _rewritten(module: nn.Module, dtype: torch.dtype, cpu: bool) -> nn.Module:
    if isinstance(module, UpBlock) and cpu:
        return PhasedUp(*_fold(module.conv, module.norm), dtype=dtype, prepack=cpu)
    if isinstance(module, UpBlock):
        return _transposed(*_fold(module.conv, module.norm), dtype=dtype)
    if isinstance(module, SameBlock):
        conv = _folded(module.conv, module.norm, relu=True, dtype=dtype, prepack=cpu)
        return nn.Sequential(conv, nn.AvgPool2d(2)) if isinstance(module, DownBlock) else conv
    if isinstance(module, nn.Conv2d):
        return _head(module, dtype, cpu)
    _rewrite(module, dtype, cpu)
    return module


def _head(conv: nn.Conv2d, dtype: torch.dtype, cpu: bool) -> nn.Module:
    """Rewrite an output convolution, i.e. one without norm or ReLU."""
    padded = conv.padding == (conv.kernel_size[0] // 2,) * 2
    side = _best_side(conv.out_channels, conv.kernel_size[0], _GROUP if cpu else _CUDA_GROUP) if padded else 1
    if side == 1:
        return _folded(conv, None, relu=False, dtype=dtype, prepack=cpu)
    return BlockedConv(conv, side, dtype=dtype, prepack=cpu)


def _transposed(weight: Tensor, bias: Tensor, *, dtype: torch.dtype) -> FoldedConv:
    """2× nearest-neighbour upsampling, 3×3 convolution and ReLU as one transposed 4×4 one: 4/9 of the products."""

    def spread(taps: Tensor, dim: int) -> Tensor:
        first, second, third = taps.unbind(dim)
        return torch.stack([third, second + third, first + second, first], dim)

    weight = spread(spread(weight, 2), 3).transpose(0, 1)
    return FoldedConv(weight, bias, padding=1, stride=2, relu=True, dtype=dtype, prepack=False, transposed=True)


def _best_side(outputs: int, kernel: int, group: int, sides: Sequence[int] = (1, 2, 4)) -> int:
    def cost(side: int) -> float:  # products per output pixel and input channel
        return -(-outputs * side**2 // group) * group * (kernel + side - 1) ** 2 / side**2

    return min(sides, key=cost)


def _folded(
    conv: nn.Conv2d, norm: nn.BatchNorm2d | None, *, relu: bool, dtype: torch.dtype, prepack: bool
) -> FoldedConv:
    padding = conv.padding[0]
    assert isinstance(padding, int)
    return FoldedConv(*_fold(conv, norm), padding=padding, relu=relu, dtype=dtype, prepack=prepack)


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor]:
    """Return weight and bias of ``norm(conv(x))`` as one convolution."""
    if norm is None:
        return conv.weight, _bias(conv)
    scale, shift = _affine(norm)
    return conv.weight * scale.view(-1, 1, 1, 1), _bias(conv) * scale + shift


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return scale and shift of each channel in evaluation mode."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _winograd(block: ResidualBlock) -> WinogradResidual:
    return WinogradResidual(*_affine(block.norm1), _fold(block.conv1, block.norm2), _fold(block.conv2, None))


def _bias(conv: nn.Conv2d) -> Tensor:
    return torch.zeros(conv.out_channels) if conv.bias is None else conv.bias


def _sum_taps(weight: Tensor, i: int, j: int) -> Tensor:
    """(out, in, 3, 3) → (out, in, 2, 2) for output pixels in even or odd rows (``i``) and columns (``j``)."""
    rows = torch.stack([weight[:, :, : 1 + i].sum(2), weight[:, :, 1 + i :].sum(2)], dim=2)
    return torch.stack([rows[..., : 1 + j].sum(3), rows[..., 1 + j :].sum(3)], dim=3)
