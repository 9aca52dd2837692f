"""Exclusion lists of a release: removal of listed videos and people with every derived clip, and the proof of it.

The proof checks the finished folder, not the intention: every row of its tables, every stored frame, and the name of
every file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.sources.exclusions import Exclusions, read_exclusions
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import Row

PROOF = "EXCLUSIONS.json"


class ExclusionError(RuntimeError):
    """A release contains an excluded video or person."""


def read_exclusion_lists(paths: Sequence[Path]) -> Exclusions:
    """Return the union of several lists. Raises ConfigError naming file and line."""
    lists = [read_exclusions(path, "release.exclusions") for path in paths]
    return Exclusions(
        {name: why for one in lists for name, why in one.videos.items()},
        {name: why for one in lists for name, why in one.people.items()},
    )


def apply_exclusions(videos: Sequence[Row], exclusions: Exclusions, require_licence: bool) -> tuple[list[Row], int]:
    """Return the rows that may be released, and the number of videos that may not."""
    kept, left_out = [], set()
    for row in videos:
        if exclusions.reason_for(row) is not None or (require_licence and not row["licence"]):
            left_out.add(row["video_id"])
        else:
            kept.append(row)
    return kept, len(left_out)


def write_proof(folder: Path, exclusions: Exclusions, lists: Sequence[Path], left_out: int) -> None:
    """Check a release against its exclusion lists and write EXCLUSIONS.json: digests and counts, no names.

    Args:
        folder: the release, with its tables and files in place.
        exclusions: the union of the lists.
        lists: the list files; anyone who has one can compare its sha256.
        left_out: number of videos left out.

    Raises: ExclusionError naming the rows and files that are excluded.
    """
    tables = {name: read_rows(folder / f"manifest/{name}.parquet") for name in ("videos", "frames", "pairs")}
    shards = sorted(folder.glob("frames/*/*.parquet"))
    tables["stored_frames"] = [row for path in shards for row in read_rows(path, ["video_id"])]
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    tables["files"] = [{"video_id": path.stem} for path in files]
    found = [f"{name}: {why}" for name, rows in tables.items() for why in exclusions.violations(rows)]
    if found:
        raise ExclusionError("the release contains excluded videos or people:\n  " + "\n  ".join(found[:20]))
    proof = {
        "lists_sha256": [hashlib.sha256(path.read_bytes()).hexdigest() for path in lists],
        "videos_listed": len(exclusions.videos),
        "people_listed": len(exclusions.people),
        "videos_left_out": left_out,
        "checked": {name: len(rows) for name, rows in tables.items()},
        "violations": 0,
    }
    (folder / PROOF).write_text(json.dumps(proof, indent=2) + "\n", encoding="utf-8")
