"""Exclusion list and candidate sampling: exclusions are complete, sampling is seeded and balanced over people."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from deepfakemnist.config.stages import SelectionSettings, SourceSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import seed_from
from deepfakemnist.sources.candidates import choose_candidates, stratified_order
from deepfakemnist.sources.exclusions import read_exclusions
from deepfakemnist.sources.read import read_sources
from deepfakemnist.sources.sheets import Sheet


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    lines = [f"{person}#{number}\tv.mp4" for person in ("anna", "bob", "eve") for number in range(3)]
    return write(tmp_path / "sources.tsv", "video_id\tpath\n" + "\n".join(lines) + "\n")


def test_videos_and_people_are_left_out_with_a_reason(tmp_path: Path, sheet: Path) -> None:
    path = write(tmp_path / "x.tsv", "video_id\tperson_id\treason\nanna#1\t\tno consent\n\tbob\ttakedown 2021-5\n")
    found = read_sources(SourceSettings(sheet=sheet, exclude=path))
    assert [row["video_id"] for row in found.rows] == ["anna#0", "anna#2", "eve#0", "eve#1", "eve#2"]
    reasons = {row["video_id"]: (row["reason"], row["person_id"]) for row in found.refused}
    assert reasons == {"anna#1": ("excluded", "anna"), **{f"bob#{n}": ("excluded", "bob") for n in range(3)}}
    assert found.refused[1]["detail"].endswith("x.tsv: person_id bob: takedown 2021-5")


def test_violations_prove_compliance_with_the_list(tmp_path: Path) -> None:
    """Whichever column a video or person appears in."""
    listed = read_exclusions(write(tmp_path / "x.tsv", "video_id\tperson_id\treason\nd1\t\tlate\n\tbob\t\n"))
    fake = {"video_id": "a@d2", "source_id": "a", "driver_id": "d2", "person_id": "anna", "driver_person_id": "eve"}
    assert listed.violations([fake]) == []
    assert listed.violations([{**fake, "driver_id": "d1"}]) == ["driver_id d1: late"]
    assert listed.violations([{**fake, "driver_person_id": "bob"}]) == ["driver_person_id bob: no reason given"]


def test_excluding_a_video_removes_all_its_segments(tmp_path: Path) -> None:
    """Takedowns name the video, ids name a segment of it; a fake's id contains source and driver."""
    listed = read_exclusions(write(tmp_path / "x.tsv", "video_id\treason\n-7w0_IB\tgone\nid9#zz#1#2\t\n"))
    segments = [{"video_id": f"id1#{video}#000010#000090"} for video in ("-7w0_IB", "7w0_IB")]
    assert listed.violations(segments) == ["video_id id1#-7w0_IB#000010#000090: gone"]
    assert len(listed.violations([{"video_id": "a@id2#-7w0_IB#1#2"}, {"fake_id": "id9#zz#1#2@d"}])) == 2
    assert listed.violations([{"video_id": "id9#zz#1#3"}, {"source_id": None}]) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\nx\n", r"line 1: the columns are video_id, person_id, reason, not name"),
        ("video_id\tperson_id\n../a\t\n", r"line 2: id '../a' is not allowed"),
        ("video_id\tperson_id\treason\na\t\tok\n\t\tx\n", "line 3"),
        ("video_id\treason\na\t" + "x" * 200_000, "x.tsv line 2: field larger than"),
    ],
)
def test_unusable_lists(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_exclusions(write(tmp_path / "x.tsv", text))


def test_excluding_every_source_is_an_error(tmp_path: Path, sheet: Path) -> None:
    path = write(tmp_path / "x.tsv", "person_id\nanna\nbob\neve\n")
    with pytest.raises(ConfigError, match="excludes every source"):
        read_sources(SourceSettings(sheet=sheet, exclude=path))


def rows(people: int, each: int) -> list[dict]:
    """Clips of 1 to ``each`` seconds per person."""
    return [
        {"video_id": f"p{p}#{n}", "person_id": f"p{p}", "action": "", "start_s": 0.0, "end_s": 1.0 + n, "boxes": None}
        for p in range(people)
        for n in range(each)
    ]


def test_candidates_are_balanced_over_people_and_length() -> None:
    everything = rows(10, 8)
    kept = choose_candidates(Sheet(everything), SelectionSettings(candidates=40), seed=1)
    assert set(Counter(row["person_id"] for row in kept.rows).values()) == {4}
    lengths = Counter(min(int(row["end_s"] - 1) // 2, 3) for row in kept.rows)
    assert all(8 <= count <= 12 for count in lengths.values()) and len(lengths) == 4
    assert {row["reason"] for row in kept.refused} == {"not_chosen"} and len(kept.refused) == 40


def test_sampling_depends_on_the_seed_not_on_the_order() -> None:
    everything = rows(6, 5)

    def first(seed: int, backwards: bool = False) -> list[str]:
        return [row["video_id"] for row in stratified_order(everything[:: -1 if backwards else 1], [], seed)][:10]

    assert first(1) == first(1, backwards=True) != first(2)
    assert sorted(row["video_id"] for row in stratified_order(everything, [], 3)) == sorted(
        r["video_id"] for r in everything
    )


def test_a_person_more_or_less_changes_few_other_candidates() -> None:
    everything = [
        {**row, "end_s": 1.0 + seed_from("length", row["video_id"]) % 997 / 40} for row in rows(people=120, each=7)
    ]
    chosen = [
        {row["video_id"] for row in choose_candidates(Sheet(some), SelectionSettings(candidates=300), seed=1).rows}
        for some in (everything, [row for row in everything if row["person_id"] != "p40"])
    ]
    lost = {name for name in chosen[0] - chosen[1] if not name.startswith("p40#")}
    assert len(lost) <= 6
    lengths = Counter(int(row["end_s"] // 6.5) for row in everything if row["video_id"] in chosen[0])
    assert all(60 <= count <= 90 for count in lengths.values())


def test_more_videos_than_candidates_is_refused() -> None:
    with pytest.raises(ValueError, match="candidates 5 must be at least videos 6"):
        SelectionSettings(videos=6, candidates=5)
