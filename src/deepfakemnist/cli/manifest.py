"""``deepfakemnist manifest check``: compare a dataset's manifest with the files on disk."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from deepfakemnist.dataset.check import check_all

#: Kinds of problems in which a file is not what the run wrote.
_REPAIRABLE = ("missing", "truncated", "changed", "damaged_table")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand ``check`` and its arguments."""
    check = parser.add_subparsers(dest="command", required=True, metavar="check").add_parser("check")
    check.add_argument("folder", nargs="?", type=Path, default=Path("results/manifest"), help="folder of the manifest")
    check.add_argument("--root", type=Path, default=Path(), help="folder that the manifest's paths are relative to")
    check.add_argument("--jobs", type=int, default=4, help="files checked in parallel")
    check.add_argument("--decode", action="store_true", help="also decode every video and compare its pixels")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print every problem; return 1 when there are any besides those that the manifest tolerates."""
    check = check_all(arguments.folder, arguments.root, jobs=arguments.jobs, decode=arguments.decode)
    for problem in sorted(check.problems):
        print(f"{problem.kind:17}{problem}")
    for problem in sorted(check.tolerated):
        print(f"tolerated: {problem.kind}: {problem}")
    stored = check.stored
    if parts := stored.part_files:
        print(f"{len(parts)} unfinished files of killed jobs, which nothing reads, e.g. {parts[0]}")
    if stored.unchecked:
        print(
            f"{len(stored.unchecked)} tables and files carry no checksum (written by version 0.2 or earlier), e.g. "
            f"{stored.unchecked[0]}; --decode compares the pixels of the clips among them"
        )
    if check.problems:
        counts = sorted(Counter(problem.kind for problem in check.problems).items())
        print(f"{len(check.problems)} problems: {', '.join(f'{count} {kind}' for kind, count in counts)}")
        if stored.damaged or any(problem.kind in _REPAIRABLE for problem in check.problems):
            print("In a run's results, `deepfakemnist repair` has damaged files made again.")
        return 1
    print(f"{check.videos} videos and {check.frames} frames match the manifest.")
    if stored.tables or stored.files:
        print(f"So do {stored.tables} tables of stages and {stored.files} working files their checksums.")
    return 0
