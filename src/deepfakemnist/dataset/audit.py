"""Confound audit: random forests on file metadata, packet sizes and simple image statistics.

Cross-validation folds are disjoint by person. On facts that the encode chain fixes (``container``) the AUC must be at
chance. Packet sizes (``size``) follow from image content, so they may differ between the classes; a detector that reads
files could exploit them, a detector that reads pixels cannot, so they get their own row. Simple image statistics
(``pictures``) show how much of the task needs no network.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from deepfakemnist.config.dataset import AuditSettings
from deepfakemnist.dataset.file_facts import Fact, brightness, container_facts, picture_facts, size_facts
from deepfakemnist.dataset.splits import fold_of_people
from deepfakemnist.media.frames import decode_image
from deepfakemnist.tables.files import read_rows, read_table
from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import write_tsv

COLUMNS = ("quality", "facts", "auc", "auc_low", "auc_high", "videos", "people", "verdict", "telling")
#: Up to this AUC a difference is too small for a detector to exploit.
TOLERATED_AUC = 0.55
#: Above this AUC, sizes point to different encoder settings rather than different content: on real clips and their FOMM
#: animations they reach 0.73 (52 videos at c23, measured).
LEAKING_SIZE_AUC = 0.9
#: A wider interval is inconclusive.
_MAX_INTERVAL = 0.35
#: Still frames per video from which image statistics are computed.
_FRAMES_PER_VIDEO = 4
_TREES = 100
_NAMED_FACTS = 3


class AuditScore(NamedTuple):
    """Separability of the classes by a set of facts."""

    #: AUC and its 95 % interval.
    auc: float
    low: float
    high: float
    #: The facts that separate the classes best on their own, with their AUC.
    telling: str


def audit_dataset(videos: Path, frames: Path, path: Path, settings: AuditSettings, seed: int) -> list[Row]:
    """Audit every quality of a dataset; write one row per quality and set of facts to ``path`` (TSV).

    Args:
        videos: the manifest's videos.parquet.
        frames: the manifest's frames.parquet.
        path: table to write, COLUMNS.
        settings: number of folds and bootstrap resamples.
        seed: seed of folds, trees and resamples.

    Returns: the rows. :func:`verdict` lists the values of ``verdict``; it is empty for ``pictures``.
    """
    stills = _first_frames(read_rows(frames))
    qualities: dict[str, list[Row]] = defaultdict(list)
    for row in read_rows(videos):
        qualities[row["quality"]].append(row)
    audited = []
    for quality, rows in qualities.items():
        pictures = [[decode_image(data) for data in stills.get((row["video_id"], quality), ())] for row in rows]
        sets: dict[str, list[dict[str, Fact]]] = {
            "container": [container_facts(Path(row["path"])) for row in rows],
            "size": [size_facts(Path(row["path"])) for row in rows],
        }
        if all(pictures):
            sets["brightness"] = [brightness(one) for one in pictures]
            sets["pictures"] = [picture_facts(one) for one in pictures]
        for name, facts in sets.items():
            audited.append(_audit_row(quality, name, facts, rows, settings, seed))
    write_tsv(path, COLUMNS, audited)
    return audited


def score_facts(
    facts: Sequence[dict[str, Fact]], labels: Sequence[int], people: Sequence[str], settings: AuditSettings, seed: int
) -> AuditScore | None:
    """Return the cross-validated AUC of a random forest on facts, with a 95 % interval.

    Args:
        facts: the same names for every video; strings are categories.
        labels: 1 fake, 0 real.
        people: person in each video. Folds are disjoint by person, and the interval bootstraps over people.
        settings: number of folds and bootstrap resamples.
        seed: seed of folds, trees and resamples.

    The interval covers the sampling of people, not the variance of training: on noise, about one interval in ten misses
    0.5, hence TOLERATED_AUC.

    Returns: None with a single class or a single person.
    """
    target, groups = np.array(labels), np.array(people)
    if len(set(labels)) < 2 or len(set(people)) < 2:
        return None
    names, features = _feature_matrix(facts)
    fold = fold_of_people(people, min(settings.folds, len(set(people))), seed)
    folds = np.array([fold[person] for person in people])
    scores = np.full(len(target), 0.5)
    for number in set(folds) if features.shape[1] else ():
        train, test = folds != number, folds == number
        if len(set(target[train])) == 2:
            # Balanced: a fold with more fakes leaves fewer in its training set, which would push the AUC below chance.
            forest = RandomForestClassifier(
                _TREES, min_samples_leaf=3, class_weight="balanced", random_state=seed % 2**32
            )
            scores[test] = forest.fit(features[train], target[train]).predict_proba(features[test])[:, 1]
    low, high = _bootstrap_interval(target, scores, groups, settings.bootstrap, seed)
    ranked = sorted(
        ((_univariate_auc(target, column), name) for name, column in zip(names, features.T, strict=True)), reverse=True
    )
    telling = ", ".join(f"{name} {auc:.2f}" for auc, name in ranked[:_NAMED_FACTS])
    return AuditScore(float(roc_auc_score(target, scores)), low, high, telling)


def verdict(score: AuditScore, fixed_by_chain: bool = True) -> str:
    """Return leak, suspect, differs, clear, or ``too few``.

    Args:
        score: AUC with its interval.
        fixed_by_chain: whether the encode chain fixes these facts, so that any difference between the classes counts.
            Facts that follow from image content are a leak only where they separate the classes better than content.
    """
    if score.low > (TOLERATED_AUC if fixed_by_chain else LEAKING_SIZE_AUC):
        return "leak"
    if score.low > (0.5 if fixed_by_chain else TOLERATED_AUC):
        return "suspect" if fixed_by_chain else "differs"
    return "too few" if score.high - score.low > _MAX_INTERVAL else "clear"


def _audit_row(
    quality: str, name: str, facts: list[dict[str, Fact]], rows: list[Row], settings: AuditSettings, seed: int
) -> Row:
    people = [row["person_id"] for row in rows]
    score = score_facts(facts, [row["label"] for row in rows], people, settings, seed)
    return {
        "quality": quality,
        "facts": name,
        "auc": score and score.auc,
        "auc_low": score and score.low,
        "auc_high": score and score.high,
        "videos": len(rows),
        "people": len(set(people)),
        "verdict": _verdict_of(name, score),
        "telling": score.telling if score else "",
    }


def _verdict_of(name: str, score: AuditScore | None) -> str:
    if name == "pictures":
        return ""  # a baseline that detectors must beat
    return verdict(score, fixed_by_chain=name == "container") if score else "too few"


def _feature_matrix(facts: Sequence[dict[str, Fact]]) -> tuple[list[str], np.ndarray]:
    """Return names and columns of the facts that vary: numbers as they are, categories one-hot encoded."""
    names, columns = [], []
    for name in facts[0]:
        values = [one[name] for one in facts]
        if isinstance(values[0], str):
            for text in sorted(set(map(str, values)))[1:]:  # the first is implied by the others
                names.append(name)
                columns.append(np.array([float(value == text) for value in values]))
        else:
            names.append(name)
            columns.append(np.array(values, dtype=float))
    kept = [at for at, column in enumerate(columns) if np.ptp(column) > 0]
    return [names[at] for at in kept], np.array([columns[at] for at in kept]).T.reshape(len(facts), len(kept))


def _bootstrap_interval(
    target: np.ndarray, scores: np.ndarray, groups: np.ndarray, resamples: int, seed: int
) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == person) for person in sorted(set(groups))]
    found = []
    for _ in range(resamples):
        picked = np.concatenate([members[at] for at in rng.integers(0, len(members), len(members))])
        if 0 < target[picked].sum() < len(picked):
            found.append(roc_auc_score(target[picked], scores[picked]))
    low, high = np.percentile(found, [2.5, 97.5]) if found else (0.0, 1.0)
    return float(low), float(high)


def _univariate_auc(target: np.ndarray, column: np.ndarray) -> float:
    auc = float(roc_auc_score(target, column))
    return max(auc, 1 - auc)


def _first_frames(frames: Sequence[Row]) -> dict[tuple[str, str], list[bytes]]:
    """Return the first few images of every video and quality, read one shard at a time."""
    wanted: dict[str, dict[int, tuple[str, str]]] = defaultdict(dict)
    count: dict[tuple[str, str], int] = defaultdict(int)
    for row in frames:
        key = (row["video_id"], row["quality"])
        if count[key] < _FRAMES_PER_VIDEO:
            count[key] += 1
            wanted[row["shard_path"]][row["shard_row"]] = key
    images: dict[tuple[str, str], list[bytes]] = defaultdict(list)
    for shard, rows in wanted.items():
        column = read_table(shard, ["image"]).column("image")
        for at, key in rows.items():
            images[key].append(column[at].as_py())
    return images
