"""Distributions of a position's values: categorical, or a mixture of logistics.

Values are int32 from 0 to `num_values` - 1; images of 8 bits have 256.
"""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

import ppl_core as ppl
from experiments.training import prng
from experiments.training.prng import BatchRng

tfd = tfp.distributions

CHANNELS = 3
OUTPUTS_PER_COMPONENT = 1 + 3 * CHANNELS  # weight, means, log scales, coefficients
MIN_LOG_SCALE = -7.0  # as in T2T and PixelCNN++


class WholeNumbers(tfd.Distribution):
    """A distribution of int32 events of a static shape, sampled without a gradient."""

    def __init__(self, event_shape: Sequence[int], parameters: dict, name: str) -> None:
        self._static_event_shape = tf.TensorShape(event_shape)
        super().__init__(
            dtype=tf.int32,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    def _event_shape(self) -> tf.TensorShape:
        return self._static_event_shape

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant(self._static_event_shape.as_list())


class MixtureOfLogistics(WholeNumbers):
    """Three channels of a pixel, each given those before it: event [3], int32.

    The probability of a value is a logistic's mass between the edges of its bin; the
    outermost bins are open.  Red shifts the mean of green, and red and green shift that
    of blue: Salimans et al. (2017), PixelCNN++, section 2.

    The mass between edges a < b is the product of three factors: the logistic function
    of b, that of -a, and 1 - exp(a - b).  Its logarithm is their sum, in which nothing
    cancels even if the mass is tiny.  T2T uses the density at the centre if the mass is
    below 1e-5, and its probabilities do not sum to one.
    """

    def __init__(
        self,
        outputs: tf.Tensor,
        num_values: int = 256,
        name: str = "MixtureOfLogistics",
    ) -> None:
        """outputs: the network's, [..., 10 mixtures]; the batch shape is `...`.

        They are the components' log weights and then, for each channel, their means,
        log scales (clipped to -7 or more) and the atanh of their three coefficients.
        """
        parameters = dict(locals())
        self._outputs = tf.convert_to_tensor(outputs)
        if self._outputs.shape[-1] % OUTPUTS_PER_COMPONENT:
            raise ValueError(
                f"outputs: given {self._outputs.shape[-1]} a pixel, wanted a multiple "
                f"of {OUTPUTS_PER_COMPONENT}"
            )
        self._num_values = num_values
        super().__init__([CHANNELS], parameters, name)

    def _batch_shape(self) -> tf.TensorShape:
        return self._outputs.shape[:-1]

    def _batch_shape_tensor(self) -> tf.Tensor:
        return tf.shape(self._outputs)[:-1]

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        weights, means, log_scales, coefficients = _mixture_parameters(self._outputs)
        means = means + _mean_shifts(coefficients, rescale(value, self._num_values))
        inverse = tf.exp(-log_scales)
        log_width = math.log(2 / (self._num_values - 1))
        half = 1 / (self._num_values - 1)
        # A bin's upper edge is the same float as the lower edge of the next.
        integer = tf.cast(value, tf.float32)[..., tf.newaxis]
        upper = ((2 * integer + 1) * half - 1 - means) * inverse
        lower = ((2 * integer - 1) * half - 1 - means) * inverse
        width = tf.exp(log_width - log_scales)
        below = tf.where(integer < self._num_values - 1, -tf.nn.softplus(-upper), 0.0)
        above = tf.where(integer > 0, -tf.nn.softplus(lower), 0.0)
        inner = tf.logical_and(integer > 0, integer < self._num_values - 1)
        between = tf.where(inner, tf.math.log(-tf.math.expm1(-width)), 0.0)
        log_probs = tf.reduce_sum(below + above + between, -2)
        return tf.reduce_logsumexp(tf.nn.log_softmax(weights) + log_probs, -1)

    def _sample_n(self, n: tf.Tensor, seed: Any = None) -> tf.Tensor:
        seed = tfp.random.sanitize_seed(seed, salt="MixtureOfLogistics")
        mixtures = self._outputs.shape[-1] // OUTPUTS_PER_COMPONENT
        shape = tf.concat(
            [[n], self.batch_shape_tensor(), [mixtures + CHANNELS]], axis=0
        )
        noise = tf.random.stateless_uniform(shape, seed, minval=2.0**-24)
        return _sample_mixture(self._outputs, noise, self._num_values, 1.0)


PixelMixture = ppl.make_random_variable(MixtureOfLogistics)


def sample_categorical(
    logits: tf.Tensor, rng: BatchRng, temperature: float = 1.0
) -> tf.Tensor:
    """A value for each of [batch, num_values] logits: [batch, 1] int32.

    It depends on the example's logits and its index in the batch alone.
    """
    noise = prng.uniform(rng, "value", tuple(logits.shape))
    largest = tf.argmax(logits + temperature * _gumbel(noise), -1, tf.int32)
    return largest[:, tf.newaxis]


def sample_mixture(
    outputs: tf.Tensor, rng: BatchRng, temperature: float = 1.0, num_values: int = 256
) -> tf.Tensor:
    """A pixel for each of [batch, 10 mixtures] outputs: [batch, 3] int32.

    temperature: divides the log weights of the components, and multiplies the scales.
      At 0 a pixel is the mean of the heaviest component.
    """
    mixtures = outputs.shape[-1] // OUTPUTS_PER_COMPONENT
    shape = (outputs.shape[0], mixtures + CHANNELS)
    noise = prng.uniform(rng, "value", shape)
    return _sample_mixture(outputs, noise, num_values, temperature)


def _gumbel(uniform: tf.Tensor) -> tf.Tensor:
    return -tf.math.log(-tf.math.log(uniform))


def _mixture_parameters(
    outputs: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Log weights [..., mixtures]; means, log scales, coefficients [..., 3, mixtures].

    The coefficients are of red for green, of red for blue and of green for blue.
    """
    mixtures = outputs.shape[-1] // OUTPUTS_PER_COMPONENT
    weights, *rest = tf.split(outputs, [mixtures, *[CHANNELS * mixtures] * 3], -1)
    shape = tf.concat([tf.shape(outputs)[:-1], [CHANNELS, mixtures]], 0)
    means, log_scales, coefficients = (tf.reshape(part, shape) for part in rest)
    log_scales = tf.maximum(log_scales, MIN_LOG_SCALE)
    return weights, means, log_scales, tf.tanh(coefficients)


def rescale(value: tf.Tensor, num_values: int) -> tf.Tensor:
    """Values from 0 to num_values - 1, mapped to float32 from -1 to 1."""
    return tf.cast(value, tf.float32) * (2 / (num_values - 1)) - 1


def _mean_shifts(coefficients: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """How far the channels before it shift each channel's mean: [..., 3, mixtures].

    values: [..., 3], from -1 to 1; the last shifts nothing.
    """
    red, green, _ = tf.split(values, CHANNELS, -1)  # [..., 1]
    red_green, red_blue, green_blue = tf.unstack(coefficients, axis=-2)
    green_shift = red_green * red
    blue_shift = red_blue * red + green_blue * green
    return tf.stack([tf.zeros_like(green_shift), green_shift, blue_shift], -2)


def _sample_mixture(
    outputs: tf.Tensor, noise: tf.Tensor, num_values: int, temperature: float
) -> tf.Tensor:
    """Pixels [..., 3] from uniform noise [..., mixtures + 3]."""
    weights, means, log_scales, coefficients = _mixture_parameters(outputs)
    mixtures = weights.shape[-1]
    component = tf.argmax(weights + temperature * _gumbel(noise[..., :mixtures]), -1)
    one_hot = tf.one_hot(component, mixtures)[..., tf.newaxis, :]

    def of_component(x: tf.Tensor) -> tf.Tensor:  # [..., 3]
        return tf.reduce_sum(x * one_hot, -1)

    uniform = noise[..., mixtures:]
    logistic = tf.math.log(uniform) - tf.math.log1p(-uniform)
    noise = temperature * tf.exp(of_component(log_scales)) * logistic
    base = of_component(means) + noise
    red_green, red_blue, green_blue = tf.unstack(of_component(coefficients), axis=-1)

    def value(x: tf.Tensor) -> tf.Tensor:  # in whose bin x lies
        nearest = tf.round((x + 1) * ((num_values - 1) / 2))
        return tf.clip_by_value(nearest, 0.0, num_values - 1.0)

    red = value(base[..., 0])
    scaled_red = rescale(red, num_values)
    green = value(base[..., 1] + red_green * scaled_red)
    scaled_green = rescale(green, num_values)
    shift = red_blue * scaled_red + green_blue * scaled_green
    blue = value(base[..., 2] + shift)
    return tf.cast(tf.stack([red, green, blue], -1), tf.int32)
