"""Shared batch norms in Meso4: the original network compared with the common port, and the paper's 60 % accuracy.

    python benchmarks/meso_batchnorm.py                     synthetic actors; writes benchmarks/meso_batchnorm.json
    python benchmarks/meso_batchnorm.py --manifest FOLDER   train and test frames of a run; prints only

Both networks are trained on the same frames with the same recipe and seeds by the project's training loop. The same
checkpoint then scores the frames of other people in three ways: ``eval``, with running statistics, the usual way;
``batch``, with the statistics of balanced batches, as in training but without dropout; and ``own``, with statistics
recomputed over the training frames, one set per use of a norm. If eval falls behind batch and own catches up, the
running statistics are wrong, not what the network has learned. Two training lengths separate statistics that lag
(Keras's momentum of 0.99 forgets its initial values slowly) from those that never fit.

The frames: synthetic actors, each rendered, and each animated by the committed compact animator with the motion of the
next one; every frame of both kinds is one H.264 encode at crf 23, downscaled. People of train are not in test.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepfakemnist.actors.bank import load_bank
from deepfakemnist.actors.cast import CastSettings, film, sources
from deepfakemnist.animate.fomm.animator import FommAnimator
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.dataset.training_sets import select_rows
from deepfakemnist.detectors.base import Detector
from deepfakemnist.evaluation import metrics
from deepfakemnist.media.frames import ROW_GROUP, encode_image
from deepfakemnist.tables.dataset_schemas import FRAME_INDEX, VIDEOS
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import FRAMES
from deepfakemnist.training.checkpoint import load_checkpoint
from deepfakemnist.training.data import FrameDataset, read_index
from deepfakemnist.training.loop import train_detector
from deepfakemnist.training.robustness import perturb

ROOT = Path(__file__).parents[1]
NETS, SEEDS, EPOCHS, BATCH, IMAGE_SIZE = ("meso4", "meso4_sharedbn"), (0, 1, 2), (30, 100), 16, 64
PEOPLE, TEST_PEOPLE, FILMED, EVERY = 20, 8, 16, 2
SIZE, CPU = (IMAGE_SIZE, IMAGE_SIZE), torch.device("cpu")
Scores = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, help="folder with videos.parquet and frames.parquet of a run")
    parser.add_argument("--trained-on", default="c23")
    parser.add_argument("--epochs", type=int, nargs="+", default=EPOCHS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        manifest = arguments.manifest or make_manifest(Path(name))
        frames = read_index(manifest / "frames.parquet", manifest / "videos.parquet")
        parts = {split: select_rows(frames, split, arguments.trained_on) for split in ("train", "test")}
        result: dict[str, Any] = {
            "what": "accuracy of one checkpoint with running, batch and newly gathered statistics of its batch norms",
            "data": "a manifest" if arguments.manifest else "synthetic actors",
            "frames": {split: part.num_rows for split, part in parts.items()},
            "people": {split: len(set(part["person_id"].to_pylist())) for split, part in parts.items()},
            "share_of_fakes": {
                split: round(float(np.mean(part["label"].to_numpy())), 3) for split, part in parts.items()
            },
            "recipe": {"epochs": arguments.epochs, "batch_size": BATCH, "image_size": IMAGE_SIZE, "seeds": SEEDS},
        }
        for net in NETS:
            for epochs in arguments.epochs:
                runs = [
                    score_statistics(train(net, manifest, arguments.trained_on, seed, epochs, Path(name)), parts)
                    for seed in SEEDS
                ]
                result[f"{net}, {epochs} epochs"] = {
                    way: {value: summary([run[way][value] for run in runs]) for value in runs[0][way]}
                    for way in runs[0]
                }
    text = json.dumps(result, indent=2)
    print(text)
    if not arguments.manifest:
        Path(__file__).with_suffix(".json").write_text(text + "\n")


def summary(values: list[float]) -> Scores:
    return {"mean": round(statistics.mean(values), 3), "min": round(min(values), 3), "max": round(max(values), 3)}


def train(net: str, manifest: Path, trained_on: str, seed: int, epochs: int, folder: Path) -> Detector:
    """Train and return the last epoch's detector in eval mode; without val frames there is no model selection."""
    recipe = DetectorTraining(
        name=net, image_size=IMAGE_SIZE, epochs=epochs, batch_size=BATCH, learning_rate=1e-3, optimizer="adam",
        schedule="constant", warm_up=0.0,
    )  # fmt: skip
    paths = folder / f"{net}{seed}.safetensors", folder / f"{net}{seed}.tsv"
    only_train = folder / "only_train.parquet"
    index = pq.read_table(manifest / "frames.parquet")
    pq.write_table(index.filter(pc.not_equal(index["split"], "val")), only_train)
    train_detector(only_train, manifest / "videos.parquet", *paths, recipe, trained_on, seed, "cpu")
    return load_checkpoint(paths[0], CPU).detector


def score_statistics(detector: Detector, parts: dict[str, pa.Table]) -> dict[str, Scores]:
    """Return metrics of the same weights with the three kinds of statistics on test, and with eval on train."""
    pixels = {split: stacked(part) for split, part in parts.items()}
    labels = {split: part["label"].to_numpy().astype(int) for split, part in parts.items()}
    own = with_own_norms(detector, pixels["train"])
    found = {
        "eval": logits_of(detector, pixels["test"]),
        "batch": batch_logits(detector, pixels["test"], labels["test"]),
        "own": logits_of(own, pixels["test"]),
    }
    ways = {way: values_of(labels["test"], logits) for way, logits in found.items()}
    return {**ways, "eval_on_train": values_of(labels["train"], logits_of(detector, pixels["train"]))}


def values_of(labels: NDArray[np.int64], logits: NDArray[np.float64]) -> Scores:
    scores = 1 / (1 + np.exp(-logits))
    return {
        "balanced_accuracy": float(metrics.balanced_accuracy(labels, scores) or 0),
        "auc": float(metrics.auc(labels, scores) or 0),
        "share_called_fake": float(np.mean(scores >= metrics.THRESHOLD)),
    }


def stacked(part: pa.Table) -> Tensor:
    dataset = FrameDataset(part, IMAGE_SIZE)
    return torch.stack([dataset[row][0] for row in range(len(dataset))])


@torch.inference_mode()
def logits_of(detector: nn.Module, pixels: Tensor) -> NDArray[np.float64]:
    return torch.cat([detector(batch) for batch in pixels.split(64)]).double().numpy()


@torch.inference_mode()
def batch_logits(detector: Detector, pixels: Tensor, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return logits with batch statistics in the norms; batches are half real, half fake."""
    detector = copy.deepcopy(detector)
    for norm in norms_of(detector):
        norm.train()
    random = np.random.default_rng(0)
    logits = np.zeros(len(labels))
    seen = np.zeros(len(labels))
    for rows in balanced(labels, random):
        logits[rows] += detector(pixels[rows]).double().numpy()
        seen[rows] += 1
    return logits / seen


def balanced(labels: NDArray[np.int64], random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield batches, half of each class, with every frame in at least three; the smaller class is repeated."""
    kinds = [np.flatnonzero(labels == label) for label in (0, 1)]
    need = 3 * max(map(len, kinds))
    orders = [np.concatenate([random.permutation(kind) for _ in range(-(-need // len(kind)) + 1)]) for kind in kinds]
    for start in range(0, need, BATCH // 2):
        yield np.concatenate([order[start : start + BATCH // 2] for order in orders])


def norms_of(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]


class OnePerUse(nn.Module):
    """Replaces a shared norm: the n-th use in a forward pass goes through the n-th copy, with separate statistics."""

    def __init__(self, norm: nn.BatchNorm2d, uses: int) -> None:
        super().__init__()
        self.copies = nn.ModuleList(copy.deepcopy(norm) for _ in range(uses))
        self.used = 0

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise maps (B, C, H, W) with the next copy."""
        norm = self.copies[self.used % len(self.copies)]
        self.used += 1
        out: Tensor = norm(maps)
        return out


@torch.no_grad()
def with_own_norms(detector: Detector, pixels: Tensor) -> Detector:
    """Return a copy whose norms have statistics computed over ``pixels``, one set per use."""
    own = copy.deepcopy(detector)
    shared = getattr(own.network, "norms", None)
    if shared is not None:
        for number, norm in enumerate(shared):
            shared[number] = OnePerUse(norm, 2)
    for norm in norms_of(own):
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(pixels)))
    for rows in order.split(64):
        own(pixels[rows])
    return own.eval()


def make_manifest(folder: Path) -> Path:
    """Render actors, animate them, and write frames.parquet and videos.parquet as in a run."""
    cast = CastSettings(
        folder=folder, heads=PEOPLE, sources=PEOPLE, drivers=0, drivers_per_action=0, source_frames=FILMED,
        driver_frames=FILMED, width=256, height=256, close_up=True,
    )  # fmt: skip
    bank, shots = load_bank(), sources(cast)
    filmed = [np.stack(list(film(shot, cast, bank)))[::EVERY] for shot in shots]
    weights = ROOT / "resources/animators/compact-256.safetensors"
    animator = FommAnimator.from_checkpoint(weights, animator_settings(name="fomm"), sha256=None, device="cpu")
    rows: list[dict[str, Any]] = []
    videos: list[dict[str, Any]] = []
    index: list[dict[str, Any]] = []
    for number, shot in enumerate(shots):
        driver = filmed[(number + 1) % PEOPLE]
        fakes = list(animator.render(animator.prepare_source(filmed[number][0]), animator.prepare_driving(driver)))
        for label, clip in enumerate((filmed[number], fakes)):
            split = "test" if number < TEST_PEOPLE else "train"
            video = {"video_id": f"{shot.name}-{label}", "label": label, "quality": "c23"}
            videos.append({**video, "split": split, "person_id": shot.person, "action": "yaw" if label else ""})
            for frame_index, pixels in enumerate(clip):
                frame = {**video, "frame_index": frame_index, "time_s": frame_index / 25}
                place = {"shard_path": str(folder / "frames0.parquet"), "shard_row": len(rows)}
                index.append({**frame, "split": split, **place})
                coded = cv2.resize(perturb(np.asarray(pixels), "h264", 23, 0), SIZE, interpolation=cv2.INTER_AREA)
                image = {"width": IMAGE_SIZE, "height": IMAGE_SIZE, "image": encode_image(np.asarray(coded, np.uint8))}
                rows.append({**frame, **image, "status": "ok", "reason": "", "detail": ""})
    pq.write_table(pa.Table.from_pylist(rows, schema=FRAMES), folder / "frames0.parquet", row_group_size=ROW_GROUP)
    write_table(index, folder / "frames.parquet", FRAME_INDEX)
    write_table(videos, folder / "videos.parquet", VIDEOS)
    return folder


if __name__ == "__main__":
    main()
