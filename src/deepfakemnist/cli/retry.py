"""``deepfakemnist retry``: try failed videos again, once their cause is gone."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from deepfakemnist.dataset.repair import finish_repair, remove_damaged
from deepfakemnist.dataset.retry import FailedRows, find_failed, retries
from deepfakemnist.errors import ConfigError

_DRY_RUN = ("-n", "--dry-run", "--dryrun")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.description = (
        "List the failed rows of finished tables, and which of them are worth another try because their reason may "
        "have passed. With a snakemake command: run the jobs of these shards again, which keep every row that did not "
        "fail and ask no vendor about a clip whose answer is stored; then all that depends on what has changed."
    )
    parser.add_argument(
        "results", nargs="?", type=Path, default=Path("results"), help="folder of the results, as in the config"
    )
    parser.add_argument(
        "--reason", action="append", default=[], help="rows of this reason only, also a final one; may be repeated"
    )
    parser.add_argument(
        "--stage", action="append", default=[], metavar="STAGE", help="e.g. crop or liveness/baidu; may be repeated"
    )
    parser.add_argument("--all", action="store_true", help="every failed row, whatever its reason")
    parser.add_argument("--dry-run", action="store_true", help="list, and print the commands; change nothing")
    parser.add_argument(
        "--run",
        dest="snakemake",
        nargs=argparse.REMAINDER,
        metavar="snakemake …",
        help="try again with the command of your runs, e.g. --run snakemake --cores 8; the last option",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List failed rows or try them again; return 1 when rows that are worth another try are left."""
    search = partial(
        find_failed, arguments.results, reasons=arguments.reason, stages=arguments.stage, every=arguments.all
    )
    found = search()
    repair = retries(arguments.results, found)
    _show(found)
    if not repair.targets:
        return 0
    command = list(arguments.snakemake or ())
    options = command[: command.index("--")] if "--" in command else command
    first = [*options, "--", *repair.targets]
    if not command:
        print("Nothing was changed. To try again, append the command of your runs, e.g. --run snakemake --cores 8")
        return 1
    if arguments.dry_run or any(word in _DRY_RUN for word in command):
        print(f"Nothing was changed. Would remove the {len(repair.targets)} tables and run:")
        print(f"  {' '.join(first)}\n  {' '.join(command)}")
        return 1
    for path in remove_damaged(repair):
        print(f"removed {path}")
    _run(first)
    same, other = finish_repair(repair)
    print(f"{len(same)} tables came out as they were; nothing made from them is out of date.")
    if other:
        print(f"{len(other)} differ: {', '.join(other)}")
        _run(command)
    left = _chosen(search())
    print(f"{left} of {_chosen(found)} rows failed again.")
    return int(left > 0)


def _run(command: Sequence[str]) -> None:
    print(f"running {' '.join(command)}", flush=True)
    if status := subprocess.run(command, check=False).returncode:
        raise ConfigError(f"{command[0]} ended with status {status}; see above, then give the same command again")


def _chosen(found: Sequence[FailedRows]) -> int:
    return sum(one.rows for one in found if one.chosen)


def _show(found: Sequence[FailedRows]) -> None:
    for one in found:
        print(f"{'again' if one.chosen else 'final':6}{one.table}: {one.rows} × {one.reason}")
    tables = len({one.table for one in found if one.chosen})
    print(f"{sum(one.rows for one in found)} failed rows; {_chosen(found)} in {tables} tables to be tried again.")
