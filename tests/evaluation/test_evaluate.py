"""Evaluation stage: identity of a video, rows and values of the tables, reproducibility to the byte."""

import csv

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfakemnist.config.detectors import EvaluationSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.evaluation import metrics
from deepfakemnist.evaluation.aggregation import frame_level, read_predictions, video_level
from deepfakemnist.evaluation.measured import write_measured
from deepfakemnist.evaluation.measurement import ACTIONS_COLUMNS, METRICS_COLUMNS
from deepfakemnist.evaluation.stage import evaluate, join_training_sets
from deepfakemnist.evaluation.training_set import measure_training_set
from deepfakemnist.tables.dataset_schemas import PREDICTIONS, VIDEOS
from deepfakemnist.tables.files import write_table

SETTINGS = EvaluationSettings()


def frame(video, label, number, score, **other):
    row = {"video_id": video, "label": label, "quality": "raw", "frame_index": number, "action": "nod" if label else ""}
    row |= {"person_id": video.split("#")[0], "split": "test", "logit": 0.0, "score": score}
    return {**row, "detector": "meso4", "trained_on": "raw", "seed": 0, "checkpoint_sha256": "0" * 64, **other}


def predictions(seed=0, people=18, **other):
    """Two frames of one real and two fakes (nod, blink) per person, at two qualities, in test and val."""
    random = np.random.default_rng(seed)
    rows = []
    for person in range(people):
        split = "val" if person % 3 == 0 else "test"
        for quality in ("raw", "c40"):
            for video, label, action in (("", 0, ""), ("@d1", 1, "nod"), ("@d2", 1, "blink")):
                for number in range(2):
                    score = float(np.float32(1 / (1 + np.exp(-(random.normal() + 2 * label - 1)))))
                    facts = {"split": split, "quality": quality, "action": action, "seed": seed, **other}
                    rows.append(frame(f"p{person}#a{video}", label, number, score, **facts))
    return rows


def table(rows):
    """Return predictions as read_predictions does, with unknown drivers."""
    return pa.Table.from_pylist(rows, schema=PREDICTIONS).append_column("driver", pa.nulls(len(rows), pa.string()))


def run(folder, *parts, videos=None):
    """Evaluate and return the rows of both tables."""
    folder.mkdir(exist_ok=True)
    paths = []
    for number, rows in enumerate(parts):
        paths.append(folder / f"{number}.parquet")
        write_table(rows, paths[-1], PREDICTIONS)
    tables = [folder / f"{name}.tsv" for name in ("metrics", "actions", "pairs")]
    evaluate(paths, *tables, SETTINGS, videos, folder / "unscored.tsv")
    return [read_tsv(folder / name) for name in ("metrics.tsv", "actions.tsv")]


def pairs_of(folder):
    return read_tsv(folder / "pairs.tsv")


def read_tsv(path):
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def one(rows, **wanted):
    found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    assert len(found) == 1, f"{wanted}: {len(found)} rows"
    return found[0]


def test_two_fakes_of_one_source_stay_two_videos():
    """A common bug of the field: grouping frames by folder, 000_003, merges the fakes of several methods."""
    rows = [frame("000#a@003", 1, number, 0.9) for number in range(3)]
    rows += [frame("000#a@004", 1, number, 0.1) for number in range(2)]
    rows += [frame("000#a", 0, 0, 0.4)]
    videos = {row["video_id"]: row for row in video_level(table(rows)).to_pylist()}
    assert {name: (row["score"], row["frames"]) for name, row in videos.items()} == {
        "000#a@003": (pytest.approx(0.9), 3),
        "000#a@004": (pytest.approx(0.1), 2),
        "000#a": (pytest.approx(0.4), 1),
    }
    # Merged into one video they would score 0.58, above the real: AUC 1 instead of a half.
    scores = [videos[name]["score"] for name in ("000#a@003", "000#a@004", "000#a")]
    assert metrics.auc([1, 1, 0], scores) == 0.5
    assert metrics.auc([1, 0], [np.mean([0.9] * 3 + [0.1] * 2), 0.4]) == 1.0


def test_qualities_and_runs_of_one_video_stay_apart():
    rows = [
        frame("a#1", 0, 0, 0.1),
        frame("a#1", 0, 0, 0.3, quality="c40"),
        frame("a#1", 0, 0, 0.5, seed=1),
        frame("a#1", 0, 0, 0.7, detector="resnet50"),
        frame("a#1", 0, 0, 0.9, trained_on="c40"),
    ]
    assert sorted(video_level(table(rows))["score"].to_pylist()) == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])


def test_frame_level_keeps_every_frame():
    rows = predictions()
    level = frame_level(table(rows))
    assert level["score"].to_pylist() == pytest.approx([row["score"] for row in rows])
    assert set(level["frames"].to_pylist()) == {1}


@pytest.mark.slow
def test_rows_and_values_of_the_tables(tmp_path):
    rows = predictions()
    whole, actions = run(tmp_path, rows)
    assert list(whole[0]) == list(METRICS_COLUMNS)
    assert list(actions[0]) == list(ACTIONS_COLUMNS)
    assert len(whole) == 2 * 2 * 4  # qualities, splits, levels
    assert len(actions) == 2 * 2 * 2 * 2  # of frame and video, with two actions

    wanted = [row for row in rows if row["quality"] == "c40" and row["split"] == "test"]
    labels, scores = [row["label"] for row in wanted], [row["score"] for row in wanted]
    found = one(whole, tested_on="c40", split="test", level="frame")
    assert float(found["accuracy"]) == pytest.approx(metrics.accuracy(labels, scores), abs=1e-5)
    assert float(found["auc"]) == pytest.approx(metrics.auc(labels, scores), abs=1e-5)
    assert float(found["eer"]) == pytest.approx(metrics.eer(labels, scores), abs=1e-5)
    assert (found["n_videos"], found["n_frames"], found["n_people"]) == ("36", "72", "12")
    assert (found["detector"], found["trained_on"], found["seed"]) == ("meso4", "raw", "0")
    assert float(found["auc_low"]) < float(found["auc"]) < float(found["auc_high"])
    assert float(found["accuracy_low"]) < float(found["accuracy"]) < float(found["accuracy_high"])

    means = {}
    for row in wanted:
        means.setdefault((row["video_id"], row["label"]), []).append(row["score"])
    labels, scores = [key[1] for key in means], [np.mean(values) for values in means.values()]
    found = one(whole, tested_on="c40", split="test", level="video")
    assert float(found["auc"]) == pytest.approx(metrics.auc(labels, scores), abs=1e-5)
    assert float(found["balanced_accuracy"]) == pytest.approx(metrics.balanced_accuracy(labels, scores), abs=1e-5)
    assert (found["n_videos"], found["n_frames"], found["n_people"]) == ("36", "72", "12")


@pytest.mark.slow
def test_an_action_compares_its_fakes_with_all_reals(tmp_path):
    rows = predictions()
    _, actions = run(tmp_path, rows)
    wanted = [
        row for row in rows
        if row["quality"] == "raw" and row["split"] == "test" and row["action"] in ("", "blink")
    ]  # fmt: skip
    labels, scores = [row["label"] for row in wanted], [row["score"] for row in wanted]
    found = one(actions, tested_on="raw", split="test", level="frame", action="blink")
    assert float(found["auc"]) == pytest.approx(metrics.auc(labels, scores), abs=1e-5)
    assert float(found["fake_accuracy"]) == pytest.approx(metrics.class_accuracy(labels, scores, 1), abs=1e-5)
    assert float(found["real_accuracy"]) == pytest.approx(metrics.class_accuracy(labels, scores, 0), abs=1e-5)
    assert (found["n_videos"], found["n_frames"]) == ("24", "48")


def test_undefined_values_are_empty_cells(tmp_path):
    rows = [row for row in predictions() if row["label"] == 1]
    whole, actions = run(tmp_path, rows)
    for row in (*whole, *actions):
        for name in ("auc", "auc_low", "auc_high", "eer", "average_precision", "balanced_accuracy", "real_accuracy"):
            assert row[name] == ""
        assert 0 <= float(row["fake_accuracy"]) <= 1
        assert row["accuracy"] == row["fake_accuracy"]


def test_reals_only_have_no_actions(tmp_path):
    whole, actions = run(tmp_path, [row for row in predictions() if row["label"] == 0])
    assert actions == []
    assert {row["fake_accuracy"] for row in whole} == {""}


@pytest.mark.slow
def test_seeds_have_a_mean_and_a_standard_deviation(tmp_path):
    whole, actions = run(tmp_path, predictions(2), predictions(0), predictions(1))
    rows = [row for row in whole if (row["tested_on"], row["split"], row["level"]) == ("raw", "test", "video")]
    assert [row["seed"] for row in rows] == ["0", "1", "2", "mean", "sd"]
    for name in ("accuracy", "auc", "eer", "fake_accuracy"):
        values = [float(row[name]) for row in rows[:3]]
        assert len(set(values)) > 1 or name != "auc"
        assert float(rows[3][name]) == pytest.approx(np.mean(values), abs=1e-5)
        assert float(rows[4][name]) == pytest.approx(np.std(values, ddof=1), abs=1e-5)
    assert float(rows[3]["auc_low"]) < float(rows[3]["auc"]) < float(rows[3]["auc_high"])
    assert rows[3]["generalises_to"] == "new people; drivers unknown; new seeds"
    assert rows[0]["generalises_to"] == "new people; drivers unknown; this seed"
    assert {rows[4][name] for name in ("auc_low", "accuracy_high", "generalises_to")} == {""}
    assert rows[3]["n_videos"] == rows[0]["n_videos"]
    assert {row["seed"] for row in actions} == {"0", "1", "2", "mean", "sd"}


@pytest.mark.slow
def test_one_seed_has_no_mean(tmp_path):
    whole, _ = run(tmp_path, predictions())
    assert {row["seed"] for row in whole} == {"0"}


@pytest.mark.slow
def test_an_undefined_value_of_one_seed_has_no_mean(tmp_path):
    whole, _ = run(tmp_path, predictions(0), [row for row in predictions(1) if row["label"] == 1])
    mean = one(whole, tested_on="raw", split="test", level="frame", seed="mean")
    assert mean["auc"] == ""
    assert mean["n_frames"] == ""  # 72 and 48: no single number is true
    assert mean["fake_accuracy_low"] == ""
    assert mean["fake_accuracy"] != ""


@pytest.mark.slow
def test_tables_are_the_same_to_the_byte_in_any_input_order(tmp_path):
    parts = [predictions(seed) for seed in range(3)]
    run(tmp_path / "a", *parts)
    shuffled = [row for rows in reversed(parts) for row in rows]
    np.random.default_rng(0).shuffle(shuffled)
    run(tmp_path / "b", shuffled)
    for name in ("metrics.tsv", "actions.tsv", "pairs.tsv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.slow
def test_rows_are_sorted(tmp_path):
    whole, actions = run(tmp_path, predictions(detector="resnet50"), predictions())
    key = ("detector", "trained_on", "tested_on", "split", "level")
    for rows, names in ((whole, key), (actions, (*key, "action"))):
        keys = [tuple(row[name] for name in names) for row in rows]
        assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.append(rows[0]), "1 frames were predicted more than once by one run, e.g. detector meso4"),
        (lambda rows: rows[0].update(score=float("nan")), "1 rows have a score outside 0 to 1"),
        (lambda rows: rows[0].update(score=None), "score outside 0 to 1"),
        (lambda rows: rows[0].update(score=1.5), "score outside 0 to 1"),
        (
            lambda rows: rows[0].update(label=2),
            "label other than 0 and 1, e.g. video p0#a, quality raw, frame 0: label 2",
        ),
        (lambda rows: rows[0].update(person_id=""), "empty person_id"),
        (lambda rows: rows[0].update(label=1), "video p0#a has frames with more than one label"),
        (lambda rows: rows[0].update(person_id="q"), "video p0#a has frames with more than one person_id"),
        (lambda rows: rows[0].update(split="test"), "video p0#a has frames with more than one split"),
        (lambda rows: rows.clear(), "no predictions to evaluate in 1 tables"),
    ],
)
def test_invalid_predictions_are_refused(tmp_path, change, message):
    rows = predictions()
    change(rows)
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, rows)
    assert not list(tmp_path.glob("*.tsv"))


def test_other_tables_are_refused(tmp_path):
    pq.write_table(pa.table({"video_id": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(ConfigError, match=r"other\.parquet is not a table of predictions: it has no column label"):
        read_predictions([tmp_path / "other.parquet"])
    with pytest.raises(ConfigError, match="no predictions to evaluate in 0 tables"):
        read_predictions([])


def test_video_scores_by_mean_median_and_top_k():
    scores = [0.1, 0.2, 0.9, 0.8, 0.3]
    frames = table([frame("a#1", 1, number, score) for number, score in enumerate(scores)])
    assert video_level(frames)["score"].to_pylist() == pytest.approx([np.mean(scores)])
    assert video_level(frames, "median")["score"].to_pylist() == pytest.approx([0.3])
    assert video_level(frames, "top", 2)["score"].to_pylist() == pytest.approx([0.85])
    assert video_level(frames, "top", 9)["score"].to_pylist() == pytest.approx([np.mean(scores)])


def lose(rows, video):
    """Return the rows with one video that could not be scored at any quality, as predict writes it."""
    lost = [row for row in rows if row["video_id"] == video]
    unscored = [{**row, "frame_index": -1, "score": 0.5} for row in lost if row["frame_index"] == 0]
    return [*(row for row in rows if row["video_id"] != video), *unscored]


@pytest.mark.parametrize(("video", "label"), [("p1#a@d1", 1), ("p1#a", 0)])
def test_a_clip_that_could_not_be_scored_is_an_error_in_its_class_at_every_metric(tmp_path, video, label):
    """The detector is right on everything else, so each metric shows the error of this clip alone."""
    rows = [{**row, "score": 0.9 if row["label"] else 0.1} for row in predictions() if row["split"] == "test"]
    whole, _ = run(tmp_path, lose([row for row in rows if row["quality"] == "raw"], video))
    for level, frames in (("video", 1), ("frame", 2)):  # the other clips have two frames, so this one counts as two
        row = one(whole, level=level)
        assert row["n_without_frames"] == "1"
        assert (row["n_videos"], row["n_frames"]) == ("36", "70")
        samples, of_class = 36 * frames, (24 if label else 12) * frames
        share = frames / of_class
        found = {name: float(row[name]) for name in ("accuracy", "real_accuracy", "fake_accuracy", "auc", "bpcer")}
        assert found["accuracy"] == pytest.approx(1 - frames / samples, abs=1e-5)
        assert found["fake_accuracy" if label else "real_accuracy"] == pytest.approx(1 - share, abs=1e-5)
        assert found["auc"] == pytest.approx(1 - share, abs=1e-5)  # it loses against every clip of the other class
        assert found["bpcer"] == pytest.approx(0 if label else share, abs=1e-5)
        # A fake is missed at any FPR; one of twelve reals is flagged at any threshold, so FPR 5 % cannot be had.
        assert float(row["tpr_at_fpr_5"]) == pytest.approx(1 - share if label else 0, abs=1e-5)
        assert float(row["brier"]) == pytest.approx(0.01 * (1 - frames / samples) + frames / samples, abs=1e-4)
    listed = read_tsv(tmp_path / "unscored.tsv")
    assert [(row["video_id"], row["label"], row["split"], row["runs"]) for row in listed] == [
        (video, str(label), "test", "1")
    ]


def test_a_clip_that_could_not_be_scored_loses_even_against_the_most_certain_score(tmp_path):
    rows = [{**row, "score": 0.0} for row in predictions() if row["split"] == "test" and row["quality"] == "raw"]
    samples = video_level(table(lose(rows, "p1#a@d1")))
    scores = dict(zip(samples["video_id"].to_pylist(), samples["score"].to_pylist(), strict=True))
    assert scores.pop("p1#a@d1") < min(scores.values()) == 0.0


def test_drivers_shared_between_people_widen_the_intervals(tmp_path):
    """Fakes of every second driver are missed, whoever the person: new drivers are the uncertainty."""
    rows, listed = [], []
    for person in range(30):
        rows.append(frame(f"p{person}", 0, 0, 0.1))
        for number in range(4):
            driver, video = (person + 5 * number) % 20, f"p{person}#{number}"
            rows.append(frame(video, 1, 0, 0.9 if driver % 2 else 0.1, person_id=f"p{person}"))
            listed.append(
                {"video_id": video, "label": 1, "quality": "raw", "driver_id": f"d{driver}", "person_id": f"p{person}"}
            )
    write_table(listed, tmp_path / "videos.parquet", VIDEOS)
    widths = {}
    for name, videos in (("unknown", None), ("known", tmp_path / "videos.parquet")):
        whole, _ = run(tmp_path / name, rows, videos=videos)
        row = one(whole, level="video")
        widths[name] = float(row["fake_accuracy_high"]) - float(row["fake_accuracy_low"])
        wanted = {"unknown": "new people; drivers unknown; this seed", "known": "new people and drivers; this seed"}
        assert row["generalises_to"] == wanted[name]
    # Every person has two fakes missed of four: over people alone the accuracy does not vary at all.
    assert widths["known"] > 0.4 > 1.1 * widths["unknown"]


@pytest.mark.slow
def test_detectors_are_compared_in_pairs_on_the_same_clips(tmp_path):
    good = [{**row, "detector": "good", "score": 0.9 if row["label"] else 0.1} for row in predictions()]
    bad = [{**row, "detector": "bad", "score": 0.1 if row["label"] else 0.9} for row in predictions()]
    elsewhere = [{**row, "trained_on": "c40"} for row in bad]
    np.random.default_rng(0).shuffle(bad)
    run(tmp_path, good, bad, elsewhere)
    pairs = pairs_of(tmp_path)
    assert len(pairs) == 2 * 2 * 2  # qualities, splits, levels: only those with one training set in common
    for row in pairs:
        assert (row["detector"], row["other"], row["trained_on"]) == ("bad", "good", "raw")
        assert (float(row["accuracy_difference"]), float(row["auc_difference"])) == (-1.0, -1.0)
        if row["split"] == "test":
            assert float(row["auc_p"]) <= float(row["auc_p_holm"]) < 0.05
        else:
            assert (row["auc_p"], row["auc_low"], row["generalises_to"]) == ("", "", "too few people (6)")
    assert one(pairs, tested_on="raw", split="test", level="frame")["n_samples"] == "72"


def test_detectors_that_scored_different_clips_are_not_compared(tmp_path):
    other = [{**row, "detector": "other"} for row in predictions() if row["video_id"] != "p1#a"]
    with pytest.raises(ConfigError, match="meso4 and other did not score the same samples"):
        run(tmp_path, predictions(), other)


@pytest.mark.slow
def test_training_sets_measured_by_jobs_of_their_own_give_the_same_tables(tmp_path):
    """To the byte, with the seeds in order: text would sort 10 before 2."""
    sets = {"raw": [], "c40-split-paper": []}
    for name, paths in sets.items():
        for detector, seed in (("meso4", 2), ("meso4", 10), ("xception", 2), ("xception", 10)):
            paths.append(tmp_path / f"{name}_{detector}_{seed}.parquet")
            write_table(predictions(seed, detector=detector, trained_on=name), paths[-1], PREDICTIONS)
    every = [path for paths in sets.values() for path in paths]
    names = ("metrics", "actions", "pairs", "unscored", "calibration", "curves")
    whole, joined = ({name: tmp_path / end / f"{name}.tsv" for name in names} for end in ("whole", "joined"))
    details = {name: whole[name] for name in names[4:]}
    evaluate(every, *(whole[name] for name in names[:3]), SETTINGS, None, whole["unscored"], details=details)
    files = []
    for name in reversed(sets):
        files.append(tmp_path / f"{name}.measured.parquet")
        write_measured(measure_training_set(every, name, SETTINGS, in_detail=True), files[-1])
    join_training_sets(files, joined)
    for name in names:
        assert joined[name].read_bytes() == whole[name].read_bytes(), name
    seeds = [row["seed"] for row in read_tsv(joined["metrics"])[:4]]
    assert seeds == ["2", "10", "mean", "sd"]
