"""Liveness as a stage: a shard of animations in, a verdict of one provider about each out."""

from __future__ import annotations

import json
import time
from pathlib import Path

from deepfakemnist.errors import Failed
from deepfakemnist.liveness.protocol import LivenessProvider
from deepfakemnist.liveness.registry import build
from deepfakemnist.media.decode import read_clip
from deepfakemnist.settings import LocalMotionSettings, LocalSilentSettings
from deepfakemnist.shards import Tally, run_shard
from deepfakemnist.tables import OK, VERDICTS, Row, read_rows


def liveness_shard(
    animations: Path,
    table: Path,
    settings: LocalSilentSettings | LocalMotionSettings,
    *,
    fps: float,
    code: str,
    max_failed_fraction: float = 1.0,
) -> Tally:
    """Ask one provider about every ok animation of a shard and write its verdicts to ``table`` (VERDICTS).

    Live or not, an answer is a row with status ok; only a clip without an answer is ``failed``.

    Args:
        animations: table of ``tables.ANIMATED``.
        table: table to write.
        settings: the provider's settings.
        fps: frames per second of the animations.
        code: digest of the code behind the stage.
        max_failed_fraction: see ``shards.run_shard``.

    Raises:
        ConfigError: the provider's weights are missing or are not the ones meant.
        TooManyFailures: see ``shards.run_shard``.
    """
    provider = build(settings)
    rows = [row for row in read_rows(animations) if row["status"] == OK]
    # Every row names the provider, answered or not, so that select can say who did not answer.
    asked = [
        {
            **{name: row[name] for name in ("video_id", "action", "path", "pixels_sha256")},
            "provider": provider.name,
            "provider_version": provider.version,
            "asked_motion": provider.asks(row["action"]),
        }
        for row in rows
    ]
    return run_shard(
        asked,
        table,
        VERDICTS,
        lambda row: judge(provider, row, fps),
        code=code,
        settings=settings,
        inputs=f"{provider.version} at {fps} fps",
        max_failed_fraction=max_failed_fraction,
    )


def judge(provider: LivenessProvider, row: Row, fps: float) -> Row:
    """Return the verdict columns of one animation (``path`` and ``action`` are read).

    Raises:
        Failed: the clip cannot be read, or the provider could not answer.
        Rejected: the clip is no usable video.
    """
    clip = read_clip(Path(row["path"]))
    if not len(clip):
        raise Failed("no_frames", f"{row['path']} holds no frame")
    started = time.perf_counter()
    verdict = provider.check(clip, fps, row["action"])
    return {
        "live": verdict.live,
        "score": verdict.score,
        "threshold": verdict.threshold,
        "evidence": json.dumps(verdict.evidence, sort_keys=True, allow_nan=False),
        "latency_s": time.perf_counter() - started,
    }
