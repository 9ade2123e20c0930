"""The Image Transformer in Keras 3: layers, `compile` and `train_on_batch`."""

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from experiments.baselines.image_transformer.handwritten_tf import (
    categorical_nats,
    dmol_nats,
)
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
    nats = dmol_nats if sizes.likelihood == "dmol" else categorical_nats
    variables = model.by_name()
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
        super().__init__()
        self.dmol = sizes.likelihood == "dmol"
        if self.dmol:
            self.merge = keras.layers.Dense(sizes.hidden, "relu")
        else:
            self.embedding = keras.layers.Embedding(3 * 256, sizes.hidden)
        transformer = of_image_transformer(sizes)
        self.positions = Positions(transformer)
        self.blocks = [Layer(transformer) for _ in range(sizes.layers)]
        num_outputs = 10 * sizes.num_mixtures if self.dmol else 256
        self.outputs_of = keras.layers.Dense(num_outputs, use_bias=not self.dmol)
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

    def by_name(self) -> dict[str, Any]:
        """The variables by the names that the compared systems share."""
        if self.dmol:
            variables = {"merge": self.merge.kernel, "merge_bias": self.merge.bias}
        else:
            variables = {
                "embedding": self.embedding.embeddings,
                "outputs_bias": self.outputs_of.bias,
            }
        variables |= {"row": self.positions.row, "column": self.positions.column}
        variables["outputs"] = self.outputs_of.kernel
        for number, block in enumerate(self.blocks):
            for name, variable in block.by_name().items():
                variables[f"layer{number}/{name}"] = variable
        return variables


class Positions(keras.layers.Layer):
    """Adds to every position the learned embeddings of its row and its column.

    [batch, positions, hidden] to the same.
    """

    def __init__(self, sizes: TransformerSizes) -> None:
        super().__init__()
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

    def __init__(self, sizes: TransformerSizes) -> None:
        super().__init__()

        def dense(size: int) -> keras.layers.Layer:
            return keras.layers.Dense(size, use_bias=False)

        self.query, self.key = dense(sizes.key_size), dense(sizes.key_size)
        self.value, self.out = dense(sizes.value_size), dense(sizes.hidden)
        self.attend = LocalAttention(sizes)
        self.filter_in = keras.layers.Dense(sizes.filter_size, "relu")
        self.filter_out = keras.layers.Dense(sizes.hidden)
        self.after_attention = keras.layers.LayerNormalization(epsilon=1e-6)
        self.after_filter = keras.layers.LayerNormalization(epsilon=1e-6)

    def call(self, x: Any) -> Any:
        attended = self.attend(self.query(x), self.key(x), self.value(x))
        x = self.after_attention(x + self.out(attended))
        return self.after_filter(x + self.filter_out(self.filter_in(x)))

    def by_name(self) -> dict[str, Any]:
        """The layer's variables by their names in the model."""
        variables = {}
        for name in ("query", "key", "value", "out", "filter_in", "filter_out"):
            variables[name] = getattr(self, name).kernel
        for name in ("filter_in", "filter_out"):
            variables[f"{name}_bias"] = getattr(self, name).bias
        for name in ("attention", "filter"):
            variables[f"{name}/scale"] = getattr(self, f"after_{name}").gamma
            variables[f"{name}/bias"] = getattr(self, f"after_{name}").beta
        return variables


class LocalAttention(keras.layers.Layer):
    """A position attends to its own block up to itself, and to the block before.

    The first block has none before it and is computed apart.  The bias of the scores is
    then the same, and small, for all other blocks.
    """

    def __init__(self, sizes: TransformerSizes) -> None:
        super().__init__()
        self.sizes, self.bias = sizes, attention_bias(sizes.block)

    def call(self, query: Any, key: Any, value: Any) -> Any:
        """[batch, positions, ...] each to [batch, positions, value_size]."""
        heads, size = self.sizes.heads, self.sizes.block
        positions = query.shape[1]

        def split(y: Any) -> Any:  # [batch, blocks, heads, size, depth]
            y = ops.reshape(
                y, (-1, positions // size, size, heads, y.shape[-1] // heads)
            )
            return ops.transpose(y, (0, 1, 3, 2, 4))

        def with_previous(y: Any) -> Any:  # of all blocks but the first
            return ops.concatenate([y[:, :-1], y[:, 1:]], 3)

        def attend(query: Any, key: Any, value: Any, bias: np.ndarray) -> Any:
            scores = ops.matmul(query, ops.swapaxes(key, -1, -2)) + bias
            return ops.matmul(ops.softmax(scores), value)

        query = split(query) * (self.sizes.key_size // heads) ** -0.5
        key, value = split(key), split(value)
        first = attend(query[:, :1], key[:, :1], value[:, :1], self.bias[:, size:])
        later = attend(
            query[:, 1:], with_previous(key), with_previous(value), self.bias
        )
        output = ops.transpose(ops.concatenate([first, later], 1), (0, 1, 3, 2, 4))
        return ops.reshape(output, (-1, positions, self.sizes.value_size))
