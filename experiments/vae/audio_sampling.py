"""Sound drawn sample by sample, each at a cost that does not grow with the clip.

The forward of an autoregressive flow is serial.  Of each flow's part what the networks
read is kept (the values before, the contexts of blocks, the least squares' sums), so
that a step computes one value, and all steps of a part are one compiled loop.  Parts of
a row share its program, and are given their own weights.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.parallel.model import Tensors
from experiments.parallel.randomness import Randomness, uniform
from experiments.vae import audio, audio_networks
from experiments.vae.audio import AudioSizes
from experiments.vae.audio_networks import Adaptive, Row
from experiments.vae.flows import SplitFlow


def sample(
    weights: Mapping[str, Any], sizes: AudioSizes, seed: Any, num_clips: int
) -> np.ndarray:
    """Clips of the model: [num_clips, T] int32 of 16 bits; what is louder is cut off.

    weights: by name, as `audio.weights_of` has them.
    seed: [2] int32.

    Raises ValueError, before anything is drawn, for what does not fit the model.
    """
    weights, random = _checked(weights, sizes, seed, num_clips)
    noise = uniform(random, "noise of z", (num_clips, sizes.latents))
    stretched = audio.LOGISTIC_SCALE * _logit(noise)
    return decoded(weights, sizes, seed, forward(weights, sizes, "prior", stretched))


def reconstruct(
    weights: Mapping[str, Any], sizes: AudioSizes, seed: Any, clips: Any
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
    heard = tf.constant(clips / audio.STEPS, tf.float32)
    return decoded(weights, sizes, seed, audio.encoder(weights, heard).mean())


def decoded(
    weights: Tensors, sizes: AudioSizes, seed: Any, z: tf.Tensor
) -> np.ndarray:
    """A draw of the decoder for latents z [clips, T / 2]."""
    shift, log_scale = audio.upsampled(weights, z)
    random = Randomness(tf.convert_to_tensor(seed, tf.int32), tf.constant(0))
    noise = uniform(random, "noise of audio", tuple(shift.shape))
    noise = tf.exp(log_scale) * _logit(noise) + shift
    noise = tf.sinh(tf.exp(weights["decoder/tail"][0]) * noise)
    sound = forward(weights, sizes, "decoder", noise).numpy()
    if not np.isfinite(sound).all():
        raise ValueError("weights: what they make is not finite, wanted sound")
    least, most = -audio.STEPS, audio.STEPS - 1
    return np.clip(np.rint(sound * audio.STEPS), least, most).astype(np.int32)


def forward(
    weights: Tensors, sizes: AudioSizes, name: str, noise: tf.Tensor
) -> tf.Tensor:
    """The flow's forward of [clips, length], part after part in each flow's order."""
    values = tf.transpose(noise)  # [length, clips]
    flows = audio.flow(weights, sizes, name).flows
    for flow, network in zip(flows, audio.flow_networks(sizes, name), strict=True):
        values = _forward_of_flow(flow, network, values)
    return tf.transpose(values)


def _forward_of_flow(
    flow: SplitFlow, network: Row | Adaptive, values: tf.Tensor
) -> tf.Tensor:
    parts = tf.split(values, len(flow.parts))
    order = list(range(len(parts)))
    if flow.backwards:
        order.reverse()
    before = tf.zeros((flow.reach, values.shape[1]))
    made: dict[int, tf.Tensor] = {}
    for number in order:
        x = parts[number][::-1] if flow.backwards else parts[number]
        y = _loop(network)(dict(flow.parts[number].weights), x, before)
        if flow.reach:
            before = y[-flow.reach :]
        made[number] = y[::-1] if flow.backwards else y
    return tf.concat([made[number] for number in range(len(parts))], 0)


@functools.cache
def _loop(network: Row | Adaptive) -> Callable[..., tf.Tensor]:
    """The compiled loop over a part's values: (weights, x, before) -> y.

    x, y: [values, clips] in the flow's order; before: [reach, clips].

    By XLA, which writes to what is kept in place.
    """
    made = _row_loop if isinstance(network, Row) else _adaptive_loop
    return tf.function(
        functools.partial(made, network), jit_compile=True, autograph=False
    )


def _row_loop(
    sizes: Row, weights: Tensors, x: tf.Tensor, before: tf.Tensor
) -> tf.Tensor:
    length, clips = x.shape
    block = sizes.block
    kept = tf.concat([tf.asinh(before), tf.zeros_like(x)], 0)  # y, squashed
    context = (tf.zeros((clips, sizes.channels)), tf.zeros((clips, block)))

    def step(
        place: tf.Tensor, kept: tf.Tensor, context: tuple[tf.Tensor, tf.Tensor], y: Any
    ) -> tuple[Any, ...]:
        def renewed() -> tuple[tf.Tensor, tf.Tensor]:
            far = tf.slice(kept, (place, 0), (sizes.reach, clips))
            return audio_networks.row_context(weights, tf.transpose(far))

        context = tf.cond(place % block == 0, renewed, lambda: context)
        at = place + sizes.reach
        near = tf.slice(kept, (at - block, 0), (block, clips))[::-1]
        near = tf.transpose(near)[:, tf.newaxis]  # [clips, 1, block]
        shift, log_scale = audio_networks.row_values(weights, near, context)
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
    sizes: Adaptive, weights: Tensors, x: tf.Tensor, before: tf.Tensor
) -> tf.Tensor:
    del before  # it has the whole clip
    length, clips = x.shape
    block, order, near = sizes.block, sizes.order, sizes.near
    lead = max(order + block, near)

    def renewed(
        place: tf.Tensor, kept: tf.Tensor, errors: tf.Tensor, sums: Any, energy: Any
    ) -> tuple[tf.Tensor, ...]:
        """At a block's beginning: sums, energy, taps, the mean square, the context."""
        start = lead + place - block  # of the block before
        long = tf.slice(kept, (start - order, 0), (block + order, clips))
        past = tf.stack(
            [tf.transpose(long[order - 1 - i : order - 1 - i + block]) for i in range(order)],
            -1,
        )  # [clips, block, order]
        values = tf.transpose(long[order:])
        sums = sizes.forgetting * sums + audio_networks.moments(past, values)
        wrong = tf.slice(errors, (start, 0), (block, clips))
        energy = sizes.forgetting * energy + tf.reduce_sum(wrong * wrong, 0)
        return sums, energy

    def step(place: tf.Tensor, kept: Any, errors: Any, state: Any, y: Any) -> tuple:
        def refit() -> tuple[tf.Tensor, ...]:
            sums, energy, count, *_ = state
            sums, energy = renewed(place, kept, errors, sums, energy)
            count = sizes.forgetting * count + tf.where(place > 0, float(block), 0.0)
            taps = audio_networks.solved(sums)
            slow = audio_networks.mean_square(weights, energy, count)
            context = audio_networks.adaptive_context(weights, taps, slow)
            return sums, energy, count, taps, slow, context

        state = tf.cond(place % block == 0, refit, lambda: state)
        *_, taps, slow, context = state
        at = place + lead
        past = tf.transpose(tf.slice(kept, (at - order, 0), (order, clips))[::-1])
        foretold = tf.reduce_sum(past * taps, -1)
        wrong = tf.transpose(tf.slice(errors, (at - near, 0), (near, clips))[::-1])
        shift, log_scale = audio_networks.adaptive_values(
            weights, foretold[:, tf.newaxis], wrong[:, tf.newaxis], slow, context
        )
        new = x[place] * tf.exp(log_scale[:, 0]) + shift[:, 0]
        return (
            place + 1,
            _written(kept, at, new),
            _written(errors, at, new - foretold),
            state,
            _written(y, place, new),
        )

    state = (
        tf.zeros((clips, order, order + 1), tf.float64),
        tf.zeros((clips,)),
        tf.zeros(()),
        tf.zeros((clips, order)),
        tf.zeros((clips,)),
        tf.zeros((clips, sizes.channels)),
    )
    silence = tf.zeros((lead + length, clips))
    *_, y = tf.while_loop(
        lambda place, *_: place < length,
        step,
        (tf.constant(0), silence, silence, state, tf.zeros_like(x)),
        parallel_iterations=1,
    )
    return y


def _written(x: tf.Tensor, row: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
    return tf.tensor_scatter_nd_update(x, row[tf.newaxis, tf.newaxis], new[tf.newaxis])


def _logit(u: tf.Tensor) -> tf.Tensor:
    return tf.math.log(u) - tf.math.log1p(-u)


def _checked(
    weights: Mapping[str, Any], sizes: AudioSizes, seed: Any, num_clips: int
) -> tuple[dict[str, tf.Tensor], Randomness]:
    audio.check(sizes)
    if num_clips < 1:
        raise ValueError(f"num_clips: given {num_clips}, wanted 1 or more")
    seed = tf.convert_to_tensor(seed)
    if seed.dtype != tf.int32 or seed.shape != (2,):
        raise ValueError(
            f"seed: given {seed.dtype.name} of shape {seed.shape}, wanted two int32"
        )
    wanted = audio.weights_of(sizes)
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
    return held, Randomness(seed, tf.constant(0))
