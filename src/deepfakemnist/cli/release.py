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
    identities = arguments.identities or arguments.manifest.parent / "audit/identities.tsv"
    if arguments.identities and not identities.is_file():
        raise ConfigError(f"--identities: {str(identities)!r} is not a file")
    made = write_release(
        arguments.manifest, arguments.out, settings, identities=identities if identities.is_file() else None
    )
    print(f"{made} is ready.")
    return 0
