"""``deepfakemnist animator``: cards of weight files, and their conversion."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from deepfakemnist.animate.fomm.checkpoint import load_checkpoint
from deepfakemnist.cli.main import main

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "data" / "fomm" / "tiny_checkpoint.pth.tar"


def card(capsys: pytest.CaptureFixture[str], path: Path) -> dict[str, str]:
    assert main(["animator", "inspect", str(path)]) == 0
    return parsed(capsys.readouterr().out)


def parsed(text: str) -> dict[str, str]:
    return {name.strip(): value.strip() for name, value in (line.split("  ", 1) for line in text.splitlines())}


def test_inspect_says_what_a_checkpoint_is(capsys):
    shown = card(capsys, TINY)
    assert shown["file"] == f"{TINY} ({TINY.stat().st_size:,} bytes)"
    assert shown["sha256"] == hashlib.sha256(TINY.read_bytes()).hexdigest()
    assert shown["animator"] == "fomm: First Order Motion Model"
    assert shown["official"].startswith("no")
    assert shown["layout"] == "pickle"
    assert shown["stored as"] == "float32"
    assert shown["tensors"] == "159 (generator 112, kp_detector 47), 151,665 numbers"
    assert shown["model.num_kp"] == "5", "architecture of tiny_config.json, by the shapes of the tensors"
    assert shown["model.generator.dense_motion.max_features"] == "32"
    assert shown["licence"].startswith("MIT (code)")


def test_inspect_shows_the_facts_of_a_trained_animator(capsys):
    shown = card(capsys, ROOT / "resources/animators/small-256.safetensors")
    assert shown["layout"] == "packed"
    assert shown["stored as"] == "float16"
    assert int(shown["facts.steps"]) > 0


@pytest.mark.parametrize("half", [False, True])
def test_a_converted_checkpoint_gives_the_same_networks_and_names_its_origin(tmp_path, capsys, half):
    content = torch.load(TINY, weights_only=True)
    source, out = tmp_path / "parallel.pth.tar", tmp_path / "packed.safetensors"
    for part in ("generator", "kp_detector"):
        content[part] = {f"module.{name}": tensor for name, tensor in content[part].items()}
    torch.save(content, source)
    assert main(["animator", "convert", str(source), str(out), *(["--half"] if half else [])]) == 0
    shown = parsed(capsys.readouterr().out)
    assert shown["stored as"] == ("float16" if half else "float32")
    assert shown["facts.converted_from.sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert shown["facts.converted_from.name"] == "parallel.pth.tar"
    before, after = (
        load_checkpoint(source, load_checkpoint(out).settings).state_dict(),
        load_checkpoint(out).state_dict(),
    )
    for name, tensor in before.items():
        # float16 has 11 bits.
        torch.testing.assert_close(after[name], tensor, rtol=2**-11 if half else 0, atol=1e-7 if half else 0)


def test_conversion_refuses_what_it_would_destroy_or_cannot_read(tmp_path, capsys):
    taken, other = tmp_path / "taken.safetensors", tmp_path / "notes.txt"
    taken.write_bytes(b"mine")
    other.write_text("no weights")
    for words, message in (
        (["convert", str(TINY), str(taken)], "exists; remove it"),
        (["convert", str(TINY), str(tmp_path / "out.pth")], "have the suffix .safetensors"),
        (["convert", str(other), str(tmp_path / "out.safetensors")], "fits no animator"),
        (["inspect", str(tmp_path / "none")], "do not exist"),
    ):
        assert main(["animator", *words]) == 1
        assert message in capsys.readouterr().err
    assert taken.read_bytes() == b"mine"
    assert not (tmp_path / "out.safetensors").exists()


def test_settings_are_printed_from_the_models(capsys):
    assert main(["animator", "settings", "mesh"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("mesh: Landmark mesh in 3-D")
    assert "  mouth: driver  (driver, synthetic)  inside of a mouth that the source keeps closed" in shown
    assert main(["animator", "settings"]) == 0
    assert "\nmesh: " in capsys.readouterr().out
    assert main(["animator", "settings", "fom"]) != 0
    assert "no animator fom: there are fomm, " in capsys.readouterr().err
