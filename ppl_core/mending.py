"""This package's densities in place of TFP's, also inside other distributions."""

import functools
import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from ppl_core import (
    arguments,
    counts,
    densities,
    edges,
    intervals,
    matrices,
    mixtures,
    preimages,
    relaxed,
    spheres,
    support_checks,
    tails,
)
from ppl_core.supports import support_of

_OURS: dict[type, type] = {  # by TFP's classes that they replace
    getattr(tfd, name): ours
    for module in (
        counts,
        densities,
        edges,
        intervals,
        matrices,
        mixtures,
        relaxed,
        spheres,
        tails,
    )
    for name, ours in vars(module).items()
    if inspect.isclass(ours) and getattr(tfd, name, ours) is not ours
}
# Their densities add up those of parts, of which each is 0 outside its own support.
_SUMS = (
    tfd.Mixture.__mro__[1],
    tfd.MixtureSameFamily.__mro__[1],
    tfd.HiddenMarkovModel,
)
_PARTS = {
    "components",
    "components_distribution",
    "distribution",
    "observation_distribution",
}
# Most parameters, which need no closer look.
_PLAIN = {bool, int, float, str, type(None), tf.__internal__.EagerTensor}
_WRONG_BIJECTOR = (
    tfd.InverseGaussian,
    tfd.LKJ,
    tfd.PowerSpherical,
    tfd.SphericalUniform,
    tfd.TruncatedCauchy,
    tfd.TruncatedNormal,
    tfd.VonMises,
    tfd.VonMisesFisher,
    tfd.WishartLinearOperator,
)


def mend(distribution: Any) -> Any:
    """The distribution, with this package's class where TFP's is mended.

    It looks inside the distributions that are made from others, such as tfd.Sample.
    """
    kind: Any = type(distribution)
    ours = _OURS.get(kind, kind)
    if ours is kind and _is_of_numbers(kind):
        return distribution
    given = distribution.parameters
    mended = {}
    for key, part in given.items():
        if type(part) in _PLAIN:
            continue
        is_summed = key in _PARTS and isinstance(distribution, _SUMS)
        if (new := _mend_inside(part, is_summed)) is not part:
            mended[key] = new
    return ours(**{**given, **mended}) if mended or ours is not kind else distribution


@functools.cache
def _is_of_numbers(kind: Any) -> bool:
    """Whether no argument of this class can be a distribution."""
    names = inspect.signature(kind.__init__).parameters.keys() - {"self"}
    return names <= arguments.rules_of(kind).plain


def event_space_bijector(distribution: tfd.Distribution) -> tfb.Bijector | None:
    """Returns a bijector from R^k onto the distribution's support; None if discrete.

    It is TFP's default, except for
      Wishart distributions: TFP's reaches only Cholesky diagonals above log 2, and
        works only in float32.
      truncated distributions: TFP's is NaN for an infinite bound.
      LKJ: TFP's log determinant belongs to matrices whose diagonal varies.
      VonMises: TFP's cuts the circle.  This one has two coordinates; see `Angle`.
      distributions on spheres: TFP's reaches one orthant; see `Direction`.
      InverseGaussian: TFP's works only in float32, and reaches no value above 88.
      simplexes: TFP's log determinant is that of the surface area, which exceeds that
        of the first K - 1 parts by (log K) / 2, and its coordinates are correlated; see
        `StickBreaking`.
      mixtures: TFP has none.

    Raises ValueError for a Masked distribution, for a mixture of different supports,
    for a transformation that is not one-to-one, and for a subclass of one of these.
    """
    distribution = mend(distribution)
    for base in _base_distributions(distribution):
        if isinstance(base, tfd.Masked):
            raise ValueError(
                "is a Masked distribution, whose masked entries have no density; use "
                "the mask tracer, or only the entries that count"
            )
        is_ours = isinstance(base, tuple(_OURS.values()))
        if isinstance(base, _WRONG_BIJECTOR) and not is_ours:
            raise ValueError(
                f"is a {type(base).__name__}, whose base class has a wrong bijector in "
                "TFP; give it a `bijector=` of yours"
            )
    bijector = distribution.experimental_default_event_space_bijector()
    if bijector is not None and not bijector._is_injective:
        name = getattr(distribution, "bijector", bijector).name
        raise ValueError(
            f"is transformed by {name!r}, which is not one-to-one; wanted a bijector "
            "that is, or a `bijector=` of yours onto its values"
        )
    return bijector


def _mend_inside(part: Any, is_summed: bool) -> Any:
    if isinstance(part, tfd.JointDistribution):
        return part
    if isinstance(part, tfd.Distribution):
        return _guard(mend(part)) if is_summed else mend(part)
    if isinstance(part, (list, tuple)) and part:
        if all(isinstance(one, tfd.Distribution) for one in part):
            mended = [_mend_inside(one, is_summed) for one in part]
            same = all(a is b for a, b in zip(mended, part, strict=True))
            return part if same else type(part)(mended)
    return part


def _guard(distribution: tfd.Distribution) -> tfd.Distribution:
    """The distribution with a log prob of -inf outside its support."""
    kind: Any = type(distribution)
    has_density = hasattr(kind, "_log_prob")
    if kind in _GUARDED or not has_density or support_of(distribution) is None:
        return distribution
    return _guarded(kind)(**distribution.parameters)


_GUARDED: set[type] = set()


@functools.cache
def _guarded(kind: Any) -> Any:
    def log_prob(self: Any, x: tf.Tensor, **given: Any) -> tf.Tensor:
        wrong = None if preimages.is_known(x) else support_checks.outside(self, x)
        if wrong is None:
            return kind._log_prob(self, x, **given)
        inside = support_checks.with_point(self, x, wrong)
        log_prob = kind._log_prob(self, inside, **given)
        return tf.where(wrong, tf.constant(-np.inf, log_prob.dtype), log_prob)

    made = type(kind)(kind.__name__, (kind,), {"_log_prob": log_prob})
    _GUARDED.add(made)
    return made


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
