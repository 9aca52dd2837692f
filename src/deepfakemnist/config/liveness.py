"""Settings of the liveness detectors: local networks, vendors behind HTTP, and which of them a fake must pass."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from deepfakemnist.config.base import BaseUrl, Fraction, Settings, UrlPath, WeightFile


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
