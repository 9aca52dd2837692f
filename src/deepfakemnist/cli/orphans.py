"""``deepfakemnist orphans``: list, and on request remove, results that the run no longer plans."""

from __future__ import annotations

import argparse
from pathlib import Path

from deepfakemnist.cli.run_config import add_config_files, config_of, results_of
from deepfakemnist.workflow.orphans import check_not_running, find_orphans, remove
from deepfakemnist.workflow.run_plan import RunPlan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.description = (
        "List tables, journals and videos of sources, shards and providers that left the plan. Run it where snakemake "
        "runs, with the same config files. Answers of liveness vendors, weights and detectors are never listed."
    )
    add_config_files(parser)
    parser.add_argument("--remove", action="store_true", help="delete what is listed")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print every orphan and their size; delete them if asked."""
    config = config_of(arguments)
    results = results_of(config)
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
