"""Report pages on the dataset's contents and its ledger."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import report_pages

from deepfakemnist.report.dataset_page import write_dataset_page
from deepfakemnist.report.ledger_page import write_ledger_page
from deepfakemnist.report.reason_texts import known_reasons, what_happened, what_to_do
from deepfakemnist.tables.dataset_schemas import LEDGER, VIDEOS
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.reasons import FINAL, PASSING
from deepfakemnist.tables.schemas import Row


def item(kind: str, name: str, stage: str, status: str = "ok", reason: str = "", **more: str) -> Row:
    return {"kind": kind, "video_id": name, "person_id": "p", "action": "", "stage": stage, "status": status,
            "reason": reason, "detail": "", **more}  # fmt: skip


def video(name: str, label: int, quality: str, frames: int) -> Row:
    return {"video_id": name, "label": label, "quality": quality, "split": "train", "person_id": "p1",
            "frames": frames, "fps": 25.0, "bytes": 500_000 if quality == "raw" else 2_000}  # fmt: skip


def dataset_page(folder: Path, **more: Any) -> Path:
    """Two reals and a fake of 1 s and 2 s at two qualities; one of three fakes accepted, and none of smile."""
    counts = {split: {"real": 0, "fake": 0, "people": 0} for split in ("train", "val", "test")}
    summary = {
        "outcomes": {}, "reasons": {}, "bytes": {"raw": 1_500_000, "c40": 6_000}, "frames": 99,
        "actions": {"nod": {"ok": 1, "failed": 1}, "smile": {"rejected": 3}},
        "splits": {**counts, "train": {"real": 2, "fake": 1, "people": 2}},
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    ledger = [
        item("source", "a", "frames"),
        item("source", "b", "frames"),
        item("source", "c", "crop", "rejected", "no_face"),
        item("driver", "d1", "crop", "rejected", "no_face", action="blink"),
        item("driver", "d2", "extract_motion", action="yaw"),
        item("fake", "a@nod", "frames", action="nod"),
        item("fake", "b@nod", "animate", "failed", "error", action="nod"),
        item("fake", "b@smile", "select", "rejected", "liveness", action="smile"),
        *[item("fake", f"c@smile{n}", "plan", "rejected", "source_unusable", action="smile") for n in range(2)],
    ]
    write_table(ledger, folder / "ledger.parquet", LEDGER)
    clips = [("a", 0, 25), ("b", 0, 50), ("a@nod", 1, 25)]
    videos = [video(name, label, quality, frames) for name, label, frames in clips for quality in ("raw", "c40")]
    write_table(videos, folder / "videos.parquet", VIDEOS)
    paths = [folder / name for name in ("summary.json", "ledger.parquet", "videos.parquet", "page.html")]
    write_dataset_page(*paths, **more)
    return paths[-1]


def test_dataset_page_says_what_there_is_and_what_became_of_the_rest(tmp_path: Path) -> None:
    page = dataset_page(tmp_path, notices=["Demo."])
    text, tables = report_pages.text(page), report_pages.tables(page)
    assert "Demo." in text
    assert "2 real videos and 1 fake of 1 person, 4 s in all, each at 2 qualities (raw, c40): 1.51 MB" in text
    assert tables["Splits"][1] == ["train", "2", "2", "1", "33", "0.0667"]
    assert [row[0] for row in tables["Splits"][1:]] == ["train", "val", "test"]
    assert tables["Size on disk"][1:] == [["raw", "3", "1.5", "2,667", "4,000"], ["c40", "3", "0.006", "10.7", "16"]]
    assert tables["Outcomes by stage"][1:] == [
        ["source", "crop", "3", "2", "1", "0"],
        ["source", "frames", "2", "2", "0", "0"],
        ["driver", "crop", "2", "1", "1", "0"],
        ["driver", "extract_motion", "1", "1", "0", "0"],
        ["fake", "plan", "5", "3", "2", "0"],
        ["fake", "animate", "3", "2", "0", "1"],
        ["fake", "select", "2", "1", "1", "0"],
        ["fake", "frames", "1", "1", "0", "0"],
    ]


def test_dataset_page_draws_fakes_by_action_against_the_quota_and_names_actions_without_one(tmp_path: Path) -> None:
    page = dataset_page(tmp_path, quota=[{"action": "nod", "wanted": "3"}, {"action": "nod", "wanted": "1"}])
    charts, text = report_pages.charts(page), report_pages.text(page)
    of = {(row["action"], row["outcome"]): (row["fakes"], row["quota"]) for row in charts["Fakes by action"]}
    assert of["nod", "accepted"] == (1, 4), "the quotas of two animators add up"
    assert (of["nod", "failed"], of["smile", "rejected"], of["smile", "not made"]) == ((1, 4), (1, None), (2, None))
    assert "smile: 0 accepted of 3; dropped: 2 at plan (source_unusable), 1 at select (liveness)." in text
    assert "blink: not planned, because all its drivers were dropped: 1 at crop (no_face)." in text
    assert "yaw: not planned, although there are drivers; see plan.actions." in text
    assert "up: not planned, and no driver performs it." in text
    lengths = charts["Length of the videos"]
    assert sum(row["videos"] for row in lengths if row["class"] == "real") == 2
    assert max(row["length_s_end"] for row in lengths) == 2.0


def test_ledger_page_lists_rejected_and_failed_items_only_and_says_what_their_reasons_mean(tmp_path: Path) -> None:
    bad = item("source", "bad", "ingest", "failed", "missing_file", detail="<script>alert(1)</script>")
    own = item("fake", "x@y", "liveness", "rejected", "of_ones_own")
    write_table([item("source", "good", "frames"), bad, own], tmp_path / "ledger.parquet", LEDGER)
    write_ledger_page(tmp_path / "ledger.parquet", tmp_path / "page.html")
    tables = report_pages.tables(tmp_path / "page.html")
    assert [row[1] for row in tables["Rejected and failed items"][1:]] == ["bad", "x@y"]
    assert tables["Rejected and failed items"][1][-1] == "<script>alert(1)</script>"
    assert "<script>alert(1)" not in (tmp_path / "page.html").read_text()
    reasons = {row[2]: row for row in tables["Reasons"][1:]}
    assert reasons["ingest: missing_file"][4] == "The file does not exist."
    assert "deepfakemnist retry" in reasons["ingest: missing_file"][5]
    assert reasons["liveness: of_ones_own"][5] == "See the detail."
    assert "3 items: 1 passed every stage, 1 rejected, 1 failed." in report_pages.text(tmp_path / "page.html")


def test_every_reason_has_a_sentence_and_says_what_to_do() -> None:
    reasons = {*PASSING, *FINAL}
    assert reasons <= known_reasons()
    assert all(what_happened(reason).endswith(".") and what_to_do(reason) for reason in known_reasons())


@pytest.mark.slow
def test_a_ledger_of_100_000_rows_is_complete_and_small(tmp_path: Path) -> None:
    rows = [
        item("fake", f"s{n % 997}@d{n}", "select", "rejected", "liveness", detail=f"score {n}") for n in range(100_000)
    ]
    write_table(rows, tmp_path / "ledger.parquet", LEDGER)
    began = time.process_time()
    write_ledger_page(tmp_path / "ledger.parquet", tmp_path / "page.html")
    assert time.process_time() - began < 20
    assert len(report_pages.tables(tmp_path / "page.html")["Rejected and failed items"]) == 100_001
    assert (tmp_path / "page.html").stat().st_size < 4e6
