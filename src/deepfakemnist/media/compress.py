"""The one encode chain of real and fake clips: each clip once decoded, once piped, encoded at every quality.

Nothing but pixels enters a file: no label, no name, no date. Colours are BT.601 with limited range, tagged as such:
readers that ignore tags assume just that for small pictures, so all readers see the same colours.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import ffmpeg as graphs
import numpy as np

from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.container import open_video
from deepfakemnist.media.decode import read_clip
from deepfakemnist.media.encode import COMMON_OUTPUT
from deepfakemnist.media.ffmpeg import FFmpeg, absolute, arguments, find_ffmpeg, frames_input, run_graph
from deepfakemnist.media.pixels import pixels_sha256
from deepfakemnist.settings import CompressSettings, Quality
from deepfakemnist.shards import Tally, run_shard
from deepfakemnist.tables import COMPRESSED, OK, Row, atomic_path, read_rows

#: RGB to YUV, spelled out: without it ffmpeg's choice depends on version and build. bitexact: the same on every CPU.
_TO_YUV = "scale=in_range=pc:out_range=tv:out_color_matrix=bt601:flags=bicubic+full_chroma_int+accurate_rnd+bitexact"
_YUV_TAGS = {"colorspace": "smpte170m", "color_primaries": "smpte170m", "color_trc": "smpte170m", "color_range": "tv"}
#: Frame times in an MP4 are rounded to its time base.
_FPS_TOLERANCE = 1e-3


def compress_shard(
    clips: Path,
    table: Path,
    folder: Path,
    *,
    label: int,
    settings: CompressSettings,
    fps: float,
    code: str,
    ffmpeg: str | None = None,
    max_failed_fraction: float = 1.0,
) -> Tally:
    """Encode every usable clip of ``clips`` at every quality and write ``table`` (``tables.COMPRESSED``).

    Args:
        clips: table of working clips (``tables.CROPPED`` or ``tables.SELECTED``).
        table: table to write, one row per clip and quality.
        folder: where the files go, as ``<quality>/<video_id>.mp4``.
        label: 1 fake, 0 real; goes to the table, never into a file.
        settings: qualities, and the number of frames kept.
        fps: frame rate of the clips.
        code: digest of this code.
        ffmpeg: program to use; None searches.
        max_failed_fraction: see :func:`deepfakemnist.shards.run_shard`.

    Reasons beside those of reading a video: rejected with odd_size; failed with input_changed, encode_failed,
    encode_differs.
    """
    program = find_ffmpeg(ffmpeg)
    work = partial(compress_clip, folder=folder, label=label, settings=settings, fps=fps, program=program)
    rows = [row for row in read_rows(clips) if row["status"] == OK]
    return run_shard(
        [{**row, "label": label} for row in rows],
        *(table, COMPRESSED, work),
        code=code,
        settings=settings,
        inputs=f"{fps} {program.version}",
        max_failed_fraction=max_failed_fraction,
    )


def compress_clip(
    row: Row, folder: Path, label: int, settings: CompressSettings, fps: float, program: FFmpeg
) -> list[Row]:
    """Encode one clip; return one row per quality, in the order of the settings.

    Raises: Rejected, Failed; see :func:`compress_shard`.
    """
    clip = read_clip(row["path"])
    input_pixels = pixels_sha256(clip)
    if input_pixels != row["pixels_sha256"]:
        raise Failed("input_changed", f"{row['path']}: its pixels are not those its table row was written for")
    if settings.max_frames is not None and len(clip) > settings.max_frames:
        clip = clip[: settings.max_frames]
        input_pixels = pixels_sha256(clip)
    height, width = clip.shape[1:3]
    odd = [name for name, quality in settings.qualities.items() if quality.pix_fmt == "yuv420p"]
    if odd and (width % 2 or height % 2):
        raise Rejected("odd_size", f"{width}x{height}; yuv420p ({', '.join(odd)}) needs even sides")
    with ExitStack() as files:
        paths = {name: folder / name / f"{row['video_id']}.mp4" for name in settings.qualities}
        parts = {name: files.enter_context(atomic_path(path)) for name, path in paths.items()}
        graph = encode_graph(parts, settings.qualities, width, height, fps)
        run_graph(graph, program, clip)
        known = {absolute(part): f"{name}.mp4" for name, part in parts.items()}
        shared: Row = {
            "video_id": row["video_id"],
            "label": label,
            "frames": len(clip),
            "fps": fps,
            "width": width,
            "height": height,
            # Temporary names differ from run to run; the table must not.
            "ffmpeg_argv": json.dumps(["ffmpeg", *(known.get(word, word) for word in arguments(graph))]),
            "ffmpeg_version": program.version,
            "input_pixels_sha256": input_pixels,
        }
        return [
            {
                **shared,
                "quality": name,
                "path": str(paths[name]),
                "encoder": json.dumps(quality.model_dump(exclude_none=True), sort_keys=True),
                **_verify(parts[name], clip, fps),
            }
            for name, quality in settings.qualities.items()
        ]


def encode_graph(parts: dict[str, Path], qualities: dict[str, Quality], width: int, height: int, fps: float) -> Any:
    """Return the ffmpeg-python graph that turns rgb24 frames on standard input into one file per quality."""
    frames = frames_input(width, height, fps)
    outputs = []
    for name, quality in qualities.items():
        rate = {"crf": quality.crf} if quality.qp is None else {"qp": quality.qp}
        colour = {} if quality.codec == "libx264rgb" else {"vf": _TO_YUV, **_YUV_TAGS}
        outputs.append(
            frames.output(
                absolute(parts[name]),
                vcodec=quality.codec,
                preset=quality.preset,
                pix_fmt=quality.pix_fmt,
                **rate,
                **colour,
                **COMMON_OUTPUT,
            )
        )
    return graphs.merge_outputs(*outputs)


def _verify(part: Path, clip: np.ndarray, fps: float) -> Row:
    """Decode what was written, hold it against what was meant, and return what is measured on it."""
    with open_video(part) as video:
        found_fps = float(1 / video.frame_duration)
    coded = read_clip(part)
    if coded.shape != clip.shape or abs(found_fps - fps) > _FPS_TOLERANCE * fps:
        raise Failed(
            "encode_differs",
            f"(frames, height, width, 3) and fps are {coded.shape} {found_fps:g} instead of {clip.shape} {fps:g}",
        )
    squares = sum(cv2.norm(before, after, cv2.NORM_L2SQR) for before, after in zip(clip, coded, strict=True))
    error = squares / clip.size
    return {
        "bytes": part.stat().st_size,
        "pixels_sha256": pixels_sha256(coded),
        "psnr_db": 10 * float(np.log10(255**2 / error)) if error else None,
    }
