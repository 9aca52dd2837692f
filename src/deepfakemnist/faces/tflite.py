"""Networks in TensorFlow Lite's format that ship with this package, run single-threaded in LiteRT."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any

import numpy as np

from deepfakemnist.errors import ConfigError


class Network:
    """A TFLite model with one input; call it with an array of the input's shape."""

    def __init__(self, model: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter  # deferred: most of animation and training runs without it

        self._net = Interpreter(model_content=model, num_threads=1)
        self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        self._outputs = [output["index"] for output in self._net.get_output_details()]

    def __call__(self, value: np.ndarray) -> list[Any]:
        """Return every output."""
        self._net.set_tensor(self._input, value)
        self._net.invoke()
        return [self._net.get_tensor(index) for index in self._outputs]


def bundled(name: str, sha256: str) -> bytes:
    """Return a file of ``faces/data`` after verifying its checksum. Raises: ConfigError."""
    data = files("deepfakemnist.faces").joinpath(f"data/{name}").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        raise ConfigError(
            f"deepfakemnist/faces/data/{name} has sha256 {digest}, not {sha256}; install deepfakemnist again"
        )
    return data
