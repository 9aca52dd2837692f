"""``deepfakemnist manifest check``: compare a dataset's manifest with the files on disk."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from deepfakemnist.dataset.check import check_dataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand ``check`` and its arguments."""
    check = parser.add_subparsers(dest="command", required=True, metavar="check").add_parser("check")
    check.add_argument("folder", nargs="?", type=Path, default=Path("results/manifest"), help="folder of the manifest")
    check.add_argument("--root", type=Path, default=Path(), help="folder that the manifest's paths are relative to")
    check.add_argument("--jobs", type=int, default=4, help="files checked in parallel")
    check.add_argument("--decode", action="store_true", help="also decode every video and compare its pixels")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print every problem; return 1 when there are any."""
    problems = check_dataset(arguments.folder, arguments.root, jobs=arguments.jobs, decode=arguments.decode)
    for problem in sorted(problems):
        print(f"{problem.kind:17}{problem}")
    if problems:
        counts = sorted(Counter(problem.kind for problem in problems).items())
        print(f"{len(problems)} problems: {', '.join(f'{count} {kind}' for kind, count in counts)}")
        return 1
    videos, frames = (
        pq.read_metadata(path).num_rows if (path := arguments.folder / name).is_file() else 0
        for name in ("videos.parquet", "frames.parquet")
    )
    print(f"{videos} videos and {frames} frames match the manifest.")
    return 0
