"""A hidden Markov model whose states are summed out (Rabiner 1989, section III.A)."""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

import ppl_core as ppl
from experiments.bench.posteriors.model import BenchModel, Data

STATES = 3
LENGTH = 150


def make_data() -> Data:
    random = np.random.default_rng(11)
    rows = np.array([[0.8, 0.15, 0.05], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7]])
    state, y = 0, []
    for _ in range(LENGTH):
        y.append(random.normal([-2.0, 1.0, 4.0][state], 1.0))
        state = random.choice(STATES, p=rows[state])
    return {"T": np.array(LENGTH), "K": np.array(STATES), "y": np.array(y)}


def program(y: Any) -> None:
    rows = ppl.Dirichlet([2.0] * STATES, sample_shape=STATES, name="transition")
    mu = ppl.Normal([-2.0, 1.0, 4.0], 2.0, bijector=tfb.Ascending(), name="mu")
    sigma = ppl.HalfNormal(1.0, name="sigma")
    terms = tfd.Normal(mu.value, sigma.value).log_prob(y[:, None])  # [time, state]
    ppl.factor(marginal(rows.value, terms), "y")


def marginal(rows: Any, terms: Any) -> Any:
    """The log probability of the data, the first state being uniform.

    rows: transition probabilities [state, next].
    terms: log probabilities of each datum in each state, [time, state].

    The product of the steps' matrices is taken in pairs, as a tree: no loop over time.
    Each matrix is kept at a largest entry of 1, its logarithm beside it.
    """
    largest = tf.reduce_max(terms, axis=1, keepdims=True)
    scale = tf.reduce_sum(largest)
    weights = tf.exp(terms - largest)
    steps = rows * weights[1:, None, :]  # [time - 1, state, next]
    while steps.shape[0] > 1:
        odd = steps[-1:] if steps.shape[0] % 2 else steps[:0]
        even = steps[: steps.shape[0] // 2 * 2]
        pairs = tf.matmul(even[::2], even[1::2])
        top = tf.stop_gradient(tf.reduce_max(pairs, axis=[1, 2], keepdims=True))
        scale += tf.reduce_sum(tf.math.log(top))
        steps = tf.concat([pairs / top, odd], 0)
    total = tf.reduce_sum(tf.linalg.matvec(steps[0], weights[0], transpose_a=True))
    return scale + tf.math.log(total / STATES)


STAN = """
data {
  int T;
  int K;
  vector[T] y;
}
parameters {
  array[K] simplex[K] transition;
  ordered[K] mu;
  real<lower=0> sigma;
}
model {
  matrix[K, T] log_omega;
  matrix[K, K] Gamma;
  for (k in 1:K) {
    transition[k] ~ dirichlet(rep_vector(2, K));
    Gamma[k] = transition[k]';
    for (t in 1:T)
      log_omega[k, t] = normal_lpdf(y[t] | mu[k], sigma);
  }
  mu ~ normal([-2, 1, 4]', 2);
  sigma ~ normal(0, 1);
  target += hmm_marginal(log_omega, Gamma, rep_vector(1.0 / K, K));
}
"""

MODELS = (
    BenchModel(
        name="hidden_markov",
        about="3 hidden states over 150 steps, summed out; simplexes",
        make_data=make_data,
        program=program,
        arguments=("y",),
        observed=(),
        stan=STAN,
        parameters={"transition": "simplex", "mu": "ordered", "sigma": "positive"},
    ),
)
