"""The confound audit: can the classes be told apart by anything but the picture?

A classifier is trained on facts of the files, never on pixels, with cross-validation disjoint by person. Its AUC must
stand at chance for what the chain decides (``container``). What the coder makes of the pictures (``size``) may differ,
because the pictures do; a detector of files could use it, a detector of pixels cannot, so it is told apart. Simple
statistics of the pictures (``pictures``) show how much of the problem needs no network.
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
#: AUC up to which a difference is taken for one that no detector profits from.
TOLERATED_AUC = 0.55
#: From here on sizes say that the encoder was told something else, not that the pictures are others: on real clips and
#: their FOMM animations they reach 0.73 (52 videos at c23, measured).
SEPARATED_AUC = 0.9
#: An interval wider than this says nothing.
_TOO_WIDE = 0.35
#: Still frames of a video that the cheap look takes.
_STILLS = 4
_TREES = 100
_SHOWN = 3


class Scored(NamedTuple):
    """How well a set of facts tells the classes apart."""

    auc: float
    low: float
    high: float
    telling: str


def audit_dataset(videos: Path, frames: Path, path: Path, settings: AuditSettings, seed: int) -> list[Row]:
    """Audit every quality of a dataset and write a row per quality and set of facts to ``path`` (TSV).

    Args:
        videos: the manifest's videos.parquet.
        frames: the manifest's frames.parquet.
        path: table to write, COLUMNS.
        settings: folds and resamples.
        seed: decides folds, trees and resamples.

    Returns: the rows; what ``verdict`` may say stands at :func:`verdict`, it is empty for pictures.
    """
    stills = _stills(read_rows(frames))
    qualities: dict[str, list[Row]] = defaultdict(list)
    for row in read_rows(videos):
        qualities[row["quality"]].append(row)
    made = []
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
            made.append(_audit_row(quality, name, facts, rows, settings, seed))
    write_tsv(path, COLUMNS, made)
    return made


def score_facts(
    facts: Sequence[dict[str, Fact]], labels: Sequence[int], people: Sequence[str], settings: AuditSettings, seed: int
) -> Scored | None:
    """Return the AUC of a random forest on facts, judged on people it was not trained on, with a 95 % interval.

    Args:
        facts: the same names for every video; texts count as categories.
        labels: 1 fake, 0 real.
        people: who is seen; folds are disjoint by it, and the interval comes from resampling it.
        settings: folds and resamples.
        seed: decides folds, trees and resamples.

    The interval holds the luck of who is in the dataset, not that of the training: on noise about one in ten lies
    beside chance, therefore TOLERATED_AUC.

    Returns: None where there is no second class or no second person.
    """
    target, groups = np.array(labels), np.array(people)
    if len(set(labels)) < 2 or len(set(people)) < 2:
        return None
    names, table = _as_numbers(facts)
    fold = fold_of_people(people, min(settings.folds, len(set(people))), seed)
    part = np.array([fold[person] for person in people])
    scores = np.full(len(target), 0.5)
    for number in set(part) if table.shape[1] else ():
        train, test = part != number, part == number
        if len(set(target[train])) == 2:
            # Balanced: else a fold with more fakes is scored by a training set with fewer, and AUC falls below chance.
            forest = RandomForestClassifier(
                _TREES, min_samples_leaf=3, class_weight="balanced", random_state=seed % 2**32
            )
            scores[test] = forest.fit(table[train], target[train]).predict_proba(table[test])[:, 1]
    low, high = _interval(target, scores, groups, settings.bootstrap, seed)
    alone = sorted(
        ((_distance(target, column), name) for name, column in zip(names, table.T, strict=True)), reverse=True
    )
    telling = ", ".join(f"{name} {auc:.2f}" for auc, name in alone[:_SHOWN])
    return Scored(float(roc_auc_score(target, scores)), low, high, telling)


def verdict(scored: Scored, of_the_chain: bool = True) -> str:
    """Return leak, suspect, differs, clear, or ``too few``.

    Facts ``of_the_chain`` may not differ at all. Others follow from the pictures and may: they are a leak only where
    they part the classes better than pictures do.
    """
    if scored.low > (TOLERATED_AUC if of_the_chain else SEPARATED_AUC):
        return "leak"
    if scored.low > (0.5 if of_the_chain else TOLERATED_AUC):
        return "suspect" if of_the_chain else "differs"
    return "too few" if scored.high - scored.low > _TOO_WIDE else "clear"


def _audit_row(
    quality: str, name: str, facts: list[dict[str, Fact]], rows: list[Row], settings: AuditSettings, seed: int
) -> Row:
    people = [row["person_id"] for row in rows]
    scored = score_facts(facts, [row["label"] for row in rows], people, settings, seed)
    return {
        "quality": quality,
        "facts": name,
        "auc": scored and scored.auc,
        "auc_low": scored and scored.low,
        "auc_high": scored and scored.high,
        "videos": len(rows),
        "people": len(set(people)),
        "verdict": _verdict_of(name, scored),
        "telling": scored.telling if scored else "",
    }


def _verdict_of(name: str, scored: Scored | None) -> str:
    if name == "pictures":
        return ""  # a baseline: detectors shall do better
    return verdict(scored, of_the_chain=name == "container") if scored else "too few"


def _as_numbers(facts: Sequence[dict[str, Fact]]) -> tuple[list[str], np.ndarray]:
    """Return names and columns of what varies: numbers as they are, every text of a category as 0 or 1."""
    names, columns = [], []
    for name in facts[0]:
        values = [one[name] for one in facts]
        if isinstance(values[0], str):
            for text in sorted(set(map(str, values)))[1:]:  # the first follows from the others
                names.append(name)
                columns.append(np.array([float(value == text) for value in values]))
        else:
            names.append(name)
            columns.append(np.array(values, dtype=float))
    kept = [at for at, column in enumerate(columns) if np.ptp(column) > 0]
    return [names[at] for at in kept], np.array([columns[at] for at in kept]).T.reshape(len(facts), len(kept))


def _interval(
    target: np.ndarray, scores: np.ndarray, groups: np.ndarray, resamples: int, seed: int
) -> tuple[float, float]:
    draw = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == person) for person in sorted(set(groups))]
    found = []
    for _ in range(resamples):
        picked = np.concatenate([members[at] for at in draw.integers(0, len(members), len(members))])
        if 0 < target[picked].sum() < len(picked):
            found.append(roc_auc_score(target[picked], scores[picked]))
    low, high = np.percentile(found, [2.5, 97.5]) if found else (0.0, 1.0)
    return float(low), float(high)


def _distance(target: np.ndarray, column: np.ndarray) -> float:
    auc = float(roc_auc_score(target, column))
    return max(auc, 1 - auc)


def _stills(frames: Sequence[Row]) -> dict[tuple[str, str], list[bytes]]:
    """Return the first few images of every video and quality, read shard by shard."""
    wanted: dict[str, dict[int, tuple[str, str]]] = defaultdict(dict)
    count: dict[tuple[str, str], int] = defaultdict(int)
    for row in frames:
        key = (row["video_id"], row["quality"])
        if count[key] < _STILLS:
            count[key] += 1
            wanted[row["shard_path"]][row["shard_row"]] = key
    images: dict[tuple[str, str], list[bytes]] = defaultdict(list)
    for shard, rows in wanted.items():
        column = read_table(shard, ["image"]).column("image")
        for at, key in rows.items():
            images[key].append(column[at].as_py())
    return images
