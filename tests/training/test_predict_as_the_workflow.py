"""Command ``deepfakemnist predict`` gives the logits of the workflow's stages, whatever its clips were made of."""

import argparse
import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from deepfakemnist.actors.bank import load_bank
from deepfakemnist.actors.cast import CastSettings, film, sources
from deepfakemnist.cli import predict as command
from deepfakemnist.config.dataset import CompressSettings, FrameSettings, Quality
from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.config.preparation import Preparation
from deepfakemnist.config.stages import CropSettings
from deepfakemnist.dataset.face_boxes import best_face
from deepfakemnist.detectors.registry import build
from deepfakemnist.faces.crop import crop_shard
from deepfakemnist.media.compress import compress_shard
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.frames import frames_shard
from deepfakemnist.media.ingest import ingest_video
from deepfakemnist.tables.dataset_schemas import FRAME_INDEX, VIDEOS
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import INGESTED
from deepfakemnist.training.checkpoint import save_checkpoint
from deepfakemnist.training.decision import Decision
from deepfakemnist.training.predict import predict

pytestmark = pytest.mark.slow

torch.set_num_threads(1)
FRAMES, SIZE = 16, 96
CAST = CastSettings(
    folder=Path(), heads=1, sources=1, drivers=0, drivers_per_action=0, source_frames=FRAMES, width=320, height=240
)
RATES = {"raw": {"qp": 0}, "c23": {"crf": 23}, "c40": {"crf": 40}}
QUALITIES = {name: Quality(preset="ultrafast", **rate) for name, rate in RATES.items()}
STATUS = {"status": "ok", "reason": "", "detail": ""}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "talk.mp4"
    write_working_clip(path, film(sources(CAST)[0], CAST, load_bank()), 25)
    return path


def save(path, name, preparation, trained_on):
    """A detector of random weights; the last layer is steep, so that a small change of the picture shows."""
    torch.manual_seed(3)
    weights = build(name, image_size=64).state_dict()
    last = [key for key in weights if key.endswith("weight")][-1]
    weights[last] = weights[last] * 100
    facts = {"preparation": preparation.model_dump(mode="json"), "decision": Decision(temperature=2.0).model_dump()}
    save_checkpoint(path, weights, DetectorTraining(name=name, image_size=64), trained_on, 1, 0, facts)
    return path


def compressed(folder, video, crop, cropped, boxes):
    """Run the stages from ingest to compress; return the table of the last."""
    row = {"video_id": "talk", "path": str(video), "person_id": "p", "role": "driver", "start_s": None, "end_s": None}
    ingested = {**row, "cropped": cropped, **ingest_video(row), "boxes": boxes, **STATUS}
    write_table([ingested], folder / "ingest.parquet", INGESTED)
    crop_shard(folder / "ingest.parquet", folder / "crop.parquet", folder / "crop", settings=crop, code="c0de")
    table = folder / "compress.parquet"
    settings = CompressSettings(qualities=QUALITIES)
    compress_shard(folder / "crop.parquet", table, folder / "c", label=0, settings=settings, fps=crop.fps, code="c0de")
    return table


def logits_of_the_stages(folder, compressed, frames, checkpoint):
    """Run the frames and predict stages; return quality → logits in order of frames."""
    shard = folder / f"{frames.region}.parquet"
    find_face = best_face() if frames.region == "face" else None
    frames_shard(compressed, shard, folder / "f", settings=frames, code="c0de", find_face=find_face)
    common = {"split": "test", "split_driver": "test", "action": "", "person_id": "p"}
    stills = read_rows(shard)
    assert {row["status"] for row in stills} == {"ok"}
    index = [{**row, **common, "shard_path": str(shard), "shard_row": at} for at, row in enumerate(stills)]
    write_table([{n: row.get(n) for n in FRAME_INDEX.names} for row in index], folder / "index.parquet", FRAME_INDEX)
    videos = [{**row, **common} for row in read_rows(compressed)]
    write_table([{n: row.get(n) for n in VIDEOS.names} for row in videos], folder / "videos.parquet", VIDEOS)
    predict(folder / "index.parquet", folder / "videos.parquet", checkpoint, folder / "predictions.parquet", "cpu")
    rows = read_rows(folder / "predictions.parquet")
    return {quality: [row["logit"] for row in rows if row["quality"] == quality] for quality in QUALITIES}


def logits_of_the_command(folder, *words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    arguments = parser.parse_args([str(word) for word in (*words, "--output", folder)])
    assert arguments.run(arguments) == 0
    with (folder / "frames.csv").open() as file:
        return [float(row["logit"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("policy", ["square-track", "ff-1.3", "vox-metadata", "as-cropped"])
def test_every_crop_region_and_quality_gives_the_workflows_logits(video, tmp_path, policy):
    cropped = policy == "as-cropped"
    crop = CropSettings(size=SIZE, **({} if cropped else {"policy": policy}))
    boxes, options = None, ["--cropped"] if cropped else []
    if policy == "vox-metadata":
        boxes = [[0.0, 90.0, 20.0, 150.0, 200.0], [0.6, 94.0, 22.0, 150.0, 200.0]]
        with (tmp_path / "boxes.csv").open("w") as file:
            csv.writer(file).writerows([("time_s", "left", "top", "width", "height"), *boxes])
        options = ["--boxes", tmp_path / "boxes.csv"]
    if cropped:
        square = (frame[:240, 40:280] for frame in film(sources(CAST)[0], CAST, load_bank()))
        video = write_working_clip(tmp_path / "square.mp4", square, 25).path
    table = compressed(tmp_path, video, crop, cropped, boxes)
    seen = []
    for region in ("full", "face"):
        frames = FrameSettings(per_clip=4, region=region)
        facts = {"clips": "crops" if cropped else "cropped_here", "qualities": QUALITIES}
        preparation = Preparation(**facts, crop=crop, frames=frames)
        wanted = logits_of_the_stages(tmp_path, table, frames, save(tmp_path / "any", "meso4", preparation, "c23"))
        for quality in QUALITIES:
            checkpoint = save(tmp_path / "checkpoint", "meso4", preparation, quality)
            words = (video, "--checkpoint", checkpoint, "--as-trained", *options)
            found = logits_of_the_command(tmp_path / "out", *words)
            assert found == pytest.approx(wanted[quality], abs=1e-4), (region, quality)
            seen.append(found)
    # Settings that do not show in the logits would be compared in vain.
    differences = [np.abs(np.subtract(a, b)).max() for at, a in enumerate(seen) for b in seen[:at]]
    assert len(seen[0]) == 4 and min(differences) > 0.01


def test_a_clip_detector_sees_the_workflows_neighbouring_frames(video, tmp_path):
    crop, frames = CropSettings(size=SIZE), FrameSettings(per_clip=6)
    preparation = Preparation(crop=crop, qualities=QUALITIES, frames=frames)
    checkpoint = save(tmp_path / "checkpoint", "framediff_resnet18", preparation, "c40")
    wanted = logits_of_the_stages(tmp_path, compressed(tmp_path, video, crop, False, None), frames, checkpoint)
    found = logits_of_the_command(tmp_path / "out", video, "--checkpoint", checkpoint, "--as-trained")
    assert found == pytest.approx(wanted["c40"], abs=1e-4)
    assert np.ptp(found) > 0.01


def test_a_clip_of_the_dataset_scored_as_it_is_has_its_own_logits(video, tmp_path):
    """Without --as-trained nothing is encoded: a c40 clip gives the logits of c40 to a detector of another quality."""
    crop, frames = CropSettings(size=SIZE), FrameSettings(per_clip=4)
    preparation = Preparation(crop=crop, qualities=QUALITIES, frames=frames)
    checkpoint = save(tmp_path / "checkpoint", "meso4", preparation, "raw")
    # Clips of a published dataset keep their size, whatever crop.size is.
    published = preparation.model_copy(update={"clips": "released", "crop": CropSettings(size=256)})
    other = save(tmp_path / "other", "meso4", published, "raw")
    wanted = logits_of_the_stages(tmp_path, compressed(tmp_path, video, crop, False, None), frames, checkpoint)
    clip = tmp_path / "c/c40/talk.mp4"
    for trained in (checkpoint, other):
        found = logits_of_the_command(tmp_path / "out", clip, "--checkpoint", trained, "--cropped")
        assert found == pytest.approx(wanted["c40"], abs=1e-4)
    assert np.abs(np.subtract(found, wanted["raw"])).max() > 0.01
