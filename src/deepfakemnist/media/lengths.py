"""Equal clip lengths within a real-fake pair, so that duration does not reveal the class.

The length follows from the plan, not from its outcome: a real whose fakes were rejected is cut like one whose fakes
were kept, and a change of liveness detector re-encodes no real.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK


def pair_lengths(crops: Iterable[Path | str], plans: Iterable[Path | str]) -> dict[str, int]:
    """Return how many frames each source and planned fake keeps: the shortest length in its group.

    A group is a source and every fake planned from it; a fake has as many frames as its driver. A source without
    planned fakes keeps its own length.

    Args:
        crops: tables with a shard's cropped sources.
        plans: tables with the candidates of the same sources.
    """
    shortest = {row["video_id"]: row["frames"] for row in read_rows(crops) if row["status"] == OK}
    planned = [row for row in read_rows(plans) if row["status"] == OK and row["source_id"] in shortest]
    for row in planned:
        shortest[row["source_id"]] = min(shortest[row["source_id"]], row["motion_frames"])
    return shortest | {row["video_id"]: shortest[row["source_id"]] for row in planned}
