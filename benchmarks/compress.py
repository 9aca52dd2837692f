"""Compression stage benchmark: CPU cost of the encode chain relative to x264 alone.

    python benchmarks/compress.py [CLIP ...]    prints the table and writes benchmarks/compress.json

Reference: x264 alone, one ffmpeg process with an output per quality, fed pre-converted samples, with the options of
the qualities and no others: any instruction set, and CABAC for raw. Measured: x264 with the options of the stage,
which give the same pixels on every CPU, and with those of ``portable: false``; in all following rows the former, if
not said otherwise: plus colour conversion; one process per quality, as with one rule per quality; the complete stage
(reading and checking the working clip, verifying every output by a full decode, hashes, PSNR, SSIM), for a real and
for a fake, which is marked and signed; and, on their own, the two unavoidable parts of the stage: decoding the working
clip once, and every output once. The clips are generated, synthetic talking heads, whose grain makes lossless coding
dear; or those named on the command line, which are not written to the file. CPU seconds of this process and its
children; median of the repeats.
"""

from __future__ import annotations

import json
import statistics
import sys
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
from deepfakemnist.media.decode import read_clip
from deepfakemnist.media.encode import DETERMINISTIC_X264, LOSSLESS_X264, write_working_clip
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
        named = {Path(word).stem: read_clip(word) for word in sys.argv[1:]}
        filmed = {clip.name: np.stack(list(film(clip, CAST, load_bank()))) for clip in sources(CAST) if not named}
        for video, frames in (named or filmed).items():
            path = folder / f"{video}.mp4"
            made = write_working_clip(path, frames, FPS)
            row = {"video_id": video, "path": str(path), "pixels_sha256": made.pixels_sha256}
            clips.append((row, frames))

        samples = [list(to_samples(frames, "yuv420p")) for _, frames in clips]

        def x264_as_it_is() -> None:
            with patch.dict(DETERMINISTIC_X264, clear=True), patch.dict(LOSSLESS_X264, clear=True):
                x264()

        def x264(portable: bool = True) -> None:
            for (row, _), converted in zip(clips, samples, strict=True):
                graph = encode_graph(parts_of(row), settings.qualities, SIDE, SIDE, FPS, portable)
                run_graph(graph, program, converted)

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

        def stage(label: int, portable: bool) -> None:
            for row, _ in clips:
                compress_clip(row, folder, label, CompressSettings(portable=portable), FPS, program)

        def read_working_clips() -> None:
            for row, _ in clips:
                drain(Path(row["path"]))

        def read_outputs() -> None:
            for row, _ in clips:
                for path in parts_of(row).values():
                    drain(path)

        workloads = {
            "x264 alone": x264_as_it_is,
            "x264 alone, deterministic across CPUs": x264,
            "x264 alone, not portable": partial(x264, portable=False),
            "with colour conversion": together,
            "with colour conversion, one process per quality": separately,
            "complete stage, real clip": partial(stage, 0, portable=True),
            "complete stage, fake clip": partial(stage, 1, portable=True),
            "complete stage, real clip, not portable": partial(stage, 0, portable=False),
            "complete stage, fake clip, not portable": partial(stage, 1, portable=False),
            "decoding the working clip only": read_working_clips,
            "decoding the three outputs only": read_outputs,
        }
        times: dict[str, list[float]] = {name: [] for name in workloads}
        for _ in range(REPEATS):  # interleaved, so that background load affects all rows equally
            for name, work in workloads.items():
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
        print(f"{name:48s} {ratio:.2f}")
    if not named:
        Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


def drain(path: Path) -> None:
    with open_video(path) as video:
        for _ in every_frame(video):
            pass


if __name__ == "__main__":
    main()
