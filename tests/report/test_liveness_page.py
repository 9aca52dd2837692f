"""Report page on liveness."""

import json

import pytest
import report_pages

from deepfakemnist.report.liveness_charts import wilson
from deepfakemnist.report.liveness_page import agreement, write_liveness_page
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import ANIMATION_QUALITY, SELECTED, VERDICTS


def verdict(number, provider, live, score, threshold, **more):
    return {
        "video_id": f"v{number}", "action": "blink", "provider": provider, "asked_motion": "silent", "live": live,
        "score": score, "threshold": threshold, "evidence": json.dumps({} if live else {"reason": "not_live"}),
        "latency_s": 0.5, "status": "ok", "reason": "", "detail": "", **more,
    }  # fmt: skip


@pytest.fixture
def verdict_tables(tmp_path):
    """Eight fakes of one action: the local provider passes six, the vendor gets those and passes three."""
    local = [verdict(n, "local-silent", n < 6, 0.9 if n < 6 else 0.1, 0.5) for n in range(8)]
    vendor = [
        verdict(n, "baidu", n < 3, 0.8 if n < 3 else 0.2, 0.3, cost=0.2, attempts=2)
        if n < 6
        else verdict(n, "baidu", None, None, None, evidence=None, status="rejected", reason="not_asked")
        for n in range(8)
    ]
    selected, judged = [], []
    for n in range(8):
        status = {"status": "ok"} if n < 3 else {"status": "rejected", "reason": "liveness", "detail": "baidu: 0.2"}
        judged.append(
            {
                "video_id": f"v{n}", "action": "blink", "identity_kept": 0.1 * n, "sharpness_ratio": None,
                "tearing": float("nan") if n == 7 else 0.5, "status": "ok", "reason": "", "detail": "",
            }
        )  # fmt: skip
        selected.append(
            {"video_id": f"v{n}", "action": "blink", "path": str(tmp_path / f"v{n}.mp4"), "reason": "", **status}
        )
    tables = {
        "a": (local, VERDICTS),
        "b": (vendor, VERDICTS),
        "s": (selected, SELECTED),
        "j": (judged, ANIMATION_QUALITY),
    }
    for name, (rows, schema) in tables.items():
        write_table(rows, tmp_path / f"{name}.parquet", schema)
    return [tmp_path / "a.parquet", tmp_path / "b.parquet"], [tmp_path / "s.parquet"], [tmp_path / "j.parquet"]


def test_page_shows_pass_rates_intervals_agreement_and_cost(tmp_path, verdict_tables):
    write_liveness_page(*verdict_tables, tmp_path / "page.html")
    rows = report_pages.rows(tmp_path / "page.html")
    assert ["local-silent", "blink", "silent", "6", "8", "75 [41–93]", "0", "0"] in rows
    assert ["baidu", "blink", "silent", "3", "6", "50 [19–81]", "2", "0"] in rows
    assert ["all providers", "blink", "", "3", "8", "38 [14–69]", "0", "0"] in rows
    # The local provider passed all six that both checked: agreement by chance alone, kappa 0.
    assert ["baidu", "local-silent", "6", "3", "0", "3", "0", "50", "0.00"] in rows
    assert ["baidu", "6", "1.200", "0.400", "2.00", "0.50"] in rows
    assert ["local-silent", "8", "free", "–", "–", "0.50"] in rows
    assert ["baidu", "not_asked", "2"] in rows


def test_page_shows_the_gates_figures_of_accepted_and_rejected_fakes(tmp_path, verdict_tables):
    write_liveness_page(*verdict_tables, tmp_path / "page.html")
    rows = report_pages.rows(tmp_path / "page.html")
    assert ["identity", "accepted", "3", "0.02", "0.10", "0.18"] in rows
    assert ["identity", "rejected", "5", "0.34", "0.50", "0.66"] in rows
    assert ["sharpness", "accepted", "0", "–", "–", "–"] in rows
    assert ["tearing", "rejected", "4", "0.50", "0.50", "0.50"] in rows
    assert "Accepted by liveness and by quality" not in (tmp_path / "page.html").read_text(), "no gate was set"


def test_page_counts_liveness_against_the_quality_gate(tmp_path, verdict_tables):
    verdicts, (selected,), judged = verdict_tables
    of_gate = [{**row, "quality_passed": row["video_id"] in ("v0", "v1", "v3")} for row in read_rows(selected)]
    refused = {"status": "rejected", "reason": "quality", "detail": "tearing 0.5 above select.max_tearing 0.3"}
    of_gate[2] |= refused
    write_table(of_gate, selected, SELECTED)
    write_liveness_page(verdicts, [selected], judged, tmp_path / "page.html", {"max_tearing": 0.3})
    rows = report_pages.rows(tmp_path / "page.html")
    assert ["all providers", "blink", "8", "2", "1", "1", "4"] in rows
    assert ["all providers", "all", "8", "2", "1", "1", "4"] in rows
    assert ["local-silent", "all", "8", "3", "3", "0", "2"] in rows
    assert ["baidu", "all", "6", "2", "1", "1", "2"] in rows
    # What the gate refuses is still live.
    assert ["all providers", "blink", "", "3", "8", "38 [14–69]", "0", "0"] in rows
    assert ["tearing", "accepted", "3", "0.50", "0.50", "0.50"] in rows
    assert "Accepted by liveness and by quality (max_tearing 0.3)" in (tmp_path / "page.html").read_text()


def test_charts_show_pass_rates_with_intervals_and_scores_with_thresholds(tmp_path, verdict_tables):
    write_liveness_page(*verdict_tables, tmp_path / "page.html", notices=["Demo."])
    charts = report_pages.charts(tmp_path / "page.html")
    rates = {(row["provider"], row["action"]): row for row in charts["Pass rates"]}
    assert rates["local-silent", "blink"] == {
        "provider": "local-silent", "action": "blink", "live %": 75.0, "low %": 40.9, "high %": 92.9, "live": 6,
        "verdicts": 8,
    }  # fmt: skip
    assert ("all providers", "all") in rates
    scores = charts["Scores of baidu"]
    assert {row["verdict"]: row["fakes"] for row in scores if row["verdict"]} == {"live": 3, "not live": 3}
    live = next(row for row in scores if row["verdict"] == "live")
    assert live["score"] <= 0.8 <= live["score_end"]
    assert [row["threshold"] for row in scores if row["threshold"] is not None] == [0.3]
    text = report_pages.text(tmp_path / "page.html")
    assert "Demo." in text
    assert "6 scores, 3 live. Dashed: threshold 0.3." in text


def test_of_one_provider_what_all_accept_is_not_drawn_again(tmp_path, verdict_tables):
    verdicts, selected, judged = verdict_tables
    write_liveness_page(verdicts[:1], selected, judged, tmp_path / "page.html")
    rates = report_pages.charts(tmp_path / "page.html")["Pass rates"]
    assert {row["provider"] for row in rates} == {"local-silent"}


def test_a_run_without_fakes_has_a_page(tmp_path):
    for name, schema in (("v", VERDICTS), ("s", SELECTED), ("j", ANIMATION_QUALITY)):
        write_table([], tmp_path / f"{name}.parquet", schema)
    tables = [[tmp_path / f"{name}.parquet"] for name in ("v", "s", "j")]
    write_liveness_page(*tables, tmp_path / "page.html", {"max_tearing": 0.3})
    assert "None." in (tmp_path / "page.html").read_text()


def test_wilson_interval_and_kappa_match_hand_calculation():
    # Wilson's interval for 8 of 10: centre (0.8 + z²/20) / (1 + z²/10), z = 1.96.
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 0) is None
    equal, kappa = agreement([True, True, False, False], [True, False, False, False])
    assert (equal, kappa) == (0.75, pytest.approx((0.75 - 0.5) / 0.5))
    assert agreement([True, True], [True, True]) == (1.0, None)


def test_with_several_animators_the_page_says_how_many_of_each_are_accepted(tmp_path, verdict_tables):
    verdicts, (selected,), judged = verdict_tables
    write_liveness_page(verdicts, [selected], judged, tmp_path / "one.html")
    assert "by animator" not in (tmp_path / "one.html").read_text()
    rows = [{**row, "animator": "mesh" if n < 4 else "fomm"} for n, row in enumerate(read_rows(selected))]
    write_table(rows, selected, SELECTED)
    write_liveness_page(verdicts, [selected], judged, tmp_path / "two.html")
    assert ["blink", "0 of 4: 0 [0–49]", "3 of 4: 75 [30–95]"] in report_pages.rows(tmp_path / "two.html")
