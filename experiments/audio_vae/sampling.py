"""Sound drawn sample by sample, each at a cost that does not grow with the clip.

The forward of an autoregressive flow is serial.  Of each flow's part what the networks
read is kept (the values before, the contexts of blocks, the least squares' sums), so
that a step computes one value, and all steps of a part are one compiled loop.  Parts of
a row share its program, and are given their own weights.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.audio_vae import networks, program
from experiments.audio_vae.flows import LogisticQuantile, SplitFlow
from experiments.audio_vae.networks import Adaptive, Row
from experiments.audio_vae.program import Sizes
from experiments.training.model import Tensors
from experiments.training.prng import BatchRng, uniform


def sample(
    weights: Mapping[str, Any], sizes: Sizes, seed: Any, num_clips: int
) -> np.ndarray:
    """Clips of the model: [num_clips, T] int32 of 16 bits.

    What is louder is cut off sample by sample, so that those that follow are of what a
    file can hold: lines through the past may be unstable, and would run away.

    weights: by name, as `audio.weights_of` has them.
    seed: [2] int32.

    Raises ValueError, before anything is drawn, for what does not fit the model.
    """
    weights, random = _checked(weights, sizes, seed, num_clips)
    noise = uniform(random, "noise of z", (num_clips, sizes.latents))
    stretched = program.LOGISTIC_SCALE * LogisticQuantile().forward(noise)
    return decoded(weights, sizes, seed, forward(weights, sizes, "prior", stretched))


def reconstruct(
    weights: Mapping[str, Any], sizes: Sizes, seed: Any, clips: Any
) -> np.ndarray:
    """Other sounds of the latents that clips have on average: as `sample` gives them.

    clips: [clips, T] integers of 16 bits.
    """
    clips = np.asarray(clips)
    if clips.shape[1:] != (sizes.length,) or not np.issubdtype(clips.dtype, np.integer):
        raise ValueError(
            f"clips: given {clips.dtype} {list(clips.shape)}, wanted integers "
            f"[clips, {sizes.length}]"
        )
    weights, _ = _checked(weights, sizes, seed, len(clips))
    heard = tf.constant(clips / program.STEPS, tf.float32)
    return decoded(weights, sizes, seed, program.encoder(weights, heard).mean())


def decoded(weights: Tensors, sizes: Sizes, seed: Any, z: tf.Tensor) -> np.ndarray:
    """A draw of the decoder for latents z [clips, T / 2]."""
    shift, log_scale = program.upsampled(weights, z)
    random = BatchRng(tf.convert_to_tensor(seed, tf.int32), tf.constant(0))
    noise = uniform(random, "noise of audio", tuple(shift.shape))
    noise = tf.exp(log_scale) * LogisticQuantile().forward(noise) + shift
    noise = tf.sinh(tf.exp(weights["decoder/tail"][0]) * noise)
    sound = forward(weights, sizes, "decoder", noise, loudest=1.0).numpy()
    if not np.isfinite(sound).all():
        raise ValueError("weights: what they make is not finite, wanted sound")
    least, most = -program.STEPS, program.STEPS - 1
    return np.clip(np.rint(sound * program.STEPS), least, most).astype(np.int32)


def forward(
    weights: Tensors,
    sizes: Sizes,
    name: str,
    noise: tf.Tensor,
    loudest: float = math.inf,
) -> tf.Tensor:
    """The flow's forward of [clips, length], part after part in each flow's order.

    loudest: what the aggregating flow's values are cut off at, each before the next is
      made of it; the forward proper is without.
    """
    values = tf.transpose(noise)  # [length, clips]
    flows = program.flow(weights, sizes, name).flows
    for flow, network in zip(flows, program.flow_networks(sizes, name), strict=True):
        values = _forward_of_flow(flow, network, values, loudest)
    return tf.transpose(values)


def _forward_of_flow(
    flow: SplitFlow, network: Row | Adaptive, values: tf.Tensor, loudest: float
) -> tf.Tensor:
    parts = tf.split(values, len(flow.parts))
    order = list(range(len(parts)))
    if flow.backwards:
        order.reverse()
    before = tf.zeros((flow.reach, values.shape[1]))
    made: dict[int, tf.Tensor] = {}
    for number in order:
        x = parts[number][::-1] if flow.backwards else parts[number]
        y = _loop(network, loudest)(dict(flow.parts[number].weights), x, before)
        if flow.reach:
            before = y[-flow.reach :]
        made[number] = y[::-1] if flow.backwards else y
    return tf.concat([made[number] for number in range(len(parts))], 0)


@functools.cache
def _loop(network: Row | Adaptive, loudest: float) -> Callable[..., tf.Tensor]:
    """The compiled loop over a part's values: (weights, x, before) -> y.

    x, y: [values, clips] in the flow's order; before: [reach, clips].

    By XLA, which writes to what is kept in place.
    """
    made = (
        functools.partial(_row_loop, network)
        if isinstance(network, Row)
        else functools.partial(_adaptive_loop, network, loudest)
    )
    return tf.function(made, jit_compile=True, autograph=False)


def _row_loop(
    sizes: Row, weights: Tensors, x: tf.Tensor, before: tf.Tensor
) -> tf.Tensor:
    length, clips = x.shape
    block = sizes.block_size
    kept = tf.concat([tf.asinh(before), tf.zeros_like(x)], 0)  # y, squashed
    context = (tf.zeros((clips, sizes.channels)), tf.zeros((clips, block)))

    def step(
        place: tf.Tensor, kept: tf.Tensor, context: tuple[tf.Tensor, tf.Tensor], y: Any
    ) -> tuple[Any, ...]:
        def renewed() -> tuple[tf.Tensor, tf.Tensor]:
            far = tf.slice(kept, (place, 0), (sizes.reach, clips))
            return networks.row_context(weights, tf.transpose(far))

        context = tf.cond(place % block == 0, renewed, lambda: context)
        at = place + sizes.reach
        near = tf.slice(kept, (at - block, 0), (block, clips))[::-1]
        near = tf.transpose(near)[:, tf.newaxis]  # [clips, 1, block]
        shift, log_scale = networks.row_values(weights, near, context)
        new = x[place] * tf.exp(log_scale[:, 0]) + shift[:, 0]
        return (
            place + 1,
            _written(kept, at, tf.asinh(new)),
            context,
            _written(y, place, new),
        )

    *_, y = tf.while_loop(
        lambda place, *_: place < length,
        step,
        (tf.constant(0), kept, context, tf.zeros_like(x)),
        parallel_iterations=1,
    )
    return y


def _adaptive_loop(
    sizes: Adaptive, loudest: float, weights: Tensors, x: tf.Tensor, before: tf.Tensor
) -> tf.Tensor:
    del before  # it has the whole clip
    length, clips = x.shape
    block, order, near = sizes.block_size, sizes.order, sizes.near
    late = networks.LATE
    orders = [n for n, _ in sizes.linear_predictors]
    lead = max(order + block, near, late)  # of silence before the clip, in what is kept

    def refit(place: tf.Tensor, kept: tf.Tensor, state: Any) -> Any:
        """Of the block that ended: sums and taps of each line, and the context."""
        long = tf.slice(kept, (lead + place - block - order, 0), (block + order, clips))
        past = tf.stack(
            [
                tf.transpose(long[order - 1 - tap : order - 1 - tap + block])
                for tap in range(order)
            ],
            -1,
        )  # [clips, block, order]
        products = networks.moments(past, tf.transpose(long[order:]))
        sums = []
        for held, (short, forgetting) in zip(
            state[0], sizes.linear_predictors, strict=True
        ):
            sums.append(forgetting * held + networks.shortened(products, short))
        taps = [
            networks.trusted(place, n) * networks.solved(held)
            for n, held in zip(orders, sums, strict=True)
        ]
        return sums, taps, networks.adaptive_context(weights, taps[-1])

    def step(
        place: tf.Tensor, kept: Any, squares: Any, errors: Any, state: Any, y: Any
    ) -> tuple[Any, ...]:
        state = tf.cond(
            place % block == 0, lambda: refit(place, kept, state), lambda: state
        )
        _, taps, context = state
        at = place + lead
        past = tf.transpose(tf.slice(kept, (at - order, 0), (order, clips))[::-1])
        told = [tf.zeros((clips,))]
        for each, (short, _) in zip(taps, sizes.linear_predictors, strict=True):
            told.append(networks.line(past[:, :short], each))
        told = tf.stack(told, -1)[:, tf.newaxis]  # [clips, 1, choices]
        mean = tf.slice(squares, (at - late, 0, 0), (late, clips, sizes.choices))
        mean = tf.reduce_mean(mean, 0)[:, tf.newaxis]
        best = networks.chosen(weights, told, mean)
        wrong = tf.transpose(tf.slice(errors, (at - near, 0), (near, clips))[::-1])
        shift, log_scale = networks.adaptive_values(
            weights, told, mean, best, wrong[:, tf.newaxis], context
        )
        new = x[place] * tf.exp(log_scale[:, 0]) + shift[:, 0]
        new = tf.clip_by_value(new, -loudest, loudest)
        return (
            place + 1,
            _written(kept, at, new),
            _written(squares, at, (new[:, tf.newaxis] - told[:, 0]) ** 2),
            _written(errors, at, new - best[:, 0]),
            state,
            _written(y, place, new),
        )

    state = (
        [tf.zeros((clips, n, n + 1), tf.float64) for n in orders],
        [tf.zeros((clips, n)) for n in orders],
        tf.zeros((clips, sizes.channels)),
    )
    begun = networks.first(weights)[-near:, tf.newaxis]
    errors = tf.concat(
        [
            tf.zeros((lead - begun.shape[0], clips)),
            tf.tile(begun, (1, clips)),
            tf.zeros((length, clips)),
        ],
        0,
    )
    *_, y = tf.while_loop(
        lambda place, *_: place < length,
        step,
        (
            tf.constant(0),
            tf.zeros((lead + length, clips)),
            tf.zeros((lead + length, clips, sizes.choices)),
            errors,
            state,
            tf.zeros_like(x),
        ),
        parallel_iterations=1,
    )
    return y


def _written(x: tf.Tensor, row: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
    return tf.tensor_scatter_nd_update(x, row[tf.newaxis, tf.newaxis], new[tf.newaxis])


def _checked(
    weights: Mapping[str, Any], sizes: Sizes, seed: Any, num_clips: int
) -> tuple[dict[str, tf.Tensor], BatchRng]:
    program.check(sizes)
    if num_clips < 1:
        raise ValueError(f"num_clips: given {num_clips}, wanted 1 or more")
    seed = tf.convert_to_tensor(seed)
    if seed.dtype != tf.int32 or seed.shape != (2,):
        raise ValueError(
            f"seed: given {seed.dtype.name} of shape {seed.shape}, wanted two int32"
        )
    wanted = program.weights_of(sizes)
    if set(weights) != set(wanted):
        raise ValueError(
            f"weights: without {sorted(set(wanted) - set(weights))[:5]} and with "
            f"{sorted(set(weights) - set(wanted))[:5]}, which the model has not"
        )
    held = {name: tf.convert_to_tensor(weights[name]) for name in wanted}
    for name, weight in held.items():
        if weight.shape != wanted[name].shape:
            raise ValueError(
                f"weights: {name} of shape {weight.shape}, wanted {wanted[name].shape}"
            )
    return held, BatchRng(seed, tf.constant(0))
