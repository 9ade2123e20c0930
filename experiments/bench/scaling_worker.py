"""One turn of the scaling benchmark, in a process of its own, on cores of its own.

Reads a task, writes what it measured or counted.  TensorFlow is imported only once the
process is pinned and its threads are set.
"""

import importlib
import json
import math
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

CHECKED_STEPS = 3  # whose losses are held against those of one device
NUM_BATCHES = 4  # that steps go round in: made before the clock runs
STEPPED_DEVICES = 64  # the graphs of 512 want more than 20 GB
PROBE_BYTES = 256 * 2**20
PROBE_DIM = 1024


def run(task: dict[str, Any]) -> dict[str, Any]:
    """What the task's mode gives, with status "ok", or "failed" and the reason."""
    modes = {"probe": probe, "measure": measure, "count": count}
    try:
        return {"status": "ok"} | modes[task["mode"]](task)
    except Exception as error:
        traceback.print_exc()
        return {"status": "failed", "reason": _in_short(error)}


def _in_short(error: Exception) -> str:
    """In one line, TensorFlow's stack of calls left out where the cause comes after."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300]


def probe(task: dict[str, Any]) -> dict[str, Any]:
    """What one core can do: float32 operations and bytes copied, a second."""
    import tensorflow as tf

    a = tf.random.stateless_normal([PROBE_DIM, PROBE_DIM], [0, task["seed"]])
    multiply = tf.function(lambda a, b: tf.reduce_sum(a @ b))
    old, new = np.ones(PROBE_BYTES // 8), np.empty(PROBE_BYTES // 8)
    multiply(a, a).numpy()
    np.copyto(new, old)
    products, copies, began = [], [], time.perf_counter()
    while time.perf_counter() - began < task["min_seconds"] or not copies:
        start = time.perf_counter()
        multiply(a, a).numpy()
        middle = time.perf_counter()
        np.copyto(new, old)
        products.append(middle - start)
        copies.append(time.perf_counter() - middle)
    return {
        "seconds": {"products": products, "copies": copies},
        "work": {
            "matmul_flops_per_second": 2 * PROBE_DIM**3 / min(products),
            "copy_bytes_per_second": 2 * PROBE_BYTES / min(copies),  # read and written
        },
    }


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Times steps of a model, each until its loss is known to this process."""
    parts = _Parts(task)
    began = time.perf_counter()
    runtime = parts.runtime()
    runtime.initialize(task["seed"])
    build = time.perf_counter() - began

    def step(number: int) -> float:
        batch = parts.batches[number % NUM_BATCHES]
        loss = float(runtime.step(batch, number, task["seed"])["loss"])
        if not math.isfinite(loss):
            raise ValueError(f"step {number}: the loss is {loss}")
        return loss

    began = time.perf_counter()
    losses = [step(0)]
    first = time.perf_counter() - began
    losses += [step(number) for number in range(1, CHECKED_STEPS)]
    _meet(task, "ready")
    calls: list[float] = []
    began = marked = time.perf_counter()
    # Processes that reduce together must take the same steps, so their count is given.
    while (
        len(calls) < task["num_steps"]
        if task["num_steps"]
        else marked - began < task["min_seconds"] or len(calls) < 3
    ):
        step(CHECKED_STEPS + len(calls))
        now = time.perf_counter()
        calls.append(now - marked)
        marked = now
    _meet(task, "done")  # one that ended would take its last answers with it
    return {
        "engine": f"{type(runtime).__module__}.{type(runtime).__qualname__}",
        "seconds": {"build": build, "first": first, "calls": calls},
        "work": {"examples": [task["batch"] // task["processes"]] * len(calls)},
        "losses": losses,
        "local_bytes": runtime.bytes_per_device(),
    }


def count(task: dict[str, Any]) -> dict[str, Any]:
    """What a step takes on a mesh: bytes on a device, operations, bytes between them.

    On more than one device the program is DTensor's, traced once for all of them, or
    that of tf.distribute for a model with state, which DTensor's engine has not; it is
    stepped twice, so that it is seen to take another batch.  A mesh too large for the
    machine's memory is counted by way of one with fewer batch shards: a device's shard
    and weights are the same there, and so is what it reduces; only the devices that
    reduce together are fewer, and their number is put right.
    """
    # Of its filters' and biases' gradients in one op, oneDNN tells the graph a wrong
    # shape, and what is packed with it then does not add up.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    import tensorflow as tf

    # Many devices' graphs: to make each of them faster would take minutes.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    accounting = importlib.import_module("experiments.bench.counting")
    whole = _Parts(task)
    devices, shards = whole.topology.num_devices, whole.topology.size("batch")
    sizes, parts = {n: n for n in range(1, devices + 1)}, whole
    if devices > STEPPED_DEVICES:
        small, sizes = _smaller(task, devices, shards)
        parts = _Parts(small)

    runtime = parts.runtime(mesh=devices > 1)
    began = time.perf_counter()
    runtime.initialize(task["seed"])
    with accounting.recording() as functions:
        losses = [float(runtime.step(parts.batches[0], 0, task["seed"])["loss"])]
    losses.append(float(runtime.step(parts.batches[1], 1, task["seed"])["loss"]))
    seconds = time.perf_counter() - began
    found = [
        c._replace(num_devices=sizes[c.num_devices])
        for c in accounting.collectives(functions)
        if c.device == "CPU:0"
    ]
    held = runtime.bytes_per_device()
    wanted = accounting.device_bytes(
        whole.model, whole.optimizer, whole.topology, whole.settings
    )
    check = {
        "passed": all(map(math.isfinite, losses))
        and set(held.values()) == {sum(wanted.values())}
        and len(held) == parts.topology.num_devices,
        "held_bytes": sorted(set(held.values())),
        "devices": len(held),
        "losses": losses,
    }
    if not check["passed"]:
        check["reason"] = f"not the layouts' bytes ({wanted}), or a loss not finite"
    graph = graph_of(task)
    alone = devices == shards  # a shard is on one device
    return {
        "engine": f"{type(runtime).__module__}.{type(runtime).__qualname__}",
        "seconds": {"start_and_two_steps": seconds},
        "check": check,
        "work": {
            "stepped_on": str(parts.topology),
            "parameters": sum(math.prod(w.shape) for w in whole.model.weights.values()),
            "parameter_bytes": wanted["weights"],
            "held_bytes": max(held.values()),
            "activation_bytes": graph["activation_bytes"] if alone else None,
            "flops": graph["flops"],
            "batch_per_shard": task["batch"] // shards,
            "num_collectives": len(found),
            "sent_bytes": sum(map(sent_bytes, found)),
        },
    }


def _smaller(
    task: dict[str, Any], devices: int, shards: int
) -> tuple[dict[str, Any], dict[int, int]]:
    """The task with few batch shards, and what its groups of devices stand for."""
    alone = devices // shards  # devices of a shard
    few = 2 if alone != 2 else 4  # never as many as those, so as to tell them apart
    dims = dict(part.split(":") for part in task["topology"].split(","))
    topology = ",".join(f"{n}:{s}" for n, s in (dims | {"batch": str(few)}).items())
    batch = task["batch"] // shards * few
    sizes = {few: shards, alone: alone, few * alone: devices}
    return task | {"topology": topology, "batch": batch}, sizes


def sent_bytes(collective: Any) -> float:
    """What a device of a ring sends in a collective; num_bytes are what it ends with.

    Patarasuk and Yuan (2009).  Raises ValueError for an op that it does not know.
    """
    size, num_bytes = collective.num_devices, collective.num_bytes
    shares = {  # of the bytes that the op leaves on a device
        "CollectiveReduce": 2 * (size - 1) / size,
        "CollectiveGather": (size - 1) / size,
        "CollectiveReduceScatter": size - 1,
        "CollectiveAllToAll": (size - 1) / size,
    }
    kind = re.sub(r"V\d+$", "", collective.op)
    if kind not in shares:
        raise ValueError(f"{collective.op}: wanted one of {list(shares)}")
    return shares[kind] * num_bytes


# What the model's own graph says.


def graph_of(task: dict[str, Any]) -> dict[str, Any]:
    """Operations and kept bytes of loss and gradient of one shard, on one device.

    flops: of matrix products, einsums and convolutions, as traced.
    activation_bytes: of the tensors that the forward pass makes and the backward pass
      reads, weights and constants left out; an upper bound, for a compiler may
      compute some of them again.
    """
    import tensorflow as tf

    randomness = importlib.import_module("experiments.training.prng")
    parts = _Parts(task)
    model, (batch, *_) = parts.model, parts.batches
    shards = parts.topology.size("batch")
    specs = {
        name: tf.TensorSpec([value.shape[0] // shards, *value.shape[1:]], value.dtype)
        for name, value in batch.items()
    }
    weights, state = (
        {name: tf.TensorSpec(held.shape, tf.float32) for name, held in part.items()}
        for part in (model.weights, model.state)
    )
    size = next(iter(specs.values())).shape[0]
    forward: set[str] = set()

    @tf.function
    def gradients(
        weights: Any, state: Any, batch: Any, seed: tf.Tensor
    ) -> list[tf.Tensor]:
        random = randomness.BatchRng(seed, tf.constant(0), num_examples=size)
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
    kept = {
        tensor.ref(): tensor
        for op in operations(graph)
        if op.graph is graph and op.name not in forward
        for tensor in op.inputs
        if tensor.op.name in forward
        and tensor.op.type not in ("Placeholder", "Const", "Identity", "Shape")
    }
    return {
        "flops": sum(map(op_flops, operations(graph))),
        "activation_bytes": sum(
            math.prod(tensor.shape.as_list()) * tensor.dtype.size
            for tensor in kept.values()
            if tensor.shape.is_fully_defined()
        ),
    }


def operations(graph: Any) -> Iterator[Any]:
    """Every operation that a graph's outputs need, those of called functions too.

    Once for each call.  Raises ValueError for a loop, whose number of turns the graph
    does not tell.
    """
    waiting = [tensor.op for tensor in graph.outputs]
    seen = set()
    while waiting:
        op = waiting.pop()
        if op.name in seen:
            continue
        seen.add(op.name)
        waiting += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
        if op.type in ("While", "StatelessWhile"):
            raise ValueError(f"{op.name}: a loop, whose operations cannot be counted")
        yield op
        if op.type in ("PartitionedCall", "StatefulPartitionedCall"):
            yield from operations(graph._get_function(op.get_attr("f").name).graph)


def op_flops(op: Any) -> int:
    """Multiplications and additions of a product or convolution; 0 for the rest."""

    def size(tensor: Any) -> int:
        return math.prod(tensor.shape.as_list())

    if op.type == "MatMul":
        rows, columns = op.inputs[0].shape.as_list()
        return (
            2 * size(op.outputs[0]) * (rows if op.get_attr("transpose_a") else columns)
        )
    if op.type in ("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
        *_, rows, columns = op.inputs[0].shape.as_list()
        return 2 * size(op.outputs[0]) * (rows if op.get_attr("adj_x") else columns)
    if op.type == "Einsum":
        terms = op.get_attr("equation").decode().split("->")[0].split(",")
        if len(terms) < 2:
            return 0
        sizes: dict[str, int] = {}
        for term, tensor in zip(terms, op.inputs, strict=True):
            sizes |= dict(zip(term, tensor.shape.as_list(), strict=True))
        return 2 * math.prod(sizes.values())
    if op.type == "Conv2D":
        height, width, inner, _ = op.inputs[1].shape.as_list()
        return 2 * size(op.outputs[0]) * height * width * inner
    if op.type == "Conv2DBackpropInput":
        height, width, inner, _ = op.inputs[1].shape.as_list()
        return 2 * size(op.inputs[2]) * height * width * inner
    if op.type == "Conv2DBackpropFilter":
        height, width, inner, _ = op.outputs[0].shape.as_list()
        return 2 * size(op.inputs[2]) * height * width * inner
    return 0


# A task's model and place.


class _Parts:
    """Everything that a task names, made."""

    def __init__(self, task: dict[str, Any]) -> None:
        topology = importlib.import_module("experiments.training.topology")
        optimizers = importlib.import_module("experiments.training.optimizers")
        runtime = importlib.import_module("experiments.training.engine")
        self.topology = topology.parse(task["topology"])
        self.model = named(task["model"])(**task["options"])
        self.optimizer = optimizers.adam(optimizers.constant_schedule(1e-4))
        self.settings = runtime.StepSettings()
        batch = named(task["batches"])(
            named(task["examples"])(**task["examples_options"]),
            seed=task["seed"],
            batch_size=task["batch"],
            process=task["process"],
            num_processes=task["processes"],
        )
        self.batches = [batch(number) for number in range(NUM_BATCHES)]

    def runtime(self, *, mesh: bool = False) -> Any:
        """The engine that the project chooses for the topology, or DTensor's mesh.

        mesh: for DTensor's, which a model with state cannot have.
        """
        given = (self.model, self.optimizer, self.topology, self.settings)
        if not mesh or self.model.state:
            engines = importlib.import_module("experiments.engines.selection")
            return engines.make_engine(*given, device_type="CPU")
        dtensor = importlib.import_module("experiments.engines.sharded")
        topology = importlib.import_module("experiments.training.topology")
        return dtensor.Sharded(
            *given, topology.local_devices(self.topology.num_devices, "CPU")
        )


def named(place: str) -> Any:
    """What "package.module:name" names."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _meet(task: dict[str, Any], what: str) -> None:
    """Waits until all of the turn are there, so that what they measure overlaps."""
    if not task["meet"]:
        return
    folder, number, count = task["meet"]
    Path(folder, f"{what}-{number}").touch()
    until = time.monotonic() + task["timeout_seconds"]
    while len(list(Path(folder).glob(f"{what}-*"))) < count:
        if time.monotonic() > until:
            raise TimeoutError(f"{count} processes were to meet, and not all came")
        time.sleep(0.005)


def main(task_path: str, result_path: str) -> None:
    """Runs the task of one file and writes its result to another."""
    task = json.loads(Path(task_path).read_text())
    if task["cores"]:
        os.sched_setaffinity(0, task["cores"])
    result = run(task)
    Path(result_path).write_text(json.dumps(result))
    # At once: a client of a job whose others are gone may hang as it ends.
    os._exit(0 if result["status"] == "ok" else 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
