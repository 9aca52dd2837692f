"""Command line of liveness: provider gates, keys, cost estimates, ledger and simulator."""

import json
import os
import subprocess
import sys

import pytest
import requests
from simulated_vendors import ENVIRONMENT, MOTIONS, scripted, settings_for, small_clip, vendors

from deepfakemnist.cli.main import main
from deepfakemnist.config.liveness import LivenessSettings
from deepfakemnist.errors import ConfigError, Failed
from deepfakemnist.liveness.costs import announce, recovered_usage
from deepfakemnist.liveness.keys import check_keys
from deepfakemnist.liveness.registry import build
from deepfakemnist.liveness.simulator.server import HOST, running

VENDORS = """
liveness:
  motions: config/actions.tsv
  providers:
    - {provider: local-action}
    - {provider: baidu, daily_quota: 5000}
    - {provider: baidu-picture, qps: 10}
    - {provider: linkface}
"""


def liveness(*providers):
    return LivenessSettings.model_validate({"providers": [{"provider": name} for name in providers]})


def test_cheaper_providers_gate_more_expensive_ones():
    settings = liveness("baidu", "local-action", "tianyan", "baidu-picture", "linkface")
    assert settings.gates("local-action") == []
    assert settings.gates("baidu-picture") == ["local-action"]
    assert settings.gates("tianyan") == ["local-action", "baidu-picture"]
    assert settings.gates("linkface") == ["local-action", "baidu-picture", "tianyan"]
    assert settings.gates("baidu") == ["local-action", "baidu-picture", "tianyan", "linkface"]
    free = LivenessSettings.model_validate(
        {"providers": [{"provider": "local-action"}, {"provider": "baidu", "gated": False}]}
    )
    assert free.gates("baidu") == []


def test_a_provider_named_twice_is_refused():
    with pytest.raises(ValueError, match=r"providers contains duplicates: \['baidu', 'baidu'\]"):
        liveness("baidu", "baidu")


def test_keys_are_checked_before_a_run():
    check_keys(["local-action"], {})
    check_keys(["baidu", "tianyan"], ENVIRONMENT)
    with pytest.raises(ConfigError, match="baidu needs its keys .* DEEPFAKEMNIST_BAIDU_API_KEY and .* are not set"):
        check_keys(["baidu"], {})


def test_estimate_of_10000_and_40000_clips(tmp_path, capsys):
    config = tmp_path / "my.yaml"
    config.write_text(VENDORS)
    assert main(["liveness", "estimate", str(config)]) == 0
    lines = capsys.readouterr().out.splitlines()
    # Four of ten actions request four codes of 0.01 each: 0.2 + 0.016 per clip, and 2.6 requests at 2 per second.
    assert lines[0] == (
        "liveness: 10000 clips at baidu cost up to 2160.00 and take about 3.6 h, 5.2 days of its daily quota"
    )
    assert lines[1] == "liveness: 10000 clips at baidu-picture cost up to 20.00 and take about 0.3 h"
    assert lines[2] == "liveness: 10000 clips at linkface cost up to 900.00 and take about 1.4 h"
    assert lines[3].startswith("liveness: 40000 clips at baidu cost up to 8640.00")
    config.write_text("liveness: {providers: [{provider: local-action}]}")
    assert main(["liveness", "estimate", str(config)]) == 0
    assert "nothing is billed" in capsys.readouterr().out


def test_a_run_in_rounds_announces_the_cost_of_its_first_round_and_that_more_may_follow():
    lines = announce(liveness("linkface"), {"linkface": 100}, rounds=True).splitlines()
    assert lines[0] == "liveness: 100 clips at linkface cost up to 9.00 and take about 0.0 h"
    assert lines[1].endswith("These are the clips planned so far; later rounds add to the cost.")
    assert "later rounds" not in announce(liveness("linkface"), {"linkface": 100})
    assert announce(liveness("local-action"), {"local-action": 100}, rounds=True) == ""


def test_only_vendors_that_are_sent_clips_are_announced():
    settings = liveness("linkface", "tianyan")
    assert "linkface" not in announce(settings, {"tianyan": 100})
    assert announce(settings, {"linkface": 0}) == announce(settings, {}) == ""


@pytest.mark.slow
def test_ledger_shows_spend_and_pass_rates(tmp_path, monkeypatch, capsys):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with vendors() as (_, address):
        provider = build(settings_for("tianyan", address), MOTIONS["tianyan"], tmp_path)
        live = [provider.check(small_clip(number), "blink").live for number in range(5)]
    assert main(["liveness", "ledger", str(tmp_path)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("tianyan")]
    assert rows[0][:8] == ["tianyan", "5", f"{20 * sum(live):.1f}", "0", "0.450", "0.450", "0.000", "0"]
    assert rows[1] == ["tianyan", "blink", str(sum(live)), "5", f"{20 * sum(live):.1f}"]


@pytest.mark.slow
def test_ledger_names_doubts_and_forget_lets_the_next_run_ask_again(tmp_path, monkeypatch, capsys):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    unknown, lost = (200, {}, '{"code": 77, "msg": "?"}'), (504, {}, "")
    good = (200, {}, '{"code": 200, "data": {"passed": true}}')
    with scripted(unknown, lost, good, good) as address:

        def check(number):
            return build(settings_for("tianyan", address), MOTIONS["tianyan"], tmp_path).check(
                small_clip(number), "blink"
            )

        for number, reason in ((0, "vendor_error"), (1, "in_doubt")):
            with pytest.raises(Failed, match=reason):
                check(number)
        assert main(["liveness", "ledger", str(tmp_path)]) == 0
        out = capsys.readouterr().out
        (row,) = [line.split() for line in out.splitlines() if line.startswith("tianyan")]
        assert row[:8] == ["tianyan", "1", "0.0", "1", "0.090", "0.180", "0.090", "1"]
        assert f"In doubt: tianyan was asked about pixels {small_clip(1).pixels_sha256[:16]} at 20" in out

        for option, number in (("--unreadable", 0), ("--in-doubt", 1)):
            assert main(["liveness", "forget", "tianyan", str(tmp_path), option]) == 0
            assert "1 set aside; the next run that needs them asks tianyan again" in capsys.readouterr().out
            assert check(number).live
    assert main(["liveness", "forget", "tianyan", str(tmp_path), "--unreadable", "--in-doubt"]) == 0
    assert "nothing to set aside" in capsys.readouterr().out
    assert main(["liveness", "forget", "tianyan", str(tmp_path), "--key", "../../x"]) == 1
    # Everything stays counted, also when the meter is lost.
    (tmp_path / "meters/tianyan.json").unlink()
    assert recovered_usage(tmp_path, "tianyan").spent == pytest.approx(4 * 0.09)
    assert recovered_usage(tmp_path, "tianyan").today == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ledger", "nowhere"], "nowhere is not a folder of vendor answers"),
        (["estimate", "nowhere.yaml"], "cannot read nowhere.yaml"),
        (["simulate", "--minifasnet", "a.pth", "b.pth"], "--minifasnet: cannot read a.pth"),
    ],
)
def test_mistakes_are_reported_in_one_line(words, message, capsys):
    assert main(["liveness", *words]) == 1
    assert capsys.readouterr().err.startswith(f"deepfakemnist: {message}")


def test_a_config_without_a_liveness_section_is_reported(tmp_path, capsys):
    (tmp_path / "my.yaml").write_text("seed: 1")
    assert main(["liveness", "estimate", str(tmp_path / "my.yaml")]) == 1
    assert "my.yaml is not YAML with a liveness section" in capsys.readouterr().err


@pytest.mark.slow
def test_simulate_runs_a_command_with_the_simulators_keys(tmp_path):
    """The command gets the simulator's keys instead of the user's own, and its exit status is returned."""
    script = "import os, sys; print(*map(os.environ.get, sys.argv[1:]), flush=True); sys.exit(7)"
    child = [sys.executable, "-c", script, "DEEPFAKEMNIST_BAIDU_API_KEY", "DEEPFAKEMNIST_LINKFACE_API_SECRET"]
    words = ["liveness", "simulate", "--port", "0", "--witness", "hash", "--", *child]
    own = {**os.environ, "DEEPFAKEMNIST_BAIDU_API_KEY": "my-own-key"}
    done = subprocess.run(
        [sys.executable, "-m", "deepfakemnist.cli", *words], env=own, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 7
    assert f"simulated vendors at http://{HOST}:" in done.stdout
    assert "simulator-id simulator-secret" in done.stdout
    assert "billed responses: 0, for 0 distinct requests" in done.stdout


def test_a_port_in_use_is_reported():
    with vendors() as (simulator, address):
        port = int(address.rsplit(":", 1)[1])
        with pytest.raises(ConfigError, match=f"port {port} is already in use"), running(simulator, port):
            pass
        assert requests.get(f"{address}/nothing", timeout=5).json() == {"message": "there is no /nothing"}
        assert json.loads(requests.post(f"{address}/oauth/2.0/token", timeout=5).text)["error"] == "invalid_client"
