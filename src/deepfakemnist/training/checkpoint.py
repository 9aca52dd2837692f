"""What training leaves behind: the checkpoint of a detector, and while it runs the state it can resume from."""

from __future__ import annotations

import hashlib
import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepfakemnist.detectors.base import Detector
from deepfakemnist.detectors.registry import build
from deepfakemnist.errors import ConfigError
from deepfakemnist.settings import DetectorTraining
from deepfakemnist.tables import atomic_path

log = logging.getLogger(__name__)

#: Label 0 and label 1.
CLASSES = ["real", "fake"]
_KEYS = {"detector", "weights", "settings", "trained_on", "epoch", "seed", "classes"}


@dataclass(frozen=True)
class Checkpoint:
    """A trained detector, ready to score, and what it was trained on.

    Args:
        detector: in eval mode, on the device asked for.
        settings: its training recipe.
        trained_on: quality of its training clips, or ``mixed``.
        epoch: epoch that was chosen, from 1.
        seed: of the training.
        sha256: of the file.
    """

    detector: Detector
    settings: DetectorTraining
    trained_on: str
    epoch: int
    seed: int
    sha256: str


def save_checkpoint(
    path: Path | str,
    weights: dict[str, Tensor],
    settings: DetectorTraining,
    trained_on: str,
    epoch: int,
    seed: int,
) -> None:
    """Write a checkpoint: a dict of plain values and CPU tensors. The same content gives the same bytes."""
    content = {
        "detector": settings.name,
        "weights": {name: value.detach().cpu().contiguous() for name, value in weights.items()},
        "settings": settings.model_dump(mode="json"),
        "trained_on": trained_on,
        "epoch": epoch,
        "seed": seed,
        "classes": CLASSES,
    }
    _save(content, path)


def load_checkpoint(path: Path | str, device: torch.device) -> Checkpoint:
    """Return the detector of a checkpoint. Raises: ConfigError when the file is no checkpoint of ours."""
    content = _load(path, torch.device("cpu"))
    if not isinstance(content, dict) or not content.keys() >= _KEYS:
        raise ConfigError(f"{path} is no detector checkpoint: it must be a dict with {', '.join(sorted(_KEYS))}")
    try:
        settings = DetectorTraining(**content["settings"])
        # Not settings.weights: the checkpoint replaces them, so they need not be downloaded.
        detector = build(settings.name, image_size=settings.image_size)
        detector.load_state_dict(content["weights"])
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"{path} does not fit detector {content['detector']!r}: {error}") from error
    return Checkpoint(
        detector=detector.to(device).eval(),
        settings=settings,
        trained_on=content["trained_on"],
        epoch=content["epoch"],
        seed=content["seed"],
        sha256=hashlib.sha256(Path(path).read_bytes()).hexdigest(),
    )


class ResumeFile:
    """The full state of a run after its last finished epoch, beside the checkpoint it will write.

    Args:
        checkpoint: file the run will write; the state stands in the same folder with ``.resume`` added.
        mark: digest of everything the run depends on; a state with another mark is not used.
    """

    def __init__(self, checkpoint: Path | str, mark: str) -> None:
        checkpoint = Path(checkpoint)
        self.path = checkpoint.with_name(f"{checkpoint.name}.resume")
        self.mark = mark

    def read(self, device: torch.device) -> dict[str, Any] | None:
        """Return the state, or None when there is none that fits."""
        if not self.path.exists():
            return None
        try:
            state = _load(self.path, device)
        except ConfigError as error:
            log.warning("cannot resume (%s); training starts at the first epoch", error)
            return None
        if not isinstance(state, dict) or state.get("mark") != self.mark:
            log.warning("%s is of a run with other settings, data or code; training starts anew", self.path)
            return None
        return state

    def write(self, state: dict[str, Any]) -> None:
        """Replace the state."""
        _save({**state, "mark": self.mark}, self.path)

    def remove(self) -> None:
        """Forget the state: the checkpoint is written."""
        self.path.unlink(missing_ok=True)


def _save(content: dict[str, Any], path: Path | str) -> None:
    # Into an open file, because torch writes a file's name into its bytes and the temporary name is random.
    with atomic_path(path) as part, part.open("wb") as file:
        torch.save(content, file)


def _load(path: Path | str, device: torch.device) -> Any:
    try:
        return torch.load(Path(path), map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no checkpoint {path}; train the detector first") from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ConfigError(f"{path} is no readable checkpoint: {error}") from error
