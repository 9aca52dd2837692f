"""Analysis of a human study: accuracy, hit and false alarm rate, d' and AUC, of each participant and of all.

Participants and clips are both samples, so the intervals of all hold for new participants and new clips (two-way
clustering). d' takes the log-linear correction (Hautus 1995), which is defined for perfect answers too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from deepfakemnist.errors import ConfigError
from deepfakemnist.evaluation import metrics
from deepfakemnist.evaluation.clusters import MIN_CLUSTERS, ClusterSums
from deepfakemnist.evaluation.intervals import NO_INTERVAL, Interval, logit_interval
from deepfakemnist.human_study.sheet import KEY_COLUMNS, RATINGS
from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import Lines, write_tsv

ALL = "all"
COLUMNS = (
    "participant", "accuracy", "accuracy_low", "accuracy_high", "hits", "hits_low", "hits_high", "false_alarms",
    "false_alarms_low", "false_alarms_high", "d_prime", "auc", "clips", "participants",
)  # fmt: skip
ACTION_COLUMNS = ("action", "hits", "hits_low", "hits_high", "clips", "participants")
_NEEDED = ("participant", "clip", "rating")
_FAKE_FROM = 4


@dataclass(frozen=True)
class Answers:
    """Ratings of clips by participants (N answers)."""

    participant: NDArray[np.str_]
    clip: NDArray[np.str_]
    rating: NDArray[np.float64]
    label: NDArray[np.int64]
    action: NDArray[np.str_]

    def of(self, chosen: NDArray[np.bool_]) -> Answers:
        """Return some of the answers."""
        return Answers(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    @property
    def says_fake(self) -> NDArray[np.bool_]:
        """Whether the rating takes the clip for a fake (N,)."""
        return self.rating >= _FAKE_FROM


def read_answers(key: Path, answers: Sequence[Path]) -> Answers:
    """Read the answers of all participants.

    Args:
        key: key.tsv of the study.
        answers: saved by the form; further columns are not read.

    Raises: ConfigError for a table that is no key or no answers, an unknown clip, a rating that is none, a clip that a
        participant rated twice, and one that a participant did not rate.
    """
    lines = Lines(key, "key of the study")
    if missing := [name for name in KEY_COLUMNS if name not in lines.columns]:
        raise ConfigError(f"{key}: has no column {', '.join(missing)}; give the key.tsv of the study")
    clips = {row["clip"]: row for _, row in lines}
    found: dict[tuple[str, str], float] = {}
    for path in answers:
        table = Lines(path, "answers")
        if missing := [name for name in _NEEDED if name not in table.columns]:
            raise ConfigError(f"{path}: has no column {', '.join(missing)}; give the files that the form saves")
        for number, row in table:
            where = f"{path} line {number}"
            if row["clip"] not in clips:
                raise ConfigError(f"{where}: {row['clip']!a} is no clip of {key}; does the file belong to this study?")
            if row["rating"] not in map(str, RATINGS):
                raise ConfigError(f"{where}: rating {row['rating']!a}; allowed are 1 (surely real) to 6 (surely fake)")
            name = (row["participant"], row["clip"])
            if name in found:
                raise ConfigError(f"{where}: {name[0]!a} has already rated {name[1]}; is a file given twice?")
            found[name] = float(row["rating"])
    for participant in sorted({name for name, _ in found}):
        if left := sorted(clip for clip in clips if (participant, clip) not in found):
            raise ConfigError(
                f"{participant!a} rated {len(clips) - len(left)} of {len(clips)} clips; the first of the others is "
                f"{left[0]}. Have the form finished, or leave the file out"
            )
    if not found:
        raise ConfigError("there are no answers to analyse")
    names = sorted(found)
    return Answers(
        np.array([participant for participant, _ in names]),
        np.array([clip for _, clip in names]),
        np.array([found[name] for name in names]),
        np.array([int(clips[clip]["label"]) for _, clip in names]),
        np.array([clips[clip]["action"] for _, clip in names]),
    )


def analyse(answers: Answers) -> tuple[list[Row], list[Row]]:
    """Return the results of each participant and of all (COLUMNS), and of the fakes of each action (ACTION_COLUMNS)."""
    people = [_row(name, answers.of(answers.participant == name)) for name in np.unique(answers.participant)]
    whole = _row(ALL, answers)
    # d' and AUC of pooled ratings would mix participants who use the scale differently.
    whole |= {name: float(np.mean([row[name] for row in people])) for name in ("d_prime", "auc")}
    fakes = answers.of(answers.label == 1)
    by_action = []
    for action in sorted(set(fakes.action.tolist())):
        of = fakes.of(fakes.action == action)
        value, interval = _rate(of.says_fake, of)
        by_action.append(
            {
                "action": action,
                "hits": value,
                "hits_low": interval.low,
                "hits_high": interval.high,
                "clips": len(np.unique(of.clip)),
                "participants": len(np.unique(of.participant)),
            }
        )
    return [*people, whole], by_action


def write_analysis(key: Path, answers: Sequence[Path], out: Path) -> tuple[list[Row], list[Row]]:
    """Write ``participants.tsv`` and ``actions.tsv`` to ``out``; return their rows.

    Raises: see :func:`read_answers`.
    """
    rows, by_action = analyse(read_answers(key, answers))
    write_tsv(out / "participants.tsv", COLUMNS, rows)
    write_tsv(out / "actions.tsv", ACTION_COLUMNS, by_action)
    return rows, by_action


def d_prime(hits: int, fakes: int, false_alarms: int, reals: int) -> float:
    """Return the sensitivity d' = z(hit rate) - z(false alarm rate) with the log-linear correction."""
    rates = [(hits + 0.5) / (fakes + 1), (false_alarms + 0.5) / (reals + 1)]
    return float(norm.ppf(rates[0]) - norm.ppf(rates[1]))


def _row(participant: str, answers: Answers) -> Row:
    fake = answers.label == 1
    says = answers.says_fake
    parts = {
        "accuracy": (says == fake, answers),
        "hits": (says[fake], answers.of(fake)),
        "false_alarms": (says[~fake], answers.of(~fake)),
    }
    row: Row = {"participant": participant}
    for name, (values, of) in parts.items():
        value, interval = _rate(values, of)
        row |= {name: value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {
        **row,
        "d_prime": d_prime(int(says[fake].sum()), int(fake.sum()), int(says[~fake].sum()), int((~fake).sum())),
        "auc": metrics.auc(answers.label, answers.rating),
        "clips": len(np.unique(answers.clip)),
        "participants": len(np.unique(answers.participant)),
    }


def _rate(values: NDArray[np.bool_], answers: Answers) -> tuple[float, Interval]:
    """Return a share and its interval for new participants and clips; of one participant for new clips."""
    share = float(values.mean())
    influence = (values - share) / len(values)
    people, clips = (np.unique(names, return_inverse=True)[1] for names in (answers.participant, answers.clip))
    counts = people.max() + 1, clips.max() + 1
    of_people, of_clips = (np.bincount(codes, influence).astype(np.float64) for codes in (people, clips))
    none = np.empty(0)
    if counts[1] < MIN_CLUSTERS or (1 < counts[0] < MIN_CLUSTERS):
        return share, NO_INTERVAL
    if counts[0] == 1:
        variance = ClusterSums(of_clips, none, none, int(counts[1])).variance()
        return share, logit_interval(share, variance, int(counts[1]))
    # Every participant rates every clip once, so a pair of both is one answer.
    variance = ClusterSums(of_people, of_clips, influence, int(counts[0])).variance()
    return share, logit_interval(share, variance, int(min(counts)))
