"""The vector-quantised autoencoder written by hand in TensorFlow.

Plain operations and autodiff; the codebook's averages are assignments to variables.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.baselines.adam_tf import fused_adam
from experiments.baselines.image_transformer import handwritten_tf as transformer
from experiments.bench.problems import AdamSettings, Training
from experiments.vq_vae import cosine_basis

NOTE = (
    "plain operations and autodiff, averages assigned by hand; Adam by TensorFlow's "
    "fused kernel; its uniform draws are made before the clock runs"
)
USAGE_DECAY, PATIENCE = 0.99, 100  # of what says that a code is dead
FIRST_LOG_SCALE, FIRST_COEFFICIENTS = -3.0, (2.0, 0.0, 2.0)  # of mixtures, at first

Draws = Callable[[int], Mapping[str, np.ndarray]]


def prepare(
    sizes: Any,
    codebook: Any,
    weights: Mapping[str, np.ndarray],
    state: Mapping[str, np.ndarray],
    adam: AdamSettings,
    draws: Draws,
) -> Training:
    """The training of `vq_vae.Sizes` and `vq_vae.Codebook`, from these values.

    draws: of a step's number, what is drawn in it: `uniform` [vectors, samples] float32
      for the codes, and `chosen` [codes] int32, the vectors that codes begin anew from.

    Raises ValueError for what it cannot: it has soft EM, and a prior of two blocks or
    more.
    """
    check(sizes, codebook)
    w = {name: tf.Variable(array) for name, array in weights.items()}
    held = {name: tf.Variable(array) for name, array in state.items()}
    update = fused_adam(w, adam)

    @tf.function
    def step(image: tf.Tensor, uniform: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        before = {name: v.read_value() for name, v in held.items()}
        with tf.GradientTape() as tape:
            loss, found = loss_of(w, before, sizes, codebook, image, uniform)
        gradients = tape.gradient(loss, w, unconnected_gradients="zero")
        update(gradients)
        for name, value in averaged(codebook, before, *found, chosen).items():
            held[name].assign(value)
        return loss

    taken = 0

    def take(image: np.ndarray) -> float:
        nonlocal taken
        drawn = draws(taken)
        taken += 1
        return float(
            step(*map(tf.constant, (image, drawn["uniform"], drawn["chosen"])))
        )

    def values() -> dict[str, np.ndarray]:
        return {name: v.numpy() for name, v in (w | held).items()}

    return Training(step=take, weights=values)


def loss_of(
    w: Mapping[str, Any],
    state: Mapping[str, tf.Tensor],
    sizes: Any,
    codebook: Any,
    image: tf.Tensor,
    uniform: tf.Tensor,
) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
    """The mean nats of an image, and the vectors and shares that they are made of.

    image: [batch, size, size, 3] int32; uniform: [vectors, samples].
    """
    table, batch, dims = state["codes"], image.shape[0], sizes.size**2 * 3
    vectors = encoded(w, sizes, image)  # [vectors, depth]
    squares = (
        tf.reduce_sum(vectors**2, -1, keepdims=True)
        + tf.reduce_sum(table**2, -1)
        - 2 * tf.matmul(vectors, table, transpose_b=True)
    )
    nearest = tf.argmin(squares, -1, output_type=tf.int32)
    shares = sampled_responsibilities(squares, uniform)
    means = tf.stop_gradient(shares @ table)
    quantised = vectors + tf.stop_gradient(means - vectors)
    codes = tf.reshape(nearest, (batch, -1))
    pixels = pixel_nats(sizes, decoded(w, sizes, quantised, batch), image)
    code_nats = tf.cond(
        state["steps"] >= sizes.prior_start,
        lambda: prior_nats(w, sizes, codebook, codes),
        lambda: tf.fill((batch,), codes.shape[1] * math.log(codebook.num_codes)),
    )
    apart = tf.reduce_mean((means - vectors) ** 2)
    loss = tf.reduce_mean(pixels + code_nats) + dims * codebook.commitment_cost * apart
    return loss, (vectors, shares)


def check(sizes: Any, codebook: Any) -> None:
    """Raises ValueError as `prepare` does."""
    if codebook.num_samples < 1:
        raise ValueError(
            f"num_samples: given {codebook.num_samples}, wanted 1 or more: soft EM"
        )
    side = sizes.size // math.prod(sizes.strides)
    codes = side * side * sizes.codes_per_position
    if codes < 2 * sizes.prior_block:
        raise ValueError(
            f"prior_block: given {sizes.prior_block}, wanted two blocks or more of the "
            f"{codes} codes"
        )


def encoded(w: Mapping[str, Any], sizes: Any, image: tf.Tensor) -> tf.Tensor:
    """What is to be quantised: [vectors, depth].  image: [batch, size, size, 3]."""
    x = tf.cast(image, tf.float32) / 127.5 - 1
    for number, stride in enumerate(sizes.strides):
        x = tf.nn.relu(x) if number else x
        x = tf.nn.conv2d(x, w[f"down{number}/filter"], stride, "SAME")
        x = tf.nn.bias_add(x, w[f"down{number}/bias"])
        x = residuals(w, sizes, f"down{number}", x)
    x = tf.reshape(x, (-1, sizes.channels))
    x = tf.nn.bias_add(x @ w["encoded"], w["encoded_bias"])
    x = tf.reshape(x, (-1, x.shape[-1] // sizes.codes_per_position))
    if sizes.shortcuts:
        side = math.prod(sizes.strides)
        apart, _ = cosine_basis.transforms(
            side, sizes.codes_per_position
        )  # [slots, pixels, frequencies]
        patches = tf.nn.space_to_depth(tf.cast(image, tf.float32) / 127.5 - 1, side)
        patches = tf.reshape(patches, (-1, apart.shape[1]))
        own = tf.reshape(patches @ np.concatenate(apart, 1), (-1, apart.shape[2]))
        x += own @ w["cosines"]
    return x


def decoded(
    w: Mapping[str, Any], sizes: Any, vectors: tf.Tensor, batch: int
) -> tf.Tensor:
    """What pixels are drawn by: [batch, size, size, outputs].

    vectors: [vectors, depth], of all of the batch.
    """
    x = tf.reshape(vectors, (-1, sizes.codes_per_position * vectors.shape[-1]))
    first = x = tf.nn.bias_add(x @ w["decoded"], w["decoded_bias"])
    side = sizes.size // math.prod(sizes.strides)
    x = tf.reshape(x, (batch, side, side, sizes.channels))
    for number in reversed(range(len(sizes.strides))):
        name, stride = f"up{number}", sizes.strides[number]
        x = tf.nn.relu(residuals(w, sizes, name, x))
        filters, side = w[f"{name}/filter"], side * stride
        shape = (batch, side, side, filters.shape[2])
        x = tf.nn.conv2d_transpose(x, filters, shape, stride, "SAME")
        x = tf.nn.bias_add(x, w[f"{name}/bias"])
    if sizes.shortcuts:
        x += patched(sizes, first @ w["up"], batch)
        if sizes.likelihood == "dmol":
            _, together = cosine_basis.transforms(
                math.prod(sizes.strides), sizes.codes_per_position
            )
            own = vectors @ tf.transpose(w["cosines"]) / vectors.shape[-1]
            pixels = tf.reshape(own, (-1, together[:, :, 0].size))
            pixels @= together.reshape(-1, together.shape[-1])
            x += patched(sizes, pixels, batch) @ as_means(sizes)
    return x


def patched(sizes: Any, x: tf.Tensor, batch: int) -> tf.Tensor:
    """Of places, their pixels: [batch, size, size, numbers of a pixel]."""
    stride = math.prod(sizes.strides)
    side = sizes.size // stride
    return tf.nn.depth_to_space(tf.reshape(x, (batch, side, side, -1)), stride)


def as_means(sizes: Any) -> np.ndarray:
    """Puts pixels where a mixture has its means: [3, outputs].

    Less what the first coefficients have one channel move the next by.
    """
    of_red, of_both, by_green = np.tanh(FIRST_COEFFICIENTS)
    own = [[1, -of_red, -of_both], [0, 1, -by_green], [0, 0, 1]]
    means = np.repeat(np.array(own, np.float32), sizes.num_mixtures, 1)
    before, after = np.zeros((2, 3, 6 * sizes.num_mixtures), np.float32)
    before = before[:, : sizes.num_mixtures]
    return np.concatenate([before, means, after], 1)


def residuals(w: Mapping[str, Any], sizes: Any, name: str, x: tf.Tensor) -> tf.Tensor:
    """Two convolutions, added, as often as the layer has it.

    x: [batch, rows, columns, channels], as is what comes back.
    """
    for number in range(sizes.residual_layers[int(name[-1])]):
        own = f"{name}/residual{number}"
        y = tf.nn.conv2d(tf.nn.relu(x), w[f"{own}/first/filter"], 1, "SAME")
        y = tf.nn.relu(tf.nn.bias_add(y, w[f"{own}/first/bias"]))
        y = tf.nn.conv2d(y, w[f"{own}/second/filter"], 1, "SAME")
        x = x + tf.nn.bias_add(y, w[f"{own}/second/bias"])
    return x


def sampled_responsibilities(squares: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """The share of each code in draws with odds exp(-distance): [vectors, codes].

    squares: [vectors, codes]; uniform: [vectors, samples].
    """
    vectors, samples = uniform.shape
    below = tf.cumsum(tf.nn.softmax(-squares), -1)
    drawn = tf.searchsorted(below / below[:, -1:], uniform, side="right")
    rows = tf.repeat(tf.range(vectors), samples)
    places = tf.stack([rows, tf.reshape(drawn, (-1,))], -1)
    ones = tf.fill((vectors * samples,), 1 / samples)
    return tf.scatter_nd(places, ones, squares.shape)


def averaged(
    codebook: Any,
    before: Mapping[str, tf.Tensor],
    vectors: tf.Tensor,
    shares: tf.Tensor,
    chosen: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """The codebook after a step: averages that forget, and codes begun anew.

    vectors: [vectors, depth]; shares: [vectors, codes]; chosen: [codes].
    """
    steps = before["steps"]
    decay = tf.minimum(codebook.decay, (1 + steps) / (10 + steps))
    found = tf.reduce_sum(shares, 0)
    counts = decay * before["counts"] + (1 - decay) * found
    made = tf.matmul(shares, vectors, transpose_a=True)
    sums = decay * before["sums"] + (1 - decay) * made
    total = tf.reduce_sum(counts)
    smoothed = (
        (counts + codebook.epsilon)
        / (total + codebook.num_codes * codebook.epsilon)
        * total
    )
    usage = USAGE_DECAY * before["usage"]
    usage += (1 - USAGE_DECAY) * found / tf.reduce_sum(found)
    usage = tf.where(steps < 1, tf.zeros_like(usage), usage)
    idle = (usage < codebook.restart_threshold / codebook.num_codes) & (
        before["age"] >= PATIENCE
    )
    dead = idle | (steps < 1)
    new, row = tf.gather(vectors, chosen), dead[:, tf.newaxis]
    return {
        "codes": tf.where(row, new, sums / smoothed[:, tf.newaxis]),
        "counts": tf.where(dead, total / codebook.num_codes, counts),
        "sums": tf.where(row, new * (total / codebook.num_codes), sums),
        "usage": usage,
        "age": tf.where(dead, 0.0, before["age"] + 1),
        "steps": steps + 1,
    }


def pixel_nats(sizes: Any, outputs: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """Of each image: [batch].  outputs: [batch, size, size, outputs]."""
    batch, places = image.shape[0], sizes.size**2
    if sizes.likelihood == "categorical":
        logits = tf.reshape(outputs, (batch, places * 3, sizes.num_values))
        return transformer.categorical_nats(logits, image)
    mixtures = sizes.num_mixtures
    first = np.concatenate(
        [
            np.zeros(4 * mixtures),
            np.full(3 * mixtures, FIRST_LOG_SCALE),
            np.repeat(FIRST_COEFFICIENTS, mixtures),
        ]
    ).astype(np.float32)
    outputs = tf.reshape(outputs + first, (batch, places, 10 * mixtures))
    return transformer.dmol_nats(outputs, image)


def prior_nats(
    w: Mapping[str, Any], sizes: Any, codebook: Any, codes: tf.Tensor
) -> tf.Tensor:
    """Of each image's codes, [batch], by an Image Transformer over them.

    codes: [batch, codes of an image].
    """
    own = {
        name.removeprefix("prior/"): v
        for name, v in w.items()
        if name.startswith("prior/")
    }
    layers = _PriorSizes(sizes)
    length, root = codes.shape[1], math.sqrt(layers.hidden)
    rows = codes + codebook.num_codes * (
        np.arange(length, dtype=np.int32) % sizes.codes_per_position
    )
    x = tf.gather(own["embedding"], rows[:, :-1]) * root
    x = tf.pad(x, [[0, 0], [1, 0], [0, 0]])
    signal = own["row"][:, tf.newaxis] + own["column"]
    x += root * tf.reshape(signal, (length, layers.hidden))
    # Whole blocks; what fills them up comes last, where no code sees it.
    x = tf.pad(x, [[0, 0], [0, -length % layers.block], [0, 0]])
    dense = transformer.dense
    later = np.triu(np.full((layers.block,) * 2, transformer.MASKED, np.float32), 1)
    bias = np.concatenate([np.zeros_like(later), later], 1)
    for number in range(sizes.prior_layers):
        head = f"layer{number}/"
        of = {n.removeprefix(head): v for n, v in own.items() if n.startswith(head)}
        query, key, value = (dense(x, of[n]) for n in ("query", "key", "value"))
        found = dense(transformer.attention(layers, query, key, value, bias), of["out"])
        x = transformer.layer_norm(
            x + found, of["attention/scale"], of["attention/bias"]
        )
        inner = tf.nn.relu(dense(x, of["filter_in"], of["filter_in_bias"]))
        found = dense(inner, of["filter_out"], of["filter_out_bias"])
        x = transformer.layer_norm(x + found, of["filter/scale"], of["filter/bias"])
    logits = dense(x[:, :length], own["outputs"], own["outputs_bias"])
    return transformer.categorical_nats(logits, codes)


class _PriorSizes:
    """What `handwritten_tf.attention` asks of sizes."""

    def __init__(self, sizes: Any) -> None:
        self.heads, self.hidden = sizes.prior_heads, sizes.prior_hidden
        self.block = sizes.prior_block
        self.key_size = self.value_size = sizes.prior_hidden // 2
