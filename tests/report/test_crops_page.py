"""Report page with pictures of all crops and of what was left out."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import report_pages
from PIL import Image

from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.report.crops_page import shortened, write_crops_page
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import CROPPED, INGESTED

OK = {"status": "ok", "reason": "", "detail": ""}


def pictures(path: Path) -> dict[str, tuple[int, ...]]:
    """Return name → colour at the middle of the picture, and how large it is."""
    found = re.findall(r'<img src="data:image/webp;base64,([^"]+)" alt="frame of ([^"]+)"', path.read_text())
    images = {name: Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB") for data, name in found}
    return {name: image.getpixel((image.width // 2, image.height // 2)) for name, image in images.items()}


def clip(path: Path, *levels: int) -> str:
    write_working_clip(path, [np.full((64, 64, 3), level, np.uint8) for level in levels], 25)
    return str(path)


def test_sources_drivers_and_what_was_left_out_are_apart_each_with_its_middle_frame(tmp_path: Path) -> None:
    source = {"video_id": "s", "role": "source", "path": clip(tmp_path / "s.mp4", 0, 90, 200), "frames": 3, **OK}
    driver = {**source, "video_id": "d", "role": "driver", "action": "left_slope", "path": clip(tmp_path / "d.mp4", 40)}
    no_face = {"status": "rejected", "reason": "no_face", "detail": "in 25 of <25> frames"}
    bad = {"video_id": "bad", "role": "source", **no_face}
    crops = [{"face_px": 150.4, **source}, {**driver, "frames": 1, "face_px": 99.0}, bad]
    gone = {"video_id": "gone", "role": "driver", "path": "gone.mp4", "status": "rejected", "reason": "missing_file"}
    video = {**bad, **OK, "path": clip(tmp_path / "bad.mp4", 0, 0, 180, 180, 180, 180), "duration_s": 0.24}
    write_table([video, {**gone, "detail": ""}], tmp_path / "i.parquet", INGESTED)
    write_table(crops, tmp_path / "c.parquet", CROPPED)
    page = tmp_path / "crops.html"
    write_crops_page([str(tmp_path / "i.parquet")], [str(tmp_path / "c.parquet")], page, ["Invented."])
    levels = {name: colour[0] for name, colour in pictures(page).items()}
    assert levels.keys() == {"s", "d", "bad"}
    assert np.abs(np.subtract([levels["s"], levels["d"], levels["bad"]], [90, 40, 180])).max() <= 3
    text = report_pages.text(page)
    assert re.search(r"Sources: 1 s 150 px Drivers: 1 d left slope 99 px Left out: 2", text)
    assert "source, rejected: No face was found. in 25 of <25> frames" in text
    assert "no frame gone driver, rejected: The file does not exist." in text
    assert "Face crops Invented. The middle frame" in text


def test_of_many_crops_an_even_subset_is_shown_and_the_page_says_so(tmp_path: Path) -> None:
    path = clip(tmp_path / "s.mp4", 7)
    rows = [
        {"video_id": f"s{n:03}", "role": "source", "path": path, "frames": 1, "face_px": 1.0, **OK} for n in range(300)
    ]
    write_table([], tmp_path / "i.parquet", INGESTED)
    write_table(rows, tmp_path / "c.parquet", CROPPED)
    write_crops_page([str(tmp_path / "i.parquet")], [str(tmp_path / "c.parquet")], tmp_path / "crops.html")
    names = list(pictures(tmp_path / "crops.html"))
    assert len(names) == 120 and names[0] == "s000" and names[-1] == "s299"
    text = report_pages.text(tmp_path / "crops.html")
    assert "Sources: 300 Shown: 120, evenly spaced." in text and "Drivers: 0 None." in text


def test_long_names_are_cut_in_the_middle() -> None:
    names = [f"id00{number}#a-long-name-of-a-video#{number}" for number in range(2)]
    assert [shortened(name, 12) for name in names] == ["id000#…deo#0", "id001#…deo#1"]
    assert shortened("short", 12) == "short"
