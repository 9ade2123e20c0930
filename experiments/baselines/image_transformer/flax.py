"""The Image Transformer in JAX and Flax's linen, with Adam by Optax."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from experiments.baselines import linen
from experiments.baselines.transformer_sizes import of_image_transformer
from experiments.bench.problems import AdamSettings, Training


def prepare(
    sizes: Any, weights: Mapping[str, np.ndarray], adam: AdamSettings
) -> Training:
    """Training of a model of `image_transformer.Sizes`, from these weights.

    Raises ValueError for sizes that `transformer_sizes.of_image_transformer` refuses.
    """
    of_image_transformer(sizes)
    model = ImageTransformer(sizes)
    nats = dmol_nats if sizes.likelihood == "dmol" else categorical_nats

    def loss(params: Any, state: Any, image: Any) -> tuple[Any, Any]:
        return jnp.mean(nats(model.apply({"params": params}, image), image)), state

    return linen.make_training(weights, linen.path, adam, loss)


class ImageTransformer(nn.Module):
    """Images [batch, height, width, 3] int32 to outputs [batch, positions, outputs].

    A position has 10 outputs a mixture, or 256 logits.
    """

    sizes: Any

    @nn.compact
    def __call__(self, image: Any) -> Any:
        sizes, batch = self.sizes, image.shape[0]
        dmol = sizes.likelihood == "dmol"
        if dmol:
            values = image.reshape(batch, -1, 3).astype(jnp.float32)
            x = nn.relu(nn.Dense(sizes.hidden, name="merge")(values / 127.5 - 1))
        else:
            rows = (image + 256 * jnp.arange(3)).reshape(batch, -1)
            embed = nn.Embed(3 * 256, sizes.hidden, name="embedding")
            x = embed(rows) * math.sqrt(sizes.hidden)
        transformer = of_image_transformer(sizes)
        x = linen.layers(self, x[:, :-1], transformer, linen.attend_by_block)
        num_outputs = 10 * sizes.num_mixtures if dmol else 256
        return nn.Dense(num_outputs, use_bias=not dmol, name="outputs")(x)


def categorical_nats(logits: Any, image: Any) -> Any:
    """The nats of each image: [batch].

    logits: [batch, positions, 256]; image: [batch, height, width, 3] int32.
    """
    labels = image.reshape(image.shape[0], -1)
    each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return each.sum(-1)


def dmol_nats(outputs: Any, image: Any) -> Any:
    """The nats of each image: [batch].

    outputs: [batch, positions, 10 mixtures]; image: [batch, height, width, 3] int32.

    A discretised mixture of logistics, Salimans et al. (2017), PixelCNN++, section 2,
    with the logarithm of a bin's mass as the sum of those of three factors.
    """
    mixtures = outputs.shape[-1] // 10
    batch, positions = outputs.shape[:2]
    x = image.reshape(batch, positions, 3, 1).astype(jnp.float32)
    at = x / 127.5 - 1
    logits = outputs[..., :mixtures]
    rest = outputs[..., mixtures:].reshape(batch, positions, 3, 3, mixtures)
    means, log_scales, coefficients = rest[:, :, 0], rest[:, :, 1], rest[:, :, 2]
    log_scales = jnp.maximum(log_scales, -7.0)
    c = jnp.tanh(coefficients)
    red, green = at[:, :, 0], at[:, :, 1]
    by_red, by_both = c[:, :, 0] * red, c[:, :, 1] * red + c[:, :, 2] * green
    means += jnp.stack([jnp.zeros_like(by_red), by_red, by_both], 2)
    inverse = jnp.exp(-log_scales)
    upper = (at + 1 / 255 - means) * inverse
    lower = (at - 1 / 255 - means) * inverse
    below = jnp.where(x < 255, jax.nn.log_sigmoid(upper), 0.0)
    above = jnp.where(x > 0, jax.nn.log_sigmoid(-lower), 0.0)
    inside = (x > 0) & (x < 255)
    between = jnp.where(inside, jnp.log(-jnp.expm1(-2 / 255 * inverse)), 0.0)
    log_probs = (below + above + between).sum(2)
    mixed = jax.nn.logsumexp(log_probs + jax.nn.log_softmax(logits), -1)
    return -mixed.sum(-1)
