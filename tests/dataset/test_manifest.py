"""Dataset manifest: joined tables, ledger, consistency checks and quota."""

import json
from dataclasses import replace

import pytest

from deepfakemnist.dataset.manifest import ManifestError, StageTables, apply_quota, write_manifest
from deepfakemnist.errors import TooManyFailures
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import ANIMATED, COMPRESSED, CROPPED, FRAMES, INGESTED, MOTIONS, PLANNED, SELECTED

QUALITIES = ("raw", "c23")
OK = {"status": "ok", "reason": "", "detail": ""}
BAD = {"status": "rejected", "reason": "no_face", "detail": "0 of 5"}
BROKEN = {"status": "failed", "reason": "truncated", "detail": "ends at 1 s"}


@pytest.fixture
def run(tmp_path):
    """Tables of a run with three sources (one without a face, one broken), one driver and two fakes (one rejected)."""

    def table(name, rows, schema):
        write_table(rows, tmp_path / f"{name}.parquet", schema)
        return [tmp_path / f"{name}.parquet"]

    def encoded(name, label):
        rows = []
        for quality in QUALITIES:
            path = tmp_path / f"{name}.{quality}.mp4"
            path.write_bytes(b"x" * 10)
            rows.append(
                {
                    "video_id": name,
                    "label": label,
                    "quality": quality,
                    "path": str(path),
                    "bytes": 10,
                    "frames": 20,
                    **OK,
                }
            )
        return rows

    def framed(name, label):
        return [
            {"video_id": name, "label": label, "quality": quality, "frame_index": index, "image": b"webp", **OK}
            for quality in QUALITIES
            for index in (0, 5)
        ]

    plan = [
        {"video_id": f"s1@{d}", "source_id": "s1", "driver_id": d, "person_id": "p1", "action": "nod", "split": "test",
         "plan_order": order, "driver_person_id": "pd", "round": order + 1, **OK}
        for order, d in enumerate(("d1", "d2"))
    ]  # fmt: skip
    shared = {name: value for name, value in plan[0].items() if name in ANIMATED.names}
    how = {"animator_licence": "MIT", "precision": "exact", "reproducible_pixels": "one_processor"}
    how |= {"source_frame": 35, "source_eyes": 0.75}
    animated = [{**shared, **how, "video_id": row["video_id"], "driver_id": row["driver_id"]} for row in plan]
    kept = {name: value for name, value in shared.items() if name in SELECTED.names}
    selected = [{**kept, "liveness": "{}"}, {**kept, "video_id": "s1@d2", **BAD, "reason": "liveness"}]
    sources = [{"video_id": f"s{n}", "person_id": f"p{n}"} for n in (1, 2, 3)]
    ingested = [{**sources[0], **OK}, {**sources[1], **OK}, {**sources[2], **BROKEN}]
    drivers = [{"video_id": "d1", "person_id": "pd", "action": "nod", **OK}]
    return StageTables(
        ingest={
            "source": table("is", ingested, INGESTED),
            "driver": table("id", drivers, INGESTED),
        },
        crop={
            "source": table("cs", [{**sources[0], **OK}, {**sources[1], **BAD}], CROPPED),
            "driver": table("cd", drivers, CROPPED),
        },
        extract_motion=table("d", drivers, MOTIONS),
        plan=table("p", plan, PLANNED),
        animate=table("a", animated, ANIMATED),
        select=table("s", selected, SELECTED),
        compress={
            "real": table("xr", encoded("s1", 0), COMPRESSED),
            "fake": table("xf", encoded("s1@d1", 1), COMPRESSED),
        },
        frames={"real": table("fr", framed("s1", 0), FRAMES), "fake": table("ff", framed("s1@d1", 1), FRAMES)},
    )


def write(run, tmp_path, **options):
    arguments = {
        "split_of": {"s1": "test", "s2": "train", "s3": "val"}, "refused": [], "qualities": QUALITIES, "quota": None,
        "max_failed_fraction": 0.5,
    }  # fmt: skip
    return write_manifest(run, tmp_path / "out", **{**arguments, **options})


def test_ledger_accounts_for_every_item(run, tmp_path):
    refused = {"kind": "source", "video_id": "a/b", "person_id": "", "action": "", "stage": "sheet", **BAD}
    write(run, tmp_path, refused=[refused])
    ledger = {row["video_id"]: row for row in read_rows(tmp_path / "out/ledger.parquet")}
    outcomes = {name: (row["kind"], row["stage"], row["status"], row["reason"]) for name, row in ledger.items()}
    assert outcomes == {
        "s1": ("source", "frames", "ok", ""),
        "s2": ("source", "crop", "rejected", "no_face"),
        "s3": ("source", "ingest", "failed", "truncated"),
        "a/b": ("source", "sheet", "rejected", "no_face"),
        "d1": ("driver", "extract_motion", "ok", ""),
        "s1@d1": ("fake", "frames", "ok", ""),
        "s1@d2": ("fake", "select", "rejected", "liveness"),
    }
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["outcomes"]["source"] == {"ok": 1, "rejected": 2, "failed": 1}
    assert summary["actions"] == {"nod": {"ok": 1, "rejected": 1}}
    assert summary["splits"]["test"] == {"real": 1, "fake": 1, "people": 1}


def test_videos_and_frames_have_their_provenance(run, tmp_path):
    write(run, tmp_path)
    videos = read_rows(tmp_path / "out/videos.parquet")
    assert [(row["video_id"], row["quality"], row["synthetic"]) for row in videos] == [
        ("s1", "raw", False), ("s1", "c23", False), ("s1@d1", "raw", True), ("s1@d1", "c23", True),
    ]  # fmt: skip
    assert {row["split"] for row in videos} == {"test"}
    assert (videos[2]["source_id"], videos[2]["driver_person_id"]) == ("s1", "pd")
    assert [row["round"] for row in videos] == [None, None, 1, 1]
    assert [(row["animator_licence"], row["precision"]) for row in videos[1:3]] == [("", ""), ("MIT", "exact")]
    shown = [(row["source_frame"], row["source_eyes"], row["source_mouth"]) for row in videos[1:3]]
    assert shown == [(None, None, None), (35, 0.75, None)]
    assert [row["reproducible_pixels"] for row in videos] == ["", "", "one_processor", "one_processor"]
    (pair,) = read_rows(tmp_path / "out/pairs.parquet")
    assert (pair["fake_id"], pair["real_id"], pair["action"], pair["frames"]) == ("s1@d1", "s1", "nod", 20)
    assert (pair["same_length"], pair["complete"]) == (True, True)
    frames = read_rows(tmp_path / "out/frames.parquet")
    assert len(frames) == 8
    images = {path: read_rows(path) for path in {row["shard_path"] for row in frames}}
    for row in frames:
        stored = images[row["shard_path"]][row["shard_row"]]
        assert (stored["video_id"], stored["quality"], stored["frame_index"]) == (
            row["video_id"], row["quality"], row["frame_index"],
        )  # fmt: skip


def test_missing_and_changed_files_are_found(run, tmp_path):
    (tmp_path / "s1.raw.mp4").unlink()
    (tmp_path / "s1@d1.c23.mp4").write_bytes(b"shorter")
    with pytest.raises(ManifestError, match=r"(?s)s1.raw.mp4: is missing.*s1@d1.c23.mp4: has 7 bytes, its row says 10"):
        write(run, tmp_path)
    assert not (tmp_path / "out/videos.parquet").exists()


def rewritten(path, schema, *changes):
    """Rewrite a table with changes to its rows, one dictionary per row."""
    rows = read_rows(path)
    write_table([{**row, **change} for row, change in zip(rows, changes, strict=True)], path, schema)


def test_two_encoder_settings_of_a_quality_are_refused_with_their_videos_and_tables(run, tmp_path):
    for kind, crf in (("real", 23), ("fake", 24)):
        rewritten(run.compress[kind][0], COMPRESSED, {"encoder": "{}"}, {"encoder": f'{{"crf": {crf}}}'})
    with pytest.raises(ManifestError, match="quality c23: has 2 encoder settings") as told:
        write(run, tmp_path)
    real, fake = (str(run.compress[kind][0]) for kind in ("real", "fake"))
    assert f'{{"crf": 23}} in 1 videos (s1) of {real}' in str(told.value)
    assert f'{{"crf": 24}} in 1 videos (s1@d1) of {fake}' in str(told.value)
    assert "Delete the tables" in str(told.value) and "quality raw" not in str(told.value)


def test_two_checkpoints_of_an_animator_are_refused_motions_included(run, tmp_path):
    rewritten(run.extract_motion[0], MOTIONS, {"animator": "fomm", "checkpoint_sha256": "a" * 64})
    rewritten(run.animate[0], ANIMATED, *[{"animator": "fomm", "checkpoint_sha256": "a" * 64}] * 2)
    write(run, tmp_path)
    rewritten(run.animate[0], ANIMATED, {}, {"checkpoint_sha256": "b" * 64})
    with pytest.raises(
        ManifestError, match=r"animator fomm: has 2 checkpoints: b{64} in 1 videos \(s1@d2\) of \S*a.par"
    ):
        write(run, tmp_path)
    rewritten(run.animate[0], ANIMATED, *[{"checkpoint_sha256": "b" * 64}] * 2)
    with pytest.raises(ManifestError, match="animator fomm: has 2 checkpoints"):
        write(run, tmp_path)


@pytest.mark.parametrize("stage", ["crop", "animate", "compress"])
def test_two_codes_of_a_stage_are_refused(run, tmp_path, stage):
    schema = {"crop": CROPPED, "animate": ANIMATED, "compress": COMPRESSED}[stage]
    tables = run.animate if stage == "animate" else getattr(run, stage)["real" if stage == "compress" else "source"]
    for path in run.deciding_pixels()[stage]:
        rewritten(path, schema, *[{"code": "new"}] * len(read_rows(path)))
    write(run, tmp_path)
    rewritten(tables[0], schema, {"code": "old"}, *[{}] * (len(read_rows(tables[0])) - 1))
    with pytest.raises(ManifestError, match=f"stage {stage}: has 2 code digests: .*{tables[0].name}"):
        write(run, tmp_path)


def test_animators_have_code_of_their_own(run, tmp_path):
    made = [{"animator": "mesh", "code": "of mesh"}, {"animator": "tpsmm", "code": "of tpsmm"}]
    rewritten(run.animate[0], ANIMATED, *made)
    write(run, tmp_path)
    rewritten(run.animate[0], ANIMATED, {}, {"animator": "mesh"})
    with pytest.raises(ManifestError, match="stage animate of mesh: has 2 code digests"):
        write(run, tmp_path)


def test_a_fake_in_another_split_than_its_source_is_found(run, tmp_path):
    with pytest.raises(ManifestError, match=r"s1@d1: is in test, its source in train"):
        write(run, tmp_path, split_of={"s1": "train"})


def test_too_many_failures_stop_the_run(run, tmp_path):
    with pytest.raises(TooManyFailures, match=r"(?s)1 of 6 items failed.*s3 \(ingest\): truncated"):
        write(run, tmp_path, max_failed_fraction=0.1)


def test_quota_keeps_the_first_fakes_of_each_action_in_proportion_to_the_splits():
    rows = [
        {"video_id": f"{split}{n}", "action": "nod", "split": split, "plan_order": n, **OK}
        for split, count in (("train", 8), ("test", 2))
        for n in range(count)
    ]
    kept = [row["video_id"] for row in apply_quota(rows, 5) if row["status"] == "ok"]
    assert sorted(kept) == ["test0", "train0", "train1", "train2", "train3"]
    over = next(row for row in apply_quota(rows, 5) if row["video_id"] == "test1")
    assert (over["status"], over["reason"]) == ("rejected", "over_quota")
    assert apply_quota(rows, None) == rows


def test_reals_without_a_kept_fake_are_left_out_on_request_and_recorded(run, tmp_path):
    unused = [{**row, "video_id": "s2"} for row in read_rows(run.compress["real"]) if row["video_id"] == "s1"]
    write_table(unused, tmp_path / "unused.parquet", COMPRESSED)
    write_table([{"video_id": "s2", "person_id": "p2", **OK}], tmp_path / "crop2.parquet", CROPPED)
    tables = replace(
        run,
        compress={**run.compress, "real": [*run.compress["real"], tmp_path / "unused.parquet"]},
        crop={**run.crop, "source": [*run.crop["source"], tmp_path / "crop2.parquet"]},
    )
    for reals, expected in (("all", {"s1", "s2"}), ("of_fakes", {"s1"})):
        write(tables, tmp_path, reals=reals)
        assert {r["video_id"] for r in read_rows(tmp_path / "out/videos.parquet") if r["label"] == 0} == expected
    ledger = {row["video_id"]: row for row in read_rows(tmp_path / "out/ledger.parquet")}
    assert (ledger["s2"]["stage"], ledger["s2"]["status"], ledger["s2"]["reason"]) == (
        "select", "rejected", "no_fake_kept",
    )  # fmt: skip
    assert (ledger["s1"]["stage"], ledger["s1"]["status"]) == ("frames", "ok")


def test_a_clip_without_frames_is_in_the_ledger(run, tmp_path):
    lost = [{"video_id": "s1", "label": 0, "quality": "raw", "frame_index": -1, **BROKEN}]
    write_table(lost, tmp_path / "lost.parquet", FRAMES)
    tables = replace(run, frames={**run.frames, "real": [tmp_path / "lost.parquet"]})
    write(tables, tmp_path)
    ledger = {row["video_id"]: row for row in read_rows(tmp_path / "out/ledger.parquet")}
    assert (ledger["s1"]["stage"], ledger["s1"]["status"]) == ("frames", "failed")
