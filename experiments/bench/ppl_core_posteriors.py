"""Our sampler with its warm-up, as one of the systems on the posteriors."""

import time

import numpy as np

import ppl_core as ppl
from experiments.bench.posteriors import MODELS, build
from experiments.bench.problems import PosteriorProblem, PosteriorRun, Protocol
from experiments.inference import drawing, sampling
from experiments.inference.results import constrain_draws
from experiments.inference.samples import concatenate
from experiments.inference.warmup_state import WarmupSettings


def run(
    problem: PosteriorProblem,
    protocol: Protocol,
    seed: int,
    *,
    posterior: ppl.Posterior | None = None,
    jit_compile: bool = True,
    first_chain: int = 0,
    pooled: bool | None = None,
) -> PosteriorRun:
    """NUTS with its defaults: the traced program and the sampler compiled by XLA.

    posterior: None: of the model's program and the problem's data.
    first_chain: the number of the first, where other processes have those before it.
    pooled: as `WarmupSettings` takes it.
    """
    begin = time.perf_counter()
    if posterior is None:
        posterior = build(MODELS[problem.name], problem.data)
    settings = WarmupSettings(
        num_warmup=protocol.num_warmup,
        target_accept=protocol.target_accept,
        max_depth=protocol.max_depth,
        pooled=pooled,
    )
    kernel = sampling.compile_posterior(
        posterior,
        settings,
        num_chains=protocol.num_chains,
        jit_compile=jit_compile,
        first_chain=first_chain,
    )
    kernel.build()
    built = warmed = time.perf_counter()
    warmup_leapfrogs, drawn = 0, []
    step_size: list[float] = []
    for chunk in drawing.chunks(
        kernel,
        settings,
        num_draws=protocol.num_draws,
        seed=drawing.seed_pair(seed),
        posterior=posterior,
    ):
        if chunk.warmup is None:
            warmup_leapfrogs += int(chunk.samples.leapfrogs.sum())
            warmed = time.perf_counter()
        else:
            drawn.append(chunk.samples)
            step_size = np.ravel(chunk.warmup.step_size).tolist()
    done = time.perf_counter()
    samples = concatenate(drawn, axis=1)
    values = constrain_draws(samples, posterior.constrain)
    return PosteriorRun(
        values={name: values[name] for name in problem.compared},
        leapfrogs=samples.leapfrogs.astype(np.int64),
        diverged=samples.diverged,
        warmup_leapfrogs=warmup_leapfrogs,
        seconds={
            "build": built - begin,
            "warmup": warmed - built,
            "sampling": done - warmed,
        },
        settings={"metric": settings.metric, "step_size": step_size},
    )
