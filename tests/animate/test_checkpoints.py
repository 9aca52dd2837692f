"""Shared reader of animator checkpoints: layouts, prefixes, precision, and messages for unusable files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from deepfakemnist.animate import weight_files
from deepfakemnist.animate.checkpoints import load_into, read_bare_state, read_states, write_packed
from deepfakemnist.animate.official_files import OfficialFile
from deepfakemnist.errors import ConfigError

WEIGHT = torch.arange(6.0).reshape(2, 3)
BIAS = torch.tensor([0.5, -2.0])
STATES = {"net": {"weight": WEIGHT, "bias": BIAS}, "head": {"weight": WEIGHT + 1}}
FLAT = {f"{part}.{name}": tensor for part, state in STATES.items() for name, tensor in state.items()}


def pickled(folder: Path, content: object, name: str = "weights.pth.tar") -> Path:
    torch.save(content, folder / name)
    return folder / name


def packed(folder: Path, animator: str = "fomm", half: bool = False) -> Path:
    path = folder / "packed.safetensors"
    write_packed(path, animator, STATES, {"width": 3}, {"steps": 7}, half=half)
    return path


def assert_states(found: dict[str, dict[str, torch.Tensor]]) -> None:
    assert {part: sorted(state) for part, state in found.items()} == {"net": ["bias", "weight"], "head": ["weight"]}
    for part, state in STATES.items():
        for name, tensor in state.items():
            assert found[part][name].dtype == torch.float32
            assert torch.equal(found[part][name], tensor)


def test_every_layout_gives_the_same_states(tmp_path):
    save_file(FLAT, tmp_path / "plain.safetensors")
    save_file({f"module.{name}": tensor for name, tensor in FLAT.items()}, tmp_path / "parallel.safetensors")
    prefixed = {part: {f"module.{name}": tensor for name, tensor in state.items()} for part, state in STATES.items()}
    files = {
        pickled(tmp_path, {**STATES, "optimizer": {"state": {}}, "epoch": 99}): "pickle",
        pickled(tmp_path, prefixed, "parallel.pth"): "pickle",
        pickled(tmp_path, FLAT, "flat.pth"): "pickle",
        tmp_path / "plain.safetensors": "safetensors",
        tmp_path / "parallel.safetensors": "safetensors",
        packed(tmp_path): "packed",
    }
    for path, layout in files.items():
        checkpoint = read_states(path, ["net", "head"])
        assert checkpoint.layout == layout
        assert_states(checkpoint.states)
        assert checkpoint.tensors == 3


def test_a_pickle_tells_what_else_it_holds(tmp_path):
    checkpoint = read_states(pickled(tmp_path, {**STATES, "optimizer": {"state": {}}, "epoch": 99}), ["net"])
    assert list(checkpoint.states) == ["net"]
    assert checkpoint.others == ("head", "optimizer")
    assert checkpoint.facts == {"epoch": 99}


def test_an_optional_network_may_be_missing(tmp_path):
    assert list(read_states(pickled(tmp_path, STATES), ["net"], optional=["head", "avd"]).states) == ["net", "head"]


def test_packed_files_keep_architecture_and_facts(tmp_path):
    checkpoint = read_states(packed(tmp_path, half=True), ["net", "head"], animator="fomm")
    assert (checkpoint.animator, checkpoint.model, checkpoint.facts) == ("fomm", {"width": 3}, {"steps": 7})
    assert checkpoint.stored_as == "float16"
    assert_states(checkpoint.states)
    with pytest.raises(ConfigError, match="are those of tpsmm, not of fomm"):
        read_states(packed(tmp_path, animator="tpsmm"), ["net"], animator="fomm")


def test_the_name_of_a_file_does_not_decide_how_it_is_read(tmp_path):
    save_file(FLAT, tmp_path / "weights.pth.tar")
    assert_states(read_states(tmp_path / "weights.pth.tar", ["net", "head"]).states)
    assert_states(read_states(pickled(tmp_path, STATES, "weights.safetensors"), ["net", "head"]).states)


def test_a_bare_state_dict_is_one_network(tmp_path):
    for path in (pickled(tmp_path, STATES["net"]), tmp_path / "net.safetensors"):
        if path.suffix == ".safetensors":
            save_file(STATES["net"], path)
        assert read_bare_state(path, "net").states["net"].keys() == {"weight", "bias"}
    with pytest.raises(ConfigError, match="not the state dict of net: this file contains net, head"):
        read_bare_state(pickled(tmp_path, STATES), "net")


def test_wrong_files_are_described(tmp_path):
    with pytest.raises(ConfigError, match="do not exist"):
        read_states(tmp_path / "none.pth", ["net"])
    with pytest.raises(ConfigError, match="are a folder, not a file"):
        read_states(tmp_path, ["net"])
    with pytest.raises(ConfigError, match=r"no state_dict 'generator'.*contains layer4\.0, fc\.bias: a ResNet"):
        read_states(pickled(tmp_path, {"layer4.0": BIAS, "fc.bias": BIAS}), ["generator"])
    with pytest.raises(ConfigError, match="contain a list, not a dictionary"):
        read_states(pickled(tmp_path, [BIAS]), ["net"])
    path = tmp_path / "detector.safetensors"
    save_file(FLAT, path, {"deepfakemnist": "{}"})
    with pytest.raises(ConfigError, match="are those of a detector"):
        read_states(path, ["net"])


def test_a_truncated_download_is_compared_with_the_official_size(tmp_path):
    path = pickled(tmp_path, STATES, "vox.pth.tar")
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ConfigError, match=r"official vox.pth.tar has 350,993,469 bytes.*probably incomplete"):
        read_states(path, ["net"], animator="tpsmm")


def test_a_file_of_official_name_and_size_must_have_the_official_digest(tmp_path, monkeypatch):
    path = pickled(tmp_path, STATES, "vox-cpk.pth.tar")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    # The official file is 729 MB and not at hand; another entry of the table serves.
    for digest in ("0" * 64, found):
        known = OfficialFile("fomm", path.name, path.stat().st_size, digest, "a test")
        monkeypatch.setattr(weight_files, "official_file", lambda _, known=known: known)
        if digest == found:
            assert_states(read_states(path, ["net", "head"]).states)
        else:
            with pytest.raises(ConfigError, match=f"but sha256 {found} instead of 0000"):
                read_states(path, ["net"])
            assert_states(read_states(path, ["net", "head"], sha256=found).states)


def test_loading_names_every_kind_of_difference():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    state = module.state_dict()
    state["1.gamma"] = state.pop("1.weight")
    state["0.weight"] = torch.zeros(2, 4)
    with pytest.raises(ConfigError) as error:
        load_into(module, state, "animator weights x.pth, net")
    assert str(error.value) == (
        "animator weights x.pth, net: 1.weight is missing; 1.gamma is not in the model; "
        "0.weight is (2, 4), the model's is (2, 3)"
    )


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_missing_batch_norm_counters_are_zero(device):
    with torch.device(device):
        module = nn.BatchNorm1d(2)
    state = {name: tensor for name, tensor in nn.BatchNorm1d(2).state_dict().items() if "num_batches" not in name}
    state["weight"] = BIAS
    load_into(module, state, "animator weights x.pth, net")
    assert torch.equal(module.weight, BIAS)
    assert module.weight.requires_grad
    assert module.num_batches_tracked == 0
