"""Special functions with gradients that TensorFlow's lack."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special

_DIRECT = 10  # terms of zeta's series that are added up one by one
_NODES = np.arange(-80, 81)


def log_zeta(s: tf.Tensor, start: tf.Tensor | float = 1.0) -> tf.Tensor:
    """The logarithm of the sum of k^-s over k = start, start + 1, ..., for s > 1.

    Elementwise; from 1 it is Riemann's zeta function.  By the Euler-Maclaurin formula
    (Olver et al. (2010), equation 25.2.9), to the dtype's precision.
    """
    start = tf.cast(start, s.dtype)
    n = start + (_DIRECT - 1.0)
    log_n = tf.math.log(n / start)
    rest = sum(tf.exp(-s * tf.math.log1p(k / start)) for k in range(1, _DIRECT - 1))
    rest += tf.exp(-s * log_n) * (n / (s - 1.0) + 0.5)
    term = s * tf.exp(-s * log_n) / n
    for k, bernoulli in enumerate(special.bernoulli(16)[2::2], start=1):
        rest += bernoulli / special.factorial(2 * k) * term
        term *= (s + (2.0 * k - 1.0)) / n * ((s + 2.0 * k) / n)
    return tf.math.log1p(rest) - s * tf.math.log(start)


def log_erfcx(w: tf.Tensor) -> tf.Tensor:
    """log(exp(w^2) erfc(w)) for w >= 0, whose derivative does not cancel far out."""
    start = tf.constant(10.0 if w.dtype == tf.float32 else 50.0, w.dtype)
    far = tf.maximum(w, start)
    v = 0.5 / far**2
    series = v * (-1.0 + v * (3.0 + v * (-15.0 + v * 105.0)))
    log_far = tf.math.log1p(series) - tf.math.log(far) - 0.5 * np.log(np.pi)
    return tf.where(w < start, tfp.math.logerfcx(tf.minimum(w, start)), log_far)


def log_ndtr(x: tf.Tensor) -> tf.Tensor:
    """The logarithm of the standard normal cumulative function, in both tails."""
    is_left = x < 0.0
    left = tf.where(is_left, x, tf.zeros_like(x))
    right = tf.where(is_left, tf.zeros_like(x), x)
    log_left = log_erfcx(-left / np.sqrt(2.0)) - 0.5 * left**2 - np.log(2.0)
    log_right = tf.math.log1p(-0.5 * tf.math.erfc(right / np.sqrt(2.0)))
    return tf.where(is_left, log_left, log_right)


def log1p_share(w: tf.Tensor) -> tf.Tensor:
    """log(1 + w) / w, also at 0."""
    is_small = tf.abs(w) < 1e-4
    safe = tf.where(is_small, tf.ones_like(w), w)
    small = tf.where(is_small, w, tf.zeros_like(w))
    series = 1.0 - small / 2.0 + small**2 / 3.0 - small**3 / 4.0
    return tf.where(is_small, series, tf.math.log1p(safe) / safe)


def log1mexp_of_log(log_v: tf.Tensor) -> tf.Tensor:
    """log(1 - exp(-v)) of v = exp(log_v), which may underflow or overflow."""
    is_small = log_v < -11.0
    small = tf.where(is_small, log_v, tf.zeros_like(log_v) - 11.0)
    v = tf.exp(small)
    series = small - 0.5 * v + v**2 / 24.0
    v = tf.exp(tf.minimum(tf.where(is_small, tf.zeros_like(log_v), log_v), 7.0))
    return tf.where(is_small, series, tf.math.log(-tf.math.expm1(-v)))


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
    # It has its gradient also where it is 0.
    noncentrality += tf.stop_gradient(tf.maximum(1e-30 - noncentrality, 0.0))
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
