"""Hair and beards from hair cards: rooted on the scalp, combed, pulled down by gravity, kept outside of the skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from deepfakemnist.actors.attachment import Attachment, hair_cards
from deepfakemnist.actors.bank import PARTS, Bank
from deepfakemnist.actors.fields import scalp, smooth
from deepfakemnist.actors.look import Look
from deepfakemnist.actors.skin import beard_area

_CARD_POINTS = 9  # along the centre line of a hair card
_CROWN_Z, _FACE_Y, _FACE_HALF_WIDTH = (
    0.055,
    0.030,
    0.062,
)  # upper limit of the forehead, depth of the face, half width; metres
_EAR_Z = -0.030  # below this height long hair hangs free of the head


@dataclass(frozen=True)
class _Style:
    """Parameters of a hairstyle; lengths in metres."""

    top: float  # length on the crown
    side: float  # length over the ears
    back: float  # length at the nape
    comb: str  # side, back, forward, down, or tufts: small curls in a shell around the head
    volume: float  # distance of the outermost layer from the scalp
    weight: float  # gravity, 0 stiff .. 1 hanging
    cards: int = 900
    width: float = 0.0065
    fringe: float = 0.0  # length of hair combed over the forehead
    jitter: float = 0.18  # random deviation of each card's direction


STYLES = {
    "crop": _Style(0.022, 0.012, 0.012, "forward", 0.010, 0.0, 1200, 0.005, jitter=0.35),
    "pixie": _Style(0.060, 0.045, 0.035, "side", 0.014, 0.25, 1000, 0.006, fringe=0.03),
    "side_part": _Style(0.070, 0.016, 0.014, "side", 0.016, 0.10, 1000, 0.006),
    "swept_back": _Style(0.080, 0.022, 0.022, "back", 0.016, 0.0, 1000, 0.006),
    "fringe": _Style(0.055, 0.022, 0.016, "forward", 0.014, 0.15, 1000, 0.006, fringe=0.045),
    "curly": _Style(0.024, 0.020, 0.020, "tufts", 0.020, 0.0, 1700, 0.007),
    "afro": _Style(0.030, 0.030, 0.030, "tufts", 0.050, 0.0, 2600, 0.009),
    "receding": _Style(0.030, 0.016, 0.014, "back", 0.007, 0.0, 800, 0.005, jitter=0.3),
    "bob": _Style(0.170, 0.130, 0.110, "down", 0.016, 0.8, 750, 0.009, jitter=0.10),
    "shoulder": _Style(0.26, 0.21, 0.19, "down", 0.016, 0.9, 750, 0.010, jitter=0.10),
    "long": _Style(0.36, 0.31, 0.28, "down", 0.014, 0.9, 750, 0.011, jitter=0.08),
    "fringe_long": _Style(0.33, 0.28, 0.26, "down", 0.014, 0.9, 800, 0.010, fringe=0.060, jitter=0.08),
    "curly_long": _Style(0.28, 0.23, 0.21, "down", 0.026, 0.8, 900, 0.011, jitter=0.22),
    "bun": _Style(0.12, 0.10, 0.08, "back", 0.005, 0.0, 800, 0.008, jitter=0.05),
    "ponytail": _Style(0.12, 0.10, 0.08, "back", 0.005, 0.0, 800, 0.008, jitter=0.05),
}


class SkinSurface:
    """Surface of the head: hair is rooted on it and must stay outside of it."""

    def __init__(self, bank: Bank, head: np.ndarray, normals: np.ndarray) -> None:
        self.bank, self.head, self.normals = bank, head, normals
        skin = bank.vertices_of("skin")
        x, _, z = bank.template[skin].T
        ear = (np.abs(x) > 0.074) & (z > -0.050) & (z < 0.034)
        # Hanging hair falls over the ears; combed hair runs behind them.
        self._surfaces = {over: (among, cKDTree(head[among])) for over, among in ((True, skin), (False, skin[~ear]))}

    def roots(self, density: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Sample roots on the skin by (V,) ``density``: returns (count,) anchor vertices and (count,3) points."""
        faces = self.bank.faces[self.bank.part == PARTS.index("skin")]
        a, b, c = (self.head[faces[:, k]] for k in range(3))
        weight = np.linalg.norm(np.cross(b - a, c - a), axis=1) * density[faces].mean(1)
        chosen = rng.choice(len(faces), count, p=weight / weight.sum())
        u, v = rng.random((2, count))
        u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
        points = a[chosen] * (1 - u - v)[:, None] + b[chosen] * u[:, None] + c[chosen] * v[:, None]
        return faces[chosen, 0], points

    def clamp_height(
        self, points: np.ndarray, low: np.ndarray, high: np.ndarray, over_ears: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (N,3) points clamped to (N,) ``low`` .. ``high`` above the skin, and the skin normals below them."""
        vertices, tree = self._surfaces[over_ears]
        vertex = vertices[tree.query(points)[1]]
        normal = self.normals[vertex]
        height = ((points - self.head[vertex]) * normal).sum(1)
        return points + normal * (np.clip(height, low, high) - height)[:, None], normal


def grow_hair(bank: Bank, skin: SkinSurface, look: Look, rng: np.random.Generator) -> list[Attachment]:
    """Return the hair cards of a hairstyle; empty for bald and shaven heads."""
    if look.style not in STYLES:
        return []
    style = STYLES[look.style]
    hanging = style.comb == "down"
    vertex, points = skin.roots(scalp(bank.template, look.style) > 0.5, style.cards, rng)
    canonical = bank.template[vertex]
    parting = rng.choice([-0.028, 0.0, 0.028]) if hanging else rng.choice([-0.030, 0.030])
    normal = skin.normals[vertex]
    comb = _comb_directions(style.comb, points, normal, parting, rng)
    length = _lengths(style, canonical, rng)
    fringed = (canonical[:, 1] < 0.022) & (canonical[:, 2] > 0.05) & (np.abs(points[:, 0]) < 0.055) & (style.fringe > 0)
    comb[fringed] = np.stack([points[fringed, 0] * 4, -np.ones(fringed.sum()), np.zeros(fringed.sum())], 1)
    length[fringed] = style.fringe * rng.uniform(0.85, 1.1, fringed.sum())
    layer = rng.random(style.cards)  # 0 on the scalp .. 1 outermost
    volume = style.volume * np.interp(canonical[:, 2], [-0.05, 0.03, 0.10], [0.35, 0.6, 1.0])
    if style.comb == "tufts":
        lines, normals = _tufts(points, normal, length, volume * layer, rng)
    else:
        lines, normals = _grow(skin, style, look, points, normal, comb, length, 0.002 + volume * layer, fringed, rng)
    if hanging:
        lines = _clear_face(lines, fringed)
    taper = np.interp(np.linspace(0, 1, _CARD_POINTS), [0, 0.7, 1], [1.0, 1.25, 0.6] if hanging else [1.0, 0.9, 0.25])
    widths = style.width * taper * rng.uniform(0.7, 1.3, (style.cards, 1))
    drop = smooth(-0.08, -0.25, lines[..., 2])
    tilt = rng.normal(0, 0.16, (style.cards, 1, 3))
    tilted = normals + tilt
    tilted /= np.linalg.norm(tilted, axis=2, keepdims=True)
    ambient = np.interp(layer, [0, 1], [0.35, 1.0])[:, None] * np.linspace(0.75, 1.0, _CARD_POINTS)
    parts = [hair_cards(lines, tilted, widths, vertex, skin.head[vertex], 1 - 0.75 * drop, ambient, rng)]
    if look.style in ("bun", "ponytail"):
        parts.append(_bun_or_ponytail(bank, skin, look.style, rng))
    return parts


def grow_beard(bank: Bank, skin: SkinSurface, look: Look, rng: np.random.Generator) -> list[Attachment]:
    """Return the short hair cards of a beard; stubble is only painted."""
    if look.beard in ("none", "stubble"):
        return []
    count = {"moustache": 260, "goatee": 500, "full": 1300}[look.beard]
    density = beard_area(bank.template, look.beard) * (bank.occlusion > 0.25)
    vertex, points = skin.roots(density, count, rng)
    normal = skin.normals[vertex]
    length = rng.uniform(0.005, 0.010 if look.beard == "full" else 0.007)
    step = length * rng.uniform(0.7, 1.2, count)[:, None] / 3
    down = np.array([0.0, -0.1, -1.0]) + rng.normal(0, 0.25, (count, 3))
    line = [points + 0.0005 * normal]
    for bend in (0.55, 0.35, 0.25):
        direction = normal * bend + down * (1 - bend)
        line.append(line[-1] + step * direction / np.linalg.norm(direction, axis=1, keepdims=True))
    lines = np.stack(line, 1)
    widths = np.array([1.0, 1.0, 0.8, 0.3]) * 0.0024 * rng.uniform(0.7, 1.3, (count, 1))
    normals = np.repeat(normal[:, None], 4, 1)
    ambient = np.repeat(bank.occlusion[vertex][:, None] * 0.9, 4, 1)
    return [hair_cards(lines, normals, widths, vertex, skin.head[vertex], np.ones((count, 4)), ambient, rng)]


def _comb_directions(
    kind: str, points: np.ndarray, normal: np.ndarray, parting: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the (S,3) comb direction of each hair card."""
    from_parting = points[:, 0] - parting
    aside = np.sign(from_parting)
    zero, one = np.zeros(len(points)), np.ones(len(points))
    if kind == "side":
        return np.stack([aside, 0.35 * one, 0.1 * one], 1)
    if kind == "back":
        return np.stack([0.10 * points[:, 0] / 0.07, one, 0.15 * one], 1)
    if kind == "forward":
        return np.stack([0.25 * points[:, 0] / 0.07, -one, 0.1 * one], 1)
    if kind == "down":
        return np.stack([aside, 0.30 * one + 1.2 * np.maximum(points[:, 1] - 0.05, 0) / 0.1, zero], 1)
    return normal


def _lengths(style: _Style, canonical: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    crown = smooth(0.035, 0.075, canonical[:, 2])
    nape = smooth(0.08, 0.13, canonical[:, 1])
    low = style.side * (1 - nape) + style.back * nape
    return (style.top * crown + low * (1 - crown)) * rng.uniform(0.85, 1.12, len(canonical))


def _grow(
    skin: SkinSurface,
    style: _Style,
    look: Look,
    points: np.ndarray,
    normal: np.ndarray,
    comb: np.ndarray,
    length: np.ndarray,
    clearance: np.ndarray,
    fringed: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Grow every hair card from root to tip; returns (S,N,3) points and the (S,N,3) skin normals below them."""
    count = len(points)
    step = (length / (_CARD_POINTS - 1))[:, None]
    comb = comb / (np.linalg.norm(comb, axis=1, keepdims=True) + 1e-9)
    jitter = rng.normal(0, style.jitter, (count, 3))
    phase, turns = rng.uniform(0, 2 * np.pi, count), rng.uniform(1.5, 3.0, count)
    curl = look.curl * (1.3 if look.style == "curly_long" else 0.3)
    weight = np.where(fringed, 0.5, style.weight)[:, None]
    stiff, hangs = look.style in ("crop", "pixie", "receding"), style.comb == "down"
    direction = (0.7 if stiff else 0.35) * normal + 0.6 * comb
    point, below = points + 0.0008 * normal, normal
    lines, normals = [point], [normal]
    for index in range(1, _CARD_POINTS):
        share = index / (_CARD_POINTS - 1)
        # Only hanging hair leaves the head; combed or short hair follows it down to the nape.
        on_head = smooth(_EAR_Z - 0.03, _EAR_Z + 0.03, point[:, 2])[:, None] if hangs else np.ones((count, 1))
        pull = comb * (1 - weight * np.sqrt(share)) * np.maximum(on_head, 0.05) + jitter * (0.3 + 0.7 * on_head)
        pull[:, 2:] -= 1.8 * weight * np.maximum(share, 1 - on_head)
        pull += 0.8 * curl * np.sin(phase + 2 * np.pi * turns * share)[:, None] * np.cross(below, direction)
        direction = 0.5 * direction + pull
        tangential = direction - below * (direction * below).sum(1, keepdims=True)
        direction = np.where(on_head > 0.5, tangential + (0.5 if stiff else 0.15) * below * (1 - share), direction)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-9
        low = clearance * min(1.0, 2.5 * share)
        high = np.where(on_head[:, 0] > 0.2, low + (0.012 if stiff else 0.003), np.inf)
        point, below = skin.clamp_height(point + step * direction, low, high, over_ears=hangs)
        lines.append(point)
        normals.append(below)
    return np.stack(lines, 1), np.stack(normals, 1)


def _tufts(
    points: np.ndarray, normal: np.ndarray, length: np.ndarray, height: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Place a small curl at each root, ``height`` above the skin; returns points and normals like :func:`_grow`."""
    sideways = np.cross(normal, rng.normal(0, 1, normal.shape))
    sideways /= np.linalg.norm(sideways, axis=1, keepdims=True) + 1e-9
    other = np.cross(normal, sideways)
    turn = np.linspace(-1, 1, _CARD_POINTS)[None, :, None] * rng.uniform(1.2, 2.2, (len(points), 1, 1))
    radius = (length / 2 / 2.0)[:, None, None]
    arc = np.sin(turn) * sideways[:, None] + (np.cos(turn) - 0.5) * (0.6 * normal + 0.8 * other)[:, None]
    lines = (points + normal * height[:, None])[:, None] + radius * arc
    bulge = normal[:, None] + 0.5 * np.sin(turn) * sideways[:, None]
    return lines, bulge / np.linalg.norm(bulge, axis=2, keepdims=True)


def _clear_face(lines: np.ndarray, fringed: np.ndarray) -> np.ndarray:
    """Push hanging hair sideways where it would cover the face; a fringe may hang to the brows."""
    x, y, z = lines[..., 0], lines[..., 1], lines[..., 2]
    # The push grows from zero at the hairline to the half width of the face at the eyes.
    half = _FACE_HALF_WIDTH * smooth(_CROWN_Z + 0.012, 0.022, z)
    covers = (y < _FACE_Y) & (np.abs(x) < half) & ~fringed[:, None]
    side = np.where(x.mean(1, keepdims=True) < 0, -1.0, 1.0)
    out = lines.copy()
    out[..., 0] = np.where(covers, side * half, x)
    return out


def _bun_or_ponytail(bank: Bank, skin: SkinSurface, style: str, rng: np.random.Generator) -> Attachment:
    """Return the hair cards of a bun on the crown or a ponytail at the back of the head."""
    back = bank.template[:, 1] - 0.6 * np.abs(bank.template[:, 2] - (0.085 if style == "bun" else 0.04))
    root = int(np.argmax(np.where(scalp(bank.template) > 0.5, back, -9)))
    centre = skin.head[root] + skin.normals[root] * 0.012
    count = 260
    if style == "bun":
        turn = rng.uniform(0, 2 * np.pi, (count, 1)) + np.linspace(0, 2.2, 6)
        tilt = np.arccos(rng.uniform(-1, 1, (count, 1)))
        normals = np.stack([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt) + 0 * turn], -1)
        lines = centre + normals * rng.uniform(0.024, 0.034) * rng.uniform(0.9, 1.05, (count, 1, 1))
    else:
        share = np.linspace(0, 1, 6)
        fan = rng.normal(0, 0.016, (count, 1, 3)) * (0.3 + share[:, None])
        swing = rng.uniform(-0.5, 0.5)
        middle = np.stack([0.11 * swing * share, 0.03 * np.sin(share * 2.2), -0.24 * share**1.3], -1)
        lines = centre + middle + fan
        normals = np.broadcast_to(np.array([0.0, 1.0, 0.2]), lines.shape) + 30 * fan
        normals = normals / np.linalg.norm(normals, axis=-1, keepdims=True)
    widths = np.full((count, 6), 0.009)
    ambient = np.broadcast_to(rng.uniform(0.5, 1.0, (count, 1)), (count, 6))
    roots = np.full(count, root)
    return hair_cards(lines, normals, widths, roots, skin.head[roots], np.ones((count, 6)), ambient, rng)
