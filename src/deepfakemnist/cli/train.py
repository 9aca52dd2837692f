"""``deepfakemnist train``: training of one detector outside the workflow, on one GPU or on several through torchrun."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError
from torch import distributed

from deepfakemnist.cli.run_config import merged
from deepfakemnist.config.dataset import CompressSettings
from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.config.preparation import Preparation
from deepfakemnist.devices.launch import run_rank
from deepfakemnist.errors import ConfigError
from deepfakemnist.training.loop import train_detector


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments and ``run``."""
    parser.epilog = "several GPUs: torchrun --nproc-per-node N -m deepfakemnist.cli train ..."
    parser.add_argument("manifest", type=Path, help="folder with videos.parquet and frames.parquet")
    parser.add_argument("output", type=Path, help="folder for checkpoint.safetensors, history.tsv and card.md")
    parser.add_argument("--recipe", type=Path, required=True, help="YAML: one entry of training.detectors")
    parser.add_argument(
        "--trained-on", default="mixed", help="training set, as in training.trained_on (default: mixed)"
    )
    parser.add_argument(
        "--run-config",
        type=Path,
        nargs="+",
        default=[],
        metavar="YAML",
        help="config files of the run that made the manifest, later ones override: the checkpoint then states how its "
        "clips were cropped, encoded and sampled, which predict repeats",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="frame-decoding workers per training process")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train and return 0. Raises: ConfigError for an invalid recipe, and as training.loop.train_detector does."""
    try:
        recipe = DetectorTraining.model_validate(yaml.safe_load(arguments.recipe.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"{arguments.recipe}: {error}") from error
    if not arguments.run_config:
        print(
            "deepfakemnist train: without --run-config the checkpoint does not state how its clips were prepared, and "
            "predict will assume the defaults",
            file=sys.stderr,
        )
    arguments.output.mkdir(parents=True, exist_ok=True)
    work = {
        "index": arguments.manifest / "frames.parquet",
        "videos": arguments.manifest / "videos.parquet",
        "checkpoint": arguments.output / "checkpoint.safetensors",
        "history": arguments.output / "history.tsv",
        "card": arguments.output / "card.md",
        "settings": recipe,
        "trained_on": arguments.trained_on,
        "seed": arguments.seed,
        "device": arguments.device,
        "workers": arguments.workers,
        "preparation": _preparation(arguments.run_config),
    }
    if distributed.is_torchelastic_launched():
        run_rank(train_detector, None, work)
    else:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        train_detector(**work)
    return 0


def _preparation(files: Sequence[Path]) -> Preparation | None:
    """Return the preparation that config files state together, None for no file."""
    if not files:
        return None
    try:
        stated = merged(files)
    except ConfigError as error:
        raise ConfigError(f"--run-config: {error}") from error
    sources = stated.get("sources") or {}
    clips = "released" if sources.get("released") else "crops" if sources.get("cropped") else "cropped_here"
    parts = {"crop": stated.get("crop") or {}, "frames": {**(stated.get("frames") or {}), "png": False}}
    try:
        qualities = CompressSettings.model_validate(stated.get("compress") or {}).qualities
        return Preparation.model_validate({"clips": clips, "qualities": qualities, **parts})
    except ValidationError as error:
        raise ConfigError(f"--run-config {' '.join(map(str, files))}: {error}") from error
