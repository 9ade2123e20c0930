"""What a program of the paper shows: claims, each with its number and what was wanted.

A program's experiment makes some `Claim`s with `at_most`, `at_least` and `near`, and
ends with `finish`, which writes them into the run's folder.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.records import jsonlines
from experiments.records.run_dir import CheckFailed

FILE = "claims.json"  # of a run's folder
PICTURE = "picture.png"  # of a run's folder


class Claim(NamedTuple):
    """A statement that the run checks by a number."""

    text: str  # what the number is, with its unit
    value: float
    wanted: str  # as it is printed, such as "at most 0.0001"
    holds: bool
    error: float | None = None  # standard error of `value`


def at_most(
    text: str, value: float, limit: float, *, error: float | None = None
) -> Claim:
    """Claims that a number is at most `limit`.  NaN is not."""
    return _claim(text, value, f"at most {limit:g}", value <= limit, error)


def at_least(
    text: str, value: float, limit: float, *, error: float | None = None
) -> Claim:
    """Claims that a number is at least `limit`.  NaN is not."""
    return _claim(text, value, f"at least {limit:g}", value >= limit, error)


def near(
    text: str, value: float, expected: float, *, error: float, num_errors: float = 4.0
) -> Claim:
    """Claims that an estimate is what is expected.

    error: standard error of the estimate.
    num_errors: how many of them it may be off.
    """
    wanted = f"{expected:.4g} within {num_errors:g} standard errors"
    holds = abs(value - expected) <= num_errors * error
    return _claim(text, value, wanted, holds, error)


def standard_error(values: np.ndarray) -> float:
    """Of the mean of independent values."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def finish(
    run_dir: Path,
    claims: Sequence[Claim],
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes claims.json, prints the claims, and returns what was written.

    facts: other numbers of the run, by name.

    Raises ValueError without a claim, and CheckFailed, when all is written, for claims
    that do not hold.
    """
    if not claims:
        raise ValueError("claims: given none, wanted some")
    written = {
        "claims": [claim._asdict() for claim in claims],
        "facts": dict(facts or {}),
    }
    text = jsonlines.dumps(written, indent=2)
    jsonlines.write_text(run_dir / FILE, text + "\n")
    for claim in claims:
        mark = "holds " if claim.holds else "FAILED"
        print(f"{mark} {claim.text}: {shown(claim)}, wanted {claim.wanted}", flush=True)
    failed = [claim for claim in claims if not claim.holds]
    if failed:
        raise CheckFailed(
            "; ".join(
                f"{claim.text}: {shown(claim)}, wanted {claim.wanted}"
                for claim in failed
            ),
            brief=f"{len(failed)} of {len(claims)} claims failed, see above",
        )
    return written


def shown(claim: Claim) -> str:
    """The number, with its standard error where it has one."""
    value = f"{claim.value:.4g}"
    return value if claim.error is None else f"{value} ± {claim.error:.2g}"


def _claim(
    text: str, value: float, wanted: str, holds: Any, error: float | None
) -> Claim:
    value = float(np.asarray(value))
    if error is not None:
        error = float(np.asarray(error))
        holds = holds and math.isfinite(error)
    return Claim(text, value, wanted, bool(holds) and not math.isnan(value), error)
