"""Cards of weight files: animator, architecture, origin and precision of a checkpoint, and its conversion.

An animator takes part by the constant ``WEIGHTS`` of its module, see ``deepfakemnist.animate.checkpoints``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfakemnist.animate.checkpoints import Checkpoint, WeightFormat, write_packed
from deepfakemnist.animate.official_files import DIGEST_FACT, OFFICIAL_FILES, are_official
from deepfakemnist.animate.registry import weight_formats
from deepfakemnist.animate.weight_files import check_weight_file
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.checksums import file_facts

log = logging.getLogger(__name__)

#: Entry of the facts of a converted file: name, bytes and sha256 of the file it was made from.
_ORIGIN = "converted_from"


@dataclass(frozen=True, eq=False)
class WeightCard:
    """What is known of a weight file."""

    path: Path
    animator: str
    format: WeightFormat
    checkpoint: Checkpoint
    model: Mapping[str, Any]
    """Architecture, which all tensors fit."""
    bytes: int | None
    """Size of the file; None for a folder."""
    sha256: str | None
    """Digest of the file, or of those in the folder."""

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield names and values as text."""
        checkpoint = self.checkpoint
        yield "file", str(self.path) if self.bytes is None else f"{self.path} ({self.bytes:,} bytes)"
        if self.sha256:
            yield "sha256", self.sha256
        yield "animator", f"{self.animator}: {self.format.title}"
        yield "official", self._official()
        yield "layout", checkpoint.layout + (", with the prefix module. of DataParallel" if checkpoint.parallel else "")
        yield "stored as", checkpoint.stored_as
        parts = ", ".join(f"{part} {len(state)}" for part, state in checkpoint.states.items())
        numbers = sum(tensor.numel() for state in checkpoint.states.values() for tensor in state.values())
        yield "tensors", f"{checkpoint.tensors} ({parts}), {numbers:,} numbers"
        if checkpoint.others:
            yield "not used", ", ".join(checkpoint.others)
        for name, value in _flat(self.model):
            yield f"model.{name}", str(value)
        for name, value in _flat(checkpoint.facts):
            yield f"facts.{name}", str(value)
        yield "licence", self.format.licence

    def _official(self) -> str:
        if are_official(self.animator, self.checkpoint.facts):
            return "yes, all files"
        for digest, text in ((self.sha256, ""), (self._origin().get("sha256"), "made from ")):
            for known in OFFICIAL_FILES:
                if digest == known.sha256:
                    return f"{text}{known}"
        return "no, or none whose digest is known"

    def _origin(self) -> Mapping[str, Any]:
        origin = self.checkpoint.facts.get(_ORIGIN)
        return origin if isinstance(origin, Mapping) else {}


def inspect_weights(path: Path) -> WeightCard:
    """Recognise a weight file and check its tensors against the architecture.

    Args:
        path: file; or folder, for animators whose weights are several files.

    Raises: ConfigError that says why no animator can use the file.
    """
    if not path.is_dir():
        check_weight_file(path)
    facts = None if path.is_dir() else file_facts(path)
    official = {known.animator for known in OFFICIAL_FILES if facts and known.sha256 == facts.sha256}
    formats = {name: form for name, form in weight_formats().items() if not official or name in official}
    problems = []
    for name, form in formats.items():
        try:
            checkpoint = form.read(path)
            model = form.model(checkpoint)
        except ConfigError as error:
            problems.append(f"{name}: {error}")
            continue
        sha256 = facts.sha256 if facts else checkpoint.facts.get(DIGEST_FACT)
        return WeightCard(path, name, form, checkpoint, model, facts.bytes if facts else None, sha256)
    raise ConfigError(f"{path} fits no animator.\n" + "\n".join(problems))


def convert_weights(path: Path, packed: Path, *, half: bool = False) -> None:
    """Write the weights of ``path`` as packed safetensors, which name the file that they are from.

    Args:
        path: see ``inspect_weights``.
        packed: file to write, with the suffix ``.safetensors``; must not exist.
        half: store float16, half the size.

    Raises: ConfigError for a file that no animator can use, an unsuitable ``packed``, or weights outside float16.
    """
    if packed.suffix != ".safetensors":
        raise ConfigError(f"{packed}: packed weights have the suffix .safetensors")
    if packed.exists():
        raise ConfigError(f"{packed} exists; remove it, or choose another name")
    card = inspect_weights(path)
    facts = dict(card.checkpoint.facts)
    if _ORIGIN not in facts:
        facts[_ORIGIN] = {"name": path.name, "bytes": card.bytes, "sha256": card.sha256}
    try:
        write_packed(packed, card.animator, card.checkpoint.states, card.model, facts, half=half)
    except OverflowError as error:
        raise ConfigError(f"{path} cannot be stored as float16: {error}") from error


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list):  # e.g. the losses of every step
            yield f"{prefix}{name}", value
