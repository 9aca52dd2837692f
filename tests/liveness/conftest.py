"""Faces to look at: pseudo-people of the demo, and nets with weights of this test run's own."""

import hashlib

import cv2
import numpy as np
import pytest
import torch

from deepfakemnist.demo.portraits import Portrait, person
from deepfakemnist.demo.puppet import Pose, render
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.liveness.minifasnet import V1SE, V2, MiniFASNet
from deepfakemnist.settings import LocalSilentSettings, WeightFile


@pytest.fixture(scope="session")
def portrait():
    """A person as the crop stage delivers one: 256×256, the face at about 0.6 of the side."""
    whole = person("collins-0")
    side = 4.2 * whole.unit
    corner = whole.points[2] - side / 2
    matrix = np.column_stack([np.eye(2), -corner]) * 256 / side
    picture = cv2.warpAffine(whole.picture, matrix, (256, 256), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return Portrait(picture, (whole.points - corner) * 256 / side)


@pytest.fixture(scope="session")
def face(portrait):
    return portrait.picture


@pytest.fixture(scope="session")
def nobody(face):
    return np.full_like(face, 120)


@pytest.fixture(scope="session")
def tilting(portrait):
    """Head upright, then 14 degrees towards the subject's left shoulder, then upright: 24 frames."""
    degrees = 14 * np.sin(np.linspace(0, np.pi, 24))
    return np.stack([render(portrait, Pose(roll=float(value))) for value in degrees])


@pytest.fixture(scope="session")
def as_cropped():
    """A function that cuts the face of a clip to 256×256, one square for all frames, a margin of 0.3 around it."""

    def cut(clip):
        detector = FaceDetector()
        boxes = np.array([detector(frame)[0].box for frame in clip[::10]])
        near, far = boxes[:, :2].min(0), (boxes[:, :2] + boxes[:, 2:]).max(0)
        side = 1.6 * (far - near).max()
        matrix = np.column_stack([np.eye(2), side / 2 - (near + far) / 2]) * 256 / side
        border = cv2.BORDER_REPLICATE
        return np.stack([cv2.warpAffine(frame, matrix, (256, 256), borderMode=border) for frame in clip])

    return cut


@pytest.fixture
def silent_settings(tmp_path):
    files = {}
    for seed, (key, widths) in enumerate((("minifasnet_v2", V2), ("minifasnet_v1se", V1SE))):
        torch.manual_seed(seed)
        path = tmp_path / f"{key}.pth"
        net = MiniFASNet(widths)
        torch.save({f"module.{name}": tensor for name, tensor in net.state_dict().items()}, path)
        files[key] = WeightFile(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    return LocalSilentSettings(provider="local-silent", frames=4, **files)
