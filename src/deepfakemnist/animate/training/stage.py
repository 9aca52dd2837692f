"""Workflow stages of animator training: choice of clips, from the run's crops or the config, and training."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from deepfakemnist.animate.training.clip_list import CLIP_LIST_SHA256, ClipList, list_sha256, listed_clip
from deepfakemnist.animate.training.loop import train_animator
from deepfakemnist.animate.training.pairs import TrainingClip
from deepfakemnist.config.animators.fomm import FommModel, FommSettings
from deepfakemnist.devices.distributed import Distributed
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import seed_from
from deepfakemnist.sources.exclusions import Exclusions, read_exclusions
from deepfakemnist.sources.video_files import find_videos
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK, Row

log = logging.getLogger(__name__)


def choose_training_clips(
    crop_tables: list[Path],
    driver_crop_tables: list[Path],
    people: set[str] | None,
    clips: Path,
    settings: FommSettings,
    seed: int,
    chosen_for: str = "",
    exclude: Path | None = None,
) -> None:
    """Choose the clips to train an animator on and write their list.

    Args:
        crop_tables: crops of the sources.
        driver_crop_tables: crops of the drivers, all of which are used.
        people: ``person_id`` of the sources to use, which keeps people of val and test out of training; None is all.
        clips: list to write, see ``ClipList``.
        settings: ``train.clips`` replaces the crops, ``train.max_sources`` limits the sources.
        seed: of the choice among more sources than that.
        chosen_for: digest of the settings of the training.
        exclude: list of videos and people to remove from ``train.clips``; crops contain none of them.

    Raises: ConfigError when fewer than two clips are usable.
    """
    if settings.train.clips is not None:
        exclusions = read_exclusions(exclude) if exclude else Exclusions()
        found = [row for row in clips_of(settings.train.clips) if exclusions.reason_for(row) is None]
        drivers: list[Row] = []
    else:
        found = [row for row in _ok_rows(crop_tables) if people is None or row["person_id"] in people]
        drivers = _ok_rows(driver_crop_tables)
    found.sort(key=lambda row: seed_from(seed, "train animator", row["video_id"]))
    chosen = [*found[: settings.train.max_sources], *drivers]
    if len(chosen) < 2:
        where = settings.train.clips or f"this run ({'all' if people is None else len(people)} people)"
        raise ConfigError(
            f"training an animator needs at least 2 usable clips; {where} has {len(found)}, and there are "
            f"{len(drivers)} drivers. Add videos, set animator.weights to trained weights, or animator.name "
            "to mesh, which needs none"
        )
    log.info("chose %d of %d clips and %d drivers to train the animator on", len(chosen), len(found), len(drivers))
    # Sorted by path, so that the result does not depend on the number of shards.
    chosen.sort(key=lambda row: row["path"])
    entries = [listed_clip(row["video_id"], row["person_id"], row["path"]) for row in chosen]
    ClipList(chosen_for, entries).save(clips)


def train_animator_stage(
    clips: Path,
    checkpoint: Path,
    folder: Path,
    report: Path,
    settings: FommSettings,
    seed: int,
    device: str = "auto",
    workers: int = 0,
) -> None:
    """Train an animator; write its weights and a JSON report. A killed training resumes from its last saved state.

    In a process group the ranks share each batch, and rank 0 writes the files.

    Args:
        clips: list written by ``choose_training_clips``.
        checkpoint: weight file to write.
        folder: for training state, TensorBoard events and sample sheets; existing files are kept.
        report: JSON to write, see ``TrainingReport``; it names the sha256 of ``clips``.
        settings: architecture and training.
        seed: see ``train_animator``.
        device: ``auto`` uses CUDA if available.
        workers: see ``train_animator``.

    Raises: ConfigError when a clip has changed since it was chosen, and what ``train_animator`` raises.
    """
    chosen, sha256 = ClipList.load(clips), list_sha256(clips)
    if Distributed.current().is_main:
        chosen.check_files()
    result = train_animator(
        [TrainingClip(Path(clip.path), clip.person_id, sha256=clip.sha256) for clip in chosen.clips],
        checkpoint,
        folder,
        settings.model or FommModel(),
        settings.train,
        align_corners=settings.align_corners is not False,
        seed=seed,
        device=device,
        workers=workers,
    )
    if Distributed.current().is_main:
        result.save(report, {CLIP_LIST_SHA256: sha256})


def clips_of(where: Path) -> list[Row]:
    """Return ``video_id``, ``path`` and ``person_id`` of the clips in a folder or in a TSV or Parquet table.

    In a folder, and in a table without ``person_id``, the person is the file name up to the first ``#``, the naming of
    VoxCeleb crops. Paths in a TSV are relative to its folder. Rows with a ``status`` other than ok are skipped.

    Raises: ConfigError for a table without the column ``path``, or with paths of missing files.
    """
    if where.is_dir():
        # Hidden files, partial files of killed writers, are left aside.
        return [_clip(path) for path in find_videos(where).videos]
    if not where.is_file():
        raise ConfigError(f"animator.train.clips: {str(where)!r} is neither a folder nor a file")
    is_parquet = where.suffix == ".parquet"
    table = pd.read_parquet(where) if is_parquet else pd.read_csv(where, sep="\t", dtype=str, keep_default_na=False)
    if "path" not in table:
        raise ConfigError(f"animator.train.clips: {where} has no column path, it has {', '.join(table.columns)}")
    if "status" in table:
        table = table[table["status"] == OK]
    rows = []
    for record in table.to_dict("records"):
        # Paths are relative to the working directory in tables of this workflow, to the sheet's folder in TSV sheets.
        path = Path(record["path"]) if is_parquet else where.parent / record["path"]
        rows.append(_clip(path, record.get("person_id")))
    if missing := [row["path"] for row in rows if not Path(row["path"]).is_file()]:
        raise ConfigError(
            f"animator.train.clips: {where} lists {len(missing)} missing files, the first is {missing[0]}"
        )
    return rows


def _clip(path: Path, person: str | None = None) -> Row:
    return {"video_id": path.stem, "path": str(path), "person_id": person or path.stem.split("#")[0]}


def _ok_rows(tables: list[Path]) -> list[Row]:
    return [row for row in read_rows(tables) if row["status"] == OK]
