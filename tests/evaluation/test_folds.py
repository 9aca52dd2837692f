"""Cross-validation: test videos of all folds evaluated together, and only of a complete set of folds."""

import pyarrow as pa

from deepfakemnist.config.detectors import EvaluationSettings
from deepfakemnist.config.training_sets import with_pooled_folds
from deepfakemnist.evaluation.folds import pooled_folds
from deepfakemnist.evaluation.stage import evaluate
from deepfakemnist.tables.dataset_schemas import PREDICTIONS
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.tsv import read_tsv

FOLDS = 3


def fold_rows(fold, people=9, detector="meso4", seed=0, base="c23", splits=("val", "test")):
    """Predictions of the detector of a fold: wrong on its val and on person 0, right on the rest of its test."""
    rows = []
    for person in range(people):
        split = {fold: "test", (fold + 1) % FOLDS: "val"}.get(person % FOLDS, "train")
        for label in (0, 1):
            right = split == "test" and person != 0
            row = {
                "video_id": f"p{person}" + "@d" * label, "label": label, "quality": "c23", "frame_index": 0,
                "action": "nod" * label, "person_id": f"p{person}", "split": split, "logit": 0.0,
                "score": 0.9 if bool(label) == right else 0.1, "detector": detector,
                "trained_on": f"{base}-fold-{fold}", "seed": seed, "checkpoint_sha256": str(fold),
            }  # fmt: skip
            rows += [row] if split in splits else []
    return rows


def pooled(*parts):
    rows = [row for part in parts for row in part]
    found = []
    for name, folds in with_pooled_folds(row["trained_on"] for row in rows).items():
        if folds != [name]:
            of_folds = [row for row in rows if row["trained_on"] in folds]
            found += pooled_folds(pa.Table.from_pylist(of_folds, PREDICTIONS), name).to_pylist()
    return found


def test_every_video_is_tested_once_by_the_detector_that_did_not_see_its_person():
    rows = pooled(*(fold_rows(fold) for fold in range(FOLDS)))
    assert sorted(row["video_id"] for row in rows) == sorted(f"p{n}{end}" for n in range(9) for end in ("", "@d"))
    assert all(row["checkpoint_sha256"] == str(int(row["person_id"][1:]) % FOLDS) for row in rows)
    assert {(row["trained_on"], row["split"]) for row in rows} == {("c23-folds", "test")}


def test_detectors_seeds_and_sets_are_pooled_apart():
    parts = [
        fold_rows(n, seed=s, base=b) for n in range(FOLDS) for s, b in ((0, "c23"), (1, "c23"), (0, "raw-only-nod"))
    ]
    keys = [(row["trained_on"], row["seed"]) for row in pooled(*parts)]
    assert {key: keys.count(key) for key in keys} == {
        ("c23-folds", 0): 18,
        ("c23-folds", 1): 18,
        ("raw-only-nod-folds", 0): 18,
    }


def test_a_missing_fold_is_noticed():
    assert not pooled(fold_rows(0), fold_rows(1))
    assert not pooled(fold_rows(1), fold_rows(2))
    assert not pooled(fold_rows(0))


def test_predictions_on_another_dataset_are_not_pooled():
    """There, every fold's detector scores the same videos."""
    same = [{**row, "trained_on": f"c23-fold-{fold}"} for fold in range(FOLDS) for row in fold_rows(0)]
    assert not pooled(same)
    assert not pooled(*(fold_rows(fold, splits=("test",)) for fold in range(FOLDS)))  # perturbed frames have no val


def test_pooled_folds_have_their_own_rows_of_metrics(tmp_path):
    rows = [row for fold in range(FOLDS) for row in fold_rows(fold)]
    write_table(rows, tmp_path / "p.parquet", PREDICTIONS)
    out = [tmp_path / name for name in ("metrics.tsv", "actions.tsv", "pairs.tsv")]
    evaluate([tmp_path / "p.parquet"], *out, EvaluationSettings())
    metrics = {(row["trained_on"], row["split"]): row for row in read_tsv(out[0]) if row["level"] == "video"}
    assert metrics["c23-folds", "test"]["n_people"] == "9"
    assert metrics["c23-folds", "test"]["balanced_accuracy"] == "0.888889"
    assert ("c23-folds", "val") not in metrics
    assert float(metrics["c23-fold-1", "test"]["balanced_accuracy"]) == 1.0
