"""Registry of liveness providers: builds a provider from its settings."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from deepfakemnist.config.base import Settings
from deepfakemnist.config.liveness import (
    BaiduPictureSettings,
    BaiduSettings,
    LinkfaceSettings,
    LocalActionSettings,
    LocalSilentSettings,
    TianyanSettings,
    VendorSettings,
)
from deepfakemnist.config.plugins import PluginSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.liveness.protocol import LivenessProvider


def build(
    settings: Settings, motions: Mapping[str, str] | None = None, answers: Path | None = None
) -> LivenessProvider:
    """Return the liveness provider described by ``settings``.

    Other packages add one by an entry point, see ``config.plugins.PluginSettings``. To add one here: a settings
    class in ``config.liveness.LivenessProvider``, a module here, and a branch below.

    Args:
        settings: one of ``config.liveness.LivenessProvider``.
        motions: action → motion, from ``motions.read_motions``; for vendors.
        answers: folder of the vendors' ledgers and meters; for vendors.

    Raises:
        ConfigError: the weights are missing or have another sha256, the keys are not set, or no provider has such
            settings.
    """
    # Imported lazily: a job that calls a vendor needs no networks, and vice versa.
    if isinstance(settings, LocalSilentSettings):
        from deepfakemnist.liveness.local_silent import LocalSilent

        return LocalSilent(settings)
    if isinstance(settings, LocalActionSettings):
        from deepfakemnist.liveness.local_action import LocalAction

        return LocalAction(settings)
    if isinstance(settings, PluginSettings):
        provider: LivenessProvider = import_module(settings.module).load(settings)
        return provider
    if isinstance(settings, VendorSettings) and answers is not None:
        return _vendor(settings, dict(motions or {}), answers)
    raise ConfigError(
        f"liveness.providers: {type(settings).__name__} is not a provider; allowed are local-silent, local-action, "
        "baidu, baidu-picture, tianyan and linkface, the last four with a folder for their answers"
    )


def meter_path(answers: Path, provider: str) -> Path:
    """Return the meter file of a provider. Both Baidu endpoints have their own, as in Baidu's contracts."""
    return answers / "meters" / f"{provider}.json"


def _vendor(settings: VendorSettings, motions: dict[str, str], answers: Path) -> LivenessProvider:
    from deepfakemnist.liveness.baidu import BaiduPicture, BaiduService, BaiduVideo
    from deepfakemnist.liveness.client import Client
    from deepfakemnist.liveness.costs import recovered_usage
    from deepfakemnist.liveness.keys import load_secrets
    from deepfakemnist.liveness.ledger import Ledger
    from deepfakemnist.liveness.meter import Meter
    from deepfakemnist.liveness.motion_services import Linkface, Tianyan
    from deepfakemnist.liveness.redaction import Redactor
    from deepfakemnist.liveness.vendor import Vendor, VendorProvider

    name: str = settings.provider  # type: ignore[attr-defined]  # every class of the union has it
    secrets = load_secrets(name)
    meter = Meter(meter_path(answers, name), settings, recover=lambda: recovered_usage(answers, name))
    client = Client(settings, meter, Redactor(secrets))
    vendor: Vendor
    match settings:
        case BaiduSettings():
            vendor = BaiduVideo(settings, motions, BaiduService(client, secrets))
        case BaiduPictureSettings():
            vendor = BaiduPicture(settings, BaiduService(client, secrets))
        case TianyanSettings():
            vendor = Tianyan(settings, motions, client, secrets)
        case LinkfaceSettings():
            vendor = Linkface(settings, motions, client, secrets)
        case _:
            raise ConfigError(f"liveness.providers: {type(settings).__name__} is not a vendor")
    return VendorProvider(vendor, Ledger(answers, name, settings.on_doubt), meter)
