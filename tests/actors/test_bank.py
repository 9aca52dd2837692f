"""The committed head bank, its encoding, and rejection of invalid banks."""

import json

import numpy as np
import pytest

from deepfakemnist.actors.bank import ADULT_AGE, DEFAULT_BANK, DEFAULT_BANK_SHA256, load_bank, pack_heads, unpack_heads
from deepfakemnist.errors import ConfigError


def test_the_committed_bank_has_many_adults_of_both_sexes_and_all_skin_tones(bank):
    assert len(bank) >= 64
    assert min(person.age for person in bank.people) >= ADULT_AGE
    female = sum(person.sex == "female" for person in bank.people) / len(bank)
    assert 0.4 <= female <= 0.6
    tones = np.array([person.tone for person in bank.people])
    thirds = np.histogram(tones, bins=[0, 1 / 3, 2 / 3, 1])[0]
    assert thirds.min() >= len(bank) // 8


def test_the_committed_bank_is_small_and_its_readme_names_its_hash(bank):
    assert DEFAULT_BANK.stat().st_size <= 3_000_000
    assert bank.sha256 == DEFAULT_BANK_SHA256
    assert DEFAULT_BANK_SHA256 in DEFAULT_BANK.with_name("README.md").read_text(encoding="utf-8")
    assert "CC0" in DEFAULT_BANK.with_name("NOTICE").read_text(encoding="utf-8")


def test_packing_heads_is_lossless():
    random = np.random.default_rng(0)
    deltas = random.integers(-6000, 6000, (3, 50, 3)).astype(np.int16)
    deltas[0, 7] = [-16000, 16000, 0]
    packed = pack_heads(deltas)
    assert packed.dtype == np.uint8 and packed.shape == (2, 3, 3, 50)
    assert np.array_equal(unpack_heads(packed), deltas)


def test_heads_that_cannot_be_packed_are_rejected():
    distant = np.zeros((1, 2, 3), np.int16)
    distant[0, :, 0] = [-32000, 32000]
    with pytest.raises(ValueError, match="too far apart"):
        pack_heads(distant)


@pytest.mark.slow
def test_no_two_heads_are_alike(bank):
    face = bank.vertices_of("skin")
    face = face[(bank.template[face, 1] < 0.02) & (bank.template[face, 2] > -0.12)]
    heads = bank.heads[:, face].reshape(len(bank), -1)
    distance = np.linalg.norm(heads[:, None] - heads[None], axis=2) / np.sqrt(len(face))
    np.fill_diagonal(distance, np.inf)
    assert distance.min() > 0.0015  # metres, root mean square over the face


def test_head_axes_have_the_documented_orientation(bank):
    at = {name: bank.template[vertex] for name, vertex in bank.landmarks.items()}
    assert at["left_eye_outer"][0] > at["left_eye_inner"][0] > 0 > at["right_eye_inner"][0] > at["right_eye_outer"][0]
    assert at["left_brow_middle"][2] > at["left_eyelid_upper"][2] > at["left_eyelid_lower"][2] > at["nose_tip"][2]
    assert at["nose_tip"][2] > at["lip_upper_inner"][2] >= at["lip_lower_inner"][2] > at["chin"][2]
    assert at["nose_tip"][1] == min(point[1] for point in at.values())
    assert 0.05 < at["left_eye_outer"][0] - at["right_eye_outer"][0] < 0.12


def test_a_missing_bank_is_reported_with_how_to_get_one(tmp_path):
    with pytest.raises(ConfigError, match=r"no bank of synthetic heads at .*nothing\.npz.*deepfakemnist\.actors\.bake"):
        load_bank(tmp_path / "nothing.npz")


def test_a_bank_with_another_hash_is_rejected(tmp_path):
    path = tmp_path / "bank.npz"
    path.write_bytes(DEFAULT_BANK.read_bytes()[:-1] + b"x")
    with pytest.raises(ConfigError, match=r"has sha256 [0-9a-f]{64}, not " + DEFAULT_BANK_SHA256):
        load_bank(path, sha256=DEFAULT_BANK_SHA256)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_file_that_is_not_a_bank_is_rejected(tmp_path, content):
    path = tmp_path / "bank.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not a bank of synthetic heads"):
        load_bank(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99, this version reads format 2"),
        ({"age": 0.5}, r"not adult \(age below 0\.667\): \[3\]"),
    ],
)
def test_a_bank_of_another_format_or_with_a_minor_is_rejected(tmp_path, change, message):
    with np.load(DEFAULT_BANK) as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    meta = json.loads(str(stored["meta"]))
    meta["format"] = change.get("format", meta["format"])
    meta["identities"][3]["age"] = change.get("age", meta["identities"][3]["age"])
    path = tmp_path / "bank.npz"
    np.savez(path, **{**stored, "meta": np.array(json.dumps(meta))})
    with pytest.raises(ConfigError, match=message):
        load_bank(path)
