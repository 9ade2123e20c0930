"""The systems that sample the benchmark's posteriors, by name."""

from typing import NamedTuple


class PosteriorSystem(NamedTuple):
    """A column of the table; a worker imports only its own module."""

    module: str  # with a function of a PosteriorProblem, a Protocol and a seed
    function: str = "run"
    # The posteriors and numbers of chains that it is for; None: all.
    only: tuple[tuple[str, int], ...] | None = None


_BASELINES = "experiments.baselines.posteriors."
_SPLIT = "experiments.bench.ppl_core_split"
SYSTEMS: dict[str, PosteriorSystem] = {
    "ppl_core": PosteriorSystem("experiments.bench.ppl_core_posteriors"),
    "tfp_windowed": PosteriorSystem("experiments.bench.tfp_posteriors"),
    "stan": PosteriorSystem(_BASELINES + "stan"),
    "pymc": PosteriorSystem(_BASELINES + "pymc"),
    "nutpie": PosteriorSystem(_BASELINES + "nutpie"),
    "numpyro": PosteriorSystem(_BASELINES + "numpyro"),
    "blackjax": PosteriorSystem(_BASELINES + "blackjax"),
    "ppl_core_2_processes": PosteriorSystem(
        _SPLIT, "over_processes", only=(("credit", 64),)
    ),
    "ppl_core_2_devices": PosteriorSystem(
        _SPLIT, "over_devices", only=(("credit", 64),)
    ),
}
