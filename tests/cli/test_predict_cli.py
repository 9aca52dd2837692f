"""Command ``deepfakemnist predict``: verdicts on whole videos, with every face, and reasons where there is none."""

import argparse
import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deepfakemnist.actors.bank import load_bank
from deepfakemnist.actors.cast import CastSettings, film, sources
from deepfakemnist.cli import predict
from deepfakemnist.config.dataset import CompressSettings, FrameSettings
from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.config.preparation import Preparation
from deepfakemnist.config.stages import CropSettings
from deepfakemnist.detectors.registry import build
from deepfakemnist.errors import ConfigError
from deepfakemnist.media.decode import read_frames
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.training.checkpoint import save_checkpoint
from deepfakemnist.training.decision import Decision

pytestmark = pytest.mark.slow

torch.set_num_threads(1)
FRAMES = 20
CAST = CastSettings(
    folder=Path(), heads=2, sources=2, drivers=0, drivers_per_action=0, source_frames=FRAMES, width=320, height=240,
    flaws=True,
)  # fmt: skip
#: Pictures per second of the long videos: each stands for 12 or 13 frames of the crop, and is decoded once.
SLOW = 2
RECIPE = DetectorTraining(name="meso4", image_size=64)


def write_clip(path, frames, fps=25):
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    options = (
        f"-v error -y -f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {fps} -i - -c:v libx264 -crf 18 "
        "-pix_fmt yuv420p -movflags +faststart"
    )
    command = [find_ffmpeg().path, *options.split(), str(path)]
    subprocess.run(command, input=b"".join(np.ascontiguousarray(frame).tobytes() for frame in frames), check=True)
    return path


@pytest.fixture(scope="module")
def shots():
    """Frames of two people and of a place without any."""
    bank = load_bank()
    named = {shot.name: list(film(shot, CAST, bank)) for shot in sources(CAST) if not shot.flaw.startswith("cut")}
    return {"anna": named["actor00-1"], "bert": named["actor01-1"], "nobody": named["no-face"]}


@pytest.fixture(scope="module")
def videos(tmp_path_factory, shots):
    folder = tmp_path_factory.mktemp("videos")
    write_clip(folder / "person/talk.mp4", shots["anna"])
    write_clip(folder / "wall.mp4", shots["nobody"])
    (folder / "page.mp4").write_text("<!DOCTYPE html>")
    (folder / "notes.txt").write_text("no video")
    return folder


def save(path, threshold=0.5, trained_on="c23", **preparation):
    """A detector of random weights, steep enough to tell faces apart."""
    torch.manual_seed(3)
    weights = build("meso4", image_size=64).state_dict()
    weights["network.head.5.weight"] *= 50
    weights["network.head.5.bias"] += 3.5
    facts = {"crop": CropSettings(size=64), "qualities": CompressSettings().qualities, **preparation}
    stated = {
        "preparation": Preparation(**facts).model_dump(mode="json"),
        "decision": Decision(threshold=threshold, temperature=2.0, val_videos=8).model_dump(),
    }
    save_checkpoint(path, weights, RECIPE, trained_on, epoch=1, seed=5, facts=stated)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save(tmp_path_factory.mktemp("detector") / "checkpoint.safetensors")


def command(*words):
    parser = argparse.ArgumentParser()
    predict.add_arguments(parser)
    arguments = parser.parse_args([str(word) for word in words])
    return arguments.run(arguments)


def judge(folder, checkpoint, video, *options):
    """Return the exit status and the record of one video."""
    status = command(video, "--checkpoint", checkpoint, "--output", folder, *options)
    return status, json.loads((folder / "scores.json").read_text())["videos"][0]


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_every_video_of_a_folder_has_a_verdict_or_a_reason(videos, checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    options = ("--frames", 5, "--overlay", "--heat-map", "--timeline")
    assert command(videos, "--checkpoint", checkpoint, "--output", out, *options) == 1  # page.mp4 is no video
    printed = capsys.readouterr()
    assert f"{videos}: left aside 1 without a video suffix (.txt 1)" in printed.err
    assert "knows quality c23 (codec libx264, crf 23" in printed.err and "scored as they are" in printed.err
    assert "unscored\t\twall\tno_face: no face of score" in printed.out
    result = json.loads((out / "scores.json").read_text())
    assert (result["detector"], result["trained_on"], result["seed"]) == ("meso4", "c23", 5)
    assert (result["threshold"], result["temperature"], result["encoded_as"]) == (0.5, 2.0, None)
    by_name = {video["name"]: video for video in result["videos"]}
    assert set(by_name) == {"person__talk", "wall", "page"}
    talk = by_name["person__talk"]
    (track,) = talk["tracks"]
    scores = [frame["score"] for frame in track["frames"]]
    assert scores == pytest.approx([1 / (1 + np.exp(-frame["logit"] / 2.0)) for frame in track["frames"]])
    assert len(scores) == 5 and talk["score"] == track["score"] == pytest.approx(np.mean(scores))
    assert talk["verdict"] == track["verdict"] == ("fake" if talk["score"] >= 0.5 else "real")
    assert [frame["time_s"] for frame in track["frames"]] == pytest.approx([0.08, 0.24, 0.4, 0.56, 0.72])
    wall = by_name["wall"]
    assert (wall["verdict"], wall["score"], wall["reason"], wall["tracks"]) == ("unscored", None, "no_face", [])
    assert (by_name["page"]["verdict"], by_name["page"]["reason"]) == ("unscored", "not_a_video")

    assert [(row["name"], row["verdict"]) for row in rows_of(out / "videos.csv")] == [
        ("page", "unscored"), ("person__talk", talk["verdict"]), ("wall", "unscored")
    ]  # fmt: skip
    assert [float(row["score"]) for row in rows_of(out / "frames.csv")] == pytest.approx(scores)
    assert [(row["second"], row["frames"]) for row in rows_of(out / "seconds.csv")] == [("0", "5")]

    overlaid = list(read_frames(out / "person__talk.overlay.mp4"))
    plain = list(read_frames(videos / "person/talk.mp4"))
    assert len(overlaid) == len(plain) == FRAMES
    left, top, side = (track["segments"][0]["box"][name] for name in ("left", "top", "width"))
    wanted = np.array([255 * scores[0], 255 * (1 - scores[0]), 0])
    edge = np.s_[3, top + side // 2, left - 1 : left + 2]
    off, off_before = (np.abs(np.stack(frames)[edge] - wanted).max(-1).min() for frames in (overlaid, plain))
    assert off < 90 < off_before  # a thin line, its chroma at half resolution
    centre = (slice(top + side // 2, top + side // 2 + 8), slice(left + side // 2, left + side // 2 + 8))
    assert np.abs(overlaid[3][centre].astype(int) - plain[3][centre]).mean() < 12
    assert Image.open(out / "person__talk.heat_map.png").size == (4 * 256, 2 * 256)
    timeline = np.asarray(Image.open(out / "person__talk.timeline.png").convert("RGB")).astype(int)
    assert (timeline.max(axis=2) - timeline.min(axis=2) > 60).sum() > 200  # the line of the face has a colour
    assert not (out / "wall.overlay.mp4").exists()


def test_a_face_after_42_seconds_is_judged(shots, checkpoint, tmp_path):
    frames = [*shots["nobody"] * 5][: 42 * SLOW] + shots["anna"][:6]
    status, found = judge(tmp_path, checkpoint, write_clip(tmp_path / "late.mp4", frames, SLOW))
    assert status == 0 and found["verdict"] in ("fake", "real") and found["length_s"] == pytest.approx(45)
    (track,) = found["tracks"]
    assert (track["from_s"], track["to_s"]) == pytest.approx((42, 45), abs=0.05)
    assert {face["reason"] for face in found["skipped"]} == {"no_face"}
    assert sum(face["to_s"] - face["from_s"] for face in found["skipped"]) == pytest.approx(42, abs=0.05)


def test_a_face_of_more_than_41_seconds_is_one_track_with_a_score_every_second(shots, checkpoint, tmp_path):
    frames = (shots["anna"] * 5)[: 46 * SLOW]
    status, found = judge(tmp_path, checkpoint, write_clip(tmp_path / "long.mp4", frames, SLOW), "--timeline")
    (track,) = found["tracks"]
    assert status == 0 and (track["from_s"], track["to_s"]) == (0, 46)
    assert [segment["to_s"] for segment in track["segments"]] == [40.96, 46]
    assert [row["second"] for row in track["seconds"]] == list(range(46))
    # As dense in the second window as in the first: the mean over frames is one over time.
    assert {row["frames"] for row in track["seconds"]} <= {1, 2}
    assert rows_of(tmp_path / "seconds.csv")[45]["second"] == "45"


def test_two_faces_are_two_tracks_and_the_higher_score_decides(shots, tmp_path):
    video = write_clip(
        tmp_path / "two.mp4", [np.hstack(pair) for pair in zip(shots["anna"], shots["bert"], strict=True)]
    )
    _, found = judge(tmp_path / "a", save(tmp_path / "low", threshold=0.0), video)
    scores = [track["score"] for track in found["tracks"]]
    assert len(scores) == 2 and abs(scores[0] - scores[1]) > 0.01
    assert found["score"] == max(scores)
    between = save(tmp_path / "between", threshold=float(np.mean(scores)))
    status, found = judge(tmp_path / "b", between, video)
    assert (status, found["verdict"]) == (0, "fake")
    assert sorted(track["verdict"] for track in found["tracks"]) == ["fake", "real"]
    _, found = judge(tmp_path / "c", save(tmp_path / "high", threshold=max(scores) + 0.001), video)
    assert found["verdict"] == "real"


def test_a_cut_to_another_person_begins_another_track(shots, checkpoint, tmp_path):
    _, found = judge(tmp_path, checkpoint, write_clip(tmp_path / "cut.mp4", shots["anna"] + shots["bert"]))
    assert found["cuts_s"] == [FRAMES / 25]
    assert [(track["track"], track["from_s"], track["to_s"]) for track in found["tracks"]] == [
        (1, 0, FRAMES / 25), (2, FRAMES / 25, 2 * FRAMES / 25)
    ]  # fmt: skip


def test_what_cannot_be_judged_has_a_reason(shots, videos, tmp_path):
    status, found = judge(tmp_path, save(tmp_path / "demanding", crop=CropSettings(min_face_px=200)), videos / "person")
    assert (status, found["verdict"], found["reason"]) == (1, "unscored", "face_too_small")
    patient = save(tmp_path / "patient", crop=CropSettings(min_frames=64))
    status, found = judge(tmp_path, patient, videos / "person")
    assert (status, found["verdict"], found["reason"]) == (1, "unscored", "too_short")
    whole = write_clip(tmp_path / "whole.mp4", shots["anna"] * 3)
    (tmp_path / "broken.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    status, found = judge(tmp_path, save(tmp_path / "c", threshold=1.0), tmp_path / "broken.mp4")
    assert (status, found["verdict"], found["reason"]) == (1, "unscored", "truncated")


def test_a_detector_of_annotated_boxes_judges_videos_without_any(videos, tmp_path, capsys):
    crop = CropSettings(size=64, policy="vox-metadata")
    status, found = judge(tmp_path / "a", save(tmp_path / "vox", crop=crop), videos / "person/talk.mp4")
    assert status == 0 and found["verdict"] in ("fake", "real")
    assert "trained on clips cut by annotated boxes" in capsys.readouterr().err
    _, same = judge(tmp_path / "b", save(tmp_path / "square", crop=CropSettings(size=64)), videos / "person/talk.mp4")
    assert found["tracks"][0]["frames"] == same["tracks"][0]["frames"]


def test_the_region_of_the_frames_stage_is_repeated(videos, checkpoint, tmp_path):
    face = save(tmp_path / "face", frames=FrameSettings(region="face"))
    scores = [judge(tmp_path, detector, videos / "person/talk.mp4")[1]["score"] for detector in (checkpoint, face)]
    assert abs(scores[0] - scores[1]) > 0.01


def test_an_old_checkpoint_is_used_and_what_is_assumed_is_said(videos, tmp_path, capsys):
    for facts, crop_stated in (({"crop": {"size": 64}}, True), ({"crop": None}, False), ({}, False)):
        save_checkpoint(tmp_path / "old", build("meso4", image_size=64).state_dict(), RECIPE, "c23", 1, 0, facts)
        status, _ = judge(tmp_path, tmp_path / "old", videos / "person/talk.mp4")
        said = capsys.readouterr().err
        assert status == 0 and "it is assumed that frames.region was full" in said
        assert "it is assumed that the decision threshold is 0.5" in said
        assert ("faces are cropped by the default settings, crop.policy square-track" in said) != crop_stated
    assert json.loads((tmp_path / "scores.json").read_text())["assumed"]
    with pytest.raises(ConfigError, match="does not state the encoder settings of its training clips; train it again"):
        judge(tmp_path, tmp_path / "old", videos / "person/talk.mp4", "--as-trained")


@pytest.mark.parametrize(
    "stated",
    [
        {"decision": {"threshold": "low"}},
        {"decision": {"temperature": 0}},
        {"decision": []},
        {"preparation": {"crop": {"policy": "by hand"}}},
        {"preparation": {"faces_searched_at": "c99"}},
        {"crop": "square"},
    ],
)
def test_a_checkpoint_with_other_facts_is_of_another_version(videos, tmp_path, stated):
    save_checkpoint(tmp_path / "odd", build("meso4", image_size=64).state_dict(), RECIPE, "c23", 1, 0, stated)
    with pytest.raises(ConfigError, match="odd was written by another version of this program"):
        judge(tmp_path, tmp_path / "odd", videos / "person/talk.mp4")


def test_a_detector_of_crops_from_elsewhere_needs_crops_or_an_assumption(videos, tmp_path):
    released = save(tmp_path / "released", clips="released")
    with pytest.raises(ConfigError, match="face crops already, and how they were cut is not known. Give square face"):
        judge(tmp_path, released, videos / "person/talk.mp4")
    assert judge(tmp_path, released, videos / "person/talk.mp4", "--assume-crop")[0] == 0


def test_unusable_arguments_are_refused(checkpoint, videos, tmp_path):
    talk = videos / "person/talk.mp4"
    with pytest.raises(ConfigError, match="gone.mp4: no such file or folder"):
        judge(tmp_path, checkpoint, tmp_path / "gone.mp4")
    with pytest.raises(ConfigError, match=r"no videos in .*; suffixes: .*\.avi, .*\.mts, "):
        judge(tmp_path, checkpoint, tmp_path)
    with pytest.raises(ConfigError, match="--frames 0: must be at least 1"):
        judge(tmp_path, checkpoint, talk, "--frames", 0)
    with pytest.raises(ConfigError, match="no encoder settings of quality 'c99'; it has those of: c23, c40, raw"):
        judge(tmp_path, checkpoint, talk, "--quality", "c99")
    with pytest.raises(ConfigError, match="--as-trained: trained on c23, c40, raw; choose one with --quality"):
        judge(tmp_path, save(tmp_path / "mixed", trained_on="mixed"), talk, "--as-trained")
    (tmp_path / "boxes.csv").write_text("time_s,left,top,width,height\n0,1,2,three,4\n")
    with pytest.raises(ConfigError, match="boxes.csv: needs numbers in columns time_s, left, top, width, height"):
        judge(tmp_path, checkpoint, talk, "--boxes", tmp_path / "boxes.csv")
    with pytest.raises(ConfigError, match="holds the boxes of one video, but there are 3"):
        judge(tmp_path, checkpoint, videos, "--boxes", tmp_path / "boxes.csv")
