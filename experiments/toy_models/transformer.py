"""A causal transformer on tokens, with the layers of an Image Transformer.

It runs on any mesh: for DTensor, the embedding is a product with one-hot rows, einsums
are over whole heads, and the mask is a constant (DTensor has no tf.linalg.band_part).
"""

import math

import numpy as np
import tensorflow as tf

from experiments.training import prng
from experiments.training.checks import check_counts, check_number
from experiments.training.model import Model, Tensors, Weight
from experiments.training.prng import BatchRng

RULES = (  # heads, filter and vocabulary are sharded over `model`
    ("embedding", ("model", None)),
    ("position", (None, None)),
    (r"layer\d+/(query|key|value)", (None, "model", None)),
    (r"layer\d+/out", ("model", None, None)),
    (r"layer\d+/filter_in", (None, "model")),
    (r"layer\d+/filter_bias", ("model",)),
    (r"layer\d+/filter_out", ("model", None)),
    (r".*/(scale|bias)", (None,)),
)


def transformer(
    *,
    vocabulary: int,
    length: int,
    hidden: int,
    heads: int,
    filter_size: int,
    layers: int,
    dropout: float = 0.1,
) -> Model:
    """The decoder of Vaswani et al. (2017) with pre-layer normalisation.

    Batches are {"tokens": [batch, length] int32}.  The loss is the nats of all of an
    example's tokens, each given those before it.

    Raises ValueError for sizes below 1, for `hidden` that does not divide by `heads`,
    and for a dropout rate outside [0, 1).
    """
    check_counts(
        vocabulary=vocabulary,
        length=length,
        hidden=hidden,
        heads=heads,
        filter_size=filter_size,
        layers=layers,
    )
    check_number("dropout", dropout, at_least=0, below=1)
    if hidden % heads:
        raise ValueError(
            f"hidden: given {hidden}, wanted a multiple of the {heads} heads"
        )
    depth = hidden // heads

    def loss(
        weights: Tensors, batch: Tensors, rng: BatchRng
    ) -> tuple[tf.Tensor, Tensors]:
        tokens = batch["tokens"]  # [batch, positions]
        if tokens.shape[1] != length:
            raise ValueError(f"tokens: given {tokens.shape[1]} a line, wanted {length}")
        table = weights["embedding"]
        x = tf.einsum(
            "bpv,vh->bph", tf.one_hot(tokens, vocabulary, dtype=table.dtype), table
        )
        x = tf.pad(
            x[:, :-1], [[0, 0], [1, 0], [0, 0]]
        )  # each sees the tokens before it
        x = x * math.sqrt(hidden) + weights["position"]
        x = prng.dropout(rng, "embedding", x, dropout)
        for index in range(layers):
            x = _layer(weights, x, f"layer{index}", rng, dropout)
        x = _normalised(weights, x, "final")
        logits = tf.cast(tf.einsum("bph,vh->bpv", x, table), tf.float32)
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(tokens, logits)
        return tf.reduce_sum(nats, 1), {}

    weights = {
        "embedding": Weight((vocabulary, hidden), hidden**-0.5),
        "position": Weight((length, hidden), 0.02),
    }
    for index in range(layers):
        name = f"layer{index}"
        weights |= {
            f"{name}/attention/scale": Weight((hidden,), mean=1.0),
            f"{name}/attention/bias": Weight((hidden,)),
            f"{name}/query": Weight((hidden, heads, depth), hidden**-0.5),
            f"{name}/key": Weight((hidden, heads, depth), hidden**-0.5),
            f"{name}/value": Weight((hidden, heads, depth), hidden**-0.5),
            f"{name}/out": Weight((heads, depth, hidden), hidden**-0.5),
            f"{name}/filter/scale": Weight((hidden,), mean=1.0),
            f"{name}/filter/bias": Weight((hidden,)),
            f"{name}/filter_in": Weight((hidden, filter_size), hidden**-0.5),
            f"{name}/filter_bias": Weight((filter_size,)),
            f"{name}/filter_out": Weight((filter_size, hidden), filter_size**-0.5),
        }
    weights |= {
        "final/scale": Weight((hidden,), mean=1.0),
        "final/bias": Weight((hidden,)),
    }
    sizes = f"{vocabulary}x{length}, {layers} layers of {hidden}/{heads}/{filter_size}"
    return Model(
        name=f"transformer({sizes})",
        weights=weights,
        loss=loss,
        sharding_rules=RULES,
        dims_per_example=length,
        flops_per_example=_flops(vocabulary, length, hidden, filter_size, layers),
    )


def _layer(
    weights: Tensors, x: tf.Tensor, name: str, rng: BatchRng, rate: float
) -> tf.Tensor:
    """Attention and two dense layers: [batch, positions, hidden] to the same shape."""
    normal = _normalised(weights, x, f"{name}/attention")
    query, key, value = (
        tf.einsum("bph,hnd->bnpd", normal, weights[f"{name}/{part}"])
        for part in ("query", "key", "value")
    )
    scores = tf.einsum("bnpd,bnqd->bnpq", query * query.shape[-1] ** -0.5, key)
    attention = tf.nn.softmax(scores + tf.constant(_mask(x.shape[1]), x.dtype))
    mixed = tf.einsum("bnpq,bnqd->bnpd", attention, value)
    out = tf.einsum("bnpd,ndh->bph", mixed, weights[f"{name}/out"])
    x = x + prng.dropout(rng, f"{name}/attention", out, rate)

    normal = _normalised(weights, x, f"{name}/filter")
    inner = tf.einsum("bph,hf->bpf", normal, weights[f"{name}/filter_in"])
    inner = tf.nn.relu(inner + weights[f"{name}/filter_bias"])
    out = tf.einsum("bpf,fh->bph", inner, weights[f"{name}/filter_out"])
    return x + prng.dropout(rng, f"{name}/filter", out, rate)


def _normalised(weights: Tensors, x: tf.Tensor, name: str) -> tf.Tensor:
    """Layer normalisation: Ba, Kiros and Hinton (2016)."""
    x = x - tf.reduce_mean(x, -1, keepdims=True)
    square = tf.reduce_mean(x * x, -1, keepdims=True)
    x = x * tf.math.rsqrt(square + 1e-6)
    return x * weights[f"{name}/scale"] + weights[f"{name}/bias"]


def _mask(length: int) -> np.ndarray:
    """[positions, positions]: 0 where the first attends to the second, else -1e9."""
    return np.triu(np.full((length, length), -1e9, np.float32), 1)


def _flops(
    vocabulary: int, length: int, hidden: int, filter_size: int, layers: int
) -> int:
    """Operations in matrix products, as in Chowdhery et al. (2022), appendix B.

    The embedding counts for nothing, as a look-up, though it is a product here.
    """
    layer = 4 * hidden * hidden + 2 * hidden * filter_size  # multiply-adds a token
    attention = 2 * length * hidden
    forward = layers * (layer + attention) + vocabulary * hidden
    return 3 * 2 * forward * length
