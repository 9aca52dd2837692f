"""Bucket of a run: Snakemake's default storage provider, for the files that are read while the workflow is parsed.

Snakemake brings a job its inputs, but every job parses the workflow before, and that reads the run's plan and the
candidates of later rounds.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from deepfakemnist.errors import ConfigError
from deepfakemnist.workflow.staged_files import VARIABLE


class Bucket:
    """The default storage provider of a workflow, or none, in which case nothing is fetched or sent."""

    def __init__(self, workflow: Any, media: str) -> None:
        """Take the provider of Snakemake's workflow, and tell the scripts where its copies lie.

        Args:
            workflow: Snakemake's object.
            media: the config's ``storage.media``.

        Raises: ConfigError where videos would be lost, because nothing declares them.
        """
        self._workflow = workflow
        settings = workflow.storage_settings
        self._provider: Any = workflow.storage_registry.default_storage_provider if settings else None
        if self._provider is None:
            return
        if media != "packed":
            raise ConfigError(
                "--default-storage-provider carries what rules declare, and videos beside the tables are not among it; "
                "set storage: {media: packed} in the config"
            )
        self._prefix = (settings.default_storage_prefix or "").rstrip("/")
        os.environ[VARIABLE] = str(self._object(Path("x")).local_path().parent)

    def fetch(self, path: Path) -> Path:
        """Return a file of the run, from the bucket if it is there and not here."""
        if self._provider is not None and not path.exists():
            found = self._object(path)
            if self._workflow.async_run(found.managed_exists()):
                path.parent.mkdir(parents=True, exist_ok=True)
                found.set_local_path(path)
                self._workflow.async_run(found.managed_retrieve())
        return path

    def send(self, path: Path) -> None:
        """Put a file that never changes into the bucket, unless it is there."""
        if self._provider is None or not path.exists():
            return
        there = self._object(path)
        if not self._workflow.async_run(there.managed_exists()):
            there.set_local_path(path)
            self._workflow.async_run(there.managed_store())

    def _object(self, path: Path) -> Any:
        return self._provider.object(f"{self._prefix}/{path}")
