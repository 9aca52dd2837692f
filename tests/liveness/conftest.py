"""Liveness fixtures: clips of a synthetic actor, and networks with random weights."""

import hashlib

import cv2
import numpy as np
import pytest
import torch

from deepfakemnist.actors import Actor, Pose, load_bank
from deepfakemnist.config.base import WeightFile
from deepfakemnist.config.liveness import LocalSilentSettings
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.liveness.minifasnet import V1SE, V2, MiniFASNet


@pytest.fixture(scope="session")
def actor():
    """A person without glasses, framed as by the crop stage: 256×256, the head at 0.6 of the side."""
    return Actor(load_bank(), identity=3, seed=1)


@pytest.fixture(scope="session")
def face(actor):
    return actor.render()


@pytest.fixture(scope="session")
def nobody(face):
    return np.full_like(face, 120)


@pytest.fixture(scope="session")
def tilting(actor):
    """24 frames: head upright, tilted 14 degrees towards the subject's left shoulder, upright again."""
    degrees = 14 * np.sin(np.linspace(0, np.pi, 24))
    return np.stack([actor.render(Pose(roll=float(roll)), noise=index) for index, roll in enumerate(degrees)])


@pytest.fixture(scope="session")
def as_cropped():
    """Return a function that crops a clip's face to 256×256: one square for all frames, with a margin of 0.3."""

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
