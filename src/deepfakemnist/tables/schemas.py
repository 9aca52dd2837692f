"""Every table of the workflow and its typed columns; :mod:`.table_files` writes and reads them.

Each stage reads tables and writes one. All of them share three columns: ``status`` (``ok``, ``rejected``: a rule of
the data said no, ``failed``: an error), ``reason`` (a short stable code, empty when ok) and ``detail`` (the message).
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
    _field("status", pa.string(), "ok, rejected (a rule of the data said no) or failed (an error)"),
    _field("reason", pa.string(), "short stable code; empty when ok"),
    _field("detail", pa.string(), "what was seen and what is allowed"),
)
_VIDEO_ID = _field("video_id", pa.string(), "id of the clip; a fake is source@driver")
_PERSON = _field("person_id", pa.string(), "who is seen; splits are disjoint by it")
_ACTION = _field("action", pa.string(), "facial action shown; empty for sources")
_PATH = _field("path", pa.string(), "file, relative to the working directory")
_PIXELS = _field("pixels_sha256", pa.string(), "sha256 over the decoded RGB frames, independent of the container")
_SAMPLES = _field(
    "pixels_sha256", pa.string(), "sha256 over the decoded samples as stored: planes Y, U, V, or pixels of RGB"
)
_CODE = _field("code", pa.string(), "digest of the library code that made the row")
_FRAMES = _field("frames", pa.int32(), "decoded frames")
_SOURCE_ID = _field("source_id", pa.string(), "video whose face is animated")
_DRIVER_ID = _field("driver_id", pa.string(), "driver whose motion moves it")
_DRIVER_PERSON = _field("driver_person_id", pa.string(), "who performs the driver")
_SPLIT = _field("split", pa.string(), "train, val or test; a person is in one only")
_PLAN_ORDER = _field("plan_order", pa.int64(), "rank within action and split; selection takes the first that pass")
_ROUND = _field("round", pa.int32(), "planning round, from 1")
_LABEL = _field("label", pa.int8(), "1 fake, 0 real")
_ANIMATOR_WEIGHTS = _field("checkpoint_sha256", pa.string(), "sha256 of the animator's weights; empty: none")

INGESTED = _schema(
    _VIDEO_ID,
    _field("role", pa.string(), "source or driver"),
    _PERSON,
    _ACTION,
    _PATH,
    _field("start_s", pa.float64(), "start of the wanted segment, seconds; null for the whole video"),
    _field("end_s", pa.float64(), "end of the wanted segment, seconds; null for the whole video"),
    _field("licence", pa.string(), "licence the user states for the video"),
    _field("adapter", pa.string(), "how it was named: sheet, folder, vox-metadata or voxceleb1"),
    _field("cropped", pa.bool_(), "a face crop already, to be taken as it is"),
    _field(
        "boxes",
        pa.list_(pa.list_(pa.float64())),
        "face boxes given with the video: time in seconds, left, top, width, height in upright pixels; null for none",
    ),
    _field("sha256", pa.string(), "sha256 of the file"),
    _field("bytes", pa.int64(), "size of the file"),
    _field("codec", pa.string(), "codec of the video stream"),
    _field("pix_fmt", pa.string(), "pixel format as stored"),
    _field("bit_depth", pa.int32(), "bits per colour component as stored"),
    _field("width", pa.int32(), "pixels, as stored, before rotation"),
    _field("height", pa.int32(), "pixels, as stored, before rotation"),
    _field("rotation", pa.int32(), "degrees counter-clockwise to upright: 0, 90, 180 or 270"),
    _field("fps", pa.float64(), "average frames per second"),
    _field("variable_rate", pa.bool_(), "frame times are uneven"),
    _field("duration_s", pa.float64(), "duration by frame times, of the segment where one is wanted"),
    _field("frames", pa.int32(), "decoded frames, of the segment where one is wanted"),
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
    _field("box_side", pa.float64(), "longer side of the crop in source pixels"),
    _field("box_width", pa.float64(), "width of the crop in source pixels; box_side unless a given box is stretched"),
    _field("box_height", pa.float64(), "height of the crop in source pixels"),
    _field("padded", pa.float64(), "share of the crop's area that lay outside the picture, 0..1"),
    _field("policy", pa.string(), "rule the box follows: square-track, vox-metadata, ff-1.3 or as-cropped"),
    _field("kept_from_s", pa.float64(), "begin of the clip in the video, seconds"),
    _field("kept_to_s", pa.float64(), "end of the clip in the video, seconds, not included"),
    _field("dropped_frames", pa.int32(), "frames at fps that were left out because of cuts"),
    _field("cuts", pa.string(), "changes of shot or person as JSON: [{time_s, what}]"),
    _field("face_px", pa.float64(), "median side of the face box in source pixels, sqrt(width × height)"),
    _field("face_fraction", pa.float64(), "share of the looked-at frames in which the tracked face was found"),
    _field("face_score", pa.float64(), "mean detector score over those frames, 0..1"),
    _field("sharpness", pa.float64(), "median variance of the Laplacian over looked-at frames of the crop"),
    _field("brightness", pa.float64(), "mean luma of the crop, 0..255"),
    _field("interpolated", pa.float64(), "share of frames next to a look that did not find the face, 0..1"),
    _field("yaw_range", pa.float64(), "degrees between the 5th and 95th percentile of the head's turn"),
    _field("pitch_range", pa.float64(), "degrees between the 5th and 95th percentile of the head's nod"),
    _field("roll_range", pa.float64(), "degrees between the 5th and 95th percentile of the head's tilt"),
    _field("source_sha256", pa.string(), "sha256 of the file the clip was cut from"),
    _PIXELS,
    _CODE,
)

CHOICE = _schema(
    _VIDEO_ID,
    _PERSON,
    _field("place", pa.int64(), "place in the seeded order, from 0; the first that are no duplicates are kept"),
    _FRAMES,
    _field("face_px", pa.float64(), "median side of the face box in source pixels"),
    _PIXELS,
)

MOTIONS = _schema(
    _VIDEO_ID,
    _PERSON,
    _ACTION,
    _field(
        "path",
        pa.string(),
        "npz with value (T,K,D), float32, of every driver frame, and jacobian or pose where the animator has them",
    ),
    _FRAMES,
    _field("animator", pa.string(), "animator the motion is for"),
    _ANIMATOR_WEIGHTS,
    _CODE,
)

CANDIDATES = pa.schema(
    [
        *(_SOURCE_ID, _PERSON, _ACTION, _SPLIT, _PLAN_ORDER, _ROUND),
        _field("turn", pa.int32(), "how often the source was tried with this action before, each time another driver"),
    ]
)

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
    _field("source_pixels_sha256", pa.string(), "pixel hash of the cropped source clip"),
    _field("motion_path", pa.string(), "driver's keypoint file"),
    _field("motion_frames", pa.int32(), "frames of the driver"),
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
    _field("animator", pa.string(), "animator"),
    _field("animator_licence", pa.string(), "licence of the animator's code and weights"),
    _field("motion_mode", pa.string(), "relative or absolute"),
    _field("adapt_scale", pa.bool_(), "relative movement was scaled by the sizes of the two faces"),
    _field("start_frame", pa.int32(), "driver frame that relative movement starts from"),
    _field("align_corners", pa.bool_(), "grid_sample convention of the warp; null where it does not apply"),
    _field(
        "precision", pa.string(), "arithmetic of the pixels; in brackets layers whose reduced precision was wrong here"
    ),
    _field(
        "reproducible_pixels",
        pa.string(),
        "where the same crop and motion give the same pixels again: every_processor, or one_processor (only those with "
        "the same instruction set); empty when real",
    ),
    _ANIMATOR_WEIGHTS,
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
    _field("face_share", pa.float64(), "share of the frames that show a face, 0..1"),
    _field("transfer", pa.float64(), "amplitude of the action ÷ the driver's, along the driver's curve; NaN: unknown"),
    _field("correlation", pa.float64(), "correlation with the driver in the action's signals, -1..1"),
    _field("direction", pa.float64(), "how much of the motion goes the action's way, -1..1"),
    _field("identity_kept", pa.float64(), "1 the source person, 0 nobody in particular"),
    _field("sharpness_ratio", pa.float64(), "sharpness of the face ÷ that of the source frame"),
    _PIXELS,
    _CODE,
)

VERDICTS = _schema(
    _VIDEO_ID,
    _ACTION,
    _field("provider", pa.string(), "liveness detector asked"),
    _field("asked_motion", pa.string(), "motion the provider was asked to see; silent when none"),
    _field("live", pa.bool_(), "the provider took the clip for a live person"),
    _field("score", pa.float64(), "provider's score, higher is more live; null when it gave none"),
    _field("threshold", pa.float64(), "threshold the score was held against"),
    _field("evidence", pa.string(), "JSON of everything the provider answered"),
    _field("provider_version", pa.string(), "weights hash or API version"),
    _field("latency_s", pa.float64(), "seconds the answer took"),
    _field("request_sha256", pa.string(), "sha256 of what a vendor was asked, without keys; null for local providers"),
    _field("upload_sha256", pa.string(), "sha256 of the bytes that were uploaded; null for local providers"),
    _field("attempts", pa.int32(), "requests the answer took; null for local providers"),
    _field("cost", pa.float64(), "what the answer cost, in the contract's currency; null for local providers"),
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
    _field("source_sha256", pa.string(), "sha256 of the file in the tree"),
    _PIXELS,
    _CODE,
)

COMPRESSED = _schema(
    _VIDEO_ID,
    _LABEL,
    _field("quality", pa.string(), "raw, c23, c40 or a quality of the config"),
    _PATH,
    _FRAMES,
    _field("fps", pa.float64(), "frames per second"),
    _field("width", pa.int32(), "pixels"),
    _field("height", pa.int32(), "pixels"),
    _field("bytes", pa.int64(), "size of the file, marks included"),
    _field("sha256", pa.string(), "sha256 of the file, marks included"),
    _field("stream_bytes", pa.int64(), "size of the coded pictures alone, which no mark changes"),
    _field("stream_sha256", pa.string(), "sha256 of the coded pictures and their times, which no mark changes"),
    _field("marks", pa.string(), "marks of synthetic media in the file: comment, c2pa; empty when real"),
    _field("encoder", pa.string(), "encoder settings as JSON"),
    _field("encoder_version", pa.string(), "what the encoder calls itself in the stream; empty where it does not"),
    _field("ffmpeg_argv", pa.string(), "ffmpeg's arguments as JSON"),
    _field("ffmpeg_version", pa.string(), "first line of ffmpeg -version"),
    _field("psnr_db", pa.float64(), "PSNR over all samples against the encoder's input, which raw holds; null: equal"),
    _field("ssim", pa.float64(), "mean SSIM of luma against the encoder's input, on up to 16 frames; 1: equal"),
    _field("vmaf", pa.float64(), "mean VMAF against the first quality; null when not asked for or not to be had"),
    _field("frames_cut", pa.int32(), "frames left out at the end, to be as long as the rest of the pair"),
    _field("input_pixels_sha256", pa.string(), "hash over the RGB pixels of the clip that was encoded"),
    _SAMPLES,
    _CODE,
)

FRAMES = _schema(
    _VIDEO_ID,
    _LABEL,
    _field("quality", pa.string(), "quality of the clip the frame is from"),
    _field("frame_index", pa.int32(), "index in the clip, from 0; -1 on a row for a clip that gave none"),
    _field("time_s", pa.float64(), "when the frame is shown by the file's time stamps (pts), seconds after the first"),
    _field("width", pa.int32(), "pixels"),
    _field("height", pa.int32(), "pixels"),
    _field("face_found", pa.bool_(), "a face was found in this frame; null where none was looked for"),
    _field("region_left", pa.int32(), "left edge of the stored region in the clip's pixels; 0 for the whole frame"),
    _field("region_top", pa.int32(), "top edge of the stored region in the clip's pixels; 0 for the whole frame"),
    _field("image", pa.binary(), "lossless WebP, RGB"),
)

FRAME_INDEX = pa.schema(
    [
        *(FRAMES.field(name) for name in ("video_id", "label", "quality", "frame_index", "time_s")),
        _SPLIT,
        _field("shard_path", pa.string(), "Parquet file that holds the image"),
        _field("shard_row", pa.int64(), "row in that file, from 0"),
    ]
)

VIDEOS = pa.schema(
    [
        _VIDEO_ID,
        _LABEL,
        _field("quality", pa.string(), "quality of the clip"),
        _SPLIT,
        _field("split_driver", pa.string(), "split disjoint by driver too; empty where source and driver disagree"),
        _field("split_paper", pa.string(), "the authors' split by video, 700/150/150 per action; empty without a fake"),
        _field("fold", pa.int32(), "part for cross-validation, from 0; a person is in one only"),
        _ACTION,
        _PERSON,
        _field("source_id", pa.string(), "video the clip shows: itself when real, the animated source when fake"),
        _field("driver_id", pa.string(), "driver of a fake; empty when real"),
        _field("round", pa.int32(), "planning round of a fake, from 1; null when real"),
        _field("driver_person_id", pa.string(), "who performs the driver; empty when real"),
        _field("licence", pa.string(), "licence that the user stated for the source video"),
        _PATH,
        *(COMPRESSED.field(name) for name in ("frames", "fps", "width", "height", "bytes", "sha256")),
        *(COMPRESSED.field(name) for name in ("stream_bytes", "stream_sha256", "marks", "encoder", "encoder_version")),
        *(
            COMPRESSED.field(name)
            for name in ("ffmpeg_argv", "ffmpeg_version", "psnr_db", "ssim", "vmaf", "input_pixels_sha256")
        ),
        _SAMPLES,
        _field("animator", pa.string(), "animator of a fake; empty when real"),
        _field("animator_licence", pa.string(), "licence of the animator's code and weights; empty when real"),
        _field("motion_mode", pa.string(), "how motion was transferred; empty when real"),
        *(ANIMATED.field(name) for name in ("adapt_scale", "start_frame", "align_corners", "precision")),
        ANIMATED.field("reproducible_pixels"),
        _field("checkpoint_sha256", pa.string(), "weights of the animator; empty when real"),
        _field("liveness", pa.string(), "JSON of the verdicts of a fake; empty when real"),
        _field("synthetic", pa.bool_(), "made by a model: true for every fake"),
    ]
)

#: Metadata of a table of VIDEOS whose split its authors published: it is kept even where it parts no people.
PUBLISHED_SPLIT = {"split": "published"}

PAIRS = pa.schema(
    [
        _field("fake_id", pa.string(), "the fake's video_id"),
        _field("real_id", pa.string(), "video_id of the real it was made from"),
        *(VIDEOS.field(name) for name in ("action", "driver_id", "person_id", "driver_person_id")),
        *(VIDEOS.field(name) for name in ("split", "split_driver", "split_paper", "fold", "frames")),
        _field("same_length", pa.bool_(), "real and fake have the same number of frames; null without the real"),
        _field("complete", pa.bool_(), "the real is in the dataset, at every quality of the fake"),
    ]
)

LEDGER = pa.schema(
    [
        _field("kind", pa.string(), "source, driver or fake"),
        _VIDEO_ID,
        _PERSON,
        _ACTION,
        _field("stage", pa.string(), "last stage that saw it: where it ended, or the end of the road"),
        *_STATUS,
    ]
)

PREDICTIONS = pa.schema(
    [
        *(FRAMES.field(name) for name in ("video_id", "label", "quality", "frame_index")),
        _ACTION,
        _PERSON,
        _field("split", pa.string(), "split of the video"),
        _field("logit", pa.float32(), "detector's output before the sigmoid; higher is more fake"),
        _field("score", pa.float32(), "P(fake), 0..1"),
        _field("detector", pa.string(), "detector"),
        _field("trained_on", pa.string(), "quality or qualities of the training clips"),
        _field("seed", pa.int32(), "training seed"),
        _field("checkpoint_sha256", pa.string(), "sha256 of the detector's weights"),
    ]
)
