"""Detector checkpoints in safetensors, and the resume state of an unfinished training."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.config.preparation import Preparation
from deepfakemnist.config.stages import CropSettings
from deepfakemnist.detectors.base import Detector
from deepfakemnist.detectors.registry import build
from deepfakemnist.devices.tensor_files import UnreadableTensors, json_entry, load_tensors
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.checksums import file_facts
from deepfakemnist.tables.files import atomic_path
from deepfakemnist.training.decision import Decision

log = logging.getLogger(__name__)

#: Label 0 and label 1.
CLASSES = ["real", "fake"]
#: The only entry of the file's metadata: safetensors writes several in an order that changes from run to run.
_ENTRY = "deepfakemnist"
_KEYS = {"settings", "trained_on", "epoch", "seed", "classes"}


@dataclass(frozen=True)
class Checkpoint:
    """A trained detector in eval mode, with the facts of its training.

    Args:
        detector: the network, on the requested device.
        settings: training recipe.
        trained_on: name of the training set, see config.training_sets.parse_training_set.
        epoch: selected epoch, from 1.
        seed: training seed.
        sha256: digest of the file.
        facts: further facts of the model card: data, val.
        preparation: what was done to the training clips; what the file does not state has its default, see ``assumed``.
        decision: threshold and temperature.
        assumed: a sentence for everything that the file does not state; empty for a checkpoint of the workflow.
    """

    detector: Detector
    settings: DetectorTraining
    trained_on: str
    epoch: int
    seed: int
    sha256: str
    facts: dict[str, Any] = field(default_factory=dict)
    preparation: Preparation = field(default_factory=Preparation)
    decision: Decision = field(default_factory=Decision)
    assumed: tuple[str, ...] = ()


def save_checkpoint(
    path: Path | str,
    weights: dict[str, Tensor],
    settings: DetectorTraining,
    trained_on: str,
    epoch: int,
    seed: int,
    facts: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint: safetensors with JSON metadata in the header. The same content gives the same bytes."""
    content = {
        **(facts or {}),
        "settings": settings.model_dump(mode="json"),
        "trained_on": trained_on,
        "epoch": epoch,
        "seed": seed,
        "classes": CLASSES,
    }
    # A tensor may be a view or channels-last; safetensors accepts contiguous tensors only.
    values = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    with atomic_path(path) as part:
        part.write_bytes(save(values, {_ENTRY: json.dumps(content, sort_keys=True)}))


def input_facts(detector: Detector) -> dict[str, Any]:
    """Return what a detector makes of stills, for its checkpoint: the weights alone would fit another input, too."""
    config = detector.config
    return {
        "image_size": detector.image_size,
        "clip_frames": config.clip_frames,
        "mean": list(config.mean),
        "std": list(config.std),
    }


def load_checkpoint(path: Path | str, device: torch.device) -> Checkpoint:
    """Load a detector. Raises: ConfigError when the file is not a checkpoint of this program."""
    content, weights = _read(Path(path))
    try:
        settings = DetectorTraining.model_validate(content["settings"])
        # Without settings.weights: the checkpoint replaces the pretrained weights, so nothing is downloaded.
        detector = build(settings.name, image_size=settings.image_size, dropout=settings.dropout)
        detector.load_state_dict(weights)
        preparation, decision, assumed = _how_to_use(content)
    except ValidationError as error:
        raise ConfigError(f"{path} was written by another version of this program: {error}") from error
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"{path} does not fit detector {settings.name!r}: {error}") from error
    if (stated := content.get("input")) not in (None, now := input_facts(detector)):
        raise ConfigError(
            f"{path} was written by another version of this program: its detector took {stated} and now takes {now}. "
            "Train it again, or use that version"
        )
    sha256 = file_facts(path).sha256
    return Checkpoint(
        detector=detector.to(device).eval(),
        settings=settings,
        trained_on=content["trained_on"],
        epoch=content["epoch"],
        seed=content["seed"],
        sha256=sha256,
        facts={name: value for name, value in content.items() if name not in _KEYS},
        preparation=preparation,
        decision=decision,
        assumed=assumed,
    )


def _how_to_use(content: dict[str, Any]) -> tuple[Preparation, Decision, tuple[str, ...]]:
    """Return preparation and decision of a checkpoint's metadata, and what had to be assumed."""
    assumed = []
    if stated := content.get("preparation"):
        preparation = Preparation.model_validate(stated)
    else:
        crop = content.get("crop")  # all that version 0.2 and earlier stated
        preparation = Preparation(crop=CropSettings.model_validate(crop or {}))
        if not crop:
            assumed.append(f"faces are cropped by the default settings, crop.policy {preparation.crop.policy}")
        assumed += [
            "frames.region was full and frames.per_clip 16: the whole crop is scored",
            "the encoder settings of its training clips are not known",
        ]
    if "decision" in content:
        return preparation, Decision.model_validate(content["decision"]), tuple(assumed)
    return preparation, Decision(), (*assumed, "the decision threshold is 0.5, and scores are not calibrated")


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise ConfigError(f"checkpoint {path} does not exist; train the detector first")
    try:
        with safe_open(path, "pt", device="cpu") as file:
            content = json_entry(file.metadata() or {}, _ENTRY)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path} is not a readable checkpoint: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not a detector checkpoint: {error}") from error
    if not content.keys() >= _KEYS:
        raise ConfigError(
            f"{path} is not a detector checkpoint: its metadata must have {_ENTRY} with {', '.join(sorted(_KEYS))}"
        )
    for name, kind in (("trained_on", str), ("epoch", int), ("seed", int)):
        if not isinstance(content[name], kind):
            raise ConfigError(f"{path} is not a detector checkpoint: its {name} is {content[name]!a:.80}")
    return content, weights


class ResumeFile:
    """Full training state after the last finished epoch, in a file next to the future checkpoint.

    Args:
        checkpoint: file that the training will write; the state goes to the same name with ``.resume`` added.
        run_digest: digest of everything the training depends on; a state with another digest is not used.
    """

    def __init__(self, checkpoint: Path | str, run_digest: str) -> None:
        checkpoint = Path(checkpoint)
        self.path = checkpoint.with_name(f"{checkpoint.name}.resume")
        self.run_digest = run_digest

    def read(self, device: torch.device) -> dict[str, Any] | None:
        """Return the state, or None when there is none, or none of this run."""
        if not self.path.exists():
            return None
        try:
            state = load_tensors(self.path, device)
        except UnreadableTensors as error:
            log.warning("cannot resume (%s: %s); training starts from scratch", self.path, error)
            return None
        if not isinstance(state, dict) or state.get("run_digest") != self.run_digest:
            log.warning("%s has other settings, data or code; training starts from scratch", self.path)
            return None
        return state

    def write(self, state: dict[str, Any]) -> None:
        """Replace the state atomically."""
        with atomic_path(self.path) as part:
            torch.save({**state, "run_digest": self.run_digest}, part)

    def remove(self) -> None:
        """Delete the state; the checkpoint has been written."""
        self.path.unlink(missing_ok=True)
