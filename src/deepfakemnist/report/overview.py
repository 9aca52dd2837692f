"""Facts of the report's front page: videos kept and lost by stage, contents of the dataset, and warnings."""

from __future__ import annotations

import html
import platform
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from deepfakemnist.config.base import SPLITS
from deepfakemnist.config.training_sets import TrainingSet, parse_training_set
from deepfakemnist.dataset.audit_statement import leak_message as audit_leak
from deepfakemnist.dataset.identity_findings import LEAK, leak_message
from deepfakemnist.errors import ConfigError
from deepfakemnist.evaluation.clusters import MIN_CLUSTERS
from deepfakemnist.planning.rounds import FULL
from deepfakemnist.report.losses import losses_by_action
from deepfakemnist.tables.files import distinct_values, read_rows
from deepfakemnist.tables.schemas import OK, Row

Cells = Mapping[str, str]

#: Stages that items of a kind pass, in order.
_STAGES = {
    "source": ("ingest", "crop", "compress", "select", "frames"),
    "fake": ("plan", "animate", "select", "compress", "frames"),
}
_RELEASED_STAGES = dict.fromkeys(_STAGES, ("import_released", "compress", "frames"))
#: What an item has become that has passed the stage.
_BECOMES = {
    ("source", "ingest"): "readable videos",
    ("source", "crop"): "face crops",
    ("source", "import_released"): "imported reals",
    ("source", "frames"): "reals in the dataset",
    ("fake", "plan"): "fakes with a usable source and driver",
    ("fake", "animate"): "fakes animated",
    ("fake", "select"): "fakes accepted",
    ("fake", "import_released"): "imported fakes",
    ("fake", "frames"): "fakes in the dataset",
}
_START = {"source": "source videos", "fake": "fakes planned"}


@dataclass(frozen=True)
class Step:
    """A stage of the funnel.

    Args:
        kind: source or fake.
        name: what its items are, such as ``face crops``.
        kept: items that passed it.
        lost: (status, reason) → items that ended there.
    """

    kind: str
    name: str
    kept: int
    lost: Mapping[tuple[str, str], int]


def funnel(ledger: Sequence[Row], is_released: bool = False) -> list[Step]:
    """Return the steps from listed sources, and from planned fakes, to the dataset.

    Args:
        ledger: rows with kind, stage, status and reason; one per item, of the last stage that it reached.
        is_released: the clips were imported from a published tree.
    """
    steps = []
    for kind, order in (_RELEASED_STAGES if is_released else _STAGES).items():
        items = [row for row in ledger if row["kind"] == kind]
        if not items:
            continue
        lost_at: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        for row in items:
            if row["status"] != OK:
                lost_at[row["stage"]][row["status"], row["reason"]] += 1
        left = len(items)
        steps.append(Step(kind, _START[kind], left, {}))
        # Refused lines of a sheet end before the first stage.
        for stage in (*sorted(lost_at.keys() - set(order)), *order):
            lost = lost_at[stage]
            left -= sum(lost.values())
            if lost or (kind, stage) in _BECOMES:
                steps.append(Step(kind, _BECOMES.get((kind, stage), f"{kind}s left after {stage}"), left, lost))
    return steps


@dataclass(frozen=True)
class Contents:
    """What the manifest holds, counted at one quality; sizes at each.

    Args:
        videos: (split, label) → videos; label 0 is real, 1 fake.
        people: split → people; "" → all.
        class_people: (split, label) → people.
        actions: (animator, action) → fakes.
        seconds: label → length of all videos together.
        bytes_of: quality → bytes of all videos, in the manifest's order of qualities.
    """

    videos: Mapping[tuple[str, int], int]
    people: Mapping[str, int]
    class_people: Mapping[tuple[str, int], int]
    actions: Mapping[tuple[str, str], int]
    seconds: Mapping[int, float]
    bytes_of: Mapping[str, int]

    def count(self, label: int) -> int:
        """Return the videos of a class."""
        return sum(number for (_, one), number in self.videos.items() if one == label)


def contents(videos: Path) -> Contents:
    """Return what videos.parquet of a manifest holds."""
    columns = ["label", "quality", "split", "action", "animator", "person_id", "frames", "fps", "bytes"]
    table = pq.read_table(videos, columns=columns)
    qualities = list(dict.fromkeys(table["quality"].to_pylist()))
    sizes = dict.fromkeys(qualities, 0)
    for row in table.group_by("quality").aggregate([("bytes", "sum")]).to_pylist():
        sizes[row["quality"]] = row["bytes_sum"] or 0
    one = table.filter(pc.equal(table["quality"], qualities[0])) if qualities else table
    counts: Counter[tuple[str, int]] = Counter()
    people: dict[str, set[str]] = defaultdict(set)
    class_people: dict[tuple[str, int], set[str]] = defaultdict(set)
    actions: Counter[tuple[str, str]] = Counter()
    seconds: dict[int, float] = defaultdict(float)
    for row in one.to_pylist():
        split, label = row["split"], row["label"]
        counts[split, label] += 1
        seconds[label] += (row["frames"] or 0) / (row["fps"] or 25.0)
        if label:
            actions[row["animator"] or "", row["action"] or ""] += 1
        if row["person_id"]:
            for where in (split, ""):
                people[where].add(row["person_id"])
            class_people[split, label].add(row["person_id"])
    return Contents(
        counts,
        {name: len(found) for name, found in people.items()},
        {key: len(found) for key, found in class_people.items()},
        actions,
        seconds,
        sizes,
    )


@dataclass(frozen=True)
class Ranked:
    """A detector's AUC on the videos of the test split, at the quality that it was trained on."""

    detector: str
    quality: str
    row: Cells

    @property
    def auc(self) -> float:
        """Area under the ROC curve, 0 to 1, mean over seeds."""
        return float(self.row["auc"])


def ranking(metrics: Iterable[Cells]) -> list[Ranked]:
    """Return detectors by falling AUC of video-level scores on test, trained on the tested quality without restriction.

    Args:
        metrics: rows of metrics.tsv.
    """
    found: dict[tuple[str, str], Cells] = {}
    for row in metrics:
        trained, tested = row["trained_on"], row["tested_on"]
        if (row["split"], row["level"], trained) != ("test", "video", tested) or not row["auc"] or row["seed"] == "sd":
            continue
        if parse_training_set(trained) != TrainingSet(trained):
            continue
        key = (row["detector"], tested)
        if key not in found or row["seed"] == "mean":
            found[key] = row
    return sorted((Ranked(*key, row) for key, row in found.items()), key=lambda one: -one.auc)


def warnings(
    *,
    contents: Contents,
    ledger: Sequence[Row],
    actions: Sequence[str],
    findings: Sequence[Row],
    audit: Sequence[Row],
    quota: Sequence[Cells],
    simulated: Sequence[str],
    has_vendors: bool,
) -> list[str]:
    """Return what a reader must know before believing a number, the gravest first.

    Args:
        contents: of the dataset.
        ledger: rows of ledger.parquet.
        actions: actions of the config.
        findings: rows of the identity audit.
        audit: rows of the confound audit.
        quota: rows of quota.tsv; empty without quota.
        simulated: liveness vendors that were asked on this machine.
        has_vendors: whether any commercial liveness service is configured.
    """
    said = []
    if message := leak_message([row for row in findings if row["verdict"] == LEAK]):
        said.append(f"Identity leak: {message}")
    if message := audit_leak(audit):
        said.append(f"Confound: {message}.")
    people = [contents.class_people.get(("test", label), 0) for label in (0, 1)]
    if contents.people and min(people) < MIN_CLUSTERS:
        said.append(
            f"The test split has reals of {_people(people[0])} and fakes of {_people(people[1])}; below {MIN_CLUSTERS} "
            "no confidence interval can be given, and no metric says how a detector does on other people."
        )
    empty = [split for split in SPLITS if not any(contents.videos.get((split, label)) for label in (0, 1))]
    if empty:
        said.append(f"Nobody is in {' and '.join(empty)}.")
    short = [row for row in quota if row["ended"] != FULL]
    if short:
        said.append(
            "Quota not met: " + ", ".join(f"{row['action']} {row['kept']} of {row['wanted']}" for row in short) + "."
        )
    losses = losses_by_action(ledger)
    for action in actions:
        if not sum(count for (_, one), count in contents.actions.items() if one == action):
            ended = losses[action].most_common()
            why = ", ".join(f"{count} {stage}: {reason}" for (stage, reason), count in ended)
            said.append(f"No fake of the action {action} is in the dataset ({why or 'none was planned'}).")
    if simulated:
        said.append(
            f"The answers of {' and '.join(simulated)} are from a simulator on this machine, not from the vendor: "
            "acceptance says nothing about the real service."
        )
    elif not has_vendors and any(row["kind"] == "fake" and row["stage"] != "import_released" for row in ledger):
        said.append("No commercial liveness service was asked; fakes were accepted by local checks only.")
    failed = sum(row["status"] == "failed" for row in ledger)
    if failed:
        said.append(f"{failed} of {len(ledger)} items failed with an error; the ledger says which and why.")
    return said


def _people(count: int) -> str:
    return f"{count} {'person' if count == 1 else 'people'}"


def read_ledger(path: Path) -> list[Row]:
    """Return of each item of ledger.parquet what the front page needs."""
    return read_rows(path, ["kind", "action", "stage", "status", "reason"])


def described_pages(paths: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return file name, title and first sentence of each HTML page among the files of a report.

    Raises: ConfigError for HTML that is none of :func:`deepfakemnist.report.pages.write_page`.
    """
    found = []
    for path in (Path(one) for one in paths if one.endswith(".html")):
        text = path.read_text(encoding="utf-8")
        title = re.search(r"<title>(.*?)</title>", text)
        lead = re.search(r'<p class="lead">(.*?)(?:[.:] |</p>)', text, re.DOTALL)
        if title is None or lead is None:
            raise ConfigError(f"{path} is no page of this version's report: delete it, and run the same command again")
        shows = " ".join(html.unescape(re.sub(r"<[^>]+>", "", lead[1])).split())
        found.append((path.name, html.unescape(title[1]), shows.removesuffix(".") + "."))
    return found


def config_text(config: Mapping[str, Any]) -> str:
    """Return the config as YAML, in its own order."""
    text: str = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=110)
    return text


def made_with(videos: Path, run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what made the run, as name and value: the given facts, installed versions, and those of the encoder.

    Args:
        videos: videos.parquet of the manifest.
        run: what only the workflow knows, such as seed and config; lists become one text.
    """
    facts = {**run, "Python": platform.python_version()}
    facts |= {name: version(name) for name in ("deepfakemnist", "snakemake", "torch", "torchvision", "av")}
    for name in ("ffmpeg_version", "encoder_version"):
        facts[name.replace("_", " ")] = [text for text in distinct_values(videos, name) if text]
    return [
        (name, "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
        for name, value in facts.items()
    ]
