"""Arguments that a distribution does not allow, such as a negative scale.

TFP takes them, and its densities are then NaN or, worse, some finite number.  Numbers
and arrays are refused when a variable is made.  Tensors, which may be computed from
latent variables, are not: the log prob is -inf where they are wrong.

What each argument must be follows from TFP's `parameter_properties`, by the bijector
that it has for unconstrained optimisation; `_OWN` has what these lack.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from ppl_core import regions


class Rule(NamedTuple):
    """What one argument must be."""

    words: str  # in errors: "wanted ..."
    # of a number, an array or a tensor: whether each entry or event is right
    holds: Callable[[Any], Any]
    event_ndims: int = 0
    # Not where the density is not finite either, nor of matrices, which cost more.
    is_of_tensors: bool = True


class Relation(NamedTuple):
    """What several arguments must be together."""

    words: str
    names: tuple[str, ...]
    holds: Callable[..., Any]


class Rules(NamedTuple):
    """Those of one class."""

    of_names: dict[str, Rule]
    of_tensors: dict[str, Rule]  # those of them that the log prob looks at
    event_ndims: dict[str, int]  # of each argument
    relations: tuple[Relation, ...]
    plain: frozenset[str]  # arguments that are no distributions


def check(kind: Any, given: Mapping[str, Any], label: str) -> None:
    """Raises ValueError for numbers and arrays that are no arguments of this class.

    It looks into the distributions and linear operators among the arguments, but not at
    tensors.

    given: the arguments by name.
    """
    rules = rules_of(kind)
    for name, part in given.items():
        if part is None:
            continue
        rule = rules.of_names.get(name)
        if rule is not None:
            array = part if type(part) is float else _numbers(part)
            if array is None or (
                rule.event_ndims and np.ndim(array) < rule.event_ndims
            ):
                continue  # no numbers, or too few dimensions, which TFP refuses
            ok = rule.holds(array)
            if ok is not True and not np.all(ok):
                given_one = _first(ok, array)
                raise ValueError(
                    f"{label}: given {name} {given_one}, wanted {rule.words}"
                )
        elif name not in rules.plain:
            _check_inside(part, label)
    for relation in rules.relations:
        parts = [_numbers(given.get(name)) for name in relation.names]
        if all(part is not None for part in parts):
            _check_together(relation, parts, label)


def invalid(distribution: tfd.Distribution) -> tf.Tensor | None:
    """Where tensors among a distribution's arguments are not allowed: batch shape.

    None where they are known to be allowed.
    """
    kind: Any = type(distribution)
    rules = rules_of(kind)
    if not rules.of_tensors:
        return None
    wrong = None
    for name, part in distribution.parameters.items():
        rule = rules.of_tensors.get(name)
        if rule is None or not _is_tensor(part):
            continue
        tensor = tf.convert_to_tensor(part)
        known = tensor.numpy() if hasattr(tensor, "numpy") else None
        if known is None and not tf.executing_eagerly():
            known = tf.get_static_value(tensor)
        if known is not None and np.all(rule.holds(known)):
            continue
        bad = ~tf.convert_to_tensor(rule.holds(tensor))
        extra = rules.event_ndims.get(name, 0) - rule.event_ndims
        if extra > 0:
            bad = tf.reduce_any(bad, axis=list(range(-extra, 0)))
        wrong = bad if wrong is None else wrong | bad
    return wrong


@functools.cache
def rules_of(kind: Any) -> Rules:
    """The rules of a class of distributions or linear operators."""
    found: dict[str, Rule] = {}
    event_ndims: dict[str, int] = {}
    plain: set[str] = set()
    try:
        with tf.init_scope():
            properties = kind.parameter_properties(dtype=tf.float32)
            for name, part in properties.items():
                if part.is_tensor:
                    plain.add(name)
                    is_known = isinstance(part.event_ndims, int)
                    event_ndims[name] = part.event_ndims if is_known else 0
                if (rule := _rule(name, part)) is not None:
                    found[name] = rule
    except (AttributeError, NotImplementedError):  # a linear operator, or unknown
        pass
    relations: tuple[Relation, ...] = ()
    for base in reversed(kind.__mro__):
        found |= _OWN.get(base, {})
        relations += _RELATIONS.get(base, ())
    # A Normal's density is NaN for a negative scale, without a look at it.
    is_checked = not issubclass(kind, tfd.Normal)
    of_tensors = {
        name: rule for name, rule in found.items() if is_checked and rule.is_of_tensors
    }
    never_parts = frozenset(plain) | _NEVER_PARTS
    return Rules(found, of_tensors, event_ndims, relations, never_parts)


_MADE_OF_NUMBERS = (tfd.Distribution, tf.linalg.LinearOperator)
_NEVER_PARTS = frozenset({"name", "validate_args", "allow_nan_stats", "dtype"})


def _rule(name: str, properties: Any) -> Rule | None:
    """The rule of one argument of which TFP has a bijector or none."""
    if not properties.is_tensor or properties.specifies_shape:
        return None
    bijector = properties.default_constraining_bijector_fn
    try:
        # Of some arguments TFP has a bijector in place of a function.
        bijector = bijector if isinstance(bijector, tfb.Bijector) else bijector()
    except NotImplementedError:
        return None
    if isinstance(bijector, tfb.Softplus):
        low = float(bijector.parameters.get("low") or 0.0)
        return POSITIVE if low < 0.5 else _above(round(low))
    if isinstance(bijector, tfb.Sigmoid):
        return _UNIT
    if isinstance(bijector, tfb.SoftmaxCentered):
        return _SIMPLEX
    if isinstance(bijector, tfb.Ascending):
        return _ASCENDING
    if isinstance(bijector, tfb.FillScaleTriL):
        return _FACTOR
    if isinstance(bijector, tfb.Chain):
        return _COVARIANCE
    if name == "loc":
        return _FINITE
    is_number = properties.event_ndims == 0 or name == "logits"
    return _NUMBER if is_number and isinstance(bijector, tfb.Identity) else None


def _check_inside(part: Any, label: str) -> None:
    """Of a distribution, of a linear operator, or of those in a list."""
    if isinstance(part, (list, tuple, dict)):
        for one in part.values() if isinstance(part, dict) else part:
            if isinstance(one, _MADE_OF_NUMBERS):
                _check_inside(one, label)
    elif isinstance(part, _MADE_OF_NUMBERS):
        inside = f"{label}, {type(part).__name__.strip('_')}"
        check(type(part), part.parameters, inside)


def _check_together(relation: Relation, parts: list[Any], label: str) -> None:
    try:
        ok = relation.holds(*parts)
    except ValueError:  # NumPy's, for shapes that TFP refuses
        return
    if ok is True or np.all(ok):
        return
    shape = np.shape(ok)
    given = []
    for name, part in zip(relation.names, parts, strict=True):
        array = np.asarray(part)
        is_scalar = array.ndim <= len(shape)
        array = np.broadcast_to(array, shape) if is_scalar else array
        given.append(f"{name} {_first(ok, array)}")
    raise ValueError(f"{label}: given {', '.join(given)}, wanted {relation.words}")


def _first(ok: Any, array: Any) -> str:
    """The first entry that is wrong, and where it stands."""
    array = np.asarray(array)
    if not np.ndim(ok):
        return " ".join(str(array).split())
    index = tuple(int(i) for i in np.argwhere(~np.asarray(ok))[0])
    return f"{' '.join(str(array[index]).split())} at {index}"


def _numbers(part: Any) -> Any:
    """A number or an array of numbers; None for all else, such as tensors."""
    kind = type(part)
    if kind is float or kind is int:
        return part
    if isinstance(part, (np.ndarray, np.generic)):
        return part if part.dtype.kind in "fiu" else None
    if kind in (list, tuple) and part:
        try:
            leaves = tf.nest.flatten(part)
        except (TypeError, ValueError):
            return None
        if all(
            isinstance(leaf, (int, float, np.ndarray, np.number)) for leaf in leaves
        ):
            try:
                array = np.asarray(part)
            except ValueError:  # rows of several lengths
                return None
            return array if array.dtype.kind in "fiu" else None
    return None


def _is_tensor(part: Any) -> bool:
    return tf.is_tensor(part) or hasattr(part, "__tf_tensor__")


def _above(low: float) -> Rule:
    return Rule(f"numbers above {low}", lambda x: (x > low) & (x < np.inf))


def _finite(low: float, limit: str) -> Rule:
    """Of degrees of freedom, infinitely many of which make another distribution."""
    return _above(low)._replace(words=f"numbers above {low} (for inf, a {limit})")


def _of_events(rule: Callable[..., Any]) -> Callable[[Any], Any]:
    """A rule of `regions`, which takes arrays and tensors."""
    return lambda x: rule(x if tf.is_tensor(x) else np.asarray(x, np.float64), None)


def _ascends(x: Any) -> Any:
    x = x if tf.is_tensor(x) else np.asarray(x)
    gaps = x[..., 1:] > x[..., :-1]
    return tf.reduce_all(gaps, -1) if tf.is_tensor(x) else gaps.all(-1)


def _is_factor(x: np.ndarray) -> np.ndarray:
    is_lower = (np.triu(x, 1) == 0).all((-2, -1))
    return is_lower & (np.diagonal(x, axis1=-2, axis2=-1) != 0).all(-1)


def _is_whole(x: Any) -> Any:
    return (x >= 0) & (x == x // 1)


POSITIVE = Rule("numbers above 0", lambda x: (x > 0) & (x < np.inf))
_NOT_NEGATIVE = Rule("numbers, 0 or more", lambda x: (x >= 0) & (x < np.inf))
_FINITE = Rule(
    "finite numbers", lambda x: (x > -np.inf) & (x < np.inf), is_of_tensors=False
)
_NUMBER = Rule("numbers", lambda x: x == x, is_of_tensors=False)  # not NaN
_NOT_ZERO = Rule("numbers other than 0", lambda x: (x != 0) & (abs(x) < np.inf))
_UNIT = Rule("numbers from 0 to 1", lambda x: (x >= 0) & (x <= 1))
_WHOLE = Rule("whole numbers, 0 or more", _is_whole)
_FROM_ONE = Rule("whole numbers, 1 or more", lambda x: _is_whole(x) & (x >= 1))
_SIMPLEX = Rule("parts, 0 or more, that add up to 1", _of_events(regions.simplex), 1)
_DIRECTION = Rule("unit vectors", _of_events(regions.unit_vector), 1)
_ASCENDING = Rule("numbers in ascending order", _ascends, 1)
_FACTOR = Rule(
    "lower triangular matrices without a 0 on the diagonal",
    lambda x: _is_factor(np.asarray(x)),
    2,
    is_of_tensors=False,
)
_COVARIANCE = Rule(
    "positive definite matrices",
    _of_events(regions.positive_definite),
    2,
    is_of_tensors=False,
)

# By class, what parameter_properties lack, or say more narrowly than the density needs.
_NOISE = dict(
    observation_noise_variance=_NOT_NEGATIVE, predictive_noise_variance=_NOT_NEGATIVE
)
_OWN: dict[type, dict[str, Rule]] = {
    tf.linalg.LinearOperatorDiag: dict(diag=_NOT_ZERO),
    tf.linalg.LinearOperatorScaledIdentity: dict(multiplier=_NOT_ZERO),
    tfd.Bates: dict(total_count=_FROM_ONE),
    tfd.BetaBinomial: dict(total_count=_WHOLE),
    tfd.Binomial: dict(total_count=_WHOLE),
    tfd.CholeskyLKJ: dict(concentration=POSITIVE),
    tfd.DirichletMultinomial: dict(total_count=_WHOLE),
    tfd.FiniteDiscrete: dict(atol=_NOT_NEGATIVE, rtol=_NOT_NEGATIVE),
    tfd.GaussianProcess: _NOISE,
    tfd.GaussianProcessRegressionModel: _NOISE,
    tfd.Geometric: dict(probs=_UNIT),
    tfd.HalfStudentT: dict(df=_finite(0, "HalfNormal")),
    tfd.LKJ: dict(concentration=POSITIVE),
    tfd.LambertWDistribution: dict(tailweight=_NOT_NEGATIVE),
    tfd.LambertWNormal: dict(tailweight=_NOT_NEGATIVE),
    tfd.Multinomial: dict(total_count=_WHOLE),
    tfd.MultivariateNormalDiag: dict(scale_diag=_NOT_ZERO),
    tfd.MultivariateNormalDiagPlusLowRank: dict(
        scale_diag=_NOT_ZERO, scale_perturb_diag=_NOT_ZERO
    ),
    tfd.MultivariateStudentTLinearOperator: dict(
        df=_finite(0, "MultivariateNormalLinearOperator")
    ),
    tfd.NoncentralChi2: dict(noncentrality=_NOT_NEGATIVE),
    tfd.Poisson: dict(rate=_NOT_NEGATIVE),
    tfd.PowerSpherical: dict(concentration=_NOT_NEGATIVE, mean_direction=_DIRECTION),
    tfd.Skellam: dict(rate1=_NOT_NEGATIVE, rate2=_NOT_NEGATIVE),
    tfd.StoppingRatioLogistic: dict(cutpoints=_FINITE),
    tfd.StudentT: dict(df=Rule("numbers above 0, or inf", lambda x: x > 0)),
    tfd.StudentTProcess: _NOISE | dict(df=_finite(2, "GaussianProcess")),
    tfd.StudentTProcessRegressionModel: _NOISE
    | dict(df=_finite(2, "GaussianProcessRegressionModel")),
    tfd.VariationalGaussianProcess: _NOISE
    | dict(variational_inducing_observations_scale=_FINITE),
    tfd.TwoPieceStudentT: dict(df=_finite(0, "TwoPieceNormal")),
    tfd.VonMises: dict(concentration=_NOT_NEGATIVE),
    tfd.VonMisesFisher: dict(concentration=_NOT_NEGATIVE, mean_direction=_DIRECTION),
}


def _in_order(*names: str, strict: bool = True) -> Relation:
    words = f"{' below '.join(names)}" if strict else f"{' up to '.join(names)}"
    if strict:
        return Relation(words, names, lambda low, high: np.less(low, high))
    return Relation(words, names, lambda low, high: np.less_equal(low, high))


_BOUNDS = (_in_order("low", "high"),)
_PEAK = (
    *_BOUNDS,
    _in_order("low", "peak", strict=False),
    _in_order("peak", "high", strict=False),
)
_RELATIONS: dict[type, tuple[Relation, ...]] = {
    tfd.Bates: _BOUNDS,
    tfd.NormalInverseGaussian: (
        Relation(
            "a skewness between -tailweight and tailweight",
            ("tailweight", "skewness"),
            lambda tailweight, skewness: np.less(np.abs(skewness), tailweight),
        ),
    ),
    tfd.PERT: _PEAK,
    tfd.QuantizedDistribution: (_in_order("low", "high", strict=False),),
    tfd.Triangular: _PEAK,
    tfd.TruncatedCauchy: _BOUNDS,
    tfd.TruncatedNormal: _BOUNDS,
    tfd.Uniform: _BOUNDS,
    tfd.WishartTriL: (
        Relation(
            "a df above the number of rows - 1",
            ("df", "scale_tril"),
            lambda df, scale_tril: np.greater(df, np.shape(scale_tril)[-1] - 1),
        ),
    ),
}
