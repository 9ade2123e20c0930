"""Intervals on the line of a distribution's values, whose ends may lie outside it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class Bound(NamedTuple):
    """One end of an interval.  Its number is always one inside the support.

    Outside, and at infinity, a stand-in is there, so that every function of the number
    has a finite gradient.
    """

    at: tf.Tensor  # float64
    below: tf.Tensor  # whether the end lies below all values, or at the smallest
    above: tf.Tensor  # whether it lies above all values, or at the largest


class Span(NamedTuple):
    """An interval of values, each entry its own."""

    low: Bound
    high: Bound

    @property
    def is_empty(self) -> tf.Tensor:
        """Whether no value lies in it."""
        return self.low.above | self.high.below

    @property
    def has_low(self) -> tf.Tensor:
        """Whether it leaves out values below it; False for an empty one."""
        return ~(self.low.below | self.is_empty)

    @property
    def has_high(self) -> tf.Tensor:
        """Whether it leaves out values above it; False for an empty one."""
        return ~(self.high.above | self.is_empty)


# The log probability of a distribution, and a span of its values.
Mass = Callable[[Any, Span], tf.Tensor]


def make(low: Any, high: Any) -> Span:
    """The span between finite or infinite bounds, arrays or tensors."""
    return Span(*map(_bound, (low, high)))


def _bound(at: Any) -> Bound:
    if tf.is_tensor(at):
        number = tf.where(tf.math.is_finite(at), at, tf.zeros_like(at))
        return Bound(number, tf.equal(at, -np.inf), tf.equal(at, np.inf))
    number = tf.constant(np.where(np.isfinite(at), at, 0.0), tf.float64)
    return Bound(number, tf.constant(at == -np.inf), tf.constant(at == np.inf))


def from_to(low: tf.Tensor, high: tf.Tensor) -> Span:
    """The span between two numbers of the support."""
    nowhere = tf.zeros_like(low + high, tf.bool)
    return Span(Bound(low, nowhere, nowhere), Bound(high, nowhere, nowhere))


def up_to(high: tf.Tensor) -> Span:
    """The span of all values up to a number."""
    span = from_to(high, high)
    return span._replace(low=span.low._replace(below=tf.ones_like(span.low.below)))


def from_on(low: tf.Tensor) -> Span:
    """The span of all values from a number on."""
    span = from_to(low, low)
    return span._replace(high=span.high._replace(above=tf.ones_like(span.high.above)))


def change(span: Span, function: Callable[[tf.Tensor], tf.Tensor]) -> Span:
    """The span after an increasing function of the values."""
    return Span(*(bound._replace(at=function(bound.at)) for bound in span))


def flip(span: Span) -> Span:
    """The span of the values after a change of sign, whose numbers have it already."""
    low, high = span
    return Span(
        Bound(high.at, below=high.above, above=high.below),
        Bound(low.at, below=low.above, above=low.below),
    )


def clip(span: Span, low: Any = None, high: Any = None) -> Span:
    """The span within a support from `low` to `high`; None: it is open there."""
    return Span(*(_within(bound, low, high, False) for bound in span))


def split(span: Span, centre: tf.Tensor) -> tuple[Span, Span]:
    """The span of distances to the left of a centre, and that to the right.

    An end at the centre leaves a distance that is hardly above 0, so that it has a
    gradient.
    """
    low, high = span
    left = Span(_within(low, None, centre, True), _within(high, None, centre, False))
    right = Span(_within(low, centre, None, False), _within(high, centre, None, True))
    return (
        flip(change(left, lambda x: centre - x + 1e-150)),
        change(right, lambda x: x - centre + 1e-150),
    )


def _within(bound: Bound, low: Any, high: Any, keeps_edge: bool) -> Bound:
    """The bound within a support, whose edges may belong to it."""
    at, below, above = bound
    is_low = is_high = tf.zeros_like(at, tf.bool)
    inside: Any = 0.0
    if low is not None:
        is_low = at < low if keeps_edge else at <= low
        inside = low + 1.0 + tf.abs(low)
    if high is not None:
        is_high = at > high if keeps_edge else at >= high
        inside = high - 1.0 - tf.abs(high)
    if low is not None and high is not None:
        inside = 0.5 * low + 0.5 * high
    inside = tf.stop_gradient(tf.cast(inside, tf.float64))
    known = ~(below | above)
    # At infinity the number may be a stand-in that lies outside.
    return Bound(
        tf.where(is_low | is_high, inside, at),
        below | (known & is_low),
        above | (known & is_high),
    )


def truncate(span: Span, low: Any, high: Any) -> tuple[Span, Span]:
    """The span within [low, high], with these as its ends, and all of [low, high].

    low, high: finite or infinite.
    """
    low, high = (tf.convert_to_tensor(edge, tf.float64) for edge in (low, high))
    nowhere = tf.zeros_like(low + high + span.low.at + span.high.at, tf.bool)
    no_low, no_high = tf.math.is_inf(low), tf.math.is_inf(high)
    zero = tf.zeros_like(low + high)
    low, high = tf.where(no_low, zero, low), tf.where(no_high, zero, high)
    whole = Span(
        Bound(low, no_low | nowhere, nowhere), Bound(high, nowhere, no_high | nowhere)
    )

    def within(bound: Bound) -> Bound:
        at, below, above = bound
        known = ~(below | above)
        is_low = below | (known & ~no_low & (at <= low))
        is_high = above | (known & ~no_high & (at >= high))
        return Bound(
            tf.where(is_low, low, tf.where(is_high, high, at)), is_low, is_high
        )

    first, last = map(within, span)
    # An end on the wrong side stays one, and on the right side becomes the edge's.
    return (
        Span(
            Bound(first.at, first.below & no_low, first.above),
            Bound(last.at, last.below, last.above & no_high),
        ),
        whole,
    )
