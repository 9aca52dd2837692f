"""CPU benchmark of the FOMM animator: speed, memory and deviation from the original program, on one thread.

    python benchmarks/animate.py                          vox-256; prints the table, writes benchmarks/animate.json
    python benchmarks/animate.py --weights FILE           a checkpoint of another architecture, e.g. a compact one

Reference: the original demo on this project's plain network, i.e. frame by frame, with source encoding and keypoint
hulls recomputed for each frame and batch norms not folded. Measured: the animator as used by the workflow, including
source encoding and driver keypoints. Both animate the same frames alternately in one process, so that noise affects
them equally; ratios are taken per round. Memory is the peak of a process of its own for each, on Linux. Deviations are
those from the same networks in float64, for the original's arithmetic and for ours, in levels of 255 before rounding;
``fast`` is the GPU's float16 decoder, computed by the CPU. Without ``--weights`` the vox-256 weights are random, with
batch norm statistics from images and heads scaled to fill their ranges: speed is that of the official weights,
deviations are indicative. ``gpu.py`` measures GPUs, where precisions other than exact matter.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from scipy.spatial import ConvexHull
from skimage import data
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from deepfakemnist.animate.fomm.animator import FommAnimator
from deepfakemnist.animate.fomm.checkpoint import load_checkpoint, save_checkpoint
from deepfakemnist.animate.fomm.inference import rewritten
from deepfakemnist.animate.fomm.network import FirstOrderMotionModel, Keypoints
from deepfakemnist.animate.fomm.transfer import relative_motion
from deepfakemnist.config.animators.fomm import FommModel, FommSettings

FRAMES, REPEATS, SIDE = 16, 5, 256
#: Frames that deviations are measured on, of that many sets of random weights.
DEVIATION_FRAMES, SEEDS = 6, 3
#: Frames of ``fast``: float16 takes a CPU without AVX512-FP16 minutes.
FAST_FRAMES = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", type=Path, help="checkpoint to measure instead of random vox-256 weights")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--peak", choices=["reference", "exact"], help="print the memory of one animation by --weights")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    frames = portrait(FRAMES + 1)
    if arguments.peak:
        print(json.dumps(peak(arguments.peak, arguments.weights, frames)))
        return
    networks = settled(frames) if arguments.weights is None else load_checkpoint(arguments.weights)
    several = [networks] if arguments.weights else [settled(frames, seed) for seed in range(SEEDS)]
    result: dict[str, Any] = {
        "what": "frames per second of the animator, and its distance from the original program's arithmetic",
        "weights": "vox-256, random, settled" if arguments.weights is None else arguments.weights.name,
        "torch": torch.__version__,
        "cpu": cpu_name(),
        "gflop_per_frame_of_the_reference": gflop(networks, frames),
        "cpu_1_thread": compare(networks, frames, arguments.repeats),
        "peak_memory": memory(networks),
        "levels_from_float64": deviations(several, frames[: DEVIATION_FRAMES + 1]),
    }
    show(result)
    path = Path(__file__).with_suffix(".json")
    content = json.loads(path.read_text()) if path.exists() else {}
    content["vox-256" if arguments.weights is None else arguments.weights.name] = result
    path.write_text(json.dumps(content, indent=2) + "\n")


def reference_frames(networks: FirstOrderMotionModel, source: np.ndarray, driving: np.ndarray) -> Iterator[Tensor]:
    """Yield frames (1, 3, H, W) of the original's ``make_animation`` with --relative --adapt_scale."""
    like = next(networks.parameters())

    def tensor(image: np.ndarray) -> Tensor:
        return (torch.from_numpy(image.copy()).to(like).permute(2, 0, 1)[None] / 255).contiguous()

    with torch.inference_mode():
        image = tensor(source)
        of_source, first = networks.kp_detector(image), networks.kp_detector(tensor(driving[0]))
        for frame in driving:
            found = networks.kp_detector(tensor(frame))
            areas = (ConvexHull(keypoints.value[0].cpu().numpy()).volume for keypoints in (of_source, first))
            scale = float(np.divide(*np.sqrt(list(areas))))
            yield networks.generator(image, of_source, relative_motion(of_source, found, first, scale))


def compare(networks: FirstOrderMotionModel, frames: np.ndarray, repeats: int) -> dict[str, Any]:
    """Time reference and exact alternately over the same frames; return speeds and ratios of both."""
    source, driving = frames[0], frames[1:]
    animator = FommAnimator(networks, precision="exact", device="cpu")
    workloads: dict[str, Callable[[], object]] = {
        "reference": lambda: list(reference_frames(networks, source, driving)),
        "exact": lambda: predicted(animator, source, driving),
    }
    predicted(animator, source, driving)  # warms up
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in workloads}
    for _ in range(repeats):
        for name, work in workloads.items():
            cpu, wall = timed(work)
            seconds[name].append((cpu / len(driving), wall / len(driving)))
    table: dict[str, Any] = {"frames": len(driving), "repeats": repeats, "batch_size": animator.batch_size}
    for name in workloads:
        row: dict[str, Any] = {}
        for index, clock in enumerate(("cpu_time", "wall_time")):
            own = [one[index] for one in seconds[name]]
            ratios = [ref[index] / one for ref, one in zip(seconds["reference"], own, strict=True)]
            row[clock] = {
                "frames_per_s": round(1 / statistics.median(own), 3),
                "ratio": round(statistics.median(ratios), 3),
                "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
            }
        table[name] = row
    return table


def predicted(animator: FommAnimator, source: np.ndarray, driving: np.ndarray) -> np.ndarray:
    """Return the animator's frames (T, H, W, 3) in 0..1."""
    state, motion = animator.prepare_source(source), animator.prepare_driving(driving)
    return np.concatenate(list(animator.predict(state, motion)))


def deviations(several: Sequence[FirstOrderMotionModel], frames: np.ndarray) -> dict[str, Any]:
    """Return the largest deviations from float64 over several networks, and the smallest shares within 1 and 2."""
    source, driving = frames[0], frames[1:]
    found: dict[str, list[np.ndarray]] = {"reference": [], "exact": [], "fast": [], "exact to reference": []}
    for networks in several:
        plain = pictures(reference_frames(networks, source, driving))
        true = pictures(reference_frames(copy.deepcopy(networks).double(), source, driving))
        exact = FommAnimator(networks, precision="exact", device="cpu")
        fast = FommAnimator(networks, precision="exact", device="cpu")
        fast.networks = rewritten(networks, torch.float16, cpu=False)
        ours = predicted(exact, source, driving)
        found["reference"].append(np.abs(plain - true) * 255)
        found["exact"].append(np.abs(ours - true) * 255)
        found["fast"].append(np.abs(predicted(fast, source, driving[:FAST_FRAMES]) - true[:FAST_FRAMES]) * 255)
        found["exact to reference"].append(np.abs(ours - plain) * 255)
    return {"weights": len(several), "frames": len(driving)} | {
        name: {
            "max": round(max(float(one.max()) for one in levels), 3),
            "share_within_1": round(min(float(np.mean(one <= 1)) for one in levels), 6),
            "share_within_2": round(min(float(np.mean(one <= 2)) for one in levels), 6),
        }
        for name, levels in found.items()
    }


def pictures(tensors: Iterable[Tensor]) -> np.ndarray:
    """Return frames (T, H, W, 3) of tensors (1, 3, H, W)."""
    return torch.cat(list(tensors)).permute(0, 2, 3, 1).numpy()


def memory(networks: FirstOrderMotionModel) -> dict[str, Any]:
    """Return what ``peak`` measures in processes of their own, for the same weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth.tar"
        save_checkpoint(path, networks, {})
        table = {}
        for name in ("reference", "exact"):
            command = [sys.executable, __file__, "--peak", name, "--weights", str(path)]
            table[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    table["ratio"] = round(table["exact"]["mb"] / table["reference"]["mb"], 3)
    return table


def peak(name: str, weights: Path, frames: np.ndarray) -> dict[str, int]:
    """Animate once; return the peak of this process's resident memory, and what it was before weights were loaded."""
    before = highest_mb()
    source, driving = frames[0], frames[1:]
    if name == "reference":
        networks = load_checkpoint(weights)
        for _ in reference_frames(networks, source, driving):
            pass
    else:
        animator = FommAnimator.from_checkpoint(weights, FommSettings(name="fomm"), device="cpu")
        for _ in animator.render(animator.prepare_source(source), animator.prepare_driving(driving)):
            pass
    return {"mb": highest_mb(), "mb_of_imports": before}


def highest_mb() -> int:
    """Return the peak of this process's resident memory on Linux; ru_maxrss would include the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return CPU time and wall time, seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def gflop(networks: FirstOrderMotionModel, frames: np.ndarray) -> dict[str, float]:
    """Return the GFLOP per frame of convolutions and matrix products (2 per multiply-add)."""
    images = torch.from_numpy(frames[:2].copy()).permute(0, 3, 1, 2).float() / 255
    generator = networks.generator
    counts: dict[str, float] = {}

    def count(name: str, work: Callable[[], Any]) -> Any:
        with FlopCounterMode(display=False) as counter:
            made = work()
        counts[name] = round(counter.get_total_flops() / 1e9, 3)
        return made

    with torch.no_grad():
        of_source = networks.kp_detector(images[:1])
        found = count("keypoints", lambda: networks.kp_detector(images[1:]))
        encoded = count("source encoding", lambda: generator.encode(images[:1]))
        motion = count("dense motion", lambda: generator.motion(encoded, of_source, found))
        count("bottleneck", lambda: generator.bottleneck(encoded.features))
        count("whole decoder", lambda: generator.decode(encoded, motion))
    counts["painting"] = round(counts.pop("whole decoder") - counts["bottleneck"], 3)
    return {**counts, "total": round(sum(counts.values()), 3)}


def portrait(count: int) -> np.ndarray:
    """Return a slightly rotating and shifting portrait, (count, 256, 256, 3) uint8."""
    image = cv2.resize(data.astronaut()[:280, 84:364], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    frames = []
    for i in range(count):
        matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), 6 * np.sin(0.9 * i), 1.0)
        matrix[:, 2] += 10 * np.sin(0.7 * i), 8 * np.cos(0.5 * i)
        frames.append(cv2.warpAffine(image, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT))
    return np.stack(frames)


def settled(frames: np.ndarray, seed: int = 0) -> FirstOrderMotionModel:
    """Return random vox-256 networks whose batch norm statistics and head scales resemble those of trained ones."""
    torch.manual_seed(seed)
    networks = FirstOrderMotionModel(FommModel())
    generator, dense = networks.generator, networks.generator.dense_motion_network
    images = torch.from_numpy(frames[:4].copy()).permute(0, 3, 1, 2).float() / 255
    for module in networks.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0, 0.1)
    networks.kp_detector.jacobian.weight.data.normal_(0, 0.002)
    inputs: dict[nn.Module, Tensor] = {}
    heads: dict[nn.Conv2d, float] = {networks.kp_detector.kp: 0.15, dense.mask: 2.0, generator.final: 1.5}
    if dense.occlusion is not None:
        heads[dense.occlusion] = 2.0
    hooks = [head.register_forward_pre_hook(lambda head, given: inputs.update({head: given[0]})) for head in heads]
    with torch.no_grad():
        for spread in (True, True, False):  # scaling a head changes the statistics of later layers
            networks.train()
            for module in networks.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.reset_running_stats()
            found = networks.kp_detector(images)
            generator(images, found, Keypoints(*(part.roll(1, 0) for part in found)))
            for head, deviation in heads.items() if spread else ():
                made = head(inputs[head])
                assert head.bias is not None
                head.bias -= made.mean(dim=(0, 2, 3))
                factor = deviation / made.std(dim=(0, 2, 3)).mean()
                head.weight *= factor
                head.bias *= factor
    for hook in hooks:
        hook.remove()
    return networks.eval()


def cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def show(result: dict[str, Any]) -> None:
    print(result["weights"], result["gflop_per_frame_of_the_reference"])
    for name in ("reference", "exact"):
        row = result["cpu_1_thread"][name]
        for clock in ("cpu_time", "wall_time"):
            speed = row[clock]
            low, high = speed["ratio_range"]
            print(
                f"{name:10s} {clock:10s} {speed['frames_per_s']:8.2f} frames/s   "
                f"x{speed['ratio']:.2f} ({low:.2f}–{high:.2f})"
            )
    memory_of = result["peak_memory"]
    print(f"peak memory: reference {memory_of['reference']['mb']} MB, exact {memory_of['exact']['mb']} MB")
    for name, row in result["levels_from_float64"].items():
        if isinstance(row, dict):
            print(
                f"{name:20s} at most {row['max']:.3f} levels from float64, {100 * row['share_within_1']:.4f} % "
                f"within 1, {100 * row['share_within_2']:.4f} % within 2"
            )


if __name__ == "__main__":
    main()
