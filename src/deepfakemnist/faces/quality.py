"""Crop quality metrics (head pose range, sharpness, brightness) and the thresholds that reject a crop."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from deepfakemnist.config.stages import MOTION_JUDGED_FROM_S, CropSettings
from deepfakemnist.errors import Rejected
from deepfakemnist.faces.detect import Face
from deepfakemnist.tables.schemas import Row

#: Right eye, left eye, nose tip, right and left mouth corner of an average head, millimetres from the nose tip: x to
#: the picture's right, y down, z away from the camera. 63 mm is the mean interpupillary distance of adults; the other
#: values are typical.
_HEAD = np.array([(-31.5, -32, 28), (31.5, -32, 28), (0, 0, 0), (-25, 30, 22), (25, 30, 22)], np.float64)


def head_pose(face: Face, width: int, height: int) -> tuple[float, float, float]:
    """Return yaw, pitch and roll of a face in degrees, from five landmarks and an average head.

    Suitable for the range of motion, not for absolute pose: a deviation from the average head is a constant error.
    Positive yaw: to the picture's right; positive pitch: down; positive roll: clockwise in the picture.

    Args:
        face: landmarks in pixels of a picture.
        width, height: size of that picture; the focal length is assumed to equal its longer side.
    """
    focal = float(max(width, height))
    camera = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    points = face.landmarks.astype(np.float64)
    found, rotation, _ = cv2.solvePnP(_HEAD, points, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    if not found:
        return 0.0, 0.0, 0.0
    matrix, _ = cv2.Rodrigues(rotation)
    # directions of the nose and of the eye line
    nose, eyes = matrix @ (0, 0, -1), matrix @ (1, 0, 0)
    yaw = np.degrees(np.arctan2(nose[0], -nose[2]))
    pitch = np.degrees(np.arcsin(np.clip(nose[1], -1, 1)))
    return float(yaw), float(pitch), float(np.degrees(np.arctan2(eyes[1], eyes[0])))


def pose_ranges(faces: Sequence[Face], width: int, height: int) -> Row:
    """Return yaw_range, pitch_range and roll_range: degrees between the 5th and 95th percentile over ``faces``."""
    poses = np.array([head_pose(face, width, height) for face in faces])
    low, high = np.percentile(poses, [5, 95], axis=0)
    return {f"{name}_range": float(value) for name, value in zip(("yaw", "pitch", "roll"), high - low, strict=True)}


def interpolated_fraction(frames: range, sampled: Sequence[int], found: Sequence[int]) -> float:
    """Return the fraction of ``frames``, 0..1, next to a sampled frame without the face, whose box is thus a guess.

    Frames between two sampled frames that both show the face do not count: a head moves little in that time.
    """
    order = sorted(sampled)
    seen = set(found)
    guesses = 0
    for frame in frames:
        place = int(np.searchsorted(order, frame, side="right"))
        neighbours = order[max(place - 1, 0) : place] if frame in order else order[max(place - 1, 0) : place + 1]
        guesses += not seen.issuperset(neighbours)
    return guesses / len(frames)


def other_faces(frames: Sequence[Sequence[Face]], side: float) -> float:
    """Return the fraction of ``frames``, 0..1, with a second face of at least half the main face's ``side``, pixels."""
    return sum(sum(face.side >= side / 2 for face in faces) > 1 for faces in frames) / len(frames)


def sharpness(crop: np.ndarray) -> float:
    """Return the variance of the Laplacian of an (H,W,3) uint8 crop's luma."""
    return float(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def brightness(crop: np.ndarray) -> float:
    """Return the mean luma of an (H,W,3) uint8 crop, 0..255."""
    return float(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).mean())


def check_quality(row: Row, settings: CropSettings) -> None:
    """Check the metrics of a CROPPED row against the thresholds.

    Raises: Rejected with reason box_guessed, several_faces, uncertain_face, turns_too_far, blurred, still_face,
        too_dark or too_bright; the detail gives value and limit.
    """
    seconds = round(row["kept_to_s"] - row["kept_from_s"], 6)
    still = seconds >= MOTION_JUDGED_FROM_S and row["face_motion"] < settings.min_face_motion
    gates = (
        ("interpolated", "box_guessed", row["interpolated"] > settings.max_interpolated, settings.max_interpolated),
        ("other_faces", "several_faces", row["other_faces"] > settings.max_other_faces, settings.max_other_faces),
        ("face_score", "uncertain_face", row["face_score"] < settings.min_track_score, settings.min_track_score),
        ("yaw_range", "turns_too_far", row["yaw_range"] > settings.max_yaw_range, settings.max_yaw_range),
        ("sharpness", "blurred", row["sharpness"] < settings.min_sharpness, settings.min_sharpness),
        ("face_motion", "still_face", still, settings.min_face_motion),
        ("brightness", "too_dark", row["brightness"] < settings.min_brightness, settings.min_brightness),
        ("brightness", "too_bright", row["brightness"] > settings.max_brightness, settings.max_brightness),
    )
    for name, reason, violated, limit in gates:
        if violated:
            raise Rejected(reason, f"{name} is {row[name]:.3g}; the limit is {limit:g}")
