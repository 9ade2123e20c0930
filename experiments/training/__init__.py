"""Training: models, optimizers, one step, and the loop around it.

What a config and an experiment name is listed here.
"""

from experiments.training.engine import Engine, StepSettings
from experiments.training.loop import LoopSettings
from experiments.training.optimizers import (
    adafactor,
    adam,
    constant_schedule,
    cosine_schedule,
    inverse_sqrt_schedule,
)
from experiments.training.task import Data, Show, Task, process_data

__all__ = [
    "Data",
    "Engine",
    "LoopSettings",
    "Show",
    "StepSettings",
    "Task",
    "adafactor",
    "adam",
    "constant_schedule",
    "cosine_schedule",
    "inverse_sqrt_schedule",
    "process_data",
]
