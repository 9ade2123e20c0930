"""Draws that one seed repeats."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import ppl_core as ppl

SEED = (3, -4)


def model():
    mu = ppl.Normal(0.0, 2.0, name="mu")
    return ppl.Normal(mu, 1.0, sample_shape=3, name="x")


def draws_of(program, seed=SEED):
    with ppl.tape() as variables, ppl.seeded(seed):
        program()
    return {name: variable.numpy() for name, variable in variables.items()}


def a_then_b():
    ppl.Normal(0.0, 1.0, sample_shape=4, name="a")
    ppl.Normal(0.0, 1.0, sample_shape=4, name="b")


def b_then_a():
    ppl.Normal(0.0, 1.0, sample_shape=4, name="b")
    ppl.Normal(0.0, 1.0, sample_shape=4, name="a")


def test_seeded_draws_depend_on_seed_and_name_and_not_on_the_order():
    first, again, turned = draws_of(a_then_b), draws_of(a_then_b), draws_of(b_then_a)
    for name in "ab":
        np.testing.assert_array_equal(first[name], again[name])
        np.testing.assert_array_equal(first[name], turned[name])
        assert not np.array_equal(first[name], draws_of(a_then_b, (3, -5))[name])
    assert not np.array_equal(first["a"], first["b"])


def test_seeded_draws_are_the_same_eager_and_in_a_tf_function():
    eager = draws_of(model)

    @tf.function(autograph=False)
    def graph(seed):
        with ppl.tape() as variables, ppl.seeded(seed):
            model()
        return {name: variable.value for name, variable in variables.items()}

    compiled = graph(tf.constant(SEED))
    for name in eager:
        np.testing.assert_allclose(eager[name], compiled[name], rtol=1e-6)
    other = graph(tf.constant([9, 9]))
    assert not np.array_equal(eager["x"], other["x"])
    assert graph.experimental_get_tracing_count() == 1


def test_seeded_refuses_duplicate_and_missing_names():
    with pytest.raises(ValueError, match="'x', and would be the same draw"):
        with ppl.seeded(SEED):
            ppl.Normal(0.0, 1.0, name="x")
            ppl.Normal(0.0, 1.0, name="x")
    with pytest.raises(ValueError, match="seeded: a Normal has no name"):
        with ppl.seeded(SEED):
            ppl.Normal(0.0, 1.0)


def test_seeded_keeps_inner_values_and_seeds():
    with ppl.seeded(SEED):
        ppl.Normal(0.0, 1.0, value=0.5)  # needs no name
        one = ppl.Normal(0.0, 1.0, seed=(1, 2), name="x")
        with ppl.seeded((5, 6)):
            inner = ppl.Normal(0.0, 1.0, name="y")
    with ppl.seeded((5, 6)):
        alone = ppl.Normal(0.0, 1.0, name="y")
    np.testing.assert_array_equal(one.value, tfd.Normal(0.0, 1.0).sample(seed=(1, 2)))
    np.testing.assert_array_equal(inner.value, alone.value)


def test_seeded_and_condition_nest_in_either_order():
    with ppl.tape() as outer, ppl.seeded(SEED), ppl.condition(mu=1.0):
        model()
    with ppl.tape() as inner, ppl.condition(mu=1.0), ppl.seeded(SEED):
        model()
    assert float(outer["mu"]) == float(inner["mu"]) == 1.0
    np.testing.assert_array_equal(outer["x"].value, inner["x"].value)


def test_seeded_does_not_reach_blocked_variables():
    with ppl.seeded(SEED), ppl.block("x"):
        hidden = ppl.Normal(0.0, 1.0, sample_shape=4, name="x")
    with ppl.block("x"), ppl.seeded(SEED):
        reached = ppl.Normal(0.0, 1.0, sample_shape=4, name="x")
    with ppl.seeded(SEED):
        expected = ppl.Normal(0.0, 1.0, sample_shape=4, name="x")
    assert not np.array_equal(hidden.value, expected.value)
    np.testing.assert_array_equal(reached.value, expected.value)


def test_seeded_draws_differ_between_prefixes_and_repeat_within_one():
    def draw(*scopes, inside=False):
        with ppl.tape() as variables, contextlib.ExitStack() as stack:
            if inside:
                stack.enter_context(ppl.seeded(SEED))
            for scope in scopes:
                stack.enter_context(ppl.prefix(scope))
            if not inside:
                stack.enter_context(ppl.seeded(SEED))
            ppl.Normal(0.0, 1.0, name="x")
        return float(variables["/".join((*scopes, "x"))])

    scopes = [(), ("left",), ("right",), ("left", "right"), ("right", "left")]
    assert len({draw(*names) for names in scopes}) == len(scopes)
    for names in scopes:  # on either side of the prefixes
        assert draw(*names) == draw(*names, inside=True)
