"""Curves of a run on the test videos of a quality: ROC with its band, reliability, distribution of scores.

The band is a confidence interval of the TPR at each of some fixed FPRs, clustered as all intervals are. It is
pointwise: it holds the whole curve less often than in 95 % of the cases.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from deepfakemnist.evaluation import metrics
from deepfakemnist.evaluation.clusters import Clusters
from deepfakemnist.evaluation.metrics import Floats, Ranking
from deepfakemnist.evaluation.operating_points import tpr_at_fpr
from deepfakemnist.tables.schemas import Row

#: Columns of a point. ``roc``: x FPR, y TPR. ``roc_band``: the same at fixed FPRs, with the 95 % interval of the TPR,
#: low to high. ``reliability``, ``reliability_scaled``: x mean P(fake), y share of fakes of a bin that holds videos.
#: ``scores_real``, ``scores_fake``: x lower end of a bin of P(fake), y share of the videos of the class. n: videos, of
#: the curve or of the bin.
CURVE_COLUMNS = ("curve", "x", "y", "n", "low", "high")
#: Points of a ROC curve that are kept; a chart shows no more.
_POINTS = 200
#: Bins of the distribution of scores, of equal width.
SCORE_BINS = 20
_BAND = (0.01, 0.02, 0.05, *(round(0.1 * step, 1) for step in range(1, 10)))


def curves_of(samples: pa.Table, scaled: Floats | None, bins: int) -> list[Row]:
    """Return the points of all curves, rows with CURVE_COLUMNS.

    Args:
        samples: videos of one run and quality, see aggregation.video_level.
        scaled: (N,) P(fake) after temperature scaling; None without a temperature.
        bins: number of equal-width bins of the reliability curves.
    """
    labels, scores = (samples[name].to_numpy().astype(np.float64) for name in ("label", "score"))
    # A video that could not be scored is certain of the wrong class.
    shares = np.clip(scores, 0.0, 1.0)
    rows = [*_roc(labels, scores), *_band(labels, scores, samples), *_reliability(labels, shares, bins, "reliability")]
    if scaled is not None:
        rows += _reliability(labels, scaled, bins, "reliability_scaled")
    return [*rows, *_distribution(labels, shares)]


def _roc(labels: Floats, scores: Floats) -> list[Row]:
    curve = Ranking(labels, scores).curve(np.ones(len(labels)))
    if curve is None:
        return []
    kept = np.unique(np.linspace(0, len(curve.fpr) - 1, _POINTS).round().astype(int))
    points = zip(curve.fpr[kept], curve.tpr[kept], strict=True)
    return [_point("roc", float(x), float(y), len(labels)) for x, y in points]


def _band(labels: Floats, scores: Floats, samples: pa.Table) -> list[Row]:
    """Return no point with too few people in a class for an interval."""
    clusters = Clusters(labels, samples["person_id"], samples["driver"])
    if clusters.too_few(0) or clusters.too_few(1):
        return []
    ranking = Ranking(labels, scores)
    found = [tpr_at_fpr(labels, scores, rate, clusters, ranking) for rate in _BAND]
    values, low, high = (
        np.array([np.nan if one is None else one for one in ones])
        for ones in zip(*((value, interval.low, interval.high) for value, interval in found), strict=True)
    )
    # A TPR never falls as the FPR rises, so what is below it at one FPR is below it at all higher ones.
    low, high = np.maximum.accumulate(low), np.minimum.accumulate(high[::-1])[::-1]
    points = zip(_BAND, values.tolist(), low.tolist(), high.tolist(), strict=True)
    return [_point("roc_band", rate, value, len(labels), *ends) for rate, value, *ends in points]


def _reliability(labels: Floats, shares: Floats, bins: int, name: str) -> list[Row]:
    at = metrics.calibration_bins(shares, bins)
    counts = np.bincount(at, minlength=bins)
    return [
        _point(name, float(shares[at == one].mean()), float(labels[at == one].mean()), int(counts[one]))
        for one in np.flatnonzero(counts)
    ]


def _distribution(labels: Floats, shares: Floats) -> list[Row]:
    rows = []
    for label, name in ((0, "scores_real"), (1, "scores_fake")):
        of_class = shares[labels == label]
        counts = np.bincount(metrics.calibration_bins(of_class, SCORE_BINS), minlength=SCORE_BINS)
        rows += [
            _point(name, float(one / SCORE_BINS), float(counts[one] / len(of_class)), int(counts[one]))
            for one in np.flatnonzero(counts)
        ]
    return rows


def _point(curve: str, x: float, y: float, n: int, low: float | None = None, high: float | None = None) -> Row:
    return {"curve": curve, "x": x, "y": y, "n": n, "low": low, "high": high}
