"""Whether draws agree with a reference posterior, and how many they are worth."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from arviz_stats.base import array_stats

# A share of about 1e-6 of right runs is beyond, for each of the values compared.
MAX_Z = 5.0
# Chains that disagree this much have not the posterior, reference or not.
MAX_R_HAT = 1.05
# Wanted of all chains together, for every value.  A run with fewer cannot fail MAX_Z.
MIN_ESS = 100.0


def check(
    values: Mapping[str, np.ndarray], reference: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The gate of one run, ready for a record's `check`.

    values: by name, [chains, draws, ...].
    reference: of `posterior_references`: the file's "parameters".  None: there is none,
      and no z is computed.

    Each scalar's mean and mean of squares is compared with the reference's: z is the
    difference over the standard error of both.  Returns passed, reason (why not), z_max
    and z_max_of, r_hat_max, min_ess_bulk and min_ess_of, worst over all scalars.
    """
    rows = {}
    for name, array in values.items():
        for index in np.ndindex(array.shape[2:]):
            label = f"{name}[{','.join(map(str, index))}]" if index else name
            x = np.asarray(array[(slice(None), slice(None), *index)], np.float64)
            rows[label] = _statistics(x, _of(reference, name, index))
    worst_z = max(rows, key=lambda label: rows[label]["z"])
    fewest = min(rows, key=lambda label: rows[label]["ess"])
    r_hat = max(row["r_hat"] for row in rows.values())
    result = {
        "z_max": None if reference is None else rows[worst_z]["z"],
        "z_max_of": worst_z,
        "r_hat_max": r_hat,
        "min_ess_bulk": rows[fewest]["ess"],
        "min_ess_of": fewest,
    }
    reasons = []
    if reference is not None and not rows[worst_z]["z"] < MAX_Z:
        reasons.append(f"|z| of {worst_z} is {rows[worst_z]['z']:.1f}")
    if not r_hat < MAX_R_HAT:
        reasons.append(f"R-hat is {r_hat:.2f}")
    if not rows[fewest]["ess"] >= MIN_ESS:
        reasons.append(f"ESS of {fewest} is {rows[fewest]['ess']:.0f}")
    return result | {"passed": not reasons, "reason": "; ".join(reasons)}


def _of(
    reference: Mapping[str, Any] | None, name: str, index: tuple[int, ...]
) -> dict[str, float] | None:
    """The reference's numbers of one scalar."""
    if reference is None:
        return None
    if name not in reference:
        raise ValueError(f"reference: given {list(reference)}, wanted {name!r} too")
    return {key: np.asarray(value)[index] for key, value in reference[name].items()}


def _statistics(
    x: np.ndarray, reference: Mapping[str, float] | None
) -> dict[str, float]:
    """The z, ess and r_hat of one scalar, [chains, draws].

    What cannot be computed (values that are not finite, or never move) is the worst.
    """
    if not np.isfinite(x).all() or (x == x[:1, :1]).all():
        return {"z": math.inf, "ess": 0.0, "r_hat": math.inf}
    z = 0.0
    if reference is not None:
        for key, values in (("mean", x), ("mean_of_squares", x**2)):
            ess = float(array_stats.ess(values, method="mean"))
            error = math.hypot(
                values.std(ddof=1) / ess**0.5, float(reference[f"{key}_mcse"])
            )
            z = max(z, abs(values.mean() - float(reference[key])) / error)
    return {
        "z": z,
        "ess": float(array_stats.ess(x, method="bulk")),
        "r_hat": float(array_stats.rhat(x)),
    }
