"""Relaxed categorical variables, by hand."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

import ppl_core as ppl

U = np.array([[0.3, -0.4], [-300.0, 0.5], [200.0, -200.0], [90.0, 95.0]])
ODDS = U - np.log([2.0, 1.0])  # of each part against those after it
LOGITS, TEMPERATURE = np.array([0.3, -1.0, 0.5]), 0.5


@pytest.mark.parametrize("kind", ["Relaxed", "ExpRelaxed"])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_a_relaxed_one_hot_has_its_density_where_parts_round_to_0(kind, dtype):
    """Maddison, Mnih and Teh (2017), equation 10."""
    rest = special.log_expit(-ODDS)
    log_x = np.pad(special.log_expit(ODDS), [(0, 0), (0, 1)])
    log_x[:, 1:] += np.cumsum(rest, axis=1)
    parts = LOGITS - TEMPERATURE * log_x
    log_prob = np.log(2.0) + 2 * np.log(TEMPERATURE)
    log_prob += parts.sum(-1) - 3 * special.logsumexp(parts, axis=-1)
    # -log x of the density and the log determinant on the simplex cancel.

    def model():
        getattr(ppl, f"{kind}OneHotCategorical")(TEMPERATURE, LOGITS, name="x")

    posterior = ppl.unconstrain(model, dtype=dtype)
    found, grad = posterior.log_prob_and_grad(tf.constant(U, dtype))
    np.testing.assert_allclose(found, log_prob, rtol=2e-6)
    # By the odds of part k, log x_k has the slope 1 - z_k and each later one -z_k.
    by_log_x = -TEMPERATURE * (1 - 3 * special.softmax(parts, axis=-1))
    after = np.cumsum(by_log_x[:, ::-1], axis=1)[:, ::-1]
    slope = by_log_x[:, :2] - special.expit(ODDS) * after[:, :2]
    np.testing.assert_allclose(grad, slope, rtol=1e-5, atol=1e-6)
    values = posterior.constrain(U[:1])["x"]
    wanted = log_x[:1] if kind == "ExpRelaxed" else np.exp(log_x[:1])
    np.testing.assert_allclose(values, wanted, rtol=1e-5)
    np.testing.assert_allclose(posterior.unconstrain({"x": values}), U[:1], rtol=1e-5)
