"""Our sampler with its warm-up, as one of the systems on the posteriors."""

import time
from typing import NamedTuple

import numpy as np

from experiments.bench.posteriors import MODELS, build
from experiments.bench.problems import PosteriorProblem, PosteriorRun, Protocol
from experiments.inference import sampling
from experiments.inference.kernel import Kernel
from experiments.inference.results import constrain_draws
from experiments.inference.samples import Samples, concatenate
from experiments.inference.warmup_state import WarmupSettings


class _Timed(NamedTuple):
    """A run and the seconds of its two parts."""

    samples: Samples
    step_size: list[float]
    warmup_leapfrogs: int
    warmup: float
    sampling: float


def run(problem: PosteriorProblem, protocol: Protocol, seed: int) -> PosteriorRun:
    """NUTS with its defaults: the traced program and the sampler compiled by XLA.

    XLA compiles at the first call.  So the run is made twice, with the same draws; the
    second is timed, and what the first took longer is part of the build.
    """
    begin = time.perf_counter()
    posterior = build(MODELS[problem.name], problem.data)
    settings = WarmupSettings(
        num_warmup=protocol.num_warmup,
        target_accept=protocol.target_accept,
        max_depth=protocol.max_depth,
    )
    kernel = sampling.compile_posterior(
        posterior, settings, num_chains=protocol.num_chains
    )

    def sample() -> _Timed:
        return _sample(kernel, settings, posterior, protocol.num_draws, seed)

    sample()
    first = time.perf_counter() - begin
    again = sample()
    second = again.warmup + again.sampling
    values = constrain_draws(again.samples, posterior.constrain)
    return PosteriorRun(
        values={name: values[name] for name in problem.compared},
        leapfrogs=again.samples.leapfrogs.astype(np.int64),
        diverged=again.samples.diverged,
        warmup_leapfrogs=again.warmup_leapfrogs,
        seconds={
            "build": first - second,
            "warmup": again.warmup,
            "sampling": again.sampling,
        },
        settings={"metric": settings.metric, "step_size": again.step_size},
        cold_start_difference=-second,
    )


def _sample(
    kernel: Kernel, settings: WarmupSettings, posterior: object, num: int, seed: int
) -> _Timed:
    begin = warmed = time.perf_counter()
    warming, drawn = 0, []
    step_size: list[float] = []
    for chunk in sampling.chunks(
        kernel,
        settings,
        num_draws=num,
        seed=sampling.seed_pair(seed),
        posterior=posterior,
    ):
        if chunk.warmup is None:
            warming += int(chunk.samples.leapfrogs.sum())
            warmed = time.perf_counter()
        else:
            drawn.append(chunk.samples)
            step_size = np.ravel(chunk.warmup.step_size).tolist()
    done = time.perf_counter()
    return _Timed(
        concatenate(drawn, axis=1), step_size, warming, warmed - begin, done - warmed
    )
