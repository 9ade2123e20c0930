"""What the baselines in JAX and Flax's linen share: training, and layers."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import traverse_util

from experiments.baselines.transformer_sizes import (
    MASKED,
    TransformerSizes,
    attention_bias,
)
from experiments.bench.problems import AdamSettings, Draws, Training

Arrays = Mapping[str, np.ndarray]


def make_training(
    weights: Arrays,
    path: Callable[[str], tuple[str, ...]],
    adam: AdamSettings,
    loss: Callable[..., tuple[Any, Mapping[str, Any]]],
    *,
    state: Arrays | None = None,
    draws: Draws = lambda number: {},
) -> Training:
    """Training from these weights and this state, with Adam by Optax.

    path: where linen keeps a weight, by the name that the compared systems share.
    loss: of parameters, state, examples and a step's draws by name: the mean nats of an
      example, and the state after the step.
    """
    optimizer = optax.adam(adam.rate, b1=adam.beta1, b2=adam.beta2, eps=adam.epsilon)
    params = traverse_util.unflatten_dict(
        {path(name): jnp.asarray(array) for name, array in weights.items()}
    )
    variables = {name: jnp.asarray(array) for name, array in (state or {}).items()}
    held = (params, optimizer.init(params), variables)

    @functools.partial(jax.jit, donate_argnums=0)
    def update(held: Any, examples: Any, drawn: Any) -> Any:
        params, slots, before = held
        gradient_of = jax.value_and_grad(loss, has_aux=True)
        (nats, after), gradients = gradient_of(params, before, examples, **drawn)
        changes, slots = optimizer.update(gradients, slots)
        return (optax.apply_updates(params, changes), slots, after), nats

    numbers = itertools.count()

    def step(examples: np.ndarray) -> float:
        nonlocal held
        held, nats = update(held, examples, draws(next(numbers)))
        return float(nats)

    def read() -> dict[str, np.ndarray]:
        flat = traverse_util.flatten_dict(held[0])
        arrays = {name: flat[path(name)] for name in weights} | held[2]
        return {name: np.asarray(array) for name, array in arrays.items()}

    return Training(step=step, weights=read)


def path(name: str) -> tuple[str, ...]:
    """Where linen keeps a weight of the layers below, or of dense ones around them."""
    *inside, last = name.split("/")
    if last in ("row", "column"):
        return (last,)
    if last == "embedding":
        return ("embedding", "embedding")
    if last in ("scale", "bias"):  # a normalisation's weights
        return (inside[0], f"after_{inside[1]}", last)
    if last.endswith("_bias"):
        return (*inside, last.removesuffix("_bias"), "bias")
    return (*inside, last, "kernel")


def layers(parent: Any, x: Any, sizes: TransformerSizes, attend: Callable) -> Any:
    """All layers on embedded values, for the position after each.

    parent: the module in whose compact `__call__` this is.
    x: [batch, positions - 1, hidden].  Returns [batch, positions, hidden].
    attend: `attend_at_once` or `attend_by_block`.
    """
    root, length = math.sqrt(sizes.hidden), sizes.rows * sizes.columns
    x = jnp.pad(x, ((0, 0), (1, 0), (0, 0)))
    normal = nn.initializers.normal(1 / root)
    row = parent.param("row", normal, (sizes.rows, sizes.hidden))
    column = parent.param("column", normal, (sizes.columns, sizes.hidden))
    x += root * (row[:, np.newaxis] + column).reshape(-1, sizes.hidden)
    # Whole blocks: no position attends to later ones.
    x = jnp.pad(x, ((0, 0), (0, -length % sizes.block), (0, 0)))
    for number in range(sizes.layers):
        x = Layer(sizes, attend, name=f"layer{number}")(x)
    return x[:, :length]


class Layer(nn.Module):
    """Attention and two dense layers: [batch, positions, hidden] to the same."""

    sizes: TransformerSizes
    attend: Callable

    @nn.compact
    def __call__(self, x: Any) -> Any:
        sizes = self.sizes
        dense = functools.partial(nn.Dense, use_bias=False)
        query = dense(sizes.key_size, name="query")(x)
        key = dense(sizes.key_size, name="key")(x)
        value = dense(sizes.value_size, name="value")(x)
        attended = _attention(sizes, query, key, value, self.attend)
        x += dense(sizes.hidden, name="out")(attended)
        x = nn.LayerNorm(epsilon=1e-6, name="after_attention")(x)
        inner = nn.relu(nn.Dense(sizes.filter_size, name="filter_in")(x))
        x += nn.Dense(sizes.hidden, name="filter_out")(inner)
        return nn.LayerNorm(epsilon=1e-6, name="after_filter")(x)


def _attention(
    sizes: TransformerSizes, query: Any, key: Any, value: Any, attend: Callable
) -> Any:
    """The attention of every position, [batch, positions, value_size]."""
    batch, positions = query.shape[:2]
    size, num_blocks = sizes.block, positions // sizes.block

    def split(y: Any) -> Any:  # [batch, blocks, heads, size, depth]
        y = y.reshape(batch, num_blocks, size, sizes.heads, y.shape[-1] // sizes.heads)
        return y.transpose(0, 1, 3, 2, 4)

    def with_previous(y: Any) -> Any:
        before = jnp.pad(y[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0)))
        return jnp.concatenate([before, y], 3)

    first = np.zeros((num_blocks, 1, 1, 2 * size), np.float32)
    first[0, ..., :size] = MASKED  # it has no block before
    query = split(query) * (sizes.key_size // sizes.heads) ** -0.5
    key, value = with_previous(split(key)), with_previous(split(value))
    output = attend(query, key, value, attention_bias(size), first)
    return output.swapaxes(2, 3).reshape(batch, positions, sizes.value_size)


def attend_at_once(query: Any, key: Any, value: Any, bias: Any, first: Any) -> Any:
    """The attention of all blocks: [batch, blocks, heads, size, depth]."""
    return jax.nn.softmax(query @ key.swapaxes(-1, -2) + bias + first) @ value


def attend_by_block(query: Any, key: Any, value: Any, bias: Any, first: Any) -> Any:
    """As `attend_at_once`, one block after another.

    The scores of one block stay in the processor's cache, and the gradient recomputes
    them.  Those of all blocks would pass through memory several times.
    """

    @jax.checkpoint
    def in_block(inputs: Any) -> Any:  # [heads, size, depth]
        query, key, value, first = inputs
        scores = query @ key.swapaxes(-1, -2) + (bias + first)
        weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
        return weights @ value / weights.sum(-1, keepdims=True)

    flat = (y.reshape(-1, *y.shape[2:]) for y in (query, key, value))
    tiled = jnp.tile(first, (query.shape[0], 1, 1, 1))
    output = jax.lax.map(in_block, (*flat, tiled))
    return output.reshape(*query.shape[:2], *output.shape[1:])
