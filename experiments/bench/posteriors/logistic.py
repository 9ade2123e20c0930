"""Logistic regressions: simulated credit data, and the whole of Covertype."""

from typing import Any

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.bench.posteriors.model import BenchModel, Data, LongRun
from experiments.datasets import load_covertype


def credit_data() -> Data:
    """1,000 applicants, 24 standardised columns of which many are skewed or correlated.

    The sizes are those of the German credit data; the numbers are simulated.
    """
    random = np.random.default_rng(13)
    common = random.normal(size=(1000, 1))
    amounts = np.exp(0.8 * (random.normal(size=(1000, 6)) + common))
    ranks = np.round(random.normal(size=(1000, 8)) + 0.7 * common)
    indicators = random.random((1000, 10)) < random.uniform(0.05, 0.5, 10)
    columns = np.concatenate([amounts, ranks, indicators], axis=1)
    columns = (columns - columns.mean(0)) / columns.std(0)
    x = np.concatenate([columns, np.ones((1000, 1))], axis=1)
    coeffs = np.append(random.normal(0.0, 0.4, 24), -1.2)
    y = random.random(1000) < 1 / (1 + np.exp(-x @ coeffs))
    sizes = {"N": np.array(len(x)), "D": np.array(x.shape[1])}
    return {**sizes, "x": x, "y": y.astype(np.int64)}


def covertype_data() -> Data:
    """All 581,012 rows and 55 columns, with the paper's labels."""
    problem = load_covertype()
    sizes = {"N": np.array(problem.rows), "D": np.array(problem.dim)}
    return {**sizes, "x": problem.features, "y": problem.labels}


def program(x: Any) -> None:
    """x: features [rows, columns], the last of ones."""
    beta = ppl.Normal(0.0, 1.0, sample_shape=x.shape[1], name="beta")
    ppl.Bernoulli(logits=tf.linalg.matvec(x, beta.value), name="y")


STAN = """
data {
  int N;
  int D;
  matrix[N, D] x;
  array[N] int y;
}
parameters {
  vector[D] beta;
}
model {
  beta ~ std_normal();
  y ~ bernoulli_logit_glm(x, 0, beta);
}
"""


def whitened(data: Data) -> Data:
    """The data in coordinates z, in which the posterior is nearly N(0, I).

    beta = mode + factor z, of which the factor is a root of the inverse Hessian at the
    mode, by Newton's method.
    """
    x, y = data["x"].astype(np.float64), data["y"]
    mode = np.zeros(x.shape[1])
    for _ in range(30):
        share = 1 / (1 + np.exp(-(x @ mode)))
        grad = x.T @ (y - share) - mode
        hessian = (x * (share * (1 - share))[:, None]).T @ x + np.eye(len(mode))
        step = np.linalg.solve(hessian, grad)
        mode += step
        if grad @ step < 1e-12:
            break
    else:
        raise ValueError("covertype: Newton's method did not converge in 30 steps")
    factor = np.linalg.inv(np.linalg.cholesky(hessian)).T
    sizes = {name: data[name] for name in ("N", "D")}
    made = {"x": x @ factor, "shift": x @ mode, "mode": mode, "factor": factor}
    return {**sizes, **made, "y": y}


WHITENED = """
data {
  int N;
  int D;
  matrix[N, D] x;
  vector[N] shift;
  vector[D] mode;
  matrix[D, D] factor;
  array[N] int y;
}
parameters {
  vector[D] z;
}
transformed parameters {
  vector[D] beta = mode + factor * z;
}
model {
  beta ~ std_normal();
  y ~ bernoulli_logit_glm(x, shift, z);
}
"""

_SHARED: dict[str, Any] = {
    "program": program,
    "arguments": ("x",),
    "observed": ("y",),
    "stan": STAN,
    "parameters": {"beta": "real"},
}
MODELS = (
    BenchModel(
        name="credit",
        about="logistic regression of 1,000 rows and 25 columns",
        make_data=credit_data,
        **_SHARED,
    ),
    BenchModel(
        name="covertype",
        about="logistic regression of 581,012 rows and 55 columns, collinear in groups",
        make_data=covertype_data,
        long_run=LongRun(WHITENED, whitened),
        no_reference="a run of Stan long enough takes an hour, and was not made yet",
        reference_settings={"num_warmup": 300, "num_draws": 2500, "target_accept": 0.8},
        **_SHARED,
    ),
)
