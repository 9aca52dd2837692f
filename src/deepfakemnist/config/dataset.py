"""Settings of the dataset itself: how clips are encoded and marked, which frames are kept, splits, audit, release.

Light on imports, because Snakemake reads them whenever it parses the workflow, once per job.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from deepfakemnist.config.base import Name, Settings


class Quality(Settings):
    """One encoding of every clip."""

    codec: Literal["libx264", "libx264rgb", "libx265", "libsvtav1"] = "libx264"
    crf: Annotated[int, Field(ge=0, le=63)] | None = Field(
        None, description="constant rate factor; up to 51, for libsvtav1 up to 63"
    )
    qp: Annotated[int, Field(ge=0, le=69)] | None = Field(
        None, description="constant quantiser, x264 only; 0 is lossless"
    )
    pix_fmt: Literal["yuv420p", "yuv444p", "rgb24"] = "yuv420p"
    preset: Literal["ultrafast", "veryfast", "fast", "medium", "slow"] = Field(
        "medium", description="x264's and x265's names; for libsvtav1 they stand for 12, 10, 8, 6 and 4"
    )
    shrink_to: Annotated[int, Field(ge=16)] | None = Field(
        None, description="side in pixels to which the picture is reduced, and enlarged again, before encoding"
    )
    after: Name | None = Field(
        None, description="quality whose decoded pictures are encoded again, as uploads are; null: the clip itself"
    )

    @model_validator(mode="after")
    def _one_rate_control(self) -> Quality:
        if (self.crf is None) == (self.qp is None):
            raise ValueError("name either crf or qp")
        if (self.codec == "libx264rgb") != (self.pix_fmt == "rgb24"):
            raise ValueError("libx264rgb goes with pix_fmt rgb24, and only it does")
        if self.qp is not None and not self.codec.startswith("libx264"):
            raise ValueError(f"qp goes with libx264 and libx264rgb; {self.codec} takes crf")
        if self.crf is not None and self.crf > 51 and self.codec != "libsvtav1":
            raise ValueError(f"crf of {self.codec} is at most 51, not {self.crf}")
        if self.codec == "libsvtav1" and self.pix_fmt != "yuv420p":
            raise ValueError("libsvtav1 encodes yuv420p only")
        return self


def _paper_qualities() -> dict[str, Quality]:
    return {
        "raw": Quality(qp=0, preset="veryfast"),
        "c23": Quality(crf=23),
        "c40": Quality(crf=40),
    }


class MarkSettings(Settings):
    """Marks in the files of fakes that say a model made them; real files carry none."""

    comment: bool = Field(True, description="a plain comment in the container")
    c2pa: bool = Field(True, description="a signed C2PA manifest, source type trainedAlgorithmicMedia")
    certificate: Path | None = Field(
        None,
        description="PEM file with the signer's certificate chain, own certificate first; its key is named by the "
        "environment variable DEEPFAKEMNIST_C2PA_KEY. null: a throw-away test certificate that nobody trusts",
    )
    algorithm: Literal["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"] = Field(
        "es256", description="signature algorithm of the certificate's key"
    )
    timestamp_url: str | None = Field(
        None, description="time stamp authority (RFC 3161) asked for every file; null: no time stamp, no request"
    )


class CompressSettings(Settings):
    """The one encode chain that real and fake clips share."""

    qualities: dict[Name, Quality] = Field(default_factory=_paper_qualities, min_length=1)
    length: Literal["pair", "keep"] = Field(
        "pair",
        description="pair: a source and the fakes planned from it are cut to the shortest of them, so that duration "
        "says nothing of the class; keep: every clip keeps its length",
    )
    max_frames: PositiveInt | None = Field(None, description="cut every clip to this many frames; null keeps all")
    vmaf: bool = Field(False, description="measure VMAF too, where the ffmpeg at hand has libvmaf")
    mark: MarkSettings = Field(default_factory=MarkSettings, description="marks in the files of fakes")

    @model_validator(mode="after")
    def _chains_begin_at_a_clip(self) -> CompressSettings:
        for name, quality in self.qualities.items():
            first = self.qualities.get(quality.after) if quality.after else None
            if quality.after and (first is None or first.after):
                allowed = [other for other, value in self.qualities.items() if not value.after]
                raise ValueError(f"qualities.{name}.after is {quality.after!r}; allowed are {allowed}")
        return self


class FrameSettings(Settings):
    """Still frames for frame-level detectors."""

    per_clip: PositiveInt = Field(16, description="frames of each clip; policy all takes every one")
    policy: Literal["even", "first", "random", "all"] = Field(
        "even",
        description="even: the middles of equal stretches; first: the beginning; random: drawn by the clip's id; all",
    )
    region: Literal["full", "face"] = Field(
        "full",
        description="full: the whole frame; face: a square around the face, found once at the first quality and the "
        "same at every quality. A frame without a face is kept and flagged",
    )
    face_scale: float = Field(
        1.3, ge=1.0, le=3.0, description="side of that square in sides of the face box (FaceForensics++: 1.3)"
    )
    png: bool = Field(
        False,
        description="also write every frame as a PNG file, png/<quality>/<video_id>/<index>.png, for others' code",
    )


class AuditSettings(Settings):
    """How hard it is looked for what tells the classes apart beside the picture."""

    folds: Annotated[int, Field(ge=2)] = Field(5, description="cross-validation folds, disjoint by person")
    bootstrap: PositiveInt = Field(1000, description="resamples of people for 95 % intervals")


class DatasetSettings(Settings):
    """The manifest's splits and its audit."""

    folds: Annotated[int, Field(ge=2, le=100)] = Field(
        5, description="parts of the column fold, for cross-validation; a person is in one only"
    )
    audit: AuditSettings = Field(default_factory=AuditSettings, description="the confound audit")


class Creator(Settings):
    """Who made a release."""

    name: str = Field(min_length=1)
    orcid: Annotated[str, Field(pattern=r"^\d{4}-\d{4}-\d{4}-\d{3}[\dX]$")] | None = None
    affiliation: str | None = None


class ReleaseSettings(Settings):
    """A folder to hand to others, by `snakemake release`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9+._ -]*$")] = Field(
        "DeepFakeMnist+ dataset", description="title of the dataset"
    )
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = Field("1.0.0", description="major.minor.patch")
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = Field(
        None, description="date of publication; null leaves it out, so that the same run gives the same files"
    )
    creators: list[Creator] = Field(default_factory=list, description="people who made it")
    licence: str = Field(
        "unstated", description="SPDX name or address of the licence of what you may license: not the source videos"
    )
    url: str | None = Field(None, description="where it is published")
    contact: str | None = Field(None, description="where people ask to be taken out")
    qualities: list[Name] | None = Field(None, description="qualities to release; null: all")
    files: Literal["link", "copy"] = Field(
        "link", description="link: hard links, copies where the file system has none; copy: always copies"
    )
    exclusions: Path | None = Field(
        None,
        description="TSV with the columns video_id, person_id, reason: whoever is named is left out, and all "
        "that was made from or with them",
    )
    require_licence: bool = Field(False, description="leave out sources, and their fakes, that state no licence")
    previous: Path | None = Field(
        None, description="folder of the release before this one; CHANGELOG.md then says what came, went and changed"
    )
