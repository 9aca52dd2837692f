"""Import of released datasets into the project's manifest format, for cross-dataset training and evaluation."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from deepfakemnist.config.base import MediaLimits
from deepfakemnist.config.dataset import FrameSettings
from deepfakemnist.dataset.captions import FILE, write_captions
from deepfakemnist.dataset.pairs import pair_rows
from deepfakemnist.dataset.splits import add_splits
from deepfakemnist.errors import ConfigError, Failed, Rejected
from deepfakemnist.ids import CONTROL_CHARACTERS, same_file_name
from deepfakemnist.media.encoder_notes import encoder_version
from deepfakemnist.media.frames import FindFace, frames_shard
from deepfakemnist.media.limits import limited
from deepfakemnist.media.marks import coded_stream, read_marks
from deepfakemnist.media.samples import open_samples
from deepfakemnist.sources.exclusions import Exclusions, read_exclusions
from deepfakemnist.sources.released_manifest import read_manifest
from deepfakemnist.sources.released_trees import FFPP_SHARES, layout_of, read_dfmnist, read_ffpp
from deepfakemnist.tables.checksums import file_facts, recorded_checksum
from deepfakemnist.tables.dataset_schemas import FRAME_INDEX, LEDGER, PAIRS, PUBLISHED_SPLIT, VIDEOS
from deepfakemnist.tables.files import read_metadata, read_rows, write_table
from deepfakemnist.tables.folders import real_path
from deepfakemnist.tables.schemas import COMPRESSED, FAILED, FRAMES, OK, REJECTED, Row

log = logging.getLogger(__name__)
_CODE = "import"


def import_dataset(
    folder: Path,
    out: Path,
    frames: FrameSettings,
    *,
    seed: int = 0,
    folds: int = 5,
    jobs: int = 1,
    find_face: FindFace | None = None,
    exclude: Path | None = None,
    limits: MediaLimits | None = None,
) -> Path:
    """Write the manifest of a released dataset: videos, frames, pairs and ledger (Parquet), and its still frames.

    The videos stay in place; each is verified by one full decode. A video that fails becomes a row of the ledger.

    Args:
        folder: the dataset; its layout is detected, see :mod:`deepfakemnist.sources.released_trees`. Whoever made it is
            not trusted: every name is checked before it becomes a path, and nothing outside of it is read.
        out: folder to write ``manifest`` and ``frames`` to; nothing outside of it is written or deleted.
        frames: which still frames to extract.
        seed: seed of the splits where the dataset has none.
        folds: number of folds in the column ``fold``.
        jobs: files verified in parallel.
        find_face: see :func:`deepfakemnist.media.frames.frames_shard`.
        exclude: list of videos and people to leave out, see :mod:`deepfakemnist.sources.exclusions`.

        limits: on pixels, frames, seconds and memory of each file; None: the default ones.

    Returns: the folder of the manifest.

    Reasons besides those of reading a video: rejected with excluded, duplicate_id, bad_name or outside_the_tree.

    Raises: ConfigError for an unknown layout, an invalid name, an unreadable list, links in ``out`` that leave
        it, or no usable video.
    """
    layout = layout_of(folder)
    _check_out(out, folder)
    if layout == "released":
        found = read_manifest(folder)
    else:
        found = read_ffpp(folder, seed) if layout == "ff++" else read_dfmnist(folder)
    if not found:
        raise ConfigError(f"{folder}: looks like {layout}, but contains no .mp4 where that layout keeps them")
    exclusions = read_exclusions(exclude, "--exclude") if exclude else Exclusions()
    with ThreadPoolExecutor(jobs) as pool:
        verify = partial(_verify_video, exclusions=exclusions, root=real_path(folder), limits=limits or MediaLimits())
        rows = list(pool.map(verify, _without_namesakes(found)))
    good = [row for row in rows if row["status"] == OK]
    if not good:
        raise ConfigError(f"{folder}: none of its {len(rows)} videos is usable; the first: {rows[0]['detail']}")
    if layout != "released":
        add_splits(good, FFPP_SHARES, seed, folds)
    log.info("%s: %s, %d of %d videos are usable", folder, layout, len(good), len(rows))

    index, failures = _extract_frames(good, out, frames, find_face)
    manifest = out / "manifest"
    metadata = read_metadata(folder / "manifest/videos.parquet") if layout == "released" else {}
    published = layout == "dfmnist" or metadata.get("split") == PUBLISHED_SPLIT["split"]
    videos = [{name: row.get(name) for name in VIDEOS.names} for row in good]
    write_table(videos, manifest / "videos.parquet", VIDEOS, PUBLISHED_SPLIT if published else None)
    if stated := {row["source_id"]: row for row in good if row.get("licence")}:
        columns = ("source_id", "person_id", "licence")
        write_captions([{name: row[name] for name in columns} for row in stated.values()], manifest / FILE)
    write_table(index, manifest / "frames.parquet", FRAME_INDEX)
    write_table(pair_rows(good), manifest / "pairs.parquet", PAIRS)
    write_table(_ledger(rows, failures), manifest / "ledger.parquet", LEDGER)
    return manifest


def _check_out(out: Path, folder: Path) -> None:
    """Raise ConfigError where a write would leave ``out`` through a link, or replace the manifest that is imported.

    An archive may hold such links, and the folder that it was unpacked to may be ``out``.
    """
    top = real_path(out)
    if top == real_path(folder):
        raise ConfigError(f"{out}: is the dataset itself; give another folder, which may lie in it")
    for part in ("manifest", "frames"):
        for path in (out / part, *sorted((out / part).rglob("*"))):
            if path.is_symlink() and not real_path(path).is_relative_to(top):
                raise ConfigError(
                    f"{path}: links to {real_path(path)}, outside of {out}; remove it or give a new folder"
                )
            # Tables are replaced, but locks and journals are opened for writing, under all names that they have.
            if path.suffix in (".lock", ".journal") and path.is_file() and path.stat().st_nlink > 1:
                raise ConfigError(f"{path}: has a second name (hard link); remove it or give a new folder")


def _without_namesakes(found: Sequence[Row]) -> Iterator[Row]:
    """Yield every row, one that repeats the id and quality of an earlier one with a status."""
    first: dict[tuple[str, str], str] = {}
    for row in found:
        path = first.setdefault((same_file_name(row["video_id"]), row["quality"]), row["path"])
        if path == row["path"]:
            yield row
        else:
            detail = f"{row['path']}: {row['video_id']} is already the id of {path}"
            yield {**row, "status": REJECTED, "reason": "duplicate_id", "detail": detail}


def _verify_video(row: Row, exclusions: Exclusions, root: Path, limits: MediaLimits) -> Row:
    """Return a row with the facts of its decoded file, or with the reason why the file is unusable."""
    if "status" in row:
        return row
    if (why := exclusions.reason_for(row)) is not None:
        return {**row, "status": REJECTED, "reason": "excluded", "detail": why}
    path = Path(row["path"])
    if CONTROL_CHARACTERS.search(row["path"]):
        detail = f"{row['path']!a}: control characters and bytes that are no text are not allowed; rename it"
        return {**row, "status": REJECTED, "reason": "bad_name", "detail": detail}
    if not real_path(path).is_relative_to(root):
        detail = f"{path}: links to {real_path(path)}, outside of the dataset; copy the file into it if you trust it"
        return {**row, "status": REJECTED, "reason": "outside_the_tree", "detail": detail}
    try:
        with limited(limits, path), open_samples(path) as samples:
            fps = float(1 / samples.video.frame_duration)
            for _ in samples:
                pass
        size, sha256 = file_facts(path)
        with limited(limits, path):
            stream = coded_stream(path)
            marks = row.get("marks") or read_marks(path, c2pa=False).names
    except (Failed, Rejected) as error:
        status = REJECTED if isinstance(error, Rejected) else FAILED
        return {**row, "status": status, "reason": error.reason, "detail": error.detail}
    except OSError as error:
        return {**row, "status": FAILED, "reason": "unreadable", "detail": f"{path}: {error.strerror}"}
    if row.get("sha256") not in (None, sha256):
        detail = f"{path}: its sha256 is not the one in its release's manifest"
        return {**row, "status": FAILED, "reason": "changed", "detail": detail}
    return {
        **row,
        "frames": samples.frames,
        "fps": fps,
        "width": samples.size[0],
        "height": samples.size[1],
        "bytes": size,
        "sha256": sha256,
        "pixels_sha256": samples.hexdigest(),
        "stream_bytes": stream.bytes,
        "stream_sha256": stream.sha256,
        "encoder_version": encoder_version(path),
        "marks": marks,
        "status": OK,
        "reason": "",
        "detail": "",
    }


def _extract_frames(
    good: list[Row], out: Path, settings: FrameSettings, find_face: FindFace | None
) -> tuple[list[Row], list[Row]]:
    """Write the still frames of both classes; return their index, and the rows of clips that failed."""
    split = {row["video_id"]: row["split"] for row in good}
    index, failures = [], []
    for label, kind in enumerate(("real", "fake")):
        clips = [row for row in good if row["label"] == label]
        table = out / f"frames/{kind}.parquet"
        listing = out / f"frames/{kind}.clips.parquet"
        write_table([{name: row.get(name) for name in COMPRESSED.names} for row in clips], listing, COMPRESSED)
        frames_shard(listing, table, table.with_suffix(""), settings=settings, code=_CODE, find_face=find_face)
        listing.unlink()
        columns = [name for name in FRAMES.names if name != "image"]
        shard = {"shard_path": str(table), "shard_checksum": recorded_checksum(table)}
        for at, row in enumerate(read_rows(table, columns)):
            if row["status"] == OK:
                facts = {**row, **shard, "shard_row": at, "split": split[row["video_id"]]}
                index.append({name: facts[name] for name in FRAME_INDEX.names})
            else:
                failures.append(row)
    return index, failures


def _ledger(rows: list[Row], failures: list[Row]) -> list[Row]:
    states: dict[str, Row] = {}
    for stage, part in (("import", rows), ("frames", failures)):
        for row in part:
            known = states.get(row["video_id"])
            if known is None or known["status"] == OK:
                states[row["video_id"]] = {**(known or {}), **row, "stage": stage}
    return [
        {**{name: row.get(name) for name in LEDGER.names}, "kind": "fake" if row["label"] else "source"}
        for _, row in sorted(states.items())
    ]
