"""Stages of motion extraction and animation, on real files and the tiny checkpoint."""

from __future__ import annotations

import errno
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from skimage import data
from skimage.transform import rotate

from deepfakemnist.animate import stages
from deepfakemnist.animate.fomm.animator import FommAnimator
from deepfakemnist.animate.protocol import Motion
from deepfakemnist.animate.stages import animate_shard, animate_shards, extract_motion_shard, extract_motion_shards
from deepfakemnist.animate.training.stage import choose_training_clips, train_animator_stage
from deepfakemnist.config.animators.fomm import TrainAnimatorSettings
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.errors import ConfigError, TooManyFailures
from deepfakemnist.ids import pair_id
from deepfakemnist.media.decode import read_clip
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.pixels import pixels_sha256
from deepfakemnist.tables.checksums import file_facts
from deepfakemnist.tables.columns import FRAME_SCORES
from deepfakemnist.tables.files import read_rows, read_table, write_table
from deepfakemnist.tables.schemas import ANIMATED, CROPPED, MOTIONS, PLANNED

pytestmark = pytest.mark.slow

STATUS_OK = {"status": "ok", "reason": "", "detail": ""}


@pytest.fixture
def settings(tiny_model):
    return animator_settings(name="fomm", model=tiny_model, source_frame=1, batch_size=4)


@pytest.fixture
def clips(tmp_path, expected) -> dict[str, Path]:
    """A source of three different frames, a source of one frame, a driver of six."""
    source = np.rint(expected["source"] * 255).astype(np.uint8)
    frames = {
        "anna#v1": [source, source[:, ::-1].copy(), source // 2],
        "short": [source],
        "blink-1": list(np.rint(expected["driving"] * 255).astype(np.uint8)),
    }
    paths = {name: tmp_path / "crops" / f"{name}.mp4" for name in frames}
    for name, path in paths.items():
        write_working_clip(path, frames[name], 25.0)
    return paths


def crop_row(name: str, path: Path, **more) -> dict:
    row = {"video_id": name, "role": "driver", "person_id": name, "action": "blink", "path": str(path)}
    return {**row, **STATUS_OK, **more}


def plan_row(source: str, source_path: Path, motion_path: Path, frames: int = 6, **more) -> dict:
    return {
        "video_id": pair_id(source, "blink-1"),
        "source_id": source,
        "driver_id": "blink-1",
        "person_id": source.split("#")[0],
        "driver_person_id": "d",
        "action": "blink",
        "split": "train",
        "round": 1,
        "plan_order": 0,
        "source_path": str(source_path),
        "source_pixels_sha256": "0" * 64,
        "motion_path": str(motion_path),
        "motion_frames": frames,
        **STATUS_OK,
        **more,
    }


def of_weights(checkpoint: Path | None) -> dict[str, str]:
    """Return the plan column of motions that were extracted with these weights."""
    return {"motion_checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest() if checkpoint else ""}


def extract_motions(tmp_path, checkpoint, settings, rows) -> list[dict]:
    write_table(rows, tmp_path / "driver_crops.parquet", CROPPED)
    table = tmp_path / "motions" / "0.parquet"
    extract_motion_shard(
        tmp_path / "driver_crops.parquet",
        checkpoint,
        table,
        tmp_path / "motions" / "files",
        settings,
        code="c0de",
        max_failed_fraction=1.0,
        device="cpu",
    )
    assert read_table(table).schema.names == MOTIONS.names
    return read_rows(table)


def animate(tmp_path, checkpoint, settings, rows, max_failed_fraction=1.0) -> list[dict]:
    write_table([{**of_weights(checkpoint), **row} for row in rows], tmp_path / "plan.parquet", PLANNED)
    table = tmp_path / "animations" / "0.parquet"
    animate_shard(
        tmp_path / "plan.parquet",
        checkpoint,
        table,
        tmp_path / "animations" / "clips",
        settings,
        fps=25.0,
        code="c0de",
        max_failed_fraction=max_failed_fraction,
        device="cpu",
    )
    assert read_table(table).schema.names == ANIMATED.names
    return read_rows(table)


def test_motion_is_extracted_from_drivers(tmp_path, tiny_checkpoint, settings, clips):
    broken = tmp_path / "crops" / "broken.mp4"
    broken.write_bytes(b"no video")
    rows = [
        crop_row("blink-1", clips["blink-1"]),
        crop_row("broken", broken),
        crop_row("no-face", clips["short"], status="rejected", reason="no_face", detail="seen in 0 of 3 frames"),
    ]
    made, failed = extract_motions(tmp_path, tiny_checkpoint, settings, rows)
    assert (made["video_id"], made["status"], made["frames"]) == ("blink-1", "ok", 6)
    assert (made["action"], made["animator"], made["code"]) == ("blink", "fomm", "c0de")
    assert made["checkpoint_sha256"] == hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()
    animator = FommAnimator.from_checkpoint(tiny_checkpoint, settings, device="cpu")
    wanted = animator.prepare_driving(read_clip(clips["blink-1"]))
    np.testing.assert_array_equal(Motion.load(made["path"])["value"], wanted["value"])
    np.testing.assert_array_equal(Motion.load(made["path"])["jacobian"], wanted["jacobian"])
    assert (failed["video_id"], failed["status"]) == ("broken", "failed")
    assert failed["reason"] != "error"
    assert [path.name for path in Path(made["path"]).parent.iterdir()] == ["blink-1.npz"]


def test_writer_processes_change_nothing(tmp_path, tiny_checkpoint, settings, clips, monkeypatch):
    """As on a GPU, except for the device: clips are rendered ahead and written by processes."""
    (motion,) = extract_motions(tmp_path, tiny_checkpoint, settings, [crop_row("blink-1", clips["blink-1"])])
    sources = ["anna#v1", "gone", "bert", "carl"]
    rows = [plan_row(name, clips.get(name, clips["anna#v1"]), motion["path"]) for name in sources]
    rows[1]["source_path"] = str(tmp_path / "gone.mp4")
    in_process = animate(tmp_path, tiny_checkpoint, settings, rows)
    shutil.rmtree(tmp_path / "animations")
    monkeypatch.setattr(stages, "uses_gpu", lambda _name: True)
    assert animate(tmp_path, tiny_checkpoint, settings, rows) == in_process
    assert [row["reason"] for row in in_process] == ["", "missing_file", "", ""]
    for row in (in_process[0], in_process[2]):
        assert pixels_sha256(read_clip(row["path"])) == row["pixels_sha256"]


def test_a_full_disk_in_a_writer_process_stops_the_job(tmp_path, tiny_checkpoint, settings, clips, monkeypatch):
    (motion,) = extract_motions(tmp_path, tiny_checkpoint, settings, [crop_row("blink-1", clips["blink-1"])])
    rows = [plan_row(name, clips["anna#v1"], motion["path"]) for name in ("anna#v1", "bert")]
    # Imported at the start of every writer process.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, tempfile\n"
        "def on_full_disk(prefix, suffix, dir):\n"
        "    name = os.path.join(dir, prefix + 'x' + suffix)\n"
        "    os.symlink('/dev/full', name)\n"
        "    return os.open(name, os.O_RDONLY), name\n"
        "tempfile.mkstemp = on_full_disk\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(stages, "uses_gpu", lambda _name: True)
    with pytest.raises(OSError, match="No space left") as stopped:
        animate(tmp_path, tiny_checkpoint, settings, rows)
    assert stopped.value.errno == errno.ENOSPC
    assert not (tmp_path / "animations" / "0.parquet").exists()


def test_the_plan_is_animated(tmp_path, tiny_checkpoint, settings, clips):
    (motion,) = extract_motions(tmp_path, tiny_checkpoint, settings, [crop_row("blink-1", clips["blink-1"])])
    rows = [
        plan_row("anna#v1", clips["anna#v1"], motion["path"]),
        plan_row("short", clips["short"], motion["path"]),
        plan_row("gone", tmp_path / "gone.mp4", motion["path"]),
        plan_row("unmoved", clips["anna#v1"], tmp_path / "gone.npz"),
        plan_row("stale", clips["anna#v1"], motion["path"], frames=9),
        plan_row("unplanned", clips["anna#v1"], "", status="rejected", reason="no_driver"),
    ]
    made, short, gone, unmoved, stale = animate(tmp_path, tiny_checkpoint, settings, rows)

    animator = FommAnimator.from_checkpoint(tiny_checkpoint, settings, device="cpu")
    state = animator.prepare_source(read_clip(clips["anna#v1"])[1])
    wanted = np.stack(list(animator.render(state, Motion.load(motion["path"]))))
    np.testing.assert_array_equal(read_clip(made["path"]), wanted)
    facts = {
        "video_id": "anna#v1@blink-1",
        "person_id": "anna",
        "status": "ok",
        "frames": 6,
        "source_frame": 1,
        "animator": "fomm",
        "animator_licence": animator.info.licence,
        "motion_mode": "relative",
        "adapt_scale": True,
        "start_frame": 0,
        "align_corners": True,
        "precision": "float32",
        "reproducible_pixels": "one_processor",
        "code": "c0de",
        "pixels_sha256": pixels_sha256(wanted),
        "checkpoint_sha256": hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest(),
    }
    assert {name: made[name] for name in facts} == facts

    assert (short["status"], short["reason"]) == ("rejected", "source_frame_missing")
    assert "ends before frame 1" in short["detail"]
    assert gone["status"] == "failed"
    assert "gone.mp4" in gone["detail"]
    assert (unmoved["status"], unmoved["reason"]) == ("failed", "motion_unreadable")
    assert (stale["status"], stale["reason"]) == ("failed", "motion_changed")
    assert [path.name for path in Path(made["path"]).parent.iterdir()] == ["anna#v1@blink-1.mp4"]


def test_the_best_frame_of_the_plan_is_animated(tmp_path, tiny_checkpoint, settings, clips):
    """A fake is rendered again when its frame changes, and only then, whether the plan or the setting changed it."""
    (motion,) = extract_motions(tmp_path, tiny_checkpoint, settings, [crop_row("blink-1", clips["blink-1"])])
    scores = {name: 0.9 - 0.1 * number for number, name in enumerate(FRAME_SCORES)}
    best = {"best_frame": 2, **{f"best_{name}": score for name, score in scores.items()}}
    names = ("anna#v1", "bert", "carl")
    rows = [plan_row(name, clips["anna#v1"], motion["path"], **best) for name in names]
    rows.append(plan_row("dora", clips["anna#v1"], motion["path"]))
    clip_of = {name: tmp_path / f"animations/clips/{name}@blink-1.mp4" for name in names}

    def animated(setting, **changes) -> tuple[list[dict], list[str]]:
        """Return the rows, and the sources that were rendered in this call."""
        rows[0].update(changes)
        before = {name: path.stat().st_mtime_ns for name, path in clip_of.items() if path.exists()}
        found = animate(tmp_path, tiny_checkpoint, settings.model_copy(update={"source_frame": setting}), rows)
        return found, [name for name, path in clip_of.items() if path.stat().st_mtime_ns != before.get(name)]

    (made, *_, unknown), rendered = animated("best")
    assert rendered == list(names)
    assert (made["source_frame"], {name: made[f"source_{name}"] for name in scores}) == (2, scores)
    animator = FommAnimator.from_checkpoint(tiny_checkpoint, settings, device="cpu")
    state = animator.prepare_source(read_clip(clips["anna#v1"])[2])
    wanted = np.stack(list(animator.render(state, Motion.load(motion["path"]))))
    np.testing.assert_array_equal(read_clip(made["path"]), wanted)
    assert (unknown["status"], unknown["reason"]) == ("failed", "no_best_frame")
    assert "names no best frame of" in unknown["detail"] and "animator.source_frame" in unknown["detail"]

    (made, other, *_), rendered = animated("best", best_frame=1, best_eyes=0.25)
    assert rendered == ["anna#v1"]
    assert [(row["source_frame"], row["source_eyes"]) for row in (made, other)] == [(1, 0.25), (2, scores["eyes"])]
    (made, other, *_), rendered = animated("best", best_eyes=0.26)
    assert (rendered, made["source_eyes"]) == ([], 0.26)
    (made, other, *_, unknown), rendered = animated(2)
    assert rendered == ["anna#v1"], "the others show frame 2 already"
    assert [(row["source_frame"], row["source_eyes"]) for row in (made, other)] == [(2, None), (2, None)]
    assert unknown["status"] == "ok"


def test_every_setting_affects_the_pixels(tmp_path, tiny_checkpoint, settings, clips):
    (motion,) = extract_motions(tmp_path, tiny_checkpoint, settings, [crop_row("blink-1", clips["blink-1"])])
    rows = [plan_row("anna#v1", clips["anna#v1"], motion["path"])]
    changes = [{}, {"motion": "absolute"}, {"adapt_scale": False}, {"align_corners": False}, {"source_frame": 0}]
    hashes = set()
    for change in changes:
        (made,) = animate(tmp_path, tiny_checkpoint, settings.model_copy(update=change), rows)
        hashes.add(made["pixels_sha256"])
    assert len(hashes) == len(changes)


def test_an_interrupted_shard_resumes_unless_a_motion_changed(tmp_path, tiny_checkpoint, settings, clips, caplog):
    """The journal holds finished rows; it is void for a driver that was cropped again."""
    (motion,) = extract_motions(tmp_path, tiny_checkpoint, settings, [crop_row("blink-1", clips["blink-1"])])
    bad = [plan_row(f"gone{i}", tmp_path / "gone.mp4", motion["path"]) for i in range(19)]
    rows = [plan_row("anna#v1", clips["anna#v1"], motion["path"]), *bad]

    def attempt() -> int:
        """Return the time in ns at which the one good clip was written."""
        with pytest.raises(TooManyFailures, match="19 of the 20 rows"):
            animate(tmp_path, tiny_checkpoint, settings, rows, max_failed_fraction=0.5)
        return (tmp_path / "animations" / "clips" / "anna#v1@blink-1.mp4").stat().st_mtime_ns

    written = attempt()
    assert attempt() == written
    before = Motion.load(motion["path"])
    Motion({name: array[::-1].copy() for name, array in before.arrays.items()}).save(motion["path"])
    assert attempt() > written


def test_damaged_inputs_fail_their_rows_by_name(tmp_path, tiny_checkpoint, settings, clips):
    crops = {name: crop_row(name, path, sha256=file_facts(path).sha256) for name, path in clips.items()}
    (motion,) = extract_motions(tmp_path, tiny_checkpoint, settings, [crops["blink-1"]])
    hashes = {"source_clip_sha256": crops["anna#v1"]["sha256"], "motion_sha256": motion["sha256"]}
    plan = [plan_row("anna#v1", clips["anna#v1"], motion["path"], **hashes)]
    (row,) = animate(tmp_path, tiny_checkpoint, settings, plan)
    assert row["status"] == "ok"

    for path in (clips["anna#v1"], Path(motion["path"])):
        content = bytearray(path.read_bytes())
        path.write_bytes(bytes([*content[:-20], content[-20] ^ 1, *content[-19:]]))
        (tmp_path / "animations/0.parquet").unlink()
        (tmp_path / "animations/clips/anna#v1@blink-1.mp4").unlink()  # so that it is rendered again
        (row,) = animate(tmp_path, tiny_checkpoint, settings, plan)
        assert (row["status"], row["reason"]) == ("failed", "input_changed")
        assert f"{path}: sha256 is" in row["detail"] and "`deepfakemnist repair`" in row["detail"]
        path.write_bytes(content)
        (tmp_path / "animations/0.parquet").unlink()
        assert animate(tmp_path, tiny_checkpoint, settings, plan)[0]["status"] == "ok"

    clips["blink-1"].write_bytes(clips["blink-1"].read_bytes() + b"x")
    (tmp_path / "motions/0.parquet").unlink()
    Path(motion["path"]).unlink()
    (row,) = extract_motions(tmp_path, tiny_checkpoint, settings, [crops["blink-1"]])
    assert (row["status"], row["reason"]) == ("failed", "input_changed")


def test_one_job_over_several_shards_equals_one_job_each(tmp_path, tiny_checkpoint, settings, clips):
    """A changed row is rendered again, the others are not."""
    driver = crop_row("blink-1", clips["blink-1"])
    (motion,) = extract_motions(tmp_path, tiny_checkpoint, settings, [driver])
    names = {"one": ["anna#v1", "short"], "two": ["bert#v1", "gone"], "three": ["cleo#v1"]}
    files = {"short": clips["short"], "gone": tmp_path / "gone.mp4"}
    rows = {
        shard: [
            plan_row(source, files.get(source, clips["anna#v1"]), motion["path"], **of_weights(tiny_checkpoint))
            for source in sources
        ]
        for shard, sources in names.items()
    }
    alone = [row for shard in names for row in animate(tmp_path / shard, tiny_checkpoint, settings, rows[shard])]
    jobs = {tmp_path / f"{shard}.parquet": tmp_path / "clips" / shard for shard in names}
    table = tmp_path / "job.parquet"
    common = {"code": "c0de", "max_failed_fraction": 1.0, "device": "cpu"}

    def together() -> tuple[list[dict], dict[str, int], int]:
        for shard, plan in zip(names, jobs, strict=True):
            write_table(rows[shard], plan, PLANNED)
        table.unlink(missing_ok=True)
        tally = animate_shards(jobs, tiny_checkpoint, table, settings, 25.0, **common)
        made = {path.stem: path.stat().st_mtime_ns for path in (tmp_path / "clips").rglob("*.mp4")}
        return read_rows(table), made, tally.resumed

    found, written, _ = together()
    assert [{**row, "path": None, "detail": ""} for row in found] == [
        {**row, "path": None, "detail": ""} for row in alone
    ]
    assert [Path(row["path"]).parent.name for row in found if row["path"]] == ["one", "two", "three"]
    rows["two"][0]["source_pixels_sha256"] = "1" * 64
    _, again, resumed = together()
    assert resumed == 3, "the failed row is retried, too"
    assert [name for name in written if again[name] != written[name]] == ["bert#v1@blink-1"]

    folders = {tmp_path / "driver_crops.parquet": tmp_path / "m" / "a", tmp_path / "more.parquet": tmp_path / "m" / "b"}
    write_table([crop_row("nod-1", clips["anna#v1"])], tmp_path / "more.parquet", CROPPED)
    extract_motion_shards(folders, tiny_checkpoint, tmp_path / "motions.parquet", settings, **common)
    first, second = read_rows(tmp_path / "motions.parquet")
    assert Path(first["path"]) == tmp_path / "m/a/blink-1.npz" and Path(second["path"]) == tmp_path / "m/b/nod-1.npz"
    assert Path(first["path"]).read_bytes() == Path(motion["path"]).read_bytes()


def test_motions_of_other_weights_are_refused_by_name(tmp_path, tiny_checkpoint, settings, clips):
    """Keypoints of one network must not drive the generator of another."""
    (motion,) = extract_motions(tmp_path, tiny_checkpoint, settings, [crop_row("blink-1", clips["blink-1"])])
    row = plan_row("anna#v1", clips["anna#v1"], motion["path"], motion_checkpoint_sha256="0" * 64)
    sha256 = motion["checkpoint_sha256"]
    with pytest.raises(ConfigError, match=rf"sha256 {sha256}; the first is {motion['path']}, extracted with 0{{64}}"):
        animate(tmp_path, tiny_checkpoint, settings, [row])
    assert not (tmp_path / "animations/clips").exists()


def test_wrong_weights_stop_the_stage_instead_of_failing_every_row(tmp_path, tiny_checkpoint, settings, clips):
    rows = [crop_row("blink-1", clips["blink-1"])]
    with pytest.raises(ConfigError, match="do not exist"):
        extract_motions(tmp_path, tmp_path / "vox-cpk.pth.tar", settings, rows)
    pinned = settings.model_copy(update={"weights": tiny_checkpoint, "weights_sha256": "0" * 64})
    with pytest.raises(ConfigError, match="but the config expects"):
        extract_motions(tmp_path, tiny_checkpoint, pinned, rows)


@pytest.mark.parametrize("start", ["first", "best", None])
def test_another_animator_runs_through_the_same_stages(tmp_path, start):
    """The driver leans; the source leans like the driver in frame 2."""
    face = np.ascontiguousarray(data.astronaut()[0:256, 96:352])
    leaning = [(rotate(face, degrees, mode="edge") * 255).astype(np.uint8) for degrees in (0, 6, 12, 6)]
    for name, frames in (("source", [leaning[2]]), ("nod-1", leaning), ("wall", [np.full_like(face, 99)] * 4)):
        write_working_clip(tmp_path / f"{name}.mp4", frames, 25.0)
    settings = animator_settings(name="mesh", start_frame=start, source_frame=0)
    rows = [crop_row("nod-1", tmp_path / "nod-1.mp4"), crop_row("wall", tmp_path / "wall.mp4")]
    motion, faceless = extract_motions(tmp_path, None, settings, rows)
    assert (motion["animator"], motion["checkpoint_sha256"]) == ("mesh", "")
    assert (faceless["status"], faceless["reason"]) == ("rejected", "no_face")
    (made,) = animate(tmp_path, None, settings, [plan_row("source", tmp_path / "source.mp4", motion["path"], frames=4)])
    assert (made["status"], made["animator"], made["align_corners"]) == ("ok", "mesh", None)
    assert made["start_frame"] == {"first": 0, "best": 2, None: 0}[start]
    assert np.abs(read_clip(made["path"])[made["start_frame"]].astype(int) - leaning[2]).max() <= 1


@pytest.mark.real
def test_a_real_face_is_reenacted_by_its_own_motion(tmp_path, real_data, small_model):
    """Train on one real clip at 64×64, then animate its first frame with its own motion.

    The animation must be clearly closer to the clip than its static first frame.
    """
    import cv2

    frames = read_clip(real_data / "real" / "videos" / "lp-d14.mp4")[:90:3]
    frames = np.stack([cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA) for frame in frames])
    crop, crops = tmp_path / "crop.mp4", tmp_path / "crops.parquet"
    write_working_clip(crop, frames, 25.0)
    write_table([crop_row("blink-1", crop)], crops, CROPPED)

    training = TrainAnimatorSettings(steps=60, batch_size=4, size=64, learning_rate=1e-3, checkpoint_every=1000)
    settings = animator_settings(name="fomm", model=small_model, train=training, motion="absolute", source_frame=0)
    checkpoint = tmp_path / "animator.pth"
    report = tmp_path / "report.json"
    choose_training_clips([crops], [crops], None, tmp_path / "clips.json", settings, seed=0)
    train_animator_stage(tmp_path / "clips.json", checkpoint, tmp_path, report, settings, seed=0, device="cpu")
    (motion,) = extract_motions(tmp_path, checkpoint, settings, [crop_row("blink-1", crop)])
    (made,) = animate(tmp_path, checkpoint, settings, [plan_row("blink-1", crop, motion["path"], frames=30)])

    animation, clip = read_clip(made["path"]).astype(float), frames.astype(float)
    assert np.abs(animation - clip).mean() < 0.8 * np.abs(clip[:1] - clip).mean()
