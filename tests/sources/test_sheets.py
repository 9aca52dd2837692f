"""Sample sheets: parsing, validation and error messages with line numbers."""

import pytest

from deepfakemnist.config.sheets import DriverRow, SourceRow
from deepfakemnist.errors import ConfigError
from deepfakemnist.sources.sheets import read_sheet


def sheet(tmp_path, text, name="sources.tsv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_sources_get_person_and_path_from_the_sheet(tmp_path):
    path = sheet(tmp_path, "video_id\tpath\tstart_s\tend_s\nid10001#7w0#0012\tv/a b ü.mp4\t1.5\t2\n")
    (row,) = read_sheet(path, SourceRow, keep_going=False).rows
    assert row["video_id"] == "id10001#7w0#0012"
    assert row["person_id"] == "id10001"
    assert row["path"] == str(tmp_path / "v/a b ü.mp4")
    assert (row["start_s"], row["end_s"], row["role"], row["action"]) == (1.5, 2.0, "source", "")


@pytest.mark.parametrize(
    "bad",
    [
        "a/b",
        "..",
        "a..b",
        "../x",
        "",
        "a b",
        "-x",
        ".hidden",
        "a;rm",
        "$(x)",
        "ü",
        "x" * 101,
        "x.",
        "X.parquet",
        "nul",
        "Com1.mp4",
        "x.lock",
    ],
)
def test_bad_ids_are_refused_with_their_line(tmp_path, bad):
    path = sheet(tmp_path, f"video_id\tpath\ngood\ta.mp4\n{bad}\tb.mp4\n")
    with pytest.raises(ConfigError, match="sources.tsv line 3: .*video_id") as error:
        read_sheet(path, SourceRow, keep_going=False)
    if bad:
        assert repr(bad)[1:30] in str(error.value)
    kept = read_sheet(path, SourceRow, keep_going=True)
    assert [row["video_id"] for row in kept.rows] == ["good"]
    (refused,) = kept.refused
    assert refused["video_id"] == f"{bad} (line 3)".strip()
    assert (refused["status"], refused["reason"]) == ("rejected", "bad_sheet_row")
    assert "line 3" in refused["detail"]


def test_duplicate_ids_name_both_lines(tmp_path):
    path = sheet(tmp_path, "video_id\tpath\na\t1.mp4\nb\t2.mp4\na\t3.mp4\n")
    for keep_going in (False, True):
        with pytest.raises(ConfigError, match="line 4: video_id 'a' is already on line 2"):
            read_sheet(path, SourceRow, keep_going)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video_id\tfile\na\tb\n", r"line 1: .*not known: \['file'\].*missing: \['path'\]"),
        ("video_id,path\na,b\n", "separated by tabs"),
        ("video_id\tpath\n", "no usable line"),
        ("video_id\tpath\tstart_s\na\tb\tx\n", "line 2: start_s: 'x': .*number"),
        ("video_id\tpath\tstart_s\tend_s\na\tb\t3\t2\n", "line 2: .*end_s 2.0 is not after start_s 3.0"),
        ("video_id\tpath\na\n", "line 2: path: Field required"),
        ("video_id\tpath\na\tb\tc\n", "line 2: has more than the 2 columns"),
        ("video_id\tpath\tstart_s\na\tb\tnan\n", "line 2: start_s: 'nan': .*finite number"),
        ("video_id\tpath\tend_s\na\tb\tinf\n", "line 2: end_s: 'inf': .*finite number"),
        ("video_id\tpath\tend_s\na\tb\t1e300\n", "line 2: end_s: '1e300': .*less than or equal to 1000000"),
        ("video_id\tpath\na\tb\x00.mp4\n", r"line 2: path: 'b\\x00.mp4': .*control characters; rename"),
        ("video_id\tpath\na\t" + "b" * 200_000 + "\n", "sources.tsv line 2: field larger than .*at most 128 kB"),
        ("b" * 200_000, "sources.tsv line 1: field larger than .*is it the right file"),
        ("", r"line 1: the header has \[\]"),
        ("video_id\tpath\nA\t1\na\t2\n", "line 3: video_id 'a' differs from 'A' on line 2 in case alone"),
    ],
)
def test_errors_name_line_and_rule(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read_sheet(sheet(tmp_path, text), SourceRow, keep_going=False)


def test_unknown_action_lists_the_known_ones(tmp_path):
    path = sheet(tmp_path, "driver_id\taction\tpath\nd\twink\td.mp4\n", "drivers.tsv")
    with pytest.raises(ConfigError, match=r"drivers.tsv line 2: action: 'wink': .*'blink'.*'embarrassment'"):
        read_sheet(path, DriverRow, keep_going=False)


def test_quotes_crlf_bom_and_blank_lines(tmp_path):
    path = sheet(tmp_path, '\ufeffvideo_id\tpath\r\na\tsay "cheese.mp4\r\n\r\nb\tb\u2028.mp4\r\n')
    rows = read_sheet(path, SourceRow, keep_going=False).rows
    assert [row["path"] for row in rows] == [str(tmp_path / 'say "cheese.mp4'), str(tmp_path / "b\u2028.mp4")]


def test_refused_lines_have_unique_names(tmp_path):
    path = sheet(tmp_path, "video_id\tpath\ngood\ta.mp4\na/b\tb.mp4\na/b\tc.mp4\ngood2\t\ngood2\td.mp4\n")
    kept = read_sheet(path, SourceRow, keep_going=True)
    assert [row["video_id"] for row in kept.rows] == ["good", "good2"]
    assert [row["video_id"] for row in kept.refused] == ["a/b (line 3)", "a/b (line 4)", "good2 (line 5)"]


def test_a_sheet_that_is_no_text_is_named(tmp_path):
    (tmp_path / "sources.tsv").write_bytes(b"video_id\tpath\n\xff\xfe\ta.mp4\n")
    with pytest.raises(ConfigError, match=r"sheet: cannot read .*sources.tsv: 'utf-8' codec"):
        read_sheet(tmp_path / "sources.tsv", SourceRow, keep_going=True)
