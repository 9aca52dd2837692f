"""Training clip list of an animator: the clips it is trained on, chosen once and kept while they remain usable.

A trained animator stands for all fakes of a run, so crops that are made again must not train it again. They do not:
the workflow connects the training to the crops only while :func:`is_trained` is false.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.file_versions import sha256_of
from deepfakemnist.tables.files import atomic_path

#: Key of a training report with the sha256 of the clip list.
CLIP_LIST_SHA256 = "clip_list_sha256"
_MAX_LISTED = 5


@dataclass(frozen=True)
class ListedClip:
    """Clip that an animator is trained on."""

    video_id: str
    person_id: str
    path: str
    sha256: str
    """Of the file, as it was when the clip was chosen."""


@dataclass(frozen=True)
class ClipList:
    """Clips of a training, and the digest of the settings they were chosen for."""

    settings: str
    clips: list[ListedClip]

    def save(self, path: Path) -> None:
        """Write the list as JSON atomically."""
        with atomic_path(path) as part:
            part.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> ClipList:
        """Read a list written by ``save``. Raises ValueError for anything else."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(content["settings"], [ListedClip(**clip) for clip in content["clips"]])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from error

    def check_files(self) -> None:
        """Raise ConfigError if a clip has changed since it was chosen, since the list would not tell what was used."""
        changed = [clip.path for clip in self.clips if sha256_of(clip.path) != clip.sha256]
        if changed:
            raise ConfigError(
                f"{len(changed)} of {len(self.clips)} training clips of the animator have changed since they were "
                f"chosen: {', '.join(changed[:_MAX_LISTED])}. Run the same command again: it chooses the clips again"
            )


def listed_clip(video_id: str, person_id: str, path: str) -> ListedClip:
    """Return the list entry of a clip."""
    return ListedClip(video_id, person_id, path, sha256_of(path))


def list_sha256(path: Path) -> str:
    """Return the sha256 of a list; empty if there is none."""
    return sha256_of(path)


def is_trained(folder: Path, settings: str, usable: Collection[str] | None) -> bool:
    """Return whether a folder holds a finished training that a run can keep.

    Args:
        folder: ``animator`` in the results, with the clip list, the weights and the training report.
        settings: digest of the settings of the training that the run would do.
        usable: ids of the videos that the run may train on. An added video leaves a training usable; a removed one,
            or one that moved to another split, does not. None: any.
    """
    clips, report = folder / "clips.json", folder / "training.json"
    if not (folder / "checkpoint.safetensors").is_file():
        return False
    try:
        chosen = ClipList.load(clips)
        trained_on = json.loads(report.read_text(encoding="utf-8")).get(CLIP_LIST_SHA256)
    except (OSError, ValueError):
        return False
    # The report names its list, because a killed run may leave a new list next to weights trained on the old one.
    if chosen.settings != settings or trained_on != list_sha256(clips):
        return False
    return usable is None or all(clip.video_id in usable for clip in chosen.clips)
