"""Registry of animators: their files, and the weights that each needs or refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfakemnist.animate.registry import load_animator, weight_formats
from deepfakemnist.config.animators.registry import animator_names, animator_settings
from deepfakemnist.errors import ConfigError


def test_animators_are_registered_by_their_files() -> None:
    assert animator_names() == ["fomm", "liveportrait", "mesh", "rendered", "tpsmm"]
    assert load_animator(animator_settings(), None).info.name == "mesh"


def test_weights_are_refused_or_needed_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mesh takes no weights, but animator\.weights is .*; set it to null"):
        load_animator(animator_settings(name="mesh"), tmp_path / "weights")
    with pytest.raises(ConfigError, match=r"fomm needs animator\.weights"):
        load_animator(animator_settings(name="fomm"), None)


def test_every_animator_with_weights_describes_them() -> None:
    """For the commands ``animator inspect`` and ``convert``."""
    assert sorted(weight_formats()) == ["fomm", "liveportrait", "tpsmm"]
