"""FOMM checkpoints: the official layout, converted ones, and packed safetensors with architecture and facts.

``deepfakemnist.animate.checkpoints`` reads the files; this module knows the two networks and their architecture.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from deepfakemnist.animate.checkpoints import (
    Checkpoint,
    State,
    WeightFormat,
    listed,
    load_into,
    read_states,
    state_differences,
    stored,
    write_packed,
)
from deepfakemnist.animate.fomm.network import FirstOrderMotionModel
from deepfakemnist.config.animators.fomm import FommModel
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.files import atomic_path

log = logging.getLogger(__name__)

#: Licence of code and weights, recorded in rows.
LICENCE = "MIT (code); the weights' own"
_NAME = "fomm"
_PARTS = ("generator", "kp_detector")


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
        path: checkpoint in the official layout, zip or legacy pickle, or safetensors, plain or packed.
        model: architecture that the weights must match exactly; None uses the one stored in the file, else vox-256.
        sha256: expected checksum; a file with another one is refused.
        align_corners: see ``FirstOrderMotionModel``; None uses the value that the weights were trained with.
        tensors_only: allow settings that shape no tensor to differ from the stored ones; for fine-tuning.

    Raises: ConfigError that says what the file is if it is no such checkpoint, or how it differs from ``model``.
    """
    checkpoint = read_states(path, _PARTS, animator=_NAME, sha256=sha256)
    _check_jacobians(checkpoint)
    model = model or _stated_model(checkpoint) or FommModel()
    if align_corners is None:
        # The official weights were trained with torch 1.0, which always aligned corners.
        align_corners = bool(checkpoint.facts.get("align_corners", True))
    with torch.device("meta"):
        networks = FirstOrderMotionModel(model, align_corners)
    _check_states(checkpoint, networks, model, tensors_only)
    for part in _PARTS:
        load_into(getattr(networks, part), checkpoint.states[part], f"animator weights {path}, {part}")
    log.info("loaded animator weights %s (%s)", path, dict(checkpoint.facts) or "epoch unknown")
    return networks.eval()


def read_facts(path: Path | str) -> dict[str, Any]:
    """Return the training facts stored in a checkpoint of this project; of an official one the epoch, if stated.

    Raises: ConfigError, see ``load_checkpoint``.
    """
    return dict(read_states(path, _PARTS, animator=_NAME).facts)


def save_checkpoint(
    path: Path | str, networks: FirstOrderMotionModel, facts: dict[str, Any], *, half: bool = False
) -> None:
    """Write the weights atomically: packed safetensors for the suffix ``.safetensors``, else the official layout.

    Args:
        path: file to write.
        networks: the weights.
        facts: training facts as plain values, e.g. steps and seed; stored with the weights and ``align_corners``.
        half: store float16, half the size; loading converts back to float32.

    Raises: OverflowError for a weight outside the range of float16.
    """
    path = Path(path)
    facts = {**facts, "align_corners": networks.generator.align_corners}
    states = {part: getattr(networks, part).state_dict() for part in _PARTS}
    model = networks.settings.model_dump(mode="json")
    if path.suffix == ".safetensors":
        write_packed(path, _NAME, states, model, facts, half=half)
        return
    states = {part: stored(state, half) for part, state in states.items()}
    with atomic_path(path) as part_path:
        torch.save({**states, "epoch": facts.get("steps", 0), "model": model, "facts": facts}, part_path)


def read_discriminator(path: Path | str) -> State | None:
    """Return the discriminator's state dict of a checkpoint; None if it has none.

    Raises: ConfigError, see ``load_checkpoint``.
    """
    return read_states(path, _PARTS, optional=["discriminator"], animator=_NAME).states.get("discriminator")


def _read(path: Path) -> Checkpoint:
    checkpoint = read_states(path, _PARTS, animator=_NAME)
    _check_jacobians(checkpoint)
    return checkpoint


def _model(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the architecture: as stored, else vox-256 if all tensors fit it, else what their shapes say."""
    model = _stated_model(checkpoint) or FommModel()
    with torch.device("meta"):
        networks = FirstOrderMotionModel(model, align_corners=True)
        if checkpoint.model is None and any(_differences(checkpoint, networks)):
            model = _inferred_model(checkpoint)
            networks = FirstOrderMotionModel(model, align_corners=True)
    _check_states(checkpoint, networks, model, tensors_only=False)
    return model.model_dump(mode="json")


#: See ``WeightFormat``.
WEIGHTS = WeightFormat("First Order Motion Model", _read, _model, LICENCE)


def _check_jacobians(checkpoint: Checkpoint) -> None:
    """Name the two official layouts whose jacobians differ from those of vox-256."""
    detector = checkpoint.states["kp_detector"]
    keypoints, maps = _length(detector, "kp.weight", 0), _length(detector, "jacobian.weight", 0)
    if maps == 4 * keypoints or not keypoints:
        return
    if not maps and not any(name.startswith("jacobian.") for name in detector):
        what = "a zero-order model: it has keypoints without jacobians (estimate_jacobian: False)"
    elif maps == 4:
        what = "a model with a single jacobian for all keypoints (single_jacobian: True), as mgif-256"
    else:
        return
    raise ConfigError(
        f"animator weights {checkpoint.path} are {what}. This project runs models with a jacobian for every keypoint, "
        "as vox-256 and vox-adv-256"
    )


def _stated_model(checkpoint: Checkpoint) -> FommModel | None:
    if checkpoint.model is None:
        return None
    try:
        return FommModel.model_validate(checkpoint.model)
    except ValidationError as error:
        raise ConfigError(
            f"animator weights {checkpoint.path} have an architecture that this version does not support: "
            f"{'; '.join(problem['msg'] for problem in error.errors())}"
        ) from error


def _check_states(
    checkpoint: Checkpoint, networks: FirstOrderMotionModel, model: FommModel, tensors_only: bool
) -> None:
    differences = list(_differences(checkpoint, networks))
    settings = _differing_settings(checkpoint, model, bool(differences))
    if differences or (settings and not tensors_only):
        cause = f" Settings that differ: {'; '.join(settings)}." if settings else ""
        raise ConfigError(
            f"animator weights {checkpoint.path} do not match animator.model.{cause} {listed(differences)}".rstrip()
        )


def _differences(checkpoint: Checkpoint, networks: FirstOrderMotionModel) -> Iterator[str]:
    for part in _PARTS:
        expected = getattr(networks, part).state_dict()
        yield from state_differences(expected, checkpoint.states[part], prefix=f"{part}.")


def _differing_settings(checkpoint: Checkpoint, model: FommModel, shapes_differ: bool) -> list[str]:
    """List the settings of ``model`` that differ from the weights', stored in the file or inferred from its shapes."""
    if checkpoint.model is not None:
        found = _flatten(checkpoint.model)
    elif shapes_differ and {"kp.weight", "jacobian.weight"} <= checkpoint.states["kp_detector"].keys():
        found = _inferred_settings(checkpoint.states["generator"], checkpoint.states["kp_detector"])
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


def _inferred_model(checkpoint: Checkpoint) -> FommModel:
    generator, kp_detector = checkpoint.states["generator"], checkpoint.states["kp_detector"]
    tree: dict[str, Any] = {}
    settings = _inferred_settings(generator, kp_detector) | {
        "keypoints.max_features": _widest(kp_detector, r"predictor\.encoder\..*conv\.weight"),
        "generator.max_features": _widest(generator, r"down_blocks\..*conv\.weight"),
        "generator.dense_motion.max_features": _widest(generator, r"dense_motion_network\..*encoder\..*conv\.weight"),
    }
    for name, value in settings.items():
        *parents, leaf = name.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = value
    try:
        return FommModel.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(
            f"animator weights {checkpoint.path} do not have the tensors of a First Order Motion Model; without "
            f"{', '.join('.'.join(map(str, problem['loc'])) for problem in error.errors())}"
        ) from error


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat.update(_flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value})
    return flat


def _length(state: State, name: str, dimension: int) -> int:
    return state[name].shape[dimension] if name in state and state[name].dim() > dimension else 0


def _count(state: State, pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in state)


def _widest(state: State, pattern: str) -> int:
    """Return the largest number of output channels: max_features, or below it where the network never reaches it."""
    return max((tensor.shape[0] for name, tensor in state.items() if re.fullmatch(pattern, name)), default=0)


def _scale(state: State, name: str) -> float:
    """Infer the scale from the size of the anti-aliasing kernel, 2·round(2·(1/scale − 1)) + 1; 1 without a kernel."""
    return 1 / ((_length(state, name, 2) - 1) / 4 + 1) if name in state else 1.0
