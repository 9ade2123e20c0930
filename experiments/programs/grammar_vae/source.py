"""Where the strings come from: random derivations, each in a style of its own.

A string's style is two standard normal numbers.  They move the probabilities of every
nonterminal's productions together, so that what a string begins with tells something of
how it goes on.  A grammar's probabilities alone cannot say that; a latent variable can.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from experiments.programs.grammar_vae.grammar import (
    Grammar,
    check_budget,
    children,
    reached,
)
from experiments.training.checks import check_number

STYLES = 2  # numbers of a style
SPREAD = 1.5  # of a production's log odds over the styles
NODES = 32  # of the quadrature, in each direction
MOST_TRIES = 1000  # a string that is wanted; beyond, the lengths do not fit


class Source(NamedTuple):
    """A distribution of strings of a grammar."""

    grammar: Grammar
    log_odds: np.ndarray  # [productions]
    directions: np.ndarray  # [productions, styles]
    shortest: int  # productions that a string has at least
    longest: int


class Drawn(NamedTuple):
    """Derivations by their productions, and the share of them that were kept."""

    derivations: tuple[tuple[int, ...], ...]
    kept: float  # shorter and longer ones are drawn anew, with their style


def make(
    grammar: Grammar, *, seed: int, growth: float, shortest: int, longest: int
) -> Source:
    """A source of strings, with random directions.

    growth: what is added to a production's log odds for each nonterminal on its right
      that may lead back to its left.
    shortest, longest: the productions of a string.

    Raises ValueError where no string is as short, and for numbers that do not fit.
    """
    check_budget(grammar, longest)
    check_number("growth", growth)
    if shortest > longest:
        raise ValueError(
            f"shortest: given {shortest}, wanted at most max_productions, {longest}"
        )
    random = np.random.default_rng([seed, 0])
    returns = [
        sum(
            production.left == child or production.left in reached(grammar)[child]
            for child in children(production)
        )
        for production in grammar.productions
    ]
    directions = random.normal(
        scale=SPREAD / STYLES**0.5, size=[len(grammar.productions), STYLES]
    )
    log_odds = growth * np.array(returns, float)
    return Source(grammar, log_odds, directions, shortest, longest)


def draw(source: Source, num: int, *, seed: int, part: int) -> Drawn:
    """`num` derivations, independent of those of another part.

    Raises ValueError where hardly any has a length that is wanted.
    """
    random = np.random.default_rng([seed, 1, part])
    found: list[tuple[int, ...]] = []
    tries = 0
    while len(found) < num:
        styles = random.normal(size=[num, STYLES])
        for log_probs in _log_probs(source, styles):
            tries += 1
            derivation = _derive(source, np.exp(log_probs).tolist(), random)
            if derivation:
                found.append(derivation)
                if len(found) == num:
                    break
        if tries > MOST_TRIES * (len(found) + 1):
            raise ValueError(
                f"growth: of {tries} strings {len(found)} had {source.shortest} to "
                f"{source.longest} productions, wanted more"
            )
    return Drawn(tuple(found), num / tries)


def bits(
    source: Source, derivations: Sequence[Sequence[int]], kept: float
) -> np.ndarray:
    """-log2 of each derivation's probability, over all styles: [derivations].

    By Gauss-Hermite quadrature over the style.

    kept: the share of derivations whose length is wanted.
    """
    points, weights = np.polynomial.hermite_e.hermegauss(NODES)
    styles = np.stack(np.meshgrid(points, points, indexing="ij"), -1).reshape(-1, 2)
    log_weights = np.log(np.outer(weights, weights).reshape(-1) / (2 * np.pi))
    size = len(source.grammar.productions)
    counts = np.array([np.bincount(d, minlength=size) for d in derivations])
    log_probs = counts @ _log_probs(source, styles).T + log_weights
    return -(logsumexp(log_probs, axis=1) - np.log(kept)) / np.log(2)


def _log_probs(source: Source, styles: np.ndarray) -> np.ndarray:
    """Log prob of each production given its left side: [number of styles, productions].

    styles: [number of styles, 2].
    """
    log_odds = source.log_odds + styles @ source.directions.T
    lefts = np.array([production.left for production in source.grammar.productions])
    for left in source.grammar.nonterminals:
        own = log_odds[:, lefts == left]
        log_odds[:, lefts == left] = own - logsumexp(own, axis=1, keepdims=True)
    return log_odds


def _derive(
    source: Source, probs: list[float], random: np.random.Generator
) -> tuple[int, ...]:
    """A derivation; empty for one whose length is not wanted."""
    of_left: dict[str, list[int]] = {}
    for index, production in enumerate(source.grammar.productions):
        of_left.setdefault(production.left, []).append(index)
    derivation: list[int] = []
    stack = [source.grammar.start]
    uniform = iter(random.random(source.longest).tolist())
    while stack:
        if len(derivation) + len(stack) > source.longest:
            return ()
        choices = of_left[stack.pop()]
        rest = next(uniform)
        for index in choices:
            rest -= probs[index]
            chosen = index  # the last one, where rounding leaves some
            if rest < 0:
                break
        derivation.append(chosen)
        stack += reversed(children(source.grammar.productions[chosen]))
    return tuple(derivation) if len(derivation) >= source.shortest else ()
