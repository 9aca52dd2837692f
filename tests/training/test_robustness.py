"""Perturbations: the error grows with the level, the image stays recognisable, predictions carry the name."""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from deepfakemnist.config.detectors import DetectorTraining, EvaluationSettings
from deepfakemnist.config.perturbations import LEVELS
from deepfakemnist.detectors.registry import build
from deepfakemnist.errors import ConfigError
from deepfakemnist.evaluation.training_set import measure_training_set
from deepfakemnist.tables.checksums import recorded_checksum
from deepfakemnist.tables.dataset_schemas import FRAME_INDEX, VIDEOS
from deepfakemnist.tables.files import read_table, write_table
from deepfakemnist.tables.schemas import FRAMES
from deepfakemnist.training.checkpoint import load_checkpoint, save_checkpoint
from deepfakemnist.training.predict import predict
from deepfakemnist.training.robustness import perturb, predict_perturbed

pytestmark = pytest.mark.numeric

torch.set_num_threads(1)


@pytest.mark.parametrize("kind", sorted(LEVELS))
def test_every_level_is_stronger_than_the_one_before(kind):
    face = np.ascontiguousarray(astronaut()[0:161, 150:311])  # odd sides
    errors = []
    for level in LEVELS[kind]:
        changed = perturb(face, kind, level, seed=1)
        assert (changed.shape, changed.dtype) == (face.shape, np.uint8)
        errors.append(np.mean((changed.astype(float) - face) ** 2))
        assert np.array_equal(changed, perturb(face, kind, level, seed=1))
    assert errors == sorted(errors) and len(errors) == len(set(errors)) == 5
    assert errors[0] > 1 and errors[-1] < 1500  # changed, yet not destroyed


def test_noise_has_its_standard_deviation():
    grey = np.full((64, 64, 3), 128, np.uint8)
    assert perturb(grey, "noise", 10, seed=0).astype(float).std() == pytest.approx(10, rel=0.05)
    assert not np.array_equal(perturb(grey, "noise", 10, seed=0), perturb(grey, "noise", 10, seed=1))


def checkpoint_of(folder: Path, trained_on: str = "raw") -> Path:
    torch.manual_seed(3)
    recipe = DetectorTraining(name="meso4", image_size=32)
    path = folder / "checkpoint.safetensors"
    save_checkpoint(path, build("meso4", image_size=32).state_dict(), recipe, trained_on, epoch=1, seed=0)
    return path


def test_perturbed_frames_are_scored_under_their_names(own_data, tmp_path):
    checkpoint = checkpoint_of(tmp_path)
    arguments = (own_data.index, own_data.videos, checkpoint, tmp_path / "d.parquet")
    predict_perturbed(*arguments, "raw", ["noise", "jpeg"], "cpu")
    rows = read_table(tmp_path / "d.parquet").to_pylist()
    names = {row["quality"] for row in rows}
    assert names == {f"raw+noise{n}" for n in (2, 5, 10, 20, 30)} | {f"raw+jpeg{n}" for n in (90, 70, 50, 30, 10)}
    assert {row["split"] for row in rows} == {"test"}
    assert len(rows) == 10 * 2 * 2 * 2  # levels, people, videos, frames
    logits = {(row["quality"], row["video_id"], row["frame_index"]): row["logit"] for row in rows}
    assert len(set(logits.values())) > 60
    row = next(row for row in own_data.index_rows if row["split"] == "test" and row["quality"] == "raw")
    image = perturb(own_data.images[row["video_id"], "raw", row["frame_index"]], "jpeg", 30, 0)
    with torch.inference_mode():
        detector = load_checkpoint(checkpoint, torch.device("cpu")).detector
        wanted = detector(torch.from_numpy(image.copy()).permute(2, 0, 1)[None]).item()
    assert logits["raw+jpeg30", row["video_id"], row["frame_index"]] == pytest.approx(wanted, abs=1e-4)


def test_a_clip_without_frames_is_a_row_at_every_level(own_data, tmp_path):
    """Unscored clips are errors; left out, frames would seem easier to judge after a perturbation than before."""
    lost = next(row["video_id"] for row in own_data.index_rows if row["split"] == "test")
    write_table([row for row in own_data.index_rows if row["video_id"] != lost], own_data.index, FRAME_INDEX)
    table = tmp_path / "d.parquet"
    predict_perturbed(own_data.index, own_data.videos, checkpoint_of(tmp_path), table, "raw", ["blur"], "cpu")
    rows = [row for row in read_table(table).to_pylist() if row["video_id"] == lost]
    assert {(row["quality"], row["frame_index"], row["score"]) for row in rows} == {
        (f"raw+blur{level}", -1, 0.5) for level in ("0.5", "1", "1.5", "2", "3")
    }


def test_a_missing_quality_and_an_unknown_perturbation_are_refused(own_data, tmp_path):
    arguments = (own_data.index, own_data.videos, checkpoint_of(tmp_path), tmp_path / "d.parquet")
    with pytest.raises(ConfigError, match="has no test frames of quality c23"):
        predict_perturbed(*arguments, "c23", ["jpeg"], "cpu")
    with pytest.raises(ConfigError, match="unknown perturbation 'rain'; allowed: jpeg, resize, blur"):
        perturb(np.zeros((8, 8, 3), np.uint8), "rain", 1, 0)


def test_another_dataset_prefixes_the_quality_with_its_name(own_data, tmp_path):
    predict(own_data.index, own_data.videos, checkpoint_of(tmp_path), tmp_path / "o.parquet", "cpu", dataset="mesh")
    assert set(read_table(tmp_path / "o.parquet")["quality"].to_pylist()) == {"mesh:raw", "mesh:c40"}


@pytest.fixture
def two_runs(make, tmp_path, monkeypatch):
    """Two project folders whose shards, clips and frames have the same names; the working directory is the first."""
    runs = {}
    for name, stripes in (("own", 18), ("other", 40)):
        data = make(tmp_path / name / "results", people=8, frames=2, stripes=stripes)
        for shard in sorted((tmp_path / name / "results").glob("frames*.parquet")):
            write_table(read_table(shard), shard, FRAMES)  # with its checksum
        rows = []
        for row in data.index_rows:
            shard = Path(row["shard_path"])
            relative = str(shard.relative_to(tmp_path / name))
            rows.append({**row, "shard_path": relative, "shard_checksum": recorded_checksum(shard)})
        manifest = tmp_path / name / "results/manifest"
        manifest.mkdir()
        write_table(rows, manifest / "frames.parquet", FRAME_INDEX)
        write_table(data.video_rows, manifest / "videos.parquet", VIDEOS)
        runs[name] = data
    monkeypatch.chdir(tmp_path / "own")
    return runs


def test_frames_of_another_run_are_its_own_though_this_run_has_the_same_names(two_runs, tmp_path):
    checkpoint, table = checkpoint_of(tmp_path), tmp_path / "o.parquet"
    tables = [Path("../other/results/manifest") / f"{name}.parquet" for name in ("frames", "videos")]
    predict(*tables, checkpoint, table, "cpu", dataset="other")
    rows = read_table(table).to_pylist()
    detector = load_checkpoint(checkpoint, torch.device("cpu")).detector
    for row in rows[::5]:
        key = row["video_id"], row["quality"].removeprefix("other:"), row["frame_index"]
        images = [two_runs[name].images[key] for name in ("other", "own")]
        with torch.inference_mode():
            logits = [detector(torch.from_numpy(one).permute(2, 0, 1)[None]).item() for one in images]
        assert row["logit"] == pytest.approx(logits[0], abs=1e-4)
        if row["label"]:
            assert abs(logits[0] - logits[1]) > 1e-3


def test_shards_of_another_run_that_are_gone_are_not_replaced_by_this_runs(two_runs, tmp_path):
    (tmp_path / "other/results/frames0.parquet").unlink()
    tables = [Path("../other/results/manifest") / f"{name}.parquet" for name in ("frames", "videos")]
    with pytest.raises(
        ConfigError, match=r"1 shards of frames that are not there, or have other content, e\.g\. results/"
    ):
        predict(*tables, checkpoint_of(tmp_path), tmp_path / "o.parquet", "cpu", dataset="other")


def test_a_dataset_of_nobody_but_people_of_the_training_set_is_an_empty_table(own_data, tmp_path, caplog):
    """One of many training sets has them all; the predictions of the others are evaluated all the same."""
    everybody = [{**row, "split": "train"} for row in own_data.video_rows]
    write_table(everybody, tmp_path / "trained.parquet", VIDEOS)
    arguments = (own_data.index, own_data.videos, checkpoint_of(tmp_path), tmp_path / "o.parquet", "cpu")
    predict(*arguments, dataset="mesh", trained_videos=tmp_path / "trained.parquet")
    assert read_table(tmp_path / "o.parquet").num_rows == 0
    assert "mesh has nobody who is not in the training set" in caplog.text
    assert measure_training_set([tmp_path / "o.parquet"], "raw", EvaluationSettings()).metrics == []


def test_people_of_the_training_set_are_excluded_from_another_dataset(own_data, tmp_path, caplog):
    """Two datasets of one collection share people; the detector would be tested on faces it was trained on."""
    trained = [{**row, "split": "train"} for row in own_data.video_rows if row["person_id"] == "p03"]
    write_table(trained, tmp_path / "trained.parquet", VIDEOS)
    arguments = (own_data.index, own_data.videos, checkpoint_of(tmp_path), tmp_path / "o.parquet", "cpu")
    predict(*arguments, dataset="mesh", trained_videos=own_data.videos)
    people = set(read_table(tmp_path / "o.parquet")["person_id"].to_pylist())
    predict(*arguments, dataset="mesh", trained_videos=tmp_path / "trained.parquet")
    assert people - set(read_table(tmp_path / "o.parquet")["person_id"].to_pylist()) == {"p03"}
    assert "1 people of mesh are in the training set under the same id" in caplog.text


def test_drivers_of_a_training_set_by_driver_are_excluded_from_another_dataset(own_data, tmp_path, caplog):
    """Two animators driven by the same clips: the detector by driver would be tested on drivers it was trained on."""
    driven = [
        {**row, "driver_person_id": f"d{int(row['person_id'][1:]) % 3}" if row["label"] else ""}
        for row in own_data.video_rows
    ]
    write_table(driven, tmp_path / "driven.parquet", VIDEOS)
    fake = next(row for row in driven if row["driver_person_id"] == "d0")
    trained = {**fake, "person_id": "else", "split": "train", "split_driver": "train"}
    write_table([trained], tmp_path / "trained.parquet", VIDEOS)
    scored = {}
    for name in ("raw", "raw-by-driver"):
        checkpoint = checkpoint_of(tmp_path, name)
        arguments = (own_data.index, tmp_path / "driven.parquet", checkpoint, tmp_path / "o.parquet", "cpu")
        predict(*arguments, dataset="mesh", trained_videos=tmp_path / "trained.parquet")
        scored[name] = set(read_table(tmp_path / "o.parquet")["video_id"].to_pylist())
    drivers = {row["video_id"]: row["driver_person_id"] for row in driven}
    assert {drivers[name] for name in scored["raw"]} == {"", "d0", "d1", "d2"}
    assert scored["raw"] - scored["raw-by-driver"] == {name for name in scored["raw"] if drivers[name] == "d0"}
    assert "1 drivers of mesh are in the training set under the same id" in caplog.text
