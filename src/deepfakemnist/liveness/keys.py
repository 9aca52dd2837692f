"""API keys of the vendors, read from the environment only, so that no config, parameter, table or log holds one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from deepfakemnist.errors import ConfigError

#: Environment variables that hold the keys of each provider.
SECRETS: dict[str, tuple[str, ...]] = {
    "baidu": ("DEEPFAKEMNIST_BAIDU_API_KEY", "DEEPFAKEMNIST_BAIDU_SECRET_KEY"),
    "baidu-picture": ("DEEPFAKEMNIST_BAIDU_API_KEY", "DEEPFAKEMNIST_BAIDU_SECRET_KEY"),
    "tianyan": ("DEEPFAKEMNIST_TIANYAN_APP_ID", "DEEPFAKEMNIST_TIANYAN_APP_SECRET"),
    "linkface": ("DEEPFAKEMNIST_LINKFACE_API_ID", "DEEPFAKEMNIST_LINKFACE_API_SECRET"),
}


def load_secrets(provider: str, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return a provider's keys. Raises ConfigError naming the variables that are not set."""
    missing = [name for name in SECRETS[provider] if not environment.get(name)]
    if missing:
        raise ConfigError(
            f"liveness.providers: {provider} needs its keys in the environment, but {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not set. They are never read from the config"
        )
    return tuple(environment[name] for name in SECRETS[provider])


def check_keys(providers: Iterable[str], environment: Mapping[str, str] = os.environ) -> None:
    """Raise ConfigError if a vendor among the providers that a run will ask has no keys in the environment."""
    for provider in providers:
        if provider in SECRETS:
            load_secrets(provider, environment)
