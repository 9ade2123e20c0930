import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from scipy.special import logsumexp

import ppl_core as ppl
from experiments.programs import bayesian_neural_net as bnn
from tests.programs import claims_of

HIDDEN = 3


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    x = random.normal(size=[20, 2])
    return x, np.sin(x[:, 0]) + 0.1 * random.normal(size=20)


@pytest.fixture(scope="module")
def draws():
    random = np.random.default_rng(1)
    shapes = {"w1": [2, HIDDEN], "b1": [HIDDEN], "w2": [HIDDEN], "b2": []}
    values = {name: random.normal(size=[5, *shape]) for name, shape in shapes.items()}
    return {**values, "noise": random.uniform(0.5, 1, size=5)}


def test_predictions_are_those_of_the_program(data, draws):
    x, y = data
    mean, noise = bnn.predicted(draws, x)
    for i in range(5):
        values = {name: part[i].astype(np.float32) for name, part in draws.items()}
        with ppl.condition(**values), ppl.tape() as variables:
            bnn.network(tf.constant(x, tf.float32), HIDDEN)
        np.testing.assert_allclose(variables["y"].distribution.loc, mean[i], rtol=1e-4)
        np.testing.assert_allclose(
            variables["y"].distribution.scale, noise[i], rtol=1e-6
        )


def test_scores_are_those_of_the_mixture_of_all_draws(data, draws):
    x, y = data
    mean, noise = bnn.predicted(draws, x)
    log_density, level = bnn.scores(draws, x, y)
    each = stats.norm.pdf(y, mean, noise)
    np.testing.assert_allclose(log_density, np.log(each.mean(0)))
    np.testing.assert_allclose(level, stats.norm.cdf(y, mean, noise).mean(0))


def test_linear_regression_is_averaged_over_its_posterior(data):
    """Draws of the posterior: s^2 from its inverse chi-squared, then the slope."""
    x, y = data
    design = np.column_stack([np.ones(15), x[:15]])
    random = np.random.default_rng(2)
    slope, residual, *_ = np.linalg.lstsq(design, y[:15])
    variance = residual[0] / random.chisquare(15 - 3, 20_000)
    root = np.linalg.cholesky(np.linalg.inv(design.T @ design))
    noise = random.normal(size=[20_000, 3]) @ root.T
    slopes = slope + np.sqrt(variance)[:, np.newaxis] * noise
    mean = slopes @ np.column_stack([np.ones(5), x[15:]]).T
    spread = np.sqrt(variance)[:, np.newaxis]
    wanted = logsumexp(stats.norm.logpdf(y[15:], mean, spread), axis=0) - np.log(20_000)
    log_density, level = bnn.linear(x[:15], y[:15], x[15:], y[15:])
    np.testing.assert_allclose(log_density, wanted, atol=0.05)
    wanted = stats.norm.cdf(y[15:], mean, spread).mean(0)
    np.testing.assert_allclose(level, wanted, atol=0.02)


def test_each_row_is_held_out_once():
    parts = bnn.folds(11, 3, seed=0)
    assert sorted(np.concatenate(parts)) == list(range(11))
    assert [len(part) for part in parts] == [4, 4, 3]


@pytest.mark.slow
def test_the_ensemble_is_of_modes(data):
    x, y = data
    posterior = ppl.posterior(
        bnn.network, x, HIDDEN, observed={"y": y}, dtype=tf.float32
    )
    found = bnn.by_ensemble(posterior, 0, num_members=4, num_steps=5000)
    vectors = posterior.unconstrain({name: tf.constant(found[name]) for name in found})
    _, grad = posterior.log_prob_and_grad(vectors)
    assert np.abs(grad).max() < 0.05
    assert np.abs(np.diff(found["w1"], axis=0)).max() > 0.1  # from different starts


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_hidden": 0}, "num_hidden: given 0, wanted a whole number of at least 1"),
        ({"num_folds": 1}, "num_folds: given 1, wanted a whole number of at least 2"),
        ({"num_rows": 4}, "num_rows: given 4, wanted a whole number of at least 6"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_done(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        bnn.run(run_dir=tmp_path, seed=0, dry_run=True, **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_tiny_config_holds_its_claims(tmp_path):
    assert len(claims_of("bayesian_neural_net_tiny", tmp_path / "run")) == 4
