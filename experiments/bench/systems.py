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


_BASELINES = "experiments.baselines.nuts."
_CORES = len(os.sched_getaffinity(0))
_IN_FLOAT64 = {"warms_up": False, "precision": "float64"}
_HANDWRITTEN = _BASELINES + "handwritten_tf"
_LEAPFROG = _BASELINES + "jax_leapfrog"


def _stan(program: str, **settings: int) -> System:
    return System(_BASELINES + "stan", {"program": program}, settings, **_IN_FLOAT64)


def _pymc(**settings: int) -> System:
    return System(_BASELINES + "pymc", {"dtype": "float64"}, settings, **_IN_FLOAT64)


def _ours(
    variant: dict[str, Any] | None = None, *, block_bytes: int = 1 << 16, **options: Any
) -> System:
    """Ours; its first rows are read in several blocks."""
    module, blocks = "experiments.bench.ppl_core_nuts", {"block_bytes": block_bytes}
    return System(module, variant or {}, first_rows_options=blocks, **options)


def _ours_structured(**options: Any) -> System:
    return _ours({"structured": True}, block_bytes=1 << 14, **options)


def _on_logical_devices(num: int) -> System:
    """Ours on logical devices of one CPU, each with one thread."""
    variables = {
        "OMP_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",  # within an operation of a device
        "TF_NUM_INTEROP_THREADS": str(num),  # devices that compute at once
    }
    return _ours({"num_devices": num}, environment=variables)


_SHORT = {"num_results": 1, "max_depth": 6}
_64_CHAINS = {
    "density_options": {"num_chains": 64},
    "settings": {"num_chains": 64, **_SHORT},
    "warms_up": False,
}
SYSTEMS: dict[str, System] = {
    "stan_plain": _stan("plain"),
    "stan_glm": _stan("glm"),
    "pymc_float64": _pymc(),
    "pymc_float32": System(_BASELINES + "pymc", {"dtype": "float32"}, warms_up=False),
    "tfp_nuts": System(_BASELINES + "tfp_nuts"),
    "handwritten_tf": System(_HANDWRITTEN, {"gradient": "autodiff"}),
    "handwritten_tf_grad": System(_HANDWRITTEN, {"gradient": "by_hand"}),
    "ppl_core_whole": System("experiments.bench.ppl_core_nuts", {"one_block": True}),
    "ppl_core": _ours(),
    "stan_structured": _stan("structured"),
    "ppl_core_structured": _ours_structured(),
    "jax_dim_rows": System(_LEAPFROG, {"layout": "dim_rows"}, is_sampler=False),
    "one_pass": System(_BASELINES + "one_pass", precision="", is_sampler=False),
    "jax_rows_dim": System(_LEAPFROG, {"layout": "rows_dim"}, is_sampler=False),
    "numpyro": System(_BASELINES + "numpyro", warms_up=False),
    "nutpie": System(
        _BASELINES + "nutpie",
        metric="diagonal, nutpie's own, from gradients",
        **_IN_FLOAT64,
    ),
    "blackjax": System(_BASELINES + "blackjax", warms_up=False),
    "stan_glm_all_cores": _stan("glm", num_chains=_CORES, **_SHORT),
    "pymc_float64_all_cores": _pymc(num_chains=_CORES, **_SHORT),
    "ppl_core_64_chains": _ours(**_64_CHAINS),
    "stan_structured_all_cores": _stan("structured", num_chains=_CORES, **_SHORT),
    "ppl_core_structured_64_chains": _ours_structured(**_64_CHAINS),
    "ppl_core_1_device": _on_logical_devices(1),
    "ppl_core_2_devices": _on_logical_devices(2),
}
