"""Rejected fakes that the gallery shows: the first of every animator and action."""

from __future__ import annotations

from collections.abc import Iterable

from deepfakemnist.tables.schemas import REJECTED, Row


def first_rejected(selected: Iterable[Row]) -> dict[tuple[str, str], Row]:
    """Return the first rejected fake of every animator and action that has one.

    Args:
        selected: rows of SELECTED, in the order of the shards.
    """
    found: dict[tuple[str, str], Row] = {}
    for row in selected:
        if row["status"] == REJECTED:
            found.setdefault((row["animator"] or "", row["action"]), row)
    return found
