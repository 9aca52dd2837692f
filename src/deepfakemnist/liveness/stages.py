"""Liveness as a stage: a shard of animations in, a verdict of one provider about each out."""

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
    """Ask one provider about every ok animation of a shard and write its verdicts to ``table`` (VERDICTS).

    Live or not, an answer is a row with status ok; a clip that was not shown, because a cheaper provider had not taken
    it for live, is ``rejected``; only a clip without an answer is ``failed``.

    Args:
        animations: table of ``tables.ANIMATED``.
        table: table to write.
        settings: the provider's settings, one of ``settings.LivenessProvider``.
        fps: frames per second of the animations.
        code: digest of the code behind the stage.
        motions: action → motion the provider is asked for; for vendors.
        answers: folder of what vendors answered; for vendors.
        gates: verdict tables of the providers that must have taken a clip for live.
        max_failed_fraction: see ``shards.run_shard``.

    Raises:
        ConfigError: the provider's weights or keys are missing or are not the ones meant; or no further clip can be
            asked about now, because quota, money or keys ended. Everything answered is kept.
        TooManyFailures: see ``shards.run_shard``.
    """
    provider = build(settings, motions, answers)
    rows = [row for row in read_rows(animations) if row["status"] == OK]
    refused = refused_by(gates)
    # Every row names the provider, answered or not, so that select can say who did not answer.
    asked = [
        {
            **{name: row[name] for name in ("video_id", "action", "path", "pixels_sha256")},
            "provider": provider.name,
            "provider_version": provider.version,
            "asked_motion": provider.asks(row["action"]),
            "refused_by": refused.get(row["video_id"], []),
        }
        for row in rows
    ]
    try:
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
    except StopRun as stop:
        raise ConfigError(f"{provider.name}: {stop}") from None


def refused_by(gates: Sequence[Path]) -> dict[str, list[str]]:
    """Return video_id → providers, of the verdict tables ``gates``, that did not take it for live."""
    refused: dict[str, list[str]] = {}
    for row in read_rows(gates, ["video_id", "provider", "live", "status"]):
        if row["status"] != OK or not row["live"]:
            refused.setdefault(row["video_id"], []).append(row["provider"])
    return refused


def judge(provider: LivenessProvider, row: Row, fps: float) -> Row:
    """Return the verdict columns of one animation (``path``, ``action``, ``pixels_sha256``, ``refused_by`` are read).

    Raises:
        Failed: the clip cannot be read, or the provider could not answer.
        Rejected: the clip is no usable video, or a gate did not take it for live.
    """
    if row["refused_by"]:
        raise Rejected("not_asked", f"not taken for live by {', '.join(row['refused_by'])}, so not shown")
    frames = read_clip(Path(row["path"]))
    if not len(frames):
        raise Failed("no_frames", f"{row['path']} holds no frame")
    started = time.perf_counter()
    verdict = provider.check(Clip(frames, fps, row["pixels_sha256"]), row["action"])
    exchange = asdict(verdict.exchange) if verdict.exchange else {"latency_s": time.perf_counter() - started}
    return {
        "live": verdict.live,
        "score": verdict.score,
        "threshold": verdict.threshold,
        "evidence": json.dumps(verdict.evidence, sort_keys=True, allow_nan=False),
        **exchange,
    }
