"""Liveness stage: one provider's verdict on every animation of a shard."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from deepfakemnist.config.base import Settings
from deepfakemnist.errors import ConfigError, Failed, Rejected
from deepfakemnist.liveness.meter import StopRun
from deepfakemnist.liveness.protocol import Clip, LivenessProvider
from deepfakemnist.liveness.registry import build
from deepfakemnist.media.decode import read_clip
from deepfakemnist.tables.checksums import check_unchanged
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK, VERDICTS, Row
from deepfakemnist.tables.shards import Tally, run_shard

log = logging.getLogger(__name__)


def liveness_shard(
    animations: Path,
    table: Path,
    settings: Settings,
    *,
    fps: float,
    code: str,
    motions: Mapping[str, str] | None = None,
    answers: Path | None = None,
    gates: Sequence[Path] = (),
    max_failed_fraction: float = 1.0,
) -> Tally:
    """Check every ok animation of a shard with one provider and write the verdicts to ``table`` (VERDICTS).

    A verdict, live or not, is a row with status ok; a clip that was not sent because a cheaper provider rejected it is
    ``rejected``; a clip without a verdict because of an error is ``failed``.

    Args:
        animations: table of ``schemas.ANIMATED``.
        table: table to write.
        settings: the provider's settings, one of ``config.liveness.LivenessProvider``.
        fps: frames per second of the animations.
        code: digest of the code behind the stage.
        motions: action → motion requested from the provider; for vendors.
        answers: folder of the vendors' ledgers and meters; for vendors.
        gates: verdict tables of the providers that must have classified a clip as live.
        max_failed_fraction: see ``shards.run_shard``.

    Raises:
        ConfigError: the provider's weights or keys are missing or wrong; or quota, budget or keys allow no further
            request now. All answers so far are kept.
        TooManyFailures: see ``shards.run_shard``.
    """
    provider = build(settings, motions, answers)
    rows = [row for row in read_rows(animations) if row["status"] == OK]
    rejected = rejected_by(gates)
    # Every row names the provider, with or without a verdict, so that select can report missing verdicts.
    inputs = [
        {
            **{name: row[name] for name in ("video_id", "action", "path", "pixels_sha256")},
            "provider": provider.name,
            "provider_version": provider.version,
            "asked_motion": provider.asked_motion(row["action"]),
            "rejected_by": rejected.get(row["video_id"], []),
        }
        for row in rows
    ]
    hashes = {row["video_id"]: row.get("sha256") for row in rows}

    def check(row: Row) -> Row:
        check_unchanged(row["path"], hashes[row["video_id"]])  # before a vendor is paid for it
        return check_animation(provider, row, fps)

    try:
        return run_shard(
            inputs,
            table,
            VERDICTS,
            check,
            code=code,
            settings=settings,
            inputs=f"{provider.version} at {fps} fps",
            depends_on=("video_id", "action", "pixels_sha256", "asked_motion", "rejected_by"),
            max_failed_fraction=max_failed_fraction,
        )
    except StopRun as stop:
        raise ConfigError(f"{provider.name}: {stop}") from None


def rejected_by(gates: Sequence[Path]) -> dict[str, list[str]]:
    """Return video_id → providers among the verdict tables ``gates`` that did not classify it as live."""
    rejected: dict[str, list[str]] = {}
    for row in read_rows(gates, ["video_id", "provider", "live", "status"]):
        if row["status"] != OK or not row["live"]:
            rejected.setdefault(row["video_id"], []).append(row["provider"])
    return rejected


def check_animation(provider: LivenessProvider, row: Row, fps: float) -> Row:
    """Return the verdict columns of one animation.

    Args:
        provider: the provider.
        row: a row with ``video_id``, ``path``, ``action``, ``pixels_sha256`` and ``rejected_by``.
        fps: frames per second of the animation.

    Raises:
        Failed: the clip cannot be read, or the provider gave no verdict.
        Rejected: the clip is not a usable video, or a gate did not classify it as live.
    """
    if row["rejected_by"]:
        raise Rejected("not_asked", f"not live according to {', '.join(row['rejected_by'])}, so not sent")
    frames = read_clip(Path(row["path"]))
    if not len(frames):
        raise Failed("no_frames", f"{row['path']} contains no frames")
    started = time.perf_counter()
    verdict = provider.check(Clip(frames, fps, row["pixels_sha256"], row["video_id"]), row["action"])
    exchange = asdict(verdict.exchange) if verdict.exchange else {"latency_s": time.perf_counter() - started}
    return {
        "live": verdict.live,
        "score": verdict.score,
        "threshold": verdict.threshold,
        "evidence": json.dumps(verdict.evidence, sort_keys=True, allow_nan=False),
        **exchange,
    }
