"""The guides' densities and entropies against SciPy's, and what they refuse."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import ppl_core as ppl
from experiments.inference.guides import full_rank, low_rank, mean_field

DIM = 3


def model():
    ppl.Normal(0.0, 1.0, sample_shape=2, name="x")
    ppl.HalfNormal(1.0, name="scale")


@pytest.fixture(scope="module")
def posterior():
    return ppl.posterior(model)


def moved(guide):
    """The guide's parameters, each moved at random, as tensors."""
    random = np.random.default_rng(1)
    return {
        name: tf.constant(part + random.normal(size=part.shape))
        for name, part in guide.params.items()
    }


def covariance(kind, params):
    params = {name: part.numpy() for name, part in params.items()}
    scale = np.exp(params["log_scale"])
    if kind is full_rank:
        factor = np.tril(params["lower"], -1) + np.diag(scale)
        return factor @ factor.T
    shared = params.get("factors", np.zeros((DIM, 1)))
    return np.diag(scale**2) + shared @ shared.T


@pytest.mark.parametrize("kind", [mean_field, full_rank, low_rank])
def test_density_and_entropy_are_those_of_scipys_normal(posterior, kind):
    guide = kind(posterior)
    params = moved(guide)
    exact = stats.multivariate_normal(params["loc"].numpy(), covariance(kind, params))
    noise = tf.constant(np.random.default_rng(2).normal(size=(5, guide.num_noise)))
    vectors = guide.to_vectors(params, noise)
    np.testing.assert_allclose(
        guide.log_prob(params, noise), exact.logpdf(vectors.numpy()), rtol=1e-10
    )
    np.testing.assert_allclose(guide.entropy(params), exact.entropy(), rtol=1e-10)


@pytest.mark.parametrize("kind", [mean_field, full_rank, low_rank])
def test_vectors_have_the_mean_and_covariance_of_the_density(posterior, kind):
    guide = kind(posterior)
    params = moved(guide)
    # The vectors are linear in the noise, whose covariance is the identity.
    zero = guide.to_vectors(params, tf.zeros([1, guide.num_noise], tf.float64))
    columns = guide.to_vectors(params, tf.eye(guide.num_noise, dtype=tf.float64)) - zero
    np.testing.assert_allclose(zero[0], params["loc"])
    np.testing.assert_allclose(
        columns.numpy().T @ columns.numpy(), covariance(kind, params), rtol=1e-10
    )


def test_a_start_by_name_is_where_the_mean_begins(posterior):
    guide = mean_field(posterior, start={"x": [1.0, -2.0]}, scale=0.5)
    np.testing.assert_allclose(guide.params["loc"], [1.0, -2.0, 0.0])
    np.testing.assert_allclose(np.exp(guide.params["log_scale"]), 0.5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: mean_field(p, scale=0.0), "scale: given 0.0, wanted"),
        (lambda p: full_rank(p, scale=float("nan")), "scale: given nan, wanted"),
        (lambda p: low_rank(p, 0), "rank: given 0, wanted a whole number from 1 to 3"),
        (lambda p: low_rank(p, 4), "rank: given 4, wanted"),
        (lambda p: mean_field(p, start={"z": 1.0}), r"start: given .*'z'.*wanted"),
        (lambda p: mean_field(p, start={"scale": -1.0}), "scale"),
        (lambda p: mean_field(model), "posterior: given <function model"),
    ],
)
def test_wrong_values_are_refused(posterior, make, words):
    with pytest.raises(ValueError, match=words):
        make(posterior)
