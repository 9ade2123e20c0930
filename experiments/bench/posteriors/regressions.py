"""Linear regressions on predictors that are far from 0, badly scaled, or indicators."""

from typing import Any

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.bench.posteriors.model import BenchModel, Data


def exam_scores_data() -> Data:
    """Scores of 434 children on a predictor with mean 100."""
    random = np.random.default_rng(1)
    x = random.normal(100.0, 15.0, 434)
    y = 26.0 + 0.6 * x + random.normal(0.0, 18.0, 434)
    return {"N": np.array(434), "x": x, "y": y}


def exam_scores(x: Any) -> None:
    beta = ppl.Flat(sample_shape=2, name="beta")
    sigma = ppl.HalfCauchy(0.0, 2.5, name="sigma")
    ppl.Normal(beta[0] + beta[1] * x, sigma, name="y")


EXAM_SCORES = """
data {
  int N;
  vector[N] x;
  vector[N] y;
}
parameters {
  vector[2] beta;
  real<lower=0> sigma;
}
model {
  sigma ~ cauchy(0, 2.5);
  y ~ normal(beta[1] + beta[2] * x, sigma);
}
"""


def yearly_temperatures_data() -> Data:
    """Summer temperatures of 62 years, on the calendar year as it is."""
    random = np.random.default_rng(2)
    year = np.arange(1952.0, 2014.0)
    y = 9.3 + 0.02 * (year - year.mean()) + random.normal(0.0, 1.1, len(year))
    return {"N": np.array(len(year)), "year": year, "y": y}


def yearly_temperatures(year: Any) -> None:
    alpha = ppl.Normal(9.3, 100.0, name="alpha")
    beta = ppl.Normal(0.0, 0.0333, name="beta")
    sigma = ppl.HalfFlat(name="sigma")
    ppl.Normal(alpha + beta * year, sigma, name="y")


YEARLY_TEMPERATURES = """
data {
  int N;
  vector[N] year;
  vector[N] y;
}
parameters {
  real alpha;
  real beta;
  real<lower=0> sigma;
}
model {
  alpha ~ normal(9.3, 100);
  beta ~ normal(0, 0.0333);
  y ~ normal(alpha + beta * year, sigma);
}
"""


def survey_data() -> Data:
    """Party identification of 600 people on opinions and indicators of age groups."""
    random = np.random.default_rng(3)
    num = 600
    ideology = random.integers(1, 8, num)
    age = random.integers(0, 4, num)
    columns = [
        np.ones(num),
        ideology,
        random.integers(1, 4, num) - 2,
        *(age == group for group in (1, 2, 3)),
        np.clip(random.integers(1, 5, num) + ideology // 4, 1, 4),
        random.integers(0, 2, num),
        random.integers(1, 6, num),
    ]
    x = np.stack(columns, axis=1).astype(np.float64)
    coeffs = np.array([1.8, 0.5, -1.1, -0.2, -0.1, -0.4, 0.3, 0.0, 0.15])
    y = x @ coeffs + random.normal(0.0, 1.9, num)
    return {"N": np.array(num), "D": np.array(x.shape[1]), "x": x, "y": y}


def survey(x: Any) -> None:
    beta = ppl.Flat(sample_shape=x.shape[1], name="beta")
    sigma = ppl.HalfFlat(name="sigma")
    ppl.Normal(tf.linalg.matvec(x, beta.value), sigma, name="y")


SURVEY = """
data {
  int N;
  int D;
  matrix[N, D] x;
  vector[N] y;
}
parameters {
  vector[D] beta;
  real<lower=0> sigma;
}
model {
  y ~ normal_id_glm(x, 0, beta, sigma);
}
"""

MODELS = (
    BenchModel(
        name="exam_scores",
        about="a regression whose intercept and slope correlate at -0.99",
        make_data=exam_scores_data,
        program=exam_scores,
        arguments=("x",),
        observed=("y",),
        stan=EXAM_SCORES,
        parameters={"beta": "real", "sigma": "positive"},
    ),
    BenchModel(
        name="yearly_temperatures",
        about="scales apart by a factor of 2,000, correlation -1.000: deep trees",
        make_data=yearly_temperatures_data,
        program=yearly_temperatures,
        arguments=("year",),
        observed=("y",),
        stan=YEARLY_TEMPERATURES,
        parameters={"alpha": "real", "beta": "real", "sigma": "positive"},
    ),
    BenchModel(
        name="survey",
        about="a regression on numbers and indicator columns",
        make_data=survey_data,
        program=survey,
        arguments=("x",),
        observed=("y",),
        stan=SURVEY,
        parameters={"beta": "real", "sigma": "positive"},
    ),
)
