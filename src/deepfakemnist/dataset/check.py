"""Dataset integrity checks: manifest rows for consistency, and files on disk against their rows.

Kinds of problems:

================ =====================================================================================================
missing          a row's file, or a Parquet file of frames, does not exist
truncated        a file is smaller than its row says
changed          a file is as large or larger, and its sha256 is not that of its row; or a Parquet file of frames was
                 replaced after the manifest was written
other_pixels     a file decodes to other pixels, or does not decode (checked with ``decode`` only)
damaged_table    a Parquet table or a Parquet file of frames is empty, cut short, or does not match its checksum
damaged_input    rows of a table failed because a file of an earlier stage was damaged when it was read
extra            a video in the dataset's folders that no row names
duplicate_pixels two videos of one quality decode to the same pixels
split_leak       a person is in two splits or two folds
pair_apart       a fake and its source are in different splits
orphan_pair      a fake's real is not in the dataset, or not at the same quality
repeated_row     two rows for the same video and quality, or the same frame
lost_frame       a row of the frame index points to another frame, or past the end of its shard
stray_frame      a row of the frame index belongs to no video
wrong_label      label and synthetic contradict each other
mixed_settings   a quality has two encoder settings, or an animator two checkpoints
wrong_marks      a fake lacks the marks its row names, or a real is marked as synthetic
================ =====================================================================================================
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.dataset.stored_files import Inspection, content_fault, inspect_results, size_fault
from deepfakemnist.dataset.uniformity import MIXED, mixed_videos
from deepfakemnist.errors import ConfigError, Failed, Rejected
from deepfakemnist.media.marks import read_marks
from deepfakemnist.media.samples import samples_sha256
from deepfakemnist.tables.checksums import DamagedTable, verify_table
from deepfakemnist.tables.dataset_schemas import FRAME_INDEX, PUBLISHED_SPLIT
from deepfakemnist.tables.files import read_metadata, read_rows, read_table
from deepfakemnist.tables.folders import real_path
from deepfakemnist.tables.schemas import Row

#: A real may be missing from a quality because it failed there, and two sources may be the same video under two names:
#: the tables are consistent nonetheless, and the manifest is written with such problems.
TOLERATED = ("orphan_pair", "duplicate_pixels")
#: Columns that must have a single value per person.
_BY_PERSON = ("split", "fold")


class Problem(NamedTuple):
    """A mismatch: its kind, the file, video or person affected, and what was found."""

    kind: str
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.detail}"


@dataclass
class Check:
    """What a check has found and how much it has read."""

    problems: list[Problem]
    """Problems that must not be; a finished run has none, however often it was killed."""
    tolerated: list[Problem]
    """Problems with which a manifest is written."""
    videos: int
    frames: int
    stored: Inspection
    """Tables and working files of the stages."""


def check_dataset(folder: Path, root: Path = Path(), *, jobs: int = 1, decode: bool = False) -> list[Problem]:
    """Return every problem of a manifest, tolerated ones too; see :func:`check_all`."""
    check = check_all(folder, root, jobs=jobs, decode=decode)
    return check.problems + check.tolerated


def check_all(folder: Path, root: Path = Path(), *, jobs: int = 1, decode: bool = False) -> Check:
    """Check a manifest for consistency and against the files on disk, and the tables and files of every stage.

    Every file is hashed, and every table compared with the checksum that it carries.

    Args:
        folder: folder of videos.parquet and frames.parquet. The tables of a run's stages lie next to it.
        root: folder that the manifest's paths are relative to.
        jobs: files checked in parallel.
        decode: also decode every video and compare its pixels; minutes per thousand videos instead of seconds.

    Raises: ConfigError when the folder holds no manifest, or a damaged one.
    """
    if not (folder / "videos.parquet").is_file():
        raise ConfigError(f"{folder}: contains no videos.parquet; give the folder of a manifest, e.g. results/manifest")
    videos = read_rows(folder / "videos.parquet")
    index = folder / "frames.parquet"
    frames = read_table(index) if index.is_file() else FRAME_INDEX.empty_table()
    check_file = partial(_check_file, root=root, decode=decode)
    with ThreadPoolExecutor(jobs) as pool:
        problems = [problem for found in pool.map(check_file, videos) for problem in found]
    problems += check_rows(videos, frames)
    problems += [Problem(MIXED, *found) for found in mixed_videos(videos)]
    problems += _check_frames(frames, root, jobs)
    checked = frozenset(root / path for path in {row["path"] for row in videos} | set(_shards_of(frames)))
    stored = inspect_results(folder.parent, root, jobs=jobs, decode=decode, known=checked)
    problems += [Problem(damage.kind, str(damage.path), damage.detail) for damage in stored.damaged]
    problems += _extra_files(videos, root, stored.named)
    published = read_metadata(folder / "videos.parquet").get("split") == PUBLISHED_SPLIT["split"]
    tolerated = (*TOLERATED, "split_leak") if published else TOLERATED
    return Check(
        [problem for problem in problems if problem.kind not in tolerated],
        [problem for problem in problems if problem.kind in tolerated],
        len(videos),
        frames.num_rows,
        stored,
    )


def check_rows(videos: Sequence[Row], frames: pa.Table) -> list[Problem]:
    """Return inconsistencies between rows; no file is opened.

    Args:
        videos: rows of tables.VIDEOS.
        frames: table with FRAME_INDEX.
    """
    problems = []
    known = {(row["video_id"], row["quality"]) for row in videos}
    split_of = {row["video_id"]: row["split"] for row in videos}
    pixels: dict[tuple[str, str], list[str]] = defaultdict(list)
    person_values: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in videos:
        name = row["video_id"]
        for column in _BY_PERSON:
            if row.get(column) is not None:
                person_values[column, row["person_id"]].add(str(row[column]))
        if row.get("pixels_sha256"):
            pixels[row["quality"], row["pixels_sha256"]].append(name)
        if row["synthetic"] != (row["label"] == 1):
            problems.append(Problem("wrong_label", name, f"label {row['label']} and synthetic {row['synthetic']}"))
        if row["label"] != 1:
            continue
        if (row["source_id"], row["quality"]) not in known:
            problems.append(
                Problem("orphan_pair", f"{name} ({row['quality']})", f"its real {row['source_id']} is missing")
            )
        source_split = split_of.get(row["source_id"], row["split"])
        if source_split != row["split"]:
            problems.append(Problem("pair_apart", name, f"is in {row['split']}, its source in {source_split}"))
    for (column, person), values in person_values.items():
        if len(values) > 1:
            problems.append(Problem("split_leak", f"person {person}", f"is in {column} {', '.join(sorted(values))}"))
    for (quality, _), names in pixels.items():
        if len(set(names)) > 1:
            problems.append(Problem("duplicate_pixels", ", ".join(names), f"decode to the same pixels at {quality}"))
    counts = Counter((row["video_id"], row["quality"]) for row in videos)
    problems += _repeated("video", counts.items())
    clips, repeated = _clips_and_repeats(frames)
    problems += _repeated("frame", repeated.items())
    strays = clips - known
    problems += [
        Problem("stray_frame", f"{name} ({quality})", "has frames but no video") for name, quality in sorted(strays)
    ]
    return list(dict.fromkeys(problems))  # a problem of a video recurs at each of its qualities


def check_sizes(videos: Sequence[Row], frames: pa.Table, root: Path = Path()) -> list[Problem]:
    """Return files that are missing or whose size differs from their row; cheap enough for every run."""
    problems = [problem for row in videos if (problem := _check_size(row, root))]
    missing = [path for path in _shards_of(frames) if not (root / path).is_file()]
    return problems + [Problem("missing", path, "is missing") for path in missing]


def _shards_of(frames: pa.Table) -> list[str]:
    """Return the Parquet files of a frame index, sorted."""
    return sorted({path for chunk in frames["shard_path"].chunks for path in chunk.unique().to_pylist()})


def _check_size(row: Row, root: Path) -> Problem | None:
    path = root / row["path"]
    if (fault := size_fault(path, row["bytes"])) is None:
        return None
    whose = f" (row {row['video_id']}, {row['quality']})" if fault.kind == "missing" else ""
    return Problem(fault.kind, str(path), fault.detail + whose)


def _check_file(row: Row, root: Path, decode: bool) -> list[Problem]:
    problem = _check_size(row, root)
    if problem:
        return [problem]
    path = root / row["path"]
    if row.get("sha256") and (fault := content_fault(path, row["sha256"])) is not None:
        return [Problem(fault.kind, str(path), fault.detail)]
    return list(_check_marks(row, path)) + (list(_check_pixels(row, path)) if decode else [])


def _check_marks(row: Row, path: Path) -> Iterator[Problem]:
    claimed = {name for name in (row.get("marks") or "").split(",") if name}
    try:
        # The C2PA library is needed only where a row names such a mark; a comment can always be read.
        marks = read_marks(path, c2pa="c2pa" in claimed)
    except Failed as error:
        yield Problem("other_pixels", str(path), f"cannot be opened: {error.detail}")
        return
    if row["label"] == 0 and marks.synthetic:
        yield Problem("wrong_marks", str(path), "is real but marked as synthetic")
    lacking = claimed - set(marks.names.split(","))
    if lacking:
        yield Problem("wrong_marks", str(path), f"lacks {', '.join(sorted(lacking))}, which its row names")
    if marks.credentials and marks.credentials["state"] == "Invalid":
        yield Problem("wrong_marks", str(path), "its C2PA signature does not match the file")


def _check_pixels(row: Row, path: Path) -> Iterator[Problem]:
    try:
        if samples_sha256(path) != row["pixels_sha256"]:
            yield Problem("other_pixels", str(path), "decodes to other pixels than its row says")
    except (Failed, Rejected) as error:
        yield Problem("other_pixels", str(path), f"does not decode: {error}")


def _extra_files(videos: Iterable[Row], root: Path, stored: Iterable[Path]) -> list[Problem]:
    """Return videos in the dataset's folders that no row names, neither of the manifest nor of a stage.

    Unfinished files of killed jobs, whose names start with a dot, do not count.
    """
    named = {real_path(root / row["path"]) for row in videos}
    on_disk = {
        path for folder in {path.parent for path in named} if folder.is_dir() for path in folder.glob("[!.]*.mp4")
    }
    # A stage may hold more than the dataset, e.g. fakes beyond the quota.
    extra = on_disk - named - {real_path(path) for path in stored}
    return [Problem("extra", str(path), "has no row") for path in sorted(extra)]


def _repeated(what: str, counts: Iterable[tuple[tuple[object, ...], int]]) -> list[Problem]:
    """Return a problem for each key that occurs more than once."""
    return [
        Problem("repeated_row", f"{what} {' '.join(map(str, key))}", f"occurs {count} times")
        for key, count in counts
        if count > 1
    ]


def _clips_and_repeats(frames: pa.Table) -> tuple[set[tuple[str, str]], dict[tuple[str, str, int], int]]:
    """Return the ids and qualities in a frame index, and how often the frames occur that occur more than once."""
    if not frames.num_rows:
        return set(), {}
    names, codes = [], []
    for column in ("video_id", "quality"):
        # Numbers in place of texts: an index has a hundred rows per video.
        encoded = frames[column]
        if not pa.types.is_dictionary(encoded.type):
            encoded = pc.fill_null(encoded, "").dictionary_encode()
        unified = encoded.unify_dictionaries()
        names.append(unified.chunk(0).dictionary.to_pylist())
        codes.append(np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in unified.chunks]))
    clip = codes[0].astype(np.int64) * len(names[1]) + codes[1]
    index = pc.fill_null(frames["frame_index"], -1).to_numpy().astype(np.int64)
    first, span = index.min(), np.ptp(index) + 1
    keys = np.sort(clip * span + index - first)
    again = keys[1:][keys[1:] == keys[:-1]]
    repeats: Counter[int] = Counter(again.tolist())

    def name(number: int) -> tuple[str, str]:
        return names[0][number // len(names[1])], names[1][number % len(names[1])]

    return (
        {name(number) for number in np.unique(clip).tolist()},
        {(*name(key // span), int(key % span + first)): count + 1 for key, count in sorted(repeats.items())},
    )


def _check_frames(frames: pa.Table, root: Path, jobs: int) -> list[Problem]:
    def check(shard: str) -> list[Problem]:
        return _check_shard(shard, frames.filter(pc.equal(frames["shard_path"], shard)).to_pylist(), root)

    with ThreadPoolExecutor(jobs) as pool:
        return [problem for found in pool.map(check, _shards_of(frames)) for problem in found]


def _check_shard(shard: str, rows: list[Row], root: Path) -> list[Problem]:
    """Return problems of one Parquet file of frames and of the index's rows that point into it."""
    key = ("video_id", "quality", "frame_index")
    if not (root / shard).is_file():
        return [Problem("missing", shard, "is missing")]
    try:
        checksum = verify_table(root / shard)
        stored = [tuple(row[name] for name in key) for row in read_rows(root / shard, key)]
    except DamagedTable as error:
        return [Problem("damaged_table", shard, error.what)]
    if (indexed := rows[0].get("shard_checksum")) and checksum != indexed:
        found = f"{checksum[:12]}…" if checksum else "none"
        return [Problem("changed", shard, f"has checksum {found}, the index says {indexed[:12]}…")]
    problems = []
    for row in rows:
        wanted, at = tuple(row[name] for name in key), row["shard_row"]
        if at >= len(stored) or stored[at] != wanted:
            seen = stored[at] if at < len(stored) else "nothing"
            problems.append(Problem("lost_frame", f"{shard} row {at}", f"holds {seen}, the index says {wanted}"))
    return problems
