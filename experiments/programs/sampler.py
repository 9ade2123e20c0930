"""The sampler of a program's posterior, by the chunk."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.inference import SamplerSettings, Samples, chain, starts

Run = Callable[[int], Iterator[Samples]]  # from the number of draws that are done


class Settings(NamedTuple):
    """What is drawn, and how."""

    num_chains: int
    num_warmup: int
    num_draws: int
    step_size: float | None
    max_depth: int
    seed: int

    def identity(self) -> dict[str, Any]:
        """What the draws depend on: a run with other values is another one."""
        return {
            name: value for name, value in self._asdict().items() if name != "num_draws"
        }

    def in_force(self) -> dict[str, Any]:
        """What a summary says of the run."""
        return {"num_warmup": self.num_warmup, "seed": self.seed}


def prepare(
    posterior: ppl.Posterior,
    settings: Settings,
    start: Mapping[str, Any] | None,
    chunk_size: int,
    *,
    last: Samples | None = None,
) -> Run:
    """Compiles the sampler and finds where chains start; returns what draws the chunks.

    start: values by name; None: drawn.
    last: the chunk to go on after, if there is one.

    Raises ValueError as `starts.find_starts` and `starts.given_positions` do.
    """
    seed = tf.constant([0, settings.seed])
    assert settings.step_size is not None
    position = last.draws[:, -1] if last else _positions(posterior, settings, start)
    kernel = chain.compile_kernel(
        posterior.log_prob_and_grad,
        num_chains=settings.num_chains,
        dim=posterior.dim,
        max_depth=settings.max_depth,
        chunk_size=chunk_size,
        dtype=posterior.dtype,
    )

    def run(num_done: int) -> Iterator[Samples]:
        return chain.sample_chunks(
            kernel,
            seed=seed,
            start=position,
            step_size=float(settings.step_size or np.nan),
            num_results=settings.num_draws,
            chunk_size=chunk_size,
            num_done=num_done,
        )

    return run


def check_start(
    posterior: ppl.Posterior,
    settings: Settings,
    start: Mapping[str, Any] | None,
    data: str,
) -> None:
    """Raises ValueError for starts that do not fit, and for NaN among the arguments.

    Only NaN that makes every chain's log prob NaN is refused: a program may mask it.

    data: where the arguments come from, in errors.
    """
    if start is not None:
        _positions(posterior, settings, start)
        return
    arguments = posterior.source.constant_data() if posterior.source else {}
    missing = {name: np.isnan(value) for name, value in arguments.items()}
    names = [name for name, where in missing.items() if where.any()]
    if not names:
        return
    seed = tf.constant([1, settings.seed])
    at = starts.draw_positions(seed, 0, num_chains=4, dim=posterior.dim)
    if np.isnan(posterior.log_prob(tf.constant(at))).all():
        index = tuple(int(i) for i in np.argwhere(missing[names[0]])[0])
        raise ValueError(
            f"{data}: {names[0]}: given nan at {index}, wanted numbers: with it the "
            "log prob is nan"
        )


def check(settings: Settings) -> None:
    """Raises ValueError for a step size that is none."""
    SamplerSettings(step_size=settings.step_size)  # type: ignore[arg-type]


def _positions(
    posterior: ppl.Posterior, settings: Settings, start: Mapping[str, Any] | None
) -> np.ndarray:
    seed = tf.constant([1, settings.seed])
    shape = {"num_chains": settings.num_chains, "dim": posterior.dim}

    def evaluate(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_prob, grad = posterior.log_prob_and_grad(tf.constant(position))
        return log_prob.numpy(), grad.numpy()

    variables = dict(zip(posterior.names, posterior.sizes, strict=True))
    if start is None:
        return starts.find_starts(
            evaluate, seed=seed, variables=variables, **shape
        ).position
    drawn = starts.draw_positions(seed, 0, **shape)
    position = starts.given_positions(start, posterior=posterior, drawn=drawn, **shape)
    return starts.check_starts(evaluate, position, variables=variables).position
