"""The sampler of a program: its settings, its starts, and draws by the chunk."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.cluster import processes
from experiments.cluster.processes import SINGLE, Process
from experiments.inference import drawing, given_starts, sampling, warmup
from experiments.inference.settings import check_count
from experiments.inference.warmup_state import Warmup, WarmupSettings, WarmupState


class Settings(NamedTuple):
    """What is drawn, and how."""

    num_chains: int  # of all processes
    num_draws: int  # per chain, besides those of warm-up
    seed: int
    warmup: WarmupSettings
    process: Process = SINGLE

    @property
    def share(self) -> tuple[int, int]:
        """The first chain of this process, and how many it has."""
        return processes.share("num_chains", self.num_chains, self.process)

    def identity(self) -> dict[str, Any]:
        """What the draws depend on: a run with other values is another one."""
        own = {"num_chains": self.num_chains, "seed": self.seed}
        several = self.process.count > 1
        places = {"num_processes": self.process.count} if several else {}
        return {**own, **places, **vars(self.warmup)}

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
    """Raises ValueError, naming it, for a number that is none of its kind.

    Also for chains in several processes that would share a metric.
    """
    check_count("num_chains", settings.num_chains)
    check_count("num_draws", settings.num_draws)
    count = settings.process.count
    if count > 1 and settings.warmup.pools(settings.num_chains):
        raise ValueError(
            f"pooled: given {settings.warmup.pooled} for {settings.num_chains} chains "
            f"in {count} processes, wanted False: processes share no metric"
        )
    _ = settings.share


def chunks(
    posterior: ppl.Posterior,
    settings: Settings,
    start: Mapping[str, Any] | None,
    chunk_size: int,
    *,
    done: Progress,
    should_stop: Callable[[], bool],
) -> Iterator[drawing.Chunk]:
    """Compiles the sampler, and yields the draws that are not done yet.

    start: values by name, of all processes; None: drawn.
    should_stop: ends the run when it returns True: see `drawing.chunks`.

    Raises ValueError where no chain can start, and for an improper posterior.
    """
    first_chain, num_chains = settings.share
    kernel = sampling.compile_posterior(
        posterior,
        settings.warmup,
        num_chains=num_chains,
        first_chain=first_chain,
        should_stop=should_stop,
    )
    begun = None
    if done.position is not None:
        begun = drawing.DrawingState(np.asarray(done.num_done), done.position)
    vectors = None
    if start is not None:  # of all chains, since a value may be one of each
        vectors = _given(posterior, settings, start)
        vectors = vectors[first_chain : first_chain + num_chains]
    return drawing.chunks(
        kernel,
        settings.warmup,
        num_draws=settings.num_draws,
        seed=drawing.seed_pair(settings.seed),
        posterior=posterior,
        start=vectors,
        chunk_size=chunk_size,
        warmup_state=done.warmup_state,
        drawing=begun,
    )


def found(settings: Settings, states: Sequence[WarmupState]) -> Warmup:
    """What a warm-up that has ended found, of all processes.

    states: of each process, in the order of their chains.
    """
    parts = [warmup.result(settings.warmup, state) for state in states]
    if len(parts) == 1:
        return parts[0]
    axes = {name: 0 for name in ("step_size", "inverse_mass", "scale", "position")}
    axes |= {name: 0 for name in ("log_prob", "grad", "leapfrogs", "divergences")}
    axes |= {"step_sizes": 1, "inverse_masses": 1}
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts], axis=axis)
        for name, axis in axes.items()
    }
    return parts[0]._replace(
        **joined,
        other_gradients=max(part.other_gradients for part in parts),
        seconds=max(part.seconds for part in parts),
    )


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
        _given(posterior, settings, start)
        return
    drawn = _drawn(posterior, settings)
    arguments = posterior.source.constant_data() if posterior.source else {}
    missing = {name: np.isnan(value) for name, value in arguments.items()}
    names = [name for name, where in missing.items() if where.any()]
    if names and np.isnan(posterior.log_prob(tf.constant(drawn[:4]))).all():
        index = tuple(int(i) for i in np.argwhere(missing[names[0]])[0])
        raise ValueError(
            f"{data}: {names[0]}: given nan at {index}, wanted numbers: with it the "
            "log prob is nan"
        )


def _drawn(posterior: ppl.Posterior, settings: Settings) -> np.ndarray:
    """Where chains of all processes start, [chains, dim]."""
    return warmup.drawn_starts(
        drawing.seed_pair(settings.seed),
        num_chains=settings.num_chains,
        dim=posterior.dim,
    )


def _given(
    posterior: ppl.Posterior, settings: Settings, start: Mapping[str, Any]
) -> np.ndarray:
    """Given starts of all processes' chains as vectors, [chains, dim]."""
    return given_starts.given_positions(
        start,
        num_chains=settings.num_chains,
        dim=posterior.dim,
        posterior=posterior,
        drawn=_drawn(posterior, settings),
    )
