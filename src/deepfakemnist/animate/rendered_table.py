"""Tables of clips rendered elsewhere: one row per pair of source and driver, checked before any job."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from deepfakemnist.config.animators.base import AnimatorSettings
from deepfakemnist.config.animators.rendered import RenderedSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import CONTROL_CHARACTERS, check_id, pair_id
from deepfakemnist.tables.schemas import OK, REJECTED, Row
from deepfakemnist.tables.tsv import Lines

COLUMNS = ("source_id", "driver_id", "action", "path", "animator", "licence", "weights_sha256")
#: Optional; empty: source.
MOUTH_FROM = "mouth_from"
_MOUTHS = ("source", "driver", "synthetic")
_MAX_LISTED = 20
_SHA256 = re.compile("[0-9a-f]{64}")


class Pair(NamedTuple):
    """What identifies a planned clip."""

    source_id: str
    driver_id: str
    action: str


class RenderedClip(NamedTuple):
    """Row of a table.

    Attributes:
        line: where it stands, for messages; the first row of a Parquet table is 1.
        pair: the pair that the clip shows.
        path: the clip, from the folder in which Snakemake works; empty if the cell is.
        animator: as the table says it.
        licence: licence of code and weights, or terms of the service; may be empty.
        weights_sha256: empty if there are none, or they are not known.
        mouth_from: see the column of ANIMATED.
    """

    line: int
    pair: Pair
    path: str
    animator: str
    licence: str
    weights_sha256: str
    mouth_from: str


def read_rendered_clips(table: Path) -> list[RenderedClip]:
    """Return the rows of a table: comma- or tab-separated, or Parquet, by its suffix. Other columns are ignored.

    Raises: ConfigError with file and line for missing columns, unsafe ids or paths, an invalid digest, and different
        digests of one animator, which would be different animators.
    """
    clips, problems = list[RenderedClip](), list[str]()
    weights: dict[str, tuple[str, int]] = {}
    for line, cells in _cells_of(table):
        try:
            clip = _clip(table, line, cells)
            known, before = weights.setdefault(clip.animator, (clip.weights_sha256, line))
            if known != clip.weights_sha256:
                raise ValueError(
                    f"weights_sha256 of animator {clip.animator} differs from that on line {before}; name other "
                    "weights as another animator, with an entry of its own"
                )
        except ValueError as error:
            problems.append(f"{table} line {line}: {error}")
            continue
        clips.append(clip)
    if problems:
        more = f"\n… and {len(problems) - _MAX_LISTED} more" if len(problems) > _MAX_LISTED else ""
        raise ConfigError("\n".join(problems[:_MAX_LISTED]) + more)
    return clips


@cache
def clips_of_table(table: Path) -> list[RenderedClip]:
    """Return the same for a table that may not be there yet, read once per process; none if it is not."""
    return read_rendered_clips(table) if table.is_file() else []


def clips_by_pair(clips: Sequence[RenderedClip], settings: RenderedSettings) -> dict[Pair, RenderedClip]:
    """Return the clips of an animator; of several of one pair, the first."""
    found: dict[Pair, RenderedClip] = {}
    for clip in clips:
        if clip.animator in settings.words:
            found.setdefault(clip.pair, clip)
    return found


def rendered_animators(animators: Sequence[AnimatorSettings]) -> list[RenderedSettings]:
    """Return the animators whose clips are rendered elsewhere."""
    return [one for one in animators if isinstance(one, RenderedSettings)]


def surplus_clips(animators: Sequence[AnimatorSettings], planned: Sequence[Row]) -> list[Row]:
    """Return a ledger row for every row of the tables that gives no fake, with the reason.

    Args:
        animators: animators of the run.
        planned: all rows of its PLANNED tables.

    Reasons: not_planned, duplicate_pair, unknown_animator; kind is ``rendered``.
    """
    rendered = rendered_animators(animators)
    wanted = {
        (row["animator"], Pair(row["source_id"], row["driver_id"], row["action"]))
        for row in planned
        if row["status"] == OK
    }
    rows: list[Row] = []
    for table in dict.fromkeys(one.table for one in rendered):
        label_of = {word: one.named for one in rendered if one.table == table for word in one.words}
        rows += _surplus(table, label_of, wanted)
    return rows


def _surplus(table: Path, label_of: Mapping[str, str], wanted: Collection[tuple[str, Pair]]) -> Iterator[Row]:
    first: dict[tuple[str, Pair], int] = {}
    for clip in clips_of_table(table):
        label = label_of.get(clip.animator)
        if label is None:
            reason = "unknown_animator"
            detail = f"animator {clip.animator!r}; this run's entries are called {', '.join(sorted(label_of))}"
        elif (label, clip.pair) not in wanted:
            reason = "not_planned"
            detail = f"the run plans no {clip.pair.action} clip of this source and driver for {label}"
        elif (before := first.setdefault((label, clip.pair), clip.line)) != clip.line:
            reason, detail = "duplicate_pair", f"already on line {before}, whose clip is used"
        else:
            continue
        yield {
            "kind": "rendered",
            "video_id": f"{pair_id(clip.pair.source_id, clip.pair.driver_id)} (line {clip.line})",
            "person_id": "",
            "action": clip.pair.action,
            "stage": "animate",
            "status": REJECTED,
            "reason": reason,
            "detail": f"{table} line {clip.line}: {detail}",
        }


def _clip(table: Path, line: int, cells: Mapping[str, str]) -> RenderedClip:
    """Return a row. Raises: ValueError for a cell that is not allowed."""
    for name in ("source_id", "driver_id"):
        try:
            check_id(cells[name])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    for name in ("action", "animator"):
        if not cells[name]:
            raise ValueError(f"{name} is empty")
    for name in (*COLUMNS, MOUTH_FROM):
        if CONTROL_CHARACTERS.search(cells.get(name, "")):
            raise ValueError(f"{name} must not contain control characters")
    digest, mouth, path = cells["weights_sha256"], cells.get(MOUTH_FROM) or _MOUTHS[0], cells["path"]
    if digest and not _SHA256.fullmatch(digest):
        raise ValueError(f"weights_sha256 {digest!r} is not 64 digits and letters a to f; leave it empty if unknown")
    if mouth not in _MOUTHS:
        raise ValueError(f"{MOUTH_FROM} {mouth!r} is not one of {', '.join(_MOUTHS)}")
    pair = Pair(cells["source_id"], cells["driver_id"], cells["action"])
    found = str(table.parent / path) if path else ""
    return RenderedClip(line, pair, found, cells["animator"], cells["licence"], digest, mouth)


def _cells_of(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, cells) of a table, without spaces around them. Raises: ConfigError."""
    columns, lines = _open(table)
    if (lacking := [name for name in COLUMNS if name not in columns]) or len(set(columns)) != len(columns):
        raise ConfigError(
            f"{table} line 1: the header has {columns}; required are {list(COLUMNS)}, each once"
            + (f"; missing: {lacking}" if lacking else "")
            + ". Columns are separated by tabs in .tsv, by commas in .csv."
        )
    for line, raw in lines:
        if None in raw:
            raise ConfigError(f"{table} line {line}: has more than the {len(columns)} columns of the header")
        yield line, {name: str(value if value is not None else "").strip() for name, value in raw.items()}


def _open(table: Path) -> tuple[list[str], Iterator[tuple[int, dict[Any, Any]]]]:
    """Return the columns of a table, and its lines."""
    if table.suffix == ".parquet":
        try:
            content = pq.read_table(table)
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(f"cannot read {table}: {error}") from error
        return content.column_names, enumerate(content.to_pylist(), start=1)
    if table.suffix == ".csv":
        lines = Lines(table, "clips", delimiter=",", quoting=csv.QUOTE_MINIMAL)
    else:
        lines = Lines(table, "clips")
    return lines.columns, iter(lines)
