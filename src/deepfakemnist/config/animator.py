"""Settings of the animator: architecture, weights, how motion is transferred, training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from deepfakemnist.config.base import Fraction, Name, Settings, Sha256, WeightFile
from deepfakemnist.config.registry import animator_names

#: Side of the convolution that makes maps of keypoints or masks; odd. The official one is 7; 3 costs a fifth.
HeadKernel = Literal[1, 3, 5, 7]


class KeypointModel(Settings):
    """FOMM keypoint detector. Defaults are vox-256."""

    temperature: PositiveFloat = 0.1
    block_expansion: PositiveInt = 32
    max_features: PositiveInt = 1024
    scale_factor: PositiveFloat = 0.25
    num_blocks: PositiveInt = 5
    head_kernel: HeadKernel = 7


class DenseMotionModel(Settings):
    """FOMM dense motion network. Defaults are vox-256."""

    block_expansion: PositiveInt = 64
    max_features: PositiveInt = 1024
    num_blocks: PositiveInt = 5
    scale_factor: PositiveFloat = 0.25
    head_kernel: HeadKernel = 7
    upsampling: PositiveInt = Field(
        1,
        description="masks and occlusion map are made at this multiple of the resolution, enlarged before softmax and "
        "sigmoid, which leaves edges sharp: lids that meet are less than a pixel apart at a quarter of the resolution. "
        "Official weights need 1.",
    )
    keypoint_prior: float = Field(
        0.0,
        ge=0,
        description="before anything is learnt, each place follows the keypoints by inverse distance to the power of "
        "twice this (Shepard), which suits keypoints that know where eyelids and lips are. Official weights need 0.",
    )


class GeneratorModel(Settings):
    """FOMM generator. Defaults are vox-256."""

    block_expansion: PositiveInt = 64
    max_features: PositiveInt = 512
    num_down_blocks: PositiveInt = 2
    num_bottleneck_blocks: PositiveInt = 6
    estimate_occlusion_map: bool = True
    dense_motion: DenseMotionModel = Field(default_factory=DenseMotionModel)
    full_resolution_skip: bool = Field(
        False,
        description="output = occlusion × warped source + (1 − occlusion) × generated. Not in the original; it lets a "
        "small model trained for minutes keep the source's detail. Official weights need false.",
    )
    skip_sampling: Literal["bilinear", "bicubic"] = Field(
        "bilinear",
        description="how that skip reads the source between pixels; bicubic keeps more of its sharpness. Used with "
        "full_resolution_skip only",
    )
    scale_factor: PositiveFloat = Field(
        1.0,
        description="share of the resolution at which pixels are painted, 1/n; below 1 only with full_resolution_skip, "
        "where it makes painting n² times cheaper and what the source shows stays sharp. Official weights need 1.",
    )


class FommModel(Settings):
    """Architecture of a First Order Motion Model. Defaults are the official vox-256."""

    num_kp: PositiveInt = 10
    num_channels: PositiveInt = 3
    keypoints: KeypointModel = Field(default_factory=KeypointModel)
    generator: GeneratorModel = Field(default_factory=GeneratorModel)


class DiscriminatorModel(Settings):
    """Judge of realism, for adversarial training only. Defaults are vox-adv-256."""

    block_expansion: PositiveInt = 32
    max_features: PositiveInt = 512
    num_blocks: PositiveInt = 4
    use_keypoints: bool = Field(True, description="the discriminator also sees where the driving keypoints are")


class TrainAnimatorSettings(Settings):
    """Training an animator on crops, for those who have no official weights."""

    clips: Path | None = Field(
        None,
        description="train on these instead of this run's crops: a folder of clips, or a Parquet or TSV table with "
        "the column path and, for sampling: person, person_id",
    )
    start_from: Path | None = Field(
        None,
        description="weights to begin with instead of random ones, e.g. of an earlier training with other losses; "
        "their tensors must fit the model",
    )
    train_keypoints: bool = Field(
        True,
        description="false leaves the keypoint detector as start_from has it and trains the generator alone, which is "
        "cheaper; then equivariance and landmarks count for nothing",
    )
    steps: PositiveInt = Field(300, description="optimiser steps")
    stop_after: PositiveInt | None = Field(
        None, description="end after this step although the learning rate was planned for all; a later one goes on"
    )
    batch_size: PositiveInt = Field(8, description="pairs of frames per step")
    size: PositiveInt = Field(256, description="side of training pictures, pixels")
    frames_per_clip: PositiveInt = Field(48, description="evenly spaced frames of each clip kept in memory")
    max_sources: PositiveInt = Field(
        300, description="sources trained on, drawn by seed; at 48 frames of 256 px each takes 9.4 MB of memory"
    )
    sampling: Literal["clip", "person"] = Field(
        "clip",
        description="draw a clip, or a person and then one of their clips (FOMM's id_sampling), so that people with "
        "many clips do not outweigh the others",
    )
    far_pairs: Fraction = Field(
        0.0,
        description="share of pairs that are the most different of several drawn, so that rest meets the peak of an "
        "action more often than chance has it",
    )
    aperture_pairs: Fraction = Field(
        0.0,
        description="share of pairs that differ most, of several drawn, in how far eyes and mouth are open; by facial "
        "landmarks",
    )
    colour_jitter: Fraction = Field(
        0.1, description="both frames of a pair get gains and an offset of up to this, so that colours vary more"
    )
    learning_rate: PositiveFloat = Field(4e-4, description="Adam, betas 0.5 and 0.999, cosine to zero")
    ema: float = Field(
        0.0, ge=0, lt=1, description="decay per step of the averaged weights that are kept; 0 keeps the last ones"
    )
    mixed_precision: bool = Field(
        True,
        description="bfloat16 for appearance (motion stays float32) where the device gains by it: CUDA, and CPUs with "
        "AVX512-BF16 or AMX",
    )
    reconstruction: float = Field(10.0, ge=0, description="weight of the reconstruction or perceptual loss (paper: 10)")
    vgg19: WeightFile | None = Field(
        None,
        description="torchvision's ImageNet VGG19 weights for the paper's perceptual loss; without them the loss is "
        "multi-scale L1 and image gradients",
    )
    gradient: float = Field(1.0, ge=0, description="weight of image gradients within the loss that needs no VGG19")
    face_detail: float = Field(
        0.0, ge=0, description="further weight of that loss on eyes and mouth, found by facial landmarks"
    )
    eye_detail: float = Field(0.0, ge=0, description="the same on the eyes alone, which are few pixels of a face")
    keep_source: float = Field(
        0.0,
        ge=0,
        description="weight of the mean of 1 − occlusion: what the source shows is taken from it rather than painted "
        "again, which blurs. For full_resolution_skip",
    )
    equivariance_value: float = Field(10.0, ge=0, description="weight of keypoint equivariance (paper: 10)")
    equivariance_jacobian: float = Field(10.0, ge=0, description="weight of jacobian equivariance (paper: 10)")
    landmarks: float = Field(
        0.0,
        ge=0,
        description="weight that pulls the first keypoints to eyelids, brows, mouth and chin as facial landmarks show "
        "them; not in the paper, but it makes a small model see blinks and smiles",
    )
    landmark_steps: int = Field(
        0,
        ge=0,
        description="first steps, of all, in which only the keypoint detector is trained, on landmarks and "
        "equivariance: they take a small part of the time of the others and save many of them",
    )
    disturb_keypoints: Fraction = Field(
        0.0,
        description="strength of the light, colours, blur, noise and patches that pictures get before the keypoint "
        "detector sees them in training, each its own, so that it finds the same points in other kinds of pictures",
    )
    adversarial: float = Field(0.0, ge=0, description="weight of the least-squares GAN loss (vox-adv: 1)")
    feature_matching: float = Field(10.0, ge=0, description="weight of feature matching where adversarial is on")
    discriminator: DiscriminatorModel = Field(default_factory=DiscriminatorModel)
    checkpoint_every: PositiveInt = Field(200, description="steps between full states, from which training resumes")
    samples_every: PositiveInt = Field(500, description="steps between sheets of sample pictures")
    splits: list[Literal["train", "val", "test"]] = Field(
        ["train"], description="people of these splits are trained on; drivers always are"
    )


class AnimatorSettings(Settings):
    """Who animates, with which weights and how motion is transferred."""

    name: Name = Field(
        "fomm",
        description="fomm: First Order Motion Model; warp: bends the source by facial landmarks, no weights; or any "
        "other module of deepfakemnist.animate.registry",
    )
    weights: Path | None = Field(
        None,
        description="official checkpoint (vox-cpk.pth.tar) or a .safetensors of this project; null trains one on this "
        "run's crops",
    )
    weights_sha256: Sha256 | None = Field(None, description="refuse weights with any other sha256")
    weights_url: Annotated[str, Field(pattern="^https?://")] | None = Field(
        None, description="where to fetch the weights when the file is not there; needs weights_sha256"
    )
    model: FommModel | None = Field(
        None, description="architecture; null takes what the weights say, or vox-256 where they say nothing"
    )
    motion: Literal["relative", "absolute"] = Field(
        "relative", description="add the driver's movement since its start frame, or take its keypoints as they are"
    )
    adapt_scale: bool | None = Field(
        None, description="scale relative movement by the sizes of the two faces; null: with motion relative"
    )
    start_frame: Literal["first", "best"] = Field(
        "first",
        description="driver frame that relative movement starts from; best: the one whose pose is nearest the source",
    )
    align_corners: bool | None = Field(
        None,
        description="convention of grid_sample; null: as the weights were trained, true for the official ones; "
        "false: as demo.py ran them on torch 1.3 and later",
    )
    precision: Literal["exact", "tf32", "fast"] = Field(
        "exact",
        description="exact: float32; on CUDA the generator paints in TF32 (tf32) or float16 (fast) where the GPU "
        "computes that right, else in float32; motion in float32; on a CPU all three are exact; each row says which",
    )
    batch_size: Literal["auto"] | PositiveInt = Field(
        "auto", description="frames rendered at once; auto: 8 on a CPU, 64 on a GPU; halved where its memory is short"
    )
    source_frame: int = Field(0, ge=0, description="frame of the source clip that is animated, from 0")
    train: TrainAnimatorSettings = Field(default_factory=TrainAnimatorSettings)

    @field_validator("name")
    @classmethod
    def _exists(cls, name: str) -> str:
        if name not in animator_names():
            raise ValueError(f"there is no such animator; there are {', '.join(animator_names())}")
        return name

    @model_validator(mode="after")
    def _modes_agree(self) -> AnimatorSettings:
        if self.motion == "absolute" and self.adapt_scale:
            raise ValueError("adapt_scale: true does nothing with motion: absolute; choose motion: relative")
        if self.motion == "absolute" and self.start_frame == "best":
            raise ValueError("start_frame: best does nothing with motion: absolute; choose motion: relative")
        if self.weights_url is not None and (self.weights is None or self.weights_sha256 is None):
            raise ValueError("weights_url needs weights (the file to write) and weights_sha256 (what it must hold)")
        return self

    @property
    def trains(self) -> bool:
        """Whether this run trains the weights itself: FOMM is the one animator it can train."""
        return self.name == "fomm" and self.weights is None

    @property
    def scales_motion(self) -> bool:
        """Whether relative movement is scaled by the sizes of the two faces."""
        return self.motion == "relative" if self.adapt_scale is None else self.adapt_scale
