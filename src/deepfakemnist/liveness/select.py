"""Selection of accepted animations: a fake is accepted if every liveness provider classifies it as live."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import OK, REJECTED, SELECTED, Row


def select(animations: Iterable[Row], verdicts: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Accept or reject every animation with status ok.

    Args:
        animations: rows of ``schemas.ANIMATED``; rows with another status are dropped.
        verdicts: provider → rows of its ``schemas.VERDICTS``.

    Returns: rows of ``schemas.SELECTED`` in the order of the animations: ``ok``; ``rejected`` with reason ``liveness``
        if a provider said not live; ``rejected`` with ``liveness_unanswered`` if none did but a verdict is missing.
        ``detail`` names the providers.
    """
    answers = {provider: {row["video_id"]: row for row in rows} for provider, rows in verdicts.items()}
    return [
        _decide(row, {provider: by_id.get(row["video_id"]) for provider, by_id in answers.items()})
        for row in animations
        if row["status"] == OK
    ]


def select_shard(animations: Path, verdicts: Sequence[Path], table: Path) -> None:
    """Write ``table`` (SELECTED) from a shard's animations and one verdict table per provider.

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
    write_table(select(read_rows(animations), by_provider), table, SELECTED)


def _decide(animation: Row, answers: Mapping[str, Row | None]) -> Row:
    row = {name: animation[name] for name in SELECTED.names if name in animation}
    answered = {provider: answer for provider, answer in answers.items() if answer and answer["status"] == OK}
    row["liveness"] = json.dumps(
        {name: {key: answer[key] for key in ("live", "score", "threshold")} for name, answer in answered.items()},
        sort_keys=True,
    )
    not_live = [_describe(name, answer) for name, answer in answered.items() if not answer["live"]]
    if not_live:
        return {**row, "status": REJECTED, "reason": "liveness", "detail": "; ".join(not_live)}
    unanswered = [
        f"{name}: {answer['reason']}: {answer['detail']}" if answer else f"{name}: no verdict"
        for name, answer in answers.items()
        if name not in answered
    ]
    if unanswered:
        return {**row, "status": REJECTED, "reason": "liveness_unanswered", "detail": "; ".join(unanswered)}
    return {**row, "status": OK, "reason": "", "detail": ""}


def _describe(provider: str, verdict: Row) -> str:
    if verdict["score"] is None:
        return f"{provider}: not live"
    limit = "" if verdict["threshold"] is None else f", threshold {verdict['threshold']:.3g}"
    reason = json.loads(verdict["evidence"] or "{}").get("reason")
    return f"{provider}: score {verdict['score']:.3g}{limit}" + (f" ({reason})" if reason else "")
