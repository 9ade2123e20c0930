"""Our variational inference, as one of the compared systems."""

import time
from typing import Any

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments import inference
from experiments.bench.posteriors import MODELS, build
from experiments.bench.problems import VariationalProblem, VariationalRun
from experiments.inference.variational import FIRST_STEPS


def run(problem: VariationalProblem) -> VariationalRun:
    """`fit_vi` with a mean-field guide; the build ends with its first few steps."""
    begin = time.perf_counter()
    posterior = posterior_of(problem)
    guide = inference.mean_field(posterior, scale=problem.scale)
    rows = {} if problem.batch_size is None else {"rows": ["x", "y"]}
    fit = inference.fit_vi(
        posterior,
        guide,
        num_steps=problem.num_steps,
        learning_rate=problem.learning_rate,
        seed=problem.seed,
        batch_size=problem.batch_size,
        **rows,
    )
    steps = (fit.seconds - fit.build_seconds) / (fit.num_steps - FIRST_STEPS)
    seconds = {"steps": steps * fit.num_steps}
    seconds["build"] = time.perf_counter() - begin - seconds["steps"]
    sizes = np.cumsum(posterior.sizes)[:-1]
    scale = np.exp(fit.params["log_scale"])
    parts = (np.split(part, sizes) for part in (fit.params["loc"], scale))
    means, deviations = (
        dict(zip(posterior.names, part, strict=True)) for part in parts
    )
    return VariationalRun(means, deviations, seconds)


def posterior_of(problem: VariationalProblem) -> ppl.Posterior:
    """The posterior of all rows, whose program takes batches too."""
    if problem.batch_size is None:
        return build(MODELS[problem.name], dict(problem.data))
    x = np.asarray(problem.data["x"], np.float64)
    num_rows = len(x)

    def program(x: Any) -> None:
        beta = ppl.Normal(0.0, 1.0, sample_shape=x.shape[1], name="beta")
        with ppl.plate("row", x.shape[0], total=num_rows):
            ppl.Bernoulli(logits=tf.linalg.matvec(x, beta.value), name="y")

    return ppl.posterior(program, x, observed={"y": problem.data["y"]})
