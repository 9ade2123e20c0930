"""From R^k onto supports: TFP's default bijectors, its errors in them put right."""

import types
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.bijectors import pad

tfb, tfd = tfp.bijectors, tfp.distributions

_ON_SPHERE = (tfd.VonMisesFisher, tfd.PowerSpherical, tfd.SphericalUniform)
_PUT_RIGHT = (tfd.WishartLinearOperator, tfd.LKJ)


def event_space_bijector(distribution: tfd.Distribution) -> tfb.Bijector | None:
    """From R^k onto the distribution's support; None where it is discrete.

    It is TFP's default, but for
      Wisharts: TFP's reaches Cholesky diagonals above log 2 alone, in float32 alone.
      LKJ: the log determinant of TFP's is one of matrices whose diagonal varies.
    On a simplex of K parts TFP's log determinant is one of surface area, which is
    (log K) / 2 more than one of the first K - 1 parts.

    Raises ValueError for a distribution on a sphere, of which TFP's default reaches one
    orthant, and for others made from a Wishart or LKJ.
    """
    within = list(_within(distribution))
    if any(isinstance(part, _ON_SPHERE) for part in within):
        raise ValueError(
            "lies on a sphere, of which TFP's bijector reaches one orthant alone; "
            "normalise a normal vector instead"
        )
    if any(isinstance(part, _PUT_RIGHT) for part in within[1:]):
        raise ValueError(
            f"is made from a {type(within[-1]).__name__}, for which TFP's bijector is "
            "wrong; make that a random variable itself, with sample_shape"
        )
    if not isinstance(distribution, _PUT_RIGHT):
        return distribution.experimental_default_event_space_bijector()
    if isinstance(distribution, tfd.LKJ):
        cholesky, product = tfb.CorrelationCholesky(), _CorrelationOuterProduct()
    else:
        cholesky = tfb.FillScaleTriL(diag_bijector=tfb.Softplus(), diag_shift=None)
        product = tfb.CholeskyOuterProduct()
    if distribution.input_output_cholesky:
        return cholesky
    return tfb.Chain([product, cholesky])


class _CorrelationOuterProduct(tfb.CholeskyOuterProduct):
    """L L^T for L with rows of norm one: the diagonals of both are no coordinates."""

    def _forward_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        diagonal = tf.linalg.diag_part(x)
        below = tf.range(tf.shape(diagonal)[-1] - 1, -1, -1)  # entries below each
        log_diagonal = tf.math.log(diagonal)
        return tf.reduce_sum(tf.cast(below, x.dtype) * log_diagonal, axis=-1)


def _within(distribution: tfd.Distribution) -> Iterator[tfd.Distribution]:
    """The distribution, and those it is made from: Sample's, Independent's, ..."""
    while distribution is not None:
        yield distribution
        distribution = getattr(
            distribution,
            "distribution",
            getattr(distribution, "components_distribution", None),
        )


def _reshape(array: np.ndarray, newshape: list[int]) -> np.ndarray:
    return np.reshape(array, newshape)


# tfb.Pad, and so tfb.SoftmaxCentered, of TFP 0.25 calls np.reshape by an argument name
# that NumPy has dropped.  No other function in that module is touched.
pad.np = types.SimpleNamespace(**{**vars(np), "reshape": _reshape})
