"""A contact sheet: for every action a real source, the driver, and the fake that came of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.media.decode import read_clip
from deepfakemnist.tables.files import atomic_path, read_rows
from deepfakemnist.tables.schemas import OK, Row

_THUMB = 128
_GAP = 6
_LABEL = 150
_HEAD = 30
_MOMENTS = 6
_INK, _PAPER, _MARK = (20, 20, 20), (255, 255, 255), (176, 0, 32)


def write_contact_sheet(videos: Path, driver_crops: Sequence[Path], path: Path) -> None:
    """Write a PNG with one band per action: the source's frame, and below each other driver and fake at equal times.

    Args:
        videos: the manifest's videos.parquet; the first quality of the config is shown.
        driver_crops: CROPPED tables of the drivers.
        path: PNG to write. It says on its face that the fakes are synthetic.
    """
    rows = read_rows(videos)
    drivers = {row["video_id"]: row["path"] for row in read_rows(driver_crops) if row["status"] == OK}
    reals = {row["video_id"]: row for row in reversed(rows) if row["label"] == 0}
    bands = [fake for action in ACTIONS if (fake := _example(rows, action, reals))]

    width = _LABEL + (1 + _MOMENTS) * (_THUMB + _GAP) + _GAP
    band_height = 2 * (_THUMB + _GAP) + _GAP
    sheet = Image.new("RGB", (width, _HEAD + max(len(bands), 1) * band_height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=14)
    draw.text((_LABEL, 7), "source (real)", _INK, font)
    draw.text(
        (_LABEL + _THUMB + _GAP, 7), "above: driver (real) · below: fake, SYNTHETIC, made by a model", _MARK, font
    )
    for number, fake in enumerate(bands):
        top = _HEAD + number * band_height
        draw.text((_GAP, top + 8), fake["action"], _INK, ImageFont.load_default(size=17))
        draw.text((_GAP, top + 34), _wrap(fake["source_id"]), _INK, ImageFont.load_default(size=11))
        draw.line((0, top, width, top), fill=(220, 220, 220))
        if fake["driver_id"] in drivers:
            source = read_clip(reals[fake["source_id"]]["path"])
            _paste(sheet, source[0], _LABEL, top + _GAP)
            _paste_row(sheet, read_clip(drivers[fake["driver_id"]]), top + _GAP)
        else:
            draw.text((_LABEL, top + 8), "source or driver not at hand; the fake alone", _INK, font)
        _paste_row(sheet, read_clip(fake["path"]), top + _THUMB + 2 * _GAP)
    if not bands:
        draw.text((_LABEL, _HEAD + 20), "no fake was accepted", _MARK, font)
    with atomic_path(path) as part:
        sheet.save(part, format="PNG")


def _example(rows: Sequence[Row], action: str, reals: dict[str, Row]) -> Row | None:
    """Return a fake whose source is there too, or one of which neither source nor driver is known."""
    shown = (row for row in rows if row["source_id"] in reals or not row["driver_id"])
    return next((row for row in shown if row["action"] == action), None)


def _paste_row(sheet: Image.Image, clip: np.ndarray, top: int) -> None:
    for moment, index in enumerate(np.linspace(0, len(clip) - 1, _MOMENTS).round().astype(int)):
        _paste(sheet, clip[index], _LABEL + (1 + moment) * (_THUMB + _GAP), top)


def _paste(sheet: Image.Image, frame: np.ndarray, left: int, top: int) -> None:
    sheet.paste(Image.fromarray(frame).resize((_THUMB, _THUMB), Image.Resampling.LANCZOS), (left, top))


def _wrap(text: str, length: int = 20) -> str:
    return "\n".join(text[start : start + length] for start in range(0, len(text), length))
