"""Arrow schema of the table of self-reenactment; apart from those of the stages, which a column here runs again."""

from __future__ import annotations

import pyarrow as pa

from deepfakemnist.tables.columns import column
from deepfakemnist.tables.schemas import ANIMATION_QUALITY, MOTIONS

REENACTED = pa.schema(
    [
        *(MOTIONS.field(name) for name in ("video_id", "person_id", "action", "frames")),
        column("l1", pa.float64(), "mean absolute difference from the clip over all pixels and channels, 0..1"),
        column("akd", pa.float64(), "average landmark distance from the clip ÷ distance of the outer eye corners"),
        column("aed", pa.float64(), "average Euclidean distance of face embeddings from the clip; 0.6: another person"),
        column("lpips", pa.float64(), "LPIPS (AlexNet) from the clip, averaged over frames; null: not measured"),
        ANIMATION_QUALITY.field("sharpness_ratio"),
        *(MOTIONS.field(name) for name in ("animator", "checkpoint_sha256", "code", "status", "reason", "detail")),
    ]
)
