"""Frame extraction: lossless pixels, the same frames at every quality."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from made_clips import ramp
from PIL import Image
from skimage import data

from deepfakemnist.config.dataset import FrameSettings
from deepfakemnist.dataset.face_boxes import best_face
from deepfakemnist.media.decode import read_clip
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.frames import (
    FindFace,
    decode_image,
    encode_image,
    evenly_spaced,
    frames_shard,
    sampled_frames,
    square_around,
)
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import COMPRESSED, FRAMES, Row

pytestmark = pytest.mark.numeric


def encoded_row(folder: Path, video_id: str, quality: str, pictures: list[np.ndarray], **changes: object) -> Row:
    """Write a clip; return its row of ``tables.COMPRESSED``."""
    clip = write_working_clip(folder / quality / f"{video_id}.mp4", pictures, 25)
    facts = {"path": str(clip.path), "frames": clip.frames, "fps": 25.0, "pixels_sha256": clip.pixels_sha256}
    status = {"status": "ok", "reason": "", "detail": ""}
    return {"video_id": video_id, "label": 1, "quality": quality, **facts, **status, **changes}


def extract(
    folder: Path, rows: list[Row], per_clip: int, find_face: FindFace | None = None, **settings: object
) -> Path:
    write_table(rows, folder / "compressed.parquet", COMPRESSED)
    table = folder / "frames.parquet"
    options = {"settings": FrameSettings(per_clip=per_clip, **settings), "find_face": find_face, "code": "c0de"}
    frames_shard(folder / "compressed.parquet", table, folder / "parts", **options)
    return table


@pytest.mark.parametrize(
    ("total", "count", "indices"),
    [(10, 1, [5]), (10, 2, [2, 7]), (10, 5, [1, 3, 5, 7, 9]), (3, 16, [0, 1, 2]), (16, 16, list(range(16)))],
)
def test_evenly_spaced(total: int, count: int, indices: list[int]) -> None:
    assert evenly_spaced(total, count) == indices


def test_evenly_spaced_is_even() -> None:
    for total in range(20, 60):
        steps = np.diff([-1, *evenly_spaced(total, 20)])
        assert steps.max() - steps.min() <= 1 or total % 20 == 0


def test_image_is_lossless(moving: np.ndarray) -> None:
    odd = moving[3, :33, :47]
    assert encode_image(odd)[:4] == b"RIFF" and encode_image(odd)[8:16] == b"WEBPVP8L"
    assert np.array_equal(decode_image(encode_image(odd)), odd)


def test_table_holds_the_same_frames_of_every_quality(tmp_path: Path, moving: np.ndarray) -> None:
    clips = {"raw": [*moving], "c23": [*(moving // 2)]}
    rows = [
        encoded_row(tmp_path, video_id, quality, clip) for video_id in ("a", "b") for quality, clip in clips.items()
    ]
    table = extract(tmp_path, rows, per_clip=4)
    made = read_rows(table)
    assert [(row["video_id"], row["quality"], row["frame_index"]) for row in made] == [
        (video_id, quality, index) for video_id in "ab" for quality in clips for index in (1, 4, 7, 10)
    ]
    assert {(row["label"], row["width"], row["height"], row["status"]) for row in made} == {(1, 64, 64, "ok")}
    assert [row["time_s"] for row in made[:4]] == [0.04, 0.16, 0.28, 0.4]
    for row in made:
        assert np.array_equal(decode_image(row["image"]), clips[row["quality"]][row["frame_index"]])
    assert not [*(tmp_path / "parts").iterdir()]


def test_small_row_groups_and_uncompressed_images(tmp_path: Path) -> None:
    rows = [encoded_row(tmp_path, "a", quality, ramp(40)) for quality in ("raw", "c23")]
    file = pq.ParquetFile(extract(tmp_path, rows, per_clip=40))
    assert file.schema_arrow.equals(FRAMES)
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    assert sum(group.num_rows for group in groups) == 80
    assert max(group.num_rows for group in groups) <= 16
    image = groups[0].column(FRAMES.names.index("image"))
    assert image.path_in_schema == "image"
    assert image.compression == "UNCOMPRESSED"
    assert "DICTIONARY" not in " ".join(image.encodings)


def test_a_bad_clip_is_one_row(tmp_path: Path) -> None:
    rows = [
        encoded_row(tmp_path, "uneven", "raw", ramp(9)),
        encoded_row(tmp_path, "uneven", "c23", ramp(8)),
        encoded_row(tmp_path, "short", "raw", ramp(5), frames=9),
        encoded_row(tmp_path, "gone", "raw", ramp(5)),
        encoded_row(tmp_path, "refused", "raw", ramp(5), status="failed", reason="corrupt"),
        encoded_row(tmp_path, "good", "raw", ramp(5)),
    ]
    Path(rows[3]["path"]).unlink()
    made = read_rows(extract(tmp_path, rows, per_clip=3))
    assert [(row["video_id"], row["frame_index"], row["status"], row["reason"]) for row in made] == [
        ("uneven", -1, "failed", "length_differs"),
        ("short", -1, "failed", "length_differs"),
        ("gone", -1, "failed", "missing_file"),
        *(("good", index, "ok", "") for index in (0, 2, 4)),
    ]
    assert made[0]["detail"] == "frames per quality: {'raw': 9, 'c23': 8}"
    assert made[0]["image"] is None


def test_a_short_clip_yields_all_its_frames(tmp_path: Path) -> None:
    row = encoded_row(tmp_path, "a", "raw", ramp(3))
    made = read_rows(extract(tmp_path, [row], per_clip=16))
    assert [int(decode_image(one["image"]).mean()) for one in made] == [0, 3, 6]
    assert np.array_equal(decode_image(made[2]["image"]), read_clip(row["path"])[2])


def test_times_come_from_the_file(tmp_path: Path, run_ffmpeg: Callable[..., Path]) -> None:
    """Imported clips may have uneven times: the third frame of this one comes 0.48 s late."""
    late = "setpts=N/25/TB+if(gte(N\\,2)\\,0.48/TB\\,0)"
    words = ("-vf", late, "-fps_mode", "passthrough", "-c:v", "libx264", "-bf", "0")
    path = run_ffmpeg(*words, tmp_path / "uneven.mp4", frames=ramp(4))
    row = {**encoded_row(tmp_path, "a", "raw", ramp(4)), "path": str(path)}
    made = read_rows(extract(tmp_path, [row], per_clip=4))
    assert [one["time_s"] for one in made] == pytest.approx([0, 0.04, 0.56, 0.6], abs=1e-3)


def test_sampling_policies() -> None:
    def indices(policy: str, video_id: str = "v", total: int = 40) -> list[int]:
        return sampled_frames(video_id, total, FrameSettings(per_clip=4, policy=policy))

    assert indices("even") == [5, 15, 25, 35]
    assert indices("first") == [0, 1, 2, 3]
    assert indices("all") == list(range(40))
    sampled = indices("random")
    assert sampled == sorted(set(sampled)) and len(sampled) == 4 and max(sampled) < 40
    assert indices("random") == sampled != indices("random", "w")
    assert all(indices(policy, total=3) == [0, 1, 2] for policy in ("even", "first", "random", "all"))


def test_square_around_a_face() -> None:
    assert square_around((40, 30, 20, 30), 1.3, 100, 100) == (30, 26, 39, 39)  # round(49.5 - 19.5), 30 + 15 - 19.5
    assert square_around((-10, 80, 30, 30), 1.0, 100, 100) == (0, 70, 30, 30)
    assert square_around((0, 0, 90, 90), 2.0, 120, 100) == (0, 0, 100, 100)


def test_faces_are_detected_once_and_misses_flagged(tmp_path: Path, moving: np.ndarray) -> None:
    """Faces in the first two sampled frames of raw; the detector would answer differently for c23."""
    clips = {"raw": [*moving], "c23": [*(moving // 2)]}
    rows = [encoded_row(tmp_path, "a", quality, clip) for quality, clip in clips.items()]
    seen: list[np.ndarray] = []

    def find(picture: np.ndarray) -> tuple[float, float, float, float] | None:
        seen.append(picture)
        return {1: (10.0, 20.0, 20.0, 10.0), 2: (12.0, 20.0, 20.0, 10.0)}.get(len(seen))

    made = read_rows(extract(tmp_path, rows, 4, find, region="face", face_scale=1.5))
    assert len(seen) == 4 and all(np.array_equal(seen[at], moving[index]) for at, index in enumerate((1, 4, 7, 10)))
    for quality, part in (("raw", made[:4]), ("c23", made[4:])):
        assert [row["face_found"] for row in part] == [True, True, False, False]
        assert [(row["region_left"], row["region_top"]) for row in part] == [(5, 10), (7, 10), (7, 10), (7, 10)]
        for row in part:
            left = row["region_left"]
            assert (row["width"], row["height"]) == (30, 30)
            cut = clips[quality][row["frame_index"]][10:40, left : left + 30]
            assert np.array_equal(decode_image(row["image"]), cut)


def test_a_clip_without_a_face_is_kept_uncropped_and_flagged(tmp_path: Path, moving: np.ndarray) -> None:
    made = read_rows(
        extract(tmp_path, [encoded_row(tmp_path, "a", "raw", [*moving])], 2, lambda _: None, region="face")
    )
    assert [(row["face_found"], row["width"], row["status"]) for row in made] == [(False, 64, "ok")] * 2


def test_png_files_are_written_on_request(tmp_path: Path, moving: np.ndarray) -> None:
    extract(tmp_path, [encoded_row(tmp_path, "a", "raw", [*moving])], 2, png=True)
    files = sorted((tmp_path / "parts/png").rglob("*.png"))
    assert [path.relative_to(tmp_path / "parts/png").as_posix() for path in files] == [
        "raw/a/0003.png",
        "raw/a/0009.png",
    ]
    with Image.open(files[1]) as image:
        assert np.array_equal(np.array(image), moving[9])


def test_the_real_detector_finds_the_face(tmp_path: Path) -> None:
    """Eileen Collins's portrait, which scikit-image ships; her face fills the region."""
    portrait = cv2.resize(data.astronaut()[:256, 96:352], (128, 128), interpolation=cv2.INTER_AREA)
    (row,) = read_rows(
        extract(tmp_path, [encoded_row(tmp_path, "a", "raw", [portrait] * 3)], 1, best_face(), region="face")
    )
    assert row["face_found"]
    assert 40 < row["width"] == row["height"] < 110
    middle = (row["region_left"] + row["width"] / 2, row["region_top"] + row["height"] / 2)
    assert abs(middle[0] - 64) < 15 and abs(middle[1] - 55) < 20
