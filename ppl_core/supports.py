"""The supports of distributions, also of those that are made from others.

A distribution without a rule is one of all numbers, which are finite.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from ppl_core.regions import (
    SUPPORTS,
    Array,
    Support,
    event_rank,
    finite,
    in_tensors,
    number,
)


def support_of(distribution: tfd.Distribution) -> Support | None:
    """The support; None for a distribution without a rule, as on all of R^n."""
    kind: Any = type(distribution)
    rule = _rule_of(kind)
    return rule(distribution) if callable(rule) else rule


@functools.cache
def _rule_of(kind: type) -> Support | Callable[[Any], Support | None] | None:
    """The rule of the first class, among this one and its bases, that has one."""
    for base in kind.__mro__:
        rule = SUPPORTS.get(base) or _WRAPPERS.get(base)
        if rule is not None:
            return rule
    return None


def inside(distribution: tfd.Distribution, value: Array) -> Array:
    """Whether each entry lies inside: sample + batch shape, or with event dimensions.

    Raises Unknown for an array, where this depends on a tf.function that is traced.
    """
    support = support_of(distribution)
    return finite(value) if support is None else support.inside(value, distribution)


def whole_events(
    ok: tf.Tensor, value: tf.Tensor, distribution: tfd.Distribution
) -> tf.Tensor:
    """Whether all entries of an event are: sample + batch shape."""
    extra = ok.shape.rank - (value.shape.rank - event_rank(distribution))
    return tf.reduce_all(ok, axis=list(range(-extra, 0))) if extra > 0 else ok


# Distributions that are made from others.  Each function returns the support, or None
# for all numbers.


def _same(distribution: tfd.Distribution) -> Support | None:
    """Of Independent and BatchBroadcast: that of the distribution inside."""
    inner = distribution.distribution
    support = support_of(inner)
    if support is None:
        return None
    point = support.point
    return support._replace(
        inside=lambda x, _: support.inside(x, inner),
        point=None if point is None else lambda x, _: point(x, inner),
    )


def _sample(distribution: tfd.Sample) -> Support | None:
    inner = distribution.distribution
    if inner.batch_shape.rank == 0:
        return _same(distribution)

    def rule(x: tf.Tensor, _: Any) -> tf.Tensor:
        # The sample dimensions stand between the batch and the event.
        batch, event = inner.batch_shape.rank, inner.event_shape.rank
        own = distribution.event_shape.rank - event
        order = list(range(x.shape.rank))
        lead, rest = order[: -batch - own - event], order[x.shape.rank - event :]
        batches = order[len(lead) : len(lead) + batch]
        owns = order[len(lead) + batch : len(lead) + batch + own]
        moved = tf.transpose(x, lead + owns + batches + rest)
        ok = whole_events(inside(inner, moved), moved, inner)
        back = [*lead, *(i + own for i in batches), *(i - batch for i in owns)]
        return tf.transpose(ok, back)

    return _made_of([inner], rule)


def _batch_reshape(distribution: tfd.BatchReshape) -> Support | None:
    inner = distribution.distribution

    def rule(x: tf.Tensor, _: Any) -> tf.Tensor:
        event = tf.cast(distribution.event_shape_tensor(), tf.int32)
        batch = tf.cast(distribution.batch_shape_tensor(), tf.int32)
        full = tf.broadcast_dynamic_shape(tf.shape(x), tf.concat([batch, event], 0))
        x = tf.broadcast_to(x, full)
        ndims = distribution.batch_shape.rank + distribution.event_shape.rank
        lead = full[: x.shape.rank - ndims]
        shape = tf.cast(inner.batch_shape_tensor(), tf.int32)
        x = tf.reshape(x, tf.concat([lead, shape, event], 0))
        ok = whole_events(inside(inner, x), x, inner)
        return tf.reshape(ok, tf.concat([lead, batch], 0))

    return _made_of([inner], rule)


def _batch_concat(distribution: tfd.BatchConcat) -> Support | None:
    def rule(x: tf.Tensor, _: Any) -> tf.Tensor:
        lead, parts = distribution._split_sample(x)
        oks = [
            whole_events(inside(inner, part), part, inner)
            for inner, part in zip(distribution.distributions, parts, strict=True)
        ]
        return tf.concat(oks, axis=lead + distribution._axis)

    return _made_of(distribution.distributions, rule)


def _blockwise(distribution: tfd.Blockwise) -> Support | None:
    parts = tf.nest.flatten(distribution.distributions)
    if any(not isinstance(part, tfd.Distribution) for part in parts):
        return None  # a program of TFP's
    if any(isinstance(part, tfd.JointDistribution) for part in parts):
        return None

    def rule(x: tf.Tensor, _: Any) -> tf.Tensor:
        blocks = tf.nest.flatten(distribution._split_and_reshape_event(x))
        oks = []
        for part, block in zip(parts, blocks, strict=True):
            ok = whole_events(inside(part, block), block, part)
            size = max(part.event_shape.num_elements(), 1)
            oks.append(tf.repeat(ok[..., tf.newaxis], size, axis=-1))
        return tf.concat(oks, axis=-1)

    return _made_of(parts, rule)


def _masked(distribution: tfd.Masked) -> Support | None:
    inner = distribution.distribution

    def rule(x: tf.Tensor, _: Any) -> tf.Tensor:
        ok = whole_events(inside(inner, x), x, inner)
        return ok | ~tf.convert_to_tensor(distribution.validity_mask)

    return _made_of([inner], rule)


def _mixture(distribution: tfd.Mixture) -> Support | None:
    def rule(x: tf.Tensor, _: Any) -> tf.Tensor:
        oks = [
            whole_events(inside(part, x), x, part) for part in distribution.components
        ]
        return functools.reduce(operator.or_, oks)

    return _made_of(distribution.components, rule, "or")


def _mixture_same_family(distribution: tfd.MixtureSameFamily) -> Support | None:
    inner = distribution.components_distribution

    def rule(x: tf.Tensor, _: Any) -> tf.Tensor:
        x = tf.expand_dims(x, x.shape.rank - inner.event_shape.rank)
        return tf.reduce_any(whole_events(inside(inner, x), x, inner), -1)

    return _made_of([inner], rule)


def _inflated(distribution: tfd.Inflated) -> Support | None:
    inner = distribution.distribution

    def rule(x: tf.Tensor, _: Any) -> tf.Tensor:
        return inside(inner, x) | distribution._almost_inflated_loc(x)

    support = _made_of([inner], rule)
    return support and support._replace(words=f"{support.words}, or its inflated_loc")


def _quantized(distribution: tfd.QuantizedDistribution) -> Support:
    inner = distribution.distribution

    def rule(x: tf.Tensor, _: Any) -> tf.Tensor:
        # A whole number has the mass of the numbers above the one before it.
        ok = inside(inner, x) | inside(inner, x - 1)
        try:  # all of the support may lie between the two
            ok |= inner.cdf(x) > inner.cdf(x - 1)
        except NotImplementedError:
            ok |= inside(inner, x - 0.5)
        low, high = distribution.low, distribution.high
        if low is not None:
            low = number(distribution, "low", x)
            ok = (ok | (x == low)) & (x >= low)
        if high is not None:
            high = number(distribution, "high", x)
            ok = (ok | (x == high)) & (x <= high)
        return ok & (tf.floor(x) == x)

    bounds = [
        name for name in ("low", "high") if getattr(distribution, name) is not None
    ]
    within = f" within its {' and '.join(bounds)}" if bounds else ""
    return Support(f"whole numbers{within}", in_tensors(rule), None, True)


def _hidden_markov_model(distribution: tfd.HiddenMarkovModel) -> Support | None:
    inner = distribution.observation_distribution
    varies = distribution._time_varying_observation_distribution

    def rule(x: tf.Tensor, _: Any) -> tf.Tensor:
        axis = x.shape.rank - inner.event_shape.rank - 1  # of the steps
        if not varies:  # the steps are not in the batch shape
            x = _to_front(x, axis)
        x = tf.expand_dims(x, x.shape.rank - inner.event_shape.rank)
        ok = tf.reduce_any(whole_events(inside(inner, x), x, inner), -1)
        if not varies:
            ok = _to_back(ok)
        if distribution.mask is not None:
            ok |= tf.convert_to_tensor(distribution.mask)
        return ok

    return _made_of([inner], rule)


def _markov_chain(distribution: tfd.MarkovChain) -> Support | None:
    start = distribution.initial_state_prior
    if not isinstance(start.dtype, tf.DType):
        return None

    def rule(x: tf.Tensor, _: Any) -> tf.Tensor:
        x = _to_front(x, x.shape.rank - start.event_shape.rank - 1)
        first, before, after = x[0], x[:-1], x[1:]
        next_one = distribution.transition_fn(tf.range(tf.shape(before)[0]), before)
        oks = [
            whole_events(inside(start, first), first, start)[tf.newaxis],
            whole_events(inside(next_one, after), after, next_one),
        ]
        return _to_back(tf.concat(oks, axis=0))

    return Support("values that its steps can take", in_tensors(rule))


def _autoregressive(distribution: tfd.Autoregressive) -> Support:
    def rule(x: tf.Tensor, _: Any) -> tf.Tensor:
        return inside(distribution.distribution_fn(x), x)

    return Support("values that its parts can take", in_tensors(rule))


def _transformed(distribution: tfd.TransformedDistribution) -> Support | None:
    if type(distribution) not in _PLAIN_TRANSFORMED:
        return None  # one of TFP's classes: all numbers, without a rule of its own
    inner, bijector = distribution.distribution, distribution.bijector
    if not isinstance(inner.dtype, tf.DType) or not _is_of_numbers(bijector):
        return None

    def rule(x: tf.Tensor, _: Any) -> tf.Tensor:
        # Of a bijector that is not one-to-one, all that have the value x.
        ys = bijector.inverse(x)
        oks = []
        for y in [ys] if bijector._is_injective else ys:
            # From a new tensor, since TFP keeps the values that it has inverted.
            again = bijector.forward(tf.identity(y))
            is_value = abs(again - x) <= 1e-6 + 1e-3 * abs(x)
            ok = whole_events(is_value, x, distribution)
            oks.append(ok & whole_events(inside(inner, y), y, inner))
        return functools.reduce(operator.or_, oks)

    words = f"values of {type(bijector).__name__}"
    rest = support_of(inner)
    return Support(f"{words} of {rest.words}" if rest else words, in_tensors(rule))


def _is_of_numbers(bijector: tfb.Bijector) -> bool:
    """Whether it is one of TFP's, or ours, that takes number by number.

    Others, such as flows, may cost more than the density itself, and their rounding is
    not known.
    """
    parts = getattr(bijector, "bijectors", None) or getattr(bijector, "bijector", None)
    if parts is not None:
        parts = parts if isinstance(parts, (list, tuple)) else [parts]
        if not all(isinstance(part, tfb.Bijector) for part in parts):
            return False
        return all(_is_of_numbers(part) for part in parts)
    is_known = type(bijector).__module__.startswith(("tensorflow_prob", "ppl_core"))
    return is_known and bijector.forward_min_event_ndims == 0


def _made_of(
    parts: Sequence[tfd.Distribution],
    rule: Callable[[tf.Tensor, Any], tf.Tensor],
    joined: str = "and",
) -> Support | None:
    """The support with this rule, in the words of its parts'; None if none has one."""
    supports = [support_of(part) for part in parts]
    if all(support is None for support in supports):
        return None
    words = [support.words if support else "finite numbers" for support in supports]
    is_whole = all(support is not None and support.is_whole for support in supports)
    return Support(
        f" {joined} ".join(dict.fromkeys(words)), in_tensors(rule), None, is_whole
    )


def _to_front(x: tf.Tensor, axis: int) -> tf.Tensor:
    axes = list(range(x.shape.rank))
    return tf.transpose(x, [axis, *axes[:axis], *axes[axis + 1 :]])


def _to_back(x: tf.Tensor) -> tf.Tensor:
    return tf.transpose(x, [*range(1, x.shape.rank), 0])


def _base(kind: type) -> type:
    """The class that TFP makes, or derives, where a part is no composite tensor."""
    return kind.__mro__[1]


_PLAIN_TRANSFORMED = (
    tfd.TransformedDistribution,
    _base(tfd.TransformedDistribution),
)
_WRAPPERS: dict[type, Callable[[Any], Support | None]] = {
    tfd.Autoregressive: _autoregressive,
    _base(tfd.BatchBroadcast): _same,
    _base(tfd.BatchConcat): _batch_concat,
    _base(tfd.BatchReshape): _batch_reshape,
    _base(tfd.Blockwise): _blockwise,
    tfd.HiddenMarkovModel: _hidden_markov_model,
    _base(tfd.Independent): _same,
    _base(tfd.Inflated): _inflated,
    tfd.MarkovChain: _markov_chain,
    _base(tfd.Masked): _masked,
    _base(tfd.Mixture): _mixture,
    _base(tfd.MixtureSameFamily): _mixture_same_family,
    _base(tfd.QuantizedDistribution): _quantized,
    _base(tfd.Sample): _sample,
    _base(tfd.TransformedDistribution): _transformed,
}
