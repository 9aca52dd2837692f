"""Geometry that is not in the bank (hair, beard, glasses, collars) and moves with the skin it is fixed to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepfakemnist.actors.bank import TEXTURE_WIDTH
from deepfakemnist.actors.layout import HAIR, HAIR_TOP, swatch


@dataclass(frozen=True, eq=False)
class Attachment:
    """Triangles, each vertex at a fixed offset from a vertex of the head."""

    root: np.ndarray  # (E,) vertex of the bank
    offset: np.ndarray  # (E,3) metres from it, the head at rest
    normal: np.ndarray  # (E,3) unit, the head at rest
    follow: np.ndarray  # (E,) share of the head's rotation followed
    shade: np.ndarray  # (E,) share of sky seen
    faces: np.ndarray  # (F,3) into the E vertices
    positions: np.ndarray  # (E,2) atlas


def merge(parts: Sequence[Attachment]) -> Attachment:
    """Join attachments into one."""
    first = np.cumsum([0, *(len(part.root) for part in parts)])
    return Attachment(
        root=np.concatenate([part.root for part in parts]),
        offset=np.concatenate([part.offset for part in parts]),
        normal=np.concatenate([part.normal for part in parts]),
        follow=np.concatenate([part.follow for part in parts]),
        shade=np.concatenate([part.shade for part in parts]),
        faces=np.concatenate([part.faces + start for part, start in zip(parts, first, strict=False)]),
        positions=np.concatenate([part.positions for part in parts]),
    )


def ribbons(
    lines: np.ndarray,
    normals: np.ndarray,
    widths: np.ndarray,
    root: np.ndarray,
    roots_at: np.ndarray,
    follow: np.ndarray,
    shade: np.ndarray,
    rng: np.random.Generator,
) -> Attachment:
    """Make flat strips of hair.

    Args:
        lines: (S,N,3) middle lines, metres, the head at rest.
        normals: (S,N,3) unit, away from the head.
        widths: (S,N) metres.
        root: (S,) vertex that carries each strip; roots_at: (S,3) its place.
        follow: (S,N) share of the head's rotation followed.
        shade: (S,N) share of sky seen.
        rng: draws which strands of the hair picture a strip shows.
    """
    count, stations = lines.shape[:2]
    along = np.gradient(lines, axis=1)
    across = np.cross(along, normals)
    across /= np.linalg.norm(across, axis=2, keepdims=True) + 1e-9
    edges = np.stack([lines - across * widths[..., None] / 2, lines + across * widths[..., None] / 2], 2)
    x = rng.uniform(1, HAIR - 17, (count, 1, 1)) + np.array([0.0, 15.0])
    y = np.linspace(1, HAIR - 2, stations)[None, :, None] + np.zeros((count, 1, 2))
    positions = np.stack([TEXTURE_WIDTH + np.broadcast_to(x, y.shape), HAIR_TOP + y], -1)
    index = np.arange(count * stations * 2).reshape(count, stations, 2)
    a, b, c, d = index[:, :-1, 0], index[:, :-1, 1], index[:, 1:, 0], index[:, 1:, 1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    each = stations * 2
    # A strip is not flat to light: its edges look aside, as a lock's do.
    leaning = normals[:, :, None] + across[:, :, None] * np.array([-0.45, 0.45])[:, None]
    leaning /= np.linalg.norm(leaning, axis=-1, keepdims=True)
    return Attachment(
        root=np.repeat(root, each),
        offset=(edges - roots_at[:, None, None]).reshape(-1, 3),
        normal=leaning.reshape(-1, 3),
        follow=np.repeat(follow.reshape(-1), 2),
        shade=np.repeat(shade.reshape(-1), 2),
        faces=faces,
        positions=positions.reshape(-1, 2),
    )


def tube(
    line: np.ndarray, radius: float, root: int, root_at: np.ndarray, colour: str, closed: bool = False, sides: int = 5
) -> Attachment:
    """Make a round bar along (N,3) points, all carried by one vertex, in a plain colour of the atlas."""
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
        offset=points.reshape(-1, 3) - root_at,
        normal=normal.reshape(-1, 3),
        follow=np.ones(total),
        shade=np.ones(total),
        faces=faces,
        positions=np.tile(np.array(swatch(colour)), (total, 1)),
    )
