"""Trains the audio VAE on one device and on cores; prints what came out.

Small models on three cores, in all ways; and a step on the paper's 17, which has too
large a graph for every test run: large_audio.py takes it.  A process of its own: the
CPU can be split only before TensorFlow begins.  Here nothing is judged: test_cores.py
reads what is printed.
"""

import dataclasses
import json
from unittest import mock

import numpy as np
import tensorflow as tf

from experiments.audio_vae import flows, network, program
from experiments.bench import counting
from experiments.engines import manual_placement, selection
from experiments.training import optimizers, topology, train_step
from experiments.training.engine import StepSettings
from experiments.training.prng import BatchRng
from tests.experiments.audio_vae.small_audio import GRID, SMALL, loud_clips, weights_for
from tests.experiments.bench import graph_counts

MESHES = ("batch:1", "core:3", "batch:2,core:3")
STEPS = 3
SETTINGS = StepSettings(clip_norm=100.0, ema_decay=0.9)
ADAM = optimizers.adam(optimizers.constant_schedule(0.003))
BATCH = 4


def batch(number, sizes=SMALL):
    return {"audio": loud_clips(sizes, BATCH, seed=number)}


def runtime_of(mesh, sizes=SMALL):
    return selection.make_engine(
        program.model(sizes),
        ADAM,
        topology.parse(mesh),
        SETTINGS,
        device_type="CPU",
        placement=network.placement(sizes),
    )


def steps(runtime, first, last):
    made = [runtime.step(batch(n), n, 5) for n in range(first, last)]
    return [{name: float(value) for name, value in m.items()} for m in made]


def apart(one, other, kind):
    """The largest difference of variables of a kind, by the largest of each."""
    names = [name for name in one if name.startswith(kind)]
    differences = [
        float(np.abs(one[n] - other[n]).max() / max(np.abs(one[n]).max(), 1e-12))
        for n in names
    ]
    return max(differences)


def refused(act):
    try:
        act()
    except ValueError as error:
        return str(error)
    return None


def gradients_apart(one, other):
    """After one step the mean slot is the gradient, times a constant."""
    parts = ("prior", "decoder", "compressor", "upsampler")
    return max(apart(one, other, f"slots/{part}") for part in parts)


def counted(runtime, given):
    """A first step, and what its graphs say."""
    with counting.recording() as functions:
        result = {n: float(v) for n, v in runtime.step(given, 0, 5).items()}
    graph = runtime.graph(given)
    return result, {
        "ops": graph_counts.ops_per_device(functions),
        "nowhere": graph_counts.unplaced_ops(graph),
        "collectives": len(counting.collectives(functions)),
        "passed": listed(counting.transferred_bytes(graph)),
        "sent": listed(graph_counts.recorded_transfer_bytes(functions, graph)),
    }


def three_cores():
    told, runtimes, first = {}, {}, {}
    for mesh in MESHES:
        runtime = runtimes[mesh] = runtime_of(mesh)
        runtime.initialize(3)
        losses = steps(runtime, 0, 1)
        first[mesh] = runtime.read_variables()
        losses += steps(runtime, 1, STEPS)
        told[mesh] = {
            "engine": type(runtime).__name__,
            "losses": losses,
            "bytes": runtime.bytes_per_device(),
            "gradients": gradients_apart(first["batch:1"], first[mesh]),
            "same_variables": list(first[mesh]) == list(first["batch:1"]),
        }
        if mesh != "batch:2,core:3":
            evaluated = runtime.evaluate(batch(9), 0, 6)
            told[mesh]["evaluated"] = float(evaluated["loss"])
    told["moved"] = {}
    for source, target in (("batch:1", "core:3"), ("batch:2,core:3", "batch:1")):
        runtime = runtimes[target]
        runtime.write_variables(first[source])
        back = runtime.read_variables()
        same = all(np.array_equal(first[source][n], back[n]) for n in back)
        told["moved"][f"{source} {target}"] = {
            "same": same,
            "losses": steps(runtime, 1, STEPS),
        }
    told["refusals"] = refusals(runtimes, first["core:3"])
    # Sends are told by the names of ops, which a called function's have not.
    with mock.patch.object(flows, "graph_function", lambda function: function):
        flows._inverse_function.cache_clear()
        runtime = runtime_of("core:3")
        runtime.initialize(3)
        _, told["counted"] = counted(runtime, batch(0))
        flows._inverse_function.cache_clear()
    told["drawn"] = drawn()
    return told


def drawn():
    """Where the parts' forwards are, and how far from those of one device."""
    weights = weights_for(SMALL)
    noise = np.random.default_rng(2).standard_normal((2, SMALL.length), np.float32)
    alone = network.flow(weights, SMALL, "decoder").forward(tf.constant(noise))
    devices = [f"/device:CPU:{core}" for core in range(3)]
    with (
        mock.patch.object(flows, "graph_function", lambda function: function),
        manual_placement.core_devices(devices),
    ):
        flows._forward_function.cache_clear()
        flow = network.flow(weights, SMALL, "decoder")
        forward = tf.function(flow.forward, autograph=False)
        made = forward.get_concrete_function(tf.constant(noise))
        flows._forward_function.cache_clear()
    loops = [op for op in made.graph.get_operations() if "While" in op.type]
    return {
        "loops": sorted(op.device.rpartition("device:")[2] for op in loops),
        "apart": float(np.abs(made(tf.constant(noise)) - alone).max()),
        "largest": float(np.abs(alone).max()),
    }


def refusals(runtimes, arrays):
    def make(**changed):
        return selection.make_engine(
            program.model(SMALL),
            ADAM,
            topology.parse("core:3"),
            dataclasses.replace(SETTINGS, **changed),
            device_type="CPU",
            placement=network.placement(SMALL),
        )

    without = {name: array for name, array in arrays.items() if name != "step"}
    three = {"audio": loud_clips(SMALL, 3)}
    return {
        "four cores": refused(lambda: runtime_of("core:4", GRID)),
        "another dimension": refused(lambda: runtime_of("model:17", GRID)),
        "both": refused(lambda: runtime_of("core:17,model:2", GRID)),
        "too many": refused(lambda: runtime_of("batch:2,core:17", GRID)),
        "batch": refused(lambda: runtimes["batch:2,core:3"].step(three, 0, 0)),
        "write": refused(lambda: runtimes["core:3"].write_variables(without)),
        "jit": refused(lambda: make(jit_compile=True)),
        "parts": refused(lambda: make(num_microbatches=2)),
        "dtype": refused(lambda: make(compute_dtype="bfloat16")),
    }


def seventeen_cores(mesh):
    cores, given = runtime_of(mesh, GRID), batch(0, GRID)
    cores.initialize(3)
    wanted, grads = on_one_device(cores.read_variables(), given)
    found, told = counted(cores, given)
    after = cores.read_variables()
    del told["sent"]
    return told | {
        "losses": [wanted, found],
        "bytes": cores.bytes_per_device(),
        # After one step the mean slot is the gradient, times a constant.
        "gradients": max(
            float(np.abs(after[f"slots/{n}/mean"] - 0.1 * g).max())
            / max(0.1 * float(np.abs(g).max()), 1e-12)
            for n, g in grads.items()
        ),
    }


def on_one_device(arrays, given):
    """The step's results and its clipped gradients, op by op: no graph is made."""
    model = program.model(GRID)
    weights = {n: tf.constant(arrays[f"weights/{n}"]) for n in model.weights}
    found = train_step.loss_and_gradients(
        model,
        SETTINGS,
        weights,
        {"audio": tf.constant(given["audio"])},
        BatchRng(tf.constant(train_step.step_seed(5, 0)), tf.constant(0)),
        num_examples=BATCH,
        gradients=True,
    )
    norm = float(tf.linalg.global_norm(list(found.grads.values())))
    scale = min(1.0, SETTINGS.clip_norm / norm)
    results = {n: float(v) for n, v in found.metrics.items()} | {"gradient_norm": norm}
    return results, {n: scale * g.numpy() for n, g in found.grads.items()}


def prepare(num):
    topology.local_devices(num, "CPU")
    # Or ops would not have the names that they were given, by which sends are found.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def main():
    prepare(17)
    print("RESULT " + json.dumps(three_cores()))


def listed(pairs):
    return sorted([source, target, size] for (source, target), size in pairs.items())


if __name__ == "__main__":
    main()
