"""A causal transformer small enough to train on eight devices in a test."""

import numpy as np
import tensorflow as tf

from experiments.training import prng as rnd
from experiments.training.model import Model, Weight

RULES = (  # heads, filter and vocabulary over the mesh dimension `model`
    (r"table", ("model", None)),
    (r"positions", (None, None)),
    (r".*/(scale|shift)", (None,)),
    (r".*/(query|key|value)", (None, "model", None)),
    (r".*/attended", ("model", None, None)),
    (r".*/wide", (None, "model")),
    (r".*/bias", ("model",)),
    (r".*/narrow", ("model", None)),
)


def small_transformer(
    *,
    hidden=16,
    heads=8,
    depth=2,
    filter_size=32,
    layers=2,
    vocabulary=16,
    length=6,
    dropout=0.1,
):
    weights = {
        "table": Weight((vocabulary, hidden), 0.5),
        "positions": Weight((length, hidden), 0.5),
        "last/scale": Weight((hidden,), mean=1.0),
        "last/shift": Weight((hidden,)),
    }
    for layer in range(layers):
        for part in ("attention", "dense"):
            weights[f"{layer}/{part}/scale"] = Weight((hidden,), mean=1.0)
            weights[f"{layer}/{part}/shift"] = Weight((hidden,))
        for part in ("query", "key", "value"):
            shape = (hidden, heads, depth)
            weights[f"{layer}/{part}"] = Weight(shape, hidden**-0.5)
        shape = (heads, depth, hidden)
        weights[f"{layer}/attended"] = Weight(shape, (heads * depth) ** -0.5)
        weights[f"{layer}/wide"] = Weight((hidden, filter_size), hidden**-0.5)
        weights[f"{layer}/bias"] = Weight((filter_size,), 0.1)
        weights[f"{layer}/narrow"] = Weight((filter_size, hidden), filter_size**-0.5)
    ahead = np.triu(np.full((length, length), -1e9, np.float32), 1)[None, None]

    def norm(w, name, x):
        mean = tf.reduce_mean(x, -1, keepdims=True)
        var = tf.reduce_mean(tf.square(x - mean), -1, keepdims=True)
        return (x - mean) * tf.math.rsqrt(var + 1e-5) * w[f"{name}/scale"] + w[
            f"{name}/shift"
        ]

    def loss(w, batch, randomness):
        tokens = batch["tokens"]
        table = w["table"]
        before = tf.pad(tokens[:, :-1], [[0, 0], [1, 0]])
        one_hot = tf.one_hot(before, vocabulary, dtype=table.dtype)
        x = tf.einsum("btv,vd->btd", one_hot, table)
        x = x + tf.expand_dims(w["positions"], 0)
        for layer in range(layers):
            y = norm(w, f"{layer}/attention", x)
            q, k, v = (
                tf.einsum("btd,dhk->bhtk", y, w[f"{layer}/{part}"])
                for part in ("query", "key", "value")
            )
            logits = tf.einsum("bhqk,bhmk->bhqm", q, k) * depth**-0.5
            logits = tf.cast(logits, tf.float32) + tf.constant(ahead)
            attended = tf.cast(tf.nn.softmax(logits), x.dtype)
            y = tf.einsum("bhqm,bhmk->bhqk", attended, v)
            y = tf.einsum("bhqk,hkd->bqd", y, w[f"{layer}/attended"])
            x = x + rnd.dropout(randomness, f"{layer}/attention", y, dropout)
            y = norm(w, f"{layer}/dense", x)
            y = tf.einsum("btd,df->btf", y, w[f"{layer}/wide"]) + w[f"{layer}/bias"]
            y = rnd.dropout(randomness, f"{layer}/wide", tf.nn.relu(y), dropout)
            y = tf.einsum("btf,fd->btd", y, w[f"{layer}/narrow"])
            x = x + rnd.dropout(randomness, f"{layer}/dense", y, dropout)
        logits = tf.einsum("btd,vd->btv", norm(w, "last", x), table)
        logits = tf.cast(logits, tf.float32)
        total = tf.reduce_logsumexp(logits, -1)
        target = tf.one_hot(tokens, vocabulary, dtype=tf.float32)
        nats = total - tf.reduce_sum(target * logits, -1)
        return tf.reduce_sum(nats, -1), {"log_total": tf.reduce_mean(total, -1)}

    return Model(
        name="small transformer",
        weights=weights,
        loss=loss,
        sharding_rules=RULES,
        dims_per_example=length,
    )


def tokens(number, *, batch=16, length=6, vocabulary=16):
    """Another batch for each step, with something to learn in it."""
    rng = np.random.default_rng([17, number])
    start = rng.integers(0, vocabulary, (batch, 1))
    jumps = rng.integers(1, 3, (batch, length - 1)).cumsum(1)
    walk = np.concatenate([start, start + jumps], 1) % vocabulary
    return {"tokens": walk.astype(np.int32)}
