"""The systems that sample the benchmark's posteriors, by name."""

from typing import NamedTuple


class PosteriorSystem(NamedTuple):
    """A column of the table; a worker imports only its own module."""

    module: str  # with `run`: of a PosteriorProblem, a Protocol and a seed


_BASELINES = "experiments.baselines.posteriors."
SYSTEMS: dict[str, PosteriorSystem] = {
    "ppl_core": PosteriorSystem("experiments.bench.ppl_core_posteriors"),
    "tfp_windowed": PosteriorSystem("experiments.bench.tfp_posteriors"),
    "stan": PosteriorSystem(_BASELINES + "stan"),
    "pymc": PosteriorSystem(_BASELINES + "pymc"),
    "nutpie": PosteriorSystem(_BASELINES + "nutpie"),
    "numpyro": PosteriorSystem(_BASELINES + "numpyro"),
    "blackjax": PosteriorSystem(_BASELINES + "blackjax"),
}
