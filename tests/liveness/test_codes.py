"""Tables of HTTP statuses and Baidu's error codes: complete, with sources, and what a client does with each."""

import json
import re
from pathlib import Path

import pytest
from simulated_vendors import ENVIRONMENT, MOTIONS, scripted, settings_for, small_clip

from deepfakemnist.errors import Failed
from deepfakemnist.liveness.baidu_codes import CODES, Meaning
from deepfakemnist.liveness.http_status import STATUSES, Outcome, outcome_of
from deepfakemnist.liveness.ledger import read_answers
from deepfakemnist.liveness.meter import StopRun
from deepfakemnist.liveness.registry import build, meter_path

PAGE = Path(__file__).parents[2] / "docs" / "liveness_services.md"
#: First words of a row of the page → meaning.
ROWS = {
    "sends again after": Meaning.RETRY,
    "the same, and all": Meaning.RATE_LIMITED,
    "fetches a new token": Meaning.NEW_TOKEN,
    "requests another session": Meaning.NEW_SESSION,
    "stops until": Meaning.QUOTA,
    "stops: no access": Meaning.NO_ACCESS,
    "fails the row": Meaning.REFUSED,
    "takes it as a rejection": Meaning.REJECTED,
}
TOKEN = json.dumps({"access_token": "24.abcdefgh", "expires_in": 1000})
GOOD = json.dumps({"error_code": 0, "result": {"score": 0.5, "thresholds": {"frr_1e-3": 0.3}}})


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("deepfakemnist.liveness.client._FIRST_BACKOFF_S", 0.01)


def test_every_code_and_status_has_a_text_and_a_source():
    for code, entry in CODES.items():
        assert entry.text and entry.source, code
        assert bool(entry.reason) == (entry.meaning is Meaning.REJECTED), code
    assert all(re.match(r"RFC \d+, \d", source) for _, source in STATUSES.values())
    assert {1, 2, 4, 6, 13, 17, 18, 19, 100, 110, 111, 282000} <= CODES.keys()
    assert {408, 413, 425, 429, 500, 502, 503, 504} <= STATUSES.keys()


def test_the_page_lists_every_code_by_what_is_done():
    listed = {}
    for line in PAGE.read_text().splitlines():
        for words, meaning in ROWS.items():
            if line.startswith(f"| {words}"):
                for part in line.split("|")[2].split(","):
                    first, _, last = part.strip().partition("–")
                    listed |= dict.fromkeys(range(int(first), int(last or first) + 1), meaning)
    assert listed == {code: entry.meaning for code, entry in CODES.items()}


def test_unknown_statuses_count_as_the_x00_of_their_class():
    outcomes = {status: outcome_of(status) for status in (*range(100, 200), *range(201, 600))}
    assert all(outcomes[status] is Outcome.STOP for status in outcomes if status < 500 and status not in STATUSES)
    assert all(outcomes[status] is Outcome.RETRY for status in outcomes if status >= 500 and status not in STATUSES)
    assert [status for status, outcome in outcomes.items() if outcome is Outcome.IN_DOUBT] == [502, 504]


def ask(folder, *bodies):
    with scripted(*((200, {}, body) for body in bodies)) as address:
        provider = build(settings_for("baidu", address, attempts=5), MOTIONS["baidu"], folder)
        return provider.check(small_clip(1), "smile")


def error(code):
    return json.dumps({"error_code": code, "error_msg": "text of the vendor", "log_id": 9})


def spent(folder):
    usage = json.loads(meter_path(folder, "baidu").read_text())
    assert usage["in_doubt"] == 0
    return usage["spent"]


@pytest.mark.slow
@pytest.mark.parametrize("code", [1, 2, 4, 18, 222201, 222901, 282000])
def test_what_passes_is_sent_again_and_costs_nothing(tmp_path, code):
    assert ask(tmp_path, TOKEN, error(code), error(code), GOOD).live
    assert spent(tmp_path) == pytest.approx(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("code", [13, 100, 110, 111])
def test_a_rejected_token_is_fetched_again_at_most_three_times(tmp_path, code):
    assert ask(tmp_path, TOKEN, error(code), TOKEN, GOOD).live
    assert spent(tmp_path) == pytest.approx(0.2)
    with pytest.raises(StopRun, match=f"{code}: text of the vendor. The keys have no access"):
        ask(tmp_path / "other", *[TOKEN, error(code)] * 4)
    assert spent(tmp_path / "other") == 0


@pytest.mark.slow
@pytest.mark.parametrize("code", [3, 6, 14, 15, 17, 19])
def test_what_hits_every_request_stops_the_run_and_costs_nothing(tmp_path, code):
    with pytest.raises(StopRun, match=f"Baidu answered {code}: text of the vendor"):
        ask(tmp_path, TOKEN, error(code))
    assert spent(tmp_path) == 0
    assert not list(tmp_path.rglob("*.asked"))


@pytest.mark.slow
@pytest.mark.parametrize("code", [216100, 222001, 222021, 222304])
def test_a_malformed_request_fails_the_row_and_costs_nothing(tmp_path, code):
    with pytest.raises(Failed, match=f"vendor_error: Baidu answered {code}"):
        ask(tmp_path, TOKEN, error(code))
    assert spent(tmp_path) == 0
    assert not list(read_answers(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("code", [216501, 222202, 223120])
def test_a_rejection_is_a_paid_verdict(tmp_path, code):
    verdict = ask(tmp_path, TOKEN, error(code))
    assert (verdict.live, verdict.evidence["reason"]) == (False, CODES[code].reason)
    assert spent(tmp_path) == pytest.approx(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("text", ['{"error_code": false, "result": {}}', '{"error_code": 0, "err_no": 223120}'])
def test_a_code_of_the_wrong_type_or_two_codes_are_no_success(tmp_path, text):
    with pytest.raises(Failed, match="in_doubt"):
        ask(tmp_path, TOKEN, text)


@pytest.mark.slow
def test_an_upload_that_is_too_large_for_the_server_fails_its_row_alone(tmp_path):
    with (
        scripted((413, {}, "")) as address,
        pytest.raises(Failed, match="upload_too_large: HTTP status 413.*max_bytes"),
    ):
        build(settings_for("tianyan", address), MOTIONS["tianyan"], tmp_path).check(small_clip(1), "blink")
    assert json.loads(meter_path(tmp_path, "tianyan").read_text())["spent"] == 0
