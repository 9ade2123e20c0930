"""Eight schools (Rubin 1981; Gelman et al., Bayesian Data Analysis, section 5.5)."""

from typing import Any

import numpy as np

import ppl_core as ppl
from experiments.bench.posteriors.model import BenchModel, Data

EFFECTS = [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]
ERRORS = [15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]


def make_data() -> Data:
    return {"J": np.array(8), "y": np.array(EFFECTS), "sigma": np.array(ERRORS)}


def centred(sigma: Any) -> None:
    mu = ppl.Normal(0.0, 5.0, name="mu")
    tau = ppl.HalfCauchy(0.0, 5.0, name="tau")
    theta = ppl.Normal(mu, tau, sample_shape=8, name="theta")
    ppl.Normal(theta, sigma, name="y")


def noncentred(sigma: Any) -> None:
    mu = ppl.Normal(0.0, 5.0, name="mu")
    tau = ppl.HalfCauchy(0.0, 5.0, name="tau")
    base = ppl.Normal(0.0, 1.0, sample_shape=8, name="theta_base")
    theta = ppl.deterministic(mu + tau * base, "theta")
    ppl.Normal(theta, sigma, name="y")


_DATA = """
data {
  int J;
  vector[J] y;
  vector<lower=0>[J] sigma;
}
"""
CENTRED = (
    _DATA
    + """
parameters {
  real mu;
  real<lower=0> tau;
  vector[J] theta;
}
model {
  mu ~ normal(0, 5);
  tau ~ cauchy(0, 5);
  theta ~ normal(mu, tau);
  y ~ normal(theta, sigma);
}
"""
)
NONCENTRED = (
    _DATA
    + """
parameters {
  real mu;
  real<lower=0> tau;
  vector[J] theta_base;
}
transformed parameters {
  vector[J] theta = mu + tau * theta_base;
}
model {
  mu ~ normal(0, 5);
  tau ~ cauchy(0, 5);
  theta_base ~ std_normal();
  y ~ normal(theta, sigma);
}
"""
)

MODELS = (
    BenchModel(
        name="eight_schools_centred",
        about="a hierarchy of 10 with a funnel: NUTS diverges",
        make_data=make_data,
        program=centred,
        arguments=("sigma",),
        observed=("y",),
        stan=CENTRED,
        parameters={"mu": "real", "tau": "positive", "theta": "real"},
        reference="eight_schools_noncentred",
    ),
    BenchModel(
        name="eight_schools_noncentred",
        about="the same hierarchy in standard normal effects",
        make_data=make_data,
        program=noncentred,
        arguments=("sigma",),
        observed=("y",),
        stan=NONCENTRED,
        parameters={"mu": "real", "tau": "positive", "theta_base": "real"},
        compared=("mu", "tau", "theta"),
    ),
)
