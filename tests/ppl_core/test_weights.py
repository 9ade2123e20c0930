"""The factors and masks of log probs."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import ppl_core as ppl

Y = np.array([1.0, 2.0, 3.0])


def model():
    mu = ppl.Normal(0.0, 1.0, name="mu")
    ppl.Normal(mu, 1.0, sample_shape=3, name="y")


def test_a_list_of_factors_is_multiplied_by_a_factor_further_out():
    # Three entries and a list of one: a list times 3 has the variable's shape too.
    with ppl.tape() as variables, ppl.condition(y=Y, mu=0.0):
        with ppl.scale(3, "y"), ppl.scale([2.0], "y"):
            model()
    wanted = 6.0 * stats.norm.logpdf(Y)
    np.testing.assert_allclose(variables["y"].log_prob(), wanted, rtol=1e-6)


def test_a_plate_multiplies_a_list_of_factors():
    with ppl.plate("row", 3, total=6), ppl.scale([1, 2, 3]):
        y = ppl.Normal(0.0, 1.0, value=Y, name="y")
    wanted = [2.0, 4.0, 6.0] * stats.norm.logpdf(Y)
    np.testing.assert_allclose(y.log_prob(), wanted, rtol=1e-6)


@pytest.mark.parametrize("dtype", [tf.float64, tf.float32])
def test_a_random_variable_tempers_a_likelihood(dtype):
    def tempered():
        power = ppl.Beta(2.0, 2.0, name="power")
        with ppl.scale(2.0), ppl.scale(power, "y"):
            model()

    posterior = ppl.posterior(tempered, observed={"y": Y}, dtype=dtype)
    u = np.array([[0.3, 0.7], [-1.0, 0.2]])
    power = 1 / (1 + np.exp(-u[:, 0]))
    wanted = (
        stats.beta(2, 2).logpdf(power)
        + np.log(power * (1 - power))
        + 2 * stats.norm.logpdf(u[:, 1])
        + 2 * power * stats.norm.logpdf(Y[:, None], u[:, 1]).sum(0)
    )
    np.testing.assert_allclose(posterior.log_prob(u), wanted, rtol=1e-5)


def test_tensors_of_two_dtypes_are_multiplied():
    with ppl.scale(tf.constant(3.0)), ppl.scale(tf.constant(2.0, tf.float64)):
        y = ppl.Normal(0.0, 1.0, value=0.0, name="y")
    assert float(y.log_prob()) == pytest.approx(6 * stats.norm.logpdf(0.0))


@pytest.mark.parametrize(
    "where", [1, [1, 0, 1], tf.constant([1, 0, 1]), np.array([0.0, 1.0, 1.0])]
)
def test_a_mask_of_numbers_is_refused(where):
    with pytest.raises(ValueError, match=r"^mask: given .*, wanted booleans"):
        with ppl.mask(where):
            model()


def test_a_random_variable_of_numbers_is_refused_as_a_mask():
    with pytest.raises(ValueError, match=r"^mask: given .*, wanted booleans"):
        with ppl.mask(ppl.Bernoulli(probs=0.5, value=1, name="z")):
            model()


def test_nan_covariates_under_a_mask_are_refused_and_nan_data_are_not():
    """The gradient of slope * NaN is NaN, whatever the mask makes of the log prob."""
    x = np.array([1.0, np.nan, 2.0])

    def regression(x, where):
        slope = ppl.Normal(0.0, 1.0, name="slope")
        with ppl.mask(where):
            ppl.Normal(slope * x, 1.0, name="y")

    where = ~np.isnan(x)
    with pytest.raises(ValueError, match=r"'y'\): given .* NaN under its mask, wanted"):
        ppl.posterior(regression, x, where, observed={"y": Y})
    y = np.where(where, Y, np.nan)
    posterior = ppl.posterior(regression, np.nan_to_num(x), where, observed={"y": y})
    log_prob, grad = posterior.log_prob_and_grad([[0.5]])
    rest = stats.norm.logpdf([1.0, 3.0], [0.5, 1.0]).sum()
    np.testing.assert_allclose(log_prob, [stats.norm.logpdf(0.5) + rest])
    np.testing.assert_allclose(grad, [[-0.5 + 0.5 + 2.0 * 2.0]])
