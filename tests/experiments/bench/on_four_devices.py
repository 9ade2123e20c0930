"""Records the graphs of a step on four logical CPU devices and writes what they hold.

    python -m tests.experiments.bench.on_four_devices results.json

Here nothing is judged: test_counting.py reads the file.
"""

import contextlib
import itertools
import json
import sys

import numpy as np
import tensorflow as tf

from experiments.bench import counting
from experiments.engines import replicated
from experiments.engines.selection import make_engine
from experiments.training import optimizers, topology
from experiments.training import prng as randomness_of
from experiments.training.engine import StepSettings
from experiments.training.model import Model, Weight
from tests.experiments.bench import graph_counts

WIDTH, INNER, BATCH = 24, 40, 16
SGD = optimizers.Optimizer(
    slots=lambda shape: {},
    update=lambda step, weight, grad, slots: (weight - 0.1 * grad, {}),
)
PLAIN = StepSettings()
MESHES = ("batch:1", "batch:2", "batch:4", "model:2", "model:4", "batch:2,model:2")


def perceptron(layers=3, misplaced=()):
    """Dense layers, each in and out again, its inside over `model`: Megatron's cut.

    misplaced: layers that are on the first device, whoever computes the others.
    """

    def loss(weights, batch, randomness):
        x = batch["x"]
        for layer in range(layers):
            wrong = layer in misplaced
            with tf.device("CPU:0") if wrong else contextlib.nullcontext():
                inner = tf.nn.relu(tf.matmul(x, weights[f"{layer}/in"]))
                inner = randomness_of.dropout(randomness, str(layer), inner, 0.2)
                x = x + tf.matmul(inner, weights[f"{layer}/out"])
        return tf.reduce_sum(x * x, -1), {}

    weights = {}
    for layer in range(layers):
        weights[f"{layer}/in"] = Weight((WIDTH, INNER), 0.1)
        weights[f"{layer}/out"] = Weight((INNER, WIDTH), 0.1)
    rules = ((".*/in", (None, "model")), (".*/out", ("model", None)))
    return Model("perceptron", weights, loss, rules)


def products_of_devices(functions):
    """How many products of matrices each device has."""
    found = {}
    for graph in itertools.chain(*functions):
        for node in graph.node:
            if node.op.endswith("MatMul"):  # oneDNN's are named so too
                index = tf.DeviceSpec.from_string(node.device).device_index
                found[f"CPU:{index}"] = found.get(f"CPU:{index}", 0) + 1
    return found


def record(mesh, settings=PLAIN, *, misplaced=()):
    """What a step's graphs hold.

    Of a misplaced one not what travels: TensorFlow does not say how large that is.
    """
    model = perceptron(misplaced=misplaced)
    parsed = topology.parse(mesh)
    runtime = make_engine(model, SGD, parsed, settings, device_type="CPU")
    runtime.initialize(0)
    rng = np.random.default_rng(1)
    batches = [
        {"x": rng.standard_normal((BATCH, WIDTH)).astype(np.float32)} for _ in range(3)
    ]
    with counting.recording() as functions:
        losses = [float(runtime.step(batches[0], 0, 0)["loss"])]
    losses += [float(runtime.step(batches[n], n, 0)["loss"]) for n in (1, 2)]
    return {
        "ops": graph_counts.ops_per_device(functions),
        "products": products_of_devices(functions),
        "collectives": (
            []
            if misplaced
            else [list(found) for found in counting.collectives(functions)]
        ),
        "device_bytes": counting.device_bytes(model, SGD, parsed, settings),
        "local_bytes": runtime.bytes_per_device(),
        "losses": losses,
    }


def main(path):
    topology.local_devices(4, "CPU")
    results = {mesh: record(mesh) for mesh in MESHES}
    compiled = StepSettings(jit_compile=True)
    for mesh in ("batch:1", "batch:2"):
        results[f"{mesh} compiled"] = record(mesh, compiled)
    results["batch:2 misplaced"] = record("batch:2", misplaced=(1,))
    replicated.BUCKET_BYTES = 8 * WIDTH * INNER  # a third weight is what closes one
    results["batch:2 in buckets"] = record("batch:2")
    with open(path, "w") as file:
        json.dump(results, file)


if __name__ == "__main__":
    main(sys.argv[1])
