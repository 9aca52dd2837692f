"""Released DeepFakeMnist+ tree adapter: finished real and fake clips, which need neither crop nor animation."""

from __future__ import annotations

from pathlib import Path

from deepfakemnist.config.stages import SourceSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import same_file_name
from deepfakemnist.sources.exclusions import without_excluded
from deepfakemnist.sources.released_trees import layout_of, read_dfmnist
from deepfakemnist.sources.sheets import Sheet, refusal
from deepfakemnist.sources.video_files import find_videos

#: Kind of a clip in the ledger, by class.
KINDS = {"real": "source", "fake": "fake"}


def read_released(settings: SourceSettings) -> dict[str, Sheet]:
    """Return the clips of the tree by class, real and fake, with action and the authors' split; no file is opened.

    Every video below the tree is a row or a refused row: excluded; bad_name, when ``on_bad_row`` lets the run go on;
    duplicate_id, a name that an earlier split uses, be it in another case; outside_the_layout, a video where the layout
    has none.

    Raises: ConfigError for another layout, a tree without clips, or a name that cannot be an id.
    """
    folder = settings.released
    assert folder is not None
    if layout_of(folder) != "dfmnist":
        raise ConfigError(
            f"sources.released: {folder} is not a tree of real_dataset/selected_<split> and fake_dataset/<action>; "
            "import other layouts with deepfakemnist import"
        )
    sheets = {kind: Sheet() for kind in KINDS}

    def refuse(path: Path, why: str, reason: str = "bad_name") -> None:
        kind = "fake" if (folder / "fake_dataset") in path.parents else "real"
        name = path.relative_to(folder).as_posix()
        sheets[kind].refused.append(refusal(name, why, reason=reason, kind=KINDS[kind]))

    first: dict[str, str] = {}
    for row in read_dfmnist(folder, refuse if settings.on_bad_row == "row" else None):
        name, path = row["video_id"], row["path"]
        file_name = same_file_name(name)
        if file_name in first:
            refuse(Path(path), f"{path}: {name} is already the id of {first[file_name]}", "duplicate_id")
        else:
            first[file_name] = path
            sheets["fake" if row["label"] else "real"].rows.append(row)
    known = {*first.values(), *(str(folder / row["video_id"]) for sheet in sheets.values() for row in sheet.refused)}
    search = find_videos(folder)
    sheets["real"].left_aside = search.left_aside
    sheets["real"].person_rule = "file name up to '#'"
    for path in search.videos:
        if str(path) not in known:
            refuse(path, f"{path}: outside the layout, see config/README.md", "outside_the_layout")
    for kind, sheet in sheets.items():
        if not sheet.rows:
            raise ConfigError(f"sources.released: {folder} contains no {kind} .mp4 where the layout expects them")
        if settings.exclude:
            sheets[kind] = without_excluded(sheet, settings.exclude, KINDS[kind])
    return sheets
