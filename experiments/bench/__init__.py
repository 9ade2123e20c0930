"""Benchmarks: systems run in turn, each in a fresh process."""

import importlib
from typing import Any

_MODULES = {
    "compare_posteriors": "posterior_sampling",
    "compare_samplers": "nuts",
    "measure_device": "device",
    "measure_image_transformer": "training",
    "measure_scaling": "scaling",
    "measure_vae": "training",
    "run_programs": "programs",
}

__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    # On first use: each of some hundred worker processes imports this package, and the
    # plots' library alone takes two seconds.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
