"""Training state for resuming after interruption, bit for bit on the CPU: networks, optimisers, random numbers."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deepfakemnist.animate.fomm.checkpoint import load_checkpoint, read_discriminator
from deepfakemnist.animate.fomm.network import FirstOrderMotionModel
from deepfakemnist.animate.training.discriminator import MultiScaleDiscriminator, load_discriminator
from deepfakemnist.animate.training.losses import StepLosses
from deepfakemnist.animate.weight_files import checkpoint_sha256
from deepfakemnist.config.animators.fomm import FommModel, TrainAnimatorSettings
from deepfakemnist.devices.tensor_files import load_tensors
from deepfakemnist.tables.files import atomic_path

log = logging.getLogger(__name__)

#: Settings that do not affect the weights, apart from the clips, which are compared by content.
_IRRELEVANT = {"clips", "stop_after", "checkpoint_every", "samples_every", "splits", "max_sources", "gpus"}
_BETAS = (0.5, 0.999)


def training_facts(
    model: FommModel, settings: TrainAnimatorSettings, align_corners: bool, seed: int, device: str, clips: str
) -> dict[str, str]:
    """Return all facts that determine the result of a training; a state resumes only if all of them match.

    Args:
        model: architecture.
        settings: of the training; weight files count by sha256, not by path.
        align_corners: see ``FirstOrderMotionModel``.
        seed: of all random numbers.
        device: device type.
        clips: digest of the frames.
    """
    values = settings.model_dump(mode="json", exclude=_IRRELEVANT)
    if values["vgg19"]:
        del values["vgg19"]["path"]
    if settings.start_from is not None:
        values["start_from"] = checkpoint_sha256(settings.start_from)
    facts = {f"train.{name}": json.dumps(value, sort_keys=True) for name, value in values.items()}
    shape = hashlib.sha256(model.model_dump_json().encode()).hexdigest()[:16]
    return facts | {
        "model": shape,
        "align_corners": str(align_corners),
        "seed": str(seed),
        "device": device,
        # Another CPU type sums in another order or trains in another precision.
        "cpu": torch.backends.cpu.get_cpu_capability() if device == "cpu" else "",
        "clips": clips,
        "torch": str(torch.__version__),
    }


@dataclass
class TrainingState:
    """Networks, optimisers, random number generator and progress.

    This is complete: the learning rate depends on the step only, and ``random`` is the only source of randomness.
    """

    networks: FirstOrderMotionModel
    average: FirstOrderMotionModel | None
    """Exponential moving average of the weights, which becomes the result; None if disabled."""
    discriminator: MultiScaleDiscriminator | None
    optimiser: torch.optim.Adam
    discriminator_optimiser: torch.optim.Adam | None
    random: torch.Generator
    step: int = 0
    seconds: float = 0.0
    losses: list[StepLosses] = field(default_factory=list)
    _finite: Tensor | None = field(default=None, init=False)
    """() bool on the device: whether all losses since the last ``check_finite`` were finite."""

    def note_finite(self, loss: Tensor) -> None:
        """Remember whether a loss is finite, on its device, without waiting for it."""
        finite = torch.isfinite(loss.detach())
        self._finite = finite if self._finite is None else self._finite & finite

    def check_finite(self) -> None:
        """Raise FloatingPointError when a loss since the last call was not finite; waits for the device."""
        finite, self._finite = self._finite, None
        if finite is not None and not finite:
            raise FloatingPointError(
                f"the loss is not finite at step {self.step} or shortly before; lower animator.train.learning_rate"
            )

    @classmethod
    def new(
        cls,
        model: FommModel,
        settings: TrainAnimatorSettings,
        align_corners: bool,
        random: torch.Generator,
        device: torch.device,
    ) -> TrainingState:
        """Return a state on ``device`` with weights initialised from the seed of ``random``."""
        discriminator = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random.initial_seed())
            networks = FirstOrderMotionModel(model, align_corners)
            if settings.start_from is not None:
                initial = load_checkpoint(settings.start_from, model, align_corners=align_corners, tensors_only=True)
                networks.load_state_dict(initial.state_dict())
            if settings.adversarial:
                discriminator = MultiScaleDiscriminator(settings.discriminator, model.num_kp, model.num_channels)
                trained = settings.start_from and read_discriminator(settings.start_from)
                if trained:
                    load_discriminator(discriminator, trained, f"animator weights {settings.start_from}, discriminator")
        # Measured on the CPU (AVX-512, one thread): 8 to 25 % less time per step than the default layout.
        networks.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = copy.deepcopy(networks).eval().requires_grad_(False) if settings.ema else None
        if not settings.train_keypoints:
            networks.kp_detector.requires_grad_(False)
        free = [parameter for parameter in networks.parameters() if parameter.requires_grad]
        optimiser = torch.optim.Adam(free, lr=settings.learning_rate, betas=_BETAS)
        discriminator_optimiser = None
        if discriminator is not None:
            discriminator.to(device)
            discriminator_optimiser = torch.optim.Adam(
                discriminator.parameters(), lr=settings.learning_rate, betas=_BETAS
            )
        return cls(networks, average, discriminator, optimiser, discriminator_optimiser, random)

    @property
    def result(self) -> FirstOrderMotionModel:
        """The trained networks: the average if there is one."""
        return self.networks if self.average is None else self.average

    def update_average(self, decay: float) -> None:
        """Update the moving average, with a smaller decay in early steps, so that it forgets the initial weights.

        Own code: torch's ``AveragedModel`` starts with a copy, and renames the tensors of saved states.
        """
        if self.average is None:
            return
        weight = 1 - min(decay, (1 + self.step) / (10 + self.step))
        pairs = list(zip(_tensors(self.average), _tensors(self.networks), strict=True))
        averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        # One fused call, because hundreds of small ones would stall a GPU.
        torch._foreach_lerp_([average for average, _ in averaged], [new for _, new in averaged], weight)
        for average, new in pairs:
            if not average.is_floating_point():
                average.copy_(new)

    def save(self, path: Path, facts: dict[str, str]) -> None:
        """Write the state atomically."""
        content: dict[str, Any] = {name: part.state_dict() for name, part in self._parts().items()}
        content["random"] = self.random.get_state()
        content["facts"] = facts
        content["progress"] = {
            "step": self.step,
            "seconds": self.seconds,
            "losses": [asdict(entry) for entry in self.losses],
        }
        with atomic_path(path) as part:
            torch.save(content, part)

    def resume(self, path: Path, facts: dict[str, str]) -> bool:
        """Load the state in ``path``; return False and change nothing if it belongs to another training."""
        if not path.is_file():
            return False
        try:
            content = load_tensors(path)
            found: dict[str, str] = content["facts"]
        except Exception as error:  # a damaged file makes torch raise almost anything
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            log.warning("training state %s is unreadable (%s), starting from scratch", path, reason)
            return False
        if found != facts:
            differences = _differences(found, facts)
            log.warning("training state %s belongs to another training, starting from scratch: %s", path, differences)
            return False
        for name, part in self._parts().items():
            part.load_state_dict(content[name])
        self.random.set_state(content["random"])
        progress = content["progress"]
        self.step, self.seconds = progress["step"], progress["seconds"]
        self.losses = [StepLosses(**entry) for entry in progress["losses"]]
        log.info("resuming at step %d from %s", self.step, path)
        return True

    def _parts(self) -> dict[str, Any]:
        parts = {
            "networks": self.networks,
            "average": self.average,
            "discriminator": self.discriminator,
            "optimiser": self.optimiser,
            "discriminator_optimiser": self.discriminator_optimiser,
        }
        return {name: part for name, part in parts.items() if part is not None}


def _tensors(module: nn.Module) -> list[Tensor]:
    return list(module.state_dict().values())


def _differences(found: dict[str, str], expected: dict[str, str]) -> str:
    names = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    return "; ".join(f"{name} was {found.get(name)}, is {expected.get(name)}" for name in names)
