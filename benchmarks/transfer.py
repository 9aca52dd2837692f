"""What the animations of some weights do: action transfer, identity, sharpness and error, per action.

    python benchmarks/transfer.py FILE [FILE ...]                       on actors with heads of the demo, 56 to 71
    python benchmarks/transfer.py FILE [FILE ...] --run results/mine    on the crops of a run, e.g. of real people

For each action some people are moved by a driver who is somebody else, from the first frame of both. On actors the
truth is known, because the source can be rendered doing just what the driver did: ``commanded`` is the slope of the
result's signal on what the renderer was told to show, over the same slope of the true clip; ``l1`` and ``landmarks``
are the distances from the true clip, ``sharpness`` is that of each clip's faces over the true one's. All other columns
are those of the workflow's stage judge, and every number is a median over clips. All weights see the same clips.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from deepfakemnist.actors import Actor, Framing, Performance, load_bank, perform
from deepfakemnist.animate.fomm.animator import FommAnimator
from deepfakemnist.animate.fomm.checkpoint import load_checkpoint
from deepfakemnist.animation_quality.judge import judge_clip
from deepfakemnist.animation_quality.motion import ACTION_SIGNALS, EXPRESSIONS, Signals, measure_action
from deepfakemnist.animation_quality.pictures import keypoint_error, reconstruction_l1, sharpness
from deepfakemnist.config.base import ACTIONS
from deepfakemnist.faces.identity import FaceEmbedder
from deepfakemnist.faces.landmarks import FaceLandmarker
from deepfakemnist.ids import seed_from
from deepfakemnist.media.decode import read_clip
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK

FIRST_HEAD, HEADS = 56, 16
FRAMES = 40
#: The face as large as in the workflow's crops.
CLOSE = Framing(eyes_y=0.44, head=0.75)
#: Amplitude of a command below which it is not said to be given: share of a facial action, degrees.
LEAST_COMMAND = {"yaw": 4.0, "pitch": 4.0, "roll": 4.0}


@dataclass(frozen=True)
class Take:
    """One source and the driver who moves it."""

    action: str
    source: np.ndarray  # (H, W, 3) uint8 RGB
    driver: np.ndarray  # (T, H, W, 3)
    others: np.ndarray  # (N, 128) embeddings of other people than the source
    truth: np.ndarray | None = None  # (T, H, W, 3): the source doing the same
    commanded: Signals | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights", type=Path, nargs="+", help="checkpoints to compare")
    parser.add_argument("--run", type=Path, help="results folder of a run whose crops are taken instead of actors")
    parser.add_argument("--each", type=int, default=2, help="sources for each action")
    parser.add_argument("--actions", nargs="+", choices=ACTIONS, default=ACTIONS, help="only these")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets to look at")
    parser.add_argument(
        "--json", type=Path, help="file to keep what is printed in, beside what it holds of other people"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    animators = [FommAnimator(load_checkpoint(path)) for path in arguments.weights]
    landmarker, embedder = FaceLandmarker(), FaceEmbedder()
    takes = of_actors(arguments, embedder) if arguments.run is None else of_run(arguments, embedder)
    measured: list[list[dict[str, float | str]]] = [[] for _ in animators]
    for number, take in enumerate(takes):
        clips = [animated(animator, take) for animator in animators]
        for rows, clip in zip(measured, clips, strict=True):
            rows.append(measure(take, clip, landmarker, embedder))
        if arguments.sheets is not None:
            write_sheet(arguments.sheets / f"{number:03d}-{take.action}.png", take, clips)
    found = {}
    for path, rows in zip(arguments.weights, measured, strict=True):
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        actions = table(rows)
        found[sha256] = actions
        show(f"{path} {sha256[:12]}", actions)
    if arguments.json is not None:
        content = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
        chosen = (
            "" if arguments.actions == ACTIONS else f", {arguments.each} clips of {' and '.join(arguments.actions)}"
        )
        content[("actors" if arguments.run is None else arguments.run.name) + chosen] = found
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")


def of_actors(arguments: argparse.Namespace, embedder: FaceEmbedder) -> Iterator[Take]:
    """Yield ``each`` takes per action; source and driver have different heads of 56 to 71."""
    bank = load_bank()
    heads = range(FIRST_HEAD, FIRST_HEAD + HEADS)
    people = [Actor(bank, head, seed_from("transfer", head) % 2**31) for head in heads]
    faces = [embedder(person.render(framing=CLOSE)) for person in people]
    for number, action in enumerate(arguments.actions):
        for turn in range(arguments.each):
            source = (number * arguments.each + turn) % HEADS
            driver = (source + 1 + turn) % HEADS
            seed = seed_from("transfer", action, turn)
            truth, driving = (
                perform(people[person], action, seed, FRAMES, framing=CLOSE) for person in (source, driver)
            )
            others = [face for person, face in enumerate(faces) if person != source and face is not None]
            clip = truth.clip()
            yield Take(action, clip[0], driving.clip(), np.stack(others), clip, commands(truth))


def of_run(arguments: argparse.Namespace, embedder: FaceEmbedder) -> Iterator[Take]:
    """Yield ``each`` takes per action of a run's crops; every source has its turn."""
    sources, drivers = (
        [row for row in read_rows(sorted((arguments.run / "crop" / role).glob("*.parquet"))) if row["status"] == OK]
        for role in ("source", "driver")
    )
    frames = {row["video_id"]: read_clip(row["path"])[0] for row in sources}
    faces = {row["video_id"]: embedder(frames[row["video_id"]]) for row in sources}
    turn = 0
    for action in arguments.actions:
        able = [row for row in drivers if row["action"] == action]
        for place in range(arguments.each if able else 0):
            driver = able[place % len(able)]
            while sources[turn % len(sources)]["person_id"] == driver["person_id"]:
                turn += 1
            source = sources[turn % len(sources)]
            turn += 1
            others = [
                face
                for row in sources
                if row["person_id"] != source["person_id"] and (face := faces[row["video_id"]]) is not None
            ]
            yield Take(action, frames[source["video_id"]], read_clip(driver["path"]), np.stack(others))


def commands(performance: Performance) -> Signals:
    """Return what the renderer was told, in the units of ``measure_action``."""
    names = performance.action_names
    told = {
        name: np.mean([performance.actions[:, names.index(part)] for part in parts], axis=0)
        for name, parts in EXPRESSIONS.items()
    }
    return told | {name: performance.poses[:, column] for column, name in enumerate(("yaw", "pitch", "roll"))}


def animated(animator: FommAnimator, take: Take) -> np.ndarray:
    motion = animator.prepare_driving(take.driver)
    return np.stack(list(animator.render(animator.prepare_source(take.source), motion)))


def measure(take: Take, clip: np.ndarray, landmarker: FaceLandmarker, embedder: FaceEmbedder) -> dict[str, float | str]:
    judged = judge_clip(take.source, take.driver, clip, take.action, landmarker, embedder, take.others)
    found: dict[str, float | str] = {
        "action": take.action,
        "transfer": judged.transfer,
        "correlation": judged.correlation,
        "identity": judged.identity_kept,
        "sharpness": judged.sharpness_ratio,
    }
    if take.truth is not None and take.commanded is not None:
        of_result, of_truth = landmarker.track(clip), landmarker.track(take.truth)
        found["commanded"] = commanded_transfer(
            take.action, take.commanded, measure_action(of_result), measure_action(of_truth)
        )
        found["sharpness"] = statistics.median(
            sharpness(frame, face) / sharpness(true, true_face)
            for frame, face, true, true_face in zip(clip, of_result, take.truth, of_truth, strict=True)
            if face is not None and true_face is not None
        )
        found["l1"] = reconstruction_l1(clip, take.truth)
        found["copy_l1"] = reconstruction_l1([take.source] * len(clip), take.truth)
        found["landmarks"] = keypoint_error(of_result, of_truth)
    return found


def commanded_transfer(action: str, told: Signals, result: Signals, truth: Signals) -> float:
    """Return the mean over the action's signals of the result's slope on the command over the truth's."""
    shares = []
    for name in ACTION_SIGNALS[action]:
        both = np.isfinite(result[name]) & np.isfinite(truth[name])
        if np.ptp(told[name]) >= LEAST_COMMAND.get(name, 0.1):
            command = told[name][both] - told[name][both].mean()
            shares.append((command @ result[name][both]) / (command @ truth[name][both]))
    return float(np.mean(shares)) if shares else float("nan")


def table(rows: Sequence[dict[str, float | str]]) -> dict[str, dict[str, float]]:
    """Return medians by action, and over all clips as ``all``."""
    result: dict[str, dict[str, float]] = {}
    for action in (*ACTIONS, "all"):
        chosen = [row for row in rows if action in (row["action"], "all")]
        if chosen:
            names = [name for name in chosen[0] if name != "action"]
            result[action] = {name: median([float(row[name]) for row in chosen]) for name in names}
            result[action]["clips"] = len(chosen)
    return result


def median(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return round(statistics.median(known), 4) if known else float("nan")


def show(title: str, found: dict[str, dict[str, float]]) -> None:
    names = list(found["all"])
    print(f"\n{title}\n{'':14s}" + "".join(f"{name:>12s}" for name in names))
    for action, values in found.items():
        print(f"{action:14s}" + "".join(f"{values[name]:12.3f}" for name in names))


def write_sheet(path: Path, take: Take, clips: Sequence[np.ndarray]) -> None:
    """Write eight moments, one column each: driver, the truth where it is known, and every animation."""
    moments = np.linspace(0, len(take.driver) - 1, 8).round().astype(int)
    rows = [take.driver, *([] if take.truth is None else [take.truth]), *clips]
    picture = np.concatenate([np.concatenate(list(clip[moments]), axis=1) for clip in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture[..., ::-1])


if __name__ == "__main__":
    main()
