"""The Image Transformer in Keras 3: layers, `compile` and `train_on_batch`."""

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from experiments.baselines.image_transformer import handwritten_tf
from experiments.baselines.transformer_sizes import (
    TransformerSizes,
    attention_bias,
    of_image_transformer,
)
from experiments.bench.problems import AdamSettings, Training


def prepare(
    sizes: Any,
    weights: Mapping[str, np.ndarray],
    adam: AdamSettings,
    *,
    jit_compile: bool | str = "auto",
) -> Training:
    """Training of a model of `image_transformer.Sizes`, from these weights.

    jit_compile: by XLA, as in Keras's `compile`.

    Raises ValueError for sizes that `transformer_sizes.of_image_transformer` refuses.
    """
    model = ImageTransformer(sizes)
    model(ops.zeros((1, sizes.height, sizes.width, 3), "int32"))
    nats = handwritten_tf.categorical_nats
    if sizes.likelihood == "dmol":
        nats = handwritten_tf.dmol_nats
    variables = {shared_name(variable.path): variable for variable in model.variables}
    for name, array in weights.items():
        variables[name].assign(array)
    model.compile(
        optimizer=Adam(
            adam.rate, beta_1=adam.beta1, beta_2=adam.beta2, epsilon=adam.epsilon
        ),
        loss=lambda image, outputs: nats(outputs, ops.cast(image, "int32")),
        jit_compile=jit_compile,
    )

    def step(image: np.ndarray) -> float:
        model.reset_metrics()  # else the loss is the mean over all steps
        return float(model.train_on_batch(image, image))

    return Training(
        step=step,
        weights=lambda: {
            name: ops.convert_to_numpy(variable) for name, variable in variables.items()
        },
    )


def shared_name(path: str) -> str:
    """The name that the compared systems give a variable, by its path in the model."""
    *inside, last = path.removeprefix("image_transformer/").split("/")
    if inside == ["positions"]:
        return last
    suffixes = {"bias": "_bias", "gamma": "/scale", "beta": "/bias"}
    return "/".join(inside) + suffixes.get(last, "")


class Adam(keras.optimizers.Adam):
    """Keras's Adam, with the gradient of an embedding summed first.

    Keras squares the parts of such a gradient, one for each look-up of a row, before it
    adds them, which gives another second moment.
    """

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Updates the variables by their gradients."""
        super().apply([tf.convert_to_tensor(g) for g in grads], trainable_variables)


class ImageTransformer(keras.Model):
    """Images [batch, height, width, 3] to outputs [batch, positions, outputs]."""

    def __init__(self, sizes: Any) -> None:
        super().__init__(name="image_transformer")
        layers, transformer = keras.layers, of_image_transformer(sizes)
        self.dmol = sizes.likelihood == "dmol"
        if self.dmol:
            self.merge = layers.Dense(sizes.hidden, "relu", name="merge")
        else:
            self.embedding = layers.Embedding(768, sizes.hidden, name="embedding")
        self.positions = Positions(transformer)
        self.blocks = [Layer(transformer, number) for number in range(sizes.layers)]
        num = 10 * sizes.num_mixtures if self.dmol else 256
        self.outputs_of = layers.Dense(num, use_bias=not self.dmol, name="outputs")
        self.root = math.sqrt(sizes.hidden)

    def call(self, image: Any) -> Any:
        """The outputs of images [batch, height, width, 3] int32."""
        batch = ops.shape(image)[0]
        if self.dmol:
            values = ops.reshape(image, (batch, -1, 3))
            x = self.merge(ops.cast(values, "float32") / 127.5 - 1)
        else:
            rows = image + 256 * np.arange(3, dtype=np.int32)
            x = self.embedding(ops.reshape(rows, (batch, -1))) * self.root
        x = self.positions(ops.pad(x[:, :-1], [[0, 0], [1, 0], [0, 0]]))
        for block in self.blocks:
            x = block(x)
        return self.outputs_of(x)


class Positions(keras.layers.Layer):
    """Adds to every position the learned embeddings of its row and its column.

    [batch, positions, hidden] to the same.
    """

    def __init__(self, sizes: TransformerSizes) -> None:
        super().__init__(name="positions")
        self.root = math.sqrt(sizes.hidden)
        self.row = self.add_weight(shape=(sizes.rows, sizes.hidden), name="row")
        self.column = self.add_weight(
            shape=(sizes.columns, sizes.hidden), name="column"
        )

    def call(self, x: Any) -> Any:
        signal = ops.expand_dims(self.row, 1) + self.column
        return x + self.root * ops.reshape(signal, x.shape[1:])


class Layer(keras.layers.Layer):
    """Attention and two dense layers, each with residual and layer norm.

    [batch, positions, hidden] to the same.
    """

    def __init__(self, sizes: TransformerSizes, number: int) -> None:
        super().__init__(name=f"layer{number}")
        self.sizes, self.bias = sizes, attention_bias(sizes.block)
        dense, norm = keras.layers.Dense, keras.layers.LayerNormalization
        self.query = dense(sizes.key_size, use_bias=False, name="query")
        self.key = dense(sizes.key_size, use_bias=False, name="key")
        self.value = dense(sizes.value_size, use_bias=False, name="value")
        self.out = dense(sizes.hidden, use_bias=False, name="out")
        self.filter_in = dense(sizes.filter_size, "relu", name="filter_in")
        self.filter_out = dense(sizes.hidden, name="filter_out")
        self.after_attention = norm(epsilon=1e-6, name="attention")
        self.after_filter = norm(epsilon=1e-6, name="filter")

    def call(self, x: Any) -> Any:
        units = (self.query(x), self.key(x), self.value(x))
        attended = handwritten_tf.attention(self.sizes, *units, self.bias)
        x = self.after_attention(x + self.out(attended))
        return self.after_filter(x + self.filter_out(self.filter_in(x)))
