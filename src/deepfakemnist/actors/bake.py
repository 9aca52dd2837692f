"""Baking of the head bank from the body model Anny: ``python -m deepfakemnist.actors.bake BANK.npz``.

Needed only to change the bank; the workflow uses the committed one. Anny (``pip install anny==0.6.2``, Apache-2.0)
downloads nothing, but on first use writes 1.5 GB of shapes to ANNY_CACHE_DIR (default ~/.cache/anny). Its mesh,
phenotype shapes and facial actions come from MPFB2/MakeHuman and are CC0, and so is the bank.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import logging
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deepfakemnist.actors.bank import (
    ADULT_AGE,
    FORMAT,
    IDENTITY_STEP_M,
    MASKS,
    PARTS,
    TEXTURE_HEIGHT,
    TEXTURE_LEFT,
    TEXTURE_WIDTH,
    load_bank,
    pack_heads,
)
from deepfakemnist.actors.landmarks import find_landmarks
from deepfakemnist.errors import ConfigError
from deepfakemnist.media.raster import unshadowed
from deepfakemnist.tables.files import atomic_path

log = logging.getLogger(__name__)

ANNY_VERSION = "0.6.2"
#: Heads of the committed bank: 56 to train the compact animator, 76 for the people of make demo-large.
IDENTITIES, SEED = 132, 20211
#: Kept groups of MakeHuman's base mesh, with their part.
_GROUPS = {
    "body": "skin",
    "helper-l-eye": "eye_left",
    "helper-r-eye": "eye_right",
    "helper-upper-teeth": "teeth_upper",
    "helper-lower-teeth": "teeth_lower",
    "helper-tongue": "tongue",
    **{f"helper-{side}-eyelashes-{row}": "lashes" for side in "lr" for row in "12"},
}
#: Extent of a head-and-shoulders shot: depth below the eyes and half width, metres.
_BUST_M, _HALF_WIDTH_M = 0.42, 0.30
_ARM_DEGREES = 38.0  # MakeHuman's rest pose holds the arms out at 45 degrees; this lowers them
#: Share of the head's rotation that each neck bone follows.
_NECK = {"neck01": 0.2, "neck02": 0.45, "neck03": 0.75}
_HEAD_SHAPES = ("cheek", "chin", "ear", "eye", "eyebrows", "forehead", "head", "mouth", "neck", "nose")
#: Local shape changes that make a head look deformed.
_DEFORMING = (
    "trans-out",
    "head-angle",
    "head-trans",
    "neck-trans",
    "head-age",
    "nose-trans",
    "ear-wing",
    "septum",
    "double",
    "compression",
    "cleft",
    "flaring",
    "bag",
)
_SHAPE_SIGMA, _SHAPE_LIMIT = 0.25, 0.55  # a local shape change ranges over -1..1
_OCCLUSION_DIRECTIONS = 192


@dataclass(frozen=True)
class _Mesh:
    """The kept part of Anny's mesh."""

    vertices: np.ndarray  # indices into Anny's vertices
    faces: np.ndarray  # (F,3) indices into vertices
    corners: np.ndarray  # (F,3) indices into uv
    uv: np.ndarray
    part: np.ndarray  # (F,) index into PARTS


def bake(path: Path, identities: int = IDENTITIES, seed: int = SEED) -> str:
    """Write a bank of ``identities`` adult heads to ``path`` and return its sha256.

    Raises:
        ConfigError: Anny is not installed or has another version.
    """
    anny = _import_anny()
    model = _Anny(anny)
    mesh = model.mesh()
    template = model.head({}, {})[mesh.vertices]
    people = [_sample_person(index, np.random.default_rng([seed, index]), model.shapes) for index in range(identities)]
    heads = np.stack([model.head(person["phenotype"], person["shapes"])[mesh.vertices] for person in people])
    deltas = np.round((heads - template) / IDENTITY_STEP_M).astype(np.int16)
    masks = _masks(Path(anny.__file__).parent)
    actions = model.action_deltas(mesh.vertices)
    landmarks = find_landmarks(template, mesh.faces, mesh.part, actions, model.actions)
    meta = {
        "format": FORMAT,
        "seed": seed,
        "anny": ANNY_VERSION,
        "licence": "CC0-1.0 (Anny's data/mpfb2 and data/faceunits01)",
        "landmarks": landmarks,
        "identities": [{key: person[key] for key in ("sex", "age", "ancestry", "tone")} for person in people],
    }
    with atomic_path(path) as part:
        arrays = dict(
            faces=mesh.faces.astype(np.uint16),
            corners=mesh.corners.astype(np.uint16),
            uv=mesh.uv.astype(np.float32),
            part=mesh.part.astype(np.uint8),
            # Rounded, because the last bit of a sum differs between processors and would change the file.
            template=template.round(7).astype(np.float32),
            identities=pack_heads(deltas),
            actions=actions.astype(np.float16),
            action_names=np.array(model.actions),
            head_weight=model.head_weight()[mesh.vertices].astype(np.float16),
            occlusion=_occlusion(template, mesh.faces),
            meta=np.array(json.dumps(meta, sort_keys=True)),
            **masks,
        )
        np.savez_compressed(part, **arrays)
    load_bank(path)  # runs every reader's checks on the new file
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _import_anny() -> Any:
    try:
        anny = importlib.import_module("anny")
    except ImportError as error:
        raise ConfigError(f"baking needs the package anny (pip install anny=={ANNY_VERSION}): {error}") from error
    from importlib.metadata import version

    if version("anny") != ANNY_VERSION:
        raise ConfigError(f"baking needs anny {ANNY_VERSION}, found {version('anny')}; other versions give other heads")
    return anny


class _Anny:
    """Adapter for Anny with MakeHuman's rig and full vertex set."""

    def __init__(self, anny: Any) -> None:
        import torch

        log.info("building Anny (about a minute; 1.5 GB of cache the first time)")
        self._torch = torch
        self._model = anny.Anny(
            rig="makehuman", topology="makehuman", phenotypes="all", local_changes="all", facial_actions="all"
        ).to(torch.float32)
        self._folder = Path(anny.__file__).parent
        self.actions = [str(name) for name in self._model.facial_action_labels]
        self.shapes = [
            name
            for name in self._model.local_change_labels
            if name.removeprefix("l-").removeprefix("r-").split("-")[0] in _HEAD_SHAPES
            and not any(word in name for word in _DEFORMING)
        ]
        bones = list(self._model.bone_labels)
        pose = torch.eye(4)[None, None].repeat(1, len(bones), 1, 1)
        for side, sign in (("L", -1.0), ("R", 1.0)):
            turn = np.deg2rad(sign * _ARM_DEGREES)
            pose[0, bones.index(f"upperarm01.{side}"), :2, :2] = torch.tensor(
                [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
            )
        self._pose = pose
        self._groups, self._obj_faces, self._obj_corners, self._uv = _read_obj(
            self._folder / "data" / "mpfb2" / "3dobjs" / "base.obj"
        )

    def head(self, phenotype: dict[str, float], shapes: dict[str, float]) -> np.ndarray:
        """Return all vertices with lowered arms, in metres, origin between the eyes."""
        values = dict.fromkeys(self._model.phenotype_labels, 0.5) | phenotype
        with self._torch.no_grad():
            out = self._model(phenotype_kwargs=values, local_changes_kwargs=shapes, pose_parameters=self._pose)
        vertices = out["vertices"][0].numpy()
        eyes = np.unique(self._obj_faces[np.isin(self._groups, ("helper-l-eye", "helper-r-eye"))])
        return vertices - vertices[eyes].mean(0)

    def mesh(self) -> _Mesh:
        """Return the triangles of the head and bust."""
        vertices = self.head({}, {})
        parts = np.array([PARTS.index(_GROUPS[name]) if name in _GROUPS else -1 for name in self._groups])
        seen = vertices[self._obj_faces]
        kept = (parts >= 0) & (seen[..., 2].min(1) > -_BUST_M) & (np.abs(seen[..., 0]).max(1) < _HALF_WIDTH_M)
        used, faces = np.unique(self._obj_faces[kept], return_inverse=True)
        used_uv, corners = np.unique(self._obj_corners[kept], return_inverse=True)
        uv = np.where(used_uv[:, None] >= 0, self._uv[np.maximum(used_uv, 0)], 0.0)
        return _Mesh(used, faces.reshape(-1, 3), corners.reshape(-1, 3), uv, parts[kept])

    def action_deltas(self, vertices: np.ndarray) -> np.ndarray:
        """Return (A,V,3) displacements of every facial action at weight 1, metres."""
        labels = list(self._model.blendshape_labels)
        shapes = self._model.blendshapes.numpy()
        return np.stack([shapes[labels.index(f"facial_action:{name}")][vertices] for name in self.actions])

    def head_weight(self) -> np.ndarray:
        """Return (V,) skinning weights of the head's rotation, 0..1."""
        bones, parents = list(self._model.bone_labels), list(self._model.bone_parents)
        head = bones.index("head")
        share = np.zeros(len(bones))
        for index, name in enumerate(bones):
            ancestor: int | None = index
            while ancestor is not None and ancestor >= 0 and ancestor != head:
                ancestor = None if parents[ancestor] is None else int(parents[ancestor])
            share[index] = 1.0 if ancestor == head else _NECK.get(name, 0.0)
        return (self._model.vertex_bone_weights.numpy() * share[self._model.vertex_bone_indices.numpy()]).sum(1)


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return each triangle's group name, vertex indices and uv indices, and the uv table of a Wavefront OBJ file."""
    uv, groups, faces, corners, group = [], [], [], [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "g":
            group = words[1]
        elif words[0] == "vt":
            uv.append([float(word) for word in words[1:3]])
        elif words[0] == "f":
            polygon = [[int(index or 0) - 1 for index in f"{word}/0".split("/")[:2]] for word in words[1:]]
            for b, c in pairwise(polygon[1:]):
                triangle = (polygon[0], b, c)
                groups.append(group)
                faces.append([vertex for vertex, _ in triangle])
                corners.append([texture for _, texture in triangle])
    return np.array(groups), np.array(faces), np.array(corners), np.array(uv)


def _sample_person(index: int, rng: np.random.Generator, shapes: list[str]) -> dict[str, Any]:
    """Sample an adult. Sexes alternate, and the dominant ancestry cycles so that skin tones spread."""
    ancestry = rng.dirichlet(np.roll([1.6, 0.35, 0.35], index // 2 % 3))
    age = ADULT_AGE + 0.015 + 0.22 * float(rng.beta(1.1, 2.6))
    phenotype = {
        # Anny: 0 male, 1 female; age newborn -1/3, baby 0, child 1/3, young 2/3, old 1.
        "gender": float(rng.uniform(0.82, 1.0) if index % 2 else rng.uniform(0.0, 0.15)),
        "age": age,
        "muscle": float(rng.uniform(0.35, 0.65)),
        "weight": float(rng.uniform(0.35, 0.7)),
        "height": 0.5,
        "proportions": float(rng.uniform(0.0, 0.35)),
        "cupsize": 0.3,
        "firmness": 0.5,
        **dict(zip(("african", "asian", "caucasian"), map(float, ancestry), strict=True)),
    }
    changes: dict[str, float] = {}
    for name in shapes:
        if name.startswith("r-"):
            continue
        value = float(np.clip(rng.normal(0, _SHAPE_SIGMA), -_SHAPE_LIMIT, _SHAPE_LIMIT))
        changes[name] = value
        if name.startswith("l-"):  # faces are nearly symmetric
            changes["r-" + name[2:]] = value + float(rng.normal(0, 0.02))
    tone = float(np.clip(ancestry @ [0.80, 0.34, 0.14] + rng.normal(0, 0.05), 0.02, 0.98))
    return {
        "phenotype": phenotype,
        "shapes": changes,
        "sex": "female" if index % 2 else "male",
        "age": round(age, 4),
        "ancestry": [round(float(share), 3) for share in ancestry],
        "tone": round(tone, 3),
    }


def _masks(folder: Path) -> dict[str, np.ndarray]:
    """Return MPFB2's masks of lips, eyelids and mouth, cropped to the texture window, uint8."""
    masks = {}
    for name, file in MASKS.items():
        image = cv2.imread(str(folder / "data" / "mpfb2" / "textures" / file), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise ConfigError(f"anny {ANNY_VERSION} has no texture {file}")
        whole = cv2.resize(image, (TEXTURE_HEIGHT, TEXTURE_HEIGHT), interpolation=cv2.INTER_AREA)
        window = np.zeros((TEXTURE_HEIGHT, TEXTURE_WIDTH), np.uint8)
        left = round(TEXTURE_LEFT * TEXTURE_HEIGHT)
        window[:, : TEXTURE_HEIGHT - left] = whole[:, left : left + TEXTURE_WIDTH]
        masks[f"mask_{name}"] = np.where(window > 24, window, 0).astype(np.uint8)  # removes JPEG noise
    return masks


def _occlusion(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return (V,) uint8 ambient occlusion: visible share of the hemisphere around each vertex normal, 255 = all.

    Visibility is sampled with one shadow map per direction.
    """
    normals = np.zeros_like(vertices)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    for k in range(3):
        np.add.at(normals, faces[:, k], np.cross(b - a, c - a))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    seen, weight = np.zeros(len(vertices)), np.zeros(len(vertices))
    golden = np.pi * (3 - np.sqrt(5))
    for k in range(_OCCLUSION_DIRECTIONS):  # a Fibonacci sphere
        height = 1 - 2 * (k + 0.5) / _OCCLUSION_DIRECTIONS
        radius = np.sqrt(1 - height * height)
        towards = np.array([radius * np.cos(golden * k), radius * np.sin(golden * k), height])
        lit = normals @ towards
        visible = unshadowed(vertices.astype(np.float32), faces.astype(np.int32), towards) & (lit > 0)
        seen += np.where(visible, lit, 0)
        weight += np.maximum(lit, 0)
    return np.round(255 * np.clip(seen / np.maximum(weight, 1e-9), 0, 1)).astype(np.uint8)


def main() -> None:
    """Bake a bank from the command line and print its sha256."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bank", type=Path, help="file to write, e.g. resources/actors/bank.npz")
    parser.add_argument("--identities", type=int, default=IDENTITIES)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print(bake(arguments.bank, arguments.identities, arguments.seed))


if __name__ == "__main__":
    main()
