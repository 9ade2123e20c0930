"""VIMCO: the multi-sample bound of a program with discrete latent variables.

Mnih and Rezende (2016), Variational inference for Monte Carlo objectives.  The model is
a sigmoid belief network (Neal, 1992) of so few latents that its exact likelihood, the
exact bound and their gradients are sums over all of their values.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import ppl_core as ppl

Weights = Mapping[str, tf.Tensor]


def belief_network(weights: Weights) -> ppl.RandomVariable:
    """p(h) p(x | h): binary latents above the binary pixels of one image."""
    dtype = weights["prior"].dtype
    h = ppl.Bernoulli(logits=weights["prior"], dtype=dtype, name="h")
    logits = h @ weights["down"] + weights["visible"]
    return ppl.Bernoulli(logits=logits, dtype=dtype, name="x")


def guide(weights: Weights, x: tf.Tensor, num_samples: int) -> ppl.RandomVariable:
    """q(h | x), for images [batch, pixels]: [num_samples, batch, latents]."""
    logits = x @ weights["up"] + weights["hidden"]
    return ppl.Bernoulli(
        logits=logits, dtype=x.dtype, sample_shape=num_samples, name="q_h"
    )


class Samples(NamedTuple):
    """Some samples of the guide, of each image: both are [num_samples, batch]."""

    log_weight: tf.Tensor  # log p(x, h) - log q(h | x)
    log_q: tf.Tensor


def draw(
    weights: Weights, x: tf.Tensor, num_samples: int, seed: Any = (0, 0)
) -> Samples:
    """The guide's samples, weighted by the model, with the two programs aligned.

    seed: unused where a tracer around the call sets "q_h".
    """
    with ppl.tape() as variables, ppl.seeded(seed):
        guide(weights, x, num_samples)
    latents = ppl.align({"h": "q_h"}, variables)
    log_q = tf.reduce_sum(variables["q_h"].log_prob(), -1)
    log_joint = ppl.make_log_joint_fn(belief_network, batch_ndims=2)
    images = tf.broadcast_to(x, [num_samples, *x.shape])
    return Samples(log_joint(weights, x=images, **latents) - log_q, log_q)


def bound_of(log_weight: tf.Tensor) -> tf.Tensor:
    """log of the mean weight, whose mean is a bound on log p(x): [batch]."""
    num_samples = log_weight.shape[0]
    return tf.reduce_logsumexp(log_weight, 0) - np.log(num_samples)


def bounds_without(log_weight: tf.Tensor) -> tf.Tensor:
    """The bound with each weight in turn replaced by the others' geometric mean.

    Entry i does not depend on sample i, so it is a baseline for that sample's gradient:
    [num_samples, batch].  Mnih and Rezende (2016), equation 9.
    """
    num_samples = log_weight.shape[0]
    mean = (tf.reduce_sum(log_weight, 0) - log_weight) / (num_samples - 1)
    itself = tf.eye(num_samples, dtype=tf.bool)[:, :, tf.newaxis]
    swapped = tf.where(itself, mean[:, tf.newaxis], log_weight[tf.newaxis])
    return tf.reduce_logsumexp(swapped, 1) - np.log(num_samples)


def vimco(samples: Samples) -> tf.Tensor:
    """What has VIMCO's gradient of each image's bound: [batch].

    Raises ValueError for one sample, which has no others.
    """
    if samples.log_weight.shape[0] < 2:
        raise ValueError("num_samples: given 1, wanted 2 or more for VIMCO's baseline")
    bound = bound_of(samples.log_weight)
    signal = tf.stop_gradient(bound - bounds_without(samples.log_weight))
    return bound + tf.reduce_sum(signal * samples.log_q, 0)


def score_function(samples: Samples, baseline: Any = 0.0) -> tf.Tensor:
    """The same by the score function, less a baseline that no sample enters."""
    bound = bound_of(samples.log_weight)
    signal = tf.stop_gradient(bound - baseline)
    return bound + signal * tf.reduce_sum(samples.log_q, 0)


def gradient(
    weights: Weights, per_image: Callable[[Weights], tf.Tensor]
) -> dict[str, tf.Tensor]:
    """The gradient of a mean over images, by each weight."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        value = tf.reduce_mean(per_image(weights))
    return tape.gradient(value, dict(weights))


# ---- Exact values, by all values of the latents.


def all_values(num_latents: int, dtype: tf.DType) -> tf.Tensor:
    """Every value of the latents: [2**num_latents, num_latents]."""
    values = list(itertools.product([0.0, 1.0], repeat=num_latents))
    return tf.constant(values, dtype)


def enumerate_samples(weights: Weights, x: tf.Tensor) -> Samples:
    """One "sample" for each value of the latents: [2**num_latents, batch]."""
    values = all_values(weights["prior"].shape[0], x.dtype)
    num_values, num_latents = values.shape
    shape = [num_values, x.shape[0], num_latents]
    with ppl.substitute(q_h=tf.broadcast_to(values[:, tf.newaxis], shape)):
        return draw(weights, x, num_values)


def exact_log_prob(weights: Weights, x: tf.Tensor) -> tf.Tensor:
    """log p(x): [batch]."""
    log_weight, log_q = enumerate_samples(weights, x)
    return tf.reduce_logsumexp(log_weight + log_q, 0)


def exact_bound(weights: Weights, x: tf.Tensor, num_samples: int) -> tf.Tensor:
    """The mean of the bound of `num_samples` samples: [batch].

    The sum has 2**(num_samples * num_latents) terms.
    """
    log_weight, log_q = enumerate_samples(weights, x)
    total, log_prob = log_weight, log_q
    for _ in range(num_samples - 1):  # one axis a sample, the images last
        total = tfp.math.log_add_exp(total[..., tf.newaxis, :], log_weight)
        log_prob = log_prob[..., tf.newaxis, :] + log_q
    terms = tf.exp(log_prob) * (total - np.log(num_samples))
    return tf.reduce_sum(terms, list(range(num_samples)))
