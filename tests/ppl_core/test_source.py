"""A posterior remembers its program: data by name, and draws of the program again."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import ppl_core as ppl

X = np.array([-1.0, 0.0, 2.0])
Y = np.array([0.5, 0.1, 1.5])


def line(x, noise, *, shift=0.0):
    slope = ppl.Normal(0.0, 1.0, name="slope")
    mean = ppl.deterministic(slope * x + shift, "mean")
    ppl.Normal(0.0, 1.0, value=3.0, name="fixed")
    return ppl.Normal(mean, noise, name="y")


@pytest.fixture(scope="module")
def posterior():
    return ppl.posterior(line, X, 0.5, observed={"y": Y}, shift=1.0)


def test_posterior_and_unconstrain_are_one_density(posterior):
    other = ppl.unconstrain(line, X, 0.5, observed={"y": Y}, kwargs={"shift": 1.0})
    for part, same in zip(
        posterior.log_prob_and_grad([[0.3]]),
        other.log_prob_and_grad([[0.3]]),
        strict=True,
    ):
        np.testing.assert_array_equal(part, same)
    assert posterior.dtype == tf.float64


def test_data_are_those_given_and_those_that_the_program_sets(posterior):
    data = posterior.source.observed_data()
    np.testing.assert_array_equal(data["y"], Y)
    assert data.keys() == {"y", "fixed"} and data["fixed"] == 3.0


def test_censored_data_have_their_bounds():
    def model():
        ppl.Exponential(ppl.Gamma(2.0, 2.0, name="rate"), sample_shape=2, name="t")

    interval = ppl.Interval([1.0, 4.0], [1.0, np.inf])
    data = ppl.posterior(model, observed={"t": interval}).source.observed_data()
    np.testing.assert_array_equal(data["t"], [1.0, np.nan])
    np.testing.assert_array_equal(data["t_low"], [1.0, 4.0])
    np.testing.assert_array_equal(data["t_high"], [1.0, np.inf])


def test_constant_data_are_the_numbers_among_the_arguments():
    def model(x, *others, scale=1.0, link=tf.identity, word="a", **more):
        mu = ppl.Normal(0.0, scale, name="mu")
        ppl.Normal(link(mu) + x + more["z"], 1.0, name="y")

    posterior = ppl.posterior(
        model, X, 1.0, 2, scale=2.0, word="b", z=X + 1, observed={"y": Y}
    )
    data = posterior.source.constant_data()
    assert data.keys() == {"x", "others_0", "others_1", "scale", "z"}
    np.testing.assert_array_equal(data["z"], X + 1)


def test_the_log_likelihood_is_that_of_every_observation(posterior):
    slopes = np.array([-0.4, 0.0, 1.1])
    found = posterior.source.log_likelihood({"slope": slopes})
    wanted = stats.norm.logpdf(Y, slopes[:, None] * X + 1, 0.5)
    np.testing.assert_allclose(found["y"], wanted, rtol=1e-12)
    np.testing.assert_allclose(found["fixed"], stats.norm.logpdf(3.0).repeat(3))


def test_predictions_have_the_mean_and_spread_of_the_program(posterior):
    slopes = np.full(4000, 2.0)
    drawn = posterior.source.posterior_predictive({"slope": slopes}, seed=(0, 1))
    assert list(drawn) == ["y"]
    errors = (drawn["y"].numpy() - (2 * X + 1)) / 0.5  # [draws, 3] standard normal
    assert np.abs(errors.mean(0)).max() < 5 / 4000**0.5
    assert np.abs(errors.std(0) - 1).max() < 5 / 8000**0.5
    prior = posterior.source.prior_predictive(num_draws=4000, seed=(0, 1))
    assert abs(np.std(prior["y"][:, 2]) / np.hypot(2.0, 0.5) - 1) < 5 / 8000**0.5
    np.testing.assert_array_equal(prior["fixed"], np.full(4000, 3.0))


def test_tracers_around_the_call_count_when_the_program_runs_again():
    with ppl.prefix("a"), ppl.condition(slope=2.0):
        posterior = ppl.posterior(both, observed={"a/y": Y})
    assert posterior.names == ("a/noise",)
    source = posterior.source
    drawn = source.posterior_predictive({"a/noise": np.full(1000, 1e-9)}, seed=(0, 1))
    np.testing.assert_allclose(np.mean(drawn["a/y"], 0), 2 * X, atol=1e-6)
    assert source.observed_data().keys() == {"a/y", "a/slope"}
    found = source.log_likelihood({"a/noise": np.ones(1)})["a/y"]
    np.testing.assert_allclose(found[0], stats.norm.logpdf(Y, 2 * X, 1))


def both():
    noise = ppl.HalfNormal(1.0, name="noise")
    slope = ppl.Normal(0.0, 1.0, name="slope")
    ppl.Normal(slope * tf.constant(X), noise, name="y")


def test_data_that_only_a_tracer_sets_are_not_drawn_anew():
    with ppl.condition(y=Y):
        posterior = ppl.posterior(both)
    with pytest.raises(ValueError, match="both: given data that the program or a"):
        posterior.source.posterior_predictive({"noise": [1.0], "slope": [1.0]}, seed=0)


@pytest.mark.parametrize(
    ("observed", "message"),
    [
        ({"y": [0.1, np.nan, 0.2]}, r"'y'.*nan"),
        ({"y": [0.1, 0.2]}, r"'y'.*\(2,\)"),
        ({"z": Y}, r"'z'"),
        ({"y": None}, r"'y'"),
        ({"y": Y, "slope": 0.0}, "line: given no latent variable"),
    ],
)
def test_data_that_do_not_fit_are_refused_by_name(observed, message):
    with pytest.raises(ValueError, match=message) as error:
        ppl.posterior(line, X, 0.5, observed=observed)
    assert "\n" not in str(error.value)
