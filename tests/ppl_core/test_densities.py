"""Densities with gradients of their own, against TFP's and autodiff's."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from ppl_core.densities import Bernoulli, bernoulli_log_prob

tfd = tfp.distributions

LOGITS = np.array([-200.0, -30.0, -1.5, -1e-9, 0.0, 1e-9, 0.7, 30.0, 200.0])


def log_prob_and_gradients(log_prob, logits, event):
    with tf.GradientTape() as tape:
        tape.watch([logits, event])
        value = log_prob(logits, event)
        total = tf.reduce_sum(value * weights(value.shape))
    return value, *tape.gradient(total, [logits, event])


def weights(shape):
    """Upstream gradients that differ from entry to entry."""
    return tf.reshape(tf.range(1.0, 1.0 + np.prod(shape), dtype=tf.float64), shape)


def tfp_log_prob(logits, event):
    return tfd.Bernoulli(logits=logits).log_prob(event)


@pytest.mark.parametrize("event", [0.0, 1.0])
def test_log_prob_and_gradients_are_tfps_in_float64(event):
    logits = tf.constant(LOGITS)
    events = tf.fill(logits.shape, tf.constant(event, tf.float64))
    ours = log_prob_and_gradients(bernoulli_log_prob, logits, events)
    theirs = log_prob_and_gradients(tfp_log_prob, logits, events)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-14, atol=1e-300)
    # Gradients are differences of numbers of order one, times weights up to nine.
    for actual, expected in zip(ours[1:], theirs[1:], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-13, atol=9 * 2.3e-16)


def test_log_prob_is_exact_at_infinite_logits():
    logits = tf.constant([np.inf, np.inf, -np.inf, -np.inf], tf.float64)
    events = tf.constant([1.0, 0.0, 1.0, 0.0], tf.float64)
    log_prob = bernoulli_log_prob(logits, events)
    np.testing.assert_array_equal(log_prob, [0.0, -np.inf, -np.inf, 0.0])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        log_prob = bernoulli_log_prob(logits, events)
    np.testing.assert_array_equal(
        tape.gradient(log_prob, logits), [0.0, -1.0, 1.0, 0.0]
    )


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64, tf.float32, tf.float64])
def test_the_distribution_accepts_events_of_any_dtype(dtype):
    event = tf.constant([0, 1, 1], dtype)
    logits = tf.constant([0.3, -2.0, 5.0])
    ours = Bernoulli(logits=logits).log_prob(event)
    theirs = tfd.Bernoulli(logits=logits).log_prob(tf.cast(event, tf.float32))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert ours.dtype == tf.float32


def test_log_prob_is_linear_in_the_event_as_tfps_is():
    logits = tf.constant(LOGITS)
    event = tf.constant(np.linspace(-0.5, 1.5, len(LOGITS)))
    np.testing.assert_allclose(
        bernoulli_log_prob(logits, event), tfp_log_prob(logits, event), rtol=1e-13
    )


@pytest.mark.parametrize(
    "logits_shape, event_shape",
    [
        ((), (3,)),
        ((3,), ()),
        ((2, 3), (3,)),
        ((3,), (2, 3)),
        ((2, 1), (1, 3)),
        ((1,), (1, 1)),
        ((4, 1, 3), (2, 1)),
    ],
)
def test_gradients_have_the_shapes_of_broadcast_operands(logits_shape, event_shape):
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(size=logits_shape))
    event = tf.constant(rng.uniform(size=event_shape))
    ours = log_prob_and_gradients(bernoulli_log_prob, logits, event)
    theirs = log_prob_and_gradients(tfp_log_prob, logits, event)
    for actual, expected in zip(ours, theirs, strict=True):
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_gradients_work_for_operands_of_unknown_shape():
    @tf.function(
        input_signature=[
            tf.TensorSpec(None, tf.float64),
            tf.TensorSpec([None], tf.float64),
        ]
    )
    def gradients(logits, event):
        with tf.GradientTape() as tape:
            tape.watch([logits, event])
            log_prob = tf.reduce_sum(bernoulli_log_prob(logits, event))
        return tape.gradient(log_prob, [logits, event])

    event = np.array([0.0, 1.0, 1.0])
    by_logits, by_event = gradients([[0.5], [-1.0]], event)
    probs = 1 / (1 + np.exp(-np.array([[0.5], [-1.0]])))
    np.testing.assert_allclose(by_logits, (event - probs).sum(1, keepdims=True))
    np.testing.assert_allclose(by_event, [-0.5, -0.5, -0.5])


def test_second_derivatives_match_autodiff():
    logits = tf.constant(LOGITS[1:-1])
    event = tf.constant([0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0], tf.float64)

    def second(log_prob):
        with tf.GradientTape() as outer:
            outer.watch([logits, event])
            with tf.GradientTape() as inner:
                inner.watch(logits)
                value = log_prob(logits, event)
            gradient = inner.gradient(value, logits)
        return outer.gradient(gradient, [logits, event])

    by_logits, by_event = second(bernoulli_log_prob)
    probs = tf.sigmoid(logits)
    np.testing.assert_allclose(by_logits, -probs * (1 - probs), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(by_event, np.ones(7))
    for actual, expected in zip(
        (by_logits, by_event), second(tfp_log_prob), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_log_prob_and_gradient_compile(jit_compile):
    logits = tf.constant(LOGITS)
    event = tf.constant([0.0, 1.0] * 4 + [0.0], tf.float64)
    compiled = tf.function(
        lambda *operands: log_prob_and_gradients(bernoulli_log_prob, *operands),
        jit_compile=jit_compile,
    )
    eager = log_prob_and_gradients(bernoulli_log_prob, logits, event)
    for actual, expected in zip(compiled(logits, event), eager, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-13, atol=9 * 2.3e-16)


@pytest.mark.filterwarnings("error")
def test_log_prob_and_gradient_vectorize_over_the_logits_alone():
    logits = tf.constant(np.random.default_rng(1).normal(size=(5, 3)))
    event = tf.constant([0.0, 1.0, 1.0], tf.float64)

    def one(logits):
        return log_prob_and_gradients(bernoulli_log_prob, logits, event)

    batched = tf.vectorized_map(one, logits)
    for i in range(5):
        for actual, expected in zip(batched, one(logits[i]), strict=True):
            np.testing.assert_allclose(actual[i], expected, rtol=1e-12)


def test_probs_instead_of_logits_use_tfps_density():
    probs = tf.constant([0.0, 0.2, 1.0], tf.float64)
    ours = Bernoulli(probs=probs).log_prob([0, 1, 1])
    np.testing.assert_array_equal(ours, tfd.Bernoulli(probs=probs).log_prob([0, 1, 1]))
    np.testing.assert_allclose(ours, [0.0, np.log(0.2), 0.0])


def test_all_other_methods_are_tfps():
    ours, theirs = Bernoulli(logits=[0.3, -1.0]), tfd.Bernoulli(logits=[0.3, -1.0])
    assert isinstance(ours, tfd.Bernoulli)
    np.testing.assert_array_equal(ours.mean(), theirs.mean())
    np.testing.assert_array_equal(ours.entropy(), theirs.entropy())
    np.testing.assert_array_equal(
        ours.sample(5, seed=(1, 2)), theirs.sample(5, seed=(1, 2))
    )
    np.testing.assert_allclose(ours.prob(1), theirs.prob(1), rtol=1e-6)
