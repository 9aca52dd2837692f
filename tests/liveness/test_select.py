import json

import pytest

from deepfakemnist.config.stages import SelectSettings
from deepfakemnist.liveness.select import select, select_shard
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import ANIMATED, ANIMATION_QUALITY, VERDICTS


def animation(name, status="ok"):
    return {
        "video_id": name, "source_id": "s", "driver_id": "d", "person_id": "p", "action": "blink", "split": "train",
        "plan_order": 3, "path": f"{name}.mp4", "frames": 40, "pixels_sha256": "ab",
        "status": status, "reason": "", "detail": "",
    }  # fmt: skip


def verdict(name, live, provider="local-action", **more):
    return {
        "video_id": name, "provider": provider, "live": live, "score": 1.5 if live else 0.25, "threshold": 1.0,
        "evidence": "{}", "status": "ok", "reason": "", "detail": "", **more,
    }  # fmt: skip


def figures(name, **more):
    return {
        "video_id": name, "identity_kept": 0.7, "sharpness_ratio": 0.9, "tearing": 0.2,
        "status": "ok", "reason": "", "detail": "", **more,
    }  # fmt: skip


GATE = SelectSettings(min_identity=0.5, min_sharpness=0.4, max_tearing=0.3)


def decide(*verdicts, gate=None, judged=()):
    by_provider = {}
    for one in verdicts:
        by_provider.setdefault(one["provider"], []).append(one)
    (row,) = select([animation("a")], by_provider, gate, judged)
    return row


def test_a_fake_is_accepted_if_every_provider_says_live():
    row = decide(verdict("a", True), verdict("a", True, "local-silent", threshold=0.5))
    assert (row["status"], row["reason"], row["path"], row["plan_order"]) == ("ok", "", "a.mp4", 3)
    assert json.loads(row["liveness"]) == {
        "local-action": {"live": True, "score": 1.5, "threshold": 1.0},
        "local-silent": {"live": True, "score": 1.5, "threshold": 0.5},
    }


def test_one_verdict_of_not_live_rejects_and_is_named():
    evidence = json.dumps({"reason": "no_face"})
    row = decide(verdict("a", False, evidence=evidence), verdict("a", True, "local-silent"))
    assert (row["status"], row["reason"]) == ("rejected", "liveness")
    assert row["detail"] == "local-action: score 0.25, threshold 1 (no_face)"


def test_every_verdict_of_not_live_is_named_and_outweighs_a_missing_one():
    failed = verdict("a", None, "baidu", status="failed", reason="quota", detail="used up")
    row = decide(verdict("a", False), verdict("a", False, "local-silent", score=None, threshold=None), failed)
    assert row["reason"] == "liveness"
    assert row["detail"] == "local-action: score 0.25, threshold 1; local-silent: not live"


def test_a_failed_verdict_does_not_accept():
    row = decide(verdict("a", True), verdict("a", None, "baidu", status="failed", reason="quota", detail="used up"))
    assert (row["status"], row["reason"]) == ("rejected", "liveness_unanswered")
    assert row["detail"] == "baidu: quota: used up"
    assert list(json.loads(row["liveness"])) == ["local-action"]


def test_a_missing_verdict_does_not_accept():
    (row,) = select([animation("a")], {"local-action": [verdict("b", True)]})
    assert (row["status"], row["reason"], row["detail"]) == (
        "rejected",
        "liveness_unanswered",
        "local-action: no verdict",
    )


def test_without_a_gate_no_figure_decides():
    for gate in (None, SelectSettings()):
        row = decide(verdict("a", True), gate=gate, judged=[figures("a", tearing=9.0)])
        assert (row["status"], row.get("quality_passed"), row.get("tearing")) == ("ok", None, None)


def test_a_fake_within_all_limits_passes_the_gate():
    at_the_limits = figures("a", identity_kept=0.5, sharpness_ratio=0.4, tearing=0.3)
    row = decide(verdict("a", True), gate=GATE, judged=[at_the_limits])
    assert (row["status"], row["quality_passed"]) == ("ok", True)
    assert (row["identity_kept"], row["sharpness_ratio"], row["tearing"]) == (0.5, 0.4, 0.3)


@pytest.mark.parametrize(
    ("figure", "value", "detail"),
    [
        ("identity_kept", 0.31, "identity 0.31 below select.min_identity 0.5"),
        ("sharpness_ratio", 0.399, "sharpness 0.399 below select.min_sharpness 0.4"),
        ("tearing", 0.5, "tearing 0.5 above select.max_tearing 0.3"),
    ],
)
def test_a_figure_beyond_its_limit_rejects_and_is_named(figure, value, detail):
    row = decide(verdict("a", True), gate=GATE, judged=[figures("a", **{figure: value})])
    assert (row["status"], row["reason"], row["detail"]) == ("rejected", "quality", detail)
    assert row["quality_passed"] is False


def test_a_gate_looks_at_the_figures_that_it_sets_alone():
    gate = SelectSettings(min_sharpness=0.4)
    row = decide(verdict("a", True), gate=gate, judged=[figures("a", identity_kept=float("nan"), tearing=9.0)])
    assert (row["status"], row["quality_passed"], row["tearing"]) == ("ok", True, 9.0)


def test_liveness_is_the_reason_where_both_refuse_and_both_are_recorded():
    row = decide(verdict("a", False), gate=GATE, judged=[figures("a", tearing=0.5)])
    assert (row["reason"], row["quality_passed"]) == ("liveness", False)
    assert row["detail"] == "local-action: score 0.25, threshold 1; tearing 0.5 above select.max_tearing 0.3"
    row = decide(verdict("a", False), gate=GATE, judged=[figures("a")])
    assert (row["reason"], row["quality_passed"]) == ("liveness", True)


@pytest.mark.parametrize(
    ("judged", "detail"),
    [
        ([], "identity, sharpness, tearing: not judged"),
        ([figures("a", tearing=float("nan"))], "tearing: not measurable in this clip"),
        (
            [{"video_id": "a", "status": "failed", "reason": "driver_gone", "detail": "driver d no longer has a crop"}],
            "identity, sharpness, tearing: driver d no longer has a crop",
        ),
    ],
)
def test_a_gate_does_not_pass_what_nobody_measured(judged, detail):
    row = decide(verdict("a", True), gate=GATE, judged=judged)
    assert (row["status"], row["reason"], row["detail"]) == ("rejected", "quality_unmeasured", detail)
    assert row["quality_passed"] is False


def test_a_figure_beyond_its_limit_outweighs_a_missing_one():
    row = decide(verdict("a", True), gate=GATE, judged=[figures("a", identity_kept=float("nan"), tearing=0.5)])
    assert (row["reason"], row["detail"]) == ("quality", "tearing 0.5 above select.max_tearing 0.3")


def test_failed_animations_are_dropped_and_order_is_kept():
    rows = select(
        [animation("b"), animation("x", status="failed"), animation("a")],
        {"local-action": [verdict("a", True), verdict("b", False)]},
    )
    assert [(row["video_id"], row["status"]) for row in rows] == [("b", "rejected"), ("a", "ok")]


def write(tmp_path, name, rows, schema):
    write_table(rows, tmp_path / name, schema)
    return tmp_path / name


def test_select_shard_joins_verdict_tables_of_all_providers(tmp_path):
    animations = write(tmp_path, "animated.parquet", [animation("a"), animation("b")], ANIMATED)
    motion = write(tmp_path, "motion.parquet", [verdict("a", True), verdict("b", True)], VERDICTS)
    silent = [verdict("a", True, "local-silent"), verdict("b", False, "local-silent")]
    silent = write(tmp_path, "silent.parquet", silent, VERDICTS)
    select_shard(animations, [motion, silent], tmp_path / "selected.parquet")
    rows = read_rows(tmp_path / "selected.parquet")
    assert [(row["video_id"], row["status"], row["pixels_sha256"]) for row in rows] == [
        ("a", "ok", "ab"),
        ("b", "rejected", "ab"),
    ]


def test_select_shard_reads_the_figures_of_a_gate(tmp_path):
    animations = write(tmp_path, "animated.parquet", [animation("a"), animation("b")], ANIMATED)
    verdicts = write(tmp_path, "motion.parquet", [verdict("a", True), verdict("b", True)], VERDICTS)
    judged = write(tmp_path, "judged.parquet", [figures("b", tearing=0.5), figures("a")], ANIMATION_QUALITY)
    select_shard(animations, [verdicts], tmp_path / "selected.parquet", GATE, judged)
    rows = read_rows(tmp_path / "selected.parquet")
    assert [(row["reason"], row["quality_passed"], row["tearing"]) for row in rows] == [
        ("", True, 0.2),
        ("quality", False, 0.5),
    ]


def test_an_empty_shard_gives_an_empty_table(tmp_path):
    animations = write(tmp_path, "animated.parquet", [], ANIMATED)
    verdicts = [write(tmp_path, f"{name}.parquet", [], VERDICTS) for name in ("motion", "silent")]
    select_shard(animations, verdicts, tmp_path / "selected.parquet")
    assert read_rows(tmp_path / "selected.parquet") == []


def test_unusable_verdict_tables_are_refused(tmp_path):
    animations = write(tmp_path, "animated.parquet", [animation("a")], ANIMATED)
    once = write(tmp_path, "once.parquet", [verdict("a", True)], VERDICTS)
    twice = write(tmp_path, "twice.parquet", [verdict("a", True)], VERDICTS)
    mixed = write(tmp_path, "mixed.parquet", [verdict("a", True), verdict("b", True, "local-silent")], VERDICTS)
    for tables, message in (([], "at least one"), ([once, twice], "twice.parquet is a second"), ([mixed], "several")):
        with pytest.raises(ValueError, match=message):
            select_shard(animations, tables, tmp_path / "selected.parquet")
