"""Grammars: read, refused, and which productions may come, by brute force."""

import numpy as np
import pytest

from experiments.programs.grammar_vae import grammar as grammars
from tests.experiments.programs.grammar_vae.brute_force import (
    FINITE,
    MATCHED,
    SUMS,
    derivations,
)


def test_a_grammar_is_read_line_by_line_and_alternative_by_alternative():
    assert SUMS.start == "sum" and SUMS.nonterminals == ("sum", "part")
    assert [str(production) for production in SUMS.productions] == [
        "sum -> sum '+' part",
        "sum -> part",
        "part -> 'a'",
        "part -> '(' sum ')'",
        "part -> 'ab'",
    ]
    assert grammars.children(SUMS.productions[0]) == ("sum", "part")


def test_a_terminal_may_hold_bars_blanks_and_the_other_quote():
    grammar = grammars.read("odd", """a -> '|' " ' " a | "'" """)
    assert grammar.productions[0].right == ("'|'", '" \' "', "a")
    assert grammars.to_string(grammar, [0, 1]) == "| ' '"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "grammar 'g': given no production"),
        ("a = 'x'", "grammar 'g': given \"a = 'x'\", wanted NAME -> SYMBOLS"),
        ("a", "grammar 'g': given 'a', wanted NAME -> SYMBOLS"),
        ("'a' -> 'b'", "grammar 'g': given \"'a' -> 'b'\", wanted NAME"),
        ("a -> 'x' |", "grammar 'g': given 'a' with an empty right side"),
        ("a ->", "grammar 'g': given 'a' with an empty right side"),
        ("a -> ''", "grammar 'g': given the symbol ' of 'a', wanted a name"),
        ("a -> 'x", "grammar 'g': given the symbol ' of 'a', wanted a name"),
        ("a -> b -> 'x'", "grammar 'g': given the symbol -> of 'a'"),
        ("a -> 'x' | 'x'", "grammar 'g': given a -> 'x' twice"),
        ("a -> 'x' b", "grammar 'g': 'b' has no production"),
        ("a -> 'x'\nb -> 'y'", "grammar 'g': 'b' is never reached from 'a'"),
        ("a -> 'x' b\nb -> 'y' b", "grammar 'g': 'a' never ends"),
        ("a -> 'x' | b\nb -> 'y' b", "grammar 'g': 'b' never ends"),
        ("a -> a | 'x'", "grammar 'g': 'a' derives itself alone"),
        ("a -> b | 'x'\nb -> a | 'y'", "grammar 'g': 'a' derives itself alone"),
    ],
)
def test_a_grammar_that_cannot_be_used_is_refused_by_its_name(text, error):
    with pytest.raises(ValueError) as caught:
        grammars.read("g", text)
    assert str(caught.value).startswith(error) and "\n" not in str(caught.value)


@pytest.mark.parametrize("grammar", [SUMS, MATCHED, FINITE])
def test_productions_give_their_string_and_the_stacks_of_their_derivation(grammar):
    for indices, string in derivations(grammar, 7):
        assert grammars.to_string(grammar, indices) == string
        stacks = list(grammars.derivation(grammar, indices))
        assert [index for _, index in stacks] == list(indices)
        assert stacks[0][0] == (grammar.start,)
        for stack, index in stacks:
            assert stack[-1] == grammar.productions[index].left


@pytest.mark.parametrize("grammar", [SUMS, MATCHED, FINITE])
def test_the_shortest_derivation_is_the_shortest_by_brute_force(grammar):
    shortest = min(len(indices) for indices, _ in derivations(grammar, 7))
    assert grammars.fewest(grammar)[grammar.start] == shortest


@pytest.mark.parametrize("grammar", [SUMS, MATCHED, FINITE])
@pytest.mark.parametrize("budget", [3, 4, 6])
def test_a_production_is_allowed_exactly_if_a_short_enough_string_has_it(
    grammar, budget
):
    follow = {}  # by the productions so far: those that come next in some derivation
    for indices, _ in derivations(grammar, budget):
        for place, index in enumerate(indices):
            follow.setdefault(indices[:place], set()).add(index)
    assert len(follow) >= 2
    for indices, _ in derivations(grammar, budget):
        for place, (stack, _) in enumerate(grammars.derivation(grammar, indices)):
            allowed = grammars.allowed(grammar, stack, budget - place)
            assert set(np.flatnonzero(allowed)) == follow[indices[:place]]


@pytest.mark.parametrize(
    ("indices", "error"),
    [
        ([2], "productions: given part -> 'a' at place 0, wanted one of 'sum'"),
        ([1, 2, 2], "productions: given 3, wanted 2, which end"),
        ([0, 1, 2], "productions: given 3, wanted more: 'part' is left"),
        ([], "productions: given 0, wanted more: 'sum' is left"),
    ],
)
def test_productions_that_are_no_derivation_are_refused(indices, error):
    with pytest.raises(ValueError) as caught:
        grammars.to_string(SUMS, indices)
    assert str(caught.value).startswith(error)


def test_a_budget_without_a_string_is_refused():
    with pytest.raises(ValueError, match="max_productions: given 1, wanted at least 2"):
        grammars.check_budget(SUMS, 1)
    grammars.check_budget(SUMS, 2)
