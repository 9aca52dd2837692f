"""A cast of synthetic actors: who is filmed doing what, as ordinary videos with ordinary sample sheets.

From ingest on the workflow cannot tell them from any other videos. ``workflow/actors.smk`` renders them.
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
from deepfakemnist.media.encode import SAME_EVERYWHERE
from deepfakemnist.media.ffmpeg import absolute, find_ffmpeg, frames_input, run_graph
from deepfakemnist.tables.files import atomic_path

FPS = 25.0
LICENCE = "CC0-1.0"
#: Flaws planted among the sources, each a video that the workflow must refuse.
Flaw = Literal["", "no-face", "cut-short", "too-short"]
FLAWS: tuple[Flaw, ...] = ("no-face", "cut-short", "too-short")
_TOO_SHORT_FRAMES = 16  # the fewest an actor performs; crop wants more once the demo says so
_KEPT_OF_CUT = 0.6
#: Range of the place of the eyes and the height of the head in the picture, as shares: in a talking-head video, and in
#: a close-up like the workflow's own crops (24 real clips and 20 drivers: eyes at 0.43-0.58 and 0.41-0.54, outer eye
#: corners 0.25-0.36 apart).
_VIDEO = ((0.38, 0.62), (0.36, 0.46), (0.42, 0.56))
_CLOSE_UP = ((0.45, 0.55), (0.40, 0.48), (0.64, 0.86))


class CastSettings(Settings):
    """Who is filmed: sources who talk, and drivers who perform the ten actions; nobody is both."""

    folder: Path = Field(description="where videos/, sources.tsv and drivers.tsv go")
    seed: int = Field(0, ge=0, description="decides looks, rooms and performances")
    first_head: int = Field(0, ge=0, description="first head of the bank that is used")
    heads: PositiveInt = Field(description="heads used from there on; more people than heads share them, looks differ")
    sources: PositiveInt = Field(description="people who are sources")
    clips_per_source: PositiveInt = Field(1, description="videos of each of them, in other clothes and rooms")
    expressions: bool = Field(
        False, description="sources do not talk: every frame is another pose and expression, to train an animator on"
    )
    drivers: int = Field(ge=0, description="people who perform")
    drivers_per_action: int = Field(1, ge=0, description="of them, how many perform each action")
    source_frames: int = Field(75, ge=16, description="length of a source at 25 frames a second")
    driver_frames: int = Field(60, ge=16, description="length of a driver")
    width: int = Field(640, ge=16, multiple_of=2, description="pixels; H.264 halves colour, so even")
    height: int = Field(480, ge=16, multiple_of=2, description="pixels")
    close_up: bool = Field(
        False, description="frame the face as a crop does; for clips that are trained on as they are"
    )
    flaws: bool = Field(False, description="plant a video without a face, one cut short, and one of 16 frames")

    @model_validator(mode="after")
    def _enough_drivers(self) -> CastSettings:
        if self.drivers_per_action > self.drivers:
            raise ValueError(f"drivers_per_action is {self.drivers_per_action} but there are {self.drivers} drivers")
        return self


@dataclass(frozen=True)
class Shot:
    """One video to film."""

    name: str
    person: str
    identity: int
    seed: int
    """Of the person's looks."""
    take: int
    """Of clothes, room, light, framing and performance."""
    frames: int
    action: Action | Literal["talk"] = TALK
    flaw: Flaw = ""

    @property
    def path(self) -> str:
        """Where the video lies below the cast's folder."""
        return f"videos/{self.name}.mp4"


def sources(cast: CastSettings) -> list[Shot]:
    """Return the sources: ``actor07-1``, ``actor07-2``, …, then the planted flaws."""
    shots = [
        Shot(f"{_person(index)}-{take}", _person(index), *_looks(cast, index), take, cast.source_frames)
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
    """Return the drivers, ``<action>-actor12``; the people take turns over the actions."""
    shots = []
    for number, action in enumerate(ACTIONS):
        for turn in range(cast.drivers_per_action):
            index = cast.sources + (number * cast.drivers_per_action + turn) % cast.drivers
            person = _person(index)
            take = number + 1
            shots.append(Shot(f"{action}-{person}", person, *_looks(cast, index), take, cast.driver_frames, action))
    return shots


def film(shot: Shot, cast: CastSettings, bank: Bank) -> Iterator[np.ndarray]:
    """Render a shot frame by frame, (H, W, 3) uint8 RGB; the same shot gives the same frames."""
    if shot.flaw == "no-face":
        yield from _film_clouds(cast, shot.frames)
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
    """Write a shot as a phone would, H.264 at crf 18, whole or not at all. Raises ConfigError without ffmpeg."""
    with atomic_path(path) as part:
        # Bit-exact and with the index last, as cameras write it, which is why a cut file cannot be opened.
        graph = frames_input(cast.width, cast.height, FPS).output(
            absolute(part), vcodec="libx264", crf=18, preset="veryfast", pix_fmt="yuv420p", threads=1,
            map_metadata=-1, fflags="+bitexact", format="mp4",
            **{"flags:v": "+bitexact"}, **SAME_EVERYWHERE,
        )  # fmt: skip
        run_graph(graph, find_ffmpeg(), film(shot, cast, bank))
        if shot.flaw == "cut-short":
            data = part.read_bytes()
            part.write_bytes(data[: int(len(data) * _KEPT_OF_CUT)])


def write_sheets(cast: CastSettings, source_sheet: Path, driver_sheet: Path) -> None:
    """Write the two sample sheets; the videos they name need not be there yet."""
    source_rows = [(shot.name, shot.path, shot.person, LICENCE) for shot in sources(cast)]
    driver_rows = [(shot.name, str(shot.action), shot.path, shot.person) for shot in drivers(cast)]
    _write_sheet(source_sheet, [("video_id", "path", "person_id", "licence"), *source_rows])
    _write_sheet(driver_sheet, [("driver_id", "action", "path", "person_id"), *driver_rows])


def _person(index: int) -> str:
    return f"actor{index:02d}"


def _looks(cast: CastSettings, index: int) -> tuple[int, int]:
    """Head of the bank, and the seed of hair, skin and the like."""
    return cast.first_head + index % cast.heads, seed_from("looks", cast.seed, index) % 2**31


def _framing(shot: Shot, cast: CastSettings) -> Framing:
    random = np.random.default_rng(seed_from("framing", cast.seed, shot.name))
    x, y, head = (random.uniform(*limits) for limits in (_CLOSE_UP if cast.close_up else _VIDEO))
    return Framing(cast.width, cast.height, x, y, head)


def _film_clouds(cast: CastSettings, frames: int) -> Iterator[np.ndarray]:
    """Render a pan over soft coloured clouds: a good video without anybody in it."""
    random = np.random.default_rng(seed_from("clouds", cast.seed))
    size = (cast.width + 2 * frames, cast.height)
    clouds = cv2.resize(random.uniform(40, 215, (12, 20, 3)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    for index in range(frames):
        picture = clouds[:, 2 * index : 2 * index + cast.width]
        noisy = picture + random.normal(0, 1.5, picture.shape)
        yield np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _write_sheet(path: Path, rows: list[tuple[str, ...]]) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
    with atomic_path(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")
