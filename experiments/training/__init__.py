"""Training: models, optimizers, one step, and the loop around it.

The settings that a config may name are listed here.
"""

from experiments.training.engine import StepSettings
from experiments.training.loop import LoopSettings
from experiments.training.optimizers import (
    adafactor,
    adam,
    constant_schedule,
    cosine_schedule,
    inverse_sqrt_schedule,
)

__all__ = [
    "LoopSettings",
    "StepSettings",
    "adafactor",
    "adam",
    "constant_schedule",
    "cosine_schedule",
    "inverse_sqrt_schedule",
]
