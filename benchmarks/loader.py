"""Data loader throughput: training on frames from Parquet shards relative to training on random tensors.

    python benchmarks/loader.py [--device auto] [--workers N]    prints the table and writes benchmarks/loader.json

Reference: the same training step on one batch of random pixels that already is on the device. Measured: the same steps
on frames sampled at random from Parquet shards of lossless WebP, decoded, augmented (flipped) and copied to the device.
The frames are synthetic actors at 256 pixels, half of them as rendered and half after one H.264 encode at crf 23; the
result states the mean frame size. Steps of both kinds are interleaved; reported are medians over the rounds, of wall
time and of the CPU time of the training process, which a busy machine disturbs less. Without a GPU, one worker decodes
next to the single training thread, if there is a second core.
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

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from deepfakemnist.actors.bank import load_bank
from deepfakemnist.actors.cast import CastSettings, film, sources
from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.detectors.base import Detector
from deepfakemnist.detectors.registry import build
from deepfakemnist.devices.torch_device import choose_device
from deepfakemnist.media.frames import ROW_GROUP, encode_image
from deepfakemnist.tables.dataset_schemas import FRAME_INDEX
from deepfakemnist.tables.schemas import FRAMES
from deepfakemnist.training.data import FrameDataset, FrameSampler, make_loader
from deepfakemnist.training.optimise import make_optimizer
from deepfakemnist.training.robustness import perturb

#: The five networks of the paper at batch sizes that saturate a GPU; smaller numbers for CPUs.
DETECTORS_GPU = ("resnet50", "resnet101", "resnet152", "xception", "meso4")
DETECTORS_CPU = ("resnet50", "meso4")
BATCH_GPU, BATCH_CPU = 64, {"resnet50": 4, "meso4": 16}
STEPS_GPU, STEPS_CPU = 30, {"resnet50": 1, "meso4": 8}
ROUNDS, SHARDS, SHARD_FRAMES, SIDE = 9, 8, 64, 256
CAST = CastSettings(
    folder=Path(), heads=8, sources=8, drivers=0, drivers_per_action=0, source_frames=16, driver_frames=16,
    width=SIDE, height=SIDE, close_up=True,
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, help="default: on a GPU one per core but one, on a CPU one")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    gpu = device.type == "cuda"
    if not gpu:
        torch.set_num_threads(1)
    workers = default_workers(gpu) if arguments.workers is None else arguments.workers
    result: dict[str, object] = {
        "what": "training steps on frames from shards, relative to the same steps on random pixels on the device",
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "threads": torch.get_num_threads(),
        "workers": workers,
        "rounds": ROUNDS,
    }
    with tempfile.TemporaryDirectory() as name:
        frames = make_frames(Path(name))
        result["mean_kilobytes_per_frame"] = round(
            sum(path.stat().st_size for path in Path(name).glob("*.parquet")) / (SHARDS * SHARD_FRAMES) / 1e3, 1
        )
        result["detectors"] = {
            detector: measure(detector, frames, device, workers)
            for detector in (DETECTORS_GPU if gpu else DETECTORS_CPU)
        }
        result["decoding_cpu_ms_per_frame"] = round(decoding_ms(frames), 2)
    print(json.dumps(result, indent=2))
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


def default_workers(gpu: bool) -> int:
    """Return the number of decoding workers: all cores but one with a GPU, otherwise a second core if there is one."""
    cores = os.cpu_count() or 1
    return max(cores - 1, 1) if gpu else min(cores - 1, 1)


def measure(name: str, frames: pa.Table, device: torch.device, workers: int) -> dict[str, float]:
    """Return frames per second on random pixels and from shards, and their ratio (median over the rounds)."""
    gpu = device.type == "cuda"
    batch, steps = (BATCH_GPU, STEPS_GPU) if gpu else (BATCH_CPU[name], STEPS_CPU[name])
    recipe = DetectorTraining(name=name, batch_size=batch)
    torch.manual_seed(0)
    detector = build(name).to(device).train()
    optimizer = make_optimizer(detector, recipe)
    pixels = torch.randint(0, 256, (batch, *detector.sample_shape), dtype=torch.uint8, device=device)
    random = repeat((pixels, torch.arange(batch, device=device) % 2))
    dataset = FrameDataset(frames, detector.image_size, augmentation="flip")
    sampler = FrameSampler(dataset.labels, [""] * len(dataset), seed=0)
    batches = make_loader(dataset, batch, workers, sampler)
    stored = chain.from_iterable(repeat(batches))
    for source in (random, stored):  # warm-up: kernels are selected, workers start
        run_steps(detector, optimizer, iter(source), 2, device)
    rates: dict[str, list[float]] = {"random": [], "stored": []}
    cpu: dict[str, list[float]] = {"random": [], "stored": []}
    for _ in range(ROUNDS):
        for kind, source in (("random", random), ("stored", stored)):
            # Drop what the workers prefetched while they were idle.
            run_steps(detector, optimizer, iter(source), workers * 2 if kind == "stored" else 0, device)
            wall, own = run_steps(detector, optimizer, iter(source), steps, device)
            rates[kind].append(batch * steps / wall)
            cpu[kind].append(own)
    ratios = [measured / reference for measured, reference in zip(rates["stored"], rates["random"], strict=True)]
    shares = [reference / measured for measured, reference in zip(cpu["stored"], cpu["random"], strict=True)]
    return {
        "batch_size": batch,
        "random_frames_per_second": round(statistics.median(rates["random"]), 1),
        "stored_frames_per_second": round(statistics.median(rates["stored"]), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_of_cpu_time_of_the_training_process": round(statistics.median(shares), 3),
        "random_cpu_ms_per_frame": round(statistics.median(cpu["random"]) / batch / steps * 1e3, 2),
    }


def run_steps(
    detector: Detector,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[tuple[Tensor, Tensor]],
    steps: int,
    device: torch.device,
) -> tuple[float, float]:
    """Run training steps as training.loop does; return their wall time and this process's CPU time, seconds."""
    loss_of = nn.BCEWithLogitsLoss()
    synchronise(device)
    started, used = time.perf_counter(), time.process_time()
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
    return time.perf_counter() - started, time.process_time() - used


def decoding_ms(frames: pa.Table) -> float:
    """Return the CPU time of reading, decoding and flipping a random frame, without a network, milliseconds."""
    dataset = FrameDataset(frames, SIDE, augmentation="flip")
    order = np.random.default_rng(1).permutation(len(dataset))
    started = time.process_time()
    for row in order:
        dataset[int(row), int(row)]
    return 1e3 * (time.process_time() - started) / len(dataset)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def make_frames(folder: Path) -> pa.Table:
    """Write shards of frames and return their index."""
    bank, index = load_bank(), []
    for shard, shot in enumerate(sources(CAST)):
        filmed = list(film(shot, CAST, bank))
        cells = [encode_image(image) for frame in filmed for image in (frame, perturb(frame, "h264", 23, 0))]
        rows = []
        for number in range(SHARD_FRAMES):
            row = {"video_id": shot.name, "label": number % 2, "quality": "c23", "frame_index": number, "time_s": 0.0}
            index.append({**row, "split": "train", "shard_path": str(folder / f"{shard}.parquet"), "shard_row": number})
            image = {"width": SIDE, "height": SIDE, "image": cells[number % len(cells)]}
            rows.append({**row, **image, "status": "ok", "reason": "", "detail": ""})
        table = pa.Table.from_pylist(rows, schema=FRAMES)
        pq.write_table(table, folder / f"{shard}.parquet", row_group_size=ROW_GROUP, compression="none")
    return pa.Table.from_pylist(index, schema=FRAME_INDEX)


if __name__ == "__main__":
    main()
