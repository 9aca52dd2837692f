"""Contact sheet of the report."""

import numpy as np
import pytest
from PIL import Image

from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.report.contact_sheet import write_contact_sheet
from deepfakemnist.tables.dataset_schemas import VIDEOS
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import CROPPED


@pytest.mark.parametrize(("source_frame", "animated"), [(4, 4), (None, 0), (7, 0)])
def test_contact_sheet_shows_source_driver_and_fake(tmp_path, source_frame, animated):
    """The source by the frame that was animated; the first if that is unknown, or was cut off from the real clip."""
    colours = {"s": (255, 0, 0), "d": (0, 255, 0), "s@d": (0, 0, 255)}
    other = np.full((64, 64, 3), 99, np.uint8)
    for name, colour in colours.items():
        frames = [np.full((64, 64, 3), colour, np.uint8)] * 7
        if name == "s":
            frames = [frame if number == animated else other for number, frame in enumerate(frames)]
        write_working_clip(tmp_path / f"{name}.mp4", frames, 25.0)
    real = {
        "video_id": "s",
        "label": 0,
        "quality": "raw",
        "action": "",
        "source_id": "s",
        "path": str(tmp_path / "s.mp4"),
    }
    fake = {**real, "video_id": "s@d", "label": 1, "action": "yaw", "driver_id": "d", "path": str(tmp_path / "s@d.mp4")}
    fake["source_frame"] = source_frame
    write_table([real, fake], tmp_path / "videos.parquet", VIDEOS)
    crop = {"video_id": "d", "path": str(tmp_path / "d.mp4"), "status": "ok"}
    write_table([crop], tmp_path / "crop.parquet", CROPPED)
    write_contact_sheet(tmp_path / "videos.parquet", [tmp_path / "crop.parquet"], tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    thumbs = {
        name: int((np.abs(sheet.astype(int) - colour).max(-1) < 8).sum() / 128**2) for name, colour in colours.items()
    }
    assert thumbs == {"s": 1, "d": 6, "s@d": 6}


def test_contact_sheet_without_a_fake_shows_a_message(tmp_path):
    write_table([], tmp_path / "videos.parquet", VIDEOS)
    write_contact_sheet(tmp_path / "videos.parquet", [], tmp_path / "sheet.png")
    assert np.asarray(Image.open(tmp_path / "sheet.png")).std() > 1
