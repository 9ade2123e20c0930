"""A distribution's parameters in float64, in which probabilities are computed."""

from typing import Any

import tensorflow as tf

from ppl_core.masses.spans import Span, change


def parameters(distribution: Any, *names: str) -> list[tf.Tensor]:
    """The distribution's parameters in float64."""
    return [
        tf.cast(tf.convert_to_tensor(getattr(distribution, name)), tf.float64)
        for name in names
    ]


def log_parameter(distribution: Any, name: str) -> tf.Tensor:
    """The logarithm of a parameter that may be given as log_`name`."""
    if getattr(distribution, name) is None:
        return parameters(distribution, f"log_{name}")[0]
    return tf.math.log(parameters(distribution, name)[0])


def log_odds(distribution: Any) -> tf.Tensor:
    """The logits of a distribution that may be given by its probs."""
    if distribution.logits is not None:
        return parameters(distribution, "logits")[0]
    (probs,) = parameters(distribution, "probs")
    return tf.math.log(probs) - tf.math.log1p(-probs)


def logit(x: tf.Tensor) -> tf.Tensor:
    """The log odds of a probability."""
    return tf.math.log(x) - tf.math.log1p(-x)


def located(distribution: Any, span: Span) -> Span:
    """The span in units of the distribution's loc and scale."""
    loc, scale = parameters(distribution, "loc", "scale")
    return change(span, lambda x: (x - loc) / scale)


def tfp_names(kind: type) -> list[str]:
    """The names of TFP's classes that it is, or is made from; the nearest first."""
    return [
        base.__name__.lstrip("_")
        for base in kind.__mro__
        if base.__module__.startswith("tensorflow_probability")
    ]
