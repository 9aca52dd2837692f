"""What it costs to write the clips that a GPU renders, and what is left for the thread that renders them.

    python benchmarks/writers.py             prints the table and writes benchmarks/writers.json

Reference: frames piped to a process of the ffmpeg program, the file read back frame by frame with its times, both
hashed: how working clips were written before. Measured: encoder and read-back inside the process, in writer threads;
and in writer processes, as the rule ``animate`` does on a GPU. All prove that the file on disk decodes to the pixels
given. Footage: soft portraits that turn and shift; ``--frames FILE.npy`` takes other, (N,T,H,W,3) uint8 RGB.

* CPU time per frame, of all processes together, with one writer and with several; frames per second and core.
* What a thread of Python gets done beside the writers, in steps of a tenth of a millisecond that give the lock back
  between them, as a share of what it gets done beside as many processes that only compute.

The median of the repeats, which take turns. The start of writer processes is not counted.
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
#: Of a Gaussian: portraits then take about as many bytes per frame as clips of the compact animator, 32 kB.
SOFT_PX = 1.6
STEP = 3_000  # rounds of an empty loop: a tenth of a millisecond

Write = Callable[[Path, list[np.ndarray], float], object]


def by_ffmpeg(path: Path, frames: list[np.ndarray], fps: float) -> None:
    """The reference: the ffmpeg program encodes, the file is read as any video is."""
    seen = PixelHash()

    def hashed() -> Iterator[np.ndarray]:
        for frame in frames:
            seen.update(frame)
            yield frame

    height, width = frames[0].shape[:2]
    with atomic_path(path) as part:
        graph = frames_input(width, height, fps).output(
            absolute(part), vcodec="libx264rgb", qp=0, preset="ultrafast", pix_fmt="rgb24", **COMMON_OUTPUT
        )
        run_graph(graph, find_ffmpeg(), hashed())
        if pixels_sha256(read_frames(part)) != seen.hexdigest():
            raise Failed("encode_differs")


@contextmanager
def processes(count: int) -> Iterator[Write]:
    with WriterProcesses(count) as writers:
        for _ in range(count):  # the first clip waits for imports
            writers.write(Path(tempfile.gettempdir()) / "warm_up.mp4", [np.zeros((16, 16, 3), np.uint8)], FPS)
        yield writers.write


#: Each gives, for a number of writers, what writes one clip.
WAYS: dict[str, Callable[[int], AbstractContextManager[Write]]] = {
    "ffmpeg, a process per clip": lambda count: nullcontext(by_ffmpeg),
    "threads": lambda count: nullcontext(write_working_clip),
    "processes": processes,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=Path, help="footage to write instead of portraits")
    parser.add_argument("--writers", type=int, nargs="+", default=WRITERS, help="how many write at once")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    arguments = parser.parse_args()
    footage = np.load(arguments.frames) if arguments.frames else portraits()
    measured = {count: measure(footage, count, arguments.repeats) for count in arguments.writers}
    for count, ways in measured.items():
        for way, row in ways.items():
            print(
                f"{count} at once, {way:28s} {row['cpu_ms_per_frame']:.2f} ms CPU per frame, ratio {row['ratio']:.2f}, "
                f"{row['frames_per_s_and_core']:.0f} frames/s and core; a thread beside {row['thread_beside']:.2f}"
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
    """Write every clip ``writers`` times at once, in each way; return what that cost per frame."""
    frames = writers * footage.shape[1]
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    beside: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(writers) as pool, ExitStack() as stack:
        paths = [Path(folder) / f"{number}.mp4" for number in range(writers)]
        opened = {way: stack.enter_context(ready(writers)) for way, ready in WAYS.items()}

        def write(way: str, clip: list[np.ndarray]) -> None:
            list(pool.map(lambda path: opened[way](path, clip, FPS), paths))

        for _ in range(repeats):
            unhindered = steps_beside_computing(writers)
            for clip in map(list, footage):
                for way in WAYS:  # clip by clip, so that a noisy moment hits all alike
                    before = cpu_of_running_children()
                    ended = cpu_seconds(partial(write, way, clip))
                    seconds[way].append(ended + cpu_of_running_children() - before)
                    beside[way].append(steps_beside(partial(write, way, clip)) / unhindered)
    reference = seconds[next(iter(WAYS))]
    return {
        way: {
            "cpu_ms_per_frame": round(1000 * statistics.median(own) / frames, 3),
            "ratio": round(statistics.median(one / ref for one, ref in zip(own, reference, strict=True)), 3),
            "frames_per_s_and_core": round(frames / statistics.median(own), 1),
            "thread_beside": round(statistics.median(beside[way]), 3),
        }
        for way, own in seconds.items()
    }


def kb_per_frame(footage: np.ndarray) -> float:
    with tempfile.TemporaryDirectory() as folder:
        clip = write_working_clip(Path(folder) / "a.mp4", footage[0], FPS)
        return round(clip.path.stat().st_size / clip.frames / 1000, 1)


def cpu_of_running_children() -> float:
    """Return CPU seconds of processes that :func:`.cpu_time.cpu_seconds` counts only once they have ended."""
    return sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children())


def steps_beside(work: Callable[[], object]) -> float:
    """Return steps per second of a thread of Python while ``work`` runs."""
    steps, stop = 0, threading.Event()

    def render() -> None:
        nonlocal steps
        while not stop.is_set():
            for _ in range(STEP):
                pass
            steps += 1
            time.sleep(0)  # gives the lock back, as whoever waits for a GPU does

    thread = threading.Thread(target=render)
    thread.start()
    start = time.perf_counter()
    try:
        work()
    finally:
        stop.set()
        thread.join()
    return steps / (time.perf_counter() - start)


def steps_beside_computing(count: int) -> float:
    """Return steps per second of a thread of Python beside processes that compute and share nothing with it."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        return steps_beside(lambda: time.sleep(1))
    finally:
        for process in busy:
            process.kill()
            process.wait()


def portraits() -> np.ndarray:
    """Portraits that turn and shift smoothly, (N,T,H,W,3) uint8."""
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
