"""Files of tensors that others wrote: code in them is refused, and no message advises to run it."""

from __future__ import annotations

import io
import json
import pickle
import random
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from deepfakemnist.animate.fomm.checkpoint import load_checkpoint as load_animator
from deepfakemnist.config.base import WeightFile
from deepfakemnist.detectors.weights import read_weights
from deepfakemnist.devices.tensor_files import UnreadableTensors, load_tensors
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.checksums import file_facts
from deepfakemnist.training.checkpoint import load_checkpoint as load_detector


class Evil:
    """A pickle that runs code."""

    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.touched,)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("evil", ["reduce", "class", "module"])
def test_code_is_refused_and_no_message_advises_to_run_it(tmp_path: Path, legacy: bool, evil: str) -> None:
    content = {"reduce": Evil(tmp_path / "touched"), "class": Path, "module": random.Random(1)}[evil]
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": content}, path, _use_new_zipfile_serialization=not legacy)
    for load in (
        lambda: load_tensors(path),
        lambda: load_animator(path),
        lambda: read_weights(WeightFile(path=path, sha256=file_facts(path).sha256)),
    ):
        with pytest.raises((UnreadableTensors, ConfigError)) as error:
            load()
        assert "weights_only" not in str(error.value) and "trust" not in str(error.value).lower()
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_class_with_an_endless_name_is_refused_at_once(tmp_path: Path, legacy: bool) -> None:
    """PyTorch searches it by a regular expression for minutes; unchecked, this test does not end."""
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.ones(2)}, path, _use_new_zipfile_serialization=not legacy)
    known = b"ctorch._utils\n"
    named = b"c" + b"x" * 300_000 + b"\n"
    if legacy:
        path.write_bytes(path.read_bytes().replace(known, named))
    else:
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in entries.items():
                archive.writestr(name, data.replace(known, named))
    with pytest.raises(UnreadableTensors, match=r"a class whose name has 300\d\d\d characters"):
        load_tensors(path)


def test_damaged_files_of_every_kind_have_a_message() -> None:
    file = io.BytesIO()
    torch.save({"weight": torch.arange(50.0)}, file)
    whole, generator = file.getvalue(), random.Random(7)
    damaged = [whole[:size] for size in (0, 1, 40, 400, len(whole) - 1)]
    damaged += [pickle.dumps({"weight": 1}), pickle.dumps([]), b"PK\x03\x04" + bytes(99)]
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(generator.randint(1, 4)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        damaged.append(bytes(data))
    refused = 0
    for data in damaged:
        try:
            load_tensors(io.BytesIO(data))
        except UnreadableTensors as error:
            refused += 1
            assert "weights_only" not in str(error) and "\n" not in str(error)
    assert refused > 50


@pytest.mark.parametrize(("metadata", "found"), [({}, "no entry"), ({"format": "pt"}, "'format'")])
def test_safetensors_of_others_are_no_detector(tmp_path: Path, metadata: dict[str, str], found: str) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"a.b": torch.zeros(1)}, path, metadata)
    with pytest.raises(ConfigError, match=f"its metadata has {found}, not"):
        load_detector(path, torch.device("cpu"))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"KEY": "{not json"}, "of its metadata is not JSON"),
        ({"KEY": "[" * 100_000}, "of its metadata is not JSON"),
        ({"KEY": "[1]"}, "is a JSON list, not an object"),
        ({"KEY": "null"}, "is a JSON NoneType, not an object"),
    ],
)
def test_metadata_that_is_no_json_object_is_named(tmp_path: Path, metadata: dict[str, str], message: str) -> None:
    path = tmp_path / "weights.safetensors"
    for key, load in (
        ("deepfakemnist.fomm.1", lambda: load_animator(path)),
        ("deepfakemnist", lambda: load_detector(path, torch.device("cpu"))),
    ):
        entries = {name.replace("KEY", key): value for name, value in metadata.items()}
        save_file({"a.b": torch.zeros(1)}, path, entries)
        with pytest.raises(ConfigError, match=message):
            load()


@pytest.mark.parametrize(
    "changes",
    [{"settings": 1}, {"settings": {"name": 5}}, {"epoch": "x"}, {"trained_on": None}, {"seed": []}, {"classes": 0}],
)
def test_metadata_of_the_wrong_types_is_named(tmp_path: Path, changes: dict[str, object]) -> None:
    content = {"settings": {"name": "meso4"}, "trained_on": "c23", "epoch": 1, "seed": 0, "classes": ["real", "fake"]}
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(save({"a": torch.zeros(1)}, {"deepfakemnist": json.dumps({**content, **changes})}))
    with pytest.raises(ConfigError, match="checkpoint.safetensors"):
        load_detector(path, torch.device("cpu"))
