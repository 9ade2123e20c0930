"""Factors and triangular solves for XLA's loops, against TensorFlow's and NumPy's."""

import numpy as np
import pytest
import tensorflow as tf

from experiments.inference import linear_algebra


def positive_definite(n, batch=(), condition=100.0, seed=0):
    """Matrices of this condition number, with random axes."""
    axes, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(*batch, n, n)))
    values = np.geomspace(1.0, 1.0 / condition, n)
    return (axes * values) @ np.swapaxes(axes, -1, -2)


# Sizes within a block, at its edge, and of several blocks.
@pytest.mark.parametrize(("n", "batch"), [(1, ()), (5, (2, 3)), (64, ()), (100, (2,))])
def test_a_factor_is_that_of_numpy(n, batch):
    matrix = positive_definite(n, batch)
    found = linear_algebra.cholesky(tf.constant(matrix))
    np.testing.assert_allclose(found, np.linalg.cholesky(matrix), atol=1e-13)


def test_only_the_lower_triangle_is_read():
    matrix = positive_definite(70)
    upper = np.triu(np.full((70, 70), np.nan), 1)
    found = linear_algebra.cholesky(tf.constant(np.tril(matrix) + upper))
    np.testing.assert_allclose(found, np.linalg.cholesky(matrix), atol=1e-13)


@pytest.mark.parametrize("n", [40, 100])
def test_a_factor_of_an_ill_conditioned_matrix_gives_it_back(n):
    matrix = positive_definite(n, condition=1e12)
    factor = linear_algebra.cholesky(tf.constant(matrix)).numpy()
    np.testing.assert_allclose(factor @ factor.T, matrix, atol=1e-14)


def test_a_factor_in_float32_has_the_error_of_its_dtype():
    """Higham (2002), theorem 10.3: |L L^T - A| is at most (n + 1) u |L| |L|^T."""
    matrix = positive_definite(40).astype(np.float32)
    found = linear_algebra.cholesky(tf.constant(matrix))
    assert found.dtype == tf.float32
    factor = found.numpy().astype(np.float64)
    unit = np.finfo(np.float32).eps / 2
    bound = 41 * unit * np.abs(factor) @ np.abs(factor).T
    assert (np.abs(factor @ factor.T - matrix) <= bound)[np.tril_indices(40)].all()


@pytest.mark.parametrize("n", [3, 70])
@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan])
def test_a_matrix_that_is_not_positive_definite_has_nan_below(n, wrong):
    matrix = np.stack([np.eye(n)] * 2)
    matrix[1, n - 1, n - 1] = wrong
    found = linear_algebra.cholesky(tf.constant(matrix)).numpy()
    np.testing.assert_array_equal(found[0], np.eye(n))
    np.testing.assert_array_equal(found[1], np.tril(np.full((n, n), np.nan)))


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("adjoint", [True, False])
@pytest.mark.parametrize(
    ("n", "m", "batch"), [(1, 1, ()), (5, 5, (2,)), (40, 1, (2,)), (70, 3, ())]
)
def test_a_triangular_solve_is_that_of_tensorflow(n, m, batch, lower, adjoint):
    factor = np.linalg.cholesky(positive_definite(n, batch))
    # The other triangle is not read.
    matrix = factor if lower else np.swapaxes(factor, -1, -2)
    other = np.triu(np.ones((n, n)), 1) if lower else np.tril(np.ones((n, n)), -1)
    rhs = np.random.default_rng(1).normal(size=(*batch, n, m))
    expected = tf.linalg.triangular_solve(matrix, rhs, lower=lower, adjoint=adjoint)
    found = linear_algebra.triangular_solve(
        tf.constant(matrix + other), tf.constant(rhs), lower=lower, adjoint=adjoint
    )
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-11)


def test_leading_axes_of_a_solve_broadcast():
    factor = np.linalg.cholesky(positive_definite(4))
    rhs = np.random.default_rng(1).normal(size=(3, 1, 4, 2))
    found = linear_algebra.triangular_solve(
        tf.constant(factor), tf.constant(rhs), lower=True, adjoint=False
    )
    np.testing.assert_allclose(found, np.linalg.solve(factor, rhs), atol=1e-12)
