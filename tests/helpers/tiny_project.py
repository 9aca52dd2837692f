"""Tiny project for workflow tests: four people, two actions, and every kind of bad input."""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from deepfakemnist.actors.bank import load_bank
from deepfakemnist.actors.cast import CastSettings, drivers, film, sources
from deepfakemnist.liveness.minifasnet import V1SE, V2, MiniFASNet
from deepfakemnist.media.ffmpeg import find_ffmpeg

ROOT = Path(__file__).parents[2]
FRAMES = 20
CAST = CastSettings(
    folder=Path(), heads=8, sources=4, drivers=2, source_frames=FRAMES, driver_frames=FRAMES, width=320, height=240,
    flaws=True,
)  # fmt: skip
GOOD = ("actor00-1", "actor01-1", "actor02-1", "actor03-1")
#: Expected ledger entry of each bad source: stage, status, reason.
BAD = {
    "zero_byte": ("ingest", "failed", "empty_file"),
    "truncated": ("ingest", "failed", "truncated"),
    "html": ("ingest", "failed", "not_a_video"),
    "audio_only": ("ingest", "rejected", "no_video_stream"),
    "ten_bit": ("ingest", "rejected", "bit_depth"),
    "gone": ("ingest", "failed", "missing_file"),
    "no_face": ("crop", "rejected", "no_face"),
    "three_frames": ("crop", "rejected", "too_short"),
    "../up": ("sheet", "rejected", "bad_sheet_row"),
    "a/b": ("sheet", "rejected", "bad_sheet_row"),
}
#: Unusual but usable sources.
ODD = ("rotated", "variable_rate", "odd_size", "unicode")


@dataclass
class Project:
    """A user's project folder, in which the workflow can run."""

    folder: Path
    config: str = "tiny.yaml"

    def command(self, *arguments: str) -> list[str]:
        where = ("--snakefile", str(ROOT / "Snakefile"), "--directory", str(self.folder))
        return [sys.executable, "-m", "snakemake", *arguments, *where, "--configfile", str(self.folder / self.config)]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments, "--cores", "2", "--resources", "gpu=1"),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=tiny_environment(), start_new_session=True,
        )  # fmt: skip

    def run(self, *arguments: str, expect: int = 0) -> str:
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=900)
        if process.returncode != expect:
            logs = "\n".join(path.read_text()[-2000:] for path in (self.folder / "results/logs").rglob("*.log"))
            pytest.fail(
                f"snakemake {' '.join(arguments)} returned {process.returncode}\n{output[-6000:]}\n{logs[-8000:]}"
            )
        return output


def tiny_environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([find_ffmpeg().path, "-v", "error", "-y", *map(str, arguments)], check=True)


def write_clip(path: Path, frames: list[np.ndarray], *arguments: str) -> None:
    """Encode frames with ffmpeg; extra arguments go before the output."""
    height, width = frames[0].shape[:2]
    options = arguments or ("-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p")
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "25", "-i", "-")
    command = [find_ffmpeg().path, "-v", "error", "-y", *raw, *options, str(path)]
    subprocess.run(command, input=b"".join(frame.tobytes() for frame in frames), check=True)


def _write_sources(folder: Path) -> None:
    videos = folder / "videos"
    videos.mkdir()
    lines = ["video_id\tpath\tperson_id"]

    def add(name: str, file: str, person: str = "actor00") -> Path:
        lines.append(f"{name}\tvideos/{file}\t{person}")
        return videos / file

    bank, shots = load_bank(), {shot.name: shot for shot in sources(CAST)}
    for name in GOOD:
        write_clip(add(name, f"{name}.mp4", shots[name].person), list(film(shots[name], CAST, bank)))
    face = list(film(shots[GOOD[0]], CAST, bank))
    base = videos / f"{GOOD[0]}.mp4"

    add("zero_byte", "zero.mp4").touch()
    cut = add("truncated", "truncated.mp4")
    write_clip(cut, face, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 6 // 10])
    add("html", "html.mp4").write_text("<!DOCTYPE html><title>Quota exceeded</title>")
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", add("audio_only", "audio.mp4"))
    write_clip(add("ten_bit", "ten.mp4"), face, "-c:v", "libx264", "-pix_fmt", "yuv420p10le")
    add("gone", "gone.mp4")
    write_clip(add("no_face", "no_face.mp4"), list(film(shots["no-face"], CAST, bank)))
    write_clip(add("three_frames", "three.mp4"), face[:3])
    add("../up", "up.mp4")
    add("a/b", "ab.mp4")

    # Stored on its side with the display matrix by which players rotate it upright.
    sideways = videos / "sideways.mp4"
    write_clip(sideways, [np.rot90(frame, 1).copy() for frame in face])
    ffmpeg("-display_rotation", "-90", "-i", sideways, "-c", "copy", add("rotated", "rotated.mp4"))
    uneven = "setpts='if(lt(N,8),N,8+(N-8)*2)/25/TB'"
    ffmpeg("-i", base, "-vf", uneven, "-fps_mode", "vfr", add("variable_rate", "vfr.mp4"))
    odd = [np.ascontiguousarray(frame[:-1, :-1]) for frame in face]
    write_clip(add("odd_size", "odd.mkv"), odd, "-c:v", "libx264", "-pix_fmt", "yuv444p")
    shutil.copy(base, add("unicode", "ein Vidéo – ‘名’ 100% [x].mp4"))
    (folder / "sources.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_drivers(folder: Path) -> None:
    lines = ["driver_id\taction\tpath\tperson_id"]
    for shot in drivers(CAST):
        if shot.action in ("yaw", "mouth"):
            write_clip(folder / f"videos/{shot.name}.mp4", list(film(shot, CAST, load_bank())))
            lines.append(f"{shot.name}\t{shot.action}\tvideos/{shot.name}.mp4\t{shot.person}")
    (folder / "drivers.tsv").write_text("\n".join(lines) + "\n")


def _write_weights(folder: Path) -> dict[str, dict[str, str]]:
    """Write random liveness networks in the published layout: the real provider runs, its scores are meaningless."""
    settings = {}
    for name, widths in (("minifasnet_v2", V2), ("minifasnet_v1se", V1SE)):
        torch.manual_seed(3)
        state = {f"module.{key}": value for key, value in MiniFASNet(widths).state_dict().items()}
        path = folder / f"{name}.pth"
        torch.save(state, path)
        settings[name] = {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return settings


def tiny_config(folder: Path) -> dict:
    return {
        "seed": 7,
        "shard_size": 4,
        "max_failed_fraction": 1.0,
        "device": "cpu",
        "sources": {"sheet": str(folder / "sources.tsv"), "on_bad_row": "row"},
        "drivers": {"sheet": str(folder / "drivers.tsv")},
        "crop": {"size": 64},
        "plan": {"actions": ["yaw", "mouth"], "val_fraction": 0.25, "test_fraction": 0.25},
        "animator": {
            "name": "fomm",
            "model": {
                "num_kp": 4,
                "keypoints": {"block_expansion": 8, "max_features": 16, "num_blocks": 2},
                "generator": {
                    "block_expansion": 8, "max_features": 16, "num_bottleneck_blocks": 1, "full_resolution_skip": True,
                    "dense_motion": {"block_expansion": 8, "max_features": 16, "num_blocks": 2},
                },
            },
            "train": {"steps": 4, "batch_size": 2, "size": 64, "frames_per_clip": 6},
        },
        # Threshold 0: every score of the random networks passes, so that both classes reach the detectors.
        "liveness": {
            "providers": [{"provider": "local-silent", "frames": 2, "threshold": 0.0, **_write_weights(folder)}]
        },
        "frames": {"per_clip": 4},
        "training": {
            "detectors": [{"name": "meso4", "image_size": 64, "epochs": 1, "batch_size": 8}],
            "trained_on": ["c23"],
        },
        # The run's own manifest stands in for another animator's, and for an imported dataset.
        "evaluation": {"datasets": {"other": "results/manifest"}, "robustness": ["noise"]},
    }  # fmt: skip


def make_project(folder: Path) -> Project:
    """Write sheets, videos, weights and config, without running anything."""
    _write_sources(folder)
    _write_drivers(folder)
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny_config(folder)))
    return Project(folder)
