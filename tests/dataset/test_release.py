"""Dataset release: layout, checksums, exclusions, licences, dataset card, Croissant and changelog."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from small_dataset import make_dataset

from deepfakemnist.config.dataset import Creator, Quality, ReleaseSettings
from deepfakemnist.dataset import audit_statement
from deepfakemnist.dataset.card import write_card
from deepfakemnist.dataset.changelog import compare
from deepfakemnist.dataset.check import check_dataset
from deepfakemnist.dataset.croissant import validate
from deepfakemnist.dataset.exclusions import ExclusionError, write_proof
from deepfakemnist.dataset.facts import facts_of
from deepfakemnist.dataset.identity_findings import COLUMNS
from deepfakemnist.dataset.release import write_release
from deepfakemnist.errors import ConfigError
from deepfakemnist.sources.exclusions import Exclusions
from deepfakemnist.tables.dataset_schemas import PUBLISHED_SPLIT, VIDEOS
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import write_tsv

pytestmark = pytest.mark.slow

ONE = {"c23": Quality(crf=23, preset="ultrafast")}
SETTINGS = ReleaseSettings(
    name="Tiny set",
    licence="CC-BY-4.0",
    creators=[Creator(name="A. Maker", orcid="0000-0002-1825-0097")],
    contact="out@example.org",
    url="https://example.org/tiny",
    date="2026-01-02",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    make_dataset(root, qualities={"real": ONE, "fake": ONE})
    return root


@pytest.fixture(autouse=True)
def in_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run)


def release(out: Path, exclude: Path | None = None, **changes) -> Path:
    return write_release(Path("results/manifest"), out, SETTINGS.model_copy(update=changes), exclude)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_release_has_the_authors_layout_and_a_matching_manifest(tmp_path: Path) -> None:
    out = release(tmp_path / "out")
    assert files(out) == {
        *(f"c23/real_dataset/selected_{split}/s{n}.mp4" for n, split in enumerate(("train", "train", "val", "test"))),
        *(f"c23/fake_dataset/nod/s{n}@nod-d{n % 2}.mp4" for n in range(4)),
        "frames/real/a.parquet",
        "frames/fake/a.parquet",
        *(f"manifest/{name}.parquet" for name in ("videos", "frames", "pairs")),
        "README.md",
        "CITATION.cff",
        "CHANGELOG.md",
        "LICENCES.tsv",
        "croissant.json",
        "SHA256SUMS",
    }
    assert check_dataset(out / "manifest", out, decode=True) == []
    source = Path("results/compress/real/a/c23/s0.mp4")
    assert (out / "c23/real_dataset/selected_train/s0.mp4").stat().st_ino == source.stat().st_ino
    copied = release(tmp_path / "copied", files="copy")
    assert (copied / "c23/real_dataset/selected_train/s0.mp4").stat().st_ino != source.stat().st_ino
    assert not list(tmp_path.glob(".*"))


def confounds(path: Path, verdict: str) -> Path:
    row = {
        "quality": "c23", "facts": "container", "verdict": verdict, "fact": "fps", "auc": 0.9, "pair_auc": 1.0,
        "p": 0.001, "detectable_auc": 0.62, "auc_limit": 0.6, "forest_auc": 0.9, "videos": 8, "people": 4,
        "telling": "fps 0.90",
    }  # fmt: skip
    sizes = {**row, "facts": "size", "verdict": "differs", "fact": "coded bytes", "telling": "coded bytes 0.90"}
    write_tsv(path, audit_statement.COLUMNS, [row, sizes])
    return path


def test_a_leak_stops_the_release_unless_its_reason_is_given(tmp_path: Path) -> None:
    table = confounds(tmp_path / "audit.tsv", "leak")
    with pytest.raises(ConfigError, match=r"container at c23 \(fps, AUC 0.90, .*release.allow_leaks"):
        write_release(Path("results/manifest"), tmp_path / "out", SETTINGS, audit=table)
    assert not (tmp_path / "out").exists()
    settings = SETTINGS.model_copy(update={"allow_leaks": "as published in 2021"})
    out = write_release(Path("results/manifest"), tmp_path / "out", settings, audit=table)
    card = (out / "README.md").read_text()
    assert (
        "LEAK: real and fake are told apart" in card
        and "It is released all the same, because: as published in 2021." in card
    )
    limits = str(json.loads((out / "croissant.json").read_text())["rai:dataLimitations"])
    assert "LEAK: real and fake" in limits and "the sizes of coded frames: AUC 0.90" in limits


def test_the_card_says_what_was_looked_for_and_what_was_not(tmp_path: Path) -> None:
    found = write_release(
        Path("results/manifest"), tmp_path / "a", SETTINGS, audit=confounds(tmp_path / "audit.tsv", "no difference")
    )
    card = (found / "README.md").read_text()
    assert "no fact has an AUC above 0.60 (95 % confidence), 8 videos of 4 people." in card
    assert "released all the same" not in card
    assert (
        "It was not tested whether anything besides the picture" in (release(tmp_path / "b") / "README.md").read_text()
    )


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="needs coreutils")
def test_sha256sum_verifies_the_checksums(tmp_path: Path) -> None:
    out = release(tmp_path / "out", files="copy")
    check = ["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"]
    assert subprocess.run(check, cwd=out).returncode == 0
    assert len((out / "SHA256SUMS").read_text().splitlines()) == len(files(out)) - 1
    (out / "README.md").write_text("changed")
    assert subprocess.run(check, cwd=out, capture_output=True).returncode == 1


def test_excluded_videos_and_people_are_left_out_with_their_derived_clips(tmp_path: Path) -> None:
    (tmp_path / "out.tsv").write_text("video_id\tperson_id\treason\n\tp1\tasked\ns2\t\tno licence\n\td0\tactor\n")
    out = release(tmp_path / "out", exclusions=tmp_path / "out.tsv")
    videos = read_rows(out / "manifest/videos.parquet")
    # p1 is s1; s2 is listed; d0 drives the fakes of s0 and s2
    assert sorted(row["video_id"] for row in videos) == ["s0", "s3", "s3@nod-d1"]
    assert check_dataset(out / "manifest", out) == []
    for name in ("README.md", "CITATION.cff", "CHANGELOG.md", "LICENCES.tsv", "croissant.json", "SHA256SUMS"):
        text = (out / name).read_text()
        assert "s1@" not in text and "s1." not in text and "s2@" not in text and "s2." not in text, name
    assert {row["fake_id"] for row in read_rows(out / "manifest/pairs.parquet")} == {"s3@nod-d1"}
    kept = {row["video_id"] for path in out.glob("frames/*/*.parquet") for row in read_rows(path)}
    assert kept == {"s0", "s3", "s3@nod-d1"}
    assert "5 videos were left out" in (out / "README.md").read_text()
    proof = json.loads((out / "EXCLUSIONS.json").read_text())
    assert proof["lists_sha256"] == [hashlib.sha256((tmp_path / "out.tsv").read_bytes()).hexdigest()]
    assert (proof["videos_left_out"], proof["violations"], proof["checked"]["videos"]) == (5, 0, 3)
    assert "EXCLUSIONS.json" in (out / "SHA256SUMS").read_text()


def test_the_runs_own_exclusion_list_applies_to_the_release(tmp_path: Path) -> None:
    """People excluded after the run are not released, and a folder that contains them is refused."""
    (tmp_path / "late.tsv").write_text("person_id\treason\np3\tasked yesterday\n")
    out = release(tmp_path / "out", exclude=tmp_path / "late.tsv")
    assert {row["person_id"] for row in read_rows(out / "manifest/videos.parquet")} == {"p0", "p1", "p2"}
    with pytest.raises(ExclusionError) as caught:
        write_proof(out, Exclusions({"s0": "late"}, {"p1": ""}), [], 0)
    for line in (
        "videos: video_id s0: late",
        "videos: person_id p1: no reason given",
        "stored_frames: video_id s0: late",
    ):
        assert line in str(caught.value)


def write_findings(path: Path, *rows: tuple[str, ...]) -> Path:
    """Write findings: kind, verdict, the numbers of two people of make_dataset, and a reason."""
    splits = ("train", "train", "val", "test")
    findings = [
        {"finding": kind, "verdict": verdict, "person_id": f"p{one}", "other_person_id": f"p{other}",
         "split": splits[int(one)], "other_split": splits[int(other)], "video_id": f"s{one}",
         "other_video_id": f"s{other}", "distance": 0.2, "reason": reason}
        for kind, verdict, one, other, reason in rows
    ]  # fmt: skip
    write_tsv(path, COLUMNS, findings)
    return path


def test_a_face_in_two_splits_stops_a_release_until_one_of_them_is_left_out(tmp_path: Path) -> None:
    found = write_findings(tmp_path / "found.tsv", ("same_face", "leak", "1", "3", ""))
    with pytest.raises(ConfigError, match=r"1 pair of people with the same face across splits: s1 \(train\) and s3 \("):
        write_release(Path("results/manifest"), tmp_path / "out", SETTINGS, identities=found)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out.tsv").write_text("person_id\treason\np3\tthe same person as p1\n")
    settings = SETTINGS.model_copy(update={"exclusions": tmp_path / "out.tsv"})
    out = write_release(Path("results/manifest"), tmp_path / "out", settings, identities=found)
    assert "Neither pixels nor a face were found in two splits." in (out / "README.md").read_text()


def test_the_card_states_accepted_pairs_and_what_was_found_within_splits(tmp_path: Path) -> None:
    rows = [("same_face", "accepted", "1", "3", "twins"), ("similar_face", "warning", "0", "1", "")]
    found = write_findings(tmp_path / "found.tsv", *rows)
    out = write_release(Path("results/manifest"), tmp_path / "out", SETTINGS, identities=found)
    card = (out / "README.md").read_text()
    assert "Neither pixels nor a face were found in two splits, but for the pairs below." in card
    assert "Within a split: 1 pair of people with similar faces." in card
    assert "| p1 | p3 | 0.20 | twins |" in card
    unaudited = release(tmp_path / "unaudited")
    assert "Real clips were not compared by face" in (unaudited / "README.md").read_text()


def test_equal_pixels_in_two_splits_stop_a_release_even_unaudited(tmp_path: Path) -> None:
    shutil.copytree("results/manifest", tmp_path / "manifest")
    rows = read_rows(tmp_path / "manifest/videos.parquet")
    pixels = next(row["pixels_sha256"] for row in rows if row["video_id"] == "s0")
    rows = [{**row, "pixels_sha256": pixels} if row["video_id"] == "s2" else row for row in rows]
    write_table(rows, tmp_path / "manifest/videos.parquet", VIDEOS)
    with pytest.raises(
        ConfigError, match=r"1 pair of videos with equal pixels across splits: s0 \(train\) and s2 \(val"
    ):
        write_release(tmp_path / "manifest", tmp_path / "out", SETTINGS)
    write_table(rows, tmp_path / "manifest/videos.parquet", VIDEOS, PUBLISHED_SPLIT)
    assert write_release(tmp_path / "manifest", tmp_path / "out", SETTINGS).is_dir()


def test_stated_and_missing_licences_are_listed(tmp_path: Path) -> None:
    out = release(tmp_path / "out")
    with (out / "LICENCES.tsv").open(newline="") as file:
        stated = {row["source_id"]: row["licence"] for row in csv.DictReader(file, delimiter="\t")}
    assert stated == {"s0": "not stated", "s1": "CC0-1.0", "s2": "not stated", "s3": "CC0-1.0"}
    assert "**2 sources state no licence.**" in (out / "README.md").read_text()
    strict = release(tmp_path / "strict", require_licence=True)
    assert {row["source_id"] for row in read_rows(strict / "manifest/videos.parquet")} == {"s1", "s3"}


def test_the_card_says_in_how_many_fakes_a_mouth_is_the_drivers(tmp_path: Path) -> None:
    videos = read_rows(Path("results/manifest/videos.parquet"))
    for number, path in ((0, tmp_path / "none.md"), (2, tmp_path / "two.md")):
        drivers = {row["video_id"] for row in [row for row in videos if row["label"]][:number]}
        rows = [
            {**row, "licence": "", "mouth_from": "driver" if row["video_id"] in drivers else "source"} for row in videos
        ]
        write_card(path, facts_of(rows), SETTINGS)
        stated = f"In {number} fakes the inside of the mouth shows pixels of the driver"
        assert (stated in path.read_text()) == bool(number)


def test_card_and_citation_state_the_settings_and_counts(tmp_path: Path) -> None:
    out = release(tmp_path / "out")
    _, head, card = (out / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(head)["license_name"] == "CC-BY-4.0"
    assert "4 real videos and 4 fake videos of 1 action." in card
    assert "| train | 2 | 2 | 2 |" in card and "| nod | 4 |" in card
    for section in ("Motivation", "Composition", "Collection", "Consent and licences", "Uses", "Limits", "Maintenance"):
        assert f"## {section}\n" in card
    assert "marked as synthetic (comment,c2pa)" in card
    cited = yaml.safe_load((out / "CITATION.cff").read_text())
    assert cited["authors"] == [{"name": "A. Maker", "orcid": "https://orcid.org/0000-0002-1825-0097"}]
    assert (cited["cff-version"], cited["version"], cited["date-released"]) == ("1.2.0", "1.0.0", "2026-01-02")


def test_the_folder_loads_by_the_configs_of_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    out = release(tmp_path / "out")
    for name, count in (("videos", 8), ("frames", 24), ("pairs", 4)):
        loaded = datasets.load_dataset(str(out), name, split="train", cache_dir=str(tmp_path / "cache"))
        assert len(loaded) == count
    assert loaded[0]["fake_id"].startswith(loaded[0]["real_id"])


def test_croissant_is_valid_and_loads_ten_records(tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    out = release(tmp_path / "out")
    assert validate(out) == []
    dataset = mlcroissant.Dataset(jsonld=str(out / "croissant.json"))
    assert "http://mlcommons.org/croissant/1.1" in str(dataset.metadata.conforms_to)
    assert dataset.metadata.data_use_cases and dataset.metadata.personal_sensitive_information
    frames = read_rows(out / "manifest/frames.parquet")
    loaded = []
    for record in dataset.records("frames"):
        loaded.append(record)
        if len(loaded) == 10:
            break
    assert len(loaded) == 10
    for record, row in zip(loaded, frames, strict=False):
        assert record["frames/video_id"].decode() == row["video_id"]
        assert record["frames/shard_row"] == row["shard_row"]


def test_a_damaged_croissant_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("mlcroissant")
    out = release(tmp_path / "out")
    text = (out / "croissant.json").read_text()
    (out / "croissant.json").write_text(text.replace('"@id": "videos-file"', '"@id": "another-file"', 1))
    with pytest.raises(ValueError, match="videos-file|another-file"):
        validate(out)


def test_a_release_needs_no_settings(tmp_path: Path) -> None:
    pytest.importorskip("mlcroissant")
    out = write_release(Path("results/manifest"), tmp_path / "out", ReleaseSettings())
    assert (out / "SHA256SUMS").is_file()
    assert "unstated" in (out / "README.md").read_text()


def test_changelog_lists_added_removed_and_changed_files(tmp_path: Path) -> None:
    (tmp_path / "list.tsv").write_text("video_id\tperson_id\treason\n\tp0\tasked\n")
    first = release(tmp_path / "one", exclusions=tmp_path / "list.tsv")
    (tmp_path / "list.tsv").write_text("video_id\tperson_id\treason\n\tp1\tasked\n")
    second = release(tmp_path / "two", exclusions=tmp_path / "list.tsv", previous=first, version="1.1.0")
    text = (second / "CHANGELOG.md").read_text()
    assert text.index("## 1.1.0") < text.index("## 1.0.0")
    assert "### Added: 2\n\n* s0 at c23\n* s0@nod-d0 at c23\n" in text
    assert "### Removed: 2\n\n* s1 at c23\n* s1@nod-d1 at c23\n" in text
    assert "### Changed: 0" in text
    before = read_rows(first / "manifest/videos.parquet")
    after = [{**row, "path": "elsewhere", "fold": 9} if row["video_id"] == "s3" else row for row in before]
    assert compare(before, after).changed == {"s3 at c23": ["fold"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qualities": ["raw"]}, r"release.qualities names \['raw'\]; the dataset has \['c23'\]"),
        ({"exclusions": Path("nowhere.tsv")}, "release.exclusions: 'nowhere.tsv' is not a file"),
        ({"previous": Path()}, "is not a release folder; it lacks manifest/videos.parquet"),
    ],
)
def test_unusable_settings_are_errors(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        release(tmp_path / "out", **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video_id\tperson\treason\n", "the columns are video_id, person_id, reason, not video_id, person, reason"),
        ("video_id\tperson_id\treason\n\t\tasked\n", "line 2: names neither a video_id nor a person_id"),
        ("video_id\tperson_id\treason\ns1\t\t\n../x\t\t\n", r"line 3: id '../x' is not allowed"),
    ],
)
def test_an_unreadable_exclusion_list_stops_the_release(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.tsv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        release(tmp_path / "out", exclusions=tmp_path / "list.tsv")


def test_an_older_release_stands_until_the_new_one_does(tmp_path: Path) -> None:
    out = release(tmp_path / "out", files="copy")
    before = {name: (out / name).read_bytes() for name in files(out)}
    (tmp_path / "out.tsv").write_text("person_id\n" + "".join(f"p{number}\n" for number in range(4)))
    with pytest.raises(ConfigError, match="nothing is left to release"):
        release(out, exclusions=tmp_path / "out.tsv")
    with pytest.raises(ConfigError, match="is not a release folder"):
        release(out, previous=tmp_path)  # noticed when half of the new one is written
    assert {name: (out / name).read_bytes() for name in files(out)} == before and not list(tmp_path.glob(".*"))
    # Killed between the two renames of an exchange: the next run finds the old release again.
    out.rename(tmp_path / ".out.old")
    assert "### Changed: 0" in (release(out, previous=out) / "CHANGELOG.md").read_text()
    link = tmp_path / "latest"
    link.symlink_to(out)
    release(link, version="2.0.0")
    assert link.is_symlink() and "2.0.0" in (out / "README.md").read_text() and not list(tmp_path.glob(".*"))


def test_a_folder_that_is_no_release_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "home/papers").mkdir(parents=True)
    (tmp_path / "home/papers/thesis.tex").write_text("years of work")
    for out in (tmp_path / "home", tmp_path / "home/papers/thesis.tex"):
        with pytest.raises(ConfigError, match="exists and is not a release, so it is not replaced"):
            release(out)
    assert (tmp_path / "home/papers/thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video_id": "../../x"}, r"'../../x' of the manifest makes no file name"),
        ({"split": "../train"}, "makes no file name"),
        ({"quality": "a/b"}, "makes no file name"),
        ({"video_id": "S1"}, r"selected_train/s1.mp4 and .*/S1.mp4 differ in case alone"),
    ],
)
def test_names_that_make_no_file_name_are_not_released(tmp_path: Path, changes: Row, message: str) -> None:
    shutil.copytree("results/manifest", tmp_path / "manifest")
    rows = read_rows(tmp_path / "manifest/videos.parquet")
    rows = [{**row, **changes} if row["video_id"] == "s0" else row for row in rows]
    write_table(rows, tmp_path / "manifest/videos.parquet", VIDEOS)
    with pytest.raises(ConfigError, match=message):
        write_release(tmp_path / "manifest", tmp_path / "out", SETTINGS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest"]


def test_the_card_renders_no_markup_of_a_licence(tmp_path: Path) -> None:
    videos = read_rows(Path("results/manifest/videos.parquet"))
    licence = "<img src=x onerror=alert(1)>|[x](javascript:alert(1))\n# Heading"
    write_card(tmp_path / "card.md", facts_of([{**row, "licence": licence} for row in videos]), SETTINGS)
    card = (tmp_path / "card.md").read_text()
    assert "| &lt;img src=x onerror=alert(1)&gt;\\|\\[x\\](javascript:alert(1)) # Heading | 4 |" in card
    assert "<" not in card.split("---", 2)[2]
