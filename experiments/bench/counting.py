"""Bytes and ops of a step: from shapes and rules alone, and from the graphs that ran.

The first needs no device, so a model of any size can be counted on a mesh of any; the
second is what the first is held against.
"""

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.python.eager import context  # no public name collects graphs

from experiments.training import train_step
from experiments.training.engine import StepSettings
from experiments.training.model import Model, Tensors
from experiments.training.optimizers import Optimizer
from experiments.training.prng import BatchRng
from experiments.training.state import (
    local_shape,
    loss_inputs,
    sharding,
    variable_specs,
)
from experiments.training.topology import Topology

# Ops that move or hold values and compute none.
IDLE_OPS = ("Const", "NoOp", "Identity", "IdentityN", "_Arg", "_Retval", "_DeviceArg")
IDLE_OPS += ("_DeviceRetval", "_Send", "_Recv", "_HostSend", "_HostRecv")


class Collective(NamedTuple):
    """A device's part in one collective of a step."""

    device: str  # "CPU:0"
    op: str  # "CollectiveReduceV2" is an all-reduce
    num_devices: int  # that take part
    num_bytes: int  # of what comes out of it on this device


def device_bytes(
    model: Model, optimizer: Optimizer, topology: Topology, settings: StepSettings
) -> dict[str, int]:
    """Bytes that each device keeps of weights, slots, ema, step and, if any, state."""
    sharded = sharding(model, topology)
    kinds = ("weights", "slots", "ema", "step", *(["state"] if model.state else []))
    found = dict.fromkeys(kinds, 0)
    kept = variable_specs(model, optimizer, ema=settings.ema_decay is not None)
    for variable in kept.values():
        num = math.prod(local_shape(variable, sharded, topology))
        found[variable.collection] += num * variable.dtype.itemsize
    return found


def gradient_bytes(model: Model, topology: Topology, *, num_stats: int = 1) -> int:
    """Float32 bytes that a device hands to a step's all-reduce over the batch.

    num_stats: scalars summed with the gradients: the loss and each of the model's
      numbers.  On a mesh of examples alone this is all that travels, but for the
      statistics of a model with state.
    """
    if topology.size("batch") == 1:
        return 0
    alone = Optimizer(slots=lambda shape: {}, update=lambda *arguments: ({}, {}))
    held = device_bytes(model, alone, topology, StepSettings())
    return held["weights"] + 4 * num_stats


def traced_step(
    model: Model,
    optimizer: Optimizer,
    settings: StepSettings,
    batch: Mapping[str, tf.TensorSpec],
) -> tf.types.experimental.ConcreteFunction:
    """The whole step as one graph, of the variables given to it: nothing is allocated.

    batch: of a step's arrays.

    Of (variables by name, batch, seed [2] int32), it gives variables and results.
    """
    kept = variable_specs(model, optimizer, ema=settings.ema_decay is not None)
    size = next(iter(batch.values())).shape[0]

    def step(
        held: Tensors, batch: Tensors, seed: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        given = {n: held[full] for n, full in loss_inputs(model, ema=False).items()}
        stats, grads, statistics = train_step.loss_and_gradients(
            model,
            settings,
            given,
            batch,
            BatchRng(seed, tf.constant(0)),
            num_examples=size,
            gradients=True,
        )
        after, norm = train_step.apply_gradients(optimizer, settings, held, grads)
        after |= train_step.next_state(model, given, statistics)
        return after, {**stats, "gradient_norm": norm}

    specs = {n: tf.TensorSpec(v.shape, v.dtype) for n, v in kept.items()}
    seed = tf.TensorSpec([2], tf.int32)
    return tf.function(step).get_concrete_function(specs, dict(batch), seed)


@contextlib.contextmanager
def recording() -> Iterator[list[list[graph_pb2.GraphDef]]]:
    """A list that after the block has each function that ran: a graph for each device.

    Of functions that ran before and ran again nothing is recorded.
    """
    functions: list[list[graph_pb2.GraphDef]] = []
    context.enable_graph_collection()
    try:
        yield functions
        metadata = context.export_run_metadata()
    finally:
        context.disable_graph_collection()
    functions += [list(found.partition_graphs) for found in metadata.function_graphs]


def ops_of_devices(functions: Sequence[Sequence[graph_pb2.GraphDef]]) -> dict[str, int]:
    """How many ops that compute each device has, in what `recording` gave."""
    found: dict[str, int] = {}
    for graph in itertools.chain(*functions):
        for node in graph.node:
            if node.op not in IDLE_OPS:
                device = _device(node)
                found[device] = found.get(device, 0) + 1
    return found


def collectives(
    functions: Sequence[Sequence[graph_pb2.GraphDef]],
) -> list[Collective]:
    """Every collective, on each of its devices, in what `recording` gave.

    One in a loop is counted once.
    """
    found = []
    for graphs in functions:
        nodes = [[n for n in g.node if n.op.startswith("Collective")] for g in graphs]
        if all(_SHAPES in node.attr for node in itertools.chain(*nodes)):
            inferred = [None] * len(graphs)  # DTensor writes the local shapes down
        else:
            inferred = _with_shapes(graphs)
        for graph, theirs, shapes in zip(graphs, nodes, inferred, strict=True):
            for node in theirs:
                if shapes is None:
                    shape = tf.TensorShape(node.attr[_SHAPES].list.shape[0])
                else:
                    shape = shapes.get_operation_by_name(node.name).outputs[0].shape
                size = shape.num_elements() * tf.as_dtype(node.attr["T"].type).size
                group = _constant(graph, node.input[1])
                found.append(Collective(_device(node), node.op, group, size))
    return found


_SHAPES = "_output_shapes"


def _with_shapes(graphs: Sequence[graph_pb2.GraphDef]) -> list[tf.Graph]:
    """The graphs of one function's devices, with shapes as far as they are known."""
    sent = {
        op.get_attr("tensor_name"): op.inputs[0].shape
        for graph in map(_imported, graphs)
        for op in graph.get_operations()
        if op.type == "_Send"
    }
    # What one device has of another has the shape that it had there.
    told = []
    for graph in graphs:
        copy = graph_pb2.GraphDef()
        copy.CopyFrom(graph)
        for node in copy.node:
            if node.op == "_Recv" and _SHAPES not in node.attr:
                shape = sent.get(node.attr["tensor_name"].s, tf.TensorShape(None))
                node.attr[_SHAPES].list.shape.append(shape.as_proto())
        told.append(_imported(copy))
    return told


def _imported(graph: graph_pb2.GraphDef) -> tf.Graph:
    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(graph, name="")
    return imported


def _constant(graph: graph_pb2.GraphDef, name: str) -> int:
    (node,) = [n for n in graph.node if n.name == name.partition(":")[0]]
    return int(tf.make_ndarray(node.attr["value"].tensor))


def _device(node: node_def_pb2.NodeDef) -> str:
    spec = tf.DeviceSpec.from_string(node.device)
    return f"{spec.device_type}:{spec.device_index}"


# Of graphs whose ops name their devices, as those of placed cores do.

# Ops that hand on the memory of what they are given, or take no memory of their own.
ALIASES = ("Identity", "IdentityN", "Reshape", "ExpandDims", "Squeeze", "StopGradient")
ALIASES += ("Placeholder", "ReadVariableOp", "NoOp", "Const")


def passed_bytes(graph: tf.Graph) -> dict[tuple[str, str], int]:
    """Bytes that go from device to device, (from, to), in one run of a graph.

    A tensor goes once to a device, however many ops there read it; none is larger for
    being sent.  What comes from ops without a device, which are the graph's arguments,
    does not count, nor do resources.
    """
    passed: dict[tuple[str, str], dict[str, int]] = {}
    for op in graph.get_operations():
        for tensor in op.inputs:
            if not (op.device and tensor.op.device) or tensor.dtype == tf.resource:
                continue
            source, target = _short(tensor.op.device), _short(op.device)
            if source != target:
                passed.setdefault((source, target), {})[tensor.name] = _size(tensor)
    return {pair: sum(tensors.values()) for pair, tensors in passed.items()}


def sent_bytes(
    functions: Sequence[Sequence[graph_pb2.GraphDef]], graph: tf.Graph
) -> dict[tuple[str, str], int]:
    """What `passed_bytes` gives, of what ran: `recording` gave `functions`.

    graph: of which the functions were made, for the shapes; it must have run without
      Grappler's rewriting, which renames ops.
    """
    sent: dict[tuple[str, str], int] = {}
    for partition in itertools.chain(*functions):
        for node in partition.node:
            if node.op != "_Send":
                continue
            source = _short(node.attr["send_device"].s.decode())
            target = _short(node.attr["recv_device"].s.decode())
            name, _, output = node.input[0].partition(":")
            if source == target or name.startswith("^"):
                continue
            try:
                tensor = graph.get_tensor_by_name(f"{name}:{output or 0}")
            except KeyError:  # made by TensorFlow for an order of ops: it holds nothing
                continue
            if not tensor.op.device:
                continue
            if target in {_short(op.device) for op in tensor.consumers() if op.device}:
                pair = (source, target)
                sent[pair] = sent.get(pair, 0) + _size(tensor)
    return sent


def ops_nowhere(graph: tf.Graph) -> list[str]:
    """Names of ops without a device, which TensorFlow puts on the first one.

    The graph's arguments and results, and what holds nothing, are not among them.
    """
    return [
        op.name
        for op in graph.get_operations()
        if not op.device
        and op.type not in ("Placeholder", "NoOp")
        and not (op.type == "Identity" and not op.outputs[0].consumers())
    ]


def made_bytes(graph: tf.Graph) -> dict[str, int]:
    """Bytes of all that each device's ops make in one run: no peak can be higher.

    What functions make is their caller's device's.  TensorFlow frees what no later op
    reads, so that the peak is far lower.
    """
    made: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for op in graph.get_operations():
        if op.device:
            device = _short(op.device)
            made[device] = made.get(device, 0) + _made_by(op, sizes)
    return made


def _made_by(op: tf.Operation, sizes: dict[str, int]) -> int:
    if op.type in ("PartitionedCall", "StatefulPartitionedCall"):
        name = op.get_attr("f").name
        if name not in sizes:
            inner = op.graph._get_function(name).graph
            sizes[name] = sum(_made_by(each, sizes) for each in inner.get_operations())
        return sizes[name]
    if op.type == "BroadcastGradientArgs":  # some dimensions: which, data decide
        return sum(_size(tensor) for tensor in op.inputs)
    return 0 if op.type in ALIASES else sum(_size(tensor) for tensor in op.outputs)


def _short(device: str) -> str:
    spec = tf.DeviceSpec.from_string(device)
    return f"{spec.device_type}:{spec.device_index}"


def _size(tensor: tf.Tensor) -> int:
    """Bytes.  Raises ValueError where the shape is not known."""
    num = tensor.shape.num_elements()
    if num is None:
        raise ValueError(f"{tensor.name}: shape {tensor.shape}, wanted a known one")
    return num * tensor.dtype.size
