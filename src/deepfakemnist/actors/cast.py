"""Casting of synthetic actors: the list of shots, their videos, and the sample sheets.

From ingest onwards the workflow treats them like any other videos. ``workflow/actors.smk`` renders them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from pydantic import Field, PositiveInt, model_validator

from deepfakemnist.actors.actor import Actor
from deepfakemnist.actors.bank import Bank
from deepfakemnist.actors.expressions import random_expression
from deepfakemnist.actors.perform import TALK, perform
from deepfakemnist.actors.pose import Framing
from deepfakemnist.config.base import ACTIONS, Action, Settings
from deepfakemnist.ids import seed_from
from deepfakemnist.media.encode import DETERMINISTIC_X264
from deepfakemnist.media.ffmpeg import absolute, find_ffmpeg, frames_input, run_graph
from deepfakemnist.tables.files import atomic_path

FPS = 25.0
LICENCE = "CC0-1.0"
#: Defective videos planted among the sources; the workflow must reject each of them.
Flaw = Literal["", "no-face", "cut-short", "too-short"]
FLAWS: tuple[Flaw, ...] = ("no-face", "cut-short", "too-short")
_TOO_SHORT_FRAMES = 16  # the minimum of a performance; the demo's crop.min_frames is higher
_KEPT_OF_CUT = 0.6
#: Ranges of eye position x, y and head height, as shares of the frame: in a talking-head video, and in a close-up like
#: the workflow's own crops (24 real clips and 20 drivers: eyes at 0.43-0.58 and 0.41-0.54, outer eye corners 0.25-0.36
#: apart).
_VIDEO = ((0.38, 0.62), (0.36, 0.46), (0.42, 0.56))
_CLOSE_UP = ((0.45, 0.55), (0.40, 0.48), (0.64, 0.86))


class CastSettings(Settings):
    """Cast of a synthetic dataset: sources talk, drivers perform the ten actions; nobody is both."""

    folder: Path = Field(description="output folder of videos/, sources.tsv and drivers.tsv")
    seed: int = Field(0, ge=0, description="seed of looks, rooms and performances")
    first_head: int = Field(0, ge=0, description="index of the first head used from the bank")
    heads: PositiveInt = Field(
        description="number of heads used; if there are more people than heads, people share heads but look different"
    )
    sources: PositiveInt = Field(description="number of source people")
    clips_per_source: PositiveInt = Field(1, description="videos per source, in different clothes and rooms")
    expressions: bool = Field(
        False,
        description="show a random pose and expression in every frame instead of talking, to train an animator",
    )
    drivers: int = Field(ge=0, description="number of driver people")
    drivers_per_action: int = Field(1, ge=0, description="drivers who perform each action")
    source_frames: int = Field(75, ge=16, description="frames per source video, at 25 frames/s")
    driver_frames: int = Field(60, ge=16, description="frames per driving video, at 25 frames/s")
    width: int = Field(640, ge=16, multiple_of=2, description="pixels; even, because H.264 subsamples chroma")
    height: int = Field(480, ge=16, multiple_of=2, description="pixels")
    close_up: bool = Field(
        False, description="frame the face like a crop; for clips that train an animator without cropping"
    )
    flaws: bool = Field(False, description="plant a video without a face, a truncated one, and one of 16 frames")

    @model_validator(mode="after")
    def _enough_drivers(self) -> CastSettings:
        if self.drivers_per_action > self.drivers:
            raise ValueError(f"drivers_per_action is {self.drivers_per_action} but there are {self.drivers} drivers")
        return self


@dataclass(frozen=True)
class Shot:
    """One video to render."""

    name: str
    person: str
    identity: int
    seed: int
    """Seed of the person's look."""
    take: int
    """Varies clothes, room, light, framing and performance."""
    frames: int
    action: Action | Literal["talk"] = TALK
    flaw: Flaw = ""

    @property
    def path(self) -> str:
        """Path of the video below the cast's folder."""
        return f"videos/{self.name}.mp4"


def sources(cast: CastSettings) -> list[Shot]:
    """Return the source shots ``actor07-1``, ``actor07-2``, …, then the planted flaws."""
    shots = [
        Shot(f"{_person_id(index)}-{take}", _person_id(index), *_look_of(cast, index), take, cast.source_frames)
        for index in range(cast.sources)
        for take in range(1, cast.clips_per_source + 1)
    ]
    if cast.flaws:
        first = shots[0]
        for flaw in FLAWS:
            frames = _TOO_SHORT_FRAMES if flaw == "too-short" else cast.source_frames
            shots.append(Shot(flaw, first.person, first.identity, first.seed, 99, frames, flaw=flaw))
    return shots


def drivers(cast: CastSettings) -> list[Shot]:
    """Return the driver shots ``<action>-actor12``; actions rotate through the driver people."""
    shots = []
    for number, action in enumerate(ACTIONS):
        for turn in range(cast.drivers_per_action):
            index = cast.sources + (number * cast.drivers_per_action + turn) % cast.drivers
            person = _person_id(index)
            take = number + 1
            shots.append(Shot(f"{action}-{person}", person, *_look_of(cast, index), take, cast.driver_frames, action))
    return shots


def film(shot: Shot, cast: CastSettings, bank: Bank) -> Iterator[np.ndarray]:
    """Render a shot frame by frame, (H, W, 3) uint8 RGB; deterministic per shot."""
    if shot.flaw == "no-face":
        yield from _render_clouds(cast, shot.frames)
        return
    actor = Actor(bank, shot.identity, shot.seed, shot.take)
    seed = seed_from("performance", cast.seed, shot.name)
    if cast.expressions and shot.action == TALK:
        random, framing = np.random.default_rng(seed), _framing(shot, cast)
        for number in range(shot.frames):
            yield actor.render(*random_expression(random), framing=framing, noise=number)
        return
    yield from perform(actor, shot.action, seed, shot.frames, FPS, _framing(shot, cast)).frames()


def write_shot(shot: Shot, cast: CastSettings, bank: Bank, path: Path) -> None:
    """Write a shot atomically, encoded as by a phone: H.264 at crf 18. Raises ConfigError without ffmpeg."""
    with atomic_path(path) as part:
        # Bit-exact. The index (moov atom) is at the end, as cameras write it, so a truncated file cannot be opened.
        graph = frames_input(cast.width, cast.height, FPS).output(
            absolute(part), vcodec="libx264", crf=18, preset="veryfast", pix_fmt="yuv420p", threads=1,
            map_metadata=-1, fflags="+bitexact", format="mp4",
            **{"flags:v": "+bitexact"}, **DETERMINISTIC_X264,
        )  # fmt: skip
        run_graph(graph, find_ffmpeg(), film(shot, cast, bank))
        if shot.flaw == "cut-short":
            data = part.read_bytes()
            part.write_bytes(data[: int(len(data) * _KEPT_OF_CUT)])


def write_sheets(cast: CastSettings, source_sheet: Path, driver_sheet: Path) -> None:
    """Write the two sample sheets; the videos need not exist yet."""
    source_rows = [(shot.name, shot.path, shot.person, LICENCE) for shot in sources(cast)]
    driver_rows = [(shot.name, str(shot.action), shot.path, shot.person) for shot in drivers(cast)]
    _write_sheet(source_sheet, [("video_id", "path", "person_id", "licence"), *source_rows])
    _write_sheet(driver_sheet, [("driver_id", "action", "path", "person_id"), *driver_rows])


def _person_id(index: int) -> str:
    return f"actor{index:02d}"


def _look_of(cast: CastSettings, index: int) -> tuple[int, int]:
    """Return the index of the head in the bank and the seed of the person's look."""
    return cast.first_head + index % cast.heads, seed_from("looks", cast.seed, index) % 2**31


def _framing(shot: Shot, cast: CastSettings) -> Framing:
    random = np.random.default_rng(seed_from("framing", cast.seed, shot.name))
    x, y, head = (random.uniform(*limits) for limits in (_CLOSE_UP if cast.close_up else _VIDEO))
    return Framing(cast.width, cast.height, x, y, head)


def _render_clouds(cast: CastSettings, frames: int) -> Iterator[np.ndarray]:
    """Render a pan over soft coloured clouds: a valid video without a face."""
    random = np.random.default_rng(seed_from("clouds", cast.seed))
    size = (cast.width + 2 * frames, cast.height)
    clouds = cv2.resize(random.uniform(40, 215, (12, 20, 3)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    for index in range(frames):
        image = clouds[:, 2 * index : 2 * index + cast.width]
        noisy = image + random.normal(0, 1.5, image.shape)
        yield np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _write_sheet(path: Path, rows: list[tuple[str, ...]]) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
    with atomic_path(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")
