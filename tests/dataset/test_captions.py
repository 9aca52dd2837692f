"""Captions: licences beside the manifest."""

from deepfakemnist.dataset.captions import add_captions, write_captions
from deepfakemnist.tables.files import read_rows

VIDEOS = [{"video_id": "a@d", "source_id": "a"}, {"video_id": "b", "source_id": "b"}]


def test_videos_get_the_licence_of_their_source(tmp_path):
    sources = [
        {"source_id": "b", "person_id": "p", "licence": None},
        {"source_id": "a", "person_id": "q", "licence": "CC0-1.0"},
    ]
    write_captions(sources, tmp_path / "captions.parquet")
    assert read_rows(tmp_path / "captions.parquet") == [
        {"source_id": "a", "person_id": "q", "licence": "CC0-1.0"},
        {"source_id": "b", "person_id": "p", "licence": ""},
    ]
    assert [row["licence"] for row in add_captions(VIDEOS, tmp_path)] == ["CC0-1.0", ""]


def test_a_manifest_without_captions_keeps_its_own_column(tmp_path):
    earlier = [{**VIDEOS[0], "licence": "MIT"}, VIDEOS[1]]
    assert [row["licence"] for row in add_captions(earlier, tmp_path)] == ["MIT", ""]
