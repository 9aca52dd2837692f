"""Folder layouts of released deepfake datasets: label, split and identity from paths and file names.

=========== ========================================================================================================
released    a release of this project, described by its manifest
dfmnist     the authors' DeepFakeMnist+: ``real_dataset/selected_<split>/*.mp4``, ``fake_dataset/<action>/*.mp4``; the
            source of a fake is unknown unless it is named source@driver
ff++        FaceForensics++ and datasets in its layout: ``original_sequences/<set>/<quality>/videos/000.mp4``,
            ``manipulated_sequences/<method>/<quality>/videos/000_003.mp4`` (the face of 000 driven by, or swapped with,
            003), optionally ``splits/{train,val,test}.json``
=========== ========================================================================================================
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deepfakemnist.config.base import SPLITS
from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import check_id, seed_from
from deepfakemnist.planning.assignment import split_people
from deepfakemnist.tables.schemas import Row

#: FaceForensics++ splits 1000 videos 720/140/140.
FFPP_SHARES = PlanSettings(val_fraction=0.14, test_fraction=0.14)
_QUALITY = {"c0": "raw", "raw": "raw"}
#: The authors' folder names, spelling included, since other code relies on them.
ACTION_FOLDER = {"embarrassment": "embarrass", "surprise": "surpise"}
_ACTION = {folder: action for action, folder in ACTION_FOLDER.items()}
_FFPP_NAME = re.compile(r"(?P<target>[0-9]{1,40})(?:_(?P<source>[0-9]{1,40}))?")
_TRAIN, _TRAIN_AND_VAL = 0.70, 0.85  # the authors' 700/150/150


def layout_of(folder: Path) -> str:
    """Return released, dfmnist or ff++.

    Raises: ConfigError that lists what was looked for, or says that this is an archive.
    """
    if folder.is_file():
        raise ConfigError(f"{folder}: is a file; unpack an archive first, in an empty folder, and give that folder")
    if (folder / "manifest/videos.parquet").is_file():
        return "released"
    if (folder / "original_sequences").is_dir() or (folder / "manipulated_sequences").is_dir():
        return "ff++"
    if (folder / "real_dataset").is_dir() or (folder / "fake_dataset").is_dir():
        return "dfmnist"
    raise ConfigError(
        f"{folder}: none of the known layouts. Looked for manifest/videos.parquet (a release of this project), "
        "real_dataset or fake_dataset (DeepFakeMnist+), original_sequences or manipulated_sequences (FaceForensics++)"
    )


def read_dfmnist(folder: Path, refuse: Callable[[Path, str], None] | None = None) -> list[Row]:
    """Return a row for every file of the authors' tree, with split and action; ``quality`` is raw.

    Splits of fakes follow the authors' rule: of each action the first 700 in numeric order are train, the next 150 val,
    the last 150 test, or the same fractions of fewer or more fakes.

    Args:
        folder: the tree.
        refuse: called with the path and reason for a file whose name cannot be an id; such a file gets no row. None
            raises an error instead.

    Raises: ConfigError for a name that cannot be an id, unless ``refuse`` is given.
    """
    rows = []
    for split in SPLITS:
        for path in sorted((folder / f"real_dataset/selected_{split}").glob("*.mp4")):
            if _usable(path, path.stem, refuse):
                name, person = path.stem, path.stem.partition("#")[0]
                rows.append({**_real(name, path), "quality": "raw", "split": split, "person_id": person})
    split_of = {row["video_id"]: row["split"] for row in rows}
    for action_folder in sorted(path for path in (folder / "fake_dataset").glob("*") if path.is_dir()):
        paths = sorted(action_folder.glob("*.mp4"), key=lambda path: (len(path.stem), path.stem))
        action = _ACTION.get(action_folder.name, action_folder.name)
        for rank, path in enumerate(paths):
            source, _, driver = path.stem.partition("@")
            if driver:  # a release of this project without its manifest: the name gives both
                name, person = path.stem, source.partition("#")[0]
            else:
                # Source and driver are unknown: each fake counts as a person of its own.
                name = source = person = f"{action}-{path.stem}"
            if not all(_usable(path, part, refuse) for part in (source, driver or source, action)):
                continue
            quantile = rank / len(paths)
            split = "train" if quantile < _TRAIN else "val" if quantile < _TRAIN_AND_VAL else "test"
            row = _fake(name, path, action, source, driver)
            rows.append({**row, "quality": "raw", "split": split_of.get(source, split), "person_id": person})
    return rows


def read_ffpp(folder: Path, seed: int) -> list[Row]:
    """Return a row for every file of a tree in FaceForensics++'s layout, with quality, split, source and driver.

    Without ``splits`` (JSON lists of pairs), a seeded split with that dataset's fractions keeps together the videos
    that share a fake.

    Raises: ConfigError for a name that cannot be an id, an unreadable list, or a video that it lacks.
    """
    rows = []
    for path, method, quality in _ffpp_files(folder):
        name = _FFPP_NAME.fullmatch(path.stem)
        if not name:
            raise ConfigError(f"{path}: expected names like 000.mp4 and 000_003.mp4 in FaceForensics++'s layout")
        target, source = name.group("target", "source")
        if method is None:
            row = _real(target, path)
        else:
            row = _fake(_checked(f"{method}-{path.stem}", path), path, method, target, source or "")
        rows.append({**row, "quality": _checked(quality, path), "person_id": target})
    split = _ffpp_splits(folder) or _seeded_split(rows, seed)
    unknown = sorted({row["person_id"] for row in rows} - split.keys())
    if unknown:
        raise ConfigError(f"{folder / 'splits'}: no split given for {', '.join(unknown[:5])}")
    return [{**row, "split": split[row["person_id"]]} for row in rows]


def _ffpp_files(folder: Path) -> Iterator[tuple[Path, str | None, str]]:
    for kind in ("original_sequences", "manipulated_sequences"):
        for path in sorted((folder / kind).glob("*/*/videos/*.mp4")):
            method, quality = path.parts[-4], path.parts[-3]
            yield path, None if kind.startswith("original") else method, _QUALITY.get(quality, quality)


def _ffpp_splits(folder: Path) -> dict[str, str]:
    split: dict[str, str] = {}
    for name in SPLITS:
        path = folder / f"splits/{name}.json"
        if path.is_file():
            try:
                pairs = json.loads(path.read_text(encoding="utf-8"))
                split |= {str(video): name for pair in pairs for video in pair}
            except (OSError, ValueError, TypeError, RecursionError) as error:
                raise ConfigError(f"{path}: is not a JSON list of pairs of names ({error})") from error
    return split


def _seeded_split(rows: Sequence[Row], seed: int) -> dict[str, str]:
    """Split the connected components of videos that share fakes."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    for row in rows:
        first, second = sorted((find(row["person_id"]), find(row["driver_id"] or row["person_id"])))
        leader[second] = first
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(leader):
        groups[find(name)].append(name)
    split = split_people(list(groups), FFPP_SHARES, seed_from(seed, "ff++"))
    return {name: split[group] for group, names in groups.items() for name in names}


def _real(name: str, path: Path) -> Row:
    return {
        "video_id": name,
        "label": 0,
        "source_id": name,
        "path": str(path),
        "synthetic": False,
        **dict.fromkeys(("action", "driver_id", "driver_person_id", "animator"), ""),
    }


def _fake(name: str, path: Path, action: str, source: str, driver: str) -> Row:
    return {
        "video_id": name,
        "label": 1,
        "source_id": source,
        "path": str(path),
        "synthetic": True,
        "action": action,
        "driver_id": driver,
        "driver_person_id": driver,
        "animator": "",
    }


def _usable(path: Path, name: str, refuse: Callable[[Path, str], None] | None) -> bool:
    try:
        _checked(name, path)
    except ConfigError as error:
        if refuse is None:
            raise
        refuse(path, str(error))
        return False
    return True


def _checked(name: str, path: Path) -> str:
    try:
        return check_id(name)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
