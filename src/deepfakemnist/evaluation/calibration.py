"""Calibration and ROC curves: temperature scaling chosen on val, expected calibration error before and after, on test.

Temperature scaling (Guo et al., arXiv 1706.04599) divides every logit by one number, so it changes neither the order of
frame scores nor any frame-level AUC. The temperature is that of val at the qualities that the detector was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import expit

from deepfakemnist.config.base import MIXED
from deepfakemnist.config.detectors import EvaluationSettings
from deepfakemnist.config.training_sets import parse_training_set
from deepfakemnist.evaluation import metrics
from deepfakemnist.evaluation.aggregation import RUN, filter_rows, frame_level, read_predictions, video_level
from deepfakemnist.evaluation.metrics import Floats, Ranking
from deepfakemnist.evaluation.temperature import fit_temperature
from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import write_tsv

_KEY = (*RUN, "tested_on")
CALIBRATION_COLUMNS = (
    *_KEY,
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
CURVES_COLUMNS = (*_KEY, "curve", "x", "y", "n")
#: Points of a ROC curve that are kept; a figure shows no more.
_POINTS = 200


def write_calibration(
    predictions: Sequence[Path | str], calibration_tsv: Path | str, curves_tsv: Path | str, settings: EvaluationSettings
) -> None:
    """Write calibration before and after temperature scaling, and the points of ROC and reliability curves.

    Runs without val predictions, as on other datasets, have no temperature and no scaled figures. Curves are of videos:
    ``roc`` has FPR and TPR, ``reliability`` and ``reliability_scaled`` have mean P(fake), share of fakes and number of
    videos of each bin that holds any.

    Args:
        predictions: tables with tables.PREDICTIONS.
        calibration_tsv: file to write.
        curves_tsv: file to write.
        settings: number of equal-width bins of the expected calibration error.
    """
    bins = settings.calibration_bins
    rows: list[Row] = []
    curves: list[Row] = []
    for run, val, test in _runs(read_predictions(predictions)):
        scale, facts = None, {"n_val_videos": 0, "n_val_people": 0}
        if val.num_rows:
            scale = fit_temperature(val["label"].to_numpy(), val["logit"].to_numpy().astype(np.float64))
            facts = {"n_val_videos": len(pc.unique(val["video_id"])), "n_val_people": len(pc.unique(val["person_id"]))}
        for level, aggregate in (("frame", frame_level), ("video", video_level)):
            labels, scores, samples = _scores(aggregate(test))
            scaled = None if scale is None else _scores(aggregate(_rescaled(test, scale)))[1]
            rows.append(
                {
                    **run,
                    "level": level,
                    "temperature": scale,
                    "calibration_error": metrics.calibration_error(labels, scores, bins),
                    "calibration_error_scaled": None
                    if scaled is None
                    else metrics.calibration_error(labels, scaled, bins),
                    "brier": metrics.brier(labels, scores),
                    "brier_scaled": None if scaled is None else metrics.brier(labels, scaled),
                    **facts,
                    "n_videos": len(pc.unique(samples["video_id"])),
                    "n_people": len(pc.unique(samples["person_id"])),
                }
            )
            if level == "video":
                curves += [{**run, **point} for point in _roc(labels, samples["score"].to_numpy())]
                curves += [{**run, **point} for point in _reliability(labels, scores, bins, "reliability")]
                if scaled is not None:
                    curves += [{**run, **point} for point in _reliability(labels, scaled, bins, "reliability_scaled")]
    write_tsv(calibration_tsv, CALIBRATION_COLUMNS, rows)
    write_tsv(curves_tsv, CURVES_COLUMNS, curves)


def _runs(predictions: pa.Table) -> Iterator[tuple[Row, pa.Table, pa.Table]]:
    """Yield each run and test quality with the val frames that its temperature comes from, and its test frames."""
    for run in predictions.group_by(list(RUN), use_threads=False).aggregate([]).sort_by(_ascending(RUN)).to_pylist():
        frames = filter_rows(predictions, run)
        val = filter_rows(frames, {"split": "val"})
        val = val.filter(pc.greater_equal(val["frame_index"], 0))
        quality = parse_training_set(run["trained_on"]).quality
        if quality != MIXED:
            val = filter_rows(val, {"quality": quality})
        test = filter_rows(frames, {"split": "test"})
        for tested_on in sorted(pc.unique(test["quality"]).to_pylist()):
            part = filter_rows(test, {"quality": tested_on})
            yield {**run, "tested_on": tested_on}, val, part.sort_by(_ascending(("video_id", "frame_index")))


def _ascending(names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(name, "ascending") for name in names]


def _rescaled(frames: pa.Table, scale: float) -> pa.Table:
    scores = expit(frames["logit"].to_numpy().astype(np.float64) / scale)
    return frames.set_column(frames.schema.get_field_index("score"), "score", pa.array(scores))


def _scores(samples: pa.Table) -> tuple[Floats, Floats, pa.Table]:
    """Return labels and P(fake); a clip that could not be scored is certain of the wrong class."""
    labels, scores = (samples[name].to_numpy().astype(np.float64) for name in ("label", "score"))
    return labels, np.clip(scores, 0.0, 1.0), samples


def _roc(labels: Floats, scores: Floats) -> list[Row]:
    curve = Ranking(labels, scores).curve(np.ones(len(labels)))
    if curve is None:
        return []
    kept = np.unique(np.linspace(0, len(curve.fpr) - 1, _POINTS).round().astype(int))
    return [
        {"curve": "roc", "x": float(x), "y": float(y), "n": len(labels)}
        for x, y in zip(curve.fpr[kept], curve.tpr[kept], strict=True)
    ]


def _reliability(labels: Floats, scores: Floats, bins: int, name: str) -> list[Row]:
    at = metrics.calibration_bins(scores, bins)
    counts = np.bincount(at, minlength=bins)
    return [
        {
            "curve": name,
            "x": float(scores[at == one].mean()),
            "y": float(labels[at == one].mean()),
            "n": int(counts[one]),
        }
        for one in np.flatnonzero(counts)
    ]
