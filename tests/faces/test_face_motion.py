"""Non-rigid face motion: photographs and frozen pictures have none, however the camera moves; a blink is enough."""

from __future__ import annotations

import csv
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from deepfakemnist.actors.bank import load_bank
from deepfakemnist.actors.cast import CastSettings, drivers, film
from deepfakemnist.config.stages import CropSettings
from deepfakemnist.faces.crop import crop_shard
from deepfakemnist.faces.motion import face_patch, nonrigid_motion, sampling_step
from deepfakemnist.media.probe import probe
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import INGESTED, Row

pytestmark = pytest.mark.numeric

PHOTO = cv2.resize(astronaut()[0:260, 60:360], (600, 520), interpolation=cv2.INTER_CUBIC)
LIMIT = CropSettings().min_face_motion


def encode(path: Path, frames: list[np.ndarray], crf: int) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": str(crf), "threads": "1"}
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        out.mux(stream.encode())
    return path


def filmed(count: int, shake: float, noise: float) -> list[np.ndarray]:
    """The photograph through a hand-held camera: drift, jitter, rotation, zoom, perspective, exposure, sensor noise."""
    height, width = PHOTO.shape[:2]
    generator = np.random.default_rng(4)

    def path(amplitude: float, smoothness: int = 12) -> np.ndarray:
        steps = np.arange(-3 * smoothness, 3 * smoothness + 1)
        kernel = np.exp(-0.5 * (steps / smoothness) ** 2)
        values = generator.normal(size=count + 2 * len(steps))
        smooth = np.convolve(values, kernel / np.linalg.norm(kernel), "same")
        return shake * amplitude * smooth[len(steps) :][:count]

    right, down = path(12) + path(1.2, 3), path(12) + path(1.2, 3)
    turn, zoom = path(0.02), 1 + path(0.01) + np.linspace(0, 0.1 * shake, count)
    tilt, pan, gain = path(0.05 / width), path(0.05 / width), 1 + path(0.02, 20)
    centred = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
    frames = []
    for k in range(count):
        cos, sin = np.cos(turn[k]) * zoom[k], np.sin(turn[k]) * zoom[k]
        camera = np.array([[cos, -sin, right[k] + width / 2], [sin, cos, down[k] + height / 2], [0, 0, 1]])
        view = camera @ np.array([[1, 0, 0], [0, 1, 0], [tilt[k], pan[k], 1]]) @ centred
        seen = cv2.warpPerspective(
            PHOTO, view, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        ).astype(np.float32)
        frames.append(np.clip(seen * gain[k] + generator.normal(size=seen.shape) * noise, 0, 255).astype(np.uint8))
    return frames


def cropped(folder: Path, path: Path, **segment: float | None) -> Row:
    named = {"video_id": "v", "role": "source", "person_id": "p", "action": "", "path": str(path)}
    times = {"start_s": None, "end_s": None, **segment}
    row = {**named, **probe(path, **times), **times, "status": "ok", "reason": "", "detail": ""}
    write_table([row], folder / "i.parquet", INGESTED)
    crop_shard(folder / "i.parquet", folder / "c.parquet", folder / "crops", settings=CropSettings(), code="c0de")
    (found,) = read_rows(folder / "c.parquet")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("crf", "shake", "noise"), [(18, 0, 0), (40, 0, 0), (28, 0, 4), (20, 0.5, 3), (26, 1, 0)])
def test_frozen_and_photographed_faces_are_rejected(crf: int, shake: float, noise: float, tmp_path: Path) -> None:
    row = cropped(tmp_path, encode(tmp_path / "v.mp4", filmed(50, shake, noise), crf))
    assert (row["status"], row["reason"]) == ("rejected", "still_face")
    assert row["detail"].startswith("face_motion is 0.") and row["detail"].endswith(f"the limit is {LIMIT}")


@pytest.mark.slow
def test_a_clip_of_less_than_two_seconds_is_not_judged(tmp_path: Path) -> None:
    row = cropped(tmp_path, encode(tmp_path / "v.mp4", filmed(49, 0, 0), 23))
    assert row["status"] == "ok"
    assert row["face_motion"] < LIMIT / 2


@pytest.mark.slow
def test_a_face_that_only_blinks_is_alive(tmp_path: Path) -> None:
    """Of the actors' actions, the one that moves least; head and mouth are at rest."""
    cast = CastSettings(folder=Path(), heads=2, sources=1, drivers=1, drivers_per_action=1, driver_frames=50)
    shot = next(shot for shot in drivers(cast) if shot.action == "blink")
    row = cropped(tmp_path, encode(tmp_path / "v.mp4", list(film(shot, cast, load_bank())), 20))
    assert row["status"] == "ok"
    assert row["face_motion"] > 1.2 * LIMIT


def test_motion_is_what_no_homography_explains() -> None:
    """A mouth that opens by some pixels of 128; the homography takes part of it. In another pair the picture moves."""
    texture = cv2.GaussianBlur(np.random.default_rng(2).integers(0, 256, (128, 128), np.uint8), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    y, x = np.mgrid[:128, :128].astype(np.float32)
    mouth = np.exp(-(((x - 64) / 14) ** 2 + ((y - 88) / 12) ** 2))
    for pixels in (1.5, 3.0):
        opened = cv2.remap(texture, x, y - np.float32(pixels) * mouth, cv2.INTER_LINEAR)
        assert 0.3 < nonrigid_motion([texture, opened]) / (pixels / 128 * 100) < 1
    view = np.array([[1.02, 0.03, 2], [-0.02, 0.99, -3], [2e-4, -1e-4, 1]])
    moved = cv2.warpPerspective(texture, view, (128, 128), flags=cv2.INTER_CUBIC)
    assert nonrigid_motion([texture, moved]) < 0.1
    assert nonrigid_motion([texture] * 6) < 0.01
    assert nonrigid_motion([texture]) is None and nonrigid_motion([]) is None


def test_patches_show_the_face_at_one_contrast() -> None:
    crop = np.zeros((256, 256, 3), np.uint8)
    crop[80:160, 100:160] = np.random.default_rng(3).integers(90, 120, (80, 60, 1))
    patch = face_patch(crop, (100, 80, 60, 80))
    assert patch.shape == (128, 128)
    darker = face_patch((crop // 2).astype(np.uint8), (100, 80, 60, 80))
    assert np.abs(patch.astype(int) - darker).mean() < 8
    assert [sampling_step(fps) for fps in (25, 30, 60, 2)] == [5, 6, 12, 1]


@pytest.mark.real
def test_real_people_are_far_above_the_limit(tmp_path: Path, real_data: Path) -> None:
    folder = real_data / "real"
    sources = list(csv.DictReader((folder / "sources.tsv").open(), delimiter="\t"))
    # Every eighth whole video, because they take minutes, and all segments.
    clips = [(row["path"], None, None) for row in sources[::8]]
    clips += [
        (row["path"], float(row["start_s"]), float(row["end_s"]))
        for row in csv.DictReader((folder / "drivers.tsv").open(), delimiter="\t")
    ]
    for path, start, end in clips:
        row = cropped(tmp_path, folder / path, start_s=start, end_s=end)
        assert row["status"] == "ok" and row["face_motion"] > 4 * LIMIT, (path, start, row)
