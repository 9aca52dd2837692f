"""Every evaluation protocol, other datasets and perturbations included, by person and by the authors' split."""

import html
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from released_tree import make_tree
from tiny_project import Project, make_project

from deepfakemnist.config.dataset import FrameSettings
from deepfakemnist.config.perturbations import LEVELS
from deepfakemnist.dataset.imports import import_dataset
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.tsv import read_tsv

pytestmark = pytest.mark.workflow

#: Training sets of each protocol, by person, by video, and by fold; names in full.
BY_PERSON = ("raw", "c23", "mixed", "raw-only-yaw", "raw-without-yaw", "raw-by-driver", "raw-people-50")
BY_VIDEO = ("raw-split-paper", "c23-split-paper", "mixed-split-paper", "raw-only-yaw-split-paper")
BY_FOLD = ("raw-fold-0", "raw-fold-1", "raw-fold-2")
SETS = (*BY_PERSON, *BY_VIDEO, *BY_FOLD)


def write_config(project, name, datasets):
    config = yaml.safe_load((project.folder / "tiny.yaml").read_text())
    config["dataset"] = {"folds": 3}
    config["training"]["trained_on"] = [*BY_PERSON, *BY_VIDEO, "raw-fold-each"]
    config["evaluation"] = {"datasets": datasets, "robustness": [*LEVELS]}
    (project.folder / name).write_text(yaml.safe_dump(config))
    return Project(project.folder, name)


def test_every_training_set_is_trained_and_tested_once_on_each_kind_of_clip(project):
    planned = write_config(project, "both.yaml", {"own": "results/manifest", "other": "results/manifest"})
    output = planned.run("-n", "--forceall", "results/report/protocols.html")
    table = output.split("Job stats:")[-1]
    jobs = {name: int(count) for name, count in re.findall(r"^([a-z_]+) +(\d+)$", table, flags=re.M)}
    expected = {"train": 1, "predict": 1, "predict_dataset": 2, "predict_perturbed": 1}
    assert {rule: jobs[rule] for rule in expected} == {rule: len(SETS) * times for rule, times in expected.items()}
    assert (jobs["evaluate"], jobs["evaluate_external"], jobs["metrics_pages"]) == (1, 3, 1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of its own, and a dataset imported in another folder, by paths relative to that folder."""
    folder = tmp_path_factory.mktemp("protocols")
    (folder / "elsewhere").mkdir()
    with pytest.MonkeyPatch.context() as context:
        context.chdir(folder / "elsewhere")
        make_tree(folder / "elsewhere/DFMNIST+")
        import_dataset(folder / "elsewhere/DFMNIST+", Path("imported"), FrameSettings(per_clip=2))
    (folder / "project").mkdir()
    run = write_config(make_project(folder / "project"), "both.yaml", {"published": "../elsewhere/imported/manifest"})
    run.run("results/manifest/videos.parquet")
    run.run("results/report/protocols.html")
    return run


def rows_of(run, path):
    return read_rows(run.folder / "results" / path)


def split_of(videos, trained_on):
    """Return the split of every video that a training set has, as the manifest's columns say."""
    if trained_on in BY_FOLD:
        test = int(trained_on[-1])
        names = {test: "test", (test + 1) % 3: "val"}
        return {row["video_id"]: names.get(row["fold"], "train") for row in videos}
    if trained_on == "raw-by-driver":
        return {row["video_id"]: row["split"] for row in videos if row["label"] == 0 or row["split_driver"]}
    column = "split_paper" if trained_on in BY_VIDEO else "split"
    return {row["video_id"]: row[column] for row in videos if row[column]}


@pytest.mark.extended
@pytest.mark.parametrize("trained_on", SETS)
def test_a_detector_is_tested_on_the_test_clips_of_its_own_split(finished, trained_on):
    videos = rows_of(finished, "manifest/videos.parquet")
    split = split_of(videos, trained_on)
    run = f"detectors/meso4/{trained_on}/seed0"
    predictions = rows_of(finished, f"{run}/predictions.parquet")
    assert {(row["video_id"], row["split"]) for row in predictions} == {
        (name, part) for name, part in split.items() if part in ("val", "test")
    }
    test = {name for name, part in split.items() if part == "test"}
    assert test, "the tiny project has test clips in every split"
    perturbed = rows_of(finished, f"{run}/perturbed.parquet")
    assert {row["video_id"] for row in perturbed} == test
    levels = {f"raw+{kind}{level:g}" for kind, found in LEVELS.items() for level in found}
    counts = Counter(row["quality"] for row in perturbed)
    assert counts.keys() == levels and len(set(counts.values())) == 1
    assert counts["raw+jpeg90"] == sum(row["quality"] == "raw" and row["split"] == "test" for row in predictions)


@pytest.mark.extended
@pytest.mark.parametrize("trained_on", SETS)
def test_another_dataset_in_another_folder_is_scored_in_its_own_split(finished, trained_on):
    tree = read_rows(finished.folder / "../elsewhere/imported/manifest/videos.parquet")
    expected = {(row["video_id"], row["split"]) for row in tree if row["split"] != "train"}
    found = rows_of(finished, f"detectors/meso4/{trained_on}/seed0/on_published.parquet")
    assert {(row["video_id"], row["split"]) for row in found} == expected
    assert {row["quality"] for row in found} == {f"published:{row['quality']}" for row in tree}
    assert len(found) == 2 * sum(row["split"] != "train" for row in tree)


@pytest.mark.extended
def test_the_metrics_count_the_clips_of_each_split(finished):
    videos = rows_of(finished, "manifest/videos.parquet")
    for row in read_tsv(finished.folder / "results/evaluation/metrics.tsv"):
        if (row["level"], row["split"]) != ("video", "test") or row["trained_on"] == "raw-folds":
            continue
        split = split_of(videos, row["trained_on"])
        assert int(row["n_videos"]) == sum(part == "test" for part in split.values()), row["trained_on"]
        assert row["generalises_to"].startswith("too few people")
    pooled = [
        int(row["n_videos"])
        for row in read_tsv(finished.folder / "results/evaluation/metrics.tsv")
        if (row["trained_on"], row["level"], row["split"]) == ("raw-folds", "video", "test")
    ]
    assert set(pooled) == {len({row["video_id"] for row in videos})}, "every video in the test of one fold"


@pytest.mark.extended
def test_every_protocol_is_on_the_page_and_those_of_the_paper_by_its_split_too(finished):
    page = html.unescape((finished.folder / "results/report/protocols.html").read_text(encoding="utf-8"))
    parts = {part.split("</h2>")[0]: part for part in page.split("<h2>")[1:]}
    measured = {title for title, part in parts.items() if "meso4" in part}
    for number in ("1", "2", "3", "4", "5", "6", "7, 8", "9", "10", "11", "12"):
        assert any(title.startswith(f"{number}. ") for title in measured), number
    for number in "12345":
        assert any(title.startswith(f"{number}. ") and "(split by video)" in title for title in measured), number
    for title in (
        "7, 8. Cross-animator and cross-dataset generalisation: balanced accuracy, %",
        "9. Robustness, noise",
    ):
        (name,) = [name for name in parts if name.startswith(title) and "AUC" not in name]
        cells = re.findall(r"<td>([^<]*)</td>", parts[name])
        # By person and by video, of the sets with all actions and people.
        assert {"raw", "c23", "mixed", "raw-split-paper", "c23-split-paper", "raw-by-driver"} <= set(cells)
        assert "raw-only-yaw" not in cells
