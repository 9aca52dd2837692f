"""Small face crops as sources, and drivers that turn their heads: input of a whole run that takes seconds a stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from deepfakemnist.actors import Actor, Pose, load_bank
from deepfakemnist.media.encode import write_working_clip

#: Frames per clip, and side of a crop, pixels.
FRAMES, SIDE = 16, 96


def write_face_crops(
    folder: Path, people: int, drivers: int, clips: int = 1, actions: Sequence[str] = ("yaw",)
) -> dict[str, dict]:
    """Write crops of people p0, p1, …, one turning driver of the first ``drivers`` people, and their sheets.

    Args:
        folder: folder of the project.
        people: number of people.
        drivers: number of driving videos; each is listed once for every action.
        clips: sources per person, each with pixels of its own; p0-0, p0-1, … with more than one.
        actions: actions of the drivers.

    Returns: sections of the config that read them.
    """
    sources, listed = ["video_id\tpath\tperson_id"], ["driver_id\taction\tpath\tperson_id"]
    for number in range(people):
        actor = Actor(load_bank(), identity=number, seed=number)
        still, turned = (
            cv2.resize(actor.render(pose), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            for pose in (Pose(), Pose(yaw=18.0))
        )
        for clip in range(clips):
            name = f"p{number}" if clips == 1 else f"p{number}-{clip}"
            write_working_clip(folder / f"{name}.mp4", [np.roll(still, clip, 1)] * FRAMES, 25.0)
            sources.append(f"{name}\t{name}.mp4\tp{number}")
        if number < drivers:
            write_working_clip(folder / f"d{number}.mp4", [still, turned] * (FRAMES // 2), 25.0)
            for action in actions:
                name = f"d{number}" if len(actions) == 1 else f"d{number}-{action}"
                listed.append(f"{name}\t{action}\td{number}.mp4\tp{number}")
    (folder / "sources.tsv").write_text("\n".join(sources) + "\n")
    (folder / "drivers.tsv").write_text("\n".join(listed) + "\n")
    return {
        "sources": {"sheet": "sources.tsv", "cropped": True},
        "drivers": {"sheet": "drivers.tsv"},
        "crop": {"size": SIDE, "min_face_px": 16},
        "animator": {"name": "mesh"},
        "compress": {"mark": {"c2pa": False}},
    }
