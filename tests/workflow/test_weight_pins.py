"""Weights without a pinned sha256: the lines that pin them, and what a pin finds."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deepfakemnist.config.animator import AnimatorSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.checksums import file_facts
from deepfakemnist.workflow.input_files import InputFiles
from deepfakemnist.workflow.weight_pins import FILE, check_weight_pins


def pins(root: Path, **settings: object) -> str:
    files = InputFiles(root / "results")
    return check_weight_pins(AnimatorSettings(weights=root / "w.pth", **settings), files, root / "results")


def test_the_lines_of_the_file_pin_the_weights_and_flipped_bytes_are_found(tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"weights" * 999)
    said = pins(tmp_path)
    lines = yaml.safe_load((tmp_path / "results" / FILE).read_text())
    assert lines == {"animator": {"weights": str(weights), "weights_sha256": file_facts(weights).sha256}}
    assert said.endswith(file_facts(weights).sha256) and f"copy {tmp_path / 'results' / FILE}" in said
    assert pins(tmp_path) == said  # and once more, from the cache
    pinned = {"weights_sha256": lines["animator"]["weights_sha256"]}
    assert pins(tmp_path, **pinned) == ""
    data = bytearray(weights.read_bytes())
    data[777] ^= 4
    weights.write_bytes(data)
    with pytest.raises(ConfigError, match=r"w\.pth has sha256 .*but animator\.weights_sha256 is"):
        pins(tmp_path, **pinned)


def test_runs_without_weights_have_nothing_to_pin(tmp_path: Path) -> None:
    assert check_weight_pins(AnimatorSettings(), InputFiles(tmp_path), tmp_path) == ""
    assert pins(tmp_path) == ""  # a missing file is reported elsewhere
    assert not list(tmp_path.iterdir())
