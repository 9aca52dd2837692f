"""Best source frame of a face clip: eyes open, mouth closed, frontal, neutral and sharp.

An animator animates one picture of its source, and the first one often shows a blink, half a word or the blocks of an
encoder that has just started. Up to 16 frames are compared; near a cut, where two shots may be mixed, there are none.
Scores are 0..1, 1 is best:

========= =============================================================================================================
eyes      opening of the lids relative to their length, ÷ the clip's upper quartile, from 0.4 (closed) to 0.85 (open)
mouth     gap between the lips ÷ distance of the outer eye corners, from 0.2 (open) to 0 (closed)
frontal   degrees of yaw, and half of those of pitch and roll, from 30 to 0: pitch has an offset of up to 10 degrees per
          face and camera, and roll merely turns the picture
neutral   the strongest of all mouth blendshapes, brows raised beyond the clip's lower quartile, and a gaze to the side
          by more than half, from 1 to 0
sharpness variance of the Laplacian in the box of the face, or its texture, ÷ the clip's median, the smaller, up to 1.
          Texture is the lower third of local means of the Laplacian: blocks of an encoder have edges, which look sharp,
          and are flat inside. JPEG of quality 4 multiplied the variance by 0.8 to 6.8 on 24 real clips, the texture by
          0 in most and at most 0.9 (measured)
========= =============================================================================================================

Their weighted mean decides. It is rounded to steps of 0.02, because landmarks differ between instruction sets in their
last digits, and the first of equal frames is taken: where a face keeps still, all processors choose the same frame. Of
240 choices on real clips, noise of 0.01 px on all landmarks changed none, and of 0.03 px 6 (measured). The scores are
stored as measured, like all other columns of this kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np

from deepfakemnist.faces.detect import Face
from deepfakemnist.faces.landmark_sets import OUTER_EYE_CORNERS
from deepfakemnist.faces.landmarks import BLENDSHAPES, FaceLandmarker, FaceLandmarks
from deepfakemnist.tables.schemas import Row

#: At most this many frames are compared, 19 ms each. The best of 16 was on average 0.02 below the best of all frames of
#: 24 real clips, the best of 8 0.03 and the best of 24 0.018 (measured; the weighted mean is 0..1).
MAX_CANDIDATES = 16
#: Seconds next to a cut without candidates.
_BESIDE_A_CUT_S = 0.2
#: Weights: closed lids and an open mouth do most harm, since no animator knows what is behind them.
WEIGHTS = {"eyes": 3, "mouth": 3, "frontal": 2, "neutral": 2, "sharpness": 2}
_STEP = 0.02

#: Upper and lower lid at three places, and the corners of each eye; inner lips (478-point mesh).
_UPPER_LIDS = np.array([(160, 159, 158), (387, 386, 385)])
_LOWER_LIDS = np.array([(144, 145, 153), (373, 374, 380)])
_EYE_CORNERS = np.array([(33, 133), (263, 362)])
_INNER_LIPS = (13, 14)
#: mouthClose compensates jawOpen, which alone says nothing about closed lips.
_MOUTH = [i for i, name in enumerate(BLENDSHAPES) if name.startswith("mouth") and name != "mouthClose"]
_BROWS = [BLENDSHAPES.index(name) for name in ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")]
_GAZE = [i for i, name in enumerate(BLENDSHAPES) if name.startswith(("eyeLookIn", "eyeLookOut"))]
#: Lids count as closed and open at these fractions of the clip's upper quartile.
_CLOSED, _OPEN = 0.4, 0.85
#: Gap of an open mouth in distances of the outer eye corners, and degrees of a head that is not frontal at all.
_OPEN_MOUTH, _TURNED = 0.2, 30.0


@dataclass(frozen=True)
class FaceState:
    """What one frame shows, not yet compared with the rest of the clip."""

    lids: float  # opening of the lids ÷ length of the eye
    mouth: float  # gap between the lips ÷ distance of the outer eye corners
    turn: float  # degrees, see the module
    expression: float  # strongest mouth blendshape or excess of gaze, 0..1
    brows: float  # mean of the raised-brow blendshapes, 0..1
    sharpness: float  # variance of the Laplacian in the face
    texture: float  # 30th percentile of the mean Laplacian, regardless of sign, in 3×3 pixels there


@dataclass(frozen=True)
class FrameScores:
    """Scores of a frame, 0..1, 1 is best."""

    eyes: float
    mouth: float
    frontal: float
    neutral: float
    sharpness: float

    @property
    def total(self) -> float:
        """Weighted mean, rounded to steps of 0.02."""
        mean = sum(weight * getattr(self, name) for name, weight in WEIGHTS.items()) / sum(WEIGHTS.values())
        return round(mean / _STEP) * _STEP


def candidate_frames(seen: Sequence[int], shot: range, frames: int, fps: float) -> list[int]:
    """Return at most 16 of the frames that show the face, evenly spread.

    Args:
        seen: frames in which the face was detected, ascending; at least one.
        shot: frames of the clip; it begins or ends at a cut where the video goes on.
        frames: length of the video.
        fps: frames per second of both.
    """
    beside = round(_BESIDE_A_CUT_S * fps)
    first = shot.start + (beside if shot.start > 0 else 0)
    last = shot.stop - (beside if shot.stop < frames else 0)
    inside = [frame for frame in seen if first <= frame < last] or list(seen)
    places = np.linspace(0, len(inside) - 1, min(len(inside), MAX_CANDIDATES)).round().astype(int)
    return [inside[place] for place in places]


def face_state(rgb: np.ndarray, face: FaceLandmarks) -> FaceState:
    """Measure one frame, (H, W, 3) uint8 RGB, with the landmarks of its face."""
    points = np.column_stack([face.points, face.depth]).astype(np.float64)

    def distance(one: np.ndarray | Sequence[int], other: np.ndarray | Sequence[int]) -> np.ndarray:
        return np.asarray(np.linalg.norm(points[np.asarray(one)] - points[np.asarray(other)], axis=-1))

    eye_length = distance(_EYE_CORNERS[:, 0], _EYE_CORNERS[:, 1])
    between_eyes = distance(OUTER_EYE_CORNERS[:1], OUTER_EYE_CORNERS[1:])
    gap = distance(_INNER_LIPS[:1], _INNER_LIPS[1:])
    yaw, pitch, roll = map(float, face.pose)
    aside = max(0.0, 2 * float(face.blendshapes[_GAZE].max()) - 1)
    height, width = rgb.shape[:2]
    left, top = np.clip(np.floor(face.points.min(axis=0)).astype(int), 0, (width - 1, height - 1))
    right, bottom = np.clip(np.ceil(face.points.max(axis=0)).astype(int), (left + 1, top + 1), (width, height))
    edges = cv2.Laplacian(cv2.cvtColor(rgb[top:bottom, left:right], cv2.COLOR_RGB2GRAY), cv2.CV_64F)
    return FaceState(
        lids=float((distance(_UPPER_LIDS, _LOWER_LIDS).mean(axis=1) / eye_length).mean()),
        mouth=float((gap / between_eyes)[0]),
        turn=float(np.sqrt(yaw**2 + (pitch / 2) ** 2 + (roll / 2) ** 2)),
        expression=max(aside, float(face.blendshapes[_MOUTH].max())),
        brows=float(face.blendshapes[_BROWS].mean()),
        sharpness=float(edges.var()),
        texture=float(np.percentile(cv2.blur(np.abs(edges), (3, 3)), 30)),
    )


def score_frames(states: Sequence[FaceState]) -> list[FrameScores]:
    """Compare frames of one clip; return the scores of each."""
    open_lids = float(np.percentile([state.lids for state in states], 75))
    resting_brows = float(np.percentile([state.brows for state in states], 25))
    usual_sharpness = float(np.median([state.sharpness for state in states]))
    usual_texture = float(np.median([state.texture for state in states]))
    return [
        FrameScores(
            eyes=_between(state.lids, _CLOSED * open_lids, _OPEN * open_lids),
            mouth=_between(state.mouth, _OPEN_MOUTH, 0.0),
            frontal=_between(state.turn, _TURNED, 0.0),
            neutral=1.0 - max(state.expression, _between(state.brows, resting_brows, resting_brows + 1)),
            sharpness=min(_between(state.sharpness, 0.0, usual_sharpness), _between(state.texture, 0.0, usual_texture)),
        )
        for state in states
    ]


def best_frame(states: Mapping[int, FaceState]) -> tuple[int, FrameScores | None]:
    """Return the best frame and its scores; 0 and None when no frame shows a face.

    Args:
        states: frame number → what it shows.
    """
    if not states:
        return 0, None
    numbers = sorted(states)
    scores = score_frames([states[number] for number in numbers])
    best = max(range(len(numbers)), key=lambda place: (scores[place].total, -place))
    return numbers[best], scores[best]


def best_frame_columns(
    pictures: Mapping[int, np.ndarray], faces: Mapping[int, Face], landmarker: FaceLandmarker
) -> Row:
    """Return best_frame and its scores for a row of ``tables.CROPPED``.

    Args:
        pictures: candidates, frame number → (H, W, 3) uint8 RGB.
        faces: the face detected in each of them, in its pixels.
        landmarker: for these faces.
    """
    found = {number: landmarker.of_face(picture, faces[number]) for number, picture in pictures.items()}
    best, scores = best_frame(
        {number: face_state(pictures[number], face) for number, face in found.items() if face is not None}
    )
    of_best = dict.fromkeys(WEIGHTS) if scores is None else asdict(scores)
    return {"best_frame": best, **{f"best_{name}": score for name, score in of_best.items()}}


def _between(value: float, worst: float, best: float) -> float:
    """Return where a value lies between the worst, 0, and the best, 1; 1 when both are equal."""
    return 1.0 if best == worst else min(max((value - worst) / (best - worst), 0.0), 1.0)
