"""Weight files of a run, checked before any job, and config lines that pin those named without a sha256."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from deepfakemnist.config.animators.base import AnimatorSettings, NetworkSettings
from deepfakemnist.config.base import WeightFile
from deepfakemnist.config.load import Config
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.files import atomic_path
from deepfakemnist.workflow.input_files import InputFiles

#: Below the results.
FILE = "weights.yaml"


def check_weight_pins(animators: Sequence[AnimatorSettings], files: InputFiles, results: Path) -> str:
    """Compare given weights with their pins; write the lines that pin the others to ``weights.yaml``.

    Args:
        animators: of the run.
        files: input files of the run, which hash a file only when its size or time has changed.
        results: folder of the results.

    Returns: a line to print, empty if there is nothing to say.

    Raises: ConfigError for weights with another sha256 than the config expects.
    """
    unpinned = []
    for animator in animators:
        if not isinstance(animator, NetworkSettings) or animator.weights is None:
            continue
        found = files.sha256_of_weights(animator.weight_files)
        if not found:  # a job makes them
            continue
        if animator.weights_sha256 is None:
            unpinned.append({"label": animator.named, "weights": str(animator.weights), "weights_sha256": found})
        elif found != animator.weights_sha256:
            raise ConfigError(
                f"weights {animator.weights} of animator {animator.named} have sha256 {found}, but weights_sha256 is "
                f"{animator.weights_sha256}: get the file again, or pin this one if you trust it"
            )
    if not unpinned:
        return ""
    alone = {"animator": {key: value for key, value in unpinned[0].items() if key != "label"}}
    lines = yaml.safe_dump(alone if len(animators) == 1 else {"animators": unpinned}, sort_keys=False)
    text = (
        "# Weights that the config of this run does not pin. Copied into its entries of animators, weights_sha256\n"
        f"# refuses any other file, be it damaged or exchanged.\n{lines}"
    )
    digests = ", ".join(f"weights_sha256: {one['weights_sha256']} of {one['label']}" for one in unpinned)
    path = results / FILE
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        try:
            with atomic_path(path) as part:
                part.write_text(text, encoding="utf-8")
        except OSError as error:  # a dry run of somebody who may only read
            return f"  not pinned, and {path} cannot be written ({error.strerror}): {digests}"
    return f"  not pinned; copy {path} into the config to refuse any other file: {digests}"


def check_weight_files(config: Config, files: InputFiles) -> None:
    """Compare the weight files that the config pins with their sha256, before a job finds out after hours.

    Args:
        config: the run's config.
        files: see :func:`check_weight_pins`.

    Raises: ConfigError that lists the files that are missing or differ.
    """
    problems = []
    for key, file in _pinned(config):
        found = files.sha256(file.path)
        if not file.path.is_file():
            problems.append(f"{key}: {str(file.path)!r} is not a file")
        elif found and found != file.sha256:  # not known of a result, which another job may still write
            problems.append(f"{key}: {file.path} has sha256 {found}, but the config expects {file.sha256}")
    if problems:
        raise ConfigError("weight files of the config:\n  " + "\n  ".join(problems))


def _pinned(config: Config) -> Iterator[tuple[str, WeightFile]]:
    """Yield config key and file of the weights that jobs of the run read."""
    named: list[tuple[str, object]] = [
        (f"training.detectors.{index}.weights", detector.weights)
        for index, detector in enumerate(config.training.detectors)
    ]
    if config.sources.released is None:  # nothing is animated
        if config.trained_animator is not None:
            named.append(("animator.train.vgg19", config.trained_animator.train.vgg19))
        named.append(("reenact.lpips", config.reenact.lpips))
        for index, provider in enumerate(config.liveness.providers):
            for name in ("minifasnet_v2", "minifasnet_v1se"):
                named.append((f"liveness.providers.{index}.{name}", getattr(provider, name, None)))
    yield from ((key, file) for key, file in named if isinstance(file, WeightFile))
