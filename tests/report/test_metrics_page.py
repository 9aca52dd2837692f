"""Pages of detectors' metrics: what stands in which table and chart, and what is said where people are too few."""

import pytest
from report_pages import charts, tables, text

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.config.detectors import EvaluationSettings
from deepfakemnist.evaluation.calibration import CALIBRATION_COLUMNS
from deepfakemnist.evaluation.measured import UNSCORED_COLUMNS
from deepfakemnist.evaluation.measurement import ACTIONS_COLUMNS, METRICS_COLUMNS
from deepfakemnist.evaluation.stage import evaluate
from deepfakemnist.report.actions_page import write_actions_page
from deepfakemnist.report.metrics_page import MetricsTables, write_metrics_page
from deepfakemnist.tables.dataset_schemas import PREDICTIONS
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.tsv import read_tsv, write_tsv

NAMES = ("metrics", "actions", "pairs")
ACROSS = "Across qualities: trained on one, tested on another"
WITHIN = "Balanced accuracy at each quality, beside the paper's"


def evaluate_rows(folder, rows):
    write_table(rows, folder / "predictions.parquet", PREDICTIONS)
    paths = {name: folder / f"{name}.tsv" for name in NAMES}
    evaluate([folder / "predictions.parquet"], *paths.values(), EvaluationSettings())
    return paths


def row_of(number, quality, score, **more):
    label = number % 2
    row = {"video_id": f"v{number}", "label": label, "quality": quality, "frame_index": 0, "split": "test"}
    row |= {"action": "nod" if label else "", "person_id": f"p{number}", "logit": 0.0, "score": score, "seed": 0}
    return row | {"detector": "resnet50", "trained_on": "raw", "checkpoint_sha256": "0", **more}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A ResNet50 with two seeds and 8 people, right on all raw clips and wrong on one c23 clip in four."""
    rows = []
    for seed in (0, 1):
        for number in range(8):
            for quality in ("raw", "c23"):
                right = quality == "raw" or number >= 2
                rows.append(row_of(number, quality, 0.9 if bool(number % 2) == right else 0.1, seed=seed))
                rows.append({**rows[-1], "split": "val", "person_id": f"q{number}", "video_id": f"w{number}"})
    return evaluate_rows(tmp_path_factory.mktemp("few"), rows)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Two detectors and 80 people: a ResNet50 that errs on one clip in ten of each class, a Meso4 on every other."""
    rows = []
    for number in range(80):
        for detector, right in (("resnet50", number % 20 > 1), ("meso4", number // 2 % 2 == 0)):
            rows.append(row_of(number, "raw", 0.9 if bool(number % 2) == right else 0.1, detector=detector))
    return evaluate_rows(tmp_path_factory.mktemp("many"), rows)


@pytest.fixture(scope="module")
def page(few, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    columns, clip = UNSCORED_COLUMNS, ("test", "c23", 1, "nod", "p3", "v3", 2)
    write_tsv(path.with_name("unscored.tsv"), columns, [dict(zip(columns, clip, strict=True))])
    write_metrics_page(MetricsTables(few["metrics"], few["pairs"], path.with_name("unscored.tsv")), path, ["A notice."])
    return path


def test_the_papers_accuracy_stands_beside_frames_alone(page):
    by_frame = tables(page)["Test split, by frame: balanced accuracy and AUC"]
    assert by_frame[0] == ["detector", "trained on", "tested on", "balanced accuracy %", "paper %", "AUC %"]
    assert by_frame[1:] == [
        ["resnet50", "raw", "raw", "100 ± 0", "96.58", "100 ± 0"],
        ["resnet50", "raw", "c23", "75 ± 0", "85.52", "75 ± 0"],
    ]
    assert "paper %" not in tables(page)["Test split, by video: balanced accuracy and AUC"][0]


def test_test_and_validation_are_apart_and_raw_is_first(page):
    of_val = [title for title in tables(page) if "Validation" in title]
    assert of_val == ["Validation split (not a test: epochs and thresholds were chosen on it)"]
    for title, (header, *rows) in tables(page).items():
        assert "split" not in header or "scored" in title
        if "tested on" in header:
            assert [row[header.index("tested on")] for row in rows][:1] in ([], ["raw"]), title


def test_each_seed_has_a_row_beside_the_mean(page):
    header, *rows = tables(page)["Test split: every training seed"]
    assert [row[header.index("seed")] for row in rows if row[2] == "c23"] == ["0", "1"] * 2
    assert "seeds: 2" in text(page)


def test_a_test_split_of_few_people_is_said_to_show_nothing_above_all_else(page):
    found = text(page)
    assert "A notice." in found and "the test split has 8 videos of 8 people" in found
    assert found.index("mean nothing beyond this run") < found.index("How well each detector")
    assert "interval for: too few people (8)" in found


def test_enough_people_bring_intervals_instead_of_the_warning(many, tmp_path):
    write_metrics_page(MetricsTables(many["metrics"], many["pairs"]), tmp_path / "page.html")
    assert "mean nothing" not in text(tmp_path / "page.html")
    rows = tables(tmp_path / "page.html")["Test split, by video: balanced accuracy and AUC"][1:]
    meso4, resnet50 = (row[3] for row in rows)
    # With 80 people, half widths of 7 and of 11 points: the former leaves one decimal, the latter none.
    assert (meso4, resnet50) == ("50 [39–61]", "90.0 [80.5–95.1]")


def test_the_better_detector_of_a_comparison_is_named_first(many, tmp_path):
    write_metrics_page(MetricsTables(many["metrics"], many["pairs"]), tmp_path / "page.html")
    header, *rows = tables(tmp_path / "page.html")["Which detector is better: balanced accuracy"]
    row = dict(zip(header, rows[0], strict=True))
    assert (row["higher"], row["lower"], row["shown to differ"]) == ("resnet50", "meso4", "yes")
    assert row["difference, points"] == "+40 [+25 to +55]" and row["p, adjusted"] == "< 0.001"
    assert "2 of 2 comparisons show a difference" in text(tmp_path / "page.html")


def test_comparisons_without_a_p_value_are_no_table(few, tmp_path):
    rows = read_tsv(few["pairs"])
    assert rows == []  # of one detector
    with_two = [row_of(n, "raw", 0.1 * n, detector=name) for n in range(8) for name in ("meso4", "resnet50")]
    paths = evaluate_rows(tmp_path, with_two)
    write_metrics_page(MetricsTables(paths["metrics"], paths["pairs"]), tmp_path / "page.html")
    assert "None of 2 comparisons on test has enough people for a p-value" in text(tmp_path / "page.html")


def test_clips_that_could_not_be_scored_are_listed(page):
    header, row = tables(page)["Clips that could not be scored: 1"]
    assert header[2] == "class" and row == ["test", "c23", "fake", "nod", "p3", "v3", "2"]


def test_the_chart_across_qualities_has_frames_and_videos_and_no_other_training_sets(few, tmp_path):
    """Folds and the authors' split have other test clips, and no cell."""
    shown = read_tsv(few["metrics"])
    other = [{**row, "trained_on": "raw-split-paper", "n_people": "2", "n_videos": "99"} for row in shown]
    write_tsv(tmp_path / "more.tsv", METRICS_COLUMNS, [*shown, *other])
    write_metrics_page(MetricsTables(tmp_path / "more.tsv", few["pairs"]), tmp_path / "page.html")
    rows = charts(tmp_path / "page.html")[ACROSS]
    assert {row["trained on"] for row in rows} == {"raw"} and {row["videos"] for row in rows} == {8}
    assert [(row["tested on"], row["metric"], row["shown"]) for row in rows] == [
        ("raw", "balanced accuracy, frames", "100"),
        ("c23", "balanced accuracy, frames", "75"),
        ("raw", "AUC, videos", "100"),
        ("c23", "AUC, videos", "75"),
    ]
    assert [row["paper %"] for row in rows] == [96.58, 85.52, None, None]


def test_the_chart_within_qualities_has_intervals_and_the_papers_accuracy(many, tmp_path):
    write_metrics_page(MetricsTables(many["metrics"], many["pairs"]), tmp_path / "page.html")
    resnet50 = charts(tmp_path / "page.html")[WITHIN][1]
    assert (resnet50["detector"], resnet50["balanced accuracy %"], resnet50["paper %"]) == ("resnet50", 90.0, 96.58)
    assert 80 < resnet50["low"] < 90 < resnet50["high"] < 96 and resnet50["people"] == 80


def test_without_measurements_the_page_says_why_it_has_no_chart(tmp_path):
    for name in ("metrics", "pairs"):
        (tmp_path / name).write_text("split\n")
    write_metrics_page(MetricsTables(tmp_path / "metrics", tmp_path / "pairs"), tmp_path / "page.html")
    assert charts(tmp_path / "page.html") == {}
    assert "so that there is nothing to draw" in text(tmp_path / "page.html")


def test_actions_are_told_from_reals_on_test_by_frame(few, tmp_path):
    write_actions_page(few["metrics"], few["actions"], tmp_path / "page.html")
    header, *rows = tables(tmp_path / "page.html")["Each action against all reals"]
    assert header == ["detector", "trained on", "tested on", "action", "balanced accuracy %", "AUC %"]
    assert rows == [
        ["resnet50", "raw", "raw", "nod", "100 ± 0", "100 ± 0"],
        ["resnet50", "raw", "c23", "nod", "75 ± 0", "75 ± 0"],
    ]


def test_the_chart_of_actions_has_the_reals_and_the_paper_beside_the_same_quality(few, tmp_path):
    write_actions_page(few["metrics"], few["actions"], tmp_path / "page.html")
    (rows,) = charts(tmp_path / "page.html").values()
    own = [(row["class"], row["column"], row["accuracy %"]) for row in rows if row["detector"] == "resnet50"]
    assert own == [("nod", "raw", 100.0), ("reals", "raw", 100.0)]
    paper = {row["class"]: row["accuracy %"] for row in rows if row["column"] == "raw, paper"}
    assert (paper["nod"], paper["reals"], len(paper)) == (94.5, 94.5, 11)


@pytest.mark.slow
def test_a_grid_of_hundreds_of_runs_has_an_actions_page_of_a_few_megabytes(few, tmp_path):
    """Two splits and levels, 2 seeds with mean and sd, 28 training sets of 7 detectors, 3 qualities, 10 actions."""
    some = [row for row in read_tsv(few["actions"]) if row["tested_on"] == "raw"]
    rows = [
        {**row, "detector": f"d{detector}", "trained_on": f"raw-fold-{number}", "tested_on": quality, "action": action}
        for row in some
        for detector in range(7)
        for number in range(28)
        for quality in ("raw", "c23", "c40")
        for action in ACTIONS
    ]
    assert len(rows) > 90_000
    write_tsv(tmp_path / "actions.tsv", ACTIONS_COLUMNS, rows)
    write_actions_page(few["metrics"], tmp_path / "actions.tsv", tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 2e6


@pytest.mark.parametrize(("people", "shown"), [(9, ["1.5", "25", "12"]), (12, ["1.5", "25.3", "12.3"])])
def test_calibration_errors_of_few_people_are_whole_percents(few, tmp_path, people, shown):
    row = {"detector": "resnet50", "trained_on": "raw", "seed": 0, "tested_on": "raw", "level": "frame"}
    row |= {"temperature": 1.52, "calibration_error": 0.253, "calibration_error_scaled": 0.123, "n_people": people}
    write_tsv(tmp_path / "c.tsv", CALIBRATION_COLUMNS, [{**dict.fromkeys(CALIBRATION_COLUMNS), **row}])
    tables_of = MetricsTables(few["metrics"], few["pairs"], calibration=tmp_path / "c.tsv")
    write_metrics_page(tables_of, tmp_path / "page.html")
    header, cells = tables(tmp_path / "page.html")[
        "Calibration on test, before and after scaling by a temperature chosen on val"
    ]
    assert cells[header.index("temperature") :][:3] == shown
