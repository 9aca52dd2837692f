"""Detectors from the registry: parameter counts, input ranges, layer order, weights and error messages."""

import hashlib
import importlib.util
import math

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from deepfakemnist.config.base import WeightFile
from deepfakemnist.config.detectors import DETECTOR_NAMES, DetectorTraining
from deepfakemnist.detectors.frequency import dct_basis
from deepfakemnist.detectors.meso import SamePool
from deepfakemnist.detectors.registry import DETECTORS, build, detector_config
from deepfakemnist.errors import ConfigError


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count"),
    # torchvision's ResNets have 25,557,032, 44,549,160 and 60,192,808; 1000 logits of 2049 parameters become one.
    [
        ("meso4", 27_977),
        ("mesoinception4", 28_615),  # both as the MesoNet paper counts them
        ("meso4_sharedbn", 11_416 + 2 * (8 + 16) + 16_400 + 17),  # no biases in convolutions, two norms
        ("xception", 22_855_952 - 999 * 2049),  # the count of the original network, and of FaceForensics++'s
        ("efficientnet_b4", 19_341_616 - 999 * 1793),
        ("convnext_tiny", 28_589_128 - 999 * 769),
        ("r2plus1d_18", 31_505_325 - 399 * 513),
        ("resnet50", 25_557_032 - 999 * 2049),
        ("resnet101", 44_549_160 - 999 * 2049),
        ("resnet152", 60_192_808 - 999 * 2049),
    ],
)
def test_number_of_parameters(name, count):
    with torch.device("meta"):  # allocates no memory
        assert parameters(build(name)) == count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("meso4", 256),
        ("meso4", 50),
        ("mesoinception4", 64),
        ("mesoinception4", 50),
        ("meso4_sharedbn", 64),
        ("resnet50", 64),
        ("xception", 64),
        ("efficientnet_b4", 64),
        ("convnext_tiny", 64),
        ("dct_resnet18", 64),
        ("framediff_resnet18", 64),
        ("r2plus1d_18", 32),
        ("timm:test_resnet.r160_in1k", 64),
    ],
)
def test_one_logit_per_sample(name, size):
    torch.manual_seed(0)
    detector = build(name, image_size=size, dropout=0.0).double()
    pixels = torch.randint(0, 256, (3, *detector.sample_shape), dtype=torch.uint8)
    for norm in detector.modules():
        if isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
            norm.momentum = None  # one batch suffices; with initial statistics deep networks lose the input's signal
    with torch.no_grad():
        detector(pixels)
    detector.eval()
    logits = detector(pixels)
    assert logits.shape == (3,)
    assert torch.isfinite(logits).all()
    assert len(set(logits.tolist())) == 3
    assert torch.allclose(detector(pixels[1:2]), logits[1:2], rtol=1e-6)


def test_the_config_allows_exactly_the_registry_names():
    assert sorted(DETECTOR_NAMES) == sorted(DETECTORS)
    assert DetectorTraining(name="timm:test_vit.r160_in1k").slug == "timm_test_vit_r160_in1k"
    with pytest.raises(ValueError, match=r"unknown detector; allowed are resnet50, .* and timm:NAME"):
        DetectorTraining(name="resnet51")


def test_every_detector_has_a_source_and_a_licence():
    for name in DETECTORS:
        config = detector_config(name)
        assert config.source and config.licence and config.input_size >= 32 and 0 < config.learning_rate < 0.01
        assert "none" in config.weights


def test_registry_names_agree_with_the_configs():
    assert {name: detector_config(name).name for name in DETECTORS} == {name: name for name in DETECTORS}
    assert detector_config("meso4").input_size == 256
    assert detector_config("resnet50").input_size == 224


@pytest.mark.numeric
def test_meso4_gets_pixels_in_0_to_1_not_standardised():
    torch.manual_seed(0)
    detector = build("meso4", image_size=32).eval()
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(detector(pixels), detector.network(pixels / 255.0).squeeze(1))


@pytest.mark.numeric
def test_resnet_gets_pixels_normalised_with_imagenet_statistics():
    torch.manual_seed(0)
    detector = build("resnet50", image_size=32).eval()
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (pixels / 255.0 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    assert torch.allclose(detector(pixels), detector.network(normalised).squeeze(1), atol=1e-5)


@pytest.mark.numeric
def test_meso4_follows_the_keras_code():
    torch.manual_seed(0)
    network = build("meso4").network
    blocks = list(network.features)
    shapes = [tuple(block[0].weight.shape) for block in blocks]
    assert shapes == [(8, 3, 3, 3), (8, 8, 5, 5), (16, 8, 5, 5), (16, 16, 5, 5)]
    for block in blocks:
        assert [type(layer) for layer in block] == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d, SamePool]
        assert (block[2].eps, block[2].momentum) == (1e-3, 0.01)
        assert torch.count_nonzero(block[0].bias) == 0
    assert len({id(block[2]) for block in blocks}) == 4  # no norm is shared
    head = [type(layer) for layer in network.head]
    assert head == [nn.Flatten, nn.Dropout, nn.Linear, nn.LeakyReLU, nn.Dropout, nn.Linear]
    dense = network.head[2]
    assert dense.weight.shape == (16, 16 * 8 * 8)
    assert network.head[3].negative_slope == 0.1
    limit = math.sqrt(6 / (1024 + 16))  # Glorot uniform
    assert dense.weight.abs().max() <= limit
    assert dense.weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.03)


def test_same_pooling_keeps_the_partial_window():
    maps = torch.arange(1.0, 8.0).neg().view(1, 1, 1, 7)
    # Keras pads 7 to 8 with one column on the right and nothing on the left; padding never wins a maximum.
    assert SamePool(2)(maps).flatten().tolist() == [-1.0, -3.0, -5.0, -7.0]


@pytest.mark.parametrize(
    "pixels",
    [
        torch.zeros(1, 3, 32, 32),
        torch.zeros(1, 3, 32, 31, dtype=torch.uint8),
        torch.zeros(1, 1, 32, 32, dtype=torch.uint8),
        torch.zeros(3, 32, 32, dtype=torch.uint8),
    ],
)
def test_wrong_pixels_are_refused(pixels):
    with pytest.raises(ValueError, match=r"meso4 takes uint8 RGB of shape \(B, 3, 32, 32\)"):
        build("meso4", image_size=32)(pixels)


def test_error_messages_list_the_allowed_values():
    with pytest.raises(
        ConfigError, match="unknown detector 'xceptoin'; allowed: clip_norms, .*resnet50, .*xception, and timm"
    ):
        build("xceptoin")
    with pytest.raises(ConfigError, match=r"timm 1\S* has no model 'resnet5'; similar: resnet50"):
        build("timm:resnet5")
    with pytest.raises(ConfigError, match=r"timm has no weights 'resnet50\.mine'"):
        build("timm:resnet50.mine")
    with pytest.raises(ConfigError, match="image_size 256 is not supported by clip_probe; allowed: 224"):
        build("clip_probe", image_size=256)
    with pytest.raises(ConfigError, match="meso4 cannot start from weights 'imagenet'; allowed: none"):
        build("meso4", "imagenet")
    with pytest.raises(ConfigError, match="image_size 16 is too small"):
        build("meso4", image_size=16)


def test_imagenet_weights_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens on the discard port
    with pytest.raises(ConfigError, match=r"(?s)could not be downloaded.*resnet50-0676ba61\.pth.*weights: none"):
        build("resnet50", "imagenet")


def test_cached_imagenet_weights_with_another_sha256_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub/checkpoints/resnet50-0676ba61.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"half a download")
    with pytest.raises(ConfigError, match="sha256 does not begin with 0676ba61"):
        build("resnet50", "imagenet")


def test_offline_errors_name_the_location_of_timms_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"(?s)could not be downloaded.*xception-43020ad28\.pth.*weights: none"):
        build("xception", "imagenet")
    if importlib.util.find_spec("huggingface_hub"):  # it would ask a dead proxy for most of a minute
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"are on the Hugging Face hub \(timm/test_resnet\.r160_in1k\).*safetensors"):
        build("timm:test_resnet.r160_in1k", "imagenet")


def file_of(path, state):
    if path.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    else:
        torch.save({"state_dict": state}, path)
    return WeightFile(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_by_path_load_everything_but_the_head(tmp_path, suffix):
    from torchvision import models

    torch.manual_seed(1)
    state = models.resnet50(weights=None).state_dict()  # 1000 classes, as in published weights
    file = file_of(tmp_path / f"weights.{suffix}", state)
    loaded = build("resnet50", file, image_size=32).network.state_dict()
    assert loaded["fc.weight"].shape == (1, 2048)
    for name, value in state.items():
        assert name.startswith("fc.") or torch.equal(loaded[name], value), name


def test_weights_by_path_load_into_a_timm_network(tmp_path):
    import timm

    torch.manual_seed(1)
    state = timm.create_model("test_vit", pretrained=False).state_dict()
    network = build("timm:test_vit.r160_in1k", file_of(tmp_path / "w.safetensors", state)).network
    assert torch.equal(network.body.blocks[0].attn.qkv.weight, state["blocks.0.attn.qkv.weight"])
    assert network.head[1].weight.shape == (1, 64)


@pytest.mark.slow
def test_weights_of_another_network_or_sha256_are_refused(tmp_path):
    from torchvision import models

    state = models.resnet18(weights=None).state_dict()
    file = file_of(tmp_path / "other.pth", state)
    with pytest.raises(ConfigError, match=r"weights .*other\.pth do not fit resnet50"):
        build("resnet50", file, image_size=32)
    with pytest.raises(ConfigError, match=r"other\.pth have sha256 .* but the config asks for 0000"):
        build("resnet50", WeightFile(path=file.path, sha256="0" * 64))
    (tmp_path / "list.pth").write_bytes(b"")
    empty = WeightFile(path=tmp_path / "list.pth", sha256=hashlib.sha256(b"").hexdigest())
    with pytest.raises(ConfigError, match=r"list\.pth cannot be read"):
        build("resnet50", empty)
    with pytest.raises(ConfigError, match="gone.pth: no such file"):
        build("resnet50", WeightFile(path=tmp_path / "gone.pth", sha256="0" * 64))


@pytest.mark.slow
def test_the_dropout_of_xception_takes_effect():
    """timm's own drop_rate has no effect in legacy_xception: its forward_head discards the result."""
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    torch.manual_seed(0)
    for dropout, differs in ((0.5, True), (0.0, False)):
        head = build("xception", image_size=64, dropout=dropout).network.head.train()
        features = torch.rand(4, 2048)
        assert torch.equal(head(features), head(features)) is not differs
    detector = build("xception", image_size=64).eval()
    assert torch.equal(detector(pixels), detector(pixels))


def test_the_port_shares_its_norms_and_meso4_does_not():
    port = build("meso4_sharedbn").network
    norms = [layer for layer in port.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == [8, 16]
    assert all(layer.bias is None for layer in port.convolutions)
    calls = []
    norms[0].register_forward_hook(lambda *_: calls.append(1))
    port.eval()(torch.rand(1, 3, 256, 256))
    assert len(calls) == 2


def test_inception_branches_have_their_dilations():
    block = build("mesoinception4").network.features[0]
    wide = [branch[2] for branch in block.branches[1:]]
    assert [(layer.dilation[0], layer.kernel_size[0]) for layer in wide] == [(1, 3), (2, 3), (3, 3)]
    assert block(torch.rand(1, 3, 10, 10)).shape == (1, 11, 5, 5)


@pytest.mark.parametrize(("name", "count"), [("clip_probe", 769), ("clip_norms", 769 + 2 * 768 * 26)])
def test_a_frozen_encoder_trains_only_norms_or_head(name, count):
    with torch.device("meta"):
        detector = build(name)
    # 12 blocks with two norms each, one norm before and one after them; 769 parameters in the head.
    assert sum(parameter.numel() for parameter in detector.parameters() if parameter.requires_grad) == count
    detector.train()
    assert detector.network.head.training and not detector.network.body.training


@pytest.mark.numeric
def test_the_dct_of_a_cosine_is_a_single_coefficient():
    basis = dct_basis(8)
    assert torch.allclose(basis.flatten(1) @ basis.flatten(1).T, torch.eye(64), atol=1e-5)
    column = torch.cos(torch.pi * (2 * torch.arange(8.0) + 1) * 3 / 16)
    coefficients = (basis * column.expand(8, 8)).sum((1, 2)).view(8, 8)
    assert coefficients[0, 3].item() == pytest.approx(16**0.5 * 2**0.5, rel=1e-4)
    coefficients[0, 3] = 0
    assert coefficients.abs().max() < 1e-5


@pytest.mark.numeric
def test_static_content_is_invisible_to_frame_differences():
    torch.manual_seed(0)
    detector = build("framediff_resnet18", image_size=32).eval()
    still = torch.randint(0, 256, (2, 1, 3, 32, 32), dtype=torch.uint8).expand(2, 4, 3, 32, 32)
    assert torch.equal(detector(still)[0], detector(still)[1])
    moving = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8)
    assert detector(moving)[0] != detector(moving)[1]
