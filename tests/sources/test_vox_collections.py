"""VoxCeleb adapters: a synthetic collection yields its true boxes; missing videos become rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_vox import FRAMES, SmallVox

from deepfakemnist.config.stages import CropSettings, SourceSettings
from deepfakemnist.errors import ConfigError, Failed
from deepfakemnist.faces.crop import crop_shard
from deepfakemnist.faces.track import Box, iou
from deepfakemnist.media.decode import read_clip, read_frames
from deepfakemnist.media.ingest import ingest_shard
from deepfakemnist.sources.read import read_sources
from deepfakemnist.sources.vox_metadata import read_vox_metadata
from deepfakemnist.sources.voxceleb1 import read_annotation, read_voxceleb1
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import Row

pytestmark = pytest.mark.slow


def run(tmp_path: Path, sources: dict[str, object], **crop: object) -> tuple[dict[str, Row], dict[str, Row]]:
    """Ingest and crop; rows by id."""
    sheet = read_sources(SourceSettings(**sources))
    ingest_shard(sheet.rows, tmp_path / "i.parquet", "c0de", read_annotation=read_annotation)
    settings = CropSettings(min_face_px=20, **crop)
    crop_shard(tmp_path / "i.parquet", tmp_path / "c.parquet", tmp_path / "crops", settings=settings, code="c0de")
    tables = (read_rows(tmp_path / name) for name in ("i.parquet", "c.parquet"))
    ingested, cropped = ({row["video_id"]: row for row in rows} for rows in tables)
    return ingested, cropped


def union(boxes: np.ndarray) -> Box:
    left, top = boxes[:, :2].min(axis=0)
    right, bottom = (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    return (left, top, right - left, bottom - top)


def box_of(row: Row) -> Box:
    return (row["box_left"], row["box_top"], row["box_width"], row["box_height"])


def test_vox_metadata(vox: SmallVox, tmp_path: Path) -> None:
    paths = {"csv": vox.folder / "vox-metadata.csv", "videos": vox.folder / "videos"}
    ingested, cropped = run(tmp_path, {"vox_metadata": paths}, policy="vox-metadata")
    assert set(ingested) == {"id1#v25_-a#000010#000040", "id2#v30#000005#000045", "id2#gone#000000#000030"}
    gone = ingested["id2#gone#000000#000030"]
    assert (gone["status"], gone["reason"]) == ("rejected", "missing_file")
    assert gone["path"] == str(vox.folder / "videos" / "gone.mp4")
    for video_id, name, rate, start, end in (
        ("id1#v25_-a#000010#000040", "v25_-a", 25, 10, 40),
        ("id2#v30#000005#000045", "v30", 30, 5, 45),
    ):
        row, facts = cropped[video_id], ingested[video_id]
        kept = [i for i in range(FRAMES) if start * rate <= i * 25 < end * rate]
        assert (row["status"], row["policy"], row["frames"]) == ("ok", "vox-metadata", end - start)
        assert (facts["adapter"], facts["person_id"], facts["frames"]) == ("vox-metadata", video_id[:3], len(kept))
        assert iou(box_of(row), union(vox.boxes[name][kept])) >= 0.95
        # exactly the frames that the annotation rule selects
        stored = list(read_frames(facts["path"], start_s=facts["start_s"], end_s=facts["end_s"]))
        whole = read_clip(facts["path"])
        assert len(stored) == len(kept) and all(np.array_equal(a, whole[i]) for a, i in zip(stored, kept, strict=True))


def test_an_annotated_box_can_be_squared(vox: SmallVox, tmp_path: Path) -> None:
    paths = {"csv": vox.folder / "vox-metadata.csv", "videos": vox.folder / "videos"}
    _, cropped = run(tmp_path, {"vox_metadata": paths}, policy="square-track", margin=0.0)
    row = cropped["id1#v25_-a#000010#000040"]
    left, top, width, height = union(vox.boxes["v25_-a"][10:40])
    side = max(width, height)
    square = (left + (width - side) / 2, top + (height - side) / 2, side, side)
    assert iou(box_of(row), square) >= 0.95


def test_voxceleb1(vox: SmallVox, tmp_path: Path) -> None:
    paths = {"txt": vox.folder / "txt", "videos": vox.folder / "videos"}
    ingested, cropped = run(tmp_path, {"voxceleb1": paths}, policy="vox-metadata")
    assert {name: row["reason"] for name, row in ingested.items()} == {
        "id1#v25_-a#00001": "", "id2#gone#00001": "missing_file"
    }  # fmt: skip
    facts, row = ingested["id1#v25_-a#00001"], cropped["id1#v25_-a#00001"]
    assert (facts["start_s"], facts["end_s"], row["frames"]) == (8 / 25, 48 / 25, 40)
    truth = vox.boxes["v25_-a"][8:48]
    overlaps = [iou(tuple(box[1:]), tuple(known)) for box, known in zip(facts["boxes"], truth, strict=True)]
    assert min(overlaps) >= 0.95
    assert iou(box_of(row), union(truth)) >= 0.95
    assert row["face_fraction"] == 1.0


def test_a_bad_csv_line_becomes_a_refused_row(vox: SmallVox) -> None:
    sheet = read_vox_metadata(vox.folder / "vox-metadata.csv", vox.folder / "videos")
    details = {row["video_id"]: row["detail"] for row in sheet.refused}
    assert set(details) == {"bad (line 5)", "v30 (line 6)"}
    assert "vox-metadata.csv line 5: start 10, end 5" in details["bad (line 5)"]
    assert "id2#v30#000005#000045 is already on line 3" in details["v30 (line 6)"]


@pytest.mark.parametrize(
    ("column", "value"),
    [("fps", "nan"), ("fps", "inf"), ("width", "inf"), ("height", "nan"), ("bbox", "nan-0-9-9"), ("bbox", "0-0-inf-9"),
     ("start", "9" * 5000), ("end", "9" * 400), ("video_id", "../v"), ("person_id", "/etc"), ("bbox", None)],
)  # fmt: skip
def test_hostile_csv_values_become_refused_rows(vox: SmallVox, tmp_path: Path, column: str, value: str | None) -> None:
    row = {"video_id": "v", "start": "0", "end": "9", "bbox": "0-0-9-9", "fps": "25", "width": "99", "height": "99"}
    lines = [{**row, "person_id": "id1"}, {**row, "person_id": "id2", column: value}]
    text = "\n".join([",".join(lines[0]), *(",".join(cell for cell in one.values() if cell) for one in lines)])
    (tmp_path / "a.csv").write_text(text)
    sheet = read_vox_metadata(tmp_path / "a.csv", vox.folder / "videos")
    assert [row["person_id"] for row in sheet.rows] == ["id1"]
    (refused,) = sheet.refused
    assert "a.csv line 3: " in refused["detail"]


def test_unusable_collections_say_what_is_wrong(vox: SmallVox, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("video_id,start\nx,1\n")
    with pytest.raises(ConfigError, match=r"a\.csv line 1: columns \['end', 'bbox', .* are missing"):
        read_vox_metadata(tmp_path / "a.csv", vox.folder)
    with pytest.raises(ConfigError, match=r"sources\.vox_metadata\.videos: .*none' is not a folder"):
        read_vox_metadata(vox.folder / "vox-metadata.csv", tmp_path / "none")
    (tmp_path / "long.csv").write_text("video_id," * 20_000)
    with pytest.raises(ConfigError, match=r"sources\.vox_metadata\.csv: .*long\.csv line 1: columns|are missing"):
        read_vox_metadata(tmp_path / "long.csv", vox.folder)
    with pytest.raises(ConfigError, match="no <person>/<video>/<utterance>.txt below"):
        read_voxceleb1(tmp_path, vox.folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n2\n3\n4\n5\n6\nFRAME \tX \tY \tW \n", r"no table with columns .* on line 7"),
        ("1\n2\n3\n4\n5\n6\nFRAME \tX \tY \tW \tH \n", "no box below the header"),
        ("1\n2\n3\n4\n5\n6\nFRAME \tX \tY \tW \tH \n1\t2\t3\tx\t5\n", "line 8: .*'x'"),
        ("1\n2\n3\n4\n5\n6\nFRAME \tX \tY \tW \tH \n2\t2\t3\t4\t5\n1\t2\t3\t4\t5\n", "line 9: .*ascending frames"),
        ("", "no table"),
    ],
)
def test_bad_annotations_fail_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "00001.txt").write_text(text)
    with pytest.raises(Failed, match=f"bad_annotation: .*00001.txt.*{message}|bad_annotation: .*{message}"):
        read_annotation(tmp_path / "00001.txt")


def test_exactly_one_source_is_required() -> None:
    with pytest.raises(ValueError, match="vox_metadata, voxceleb1 and released, not none of them"):
        SourceSettings()
    with pytest.raises(ValueError, match="cropped requires sheet or folder"):
        SourceSettings(voxceleb1={"txt": "a", "videos": "b"}, cropped=True)
