"""Losses of animator training, pair sampling and image perturbation, on values derived by hand."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torchvision.models import vgg19

from deepfakemnist.animate.fomm.network import FirstOrderMotionModel, Keypoints
from deepfakemnist.animate.training.equivariance import RandomDeformation
from deepfakemnist.animate.training.losses import Objective, StepLosses, detail_loss, equivariance_losses, landmark_loss
from deepfakemnist.animate.training.pair_batches import Pairs
from deepfakemnist.animate.training.pairs import PairSampler, TrainingClip, hold_out, load_clips
from deepfakemnist.animate.training.perceptual import PixelPyramid, VggPyramid
from deepfakemnist.animate.training.perturb import perturb_images
from deepfakemnist.config.animators.fomm import TrainAnimatorSettings
from deepfakemnist.config.base import WeightFile
from deepfakemnist.errors import ConfigError
from deepfakemnist.faces.facial_points import APERTURES, EYE_REGIONS, FACIAL_POINTS, MIRRORED, detail_map

COUNT = len(FACIAL_POINTS)


def face(opening: float = 0.04) -> torch.Tensor:
    """(1, P, 2): eyes at (∓0.3, -0.2), mouth at (0, 0.4), everything else in the centre."""
    points = torch.zeros(1, COUNT, 2)
    eyes = {0: (-0.3, -0.2 - opening), 1: (-0.3, -0.2 + opening), 17: (-0.4, -0.2), 18: (-0.2, -0.2)}
    eyes |= {2: (0.3, -0.2 - opening), 3: (0.3, -0.2 + opening), 19: (0.4, -0.2), 20: (0.2, -0.2)}
    mouth = {4: (0.0, 0.35), 5: (0.0, 0.45), 6: (-0.2, 0.4), 7: (0.2, 0.4)}
    for index, position in (eyes | mouth).items():
        points[0, index] = torch.tensor(position)
    return points


def test_pixel_pyramid_counts_a_constant_error_at_each_of_four_scales():
    target = torch.rand(2, 3, 32, 32)
    assert PixelPyramid(1.0)(target, target).item() == 0
    assert PixelPyramid(1.0)(target + 0.1, target).item() == pytest.approx(0.4, rel=1e-4)


def test_pixel_pyramid_penalises_edges_by_gradients():
    """A step of 1 between two halves: L1 equals that of a constant error of 0.5, gradients add 1/31, 1/15 …"""
    error = torch.zeros(1, 1, 32, 32)
    error[..., 16:] = 1
    flat = PixelPyramid(0.0)(error, torch.zeros_like(error))
    edges = PixelPyramid(2.0)(error, torch.zeros_like(error))
    assert flat.item() == pytest.approx(2.0)
    assert edges.item() == pytest.approx(2.0 + 2 * (1 / 31 + 1 / 15 + 1 / 7 + 1 / 3), rel=1e-5)


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory) -> WeightFile:
    """Random weights of the right shapes, because tests must not download the real ones; features only."""
    torch.manual_seed(0)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in vgg19(weights=None).features.state_dict().items()}
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    state = {}
    for name, shape in shapes.items():
        scale = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.0
        state[f"features.{name}"] = torch.randn(shape) * scale
    torch.save(state, path)
    return WeightFile(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def blurred(images: torch.Tensor, stride: int) -> torch.Tensor:
    """Every ``stride``-th pixel of a Gaussian blur at full resolution, with zeros outside, as the original's."""
    if stride == 1:
        return images
    sigma = (stride - 1) / 2
    # truncate 4 gives a radius of round(4 sigma), too.
    return torch.from_numpy(
        gaussian_filter(images.numpy(), sigma, mode="constant", truncate=4.0, axes=(2, 3))[
            :, :, ::stride, ::stride
        ].copy()
    )


@pytest.mark.slow
def test_vgg_pyramid_is_the_sum_of_five_layers_at_four_scales(vgg_file):
    pyramid = VggPyramid(vgg_file)
    prediction, target = torch.rand(1, 3, 128, 128), torch.rand(1, 3, 128, 128)
    assert pyramid(target, target).item() == 0
    found = pyramid(prediction, target)

    with torch.device("meta"):
        features = vgg19(weights=None).features[:30]
    state = torch.load(vgg_file.path, weights_only=True)
    layers = {name: state[f"features.{name}"] for name in features.state_dict()}
    features.load_state_dict(layers, assign=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    wanted = 0.0
    for scale in (1, 2, 4, 8):
        x, y = ((blurred(p, scale) - mean[:, None, None]) / std[:, None, None] for p in (prediction, target))
        for i, layer in enumerate(features):
            x, y = layer(x), layer(y)
            if i in (1, 6, 11, 20, 29):  # relu1_1, relu2_1, relu3_1, relu4_1, relu5_1
                wanted += (x - y).abs().mean().item()
    assert found.item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.slow
def test_vgg_pyramid_has_gradients_for_the_prediction_only(vgg_file):
    pyramid = VggPyramid(vgg_file)
    prediction = torch.rand(1, 3, 128, 128, requires_grad=True)
    pyramid(prediction, torch.rand(1, 3, 128, 128)).backward()
    assert prediction.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in pyramid.parameters())


def test_unusable_vgg_weights_are_refused(vgg_file, tmp_path):
    with pytest.raises(ConfigError, match="vgg19.pth does not exist"):
        VggPyramid(WeightFile(path=tmp_path / "vgg19.pth", sha256="0" * 64))
    with pytest.raises(ConfigError, match=f"has sha256 {vgg_file.sha256}, but the config expects 0000"):
        VggPyramid(WeightFile(path=vgg_file.path, sha256="0" * 64))
    other = tmp_path / "other.pth"
    torch.save({"fc.weight": torch.zeros(1)}, other)
    with pytest.raises(ConfigError, match="is not a state_dict of torchvision's VGG19"):
        VggPyramid(WeightFile(path=other, sha256=hashlib.sha256(other.read_bytes()).hexdigest()))


def test_equivariant_keypoints_have_zero_loss():
    deformation = RandomDeformation(2, torch.Generator().manual_seed(0), torch.device("cpu"))
    deformed = Keypoints(torch.rand(2, 4, 2) - 0.5, torch.eye(2).expand(2, 4, 2, 2))
    exact = Keypoints(deformation.points(deformed.value), deformation.jacobian(deformed.value))
    value, jacobian = equivariance_losses(exact, deformed, deformation)
    assert (value.item(), jacobian.item()) == pytest.approx((0, 0), abs=1e-6)
    off = Keypoints(exact.value + 0.1, 2 * exact.jacobian)
    value, jacobian = equivariance_losses(off, deformed, deformation)
    assert value.item() == pytest.approx(0.1, rel=1e-4)
    assert jacobian.item() == pytest.approx(0.25, rel=1e-4)  # |I - I/2|, of which half the entries are 0


def test_landmark_loss_is_point_error_plus_aperture_error():
    points = face()
    assert landmark_loss(points[:, :10], points).item() == 0
    assert landmark_loss(points[:, :10] + 0.1, points).item() == pytest.approx(0.1)
    shut = points[:, :10].clone()
    shut[0, 0, 1] += 0.08  # the upper lid of one eye on the lower one
    apertures = len(APERTURES) * 2
    assert landmark_loss(shut, points).item() == pytest.approx(0.08 / 20 + 0.08 / apertures)


def test_images_without_a_face_do_not_contribute_to_the_landmark_loss():
    points = torch.cat([face(), torch.full((1, COUNT, 2), torch.nan)])
    values = torch.zeros(2, 3, 2, requires_grad=True)
    loss = landmark_loss(values, points)
    loss.backward()
    assert torch.isfinite(loss)
    assert values.grad[0].abs().sum() > 0
    assert values.grad[1].abs().sum() == 0
    assert landmark_loss(values, points[1:].expand(2, -1, -1)).item() == 0


def test_detail_map_covers_eyes_and_mouth():
    weights = detail_map(face(), 201, 201)[0, 0]
    at = lambda x, y: weights[round((y + 1) * 100), round((x + 1) * 100)].item()  # noqa: E731
    assert min(at(-0.3, -0.2), at(0.3, -0.2), at(0.0, 0.4)) > 0.99
    assert max(at(0.0, 0.0), at(-0.8, -0.8), at(0.0, -0.6), at(0.8, 0.4)) < 0.01
    assert 0.02 < weights.mean() < 0.2
    assert detail_map(torch.full((1, COUNT, 2), torch.nan), 8, 8).abs().sum() == 0


def test_detail_loss_counts_errors_only_in_its_regions():
    target = torch.zeros(1, 3, 64, 64)
    elsewhere, mouth = target.clone(), target.clone()
    elsewhere[..., :8, :8] = 1
    mouth[..., 40:50, 26:38] = 1
    assert detail_loss(elsewhere, target, face()).item() < 1e-3
    assert detail_loss(mouth, target, face()).item() > 0.3
    assert detail_loss(mouth, target, face(), EYE_REGIONS).item() < 1e-3


def test_the_total_excludes_the_discriminator():
    losses = StepLosses(step=7, reconstruction=1, landmarks=2, adversarial=4, discriminator=100)
    assert losses.total == 7


@pytest.mark.numeric
@pytest.mark.parametrize("kernel", [None, 3, 7])
def test_bfloat16_is_disabled_where_it_is_computed_wrongly(
    small_model, monkeypatch, plant_bfloat16_fault, caplog, kernel
):
    capabilities = {**torch.cpu.get_capabilities(), "amx_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    if kernel is not None:
        plant_bfloat16_fault(kernel)
    objective = Objective(TrainAnimatorSettings(size=32), torch.device("cpu"))
    networks = FirstOrderMotionModel(small_model)
    before = {name: value.clone() for name, value in networks.state_dict().items()}
    objective.check_autocast(networks)
    assert objective.autocast == (kernel is None)
    assert ("bfloat16 is wrong or refused on this processor" in caplog.text) == (kernel is not None)
    assert all(torch.equal(value, before[name]) for name, value in networks.state_dict().items())
    assert networks.training


def test_mirroring_swaps_left_and_right():
    for i, (name, _) in enumerate(FACIAL_POINTS):
        mirrored = FACIAL_POINTS[MIRRORED[i]][0]
        assert {name.split()[0], mirrored.split()[0]} in ({"left", "right"}, {name.split()[0]})
        assert name.split()[1:] == mirrored.split()[1:]
        assert MIRRORED[MIRRORED[i]] == i


def clips_of(frames: int, people: list[str]) -> list[TrainingClip]:
    """Grey clips: image t of clip i has level 10·i + t."""
    made = []
    for i, person in enumerate(people):
        levels = 10 * i + np.arange(frames)
        images = np.broadcast_to(levels[:, None, None, None], (frames, 32, 32, 3)).astype(np.uint8)
        points = np.broadcast_to(np.arange(COUNT)[:, None].astype(np.float32), (frames, COUNT, 2))
        made.append(TrainingClip(images, person, points))
    return made


def sampler(clips, tmp_path, **settings):
    chosen = TrainAnimatorSettings(size=32, colour_jitter=0.0, **settings)
    return PairSampler(load_clips(clips, chosen, tmp_path), chosen)


def levels(pairs) -> np.ndarray:
    """(2, B) grey levels of source and driving frames."""
    return np.stack([(255 * part[:, 0, 0, 0]).round().numpy() for part in (pairs.source, pairs.driving)])


def test_pairs_are_two_frames_of_one_clip(tmp_path):
    pairs = sampler(clips_of(5, ["a", "b", "c"]), tmp_path).sample(200, torch.Generator().manual_seed(0))
    source, driving = levels(pairs)
    assert (source // 10 == driving // 10).all()
    assert (source != driving).all()
    assert set(source // 10) == {0, 1, 2}


def test_sampling_by_person_balances_people(tmp_path):
    """One clip of person a, nine of b."""
    clips = clips_of(5, ["a", *["b"] * 9])
    by_clip = levels(sampler(clips, tmp_path).sample(400, torch.Generator().manual_seed(0)))[0]
    by_person = levels(sampler(clips, tmp_path, sampling="person").sample(400, torch.Generator().manual_seed(0)))[0]
    assert (by_clip < 10).mean() == pytest.approx(0.1, abs=0.05)
    assert (by_person < 10).mean() == pytest.approx(0.5, abs=0.08)


def test_far_pairs_are_farther_apart(tmp_path):
    clips = clips_of(10, ["a", "b"])
    distance = {}
    for share in (0.0, 1.0):
        pairs = sampler(clips, tmp_path, far_pairs=share).sample(200, torch.Generator().manual_seed(0))
        source, driving = levels(pairs)
        distance[share] = np.abs(source - driving).mean()
    assert distance[0.0] == pytest.approx(11 / 3, abs=0.4)  # two of ten numbers
    assert distance[1.0] > 6.5


def test_aperture_pairs_differ_in_eye_aperture(tmp_path):
    """The eye aperture of frame t is proportional to t, independent of the grey level; frame 0 shows no face."""
    clips = clips_of(10, ["a", "b"])
    points = torch.cat([face(opening=0.01 * t) for t in range(10)]).numpy()
    points[0] = np.nan
    annotated = [TrainingClip(clip.frames[::-1], clip.person, points) for clip in clips]
    distance = {}
    for share in (0.0, 1.0):
        pairs = sampler(annotated, tmp_path, landmarks=1.0, aperture_pairs=share).sample(
            200, torch.Generator().manual_seed(0)
        )
        source, driving = levels(pairs)
        distance[share] = np.abs(source - driving).mean()
        faceless = torch.cat([pairs.source_points, pairs.driving_points]).isnan().any(dim=2).any(dim=1).sum()
        assert (faceless > 10) == (share == 0.0), "frames without a face are not preferred"
    assert distance[1.0] > 5.0 > distance[0.0]


def test_a_mirrored_pair_has_mirrored_points(tmp_path):
    """The left half is white; half of the pairs are mirrored, with x of every point and left and right swapped."""
    frames = np.zeros((4, 32, 32, 3), np.uint8)
    frames[:, :, :16] = 255
    points = np.broadcast_to(np.arange(COUNT)[:, None].astype(np.float32), (4, COUNT, 2))
    pairs = sampler([TrainingClip(frames, "a", points)] * 2, tmp_path, landmarks=1.0).sample(
        40, torch.Generator().manual_seed(0)
    )
    plain = torch.from_numpy(2 * np.array(points[0]) / 31 - 1)
    mirrored = plain[MIRRORED] * torch.tensor([-1.0, 1.0])
    is_mirrored = pairs.source[:, 0, 0, 0] == 0
    assert 8 < is_mirrored.sum() < 32
    for flipped, source, driving in zip(is_mirrored, pairs.source_points, pairs.driving_points, strict=True):
        wanted = mirrored if flipped else plain
        torch.testing.assert_close(source, wanted)
        torch.testing.assert_close(driving, wanted)


def test_colour_jitter_is_the_same_for_both_frames(tmp_path):
    settings = TrainAnimatorSettings(size=32, colour_jitter=0.2)
    frames = np.full((4, 32, 32, 3), 128, np.uint8)
    pairs = PairSampler(load_clips([TrainingClip(frames, "a")], settings, tmp_path), settings).sample(
        50, torch.Generator().manual_seed(0)
    )
    assert torch.equal(pairs.source, pairs.driving)
    spread = pairs.source[:, :, 0, 0]
    assert spread.std(dim=0).min() > 0.03
    assert (spread - 128 / 255).abs().max() < 0.2 * 128 / 255 + 0.1 + 1e-6
    assert (spread[:, 0] - spread[:, 1]).abs().mean() > 0.01


def test_training_and_held_out_people_are_disjoint(tmp_path):
    settings = TrainAnimatorSettings(size=32)
    loaded = load_clips(clips_of(3, [f"p{i // 2}" for i in range(40)]), settings, tmp_path)
    training, held = hold_out(loaded, torch.Generator().manual_seed(0))
    assert (len(training), len(held)) == (36, 4)
    assert not {clip.person for clip in training} & {clip.person for clip in held}


def test_detected_facial_points_are_cached(tmp_path, monkeypatch):
    """A real face is detected once; the second time the detector is not even loaded."""
    from skimage import data

    face = np.ascontiguousarray(data.astronaut()[:256, 96:352])
    settings = TrainAnimatorSettings(size=64, landmarks=1.0)
    clip = TrainingClip(np.stack([face, face[:, ::-1]]), "astronaut")
    first = load_clips([clip], settings, tmp_path)[0].points
    lids = first[0, [0, 1, 2, 3]]
    assert (lids[:2, 0] < lids[2:, 0]).all()  # her right eye is on the left of the image
    assert (first[0, 9, 1] > first[0, 4, 1]) and (first[0, 4, 1] > first[0, 8, 1])  # chin, lip, nose: upwards
    monkeypatch.setattr("deepfakemnist.animate.training.pairs.find_facial_points", None)
    assert torch.equal(load_clips([clip], settings, tmp_path)[0].points, first)


@pytest.fixture(scope="module")
def grating() -> torch.Tensor:
    """Eight copies of a coloured grating whose lines are two pixels wide, (8, 3, 64, 48)."""
    lines = (torch.arange(48) // 2 % 2).float() * 0.4 + 0.3
    return (lines * torch.tensor([1.0, 0.7, 0.5])[:, None, None]).expand(8, 3, 64, 48)


def perturbed(images, strength, seed=0):
    return perturb_images(images, strength, torch.Generator().manual_seed(seed))


def test_every_image_has_its_own_perturbation_determined_by_the_seed(grating):
    made = perturbed(grating, 0.5)
    assert made.shape == grating.shape and made.min() >= 0 and made.max() <= 1
    assert torch.equal(made, perturbed(grating, 0.5))
    assert not torch.equal(made, perturbed(grating, 0.5, seed=1))
    assert all(not torch.equal(made[0], other) for other in made[1:])


def test_perturbation_does_not_move_image_content(grating):
    """Every row correlates best with the lines at zero shift, among shifts within half a period."""
    made = perturbed(grating, 0.5, seed=2).mean(dim=(1, 2))
    lines = grating[0, 0, 0] - grating[0, 0, 0].mean()
    for row in made:
        scores = {shift: float((row - row.mean()) @ lines.roll(shift)) for shift in (-1, 0, 1)}
        assert max(scores, key=scores.__getitem__) == 0


def test_a_stronger_perturbation_changes_more(grating):
    assert torch.allclose(perturbed(grating, 0.0), grating, atol=1e-6)
    changes = [(perturbed(grating, strength) - grating).abs().mean().item() for strength in (0.1, 0.4, 1.0)]
    assert 0 < changes[0] < changes[1] < changes[2]
    # Brightness, colour and detail change: means, ratios of channels, contrast of the lines.
    made = perturbed(grating, 0.6)
    assert made.mean(dim=(1, 2, 3)).std() > 0.03
    assert (made[:, 0].mean(dim=(1, 2)) / made[:, 2].mean(dim=(1, 2))).std() > 0.05
    contrast = made.mean(dim=(1, 2)).diff(dim=-1).abs().mean(dim=-1)
    assert contrast.max() > 1.2 * contrast.min()


def test_only_the_keypoint_detector_sees_perturbed_images(small_model):
    settings = TrainAnimatorSettings(size=32, disturb_keypoints=0.8)
    networks = FirstOrderMotionModel(small_model)
    seen: dict[str, torch.Tensor] = {}
    networks.kp_detector.register_forward_pre_hook(lambda module, given: seen.update(keypoints=given[0]))
    networks.generator.first.register_forward_pre_hook(lambda module, given: seen.update(generator=given[0]))
    images = torch.rand(2, 3, 32, 32)
    pairs = Pairs(images, images.flip(0), None, None)
    Objective(settings, torch.device("cpu"))(networks, None, pairs, torch.Generator().manual_seed(0), 1)
    assert torch.equal(seen["generator"], images)
    assert (seen["keypoints"][:2] - images).abs().mean() > 0.02
