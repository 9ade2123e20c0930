"""Numbers, Markdown tables and CSV files."""

import pytest

from experiments.report import tables
from experiments.report.ratios import Outcome, Spread


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567.0, "1,234,567"),
        (201.04, "201"),
        (68.44, "68.4"),
        (8.0, "8.00"),
        (0.86, "0.860"),
        (0.01234, "0.0123"),
    ],
)
def test_numbers_keep_three_digits(value, text):
    assert tables.number(value) == text


def test_a_range_is_shown_where_there_is_one():
    assert tables.with_range(Spread(9.0, 10.0, 11.0), "x") == "10.0x (9.00-11.0)"
    assert tables.with_range(Spread(10.0, 10.0, 10.0), "x") == "10.0x"
    assert tables.with_range(None, "x") == "-"


def test_csv_has_ten_digits_whole_counts_and_empty_fields():
    lines = [
        {"n": 92878667776, "x": 1 / 3, "y": 201.0, "text": "a, b"},
        {"n": None, "x": None, "y": None, "text": None},
    ]
    assert tables.csv_text(lines) == (
        'n,x,y,text\n92878667776,0.3333333333,201,"a, b"\n,,,\n'
    )


def test_the_finding_counts_targets_and_names_those_not_reached():
    half = Spread(0.5, 0.5, 0.5)
    outcomes = [
        Outcome("a", "at most 1x", half, True, ""),
        Outcome("b", "at least 60%", half, False, ""),
        Outcome("c", "at most 1x", None, False, "not run"),
    ]
    assert tables.target_finding(outcomes) == (
        "Targets reached: 1 of 3. Not reached: b: 50.0 %, target at least 60%. "
        "Not measured: 1."
    )
    assert "| c | at most 1x | - | not measured (not run) |" in tables.target_table(
        outcomes
    )
