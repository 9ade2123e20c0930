"""Finds where a density depends on draws, or on variables without a gradient."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import tensorflow as tf

# Piecewise constant or constant, so that no gradient is a gradient of zero; and what
# the user asks to be left out.
_ZERO_GRADIENT = set(
    "StopGradient PreventGradient Floor Ceil Round Rint Sign FloorDiv TruncateDiv "
    "ZerosLike OnesLike NextAfter".split()
)
# Their gradients are functions of their own, which need not be built to be known.
_CALLS = set(
    "While StatelessWhile If StatelessIf Case StatelessCase PartitionedCall "
    "StatefulPartitionedCall".split()
)
# Each call draws anew, unlike those of a seed ("Stateless...").
_DRAWS = set(
    "RandomUniform RandomUniformInt RandomStandardNormal TruncatedNormal "
    "ParameterizedTruncatedNormal RandomGamma RandomPoisson RandomPoissonV2 "
    "Multinomial RandomShuffle RngReadAndSkip NonDeterministicInts StatefulUniform "
    "StatefulUniformInt StatefulUniformFullInt StatefulStandardNormal "
    "StatefulStandardNormalV2 StatefulTruncatedNormal StatefulRandomBinomial".split()
)


def draws(graph: tf.Graph, output: tf.Tensor) -> list[str]:
    """The operations that draw random numbers which `output` depends on.

    Those of the functions that the graph calls count too.
    """
    needed = _needed_by(output)
    ops = [
        op
        for op in graph.get_operations()
        if any(result.ref() in needed for result in op.outputs)
    ]
    kinds = {op.type for op in ops}
    if kinds & _CALLS:
        for function in graph.as_graph_def().library.function:
            kinds |= {node.op for node in function.node_def}
    return sorted(kinds & _DRAWS)


def all_nodes(graph: tf.Graph) -> list[Any]:
    """The operations of the graph and of the functions that it calls, as protos."""
    graph_def = graph.as_graph_def()
    nodes = [*graph_def.node]
    for function in graph_def.library.function:
        nodes += function.node_def
    return nodes


def has_loops_or_branches(graph: tf.Graph) -> bool:
    """Whether the graph, or a function that it calls, has a loop or a branch.

    So has what vectorizes by a loop without a gradient: a tf.py_function.
    """
    kinds = {node.op for node in all_nodes(graph)}
    return any("Call" not in kind for kind in kinds & {*_CALLS, "EagerPyFunc"})


def missing_gradients(
    graph: tf.Graph, inputs: Mapping[str, tf.Tensor], output: tf.Tensor
) -> dict[str, list[str]]:
    """The operations between input and output that have no gradient, by input name.

    `tf.GradientTape` treats such a path as constant, so its gradient is silently too
    small.  Loops, branches and calls of functions are not looked into.

    graph: of a function that is not used otherwise; operations are added to it.
    """
    needed = _needed_by(output)
    constant = {
        result.ref()
        for op in graph.get_operations()
        if op.type in _ZERO_GRADIENT
        for result in op.outputs
    }
    reached = {
        name: reached_from(tensor, constant) - constant
        for name, tensor in inputs.items()
    }
    anywhere = set().union(*reached.values())
    known: dict[Any, list[int]] = {}
    suspects: list[tuple[tf.Operation, list[tf.Tensor]]] = []
    for op in graph.get_operations():
        if op.type in _ZERO_GRADIENT | _CALLS:
            continue
        outputs = [t for t in op.outputs if _is_float(t) and t.ref() in needed]
        parts = [t for t in op.inputs if _is_float(t) and t.ref() in anywhere]
        if not (outputs and parts):
            continue
        # All operations of one type have one gradient function, but for these.
        kind = op.name if op.type == "IdentityN" else op.type
        key = (
            kind,
            tuple(_places(outputs, op.outputs)),
            tuple(_places(parts, op.inputs)),
        )
        if key not in known:
            lacking = _without_gradient(graph, op, outputs, parts)
            known[key] = _places(lacking, op.inputs)
        if known[key]:
            suspects.append((op, [op.inputs[index] for index in known[key]]))
    found: dict[str, list[str]] = {}
    for name, tensors in reached.items():
        for op, lacking in suspects:
            if any(part.ref() in tensors for part in lacking):
                found.setdefault(name, []).append(op.type)
    return found


def _without_gradient(
    graph: tf.Graph,
    op: tf.Operation,
    outputs: Sequence[tf.Tensor],
    parts: Sequence[tf.Tensor],
) -> list[tf.Tensor]:
    """Those of the operation's inputs that its gradient leaves out."""
    try:
        with graph.as_default():
            grads = tf.gradients(outputs, list(parts), stop_gradients=list(parts))
    except LookupError:  # no gradient is registered
        return list(parts)
    lacking = [part for part, grad in zip(parts, grads, strict=True) if grad is None]
    if lacking and op.type == "IdentityN":
        # tf.custom_gradient makes it of the function's results and then its arguments,
        # and the gradient goes to the arguments alone.
        used = {tensor.ref() for tensor in outputs}
        last = max(i for i, result in enumerate(op.outputs) if result.ref() in used)
        arguments = list(op.inputs)[last + 1 :]
        lacking = [
            part
            for part in lacking
            if any(part is argument for argument in arguments)
            and not any(
                part.ref() in reached_from(a) for a in arguments if a is not part
            )
        ]
    return lacking


def _places(some: Sequence[tf.Tensor], tensors: Sequence[tf.Tensor]) -> list[int]:
    """The indices of `some` among an operation's tensors."""
    wanted = {tensor.ref() for tensor in some}
    return [index for index, tensor in enumerate(tensors) if tensor.ref() in wanted]


def _is_float(tensor: tf.Tensor) -> bool:
    return bool(tensor.dtype.is_floating)


def _needed_by(output: tf.Tensor) -> set[object]:
    """The tensors that `output` is computed from, and itself, by reference."""
    needed, stack = {output.ref()}, [output]
    while stack:
        for part in stack.pop().op.inputs:
            if part.ref() not in needed:
                needed.add(part.ref())
                stack.append(part)
    return needed


def reached_from(
    tensor: tf.Tensor, stop: AbstractSet[object] = frozenset()
) -> set[object]:
    """The tensors that are computed from `tensor`, and itself, by reference.

    stop: tensors beyond which it does not look.
    """
    reached, stack = {tensor.ref()}, [tensor]
    while stack:
        for op in stack.pop().consumers():
            for result in op.outputs:
                if result.ref() not in reached:
                    reached.add(result.ref())
                    if result.ref() not in stop:
                        stack.append(result)
    return reached
