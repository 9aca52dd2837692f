"""Questions in doubt: marks of requests in flight, kills between request and answer, and ``on_doubt``."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from simulated_vendors import ENVIRONMENT, MOTIONS, serving, settings_for, small_clip, vendors
from werkzeug.wrappers import Response

from deepfakemnist.errors import Failed
from deepfakemnist.liveness.ledger import Ledger, answer_key, read_answers, read_doubts
from deepfakemnist.liveness.meter import StopRun
from deepfakemnist.liveness.protocol import Clip
from deepfakemnist.liveness.registry import build, meter_path
from deepfakemnist.liveness.simulator.faults import FaultPlan

JOB = Path(__file__).parents[1] / "helpers" / "liveness_job.py"


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def provider_of(name, address, folder, **settings):
    return build(settings_for(name, address, **settings), MOTIONS[name], folder)


def named(number):
    clip = small_clip(number)
    return Clip(clip.frames, clip.fps, clip.pixels_sha256, f"clip {number}")


def usage(folder, name):
    return json.loads(meter_path(folder, name).read_text())


def killed_question(folder, on_doubt, lost, about=None):
    """Leave the mark of a job that was killed in flight; return its ledger."""
    ledger = Ledger(folder, "baidu", on_doubt)

    def request(question):
        question.leaves(0.2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ledger.get_or_request("a", {}, request, lost.append, about)
    return ledger


def test_a_killed_question_is_refused_stops_the_run_or_is_asked_again(tmp_path):
    for on_doubt, error in (("reject", Failed), ("stop", StopRun)):
        lost = []
        ledger = killed_question(tmp_path / on_doubt, on_doubt, lost, {"video_id": "anna@nod"})
        for _ in range(2):
            with pytest.raises(error, match=r"asked about anna@nod at 20\d\d-.*0.2 may have been billed"):
                ledger.get_or_request("a", {}, lambda question: pytest.fail("asked"), lost.append)
        assert lost == [0.2], "counted once, however often it is looked at"
    lost = []
    ledger = killed_question(tmp_path / "ask", "ask", lost)
    answer = ledger.get_or_request("a", {}, lambda question: {"response": 1}, lost.append)
    assert (answer["in_doubt"], answer["lost"][0]["price"], lost) == (1, 0.2, [0.2])
    key = answer_key("a", "baidu", {})
    assert [path.name for path in (tmp_path / "ask/baidu" / key[:2]).iterdir()] == [f"{key}.json"]


def test_a_damaged_mark_or_one_of_an_earlier_version_is_a_doubt(tmp_path):
    for number, text in enumerate(("", '{"in_doubt": 0}', '{"requests": [', "[]")):
        folder = tmp_path / str(number)
        ledger = killed_question(folder, "reject", [])
        (mark,) = folder.rglob("*.asked")
        mark.write_text(text)
        with pytest.raises(Failed, match="in_doubt: baidu was asked about pixels a at an unknown time"):
            ledger.get_or_request("a", {}, lambda question: pytest.fail("asked"), lambda price: None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["baidu", "baidu-picture", "tianyan", "linkface"])
def test_the_mark_is_on_disk_when_the_request_arrives_and_gone_with_the_answer(tmp_path, name):
    seen = []
    with vendors() as (simulator, _):

        def app(environ, start_response):
            path = environ["PATH_INFO"]
            marks = [json.loads(mark.read_text()) for mark in tmp_path.rglob("*.asked")]
            seen.append((path.rsplit("/", 1)[1], [mark["video_id"] for mark in marks]))
            return simulator(environ, start_response)

        with serving(app) as address:
            provider_of(name, address, tmp_path).check(named(1), "blink")
    free = [marks for path, marks in seen if path in ("token", "sessioncode")]
    asked = [marks for path, marks in seen if path not in ("token", "sessioncode")]
    assert asked == [["clip 1"]]
    assert not any(free), "neither a token nor a code answers a question"
    assert not list(tmp_path.rglob("*.asked"))


@pytest.mark.slow
def test_a_job_killed_while_it_waits_for_the_rate_limit_has_asked_nothing(tmp_path):
    with vendors() as (simulator, address):
        waiting = provider_of("tianyan", address, tmp_path / "answers")
        waiting.meter.pause(30)
        job = start(address, tmp_path, 0, 1, "waiting", "stop")
        while not list((tmp_path / "answers").glob("*/locks/*.lock")):
            time.sleep(0.05)
        time.sleep(1)
        job.kill()
        job.wait()
        assert not simulator.account.billed
    assert not list((tmp_path / "answers").rglob("*.asked"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fault"),
    [("baidu", "lost"), ("baidu-picture", "drip"), ("linkface", "drop")]
    + [("tianyan", fault) for fault in ("lost", "gateway", "drip", "hang", "drop", "truncated", "envelope")],
)
def test_a_lost_response_is_asked_again_only_if_told_to(tmp_path, name, fault):
    """The simulator has billed the responses lost, gateway and drip, and no other; only it knows."""
    settings = {"read_timeout_s": 0.3, "deadline_s": 0.5}
    free = {"tianyan": "/v2/life/check", "linkface": "/liveness/check_liveness"}.get(name)
    plan = FaultPlan(share=1.0, kinds=(fault,), hang_s=0.5, drip_s=0.2)
    with vendors() as (working, _), vendors(faults=plan) as (broken, _):

        def app(environ, start_response):
            path = environ["PATH_INFO"]
            faulty = path == free if free else path.endswith("verify")
            return (broken if faulty else working)(environ, start_response)

        # Both serve one Baidu account, so that a token of one is valid at the other.
        for path, vendor in broken._vendors.items():
            vendor._tokens = getattr(working._vendors[path], "_tokens", {})
            vendor._sessions = getattr(working._vendors[path], "_sessions", {})
        with serving(app) as address:
            with pytest.raises(Failed) as error:
                provider_of(name, address, tmp_path, **settings).check(named(1), "blink")
            assert error.value.reason == "in_doubt"
            assert "clip 1" in error.value.detail
            (doubt,) = read_doubts(tmp_path)
            assert (doubt["video_id"], len(doubt["requests"])) == ("clip 1", 1)
            before = usage(tmp_path, name)
            assert before["in_doubt"] > 0
            assert before["spent"] >= before["in_doubt"] - 1e-9
            with pytest.raises(Failed, match="in_doubt"):
                provider_of(name, address, tmp_path, **settings).check(named(1), "blink")
            with pytest.raises(StopRun, match="on_doubt is stop.*Look at the vendor's bill"):
                provider_of(name, address, tmp_path, on_doubt="stop", **settings).check(named(1), "blink")
            assert usage(tmp_path, name) == before
            billed = sum(count for (service, _), count in broken.account.billed.items())
            assert billed == (fault in ("lost", "gateway", "drip"))
    # Another address would be another question, so the answer is asked for where it was.
    ledger = Ledger(tmp_path, name, "ask")
    answer = ledger.get_or_request(
        doubt["pixels_sha256"], doubt["parameters"], lambda question: {"response": {}}, lambda price: None
    )
    assert answer["in_doubt"] == 1
    assert not list(read_doubts(tmp_path))


@pytest.mark.slow
def test_the_vendors_log_id_is_kept_with_a_doubt_and_with_an_answer(tmp_path):
    def app(environ, start_response):
        if environ["PATH_INFO"].endswith("token"):
            body = {"access_token": "24.abcdefgh", "expires_in": 1000}
            return Response(json.dumps(body))(environ, start_response)
        cut = '{"error_code": 0, "log_id": 3141592653, "result": {"sco'
        return Response(cut)(environ, start_response)

    with serving(app) as address:
        for _ in range(2):
            with pytest.raises(Failed, match="vendor's log id 3141592653"):
                provider_of("baidu", address, tmp_path).check(named(1), "smile")
    (doubt,) = read_doubts(tmp_path)
    assert doubt["requests"][0]["log_id"] == "3141592653"
    with vendors() as (_, address):
        provider_of("baidu", address, tmp_path / "other").check(named(1), "smile")
    (answer,) = read_answers(tmp_path / "other")
    assert answer["log_id"] == str(answer["response"]["log_id"])


@pytest.mark.slow
def test_an_outage_stops_the_job_instead_of_losing_every_clip(tmp_path):
    with vendors(faults=FaultPlan(share=1.0, kinds=("lost",))) as (simulator, address):
        provider = provider_of("tianyan", address, tmp_path)
        reasons = []
        for number in range(4):
            with pytest.raises(Failed) as error:
                provider.check(named(number), "blink")
            reasons.append(error.value.reason)
        with pytest.raises(StopRun, match="responses to 5 questions in a row were lost.*may have been billed"):
            provider.check(named(4), "blink")
        assert set(simulator.account.billed.values()) == {1}
    assert reasons == ["in_doubt"] * 4
    assert len(list(read_doubts(tmp_path))) == 5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["baidu", "tianyan"])
def test_a_response_that_was_written_down_before_a_kill_is_the_answer(tmp_path, name):
    with vendors() as (_, address):
        truth = provider_of(name, address, tmp_path / "truth").check(named(1), "yaw")
        (stored,) = read_answers(tmp_path / "truth")
        text = json.dumps(stored["response"])
        ledger = Ledger(tmp_path / "killed", name)

        def request(question):
            question.leaves(0.2)
            question.arrived(text, 1, 0.5)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ledger.get_or_request(stored["pixels_sha256"], stored["parameters"], request, lambda price: None)
        assert not list(read_doubts(tmp_path / "killed"))
    # The vendor is gone, and is not needed.
    verdict = provider_of(name, address, tmp_path / "killed").check(named(1), "yaw")
    assert (verdict.live, verdict.score, verdict.threshold) == (truth.live, truth.score, truth.threshold)


def start(address, folder, first, last, name, on_doubt):
    words = ["tianyan", address, folder / "answers", "blink", 1000, first, last, folder / f"{name}.jsonl", on_doubt]
    return subprocess.Popen([sys.executable, JOB, *map(str, words)], stderr=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize("on_doubt", ["ask", "reject"])
def test_parallel_jobs_killed_at_random_moments_bill_a_question_once_or_name_it(tmp_path, on_doubt):
    """Two jobs ask about the same clips, and are killed eight times while they do."""
    rng, clips = random.Random(on_doubt), 24
    plan = FaultPlan(share=1.0, kinds=("slow",), slow_s=0.1)
    with vendors(faults=plan) as (simulator, address):
        jobs = [start(address, tmp_path, 0, clips, name, on_doubt) for name in "ab"]
        for kill in range(1, 9):
            while sum(1 for _ in (tmp_path / "answers").glob("*/??/*.json")) < kill * 2 - 1:
                assert any(job.poll() is None for job in jobs)
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.2))
            place = rng.randrange(2)
            jobs[place].send_signal(signal.SIGKILL)
            jobs[place].wait()
            jobs[place] = start(address, tmp_path, 0, clips, "ab"[place], on_doubt)
        assert [job.wait(timeout=120) for job in jobs] == [0, 0]
        billed = simulator.account.billed
    answers = {one["pixels_sha256"]: one for one in read_answers(tmp_path / "answers")}
    doubts = {one["pixels_sha256"] for one in read_doubts(tmp_path / "answers")}
    assert not answers.keys() & doubts
    assert len(answers) + len(doubts) == clips
    lines = [json.loads(line) for name in "ab" for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
    assert {number for number, live, reason in lines if live is None} == {
        number for number in range(clips) if small_clip(number).pixels_sha256 in doubts
    }
    if on_doubt == "ask":
        assert not doubts
        assert billed.total() <= clips + sum(one["in_doubt"] for one in answers.values())
    else:
        assert set(billed.values()) == {1}, "nothing is billed twice"
        assert sum(one["in_doubt"] for one in answers.values()) == 0
    spent = usage(tmp_path / "answers", "tianyan")
    assert spent["spent"] >= 0.09 * billed.total() - 1e-6
    assert spent["in_doubt"] == pytest.approx(0.09 * (len(doubts) + sum(o["in_doubt"] for o in answers.values())))
