"""Inference over functions: a log density and its gradient in, draws out.

`sample` draws, `summarize` judges the draws, `constrain_draws` gives them by name.
"""

import importlib
from typing import TYPE_CHECKING, Any

from experiments.inference.samples import Samples
from experiments.inference.settings import SamplerSettings

if TYPE_CHECKING:
    from experiments.inference.chain import sample
    from experiments.inference.diagnostics import Summary, constrain_draws, summarize

__all__ = [
    "SamplerSettings",
    "Samples",
    "Summary",
    "constrain_draws",
    "sample",
    "summarize",
]

_MODULES = {
    "sample": "chain",
    "Summary": "diagnostics",
    "constrain_draws": "diagnostics",
    "summarize": "diagnostics",
}


def __getattr__(name: str) -> Any:
    # On first use: TensorFlow and ArviZ take seconds to import, and the processes of
    # Stan and PyMC need only the settings.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    return getattr(module, name)
