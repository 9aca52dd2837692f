"""LivePortrait's networks against the original program, every stored intermediate, at a tiny and at the full size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepfakemnist.animate.liveportrait.face_motion import degrees
from deepfakemnist.animate.liveportrait.spectral_norm import fold_spectral_norms
from deepfakemnist.animate.liveportrait.transfer import Transfer, driving_keypoints, keypoints
from tests.animate.liveportrait.conftest import pictures

pytestmark = pytest.mark.numeric

#: Rounding moves pictures and features by up to 1.3e-5, and by 5e-5 with other instructions; keypoints by 1.5e-6;
#: degrees by 3e-5 (original in float32 against float64, and with oneDNN off). Mistakes begin at 5e-4, and at 0.014°.
CLOSE, CLOSE_POINTS, CLOSE_DEGREES = 1e-4, 1e-5, 2e-4

MOTION = {
    **{f"source_M_downsample{i}": f"downsample_layers.{i}" for i in range(4)},
    **{f"source_M_stage{i}": f"stages.{i}" for i in range(4)},
    **{f"source_M_block0_{name}": f"stages.0.0.{name}" for name in ("dwconv", "norm", "pwconv1", "grn", "pwconv2")},
    "source_M_pooled_norm": "norm",
    **{f"source_raw_{name}": f"fc_{name}" for name in ("pitch", "yaw", "roll", "t", "exp", "scale", "kp")},
}
APPEARANCE = {
    "source_F_first": "first",
    "source_F_down0": "down_blocks.0",
    "source_F_down1": "down_blocks.1",
    "source_F_second": "second",
    "source_F_res0": "resblocks_3d.3dr0",
    "source_F_res1": "resblocks_3d.3dr1",
}
DENSE = "dense_motion_network"
WARPING = {
    "W_compress": f"{DENSE}.compress",
    "W_compress_norm": f"{DENSE}.norm",
    **{f"W_down{i}": f"{DENSE}.hourglass.encoder.down_blocks.{i}" for i in range(3)},
    **{f"W_up{i}": f"{DENSE}.hourglass.decoder.up_blocks.{i}" for i in range(3)},
    "W_hourglass": f"{DENSE}.hourglass",
    "W_occlusion_logits": f"{DENSE}.occlusion",
    "W_third": "third",
    "W_fourth": "fourth",
}
GENERATOR = {
    "G_fc": "fc",
    "G_middle0_spade0": "G_middle_0.norm_0",
    "G_middle0_conv0": "G_middle_0.conv_0",
    **{f"G_middle{i}": f"G_middle_{i}" for i in range(6)},
    "G_up0_spade_s": "up_0.norm_s",
    "G_up0_shortcut": "up_0.conv_s",
    "G_up0": "up_0",
    "G_up1": "up_1",
    "G_logits": "conv_img",
}


def recorded(network: nn.Module, names: dict[str, str]) -> dict[str, Tensor]:
    """Return a dictionary that fills as the network runs, with what submodules return; ``names``: key → submodule."""
    found: dict[str, Tensor] = {}

    def record(key: str) -> None:
        # Copied, because the next layer may compute in place.
        network.get_submodule(names[key]).register_forward_hook(
            lambda _module, _inputs, output: found.__setitem__(key, output.clone())
        )

    for key in names:
        record(key)
    return found


def same(found: Tensor, wanted: np.ndarray, atol: float = CLOSE) -> None:
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found.numpy(), wanted, atol=atol, rtol=0)


def frame2(expected: dict[str, np.ndarray], name: str) -> np.ndarray:
    return expected[f"frame2_default__{name}"]


def test_motion_of_the_source_matches_the_original_at_every_layer(tiny, expected):
    found = recorded(tiny.motion_extractor.detector, MOTION)
    motion = tiny.motion_extractor(pictures(expected["source_u8"][None]))
    for name in MOTION:
        same(found[name], expected[name])
    for name in ("pitch", "yaw", "roll"):
        same(degrees(found[f"source_raw_{name}"])[:, None], expected[f"source_{name}"], CLOSE_DEGREES)
    for part, name in zip(motion, ("kp", "exp", "R", "scale", "t"), strict=True):
        same(part, expected[f"source_{name}"], CLOSE_POINTS)
    same(keypoints(motion), expected["x_s"], CLOSE_POINTS)


def test_motion_of_a_batch_of_frames_matches_the_original(tiny, expected):
    motion = tiny.motion_extractor(pictures(expected["driving_u8"]))
    for part, name in zip(motion, ("kp", "exp", "R", "scale", "t"), strict=True):
        same(part, expected[f"driving_{name}"], CLOSE_POINTS)


def test_the_volume_of_the_source_matches_the_original_at_every_layer(tiny, expected):
    found = recorded(tiny.appearance_feature_extractor, APPEARANCE)
    volume = tiny.appearance_feature_extractor(pictures(expected["source_u8"][None]))
    for name in APPEARANCE:
        same(found[name], expected[name])
    same(volume, expected["feature_3d"])


def test_warping_matches_the_original_at_every_layer(tiny, expected):
    volume, source, driving = (torch.from_numpy(expected[name]) for name in ("feature_3d", "x_s", "x_d__default"))
    warping, inputs = tiny.warping_module, {}
    for name in (f"{DENSE}.hourglass", "third"):
        warping.get_submodule(name).register_forward_pre_hook(
            lambda _module, given, name=name: inputs.__setitem__(name, given[0].clone())
        )
    found = recorded(warping, WARPING)
    result = warping(volume, source, driving[2:3])
    for name in WARPING:
        same(found[name], frame2(expected, name))
    evidence = np.concatenate([frame2(expected, "W_heatmap"), frame2(expected, "W_deformed_feature")], axis=2)
    same(inputs[f"{DENSE}.hourglass"], evidence.reshape(1, -1, *evidence.shape[3:]))
    same(inputs["third"], frame2(expected, "W_warped"))
    motion = warping.dense_motion_network(volume, source, driving[2:3])
    same(motion.mask, frame2(expected, "W_mask"))
    same(motion.flow, frame2(expected, "W_deformation"))
    same(motion.occlusion, frame2(expected, "W_occlusion"))
    same(result, frame2(expected, "W_out"))


def test_the_generator_matches_the_original_at_every_layer(tiny, expected):
    found = recorded(tiny.spade_generator, GENERATOR)
    picture = tiny.spade_generator(torch.from_numpy(frame2(expected, "W_out")))
    for name in GENERATOR:
        same(found[name], frame2(expected, name))
    same(picture, expected["prediction__default__frame2"])


@pytest.mark.parametrize("folded", [False, True], ids=["as stored", "norms folded"])
def test_frames_match_the_original_from_picture_to_picture(tiny, expected, folded):
    if folded:
        tiny.folded()
        assert not any(isinstance(module, nn.BatchNorm2d) for module in tiny.modules())
    volume = tiny.appearance_feature_extractor(pictures(expected["source_u8"][None]))
    source = tiny.motion_extractor(pictures(expected["source_u8"][None]))
    driving = tiny.motion_extractor(pictures(expected["driving_u8"]))

    def frames(transfer: Transfer) -> Tensor:
        x = driving_keypoints(source, driving, 0, transfer, tiny.retargeters)
        still = keypoints(source).expand_as(x)
        return tiny.spade_generator(tiny.warping_module(volume.expand(len(x), -1, -1, -1, -1), still, x))

    made = frames(Transfer())
    same(made[2:3], expected["prediction__default__frame2"])
    same_levels(made, expected["frames_u8__default"])
    same_levels(frames(Transfer(relative=False))[2:3], expected["frame2_u8__absolute"])
    same_levels(frames(Transfer(relative=False, stitching=False))[2:3], expected["frame2_u8__absolute_nostitch"])


def same_levels(made: Tensor, wanted: np.ndarray) -> None:
    """Compare pictures with frames of the original, which floors, so that rounding may decide by 1."""
    levels = (255 * made).to(torch.uint8).permute(0, 2, 3, 1).numpy().astype(int)
    assert levels.shape == wanted.shape
    assert np.abs(levels - wanted).max() <= 1


def test_spectral_norm_uses_the_stored_vectors(tiny_states, expected):
    state = fold_spectral_norms(tiny_states["spade_generator"], "here")
    assert not [name for name in state if name.endswith(("_orig", "_u", "_v"))]
    weight = tiny_states["spade_generator"]["up_0.conv_0.weight_orig"]
    divisor = (weight / state["up_0.conv_0.weight"]).median()
    assert divisor < 0.999 * torch.linalg.svdvals(weight.flatten(1).double())[0]
