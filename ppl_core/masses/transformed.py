"""Intervals through the inverse of a monotone bijector."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from ppl_core.masses.parameters import parameters, tfp_names
from ppl_core.masses.spans import Span, change, clip, flip
from ppl_core.precision import cast

_Through = Callable[[Any, Span], Span]


def inverse(bijector: Any, span: Span) -> Span:
    """The values that the bijector takes into the span.

    Raises NotImplementedError for a bijector that is not known to be monotone.
    """
    return _through(_INVERSES, bijector, span)


def forward(bijector: Any, span: Span) -> Span:
    """The bijector's values at those of the span."""
    return _through(_FORWARDS, bijector, span)


def _through(table: dict[str, _Through], bijector: Any, span: Span) -> Span:
    for name in tfp_names(type(bijector)):
        if name in table:
            return table[name](bijector, span)
    raise NotImplementedError(f"the bijector {bijector.name}")


def _own_inverse(bijector: Any, span: Span) -> Span:
    return change(span, cast(bijector, tf.float64).inverse)


def _own_forward(bijector: Any, span: Span) -> Span:
    return change(span, cast(bijector, tf.float64).forward)


def _scaled(span: Span, scale: tf.Tensor) -> Span:
    right = change(span, lambda x: x * scale)
    is_turned = scale < 0.0
    return tf.nest.map_structure(
        lambda turned, same: tf.where(is_turned, turned, same), flip(right), right
    )


def _scale_of(bijector: Any) -> tf.Tensor:
    if bijector.scale is None:
        return tf.exp(parameters(bijector, "log_scale")[0])
    return parameters(bijector, "scale")[0]


def _from_softplus(bijector: Any, span: Span) -> Span:
    low = np.float64(0.0)
    if bijector.low is not None:
        (low,) = parameters(bijector, "low")
    hinge = np.float64(1.0)
    if bijector.hinge_softness is not None:
        (hinge,) = parameters(bijector, "hinge_softness")
    return change(
        clip(span, low=low),
        lambda x: hinge * tfp.math.softplus_inverse((x - low) / hinge),
    )


def _from_sigmoid(bijector: Any, span: Span) -> Span:
    if bijector.low is None:
        inside = clip(span, low=np.float64(0.0), high=np.float64(1.0))
        return change(inside, lambda x: tf.math.log(x) - tf.math.log1p(-x))
    low, high = parameters(bijector, "low", "high")
    return change(
        clip(span, low=low, high=high),
        lambda x: tf.math.log(x - low) - tf.math.log(high - x),
    )


def _from_chain(bijector: Any, span: Span) -> Span:
    for part in bijector.bijectors:
        span = inverse(part, span)
    return span


def _to_chain(bijector: Any, span: Span) -> Span:
    for part in reversed(bijector.bijectors):
        span = forward(part, span)
    return span


_INVERSES: dict[str, _Through] = {
    "Chain": _from_chain,
    "Exp": lambda _, span: change(clip(span, low=np.float64(0.0)), tf.math.log),
    "Expm1": lambda _, span: change(clip(span, low=np.float64(-1.0)), tf.math.log1p),
    "HeavyTailOnly": _own_inverse,
    "Identity": lambda _, span: span,
    "Invert": lambda bijector, span: forward(bijector.bijector, span),
    "NormalCDF": lambda _, span: change(
        clip(span, low=np.float64(0.0), high=np.float64(1.0)), tf.math.ndtri
    ),
    "Scale": lambda bijector, span: _scaled(span, 1.0 / _scale_of(bijector)),
    "Shift": lambda bijector, span: change(
        span, lambda x: x - parameters(bijector, "shift")[0]
    ),
    "Sigmoid": _from_sigmoid,
    "Sinh": _own_inverse,
    "SinhArcsinh": _own_inverse,
    "Softplus": _from_softplus,
    "Tanh": lambda _, span: change(
        clip(span, low=np.float64(-1.0), high=np.float64(1.0)), tf.math.atanh
    ),
}
# Of bijectors from all numbers.
_FORWARDS: dict[str, _Through] = {
    "Chain": _to_chain,
    "Exp": _own_forward,
    "Identity": lambda _, span: span,
    "Invert": lambda bijector, span: inverse(bijector.bijector, span),
    "Scale": lambda bijector, span: _scaled(span, _scale_of(bijector)),
    "Shift": lambda bijector, span: change(
        span, lambda x: x + parameters(bijector, "shift")[0]
    ),
    "Sinh": _own_forward,
    "SinhArcsinh": _own_forward,
    "Softplus": _own_forward,
}
