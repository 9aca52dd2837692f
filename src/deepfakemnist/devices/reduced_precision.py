"""Reduced precision (bfloat16, float16): where it is faster, and whether it is computed right.

Libraries have computed convolutions wrongly on some processors without a word: oneDNN of torch 2.11 with AMX does for
bfloat16, 8 input channels and an 8×8 kernel (relative error 0.6 to 1.1). Others refuse bfloat16 altogether. So whoever
computes with less than float32 compares every layer with float32 first, on the processor at hand.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

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


def convolutions(*, tf32: bool) -> AbstractContextManager[None]:
    """Hold cuDNN to deterministic algorithms, in full float32 or with products in TF32, 10 bits of mantissa."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True,
        benchmark=False,
        deterministic=True,
        allow_tf32=tf32,
        fp32_precision="tf32" if tf32 else "ieee",
    )
    return flags


def fault(reduced: Callable[[], Tensor], exact: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> str | None:
    """Say what is wrong with a layer's output in reduced precision, or None when it differs by rounding only.

    Args:
        reduced: computes it, for standard normal input.
        exact: the same in float32; (B, out, ...) of a convolution, (..., out) of a linear layer.
        weight: (out, ...) of the layer, float32.
        bias: (out,), float32.
        eps: machine epsilon of the reduced precision, e.g. ``torch.finfo(torch.bfloat16).eps``.

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
    if (difference <= _ROUNDING * eps * rms).all():  # false for NaN
        return None
    return f"off by {(difference / rms).max():.2g} of its output's RMS"


@contextmanager
def checked_layers(
    layers: Mapping[str, nn.Module], check: Callable[[nn.Module, Tensor], str | None]
) -> Iterator[dict[str, str]]:
    """Check each layer when it is about to run, on standard normal input of the shape it gets.

    Libraries choose their code by the shape. A layer is checked before it runs, because it may raise.

    Args:
        layers: by name; call the network that holds them inside the context.
        check: layer and input (of one layer, on its device) → what is wrong, or None. It must not call the layer, which
            would check it again, but its ``forward``.

    Yields: names of the faulty layers and what is wrong with each, filled as they run.
    """
    names = {layer: name for name, layer in layers.items()}
    random = torch.Generator().manual_seed(0)
    faults: dict[str, str] = {}

    def before(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        if wrong := check(layer, torch.randn(given[0].shape, generator=random).to(given[0].device)):
            faults[names[layer]] = wrong

    hooks = [layer.register_forward_pre_hook(before) for layer in names]
    try:
        yield faults
    finally:
        for hook in hooks:
            hook.remove()


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
        inputs: what it takes.
        device: where it will be trained.

    Returns: whether all agree; else a warning names the layers that do not.
    Raises: torch.OutOfMemoryError.
    """
    layers = {name: module for name, module in network.named_modules() if isinstance(module, _LAYERS)}
    modes = {module: module.training for module in network.modules()}

    def check(layer: nn.Module, x: Tensor) -> str | None:
        assert isinstance(layer, _LAYERS)
        with torch.autocast(device.type, enabled=False):
            exact = layer.forward(x)
        return fault(lambda: layer.forward(x), exact, layer.weight, layer.bias, torch.finfo(torch.bfloat16).eps)

    network.eval()
    with checked_layers(layers, check) as faults:
        try:
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
                network(*inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            if not faults:  # else it is the layer found, which refuses again
                raise
        finally:
            for module, mode in modes.items():
                module.training = mode
    if faults:
        log.warning("bfloat16 is wrong or refused on this processor, training in float32: %s", described(faults))
    return not faults
