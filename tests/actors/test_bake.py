"""Baking of the head bank: sampled people, derived landmarks and occlusion, OBJ parsing."""

import importlib.util

import numpy as np
import pytest

from deepfakemnist.actors.bake import _occlusion, _read_obj, _sample_person, main
from deepfakemnist.actors.bank import ADULT_AGE
from deepfakemnist.actors.landmarks import find_landmarks
from deepfakemnist.errors import ConfigError


@pytest.mark.skipif(importlib.util.find_spec("anny") is not None, reason="anny is installed")
def test_baking_without_anny_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["bake", str(tmp_path / "bank.npz")])
    with pytest.raises(ConfigError, match=r"baking needs the package anny \(pip install anny==0\.6\.2\)"):
        main()
    assert not list(tmp_path.iterdir())


def test_landmarks_and_occlusion_of_the_committed_bank_follow_from_its_mesh(bank):
    """Recompute them from the stored mesh, whose actions have half precision."""
    assert find_landmarks(bank.template, bank.faces, bank.part, bank.actions, list(bank.action_names)) == bank.landmarks
    again = _occlusion(bank.template, bank.faces).astype(int)
    difference = np.abs(again - np.round(bank.occlusion * 255))
    assert np.mean(difference <= 2) > 0.99


def test_sampled_people_are_adult_and_nearly_symmetric():
    shapes = ["nose-scale-incr", "l-ear-scale-incr", "r-ear-scale-incr"]
    people = [_sample_person(index, np.random.default_rng([7, index]), shapes) for index in range(300)]
    ages = np.array([person["phenotype"]["age"] for person in people])
    assert ages.min() > ADULT_AGE and ages.max() <= 1 and np.ptp(ages) > 0.15
    for index, person in enumerate(people):
        assert (person["phenotype"]["gender"] > 0.5) == (person["sex"] == "female") == (index % 2 == 1)
        assert sum(person["ancestry"]) == pytest.approx(1, abs=0.01)
        assert set(person["shapes"]) == set(shapes)
        assert abs(person["shapes"]["l-ear-scale-incr"] - person["shapes"]["r-ear-scale-incr"]) < 0.1
    assert people[5] == _sample_person(5, np.random.default_rng([7, 5]), shapes)


def test_polygons_of_an_obj_file_become_triangles_with_their_group(tmp_path):
    path = tmp_path / "base.obj"
    path.write_text("v 0 0 0\nvt 0 0\nvt 1 0.5\ng body\nf 1/1 2/2 3/1 4/2\ng joint\nf 4 3 2\n")
    groups, faces, corners, uv = _read_obj(path)
    assert groups.tolist() == ["body", "body", "joint"]
    assert faces.tolist() == [[0, 1, 2], [0, 2, 3], [3, 2, 1]]
    assert corners.tolist() == [[0, 1, 0], [0, 0, 1], [-1, -1, -1]]
    assert uv.tolist() == [[0, 0], [1, 0.5]]
