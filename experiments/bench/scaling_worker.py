"""The tasks of the scaling benchmark: probe a core, measure steps, count a step."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments import datasets, toy_models
from experiments.bench import counting, step_timing
from experiments.datasets import images
from experiments.engines import selection, sharded
from experiments.image_transformer import image_transformer
from experiments.toy_models import data as toy_data
from experiments.training import optimizers, topology
from experiments.training.engine import Engine, StepSettings
from experiments.training.model import Model
from experiments.training.prng import BatchRng
from experiments.vq_vae import Codebook, Sizes
from experiments.vq_vae import program as vq_vae_program

MIN_CALLS = 3
MAX_STEPPED_DEVICES = 64  # the graphs of 512 devices need more than 20 GB
PROBE_BYTES = 256 * 2**20
PROBE_DIM = 1024


def vq_vae(**options: Any) -> Model:
    """The VQ-VAE.

    options: fields of `vq_vae.Sizes` and of `vq_vae.Codebook`.

    Raises ValueError for other names, and as `vq_vae.program.model` does.
    """
    unknown = sorted(set(options) - {*Sizes._fields, *Codebook._fields})
    missing = [name for name in ("size", "channels") if name not in options]
    if unknown or missing:
        raise ValueError(
            f"vq_vae: given unknown {unknown} and no {missing}, wanted fields of "
            "Sizes and Codebook"
        )
    codebook = {name: v for name, v in options.items() if name in Codebook._fields}
    sizes = {name: v for name, v in options.items() if name not in codebook}
    return vq_vae_program.model(Sizes(**sizes), Codebook(**codebook))


class Subject(NamedTuple):
    """How a model and its examples are made of a task's options."""

    model: Callable[..., Model]  # of all options
    examples: Callable[..., Any]
    examples_options: Mapping[str, str]  # by the argument of `examples`
    batches: Callable[..., Any]


SUBJECTS = {
    "transformer": Subject(
        toy_models.transformer,
        toy_models.token_lines,
        {"length": "length", "vocabulary": "vocabulary"},
        toy_data.batches,
    ),
    "vector_quantized": Subject(
        toy_models.vector_quantized,
        toy_models.blob_images,
        {"size": "size"},
        toy_data.batches,
    ),
    "vq_vae": Subject(
        vq_vae,
        datasets.natural_image_crops,
        {"size": "size"},
        images.training_batches,
    ),
    "image_transformer": Subject(
        image_transformer,
        datasets.natural_image_crops,
        {"size": "height"},
        images.training_batches,
    ),
}


class Training(NamedTuple):
    """What a task names: a model, how it is trained and its first batches."""

    model: Model
    optimizer: optimizers.Optimizer
    topology: topology.Topology
    settings: StepSettings
    batches: list[Mapping[str, np.ndarray]]


def make_training(task: Mapping[str, Any]) -> Training:
    """The training that a task names."""
    subject, options = SUBJECTS[task["subject"]], task["options"]
    examples = {name: options[key] for name, key in subject.examples_options.items()}
    batch = subject.batches(
        subject.examples(**examples),
        seed=task["seed"],
        batch_size=task["batch"],
        process=task["process"],
        num_processes=task["processes"],
    )
    return Training(
        subject.model(**options),
        optimizers.adam(optimizers.constant_schedule(1e-4)),
        topology.parse(task["topology"]),
        StepSettings(),
        [batch(number) for number in range(step_timing.NUM_BATCHES)],
    )


def make_engine(training: Training, *, mesh: bool = False) -> Engine:
    """The engine that the project chooses for the topology.

    mesh: DTensor's engine instead, unless the model has state, which it cannot train.
    """
    arguments = training[:4]
    if not mesh or training.model.state:
        return selection.make_engine(*arguments, device_type="CPU")
    num_devices = training.topology.num_devices
    return sharded.Sharded(*arguments, topology.local_devices(num_devices, "CPU"))


def probe(task: step_timing.Task) -> dict[str, Any]:
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


def measure(task: step_timing.Task) -> dict[str, Any]:
    """Times steps of a model in this process, perhaps one of several."""
    training = make_training(task)
    engine: Any = None

    def prepare() -> Callable[[int], float]:
        nonlocal engine
        engine = make_engine(training)
        engine.initialize(task["seed"])

        def step(number: int) -> float:
            batch = training.batches[number % step_timing.NUM_BATCHES]
            return float(engine.step(batch, number, task["seed"])["loss"])

        return step

    seconds, losses = step_timing.time_steps(
        prepare,
        min_seconds=task["min_seconds"],
        min_calls=MIN_CALLS,
        # Processes that reduce together must take the same number of steps.
        num_calls=task["num_steps"],
        # None may end while another still needs its last messages.
        barrier=lambda name: _wait_for_others(task, name),
    )
    return {
        "engine": _class_name(engine),
        "seconds": seconds,
        "work": {
            "examples": [task["batch"] // task["processes"]] * len(seconds["calls"])
        },
        "losses": losses,
        "local_bytes": engine.bytes_per_device(),
    }


def _class_name(engine: Engine) -> str:
    return f"{type(engine).__module__}.{type(engine).__qualname__}"


def _wait_for_others(task: Mapping[str, Any], name: str) -> None:
    """Waits until all processes of the case are here, so that their steps overlap."""
    if not task["barrier"]:
        return
    folder, index, count = task["barrier"]
    Path(folder, f"{name}-{index}").touch()
    end = time.monotonic() + task["timeout_seconds"]
    while len(list(Path(folder).glob(f"{name}-*"))) < count:
        if time.monotonic() > end:
            raise TimeoutError(f"{name}: not all of {count} processes came")
        time.sleep(0.005)


def count(task: step_timing.Task) -> dict[str, Any]:
    """What a step on a mesh takes: bytes on a device, operations, bytes between them.

    On several devices the engine is DTensor's, which is traced once for all of them, or
    tf.distribute's for a model with state.  It takes two steps, so that a second batch
    is seen to work.  A mesh that does not fit in memory is counted by a mesh with fewer
    batch shards: the shard and the weights of a device are the same there, and so is
    what it reduces.  The size of the groups that reduce together is then corrected.
    """
    # Optimising the graphs of many devices would take minutes.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    whole = make_training(task)
    devices, shards = whole.topology.num_devices, whole.topology.size("batch")
    group_sizes, stepped = {n: n for n in range(1, devices + 1)}, whole
    if devices > MAX_STEPPED_DEVICES:
        small, group_sizes = _with_fewer_shards(task, devices, shards)
        stepped = make_training(small)

    engine = make_engine(stepped, mesh=devices > 1)
    begin = time.perf_counter()
    engine.initialize(task["seed"])
    with counting.recording() as functions:
        losses = [float(engine.step(stepped.batches[0], 0, task["seed"])["loss"])]
    losses.append(float(engine.step(stepped.batches[1], 1, task["seed"])["loss"]))
    seconds = time.perf_counter() - begin
    collectives = [
        c._replace(num_devices=group_sizes[c.num_devices])
        for c in counting.collectives(functions)
        if c.device == "CPU:0"
    ]
    kept = engine.bytes_per_device()
    expected = counting.device_bytes(*whole[:4])
    check = {
        "passed": all(map(math.isfinite, losses))
        and set(kept.values()) == {sum(expected.values())}
        and len(kept) == stepped.topology.num_devices,
        "held_bytes": sorted(set(kept.values())),
        "devices": len(kept),
        "losses": losses,
    }
    if not check["passed"]:
        check["reason"] = f"wanted {expected} bytes on each device and finite losses"
    graph = count_graph(task)
    one_device_a_shard = devices == shards
    return {
        "engine": _class_name(engine),
        "seconds": {"start_and_two_steps": seconds},
        "check": check,
        "work": {
            "stepped_on": str(stepped.topology),
            "parameters": sum(math.prod(w.shape) for w in whole.model.weights.values()),
            "parameter_bytes": expected["weights"],
            "held_bytes": max(kept.values()),
            "activation_bytes": (
                graph["activation_bytes"] if one_device_a_shard else None
            ),
            "flops": graph["flops"],
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
    training = make_training(task)
    model, batch = training.model, training.batches[0]
    shards = training.topology.size("batch")
    specs = {
        name: tf.TensorSpec([value.shape[0] // shards, *value.shape[1:]], value.dtype)
        for name, value in batch.items()
    }
    weights, state = (
        {name: tf.TensorSpec(one.shape, tf.float32) for name, one in part.items()}
        for part in (model.weights, model.state)
    )
    num_examples = next(iter(specs.values())).shape[0]
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
            math.prod(tensor.shape.as_list()) * tensor.dtype.size
            for tensor in activations.values()
            if tensor.shape.is_fully_defined()
        ),
    }


MODES = {"probe": probe, "measure": measure, "count": count}
