"""Packed answers: few files instead of many, read like loose ones, and never lost."""

import json
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

from deepfakemnist.cli.main import main
from deepfakemnist.liveness import packs
from deepfakemnist.liveness.costs import summarize_ledgers
from deepfakemnist.liveness.ledger import Ledger, forget, pack_answers, read_answers, read_forgotten
from deepfakemnist.liveness.responses import Unreadable

ANSWERS = 60


def ask(folder, pixels, live=True):
    """Return the answer about a clip, and whether it was requested."""
    sent = []

    def request(question):
        question.leaves(0.1)
        sent.append(pixels)
        return {"live": live, "action": "blink", "cost": 0.1, "attempts": 1, "latency_s": 0.2}

    answer = Ledger(folder, "tianyan").get_or_request(pixels, {"motion": "blink"}, request, lambda price: None)
    return answer, bool(sent)


@pytest.fixture
def answers(tmp_path):
    """A folder of ledgers with 60 answers of one provider."""
    for number in range(ANSWERS):
        ask(tmp_path, f"clip {number}", live=number % 2 == 0)
    return tmp_path


def files_of(folder):
    return [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "locks"]


def test_packed_answers_are_read_like_loose_ones_and_nothing_is_asked_again(answers):
    before, summary = sorted(read_answers(answers), key=lambda one: one["key"]), summarize_ledgers(answers)
    assert len(before) == len(files_of(answers)) == ANSWERS
    assert pack_answers(answers) == (ANSWERS, [])
    assert len(files_of(answers)) < ANSWERS and {path.suffix for path in files_of(answers)} == {".zip"}
    assert not [path for path in (answers / "tianyan").iterdir() if path.is_dir() and path.name != "locks"]
    assert sorted(read_answers(answers), key=lambda one: one["key"]) == before
    assert summarize_ledgers(answers) == summary
    for number in range(ANSWERS):
        answer, sent = ask(answers, f"clip {number}")
        assert not sent and answer["live"] == (number % 2 == 0)


def test_answers_that_come_later_join_their_pack(answers):
    pack_answers(answers)
    for number in range(ANSWERS, 2 * ANSWERS):
        ask(answers, f"clip {number}")
    assert len(list(read_answers(answers))) == 2 * ANSWERS
    assert pack_answers(answers) == (ANSWERS, [])
    assert len(list(read_answers(answers))) == 2 * ANSWERS and not list(answers.glob("tianyan/??/*.json"))
    assert pack_answers(answers) == (0, [])


def test_a_packed_answer_can_be_set_aside_and_is_asked_again(answers):
    pack_answers(answers)
    key = ask(answers, "clip 7")[0]["key"]
    assert forget(answers, "tianyan", [key]) == 1
    assert [one["key"] for one in read_forgotten(answers)] == [key]
    assert key not in {one["key"] for one in read_answers(answers)}
    assert ask(answers, "clip 7")[1]
    assert len(list(read_answers(answers))) == ANSWERS


def test_a_kill_between_pack_and_deletion_counts_no_answer_twice(answers, monkeypatch):
    unlink = Path.unlink

    def killed(path, **options):
        if path.suffix == ".json":
            raise KeyboardInterrupt
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        pack_answers(answers)
    monkeypatch.undo()
    assert list(answers.glob("tianyan/*.zip"))
    assert len(list(read_answers(answers))) == ANSWERS
    pack_answers(answers)
    assert len(list(read_answers(answers))) == ANSWERS and not list(answers.glob("tianyan/??/*.json"))


def test_answers_that_a_job_holds_stay_loose_until_the_next_time(answers):
    key = ask(answers, "clip 0")[0]["key"]
    with FileLock(answers / f"tianyan/locks/{key[:3]}.lock"):
        count, left = pack_answers(answers)
        assert 0 < count < ANSWERS and len(left) == 1 and "a job is asking; pack again later" in left[0]
    assert len(list(read_answers(answers))) == ANSWERS
    assert pack_answers(answers)[1] == []


def test_a_damaged_answer_is_left_where_it_is_and_named(answers, capsys):
    damaged = next(answers.glob("tianyan/??/*.json"))
    damaged.write_text("{")
    assert main(["liveness", "pack", str(answers)]) == 1
    printed = capsys.readouterr().out
    assert f"{ANSWERS - 1} answers packed" in printed and f"left: {damaged} is damaged" in printed
    assert damaged.read_text() == "{"


@pytest.mark.parametrize("damage", ["cut", "byte", "other"])
def test_a_damaged_pack_is_never_taken_for_missing_answers(answers, damage, caplog):
    pack_answers(answers)
    key = ask(answers, "clip 3")[0]["key"]
    pack = packs.pack_of(answers / "tianyan", key)
    content = bytearray(pack.read_bytes())
    if damage == "cut":
        pack.write_bytes(content[:-30])
    elif damage == "byte":
        with zipfile.ZipFile(pack) as archive:
            at = archive.getinfo(f"{key}.json").header_offset + 30 + len(f"{key}.json")
        content[at + 5] ^= 0xFF
        pack.write_bytes(content)
    else:
        with zipfile.ZipFile(pack, "w") as archive:
            archive.writestr(f"{key}.json", "[]")
    with pytest.raises(Unreadable, match=r"\.zip is damaged: .*was paid for: restore the file"):
        ask(answers, "clip 3")
    assert len(list(read_answers(answers))) < ANSWERS
    assert "restore it from a copy" in caplog.text


def test_a_pack_is_a_zip_file_of_the_answers_as_they_were(answers):
    before = {path.name: json.loads(path.read_text()) for path in answers.glob("tianyan/??/*.json")}
    pack_answers(answers)
    found = {}
    for pack in answers.glob("tianyan/*.zip"):
        with zipfile.ZipFile(pack) as archive:
            assert archive.testzip() is None
            found |= {name: json.loads(archive.read(name)) for name in archive.namelist()}
    assert found == before
