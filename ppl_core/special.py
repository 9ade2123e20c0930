"""Special functions with gradients that TensorFlow's lack."""

import numpy as np
import tensorflow as tf
from scipy import special

_DIRECT = 10  # terms of zeta's series that are added up one by one
_NODES = np.arange(-80, 81)


def log_zeta(s: tf.Tensor) -> tf.Tensor:
    """The logarithm of Riemann's zeta function at s > 1, elementwise.

    By the Euler-Maclaurin formula (Olver et al. (2010), equation 25.2.9), to the
    dtype's precision.
    """
    n = tf.constant(_DIRECT, s.dtype)
    log_n = tf.math.log(n)
    rest = sum(tf.exp(-s * np.log(k)) for k in range(2, _DIRECT))
    rest += tf.exp((1.0 - s) * log_n) / (s - 1.0) + 0.5 * tf.exp(-s * log_n)
    term = s * tf.exp(-(s + 1.0) * log_n)
    for k, bernoulli in enumerate(special.bernoulli(16)[2::2], start=1):
        rest += bernoulli / special.factorial(2 * k) * term
        term *= (s + (2.0 * k - 1.0)) / n * ((s + 2.0 * k) / n)
    return tf.math.log1p(rest)


def noncentral_chi2_slope(
    log_x: tf.Tensor, df: tf.Tensor, noncentrality: tf.Tensor
) -> tf.Tensor:
    """The derivative of a noncentral chi-squared log density with respect to df.

    The variable is chi-squared with df + 2 j, for a Poisson variable j.  Given x, the
    derivative is (log(x / 2) - E digamma(df / 2 + j)) / 2.  j's distribution peaks,
    whose width sets the distance between the nodes of the sum.
    """
    log_x, df, noncentrality = (
        part[..., tf.newaxis] for part in (log_x, df, noncentrality)
    )
    half = 0.5 * df
    log_quarter = log_x + tf.math.log(noncentrality) - np.log(4.0)
    quarter, b = tf.exp(log_quarter), half - 1.0
    peak = 0.5 * (tf.sqrt(b**2 + 4.0 * quarter) - b)
    peak = tf.floor(tf.maximum(peak, tf.zeros_like(peak)))
    width = tf.sqrt(peak * (peak + half) / (2.0 * peak + half))
    step = tf.maximum(tf.math.ceil(width / 8.0), tf.ones_like(width))
    j = tf.stop_gradient(peak + step * tf.constant(_NODES, log_x.dtype))
    inside = j >= 0.0
    j = tf.where(inside, j, tf.zeros_like(j))
    log_weight = tf.where(j > 0.0, j * log_quarter, 0.0 * j)
    log_weight -= tf.math.lgamma(j + 1.0) + tf.math.lgamma(half + j)
    least = tf.constant(-np.inf, log_x.dtype)
    weight = tf.nn.softmax(tf.where(inside, log_weight, least), axis=-1)
    mean = tf.reduce_sum(weight * tf.math.digamma(half + j), axis=-1)
    return 0.5 * (log_x[..., 0] - np.log(2.0) - mean)


@tf.custom_gradient
def with_slope(
    value: tf.Tensor, x: tf.Tensor, slope: tf.Tensor
) -> tuple[tf.Tensor, object]:
    """`value` with the derivative `slope` by x, besides its own.

    value, x, slope: of one shape.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return upstream, upstream * slope, tf.zeros_like(slope)

    return tf.identity(value), gradient
