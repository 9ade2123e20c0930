"""The Image Transformer in JAX and Flax's linen, with Adam by Optax."""

import importlib.util
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.baselines.image_transformer import supported
from experiments.bench.problems import AdamSettings, Training, Unavailable

NOTE = (
    "linen modules, attention block by block by jax.lax.map, its scores made again for "
    "the gradient, optax.adam, one jitted step that gives its buffers up"
)
MASKED = -1e9


def prepare(
    sizes: Any, weights: Mapping[str, np.ndarray], adam: AdamSettings
) -> Training:
    """Training of a model of `image_transformer.Sizes`, from these weights.

    Raises:
      Unavailable: Flax is not installed.
      ValueError: sizes that `supported.num_blocks` refuses.
    """
    if importlib.util.find_spec("flax") is None:
        raise Unavailable("not installed: pip install flax (make peers)")
    import functools

    import jax
    import jax.numpy as jnp
    import optax
    from flax import traverse_util

    model = _module(sizes)
    nats = _dmol_nats if sizes.likelihood == "dmol" else _categorical_nats
    optimizer = optax.adam(adam.rate, b1=adam.beta1, b2=adam.beta2, eps=adam.epsilon)
    params = traverse_util.unflatten_dict(
        {_path(name): jnp.asarray(array) for name, array in weights.items()}
    )
    state = (params, optimizer.init(params))

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state: Any, image: Any) -> Any:
        params, slots = state

        def loss(params: Any) -> Any:
            return jnp.mean(nats(model.apply({"params": params}, image), image))

        value, gradients = jax.value_and_grad(loss)(params)
        changes, slots = optimizer.update(gradients, slots)
        return (optax.apply_updates(params, changes), slots), value

    def step(image: np.ndarray) -> float:
        nonlocal state
        state, value = update(state, image)
        return float(value)

    def read() -> dict[str, np.ndarray]:
        flat = traverse_util.flatten_dict(state[0])
        return {name: np.asarray(flat[_path(name)]) for name in weights}

    return Training(step=step, weights=read)


def _path(name: str) -> tuple[str, ...]:
    """Where linen keeps a weight, by the name that the compared systems share."""
    *inside, last = name.split("/")
    if last in ("row", "column"):
        return (last,)
    if last == "embedding":
        return ("embedding", "embedding")
    if last in ("scale", "bias"):  # of a normalisation
        return (inside[0], f"after_{inside[1]}", last)
    if last.endswith("_bias"):
        return (*inside, last.removesuffix("_bias"), "bias")
    return (*inside, last, "kernel")


def _module(sizes: Any) -> Any:
    """Images [batch, height, width, 3] int32 to outputs [batch, positions, outputs].

    A position has 10 outputs a mixture, or 256 logits.
    """
    import jax
    import jax.numpy as jnp
    from flax import linen as nn

    num_blocks, size = supported.num_blocks(sizes), sizes.block
    dmol = sizes.likelihood == "dmol"
    columns = sizes.width * (1 if dmol else 3)
    root = math.sqrt(sizes.hidden)
    own = np.triu(np.full((size, size), MASKED, np.float32), 1)
    bias = np.concatenate([np.zeros_like(own), own], 1)
    first = np.where(np.arange(2 * size) < size, np.float32(MASKED), 0)
    first = np.concatenate(
        [first[np.newaxis], np.zeros((num_blocks - 1, 2 * size), np.float32)]
    )[:, np.newaxis, np.newaxis]  # [blocks, 1, 1, 2 size]

    @jax.checkpoint
    def in_block(inputs: Any) -> Any:
        """The attention of one block, [heads, size, depth].

        The scores of one block stay in the processor's cache, and the gradient
        recomputes them.  Those of all blocks would pass through memory several times.
        """
        query, key, value, mask = inputs
        scores = query @ key.swapaxes(-1, -2) + (bias + mask)
        weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
        return weights @ value / weights.sum(-1, keepdims=True)

    def attend(query: Any, key: Any, value: Any) -> Any:
        """The attention of every position, [batch, positions, value_size]."""
        batch = query.shape[0]

        def split(y: Any) -> Any:  # [batch, blocks, heads, size, depth]
            y = y.reshape(batch, -1, size, sizes.heads, y.shape[-1] // sizes.heads)
            return y.transpose(0, 1, 3, 2, 4)

        def with_previous(y: Any) -> Any:
            before = jnp.pad(y[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0)))
            return jnp.concatenate([before, y], 3)

        query = split(query) * (sizes.key_size // sizes.heads) ** -0.5
        inputs = (query, with_previous(split(key)), with_previous(split(value)))
        inputs = tuple(y.reshape(-1, *y.shape[2:]) for y in inputs)
        output = jax.lax.map(in_block, (*inputs, jnp.tile(first, (batch, 1, 1, 1))))
        return output.swapaxes(1, 2).reshape(batch, -1, sizes.value_size)

    class Layer(nn.Module):
        """Attention and two dense layers: [batch, positions, hidden] to the same."""

        @nn.compact
        def __call__(self, x: Any) -> Any:
            query, key, value = (
                nn.Dense(width, use_bias=False, name=name)(x)
                for name, width in (
                    ("query", sizes.key_size),
                    ("key", sizes.key_size),
                    ("value", sizes.value_size),
                )
            )
            attended = attend(query, key, value)
            x += nn.Dense(sizes.hidden, use_bias=False, name="out")(attended)
            x = nn.LayerNorm(epsilon=1e-6, name="after_attention")(x)
            inner = nn.relu(nn.Dense(sizes.filter_size, name="filter_in")(x))
            x += nn.Dense(sizes.hidden, name="filter_out")(inner)
            return nn.LayerNorm(epsilon=1e-6, name="after_filter")(x)

    class ImageTransformer(nn.Module):
        """Images to outputs."""

        @nn.compact
        def __call__(self, image: Any) -> Any:
            batch = image.shape[0]
            if dmol:
                values = image.reshape(batch, -1, 3).astype(jnp.float32)
                x = nn.relu(nn.Dense(sizes.hidden, name="merge")(values / 127.5 - 1))
            else:
                rows = (image + 256 * jnp.arange(3)).reshape(batch, -1)
                x = nn.Embed(3 * 256, sizes.hidden, name="embedding")(rows) * root
            x = jnp.pad(x[:, :-1], ((0, 0), (1, 0), (0, 0)))
            normal = nn.initializers.normal(1 / root)
            row = self.param("row", normal, (sizes.height, sizes.hidden))
            column = self.param("column", normal, (columns, sizes.hidden))
            x += root * (row[:, np.newaxis] + column).reshape(-1, sizes.hidden)
            for number in range(sizes.layers):
                x = Layer(name=f"layer{number}")(x)
            num_outputs = 10 * sizes.num_mixtures if dmol else 256
            return nn.Dense(num_outputs, use_bias=not dmol, name="outputs")(x)

    return ImageTransformer()


def _categorical_nats(logits: Any, image: Any) -> Any:
    """Of each image: [batch].

    logits: [batch, positions, 256]; image: [batch, height, width, 3] int32.
    """
    import optax

    labels = image.reshape(image.shape[0], -1)
    each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return each.sum(-1)


def _dmol_nats(outputs: Any, image: Any) -> Any:
    """Of each image: [batch].

    outputs: [batch, positions, 10 mixtures]; image: [batch, height, width, 3] int32.

    A discretised mixture of logistics, Salimans et al. (2017), PixelCNN++, section 2,
    with the logarithm of a bin's mass as the sum of those of three factors.
    """
    import jax
    import jax.numpy as jnp

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
    means += jnp.stack(
        [
            jnp.zeros_like(c[:, :, 0]),
            c[:, :, 0] * red,
            c[:, :, 1] * red + c[:, :, 2] * green,
        ],
        2,
    )
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
