"""The systems compared, by name alone: a worker imports the one that it was told of."""

import os
from typing import Any, NamedTuple


class System(NamedTuple):
    """A row of the table: the module that runs it, and what it is told besides."""

    module: str  # has prepare, and log_prob_and_grad unless it is a bare floor
    variant: dict[str, Any] = {}  # keywords of both
    settings: dict[str, Any] = {}  # what differs from the benchmark's own
    warm_calls: int = 3  # calls that are timed; 0: the first one is the one that counts
    checked: str = "float32"  # the precision its density is held to; "": it has none
    draws: bool = True  # whether it draws from the posterior
    checked_as: dict[str, Any] = {}  # more keywords of log_prob_and_grad
    note: str = ""  # under the table, besides what the module says itself


_BASELINES = "experiments.baselines."
_ALL_CORES = {
    "num_chains": len(os.sched_getaffinity(0)),
    "num_results": 1,
    "max_depth": 6,
}

_BLOCKS = (
    "its data are in blocks of rows, each read for the log prob and again for the "
    "gradient while in cache; a density written by hand could do the same, and the row "
    "with the data whole shows what the language costs"
)

SYSTEMS: dict[str, System] = {
    "stan_plain": System(
        _BASELINES + "stan", {"program": "plain"}, warm_calls=0, checked="float64"
    ),
    "stan_glm": System(
        _BASELINES + "stan", {"program": "glm"}, warm_calls=0, checked="float64"
    ),
    "pymc_float64": System(
        _BASELINES + "pymc", {"dtype": "float64"}, warm_calls=0, checked="float64"
    ),
    "pymc_float32": System(_BASELINES + "pymc", {"dtype": "float32"}, warm_calls=0),
    "tfp_nuts": System(_BASELINES + "tfp_nuts"),
    "handwritten_tf": System(_BASELINES + "handwritten_tf", {"gradient": "autodiff"}),
    "handwritten_tf_grad": System(
        _BASELINES + "handwritten_tf", {"gradient": "by_hand"}
    ),
    "ppl_core_whole": System("experiments.nuts.traced", {"blocks": False}),
    "ppl_core": System("experiments.nuts.traced", note=_BLOCKS),
    "jax_dim_rows": System(
        _BASELINES + "jax_leapfrog", {"layout": "dim_rows"}, warm_calls=1, draws=False
    ),
    "one_pass": System(_BASELINES + "one_pass", checked="", draws=False),
    "jax_rows_dim": System(
        _BASELINES + "jax_leapfrog", {"layout": "rows_dim"}, warm_calls=1, draws=False
    ),
    "numpyro": System(_BASELINES + "numpyro", warm_calls=0),
    "nutpie": System(_BASELINES + "nutpie", warm_calls=0, checked="float64"),
    "blackjax": System(_BASELINES + "blackjax", warm_calls=0),
    "stan_glm_all_cores": System(
        _BASELINES + "stan",
        {"program": "glm"},
        _ALL_CORES,
        warm_calls=0,
        checked="float64",
    ),
    "pymc_float64_all_cores": System(
        _BASELINES + "pymc",
        {"dtype": "float64"},
        _ALL_CORES,
        warm_calls=0,
        checked="float64",
    ),
    "ppl_core_64_chains": System(
        "experiments.nuts.traced",
        checked_as={"num_chains": 64},
        settings={"num_chains": 64, "num_results": 1, "max_depth": 6},
        warm_calls=0,
    ),
}
