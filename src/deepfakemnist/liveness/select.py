"""Selection of accepted animations: live for every liveness provider, and within the limits of the quality gate.

Both decisions are in the row, whichever refuses, so that the report can count them against each other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfakemnist.config.stages import SelectSettings
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import OK, REJECTED, SELECTED, Row

#: Reasons of rejection, in order of precedence.
NOT_LIVE, UNANSWERED, LOW_QUALITY, UNMEASURED = "liveness", "liveness_unanswered", "quality", "quality_unmeasured"
#: Setting → column of ANIMATION_QUALITY, and its name in messages.
FIGURES = {
    "min_identity": ("identity_kept", "identity"),
    "min_sharpness": ("sharpness_ratio", "sharpness"),
    "max_tearing": ("tearing", "tearing"),
}


@dataclass(frozen=True)
class _Refusal:
    reason: str
    detail: str


def select(
    animations: Iterable[Row],
    verdicts: Mapping[str, Sequence[Row]],
    settings: SelectSettings | None = None,
    judged: Iterable[Row] = (),
) -> list[Row]:
    """Accept or reject every animation with status ok.

    Args:
        animations: rows of ``schemas.ANIMATED``; rows with another status are dropped.
        verdicts: provider → rows of its ``schemas.VERDICTS``.
        settings: the quality gate; None: liveness alone decides.
        judged: rows of ``schemas.ANIMATION_QUALITY``, for the gate.

    Returns: rows of ``schemas.SELECTED`` in the order of the animations: ``ok``, or ``rejected`` for the first reason
        that applies: ``liveness``, a provider said not live; ``liveness_unanswered``, a verdict is missing;
        ``quality``, a figure is beyond its limit; ``quality_unmeasured``, a figure of the gate is missing. ``detail``
        names the providers and figures.
    """
    answers = {provider: {row["video_id"]: row for row in rows} for provider, rows in verdicts.items()}
    limits = (settings or SelectSettings()).limits
    measured = {row["video_id"]: row for row in judged}
    return [
        _decide(
            row,
            _liveness_refusal({provider: by_id.get(row["video_id"]) for provider, by_id in answers.items()}),
            {provider: by_id[row["video_id"]] for provider, by_id in answers.items() if row["video_id"] in by_id},
            limits,
            measured.get(row["video_id"]),
        )
        for row in animations
        if row["status"] == OK
    ]


def select_shard(
    animations: Path,
    verdicts: Sequence[Path],
    table: Path,
    settings: SelectSettings | None = None,
    judged: Path | None = None,
) -> None:
    """Write ``table`` (SELECTED) from a shard's animations, one verdict table per provider and, for a gate, ``judged``.

    Raises:
        ValueError: no verdict tables, a verdict table with several providers, or two tables of one provider.
    """
    if not verdicts:
        raise ValueError("select needs at least one verdict table, because liveness verdicts decide what is accepted")
    by_provider: dict[str, list[Row]] = {}
    for path in verdicts:
        rows = read_rows(path)
        # The verdict table of a shard without animations is empty and names no provider; use its path as name.
        names = sorted({row["provider"] for row in rows if row["provider"]}) or [str(path)]
        if len(names) > 1:
            raise ValueError(
                f"{path} holds verdicts of several providers ({', '.join(names)}); expected one table per provider"
            )
        if names[0] in by_provider:
            raise ValueError(f"{path} is a second verdict table of provider {names[0]}")
        by_provider[names[0]] = rows
    figures = read_rows(judged) if judged else []
    write_table(select(read_rows(animations), by_provider, settings, figures), table, SELECTED)


def _decide(
    animation: Row,
    liveness: _Refusal | None,
    answers: Mapping[str, Row],
    limits: Mapping[str, float],
    judged: Row | None,
) -> Row:
    quality = _quality_refusal(limits, judged)
    row = {name: animation[name] for name in SELECTED.names if name in animation}
    row["liveness"] = json.dumps(
        {
            name: {key: answer[key] for key in ("live", "score", "threshold")}
            for name, answer in answers.items()
            if answer["status"] == OK
        },
        sort_keys=True,
    )
    if limits:
        row |= {column: (judged or {}).get(column) for column, _ in FIGURES.values()}
        row["quality_passed"] = quality is None
    refusals = [refusal for refusal in (liveness, quality) if refusal]
    if not refusals:
        return {**row, "status": OK, "reason": "", "detail": ""}
    detail = "; ".join(refusal.detail for refusal in refusals)
    return {**row, "status": REJECTED, "reason": refusals[0].reason, "detail": detail}


def _liveness_refusal(answers: Mapping[str, Row | None]) -> _Refusal | None:
    answered = {provider: answer for provider, answer in answers.items() if answer and answer["status"] == OK}
    not_live = [_describe(name, answer) for name, answer in answered.items() if not answer["live"]]
    if not_live:
        return _Refusal(NOT_LIVE, "; ".join(not_live))
    unanswered = [
        f"{name}: {answer['reason']}: {answer['detail']}" if answer else f"{name}: no verdict"
        for name, answer in answers.items()
        if name not in answered
    ]
    return _Refusal(UNANSWERED, "; ".join(unanswered)) if unanswered else None


def _quality_refusal(limits: Mapping[str, float], judged: Row | None) -> _Refusal | None:
    """Return why the gate refuses: figures beyond their limits, else figures that are missing."""
    beyond, missing = [], []
    for setting, limit in limits.items():
        column, name = FIGURES[setting]
        value = (judged or {}).get(column)
        if value is None or not math.isfinite(value):
            missing.append(name)
        elif value < limit if setting.startswith("min") else value > limit:
            side = "below" if setting.startswith("min") else "above"
            beyond.append(f"{name} {value:.3g} {side} select.{setting} {limit:g}")
    if beyond:
        return _Refusal(LOW_QUALITY, "; ".join(beyond))
    if missing:
        why = "not judged" if judged is None else judged["detail"] or "not measurable in this clip"
        return _Refusal(UNMEASURED, f"{', '.join(missing)}: {why}")
    return None


def _describe(provider: str, verdict: Row) -> str:
    if verdict["score"] is None:
        return f"{provider}: not live"
    limit = "" if verdict["threshold"] is None else f", threshold {verdict['threshold']:.3g}"
    reason = json.loads(verdict["evidence"] or "{}").get("reason")
    return f"{provider}: score {verdict['score']:.3g}{limit}" + (f" ({reason})" if reason else "")
