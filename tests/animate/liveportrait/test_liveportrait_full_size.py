"""LivePortrait at the official size: the names and shapes of its tensors, and outputs of the original program."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from deepfakemnist.animate.checkpoints import Checkpoint
from deepfakemnist.animate.liveportrait.build import build
from deepfakemnist.animate.liveportrait.checkpoint import networks_of
from deepfakemnist.animate.liveportrait.face_motion import FaceMotion
from deepfakemnist.animate.liveportrait.spectral_norm import fold_spectral_norms
from deepfakemnist.animate.liveportrait.transfer import Transfer, driving_keypoints, keypoints
from deepfakemnist.animate.liveportrait.warping import DenseMotion
from tests.animate.liveportrait.conftest import DATA, NETWORKS, pictures

PARAMETERS = {
    "appearance_feature_extractor": 836_224,
    "motion_extractor": 28_118_728,
    "warping_module": 45_529_829,
    "spade_generator": 55_365_388,
}


def states(made: Callable[[str, str, list[int]], Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the state dicts of the official files; ``made``: group, name and shape → tensor."""
    found: dict[str, dict[str, Tensor]] = {}
    for file, tensors in json.loads((DATA / "full_shapes.json").read_text()).items():
        name = file.split("/")[-1].removesuffix(".pth")
        parts = {name: (file, tensors)}
        if name not in NETWORKS:
            parts = {part: (f"{file}/{part}", lines) for part, lines in tensors.items()}
        for part, (group, lines) in parts.items():
            of_networks = {key: shape for key, shape in lines.items() if "int64" not in shape}
            found[part] = {key.removeprefix("module."): made(group, key, shape) for key, shape in of_networks.items()}
    return found


def test_it_has_the_official_tensors():
    official = states(lambda _group, _key, shape: torch.empty(shape, device="meta"))
    official["spade_generator"] = fold_spectral_norms(official["spade_generator"], "here")
    networks = build(official, "here")
    for name, count in PARAMETERS.items():
        network = getattr(networks, name)
        shapes = {key: tensor.shape for key, tensor in network.state_dict().items() if "num_batches" not in key}
        assert shapes == {key: tensor.shape for key, tensor in official[name].items()}
        assert sum(parameter.numel() for parameter in network.parameters()) == count
    counts = [sum(parameter.numel() for parameter in part.parameters()) for part in networks.retargeters.children()]
    assert counts == [45_249, 37_311, 144_703]  # stitching, lips, eyes
    assert (networks.upscale, networks.multiple, networks.keypoints) == (2, 128, 21)


@pytest.mark.slow
@pytest.mark.numeric
def test_it_matches_the_original(expected, tmp_path):
    with np.load(DATA / "full_seeded_expected.npz") as file:
        wanted = dict(file)
    networks = networks_of(Checkpoint(tmp_path, "pickle", seeded_states())).folded()
    source, *driving = (
        pictures(np.repeat(np.repeat(levels, 4, 0), 4, 1)[None])
        for levels in (expected["source_u8"], expected["driving_u8"][0], 255 - expected["driving_u8"][2])
    )
    motion = networks.motion_extractor(torch.cat([source, *driving]))
    for number, of in enumerate(("source", "driving0", "driving2")):
        for name in ("kp", "exp", "scale", "t"):
            close(getattr(motion, name)[number : number + 1], wanted[f"{of}_{name}"])

    def part(of: slice) -> FaceMotion:
        return FaceMotion(*(values[of] for values in motion))

    still = keypoints(part(slice(0, 1)))
    x = driving_keypoints(part(slice(0, 1)), part(slice(1, 3)), 0, Transfer(), networks.retargeters)[1:]
    close(still, wanted["x_s"])
    close(x, wanted["x_d"])
    volume = networks.appearance_feature_extractor(source)
    close(volume[:, ::4, ::4, ::4, ::4], wanted["feature_3d_sub"])
    dense: list[DenseMotion] = []
    networks.warping_module.dense_motion_network.register_forward_hook(lambda *call: dense.append(call[-1]))
    warped = networks.warping_module(volume, still, x)
    close(dense[0].flow[:, ::4, ::4, ::4], wanted["deformation_sub4"])
    close(dense[0].occlusion[..., ::2, ::2], wanted["occlusion_sub2"])
    close(warped[:, ::8, ::4, ::4], wanted["warp_out_sub8"])
    close(networks.spade_generator(warped)[..., ::8, ::8], wanted["prediction_sub8"])


def close(found: Tensor, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-4, rtol=0)  # another implementation came within 1e-5


def seeded(group: str, key: str, shape: list[int]) -> Tensor:
    """Return a tensor by the rule in the README of the data."""
    z = np.random.RandomState(zlib.crc32(f"{group}/{key}".encode())).standard_normal(shape)
    kind = key.split(".")[-1]
    if kind == "running_mean":
        z *= 0.1
    elif kind == "running_var":
        z = 1 + 0.5 * np.abs(z)
    elif kind == "weight_u":
        z = np.full(shape, shape[0] ** -0.5)
    elif kind == "weight_v":
        z = np.zeros(shape)  # follows from the weight
    elif kind in ("gamma", "beta"):
        z *= 0.3
    elif kind in ("weight", "weight_orig") and len(shape) > 1:
        z *= np.sqrt(1.5 / np.prod(shape[1:]))
    elif kind == "weight":
        z = 1 + 0.2 * z
    else:
        z *= 0.2
    return torch.from_numpy(z.astype(np.float32))


def seeded_states() -> dict[str, dict[str, Tensor]]:
    made = states(seeded)
    for name, weight in made["spade_generator"].items():
        if name.endswith("weight_orig"):
            rows = weight.flatten(1).double().sum(0)  # in the direction of the transposed weight times u
            made["spade_generator"][name.replace("_orig", "_v")].copy_(rows / rows.norm())
    heads = made["motion_extractor"]
    heads["detector.fc_kp.weight"] *= 0.03
    for name in ("exp.weight", "t.weight", "scale.weight", "exp.bias", "t.bias"):
        heads[f"detector.fc_{name}"] *= 0.1
    heads["detector.fc_scale.bias"] += 1.3
    made["spade_generator"]["conv_img.0.weight"] *= 0.3
    for part, last in (("retarget_shoulder", 6), ("retarget_mouth", 6), ("retarget_eye", 10)):
        made[part][f"mlp.{last}.weight"] *= 0.1
        made[part][f"mlp.{last}.bias"] *= 0.1
    return made | {"spade_generator": fold_spectral_norms(made["spade_generator"], "here")}
