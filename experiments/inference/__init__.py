"""Inference over functions: a log density and its gradient in, draws out.

`sample_nuts` warms up and draws; `sample` draws with a step size as given.  `summarize`
judges draws, `constrain_draws` returns them by name and `to_datatree` as ArviZ takes
them, to which `predict` adds predictions.  `fit_vi` fits a guide, such as
`mean_field`, by variational inference.  `nuts_transitions` moves chains inside a
function that is compiled as a whole.
"""

import importlib
from typing import TYPE_CHECKING, Any

from experiments.inference import xla_options
from experiments.inference.samples import Samples
from experiments.inference.settings import SamplerSettings

if TYPE_CHECKING:
    from experiments.inference.chain import sample
    from experiments.inference.fit import Fit
    from experiments.inference.guide_program import joint, program_guide
    from experiments.inference.guides import Guide, full_rank, low_rank, mean_field
    from experiments.inference.results import constrain_draws, predict, to_datatree
    from experiments.inference.sampling import sample_nuts, sample_walnuts
    from experiments.inference.summary import Summary, summarize
    from experiments.inference.transitions import nuts_transitions
    from experiments.inference.variational import fit_vi

__all__ = [
    "Fit",
    "Guide",
    "SamplerSettings",
    "Samples",
    "Summary",
    "constrain_draws",
    "fit_vi",
    "full_rank",
    "joint",
    "low_rank",
    "mean_field",
    "nuts_transitions",
    "predict",
    "program_guide",
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
    "Fit": "fit",
    "Guide": "guides",
    "full_rank": "guides",
    "low_rank": "guides",
    "mean_field": "guides",
    "fit_vi": "variational",
    "nuts_transitions": "transitions",
    "joint": "guide_program",
    "program_guide": "guide_program",
}


def __getattr__(name: str) -> Any:
    # On first use: TensorFlow and ArviZ take seconds to import, and the processes of
    # Stan and PyMC need only the settings.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    return getattr(module, name)
