"""Manifest loading with pandas, polars, DuckDB and Hugging Face datasets."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from small_dataset import make_dataset

from deepfakemnist.media.frames import decode_image


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    make_dataset(root)
    return root


@pytest.mark.parametrize("name", ["videos", "frames", "pairs", "ledger"])
def test_every_column_has_a_description(root: Path, name: str) -> None:
    schema = pq.read_schema(root / f"results/manifest/{name}.parquet")
    assert all(field.metadata[b"description"] for field in schema)


def test_pandas_joins_frames_and_videos(root: Path) -> None:
    videos = pd.read_parquet(root / "results/manifest/videos.parquet")
    counts = videos.query("quality == 'c23'").groupby(["label", "split"]).size()
    assert counts[1, "train"] == 2 and counts[0, "val"] == 1
    frames = pd.read_parquet(root / "results/manifest/frames.parquet").merge(videos, on=["video_id", "quality"])
    assert len(frames) == 48
    assert set(frames.columns) > {"shard_path", "action", "person_id"}


def test_polars_counts_fakes(root: Path) -> None:
    polars = pytest.importorskip("polars")
    videos = polars.scan_parquet(root / "results/manifest/videos.parquet")
    counts = videos.filter(polars.col("label") == 1).group_by("quality").len().sort("quality").collect()
    assert counts.rows() == [("c23", 4), ("c40", 4)]


def test_duckdb_joins_frames_and_their_images(root: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    manifest = root / "results/manifest"
    rows = duckdb.sql(
        f"""select v.person_id, count(*) n, min(octet_length(s.image)) smallest
        from '{manifest}/frames.parquet' f
        join '{manifest}/videos.parquet' v using (video_id, quality)
        join read_parquet('{root}/results/frames/*/*.parquet') s using (video_id, quality, frame_index)
        where v.quality = 'c40' and v.label = 1 group by 1 order by 1"""
    ).fetchall()
    assert [(person, count) for person, count, _ in rows] == [("p0", 3), ("p1", 3), ("p2", 3), ("p3", 3)]
    assert min(size for *_, size in rows) > 100


def test_datasets_library_loads_videos_and_images(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    files = {"train": str(root / "results/manifest/videos.parquet")}
    videos = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert len(videos) == 16
    assert videos.features["label"].dtype == "int8"
    assert videos.filter(lambda row: row["label"] == 1)[0]["animator"] == "fomm"
    stills = {"train": str(root / "results/frames/fake/a.parquet")}
    frames = datasets.load_dataset("parquet", data_files=stills, split="train", cache_dir=str(tmp_path))
    assert decode_image(frames[0]["image"]).shape == (48, 48, 3)
