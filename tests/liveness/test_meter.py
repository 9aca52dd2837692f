"""Meter under clocks that are set, machines that differ, and damaged files."""

import itertools
import json
import logging
import random

import pytest
from simulated_vendors import ENVIRONMENT, MOTIONS, settings_for, small_clip, vendors

from deepfakemnist.errors import ConfigError, Failed
from deepfakemnist.liveness.baidu import BaiduService
from deepfakemnist.liveness.client import Client
from deepfakemnist.liveness.costs import read_usage
from deepfakemnist.liveness.meter import MAX_PAUSE_S, Meter, StopRun, Usage
from deepfakemnist.liveness.registry import build, meter_path

DAY = 86_400
NOON = 1_700_049_600.0  # 2023-11-15 12:00 UTC


class Clocks:
    """A time of day that is set by ``step``, and a monotonic clock that only ``sleep`` advances."""

    def __init__(self):
        self.now, self.ticks, self.slept = NOON, 1000.0, []

    def step(self, seconds):
        self.now += seconds

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds
        self.ticks += seconds


def meter(tmp_path, clocks, machine=None, **settings):
    settings = settings_for("tianyan", "http://127.0.0.1:9", **settings)
    made = Meter(
        tmp_path / "meter.json", settings, lambda: clocks.now, clocks.sleep, lambda: clocks.ticks, settings_recover
    )
    if machine:
        made._machine = machine
    return made


def settings_recover():
    return Usage(day="2023-11-15", today=3, spent=7.0)


@pytest.fixture
def clocks():
    return Clocks()


@pytest.mark.parametrize("step", [-3 * 365 * DAY, -DAY, -7, -0.5, 0.5, 7, DAY, 3 * 365 * DAY])
@pytest.mark.parametrize("other_machine", [False, True])
def test_a_clock_that_is_set_neither_sleeps_long_nor_exceeds_the_rate(tmp_path, clocks, step, other_machine):
    first = meter(tmp_path, clocks, qps=2)
    second = meter(tmp_path, clocks, "another machine" if other_machine else None, qps=2)
    first.acquire(0.0)
    before = clocks.ticks
    clocks.step(step)
    second.acquire(0.0)
    waited = clocks.ticks - before
    assert waited <= MAX_PAUSE_S
    if not other_machine:
        assert waited == pytest.approx(1.1 / 2), "the time of day does not matter on one machine"


def test_a_wobbling_clock_keeps_the_rate_of_one_machine(tmp_path, clocks):
    rng, times = random.Random(1), []
    made = meter(tmp_path, clocks, qps=4)
    for _ in range(40):
        clocks.step(rng.uniform(-20, 20))
        made.acquire(0.0)
        times.append(clocks.ticks)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps == pytest.approx([1.1 / 4] * 39)


def test_a_pause_ends_whatever_the_clock_does(tmp_path, clocks):
    for machine in (None, "another machine"):
        made = meter(tmp_path, clocks, machine)
        made.pause(10**9)
        clocks.step(-DAY)
        began = clocks.ticks
        made.acquire(0.0)
        assert clocks.ticks - began <= MAX_PAUSE_S


def spend_all(made):
    count = 0
    try:
        while count < 1000:
            made.acquire(0.0)
            count += 1
    except StopRun:
        return count
    raise AssertionError("no quota")


def test_a_clock_that_steps_back_over_midnight_gives_no_quota_twice(tmp_path, clocks):
    made = meter(tmp_path, clocks, daily_quota=5, qps=1000)
    made._recover = Usage
    assert spend_all(made) == 5
    clocks.step(DAY)
    assert spend_all(made) == 5
    for _ in range(5):  # wobbling over midnight
        clocks.step(-DAY)
        assert spend_all(made) == 0
        clocks.step(DAY)
        assert spend_all(made) == 0
    clocks.step(DAY)
    assert spend_all(made) == 5


def test_a_clock_that_was_years_ahead_blocks_the_quota_for_a_day_at_most(tmp_path, clocks, caplog):
    made = meter(tmp_path, clocks, daily_quota=5, qps=1000)
    made._recover = Usage
    clocks.step(4 * 365 * DAY)
    assert spend_all(made) == 5
    clocks.step(-4 * 365 * DAY)
    assert spend_all(made) == 0
    assert "this machine's clock was ahead" in caplog.text
    clocks.step(2 * DAY)
    assert spend_all(made) == 5


@pytest.mark.parametrize(
    "damaged",
    ["", "{", "[]", "null", "{}", '{"spent": "7"}', '{"spent": NaN}', '{"spent": -1}', '{"spent": 1e400}',
     '{"spent": true}', '{"spent": 1, "today": 1.5}', '{"spent": 1, "other": 2}', '{"spent": 1, "day": 3}', "\0" * 64],
)  # fmt: skip
def test_a_damaged_meter_is_recovered_from_the_answers(tmp_path, clocks, caplog, damaged):
    made = meter(tmp_path, clocks, max_spend=7.5)
    made.path.write_text(damaged)
    with pytest.raises(StopRun, match="meter.json is damaged"):
        made.read()
    made.acquire(0.5)
    assert (made.read().spent, made.read().today) == (7.5, 4)
    assert made.path.with_suffix(".damaged").read_text() == damaged
    assert "recovered from the answers: 7.00 spent, 3 requests on 2023-11-15" in caplog.text
    with pytest.raises(StopRun, match="max_spend is 7.5"):
        made.acquire(0.5)


def test_a_meter_of_an_earlier_version_is_read(tmp_path, clocks):
    made = meter(tmp_path, clocks)
    made.path.write_text('{"day": "2023-11-15", "today": 9, "spent": 1.25, "in_doubt": 0.25, "next_at": 1700049600.5}')
    made.acquire(0.5)
    assert (made.read().spent, made.read().today, made.read().in_doubt) == (1.75, 10, 0.25)
    assert clocks.slept[0] == pytest.approx(0.5)


@pytest.mark.slow
def test_a_lost_meter_counts_what_the_ledger_holds(tmp_path, monkeypatch, caplog):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with vendors() as (_, address):
        for number in range(3):
            build(settings_for("tianyan", address), MOTIONS["tianyan"], tmp_path).check(small_clip(number), "blink")
        path = meter_path(tmp_path, "tianyan")
        whole = json.loads(path.read_text())
        for text in (None, "", '{"spe'):
            path.unlink() if text is None else path.write_text(text)
            if text is not None:
                with pytest.raises(ConfigError, match="tianyan.json is damaged.*The next run recovers it"):
                    read_usage(tmp_path, "tianyan")
            provider = build(settings_for("tianyan", address, max_spend=0.3), MOTIONS["tianyan"], tmp_path)
            with pytest.raises(StopRun, match="0.27 is spent, the next request costs 0.09 and max_spend is 0.3"):
                provider.check(small_clip(9), "blink")
            usage = read_usage(tmp_path, "tianyan")
            assert (usage.spent, usage.today) == (pytest.approx(whole["spent"]), whole["today"])


@pytest.mark.slow
def test_a_meter_lost_with_a_killed_job_counts_the_question_that_was_out(tmp_path, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    provider = build(settings_for("tianyan", "http://127.0.0.1:9"), MOTIONS["tianyan"], tmp_path)
    clip = small_clip(1)

    def killed(question):
        question.leaves(0.09)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        provider.ledger.get_or_request(
            clip.pixels_sha256, provider.vendor.parameters("blink"), killed, lambda price: None
        )
    with pytest.raises(Failed, match="in_doubt"):
        provider.check(clip, "blink")
    assert read_usage(tmp_path, "tianyan").spent == pytest.approx(0.09)


@pytest.mark.slow
def test_a_tokens_life_follows_no_clock_that_is_set(tmp_path, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with vendors() as (_, address):
        settings = settings_for("baidu", address)
        client = Client(settings, Meter(tmp_path / "meter.json", settings))
        service = BaiduService(
            client, tuple(ENVIRONMENT[f"DEEPFAKEMNIST_BAIDU_{name}_KEY"] for name in ("API", "SECRET"))
        )
        token = service._valid_token()
        for now in (0.0, 4e9):
            monkeypatch.setattr("time.time", lambda now=now: now)
            assert service._valid_token() == token
