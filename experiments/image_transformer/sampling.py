"""Sampling position by position, at a cost that does not grow with the image.

The keys and values of every layer are cached, so that a position is computed once.  In
one dimension the KV cache holds the current and the previous block, in a ring of two
blocks: no later position attends to more.  In two dimensions it holds all positions, of
which each attends to its block and its memory.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.image_transformer import network, program
from experiments.image_transformer.attention import MASKED
from experiments.image_transformer.network import Sizes
from experiments.training.checks import check_counts, check_number
from experiments.training.model import Tensors, checked_weights
from experiments.training.prng import checked_seed

# Keys and values of each layer: [rows, batch, heads, size of a head].
Cache = tuple[tuple[tf.Tensor, tf.Tensor], ...]
# (positions that are done, in the order of generation; the images so far)
Progress = Callable[[int, np.ndarray], None]


def sample(
    weights: Tensors,
    sizes: Sizes,
    seed: Any,
    num_images: int,
    *,
    temperature: float = 1.0,
    prompt: Any = None,
    prompt_positions: int = 0,
    progress: Progress | None = None,
    positions_per_call: int = 1024,
) -> np.ndarray:
    """Images of the model: [num_images, height, width, channels] int32.

    They equal those of `program.sample_naively` up to rounding of the outputs.  Each
    value depends on the seed, the position and the image's index alone.  So neither
    `positions_per_call` nor resuming from a prompt changes the images.

    temperature: of the logits, or of components and scales.  At 0, the most likely
      value; of a mixture of logistics, the mean of the heaviest component, which is not
      the most likely value if another component is narrower or several overlap.
    prompt: images [num_images, height, width, channels], of which the first
      `prompt_positions` positions in the order of generation are kept.
    progress: called after each call of the compiled loop, with the number of positions
      done and the images so far, which are zero elsewhere.
    positions_per_call: of the loop, which is compiled once for any number.

    Raises ValueError, before sampling, for arguments that do not fit the model.
    Parmar et al. (2018), Image Transformer, section 4.
    """
    network.check_sizes(sizes)
    rows, columns, depth = network.position_shape(sizes)
    positions = rows * columns
    check_counts(num_images=num_images, positions_per_call=positions_per_call)
    check_temperature(temperature)
    if not 0 <= prompt_positions <= positions:
        raise ValueError(
            f"prompt_positions: given {prompt_positions}, wanted 0 to the {positions} "
            "of an image"
        )
    seed = checked_seed(seed)
    weights = checked_weights(weights, network.weights(sizes))
    values = np.zeros((positions, num_images, depth), np.int32)
    if prompt_positions:
        prompt = _checked_prompt(sizes, prompt, num_images, prompt_positions)
        values[:prompt_positions] = np.swapaxes(prompt, 0, 1)

    values = tf.constant(values)
    cache = _empty_cache(sizes, weights, num_images)
    step = _first_step(sizes, prompt_positions)
    while max(step, prompt_positions) < positions:
        stop = min(max(step, prompt_positions) + positions_per_call, positions)
        values, cache = _loop(sizes)(
            weights,
            seed,
            tf.constant(temperature, tf.float32),
            tf.constant([step, prompt_positions, stop]),
            values,
            cache,
        )
        step = stop
        if progress is not None:
            progress(step, _images(sizes, values))
    return _images(sizes, values)


def check_temperature(temperature: float) -> None:
    """Raises ValueError unless it is finite and not negative."""
    check_number("temperature", temperature, at_least=0)


@functools.cache
def _loop(sizes: Sizes) -> Callable:
    """The loop over positions, compiled once for any number of them.

    XLA writes to the cache in place.
    """

    def loop(
        weights: Tensors,
        seed: tf.Tensor,
        temperature: tf.Tensor,
        bounds: tf.Tensor,
        values: tf.Tensor,
        cache: Cache,
    ) -> tuple[tf.Tensor, Cache]:
        first, num_prompt, stop = tf.unstack(bounds)

        def body(
            step: tf.Tensor, values: tf.Tensor, cache: Cache
        ) -> tuple[tf.Tensor, tf.Tensor, Cache]:
            outputs, cache = _outputs(sizes, weights, step, values, cache)
            rng = program.rng_at(seed, step)
            sample = program.sample_values(sizes, outputs, rng, temperature)
            sample = tf.where(step < num_prompt, values[step], sample)
            return step + 1, replace_row(values, step, sample), cache

        _, values, cache = tf.while_loop(
            lambda step, *_: step < stop,
            body,
            (first, values, cache),
            parallel_iterations=1,
        )
        return values, cache

    return tf.function(loop, jit_compile=True, autograph=False)


def _outputs(
    sizes: Sizes, weights: Tensors, step: tf.Tensor, values: tf.Tensor, cache: Cache
) -> tuple[tf.Tensor, Cache]:
    """The outputs of one position, [batch, outputs], and the cache with its keys.

    step: the index of the position in the order of generation.
    values: [positions, batch, values]; those before the position are known.
    """
    before = tf.maximum(step - 1, 0)
    x = network.embed(sizes, weights, values[before][:, tf.newaxis], before[tf.newaxis])
    x = tf.where(step > 0, x, tf.zeros_like(x))
    x += network.position_embedding(sizes, weights, step[tf.newaxis])
    row, rows, mask = _cache_rows(sizes, step)
    updated = []
    for number, layer_cache in enumerate(cache):

        def attend(
            query: tf.Tensor,
            key: tf.Tensor,
            value: tf.Tensor,
            layer_cache: tuple[tf.Tensor, tf.Tensor] = layer_cache,
        ) -> tf.Tensor:
            keys, values = (
                replace_row(cached, row, tf.reshape(new, cached.shape[1:]))
                for cached, new in zip(layer_cache, (key, value), strict=True)
            )
            updated.append((keys, values))
            if rows is not None:
                keys, values = tf.gather(keys, rows), tf.gather(values, rows)
            return _attention(tf.reshape(query, keys.shape[1:]), keys, values, mask)

        x = network.layer(sizes, weights, number, x, attend)
    return network.output_layer(weights, x)[:, 0], tuple(updated)


def _cache_rows(
    sizes: Sizes, step: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor]:
    """A position's row of the cache, the rows it reads (None: all), and their mask."""
    layout = network.blocks(sizes)
    if layout.memory is None:
        rows = np.arange(_num_rows(sizes), dtype=np.int32)
        row = step % len(rows)
        # From the ring's first half the second is visible too, once it is written.
        wrapped = (row < layout.size) & (step >= layout.size) & (rows >= layout.size)
        return row, None, (rows <= row) | wrapped
    indices = np.arange(len(layout.position_at))
    own = np.where(layout.position_at >= 0, indices, -1)
    own = own.reshape(layout.num_blocks, layout.size)
    rows_of_block = np.concatenate([layout.memory, own], axis=1).astype(np.int32)
    row = tf.gather(layout.index_of[layout.order], step)
    rows = tf.gather(rows_of_block, row // layout.size)
    # Rows are in the order of generation, and all memory comes before the block.
    return row, tf.maximum(rows, 0), (rows >= 0) & (rows <= row)


def _attention(
    query: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, mask: tf.Tensor
) -> tf.Tensor:
    """The attention's output for one position: [batch, 1, value_size].

    query: [batch, heads, depth].  keys, values: [rows, batch, heads, depth].
    mask: [rows] bool.
    """
    query = query[:, :, tf.newaxis] * query.shape[-1] ** -0.5
    scores = tf.matmul(query, tf.transpose(keys, (1, 2, 3, 0)))
    weights = tf.nn.softmax(tf.where(mask, scores, tf.cast(MASKED, scores.dtype)))
    output = tf.matmul(weights, tf.transpose(values, (1, 2, 0, 3)))
    return tf.reshape(output, (query.shape[0], 1, -1))


def replace_row(x: tf.Tensor, row: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
    """`x` with another row of that number, a scalar."""
    return tf.tensor_scatter_nd_update(x, row[tf.newaxis, tf.newaxis], new[tf.newaxis])


def _num_rows(sizes: Sizes) -> int:
    """Rows of the cache: two blocks at most, in two dimensions the whole sequence."""
    layout = network.blocks(sizes)
    if layout.memory is None:
        return layout.size * min(layout.num_blocks, 2)
    return len(layout.position_at)


def _empty_cache(sizes: Sizes, weights: Tensors, num_images: int) -> Cache:
    dtype = weights["layer0/key"].dtype

    def rows(size: int) -> tf.Tensor:
        shape = (_num_rows(sizes), num_images, sizes.heads, size // sizes.heads)
        return tf.zeros(shape, dtype)

    one = (rows(sizes.key_size), rows(sizes.value_size))
    return (one,) * sizes.layers


def _first_step(sizes: Sizes, prompt_positions: int) -> int:
    """The position from which the cache of a prompt must be computed.

    In one dimension each layer attends one block back, and n layers attend n blocks
    back.  Errors from starting without earlier blocks have left the cache by then.
    """
    layout = network.blocks(sizes)
    if layout.memory is not None:
        return 0
    return max(0, prompt_positions // layout.size - sizes.layers) * layout.size


def _images(sizes: Sizes, values: tf.Tensor) -> np.ndarray:
    return network.to_image(sizes, tf.transpose(values, (1, 0, 2))).numpy()


def _checked_prompt(
    sizes: Sizes, prompt: Any, num_images: int, prompt_positions: int
) -> np.ndarray:
    """The prompt in the order of generation: [num_images, prompt_positions, values]."""
    shape = (num_images, sizes.height, sizes.width, sizes.channels)
    if prompt is None:
        raise ValueError(f"prompt: None, wanted images to keep {prompt_positions} of")
    prompt = np.asarray(prompt)
    if prompt.shape != shape or not np.issubdtype(prompt.dtype, np.integer):
        raise ValueError(
            f"prompt: {prompt.dtype} of shape {prompt.shape}, wanted integers of "
            f"{shape}"
        )
    in_order = network.to_generation_order(sizes, tf.constant(prompt.astype(np.int32)))
    values = in_order[:, :prompt_positions].numpy()
    if values.min() < 0 or values.max() >= sizes.num_values:
        raise ValueError(
            f"prompt: values from {values.min()} to {values.max()}, wanted 0 to "
            f"{sizes.num_values - 1}"
        )
    return values
