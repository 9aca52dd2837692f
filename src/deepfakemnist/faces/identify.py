"""Face embeddings of clips: the stage behind the identity audit.

A clip's embedding is the mean over a few frames and their mirror images, which halves the distance between two clips of
one person and leaves that between two people: pose and expression average out, identity does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from deepfakemnist.errors import Rejected
from deepfakemnist.faces.identity import FaceEmbedder
from deepfakemnist.media.decode import read_pictures
from deepfakemnist.media.frames import evenly_spaced
from deepfakemnist.tables.checksums import check_unchanged
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import IDENTITIES, OK, Row
from deepfakemnist.tables.shards import Tally, run_shard

#: Evenly spaced frames per clip. The halves of 23 real clips are at most 0.48 apart by one frame each, 0.34 by 3,
#: 0.30 by 5, 0.29 by 8 and by 16.
_FRAMES = 8


def identify_shard(clips: Path, table: Path, *, code: str, max_failed_fraction: float = 1.0) -> Tally:
    """Write an IDENTITIES row for every ok clip of a shard.

    Args:
        clips: CROPPED or RELEASED_CLIPS table.
        table: table to write.
        code: digest of this code.
        max_failed_fraction: see ``shards.run_shard``.

    Reasons in addition to those of reading a video: rejected with no_face; failed as in ``checksums.check_unchanged``.
    """
    embedder = FaceEmbedder()

    stored = [row for row in read_rows(clips) if row["status"] == OK]
    hashes = {row["video_id"]: row.get("sha256") for row in stored}

    def identify(row: Row) -> Row:
        check_unchanged(row["path"], hashes[row["video_id"]])
        found = [
            embedder.embed_with_mirror(frame) for frame in _sampled(row["path"], evenly_spaced(row["frames"], _FRAMES))
        ]
        embeddings = [embedding for embedding in found if embedding is not None]
        if not embeddings:
            raise Rejected("no_face", f"no face in any of the {len(found)} frames examined")
        return {"embedding": np.mean(embeddings, axis=0).tolist(), "faces": len(embeddings)}

    columns = ("video_id", "person_id", "path", "frames", "pixels_sha256")
    rows = [{name: row[name] for name in columns} for row in stored]
    return run_shard(
        rows,
        table,
        IDENTITIES,
        identify,
        code=code,
        depends_on=("pixels_sha256",),
        blank=(),
        max_failed_fraction=max_failed_fraction,
    )


def _sampled(path: str, wanted: Sequence[int]) -> Iterator[np.ndarray]:
    # Only what is looked at is converted to RGB.
    for index, (picture, _) in enumerate(read_pictures(path)):
        if index in wanted:
            yield picture.rgb()
