"""Tables of docs/statistics.md from the results of the coverage simulation, interval_coverage.json."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]


def markdown(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table."""
    lines = [list(columns), *(list(row) for row in rows)]
    texts = [f"| {' | '.join(map(str, line))} |" for line in lines]
    return "\n".join([texts[0], "|" + "---|" * len(lines[0]), *texts[1:]])


def distinct(rows: Iterable[Row], column: str) -> list[Any]:
    """Return the values of a column in order of appearance."""
    return list(dict.fromkeys(row[column] for row in rows))


def spread(rows: Iterable[Row], column: str = "coverage") -> str:
    """Return the least and greatest value of a column, as ``93–97``; rounded to whole percent."""
    values = [float(row[column]) for row in rows]
    ends = [f"{value:.0f}" for value in (min(values), max(values))]
    return "–".join(dict.fromkeys(ends))


def tables(results: dict[str, list[Row]]) -> dict[str, str]:
    """Return the tables of docs/statistics.md by name."""
    of_people, of_drivers = results["people"], results["drivers"]
    populations, people_counts, aucs = (distinct(of_people, name) for name in ("population", "people", "auc"))
    first, counts = populations[0], [people for people in people_counts if people >= 10]
    titles = {"auc": "AUC", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}
    titles |= {"tpr_at_fpr_1": "TPR at FPR 1 %", "tpr_at_fpr_5": "TPR at FPR 5 %"}

    def chosen(rows: list[Row], **wanted: object) -> list[Row]:
        return [row for row in rows if all(row[name] == value for name, value in wanted.items())]

    def by_metric(rows: list[Row]) -> list[str]:
        return [spread(chosen(rows, metric=name)) for name in titles]

    people_rows = []
    for people in people_counts:
        for method in ("percentile bootstrap", "project"):
            shown = "project, not reported" if method == "project" and people < 10 else method
            people_rows.append(
                [people, shown, *by_metric(chosen(of_people, population=first, people=people, method=method))]
            )
    auc_rows = [
        [
            people,
            name.removesuffix(" a person"),
            *(
                f"{row['coverage']:.1f}"
                for row in chosen(of_people, population=name, people=people, method="project", metric="auc")
            ),
        ]
        for people in counts
        for name in populations
    ]
    other_rows = [
        [people, name, *by_metric(chosen(of_people, population=name, people=people, method="project"))]
        for name in populations[1:]
        for people in counts
    ]
    width_rows = [
        [
            people,
            titles[metric],
            *(
                f"{100 * row['width']:.0f}"
                for row in chosen(of_people, population=first, people=people, method="project", metric=metric)
            ),
        ]
        for metric in ("auc", "tpr_at_fpr_1", "tpr_at_fpr_5")
        for people in counts
    ]
    driver_rows = [
        [
            people,
            drivers,
            f"clusters of {method}",
            *by_metric(chosen(of_drivers, people=people, drivers=drivers, method=method)),
        ]
        for people, drivers in dict.fromkeys((row["people"], row["drivers"]) for row in of_drivers)
        for method in ("people", "people and drivers")
    ]
    seed_rows = [
        [people, f"{method}", *by_metric(chosen(results["seeds"], people=people, method=method))]
        for people in distinct(results["seeds"], "people")
        for method in ("one seed", "three seeds")
    ]
    test_rows = []
    keys = dict.fromkeys((row["people"], row["drivers"], row["seeds"]) for row in results["tests"])
    for people, drivers, seeds in keys:
        cell = chosen(results["tests"], people=people, drivers=drivers, seeds=seeds)
        texts = [
            spread(chosen(cell, method=method, metric=metric), "rejected")
            for method, metric in (
                ("percentile bootstrap", "auc"),
                ("sign flip over people", "accuracy"),
                ("project", "auc"),
                ("project", "accuracy"),
            )
        ]
        test_rows.append([people, drivers or "–", seeds, *texts])
    names = [titles[name] for name in titles]
    auc_titles = [f"AUC {auc:g}" for auc in aucs]
    return {
        "people": markdown(["people", "intervals", *names], people_rows),
        "auc": markdown(["people", "clips of each", *auc_titles], auc_rows),
        "populations": markdown(["people", "clips of each", *names], other_rows),
        "widths": markdown(["people", "metric", *auc_titles], width_rows),
        "drivers": markdown(["people", "drivers", "intervals", *names], driver_rows),
        "seeds": markdown(["people", "interval of", *names], seed_rows),
        "tests": markdown(
            [
                "people",
                "drivers",
                "seeds",
                "bootstrap, AUC",
                "sign flip, accuracy",
                "project, AUC",
                "project, accuracy",
            ],
            test_rows,
        ),
    }


def with_tables(text: str, results: dict[str, list[Row]]) -> str:
    """Return the page with every table, between ``<!-- NAME -->`` and ``<!-- end -->``, as measured."""
    for name, table in tables(results).items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text, found = re.subn(
            pattern, lambda match, table=table: f"{match[1]}\n{table}\n\n{match[2]}", text, flags=re.S
        )
        if found != 1:
            raise ValueError(f"the page has {found} places for table {name}")
    return text
