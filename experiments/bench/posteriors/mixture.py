"""A mixture of two normal distributions, told apart by their order."""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

import ppl_core as ppl
from experiments.bench.posteriors.model import BenchModel, Data


def make_data() -> Data:
    random = np.random.default_rng(5)
    first = random.random(500) < 0.4
    y = np.where(first, random.normal(-1.2, 1.0, 500), random.normal(1.6, 0.7, 500))
    return {"N": np.array(500), "y": y}


def program(num: Any) -> None:
    theta = ppl.Beta(5.0, 5.0, name="theta")
    mu = ppl.Normal(
        0.0, 2.0, sample_shape=2, bijector=tfb.Ascending(), name="mu"
    )  # in order
    sigma = ppl.HalfNormal(2.0, sample_shape=2, name="sigma")
    ppl.MixtureSameFamily(
        tfd.Categorical(probs=tf.stack([theta, 1.0 - theta])),
        tfd.Normal(mu, sigma),
        sample_shape=int(num),
        name="y",
    )


STAN = """
data {
  int N;
  vector[N] y;
}
parameters {
  real<lower=0, upper=1> theta;
  ordered[2] mu;
  vector<lower=0>[2] sigma;
}
model {
  theta ~ beta(5, 5);
  mu ~ normal(0, 2);
  sigma ~ normal(0, 2);
  for (n in 1:N)
    target += log_mix(theta, normal_lpdf(y[n] | mu[1], sigma[1]),
                      normal_lpdf(y[n] | mu[2], sigma[2]));
}
"""

MODELS = (
    BenchModel(
        name="gaussian_mixture",
        about="two overlapping components, means in order",
        make_data=make_data,
        program=program,
        arguments=("N",),
        observed=("y",),
        stan=STAN,
        parameters={"theta": "unit", "mu": "ordered", "sigma": "positive"},
    ),
)
