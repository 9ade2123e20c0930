"""What productions cost without a latent variable, by their counts in other strings.

unigram: how often a production occurs, whatever is to be replaced.
grammar: how often it occurs for the nonterminal that it replaces, which makes a
  probabilistic context-free grammar.
parent: the same, given also the production that brought the nonterminal and its place
  there: Johnson (1998), PCFG models of linguistic tree representations, section 2.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from experiments.programs.grammar_vae.grammar import Grammar, children

BACK_OFF = 10.0  # what the grammar's probabilities count for beside a parent's counts


def bits(
    grammar: Grammar,
    training: Sequence[Sequence[int]],
    held_out: Sequence[Sequence[int]],
) -> dict[str, np.ndarray]:
    """-log2 of each held-out derivation's probability, by baseline: [derivations].

    Counts are smoothed, so that no production is impossible.
    """
    num = len(grammar.productions)
    counts = np.bincount(np.concatenate(training), minlength=num)
    unigram = (counts + 1) / (counts.sum() + num)
    lefts = np.array([production.left for production in grammar.productions])
    same_left = lefts == lefts[:, np.newaxis]
    by_left = (counts + 1 / same_left.sum(1)) / (same_left @ counts + 1)

    places = [zip(parents(grammar, d), d, strict=True) for d in training]
    by_place = Counter(entry for places_of_one in places for entry in places_of_one)
    totals: Counter[tuple[str, int, int]] = Counter()
    for (place, _), count in by_place.items():
        totals[place] += count

    def given_parent(derivation: Sequence[int]) -> list[float]:
        return [
            (by_place[place, index] + BACK_OFF * by_left[index])
            / (totals[place] + BACK_OFF)
            for place, index in zip(
                parents(grammar, derivation), derivation, strict=True
            )
        ]

    return {
        name: np.array([-np.log2(probs_of(d)).sum() for d in held_out])
        for name, probs_of in (
            ("unigram", lambda d: unigram[list(d)]),
            ("grammar", lambda d: by_left[list(d)]),
            ("parent", given_parent),
        )
    }


def parents(grammar: Grammar, derivation: Sequence[int]) -> list[tuple[str, int, int]]:
    """Of each production: its left side, the production above it, and its place there.

    -1 is above the first.
    """
    found = []
    stack = [(grammar.start, -1, 0)]
    for index in derivation:
        found.append(stack.pop())
        own = children(grammar.productions[index])
        stack += reversed([(child, index, place) for place, child in enumerate(own)])
    return found
