"""Config of a run, for commands that are given where Snakemake runs, with the same config files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from deepfakemnist.config.load import Config, load_config
from deepfakemnist.errors import ConfigError


def add_config_files(parser: argparse.ArgumentParser) -> None:
    """Add the argument ``--configfile``."""
    parser.add_argument(
        "--configfile", type=Path, nargs="+", default=[], help="config files on top of config/config.yaml"
    )


def config_of(arguments: argparse.Namespace) -> Config:
    """Return the run's config. Raises: ConfigError."""
    return load_config(merged([Path("config/config.yaml"), *arguments.configfile]))


def results_of(config: Config) -> Path:
    """Return the folder of the run's results. Raises: ConfigError if there is none here."""
    results = Path(config.pathvars.get("results", "results"))
    if not results.is_dir():
        raise ConfigError(f"{results} is no folder; run this where snakemake runs, with the same --configfile")
    return results


def merged(paths: Sequence[Path]) -> dict[str, Any]:
    """Return config files merged as Snakemake does: later files override single keys of sections."""
    config: dict[str, Any] = {}
    for path in paths:
        try:
            _update(config, yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        # A file that holds no mapping has no items.
        except (OSError, yaml.YAMLError, AttributeError) as error:
            raise ConfigError(f"cannot read the config file {path}: {error}") from None
    return config


def _update(config: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            _update(config[key], value)
        else:
            config[key] = value
