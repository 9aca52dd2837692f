"""LivePortrait's weights: a folder with the five official files, or one safetensors file with the same tensors.

The files may lie in the folder itself or in the official subfolders, as ``.pth`` or converted to ``.safetensors``. One
digest stands for all of them: the sha256 of the sorted lines ``<file name> <sha256 of the file>``, each ended by a line
feed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from deepfakemnist.animate.checkpoints import Checkpoint, load_into, read_bare_state, read_states
from deepfakemnist.animate.liveportrait.build import NETWORKS, PARTS, PERCEPTRONS, build
from deepfakemnist.animate.liveportrait.network import LivePortrait
from deepfakemnist.animate.liveportrait.spectral_norm import fold_spectral_norms
from deepfakemnist.animate.official_files import DIGEST_FACT, FILES_FACT, are_official, official_files
from deepfakemnist.config.animators.liveportrait import FILES, SUBFOLDERS, find_weight_files
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.checksums import digest_of_files, file_facts

log = logging.getLogger(__name__)

NAME = "liveportrait"
_STITCHING = "stitching_retargeting_module"
#: A common conversion to safetensors names the perceptrons so (kijai/ComfyUI-LivePortraitKJ).
_CONVERTED = "_module"
_PREFIX = "detector."


@dataclass(frozen=True, eq=False)
class Weights:
    """Networks with their weights, and where these are from."""

    networks: LivePortrait
    sha256: str
    official: bool
    """Whether all of them are from the files that the authors published, by digest."""


def load_weights(path: Path | str, sha256: str | None = None) -> Weights:
    """Return the networks on the CPU, float32, in evaluation mode.

    Args:
        path: folder or file.
        sha256: expected digest; see :func:`weights_sha256`. None: a file that has the name and size of an official one
            must be that.

    Raises: ConfigError for missing, damaged or other weights, see ``deepfakemnist.animate.checkpoints``.
    """
    path = Path(path)
    checkpoint = read_weights(path, sha256)
    networks = networks_of(checkpoint)
    official = are_official(NAME, checkpoint.facts)
    log.info("loaded %s LivePortrait weights %s", "the official" if official else "unknown", path)
    digest = checkpoint.facts[DIGEST_FACT] if path.is_dir() else file_facts(path).sha256
    return Weights(networks, digest, official)


def networks_of(checkpoint: Checkpoint) -> LivePortrait:
    """Return the networks of a checkpoint. Raises ConfigError where the tensors are not those of one LivePortrait."""
    where = f"animator weights {checkpoint.path}"
    networks = build(checkpoint.states, str(checkpoint.path))
    for part in NETWORKS:
        load_into(getattr(networks, part), checkpoint.states[part], f"{where}, {part}")
    for part, role in PERCEPTRONS.items():
        load_into(getattr(networks.retargeters, role), checkpoint.states[part], f"{where}, {part}")
    return networks.eval().requires_grad_(False)


def architecture(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the sizes of a checkpoint as plain values. Raises ConfigError, see :func:`networks_of`."""
    networks = networks_of(checkpoint)
    counts = {part: sum(value.numel() for value in getattr(networks, part).parameters()) for part in NETWORKS}
    return {"keypoints": networks.keypoints, "upscale": networks.upscale, "parameters": counts}


def read_weights(path: Path | str, sha256: str | None = None) -> Checkpoint:
    """Read a folder or file; spectral norms are folded, so that packed files hold the weights that are used.

    Raises: ConfigError, see :func:`load_weights`.
    """
    path = Path(path)
    if not path.is_dir():
        return _canonical(read_states(path, PARTS, animator=NAME, sha256=sha256))
    files = weight_files(path)
    digests = {file.name: file_facts(file).sha256 for file in files.values()}
    if sha256 is not None and (found := digest_of_files(digests)) != sha256:
        raise ConfigError(
            f"animator weights {path} have sha256 {found}, but the config expects {sha256}. That of a folder is the "
            "sha256 of the sorted lines '<file name> <sha256>' of its five files"
        )
    # Files that the config's digest covers need not be the official ones.
    expected = {part: digests[file.name] if sha256 else None for part, file in files.items()}
    read = [read_bare_state(files[part], part, animator=NAME, sha256=expected[part]) for part in NETWORKS] + [
        _read_perceptrons(files[_STITCHING], expected[_STITCHING])
    ]
    states = {part: state for checkpoint in read for part, state in checkpoint.states.items()}
    return _canonical(
        Checkpoint(
            path,
            read[0].layout,
            states,
            facts={FILES_FACT: digests, DIGEST_FACT: digest_of_files(digests)},
            others=tuple(name for checkpoint in read for name in checkpoint.others),
            parallel=any(checkpoint.parallel for checkpoint in read),
            stored_as="+".join(sorted({checkpoint.stored_as for checkpoint in read})),
        )
    )


def weights_sha256(path: Path | str) -> str:
    """Return the digest of a file, or that of a folder: of the sorted lines ``<file name> <sha256>`` of its files.

    Raises: ConfigError for a folder that lacks one.
    """
    path = Path(path)
    if not path.is_dir():
        return file_facts(path).sha256
    return digest_of_files({file.name: file_facts(file).sha256 for file in weight_files(path).values()})


def weight_files(folder: Path) -> dict[str, Path]:
    """Return the five files of a folder, by their names without suffix. Raises ConfigError that names missing ones."""
    found = find_weight_files(folder)
    if missing := [f"{name}.pth" for name in FILES if name not in found]:
        raise ConfigError(
            f"animator weights {folder} lack {', '.join(missing)}; looked in the folder and in "
            f"{', '.join(SUBFOLDERS[1:])}. {official_files(NAME)}"
        )
    return found


def _read_perceptrons(path: Path, sha256: str | None) -> Checkpoint:
    """Read the three state dicts of the fifth file, under either name of a conversion; the file may hold more."""
    converted = [part + _CONVERTED for part in PERCEPTRONS]
    checkpoint = read_states(path, (), optional=[*PERCEPTRONS, *converted], animator=NAME, sha256=sha256)
    states = {part.removesuffix(_CONVERTED): state for part, state in checkpoint.states.items()}
    if missing := [part for part in PERCEPTRONS if part not in states]:
        have = ", ".join([*states, *checkpoint.others][:5]) or "nothing"
        raise ConfigError(
            f"animator weights {path} lack {', '.join(missing)}; the official {_STITCHING}.pth has "
            f"{', '.join(PERCEPTRONS)}, this file {have}"
        )
    checkpoint.states.clear()
    checkpoint.states.update(states)
    return checkpoint


def _canonical(checkpoint: Checkpoint) -> Checkpoint:
    """Fold spectral norms, and prefix the motion extractor's names if a conversion dropped that."""
    states, path = checkpoint.states, str(checkpoint.path)
    states["spade_generator"] = fold_spectral_norms(states["spade_generator"], path)
    states["motion_extractor"] = _prefixed(states["motion_extractor"])
    return checkpoint


def _prefixed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if any(name.startswith(_PREFIX) for name in state):
        return dict(state)
    return {_PREFIX + name: tensor for name, tensor in state.items()}
