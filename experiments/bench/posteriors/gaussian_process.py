"""Regression by a Gaussian process with a squared-exponential kernel.

Rasmussen and Williams (2006), sections 2.2 and 5.4.
"""

from typing import Any

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.bench.posteriors.model import BenchModel, Data


def make_data() -> Data:
    random = np.random.default_rng(6)
    x = np.sort(random.uniform(-10.0, 10.0, 40))
    y = 2.0 * np.sin(0.6 * x) + 0.1 * x + random.normal(0.0, 0.5, len(x))
    return {"N": np.array(len(x)), "x": x, "y": y}


def program(x: Any) -> None:
    rho = ppl.Gamma(5.0, 2.0, name="rho")  # length scale
    alpha = ppl.HalfNormal(2.0, name="alpha")
    sigma = ppl.HalfNormal(1.0, name="sigma")
    squares = (x[:, None] - x[None, :]) ** 2
    kernel = alpha**2 * tf.exp(-0.5 * squares / rho**2)
    diagonal = tf.fill([x.shape[0]], sigma**2)
    factor = tf.linalg.cholesky(tf.linalg.set_diag(kernel, alpha**2 + diagonal))
    ppl.MultivariateNormalTriL(scale_tril=factor, name="y")


STAN = """
data {
  int N;
  array[N] real x;
  vector[N] y;
}
parameters {
  real<lower=0> rho;
  real<lower=0> alpha;
  real<lower=0> sigma;
}
model {
  matrix[N, N] K = add_diag(gp_exp_quad_cov(x, alpha, rho), square(sigma));
  rho ~ gamma(5, 2);
  alpha ~ normal(0, 2);
  sigma ~ normal(0, 1);
  y ~ multi_normal_cholesky(rep_vector(0, N), cholesky_decompose(K));
}
"""

MODELS = (
    BenchModel(
        name="gaussian_process",
        about="a Cholesky factor of 40 x 40 in each gradient",
        make_data=make_data,
        program=program,
        arguments=("x",),
        observed=("y",),
        stan=STAN,
        parameters={"rho": "positive", "alpha": "positive", "sigma": "positive"},
    ),
)
