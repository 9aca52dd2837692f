"""Weights without a pinned sha256: the lines that pin them, and what a pin finds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tiny_project import ROOT

from deepfakemnist.animate.liveportrait.checkpoint import weights_sha256
from deepfakemnist.config.animators.liveportrait import FILES
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.config.load import load_config
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.checksums import file_facts
from deepfakemnist.workflow.input_files import InputFiles
from deepfakemnist.workflow.weight_pins import FILE, check_weight_files, check_weight_pins


def pins(root: Path, **settings: object) -> str:
    files = InputFiles(root / "results")
    return check_weight_pins([animator_settings(weights=root / "w.pth", **settings)], files, root / "results")


def test_the_lines_of_the_file_pin_the_weights_and_flipped_bytes_are_found(tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"weights" * 999)
    said = pins(tmp_path)
    lines = yaml.safe_load((tmp_path / "results" / FILE).read_text())
    assert lines == {"animator": {"weights": str(weights), "weights_sha256": file_facts(weights).sha256}}
    assert (
        f"weights_sha256: {file_facts(weights).sha256} of fomm" in said
        and f"copy {tmp_path / 'results' / FILE}" in said
    )
    assert pins(tmp_path) == said  # and once more, from the cache
    pinned = {"weights_sha256": lines["animator"]["weights_sha256"]}
    assert pins(tmp_path, **pinned) == ""
    data = bytearray(weights.read_bytes())
    data[777] ^= 4
    weights.write_bytes(data)
    with pytest.raises(ConfigError, match=r"w\.pth of animator fomm have sha256 .*but weights_sha256 is"):
        pins(tmp_path, **pinned)


def test_of_several_animators_each_is_pinned_by_its_label(tmp_path: Path) -> None:
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).write_bytes(name.encode() * 999)
    given = [{"weights": tmp_path / "a.pth"}, {"weights": tmp_path / "b.pth", "label": "fomm-b"}, {"name": "mesh"}]
    said = check_weight_pins([animator_settings(one) for one in given], InputFiles(tmp_path / "results"), tmp_path)
    lines = yaml.safe_load((tmp_path / FILE).read_text())["animators"]
    assert [(one["label"], one["weights"]) for one in lines] == [
        ("fomm", str(tmp_path / "a.pth")),
        ("fomm-b", str(tmp_path / "b.pth")),
    ]
    assert all(one["weights_sha256"] in said for one in lines)


def test_weights_of_several_files_have_one_pin(tmp_path: Path) -> None:
    (tmp_path / "w" / "base_models").mkdir(parents=True)
    for name in FILES:
        (tmp_path / "w" / "base_models" / f"{name}.pth").write_bytes(name.encode())
    animator = animator_settings(name="liveportrait", weights=tmp_path / "w")
    check_weight_pins([animator], InputFiles(tmp_path / "results"), tmp_path)
    pin = yaml.safe_load((tmp_path / FILE).read_text())["animator"]
    assert pin == {"weights": str(tmp_path / "w"), "weights_sha256": weights_sha256(tmp_path / "w")}
    pinned = animator_settings(name="liveportrait", **pin)
    assert check_weight_pins([pinned], InputFiles(tmp_path / "results"), tmp_path) == ""
    (tmp_path / "w" / "base_models" / "warping_module.pth").write_bytes(b"other")
    with pytest.raises(ConfigError, match="of animator liveportrait have sha256 .*but weights_sha256 is"):
        check_weight_pins([pinned], InputFiles(tmp_path / "results"), tmp_path)


def test_runs_without_weights_have_nothing_to_pin(tmp_path: Path) -> None:
    assert check_weight_pins([animator_settings()], InputFiles(tmp_path), tmp_path) == ""
    assert pins(tmp_path) == ""  # a missing file is reported elsewhere
    assert not list(tmp_path.iterdir())


def test_all_pinned_weight_files_are_checked_before_any_job(tmp_path: Path) -> None:
    raw = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    for name in ("sources", "drivers"):
        raw[name]["sheet"] = str(tmp_path / f"{name}.tsv")
    files = {name: tmp_path / f"{name}.pth" for name in ("vgg", "lpips", "v2", "v1se", "detector")}
    for path in (*files.values(), tmp_path / "sources.tsv", tmp_path / "drivers.tsv"):
        path.write_bytes(path.name.encode())
    pinned = {name: {"path": str(path), "sha256": file_facts(path).sha256} for name, path in files.items()}
    raw["animator"] = {"name": "fomm", "train": {"vgg19": pinned["vgg"]}}
    raw["reenact"] = {"lpips": pinned["lpips"]}
    networks = {"minifasnet_v2": pinned["v2"], "minifasnet_v1se": pinned["v1se"]}
    raw["liveness"] = {"providers": [{"provider": "local-silent", **networks}], "motions": raw["liveness"]["motions"]}
    raw["training"]["detectors"] = [{"name": "resnet50", "weights": pinned["detector"]}, {"name": "meso4"}]
    config = load_config(raw)
    check_weight_files(config, InputFiles(tmp_path / "results"))
    for path in list(files.values())[:-1]:
        path.write_bytes(b"other")
    files["detector"].unlink()
    with pytest.raises(ConfigError) as raised:
        check_weight_files(config, InputFiles(tmp_path / "results"))
    said = str(raised.value)
    for key in ("animator.train.vgg19", "reenact.lpips", "providers.0.minifasnet_v2", "providers.0.minifasnet_v1se"):
        assert re.search(rf"{key}: \S+ has sha256 \w+, but the config expects \w+", said), key
    assert "training.detectors.0.weights" in said and "detector.pth' is not a file" in said
