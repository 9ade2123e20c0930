"""Where the values of each distribution class lie, for classes that stand alone."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from ppl_core import flat

Array = Any  # a NumPy array or a tensor: most rules use operators that both have
# What float32 leaves of a sum of many parts, or of a matrix product.
TOLERANCE = 1e-4


class Support(NamedTuple):
    """Where the values of one distribution lie."""

    words: str  # in errors: "wanted ..."
    # (value, distribution) -> whether each entry lies inside: sample + batch shape
    inside: Callable[[Array, tfd.Distribution], Array]
    # (value, distribution) -> some value inside, which broadcasts with the given one
    point: Callable[[Array, tfd.Distribution], Array] | None = None
    is_whole: bool = False  # whole numbers


class Unknown(Exception):
    """A parameter has no value yet, since a tf.function is being traced."""


def number(distribution: tfd.Distribution, name: str, like: Array) -> Array:
    """A parameter as an array or a tensor, and in the dtype of a tensor.

    Raises Unknown for a parameter without a value, where an array is wanted.
    """
    given = getattr(distribution, name)
    given = tf.convert_to_tensor(given() if callable(given) else given)
    is_tensor = not is_array(like)
    if is_tensor and (hasattr(given, "numpy") or not tf.executing_eagerly()):
        return tf.cast(given, like.dtype)
    known = tf.get_static_value(given)
    if known is None:
        raise Unknown
    return tf.constant(known, like.dtype) if is_tensor else known


def event_rank(distribution: tfd.Distribution) -> int | None:
    """The number of an event's dimensions; None where that is not known."""
    rank = distribution.event_shape.rank
    return distribution.event_shape_tensor().shape[0] if rank is None else rank


def is_array(x: Array) -> bool:
    """Whether it is NumPy's."""
    return isinstance(x, (np.ndarray, np.generic))


def finite(x: Array) -> Array:
    """Whether each entry is a number, neither NaN nor infinite."""
    if is_array(x):
        return np.isfinite(x)
    is_floating = x.dtype.is_floating
    return tf.math.is_finite(x) if is_floating else tf.ones_like(x, tf.bool)


def in_tensors(
    rule: Callable[[tf.Tensor, tfd.Distribution], tf.Tensor],
) -> Callable[[Array, tfd.Distribution], Array]:
    """A rule written in TensorFlow, for arrays too."""

    @functools.wraps(rule)
    def inside(x: Array, distribution: tfd.Distribution) -> Array:
        if not is_array(x):
            return rule(x, distribution)
        try:
            with tf.init_scope():  # out of a tf.function that is being traced
                return rule(tf.constant(x), distribution).numpy()
        # A parameter is that function's, or of another dtype.
        except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
            raise Unknown from error

    return inside


def _whole(x: Array) -> Array:
    return x == x // 1


def _all(x: Array) -> Array:
    return x.all(-1) if is_array(x) else tf.reduce_all(x, -1)


def _sum(x: Array) -> Array:
    return x.sum(-1) if is_array(x) else tf.reduce_sum(x, -1)


def simplex(x: Array, _: Any) -> Array:
    return _all(x >= 0) & (abs(_sum(x) - 1) <= TOLERANCE)


def _one_hot(x: Array, _: Any) -> Array:
    return _all((x == 0) | (x == 1)) & (_sum(x) == 1)


@in_tensors
def _log_simplex(x: tf.Tensor, _: Any) -> tf.Tensor:
    return abs(tf.reduce_logsumexp(x, -1)) <= TOLERANCE


@in_tensors
def _permutation(x: tf.Tensor, _: Any) -> tf.Tensor:
    order = tf.cast(tf.range(tf.shape(x)[-1]), x.dtype)
    return tf.reduce_all(tf.sort(x, -1) == order, -1)


@in_tensors
def unit_vector(x: tf.Tensor, _: Any) -> tf.Tensor:
    return abs(tf.reduce_sum(x**2, -1) - 1) <= TOLERANCE


@in_tensors
def positive_definite(x: tf.Tensor, _: Any) -> tf.Tensor:
    size = tf.reduce_max(abs(x), axis=[-2, -1], keepdims=True)
    mirrored = tf.linalg.matrix_transpose(x)
    is_symmetric = tf.reduce_all(abs(x - mirrored) <= TOLERANCE * size, axis=[-2, -1])
    is_finite = tf.reduce_all(tf.math.is_finite(x), axis=[-2, -1])
    # An eigenvalue of NaN would be an error.
    safe = tf.where(is_finite[..., tf.newaxis, tf.newaxis], x, tf.zeros_like(x))
    return is_symmetric & (tf.linalg.eigvalsh(safe)[..., 0] > 0)


@in_tensors
def _factor(x: tf.Tensor, _: Any) -> tf.Tensor:
    above = tf.linalg.band_part(x, 0, -1) - tf.linalg.band_part(x, 0, 0)
    is_lower = tf.reduce_all(above == 0, axis=[-2, -1])
    is_finite = tf.reduce_all(tf.math.is_finite(x), axis=[-2, -1])
    return is_lower & is_finite & _all(tf.linalg.diag_part(x) > 0)


@in_tensors
def _correlation(x: tf.Tensor, _: Any) -> tf.Tensor:
    has_ones = _all(abs(tf.linalg.diag_part(x) - 1) <= TOLERANCE)
    return has_ones & positive_definite(x, None)


@in_tensors
def _correlation_factor(x: tf.Tensor, _: Any) -> tf.Tensor:
    return _factor(x, None) & _all(abs(tf.reduce_sum(x**2, -1) - 1) <= TOLERANCE)


@in_tensors
def _extreme(x: tf.Tensor, d: tfd.Distribution) -> tf.Tensor:
    z = (x - number(d, "loc", x)) / number(d, "scale", x)
    return tf.math.is_finite(x) & (number(d, "concentration", x) * z > -1)


@in_tensors
def _above_loc(x: tf.Tensor, d: tfd.Distribution) -> tf.Tensor:
    z = (x - number(d, "loc", x)) / number(d, "scale", x)
    return tf.math.is_finite(x) & (z >= 0) & (number(d, "concentration", x) * z >= -1)


@in_tensors
def _outcome(x: tf.Tensor, d: tfd.FiniteDiscrete) -> tf.Tensor:
    # What TFP's density takes for an outcome, with its tolerances.
    outcomes = tf.cast(d.outcomes, x.dtype)
    near = d._is_equal_or_close(x[..., tf.newaxis], outcomes)
    return tf.reduce_any(near, -1)


@in_tensors
def _sampled(x: tf.Tensor, d: tfd.Empirical) -> tf.Tensor:
    samples = number(d, "samples", x)
    ndims = d.event_shape.rank
    same = tf.expand_dims(x, x.shape.rank - ndims) == samples
    if ndims:
        same = tf.reduce_all(same, axis=list(range(-ndims, 0)))
    return tf.reduce_any(same, -1)


@in_tensors
def _located(x: tf.Tensor, d: tfd.Deterministic) -> tf.Tensor:
    loc = tf.convert_to_tensor(d.loc)
    return abs(x - loc) <= d._slack(loc)


def _of_kind(plain: Support, factor: Support) -> Callable[[tfd.Distribution], Support]:
    return lambda d: factor if d.input_output_cholesky else plain


def _ones(x: Array, _: Any) -> Array:
    return tf.ones_like(x)


def _zeros(x: Array, _: Any) -> Array:
    return tf.zeros_like(x)


def _halves(x: Array, _: Any) -> Array:
    return tf.ones_like(x) / 2


def _shares(x: Array, _: Any) -> Array:
    return tf.ones_like(x) / x.shape[-1]


def _first(x: Array, _: Any) -> Array:
    return tf.one_hot(0, x.shape[-1], dtype=x.dtype)


def _identity(x: Array, _: Any) -> Array:
    return tf.eye(x.shape[-1], dtype=x.dtype)


def _direction(x: Array, _: Any) -> Array:
    return tf.ones_like(x) / x.shape[-1] ** 0.5


def _order(x: Array, _: Any) -> Array:
    return tf.range(x.shape[-1], dtype=x.dtype)


def _between(low: str, high: str) -> Support:
    return Support(
        f"numbers between its {low} and its {high}",
        lambda x, d: (x >= number(d, low, x)) & (x <= number(d, high, x)),
        lambda x, d: _middle(number(d, low, x), number(d, high, x)),
    )


def _middle(low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    """A number between two bounds, which may be infinite."""
    low = tf.where(tf.math.is_finite(low), low, tf.minimum(high, 1.0) - 1.0)
    high = tf.where(tf.math.is_finite(high), high, low + 1.0)
    return low + 0.5 * (high - low)


def _from(low: str) -> Support:
    return Support(
        f"numbers from its {low} upwards",
        lambda x, d: (x >= number(d, low, x)) & (x < np.inf),
        lambda x, d: number(d, low, x) + 1.0,
    )


COUNTS = Support(
    "whole numbers, 0 or more", lambda x, _: (x >= 0) & _whole(x), _zeros, True
)
_FROM_ONE = Support(
    "whole numbers, 1 or more", lambda x, _: (x >= 1) & _whole(x), _ones, True
)
_BINARY = Support("0 or 1", lambda x, _: (x == 0) | (x == 1), _zeros, True)
_SUBSET = Support(
    "0 or 1 for each point", lambda x, _: _all((x == 0) | (x == 1)), _ones, True
)
_POSITIVE = Support("numbers, 0 or more", lambda x, _: (x >= 0) & (x < np.inf), _ones)
_UNIT = Support("numbers from 0 to 1", lambda x, _: (x >= 0) & (x <= 1), _halves)
_SIMPLEX = Support("parts, 0 or more, that add up to 1", simplex, _shares)
_ONE_HOT = Support("one 1 and otherwise 0", _one_hot, _first, True)
_UP_TO_TOTAL = Support(
    "whole numbers from 0 to its total_count",
    lambda x, d: (x >= 0) & _whole(x) & (x <= number(d, "total_count", x)),
    _zeros,
    True,
)
_PARTS_OF_TOTAL = Support(
    "whole numbers, 0 or more, that add up to its total_count",
    lambda x, d: _all((x >= 0) & _whole(x)) & (_sum(x) == number(d, "total_count", x)),
    lambda x, d: _first(x, d) * number(d, "total_count", x)[..., tf.newaxis],
    True,
)
_CATEGORY = Support(
    "whole numbers from 0 to the number of categories - 1",
    lambda x, d: (x >= 0) & _whole(x) & (x < number(d, "_num_categories", x)),
    _zeros,
    True,
)
_SPHERE = Support("unit vectors", unit_vector, _direction)
_CORRELATION = Support("correlation matrices", _correlation, _identity)
_CORRELATION_FACTOR = Support(
    "Cholesky factors of correlation matrices", _correlation_factor, _identity
)
_MATRIX = Support("positive definite matrices", positive_definite, _identity)
_FACTOR = Support("lower triangular matrices, above 0 on the diagonal", _factor)

# By class; what depends on the distribution itself is a function of it.
SUPPORTS: dict[type, Support | Callable[[tfd.Distribution], Support]] = {
    flat.HalfFlat: _POSITIVE,
    tfd.Bates: _between("low", "high"),
    tfd.Bernoulli: _BINARY,
    tfd.Beta: _UNIT,
    tfd.BetaBinomial: _UP_TO_TOTAL,
    tfd.BetaQuotient: _POSITIVE,
    tfd.Binomial: _UP_TO_TOTAL,
    tfd.Categorical: _CATEGORY,
    tfd.Chi: _POSITIVE,
    tfd.Chi2: _POSITIVE,
    tfd.CholeskyLKJ: _CORRELATION_FACTOR,
    tfd.ContinuousBernoulli: _UNIT,
    tfd.Deterministic: Support("its loc", _located),
    tfd.DeterminantalPointProcess: _SUBSET,
    tfd.Dirichlet: _SIMPLEX,
    tfd.DirichletMultinomial: _PARTS_OF_TOTAL,
    tfd.Empirical: Support("one of its samples", _sampled),
    tfd.ExpRelaxedOneHotCategorical: Support(
        "logarithms of parts that add up to 1",
        _log_simplex,
        lambda x, d: tf.math.log(_shares(x, d)),
    ),
    tfd.Exponential: _POSITIVE,
    tfd.FiniteDiscrete: Support("its outcomes", _outcome),
    tfd.FlatDirichlet: _SIMPLEX,
    tfd.Gamma: _POSITIVE,
    tfd.GammaGamma: _POSITIVE,
    tfd.GeneralizedExtremeValue: Support(
        "numbers on one side of loc - scale / concentration",
        _extreme,
        lambda x, d: number(d, "loc", x),
    ),
    tfd.GeneralizedPareto: Support(
        "numbers from its loc upwards", _above_loc, lambda x, d: number(d, "loc", x)
    ),
    tfd.Geometric: COUNTS,
    tfd.HalfCauchy: _from("loc"),
    tfd.HalfNormal: _POSITIVE,
    tfd.HalfStudentT: _from("loc"),
    tfd.InverseGamma: _POSITIVE,
    tfd.InverseGaussian: _POSITIVE,
    tfd.Kumaraswamy: _UNIT,
    tfd.LKJ: _of_kind(_CORRELATION, _CORRELATION_FACTOR),
    tfd.LogLogistic: _POSITIVE,
    tfd.LogNormal: _POSITIVE,
    tfd.LogitNormal: _UNIT,
    tfd.Multinomial: _PARTS_OF_TOTAL,
    tfd.NegativeBinomial: COUNTS,
    tfd.NoncentralChi2: _POSITIVE,
    tfd.OneHotCategorical: _ONE_HOT,
    tfd.OrderedLogistic: _CATEGORY,
    tfd.PERT: _between("low", "high"),
    tfd.Pareto: _from("scale"),
    tfd.PixelCNN: Support(
        "whole numbers from its low to its high",
        lambda x, d: (
            _whole(x) & (x >= number(d, "_low", x)) & (x <= number(d, "_high", x))
        ),
        lambda x, d: number(d, "_low", x),
        True,
    ),
    tfd.PlackettLuce: Support("permutations", _permutation, _order, True),
    tfd.Poisson: COUNTS,
    tfd.PoissonLogNormalQuadratureCompound: COUNTS,
    tfd.PowerSpherical: _SPHERE,
    tfd.ProbitBernoulli: _BINARY,
    tfd.RelaxedBernoulli: _UNIT,
    tfd.RelaxedOneHotCategorical: _SIMPLEX,
    tfd.Skellam: Support("whole numbers", lambda x, _: _whole(x), _zeros, True),
    tfd.SphericalUniform: _SPHERE,
    tfd.StoppingRatioLogistic: _CATEGORY,
    tfd.Triangular: _between("low", "high"),
    tfd.TruncatedCauchy: _between("low", "high"),
    tfd.TruncatedNormal: _between("low", "high"),
    tfd.Uniform: _between("low", "high"),
    tfd.VectorDeterministic: Support("its loc", lambda x, d: _all(_located(x, d))),
    tfd.VonMisesFisher: _SPHERE,
    tfd.Weibull: _POSITIVE,
    tfd.WishartLinearOperator: _of_kind(_MATRIX, _FACTOR),
    tfd.ZeroInflatedNegativeBinomial: COUNTS,
    tfd.Zipf: _FROM_ONE,
}
