"""``deepfakemnist gc``: remove what a run does not need any more, and have removed clips made again."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from deepfakemnist.cli.repair import repair_results
from deepfakemnist.cli.run_config import add_config_files, config_of, results_of
from deepfakemnist.dataset.removed_clips import forget_removed, read_removed
from deepfakemnist.errors import ConfigError
from deepfakemnist.workflow.garbage import Garbage, find_garbage, remove_garbage
from deepfakemnist.workflow.orphans import check_not_running
from deepfakemnist.workflow.run_plan import RunPlan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.description = (
        "Remove orphans (see `deepfakemnist orphans`), unfinished files of killed jobs and, with --intermediate or "
        "disk.intermediate: remove, face crops and animations that nothing is to be made from any more. Run it where "
        "snakemake runs, with the same config files. Answers of liveness vendors, weights and detectors stay."
    )
    add_config_files(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would go; change nothing")
    parser.add_argument("--list", action="store_true", help="print the path of every file")
    parser.add_argument(
        "--intermediate", action="store_true", help="intermediate clips too, whatever disk.intermediate says"
    )
    parser.add_argument("--restore", action="store_true", help="have removed clips made again; needs --run")
    parser.add_argument(
        "--run",
        dest="snakemake",
        nargs=argparse.REMAINDER,
        metavar="snakemake …",
        help="with --restore: the command of your runs, e.g. --run snakemake --cores 8; the last option",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Say what goes, and remove it; or have removed clips made again."""
    config = config_of(arguments)
    results = results_of(config)
    if arguments.restore:
        return _restore(results, arguments)
    if not arguments.dry_run:
        check_not_running(Path())
    intermediate = arguments.intermediate or config.disk.intermediate == "remove"
    garbage = find_garbage(RunPlan(config, check_files=False), results, intermediate=intermediate)
    if arguments.list:
        for path in (*garbage.orphans.files, *garbage.parts, *(clip.path for clip in garbage.clips)):
            print(path)
    _show(garbage, results)
    if arguments.dry_run:
        print(f"Nothing was changed; {garbage.bytes / 1e9:.3f} GB would be freed.")
        return 0
    freed = garbage.bytes
    remove_garbage(garbage, results)
    print(f"{freed / 1e9:.3f} GB freed.")
    return 0


def _show(garbage: Garbage, results: Path) -> None:
    print(f"{len(garbage.orphans.files):8,} files that the run no longer plans, {garbage.orphans.bytes / 1e9:.3f} GB")
    for folder in garbage.orphans.waiting:
        print(f"         {folder} is not finished: what its jobs may still take over is kept and not counted")
    print(f"{len(garbage.parts):8,} unfinished files of killed jobs")
    sizes: Counter[str] = Counter()
    for clip in garbage.clips:
        sizes[Path(clip.table).parent.relative_to(results).as_posix()] += clip.bytes
    for stage, size in sizes.items():
        count = sum(Path(clip.table).parent == results / stage for clip in garbage.clips)
        print(f"{count:8,} intermediate clips of {stage}, {size / 1e9:.3f} GB")


def _restore(results: Path, arguments: argparse.Namespace) -> int:
    """Have removed clips made again, by what repairs lost ones."""
    clips = read_removed(results)
    tables = len({clip.table for clip in clips})
    print(f"{len(clips):,} clips of {tables:,} tables were removed, {sum(clip.bytes for clip in clips) / 1e9:.3f} GB")
    if not clips or arguments.dry_run:
        return 0
    if not arguments.snakemake:
        raise ConfigError("--restore needs the command of your runs, e.g. --restore --run snakemake --cores 8")
    forget_removed(results)
    return repair_results(results, arguments.snakemake)
