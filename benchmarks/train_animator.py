"""Throughput of animator training: pairs from disk and from memory relative to random tensors on the device.

    python benchmarks/train_animator.py [--device auto] [--workers N]   writes benchmarks/train_animator.json

Reference: training steps on one batch of random pixels that already is on the device. Measured: the same steps on pairs
drawn from clips in memory, and from clips on disk, decoded by worker processes. Steps of all three are interleaved;
reported are medians over the rounds, of wall time and of the CPU time of the training process, which a busy machine
disturbs less. The model is the compact one of config/presets/train_compact.yaml, whose steps are cheap, so that the
data matters more than with vox-256. The clips are synthetic actors. Without a GPU, one worker decodes next to the
single training thread.

Also counted are the GFLOP per pair of a whole training step, forward and backward, from which docs/train_animator.md
derives hours.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from deepfakemnist.actors.bank import load_bank
from deepfakemnist.actors.cast import CastSettings, film, sources
from deepfakemnist.animate.training.frame_store import pair_batches, store_clips
from deepfakemnist.animate.training.losses import Objective
from deepfakemnist.animate.training.pair_batches import PairBatch
from deepfakemnist.animate.training.pairs import PairSampler, TrainingClip, load_clips
from deepfakemnist.animate.training.state import TrainingState
from deepfakemnist.animate.training.steps import step_random, train_step
from deepfakemnist.config.animators.fomm import FommModel, TrainAnimatorSettings
from deepfakemnist.config.base import WeightFile
from deepfakemnist.devices.torch_device import choose_device
from deepfakemnist.tables.checksums import file_facts

ROOT = Path(__file__).parents[1]
SIDE, FRAMES, ROUNDS = 256, 16, 7
STEPS_CPU, STEPS_GPU, BATCH_CPU, BATCH_GPU = 1, 20, 8, 40
#: Batches that a worker has ready, see ``frame_store``; dropped before a measurement.
PREFETCHED = 4
CAST = CastSettings(
    folder=Path(), heads=8, sources=8, drivers=0, drivers_per_action=0, source_frames=FRAMES, driver_frames=FRAMES,
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
    workers = arguments.workers or (max((os.cpu_count() or 2) - 1, 1) if gpu else 1)
    bank = load_bank()
    clips = [TrainingClip(np.stack(list(film(shot, CAST, bank))), shot.name) for shot in sources(CAST)]
    with tempfile.TemporaryDirectory() as name:
        result: dict[str, Any] = {
            "what": "training steps of an animator on pairs from clips, relative to the same steps on random pixels",
            "device": torch.cuda.get_device_name() if gpu else "cpu",
            "threads": torch.get_num_threads(),
            "workers": workers,
            "rounds": ROUNDS,
            "compact": measure(clips, Path(name), device, workers),
            "gflop_per_pair": gflop_per_pair(Path(name)),
        }
    print(json.dumps(result, indent=2))
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


def compact() -> FommModel:
    """Return the architecture of the compact animator."""
    preset = yaml.safe_load((ROOT / "config" / "presets" / "train_compact.yaml").read_text(encoding="utf-8"))
    return FommModel.model_validate(preset["animator"]["model"])


def measure(clips: list[TrainingClip], folder: Path, device: torch.device, workers: int) -> dict[str, Any]:
    """Return pairs per second on random pixels, from memory and from disk, and the ratios to the first."""
    gpu = device.type == "cuda"
    steps, count = (STEPS_GPU, BATCH_GPU) if gpu else (STEPS_CPU, BATCH_CPU)
    settings = TrainAnimatorSettings(batch_size=count, size=SIDE, frames_per_clip=FRAMES)
    random = torch.Generator().manual_seed(0)
    state = TrainingState.new(compact(), settings, True, random, device)
    objective = Objective(settings, device)
    state.networks.train()
    started = time.process_time()
    stored = store_clips(clips, settings, folder / "frames", folder / "points")
    storing = (time.process_time() - started) / len(clips) / FRAMES
    in_memory = PairSampler(load_clips(clips, settings, folder), settings)
    on_disk = PairSampler(stored, settings)
    fixed = in_memory.batch(in_memory.plan(count, random)).to(device)
    drawn = (in_memory.batch(in_memory.plan(count, random)) for _ in repeat(None))
    endless = range(1, 10**9)
    read = pair_batches(on_disk, endless, count, partial(step_random, 0, "pairs"), workers)
    kinds: dict[str, Iterator[PairBatch]] = {"random": repeat(fixed), "memory": drawn, "disk": read}
    for batches in kinds.values():  # kernels are selected, workers start
        run_steps(state, objective, batches, 1, device)
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    cpu: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(ROUNDS):
        for kind, batches in kinds.items():
            for _ in range(PREFETCHED * workers if kind == "disk" else 0):
                next(batches)
            # While it runs, the workers get ahead again, so that they read one batch per measured step, not all.
            run_steps(state, objective, batches, 1, device)
            wall, own = run_steps(state, objective, batches, steps, device)
            rates[kind].append(count * steps / wall)
            cpu[kind].append(own)
    table: dict[str, Any] = {
        "batch_size": count,
        "bfloat16": objective.autocast,
        "kilobytes_per_frame": round(sum(clip.path.stat().st_size for clip in stored) / len(clips) / FRAMES / 1e3, 1),
        "storing_cpu_ms_per_frame": round(1e3 * storing, 1),
        "reading_cpu_ms_per_pair": round(reading_ms(on_disk, random), 2),
    }
    for kind in kinds:
        ratios = [own / reference for own, reference in zip(rates[kind], rates["random"], strict=True)]
        shares = [reference / own for own, reference in zip(cpu[kind], cpu["random"], strict=True)]
        table[kind] = {
            "pairs_per_second": round(statistics.median(rates[kind]), 2),
            "cpu_s_per_pair": round(statistics.median(cpu[kind]) / count / steps, 4),
            "ratio": round(statistics.median(ratios), 3),
            "ratio_of_cpu_time_of_the_training_process": round(statistics.median(shares), 3),
        }
    return table


def run_steps(
    state: TrainingState, objective: Objective, batches: Iterator[PairBatch], steps: int, device: torch.device
) -> tuple[float, float]:
    """Run training steps as training.loop does; return their wall time and this process's CPU time, seconds."""
    synchronise(device)
    started, used = time.perf_counter(), time.process_time()
    for _ in range(steps):
        state.step += 1
        train_step(state, objective, next(batches).to(device).pairs(), 1e-4, 0.0)
    synchronise(device)
    return time.perf_counter() - started, time.process_time() - used


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def reading_ms(sampler: PairSampler, random: torch.Generator, count: int = 100) -> float:
    """Return the CPU time of drawing, reading and decoding a pair, without a network, milliseconds."""
    started = time.process_time()
    for _ in range(count):
        sampler.batch(sampler.plan(1, random))
    return 1e3 * (time.process_time() - started) / count


def gflop_per_pair(folder: Path) -> dict[str, float]:
    """Return the GFLOP of convolutions and matrix products of a training step of one pair, 2 per multiply-add."""
    vgg = random_vgg(folder)
    small = yaml.safe_load((ROOT / "benchmarks" / "gpu" / "small_animator.yaml").read_text(encoding="utf-8"))
    models = {
        "vox-256 with VGG19": (FommModel(), {"vgg19": vgg}),
        "vox-adv-256 with VGG19": (FommModel(), {"vgg19": vgg, "adversarial": 1.0}),
        "vox-256 without VGG19": (FommModel(), {}),
        "small animator of gpu.json": (FommModel.model_validate(small["animator"]["model"]), {}),
        "compact": (compact(), {}),
    }
    counts = {}
    for name, (model, changes) in models.items():
        settings = TrainAnimatorSettings(batch_size=1, size=SIDE, mixed_precision=False, **changes)
        device = torch.device("cpu")
        state = TrainingState.new(model, settings, True, torch.Generator().manual_seed(0), device)
        state.networks.train()
        state.step = 1
        pairs = PairBatch(
            torch.randint(0, 256, (1, 2, 3, SIDE, SIDE), dtype=torch.uint8),
            None,
            torch.zeros(1, dtype=torch.bool),
            None,
            None,
        ).pairs()
        with FlopCounterMode(display=False) as counter:
            train_step(state, Objective(settings, device), pairs, 1e-4, 0.0)
        counts[name] = round(counter.get_total_flops() / 1e9, 1)
    return counts


def random_vgg(folder: Path) -> WeightFile:
    """Write random weights of VGG19's layout."""
    from torchvision.models import vgg19

    with torch.device("meta"):
        features = vgg19(weights=None).features
    path = folder / "vgg19.pth"
    shapes = {f"features.{name}": tensor.shape for name, tensor in features.state_dict().items()}
    torch.save({name: 0.05 * torch.randn(shape) for name, shape in shapes.items()}, path)
    return WeightFile(path=path, sha256=file_facts(path).sha256)


if __name__ == "__main__":
    main()
