"""Confound audit: no difference on a fair dataset, a leak on a leaky one, no verdict where nothing could be found."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
import report_pages
from scipy.stats import norm
from small_dataset import clip, make_dataset

from deepfakemnist.config.dataset import AuditSettings, Quality
from deepfakemnist.dataset.audit import AuditScore, audit_dataset, score_facts, verdict
from deepfakemnist.dataset.audit_statement import leak_message, statements
from deepfakemnist.dataset.clip_facts import write_clip_facts
from deepfakemnist.dataset.file_facts import container_facts, picture_facts
from deepfakemnist.dataset.separability import Separation, permuted_labels, separate
from deepfakemnist.dataset.traces import traces_of_source
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.report.audit_page import write_audit_page
from deepfakemnist.tables.dataset_schemas import FRAME_INDEX
from deepfakemnist.tables.files import read_rows, read_table, write_table
from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import read_tsv

SETTINGS = AuditSettings(folds=3, permutations=500)
PEOPLE = 10
FAIR = {"c23": Quality(crf=23, preset="ultrafast")}
LEAKY = {"real": FAIR, "fake": {"c23": Quality(crf=30, preset="ultrafast")}}


def audit(root: Path, monkeypatch: pytest.MonkeyPatch, **options) -> dict[str, Row]:
    manifest = make_dataset(root, people=PEOPLE, **options)
    monkeypatch.chdir(root)
    parts = [root / f"facts{number}.parquet" for number in range(2)]
    for number, part in enumerate(parts):
        write_clip_facts(manifest / "videos.parquet", manifest / "frames.parquet", part, number, len(parts))
    rows = audit_dataset(manifest / "videos.parquet", parts, root / "audit.tsv", SETTINGS, seed=5)
    write_audit_page(rows, root / "audit.html")
    return {row["facts"]: row for row in rows}


@pytest.mark.slow
def test_metadata_of_a_fair_dataset_is_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = audit(tmp_path, monkeypatch, qualities={"real": FAIR, "fake": FAIR})
    assert set(rows) == {"container", "size", "brightness", "pictures", "traces", "start"}
    container = rows["container"]
    assert (container["auc"], container["p"], container["verdict"]) == (0.5, 1.0, "no difference")
    assert (container["fact"], container["auc_limit"]) == ("", None)
    assert all(row["verdict"] != "leak" for row in rows.values())
    assert (container["videos"], container["people"]) == (2 * PEOPLE, PEOPLE)
    stored = read_tsv(tmp_path / "audit.tsv")
    assert [row["facts"] for row in stored] == list(rows)
    page = report_pages.text(tmp_path / "audit.html")
    assert "LEAK" not in page
    assert "No leak was found in 2 tests for differences that no picture can cause." in page
    points = report_pages.charts(tmp_path / "audit.html")["Separability by facts and quality"]
    assert {row["facts"]: (row["verdict"], row["AUC %"]) for row in points}["container"] == ("no difference", 50.0)
    said = statements(stored)
    assert said == statements(list(rows.values()))
    assert said[0].startswith("Real and fake do not differ in the container (length")
    assert said[0].endswith("all are equal, 20 videos of 10 people.")


@pytest.mark.slow
def test_a_different_crf_per_class_is_a_leak_and_its_sizes_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both classes show the same kind of noise; only the encoder settings differ."""
    rows = audit(tmp_path, monkeypatch, qualities=LEAKY)
    container, size = rows["container"], rows["size"]
    assert (container["auc"], container["pair_auc"], container["fact"]) == (1.0, 1.0, "encoder's note")
    assert (container["verdict"], size["verdict"], size["auc"]) == ("leak", "differs", 1.0)
    # The smallest p-value of 500 permutations, times the two sets of facts that may leak.
    assert container["p"] == pytest.approx(2 / 501)
    message = leak_message(list(rows.values()))
    assert "container at c23 (encoder's note, AUC 1.00, 1.00 within a person, 20 videos of 10 people)" in message
    page = report_pages.text(tmp_path / "audit.html")
    assert "1 leak in 2 tests for differences that no picture can cause; a release is refused." in page
    assert "LEAK: real and fake are told apart by what no picture can cause: container at c23" in page
    assert "reads coded streams could use that" in page


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


def normal_facts(count: int, shift: float, people: int, videos: int, seed: int) -> tuple[np.ndarray, list[int], list]:
    """Facts of unit normals; the first is shifted in the fakes."""
    labels = [number % 2 for number in range(videos)]
    facts = np.random.default_rng(seed).normal(size=(videos, count))
    facts[:, 0] += shift * np.array(labels)
    return facts, labels, [f"p{number * people // videos}" for number in range(videos)]


def test_noise_is_called_different_as_rarely_as_promised() -> None:
    """At a level of 0.05, 200 runs: 0.015 standard error; the bound is three of them above."""
    found = 0
    for seed in range(200):
        facts, labels, people = normal_facts(5, 0.0, people=16, videos=64, seed=seed)
        permutations = permuted_labels(labels, people, 200, seed)
        found += separate(facts, labels, people, permutations, 0.05).p <= 0.05
    assert found / 200 <= 0.095


def test_a_difference_of_the_detectable_size_is_found_four_times_in_five() -> None:
    """100 runs: 0.04 standard error; the bound is three of them below."""
    facts, labels, people = normal_facts(5, 0.0, people=16, videos=64, seed=0)
    detectable = separate(facts, labels, people, permuted_labels(labels, people, 500, 0), 0.05).detectable_auc
    assert detectable is not None and 0.7 < detectable < 0.8
    shift = float(np.sqrt(2) * norm.ppf(detectable))
    found = 0
    for seed in range(100):
        facts, labels, people = normal_facts(5, shift, people=16, videos=64, seed=seed)
        found += separate(facts, labels, people, permuted_labels(labels, people, 200, seed), 0.05).p <= 0.05
    assert found >= 68


def test_no_auc_exceeds_the_limit_more_often_than_promised() -> None:
    """100 runs at a level of 0.05: 0.022 standard error; the bound is three of them above."""
    exceeded = 0
    for seed in range(100):
        facts, labels, people = normal_facts(5, float(np.sqrt(2) * norm.ppf(0.65)), people=16, videos=64, seed=seed)
        limit = separate(facts, labels, people, permuted_labels(labels, people, 200, seed), 0.05).auc_limit
        assert limit is not None
        exceeded += limit < 0.65
    assert exceeded <= 11


@pytest.mark.slow
def test_a_planted_fact_of_moderate_size_is_never_called_no_difference() -> None:
    """An AUC of 0.75 in 64 videos is more likely found than not, and otherwise nobody says that there is nothing."""
    verdicts = []
    for seed in range(12):
        values, labels, people = normal_facts(6, float(np.sqrt(2) * norm.ppf(0.75)), people=16, videos=64, seed=seed)
        facts = {str(number): column for number, column in enumerate(values.T)}
        score = score_facts(facts, labels, people, SETTINGS, seed)
        assert score is not None
        verdicts.append(verdict("container", score, score.separation.p <= 0.05))
    assert set(verdicts) <= {"leak", "cannot tell"}
    assert verdicts.count("leak") >= 6


def test_people_are_no_evidence_and_a_difference_within_each_is() -> None:
    """A fact that is the person's own separates nothing; one that grows by little in each fake does."""
    people = [f"p{number // 4}" for number in range(80)]
    labels = [number % 2 for number in range(80)]
    own = np.repeat(np.random.default_rng(1).normal(size=20), 4)[:, None]
    permutations = permuted_labels(labels, people, 500, 1)
    assert (permutations.reshape(500, 20, 4).sum(2) == 2).all()
    assert separate(own, labels, people, permutations, 0.05).p == 1.0
    grown = separate(own + 1e-3 * np.array(labels)[:, None], labels, people, permutations, 0.05)
    assert grown.p == pytest.approx(1 / 501)
    assert grown.auc < 0.6 and grown.pair_auc == 1.0


def test_fakes_of_other_people_than_the_reals_are_permuted_by_person() -> None:
    """Ten people with four videos each, five of them fake: 40 videos, and yet ten observations."""
    people = [f"p{number // 4}" for number in range(40)]
    labels = [number // 4 % 2 for number in range(40)]
    permutations = permuted_labels(labels, people, 300, 2)
    assert (permutations.reshape(300, 10, 4).std(2) == 0).all()
    own = np.repeat(np.random.default_rng(3).normal(size=10), 4)[:, None]
    found = separate(own, labels, people, permutations, 0.05)
    assert found.p > 0.05 and found.pair_auc is None


def test_verdicts_follow_from_significance_size_and_kind() -> None:
    def score(
        auc: float, detectable: float | None, pair_auc: float | None = None, limit: float | None = 0.6
    ) -> AuditScore:
        return AuditScore(Separation(0, auc, pair_auc, 0.01, detectable, limit), 0.5, "a", "")

    assert verdict("container", score(0.6, 0.6), True) == "leak"
    assert verdict("traces", score(0.51, 0.6, pair_auc=0.9), True) == "leak"
    assert verdict("size", score(1.0, 0.6), True) == "differs"
    assert verdict("container", score(0.54, 0.53), True) == "slight"
    assert verdict("container", score(0.6, 0.7), False) == "no difference"
    assert verdict("container", score(0.6, 0.8), False) == "cannot tell"
    assert verdict("container", score(0.65, 0.7, limit=0.8), False) == "cannot tell", "0.65 may well be 0.8"
    assert verdict("container", score(0.5, None, limit=None), False) == "no difference"
    assert score_facts({"a": [1.0, 1.0]}, [1, 1], ["p", "q"], SETTINGS, seed=0) is None


def test_traces_of_frozen_repeated_equal_and_padded_clips(tmp_path: Path) -> None:
    def written(name: str, frames: np.ndarray) -> Row:
        write_working_clip(tmp_path / f"{name}.mp4", frames, 25)
        return {"video_id": name, "path": str(tmp_path / f"{name}.mp4")}

    real = clip(1, frames=20, side=64)
    fake = clip(2, frames=20, side=64)
    frozen = np.concatenate([np.repeat(fake[:1], 5, axis=0), fake[5:]])
    equal = np.concatenate([real[3:4], fake[1:]])
    padded = fake.copy()
    padded[:, :16] = padded[:, 16:17]
    rows = [written(name, frames) for name, frames in (("frozen", frozen), ("equal", equal), ("padded", padded))]
    found = {row["video_id"]: facts for row, facts in traces_of_source(written("real", real), rows)}
    assert [found[name]["frozen start"] > 0.2 for name in found] == [False, True, False, False]
    assert found["frozen"]["repeated frames"] == pytest.approx(4 / 19)
    assert [found[name]["equal start"] for name in found] == [0.0, 0.0, 1.0, 0.0]
    assert found["equal"]["distance to source"] < 0.3 < found["frozen"]["distance to source"]
    assert [found[name]["padding"] > 0.2 for name in found] == [False, False, False, True]
    alone = [facts for _, facts in traces_of_source(None, rows[:1])]
    assert np.isnan(alone[0]["equal start"]) and alone[0]["repeated frames"] > 0


def test_picture_facts_measure_colour_sharpness_and_spectrum() -> None:
    flat = np.full((64, 64, 3), (200, 100, 50), np.uint8)
    noisy = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    facts = picture_facts([flat, flat])
    assert (facts["mean R"], facts["mean G"], facts["mean B"], facts["sharpness"]) == (200, 100, 50, 0)
    assert picture_facts([noisy])["band 0.75"] > facts["band 0.75"] + 5


def test_videos_without_stills_have_facts_of_their_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = make_dataset(tmp_path, people=2)
    monkeypatch.chdir(tmp_path)
    frames = read_table(manifest / "frames.parquet")
    kept = frames.filter(pc.not_equal(frames["video_id"], "s1"))
    write_table(kept, tmp_path / "kept.parquet", FRAME_INDEX)
    rows = []
    for part in range(2):
        write_clip_facts(manifest / "videos.parquet", tmp_path / "kept.parquet", tmp_path / "facts.parquet", part, 2)
        rows += read_rows(tmp_path / "facts.parquet")
    named = [(row["video_id"], row["quality"]) for row in rows]
    assert sorted(named) == sorted(set(named)) and len(named) == 8
    assert {row["video_id"] for row in rows if row["brightness: brightness"] is None} == {"s1"}
    assert all(row["container: frames"] == 6 and row["size: coded bytes"] > 0 for row in rows)
