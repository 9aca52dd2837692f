"""Predictions table: every val and test frame at every quality, once, with the right names and logits."""

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.detectors.registry import build
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.dataset_schemas import FRAME_INDEX, PREDICTIONS
from deepfakemnist.tables.files import read_table, write_table
from deepfakemnist.training.checkpoint import load_checkpoint, save_checkpoint
from deepfakemnist.training.predict import predict

torch.set_num_threads(1)
SETTINGS = DetectorTraining(name="meso4", image_size=32)


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(3)
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, build("meso4", image_size=32).state_dict(), SETTINGS, "raw", epoch=4, seed=11)
    return path


def test_every_val_and_test_frame_is_scored_at_every_quality(data, checkpoint, tmp_path):
    predict(data.index, data.videos, checkpoint, tmp_path / "table.parquet", "cpu")
    table = read_table(tmp_path / "table.parquet")
    assert table.schema.names == PREDICTIONS.names
    rows = table.to_pylist()
    keys = [(row["split"], row["quality"], row["video_id"], row["frame_index"]) for row in rows]
    wanted = sorted(
        (row["split"], row["quality"], row["video_id"], row["frame_index"])
        for row in data.index_rows
        if row["split"] != "train"
    )
    assert keys == wanted
    assert {key[:2] for key in keys} == {("val", "raw"), ("val", "c40"), ("test", "raw"), ("test", "c40")}
    sha256 = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    constant = {(row["detector"], row["trained_on"], row["seed"], row["checkpoint_sha256"]) for row in rows}
    assert constant == {("meso4", "raw", 11, sha256)}


@pytest.mark.parametrize(
    ("trained_on", "people"),
    [
        ("raw-fold-1", lambda n: {1: "test", 2: "val"}.get(n % 3)),
        ("raw-split-paper", lambda n: {0: "test", 3: "val"}.get(n % 4)),
        ("raw", lambda n: {1: "val", 3: "test"}.get(n % 4)),
    ],
)
def test_val_and_test_are_those_of_the_split_that_it_was_trained_with(data, tmp_path, trained_on, people):
    weights = build("meso4", image_size=32).state_dict()
    save_checkpoint(tmp_path / "c.safetensors", weights, SETTINGS, trained_on, epoch=1, seed=0)
    predict(data.index, data.videos, tmp_path / "c.safetensors", tmp_path / "table.parquet", "cpu")
    rows = read_table(tmp_path / "table.parquet").to_pylist()
    assert {(row["person_id"], row["split"]) for row in rows} == {
        (f"p{n:02d}", people(n)) for n in range(24) if people(n)
    }
    assert {row["trained_on"] for row in rows} == {trained_on}


def test_a_detector_by_driver_is_scored_on_unseen_drivers_alone(data, tmp_path):
    weights = build("meso4", image_size=32).state_dict()
    save_checkpoint(tmp_path / "c.safetensors", weights, SETTINGS, "raw-by-driver", epoch=1, seed=0)
    predict(data.index, data.videos, tmp_path / "c.safetensors", tmp_path / "table.parquet", "cpu")
    rows = [row for row in read_table(tmp_path / "table.parquet").to_pylist() if row["split"] == "test"]
    scored = {label: {row["person_id"] for row in rows if row["label"] == label} for label in (0, 1)}
    assert scored[0] == {"p03", "p07", "p11", "p15", "p19", "p23"}
    assert scored[1] == scored[0] - {"p11", "p15"}  # their drivers are in another split


def test_each_row_holds_the_logit_of_its_own_frame(data, checkpoint, tmp_path):
    predict(data.index, data.videos, checkpoint, tmp_path / "table.parquet", "cpu", workers=1)
    detector = load_checkpoint(checkpoint, torch.device("cpu")).detector
    facts = {(row["video_id"], row["quality"]): row for row in data.video_rows}
    for row in read_table(tmp_path / "table.parquet").to_pylist()[::7]:
        image = data.images[row["video_id"], row["quality"], row["frame_index"]]
        with torch.inference_mode():
            logit = detector(torch.from_numpy(image).permute(2, 0, 1)[None]).item()
        assert row["logit"] == pytest.approx(logit, abs=1e-4)
        assert row["score"] == pytest.approx(1 / (1 + np.exp(-row["logit"])), abs=1e-6)
        fact = facts[row["video_id"], row["quality"]]
        assert {name: row[name] for name in ("label", "split", "action", "person_id")} == {
            name: fact[name] for name in ("label", "split", "action", "person_id")
        }


def test_predictions_are_the_same_to_the_byte(data, checkpoint, tmp_path):
    for name in ("a.parquet", "b.parquet"):
        predict(data.index, data.videos, checkpoint, tmp_path / name, "cpu")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_checkpoint_bytes_do_not_depend_on_the_file_name(checkpoint, tmp_path):
    torch.manual_seed(3)
    other = tmp_path / "of another name.safetensors"
    save_checkpoint(other, build("meso4", image_size=32).state_dict(), SETTINGS, "raw", epoch=4, seed=11)
    assert other.read_bytes() == checkpoint.read_bytes()


@pytest.mark.slow
def test_pretrained_weights_are_not_downloaded_for_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    recipe = DetectorTraining(name="resnet50", weights="imagenet", image_size=32)
    save_checkpoint(
        tmp_path / "r.safetensors", build("resnet50", image_size=32).state_dict(), recipe, "c23", epoch=1, seed=0
    )
    loaded = load_checkpoint(tmp_path / "r.safetensors", torch.device("cpu"))
    assert (loaded.settings, loaded.trained_on, loaded.epoch, loaded.detector.training) == (recipe, "c23", 1, False)


def test_tables_without_val_or_test_frames_are_refused(own_data, checkpoint, tmp_path):
    write_table([row for row in own_data.index_rows if row["split"] == "train"], own_data.index, FRAME_INDEX)
    with pytest.raises(ConfigError, match="has no frames in val or test"):
        predict(own_data.index, own_data.videos, checkpoint, tmp_path / "table.parquet", "cpu")


def test_files_that_are_not_checkpoints_are_refused(data, checkpoint, tmp_path):
    def refuse(path, message):
        with pytest.raises(ConfigError, match=message):
            predict(data.index, data.videos, path, tmp_path / "table.parquet", "cpu")
        assert not (tmp_path / "table.parquet").exists()

    refuse(
        tmp_path / "nothing.safetensors", "checkpoint .*nothing.safetensors does not exist; train the detector first"
    )
    (tmp_path / "text.safetensors").write_text("not safetensors")
    refuse(tmp_path / "text.safetensors", "text.safetensors is not a readable checkpoint")
    torch.save({"weights": {}}, tmp_path / "pickle.pt")
    refuse(tmp_path / "pickle.pt", "pickle.pt is not a readable checkpoint")
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    refuse(tmp_path / "other.safetensors", "other.safetensors is not a detector checkpoint: its metadata has no entry")
    weights = build("meso4", image_size=64).state_dict()
    save_checkpoint(tmp_path / "misfit.safetensors", weights, SETTINGS, "raw", epoch=1, seed=0)
    refuse(tmp_path / "misfit.safetensors", "misfit.safetensors does not fit detector 'meso4'")
    with safe_open(checkpoint, "pt") as file:
        content = json.loads(file.metadata()["deepfakemnist"])
    content["settings"]["momentum"] = 1
    save_file(load_file(checkpoint), tmp_path / "old.safetensors", {"deepfakemnist": json.dumps(content)})
    refuse(tmp_path / "old.safetensors", "written by another version")


def test_a_video_without_frames_is_a_row_with_score_a_half(own_data, checkpoint, tmp_path):
    lost = next(row["video_id"] for row in own_data.index_rows if row["split"] == "test")
    write_table([row for row in own_data.index_rows if row["video_id"] != lost], own_data.index, FRAME_INDEX)
    predict(own_data.index, own_data.videos, checkpoint, tmp_path / "table.parquet", "cpu")
    rows = [row for row in read_table(tmp_path / "table.parquet").to_pylist() if row["video_id"] == lost]
    assert [(row["quality"], row["frame_index"], row["score"], row["logit"]) for row in rows] == [
        ("c40", -1, 0.5, 0.0),
        ("raw", -1, 0.5, 0.0),
    ]
    assert {(row["detector"], row["seed"], row["split"]) for row in rows} == {("meso4", 11, "test")}


def test_diverged_weights_are_refused(data, tmp_path):
    weights = {name: value * float("nan") for name, value in build("meso4", image_size=32).state_dict().items()}
    save_checkpoint(tmp_path / "nan.safetensors", weights, SETTINGS, "raw", epoch=1, seed=0)
    with pytest.raises(ConfigError, match="returns non-finite logits for 192 of 192 frames: its training diverged"):
        predict(data.index, data.videos, tmp_path / "nan.safetensors", tmp_path / "table.parquet", "cpu")
