"""Time series: AR(5), ARMA(1, 1), GARCH(1, 1) and stochastic volatility."""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

import ppl_core as ppl
from experiments.bench.posteriors.model import BenchModel, Between, Data

LENGTH = 200


def recursion(coeff: Any, terms: Any) -> Any:
    """x with x[t] = coeff x[t - 1] + terms[t] and x[-1] = 0, without a loop over t.

    Each turn adds what lies twice as far back (Hillis and Steele 1986).
    """
    num, back = terms.shape[0], 1
    while back < num:
        earlier = tf.pad(terms[:-back], [[back, 0]])
        terms = terms + coeff * earlier
        coeff, back = coeff * coeff, 2 * back
    return terms


def autoregression_data() -> Data:
    random = np.random.default_rng(7)
    y = [0.0] * 5
    for _ in range(LENGTH):
        mean = 0.3 + np.dot([0.5, 0.2, -0.2, 0.1, 0.15], y[:-6:-1])
        y.append(random.normal(mean, 0.7))
    return {"T": np.array(LENGTH), "K": np.array(5), "y": np.array(y[5:])}


def autoregression(y: Any) -> None:
    alpha = ppl.Normal(0.0, 10.0, name="alpha")
    beta = ppl.Normal(0.0, 10.0, sample_shape=5, name="beta")
    sigma = ppl.HalfCauchy(0.0, 2.5, name="sigma")
    lags = tf.stack([y[4 - k : LENGTH - 1 - k] for k in range(5)], axis=1)
    mean = alpha + tf.linalg.matvec(lags, beta.value)
    ppl.Normal(mean, sigma, value=y[5:], name="later")


AUTOREGRESSION = """
data {
  int T;
  int K;
  vector[T] y;
}
parameters {
  real alpha;
  vector[K] beta;
  real<lower=0> sigma;
}
model {
  alpha ~ normal(0, 10);
  beta ~ normal(0, 10);
  sigma ~ cauchy(0, 2.5);
  for (t in (K + 1):T) {
    real mu = alpha;
    for (k in 1:K)
      mu += beta[k] * y[t - k];
    y[t] ~ normal(mu, sigma);
  }
}
"""


def moving_average_data() -> Data:
    random = np.random.default_rng(8)
    y, error = [], 0.0
    for _ in range(LENGTH):
        mean = 0.4 + 0.8 * (y[-1] if y else 2.0) + 0.3 * error
        y.append(random.normal(mean, 0.5))
        error = y[-1] - mean
    return {"T": np.array(LENGTH), "y": np.array(y)}


def moving_average(y: Any) -> None:
    mu = ppl.Normal(0.0, 10.0, name="mu")
    phi = ppl.Normal(0.0, 2.0, name="phi")
    # Invertible: beyond 1 there are ridges on which chains of every system stick.
    theta = ppl.Uniform(-1.0, 1.0, name="theta")
    sigma = ppl.HalfCauchy(0.0, 2.5, name="sigma")
    before = tf.concat([[mu], y[:-1]], 0)
    errors = recursion(-theta, y - mu - phi * before)
    ppl.Normal(0.0, sigma, sample_shape=LENGTH, value=errors, name="errors")


MOVING_AVERAGE = """
data {
  int T;
  vector[T] y;
}
parameters {
  real mu;
  real phi;
  real<lower=-1, upper=1> theta;
  real<lower=0> sigma;
}
model {
  vector[T] err;
  mu ~ normal(0, 10);
  phi ~ normal(0, 2);
  sigma ~ cauchy(0, 2.5);
  err[1] = y[1] - (mu + phi * mu);
  for (t in 2:T)
    err[t] = y[t] - (mu + phi * y[t - 1] + theta * err[t - 1]);
  err ~ normal(0, sigma);
}
"""


def garch_data() -> Data:
    random = np.random.default_rng(9)
    y, variance = [], 1.5
    for _ in range(LENGTH):
        y.append(random.normal(5.0, variance**0.5))
        variance = 0.5 + 0.35 * (y[-1] - 5.0) ** 2 + 0.4 * variance
    return {"T": np.array(LENGTH), "y": np.array(y), "sigma1": np.array(1.2)}


def garch(y: Any, sigma1: Any) -> None:
    mu = ppl.Flat(name="mu")
    alpha0 = ppl.HalfFlat(name="alpha0")
    alpha1 = ppl.Uniform(0.0, 1.0, name="alpha1")
    # Flat below 1 - alpha1: a Uniform would have that length in its density.
    beta1 = ppl.Flat(bijector=tfb.Sigmoid(0.0, 1.0 - alpha1), name="beta1")
    terms = alpha0 + alpha1 * (y[:-1] - mu) ** 2
    later = recursion(beta1, tf.concat([[sigma1**2], terms], 0))
    ppl.Normal(mu, tf.sqrt(later), name="y")


GARCH = """
data {
  int T;
  vector[T] y;
  real<lower=0> sigma1;
}
parameters {
  real mu;
  real<lower=0> alpha0;
  real<lower=0, upper=1> alpha1;
  real<lower=0, upper=(1 - alpha1)> beta1;
}
model {
  vector[T] sigma;
  sigma[1] = sigma1;
  for (t in 2:T)
    sigma[t] = sqrt(alpha0 + alpha1 * square(y[t - 1] - mu)
                    + beta1 * square(sigma[t - 1]));
  y ~ normal(mu, sigma);
}
"""


def volatility_data() -> Data:
    random = np.random.default_rng(10)
    h = [-1.0]
    for _ in range(LENGTH - 1):
        h.append(-1.0 + 0.93 * (h[-1] + 1.0) + 0.4 * random.normal())
    y = np.exp(np.array(h) / 2) * random.normal(size=LENGTH)
    return {"T": np.array(LENGTH), "y": y}


def volatility() -> None:
    """The priors of Kim, Shephard and Chib (1998), section 3.1, but for sigma."""
    mu = ppl.Normal(0.0, 5.0, name="mu")
    persistence = ppl.Beta(20.0, 1.5, name="persistence")
    phi = 2.0 * persistence - 1.0
    sigma = ppl.HalfNormal(0.5, name="sigma")
    base = ppl.Normal(0.0, 1.0, sample_shape=LENGTH, name="h_base")
    first = sigma * base[:1] / tf.sqrt(1.0 - phi**2)
    h = mu + recursion(phi, tf.concat([first, sigma * base[1:]], 0))
    ppl.Normal(0.0, tf.exp(h / 2.0), name="y")


VOLATILITY = """
data {
  int T;
  vector[T] y;
}
parameters {
  real mu;
  real<lower=0, upper=1> persistence;
  real<lower=0> sigma;
  vector[T] h_base;
}
model {
  real phi = 2 * persistence - 1;
  vector[T] h = sigma * h_base;
  mu ~ normal(0, 5);
  persistence ~ beta(20, 1.5);
  sigma ~ normal(0, 0.5);
  h_base ~ std_normal();
  h[1] /= sqrt(1 - square(phi));
  for (t in 2:T)
    h[t] += phi * h[t - 1];
  y ~ normal(0, exp((mu + h) / 2));
}
"""

MODELS = (
    BenchModel(
        name="autoregression",
        about="AR(5) of 200 steps",
        make_data=autoregression_data,
        program=autoregression,
        arguments=("y",),
        observed=(),
        stan=AUTOREGRESSION,
        parameters={"alpha": "real", "beta": "real", "sigma": "positive"},
    ),
    BenchModel(
        name="arma",
        about="ARMA(1, 1) of 200 steps: a recursion through the errors",
        make_data=moving_average_data,
        program=moving_average,
        arguments=("y",),
        observed=(),
        stan=MOVING_AVERAGE,
        parameters={
            "mu": "real",
            "phi": "real",
            "theta": Between(lambda _: -1.0, lambda _: 1.0),
            "sigma": "positive",
        },
    ),
    BenchModel(
        name="garch",
        about="GARCH(1, 1) of 200 steps: a recursion, and a bound by another parameter",
        make_data=garch_data,
        program=garch,
        arguments=("y", "sigma1"),
        observed=("y",),
        stan=GARCH,
        parameters={
            "mu": "real",
            "alpha0": "positive",
            "alpha1": "unit",
            "beta1": Between(lambda _: 0.0, lambda of: 1.0 - of["alpha1"]),
        },
    ),
    BenchModel(
        name="stochastic_volatility",
        about="200 latent volatilities in standard normal steps",
        make_data=volatility_data,
        program=volatility,
        arguments=(),
        observed=("y",),
        stan=VOLATILITY,
        reference_settings={"target_accept": 0.998},
        no_reference="with a target acceptance of 0.99, 23 of 40,000 draws of the long "
        "run of Stan diverged, where the persistence is above 0.98",
        parameters={
            "mu": "real",
            "persistence": "unit",
            "sigma": "positive",
            "h_base": "real",
        },
    ),
)
