"""Config lines that pin weight files by their sha256, written where the config names weights without one."""

from __future__ import annotations

from pathlib import Path

import yaml

from deepfakemnist.config.animator import AnimatorSettings
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
