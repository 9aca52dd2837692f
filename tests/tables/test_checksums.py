"""Checksums of tables: every altered byte is found, and a damaged table is named together with what to do."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfakemnist.tables.checksums import DamagedTable, recorded_checksum, verify_table
from deepfakemnist.tables.dataset_schemas import LEDGER
from deepfakemnist.tables.files import count_rows, read_metadata, read_rows, write_table

ROWS = [{"kind": "fake", "video_id": f"s{number}@d", "status": "ok", "detail": "checksum"} for number in range(40)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_table(ROWS, tmp_path / "ledger.parquet", LEDGER, {"fingerprint": "ab" * 32})
    return tmp_path / "ledger.parquet"


def test_an_intact_table_carries_its_checksum_and_keeps_its_rows_and_metadata(table: Path) -> None:
    checksum = verify_table(table)
    assert checksum == recorded_checksum(table)
    assert checksum is not None and len(checksum) == 64
    assert [row["video_id"] for row in read_rows(table)] == [row["video_id"] for row in ROWS]
    assert read_metadata(table) == {"fingerprint": "ab" * 32}
    assert count_rows(table) == 40


def test_equal_tables_have_equal_bytes(table: Path, tmp_path: Path) -> None:
    write_table(ROWS, tmp_path / "again.parquet", LEDGER, {"fingerprint": "ab" * 32})
    assert (tmp_path / "again.parquet").read_bytes() == table.read_bytes()


def test_every_single_altered_byte_is_found(table: Path) -> None:
    content = table.read_bytes()
    rng = np.random.default_rng(16)
    for at in range(len(content)):
        altered = bytearray(content)
        altered[at] ^= 1 << int(rng.integers(8))
        table.write_bytes(altered)
        with pytest.raises(DamagedTable):
            verify_table(table)


def test_an_altered_page_is_found_by_whoever_reads_it(table: Path) -> None:
    content = bytearray(table.read_bytes())
    column = pq.read_metadata(table).row_group(0).column(LEDGER.names.index("video_id"))
    start = column.dictionary_page_offset or column.data_page_offset
    content[start + column.total_compressed_size - 1] ^= 1  # the last byte of the chunk: data, not a page's header
    table.write_bytes(content)
    with pytest.raises(DamagedTable, match="do not match its checksum"):
        read_rows(table)
    assert len(read_rows(table, ["kind"])) == 40, "other columns are read as before"


@pytest.mark.parametrize("kept", [0, 3, 11, 100, -1])
def test_an_empty_or_cut_table_is_named_with_what_to_do(table: Path, kept: int) -> None:
    table.write_bytes(table.read_bytes()[:kept])
    what = "is empty" if kept == 0 else "was cut short"
    for read in (verify_table, recorded_checksum, read_rows, read_metadata, count_rows):
        with pytest.raises(DamagedTable, match=f"ledger.parquet: .*{what}.*`deepfakemnist repair` lists"):
            read(table)


def test_a_table_without_a_checksum_is_readable_and_said_to_have_none(tmp_path: Path) -> None:
    path = tmp_path / "old.parquet"
    pq.write_table(pa.table({"detail": ["checksum", "checksum_method"]}), path)
    assert verify_table(path) is None
    assert recorded_checksum(path) is None
    assert len(read_rows(path)) == 2


def test_what_is_copied_is_what_was_verified(table: Path) -> None:
    copy = io.BytesIO()
    verify_table(table, copy)
    assert copy.getvalue() == table.read_bytes()


def test_other_errors_keep_their_type(table: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_rows(table.with_name("gone.parquet"))
    with pytest.raises(pa.ArrowInvalid, match="colour"):
        read_rows(table, ["colour"])
