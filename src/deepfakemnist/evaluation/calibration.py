"""Calibration: temperature scaling chosen on val, expected calibration error before and after, on test.

Temperature scaling (Guo et al., arXiv 1706.04599) divides every logit by one number, so it changes neither the order of
frame scores nor any frame-level AUC. The temperature is that of val at the qualities that the detector was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import expit

from deepfakemnist.config.base import MIXED
from deepfakemnist.config.detectors import EvaluationSettings
from deepfakemnist.config.training_sets import parse_training_set
from deepfakemnist.evaluation import metrics
from deepfakemnist.evaluation.aggregation import RUN, Run, filter_rows, frame_level, read_predictions, video_level
from deepfakemnist.evaluation.curves import CURVE_COLUMNS, curves_of
from deepfakemnist.evaluation.metrics import Floats
from deepfakemnist.evaluation.temperature import fit_temperature
from deepfakemnist.tables.schemas import Row

#: Columns that identify a run and test quality.
CALIBRATION_KEY = (*RUN, "tested_on")
CALIBRATION_COLUMNS = (
    *CALIBRATION_KEY,
    "level",
    "temperature",
    "calibration_error",
    "calibration_error_scaled",
    "brier",
    "brier_scaled",
    "n_val_videos",
    "n_val_people",
    "n_videos",
    "n_people",
)
CURVES_COLUMNS = (*CALIBRATION_KEY, *CURVE_COLUMNS)


class Temperature(NamedTuple):
    """Temperature of a run, and the val videos and people that it comes from; None without any."""

    value: float | None
    n_val_videos: int
    n_val_people: int


def temperature_of(paths: Sequence[Path | str], run: Run) -> Temperature:
    """Return the temperature of a run; None without val predictions, as on other datasets.

    Args:
        paths: tables with the run's predictions.
        run: the run.
    """
    quality = parse_training_set(run.trained_on).quality
    wanted = {**run._asdict(), "split": "val", **({} if quality == MIXED else {"quality": quality})}
    val = read_predictions(paths, where=wanted)
    val = val.filter(pc.greater_equal(val["frame_index"], 0))
    if not val.num_rows:
        return Temperature(None, 0, 0)
    value = fit_temperature(val["label"].to_numpy(), val["logit"].to_numpy().astype(np.float64))
    return Temperature(value, len(pc.unique(val["video_id"])), len(pc.unique(val["person_id"])))


def calibrate(
    predictions: pa.Table, run: Run, temperature: Temperature, settings: EvaluationSettings
) -> tuple[list[Row], list[Row]]:
    """Return calibration before and after temperature scaling, and the points of the curves of :mod:`.curves`.

    Without a temperature there are no scaled figures. Curves are of videos.

    Args:
        predictions: rows of tables.PREDICTIONS of one quality, see aggregation.read_predictions.
        run: the run in them that is meant.
        temperature: of this run.
        settings: number of equal-width bins of the expected calibration error.

    Returns: rows with CALIBRATION_COLUMNS, and with CURVES_COLUMNS; none without test predictions.
    """
    test = filter_rows(predictions, {**run._asdict(), "split": "test"})
    if not test.num_rows:
        return [], []
    test = test.sort_by([(name, "ascending") for name in ("video_id", "frame_index")])
    key: Row = {**run._asdict(), "tested_on": test["quality"][0].as_py()}
    bins, scale = settings.calibration_bins, temperature.value
    rows: list[Row] = []
    curves: list[Row] = []
    for level, aggregate in (("frame", frame_level), ("video", video_level)):
        labels, scores, samples = _scores(aggregate(test))
        scaled = None if scale is None else _scores(aggregate(_rescaled(test, scale)))[1]
        rows.append(
            {
                **key,
                "level": level,
                "temperature": scale,
                "calibration_error": metrics.calibration_error(labels, scores, bins),
                "calibration_error_scaled": None if scaled is None else metrics.calibration_error(labels, scaled, bins),
                "brier": metrics.brier(labels, scores),
                "brier_scaled": None if scaled is None else metrics.brier(labels, scaled),
                "n_val_videos": temperature.n_val_videos,
                "n_val_people": temperature.n_val_people,
                "n_videos": len(pc.unique(samples["video_id"])),
                "n_people": len(pc.unique(samples["person_id"])),
            }
        )
        if level == "video":
            curves = [{**key, **point} for point in curves_of(samples, scaled, bins)]
    return rows, curves


def _rescaled(frames: pa.Table, scale: float) -> pa.Table:
    scores = expit(frames["logit"].to_numpy().astype(np.float64) / scale)
    return frames.set_column(frames.schema.get_field_index("score"), "score", pa.array(scores))


def _scores(samples: pa.Table) -> tuple[Floats, Floats, pa.Table]:
    """Return labels and P(fake); a clip that could not be scored is certain of the wrong class."""
    labels, scores = (samples[name].to_numpy().astype(np.float64) for name in ("label", "score"))
    return labels, np.clip(scores, 0.0, 1.0), samples
