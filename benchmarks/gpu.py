"""GPU benchmark in one command: correctness first, then speed and bottlenecks.

    python benchmarks/gpu.py [--out FOLDER] [--minutes 8] [--parts NAME ...]

Takes at most eight minutes on an H100 or H200, prints its tables last and writes gpu.json and gpu.log to FOLDER
(default: benchmarks). benchmarks/gpu/README.md describes runs on machines without network access. Parts are
independent: the error of one is recorded, and the next one runs.

    tests      tests that need a GPU: pixels against the CPU, out of memory inside and outside of a capture, failed
               captures, training of a detector
    card       measured throughput of matrix products and copies, the baseline of the other parts
    vox-256, compact-256
               the animator against the official program's loop over frames in float32 on the same GPU: precisions,
               batch sizes, layouts, with and without a CUDA graph; frames/s, errors, memory
    shard      the rule animate over 50 clips: reading, rendering, lossless encoding, reading back, hashing
    detectors  training and scoring with the five networks of the paper: stored frames against random tensors
    training   train_animator, steps per second of the vox-256 architecture
    two        two processes on one GPU
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import json
import logging
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any

import animate as reference
import cv2
import loader
import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F

from deepfakemnist.actors import Actor, load_bank, perform
from deepfakemnist.animate import stages
from deepfakemnist.animate.fomm import animator as fomm_animator
from deepfakemnist.animate.fomm import folded_conv, inference
from deepfakemnist.animate.fomm.animator import FommAnimator
from deepfakemnist.animate.fomm.checkpoint import load_checkpoint, save_checkpoint
from deepfakemnist.animate.fomm.folded_conv import folded_layers
from deepfakemnist.animate.fomm.inference import Precision
from deepfakemnist.animate.fomm.network import FirstOrderMotionModel
from deepfakemnist.animate.training import loop as training
from deepfakemnist.animate.training.pairs import TrainingClip
from deepfakemnist.config.animators.fomm import FommModel, TrainAnimatorSettings
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.detectors.registry import build
from deepfakemnist.devices.reduced_precision import deterministic_cudnn
from deepfakemnist.media.encode import WorkingClip, write_working_clip
from deepfakemnist.media.writer_processes import WriterProcesses
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import PLANNED
from deepfakemnist.training.predict import predict_logits

log = logging.getLogger("gpu")

ROOT = Path(__file__).resolve().parents[1]
VOX = Path(tempfile.gettempdir()) / f"random-vox-256-{os.getuid()}.safetensors"
COMPACT = ROOT / "resources" / "animators" / "compact-256.safetensors"
PRECISIONS: tuple[Precision, ...] = ("exact", "tf32", "fast")
FPS = 25.0
#: Frames for error measurement; the driver for speed measurement repeats them.
ERROR_FRAMES = 16
Result = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """Size of the measurements, and their device."""

    device: str = "cuda"
    batches: tuple[int, ...] = (1, 8, 16, 32, 64)
    usual_batch: int = 64
    reference_frames: int = 24
    speed_frames: int = 256
    repeats: int = 3
    matrix: int = 8192
    copied_bytes: int = 2**32
    shard_clips: int = 50
    shard_frames: int = 250
    detectors: tuple[str, ...] = loader.DETECTORS_GPU
    epoch: int = 16384
    training_steps: int = 30
    training_batch: int = 16
    render_s: float = 4.0
    variants: tuple[str, ...] | None = None
    precisions: tuple[Precision, ...] = PRECISIONS


#: Runs the whole script on a CPU; its figures are meaningless.
DRY = Scale("cpu", (2,), 2, 2, 16, 1, 64, 2**16, 2, 16, ("meso4",), 1, 12, 1, 0.1)
SCALE = Scale()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--minutes", type=float, default=8.0, help="no part starts later than this")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--batches", nargs="+", type=int, help="batch sizes to measure instead of the default ones")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, help="variants to measure instead of all")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, help="precisions to measure instead of all")
    parser.add_argument("--detectors", nargs="+", help="detectors to measure instead of the paper's five")
    parser.add_argument("--profile", action="store_true", help="also write a kernel profile to FOLDER")
    parser.add_argument("--dry-run", action="store_true", help="run the whole script on the CPU with tiny sizes")
    parser.add_argument("--render", choices=PRECISIONS, help=argparse.SUPPRESS)  # a process of the part `two`
    arguments = parser.parse_args()
    global SCALE
    if arguments.dry_run:
        SCALE = DRY
    elif not torch.cuda.is_available():
        sys.exit("torch sees no GPU here, but this benchmark needs one; --dry-run runs it on the CPU")
    if arguments.batches:
        SCALE = replace(SCALE, batches=tuple(arguments.batches))
    if arguments.variants is not None:
        SCALE = replace(SCALE, variants=tuple(arguments.variants))
    if arguments.precisions:
        SCALE = replace(SCALE, precisions=tuple(arguments.precisions))
    if arguments.detectors:
        SCALE = replace(SCALE, detectors=tuple(arguments.detectors))
    if arguments.render:
        print(json.dumps(render_once(arguments.render)))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        handlers=[logging.FileHandler(arguments.out / "gpu.log", mode="w", encoding="utf-8")],
    )
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cv2.setNumThreads(1)
    end = time.monotonic() + 60 * arguments.minutes
    results: Result = {"machine": machine(), "seconds": {}, "failed": {}}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run_parts(arguments, results, end)
    finally:  # also when a time limit ends the run
        show(results)
    sys.exit(bool(results["failed"]) or results.get("tests", {}).get("status", 0) != 0)


def run_parts(arguments: argparse.Namespace, results: Result, end: float) -> None:
    """Run the chosen parts until ``end`` of ``time.monotonic``; write gpu.json after each."""
    for name in arguments.parts:
        if time.monotonic() > end:
            results["failed"][name] = "no time was left"
            continue
        started = time.monotonic()
        try:
            results[name] = PARTS[name]()
            if arguments.profile and name in ("vox-256", "compact-256"):
                profile(name, arguments.out)
        except Exception as error:
            log.exception("part %s", name)
            traceback.print_exc()
            results["failed"][name] = f"{type(error).__name__}: {error}"
        clean_up()
        results["seconds"][name] = round(time.monotonic() - started, 1)
        log.info("%s took %.1f s", name, results["seconds"][name])
        (arguments.out / "gpu.json").write_text(json.dumps(results, indent=1) + "\n")


def machine() -> Result:
    """Describe the machine and its software."""
    card = torch.cuda.get_device_properties(0) if on_gpu() else None
    return {
        "gpu": card.name if card else "none: a dry run",
        "memory_gib": round(card.total_memory / 2**30, 1) if card else 0,
        "cpu": reference.cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "python": platform.python_version(),
    }


def on_gpu() -> bool:
    return SCALE.device == "cuda"


def synchronise() -> None:
    if on_gpu():
        torch.cuda.synchronize()


def reset_peak() -> None:
    clean_up()
    if on_gpu():
        torch.cuda.reset_peak_memory_stats()


def peak_gib() -> float:
    return round(torch.cuda.max_memory_reserved() / 2**30, 2) if on_gpu() else 0.0


def tests() -> Result:
    """Run the tests that need a GPU; all must pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA", "--durations=0"]
    done = subprocess.run(
        [*command, str(ROOT / "tests/animate/fomm/test_cuda.py"), str(ROOT / "tests/training/test_cuda_step.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
    )
    log.info("%s\n%s", done.stdout, done.stderr)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("PASSED", "FAILED", "ERROR", "SKIPPED"))]
    return {"status": done.returncode, "tests": lines, "summary": done.stdout.strip().splitlines()[-1]}


def card_rates() -> Result:
    """Measure products of 8192×8192 matrices (TFLOP/s) and copies within GPU memory (TB/s)."""
    side, rates = SCALE.matrix, {}
    for name, dtype, precision in (
        ("float32", torch.float32, "highest"),
        ("tf32", torch.float32, "high"),
        ("float16", torch.float16, "highest"),
        ("bfloat16", torch.bfloat16, "highest"),
    ):
        torch.set_float32_matmul_precision(precision)
        a, b = (torch.randn(side, side, device=SCALE.device, dtype=dtype) for _ in range(2))
        seconds = median_seconds(partial(torch.matmul, a, b), 5)
        rates[name] = round(2 * side**3 / seconds / 1e12, 1)
        del a, b
    torch.set_float32_matmul_precision("highest")
    source = torch.empty(SCALE.copied_bytes, dtype=torch.uint8, device=SCALE.device)
    target = torch.empty_like(source)
    seconds = median_seconds(lambda: target.copy_(source), 5)
    return {"tflops": rates, "copy_tb_per_s": round(2 * SCALE.copied_bytes / seconds / 1e12, 2)}


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of ``work``, synchronised, after two warm-up runs."""
    times = []
    for _ in range(repeats + 2):
        synchronise()
        started = time.perf_counter()
        work()
        synchronise()
        times.append(time.perf_counter() - started)
    return statistics.median(times[2:])


def animator_part(vox: bool) -> Result:
    """Compare all precisions, batch sizes and variants with the official program, for vox-256 or compact-256."""
    frames = reference.portrait(ERROR_FRAMES + 1)
    networks = weights(vox)
    source, driving = frames[0], frames[1:]
    plain = networks.to(SCALE.device)
    expected = with_tf32(False, lambda: reference_images(plain, source, driving))
    result: Result = {"gflop_per_frame": reference.gflop(networks.to("cpu"), frames)}
    plain = networks.to(SCALE.device)
    result["reference"] = {
        name: round(SCALE.reference_frames / loop_seconds(plain, source, driving, tf32), 1)
        for name, tf32 in (("float32", False), ("as torch is set by default (tf32)", True))
    }
    base = result["reference"]["float32"]
    networks.to("cpu")
    on_cpu = pixels(FommAnimator(networks, device="cpu"), source, driving)
    result["rows"] = rows = []
    usual = SCALE.usual_batch
    variants = VARIANTS if SCALE.variants is None else SCALE.variants
    for precision in SCALE.precisions:
        for batch, variant in [*((batch, "") for batch in SCALE.batches), *((usual, name) for name in variants)]:
            with VARIANTS.get(variant, contextlib.nullcontext)():
                row = measure(networks, source, driving, precision, batch, variant, expected, on_cpu)
            rows.append({**row, "ratio": round(row["frames_per_s"] / base, 2)})
            log.info("%s", rows[-1])
    return result


def weights(vox: bool) -> FirstOrderMotionModel:
    """Return compact-256, or random vox-256 weights, which are cached in a file because settling them takes a while."""
    if vox and not VOX.exists():
        save_checkpoint(VOX, reference.settled(reference.portrait(ERROR_FRAMES + 1)), {})
    return load_checkpoint(VOX if vox else COMPACT)


def reference_images(networks: FirstOrderMotionModel, source: np.ndarray, driving: np.ndarray) -> np.ndarray:
    frames = torch.cat(list(reference.reference_frames(networks, source, driving)))
    return frames.permute(0, 2, 3, 1).cpu().numpy()


def with_tf32(tf32: bool, work: Callable[[], np.ndarray]) -> np.ndarray:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=tf32, fp32_precision="tf32" if tf32 else "ieee"):
        return work()


def loop_seconds(networks: FirstOrderMotionModel, source: np.ndarray, driving: np.ndarray, tf32: bool) -> float:
    """Return the median time of the official loop, which copies its images to the host one by one."""
    driving = np.concatenate([driving, driving])[: SCALE.reference_frames]

    def loop() -> np.ndarray:
        frames = reference.reference_frames(networks, source, driving)
        return np.stack([frame.permute(0, 2, 3, 1).cpu().numpy() for frame in frames])

    return median_seconds(lambda: with_tf32(tf32, loop), SCALE.repeats)


def pixels(animator: FommAnimator, source: np.ndarray, driving: np.ndarray) -> np.ndarray:
    state, motion = animator.prepare_source(source), animator.prepare_driving(driving)
    return np.stack(list(animator.render(state, motion)))


def build_animator(networks: FirstOrderMotionModel, precision: Precision, batch: int, variant: str) -> FommAnimator:
    animator = FommAnimator(networks, precision=precision, batch_size=batch, device=SCALE.device)
    if variant == "no graph":
        animator._graphed = None
    if variant == "channels first":
        channels_first(animator.networks)
    return animator


def measure(
    networks: FirstOrderMotionModel,
    source: np.ndarray,
    driving: np.ndarray,
    precision: Precision,
    batch: int,
    variant: str,
    expected: np.ndarray,
    on_cpu: np.ndarray,
) -> Result:
    """Time the rendering of a driver with known keypoints, as in the rule animate, and compare the images.

    Args:
        networks: the plain ones.
        source: image.
        driving: ERROR_FRAMES frames.
        precision: of the animator.
        batch: batch size.
        variant: one of VARIANTS, or "".
        expected: (ERROR_FRAMES, H, W, 3) in 0..1, output of the official loop in float32.
        on_cpu: the same as uint8, rendered by the animator on the CPU.
    """
    reset_peak()
    animator = build_animator(networks, precision, batch, variant)
    repeats = SCALE.speed_frames // len(driving)
    motion = animator.prepare_driving(np.tile(driving, (repeats, 1, 1, 1)))
    state = animator.prepare_source(source)
    started = time.perf_counter()
    rendered = np.stack(list(animator.render(state, motion)))  # includes cuDNN set-up and graph capture
    first = time.perf_counter() - started
    times, cpu_times = [], []
    for _ in range(SCALE.repeats):
        started, cpu = time.perf_counter(), time.process_time()
        for _ in animator.render(state, motion):
            pass
        times.append(time.perf_counter() - started)
        cpu_times.append(time.process_time() - cpu)
    row = {
        "precision": precision,
        "batch": batch,
        "variant": variant,
        "computed_in": animator.info.precision,
        "frames_per_s": round(len(motion) / statistics.median(times), 1),
        "first_clip_s": round(first, 3),
        "cpu_ms_per_frame": round(1e3 * statistics.median(cpu_times) / len(motion), 3),
        "peak_gib": peak_gib(),
    }
    predicted = np.concatenate(list(animator.predict(state, motion)))[: len(driving)]
    error = np.abs(predicted - expected) * 255
    levels = np.abs(rendered[: len(driving)].astype(int) - on_cpu)
    return row | {
        "max_error_in_levels": round(float(error.max()), 3),
        "share_within_2_levels": round(float(np.mean(error <= 2)), 6),
        "levels_off_the_cpu": int(levels.max()),
        "share_as_on_the_cpu": round(float(np.mean(levels == 0)), 5),
    }


@contextlib.contextmanager
def cudnn(benchmark: bool, deterministic: bool) -> Iterator[None]:
    """Let cuDNN benchmark its algorithms, whose choice varies between runs, or use non-deterministic ones."""

    def flags(*, tf32: bool) -> contextlib.AbstractContextManager[None]:
        precision = "tf32" if tf32 else "ieee"
        return torch.backends.cudnn.flags(
            enabled=True, benchmark=benchmark, deterministic=deterministic, allow_tf32=tf32, fp32_precision=precision
        )

    original = folded_conv.deterministic_cudnn
    fomm_animator.deterministic_cudnn = folded_conv.deterministic_cudnn = flags  # type: ignore[assignment]
    try:
        yield
    finally:
        fomm_animator.deterministic_cudnn = folded_conv.deterministic_cudnn = original


@contextlib.contextmanager
def without_matrix_products() -> Iterator[None]:
    """Leave all float32 convolutions to cuDNN, also those that are rewritten as matrix products."""
    original = inference._Target.matrix
    inference._Target.matrix = property(lambda target: False)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        inference._Target.matrix = original  # type: ignore[method-assign]


VARIANTS: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "no graph": contextlib.nullcontext,
    "channels first": contextlib.nullcontext,
    "convolutions": without_matrix_products,
    "cuDNN times": partial(cudnn, True, True),
    "not deterministic": partial(cudnn, False, False),
}


def channels_first(networks: FirstOrderMotionModel) -> None:
    def forward(layer: folded_conv.FoldedConv, x: torch.Tensor) -> torch.Tensor:
        weight = layer.weight if layer._reduced_weight is None else layer._reduced_weight
        bias = layer.bias if layer._reduced_bias is None else layer._reduced_bias
        with folded_conv.deterministic_cudnn(tf32=layer.tf32):
            out = layer._convolved(x.to(layer.dtype).contiguous(), weight, bias)
        return F.relu_(out) if layer.relu else out

    for layer in folded_layers(networks).values():
        layer.weight = layer.weight.contiguous()
        if layer._reduced_weight is not None:
            layer._reduced_weight = layer._reduced_weight.contiguous()
        layer.forward = MethodType(forward, layer)  # type: ignore[method-assign]


def profile(name: str, out: Path) -> None:
    """Append a kernel profile of each precision, sorted by time, to profile.txt."""
    frames = reference.portrait(ERROR_FRAMES + 1)
    networks = weights(name == "vox-256")
    for precision in SCALE.precisions:
        animator = build_animator(networks, precision, ERROR_FRAMES, "no graph")
        motion, state = animator.prepare_driving(frames[1:]), animator.prepare_source(frames[0])
        list(animator.render(state, motion))
        kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=kinds) as measured:
            list(animator.render(state, motion))
            synchronise()
        order = "self_cuda_time_total" if on_gpu() else "self_cpu_time_total"
        table = measured.key_averages().table(sort_by=order, row_limit=40, max_name_column_width=90)
        with (out / "profile.txt").open("a") as file:
            file.write(f"{name} {precision}, batch size 16\n{table}\n")


def shard_part() -> Result:
    """Run the rule animate over a shard; clips written show actors, because random weights generate noise."""
    result: Result = {}
    cores = len(os.sched_getaffinity(0))
    bank = load_bank()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = perform(Actor(bank, 70, 70), "nod", 3, SCALE.shard_frames).clip()
        weights(True)
        all_cores = max(cores - 2, 6)
        runs: list[tuple[Path, Precision, int]] = [(COMPACT, "fast", all_cores)]
        if on_gpu():  # takes minutes on a CPU
            tf32 = [(VOX, "tf32", all_cores), (VOX, "tf32", 6)]
            runs = [(VOX, "fast", all_cores), (VOX, "fast", 6), *tf32, *runs, (VOX, "exact", 6)]
        for weight_file, precision, writers in runs:
            title = f"{'vox-256' if weight_file == VOX else 'compact-256'} {precision}, {writers} writers"
            try:
                result[title] = run_shard(folder / title.replace(" ", "_"), weight_file, precision, writers, clip)
            except Exception as error:
                log.exception("shard %s", title)
                result[title] = {"failed": f"{type(error).__name__}: {error}"}
            clean_up()
            log.info("%s: %s", title, result[title])
    return result


def run_shard(folder: Path, weight_file: Path, precision: Precision, writers: int, clip: np.ndarray) -> Result:
    model = load_checkpoint(weight_file).settings
    settings = animator_settings(name="fomm", model=model, precision=precision, source_frame=0)
    animator = FommAnimator.from_checkpoint(weight_file, settings, device=SCALE.device)
    motion = animator.prepare_driving(clip)
    folder.mkdir()
    motion.save(folder / "motion.npz")
    plan = []
    clips = min(SCALE.shard_clips, 12) if precision == "exact" else SCALE.shard_clips
    for number in range(clips):
        source = folder / f"source{number}.mp4"
        write_working_clip(source, clip[number : number + 2], FPS)
        plan.append(
            {
                "video_id": f"fake{number:02d}",
                "source_id": f"source{number}",
                "driver_id": "driver",
                "person_id": f"p{number}",
                "driver_person_id": "d",
                "action": "nod",
                "split": "train",
                "round": 1,
                "plan_order": number,
                "source_path": str(source),
                "source_pixels_sha256": "0" * 64,
                "motion_path": str(folder / "motion.npz"),
                "motion_frames": len(motion),
                "motion_checkpoint_sha256": animator.info.weights_sha256,
                "status": "ok",
                "reason": "",
                "detail": "",
            }
        )
    write_table(plan, folder / "plan.parquet", PLANNED)
    state = animator.prepare_source(clip[0])
    list(animator.render(state, motion))
    started = time.perf_counter()
    for number in range(5):
        for _ in animator.render(animator.prepare_source(clip[number]), motion):
            pass
    rendering = (time.perf_counter() - started) / 5 / len(motion)
    del animator, state
    clean_up()

    class WriteActors(WriterProcesses):
        def write(self, path: Path, frames: Sequence[np.ndarray], fps: float) -> WorkingClip:
            return super().write(path, clip[: len(frames)], fps)

    with GpuUtilisation() as utilisation:
        started, before = time.perf_counter(), cpu_seconds()
        if weight_file != COMPACT:
            stages.WriterProcesses = WriteActors  # type: ignore[misc]
        try:
            tally = stages.animate_shard(
                folder / "plan.parquet",
                weight_file,
                folder / "table.parquet",
                folder / "clips",
                settings,
                fps=FPS,
                code="benchmark",
                max_failed_fraction=0.0,
                device=SCALE.device,
                writers=writers,
            )
        finally:
            stages.WriterProcesses = WriterProcesses  # type: ignore[misc]
        wall, used = time.perf_counter() - started, cpu_seconds() - before
    frames = clips * len(motion)
    return {
        "clips": tally.ok,
        "seconds": round(wall, 2),
        "frames_per_s": round(frames / wall, 1),
        "rendering_alone_frames_per_s": round(1 / rendering, 1),
        "share_of_rendering_alone": round(frames * rendering / wall, 3),
        "gpu_busy": utilisation.share(),
        "cpu_ms_per_frame": round(1e3 * used / frames, 2),
        "cores_used": round(used / wall, 1),
    }


class GpuUtilisation:
    """GPU utilisation by nvidia-smi, the fraction of time in which a kernel runs; a context manager."""

    def __init__(self) -> None:
        self._shares: list[float] = []

    def __enter__(self) -> GpuUtilisation:
        if not on_gpu():
            return self
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        if not on_gpu():
            return
        self._process.terminate()
        text, _ = self._process.communicate()
        self._shares = [float(line) / 100 for line in text.splitlines() if line.strip().isdigit()]

    def share(self) -> Result:
        """Return the mean over the whole time, and over the time between first and last use."""
        used = [number for number, share in enumerate(self._shares) if share > 0]
        if not used:
            return {"all": None, "while_rendering": None}
        inner = self._shares[used[0] : used[-1] + 1]
        return {"all": round(statistics.mean(self._shares), 3), "while_rendering": round(statistics.mean(inner), 3)}


def cpu_seconds() -> float:
    """Return the CPU time of this process and its finished children."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def detectors_part() -> Result:
    """Train and score with each network on frames from shards and on random tensors."""
    loader.ROUNDS, loader.STEPS_GPU = 2, 15
    loader.CAST = loader.CAST.model_copy(update={"sources": 3})
    cores = len(os.sched_getaffinity(0))
    result: Result = {"workers": cores - 1}
    with tempfile.TemporaryDirectory() as name:
        frames = loader.make_frames(Path(name))
        result["decoding_cpu_ms_per_frame"] = round(loader.decoding_ms(frames), 2)
        # Repeated until an epoch has many batches, because all workers idle at its end.
        frames = pa.concat_tables([frames] * (SCALE.epoch // frames.num_rows or 1))
        for detector in SCALE.detectors:
            try:
                result[detector] = loader.measure(detector, frames, torch.device(SCALE.device), cores - 1)
                result[detector]["scoring"] = scoring(detector, frames, cores - 1)
            except Exception as error:
                log.exception("detector %s", detector)
                result[detector] = {"failed": f"{type(error).__name__}: {error}"}
            clean_up()
            log.info("%s: %s", detector, result[detector])
    return result


def scoring(name: str, frames: Any, workers: int) -> Result:
    """Measure frames/s of training.predict.predict_logits, and of the network alone on a batch in GPU memory."""
    detector = build(name).to(SCALE.device).eval()
    pixels = torch.randint(0, 256, (64, *detector.sample_shape), dtype=torch.uint8, device=SCALE.device)
    alone = {}
    for precision in ("ieee", "tf32"):
        with torch.inference_mode(), deterministic_cudnn(tf32=precision == "tf32"):
            alone[precision] = round(64 / median_seconds(lambda: detector(pixels), 5), 1)
    some = frames.slice(0, 4096)
    started = time.perf_counter()
    predict_logits(detector, some, torch.device(SCALE.device), workers)
    return {
        "random_frames_per_second": alone,
        "stored_frames_per_second": round(some.num_rows / (time.perf_counter() - started), 1),
    }


def training_part() -> Result:
    """Train the vox-256 architecture on actors; timing starts at the tenth step."""
    bank = load_bank()
    clips = [TrainingClip(perform(Actor(bank, head, head), "yaw", 3, 16).clip(), f"actor{head}") for head in range(4)]
    model = FommModel() if on_gpu() else load_checkpoint(COMPACT).settings
    result: Result = {}
    for mixed in (True, False):
        starts: list[float] = []
        step = training.train_step

        def timed(*arguments: Any, step: Any = step, starts: list[float] = starts) -> Any:
            synchronise()
            starts.append(time.perf_counter())
            return step(*arguments)

        settings = TrainAnimatorSettings(
            steps=SCALE.training_steps,
            batch_size=SCALE.training_batch,
            checkpoint_every=10**6,
            samples_every=10**6,
            mixed_precision=mixed,
        )
        reset_peak()
        training.train_step = timed
        try:
            with tempfile.TemporaryDirectory() as name:
                report = training.train_animator(
                    clips, Path(name) / "weights.safetensors", Path(name), model, settings, True, 0, SCALE.device
                )
        finally:
            training.train_step = step
        each = statistics.median(np.diff(starts)[10:])
        result["bfloat16" if mixed else "float32"] = {
            "steps_per_s": round(1 / each, 2),
            "pairs_per_s": round(settings.batch_size / each, 1),
            "peak_gib": peak_gib(),
            "loss_first": round(report.losses[0].total, 3),
            "loss_last": round(report.losses[-1].total, 3),
        }
        clean_up()
    return result


def two_processes() -> Result:
    """Render in one process, then in two at once: checks equal pixels, measures the cost of sharing a GPU."""
    options = () if on_gpu() else ("--dry-run",)
    command = [sys.executable, __file__, "--render", "fast", *options]

    def run(count: int) -> list[Result]:
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(count)]
        return [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in running]

    one, two = run(1), run(2)
    return {
        "same_pixels": len({result["sha256"] for result in [*one, *two]}) == 1,
        "one_frames_per_s": one[0]["frames_per_s"],
        "two_frames_per_s_each": [result["frames_per_s"] for result in two],
        "start_s": one[0]["start_s"],
    }


def render_once(precision: Precision) -> Result:
    """Render for some seconds; return a digest of a clip's pixels, the speed, and the start-up time of the process."""
    animator = FommAnimator(weights(True), precision=precision, batch_size=SCALE.usual_batch, device=SCALE.device)
    frames = reference.portrait(ERROR_FRAMES + 1)
    motion = animator.prepare_driving(np.tile(frames[1:], (SCALE.speed_frames // ERROR_FRAMES, 1, 1, 1)))
    state = animator.prepare_source(frames[0])
    rendered = np.stack(list(animator.render(state, motion)))
    ready = time.perf_counter()
    start = time.clock_gettime(time.CLOCK_BOOTTIME) - process_start()
    clips = 0
    while time.perf_counter() - ready < SCALE.render_s:
        for _ in animator.render(state, motion):
            pass
        clips += 1
    rate = clips * SCALE.speed_frames / (time.perf_counter() - ready)
    return {
        "sha256": hashlib.sha256(rendered.tobytes()).hexdigest(),
        "frames_per_s": round(rate, 1),
        "start_s": round(start, 1),
    }


def process_start() -> float:
    """Return the start time of this process, seconds since boot."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def clean_up() -> None:
    gc.collect()
    if on_gpu():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()


PARTS: dict[str, Callable[[], Result]] = {
    "tests": tests,
    "card": card_rates,
    "vox-256": lambda: animator_part(True),
    "compact-256": lambda: animator_part(False),
    "shard": shard_part,
    "detectors": detectors_part,
    "training": training_part,
    "two": two_processes,
}


def show(results: Result) -> None:
    print(json.dumps(results["machine"]))
    print("seconds", results["seconds"])
    if "card" in results:
        print("card", results["card"])
    for name in ("vox-256", "compact-256"):
        if name in results:
            print(f"{name}: the official loop, frames/s", results[name]["reference"])
            flop = results[name]["gflop_per_frame"]
            each = flop["dense motion"] + flop["bottleneck"] + flop["painting"]
            for row in results[name]["rows"]:
                print(
                    f"  {row['precision']:5s} batch {row['batch']:2d} {row['variant']:17s} {row['frames_per_s']:7.1f} "
                    f"frames/s x{row['ratio']:6.2f} {each * row['frames_per_s'] / 1e3:6.1f} TFLOP/s "
                    f"{row['peak_gib']:5.2f} GiB, error {row.get('max_error_in_levels')}, off the CPU "
                    f"{row.get('levels_off_the_cpu')}"
                )
    for name in ("shard", "detectors", "training"):
        for key, value in results.get(name, {}).items():
            print(f"{name} {key}: {value}")
    if "two" in results:
        print("two", results["two"])
    if "tests" in results:
        print("tests", results["tests"]["summary"])
        print("\n".join(line for line in results["tests"]["tests"] if not line.startswith("PASSED")))
    for name, why in results["failed"].items():
        print(f"FAILED {name}: {why}")


if __name__ == "__main__":
    main()
