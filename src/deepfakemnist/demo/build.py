"""Make the demo's videos: sources, drivers of every action, and two files that the pipeline must refuse.

They stand in until synthetic actors exist: two public-domain portraits, changed and moved by known warps. About a
minute on one core. From the command line: ``python -m deepfakemnist.demo.build FOLDER``.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deepfakemnist.code_digest import code_digest
from deepfakemnist.demo.performances import perform, talk
from deepfakemnist.demo.portraits import LICENCE, person
from deepfakemnist.demo.puppet import render
from deepfakemnist.ids import seed_from
from deepfakemnist.media.ffmpeg import absolute, find_ffmpeg, frames_input, run_graph
from deepfakemnist.settings import ACTIONS
from deepfakemnist.tables import atomic_path

log = logging.getLogger(__name__)

FPS = 25.0
SOURCE_FRAMES, DRIVER_FRAMES = 60, 40
#: Sources by the person seen; two people have two videos, so that splitting by person is not splitting by video.
SOURCE_PEOPLE = (
    *("collins-0", "collins-0", "collins-1", "collins-2", "collins-3"),
    *("hopper-0", "hopper-0", "hopper-1", "hopper-2", "hopper-3"),
)
#: Who performs an action; nobody of these is a source. Hopper's glasses hide eyelids, brows and nods.
DRIVER_PEOPLE = {
    **dict.fromkeys(("blink", "mouth", "nod", "up", "surprise"), "collins-4"),
    **dict.fromkeys(("left_slope", "smile", "embarrassment"), "collins-5"),
    **dict.fromkeys(("yaw", "right_slope"), "hopper-4"),
}
#: Sources that ingest and crop must refuse.
NO_FACE, CUT_SHORT = "no-face", "cut-short"
MANIFEST = "demo.json"
_NOISE = 1.5  # grey levels; a frozen background would give a rendered clip away
_KEPT_OF_CUT = 0.6


@dataclass(frozen=True)
class Clip:
    """One video of the demo."""

    name: str
    person: str
    #: Action performed; empty for a source, who talks.
    action: str = ""

    @property
    def path(self) -> str:
        """Where the video lies below the demo's folder."""
        return f"videos/{self.name}.mp4"

    @property
    def frames(self) -> int:
        """Length of the video."""
        return DRIVER_FRAMES if self.action else SOURCE_FRAMES


def sources() -> list[Clip]:
    """Return the sources that are good: ``collins-0-1``, ``collins-0-2``, …"""
    return [Clip(f"{name}-{SOURCE_PEOPLE[: index + 1].count(name)}", name) for index, name in enumerate(SOURCE_PEOPLE)]


def drivers() -> list[Clip]:
    """Return one driver of every action, ``driver-<action>``."""
    return [Clip(f"driver-{action}", DRIVER_PEOPLE[action], action) for action in ACTIONS]


def film(clip: Clip, seed: int = 0) -> Iterator[np.ndarray]:
    """Render a clip frame by frame, (H, W, 3) uint8 RGB, with the noise of a sensor; the same for the same seed."""
    portrait = person(clip.person, seed)
    rng = np.random.default_rng(seed_from("demo noise", seed, clip.name))
    for index in range(clip.frames):
        time, seconds = index / (clip.frames - 1), index / FPS
        pose = perform(clip.action, time) if clip.action else talk(seconds, seed, clip.name)
        yield _noisy(render(portrait, pose), rng)


def film_no_face(seed: int = 0) -> Iterator[np.ndarray]:
    """Render a pan over soft coloured clouds: a good video without anybody in it."""
    rng = np.random.default_rng(seed_from("demo clouds", seed))
    clouds = cv2.resize(rng.uniform(40, 215, (12, 20, 3)).astype(np.float32), (800, 480), interpolation=cv2.INTER_CUBIC)
    clouds = np.clip(clouds, 0, 255).astype(np.uint8)
    for index in range(SOURCE_FRAMES):
        yield _noisy(clouds[:384, 2 * index : 2 * index + 480], rng)


def build_demo(folder: Path | str, seed: int = 0) -> bool:
    """Write the demo's videos, ``sources.tsv`` and ``drivers.tsv`` into ``folder``.

    Paths in the sheets are relative to the sheets. A file that a manifest records as made by the same code and seed,
    and that has not changed since, is kept.

    Returns: whether anything was made.

    Raises:
        ConfigError: no ffmpeg with x264.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    version = {"code": code_digest("demo.build"), "seed": seed}
    makers = _makers(seed)
    intact = _intact(folder, version)
    missing = [name for name in makers if name not in intact]
    if not missing:
        log.info("the demo in %s is up to date", folder)
        return False
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in missing:
        log.info("making %s", name)
        makers[name](folder / name)
    made = {name: _sha256(folder / name) for name in makers}
    with atomic_path(folder / MANIFEST) as part:
        part.write_text(json.dumps({**version, "sha256": made}, indent=2) + "\n", encoding="utf-8")
    return True


def _makers(seed: int) -> dict[str, Callable[[Path], None]]:
    """Every file of the demo by its name, with what writes it, in an order in which they can be made."""
    good, no_face, cut_short = sources(), Clip(NO_FACE, "nobody"), Clip(CUT_SHORT, SOURCE_PEOPLE[0])
    licences = {NO_FACE: "CC0-1.0"}
    source_rows = [
        (clip.name, clip.path, clip.person, licences.get(clip.name, LICENCE)) for clip in [*good, no_face, cut_short]
    ]
    driver_rows = [(clip.name, clip.action, clip.path, clip.person) for clip in drivers()]
    makers: dict[str, Callable[[Path], None]] = {
        clip.path: lambda path, clip=clip: _encode(path, film(clip, seed))  # type: ignore[misc]
        for clip in [*good, *drivers()]
    }
    makers[no_face.path] = lambda path: _encode(path, film_no_face(seed))
    makers[cut_short.path] = lambda path: _cut_short(path.with_name(Path(good[0].path).name), path)
    makers["sources.tsv"] = lambda path: _write_sheet(
        path, [("video_id", "path", "person_id", "licence"), *source_rows]
    )
    makers["drivers.tsv"] = lambda path: _write_sheet(
        path, [("driver_id", "action", "path", "person_id"), *driver_rows]
    )
    return makers


def _intact(folder: Path, version: dict[str, object]) -> set[str]:
    """Files that the manifest says are of this version, and that are still what it says."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if {key: manifest[key] for key in version} != version:
            return set()
        recorded = manifest["sha256"].items()
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return set()  # no manifest, or none of ours
    return {name for name, digest in recorded if (folder / name).is_file() and _sha256(folder / name) == digest}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _noisy(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(frame.shape, dtype=np.float32) * _NOISE
    return np.clip(np.rint(frame + noise), 0, 255).astype(np.uint8)


def _encode(path: Path, frames: Iterator[np.ndarray]) -> None:
    """Write H.264 as a phone would, crf 18; the index comes last, which is why a cut file cannot be opened."""
    first = next(frames)
    height, width = first.shape[:2]

    def everything() -> Iterator[np.ndarray]:
        yield first
        yield from frames

    with atomic_path(path) as part:
        graph = frames_input(width, height, FPS).output(
            absolute(part), vcodec="libx264", crf=18, preset="veryfast", pix_fmt="yuv420p", threads=1,
            map_metadata=-1, fflags="+bitexact", format="mp4",
            **{"flags:v": "+bitexact"},
        )  # fmt: skip
        run_graph(graph, find_ffmpeg(), everything())


def _cut_short(whole: Path, path: Path) -> None:
    """Write the first part of a file, as an interrupted download leaves it."""
    data = whole.read_bytes()
    with atomic_path(path) as part:
        part.write_bytes(data[: int(len(data) * _KEPT_OF_CUT)])


def _write_sheet(path: Path, rows: Iterable[tuple[str, ...]]) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
    with atomic_path(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    """Build the demo from the command line."""
    parser = argparse.ArgumentParser(description="Make the demo's videos and sheets.")
    parser.add_argument("folder", type=Path, help="where videos/, sources.tsv and drivers.tsv go")
    parser.add_argument("--seed", type=int, default=0, help="other people, other motion (default 0)")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    build_demo(chosen.folder, chosen.seed)


if __name__ == "__main__":
    main()
