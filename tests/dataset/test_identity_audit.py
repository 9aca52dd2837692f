"""Identity audit: one face or equal pixels across splits and people, accepted pairs, memory, and the release gate."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from deepfakemnist.config.dataset import IdentitySettings
from deepfakemnist.dataset.identity_audit import audit_identities, compare_faces, read_accepted
from deepfakemnist.dataset.identity_findings import leak_message, leaks_among, summary_for_terminal
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.dataset_schemas import PUBLISHED_SPLIT, VIDEOS
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import IDENTITIES, Row
from deepfakemnist.tables.tsv import read_tsv

SETTINGS = IdentitySettings()
FIELDS = ("finding", "verdict", "person_id", "other_person_id")


def source(name: str, person: str, split: str, *face: float) -> Row:
    """Return a source whose embedding begins with ``face``; distances follow from those coordinates."""
    embedding = [*map(float, face), *[0.0] * (128 - len(face))]
    row = {"video_id": name, "person_id": person, "split": split, "embedding": embedding}
    return {**row, "status": "ok", "reason": "", "detail": ""}


def short(findings: list[Row]) -> list[tuple[str, ...]]:
    return [tuple(row[name] for name in FIELDS) for row in findings]


def write_dataset(folder: Path, sources: list[Row], metadata: dict[str, str] | None = None) -> tuple[list[Path], Path]:
    """Write the IDENTITIES and VIDEOS tables of sources, and a fake with the face and split of each."""
    identities = [{name: row[name] for name in row if name in IDENTITIES.names} for row in sources]
    write_table(identities, folder / "identities.parquet", IDENTITIES)
    videos = []
    for row in sources:
        pixels = {"pixels_sha256": row.get("pixels", row["video_id"]), "quality": "raw"}
        facts = {"source_id": row["video_id"], "person_id": row["person_id"], "split": row["split"], "quality": "raw"}
        videos.append({**facts, **pixels, "video_id": row["video_id"], "label": 0})
        name = f"{row['video_id']}@d"
        videos.append({**facts, "pixels_sha256": name, "video_id": name, "label": 1})
    write_table(videos, folder / "videos.parquet", VIDEOS, metadata)
    return [folder / "identities.parquet"], folder / "videos.parquet"


def audit(folder: Path, sources: list[Row], metadata: dict[str, str] | None = None, **settings: object) -> list[Row]:
    identities, videos = write_dataset(folder, sources, metadata)
    return audit_identities(identities, videos, folder / "found.tsv", IdentitySettings(**settings))


@pytest.mark.parametrize(
    ("distance", "split", "found"),
    [
        (0.24, "test", [("same_face", "leak", "p", "q")]),
        (0.24, "train", [("same_face", "warning", "p", "q")]),
        (0.26, "test", [("similar_face", "warning", "p", "q")]),
        (0.41, "test", []),
    ],
)
def test_two_people_with_one_face(distance: float, split: str, found: list[tuple[str, ...]]) -> None:
    sources = [source("a", "p", "train", 0), source("b", "q", split, distance), source("c", "r", "val", 5)]
    findings = compare_faces(sources, SETTINGS, {})
    assert short(findings) == found
    assert all(row["distance"] == pytest.approx(distance, abs=1e-3) for row in findings)


def test_the_nearest_clips_of_two_people_are_named_once() -> None:
    sources = [source(f"{person}{n}", person, split, x + 0.2 * n) for n in range(3) for person, split, x in
               (("p", "train", 0.0), ("q", "test", 0.6))]  # fmt: skip
    (row,) = compare_faces(sources, SETTINGS, {})
    assert (row["video_id"], row["other_video_id"], row["verdict"]) == ("p2", "q0", "leak")
    assert (row["split"], row["other_split"]) == ("train", "test")


def test_one_person_with_two_faces() -> None:
    near = [source("a", "p", "train", 0), source("b", "p", "train", 0.55), source("c", "p", "train", 1.1)]
    assert compare_faces(near, SETTINGS, {}) == []  # b connects a and c
    far = [*near, source("x", "p", "train", 3), source("y", "p", "train", 3.2)]
    (row,) = compare_faces(far, SETTINGS, {})
    assert short([row]) == [("two_faces", "warning", "p", "p")]
    assert (row["video_id"], row["other_video_id"]) == ("c", "x")
    (row,) = compare_faces(far, SETTINGS, {("p", "p"): "with and without a mask"})
    assert (row["verdict"], row["reason"]) == ("accepted", "with and without a mask")


def test_accepted_people_are_listed_with_their_reason_and_hide_nobody() -> None:
    twins = [source(f"t{n:02}", f"twin{n:02}", "train", 0.1, 0.001 * n) for n in range(20)]
    sources = [source("a", "p", "test", 0), *twins, source("z", "q", "val", 0.2)]
    accepted = {("p", f"twin{n:02}"): "looked at" for n in range(20)}
    found = {(row["other_person_id"], row["verdict"]) for row in compare_faces(sources, SETTINGS, accepted)
             if row["person_id"] == "p"}  # fmt: skip
    assert found == {("q", "leak"), *((f"twin{n:02}", "accepted") for n in range(20))}


def test_pairs_agree_with_an_exhaustive_comparison() -> None:
    """Across the edges of blocks, with several clips per person, for every pair of people within the threshold."""
    rng = np.random.default_rng(3)
    centres = rng.normal(0, 0.5, (500, 3))
    people = rng.integers(0, 500, 1400)
    faces = centres[people] + rng.normal(0, 0.01, (1400, 3))
    sources = [
        source(f"v{n:04}", f"p{person:03}", ("train", "val", "test")[person % 3], *face)
        for n, (person, face) in enumerate(zip(people, faces, strict=True))
    ]
    distances = np.linalg.norm(faces[:, None] - faces[None], axis=2)
    limit = 0.08
    wanted = {
        tuple(sorted((f"p{people[i]:03}", f"p{people[j]:03}")))
        for i, j in np.argwhere(distances <= limit)
        if people[i] != people[j]
    }
    found = compare_faces(sources, IdentitySettings(same_face=limit, similar_face=limit), {})
    assert len(wanted) > 20
    assert {(row["person_id"], row["other_person_id"]) for row in found} == wanted
    assert all((row["verdict"] == "leak") == (row["split"] != row["other_split"]) for row in found)


def test_rows_do_not_grow_with_the_square_of_sources() -> None:
    """One face under 300 ids: 44,850 pairs."""
    sources = [source(f"v{n:03}", f"p{n:03}", "train" if n % 2 else "test", 0.0001 * n) for n in range(300)]
    found = compare_faces(sources, SETTINGS, {})
    assert {row["person_id"] for row in found} | {row["other_person_id"] for row in found} == {
        row["person_id"] for row in sources
    }
    assert len(found) <= 8 * 300


def test_memory_does_not_grow_with_the_square_of_sources() -> None:
    """The distances between 4,000 sources would take 64 MB, and as much again for each step of computing them."""
    embeddings = np.random.default_rng(1).normal(0, 1, (4000, 128)).astype(np.float32)
    sources = [{"video_id": f"v{n}", "person_id": f"p{n}", "split": "train", "embedding": face}
               for n, face in enumerate(embeddings)]  # fmt: skip
    tracemalloc.start()
    assert compare_faces(sources, SETTINGS, {}) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64e6


def test_equal_pixels_are_a_leak_across_splits_and_a_warning_under_two_people(tmp_path: Path) -> None:
    rows = [("a", "p", "train", "1"), ("b", "q", "test", "1"), ("c", "r", "train", "1")]
    rows += [("d", "s", "val", "2"), ("e", "s", "val", "2")]
    sources = [source(name, person, split, 2.0 * "pqrs".index(person)) | {"pixels": pixels}
               for name, person, split, pixels in rows]  # fmt: skip
    (tmp_path / "accepted.tsv").write_text("person_id\tother_person_id\treason\np\tq\tlooked at\n")
    findings = audit(tmp_path, sources, accepted=tmp_path / "accepted.tsv")
    assert short(findings) == [("equal_pixels", "leak", "p", "q"), ("equal_pixels", "warning", "p", "r")]
    assert [row["verdict"] for row in read_tsv(tmp_path / "found.tsv")] == ["leak", "warning"]


def test_fakes_share_the_face_of_their_source_and_a_published_split_is_kept(tmp_path: Path) -> None:
    twice = [source("a", "p", "train", 0), source("b", "q", "test", 0.1)]
    assert [row["video_id"] for row in audit(tmp_path, twice)] == ["a"]
    assert short(audit(tmp_path, twice, PUBLISHED_SPLIT)) == [("same_face", "warning", "p", "q")]


def test_a_source_without_a_face_is_no_finding(tmp_path: Path) -> None:
    lost = source("b", "q", "test") | {"status": "rejected", "reason": "no_face", "embedding": None}
    assert audit(tmp_path, [source("a", "p", "train", 0), lost]) == []
    assert summary_for_terminal(tmp_path / "found.tsv") == ""


def test_the_terminal_names_the_leaks_and_where_to_look(tmp_path: Path) -> None:
    sources = [source("a", "p", "train", 0), source("b", "q", "test", 0.1), source("c", "r", "val", 0.45)]
    audit(tmp_path, sources)
    assert summary_for_terminal(tmp_path / "found.tsv").splitlines() == [
        "WARNING: The splits leak: 1 pair of people with the same face across splits: a (train) and b (test).",
        "Detectors are tested on what they were trained on; a release is refused.",
        "To be looked at: 1 pair of people with similar faces.",
        f"All are in {tmp_path / 'found.tsv'}, and with pictures in the report (Dataset, identities).",
    ]
    assert summary_for_terminal(tmp_path / "absent.tsv") == ""


def test_a_leak_of_a_video_that_is_left_out_is_none() -> None:
    leak = {"finding": "same_face", "verdict": "leak", "video_id": "a", "other_video_id": "b",
            "split": "train", "other_split": "test"}  # fmt: skip
    fake = {"video_id": "b@d", "source_id": "b"}
    assert leaks_among([leak], [{"video_id": "a", "source_id": "a"}, fake]) == [leak]
    assert leaks_among([leak], [{"video_id": "a", "source_id": "a"}]) == []
    assert leak_message([]) == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "person_id\treason\np\tx\n",
            "line 1: the columns are person_id, other_person_id, reason, not person_id, reas",
        ),
        ("person_id\tother_person_id\treason\np\tq\t \n", "line 2: two person ids and a reason are required"),
        ("person_id\tother_person_id\treason\np\n", "line 2: two person ids and a reason are required"),
    ],
)
def test_an_unusable_list_of_accepted_pairs_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "accepted.tsv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_accepted(tmp_path / "accepted.tsv")
    with pytest.raises(ConfigError, match=r"accepted: '.*none\.tsv' is not a file"):
        read_accepted(tmp_path / "none.tsv")


def test_thresholds_are_in_order() -> None:
    with pytest.raises(ValueError, match=r"same_face is 0\.5, above similar_face, 0\.4"):
        IdentitySettings(same_face=0.5)
