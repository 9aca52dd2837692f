"""Synthetic actor benchmarks: rendering speed, face detection, identity separation, and measured actions.

    python benchmarks/actors.py            all parts; prints the tables and writes benchmarks/actors.json
    python benchmarks/actors.py speed      one part: speed, people or actions; keeps the others' last results

* speed: frames of 256×256 at 2× supersampling, and visibility alone, in CPU seconds of one thread. The reference is the
  same renderer without numba.
* people: YuNet, FaceLandmarker and dlib's embedding on every actor of the bank, in videos as ``render_sources`` renders
  them (640×480, talking, face off-centre), two takes each with different clothes, light and room.
* actions: 24 actors perform every action; each clip's measured change from rest is compared with the commanded action.
  ``accepted`` is the share of clips that the local action check accepts as the action.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cpu_time import cpu_seconds

from deepfakemnist.actors import Actor, Bank, Framing, Performance, Pose, load_bank, perform
from deepfakemnist.actors.cast import CastSettings, film, sources
from deepfakemnist.animation_quality.motion import measure_action
from deepfakemnist.config.base import ACTIONS
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.faces.identity import FaceEmbedder, similarity
from deepfakemnist.faces.landmarks import FaceLandmarker, FaceLandmarks
from deepfakemnist.liveness.local_action import movements, score_action
from deepfakemnist.media.raster import visibility

FPS = 25.0
SPEED_ACTORS, SPEED_FRAMES, REPEATS = 8, 6, 5
PEOPLE_FRAMES = 2
ACTION_ACTORS, ACTION_FRAMES, CLOSE_UP = 24, 25, Framing(head=0.72, eyes_y=0.45)
POSES = ("yaw", "pitch", "roll")
#: Measured signals per action: a blendshape (mean of both sides) or a head angle in degrees.
SIGNALS: dict[str, tuple[str, ...]] = {
    "blink": ("eyeBlink",),
    "mouth": ("jawOpen",),
    "yaw": ("yaw",),
    "nod": ("pitch",),
    "right_slope": ("roll",),
    "left_slope": ("roll",),
    "up": ("pitch", "eyeLookUp"),
    "smile": ("mouthSmile",),
    "surprise": ("browInnerUp", "browOuterUp", "jawOpen", "eyeWide"),
    "embarrassment": ("pitch", "yaw", "eyeLookDown", "mouthSmile"),
}


def main() -> None:
    cv2.setNumThreads(1)
    parts: dict[str, Callable[[Bank], dict[str, Any]]] = {"speed": speed, "people": people, "actions": actions}
    wanted = sys.argv[1:] or list(parts)
    path = Path(__file__).with_suffix(".json")
    content = json.loads(path.read_text()) if path.exists() else {}
    bank = load_bank()
    for name in wanted:
        content[name] = parts[name](bank)
        print(json.dumps(content[name], indent=2))
    content |= {"bank_sha256": bank.sha256, "python": sys.version.split()[0]}
    path.write_text(json.dumps({name: content[name] for name in sorted(content)}, indent=2) + "\n")


def speed(bank: Bank) -> dict[str, Any]:
    """Time both implementations alternately, so that noise on the machine affects both."""
    heads = np.linspace(0, len(bank) - 1, SPEED_ACTORS).astype(int)
    pairs = [{fast: Actor(bank, int(head), seed=1, fast=fast) for fast in (True, False)} for head in heads]
    frame: dict[bool, list[float]] = {True: [], False: []}
    seen: dict[bool, list[float]] = {True: [], False: []}
    for pair in pairs:
        for actor in pair.values():
            actor.render()  # compiles, and paints the room
    for turn in range(REPEATS):
        for pair in pairs:
            for fast, actor in pair.items():
                poses = [Pose(yaw=4 * k - 10.0, pitch=turn) for k in range(SPEED_FRAMES)]

                def whole(actor: Actor = actor, poses: list[Pose] = poses) -> None:
                    for number, pose in enumerate(poses):
                        actor.render(pose, {"jawOpen": 0.3, "mouthSmileLeft": 0.5}, noise=number)

                frame[fast].append(cpu_seconds(whole) / SPEED_FRAMES)
                screen, faces, two_sided = on_screen(actor)

                def visible(fast: bool = fast, mesh: tuple[np.ndarray, ...] = (screen, faces, two_sided)) -> None:
                    for _ in range(SPEED_FRAMES):
                        visibility(*mesh, (512, 512), fast)

                seen[fast].append(cpu_seconds(visible) / SPEED_FRAMES)
    names = {True: "numba", False: "numpy"}
    return {
        "what": "CPU of one thread, medians; 256×256 at 2× supersampling, hair, clothes and camera included",
        "actors": SPEED_ACTORS,
        "frames_each": SPEED_FRAMES * REPEATS,
        "frame_ms": {names[fast]: round(1000 * statistics.median(times), 1) for fast, times in frame.items()},
        "frames_per_second_and_core": {
            names[fast]: round(1 / statistics.median(times), 1) for fast, times in frame.items()
        },
        "slowest_actor_frame_ms": {
            names[fast]: round(1000 * max(statistics.median(times[k::SPEED_ACTORS]) for k in range(SPEED_ACTORS)), 1)
            for fast, times in frame.items()
        },
        "visibility_ms": {names[fast]: round(1000 * statistics.median(times), 2) for fast, times in seen.items()},
        "numpy_over_numba": {
            "frame": ratio(frame),
            "visibility": ratio(seen),
        },
    }


def ratio(times: dict[bool, list[float]]) -> float:
    """Return the median ratio of paired timings."""
    return round(statistics.median(slow / quick for slow, quick in zip(times[False], times[True], strict=True)), 2)


def on_screen(actor: Actor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the actor's mesh in the rest pose as the rasteriser takes it: screen vertices, faces, two-sided flags."""
    rest = actor._rest
    vertices, _ = actor._rotate_head(rest.skin, np.eye(3, dtype=np.float32), normals=False)
    return actor._project(vertices, Pose(), Framing(), 2), rest.faces, rest.two_sided


def people(bank: Bank) -> dict[str, Any]:
    """Render every head in two takes; detect faces, and compare embeddings within and between people."""
    cast = CastSettings(folder=Path(), heads=len(bank), sources=len(bank), clips_per_source=2, drivers=1)
    detector = FaceDetector()
    landmarker, embedder = FaceLandmarker(detector=detector), FaceEmbedder(detector)
    faces, meshes, scores, checked = 0, 0, [], 0
    embedded: dict[str, list[np.ndarray]] = {}
    for shot in sources(cast):
        frames = list(islice(film(shot, cast, bank), PEOPLE_FRAMES))
        checked += len(frames)
        for frame in frames:
            found = detector(frame)
            faces += len(found) == 1
            scores += [found[0].score] if found else []
            meshes += landmarker(frame) is not None
        embedding = embedder(frames[0])
        if embedding is not None:
            embedded.setdefault(shot.person, []).append(embedding)
    same = [similarity(*both) for both in embedded.values() if len(both) == 2]
    other = [similarity(a[0], b[0]) for a, b in combinations(embedded.values(), 2)]
    other += [similarity(a[0], b[-1]) for a, b in combinations(embedded.values(), 2)]
    wins = np.mean(np.array(same)[:, None] > np.array(other)[None])
    return {
        "what": "all heads, two videos of 640×480 each, talking; first frames only",
        "people": len(bank),
        "frames": checked,
        "yunet_exactly_one_face": round(faces / checked, 4),
        "yunet_score": {"least": round(min(scores), 3), "median": round(statistics.median(scores), 3)},
        "landmarker_face": round(meshes / checked, 4),
        "similarity_one_person_two_takes": percentiles(same),
        "similarity_two_people": percentiles(other),
        "auc_same_vs_other": round(float(wins), 4),
        "false_match_rate_at_dlibs_threshold": round(float(np.mean(np.array(other) > 0.5)), 4),
    }


def percentiles(values: list[float]) -> dict[str, float]:
    low, middle, high = np.percentile(values, [5, 50, 95])
    return {"p5": round(float(low), 3), "median": round(float(middle), 3), "p95": round(float(high), 3)}


def actions(bank: Bank) -> dict[str, Any]:
    """Render every action with actors from all over the bank, and measure every frame."""
    detector, landmarker = FaceDetector(), FaceLandmarker()
    heads = np.linspace(0, len(bank) - 1, ACTION_ACTORS).astype(int)
    actors = [Actor(bank, int(head), seed=int(head) + 1) for head in heads]
    rows: dict[str, Any] = {}
    seen = {"yunet": 0, "yunet_frames": 0, "landmarker": 0, "frames": 0}
    for action in ACTIONS:
        changes: dict[str, list[float]] = {name: [] for name in SIGNALS[action]}
        fits: dict[str, list[float]] = {name: [] for name in SIGNALS[action]}
        accepted, confused = [], dict.fromkeys(ACTIONS, 0)
        for number, actor in enumerate(actors):
            act = perform(actor, action, seed=number, frames=ACTION_FRAMES, fps=FPS, framing=CLOSE_UP)
            clip = act.clip()
            found = landmarker.track(clip)
            seen["frames"] += len(clip)
            seen["yunet_frames"] += len(clip[::4])
            seen["yunet"] += sum(len(detector(frame)) == 1 for frame in clip[::4])
            seen["landmarker"] += sum(face is not None for face in found)
            moves = movements(found, FPS)
            for other in ACTIONS:
                confused[other] += score_action(moves, other).score >= 1
            accepted.append(score_action(moves, action).score >= 1)
            for name in SIGNALS[action]:
                change, fit = compare_with_command(act, signal(found, name), name)
                changes[name].append(change)
                fits[name].append(fit)
        rows[action] = {
            "accepted": round(float(np.mean(accepted)), 3),
            "also_accepted_as": {o: round(n / len(actors), 3) for o, n in confused.items() if o != action and n},
            "signals": {
                name: {
                    "change": percentiles(changes[name]),
                    "correlation": percentiles(fits[name]),
                }
                for name in SIGNALS[action]
            },
        }
        print(f"{action:14s} {rows[action]}", flush=True)
    return {
        "what": "change from rest at the commanded peak (blendshapes 0..1, degrees); correlation with the command",
        "actors": len(actors),
        "frames": seen["frames"],
        "yunet_exactly_one_face": round(seen["yunet"] / seen["yunet_frames"], 4),
        "landmarker_face": round(seen["landmarker"] / seen["frames"], 4),
        "by_action": rows,
    }


def signal(faces: list[FaceLandmarks | None], name: str) -> np.ndarray:
    """Return a (T,) blendshape or head angle, NaN in frames without a face."""
    if name in POSES:
        return measure_action(faces)[name]
    sides = (name,) if name in ("jawOpen", "browInnerUp") else (f"{name}Left", f"{name}Right")
    return np.array([np.nan if face is None else np.mean([face.blendshape(side) for side in sides]) for face in faces])


def compare_with_command(act: Performance, seen: np.ndarray, name: str) -> tuple[float, float]:
    """Return a signal's change from rest at the action's peak, and its correlation with the command.

    Angles are commanded by the pose, in both directions of an oscillation; blendshapes by the intensity curve.
    """
    command = act.poses[:, POSES.index(name)] if name in POSES else act.curve
    rest = np.nanmedian(seen[act.curve == 0])
    peak = act.curve >= 0.9 * act.curve.max()
    change = (seen - rest) * np.sign(command - np.median(command[act.curve == 0]))
    return float(np.nanmedian(change[peak])), float(np.corrcoef(command, np.nan_to_num(seen, nan=rest))[0, 1])


if __name__ == "__main__":
    main()
