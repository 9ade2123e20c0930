"""TFP's windowed NUTS as a system: the density it is given, and a run."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import ppl_core as ppl
from experiments.bench import tfp_posteriors
from experiments.bench.posteriors import MODELS
from experiments.bench.problems import PosteriorProblem, Protocol

FUNNEL = MODELS["funnel"]


def test_the_density_has_the_posteriors_log_prob_and_gradient():
    def program():
        scale = ppl.HalfNormal(1.0, name="scale")
        ppl.Normal(0.0, scale, sample_shape=3, name="x")

    posterior = ppl.posterior(program, observed={"x": [0.1, -2.0, 1.0]})
    points = tf.constant([[-0.3], [1.2]], tf.float64)
    one = tf.constant(1.0, tf.float64)
    joint = tfp.distributions.JointDistributionSequential(
        [tfp_posteriors.Density(posterior, one)]
    )
    found = tfp.math.value_and_gradient(
        lambda x: joint.unnormalized_log_prob([x]), points
    )
    for value, wanted in zip(found, posterior.log_prob_and_grad(points), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-12)
    nothing = tfp_posteriors.Density(posterior, one * np.nan)
    assert np.isnan(nothing.log_prob(points)).all()


@pytest.mark.slow
def test_a_run_returns_draws_and_counts_of_warm_up_and_sampling_apart():
    problem = PosteriorProblem(
        "funnel", FUNNEL.make_data(), FUNNEL.stan, FUNNEL.compared_names
    )
    run = tfp_posteriors.run(problem, Protocol(3, 60, 40), seed=1)
    assert {value.shape[:2] for value in run.values.values()} == {(3, 40)}
    assert run.leapfrogs.shape == run.diverged.shape == (3, 40)
    assert run.leapfrogs.min() >= 1 and run.warmup_leapfrogs >= 3 * 60
    assert all(run.seconds[part] > 0 for part in ("build", "warmup", "sampling"))
    assert len(run.settings["step_size"]) == 1  # all chains have one
