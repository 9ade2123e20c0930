"""The baselines: counts by hand, and distributions over all strings."""

import numpy as np

from experiments.programs.grammar_vae import baselines
from tests.experiments.programs.grammar_vae.brute_force import FINITE, derivations

# top -> left right (0) | left (1); left -> 'l' (2) | 'm' right (3);
# right -> 'r' (4) | 'q' (5) | 'l' (6)
TRAINING = [(0, 2, 4), (0, 2, 4), (0, 3, 5, 5), (1, 2)]


def test_the_parents_of_productions_are_those_that_brought_them():
    assert baselines.parents(FINITE, (0, 3, 5, 6)) == [
        ("top", -1, 0),
        ("left", 0, 0),
        ("right", 3, 0),
        ("right", 0, 1),
    ]


def test_bits_are_those_of_smoothed_counts():
    found = baselines.bits(FINITE, TRAINING, [(0, 2, 4)])
    # 12 productions, of 7 kinds: 3, 3 and 2 times; and by left side 4, 4 and 4 times.
    unigram = [4 / 19, 4 / 19, 3 / 19]
    grammar = [3.5 / 5, 3.5 / 5, (2 + 1 / 3) / 5]
    # Below production 0: 3 in place 0, with production 2 twice; 3 in place 1, with
    # production 4 twice.
    parent = [
        (3 + 10 * grammar[0]) / 14,
        (2 + 10 * grammar[1]) / 13,
        (2 + 10 * grammar[2]) / 13,
    ]
    for name, probs in [("unigram", unigram), ("grammar", grammar), ("parent", parent)]:
        np.testing.assert_allclose(found[name], [-np.sum(np.log2(probs))])


def test_the_probabilities_of_all_strings_add_up_to_one():
    every = [indices for indices, _ in derivations(FINITE, 9)]
    found = baselines.bits(FINITE, TRAINING, every)
    for name in ("grammar", "parent"):
        np.testing.assert_allclose(np.sum(2.0 ** -found[name]), 1.0)
    assert np.sum(2.0 ** -found["unigram"]) < 1  # it also has what is no string
