"""Decision threshold and temperature of a detector, both chosen on val at the end of training.

Temperature scaling (Guo et al., arXiv 1706.04599) divides every logit by one number, so it changes neither the order of
scores nor any AUC. Predictions of the workflow hold plain logits; ``deepfakemnist predict`` applies both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import expit

from deepfakemnist.config.base import Fraction, Settings
from deepfakemnist.evaluation.temperature import fit_temperature


class Decision(Settings):
    """Rule that turns a detector's logits into a verdict."""

    threshold: Fraction = Field(0.5, description="a video is fake when its mean calibrated P(fake) is at least this")
    temperature: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="P(fake) of a frame is sigmoid(logit / temperature)"
    )
    val_videos: int = Field(0, ge=0, description="videos of val that both were chosen on; 0: the defaults, 0.5 and 1")

    def scores(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the calibrated P(fake) of logits."""
        return np.asarray(expit(np.asarray(logits, np.float64) / self.temperature))


def choose_decision(labels: NDArray[np.integer], logits: NDArray[np.floating], videos: Sequence[str]) -> Decision:
    """Choose threshold and temperature.

    The temperature has the highest likelihood of the frames, both classes weighted alike. The threshold has the highest
    balanced accuracy of the videos, whose score is the mean of their frames'; among equals it is the one nearest 0.5.

    Args:
        labels: (N,) 1 fake, 0 real, of val frames.
        logits: (N,) their logits.
        videos: (N,) the video, at one quality, of each.

    Returns: the decision; the defaults where a class is missing.
    """
    if len(set(np.asarray(labels).tolist())) < 2:
        return Decision()
    temperature = fit_temperature(np.asarray(labels), np.asarray(logits, np.float64))
    names, video_of = np.unique(np.asarray(videos), return_inverse=True)
    frames = np.bincount(video_of)
    scores = np.bincount(video_of, Decision(temperature=temperature).scores(logits)) / frames
    fake = np.bincount(video_of, labels) / frames >= 0.5
    return Decision(threshold=_threshold(fake, scores), temperature=temperature, val_videos=len(names))


def _threshold(fake: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Return the threshold, 0.5 or halfway between two neighbouring scores, of the highest balanced accuracy."""
    ordered = np.unique(scores)
    candidates = np.concatenate([[0.5], (ordered[1:] + ordered[:-1]) / 2])
    hits = [np.mean(scores[fake] >= at) + np.mean(scores[~fake] < at) for at in candidates]
    best = candidates[np.isclose(hits, max(hits), rtol=0, atol=1e-12)]
    return float(best[np.argmin(np.abs(best - 0.5))])
