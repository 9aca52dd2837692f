"""Measures of one training set: its detectors and seeds, read one detector and quality at a time, and their comparison.

What the evaluation of a training set needs lies in its own predictions, so that each is a job of its own: a grid of
hundreds of runs takes the memory of the largest set, and a job has minutes of work. A job per run would start Python
more often than it computes, and a comparison of detectors needs the scores of all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.config.detectors import EvaluationSettings
from deepfakemnist.config.training_sets import with_pooled_folds
from deepfakemnist.dataset.people import has_published_split, people_are_known, train_people_in_test
from deepfakemnist.evaluation.aggregation import Run, read_drivers, read_predictions, runs_of, unscored_clips
from deepfakemnist.evaluation.calibration import calibrate, temperature_of
from deepfakemnist.evaluation.folds import pooled_folds
from deepfakemnist.evaluation.groups import CROP_COLUMNS, VIDEO_COLUMNS, group_members, groups_of_videos
from deepfakemnist.evaluation.measured import Measured
from deepfakemnist.evaluation.measurement import (
    MAIN_LEVELS,
    actions_of,
    aggregate_levels,
    key_of,
    measure,
    of_action,
    run_groups,
)
from deepfakemnist.evaluation.pairs import Scored, compare_detectors, scored
from deepfakemnist.tables.files import read_table
from deepfakemnist.tables.schemas import Row

log = logging.getLogger(__name__)

#: What intervals hold for; where a split is by video, or each fake counts as a person, it is new videos and this.
_NEW_PEOPLE, _KNOWN_PEOPLE, _UNKNOWN_PEOPLE = "new people", "people partly seen in training", "people not known"
_PEOPLE_COLUMNS = ("video_id", "label", "person_id", "split", "split_driver", "split_paper", "fold")
_Runs = Mapping[Run, Sequence[Path]]


def measure_training_set(
    predictions: Sequence[Path | str],
    trained_on: str,
    settings: EvaluationSettings,
    videos: Path | str | None = None,
    crops: Sequence[Path | str] = (),
    *,
    in_detail: bool = False,
) -> Measured:
    """Measure every detector and seed of a training set at every quality, split and level, and compare the detectors.

    Args:
        predictions: tables with tables.PREDICTIONS; runs of other training sets in them are left out.
        trained_on: name of the set, or ``…-folds`` for the test videos of its folds together, see evaluation.folds.
        settings: top k and calibration bins.
        videos: table with tables.VIDEOS of the clips, for who drives each fake; None if there is none.
        crops: tables with tables.CROPPED of the sources, for groups by face size, sharpness and brightness.
        in_detail: also measure calibration, and groups of test videos if there are ``videos``.

    Returns: rows without those that need other training sets; see :mod:`.stage` for their columns.

    Raises: ConfigError for predictions that cannot be evaluated; see aggregation.read_predictions and video_level, and
        pairs.compare_detectors.
    """
    runs = runs_of(predictions)
    needed = with_pooled_folds(dict.fromkeys(run.trained_on for run in runs)).get(trained_on, [])
    runs = {run: paths for run, paths in runs.items() if run.trained_on in needed}
    measured = Measured()
    if not runs:
        return measured
    drivers = None if videos is None else read_drivers(videos)
    pools = needed != [trained_on]
    detailed = in_detail and not pools
    groups = _groups(videos, crops, trained_on) if detailed and videos is not None else None
    temperatures = {run: temperature_of(paths, run) for run, paths in runs.items()} if detailed else {}
    for quality in _qualities(runs):
        compared: dict[tuple[str, str], list[Scored]] = {}
        for detector, table in _by_detector(runs, drivers, quality):
            if not pools:
                measured.unscored += unscored_clips(table)
            for run in (run for run in temperatures if run.detector == detector):
                points, curves = calibrate(table, run, temperatures[run], settings)
                measured.calibration += points
                measured.curves += curves
            samples = pooled_folds(table, trained_on) if pools else table
            _measure_detector(measured, samples, settings, groups, compared)
            del table, samples  # before the next ones are read
        for (level, split), detectors in compared.items():
            key = {"trained_on": trained_on, "tested_on": quality, "split": split, "level": level}
            measured.pairs += compare_detectors(detectors, key)
    if videos is not None:
        qualify_people([*measured.metrics, *measured.actions, *measured.pairs, *measured.groups], videos)
    return measured


def qualify_people(rows: Sequence[Row], videos: Path | str) -> None:
    """Correct ``generalises_to`` in rows of test whose people are not new, or not known.

    Args:
        rows: rows with ``trained_on``, ``tested_on``, ``split`` and ``generalises_to``, which is changed. Rows of
            another dataset, whose people were not trained on, stay.
        videos: table with tables.VIDEOS of the run's own clips.
    """
    mine = [row for row in rows if row["split"] == "test" and ":" not in row["tested_on"]]
    listed = read_table(videos, _PEOPLE_COLUMNS)
    if not people_are_known(listed, has_published_split(videos)):
        people = dict.fromkeys({row["trained_on"] for row in mine}, _UNKNOWN_PEOPLE)
    else:
        seen = (name for name in {row["trained_on"] for row in mine} if train_people_in_test(listed, name))
        people = dict.fromkeys(seen, _KNOWN_PEOPLE)
    for row in mine:
        if (what := people.get(row["trained_on"])) and row["generalises_to"].startswith(_NEW_PEOPLE):
            row["generalises_to"] = f"new videos{row['generalises_to'].removeprefix(_NEW_PEOPLE)}; {what}"


def _measure_detector(
    measured: Measured,
    samples: pa.Table,
    settings: EvaluationSettings,
    groups: pd.DataFrame | None,
    compared: dict[tuple[str, str], list[Scored]],
) -> None:
    """Add the rows of a detector at one quality, and what its comparisons need, by level and split."""
    for level, of_level in aggregate_levels(samples, settings):
        for runs in run_groups(of_level):
            key = key_of(runs, level)
            _measure_one(measured, runs, key, settings, groups)
            if level in MAIN_LEVELS:
                others = compared.setdefault((level, key["split"]), [])
                others.append(scored(runs, others[0] if others else None))


def _measure_one(
    measured: Measured,
    runs: Sequence[pa.Table],
    key: Row,
    settings: EvaluationSettings,
    groups: pd.DataFrame | None,
) -> None:
    """Add the rows of a detector at one quality, split and level; ``runs`` is a table of samples per seed."""
    measured.metrics += [{**key, **row} for row in measure(runs, settings)]
    runs = [run.drop_columns(["detector", "trained_on", "quality", "split"]) for run in runs]
    if key["level"] in MAIN_LEVELS:
        for action in actions_of(runs):
            rows = measure([of_action(run, action) for run in runs], settings)
            measured.actions += [{**key, "action": action, **row} for row in rows]
    if groups is not None and key["level"] == "video" and key["split"] == "test":
        for group, value, chosen in group_members(runs, groups):
            parts = [run.filter(pc.is_in(run["video_id"], chosen)) for run in runs]
            measured.groups += [{**key, "group": group, "value": value, **row} for row in measure(parts, settings)]


def _qualities(runs: _Runs) -> list[str]:
    """Return the qualities predicted, sorted."""
    paths = dict.fromkeys(path for paths in runs.values() for path in paths)
    found = {name for path in paths for name in pc.unique(read_table(path, ["quality"])["quality"]).to_pylist()}
    return sorted(found - {None})


def _by_detector(runs: _Runs, drivers: pa.Table | None, quality: str) -> Iterator[tuple[str, pa.Table]]:
    """Yield each detector with its predictions at a quality, of all seeds."""
    for detector in dict.fromkeys(run.detector for run in runs):
        mine = {run: paths for run, paths in runs.items() if run.detector == detector}
        where = {
            "detector": detector,
            "trained_on": list(dict.fromkeys(run.trained_on for run in mine)),
            "quality": quality,
        }
        paths = list(dict.fromkeys(path for paths in mine.values() for path in paths))
        yield detector, read_predictions(paths, drivers, where)


def _groups(videos: Path | str, crops: Sequence[Path | str], trained_on: str) -> pd.DataFrame:
    cropped = [read_table(path, ["video_id", *CROP_COLUMNS]) for path in crops]
    return groups_of_videos(read_table(videos, VIDEO_COLUMNS), cropped, trained_on)
