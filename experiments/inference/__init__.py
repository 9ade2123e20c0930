"""Inference over functions: log densities in, draws out."""

from experiments.inference.samples import Samples
from experiments.inference.settings import SamplerSettings

__all__ = ["SamplerSettings", "Samples"]
