"""The other systems' models are those of Stan's programs."""

import importlib

import numpy as np
import pytest

from experiments.bench import posterior_references
from experiments.bench.posteriors import MODELS, build
from tests.experiments.bench.posteriors import stan_coordinates

SMALL = [name for name in MODELS if name != "covertype"]  # credit has its program
POINTS = 4


def by_pymc(name, data, values):
    from pymc.model.transform.conditioning import remove_value_transforms

    models = importlib.import_module("experiments.baselines.posteriors.pymc_models")
    model = models.build(name, data)
    for variable in model.rvs_to_initial_values:  # which it would not convert
        model.rvs_to_initial_values[variable] = None
    model = remove_value_transforms(model)
    density = model.compile_logp(jacobian=False)
    return [density({key: x[i] for key, x in values.items()}) for i in range(POINTS)]


def by_numpyro(name, data, values):
    jax = pytest.importorskip("jax")
    infer = pytest.importorskip("numpyro.infer.util")
    models = importlib.import_module("experiments.baselines.posteriors.numpyro_models")
    with jax.enable_x64(True):
        program = models.program(name, data)
        return [
            float(
                infer.log_density(
                    program, (), {}, {k: x[i] for k, x in values.items()}
                )[0]
            )
            for i in range(POINTS)
        ]


@pytest.mark.slow
@pytest.mark.parametrize("system", [by_pymc, by_numpyro])
@pytest.mark.parametrize("name", SMALL)
def test_log_densities_are_stans(system, name):
    model = MODELS[name]
    data = model.make_data()
    with np.load(posterior_references.densities_path(name)) as stan:
        points, wanted = stan["points"][:POINTS], stan["log_prob"][:POINTS]
    values, log_det = stan_coordinates.values_and_log_det(
        build(model, data), model.parameters, points
    )
    apart = system(name, data, values) - (wanted - log_det)
    assert np.max(abs(apart - apart[0]) / np.maximum(abs(wanted), 1)) < 1e-8
