"""The sampler of a program: its settings, its starts, and draws by the chunk."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.inference import sampling, starts, warmup
from experiments.inference.settings import check_count
from experiments.inference.warmup_state import Warmup, WarmupSettings, WarmupState


class Settings(NamedTuple):
    """What is drawn, and how."""

    num_chains: int
    num_draws: int  # of each chain, besides those of warm-up
    seed: int
    warmup: WarmupSettings

    def identity(self) -> dict[str, Any]:
        """What the draws depend on: a run with other values is another one."""
        own = {"num_chains": self.num_chains, "seed": self.seed}
        return {**own, **vars(self.warmup)}

    def in_force(self) -> dict[str, Any]:
        """What a summary says of the run."""
        names = ("num_warmup", "target_accept", "metric")
        return {"seed": self.seed, **{n: vars(self.warmup)[n] for n in names}}


class Progress(NamedTuple):
    """Where a run is."""

    warmup_state: WarmupState | None = None
    num_done: int = 0  # draws that are kept
    position: np.ndarray | None = None  # [chains, dim], the last of them


def check(settings: Settings) -> None:
    """Raises ValueError, naming it, for a number that is none of its kind."""
    check_count("num_chains", settings.num_chains)
    check_count("num_draws", settings.num_draws)


def chunks(
    posterior: ppl.Posterior,
    settings: Settings,
    start: Mapping[str, Any] | None,
    chunk_size: int,
    *,
    done: Progress,
) -> Iterator[sampling.Chunk]:
    """Compiles the sampler, and yields the draws that are not done yet.

    start: values by name; None: drawn.

    Raises ValueError where no chain can start, and for an improper posterior.
    """
    kernel = sampling.compile_posterior(
        posterior, settings.warmup, num_chains=settings.num_chains
    )
    drawing = None
    if done.position is not None:
        drawing = sampling.DrawingState(np.asarray(done.num_done), done.position)
    return sampling.chunks(
        kernel,
        settings.warmup,
        num_draws=settings.num_draws,
        seed=sampling.seed_pair(settings.seed),
        posterior=posterior,
        start=start,
        chunk_size=chunk_size,
        warmup_state=done.warmup_state,
        drawing=drawing,
    )


def found(settings: Settings, state: WarmupState) -> Warmup:
    """What a warm-up that has ended found."""
    return warmup.result(settings.warmup, state)


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
    seed = tf.constant([1, settings.seed])
    shape = {"num_chains": settings.num_chains, "dim": posterior.dim}
    drawn = starts.draw_positions(seed, 0, **shape)
    if start is not None:
        starts.given_positions(start, posterior=posterior, drawn=drawn, **shape)
        return
    arguments = posterior.source.constant_data() if posterior.source else {}
    missing = {name: np.isnan(value) for name, value in arguments.items()}
    names = [name for name, where in missing.items() if where.any()]
    if names and np.isnan(posterior.log_prob(tf.constant(drawn[:4]))).all():
        index = tuple(int(i) for i in np.argwhere(missing[names[0]])[0])
        raise ValueError(
            f"{data}: {names[0]}: given nan at {index}, wanted numbers: with it the "
            "log prob is nan"
        )
