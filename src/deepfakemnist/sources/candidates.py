"""Stratified candidate sampling from a large video collection, balanced over people, length and face size.

Sampling uses only what is known before any video is read, so unsampled videos cost nothing. What only the crops can
show (quality gates, duplicates) is decided later, in :mod:`.selection`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from deepfakemnist.config.stages import SelectionSettings
from deepfakemnist.ids import seed_from
from deepfakemnist.sources.sheets import Sheet, refusal
from deepfakemnist.tables.schemas import Row


def choose_candidates(sheet: Sheet, settings: SelectionSettings, seed: int) -> Sheet:
    """Return a sheet with ``settings.candidates`` of its rows; the rest become refused rows with reason not_chosen."""
    assert settings.candidates is not None
    if len(sheet.rows) <= settings.candidates:
        return sheet
    ranked = stratified_order(sheet.rows, [_length, _face], seed)
    chosen = {row["video_id"] for row in ranked[: settings.candidates]}
    kept = replace(sheet, rows=[], refused=list(sheet.refused))
    for row in sheet.rows:
        if row["video_id"] in chosen:
            kept.rows.append(row)
        else:
            detail = f"not among the {settings.candidates} candidates of sources.select"
            kept.refused.append(refusal(row["video_id"], detail, reason="not_chosen", row=row))
    return kept


def stratified_order(rows: Sequence[Row], measures: Sequence[Callable[[Row], float]], seed: int) -> list[Row]:
    """Return all rows in an order whose every prefix is balanced over people and, on average, over each measure.

    Round robin over people. A person's videos come from as many strata as possible, where a stratum is the combination
    of quartiles of the measures over all rows, and rarer strata come first more often (Efraimidis and Spirakis 2006,
    weights inverse to the size of the stratum). All is decided by hashes of seed and id, so the input order does not
    matter, and a person more or less changes the order of few other videos.

    Args:
        rows: with video_id and person_id.
        measures: values to balance, e.g. length; a missing value counts as 0.
        seed: the run's seed.
    """
    quartile = [_quartiles([measure(row) for row in rows]) for measure in measures]
    videos: dict[str, dict[tuple[int, ...], list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(rows, key=lambda row: seed_from(seed, "choose", row["video_id"])):
        stratum = tuple(bounds(measure(row)) for bounds, measure in zip(quartile, measures, strict=True))
        videos[row["person_id"]][stratum].append(row)
    sizes = {
        stratum: sum(len(strata.get(stratum, ())) for strata in videos.values())
        for stratum in {stratum for strata in videos.values() for stratum in strata}
    }
    turns: list[tuple[int, int, Row]] = []
    for person, strata in videos.items():
        place = seed_from(seed, "choose", person)
        own = sorted(
            (number, _waiting_time(row, seed) * sizes[stratum], row["video_id"], row)
            for stratum, members in strata.items()
            for number, row in enumerate(members)
        )
        turns += [(turn, place, row) for turn, (*_, row) in enumerate(own)]
    return [row for *_, row in sorted(turns, key=lambda one: (one[0], one[1], one[2]["video_id"]))]


def _waiting_time(row: Row, seed: int) -> float:
    """Return an exponential variate that depends on seed and id alone."""
    return -math.log((seed_from(seed, "stratum", row["video_id"]) + 1) / 2**63)


def _quartiles(values: list[float]) -> Callable[[float], int]:
    ranked = sorted(values)
    bounds = [ranked[len(ranked) * part // 4] for part in (1, 2, 3)]
    return lambda value: sum(value >= bound for bound in bounds)


def _length(row: Row) -> float:
    return row["end_s"] - (row["start_s"] or 0.0) if row["end_s"] is not None else 0.0


def _face(row: Row) -> float:
    """Return the side of the first annotated box, in pixels of its reference picture; 0 without one."""
    boxes = row.get("boxes")
    return float((boxes[0][3] * boxes[0][4]) ** 0.5) if boxes else 0.0
