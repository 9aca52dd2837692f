"""A folder of full videos that annotations speak of by name: who has which file, and who has not."""

from __future__ import annotations

from pathlib import Path

from deepfakemnist.errors import ConfigError
from deepfakemnist.sources.folder import video_files


class VideoLibrary:
    """Videos below a folder, found by the name of their file without its suffix, at any depth.

    Args:
        folder: where the videos are.
        key: the config key that names the folder, for messages.
    """

    def __init__(self, folder: Path, key: str) -> None:
        if not folder.is_dir():
            raise ConfigError(f"{key}: {str(folder)!r} is not a folder")
        self.folder = folder
        self._by_name: dict[str, list[Path]] = {}
        for path in video_files(folder):
            self._by_name.setdefault(path.stem, []).append(path)

    def path_of(self, name: str, person: str = "") -> Path:
        """Return the file of a video, the person's own where several have the name; where it should be when absent."""
        found = self._by_name.get(name, [])
        own = [path for path in found if person in path.relative_to(self.folder).parts]
        return next(iter(own or found), self.folder / f"{name}.mp4")
