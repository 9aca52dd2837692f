"""The bank of synthetic heads: one mesh, facial actions, and many adult identities that belong to nobody."""

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
#: Age 2/3 is Anny's anchor "young" (an adult of about 25 years), 1 is "old"; nobody in a bank is younger.
ADULT_AGE = 2 / 3
#: What a triangle belongs to, by its number in the bank.
PARTS = ("skin", "eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue", "lashes")
#: Masks in the texture's window, by MPFB2's file.
MASKS = {"lips": "mpfb_lips.jpg", "eyelids": "mpfb_eyelids.jpg", "mouth": "mpfb_inside-mouth.jpg"}
#: Window of MakeHuman's square texture that holds the head: from TEXTURE_LEFT to the right edge.
TEXTURE_LEFT, TEXTURE_HEIGHT, TEXTURE_WIDTH = 0.61, 1024, 400
IDENTITY_STEP_M = 2e-5  # identities are stored as whole multiples of this

DEFAULT_BANK = Path(__file__).resolve().parents[3] / "resources" / "actors" / "bank.npz"
#: sha256 of the committed bank; ``python -m deepfakemnist.actors.bake`` prints that of another.
DEFAULT_BANK_SHA256 = "63d777fe555f7aeac59dde581da80dbf739dcfab031397b8e0194e9d8cec29f0"


@dataclass(frozen=True)
class Identity:
    """Who a head of the bank is."""

    sex: Literal["female", "male"]
    age: float  # Anny's scale: 2/3 young adult, 1 old
    ancestry: tuple[float, float, float]  # shares of Anny's african, asian and caucasian shapes
    tone: float  # skin, 0 lightest .. 1 darkest


@dataclass(frozen=True, eq=False)
class Bank:
    """Everything that all actors share. Lengths in metres, the origin between the eyes; see the package's docstring."""

    faces: np.ndarray  # (F,3) int32, corners by vertex
    corners: np.ndarray  # (F,3) int32, corners by row of uv
    uv: np.ndarray  # (U,2) float32 in MakeHuman's texture, v up
    part: np.ndarray  # (F,) uint8, index in PARTS
    template: np.ndarray  # (V,3) float32, the mean head
    heads: np.ndarray  # (N,V,3) float32
    actions: np.ndarray  # (A,V,3) float32, displacement at weight 1
    action_names: tuple[str, ...]  # ARKit's 52 names
    head_weight: np.ndarray  # (V,) float32, share of the head's rotation followed
    occlusion: np.ndarray  # (V,) float32, share of sky seen
    masks: dict[str, np.ndarray]  # (TEXTURE_HEIGHT, TEXTURE_WIDTH) float32, 0..1
    landmarks: dict[str, int]  # vertex of every ground-truth point
    people: tuple[Identity, ...]
    sha256: str
    _vertices: dict[tuple[str, ...], np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.people)

    def vertices_of(self, *parts: str) -> np.ndarray:
        """Return the sorted vertices of the named parts."""
        if parts not in self._vertices:
            self._vertices[parts] = np.unique(self.faces[np.isin(self.part, [PARTS.index(name) for name in parts])])
        return self._vertices[parts]


def load_bank(path: Path | str | None = None, sha256: str | None = None) -> Bank:
    """Read a bank of heads; read once per process.

    Args:
        path: file; None takes the committed ``resources/actors/bank.npz`` of the checkout, and checks its hash.
        sha256: the hash that the file must have.

    Raises:
        ConfigError: no such file, another hash, not a bank, or a bank with someone who is not an adult.
    """
    if path is None:
        path, sha256 = DEFAULT_BANK, sha256 or DEFAULT_BANK_SHA256 or None
    return _load(Path(path), sha256)


def pack_heads(deltas: np.ndarray) -> np.ndarray:
    """Arrange (N,V,3) int16 steps so that a zip file makes little of them: (2,3,N,V) uint8.

    Neighbours in the mesh are mostly neighbours in its numbering and move alike, so differences along the vertices are
    kept, signs folded into the lowest bit, and low and high bytes apart: 0.6 of the size of the plain numbers.
    """
    steps: np.ndarray = np.diff(deltas.astype(np.int32), axis=1, prepend=0).transpose(2, 0, 1)
    folded = (steps << 1) ^ (steps >> 31)
    if folded.max(initial=0) > np.iinfo(np.uint16).max:
        raise ValueError("vertices that follow each other are too far apart to be packed")
    return np.stack([folded & 0xFF, folded >> 8]).astype(np.uint8)


def unpack_heads(packed: np.ndarray) -> np.ndarray:
    """Undo ``pack_heads``."""
    folded = packed[0].astype(np.int32) | packed[1].astype(np.int32) << 8
    steps = (folded >> 1) ^ -(folded & 1)
    return steps.transpose(1, 2, 0).cumsum(axis=1).astype(np.int16)


@cache
def _load(path: Path, sha256: str | None) -> Bank:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"there is no bank of synthetic heads at {path} ({error.strerror}); it is resources/actors/bank.npz of a "
            "checkout, or made by: python -m deepfakemnist.actors.bake FILE"
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256:
        raise ConfigError(f"{path} has sha256 {digest}, not {sha256}; check it out again")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            stored = {name: arrays[name] for name in arrays.files}
        meta = json.loads(str(stored["meta"]))
        if meta["format"] != FORMAT:
            raise ConfigError(f"{path} is a bank of format {meta['format']}, this version reads format {FORMAT}")
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
        raise ConfigError(f"{path} holds heads that are not adult (age below {ADULT_AGE:.3f}): {minors}")
    return bank
