"""The bare loop of leapfrogs: chains at once are those that run one after another."""

import numpy as np
import pytest

from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings

pytest.importorskip("jax")
from experiments.baselines.nuts import jax_leapfrog


def test_chains_at_once_go_where_they_go_one_after_another():
    random = np.random.default_rng(1)
    problem = RegressionProblem(
        name="made",
        source="made data",
        features=random.normal(size=(50, 3)).astype(np.float32),
        labels=random.integers(2, size=50).astype(np.int32),
        start=np.zeros(3, np.float32),
    )
    settings = SamplerSettings(step_size=0.01, num_results=2, num_chains=3)
    alone, together = (
        jax_leapfrog.prepare(problem, settings, 5, batched=batched)()
        for batched in (False, True)
    )
    assert alone.values.shape == together.values.shape == (3, 2, 3)
    np.testing.assert_allclose(alone.values, together.values, rtol=0, atol=1e-4)
    assert np.ptp(together.values, axis=0).min() > 0.01  # each has its own momentum
    assert (together.leapfrogs == alone.leapfrogs).all()
