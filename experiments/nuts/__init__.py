"""The paper's NUTS experiment: Bayesian logistic regression on covertype."""

from experiments.nuts.experiment import sample

__all__ = ["sample"]
