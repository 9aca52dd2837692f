"""Findings of the identity audit: their table, and what a run and a release say about them.

Light on imports, because the end of every run reads the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import read_tsv

COLUMNS = (
    "finding",
    "verdict",
    "person_id",
    "other_person_id",
    "split",
    "other_split",
    "video_id",
    "other_video_id",
    "distance",
    "reason",
)
#: Values of ``finding``, and what one and several of them are called.
FINDINGS = {
    "equal_pixels": ("pair of videos with equal pixels", "pairs of videos with equal pixels"),
    "same_face": ("pair of people with the same face", "pairs of people with the same face"),
    "similar_face": ("pair of people with similar faces", "pairs of people with similar faces"),
    "two_faces": ("person with two faces", "people with two faces"),
}
#: Values of ``verdict``: stops a release; to be looked at; acknowledged in dataset.identities.accepted.
LEAK, WARNING, ACCEPTED = "leak", "warning", "accepted"
#: Pairs named in a message; the table holds all.
_NAMED = 3


def count_findings(findings: Iterable[Row]) -> str:
    """Return the counts of each finding as text, for example "2 people with two faces"; empty without findings."""
    counts = Counter(row["finding"] for row in findings)
    return ", ".join(f"{counts[kind]} {names[counts[kind] > 1]}" for kind, names in FINDINGS.items() if counts[kind])


def leaks_among(findings: Iterable[Row], videos: Iterable[Row]) -> list[Row]:
    """Return the leaks between videos, or clips derived from them, that are still in the dataset."""
    sources = {name for row in videos for name in (row["video_id"], row["source_id"])}
    return [row for row in findings if row["verdict"] == LEAK and {row["video_id"], row["other_video_id"]} <= sources]


def leak_message(leaks: Sequence[Row]) -> str:
    """Return one line on the leaks, with the first of them; empty without leaks."""
    if not leaks:
        return ""
    named = "; ".join(
        f"{row['video_id']} ({row['split']}) and {row['other_video_id']} ({row['other_split']})"
        for row in leaks[:_NAMED]
    )
    more = f" and {len(leaks) - _NAMED} more" if len(leaks) > _NAMED else ""
    return f"The splits leak: {count_findings(leaks)} across splits: {named}{more}."


def summary_for_terminal(path: Path) -> str:
    """Return the lines that a finished run prints about a table of findings; empty when there is nothing to look at."""
    findings = read_tsv(path) if path.is_file() else []
    lines = []
    if message := leak_message([row for row in findings if row["verdict"] == LEAK]):
        lines += [f"WARNING: {message}", "Detectors are tested on what they were trained on; a release is refused."]
    if warnings := count_findings(row for row in findings if row["verdict"] == WARNING):
        lines.append(f"To be looked at: {warnings}.")
    if lines:
        lines.append(f"All are in {path}, and with pictures in the report (Dataset, identities).")
    return "".join(f"{line}\n" for line in lines)
