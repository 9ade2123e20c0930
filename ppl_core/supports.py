"""The supports of distributions: where data may lie.

TFP's densities outside their support are often finite (an Exponential at -1, a Poisson
at 1.5).  `outside` finds such data; RandomVariable refuses them, or gives them a log
prob of -inf where they are known only inside a tf.function.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from ppl_core import flat

_Array = Any  # a NumPy array, or a tensor: the rules use operators that both have


class Support(NamedTuple):
    """Where the values of one kind of distribution lie."""

    words: str  # in errors: "wanted ..."
    # (value, parameter by name) -> whether each entry lies inside: sample + batch shape
    inside: Callable[[_Array, Callable[[str], _Array]], _Array]


class _Unknown(Exception):
    """A parameter has no value yet, since a tf.function is being traced."""


def support_of(
    distribution: tfd.Distribution,
) -> tuple[Support, tfd.Distribution] | None:
    """The support, and the distribution whose parameters it needs.

    None for a distribution without a rule, such as one on all of R^n.
    """
    while isinstance(distribution, (tfd.Independent, tfd.Sample, tfd.BatchBroadcast)):
        inner = distribution.distribution
        if isinstance(distribution, tfd.Sample) and inner.batch_shape.rank != 0:
            return None  # the parameters would not broadcast with the value
        distribution = inner
    for kind in type(distribution).__mro__:
        if kind in _SUPPORTS:
            return _SUPPORTS[kind], distribution
    return None


def check_data(
    distribution: tfd.Distribution, value: Any, mask: Any, label: str
) -> bool:
    """Whether data are known to lie inside the support.

    It is False where that depends on what is known only inside a tf.function.

    mask: entries to look at; None: all.

    Raises ValueError for NaN and for data outside, with the first such index and value.
    """
    if not isinstance(value, tf.Tensor):
        return False
    array = value.numpy() if hasattr(value, "numpy") else tf.get_static_value(value)
    if array is None:
        return False
    if mask is not None:
        mask = tf.get_static_value(tf.convert_to_tensor(mask))
    rule = support_of(distribution)
    if value.dtype.is_floating:
        _refuse(np.isnan(array), array, mask, label, "numbers")
    if rule is None:
        return True
    support, inner = rule
    wrong = _outside(support, inner, array)
    if wrong is None:
        return False
    _refuse(wrong, array, mask, label, support.words)
    return True


def outside(distribution: tfd.Distribution, value: tf.Tensor) -> tf.Tensor | None:
    """Whether each entry lies outside the support: sample + batch shape.

    None for a distribution without a rule.
    """
    rule = support_of(distribution)
    if rule is None:
        return None
    wrong: Any = _outside(*rule, value)
    extra = wrong.shape.rank - (value.shape.rank - distribution.event_shape.rank)
    return tf.reduce_any(wrong, axis=list(range(-extra, 0))) if extra > 0 else wrong


def _refuse(
    wrong: np.ndarray, array: np.ndarray, mask: Any, label: str, words: str
) -> None:
    if mask is None and not wrong.any():
        return
    wrong = np.asarray(wrong)
    if mask is not None:
        counted = np.asarray(mask)
        counted = counted.reshape(counted.shape + (1,) * (wrong.ndim - counted.ndim))
        wrong = wrong & counted
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"{label}: given {array[index]} at {index}, wanted {words}")


def _outside(
    support: Support, distribution: tfd.Distribution, value: _Array
) -> _Array | None:
    """Whether each entry lies outside: of an array, None for unknown parameters."""
    static = isinstance(value, (np.ndarray, np.generic))

    def parameter(name: str) -> _Array:
        number = getattr(distribution, name)
        number = tf.convert_to_tensor(number() if callable(number) else number)
        if not static:
            return tf.cast(number, value.dtype)
        number = tf.get_static_value(number)
        if number is None:
            raise _Unknown
        return number

    try:
        return ~support.inside(value, parameter)
    except _Unknown:
        return None


def _whole(x: _Array) -> _Array:
    return x == x // 1


def _all(x: _Array) -> _Array:
    return (
        x.all(-1) if isinstance(x, (np.ndarray, np.generic)) else tf.reduce_all(x, -1)
    )


def _sum(x: _Array) -> _Array:
    return (
        x.sum(-1) if isinstance(x, (np.ndarray, np.generic)) else tf.reduce_sum(x, -1)
    )


def _tolerance(x: _Array) -> float:
    dtype = (
        x.dtype if isinstance(x, (np.ndarray, np.generic)) else x.dtype.as_numpy_dtype
    )
    return 100 * float(np.finfo(dtype).eps)


def _simplex(x: _Array, _: Any) -> _Array:
    near_one = abs(_sum(x) - 1) <= _tolerance(x) * x.shape[-1]
    return _all(x >= 0) & near_one


def _one_hot(x: _Array, _: Any) -> _Array:
    return _all((x == 0) | (x == 1)) & (_sum(x) == 1)


def _between(low: str, high: str) -> Support:
    return Support(
        f"numbers between its {low} and its {high}",
        lambda x, of: (x >= of(low)) & (x <= of(high)),
    )


def _from(low: str) -> Support:
    return Support(f"numbers from its {low} upwards", lambda x, of: x >= of(low))


_COUNTS = Support("whole numbers, 0 or more", lambda x, _: (x >= 0) & _whole(x))
_FROM_ONE = Support("whole numbers, 1 or more", lambda x, _: (x >= 1) & _whole(x))
_BINARY = Support("0 or 1", lambda x, _: (x == 0) | (x == 1))
_POSITIVE = Support("numbers, 0 or more", lambda x, _: x >= 0)
_UNIT = Support("numbers from 0 to 1", lambda x, _: (x >= 0) & (x <= 1))
_SIMPLEX = Support("parts, 0 or more, that add up to 1", _simplex)
_ONE_HOT = Support("one 1 and otherwise 0", _one_hot)
_UP_TO_TOTAL = Support(
    "whole numbers from 0 to its total_count",
    lambda x, of: (x >= 0) & _whole(x) & (x <= of("total_count")),
)
_PARTS_OF_TOTAL = Support(
    "whole numbers, 0 or more, that add up to its total_count",
    lambda x, of: _all((x >= 0) & _whole(x)) & (_sum(x) == of("total_count")),
)
_CATEGORY = Support(
    "whole numbers from 0 to the number of categories - 1",
    lambda x, of: (x >= 0) & _whole(x) & (x < of("_num_categories")),
)

_SUPPORTS: dict[type, Support] = {
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
    tfd.ContinuousBernoulli: _UNIT,
    tfd.Dirichlet: _SIMPLEX,
    tfd.DirichletMultinomial: _PARTS_OF_TOTAL,
    tfd.Exponential: _POSITIVE,
    tfd.FlatDirichlet: _SIMPLEX,
    tfd.Gamma: _POSITIVE,
    tfd.GammaGamma: _POSITIVE,
    tfd.GeneralizedPareto: _from("loc"),
    tfd.Geometric: _COUNTS,
    tfd.HalfCauchy: _from("loc"),
    tfd.HalfNormal: _POSITIVE,
    tfd.HalfStudentT: _from("loc"),
    tfd.InverseGamma: _POSITIVE,
    tfd.InverseGaussian: _POSITIVE,
    tfd.Kumaraswamy: _UNIT,
    tfd.LogLogistic: _POSITIVE,
    tfd.LogNormal: _POSITIVE,
    tfd.LogitNormal: _UNIT,
    tfd.Multinomial: _PARTS_OF_TOTAL,
    tfd.NegativeBinomial: _COUNTS,
    tfd.NoncentralChi2: _POSITIVE,
    tfd.OneHotCategorical: _ONE_HOT,
    tfd.OrderedLogistic: _CATEGORY,
    tfd.PERT: _between("low", "high"),
    tfd.Pareto: _from("scale"),
    tfd.Poisson: _COUNTS,
    tfd.PoissonLogNormalQuadratureCompound: _COUNTS,
    tfd.ProbitBernoulli: _BINARY,
    tfd.RelaxedBernoulli: _UNIT,
    tfd.RelaxedOneHotCategorical: _SIMPLEX,
    tfd.Skellam: Support("whole numbers", lambda x, _: _whole(x)),
    tfd.StoppingRatioLogistic: _CATEGORY,
    tfd.Triangular: _between("low", "high"),
    tfd.TruncatedCauchy: _between("low", "high"),
    tfd.TruncatedNormal: _between("low", "high"),
    tfd.Uniform: _between("low", "high"),
    tfd.Weibull: _POSITIVE,
    tfd.ZeroInflatedNegativeBinomial: _COUNTS,
    tfd.Zipf: _FROM_ONE,
}
