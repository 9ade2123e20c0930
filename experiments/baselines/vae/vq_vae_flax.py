"""The vector-quantised autoencoder in JAX and Flax's linen, with Adam by Optax."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from experiments.baselines import linen
from experiments.baselines.image_transformer.flax import dmol_nats
from experiments.baselines.transformer_sizes import of_prior
from experiments.baselines.vae import vq_vae_tf as in_tensorflow
from experiments.baselines.vae.codebook import averaged
from experiments.bench.problems import AdamSettings, Draws, Training
from experiments.vq_vae import cosine_basis


def prepare(
    sizes: Any,
    codebook: Any,
    weights: Mapping[str, np.ndarray],
    state: Mapping[str, np.ndarray],
    adam: AdamSettings,
    draws: Draws,
) -> Training:
    """`vq_vae_tf.prepare` in Flax, with mixtures of logistics only.

    Raises ValueError when `check` refuses the sizes or the codebook.
    """
    check(sizes, codebook)
    encoder, decoder, prior = (
        module(sizes, codebook) for module in (Encoder, Decoder, Prior)
    )
    mixtures, dims = sizes.num_mixtures, sizes.size**2 * 3
    initial = in_tensorflow.initial_outputs(mixtures)

    def loss(params: Any, before: Any, image: Any, uniform: Any, chosen: Any) -> Any:
        table, batch, cosines = before["codes"], image.shape[0], params.get("cosines")
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
        pixels = dmol_nats(outputs, image)
        logits = prior.apply({"params": params["prior"]}, nearest)
        codes = optax.softmax_cross_entropy_with_integer_labels(logits, nearest)
        error = ((means - vectors) ** 2).mean()
        nats = (pixels + codes.sum(-1)).mean()
        counted, fixed = responsibilities.sum(0), jax.lax.stop_gradient(vectors)
        summed = responsibilities.T @ fixed
        after = averaged(jnp, codebook, before, counted, summed, fixed[chosen])
        return nats + dims * codebook.commitment_cost * error, after

    return linen.make_training(weights, path, adam, loss, state=state, draws=draws)


def sampled_responsibilities(squares: Any, uniform: Any) -> Any:
    """As `vq_vae_tf.sampled_responsibilities`."""
    below = jnp.cumsum(jax.nn.softmax(-squares), -1)
    below = below / below[:, -1:]
    drawn = (below[:, jnp.newaxis] <= uniform[..., jnp.newaxis]).sum(-1)
    rows = jnp.arange(squares.shape[0])[:, jnp.newaxis]
    return jnp.zeros_like(squares).at[rows, drawn].add(1 / uniform.shape[1])


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


def path(name: str) -> tuple[str, ...]:
    """Where linen keeps a weight, by the name that the compared systems share."""
    if name in ("cosines", "up"):
        return ("cosines",) if name == "cosines" else ("decoder", "up")
    if name.startswith("prior/"):
        return ("prior", *linen.path(name.removeprefix("prior/")))
    whole = "encoder" if name.startswith(("down", "encoded")) else "decoder"
    if "/" not in name:
        return (whole, *linen.path(name))
    *inside, last = name.split("/")
    return (whole, "_".join(inside), "kernel" if last == "filter" else "bias")


class Encoder(nn.Module):
    """[batch, size, size, 3] int32 to [vectors, dim]."""

    sizes: Any
    codebook: Any

    @nn.compact
    def __call__(self, image: Any, cosines: Any) -> Any:
        """cosines: the shortcuts' weights, [frequencies, dim]; None without them."""
        sizes, dim = self.sizes, self.codebook.code_dim
        pixels = x = image.astype(jnp.float32) / 127.5 - 1
        for number, stride in enumerate(sizes.strides):
            x = nn.relu(x) if number else x
            kernel, strides = (sizes.kernel_size,) * 2, (stride,) * 2
            x = nn.Conv(sizes.channels, kernel, strides, name=f"down{number}")(x)
            x = residuals(sizes, f"down{number}", x)
        x = x.reshape(-1, sizes.channels)
        x = nn.Dense(sizes.codes_per_position * dim, name="encoded")(x)
        x = x.reshape(-1, dim)
        if sizes.shortcuts:
            place = math.prod(sizes.strides)  # pixels of its side
            side = sizes.size // place
            analysis, _ = cosine_basis.transforms(place, sizes.codes_per_position)
            patches = pixels.reshape(-1, side, place, side, place, 3)
            patches = patches.transpose(0, 1, 3, 2, 4, 5)
            own = patches.reshape(-1, place * place * 3) @ np.concatenate(analysis, 1)
            x += own.reshape(-1, analysis.shape[2]) @ cosines
        return x


class Decoder(nn.Module):
    """[vectors, dim] to [batch, size, size, outputs]."""

    sizes: Any
    codebook: Any

    @nn.compact
    def __call__(self, vectors: Any, cosines: Any) -> Any:
        """cosines: as the encoder's."""
        sizes, dim = self.sizes, self.codebook.code_dim
        place, outputs = math.prod(sizes.strides), 10 * sizes.num_mixtures
        side = sizes.size // place
        x = vectors.reshape(-1, sizes.codes_per_position * dim)
        before = x = nn.Dense(sizes.channels, name="decoded")(x)
        x = x.reshape(-1, side, side, sizes.channels)
        for number in reversed(range(len(sizes.strides))):
            x = nn.relu(residuals(sizes, f"up{number}", x))
            x = nn.ConvTranspose(
                sizes.channels if number else outputs,
                (sizes.kernel_size,) * 2,
                (sizes.strides[number],) * 2,
                transpose_kernel=True,
                name=f"up{number}",
            )(x)
        if not sizes.shortcuts:
            return x
        normal = nn.initializers.normal(sizes.channels**-0.5)
        up = self.param("up", normal, (sizes.channels, place**2 * outputs))
        x += whole(sizes, before @ up)
        _, synthesis = cosine_basis.transforms(place, sizes.codes_per_position)
        own = vectors @ cosines.T / dim
        own = own.reshape(-1, sizes.codes_per_position * own.shape[-1])
        pixels = whole(sizes, own @ synthesis.reshape(-1, synthesis.shape[-1]))
        return x + pixels @ in_tensorflow.as_means(sizes)


class Prior(nn.Module):
    """[batch, codes] int32 to logits [batch, codes, values]."""

    sizes: Any
    codebook: Any

    @nn.compact
    def __call__(self, codes: Any) -> Any:
        prior, num_codes = of_prior(self.sizes), self.codebook.num_codes
        per_position = self.sizes.codes_per_position
        rows = codes + num_codes * (jnp.arange(codes.shape[1]) % per_position)
        embed = nn.Embed(per_position * num_codes, prior.hidden, name="embedding")
        x = embed(rows[:, :-1]) * math.sqrt(prior.hidden)
        x = linen.layers(self, x, prior, linen.attend_at_once)
        return nn.Dense(num_codes, name="outputs")(x)


def residuals(sizes: Any, name: str, x: Any) -> Any:
    """The residual layers after a convolution, in the module that calls this."""
    for number in range(sizes.residual_layers[int(name[-1])]):
        own = f"{name}_residual{number}"
        y = nn.Conv(sizes.channels, (3, 3), name=f"{own}_first")(nn.relu(x))
        x = x + nn.Conv(sizes.channels, (1, 1), name=f"{own}_second")(nn.relu(y))
    return x


def whole(sizes: Any, x: Any) -> Any:
    """Patches laid out as images: [batch, size, size, numbers of a pixel]."""
    place = math.prod(sizes.strides)
    side = sizes.size // place
    x = x.reshape(-1, side, side, place, place, x.shape[-1] // place**2)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(x.shape[0], sizes.size, sizes.size, -1)
