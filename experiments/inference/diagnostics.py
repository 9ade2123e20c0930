"""What draws say of themselves: ArviZ's rank-normalised R-hat and effective sizes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from arviz_stats.base import array_stats

from experiments.inference.samples import Samples

MIN_DRAWS = 4  # ArviZ's split R-hat wants two in each half


def summarize(
    samples: Samples, *, max_depth: int, names: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A table of one row a coordinate, and the run as a samples.

    The table holds mean, sd, ess_bulk, ess_tail and r_hat (Vehtari et al. 2021), NaN
    where there are fewer than 4 draws a chain.
    """
    chains, num, dim = samples.draws.shape
    table = pd.DataFrame(
        {
            "mean": samples.draws.mean(axis=(0, 1), dtype=np.float64),
            "sd": samples.draws.std(axis=(0, 1), dtype=np.float64, ddof=1)
            if chains * num > 1
            else np.nan,
        },
        index=pd.Index(names, name="coordinate"),
    )
    for column, statistic in (
        ("ess_bulk", lambda x: array_stats.ess(x, method="bulk")),
        ("ess_tail", lambda x: array_stats.ess(x, method="tail", prob=(0.05, 0.95))),
        ("r_hat", lambda x: array_stats.rhat(x)),
    ):
        table[column] = [
            float(statistic(samples.draws[:, :, i].astype(np.float64)))
            if num >= MIN_DRAWS
            else np.nan
            for i in range(dim)
        ]
    depths, counts = np.unique(samples.depth, return_counts=True)
    return table, {
        "chains": chains,
        "draws": num,
        "leapfrogs": int(samples.leapfrogs.sum()),
        "accept": float(samples.accept.mean()),
        "divergences": int(samples.diverged.sum()),
        "depth_histogram": {
            int(depth): int(count) for depth, count in zip(depths, counts, strict=True)
        },
        "reached_max_depth": int((samples.depth == max_depth).sum()),
        "min_ess_bulk": float(table["ess_bulk"].min()),
        "max_r_hat": float(table["r_hat"].max()),
    }
