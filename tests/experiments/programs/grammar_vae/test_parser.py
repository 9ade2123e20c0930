"""The parser against all strings of small grammars, and on strings of real ones."""

import itertools

import pytest

from experiments.programs.grammar_vae import grammar as grammars
from experiments.programs.grammar_vae import source
from experiments.programs.grammar_vae.grammars import named
from experiments.programs.grammar_vae.parser import parse
from tests.experiments.programs.grammar_vae import smiles_reader
from tests.experiments.programs.grammar_vae.brute_force import (
    AMBIGUOUS,
    FINITE,
    MATCHED,
    SUMS,
    derivations,
)


@pytest.mark.parametrize(
    ("grammar", "letters", "longest"),
    [(SUMS, "ab+()", 5), (MATCHED, "abc", 6), (FINITE, "lmrqx", 4)],
    ids=lambda value: getattr(value, "name", value),
)
def test_all_short_strings_parse_exactly_if_the_grammar_derives_them(
    grammar, letters, longest
):
    """A string of n letters has at most 2 n + 1 productions here."""
    wanted = {}
    for indices, string in derivations(grammar, 2 * longest + 1):
        assert string not in wanted  # by construction
        wanted[string] = indices
    parsed = 0
    for length in range(longest + 1):
        for string in map("".join, itertools.product(letters, repeat=length)):
            if string in wanted:
                assert parse(grammar, string) == wanted[string]
                parsed += 1
            else:
                with pytest.raises(ValueError):
                    parse(grammar, string)
    assert parsed > 5


def test_a_string_with_two_parses_is_refused_with_both():
    assert parse(AMBIGUOUS, "a+a") == (0, 1, 1)
    with pytest.raises(ValueError) as caught:
        parse(AMBIGUOUS, "a+a+a")
    assert str(caught.value) == (
        "string: given 'a+a+a', whose part 'a+a+a' the grammar 'ambiguous' derives "
        "from 'e' by e -> e '+' e, split in two ways among ('e', 'e'), wanted one parse"
    )
    grammar = grammars.read("two", "s -> 'x' s | t\nt -> 'x' | u\nu -> 'x'")
    with pytest.raises(ValueError) as caught:
        parse(grammar, "xx")
    assert "part 'x'" in str(caught.value)
    assert "from 't' by t -> 'x' and by t -> u," in str(caught.value)


def test_an_ambiguous_part_that_the_string_does_not_use_is_no_trouble():
    grammar = grammars.read(
        "unused", "s -> a 'x' | b 'y'\na -> a a | 'a'\nb -> 'a' b | 'a'"
    )
    assert parse(grammar, "aaay") == (1, 4, 4, 5)
    with pytest.raises(ValueError, match="wanted one parse"):
        parse(grammar, "aaax")


@pytest.mark.parametrize(
    ("name", "string", "error"),
    [
        ("arithmetic", "x+*3", "with '*' at position 2, wanted '(' or '1' or"),
        ("arithmetic", "x+y", "with 'y' at position 2, wanted '(' or '1' or"),
        ("arithmetic", "sin(x", "with its end at position 5, wanted ')' or '*' or"),
        ("arithmetic", "", "with its end at position 0, wanted '(' or '1' or"),
        ("arithmetic", "x x", "with ' ' at position 1, wanted '*' or '+' or '-' or"),
        ("smiles", "CC(O", "with its end at position 4, wanted ')' or"),
        ("smiles", "c1ccccc1Q", "with 'Q' at position 8, wanted"),
        ("smiles", "c1ccccc1", None),
        ("smiles", "Cl", None),
        ("smiles", "CC(=O)Oc1ccccc1C(=O)O", None),  # aspirin
    ],
)
def test_a_string_outside_is_refused_with_its_position_and_what_was_wanted(
    name, string, error
):
    if error is None:
        assert grammars.to_string(named(name), parse(named(name), string)) == string
        return
    with pytest.raises(ValueError) as caught:
        parse(named(name), string)
    message = str(caught.value)
    assert message.startswith(f"string: given {string!r} {error}")
    assert message.endswith(f" by the grammar {name!r}") and "\n" not in message


def test_what_may_also_end_is_said_to():
    with pytest.raises(ValueError, match=r"wanted '\*' or .* or its end there"):
        parse(named("arithmetic"), "x x")


def test_what_is_no_string_is_refused():
    with pytest.raises(ValueError, match="string: given 3, wanted a string"):
        parse(SUMS, 3)


def test_a_grammar_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="grammar: given 'c', wanted one of"):
        named("c")


def test_a_long_string_parses():
    string = "+".join(["(a)"] * 300)
    assert grammars.to_string(SUMS, parse(SUMS, string)) == string


@pytest.mark.parametrize("name", ["arithmetic", "smiles"])
def test_drawn_strings_parse_to_the_productions_that_made_them(name):
    """So these grammars have no string of two parses among many."""
    made = source.make(named(name), seed=5, growth=-0.7, shortest=1, longest=40)
    drawn = source.draw(made, 150, seed=5, part=0).derivations
    used = set()
    for derivation in drawn:
        string = grammars.to_string(named(name), derivation)
        assert parse(named(name), string) == derivation
        used.update(derivation)
        if name == "smiles":
            assert smiles_reader.problem(string) is None, string
    assert len(used) > 0.9 * len(named(name).productions)


def test_arithmetic_groups_as_python_does():
    """The outermost production of a string is the operation done last."""
    grammar = named("arithmetic")
    for string, last in [
        ("x+2*3", "expression -> expression '+' term"),
        ("x-2-3", "expression -> expression '-' term"),
        ("x*2/3", "term -> term '/' factor"),
        ("(x+2)*3", "term -> term '*' factor"),
    ]:
        productions = [str(grammar.productions[i]) for i in parse(grammar, string)]
        several = [p for p in productions if len(p.split()) == 5 and "(" not in p]
        assert several[0] == last


@pytest.mark.parametrize(
    "wrong", ["C1CC", "C(C", "CC)C", "O=O=O", "C=", "FC(C)(F)(F)F", "C1C1", "CX"]
)
def test_the_reader_of_molecules_finds_what_is_wrong(wrong):
    assert smiles_reader.problem(wrong) is not None
    assert smiles_reader.problem("CC(=O)Oc1ccccc1C(=O)O") is None
