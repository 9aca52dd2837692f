"""Report page on sources and drivers, and list of missing files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import report_pages

from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.report.quality_page import write_missing, write_source_page
from deepfakemnist.sources.sheets import refusal
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import CROPPED, INGESTED, Row

COLOURS = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (40, 60, 200)}


def tables(folder: Path) -> tuple[list[str], list[str]]:
    """Three crops, one of them cut, two with the same pixels; a rejected crop; two segments of a missing file."""
    ingested: list[Row] = []
    cropped: list[Row] = []
    for number, (name, colour) in enumerate(COLOURS.items()):
        path = write_working_clip(folder / f"{name}.mp4", [np.full((64, 64, 3), colour, np.uint8)] * 4, 25).path
        facts = {"video_id": name, "role": "source", "person_id": f"p-{name}", "path": str(path), "frames": 4}
        figures = {
            "face_px": 100.0 + 10 * number,
            "sharpness": 50.0 * number,
            "brightness": 90.0,
            "face_motion": 0.3,
            "cuts": "[]",
        }
        figures["face_motion"] = 0.3
        good = {"status": "ok", "reason": "", "detail": "", "pixels_sha256": "ab" if number else "cd"}
        cropped.append({**dict.fromkeys(CROPPED.names), **facts, **figures, **good})
        ingested.append({**dict.fromkeys(INGESTED.names), **facts, **good, "pixels_sha256": None})
    cropped[0] |= {
        "cuts": '[{"time_s": 1.5, "what": "shot"}]',
        "kept_from_s": 1.5,
        "kept_to_s": 4.0,
        "dropped_frames": 38,
    }
    bad = {"status": "rejected", "reason": "no_face", "detail": "no face & <nothing>"}
    cropped.append({**dict.fromkeys(CROPPED.names), "video_id": "d1", "role": "driver", **bad})
    for number in (1, 2):
        gone = {"status": "rejected", "reason": "missing_file", "detail": "gone.mp4: no such file"}
        names = {"video_id": f"p#gone#{number}", "role": "source", "person_id": "p", "path": "videos/gone.mp4"}
        ingested.append({**dict.fromkeys(INGESTED.names), **names, **gone})
    ingested = [{name: row[name] for name in INGESTED.names} for row in ingested]
    write_table(ingested, folder / "i.parquet", INGESTED)
    write_table(cropped, folder / "c.parquet", CROPPED)
    return [str(folder / "i.parquet")], [str(folder / "c.parquet")]


def test_page_counts_outcomes_and_lists_statistics(tmp_path: Path) -> None:
    ingested, cropped = tables(tmp_path)
    refused = [refusal("eve#1", "x.tsv: person_id eve: no consent", reason="excluded")]
    aside = [{"reason": "no_video_suffix", "suffix": ".jpg", "files": 7, "example": "a/b.jpg"}]
    write_source_page(ingested, cropped, refused, tmp_path / "page.html", aside, ["Demo."])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "3 of 6 videos gave a face crop" in text
    rows = report_pages.rows(tmp_path / "page.html")
    assert ["sources", "3", "3", "0"] in rows
    assert ["drivers", "0", "1", "0"] in rows
    assert ["face side, px", "source", "100", "101", "110", "119", "120"] in rows
    assert ["red", "1.50 – 4.00", "38", "shot at 1.5 s"] in rows
    assert ["blue, green", "ab"] in rows
    assert ["2", "source", "ingest: missing_file (rejected)", "The file does not exist."] in rows
    assert ["eve#1", "source", "before ingest", "excluded", "x.tsv: person_id eve: no consent"] in rows
    assert ["without a video suffix", ".jpg", "7", "a/b.jpg"] in rows
    assert any(row[:3] == ["face motion, % of face side", "source", "0.3"] for row in rows)
    assert "Demo." in report_pages.text(tmp_path / "page.html")
    assert any(row[-1] == "no face & <nothing>" for row in rows)
    assert "https://" not in text.partition("octet-stream")[0]


def test_statistics_of_sources_and_drivers_are_apart(tmp_path: Path) -> None:
    ingested, cropped = tables(tmp_path)
    driver = {**read_rows(cropped)[0], "video_id": "129", "role": "driver", "face_px": 300.0}
    write_table([driver], tmp_path / "d.parquet", CROPPED)
    write_source_page(ingested, [*cropped, str(tmp_path / "d.parquet")], [], tmp_path / "page.html")
    bars = report_pages.charts(tmp_path / "page.html")["Crop statistics"]
    assert {row["quantity"] for row in bars} == {"face side, px", "sharpness"}, "the others do not vary"
    of_driver = [row for row in bars if row["kind"] == "driver" and row["quantity"] == "face side, px"]
    assert [(row["crops"], row["share"], row["value_end"]) for row in of_driver] == [(1, 100.0, 300.0)]
    assert sum(row["crops"] for row in bars if row["kind"] == "source") == 6
    found = report_pages.tables(tmp_path / "page.html")
    assert found["Individual crops: pictures"][1][:4] == ["129", "p-red", "driver", "300"]
    assert found["Percentiles of the crop statistics"][2][:3] == ["face side, px", "driver", "300"]


def test_missing_files_are_listed_once_with_the_videos_that_need_them(tmp_path: Path) -> None:
    ingested, _ = tables(tmp_path)
    write_missing(ingested, tmp_path / "missing.tsv")
    assert (tmp_path / "missing.tsv").read_text() == (
        "path\tname\tperson_id\tvideos\tvideo_ids\nvideos/gone.mp4\tgone\tp\t2\tp#gone#1 p#gone#2\n"
    )
