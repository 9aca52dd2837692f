"""Settings of the First Order Motion Model: weights, architecture, motion transfer, training."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from deepfakemnist.config.animators.base import (
    BatchSize,
    NetworkSettings,
    Precision,
    StartFrame,
    check_start,
)
from deepfakemnist.config.base import Fraction, Settings, WeightFile

#: Kernel size of the convolution that predicts keypoint heatmaps or masks. Official: 7; 3 costs a fifth.
HeadKernel = Literal[1, 3, 5, 7]


class KeypointModel(Settings):
    """FOMM keypoint detector; defaults are those of vox-256."""

    temperature: PositiveFloat = 0.1
    block_expansion: PositiveInt = 32
    max_features: PositiveInt = 1024
    scale_factor: PositiveFloat = 0.25
    num_blocks: PositiveInt = 5
    head_kernel: HeadKernel = 7


class DenseMotionModel(Settings):
    """FOMM dense motion network; defaults are those of vox-256."""

    block_expansion: PositiveInt = 64
    max_features: PositiveInt = 1024
    num_blocks: PositiveInt = 5
    scale_factor: PositiveFloat = 0.25
    head_kernel: HeadKernel = 7
    upsampling: PositiveInt = Field(
        1,
        description="factor by which mask and occlusion logits are upsampled before softmax and sigmoid. Keeps edges "
        "sharp: closing eyelids are less than a pixel apart at a quarter of the resolution. Official weights need 1.",
    )
    keypoint_prior: float = Field(
        0.0,
        ge=0,
        description="strength of the motion prior: at initialisation each pixel follows the keypoints by inverse "
        "distance to the power of twice this (Shepard). Suits keypoints placed on eyelids and lips. "
        "Official weights need 0.",
    )


class GeneratorModel(Settings):
    """FOMM generator; defaults are those of vox-256."""

    block_expansion: PositiveInt = 64
    max_features: PositiveInt = 512
    num_down_blocks: PositiveInt = 2
    num_bottleneck_blocks: PositiveInt = 6
    estimate_occlusion_map: bool = True
    dense_motion: DenseMotionModel = Field(default_factory=DenseMotionModel)
    full_resolution_skip: bool = Field(
        False,
        description="output = occlusion × warped source + (1 − occlusion) × generated. Not in the original; keeps the "
        "source's detail in a small model trained for minutes. Official weights need false.",
    )
    skip_sampling: Literal["bilinear", "bicubic"] = Field(
        "bilinear",
        description="interpolation of the source in that skip; bicubic is sharper. Used with full_resolution_skip only",
    )
    scale_factor: PositiveFloat = Field(
        1.0,
        description="resolution at which pixels are generated, as a fraction 1/n of the output's. Below 1 only with "
        "full_resolution_skip: generation costs n² times less and visible source regions stay sharp. Official weights "
        "need 1.",
    )


class FommModel(Settings):
    """First Order Motion Model architecture; defaults are those of the official vox-256."""

    num_kp: PositiveInt = 10
    num_channels: PositiveInt = 3
    keypoints: KeypointModel = Field(default_factory=KeypointModel)
    generator: GeneratorModel = Field(default_factory=GeneratorModel)


class DiscriminatorModel(Settings):
    """Discriminator for adversarial training; defaults are those of vox-adv-256, but for the spectral norm."""

    block_expansion: PositiveInt = 32
    max_features: PositiveInt = 512
    num_blocks: PositiveInt = 4
    use_keypoints: bool = Field(True, description="condition the discriminator on the driving keypoints")
    spectral_norm: bool = Field(
        True, description="spectral normalisation of its convolutions; the official vox-adv-256 has none"
    )


class TrainAnimatorSettings(Settings):
    """Animator training on face crops, for use without official weights."""

    clips: Path | None = Field(
        None,
        description="training clips: a folder, or a Parquet or TSV table with the column path and, for sampling: "
        "person, person_id; null: this run's crops",
    )
    start_from: Path | None = Field(
        None,
        description="initial weights, e.g. of an earlier training with other losses; tensor shapes must match the "
        "model. null: random initialisation",
    )
    train_keypoints: bool = Field(
        True,
        description="false: freeze the keypoint detector of start_from and train the generator alone, which is "
        "cheaper; the equivariance and landmark losses then have no effect",
    )
    steps: PositiveInt = Field(300, description="optimiser steps, over which the learning rate is scheduled")
    stop_after: PositiveInt | None = Field(
        None, description="stop early after this step, with the learning rate schedule unchanged; raise it to continue"
    )
    batch_size: PositiveInt = Field(8, description="frame pairs per step")
    size: PositiveInt = Field(256, description="side of the training images, pixels")
    frames_per_clip: PositiveInt = Field(48, description="evenly spaced frames per clip that pairs are taken from")
    frames: Literal["memory", "disk"] = Field(
        "memory",
        description="where these frames are. memory: 9.4 MB per clip at 48 frames of 256 px; disk: lossless pictures "
        "in the folder of the training, about half of that, decoded by worker processes; for more clips than memory "
        "holds",
    )
    gpus: PositiveInt = Field(1, description="GPUs that share each batch; must divide batch_size")
    compile: bool = Field(
        False, description="use torch.compile; compilation takes minutes, so for long GPU trainings only"
    )
    max_sources: PositiveInt = Field(300, description="sources trained on, sampled by seed")
    sampling: Literal["clip", "person"] = Field(
        "clip",
        description="clip: sample clips uniformly; person: sample a person, then one of their clips (FOMM's "
        "id_sampling), so that people with many clips do not dominate",
    )
    far_pairs: Fraction = Field(
        0.0,
        description="fraction of hard pairs: the most different of several sampled pairs, so that neutral faces are "
        "paired with the peak of an action more often than by chance",
    )
    aperture_pairs: Fraction = Field(
        0.0,
        description="fraction of pairs selected, among several sampled ones, for the largest difference in eye and "
        "mouth aperture, by facial landmarks",
    )
    colour_jitter: Fraction = Field(
        0.1, description="maximum colour gain and offset, applied alike to both frames of a pair"
    )
    learning_rate: PositiveFloat = Field(
        4e-4, description="initial rate of Adam (betas 0.5 and 0.999), cosine decay to zero"
    )
    ema: float = Field(
        0.0, ge=0, lt=1, description="decay per step of the exponential moving average of the weights; 0: no averaging"
    )
    mixed_precision: bool = Field(
        True,
        description="bfloat16 for appearance networks (motion stays float32) where it is faster: CUDA, and CPUs with "
        "AVX512-BF16 or AMX",
    )
    reconstruction: float = Field(10.0, ge=0, description="weight of the reconstruction or perceptual loss (paper: 10)")
    vgg19: WeightFile | None = Field(
        None,
        description="torchvision's ImageNet VGG19 weights for the paper's perceptual loss; null: multi-scale L1 and "
        "image gradients",
    )
    gradient: float = Field(1.0, ge=0, description="weight of image gradients in the loss without VGG19")
    face_detail: float = Field(
        0.0, ge=0, description="extra weight of that loss on eyes and mouth, located by facial landmarks"
    )
    eye_detail: float = Field(0.0, ge=0, description="extra weight on the eyes alone, which cover few pixels of a face")
    keep_source: float = Field(
        0.0,
        ge=0,
        description="weight of the mean of 1 − occlusion: favours copying the source over generating, which blurs. "
        "For full_resolution_skip",
    )
    equivariance_value: float = Field(10.0, ge=0, description="weight of keypoint equivariance (paper: 10)")
    equivariance_jacobian: float = Field(10.0, ge=0, description="weight of jacobian equivariance (paper: 10)")
    landmarks: float = Field(
        0.0,
        ge=0,
        description="weight of the landmark loss, which ties the first keypoints to eyelids, brows, mouth and chin. "
        "Not in the paper; lets a small model track blinks and smiles",
    )
    landmark_steps: int = Field(
        0,
        ge=0,
        description="initial steps, counted within steps, that train the keypoint detector alone on landmarks and "
        "equivariance; far cheaper than full steps, many of which they save",
    )
    disturb_keypoints: Fraction = Field(
        0.0,
        description="strength of the random augmentation (light, colour, blur, noise, patches) of each image the "
        "keypoint detector is trained on, for robustness to other image domains",
    )
    adversarial: float = Field(0.0, ge=0, description="weight of the least-squares GAN loss (vox-adv: 1)")
    feature_matching: float = Field(
        10.0, ge=0, description="weight of feature matching, used when adversarial is above 0"
    )
    discriminator: DiscriminatorModel = Field(default_factory=DiscriminatorModel)
    checkpoint_every: PositiveInt = Field(
        200, description="steps between full training states, from which training resumes"
    )
    samples_every: PositiveInt = Field(500, description="steps between sample sheets")
    splits: list[Literal["train", "val", "test"]] = Field(
        ["train"], description="splits whose people are trained on; drivers are always included"
    )


class FommSettings(NetworkSettings):
    """First Order Motion Model (Siarohin et al. 2019): the paper's animator.

    Raises: ValueError for settings that contradict each other.
    """

    module: ClassVar[str] = "deepfakemnist.animate.animators.fomm"
    shapes_weights: ClassVar[tuple[str, ...]] = ("train",)

    name: Literal["fomm"] = "fomm"
    weights: Path | None = Field(
        None,
        description="official checkpoint (vox-cpk.pth.tar) or a .safetensors of this project; null: train a model on "
        "this run's crops",
    )
    model: FommModel | None = Field(None, description="architecture; null: as stored with the weights, else vox-256")
    motion: Literal["relative", "absolute"] = Field(
        "relative",
        description="relative: add the driver's motion since its start frame to the source; absolute: use the driver's "
        "keypoints",
    )
    adapt_scale: bool | None = Field(
        None, description="scale relative motion by the ratio of the two face sizes; null: true with motion relative"
    )
    start_frame: StartFrame | None = Field(
        None,
        description="driver frame that relative motion starts from, which corresponds to the source picture. best: the "
        "one with the pose closest to the source; neutral: eyes open, mouth closed, frontal, neutral and sharp. null: "
        "first",
    )
    align_corners: bool | None = Field(
        None,
        description="grid_sample convention; null: as in the training of the weights, true for the official ones; "
        "false: as demo.py with torch 1.3 and later",
    )
    precision: Precision = Field(
        "exact",
        description="generator arithmetic on CUDA. exact: float32, at most 1.2 levels of 255 from float64 (the "
        "original: 1.0) and within 1 in 99.99 % of values, measured with random weights at full size; tf32: TF32; "
        "fast: float16, within 2 levels in 99.9 %; layers that the GPU computes incorrectly stay in float32. Motion is "
        "always float32, and a CPU is always exact. Recorded per row",
    )
    batch_size: BatchSize = Field(
        "auto", description="frames per forward pass; auto: 2 on a CPU, 64 on a GPU; halved when out of memory"
    )
    train: TrainAnimatorSettings = Field(default_factory=TrainAnimatorSettings)

    @model_validator(mode="after")
    def _modes_agree(self) -> FommSettings:
        if self.motion == "absolute" and self.adapt_scale:
            raise ValueError("adapt_scale: true has no effect with motion: absolute; use motion: relative")
        check_start(self.motion, self.start_frame)
        return self

    @property
    def needs_training(self) -> bool:
        """Whether this run trains the animator."""
        return self.weights is None

    @property
    def motion_mode(self) -> str:
        """How motion is transferred."""
        return self.motion

    @property
    def scales_motion(self) -> bool:
        """Whether relative motion is scaled by the ratio of the two face sizes."""
        return self.motion == "relative" if self.adapt_scale is None else self.adapt_scale

    @property
    def starts_from(self) -> StartFrame:
        """The start frame, also where the default applies."""
        return self.start_frame or "first"
