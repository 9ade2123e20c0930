"""The samplers compared, by name; a worker imports only the module of its own."""

import os
from typing import Any, NamedTuple


class System(NamedTuple):
    """A row of the table: its module and how it is run."""

    module: str  # with `prepare`, and `log_prob_and_grad` where `precision` is set
    variant: dict[str, Any] = {}  # keyword arguments of both
    settings: dict[str, Any] = {}  # that differ from the benchmark's
    warms_up: bool = True  # the first call is not counted
    precision: str = "float32"  # in which its density is checked; "": it has none
    is_sampler: bool = True  # whether it draws from the posterior
    density_options: dict[str, Any] = {}  # more arguments of `log_prob_and_grad`
    first_rows_options: dict[str, Any] = {}  # and more on the first rows
    metric: str = "identity"
    environment: dict[str, str] = {}  # variables of its process, over the others
    note: str = ""  # under the table, after the module's own


_BASELINES = "experiments.baselines.nuts."
_OURS = "experiments.bench.ppl_core_nuts"
_ALL_CORES = {
    "num_chains": len(os.sched_getaffinity(0)),
    "num_results": 1,
    "max_depth": 6,
}
_SMALL_BLOCKS = {"block_bytes": 1 << 16}  # the first rows in several blocks


def _on_logical_devices(num: int) -> System:
    """Ours on logical devices of one CPU, each with one thread."""
    cores = len(os.sched_getaffinity(0))
    excess = f"; more devices than the machine's {cores} cores" if num > cores else ""
    return System(
        _OURS,
        {"num_devices": num},
        first_rows_options=_SMALL_BLOCKS,
        note="the rows over logical devices of one CPU, no accelerators" + excess,
        environment={
            "OMP_NUM_THREADS": "1",
            "TF_NUM_INTRAOP_THREADS": "1",  # within an operation of a device
            "TF_NUM_INTEROP_THREADS": str(num),  # devices that compute at once
        },
    )


SYSTEMS: dict[str, System] = {
    "stan_plain": System(
        _BASELINES + "stan", {"program": "plain"}, warms_up=False, precision="float64"
    ),
    "stan_glm": System(
        _BASELINES + "stan", {"program": "glm"}, warms_up=False, precision="float64"
    ),
    "pymc_float64": System(
        _BASELINES + "pymc", {"dtype": "float64"}, warms_up=False, precision="float64"
    ),
    "pymc_float32": System(_BASELINES + "pymc", {"dtype": "float32"}, warms_up=False),
    "tfp_nuts": System(_BASELINES + "tfp_nuts"),
    "handwritten_tf": System(_BASELINES + "handwritten_tf", {"gradient": "autodiff"}),
    "handwritten_tf_grad": System(
        _BASELINES + "handwritten_tf", {"gradient": "by_hand"}
    ),
    "ppl_core_whole": System(_OURS, {"one_block": True}),
    "ppl_core": System(_OURS, first_rows_options=_SMALL_BLOCKS),
    "jax_dim_rows": System(
        _BASELINES + "jax_leapfrog", {"layout": "dim_rows"}, is_sampler=False
    ),
    "one_pass": System(_BASELINES + "one_pass", precision="", is_sampler=False),
    "jax_rows_dim": System(
        _BASELINES + "jax_leapfrog", {"layout": "rows_dim"}, is_sampler=False
    ),
    "numpyro": System(_BASELINES + "numpyro", warms_up=False),
    "nutpie": System(
        _BASELINES + "nutpie",
        warms_up=False,
        precision="float64",
        metric="diagonal, nutpie's own, from gradients",
    ),
    "blackjax": System(_BASELINES + "blackjax", warms_up=False),
    "stan_glm_all_cores": System(
        _BASELINES + "stan",
        {"program": "glm"},
        _ALL_CORES,
        warms_up=False,
        precision="float64",
    ),
    "pymc_float64_all_cores": System(
        _BASELINES + "pymc",
        {"dtype": "float64"},
        _ALL_CORES,
        warms_up=False,
        precision="float64",
    ),
    "ppl_core_64_chains": System(
        _OURS,
        density_options={"num_chains": 64},
        first_rows_options=_SMALL_BLOCKS,
        settings={"num_chains": 64, "num_results": 1, "max_depth": 6},
        warms_up=False,
    ),
    "ppl_core_1_device": _on_logical_devices(1),
    "ppl_core_2_devices": _on_logical_devices(2),
}
