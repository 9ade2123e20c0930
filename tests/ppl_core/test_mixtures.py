"""Mixtures as latent variables, and what else TFP has no bijector for."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import ppl_core as ppl

tfb, tfd = tfp.bijectors, tfp.distributions


def float64(x):
    return tf.constant(x, tf.float64)


def same_family(components):
    return tfd.Categorical(probs=float64([0.3, 0.7])), components


def listed(*components):
    return tfd.Categorical(probs=float64([0.3, 0.7])), list(components)


# Mixtures with their expectation of x.
MEANS = {
    "Normals": (
        "MixtureSameFamily",
        same_family(tfd.Normal(float64([-2.0, 1.0]), float64([1.0, 0.5]))),
        0.1,
    ),
    "Gammas": (
        "MixtureSameFamily",
        same_family(tfd.Gamma(float64([0.5, 3.0]), float64([1.0, 2.0]))),
        0.3 * 0.5 + 0.7 * 1.5,
    ),
    "Betas": (
        "MixtureSameFamily",
        same_family(tfd.Beta(float64([0.5, 3.0]), float64([0.5, 2.0]))),
        0.3 * 0.5 + 0.7 * 0.6,
    ),
    "two positives": (
        "Mixture",
        listed(tfd.Gamma(float64(2.0), float64(1.0)), tfd.HalfNormal(float64(1.0))),
        0.3 * 2.0 + 0.7 * np.sqrt(2 / np.pi),
    ),
    "two reals": (
        "Mixture",
        listed(
            tfd.Normal(float64(-1.0), float64(1.0)),
            tfd.Laplace(float64(2.0), float64(1.0)),
        ),
        0.3 * -1.0 + 0.7 * 2.0,
    ),
}


@pytest.mark.parametrize("name", MEANS)
def test_a_latent_mixture_has_its_mass_and_mean(name):
    kind, arguments, mean = MEANS[name]
    posterior = ppl.unconstrain(lambda: getattr(ppl, kind)(*arguments, name="x"))
    u = np.linspace(-90.0, 60.0, 60001)
    weights = np.exp(posterior.log_prob(u[:, None])) * (u[1] - u[0])
    assert weights.sum() == pytest.approx(1.0, abs=1e-6)
    x = posterior.constrain(u[:, None])["x"]
    assert np.sum(weights * x) == pytest.approx(mean, abs=1e-5)


def test_a_mixture_of_betas_has_a_density_where_it_rounds_to_one():
    for make in (
        lambda p: ppl.MixtureSameFamily(
            tfd.Categorical(probs=[0.3, 0.7]), tfd.Beta([p, p], [p, p]), name="x"
        ),
        lambda p: ppl.Mixture(
            tfd.Categorical(probs=[0.3, 0.7]), [tfd.Beta(p, p)] * 2, name="x"
        ),
    ):
        posterior = ppl.unconstrain(lambda: make(0.5), dtype=tf.float32)  # noqa: B023
        log_prob, grad = posterior.log_prob_and_grad(tf.constant([[17.0], [20.0]]))
        np.testing.assert_allclose(log_prob, [-9.64473, -11.14473], atol=5e-6)
        np.testing.assert_allclose(grad[:, 0], [-0.5, -0.5], rtol=1e-5)


REFUSED = {
    "Mixture": (
        lambda: listed(tfd.Normal(0.0, 1.0), tfd.Gamma(2.0, 1.0)),
        "components of different supports; wanted",
    ),
    "MixtureSameFamily": (
        lambda: same_family(tfd.Uniform([0.0, 1.0], 2.0)),
        "components of different supports; wanted",
    ),
    "Blockwise": (
        lambda: ([tfd.Normal(0.0, 1.0), tfd.Exponential(1.0)],),
        "no bijector .*; wanted",
    ),
    "BatchConcat": (
        lambda: ([tfd.Normal([0.0], 1.0), tfd.Exponential([1.0])], 0),
        "no bijector .*; wanted",
    ),
    "MarkovChain": (
        lambda: (tfd.HalfNormal(1.0), lambda _, x: tfd.Normal(x, 1.0), 3),
        "no bijector .*; wanted",
    ),
    "TransformedDistribution": (
        lambda: (tfd.Normal(0.0, 1.0), tfb.AbsoluteValue()),
        "by 'absolute_value', which is not one-to-one; wanted",
    ),
    "Masked": (
        lambda: (tfd.Gamma([1.0, 2.0], 1.0), [True, False]),
        "masked entries have no density; use",
    ),
    "QuantizedDistribution": (
        lambda: (tfd.Normal(0.0, 1.0),),
        "a discrete latent variable, wanted a continuous one",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_bijector_is_refused_by_name_with_what_to_do(kind):
    arguments, message = REFUSED[kind]
    with pytest.raises(ValueError, match=rf"{kind}\(name='x'\).*{message}"):
        ppl.unconstrain(lambda: getattr(ppl, kind)(*arguments(), name="x"))


def test_bates_reshape_and_a_chain_of_one_support_are_latent_variables():
    bates = ppl.unconstrain(
        lambda: ppl.Bates(float64(3.0), float64(0.0), float64(2.0), name="x")
    )
    u = np.array([-3.0, 0.0, 0.5, 4.0])
    share = 1 / (1 + np.exp(-u))
    np.testing.assert_allclose(bates.constrain(u[:, None])["x"], 2 * share, rtol=1e-12)
    s = 3 * share  # the sum of three uniform variables
    density = np.select(
        [s < 1, s < 2], [s**2 / 2, (-2 * s**2 + 6 * s - 3) / 2], (3 - s) ** 2 / 2
    )
    expected = np.log(3 * density * share * (1 - share))
    np.testing.assert_allclose(bates.log_prob(u[:, None]), expected, rtol=1e-10)
    normal = tfd.MultivariateNormalDiag(float64([0.5, -1.0]))
    reshape = tfb.Reshape([2, 1], [2])
    axis = np.linspace(-8.0, 8.0, 161)
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    reshaped = ppl.unconstrain(
        lambda: ppl.TransformedDistribution(normal, reshape, name="x")
    )
    weights = np.exp(reshaped.log_prob(points)) * 0.01
    assert weights.sum() == pytest.approx(1.0, abs=1e-6)
    mean = np.tensordot(weights, reshaped.constrain(points)["x"], 1)
    np.testing.assert_allclose(mean, [[0.5], [-1.0]], atol=1e-6)
    chain = ppl.unconstrain(
        lambda: ppl.MarkovChain(
            tfd.Gamma(float64(2.0), float64(1.0)),
            lambda _, x: tfd.Gamma(float64(2.0), x),
            2,
            name="x",
        )
    )
    u = np.array([[-1.0, 2.0], [0.3, 0.0]])
    x = chain.constrain(u)["x"].numpy()
    np.testing.assert_allclose(x, np.log1p(np.exp(u)), rtol=1e-12)
    first, then = stats.gamma(2), stats.gamma(2, scale=1 / x[:, 0])
    log_det = -np.log1p(np.exp(-u)).sum(1)
    expected = first.logpdf(x[:, 0]) + then.logpdf(x[:, 1]) + log_det
    np.testing.assert_allclose(chain.log_prob(u), expected, rtol=1e-12)
