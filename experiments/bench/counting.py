"""Bytes and operations of a training step.

Some functions count from shapes and sharding rules alone.  They need no device, so they
count a model of any size on a mesh of any size.  Others count in the graphs that ran,
and tests compare the two.
"""

import contextlib
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.python.eager import context  # no public name collects graphs

from experiments.training.engine import StepSettings
from experiments.training.model import Model
from experiments.training.optimizers import Optimizer
from experiments.training.state import local_shape, sharding, variable_specs
from experiments.training.topology import Topology


class Collective(NamedTuple):
    """A device's part in one collective of a step."""

    device: str  # "CPU:0"
    op: str  # "CollectiveReduceV2" is an all-reduce
    num_devices: int  # that take part
    num_bytes: int  # of its output on this device


def device_bytes(
    model: Model, optimizer: Optimizer, topology: Topology, settings: StepSettings
) -> dict[str, int]:
    """The bytes of variables on each device, by their kind.

    The kinds are weights, slots, ema, step and, for a model that has it, state.
    """
    specs = sharding(model, topology)
    kinds = ("weights", "slots", "ema", "step", *(["state"] if model.state else []))
    num_bytes = dict.fromkeys(kinds, 0)
    variables = variable_specs(model, optimizer, ema=settings.ema_decay is not None)
    for variable in variables.values():
        size = math.prod(local_shape(variable, specs, topology))
        num_bytes[variable.collection] += size * variable.dtype.itemsize
    return num_bytes


@contextlib.contextmanager
def recording() -> Iterator[list[list[graph_pb2.GraphDef]]]:
    """A list that after the block has the graphs of each function that ran, by device.

    TensorFlow does not record a function that also ran before the block.
    """
    functions: list[list[graph_pb2.GraphDef]] = []
    context.enable_graph_collection()
    try:
        yield functions
        metadata = context.export_run_metadata()
    finally:
        context.disable_graph_collection()
    functions += [list(each.partition_graphs) for each in metadata.function_graphs]


def collectives(
    functions: Sequence[Sequence[graph_pb2.GraphDef]],
) -> list[Collective]:
    """Every collective, on each of its devices, in the graphs of `recording`.

    A collective in a loop is counted once.
    """
    found = []
    for graphs in functions:
        nodes = [[n for n in g.node if n.op.startswith("Collective")] for g in graphs]
        if all(_SHAPES in node.attr for node in itertools.chain(*nodes)):
            inferred = [None] * len(graphs)  # DTensor records the local shapes
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
                found.append(Collective(device_name(node.device), node.op, group, size))
    return found


_SHAPES = "_output_shapes"


def _with_shapes(graphs: Sequence[graph_pb2.GraphDef]) -> list[tf.Graph]:
    """The graphs of one function's devices, with shapes where they are known."""
    sent = {
        op.get_attr("tensor_name"): op.inputs[0].shape
        for graph in map(_imported, graphs)
        for op in graph.get_operations()
        if op.type == "_Send"
    }
    # A received tensor has the shape that it was sent with.
    imported = []
    for graph in graphs:
        copy = graph_pb2.GraphDef()
        copy.CopyFrom(graph)
        for node in copy.node:
            if node.op == "_Recv" and _SHAPES not in node.attr:
                shape = sent.get(node.attr["tensor_name"].s, tf.TensorShape(None))
                node.attr[_SHAPES].list.shape.append(shape.as_proto())
        imported.append(_imported(copy))
    return imported


def _imported(graph: graph_pb2.GraphDef) -> tf.Graph:
    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(graph, name="")
    return imported


def _constant(graph: graph_pb2.GraphDef, name: str) -> int:
    (node,) = [n for n in graph.node if n.name == name.partition(":")[0]]
    return int(tf.make_ndarray(node.attr["value"].tensor))


def ring_bytes(collective: Collective) -> float:
    """The bytes that each device of a ring sends in a collective.

    Patarasuk and Yuan (2009).  Raises ValueError for other collectives.
    """
    size = collective.num_devices
    factors = {  # of the bytes that the op outputs on a device
        "CollectiveReduce": 2 * (size - 1) / size,
        "CollectiveGather": (size - 1) / size,
        "CollectiveReduceScatter": size - 1,
        "CollectiveAllToAll": (size - 1) / size,
    }
    kind = re.sub(r"V\d+$", "", collective.op)
    if kind not in factors:
        raise ValueError(f"op: given {collective.op}, wanted one of {list(factors)}")
    return factors[kind] * collective.num_bytes


# Operations of a traced graph.


def operations(graph: Any) -> Iterator[Any]:
    """Every op that a graph's outputs need, those of a called function at each call.

    Raises ValueError for a loop, because the graph does not say how often it runs.
    """
    queue = [tensor.op for tensor in graph.outputs]
    seen = set()
    while queue:
        op = queue.pop()
        if op.name in seen:
            continue
        seen.add(op.name)
        queue += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
        if op.type in ("While", "StatelessWhile"):
            raise ValueError(f"{op.name}: a loop, whose operations cannot be counted")
        yield op
        if op.type in ("PartitionedCall", "StatefulPartitionedCall"):
            yield from operations(graph._get_function(op.get_attr("f").name).graph)


def graph_flops(graph: Any) -> int:
    """Multiplications and additions of a graph's products and convolutions.

    Raises ValueError as `operations` does.
    """
    return sum(map(_op_flops, operations(graph)))


def _op_flops(op: Any) -> int:
    def size(tensor: Any) -> int:
        return math.prod(tensor.shape.as_list())

    if op.type in ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
        *_, rows, columns = op.inputs[0].shape.as_list()
        transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
        return 2 * size(op.outputs[0]) * (rows if transposed else columns)
    if op.type == "Einsum":
        terms = op.get_attr("equation").decode().split("->")[0].split(",")
        if len(terms) < 2:
            return 0
        sizes: dict[str, int] = {}
        for term, tensor in zip(terms, op.inputs, strict=True):
            sizes |= dict(zip(term, tensor.shape.as_list(), strict=True))
        return 2 * math.prod(sizes.values())
    if op.type in ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter"):
        backprop_filter = op.type == "Conv2DBackpropFilter"
        kernel = op.outputs[0] if backprop_filter else op.inputs[1]
        outputs = op.outputs[0] if op.type == "Conv2D" else op.inputs[2]
        height, width, channels, _ = kernel.shape.as_list()
        return 2 * size(outputs) * height * width * channels
    return 0


# Transfers in graphs whose ops have devices, as those of manual placement do.


def transferred_bytes(graph: tf.Graph) -> dict[tuple[str, str], int]:
    """The bytes that one run of a graph sends, by (source, target) device.

    A tensor is sent to a device once, however many ops there read it.  Outputs of ops
    without a device, which are the graph's arguments, do not count.  Nor do resources.
    """
    transfers: dict[tuple[str, str], dict[str, int]] = {}
    for op in graph.get_operations():
        for tensor in op.inputs:
            if not (op.device and tensor.op.device) or tensor.dtype == tf.resource:
                continue
            pair = device_name(tensor.op.device), device_name(op.device)
            if pair[0] != pair[1]:
                transfers.setdefault(pair, {})[tensor.name] = tensor_bytes(tensor)
    return {pair: sum(tensors.values()) for pair, tensors in transfers.items()}


def device_name(device: str) -> str:
    """As "CPU:0"."""
    spec = tf.DeviceSpec.from_string(device)
    return f"{spec.device_type}:{spec.device_index}"


def tensor_bytes(tensor: tf.Tensor) -> int:
    """The bytes of a tensor.  Raises ValueError where its shape is not known."""
    num = tensor.shape.num_elements()
    if num is None:
        raise ValueError(f"{tensor.name}: shape {tensor.shape}, wanted a known one")
    return num * tensor.dtype.size
