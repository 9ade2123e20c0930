"""A traced density as XLA compiles it well for a CPU."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context

from experiments.inference import linear_algebra
from experiments.inference.leapfrog import LogProbAndGrad

_PRODUCTS = {"MatMul": "transpose_a", "BatchMatMul": "adj_x"}
_PRODUCTS |= {"BatchMatMulV2": "adj_x", "BatchMatMulV3": "adj_x"}
_SOLVERS = ("Cholesky", "MatrixTriangularSolve")
_REAL = (tf.float32, tf.float64)
# A product of matrices with fewer multiplications costs no less outside the loop.
_SMALL = 512
_SUFFIX = "_in_loops"  # of the names of changed functions

_Shapes = Mapping[str, list[tf.TensorShape]]  # of an operation's outputs, by its name


def in_loops(traced: Any) -> LogProbAndGrad | None:
    """`traced` with its factors and triangular solves by `linear_algebra`.

    traced: a concrete function of positions.

    None if it has none of known shape, or no graph that can be changed.
    """
    definition = _definition(traced)
    if definition is None:
        return None
    library: dict[Any, str] = {}  # names of the functions that replace operations
    for nodes, shapes in list(_bodies(definition)):
        for node in nodes:
            if node.op in _SOLVERS:
                _replace(node, shapes, definition, library)
    if not library:
        return None
    _rename(definition)
    for function in definition.library.function:
        # An import makes functions known to its own graph alone, which may be a loop's.
        context.context().add_function_def(function)
    inputs = [tensor.op.name for tensor in traced.inputs]
    others = [node for node in definition.node if node.name not in inputs]
    del definition.node[:]
    definition.node.extend(others)
    used = {name.split(":")[0] for node in others for name in node.input}
    outputs = [tensor.name for tensor in traced.outputs]

    def evaluate(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # What it captured becomes part of the graph around, as an import wants it.
        given = [tf.identity(part) for part in (position, *traced.captured_inputs)]
        by_name = dict(zip(inputs, given, strict=True))
        results = tf.graph_util.import_graph_def(
            definition,
            input_map={name: by_name[name] for name in inputs if name in used},
            return_elements=outputs,
            name="density",
        )
        for result, known in zip(results, traced.outputs, strict=True):
            result.set_shape(known.shape)
        return tf.nest.pack_sequence_as(traced.structured_outputs, results)

    return evaluate


def multiplications(traced: Any) -> int:
    """Those of the products of two matrices, none of them small, in a density."""
    definition = _definition(traced)
    if definition is None:
        return 0
    return sum(
        _multiplications(node, shapes)
        for nodes, shapes in _bodies(definition)
        for node in nodes
    )


def _definition(traced: Any) -> Any:
    try:
        return traced.graph.as_graph_def(add_shapes=True)
    except (ValueError, tf.errors.OpError):  # constants beyond a message's 2 GB
        return None


def _bodies(definition: Any) -> Iterator[tuple[Iterable[Any], _Shapes]]:
    """The operations of a graph and of each of its functions, with shapes of outputs.

    Those of a function's arguments are under their names.
    """
    arguments: dict[str, list[tf.TensorShape]] = {}
    yield definition.node, _shapes(definition.node, arguments)
    for function in definition.library.function:
        given = _listed(function, "_input_shapes")
        names = [argument.name for argument in function.signature.input_arg]
        arguments = {
            name: [tf.TensorShape(shape)]
            for name, shape in zip(names, given, strict=False)
        }
        yield function.node_def, _shapes(function.node_def, arguments)


def _shapes(
    nodes: Iterable[Any], arguments: dict[str, list[tf.TensorShape]]
) -> _Shapes:
    return arguments | {
        node.name: [tf.TensorShape(shape) for shape in _listed(node, "_output_shapes")]
        for node in nodes
    }


def _listed(definition: Any, name: str) -> Iterable[Any]:
    # Reading an attribute that is not there would add it, without a value.
    return definition.attr[name].list.shape if name in definition.attr else ()


def _input_shapes(node: Any, shapes: _Shapes) -> list[tf.TensorShape]:
    """The static shapes of an operation's inputs."""
    found = []
    for name in node.input:
        if name.startswith("^"):
            continue
        # "operation", "operation:0", or in a function "operation:output:0"
        operation, *place = name.split(":")
        known = shapes.get(operation, [])
        is_certain = len(place) < 2 or place[0] == "output" or len(known) == 1
        index = int(place[-1]) if place else 0
        is_known = is_certain and index < len(known)
        found.append(known[index] if is_known else tf.TensorShape(None))
    return found


def _replace(
    node: Any, shapes: _Shapes, definition: Any, library: dict[Any, str]
) -> None:
    """Makes of an operation the call of a function, which joins the library."""
    given = _input_shapes(node, shapes)
    dtype = tf.as_dtype(node.attr["T"].type)
    if dtype not in _REAL or not all(shape.is_fully_defined() for shape in given):
        return
    if any(0 in shape for shape in given):
        return
    options = {
        name: node.attr[name].b for name in ("lower", "adjoint") if name in node.attr
    }
    key = (node.op, dtype, *map(tuple, given), *options.items())
    if key not in library:
        function = (
            linear_algebra.cholesky
            if node.op == "Cholesky"
            else linear_algebra.triangular_solve
        )
        made = tf.function(
            lambda *parts: function(*parts, **options), autograph=False
        ).get_concrete_function(*(tf.TensorSpec(shape, dtype) for shape in given))
        known = {one.signature.name for one in definition.library.function}
        for one in (made.function_def, *made.graph.as_graph_def().library.function):
            if one.signature.name not in known:
                definition.library.function.append(one)
        library[key] = made.function_def.signature.name
    node.op = "PartitionedCall"
    for name in ("T", *options):
        del node.attr[name]
    node.attr["f"].func.name = library[key]
    node.attr["Tin"].list.type.extend([dtype.as_datatype_enum] * len(given))
    node.attr["Tout"].list.type.append(dtype.as_datatype_enum)


def _rename(definition: Any) -> None:
    """Gives the graph's functions other names, since TensorFlow knows the unchanged."""
    names = {function.signature.name for function in definition.library.function}
    for function in definition.library.function:
        function.signature.name += _SUFFIX
    for nodes, _ in _bodies(definition):
        for node in nodes:
            for value in node.attr.values():
                for called in (value.func, *value.list.func):
                    if called.name in names:
                        called.name += _SUFFIX


def _multiplications(node: Any, shapes: _Shapes) -> int:
    """Those of a product of two matrices, summed over its batch; else 0."""
    if node.op not in (*_PRODUCTS, "Einsum"):
        return 0
    given = _input_shapes(node, shapes)
    out = shapes[node.name][0]
    if not all(shape.is_fully_defined() for shape in (*given, out)):
        return 0
    if node.op != "Einsum":
        rows, columns = out[-2:]
        inner = given[0][-2 if node.attr[_PRODUCTS[node.op]].b else -1]
    else:
        operands, _, letters = node.attr["equation"].s.decode().partition("->")
        left, *right = operands.split(",")
        if len(right) != 1 or "." in operands:
            return 0
        (right,) = right
        sizes = dict(zip(left + right, [*given[0], *given[1]], strict=True))

        def size(some: set[str]) -> int:
            return math.prod(sizes[letter] for letter in some)

        rows = size(set(letters) - set(right))
        columns = size(set(letters) - set(left))
        inner = size((set(left) & set(right)) - set(letters))
    if min(rows, columns) < 2 or rows * columns * inner < _SMALL:
        return 0
    return out.num_elements() * inner
