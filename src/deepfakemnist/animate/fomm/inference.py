"""Inference optimisation of the First Order Motion Model: graph rewrites that save operations.

All rewrites are exact up to float32 rounding. On the CPU: batch norm folded into the preceding convolution, upsampling
and the following 3×3 convolution as four 2×2 convolutions of the small image, convolutions with few outputs computed
for a square of pixels at a time, residual blocks by Winograd, weights packed once; benchmarks/animate.json has the
speed-up on one Zen 4 core. On CUDA, measured in benchmarks/gpu.json: batch norm folded, channels-last memory, float32
convolutions as matrix products, residual blocks by Winograd. ``tf32`` and ``fast`` reduce precision too; there, a
transposed convolution replaces upsampling and the convolution after it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepfakemnist.animate.fomm.blocks import DownBlock, ResidualBlock, SameBlock, UpBlock
from deepfakemnist.animate.fomm.folded_conv import FoldedConv, folded_layers
from deepfakemnist.animate.fomm.matrix_conv import MatrixConv, MatrixUp, MatrixWinograd, sum_taps
from deepfakemnist.animate.fomm.network import FirstOrderMotionModel, Generator
from deepfakemnist.animate.fomm.winograd import WinogradResidual

Precision = Literal["exact", "tf32", "fast"]


class Target(NamedTuple):
    """What convolutions are rewritten for: the dtype of their computation, TF32 products, and the kind of device."""

    dtype: torch.dtype
    tf32: bool
    cpu: bool

    @property
    def matrix(self) -> bool:
        """Whether matrix products are faster than convolutions."""
        return self.dtype == torch.float32 and not self.tf32 and not self.cpu

    @property
    def float32(self) -> Target:
        """Full precision on the same kind of device."""
        return Target(torch.float32, False, self.cpu)


#: oneDNN computes output channels in groups of 16; fewer cost the same.
_GROUP = 16
#: cuDNN's kernels compute 32 and more: the last convolution of vox-256, 3 outputs, took a sixth of ``exact``.
_CUDA_GROUP = 64


def optimised(
    networks: FirstOrderMotionModel,
    *,
    precision: Precision = "exact",
    device: torch.device | str = "cpu",
    consume: bool = False,
) -> FirstOrderMotionModel:
    """Return an evaluation-only copy of ``networks`` on ``device`` that computes the same function faster.

    Args:
        networks: not modified, unless ``consume``.
        precision: ``exact`` is float32 throughout; on the CPU the others are, too. On CUDA they reduce the precision of
            the decoder, i.e. of what follows the warp: ``tf32`` of its products to TF32, ``fast`` of all of it to
            float16. Motion, source features, warps, the trunk of the residual blocks and the output's sigmoid stay in
            float32. Run ``check_reduced_layers`` on the generator before you use its images.
        device: device of the copy; determines the rewrites.
        consume: rewrite ``networks`` themselves, which saves the memory of a copy.
    """
    device = torch.device(device)
    tf32 = precision == "tf32" and device.type == "cuda"
    networks = networks if consume else copy.deepcopy(networks)
    return _rewritten_networks(networks, decoder_dtype(precision, device), tf32, device.type == "cpu").to(device)


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
    return arithmetic_of(networks.generator)


def arithmetic_of(network: nn.Module) -> str:
    """Return the dtypes of an optimised network as ``arithmetic`` does."""
    layers = folded_layers(network)
    kinds = dict.fromkeys(["float32", *(layer.arithmetic for layer in layers.values())])
    text = "+".join(kinds)
    fell_back = [name for name, layer in layers.items() if layer.fell_back]
    return f"{text} (float32 in {', '.join(fell_back)})" if fell_back and len(kinds) > 1 else text


def rewritten(
    networks: FirstOrderMotionModel, decoder: torch.dtype, *, tf32: bool = False, cpu: bool
) -> FirstOrderMotionModel:
    """Return a rewritten copy on the device of ``networks``.

    Args:
        networks: not modified.
        decoder: dtype of the decoder; float32 with ``cpu``.
        tf32: compute products of the decoder in TF32 on CUDA.
        cpu: apply the rewrites for the CPU, else those for a GPU, which give the same result on a CPU, only slower.
    """
    return _rewritten_networks(copy.deepcopy(networks), decoder, tf32, cpu)


def _rewritten_networks(
    networks: FirstOrderMotionModel, decoder: torch.dtype, tf32: bool, cpu: bool
) -> FirstOrderMotionModel:
    fast = networks.eval().requires_grad_(False)
    target = Target(decoder, tf32, cpu)
    _rewrite(fast.kp_detector, target.float32)
    motion = fast.generator.dense_motion_network
    for name in ("mask", "occlusion"):
        head = getattr(motion, name)
        if head is not None and not cpu:
            setattr(motion, name, TapwiseConv(head))
    _rewrite(motion, target.float32)
    _rewrite_appearance(fast.generator, target)
    return fast


class PhasedUp(nn.Module):
    """2× nearest-neighbour upsampling, 3×3 convolution and optional ReLU as four 2×2 convolutions; for the CPU."""

    def __init__(self, weight: Tensor, bias: Tensor, *, relu: bool = True) -> None:
        super().__init__()
        self.phases = nn.ModuleList(
            FoldedConv(sum_taps(weight, i, j), bias, padding=1, relu=relu, dtype=torch.float32, prepack=True)
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

    def __init__(self, conv: nn.Conv2d, side: int, target: Target) -> None:
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
            dtype=target.dtype,
            tf32=target.tf32,
            prepack=target.cpu,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) → (B, out, H, W); H and W must be multiples of ``side``."""
        return F.pixel_shuffle(self.conv(x), self.side)


class FoldedResidual(nn.Module):
    """Residual block with norm2 folded into conv1; the trunk stays in float32."""

    def __init__(self, block: ResidualBlock, target: Target) -> None:
        super().__init__()
        scale, shift = _affine(block.norm1)
        self.register_buffer("scale", scale.view(1, -1, 1, 1))
        self.register_buffer("shift", shift.view(1, -1, 1, 1))
        self.conv1 = folded_convolution(block.conv1, block.norm2, target, relu=True, winograd=True)
        self.conv2 = folded_convolution(block.conv2, None, target, relu=False, winograd=True)

    scale: Tensor
    shift: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) → the same shape, float32."""
        x = x.float()
        return x + self.conv2(self.conv1(F.relu_(torch.addcmul(self.shift, x, self.scale))))


def _rewrite_appearance(generator: Generator, target: Target) -> None:
    # The source is encoded once, so float32 is free there; reducing it would cost most of the precision.
    parts = {"first": target.float32, "down_blocks": target.float32, "up_blocks": target, "final": target}
    for name, part_target in parts.items():
        setattr(generator, name, _rewritten(getattr(generator, name), part_target))
    for name, block in list(generator.bottleneck.named_children()):
        assert isinstance(block, ResidualBlock)
        winograd = target.cpu and WinogradResidual.takes(block.conv1.in_channels)
        setattr(generator.bottleneck, name, _winograd(block) if winograd else FoldedResidual(block, target))


def _rewrite(module: nn.Module, target: Target) -> None:
    for name, child in list(module.named_children()):
        setattr(module, name, _rewritten(child, target))


def _rewritten(module: nn.Module, target: Target) -> nn.Module:
    if isinstance(module, UpBlock):
        return upsampling_convolution(module.conv, module.norm, target, relu=True)
    if isinstance(module, SameBlock):
        conv = folded_convolution(module.conv, module.norm, target, relu=True)
        return nn.Sequential(conv, nn.AvgPool2d(2)) if isinstance(module, DownBlock) else conv
    if isinstance(module, nn.Conv2d):
        return output_convolution(module, target)
    _rewrite(module, target)
    return module


def upsampling_convolution(conv: nn.Conv2d, norm: nn.Module | None, target: Target, *, relu: bool) -> nn.Module:
    """Rewrite 2× nearest-neighbour upsampling, a 3×3 convolution, batch norm and ReLU, the last two as given."""
    weight, bias = _fold(conv, norm)
    if target.cpu:
        return PhasedUp(weight, bias, relu=relu)
    return MatrixUp(weight, bias, relu=relu) if target.matrix else _transposed(weight, bias, target, relu)


def output_convolution(conv: nn.Conv2d, target: Target) -> nn.Module:
    """Rewrite an output convolution, i.e. one without norm or ReLU."""
    padded = conv.padding == (conv.kernel_size[0] // 2,) * 2
    side = _best_side(conv.out_channels, conv.kernel_size[0], _GROUP if target.cpu else _CUDA_GROUP) if padded else 1
    if side == 1:
        return folded_convolution(conv, None, target, relu=False)
    return BlockedConv(conv, side, target)


def _transposed(weight: Tensor, bias: Tensor, target: Target, relu: bool) -> FoldedConv:
    """2× nearest upsampling, 3×3 convolution and optional ReLU as one transposed 4×4 one: 4/9 of the products."""

    def spread(taps: Tensor, dim: int) -> Tensor:
        first, second, third = taps.unbind(dim)
        return torch.stack([third, second + third, first + second, first], dim)

    weight = spread(spread(weight, 2), 3).transpose(0, 1)
    return FoldedConv(
        weight,
        bias,
        padding=1,
        stride=2,
        relu=relu,
        dtype=target.dtype,
        tf32=target.tf32,
        prepack=False,
        transposed=True,
    )


def _best_side(outputs: int, kernel: int, group: int, sides: Sequence[int] = (1, 2, 4)) -> int:
    def cost(side: int) -> float:  # products per output pixel and input channel
        return -(-outputs * side**2 // group) * group * (kernel + side - 1) ** 2 / side**2

    return min(sides, key=cost)


def folded_convolution(
    conv: nn.Conv2d, norm: nn.Module | None, target: Target, *, relu: bool, winograd: bool = False
) -> nn.Module:
    """Rewrite ``norm(conv(x))``; ``winograd`` allows Winograd on CUDA, which pays for many images of one size."""
    padding, stride = conv.padding[0], conv.stride[0]
    assert isinstance(padding, int)
    weight, bias = _fold(conv, norm)
    if target.matrix and padding == stride == 1:
        if winograd and MatrixWinograd.takes(weight):
            return MatrixWinograd(weight, bias, relu=relu)
        if MatrixConv.takes(weight):
            return MatrixConv(weight, bias, relu=relu)
    return FoldedConv(
        weight,
        bias,
        padding=padding,
        stride=stride,
        relu=relu,
        dtype=target.dtype,
        tf32=target.tf32,
        prepack=target.cpu,
    )


def _fold(conv: nn.Conv2d, norm: nn.Module | None) -> tuple[Tensor, Tensor]:
    """Return weight and bias of ``norm(conv(x))`` as one convolution."""
    if norm is None:
        return conv.weight, _bias(conv)
    scale, shift = _affine(norm)
    return conv.weight * scale.view(-1, 1, 1, 1), _bias(conv) * scale + shift


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return scale and shift of each channel of a batch norm in evaluation mode."""
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _winograd(block: ResidualBlock) -> WinogradResidual:
    return WinogradResidual(*_affine(block.norm1), _fold(block.conv1, block.norm2), _fold(block.conv2, None))


def _bias(conv: nn.Conv2d) -> Tensor:
    return torch.zeros(conv.out_channels) if conv.bias is None else conv.bias
