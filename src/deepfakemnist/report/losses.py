"""Losses of fakes by action, of which several pages say why an action has none in the dataset."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from deepfakemnist.tables.schemas import OK, Row


def losses_by_action(ledger: Iterable[Row]) -> dict[str, Counter[tuple[str, str]]]:
    """Return action → (stage, reason) → fakes that ended there.

    Args:
        ledger: rows with kind, action, stage, status and reason.
    """
    losses: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for row in ledger:
        if row["kind"] == "fake" and row["status"] != OK:
            losses[row["action"]][row["stage"], row["reason"]] += 1
    return losses
