"""The coin: closed forms, eager and compiled runs, its claims, and bad input."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, stats

from experiments.programs import beta_bernoulli as program
from tests.programs import claims_of

FLIPS = np.array([1, 0, 1, 1, 0, 1])


def joint(p):
    return np.exp(stats.bernoulli.logpmf(FLIPS, p).sum())


def test_the_closed_forms_agree_with_integrals():
    evidence, _ = integrate.quad(joint, 0, 1)
    np.testing.assert_allclose(program.log_evidence(FLIPS), np.log(evidence))
    exact = program.exact_posterior(FLIPS)
    np.testing.assert_allclose(exact.pdf(0.3), joint(0.3) / evidence)
    assert exact.mean() == 5 / 8


def test_the_best_elbo_is_the_log_evidence_less_a_divergence_by_integration():
    best = program.best_elbo(FLIPS)
    assert 0 < program.log_evidence(FLIPS) - best < 0.05

    def elbo(mean, scale):
        """Of the bias itself: E log joint - E log q, q a logit-normal density."""

        def at(odds):
            p = 1 / (1 + np.exp(-odds))
            density = stats.norm.pdf(odds, mean, scale)
            log_q = stats.norm.logpdf(odds, mean, scale) - np.log(p * (1 - p))
            return density * (np.log(joint(p)) - log_q)

        return integrate.quad(at, mean - 9 * scale, mean + 9 * scale)[0]

    around = [elbo(m, s) for m in np.linspace(0.2, 1, 9) for s in (0.7, 0.8, 0.9)]
    assert max(around) <= best + 1e-6 and best - max(around) < 0.01


def test_the_effective_share_is_one_of_equal_weights_and_less_of_others():
    assert program.effective_share(np.full(5, -30.0)) == 1.0
    np.testing.assert_allclose(
        program.effective_share(np.log([1.0, 1.0, 2.0])), 16 / 6 / 3
    )


def test_the_compiled_run_makes_the_same_flips():
    compiled = tf.function(lambda: program.drawn(20, 3), autograph=False)
    flips = program.drawn(20, 3)
    assert flips.shape == (20,)
    np.testing.assert_array_equal(compiled(), flips)
    assert program.log_joint_error(FLIPS, 0.4) < 1e-5


@pytest.mark.slow
def test_the_tiny_config_runs_and_its_claims_hold(tmp_path):
    made = claims_of("beta_bernoulli_tiny", tmp_path / "run")
    assert len(made) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_flips": 0}, "num_flips: given 0, wanted a whole number of at least 1"),
        ({"num_draws": 5}, "num_draws: given 5, wanted a whole number of at least 100"),
        ({"num_steps": 0}, "num_steps: given 0, wanted"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        program.run(run_dir=tmp_path, seed=0, dry_run=True, **changes)
