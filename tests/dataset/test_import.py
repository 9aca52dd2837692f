"""Import of released datasets into the manifest format of the project's own runs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from small_dataset import clip, make_dataset

from deepfakemnist.cli.import_ import add_arguments, run
from deepfakemnist.config.dataset import FrameSettings, Quality, ReleaseSettings
from deepfakemnist.config.detectors import DetectorTraining, EvaluationSettings
from deepfakemnist.dataset.check import check_dataset
from deepfakemnist.dataset.imports import import_dataset
from deepfakemnist.dataset.release import write_release
from deepfakemnist.errors import ConfigError
from deepfakemnist.evaluation.stage import evaluate
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.tsv import read_tsv
from deepfakemnist.training.loop import train_detector
from deepfakemnist.training.predict import predict

STILLS = FrameSettings(per_clip=2)


def write(path: Path, seed: int) -> None:
    write_working_clip(path, clip(seed, frames=4, side=32), 25)


def ffpp(root: Path) -> Path:
    """Six originals at two qualities, and fakes of the pairs 000/003 and 001/002 in both directions."""
    for quality in ("c0", "c23"):
        for number in range(6):
            write(
                root / f"original_sequences/youtube/{quality}/videos/{number:03d}.mp4", number + 10 * (quality == "c0")
            )
        for at, name in enumerate(("000_003", "003_000", "001_002", "002_001")):
            seed = 100 + at + 10 * (quality == "c0")
            write(root / f"manipulated_sequences/Face2Face/{quality}/videos/{name}.mp4", seed)
    return root


def manifest(folder: Path, name: str = "videos") -> list[dict]:
    return read_rows(folder / f"{name}.parquet")


def test_a_faceforensics_tree_is_imported(tmp_path: Path) -> None:
    tree = ffpp(tmp_path / "ff")
    broken = tree / "original_sequences/youtube/c23/videos/005.mp4"
    broken.write_bytes(broken.read_bytes()[:-200])
    out = import_dataset(tree, tmp_path / "out", STILLS, seed=1, folds=2)
    rows = {(row["video_id"], row["quality"]): row for row in manifest(out)}
    assert len(rows) == 19
    fake = rows["Face2Face-000_003", "raw"]
    assert (fake["label"], fake["action"], fake["source_id"], fake["driver_id"]) == (1, "Face2Face", "000", "003")
    assert (fake["frames"], fake["width"], fake["synthetic"]) == (4, 32, True)
    assert fake["encoder_version"].startswith("x264 - core")
    for group in (("000", "003"), ("001", "002")):
        assert len({row["split"] for row in rows.values() if row["person_id"] in group}) == 1
    assert all(pair["complete"] for pair in manifest(out, "pairs"))
    assert len(manifest(out, "frames")) == 2 * 19
    ledger = {row["video_id"]: row for row in manifest(out, "ledger")}
    assert (ledger["005"]["status"], ledger["005"]["stage"], ledger["005"]["kind"]) == ("failed", "import", "source")
    assert [problem.kind for problem in check_dataset(out, decode=True)] == ["extra"]
    assert ledger["Face2Face-000_003"]["status"] == "ok"


def test_published_splits_are_kept(tmp_path: Path) -> None:
    tree = ffpp(tmp_path / "ff")
    (tree / "splits").mkdir()
    lists = {"train": [["000", "003"]], "val": [["001", "002"]], "test": [["004", "005"]]}
    for name, pairs in lists.items():
        (tree / f"splits/{name}.json").write_text(json.dumps(pairs))
    split = {row["person_id"]: row["split"] for row in manifest(import_dataset(tree, tmp_path / "out", STILLS))}
    assert split == {"000": "train", "003": "train", "001": "val", "002": "val", "004": "test", "005": "test"}
    (tree / "splits/test.json").write_text("[[")
    with pytest.raises(ConfigError, match=r"test.json: is not a JSON list of pairs"):
        import_dataset(tree, tmp_path / "again", STILLS)


def test_the_authors_tree_keeps_its_splits_and_actions(tmp_path: Path) -> None:
    tree = tmp_path / "DFMNIST+"
    for split, name in (("train", "id1#a#1#2"), ("val", "id2#a#1#2"), ("test", "id3#a#1#2")):
        write(tree / f"real_dataset/selected_{split}/{name}.mp4", len(name) + ord(name[2]))
    for number in range(10):
        write(tree / f"fake_dataset/surpise/{1000 * number}.mp4", 200 + number)
    out = import_dataset(tree, tmp_path / "out", STILLS)
    rows = {row["video_id"]: row for row in manifest(out)}
    assert rows["id2#a#1#2"]["person_id"] == "id2" and rows["id2#a#1#2"]["split"] == "val"
    fakes = [rows[f"surprise-{1000 * number}"] for number in range(10)]
    assert {row["action"] for row in fakes} == {"surprise"}
    assert [row["split"] for row in fakes] == ["train"] * 7 + ["val"] * 2 + ["test"]
    assert not any(pair["complete"] for pair in manifest(out, "pairs"))


@pytest.mark.slow
def test_a_detector_is_evaluated_on_an_imported_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cross-dataset evaluation: a prediction for every val and test frame of the tree, under the tree's name."""
    own, predictions = make_dataset(tmp_path), tmp_path / "predictions.parquet"
    monkeypatch.chdir(tmp_path)  # the manifest's paths are relative to it
    tables = (own / "frames.parquet", own / "videos.parquet")
    settings = DetectorTraining(name="meso4", image_size=64, epochs=1, batch_size=4)
    train_detector(*tables, tmp_path / "checkpoint", tmp_path / "history.tsv", settings, "c23", 0, device="cpu")
    other = import_dataset(ffpp(tmp_path / "ff"), tmp_path / "out", STILLS, seed=1)
    where = (other / "frames.parquet", other / "videos.parquet", tmp_path / "checkpoint", predictions)
    predict(*where, device="cpu", dataset="ffpp", trained_videos=own / "videos.parquet")
    expected = {
        (row["video_id"], f"ffpp:{row['quality']}", row["frame_index"], row["label"])
        for row in manifest(other, "frames")
        if row["split"] != "train"
    }
    rows = read_rows(predictions)
    assert {(row["video_id"], row["quality"], row["frame_index"], row["label"]) for row in rows} == expected
    assert len(rows) == len(expected) and {row["label"] for row in rows} == {0, 1}
    assert all(0 < row["score"] < 1 for row in rows)
    out = [tmp_path / f"{name}.tsv" for name in ("metrics", "actions", "pairs")]
    evaluate([predictions], *out, EvaluationSettings())
    assert {row["tested_on"] for row in read_tsv(out[0])} == {"ffpp:raw", "ffpp:c23"}
    assert {row["action"] for row in read_tsv(out[1])} == {"Face2Face"}


def test_excluded_people_are_not_imported(tmp_path: Path) -> None:
    tree = ffpp(tmp_path / "ff")
    (tmp_path / "exclude.tsv").write_text("video_id\treason\n003\tasked to be left out\n")
    out = import_dataset(tree, tmp_path / "out", STILLS, seed=1, exclude=tmp_path / "exclude.tsv")
    kept = {row["video_id"] for row in manifest(out)}
    assert kept == {"000", "001", "002", "004", "005", "Face2Face-001_002", "Face2Face-002_001"}
    reasons = {row["video_id"]: row["reason"] for row in manifest(out, "ledger") if row["status"] != "ok"}
    assert reasons == dict.fromkeys(("003", "Face2Face-000_003", "Face2Face-003_000"), "excluded")


def test_file_names_that_name_the_pair_are_parsed(tmp_path: Path) -> None:
    tree = tmp_path / "c23"
    write(tree / "real_dataset/selected_val/id2#a.mp4", 1)
    write(tree / "fake_dataset/nod/id2#a@d1.mp4", 2)
    (pair,) = manifest(import_dataset(tree, tmp_path / "out", STILLS), "pairs")
    assert (pair["real_id"], pair["driver_id"], pair["split"], pair["complete"]) == ("id2#a", "d1", "val", True)


@pytest.mark.slow
def test_a_release_of_this_project_round_trips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"c23": Quality(crf=23, preset="ultrafast")}
    made = make_dataset(tmp_path / "run", people=3, qualities={"real": one, "fake": one})
    monkeypatch.chdir(tmp_path / "run")
    released = write_release(made, tmp_path / "release", ReleaseSettings())
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert run(parser.parse_args([str(released), str(tmp_path / "out"), "--frames", "3", "--jobs", "1"])) == 0
    before, after = manifest(made), manifest(tmp_path / "out/manifest")
    assert [{**row, "path": ""} for row in after] == [{**row, "path": ""} for row in before]
    assert check_dataset(tmp_path / "out/manifest") == []


def test_unknown_and_empty_trees_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none of the known layouts. Looked for manifest/videos.parquet"):
        import_dataset(tmp_path, tmp_path / "out", STILLS)
    (tmp_path / "real_dataset").mkdir()
    with pytest.raises(ConfigError, match=r"looks like dfmnist, but contains no \.mp4"):
        import_dataset(tmp_path, tmp_path / "out", STILLS)
    (tmp_path / "ff/original_sequences/youtube/c23/videos").mkdir(parents=True)
    (tmp_path / "ff/original_sequences/youtube/c23/videos/odd name.mp4").touch()
    with pytest.raises(ConfigError, match=r"expected names like 000\.mp4 and 000_003\.mp4"):
        import_dataset(tmp_path / "ff", tmp_path / "out", STILLS)
