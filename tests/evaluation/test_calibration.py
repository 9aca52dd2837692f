"""Temperature scaling and the points of ROC and reliability curves."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit
from scipy.stats import norm

from deepfakemnist.config.detectors import EvaluationSettings
from deepfakemnist.evaluation import metrics
from deepfakemnist.evaluation.curves import curves_of
from deepfakemnist.evaluation.stage import evaluate
from deepfakemnist.evaluation.temperature import fit_temperature
from deepfakemnist.tables.dataset_schemas import PREDICTIONS
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.tsv import read_tsv


def calibrated_logits(random, count):
    """Logits whose sigmoid is P(fake), and labels drawn with it."""
    logits = random.normal(0, 2, count)
    return (random.random(count) < expit(logits)).astype(int), logits


def rows_of(random, scale, splits=("val", "test"), count=600):
    """Predictions, one frame a video, of a detector whose logits are ``scale`` times the calibrated ones."""
    rows = []
    for split in splits:
        labels, logits = calibrated_logits(random, count)
        for number, (label, logit) in enumerate(zip(labels.tolist(), (scale * logits).tolist(), strict=True)):
            row = {"video_id": f"{split}{number}", "label": label, "quality": "c23", "frame_index": 0, "split": split}
            row |= {"action": "nod" * label, "person_id": f"{split}{number % 40}", "detector": "meso4", "seed": 0}
            rows.append(row | {"logit": logit, "score": float(expit(logit)), "trained_on": "c23"})
    return [row | {"checkpoint_sha256": "0"} for row in rows]


def calibrate(folder):
    """Evaluate the predictions of a folder and return the files of calibration and curves."""
    tables = [folder / f"{name}.tsv" for name in ("metrics", "actions", "pairs")]
    details = {name: folder / f"{name}.tsv" for name in ("calibration", "curves")}
    evaluate([folder / "p.parquet"], *tables, EvaluationSettings(), details=details)
    return tuple(details.values())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibration")
    rows = rows_of(np.random.default_rng(0), scale=4.0)
    rows[-1] |= {"frame_index": -1, "logit": 0.0, "score": 0.5}  # a test video that could not be scored
    write_table(rows, folder / "p.parquet", PREDICTIONS)
    return folder, rows, *(read_tsv(table) for table in calibrate(folder))


def test_the_temperature_undoes_a_factor_of_the_logits():
    random = np.random.default_rng(1)
    labels, logits = calibrated_logits(random, 4000)
    for factor in (0.5, 1.0, 3.0):
        # Among 4000 samples of this spread the estimate has a standard deviation of 4 %.
        assert fit_temperature(labels, factor * logits) == pytest.approx(factor, rel=0.15)


def test_a_temperature_without_a_best_value_is_1():
    logits = np.array([-1.0, -2.0, 1.0, 3.0])
    assert fit_temperature(np.array([0, 0, 1, 1]), logits) == 1.0  # separated without error
    assert fit_temperature(np.array([1, 1, 0, 0]), logits) == 1.0  # worse than chance
    assert fit_temperature(np.array([1, 1, 1, 1]), logits) == 1.0


def test_scaling_by_the_temperature_of_val_lowers_the_calibration_error_of_test(written):
    _, rows, calibration, _ = written
    assert [row["level"] for row in calibration] == ["frame", "video"]
    for row in calibration:
        assert float(row["temperature"]) == pytest.approx(4.0, rel=0.25)
        assert float(row["calibration_error_scaled"]) < 0.5 * float(row["calibration_error"])
        assert float(row["brier_scaled"]) < float(row["brier"])
        assert (row["n_val_videos"], row["n_val_people"], row["n_videos"], row["n_people"]) == (
            "600",
            "40",
            "600",
            "40",
        )
    tested = [row for row in rows if row["split"] == "test"]
    # The video that could not be scored is certain of the wrong class.
    scores = [row["score"] if row["frame_index"] == 0 else 1.0 - row["label"] for row in tested]
    expected = metrics.calibration_error([row["label"] for row in tested], np.float32(scores), 15)
    assert float(calibration[1]["calibration_error"]) == pytest.approx(expected, abs=1e-5)


def test_the_roc_curve_runs_from_corner_to_corner_and_encloses_the_auc(written):
    _, rows, _, curves = written
    x, y = (np.array([float(row[name]) for row in curves if row["curve"] == "roc"]) for name in "xy")
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.all(np.diff(x) >= 0) and np.all(np.diff(y) >= 0)
    tested = [row for row in rows if row["split"] == "test" and row["frame_index"] == 0]
    auc = metrics.auc([row["label"] for row in tested], [row["score"] for row in tested])
    # 200 of 600 points, and one video in 600 more that could not be scored.
    assert np.trapezoid(y, x) == pytest.approx(auc, abs=0.01)


def test_reliability_points_count_every_video_once(written):
    _, _, _, curves = written
    for name in ("reliability", "reliability_scaled"):
        points = [row for row in curves if row["curve"] == name]
        assert sum(int(row["n"]) for row in points) == 600
        assert all(0 <= float(row[axis]) <= 1 for row in points for axis in "xy")


def test_without_val_there_is_no_temperature(tmp_path):
    write_table(rows_of(np.random.default_rng(2), 1.0, ["test"], 50), tmp_path / "p.parquet", PREDICTIONS)
    calibration, curves = calibrate(tmp_path)
    for row in read_tsv(calibration):
        assert (row["temperature"], row["calibration_error_scaled"], row["n_val_videos"]) == ("", "", "0")
        assert 0 < float(row["calibration_error"]) < 1
    assert {row["curve"] for row in read_tsv(curves)} == {
        "roc",
        "roc_band",
        "reliability",
        "scores_real",
        "scores_fake",
    }


def test_the_band_of_the_roc_curve_is_its_interval_at_fixed_false_positive_rates(written):
    _, _, _, curves = written
    band = [
        {name: float(row[name]) for name in ("x", "y", "low", "high")} for row in curves if row["curve"] == "roc_band"
    ]
    assert [point["x"] for point in band] == [0.01, 0.02, 0.05, *(round(0.1 * step, 1) for step in range(1, 10))]
    assert all(0 <= point["low"] <= point["y"] <= point["high"] <= 1 for point in band)
    curve = np.array([(float(row["x"]), float(row["y"])) for row in curves if row["curve"] == "roc"])
    for point in band[2:]:  # the curve keeps 200 of 600 points
        assert np.interp(point["x"], *curve.T) == pytest.approx(point["y"], abs=0.03)


def test_with_too_few_people_a_roc_curve_has_no_band(tmp_path):
    rows = rows_of(np.random.default_rng(3), 1.0, ["test"], 60)
    few = [{**row, "person_id": f"p{number % 9}"} for number, row in enumerate(rows)]
    write_table(few, tmp_path / "p.parquet", PREDICTIONS)
    assert {row["curve"] for row in read_tsv(calibrate(tmp_path)[1])} >= {"roc", "scores_real"}
    assert "roc_band" not in {row["curve"] for row in read_tsv(calibrate(tmp_path)[1])}


def test_the_distribution_of_scores_counts_every_video_of_a_class_once(written):
    _, rows, _, curves = written
    tested = [row for row in rows if row["split"] == "test"]
    for label, name in ((0, "scores_real"), (1, "scores_fake")):
        bins = {float(row["x"]): row for row in curves if row["curve"] == name}
        scores = [row["score"] if row["frame_index"] == 0 else 1 - label for row in tested if row["label"] == label]
        assert sum(int(row["n"]) for row in bins.values()) == len(scores)
        assert sum(float(row["y"]) for row in bins.values()) == pytest.approx(1, abs=1e-4)
        lowest = sum(np.float32(score) < 0.05 for score in scores)
        assert int(bins[0.0]["n"]) == lowest > 0


@pytest.mark.slow
def test_the_band_holds_the_true_curve_at_each_false_positive_rate():
    """30 people with three reals and four fakes each, a true AUC of 0.9, a fifth of the variance from the person."""
    random, shift = np.random.default_rng(4), norm.ppf(0.9) * np.sqrt(2)
    people, labels = np.repeat(np.arange(30), 7), np.tile([0, 0, 0, 1, 1, 1, 1], 30)
    held = []
    for _ in range(100):
        person, own = random.normal(size=30)[people], random.normal(size=len(people))
        logits = shift * labels + np.sqrt(0.2) * person + np.sqrt(0.8) * own
        columns = {"label": labels, "score": expit(logits), "person_id": people.astype(str)}
        found = curves_of(pa.table({**columns, "driver": people.astype(str)}), None, 15)
        band = [row for row in found if row["curve"] == "roc_band"]
        held.append([row["low"] <= norm.cdf(norm.ppf(row["x"]) + shift) <= row["high"] for row in band])
    # Of 100 repeats with 95 % each, fewer than 89 hold in one of 200 cases.
    assert np.mean(held, axis=0).min() >= 0.89
