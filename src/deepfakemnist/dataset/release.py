"""Dataset release: a folder in the authors' layout with its own manifest, dataset card, checksums and metadata.

<quality>/real_dataset/selected_<split>/<video_id>.mp4
<quality>/fake_dataset/<action>/<video_id>.mp4
frames/<kind>/<shard>.parquet
manifest/videos.parquet  frames.parquet  pairs.parquet
README.md  CITATION.cff  CHANGELOG.md  LICENCES.tsv  croissant.json  SHA256SUMS
EXCLUSIONS.json (with exclusion lists only)
"""

from __future__ import annotations

import logging
import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deepfakemnist.config.dataset import ReleaseSettings
from deepfakemnist.dataset.audit_statement import leak_message as confound_message
from deepfakemnist.dataset.captions import add_captions
from deepfakemnist.dataset.card import citation, write_card
from deepfakemnist.dataset.changelog import changelog
from deepfakemnist.dataset.croissant import write_croissant
from deepfakemnist.dataset.exclusions import apply_exclusions, read_exclusion_lists, write_proof
from deepfakemnist.dataset.facts import facts_of
from deepfakemnist.dataset.identity_audit import equal_pixels
from deepfakemnist.dataset.identity_findings import leak_message, leaks_among
from deepfakemnist.dataset.pairs import pair_rows
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import check_id, check_video_id, same_file_name
from deepfakemnist.media.frames import ROW_GROUP
from deepfakemnist.sources.released_trees import ACTION_FOLDER
from deepfakemnist.tables.checksums import (
    DamagedTable,
    HashingFile,
    checked_writer,
    file_facts,
    recorded_checksum,
    verify_table,
)
from deepfakemnist.tables.dataset_schemas import (
    ENCODED_FRAME_INDEX,
    FRAME_INDEX,
    PAIRS,
    PUBLISHED_SPLIT,
    RELEASED_VIDEOS,
)
from deepfakemnist.tables.files import count_rows, read_metadata, read_rows, read_table, write_table
from deepfakemnist.tables.folders import real_path, replace_folder, restore_folder
from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import read_tsv, write_tsv

log = logging.getLogger(__name__)


def write_release(
    manifest: Path,
    out: Path,
    settings: ReleaseSettings,
    exclude: Path | None = None,
    identities: Path | None = None,
    audit: Path | None = None,
) -> Path:
    """Write a release of a finished dataset atomically.

    Args:
        manifest: folder of videos.parquet, frames.parquet and captions.parquet; their paths are relative to the
            working directory.
        out: folder to write. An existing release is replaced, once the new one is complete.
        settings: contents and metadata of the release.
        exclude: the run's own exclusion list; entries added after the run are not released either.
        identities: findings of :mod:`deepfakemnist.dataset.identity_audit`; None: faces were not compared, and the card
            says so.
        audit: table of :mod:`deepfakemnist.dataset.audit`; None: there was no confound audit, and the card says so.

    Returns: ``out``.

    Raises: ConfigError for an unusable list, quality or previous release, a folder in the way that is no release, a row
        of the manifest that makes no file name, when nothing is left to release, or when equal pixels or one face are
        in two splits, unless the split is a published one; and when the confound audit found a leak, unless
        ``settings.allow_leaks`` says why it is released all the same.
    """
    # A link is followed, so that it goes on to lead to the release.
    target = real_path(out)
    restore_folder(target)
    _check_replaceable(target)
    videos = add_captions(read_rows(manifest / "videos.parquet"), manifest)
    if settings.qualities is not None:
        available = sorted({row["quality"] for row in videos})
        if unknown := sorted(set(settings.qualities) - set(available)):
            raise ConfigError(f"release.qualities names {unknown}; the dataset has {available}")
        videos = [row for row in videos if row["quality"] in settings.qualities]
    lists = [path for path in (settings.exclusions, exclude) if path is not None]
    exclusions = read_exclusion_lists(lists)
    kept, left_out = apply_exclusions(videos, exclusions, settings.require_licence)
    if not kept:
        raise ConfigError("release: nothing is left to release; see exclusions, qualities and require_licence")
    findings = read_tsv(identities) if identities else None
    _check_leaks(findings or [], kept, read_metadata(manifest / "videos.parquet"))
    confounds = read_tsv(audit) if audit else None
    if (message := confound_message(confounds or [])) and settings.allow_leaks is None:
        raise ConfigError(
            f"release: {message}. Mend the cause and rerun the audit, or give the reason why the dataset is released "
            "all the same (release.allow_leaks), which its card will quote"
        )
    # A staging folder next to ``out``: hard links need one file system, and a failed release leaves nothing behind.
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        hashes = _write_contents(part, manifest, kept, left_out, settings, findings, confounds)
        if lists:
            write_proof(part, exclusions, lists, left_out)
        _write_checksums(part, hashes)
        replace_folder(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    log.info("%s: %d files, %d videos left out", out, len(kept), left_out)
    return out


def _check_replaceable(out: Path) -> None:
    """Raise ConfigError when something else than a release would be deleted."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not all((out / name).is_file() for name in ("manifest/videos.parquet", "LICENCES.tsv", "README.md")):
        raise ConfigError(
            f"{out}: exists and is not a release, so it is not replaced; give another folder, or remove it"
        )


def _check_leaks(findings: list[Row], kept: list[Row], metadata: dict[str, str]) -> None:
    """Refuse a release whose splits leak; equal pixels are found here, too, because they need no audit."""
    if metadata.get("split") == PUBLISHED_SPLIT["split"]:
        return
    faces = [row for row in findings if row["finding"] != "equal_pixels"]
    if message := leak_message(leaks_among([*equal_pixels(kept), *faces], kept)):
        raise ConfigError(
            f"release: {message}\nGive the videos of one person the same person_id, exclude one of each pair "
            "(release.exclusions), or add people who differ to dataset.identities.accepted; equal pixels cannot be "
            "accepted. audit/identities.tsv lists all; the report shows them (Dataset, identities)."
        )


def _write_contents(
    part: Path,
    manifest: Path,
    kept: list[Row],
    left_out: int,
    settings: ReleaseSettings,
    findings: list[Row] | None,
    confounds: list[Row] | None,
) -> dict[str, str]:
    """Write everything but SHA256SUMS; return the sha256 of the files that were hashed on the way, by their path."""
    rows = [{**row, "path": _release_path(row)} for row in kept]
    _check_names(rows)
    hashes = {}
    for before, after in zip(kept, rows, strict=True):
        hashes[after["path"]] = _link_or_copy(Path(before["path"]), part / after["path"], settings.files)
        if before["sha256"] and before["sha256"] != hashes[after["path"]]:
            raise ConfigError(_damaged(before["path"], "its sha256 is not the one in the manifest"))
    frames = _frames_of(manifest / "frames.parquet", rows)
    index = _write_frames(frames, part, settings.files, hashes)
    write_table(index, part / "manifest/frames.parquet", FRAME_INDEX)
    metadata = read_metadata(manifest / "videos.parquet")
    write_table(rows, part / "manifest/videos.parquet", RELEASED_VIDEOS, metadata)
    write_table(pair_rows(rows), part / "manifest/pairs.parquet", PAIRS)
    write_tsv(part / "LICENCES.tsv", ("source_id", "person_id", "licence"), _licences(rows))
    (part / "CHANGELOG.md").write_text(changelog(settings.previous, rows, settings.version), encoding="utf-8")
    (part / "CITATION.cff").write_text(citation(settings), encoding="utf-8")
    published = metadata.get("split") == PUBLISHED_SPLIT["split"]
    facts = facts_of(rows, left_out, findings, published, confounds, settings.allow_leaks)
    write_card(part / "README.md", facts, settings)
    write_croissant(part, settings, facts)
    return hashes


def _release_path(row: Row) -> str:
    """Return a video's path in the release; its parts are validated, because imported tables supply some of them."""
    try:
        check_video_id(row["video_id"])
        for part in (row["quality"], row["split"], *filter(None, [row["action"]])):
            check_id(part)
    except ValueError as error:
        raise ConfigError(f"release: {row['video_id']!a} of the manifest makes no file name: {error}") from None
    if row["label"] == 0:
        return f"{row['quality']}/real_dataset/selected_{row['split']}/{row['video_id']}.mp4"
    action = ACTION_FOLDER.get(row["action"], row["action"] or "other")
    return f"{row['quality']}/fake_dataset/{action}/{row['video_id']}.mp4"


def _check_names(rows: Sequence[Row]) -> None:
    """Raise ConfigError when two videos are one file where case does not count."""
    first: dict[str, str] = {}
    for row in rows:
        if (other := first.setdefault(same_file_name(row["path"]), row["path"])) != row["path"]:
            raise ConfigError(
                f"release: {row['path']} and {other} differ in case alone, and are one file on macOS and Windows; "
                "rename one, or leave it out by release.exclusions"
            )


def _link_or_copy(source: Path, target: Path, how: str) -> str:
    """Link or copy a file, and return its sha256, of the bytes in the release.

    Raises: ConfigError for a missing file, or a table that does not match the checksum that it carries.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if not source.is_file():
        raise ConfigError(_damaged(source, "is missing"))
    linked = how == "link" and _link(source, target)
    read = target if linked else source  # the source may be replaced in the meantime
    with Path(os.devnull if linked else target).open("wb") as file:
        copy = HashingFile(file)
        try:
            if source.suffix == ".parquet":
                verify_table(read, copy)
            else:
                with read.open("rb") as content:
                    shutil.copyfileobj(content, copy, 1 << 20)
        except DamagedTable as error:
            raise ConfigError(_damaged(source, error.what)) from None
    return copy.digest.hexdigest()


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        return False
    return True


def _damaged(path: Path | str, what: str) -> str:
    return f"{path}: {what}. Nothing is released; `deepfakemnist repair` has damaged files made again"


def _frames_of(index: Path, videos: Sequence[Row]) -> pa.Table:
    """Return the rows of a frame index that belong to videos, at their qualities (ENCODED_FRAME_INDEX)."""
    frames = read_table(index, encoded=[one.name for one in FRAME_INDEX if one.type == pa.string()])
    if "shard_checksum" not in frames.column_names:  # of version 0.2 or earlier
        frames = frames.append_column("shard_checksum", pa.nulls(frames.num_rows, pa.string()))
    frames = frames.select(FRAME_INDEX.names).cast(ENCODED_FRAME_INDEX).unify_dictionaries()
    names: dict[str, list[str]] = defaultdict(list)
    for row in videos:
        names[row["quality"]].append(row["video_id"])
    # A quality at a time: a key of both columns would be as large as the index.
    keep = pa.array(np.zeros(frames.num_rows, bool))
    for quality, of_quality in names.items():
        mine = pc.is_in(frames["video_id"], pa.array(of_quality, pa.string()))
        keep = pc.or_(keep, pc.and_(pc.equal(frames["quality"], quality), mine))
    return frames.filter(keep)


def _write_frames(frames: pa.Table, part: Path, how: str, hashes: dict[str, str]) -> pa.Table:
    """Link or copy the Parquet files of frames, rewriting those that lose rows; return the frame index.

    ``hashes`` receives the sha256 of the files that are not rewritten.
    """
    index = [frames.slice(0, 0)]
    for shard in pc.unique(frames["shard_path"]).to_pylist():
        name = f"frames/{Path(shard).parent.name}/{Path(shard).name}"
        if Path(shard).parent.name in ("", "..") or (part / name).exists():
            raise ConfigError(f"release: {shard} of the frame index cannot be stored as {name}")
        rows = frames.filter(pc.equal(frames["shard_path"], shard)).sort_by("shard_row")
        if not Path(shard).is_file():
            raise ConfigError(_damaged(shard, "is missing"))
        if (indexed := rows["shard_checksum"][0].as_py()) and recorded_checksum(shard) != indexed:
            raise ConfigError(_damaged(shard, "its checksum is not the one in the frame index"))
        if rows.num_rows == count_rows(shard):
            hashes[name] = _link_or_copy(Path(shard), part / name, how)
        else:
            verify_table(shard)
            _copy_rows(Path(shard), part / name, rows["shard_row"].to_pylist())
            rows = _with_column(rows, "shard_row", pa.array(np.arange(rows.num_rows)))
        rows = _with_column(rows, "shard_path", pa.repeat(name, rows.num_rows))
        checksum = pa.scalar(recorded_checksum(part / name), pa.string())
        index.append(_with_column(rows, "shard_checksum", pa.repeat(checksum, rows.num_rows)))
    return pa.concat_tables(index)


def _with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), values.cast(table.schema.field(at).type))


def _copy_rows(source: Path, target: Path, wanted: Sequence[int]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Every page is verified again while it is copied.
    file = pq.ParquetFile(source, page_checksum_verification=True)
    chosen, first = set(wanted), 0
    with checked_writer(target, file.schema_arrow, compression="none", use_dictionary=False) as writer:
        for batch in file.iter_batches(batch_size=ROW_GROUP):
            keep = pa.array([first + at in chosen for at in range(len(batch))])
            first += len(batch)
            if keep.true_count:
                writer.write_table(pa.Table.from_batches([batch]).filter(keep), row_group_size=ROW_GROUP)


def _licences(rows: Sequence[Row]) -> list[Row]:
    found = {row["source_id"]: row for row in rows}
    return [
        {"source_id": name, "person_id": row["person_id"], "licence": row["licence"] or "not stated"}
        for name, row in sorted(found.items())
    ]


def _write_checksums(folder: Path, known: dict[str, str]) -> None:
    """Write SHA256SUMS over every file, in the format of ``sha256sum --check``; files in ``known`` are not read."""
    lines = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name not in known:
            known[name] = file_facts(path).sha256
        lines.append(f"{known[name]}  {name}")
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n", encoding="utf-8")
