"""Operators of random variables, and of tensors made from them, against NumPy's."""

import itertools
import operator

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import ppl_core as ppl

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 4))
GROUP = np.array([0, 1, 1, 2, 1])
INFIX = [
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv),
    *(operator.mod, operator.pow, operator.lt, operator.le, operator.gt, operator.ge),
    *(operator.eq, operator.ne),
]


def variable(value):
    value = np.float32(value)
    return ppl.Normal(0.0, 1.0, sample_shape=value.shape, value=value, name="v")


def whole(value):
    value = np.int32(value)
    return ppl.Categorical([0.0] * 9, sample_shape=value.shape, value=value, name="z")


# What stands on a side of an operator, from its value; the first two are a program's.
SIDES = {
    "variable": variable,
    "slice": lambda value: variable([np.zeros_like(value), value])[1],
    "array": lambda value: np.float64(value),
    "tensor": lambda value: tf.constant(value, tf.float32),
}
PAIRS = [
    pair
    for pair in itertools.product(SIDES, repeat=2)
    if {"variable", "slice"} & set(pair)
]
SHAPES = [(), (3,), (2, 3), (4, 2, 3)]


@pytest.mark.parametrize("infix", INFIX)
def test_an_operator_is_numpys(infix):
    for shapes in itertools.product(SHAPES, repeat=2):
        a, b = (np.float32(RNG.integers(2, 9, size=shape) / 2) for shape in shapes)
        expected = infix(a, b)
        for left, right in PAIRS:
            result = infix(SIDES[left](a), SIDES[right](b))
            np.testing.assert_allclose(
                result, expected, rtol=1e-5, err_msg=f"{left} {right} {shapes}"
            )


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(
    "infix", [operator.add, operator.sub, operator.mul, operator.truediv, operator.lt]
)
def test_fractions_beside_whole_numbers_are_kept(infix, traced):
    z, b = np.array([1, 2, 3]), np.array([0.5, 1.75, 3.0])

    def results():
        count = whole(z)
        pairs = [
            *[(count, b), (b, count), (count + 1, b), (b, count + 1)],
            *[(count, np.float64(0.5)), (np.float64(0.5), count), (count, 0.5)],
            *[(count + 1, 0.5), (0.5, count), (count, tf.constant(b))],
            *[(tf.constant(b), count), (count, pd.Series(b)), (pd.Series(b), count)],
            *[(count, [0.5, 1.75, 3.0]), (count, variable(b)), (variable(b), count)],
        ]
        return [infix(left, right) for left, right in pairs]

    expected = [
        *[infix(z, b), infix(b, z), infix(z + 1, b), infix(b, z + 1)],
        *[infix(z, 0.5), infix(0.5, z), infix(z, 0.5)],
        *[infix(z + 1, 0.5), infix(0.5, z), infix(z, b)],
        *[infix(b, z), infix(z, b), infix(b, z)],
        *[infix(z, b), infix(z, b), infix(b, z)],
    ]
    given = (tf.function(results) if traced else results)()
    for i, (result, wanted) in enumerate(zip(given, expected, strict=True)):
        np.testing.assert_allclose(result, wanted, rtol=1e-6, err_msg=str(i))


def test_numbers_take_the_wider_dtype():
    single, double = variable([1.0, 2.0]), tf.constant([0.1, 0.2], tf.float64)
    for result in (single * double, double * single, single + np.float64(1.0) * double):
        assert result.dtype == tf.float64
    assert (single * np.array([0.1, 0.2])).dtype == tf.float32  # an array is data
    big = whole([1, 2]) + np.array([2**40, 0])
    assert big.numpy().tolist() == [2**40 + 1, 2]
    loc = single * double
    y = ppl.Normal(loc, ppl.HalfNormal(1.0, value=2.0), value=[0.0, 0.0], name="y")
    assert y.log_prob().dtype == tf.float64


PRODUCTS = [
    (left, right)
    for left in [(4,), (3, 4), (2, 3, 4)]
    for right in [(4,), (4, 3), (2, 4, 3)]
]


@pytest.mark.parametrize("shapes", PRODUCTS, ids=str)
def test_a_matrix_product_is_numpys(shapes):
    a, b = (np.float32(RNG.normal(size=shape)) for shape in shapes)
    expected = a @ b
    for left, right in PAIRS:
        result = SIDES[left](a) @ SIDES[right](b)
        np.testing.assert_allclose(
            result, expected, rtol=2e-5, atol=1e-6, err_msg=f"{left} {right}"
        )
    result = variable(a) @ np.ones(shapes[1], int)
    np.testing.assert_allclose(result, a @ np.ones(shapes[1]), rtol=1e-5, atol=1e-6)


def test_matrix_products_of_chains_at_once_are_those_one_by_one():
    values = np.float32(RNG.normal(size=(3, 2, 3, 4)))
    matrix, cube = np.float32(RNG.normal(size=(4, 3))), X[np.newaxis]

    def of_one(value):
        a = ppl.Normal(0.0, 1.0, sample_shape=(2, 3, 4), value=value, name="a")
        return [
            a[1, ::2] @ matrix,
            np.ones((5, 4)) @ a[1, 0],
            a[1, 0] @ matrix,
            a @ a[0, 1],
            a[:, 2] @ tf.constant(matrix),
            (2.0 * a)[0] @ np.ones(4),
            cube @ a[1].T,
            a.T @ (2.0 * a).T[0, 0],
        ]

    def with_numpy(a):
        return [
            a[1, ::2] @ matrix,
            np.ones((5, 4)) @ a[1, 0],
            a[1, 0] @ matrix,
            a @ a[0, 1],
            a[:, 2] @ matrix,
            2.0 * a[0] @ np.ones(4),
            cube @ a[1].T,
            a.T @ (2.0 * a).T[0, 0],
        ]

    at_once = tf.vectorized_map(of_one, tf.constant(values))
    for i, parts in enumerate(zip(*map(with_numpy, values), strict=True)):
        np.testing.assert_allclose(at_once[i], parts, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_products_of_slices():
    w, c = RNG.normal(size=(2, 4)), RNG.normal(size=5)

    def program():
        w = ppl.Normal(0.0, 1.0, sample_shape=(2, 4), name="w")
        ppl.factor(c @ (X @ w[1]) + w[0, ::2] @ [1.0, 3.0], "f")

    posterior = ppl.posterior(program)
    log_prob, grad = posterior.log_prob_and_grad(w.reshape(-1))
    expected = -0.5 * (w**2).sum() - 4 * np.log(2 * np.pi)
    expected += c @ X @ w[1] + w[0, 0] + 3 * w[0, 2]
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)
    by_hand = -w + [[1.0, 0.0, 3.0, 0.0], c @ X]
    np.testing.assert_allclose(grad, by_hand.reshape(-1), rtol=1e-12)


def test_products_with_a_design_matrix():
    design = ppl.DesignMatrix(np.c_[X, np.eye(5)])
    dense = design.to_dense().numpy()
    for shape in [(5,), (2, 5)]:
        weights = np.float32(RNG.normal(size=shape))
        for side in SIDES.values():
            result = side(weights) @ design
            np.testing.assert_allclose(result, weights @ dense, rtol=1e-4, atol=1e-5)
    for shape in [(9,), (9, 2)]:
        coeffs = np.float32(RNG.normal(size=shape))
        for side in SIDES.values():
            result = design @ side(coeffs)
            np.testing.assert_allclose(result, dense @ coeffs, rtol=1e-4, atol=1e-5)
    weights = tf.constant(RNG.normal(size=5))
    with tf.GradientTape() as tape:
        tape.watch(weights)
        total = tf.reduce_sum((weights @ design) ** 2)
    expected = 2 * dense @ (dense.T @ weights.numpy())
    np.testing.assert_allclose(tape.gradient(total, weights), expected, rtol=1e-10)


WRONG = {
    "sum": (lambda v, m: v + m[0], ValueError, r"'v'\) \+: given shapes \(3,\) and"),
    "tensor first": (lambda v, m: tf.ones(4) * v, ValueError, r"'v'\) \*: .*\(4,\)"),
    "product": (
        lambda v, m: m @ v,
        ValueError,
        r"'v'\) @: given shapes \(3, 4\) and \(3,\), wanted equal inner .*\(4, 3\)",
    ),
    "numbers": (lambda v, m: v @ 2.0, ValueError, r"'v'\) @: .*`\*` multiplies"),
    "leading": (
        lambda v, m: np.ones((2, 4, 3)) @ variable(np.ones((5, 3, 4))),
        ValueError,
        "wanted leading sizes that broadcast",
    ),
    "text": (lambda v, m: v + "a", TypeError, r"'v'\) \+: given 'a', wanted real"),
    "complex": (lambda v, m: v * 1j, TypeError, r"'v'\) \*: given 1j, wanted real"),
    "objects": (lambda v, m: v - [1.0, None, 2.0], TypeError, "wanted real numbers"),
    "design": (
        lambda v, m: ppl.DesignMatrix(X) @ v,
        ValueError,
        r"Matrix: given Normal\(name='v'\) as coefficients of shape \(3,\).*4 columns",
    ),
    "weights": (
        lambda v, m: v @ ppl.DesignMatrix(X),
        ValueError,
        r"Matrix: given Normal\(name='v'\) as weights of shape \(3,\).* 5 rows",
    ),
    "designs": (
        lambda v, m: ppl.DesignMatrix(X) @ ppl.DesignMatrix(X),
        TypeError,
        "given two of them for `@`",
    ),
    "design of words": (
        lambda v, m: ppl.DesignMatrix(X) @ ["a", "b", "c", "d"],
        TypeError,
        "given coefficients of <U1, wanted numbers",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_operands_that_do_not_fit_are_refused_by_name(case):
    call, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        call(variable(np.ones(3)), variable(np.ones((3, 4))))


def test_a_regression_written_as_with_numpy():
    def program():
        w = ppl.Normal(0.0, 1.0, sample_shape=4, name="w")
        offset = ppl.Normal(0.0, 1.0, sample_shape=3, name="offset")
        ppl.Normal(X @ w + offset[GROUP], 1.0, name="y")

    w, offset, y = np.ones(4), np.array([0.5, -0.5, 1.0]), np.zeros(5)
    log_joint = ppl.make_log_joint_fn(program, batch_ndims=1)
    values = {"w": [w, w], "offset": [offset, -offset], "y": [y, y]}
    values = {name: np.float32(value) for name, value in values.items()}
    expected = [
        -0.5 * (np.sum(w**2) + np.sum(o**2) + np.sum((X @ w + o[GROUP]) ** 2))
        - 6 * np.log(2 * np.pi)
        for o in (offset, -offset)
    ]
    np.testing.assert_allclose(log_joint(**values), expected, rtol=1e-5)


def test_columns_of_a_data_frame_beside_latent_variables():
    frame = pd.DataFrame({"x": X[:, 0], "z": X[:, 1]})

    def program():
        a = ppl.Normal(0.0, 1.0, sample_shape=2, name="a")
        loc = a[0] + frame.x * a[1] + a[1] * frame["z"] - frame.x
        ppl.Normal(loc, 1.0, name="y")

    posterior = ppl.posterior(program, observed={"y": np.zeros(5)})
    a = np.array([0.3, -0.7])
    loc = a[0] + X[:, 0] * a[1] + a[1] * X[:, 1] - X[:, 0]
    expected = -0.5 * ((a**2).sum() + (loc**2).sum()) - 3.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(posterior.log_prob(a), expected, rtol=1e-12)


def test_a_plus_sign_leaves_values_as_they_are_and_len_counts_known_rows():
    x = ppl.Normal(0.0, 1.0, sample_shape=3, name="x")
    np.testing.assert_array_equal(+x, x.numpy())
    np.testing.assert_array_equal(+(2 * x), 2 * x.numpy())
    count = tf.function(len, autograph=False)
    assert len(2 * x) == 3 and count(tf.ones([3])) == 3
    rows = tf.TensorSpec([None], tf.float32)
    for spec in (rows, tf.TensorSpec([], tf.float32)):
        with pytest.raises(TypeError, match="len is not well defined"):
            count.get_concrete_function(spec)
