"""This package's densities in place of TFP's, also inside other distributions."""

import inspect
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from ppl_core import (
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
    kind = type(distribution)
    ours = _OURS.get(kind, kind)
    given = distribution.parameters
    mended = {}
    for key, part in given.items():
        if type(part) not in _PLAIN and (new := _mend_inside(part)) is not part:
            mended[key] = new
    return ours(**{**given, **mended}) if mended or ours is not kind else distribution


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


def _mend_inside(part: Any) -> Any:
    if isinstance(part, tfd.JointDistribution):
        return part
    if isinstance(part, tfd.Distribution):
        return mend(part)
    if isinstance(part, (list, tuple)) and part:
        if all(isinstance(one, tfd.Distribution) for one in part):
            mended = [mend(one) for one in part]
            same = all(a is b for a, b in zip(mended, part, strict=True))
            return part if same else type(part)(mended)
    return part


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
