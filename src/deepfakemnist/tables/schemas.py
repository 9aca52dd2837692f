"""Arrow schemas of the workflow's tables; :mod:`.files` reads and writes them.

Every stage reads tables and writes one. Their common columns are ``status`` (``ok``; ``rejected``: excluded by a data
rule; ``failed``: an error), ``reason`` (short stable code, empty when ok) and ``detail`` (the message).
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

Row = dict[str, Any]

OK, REJECTED, FAILED = "ok", "rejected", "failed"


def _field(name: str, kind: pa.DataType, description: str) -> pa.Field:
    return pa.field(name, kind, metadata={"description": description})


def _schema(*fields: pa.Field) -> pa.Schema:
    return pa.schema([*fields, *_STATUS])


_STATUS = (
    _field("status", pa.string(), "ok, rejected (excluded by a data rule) or failed (an error)"),
    _field("reason", pa.string(), "short stable code; empty when ok"),
    _field("detail", pa.string(), "observed and allowed values"),
)
_VIDEO_ID = _field("video_id", pa.string(), "clip id; source@driver for a fake")
_PERSON = _field("person_id", pa.string(), "person shown; splits are disjoint by person")
_ACTION = _field("action", pa.string(), "facial action shown; empty for sources")
_PATH = _field("path", pa.string(), "file path, relative to the working directory")
_PIXELS = _field("pixels_sha256", pa.string(), "sha256 of the decoded RGB frames, independent of the container")
_SAMPLES = _field(
    "pixels_sha256", pa.string(), "sha256 of the decoded samples as stored: Y, U, V planes, or RGB pixels"
)
_CODE = _field("code", pa.string(), "modules that produced the row, and a digest of the library code behind them")
_BYTES = _field("bytes", pa.int64(), "size of the file at path, bytes")
_SHA256 = _field("sha256", pa.string(), "sha256 of the file at path")
_FRAMES = _field("frames", pa.int32(), "number of decoded frames")
_SOURCE_ID = _field("source_id", pa.string(), "source video whose face is animated")
_DRIVER_ID = _field("driver_id", pa.string(), "driving video that provides the motion")
_DRIVER_PERSON = _field("driver_person_id", pa.string(), "person in the driving video")
_SPLIT = _field("split", pa.string(), "train, val or test; disjoint by person")
_PLAN_ORDER = _field(
    "plan_order", pa.int64(), "seeded order within action and split; a quota keeps the first that pass"
)
_ROUND = _field("round", pa.int32(), "planning round, from 1")
_TURN = _field("turn", pa.int32(), "number of earlier candidates of this source and action, each with another driver")
_LABEL = _field("label", pa.int8(), "1 fake, 0 real")
_ANIMATOR_WEIGHTS = _field("checkpoint_sha256", pa.string(), "sha256 of the animator's weights; empty if it has none")

INGESTED = _schema(
    _VIDEO_ID,
    _field("role", pa.string(), "source or driver"),
    _PERSON,
    _ACTION,
    _PATH,
    _field("start_s", pa.float64(), "start of the segment, seconds; null for the whole video"),
    _field("end_s", pa.float64(), "end of the segment, seconds; null for the whole video"),
    _field("adapter", pa.string(), "how the video was listed: sheet, folder, vox-metadata or voxceleb1"),
    _field("cropped", pa.bool_(), "already a face crop; used unchanged"),
    _field(
        "boxes",
        pa.list_(pa.list_(pa.float64())),
        "annotated face boxes: time in seconds, left, top, width, height in upright pixels; null for none",
    ),
    _field("sha256", pa.string(), "sha256 of the file"),
    _field("bytes", pa.int64(), "file size, bytes"),
    _field("codec", pa.string(), "codec of the video stream"),
    _field("pix_fmt", pa.string(), "pixel format as stored"),
    _field("bit_depth", pa.int32(), "bits per colour component, as stored"),
    _field("width", pa.int32(), "pixels, as stored"),
    _field("height", pa.int32(), "pixels, as stored"),
    _field("sample_aspect_ratio", pa.string(), "width to height of a stored pixel, e.g. 64:45; 1:1 is square"),
    _field("rotation", pa.int32(), "counter-clockwise rotation to upright, degrees: 0, 90, 180 or 270"),
    _field("mirrored", pa.bool_(), "the rotated picture is mirrored left to right as well, as the file says"),
    _field("display_width", pa.int32(), "pixels, upright and square, as used by later stages"),
    _field("display_height", pa.int32(), "pixels, upright and square, as used by later stages"),
    _field("fps", pa.float64(), "average frames per second"),
    _field("variable_rate", pa.bool_(), "variable frame rate"),
    _field("duration_s", pa.float64(), "duration by frame times, seconds; of the segment, if one is given"),
    _field("frames", pa.int32(), "number of decoded frames; of the segment, if one is given"),
    _field(
        "frames_left_out",
        pa.int32(),
        "pictures at the start that no player shows, because a cut removed what they depend on",
    ),
)

CROPPED = _schema(
    _VIDEO_ID,
    _field("role", pa.string(), "source or driver"),
    _PERSON,
    _ACTION,
    _PATH,
    _FRAMES,
    _field("fps", pa.float64(), "frames per second of the cropped clip"),
    _field("size", pa.int32(), "side of the square clip, pixels"),
    _field("box_left", pa.float64(), "left edge of the crop in upright source pixels; may be negative"),
    _field("box_top", pa.float64(), "top edge of the crop in upright source pixels; may be negative"),
    _field("box_side", pa.float64(), "longer side of the crop, source pixels"),
    _field(
        "box_width", pa.float64(), "width of the crop, source pixels; box_side unless an annotated box is stretched"
    ),
    _field("box_height", pa.float64(), "height of the crop, source pixels"),
    _field("padded", pa.float64(), "fraction of the crop's area outside the frame, 0..1"),
    _field("policy", pa.string(), "crop policy: square-track, vox-metadata, ff-1.3 or as-cropped"),
    _field("kept_from_s", pa.float64(), "start of the clip in the video, seconds"),
    _field("kept_to_s", pa.float64(), "end of the clip in the video, seconds, exclusive"),
    _field("dropped_frames", pa.int32(), "frames at fps dropped because of cuts"),
    _field("cuts", pa.string(), "shot and person changes as JSON: [{time_s, what}]"),
    _field("face_px", pa.float64(), "median side of the face box, sqrt(width × height), source pixels"),
    _field("face_fraction", pa.float64(), "fraction of detection frames that show the tracked face, 0..1"),
    _field("face_score", pa.float64(), "mean face detector score over those frames, 0..1"),
    _field("other_faces", pa.float64(), "fraction of detection frames with another face at least half as large, 0..1"),
    _field("sharpness", pa.float64(), "median variance of the Laplacian over detection frames of the crop"),
    _field("brightness", pa.float64(), "mean luma of the crop, 0..255"),
    _field(
        "face_motion",
        pa.float64(),
        "motion of the face within itself, percent of its side; near 0 in a frozen picture or filmed photograph; null "
        "for clips of one or two frames",
    ),
    _field("interpolated", pa.float64(), "fraction of frames next to a missed detection, 0..1"),
    _field("yaw_range", pa.float64(), "5th to 95th percentile range of head yaw, degrees"),
    _field("pitch_range", pa.float64(), "5th to 95th percentile range of head pitch, degrees"),
    _field("roll_range", pa.float64(), "5th to 95th percentile range of head roll, degrees"),
    _field("source_sha256", pa.string(), "sha256 of the source file"),
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
    _field("embedding", pa.list_(pa.float32(), 128), "mean face embedding of the clip; see faces/identity.py"),
    _field("faces", pa.int32(), "number of frames with a face that it is the mean of"),
    _PIXELS,
    _CODE,
)

CHOICE = _schema(
    _VIDEO_ID,
    _PERSON,
    _field("place", pa.int64(), "rank in the seeded order, from 0; the first non-duplicates are kept"),
    _FRAMES,
    _field("face_px", pa.float64(), "median side of the face box, source pixels"),
    _PIXELS,
)

MOTIONS = _schema(
    _VIDEO_ID,
    _PERSON,
    _ACTION,
    _field(
        "path",
        pa.string(),
        "npz with keypoints `value` (T,K,D), float32, per driver frame, and jacobian or pose if the animator has them",
    ),
    _FRAMES,
    _BYTES,
    _SHA256,
    _field("animator", pa.string(), "animator that the motion was extracted for"),
    _ANIMATOR_WEIGHTS,
    _CODE,
)

CANDIDATES = pa.schema([_SOURCE_ID, _PERSON, _ACTION, _SPLIT, _PLAN_ORDER, _ROUND, _TURN])

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
    _field("source_path", pa.string(), "cropped source clip"),
    _field("source_clip_sha256", pa.string(), "sha256 of the file of the cropped source clip"),
    _field("source_pixels_sha256", pa.string(), "pixel hash of the cropped source clip"),
    _field("motion_path", pa.string(), "motion file of the driver"),
    _field("motion_sha256", pa.string(), "sha256 of the motion file"),
    _field("motion_frames", pa.int32(), "number of driver frames"),
    _field("motion_checkpoint_sha256", pa.string(), "sha256 of the weights that the motion was extracted with"),
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
    _field("source_frame", pa.int32(), "frame of the source clip that was animated, from 0"),
    _field("animator", pa.string(), "name of the animator"),
    _field("animator_licence", pa.string(), "licence of the animator's code and weights"),
    _field("motion_mode", pa.string(), "relative or absolute"),
    _field("adapt_scale", pa.bool_(), "relative motion was scaled by the ratio of the face sizes"),
    _field("start_frame", pa.int32(), "driver frame that relative motion starts from"),
    _field("align_corners", pa.bool_(), "grid_sample convention of the warp; null if not applicable"),
    _field(
        "precision",
        pa.string(),
        "arithmetic of pixel generation; in brackets, layers kept in float32 as this GPU computes them incorrectly",
    ),
    _field(
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
    _PATH,
    _FRAMES,
    _field("source_frame", pa.int32(), "frame of the source clip that was animated, from 0"),
    _field("face_share", pa.float64(), "fraction of frames that show a face, 0..1"),
    _field(
        "transfer", pa.float64(), "amplitude of the action ÷ the driver's, along the driver's curve; NaN if unknown"
    ),
    _field("correlation", pa.float64(), "correlation of the action's signals with the driver's, -1..1"),
    _field("direction", pa.float64(), "alignment of the motion with the action's direction, -1..1"),
    _field("identity_kept", pa.float64(), "face identity similarity; 1: the source person, 0: an average stranger"),
    _field("sharpness_ratio", pa.float64(), "sharpness of the face ÷ that of the source frame"),
    _PIXELS,
    _CODE,
)

VERDICTS = _schema(
    _VIDEO_ID,
    _ACTION,
    _field("provider", pa.string(), "liveness provider"),
    _field("asked_motion", pa.string(), "motion requested from the provider; silent if none"),
    _field("live", pa.bool_(), "clip classified as live"),
    _field("score", pa.float64(), "provider's score, higher is more live; null if it returns none"),
    _field("threshold", pa.float64(), "threshold that the score was compared with"),
    _field("evidence", pa.string(), "full answer of the provider as JSON"),
    _field("provider_version", pa.string(), "hash of the weights, or API version"),
    _field("latency_s", pa.float64(), "response time, seconds"),
    _field("request_sha256", pa.string(), "sha256 of the request without keys; null for local providers"),
    _field("upload_sha256", pa.string(), "sha256 of the uploaded bytes; null for local providers"),
    _field("attempts", pa.int32(), "requests until the answer; null for local providers"),
    _field("cost", pa.float64(), "cost of the answer, in the contract's currency; null for local providers"),
    _field("answered_at", pa.string(), "UTC time of the answer, ISO 8601; null for local providers"),
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
    _PATH,
    _FRAMES,
    _field("liveness", pa.string(), "JSON: provider → {live, score, threshold}"),
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
    _field("fps", pa.float64(), "frames per second"),
    _field("width", pa.int32(), "pixels, upright"),
    _field("height", pa.int32(), "pixels, upright"),
    _field("source_sha256", pa.string(), "sha256 of the file in the published tree"),
    _PIXELS,
    _CODE,
)

COMPRESSED = _schema(
    _VIDEO_ID,
    _LABEL,
    _field("quality", pa.string(), "name of the quality in the config, e.g. raw, c23, c40"),
    _PATH,
    _FRAMES,
    _field("fps", pa.float64(), "frames per second"),
    _field("width", pa.int32(), "pixels"),
    _field("height", pa.int32(), "pixels"),
    _field("bytes", pa.int64(), "file size including marks, bytes"),
    _field("sha256", pa.string(), "sha256 of the file including marks"),
    _field("stream_bytes", pa.int64(), "size of the coded video stream without marks, bytes"),
    _field("stream_sha256", pa.string(), "sha256 of the coded video packets and time stamps, independent of marks"),
    _field("marks", pa.string(), "synthetic-media marks in the file: comment, c2pa; empty for reals"),
    _field("encoder", pa.string(), "encoder settings as JSON"),
    _field("encoder_version", pa.string(), "encoder name and version as written in the stream; empty if absent"),
    _field("ffmpeg_argv", pa.string(), "ffmpeg arguments as JSON"),
    _field("ffmpeg_version", pa.string(), "first line of ffmpeg -version"),
    _field(
        "psnr_db", pa.float64(), "PSNR over all samples against the encoder's input, which raw holds; null if identical"
    ),
    _field("ssim", pa.float64(), "mean luma SSIM against the encoder's input, on up to 16 frames; 1 if identical"),
    _field("vmaf", pa.float64(), "mean VMAF against the first quality; null if disabled or unavailable"),
    _field("frames_cut", pa.int32(), "frames trimmed at the end to match the length of the pair"),
    _field("input_pixels_sha256", pa.string(), "sha256 of the RGB pixels of the clip before encoding"),
    _SAMPLES,
    _CODE,
)

FRAMES = _schema(
    _VIDEO_ID,
    _LABEL,
    _field("quality", pa.string(), "quality of the frame's clip"),
    _field("frame_index", pa.int32(), "frame index in the clip, from 0; -1 in the row of a clip without frames"),
    _field("time_s", pa.float64(), "presentation time (pts) relative to the first frame, seconds"),
    _field("width", pa.int32(), "pixels"),
    _field("height", pa.int32(), "pixels"),
    _field("face_found", pa.bool_(), "a face was detected in this frame; null if detection did not run"),
    _field("region_left", pa.int32(), "left edge of the stored region, clip pixels; 0 for the whole frame"),
    _field("region_top", pa.int32(), "top edge of the stored region, clip pixels; 0 for the whole frame"),
    _field("image", pa.binary(), "RGB image as lossless WebP"),
)

FRAME_INDEX = pa.schema(
    [
        *(FRAMES.field(name) for name in ("video_id", "label", "quality", "frame_index", "time_s")),
        _SPLIT,
        _field("shard_path", pa.string(), "Parquet file with the image"),
        _field("shard_row", pa.int64(), "row in that file, from 0"),
        _field("shard_checksum", pa.string(), "checksum that that file carries in its footer; null for older files"),
    ]
)

VIDEOS = pa.schema(
    [
        _VIDEO_ID,
        _LABEL,
        _field("quality", pa.string(), "quality of the clip"),
        _SPLIT,
        _field("split_driver", pa.string(), "split disjoint by driver too; empty if source and driver differ in split"),
        _field(
            "split_paper", pa.string(), "authors' split by video, 700/150/150 per action; empty for reals without fake"
        ),
        _field("fold", pa.int32(), "cross-validation fold, from 0; disjoint by person"),
        _ACTION,
        _PERSON,
        _field("source_id", pa.string(), "source video: the clip itself if real, the animated source if fake"),
        _field("driver_id", pa.string(), "driving video of a fake; empty for reals"),
        _field("round", pa.int32(), "planning round of a fake, from 1; null for reals"),
        _field("driver_person_id", pa.string(), "person in the driving video; empty for reals"),
        _PATH,
        *(COMPRESSED.field(name) for name in ("frames", "fps", "width", "height", "bytes", "sha256")),
        *(COMPRESSED.field(name) for name in ("stream_bytes", "stream_sha256", "marks", "encoder", "encoder_version")),
        *(
            COMPRESSED.field(name)
            for name in ("ffmpeg_argv", "ffmpeg_version", "psnr_db", "ssim", "vmaf", "input_pixels_sha256")
        ),
        _SAMPLES,
        _field("animator", pa.string(), "animator of a fake; empty for reals"),
        _field("animator_licence", pa.string(), "licence of the animator's code and weights; empty for reals"),
        _field("motion_mode", pa.string(), "motion transfer, relative or absolute; empty for reals"),
        *(ANIMATED.field(name) for name in ("adapt_scale", "start_frame", "align_corners", "precision")),
        ANIMATED.field("reproducible_pixels"),
        _field("checkpoint_sha256", pa.string(), "sha256 of the animator's weights; empty for reals"),
        _field("liveness", pa.string(), "liveness verdicts of a fake as JSON; empty for reals"),
        _field("synthetic", pa.bool_(), "generated by a model; true for every fake"),
    ]
)

#: What is said of the sources and decides nothing in a picture, for :mod:`deepfakemnist.dataset.captions`.
CAPTIONS = pa.schema(
    [
        _SOURCE_ID,
        _PERSON,
        _field("licence", pa.string(), "licence of the source video, as stated by the user; empty if not stated"),
    ]
)

#: VIDEOS of a release, which holds the captions of its sources too.
RELEASED_VIDEOS = pa.schema([*VIDEOS, CAPTIONS.field("licence")])

#: Metadata of a VIDEOS table with a published split, which is kept even if it is not disjoint by person.
PUBLISHED_SPLIT = {"split": "published"}

PAIRS = pa.schema(
    [
        _field("fake_id", pa.string(), "video_id of the fake"),
        _field("real_id", pa.string(), "video_id of the real source clip"),
        *(VIDEOS.field(name) for name in ("action", "driver_id", "person_id", "driver_person_id")),
        *(VIDEOS.field(name) for name in ("split", "split_driver", "split_paper", "fold", "frames")),
        _field("same_length", pa.bool_(), "real and fake have the same number of frames; null if the real is absent"),
        _field("complete", pa.bool_(), "the real is present at every quality of the fake"),
    ]
)

LEDGER = pa.schema(
    [
        _field("kind", pa.string(), "source, driver or fake"),
        _VIDEO_ID,
        _PERSON,
        _ACTION,
        _field("stage", pa.string(), "last stage that processed it: where it was dropped, or the final one"),
        *_STATUS,
    ]
)

PREDICTIONS = pa.schema(
    [
        *(FRAMES.field(name) for name in ("video_id", "label", "quality", "frame_index")),
        _ACTION,
        _PERSON,
        _field("split", pa.string(), "split of the video"),
        _field("logit", pa.float32(), "detector output before the sigmoid; higher is more fake"),
        _field("score", pa.float32(), "P(fake), 0..1"),
        _field("detector", pa.string(), "name or label of the detector"),
        _field("trained_on", pa.string(), "name of the training set"),
        _field("seed", pa.int32(), "training seed"),
        _field("checkpoint_sha256", pa.string(), "sha256 of the detector's weights"),
    ]
)
