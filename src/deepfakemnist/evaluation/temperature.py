"""Temperature scaling (Guo et al., arXiv 1706.04599): one number that a detector's logits are divided by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

#: Range of the temperature. A detector that needs more than a factor of 50 is close to chance.
_LOWEST, _HIGHEST = 0.02, 50.0


def fit_temperature(labels: NDArray[np.integer], logits: NDArray[np.float64]) -> float:
    """Return the temperature of the highest likelihood, both classes weighted alike.

    It is 1 where the likelihood has no maximum: of a detector that separates the classes without error, which would
    become certain of everything, of one no better than chance, which would answer 0.5 to everything, and of one class.

    Args:
        labels: (N,) 1 for fake, 0 for real.
        logits: (N,) outputs before the sigmoid.
    """
    real, fake = logits[labels == 0], logits[labels == 1]
    if not len(real) or not len(fake) or real.max() < fake.min():
        return 1.0

    def slope(log_temperature: float) -> float:
        """Derivative of the negative log-likelihood by the inverse temperature, which it is convex in."""
        inverse = np.exp(-log_temperature)
        return float(np.mean(real * expit(real * inverse)) - np.mean(fake * expit(-fake * inverse)))

    lowest, highest = np.log(_LOWEST), np.log(_HIGHEST)
    if slope(highest) >= 0 or slope(lowest) <= 0:
        return 1.0
    return float(np.exp(brentq(slope, lowest, highest, xtol=1e-6)))
