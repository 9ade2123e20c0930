"""What the loops of a compiled function keep, as XLA's program says."""

import math
import re
from collections.abc import Callable
from typing import Any

_LOOP = re.compile(r"= \((.*)\) while\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+))\[([\d,]*)\]")


def loop_bytes(compiled: Callable[..., Any], *arguments: Any) -> int:
    """The bytes that the largest loop of the function carries from turn to turn.

    For the gradient of a loop they are what it keeps of all turns, with what it reads.

    compiled: a tf.function that XLA compiles.

    Raises ValueError for a function without a loop.
    """
    text = compiled.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo")
    loops = [_LOOP.search(line) for line in text.splitlines()]
    sizes = [_bytes(loop[1]) for loop in loops if loop]
    if not sizes:
        raise ValueError("compiled: given a function without a loop, wanted one")
    return max(sizes)


def _bytes(shapes: str) -> int:
    """Of all arrays in a text such as "s32[], f64[16,8]{1,0}"."""
    total = 0
    for name, bits, sides in _ARRAY.findall(shapes):
        entries = math.prod(int(side) for side in sides.split(",") if side)
        total += entries * (1 if name == "pred" else int(bits) // 8)
    return total
