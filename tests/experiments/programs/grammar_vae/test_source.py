"""The source of strings: a distribution, and draws from it."""

import numpy as np
import pytest
from scipy import stats

from experiments.programs.grammar_vae import source
from experiments.programs.grammar_vae.grammars import named
from tests.experiments.programs.grammar_vae.brute_force import (
    FINITE,
    SUMS,
    derivations,
)


def made(grammar, shortest=1, longest=9, growth=-0.5):
    return source.make(
        grammar, seed=4, growth=growth, shortest=shortest, longest=longest
    )


def test_the_probabilities_of_all_strings_add_up_to_one():
    every = [indices for indices, _ in derivations(FINITE, 9)]
    assert 5 < len(every) < 50
    probs = 2.0 ** -source.bits(made(FINITE), every, 1.0)
    np.testing.assert_allclose(probs.sum(), 1.0, rtol=1e-9)


def test_draws_have_these_probabilities():
    every = [indices for indices, _ in derivations(FINITE, 9)]
    wanted = 2.0 ** -source.bits(made(FINITE), every, 1.0)
    drawn = source.draw(made(FINITE), 4000, seed=8, part=0)
    assert drawn.kept == 1.0
    counts = np.array([drawn.derivations.count(indices) for indices in every])
    assert counts.sum() == 4000
    assert stats.chisquare(counts, 4000 * wanted).pvalue > 1e-4


@pytest.mark.parametrize(("strength", "least", "most"), [(0.0, 0.8, 1.2), (3.0, 2, 9)])
def test_a_style_makes_the_productions_of_a_string_alike(strength, least, most):
    """How many letters of a string are 'a', of which the others are 'ab'.

    Without styles the number is binomial.
    """
    directions = np.zeros((5, source.STYLES))
    directions[2] = strength
    strings = made(SUMS, longest=30)._replace(directions=directions)
    drawn = source.draw(strings, 3000, seed=2, part=0).derivations
    counts = np.array([np.bincount(d, minlength=5)[[2, 4]] for d in drawn])
    counts = counts[counts.sum(1) >= 3]
    share = counts[:, 0].sum() / counts.sum()
    off = counts[:, 0] - share * counts.sum(1)
    binomial = share * (1 - share) * counts.sum(1)
    assert len(counts) > 200
    assert least < np.mean(off**2 / binomial) < most


def test_lengths_are_kept_to_and_the_share_of_draws_that_have_them():
    limited = made(SUMS, shortest=4, longest=8)
    drawn = source.draw(limited, 2000, seed=3, part=0)
    lengths = [len(derivation) for derivation in drawn.derivations]
    assert min(lengths) == 4 and max(lengths) == 8
    fitting = [d for d, _ in derivations(SUMS, 8) if len(d) >= 4]
    kept = np.sum(2.0 ** -source.bits(limited, fitting, 1.0))
    error = (kept * (1 - kept) / (2000 / kept)) ** 0.5
    assert abs(drawn.kept - kept) < 4 * error
    np.testing.assert_allclose(np.sum(2.0 ** -source.bits(limited, fitting, kept)), 1.0)


def test_parts_are_other_draws_and_a_seed_repeats_them():
    some = source.draw(made(SUMS), 50, seed=3, part=0)
    assert some == source.draw(made(SUMS), 50, seed=3, part=0)
    assert some != source.draw(made(SUMS), 50, seed=3, part=1)
    assert some != source.draw(made(SUMS), 50, seed=4, part=0)


def test_lengths_that_hardly_a_string_has_are_refused():
    with pytest.raises(ValueError, match="growth: of .* strings 0 had 300 to 310"):
        source.draw(
            made(named("arithmetic"), 300, 310, growth=-20.0), 2, seed=0, part=0
        )
    with pytest.raises(ValueError, match="max_productions: given 2, wanted at least"):
        made(named("arithmetic"), 1, 2)
