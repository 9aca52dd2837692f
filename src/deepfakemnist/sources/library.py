"""Video file lookup by name, for annotations that refer to full videos."""

from __future__ import annotations

from pathlib import Path

from deepfakemnist.errors import ConfigError
from deepfakemnist.sources.video_files import find_videos


class VideoLibrary:
    """Videos at any depth below a folder, by file name without suffix.

    Args:
        folder: root folder of the videos.
        key: the config key of the folder, for messages.
    """

    def __init__(self, folder: Path, key: str) -> None:
        if not folder.is_dir():
            raise ConfigError(f"{key}: {str(folder)!r} is not a folder")
        self.folder = folder
        self._by_name: dict[str, list[Path]] = {}
        search = find_videos(folder)
        self.left_aside = search.left_aside
        for path in search.videos:
            self._by_name.setdefault(path.stem, []).append(path)

    def path_of(self, name: str, person: str = "") -> Path:
        """Return a video's file, preferring one in the person's folder; its expected path when it is missing."""
        found = self._by_name.get(name, [])
        own = [path for path in found if person in path.relative_to(self.folder).parts]
        return next(iter(own or found), self.folder / f"{name}.mp4")
