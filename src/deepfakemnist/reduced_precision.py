"""Reduced precision (bfloat16, float16): where it is faster, and whether it is computed right.

Libraries have computed convolutions wrongly on some processors without a word: oneDNN of torch 2.11 with AMX does for
bfloat16, 8 input channels and an 8×8 kernel (relative error 0.6 to 1.1). Others refuse bfloat16 altogether. So whoever
computes with less than float32 compares every layer with float32 first, on the processor at hand.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

#: Largest difference from float32 that is rounding, in machine epsilons times the RMS to expect of the output. Where
#: input, weights and output are rounded it is 2.6 among 10⁶ values, where channels are mixed up hundreds (measured).
_ROUNDING = 16
_LAYERS = (nn.Conv2d, nn.Conv3d, nn.Linear)


def gains_by_reduced_precision(device: torch.device) -> bool:
    """Say whether the device computes with 16-bit floats faster than with float32: CUDA, and CPUs made for bfloat16.

    Those have AVX512-BF16 or AMX. Others refuse it, or convert to float32 and back. Measured on an AMD EPYC with
    AVX512-BF16, one thread, training the compact model at batch 8: 0.26 s of CPU time per pair instead of 0.32 s.
    """
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return device.type == "cuda"


def fault(
    reduced: Callable[[], Tensor], exact: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> str | None:
    """Say what is wrong with a layer's output in reduced precision, or None when it differs by rounding only.

    Args:
        reduced: computes it, for standard normal input.
        exact: the same in float32; (B, out, ...) of a convolution, (..., out) of a linear layer.
        weight: (out, ...) of the layer, float32.
        bias: (out,), float32.
        dtype: the reduced precision.

    Raises: torch.OutOfMemoryError.
    """
    try:
        difference = (reduced().float() - exact).abs()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        return f"refused: {error}"
    # Expected and not measured: an output may be a single value, or nothing after ReLU.
    variance = weight.flatten(1).square().sum(1) + (0 if bias is None else bias.square())
    rms = variance.sqrt().view(-1, *[1] * (weight.ndim - 2))
    if (difference <= _ROUNDING * torch.finfo(dtype).eps * rms).all():  # false for NaN
        return None
    return f"off by {(difference / rms).max():.2g} of its output's RMS"


def described(faults: dict[str, str]) -> str:
    """Return layers and what is wrong with them in one line, e.g. ``conv1, conv2 (refused: ...); head (off by 2)``."""
    layers: dict[str, list[str]] = {}
    for name, wrong in faults.items():
        layers.setdefault(wrong, []).append(name)
    return "; ".join(f"{', '.join(names)} ({wrong})" for wrong, names in layers.items())


def autocast_is_right(network: nn.Module, *inputs: object, device: torch.device) -> bool:
    """Compare every convolution and linear layer under autocast to bfloat16 with float32, on random input.

    Costs one pass through the network in evaluation mode, and each of these layers in both precisions. What training
    changes is left as it is; gradients are not compared.

    Args:
        network: on ``device``.
        inputs: what it takes. Layers are compared on the shapes they get by it, because libraries choose their code by
            the shape.
        device: where it will be trained.

    Returns: whether all agree; else a warning names the layers that do not.
    Raises: torch.OutOfMemoryError.
    """
    names: dict[nn.Module, str] = {
        module: name for name, module in network.named_modules() if isinstance(module, _LAYERS)
    }
    modes = {module: module.training for module in network.modules()}
    random = torch.Generator().manual_seed(0)
    faults: dict[str, str] = {}

    def compare(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, _LAYERS)
        x = torch.randn(given[0].shape, generator=random).to(device)
        with torch.autocast(device.type, enabled=False):
            exact = layer.forward(x)  # not by a call, which would come here again
        if wrong := fault(lambda: layer.forward(x), exact, layer.weight, layer.bias, torch.bfloat16):
            faults[names[layer]] = wrong

    hooks = [layer.register_forward_pre_hook(compare) for layer in names]
    network.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            network(*inputs)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        if not faults:  # else it is the layer found, which refuses again
            raise
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    if faults:
        log.warning("bfloat16 is wrong or refused on this processor, training in float32: %s", described(faults))
    return not faults
