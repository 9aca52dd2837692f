"""Perceptrons of LivePortrait that correct keypoints: stitching, eye and lip retargeting; S and R in the paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class KeypointPerceptron(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        widths: inputs, hidden units, outputs.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.mlp = nn.Sequential(*_layers(widths))

    def forward(self, *parts: Tensor) -> Tensor:
        """Parts (B, ...), flattened and joined → (B, outputs)."""
        result: Tensor = self.mlp(torch.cat([part.flatten(1) for part in parts], dim=1))
        return result


def _layers(widths: Sequence[int]) -> Iterator[nn.Module]:
    for number, (inputs, outputs) in enumerate(pairwise(widths)):
        if number:
            yield nn.ReLU()
        yield nn.Linear(inputs, outputs)
