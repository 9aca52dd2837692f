"""FOMM checkpoints: the official pickle layout, and self-describing safetensors.

The official layout is a pickle of ``generator``, ``kp_detector``, ``epoch`` and more. A ``.safetensors`` file of this
project holds the same tensors as ``generator.<name>`` and ``kp_detector.<name>``, float32 or float16, with the
architecture and the training facts as metadata.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from deepfakemnist.animate.fomm.network import FirstOrderMotionModel
from deepfakemnist.animate.weight_files import OFFICIAL, check_sha256, check_weight_file
from deepfakemnist.config.animator import FommModel
from deepfakemnist.devices.tensor_files import UnreadableTensors, json_entry, load_tensors
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.files import atomic_path

log = logging.getLogger(__name__)

_FORMAT = "deepfakemnist.fomm.1"
_PARTS = ("generator", "kp_detector")
#: Differences that an error message lists before it counts the rest.
_LISTED = 5

State = dict[str, Tensor]


def load_checkpoint(
    path: Path | str,
    model: FommModel | None = None,
    sha256: str | None = None,
    *,
    align_corners: bool | None = None,
    tensors_only: bool = False,
) -> FirstOrderMotionModel:
    """Build the networks and load the weights of ``path``; on the CPU, float32, in evaluation mode.

    Other entries of the file (optimizers, discriminator) are ignored. Only tensors and plain values are unpickled.

    Args:
        path: checkpoint in the official layout, zip or legacy pickle, or a ``.safetensors`` of this project.
        model: architecture that the weights must match exactly; None uses the one stored in the file, else vox-256.
        sha256: expected checksum; a file with another one is refused.
        align_corners: see ``FirstOrderMotionModel``; None uses the value that the weights were trained with.
        tensors_only: allow settings that shape no tensor to differ from the stored ones; for fine-tuning.

    Raises: ConfigError that says what the file is if it is no such checkpoint, or how it differs from ``model``.
    """
    path = Path(path)
    check_weight_file(path)
    if sha256 is not None:
        check_sha256(path, sha256)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _unpickle(path)
    _check_layout(path, content)
    model = model or _stated_model(path, content) or FommModel()
    if align_corners is None:
        # The official weights were trained with torch 1.0, which always aligned corners.
        align_corners = bool(_facts(content).get("align_corners", True))
    with torch.device("meta"):
        networks = FirstOrderMotionModel(model, align_corners)
    networks.to_empty(device="cpu")
    _check_states(path, content, networks, model, tensors_only)
    for part in _PARTS:
        getattr(networks, part).load_state_dict(content[part])
    log.info("loaded animator weights %s (%s)", path, _facts(content) or f"epoch {content.get('epoch', 'unknown')}")
    return networks.eval()


def read_facts(path: Path | str) -> dict[str, Any]:
    """Return the training facts stored in a checkpoint of this project; empty for an official one.

    Raises: ConfigError, see ``load_checkpoint``.
    """
    path = Path(path)
    check_weight_file(path)
    return _facts(_read_safetensors(path) if path.suffix == ".safetensors" else _unpickle(path))


def save_checkpoint(
    path: Path | str, networks: FirstOrderMotionModel, facts: dict[str, Any], *, half: bool = False
) -> None:
    """Write the weights atomically: safetensors for the suffix ``.safetensors``, else the official layout.

    Args:
        path: file to write.
        networks: the weights.
        facts: training facts as plain values, e.g. steps and seed; stored with the weights and ``align_corners``.
        half: store float16, half the size; loading converts back to float32.

    Raises: OverflowError for a weight outside the range of float16.
    """
    path = Path(path)
    facts = {**facts, "align_corners": networks.generator.align_corners}
    states = {part: _state(getattr(networks, part), half) for part in _PARTS}
    model = networks.settings.model_dump(mode="json")
    with atomic_path(path) as part_path:
        if path.suffix == ".safetensors":
            # A single entry, because safetensors writes several in random order and equal weights shall be equal files.
            metadata = {_FORMAT: json.dumps({"model": model, "facts": facts}, sort_keys=True)}
            flat = {f"{part}.{name}": tensor for part, state in states.items() for name, tensor in state.items()}
            save_file(flat, part_path, metadata)
        else:
            torch.save({**states, "epoch": facts.get("steps", 0), "model": model, "facts": facts}, part_path)


def _state(module: torch.nn.Module, half: bool) -> State:
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    if not half:
        return state
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    for name, tensor in halves.items():
        if not torch.isfinite(tensor).all():
            raise OverflowError(f"{name} has values outside the range of float16")
    return halves


def _facts(content: dict[str, Any]) -> dict[str, Any]:
    facts = content.get("facts")
    return facts if isinstance(facts, dict) else {}


def _stated_model(path: Path, content: dict[str, Any]) -> FommModel | None:
    stated = content.get("model")
    if stated is None:
        return None
    try:
        return FommModel.model_validate(stated)
    except ValidationError as error:
        raise ConfigError(
            f"animator weights {path} have an architecture that this version does not support: "
            f"{'; '.join(problem['msg'] for problem in error.errors())}"
        ) from error


def _read_safetensors(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = {part: {} for part in _PARTS}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            for key in file.keys():  # noqa: SIM118 - the file is not a dictionary
                part, _, name = key.partition(".")
                tensor = file.get_tensor(key)
                content.setdefault(part, {})[name] = tensor.float() if tensor.is_floating_point() else tensor
    except (SafetensorError, OSError) as error:
        raise ConfigError(
            f"animator weights {path} ({path.stat().st_size:,} bytes) are damaged, incomplete or not a safetensors "
            f"file ({error})"
        ) from error
    try:
        stated = json_entry(metadata, _FORMAT)
    except ValueError as error:
        raise ConfigError(f"animator weights {path} are a safetensors file of another format: {error}") from error
    return {**content, "model": stated.get("model"), "facts": stated.get("facts")}


def _unpickle(path: Path) -> Any:
    try:
        return load_tensors(path)
    except UnreadableTensors as error:
        raise ConfigError(f"animator weights {path} ({path.stat().st_size:,} bytes): {error}. {OFFICIAL}") from error


def _check_layout(path: Path, content: Any) -> None:
    if not isinstance(content, dict):
        raise ConfigError(f"animator weights {path} contain a {type(content).__name__}, not a dictionary of networks")
    for part in _PARTS:
        state = content.get(part)
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            have = ", ".join(map(str, list(content)[:_LISTED])) or "nothing"
            raise ConfigError(
                f"animator weights {path} have no state_dict {part!r}: an official checkpoint contains "
                f"'generator' and 'kp_detector', this file contains {have}"
            )


def _check_states(
    path: Path, content: dict[str, Any], networks: FirstOrderMotionModel, model: FommModel, tensors_only: bool
) -> None:
    differences = []
    for part in _PARTS:
        expected, found = getattr(networks, part).state_dict(), content[part]
        differences += [f"{part}.{name} is missing" for name in expected if name not in found]
        differences += [f"{part}.{name} is not in the model" for name in found if name not in expected]
        differences += [
            f"{part}.{name} is {tuple(found[name].shape)}, the model's is {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in found and found[name].shape != tensor.shape
        ]
    settings = _differing_settings(content, model, bool(differences))
    if differences or (settings and not tensors_only):
        listed = "; ".join(differences[:_LISTED])
        if len(differences) > _LISTED:
            listed += f"; and {len(differences) - _LISTED} more"
        cause = f" Settings that differ: {'; '.join(settings)}." if settings else ""
        raise ConfigError(f"animator weights {path} do not match animator.model.{cause} {listed}".rstrip())


def _differing_settings(content: dict[str, Any], model: FommModel, shapes_differ: bool) -> list[str]:
    """List the settings of ``model`` that differ from the weights', stored in the file or inferred from its shapes."""
    if isinstance(content.get("model"), dict):
        found = _flatten(content["model"])
    elif shapes_differ:
        found = _inferred_settings(content["generator"], content["kp_detector"])
    else:
        return []
    expected = _flatten(model.model_dump(mode="json"))
    return [
        f"animator.model.{name} is {expected[name]} in the config but {value} in the weights"
        for name, value in found.items()
        if name in expected and expected[name] != value
    ]


def _inferred_settings(generator: State, kp_detector: State) -> dict[str, Any]:
    """Infer settings from tensor shapes; a missing tensor gives 0, which no setting allows."""
    num_kp = _length(kp_detector, "kp.weight", 0)
    num_channels = _length(generator, "first.conv.weight", 1)
    evidence = (num_kp + 1) * (num_channels + 1)
    dense, encoder = "dense_motion_network.", r"encoder\.down_blocks\.\d+\.conv\.weight"
    return {
        "num_kp": num_kp,
        "num_channels": num_channels,
        "keypoints.num_blocks": _count(kp_detector, rf"predictor\.{encoder}"),
        "keypoints.block_expansion": _length(kp_detector, "kp.weight", 1) - num_channels,
        "keypoints.scale_factor": _scale(kp_detector, "down.weight"),
        "generator.block_expansion": _length(generator, "first.conv.weight", 0),
        "generator.num_down_blocks": _count(generator, r"down_blocks\.\d+\.conv\.weight"),
        "generator.num_bottleneck_blocks": _count(generator, r"bottleneck\.r\d+\.conv1\.weight"),
        "generator.estimate_occlusion_map": f"{dense}occlusion.weight" in generator,
        "generator.dense_motion.num_blocks": _count(generator, rf"{dense}hourglass\.{encoder}"),
        "generator.dense_motion.block_expansion": _length(generator, f"{dense}mask.weight", 1) - evidence,
        "generator.dense_motion.scale_factor": _scale(generator, f"{dense}down.weight"),
    }


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat.update(_flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat


def _length(state: State, name: str, dimension: int) -> int:
    return state[name].shape[dimension] if name in state and state[name].dim() > dimension else 0


def _count(state: State, pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in state)


def _scale(state: State, name: str) -> float:
    """Infer the scale from the size of the anti-aliasing kernel, 2·round(2·(1/scale − 1)) + 1; 1 without a kernel."""
    return 1 / ((_length(state, name, 2) - 1) / 4 + 1) if name in state else 1.0
