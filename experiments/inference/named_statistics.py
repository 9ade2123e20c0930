"""The statistics of transitions by ArviZ's names."""

from typing import Any

import numpy as np

from experiments.inference.samples import Samples

STATISTICS = {  # ArviZ's names of the fields of Samples
    "lp": "log_prob",
    "acceptance_rate": "accept",
    "tree_depth": "depth",
    "n_steps": "leapfrogs",
    "diverging": "diverged",
    "energy": "energy",
}


def sample_stats(
    samples: Samples, step_size: Any, max_depth: int
) -> dict[str, np.ndarray]:
    """The statistics of each transition by ArviZ's names, [chains, draws] each."""
    shape = samples.depth.shape
    steps = np.broadcast_to(np.reshape(step_size, (-1, 1)), shape)
    values = {name: getattr(samples, field) for name, field in STATISTICS.items()}
    depths = {"reached_max_treedepth": samples.depth == max_depth}
    return {**values, "step_size": steps.copy(), **depths}
