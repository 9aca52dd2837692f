"""Charts of curves and trainings: the right points, and what is said of them."""

import pytest
from report_pages import charts, text

from deepfakemnist.evaluation.calibration import CURVES_COLUMNS
from deepfakemnist.evaluation.measurement import METRICS_COLUMNS
from deepfakemnist.evaluation.pairs import PAIRS_COLUMNS
from deepfakemnist.report.metrics_page import MetricsTables, write_metrics_page
from deepfakemnist.tables.tsv import write_tsv

ROC, SCORES = "ROC curves", "Scores of reals and fakes"
RELIABILITY, TRAINING = "Reliability: is P(fake) a probability?", "Training: loss and accuracy by epoch"


def point(curve, x, y, n, **more):
    run = {"detector": "meso4", "trained_on": "raw", "seed": 0, "tested_on": "raw"}
    return {**dict.fromkeys(CURVES_COLUMNS), **run, "curve": curve, "x": x, "y": y, "n": n, **more}


def write(folder, rows=(), histories=()):
    """Write a page with these curves of 30 test videos of 12 people."""
    key = {"detector": "meso4", "trained_on": "raw", "tested_on": "raw", "split": "test", "level": "video", "seed": 0}
    measured = {**dict.fromkeys(METRICS_COLUMNS), **key, "n_people": 12, "n_videos": 30, "balanced_accuracy_low": 0.5}
    write_tsv(folder / "metrics.tsv", METRICS_COLUMNS, [{**measured, "generalises_to": "new people; this seed"}])
    write_tsv(folder / "pairs.tsv", PAIRS_COLUMNS, [])
    write_tsv(folder / "curves.tsv", CURVES_COLUMNS, rows)
    tables = MetricsTables(
        folder / "metrics.tsv", folder / "pairs.tsv", curves=folder / "curves.tsv", histories=histories
    )
    write_metrics_page(tables, folder / "page.html")
    return folder / "page.html"


def test_roc_curves_keep_the_order_of_their_points_and_have_the_band_in_percent(tmp_path):
    corner = [point("roc", 0, 0, 30), point("roc", 0, 0.6, 30), point("roc", 1, 1, 30)]
    band = point("roc_band", 0.05, 0.6, 30, low=0.42, high=0.77)
    page = write(tmp_path, [*corner, band])
    rows = charts(page)[ROC]
    assert [(row["FPR %"], row["TPR %"]) for row in rows if row["curve"] == "roc"] == [(0, 0), (0, 60), (100, 100)]
    assert [row["point"] for row in rows] == sorted(row["point"] for row in rows)
    assert [(row["FPR %"], row["low"], row["high"]) for row in rows if row["curve"] == "roc_band"] == [(5, 42, 77)]
    assert "30 videos of 12 people of test, a line per training seed. Choose a detector for its band" in text(page)


def test_roc_curves_of_few_people_say_why_they_have_no_band(tmp_path):
    page = write(tmp_path, [point("roc", 0, 0, 30), point("roc", 1, 1, 30)])
    assert "No bands: fewer than 10 people in a class." in text(page)


def test_scores_of_all_seeds_are_shares_of_their_class(tmp_path):
    rows = [point("scores_real", 0.1, 1, 10), point("scores_real", 0.1, 0.5, 5, seed=1)]
    rows += [point("scores_real", 0.55, 0.5, 5, seed=1), point("scores_fake", 0.95, 1, 20)]
    found = [tuple(row.values()) for row in charts(write(tmp_path, rows))[SCORES]]
    assert found == [
        ("meso4", "raw", "real", 10, 15, 75, 15),
        ("meso4", "raw", "real", 55, 60, 25, 5),
        ("meso4", "raw", "fake", 95, 100, 100, 20),
    ]


def test_reliability_joins_seeds_in_tenths_weighted_by_their_videos(tmp_path):
    rows = [point("reliability", 0.12, 0.0, 30), point("reliability", 0.18, 0.4, 10, seed=1)]
    (tenth,) = charts(write(tmp_path, rows))[RELIABILITY]
    assert (tenth["mean P(fake) %"], tenth["share of fakes %"], tenth["videos"]) == (13.5, 10.0, 40)
    assert tenth["P(fake)"] == "as trained"


@pytest.mark.parametrize("trained_on", ["c40", "raw-only-nod"])
def test_detectors_away_from_their_quality_or_of_some_actions_have_no_curve(tmp_path, trained_on):
    page = write(
        tmp_path, [point("roc", 0, 0, 30, trained_on=trained_on), point("roc", 1, 1, 30, trained_on=trained_on)]
    )
    assert ROC not in charts(page)


def test_trainings_show_train_and_val_by_epoch_and_the_epoch_kept(tmp_path):
    path = tmp_path / "detectors/meso4/c23/seed1/history.tsv"
    path.parent.mkdir(parents=True)
    columns = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_balanced_accuracy", "val_auc", "chosen"]
    values = [(1, 0.9, 0.5, 0.7, 0.5, 0.55, 0), (2, 0.4, 0.8, 0.6, 0.75, 0.8, 1)]
    write_tsv(path, columns, [dict(zip(columns, row, strict=True)) for row in values])
    other = tmp_path / "detectors/meso4/c23-fold-0/seed1/history.tsv"  # left out, not read
    rows = charts(write(tmp_path, histories=[path, other]))[TRAINING]
    loss = [(row["epoch"], row["split"], row["value"], row["kept"]) for row in rows if row["measure"] == "loss"]
    assert loss == [(1, "train", 0.9, "no"), (1, "val", 0.7, "no"), (2, "train", 0.4, "yes"), (2, "val", 0.6, "yes")]
    assert {(row["detector"], row["trained on"], row["seed"]) for row in rows} == {("meso4", "c23", "1")}
    assert [row["value"] for row in rows if row["measure"] == "accuracy %" and row["split"] == "val"] == [50, 75]
