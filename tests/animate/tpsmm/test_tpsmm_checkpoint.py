"""Checkpoints of the Thin-Plate-Spline Motion Model: layouts that load, and messages for files that do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from deepfakemnist.animate.tpsmm.checkpoint import LICENCE, WEIGHTS, load_checkpoint
from deepfakemnist.animate.tpsmm.network import Architecture, AvdArchitecture, ThinPlateSplineMotionModel
from deepfakemnist.animate.weight_cards import convert_weights, inspect_weights
from deepfakemnist.errors import ConfigError

FOMM = Path(__file__).parents[2] / "data" / "fomm" / "tiny_checkpoint.pth.tar"
PARTS = ("kp_detector", "dense_motion_network", "inpainting_network", "avd_network")


@pytest.fixture
def content(checkpoint) -> dict[str, Any]:
    return torch.load(checkpoint, weights_only=True)


@pytest.fixture
def saved(tmp_path, content) -> Callable[[], Path]:
    """Writes ``content``, as a test has changed it, under the official name."""

    def save() -> Path:
        path = tmp_path / "vox.pth.tar"
        torch.save(content, path)
        return path

    return save


def same(networks: ThinPlateSplineMotionModel, content: dict[str, dict[str, Tensor]]) -> bool:
    return all(
        torch.equal(tensor, content[part][name])
        for part in PARTS
        for name, tensor in getattr(networks, part).state_dict().items()
        if not name.endswith("num_batches_tracked")
    )


def test_sizes_are_read_off_the_tensors(networks):
    assert networks.architecture == Architecture(
        keypoint_width=8,
        block_expansion=8,
        max_features=32,
        dense_block_expansion=8,
        dense_max_features=32,
        dense_num_blocks=3,
        avd=AvdArchitecture((16, 32, 64), 8, 6),
    )
    assert not networks.training


def test_training_leftovers_are_ignored(saved, content):
    """What training adds, the unused background predictor, and counters that old versions of PyTorch did not write."""
    content["bg_predictor"] = {"bg_encoder.conv1.weight": torch.zeros(8, 6, 7, 7)}
    for name in ("optimizer", "optimizer_bg_predictor", "optimizer_avd"):
        content[name] = {"state": {}, "param_groups": [{"lr": 2e-4}]}
    wanted = {part: dict(content[part]) for part in PARTS}
    for part in ("kp_detector", "avd_network"):
        for name in [name for name in content[part] if name.endswith("num_batches_tracked")]:
            del content[part][name]
    assert same(load_checkpoint(saved()), wanted)


def test_weights_of_several_gpus_load(saved, content):
    wanted = {part: dict(content[part]) for part in PARTS}
    for part in PARTS:
        content[part] = {f"module.{name}": tensor for name, tensor in content[part].items()}
    assert same(load_checkpoint(saved()), wanted)


def test_weights_converted_to_safetensors_load(tmp_path, content):
    path = tmp_path / "vox.safetensors"
    save_file({f"{part}.{name}": tensor for part in PARTS for name, tensor in content[part].items()}, path)
    assert same(load_checkpoint(path), content)


def test_weights_packed_by_this_project_load_and_name_their_origin(tmp_path, checkpoint, content):
    path = tmp_path / "packed.safetensors"
    convert_weights(checkpoint, path)
    card = dict(inspect_weights(path).lines())
    assert same(load_checkpoint(path), content)
    assert (card["animator"], card["licence"]) == ("tpsmm: Thin-Plate-Spline Motion Model", LICENCE)
    assert card["facts.converted_from.name"] == "tiny_checkpoint.pth.tar"
    assert card["model.avd.pose_size"] == "6"


def test_without_the_network_for_avd_the_others_load(saved, content):
    del content["avd_network"]
    networks = load_checkpoint(saved())
    assert networks.avd_network is None and networks.architecture.avd is None
    assert WEIGHTS.model(WEIGHTS.read(saved()))["avd"] is None


def test_another_digest_than_the_expected_one_is_refused(checkpoint):
    with pytest.raises(ConfigError, match=f"but the config expects {'0' * 64}"):
        load_checkpoint(checkpoint, "0" * 64)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (None, "do not exist"),
        (b"", "is empty"),
        (b"<!DOCTYPE html><title>Google Drive - Virus scan warning</title>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:52ad\nsize 350993469\n", "Git-LFS pointer"),
        (b"PK\x03\x04" * 1000, "damaged, incomplete"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_described(tmp_path, written, message):
    path = tmp_path / "vox.pth.tar"
    if written is not None:
        path.write_bytes(written)
    with pytest.raises(ConfigError, match=message) as error:
        load_checkpoint(path)
    assert str(path) in str(error.value) and "350,993,469 bytes" in str(error.value)


def test_a_truncated_checkpoint_is_told_from_the_whole(tmp_path, checkpoint):
    path = tmp_path / "vox.pth.tar"
    path.write_bytes(checkpoint.read_bytes()[:1_000_000])
    with pytest.raises(ConfigError, match=r"1,000,000 bytes\): damaged, incomplete.*probably incomplete"):
        load_checkpoint(path)


def test_weights_of_another_animator_are_named():
    with pytest.raises(ConfigError, match=r"no state_dict 'dense_motion_network'.*First Order Motion Model \(fomm\)"):
        load_checkpoint(FOMM)


def rename(content: dict[str, Any]) -> None:
    content["kp_detector"]["encoder.fc.bias"] = content["kp_detector"].pop("fg_encoder.fc.bias")


def drop_bias(content: dict[str, Any]) -> None:
    del content["inpainting_network"]["resblock.3.conv1.bias"]


def cut_network(content: dict[str, Any]) -> None:
    content["dense_motion_network"] = {"maps.weight": torch.zeros(11, 92, 7, 7)}


def narrow(content: dict[str, Any]) -> None:
    content["dense_motion_network"]["maps.weight"] = torch.zeros(11, 90, 7, 7)


def single_occlusion(content: dict[str, Any]) -> None:
    """As ``multi_mask: false`` has it."""
    dense = content["dense_motion_network"]
    for name in [name for name in dense if name.startswith(("occlusion.", "up."))]:
        del dense[name]
    dense |= {"occlusion.weight": torch.zeros(1, 92, 7, 7), "occlusion.bias": torch.zeros(1)}


def odd_points(content: dict[str, Any]) -> None:
    content["kp_detector"]["fg_encoder.fc.bias"] = torch.zeros(98)


def broken_avd(content: dict[str, Any]) -> None:
    content["avd_network"] = {"decoder.0.weight": torch.zeros(64, 14)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename, r"do not have the tensors of the Thin-Plate.*without kp_detector\.fg_encoder\.fc\.bias"),
        (drop_bias, r"inpainting_network: resblock\.3\.conv1\.bias is missing"),
        (cut_network, r"without .*dense_motion_network\.hourglass\.encoder\.down_blocks\.0\.conv\.weight"),
        (narrow, r"dense_motion_network: maps\.weight is \(11, 90, 7, 7\), the model's is \(11, 92, 7, 7\)"),
        (single_occlusion, r"do not give an occlusion map for every level"),
        (odd_points, r"98 outputs, which are no whole number of splines of 5 points"),
        (broken_avd, r"without avd_network\.id_encoder\.0\.bias"),
    ],
)
def test_tensors_that_do_not_fit_are_named(saved, content, change, message):
    change(content)
    with pytest.raises(ConfigError, match=message):
        load_checkpoint(saved())
