"""Front page and cost page of the report: videos kept and lost, warnings, best and worst detector, cost by stage."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import report_pages

from deepfakemnist.errors import ConfigError
from deepfakemnist.evaluation.measurement import METRICS_COLUMNS
from deepfakemnist.report.cost import run_cost
from deepfakemnist.report.cost_parts import cost_parts
from deepfakemnist.report.overview import (
    Contents,
    contents,
    described_pages,
    funnel,
    made_with,
    ranking,
    read_ledger,
    warnings,
)
from deepfakemnist.report.overview_page import write_overview
from deepfakemnist.report.pages import write_page
from deepfakemnist.report.units import duration, number, size_text
from deepfakemnist.tables.dataset_schemas import LEDGER, VIDEOS
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import VERDICTS


def item(kind: str, stage: str, status: str = "ok", reason: str = "", action: str = "") -> dict[str, Any]:
    return {"kind": kind, "video_id": f"{kind}{stage}", "stage": stage, "status": status, "reason": reason,
            "action": action, "person_id": "p", "detail": ""}  # fmt: skip


ITEMS = [
    item("source", "sheet", "rejected", "excluded"),
    item("source", "ingest", "failed", "truncated"),
    item("source", "crop", "rejected", "no_face"),
    *[item("source", "frames")] * 4,
    *[item("fake", "plan", "rejected", "source_unusable", "nod")] * 2,
    item("fake", "select", "rejected", "liveness", "nod"),
    *[item("fake", "frames", action="blink")] * 3,
    item("driver", "extract_motion"),
]


def videos(people: int = 12, splits: tuple[str, ...] = ("train", "val", "test")) -> list[dict[str, Any]]:
    """One real and two fakes of each person, at two qualities, 50 frames each."""
    rows = []
    for one in range(people):
        common = {"person_id": f"p{one}", "split": splits[one % len(splits)], "frames": 50, "fps": 25.0}
        for quality, size in (("raw", 1000), ("c23", 100)):
            for name, label, action in (("real", 0, ""), ("one", 1, "blink"), ("two", 1, "yaw")):
                rows.append(
                    {**common, "video_id": f"{name}{one}", "label": label, "quality": quality, "action": action,
                     "animator": "mesh" if label else "", "bytes": size, "ffmpeg_version": "ffmpeg 8",
                     "encoder_version": "x264 164"}
                )  # fmt: skip
    return rows


def holding(people: int = 12, splits: tuple[str, ...] = ("train", "val", "test"), *, folder: Path) -> Contents:
    write_table(videos(people, splits), folder / "videos.parquet", VIDEOS)
    return contents(folder / "videos.parquet")


def said(found: Contents, **changed: Any) -> list[str]:
    facts: dict[str, Any] = {
        "contents": found, "ledger": [], "actions": ["blink", "yaw"], "findings": [], "audit": [], "quota": [],
        "simulated": [], "has_vendors": True,
    }  # fmt: skip
    return warnings(**(facts | changed))


def metric(detector: str, quality: str, auc: float, seed: str = "0", **changed: str) -> dict[str, str]:
    row = dict.fromkeys(METRICS_COLUMNS, "")
    row |= {"detector": detector, "trained_on": quality, "tested_on": quality, "split": "test", "level": "video"}
    row |= {"seed": seed, "auc": str(auc), "balanced_accuracy": str(auc), "n_videos": "7", "n_people": "2"}
    return row | {"generalises_to": "too few people (2)"} | changed


def test_the_funnel_counts_what_each_stage_kept_and_why_the_rest_was_lost() -> None:
    steps = [(step.name, step.kept, dict(step.lost)) for step in funnel(ITEMS)]
    assert steps == [
        ("source videos", 7, {}),
        ("sources left after sheet", 6, {("rejected", "excluded"): 1}),
        ("readable videos", 5, {("failed", "truncated"): 1}),
        ("face crops", 4, {("rejected", "no_face"): 1}),
        ("reals in the dataset", 4, {}),
        ("fakes planned", 6, {}),
        ("fakes with a usable source and driver", 4, {("rejected", "source_unusable"): 2}),
        ("fakes animated", 4, {}),
        ("fakes accepted", 3, {("rejected", "liveness"): 1}),
        ("fakes in the dataset", 3, {}),
    ]


def test_the_funnel_of_a_published_tree_has_no_stage_that_it_did_not_pass() -> None:
    ledger = [item("source", "frames"), item("fake", "frames"), item("fake", "import_released", "failed", "truncated")]
    names = [step.name for step in funnel(ledger, is_released=True)]
    assert names == [
        "source videos", "imported reals", "reals in the dataset",
        "fakes planned", "imported fakes", "fakes in the dataset",
    ]  # fmt: skip


def test_contents_are_counted_at_one_quality_and_sizes_at_each(tmp_path: Path) -> None:
    found = holding(folder=tmp_path)
    assert (found.count(0), found.count(1)) == (12, 24)
    assert found.videos["test", 1] == 8 and found.people == {"train": 4, "val": 4, "test": 4, "": 12}
    assert found.actions == {("mesh", "blink"): 12, ("mesh", "yaw"): 12}
    assert found.seconds[1] == pytest.approx(24 * 2)
    assert found.bytes_of == {"raw": 36_000, "c23": 3_600}


def test_a_large_dataset_without_faults_has_no_warning(tmp_path: Path) -> None:
    assert said(holding(30, folder=tmp_path)) == []


def test_warnings_say_what_makes_numbers_doubtful(tmp_path: Path) -> None:
    leak = {"finding": "same_face", "verdict": "leak", "person_id": "a", "other_person_id": "b",
            "split": "train", "other_split": "test", "video_id": "a1", "other_video_id": "b1", "distance": "0.1",
            "reason": ""}  # fmt: skip
    short = {"action": "yaw", "kept": "2", "wanted": "9", "ended": "pool empty"}
    found = said(
        holding(6, ("train", "test"), folder=tmp_path),
        ledger=ITEMS, actions=["blink", "yaw", "nod"], findings=[leak], quota=[short], simulated=["baidu"],
    )  # fmt: skip
    text = "\n".join(found)
    assert found[0].startswith("Identity leak: ") and "a" in found[0]
    assert "The test split has reals of 3 people and fakes of 3 people; below 10 no confidence interval" in text
    assert "Nobody is in val." in found
    assert "Quota not met: yaw 2 of 9." in found
    assert "No fake of the action nod is in the dataset (2 plan: source_unusable, 1 select: liveness)." in found
    assert "from a simulator on this machine" in text
    assert f"1 of {len(ITEMS)} items failed with an error" in text


def test_fakes_that_no_vendor_has_judged_are_named_as_such(tmp_path: Path) -> None:
    found = said(holding(30, folder=tmp_path), ledger=[item("fake", "frames")], has_vendors=False)
    assert found == ["No commercial liveness service was asked; fakes were accepted by local checks only."]


def test_detectors_are_ranked_by_the_mean_over_seeds_on_the_quality_they_were_trained_on() -> None:
    rows = [
        metric("meso4", "raw", 0.9, "0"),
        metric("meso4", "raw", 0.7, "mean"),
        metric("meso4", "raw", 0.1, "sd"),
        metric("resnet50", "raw", 0.8),
        metric("resnet50", "c23", 0.99, level="frame"),
        metric("resnet50", "c23", 0.98, split="val"),
        metric("resnet50", "raw-only-nod", 1.0),
        metric("resnet50", "c40", 1.0, tested_on="raw"),
    ]
    assert [(one.detector, one.quality, one.auc) for one in ranking(rows)] == [
        ("resnet50", "raw", 0.8), ("meso4", "raw", 0.7),
    ]  # fmt: skip


def benchmark(path: Path, *rows: tuple[str, str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["s\th:m:s\tmax_rss\tcpu_time", *(f"{s}\t0:00:01\t{rss}\t{cpu}" for s, rss, cpu in rows)]
    path.write_text("\n".join(lines) + "\n")


def finished_run(folder: Path) -> Path:
    """Results with benchmarks of three stages, a clip with two names, and paid answers."""
    results = folder / "results"
    benchmark(results / "benchmarks/train/raw/0.tsv", ("3600", "900", "7200"))
    benchmark(results / "benchmarks/crop/source/shard-0000.tsv", ("60", "200", "30"))
    benchmark(results / "benchmarks/crop/source/shard-1000.tsv", ("60", "NA", "NA"))
    benchmark(results / "benchmarks/evaluate.tsv", ("6", "100", "3"))
    (results / "crop").mkdir()
    (results / "crop/a.mp4").write_bytes(os.urandom(100_000))
    os.link(results / "crop/a.mp4", results / "crop/b.mp4")
    verdict = {"video_id": "v", "provider": "baidu", "status": "ok", "cost": 0.5}
    answers = [verdict, verdict, {**verdict, "status": "failed"}, {**verdict, "provider": "local", "cost": None}]
    write_table(answers, results / "liveness/a.parquet", VERDICTS)
    return results


def test_cost_sums_jobs_by_stage_and_counts_a_file_with_two_names_once(tmp_path: Path) -> None:
    results = finished_run(tmp_path)
    cost = run_cost(results, results / "benchmarks", {"train": 2}, [results / "liveness/a.parquet"])
    by_stage = {one.stage: one for one in cost.stages}
    assert [one.stage for one in cost.stages if one.jobs] == ["crop", "train", "evaluate"]
    crop, train = by_stage["crop"], by_stage["train"]
    assert (crop.jobs, crop.wall_s, crop.cpu_s, crop.memory_mb, crop.gpu_s) == (2, 120, 30, 200, 0)
    assert (train.gpu_s, train.memory_mb) == (7200, 900)
    assert 100_000 <= crop.disk_bytes < 150_000
    assert cost.gpu_s == 7200 and cost.cpu_s == 7233
    assert [(one.provider, one.answers, one.cost) for one in cost.paid] == [("baidu", 2, 1.0)]


def test_simulated_answers_are_named_as_not_paid(tmp_path: Path) -> None:
    results = finished_run(tmp_path)
    cost = run_cost(results, results / "benchmarks", {}, [results / "liveness/a.parquet"])
    write_page(tmp_path / "cost.html", "Cost", "Cost.", cost_parts(cost, simulated=["baidu"]))
    rows = report_pages.rows(tmp_path / "cost.html")
    assert ["crop", "2", "0.50", "2.00", "0.00", "200", f"{cost.stages[0].disk_bytes / 1e6:.2f}"] in rows
    assert ["baidu", "2", "1.000", "simulated, nothing paid"] in rows
    times = report_pages.charts(tmp_path / "cost.html")["Processor time per stage"]
    assert {row["stage"]: row["cpu_min"] for row in times} == {"crop": 0.5, "train": 120, "evaluate": 0.05}


def test_front_page_has_the_run_in_numbers_and_leads_to_all_pages(tmp_path: Path) -> None:
    results = finished_run(tmp_path)
    write_table(ITEMS, tmp_path / "ledger.parquet", LEDGER)
    found, ledger = holding(folder=tmp_path), read_ledger(tmp_path / "ledger.parquet")
    cost = run_cost(results, results / "benchmarks", {})
    write_page(tmp_path / "cost.html", "Other page", "It shows this. And that.", [])
    write_overview(
        tmp_path / "overview.html",
        contents=found,
        steps=funnel(ledger),
        ranked=ranking([metric("meso4", "raw", 0.7), metric("resnet50", "raw", 0.8, auc_low="0.55", auc_high="0.95")]),
        warnings=["Beware."],
        audit=[],
        findings=[],
        cost=cost,
        made_with=made_with(tmp_path / "videos.parquet", {"seed": 2021, "detectors": ["meso4", "resnet50"]}),
        pages=described_pages([str(tmp_path / "cost.html"), str(tmp_path / "sheet.png")]),
        actions=["blink", "yaw", "nod"],
        config="seed: 2021\nsources: {sheet: <none>}",
        notices=["A demo.", None],  # type: ignore[list-item]
    )
    page = tmp_path / "overview.html"
    text, tables = report_pages.text(page), report_pages.tables(page)
    assert "A dataset of 12 real and 24 fake talking-head videos" in text
    assert text.index("A demo.") < text.index("Beware.") < text.index("Best and worst detector Of")
    assert "face crops: 1 lost (1 no_face)" in text
    assert "sources: {sheet: <none>}" in text and "not shown to do better than chance" not in text
    assert tables["Best and worst detector"][1:] == [
        ["best", "resnet50", "raw", "80 [55–95]", "80 [2 people]", "7", "2"],
        ["worst", "meso4", "raw", "70 [2 people]", "70 [2 people]", "7", "2"],
    ]
    assert {"seed": "2021", "detectors": "meso4; resnet50", "ffmpeg version": "ffmpeg 8"}.items() <= {
        row[0]: row[1] for row in tables["Made with"][1:]
    }.items()
    assert '<a href="cost.html" data-page="cost.html">Other page</a>: It shows this.' in page.read_text()
    shown = report_pages.charts(page)
    assert {"action": "nod", "animator": "mesh", "fakes": 0} in shown["Fakes per action"]
    assert {"step": "face crops", "fate": "rejected", "reason": "no_face", "videos": 1} in shown[
        "From sources to dataset"
    ]


def test_a_front_page_is_written_of_a_run_without_detectors_or_fakes(tmp_path: Path) -> None:
    write_table([row for row in videos() if not row["label"]], tmp_path / "videos.parquet", VIDEOS)
    found = contents(tmp_path / "videos.parquet")
    cost = run_cost(tmp_path / "none", tmp_path / "none/benchmarks", {})
    write_overview(
        tmp_path / "overview.html", contents=found, steps=funnel([]), ranked=[], warnings=[], audit=[], findings=[],
        cost=cost, made_with=[("seed", "1")], pages=[], actions=["nod"],
    )  # fmt: skip
    text = report_pages.text(tmp_path / "overview.html")
    assert "0 fake" in text and "No detector was evaluated on the test split." in text
    assert "No record of the jobs' time lies where this page was made" in text


def test_the_best_detector_is_said_to_be_doubtful_unless_its_interval_excludes_chance(tmp_path: Path) -> None:
    found = holding(folder=tmp_path)
    for low, is_doubtful in (("", True), ("0.48", True), ("0.52", False)):
        best = ranking([metric("meso4", "raw", 0.7, auc_low=low, auc_high=low and "0.9")])
        write_overview(
            tmp_path / "overview.html", contents=found, steps=[], ranked=best, warnings=[], audit=[], findings=[],
            cost=run_cost(tmp_path / "none", tmp_path, {}), made_with=[], pages=[], actions=[],
        )  # fmt: skip
        text = report_pages.text(tmp_path / "overview.html")
        assert ("Even the best one is not shown to do better than chance." in text) == is_doubtful
        assert "The only pair of detector and quality" in text


def test_a_list_of_pages_refuses_html_that_is_no_page(tmp_path: Path) -> None:
    (tmp_path / "other.html").write_text("<p>hello</p>")
    with pytest.raises(ConfigError, match="no page of this version's report: delete it"):
        described_pages([str(tmp_path / "other.html")])


def test_sizes_times_and_numbers_read_in_the_unit_that_fits() -> None:
    assert [size_text(size) for size in (999, 1_500_000, 294 * 10**9, 2 * 10**12)] == [
        "0.999 kB", "1.5 MB", "294 GB", "2 TB",
    ]  # fmt: skip
    assert [duration(seconds) for seconds in (0, 12.3, 900, 4_444_416)] == ["0 s", "12.3 s", "15 min", "1,235 h"]
    assert [number(value) for value in (-0.001, 1.234, None, float("nan"))] == ["0.00", "1.23", "–", "–"]
