"""The systems compared, by name alone: a worker imports the one that it was told of."""

import os
from typing import Any, NamedTuple


class System(NamedTuple):
    """A row of the table: the module that runs it, and what it is told besides."""

    module: str  # has prepare, and log_prob_and_grad unless it is a bare floor
    variant: dict[str, Any] = {}  # keywords of both
    settings: dict[str, Any] = {}  # what differs from the benchmark's own
    warms_up: bool = True  # its first call does not count
    checked: str = "float32"  # the precision its density is held to; "": it has none
    draws: bool = True  # whether it draws from the posterior
    checked_as: dict[str, Any] = {}  # more keywords of log_prob_and_grad
    head_checked_as: dict[str, Any] = {}  # and of it on the first rows alone
    metric: str = "identity"
    environment: dict[str, str] = {}  # of its process, where not the others'
    note: str = ""  # under the table, besides what the module says itself


_BASELINES = "experiments.baselines.nuts."
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


_SMALL_BLOCKS = {"block_bytes": 1 << 16}  # the first rows in several blocks, as all are


def _on_logical_devices(num: int) -> System:
    """Ours on parts of one CPU, a thread each, which is what one device is worth."""
    cores = len(os.sched_getaffinity(0))
    beyond = f"; more devices than the machine's {cores} cores" if num > cores else ""
    return System(
        "experiments.bench.ppl_core_nuts",
        {"num_devices": num},
        head_checked_as=_SMALL_BLOCKS,
        note="the rows over logical devices of one CPU, no accelerators" + beyond,
        environment={
            "OMP_NUM_THREADS": "1",
            "TF_NUM_INTRAOP_THREADS": "1",  # of a device's own work
            "TF_NUM_INTEROP_THREADS": str(num),  # devices at once
        },
    )


SYSTEMS: dict[str, System] = {
    "stan_plain": System(
        _BASELINES + "stan", {"program": "plain"}, warms_up=False, checked="float64"
    ),
    "stan_glm": System(
        _BASELINES + "stan", {"program": "glm"}, warms_up=False, checked="float64"
    ),
    "pymc_float64": System(
        _BASELINES + "pymc", {"dtype": "float64"}, warms_up=False, checked="float64"
    ),
    "pymc_float32": System(_BASELINES + "pymc", {"dtype": "float32"}, warms_up=False),
    "tfp_nuts": System(_BASELINES + "tfp_nuts"),
    "handwritten_tf": System(_BASELINES + "handwritten_tf", {"gradient": "autodiff"}),
    "handwritten_tf_grad": System(
        _BASELINES + "handwritten_tf", {"gradient": "by_hand"}
    ),
    "ppl_core_whole": System("experiments.bench.ppl_core_nuts", {"whole": True}),
    "ppl_core": System(
        "experiments.bench.ppl_core_nuts", head_checked_as=_SMALL_BLOCKS, note=_BLOCKS
    ),
    "jax_dim_rows": System(
        _BASELINES + "jax_leapfrog", {"layout": "dim_rows"}, draws=False
    ),
    "one_pass": System(_BASELINES + "one_pass", checked="", draws=False),
    "jax_rows_dim": System(
        _BASELINES + "jax_leapfrog", {"layout": "rows_dim"}, draws=False
    ),
    "numpyro": System(_BASELINES + "numpyro", warms_up=False),
    "nutpie": System(
        _BASELINES + "nutpie",
        warms_up=False,
        checked="float64",
        metric="diagonal, nutpie's own, from gradients",
    ),
    "blackjax": System(_BASELINES + "blackjax", warms_up=False),
    "stan_glm_all_cores": System(
        _BASELINES + "stan",
        {"program": "glm"},
        _ALL_CORES,
        warms_up=False,
        checked="float64",
    ),
    "pymc_float64_all_cores": System(
        _BASELINES + "pymc",
        {"dtype": "float64"},
        _ALL_CORES,
        warms_up=False,
        checked="float64",
    ),
    "ppl_core_64_chains": System(
        "experiments.bench.ppl_core_nuts",
        checked_as={"num_chains": 64},
        head_checked_as=_SMALL_BLOCKS,
        settings={"num_chains": 64, "num_results": 1, "max_depth": 6},
        warms_up=False,
    ),
    "ppl_core_1_device": _on_logical_devices(1),
    "ppl_core_2_devices": _on_logical_devices(2),
}
