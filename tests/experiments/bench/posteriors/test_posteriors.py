"""The benchmark's models: ours have Stan's log density and gradient."""

import numpy as np
import pytest

from experiments.bench import posterior_references
from experiments.bench.posteriors import MODELS, build, logistic
from tests.experiments.bench.posteriors import stan_coordinates

# Those that take long are like another: covertype has credit's program.
SLOW = ("covertype", "radon_centred", "item_response")


def case(name):
    return pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())


@pytest.mark.parametrize("name", [case(name) for name in MODELS])
def test_log_density_and_gradient_are_stans_at_100_points(name):
    model = MODELS[name]
    data = model.make_data()
    with np.load(posterior_references.densities_path(name)) as file:
        stan = dict(file)
    assert str(stan["digest"]) == posterior_references.digest(model, data), (
        "the model has changed: make reference"
    )
    assert stan["points"].shape[0] == 100

    log_prob, grad = stan_coordinates.log_prob_and_grad(
        build(model, data), model.parameters, stan["points"]
    )

    apart = log_prob - stan["log_prob"]
    size = np.maximum(abs(stan["log_prob"]), 1.0)
    assert np.max(abs(apart - np.median(apart)) / size) < 1e-8
    largest = np.max(abs(stan["grad"]), axis=1, keepdims=True)
    assert np.max(abs(grad - stan["grad"]) / largest) < 1e-8


def test_whitened_coordinates_have_the_same_posterior_of_unit_width():
    data = MODELS["credit"].make_data()
    made = logistic.whitened(data)
    z = np.random.default_rng(0).normal(size=(4, len(made["mode"])))
    beta = made["mode"] + z @ made["factor"].T
    logits = made["shift"] + z @ made["x"].T
    np.testing.assert_allclose(logits, beta @ data["x"].T, rtol=1e-9, atol=1e-9)
    log_prob = (data["y"] * logits - np.logaddexp(0, logits)).sum(1)
    log_prob -= 0.5 * (beta**2).sum(1)
    ours, _ = build(MODELS["credit"], data).log_prob_and_grad(beta)
    np.testing.assert_allclose(np.ptp(ours - log_prob), 0, atol=1e-8)
    # Nearly N(0, I) around the mode.
    apart = log_prob + 0.5 * (z**2).sum(1)
    assert np.ptp(apart) < 2.0
