"""From the settings of a provider to the provider."""

from __future__ import annotations

from deepfakemnist.errors import ConfigError
from deepfakemnist.liveness.local_motion import LocalMotion
from deepfakemnist.liveness.local_silent import LocalSilent
from deepfakemnist.liveness.protocol import LivenessProvider
from deepfakemnist.settings import LocalMotionSettings, LocalSilentSettings, Settings


def build(settings: Settings) -> LivenessProvider:
    """Return the liveness detector that ``settings`` describes, ready to be asked.

    A new provider is a settings class in ``settings.LivenessProvider``, a module here, and a line below.

    Raises:
        ConfigError: its weights are missing or are not the ones meant, or no provider has such settings.
    """
    if isinstance(settings, LocalSilentSettings):
        return LocalSilent(settings)
    if isinstance(settings, LocalMotionSettings):
        return LocalMotion(settings)
    raise ConfigError(
        f"liveness.providers: {type(settings).__name__} is not a provider; known are local-silent and local-motion"
    )
