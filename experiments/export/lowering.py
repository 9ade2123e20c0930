"""From functions of TensorFlow to portable StableHLO."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

# Of portable artifacts: read by every jaxlib since, and by those of a year before it.
STABLEHLO_VERSION = "1.13.0"
PLATFORMS = {"cpu": "CPU", "accelerator": "GPU"}  # TensorFlow's names


class Lowered(NamedTuple):
    """A function as programs for XLA."""

    modules: dict[str, bytes]  # by PLATFORMS
    arguments: list[tuple[str, list[int]]]  # dtype and shape; data not included
    results: list[tuple[str, list[int]]]
    data: list[np.ndarray]  # that the function captured, arguments behind the others


def lower(name: str, function: Any, *args: Any) -> Lowered:
    """A `tf.function` that XLA compiles, as programs.

    name: in errors.
    args: of the shapes and dtypes that the programs are to have.

    Raises ValueError, naming them, for operations that XLA cannot compile; without JAX.
    """
    serialize = _serializer()
    try:
        concrete = function.get_concrete_function(*args)
        ir = function.experimental_get_compiler_ir(*args)
        modules = {
            kind: ir(stage="stablehlo_serialized", platform_name=platform)
            for kind, platform in PLATFORMS.items()
        }
    except (tf.errors.OpError, ValueError) as error:
        raise ValueError(
            f"{name}: given operations that XLA cannot compile, wanted others: "
            f"{_refused(error)}"
        ) from error
    for module in modules.values():
        if b"custom_call" in module:
            text = ir(stage="stablehlo", platform_name="CPU")
            calls = sorted({*re.findall(r"custom_call @([\w.]+)", text)})
            if calls:
                raise ValueError(
                    f"{name}: given operations that TensorFlow's XLA alone has, wanted "
                    f"others: {calls}"
                )
    return Lowered(
        modules={
            kind: bytes(serialize(module, STABLEHLO_VERSION))
            for kind, module in modules.items()
        },
        arguments=_specs(tf.nest.flatten(args)),
        results=_specs(tf.nest.flatten(concrete.structured_outputs)),
        data=[np.asarray(one) for one in concrete.captured_inputs],
    )


def _serializer() -> Callable[[bytes, str], bytes]:
    try:
        from jax.extend import mlir
    except ImportError as error:
        raise ValueError(
            "jax: not installed, wanted it for portable programs: make peers"
        ) from error
    return mlir.serialize_portable_artifact


def _specs(tensors: Sequence[Any]) -> list[tuple[str, list[int]]]:
    return [
        (tf.as_dtype(one.dtype).as_numpy_dtype().dtype.name, [*map(int, one.shape)])
        for one in tensors
    ]


def _refused(error: Exception) -> str:
    text = " ".join(str(getattr(error, "message", error)).split())
    ops = sorted({*re.findall(r"\{\{node ([^}]+)\}\}", text)})
    kinds = sorted({*re.findall(r"unsupported operations[^:]*: (.{0,200})", text)})
    return "; ".join([*ops, *kinds]) or text[:300]
