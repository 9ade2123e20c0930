"""Bijectors from R^k onto supports: TFP's defaults, with corrections."""

import types
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.bijectors import pad

_ON_SPHERE = (tfd.VonMisesFisher, tfd.PowerSpherical, tfd.SphericalUniform)
_CORRECTED = (tfd.WishartLinearOperator, tfd.LKJ)


def event_space_bijector(distribution: tfd.Distribution) -> tfb.Bijector | None:
    """Returns a bijector from R^k onto the distribution's support; None if discrete.

    It is TFP's default, except for
      Wishart distributions: TFP's reaches only Cholesky diagonals above log 2, and
        works only in float32.
      truncated distributions: TFP's is NaN for an infinite bound.
      LKJ: TFP's log determinant belongs to matrices whose diagonal varies.
    On a simplex of K parts, TFP's log determinant is that of the surface area, which
    exceeds that of the first K - 1 parts by (log K) / 2.

    Raises ValueError for a distribution on a sphere, where TFP's default reaches only
    one orthant, for a Masked distribution, and for other distributions built from a
    Wishart or LKJ.
    """
    chain = list(_base_distributions(distribution))
    if any(isinstance(base, _ON_SPHERE) for base in chain):
        raise ValueError(
            "lies on a sphere, of which TFP's bijector reaches only one orthant; "
            "normalise a normal vector instead"
        )
    if any(isinstance(base, _CORRECTED) for base in chain[1:]):
        raise ValueError(
            f"is built from a {type(chain[-1]).__name__}, for which TFP's bijector is "
            "wrong; make that a random variable itself, with sample_shape"
        )
    if any(isinstance(base, tfd.Masked) for base in chain):
        raise ValueError(
            "is a Masked distribution, whose masked entries have no density; use the "
            "mask tracer, or only the entries that count"
        )
    if isinstance(distribution, (tfd.TruncatedNormal, tfd.TruncatedCauchy)):
        return _between(distribution)
    if not isinstance(distribution, _CORRECTED):
        return distribution.experimental_default_event_space_bijector()
    if isinstance(distribution, tfd.LKJ):
        cholesky, product = tfb.CorrelationCholesky(), CorrelationOuterProduct()
    else:
        cholesky = tfb.FillScaleTriL(diag_bijector=tfb.Softplus(), diag_shift=None)
        product = tfb.CholeskyOuterProduct()
    if distribution.input_output_cholesky:
        return cholesky
    return tfb.Chain([product, cholesky])


class CorrelationOuterProduct(tfb.CholeskyOuterProduct):
    """L L^T for L with rows of norm one: neither diagonal is a free coordinate."""

    def _forward_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        diagonal = tf.linalg.diag_part(x)
        below = tf.range(tf.shape(diagonal)[-1] - 1, -1, -1)  # entries below each
        log_diagonal = tf.math.log(diagonal)
        return tf.reduce_sum(tf.cast(below, x.dtype) * log_diagonal, axis=-1)


def _between(distribution: tfd.Distribution) -> tfb.Bijector:
    """From R onto the interval of a truncated distribution, with bounds or without."""
    low, high = (tf.get_static_value(b) for b in (distribution.low, distribution.high))
    has_low = low is None or bool(np.isfinite(low).all())
    has_high = high is None or bool(np.isfinite(high).all())
    if not (has_low or np.isinf(low).all()) or not (has_high or np.isinf(high).all()):
        raise ValueError(
            f"has the bounds {low} and {high}, some infinite and some not; wanted "
            "separate variables for these"
        )
    if has_low and has_high:
        return distribution.experimental_default_event_space_bijector()
    if has_low:
        return tfb.Chain([tfb.Shift(distribution.low), tfb.Softplus()])
    if has_high:
        negative = tfb.Scale(tf.constant(-1, distribution.dtype))
        return tfb.Chain([tfb.Shift(distribution.high), negative, tfb.Softplus()])
    return tfb.Identity()


def _base_distributions(
    distribution: tfd.Distribution | None,
) -> Iterator[tfd.Distribution]:
    """The distribution, then those it wraps (as Sample and Independent do)."""
    while distribution is not None:
        yield distribution
        distribution = getattr(
            distribution,
            "distribution",
            getattr(distribution, "components_distribution", None),
        )


def _reshape(array: np.ndarray, newshape: list[int]) -> np.ndarray:
    return np.reshape(array, newshape)


# tfb.Pad of TFP 0.25, and so tfb.SoftmaxCentered, calls np.reshape by an argument name
# that NumPy has removed.  This replaces np.reshape in that one module.
pad.np = types.SimpleNamespace(**{**vars(np), "reshape": _reshape})
