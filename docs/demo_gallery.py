"""Make docs/demo_gallery.jpg, the README's picture, from what ``make demo`` left below results/demo.

    make gallery                                       runs the demo if need be, then this
    python docs/demo_gallery.py results/demo [FILE]

For every action a source, its driver, and below it what the animator made of both, at the driver's most telling
moments. A fake that liveness accepted is shown where there is one; others say that they were rejected.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.media.decode import read_clip
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK, Row

_THUMB, _GAP, _HEAD, _COLUMNS, _MOMENTS = 116, 4, 26, 2, 4
_BETWEEN = 22  # columns of actions
_INK, _PAPER, _MARK = (20, 20, 20), (255, 255, 255), (176, 0, 32)


def main() -> None:
    """Write the picture."""
    results = Path(sys.argv[1])
    path = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).with_suffix(".jpg")
    clips = {row["video_id"]: row["path"] for row in _rows(results, "crop/*/*.parquet") if row["status"] == OK}
    accepted = {row["video_id"] for row in _rows(results, "select/*.parquet") if row["status"] == OK}
    fakes = [row for row in _rows(results, "animate/*.parquet") if row["status"] == OK]
    shown: list[Row] = []
    for action in ACTIONS:
        rows = [row for row in fakes if row["action"] == action]
        used = [row["source_id"] for row in shown]
        # Accepted before rejected, faces not shown yet before others.
        rows.sort(key=lambda row: (row["video_id"] not in accepted, used.count(row["source_id"]), row["video_id"]))
        shown += rows[:1]
    if not shown:
        sys.exit(f"no fakes below {results}; run make demo first")

    band = 2 * (_THUMB + _GAP) + _HEAD
    block = (1 + _MOMENTS) * (_THUMB + _GAP)
    height = _HEAD + -(-len(shown) // _COLUMNS) * band
    sheet = Image.new("RGB", (_COLUMNS * block + (_COLUMNS - 1) * _BETWEEN + _GAP, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    title = "left: source · above: driver, a rendered actor as the source is · below: fake, SYNTHETIC, made by a model"
    draw.text((_GAP, 5), title, _MARK, ImageFont.load_default(size=14))
    for number, fake in enumerate(shown):
        left = _GAP + number % _COLUMNS * (block + _BETWEEN)
        top = _HEAD + number // _COLUMNS * band
        driver, made = read_clip(clips[fake["driver_id"]]), read_clip(fake["path"])
        label = fake["action"] if fake["video_id"] in accepted else f"{fake['action']} (rejected by liveness)"
        draw.text((left, top + 4), label, _INK, ImageFont.load_default(size=14))
        top += _HEAD
        _paste(sheet, read_clip(clips[fake["source_id"]])[fake["source_frame"]], left, top + (_THUMB + _GAP) // 2)
        for place, moment in enumerate(telling_moments(driver[: len(made)])):
            x = left + (1 + place) * (_THUMB + _GAP)
            _paste(sheet, driver[moment], x, top)
            _paste(sheet, made[moment], x, top + _THUMB + _GAP)
    sheet.save(path, quality=88)
    print(f"{path}: {len(shown)} actions, {sum(fake['video_id'] in accepted for fake in shown)} of them accepted")


def telling_moments(clip: np.ndarray) -> list[int]:
    """Return four frames in order: the first, the one most unlike it, the one most unlike both, and the last."""
    small = np.stack([cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA) for frame in clip]).astype(np.float32)
    from_first = np.abs(small - small[0]).mean((1, 2, 3))
    peak = int(from_first.argmax())
    from_peak = np.abs(small - small[peak]).mean((1, 2, 3))
    other = int(np.minimum(from_first, from_peak).argmax())
    return sorted([0, peak, other, len(clip) - 1])


def _rows(results: Path, pattern: str) -> list[Row]:
    return read_rows(sorted(results.glob(pattern)))


def _paste(sheet: Image.Image, frame: np.ndarray, left: int, top: int) -> None:
    sheet.paste(Image.fromarray(frame).resize((_THUMB, _THUMB), Image.Resampling.LANCZOS), (left, top))


if __name__ == "__main__":
    main()
