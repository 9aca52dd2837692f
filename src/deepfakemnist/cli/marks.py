"""``deepfakemnist marks``: show the synthetic-media marks of video files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from deepfakemnist.config.base import MediaLimits
from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.limits import limited
from deepfakemnist.media.marks import read_marks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("files", nargs="+", type=Path, help="MP4 files")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print one line of JSON per file: synthetic, comment, c2pa. Return 1 when a file cannot be read."""
    failed = 0
    for path in arguments.files:
        try:
            with limited(MediaLimits(), path):
                marks = read_marks(path)
        except (Failed, Rejected) as error:
            print(json.dumps({"file": str(path), "error": error.detail.removeprefix(f"{path}: ")}))
            failed = 1
            continue
        shown = {"synthetic": marks.synthetic, "comment": marks.comment, "c2pa": marks.credentials}
        print(json.dumps({"file": str(path), **shown}))
    return failed
