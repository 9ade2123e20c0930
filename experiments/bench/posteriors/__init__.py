"""The posteriors of the benchmark: data, our program and Stan's, a module a family."""

from experiments.bench.posteriors import (
    funnel,
    gaussian_process,
    hidden_markov,
    item_response,
    logistic,
    mixture,
    radon,
    regressions,
    schools,
    time_series,
)
from experiments.bench.posteriors.model import BenchModel, build

_FAMILIES = (
    schools,
    regressions,
    radon,
    mixture,
    gaussian_process,
    time_series,
    hidden_markov,
    item_response,
    logistic,
    funnel,
)
MODELS: dict[str, BenchModel] = {
    model.name: model for family in _FAMILIES for model in family.MODELS
}

__all__ = ["MODELS", "BenchModel", "build"]
