"""Garbage of a run: orphans, unfinished files of killed jobs, and intermediate clips that are spent.

Face crops of sources and animations are lossless, and take more than the dataset that is encoded from them. Animations
may go once every table that is made from them is there, crops once all rounds, the manifest and the pages are. A few
rejected animations stay, which the gallery shows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfakemnist.dataset.removed_clips import RemovedClip, read_removed, remove_clips
from deepfakemnist.dataset.repair import check_idle
from deepfakemnist.errors import ConfigError
from deepfakemnist.liveness.examples import first_rejected
from deepfakemnist.tables.disk_room import GB
from deepfakemnist.tables.files import PART_FILE, read_rows
from deepfakemnist.tables.schemas import OK
from deepfakemnist.workflow.orphans import Orphans, find_orphans, planned_tables, remove
from deepfakemnist.workflow.run_plan import RunPlan

#: Made from crops of sources besides the tables of shards, below the results.
_MADE_OF_ALL_CROPS = ("manifest/videos.parquet", "report/crops.html", "report/gallery.html", "report/liveness.html")
#: Rules whose jobs read intermediate clips.
_READERS = ("train_animator", "animate", "judge", "liveness", "call_vendor", "compress", "identify", "source_pages")


@dataclass
class Garbage:
    """What may go."""

    orphans: Orphans
    parts: list[Path]
    clips: list[RemovedClip]

    @property
    def bytes(self) -> int:
        """Size of all of it."""
        parts = sum(path.lstat().st_size for path in self.parts)
        return self.orphans.bytes + parts + sum(clip.bytes for clip in self.clips)


def find_garbage(plan: RunPlan, results: Path, *, intermediate: bool) -> Garbage:
    """Return what a run does not need; change nothing.

    Args:
        plan: the run's plan.
        results: folder of its results.
        intermediate: clips of finished stages too.

    Raises: ConfigError for a damaged table.
    """
    parts = sorted(path for path in results.rglob(".*.part.*") if PART_FILE.fullmatch(path.name) and path.is_file())
    clips = list(spent_clips(plan, results)) if intermediate else []
    return Garbage(find_orphans(plan, results), parts, clips)


def remove_garbage(garbage: Garbage, results: Path) -> None:
    """Delete it. Raises: ConfigError while a job writes a result; nothing is deleted then."""
    check_idle(results)
    remove(garbage.orphans, results)
    for path in garbage.parts:
        path.unlink(missing_ok=True)
    if garbage.clips:
        remove_clips(results, garbage.clips)


def remove_intermediate(plan: RunPlan, results: Path) -> str:
    """Remove the intermediate clips that nothing is to be made from any more, at the end of a run; return a line on it.

    A job of a killed run that still writes, or a damaged table, lets them stay, and the line says why.
    """
    try:
        clips = list(spent_clips(plan, results))
        if not clips:
            return ""
        check_idle(results)
    except ConfigError as error:
        return f"Intermediate clips stay: {error}"
    freed = remove_clips(results, clips)
    return f"Removed {len(clips):,} intermediate clips, {freed / GB:.3f} GB (disk.intermediate: remove)."


def spent_clips(plan: RunPlan, results: Path) -> Iterator[RemovedClip]:
    """Yield the intermediate clips that nothing is to be made from any more, as far as the run has come."""
    if plan.released or plan.config.storage.media == "packed":
        return
    planned = list(planned_tables(plan, results))
    crops = "candidates" if plan.config.sources.select else "crop"
    examples = _examples([path for path in planned if path.parent == results / "select" and path.is_file()])
    for table in planned:
        stage = table.parent.relative_to(results).as_posix()
        if stage == "animate" and _made_of(table, plan, results):
            yield from (clip for clip in _clips(table) if clip.path not in examples)
    all_there = all(path.is_file() for path in [*planned, *(results / name for name in _MADE_OF_ALL_CROPS)])
    if all_there and _no_round_follows(plan, results):
        for table in planned:
            if table.parent == results / crops / "source":
                yield from _clips(table)


def describe_clips_to_restore(results: Path, jobs: Collection[tuple[str, Collection[str], Collection[str]]]) -> str:
    """Return what to do about jobs that would read removed clips; empty if there are none.

    Args:
        results: folder of the results.
        jobs: rule, inputs and outputs of every job about to run; what one of them makes again is not missing.
    """
    made = {path for _, _, outputs in jobs for path in outputs}
    lacking = {name for table in {clip.table for clip in read_removed(results)} - made for name in _names(table)}
    read = sorted({path for rule, inputs, _ in jobs if rule in _READERS for path in inputs} & lacking)
    if not read:
        return ""
    return (
        f"jobs about to run read clips that `deepfakemnist gc` has removed: those of {len(read)} tables, the first "
        f"{read[0]}. Have them made again first, with the command of your runs: "
        "deepfakemnist gc --restore --run snakemake --cores 8"
    )


def _names(table: str) -> set[str]:
    """Return the tables by which jobs know the clips of a table: a selection of its rows names them too."""
    path = Path(table)
    if path.parent.name == "animate":
        return {table, str(path.parents[1] / "select" / path.name)}
    return {table, str(path.parents[2] / "crop" / path.parent.name / path.name)}


def _made_of(animations: Path, plan: RunPlan, results: Path) -> bool:
    """Return whether all that is made from a table of animations is there, and not older."""
    providers = [f"liveness/{one.provider}" for one in plan.config.liveness.providers]
    made = [results / stage / animations.name for stage in ("judge", "select", "compress/fake", *providers)]
    return animations.is_file() and all(
        path.is_file() and path.stat().st_mtime_ns >= animations.stat().st_mtime_ns for path in made
    )


def _no_round_follows(plan: RunPlan, results: Path) -> bool:
    """Return whether the last table of candidates is the empty one that ends the rounds."""
    last = plan.config.plan.max_rounds
    tables = [results / f"rounds/round{number}.parquet" for number in range(2, last + 1)]
    known = [path for path in tables if path.is_file()]
    return len(known) == len(tables) or (bool(known) and not read_rows(known[-1], ["source_id"]))


def _examples(selected: Sequence[Path]) -> set[str]:
    """Return the paths of the rejected animations that the gallery shows; of accepted ones it shows the dataset's."""
    rows = read_rows(selected, ["animator", "action", "path", "status"])
    return {row["path"] for row in first_rejected(rows).values()}


def _clips(table: Path) -> Iterator[RemovedClip]:
    """Yield the clips that a table names and that are there."""
    for row in read_rows(table, ["status", "path", "bytes"]):
        if row["status"] == OK and row["path"] and Path(row["path"]).is_file():
            yield RemovedClip(row["path"], str(table), row["bytes"] or Path(row["path"]).stat().st_size)
