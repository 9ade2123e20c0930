"""Logarithms of latent values that their dtype rounds to 0 or 1.

A latent variable is x = T(y).  Far out x is 0 or 1 in floating point, where a density
may be unbounded.  There log x and log(1 - x) are ordinary numbers, which follow from y.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability.python.distributions import batch_reshape, sample

# A value x, its preimage y and the bijector: x = bijector.forward(y).
Pair = tuple[tf.Tensor, tf.Tensor, tfb.Bijector]
_OfSample = sample._NonCompositeTensorDefaultSampleBijector
_OfBatchReshape = batch_reshape._NonCompositeTensorBatchReshapeBijector
_Logarithm = Callable[[], tf.Tensor]


class _Image(NamedTuple):
    """A value and logarithms of its distance to the bounds, computed when asked for."""

    value: tf.Tensor
    above: _Logarithm  # log(value - low)
    below: _Logarithm | None  # log(high - value)
    low: tf.Tensor | None = None  # None: 0
    high: tf.Tensor | None = None  # None: 1


class _Known(threading.local):
    def __init__(self) -> None:
        self.images: list[_Image] = []
        self.pairs: Sequence[Pair] = ()


_known = _Known()


@contextlib.contextmanager
def known(pairs: Sequence[Pair]) -> Iterator[None]:
    """Lets densities in the block use the preimages of values.

    Gradients of these densities flow to y and not to x, so only who differentiates by
    y may use it.
    """
    outer = _known.images, _known.pairs
    images = [image for pair in pairs if (image := _image(*pair)) is not None]
    _known.images, _known.pairs = images, pairs
    try:
        yield
    finally:
        _known.images, _known.pairs = outer


def log(x: tf.Tensor) -> tf.Tensor:
    """log x, from its preimage where that is known."""
    image = _find(x)
    return tf.math.log(x) if image is None or image.low is not None else image.above()


def log1m(x: tf.Tensor) -> tf.Tensor:
    """log(1 - x), from its preimage where that is known."""
    image = _find(x)
    if image is None or image.below is None or image.high is not None:
        return tf.math.log1p(-x)
    return image.below()


def log_above(x: tf.Tensor, low: tf.Tensor) -> tf.Tensor | None:
    """log(x - low), if it is known from a preimage."""
    image = _find(x)
    return image.above() if image is not None and image.low is low else None


def log_between(
    x: tf.Tensor, low: tf.Tensor, high: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor] | None:
    """log(x - low) and log(high - x), if they are known from a preimage."""
    image = _find(x)
    if image is None or image.low is not low or image.high is not high:
        return None
    return None if image.below is None else (image.above(), image.below())


def is_known(x: tf.Tensor) -> bool:
    """Whether x is the value of a latent variable, whose preimage is known."""
    return _find(x) is not None or any(value is x for value, _, _ in _known.pairs)


def preimage(x: tf.Tensor, kind: type) -> tuple[tf.Tensor, Any] | None:
    """The preimage under a bijector of this kind, and that bijector; None: unknown."""
    for value, y, bijector in _known.pairs:
        if value is x and isinstance(bijector, kind):
            return y, bijector
    return None


def moved(x: tf.Tensor, move: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """move(x), whose logarithms are known where those of x are.

    move: reshapes or permutes a tensor, or chooses entries.
    """
    result = move(x)
    image = _find(x)
    if image is not None:
        _, above, below, low, high = image
        _known.images.append(
            _Image(
                result,
                above=lambda: move(above()),
                below=None if below is None else lambda: move(below()),
                low=low,
                high=high,
            )
        )
    return result


def log_softplus(y: tf.Tensor) -> tf.Tensor:
    """log(log(1 + exp(y))), which is y to the left of where exp(y) underflows."""
    is_left = y < -15.0
    right = tf.math.log(tf.math.softplus(tf.where(is_left, tf.zeros_like(y), y)))
    # log(1 + e) = e - e^2 / 2 + ..., and at -15 the next term is below 1e-13.
    left = tf.where(is_left, y, tf.zeros_like(y) - 15.0)
    return tf.where(is_left, left - 0.5 * tf.exp(left), right)


def _find(x: tf.Tensor) -> _Image | None:
    return next((image for image in _known.images if image.value is x), None)


def _image(x: tf.Tensor, y: tf.Tensor, bijector: Any) -> _Image | None:
    # The default bijectors of these two act along the last dimensions alike.
    is_wrapped = False
    while isinstance(bijector, (_OfSample, _OfBatchReshape)):
        is_sample = isinstance(bijector, _OfSample)
        bijector = bijector.bijector if is_sample else bijector._base_bijector
        is_wrapped = True
    low = None
    if type(bijector) is tfb.Chain and len(bijector.bijectors) == 2:
        shift, rest = bijector.bijectors
        if not isinstance(shift, tfb.Shift):
            return None
        low, bijector = shift.shift, rest
    if isinstance(bijector, tfb.Sigmoid):
        return _between(x, y, bijector, is_wrapped) if low is None else None
    log = getattr(bijector, "log_forward", _LOGS.get(type(bijector)))
    if log is None or _is_moved(bijector) or (is_wrapped and not _is_scalar(low)):
        return None
    return _Image(x, above=lambda: log(y), below=None, low=low)


def _between(x: tf.Tensor, y: tf.Tensor, bijector: Any, wrapped: bool) -> _Image | None:
    low, high = bijector.low, bijector.high
    if wrapped and not (_is_scalar(low) and _is_scalar(high)):
        return None  # the bounds would not broadcast with y

    def distance(y: tf.Tensor) -> tf.Tensor:
        log_share = tf.math.log_sigmoid(y)
        return log_share if low is None else tf.math.log(high - low) + log_share

    return _Image(x, lambda: distance(y), lambda: distance(-y), low, high)


def _is_scalar(bound: tf.Tensor | None) -> bool:
    return bound is None or bound.shape.rank == 0


def _is_moved(bijector: Any) -> bool:
    """Whether the bijector's image does not start at 0, or is not steepest at 1."""
    return any(bijector.parameters.get(key) is not None for key in _MOVERS)


_MOVERS = ("low", "hinge_softness")


def _log_softmax_centered(y: tf.Tensor) -> tf.Tensor:
    return tf.math.log_softmax(tf.concat([y, tf.zeros_like(y[..., :1])], axis=-1))


_LOGS: dict[type, Callable[[tf.Tensor], tf.Tensor]] = {
    tfb.Exp: tf.identity,
    tfb.SoftmaxCentered: _log_softmax_centered,
    tfb.Softplus: log_softplus,
}
