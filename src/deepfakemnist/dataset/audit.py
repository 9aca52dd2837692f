"""Confound audit: what besides the face tells real from fake, by permutation tests on facts of files and pictures.

Sets of facts differ in what may cause a difference. The encode chain alone decides the facts of ``container``, and how
a clip was made those of ``traces``: a difference there is a leak. ``size`` follows from what the encoder was given,
``start`` from how an animation begins, ``brightness`` and ``pictures`` from what the picture shows: a difference
there is stated, because it tells how much of the task needs no network. A random forest over the facts of a set,
trained in folds disjoint by person, counts as one more fact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from deepfakemnist.config.dataset import AuditSettings
from deepfakemnist.dataset.audit_statement import CANNOT_TELL, COLUMNS, DIFFERS, LEAK, LEAKING, NO_DIFFERENCE, SLIGHT
from deepfakemnist.dataset.clip_facts import SETS
from deepfakemnist.dataset.file_facts import Fact
from deepfakemnist.dataset.separability import Separation, permuted_labels, separate
from deepfakemnist.dataset.splits import fold_of_people
from deepfakemnist.dataset.traces import traces_of_source
from deepfakemnist.ids import seed_from
from deepfakemnist.multiple_tests import holm
from deepfakemnist.tables.files import read_table
from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import write_tsv

#: Significance level over all sets and qualities together (Holm 1979).
ALPHA = 0.05
#: Up to this AUC a difference that is certain is still too small for a detector to exploit.
TOLERATED_AUC = 0.55
#: A set has no difference only where a fact of this AUC would have been found, and none may have more.
LARGEST_AUC = 0.75
#: Facts of :mod:`.traces` that an animation may change without anything being wrong.
_OF_START = ("distance to source", "start sharpness")
_TREES = 100
_NAMED_FACTS = 3
_FOREST = "all together"
_VIDEO_COLUMNS = ("video_id", "quality", "label", "person_id", "source_id", "path", "bytes")
Column = Sequence[Fact] | NDArray[Any]


class AuditScore(NamedTuple):
    """Separability of the classes by a set of facts."""

    separation: Separation
    #: Cross-validated AUC of a random forest on all facts; 0.5 when none varies.
    forest_auc: float
    #: Name of the most telling fact; empty when none varies.
    fact: str
    #: The facts that separate the classes best on their own, with their AUC.
    telling: str


def audit_dataset(videos: Path, facts: Sequence[Path], path: Path, settings: AuditSettings, seed: int) -> list[Row]:
    """Audit every quality of a dataset; write one row per quality and set of facts to ``path`` (TSV).

    Args:
        videos: the manifest's videos.parquet.
        facts: tables of :func:`.clip_facts.write_clip_facts` of all videos.
        path: table to write, audit_statement.COLUMNS.
        settings: number of folds, permutations and decoded videos.
        seed: seed of folds, trees and permutations.

    Returns: the rows; :func:`verdict` explains ``verdict``.
    """
    listed = read_table(videos, _VIDEO_COLUMNS)
    qualities = pc.unique(listed["quality"]).to_pylist()
    best = _best_quality(listed)
    found: list[tuple[Row, AuditScore | None]] = []
    tests = {True: len(qualities) + 1, False: 3 * len(qualities) + 1}

    def score(quality: str, name: str, columns: Mapping[str, Column], labels: list[int], people: list[str]) -> None:
        head = {"quality": quality, "facts": name, "videos": len(labels), "people": len(set(people))}
        found.append((head, score_facts(columns, labels, people, settings, seed, tests[name in LEAKING])))

    for quality in qualities:
        rows = listed.filter(pc.equal(listed["quality"], quality))
        labels, people = rows["label"].to_pylist(), rows["person_id"].to_pylist()
        for name in SETS:
            columns = _facts_of(facts, quality, name, rows["video_id"])
            if columns is not None:
                score(quality, name, columns, labels, people)
        if quality == best:
            decoded = list(_traces(rows.to_pylist(), settings.decoded_videos, seed))
            labels, people = [row["label"] for row, _ in decoded], [row["person_id"] for row, _ in decoded]
            names = decoded[0][1] if decoded else {}
            for name, of_start in (("traces", False), ("start", True)):
                columns = {key: [one[key] for _, one in decoded] for key in names if (key in _OF_START) == of_start}
                score(quality, name, columns, labels, people)
    audited = _with_verdicts(found)
    write_tsv(path, COLUMNS, audited)
    return audited


def score_facts(
    facts: Mapping[str, Column],
    labels: Sequence[int],
    people: Sequence[str],
    settings: AuditSettings,
    seed: int,
    tests: int = 1,
) -> AuditScore | None:
    """Return how well facts, one by one and all together, separate the classes.

    Args:
        facts: a value per video by name; strings are categories, NaN is unknown.
        labels: 1 fake, 0 real.
        people: person in each video.
        settings: number of folds and permutations.
        seed: seed of folds, trees and permutations.
        tests: number of sets whose p-values are adjusted together, for the detectable AUC.

    Returns: None with a single class or a single person.
    """
    target = np.array(labels)
    if len(set(labels)) < 2 or len(set(people)) < 2:
        return None
    names, features = _feature_matrix(facts)
    if not names:
        return AuditScore(Separation(None, 0.5, None, 1.0, None, None), 0.5, "", "")
    forest = _forest_scores(features, target, people, settings.folds, seed)
    columns = np.column_stack([features, forest])
    permutations = _permutations(tuple(labels), tuple(people), settings.permutations, seed)
    separation = separate(columns, labels, people, permutations, ALPHA / tests)
    aucs = [_auc(target, column) for column in columns.T]
    ranked = sorted(zip(aucs[:-1], names, strict=True), reverse=True)
    telling = ", ".join(f"{name} {auc:.2f}" for auc, name in ranked[:_NAMED_FACTS])
    fact = [*names, _FOREST][separation.fact or 0]
    return AuditScore(separation, aucs[-1], fact, telling)


def verdict(facts: str, score: AuditScore, significant: bool) -> str:
    """Return the verdict on a set of facts.

    ``leak``: a fact that nothing in the picture can cause depends on the class; ``differs``: a fact that the picture
    causes does; ``slight``: the difference is certain but at most TOLERATED_AUC; ``no difference``: all facts are
    equal, or none was found, an AUC of LARGEST_AUC would have been, and no AUC may be larger than that;
    ``cannot tell``: none was found, and there are too few videos to say that there is none.
    """
    found = score.separation
    if significant:
        largest = max(found.auc, found.pair_auc or 0.5)
        return SLIGHT if largest <= TOLERATED_AUC else LEAK if facts in LEAKING else DIFFERS
    limits = [limit for limit in (found.detectable_auc, found.auc_limit) if limit is not None]
    return NO_DIFFERENCE if max(limits, default=0.5) <= LARGEST_AUC else CANNOT_TELL


@lru_cache(maxsize=2)
def _permutations(labels: tuple[int, ...], people: tuple[str, ...], count: int, seed: int) -> NDArray[np.uint8]:
    """Return permutations of the labels; the sets of facts of a quality share them."""
    return permuted_labels(labels, people, count, seed_from(seed, "audit") % 2**32)


def _with_verdicts(found: Sequence[tuple[Row, AuditScore | None]]) -> list[Row]:
    """Return the rows of the table; leaks are adjusted for the number of leaking sets, others for theirs."""
    adjusted: dict[int, float] = {}
    for leaking in (True, False):
        at = [n for n, (head, score) in enumerate(found) if score and (head["facts"] in LEAKING) == leaking]
        scores = [found[n][1] for n in at]
        p_values = holm([score.separation.p for score in scores if score])
        adjusted |= {number: p for number, p in zip(at, p_values, strict=True) if p is not None}
    rows = []
    for number, (head, score) in enumerate(found):
        if score is None:
            rows.append({**dict.fromkeys(COLUMNS), **head, "verdict": CANNOT_TELL})
            continue
        one = score.separation
        rows.append(
            {
                **head,
                "verdict": verdict(head["facts"], score, adjusted[number] <= ALPHA),
                "fact": score.fact,
                "auc": one.auc,
                "pair_auc": one.pair_auc,
                "p": adjusted[number],
                "detectable_auc": one.detectable_auc,
                "auc_limit": one.auc_limit,
                "forest_auc": score.forest_auc,
                "telling": score.telling,
            }
        )
    return rows


def _forest_scores(
    features: np.ndarray, target: np.ndarray, people: Sequence[str], folds: int, seed: int
) -> np.ndarray:
    """Return the out-of-fold scores (N,) of a random forest."""
    fold = fold_of_people(people, min(folds, len(set(people))), seed)
    number_of = np.array([fold[person] for person in people])
    scores = np.full(len(target), 0.5)
    for number in sorted(set(number_of.tolist())):
        train, test = number_of != number, number_of == number
        if len(set(target[train])) == 2:
            # Balanced: a fold with more fakes leaves fewer in its training set, which would push the AUC below chance.
            forest = RandomForestClassifier(
                _TREES, min_samples_leaf=3, class_weight="balanced", random_state=seed % 2**32
            )
            scores[test] = forest.fit(features[train], target[train]).predict_proba(features[test])[:, 1]
    return scores


def _feature_matrix(facts: Mapping[str, Column]) -> tuple[list[str], np.ndarray]:
    """Return names and columns of the facts that vary: numbers as they are, categories one-hot encoded.

    What is unknown of a video takes the median of the others, which speaks for neither class.
    """
    names, columns, count = [], [], 0
    for name, values in facts.items():
        count = len(values)
        if isinstance(values[0], str):
            texts, code = np.unique(np.asarray(values, object), return_inverse=True)
            for number in range(1, len(texts)):  # the first is implied by the others
                names.append(name)
                columns.append((code == number).astype(float))
        else:
            column = np.asarray(values, dtype=float)
            if np.isnan(column).all():
                continue
            names.append(name)
            columns.append(np.where(np.isnan(column), np.nanmedian(column), column))
    kept = [at for at, column in enumerate(columns) if np.ptp(column) > 0]
    return [names[at] for at in kept], np.array([columns[at] for at in kept]).T.reshape(count, len(kept))


def _auc(target: np.ndarray, column: np.ndarray) -> float:
    auc = float(roc_auc_score(target, column))
    return max(auc, 1 - auc)


def _best_quality(videos: pa.Table) -> str:
    """Return the quality with the most bytes, the first of equal ones."""
    sums = videos.group_by("quality", use_threads=False).aggregate([("bytes", "sum")])
    return str(sums["quality"][int(np.argmax(pc.fill_null(sums["bytes_sum"], 0).to_numpy()))])


def _facts_of(paths: Sequence[Path], quality: str, kind: str, videos: pa.ChunkedArray) -> dict[str, Column] | None:
    """Return a set of facts of the videos of a quality, in their order; None if those of a video are unknown.

    Raises: ValueError for a video that is in no table.
    """
    columns = {f"{kind}: {name}": name for name in SETS[kind]}
    tables = [read_table(path, ["video_id", *columns], [("quality", "=", quality)]) for path in paths]
    table = pa.concat_tables(tables)
    at = pc.index_in(videos, table["video_id"].combine_chunks())
    if at.null_count:
        missing = videos.filter(pc.is_null(at))
        raise ValueError(f"{len(missing)} videos at {quality} have no facts, e.g. {missing[0]}; run clip_facts again")
    table = table.select(list(columns)).take(at)
    if any(column.null_count for column in table.columns):
        return None
    return {name: table[column].to_numpy() for column, name in columns.items()}


def _traces(rows: Sequence[Row], most: int, seed: int) -> Iterator[tuple[Row, dict[str, Fact]]]:
    """Yield the traces of the videos of randomly chosen sources, until ``most`` are reached."""
    sources: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        sources[row["source_id"]].append(row)
    left = most
    for name in sorted(sources, key=lambda name: seed_from(seed, "traces", name)):
        if left <= 0:
            return
        reals = [row for row in sources[name] if row["label"] == 0]
        fakes = [row for row in sources[name] if row["label"] == 1]
        yield from traces_of_source(reals[0] if reals else None, fakes)
        left -= len(sources[name])
