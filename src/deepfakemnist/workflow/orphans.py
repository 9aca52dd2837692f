"""Orphans of a changed plan: tables, journals and videos that no job of the run reads or would take over.

A source that leaves the sheet, another shard size or another liveness provider leaves files behind, because Snakemake
deletes only what it makes again. Below the folders of the stages, and nowhere else, whatever follows the names that
stages give and is not in use is an orphan; paid answers, weights, detectors and a user's own files are never.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from deepfakemnist.config.load import Config
from deepfakemnist.config.training_sets import with_pooled_folds
from deepfakemnist.errors import ConfigError
from deepfakemnist.planning.rounds import read_candidates
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.journal import SUFFIX, Journal
from deepfakemnist.workflow.run_plan import ROLES, RunPlan
from deepfakemnist.workflow.script import clips_per_job

#: Stages with a folder below the results → suffixes of the files that they write beside their tables.
STAGES: dict[str, tuple[str, ...]] = {
    "ingest": (),
    "candidates": (".mp4",),
    "crop": (".mp4",),
    "identify": (),
    "extract_motion": (".npz",),
    "plan": (),
    "animate": (".mp4",),
    "judge": (),
    "reenact": (),
    "liveness": (),
    "select": (),
    "import_released": (),
    "compress": (".mp4",),
    "frames": (".parquet", ".png"),
    "gpu": (),
    "audit/facts": (),
    "evaluation/measured": (),
}
#: Those with a folder more: by role, kind, provider, or by the clips that detectors are measured on.
_NESTED = {
    "ingest", "candidates", "crop", "liveness", "import_released", "compress", "frames", "gpu", "evaluation/measured",
}  # fmt: skip
_TABLE = ".parquet"


@dataclass
class Orphans:
    """What may be removed, and the stages that keep more because jobs of theirs have yet to run."""

    files: list[Path] = field(default_factory=list)
    #: Folders in which a table of the plan is missing; its job may take over videos of other shards.
    waiting: list[Path] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Size of the files, bytes."""
        found = [path.lstat() for path in self.files]
        # A file with two names, see tables.kept_results, is on the disk once.
        return sum({(one.st_dev, one.st_ino): one.st_size for one in found}.values())


def find_orphans(plan: RunPlan, results: Path) -> Orphans:
    """Return the orphans below the folders of the stages.

    Args:
        plan: the run's plan as it is now.
        results: folder of the results.

    Raises: ConfigError for a damaged table: what it names is unknown, so nothing can be said about the other files.
    """
    planned = set(planned_tables(plan, results))
    orphans, used = Orphans(), set[Path]()
    for folder in _table_folders(results):
        waits = any(path.parent == folder and not path.is_file() for path in planned)
        if waits:
            orphans.waiting.append(folder)
        for path in sorted(folder.iterdir()):
            table = _table_of(path)
            if table is None or path.is_symlink() or not path.is_file():
                continue
            is_journal = path.name.endswith(SUFFIX)
            if is_journal and (waits or table in planned):
                used |= {Path(name).absolute() for entry in Journal(path).read().values() for name in entry.files}
            elif table not in planned:
                orphans.files.append(path)
            elif path == table:
                used |= _named_by(table)
    for path in _files_beside_tables(results):
        if path.absolute() not in used and not _is_of_planned_frames(path, planned, results):
            orphans.files.append(path)
    return orphans


def remove(orphans: Orphans, results: Path) -> None:
    """Delete the files, and the folders that are empty without them."""
    for path in orphans.files:
        path.unlink(missing_ok=True)
    for stage in STAGES:
        for folder in sorted((results / stage).rglob("*"), reverse=True):
            if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
                folder.rmdir()


def check_not_running(directory: Path) -> None:
    """Refuse while Snakemake works in a directory, or has been killed there. Raises: ConfigError."""
    if any((directory / ".snakemake/locks").glob("*")):
        raise ConfigError(
            f"{directory} is locked by Snakemake. Wait for the run to end; if it was killed, run it again to its end, "
            "with --unlock first"
        )


def planned_tables(plan: RunPlan, results: Path) -> Iterator[Path]:
    """Yield the table of every job of the stages, as far as the rounds are known."""
    config = plan.config
    fakes = list(plan.fake_shards())
    batches = clips_per_job(config.clips_per_gpu_job, 0, results)
    jobs = list(plan.first_round.batches(batches)) if batches and not plan.released else []
    for number in range(2, config.plan.max_rounds + 1):
        table = results / f"rounds/round{number}.parquet"
        if not table.is_file() or not (candidates := read_candidates(table)):
            break
        later = plan.later_round(candidates)
        fakes += later.shards
        jobs += later.batches(batches) if batches else []
    names: dict[str, list[str]] = {"compress/real": plan.shards("source"), "compress/fake": fakes}
    names["identify"] = plan.shards("source")
    if plan.released:
        names |= {"import_released/real": plan.shards("source"), "import_released/fake": fakes}
    else:
        for role in ROLES:
            for stage in ("ingest", "crop", *(["candidates"] if config.sources.select else [])):
                names[f"{stage}/{role}"] = plan.shards(role)
        names |= dict.fromkeys(("extract_motion", "reenact"), plan.motion_shards())
        stages = (
            "plan",
            "animate",
            "judge",
            "select",
            *(f"liveness/{one.provider}" for one in config.liveness.providers),
        )
        names |= dict.fromkeys(stages, fakes)
        if batches:
            names |= {"gpu/animate": jobs, "gpu/extract_motion": list(plan.driver_batches(batches))}
    names["audit/facts"] = plan.fact_parts()
    names |= _measured(config)
    for stage, shards in names.items():
        for shard in shards:
            yield results / stage / f"{shard}{_TABLE}"
            if stage.startswith("compress/"):
                yield results / stage.replace("compress", "frames") / f"{shard}{_TABLE}"


def _measured(config: Config) -> dict[str, list[str]]:
    """Return the training sets that are measured, by folder."""
    sets = config.training_sets
    elsewhere = [f"on_{name}" for name in config.evaluation.datasets]
    if config.evaluation.robustness:
        elsewhere.append("perturbed")
    folder = "evaluation/measured"
    # Folds score the same clips elsewhere, so they are pooled on the run's own clips alone.
    return {f"{folder}/predictions": list(with_pooled_folds(sets)), **{f"{folder}/{name}": sets for name in elsewhere}}


def _table_folders(results: Path) -> dict[Path, str]:
    """Return the folders that hold tables, and the stage of each."""
    folders: dict[Path, str] = {}
    for stage in STAGES:
        inner = sorted((results / stage).glob("*")) if stage in _NESTED else [results / stage]
        folders |= {folder: stage for folder in inner if folder.is_dir() and not folder.is_symlink()}
    return folders


def _files_beside_tables(results: Path) -> Iterator[Path]:
    """Yield the files that stages wrote into the folders of their shards, unfinished ones of killed jobs included."""
    for folder, stage in _table_folders(results).items():
        for inner in folder.iterdir():
            if inner.is_dir() and not inner.is_symlink():
                yield from (
                    path
                    for path in inner.rglob("*")
                    if path.suffix in STAGES[stage] and path.is_file() and not path.is_symlink()
                )


def _table_of(path: Path) -> Path | None:
    """Return the table that a file belongs to: the table, its journal or its lock; None for a file of another kind.

    An unfinished table of a killed job belongs to one that nobody plans.
    """
    found = re.fullmatch(r"\.?(.+?\.parquet)(\..+)?", path.name)
    return path.with_name(found[1]) if found else None


def _named_by(table: Path) -> set[Path]:
    """Return the absolute paths of the files that a table's rows name."""
    try:
        if "path" not in pq.read_schema(table).names:
            return set()
        return {Path(row["path"]).absolute() for row in read_rows(table, ["path"]) if row["path"]}
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{table} cannot be read: {error}. `deepfakemnist repair` has it made again") from None


def _is_of_planned_frames(path: Path, planned: set[Path], results: Path) -> bool:
    """Return whether a file holds frames of a planned shard: a PNG file, or one that waits to be merged.

    Tables of frames name no files.
    """
    parts = path.relative_to(results).parts
    if parts[0] != "frames":
        return False
    table = results.joinpath(*parts[:2], parts[2] + _TABLE)
    return table in planned and (path.suffix == ".png" or not table.is_file())
