"""Latent variables on circles and spheres reach all of it, with their density."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import ppl_core as ppl
from experiments.inference import SamplerSettings, sample

tfd = tfp.distributions


def grid(dim, reach=7.0, step=0.05):
    """Points of a lattice in R^dim and the volume that each stands for."""
    axis = np.arange(-reach, reach, step) + step / 2
    points = np.stack(np.meshgrid(*[axis] * dim, indexing="ij"), -1).reshape(-1, dim)
    return tf.constant(points), step**dim


@pytest.mark.parametrize(
    "dtype", [pytest.param(tf.float32, marks=pytest.mark.slow), tf.float64]
)
def test_every_chain_of_a_von_mises_crosses_the_cut(dtype):
    def model():
        ppl.VonMises(tf.constant(3.0, dtype), tf.constant(4.0, dtype), name="x")

    posterior = ppl.unconstrain(model, dtype=dtype)
    samples = sample(
        posterior.log_prob_and_grad,
        start=np.zeros([4, posterior.dim], dtype.as_numpy_dtype),
        settings=SamplerSettings(step_size=0.5, num_results=2000, num_chains=4),
        seed=1,
    )
    x = posterior.constrain(samples.draws)["x"].numpy()
    below = (x < 0).mean(axis=tuple(i for i in range(x.ndim) if x.shape[i] != 4))
    # 0.3930 by SciPy; a chain's 2000 draws have a standard error of about 0.02.
    expected = stats.vonmises(4.0, loc=3.0).cdf(2 * np.pi) - stats.vonmises(
        4.0, loc=3.0
    ).cdf(np.pi)
    assert expected == pytest.approx(0.393, abs=5e-4)
    np.testing.assert_allclose(below, expected, atol=0.06)


def test_a_von_mises_has_its_mass_and_moments():
    posterior = ppl.unconstrain(
        lambda: ppl.VonMises(np.float64(3.0), np.float64(4.0), name="x")
    )
    points, volume = grid(2)  # the density has no limit at v = 0
    weights = np.exp(posterior.log_prob(points)) * volume
    assert weights.sum() == pytest.approx(1.0, abs=1e-3)
    x = posterior.constrain(points)["x"].numpy()
    assert (weights * (x < 0)).sum() == pytest.approx(0.393, abs=1e-2)
    mean = (weights * np.exp(1j * x)).sum()
    exact = stats.vonmises(4.0, loc=3.0).expect(
        lambda x: np.exp(1j * x), complex_func=True
    )
    assert mean == pytest.approx(exact, abs=1e-3)


MEAN = np.array([0.0, 0.6, -0.8])
# Constructors on the sphere in three dimensions: arguments, and the density.
SPHERES = {
    "VonMisesFisher": (
        (MEAN, np.float64(2.0)),
        lambda x: stats.vonmises_fisher(MEAN, 2.0).logpdf(x),
    ),
    "PowerSpherical": (
        (MEAN, np.float64(2.0)),  # (1 + MEAN x)^2, whose integral is 16 pi / 3
        lambda x: 2 * np.log1p(x @ MEAN) - np.log(16 * np.pi / 3),
    ),
    "SphericalUniform": ((3, (), tf.float64), lambda x: -np.log(4 * np.pi)),
}


@pytest.mark.parametrize("kind", SPHERES)
def test_a_sphere_has_its_density_and_a_length_that_is_independent(kind):
    arguments, log_density = SPHERES[kind]
    posterior = ppl.unconstrain(lambda: getattr(ppl, kind)(*arguments, name="x"))
    u = np.random.default_rng(0).normal(size=(20, 3))
    v = u + [1.0, 0.0, 0.0]
    length = np.linalg.norm(v, axis=1)
    x = v / length[:, None]
    np.testing.assert_allclose(posterior.constrain(u)["x"], x, rtol=1e-12)
    # The volume element is that of the length, times the sphere's, times length^2.
    of_length = stats.chi(3).logpdf(length) - 2 * np.log(length)
    expected = log_density(x) + of_length
    np.testing.assert_allclose(posterior.log_prob(u), expected, rtol=1e-10)


@pytest.mark.parametrize(
    "program",
    [
        lambda: ppl.VonMises(3.0, 4.0, name="x"),
        lambda: ppl.VonMises([3.0, 1.0], 4.0, sample_shape=2, name="x"),
        lambda: ppl.Sample(tfd.VonMises([3.0, 1.0], 4.0), 3, name="x"),
        lambda: ppl.Independent(tfd.VonMises([3.0, 1.0], 4.0), 1, name="x"),
        lambda: ppl.Sample(tfd.SphericalUniform(3), 2, name="x"),
        lambda: ppl.VonMisesFisher([[0.0, 1.0], [1.0, 0.0]], 1.0, name="x"),
    ],
)
def test_values_on_circles_and_spheres_go_to_coordinates_and_back(program):
    posterior = ppl.unconstrain(program, dtype=tf.float32)
    u = tf.random.stateless_normal([5, posterior.dim], (1, 2))
    log_prob, grad = posterior.log_prob_and_grad(u)
    assert np.isfinite(log_prob).all() and np.isfinite(grad).all()
    values = posterior.constrain(u)
    again = posterior.constrain(posterior.unconstrain(values))
    np.testing.assert_allclose(again["x"], values["x"], atol=1e-5)
    at_zero, grad = posterior.log_prob_and_grad(tf.zeros([1, posterior.dim]))
    assert np.isfinite(at_zero).all() and np.isfinite(grad).all()
