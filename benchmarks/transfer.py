"""Quality benchmark of animators: action transfer, identity, sharpness and error, per action.

    python benchmarks/transfer.py WHAT [WHAT ...]                       on actors with heads of the demo, 56 to 71
    python benchmarks/transfer.py WHAT [WHAT ...] --run results/mine    on the crops of a run, e.g. of real people

WHAT is a file with weights of FOMM, or the name of an animator without weights, e.g. mesh.

For each action, source people are animated by a driver of another identity, from the first frame of both; with
``--source-frame best``, from the frame of the source that the crop stage chose. Actors have a
ground truth, because the source can be rendered with the driver's performance: ``commanded`` is the slope of the
result's signal on the commanded one, relative to the same slope of the true clip; ``l1`` and ``landmarks`` are
distances to the true clip, ``sharpness`` is relative to its faces; ``worst`` is that of its 5th percentile of frames.
``background`` is the share of background pixels
that change by more than 4 levels, ``flicker`` their mean change between frames, ``second`` the transfer by another
landmark network (``--second``), ``accepted`` the share of clips that the provider local-action accepts, ``live``
the probability of MiniFASNet that a face is no print and no screen (``--silent``), ``rejected``
the share that the animator refuses. All other columns are those of the workflow stage judge, and numbers are medians
over clips. All are evaluated on the same clips.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from transfer_measures import FPS, SecondLandmarks, accepted, background, second_transfer, silent_detector

from deepfakemnist.actors import Actor, Framing, Performance, load_bank, perform
from deepfakemnist.animate.fomm.animator import FommAnimator
from deepfakemnist.animate.fomm.checkpoint import load_checkpoint
from deepfakemnist.animate.protocol import Animator
from deepfakemnist.animate.registry import load_animator
from deepfakemnist.animation_quality.image_metrics import keypoint_error, reconstruction_l1, sharpness
from deepfakemnist.animation_quality.judge import assess_clip
from deepfakemnist.animation_quality.motion import ACTION_SIGNALS, EXPRESSIONS, Signals, measure_action
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.config.base import ACTIONS
from deepfakemnist.errors import Rejected
from deepfakemnist.faces.identity import FaceEmbedder
from deepfakemnist.faces.landmarks import FaceLandmarker, FaceLandmarks
from deepfakemnist.faces.person_mask import PersonMask
from deepfakemnist.ids import seed_from
from deepfakemnist.liveness.protocol import Clip
from deepfakemnist.media.decode import read_clip, read_frame
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK

FIRST_HEAD, HEADS = 56, 16
FRAMES = 40
#: Face size of the workflow's crops.
CLOSE = Framing(eyes_y=0.44, head=0.75)
#: Columns that say which take it is: its action, and who its source and driver are.
NAMES = ("action", "source", "driver")
#: Percentile of frames by sharpness that stands for the worst frame of a clip.
WORST = 5
#: Columns that are means over clips; all others are medians.
SHARES = ("accepted", "rejected")
#: Minimum amplitude of a commanded signal to count as shown: degrees; 0.1 of a facial action for all others.
MIN_COMMAND = {"yaw": 4.0, "pitch": 4.0, "roll": 4.0}


@dataclass(frozen=True)
class Take:
    """One source with its driver."""

    action: str
    source: np.ndarray  # (H, W, 3) uint8 RGB
    driver: np.ndarray  # (T, H, W, 3)
    others: np.ndarray  # (N, 128) embeddings of people other than the source
    truth: np.ndarray | None = None  # (T, H, W, 3): the source with the same performance
    commanded: Signals | None = None
    people: tuple[str, str] = ("", "")  # source and driver


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("animators", nargs="+", help="checkpoints of FOMM, or names of animators without weights")
    parser.add_argument("--run", type=Path, help="results folder of a run whose crops replace the actors")
    parser.add_argument("--source-frame", choices=("0", "best"), default="0", help="best: as the crops of --run say")
    parser.add_argument("--each", type=int, default=2, help="sources per action")
    parser.add_argument("--actions", nargs="+", choices=ACTIONS, default=ACTIONS, help="only these actions")
    parser.add_argument("--people", nargs="+", help="with --run, only sources and drivers of these people")
    parser.add_argument("--second", type=Path, help="shape_predictor_68_face_landmarks.dat, for the column second")
    parser.add_argument(
        "--silent", type=Path, help="folder with the two weight files of MiniFASNet, for the column live"
    )
    parser.add_argument("--rows", type=Path, help="file for the figures of each take, JSON")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    parser.add_argument("--json", type=Path, help="file for the results; entries of other people and actions are kept")
    arguments = parser.parse_args()
    if arguments.source_frame == "best" and arguments.run is None:
        parser.error("--source-frame best needs --run, whose crops say which frame is best")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    animators = [animator_of(what) for what in arguments.animators]
    judge = Judge(arguments.second, arguments.silent)
    embedder = judge.embedder
    takes = actor_takes(arguments, embedder) if arguments.run is None else run_takes(arguments, embedder)
    measured: list[list[dict[str, float | str]]] = [[] for _ in animators]
    for number, take in enumerate(takes):
        clips = [animated(animator, take) for animator in animators]
        for rows, clip in zip(measured, clips, strict=True):
            rows.append(judge.measure(take, clip))
        if arguments.sheets is not None:
            write_sheet(arguments.sheets / f"{number:03d}-{take.action}.png", take, clips)
    found = {}
    for what, animator, rows in zip(arguments.animators, animators, measured, strict=True):
        actions = table(rows)
        found[animator.info.weights_sha256 or what] = actions
        show(what, actions)
    if arguments.rows is not None:
        arguments.rows.write_text(json.dumps(dict(zip(arguments.animators, measured, strict=True)), indent=1) + "\n")
    if arguments.json is not None:
        content = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
        chosen = (
            "" if arguments.actions == ACTIONS else f", {arguments.each} clips of {' and '.join(arguments.actions)}"
        )
        chosen += "" if arguments.people is None else f", only {', '.join(arguments.people)}"
        of_best = ", best source frame" if arguments.source_frame == "best" else ""
        content[("actors" if arguments.run is None else arguments.run.name) + chosen + of_best] = found
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")


def animator_of(what: str) -> Animator[Any]:
    """Return FOMM with the weights of a file, or the animator of that name."""
    if Path(what).is_file():
        return FommAnimator(load_checkpoint(Path(what)))
    return load_animator(animator_settings(name=what, weights=None, weights_sha256=None), None, "cpu")


def actor_takes(arguments: argparse.Namespace, embedder: FaceEmbedder) -> Iterator[Take]:
    """Yield ``each`` takes per action; source and driver are different heads of 56 to 71."""
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


def run_takes(arguments: argparse.Namespace, embedder: FaceEmbedder) -> Iterator[Take]:
    """Yield ``each`` takes per action from the crops of a run, cycling through the sources."""
    sources, drivers = (
        [row for row in read_rows(sorted((arguments.run / "crop" / role).glob("*.parquet"))) if row["status"] == OK]
        for role in ("source", "driver")
    )
    if arguments.people is not None:
        sources, drivers = (
            [row for row in rows if row["person_id"] in arguments.people] for rows in (sources, drivers)
        )
    best = arguments.source_frame == "best"
    if best and any(row.get("best_frame") is None for row in sources):
        raise SystemExit(f"crops of {arguments.run} name no best_frame: they are of an older version, crop again")
    frames = {row["video_id"]: read_frame(row["path"], row["best_frame"] if best else 0) for row in sources}
    faces = {row["video_id"]: embedder(frames[row["video_id"]]) for row in sources}
    turn = 0
    for action in arguments.actions:
        performers = [row for row in drivers if row["action"] == action]
        for place in range(arguments.each if performers else 0):
            driver = performers[place % len(performers)]
            while sources[turn % len(sources)]["person_id"] == driver["person_id"]:
                turn += 1
            source = sources[turn % len(sources)]
            turn += 1
            others = [
                face
                for row in sources
                if row["person_id"] != source["person_id"] and (face := faces[row["video_id"]]) is not None
            ]
            people = (source["person_id"], driver["person_id"])
            yield Take(action, frames[source["video_id"]], read_clip(driver["path"]), np.stack(others), people=people)


def commands(performance: Performance) -> Signals:
    """Return the commanded signals of the renderer, in the units of ``measure_action``."""
    names = performance.action_names
    expressions = {
        name: np.mean([performance.actions[:, names.index(part)] for part in parts], axis=0)
        for name, parts in EXPRESSIONS.items()
    }
    return expressions | {name: performance.poses[:, column] for column, name in enumerate(("yaw", "pitch", "roll"))}


def animated(animator: Animator[Any], take: Take) -> np.ndarray | None:
    """Return the fake (T, H, W, 3), or None when the animator rejects the take."""
    try:
        motion = animator.prepare_driving(take.driver)
        return np.stack(list(animator.render(animator.prepare_source(take.source), motion)))
    except Rejected as rejected:
        print(f"{animator.info.name} rejects a take of {take.action}: {rejected}")
        return None


class Judge:
    """Measures fakes; ``second`` is the file of the second landmark network, ``silent`` the folder of MiniFASNet."""

    def __init__(self, second: Path | None, silent: Path | None = None) -> None:
        self.embedder = FaceEmbedder()
        self._landmarker, self._mask = FaceLandmarker(), PersonMask()
        self._second = None if second is None else SecondLandmarks(second)
        self._silent = None if silent is None else silent_detector(silent)

    def measure(self, take: Take, clip: np.ndarray | None) -> dict[str, float | str]:
        """Return the columns of a take; only what names it for one that was rejected."""
        named: dict[str, float | str] = dict(zip(NAMES, (take.action, *take.people), strict=True))
        if clip is None:
            return {**named, "rejected": 1.0}
        quality = assess_clip(take.source, take.driver, clip, take.action, self._landmarker, self.embedder, take.others)
        of_driver, of_result = self._landmarker.track(take.driver), self._landmarker.track(clip)
        found: dict[str, float | str] = {
            **named,
            "transfer": quality.transfer,
            "correlation": quality.correlation,
            "identity": quality.identity_kept,
            "sharpness": quality.sharpness_ratio,
            "worst": self._worst_sharpness(take, clip, of_result),
            "accepted": accepted(take.action, of_result),
            "rejected": 0.0,
        }
        found["background"], found["flicker"] = background(take.source, clip, self._mask)
        if self._silent is not None:
            found["live"] = self._silent.check(Clip(clip, FPS, ""), take.action).score
        if self._second is not None:
            signals = (self._second.signals(frames) for frames in (take.driver, clip))
            found["second"] = second_transfer(take.action, measure_action(of_driver), *signals)
        if take.truth is not None and take.commanded is not None:
            of_truth = self._landmarker.track(take.truth)
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

    def _worst_sharpness(self, take: Take, clip: np.ndarray, faces: Sequence[FaceLandmarks | None]) -> float:
        face = self._landmarker(take.source)
        found = [sharpness(frame, seen) for frame, seen in zip(clip, faces, strict=True) if seen is not None]
        if face is None or not found:
            return float("nan")
        return float(np.percentile(found, WORST) / sharpness(take.source, face))


def commanded_transfer(action: str, commanded: Signals, result: Signals, truth: Signals) -> float:
    """Return the slope of the result on the command relative to the truth's, averaged over the action's signals."""
    ratios = []
    for name in ACTION_SIGNALS[action]:
        both = np.isfinite(result[name]) & np.isfinite(truth[name])
        if np.ptp(commanded[name]) >= MIN_COMMAND.get(name, 0.1):
            command = commanded[name][both] - commanded[name][both].mean()
            ratios.append((command @ result[name][both]) / (command @ truth[name][both]))
    return float(np.mean(ratios)) if ratios else float("nan")


def table(rows: Sequence[dict[str, float | str]]) -> dict[str, dict[str, float]]:
    """Return medians, and means of shares, per action, and over all clips as ``all``."""
    names = [name for name in max(rows, key=len) if name not in NAMES]
    result: dict[str, dict[str, float]] = {}
    for action in (*ACTIONS, "all"):
        chosen = [row for row in rows if action in (row["action"], "all")]
        if chosen:
            values = {name: [float(row[name]) for row in chosen if name in row] for name in names}
            result[action] = {name: summary(name, found) for name, found in values.items()}
            result[action]["clips"] = len(chosen)
    return result


def summary(name: str, values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return float("nan")
    return round(statistics.mean(known) if name in SHARES else statistics.median(known), 4)


def show(title: str, found: dict[str, dict[str, float]]) -> None:
    names = list(found["all"])
    print(f"\n{title}\n{'':14s}" + "".join(f"{name:>12s}" for name in names))
    for action, values in found.items():
        print(f"{action:14s}" + "".join(f"{values[name]:12.3f}" for name in names))


def write_sheet(path: Path, take: Take, clips: Sequence[np.ndarray | None]) -> None:
    """Write a contact sheet with eight frames as columns; rows are the driver, the truth if known, every animation."""
    frames = np.linspace(0, len(take.driver) - 1, 8).round().astype(int)
    truth = [] if take.truth is None else [take.truth]
    rows = [take.driver, *truth, *(np.zeros_like(take.driver) if clip is None else clip for clip in clips)]
    image = np.concatenate([np.concatenate(list(clip[frames]), axis=1) for clip in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1])


if __name__ == "__main__":
    main()
