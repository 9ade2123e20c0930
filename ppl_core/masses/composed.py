"""Log probabilities of intervals under any distribution, also one made of others."""

from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from ppl_core.masses import bounded, counts, numbers, standard, transformed
from ppl_core.masses.parameters import parameters, tfp_names
from ppl_core.masses.spans import Mass, Span, change, clip


def log_mass(distribution: tfd.Distribution, span: Span) -> tf.Tensor:
    """log P(low <= x <= high) in float64: shape of the span and the batch.

    Raises NotImplementedError for a distribution that has no rule here.
    """
    if _has_own_tails(distribution):
        return tf.cast(_own(distribution, span), tf.float64)
    return tf.cast(_rule(distribution)(distribution, span), tf.float64)


def is_lattice(distribution: tfd.Distribution) -> bool:
    """Whether it has values with a mass."""
    parts = _parts(distribution)
    if parts:
        return any(map(is_lattice, parts))
    names = tfp_names(type(distribution))
    is_count = any(name in counts.MASSES for name in names)
    return is_count or "QuantizedDistribution" in names


def _rule(distribution: tfd.Distribution) -> Mass:
    for name in tfp_names(type(distribution)):
        if name in _MASSES:
            return _MASSES[name]
    raise NotImplementedError(f"a {type(distribution).__name__}")


def _parts(distribution: tfd.Distribution) -> list[tfd.Distribution]:
    """The distributions that this one is made of, unless it turns them into others."""
    names = tfp_names(type(distribution))
    if "Mixture" in names:
        return list(distribution.components)
    if "MixtureSameFamily" in names:
        return [distribution.components_distribution]
    if any(name in _WRAPPERS for name in names) or "TransformedDistribution" in names:
        return [distribution.distribution]
    return []


def _has_own_tails(distribution: tfd.Distribution) -> bool:
    """Whether its class is the user's, with both logarithms of its tails."""
    kind = type(distribution)
    return all(
        not getattr(kind, name).__module__.startswith("tensorflow_probability")
        for name in ("_log_cdf", "_log_survival_function")
        if hasattr(kind, name)
    ) and hasattr(kind, "_log_cdf")


def _own(d: Any, span: Span) -> tf.Tensor:
    dtype = d.dtype
    if not dtype.is_floating:
        span = counts.cuts(span)
    return standard.of_tails(
        span,
        lambda x: tf.cast(d.log_cdf(tf.cast(x, dtype)), tf.float64),
        lambda x: tf.cast(d.log_survival_function(tf.cast(x, dtype)), tf.float64),
    )


def _inner(d: Any, span: Span) -> tf.Tensor:
    return log_mass(d.distribution, span)


def _scalar_inner(d: Any, span: Span) -> tf.Tensor:
    if d.event_shape.rank != 0:
        raise NotImplementedError("events of several numbers")
    return log_mass(d.distribution, span)


def _masked(d: Any, span: Span) -> tf.Tensor:
    return tf.where(d.validity_mask, log_mass(d.distribution, span), standard.ZERO)


def _reshaped(d: Any, span: Span) -> tf.Tensor:
    shape = tf.shape(span.low.at)
    ndims = span.low.at.shape.rank - d.batch_shape.rank
    inner_shape = tf.concat([shape[:ndims], d.distribution.batch_shape_tensor()], 0)
    parts = tf.nest.map_structure(
        lambda part: tf.reshape(tf.broadcast_to(part, shape), inner_shape), span
    )
    return tf.reshape(log_mass(d.distribution, parts), shape)


def _transformed(d: Any, span: Span) -> tf.Tensor:
    inner = transformed.inverse(d.bijector, span)
    if is_lattice(d.distribution):
        # An end that is a value stays one, whatever the bijector rounds.
        inner = change(inner, _near_whole)
    return log_mass(d.distribution, inner)


def _near_whole(x: tf.Tensor) -> tf.Tensor:
    whole = tf.round(x)
    is_near = tf.abs(x - whole) <= 1e-6 * tf.maximum(tf.abs(x), standard.ONE)
    return tf.where(is_near, whole, x)


def _quantized(d: Any, span: Span) -> tf.Tensor:
    if is_lattice(d.distribution):
        raise NotImplementedError("a QuantizedDistribution of whole numbers")
    inner = counts.cuts(span)  # the smallest whole number that is not below x
    low, high = d.low, d.high
    if low is not None:
        (low,) = parameters(d, "low")
        inner = clip(inner, low=low - 0.5)
    if high is not None:
        (high,) = parameters(d, "high")
        inner = clip(inner, high=high - 0.5)
    return log_mass(d.distribution, inner)


def _mixture(d: Any, span: Span) -> tf.Tensor:
    logits = tf.cast(d.cat.logits_parameter(), tf.float64)
    parts = [log_mass(component, span) for component in d.components]
    log_weights = tf.unstack(tf.nn.log_softmax(logits, -1), axis=-1)
    terms = [part + weight for part, weight in zip(parts, log_weights, strict=True)]
    return standard.log_sum(tf.stack(terms, -1))


def _mixture_same_family(d: Any, span: Span) -> tf.Tensor:
    logits = tf.cast(d.mixture_distribution.logits_parameter(), tf.float64)
    parts = log_mass(d.components_distribution, _for_each(span))
    return standard.log_sum(parts + tf.nn.log_softmax(logits, -1))


def _poisson_log_normal(d: Any, span: Span) -> tf.Tensor:
    poisson, nodes = d.poisson_and_mixture_distributions()
    (log_rate,) = parameters(poisson, "log_rate")
    logits = tf.cast(nodes.logits_parameter(), tf.float64)
    parts = counts.of_poisson(log_rate, _for_each(span))
    return standard.log_sum(parts + tf.nn.log_softmax(logits, -1))


def _for_each(span: Span) -> Span:
    """The span with a last dimension for the components."""
    return tf.nest.map_structure(lambda part: part[..., tf.newaxis], span)


_WRAPPERS: dict[str, Mass] = {
    "BatchBroadcast": _inner,
    "BatchReshape": _reshaped,
    "Independent": _scalar_inner,
    "Masked": _masked,
    "Sample": _scalar_inner,
}
_MASSES: dict[str, Mass] = {
    **bounded.MASSES,
    **counts.MASSES,
    **numbers.MASSES,
    **_WRAPPERS,
    "Mixture": _mixture,
    "MixtureSameFamily": _mixture_same_family,
    "PoissonLogNormalQuadratureCompound": _poisson_log_normal,
    "QuantizedDistribution": _quantized,
    "TransformedDistribution": _transformed,
}
