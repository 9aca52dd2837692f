"""Stages after the shards at the size of whole datasets: CPU time and memory from synthetic tables, without media.

    python benchmarks/scale.py            every stage at every size, about 30 minutes; writes benchmarks/scale.json
    python benchmarks/scale.py manifest   one stage

Each stage runs in a process of its own, on tables of 2,000 to 200,000 videos, half of them fakes, at three qualities
with 32 frames; detectors score 16. Reported are CPU seconds and peak memory, libraries included, and the exponent by
which the time grows between the two largest sizes (1: linear). What reads a file per video is measured without that:
all rows of ``manifest`` and ``release`` name one small file, and each row one of its own in ``manifest_files`` and
``release_files``; the audit decodes no video, and ``clip_facts`` and sheets of pictures are left out. The audit's
figures are of one quality: it takes them one after the other.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from scale_tables import (
    QUALITIES,
    Clips,
    write_facts,
    write_identities,
    write_predictions,
    write_stages,
    write_verdicts,
    write_videos,
)

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.config.training_sets import expand

DETECTORS = ("efficientnet_b0", "meso4", "mesoinception4", "resnet101", "resnet152", "resnet50", "xception")
SEEDS = (0, 1, 2)
#: Of config/presets/paper.yaml.
PAPER_SETS = (
    "raw", "c23", "c40", "mixed", "raw-split-paper", "c23-split-paper", "c40-split-paper", "raw-only-each",
    "raw-without-each", "raw-by-driver",
)  # fmt: skip
FRAMES = 32


class Stage(NamedTuple):
    """A stage with its sizes, in videos but for those of a number of training sets."""

    prepare: Callable[[Path, int], None]
    run: Callable[[Path, int], None]
    sizes: tuple[int, ...]


def prepare_measure(folder: Path, videos: int) -> None:
    clips = Clips(videos)
    write_videos(folder, clips)
    for detector in DETECTORS:
        for seed in SEEDS:
            write_predictions(folder, clips, detector, "raw", seed)


def measure(folder: Path, videos: int, trained_on: str = "raw") -> None:
    from deepfakemnist.config.detectors import EvaluationSettings
    from deepfakemnist.evaluation.measured import write_measured
    from deepfakemnist.evaluation.training_set import measure_training_set

    predictions = sorted(folder.glob(f"*/{trained_on}/*/predictions.parquet"))
    settings = EvaluationSettings()
    table = folder / "manifest/videos.parquet"
    measured = measure_training_set(predictions, trained_on, settings, table, in_detail=True)
    write_measured(measured, folder / "measured" / f"{trained_on}.parquet")


def prepare_evaluate(folder: Path, sets: int) -> None:
    """Measure a training set of a small dataset, and take its rows for those of every set."""
    import pyarrow as pa

    from deepfakemnist.evaluation.measured import MEASURED
    from deepfakemnist.tables.files import read_table, write_table

    prepare_measure(folder, 1000)
    measure(folder, 1000)
    one = read_table(folder / "measured/raw.parquet")
    at = one.schema.get_field_index("trained_on")
    for name in expand(PAPER_SETS, ACTIONS, (), folds=5)[1:sets]:
        table = one.set_column(at, "trained_on", pa.array([name] * one.num_rows))
        write_table(table, folder / f"measured/{name}.parquet", MEASURED)


TABLES = ("metrics", "actions", "pairs", "groups", "unscored", "calibration", "curves")


def evaluate(folder: Path, sets: int) -> None:
    from deepfakemnist.evaluation.stage import join_training_sets

    join_training_sets(sorted((folder / "measured").iterdir()), {name: folder / f"{name}.tsv" for name in TABLES})


def prepare_metrics_pages(folder: Path, sets: int) -> None:
    prepare_evaluate(folder, sets)
    evaluate(folder, sets)


def metrics_pages(folder: Path, sets: int) -> None:
    from deepfakemnist.config.detectors import PROTOCOLS
    from deepfakemnist.report.actions_page import write_actions_page
    from deepfakemnist.report.detector_pages import write_protocols_page
    from deepfakemnist.report.metrics_page import MetricsTables, write_metrics_page

    of = {name: folder / f"{name}.tsv" for name in TABLES}
    tables = MetricsTables(of["metrics"], of["pairs"], of["unscored"], of["calibration"], of["curves"])
    write_metrics_page(tables, folder / "m.html")
    write_actions_page(of["metrics"], of["actions"], folder / "a.html")
    write_protocols_page(of["metrics"], of["actions"], of["groups"], [], PROTOCOLS, folder / "p.html")


def prepare_audit(folder: Path, videos: int) -> None:
    clips = Clips(videos)
    write_videos(folder, clips, QUALITIES[:1])
    write_facts(folder, clips, QUALITIES[:1])


def audit(folder: Path, videos: int) -> None:
    from deepfakemnist.config.dataset import AuditSettings
    from deepfakemnist.dataset.audit import audit_dataset

    settings = AuditSettings(decoded_videos=0)
    audit_dataset(
        folder / "manifest/videos.parquet", [folder / "audit/facts.parquet"], folder / "audit.tsv", settings, seed=1
    )


def prepare_identities(folder: Path, videos: int) -> None:
    clips = Clips(videos)
    write_videos(folder, clips)
    write_identities(folder, clips)


def identities(folder: Path, videos: int) -> None:
    from deepfakemnist.config.dataset import IdentitySettings
    from deepfakemnist.dataset.identity_audit import audit_identities
    from deepfakemnist.report.identity_page import write_identity_page

    embedded = [folder / "identify.parquet"]
    table, page = folder / "identities.tsv", folder / "identities.html"
    found = audit_identities(embedded, folder / "manifest/videos.parquet", table, IdentitySettings())
    write_identity_page(found, embedded, page)


def prepare_manifest(folder: Path, videos: int) -> None:
    stages = write_stages(folder, Clips(videos), FRAMES)
    (folder / "stages.json").write_text(json.dumps(stages, default=str))


def manifest(folder: Path, videos: int) -> None:
    from deepfakemnist.dataset.manifest import StageTables, write_manifest

    stages = json.loads((folder / "stages.json").read_text())
    write_manifest(
        StageTables(**_paths(stages["tables"])),
        folder / "manifest",
        split_of=stages["split_of"],
        refused=[],
        qualities=QUALITIES,
        quota=None,
        max_failed_fraction=0.1,
    )


def prepare_release(folder: Path, videos: int) -> None:
    prepare_manifest(folder, videos)
    manifest(folder, videos)


def release(folder: Path, videos: int) -> None:
    from deepfakemnist.config.dataset import ReleaseSettings
    from deepfakemnist.dataset.release import write_release

    write_release(folder / "manifest", folder / "release", ReleaseSettings())


def prepare_manifest_files(folder: Path, videos: int) -> None:
    stages = write_stages(folder, Clips(videos), FRAMES, own_files=True)
    (folder / "stages.json").write_text(json.dumps(stages, default=str))


def prepare_release_files(folder: Path, videos: int) -> None:
    prepare_manifest_files(folder, videos)
    manifest(folder, videos)


def prepare_pages(folder: Path, videos: int) -> None:
    prepare_manifest(folder, videos)
    made = write_verdicts(folder, Clips(videos))
    (folder / "verdicts.json").write_text(json.dumps(made, default=str))
    manifest(folder, videos)


def pages(folder: Path, videos: int) -> None:
    from deepfakemnist.report.animation_page import write_animation_page
    from deepfakemnist.report.dataset_page import write_dataset_page
    from deepfakemnist.report.ledger_page import write_ledger_page
    from deepfakemnist.report.liveness_page import write_liveness_page
    from deepfakemnist.report.quality_page import write_source_page

    made = _paths(json.loads((folder / "verdicts.json").read_text()))
    stages = _paths(json.loads((folder / "stages.json").read_text())["tables"])
    manifest = [folder / "manifest" / name for name in ("summary.json", "ledger.parquet", "videos.parquet")]
    write_dataset_page(*manifest, folder / "d.html")
    write_ledger_page(manifest[1], folder / "g.html")
    write_liveness_page(made["verdicts"], made["selected"], made["judged"], folder / "l.html", {"tearing": 1.0})
    write_animation_page(made["judged"], [], folder / "a.html")
    roles = ("source", "driver")
    ingested, cropped = ([path for role in roles for path in stages[name][role]] for name in ("ingest", "crop"))
    write_source_page(ingested, cropped, [], folder / "q.html")


def overview(folder: Path, videos: int) -> None:
    from deepfakemnist.report.cost import run_cost
    from deepfakemnist.report.overview import contents, funnel, made_with, read_ledger, warnings
    from deepfakemnist.report.overview_page import write_overview

    table = folder / "manifest/videos.parquet"
    found, ledger = contents(table), read_ledger(folder / "manifest/ledger.parquet")
    verdicts = _paths(json.loads((folder / "verdicts.json").read_text()))["verdicts"]
    said = warnings(
        contents=found, ledger=ledger, actions=ACTIONS, findings=[], audit=[], quota=[], simulated=[], has_vendors=True
    )
    write_overview(
        folder / "o.html", contents=found, steps=funnel(ledger), ranked=[], warnings=said, audit=[], findings=[],
        cost=run_cost(folder, folder / "benchmarks", {}, verdicts), made_with=made_with(table, {}), pages=[],
        actions=ACTIONS,
    )  # fmt: skip


STAGES = {
    "measure": Stage(prepare_measure, measure, (2000, 20_000)),
    "evaluate": Stage(prepare_evaluate, evaluate, (7, 28)),
    "metrics_pages": Stage(prepare_metrics_pages, metrics_pages, (7, 28)),
    "audit": Stage(prepare_audit, audit, (2000, 20_000, 100_000)),
    "audit_identities": Stage(prepare_identities, identities, (2000, 20_000, 200_000)),
    "manifest": Stage(prepare_manifest, manifest, (2000, 20_000, 200_000)),
    "release": Stage(prepare_release, release, (2000, 20_000, 200_000)),
    "manifest_files": Stage(prepare_manifest_files, manifest, (2000, 20_000)),
    "release_files": Stage(prepare_release_files, release, (2000, 20_000)),
    "pages": Stage(prepare_pages, pages, (2000, 20_000, 200_000)),
    "overview": Stage(prepare_pages, overview, (2000, 20_000, 200_000)),
}


def main(chosen: list[str]) -> None:
    path = Path(__file__).with_suffix(".json")
    known = json.loads(path.read_text())["stages"] if path.is_file() else {}
    for name in chosen or STAGES:
        known[name] = {str(size): measured(name, size) for size in STAGES[name].sizes}
        write_results(path, known)
    print(table_of(known))


def measured(name: str, size: int) -> dict[str, float]:
    """Return CPU seconds and peak memory of a stage; its tables are written by another process."""
    with tempfile.TemporaryDirectory() as folder:
        for what in ("prepare", "run"):
            command = [sys.executable, __file__, f"--{what}", name, str(size), folder]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    print(f"{name} {size}: {found}", flush=True)
    return found


def write_results(path: Path, stages: dict[str, Any]) -> None:
    what = "CPU seconds and peak memory (MB) of stages by number of videos (evaluate, metrics_pages: of training sets)"
    path.write_text(json.dumps({"what": what, "stages": stages}, indent=2) + "\n")


def table_of(stages: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| stage | size | CPU s | memory, MB | exponent |", "|---|---|---|---|---|"]
    for name, sizes in stages.items():
        numbers = sorted(map(int, sizes))
        for size in numbers:
            found, last = sizes[str(size)], size == numbers[-1] and len(numbers) > 1
            exponent = f"{growth(sizes, *numbers[-2:]):.2f}" if last else ""
            lines.append(f"| {name} | {size:,} | {found['cpu_s']:.0f} | {found['mb']:.0f} | {exponent} |")
    return "\n".join(lines)


def growth(sizes: dict[str, Any], small: int, large: int) -> float:
    return math.log(sizes[str(large)]["cpu_s"] / sizes[str(small)]["cpu_s"]) / math.log(large / small)


def _paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _paths(one) for name, one in value.items()}
    return [Path(one) for one in value]


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("--"):
        stage = STAGES[sys.argv[2]]
        work = stage.prepare if sys.argv[1] == "--prepare" else stage.run
        work(Path(sys.argv[4]), int(sys.argv[3]))
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps({"cpu_s": round(used.ru_utime + used.ru_stime, 1), "mb": round(used.ru_maxrss / 1024)}))
    else:
        main(sys.argv[1:])
