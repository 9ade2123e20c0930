"""Images drawn position by position, at a cost that does not grow with the image.

Every layer's keys and values are kept, so that a position is computed once.  In one
dimension they are those of the current and the previous block, in a ring of two blocks:
no later position sees more.  In two they are those of all positions, of which each sees
its block and its memory.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.image_transformer import network, program
from experiments.image_transformer.attention import MASKED
from experiments.image_transformer.network import Sizes
from experiments.training.model import Tensors

# Of each layer, keys and values: [rows, batch, heads, size of a head].
Cache = tuple[tuple[tf.Tensor, tf.Tensor], ...]
# Of how many positions, in the order of generation, are made; and of the images so far.
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

    They are those of `program.sample_naively`, but for outputs that round another way.
    Each draw is of the seed, the position and the image's number alone: the same
    images come back however many positions a call makes, and of a drawing that is
    taken up again where it stopped.

    weights: by name, as `network.weights` has them.
    seed: [2] int32.
    temperature: of the logits, or of components and scales; 0: the likeliest value,
      or of a mixture of logistics the mean of its heaviest component, which is not the
      likeliest value where another component is narrower or several overlap.
    prompt: images [num_images, height, width, channels], of which `prompt_positions`
      positions, in the order of generation, are kept.
    progress: called after each call of the compiled loop, with the number of positions
      that are made and the images so far, zeros where nothing is yet.
    positions_per_call: of the loop, whose program is the same for any number.

    Raises ValueError, before anything is drawn, for what does not fit the model.
    Parmar et al. (2018), Image Transformer, section 4.
    """
    network.check_sizes(sizes)
    rows, columns, depth = network.position_shape(sizes)
    positions = rows * columns
    _check_numbers(num_images, temperature, prompt_positions, positions)
    if positions_per_call < 1:
        raise ValueError(f"positions_per_call: given {positions_per_call}, wanted 1 up")
    seed = _checked_seed(seed)
    weights = _checked_weights(weights, sizes)
    values = np.zeros((positions, num_images, depth), np.int32)
    if prompt_positions:
        kept = _kept(sizes, prompt, num_images, prompt_positions)
        values[:prompt_positions] = np.swapaxes(kept, 0, 1)

    made = tf.constant(values)
    cache = _empty(sizes, weights, num_images)
    number = _first_needed(sizes, prompt_positions)
    while max(number, prompt_positions) < positions:
        stop = min(max(number, prompt_positions) + positions_per_call, positions)
        made, cache = _loop(sizes)(
            weights,
            seed,
            tf.constant(temperature, tf.float32),
            tf.constant([number, prompt_positions, stop]),
            made,
            cache,
        )
        number = stop
        if progress is not None:
            progress(number, _images(sizes, made))
    return _images(sizes, made)


def check_temperature(temperature: float) -> None:
    """Raises ValueError for what nothing can be drawn at."""
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ValueError(
            f"temperature: given {temperature}, wanted 0 or more, and finite"
        )


@functools.cache
def _loop(sizes: Sizes) -> Callable:
    """The compiled loop over places: one program for all numbers of them.

    By XLA, which writes to the cache in place.
    """

    def loop(
        weights: Tensors,
        seed: tf.Tensor,
        temperature: tf.Tensor,
        bounds: tf.Tensor,
        values: tf.Tensor,
        cache: Cache,
    ) -> tuple[tf.Tensor, Cache]:
        first, given, stop = tf.unstack(bounds)

        def step(
            place: tf.Tensor, values: tf.Tensor, cache: Cache
        ) -> tuple[tf.Tensor, tf.Tensor, Cache]:
            outputs, cache = _outputs(sizes, weights, place, values, cache)
            random = program.randomness_at(seed, place)
            drawn = program.sample_values(sizes, outputs, random, temperature)
            drawn = tf.where(place < given, values[place], drawn)
            return place + 1, _written(values, place, drawn), cache

        _, values, cache = tf.while_loop(
            lambda place, *_: place < stop,
            step,
            (first, values, cache),
            parallel_iterations=1,
        )
        return values, cache

    return tf.function(loop, jit_compile=True, autograph=False)


def _outputs(
    sizes: Sizes, weights: Tensors, place: tf.Tensor, values: tf.Tensor, cache: Cache
) -> tuple[tf.Tensor, Cache]:
    """What one place's values may be, [batch, outputs]; the cache with the place in it.

    place: which it is in the order of generation.
    values: [positions, batch, values], those before the place being there.
    """
    before = tf.maximum(place - 1, 0)
    x = network.embed(sizes, weights, values[before][:, tf.newaxis], before[tf.newaxis])
    x = tf.where(place > 0, x, tf.zeros_like(x))
    x += network.position_embedding(sizes, weights, place[tf.newaxis])
    row, rows, visible = _sight(sizes, place)
    added = []
    for number, (keys, kept) in enumerate(cache):

        def attend(
            query: tf.Tensor,
            key: tf.Tensor,
            value: tf.Tensor,
            keys: tf.Tensor = keys,
            kept: tf.Tensor = kept,
        ) -> tf.Tensor:
            keys, kept = (
                _written(all_of, row, tf.reshape(one, all_of.shape[1:]))
                for all_of, one in ((keys, key), (kept, value))
            )
            added.append((keys, kept))
            if rows is not None:
                keys, kept = tf.gather(keys, rows), tf.gather(kept, rows)
            return _found(tf.reshape(query, keys.shape[1:]), keys, kept, visible)

        x = network.layer(sizes, weights, number, x, attend)
    return network.output_layer(weights, x)[:, 0], tuple(added)


def _sight(
    sizes: Sizes, place: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor]:
    """The row of a place, the rows it looks at (None: all), which of these it sees."""
    laid = network.blocks(sizes)
    if laid.memory is None:
        rows = np.arange(_num_rows(sizes), dtype=np.int32)
        row = place % len(rows)
        # In the ring's first half a place sees the second too, once that was written.
        wrapped = (row < laid.size) & (place >= laid.size) & (rows >= laid.size)
        return row, None, (rows <= row) | wrapped
    slots = np.where(laid.position_at >= 0, np.arange(len(laid.position_at)), -1)
    own = slots.reshape(laid.num_blocks, laid.size)
    looked_at = np.concatenate([laid.memory, own], axis=1).astype(np.int32)
    row = tf.gather(laid.index_of[laid.order], place)
    rows = tf.gather(looked_at, row // laid.size)
    # Slots are in the order of generation, and all memory comes before the block.
    return row, tf.maximum(rows, 0), (rows >= 0) & (rows <= row)


def _found(
    query: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, visible: tf.Tensor
) -> tf.Tensor:
    """What one place finds: [batch, 1, value_size].

    query: [batch, heads, depth].  keys, values: [rows, batch, heads, depth].
    visible: [rows].
    """
    query = query[:, :, tf.newaxis] * query.shape[-1] ** -0.5
    scores = tf.matmul(query, tf.transpose(keys, (1, 2, 3, 0)))
    shares = tf.nn.softmax(tf.where(visible, scores, tf.cast(MASKED, scores.dtype)))
    found = tf.matmul(shares, tf.transpose(values, (1, 2, 0, 3)))
    return tf.reshape(found, (query.shape[0], 1, -1))


def _written(x: tf.Tensor, row: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
    return tf.tensor_scatter_nd_update(x, row[tf.newaxis, tf.newaxis], new[tf.newaxis])


def _num_rows(sizes: Sizes) -> int:
    """Rows of the cache: of two blocks at most, or of all slots in two dimensions."""
    laid = network.blocks(sizes)
    if laid.memory is None:
        return laid.size * min(laid.num_blocks, 2)
    return len(laid.position_at)


def _empty(sizes: Sizes, weights: Tensors, num_images: int) -> Cache:
    dtype = weights["layer0/key"].dtype

    def rows(size: int) -> tf.Tensor:
        shape = (_num_rows(sizes), num_images, sizes.heads, size // sizes.heads)
        return tf.zeros(shape, dtype)

    one = (rows(sizes.key_size), rows(sizes.value_size))
    return (one,) * sizes.layers


def _first_needed(sizes: Sizes, prompt_positions: int) -> int:
    """The place from which on a cache is made that is right where it is next read.

    In one dimension a layer sees one block back, and all of them as many as there are:
    what is wrong in a first block for want of those before it has by then left.
    """
    laid = network.blocks(sizes)
    if laid.memory is not None:
        return 0
    return max(0, prompt_positions // laid.size - sizes.layers) * laid.size


def _images(sizes: Sizes, values: tf.Tensor) -> np.ndarray:
    return network.to_image(sizes, tf.transpose(values, (1, 0, 2))).numpy()


def _check_numbers(
    num_images: int, temperature: float, prompt_positions: int, positions: int
) -> None:
    if num_images < 1:
        raise ValueError(f"num_images: given {num_images}, wanted 1 or more")
    check_temperature(temperature)
    if not 0 <= prompt_positions <= positions:
        raise ValueError(
            f"prompt_positions: given {prompt_positions}, wanted 0 to the {positions} "
            "of an image"
        )


def _checked_seed(seed: Any) -> tf.Tensor:
    seed = tf.convert_to_tensor(seed)
    if seed.dtype != tf.int32 or seed.shape != (2,):
        raise ValueError(
            f"seed: given {seed.dtype.name} of shape {seed.shape}, wanted two int32"
        )
    return seed


def _checked_weights(weights: Tensors, sizes: Sizes) -> dict[str, tf.Tensor]:
    wanted = network.weights(sizes)
    if set(weights) != set(wanted):
        raise ValueError(
            f"weights: without {sorted(set(wanted) - set(weights))} and with "
            f"{sorted(set(weights) - set(wanted))}, which the model has not"
        )
    held = {name: tf.convert_to_tensor(weights[name]) for name in wanted}
    for name, weight in held.items():
        if weight.shape != wanted[name].shape:
            raise ValueError(
                f"weights: {name} of shape {weight.shape}, wanted {wanted[name].shape}"
            )
    return held


def _kept(
    sizes: Sizes, prompt: Any, num_images: int, prompt_positions: int
) -> np.ndarray:
    """What is kept of the prompt: [num_images, prompt_positions, values]."""
    wanted = (num_images, sizes.height, sizes.width, sizes.channels)
    if prompt is None:
        raise ValueError(f"prompt: None, wanted images to keep {prompt_positions} of")
    prompt = np.asarray(prompt)
    if prompt.shape != wanted or not np.issubdtype(prompt.dtype, np.integer):
        raise ValueError(
            f"prompt: {prompt.dtype} of shape {prompt.shape}, wanted integers of "
            f"{wanted}"
        )
    in_order = network.to_generation_order(sizes, tf.constant(prompt.astype(np.int32)))
    kept = in_order[:, :prompt_positions].numpy()
    if kept.min() < 0 or kept.max() >= sizes.num_values:
        raise ValueError(
            f"prompt: values from {kept.min()} to {kept.max()}, wanted 0 to "
            f"{sizes.num_values - 1}"
        )
    return kept
