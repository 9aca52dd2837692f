"""JSON and CSV of the scores of videos: per video, face track, second and frame."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepfakemnist.tables.files import atomic_path
from deepfakemnist.tables.schemas import Row
from deepfakemnist.training.score_video import FaceTrack, VideoScore

#: Name of each CSV file, and its columns.
_COLUMNS = {
    "videos": ("name", "verdict", "score", "tracks", "length_s", "reason", "detail"),
    "tracks": ("name", "track", "verdict", "score", "frames", "from_s", "to_s"),
    "seconds": ("name", "track", "second", "score", "frames"),
    "frames": ("name", "track", "time_s", "score", "logit"),
    "skipped": ("name", "from_s", "to_s", "reason", "detail"),
}


def write_scores(folder: Path, detector: dict[str, Any], videos: Sequence[tuple[str, VideoScore]]) -> None:
    """Write ``scores.json``, and the same as a CSV file per kind of row.

    Args:
        folder: where they go.
        detector: facts of the detector and of how it was used.
        videos: name and scores of each.
    """
    records = [_record(name, scored) for name, scored in videos]
    with atomic_path(folder / "scores.json") as part:
        part.write_text(json.dumps({**detector, "videos": records}, indent=2) + "\n", encoding="utf-8")
    for table, columns in _COLUMNS.items():
        with atomic_path(folder / f"{table}.csv") as part, part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            for record in records:
                writer.writerows({"name": record["name"], **row} for row in _rows(table, record))


def why_unscored(scored: VideoScore) -> tuple[str, str]:
    """Return reason and detail of an unscored video: its own, or that of the longest part that was skipped."""
    if scored.reason or not scored.skipped:
        return scored.reason, scored.detail
    longest = max(scored.skipped, key=lambda face: face.to_s - face.from_s)
    return longest.reason, longest.detail


def _record(name: str, scored: VideoScore) -> dict[str, Any]:
    reason, detail = why_unscored(scored) if scored.verdict == "unscored" else (scored.reason, scored.detail)
    return {
        "name": name,
        "path": str(scored.path),
        "verdict": scored.verdict,
        "score": scored.score,
        "reason": reason,
        "detail": detail,
        "length_s": scored.length_s,
        "cuts_s": scored.cuts_s,
        "tracks": [_track_record(track) for track in scored.tracks],
        "skipped": [asdict(face) for face in scored.skipped],
    }


def _track_record(track: FaceTrack) -> dict[str, Any]:
    return {
        "track": track.number,
        "verdict": track.verdict,
        "score": track.score,
        "from_s": track.segments[0].from_s,
        "to_s": track.segments[-1].to_s,
        "segments": [
            # Where the box follows the face, its place in the middle of the segment.
            {"from_s": segment.from_s, "to_s": segment.to_s, "box": asdict(segment.boxes[len(segment.boxes) // 2])}
            for segment in track.segments
        ],
        "seconds": [{"second": second, "score": score, "frames": count} for second, score, count in track.seconds],
        "frames": [asdict(frame) for frame in track.frames],
    }


def _rows(table: str, record: dict[str, Any]) -> Iterator[Row]:
    """Yield the rows of a video in a CSV file."""
    if table == "videos":
        yield {**record, "tracks": len(record["tracks"])}
    elif table == "skipped":
        yield from record["skipped"]
    else:
        for track in record["tracks"]:
            if table == "tracks":
                yield {**track, "frames": len(track["frames"])}
            else:
                for row in track[table]:
                    yield {"track": track["track"], **row}
