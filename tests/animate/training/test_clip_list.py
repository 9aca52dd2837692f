"""A trained animator is kept while its settings are the same and the run may use what it was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepfakemnist.animate.training.clip_list import CLIP_LIST_SHA256, ClipList, is_trained, list_sha256, listed_clip
from deepfakemnist.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a finished training leaves, without its networks."""
    for name in "ab":
        (tmp_path / f"{name}.mp4").write_text(name)
    clips = [listed_clip(name, f"person-{name}", str(tmp_path / f"{name}.mp4")) for name in "ab"]
    ClipList("settings", clips).save(tmp_path / "clips.json")
    (tmp_path / "training.json").write_text(json.dumps({CLIP_LIST_SHA256: list_sha256(tmp_path / "clips.json")}))
    (tmp_path / "checkpoint.safetensors").write_text("weights")
    return tmp_path


def test_a_training_is_kept_when_videos_are_added_or_made_again(folder):
    assert is_trained(folder, "settings", {"a", "b"})
    (folder / "a.mp4").write_text("another crop")
    assert is_trained(folder, "settings", {"a", "b", "added"}) and is_trained(folder, "settings", None)


def test_a_training_is_not_kept_for_other_settings_or_without_one_of_its_videos(folder):
    assert not is_trained(folder, "other", {"a", "b"})
    assert not is_trained(folder, "settings", {"a", "added"})


@pytest.mark.parametrize("name", ["clips.json", "training.json", "checkpoint.safetensors"])
def test_a_training_of_which_a_file_is_missing_or_damaged_is_not_kept(folder, name):
    if name.endswith(".json"):
        (folder / name).write_text("{")
        assert not is_trained(folder, "settings", None)
    (folder / name).unlink()
    assert not is_trained(folder, "settings", None)


def test_weights_of_an_earlier_list_are_not_kept(folder):
    """A run killed between the choice of clips and the training leaves them."""
    ClipList("settings", ClipList.load(folder / "clips.json").clips[:1]).save(folder / "clips.json")
    assert not is_trained(folder, "settings", None)


def test_a_clip_that_changed_after_it_was_chosen_stops_the_training(folder):
    chosen = ClipList.load(folder / "clips.json")
    chosen.check_files()
    (folder / "b.mp4").write_text("another crop")
    with pytest.raises(ConfigError, match=r"1 of 2 training clips .*b\.mp4\. Run the same command again"):
        chosen.check_files()
