"""Ground truth of rendered actors compared with the workflow's measurements: boxes, pose, blinks, identity, actions."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.ndimage import label

from deepfakemnist.actors import Actor, Framing, Pose, perform
from deepfakemnist.actors.cast import CastSettings, drivers, sources
from deepfakemnist.animate.start_frame import best_start, face_lines
from deepfakemnist.animation_quality.motion import action_transfer, measure_action
from deepfakemnist.config.stages import CropSettings, PlanSettings
from deepfakemnist.faces.crop import crop_shard
from deepfakemnist.faces.identity import FaceEmbedder, similarity
from deepfakemnist.faces.landmarks import FaceLandmarker
from deepfakemnist.media.decode import read_clip
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.ingest import ingest_shard
from deepfakemnist.planning.assignment import assign, choose_driver
from deepfakemnist.tables.files import read_rows

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CLOSE_UP = Framing(head=0.72, eyes_y=0.45)
#: Landmarks that MediaPipe's mesh shares, by MediaPipe's index.
SHARED = {
    33: "right_eye_outer", 133: "right_eye_inner", 362: "left_eye_inner", 263: "left_eye_outer", 152: "chin",
    61: "mouth_right", 291: "mouth_left", 159: "right_eyelid_upper", 386: "left_eyelid_upper",
}  # fmt: skip


@pytest.fixture(scope="module")
def landmarker():
    return FaceLandmarker()


def test_the_crop_contains_the_face_in_every_frame_with_the_requested_margin(woman, tmp_path):
    """For an off-centre face that turns in a wide frame, the crop square encloses all true boxes tightly."""
    framing = Framing(480, 270, eyes_x=0.3, eyes_y=0.42, head=0.45)
    act = perform(woman, "yaw", seed=2, frames=24, framing=framing)
    path = write_working_clip(tmp_path / "v.mp4", list(act.frames()), 25.0).path
    row = {
        "video_id": "v",
        "role": "source",
        "person_id": "a",
        "action": "",
        "path": str(path),
        "start_s": None,
        "end_s": None,
    }
    ingest_shard([row], tmp_path / "ingested.parquet", code="c0de")
    settings = CropSettings(margin=0.3, min_frames=24)
    crop_shard(tmp_path / "ingested.parquet", tmp_path / "c.parquet", tmp_path / "crops", settings=settings, code="c")
    (cut,) = read_rows(tmp_path / "c.parquet")
    assert (cut["status"], cut["frames"]) == ("ok", 24)

    boxes = np.array([act.landmarks(index).box for index in range(len(act))])
    low, high = boxes[:, :2].min(0), (boxes[:, :2] + boxes[:, 2:]).max(0)
    corner = np.array([cut["box_left"], cut["box_top"]])
    assert (corner <= low).all() and (high <= corner + cut["box_side"]).all()
    assert cut["box_side"] == pytest.approx(1.6 * (high - low).max(), rel=0.15)
    centre = corner + cut["box_side"] / 2
    assert np.abs(centre - (low + high) / 2).max() < 0.08 * cut["box_side"]
    # Measured with five landmarks, a mean head and every fifth frame, so the bounds are wide.
    turned = np.ptp(np.percentile(act.poses[:, 0], [5, 95]))
    assert 0.4 * turned < cut["yaw_range"] < 1.1 * turned
    # Landmarks found in the crop match the ground truth mapped through the crop box.
    found = FaceLandmarker()(read_clip(cut["path"])[0])
    truth = act.landmarks(0)
    for number in (33, 263):
        expected = (truth.points[SHARED[number]] + 0.5 - corner) * 256 / cut["box_side"] - 0.5
        assert np.linalg.norm(found.points[number] - expected) < 6


@pytest.mark.numeric
@pytest.mark.parametrize("pose", [Pose(), Pose(yaw=14, pitch=5), Pose(yaw=-12, roll=12), Pose(pitch=-10, roll=-8)])
def test_detected_landmarks_match_the_mesh(landmarker, man, woman, pose):
    for actor in (man, woman):
        found = landmarker(actor.render(pose, framing=CLOSE_UP))
        truth = actor.landmarks(pose, framing=CLOSE_UP)
        span = truth.distance("left_eye_outer", "right_eye_outer")
        errors = [np.linalg.norm(found.points[number] - truth.points[name]) for number, name in SHARED.items()]
        assert np.mean(errors) < 0.07 * span
        assert np.max(errors) < 0.2 * span


@pytest.mark.numeric
def test_measured_pose_follows_the_commanded_angle_only(landmarker, man):
    """Roll is measured in full, yaw and pitch by more than half; the other two angles stay constant."""
    for axis, (name, least, most) in enumerate((("yaw", 0.55, 1.15), ("pitch", 0.55, 1.15), ("roll", 0.9, 1.1))):
        angles = [-14, 0, 14]
        poses = np.array([landmarker(man.render(Pose(**{name: angle}), framing=CLOSE_UP)).pose for angle in angles])
        steps = np.diff(poses[:, axis]) / 14
        assert ((steps > least) & (steps < most)).all(), (name, steps)
        assert np.abs(np.diff(np.delete(poses, axis, 1), axis=0)).max() < 4


def test_measured_blinks_match_the_commanded_ones_in_time(landmarker, woman):
    act = perform(woman, "blink", seed=3, frames=40, framing=CLOSE_UP)
    lids = measure_action(landmarker.track(act.clip()))["blink"]
    seen = lids > 0.5 * (lids.min() + lids.max())
    assert _middles(seen) == pytest.approx(_middles(act.curve > 0.5), abs=1.5)


def _middles(shut):
    """Centre frame of every run of True."""
    runs, count = label(shut)
    return [float(np.flatnonzero(runs == number).mean()) for number in range(1, count + 1)]


def test_the_best_start_frame_has_the_pose_of_the_source(landmarker, man, woman):
    act = perform(woman, "yaw", seed=1, frames=24, framing=CLOSE_UP)
    lines = np.stack([face_lines(found, 256, 256) for found in landmarker.track(act.clip())])
    for wanted in (4, 9, 15):
        yaw, pitch, roll = map(float, act.poses[wanted])
        source = landmarker(man.render(Pose(yaw, pitch, roll), framing=CLOSE_UP))
        chosen = best_start(face_lines(source, 256, 256), lines)
        assert abs(act.poses[chosen, 0] - yaw) < 6, (wanted, chosen)
        assert abs(act.poses[chosen, 0] - yaw) < 0.3 * abs(act.poses[0, 0] - yaw), "closer than the first frame"


@pytest.mark.parametrize(("action", "tolerance"), [("yaw", 0.25), ("left_slope", 0.05)])
def test_action_transfer_is_the_reproduced_share_of_the_action(landmarker, man, woman, action, tolerance):
    """Another person performs the whole motion, then half of it. Nose length biases measured yaw, not roll."""

    def measure(actor, share):
        act = perform(actor, action, seed=5, frames=16, framing=CLOSE_UP)
        act = replace(act, poses=share * act.poses, shifts=share * act.shifts)
        return measure_action(landmarker.track(act.frames()))

    driver = measure(woman, 1.0)
    whole, half = (action_transfer(action, driver, measure(man, share)) for share in (1.0, 0.5))
    assert whole.slope == pytest.approx(1.0, abs=tolerance)
    assert half.slope / whole.slope == pytest.approx(0.5, abs=0.06)
    assert min(whole.correlation, half.correlation) > 0.97


def test_actors_are_distinguished_across_takes(bank):
    """For four people with two takes each, a person's other take is the most similar image."""
    embedder = FaceEmbedder()
    heads = (3, 14, 25, 36)
    takes = [[embedder(Actor(bank, head, head, take).render(framing=CLOSE_UP)) for head in heads] for take in (1, 2)]
    similarities = np.array([[similarity(one, other) for other in takes[1]] for one in takes[0]])
    same = np.diag(similarities)
    assert same.min() > 0.6
    assert (same > np.where(np.eye(len(heads)), -1, similarities).max(1) + 0.05).all()


def test_demo_heads_are_in_one_split_and_never_drive_themselves():
    """Splits are by person, which in the demo is also by head: no two people share one."""
    cast = CastSettings(**yaml.safe_load((ROOT / "config/actors/demo.yaml").read_text()))
    preset = yaml.safe_load((ROOT / "config/presets/demo.yaml").read_text())
    shots = {shot.name: shot for shot in [*sources(cast), *drivers(cast)]}
    rows = [{"video_id": shot.name, "person_id": shot.person} for shot in sources(cast)]
    performers = [
        {"video_id": shot.name, "person_id": shot.person, "action": shot.action, "status": "ok"}
        for shot in drivers(cast)
    ]
    splits = defaultdict(set)
    assigned = assign(rows, PlanSettings(**preset["plan"]), seed=preset.get("seed", 0))
    for one in assigned:
        splits[shots[one.source_id].identity].add(one.split)
        driver = shots[choose_driver(one, performers, seed=0)["video_id"]]
        assert driver.identity != shots[one.source_id].identity and driver.action == one.action
    assert len(splits) == cast.sources
    assert all(len(names) == 1 for names in splits.values())
    assert set().union(*splits.values()) == {"train", "val", "test"}
