"""Fakes that the page on liveness shows: the first accepted and the first rejected one of every action."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK, Row


def example_fakes(selected: Sequence[Path]) -> dict[tuple[str, bool], Row | None]:
    """Return the first accepted and the first rejected fake of every action, None if there is none.

    Args:
        selected: tables of select, in the order of the shards.
    """
    rows = read_rows(selected)
    return {
        (action, status): next(
            (row for row in rows if row["action"] == action and (row["status"] == OK) == status), None
        )
        for action in ACTIONS
        for status in (True, False)
    }
