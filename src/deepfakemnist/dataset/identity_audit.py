"""Identity audit: one face or equal pixels in two splits, under two person ids, and two faces under one person id.

Only sources are compared by face: a fake has the face of its source and stays in its split. Every source is compared
with every other, in blocks, so that memory grows with the number of sources and not with its square.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfakemnist.config.dataset import IdentitySettings
from deepfakemnist.dataset.identity_findings import ACCEPTED, COLUMNS, LEAK, WARNING, leak_message
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.dataset_schemas import PUBLISHED_SPLIT
from deepfakemnist.tables.files import column_names, read_metadata, read_rows
from deepfakemnist.tables.schemas import OK, Row
from deepfakemnist.tables.tsv import Lines, write_tsv

log = logging.getLogger(__name__)

Embeddings = NDArray[np.float32]
#: Sources compared with all others at a time.
_BLOCK = 512
#: People reported per source at most, nearest first: a folder in which one person has a thousand ids gives thousands of
#: rows rather than half a million.
_NEAREST = 8
_VIDEO_COLUMNS = (
    "video_id", "source_id", "person_id", "split", "quality", "input_pixels_sha256", "pixels_sha256",
)  # fmt: skip
_ACCEPTED_COLUMNS = ("person_id", "other_person_id", "reason")
_ORDER = {LEAK: 0, WARNING: 1, ACCEPTED: 2}


def audit_identities(identities: Sequence[Path], videos: Path, path: Path, settings: IdentitySettings) -> list[Row]:
    """Compare all sources of a dataset; write the findings to ``path`` (TSV, ``identity_findings.COLUMNS``).

    Args:
        identities: IDENTITIES tables of the sources.
        videos: the manifest's videos.parquet.
        path: table to write.
        settings: thresholds and accepted pairs.

    Returns: the rows, leaks first. In a dataset with a published split, which is kept as it is, all are warnings.

    Raises: ConfigError for an unreadable list of accepted pairs.
    """
    accepted = read_accepted(settings.accepted) if settings.accepted else {}
    stored = column_names(videos)
    rows = read_rows(videos, [name for name in _VIDEO_COLUMNS if name in stored])
    known = {row["video_id"]: row for row in read_rows(identities) if row["status"] == OK}
    facts = {row["source_id"]: {name: row[name] for name in ("person_id", "split")} for row in rows}
    sources = [{**known[name], **facts[name]} for name in sorted(facts) if name in known]
    findings = equal_pixels(rows)
    equal = {(row["person_id"], row["other_person_id"]) for row in findings}
    faces = compare_faces(sources, settings, accepted)
    findings += [row for row in faces if (row["person_id"], row["other_person_id"]) not in equal]
    if read_metadata(videos).get("split") == PUBLISHED_SPLIT["split"]:
        findings = [{**row, "verdict": WARNING} if row["verdict"] == LEAK else row for row in findings]
    findings.sort(key=lambda row: (_ORDER[row["verdict"]], row["distance"], row["video_id"], row["other_video_id"]))
    if message := leak_message([row for row in findings if row["verdict"] == LEAK]):
        log.warning("%s", message)
    unused = accepted.keys() - {(row["person_id"], row["other_person_id"]) for row in findings}
    if unused:
        log.info("%d accepted pairs were not found, e.g. %s", len(unused), " and ".join(min(unused)))
    write_tsv(path, COLUMNS, findings)
    return findings


def equal_pixels(videos: Sequence[Row]) -> list[Row]:
    """Return a finding per pair of videos with equal pixels in two splits or of two people.

    Args:
        videos: rows of the manifest. Videos are equal if their clips are, before or after encoding at one quality.

    Of many equal videos, each is paired with the first by id.
    """
    groups: dict[tuple[str, str, str], dict[str, Row]] = defaultdict(dict)
    for row in videos:
        for column in ("input_pixels_sha256", "pixels_sha256"):
            if row.get(column):
                groups[column, row["quality"], row[column]].setdefault(row["video_id"], row)
    pairs: dict[tuple[str, str], Row] = {}
    for group in groups.values():
        first, *others = sorted(group.values(), key=lambda row: str(row["video_id"]))
        for other in others:
            crosses = first["split"] != other["split"]
            if crosses or first["person_id"] != other["person_id"]:
                verdict = LEAK if crosses else WARNING
                one, two = sorted((first, other), key=lambda row: (row["person_id"], row["video_id"]))
                pairs[one["video_id"], two["video_id"]] = _finding("equal_pixels", verdict, one, two, 0.0)
    return list(pairs.values())


def compare_faces(
    sources: Sequence[Row], settings: IdentitySettings, accepted: Mapping[tuple[str, str], str]
) -> list[Row]:
    """Return a finding per pair of people with one face, and per person with two.

    Args:
        sources: IDENTITIES rows with their ``split``.
        settings: thresholds, distances between embeddings.
        accepted: reasons by pair of person ids, in ascending order; a person with two faces is a pair with itself.
    """
    if not sources:
        return []
    sources = sorted(sources, key=lambda row: (row["person_id"], row["video_id"]))
    embeddings = np.array([row["embedding"] for row in sources], np.float32)
    people = [row["person_id"] for row in sources]
    findings = []
    for first, other, distance in _near_people(embeddings, people, settings.similar_face, accepted):
        same = distance <= settings.same_face
        crosses = sources[first]["split"] != sources[other]["split"]
        verdict, reason = LEAK if same and crosses else WARNING, ""
        if (pair := (people[first], people[other])) in accepted:
            verdict, reason = ACCEPTED, accepted[pair]
        kind = "same_face" if same else "similar_face"
        findings.append(_finding(kind, verdict, sources[first], sources[other], distance, reason))
    for first, other, distance in _people_with_two_faces(embeddings, people, settings.other_face):
        person = people[first]
        verdict = ACCEPTED if (person, person) in accepted else WARNING
        reason = accepted.get((person, person), "")
        findings.append(_finding("two_faces", verdict, sources[first], sources[other], distance, reason))
    return findings


def read_accepted(path: Path) -> dict[tuple[str, str], str]:
    """Return the reasons of a list of accepted pairs by their person ids, in ascending order.

    Args:
        path: TSV with the columns person_id, other_person_id and reason.

    Raises: ConfigError with file and line; a pair without a reason is refused, because the dataset card states it.
    """
    if not path.is_file():
        raise ConfigError(f"dataset.identities.accepted: {str(path)!r} is not a file")
    accepted, lines = {}, Lines(path, "dataset.identities.accepted")
    if set(lines.columns) != set(_ACCEPTED_COLUMNS):
        raise ConfigError(
            f"{path} line 1: the columns are {', '.join(_ACCEPTED_COLUMNS)}, not {', '.join(lines.columns)}; tabs "
            "separate them"
        )
    for line, row in lines:
        person, other, reason = ((row[name] or "").strip() for name in _ACCEPTED_COLUMNS)
        if not (person and other and reason):
            raise ConfigError(f"{path} line {line}: two person ids and a reason are required")
        accepted[min(person, other), max(person, other)] = reason
    return accepted


def _near_people(
    embeddings: Embeddings, people: Sequence[str], limit: float, accepted: Mapping[tuple[str, str], str]
) -> Iterator[tuple[int, int, float]]:
    """Yield the nearest pair of sources for every pair of people within ``limit``, or near enough to be accepted.

    Args:
        embeddings: (N, 128), sorted by person.
        people: person of each.
        limit: distance up to which a pair counts.
        accepted: pairs that do not count among the nearest, so that they hide no other.
    """
    names, starts, codes = np.unique(np.array(people), return_index=True, return_inverse=True)
    number = {str(name): code for code, name in enumerate(names)}
    excepted = [(number[one], number[other]) for one, other in accepted if one in number and other in number]
    skip: dict[int, list[int]] = defaultdict(list)
    for one, other in excepted:
        skip[one].append(other)
        skip[other].append(one)
    near: set[tuple[int, int]] = {pair for pair in excepted if pair[0] != pair[1]}
    for begin in range(0, len(embeddings), _BLOCK):
        block = codes[begin : begin + _BLOCK]
        nearest = np.minimum.reduceat(_distances(embeddings[begin : begin + _BLOCK], embeddings), starts, axis=1)
        nearest[np.arange(len(block)), block] = np.inf
        for at, code in enumerate(block):
            nearest[at, skip.get(int(code), [])] = np.inf
            within = np.flatnonzero(nearest[at] <= limit)
            for other in within[np.argsort(nearest[at, within], kind="stable")][:_NEAREST]:
                near.add((min(int(code), int(other)), max(int(code), int(other))))
    ends = [*starts[1:], len(people)]
    for one, other in sorted(near):
        distances = _distances(embeddings[starts[one] : ends[one]], embeddings[starts[other] : ends[other]])
        first, second = np.unravel_index(distances.argmin(), distances.shape)
        if distances[first, second] <= limit:
            yield int(starts[one] + first), int(starts[other] + second), float(distances[first, second])


def _people_with_two_faces(
    embeddings: Embeddings, people: Sequence[str], limit: float
) -> Iterator[tuple[int, int, float]]:
    """Yield, for every person, the nearest pair of sources between one group of faces and each further group.

    Sources within ``limit`` of each other, directly or through others, form a group.
    """
    _, starts, counts = np.unique(np.array(people), return_index=True, return_counts=True)
    for start, count in zip(starts, counts, strict=True):
        own = embeddings[start : start + count]
        groups = _groups(own, limit)
        main = max(groups, key=len)
        for group in groups:
            if group is not main:
                distances = np.vstack([_distances(own[[member]], own[main]) for member in group])
                member, nearest = np.unravel_index(distances.argmin(), distances.shape)
                yield int(start + main[nearest]), int(start + group[member]), float(distances.min())


def _groups(embeddings: Embeddings, limit: float) -> list[list[int]]:
    """Return the groups of indices that are connected by distances up to ``limit``."""
    left, groups = np.arange(len(embeddings)), []
    while len(left):
        group, frontier, left = [int(left[0])], left[:1], left[1:]
        while len(frontier) and len(left):
            nearest = np.full(len(left), np.inf, np.float32)
            for begin in range(0, len(frontier), _BLOCK):
                block = _distances(embeddings[frontier[begin : begin + _BLOCK]], embeddings[left])
                nearest = np.minimum(nearest, block.min(axis=0))
            frontier, left = left[nearest <= limit], left[nearest > limit]
            group += frontier.tolist()
        groups.append(group)
    return groups


def _distances(first: Embeddings, second: Embeddings) -> Embeddings:
    """Return the Euclidean distances between the rows of (M, D) and (N, D), (M, N)."""
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    return np.asarray(np.sqrt(np.maximum(squares, 0)), np.float32)


def _finding(kind: str, verdict: str, first: Row, other: Row, distance: float, reason: str = "") -> Row:
    return {
        "finding": kind,
        "verdict": verdict,
        "person_id": first["person_id"],
        "other_person_id": other["person_id"],
        "split": first["split"],
        "other_split": other["split"],
        "video_id": first["video_id"],
        "other_video_id": other["video_id"],
        "distance": distance,
        "reason": reason,
    }
