"""Command ``deepfakemnist predict``: scores, overlays and heat maps of videos, and reasons of unusable ones."""

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
from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.detectors.heat_map import heat_maps
from deepfakemnist.detectors.registry import build
from deepfakemnist.errors import ConfigError
from deepfakemnist.media.decode import read_frames
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.training.checkpoint import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.slow

torch.set_num_threads(1)
FRAMES = 20
CAST = CastSettings(
    folder=Path(), heads=1, sources=1, drivers=0, drivers_per_action=0, source_frames=FRAMES, width=320, height=240,
    flaws=True,
)  # fmt: skip


def write_clip(path, frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    options = (
        f"-v error -y -f rawvideo -pix_fmt rgb24 -s {width}x{height} -r 25 -i - -c:v libx264 -crf 18 -pix_fmt yuv420p"
    )
    command = [find_ffmpeg().path, *options.split(), str(path)]
    subprocess.run(command, input=b"".join(np.ascontiguousarray(frame).tobytes() for frame in frames), check=True)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("detector") / "checkpoint.safetensors"
    recipe = DetectorTraining(name="meso4", image_size=64)
    weights = build("meso4", image_size=64).state_dict()
    save_checkpoint(path, weights, recipe, "c23", epoch=1, seed=5, facts={"crop": {"size": 128, "margin": 0.3}})
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    shots = {shot.name: shot for shot in sources(CAST)}
    write_clip(folder / "person/talk.mp4", list(film(shots["actor00-1"], CAST, load_bank())))
    write_clip(folder / "wall.mp4", list(film(shots["no-face"], CAST, load_bank())))
    (folder / "page.mp4").write_text("<!DOCTYPE html>")
    (folder / "notes.txt").write_text("no video")
    return folder


def command(*words):
    parser = argparse.ArgumentParser()
    predict.add_arguments(parser)
    arguments = parser.parse_args([str(word) for word in words])
    return arguments.run(arguments)


def test_every_video_of_a_folder_is_scored_and_has_a_row(videos, checkpoint, tmp_path, capsys):
    options = ("--frames", 5, "--overlay", "--heat-map")
    status = command(videos, "--checkpoint", checkpoint, "--output", tmp_path / "out", *options)
    assert status == 1  # page.mp4 is not a video
    printed = capsys.readouterr()
    assert f"{videos}: left aside 1 without a video suffix (.txt 1)" in printed.err
    result = json.loads((tmp_path / "out/scores.json").read_text())
    assert (result["detector"], result["trained_on"], result["seed"]) == ("meso4", "c23", 5)
    by_name = {video["name"]: video for video in result["videos"]}
    assert set(by_name) == {"person__talk", "wall", "page"}
    talk = by_name["person__talk"]
    scores = [frame["score"] for frame in talk["frames"]]
    assert len(scores) == 5 and talk["score"] == pytest.approx(np.mean(scores))
    assert [frame["time_s"] for frame in talk["frames"]] == pytest.approx([0.08, 0.24, 0.4, 0.56, 0.72])
    assert (by_name["wall"]["score"], by_name["wall"]["reason"], by_name["wall"]["frames"]) == (0.5, "no_face", [])
    assert by_name["page"]["reason"] == "not_a_video"
    assert "0.500\twall\tno_face" in printed.out

    with (tmp_path / "out/scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["page", *["person__talk"] * 5, "wall"]
    assert float(rows[1]["score"]) == pytest.approx(scores[0])

    overlaid = list(read_frames(tmp_path / "out/person__talk.overlay.mp4"))
    plain = list(read_frames(videos / "person/talk.mp4"))
    assert len(overlaid) == len(plain) == FRAMES
    left, top, side = (round(talk["box"][name]) for name in ("left", "top", "side"))
    wanted = np.array([255 * scores[0], 255 * (1 - scores[0]), 0])
    edge = np.s_[3, top + side // 2, left - 1 : left + 2]
    off, off_before = (np.abs(np.stack(frames)[edge] - wanted).max(-1).min() for frames in (overlaid, plain))
    assert off < 90 < off_before  # a thin line, its chroma at half resolution
    centre = (slice(top + side // 2, top + side // 2 + 8), slice(left + side // 2, left + side // 2 + 8))
    assert np.abs(overlaid[3][centre].astype(int) - plain[3][centre]).mean() < 12
    sheet = np.asarray(Image.open(tmp_path / "out/person__talk.heat_map.png"))
    assert sheet.shape == (2 * 64, 4 * 64, 3)
    assert not (tmp_path / "out/wall.overlay.mp4").exists()


def test_scores_equal_those_of_the_crop_stages_clip(videos, checkpoint, tmp_path):
    """Scored as a video, or cropped by the crop stage and scored as a clip: the same scores."""
    import hashlib

    from deepfakemnist.config.stages import CropSettings
    from deepfakemnist.faces.crop import crop_video
    from deepfakemnist.faces.detect import FaceDetector

    video = videos / "person/talk.mp4"
    row = {"video_id": "talk", "path": str(video), "start_s": None, "end_s": None}
    row["sha256"] = hashlib.sha256(video.read_bytes()).hexdigest()
    settings = CropSettings(size=128, margin=0.3)
    detector = FaceDetector(settings.min_score, settings.detect_max_side)
    crop_video(row, tmp_path, settings, detector)
    assert command(video, "--checkpoint", checkpoint, "--output", tmp_path / "a", "--frames", 4) == 0
    options = ("--frames", 4, "--cropped")
    assert command(tmp_path / "talk.mp4", "--checkpoint", checkpoint, "--output", tmp_path / "b", *options) == 0
    found = [json.loads((tmp_path / name / "scores.json").read_text())["videos"][0]["frames"] for name in "ab"]
    assert [frame["score"] for frame in found[0]] == pytest.approx([frame["score"] for frame in found[1]], abs=1e-6)


def test_unusable_arguments_are_refused(checkpoint, tmp_path):
    with pytest.raises(ConfigError, match="gone.mp4: no such file or folder"):
        command(tmp_path / "gone.mp4", "--checkpoint", checkpoint, "--output", tmp_path)
    with pytest.raises(ConfigError, match=r"no videos in .*; suffixes: .*\.avi, .*\.mts, "):
        command(tmp_path, "--checkpoint", checkpoint, "--output", tmp_path)
    with pytest.raises(ConfigError, match="--frames 0: must be at least 1"):
        command(tmp_path, "--checkpoint", checkpoint, "--output", tmp_path, "--frames", 0)


class Corner(torch.nn.Module):
    """Two convolutions that pass on brightness, and a head that averages the upper left quarter only."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 1, 1, bias=False)
        self.second = torch.nn.Conv2d(1, 1, 1, bias=False)
        for layer in (self.first, self.second):
            torch.nn.init.ones_(layer.weight)

    def forward(self, images):
        maps = torch.nn.functional.avg_pool2d(self.second(self.first(images)), 8)
        return maps[:, :, :2, :2].mean(dim=(2, 3))


def test_a_heat_map_shows_what_raises_the_logit(checkpoint):
    detector = load_checkpoint(checkpoint, torch.device("cpu")).detector
    detector.network = Corner()
    pixels = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    pixels[:, :, 4:12, 4:12] = 255
    (heat,) = heat_maps(detector, pixels)
    assert heat.shape == (64, 64) and heat.max() == 1.0
    assert heat[8, 8] == 1.0 and heat[40:, 40:].max() == 0.0


def test_detectors_without_heat_maps_are_refused():
    for name, size in (("framediff_resnet18", 32), ("timm:test_vit.r160_in1k", 160)):
        detector = build(name, image_size=size).eval()
        with pytest.raises(ConfigError, match=r"scores clips|no convolutional feature maps"):
            heat_maps(detector, torch.zeros(1, *detector.sample_shape, dtype=torch.uint8))


@pytest.mark.parametrize("name", ["resnet50", "xception", "mesoinception4", "convnext_tiny"])
def test_heat_maps_of_common_detectors(name):
    torch.manual_seed(0)
    detector = build(name, image_size=64).eval()
    maps = heat_maps(detector, torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    assert maps.shape == (2, 64, 64) and np.isfinite(maps).all() and maps.min() >= 0 and maps.max() <= 1
