"""Tracers: blocks that change what the random variables inside them do.

They nest, and the innermost sees a constructor's call first.  A tracer that gives a
value or a seed leaves alone what an inner one has given already, unless it says
otherwise.  Names that a block was told of and that never came up are errors when it
ends.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from ppl_core.random_variable import RandomVariable
from ppl_core.trace import Tracer, forward, trace


@contextlib.contextmanager
def tape() -> Iterator[dict[str, RandomVariable]]:
    """Records the random variables made in the block, by name, in order.

    Raises ValueError for a variable without a name and for a name used twice.
    """
    variables: dict[str, RandomVariable] = {}

    def record(construct: Callable, *args: Any, **kwargs: Any) -> Any:
        made = forward(construct, *args, **kwargs)
        if isinstance(made, RandomVariable):
            name = name_of(construct, kwargs, "tape")
            if name in variables:
                raise ValueError(
                    f"tape: two random variables are named {name!r}: "
                    f"{variables[name].constructor_name} and {construct.__name__}"
                )
            variables[name] = made
        return made

    with _trace_variables(record):
        yield variables


@contextlib.contextmanager
def condition(**values: Any) -> Iterator[None]:
    """Sets the named variables to data: their log prob is that of the value given.

    Raises ValueError for a variable that holds a value already, and at the end of the
    block for a name that did not come up.
    """
    with _bind(values, "condition", observed=True):
        yield


@contextlib.contextmanager
def substitute(**values: Any) -> Iterator[None]:
    """Sets the named variables as if they had been drawn so: they stay latent.

    Raises ValueError as `condition` does.
    """
    with _bind(values, "substitute", observed=False):
        yield


@contextlib.contextmanager
def replay(variables: Mapping[str, Any]) -> Iterator[None]:
    """Gives variables the values they have in `variables`, where they have one.

    variables: a tape's record, or values by name.  Variables that it lacks are drawn,
    and those that hold a value already keep it, so one program's record runs another.
    """

    def give_value(construct: Callable, *args: Any, **kwargs: Any) -> Any:
        name = kwargs.get("name")
        if name in variables and kwargs.get("value") is None:
            value = variables[name]
            kwargs["value"] = (
                value.value if isinstance(value, RandomVariable) else value
            )
            kwargs.setdefault("observed", False)
        return forward(construct, *args, **kwargs)

    with _trace_variables(give_value):
        yield


@contextlib.contextmanager
def intervene(**values: Any) -> Iterator[None]:
    """Replaces the named variables: do(name = value).  Tran et al. (2018), figure 8.

    What stands in their place is a tensor, that of the value or of the random variable
    given: it has no log prob in the program, no other tracer sees it, and whatever is
    computed from it sees the value.

    Raises ValueError for a value that is none, for one of another shape than the
    variable's (over scipy.stats any array will do), and at the end of the block for a
    name that did not come up.
    """
    empty = [name for name, value in values.items() if value is None or callable(value)]
    if empty:
        raise ValueError(
            f"intervene: a value wanted for {empty}, given None or a function"
        )
    with _expecting(values, "intervene") as came_up:

        def replace(construct: Callable, *args: Any, **kwargs: Any) -> Any:
            name = kwargs.get("name")
            if name not in values:
                return forward(construct, *args, **kwargs)
            came_up.add(name)
            return construct.to_value(values[name], *args, **kwargs)

        with _trace_variables(replace):
            yield


@contextlib.contextmanager
def block(*names: str) -> Iterator[None]:
    """Hides the named variables, or all where none is named, from tracers further out.

    Raises ValueError at the end of the block for a name that did not come up.
    """
    with _expecting(names, "block") as came_up:

        def hide(construct: Callable, *args: Any, **kwargs: Any) -> Any:
            name = kwargs.get("name")
            if names and name not in names:
                return forward(construct, *args, **kwargs)
            came_up.add(name)
            return construct(*args, **kwargs)

        with _trace_variables(hide):
            yield


@contextlib.contextmanager
def scale(factor: Any, *names: str) -> Iterator[None]:
    """Multiplies the log prob of the named variables, or of all, by `factor`.

    For a minibatch, rows in all over rows in the batch.  Nested factors multiply.

    Raises ValueError at the end of the block for a name that did not come up.
    """

    def give_scale(kwargs: dict) -> None:
        inner = kwargs.get("log_prob_scale")
        kwargs["log_prob_scale"] = factor if inner is None else inner * factor

    with _weigh(give_scale, names, "scale"):
        yield


@contextlib.contextmanager
def mask(where: Any, *names: str) -> Iterator[None]:
    """Lets the log prob of the named variables, or of all, count only `where`.

    where: boolean, of a shape that broadcasts against the log prob's.  Nested masks are
    combined with "and".

    Raises ValueError at the end of the block for a name that did not come up.
    """

    def give_mask(kwargs: dict) -> None:
        inner = kwargs.get("log_prob_mask")
        kwargs["log_prob_mask"] = (
            where if inner is None else tf.logical_and(inner, where)
        )

    with _weigh(give_mask, names, "mask"):
        yield


@contextlib.contextmanager
def seeded(seed: Any) -> Iterator[None]:
    """Draws each random variable of the block with a seed of its own.

    The seed is made from `seed` ([2] int32) and the variable's name, so two blocks with
    one seed draw alike, in whatever order their variables come and on whatever device.
    What XLA compiles draws otherwise: TensorFlow's generator is another one there.

    Raises ValueError for a variable to be drawn that has no name, or the name of an
    earlier one.
    """
    drawn: set[str] = set()
    seed = tf.convert_to_tensor(seed, tf.int32)

    def give_seed(construct: Callable, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("seed") is None and kwargs.get("value") is None:
            name = name_of(construct, kwargs, "seeded")
            if name in drawn:
                raise ValueError(
                    f"seeded: two random variables are named {name!r}, and would be "
                    "the same draw"
                )
            drawn.add(name)
            kwargs["seed"] = tfp.random.sanitize_seed(seed, salt=name)
        return forward(construct, *args, **kwargs)

    with _trace_variables(give_seed):
        yield


@contextlib.contextmanager
def _trace_variables(tracer: Tracer) -> Iterator[None]:
    """`trace`, with traceable functions that make no random variable passed on."""

    def choose(fn: Callable, *args: Any, **kwargs: Any) -> Any:
        handle = tracer if hasattr(fn, "makes_random_variable") else forward
        return handle(fn, *args, **kwargs)

    with trace(choose):
        yield


def name_of(construct: Callable, kwargs: Mapping, needed_by: str) -> str:
    """The name in a call's arguments; ValueError says which constructor lacks it."""
    name = kwargs.get("name")
    if name is None:
        raise ValueError(
            f"{needed_by}: a {construct.__name__} has no name; give it name=..."
        )
    return name


@contextlib.contextmanager
def _expecting(names: Any, tracer: str) -> Iterator[set[str]]:
    """Yields the set of names that came up; raises if some of `names` did not.

    An exception of the block itself goes out untouched.
    """
    came_up: set[str] = set()
    yield came_up
    missing = sorted(set(names) - came_up)
    if missing:
        raise ValueError(f"{tracer}: no random variable is named {missing}")


@contextlib.contextmanager
def _bind(values: Mapping[str, Any], tracer: str, observed: bool) -> Iterator[None]:
    with _expecting(values, tracer) as came_up:

        def give_value(construct: Callable, *args: Any, **kwargs: Any) -> Any:
            name = kwargs.get("name")
            if name in values:
                if kwargs.get("value") is not None:
                    raise ValueError(
                        f"{tracer}: {construct.__name__}(name={name!r}) holds a value "
                        "already"
                    )
                came_up.add(name)
                kwargs["value"] = values[name]
                kwargs["observed"] = observed
            return forward(construct, *args, **kwargs)

        with _trace_variables(give_value):
            yield


@contextlib.contextmanager
def _weigh(give: Callable[[dict], None], names: Any, tracer: str) -> Iterator[None]:
    with _expecting(names, tracer) as came_up:

        def weigh(construct: Callable, *args: Any, **kwargs: Any) -> Any:
            if not names or kwargs.get("name") in names:
                came_up.add(kwargs.get("name"))
                give(kwargs)
            return forward(construct, *args, **kwargs)

        with _trace_variables(weigh):
            yield
