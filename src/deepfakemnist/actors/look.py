"""Appearance of an actor (skin, hair, eyes, glasses, clothes), sampled once per actor from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepfakemnist.actors.bank import Identity

#: sRGB skin tones, lightest to darkest, spread after photographs of the Fitzpatrick types.
_SKIN = np.array(
    [(243, 214, 194), (234, 196, 168), (224, 178, 144), (200, 148, 110), (160, 108, 76), (118, 78, 54), (86, 56, 40)]
)
_HAIR = {
    "black": (30, 25, 23),
    "dark": (46, 33, 26),
    "brown": (78, 53, 36),
    "light_brown": (116, 83, 52),
    "blond": (176, 140, 92),
    "red": (118, 58, 32),
    "grey": (140, 137, 133),
}
_IRIS = ((62, 40, 24), (92, 62, 34), (104, 98, 58), (80, 116, 148), (104, 124, 132))
_STYLES = {
    "male": {
        "crop": 5,
        "side_part": 4,
        "swept_back": 3,
        "fringe": 2,
        "curly": 2,
        "buzz": 2,
        "receding": 1.5,
        "bald": 1,
        "shoulder": 0.6,
    },
    "female": {
        "long": 4,
        "shoulder": 4,
        "bob": 3,
        "bun": 3,
        "ponytail": 3,
        "curly_long": 2,
        "fringe_long": 2.5,
        "pixie": 1.5,
        "afro": 0.6,
    },
}
_CURLY_STYLES = {"male": {"buzz": 4, "curly": 4, "crop": 1, "afro": 1.5, "bald": 1.5}}
_BEARDS = {"none": 5, "stubble": 3, "moustache": 0.8, "goatee": 1.2, "full": 2}
_CLOTHES = ("tee", "tee", "vneck", "shirt", "shirt", "polo", "turtleneck", "hoodie")
_GREY_FROM = 0.81  # age on Anny's scale: in the fifties
_GLASSES = 0.22  # share of people who wear them


@dataclass(frozen=True, eq=False)
class Look:
    """Sampled appearance; colours are linear RGB, (3,) float32 in 0..1."""

    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    lips: np.ndarray
    style: str
    curl: float  # 0 straight .. 1 tight curls
    beard: str
    brow_thickness: float  # half thickness, metres
    brow_lift: float  # metres above the template's
    lash_length: float  # 1 is the mesh's length
    freckles: float  # 0..1
    glasses: str  # none, round, square or thin
    glasses_colour: np.ndarray
    clothes: str
    cloth: np.ndarray
    cloth_second: np.ndarray
    pattern: str  # plain, stripes, checks or print


def linear(srgb: tuple[float, ...] | np.ndarray) -> np.ndarray:
    """Convert sRGB 0..255 to linear light, float32 in 0..1; gamma 2.2 approximates the standard's curve."""
    return (np.asarray(srgb, np.float32) / 255) ** np.float32(2.2)


def person_look(person: Identity, rng: np.random.Generator, take_rng: np.random.Generator) -> Look:
    """Sample a look: ``rng`` for what a person keeps in every video, ``take_rng`` for what changes (clothes)."""
    african, asian, _ = person.ancestry
    female = person.sex == "female"
    tone = float(np.clip(person.tone + rng.normal(0, 0.03), 0, 1)) * (len(_SKIN) - 1)
    low = min(int(tone), len(_SKIN) - 2)
    skin = linear(_SKIN[low] * (1 - tone + low) + _SKIN[low + 1] * (tone - low))
    hair = _hair_colour(person, rng)
    styles = _CURLY_STYLES.get(person.sex, {}) if african > 0.5 else _STYLES[person.sex]
    styles = styles or {"afro": 4, "bun": 3, "curly_long": 3, "shoulder": 1, "long": 1, "buzz": 0.6}
    style = _choose(rng, styles)
    if style in ("receding", "bald") and person.age < 0.70:
        style = "buzz" if african > 0.5 else "crop"
    curl = float(np.clip(0.75 * african + rng.uniform(0, 0.35) - 0.3 * asian, 0, 1))
    lipstick = female and rng.random() < 0.45
    lips = skin * np.array([0.92, 0.42, 0.45] if lipstick else [0.90, 0.58, 0.58], np.float32)
    dark_eyes = african + asian > 0.55
    clothes = str(take_rng.choice(_CLOTHES))
    pattern = _choose(take_rng, {"plain": 6, "stripes": 2, "checks": 1, "print": 1})
    return Look(
        skin=skin,
        hair=hair,
        iris=linear(_IRIS[rng.integers(0, 2 if dark_eyes else len(_IRIS))]),
        lips=lips,
        style=style,
        curl=curl,
        beard="none" if female else _choose(rng, _BEARDS),
        brow_thickness=float(rng.uniform(0.0030, 0.0046)) * (0.75 if female else 1.1),
        brow_lift=float(rng.normal(0, 0.0008)),
        lash_length=float(rng.uniform(0.75, 1.0)) if female else float(rng.uniform(0.3, 0.5)),
        freckles=float(rng.uniform(0, 1)) if person.tone < 0.25 and rng.random() < 0.3 else 0.0,
        glasses=str(rng.choice(["round", "square", "thin"])) if rng.random() < _GLASSES else "none",
        glasses_colour=linear(np.array([(24, 22, 22), (70, 42, 26), (120, 110, 96), (40, 44, 66)])[rng.integers(4)]),
        clothes=clothes,
        cloth=_cloth_colour(take_rng),
        cloth_second=_cloth_colour(take_rng),
        pattern="plain" if clothes in ("turtleneck", "hoodie") else pattern,
    )


def _hair_colour(person: Identity, rng: np.random.Generator) -> np.ndarray:
    african, asian, _ = person.ancestry
    if person.age > _GREY_FROM and rng.random() < 0.4:
        name = "grey"
    elif african + asian > 0.55:
        name = _choose(rng, {"black": 3, "dark": 2})
    else:
        name = _choose(rng, {"black": 0.6, "dark": 2, "brown": 3, "light_brown": 2, "blond": 1.6, "red": 0.6})
    return linear(_HAIR[name]) * np.float32(rng.uniform(0.85, 1.2))


def _cloth_colour(rng: np.random.Generator) -> np.ndarray:
    """Sample a muted colour: wardrobes are mostly grey, blue, white and black, with the odd bright piece."""
    hue, saturation, value = rng.random(), float(rng.beta(1.4, 2.6)), float(rng.uniform(0.15, 0.9))
    wheel = np.clip(np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return linear(255 * value * (1 - saturation * (1 - wheel)))


def _choose(rng: np.random.Generator, weights: dict[str, float]) -> str:
    share = np.array(list(weights.values()), float)
    return str(rng.choice(list(weights), p=share / share.sum()))
