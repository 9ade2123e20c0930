"""Seeds of a program's draws, from one seed and the variables' names."""

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow_probability as tfp

from ppl_core.data import to_seed
from ppl_core.trace import active_tracers, forward
from ppl_core.tracers import Constructor, required_name, trace_variables


@contextlib.contextmanager
def seeded(seed: Any) -> Iterator[None]:
    """Draws each random variable of the block with a seed of its own.

    The variable's seed is a function of `seed` ([2] int32) and its name, with what any
    `prefix` around puts in front.  Two blocks with one seed therefore give the same
    draws, in any order of the variables and on any device.  Code compiled by XLA gives
    other draws, because XLA has another random number generator than TensorFlow.

    Raises ValueError for a variable to be drawn that has no name, or the name of an
    earlier one.

    >>> def draw():
    ...     with ppl.seeded((0, 1)):
    ...         return float(ppl.Normal(0.0, 1.0, name="x"))
    >>> draw() == draw()
    True
    """
    drawn: set[str] = set()
    seed = to_seed(seed, "seeded")

    def set_seed(construct: Constructor, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("seed") is None and kwargs.get("value") is None:
            name = required_name(construct, kwargs, "seeded")
            if name in drawn:
                raise ValueError(
                    f"seeded: two random variables are named {name!r}, and would be "
                    "the same draw"
                )
            drawn.add(name)
            scopes = [t.scope for t in active_tracers() if hasattr(t, "scope")]
            whole = "/".join((*scopes, name))
            kwargs["seed"] = tfp.random.sanitize_seed(seed, salt=whole)
        return forward(construct, *args, **kwargs)

    with trace_variables(set_seed):
        yield
