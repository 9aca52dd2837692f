"""Liveness detection settings: local models and vendor APIs that every fake must pass."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from deepfakemnist.config.base import BaseUrl, Fraction, Settings, UrlPath, WeightFile
from deepfakemnist.config.plugins import LIVENESS, Plugin, PluginSettings, plugins


class LocalSilentSettings(Settings):
    """Passive liveness: MiniFASNet ensemble (Silent-Face-Anti-Spoofing, Apache-2.0)."""

    provider: Literal["local-silent"]
    minifasnet_v2: WeightFile = Field(description="2.7_80x80_MiniFASNetV2.pth")
    minifasnet_v1se: WeightFile = Field(description="4_0_0_80x80_MiniFASNetV1SE.pth")
    frames: PositiveInt = Field(8, description="evenly spaced frames scored")
    threshold: Fraction = Field(0.5, description="minimum mean P(live) of a clip that passes")


class LocalActionSettings(Settings):
    """Active liveness: the commanded action, detected by landmark-based expression and head pose; no extra weights."""

    provider: Literal["local-action"]
    strength: PositiveFloat = Field(1.0, description="factor on every action's threshold; below 1 is more lenient")


class UploadSettings(Settings):
    """Upload limits of a vendor; clips are encoded to fit them (H.264, MP4)."""

    min_side: PositiveInt = Field(256, description="minimum shorter side, pixels; smaller clips are upscaled")
    max_side: PositiveInt = Field(1920, description="maximum longer side, pixels; larger clips are downscaled")
    min_seconds: float = Field(1.0, ge=0, description="minimum duration; shorter clips are rejected unsent")
    max_seconds: PositiveFloat = Field(10.0, description="maximum duration; longer clips are trimmed")
    max_bytes: PositiveInt = Field(2_000_000, description="maximum file size; crf is raised until the clip fits")
    crf: Annotated[int, Field(ge=0, le=51)] = Field(18, description="constant rate factor of the first attempt")


class VendorSettings(Settings):
    """Settings common to all vendor APIs. API keys come from environment variables only."""

    base_url: BaseUrl = Field(description="base URL that the vendor's paths are appended to")
    connect_timeout_s: PositiveFloat = 10.0
    read_timeout_s: PositiveFloat = 60.0
    deadline_s: PositiveFloat = Field(
        120.0, description="total time of one request, from the connection over the upload to the last byte"
    )
    attempts: PositiveInt = Field(6, description="attempts per request; only retryable errors are retried")
    on_doubt: Literal["ask", "reject", "stop"] = Field(
        "reject",
        description="what to do about a clip whose request may have been billed although its answer is lost, because "
        "the job was killed or the connection broke. ask: ask again, at most one more price each time; reject: no "
        "verdict, so that the fake is not kept; stop: stop the run",
    )
    qps: PositiveFloat = Field(2.0, description="contractual rate limit over all jobs, requests per second")
    daily_quota: PositiveInt | None = Field(
        None, description="requests per UTC day at which the run stops; null: no limit"
    )
    max_spend: PositiveFloat | None = Field(None, description="total cost at which the run stops; null: no limit")
    price: float = Field(ge=0, description="price per answer, in the contract's currency; refusals are billed too")
    gated: bool = Field(True, description="send only clips that passed every cheaper provider")
    upload: UploadSettings = Field(default_factory=UploadSettings)


class BaiduSettings(VendorSettings):
    """Baidu video liveness: active if actions.tsv has a digit for the action, silent otherwise."""

    provider: Literal["baidu"]
    base_url: BaseUrl = "https://aip.baidubce.com"
    price: float = Field(0.2, ge=0, description="CNY per video")
    code_price: float = Field(0.01, ge=0, description="CNY per random code; an action takes about four")
    threshold: Literal["frr_1e-4", "frr_1e-3", "frr_1e-2"] = Field(
        "frr_1e-3", description="threshold to exceed, among those that Baidu returns by false rejection rate"
    )
    max_draws: PositiveInt = Field(
        50, description="maximum random codes requested until one commands the clip's action"
    )


class BaiduPictureSettings(VendorSettings):
    """Baidu image liveness (v3) on frames of the clip, in one request: a cheap gate before the video API."""

    provider: Literal["baidu-picture"]
    base_url: BaseUrl = "https://aip.baidubce.com"
    price: float = Field(0.002, ge=0, description="CNY per request")
    threshold: Literal["frr_1e-4", "frr_1e-3", "frr_1e-2"] = "frr_1e-3"
    frames: PositiveInt = Field(8, description="evenly spaced frames sent")


class TianyanSettings(VendorSettings):
    """Tianyan (Shumai) action liveness. The vendor's documentation is not public: check every name below against it."""

    provider: Literal["tianyan"]
    base_url: BaseUrl = "https://api.shumaidata.com"
    price: float = Field(0.09, ge=0, description="CNY per clip; a reseller's price, as the vendor publishes none")
    path: UrlPath = Field("/v2/life/check", description="path of the video check")
    silent_path: UrlPath = Field(
        "/v4/life_photo/check", description="path of the image check, for actions without a motion"
    )
    complexity: Annotated[int, Field(ge=0, le=3)] = Field(1, description="0 easy, 1 normal, 2 hard, 3 hell")
    fields: dict[str, str] = Field(
        default_factory=dict,
        description="overrides of form field names: appid, timestamp, sign, motions, complexity, video, image",
    )
    answer: dict[str, str] = Field(
        default_factory=dict,
        description="overrides of response field names: code, msg, data, passed, motions, motion, score",
    )


class LinkfaceSettings(VendorSettings):
    """Linkface action liveness, fully documented; Tianyan's service seems to wrap it."""

    provider: Literal["linkface"]
    base_url: BaseUrl = "https://cloudapi.linkface.cn"
    price: float = Field(0.09, ge=0, description="CNY per clip; a reseller's price")
    complexity: Annotated[int, Field(ge=0, le=3)] = Field(1, description="0 easy, 1 normal, 2 hard, 3 hell")


_BUILT_IN: tuple[type[Settings], ...] = (
    LocalSilentSettings,
    LocalActionSettings,
    BaiduSettings,
    BaiduPictureSettings,
    TianyanSettings,
    LinkfaceSettings,
)


def _name_of(settings: type[Settings]) -> str:
    return str(get_args(settings.model_fields["provider"].annotation)[0])


def _usable(plugin: Plugin) -> Plugin:
    """Return the plug-in, with a problem if what it names is not the settings of a local provider of that name."""
    settings = plugin.content
    if plugin.problem:
        return plugin
    if not (isinstance(settings, type) and issubclass(settings, PluginSettings) and hasattr(settings, "module")):
        problem = "is not a subclass of deepfakemnist.config.plugins.PluginSettings with a module"
    elif "provider" not in settings.model_fields or _name_of(settings) != plugin.name:
        problem = f"has not provider: Literal[{plugin.name!r}], the name of the entry point"
    elif not plugin.name.startswith("local-"):
        problem = "must be called local-…: services that are paid for need a ledger of answers, which plug-ins lack"
    else:
        return plugin
    return plugin._replace(content=None, problem=f"{settings!r} of {plugin.package} {problem}")


PLUGINS = {name: _usable(one) for name, one in plugins(LIVENESS, frozenset(_name_of(one) for one in _BUILT_IN)).items()}
_CLASSES: tuple[type[Settings], ...] = (
    *_BUILT_IN,
    *(cast("type[Settings]", one.content) for one in PLUGINS.values() if not one.problem),
)
#: Provider names, as in the config.
PROVIDER_NAMES: tuple[str, ...] = tuple(map(_name_of, _CLASSES))


def _known(given: Any) -> Any:
    """Say of a plug-in that cannot be used why. Raises: ValueError."""
    name = given.get("provider") if isinstance(given, Mapping) else None
    if isinstance(name, str) and name in PLUGINS and PLUGINS[name].problem:
        raise ValueError(PLUGINS[name].problem)
    return given


if TYPE_CHECKING:
    LivenessProvider = (
        LocalSilentSettings
        | LocalActionSettings
        | BaiduSettings
        | BaiduPictureSettings
        | TianyanSettings
        | LinkfaceSettings
    )
else:
    #: Settings of a provider: those of the class that ``provider`` names.
    LivenessProvider = Annotated[
        Annotated[reduce(or_, _CLASSES), Field(discriminator="provider")], BeforeValidator(_known)
    ]


class LivenessSettings(Settings):
    """Liveness detectors, all of which a fake must pass."""

    providers: list[LivenessProvider] = Field(min_length=1)
    motions: Path = Field(
        Path("config/actions.tsv"), description="TSV of the motion requested from each vendor per action"
    )
    answers: Path | None = Field(
        None,
        description="cache of all vendor answers, so that none is paid for twice; null: liveness_answers in the "
        "results. Runs under one contract must share it: rate, quota and spend are counted there",
    )
    calls_from: Literal["jobs", "login"] = Field(
        "jobs",
        description="where vendors are called. jobs: in jobs like all others; login: where Snakemake itself runs, for "
        "clusters whose nodes have no internet or must not have the keys",
    )

    @model_validator(mode="after")
    def _no_duplicates(self) -> LivenessSettings:
        names = [provider.provider for provider in self.providers]
        if len(set(names)) != len(names):
            raise ValueError(f"providers contains duplicates: {names}")
        return self

    @property
    def called_here(self) -> list[str]:
        """Vendors that are called where Snakemake runs."""
        if self.calls_from == "jobs":
            return []
        return [str(one.provider) for one in self.providers if isinstance(one, VendorSettings)]

    def gates(self, name: str) -> list[str]:
        """Return the providers that a clip must pass before it is sent to provider ``name``: all cheaper ones.

        Local providers are never gated; ties in price are resolved by list order.
        """
        order = sorted(self.providers, key=lambda provider: getattr(provider, "price", 0.0))
        names: list[str] = [provider.provider for provider in order]
        asked = order[names.index(name)]
        return names[: names.index(name)] if isinstance(asked, VendorSettings) and asked.gated else []
