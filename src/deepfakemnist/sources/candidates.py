"""Which videos of a large collection are looked at at all: a seeded choice, even over people, length and face size.

It is made from what is known before any video is read, so what is not chosen costs nothing. What can only be seen in
the crops (gates, duplicates) is decided afterwards, by :mod:`.selection`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from deepfakemnist.config.stages import SelectionSettings
from deepfakemnist.ids import seed_from
from deepfakemnist.sources.sheets import Sheet, refusal
from deepfakemnist.tables.schemas import Row


def choose_candidates(sheet: Sheet, settings: SelectionSettings, seed: int) -> Sheet:
    """Return a sheet with ``settings.candidates`` of its rows; the others become refused rows, reason not_chosen."""
    assert settings.candidates is not None
    if len(sheet.rows) <= settings.candidates:
        return sheet
    ranked = stratified(sheet.rows, [_length, _face], seed)
    chosen = {row["video_id"] for row in ranked[: settings.candidates]}
    kept = Sheet(refused=list(sheet.refused))
    for row in sheet.rows:
        if row["video_id"] in chosen:
            kept.rows.append(row)
        else:
            detail = f"not among the {settings.candidates} candidates that sources.select asks for"
            kept.refused.append(refusal(row["video_id"], detail, reason="not_chosen", row=row))
    return kept


def stratified(rows: Sequence[Row], measures: Sequence[Callable[[Row], float]], seed: int) -> list[Row]:
    """Return all rows in such an order that every beginning of it is even over people and over each measure.

    People take turns. Of a person's videos the next is one from the stratum that has given least so far, where a
    stratum is the quartile of each measure over all rows. Ties follow from a hash of seed and id, so the order of the
    rows does not matter.

    Args:
        rows: with video_id and person_id.
        measures: what to be even over, e.g. length; a missing value is 0.
        seed: the run's seed.
    """
    quartile = [_quartiles([measure(row) for row in rows]) for measure in measures]
    left: dict[str, dict[tuple[int, ...], list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(rows, key=lambda row: seed_from(seed, "choose", row["video_id"])):
        stratum = tuple(bounds(measure(row)) for bounds, measure in zip(quartile, measures, strict=True))
        left[row["person_id"]][stratum].append(row)
    people = sorted(left, key=lambda person: seed_from(seed, "choose", person))
    given: dict[tuple[int, ...], int] = defaultdict(int)
    order: list[Row] = []
    while people:
        for person in people:
            strata = left[person]
            stratum = min(strata, key=lambda name: (given[name], seed_from(seed, person, name)))
            order.append(strata[stratum].pop())
            given[stratum] += 1
            if not strata[stratum]:
                del strata[stratum]
        people = [person for person in people if left[person]]
    return order


def _quartiles(values: list[float]) -> Callable[[float], int]:
    ranked = sorted(values)
    bounds = [ranked[len(ranked) * part // 4] for part in (1, 2, 3)]
    return lambda value: sum(value >= bound for bound in bounds)


def _length(row: Row) -> float:
    return row["end_s"] - (row["start_s"] or 0.0) if row["end_s"] is not None else 0.0


def _face(row: Row) -> float:
    """Return the side of the first given box, in pixels of its reference picture; 0 where none is given."""
    boxes = row.get("boxes")
    return float((boxes[0][3] * boxes[0][4]) ** 0.5) if boxes else 0.0
