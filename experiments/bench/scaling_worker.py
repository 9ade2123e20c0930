"""The tasks of the scaling benchmark: probe a core, measure steps, count a step."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.bench import counting, step_timing
from experiments.bench.models import NUM_BATCHES, SUBJECTS
from experiments.bench.problems import AdamSettings
from experiments.bench.step_timing import Task
from experiments.engines import sharded
from experiments.training import optimizers, topology
from experiments.training.engine import Engine, StepSettings
from experiments.training.model import Model, num_parameters
from experiments.training.prng import BatchRng

MIN_CALLS = 3
MAX_STEPPED_DEVICES = 64  # the graphs of 512 devices need more than 20 GB
PROBE_BYTES = 256 * 2**20
PROBE_DIM = 1024
ADAM = AdamSettings()

Batches = list[Mapping[str, np.ndarray]]


def make_training(task: Mapping[str, Any]) -> tuple[Model, Batches]:
    """The model that a task names, and its first batches."""
    subject, options = SUBJECTS[task["subject"]], task["options"]
    batch_at = subject.batches(
        subject.data(options),
        seed=task["seed"],
        batch_size=task["batch"],
        process=task.get("process", 0),
        num_processes=task.get("processes", 1),
    )
    return subject.make(options), [batch_at(number) for number in range(NUM_BATCHES)]


def probe(task: Task) -> dict[str, Any]:
    """One core's peaks: float32 operations and bytes copied, a second."""
    a = tf.random.stateless_normal([PROBE_DIM, PROBE_DIM], [0, task["seed"]])
    multiply = tf.function(lambda a, b: tf.reduce_sum(a @ b))
    source, target = np.ones(PROBE_BYTES // 8), np.empty(PROBE_BYTES // 8)
    multiply(a, a).numpy()
    np.copyto(target, source)
    products, copies, begin = [], [], time.perf_counter()
    while time.perf_counter() - begin < task["min_seconds"] or not copies:
        start = time.perf_counter()
        multiply(a, a).numpy()
        middle = time.perf_counter()
        np.copyto(target, source)
        products.append(middle - start)
        copies.append(time.perf_counter() - middle)
    return {
        "seconds": {"products": products, "copies": copies},
        "work": {
            "matmul_flops_per_second": 2 * PROBE_DIM**3 / min(products),
            "copy_bytes_per_second": 2 * PROBE_BYTES / min(copies),  # read and written
        },
    }


def measure(task: Task) -> dict[str, Any]:
    """Times steps of a model in this process, perhaps one of several."""
    model, batches = make_training(task)
    engine: Any = None

    def prepare() -> Callable[[int], float]:
        nonlocal engine
        engine = step_timing.make_engine(model, ADAM, task["topology"])
        step = step_timing.stepper(engine, task["seed"])
        return lambda number: step(batches[number % NUM_BATCHES])

    seconds, losses = step_timing.time_steps(
        prepare,
        min_seconds=task["min_seconds"],
        min_calls=MIN_CALLS,
        # Processes that reduce together must take the same number of steps.
        num_calls=task["num_steps"],
        # None may end while another still needs its last messages.
        barrier=lambda name: _wait_for_others(task, name),
    )
    per_process = task["batch"] // task["processes"]
    return {
        "engine": _class_name(engine),
        "seconds": seconds,
        "work": {"examples": [per_process] * len(seconds["calls"])},
        "losses": losses,
        "local_bytes": engine.bytes_per_device(),
    }


def _class_name(engine: Engine) -> str:
    return f"{type(engine).__module__}.{type(engine).__qualname__}"


def _wait_for_others(task: Mapping[str, Any], name: str) -> None:
    """Waits until all processes of the case are here, so that their steps overlap."""
    folder, index, count = task["barrier"]
    Path(folder, f"{name}-{index}").touch()
    end = time.monotonic() + task["timeout_seconds"]
    while len(list(Path(folder).glob(f"{name}-*"))) < count:
        if time.monotonic() > end:
            raise TimeoutError(f"{name}: not all of {count} processes came")
        time.sleep(0.005)


def count(task: Task) -> dict[str, Any]:
    """What a step on a mesh takes: bytes on a device, operations, bytes between them.

    On several devices the engine is DTensor's, which is traced once for all of them, or
    tf.distribute's for a model with state.  It takes two steps, so that a second batch
    is seen to work.  A mesh that does not fit in memory is counted by a mesh with fewer
    batch shards: the shard and the weights of a device are the same there, and so is
    what it reduces.  The size of the groups that reduce together is then corrected.
    """
    # Optimising the graphs of many devices would take minutes.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    mesh = topology.parse(task["topology"])
    devices, shards = mesh.num_devices, mesh.size("batch")
    group_sizes, small = {n: n for n in range(1, devices + 1)}, task
    if devices > MAX_STEPPED_DEVICES:
        small, group_sizes = _with_fewer_shards(task, devices, shards)
    model, batches = make_training(small)
    stepped = topology.parse(small["topology"])
    adam = optimizers.adam(ADAM.rate)
    if devices > 1 and not model.state:
        local = topology.local_devices(stepped.num_devices, "CPU")
        engine = sharded.Sharded(model, adam, stepped, StepSettings(), local)
    else:
        engine = step_timing.make_engine(model, ADAM, small["topology"])
    begin = time.perf_counter()
    step = step_timing.stepper(engine, task["seed"])
    with counting.recording() as functions:
        losses = [step(batches[0])]
    losses.append(step(batches[1]))
    seconds = time.perf_counter() - begin
    collectives = [
        c._replace(num_devices=group_sizes[c.num_devices])
        for c in counting.collectives(functions)
        if c.device == "CPU:0"
    ]
    kept = engine.bytes_per_device()
    expected = counting.device_bytes(model, adam, mesh, StepSettings())
    check = {
        "passed": all(map(math.isfinite, losses))
        and set(kept.values()) == {sum(expected.values())}
        and len(kept) == stepped.num_devices,
        "held_bytes": sorted(set(kept.values())),
        "devices": len(kept),
        "losses": losses,
    }
    if not check["passed"]:
        check["reason"] = f"wanted {expected} bytes on each device and finite losses"
    graph = count_graph(task)
    if devices != shards:  # a shard is on several devices
        graph["activation_bytes"] = None
    return {
        "engine": _class_name(engine),
        "seconds": {"start_and_two_steps": seconds},
        "check": check,
        "work": {
            "stepped_on": str(stepped),
            "parameters": num_parameters(model),
            "parameter_bytes": expected["weights"],
            "held_bytes": max(kept.values()),
            **graph,
            "batch_per_shard": task["batch"] // shards,
            "num_collectives": len(collectives),
            "sent_bytes": sum(map(counting.ring_bytes, collectives)),
        },
    }


def _with_fewer_shards(
    task: Mapping[str, Any], devices: int, shards: int
) -> tuple[dict[str, Any], dict[int, int]]:
    """The task with few batch shards; and by the size of a group there, that here."""
    per_shard = devices // shards
    few = 2 if per_shard != 2 else 4  # another size, to tell the two groups apart
    dims = dict(topology.parse(task["topology"]).dims) | {"batch": few}
    small = {
        **task,
        "topology": ",".join(f"{name}:{size}" for name, size in dims.items()),
        "batch": task["batch"] // shards * few,
    }
    return small, {few: shards, per_shard: per_shard, few * per_shard: devices}


def count_graph(task: Mapping[str, Any]) -> dict[str, Any]:
    """Operations and kept bytes of the loss and gradient of one shard, on one device.

    flops: of matrix products, einsums and convolutions, as traced.
    activation_bytes: of the tensors that the forward pass makes and the backward pass
      reads, without weights and constants.  An upper bound, because a compiler may
      compute some of them again.
    """
    shards = topology.parse(task["topology"]).size("batch")
    num_examples = task["batch"] // shards
    model, batches = make_training({**task, "batch": num_examples})
    specs = {name: tf.TensorSpec(v.shape, v.dtype) for name, v in batches[0].items()}
    weights, state = (
        {name: tf.TensorSpec(one.shape, tf.float32) for name, one in part.items()}
        for part in (model.weights, model.state)
    )
    forward: set[str] = set()

    @tf.function
    def gradients(
        weights: Any, state: Any, batch: Any, seed: tf.Tensor
    ) -> list[tf.Tensor]:
        random = BatchRng(seed, tf.constant(0), num_examples=num_examples)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            nats, _, *statistics = model.loss({**weights, **state}, batch, random)
            loss = tf.reduce_mean(nats)
        graph = tf.compat.v1.get_default_graph()
        forward.update(op.name for op in graph.get_operations())
        return tape.gradient(loss, list(weights.values())) + tf.nest.flatten(statistics)

    graph = gradients.get_concrete_function(
        weights, state, specs, tf.TensorSpec([2], tf.int32)
    ).graph
    activations = {
        tensor.ref(): tensor
        for op in counting.operations(graph)
        if op.graph is graph and op.name not in forward
        for tensor in op.inputs
        if tensor.op.name in forward
        and tensor.op.type not in ("Placeholder", "Const", "Identity", "Shape")
    }
    return {
        "flops": counting.graph_flops(graph),
        "activation_bytes": sum(
            counting.tensor_bytes(tensor)
            for tensor in activations.values()
            if tensor.shape.is_fully_defined()
        ),
    }


MODES = {"probe": probe, "measure": measure, "count": count}
