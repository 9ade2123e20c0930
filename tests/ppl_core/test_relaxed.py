"""Relaxed categorical variables, by hand."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

import ppl_core as ppl

U = np.array([[0.3, -0.4], [-300.0, 0.5], [200.0, -200.0], [90.0, 95.0]])
LOGITS, TEMPERATURE = np.array([0.3, -1.0, 0.5]), 0.5


@pytest.mark.parametrize("kind", ["Relaxed", "ExpRelaxed"])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_a_relaxed_one_hot_has_its_density_where_parts_round_to_0(kind, dtype):
    """Maddison, Mnih and Teh (2017), equation 10; the simplex's area has sqrt(3)."""
    log_x = special.log_softmax(np.pad(U, [(0, 0), (0, 1)]), axis=-1)
    parts = LOGITS - TEMPERATURE * log_x
    log_prob = np.log(2.0) + 2 * np.log(TEMPERATURE)
    log_prob += parts.sum(-1) - 3 * special.logsumexp(parts, axis=-1)
    # -log x of the density and log x of the log determinant cancel on the simplex
    expected = log_prob + 0.5 * np.log(3.0)

    def model():
        getattr(ppl, f"{kind}OneHotCategorical")(TEMPERATURE, LOGITS, name="x")

    posterior = ppl.unconstrain(model, dtype=dtype)
    log_prob, grad = posterior.log_prob_and_grad(tf.constant(U, dtype))
    np.testing.assert_allclose(log_prob, expected, rtol=2e-6)
    slope = -TEMPERATURE * (1 - 3 * special.softmax(parts, axis=-1)[:, :2])
    np.testing.assert_allclose(grad, slope, rtol=1e-5, atol=1e-6)
    values = posterior.constrain(U[:1])["x"]
    wanted = log_x[:1] if kind == "ExpRelaxed" else np.exp(log_x[:1])
    np.testing.assert_allclose(values, wanted, rtol=1e-5)
    np.testing.assert_allclose(posterior.unconstrain({"x": values}), U[:1], rtol=1e-5)
