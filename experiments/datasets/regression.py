"""A logistic regression: its data, and where chains start."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegressionProblem:
    """A Bayesian logistic regression, its data and where chains begin.

    The prior is N(0, I), and labels ~ Bernoulli(logits = features @ coeffs).

    Raises ValueError when the arrays do not fit each other.
    """

    name: str  # "covertype"
    source: str  # where the data came from; synthetic data say that they are
    features: np.ndarray  # [rows, dim] float32
    labels: np.ndarray  # [rows] int32, 0 or 1
    start: np.ndarray  # [dim] float32, where every chain of every system begins

    def __post_init__(self) -> None:
        rows, dim = self.features.shape
        if self.labels.shape != (rows,):
            raise ValueError(
                f"{self.name}: labels have shape {self.labels.shape}, "
                f"features {self.features.shape} want ({rows},)"
            )
        if self.start.shape != (dim,):
            raise ValueError(
                f"{self.name}: start has shape {self.start.shape}, "
                f"features {self.features.shape} want ({dim},)"
            )

    @property
    def rows(self) -> int:
        """The number of observations."""
        return int(self.features.shape[0])

    @property
    def dim(self) -> int:
        """The number of coefficients, the intercept's included."""
        return int(self.features.shape[1])
