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
    """A value and its logarithms, which are computed when they are asked for."""

    value: tf.Tensor
    log: _Logarithm
    log1m: _Logarithm | None  # log(1 - value), of values in the unit interval


class _Known(threading.local):
    def __init__(self) -> None:
        self.images: list[_Image] = []


_known = _Known()


@contextlib.contextmanager
def known(pairs: Sequence[Pair]) -> Iterator[None]:
    """Lets densities in the block use the preimages of values.

    Gradients of these densities flow to y and not to x, so only who differentiates by
    y may use it.
    """
    outer = _known.images
    _known.images = [image for pair in pairs if (image := _image(*pair)) is not None]
    try:
        yield
    finally:
        _known.images = outer


def log(x: tf.Tensor) -> tf.Tensor:
    """log x, from its preimage where that is known."""
    image = _find(x)
    return tf.math.log(x) if image is None else image.log()


def log1m(x: tf.Tensor) -> tf.Tensor:
    """log(1 - x), from its preimage where that is known."""
    image = _find(x)
    if image is None or image.log1m is None:
        return tf.math.log1p(-x)
    return image.log1m()


def moved(x: tf.Tensor, move: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """move(x), whose logarithms are known where those of x are.

    move: reshapes or permutes a tensor, or chooses entries.
    """
    result = move(x)
    image = _find(x)
    if image is not None:
        _, log, log1m = image
        _known.images.append(
            _Image(
                result,
                log=lambda: move(log()),
                log1m=None if log1m is None else lambda: move(log1m()),
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
    while isinstance(bijector, (_OfSample, _OfBatchReshape)):
        is_sample = isinstance(bijector, _OfSample)
        bijector = bijector.bijector if is_sample else bijector._base_bijector
    log = _LOGS.get(type(bijector))
    if log is None or _is_moved(bijector):
        return None
    is_unit = isinstance(bijector, tfb.Sigmoid)
    return _Image(
        x,
        log=lambda: log(y),
        log1m=(lambda: tf.math.log_sigmoid(-y)) if is_unit else None,
    )


def _is_moved(bijector: Any) -> bool:
    """Whether the bijector's image does not start at 0, or is not steepest at 1."""
    options = ("low", "high", "hinge_softness")
    return any(bijector.parameters.get(option) is not None for option in options)


def _log_softmax_centered(y: tf.Tensor) -> tf.Tensor:
    return tf.math.log_softmax(tf.concat([y, tf.zeros_like(y[..., :1])], axis=-1))


_LOGS: dict[type, Callable[[tf.Tensor], tf.Tensor]] = {
    tfb.Exp: tf.identity,
    tfb.Sigmoid: tf.math.log_sigmoid,
    tfb.SoftmaxCentered: _log_softmax_centered,
    tfb.Softplus: log_softplus,
}
