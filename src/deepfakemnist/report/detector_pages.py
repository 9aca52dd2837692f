"""The protocols of the paper and of the field as tables: one page, the paper's figures beside ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfakemnist.config.base import ACTIONS, MIXED
from deepfakemnist.config.detectors import parse_training_set
from deepfakemnist.report.pages import Table, read_tsv, write_page
from deepfakemnist.report.paper import ORIGINAL, paper_accuracy, paper_action_accuracy

Cells = dict[str, str]

_INTRO = (
    "Percent, over the test split; frame level unless a title says video. In brackets: the 95 % interval from "
    "resampling people, or ± the standard deviation over training seeds where there are several. Behind a slash: the "
    "paper's figure (arXiv 2108.07949), of its own 20,000 videos and comparable only with a run of that size. "
    "A dash: not measured."
)


@dataclass(frozen=True)
class Results:
    """Rows of the evaluation's tables, of the test split.

    Args:
        whole: metrics.tsv.
        actions: actions.tsv.
        groups: groups.tsv.
        others: metrics of other datasets and of perturbed frames; tested_on is ``name:quality``, or
            ``quality+perturbation`` and its level.
    """

    whole: list[Cells]
    actions: list[Cells]
    groups: list[Cells]
    others: list[Cells]


def write_protocols_page(
    metrics: Path, actions: Path, groups: Path | None, others: Sequence[Path], protocols: Iterable[str], path: Path
) -> None:
    """Write a table or several for every protocol.

    Args:
        metrics, actions, groups: tables of the evaluation; groups may be None.
        others: metrics of other datasets and of perturbed frames.
        protocols: names in detector_settings.PROTOCOLS, in the order wanted.
        path: page to write.
    """
    results = Results(
        _test_rows([metrics]), _test_rows([actions]), _test_rows([groups] if groups else []), _test_rows(others)
    )
    tables = [table for protocol in protocols for table in _PROTOCOLS[protocol](results)]
    write_page(path, "Protocols", _INTRO, tables)


def cell(rows: Sequence[Cells], name: str, paper: float | None = None) -> str:
    """Return a metric as ``94.3 [91.0–97.1] / 94.32``: value, interval or deviation, the paper's figure.

    Args:
        rows: those of one measurement: a seed each, and mean and sd where there are several seeds.
        name: column.
        paper: percent; None where the paper has none.
    """
    by_seed = {row["seed"]: row for row in rows}
    row = by_seed.get("mean") or (rows[0] if rows else None)
    if row is None or not row[name]:
        text = "–"
    else:
        text = f"{100 * float(row[name]):.1f}"
        if "sd" in by_seed and by_seed["sd"][name]:
            text += f" ± {100 * float(by_seed['sd'][name]):.1f}"
        elif row.get(f"{name}_low") and row.get(f"{name}_high"):
            text += f" [{100 * float(row[f'{name}_low']):.1f}–{100 * float(row[f'{name}_high']):.1f}]"
    return text if paper is None else f"{text} / {paper:.2f}"


def _quality(results: Results) -> list[Table]:
    """Detector × quality, trained and tested on the same."""
    detectors, qualities = _detectors(results.whole), _qualities(results.whole)
    tables = []
    measured = (
        ("accuracy", "frame", "accuracy"),
        # The paper's classes are equal in number; where a user's are not, plain accuracy flatters a constant answer.
        ("balanced accuracy", "frame", "balanced_accuracy"),
        ("AUC of videos", "video", "auc"),
    )
    for title, level, name in measured:
        rows = []
        for detector in detectors:
            cells = []
            for quality in qualities:
                paper = paper_accuracy(detector, quality, quality) if name == "accuracy" else None
                found = _find(results.whole, level, detector=detector, trained_on=quality, tested_on=quality)
                cells.append(cell(found, name, paper))
            rows.append([detector, *cells])
        tables.append(Table(f"1. Detector × quality: {title}", ("detector", *qualities), rows))
    return tables


def _cross_quality(results: Results) -> list[Table]:
    """Quality trained on × quality tested on, a table for each detector."""
    return [
        _grid(f"2. Trained on (rows) × tested on (columns): accuracy of {detector}", results, detector, qualities)
        for detector in _detectors(results.whole)
        if (qualities := [name for name in _qualities(results.whole) if name in _trained(results.whole)])
    ]


def _mixed(results: Results) -> list[Table]:
    """Trained on all qualities together."""
    qualities = _qualities(results.whole)
    rows = []
    for detector in _detectors(results.whole):
        found = {
            quality: _find(results.whole, "frame", detector=detector, trained_on=MIXED, tested_on=quality)
            for quality in qualities
        }
        if any(found.values()):
            papers = {quality: paper_accuracy(detector, MIXED, quality) for quality in qualities}
            rows.append([detector, *(cell(found[name], "accuracy", papers[name]) for name in qualities)])
    return [Table("3. Trained on all qualities together: accuracy", ("detector", *qualities), rows)]


def _train_on_action(results: Results) -> list[Table]:
    """Trained on the fakes of one action, or of all but one; tested on each."""
    tables = []
    actions = _actions(results)
    for detector in _detectors(results.whole):
        for kind, title in (("only", "of one action only"), ("without", "of all actions but one")):
            rows = []
            for name in _trained(results.whole):
                chosen = parse_training_set(name)
                if (action := getattr(chosen, kind)) is None:
                    continue
                tested = _qualities(results.whole) if chosen.quality == MIXED else [chosen.quality]
                for quality in tested:
                    where = {"detector": detector, "trained_on": name, "tested_on": quality}
                    whole = _find(results.whole, "frame", **where)
                    if not whole:
                        continue
                    each = [
                        cell(_find(results.actions, "frame", **where, action=other), "balanced_accuracy")
                        for other in actions
                    ]
                    paper = paper_accuracy(detector, name, quality)
                    rows.append([action, quality, cell(whole, "accuracy", paper), *each])
            if rows:
                columns = ("action", "quality", "all: accuracy", *actions)
                title = f"4. {detector} trained on fakes {title} (rows), tested on each: balanced accuracy"
                tables.append(Table(title, columns, rows))
    return tables or [Table("4. Trained on the fakes of one action, or of all but one", ("action",), [])]


def _per_action(results: Results) -> list[Table]:
    """Share of each action's fakes and of the reals that is called right, at each quality.

    An action that left no fake to test has its column too, of dashes: few accepted fakes are a result.
    """
    actions = [*ACTIONS, *(action for action in _actions(results) if action not in ACTIONS)]
    rows = []
    for detector in _detectors(results.whole):
        for quality in _qualities(results.whole):
            where = {"detector": detector, "trained_on": quality, "tested_on": quality}
            if not (whole := _find(results.whole, "frame", **where)):
                continue
            each = [
                cell(_find(results.actions, "frame", **where, action=action), "fake_accuracy") for action in actions
            ]
            rows.append([detector, quality, *each, cell(whole, "real_accuracy")])
    for quality in _qualities(results.whole):
        papers = [paper_action_accuracy(quality, action) for action in (*actions, ORIGINAL)]
        if any(value is not None for value in papers):
            rows.append(["the paper's", quality, *("–" if value is None else f"{value:.1f}" for value in papers)])
    return [Table("5. Called right, by action", ("detector", "quality", *actions, "reals"), rows)]


def _grid(title: str, results: Results, detector: str, qualities: Sequence[str]) -> Table:
    rows = []
    for trained in qualities:
        cells = []
        for tested in _qualities(results.whole):
            found = _find(results.whole, "frame", detector=detector, trained_on=trained, tested_on=tested)
            cells.append(cell(found, "accuracy", paper_accuracy(detector, trained, tested)))
        rows.append([trained, *cells])
    return Table(title, ("trained on", *_qualities(results.whole)), rows)


def _groups(title: str, kinds: Callable[[str], bool]) -> Callable[[Results], list[Table]]:
    """Return a protocol that lists video-level rows of some groups."""

    def tables(results: Results) -> list[Table]:
        keys = dict.fromkeys(
            tuple(row[name] for name in ("detector", "trained_on", "tested_on", "group", "value"))
            for row in results.groups
            if kinds(row["group"])
        )
        rows = []
        for key in keys:
            names = dict(zip(("detector", "trained_on", "tested_on", "group", "value"), key, strict=True))
            found = _find(results.groups, "video", **names)
            measured = [cell(found, name) for name in ("accuracy", "auc")]
            rows.append([*key, *measured, found[0]["n_videos"], found[0]["n_people"]])
        columns = ("detector", "trained on", "tested on", "group", "value", "accuracy", "AUC", "videos", "people")
        return [Table(f"{title} (videos)", columns, rows)]

    return tables


def _others(title: str, sign: str) -> Callable[[Results], list[Table]]:
    """Return a protocol over results whose ``tested_on`` holds a sign: ':' of datasets, '+' of perturbations."""

    def tables(results: Results) -> list[Table]:
        wanted = [row for row in results.others if sign in row["tested_on"]]
        tested = list(dict.fromkeys(row["tested_on"] for row in wanted))
        keys = dict.fromkeys((row["detector"], row["trained_on"]) for row in wanted)
        found = []
        for level, name, title_of in (("frame", "accuracy", "accuracy"), ("video", "auc", "AUC of videos")):
            rows = [
                [
                    *key,
                    *(
                        cell(_find(wanted, level, detector=key[0], trained_on=key[1], tested_on=t), name)
                        for t in tested
                    ),
                ]
                for key in keys
            ]
            found.append(Table(f"{title}: {title_of}", ("detector", "trained on", *tested), rows))
        return found

    return tables


_PROTOCOLS: dict[str, Callable[[Results], list[Table]]] = {
    "quality": _quality,
    "cross_quality": _cross_quality,
    "mixed": _mixed,
    "train_on_action": _train_on_action,
    "per_action": _per_action,
    "drivers": _groups("6. Drivers that train has seen, and others", lambda group: group == "driver"),
    "datasets": _others("7, 8. Other animators and other datasets", ":"),
    "robustness": _others("9. Perturbed frames", "+"),
    "subgroups": _groups("10. Subgroups", lambda group: group != "driver"),
}


def _test_rows(paths: Iterable[Path]) -> list[Cells]:
    return [row for path in paths for row in read_tsv(path) if row["split"] == "test"]


def _find(rows: Sequence[Cells], level: str, **wanted: str) -> list[Cells]:
    return [row for row in rows if row["level"] == level and all(row[name] == value for name, value in wanted.items())]


def _detectors(rows: Sequence[Cells]) -> list[str]:
    return sorted({row["detector"] for row in rows})


def _trained(rows: Sequence[Cells]) -> list[str]:
    return list(dict.fromkeys(row["trained_on"] for row in rows))


def _qualities(rows: Sequence[Cells]) -> list[str]:
    """Return the qualities tested on, raw first."""
    return sorted({row["tested_on"] for row in rows}, key=lambda name: (name != "raw", name))


def _actions(results: Results) -> list[str]:
    return sorted({row["action"] for row in results.actions})
