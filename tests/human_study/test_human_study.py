"""Human study: a fair choice of clips, strict answers, and intervals that hold for new people and new clips."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from deepfakemnist.cli.main import main
from deepfakemnist.errors import ConfigError
from deepfakemnist.human_study.analysis import Answers, analyse, d_prime, read_answers
from deepfakemnist.human_study.sheet import KEY_COLUMNS, choose_clips
from deepfakemnist.tables.dataset_schemas import VIDEOS
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import Lines, write_tsv

ACTIONS = ("blink", "nod", "yaw")


def dataset(people: int, folder: Path = Path()) -> list[Row]:
    """A real and a fake of every action of each person, at two qualities."""
    rows = []
    for person in range(people):
        for action in ("", *ACTIONS):
            for quality in ("raw", "c23"):
                name = f"s{person}@{action}" if action else f"s{person}"
                common = {"quality": quality, "split": "test", "person_id": f"p{person}", "sha256": f"{name}{quality}"}
                path = folder / quality / f"{name}.mp4"
                rows.append(
                    {"video_id": name, "label": int(bool(action)), "action": action, "path": str(path), **common}
                )
    return rows


def test_half_are_real_nobody_is_shown_twice_and_actions_are_balanced() -> None:
    chosen = choose_clips(dataset(30), 24, "c23", "test", seed=3)
    assert Counter(row["label"] for row in chosen) == {0: 12, 1: 12}
    assert len({row["person_id"] for row in chosen}) == 24
    assert Counter(row["action"] for row in chosen if row["label"]) == dict.fromkeys(ACTIONS, 4)
    assert {row["quality"] for row in chosen} == {"c23"}
    labels = [row["label"] for row in chosen]
    assert labels != sorted(labels) and labels != sorted(labels, reverse=True)
    assert [row["video_id"] for row in choose_clips(dataset(30), 24, "c23", "test", seed=3)] == [
        row["video_id"] for row in chosen
    ]
    assert choose_clips(dataset(30), 24, "c23", "test", seed=4) != chosen


@pytest.mark.parametrize(
    ("count", "quality", "message"),
    [(7, "c23", "must be even"), (4, "c99", "the dataset has c23, raw"), (40, "c23", "has 9 people.*at most 8")],
)
def test_a_choice_that_cannot_be_made_is_explained(count: int, quality: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_clips(dataset(9), count, quality, "test", seed=0)


def test_files_have_neutral_names_and_the_key_stays_outside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = dataset(8, tmp_path)
    for row in rows:
        path = Path(row["path"])
        path.parent.mkdir(exist_ok=True)
        path.write_text(row["sha256"])
    write_table([{name: row.get(name) for name in VIDEOS.names} for row in rows], tmp_path / "m/videos.parquet", VIDEOS)
    words = ["study", "make", str(tmp_path / "out"), "--manifest", str(tmp_path / "m"), "--clips", "6"]
    assert main(words) == 0
    assert "keep" in capsys.readouterr().out
    folder = tmp_path / "out/participants"
    names = [f"clip-{number:03d}" for number in range(1, 7)]
    assert {path.name for path in folder.iterdir()} == {"form.html", *(f"{name}.mp4" for name in names)}
    key = [row for _, row in Lines(tmp_path / "out/key.tsv", "key")]
    assert [row["clip"] for row in key] == names
    for row in key:
        assert (folder / f"{row['clip']}.mp4").read_text() == row["sha256"]
    form = (folder / "form.html").read_text()
    assert all(name in form for name in names) and "surely fake" in form
    assert not any(row["video_id"] in form for row in key)
    assert main(words) == 1
    assert "is not empty" in capsys.readouterr().err


def write_study(folder: Path, ratings: dict[str, list[int]]) -> tuple[Path, list[Path]]:
    """A key of alternating classes, and a file of answers per participant."""
    count = len(next(iter(ratings.values())))
    rows = [
        {
            **dict.fromkeys(KEY_COLUMNS, "x"), "clip": f"c{number}", "label": number % 2,
            "action": ACTIONS[number % 3] if number % 2 else "",
        }
        for number in range(count)
    ]  # fmt: skip
    write_tsv(folder / "key.tsv", KEY_COLUMNS, rows)
    files = []
    for name, values in ratings.items():
        given = [{"participant": name, "clip": f"c{n}", "rating": value} for n, value in enumerate(values)]
        files.append(folder / f"{name}.tsv")
        write_tsv(files[-1], ("participant", "clip", "rating"), given)
    return folder / "key.tsv", files


def test_results_of_two_participants(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Anna knows everything; Ben takes every clip for real, with more doubt of the fakes."""
    key, files = write_study(tmp_path, {"anna": [1, 6] * 10, "ben": [1, 2] * 10})
    anna, ben, whole = analyse(read_answers(key, files))[0]
    assert (anna["accuracy"], anna["hits"], anna["false_alarms"], anna["auc"]) == (1.0, 1.0, 0.0, 1.0)
    assert (ben["accuracy"], ben["hits"], ben["false_alarms"], ben["auc"]) == (0.5, 0.0, 0.0, 1.0)
    # z(10.5 / 11) - z(0.5 / 11), and the same twice.
    assert anna["d_prime"] == pytest.approx(3.3804, abs=1e-3) and ben["d_prime"] == pytest.approx(0.0)
    assert whole["accuracy"] == 0.75 and whole["d_prime"] == pytest.approx(1.6902, abs=1e-3)
    assert anna["accuracy_high"] == 1.0 and 0.8 < anna["accuracy_low"] < 0.95
    assert whole["accuracy_low"] is None  # two people do not show how much people differ
    assert main(["study", "analyse", str(key), *map(str, files), "--out", str(tmp_path / "results")]) == 0
    out = capsys.readouterr().out
    assert "2 participants, 20 clips" in out and "accuracy\t75.0 % [too few participants or clips]" in out
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"participants.tsv", "actions.tsv"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("c3\t", "zz\t"), "line 5: 'zz' is no clip"),
        (("c3\t6", "c3\t7"), "line 5: rating '7'; allowed are 1"),
        (("c3\t", "c2\t"), "has already rated c2"),
        (("anna\tc3\t6\n", ""), "'anna' rated 9 of 10 clips; the first of the others is c3"),
        (("rating", "score"), "has no column rating"),
    ],
)
def test_answers_that_do_not_fit_are_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    key, (path,) = write_study(tmp_path, {"anna": [1, 6] * 5})
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(ConfigError, match=message):
        read_answers(key, [path])


def test_a_file_given_twice_is_noticed(tmp_path: Path) -> None:
    key, (path,) = write_study(tmp_path, {"anna": [1, 6] * 5})
    with pytest.raises(ConfigError, match="is a file given twice"):
        read_answers(key, [path, path])


def test_d_prime_is_that_of_the_log_linear_correction() -> None:
    assert d_prime(5, 10, 5, 10) == pytest.approx(0.0)
    assert d_prime(0, 10, 10, 10) == pytest.approx(-d_prime(10, 10, 0, 10))


def simulated(people: int, clips: int, seed: int) -> Answers:
    """Answers with an effect of the participant and one of the clip on the logit; the truth is 0.5 on average."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 0.7, (people, 1)) + rng.normal(0, 0.7, (1, clips))
    right = rng.random((people, clips)) < 1 / (1 + np.exp(-logit))
    label = np.tile(np.arange(clips) % 2, (people, 1))
    rating = np.where(right == (label == 1), 5.0, 2.0)
    names = np.broadcast_to(np.arange(people)[:, None], (people, clips)).astype(str).ravel()
    clip = np.broadcast_to(np.arange(clips), (people, clips)).astype(str).ravel()
    return Answers(names, clip, rating.ravel(), label.ravel(), np.full(people * clips, "nod"))


@pytest.mark.slow
def test_intervals_cover_for_new_participants_and_new_clips() -> None:
    """100 studies: a standard error of 2.2 points; the bound is three of them below 95 %."""
    covered = 0
    for seed in range(100):
        whole = analyse(simulated(15, 40, seed))[0][-1]
        covered += whole["accuracy_low"] <= 0.5 <= whole["accuracy_high"]
    assert covered / 100 >= 0.885


def test_the_names_of_clips_say_nothing_of_their_class() -> None:
    """The order is that of a hash, in which the classes of neighbours are independent."""
    chosen = choose_clips(dataset(400), 400, "raw", "test", seed=1)
    same = sum(one["label"] == other["label"] for one, other in pairwise(chosen))
    # 399 pairs with an expected half: a standard deviation of 10.
    assert abs(same - 199.5) < 40
