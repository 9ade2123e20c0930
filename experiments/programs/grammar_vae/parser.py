"""A string's productions: Earley's parser, for any grammar without empty right sides.

Earley (1970), An efficient context-free parsing algorithm, section 3.  Left recursion
is no trouble.  A string with two parses is refused: whether a grammar has such a string
cannot be decided in general, so that each string is asked.
"""

from collections.abc import Iterator
from typing import NamedTuple

from experiments.programs.grammar_vae.grammar import (
    Grammar,
    children,
    is_terminal,
    text_of,
)


class _Item(NamedTuple):
    """A production of which the symbols before `dot` were read from `first` on."""

    index: int
    dot: int
    first: int


class _Span(NamedTuple):
    """A symbol that derives the string from `first` to before `last`."""

    symbol: str
    first: int
    last: int


def parse(grammar: Grammar, string: str) -> tuple[int, ...]:
    """The productions of the string's leftmost derivation, by index.

    Raises ValueError for a string that the grammar does not have, with the position and
    what was wanted there, and for one that it has in two ways, with both productions.
    """
    if not isinstance(string, str):
        raise ValueError(f"string: given {string!r}, wanted a string")
    completed = _completed(grammar, string)
    ends: dict[tuple[str, int], set[int]] = {}
    for index, first, last in completed:
        ends.setdefault((grammar.productions[index].left, first), set()).add(last)
    found: list[int] = []
    stack = [_Span(grammar.start, 0, len(string))]
    while stack:
        span = stack.pop()
        ways = [
            (index, split)
            for index, production in enumerate(grammar.productions)
            if production.left == span.symbol
            and (index, span.first, span.last) in completed
            for split in _splits(production.right, string, span.first, span.last, ends)
        ]
        if len(ways) > 1:
            raise ValueError(_two_ways(grammar, string, span, [i for i, _ in ways]))
        index, split = ways[0]
        found.append(index)
        stack += reversed(split)
    return tuple(found)


def _completed(grammar: Grammar, string: str) -> set[tuple[int, int, int]]:
    """Every production that derives a part of the string: index, first, last.

    Raises ValueError for a string that the grammar does not have.
    """
    of_left: dict[str, list[int]] = {}
    for index, production in enumerate(grammar.productions):
        of_left.setdefault(production.left, []).append(index)
    items: list[set[_Item]] = [set() for _ in range(len(string) + 1)]
    items[0] = {_Item(index, 0, 0) for index in of_left[grammar.start]}
    completed = set()

    def symbol_after(item: _Item) -> str | None:
        right = grammar.productions[item.index].right
        return right[item.dot] if item.dot < len(right) else None

    for position, here in enumerate(items):
        waiting = list(here)
        while waiting:
            item = waiting.pop()
            symbol = symbol_after(item)
            new = []
            if symbol is None:
                completed.add((item.index, item.first, position))
                left = grammar.productions[item.index].left
                # No right side is empty, so the items there are all known.
                for other in items[item.first]:
                    if symbol_after(other) == left:
                        new.append(other._replace(dot=other.dot + 1))
            elif is_terminal(symbol):
                text = text_of(symbol)
                if string.startswith(text, position):
                    moved = item._replace(dot=item.dot + 1)
                    items[position + len(text)].add(moved)
            else:
                new = [_Item(index, 0, position) for index in of_left[symbol]]
            for item in new:
                if item not in here:
                    here.add(item)
                    waiting.append(item)
    whole = [(index, 0, len(string)) for index in of_left[grammar.start]]
    if not completed.intersection(whole):
        last = max(position for position, here in enumerate(items) if here)
        wanted = {symbol_after(item) for item in items[last]}
        texts = sorted({repr(text_of(s)) for s in wanted if s and is_terminal(s)})
        if any((index, 0, last) in completed for index in of_left[grammar.start]):
            texts.append("its end")
        given = f"{string[last]!r}" if last < len(string) else "its end"
        raise ValueError(
            f"string: given {string!r} with {given} at position {last}, wanted "
            f"{' or '.join(texts)} there, by the grammar {grammar.name!r}"
        )
    return completed


def _splits(
    symbols: tuple[str, ...],
    string: str,
    first: int,
    last: int,
    ends: dict[tuple[str, int], set[int]],
) -> Iterator[tuple[_Span, ...]]:
    """Yields the ways in which symbols cover a part of the string: nonterminals' spans.

    ends: where what a symbol derives from a position on may end.
    """
    if not symbols:
        if first == last:
            yield ()
        return
    symbol, rest = symbols[0], symbols[1:]
    if is_terminal(symbol):
        if string.startswith(text_of(symbol), first):
            after = first + len(text_of(symbol))
            yield from _splits(rest, string, after, last, ends)
        return
    for end in sorted(ends.get((symbol, first), ())):
        if end <= last:
            for more in _splits(rest, string, end, last, ends):
                yield (_Span(symbol, first, end), *more)


def _two_ways(grammar: Grammar, string: str, span: _Span, indices: list[int]) -> str:
    """The message for a string with two parses."""
    one, other = (grammar.productions[index] for index in indices[:2])
    part = string[span.first : span.last]
    ways = f"by {one} and by {other}"
    if one == other:
        ways = f"by {one}, split in two ways among {children(one)}"
    return (
        f"string: given {string!r}, whose part {part!r} the grammar {grammar.name!r} "
        f"derives from {span.symbol!r} {ways}, wanted one parse"
    )
