"""Recognition of run directories that an earlier version wrote, and the commands to go on from there."""

from __future__ import annotations

import shlex
from pathlib import Path

from deepfakemnist.errors import ConfigError

#: Folders of version 0.1 below the results → their names since 0.2.
_RENAMED = {
    "drive": "extract_motion",
    "gpu/drive": "gpu/extract_motion",
    "enter": "import_released",
    "evaluation/disturbed": "evaluation/perturbed",
}
_TRAINED = "animator/checkpoint.safetensors"
#: Default values of the config, which a user's own config only adds to.
DEFAULTS = Path("config/config.yaml")


def hint_at_defaults(directory: Path, is_module: bool = False) -> str:
    """Return what to do about an invalid config where the working directory has no defaults; else an empty text.

    Args:
        directory: the working directory of the run.
        is_module: whether another workflow uses this one, and gives it the whole config.
    """
    if is_module or (directory / DEFAULTS).is_file():
        return ""
    return (
        f"\nThe working directory {directory.absolute()} has no {DEFAULTS}, which holds the default of every key. Copy "
        "the folder config/ of the workflow there, or run without --directory"
    )


def check_run_directory(results: Path, answers: Path | None = None) -> None:
    """Refuse to run in a directory whose folders have the names of version 0.1.

    Every table would be made again, next to the old folders, which nothing reads any more. What cost money or days can
    be carried over, and the message says how.

    Args:
        results: folder of the results.
        answers: the config's ``liveness.answers``; None: among the results.

    Raises: ConfigError, with the commands to go on.
    """
    old = [folder for folder in _RENAMED if (results / folder).is_dir()]
    if not old:
        return
    aside = next(path for path in (Path(f"{results}-0.1{suffix}") for suffix in ("", *"abcdef")) if not path.exists())
    lines = [
        f"{results} holds a run of version 0.1: "
        + ", ".join(f"{folder} is called {_RENAMED[folder]} now" for folder in old)
        + ". This version makes every table again. To go on, either move the old run away:",
        f"    mv {shlex.quote(str(results))} {shlex.quote(str(aside))}",
        "or leave it, since its manifest names its files by their path, and write this one elsewhere, in the config:",
        f"    pathvars: {{results: {results}-0.2}}",
    ]
    if answers is None and (results / "liveness_answers").is_dir():
        lines += [
            f"Paid answers of liveness vendors stay valid; in the config ({results}/… if you leave the run in place):",
            f"    liveness: {{answers: {aside}/liveness_answers}}",
        ]
    if (results / _TRAINED).is_file():
        lines += ["So does a trained animator:", f"    animator: {{weights: {aside}/{_TRAINED}}}"]
    raise ConfigError("\n".join(lines))
