"""Context-free grammars: their productions, their strings, and what may come next.

Kusner, Paige and Hernández-Lobato (2017), Grammar Variational Autoencoder, section 3.
A string is known by the productions of its leftmost derivation: each replaces the last
symbol of a stack, which begins with the start symbol, by the nonterminals on its right.
"""

import functools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

TOKEN = re.compile(r"""'[^']+'|"[^"]+"|\||[^\s'"|]+|\S""")
QUOTES = ("'", '"')


class Production(NamedTuple):
    """A rule: the nonterminal `left` may be replaced by the symbols of `right`."""

    left: str
    right: tuple[str, ...]  # a terminal has its quotes

    def __str__(self) -> str:
        return f"{self.left} -> {' '.join(self.right)}"


class Grammar(NamedTuple):
    """Productions; the first one's left side is the start symbol."""

    name: str
    productions: tuple[Production, ...]

    @property
    def start(self) -> str:
        """The nonterminal that every derivation begins with."""
        return self.productions[0].left

    @property
    def nonterminals(self) -> tuple[str, ...]:
        """The left sides, each once."""
        return tuple(dict.fromkeys(p.left for p in self.productions))


def read(name: str, text: str) -> Grammar:
    """The grammar of lines such as `sum -> sum '+' digit | digit`.

    Terminals are in quotes, single or double.  Left recursion is allowed.

    Raises ValueError, which names the grammar and the symbol, for a line of another
    form, an empty right side, a production given twice, and a nonterminal that has no
    production, is never reached, never ends or derives itself alone.

    >>> grammar = read("sums", "sum -> sum '+' digit | digit\\ndigit -> '1' | '2'")
    >>> [str(production) for production in grammar.productions[:2]]
    ["sum -> sum '+' digit", 'sum -> digit']
    """
    productions: list[Production] = []
    for line in filter(str.strip, text.splitlines()):
        tokens = TOKEN.findall(line)
        left, arrow = [*tokens, "", ""][:2]
        if arrow != "->" or not _is_name(left):
            raise ValueError(
                f"grammar {name!r}: given {line.strip()!r}, wanted NAME -> SYMBOLS"
            )
        for right in _alternatives(tokens[2:]):
            if not right:
                raise ValueError(
                    f"grammar {name!r}: given {left!r} with an empty right side, "
                    "wanted a symbol"
                )
            wrong = [s for s in right if not is_terminal(s) and not _is_name(s)]
            if wrong:
                raise ValueError(
                    f"grammar {name!r}: given the symbol {wrong[0]} of {left!r}, "
                    "wanted a name, or a terminal in quotes"
                )
            productions.append(Production(left, tuple(right)))
    grammar = Grammar(name, tuple(productions))
    _check(grammar)
    return grammar


def is_terminal(symbol: str) -> bool:
    """Whether a symbol stands for text, rather than for more symbols."""
    return len(symbol) > 2 and symbol[0] in QUOTES and symbol[-1] == symbol[0]


def text_of(terminal: str) -> str:
    """The text that a terminal stands for."""
    return terminal[1:-1]


def children(production: Production) -> tuple[str, ...]:
    """The nonterminals of the right side, in order."""
    return tuple(symbol for symbol in production.right if not is_terminal(symbol))


@functools.lru_cache
def reached(grammar: Grammar) -> Mapping[str, frozenset[str]]:
    """The nonterminals that each one may lead to, by one production or more."""
    found = {left: frozenset[str]() for left in grammar.nonterminals}
    for _ in found:
        for production in grammar.productions:
            for child in children(production):
                found[production.left] |= {child} | found[child]
    return found


@functools.lru_cache
def fewest(grammar: Grammar) -> Mapping[str, float]:
    """How many productions the shortest derivation from each nonterminal has."""
    found = dict.fromkeys(grammar.nonterminals, math.inf)
    for _ in found:  # each round settles one at least
        for production in grammar.productions:
            length = 1 + sum(found[child] for child in children(production))
            found[production.left] = min(found[production.left], length)
    return found


def derivation(
    grammar: Grammar, indices: Sequence[int]
) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yields the stack before each production, its last symbol on top, and the index.

    Raises ValueError for productions that are no whole derivation.
    """
    stack = [grammar.start]
    for place, index in enumerate(indices):
        if not stack:
            raise ValueError(
                f"productions: given {len(indices)}, wanted {place}, which end the "
                "derivation"
            )
        production = grammar.productions[index]
        if production.left != stack[-1]:
            raise ValueError(
                f"productions: given {production} at place {place}, wanted one of "
                f"{stack[-1]!r}"
            )
        yield tuple(stack), index
        stack[-1:] = reversed(children(production))
    if stack:
        raise ValueError(
            f"productions: given {len(indices)}, wanted more: {stack[-1]!r} is left"
        )


def to_string(grammar: Grammar, indices: Sequence[int]) -> str:
    """The string that productions derive.

    Raises ValueError for productions that are no whole derivation.
    """
    numbers = iter([index for _, index in derivation(grammar, indices)])
    text, stack = "", [grammar.start]
    while stack:
        symbol = stack.pop()
        if is_terminal(symbol):
            text += text_of(symbol)
        else:
            stack += reversed(grammar.productions[next(numbers)].right)
    return text


def allowed(grammar: Grammar, stack: Sequence[str], budget: int) -> np.ndarray:
    """Which productions may replace the last symbol of the stack: bool [productions].

    Those of this symbol after which the whole stack can still end within `budget`
    productions, this one counted.  So a string that is sampled always ends.
    """
    of_left, lengths = _tables(grammar)
    rest = sum(fewest(grammar)[symbol] for symbol in stack[:-1])
    return of_left[stack[-1]] & (lengths + rest <= budget)


def check_budget(grammar: Grammar, max_productions: int) -> None:
    """Raises ValueError where no string has so few productions."""
    least = fewest(grammar)[grammar.start]
    if max_productions < least:
        raise ValueError(
            f"max_productions: given {max_productions}, wanted at least {least} for "
            f"the grammar {grammar.name!r}"
        )


@functools.lru_cache
def _tables(grammar: Grammar) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Each symbol's productions, and the fewest that end after each: [productions]."""
    lefts = np.array([production.left for production in grammar.productions])
    lengths = [
        1 + sum(fewest(grammar)[child] for child in children(production))
        for production in grammar.productions
    ]
    return {left: lefts == left for left in grammar.nonterminals}, np.array(lengths)


def _alternatives(tokens: Sequence[str]) -> list[list[str]]:
    """The right sides, which bars separate."""
    found: list[list[str]] = [[]]
    for token in tokens:
        if token == "|":
            found.append([])
        else:
            found[-1].append(token)
    return found


def _is_name(symbol: str) -> bool:
    return bool(symbol) and not set(symbol) & {*QUOTES, "|"} and symbol != "->"


def _check(grammar: Grammar) -> None:
    """Raises ValueError for a grammar whose strings cannot be sampled or parsed."""
    named = f"grammar {grammar.name!r}: "
    if not grammar.productions:
        raise ValueError(f"{named}given no production, wanted one")
    lefts = grammar.nonterminals
    for number, production in enumerate(grammar.productions):
        if production in grammar.productions[:number]:
            raise ValueError(f"{named}given {production} twice, wanted it once")
        for child in children(production):
            if child not in lefts:
                raise ValueError(f"{named}{child!r} has no production, wanted one")
    start = grammar.start
    for left in lefts:
        if left not in {start} | reached(grammar)[start]:
            raise ValueError(f"{named}{left!r} is never reached from {start!r}")
        if math.isinf(fewest(grammar)[left]):
            raise ValueError(
                f"{named}{left!r} never ends: no string is derived from it"
            )
    alone = _derived_alone(grammar)
    for left in lefts:
        if left in alone[left]:
            raise ValueError(
                f"{named}{left!r} derives itself alone, so that its strings have any "
                "number of parses"
            )


def _derived_alone(grammar: Grammar) -> dict[str, set[str]]:
    """The nonterminals that may become another with nothing beside it."""
    found: dict[str, set[str]] = {left: set() for left in grammar.nonterminals}
    for _ in found:
        for left, right in grammar.productions:
            if len(right) == 1 and not is_terminal(right[0]):
                found[left] |= {right[0]} | found[right[0]]
    return found
