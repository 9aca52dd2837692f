"""Report pages on metrics, and the contact sheet."""

import re

import numpy as np
import pytest
from PIL import Image

from deepfakemnist.config.detectors import EvaluationSettings
from deepfakemnist.evaluation.measured import UNSCORED_COLUMNS
from deepfakemnist.evaluation.measurement import METRICS_COLUMNS
from deepfakemnist.evaluation.stage import evaluate
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.report.contact_sheet import write_contact_sheet
from deepfakemnist.report.figures import write_cross_quality_figure
from deepfakemnist.report.metrics_page import write_actions_page, write_metrics_page
from deepfakemnist.tables.dataset_schemas import PREDICTIONS, VIDEOS
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import CROPPED
from deepfakemnist.tables.tsv import read_tsv, write_tsv


@pytest.fixture
def evaluated(tmp_path):
    """Metrics of a ResNet50 with two seeds that is right on all raw clips and wrong on one c23 clip in four."""
    rows = []
    for seed in (0, 1):
        for number in range(8):
            for quality in ("raw", "c23"):
                label = number % 2
                right = quality == "raw" or number >= 2
                score = 0.9 if bool(label) == right else 0.1
                rows.append(
                    {"video_id": f"v{number}", "label": label, "quality": quality, "frame_index": 0, "split": "test",
                     "action": "nod" if label else "", "person_id": f"p{number}", "logit": 0.0, "score": score,
                     "detector": "resnet50", "trained_on": "raw", "seed": seed, "checkpoint_sha256": f"{seed}"}
                )  # fmt: skip
    write_table(rows, tmp_path / "predictions.parquet", PREDICTIONS)
    paths = [tmp_path / f"{name}.tsv" for name in ("metrics", "actions", "pairs")]
    evaluate([tmp_path / "predictions.parquet"], *paths, EvaluationSettings())
    return paths


def cells(path):
    """Return the rows of all tables of a page."""
    rows = re.findall(r"<tr>(.*?)</tr>", path.read_text(encoding="utf-8"), flags=re.S)
    return [re.findall(r"<td[^>]*>(.*?)</td>", row, flags=re.S) for row in rows if "<td" in row]


def test_metrics_page_shows_the_papers_accuracy_for_frame_level_only(evaluated, tmp_path):
    write_metrics_page(evaluated[0], evaluated[2], tmp_path / "page.html")
    rows = [row for row in cells(tmp_path / "page.html") if len(row) > 20]
    # Rows of both seeds' mean have two more columns, the standard deviations.
    pooled = {(row[2], row[4]): row for row in rows if len(row) == max(map(len, rows))}
    single = {(row[2], row[4], row[5]): row for row in rows if len(row) < max(map(len, rows))}
    for found in (pooled["raw", "frame"], single["raw", "frame", "0"]):
        assert (found[6], found[8]) == ("100.00", "96.58")
    for found in (pooled["c23", "frame"], single["c23", "frame", "1"]):
        assert (found[6], found[8]) == ("75.00", "85.52")
    assert pooled["c23", "video"][8] == ""
    assert pooled["c23", "frame"][5] == "2"  # seeds
    assert {key[2] for key in single} == {"0", "1"}


def test_metrics_page_says_of_how_many_people_a_figure_is_and_lists_unscored_clips(evaluated, tmp_path):
    columns, clip = UNSCORED_COLUMNS, ("test", "c23", 1, "nod", "p3", "v3", 2)
    write_tsv(tmp_path / "unscored.tsv", columns, [dict(zip(columns, clip, strict=True))])
    write_metrics_page(evaluated[0], evaluated[2], tmp_path / "page.html", tmp_path / "unscored.tsv")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    rows = cells(tmp_path / "page.html")
    assert all(row[-1] == "too few people (8)" for row in rows if len(row) > 20)
    assert "Clips that could not be scored: 1" in text
    assert ["test", "c23", "fake", "nod", "p3", "v3", "2"] in rows


def test_actions_page_lists_the_actions_of_fakes(evaluated, tmp_path):
    write_actions_page(evaluated[1], tmp_path / "page.html")
    assert {row[6] for row in cells(tmp_path / "page.html")} == {"nod"}


def test_cross_quality_figure_shows_the_auc_and_is_reproducible(evaluated, tmp_path):
    for name in ("a.svg", "b.svg"):
        write_cross_quality_figure(evaluated[0], tmp_path / name)
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    assert "8 people, 8 videos" in text and ">1.000<" in text and ">0.750<" in text and ">resnet50<" in text


def test_cross_quality_figure_counts_the_clips_that_it_shows(evaluated, tmp_path):
    """Folds and the authors' split have other test clips, and no cell."""
    shown = read_tsv(evaluated[0])
    other = [{**row, "trained_on": "raw-split-paper", "n_people": "2", "n_videos": "99"} for row in shown]
    write_tsv(tmp_path / "more.tsv", METRICS_COLUMNS, [*shown, *other])
    write_cross_quality_figure(tmp_path / "more.tsv", tmp_path / "a.svg")
    assert "8 people, 8 videos" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize(("source_frame", "animated"), [(4, 4), (None, 0), (7, 0)])
def test_contact_sheet_shows_source_driver_and_fake(tmp_path, source_frame, animated):
    """The source by the frame that was animated; the first if that is unknown, or was cut off from the real clip."""
    colours = {"s": (255, 0, 0), "d": (0, 255, 0), "s@d": (0, 0, 255)}
    other = np.full((64, 64, 3), 99, np.uint8)
    for name, colour in colours.items():
        frames = [np.full((64, 64, 3), colour, np.uint8)] * 7
        if name == "s":
            frames = [frame if number == animated else other for number, frame in enumerate(frames)]
        write_working_clip(tmp_path / f"{name}.mp4", frames, 25.0)
    real = {
        "video_id": "s",
        "label": 0,
        "quality": "raw",
        "action": "",
        "source_id": "s",
        "path": str(tmp_path / "s.mp4"),
    }
    fake = {**real, "video_id": "s@d", "label": 1, "action": "yaw", "driver_id": "d", "path": str(tmp_path / "s@d.mp4")}
    fake["source_frame"] = source_frame
    write_table([real, fake], tmp_path / "videos.parquet", VIDEOS)
    crop = {"video_id": "d", "path": str(tmp_path / "d.mp4"), "status": "ok"}
    write_table([crop], tmp_path / "crop.parquet", CROPPED)
    write_contact_sheet(tmp_path / "videos.parquet", [tmp_path / "crop.parquet"], tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    thumbs = {
        name: int((np.abs(sheet.astype(int) - colour).max(-1) < 8).sum() / 128**2) for name, colour in colours.items()
    }
    assert thumbs == {"s": 1, "d": 6, "s@d": 6}


def test_contact_sheet_without_a_fake_shows_a_message(tmp_path):
    write_table([], tmp_path / "videos.parquet", VIDEOS)
    write_contact_sheet(tmp_path / "videos.parquet", [], tmp_path / "sheet.png")
    assert np.asarray(Image.open(tmp_path / "sheet.png")).std() > 1
