"""Python's own functions on latent variables: right, or refused with what to use."""

import math
import re

import numpy as np
import pytest
import tensorflow as tf

import ppl_core as ppl

A = 1.3  # the latent variable's value where it has one


def density_of(use, value=A):
    """The log density of a posterior whose program uses its latent variable so."""

    def program():
        a = ppl.Normal(0.0, 1.0, sample_shape=np.shape(value), name="a")
        ppl.factor(use(a), "f")

    posterior = ppl.posterior(program)
    prior = -0.5 * np.sum(np.square(value)) - 0.5 * np.size(value) * np.log(2 * np.pi)
    return posterior.log_prob(np.reshape(value, [-1])) - prior


B = np.array([0.4, -1.6, 2.5])
RIGHT = {
    "abs": (abs, abs),
    "round": (round, np.round),
    "round to digits": (lambda a: round(a, 1), lambda a: np.round(a, 1)),
    "sum of a list": (lambda a: sum([a, 2.0 * a]), lambda a: 3.0 * a),
    "power": (lambda a: pow(a, 2), lambda a: a**2),
    "divmod": (lambda a: a // 0.5 + a % 0.5, lambda a: a // 0.5 + a % 0.5),
    "a comparison as a number": (lambda a: 2.0 * tf.cast(a > 0.5, a.dtype), 2.0),
    "a chain of functions": (lambda a: tf.maximum(a, 2.0), 2.0),
}
RIGHT_OF_MANY = {
    "sum": (sum, np.sum),
    "a loop": (lambda b: sum(2.0 * part for part in b), lambda b: 2 * np.sum(b)),
    "unpacked": (lambda b: (lambda x, y, z: x - y * z)(*b), 0.4 + 1.6 * 2.5),
    "enumerate": (lambda b: sum(i * part for i, part in enumerate(b)), -1.6 + 5.0),
    "len": (lambda b: len(b) * b[0], 1.2),
    "len of a tensor": (lambda b: len(2.0 * b) * b[0], 1.2),
    "zip": (lambda b: sum(x * y for x, y in zip(b, [1.0, 2.0, 3.0], strict=True)), 4.7),
    "reversed": (lambda b: next(iter(reversed(b))), 2.5),
    "list": (lambda b: list(b)[1], -1.6),
    "format": (lambda b: b[0] if f"{b:.2f}" and f"{b}" else None, 0.4),
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_works_on_a_number_is_right(case):
    use, expected = RIGHT[case]
    expected = expected(A) if callable(expected) else expected
    np.testing.assert_allclose(density_of(use), expected, rtol=1e-12)
    eager = use(ppl.Normal(0.0, 1.0, value=A, name="a"))
    np.testing.assert_allclose(eager, expected, rtol=1e-5)


@pytest.mark.parametrize("case", RIGHT_OF_MANY)
def test_what_works_on_several_numbers_is_right(case):
    use, expected = RIGHT_OF_MANY[case]
    expected = expected(B) if callable(expected) else expected
    np.testing.assert_allclose(density_of(use, B), expected, rtol=1e-12)


def test_where_numbers_are_known_python_has_them():
    a = ppl.Normal(0.0, 1.0, value=A, name="a")
    b = ppl.Normal(0.0, 1.0, sample_shape=3, value=B, name="b")
    assert float(max(a, 0.0)) == np.float32(A) and min(a, 0.0) == 0.0
    assert math.floor(a) == 1 and math.exp(a) == pytest.approx(np.exp(A))
    assert [float(part) for part in sorted(b)] == sorted(np.float32(B).tolist())
    assert float(max(b)) == 2.5 and bool(a > 0) and (1.0 if a > 0 else 2.0) == 1.0


REFUSED = {
    "max": lambda a: max(a, 0.0),
    "min": lambda a: min(0.0, a),
    "sorted": lambda a: sorted([a, 0.5])[0],
    "if": lambda a: a if a > 0 else -a,
    "and": lambda a: (a > 0) and a,
    "not": lambda a: not a,
    "chained comparison": lambda a: 0 < a < 1,
    "float": float,
    "int": int,
    "math.floor": math.floor,
    "math.exp": math.exp,
    "math of a tensor": lambda a: math.exp(2.0 * a),
    "np.exp": np.exp,
    "np.maximum": lambda a: np.maximum(a, 0.0),
    "np of a tensor": lambda a: np.exp(2.0 * a),
    "range": lambda a: range(a),
    "an index of a list": lambda a: [1.0, 2.0][a],
    "an index of an array": lambda a: np.ones(3)[a],
    "float of a tensor": lambda a: float(a + 1.0),
    "numpy of a tensor": lambda a: (a + 1.0).numpy(),
    "round of a tensor": lambda a: round(a + 1.0),
    "a loop over a tensor": lambda a: list(a + tf.ones(2, a.dtype)),
    "in": lambda a: a in [0.5, 1.0],
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_needs_a_number_is_refused_with_what_to_use(case):
    with pytest.raises(TypeError) as caught:
        density_of(REFUSED[case])
    message = str(caught.value)
    assert re.match(r"`.*` \(line \d+ of test_symbolic.py\) in program: ", message)
    assert "wanted TensorFlow's functions: tf.maximum (max)" in message
    assert "\n" not in message


def test_the_other_transformations_refuse_it_alike():
    def program():
        a = ppl.Normal(0.0, 1.0, name="a")
        ppl.Normal(max(a, 0.0), 1.0, name="y")

    calls = [
        lambda: ppl.make_log_joint_fn(program, batch_ndims=1)(
            a=[0.0, 1.0], y=[0.0] * 2
        ),
        lambda: ppl.prior_predictive(program, num_draws=2, seed=(0, 1)),
        lambda: ppl.describe(program),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"^`ppl.Normal\(max\(a, 0.0\).*tf.maximum"):
            call()
    # Alone and eager, the number is known.
    value = ppl.make_log_joint_fn(program)(a=-1.0, y=0.5)
    expected = -0.5 * (1.0 + 0.25) - np.log(2 * np.pi)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_several_numbers_are_no_boolean_and_no_index():
    b = ppl.Normal(0.0, 1.0, sample_shape=3, value=B, name="b")
    for convert in (bool, float, int):
        with pytest.raises(ValueError, match=r"Normal\(name='b'\): given shape \(3,\)"):
            convert(b)
    count = ppl.Poisson(3.0, value=2.0, name="n")
    with pytest.raises(TypeError, match=r"'n'\): given float32 as an index"):
        ["a", "b", "c"][count]
    with pytest.raises(TypeError, match=r"'n'\): given one number, wanted entries"):
        list(count)
