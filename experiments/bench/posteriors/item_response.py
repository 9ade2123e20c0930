"""The two-parameter logistic model of item responses (Birnbaum 1968)."""

import numpy as np

import ppl_core as ppl
from experiments.bench.posteriors.model import BenchModel, Data

ITEMS, PEOPLE = 20, 100


def make_data() -> Data:
    random = np.random.default_rng(12)
    theta = random.normal(size=PEOPLE)
    a, b = random.lognormal(0.0, 0.4, ITEMS), random.normal(0.3, 1.2, ITEMS)
    logits = a[:, None] * (theta[None, :] - b[:, None])
    y = random.random(logits.shape) < 1 / (1 + np.exp(-logits))
    return {"I": np.array(ITEMS), "J": np.array(PEOPLE), "y": y.astype(np.int64)}


def program() -> None:
    sigma_theta = ppl.HalfCauchy(0.0, 2.0, name="sigma_theta")
    theta = ppl.Normal(0.0, sigma_theta, sample_shape=PEOPLE, name="theta")
    sigma_a = ppl.HalfCauchy(0.0, 2.0, name="sigma_a")
    a = ppl.LogNormal(0.0, sigma_a, sample_shape=ITEMS, name="a")
    mu_b = ppl.Normal(0.0, 5.0, name="mu_b")
    sigma_b = ppl.HalfCauchy(0.0, 2.0, name="sigma_b")
    b = ppl.Normal(mu_b, sigma_b, sample_shape=ITEMS, name="b")
    logits = a[:, None] * (theta[None, :] - b[:, None])
    ppl.Bernoulli(logits=logits, name="y")


STAN = """
data {
  int I;
  int J;
  array[I, J] int y;
}
parameters {
  real<lower=0> sigma_theta;
  vector[J] theta;
  real<lower=0> sigma_a;
  vector<lower=0>[I] a;
  real mu_b;
  real<lower=0> sigma_b;
  vector[I] b;
}
model {
  sigma_theta ~ cauchy(0, 2);
  theta ~ normal(0, sigma_theta);
  sigma_a ~ cauchy(0, 2);
  a ~ lognormal(0, sigma_a);
  mu_b ~ normal(0, 5);
  sigma_b ~ cauchy(0, 2);
  b ~ normal(mu_b, sigma_b);
  for (i in 1:I)
    y[i] ~ bernoulli_logit(a[i] * (theta - b[i]));
}
"""

MODELS = (
    BenchModel(
        name="item_response",
        about="2PL of 20 items and 100 people: 144 parameters",
        make_data=make_data,
        program=program,
        arguments=(),
        observed=("y",),
        stan=STAN,
        reference_settings={"num_draws": 26000},
        parameters={
            "sigma_theta": "positive",
            "theta": "real",
            "sigma_a": "positive",
            "a": "positive",
            "mu_b": "real",
            "sigma_b": "positive",
            "b": "real",
        },
    ),
)
