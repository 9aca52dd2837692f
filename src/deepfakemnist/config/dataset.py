"""Dataset settings: encoding, synthetic-media marks, frame extraction, folds, audits, release.

Few imports, because Snakemake loads them each time it parses the workflow, once per job.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from deepfakemnist.config.base import Name, Settings


class Quality(Settings):
    """Encoding applied to every clip."""

    codec: Literal["libx264", "libx264rgb", "libx265", "libsvtav1"] = "libx264"
    crf: Annotated[int, Field(ge=0, le=63)] | None = Field(
        None, description="constant rate factor; up to 51, for libsvtav1 up to 63"
    )
    qp: Annotated[int, Field(ge=0, le=69)] | None = Field(
        None, description="constant quantiser, x264 only; 0 is lossless"
    )
    pix_fmt: Literal["yuv420p", "yuv444p", "rgb24"] = "yuv420p"
    preset: Literal["ultrafast", "veryfast", "fast", "medium", "slow"] = Field(
        "medium", description="preset of x264 and x265; mapped to 12, 10, 8, 6 and 4 for libsvtav1"
    )
    shrink_to: Annotated[int, Field(ge=16)] | None = Field(
        None, description="downscale to this side, pixels, and back up before encoding; null: no resizing"
    )
    after: Name | None = Field(
        None,
        description="re-encode the output of this quality, as social media uploads do; null: encode the clip itself",
    )

    @model_validator(mode="after")
    def _one_rate_control(self) -> Quality:
        if (self.crf is None) == (self.qp is None):
            raise ValueError("set either crf or qp")
        if (self.codec == "libx264rgb") != (self.pix_fmt == "rgb24"):
            raise ValueError("libx264rgb requires pix_fmt rgb24, and no other codec takes it")
        if self.qp is not None and not self.codec.startswith("libx264"):
            raise ValueError(f"qp is for libx264 and libx264rgb; {self.codec} takes crf")
        if self.crf is not None and self.crf > 51 and self.codec != "libsvtav1":
            raise ValueError(f"crf of {self.codec} is at most 51, not {self.crf}")
        if self.codec == "libsvtav1" and self.pix_fmt != "yuv420p":
            raise ValueError("libsvtav1 supports yuv420p only")
        return self


def _paper_qualities() -> dict[str, Quality]:
    return {
        "raw": Quality(qp=0, preset="veryfast"),
        "c23": Quality(crf=23),
        "c40": Quality(crf=40),
    }


class MarkSettings(Settings):
    """Synthetic-media marks in the files of fakes; real files carry none."""

    comment: bool = Field(True, description="plain-text comment in the container")
    c2pa: bool = Field(True, description="signed C2PA manifest, source type trainedAlgorithmicMedia")
    certificate: Path | None = Field(
        None,
        description="PEM file with the signer's certificate chain, leaf first; the environment variable "
        "DEEPFAKEMNIST_C2PA_KEY names its key. null: an untrusted, throw-away test certificate",
    )
    algorithm: Literal["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"] = Field(
        "es256", description="signature algorithm of the key"
    )
    timestamp_url: str | None = Field(
        None, description="time stamp authority (RFC 3161), requested once per file; null: no time stamp, no request"
    )


class CompressSettings(Settings):
    """Encode chain shared by real and fake clips."""

    qualities: dict[Name, Quality] = Field(default_factory=_paper_qualities, min_length=1)
    length: Literal["pair", "keep"] = Field(
        "pair",
        description="pair: trim a source and the fakes planned from it to the shortest of them, so that duration does "
        "not reveal the class; keep: no trimming",
    )
    max_frames: PositiveInt | None = Field(
        None,
        description="trim every clip to this many frames, and read and crop no more of a source than needed for them; "
        "null: keep all",
    )
    portable: bool = Field(
        True,
        description="same decoded pixels on every processor, by x264 code that takes twice as long as its fastest; "
        "false: the same on x86-64 processors of one vendor, the whole stage in about 3/4 of the time",
    )
    vmaf: bool = Field(False, description="also measure VMAF, if ffmpeg has libvmaf")
    mark: MarkSettings = Field(default_factory=MarkSettings, description="synthetic-media marks in the files of fakes")

    @model_validator(mode="after")
    def _chains_begin_at_a_clip(self) -> CompressSettings:
        for name, quality in self.qualities.items():
            first = self.qualities.get(quality.after) if quality.after else None
            if quality.after and (first is None or first.after):
                allowed = [other for other, value in self.qualities.items() if not value.after]
                raise ValueError(f"qualities.{name}.after is {quality.after!r}; allowed are {allowed}")
        return self


class FrameSettings(Settings):
    """Frame extraction for frame-level detectors."""

    per_clip: PositiveInt = Field(16, description="frames per clip; policy all takes every frame")
    policy: Literal["even", "first", "random", "all"] = Field(
        "even",
        description="even: centres of equal segments; first: the leading frames; random: sampled by clip id; all",
    )
    region: Literal["full", "face"] = Field(
        "full",
        description="full: the whole frame; face: a square around the face, detected at the first quality and reused "
        "at every quality. A frame without a face is kept and flagged",
    )
    face_scale: float = Field(
        1.3, ge=1.0, le=3.0, description="side of that square relative to the face box (FaceForensics++: 1.3)"
    )
    png: bool = Field(
        False,
        description="also write every frame as png/<quality>/<video_id>/<index>.png, for third-party code",
    )


class AuditSettings(Settings):
    """Confound audit: what besides the face separates real from fake?"""

    folds: Annotated[int, Field(ge=2)] = Field(5, description="cross-validation folds, disjoint by person")
    permutations: Annotated[int, Field(ge=200)] = Field(
        2000, description="permutations of the labels within people, for p-values"
    )
    decoded_videos: Annotated[int, Field(ge=0)] = Field(
        2000,
        description="videos that are decoded whole, to look for frozen starts, repeated frames and padding: all videos "
        "of randomly chosen sources, up to about this number",
    )


class IdentitySettings(Settings):
    """Identity audit: one face in two splits, two people with one face, one person with two."""

    same_face: float = Field(
        0.25,
        ge=0,
        le=0.6,
        description="distance between face embeddings up to which the clips of two people show one face; in two "
        "splits, that stops a release. 0: only equal pixels do",
    )
    similar_face: float = Field(
        0.4, ge=0, le=0.6, description="distance up to which two people are listed, to be looked at"
    )
    other_face: float = Field(
        0.6, gt=0, le=1.2, description="distance above which clips of one person are listed as two faces"
    )
    accepted: Path | None = Field(
        None,
        description="TSV with the columns person_id, other_person_id, reason: pairs that were looked at and are "
        "different people, or one person with two looks (twice the same id); the dataset card lists them",
    )

    @model_validator(mode="after")
    def _in_order(self) -> IdentitySettings:
        if self.same_face > self.similar_face:
            raise ValueError(f"same_face is {self.same_face}, above similar_face, {self.similar_face}")
        return self


class DatasetSettings(Settings):
    """Cross-validation folds and audits of the manifest."""

    folds: Annotated[int, Field(ge=2, le=100)] = Field(
        5, description="cross-validation folds in the column fold, disjoint by person"
    )
    audit: AuditSettings = Field(default_factory=AuditSettings, description="the confound audit")
    identities: IdentitySettings = Field(default_factory=IdentitySettings, description="the identity audit")


class Creator(Settings):
    """Author of a release."""

    name: str = Field(min_length=1)
    orcid: Annotated[str, Field(pattern=r"^\d{4}-\d{4}-\d{4}-\d{3}[\dX]$")] | None = None
    affiliation: str | None = None


class ReleaseSettings(Settings):
    """Release for publication, written by `snakemake release`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9+._ -]*$")] = Field(
        "DeepFakeMnist+ dataset", description="title of the dataset"
    )
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = Field("1.0.0", description="major.minor.patch")
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = Field(
        None, description="date of publication; null: omitted, so that the same run gives the same files"
    )
    creators: list[Creator] = Field(default_factory=list, description="authors of the dataset")
    licence: str = Field(
        "unstated", description="SPDX identifier or URL of the licence of what you may license: not the source videos"
    )
    url: str | None = Field(None, description="URL of the published dataset")
    contact: str | None = Field(None, description="contact for removal requests")
    qualities: list[Name] | None = Field(None, description="qualities to release; null: all")
    files: Literal["link", "copy"] = Field(
        "link", description="link: hard links, or copies if the file system has none; copy: always copies"
    )
    exclusions: Path | None = Field(
        None,
        description="TSV with the columns video_id, person_id, reason: videos and people to leave out, with everything "
        "derived from them",
    )
    allow_leaks: Annotated[str, Field(min_length=10)] | None = Field(
        None,
        description="why the dataset is released although the confound audit found a leak; the card quotes it. null: "
        "a leak stops the release",
    )
    require_licence: bool = Field(False, description="leave out sources without a licence, and their fakes")
    previous: Path | None = Field(
        None, description="folder of the previous release; CHANGELOG.md then lists what was added, removed and changed"
    )
