"""Synthetic VoxCeleb: full videos with a face at known positions, vox-metadata.csv and VoxCeleb1 annotations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from skimage.data import astronaut

from deepfakemnist.media.encode import write_working_clip

#: Size of the full videos; VoxCeleb1 boxes refer to a height of 360, vox-metadata states its reference size.
WIDTH, HEIGHT, FRAMES = 640, 480, 60
#: Face box in the portrait: left, top, width, height.
_FACE = (95.0, 50.0, 100.0, 130.0)


@dataclass(frozen=True)
class SmallVox:
    """The folder and, per video, the true box of every frame, (FRAMES,4) left, top, width, height in its pixels."""

    folder: Path
    boxes: dict[str, np.ndarray]


def write_drifting_portrait(path: Path, fps: float, drift: float) -> np.ndarray:
    """Write a video in which the portrait drifts, and return the face's true boxes."""
    portrait = astronaut()[0:260, 80:340]
    boxes, frames = [], []
    for number in range(FRAMES):
        left, top = 100 + drift * number, 60 + 0.5 * number
        scene = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
        matrix = np.array([[1, 0, left], [0, 1, top]], np.float64)
        cv2.warpAffine(portrait, matrix, (WIDTH, HEIGHT), dst=scene, borderMode=cv2.BORDER_TRANSPARENT)
        frames.append(scene)
        boxes.append((_FACE[0] + left, _FACE[1] + top, _FACE[2], _FACE[3]))
    write_working_clip(path, frames, fps)
    return np.array(boxes)


def annotation(boxes: np.ndarray, first: int) -> str:
    """Return an utterance file in VoxCeleb1's format: six header lines, column names that end in spaces."""
    head = [
        "Identity  : \tid1",
        "Reference : \tabc",
        "Offset    : \t0",
        "FV Conf   : \t20.1\t(1)",
        "ASD Conf  : \t5.1",
        "",
    ]
    scale = 360 / HEIGHT
    lines = ["FRAME \tX \tY \tW \tH "]
    for number, box in enumerate(boxes, start=first):
        lines.append("\t".join([f"{number:06d}", *(str(round(side * scale)) for side in box)]) + " ")
    return "\n".join([*head, *lines]) + "\n"


def make_vox(folder: Path) -> SmallVox:
    """Write videos v25_-a and v30 of two people, one in a person folder; video gone has annotations only."""
    boxes = {
        "v25_-a": write_drifting_portrait(folder / "videos" / "v25_-a.mp4", 25, 1.5),
        "v30": write_drifting_portrait(folder / "videos" / "id2" / "v30.mp4", 30, 0.5),
    }
    lines = ["video_id,start,end,bbox,fps,width,height,partition,person_id"]
    scale = 720 / HEIGHT
    for person, name, start, end in (("id1", "v25_-a", 10, 40), ("id2", "v30", 5, 45), ("id2", "gone", 0, 30)):
        rate = 30 if name == "v30" else 25
        kept = [i for i in range(FRAMES) if start * rate <= i * 25 < end * rate]
        known = boxes.get(name, boxes["v30"])[kept]
        left, top = known[:, :2].min(axis=0)
        right, bottom = (known[:, :2] + known[:, 2:]).max(axis=0)
        sides = "-".join(str(round(side * scale)) for side in (left, top, right, bottom))
        lines.append(f"{name},{start},{end},{sides},25.0,{round(WIDTH * scale)},720,train,{person}")
    lines.append("bad,10,5,1-2-3-4,25,100,100,train,id3")
    lines.append("v30,5,45,1-2-3-4,25,100,100,train,id2")
    (folder / "vox-metadata.csv").write_text("\n".join(lines) + "\n")

    for person, name, first in (("id1", "v25_-a", 8), ("id2", "gone", 0)):
        path = folder / "txt" / person / name / "00001.txt"
        path.parent.mkdir(parents=True)
        path.write_text(annotation(boxes.get(name, boxes["v30"])[first : first + 40], first))
    return SmallVox(folder, boxes)
