"""Choice of the source frame: on made-up landmarks, on rendered people through the crop stage, and on real clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepfakemnist.actors import Actor, Framing, Pose, load_bank
from deepfakemnist.config.stages import CropSettings
from deepfakemnist.faces.crop import crop_shard
from deepfakemnist.faces.landmarks import BLENDSHAPES, FaceLandmarker, FaceLandmarks, head_model
from deepfakemnist.faces.source_frame import (
    MAX_CANDIDATES,
    FaceState,
    best_frame,
    candidate_frames,
    face_state,
    score_frames,
)
from deepfakemnist.media.decode import read_frame
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.ingest import ingest_shard
from deepfakemnist.tables.columns import FRAME_SCORES
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import Row

NEUTRAL = FaceState(lids=0.3, mouth=0.0, turn=4.0, expression=0.1, brows=0.2, sharpness=200.0, texture=4.0)
#: What makes a frame worse, and the score that shows it.
WORSE = {
    "eyes": {"lids": 0.1},
    "mouth": {"mouth": 0.15},
    "frontal": {"turn": 22.0},
    "neutral": {"expression": 0.9},
    "sharpness": {"sharpness": 90.0},
    "texture": {"sharpness": 900.0, "texture": 0.0},
}
GRAIN = np.clip(np.random.default_rng(0).normal(128, 4, (256, 256, 3)), 0, 255).astype(np.uint8)
BLOCKS = np.kron(np.random.default_rng(0).integers(90, 170, (16, 16, 1)), np.ones((16, 16, 3))).astype(np.uint8)


def face(
    *,
    lids: float = 1.0,
    gap: float = 0.0,
    scale: float = 8.0,
    pose: tuple[float, float, float] = (0, 0, 0),
    **shapes: float,
) -> FaceLandmarks:
    """The canonical face in a picture of 256×256: its lids closed to a fraction, its lips parted by a gap in cm."""
    model = head_model()
    points = np.concatenate([model.vertices, np.zeros((10, 3))]) * [1, -1, -1]
    for upper, lower in ((160, 144), (159, 145), (158, 153), (387, 373), (386, 374), (385, 380)):
        points[lower] = points[upper] + lids * (points[lower] - points[upper])
    points[14] = points[13] + [0, gap, 0]
    points *= scale
    values = np.zeros(52, np.float32)
    for name, value in shapes.items():
        values[BLENDSHAPES.index(name)] = value
    plane = (points[:, :2] + 128).astype(np.float32)
    return FaceLandmarks(plane, values, np.array(pose, np.float32), 1.0, points[:, 2].astype(np.float32))


def state(picture: np.ndarray = GRAIN, **changes: object) -> FaceState:
    return face_state(picture, face(**changes))  # type: ignore[arg-type]


def test_a_face_is_measured_in_its_own_units() -> None:
    """Size does not matter; lids, lips, head and expression each change their own figure."""
    rest = state()
    assert rest.turn == rest.expression == rest.brows == rest.mouth == 0
    # The canonical eye: 3.1 cm between its corners.
    assert rest.lids == pytest.approx(state(scale=4.0).lids, rel=1e-5) and 0.2 < rest.lids < 0.45
    assert state(lids=0.5).lids == pytest.approx(rest.lids / 2, rel=1e-5)
    outer = np.linalg.norm(head_model().vertices[33] - head_model().vertices[263])
    assert state(gap=1.5).mouth == pytest.approx(1.5 / outer, rel=1e-5)
    assert state(pose=(-12, 0, 0)).turn == pytest.approx(12)
    assert state(pose=(0, 12, 0)).turn == state(pose=(0, 0, -12)).turn == pytest.approx(6)
    assert state(mouthPucker=0.7).expression == pytest.approx(0.7)
    assert state(mouthSmileLeft=0.4, eyeLookInLeft=0.4).expression == pytest.approx(0.4)
    assert state(eyeLookOutRight=0.9).expression == pytest.approx(0.8)
    assert state(browInnerUp=0.9, browOuterUpLeft=0.6).brows == pytest.approx(0.5)
    blurred, blocks = state(cv2.GaussianBlur(GRAIN, (0, 0), 2)), state(BLOCKS)
    assert blurred.sharpness < rest.sharpness / 10 and blurred.texture < rest.texture / 10
    assert blocks.sharpness > rest.sharpness and blocks.texture == 0


def test_a_face_beyond_the_picture_is_measured() -> None:
    """Landmarks may lie outside; a face wholly outside has no sharpness, and no error."""
    found = face(scale=40.0)
    assert face_state(GRAIN, found).sharpness > 0
    away = replace(found, points=found.points + np.float32(5000))
    assert face_state(GRAIN, away).sharpness == 0


def test_scores_are_one_at_best_and_zero_at_worst() -> None:
    good = score_frames([NEUTRAL])[0]
    assert (good.eyes, good.mouth, good.sharpness) == (1, 1, 1)
    assert (good.frontal, good.neutral) == (pytest.approx(1 - 4 / 30), pytest.approx(0.9))
    shut = replace(NEUTRAL, lids=0.02, mouth=0.5, turn=80.0, expression=1.0, texture=0.0)
    worst = score_frames([NEUTRAL, NEUTRAL, shut])[2]
    assert (worst.eyes, worst.mouth, worst.frontal, worst.neutral, worst.sharpness) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("name", WORSE)
@pytest.mark.parametrize("good", [0, 35, 70])
def test_one_fault_is_enough_to_lose(name: str, good: int) -> None:
    """The good frame is chosen wherever it lies, and the score of that fault is lower in all others."""
    bad = replace(NEUTRAL, **WORSE[name])
    states = {frame: NEUTRAL if frame == good else bad for frame in range(0, 75, 5)}
    name = "sharpness" if name == "texture" else name
    if name in ("eyes", "sharpness"):  # relative to the clip, which must have shown the person as usual
        states |= {frame: replace(NEUTRAL, mouth=0.3) for frame in range(100, 190, 5)}
    chosen, scores = best_frame(states)
    assert chosen == good and scores is not None
    numbers = sorted(states)
    scored = dict(zip(numbers, score_frames([states[number] for number in numbers]), strict=True))
    assert scored[good] == scores
    assert all(
        getattr(scored[frame], name) < getattr(scores, name) - 0.25 for frame in range(0, 75, 5) if frame != good
    )


def test_raised_brows_count_beyond_those_of_the_clip() -> None:
    """Brows at rest measure 0 to 0.8, depending on the face."""
    high = [replace(NEUTRAL, brows=0.8)] * 3
    assert {round(scores.neutral, 6) for scores in score_frames(high)} == {0.9}
    assert score_frames([*high, replace(NEUTRAL, brows=0.95)])[3].neutral == pytest.approx(0.85)


@pytest.mark.parametrize("seed", range(20))
def test_last_digits_and_order_do_not_decide(seed: int) -> None:
    """Landmarks of other processors differ by less: of 16 frames alike, the first is taken."""
    random = np.random.default_rng(seed)
    values = {name: getattr(NEUTRAL, name) * (1 + 1e-5 * random.normal(size=MAX_CANDIDATES)) for name in vars(NEUTRAL)}
    states = {7 + 5 * k: FaceState(**{name: float(values[name][k]) for name in values}) for k in range(MAX_CANDIDATES)}
    shuffled = {frame: states[frame] for frame in random.permutation(list(states)).tolist()}
    assert best_frame(states)[0] == best_frame(shuffled)[0] == 7


def test_no_face_gives_the_first_frame_without_scores() -> None:
    assert best_frame({}) == (0, None)


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 205])
def test_candidates_are_spread_over_the_frames_that_show_the_face(count: int) -> None:
    seen = list(range(0, 5 * count, 5))
    found = candidate_frames(seen, range(5 * count), 5 * count, 25.0)
    assert len(found) == min(count, MAX_CANDIDATES) and found == sorted(set(found))
    assert (found[0], found[-1]) == (seen[0], seen[-1]) and set(found) <= set(seen)
    assert max(np.diff(found), default=0) <= 5 * -(-count // 15)


def test_there_is_no_candidate_beside_a_cut() -> None:
    """0.2 s on the side of a cut; the ends of the video itself are no cuts."""
    seen = list(range(0, 100, 2))
    assert candidate_frames(seen, range(100), 100, 25.0)[0] == 0
    inner = candidate_frames(seen[20:30], range(40, 60), 100, 25.0)
    assert (inner[0], inner[-1]) == (46, 54)
    assert candidate_frames(seen[:30], range(60), 100, 25.0)[-1] == 54
    assert candidate_frames(seen[20:], range(40, 100), 100, 50.0)[0] == 50
    assert candidate_frames([40, 44], range(40, 46), 100, 25.0) == [40, 44], "all of a very short shot"


def crop(folder: Path, clips: dict[str, list[np.ndarray]], role: str, policy: str) -> dict[str, Row]:
    settings = CropSettings(split_shots=False, policy="square-track" if policy == "as-cropped" else policy)
    rows = []
    for name, frames in clips.items():
        path = write_working_clip(folder / f"{name}.mp4", frames, 25).path
        named = {"video_id": name, "role": role, "person_id": name, "action": "", "path": str(path)}
        rows.append({**named, "start_s": None, "end_s": None, "cropped": policy == "as-cropped"})
    ingest_shard(rows, folder / "ingested.parquet", code="c0de")
    crop_shard(folder / "ingested.parquet", folder / "c.parquet", folder / "crops", settings=settings, code="c0de")
    return {row["video_id"]: row for row in read_rows(folder / "c.parquet")}


@pytest.fixture(scope="module")
def moments() -> dict[str, list[np.ndarray]]:
    """An actor for 10 frames each: at rest, and with one fault."""
    actor = Actor(load_bank(), 57, 57)
    framing = Framing(320, 320, eyes_y=0.44, head=0.66)

    def frames(pose: Pose | None = None, **actions: float) -> list[np.ndarray]:
        light = actor.render_linear(pose, actions, (0.0, 0.0), framing)
        return [actor.expose(light, None, framing, number) for number in range(10)]

    rest = frames()
    mush = [
        cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 4])[1], cv2.IMREAD_COLOR) for frame in rest
    ]
    return {
        "rest": rest,
        "eyes": frames(eyeBlinkLeft=0.9, eyeBlinkRight=0.9),
        "mouth": frames(jawOpen=0.6),
        "frontal": frames(Pose(yaw=24)),
        "neutral": frames(mouthSmileLeft=0.9, mouthSmileRight=0.9, browInnerUp=0.8),
        "sharpness": mush,
    }


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["square-track", "ff-1.3", "as-cropped"])
def test_the_crop_stage_chooses_the_moment_without_a_fault(
    policy: str, moments: dict[str, list[np.ndarray]], tmp_path: Path
) -> None:
    """Also from a clip that opens with a blink or with the blocks of an encoder; drivers have no such frame."""
    faults = [name for name in moments if name != "rest"]
    orders = {
        "last": [*faults, "rest"],
        "first": ["rest", *faults],
    }
    clips = {name: [frame for moment in order for frame in moments[moment]] for name, order in orders.items()}
    rows = crop(tmp_path, clips, "source", policy)
    assert {name: row["status"] for name, row in rows.items()} == dict.fromkeys(orders, "ok")
    assert {name: orders[name][rows[name]["best_frame"] // 10] for name in orders} == dict.fromkeys(orders, "rest")
    assert rows["first"]["best_frame"] == 0, "the first of equal frames"
    for row in rows.values():
        assert all(0.75 < row[f"best_{score}"] <= 1 for score in FRAME_SCORES)

    (tmp_path / "driver").mkdir()
    driver = crop(tmp_path / "driver", {"first": clips["first"]}, "driver", policy)["first"]
    assert {driver["best_frame"], *(driver[f"best_{score}"] for score in FRAME_SCORES)} == {None}


@pytest.mark.slow
@pytest.mark.real
def test_better_frames_of_real_clips_than_their_first(tmp_path: Path, real_data: Path) -> None:
    """First frames with an open mouth, with that and encoder blocks, and with a turned head that squints."""
    rows = [
        {"video_id": name, "role": "source", "person_id": name, "action": "", "start_s": None, "end_s": None,
         "cropped": False, "path": str(real_data / f"real/videos/{name}.mp4")}
        for name in ("vr-3", "vr-4", "lp-s32")
    ]  # fmt: skip
    ingest_shard(rows, tmp_path / "ingested.parquet", code="c0de")
    table = tmp_path / "c.parquet"
    crop_shard(tmp_path / "ingested.parquet", table, tmp_path / "crops", settings=CropSettings(), code="c0de")
    landmarker = FaceLandmarker()
    states = {}
    for row in read_rows(table):
        for which, number in (("first", 0), ("best", row["best_frame"])):
            picture = read_frame(row["path"], number)
            found = landmarker(picture)
            assert found is not None
            states[row["video_id"], which] = face_state(picture, found)
    for name in ("vr-3", "vr-4"):
        assert states[name, "first"].mouth > 0.1 and states[name, "best"].mouth < 0.05
    assert states["vr-4", "best"].sharpness > 1.15 * states["vr-4", "first"].sharpness
    turned, better = states["lp-s32", "first"], states["lp-s32", "best"]
    assert better.turn < turned.turn - 4 and better.lids > 1.2 * turned.lids and better.mouth < turned.mouth
