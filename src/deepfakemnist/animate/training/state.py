"""Everything a training needs to go on after it was killed, bit for bit on the CPU."""

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

from deepfakemnist.animate.fomm.checkpoint import load_checkpoint
from deepfakemnist.animate.fomm.network import FirstOrderMotionModel
from deepfakemnist.animate.training.discriminator import MultiScaleDiscriminator
from deepfakemnist.animate.training.losses import StepLosses
from deepfakemnist.animate.weight_files import checkpoint_sha256
from deepfakemnist.config.animator import FommModel, TrainAnimatorSettings
from deepfakemnist.tables.files import atomic_path

log = logging.getLogger(__name__)

#: Settings that change what is written along the way but not the weights.
_NO_MATTER = {"clips", "stop_after", "checkpoint_every", "samples_every", "splits", "max_sources"}
_BETAS = (0.5, 0.999)


def training_facts(
    model: FommModel, settings: TrainAnimatorSettings, align_corners: bool, seed: int, device: str, clips: str
) -> dict[str, str]:
    """Return what a training's result depends on; a state goes on only where all of it is the same.

    Args:
        model: architecture.
        settings: of the training; the paths of weights do not matter, their sha256 does.
        align_corners: see ``FirstOrderMotionModel``.
        seed: of everything random.
        device: type of the device.
        clips: digest of the frames.
    """
    values = settings.model_dump(mode="json", exclude=_NO_MATTER)
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
        # A CPU of another kind adds in another order, or trains in another precision.
        "cpu": torch.backends.cpu.get_cpu_capability() if device == "cpu" else "",
        "clips": clips,
        "torch": str(torch.__version__),
    }


@dataclass
class TrainingState:
    """Networks, optimisers, random numbers and how far it has come.

    The learning rate follows from the step alone, and ``random`` is where every random number of a training is drawn
    from, so there is nothing else to keep.
    """

    networks: FirstOrderMotionModel
    average: FirstOrderMotionModel | None
    """Running average of the weights, which is what is kept in the end; None where there is none."""
    discriminator: MultiScaleDiscriminator | None
    optimiser: torch.optim.Adam
    discriminator_optimiser: torch.optim.Adam | None
    random: torch.Generator
    step: int = 0
    seconds: float = 0.0
    losses: list[StepLosses] = field(default_factory=list)

    @classmethod
    def new(
        cls,
        model: FommModel,
        settings: TrainAnimatorSettings,
        align_corners: bool,
        random: torch.Generator,
        device: torch.device,
    ) -> TrainingState:
        """Return networks with initial weights drawn from the seed of ``random``, on ``device``."""
        discriminator = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random.initial_seed())
            networks = FirstOrderMotionModel(model, align_corners)
            if settings.start_from is not None:
                begun = load_checkpoint(settings.start_from, model, align_corners=align_corners, tensors_only=True)
                networks.load_state_dict(begun.state_dict())
            if settings.adversarial:
                discriminator = MultiScaleDiscriminator(settings.discriminator, model.num_kp, model.num_channels)
        # Measured on the CPU (AVX-512, one thread): 8 to 25 % less time per step than the default layout.
        networks.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = copy.deepcopy(networks).eval().requires_grad_(False) if settings.ema else None
        if not settings.train_keypoints:
            networks.kp_detector.requires_grad_(False)
        trained = [parameter for parameter in networks.parameters() if parameter.requires_grad]
        optimiser = torch.optim.Adam(trained, lr=settings.learning_rate, betas=_BETAS)
        discriminator_optimiser = None
        if discriminator is not None:
            discriminator.to(device)
            discriminator_optimiser = torch.optim.Adam(
                discriminator.parameters(), lr=settings.learning_rate, betas=_BETAS
            )
        return cls(networks, average, discriminator, optimiser, discriminator_optimiser, random)

    @property
    def result(self) -> FirstOrderMotionModel:
        """The networks to keep."""
        return self.networks if self.average is None else self.average

    def follow(self, decay: float) -> None:
        """Move the average towards the networks; faster at first, so that it forgets the initial weights."""
        if self.average is None:
            return
        share = 1 - min(decay, (1 + self.step) / (10 + self.step))
        pairs = list(zip(_tensors(self.average), _tensors(self.networks), strict=True))
        moving = [pair for pair in pairs if pair[0].is_floating_point()]
        # In one call, because a GPU would wait for hundreds of small ones.
        torch._foreach_lerp_([kept for kept, _ in moving], [new for _, new in moving], share)
        for kept, new in pairs:
            if not kept.is_floating_point():
                kept.copy_(new)

    def save(self, path: Path, facts: dict[str, str]) -> None:
        """Write the state, whole or not at all."""
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
        """Go on from the state in ``path``; return False and change nothing where it belongs to another training."""
        if not path.is_file():
            return False
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            found: dict[str, str] = content["facts"]
        except Exception as error:  # a damaged file makes torch raise almost anything
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            log.warning("the training state %s is unreadable (%s): starting anew", path, reason)
            return False
        if found != facts:
            log.warning("the training state %s is of another training: starting anew. %s", path, _differ(found, facts))
            return False
        for name, part in self._parts().items():
            part.load_state_dict(content[name])
        self.random.set_state(content["random"])
        progress = content["progress"]
        self.step, self.seconds = progress["step"], progress["seconds"]
        self.losses = [StepLosses(**entry) for entry in progress["losses"]]
        log.info("going on from step %d of %s", self.step, path)
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


def _differ(found: dict[str, str], wanted: dict[str, str]) -> str:
    names = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    return "; ".join(f"{name} was {found.get(name)}, is {wanted.get(name)}" for name in names)
