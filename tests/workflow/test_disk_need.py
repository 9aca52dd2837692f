"""Prediction of the space that a run needs, and the stop before a run that has too little."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from deepfakemnist.cli.main import main
from deepfakemnist.config.dataset import Quality
from deepfakemnist.config.load import load_config
from deepfakemnist.detectors.registry import DETECTORS, build
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import ANIMATED, COMPRESSED, CROPPED, FRAMES, MOTIONS, SELECTED
from deepfakemnist.workflow.disk_check import check_disk
from deepfakemnist.workflow.disk_need import predict
from deepfakemnist.workflow.run_plan import RunPlan
from deepfakemnist.workflow.typical_sizes import checkpoint_bytes, frame_bytes

ROOT = Path(__file__).parents[2]
OK = {"status": "ok", "reason": "", "detail": ""}
#: Everything that a whole run does and that fills the disk.
RULES = ("ingest", "crop", "extract_motion", "animate", "liveness", "compress", "frames", "train")
SOURCES = 60


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A config of 60 sources of 8 s and one driver of 4 s, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    lines = [f"v{number:02}\tv.mp4\tp{number:02}\t1\t9" for number in range(SOURCES)]
    Path("sources.tsv").write_text("\n".join(["video_id\tpath\tperson_id\tstart_s\tend_s", *lines]) + "\n")
    Path("drivers.tsv").write_text("driver_id\taction\tpath\tstart_s\tend_s\nd\tnod\td.mp4\t0\t4\n")
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    config["sources"] |= {"sheet": "sources.tsv"}
    config["drivers"] |= {"sheet": "drivers.tsv"}
    config["plan"] |= {"actions": ["nod"], "expected_pass_rate": 1.0}
    config["liveness"]["motions"] = str(ROOT / "config/actions.tsv")
    config["training"] |= {"detectors": [{"name": "meso4"}], "trained_on": ["c23"]}
    return config


def plan_of(config):
    return RunPlan(load_config(config), check_files=False)


def needs(config):
    return {need.stage: need for need in predict(plan_of(config), Path("results"))}


def test_before_any_job_the_need_follows_from_the_length_of_the_videos(config):
    found = needs(config)
    assert not any(need.measured or need.there for need in found.values())
    assert found["crop/source"].bytes == pytest.approx(SOURCES * 8 * 25 * 43_000)
    assert found["animate"].bytes == pytest.approx(SOURCES * 4 * 25 * 39_000)
    # Three qualities of 100 frames: a source is cut to the length of its fake.
    assert found["compress/real"].files == 3 * SOURCES
    assert found["compress/real"].bytes == pytest.approx(SOURCES * (100 * (14_500 + 490 + 100) + 3 * 1_500), rel=0.01)
    assert found["frames/fake"].bytes == pytest.approx(SOURCES * 16 * (56_800 + 53_600 + 46_500), rel=0.01)
    smaller = needs({**config, "crop": {**config["crop"], "size": 128}})
    assert smaller["crop/source"].bytes == pytest.approx(found["crop/source"].bytes / 4)
    assert needs({**config, "compress": {**config["compress"], "max_frames": 50}})[
        "compress/real"
    ].bytes == pytest.approx(SOURCES * (50 * (14_500 + 490 + 100) + 3 * 1_500), rel=0.01)


def test_videos_whose_length_nobody_can_read_count_as_typical_ones(config):
    Path("sources.tsv").write_text("video_id\tpath\tperson_id\n" + "".join(f"v{n}\tgone.mp4\tp{n}\n" for n in range(9)))
    config["sources"] |= {"on_bad_row": "row"}
    assert needs(config)["crop/source"].bytes == pytest.approx(9 * 8.2 * 25 * 43_000)


def make_run(config, shards, sizes):
    """Write tables and files of the first shards as the stages do; sizes: video → bytes of its crop."""
    plan = plan_of(config)
    for shard in plan.shards("source")[:shards]:
        videos = [row["video_id"] for row in plan.rows("source", shard)]
        clips("crop/source", shard, CROPPED, {video: sizes[video] for video in videos}, 150)
        fakes = {f"{video}@d": sizes[video] // 2 for video in videos}
        clips("animate", shard, ANIMATED, fakes, 90)
        accepted = [{"video_id": fake, **OK, "path": "x", "frames": 90} for fake in fakes]
        write_table(accepted, f"results/select/{shard}.parquet", SELECTED)
        for kind, names in (("real", videos), ("fake", fakes)):
            each = {f"{name}.{quality}": 3_000 for name in names for quality in ("raw", "c23", "c40")}
            clips(f"compress/{kind}", shard, COMPRESSED, each, 90)
            images = [{"video_id": name, **OK, "image": random.Random(1).randbytes(20_000)} for name in each]
            write_table(images, f"results/frames/{kind}/{shard}.parquet", FRAMES)
    clips("extract_motion", plan.shards("driver")[0], MOTIONS, {"d": 10_000}, 100)


def clips(stage, shard, schema, sizes, frames):
    rows = []
    for name, size in sizes.items():
        path = Path("results", stage, shard, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
        rows.append({"video_id": name.split(".")[0], **OK, "path": str(path), "frames": frames})
    write_table(rows, f"results/{stage}/{shard}.parquet", schema)


def test_a_few_finished_shards_predict_the_whole_within_a_fifth(config):
    draw = random.Random(7)
    sizes = {f"v{number:02}": round(draw.lognormvariate(10, 0.3)) for number in range(SOURCES)}
    make_run(config, 4, sizes)
    early = needs(config)
    make_run(config, 1000, sizes)
    late = needs(config)
    for stage in ("crop/source", "animate", "compress/real", "compress/fake", "frames/real", "frames/fake"):
        assert early[stage].measured and 0 < early[stage].there < 0.5 * early[stage].bytes
        assert late[stage].missing == 0
        assert early[stage].bytes == pytest.approx(late[stage].bytes, rel=0.2)
    written = sum(path.stat().st_size for path in Path("results/crop/source").glob("*/*"))
    assert late["crop/source"].bytes == written


def test_rounds_animate_as_many_as_the_pass_rate_so_far_asks_for(config):
    config["plan"] |= {"quota": 30, "max_rounds": 5, "expected_pass_rate": 0.5}
    before = needs(config)
    assert before["animate"].files == 60 and before["compress/fake"].files == 3 * 30
    rows = [{"video_id": f"v{n}@d", **OK, "path": "x", "frames": 9} for n in range(3)]
    refused = [{"video_id": f"w{n}@d", "status": "rejected", "reason": "not_live", "detail": ""} for n in range(9)]
    write_table([*rows, *refused], "results/select/one@1.parquet", SELECTED)
    after = needs(config)
    assert after["animate"].files == 120 and after["compress/fake"].files == 3 * 30
    assert sum(need.files for need in after.values()) < 2000


def test_every_training_of_the_grid_leaves_a_checkpoint(config):
    config["training"] |= {"detectors": [{"name": "resnet50"}], "trained_on": ["c23", "c23-fold-each"], "seeds": [0, 1]}
    config["dataset"] |= {"folds": 5}
    assert needs(config)["detectors"].bytes == pytest.approx((1 + 5) * 2 * 94e6)
    path = Path("results/detectors/resnet50/c23/seed0/checkpoint.safetensors")
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(1000))
    found = needs(config)["detectors"]
    assert (found.bytes, found.there, found.measured) == (12_000, 1000, True)


def test_trained_detectors_take_what_their_networks_hold():
    for name in DETECTORS:
        with torch.device("meta"):
            state = build(name).state_dict().values()
        size = sum(tensor.numel() * tensor.element_size() for tensor in state)
        assert checkpoint_bytes(name) == pytest.approx(size, rel=0.05), name


def test_a_clip_is_smaller_the_higher_its_rate_factor():
    sizes = [frame_bytes(Quality(qp=0)), *(frame_bytes(Quality(crf=crf)) for crf in (10, 23, 30, 40, 51))]
    assert sizes == sorted(sizes, reverse=True) and frame_bytes(Quality(crf=23)) == pytest.approx(490)


def test_a_run_that_needs_more_than_there_is_stops_and_says_what_needs_it(config):
    config["disk"] |= {"limit_gb": 1}
    with pytest.raises(ConfigError) as stopped:
        check_disk(plan_of(config), Path("results"), RULES)
    message = str(stopped.value)
    assert "will probably write" in message and "disk.limit_gb allows 1 GB" in message
    assert "crop/source 0.52" in message and "on_shortage: warn" in message
    config["disk"] |= {"on_shortage": "warn"}
    assert check_disk(plan_of(config), Path("results"), RULES).startswith("WARNING: disk: this run")
    # What it leaves free counts too.
    config["disk"] |= {"limit_gb": None, "reserve_gb": 1e6}
    assert check_disk(plan_of(config), Path("results"), RULES).startswith("WARNING")


def test_only_what_the_jobs_about_to_run_write_is_compared(config):
    config["disk"] |= {"limit_gb": 0.6, "reserve_gb": 0}
    assert check_disk(plan_of(config), Path("results"), ("ingest", "crop")).startswith("Disk: about 0.52 GB to write")
    with pytest.raises(ConfigError):
        check_disk(plan_of(config), Path("results"), ("ingest", "crop", "animate"))
    with pytest.raises(ConfigError, match="animate 0"):
        check_disk(plan_of(config), Path("results"), ("ingest", "crop", "draw_candidates"))
    assert check_disk(plan_of(config), Path("results"), ("report_pages",)) == ""


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for 100 files."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2g,nr_inodes=101", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no right to mount a file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_file_system_without_room_for_so_many_files_stops_the_run(config, small_disk):
    with pytest.raises(ConfigError, match=r"will make about [\d,]+ files, and \S+/small/results has room for 100\b"):
        check_disk(plan_of(config), small_disk / "results", RULES)


def test_the_command_prints_the_need_of_every_stage(config, capsys):
    Path("config").mkdir()
    Path("config/config.yaml").write_text(yaml.safe_dump(config))
    assert main(["disk"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["stage", "files"]
    row = next(line for line in lines if line.startswith("crop/source")).split()
    assert row == ["crop/source", "60", "0.516", "0.000", "0.516", "typical", "clips"]
    assert lines[-1].endswith("GB are free in results") and lines[-2].startswith("all ")
    config["disk"] |= {"limit_gb": 1}
    Path("config/config.yaml").write_text(yaml.safe_dump(config))
    assert main(["disk"]) == 1
