"""CPU benchmark of the Thin-Plate-Spline Motion Model: speed and deviation from the original program.

    python benchmarks/tpsmm.py                            vox-256; prints the table, writes benchmarks/tpsmm.json
    python benchmarks/tpsmm.py --weights FILE             another checkpoint

Reference: what the original demo does (``--mode relative``), on this project's plain network: frame by frame, the
driver's key points in the loop, the source encoded and the hulls of both faces computed again for each frame, the small
source copied for each grid that samples it, nothing rewritten. Measured: the animator as used by the workflow, source
encoding and driver key points included. One process and thread; both run alternately over the same frames, so that
noise affects them equally, and ratios are taken per round. Peak memory is that of a process of its own for each.
Without ``--weights`` the weights are random with scaled heads: speed is that of the official weights, errors are
indicative.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import animate
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import ConvexHull
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from deepfakemnist.animate.tpsmm.animator import TpsmmAnimator
from deepfakemnist.animate.tpsmm.checkpoint import load_checkpoint
from deepfakemnist.animate.tpsmm.network import Architecture, EncodedSource, ThinPlateSplineMotionModel

FRAMES, REPEATS = 8, 3
#: Frames that are also computed in float64.
FLOAT64_FRAMES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", type=Path, help="checkpoint to measure instead of random weights")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--memory-of", choices=("reference", "exact"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    frames = animate.portrait(arguments.frames + 1)
    source, driving = frames[0], frames[1:]
    if arguments.memory_of:
        print(json.dumps(memory(arguments.memory_of, arguments.weights, source, driving)))
        return
    networks = settled(frames) if arguments.weights is None else load_checkpoint(arguments.weights)
    result: dict[str, Any] = {
        "what": "frames per second of the animator, and its distance from the original program's arithmetic",
        "weights": "vox-256, random, settled" if arguments.weights is None else arguments.weights.name,
        "torch": torch.__version__,
        "cpu": animate.cpu_name(),
        "gflop_per_frame_of_the_reference": gflop(networks, frames),
        "cpu_1_thread": compare(networks, source, driving, arguments.repeats),
        "peak_mb": {name: memory_of(name, sys.argv[1:]) for name in ("reference", "exact")},
    }
    show(result)
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(result, indent=2) + "\n")


def reference_frames(networks: ThinPlateSplineMotionModel, source: np.ndarray, driving: np.ndarray) -> Iterator[Tensor]:
    """Yield frames (1, 3, H, W) as the original's ``make_animation`` makes them in mode relative."""
    dense, dtype = networks.dense_motion_network, networks.inpainting_network.final.weight.dtype
    with torch.inference_mode():
        image = tensor(source, dtype)
        of_source, first = networks.kp_detector(image), networks.kp_detector(tensor(driving[0], dtype))
        for frame in driving:
            found = networks.kp_detector(tensor(frame, dtype))
            areas = [ConvexHull(points[0].numpy()).volume for points in (of_source, first)]
            points = of_source + (found - first) * float(np.sqrt(areas[0]) / np.sqrt(areas[1]))
            encoded = networks.encode(image, of_source)
            dense.deformed = copied_per_grid  # type: ignore[method-assign]
            motion = dense(encoded, of_source, points)
            del dense.deformed
            yield networks.inpainting_network.decode(encoded, motion)


def copied_per_grid(small: Tensor, motions: Tensor) -> Tensor:
    """Sample a copy of the small image (B, 3, h, w) for each of the grids (B, S+1, h, w, 2)."""
    batch, count = motions.shape[:2]
    copies = small[:, None].repeat(1, count, 1, 1, 1).flatten(0, 1)
    return F.grid_sample(copies, motions.flatten(0, 1), align_corners=True).unflatten(0, (batch, count))


def predicted(animator: TpsmmAnimator, source: np.ndarray, driving: np.ndarray) -> Iterator[np.ndarray]:
    """Yield batches of frames (n, H, W, 3) of the animator."""
    yield from animator.predict(animator.prepare_source(source), animator.prepare_driving(driving))


def tensor(image: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
    return (torch.from_numpy(image.copy()).permute(2, 0, 1)[None].to(dtype) / 255).contiguous()


def numbers(frames: Iterator[Tensor]) -> np.ndarray:
    return torch.cat(list(frames)).permute(0, 2, 3, 1).numpy()


def compare(
    networks: ThinPlateSplineMotionModel, source: np.ndarray, driving: np.ndarray, repeats: int
) -> dict[str, Any]:
    """Time reference and animator alternately; return speeds and ratios of both, and the error of the animator."""
    animator = TpsmmAnimator(networks, device="cpu")
    expected = numbers(reference_frames(networks, source, driving))
    made = np.concatenate(list(predicted(animator, source, driving)))  # also warms up
    error = np.abs(made - expected)
    true = numbers(reference_frames(copy.deepcopy(networks).double(), source, driving[:FLOAT64_FRAMES]))
    workloads: dict[str, Callable[[], object]] = {
        "reference": lambda: list(reference_frames(networks, source, driving)),
        "exact": lambda: list(predicted(animator, source, driving)),
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in workloads}
    for _ in range(repeats):
        for name, work in workloads.items():
            cpu, wall = animate.timed(work)
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
    for name, frames in (("reference", expected), ("exact", made)):
        distance = float(np.abs(frames[:FLOAT64_FRAMES] - true).max())
        table[name]["max_levels_from_float64"] = round(distance * 255, 4)
    table["exact"]["max_error_in_levels"] = round(float(error.max()) * 255, 4)
    table["exact"]["share_within_1_level"] = round(float(np.mean(error <= 1 / 255)), 6)
    return table


def gflop(networks: ThinPlateSplineMotionModel, frames: np.ndarray) -> dict[str, float]:
    """Return the GFLOP per frame of convolutions and matrix products (2 per multiply-add)."""
    counts: dict[str, float] = {}

    def count(name: str, work: Callable[[], Any]) -> Any:
        with FlopCounterMode(display=False) as counter:
            made = work()
        counts[name] = round(counter.get_total_flops() / 1e9, 3)
        return made

    with torch.no_grad():
        source, driving = tensor(frames[0]), tensor(frames[1])
        of_source = networks.kp_detector(source)
        found = count("keypoints", lambda: networks.kp_detector(driving))
        encoded: EncodedSource = count("source encoding", lambda: networks.encode(source, of_source))
        motion = count("dense motion", lambda: networks.dense_motion_network(encoded, of_source, found))
        count("painting", lambda: networks.inpainting_network.decode(encoded, motion))
    return {**counts, "total": round(sum(counts.values()), 3)}


def memory_of(name: str, arguments: list[str]) -> dict[str, int]:
    """Return what ``memory`` measures, in a process of its own."""
    command = [sys.executable, __file__, *arguments, "--memory-of", name]
    made: dict[str, int] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return made


def memory(name: str, weights: Path | None, source: np.ndarray, driving: np.ndarray) -> dict[str, int]:
    """Return this process's peak resident memory, MB, after rendering in one of the two ways, and with weights only.

    Random weights are not settled, which would take more memory than rendering does.
    """
    networks = ThinPlateSplineMotionModel(Architecture()).eval() if weights is None else load_checkpoint(weights)
    loaded = peak_mb()
    if name == "reference":
        frames: Iterator[object] = reference_frames(networks, source, driving)
    else:
        animator = TpsmmAnimator(networks, device="cpu")
        del networks  # as the workflow does: the animator has a copy
        frames = predicted(animator, source, driving)
    for _ in frames:
        pass
    return {"loaded": loaded, "peak": peak_mb()}


def peak_mb() -> int:
    """Return peak resident memory since this program began: getrusage counts that of the process it was started by."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def settled(frames: np.ndarray) -> ThinPlateSplineMotionModel:
    """Return random vox-256 networks whose batch norm statistics and head scales resemble those of trained ones."""
    torch.manual_seed(0)
    networks = ThinPlateSplineMotionModel(Architecture())
    dense, painter = networks.dense_motion_network, networks.inpainting_network
    images = torch.cat([tensor(frame) for frame in frames[:4]])
    for module in networks.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.InstanceNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0, 0.1)
    with torch.no_grad():
        networks.kp_detector.train()(images)
        networks.eval()
        layer = networks.kp_detector.fg_encoder.fc
        spread(layer, networks.kp_detector, images, deviation=0.1)
        layer.bias += torch.randn(len(layer.bias))  # spread over the picture, and moving a little
        found = networks.kp_detector(images)
        encoded = networks.encode(images, found)
        inputs = encoded, found, found.roll(1, 0)
        for head, deviation in ((dense.maps, 2.0), *((head, 2.0) for head in dense.occlusion), (painter.final, 1.5)):
            spread(head, networks, *inputs, deviation=deviation)
    return networks


def spread(head: nn.Module, network: nn.Module, *inputs: object, deviation: float) -> None:
    """Scale and shift the outputs of a layer, as it is used in the network, to mean 0 and a standard deviation."""
    made: list[Tensor] = []
    hook = head.register_forward_hook(lambda head, given, out: made.append(out))
    network(*inputs)
    hook.remove()
    assert isinstance(head, nn.Conv2d | nn.Linear) and head.bias is not None
    others = [dimension for dimension in range(made[0].dim()) if dimension != 1]
    factor = deviation / made[0].std(dim=others).mean()
    head.bias -= made[0].mean(dim=others)
    head.weight *= factor
    head.bias *= factor


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
        print(f"{'':10s} at most {result['cpu_1_thread'][name]['max_levels_from_float64']:.3f} of 255 from float64")
        memory = result["peak_mb"][name]
        print(f"{'':10s} memory     {memory['peak']} MB at most, {memory['loaded']} MB with the weights loaded")
    exact = result["cpu_1_thread"]["exact"]
    share = 100 * exact["share_within_1_level"]
    print(f"{'':10s} error at most {exact['max_error_in_levels']:.3f} of 255, {share:.3f} % within 1")


if __name__ == "__main__":
    main()
