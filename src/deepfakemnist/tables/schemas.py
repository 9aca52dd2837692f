"""Arrow schemas of the stages' tables; :mod:`.files` reads and writes them.

Every stage reads tables and writes one. Their common columns are ``status`` (``ok``; ``rejected``: excluded by a data
rule; ``failed``: an error), ``reason`` (short stable code, empty when ok) and ``detail`` (the message).
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from deepfakemnist.tables.columns import BEST_FRAME, SOURCE_FRAME, column

Row = dict[str, Any]

OK, REJECTED, FAILED = "ok", "rejected", "failed"


def _schema(*fields: pa.Field) -> pa.Schema:
    return pa.schema([*fields, *_STATUS])


_STATUS = (
    column("status", pa.string(), "ok, rejected (excluded by a data rule) or failed (an error)"),
    column("reason", pa.string(), "short stable code; empty when ok"),
    column("detail", pa.string(), "observed and allowed values"),
)
_VIDEO_ID = column("video_id", pa.string(), "clip id; source@driver for a fake")
_PERSON = column("person_id", pa.string(), "person shown; splits are disjoint by person")
_ACTION = column("action", pa.string(), "facial action shown; empty for sources")
_PATH = column("path", pa.string(), "file path, relative to the working directory")
_PIXELS = column("pixels_sha256", pa.string(), "sha256 of the decoded RGB frames, independent of the container")
_SAMPLES = column(
    "pixels_sha256", pa.string(), "sha256 of the decoded samples as stored: Y, U, V planes, or RGB pixels"
)
_CODE = column("code", pa.string(), "modules that produced the row, and a digest of the library code behind them")
_BYTES = column("bytes", pa.int64(), "size of the file at path, bytes")
_SHA256 = column("sha256", pa.string(), "sha256 of the file at path")
_FRAMES = column("frames", pa.int32(), "number of decoded frames")
_SOURCE_ID = column("source_id", pa.string(), "source video whose face is animated")
_DRIVER_ID = column("driver_id", pa.string(), "driving video that provides the motion")
_DRIVER_PERSON = column("driver_person_id", pa.string(), "person in the driving video")
_SPLIT = column("split", pa.string(), "train, val or test; disjoint by person")
_PLAN_ORDER = column(
    "plan_order", pa.int64(), "seeded order within action and split; a quota keeps the first that pass"
)
_ROUND = column("round", pa.int32(), "planning round, from 1")
_TURN = column("turn", pa.int32(), "number of earlier candidates of this source and action, each with another driver")
_LABEL = column("label", pa.int8(), "1 fake, 0 real")
_IDENTITY_KEPT = column(
    "identity_kept", pa.float64(), "face identity similarity; 1: the source person, 0: an average stranger"
)
_SHARPNESS_RATIO = column("sharpness_ratio", pa.float64(), "sharpness of the face ÷ that of the source frame")
_TEARING = column(
    "tearing",
    pa.float64(),
    "instability of the face's outline in the worst frame beyond that in the source, percent of the eye distance",
)
_ANIMATOR = column("animator", pa.string(), "animator, by its label in the config")
_ANIMATOR_WEIGHTS = column("checkpoint_sha256", pa.string(), "sha256 of the animator's weights; empty if it has none")

INGESTED = _schema(
    _VIDEO_ID,
    column("role", pa.string(), "source or driver"),
    _PERSON,
    _ACTION,
    _PATH,
    column("start_s", pa.float64(), "start of the segment, seconds; null for the whole video"),
    column("end_s", pa.float64(), "end of the segment, seconds; null for the whole video"),
    column("adapter", pa.string(), "how the video was listed: sheet, folder, vox-metadata or voxceleb1"),
    column("cropped", pa.bool_(), "already a face crop; used unchanged"),
    column(
        "boxes",
        pa.list_(pa.list_(pa.float64())),
        "annotated face boxes: time in seconds, left, top, width, height in upright pixels; null for none",
    ),
    column("sha256", pa.string(), "sha256 of the file"),
    column("bytes", pa.int64(), "file size, bytes"),
    column("codec", pa.string(), "codec of the video stream"),
    column("pix_fmt", pa.string(), "pixel format as stored"),
    column("bit_depth", pa.int32(), "bits per colour component, as stored"),
    column("width", pa.int32(), "pixels, as stored"),
    column("height", pa.int32(), "pixels, as stored"),
    column("sample_aspect_ratio", pa.string(), "width to height of a stored pixel, e.g. 64:45; 1:1 is square"),
    column("rotation", pa.int32(), "counter-clockwise rotation to upright, degrees: 0, 90, 180 or 270"),
    column("mirrored", pa.bool_(), "the rotated picture is mirrored left to right as well, as the file says"),
    column("display_width", pa.int32(), "pixels, upright and square, as used by later stages"),
    column("display_height", pa.int32(), "pixels, upright and square, as used by later stages"),
    column("fps", pa.float64(), "average frames per second"),
    column("variable_rate", pa.bool_(), "variable frame rate"),
    column("duration_s", pa.float64(), "duration by frame times, seconds; of the segment, if one is given"),
    column("frames", pa.int32(), "number of decoded frames; of the segment, if one is given"),
    column(
        "frames_left_out",
        pa.int32(),
        "pictures at the start that no player shows, because a cut removed what they depend on",
    ),
)

CROPPED = _schema(
    _VIDEO_ID,
    column("role", pa.string(), "source or driver"),
    _PERSON,
    _ACTION,
    _PATH,
    _FRAMES,
    column("fps", pa.float64(), "frames per second of the cropped clip"),
    column("size", pa.int32(), "side of the square clip, pixels"),
    column("box_left", pa.float64(), "left edge of the crop in upright source pixels; may be negative"),
    column("box_top", pa.float64(), "top edge of the crop in upright source pixels; may be negative"),
    column("box_side", pa.float64(), "longer side of the crop, source pixels"),
    column(
        "box_width", pa.float64(), "width of the crop, source pixels; box_side unless an annotated box is stretched"
    ),
    column("box_height", pa.float64(), "height of the crop, source pixels"),
    column("padded", pa.float64(), "fraction of the crop's area outside the frame, 0..1"),
    column("policy", pa.string(), "crop policy: square-track, vox-metadata, ff-1.3 or as-cropped"),
    column("kept_from_s", pa.float64(), "start of the clip in the video, seconds"),
    column("kept_to_s", pa.float64(), "end of the clip in the video, seconds, exclusive"),
    column("dropped_frames", pa.int32(), "frames at fps dropped because of cuts"),
    column("cuts", pa.string(), "shot and person changes as JSON: [{time_s, what}]"),
    column("face_px", pa.float64(), "median side of the face box, sqrt(width × height), source pixels"),
    column("face_fraction", pa.float64(), "fraction of detection frames that show the tracked face, 0..1"),
    column("face_score", pa.float64(), "mean face detector score over those frames, 0..1"),
    column("other_faces", pa.float64(), "fraction of detection frames with another face at least half as large, 0..1"),
    column("sharpness", pa.float64(), "median variance of the Laplacian over detection frames of the crop"),
    column("brightness", pa.float64(), "mean luma of the crop, 0..255"),
    column(
        "face_motion",
        pa.float64(),
        "motion of the face within itself, percent of its side; near 0 in a frozen picture or filmed photograph; null "
        "for clips of one or two frames",
    ),
    column("interpolated", pa.float64(), "fraction of frames next to a missed detection, 0..1"),
    column("yaw_range", pa.float64(), "5th to 95th percentile range of head yaw, degrees"),
    column("pitch_range", pa.float64(), "5th to 95th percentile range of head pitch, degrees"),
    column("roll_range", pa.float64(), "5th to 95th percentile range of head roll, degrees"),
    *BEST_FRAME,
    column("source_sha256", pa.string(), "sha256 of the source file"),
    _BYTES,
    _SHA256,
    _PIXELS,
    _CODE,
)

IDENTITIES = _schema(
    _VIDEO_ID,
    _PERSON,
    _PATH,
    _FRAMES,
    column("embedding", pa.list_(pa.float32(), 128), "mean face embedding of the clip; see faces/identity.py"),
    column("faces", pa.int32(), "number of frames with a face that it is the mean of"),
    _PIXELS,
    _CODE,
)

CHOICE = _schema(
    _VIDEO_ID,
    _PERSON,
    column("place", pa.int64(), "rank in the seeded order, from 0; the first non-duplicates are kept"),
    _FRAMES,
    column("face_px", pa.float64(), "median side of the face box, source pixels"),
    _PIXELS,
)

MOTIONS = _schema(
    _VIDEO_ID,
    _PERSON,
    _ACTION,
    column(
        "path",
        pa.string(),
        "npz with the animator's motion, arrays with an entry per driver frame, e.g. keypoints `value` (T,K,D)",
    ),
    _FRAMES,
    _BYTES,
    _SHA256,
    _ANIMATOR,
    _ANIMATOR_WEIGHTS,
    _CODE,
)

CANDIDATES = pa.schema([_SOURCE_ID, _PERSON, _ACTION, _SPLIT, _PLAN_ORDER, _ROUND, _TURN, _ANIMATOR])

PLANNED = _schema(
    _VIDEO_ID,
    _SOURCE_ID,
    _DRIVER_ID,
    _PERSON,
    _DRIVER_PERSON,
    _ACTION,
    _SPLIT,
    _ROUND,
    _PLAN_ORDER,
    _ANIMATOR,
    column("source_path", pa.string(), "cropped source clip"),
    column("source_clip_sha256", pa.string(), "sha256 of the file of the cropped source clip"),
    column("source_pixels_sha256", pa.string(), "pixel hash of the cropped source clip"),
    *BEST_FRAME,
    column("motion_path", pa.string(), "motion file of the driver; its crop if the clip is rendered elsewhere"),
    column("motion_sha256", pa.string(), "sha256 of the motion file"),
    column("motion_frames", pa.int32(), "number of driver frames"),
    column("motion_checkpoint_sha256", pa.string(), "sha256 of the weights that the motion was extracted with"),
)

ANIMATED = _schema(
    _VIDEO_ID,
    _SOURCE_ID,
    _DRIVER_ID,
    _PERSON,
    _DRIVER_PERSON,
    _ACTION,
    _SPLIT,
    _PLAN_ORDER,
    _PATH,
    _FRAMES,
    *SOURCE_FRAME,
    _ANIMATOR,
    column("animator_licence", pa.string(), "licence of the animator's code and weights"),
    column(
        "motion_mode", pa.string(), "how motion is transferred: relative, absolute, or a mode of the animator's own"
    ),
    column("adapt_scale", pa.bool_(), "relative motion was scaled by the ratio of the face sizes"),
    column("start_frame", pa.int32(), "driver frame that relative motion starts from"),
    column(
        "mouth_from",
        pa.string(),
        "whose pixels the inside of the mouth shows: source, or generated from it; driver; or synthetic, drawn. Empty "
        "for reals",
    ),
    column("align_corners", pa.bool_(), "grid_sample convention of the warp; null if not applicable"),
    column(
        "precision",
        pa.string(),
        "arithmetic of pixel generation; in brackets, layers kept in float32 as this GPU computes them incorrectly",
    ),
    column(
        "rendered_size",
        pa.int32(),
        "side of the frames that the animator rendered, pixels; reduced to the clip's by area; null for reals",
    ),
    column(
        "framing",
        pa.string(),
        "what of the source was animated: crop, the crop of this run, or the animator's own framing; empty for reals",
    ),
    column(
        "reproducible_pixels",
        pa.string(),
        "processors on which the same crop and motion give identical pixels: every_processor, or one_processor (same "
        "instruction set only); empty for reals",
    ),
    _ANIMATOR_WEIGHTS,
    _BYTES,
    _SHA256,
    _PIXELS,
    _CODE,
)

ANIMATION_QUALITY = _schema(
    _VIDEO_ID,
    _SOURCE_ID,
    _DRIVER_ID,
    _PERSON,
    _ACTION,
    _SPLIT,
    _ANIMATOR,
    _PATH,
    _FRAMES,
    column("source_frame", pa.int32(), "frame of the source clip that was animated, from 0"),
    column("face_share", pa.float64(), "fraction of frames that show a face, 0..1"),
    column(
        "transfer", pa.float64(), "amplitude of the action ÷ the driver's, along the driver's curve; NaN if unknown"
    ),
    column("correlation", pa.float64(), "correlation of the action's signals with the driver's, -1..1"),
    column("direction", pa.float64(), "alignment of the motion with the action's direction, -1..1"),
    _IDENTITY_KEPT,
    _SHARPNESS_RATIO,
    _TEARING,
    _PIXELS,
    _CODE,
)

VERDICTS = _schema(
    _VIDEO_ID,
    _ACTION,
    column("provider", pa.string(), "liveness provider"),
    column("asked_motion", pa.string(), "motion requested from the provider; silent if none"),
    column("live", pa.bool_(), "clip classified as live"),
    column("score", pa.float64(), "provider's score, higher is more live; null if it returns none"),
    column("threshold", pa.float64(), "threshold that the score was compared with"),
    column("evidence", pa.string(), "full answer of the provider as JSON"),
    column("provider_version", pa.string(), "hash of the weights, or API version"),
    column("latency_s", pa.float64(), "response time, seconds"),
    column("request_sha256", pa.string(), "sha256 of the request without keys; null for local providers"),
    column("upload_sha256", pa.string(), "sha256 of the uploaded bytes; null for local providers"),
    column("attempts", pa.int32(), "requests until the answer; null for local providers"),
    column("cost", pa.float64(), "cost of the answer, in the contract's currency; null for local providers"),
    column("answered_at", pa.string(), "UTC time of the answer, ISO 8601; null for local providers"),
    _PIXELS,
    _CODE,
)

SELECTED = _schema(
    _VIDEO_ID,
    _SOURCE_ID,
    _DRIVER_ID,
    _PERSON,
    _ACTION,
    _SPLIT,
    _PLAN_ORDER,
    _ANIMATOR,
    _PATH,
    _FRAMES,
    column("liveness", pa.string(), "JSON: provider → {live, score, threshold}"),
    column("quality_passed", pa.bool_(), "within all limits of the quality gate; null: no gate is set"),
    _IDENTITY_KEPT,
    _SHARPNESS_RATIO,
    _TEARING,
    _PIXELS,
)

RELEASED_CLIPS = _schema(
    _VIDEO_ID,
    _LABEL,
    _SOURCE_ID,
    _DRIVER_ID,
    _PERSON,
    _DRIVER_PERSON,
    _ACTION,
    _SPLIT,
    _PATH,
    _FRAMES,
    column("fps", pa.float64(), "frames per second"),
    column("width", pa.int32(), "pixels, upright"),
    column("height", pa.int32(), "pixels, upright"),
    column("source_sha256", pa.string(), "sha256 of the file in the published tree"),
    _PIXELS,
    _CODE,
)

COMPRESSED = _schema(
    _VIDEO_ID,
    _LABEL,
    column("quality", pa.string(), "name of the quality in the config, e.g. raw, c23, c40"),
    _PATH,
    _FRAMES,
    column("fps", pa.float64(), "frames per second"),
    column("width", pa.int32(), "pixels"),
    column("height", pa.int32(), "pixels"),
    column("bytes", pa.int64(), "file size including marks, bytes"),
    column("sha256", pa.string(), "sha256 of the file including marks"),
    column("stream_bytes", pa.int64(), "size of the coded video stream without marks, bytes"),
    column("stream_sha256", pa.string(), "sha256 of the coded video packets and time stamps, independent of marks"),
    column("marks", pa.string(), "synthetic-media marks in the file: comment, c2pa; empty for reals"),
    column("encoder", pa.string(), "encoder settings as JSON"),
    column("encoder_version", pa.string(), "encoder name and version as written in the stream; empty if absent"),
    column("ffmpeg_argv", pa.string(), "ffmpeg arguments as JSON"),
    column("ffmpeg_version", pa.string(), "first line of ffmpeg -version"),
    column(
        "psnr_db", pa.float64(), "PSNR over all samples against the encoder's input, which raw holds; null if identical"
    ),
    column("ssim", pa.float64(), "mean luma SSIM against the encoder's input, on up to 16 frames; 1 if identical"),
    column("vmaf", pa.float64(), "mean VMAF against the first quality; null if disabled or unavailable"),
    column("frames_cut", pa.int32(), "frames trimmed at the end to match the length of the pair"),
    column("input_pixels_sha256", pa.string(), "sha256 of the RGB pixels of the clip before encoding"),
    _SAMPLES,
    _CODE,
)

FRAMES = _schema(
    _VIDEO_ID,
    _LABEL,
    column("quality", pa.string(), "quality of the frame's clip"),
    column("frame_index", pa.int32(), "frame index in the clip, from 0; -1 in the row of a clip without frames"),
    column("time_s", pa.float64(), "presentation time (pts) relative to the first frame, seconds"),
    column("width", pa.int32(), "pixels"),
    column("height", pa.int32(), "pixels"),
    column("face_found", pa.bool_(), "a face was detected in this frame; null if detection did not run"),
    column("region_left", pa.int32(), "left edge of the stored region, clip pixels; 0 for the whole frame"),
    column("region_top", pa.int32(), "top edge of the stored region, clip pixels; 0 for the whole frame"),
    column("image", pa.binary(), "RGB image as lossless WebP"),
)
