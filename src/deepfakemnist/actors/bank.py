"""Bank of synthetic 3D heads: one mesh topology, facial-action blendshapes, and many fictional adult identities."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np

from deepfakemnist.errors import ConfigError

FORMAT = 2
#: Minimum age in a bank: 2/3 is Anny's anchor "young" (an adult of about 25 years), 1 is "old".
ADULT_AGE = 2 / 3
#: Parts of the mesh; ``Bank.part`` holds indices into this tuple.
PARTS = ("skin", "eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue", "lashes")
#: Masks of the texture window and MPFB2's files for them.
MASKS = {"lips": "mpfb_lips.jpg", "eyelids": "mpfb_eyelids.jpg", "mouth": "mpfb_inside-mouth.jpg"}
#: Window of MakeHuman's square texture that holds the head: from TEXTURE_LEFT (share of the width) to the right edge.
TEXTURE_LEFT, TEXTURE_HEIGHT, TEXTURE_WIDTH = 0.61, 1024, 400
IDENTITY_STEP_M = 2e-5  # quantisation step of stored identities

DEFAULT_BANK = Path(__file__).resolve().parents[3] / "resources" / "actors" / "bank.npz"
#: sha256 of the committed bank; ``python -m deepfakemnist.actors.bake`` prints the hash of a new one.
DEFAULT_BANK_SHA256 = "63d777fe555f7aeac59dde581da80dbf739dcfab031397b8e0194e9d8cec29f0"


@dataclass(frozen=True)
class Identity:
    """Attributes of a head in the bank."""

    sex: Literal["female", "male"]
    age: float  # Anny's scale: 2/3 young adult, 1 old
    ancestry: tuple[float, float, float]  # weights of Anny's african, asian and caucasian shapes
    tone: float  # skin tone, 0 lightest .. 1 darkest


@dataclass(frozen=True, eq=False)
class Bank:
    """Meshes that all actors share. Metres, origin between the eyes; axes as in the package docstring."""

    faces: np.ndarray  # (F,3) int32, vertex indices
    corners: np.ndarray  # (F,3) int32, uv indices
    uv: np.ndarray  # (U,2) float32 in MakeHuman's texture, v up
    part: np.ndarray  # (F,) uint8, index into PARTS
    template: np.ndarray  # (V,3) float32, the mean head
    heads: np.ndarray  # (N,V,3) float32
    actions: np.ndarray  # (A,V,3) float32, blendshape displacements at weight 1
    action_names: tuple[str, ...]  # the 52 ARKit names
    head_weight: np.ndarray  # (V,) float32, skinning weight of the head's rotation
    occlusion: np.ndarray  # (V,) float32, ambient occlusion: visible share of the sky
    masks: dict[str, np.ndarray]  # (TEXTURE_HEIGHT, TEXTURE_WIDTH) float32, 0..1
    landmarks: dict[str, int]  # landmark name to vertex
    people: tuple[Identity, ...]
    sha256: str
    _vertices: dict[tuple[str, ...], np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.people)

    def vertices_of(self, *parts: str) -> np.ndarray:
        """Return the sorted vertex indices of the named parts."""
        if parts not in self._vertices:
            self._vertices[parts] = np.unique(self.faces[np.isin(self.part, [PARTS.index(name) for name in parts])])
        return self._vertices[parts]


def load_bank(path: Path | str | None = None, sha256: str | None = None) -> Bank:
    """Load a bank of heads, cached per process.

    Args:
        path: bank file; None loads the checkout's committed ``resources/actors/bank.npz`` and checks its hash.
        sha256: expected hash of the file.

    Raises:
        ConfigError: the file is missing, has another hash, is not a bank, or contains a head that is not adult.
    """
    if path is None:
        path, sha256 = DEFAULT_BANK, sha256 or DEFAULT_BANK_SHA256 or None
    return _load(Path(path), sha256)


def pack_heads(deltas: np.ndarray) -> np.ndarray:
    """Encode (N,V,3) int16 steps as (2,3,N,V) uint8 that zip compresses well.

    Vertices with consecutive indices are mostly neighbours and move alike. So the steps are delta-encoded along the
    vertices and zigzag-encoded, and low and high bytes are stored separately: 0.6 of the size of the plain integers.

    Raises:
        ValueError: a difference does not fit 16 bits.
    """
    steps: np.ndarray = np.diff(deltas.astype(np.int32), axis=1, prepend=0).transpose(2, 0, 1)
    folded = (steps << 1) ^ (steps >> 31)
    if folded.max(initial=0) > np.iinfo(np.uint16).max:
        raise ValueError("consecutive vertices are too far apart to pack into 16 bits")
    return np.stack([folded & 0xFF, folded >> 8]).astype(np.uint8)


def unpack_heads(packed: np.ndarray) -> np.ndarray:
    """Decode ``pack_heads``."""
    folded = packed[0].astype(np.int32) | packed[1].astype(np.int32) << 8
    steps = (folded >> 1) ^ -(folded & 1)
    return steps.transpose(1, 2, 0).cumsum(axis=1).astype(np.int16)


@cache
def _load(path: Path, sha256: str | None) -> Bank:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"no bank of synthetic heads at {path} ({error.strerror}); use resources/actors/bank.npz of a checkout, or "
            "bake one: python -m deepfakemnist.actors.bake FILE"
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256:
        raise ConfigError(f"{path} has sha256 {digest}, not {sha256}; check the file out again")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            stored = {name: arrays[name] for name in arrays.files}
        meta = json.loads(str(stored["meta"]))
        if meta["format"] != FORMAT:
            raise ConfigError(f"{path} has bank format {meta['format']}, this version reads format {FORMAT}")
        people = tuple(
            Identity(person["sex"], person["age"], tuple(person["ancestry"]), person["tone"])
            for person in meta["identities"]
        )
        bank = Bank(
            faces=stored["faces"].astype(np.int32),
            corners=stored["corners"].astype(np.int32),
            uv=stored["uv"],
            part=stored["part"],
            template=stored["template"],
            heads=stored["template"]
            + unpack_heads(stored["identities"]).astype(np.float32) * np.float32(IDENTITY_STEP_M),
            actions=stored["actions"].astype(np.float32),
            action_names=tuple(map(str, stored["action_names"])),
            head_weight=stored["head_weight"].astype(np.float32),
            occlusion=stored["occlusion"].astype(np.float32) / 255,
            masks={name: stored[f"mask_{name}"].astype(np.float32) / 255 for name in MASKS},
            landmarks={name: int(vertex) for name, vertex in meta["landmarks"].items()},
            people=people,
            sha256=digest,
        )
    except (KeyError, ValueError, OSError, EOFError, BadZipFile) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is not a bank of synthetic heads: {error!r}") from error
    minors = [index for index, person in enumerate(people) if person.age < ADULT_AGE]
    if minors:
        raise ConfigError(f"{path} contains heads that are not adult (age below {ADULT_AGE:.3f}): {minors}")
    return bank
