"""Crop stage: box placement for known motion, rejection reasons, cuts and crop policies."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from deepfakemnist.config.stages import CropSettings
from deepfakemnist.errors import Rejected
from deepfakemnist.faces import footage
from deepfakemnist.faces.crop import crop_shard
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.faces.policies import CropBox, ff_1_3, square_track, vox_metadata
from deepfakemnist.media.decode import read_clip, read_frames
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.ffmpeg import find_ffmpeg, frames_input, run_graph
from deepfakemnist.media.picture import Picture, resized
from deepfakemnist.media.probe import probe
from deepfakemnist.tables.files import read_rows, read_table, write_table
from deepfakemnist.tables.schemas import CROPPED, INGESTED, Row

WIDTH, HEIGHT = 560, 420
#: Head and shoulders, with some background around.
PORTRAIT = astronaut()[0:260, 80:340]


def picture(left: int | None, top: int = 60, scale: float = 1.0) -> np.ndarray:
    """A large grey picture with the portrait at (left, top), or without it when left is None."""
    scene = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    if left is not None:
        portrait = cv2.resize(PORTRAIT, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        shown = portrait[: HEIGHT - top, : WIDTH - left]
        scene[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
    return scene


def ingest(folder: Path, clips: dict[str, list[np.ndarray]], **changes: Any) -> Path:
    rows: list[Row] = []
    for video_id, frames in clips.items():
        path = write_working_clip(folder / "videos" / f"{video_id}.mp4", frames, 25).path
        named = {"video_id": video_id, "role": "source", "person_id": f"p-{video_id}", "action": "", "path": str(path)}
        rows.append({**named, **probe(path), "status": "ok", "reason": "", "detail": "", **changes})
    write_table(rows, folder / "ingested.parquet", INGESTED)
    return folder / "ingested.parquet"


def file_row(video_id: str, path: Path, **changes: Any) -> Row:
    named = {"video_id": video_id, "role": "source", "person_id": video_id, "action": "", "path": str(path)}
    return {**named, **changes, **probe(path), "status": "ok", "reason": "", "detail": ""}


def crop(folder: Path, table: Path, **settings: Any) -> dict[str, Row]:
    crop_shard(table, folder / "c.parquet", folder / "crops", settings=CropSettings(**settings), code="c0de")
    assert read_table(folder / "c.parquet").schema.equals(CROPPED)
    return {row["video_id"]: row for row in read_rows(folder / "c.parquet")}


@pytest.mark.slow
@pytest.mark.numeric
def test_one_box_holds_a_moving_face(tmp_path: Path) -> None:
    """The face moves 40 px right and 20 px down; the box is fixed, so it moves by the same amount inside the crop."""
    steps = [(2 * k, k) for k in range(21)]
    frames = [picture(140 + right, 60 + down) for right, down in steps]
    row = crop(tmp_path, ingest(tmp_path, {"v": frames}), margin=0.3)["v"]
    left, top, width, height = FaceDetector()(picture(140))[0].box
    union = max(width + 40, height + 20)
    assert row["box_side"] == pytest.approx(1.6 * union, abs=8)
    assert row["box_left"] + row["box_side"] / 2 == pytest.approx(left + (width + 40) / 2, abs=4)
    assert row["box_top"] + row["box_side"] / 2 == pytest.approx(top + (height + 20) / 2, abs=4)
    assert (row["status"], row["frames"], row["size"], row["fps"], row["code"]) == ("ok", 21, 256, 25.0, "c0de")
    assert row["face_px"] == pytest.approx((width * height) ** 0.5, rel=0.05)
    assert row["face_fraction"] == 1.0 and row["face_score"] > 0.9
    assert row["source_sha256"] == probe(tmp_path / "videos" / "v.mp4")["sha256"]

    clip = read_clip(row["path"])
    assert Path(row["path"]) == tmp_path / "crops" / "v.mp4"
    assert clip.shape == (21, 256, 256, 3)
    box = [int(row[name]) for name in ("box_left", "box_top", "box_side")]
    for number in (0, 20):
        cut = frames[number][box[1] : box[1] + box[2], box[0] : box[0] + box[2]]
        assert np.array_equal(clip[number], resized(cut, 256, 256))
    assert row["brightness"] == pytest.approx(cv2.cvtColor(clip[10], cv2.COLOR_RGB2GRAY).mean(), abs=4)
    blurred = cv2.GaussianBlur(clip[10], (0, 0), 2)
    assert row["sharpness"] > 3 * cv2.Laplacian(cv2.cvtColor(blurred, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()


@pytest.mark.slow
def test_unusable_clips_are_rejected(tmp_path: Path) -> None:
    clips = {
        "nobody": [picture(None)] * 20,
        "short": [picture(100)] * 3,
        "leaves": [picture(100)] * 11 + [picture(None)] * 9,
        "far": [picture(100, scale=0.4)] * 16,
        "runs": [picture(8 * k, 0)[:260] for k in range(36)],  # the picture is too low for a box of that width
    }
    rows = crop(tmp_path, ingest(tmp_path, clips))
    assert {name: (row["status"], row["reason"]) for name, row in rows.items()} == {
        "nobody": ("rejected", "no_face"),
        "short": ("rejected", "too_short"),
        "leaves": ("rejected", "too_short"),
        "far": ("rejected", "face_too_small"),
        "runs": ("rejected", "off_frame"),
    }
    assert rows["short"]["detail"] == "3 frames at 25 fps; at least 16 are required"
    assert rows["leaves"]["detail"] == "11 frames at 25 fps in the longest of 2 shots; at least 16 are required"
    assert "at least 48 are required" in rows["far"]["detail"]
    assert not (tmp_path / "crops").exists()


@pytest.mark.slow
def test_a_source_is_read_until_a_shot_has_the_frames_that_are_used(tmp_path: Path) -> None:
    """A bright shot of 20 frames, then a dark one of 60; 24 are used: those from frame 20 on, and no others."""
    dark = np.clip(picture(140).astype(int) - 60, 0, 255).astype(np.uint8)
    table = ingest(tmp_path, {"v": [picture(140)] * 20 + [dark] * 60}, start_s=0.0)
    options = {"settings": CropSettings(), "code": "c0de", "used_frames": 24}
    crop_shard(table, tmp_path / "c.parquet", tmp_path / "crops", **options)
    (row,) = read_rows(tmp_path / "c.parquet")
    assert (row["status"], row["frames"], row["kept_from_s"], row["kept_to_s"]) == ("ok", 24, 0.8, 1.76)
    assert row["dropped_frames"] == 50, "of 80 frames 74 were read: looked at after 24 + 25, and 25 later"
    assert read_clip(row["path"]).mean() < picture(140).mean() - 30
    (driver,) = read_rows(crop_table(tmp_path, role="driver", used_frames=24))
    assert driver["frames"] == 60, "all motion of a driver is used"


def crop_table(folder: Path, role: str, used_frames: int) -> Path:
    """Crop the ingested videos in another role; return the table."""
    rows = [{**row, "role": role} for row in read_rows(folder / "ingested.parquet")]
    write_table(rows, folder / f"{role}.parquet", INGESTED)
    table = folder / f"{role}-crops.parquet"
    options = {"settings": CropSettings(min_face_motion=0), "code": "c0de", "used_frames": used_frames}
    crop_shard(folder / f"{role}.parquet", table, folder / role, **options)
    return table


@pytest.mark.slow
@pytest.mark.numeric
def test_longest_shot_is_kept(tmp_path: Path) -> None:
    """Two shots of a face with an empty one between: the longer is kept, and the row records what was dropped."""
    bright = [np.clip(frame.astype(int) + 60, 0, 255).astype(np.uint8) for frame in [picture(200)] * 24]
    frames = [picture(60)] * 18 + [picture(None)] * 6 + bright
    table = ingest(tmp_path, {"v": frames}, start_s=0.0)
    row = crop(tmp_path, table)["v"]
    assert (row["status"], row["frames"], row["dropped_frames"]) == ("ok", 24, 24)
    assert (row["kept_from_s"], row["kept_to_s"]) == (0.96, 1.92)
    assert json.loads(row["cuts"]) == [{"time_s": 0.72, "what": "shot"}, {"time_s": 0.96, "what": "shot"}]
    assert row["best_frame"] == 6, (
        "all frames are alike; of those more than 0.2 s from the cut, the detector saw 30 first"
    )
    assert row["box_left"] < 200 + 130 < row["box_left"] + row["box_side"]
    clip = read_clip(row["path"])
    assert len(clip) == 24 and np.abs(clip[0].astype(int) - clip[-1]).max() == 0
    whole = crop(tmp_path, table, split_shots=False)["v"]
    assert (whole["status"], whole["reason"]) == ("rejected", "face_lost")
    assert whole["detail"] == "face found in 50% of 10 sampled frames; at least 80% are required"


@pytest.mark.slow
def test_quality_gates_give_value_and_limit(tmp_path: Path) -> None:
    table = ingest(tmp_path, {"v": [picture(140)] * 16})
    row = crop(tmp_path, table)["v"]
    assert row["interpolated"] == 0 and row["yaw_range"] < 1 and row["padded"] == 0
    for settings, reason in (
        ({"min_sharpness": row["sharpness"] + 1}, "blurred"),
        ({"min_track_score": 0.999}, "uncertain_face"),
        ({"min_brightness": 200}, "too_dark"),
        ({"max_brightness": 50}, "too_bright"),
    ):
        refused = crop(tmp_path, table, **settings)["v"]
        assert (refused["status"], refused["reason"]) == ("rejected", reason)
        assert re.fullmatch(r"\w+ is [\d.]+; the limit is [\d.]+", refused["detail"])
        assert not list((tmp_path / "crops").iterdir())


@pytest.mark.slow
def test_two_panel_videos_are_rejected_and_a_picture_on_the_wall_is_not(tmp_path: Path) -> None:
    scenes = {}
    for name, scale in (("panels", 0.9), ("wall", 0.35)):
        scene = picture(20)
        other = cv2.resize(PORTRAIT, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        scene[60 : 60 + len(other), 300 : 300 + other.shape[1]] = other
        assert len(FaceDetector()(scene)) == 2
        scenes[name] = [scene] * 20
    table = ingest(tmp_path, scenes)
    rows = crop(tmp_path, table)
    assert (rows["panels"]["reason"], rows["wall"]["status"]) == ("several_faces", "ok")
    assert rows["panels"]["detail"] == "other_faces is 1; the limit is 0.5"
    assert rows["wall"]["other_faces"] == 0
    assert crop(tmp_path / "kept", table, max_other_faces=1.0)["panels"]["other_faces"] == 1


@pytest.mark.slow
def test_cropped_clips_are_kept_uncropped(tmp_path: Path) -> None:
    """Other sizes are resized; a picture that is not square was not cropped and is rejected."""
    square = cv2.resize(PORTRAIT, (256, 256), interpolation=cv2.INTER_AREA)
    clips = {"same": [square] * 16, "other": [PORTRAIT] * 16, "wide": [picture(100)] * 16}
    rows = crop(tmp_path, ingest(tmp_path, clips, cropped=True))
    assert np.array_equal(read_clip(rows["same"]["path"])[3], square)
    assert (rows["same"]["policy"], rows["same"]["box_side"], rows["other"]["box_side"]) == ("as-cropped", 256, 260)
    assert read_clip(rows["other"]["path"]).shape == (16, 256, 256, 3)
    assert (rows["wide"]["reason"], rows["wide"]["detail"][:7]) == ("not_square", "560x420")


def test_vox_metadata_policy_needs_boxes(tmp_path: Path) -> None:
    row = crop(tmp_path, ingest(tmp_path, {"v": [picture(140)] * 16}), policy="vox-metadata")["v"]
    assert (row["status"], row["reason"]) == ("rejected", "no_box")
    # drivers come from a sheet and never have boxes
    driver = crop(tmp_path, ingest(tmp_path, {"v": [picture(140)] * 16}, role="driver"), policy="vox-metadata")["v"]
    assert (driver["status"], driver["policy"]) == ("ok", "square-track")


def test_a_video_beyond_the_buffer_is_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = ingest(tmp_path, {"v": [picture(140 + k) for k in range(20)]})
    once = crop(tmp_path, table)["v"]
    monkeypatch.setattr(footage, "_BUFFER_BYTES", 10 * WIDTH * HEIGHT)
    assert crop(tmp_path, table)["v"] == once


@pytest.mark.slow
def test_a_face_that_leaves_the_kept_region_is_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the region around the face is buffered; the crop is the same as from whole pictures."""
    reads: list[str] = []
    read = footage.read_pictures
    monkeypatch.setattr(footage, "read_pictures", lambda path, **words: reads.append(path) or read(path, **words))
    scenes = {}
    for name, step in (("stays", 1), ("walks", 9)):
        scenes[name] = [np.full((480, 960, 3), 100, np.uint8) for _ in range(36)]
        for number, scene in enumerate(scenes[name]):
            scene[100:360, 100 + step * number :][:, :260] = PORTRAIT
    words = {"vcodec": "libx264", "qp": 0, "preset": "ultrafast", "pix_fmt": "yuv420p"}
    paths = {name: tmp_path / f"{name}.mp4" for name in scenes}
    for name, frames in scenes.items():
        graph = frames_input(960, 480, 25).output(str(paths[name]), **words)
        run_graph(graph, find_ffmpeg(), frames)
    write_table([file_row(*item) for item in paths.items()], tmp_path / "i.parquet", INGESTED)
    kept = crop(tmp_path, tmp_path / "i.parquet", max_padding=0.5)
    assert {row["status"] for row in kept.values()} == {"ok"}
    assert [Path(path).stem for path in reads] == ["stays", "walks", "walks"]
    monkeypatch.setattr(Picture, "near", lambda picture, *_: picture)
    whole = crop(tmp_path, tmp_path / "i.parquet", max_padding=0.5, min_score=0.6999)
    assert whole["walks"]["pixels_sha256"] == kept["walks"]["pixels_sha256"]
    assert len(reads) == 5


@pytest.mark.slow
def test_only_the_segment_is_cropped(tmp_path: Path) -> None:
    """Outside the segment there is no face; detection over the whole video would lose it."""
    frames = [picture(None)] * 10 + [picture(120)] * 20 + [picture(None)] * 10
    row = crop(tmp_path, ingest(tmp_path, {"v": frames}, start_s=0.4, end_s=1.2))["v"]
    assert (row["status"], row["frames"], row["face_fraction"]) == ("ok", 20, 1.0)
    row = crop(tmp_path, ingest(tmp_path, {"v": frames}, start_s=0.4, end_s=1.2), max_frames=17)["v"]
    assert row["frames"] == 17


def test_resampling_keeps_real_time(tmp_path: Path) -> None:
    row = crop(tmp_path, ingest(tmp_path, {"v": [picture(100)] * 24}), fps=12.5, min_frames=12)["v"]
    assert (row["frames"], row["fps"]) == (12, 12.5)
    assert probe(row["path"])["fps"] == 12.5


def test_changed_and_missing_files_fail(tmp_path: Path) -> None:
    table = ingest(tmp_path, {"changed": [picture(100)] * 16, "gone": [picture(100)] * 16})
    write_working_clip(tmp_path / "videos" / "changed.mp4", [picture(90)] * 16, 25)
    (tmp_path / "videos" / "gone.mp4").unlink()
    rows = crop(tmp_path, table)
    assert [(row["status"], row["reason"]) for row in rows.values()] == [
        ("failed", "source_changed"),
        ("failed", "missing_file"),
    ]


class TestSquareTrack:
    settings = CropSettings(margin=0.5, max_padding=0.25)

    def box(self, *boxes: tuple[float, float, float, float], width: int = 400, height: int = 300) -> CropBox:
        first, *others = square_track(np.array(boxes, float), width, height, self.settings)
        assert others == [first] * (len(boxes) - 1)
        return first

    def test_union_squared_and_grown(self) -> None:
        """The square is 115, 70, 120 by the rule, then its edges become even."""
        assert self.box((150, 100, 40, 60), (170, 110, 30, 20)) == CropBox(116, 70, 118, 118)

    def test_shifted_inside_rather_than_padded(self) -> None:
        assert self.box((0, 100, 60, 60)) == CropBox(0, 70, 120, 120)
        assert self.box((340, 240, 60, 60)) == CropBox(280, 180, 120, 120)

    def test_limited_to_the_picture(self) -> None:
        assert self.box((100, 50, 200, 220)) == CropBox(50, 0, 300, 300)

    def test_padded_when_the_face_itself_is_too_large(self) -> None:
        assert self.box((100, -10, 200, 320)) == CropBox(40, -10, 320, 320)

    def test_too_much_padding_is_rejected(self) -> None:
        with pytest.raises(Rejected, match=r"off_frame: 33% of the crop .* 400x100 picture; at most 25% may"):
            self.box((100, -10, 100, 150), width=400, height=100)

    def test_edge_reject_neither_shifts_nor_pads(self) -> None:
        """FOMM's VoxCeleb crops: squares that leave the picture are rejected."""
        strict = CropSettings(margin=0.1, edge="reject")
        with pytest.raises(Rejected, match="off_frame: 8% .* at most 0% may"):
            square_track(np.array([(10.0, 10, 100, 80)]), 400, 300, strict)
        assert square_track(np.array([(20.0, 60, 100, 80)]), 400, 300, strict) == [CropBox(10, 40, 120, 120)]


def test_vox_metadata_takes_the_annotated_box() -> None:
    boxes = np.array([(30.4, 20.2, 80.0, 100.0), (40.0, 20.0, 80.0, 100.0)])
    assert vox_metadata(boxes, 400, 300, CropSettings()) == [CropBox(30, 20, 90, 100)] * 2
    assert vox_metadata(np.array([(350.0, -10, 80, 100)]), 400, 300, CropSettings()) == [CropBox(350, 0, 50, 90)]
    with pytest.raises(Rejected, match="off_frame: the annotated box 500-20-580-120 is outside 400x300"):
        vox_metadata(np.array([(500.0, 20, 80, 100)]), 400, 300, CropSettings())


def test_ff_1_3_follows_the_face() -> None:
    boxes = np.array([(100.0, 100, 60, 80), (140.0, 100, 60, 80), (0.0, 0, 60, 80)])
    assert ff_1_3(boxes, 400, 300, CropSettings()) == [
        CropBox(78, 88, 104, 104),
        CropBox(118, 88, 104, 104),
        CropBox(0, 0, 104, 104),
    ]


class TestCropBox:
    picture = Picture(av.VideoFrame.from_ndarray(np.ascontiguousarray(PORTRAIT), "rgb24"))

    def test_inside(self) -> None:
        assert np.array_equal(CropBox(30, 20, 64, 64).crop(self.picture, 64), PORTRAIT[20:84, 30:94])

    def test_padding_replicates_the_edge(self) -> None:
        side = PORTRAIT.shape[0]
        padded = np.pad(PORTRAIT, ((10, 30), (20, 20), (0, 0)), mode="edge")
        assert np.array_equal(CropBox(-20, -10, side + 40, side + 40).crop(self.picture, side + 40), padded)

    def test_shrinking_averages(self) -> None:
        expected = PORTRAIT[:256, :256].reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
        assert np.abs(CropBox(0, 0, 256, 256).crop(self.picture, 64) - expected).max() <= 0.5

    def test_enlarging_is_smooth(self) -> None:
        ramp = np.repeat(np.arange(0, 128, 4, dtype=np.uint8)[None, :, None], 32, axis=0).repeat(3, axis=2)
        picture = Picture(av.VideoFrame.from_ndarray(np.ascontiguousarray(ramp), "rgb24"))
        large = CropBox(0, 0, 32, 32).crop(picture, 128)[64, 8:-8, 0].astype(int)
        assert large.shape == (112,) and set(np.diff(large)) <= {0, 1, 2}

    def test_stretched(self) -> None:
        expected = PORTRAIT[:256, :128].reshape(64, 4, 64, 2, 3).mean(axis=(1, 3))
        assert np.abs(CropBox(0, 0, 128, 256).crop(self.picture, 64) - expected).max() <= 0.5


@pytest.mark.slow
@pytest.mark.real
def test_real_clips(tmp_path: Path, real_data: Path) -> None:
    """A variable-rate video, 720p at 30 fps and a small webcam video give centred faces in 256x256 at 25 fps."""
    names = ("vr-1", "lp-s18", "clm-cap12")
    rows = [file_row(name, real_data / f"real/videos/{name}.mp4", start_s=2.5, end_s=3.7) for name in names]
    write_table(rows, tmp_path / "ingested.parquet", INGESTED)
    for row in crop(tmp_path, tmp_path / "ingested.parquet").values():
        assert (row["status"], row["frames"]) == ("ok", 30)
        for frame in read_clip(row["path"])[::10]:
            faces = FaceDetector()(frame)
            left, top, width, height = faces[0].box
            assert len(faces) == 1 and 90 < height < 200
            assert abs(left + width / 2 - 128) < 30 and abs(top + height / 2 - 128) < 30


@pytest.mark.slow
@pytest.mark.real
def test_concatenated_real_clips_are_split(tmp_path: Path, real_data: Path) -> None:
    """Two people in one file, one after the other: one is kept, and the cut is frame-accurate."""
    frames = [
        cv2.resize(frame, (512, 512), interpolation=cv2.INTER_AREA)
        for name, end in (("vr-4", 1.2), ("lp-d3", 2.0))
        for frame in read_frames(real_data / "real" / "videos" / f"{name}.mp4", fps=25, end_s=end)
    ]
    path = write_working_clip(tmp_path / "two.mp4", frames, 25).path
    write_table([file_row("two", path)], tmp_path / "ingested.parquet", INGESTED)
    row = crop(tmp_path, tmp_path / "ingested.parquet")["two"]
    assert (row["frames"], row["dropped_frames"], row["kept_from_s"]) == (50, 30, 1.2)
    assert json.loads(row["cuts"]) == [{"time_s": 1.2, "what": "shot"}]
