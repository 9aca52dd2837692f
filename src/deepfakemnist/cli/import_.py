"""``deepfakemnist import``: import a released dataset into the project's manifest format."""

from __future__ import annotations

import argparse
from pathlib import Path

from deepfakemnist.config.dataset import FrameSettings
from deepfakemnist.dataset.face_boxes import best_face
from deepfakemnist.dataset.imports import import_dataset
from deepfakemnist.ids import printable
from deepfakemnist.tables.files import count_rows, read_rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "folder", type=Path, help="a release of this project, DeepFakeMnist+, or a tree laid out like FaceForensics++"
    )
    parser.add_argument("out", type=Path, help="folder to write manifest/ and frames/ to")
    parser.add_argument("--frames", type=int, default=16, help="still frames per clip")
    parser.add_argument("--faces", action="store_true", help="crop frames to 1.3 times the face box")
    parser.add_argument("--seed", type=int, default=2021, help="seed of the splits where the dataset has none")
    parser.add_argument("--jobs", type=int, default=4, help="files verified in parallel")
    parser.add_argument("--exclude", type=Path, help="TSV of videos and people to leave out")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Import the dataset; print the files that are unusable and the number of videos."""
    settings = FrameSettings(per_clip=arguments.frames, region="face" if arguments.faces else "full")
    manifest = import_dataset(
        arguments.folder,
        arguments.out,
        settings,
        seed=arguments.seed,
        jobs=arguments.jobs,
        find_face=best_face() if arguments.faces else None,
        exclude=arguments.exclude,
    )
    ledger = read_rows(manifest / "ledger.parquet", ["status", "reason", "detail"])
    for row in ledger:
        if row["status"] != "ok":
            print(printable(f"{row['status']}: {row['reason']}: {row['detail']}"))
    rows = count_rows(manifest / "videos.parquet")
    print(f"{rows} videos are in {manifest}; {sum(row['status'] != 'ok' for row in ledger)} are unusable.")
    return 0
