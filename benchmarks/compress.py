"""What the encode chain costs, as ratios measured in one run.

    python benchmarks/compress.py            prints the table and writes benchmarks/compress.json

Reference: one ffmpeg process per quality, each fed the clip anew, as a rule per quality would do. Measured: the
project's one process with an output per quality, alone and with everything around it (reading and checking the working
clip, verifying every output by a full decode, PSNR). Clips are made here: portraits that packages ship, moved by warps.
CPU seconds of this process and its children; the median of the repeats.
"""

from __future__ import annotations

import json
import resource
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from deepfakemnist.demo.build import film, sources
from deepfakemnist.media.compress import compress_clip, encode_graph
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.ffmpeg import find_ffmpeg, run_graph
from deepfakemnist.settings import CompressSettings

CLIPS, REPEATS, SIDE, FPS = 3, 5, 256, 25.0


def main() -> None:
    program, settings = find_ffmpeg(), CompressSettings()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = []
        for clip in sources()[:CLIPS]:
            frames = np.stack([cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in film(clip)])
            path = folder / f"{clip.name}.mp4"
            made = write_working_clip(path, frames, FPS)
            row = {"video_id": clip.name, "path": str(path), "pixels_sha256": made.pixels_sha256}
            clips.append((row, frames))

        def separately() -> None:
            for row, frames in clips:
                for quality, value in settings.qualities.items():
                    part = {quality: folder / f"{row['video_id']}.{quality}.mp4"}
                    run_graph(encode_graph(part, {quality: value}, SIDE, SIDE, FPS), program, frames)

        def together() -> None:
            for row, frames in clips:
                parts = {quality: folder / f"{row['video_id']}.{quality}.mp4" for quality in settings.qualities}
                run_graph(encode_graph(parts, settings.qualities, SIDE, SIDE, FPS), program, frames)

        def stage() -> None:
            for row, _ in clips:
                compress_clip(row, folder, 0, settings, FPS, program)

        names = {"a process per quality": separately, "one process": together, "the stage, checks included": stage}
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(REPEATS):  # interleaved, so that a noisy moment hits all alike
            for name, work in names.items():
                times[name].append(cpu_seconds(work))
        frames_total = sum(len(frames) for _, frames in clips)

    medians = {name: statistics.median(values) for name, values in times.items()}
    reference = medians["a process per quality"]
    result = {
        "what": "CPU cost of encoding raw, c23 and c40, relative to one ffmpeg process per quality",
        "ffmpeg": program.version,
        "clips": CLIPS,
        "frames": frames_total,
        "repeats": REPEATS,
        "cpu_ms_per_frame_of_the_reference": round(1000 * reference / frames_total, 2),
        "ratio": {name: round(value / reference, 3) for name, value in medians.items()},
    }
    for name, ratio in result["ratio"].items():
        print(f"{name:30s} {ratio:.2f}")
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


def cpu_seconds(work: Callable[[], None]) -> float:
    """Return user and system time that ``work`` took in this process and its children."""
    before = _used()
    work()
    return _used() - before


def _used() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


if __name__ == "__main__":
    main()
