"""A varying-intercept regression like that of radon in Minnesota's houses.

Gelman and Hill (2007), chapter 12.  The data are simulated at the original's sizes: 919
houses in 85 counties, of which some have one or two.
"""

from typing import Any

import numpy as np

import ppl_core as ppl
from experiments.bench.posteriors.model import BenchModel, Data

COUNTIES, HOUSES = 85, 919


def make_data() -> Data:
    random = np.random.default_rng(4)
    share = random.gamma(0.6, size=COUNTIES)
    county = np.concatenate(
        [
            np.arange(COUNTIES),
            random.choice(COUNTIES, HOUSES - COUNTIES, p=share / share.sum()),
        ]
    )
    uranium = random.normal(0.0, 0.4, COUNTIES)
    floor = (random.random(HOUSES) < 0.17).astype(np.float64)
    alpha = 1.46 + 0.72 * uranium + random.normal(0.0, 0.16, COUNTIES)
    y = alpha[county] - 0.69 * floor + random.normal(0.0, 0.76, HOUSES)
    return {
        "N": np.array(HOUSES),
        "J": np.array(COUNTIES),
        "county": county + 1,
        "uranium": uranium,
        "floor": floor,
        "y": y,
    }


def centred(county: Any, uranium: Any, floor: Any) -> None:
    gamma, beta, sigma_alpha, sigma = _top()
    alpha = ppl.Normal(gamma[0] + gamma[1] * uranium, sigma_alpha, name="alpha")
    ppl.Normal(alpha[county - 1] + beta * floor, sigma, name="y")


def noncentred(county: Any, uranium: Any, floor: Any) -> None:
    gamma, beta, sigma_alpha, sigma = _top()
    base = ppl.Normal(0.0, 1.0, sample_shape=COUNTIES, name="alpha_base")
    alpha = ppl.deterministic(
        gamma[0] + gamma[1] * uranium + sigma_alpha * base, "alpha"
    )
    ppl.Normal(alpha[county - 1] + beta * floor, sigma, name="y")


def _top() -> tuple[Any, Any, Any, Any]:
    """The parameters above the counties' own."""
    return (
        ppl.Normal(0.0, 5.0, sample_shape=2, name="gamma"),
        ppl.Normal(0.0, 5.0, name="beta"),
        ppl.HalfNormal(1.0, name="sigma_alpha"),
        ppl.HalfNormal(1.0, name="sigma"),
    )


_DATA = """
data {
  int N;
  int J;
  array[N] int county;
  vector[J] uranium;
  vector[N] floor;
  vector[N] y;
}
"""
_PRIORS = """
  gamma ~ normal(0, 5);
  beta ~ normal(0, 5);
  sigma_alpha ~ normal(0, 1);
  sigma ~ normal(0, 1);
"""
_TOP = """
  vector[2] gamma;
  real beta;
  real<lower=0> sigma_alpha;
  real<lower=0> sigma;
"""
CENTRED = f"""
{_DATA}
parameters {{
{_TOP}
  vector[J] alpha;
}}
model {{
{_PRIORS}
  alpha ~ normal(gamma[1] + gamma[2] * uranium, sigma_alpha);
  y ~ normal(alpha[county] + beta * floor, sigma);
}}
"""
NONCENTRED = f"""
{_DATA}
parameters {{
{_TOP}
  vector[J] alpha_base;
}}
transformed parameters {{
  vector[J] alpha = gamma[1] + gamma[2] * uranium + sigma_alpha * alpha_base;
}}
model {{
{_PRIORS}
  alpha_base ~ std_normal();
  y ~ normal(alpha[county] + beta * floor, sigma);
}}
"""

_TOP_NAMES = ("gamma", "beta", "sigma_alpha", "sigma")
_TOP_PARAMETERS = {
    "gamma": "real",
    "beta": "real",
    "sigma_alpha": "positive",
    "sigma": "positive",
}
_SHARED: dict[str, Any] = {
    "make_data": make_data,
    "arguments": ("county", "uranium", "floor"),
    "observed": ("y",),
    "compared": (*_TOP_NAMES, "alpha"),
}

MODELS = (
    BenchModel(
        name="radon_centred",
        about="a hierarchy of 85 counties, centred",
        program=centred,
        stan=CENTRED,
        parameters=_TOP_PARAMETERS | {"alpha": "real"},
        reference="radon_noncentred",
        **_SHARED,
    ),
    BenchModel(
        name="radon_noncentred",
        about="a hierarchy of 85 counties in standard normal effects",
        program=noncentred,
        stan=NONCENTRED,
        parameters=_TOP_PARAMETERS | {"alpha_base": "real"},
        **_SHARED,
    ),
)
