"""Convolution with folded batch norm, in float32 or in a reduced precision that is validated before use.

A layer keeps its float32 weights and falls back to them where reduced precision is wrong, see ``reduced_precision``.
"""

from __future__ import annotations

import logging
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepfakemnist.devices.reduced_precision import checked_layers, describe_faults, deterministic_cudnn, find_fault

log = logging.getLogger(__name__)

#: Machine epsilon of TF32, which is no dtype of torch: 10 bits of mantissa.
_TF32_EPS = 2.0**-10


class FoldedConv(nn.Module):
    """Convolution with folded batch norm and an optional ReLU; channels last.

    Args:
        weight: (out, in, k, k), or (in, out, k, k) if ``transposed``; float32.
        bias: (out,), float32.
        padding: of height and width, both sides.
        stride: of height and width.
        relu: whether ReLU follows.
        dtype: of the computation and the output.
        tf32: allow TF32 in float32 products on CUDA.
        transposed: whether it is a transposed convolution.
        prepack: store the weights in oneDNN's blocked layout; on the CPU, float32. Otherwise every call reorders them,
            which costs more than the products themselves for small images with many channels.

    Raises: ValueError for ``prepack`` in a reduced precision.
    """

    weight: Tensor
    bias: Tensor
    _reduced_weight: Tensor | None
    _reduced_bias: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        *,
        padding: int,
        stride: int = 1,
        relu: bool,
        dtype: torch.dtype,
        prepack: bool,
        tf32: bool = False,
        transposed: bool = False,
    ) -> None:
        super().__init__()
        if prepack and dtype != torch.float32:
            raise ValueError(f"prepacked weights are for the CPU, which computes in float32, not in {dtype}")
        weight = weight.contiguous(memory_format=torch.channels_last)
        reduced = dtype != torch.float32
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_buffer("_reduced_weight", weight.to(dtype) if reduced else None)
        self.register_buffer("_reduced_bias", bias.to(dtype) if reduced else None)
        self.padding, self.stride, self.relu, self.dtype = padding, stride, relu, dtype
        self.tf32, self.transposed = tf32, transposed
        self.fell_back = False
        self._prepack = prepack and torch.backends.mkldnn.is_available()
        self._packed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) of any dtype → (B, out, H', W') of ``dtype``."""
        x = x.to(self.dtype, memory_format=torch.channels_last)
        if self._prepack:
            return self._convolved_packed(x)
        weight = self.weight if self._reduced_weight is None else self._reduced_weight
        bias = self.bias if self._reduced_bias is None else self._reduced_bias
        with deterministic_cudnn(tf32=True) if self.tf32 else nullcontext():
            out = self._convolved(x, weight, bias)
        return F.relu_(out) if self.relu else out

    def _convolved_packed(self, x: Tensor) -> Tensor:
        # The ops that torch.compile emits for frozen weights. They are not public API; requirements.lock pins torch.
        geometry = [self.padding] * 2, [self.stride] * 2, [1, 1], 1
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *geometry, list(x.shape))
            # No code of the CPU reads them again: 240 MB of vox-256.
            self.weight = self.weight.new_empty(0)
        after = "relu" if self.relu else "none"
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(x, self._packed, self.bias, *geometry, after, [], "")
        return out

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        convolve = F.conv_transpose2d if self.transposed else F.conv2d
        return convolve(x, weight, bias, self.stride, self.padding)

    @property
    def arithmetic(self) -> str:
        """Precision of the computation: a torch dtype, e.g. ``float16``, or ``tf32``."""
        return "tf32" if self.tf32 else str(self.dtype).removeprefix("torch.")

    def find_fault(self, x: Tensor) -> str | None:
        """Describe what is wrong with the layer's reduced precision; None when it agrees with float32.

        Args:
            x: (B, in, H, W) float32, standard normal.

        Raises: torch.OutOfMemoryError.
        """
        exact = self._convolved(x, self.weight, self.bias)
        # A transposed convolution sums 1/stride² of its taps per output position.
        weight = self.weight.transpose(0, 1) / self.stride if self.transposed else self.weight
        eps = _TF32_EPS if self.tf32 else torch.finfo(self.dtype).eps
        return find_fault(lambda: self.forward(x), exact.relu() if self.relu else exact, weight, self.bias, eps)

    def fall_back(self) -> None:
        """Compute in float32 from now on."""
        self.dtype, self.tf32, self.fell_back = torch.float32, False, True
        self._reduced_weight = self._reduced_bias = None


def check_reduced_layers(network: nn.Module, *inputs: object) -> list[str]:
    """Compare every reduced-precision layer with float32 on random input; wrong layers fall back to float32.

    Costs one forward pass, plus each of these layers in both precisions.

    Args:
        network: its ``FoldedConv`` layers are checked.
        inputs: arguments of the network.

    Returns: names of the layers that fell back in this call; one warning names them and gives the reasons.
    Raises: torch.OutOfMemoryError.
    """
    reduced = {name: layer for name, layer in folded_layers(network).items() if layer.arithmetic != "float32"}
    if not reduced:
        return []
    dtypes = "/".join(sorted({layer.arithmetic for layer in reduced.values()}))

    def check(layer: nn.Module, x: Tensor) -> str | None:
        assert isinstance(layer, FoldedConv)
        problem = layer.find_fault(x)
        if problem:
            layer.fall_back()
        return problem

    with checked_layers(reduced, check) as faults:
        network(*inputs)
    if faults:
        message = "%s is wrong or refused on this processor, these layers compute in float32: %s"
        log.warning(message, dtypes, describe_faults(faults))
    return list(faults)


def folded_layers(network: nn.Module) -> dict[str, FoldedConv]:
    """Return the layers that support reduced precision, by name."""
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, FoldedConv)}
