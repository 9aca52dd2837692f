"""Uniformity of a dataset: one encoder setting per quality, one checkpoint per animator, one code.

Snakemake makes tables again when a setting changes. Results of two settings mean that it could not tell, as after
``--touch`` or ``--cleanup-metadata``, or that tables were copied from another run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from deepfakemnist.tables.files import column_names, read_rows
from deepfakemnist.tables.schemas import OK, Row

#: Kind of this problem in ``manifest check``.
MIXED = "mixed_settings"
_MAX_LISTED = 3


class Mixture(NamedTuple):
    """Quality, animator or stage with results of several settings, and where each of them is."""

    subject: str
    detail: str


#: Subject and name of a setting → value → video → table.
_Found = dict[tuple[str, str], dict[str, dict[str, str]]]


def mixed_tables(stages: Mapping[str, Iterable[Path]]) -> list[Mixture]:
    """Return every setting that has several values in the ok rows of a run's tables.

    Args:
        stages: stage → its tables. Columns looked at: ``code``, by ``animator`` where there is one; ``encoder`` by
            ``quality``; ``checkpoint_sha256`` by ``animator``, over all stages.
    """
    found: _Found = defaultdict(lambda: defaultdict(dict))
    for stage, paths in stages.items():
        for path in paths:
            for row in _rows(path):
                _note(found, row, str(path))
                if "code" in row:
                    # Each animator has code of its own.
                    subject = f"stage {stage}" + (f" of {row['animator']}" if row.get("animator") else "")
                    found[subject, "code digests"][_text(row["code"])].setdefault(row["video_id"], str(path))
    return _problems(found)


def mixed_videos(videos: Sequence[Row]) -> list[Mixture]:
    """Return the same for the encoder settings and checkpoints in the videos table of a manifest."""
    found: _Found = defaultdict(lambda: defaultdict(dict))
    for row in videos:
        _note(found, row, "")
    return _problems(found)


def _rows(path: Path) -> list[Row]:
    wanted = ("video_id", "status", "code", "quality", "encoder", "animator", "checkpoint_sha256")
    known = column_names(path)
    return [row for row in read_rows(path, [name for name in wanted if name in known]) if row["status"] == OK]


def _note(found: _Found, row: Row, table: str) -> None:
    if "encoder" in row:
        values = found[f"quality {row['quality']}", "encoder settings"]
        values[_text(row["encoder"])].setdefault(row["video_id"], table)
    if row.get("animator"):
        values = found[f"animator {row['animator']}", "checkpoints"]
        values[_text(row.get("checkpoint_sha256"))].setdefault(row["video_id"], table)


def _problems(found: _Found) -> list[Mixture]:
    problems = []
    for (subject, name), values in found.items():
        if len(values) > 1:
            groups = sorted(values.items(), key=lambda item: (len(item[1]), item[0]))
            detail = "; ".join(f"{value} in {_described(tables)}" for value, tables in groups)
            advice = "Delete the tables of those that you do not want, and run the same command again"
            problems.append(Mixture(subject, f"has {len(values)} {name}: {detail}. {advice}"))
    return problems


def _described(tables: Mapping[str, str]) -> str:
    videos, paths = sorted(tables), sorted({path for path in tables.values() if path})
    text = f"{len(videos)} videos ({_listed(videos)})"
    return f"{text} of {_listed(paths)}" if paths else text


def _listed(names: Sequence[str]) -> str:
    more = f", … {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more


def _text(value: object) -> str:
    return "unknown" if value is None else str(value) or "none"
