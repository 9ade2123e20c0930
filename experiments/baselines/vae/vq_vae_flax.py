"""The vector-quantised autoencoder in JAX and Flax's linen, with Adam by Optax."""

import importlib.util
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.baselines.vae import vq_vae_tf as in_tensorflow
from experiments.baselines.vae.draws import Draws, step_with_draws
from experiments.bench.problems import AdamSettings, Training, Unavailable
from experiments.vq_vae import cosine_basis

NOTE = (
    "linen modules, optax.adam, one jitted step that donates its buffers; its uniform "
    "draws are made before the clock runs"
)
MASKED = -1e9


def prepare(
    sizes: Any,
    codebook: Any,
    weights: Mapping[str, np.ndarray],
    state: Mapping[str, np.ndarray],
    adam: AdamSettings,
    draws: Draws,
) -> Training:
    """`vq_vae_tf.prepare` in Flax, with mixtures of logistics only.

    Raises:
      Unavailable: Flax is not installed.
      ValueError: `check` refuses the sizes or the codebook.
    """
    if importlib.util.find_spec("flax") is None:
        raise Unavailable("not installed: pip install flax (make peers)")
    import functools

    import jax
    import jax.numpy as jnp
    import optax
    from flax import traverse_util

    from experiments.baselines.image_transformer import flax as transformer

    check(sizes, codebook)
    encoder, decoder, prior = _modules(sizes, codebook)
    optimizer = optax.adam(adam.rate, b1=adam.beta1, b2=adam.beta2, eps=adam.epsilon)
    params = traverse_util.unflatten_dict(
        {_path(name): jnp.asarray(array) for name, array in weights.items()}
    )
    variables = {name: jnp.asarray(array) for name, array in state.items()}
    training_state = (params, optimizer.init(params), variables)
    mixtures, dims = sizes.num_mixtures, sizes.size**2 * 3
    initial = in_tensorflow.initial_outputs(mixtures)

    @functools.partial(jax.jit, donate_argnums=0)
    def update(training_state: Any, image: Any, uniform: Any, chosen: Any) -> Any:
        params, moments, variables = training_state
        table, batch = variables["codes"], image.shape[0]

        def loss(params: Any) -> Any:
            cosines = params.get("cosines")
            vectors = encoder.apply({"params": params["encoder"]}, image, cosines)
            squares = (vectors**2).sum(-1, keepdims=True) + (table**2).sum(-1)
            squares = squares - 2 * vectors @ table.T
            nearest = squares.argmin(-1).reshape(batch, -1)
            responsibilities = jax.lax.stop_gradient(
                sampled_responsibilities(squares, uniform)
            )
            means = responsibilities @ table
            quantised = vectors + jax.lax.stop_gradient(means - vectors)
            outputs = decoder.apply({"params": params["decoder"]}, quantised, cosines)
            outputs = outputs.reshape(batch, -1, 10 * mixtures) + initial
            pixels = transformer._dmol_nats(outputs, image)
            logits = prior.apply({"params": params["prior"]}, nearest)
            codes = optax.softmax_cross_entropy_with_integer_labels(logits, nearest)
            error = ((means - vectors) ** 2).mean()
            nats = (pixels + codes.sum(-1)).mean()
            return nats + dims * codebook.commitment_cost * error, (
                vectors,
                responsibilities,
            )

        (value, statistics), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        changes, moments = optimizer.update(gradients, moments)
        after = averaged(variables, *statistics, chosen)
        return (optax.apply_updates(params, changes), moments, after), value

    def sampled_responsibilities(squares: Any, uniform: Any) -> Any:
        below = jnp.cumsum(jax.nn.softmax(-squares), -1)
        below = below / below[:, -1:]
        drawn = (below[:, jnp.newaxis] <= uniform[..., jnp.newaxis]).sum(-1)
        rows = jnp.arange(squares.shape[0])[:, jnp.newaxis]
        return jnp.zeros_like(squares).at[rows, drawn].add(1 / uniform.shape[1])

    def averaged(before: Any, vectors: Any, responsibilities: Any, chosen: Any) -> Any:
        steps, counted = before["steps"], responsibilities.sum(0)
        forget, patience = in_tensorflow.USAGE_DECAY, in_tensorflow.PATIENCE
        decay = jnp.minimum(codebook.decay, (1 + steps) / (10 + steps))
        counts = decay * before["counts"] + (1 - decay) * counted
        sums = decay * before["sums"] + (1 - decay) * responsibilities.T @ vectors
        total = counts.sum()
        smoothed = (
            (counts + codebook.epsilon)
            / (total + codebook.num_codes * codebook.epsilon)
            * total
        )
        usage = forget * before["usage"]
        usage = usage + (1 - forget) * counted / counted.sum()
        usage = jnp.where(steps < 1, 0.0, usage)
        idle = (usage < codebook.restart_threshold / codebook.num_codes) & (
            before["age"] >= patience
        )
        dead = idle | (steps < 1)
        new, row = vectors[chosen], dead[:, jnp.newaxis]
        return {
            "codes": jnp.where(row, new, sums / smoothed[:, jnp.newaxis]),
            "counts": jnp.where(dead, total / codebook.num_codes, counts),
            "sums": jnp.where(row, new * (total / codebook.num_codes), sums),
            "usage": usage,
            "age": jnp.where(dead, 0.0, before["age"] + 1),
            "steps": steps + 1,
        }

    def step(image: np.ndarray, uniform: np.ndarray, chosen: np.ndarray) -> Any:
        nonlocal training_state
        training_state, value = update(training_state, image, uniform, chosen)
        return value

    def read() -> dict[str, np.ndarray]:
        flat = traverse_util.flatten_dict(training_state[0])
        weights_now = {name: np.asarray(flat[_path(name)]) for name in weights}
        return weights_now | {
            name: np.asarray(v) for name, v in training_state[2].items()
        }

    return Training(step=step_with_draws(step, draws), weights=read)


def check(sizes: Any, codebook: Any) -> None:
    """Raises ValueError for what is not implemented here.

    That is all but soft EM, mixtures, and a prior that trains from the first step and
    has two blocks or more.
    """
    in_tensorflow.check(sizes, codebook)
    if sizes.likelihood != "dmol" or sizes.prior_start:
        raise ValueError(
            f"sizes: given {sizes.likelihood!r} and a prior from step "
            f"{sizes.prior_start}, wanted 'dmol' and 0"
        )


def _path(name: str) -> tuple[str, ...]:
    """The path in linen's parameters of a weight that all systems know by this name."""
    if name in ("cosines", "up"):
        return ("cosines",) if name == "cosines" else ("decoder", "up")
    if name.startswith("prior/"):
        *inside, last = name.removeprefix("prior/").split("/")
        if last in ("row", "column"):
            return ("prior", last)
        if last == "embedding":
            return ("prior", "embedding", "embedding")
        if last in ("scale", "bias"):  # of a normalisation
            return ("prior", inside[0], f"after_{inside[1]}", last)
        kind = "bias" if last.endswith("_bias") else "kernel"
        return ("prior", *inside, last.removesuffix("_bias"), kind)
    if name in ("encoded", "encoded_bias", "decoded", "decoded_bias"):
        dense = name.removesuffix("_bias")
        kind = "bias" if name.endswith("_bias") else "kernel"
        return ("encoder" if dense == "encoded" else "decoder", dense, kind)
    whole = "encoder" if name.startswith("down") else "decoder"
    *inside, last = name.split("/")
    return (whole, "_".join(inside), "kernel" if last == "filter" else "bias")


def _modules(sizes: Any, codebook: Any) -> tuple[Any, Any, Any]:
    """Images to vectors; vectors to outputs; codes [batch, codes] to their logits."""
    import jax
    import jax.numpy as jnp
    from flax import linen as nn

    place = math.prod(sizes.strides)  # pixels of its side
    side = sizes.size // place
    if sizes.shortcuts:
        analysis, synthesis = cosine_basis.transforms(place, sizes.codes_per_position)

    def whole(x: Any) -> Any:
        """Patches laid out as images: [batch, size, size, numbers of a pixel]."""
        x = x.reshape(-1, side, side, place, place, x.size // x.shape[0] // place**2)
        x = x.transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(x.shape[0], sizes.size, sizes.size, -1)

    def residuals(name: str, x: Any) -> Any:
        for number in range(sizes.residual_layers[int(name[-1])]):
            own = f"{name}_residual{number}"
            y = nn.Conv(sizes.channels, (3, 3), name=f"{own}_first")(nn.relu(x))
            x = x + nn.Conv(sizes.channels, (1, 1), name=f"{own}_second")(nn.relu(y))
        return x

    class Encoder(nn.Module):
        """[batch, size, size, 3] int32 to [vectors, dim].

        cosines: the shortcuts' weights, [frequencies, dim]; None without them.
        """

        @nn.compact
        def __call__(self, image: Any, cosines: Any) -> Any:
            pixels = x = image.astype(jnp.float32) / 127.5 - 1
            for number, stride in enumerate(sizes.strides):
                x = nn.relu(x) if number else x
                kernel, strides = (sizes.kernel_size,) * 2, (stride,) * 2
                name = f"down{number}"
                x = nn.Conv(sizes.channels, kernel, strides, name=name)(x)
                x = residuals(name, x)
            x = x.reshape(-1, sizes.channels)
            x = nn.Dense(sizes.codes_per_position * codebook.code_dim, name="encoded")(
                x
            )
            x = x.reshape(-1, codebook.code_dim)
            if sizes.shortcuts:
                patches = pixels.reshape(-1, side, place, side, place, 3)
                patches = patches.transpose(0, 1, 3, 2, 4, 5)
                patches = patches.reshape(-1, place * place * 3)
                own = patches @ np.concatenate(analysis, 1)
                x += own.reshape(-1, analysis.shape[2]) @ cosines
            return x

    class Decoder(nn.Module):
        """[vectors, dim] to [batch, size, size, outputs].

        cosines: as the encoder's.
        """

        @nn.compact
        def __call__(self, vectors: Any, cosines: Any) -> Any:
            x = vectors.reshape(-1, sizes.codes_per_position * codebook.code_dim)
            before = x = nn.Dense(sizes.channels, name="decoded")(x)
            x = x.reshape(-1, side, side, sizes.channels)
            for number in reversed(range(len(sizes.strides))):
                name = f"up{number}"
                x = nn.relu(residuals(name, x))
                x = nn.ConvTranspose(
                    sizes.channels if number else 10 * sizes.num_mixtures,
                    (sizes.kernel_size,) * 2,
                    (sizes.strides[number],) * 2,
                    transpose_kernel=True,
                    name=name,
                )(x)
            if not sizes.shortcuts:
                return x
            normal = nn.initializers.normal(sizes.channels**-0.5)
            outward = place**2 * 10 * sizes.num_mixtures
            x += whole(before @ self.param("up", normal, (sizes.channels, outward)))
            own = vectors @ cosines.T / codebook.code_dim
            own = own.reshape(-1, sizes.codes_per_position * own.shape[-1])
            pixels = whole(own @ synthesis.reshape(-1, synthesis.shape[-1]))
            return x + pixels @ in_tensorflow.as_means(sizes)

    size, heads = sizes.prior_block, sizes.prior_heads
    length, width = side * side * sizes.codes_per_position, sizes.prior_hidden // 2
    filled = -(-length // size) * size
    own = np.triu(np.full((size, size), MASKED, np.float32), 1)
    bias = np.concatenate([np.zeros_like(own), own], 1)
    first = np.where(np.arange(2 * size) < size, np.float32(MASKED), 0)
    first = np.concatenate(
        [first[np.newaxis], np.zeros((filled // size - 1, 2 * size), np.float32)]
    )[:, np.newaxis, np.newaxis]  # [blocks, 1, 1, 2 size]

    def attend(query: Any, key: Any, value: Any) -> Any:
        """Local attention of all heads: [batch, positions, width]."""

        def split(y: Any) -> Any:  # [batch, blocks, heads, size, depth]
            y = y.reshape(y.shape[0], -1, size, heads, width // heads)
            return y.transpose(0, 1, 3, 2, 4)

        def with_previous(y: Any) -> Any:
            before = jnp.pad(y[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0)))
            return jnp.concatenate([before, y], 3)

        query = split(query) * (width // heads) ** -0.5
        key, value = with_previous(split(key)), with_previous(split(value))
        scores = query @ key.swapaxes(-1, -2) + bias + first
        attended = (jax.nn.softmax(scores) @ value).transpose(0, 1, 3, 2, 4)
        return attended.reshape(attended.shape[0], filled, width)

    class Layer(nn.Module):
        """Attention and two dense layers: [batch, positions, hidden] to the same."""

        @nn.compact
        def __call__(self, x: Any) -> Any:
            query, key, value = (
                nn.Dense(width, use_bias=False, name=name)(x)
                for name in ("query", "key", "value")
            )
            attended = attend(query, key, value)
            x += nn.Dense(sizes.prior_hidden, use_bias=False, name="out")(attended)
            x = nn.LayerNorm(epsilon=1e-6, name="after_attention")(x)
            inner = nn.relu(nn.Dense(sizes.prior_filter_size, name="filter_in")(x))
            x += nn.Dense(sizes.prior_hidden, name="filter_out")(inner)
            return nn.LayerNorm(epsilon=1e-6, name="after_filter")(x)

    class Prior(nn.Module):
        """[batch, codes] int32 to logits [batch, codes, values]."""

        @nn.compact
        def __call__(self, codes: Any) -> Any:
            hidden, root = sizes.prior_hidden, math.sqrt(sizes.prior_hidden)
            rows = codes + codebook.num_codes * (
                jnp.arange(length) % sizes.codes_per_position
            )
            embed = nn.Embed(
                sizes.codes_per_position * codebook.num_codes, hidden, name="embedding"
            )
            x = jnp.pad(embed(rows[:, :-1]) * root, ((0, 0), (1, 0), (0, 0)))
            normal = nn.initializers.normal(1 / root)
            row = self.param("row", normal, (side, hidden))
            column = self.param(
                "column", normal, (side * sizes.codes_per_position, hidden)
            )
            x += root * (row[:, np.newaxis] + column).reshape(-1, hidden)
            x = jnp.pad(x, ((0, 0), (0, filled - length), (0, 0)))
            for number in range(sizes.prior_layers):
                x = Layer(name=f"layer{number}")(x)
            return nn.Dense(codebook.num_codes, name="outputs")(x[:, :length])

    return Encoder(), Decoder(), Prior()
