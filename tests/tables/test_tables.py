import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfakemnist.tables import dataset_schemas, schemas
from deepfakemnist.tables.dataset_schemas import LEDGER
from deepfakemnist.tables.files import atomic_path, read_metadata, read_rows, write_table


def test_a_table_keeps_types_descriptions_and_metadata(tmp_path):
    path = tmp_path / "deep" / "ledger.parquet"
    row = {
        "kind": "source",
        "video_id": "a",
        "stage": "crop",
        "status": "rejected",
        "reason": "no_face",
        "detail": "0 of 5",
    }
    write_table([row], path, LEDGER, metadata={"fingerprint": "abc"})

    assert read_rows(path) == [{**row, "person_id": None, "action": None}]
    assert read_metadata(path) == {"fingerprint": "abc"}
    field = pq.read_schema(path).field("reason")
    assert field.metadata[b"description"] == b"short stable code; empty when ok"


def test_every_column_of_every_schema_is_described():
    named = {**vars(schemas), **vars(dataset_schemas)}
    found = [value for value in named.values() if isinstance(value, pa.Schema)]
    assert len(found) >= 20
    for schema in found:
        for field in schema:
            assert field.metadata and field.metadata[b"description"], field


def test_an_unknown_column_is_an_error_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="'colour'"):
        write_table([{"colour": "red"}], tmp_path / "t.parquet", LEDGER)
    assert list(tmp_path.iterdir()) == []


def test_atomic_path_keeps_the_old_file_when_the_block_fails(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as part:
        assert part.suffix == ".mp4" and part.parent == tmp_path
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.mp4"]


def test_an_atomic_file_is_readable_by_others(tmp_path):
    with atomic_path(tmp_path / "t.txt") as part:
        part.write_text("x")
    assert (tmp_path / "t.txt").stat().st_mode & 0o044 == 0o044
