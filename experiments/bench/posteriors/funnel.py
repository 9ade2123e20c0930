"""Neal's funnel (Neal 2003, section 8): no step size suits the neck and the mouth."""

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.bench.posteriors.model import BenchModel, Data


def make_data() -> Data:
    return {"D": np.array(9)}


def program() -> None:
    v = ppl.Normal(0.0, 3.0, name="v")
    ppl.Normal(0.0, tf.exp(v / 2.0), sample_shape=9, name="x")


STAN = """
data {
  int D;
}
parameters {
  real v;
  vector[D] x;
}
model {
  v ~ normal(0, 3);
  x ~ normal(0, exp(v / 2));
}
"""

MODELS = (
    BenchModel(
        name="funnel",
        about="10 dimensions, sd 3 of the neck: NUTS fails",
        make_data=make_data,
        program=program,
        arguments=(),
        observed=(),
        stan=STAN,
        parameters={"v": "real", "x": "real"},
        compared=("v",),
        exact={"v": {"mean": 0.0, "mean_of_squares": 9.0}},
    ),
)
