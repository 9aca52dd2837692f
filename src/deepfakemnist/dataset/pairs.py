"""Real–fake pairs: the source clip of every fake."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from deepfakemnist.tables.dataset_schemas import PAIRS
from deepfakemnist.tables.schemas import Row


def pair_rows(videos: Sequence[Row]) -> list[Row]:
    """Return a row of ``tables.PAIRS`` for every fake: its real, and whether that real is in the dataset."""
    reals = {(row["video_id"], row["quality"]): row for row in videos if row["label"] == 0}
    fakes: dict[str, list[Row]] = defaultdict(list)
    for row in videos:
        if row["label"] == 1:
            fakes[row["video_id"]].append(row)
    pairs = []
    for name, rows in sorted(fakes.items()):
        partners = [reals.get((row["source_id"], row["quality"])) for row in rows]
        lengths = [partner["frames"] == row["frames"] for row, partner in zip(rows, partners, strict=True) if partner]
        pairs.append(
            {
                **{column: rows[0][column] for column in PAIRS.names if column in rows[0]},
                "fake_id": name,
                "real_id": rows[0]["source_id"],
                "same_length": all(lengths) if lengths else None,
                "complete": all(partners),
            }
        )
    return pairs
