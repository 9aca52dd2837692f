"""An actor: a head of the bank with a look, in a room, in front of a camera."""

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
from deepfakemnist.actors.layout import corner_positions
from deepfakemnist.actors.look import person_look
from deepfakemnist.actors.pose import Framing, Landmarks, Pose, rotation, with_gaze
from deepfakemnist.actors.raster import interpolate, visibility

_PIVOT = np.array([0.0, 0.085, -0.075], np.float32)  # where the skull sits on the neck
_HEAD_HEIGHT_M = 0.23  # crown to chin
_SAMPLES = 2  # supersampling along each side
_CLOTH_M = 0.007  # how far clothes stand off
_SCALP_M = 0.003  # and the hair at the scalp
#: Anny's brows rise 4 mm and its lids widen little at weight 1; people's rise about 8 mm when they are surprised.
_STRONGER = {
    "browInnerUp": 1.8,
    "browOuterUpLeft": 1.8,
    "browOuterUpRight": 1.8,
    "eyeWideLeft": 1.5,
    "eyeWideRight": 1.5,
}
#: MakeHuman's upper teeth end level with the lip, 10 mm behind it, where no open mouth shows them.
_UPPER_TEETH_M = np.array([0.0, -0.003, -0.0035], np.float32)
_EYE_LIGHT, _MOUTH_LIGHT = 0.65, 0.45  # least share of sky that eyeballs, and teeth and tongue, see


@dataclass
class _Rest:
    """The actor's mesh at rest: the bank's vertices first, then what is attached to them."""

    skin: np.ndarray  # (V,3)
    root: np.ndarray
    offset: np.ndarray
    normal: np.ndarray
    follow: np.ndarray  # (V+E,) share of the head's rotation
    shade: np.ndarray  # (V+E,)
    faces: np.ndarray  # (F,3) int32
    positions: np.ndarray  # (C,2) atlas
    corners: np.ndarray  # (F,3) int32
    two_sided: np.ndarray
    part: np.ndarray  # (F,) index in PARTS, len(PARTS) for attachments
    order: tuple[np.ndarray, ...] = field(repr=False)


class Actor:
    """A synthetic person.

    Args:
        bank: the heads.
        identity: which head, 0 .. len(bank) - 1.
        seed: draws what stays with the person (skin, hair, brows, glasses, beard).
        take: draws what changes from one video of the person to the next (clothes, light, room); None takes ``seed``.
        fast: numba (True), numpy (False) or what is there (None).

    Raises:
        ValueError: no such identity.
    """

    def __init__(self, bank: Bank, identity: int, seed: int, take: int | None = None, fast: bool | None = None) -> None:
        if not 0 <= identity < len(bank):
            raise ValueError(f"the bank has identities 0 to {len(bank) - 1}, not {identity}")
        self.bank, self.identity, self.seed = bank, identity, seed
        self.take = seed if take is None else take
        self.who = bank.people[identity]
        self._fast = fast
        of_person, of_take = self._rng("person"), self._rng("take", self.take)
        self.look = person_look(self.who, of_person, of_take)
        self._light = scene.draw_light(of_take)
        self._distance = float(of_take.uniform(0.9, 1.4))  # of the camera, metres
        self._relaxed = _relaxed_face(of_person)
        self._rest = self._dress(of_person)
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
        """Return one picture, (height, width, 3) uint8 RGB.

        Args:
            pose: of the head; default facing the camera.
            actions: weight 0..1 of facial actions by their ARKit names (``bank.action_names``).
            gaze: where the eyes look relative to the head, degrees to the subject's own left and up.
            framing: size of the picture and place of the face in it.
            noise: which noise the sensor adds; give every frame of a clip its own.

        Raises:
            ValueError: an action that is not in the bank.
        """
        framing = framing or Framing()
        return self.expose(self.illuminate(pose, actions, gaze, framing), None, framing, noise)

    def expose(self, light: np.ndarray, last: np.ndarray | None, framing: Framing, noise: int) -> np.ndarray:
        """Return the picture of what :meth:`illuminate` returned, blurred by motion since ``last``."""
        return scene.expose(light, last, (framing.width, framing.height), self._rng("noise", self.take, noise))

    def illuminate(
        self,
        pose: Pose | None,
        actions: Mapping[str, float] | None,
        gaze: tuple[float, float],
        framing: Framing,
    ) -> np.ndarray:
        """Return the light that falls on the sensor, (2·height, 2·width, 3) float32; see :meth:`render`."""
        return self._draw(pose or Pose(), actions or {}, gaze, framing)[0]

    def render_cutout(
        self,
        pose: Pose,
        actions: Mapping[str, float],
        gaze: tuple[float, float],
        framing: Framing,
        noise: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what :meth:`render` does, and (height, width) uint8: the actor's share of each pixel, 255 all of it.

        With both, and :meth:`empty_room`, the actor can be put before another background.
        """
        light, triangle = self._draw(pose, actions, gaze, framing)
        covered = (triangle >= 0).astype(np.float32)
        share = cv2.resize(covered, (framing.width, framing.height), interpolation=cv2.INTER_AREA)
        return self.expose(light, None, framing, noise), np.rint(255 * share).astype(np.uint8)

    def empty_room(self, framing: Framing) -> np.ndarray:
        """Return the picture without the actor, (height, width, 3) uint8 RGB."""
        room = self._room((framing.width * _SAMPLES, framing.height * _SAMPLES))
        return self.expose(room, None, framing, 0)

    def _draw(
        self, pose: Pose, actions: Mapping[str, float], gaze: tuple[float, float], framing: Framing
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the light, see :meth:`illuminate`, and the triangle that each of its pixels sees, -1 for the room."""
        rest = self._rest
        actions, gaze = with_gaze(actions, gaze)
        skin = self._deform(actions)
        turn = rotation(pose)
        vertices, normals = self._place(skin, turn)
        size = (framing.width * _SAMPLES, framing.height * _SAMPLES)
        screen = self._project(vertices, pose, framing, _SAMPLES)
        triangle, weights, _ = visibility(screen, rest.faces, rest.two_sided, size, self._fast)
        values = shade.light_vertices(
            vertices, normals, rest.shade, self.bank.faces, len(skin), self._light, self._fast
        )
        picture = self._room(size).copy()
        lit, places = (values, rest.faces), (rest.positions, rest.corners)
        shade.colour_pixels(picture, triangle, weights, lit, places, self._atlas, self._fast)
        self._paint_eyes(picture, triangle, weights, (vertices, screen), gaze, turn)
        return picture, triangle

    def landmarks(
        self,
        pose: Pose | None = None,
        actions: Mapping[str, float] | None = None,
        gaze: tuple[float, float] = (0.0, 0.0),
        framing: Framing | None = None,
    ) -> Landmarks:
        """Return where the points of ``LANDMARKS`` and the face lie in the picture that :meth:`render` makes."""
        screen = self.positions(pose or Pose(), actions or {}, gaze, framing or Framing())
        low, high = screen[self._face].min(0), screen[self._face].max(0)
        return Landmarks(
            points={name: screen[self.bank.landmarks[name]] for name in LANDMARKS},
            box=(float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])),
        )

    def positions(
        self, pose: Pose, actions: Mapping[str, float], gaze: tuple[float, float], framing: Framing
    ) -> np.ndarray:
        """Return where the bank's vertices lie in the picture that :meth:`render` makes, (V,2) pixels, seen or not."""
        actions, _ = with_gaze(actions, gaze)
        vertices, _ = self._place(self._deform(actions), rotation(pose), normals=False)
        return self._project(vertices[: len(self.bank.template)], pose, framing, 1)[:, :2]

    def _rng(self, what: str, *more: int) -> np.random.Generator:
        """Every use has its own random numbers, so that none depends on the order of calls."""
        return np.random.default_rng([self.identity, self.seed, *map(ord, what), *more])

    def _dress(self, rng: np.random.Generator) -> _Rest:
        """Put clothes, hair, beard, glasses and collar on the head."""
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
        surface = hair.Skin(bank, head, normals)
        worn = [
            *hair.grow_hair(bank, surface, look, rng),
            *hair.grow_beard(bank, surface, look, rng),
            *accessories.glasses(bank, head, look),
            *accessories.collar(bank, head, look),
        ]
        positions, corners = corner_positions(bank)
        shown = np.ones(len(bank.faces), bool)
        if look.lash_length < 0.6:  # short lashes are a dark line at best
            shown = bank.part != PARTS.index("lashes")
        faces, corners, part = bank.faces[shown], corners[shown], bank.part[shown].astype(int)
        vertices, follow, open_sky = len(head), bank.head_weight, bank.occlusion.copy()
        teeth = bank.vertices_of("teeth_upper", "teeth_lower", "tongue")
        open_sky[teeth] = np.maximum(open_sky[teeth], _MOUTH_LIGHT)  # measured with the mouth shut
        eyes = bank.vertices_of("eye_left", "eye_right")
        open_sky[eyes] = np.maximum(open_sky[eyes], _EYE_LIGHT)  # vertices behind the lids darken those in sight
        root, offset, normal = np.zeros(0, int), np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32)
        if worn:
            more = merge(worn)
            root, offset, normal = more.root, more.offset.astype(np.float32), more.normal.astype(np.float32)
            faces = np.concatenate([faces, more.faces + vertices])
            corners = np.concatenate([corners, more.faces + len(positions)])
            positions = np.concatenate([positions, more.positions])
            part = np.concatenate([part, np.full(len(more.faces), len(PARTS))])
            follow, open_sky = np.concatenate([follow, more.follow]), np.concatenate([open_sky, more.shade])
        return _Rest(
            skin=head.astype(np.float32),
            root=root,
            offset=offset,
            normal=normal,
            follow=follow.astype(np.float32),
            shade=open_sky.astype(np.float32),
            faces=faces.astype(np.int32),
            positions=positions.astype(np.float32),
            corners=corners.astype(np.int32),
            two_sided=np.isin(part, [PARTS.index("lashes"), len(PARTS)]),
            part=part,
            order=shade.normal_order(bank.faces),
        )

    def _face_vertices(self) -> np.ndarray:
        """The face as detectors box it: skin in front of the ears, from the hairline to the chin."""
        x, y, z = self.bank.template.T
        skin = self.bank.vertices_of("skin")
        inside = (y < 0.03) & (z > -0.118) & (z < 0.062) & (np.abs(x) < 0.072)
        return skin[inside[skin]]

    def _deform(self, actions: Mapping[str, float]) -> np.ndarray:
        """Return the (V,3) vertices of the bank's mesh with the face moved."""
        unknown = sorted(set(actions) - set(self.bank.action_names))
        if unknown:
            raise ValueError(f"no facial action {', '.join(unknown)}; there are {', '.join(self.bank.action_names)}")
        weights = dict(self._relaxed)
        for name, weight in actions.items():
            weights[name] = weights.get(name, 0.0) + weight
        names = [name for name, weight in weights.items() if weight]
        index = [self.bank.action_names.index(name) for name in names]
        share = np.array([np.clip(weights[name], 0, 1) * _STRONGER.get(name, 1.0) for name in names], np.float32)
        return self._rest.skin + np.tensordot(share, self.bank.actions[index], 1)

    def _place(self, skin: np.ndarray, turn: np.ndarray, normals: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Return the (V+E,3) vertices with the head turned, and their normals where asked for."""
        rest = self._rest
        vertices = np.concatenate([skin, skin[rest.root] + rest.offset])
        follow = rest.follow[:, None]
        turned = vertices + follow * ((vertices - _PIVOT) @ turn.T + _PIVOT - vertices)
        if not normals:
            return turned, np.zeros((0, 3), np.float32)
        own = shade.vertex_normals(turned[: len(skin)], self.bank.faces, rest.order)
        attached = rest.normal + follow[len(skin) :] * (rest.normal @ turn.T - rest.normal)
        return turned, np.concatenate([own, attached])

    def _project(self, vertices: np.ndarray, pose: Pose, framing: Framing, samples: int) -> np.ndarray:
        """Return (V,3) pixels and depth; a pixel's centre is a whole number, its top left one is 0."""
        depth = vertices[:, 1] + self._distance
        zoom = framing.head * framing.height / _HEAD_HEIGHT_M * pose.scale * samples * self._distance
        right = (framing.eyes_x * framing.width + pose.x * framing.height) * samples
        down = (framing.eyes_y + pose.y) * framing.height * samples
        x = right + zoom * vertices[:, 0] / depth - 0.5
        y = down - zoom * vertices[:, 2] / depth - 0.5
        return np.stack([x, y, depth], 1).astype(np.float32)

    def _paint_eyes(
        self,
        picture: np.ndarray,
        triangle: np.ndarray,
        weights: np.ndarray,
        mesh: tuple[np.ndarray, np.ndarray],
        gaze: tuple[float, float],
        turn: np.ndarray,
    ) -> None:
        """Replace the white of both eyes by eyes that look somewhere, in place; ``mesh`` is in space, on the screen."""
        rest, (vertices, screen) = self._rest, mesh
        aside, up = np.deg2rad(gaze[0]), np.deg2rad(gaze[1])
        looks = np.array([np.sin(aside) * np.cos(up), -np.cos(aside) * np.cos(up), np.sin(up)], np.float32) @ turn.T
        for side in ("left", "right"):
            ball = self.bank.vertices_of(f"eye_{side}")
            low = np.maximum(np.floor(screen[ball, :2].min(0)).astype(int), 0)
            high = np.maximum(np.ceil(screen[ball, :2].max(0)).astype(int) + 1, 0)
            window = slice(low[1], high[1]), slice(low[0], high[0])
            near = triangle[window]
            shown = (near >= 0) & (rest.part[near] == PARTS.index(f"eye_{side}"))
            points = interpolate(vertices, rest.faces, near[shown], weights[window][shown], self._fast)
            lid = float(vertices[self.bank.landmarks[f"{side}_eyelid_upper"], 2])
            picture[window][shown] = shade.paint_eye(
                picture[window][shown], points, vertices[ball].mean(0), looks, lid, self.look.iris, self._light
            )

    def _room(self, size: tuple[int, int]) -> np.ndarray:
        if size not in self._rooms:
            self._rooms[size] = scene.draw_room(size, self._rng("room", self.take))
        return self._rooms[size]


def _relaxed_face(rng: np.random.Generator) -> dict[str, float]:
    """Draw a resting expression: MakeHuman's own looks stern."""
    brows, mouth = rng.uniform(0.02, 0.16), rng.uniform(0.04, 0.20)
    return {
        "browInnerUp": brows,
        **{f"mouthSmile{side}": mouth for side in ("Left", "Right")},
        **{f"eyeSquint{side}": float(rng.uniform(0, 0.1)) for side in ("Left", "Right")},
        "jawOpen": float(rng.uniform(0, 0.02)),
    }
