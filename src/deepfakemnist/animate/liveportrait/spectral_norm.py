"""Spectral norm folded into the weights that it divides, as stored by torch.nn.utils.spectral_norm.

The divisor is uᵀ·W·v with the stored vectors u and v, which came out of a few power iterations; the largest singular
value itself is another number and gives other pictures.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from deepfakemnist.errors import ConfigError

_ORIGINAL, _LEFT, _RIGHT = ".weight_orig", ".weight_u", ".weight_v"


def fold_spectral_norms(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Return a state dict with a ``weight`` for every ``weight_orig``, ``weight_u`` and ``weight_v``.

    Raises: ConfigError where one of the three is missing, or their sizes disagree.
    """
    folded = dict(state)
    for name in [name.removesuffix(_ORIGINAL) for name in state if name.endswith(_ORIGINAL)]:
        missing = [name + part for part in (_LEFT, _RIGHT) if name + part not in state]
        if missing:
            raise ConfigError(
                f"animator weights {where} have {name}{_ORIGINAL} without {' and '.join(missing)}, so its norm is lost"
            )
        original = folded.pop(name + _ORIGINAL)
        left, right = folded.pop(name + _LEFT), folded.pop(name + _RIGHT)
        matrix = original.flatten(1)
        if matrix.shape != (len(left), len(right)):
            raise ConfigError(
                f"animator weights {where}: {name}{_ORIGINAL} is {tuple(original.shape)}, which does not fit its "
                f"vectors of {len(left)} and {len(right)}"
            )
        folded[f"{name}.weight"] = original / torch.dot(left, torch.mv(matrix, right))
    return folded
