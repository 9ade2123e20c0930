"""What tests count in a step's graph, to compare with what the benchmarks count."""

import itertools
from collections.abc import Mapping, Sequence

import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from experiments.bench.counting import device_name, tensor_bytes
from experiments.training import train_step
from experiments.training.engine import StepSettings
from experiments.training.model import Model, Tensors
from experiments.training.optimizers import Optimizer
from experiments.training.prng import BatchRng
from experiments.training.state import loss_inputs, variable_specs

# Ops that move or hold values and compute none.
IDLE_OPS = ("Const", "NoOp", "Identity", "IdentityN", "_Arg", "_Retval", "_DeviceArg")
IDLE_OPS += ("_DeviceRetval", "_Send", "_Recv", "_HostSend", "_HostRecv")
# Ops that output the memory of their inputs, or that take no memory of their own.
ALIASES = ("Identity", "IdentityN", "Reshape", "ExpandDims", "Squeeze", "StopGradient")
ALIASES += ("Placeholder", "ReadVariableOp", "NoOp", "Const")


def traced_step(
    model: Model,
    optimizer: Optimizer,
    settings: StepSettings,
    batch: Mapping[str, tf.TensorSpec],
) -> tf.types.experimental.ConcreteFunction:
    """The whole step as one graph, traced without allocating its variables.

    batch: the specs of a step's arrays.

    It maps (variables by name, batch, seed [2] int32) to (new variables, results).
    """
    all_variables = variable_specs(model, optimizer, ema=settings.ema_decay is not None)
    num_examples = next(iter(batch.values())).shape[0]

    def step(
        values: Tensors, batch: Tensors, seed: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        arguments = {
            name: values[full] for name, full in loss_inputs(model, ema=False).items()
        }
        stats, grads, statistics = train_step.loss_and_gradients(
            model,
            settings,
            arguments,
            batch,
            BatchRng(seed, tf.constant(0)),
            num_examples=num_examples,
            gradients=True,
        )
        updated, norm = train_step.apply_gradients(optimizer, settings, values, grads)
        updated |= train_step.next_state(model, arguments, statistics)
        return updated, {**stats, "gradient_norm": norm}

    specs = {n: tf.TensorSpec(v.shape, v.dtype) for n, v in all_variables.items()}
    seed = tf.TensorSpec([2], tf.int32)
    return tf.function(step).get_concrete_function(specs, dict(batch), seed)


def ops_per_device(functions: Sequence[Sequence[graph_pb2.GraphDef]]) -> dict[str, int]:
    """How many ops compute on each device, in the graphs of `recording`."""
    num_ops: dict[str, int] = {}
    for graph in itertools.chain(*functions):
        for node in graph.node:
            if node.op not in IDLE_OPS:
                device = device_name(node.device)
                num_ops[device] = num_ops.get(device, 0) + 1
    return num_ops


def recorded_transfer_bytes(
    functions: Sequence[Sequence[graph_pb2.GraphDef]], graph: tf.Graph
) -> dict[tuple[str, str], int]:
    """As `transferred_bytes`, but in the graphs of `recording`, which ran.

    graph: that the functions were made from.  Shapes are looked up in it by the ops'
      names, so it must have run without Grappler, which renames them.
    """
    sent: dict[tuple[str, str], int] = {}
    for partition in itertools.chain(*functions):
        for node in partition.node:
            if node.op != "_Send":
                continue
            source = device_name(node.attr["send_device"].s.decode())
            target = device_name(node.attr["recv_device"].s.decode())
            name, _, output = node.input[0].partition(":")
            if source == target or name.startswith("^"):
                continue
            try:
                tensor = graph.get_tensor_by_name(f"{name}:{output or 0}")
            except KeyError:  # TensorFlow added it to order ops: it has no value
                continue
            if not tensor.op.device:
                continue
            if target in {
                device_name(op.device) for op in tensor.consumers() if op.device
            }:
                pair = (source, target)
                sent[pair] = sent.get(pair, 0) + tensor_bytes(tensor)
    return sent


def unplaced_ops(graph: tf.Graph) -> list[str]:
    """Names of ops without a device, which TensorFlow places on the first one.

    Arguments and results of the graph, and ops without a value, are left out.
    """
    return [
        op.name
        for op in graph.get_operations()
        if not op.device
        and op.type not in ("Placeholder", "NoOp")
        and not (op.type == "Identity" and not op.outputs[0].consumers())
    ]


def output_bytes(graph: tf.Graph) -> dict[str, int]:
    """The bytes that all ops of each device output in one run.

    An upper bound on the peak.  The peak is far lower, because TensorFlow frees what no
    later op reads.  Outputs of a function count on the device of its caller.
    """
    num_bytes: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for op in graph.get_operations():
        if op.device:
            device = device_name(op.device)
            num_bytes[device] = num_bytes.get(device, 0) + _op_output_bytes(op, sizes)
    return num_bytes


def _op_output_bytes(op: tf.Operation, sizes: dict[str, int]) -> int:
    if op.type in ("PartitionedCall", "StatefulPartitionedCall"):
        name = op.get_attr("f").name
        if name not in sizes:
            inner = op.graph._get_function(name).graph
            ops = inner.get_operations()
            sizes[name] = sum(_op_output_bytes(each, sizes) for each in ops)
        return sizes[name]
    if op.type == "BroadcastGradientArgs":  # the data decide how many dimensions
        return sum(tensor_bytes(tensor) for tensor in op.inputs)
    return (
        0 if op.type in ALIASES else sum(tensor_bytes(tensor) for tensor in op.outputs)
    )
