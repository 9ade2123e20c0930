"""The probabilistic program: Bayesian logistic regression (the paper's appendix D)."""

import tensorflow as tf

import ppl_core as ppl


def logistic_regression(features: tf.Tensor) -> ppl.RandomVariable:
    """p(coeffs) p(labels | features, coeffs): the model of the paper's NUTS table.

    features: [dim, rows], standardised; the last row is ones.  In this layout the
      products with coefficients and with residuals read memory in order.
    """
    dim = features.shape[0]
    coeffs = ppl.Normal(
        tf.zeros([], features.dtype), 1.0, sample_shape=dim, name="coeffs"
    )  # [dim]
    logits = tf.tensordot(coeffs, features, 1)  # [rows]
    return ppl.Bernoulli(logits=logits, name="labels")  # [rows]


def logistic_regression_by_design(design: ppl.DesignMatrix) -> ppl.RandomVariable:
    """The same model of features that are kept by their structure: [rows, dim]."""
    coeffs = ppl.Normal(
        tf.zeros([], design.dtype), 1.0, sample_shape=design.shape[1], name="coeffs"
    )  # [dim]
    return ppl.Bernoulli(logits=design @ coeffs, name="labels")  # [rows]
