"""Every constructor's density and gradient, as far as docs/distributions.md says."""

import re

import pytest

import ppl_core as ppl
from tests.ppl_core.constructors.cases import CASES, OTHERS
from tests.ppl_core.constructors.search import ranges
from tests.ppl_core.constructors.table import HEADER, PAGE, found, row


def lines():
    text = PAGE.read_text("utf-8")
    rows = text[text.index(HEADER) + len(HEADER) :].splitlines()
    return {line.split("|")[1].strip(): line for line in rows}


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_constructor_has_a_line_and_a_case():
    # Terms of a program (`deterministic`, `factor`) are functions, in lower case.
    names = {
        name
        for name, member in vars(ppl).items()
        if hasattr(member, "makes_random_variable") and name[0].isupper()
    }
    assert set(CASES) | set(OTHERS) == names
    assert list(lines()) == sorted(names)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_constructor_is_right_as_far_as_its_line_says(name):
    """The line is what the search finds, or says less than that.

    A range may end one step later on another machine, whose rounding differs.
    """
    claimed, actual = cells(lines()[name]), cells(row(name))
    assert claimed[:3] == actual[:3]
    of_values, of_latent = found(name)
    for cell, key, of in (
        (3, "x", of_values),
        (4, "u", of_latent),
        (5, None, of_values),
    ):
        assert ("all" in claimed[cell]) + (" to " in claimed[cell]) > 0 or of is None
        for dtype in ("float64", "float32"):
            if of is not None:
                assert_covers(ranges(of, dtype), claims(claimed[cell], dtype), key)


def claims(cell, dtype):
    """The ranges of a cell for one dtype, by argument ("" where the cell has one)."""
    for part in cell.split(";"):
        of, _, text = part.rpartition(":")
        if of.strip() in ("", dtype):
            spans = re.findall(r"(\w*) ?(\S+) to ([^\s,]+)", text)
            return {key: (float(low), float(high)) for key, low, high in spans}
    raise AssertionError(f"{cell} lacks {dtype}")


def assert_covers(actual, claimed, key):
    """Whether all of what is not claimed otherwise is right, and the claimed ranges."""
    for name, (low, high, is_all) in actual.items():
        if (name == key) if key else name not in ("x", "u"):
            span = claimed.get("" if key else name)
            if span is None:
                assert is_all, (name, low, high)
            else:
                # The page has three digits.
                assert low <= span[0] + 0.01 * abs(span[0]), name
                assert high >= span[1] - 0.01 * abs(span[1]), name


def test_the_others_say_why_they_are_not_searched():
    for name in OTHERS:
        assert lines()[name] == row(name)
