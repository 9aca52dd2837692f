"""Rendering for CUDA traced without a GPU: torch's fake tensors track devices, dtypes and memory layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from deepfakemnist.animate.fomm.checkpoint import load_checkpoint
from deepfakemnist.animate.fomm.cuda import _render
from deepfakemnist.animate.fomm.folded_conv import FoldedConv
from deepfakemnist.animate.fomm.inference import rewritten
from deepfakemnist.animate.fomm.matrix_conv import MatrixConv, MatrixUp, MatrixWinograd
from deepfakemnist.animate.fomm.network import FirstOrderMotionModel, Generator, Keypoints
from deepfakemnist.config.animators.fomm import FommModel

pytestmark = pytest.mark.slow

WEIGHTS = Path(__file__).parents[3] / "resources" / "animators" / "compact-256.safetensors"
BATCH = 4


class Trace(TorchDispatchMode):
    """Records every operation that copies to or from the GPU, or synchronises with it."""

    def __init__(self) -> None:
        super().__init__()
        self.on_the_host: list[str] = []
        self.operations = 0

    def __torch_dispatch__(self, operation: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        made = operation(*given, **(named or {}))
        self.operations += 1
        tensors = [leaf for leaf in tree_leaves((given, named, made)) if isinstance(leaf, Tensor)]
        if any(tensor.device.type != "cuda" for tensor in tensors) or "local_scalar" in str(operation):
            self.on_the_host.append(str(operation))
        return made


@pytest.fixture(autouse=True)
def traceable_sampling(monkeypatch):
    """Replace cuDNN's sampler, which cannot be traced; like on a GPU, its output is channels first."""
    sample = F.grid_sample

    def traceable(*given, **named):
        with torch.backends.cudnn.flags(enabled=False):
            return sample(*given, **named).contiguous()

    monkeypatch.setattr(F, "grid_sample", traceable)


def trace(model: FommModel, decoder: torch.dtype) -> tuple[Trace, dict[str, bool]]:
    """Trace the rendering of a batch; return the trace, and for each layer whether its input was channels last."""
    networks = rewritten(FirstOrderMotionModel(model), decoder, cpu=False)
    channels_last: dict[str, bool] = {}
    with FakeTensorMode() as mode:
        for module in networks.modules():
            for values in (module._parameters, module._buffers):
                for name, value in values.items():
                    if value is not None:
                        values[name] = mode.from_tensor(value).to("cuda")  # type: ignore[assignment]
        image = torch.empty(1, 3, 256, 256, device="cuda").contiguous(memory_format=torch.channels_last)
        generator = networks.generator
        with torch.inference_mode():
            found = networks.kp_detector(image)
            encoded = generator.encode(image)
            driving = Keypoints(*(part.expand(BATCH, *part.shape[1:]).contiguous() for part in found))

            def note(name: str):
                def hook(layer, given):
                    # A view of a padded tensor is as good: what counts is that channels are adjacent.
                    channels_last[name] = given[0].stride(1) == 1

                return hook

            for name, layer in generator.named_modules():
                if isinstance(layer, FoldedConv | MatrixConv | MatrixUp | MatrixWinograd):
                    layer.register_forward_pre_hook(note(name))
            with Trace() as traced:
                made = _render(generator, [*encoded, *found, *driving])
    assert (made.shape, made.device.type, made.dtype) == ((BATCH, 3, 256, 256), "cuda", torch.float32)
    return traced, channels_last


def models() -> dict[str, FommModel]:
    return {"vox-256": FommModel(), "compact-256": load_checkpoint(WEIGHTS).settings}


@pytest.mark.parametrize("decoder", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", ["vox-256", "compact-256"])
def test_rendering_stays_on_the_gpu_and_in_one_layout(name, decoder):
    traced, channels_last = trace(models()[name], decoder)
    assert traced.operations > 100
    assert traced.on_the_host == []
    wrong = [layer for layer, right in channels_last.items() if not right]
    assert len(channels_last) > 10
    assert wrong == []


def test_a_copy_from_the_host_is_detected(monkeypatch):
    decode = Generator.decode

    def waiting(self, encoded, motion):
        one = torch.ones(1).to(motion.deformation.device)
        return decode(self, encoded, motion._replace(deformation=motion.deformation * one))

    monkeypatch.setattr(Generator, "decode", waiting)
    traced, _ = trace(models()["compact-256"], torch.float32)
    assert any("to" in operation for operation in traced.on_the_host)


def test_a_change_of_memory_layout_is_detected(monkeypatch):
    warp = Generator._warp
    monkeypatch.setattr(Generator, "_warp", lambda *given: warp(*given).contiguous())
    _, channels_last = trace(models()["vox-256"], torch.float16)
    assert not all(channels_last.values())
