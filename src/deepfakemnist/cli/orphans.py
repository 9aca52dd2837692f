"""``deepfakemnist orphans``: list, and on request remove, results that the run no longer plans."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from deepfakemnist.config.load import load_config
from deepfakemnist.errors import ConfigError
from deepfakemnist.workflow.orphans import check_not_running, find_orphans, remove
from deepfakemnist.workflow.run_plan import RunPlan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.description = (
        "List tables, journals and videos of sources, shards and providers that left the plan. Run it where snakemake "
        "runs, with the same config files. Answers of liveness vendors, weights and detectors are never listed."
    )
    parser.add_argument(
        "--configfile", type=Path, nargs="+", default=[], help="config files on top of config/config.yaml"
    )
    parser.add_argument("--remove", action="store_true", help="delete what is listed")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print every orphan and their size; delete them if asked."""
    config = load_config(merged([Path("config/config.yaml"), *arguments.configfile]))
    results = Path(config.pathvars.get("results", "results"))
    if not results.is_dir():
        raise ConfigError(f"{results} is no folder; run this where snakemake runs, with the same --configfile")
    if arguments.remove:
        check_not_running(Path())
    orphans = find_orphans(RunPlan(config, check_files=False), results)
    for path in orphans.files:
        print(path)
    for folder in orphans.waiting:
        print(f"{folder} is not finished: what its jobs may still take over is kept and not listed")
    size = f"{len(orphans.files)} files, {orphans.bytes / 1e6:.1f} MB"
    if arguments.remove:
        remove(orphans, results)
        print(f"{size}, removed.")
    else:
        print(f"{size}, that the run no longer plans." + (" --remove deletes them." if orphans.files else ""))
    return 0


def merged(paths: list[Path]) -> dict[str, Any]:
    """Return config files merged as Snakemake does: later files override single keys of sections."""
    config: dict[str, Any] = {}
    for path in paths:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"cannot read the config file {path}: {error}") from None
        _update(config, content)
    return config


def _update(config: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            _update(config[key], value)
        else:
            config[key] = value
