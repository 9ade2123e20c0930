"""The networks, against Keras's layers with the same weights."""

import numpy as np
import tensorflow as tf
import tf_keras

from experiments.programs.grammar_vae import network

SIZES = network.Sizes(productions=5, latent=3, units=4, channels=(6, 7))
LENGTH = 9


def some_weights(seed=1):
    """Weights of which none is 0 or 1."""
    random = np.random.default_rng(seed)
    return {
        name: weight + tf.constant(0.3 * random.normal(size=weight.shape), tf.float32)
        for name, weight in network.initial_weights(SIZES, seed).items()
    }


def some_strings(*lengths):
    random = np.random.default_rng(2)
    productions = np.full((len(lengths), LENGTH), -1)
    for row, length in enumerate(lengths):
        productions[row, :length] = random.integers(0, 5, length)
    return tf.one_hot(productions, 5)


def test_initial_weights_have_the_sizes_they_were_made_for():
    assert network.sizes_of(network.initial_weights(SIZES, 0)) == SIZES


def test_the_encoder_is_that_of_keras_layers_on_the_string_alone():
    weights = some_weights()
    lengths = (9, 4, 1)
    one_hot = some_strings(*lengths)
    loc, scale = network.encode(weights, one_hot)
    layers = []
    for i, channels in enumerate(SIZES.channels):
        layers += [
            tf_keras.layers.Conv1D(channels, 3, padding="same"),
            tf_keras.layers.LayerNormalization(epsilon=network.EPSILON),
            tf_keras.layers.ELU(),
        ]
        given = tf.zeros([1, 2, (5, *SIZES.channels)[i]])
        for layer, names in zip(
            layers[-3:-1], [("filter", "bias"), ("scale", "shift")], strict=True
        ):
            given = layer(given)
            kind = "conv" if "filter" in names else "norm"
            layer.set_weights([weights[f"{kind}{i}/{n}"].numpy() for n in names])
    for row, length in enumerate(lengths):
        x = one_hot[row : row + 1, :length]
        for layer in layers:
            x = layer(x)
        x = tf_keras.layers.GlobalAveragePooling1D()(x)
        code = x @ weights["code/matrix"] + weights["code/bias"]
        np.testing.assert_allclose(loc[row], code[0, :3], atol=1e-5)
        softplus = np.log1p(np.exp(code[0, 3:]))
        np.testing.assert_allclose(scale[row], softplus + 1e-4, atol=1e-5)


def test_dropout_is_of_training_alone_and_keeps_the_mean():
    weights = some_weights()
    one_hot = tf.repeat(some_strings(9), 4000, axis=0)
    plain, _ = network.encode(weights, one_hot[:1])
    dropped, _ = network.encode(weights, one_hot, (1, 2))
    spread = tf.math.reduce_std(dropped, 0)
    assert np.all(spread > 0.01)
    error = spread / 4000**0.5
    assert np.all(np.abs(tf.reduce_mean(dropped, 0) - plain[0]) < 4.5 * error)


def test_the_recurrent_network_is_keras_lstm_of_the_latent_at_every_step():
    weights = some_weights()
    latent = tf.constant(np.random.default_rng(3).normal(size=(2, 3)), tf.float32)
    layer = tf_keras.layers.LSTM(4, return_sequences=True)
    repeated = tf.repeat(latent[:, tf.newaxis], LENGTH, axis=1)
    layer(repeated)
    names = ("cell/matrix", "cell/state", "cell/bias")
    layer.set_weights([weights[name].numpy() for name in names])
    wanted = layer(repeated) @ weights["logits/matrix"] + weights["logits/bias"]
    np.testing.assert_allclose(
        network.decode(weights, latent, LENGTH), wanted, atol=1e-5
    )


def test_a_step_of_one_string_is_that_of_a_batch():
    weights = some_weights()
    latent = tf.constant([[0.3, -1.0, 2.0]])
    batch = network.decode(weights, latent, 3)
    state = network.first_state(weights, latent[0])
    for place in range(3):
        logits, state = network.step(weights, latent[0], state)
        np.testing.assert_allclose(logits, batch[0, place], atol=1e-6)
