"""Columns that several schemas share: those of the frame of a source that is animated."""

from __future__ import annotations

import pyarrow as pa


def column(name: str, kind: pa.DataType, description: str) -> pa.Field:
    """Return a column with its description, which is stored in every file."""
    return pa.field(name, kind, metadata={"description": description})


#: Scores of a source frame, which faces/source_frame.py defines.
FRAME_SCORES = {
    "eyes": "1 open, 0 closed eyes",
    "mouth": "1 closed, 0 open mouth",
    "frontal": "1 frontal, 0 turned by 30 degrees or more",
    "neutral": "1 neutral, 0 strong expression or gaze to the side",
    "sharpness": "1 as sharp a face as usual in the clip, towards 0 blurred",
}


def _frame_scores(prefix: str, unknown: str) -> list[pa.Field]:
    return [column(f"{prefix}_{name}", pa.float64(), f"{what}; {unknown}") for name, what in FRAME_SCORES.items()]


#: Columns of a source that say which of its frames is best to animate.
BEST_FRAME = pa.schema(
    [
        column("best_frame", pa.int32(), "frame of a source that is best to animate, from 0; null for drivers"),
        *_frame_scores("best", "null where no candidate shows a face, then best_frame is 0"),
    ]
)

#: The animated frame of a fake.
SOURCE_FRAME = pa.schema(
    [
        column("source_frame", pa.int32(), "frame of the source clip that was animated, from 0; null for reals"),
        *_frame_scores("source", "null for reals, and with animator.source_frame as a number"),
    ]
)
