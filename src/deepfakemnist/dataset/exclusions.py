"""Who is left out of a release: those named on exclusion lists, and all that was made from or with them; and a proof.

The proof looks at what lies in the finished folder, not at what was meant to go in: every row of its tables, every
row of its frames, and the name of every file.
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


class NotLeftOutError(RuntimeError):
    """A release holds what a list forbids."""


def read_lists(paths: Sequence[Path]) -> Exclusions:
    """Return several lists as one. Raises ConfigError naming file and line."""
    lists = [read_exclusions(path, "release.exclusions") for path in paths]
    return Exclusions(
        {name: why for one in lists for name, why in one.videos.items()},
        {name: why for one in lists for name, why in one.people.items()},
    )


def leave_out(videos: Sequence[Row], exclusions: Exclusions, require_licence: bool) -> tuple[list[Row], int]:
    """Return the rows that may be released, and how many videos may not."""
    kept, gone = [], set()
    for row in videos:
        if exclusions.reason_for(row) is not None or (require_licence and not row["licence"]):
            gone.add(row["video_id"])
        else:
            kept.append(row)
    return kept, len(gone)


def write_proof(folder: Path, exclusions: Exclusions, lists: Sequence[Path], left_out: int) -> None:
    """Hold a release against its lists and write EXCLUSIONS.json, which names nobody: digests and counts.

    Args:
        folder: the release, with its tables and files in place.
        exclusions: what the lists say.
        lists: the files themselves; whoever has one can compare its sha256.
        left_out: videos left out.

    Raises: NotLeftOutError with every row and file that is forbidden.
    """
    tables = {name: read_rows(folder / f"manifest/{name}.parquet") for name in ("videos", "frames", "pairs")}
    shards = sorted(folder.glob("frames/*/*.parquet"))
    tables["stored_frames"] = [row for path in shards for row in read_rows(path, ["video_id"])]
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    tables["files"] = [{"video_id": path.stem} for path in files]
    found = [f"{name}: {why}" for name, rows in tables.items() for why in exclusions.violations(rows)]
    if found:
        raise NotLeftOutError("the release holds what it must not:\n  " + "\n  ".join(found[:20]))
    proof = {
        "lists_sha256": [hashlib.sha256(path.read_bytes()).hexdigest() for path in lists],
        "videos_listed": len(exclusions.videos),
        "people_listed": len(exclusions.people),
        "videos_left_out": left_out,
        "checked": {name: len(rows) for name, rows in tables.items()},
        "violations": 0,
    }
    (folder / PROOF).write_text(json.dumps(proof, indent=2) + "\n", encoding="utf-8")
