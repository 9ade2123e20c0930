"""The M-step of a codebook's EM, for TensorFlow and JAX."""

from collections.abc import Mapping
from typing import Any

import numpy as np

USAGE_DECAY, PATIENCE = 0.99, 100  # by which unused codes are found


def averaged(
    xp: Any,
    codebook: Any,
    before: Mapping[str, Any],
    counted: Any,
    summed: Any,
    new: Any,
) -> dict[str, Any]:
    """The codebook after a step: moving averages, and restarted codes.

    xp: tensorflow or jax.numpy.
    counted, summed: the responsibilities of each code summed over vectors, [codes], and
      those times the vectors, [codes, dim].
    new: what dead codes restart from, [codes, dim].
    """
    steps = before["steps"]
    decay = xp.minimum(codebook.decay, (1 + steps) / (10 + steps))
    counts = decay * before["counts"] + (1 - decay) * counted
    sums = decay * before["sums"] + (1 - decay) * summed
    total = xp.einsum("c->", counts)
    at_old = codebook.epsilon  # vectors a step that stay where the code is
    codes = (sums + at_old * before["codes"]) / (counts[:, np.newaxis] + at_old)
    usage = USAGE_DECAY * before["usage"]
    usage += (1 - USAGE_DECAY) * counted / xp.einsum("c->", counted)
    usage = xp.where(steps < 1, 0.0, usage)
    unused = usage < codebook.restart_threshold / codebook.num_codes
    dead = (unused & (before["age"] >= PATIENCE)) | (steps < 1)
    row, each = dead[:, np.newaxis], total / codebook.num_codes
    return {
        "codes": xp.where(row, new, codes),
        "counts": xp.where(dead, each, counts),
        "sums": xp.where(row, new * each, sums),
        "usage": usage,
        "age": xp.where(dead, 0.0, before["age"] + 1),
        "steps": steps + 1,
    }
