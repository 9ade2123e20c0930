"""The table of planted bugs fits the code: each can be planted, and has its tests."""

import ast

import pytest

from tests.mutations.harness import BUGS, REPO, planted


def test_every_bug_is_found_once_and_leaves_python():
    assert len({bug.name for bug in BUGS}) == len(BUGS)
    for bug in BUGS:
        text = planted((REPO / bug.file).read_text(), bug)
        ast.parse(text)
        assert bug.tests


def test_every_test_named_is_there():
    for bug in BUGS:
        path, _, name = bug.tests[0].partition("::")
        text = (REPO / path).read_text()
        assert f"def {name.partition('[')[0]}" in text, bug.name


@pytest.mark.parametrize("times", [0, 2])
def test_a_text_not_found_exactly_once_is_an_error_that_names_the_bug(times):
    with pytest.raises(ValueError, match=f"{BUGS[0].name}: .* {times} times, wanted"):
        planted(BUGS[0].before * times, BUGS[0])
