"""Weight files of a run, checked before any job, and config lines that pin those named without a sha256."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from deepfakemnist.config.animator import AnimatorSettings
from deepfakemnist.config.base import WeightFile
from deepfakemnist.config.load import Config
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.files import atomic_path
from deepfakemnist.workflow.input_files import InputFiles

#: Below the results.
FILE = "weights.yaml"


def check_weight_pins(settings: AnimatorSettings, files: InputFiles, results: Path) -> str:
    """Compare given weights with their pin; write the lines that pin them to ``weights.yaml`` if there is none.

    Args:
        settings: of the animator.
        files: input files of the run, which hash a file only when its size or time has changed.
        results: folder of the results.

    Returns: a line to print, empty if there is nothing to say.

    Raises: ConfigError for weights with another sha256 than the config expects.
    """
    found = files.sha256(settings.weights)
    if not found:  # no weights, or a job makes them
        return ""
    if settings.weights_sha256 is not None:
        if found != settings.weights_sha256:
            raise ConfigError(
                f"animator.weights {settings.weights} has sha256 {found}, but animator.weights_sha256 is "
                f"{settings.weights_sha256}: get the file again, or pin this one if you trust it"
            )
        return ""
    lines = yaml.safe_dump({"animator": {"weights": str(settings.weights), "weights_sha256": found}}, sort_keys=False)
    text = (
        "# Weights that the config of this run does not pin. Copied into the config, these lines refuse any other\n"
        f"# file, be it damaged or exchanged.\n{lines}"
    )
    path = results / FILE
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        try:
            with atomic_path(path) as part:
                part.write_text(text, encoding="utf-8")
        except OSError as error:  # a dry run of somebody who may only read
            return f"  not pinned, and {path} cannot be written ({error.strerror}): weights_sha256: {found}"
    return f"  not pinned; copy {path} into the config to refuse any other file: weights_sha256: {found}"


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
        if config.animator.needs_training:
            named.append(("animator.train.vgg19", config.animator.train.vgg19))
        named.append(("reenact.lpips", config.reenact.lpips))
        for index, provider in enumerate(config.liveness.providers):
            for name in ("minifasnet_v2", "minifasnet_v1se"):
                named.append((f"liveness.providers.{index}.{name}", getattr(provider, name, None)))
    yield from ((key, file) for key, file in named if isinstance(file, WeightFile))
