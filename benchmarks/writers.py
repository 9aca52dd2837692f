"""Working clip writer benchmark: CPU cost per frame and slowdown of the rendering thread.

    python benchmarks/writers.py             prints the table and writes benchmarks/writers.json

Reference: frames piped to an ffmpeg process, the file read back frame by frame with its times, both hashed, as working
clips were written before. Measured: encoder and read-back in process, in writer threads; and in writer processes, as
the rule ``animate`` does on a GPU. All verify that the file on disk decodes to the frames given. Footage: soft
portraits that rotate and shift; ``--frames FILE.npy`` reads other footage, (N,T,H,W,3) uint8 RGB.

* CPU time per frame over all processes, with one writer and with several; frames per second and core.
* Throughput of a Python thread while the writers run, in steps of a tenth of a millisecond that release the GIL between
  them, relative to its throughput next to as many processes that only compute.

Median of interleaved repeats. The start of writer processes is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil  # type: ignore[import-untyped]
from cpu_time import cpu_seconds
from skimage import data

from deepfakemnist.errors import Failed
from deepfakemnist.media.decode import read_frames
from deepfakemnist.media.encode import COMMON_OUTPUT, write_working_clip
from deepfakemnist.media.ffmpeg import absolute, find_ffmpeg, frames_input, run_graph
from deepfakemnist.media.pixels import PixelHash, pixels_sha256
from deepfakemnist.media.writer_processes import WriterProcesses
from deepfakemnist.tables.files import atomic_path

CLIPS, FRAMES, SIDE, FPS, REPEATS, WRITERS = 2, 125, 256, 25.0, 9, (1, 2)
#: Gaussian sigma, pixels: portraits then take about as many bytes per frame as clips of the compact animator, 32 kB.
SOFT_PX = 1.6
STEP = 3_000  # iterations of an empty loop: a tenth of a millisecond

Write = Callable[[Path, list[np.ndarray], float], object]


def by_ffmpeg(path: Path, frames: list[np.ndarray], fps: float) -> None:
    """Reference writer: encode with the ffmpeg program, read the file back like any video."""
    written = PixelHash()

    def hashed() -> Iterator[np.ndarray]:
        for frame in frames:
            written.update(frame)
            yield frame

    height, width = frames[0].shape[:2]
    with atomic_path(path) as part:
        graph = frames_input(width, height, fps).output(
            absolute(part), vcodec="libx264rgb", qp=0, preset="ultrafast", pix_fmt="rgb24", **COMMON_OUTPUT
        )
        run_graph(graph, find_ffmpeg(), hashed())
        if pixels_sha256(read_frames(part)) != written.hexdigest():
            raise Failed("encode_differs")


@contextmanager
def processes(count: int) -> Iterator[Write]:
    with WriterProcesses(count) as writers:
        for _ in range(count):  # the first clip waits for the imports
            writers.write(Path(tempfile.gettempdir()) / "warm_up.mp4", [np.zeros((16, 16, 3), np.uint8)], FPS)
        yield writers.write


#: Per method: opens the function that writes one clip, given the number of writers.
METHODS: dict[str, Callable[[int], AbstractContextManager[Write]]] = {
    "ffmpeg process per clip": lambda count: nullcontext(by_ffmpeg),
    "threads": lambda count: nullcontext(write_working_clip),
    "processes": processes,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=Path, help="footage to write instead of the generated portraits")
    parser.add_argument("--writers", type=int, nargs="+", default=WRITERS, help="number of concurrent writers")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    arguments = parser.parse_args()
    footage = np.load(arguments.frames) if arguments.frames else portraits()
    measured = {count: measure(footage, count, arguments.repeats) for count in arguments.writers}
    for count, methods in measured.items():
        for method, row in methods.items():
            print(
                f"{count} at once, {method:28s} {row['cpu_ms_per_frame']:.2f} ms CPU per frame, "
                f"ratio {row['ratio']:.2f}, "
                f"{row['frames_per_s_and_core']:.0f} frames/s and core; "
                f"thread throughput {row['thread_throughput']:.2f}"
            )
    result: dict[str, Any] = {
        "what": "writing, reading back and hashing lossless clips, relative to an ffmpeg process per clip",
        "ffmpeg": find_ffmpeg().version,
        "footage": arguments.frames.stem if arguments.frames else "portraits",
        "shape": footage.shape,
        "kb_per_frame": kb_per_frame(footage),
        "repeats": arguments.repeats,
        "writers": measured,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


def measure(footage: np.ndarray, writers: int, repeats: int) -> dict[str, dict[str, float]]:
    """Write every clip ``writers`` times concurrently with each method; return the costs per frame."""
    frames = writers * footage.shape[1]
    seconds: dict[str, list[float]] = {method: [] for method in METHODS}
    throughput: dict[str, list[float]] = {method: [] for method in METHODS}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(writers) as pool, ExitStack() as stack:
        paths = [Path(folder) / f"{number}.mp4" for number in range(writers)]
        opened = {method: stack.enter_context(ready(writers)) for method, ready in METHODS.items()}

        def write(method: str, clip: list[np.ndarray]) -> None:
            list(pool.map(lambda path: opened[method](path, clip, FPS), paths))

        for _ in range(repeats):
            baseline = steps_during_computation(writers)
            for clip in map(list, footage):
                for method in METHODS:  # interleaved, so that background load affects all methods equally
                    before = cpu_of_running_children()
                    ended = cpu_seconds(partial(write, method, clip))
                    seconds[method].append(ended + cpu_of_running_children() - before)
                    throughput[method].append(steps_during(partial(write, method, clip)) / baseline)
    reference = seconds[next(iter(METHODS))]
    return {
        method: {
            "cpu_ms_per_frame": round(1000 * statistics.median(own) / frames, 3),
            "ratio": round(statistics.median(one / ref for one, ref in zip(own, reference, strict=True)), 3),
            "frames_per_s_and_core": round(frames / statistics.median(own), 1),
            "thread_throughput": round(statistics.median(throughput[method]), 3),
        }
        for method, own in seconds.items()
    }


def kb_per_frame(footage: np.ndarray) -> float:
    with tempfile.TemporaryDirectory() as folder:
        clip = write_working_clip(Path(folder) / "a.mp4", footage[0], FPS)
        return round(clip.path.stat().st_size / clip.frames / 1000, 1)


def cpu_of_running_children() -> float:
    """Return CPU seconds of running children, which :func:`.cpu_time.cpu_seconds` counts only after they end."""
    return sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children())


def steps_during(work: Callable[[], object]) -> float:
    """Return steps per second of a Python thread while ``work`` runs."""
    steps, stop = 0, threading.Event()

    def render() -> None:
        nonlocal steps
        while not stop.is_set():
            for _ in range(STEP):
                pass
            steps += 1
            time.sleep(0)  # releases the GIL, as waiting for a GPU does

    thread = threading.Thread(target=render)
    thread.start()
    start = time.perf_counter()
    try:
        work()
    finally:
        stop.set()
        thread.join()
    return steps / (time.perf_counter() - start)


def steps_during_computation(count: int) -> float:
    """Return steps per second of a Python thread next to independent processes that only compute."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        return steps_during(lambda: time.sleep(1))
    finally:
        for process in busy:
            process.kill()
            process.wait()


def portraits() -> np.ndarray:
    """Return portraits that rotate and shift smoothly, (N,T,H,W,3) uint8."""
    picture = cv2.resize(data.astronaut()[:280, 84:364], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    clips = np.empty((CLIPS, FRAMES, SIDE, SIDE, 3), np.uint8)
    for clip in range(CLIPS):
        for frame in range(FRAMES):
            angle = 4 * np.sin(0.03 * frame + clip)
            matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), angle, 1.0)
            matrix[:, 2] += 6 * np.sin(0.02 * frame + clip), 4 * np.cos(0.02 * frame)
            moved = cv2.warpAffine(picture, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
            clips[clip, frame] = cv2.GaussianBlur(moved, (0, 0), SOFT_PX)
    return clips


if __name__ == "__main__":
    main()
