"""Attached meshes (hair, beard, glasses, collars) that move with the skin vertices they are anchored to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepfakemnist.actors.bank import TEXTURE_WIDTH
from deepfakemnist.actors.layout import HAIR, HAIR_TOP, swatch


@dataclass(frozen=True, eq=False)
class Attachment:
    """A triangle mesh; every vertex has a fixed offset from a vertex of the head."""

    root: np.ndarray  # (E,) anchor vertex in the bank
    offset: np.ndarray  # (E,3) metres from the anchor, in the rest pose
    normal: np.ndarray  # (E,3) unit, in the rest pose
    head_weight: np.ndarray  # (E,) skinning weight of the head's rotation, 0..1
    ambient: np.ndarray  # (E,) visible share of the sky, 0..1
    faces: np.ndarray  # (F,3) indices into the E vertices
    atlas_xy: np.ndarray  # (E,2) texels


def merge(parts: Sequence[Attachment]) -> Attachment:
    """Concatenate attachments into one mesh."""
    first = np.cumsum([0, *(len(part.root) for part in parts)])
    return Attachment(
        root=np.concatenate([part.root for part in parts]),
        offset=np.concatenate([part.offset for part in parts]),
        normal=np.concatenate([part.normal for part in parts]),
        head_weight=np.concatenate([part.head_weight for part in parts]),
        ambient=np.concatenate([part.ambient for part in parts]),
        faces=np.concatenate([part.faces + start for part, start in zip(parts, first, strict=False)]),
        atlas_xy=np.concatenate([part.atlas_xy for part in parts]),
    )


def hair_cards(
    lines: np.ndarray,
    normals: np.ndarray,
    widths: np.ndarray,
    root: np.ndarray,
    root_points: np.ndarray,
    head_weight: np.ndarray,
    ambient: np.ndarray,
    rng: np.random.Generator,
) -> Attachment:
    """Build hair cards: flat textured strips of hair.

    Args:
        lines: (S,N,3) centre lines, metres, in the rest pose.
        normals: (S,N,3) unit, away from the head.
        widths: (S,N) metres.
        root: (S,) anchor vertex of each card; root_points: (S,3) its position.
        head_weight: (S,N) skinning weight of the head's rotation, 0..1.
        ambient: (S,N) visible share of the sky, 0..1.
        rng: picks the strands of the hair texture that a card shows.
    """
    count, points = lines.shape[:2]
    along = np.gradient(lines, axis=1)
    across = np.cross(along, normals)
    across /= np.linalg.norm(across, axis=2, keepdims=True) + 1e-9
    edges = np.stack([lines - across * widths[..., None] / 2, lines + across * widths[..., None] / 2], 2)
    x = rng.uniform(1, HAIR - 17, (count, 1, 1)) + np.array([0.0, 15.0])
    y = np.linspace(1, HAIR - 2, points)[None, :, None] + np.zeros((count, 1, 2))
    atlas_xy = np.stack([TEXTURE_WIDTH + np.broadcast_to(x, y.shape), HAIR_TOP + y], -1)
    index = np.arange(count * points * 2).reshape(count, points, 2)
    a, b, c, d = index[:, :-1, 0], index[:, :-1, 1], index[:, 1:, 0], index[:, 1:, 1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    per_card = points * 2
    # Normals at the edges of a card point sideways, so that it is lit like a round lock of hair.
    edge_normals = normals[:, :, None] + across[:, :, None] * np.array([-0.45, 0.45])[:, None]
    edge_normals /= np.linalg.norm(edge_normals, axis=-1, keepdims=True)
    return Attachment(
        root=np.repeat(root, per_card),
        offset=(edges - root_points[:, None, None]).reshape(-1, 3),
        normal=edge_normals.reshape(-1, 3),
        head_weight=np.repeat(head_weight.reshape(-1), 2),
        ambient=np.repeat(ambient.reshape(-1), 2),
        faces=faces,
        atlas_xy=atlas_xy.reshape(-1, 2),
    )


def tube(
    line: np.ndarray,
    radius: float,
    root: int,
    root_point: np.ndarray,
    colour: str,
    closed: bool = False,
    sides: int = 5,
) -> Attachment:
    """Build a tube along (N,3) points, anchored to one vertex, in a plain colour of the atlas."""
    along = np.gradient(line, axis=0) if not closed else np.roll(line, -1, 0) - np.roll(line, 1, 0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-12
    guide = np.where(np.abs(along[:, 1:2]) < 0.9, [[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]])
    first = np.cross(along, guide)
    first /= np.linalg.norm(first, axis=1, keepdims=True) + 1e-12
    second = np.cross(along, first)
    angle = 2 * np.pi * np.arange(sides) / sides
    normal = first[:, None] * np.cos(angle)[:, None] + second[:, None] * np.sin(angle)[:, None]
    points = line[:, None] + radius * normal
    count = len(line)
    ring = np.arange(count * sides).reshape(count, sides)
    ahead = np.roll(ring, -1, 0) if closed else ring[1:]
    ring = ring if closed else ring[:-1]
    a, b, c, d = ring, np.roll(ring, -1, 1), ahead, np.roll(ahead, -1, 1)
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    total = count * sides
    return Attachment(
        root=np.full(total, root),
        offset=points.reshape(-1, 3) - root_point,
        normal=normal.reshape(-1, 3),
        head_weight=np.ones(total),
        ambient=np.ones(total),
        faces=faces,
        atlas_xy=np.tile(np.array(swatch(colour)), (total, 1)),
    )
