"""Reduced precision (bfloat16, float16, TF32): device support, and validation of layers against float32.

Libraries silently compute wrong convolutions on some processors: oneDNN of torch 2.11 with AMX does for bfloat16, 8
input channels and an 8×8 kernel (relative error 0.6 to 1.1). Others reject bfloat16 altogether. Code that uses reduced
precision therefore first compares every layer with float32 on the actual processor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

#: Largest difference from float32 attributed to rounding, in machine epsilons times the expected RMS of the output.
#: With rounded input, weights and output it is 2.6 among 10⁶ values, with mixed-up channels hundreds (measured).
_ROUNDING = 16
_LAYERS = (nn.Conv2d, nn.Conv3d, nn.Linear)


def benefits_from_reduced_precision(device: torch.device) -> bool:
    """Return whether 16-bit floats are faster than float32 on the device: on CUDA and on CPUs with native bfloat16.

    The latter have AVX512-BF16 or AMX. Others reject it or convert to float32 and back. Measured on an AMD EPYC with
    AVX512-BF16, one thread, training the compact model at batch 8: 0.26 s of CPU time per pair instead of 0.32 s.
    """
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return device.type == "cuda"


def deterministic_cudnn(*, tf32: bool) -> AbstractContextManager[None]:
    """Restrict cuDNN to deterministic algorithms, in full float32 or with products in TF32, 10 bits of mantissa."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True,
        benchmark=False,
        deterministic=True,
        allow_tf32=tf32,
        fp32_precision="tf32" if tf32 else "ieee",
    )
    return flags


def find_fault(
    reduced: Callable[[], Tensor], exact: Tensor, weight: Tensor, bias: Tensor | None, eps: float
) -> str | None:
    """Describe what is wrong with a layer's output in reduced precision; None if it differs by rounding only.

    Args:
        reduced: computes the output in reduced precision, for standard normal input.
        exact: output in float32; (B, out, ...) of a convolution, (..., out) of a linear layer.
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
    # Expected, not measured: an output may be a single value, or all zeros after ReLU.
    variance = weight.flatten(1).square().sum(1) + (0 if bias is None else bias.square())
    rms = variance.sqrt().view(-1, *[1] * (weight.ndim - 2))
    if (difference <= _ROUNDING * eps * rms).all():  # false for NaN
        return None
    return f"off by {(difference / rms).max():.2g} of its output's RMS"


@contextmanager
def checked_layers(
    layers: Mapping[str, nn.Module], check: Callable[[nn.Module, Tensor], str | None]
) -> Iterator[dict[str, str]]:
    """Check each layer right before it runs, on standard normal input of the actual shape.

    Libraries select kernels by shape. A layer is checked before it runs, because it may raise.

    Args:
        layers: by name; call their network inside the context.
        check: layer and input (on its device) → description of the fault, or None. It must call ``forward`` instead of
            the layer, which would trigger the check again.

    Yields: names of faulty layers and descriptions of their faults, filled as the layers run.
    """
    names = {layer: name for name, layer in layers.items()}
    random = torch.Generator().manual_seed(0)
    faults: dict[str, str] = {}

    def check_before(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if problem := check(layer, torch.randn(inputs[0].shape, generator=random).to(inputs[0].device)):
            faults[names[layer]] = problem

    hooks = [layer.register_forward_pre_hook(check_before) for layer in names]
    try:
        yield faults
    finally:
        for hook in hooks:
            hook.remove()


def describe_faults(faults: dict[str, str]) -> str:
    """Return layers and faults in one line, e.g. ``conv1, conv2 (refused: ...); head (off by 2)``."""
    layers: dict[str, list[str]] = {}
    for name, problem in faults.items():
        layers.setdefault(problem, []).append(name)
    return "; ".join(f"{', '.join(names)} ({problem})" for problem, names in layers.items())


def autocast_is_accurate(network: nn.Module, *inputs: object, device: torch.device) -> bool:
    """Compare every convolution and linear layer under bfloat16 autocast with float32, on random input.

    Costs one forward pass in evaluation mode, plus each of these layers in both precisions. The network's state is not
    changed; gradients are not compared.

    Args:
        network: on ``device``.
        inputs: arguments of the network.
        device: training device.

    Returns: whether all layers agree; otherwise a warning names those that do not.
    Raises: torch.OutOfMemoryError.
    """
    layers = {name: module for name, module in network.named_modules() if isinstance(module, _LAYERS)}
    modes = {module: module.training for module in network.modules()}

    def check(layer: nn.Module, x: Tensor) -> str | None:
        assert isinstance(layer, _LAYERS)
        with torch.autocast(device.type, enabled=False):
            exact = layer.forward(x)
        return find_fault(lambda: layer.forward(x), exact, layer.weight, layer.bias, torch.finfo(torch.bfloat16).eps)

    network.eval()
    with checked_layers(layers, check) as faults:
        try:
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
                network(*inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            if not faults:  # otherwise a layer already recorded as faulty raised again
                raise
        finally:
            for module, mode in modes.items():
                module.training = mode
    if faults:
        log.warning("bfloat16 is wrong or refused on this processor, training in float32: %s", describe_faults(faults))
    return not faults
