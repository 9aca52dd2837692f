"""Percentages with as many digits as their intervals allow, and tables without columns of one value."""

import pytest

from deepfakemnist.report.compact_tables import compact
from deepfakemnist.report.parts import Table
from deepfakemnist.report.rounding import TOO_FEW, decimals, p_value, signed_with_interval, with_interval


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (91.0, 97.1, "94.3 [91.0–97.1]"),
        (49.5, 80.0, "94 [50–80]"),
        (0.0, 100.0, "94 [0–100]"),
        (94.30, 94.34, "94.32 [94.30–94.34]"),
        (94.31999, 94.32001, "94.32 [94.32–94.32]"),
        (None, None, "94.3"),
    ],
)
def test_value_and_ends_have_two_digits_of_the_half_width(low, high, expected):
    assert with_interval(94.32, low, high) == expected


def test_without_people_enough_for_an_interval_a_percentage_is_whole():
    assert with_interval(94.32, None, None, TOO_FEW) == "94"
    assert decimals(100.0, 100.0) == 1  # an interval of no width says nothing about digits


def test_differences_have_signs_and_zero_has_none():
    assert signed_with_interval(2.14, -0.4, 4.66) == "+2.1 [−0.4 to +4.7]"
    assert signed_with_interval(-12.3, -30.0, 5.4) == "−12 [−30 to +5]"
    assert signed_with_interval(-0.04, None, None) == "0.0"


def test_p_values_have_two_digits():
    assert [p_value(p) for p in (0.0004, 0.0312, 0.312, 1.0)] == ["< 0.001", "0.031", "0.31", "1.00"]


def test_columns_with_one_value_become_a_sentence_and_empty_ones_go():
    rows = [["a", "7", "2", ""], ["b", "9", "2", ""], ["c", "9", "–", ""], ["chance", "", "", ""]]
    table = compact(Table("T", ("name", "videos", "people", "interval for"), rows, "A note."), footer=1)
    assert list(table.columns) == ["name", "videos"]
    assert table.rows == [["a", "7"], ["b", "9"], ["c", "9"], ["chance", ""]]
    assert table.note == "A note. Where measured: people: 2."
    assert compact(Table("T", ("name", "people"), [["a", "2"], ["b", "2"]])).note == "All rows: people: 2."
