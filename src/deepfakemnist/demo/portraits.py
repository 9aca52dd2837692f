"""The demo's people: two portraits that Python packages ship, changed into ten who look different.

Colonel Eileen Collins (NASA, in scikit-image) and Rear Admiral Grace Hopper (US Navy, in matplotlib) are official
portraits in the public domain. Seeded changes of mirror side, colouring and face shape make pseudo-people of them, so
that nobody's likeness is used without need, and splits by person have something to split.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import cv2
import numpy as np
import skimage.data

from deepfakemnist.ids import seed_from

#: Feature points every portrait has: x and y of what its name says, "right" and "left" being the subject's.
POINTS = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth", "lips", "chin")
LICENCE = "public domain (official portrait of a US agency), altered"


@dataclass(frozen=True, eq=False)
class Portrait:
    """A still picture and where its face is."""

    #: (H, W, 3) uint8 RGB.
    picture: np.ndarray
    #: (7, 2) float64 x, y in pixels, in the order of POINTS. "lips" is where the lips part, on the face's middle line.
    points: np.ndarray

    @property
    def unit(self) -> float:
        """Distance between the eyes, pixels."""
        return float(np.linalg.norm(self.points[1] - self.points[0]))

    def frame(self) -> np.ndarray:
        """Return the (2, 3) affine map from face coordinates to pixels.

        Face coordinates (u, v) start between the eyes, u along the eye line to the right of the picture, v down the
        face, in eye distances.
        """
        centre = (self.points[0] + self.points[1]) / 2
        across = self.points[1] - self.points[0]
        return np.array([[across[0], -across[1], centre[0]], [across[1], across[0], centre[1]]])

    def in_face(self, pixels: np.ndarray) -> np.ndarray:
        """Map (..., 2) pixel coordinates to face coordinates."""
        matrix = self.frame()
        return (pixels - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T

    def in_picture(self, face: np.ndarray) -> np.ndarray:
        """Map (..., 2) face coordinates to pixels."""
        matrix = self.frame()
        return face @ matrix[:, :2].T + matrix[:, 2]


@dataclass(frozen=True)
class _Original:
    """Where a portrait's features lie, read off the picture by eye, and how it is framed."""

    points: tuple[tuple[float, float], ...]
    zoom: float
    #: Width and height of the framed picture.
    size: tuple[int, int]


_COLLINS = _Original(
    ((203.3, 101.7), (247.5, 102.9), (222.2, 127.3), (203.9, 139.7), (243.5, 141.2), (224.0, 148.7), (224.0, 178.3)),
    zoom=1.15,
    size=(480, 384),
)
_HOPPER = _Original(
    ((221.2, 191.0), (304.9, 188.5), (266.2, 241.3), (231.7, 274.2), (301.9, 272.5), (266.2, 274.2), (266.0, 322.0)),
    zoom=0.75,
    size=(360, 432),
)


def person(name: str, seed: int = 0) -> Portrait:
    """Return the pseudo-person ``name``: ``collins-N`` or ``hopper-N``, any whole N; the same name is the same person.

    Raises:
        ValueError: the name is of neither family.
    """
    family, _, number = name.partition("-")
    if family not in ("collins", "hopper") or not number.isdigit():
        raise ValueError(f"no pseudo-person is called {name!r}; names are collins-N and hopper-N")
    rng = np.random.default_rng(seed_from("demo person", seed, name))
    portrait = _collins() if family == "collins" else _hopper()
    portrait = _reshape(portrait, rng)
    portrait = _frame(portrait, _COLLINS if family == "collins" else _HOPPER, rng)
    if int(number) % 2:
        portrait = _mirror(portrait)
    return Portrait(_recolour(portrait.picture, rng), portrait.points)


def sample(picture: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Return the picture whose pixel (y, x) is that of ``picture`` at ``source[y, x]``, a pair x, y in pixels.

    Between pixels it is interpolated (bicubic); beyond the edge the picture is mirrored.
    """
    across, down = (np.ascontiguousarray(source[..., axis], dtype=np.float32) for axis in (0, 1))
    return cv2.remap(picture, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def _collins() -> Portrait:
    return Portrait(np.asarray(skimage.data.astronaut()), np.array(_COLLINS.points))


def _hopper() -> Portrait:
    data = files("matplotlib").joinpath("mpl-data", "sample_data", "grace_hopper.jpg").read_bytes()
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None, "matplotlib ships a JPEG that OpenCV cannot read"
    return Portrait(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.array(_HOPPER.points))


def _frame(portrait: Portrait, original: _Original, rng: np.random.Generator) -> Portrait:
    """Zoom and cut, the face where chance puts it, never outside the original picture."""
    width, height = original.size
    room_x = portrait.picture.shape[1] * original.zoom - width
    # Collins' hair and Hopper's cap reach the top of the pictures, so the cut starts there.
    shift = np.array([-rng.uniform(0.1, 0.9) * max(room_x, 0.0), 0.0])
    matrix = np.column_stack([np.eye(2) * original.zoom, shift])
    picture = cv2.warpAffine(
        portrait.picture, matrix, (width, height), flags=cv2.INTER_AREA if original.zoom < 1 else cv2.INTER_CUBIC
    )
    return Portrait(picture, portrait.points * original.zoom + shift)


def _mirror(portrait: Portrait) -> Portrait:
    points = portrait.points.copy()
    points[:, 0] = portrait.picture.shape[1] - 1 - points[:, 0]
    # The subject's right is now the left of who stands there.
    return Portrait(np.ascontiguousarray(portrait.picture[:, ::-1]), points[[1, 0, 2, 4, 3, 5, 6]])


def _reshape(portrait: Portrait, rng: np.random.Generator) -> Portrait:
    """Widen or narrow jaw, eyes, nose and mouth, lengthen or shorten the face, by smooth displacements."""
    jaw, cheeks, eyes, mouth, nose = rng.uniform(-1, 1, 5) * [0.13, 0.10, 0.07, 0.10, 0.10]
    length = rng.uniform(-0.08, 0.08)

    def displacement(face: np.ndarray) -> np.ndarray:
        """(..., 2) face coordinates → how far what is seen there came from, i.e. source minus destination."""
        u, v = face[..., 0], face[..., 1]
        inside = np.exp(-((u / 1.3) ** 4))
        along = -u * inside * (
            jaw * np.exp(-(((v - 1.25) / 0.45) ** 2)) + cheeks * np.exp(-(((v - 0.45) / 0.4) ** 2))
            + eyes * np.exp(-((v / 0.3) ** 2)) + mouth * np.exp(-((u / 0.6) ** 2) - ((v - 0.95) / 0.2) ** 2)
        )  # fmt: skip
        along -= u * nose * 2 * np.exp(-((u / 0.3) ** 2) - ((v - 0.5) / 0.25) ** 2)
        down = -length * v * np.exp(-((u / 1.3) ** 4) - ((v - 0.9) / 1.0) ** 4)
        return np.stack([along, down], axis=-1)

    height, width = portrait.picture.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float64)
    face = portrait.in_face(grid)
    picture = sample(portrait.picture, portrait.in_picture(face + displacement(face)))
    start = moved = portrait.in_face(portrait.points)
    for _ in range(8):  # the destination that shows a point solves destination + displacement = point
        moved = start - displacement(moved)
    return Portrait(picture, portrait.in_picture(moved))


def _recolour(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change light, contrast and tint: lightness curve, then a shift of Lab's colour axes."""
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    gamma = rng.uniform(0.75, 1.4)
    contrast = rng.uniform(0.8, 1.05)
    lab[..., 0] = 100 * np.clip(0.5 + contrast * ((lab[..., 0] / 100) ** gamma - 0.5), 0, 1)
    lab[..., 1:] = lab[..., 1:] * rng.uniform(0.7, 1.15) + rng.uniform(-5, 5, 2).astype(np.float32)
    rgb = cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB)
    return np.clip(np.rint(rgb * 255), 0, 255).astype(np.uint8)
