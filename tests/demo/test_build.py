import csv
import json

import cv2
import numpy as np
import pytest

from deepfakemnist.demo.build import DRIVER_FRAMES, SOURCE_FRAMES, build_demo, drivers, film, main, sources
from deepfakemnist.errors import Failed
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.ids import check_id
from deepfakemnist.liveness.local_motion import LocalMotion
from deepfakemnist.media.decode import read_clip
from deepfakemnist.settings import ACTIONS, LocalMotionSettings


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    assert build_demo(folder)
    return folder


def sheet(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_source_sheet(demo):
    rows = sheet(demo / "sources.tsv")
    assert list(rows[0]) == ["video_id", "path", "person_id", "licence"]
    assert len({check_id(row["video_id"]) for row in rows}) == len(rows) == 12
    people = [row["person_id"] for row in rows if row["video_id"] not in ("no-face", "cut-short")]
    assert (len(people), len(set(people))) == (10, 8)
    assert all((demo / row["path"]).is_file() and row["licence"] for row in rows)


def test_driver_sheet_has_every_action_by_people_who_are_no_sources(demo):
    rows = sheet(demo / "drivers.tsv")
    assert list(rows[0]) == ["driver_id", "action", "path", "person_id"]
    assert [row["action"] for row in rows] == list(ACTIONS)
    assert all((demo / row["path"]).is_file() and check_id(row["driver_id"]) for row in rows)
    assert not {row["person_id"] for row in rows} & {row["person_id"] for row in sheet(demo / "sources.tsv")}


def as_cropped(clip):
    """The face at 256×256, one square for the whole clip with a margin of 0.3, as liveness gets to see clips."""
    detector = FaceDetector()
    boxes = np.array([detector(frame)[0].box for frame in clip[::8]])
    near, far = boxes[:, :2].min(0), (boxes[:, :2] + boxes[:, 2:]).max(0)
    side = 1.6 * (far - near).max()
    matrix = np.column_stack([np.eye(2), side / 2 - (near + far) / 2]) * 256 / side
    border = cv2.BORDER_REPLICATE
    return np.stack([cv2.warpAffine(frame, matrix, (256, 256), borderMode=border) for frame in clip])


@pytest.mark.parametrize("action", ACTIONS)
def test_a_driver_shows_its_action(demo, action):
    clip = read_clip(demo / "videos" / f"driver-{action}.mp4")
    assert len(clip) == DRIVER_FRAMES
    verdict = LocalMotion(LocalMotionSettings(provider="local-motion")).check(as_cropped(clip), 25.0, action)
    assert verdict.live, verdict
    side = {"right_slope": -1, "left_slope": 1}.get(action)
    if side:
        assert side * verdict.evidence["excursion"]["roll"] > 5


@pytest.mark.parametrize("name", ["collins-0-1", "hopper-3-1"])
def test_a_source_shows_one_moving_face_off_centre(demo, name):
    clip = read_clip(demo / "videos" / f"{name}.mp4")
    assert len(clip) == SOURCE_FRAMES
    detector = FaceDetector()
    boxes = []
    for frame in clip[::10]:
        (face,) = detector(frame)
        boxes.append(face.box)
    _, top, width, height = np.median(boxes, axis=0)
    assert np.sqrt(width * height) > 80  # pixels; the crop stage wants 48
    assert abs(top + height / 2 - clip.shape[1] / 2) > 10
    # The person moves, and no two frames are alike.
    assert min(np.abs(a.astype(int) - b).mean() for a, b in zip(clip[:-1:10], clip[1::10], strict=True)) > 0.1


def test_planted_files_are_what_must_be_refused(demo):
    detector = FaceDetector()
    assert not any(detector(frame) for frame in read_clip(demo / "videos" / "no-face.mp4")[::6])
    with pytest.raises(Failed) as refusal:
        read_clip(demo / "videos" / "cut-short.mp4")
    assert refusal.value.reason


def test_what_is_there_is_kept_and_what_is_spoilt_is_made_again(demo):
    manifest = (demo / "demo.json").read_bytes()
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*.mp4")}
    assert build_demo(demo) is False

    spoilt = demo / "videos" / "driver-blink.mp4"
    good = spoilt.read_bytes()
    spoilt.write_bytes(good[:1000])
    main([str(demo)])
    assert spoilt.read_bytes() == good  # the same film, byte for byte
    assert (demo / "demo.json").read_bytes() == manifest
    assert [path for path, time in before.items() if path.stat().st_mtime_ns != time] == [spoilt]


def test_another_version_makes_everything_again(demo, monkeypatch):
    manifest = json.loads((demo / "demo.json").read_text(encoding="utf-8"))
    assert len(manifest["sha256"]) == 24
    (demo / "demo.json").write_text(json.dumps({**manifest, "code": "older"}), encoding="utf-8")
    made = []
    monkeypatch.setattr("deepfakemnist.demo.build._encode", lambda path, frames: made.append(path.name))
    build_demo(demo)
    assert len(made) == 21


def test_the_seed_decides_and_nothing_else():
    clip = sources()[0]
    first, again, other = (next(film(clip, seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 5
    assert len({one.name for one in [*sources(), *drivers()]}) == 20
