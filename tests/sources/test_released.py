"""Released DeepFakeMnist+ adapter: clips, refused files with reasons, and allowed settings."""

from pathlib import Path

import pytest
import yaml

from deepfakemnist.config.load import load_config
from deepfakemnist.config.stages import SourceSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.sources.released import read_released
from deepfakemnist.workflow.run_plan import RunPlan

SHIPPED = Path(__file__).parents[2] / "config/config.yaml"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two reals and three fakes; the files are empty, because nothing opens them."""
    for name in ("real_dataset/selected_train/id1#a", "real_dataset/selected_val/id2#b"):
        touch(tmp_path / f"DFMNIST+/{name}.mp4")
    for name in ("nod/1", "nod/12", "embarrass/3"):
        touch(tmp_path / f"DFMNIST+/fake_dataset/{name}.mp4")
    return tmp_path / "DFMNIST+"


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def raw(tree: Path, **parts: dict) -> dict:
    config = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    config["sources"] |= {"sheet": None, "released": str(tree)}
    for name, values in parts.items():
        config[name] |= values
    return config


def refused(tree: Path, **settings: str) -> dict[str, tuple[str, str]]:
    sheets = read_released(SourceSettings(released=tree, **settings))
    return {row["video_id"]: (row["kind"], row["reason"]) for sheet in sheets.values() for row in sheet.refused}


def test_the_shipped_config_needs_nothing_but_the_tree(tree: Path) -> None:
    run_plan = RunPlan(load_config({**raw(tree), "shard_size": 1}))
    assert run_plan.shards("source") == ["id1#a", "id2#b"] and run_plan.shards("driver") == []
    assert run_plan.fake_shards() == run_plan.shards("fake") == ["embarrassment-3", "nod-1", "nod-12"]
    assert run_plan.files("fake", "nod-12") == [str(tree / "fake_dataset/nod/12.mp4")]
    assert run_plan.split_of() == {"id1#a": "train", "id2#b": "val"}
    assert run_plan.refused() == []


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("sources", {"sheet": "sources.tsv"}, r"not \['sheet', 'released'\]"),
        ("sources", {"cropped": True}, "cropped and select do not apply to released"),
        ("sources", {"select": {"videos": 3}}, "cropped and select do not apply to released"),
        ("plan", {"quota": 2}, "plan.quota and plan.reals: of_fakes apply to fakes made by the run"),
        ("plan", {"reals": "of_fakes"}, "set quota: null and reals: all"),
    ],
)
def test_settings_of_skipped_stages_are_errors(tree: Path, part: str, values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(raw(tree, **{part: values}))


def test_other_trees_are_errors(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none of the known layouts"):
        read_released(SourceSettings(released=tmp_path / "nowhere"))
    (tmp_path / "ff/original_sequences").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"is not a tree of real_dataset.*with deepfakemnist import"):
        read_released(SourceSettings(released=tmp_path / "ff"))
    for path in tree.glob("fake_dataset/*/*"):
        path.unlink()
    with pytest.raises(ConfigError, match=r"contains no fake \.mp4"):
        read_released(SourceSettings(released=tree))


def test_an_invalid_name_is_an_error_or_a_refused_row(tree: Path) -> None:
    touch(tree / "fake_dataset/nod/1 (copy).mp4")
    with pytest.raises(ConfigError, match=r"1 \(copy\).*is not allowed"):
        read_released(SourceSettings(released=tree))
    assert refused(tree, on_bad_row="row") == {"fake_dataset/nod/1 (copy).mp4": ("fake", "bad_name")}


def test_duplicates_and_misplaced_files_are_refused(tree: Path) -> None:
    for name in ("real_dataset/selected_test/id1#a.mp4", "real_dataset/id9#z.mp4", "fake_dataset/nod/7.avi", "x.mp4"):
        touch(tree / name)
    assert refused(tree) == {
        "real_dataset/selected_test/id1#a.mp4": ("source", "duplicate_id"),
        "real_dataset/id9#z.mp4": ("source", "outside_the_layout"),
        "fake_dataset/nod/7.avi": ("fake", "outside_the_layout"),
        "x.mp4": ("source", "outside_the_layout"),
    }


def test_exclusions_do_not_change_the_split_of_others(tree: Path, tmp_path: Path) -> None:
    for number in range(13, 20):
        touch(tree / f"fake_dataset/nod/{number}.mp4")
    (tmp_path / "exclude.tsv").write_text("video_id\tperson_id\nnod-1\t\n\tid2\n")
    whole = read_released(SourceSettings(released=tree))["fake"].rows
    sheets = read_released(SourceSettings(released=tree, exclude=tmp_path / "exclude.tsv"))
    assert sheets["fake"].rows == [row for row in whole if row["video_id"] != "nod-1"]
    assert {row["split"] for row in whole if row["action"] == "nod"} == {"train", "val", "test"}
    assert [(row["video_id"], row["reason"]) for row in sheets["real"].refused] == [("id2#b", "excluded")]
