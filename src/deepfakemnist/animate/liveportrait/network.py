"""The networks of LivePortrait together.

Guo et al., "LivePortrait: Efficient Portrait Animation with Stitching and Retargeting Control", arXiv 2407.03168. Names
and shapes of the parameters are those of the official files, except that spectral norm is folded into the weights that
it divides.
"""

from __future__ import annotations

import math

from torch import nn

from deepfakemnist.animate.liveportrait.appearance import AppearanceExtractor
from deepfakemnist.animate.liveportrait.blocks import fold_norms
from deepfakemnist.animate.liveportrait.face_motion import MotionExtractor
from deepfakemnist.animate.liveportrait.generator import SpadeGenerator
from deepfakemnist.animate.liveportrait.retargeting import KeypointPerceptron
from deepfakemnist.animate.liveportrait.warping import WarpingNetwork

#: The motion extractor halves a picture five times.
_MOTION_MULTIPLE = 32


class Retargeters(nn.Module):
    """Perceptrons that correct keypoints."""

    def __init__(self, stitching: KeypointPerceptron, lips: KeypointPerceptron, eyes: KeypointPerceptron) -> None:
        super().__init__()
        self.stitching, self.lips, self.eyes = stitching, lips, eyes


class LivePortrait(nn.Module):
    """All networks; a frame is ``spade_generator(warping_module(volume, source, driving))``."""

    def __init__(
        self,
        appearance_feature_extractor: AppearanceExtractor,
        motion_extractor: MotionExtractor,
        warping_module: WarpingNetwork,
        spade_generator: SpadeGenerator,
        retargeters: Retargeters,
    ) -> None:
        super().__init__()
        self.appearance_feature_extractor = appearance_feature_extractor
        self.motion_extractor = motion_extractor
        self.warping_module = warping_module
        self.spade_generator = spade_generator
        self.retargeters = retargeters

    def folded(self) -> LivePortrait:
        """Fold batch norms into convolutions, in place; evaluation only."""
        fold_norms(self.eval())
        return self

    @property
    def keypoints(self) -> int:
        """Number of keypoints."""
        return self.motion_extractor.detector.outputs["kp"] // 3

    @property
    def multiple(self) -> int:
        """Factor of the sides of pictures."""
        reduced = len(self.appearance_feature_extractor.down_blocks)
        hourglass = self.warping_module.dense_motion_network.hourglass.encoder
        return math.lcm(_MOTION_MULTIPLE, 2 ** (reduced + len(hourglass.down_blocks)))

    @property
    def upscale(self) -> int:
        """Side of a frame over that of the source."""
        features = 2 ** len(self.appearance_feature_extractor.down_blocks)
        shuffle = self.spade_generator.conv_img[1]
        assert isinstance(shuffle, nn.PixelShuffle)
        return 4 * shuffle.upscale_factor // features
