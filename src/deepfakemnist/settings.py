"""Settings of every stage: pydantic models that validate the config and describe it.

Light on imports, because Snakemake reads them whenever it parses the workflow, once per job.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
BaseUrl = Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+(/[^?#@\s]*)?$")]
UrlPath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/-]+$")]

#: The ten facial actions of the paper (arXiv 2108.07949), in its order and under our names.
Action = Literal[
    "blink", "mouth", "yaw", "nod", "right_slope", "left_slope", "up", "smile", "surprise", "embarrassment"
]
ACTIONS: tuple[Action, ...] = get_args(Action)
SPLITS = ("train", "val", "test")
#: Name of the training set that holds every quality.
MIXED = "mixed"


class Settings(BaseModel):
    """A part of the config: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WeightFile(Settings):
    """A file of weights that must be exactly the one meant."""

    path: Path
    sha256: Sha256


class VoxMetadataSettings(Settings):
    """FOMM's list of VoxCeleb segments, and the full videos it speaks of."""

    csv: Path = Field(description="vox-metadata.csv of FOMM's video-preprocessing")
    videos: Path = Field(description="folder with the full videos, <video_id>.<suffix> at any depth")


class VoxCeleb1Settings(Settings):
    """VoxCeleb1's own annotations, and the full videos they speak of."""

    txt: Path = Field(description="folder with <person>/<video>/<utterance>.txt")
    videos: Path = Field(description="folder with the full videos, <video>.<suffix> at any depth")


class SelectionSettings(Settings):
    """Which of many sources are used: a seeded choice, even over people, length and face size."""

    videos: PositiveInt | None = Field(None, description="sources kept of those that pass crop; null keeps all")
    candidates: PositiveInt | None = Field(
        None,
        description="videos looked at at all, chosen by person and, where annotations tell them, length and face size; "
        "null looks at all. Ask for more than videos, because some will fail",
    )

    @model_validator(mode="after")
    def _enough_candidates(self) -> SelectionSettings:
        if self.videos and self.candidates and self.candidates < self.videos:
            raise ValueError(f"candidates {self.candidates} must be at least videos {self.videos}")
        return self


class SourceSettings(Settings):
    """Where real videos come from: a sample sheet, a folder, VoxCeleb's annotations with a folder of videos.

    Or where all clips come from, fakes too: the published tree.
    """

    sheet: Path | None = Field(None, description="TSV with video_id, path and optional columns; see config/README.md")
    folder: Path | None = Field(None, description="folder searched for videos; ids are made from file names")
    vox_metadata: VoxMetadataSettings | None = Field(None, description="segments and boxes of vox-metadata.csv")
    voxceleb1: VoxCeleb1Settings | None = Field(None, description="utterances and boxes of VoxCeleb1's txt folder")
    released: Path | None = Field(
        None,
        description="tree of finished clips, real_dataset/selected_<split> and fake_dataset/<action>, as "
        "DeepFakeMnist+ was published; they are encoded and keep that split; nothing is cropped, planned or animated",
    )
    pattern: str = Field("**/*", description="glob below folder")
    person_from: str | None = Field(
        None,
        description="regular expression on the path below folder; its group 'person' is the person_id. null: the first "
        "part of the path; of a crop, its file name up to the first '#'",
    )
    cropped: bool = Field(
        False, description="the clips of the sheet or folder are face crops already and are taken as they are"
    )
    exclude: Path | None = Field(
        None, description="TSV with video_id, person_id, reason: sources, drivers and people that must not be used"
    )
    select: SelectionSettings | None = Field(
        None, description="choose some of the videos and refuse copies of the same pixels; null uses all"
    )
    on_bad_row: Literal["stop", "row"] = Field(
        "stop",
        description="a sheet row with an unusable id or a missing file stops the run before any job, or becomes a row "
        "of the ledger while the run goes on; with VoxCeleb's annotations, which decay, it is always a row",
    )

    @model_validator(mode="after")
    def _one_source(self) -> SourceSettings:
        ways = ("sheet", "folder", "vox_metadata", "voxceleb1", "released")
        named = [name for name in ways if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(
                f"name one of {', '.join(ways[:-1])} and {ways[-1]}, not {named or 'none of them'} "
                "(sheet: null where another one is named)"
            )
        if self.released is not None and (self.cropped or self.select):
            raise ValueError("cropped and select go with videos; released names finished clips, all of which are taken")
        if self.cropped and named[0] in ("vox_metadata", "voxceleb1"):
            raise ValueError(f"cropped goes with sheet or folder; {named[0]} speaks of full videos")
        return self


class DriverSettings(Settings):
    """Where driving clips come from."""

    sheet: Path = Field(description="TSV with driver_id, action, path and optional columns; see config/README.md")


class CropSettings(Settings):
    """From a video to a square clip of one face."""

    policy: Literal["square-track", "vox-metadata", "ff-1.3"] = Field(
        "square-track",
        description="square-track: one square around all boxes of the face, with margin (FOMM's crop-video has 0.1). "
        "vox-metadata: the box given with the video, stretched to the square, as FOMM's load_videos does. "
        "ff-1.3: a square that follows the face, 1.3 times its size, as FaceForensics++ cuts frames for detectors",
    )
    size: PositiveInt = Field(256, description="side of the clip, pixels; FOMM's vox models want 256")
    fps: PositiveFloat = Field(25.0, description="frames per second of the clip; VoxCeleb has 25")
    detect_every: PositiveInt = Field(5, description="look for faces in every n-th frame, interpolate between")
    detect_max_side: PositiveInt = Field(320, description="longest side of the picture given to the detector, pixels")
    min_score: Fraction = Field(0.7, description="YuNet score from which a box is a face")
    min_iou: Fraction = Field(0.25, description="overlap with the last box below which the track is lost (FOMM: 0.25)")
    margin: float = Field(
        0.2, ge=0.0, le=2.0, description="space added around the union of face boxes, share of its side"
    )
    edge: Literal["pad", "reject"] = Field(
        "pad",
        description="where the crop leaves the picture. pad: it is moved inside, and padded up to max_padding where it "
        "is too large. reject: the clip is rejected, as VoxCeleb's crops were",
    )
    max_padding: Fraction = Field(0.1, description="share of the crop's area that may lie outside the picture")
    split_shots: bool = Field(
        True, description="keep the longest part without a change of shot or person; false: take the clip as one shot"
    )
    min_frames: PositiveInt = Field(16, description="frames at fps below which a clip is rejected (FOMM: 64)")
    max_frames: PositiveInt = Field(1024, description="frames at fps after which a clip is cut (FOMM: 1024)")
    min_face_px: PositiveFloat = Field(
        48.0, description="median face side in source pixels below which a clip is rejected"
    )
    min_face_fraction: Fraction = Field(0.8, description="share of looked-at frames that must show the tracked face")
    max_interpolated: Fraction = Field(
        0.5, description="share of frames whose box may be a guess because the face was not found around them"
    )
    min_track_score: Fraction = Field(0.0, description="mean YuNet score of the tracked face, from min_score to 1")
    min_sharpness: float = Field(0.0, ge=0.0, description="median variance of the Laplacian; blurred clips have few")
    min_brightness: float = Field(0.0, ge=0.0, le=255.0, description="mean luma of the crop, 0..255")
    max_brightness: float = Field(255.0, ge=0.0, le=255.0, description="mean luma of the crop, 0..255")
    max_yaw_range: float = Field(180.0, ge=0.0, description="degrees the head may turn between left and right")


class LocalSilentSettings(Settings):
    """Passive liveness by the MiniFASNet ensemble (Silent-Face-Anti-Spoofing, Apache-2.0)."""

    provider: Literal["local-silent"]
    minifasnet_v2: WeightFile = Field(description="2.7_80x80_MiniFASNetV2.pth")
    minifasnet_v1se: WeightFile = Field(description="4_0_0_80x80_MiniFASNetV1SE.pth")
    frames: PositiveInt = Field(8, description="evenly spaced frames looked at")
    threshold: Fraction = Field(0.5, description="mean P(live) from which a clip passes")


class LocalActionSettings(Settings):
    """Does the clip show the commanded action? Expression and head pose by facial landmarks; no extra weights."""

    provider: Literal["local-action"]
    strength: PositiveFloat = Field(1.0, description="factor on every action's limit; below 1 is more lenient")


class UploadSettings(Settings):
    """What a vendor takes: clips are encoded to it (H.264, MP4) before they are sent."""

    min_side: PositiveInt = Field(256, description="smaller clips are enlarged to this shorter side, pixels")
    max_side: PositiveInt = Field(1920, description="larger clips are reduced to this longer side, pixels")
    min_seconds: float = Field(1.0, ge=0, description="shorter clips are rejected and not sent")
    max_seconds: PositiveFloat = Field(10.0, description="longer clips are cut to this")
    max_bytes: PositiveInt = Field(2_000_000, description="encoded more strongly until it fits")
    crf: Annotated[int, Field(ge=0, le=51)] = Field(18, description="constant rate factor of the first try")


class VendorSettings(Settings):
    """What every liveness service behind HTTP has in common. Keys come from the environment, never from here."""

    base_url: BaseUrl = Field(description="address, up to where the vendor's paths begin")
    connect_timeout_s: PositiveFloat = 10.0
    read_timeout_s: PositiveFloat = 60.0
    attempts: PositiveInt = Field(6, description="tries of a request, where the answer says that trying again helps")
    qps: PositiveFloat = Field(2.0, description="requests per second of all jobs together, as the contract grants")
    daily_quota: PositiveInt | None = Field(None, description="requests per UTC day at which the run stops")
    max_spend: PositiveFloat | None = Field(None, description="money in all at which the run stops; null: no limit")
    price: float = Field(ge=0, description="of one answer, in the contract's currency; refusals cost it too")
    gated: bool = Field(True, description="ask only about clips that every cheaper provider took for live")
    upload: UploadSettings = Field(default_factory=UploadSettings)


class BaiduSettings(VendorSettings):
    """Baidu video liveness: with an action where actions.tsv names its digit, silent otherwise."""

    provider: Literal["baidu"]
    base_url: BaseUrl = "https://aip.baidubce.com"
    price: float = Field(0.2, ge=0, description="CNY per video")
    code_price: float = Field(0.01, ge=0, description="CNY per random code; an action costs about four of them")
    threshold: Literal["frr_1e-4", "frr_1e-3", "frr_1e-2"] = Field(
        "frr_1e-3", description="which of the thresholds that Baidu returns a clip must exceed, by its false rejections"
    )
    max_draws: PositiveInt = Field(50, description="random codes drawn until one commands the clip's action")


class BaiduPictureSettings(VendorSettings):
    """Baidu picture liveness (v3) on frames of the clip, in one request: a cheap gate before the video."""

    provider: Literal["baidu-picture"]
    base_url: BaseUrl = "https://aip.baidubce.com"
    price: float = Field(0.002, ge=0, description="CNY per request")
    threshold: Literal["frr_1e-4", "frr_1e-3", "frr_1e-2"] = "frr_1e-3"
    frames: PositiveInt = Field(8, description="evenly spaced frames sent")


class TianyanSettings(VendorSettings):
    """Tianyan (Shumai) action liveness. The vendor's page is not public: every name below is to be held against it."""

    provider: Literal["tianyan"]
    base_url: BaseUrl = "https://api.shumaidata.com"
    price: float = Field(0.09, ge=0, description="CNY per clip; the vendor's own is not published, a reseller's is")
    path: UrlPath = Field("/v2/life/check", description="of the video check")
    silent_path: UrlPath = Field("/v4/life_photo/check", description="of the picture check, for actions without motion")
    complexity: Annotated[int, Field(ge=0, le=3)] = Field(1, description="0 easy, 1 normal, 2 hard, 3 hell")
    fields: dict[str, str] = Field(
        default_factory=dict,
        description="names of form fields that differ: appid, timestamp, sign, motions, complexity, video, image",
    )
    answer: dict[str, str] = Field(
        default_factory=dict,
        description="names in the answer that differ: code, msg, data, passed, motions, motion, score",
    )


class LinkfaceSettings(VendorSettings):
    """Linkface action liveness, documented in full: the service that Tianyan's seems to wrap."""

    provider: Literal["linkface"]
    base_url: BaseUrl = "https://cloudapi.linkface.cn"
    price: float = Field(0.09, ge=0, description="CNY per clip; a reseller's")
    complexity: Annotated[int, Field(ge=0, le=3)] = Field(1, description="0 easy, 1 normal, 2 hard, 3 hell")


LivenessProvider = Annotated[
    LocalSilentSettings
    | LocalActionSettings
    | BaiduSettings
    | BaiduPictureSettings
    | TianyanSettings
    | LinkfaceSettings,
    Field(discriminator="provider"),
]


#: Names of the providers, by which a config chooses them.
PROVIDER_NAMES: tuple[str, ...] = tuple(
    get_args(provider.model_fields["provider"].annotation)[0] for provider in get_args(get_args(LivenessProvider)[0])
)


class LivenessSettings(Settings):
    """Which liveness detectors a fake must pass; all of them."""

    providers: list[LivenessProvider] = Field(min_length=1)
    motions: Path = Field(Path("config/actions.tsv"), description="TSV: what each vendor is asked for per action")
    answers: Path | None = Field(
        None,
        description="folder of everything vendors answered, never paid for twice; null: liveness_answers among the "
        "results. Runs that share a contract share this folder, so that rate, quota and spend hold for all of them",
    )

    @model_validator(mode="after")
    def _no_twins(self) -> LivenessSettings:
        names = [provider.provider for provider in self.providers]
        if len(set(names)) != len(names):
            raise ValueError(f"providers names something twice: {names}")
        return self

    def gates(self, name: str) -> list[str]:
        """Return the providers that a clip must have passed before provider ``name`` is asked: all cheaper ones.

        Local providers ask freely; of two at one price the first in the list is asked first.
        """
        order = sorted(self.providers, key=lambda provider: getattr(provider, "price", 0.0))
        names: list[str] = [provider.provider for provider in order]
        asked = order[names.index(name)]
        return names[: names.index(name)] if isinstance(asked, VendorSettings) and asked.gated else []


class PlanSettings(Settings):
    """How sources meet drivers."""

    actions: list[Action] = Field(list(ACTIONS), min_length=1, description="actions to make")
    actions_per_source: PositiveInt = Field(1, description="fakes made from each source, each of another action")
    quota: PositiveInt | None = Field(None, description="fakes kept per action; null keeps every one that passes")
    max_rounds: PositiveInt = Field(
        1,
        description="1: every source is animated, and the quota is cut from what passes. More: candidates are drawn in "
        "up to so many rounds, as many as the quota still wants, and only for actions that are short",
    )
    expected_pass_rate: float = Field(
        0.5, gt=0.0, le=1.0, description="share of candidates expected to pass, until a round has measured it"
    )
    on_shortfall: Literal["warn", "fail"] = Field(
        "warn", description="when an action does not reach its quota: go on with what there is, or stop; with a table"
    )
    reals: Literal["all", "of_fakes"] = Field(
        "all", description="reals of the dataset: every usable source, or only those of which a fake was kept"
    )
    val_fraction: Fraction = Field(0.15, description="share of people in val")
    test_fraction: Fraction = Field(0.15, description="share of people in test")

    @model_validator(mode="after")
    def _something_to_train_on(self) -> PlanSettings:
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction + test_fraction must leave people for train (sum below 1)")
        if self.actions_per_source > len(self.actions):
            raise ValueError(
                f"actions_per_source is {self.actions_per_source} but only {len(self.actions)} actions are named"
            )
        if self.max_rounds > 1 and self.quota is None:
            raise ValueError(f"max_rounds is {self.max_rounds}, but there is no quota that rounds could fill")
        return self


class JudgeSettings(Settings):
    """How closely animations are judged."""

    every: PositiveInt = Field(
        1, description="look at every n-th frame; a blink lasts two to ten frames at 25 per second"
    )
