"""What variational inference found: a guide, its draws, whether to trust them."""

import dataclasses
import functools
import warnings
from typing import Any

import numpy as np
import tensorflow as tf
import xarray as xr

from experiments.inference import prng
from experiments.inference.drawing import seed_pair
from experiments.inference.elbo import Drawn, Objective
from experiments.inference.memory import check_bytes
from experiments.inference.results import attributes, data_groups, group
from experiments.inference.settings import check_count

JUDGING_DRAWS = 1000  # from which the ELBO and Pareto's k are estimated
MOST_PARETO_K = 0.7  # Yao et al. (2018), section 2.1
_DRAWS, _JUDGING = 1, 2  # what a seed is for


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """A fitted guide; printed, how good it is, with advice.

    Estimates that need draws are made when they are first asked for.
    """

    objective: Objective
    params: Any  # as the guide's, as arrays
    history: np.ndarray  # the ELBO's estimate at every tenth step, from the first
    converged: bool  # whether the ELBO rises no more, by its own noise
    num_steps: int
    num_samples: int
    seed: int
    seconds: float  # that the steps took, with compilation
    build_seconds: float  # of these, the first 10 steps with compilation

    @property
    def posterior(self) -> Any:
        """The posterior that the guide was fitted to."""
        return self.objective.posterior

    @property
    def estimators(self) -> dict[str, str]:
        """How the gradient was found, by latent variable."""
        return self.objective.estimators

    @property
    def elbo(self) -> float:
        """The ELBO of the fitted guide, in nats, estimated from 1,000 draws of it."""
        return float(self._judged.elbo.mean())

    @property
    def elbo_error(self) -> float:
        """The standard error of `elbo`."""
        values = self._judged.elbo
        return float(values.std(ddof=1) / np.sqrt(len(values)))

    @functools.cached_property
    def pareto_k(self) -> float:
        """Pareto's k-hat of the importance ratios p/q of 1,000 draws.

        Below 0.7 the draws, weighted, estimate the posterior's means; above, the guide
        misses too much of it.  NaN where the ratios are no numbers.  Yao et al. (2018),
        Yes, but Did It Work?, section 2.1.
        """
        return pareto_k(self._judged.log_prob - self._judged.log_q)

    @property
    def warnings(self) -> list[str]:
        """What speaks against the fit and what to do, one line each; [] if nothing."""
        found = []
        if not self.converged:
            found.append(
                f"The ELBO still rises after {self.num_steps} steps, by more than its "
                "noise, or there are too few to tell: take more, or a larger "
                "learning_rate."
            )
        k = self.pareto_k
        if not k <= MOST_PARETO_K:
            found.append(
                f"Pareto's k is {k:.2f}, above {MOST_PARETO_K}: the guide misses much "
                "of the posterior. Use full_rank, another parametrisation, or "
                "sample_nuts."
            )
        return found

    def draws(self, num_draws: int = 1000, *, seed: int = 0) -> xr.DataTree:
        """Draws from the guide as an ArviZ DataTree, as of `sample_nuts`.

        Its groups are posterior (one chain), sample_stats (lp, the model's log prob,
        and log_q, the guide's), observed_data and constant_data.

        Raises ValueError, naming it, for a number of draws that is none, or more than
        this machine's memory holds, and for a seed that is none.
        """
        check_count("num_draws", num_draws)
        sizes = getattr(self.posterior, "sizes", (1,))
        check_bytes("num_draws", num_draws, 8 * num_draws * (sum(sizes) + 2))
        drawn = self._draw(num_draws, seed, _DRAWS)
        leading = ("chain", "draw")
        groups = {
            "posterior": group(
                {name: part[np.newaxis] for name, part in drawn.values.items()},
                self.posterior,
                leading,
            ),
            "sample_stats": group(
                {
                    "lp": drawn.log_prob[np.newaxis],
                    "log_q": drawn.log_q[np.newaxis],
                },
                None,
                leading,
            ),
            **data_groups(self.posterior),
        }
        groups["sample_stats"].attrs |= attributes(
            {
                "guide": self.objective.kind,
                "seed": self.seed,
                "num_steps": self.num_steps,
                "num_samples": self.num_samples,
                "converged": int(self.converged),
            }
        )
        return xr.DataTree.from_dict(groups)

    def __str__(self) -> str:
        lines = [
            f"{self.objective.kind}: ELBO {self.elbo:.3f} +- {self.elbo_error:.3f}, "
            f"Pareto k {self.pareto_k:.2f}, {self.num_steps} steps in "
            f"{self.seconds:.1f} s",
            *(f"{name}: {how}" for name, how in self.estimators.items()),
            *self.warnings,
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Fit of {self.objective.kind}, {self.num_steps} steps>"

    @functools.cached_property
    def _judged(self) -> Drawn:
        return self._draw(JUDGING_DRAWS, self.seed, _JUDGING)

    def _draw(self, num: int, seed: int, purpose: int) -> Drawn:
        params = tf.nest.map_structure(
            lambda part: tf.constant(part, self.objective.dtype), self.params
        )
        key = prng.fold_in(seed_pair(seed), tf.constant(-purpose))
        return self.objective.draw(params, num, key)


def pareto_k(log_ratios: np.ndarray) -> float:
    """The shape of the generalized Pareto distribution that fits the largest ratios.

    log_ratios: [num].

    NaN where they are not finite, and 0 where the largest are all the same: those of
    discrete variables are bounded.
    """
    from arviz_stats.base.array import array_stats

    if not np.isfinite(log_ratios).all():
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a large k
        try:
            # ArviZ takes log likelihoods, whose inverses are the ratios.
            _, k = array_stats.psislw(-log_ratios)  # type: ignore[no-untyped-call]
        except ValueError:  # all the same
            return 0.0
    return 0.0 if np.isnan(k) else float(k)
