"""Benchmarks: systems run in turn, each in a fresh process."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.bench.nuts import compare_samplers
    from experiments.bench.scaling import measure_scaling
    from experiments.bench.training import measure_image_transformer, measure_vae

__all__ = [
    "compare_samplers",
    "measure_image_transformer",
    "measure_scaling",
    "measure_vae",
]

_MODULES = {
    "compare_samplers": "nuts",
    "measure_image_transformer": "training",
    "measure_scaling": "scaling",
    "measure_vae": "training",
}


def __getattr__(name: str) -> Any:
    # On first use: each of some hundred worker processes imports this package, and the
    # plots' library alone takes two seconds.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
