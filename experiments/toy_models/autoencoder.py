"""An autoencoder with relaxed discrete codes, in the shape of a VQ-VAE.

Convolutions down to a grid of codes, a codebook, and convolutions back up.  The codes
are relaxed, so its bits per dimension bound no likelihood: compare them with no other
model's.
"""

import math

import numpy as np
import tensorflow as tf

from experiments.training import prng
from experiments.training.checks import check_counts
from experiments.training.model import Model, Tensors, Weight
from experiments.training.prng import BatchRng

RULES = (  # DTensor has no convolution with a sharded filter
    (r".*filter", (None, None, None, None)),
    (r".*bias", (None,)),
    ("codes", (None, "model")),
    ("codebook", ("model", None)),
    ("log_scale", (None,)),
)
TEMPERATURE = 0.5  # of the relaxed codes: Jang, Gu and Poole (2017)


def vector_quantized(
    *, size: int, channels: int, num_codes: int, code_dim: int
) -> Model:
    """The model.  Batches are {"image": [batch, size, size, 3] int32 of 0 to 255}.

    The loss is the sum of two metrics: `pixels`, nats of the pixels given the codes,
    and `codes`, the KL divergence of the codes from uniform ones.

    Raises ValueError for sizes below 1, and for a `size` that does not divide by 4.
    """
    check_counts(size=size, channels=channels, num_codes=num_codes, code_dim=code_dim)
    if size % 4:
        raise ValueError(f"size: given {size}, wanted a multiple of 4")

    def loss(
        weights: Tensors, batch: Tensors, rng: BatchRng
    ) -> tuple[tf.Tensor, Tensors]:
        image = batch["image"]
        if image.shape[1:] != (size, size, 3):
            raise ValueError(
                f"image: given {image.shape[1:]}, wanted {(size, size, 3)}"
            )
        logits = _encode(weights, image)  # [batch, height, width, codes], float32
        uniform = prng.uniform(rng, "codes", tuple(logits.shape))
        noisy = (logits - tf.math.log(-tf.math.log(uniform))) / TEMPERATURE
        means = _decode(weights, tf.nn.softmax(noisy))
        log_scale = tf.cast(weights["log_scale"], tf.float32)
        pixels = _pixel_nats(image, means, log_scale)
        log_probs = tf.nn.log_softmax(logits)
        negative_entropy = tf.reduce_sum(tf.exp(log_probs) * log_probs, -1)
        divergence = tf.reduce_sum(negative_entropy + math.log(num_codes), (1, 2))
        return pixels + divergence, {"pixels": pixels, "codes": divergence}

    def filters(size: int, inward: int, outward: int, fan: int) -> Weight:
        return Weight((size, size, inward, outward), fan**-0.5)

    weights = {
        "down0/filter": filters(4, 3, channels, 16 * 3),
        "down0/bias": Weight((channels,)),
        "down1/filter": filters(4, channels, channels, 16 * channels),
        "down1/bias": Weight((channels,)),
        "codes": Weight((channels, num_codes), channels**-0.5),
        "codebook": Weight((num_codes, code_dim), 1.0),
        # Transposed filters are [height, width, out, in]; 4 of 16 taps reach a pixel.
        "up0/filter": filters(4, channels, code_dim, 4 * code_dim),
        "up0/bias": Weight((channels,)),
        "up1/filter": filters(4, 3, channels, 4 * channels),
        "up1/bias": Weight((3,)),
        "log_scale": Weight((3,), mean=-2.0),
    }
    sizes = f"{size}, {channels} channels, {num_codes} codes of {code_dim}"
    return Model(
        name=f"vector_quantized({sizes})",
        weights=weights,
        loss=loss,
        sharding_rules=RULES,
        dims_per_example=size * size * 3,
        flops_per_example=_flops(size, channels, num_codes, code_dim),
    )


def reconstruct(weights: Tensors, image: tf.Tensor) -> np.ndarray:
    """Pixel means, from 0 to 1, given the likeliest code of each position."""
    logits = _encode(weights, image)
    likeliest = tf.one_hot(tf.argmax(logits, -1), logits.shape[-1])
    return np.clip(_decode(weights, likeliest).numpy() / 2 + 0.5, 0, 1)


def _encode(weights: Tensors, image: tf.Tensor) -> tf.Tensor:
    """Logits of the codes: [batch, height, width, codes] float32."""
    x = tf.cast(tf.cast(image, tf.float32) / 127.5 - 1, weights["codes"].dtype)
    for name in ("down0", "down1"):
        x = tf.nn.conv2d(x, weights[f"{name}/filter"], 2, "SAME")
        x = tf.nn.relu(x + weights[f"{name}/bias"])
    return tf.cast(tf.einsum("bhwc,ck->bhwk", x, weights["codes"]), tf.float32)


def _decode(weights: Tensors, codes: tf.Tensor) -> tf.Tensor:
    """Pixel means, -1 to 1 for 0 to 255: [batch, height, width, 3] float32.

    codes: [batch, height, width, codes], one-hot or relaxed.
    """
    table = weights["codebook"]
    x = tf.einsum("bhwk,kd->bhwd", tf.cast(codes, table.dtype), table)
    for name in ("up0", "up1"):
        filters = weights[f"{name}/filter"]
        batch, height, width, _ = x.shape
        shape = (batch, 2 * height, 2 * width, filters.shape[2])
        x = tf.nn.conv2d_transpose(x, filters, shape, 2, "SAME")
        x = x + weights[f"{name}/bias"]
        x = tf.nn.relu(x) if name == "up0" else x
    return tf.cast(x, tf.float32)


def _pixel_nats(image: tf.Tensor, means: tf.Tensor, log_scale: tf.Tensor) -> tf.Tensor:
    """Nats [batch] of a discretised logistic distribution over 256 values.

    Kingma et al. (2016), Improving Variational Inference with Inverse Autoregressive
    Flow, appendix on the likelihood of pixels.
    """
    centre = tf.cast(image, tf.float32) / 127.5 - 1
    inverse = tf.exp(-log_scale)
    top = tf.cast(image == 255, tf.float32)
    bottom = tf.cast(image == 0, tf.float32)
    below_upper = tf.sigmoid((centre + 1 / 255 - means) * inverse) * (1 - top) + top
    below_lower = tf.sigmoid((centre - 1 / 255 - means) * inverse) * (1 - bottom)
    nats = -tf.math.log(tf.maximum(below_upper - below_lower, 1e-7))
    return tf.reduce_sum(nats, (1, 2, 3))


def _flops(size: int, channels: int, num_codes: int, code_dim: int) -> int:
    """Operations in convolutions and products: thrice those of the forward pass."""
    half, quarter = (size // 2) ** 2, (size // 4) ** 2
    forward = half * 16 * 3 * channels + quarter * 16 * channels**2  # multiply-adds
    forward += quarter * num_codes * (channels + code_dim)
    forward += quarter * 16 * code_dim * channels + half * 16 * channels * 3
    return 3 * 2 * forward
