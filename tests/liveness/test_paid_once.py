"""Rate limit, budget and answer ledger across processes, including processes that are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from simulated_vendors import ENVIRONMENT, MOTIONS, settings_for, small_clip, vendors

from deepfakemnist.liveness.ledger import Ledger, read_answers
from deepfakemnist.liveness.meter import Meter, StopRun
from deepfakemnist.liveness.registry import build, meter_path
from deepfakemnist.liveness.simulator.faults import FaultPlan

JOB = Path(__file__).parents[1] / "helpers" / "liveness_job.py"


class Clock:
    """A clock that advances only by ``sleep``."""

    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def meter(tmp_path, **settings):
    clock = Clock()
    made = Meter(
        tmp_path / "meter.json", settings_for("tianyan", "http://127.0.0.1:9", **settings), clock, clock.sleep, clock
    )
    return made, clock


def start(address, folder, first, last, name, provider="tianyan", action="blink", qps=1000, on_doubt="ask"):
    words = [provider, address, folder / "answers", action, qps, first, last, folder / f"{name}.jsonl", on_doubt]
    return subprocess.Popen(
        [sys.executable, JOB, *map(str, words)],
        env={**os.environ, **ENVIRONMENT},
    )


def results(folder, *names):
    return {
        number: (live, score)
        for name in names
        for number, live, score in map(json.loads, (folder / f"{name}.jsonl").read_text().splitlines())
    }


def busiest_second(times):
    times = sorted(times)
    return max(sum(t <= other < t + 1 for other in times) for t in times)


def test_no_second_exceeds_the_rate_limit(tmp_path):
    made, clock = meter(tmp_path, qps=4)
    times = []
    for _ in range(20):
        made.acquire(0.0)
        times.append(clock.now)
    assert busiest_second(times) == 4
    assert times[-1] - times[0] == pytest.approx(19 * 1.1 / 4)


def test_a_pause_applies_to_all_jobs(tmp_path):
    made, clock = meter(tmp_path)
    before = clock.now
    made.pause(7.0)
    Meter(made.path, made.settings, clock, clock.sleep, clock).acquire(0.0)
    assert clock.now - before == pytest.approx(7.0)


def test_the_daily_quota_resets_at_midnight_utc(tmp_path):
    made, clock = meter(tmp_path, daily_quota=2)
    made.acquire(0.0)
    made.acquire(0.0)
    with pytest.raises(StopRun, match="2 requests of 2023-11-14 .* after midnight UTC"):
        made.acquire(0.0)
    clock.now += 86_400
    made.acquire(0.0)
    assert (made.read().day, made.read().today) == ("2023-11-15", 1)


def test_refunds_and_requests_in_doubt_are_counted(tmp_path):
    made, _ = meter(tmp_path, max_spend=1.0)
    for _ in range(3):
        made.acquire(0.3)
    made.refund(0.3)
    made.mark_in_doubt(0.3)
    assert (made.read().spent, made.read().in_doubt) == (pytest.approx(0.6), pytest.approx(0.3))
    made.acquire(0.3)
    with pytest.raises(StopRun, match="0.90 is spent, the next request costs 0.3 and max_spend is 1"):
        made.acquire(0.3)


def test_an_answer_is_found_by_pixels_and_parameters_only(tmp_path):
    ledger, requested = Ledger(tmp_path, "baidu"), []

    def answer_to(pixels, parameters):
        def request(question):
            requested.append((pixels, parameters))
            return {"response": len(requested)}

        return ledger.get_or_request(pixels, parameters, request, lambda price: pytest.fail("nothing was lost"))[
            "response"
        ]

    assert answer_to("a", {"m": 1, "n": 2}) == 1
    assert answer_to("a", {"n": 2, "m": 1}) == 1
    assert answer_to("b", {"m": 1, "n": 2}) == 2
    assert answer_to("a", {"m": 2, "n": 2}) == 3
    assert sorted(answer["pixels_sha256"] for answer in read_answers(tmp_path)) == ["a", "a", "b"]


@pytest.mark.slow
def test_parallel_jobs_are_billed_once_per_clip_and_keep_the_rate_limit(tmp_path):
    """Three jobs with overlapping clips; the simulator records billed requests and arrival times."""
    with vendors(record=tmp_path / "record.jsonl") as (simulator, address):
        jobs = [start(address, tmp_path, first, first + 9, str(first), qps=6) for first in (0, 4, 7)]
        assert [job.wait(timeout=60) for job in jobs] == [0, 0, 0]
        assert len(simulator.account.billed) == 16
        assert set(simulator.account.billed.values()) == {1}
    assert len(results(tmp_path, "0", "4", "7")) == 16
    times = [json.loads(line)["time"] for line in (tmp_path / "record.jsonl").read_text().splitlines()]
    assert len(times) == 16
    assert busiest_second(times) <= 6
    meter = json.loads(meter_path(tmp_path / "answers", "tianyan").read_text())
    assert meter["spent"] == pytest.approx(16 * 0.09)


@pytest.mark.slow
def test_killed_jobs_lose_at_most_the_request_in_flight(tmp_path, monkeypatch):
    """Three times SIGKILL, with injected faults; in the end every verdict is correct."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with vendors() as (_, address):
        undisturbed = build(settings_for("tianyan", address), MOTIONS["tianyan"], tmp_path / "undisturbed")
        verdicts = [undisturbed.check(small_clip(number), "blink") for number in range(12)]
    faults = FaultPlan(share=0.1, seed=1, slow_s=0.1, kinds=("busy", "error", "drop", "truncated", "slow"))
    with vendors(faults=faults) as (simulator, address):
        for wanted in (3, 6, 9):
            job = start(address, tmp_path, 0, 12, "all")
            while sum(1 for _ in read_answers(tmp_path / "answers")) < wanted:
                assert job.poll() is None
                time.sleep(0.02)
            job.send_signal(signal.SIGKILL)
            job.wait()
        assert start(address, tmp_path, 0, 12, "all").wait(timeout=60) == 0
        billed = simulator.account.billed
    assert results(tmp_path, "all") == {number: (one.live, one.score) for number, one in enumerate(verdicts)}
    answers = list(read_answers(tmp_path / "answers"))
    assert len(answers) == len(billed) == 12
    # Only the vendor knows whether a request in flight was billed; the ledger records each of them.
    in_doubt = sum(answer["in_doubt"] for answer in answers)
    assert in_doubt <= 3
    assert billed.total() <= 12 + in_doubt
    meter = json.loads(meter_path(tmp_path / "answers", "tianyan").read_text())
    assert meter["spent"] >= 0.09 * 12 - 1e-6
