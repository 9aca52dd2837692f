import csv
import hashlib
from itertools import islice

import cv2
import numpy as np
import pytest
import torch

from deepfakemnist.config.base import WeightFile
from deepfakemnist.config.liveness import LocalSilentSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.liveness.local_silent import LocalSilent, as_input, enlarged_crop
from deepfakemnist.liveness.protocol import SILENT, Clip
from deepfakemnist.liveness.upload import evenly_spaced
from deepfakemnist.media.decode import read_frames


def numbered(height, width):
    """An image whose channels encode each pixel's x and y."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.uint8)


def edges(crop):
    """Left, top, right, bottom pixel of a crop of ``numbered``."""
    return (*(int(v) for v in crop[0, 0, :2]), *(int(v) for v in crop[-1, -1, :2]))


def test_crop_expands_about_the_centre_of_the_face():
    assert edges(enlarged_crop(numbered(200, 200), (90, 80, 20, 20), 2.0)) == (80, 70, 120, 110)


def test_crop_beyond_an_edge_is_shifted_inside_at_full_size():
    assert edges(enlarged_crop(numbered(200, 200), (0, 150, 40, 40), 2.0)) == (0, 119, 80, 199)


def test_crop_larger_than_the_image_expands_less():
    # The height limits the expansion to 199 / 80, in both directions.
    assert edges(enlarged_crop(numbered(200, 250), (100, 60, 80, 80), 4.0)) == (40, 0, 239, 199)


def test_network_input_is_bgr_from_0_to_255():
    crop = np.zeros((40, 40, 3), np.uint8)
    crop[:] = (250, 100, 3)
    tensor = as_input(crop)
    assert tensor.shape == (1, 3, 80, 80)
    assert tensor.dtype == torch.float32
    assert tensor[0, :, 40, 40].tolist() == [3.0, 100.0, 250.0]


@pytest.mark.parametrize(("total", "wanted", "indices"), [(8, 4, [1, 3, 5, 7]), (3, 8, [0, 1, 2]), (100, 1, [50])])
def test_frames_are_evenly_spaced(total, wanted, indices):
    assert evenly_spaced(total, wanted) == indices


@pytest.mark.slow
@pytest.mark.numeric
def test_score_is_the_mean_of_both_networks(silent_settings, face):
    provider = LocalSilent(silent_settings)
    box = FaceDetector()(face)[0].box
    with torch.inference_mode():
        expected = np.mean(
            [float(net(as_input(enlarged_crop(face, box, scale))).softmax(1)[0, 1]) for scale, net in provider.nets]
        )
    verdict = provider.check(Clip(np.stack([face] * 4), 25.0, ""), "blink")
    assert verdict.score == pytest.approx(expected, abs=1e-6)
    assert verdict.evidence["p_live"] == pytest.approx([expected] * 4, abs=1e-5)
    assert provider.asked_motion("blink") == SILENT


@pytest.mark.slow
def test_a_frame_without_a_face_counts_as_zero(silent_settings, face, nobody):
    provider = LocalSilent(silent_settings)
    whole = provider.check(Clip(np.stack([face] * 4), 25.0, ""), "blink")
    half = provider.check(Clip(np.stack([face, nobody, face, nobody]), 25.0, ""), "blink")
    assert half.score == pytest.approx(whole.score / 2)
    assert half.evidence["frames_without_face"] == [1, 3]


@pytest.mark.slow
def test_threshold_decides(silent_settings, face):
    clip = np.stack([face] * 2)
    score = LocalSilent(silent_settings).check(Clip(clip, 25.0, ""), "blink").score
    for threshold, live in ((score - 0.01, True), (score + 0.01, False)):
        settings = silent_settings.model_copy(update={"threshold": threshold})
        verdict = LocalSilent(settings).check(Clip(clip, 25.0, ""), "blink")
        assert (verdict.live, verdict.threshold) == (live, threshold)


def test_no_face_is_never_live(silent_settings, nobody):
    settings = silent_settings.model_copy(update={"threshold": 0.0})
    verdict = LocalSilent(settings).check(Clip(np.stack([nobody] * 3), 25.0, ""), "blink")
    assert (verdict.live, verdict.score, verdict.evidence["reason"]) == (False, 0.0, "no_face")


def test_missing_weights_say_where_to_get_them(silent_settings, tmp_path):
    gone = WeightFile(path=tmp_path / "gone.pth", sha256="0" * 64)
    with pytest.raises(
        ConfigError, match=r"minifasnet_v2\.path.*gone\.pth.*Silent-Face-Anti-Spoofing.*anti_spoof_models"
    ):
        LocalSilent(silent_settings.model_copy(update={"minifasnet_v2": gone}))


def test_weights_with_another_sha256_are_refused(silent_settings):
    other = WeightFile(path=silent_settings.minifasnet_v2.path, sha256="0" * 64)
    with pytest.raises(
        ConfigError, match=rf"minifasnet_v2\.sha256.*{silent_settings.minifasnet_v2.sha256}.*{'0' * 64}"
    ):
        LocalSilent(silent_settings.model_copy(update={"minifasnet_v2": other}))


def test_weights_of_the_wrong_network_are_refused(silent_settings):
    with pytest.raises(ConfigError, match="minifasnet_v1se.path.*does not hold this network's weights"):
        LocalSilent(silent_settings.model_copy(update={"minifasnet_v1se": silent_settings.minifasnet_v2}))


def test_a_file_that_is_not_a_checkpoint_is_refused(silent_settings, tmp_path):
    path = tmp_path / "page.html"
    path.write_bytes(b"<html>not found</html>")
    file = WeightFile(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ConfigError, match="does not hold this network's weights"):
        LocalSilent(silent_settings.model_copy(update={"minifasnet_v2": file}))


def print_attack(frame):
    """A print in front of the camera: smaller, low in contrast, with a white border on a grey background."""
    small = cv2.resize((frame * 0.5 + 70).astype(np.uint8), None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    small = cv2.copyMakeBorder(small, 6, 6, 6, 6, cv2.BORDER_CONSTANT, value=(235, 235, 230))
    image = np.full_like(frame, 110)
    top, left = (image.shape[0] - small.shape[0]) // 2, (image.shape[1] - small.shape[1]) // 2
    image[top : top + small.shape[0], left : left + small.shape[1]] = small
    return image


def replay_attack(frame):
    """A replay on a screen: blur, a blue tint and the moiré of two pixel grids."""
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]]
    moire = 1 + 0.12 * np.sin(2 * np.pi * (0.31 * x + 0.05 * y)) + 0.12 * np.sin(2 * np.pi * (0.29 * y + 0.03 * x))
    blurred = cv2.GaussianBlur(frame, (0, 0), 1.2)
    return np.clip(blurred * moire[..., None] * [0.85, 0.95, 1.12] + 12, 0, 255).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.real
def test_published_weights_separate_people_from_prints_and_screens(real_data):
    """Measured on these twelve clips: people 12 of 12 above 0.5, prints none, screens 2."""

    def weights(name):
        path = real_data / "models" / name
        return WeightFile(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())

    provider = LocalSilent(
        LocalSilentSettings(
            provider="local-silent",
            frames=2,
            minifasnet_v2=weights("2.7_80x80_MiniFASNetV2.pth"),
            minifasnet_v1se=weights("4_0_0_80x80_MiniFASNetV1SE.pth"),
        )
    )
    with (real_data / "real" / "sources.tsv").open(encoding="utf-8") as file:
        paths = [real_data / "real" / row["path"] for row in csv.DictReader(file, delimiter="\t")][::2]
    scores = {"person": [], "print": [], "screen": []}
    for path in paths:
        clip = np.stack(list(islice(read_frames(path), 10))[::9])
        for kind, change in (("person", lambda frame: frame), ("print", print_attack), ("screen", replay_attack)):
            scores[kind].append(
                provider.check(Clip(np.stack([change(frame) for frame in clip]), 25.0, ""), "blink").score
            )
    print({kind: np.round(values, 2).tolist() for kind, values in scores.items()})
    assert sum(score > 0.5 for score in scores["person"]) >= 0.8 * len(paths)
    assert np.mean(scores["print"]) < np.mean(scores["person"]) - 0.4
    assert np.mean(scores["screen"]) < np.mean(scores["person"]) - 0.4
