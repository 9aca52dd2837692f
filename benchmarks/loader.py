"""What reading frames costs a training: frames per second of a model fed from shards, relative to random tensors.

    python benchmarks/loader.py [--device auto] [--workers N]    prints the table and writes benchmarks/loader.json

Reference: the same training step on one batch of random pixels that lies on the device already. Measured: the same
steps on frames drawn at random from Parquet shards of lossless WebP, decoded, augmented (mirrored), and brought to the
device. Frames are made here: smooth pictures of 256 pixels with noise, which compress about as face crops do. Steps of
both kinds are interleaved; the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from deepfakemnist.detector_settings import DetectorTraining
from deepfakemnist.detectors.base import Detector
from deepfakemnist.detectors.registry import build
from deepfakemnist.media.frames import ROW_GROUP, encode_image
from deepfakemnist.tables import FRAME_INDEX, FRAMES
from deepfakemnist.training.data import FrameDataset, FrameSampler, load
from deepfakemnist.training.optimise import make_optimizer
from deepfakemnist.training.predict import choose_device

#: The five networks of the paper, and batches that a GPU is busy with; on a CPU the smaller numbers.
DETECTORS_GPU = ("resnet50", "resnet101", "resnet152", "xception", "meso4")
DETECTORS_CPU = ("resnet50", "meso4")
BATCH_GPU, BATCH_CPU = 64, 4
STEPS_GPU, STEPS_CPU = 30, 1
ROUNDS, FRAMES_MADE, SHARDS, SIDE = 5, 512, 8, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, help="default: a process per core but one on a GPU, none on a CPU")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    gpu = device.type == "cuda"
    workers = arguments.workers if arguments.workers is not None else (max((os.cpu_count() or 2) - 1, 1) if gpu else 0)
    result: dict[str, object] = {
        "what": "training steps on frames from shards, relative to the same steps on random pixels on the device",
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "threads": torch.get_num_threads(),
        "workers": workers,
        "batch_size": BATCH_GPU if gpu else BATCH_CPU,
        "rounds": ROUNDS,
    }
    with tempfile.TemporaryDirectory() as name:
        frames = make_frames(Path(name))
        result["mean_kilobytes_per_frame"] = round(
            sum(path.stat().st_size for path in Path(name).glob("*.parquet")) / FRAMES_MADE / 1e3, 1
        )
        result["detectors"] = {
            detector: measure(detector, frames, device, workers)
            for detector in (DETECTORS_GPU if gpu else DETECTORS_CPU)
        }
        result["decoding_alone_frames_per_second"] = round(decoding_rate(frames), 1)
    print(json.dumps(result, indent=2))
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


def measure(name: str, frames: pa.Table, device: torch.device, workers: int) -> dict[str, float]:
    """Return frames per second on random pixels and from shards, and their ratio (the median of the rounds')."""
    gpu = device.type == "cuda"
    batch, steps = (BATCH_GPU, STEPS_GPU) if gpu else (BATCH_CPU, STEPS_CPU)
    recipe = DetectorTraining(name=name, batch_size=batch)
    torch.manual_seed(0)
    detector = build(name).to(device).train()
    optimizer = make_optimizer(detector, recipe)
    pixels = torch.randint(0, 256, (batch, *detector.sample_shape), dtype=torch.uint8, device=device)
    random = repeat((pixels, torch.arange(batch, device=device) % 2))
    dataset = FrameDataset(frames, detector.image_size, augmentation="flip")
    sampler = FrameSampler(dataset.labels, [""] * len(dataset), seed=0)
    batches = load(dataset, batch, workers, sampler)
    stored = chain.from_iterable(repeat(batches))
    for source in (random, stored):  # libraries choose their kernels, workers start
        run_steps(detector, optimizer, iter(source), 2, device)
    rates: dict[str, list[float]] = {"random": [], "stored": []}
    for _ in range(ROUNDS):
        for kind, source in (("random", random), ("stored", stored)):
            seconds = run_steps(detector, optimizer, iter(source), steps, device)
            rates[kind].append(batch * steps / seconds)
    ratios = [got / best for got, best in zip(rates["stored"], rates["random"], strict=True)]
    return {
        "random_frames_per_second": round(statistics.median(rates["random"]), 1),
        "stored_frames_per_second": round(statistics.median(rates["stored"]), 1),
        "ratio": round(statistics.median(ratios), 3),
    }


def run_steps(
    detector: Detector,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[tuple[Tensor, Tensor]],
    steps: int,
    device: torch.device,
) -> float:
    """Take training steps as training.loop does and return the seconds they took."""
    loss_of = nn.BCEWithLogitsLoss()
    synchronise(device)
    started = time.perf_counter()
    for _ in range(steps):
        pixels, labels = next(batches)
        pixels, wanted = pixels.to(device, non_blocking=True), labels.to(device, torch.float32, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = detector(pixels)
        loss = loss_of(logits.float(), wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    synchronise(device)
    return time.perf_counter() - started


def decoding_rate(frames: pa.Table) -> float:
    """Return frames per second of reading and decoding at random in one process, without a network."""
    dataset = FrameDataset(frames, SIDE)
    order = np.random.default_rng(1).permutation(len(dataset))
    started = time.perf_counter()
    for row in order:
        dataset[int(row)]
    return len(dataset) / (time.perf_counter() - started)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def make_frames(folder: Path) -> pa.Table:
    """Write shards of frames and return their index, with the columns that training.data.read_index adds."""
    random = np.random.default_rng(0)
    index = []
    for shard in range(SHARDS):
        rows = []
        for number in range(FRAMES_MADE // SHARDS):
            smooth = cv2.resize(random.uniform(30, 220, (24, 24, 3)).astype(np.float32), (SIDE, SIDE))
            noisy = np.clip(smooth + random.normal(0, 1.5, smooth.shape), 0, 255).astype(np.uint8)
            row = {"video_id": f"v{shard}", "label": number % 2, "quality": "c23", "frame_index": number, "time_s": 0.0}
            index.append({**row, "split": "train", "shard_path": str(folder / f"{shard}.parquet"), "shard_row": number})
            image = {"width": SIDE, "height": SIDE, "image": encode_image(noisy)}
            rows.append({**row, **image, "status": "ok", "reason": "", "detail": ""})
        table = pa.Table.from_pylist(rows, schema=FRAMES)
        pq.write_table(table, folder / f"{shard}.parquet", row_group_size=ROW_GROUP, compression="none")
    return pa.Table.from_pylist(index, schema=FRAME_INDEX)


if __name__ == "__main__":
    main()
