"""Import of clips rendered elsewhere: tables, faults of clips, and what is recorded, on real files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfakemnist.animate.rendered import import_rendered_shards
from deepfakemnist.animate.rendered_table import (
    COLUMNS,
    clips_of_table,
    read_rendered_clips,
    surplus_clips,
)
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.config.base import MediaLimits
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import pair_id
from deepfakemnist.media.decode import read_clip
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.tables.files import read_rows, read_table, write_table
from deepfakemnist.tables.schemas import ANIMATED, PLANNED

SIDE, FRAMES, FPS, PAIRS = 32, 5, 25.0, 20
SHA256 = "a" * 64


def picture(number: int, side: int = SIDE, height: int | None = None) -> np.ndarray:
    """Return a smooth picture (height, side, 3) of its own for each number."""
    small = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(small, (side, height or side), interpolation=cv2.INTER_LINEAR)


class Run:
    """A shard of planned pairs s0@d, s1@d, …, and the table of their clips, rendered twice as large as the crop."""

    def __init__(self, folder: Path, suffix: str = ".csv", with_files: bool = True) -> None:
        self.folder, self.table = folder, folder / f"made/clips{suffix}"
        self.settings = animator_settings(name="rendered", label="rendered-sora", clips=self.table, source_frame=0)
        self.clips = [self.listed(number) for number in range(PAIRS)]
        self.table.parent.mkdir()
        if not with_files:
            return
        plan = []
        for number in range(PAIRS):
            source = folder / f"crops/s{number}.mp4"
            write_working_clip(source, [picture(number)] * 2, FPS)
            write_working_clip(folder / f"made/clips/s{number}.mp4", self.frames(number), FPS)
            plan.append(self.planned(number, source))
        write_table(plan, folder / "plan.parquet", PLANNED)

    def frames(self, number: int, count: int = FRAMES, side: int = 2 * SIDE) -> list[np.ndarray]:
        return [picture(100 * number + frame, side) for frame in range(count)]

    def planned(self, number: int, source: Path) -> dict:
        return {
            "video_id": pair_id(f"s{number}", "d"), "source_id": f"s{number}", "driver_id": "d",
            "person_id": f"p{number}", "driver_person_id": "q", "action": "yaw", "split": "train", "round": 1,
            "plan_order": number, "animator": "rendered-sora", "source_path": str(source),
            "source_pixels_sha256": "0" * 64, "motion_path": "d.mp4", "motion_frames": FRAMES,
            "status": "ok", "reason": "", "detail": "",
        }  # fmt: skip

    def listed(self, number: int) -> dict[str, str]:
        return {
            "source_id": f"s{number}", "driver_id": "d", "action": "yaw", "path": f"clips/s{number}.mp4",
            "animator": "sora", "licence": "terms of May 2026", "weights_sha256": "",
        }  # fmt: skip

    def clip(self, number: int) -> Path:
        return self.folder / f"made/clips/s{number}.mp4"

    def write_table(self) -> None:
        if self.table.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(self.clips), self.table)
            return
        mark = "," if self.table.suffix == ".csv" else "\t"
        lines = [mark.join(COLUMNS), *(mark.join(row[name] for name in COLUMNS) for row in self.clips)]
        self.table.write_text("\n".join(lines) + "\n")

    def imported(self, limits: MediaLimits | None = None) -> dict[str, dict]:
        self.write_table()
        clips_of_table.cache_clear()
        table = self.folder / "animate/shard.parquet"
        import_rendered_shards(
            {self.folder / "plan.parquet": self.folder / "animate/shard"},
            table,
            self.settings,
            fps=FPS,
            code="c0de",
            max_failed_fraction=0.1,
            limits=limits,
        )
        assert read_table(table).schema.names == ANIMATED.names
        return {row["source_id"]: row for row in read_rows(table)}

    def surplus(self) -> dict[str, str]:
        clips_of_table.cache_clear()
        found = surplus_clips([self.settings], read_rows(self.folder / "plan.parquet"))
        return {row["video_id"]: row["reason"] for row in found}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_twenty_clips_with_five_faults(run: Run) -> None:
    del run.clips[3]
    run.clips.append({**run.listed(0), "driver_id": "unknown"})
    write_working_clip(run.clip(5), run.frames(5, FRAMES - 1), FPS)
    write_working_clip(run.clip(6), run.frames(6), 24.0)
    run.clip(7).write_bytes(run.clip(7).read_bytes()[:900])
    rows = run.imported()
    bad = {name: (row["status"], row["reason"]) for name, row in rows.items() if row["status"] != "ok"}
    assert bad == {
        "s3": ("rejected", "not_rendered"),
        "s5": ("rejected", "length_differs"),
        "s6": ("rejected", "other_rate"),
        "s7": ("failed", "truncated"),
    }
    assert "4 frames; the driver has 5" in rows["s5"]["detail"]
    assert "24 frames per second; crop.fps sets 25" in rows["s6"]["detail"]
    assert run.surplus() == {"s0@unknown (line 21)": "not_planned"}


def test_a_clip_is_reduced_to_the_size_of_the_crop_and_its_row_says_where_it_came_from(run: Run) -> None:
    row = run.imported()["s1"]
    expected = [cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in run.frames(1)]
    assert np.array_equal(read_clip(row["path"]), np.stack(expected))
    assert (row["animator"], row["animator_licence"], row["checkpoint_sha256"]) == (
        "rendered-sora",
        "terms of May 2026",
        "",
    )
    assert (row["motion_mode"], row["mouth_from"], row["rendered_size"]) == ("rendered", "source", 2 * SIDE)
    unknown = ("adapt_scale", "start_frame", "align_corners", "precision", "framing", "reproducible_pixels")
    assert [row[name] for name in unknown] == [None] * len(unknown)


@pytest.mark.parametrize(
    ("size", "reason"), [((2 * SIDE, SIDE), "not_square"), ((SIDE - 2, SIDE - 2), "frame_size"), (None, "missing_file")]
)
def test_clips_of_another_shape_and_missing_files_are_rejected(run: Run, size, reason: str) -> None:
    if size is None:
        run.clip(2).unlink()
    else:
        write_working_clip(run.clip(2), [picture(frame, *size) for frame in range(FRAMES)], FPS)
    rows = run.imported()
    assert [name for name, row in rows.items() if row["status"] != "ok"] == ["s2"]
    assert (rows["s2"]["status"], rows["s2"]["reason"]) == ("rejected", reason)


def test_a_clip_above_the_limits_is_not_decoded_further(run: Run) -> None:
    write_working_clip(run.clip(2), run.frames(2, 8 * FRAMES), FPS)
    rows = run.imported(MediaLimits(frames=4 * FRAMES))
    assert [(name, row["reason"]) for name, row in rows.items() if row["reason"]] == [("s2", "over_limit")]


def test_only_what_has_changed_is_imported_again(run: Run) -> None:
    times = {name: Path(row["path"]).stat().st_mtime_ns for name, row in run.imported().items()}
    write_working_clip(run.clip(4), run.frames(44), FPS)
    run.clip(9).touch()
    for row in run.clips:
        row["licence"] = "terms of June 2026"
    rows = run.imported()
    changed = [name for name, row in rows.items() if Path(row["path"]).stat().st_mtime_ns != times[name]]
    assert changed == ["s4"]
    assert {row["animator_licence"] for row in rows.values()} == {"terms of June 2026"}
    run.clips[8]["path"] = "clips/gone.mp4"
    assert run.imported()["s8"]["reason"] == "missing_file"
    del run.clips[8]
    assert run.imported()["s8"]["reason"] == "not_rendered"
    run.clips.append(run.listed(8))
    assert run.imported()["s8"]["status"] == "ok"


@pytest.mark.parametrize("suffix", [".tsv", ".parquet"])
def test_tables_may_be_tab_separated_or_parquet(tmp_path: Path, suffix: str) -> None:
    run = Run(tmp_path, suffix)
    assert {row["status"] for row in run.imported().values()} == {"ok"}
    assert run.surplus() == {}


def test_rows_that_give_no_fake_are_listed(run: Run) -> None:
    run.clips += [
        {**run.listed(1), "path": "clips/s2.mp4"},
        {**run.listed(2), "animator": "soar"},
        {**run.listed(3), "action": "pitch"},
    ]
    first = run.imported()["s1"]
    assert run.surplus() == {
        "s1@d (line 22)": "duplicate_pair",
        "s2@d (line 23)": "unknown_animator",
        "s3@d (line 24)": "not_planned",
    }
    assert np.abs(read_clip(first["path"])[0].astype(int) - picture(100).astype(int)).mean() < 8


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("source_id", "../up", r"clips\.csv line 3: source_id: id '\.\./up' is not allowed"),
        ("driver_id", "", "line 3: driver_id: id '' is not allowed"),
        ("weights_sha256", "12", "line 3: weights_sha256 '12' is not 64 digits"),
        ("weights_sha256", SHA256, "line 3: weights_sha256 of animator sora differs from that on line 2"),
        ("animator", "", "line 3: animator is empty"),
        ("path", "a\x1b.mp4", "line 3: path must not contain control characters"),
        ("licence", "a,b", "line 3: has more than the 7 columns"),
    ],
)
def test_bad_cells_are_named_with_file_and_line(tmp_path: Path, column: str, value: str, message: str) -> None:
    run = Run(tmp_path, with_files=False)
    run.clips[1][column] = value
    run.write_table()
    with pytest.raises(ConfigError, match=message):
        read_rendered_clips(run.table)


def test_missing_columns_and_tables_are_named(tmp_path: Path) -> None:
    run = Run(tmp_path, with_files=False)
    run.table.write_text("source_id,driver_id,path\n")
    with pytest.raises(ConfigError, match=r"line 1: .*missing: \['action', 'animator', 'licence', 'weights_sha256'\]"):
        read_rendered_clips(run.table)
    run.table.unlink()
    with pytest.raises(ConfigError, match=r"clips\.csv does not exist yet. `deepfakemnist plan export OUT`"):
        import_rendered_shards({}, run.folder / "t.parquet", run.settings, FPS, "c0de", 1.0)


def test_settings_name_a_table(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name: rendered needs clips"):
        animator_settings(name="rendered")
    with pytest.raises(ValueError, match=r"must end in \.csv, \.tsv or \.parquet"):
        animator_settings(name="rendered", clips="clips.xlsx")
    with pytest.raises(ValueError, match="label sora must be rendered or begin with rendered-"):
        animator_settings(name="rendered", label="sora", clips="clips.csv")
