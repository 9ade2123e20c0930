"""A log determinant that is one number for a whole variable counts for each entry."""

import numpy as np
import tensorflow as tf
from scipy import stats
from tensorflow_probability import bijectors as tfb

import ppl_core as ppl


def test_a_constant_log_determinant_counts_once_for_each_entry():
    """x = 2 y for three entries: the density of y has 2 to the power 3."""

    def program():
        double = tfb.Scale(tf.constant(2.0, tf.float64))
        ppl.Normal(0.0, 1.0, sample_shape=3, bijector=double, name="x")

    y = np.array([[0.1, -0.4, 1.0]])
    wanted = stats.norm.logpdf(2 * y).sum() + 3 * np.log(2)
    found = ppl.unconstrain(program).log_prob(tf.constant(y))
    np.testing.assert_allclose(found, [wanted], rtol=1e-10)
