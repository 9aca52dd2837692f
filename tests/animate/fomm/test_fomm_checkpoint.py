"""FOMM checkpoints: round trips, and messages for files that are no such checkpoint."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from deepfakemnist.animate.fomm.checkpoint import load_checkpoint, read_facts, save_checkpoint
from deepfakemnist.animate.fomm.network import FirstOrderMotionModel
from deepfakemnist.animate.official_files import official_file
from deepfakemnist.errors import ConfigError

PARTS = ("generator", "kp_detector")


class WritesAFile:
    """A pickle that runs code when loaded unsafely."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def tar_of(path: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(path, arcname=path.name)
    return buffer.getvalue()


def tensors(path: Path) -> dict[str, np.ndarray]:
    content = torch.load(path, weights_only=True)
    return {f"{part}.{k}": v.numpy() for part in PARTS for k, v in content[part].items()}


def test_the_error_describes_the_missing_file(tmp_path, tiny_model):
    with pytest.raises(ConfigError) as error:
        load_checkpoint(tmp_path / "vox-cpk.pth.tar", tiny_model)
    for part in (
        "do not exist",
        "728,766,691",
        official_file(Path("vox-cpk.pth.tar")).sha256,
        "third party",
        "not a tar",
        "animator.weights to null",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abb41\nsize 728766691\n", "Git-LFS pointer"),
        (b"\n<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title>", "web page"),
        (b"", "is empty"),
        (b"\x00\x01 no pickle" * 50, "damaged, incomplete or not a PyTorch checkpoint"),
    ],
)
def test_common_mix_ups_are_recognised(tmp_path, tiny_model, content, message):
    path = tmp_path / "vox-cpk.pth.tar"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as error:
        load_checkpoint(path, tiny_model)
    assert str(path) in str(error.value)
    assert "728,766,691" in str(error.value)


def test_an_archive_of_a_checkpoint_is_recognised(tmp_path, tiny_model, tiny_checkpoint):
    path = tmp_path / "packed.tar"
    path.write_bytes(tar_of(tiny_checkpoint))
    with pytest.raises(ConfigError, match="tar or gzip archive"):
        load_checkpoint(path, tiny_model)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_recognised(tmp_path, tiny_model, tiny_checkpoint, zipped):
    path = tmp_path / "cut.pth.tar"
    content = torch.load(tiny_checkpoint, weights_only=True)
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ConfigError, match=r"100,000 bytes\): damaged, incomplete"):
        load_checkpoint(path, tiny_model)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, tiny_model):
    path, trace = tmp_path / "evil.pth.tar", tmp_path / "ran"
    torch.save({"generator": WritesAFile(trace)}, path)
    with pytest.raises(ConfigError, match="could execute code, so the file is refused") as error:
        load_checkpoint(path, tiny_model)
    assert not trace.exists()
    assert "weights_only=False" not in str(error.value)


def test_sha256_is_checked(tiny_checkpoint, tiny_model):
    right = hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()
    load_checkpoint(tiny_checkpoint, tiny_model, sha256=right)
    with pytest.raises(ConfigError, match=f"have sha256 {right}, but the config expects {'0' * 64}"):
        load_checkpoint(tiny_checkpoint, tiny_model, sha256="0" * 64)


def test_every_differing_setting_of_the_architecture_is_named(tiny_checkpoint, tiny_model):
    dense = tiny_model.generator.dense_motion.model_copy(update={"block_expansion": 16, "scale_factor": 0.5})
    generator = tiny_model.generator.model_copy(update={"num_bottleneck_blocks": 6, "dense_motion": dense})
    keypoints = tiny_model.keypoints.model_copy(update={"num_blocks": 4})
    other = tiny_model.model_copy(update={"num_kp": 10, "generator": generator, "keypoints": keypoints})
    with pytest.raises(ConfigError) as error:
        load_checkpoint(tiny_checkpoint, other)
    message = str(error.value)
    for setting in (
        "animator.model.num_kp is 10 in the config but 5 in the weights",
        "keypoints.num_blocks is 4 in the config but 3 in the weights",
        "generator.num_bottleneck_blocks is 6 in the config but 2 in the weights",
        "generator.dense_motion.block_expansion is 16 in the config but 8 in the weights",
        "generator.dense_motion.scale_factor is 0.5 in the config but 0.25 in the weights",
    ):
        assert setting in message
    assert "num_down_blocks" not in message
    assert "generator.bottleneck.r2.conv1.weight is missing" in message
    assert message.endswith(" more")


def test_missing_and_unknown_tensors_are_named(tmp_path, tiny_checkpoint, tiny_model):
    content = torch.load(tiny_checkpoint, weights_only=True)
    content["kp_detector"]["extra"] = content["kp_detector"].pop("kp.bias")
    path = tmp_path / "odd.pth.tar"
    torch.save(content, path)
    with pytest.raises(ConfigError, match=r"kp_detector\.kp\.bias is missing; kp_detector\.extra is not in the model"):
        load_checkpoint(path, tiny_model)


def test_other_dictionaries_are_refused(tmp_path, tiny_model):
    path = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(ConfigError, match=r"no state_dict 'generator'.*this file contains conv1\.weight"):
        load_checkpoint(path, tiny_model)


def test_the_official_layout_in_a_legacy_pickle_loads(tmp_path, tiny_checkpoint, tiny_model):
    """As written by torch 1.0: no zip, with discriminator and optimizer states besides the networks."""
    content = torch.load(tiny_checkpoint, weights_only=True)
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.Adam([weight], betas=(0.5, 0.999))
    weight.sum().backward()
    optimizer.step()
    path = tmp_path / "legacy.pth.tar"
    others = {f"optimizer_{name}": optimizer.state_dict() for name in ("generator", "discriminator", "kp_detector")}
    torch.save(
        {**content, "discriminator": {"conv.weight": torch.ones(2, 2)}, **others, "epoch": 99},
        path,
        _use_new_zipfile_serialization=False,
    )
    assert not path.read_bytes().startswith(b"PK")
    networks = load_checkpoint(path, tiny_model)
    for part in PARTS:
        for name, tensor in getattr(networks, part).state_dict().items():
            np.testing.assert_array_equal(tensor, content[part][name])
    assert not networks.training


def test_a_saved_checkpoint_loads_again(tmp_path, tiny_checkpoint, tiny_model):
    path = tmp_path / "new" / "saved.pth.tar"
    save_checkpoint(path, load_checkpoint(tiny_checkpoint, tiny_model), {"steps": 7})
    assert torch.load(path, weights_only=True)["epoch"] == 7
    before, after = tensors(tiny_checkpoint), tensors(path)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    load_checkpoint(path, tiny_model)


def test_a_setting_without_a_tensor_is_checked_too(tmp_path, tiny_checkpoint, tiny_model):
    path = tmp_path / "saved.pth.tar"
    save_checkpoint(path, load_checkpoint(tiny_checkpoint, tiny_model), {})
    skip = tiny_model.generator.model_copy(update={"full_resolution_skip": True})
    with pytest.raises(ConfigError, match="full_resolution_skip is True in the config but False in the weights"):
        load_checkpoint(path, tiny_model.model_copy(update={"generator": skip}))


def test_a_failed_save_keeps_the_old_file(tmp_path, tiny_model):
    path = tmp_path / "weights.pth.tar"
    path.write_bytes(b"old")
    with torch.device("meta"):
        networks = FirstOrderMotionModel(tiny_model)
    with pytest.raises(NotImplementedError):  # torch: tensors on the meta device have no data to copy
        save_checkpoint(path, networks, {})
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights.pth.tar"]


def test_safetensors_keep_weights_architecture_and_facts(tmp_path, tiny_model, tiny_checkpoint):
    networks = load_checkpoint(tiny_checkpoint, tiny_model, align_corners=False)
    path, again = tmp_path / "tiny.safetensors", tmp_path / "again.safetensors"
    save_checkpoint(path, networks, {"steps": 7, "seed": 3})
    loaded = load_checkpoint(path)
    assert loaded.settings == tiny_model
    assert loaded.generator.align_corners is False, "as in training"
    assert load_checkpoint(path, align_corners=True).generator.align_corners is True
    assert read_facts(path) == {"steps": 7, "seed": 3, "align_corners": False}
    for name, tensor in networks.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    save_checkpoint(again, loaded, {"seed": 3, "steps": 7})
    assert path.read_bytes() == again.read_bytes(), "equal weights are equal files"


def test_float16_weights_halve_the_file_and_load_as_float32(tmp_path, tiny_model, tiny_checkpoint):
    networks = load_checkpoint(tiny_checkpoint, tiny_model)
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    save_checkpoint(whole, networks, {})
    save_checkpoint(half, networks, {}, half=True)
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    loaded = load_checkpoint(half).state_dict()
    for name, tensor in networks.state_dict().items():
        assert loaded[name].dtype == tensor.dtype
        torch.testing.assert_close(loaded[name], tensor, rtol=1e-3, atol=1e-6)
    with torch.no_grad():
        networks.generator.final.bias.fill_(1e6)
    with pytest.raises(OverflowError, match=r"generator.final.bias|final.bias"):
        save_checkpoint(tmp_path / "over.safetensors", networks, {}, half=True)
    assert not (tmp_path / "over.safetensors").exists()


def test_unusable_safetensors_are_described(tmp_path, tiny_model, tiny_checkpoint):
    path = tmp_path / "weights.safetensors"
    save_checkpoint(path, load_checkpoint(tiny_checkpoint, tiny_model), {})
    with pytest.raises(ConfigError, match="animator.model.num_kp is 9 in the config but 5 in the weights"):
        load_checkpoint(path, tiny_model.model_copy(update={"num_kp": 9}))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="damaged, incomplete or not a safetensors file"):
        load_checkpoint(path)
    save_file({"generator.weight": torch.ones(2), "kp_detector.weight": torch.ones(2)}, path, {"format": "pt"})
    with pytest.raises(ConfigError, match=r"do not match animator.model\. generator\.dense.*is missing.* more"):
        load_checkpoint(path)


def test_converted_checkpoints_load_as_the_original_does(tmp_path, tiny_checkpoint, tiny_model):
    """By a converter to safetensors, by DataParallel, by a torch without counters in its batch norms."""
    content = torch.load(tiny_checkpoint, weights_only=True)
    expected = load_checkpoint(tiny_checkpoint, tiny_model).state_dict()
    plain = {f"{part}.{name}": tensor for part in PARTS for name, tensor in content[part].items()}
    save_file(plain, tmp_path / "plain.safetensors")
    save_file({name: tensor.half() for name, tensor in plain.items()}, tmp_path / "half.safetensors")
    for part in PARTS:
        content[part] = {f"module.{name}": tensor for name, tensor in content[part].items()}
    torch.save(content, tmp_path / "parallel.pth.tar")
    for part in PARTS:
        content[part] = {name: tensor for name, tensor in content[part].items() if "num_batches" not in name}
    torch.save(content, tmp_path / "old.pth.tar")
    (tmp_path / "plain.safetensors").rename(tmp_path / "renamed.pth.tar")
    for name, tolerance in (
        ("renamed.pth.tar", 0),
        ("half.safetensors", 1e-3),
        ("parallel.pth.tar", 0),
        ("old.pth.tar", 0),
    ):
        loaded = load_checkpoint(tmp_path / name, tiny_model).state_dict()
        assert loaded.keys() == expected.keys()
        for key, tensor in expected.items():
            if "num_batches" not in key:
                torch.testing.assert_close(
                    loaded[key], tensor, rtol=tolerance, atol=tolerance / 1000, msg=f"{name} {key}"
                )


@pytest.mark.parametrize(
    ("maps", "message"),
    [(4, "a single jacobian for all keypoints .* as mgif-256"), (0, "a zero-order model: it has keypoints without")],
)
def test_models_with_other_jacobians_are_named(tmp_path, tiny_checkpoint, tiny_model, maps, message):
    content = torch.load(tiny_checkpoint, weights_only=True)
    for name in ("jacobian.weight", "jacobian.bias"):
        tensor = content["kp_detector"].pop(name)
        if maps:
            content["kp_detector"][name] = tensor[:maps].clone()
    path = tmp_path / "mgif-cpk.pth.tar"
    torch.save(content, path)
    with pytest.raises(ConfigError, match=message) as error:
        load_checkpoint(path, tiny_model)
    assert "(4, " not in str(error.value), "no bare shapes"


def test_weights_of_another_animator_are_named(tmp_path):
    path = tmp_path / "vox-cpk.pth.tar"
    torch.save({"inpainting_network": {}, "kp_detector": {"a": torch.ones(1)}, "epoch": 99}, path)
    with pytest.raises(ConfigError, match=r"no state_dict 'generator'.*Thin-Plate-Spline Motion Model \(tpsmm\)"):
        load_checkpoint(path)
