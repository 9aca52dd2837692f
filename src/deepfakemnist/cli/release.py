"""``deepfakemnist release``: write a release folder from a finished run."""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml
from pydantic import ValidationError

from deepfakemnist.config.dataset import ReleaseSettings
from deepfakemnist.dataset.release import write_release
from deepfakemnist.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("out", type=Path, help="folder to write; an existing one is replaced")
    parser.add_argument("--manifest", type=Path, default=Path("results/manifest"), help="folder of the manifest")
    parser.add_argument(
        "--identities",
        type=Path,
        help="findings of the identity audit; default: audit/identities.tsv beside the manifest",
    )
    parser.add_argument(
        "--audit", type=Path, help="table of the confound audit; default: audit/audit.tsv beside the manifest"
    )
    parser.add_argument("--settings", type=Path, help="YAML file with the keys of the config section `release`")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the release and print its folder."""
    raw = yaml.safe_load(arguments.settings.read_text(encoding="utf-8")) if arguments.settings else {}
    try:
        settings = ReleaseSettings.model_validate(raw or {})
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
        raise ConfigError(f"{arguments.settings}: " + "; ".join(lines)) from None
    made = write_release(
        arguments.manifest,
        arguments.out,
        settings,
        identities=_table("identities", arguments.identities, arguments.manifest),
        audit=_table("audit", arguments.audit, arguments.manifest),
    )
    print(f"{made} is ready.")
    return 0


def _table(name: str, given: Path | None, manifest: Path) -> Path | None:
    """Return the table of an audit: the given one, else the run's, or None when it has none."""
    if given is not None and not given.is_file():
        raise ConfigError(f"--{name}: {str(given)!r} is not a file")
    path = given or manifest.parent / f"audit/{name}.tsv"
    return path if path.is_file() else None
