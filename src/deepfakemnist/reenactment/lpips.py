"""LPIPS (Zhang et al. 2018) with AlexNet, from torchmetrics, with the backbone's weights read from a file.

torchmetrics downloads them, unchecked, into a cache; a run names a file and its sha256 instead.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from deepfakemnist.config.base import WeightFile
from deepfakemnist.devices.tensor_files import UnreadableTensors, load_tensors
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.checksums import file_facts

#: Frames per forward pass; bounds memory.
_BATCH = 8


class Lpips:
    """The metric, ready for pairs of clips.

    Args:
        weights: state_dict of torchvision's AlexNet.
        device: where it runs.

    Raises: ConfigError for a missing file, another sha256, and tensors that are not those of AlexNet.
    """

    def __init__(self, weights: WeightFile, device: torch.device) -> None:
        # Imported here: it takes seconds, and few runs measure LPIPS.
        from torchmetrics.functional.image.lpips import _LPIPS

        network = _LPIPS(pretrained=True, net="alex", pnet_rand=True)
        features = _read_features(weights)
        expected = network.net.state_dict()
        # Slices of the backbone keep the layers' numbers: slice2.3.weight is features.3.weight.
        state = {name: features.get(f"features.{name.split('.', 1)[1]}") for name in expected}
        if any(tensor is None or tensor.shape != expected[name].shape for name, tensor in state.items()):
            raise ConfigError(
                f"reenact.lpips: {weights.path} is not a state_dict of torchvision's AlexNet, whose tensors are named "
                "features.0.weight, features.0.bias, features.3.weight and so on"
            )
        network.net.load_state_dict(state)
        self._network, self._device = network.eval().to(device), device

    def __call__(self, results: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
        """Return the average distance of frames (T, H, W, 3), RGB; 0 for equal clips."""
        found = []
        with torch.inference_mode():
            for at in range(0, len(truth), _BATCH):
                made, true = (self._pixels(frames[at : at + _BATCH]) for frames in (results, truth))
                found += self._network(made, true).flatten().tolist()
        return float(np.mean(found))

    def _pixels(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """Return frames as the network takes them, (N, 3, H, W) in -1..1."""
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(self._device)
        return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def _read_features(weights: WeightFile) -> dict[str, torch.Tensor]:
    if not weights.path.is_file():
        raise ConfigError(f"reenact.lpips.path {weights.path} does not exist; null measures no LPIPS")
    if (found := file_facts(weights.path).sha256) != weights.sha256:
        raise ConfigError(f"reenact.lpips: {weights.path} has sha256 {found}, but the config expects {weights.sha256}")
    try:
        state = load_tensors(weights.path)
    except UnreadableTensors as error:
        raise ConfigError(f"reenact.lpips: {weights.path}: {error}") from error
    return state if isinstance(state, dict) else {}
