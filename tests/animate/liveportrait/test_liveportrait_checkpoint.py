"""LivePortrait's weight files: the official layout, conversions of it, and what is said of files that do not fit."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from deepfakemnist.animate.checkpoints import write_packed
from deepfakemnist.animate.liveportrait.checkpoint import load_weights, read_weights, weights_sha256
from deepfakemnist.animate.official_files import FILES_FACT, OFFICIAL_FILES, are_official
from deepfakemnist.cli.main import main
from deepfakemnist.errors import ConfigError
from tests.animate.liveportrait.conftest import NETWORKS, write_folder

STITCHING = "stitching_retargeting_module"
PERCEPTRONS = ("retarget_shoulder", "retarget_mouth", "retarget_eye")


@pytest.fixture
def folder(tiny_folder, tmp_path) -> Path:
    """Return a copy that a test may damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "weights"))


def same_weights(path: Path, tiny) -> bool:
    found, wanted = load_weights(path).networks.state_dict(), tiny.state_dict()
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def problem(path: Path, **options: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_weights(path, **options)
    return str(caught.value)


def test_the_tiny_weights_are_those_of_the_outputs(tiny_states):
    digest = hashlib.sha256()
    for part in sorted(tiny_states):
        for name, tensor in sorted(tiny_states[part].items()):
            digest.update(f"{part}/{name}".encode() + tensor.numpy().tobytes())
    assert digest.hexdigest() == "a58facc5ccd4f063ed2e5c88688d7808599ec655423aa5b0ddc2aff02e390f53"


def test_files_may_lie_in_the_folder_itself(tiny_folder, tiny, tmp_path):
    for file in tiny_folder.rglob("*.pth"):
        shutil.copy(file, tmp_path)
    assert same_weights(tmp_path, tiny)


def test_files_may_lie_where_the_original_downloads_them(tiny_folder, tiny, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "liveportrait")
    assert same_weights(tmp_path, tiny)


def test_one_digest_covers_the_five_files(tiny_folder, folder):
    files = sorted(tiny_folder.rglob("*.pth"), key=lambda file: file.name)
    lines = "".join(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n" for file in files)
    digest = hashlib.sha256(lines.encode()).hexdigest()
    assert weights_sha256(tiny_folder) == digest == load_weights(tiny_folder, digest).sha256
    with (folder / "base_models" / "warping_module.pth").open("ab") as file:
        file.write(b"\0")
    assert f"but the config expects {digest}" in problem(folder, sha256=digest)


def test_weights_of_others_are_not_called_official(tiny_folder):
    assert not load_weights(tiny_folder).official


def test_a_packed_file_holds_the_same_weights_and_remembers_the_files(tiny_folder, tiny, tmp_path):
    read = read_weights(tiny_folder)
    write_packed(tmp_path / "packed.safetensors", "liveportrait", read.states, {}, read.facts)
    assert same_weights(tmp_path / "packed.safetensors", tiny)
    assert read_weights(tmp_path / "packed.safetensors").facts == read.facts
    assert set(read.facts["files"]) == {f"{name}.pth" for name in (*NETWORKS, STITCHING)}


@pytest.mark.slow
def test_a_folder_is_packed_and_its_card_gives_its_digest(tiny_folder, tiny, tmp_path, capsys):
    packed = tmp_path / "packed.safetensors"
    assert main(["animator", "convert", str(tiny_folder), str(packed)]) == 0
    shown = capsys.readouterr().out
    assert weights_sha256(tiny_folder) in shown and "liveportrait: LivePortrait" in shown
    assert same_weights(packed, tiny)


def test_official_files_are_known_by_their_digests():
    files = {file.name: file.sha256 for file in OFFICIAL_FILES if file.animator == "liveportrait"}
    assert set(files) == {f"{name}.pth" for name in (*NETWORKS, STITCHING)}
    assert are_official("liveportrait", {FILES_FACT: files})
    assert not are_official("liveportrait", {FILES_FACT: {**files, "warping_module.pth": "0" * 64}})
    assert not are_official("liveportrait", {})


def test_a_plain_safetensors_file_of_all_parts_loads(tiny_states, tiny, tmp_path):
    flat = {f"{part}.{name}": tensor for part, state in tiny_states.items() for name, tensor in state.items()}
    save_file(flat, tmp_path / "all.safetensors")
    assert same_weights(tmp_path / "all.safetensors", tiny)


def test_files_converted_one_by_one_load(tiny_states, tiny, tmp_path):
    for part in NETWORKS:
        save_file(tiny_states[part], tmp_path / f"{part}.safetensors")
    flat = {
        f"{part}_module.{name.removeprefix('module.')}": tensor
        for part in PERCEPTRONS
        for name, tensor in tiny_states[part].items()
    }
    save_file(flat, tmp_path / f"{STITCHING}.safetensors")
    assert same_weights(tmp_path, tiny)


def test_prefixes_of_parallel_training_are_removed(tiny_states, tiny, tmp_path):
    prefixed = {
        part: {f"module.{name}": tensor for name, tensor in state.items()} for part, state in tiny_states.items()
    }
    assert same_weights(write_folder(tmp_path / "weights", prefixed), tiny)


def test_a_spectral_norm_that_was_folded_before_loads(tiny_folder, tiny, tiny_states, tmp_path):
    folded = {**tiny_states, "spade_generator": read_weights(tiny_folder).states["spade_generator"]}
    assert same_weights(write_folder(tmp_path / "weights", folded), tiny)


def test_missing_files_are_named(folder):
    (folder / "base_models" / "spade_generator.pth").unlink()
    (folder / "base_models" / "motion_extractor.pth").unlink()
    message = problem(folder)
    assert "lack motion_extractor.pth, spade_generator.pth" in message and "221,813,590 bytes" in message
    assert "do not exist" in problem(folder / "nowhere")


def test_a_truncated_file_is_named(folder):
    file = folder / "base_models" / "warping_module.pth"
    file.write_bytes(file.read_bytes()[:1_000_000])
    message = problem(folder)
    assert "warping_module.pth" in message and "damaged, incomplete" in message and "182,180,086 bytes" in message


def test_a_web_page_instead_of_a_file_is_named(folder):
    file = folder / "retargeting_models" / f"{STITCHING}.pth"
    file.write_text("<!DOCTYPE html><title>Quota exceeded</title>")
    assert f"{STITCHING}.pth" in problem(folder) and "web page" in problem(folder)


def test_exchanged_files_are_named(folder):
    base = folder / "base_models"
    shutil.copy(base / "spade_generator.pth", base / "warping_module.pth")
    message = problem(folder)
    assert "warping_module lacks the tensor dense_motion_network.mask.weight" in message
    assert "LivePortrait's SPADE generator" in message


def test_a_file_of_another_animator_is_named(folder, tiny_states):
    base = folder / "base_models"
    torch.save({"generator": {}, "kp_detector": {}}, base / "motion_extractor.pth")
    assert "First Order Motion Model" in problem(folder)
    torch.save({"retarget_eye": tiny_states["retarget_eye"]}, folder / "retargeting_models" / f"{STITCHING}.pth")
    shutil.copy(base / "spade_generator.pth", base / "motion_extractor.pth")
    assert "lack retarget_shoulder, retarget_mouth" in problem(folder)


def test_differing_tensors_are_listed(tiny_states, tmp_path):
    state = dict(tiny_states["warping_module"])
    state["third.norm.weight"] = torch.zeros(9)
    del state["fourth.bias"]
    message = problem(write_folder(tmp_path / "weights", {**tiny_states, "warping_module": state}))
    assert "warping_module: fourth.bias is missing; third.norm.weight is (9,), the model's is (4,)" in message


def test_networks_of_different_models_are_named(tiny_states, tmp_path):
    state = dict(tiny_states["motion_extractor"])
    state["detector.fc_kp.weight"] = torch.zeros(60, 64)
    message = problem(write_folder(tmp_path / "weights", {**tiny_states, "motion_extractor": state}))
    assert "warping_module has 22 motions, but motion_extractor 20 keypoints" in message


def test_a_spectral_norm_without_its_vectors_is_named(tiny_states, tmp_path):
    state = dict(tiny_states["spade_generator"])
    del state["up_0.conv_s.weight_v"]
    message = problem(write_folder(tmp_path / "weights", {**tiny_states, "spade_generator": state}))
    assert "up_0.conv_s.weight_orig without up_0.conv_s.weight_v" in message
