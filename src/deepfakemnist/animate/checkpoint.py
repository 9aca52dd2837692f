"""Reading and writing animator weights in the official layout: ``generator``, ``kp_detector``, ``epoch``."""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepfakemnist.animate.network import FirstOrderMotionModel
from deepfakemnist.errors import ConfigError
from deepfakemnist.settings import FommModel
from deepfakemnist.tables import atomic_path

log = logging.getLogger(__name__)

#: Size and sha256 of the official vox-cpk.pth.tar as a Git-LFS pointer of a third party gives them
#: (wisehackermonkey/deepfakes-server); the file itself was not at hand to confirm them.
OFFICIAL_BYTES = 728_766_691
OFFICIAL_SHA256 = "abb41ab1f279f26326c0d6e4d20702de6658364665aa1313daa7a63e89ea2b23"

_OFFICIAL = (
    f"The official file is vox-cpk.pth.tar ({OFFICIAL_BYTES:,} bytes, sha256 {OFFICIAL_SHA256}; both taken from a "
    "third party's Git-LFS pointer, not confirmed). Despite its name it is a pickle, not a tar: use it as it is"
)
_PARTS = ("generator", "kp_detector")
#: Differences listed before the rest is only counted.
_LISTED = 5

State = dict[str, Tensor]


def load_checkpoint(
    path: Path | str, model: FommModel, sha256: str | None = None, *, align_corners: bool = True
) -> FirstOrderMotionModel:
    """Build the networks of ``model`` and fill them with the weights of ``path``; on the CPU, in evaluation mode.

    Other entries of the file (optimizers, discriminator) are ignored. Only tensors and plain values are unpickled.

    Args:
        path: checkpoint in the official layout, zip or legacy pickle.
        model: architecture that the weights must fit exactly.
        sha256: refuse a file with any other digest.
        align_corners: see ``FirstOrderMotionModel``.

    Raises: ConfigError saying what the file is when it is not such a checkpoint, or how it differs from ``model``.
    """
    path = Path(path)
    _check_file(path)
    if sha256 is not None and (found := checkpoint_sha256(path)) != sha256:
        raise ConfigError(f"animator weights {path} have sha256 {found}, but the config asks for {sha256}")
    content = _unpickle(path)
    _check_layout(path, content)
    with torch.device("meta"):
        networks = FirstOrderMotionModel(model, align_corners)
    networks.to_empty(device="cpu")
    _check_states(path, content, networks, model)
    for part in _PARTS:
        getattr(networks, part).load_state_dict(content[part])
    log.info("loaded animator weights %s (epoch %s)", path, content.get("epoch", "unknown"))
    return networks.eval()


def save_checkpoint(path: Path | str, networks: FirstOrderMotionModel, epoch: int) -> None:
    """Write the weights in the official layout, whole or not at all.

    A further entry, ``model``, keeps the architecture, because some of it leaves no trace in the tensors' shapes.
    """
    content: dict[str, Any] = {
        part: {
            name: tensor.detach().cpu().contiguous() for name, tensor in getattr(networks, part).state_dict().items()
        }
        for part in _PARTS
    }
    with atomic_path(path) as part_path:
        torch.save({**content, "epoch": epoch, "model": networks.settings.model_dump(mode="json")}, part_path)


def checkpoint_sha256(path: Path | str) -> str:
    """Return the sha256 of a file. Raises ConfigError when there is none."""
    path = Path(path)
    _check_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_file(path: Path) -> None:
    """Recognise what people end up with instead of the weights."""
    if not path.is_file():
        raise ConfigError(
            f"animator weights {path} do not exist. {_OFFICIAL}. "
            "Without it set animator.weights to null, and an animator is trained on this run's own crops"
        )
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512)
    start = head.lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        problem = "is a Git-LFS pointer, not the file it stands for (fetch it with `git lfs pull`)"
    elif start.startswith((b"<!doctype", b"<html", b"<?xml")):
        problem = "is a web page, probably a download's error or confirmation page, saved under the name of the weights"
    elif head[257:262] == b"ustar" or head.startswith(b"\x1f\x8b"):
        problem = "is a tar or gzip archive; the checkpoint is the file that was packed into it"
    elif not start:
        problem = "is empty"
    else:
        return
    raise ConfigError(f"animator weights {path} ({size:,} bytes): this {problem}. {_OFFICIAL}")


def _unpickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file makes torch raise almost anything
        text = str(error)
        # PyTorch's own message goes on to recommend the unsafe way, so only the facts are taken from it.
        if forbidden := re.search(r"GLOBAL (\S+)", text):
            raise ConfigError(
                f"animator weights {path} refer to {forbidden[1]}: more than tensors and plain values, and loading it "
                f"could run code, so the file is refused. {_OFFICIAL}"
            ) from error
        fact = "no valid pickle" if isinstance(error, pickle.UnpicklingError) else text.split(". ")[0]
        raise ConfigError(
            f"animator weights {path} ({path.stat().st_size:,} bytes) are damaged, incomplete or no PyTorch checkpoint "
            f"({type(error).__name__}: {fact}). {_OFFICIAL}"
        ) from error


def _check_layout(path: Path, content: Any) -> None:
    if not isinstance(content, dict):
        raise ConfigError(f"animator weights {path} hold a {type(content).__name__}, not a dictionary of networks")
    for part in _PARTS:
        state = content.get(part)
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            have = ", ".join(map(str, list(content)[:_LISTED])) or "nothing"
            raise ConfigError(
                f"animator weights {path} have no state of {part!r}: an official checkpoint holds "
                f"'generator' and 'kp_detector', this file holds {have}"
            )


def _check_states(path: Path, content: dict[str, Any], networks: FirstOrderMotionModel, model: FommModel) -> None:
    differences = []
    for part in _PARTS:
        wanted, found = getattr(networks, part).state_dict(), content[part]
        differences += [f"{part}.{name} is missing" for name in wanted if name not in found]
        differences += [f"{part}.{name} is not in the model" for name in found if name not in wanted]
        differences += [
            f"{part}.{name} is {tuple(found[name].shape)}, the model's is {tuple(tensor.shape)}"
            for name, tensor in wanted.items()
            if name in found and found[name].shape != tensor.shape
        ]
    settings = _differing_settings(content, model, bool(differences))
    if differences or settings:
        listed = "; ".join(differences[:_LISTED])
        if len(differences) > _LISTED:
            listed += f"; and {len(differences) - _LISTED} more"
        cause = f" Settings that differ: {'; '.join(settings)}." if settings else ""
        raise ConfigError(f"animator weights {path} do not fit animator.model.{cause} {listed}".rstrip())


def _differing_settings(content: dict[str, Any], model: FommModel, shapes_differ: bool) -> list[str]:
    """Say which settings of ``model`` the weights were not made with, as they state it or as their shapes show it."""
    if isinstance(content.get("model"), dict):
        found = _flatten(content["model"])
    elif shapes_differ:
        found = _settings_of(content["generator"], content["kp_detector"])
    else:
        return []
    wanted = _flatten(model.model_dump(mode="json"))
    return [
        f"animator.model.{name} is {wanted[name]} in the config but {value} in the weights"
        for name, value in found.items()
        if name in wanted and wanted[name] != value
    ]


def _settings_of(generator: State, kp_detector: State) -> dict[str, Any]:
    """Read the settings that show in the tensors' shapes; a missing tensor gives 0, which fits no setting."""
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
    """Invert the anti-alias kernel's size, 2·round(2·(1/scale − 1)) + 1; no kernel means scale 1."""
    return 1 / ((_length(state, name, 2) - 1) / 4 + 1) if name in state else 1.0
