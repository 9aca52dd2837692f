"""Checkpoints of animators: one reader for pickles, plain safetensors and packed safetensors of this project.

A checkpoint is a set of parts, each the state dict of one network. Three layouts are read, told apart by content and
never by file name:

* a pickle with one dictionary per part, as official programs write them; of other entries only the names are kept;
* plain safetensors, whose tensors are named ``<part>.<name>``, as converters write them;
* packed safetensors of this project: the same, float32 or float16, with architecture and training facts as metadata.

A new animator reads its weights by ``read_states`` (or ``read_bare_state``, for a file that is one network's state
dict) and loads them by ``load_into``. To take part in ``deepfakemnist animator inspect`` and ``convert``, its module in
``deepfakemnist.animate.animators`` defines a constant ``WEIGHTS``, a ``WeightFormat``. Both commands find it there, and
write packed files by ``write_packed``, which ``read_states`` reads back with ``model`` and ``facts``.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from deepfakemnist.animate.official_files import layout_of, official_file, official_files
from deepfakemnist.animate.weight_files import check_digest, check_weight_file
from deepfakemnist.devices.tensor_files import UnreadableTensors, json_entry, load_tensors
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.files import atomic_path

log = logging.getLogger(__name__)

State = dict[str, Tensor]

#: Metadata entry of packed files, with the animator's name.
_FORMAT = re.compile(r"deepfakemnist\.([a-z][a-z0-9_]*)\.1")
#: Prefix that torch.nn.DataParallel and DistributedDataParallel give to every tensor.
_PARALLEL = "module."
_COUNTER = "num_batches_tracked"
#: Differences, or entries of a file, that an error message lists before it counts the rest.
_LISTED = 5


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Content of a weight file, on the CPU, floating-point numbers as float32."""

    path: Path
    layout: Literal["pickle", "safetensors", "packed"]
    states: dict[str, State]
    """Part → its state dict, without the prefix ``module.``."""
    animator: str | None = None
    """Name of the animator that a packed file states."""
    model: Mapping[str, Any] | None = None
    """Architecture, as stored in files of this project; None for others."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Training facts, as stored in files of this project; ``epoch`` of an official one."""
    others: tuple[str, ...] = ()
    """Names of the other entries, e.g. optimizers."""
    parallel: bool = False
    """Whether tensors had the prefix ``module.`` of DataParallel."""
    stored_as: str = "float32"
    """Types of the floating-point tensors as stored, e.g. float16."""

    @property
    def tensors(self) -> int:
        """Number of tensors of all parts."""
        return sum(map(len, self.states.values()))


@dataclass(frozen=True)
class WeightFormat:
    """What ``animator inspect`` and ``convert`` need of an animator; the constant ``WEIGHTS`` of its module."""

    title: str
    """Full name, e.g. First Order Motion Model."""
    read: Callable[[Path], Checkpoint]
    """Reads a file or folder of this animator; raises ConfigError for anything else."""
    model: Callable[[Checkpoint], dict[str, Any]]
    """Returns the architecture as plain values, having checked that all tensors fit it; raises ConfigError."""
    licence: str
    """Licence of the code and, if known, of the official weights."""


def read_states(
    path: Path | str,
    parts: Sequence[str],
    *,
    optional: Sequence[str] = (),
    animator: str = "",
    sha256: str | None = None,
) -> Checkpoint:
    """Read the state dicts of ``parts``; only tensors and plain values are unpickled.

    Args:
        path: weight file.
        parts: networks that must be there.
        optional: networks that are read if they are there; ``states`` lacks the others.
        animator: name of the animator that the weights are for: selects the official files that messages name, and a
            packed file of another animator is refused.
        sha256: expected digest. None: a file with the name and size of an official one must have the official digest.

    Raises: ConfigError that says what the file is if it is missing, no weight file, damaged, of another layout, or of
        another digest.
    """
    path = Path(path)
    check_weight_file(path, animator)
    check_digest(path, sha256)
    content = _read(path, animator)
    if animator and content.animator not in (None, animator):
        raise ConfigError(f"animator weights {path} are those of {content.animator}, not of {animator}")
    found = _grouped(content.entries, [*parts, *optional])
    for part in parts:
        if not _is_state(found.get(part)):
            raise ConfigError(
                f"animator weights {path} have no state_dict {part!r}: {_expected(animator, parts)}, "
                f"{_described(content.entries)}"
            )
    states = {part: found[part] for part in (*parts, *optional) if _is_state(found.get(part))}
    return content.checkpoint(path, states, tuple(str(name) for name in found if name not in states))


def read_bare_state(path: Path | str, part: str, *, animator: str = "", sha256: str | None = None) -> Checkpoint:
    """Read a file that is the state dict of one network, or safetensors of the same names; ``states`` has ``part``.

    Raises: ConfigError, see ``read_states``.
    """
    path = Path(path)
    check_weight_file(path, animator)
    check_digest(path, sha256)
    content = _read(path, animator)
    state = {name: value for name, value in content.entries.items() if isinstance(value, Tensor)}
    if not state or len(state) < len(content.entries):
        raise ConfigError(
            f"animator weights {path} are not the state dict of {part}: {_described(content.entries)}. "
            f"{official_files(animator)}".rstrip()
        )
    return content.checkpoint(path, {part: state}, ())


def load_into(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load a state dict into a module; a missing ``num_batches_tracked``, which evaluation ignores, becomes 0.

    A module on the meta device takes the tensors themselves, without a copy.

    Args:
        module: network with the expected tensors.
        state: tensors by name.
        where: subject of the message, e.g. "animator weights vox.pth.tar, kp_detector".

    Raises: ConfigError that lists missing, surplus and differently shaped tensors.
    """
    expected = module.state_dict()
    if differences := state_differences(expected, state):
        raise ConfigError(f"{where}: {listed(differences)}")
    counters = {name: torch.zeros((), dtype=torch.long) for name in expected if name.endswith(_COUNTER)}
    module.load_state_dict(counters | dict(state), assign=any(tensor.is_meta for tensor in expected.values()))


def state_differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], prefix: str = "") -> list[str]:
    """Return a clause for every tensor that is missing, surplus or of another shape; names get ``prefix``."""
    missing = [name for name in expected if name not in found and not name.endswith(_COUNTER)]
    return [
        *(f"{prefix}{name} is missing" for name in missing),
        *(f"{prefix}{name} is not in the model" for name in found if name not in expected),
        *(
            f"{prefix}{name} is {tuple(found[name].shape)}, the model's is {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in found and found[name].shape != tensor.shape
        ),
    ]


def listed(differences: Sequence[str]) -> str:
    """Join the first differences and count the rest."""
    more = f"; and {len(differences) - _LISTED} more" if len(differences) > _LISTED else ""
    return "; ".join(differences[:_LISTED]) + more


def write_packed(
    path: Path | str,
    animator: str,
    states: Mapping[str, Mapping[str, Tensor]],
    model: Mapping[str, Any],
    facts: Mapping[str, Any],
    *,
    half: bool = False,
) -> None:
    """Write a packed file atomically; equal weights and facts give equal bytes.

    Args:
        path: file to write.
        animator: name of the animator.
        states: part → state dict.
        model: architecture as plain values.
        facts: training facts as plain values.
        half: store float16, half the size; reading converts back to float32.

    Raises: OverflowError for a weight outside the range of float16.
    """
    flat = {f"{part}.{name}": tensor for part, state in states.items() for name, tensor in stored(state, half).items()}
    # A single entry, because safetensors writes several in random order and equal weights shall be equal files.
    metadata = {f"deepfakemnist.{animator}.1": json.dumps({"model": model, "facts": facts}, sort_keys=True)}
    with atomic_path(path) as part_path:
        save_file(flat, part_path, metadata)


def stored(state: Mapping[str, Tensor], half: bool = False) -> State:
    """Return the tensors as stored: on the CPU, contiguous, each with memory of its own, float16 with ``half``.

    Raises: OverflowError for a weight outside the range of float16.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    if not half:
        return whole
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in whole.items()}
    for name, tensor in halves.items():
        if not torch.isfinite(tensor).all():
            raise OverflowError(f"{name} has values outside the range of float16")
    return halves


@dataclass
class _Content:
    """A file as read: entries by name, and what this project's metadata states."""

    entries: dict[str, Any]
    layout: Literal["pickle", "safetensors", "packed"]
    animator: str | None = None
    model: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def checkpoint(self, path: Path, states: Mapping[str, Mapping[str, Tensor]], others: tuple[str, ...]) -> Checkpoint:
        bare = {part: _without_prefix(state) for part, state in states.items()}
        parallel = any(state.keys() != bare[part].keys() for part, state in states.items())
        if parallel:
            log.info("animator weights %s: removed the prefix %s of DataParallel", path, _PARALLEL)
        values = [tensor for state in bare.values() for tensor in state.values() if tensor.is_floating_point()]
        types = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in values})
        whole = {part: {name: _float32(tensor) for name, tensor in state.items()} for part, state in bare.items()}
        return Checkpoint(
            path, self.layout, whole, self.animator, self.model, self.facts, others, parallel, "+".join(types)
        )


def _read(path: Path, animator: str) -> _Content:
    if _is_safetensors(path):
        return _read_safetensors(path)
    try:
        content = load_tensors(path)
    except UnreadableTensors as error:
        raise ConfigError(
            f"animator weights {path} ({path.stat().st_size:,} bytes): {error}.{_incomplete(path)} "
            f"{official_files(animator)}".rstrip()
        ) from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"animator weights {path} contain a {type(content).__name__}, not a dictionary of networks")
    entries = {str(name): value for name, value in content.items()}
    model, facts, epoch = (entries.pop(name, None) for name in ("model", "facts", "epoch"))
    if not isinstance(facts, Mapping):
        facts = {"epoch": epoch} if isinstance(epoch, int) else {}
    return _Content(entries, "pickle", model=model if isinstance(model, Mapping) else None, facts=facts)


def _is_safetensors(path: Path) -> bool:
    """Whether the file begins as safetensors do, with the length of a JSON object; the suffix decides otherwise."""
    with path.open("rb") as file:
        head = file.read(9)
    if head.startswith((b"PK", b"\x80")):
        return False
    return head[8:] == b"{" or path.suffix == ".safetensors"


def _read_safetensors(path: Path) -> _Content:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copied, because tensors would be views of the mapped file, which another process may replace.
            entries = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 - no dictionary
    except (SafetensorError, OSError) as error:
        raise ConfigError(
            f"animator weights {path} ({path.stat().st_size:,} bytes) are damaged, incomplete or not a safetensors "
            f"file ({error})"
        ) from error
    formats = [match for key in metadata if (match := _FORMAT.fullmatch(key))]
    if not formats:
        if "deepfakemnist" in metadata:
            raise ConfigError(f"animator weights {path} are those of a detector of this project")
        return _Content(entries, "safetensors")
    try:
        stated = json_entry(metadata, formats[0].string)
    except ValueError as error:
        raise ConfigError(f"animator weights {path} are a safetensors file of another format: {error}") from error
    model, facts = stated.get("model"), stated.get("facts")
    return _Content(
        entries,
        "packed",
        formats[0][1],
        model if isinstance(model, Mapping) else None,
        facts if isinstance(facts, Mapping) else {},
    )


def _grouped(entries: Mapping[str, Any], parts: Sequence[str]) -> dict[str, Any]:
    """Collect tensors that are named ``<part>.<name>``, perhaps after ``module.``, into one dictionary per part."""
    grouped: dict[str, Any] = {}
    for key, value in entries.items():
        part, _, name = key.removeprefix(_PARALLEL).partition(".")
        if isinstance(value, Tensor) and name and part in parts:
            grouped.setdefault(part, {})[name] = value
        else:
            grouped[key] = value
    return grouped


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
    )


def _without_prefix(state: Mapping[str, Tensor]) -> State:
    names = {name: name for name in state}
    while names and all(name.startswith(_PARALLEL) for name in names.values()):
        names = {key: name.removeprefix(_PARALLEL) for key, name in names.items()}
    return {names[key]: tensor for key, tensor in state.items()}


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _expected(animator: str, parts: Sequence[str]) -> str:
    names = ", ".join(map(repr, parts))
    return f"weights of {animator} contain {names}" if animator else f"expected are {names}"


def _described(entries: Mapping[str, Any]) -> str:
    text = f"this file contains {', '.join(list(entries)[:_LISTED]) or 'nothing'}"
    if len(entries) > _LISTED:
        text += f" and {len(entries) - _LISTED} more"
    what = layout_of(list(entries))
    return f"{text}: {what}" if what else text


def _incomplete(path: Path) -> str:
    """Compare the size with that of the official file of this name."""
    known = official_file(path)
    if known is None or path.stat().st_size >= known.bytes:
        return ""
    return f" The official {known.name} has {known.bytes:,} bytes, so the download is probably incomplete."
