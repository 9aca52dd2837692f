"""``deepfakemnist repair``: have damaged results made again, and nothing else."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.dataset.repair import Repair, find_repairs, finish_repair, remove_damaged
from deepfakemnist.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.description = (
        "Verify everything below the results and list what is damaged. With a snakemake command: "
        "remove it, and run the command with the removed tables as its targets."
    )
    parser.add_argument(
        "results", nargs="?", type=Path, default=Path("results"), help="folder of the results, as in the config"
    )
    parser.add_argument("--jobs", type=int, default=4, help="files verified in parallel")
    parser.add_argument("--decode", action="store_true", help="decode clips of version 0.2, which have no checksum")
    parser.add_argument(
        "--run",
        dest="snakemake",
        nargs=argparse.REMAINDER,
        metavar="snakemake …",
        help="repair with the command of your runs, e.g. --run snakemake --cores 8; the last option",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List the damage, or repair it; return 1 when damage is left."""
    return repair_results(arguments.results, arguments.snakemake, jobs=arguments.jobs, decode=arguments.decode)


def repair_results(results: Path, snakemake: Sequence[str] | None, jobs: int = 4, decode: bool = False) -> int:
    """List the damage below the results; with the command of a run, repair it. Return 1 when damage is left.

    Raises: ConfigError when the run fails, or while a job writes.
    """
    repair = find_repairs(results, jobs=jobs, decode=decode)
    _show(repair)
    if not repair.targets and not (snakemake and repair.part_files):
        return 0
    if not snakemake:
        print("Nothing was changed. To repair, append the command of your runs, e.g. --run snakemake --cores 8")
        return 1
    for path in remove_damaged(repair):
        print(f"removed {path}")
    if not repair.targets:
        return 0
    command = [*snakemake, "--", *repair.targets]
    print(f"running {' '.join(command)}", flush=True)
    if status := subprocess.run(command, check=False).returncode:
        raise ConfigError(f"{command[0]} ended with status {status}; see above, then give the same command again")
    same, other = finish_repair(repair)
    print(f"{len(same)} tables are as they were before the damage; nothing made from them is out of date.")
    if other:
        print(f"{len(other)} are new or differ, so the next run makes again what depends on them: {', '.join(other)}")
    return 0


def _show(repair: Repair) -> None:
    for damage in sorted(repair.damaged):
        again = "" if damage.path == damage.table else f" (made again with {damage.table})"
        print(f"{damage.kind:17}{damage.path}: {damage.detail}{again}")
    if repair.part_files:
        print(f"{len(repair.part_files)} unfinished files of killed jobs, e.g. {repair.part_files[0]}")
    if repair.pending:
        print(f"{len(repair.pending)} tables were removed by an earlier repair and have not been made again")
    files = len({damage.path for damage in repair.damaged})
    print(f"{files} damaged files; {len(repair.targets)} tables to be made again.")
