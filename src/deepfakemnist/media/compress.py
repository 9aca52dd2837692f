"""Compression stage: one encode chain for real and fake clips, at every quality.

Each clip is decoded once and piped once. Only pixels enter a file: no label, no name, no date. Colours are tagged
BT.601 limited range, which readers that ignore tags assume for small frames anyway, so all readers see the same
colours. Fakes are marked as synthetic after encoding and measuring, outside the coded stream.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deepfakemnist.config.dataset import CompressSettings, Quality
from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.colour import to_samples
from deepfakemnist.media.container import every_frame, open_video
from deepfakemnist.media.credentials import check_signer
from deepfakemnist.media.encode import COMMON_OUTPUT, DETERMINISTIC_X264, FASTER_X264, LOSSLESS_X264
from deepfakemnist.media.encoder_notes import encoder_version
from deepfakemnist.media.ffmpeg import FFmpeg, absolute, arguments, find_ffmpeg, frames_input, merge_outputs, run_graph
from deepfakemnist.media.marks import coded_stream, mark_synthetic, read_marks
from deepfakemnist.media.picture import Picture
from deepfakemnist.media.pixels import pixels_sha256
from deepfakemnist.media.samples import open_samples
from deepfakemnist.media.similarity import Similarity, vmaf
from deepfakemnist.tables.checksums import check_unchanged
from deepfakemnist.tables.files import atomic_path, read_rows
from deepfakemnist.tables.schemas import COMPRESSED, OK, Row
from deepfakemnist.tables.shards import Tally, run_shard

_YUV_TAGS = {"colorspace": "smpte170m", "color_primaries": "smpte170m", "color_trc": "smpte170m", "color_range": "tv"}
#: Piped samples carry no colour tags; without these ffmpeg would guess and convert.
_TAGGED = "setparams=range=tv:colorspace=smpte170m:color_primaries=smpte170m:color_trc=smpte170m"
#: Single-threaded like x264 (see COMMON_OUTPUT); these encoders have their own thread pools. Players need hvc1.
_OF_CODEC: dict[str, dict[str, Any]] = {
    "libx265": {"x265-params": "pools=none:frame-threads=1:log-level=error", "tag:v": "hvc1"},
    "libsvtav1": {"svtav1-params": "lp=1"},
}
_SVT_PRESETS = {"ultrafast": 12, "veryfast": 10, "fast": 8, "medium": 6, "slow": 4}
#: MP4 rounds frame times to its time base.
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
    lengths: Mapping[str, int] | None = None,
    software: str = "",
    ffmpeg: str | None = None,
    max_failed_fraction: float = 1.0,
) -> Tally:
    """Encode every usable clip of ``clips`` at every quality and write ``table`` (``tables.COMPRESSED``).

    Args:
        clips: table of working clips (``tables.CROPPED`` or ``tables.SELECTED``).
        table: table to write, one row per clip and quality.
        folder: where the files go, as ``<quality>/<video_id>.mp4``.
        label: 1 fake, 0 real; written to the table. Only fakes are marked as synthetic.
        settings: qualities, maximum length and marks.
        fps: frame rate of the clips.
        code: digest of this code.
        lengths: frames to keep, by video_id; other clips keep all. See :func:`.lengths.pair_lengths`.
        software: what generated the fakes; named in their marks.
        ffmpeg: program to use; None searches for one.
        max_failed_fraction: see :func:`deepfakemnist.tables.shards.run_shard`.

    Reasons besides those of :mod:`.container`: rejected with odd_size; failed with input_changed, encode_failed,
    encode_differs, mark_differs.

    Raises: ConfigError when ffmpeg lacks an encoder or the marks cannot be signed.
    """
    program = find_ffmpeg(ffmpeg)
    program.require(quality.codec for quality in settings.qualities.values())
    if label and settings.mark.c2pa:
        check_signer(settings.mark)
    work = partial(
        compress_clip, folder=folder, label=label, settings=settings, fps=fps, program=program, software=software
    )
    rows = [row for row in read_rows(clips) if row["status"] == OK]
    return run_shard(
        [{**row, "label": label, "keep_frames": (lengths or {}).get(row["video_id"])} for row in rows],
        table,
        COMPRESSED,
        work,
        code=code,
        settings=settings,
        inputs=f"{fps} {program.version} {software}",
        depends_on=("video_id", "label", "pixels_sha256", "keep_frames"),
        max_failed_fraction=max_failed_fraction,
    )


def compress_clip(
    row: Row,
    folder: Path,
    label: int,
    settings: CompressSettings,
    fps: float,
    program: FFmpeg,
    software: str = "",
) -> list[Row]:
    """Encode one clip; return one row per quality, in config order.

    Raises: Rejected, Failed, ConfigError; see :func:`compress_shard`.
    """
    check_unchanged(row["path"], row.get("sha256"))  # otherwise damage would pass for that of a video
    clip, input_pixels, total = _read_input(row, settings.max_frames)
    kept = len(clip)
    height, width = clip[0].shape[:2]
    odd = [name for name, quality in settings.qualities.items() if quality.pix_fmt == "yuv420p"]
    if odd and (width % 2 or height % 2):
        raise Rejected("odd_size", f"{width}x{height}; yuv420p ({', '.join(odd)}) needs even sides")
    shared: Row = {
        "video_id": row["video_id"],
        "label": label,
        "frames": kept,
        "frames_cut": total - kept,
        "fps": fps,
        "width": width,
        "height": height,
        "ffmpeg_version": program.version,
        "input_pixels_sha256": input_pixels,
    }
    with ExitStack() as files:
        paths = {name: folder / name / f"{row['video_id']}.mp4" for name in settings.qualities}
        parts = {name: files.enter_context(atomic_path(path)) for name, path in paths.items()}
        facts = _encode_and_measure(clip, parts, settings, fps, program)
        for part in parts.values() if label else ():
            mark_synthetic(part, settings.mark, software or "deepfakemnist")
        return [
            {
                **shared,
                "quality": name,
                "path": str(paths[name]),
                "encoder": json.dumps(quality.model_dump(exclude_none=True), sort_keys=True),
                **facts[name],
                **_file_facts(parts[name], settings),
            }
            for name, quality in settings.qualities.items()
        ]


def _read_input(row: Row, max_frames: int | None) -> tuple[list[np.ndarray], str, int]:
    """Return the frames of a clip that are kept, the hash of their pixels, and the length of the clip.

    Raises: Failed with reason input_changed.
    """
    limits = [limit for limit in (row.get("keep_frames"), max_frames) if limit is not None]
    most = min(limits, default=None)
    if most is not None and row.get("sha256") and most < (row.get("frames") or 0):
        # The file has the bytes of its row, hence its pixels: nothing is left to learn from the frames beyond.
        clip = _read_pictures(row["path"], most)
        return clip, pixels_sha256(clip), row["frames"]
    clip = _read_pictures(row["path"])
    found = pixels_sha256(clip)
    if found != row["pixels_sha256"]:
        raise Failed("input_changed", f"{row['path']}: pixels differ from those recorded in its table row")
    kept = clip[:most]
    return kept, found if len(kept) == len(clip) else pixels_sha256(kept), len(clip)


def encode_graph(
    parts: dict[str, Path], qualities: dict[str, Quality], width: int, height: int, fps: float, portable: bool = True
) -> Any:
    """Return the ffmpeg-python graph that turns samples on standard input into one file per quality.

    All qualities share one pix_fmt, that of the samples (:func:`.colour.to_samples`). ``portable`` is that of
    ``CompressSettings``.
    """
    (pix_fmt,) = {quality.pix_fmt for quality in qualities.values()}
    frames = frames_input(width, height, fps, pix_fmt)
    outputs = []
    for name, quality in qualities.items():
        rate: dict[str, Any] = {"crf": quality.crf} if quality.qp is None else {"qp": quality.qp}
        if quality.codec.startswith("libx264"):
            lossy = DETERMINISTIC_X264 if portable else FASTER_X264
            rate |= LOSSLESS_X264 if quality.qp == 0 else lossy
        preset = _SVT_PRESETS[quality.preset] if quality.codec == "libsvtav1" else quality.preset
        outputs.append(
            frames.output(
                absolute(parts[name]),
                vcodec=quality.codec,
                preset=preset,
                pix_fmt=pix_fmt,
                **rate,
                **({} if pix_fmt == "rgb24" else {"vf": _TAGGED, **_YUV_TAGS}),
                **_OF_CODEC.get(quality.codec, {}),
                **COMMON_OUTPUT,
            )
        )
    return merge_outputs(outputs)


def _encode_and_measure(
    clip: Sequence[np.ndarray], parts: dict[str, Path], settings: CompressSettings, fps: float, program: FFmpeg
) -> dict[str, Row]:
    """Encode every quality; return the measurements by quality.

    Qualities with the same input samples share one ffmpeg process, as the paper's raw, c23 and c40 do.
    """
    height, width = clip[0].shape[:2]
    facts: dict[str, Row] = {}
    first = next(iter(settings.qualities))
    #: The clip in every pixel format that is encoded: the reference for each file.
    references: dict[str, list[np.ndarray]] = {
        pix_fmt: list(to_samples(clip, pix_fmt)) for pix_fmt in {one.pix_fmt for one in settings.qualities.values()}
    }
    groups: dict[tuple[str | None, str, int | None], dict[str, Quality]] = {}
    for name, quality in settings.qualities.items():
        groups.setdefault((quality.after, quality.pix_fmt, quality.shrink_to), {})[name] = quality
    # Second-generation encodes need the first generation on disk; the sort is stable otherwise.
    for (before, pix_fmt, shrink_to), group in sorted(groups.items(), key=lambda item: item[0][0] is not None):
        outputs = {name: parts[name] for name in group}
        graph = encode_graph(outputs, group, width, height, fps, settings.portable)
        samples: Iterable[np.ndarray] = references[pix_fmt]
        if before is not None or shrink_to is not None:
            samples = to_samples(clip if before is None else _read_pictures(parts[before]), pix_fmt, shrink_to)
        run_graph(graph, program, samples)
        # Temporary names differ between runs; the table must not.
        known = {absolute(parts[name]): f"{name}.mp4" for name in group}
        argv = json.dumps(["ffmpeg", *(known.get(word, word) for word in arguments(graph))])
        for name in group:
            measured = _verify(parts[name], references[pix_fmt], (width, height), fps, rgb=pix_fmt == "rgb24")
            facts[name] = {"ffmpeg_argv": argv, **measured}
            if settings.vmaf and name != first:
                facts[name]["vmaf"] = vmaf(parts[first], parts[name], program)
    return facts


def _read_pictures(path: Path | str, most: int | None = None) -> list[np.ndarray]:
    """Return the frames of a working clip or encode, (H,W,3) uint8 RGB; constant rate, so times are ignored.

    All of them, which proves the file complete, or the first ``most``.
    """
    with open_video(path) as video:
        return [Picture(frame).rgb() for frame in islice(every_frame(video), most)]


def _verify(part: Path, reference: Sequence[np.ndarray], size: tuple[int, int], fps: float, rgb: bool) -> Row:
    """Decode an encoded file, compare it with its reference samples, and return the measurements."""
    similarity = Similarity(reference, size, rgb)
    with open_samples(part) as coded:
        for index, samples in enumerate(coded):
            if index < len(reference) and samples.size == reference[index].size:
                similarity.add(index, samples)
        found = (coded.frames, *coded.size, float(1 / coded.video.frame_duration))
        same_format = samples.size == reference[0].size
    if found[:3] != (len(reference), *size) or not same_format or abs(found[3] - fps) > _FPS_TOLERANCE * fps:
        raise Failed(
            "encode_differs",
            f"frames, width, height and fps are {found} instead of {(len(reference), *size, fps)}"
            + ("" if same_format else ", in another pixel format"),
        )
    return {
        "pixels_sha256": coded.hexdigest(),
        "psnr_db": similarity.psnr_db,
        "ssim": similarity.ssim,
        "encoder_version": encoder_version(part),
    }


def _file_facts(part: Path, settings: CompressSettings) -> Row:
    """Return size and hash of the finished file, marks included, and of its coded stream alone."""
    data = part.read_bytes()
    stream = coded_stream(part)
    return {
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "stream_bytes": stream.bytes,
        "stream_sha256": stream.sha256,
        "marks": read_marks(part, c2pa=settings.mark.c2pa).names,
    }
