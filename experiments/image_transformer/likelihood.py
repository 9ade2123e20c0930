"""What a position's outputs say of its values: a categorical, or logistics in mixture.

Values are int32 from 0 to `num_values` - 1, 256 of them in images of 8 bits.
"""

import math
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

import ppl_core as ppl
from experiments.training import prng
from experiments.training.prng import BatchRng

tfd = tfp.distributions

CHANNELS = 3
OUTPUTS_PER_COMPONENT = (
    1 + 3 * CHANNELS
)  # of a component: weight, means, log scales, coefficients
MIN_LOG_SCALE = -7.0  # of T2T and of PixelCNN++


class MixtureOfLogistics(tfd.Distribution):
    """Three channels of a pixel, each given those before it: event [3], int32.

    Salimans et al. (2017), PixelCNN++, section 2: a logistic's mass between the edges
    of a value, the outermost values open; the mean of green is moved by red, that of
    blue by red and green.

    The mass between edges a < b is the product of three factors, the logistic function
    of b, that of -a, and 1 - exp(a - b), so its logarithm is a sum in which nothing
    cancels however small the mass.  T2T takes the density at the centre where the mass
    is below 1e-5, and its probabilities do not sum to one.
    """

    def __init__(
        self,
        outputs: tf.Tensor,
        num_values: int = 256,
        name: str = "MixtureOfLogistics",
    ) -> None:
        """outputs: [..., 10 mixtures], the network's, of which batch is `...`.

        In order: the components' log weights, and for each of the channels their means,
        their log scales (from -7 up), and the atanh of their three coefficients.
        """
        parameters = dict(locals())
        self._outputs = tf.convert_to_tensor(outputs)
        if self._outputs.shape[-1] % OUTPUTS_PER_COMPONENT:
            raise ValueError(
                f"outputs: {self._outputs.shape[-1]} a pixel, wanted a multiple of "
                f"{OUTPUTS_PER_COMPONENT}"
            )
        self._num_values = num_values
        super().__init__(
            dtype=tf.int32,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    def _batch_shape(self) -> tf.TensorShape:
        return self._outputs.shape[:-1]

    def _batch_shape_tensor(self) -> tf.Tensor:
        return tf.shape(self._outputs)[:-1]

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([CHANNELS])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant([CHANNELS])

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        weights, means, log_scales, coefficients = _parts(self._outputs)
        at = rescale(value, self._num_values)
        means = means + _moved(coefficients, at)
        inverse = tf.exp(-log_scales)
        log_width = math.log(2 / (self._num_values - 1))
        half = 1 / (self._num_values - 1)
        # Edges are the same float from below and from above.
        integer = tf.cast(value, tf.float32)[..., tf.newaxis]
        upper = ((2 * integer + 1) * half - 1 - means) * inverse
        lower = ((2 * integer - 1) * half - 1 - means) * inverse
        width = tf.exp(log_width - log_scales)
        below = tf.where(integer < self._num_values - 1, -tf.nn.softplus(-upper), 0.0)
        above = tf.where(integer > 0, -tf.nn.softplus(lower), 0.0)
        inner = tf.logical_and(integer > 0, integer < self._num_values - 1)
        between = tf.where(inner, tf.math.log(-tf.math.expm1(-width)), 0.0)
        of_components = tf.reduce_sum(below + above + between, -2)
        return tf.reduce_logsumexp(tf.nn.log_softmax(weights) + of_components, -1)

    def _sample_n(self, n: tf.Tensor, seed: Any = None) -> tf.Tensor:
        seed = tfp.random.sanitize_seed(seed, salt="MixtureOfLogistics")
        mixtures = self._outputs.shape[-1] // OUTPUTS_PER_COMPONENT
        shape = tf.concat(
            [[n], self.batch_shape_tensor(), [mixtures + CHANNELS]], axis=0
        )
        noise = tf.random.stateless_uniform(shape, seed, minval=2.0**-24)
        return _mixture_from(self._outputs, noise, self._num_values, 1.0)


PixelMixture = ppl.make_random_variable(MixtureOfLogistics)


def sample_categorical(
    logits: tf.Tensor, random: BatchRng, temperature: float = 1.0
) -> tf.Tensor:
    """A value of each of [batch, num_values] logits: [batch, 1] int32.

    Each example's is made of its own logits and place in the batch.
    """
    noise = prng.uniform(random, "value", tuple(logits.shape))
    largest = tf.argmax(logits + temperature * _gumbel(noise), -1, tf.int32)
    return largest[:, tf.newaxis]


def sample_mixture(
    outputs: tf.Tensor,
    random: BatchRng,
    temperature: float = 1.0,
    num_values: int = 256,
) -> tf.Tensor:
    """A pixel of each of [batch, 10 mixtures] outputs: [batch, 3] int32.

    temperature: of the components' weights; their scales are multiplied by it.  At 0 a
      pixel is the mean of the heaviest component.
    """
    mixtures = outputs.shape[-1] // OUTPUTS_PER_COMPONENT
    shape = (outputs.shape[0], mixtures + CHANNELS)
    noise = prng.uniform(random, "value", shape)
    return _mixture_from(outputs, noise, num_values, temperature)


def _gumbel(uniform: tf.Tensor) -> tf.Tensor:
    return -tf.math.log(-tf.math.log(uniform))


def _parts(
    outputs: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Log weights [..., mixtures]; means, log scales, coefficients [..., 3, mixtures].

    Of the coefficients the first is red's for green, the others red's and green's for
    blue.
    """
    mixtures = outputs.shape[-1] // OUTPUTS_PER_COMPONENT
    weights, *rest = tf.split(outputs, [mixtures, *[CHANNELS * mixtures] * 3], -1)
    shape = tf.concat([tf.shape(outputs)[:-1], [CHANNELS, mixtures]], 0)
    means, log_scales, coefficients = (tf.reshape(part, shape) for part in rest)
    log_scales = tf.maximum(log_scales, MIN_LOG_SCALE)
    return weights, means, log_scales, tf.tanh(coefficients)


def rescale(value: tf.Tensor, num_values: int) -> tf.Tensor:
    """Values of 0 to num_values - 1 as float32 from -1 to 1, of the same shape."""
    return tf.cast(value, tf.float32) * (2 / (num_values - 1)) - 1


def _moved(coefficients: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """By how much the channels before it move each channel's mean: [..., 3, mixtures].

    at: [..., 3], the scaled values, the last of which moves nothing.
    """
    red, green, _ = tf.split(at, CHANNELS, -1)  # [..., 1]
    of_red, of_both, by_green = tf.unstack(coefficients, axis=-2)
    green_by = of_red * red
    blue_by = of_both * red + by_green * green
    return tf.stack([tf.zeros_like(green_by), green_by, blue_by], -2)


def _mixture_from(
    outputs: tf.Tensor, noise: tf.Tensor, num_values: int, temperature: float
) -> tf.Tensor:
    """Pixels [..., 3] of uniform noise [..., mixtures + 3]."""
    weights, means, log_scales, coefficients = _parts(outputs)
    mixtures = weights.shape[-1]
    drawn = tf.argmax(weights + temperature * _gumbel(noise[..., :mixtures]), -1)
    one_hot = tf.one_hot(drawn, mixtures)[..., tf.newaxis, :]

    def of_drawn(x: tf.Tensor) -> tf.Tensor:  # [..., 3]
        return tf.reduce_sum(x * one_hot, -1)

    uniform = noise[..., mixtures:]
    logistic = tf.math.log(uniform) - tf.math.log1p(-uniform)
    base = of_drawn(means) + temperature * tf.exp(of_drawn(log_scales)) * logistic
    of_red, of_both, by_green = tf.unstack(of_drawn(coefficients), axis=-1)

    def value(x: tf.Tensor) -> tf.Tensor:  # whose edges x lies between
        nearest = tf.round((x + 1) * ((num_values - 1) / 2))
        return tf.clip_by_value(nearest, 0.0, num_values - 1.0)

    red = value(base[..., 0])
    scaled_red = rescale(red, num_values)
    green = value(base[..., 1] + of_red * scaled_red)
    scaled_green = rescale(green, num_values)
    moved = of_both * scaled_red + by_green * scaled_green
    blue = value(base[..., 2] + moved)
    return tf.cast(tf.stack([red, green, blue], -1), tf.int32)
