"""Rendering of a synthetic actor: a head of the bank with a look, in a room, in front of a camera."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from deepfakemnist.actors import accessories, atlas, hair, scene, shade
from deepfakemnist.actors.attachment import merge
from deepfakemnist.actors.bank import PARTS, Bank
from deepfakemnist.actors.clothes import covered
from deepfakemnist.actors.fields import scalp
from deepfakemnist.actors.landmarks import LANDMARKS
from deepfakemnist.actors.layout import atlas_coordinates
from deepfakemnist.actors.look import person_look
from deepfakemnist.actors.pose import Framing, Landmarks, Pose, couple_gaze, rotation
from deepfakemnist.media.raster import interpolate, visibility

_PIVOT = np.array([0.0, 0.085, -0.075], np.float32)  # joint of skull and neck, metres
_HEAD_HEIGHT_M = 0.23  # crown to chin
_SUPERSAMPLING = 2  # supersampling factor per axis
_CLOTH_M = 0.007  # clearance of clothes from the skin
_SCALP_M = 0.003  # and of hair from the scalp
#: Gain of facial actions. At weight 1 Anny raises the brows by 4 mm and hardly widens the eyes; surprised people raise
#: their brows by about 8 mm.
_ACTION_GAIN = {
    "browInnerUp": 1.8,
    "browOuterUpLeft": 1.8,
    "browOuterUpRight": 1.8,
    "eyeWideLeft": 1.5,
    "eyeWideRight": 1.5,
}
#: Shift of the upper teeth: MakeHuman's end level with the lip and 10 mm behind it, so an open mouth never shows them.
_UPPER_TEETH_M = np.array([0.0, -0.003, -0.0035], np.float32)
_EYE_LIGHT, _MOUTH_LIGHT = 0.65, 0.45  # minimum visible share of the sky: eyeballs; teeth and tongue


@dataclass
class _RestMesh:
    """The actor's mesh in the rest pose: the V vertices of the bank, then the E vertices of the attachments."""

    skin: np.ndarray  # (V,3)
    root: np.ndarray  # (E,) anchor vertex
    offset: np.ndarray  # (E,3) from the anchor
    normal: np.ndarray  # (E,3) unit
    head_weight: np.ndarray  # (V+E,) skinning weight of the head's rotation
    ambient: np.ndarray  # (V+E,) visible share of the sky
    faces: np.ndarray  # (F,3) int32
    atlas_xy: np.ndarray  # (C,2) texels
    corners: np.ndarray  # (F,3) int32, rows of atlas_xy
    two_sided: np.ndarray  # (F,) bool
    part: np.ndarray  # (F,) index into PARTS, len(PARTS) for attachments
    order: tuple[np.ndarray, ...] = field(repr=False)


class Actor:
    """A synthetic person.

    Args:
        bank: the bank of heads.
        identity: index of the head, 0 .. len(bank) - 1.
        seed: samples what a person keeps in every video (skin, hair, brows, glasses, beard).
        take: samples what differs between videos of a person (clothes, light, room); None uses ``seed``.
        fast: numba (True), numpy (False), or numba if installed (None).

    Raises:
        ValueError: the identity is not in the bank.
    """

    def __init__(self, bank: Bank, identity: int, seed: int, take: int | None = None, fast: bool | None = None) -> None:
        if not 0 <= identity < len(bank):
            raise ValueError(f"the bank has identities 0 to {len(bank) - 1}, not {identity}")
        self.bank, self.identity, self.seed = bank, identity, seed
        self.take = seed if take is None else take
        self.person = bank.people[identity]
        self._fast = fast
        person_rng, take_rng = self._rng("person"), self._rng("take", self.take)
        self.look = person_look(self.person, person_rng, take_rng)
        self._light = scene.sample_light(take_rng)
        self._distance = float(take_rng.uniform(0.9, 1.4))  # of the camera, metres
        self._neutral = _neutral_expression(person_rng)
        self._rest = self._build_mesh(person_rng)
        self._atlas = atlas.paint(bank, self.look, self._rng("paint", self.take))
        self._rooms: dict[tuple[int, int], np.ndarray] = {}
        self._face = self._face_vertices()

    def render(
        self,
        pose: Pose | None = None,
        actions: Mapping[str, float] | None = None,
        gaze: tuple[float, float] = (0.0, 0.0),
        framing: Framing | None = None,
        noise: int = 0,
    ) -> np.ndarray:
        """Return one frame, (height, width, 3) uint8 RGB.

        Args:
            pose: of the head; default facing the camera.
            actions: blendshape weights 0..1 of facial actions by ARKit name (``bank.action_names``).
            gaze: relative to the head, degrees to the subject's left and up.
            framing: size of the frame and position of the face in it.
            noise: seed of the sensor noise; give every frame of a clip its own.

        Raises:
            ValueError: an action that is not in the bank.
        """
        framing = framing or Framing()
        return self.expose(self.render_linear(pose, actions, gaze, framing), None, framing, noise)

    def expose(self, light: np.ndarray, last: np.ndarray | None, framing: Framing, noise: int) -> np.ndarray:
        """Return the frame that a camera records of :meth:`render_linear`'s light, with motion blur from ``last``."""
        return scene.expose(light, last, (framing.width, framing.height), self._rng("noise", self.take, noise))

    def render_linear(
        self,
        pose: Pose | None,
        actions: Mapping[str, float] | None,
        gaze: tuple[float, float],
        framing: Framing,
    ) -> np.ndarray:
        """Return the supersampled frame in linear light, (2·height, 2·width, 3) float32; see :meth:`render`."""
        return self._rasterise(pose or Pose(), actions or {}, gaze, framing)[0]

    def render_cutout(
        self,
        pose: Pose,
        actions: Mapping[str, float],
        gaze: tuple[float, float],
        framing: Framing,
        noise: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the frame of :meth:`render` and its (height, width) uint8 alpha matte, 255 where the actor is opaque.

        With :meth:`empty_room`, the two composite the actor over another background.
        """
        light, triangle = self._rasterise(pose, actions, gaze, framing)
        foreground = (triangle >= 0).astype(np.float32)
        alpha = cv2.resize(foreground, (framing.width, framing.height), interpolation=cv2.INTER_AREA)
        return self.expose(light, None, framing, noise), np.rint(255 * alpha).astype(np.uint8)

    def empty_room(self, framing: Framing) -> np.ndarray:
        """Return the background without the actor, (height, width, 3) uint8 RGB."""
        room = self._room((framing.width * _SUPERSAMPLING, framing.height * _SUPERSAMPLING))
        return self.expose(room, None, framing, 0)

    def _rasterise(
        self, pose: Pose, actions: Mapping[str, float], gaze: tuple[float, float], framing: Framing
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the frame in linear light and the visible triangle at each of its pixels, -1 for the room."""
        rest = self._rest
        actions, gaze = couple_gaze(actions, gaze)
        skin = self._deform(actions)
        turn = rotation(pose)
        vertices, normals = self._rotate_head(skin, turn)
        size = (framing.width * _SUPERSAMPLING, framing.height * _SUPERSAMPLING)
        screen = self._project(vertices, pose, framing, _SUPERSAMPLING)
        triangle, weights, _ = visibility(screen, rest.faces, rest.two_sided, size, self._fast)
        lighting = shade.light_vertices(
            vertices, normals, rest.ambient, self.bank.faces, len(skin), self._light, self._fast
        )
        image = self._room(size).copy()
        lit, textured = (lighting, rest.faces), (rest.atlas_xy, rest.corners)
        shade.colour_pixels(image, triangle, weights, lit, textured, self._atlas, self._fast)
        self._paint_eyes(image, triangle, weights, (vertices, screen), gaze, turn)
        return image, triangle

    def landmarks(
        self,
        pose: Pose | None = None,
        actions: Mapping[str, float] | None = None,
        gaze: tuple[float, float] = (0.0, 0.0),
        framing: Framing | None = None,
    ) -> Landmarks:
        """Return the ground-truth ``LANDMARKS`` and face box of the frame that :meth:`render` returns."""
        screen = self.project_vertices(pose or Pose(), actions or {}, gaze, framing or Framing())
        low, high = screen[self._face].min(0), screen[self._face].max(0)
        return Landmarks(
            points={name: screen[self.bank.landmarks[name]] for name in LANDMARKS},
            box=(float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])),
        )

    def project_vertices(
        self, pose: Pose, actions: Mapping[str, float], gaze: tuple[float, float], framing: Framing
    ) -> np.ndarray:
        """Return the (V,2) pixel positions of the bank's vertices, visible or occluded, in :meth:`render`'s frame."""
        actions, _ = couple_gaze(actions, gaze)
        vertices, _ = self._rotate_head(self._deform(actions), rotation(pose), normals=False)
        return self._project(vertices[: len(self.bank.template)], pose, framing, 1)[:, :2]

    def _rng(self, purpose: str, *more: int) -> np.random.Generator:
        """Return a random generator per purpose, so that none depends on the order of calls."""
        return np.random.default_rng([self.identity, self.seed, *map(ord, purpose), *more])

    def _build_mesh(self, rng: np.random.Generator) -> _RestMesh:
        """Add clothes, hair, beard, glasses and collar to the head."""
        bank, look = self.bank, self.look
        skin_faces = bank.faces[np.isin(bank.part, [PARTS.index("skin")])]
        order = shade.normal_order(skin_faces)
        head = bank.heads[self.identity]
        normals = shade.vertex_normals(head, skin_faces, order)
        cloth = covered(bank.template, look.clothes) * (bank.template[:, 2] < -0.12)
        hairy = scalp(bank.template, look.style) * (look.style in hair.STYLES)
        on_skin = np.isin(np.arange(len(head)), bank.vertices_of("skin"))
        head = head + normals * ((_CLOTH_M * cloth + _SCALP_M * hairy) * on_skin)[:, None].astype(np.float32)
        head[bank.vertices_of("teeth_upper")] += _UPPER_TEETH_M
        surface = hair.SkinSurface(bank, head, normals)
        attachments = [
            *hair.grow_hair(bank, surface, look, rng),
            *hair.grow_beard(bank, surface, look, rng),
            *accessories.glasses(bank, head, look),
            *accessories.collar(bank, head, look),
        ]
        atlas_xy, corners = atlas_coordinates(bank)
        kept = np.ones(len(bank.faces), bool)
        if look.lash_length < 0.6:  # short lashes are a dark line at best
            kept = bank.part != PARTS.index("lashes")
        faces, corners, part = bank.faces[kept], corners[kept], bank.part[kept].astype(int)
        vertices, head_weight, ambient = len(head), bank.head_weight, bank.occlusion.copy()
        teeth = bank.vertices_of("teeth_upper", "teeth_lower", "tongue")
        ambient[teeth] = np.maximum(ambient[teeth], _MOUTH_LIGHT)  # was baked with the mouth shut
        eyes = bank.vertices_of("eye_left", "eye_right")
        ambient[eyes] = np.maximum(ambient[eyes], _EYE_LIGHT)  # vertices behind the lids darken the visible ones
        root, offset, normal = np.zeros(0, int), np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32)
        if attachments:
            merged = merge(attachments)
            root, offset, normal = merged.root, merged.offset.astype(np.float32), merged.normal.astype(np.float32)
            faces = np.concatenate([faces, merged.faces + vertices])
            corners = np.concatenate([corners, merged.faces + len(atlas_xy)])
            atlas_xy = np.concatenate([atlas_xy, merged.atlas_xy])
            part = np.concatenate([part, np.full(len(merged.faces), len(PARTS))])
            head_weight = np.concatenate([head_weight, merged.head_weight])
            ambient = np.concatenate([ambient, merged.ambient])
        return _RestMesh(
            skin=head.astype(np.float32),
            root=root,
            offset=offset,
            normal=normal,
            head_weight=head_weight.astype(np.float32),
            ambient=ambient.astype(np.float32),
            faces=faces.astype(np.int32),
            atlas_xy=atlas_xy.astype(np.float32),
            corners=corners.astype(np.int32),
            two_sided=np.isin(part, [PARTS.index("lashes"), len(PARTS)]),
            part=part,
            order=shade.normal_order(bank.faces),
        )

    def _face_vertices(self) -> np.ndarray:
        """Return the skin vertices that span a detector's face box: in front of the ears, from hairline to chin."""
        x, y, z = self.bank.template.T
        skin = self.bank.vertices_of("skin")
        inside = (y < 0.03) & (z > -0.118) & (z < 0.062) & (np.abs(x) < 0.072)
        return skin[inside[skin]]

    def _deform(self, actions: Mapping[str, float]) -> np.ndarray:
        """Return the (V,3) vertices of the bank's mesh with the blendshapes of ``actions`` applied."""
        unknown = sorted(set(actions) - set(self.bank.action_names))
        if unknown:
            known = ", ".join(self.bank.action_names)
            raise ValueError(f"unknown facial action {', '.join(unknown)}; the bank has {known}")
        weights = dict(self._neutral)
        for name, weight in actions.items():
            weights[name] = weights.get(name, 0.0) + weight
        names = [name for name, weight in weights.items() if weight]
        index = [self.bank.action_names.index(name) for name in names]
        scaled = np.array([np.clip(weights[name], 0, 1) * _ACTION_GAIN.get(name, 1.0) for name in names], np.float32)
        return self._rest.skin + np.tensordot(scaled, self.bank.actions[index], 1)

    def _rotate_head(self, skin: np.ndarray, turn: np.ndarray, normals: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Return the (V+E,3) vertices with the head's rotation applied, and their normals if ``normals`` is set."""
        rest = self._rest
        vertices = np.concatenate([skin, skin[rest.root] + rest.offset])
        weight = rest.head_weight[:, None]
        turned = vertices + weight * ((vertices - _PIVOT) @ turn.T + _PIVOT - vertices)
        if not normals:
            return turned, np.zeros((0, 3), np.float32)
        bank_normals = shade.vertex_normals(turned[: len(skin)], self.bank.faces, rest.order)
        attached_normals = rest.normal + weight[len(skin) :] * (rest.normal @ turn.T - rest.normal)
        return turned, np.concatenate([bank_normals, attached_normals])

    def _project(self, vertices: np.ndarray, pose: Pose, framing: Framing, samples: int) -> np.ndarray:
        """Return (V,3): x, y in pixels and depth in metres; pixel centres are integers, the top left one is (0, 0)."""
        depth = vertices[:, 1] + self._distance
        zoom = framing.head * framing.height / _HEAD_HEIGHT_M * pose.scale * samples * self._distance
        right = (framing.eyes_x * framing.width + pose.x * framing.height) * samples
        down = (framing.eyes_y + pose.y) * framing.height * samples
        x = right + zoom * vertices[:, 0] / depth - 0.5
        y = down - zoom * vertices[:, 2] / depth - 0.5
        return np.stack([x, y, depth], 1).astype(np.float32)

    def _paint_eyes(
        self,
        image: np.ndarray,
        triangle: np.ndarray,
        weights: np.ndarray,
        mesh: tuple[np.ndarray, np.ndarray],
        gaze: tuple[float, float],
        turn: np.ndarray,
    ) -> None:
        """Paint pupil and iris onto both eyeballs, in place; ``mesh`` holds the vertices in space and on the screen."""
        rest, (vertices, screen) = self._rest, mesh
        aside, up = np.deg2rad(gaze[0]), np.deg2rad(gaze[1])
        sight = np.array([np.sin(aside) * np.cos(up), -np.cos(aside) * np.cos(up), np.sin(up)], np.float32) @ turn.T
        for side in ("left", "right"):
            ball = self.bank.vertices_of(f"eye_{side}")
            low = np.maximum(np.floor(screen[ball, :2].min(0)).astype(int), 0)
            high = np.maximum(np.ceil(screen[ball, :2].max(0)).astype(int) + 1, 0)
            window = slice(low[1], high[1]), slice(low[0], high[0])
            seen = triangle[window]
            on_ball = (seen >= 0) & (rest.part[seen] == PARTS.index(f"eye_{side}"))
            points = interpolate(vertices, rest.faces, seen[on_ball], weights[window][on_ball], self._fast)
            lid = float(vertices[self.bank.landmarks[f"{side}_eyelid_upper"], 2])
            image[window][on_ball] = shade.paint_eye(
                image[window][on_ball], points, vertices[ball].mean(0), sight, lid, self.look.iris, self._light
            )

    def _room(self, size: tuple[int, int]) -> np.ndarray:
        if size not in self._rooms:
            self._rooms[size] = scene.paint_room(size, self._rng("room", self.take))
        return self._rooms[size]


def _neutral_expression(rng: np.random.Generator) -> dict[str, float]:
    """Sample a neutral expression: MakeHuman's own looks stern."""
    brows, mouth = rng.uniform(0.02, 0.16), rng.uniform(0.04, 0.20)
    return {
        "browInnerUp": brows,
        **{f"mouthSmile{side}": mouth for side in ("Left", "Right")},
        **{f"eyeSquint{side}": float(rng.uniform(0, 0.1)) for side in ("Left", "Right")},
        "jawOpen": float(rng.uniform(0, 0.02)),
    }
