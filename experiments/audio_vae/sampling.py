"""Sampling sample by sample, at a cost per sample that does not grow with the clip.

The forward of an autoregressive flow is serial.  Each part keeps what its network reads
(earlier values, the blocks' contexts, the sums of least squares), so a step computes
one value.  All steps of a part are one compiled loop.  Parts with networks of the same
size share the loop and pass their own weights.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.audio_vae import (
    block_network,
    linear_prediction,
    network,
    program,
    resampling,
)
from experiments.audio_vae.block_network import BlockNetwork
from experiments.audio_vae.flows import LogisticQuantile, SplitFlow
from experiments.audio_vae.linear_prediction import LinearPrediction
from experiments.audio_vae.network import Sizes
from experiments.image_transformer.sampling import replace_row
from experiments.training.checks import check_count
from experiments.training.model import Tensors, checked_weights
from experiments.training.prng import BatchRng, checked_seed, uniform


def sample(
    weights: Mapping[str, Any], sizes: Sizes, seed: Any, num_clips: int
) -> np.ndarray:
    """Clips of the model: [num_clips, T] int32 of 16 bits.

    Samples are clipped to full scale one by one, so that later ones depend on what a
    file can store.  Linear predictors may be unstable, and would diverge otherwise.

    Raises ValueError, before sampling, for arguments that do not fit the model.
    """
    weights, random = _checked(weights, sizes, seed, num_clips)
    noise = uniform(random, "noise of z", (num_clips, sizes.latents))
    noise = program.LOGISTIC_SCALE * LogisticQuantile().forward(noise)
    return _decode(weights, sizes, seed, forward(weights, sizes, "prior", noise))


def reconstruct(
    weights: Mapping[str, Any], sizes: Sizes, seed: Any, clips: Any
) -> np.ndarray:
    """Samples of the decoder at the mean latents of clips, in the form of `sample`.

    clips: [clips, T] integers of 16 bits.
    """
    clips = np.asarray(clips)
    if clips.shape[1:] != (sizes.length,) or not np.issubdtype(clips.dtype, np.integer):
        raise ValueError(
            f"clips: given {clips.dtype} {list(clips.shape)}, wanted integers "
            f"[clips, {sizes.length}]"
        )
    weights, _ = _checked(weights, sizes, seed, len(clips))
    audio = tf.constant(clips / program.FULL_SCALE, tf.float32)
    return _decode(weights, sizes, seed, program.encoder(weights, audio).mean())


def _decode(weights: Tensors, sizes: Sizes, seed: Any, z: tf.Tensor) -> np.ndarray:
    """A sample of the decoder for latents z [clips, T / 2]."""
    shift, log_scale = resampling.upsample(weights, z)
    random = BatchRng(tf.convert_to_tensor(seed, tf.int32), tf.constant(0))
    noise = uniform(random, "noise of audio", tuple(shift.shape))
    noise = tf.exp(log_scale) * LogisticQuantile().forward(noise) + shift
    noise = tf.sinh(tf.exp(weights["decoder/tail"][0]) * noise)
    audio = forward(weights, sizes, "decoder", noise, limit=1.0).numpy()
    if not np.isfinite(audio).all():
        raise ValueError("weights: their audio is not finite, wanted finite numbers")
    audio = np.rint(audio * program.FULL_SCALE)
    return np.clip(audio, -program.FULL_SCALE, program.FULL_SCALE - 1).astype(np.int32)


def forward(
    weights: Tensors, sizes: Sizes, name: str, noise: tf.Tensor, limit: float = math.inf
) -> tf.Tensor:
    """The flow's forward of [clips, length], part after part in each flow's order.

    limit: clips each value of the aggregating flow before the next is computed.  The
      flow's own forward has none.
    """
    values = tf.transpose(noise)  # [length, clips]
    flows = network.flow(weights, sizes, name).flows
    for flow, sized in zip(flows, network.flow_networks(sizes, name), strict=True):
        values = _forward_of_flow(flow, sized, values, limit)
    return tf.transpose(values)


def _forward_of_flow(
    flow: SplitFlow,
    sized: BlockNetwork | LinearPrediction,
    values: tf.Tensor,
    limit: float,
) -> tf.Tensor:
    parts = tf.split(values, len(flow.parts))
    step = -1 if flow.backwards else 1
    before = tf.zeros((flow.receptive_field, values.shape[1]))
    outputs = []
    for x, part in list(zip(parts, flow.parts, strict=True))[::step]:
        y = _loop(sized, limit)(dict(part.weights), x[::step], before)
        if flow.receptive_field:
            before = y[-flow.receptive_field :]
        outputs.append(y[::step])
    return tf.concat(outputs[::step], 0)


@functools.cache
def _loop(
    sized: BlockNetwork | LinearPrediction, limit: float
) -> Callable[..., tf.Tensor]:
    """The compiled loop over a part's values: (weights, x, before) -> y.

    x, y: [values, clips] in the flow's order.  before: [receptive field, clips].

    XLA updates the kept arrays in place.
    """
    loop = functools.partial(_linear_prediction_loop, sized, limit)
    if isinstance(sized, BlockNetwork):
        loop = functools.partial(_block_loop, sized)
    return tf.function(loop, jit_compile=True, autograph=False)


def _block_loop(
    sizes: BlockNetwork, weights: Tensors, x: tf.Tensor, before: tf.Tensor
) -> tf.Tensor:
    length, clips = x.shape
    block, receptive_field = sizes.block_size, sizes.receptive_field
    squashed = tf.concat([tf.asinh(before), tf.zeros_like(x)], 0)  # asinh of y

    def step(
        position: tf.Tensor, squashed: tf.Tensor, context: Any, y: tf.Tensor
    ) -> tuple[Any, ...]:
        def new_context() -> block_network.Context:
            far = tf.slice(squashed, (position, 0), (receptive_field, clips))
            return block_network.context(weights, tf.transpose(far))

        context = tf.cond(position % block == 0, new_context, lambda: context)
        row = position + receptive_field
        near = tf.slice(squashed, (row - block, 0), (block, clips))[::-1]
        near = tf.transpose(near)[:, tf.newaxis]  # [clips, 1, block]
        shift, log_scale = block_network.of_blocks(weights, near, context)
        new = x[position] * tf.exp(log_scale[:, 0]) + shift[:, 0]
        return (
            position + 1,
            replace_row(squashed, row, tf.asinh(new)),
            context,
            replace_row(y, position, new),
        )

    context = (tf.zeros((clips, sizes.channels)), tf.zeros((clips, block)))
    return _run(step, length, squashed, context, tf.zeros_like(x))


def _linear_prediction_loop(
    sizes: LinearPrediction, limit: float, weights: Tensors, x: tf.Tensor, _: tf.Tensor
) -> tf.Tensor:
    length, clips = x.shape
    block, max_order = sizes.block_size, sizes.max_order
    num_errors, recent = sizes.num_recent_errors, linear_prediction.RECENT
    orders = [order for order, _ in sizes.linear_predictors]
    # Rows of silence before the clip in the kept arrays.
    lead = max(max_order + block, num_errors, recent)

    def refit(position: tf.Tensor, audio: tf.Tensor, state: Any) -> Any:
        """The predictors' sums and coefficients, and the context, at a block's end."""
        start = lead + position - block - max_order
        window = tf.slice(audio, (start, 0), (block + max_order, clips))
        starts = range(max_order - 1, -1, -1)  # of each lag
        past = [tf.transpose(window[i : i + block]) for i in starts]
        past = tf.stack(past, -1)  # [clips, block, max_order]
        products = linear_prediction.moments(past, tf.transpose(window[max_order:]))
        sums = [
            forgetting * total + linear_prediction.truncated(products, order)
            for total, (order, forgetting) in zip(
                state[0], sizes.linear_predictors, strict=True
            )
        ]
        coefficients = [
            linear_prediction.is_usable(position, order)
            * linear_prediction.solve(total)
            for order, total in zip(orders, sums, strict=True)
        ]
        context = linear_prediction.context(weights, coefficients[-1])
        return sums, coefficients, context

    def step(
        position: tf.Tensor, audio: Any, squares: Any, errors: Any, state: Any, y: Any
    ) -> tuple[Any, ...]:
        state = tf.cond(
            position % block == 0, lambda: refit(position, audio, state), lambda: state
        )
        _, coefficients, context = state
        row = position + lead
        past = tf.slice(audio, (row - max_order, 0), (max_order, clips))
        past = tf.transpose(past[::-1])
        predictions = [tf.zeros((clips,))]
        for order, own in zip(orders, coefficients, strict=True):
            predictions.append(linear_prediction.predict(past[:, :order], own))
        predictions = tf.stack(predictions, -1)[:, tf.newaxis]
        shape = (recent, clips, sizes.num_predictions)
        recent_mse = tf.reduce_mean(tf.slice(squares, (row - recent, 0, 0), shape), 0)
        recent_mse = recent_mse[:, tf.newaxis]  # as predictions: [clips, 1, ...]
        mixture = linear_prediction.mix(weights, predictions, recent_mse)
        near = tf.slice(errors, (row - num_errors, 0), (num_errors, clips))
        near = tf.transpose(near[::-1])[:, tf.newaxis]
        shift, log_scale = linear_prediction.of_blocks(
            weights, predictions, recent_mse, mixture, near, context
        )
        new = x[position] * tf.exp(log_scale[:, 0]) + shift[:, 0]
        new = tf.clip_by_value(new, -limit, limit)
        return (
            position + 1,
            replace_row(audio, row, new),
            replace_row(squares, row, (new[:, tf.newaxis] - predictions[:, 0]) ** 2),
            replace_row(errors, row, new - mixture[:, 0]),
            state,
            replace_row(y, position, new),
        )

    state = (
        [tf.zeros((clips, order, order + 1), tf.float64) for order in orders],
        [tf.zeros((clips, order)) for order in orders],
        tf.zeros((clips, sizes.channels)),
    )
    initial = linear_prediction.errors_before(weights)[-num_errors:, tf.newaxis]
    silence = tf.zeros((lead - initial.shape[0], clips))
    errors = [silence, tf.tile(initial, (1, clips)), tf.zeros((length, clips))]
    errors = tf.concat(errors, 0)
    audio = tf.zeros((lead + length, clips))
    squares = tf.zeros((lead + length, clips, sizes.num_predictions))
    return _run(step, length, audio, squares, errors, state, tf.zeros_like(x))


def _run(step: Callable[..., tuple[Any, ...]], length: int, *initial: Any) -> tf.Tensor:
    """The last loop variable after `step` of each position."""
    *_, y = tf.while_loop(
        lambda position, *_: position < length,
        step,
        (tf.constant(0), *initial),
        parallel_iterations=1,
    )
    return y


def _checked(
    weights: Mapping[str, Any], sizes: Sizes, seed: Any, num_clips: int
) -> tuple[dict[str, tf.Tensor], BatchRng]:
    network.check_sizes(sizes)
    check_count("num_clips", num_clips)
    weights = checked_weights(weights, network.weights(sizes))
    return weights, BatchRng(checked_seed(seed), tf.constant(0))
