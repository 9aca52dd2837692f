"""What the encode chain costs, as ratios measured in one run.

    python benchmarks/compress.py            prints the table and writes benchmarks/compress.json

Reference: x264 alone, one ffmpeg process with an output per quality, fed samples that were converted before, free to
use any instruction of the processor. Measured: x264 held to those that give the same pixels everywhere, as in all that
follows; with the conversion; a process per quality, as a rule per quality would do; the whole stage (reading and
checking the working clip, verifying every output by a full decode, hashes, PSNR, SSIM), for a real and for a fake,
which is marked and signed; and by themselves the two things that no order of work can spare the stage: to decode the
working clip once, and every output once. Clips are made here: synthetic actors who talk.
CPU seconds of this process and its children; the median of the repeats.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
from cpu_time import cpu_seconds

from deepfakemnist.actors.bank import load_bank
from deepfakemnist.actors.cast import CastSettings, film, sources
from deepfakemnist.config.dataset import CompressSettings
from deepfakemnist.media.colour import to_samples
from deepfakemnist.media.compress import compress_clip, encode_graph
from deepfakemnist.media.container import every_frame, open_video
from deepfakemnist.media.encode import SAME_EVERYWHERE, write_working_clip
from deepfakemnist.media.ffmpeg import find_ffmpeg, run_graph
from deepfakemnist.tables.schemas import Row

CLIPS, REPEATS, SIDE, FPS = 2, 5, 256, 25.0
CAST = CastSettings(
    folder=Path(), heads=CLIPS, sources=CLIPS, drivers=0, drivers_per_action=0, source_frames=125, width=SIDE,
    height=SIDE, close_up=True,
)  # fmt: skip


def main() -> None:
    program, settings = find_ffmpeg(), CompressSettings()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = []
        for clip in sources(CAST):
            frames = np.stack(list(film(clip, CAST, load_bank())))
            path = folder / f"{clip.name}.mp4"
            made = write_working_clip(path, frames, FPS)
            row = {"video_id": clip.name, "path": str(path), "pixels_sha256": made.pixels_sha256}
            clips.append((row, frames))

        samples = [list(to_samples(frames, "yuv420p")) for _, frames in clips]

        def x264_as_it_likes() -> None:
            with patch.dict(SAME_EVERYWHERE, clear=True):
                x264()

        def x264() -> None:
            for (row, _), ready in zip(clips, samples, strict=True):
                run_graph(encode_graph(parts_of(row), settings.qualities, SIDE, SIDE, FPS), program, ready)

        def parts_of(row: Row) -> dict[str, Path]:
            return {quality: folder / f"{row['video_id']}.{quality}.mp4" for quality in settings.qualities}

        def separately() -> None:
            for row, frames in clips:
                for quality, value in settings.qualities.items():
                    graph = encode_graph({quality: parts_of(row)[quality]}, {quality: value}, SIDE, SIDE, FPS)
                    run_graph(graph, program, to_samples(frames, "yuv420p"))

        def together() -> None:
            for row, frames in clips:
                graph = encode_graph(parts_of(row), settings.qualities, SIDE, SIDE, FPS)
                run_graph(graph, program, to_samples(frames, "yuv420p"))

        def stage(label: int) -> None:
            for row, _ in clips:
                compress_clip(row, folder, label, settings, FPS, program)

        def read_working_clips() -> None:
            for row, _ in clips:
                drain(Path(row["path"]))

        def read_outputs() -> None:
            for row, _ in clips:
                for path in parts_of(row).values():
                    drain(path)

        names = {
            "x264 alone": x264_as_it_likes,
            "x264 alone, the same pixels everywhere": x264,
            "with conversion": together,
            "with conversion, a process per quality": separately,
            "the stage, a real": partial(stage, 0),
            "the stage, a fake": partial(stage, 1),
            "decode the working clip, nothing else": read_working_clips,
            "decode the three outputs, nothing else": read_outputs,
        }
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(REPEATS):  # interleaved, so that a noisy moment hits all alike
            for name, work in names.items():
                times[name].append(cpu_seconds(work))
        frames_total = sum(len(frames) for _, frames in clips)

    medians = {name: statistics.median(values) for name, values in times.items()}
    reference = medians["x264 alone"]
    result = {
        "what": "CPU cost of encoding raw, c23 and c40, relative to x264 alone",
        "ffmpeg": program.version,
        "clips": CLIPS,
        "frames": frames_total,
        "repeats": REPEATS,
        "cpu_ms_per_frame_of_the_reference": round(1000 * reference / frames_total, 2),
        "ratio": {name: round(value / reference, 3) for name, value in medians.items()},
    }
    for name, ratio in result["ratio"].items():
        print(f"{name:40s} {ratio:.2f}")
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


def drain(path: Path) -> None:
    with open_video(path) as video:
        for _ in every_frame(video):
            pass


if __name__ == "__main__":
    main()
