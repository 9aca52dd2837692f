"""Confound audit: clear on a fair dataset, a leak on a leaky one."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import numpy as np
import pytest
from small_dataset import make_dataset

from deepfakemnist.config.dataset import AuditSettings, Quality
from deepfakemnist.dataset.audit import AuditScore, audit_dataset, score_facts, verdict
from deepfakemnist.dataset.file_facts import container_facts, picture_facts
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.report.audit_page import write_audit_page
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import Row

SETTINGS = AuditSettings(folds=3, bootstrap=100)
PEOPLE = 6
FAIR = {"c23": Quality(crf=23, preset="ultrafast")}
LEAKY = {"real": FAIR, "fake": {"c23": Quality(crf=30, preset="ultrafast")}}


def audit(root: Path, monkeypatch: pytest.MonkeyPatch, **options) -> dict[str, Row]:
    manifest = make_dataset(root, people=PEOPLE, **options)
    monkeypatch.chdir(root)
    rows = audit_dataset(manifest / "videos.parquet", manifest / "frames.parquet", root / "audit.tsv", SETTINGS, seed=5)
    write_audit_page(rows, root / "audit.html")
    return {row["facts"]: row for row in rows}


@pytest.mark.slow
def test_metadata_of_a_fair_dataset_is_at_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = audit(tmp_path, monkeypatch, qualities={"real": FAIR, "fake": FAIR})
    assert set(rows) == {"container", "size", "brightness", "pictures"}
    container = rows["container"]
    assert (container["auc"], container["auc_low"], container["auc_high"]) == (0.5, 0.5, 0.5)
    assert (container["verdict"], container["telling"]) == ("clear", "")
    assert rows["size"]["verdict"] != "leak"
    assert rows["pictures"]["verdict"] == ""
    assert (container["videos"], container["people"]) == (2 * PEOPLE, PEOPLE)
    with (tmp_path / "audit.tsv").open(newline="") as file:
        assert [row["facts"] for row in csv.DictReader(file, delimiter="\t")] == list(rows)
    assert "LEAK" not in (tmp_path / "audit.html").read_text()


@pytest.mark.slow
def test_a_different_crf_per_class_is_reported_as_a_leak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both classes show the same kind of noise; only the encoder settings differ."""
    rows = audit(tmp_path, monkeypatch, qualities=LEAKY)
    assert rows["container"]["auc"] == 1.0
    assert rows["container"]["verdict"] == "leak"
    assert rows["container"]["telling"].startswith("encoder's note 1.00")
    assert (rows["size"]["auc"], rows["size"]["verdict"]) == (1.0, "leak")
    page = (tmp_path / "audit.html").read_text()
    assert "LEAK: the classes are separable by container at c23, size at c23" in page


def test_synthetic_media_marks_are_left_out_of_the_facts_and_other_tags_are_not(tmp_path: Path) -> None:
    manifest = make_dataset(tmp_path, people=2)
    videos = read_rows(manifest / "videos.parquet")
    facts = [container_facts(tmp_path / row["path"]) for row in videos if row["quality"] == "c23"]
    assert {row["marks"] for row in videos} == {"", "comment,c2pa"}
    assert all(fact == facts[0] for fact in facts)
    tagged = tmp_path / "tagged.mp4"
    words = ("-v", "error", "-i", tmp_path / videos[0]["path"], "-c", "copy", "-metadata", "title=fake", tagged)
    subprocess.run([find_ffmpeg().path, *map(str, words)], check=True)
    assert "fake" in container_facts(tagged)["tags"]


@pytest.mark.slow
def test_noise_is_no_leak_and_a_shift_is_one() -> None:
    rng = np.random.default_rng(0)
    people = [f"p{number // 4}" for number in range(240)]
    labels = [number % 2 for number in range(240)]
    noise = [{"a": float(value), "b": float(other)} for value, other in rng.normal(size=(240, 2))]
    nothing = score_facts(noise, labels, people, SETTINGS, seed=1)
    assert nothing is not None and nothing.low < 0.5 < nothing.high
    assert verdict(nothing) == "clear"
    shifted = [{**one, "a": one["a"] + 2 * label} for one, label in zip(noise, labels, strict=True)]
    found = score_facts(shifted, labels, people, SETTINGS, seed=1)
    assert found is not None and verdict(found) == "leak"
    assert 0.8 < found.auc < 0.95  # the optimum for unit normals 2 apart is Phi(2 / sqrt(2)) = 0.92
    assert found.telling.startswith("a 0.9")


def test_verdicts_follow_from_the_interval() -> None:
    intervals = {"leak": (0.56, 0.7), "suspect": (0.51, 0.7), "clear": (0.4, 0.7), "too few": (0.2, 0.9)}
    for name, (low, high) in intervals.items():
        assert verdict(AuditScore(0.6, low, high, "")) == name
    assert verdict(AuditScore(0.8, 0.7, 0.9, ""), fixed_by_chain=False) == "differs"
    assert verdict(AuditScore(1.0, 0.95, 1.0, ""), fixed_by_chain=False) == "leak"
    assert score_facts([{"a": 1.0}] * 2, [1, 1], ["p", "q"], SETTINGS, seed=0) is None


def test_picture_facts_measure_colour_sharpness_and_spectrum() -> None:
    flat = np.full((64, 64, 3), (200, 100, 50), np.uint8)
    noisy = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    facts = picture_facts([flat, flat])
    assert (facts["mean R"], facts["mean G"], facts["mean B"], facts["sharpness"]) == (200, 100, 50, 0)
    assert picture_facts([noisy])["band 0.75"] > facts["band 0.75"] + 5
