"""What is changed in a traced density, and what is read from it."""

import numpy as np
import pytest
import tensorflow as tf

import ppl_core as ppl
from experiments.inference import density_graph
from experiments.inference.leapfrog import value_and_gradient

X = np.linspace(-2.0, 2.0, 6)
Y = np.sin(X)


def gaussian_process(x):
    scale = ppl.HalfNormal(1.0, name="scale")
    kernel = scale**2 * tf.exp(-((x[:, None] - x[None, :]) ** 2))
    factor = tf.linalg.cholesky(kernel + 0.1 * tf.eye(len(x), dtype=kernel.dtype))
    ppl.MultivariateNormalTriL(scale_tril=factor, name="y")


def latent(x):
    """A latent process, whose factor multiplies white noise."""
    scale = ppl.HalfNormal(1.0, name="scale")
    noise = ppl.Normal(0.0, 1.0, sample_shape=len(x), name="noise")
    kernel = scale**2 * tf.exp(-((x[:, None] - x[None, :]) ** 2))
    factor = tf.linalg.cholesky(kernel + 0.1 * tf.eye(len(x), dtype=kernel.dtype))
    ppl.Normal(tf.linalg.matvec(factor, noise.value), 0.3, name="y")


def traced(function, chains, dim, dtype=tf.float64, **options):
    return tf.function(function, autograph=False, **options).get_concrete_function(
        tf.TensorSpec([chains, dim], dtype)
    )


def operations(function, position):
    """The operations of a function's graph and of the functions that it calls."""
    definition = (
        tf.function(function, autograph=False)
        .get_concrete_function(tf.TensorSpec(position.shape, position.dtype))
        .graph.as_graph_def()
    )
    nodes = list(definition.node)
    for one in definition.library.function:
        nodes += one.node_def
    return {node.op for node in nodes}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "chains"), [(gaussian_process, 1), (gaussian_process, 3), (latent, 3)]
)
def test_a_changed_density_and_gradient_are_the_same(program, chains):
    posterior = ppl.posterior(program, X, observed={"y": Y})
    before = traced(posterior.log_prob_and_grad, chains, posterior.dim)
    after = density_graph.in_loops(before)
    position = tf.constant(
        np.random.default_rng(0).normal(size=(chains, posterior.dim))
    )
    # Within a loop, as a sampler has it.
    _, *found = tf.function(
        lambda x: tf.while_loop(
            lambda i, *_: i < 2,
            lambda i, *_: (i + 1, *after(x)),
            (0, tf.zeros([chains], tf.float64), tf.zeros_like(x)),
        ),
        jit_compile=True,
        autograph=False,
    )(position)
    for one, other in zip(found, before(position), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)
    left = operations(after, position)
    assert not left & {"Cholesky", "MatrixTriangularSolve"}, left


def test_a_matrix_that_is_not_positive_definite_has_a_log_prob_of_nan():
    def log_prob(x):  # positive definite where |x| < 1
        matrix = tf.stack([tf.ones_like(x[:, 0]), x[:, 0]], -1)
        matrix = tf.stack([matrix, tf.reverse(matrix, [-1])], -2)
        factor = tf.linalg.cholesky(matrix)
        return tf.reduce_sum(tf.math.log(tf.linalg.diag_part(factor)), -1)

    after = density_graph.in_loops(traced(value_and_gradient(log_prob), 2, 1))
    value, grad = tf.function(after, autograph=False)(
        tf.constant([[0.6], [1.5]], tf.float64)
    )
    np.testing.assert_allclose(value, [np.log(0.8), np.nan])
    np.testing.assert_allclose(grad[:, 0], [-0.6 / (1 - 0.36), np.nan])


def test_a_density_without_such_operations_is_left_alone():
    log_prob = lambda x: -0.5 * tf.reduce_sum(x**2, axis=-1)  # noqa: E731
    assert density_graph.in_loops(traced(value_and_gradient(log_prob), 2, 3)) is None


def test_complex_matrices_are_left_alone():
    def log_prob(x):
        matrix = tf.eye(2, batch_shape=[2], dtype=tf.complex128)
        root = tf.linalg.cholesky(
            matrix * tf.cast(tf.exp(x[:, :1, None]), matrix.dtype)
        )
        return tf.math.real(root[:, 0, 0])

    assert density_graph.in_loops(traced(lambda x: (log_prob(x), x), 2, 3)) is None


def test_variables_that_a_density_reads_are_read_at_each_call():
    scale = tf.Variable(2.0, dtype=tf.float64)

    def log_prob(x):
        matrix = scale * tf.eye(3, dtype=tf.float64) + x[:, :, None] * x[:, None, :]
        factor = tf.linalg.cholesky(matrix)
        return -tf.reduce_sum(tf.math.log(tf.linalg.diag_part(factor)), -1)

    before = traced(value_and_gradient(log_prob), 2, 3)
    after = tf.function(density_graph.in_loops(before), autograph=False)
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 3)))
    for value in (2.0, 5.0):
        scale.assign(value)
        np.testing.assert_allclose(after(x)[0], log_prob(x), rtol=1e-12)


@pytest.mark.parametrize(
    ("product", "expected"),
    [
        (lambda x: tf.matmul(x, tf.ones([50, 30])), 20 * 50 * 30),
        (lambda x: tf.matmul(tf.ones([20, 40]), x, transpose_a=True), 40 * 20 * 50),
        (lambda x: tf.einsum("ab,bc->ac", x, tf.ones([50, 30])), 20 * 50 * 30),
        (
            lambda x: tf.matmul(tf.reshape(x, [2, 10, 50]), tf.ones([2, 50, 30])),
            2 * 10 * 50 * 30,
        ),
        # A vector on one side, and small matrices.
        (lambda x: tf.linalg.matvec(x, tf.ones([50])), 0),
        (lambda x: tf.matmul(tf.reshape(x, [250, 2, 2]), tf.ones([250, 2, 2])), 0),
        (lambda x: x * 2.0, 0),
    ],
)
def test_multiplications_are_those_of_products_of_large_matrices(product, expected):
    assert (
        density_graph.multiplications(traced(product, 20, 50, tf.float32)) == expected
    )
