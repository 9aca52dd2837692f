"""Export of planned pairs to whoever renders them elsewhere: a table to fill in, driver clips and source pictures."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from deepfakemnist.animate.rendered_table import MOUTH_FROM, Pair, RenderedClip, read_rendered_clips, rendered_animators
from deepfakemnist.animate.stages import frame_to_animate, source_frame_of
from deepfakemnist.config.animators.rendered import RenderedSettings
from deepfakemnist.errors import ConfigError, Failed, Rejected
from deepfakemnist.planning.rounds import read_candidates
from deepfakemnist.tables.checksums import check_unchanged
from deepfakemnist.tables.files import atomic_path, read_rows
from deepfakemnist.tables.schemas import OK, Row
from deepfakemnist.tables.tsv import Lines
from deepfakemnist.workflow.run_plan import RunPlan
from deepfakemnist.workflow.sharding import label_of

#: Name of the table in the folder that is written.
TABLE = "pairs.csv"
_EXPORTED = ("animator", "source_id", "driver_id", "action", "split", "round", "source_picture", "driver_clip")
_FORMAT = ("frames", "fps", "size")
_TO_FILL_IN = ("path", "licence", "weights_sha256", MOUTH_FROM)


class Export(NamedTuple):
    """What was written.

    Attributes:
        new: pairs added to the table.
        known: pairs that it already had.
        left_out: pairs whose source or driver cannot be read, with the reason.
    """

    new: int
    known: int
    left_out: list[str]


def export_pairs(plan: RunPlan, results: Path, out: Path) -> Export:
    """Write the pairs that the ``rendered`` animators of a run have to render.

    ``pairs.csv`` has a row per pair with a suggested path of the clip, and can be the table of the clips itself. Rows
    that it already has stay as they are, so that a later round adds its pairs to a table that is partly filled in.

    Args:
        plan: the run's plan.
        results: folder of the run's results, with the tables of the plan.
        out: folder to write ``pairs.csv``, ``sources``, ``drivers`` and the empty folders of ``rendered`` to.

    Raises: ConfigError if no animator of the run is ``rendered``, before the plan was made, and for a ``pairs.csv``
        that cannot be read.
    """
    animators = {one.named: one for one in rendered_animators(plan.config.animators)}
    if not animators:
        raise ConfigError("the config has no animator with name: rendered, so there is nothing to render elsewhere")
    label_of_word = {word: label for label, one in animators.items() for word in one.words}
    columns, rows, clips = _table_so_far(out / TABLE)
    known = {(label_of_word.get(clip.animator), clip.pair) for clip in clips}
    added: list[Row] = []
    left_out: list[str] = []
    count = 0
    for row in _planned(plan, results, animators):
        pair = Pair(row["source_id"], row["driver_id"], row["action"])
        count += (row["animator"], pair) in known
        if (row["animator"], pair) in known:
            continue
        try:
            added.append(_written(row, animators[row["animator"]], plan.config.crop.fps, out))
        except (Failed, Rejected) as error:
            left_out.append(f"{row['video_id']}: {error}")
    for label in animators:
        (out / "rendered" / label).mkdir(parents=True, exist_ok=True)
    with atomic_path(out / TABLE) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows([*rows, *added])
    return Export(len(added), count, left_out)


def _table_so_far(table: Path) -> tuple[list[str], list[Row], list[RenderedClip]]:
    """Return columns and rows of an earlier export, as they are and as they are understood."""
    if not table.exists():
        return [*_EXPORTED, *_FORMAT, *_TO_FILL_IN], [], []
    clips = read_rendered_clips(table)
    lines = Lines(table, "pairs", delimiter=",", quoting=csv.QUOTE_MINIMAL)
    return lines.columns, [row for _, row in lines], clips


def _planned(plan: RunPlan, results: Path, animators: dict[str, RenderedSettings]) -> Iterator[Row]:
    """Yield the planned pairs of the rendered animators, of all rounds that were drawn. Raises: ConfigError."""
    shards = list(plan.first_round.shards)
    number = 2
    while plan.rounds and (candidates := results / f"rounds/round{number}.parquet").exists():
        shards += plan.later_round(read_candidates(candidates)).shards
        number += 1
    suffixes = {plan.config.animator_suffixes[label] for label in animators}
    tables = [results / f"plan/{shard}.parquet" for shard in shards if label_of(shard) in suffixes]
    if missing := [table for table in tables if not table.exists()]:
        raise ConfigError(
            f"{len(missing)} of {len(tables)} tables of the plan are missing, the first is {missing[0]}. First run "
            "`snakemake plan_pairs --cores 8` with the same --configfile, which crops the videos and plans the pairs"
        )
    for table in tables:
        yield from (row for row in read_rows(table) if row["status"] == OK)


def _written(row: Row, settings: RenderedSettings, fps: float, out: Path) -> Row:
    """Write source picture and driver clip of a pair, unless they are there, and return its row. Raises: Failed."""
    index = source_frame_of(row, settings)["source_frame"]
    check_unchanged(row["source_path"], row["source_clip_sha256"])
    check_unchanged(row["motion_path"], row["motion_sha256"])
    frame = frame_to_animate(row["source_path"], index)
    picture = Path("sources") / f"{row['source_id']}.frame{index}.png"
    clip = Path("drivers") / f"{row['driver_id']}.mp4"
    _write_png(out / picture, frame)
    _copy(Path(row["motion_path"]), out / clip)
    return {
        **{name: row[name] for name in ("animator", "source_id", "driver_id", "action", "split", "round")},
        "source_picture": str(picture),
        "driver_clip": str(clip),
        "frames": row["motion_frames"],
        "fps": f"{fps:g}",
        "size": len(frame),
        "path": str(Path("rendered", row["animator"], f"{row['video_id']}.mp4")),
    }


def _write_png(path: Path, frame: np.ndarray) -> None:
    with atomic_path(path) as part:
        part.write_bytes(cv2.imencode(".png", frame[..., ::-1])[1].tobytes())


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        raise Failed("missing_file", f"{source}: no such file")
    with atomic_path(target) as part:
        shutil.copyfile(source, part)
