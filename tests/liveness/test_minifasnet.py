import pytest
import torch

from deepfakemnist.liveness.minifasnet import V1SE, V2, MiniFASNet, load_state

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize(("widths", "parameters"), [(V2, 434_560), (V1SE, 433_586)])
def test_has_the_published_number_of_parameters(widths, parameters):
    assert sum(tensor.numel() for tensor in MiniFASNet(widths).parameters()) == parameters


def test_only_v1se_has_squeeze_and_excitation_and_only_in_the_last_block_of_a_stage():
    blocks = {name.partition(".se_module")[0] for name in MiniFASNet(V1SE).state_dict() if ".se_module." in name}
    assert blocks == {"conv_3.model.3", "conv_4.model.5", "conv_5.model.1"}
    assert not any("se_module" in name for name in MiniFASNet(V2).state_dict())


def test_weights_saved_from_data_parallel_give_the_same_logits():
    torch.manual_seed(0)
    first = MiniFASNet(V1SE).eval()
    saved = {f"module.{name}": tensor for name, tensor in first.state_dict().items()}
    second = load_state(MiniFASNet(V1SE), saved)
    images = torch.rand(2, 3, 80, 80) * 255
    with torch.inference_mode():
        assert torch.equal(first(images), second(images))
        assert first(images).shape == (2, 3)
    assert not second.training


def test_weights_of_the_other_network_are_refused():
    with pytest.raises(RuntimeError, match="size mismatch|Missing key"):
        load_state(MiniFASNet(V1SE), MiniFASNet(V2).state_dict())


@pytest.mark.real
def test_published_weights_fit(real_data):
    for widths, name in ((V2, "2.7_80x80_MiniFASNetV2.pth"), (V1SE, "4_0_0_80x80_MiniFASNetV1SE.pth")):
        state = torch.load(real_data / "models" / name, map_location="cpu", weights_only=True)
        assert load_state(MiniFASNet(widths), state)(torch.zeros(1, 3, 80, 80)).isfinite().all()
