"""Stage of animator training: selection of clips from tables, folders and sheets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from deepfakemnist.animate.fomm.animator import FommAnimator
from deepfakemnist.animate.training.stage import choose_training_clips, clips_of, train_animator_stage
from deepfakemnist.config.animators.fomm import FommSettings, TrainAnimatorSettings
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.errors import ConfigError
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import CROPPED

STATUS_OK = {"status": "ok", "reason": "", "detail": ""}


def crop_row(name: str, path: Path, **more) -> dict:
    row = {"video_id": name, "role": "source", "person_id": name, "action": "", "path": str(path)}
    return {**row, **STATUS_OK, **more}


@pytest.fixture
def training_tables(tmp_path, moving_discs) -> tuple[list[Path], list[Path]]:
    """Three sources in two tables, two drivers in one; one crop of each kind was rejected."""
    rows = []
    for i, frames in enumerate(moving_discs[:5]):
        path = tmp_path / "crops" / f"{i}.mp4"
        write_working_clip(path, frames, 25.0)
        rows.append(crop_row(f"clip{i}", path, person_id=f"person{i}"))
    rejected = crop_row("bad", tmp_path / "nothing.mp4", person_id="person0", status="rejected", reason="no_face")
    tables = {"sources0": [rows[2], rejected], "sources1": rows[:2], "drivers": [*rows[3:], rejected]}
    for name, content in tables.items():
        write_table(content, tmp_path / f"{name}.parquet", CROPPED)
    return [tmp_path / "sources0.parquet", tmp_path / "sources1.parquet"], [tmp_path / "drivers.parquet"]


def train(sources, drivers, people, checkpoint, folder, report, settings, exclude=None):
    """Run both stages with seed 0 on the CPU."""
    choose_training_clips(sources, drivers, people, folder / "clips.json", settings, seed=0, exclude=exclude)
    train_animator_stage(folder / "clips.json", checkpoint, folder, report, settings, seed=0, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize(("people", "clips"), [(None, 5), ({"person0", "person1"}, 4), (set(), 2)])
def test_training_uses_the_selected_people_and_every_driver(tmp_path, small_model, training_tables, people, clips):
    training = TrainAnimatorSettings(steps=2, batch_size=2, size=32)
    settings = animator_settings(name="fomm", model=small_model, train=training)
    checkpoint, report = tmp_path / "animator.pth", tmp_path / "report.json"
    train(*training_tables, people, checkpoint, tmp_path, report, settings)
    content = json.loads(report.read_text())
    assert content["clips"] + content["held_out_clips"] == clips
    animator = FommAnimator.from_checkpoint(checkpoint, settings, device="cpu")
    assert animator.prepare_driving(np.zeros((1, 32, 32, 3), np.uint8))["value"].shape == (1, 4, 2)


@pytest.mark.slow
def test_max_sources_limits_the_sources_but_not_the_drivers(tmp_path, small_model, training_tables):
    training = TrainAnimatorSettings(steps=1, batch_size=2, size=32, max_sources=1)
    settings = animator_settings(name="fomm", model=small_model, train=training)
    report = tmp_path / "report.json"
    train(*training_tables, None, tmp_path / "a.pth", tmp_path, report, settings)
    content = json.loads(report.read_text())
    assert content["clips"] + content["held_out_clips"] == 1 + 2, "one source and both drivers"


@pytest.mark.slow
def test_training_does_not_depend_on_the_order_of_shards(tmp_path, small_model, training_tables):
    training = TrainAnimatorSettings(steps=2, batch_size=2, size=32)
    settings = animator_settings(name="fomm", model=small_model, train=training)
    sources, drivers = training_tables
    for name, tables in (("a", sources), ("b", sources[::-1])):
        folder = tmp_path / name
        checkpoint, report = folder / "a.pth", folder / "a.json"
        train(tables, drivers, None, checkpoint, folder, report, settings)
    frame = np.random.default_rng(0).integers(0, 255, (1, 32, 32, 3), np.uint8)
    one, other = (
        FommAnimator.from_checkpoint(tmp_path / name / "a.pth", settings).prepare_driving(frame) for name in "ab"
    )
    np.testing.assert_array_equal(one["value"], other["value"])


def test_too_few_clips_are_an_error_that_says_what_to_do(tmp_path, small_model, training_tables):
    sources, _ = training_tables
    settings = animator_settings(name="fomm", model=small_model)
    with pytest.raises(ConfigError, match=r"this run \(1 people\) has 1, and there are 0 drivers.*animator\.weights"):
        choose_training_clips(sources, [], {"person0"}, tmp_path / "clips.json", settings, seed=0)


@pytest.mark.slow
def test_custom_clips_replace_the_crops(tmp_path, small_model, training_tables):
    training = TrainAnimatorSettings(clips=tmp_path / "crops", steps=1, batch_size=2, size=32)
    settings = animator_settings(name="fomm", model=small_model, train=training)
    report = tmp_path / "report.json"
    train([], [], set(), tmp_path / "a.pth", tmp_path, report, settings)
    content = json.loads(report.read_text())
    assert content["clips"] + content["held_out_clips"] == 5


@pytest.mark.slow
def test_excluded_people_are_not_trained_on(tmp_path, small_model, training_tables):
    people = sorted({row["person_id"] for row in clips_of(tmp_path / "crops")})
    excluded = [row for row in clips_of(tmp_path / "crops") if row["person_id"] == people[0]]
    (tmp_path / "exclude.tsv").write_text(f"person_id\n{people[0]}\n")
    training = TrainAnimatorSettings(clips=tmp_path / "crops", steps=1, batch_size=2, size=32)
    report = tmp_path / "report.json"
    settings = animator_settings(name="fomm", model=small_model, train=training)
    train([], [], set(), tmp_path / "a.pth", tmp_path, report, settings, exclude=tmp_path / "exclude.tsv")
    content = json.loads(report.read_text())
    assert content["clips"] + content["held_out_clips"] == 5 - len(excluded) < 5


def test_clips_come_from_a_folder_or_a_table(tmp_path, moving_discs):
    folder = tmp_path / "id1"
    for name in ("id1#a#0", "id1#b#1", "id2#c#2"):
        write_working_clip(folder / f"{name}.mp4", moving_discs[0][:2], 25.0)
    (folder / "notes.txt").write_text("no clip")
    (folder / ".id3#d#3.x1y2.part.mp4").write_bytes(b"partial file of a killed writer")
    found = clips_of(tmp_path)
    assert [(row["video_id"], row["person_id"]) for row in found] == [
        ("id1#a#0", "id1"),
        ("id1#b#1", "id1"),
        ("id2#c#2", "id2"),
    ]
    sheet = tmp_path / "clips.tsv"
    sheet.write_text("path\tperson_id\tstatus\nid1/id1#a#0.mp4\tanna\tok\nid1/id2#c#2.mp4\t\tok\nx.mp4\t\tfailed\n")
    assert [(row["path"], row["person_id"]) for row in clips_of(sheet)] == [
        (str(folder / "id1#a#0.mp4"), "anna"),
        (str(folder / "id2#c#2.mp4"), "id2"),
    ]
    table = tmp_path / "clips.parquet"
    pd.DataFrame(found).to_parquet(table)
    assert clips_of(table) == found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is neither a folder nor a file"),
        ("file\nx.mp4\n", "has no column path, it has file"),
        ("path\nx.mp4\ny.mp4\n", r"lists 2 missing files, the first is .*x\.mp4"),
    ],
)
def test_an_unusable_list_of_clips_is_an_error(tmp_path, content, message):
    sheet = tmp_path / "clips.tsv"
    if content is not None:
        sheet.write_text(content)
    with pytest.raises(ConfigError, match=message):
        clips_of(sheet)


def test_the_recipe_at_full_size_is_a_valid_config():
    """The YAML of the page: the official architecture, schedule and losses."""
    page = Path(__file__).parents[3] / "docs" / "train_animator.md"
    lines = page.read_text(encoding="utf-8").splitlines()
    first = lines.index("        # vox.yaml")
    block = [line[8:] for line in lines[first : lines.index("", first)]]
    entry = yaml.safe_load("\n".join(block).replace("…", "a" * 64))["animators"][0]
    settings = animator_settings(**entry)
    assert isinstance(settings, FommSettings)
    train = settings.train
    assert settings.needs_training
    assert settings.model is None, "vox-256"
    assert train.steps * train.batch_size == 100 * 75 * 422, "epochs, repeats, people"
    assert (train.frames, train.sampling, train.batch_size % train.gpus) == ("disk", "person", 0)
    assert train.vgg19 is not None
