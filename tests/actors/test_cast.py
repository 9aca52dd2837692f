"""Casts of synthetic actors: sample sheets, videos, planted flaws, and the workflow that renders them."""

import os
import re
import resource
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from deepfakemnist.actors.cast import FLAWS, CastSettings, drivers, film, sources, write_sheets, write_shot
from deepfakemnist.actors.expressions import random_expression
from deepfakemnist.config.base import ACTIONS
from deepfakemnist.config.sheets import DriverRow, SourceRow
from deepfakemnist.config.stages import CropSettings
from deepfakemnist.faces.crop import crop_shard
from deepfakemnist.ids import check_id
from deepfakemnist.machine_errors import MachineError
from deepfakemnist.media.decode import read_clip
from deepfakemnist.media.ingest import ingest_shard
from deepfakemnist.sources.sheets import read_sheet
from deepfakemnist.tables.files import read_rows

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def cast(**settings):
    small = {
        "folder": Path("cast"), "heads": 8, "sources": 2, "drivers": 1, "source_frames": 16, "driver_frames": 16,
        "width": 128, "height": 96,
    }  # fmt: skip
    return CastSettings(**{**small, **settings})


def frames_of(shot, settings, bank):
    return np.stack(list(film(shot, settings, bank)))


@pytest.fixture
def sheets(tmp_path):
    """Rows of both sheets, as the workflow reads them: four sources with two videos each, three drivers, the flaws."""
    settings = cast(folder=tmp_path, sources=4, clips_per_source=2, drivers=3, drivers_per_action=2, flaws=True)
    files = tmp_path / "sources.tsv", tmp_path / "drivers.tsv"
    write_sheets(settings, *files)
    assert [file.read_text().split("\n")[0].split("\t") for file in files] == [
        ["video_id", "path", "person_id", "licence"],
        ["driver_id", "action", "path", "person_id"],
    ]
    return [
        read_sheet(file, row, keep_going=False).rows for file, row in zip(files, (SourceRow, DriverRow), strict=True)
    ]


def test_every_video_has_one_row_in_the_sheets(sheets):
    people, performers = sheets
    ids = [row["video_id"] for row in chain(people, performers)]
    assert len({check_id(name) for name in ids}) == len(ids) == 4 * 2 + 3 + 10 * 2
    assert Counter(row["person_id"] for row in people[:8]) == {f"actor0{index}": 2 for index in range(4)}
    assert [row["video_id"] for row in people[8:]] == list(FLAWS)
    assert {row["licence"] for row in people} == {"CC0-1.0"}
    assert len({row["path"] for row in chain(people, performers)}) == len(ids)


def test_every_action_has_its_drivers_and_none_of_them_is_a_source(sheets):
    people, performers = sheets
    assert Counter(row["action"] for row in performers) == dict.fromkeys(ACTIONS, 2)
    assert len({(row["action"], row["person_id"]) for row in performers}) == 20, "two different people per action"
    assert {row["person_id"] for row in performers} == {"actor04", "actor05", "actor06"}
    assert not {row["person_id"] for row in performers} & {row["person_id"] for row in people}


def test_people_do_not_share_heads_when_there_are_enough():
    settings = cast(first_head=5, heads=7, sources=4, drivers=3)
    heads = {shot.person: shot.identity for shot in [*sources(settings), *drivers(settings)]}
    assert sorted(heads.values()) == list(range(5, 12))


def test_committed_casts_fit_the_bank_and_training_shares_no_head_with_the_demos(bank):
    heads = {}
    for path in sorted((ROOT / "config/actors").glob("*.yaml")):
        settings = CastSettings(**yaml.safe_load(path.read_text()))
        people = {shot.person: shot.identity for shot in [*sources(settings), *drivers(settings)]}
        heads[path.stem] = set(people.values())
        assert max(heads[path.stem]) < len(bank), path
        if path.stem != "training":
            assert len(heads[path.stem]) == len(people), f"{path}: a shared head could be in two splits"
    assert not (heads["demo"] | heads["demo_large"]) & heads["training"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"drivers": 1, "drivers_per_action": 2}, "drivers_per_action is 2 but there are 1 drivers"),
        ({"source_frames": 15}, r"source_frames\s+Input should be greater than or equal to 16"),
        ({"driver_frames": 1}, r"driver_frames\s+Input should be greater than or equal to 16"),
        ({"sources": 0}, r"sources\s+Input should be greater than 0"),
        ({"heads": 0}, r"heads\s+Input should be greater than 0"),
        ({"seed": -1}, r"seed\s+Input should be greater than or equal to 0"),
        ({"width": 14}, r"width\s+Input should be greater than or equal to 16"),
        ({"height": 95}, r"height\s+Input should be a multiple of 2"),
        ({"heigth": 96}, r"heigth\s+Extra inputs are not permitted"),
    ],
)
def test_invalid_settings_are_rejected_by_name(wrong, message):
    with pytest.raises(ValidationError, match=message):
        cast(**wrong)


def test_a_video_depends_only_on_its_shot_and_seed(bank):
    few, many = cast(), cast(folder=Path("elsewhere"), sources=4, drivers=3, drivers_per_action=2, flaws=True)
    shot = sources(few)[1]
    assert shot == sources(many)[1]
    # Two interleaved renderings, from casts that differ in size and folder.
    interleaved = zip(film(shot, few, bank), film(shot, many, bank), strict=True)
    first, again = np.stack(list(interleaved), axis=1)
    assert first.shape == (16, 96, 128, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again)
    other = cast(seed=1)
    assert np.abs(first[0].astype(int) - next(film(sources(other)[1], other, bank))).mean() > 5


def test_videos_of_a_person_differ_and_frames_move(bank):
    settings = cast(clips_per_source=2)
    one, two = (frames_of(shot, settings, bank).astype(int) for shot in sources(settings)[:2])
    assert np.abs(one - two).mean() > 5
    assert min(np.abs(after - before).mean() for before, after in pairwise(one)) > 0.3


def test_expressions_change_the_face_in_every_frame(bank):
    changes = {}
    for expressions in (False, True):
        settings = cast(expressions=expressions, close_up=True)
        frames = frames_of(sources(settings)[0], settings, bank).astype(int)
        changes[expressions] = min(np.abs(after - before).mean() for before, after in pairwise(frames))
    assert changes[True] > 2 * changes[False]
    # Drivers still perform their action.
    plain, random = cast(), cast(expressions=True)
    smile = next(shot for shot in drivers(plain) if shot.action == "smile")
    assert np.array_equal(next(film(smile, plain, bank)), next(film(smile, random, bank)))


def test_random_expressions_cover_their_range(bank):
    random = np.random.default_rng(0)
    samples = [random_expression(random) for _ in range(2000)]
    poses = np.array([(pose.yaw, pose.pitch, pose.roll) for pose, _, _ in samples])
    reach = np.abs(poses).max(0)
    assert (reach <= (28, 17, 24)).all() and (reach > (26, 15.5, 22)).all()
    assert {name for _, weights, _ in samples for name in weights} <= set(bank.action_names)
    values = [weight for _, weights, _ in samples for weight in weights.values()]
    assert min(values) >= 0 and max(values) == 1.0
    gaze = np.array([look for _, _, look in samples])
    assert np.abs(gaze[:, 0]).max() <= 10 and -20 <= gaze[:, 1].min() < -15 and 10 < gaze[:, 1].max() <= 14

    def share(name, least=0.0):
        return np.mean([weights.get(name, 0.0) > least for _, weights, _ in samples])

    assert share("eyeBlinkLeft") == pytest.approx(0.30, abs=0.04)
    assert share("mouthSmileLeft", 0.37) == pytest.approx(0.26, abs=0.04)
    assert share("browInnerUp") == pytest.approx(0.30, abs=0.04)
    assert share("jawOpen") > 0.3


def test_random_expressions_are_reproducible_and_never_repeat():
    first, again = ([random_expression(np.random.default_rng(seed)) for seed in range(50)] for _ in range(2))
    assert first == again
    random = np.random.default_rng(0)
    for before, after in pairwise(random_expression(random) for _ in range(200)):
        assert before[0] != after[0] and before[2] != after[2]


@pytest.fixture(scope="module")
def processed_flaws(bank, tmp_path_factory):
    """A good source and the flaws after ingest and after crop: video_id → row."""
    folder = tmp_path_factory.mktemp("flaws")
    settings = cast(folder=folder, sources=1, source_frames=24, width=320, height=240, flaws=True)
    write_sheets(settings, folder / "sources.tsv", folder / "drivers.tsv")
    for shot in sources(settings):
        write_shot(shot, settings, bank, folder / shot.path)
    rows = read_sheet(folder / "sources.tsv", SourceRow, keep_going=False).rows
    ingest_shard(rows, folder / "ingested.parquet", code="c0de")
    settings = CropSettings(size=64, min_frames=24)
    crop_shard(folder / "ingested.parquet", folder / "c.parquet", folder / "crops", settings=settings, code="c0de")
    return [{row["video_id"]: row for row in read_rows(folder / name)} for name in ("ingested.parquet", "c.parquet")]


def test_each_flaw_is_caught_in_its_stage_with_a_reason(processed_flaws):
    ingested, cropped = processed_flaws
    outcomes = {name: (row["status"], row["reason"]) for name, row in ingested.items()}
    assert outcomes == {
        "actor00-1": ("ok", ""),
        "no-face": ("ok", ""),
        "too-short": ("ok", ""),
        "cut-short": ("failed", "truncated"),
    }
    outcomes = {name: (row["status"], row["reason"]) for name, row in cropped.items()}
    assert outcomes == {
        "actor00-1": ("ok", ""),
        "no-face": ("rejected", "no_face"),
        "too-short": ("rejected", "too_short"),
    }


def test_a_source_is_encoded_like_a_camera_video(processed_flaws):
    row = processed_flaws[0]["actor00-1"]
    facts = {name: row[name] for name in ("codec", "pix_fmt", "width", "height", "rotation", "frames", "fps")}
    assert facts == {
        "codec": "h264", "pix_fmt": "yuv420p", "width": 320, "height": 240, "rotation": 0, "frames": 24, "fps": 25.0,
    }  # fmt: skip
    assert not row["variable_rate"]


@contextmanager
def full_disk(size):
    """Limit files to ``size`` bytes, in this process and its children."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_video_is_written_atomically(bank, tmp_path):
    settings = cast()
    shot = sources(settings)[0]
    path = tmp_path / "videos" / "a.mp4"
    with full_disk(4000), pytest.raises(MachineError, match="Raise the limit of file sizes"):
        write_shot(shot, settings, bank, path)
    assert list(path.parent.iterdir()) == []

    write_shot(shot, settings, bank, path)
    whole = path.read_bytes()
    assert len(whole) > 4000
    assert np.abs(read_clip(path).astype(int) - frames_of(shot, settings, bank)).mean() < 4
    with pytest.raises(ValueError, match=r"the bank has identities 0 to \d+, not 999"):
        write_shot(replace(shot, identity=999), settings, bank, path)
    assert list(path.parent.iterdir()) == [path] and path.read_bytes() == whole
    write_shot(shot, settings, bank, path)
    assert path.read_bytes() == whole, "the same video, byte for byte"


def snakemake(folder, *arguments, expect=0):
    where = ("-s", str(ROOT / "workflow/actors.smk"), "--directory", str(folder))
    config = ("--configfile", str(folder / "tiny.yaml"))
    command = [sys.executable, "-m", "snakemake", *where, *config, "--cores", "1", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    output = done.stdout + done.stderr
    assert done.returncode == expect, output[-6000:]
    return output


@pytest.mark.workflow
def test_the_workflow_renders_a_cast_once(tmp_path):
    """Two jobs run: both sources, and the last of the ten drivers; three jobs of three drivers each remain."""
    settings = cast()
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    wanted = ["cast/sources.tsv", "cast/filmed/sources/0.txt", "cast/filmed/drivers/3.txt"]
    snakemake(tmp_path, *wanted)
    listed = [name for listing in wanted[1:] for name in (tmp_path / listing).read_text().split()]
    assert listed == ["videos/actor00-1.mp4", "videos/actor01-1.mp4", "videos/embarrassment-actor02.mp4"]
    for name in listed:
        assert read_clip(tmp_path / "cast" / name).shape == (16, 96, 128, 3)
    rows = read_sheet(tmp_path / "cast/sources.tsv", SourceRow, keep_going=False).rows
    assert all(Path(row["path"]).is_file() for row in rows) and len(rows) == 2
    assert len(read_sheet(tmp_path / "cast/drivers.tsv", DriverRow, keep_going=False).rows) == 10

    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "cast").rglob("*") if path.is_file()}
    assert "Nothing to be done" in snakemake(tmp_path, *wanted)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    # Another seed changes every person: both jobs re-run, besides the three that remain.
    changed = snakemake(tmp_path, "--dry-run", "--config", "seed=1")
    assert re.search(r"^render_sources +1$", changed, flags=re.M) and "Params have changed" in changed
    assert re.search(r"^render_drivers +4$", changed, flags=re.M)


@pytest.mark.workflow
def test_the_workflow_rejects_an_invalid_cast(tmp_path):
    (tmp_path / "tiny.yaml").write_text("folder: cast\nheads: 2\nsources: 2\ndrivers: 1\ndrivers_per_action: 3\n")
    output = snakemake(tmp_path, "--dry-run", expect=1)
    assert "invalid cast config" in output
    assert "drivers_per_action is 3 but there are 1 drivers" in output
