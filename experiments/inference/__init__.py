"""Inference over functions: a log density and its gradient in, draws out.

`sample_nuts` warms up and draws; `sample` draws with a step size as given.  `summarize`
judges draws, `constrain_draws` returns them by name and `to_datatree` as ArviZ takes
them, to which `predict` adds predictions.
"""

import importlib
from typing import TYPE_CHECKING, Any

from experiments.inference import xla_options
from experiments.inference.samples import Samples
from experiments.inference.settings import SamplerSettings

if TYPE_CHECKING:
    from experiments.inference.chain import sample
    from experiments.inference.results import constrain_draws, predict, to_datatree
    from experiments.inference.sampling import sample_nuts, sample_walnuts
    from experiments.inference.summary import Summary, summarize

__all__ = [
    "SamplerSettings",
    "Samples",
    "Summary",
    "constrain_draws",
    "predict",
    "sample",
    "sample_nuts",
    "sample_walnuts",
    "summarize",
    "to_datatree",
]

# Before anything is compiled.
xla_options.set_options()

_MODULES = {
    "sample": "chain",
    "sample_nuts": "sampling",
    "sample_walnuts": "sampling",
    "constrain_draws": "results",
    "predict": "results",
    "to_datatree": "results",
    "Summary": "summary",
    "summarize": "summary",
}


def __getattr__(name: str) -> Any:
    # On first use: TensorFlow and ArviZ take seconds to import, and the processes of
    # Stan and PyMC need only the settings.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    return getattr(module, name)
