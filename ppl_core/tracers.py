"""Tracers: blocks that change or record the random variables made inside them.

Tracers nest, and the innermost sees a constructor's call first.  A tracer that sets a
value or a seed respects one that an inner tracer has set, unless its docstring says
otherwise.  A name that no variable in the block has is an error when the block ends.
"""

import contextlib
import difflib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import tensorflow as tf

from ppl_core import data, weights
from ppl_core.censoring import Interval
from ppl_core.random_variable import RandomVariable
from ppl_core.shapes import check_dims
from ppl_core.symbolic import explained, graph_and_loops
from ppl_core.terms import unrecorded
from ppl_core.trace import Tracer, active_tracers, forward, trace


class Constructor(Protocol):
    """What a tracer sees: the function that a call of a random variable runs."""

    __name__: str
    makes_random_variable: bool  # tells it from other traceable functions
    to_value: Callable[..., Any]  # (value, *args, **kwargs) -> the variable's value

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


@contextlib.contextmanager
def tape() -> Iterator[dict[str, RandomVariable]]:
    """Records the random variables made in the block: name to variable, in order.

    Of `ppl_core.scipy`, it records the arrays.

    Raises ValueError for a variable without a name, for a name used twice, for a name
    of dimensions of two sizes, and for a variable made inside a loop, a branch or a
    tf.function of the block: its value has no meaning outside.

    >>> with ppl.tape() as variables:
    ...     mu = ppl.Normal(0.0, 1.0, name="mu")
    ...     x = ppl.Normal(mu, 1.0, sample_shape=3, name="x")
    >>> {name: variable.shape.as_list() for name, variable in variables.items()}
    {'mu': [], 'x': [3]}
    """
    with taped("tape") as variables:
        yield variables


@contextlib.contextmanager
def taped(label: str) -> Iterator[dict[str, RandomVariable]]:
    """`tape`, whose errors begin with this label, such as a program's name."""
    variables: dict[str, RandomVariable] = {}
    constructors: dict[str, str] = {}
    sizes: dict[str, tuple[int, str]] = {}  # of dimensions, and a variable of each
    place = graph_and_loops()

    def record(construct: Constructor, *args: Any, **kwargs: Any) -> Any:
        reached = False

        @functools.wraps(construct)
        def note(*args: Any, **kwargs: Any) -> Any:
            nonlocal reached
            reached = True
            return construct(*args, **kwargs)

        # An array of SciPy does not tell whether `intervene` has replaced it.
        is_array = hasattr(construct, "generator")
        variable = forward(note if is_array else construct, *args, **kwargs)
        is_variable = isinstance(variable, RandomVariable)
        if is_variable:
            is_made = not variable.replaced
        else:
            is_made = is_array and reached
        if is_made:
            name = required_name(construct, kwargs, label)
            if name in variables:
                raise ValueError(
                    f"{label}: two random variables are named {name!r}: "
                    f"{constructors[name]} and {construct.__name__}"
                )
            if graph_and_loops() != place:
                raise ValueError(
                    f"{label}: {construct.__name__}(name={name!r}) is made inside "
                    "a loop, tf.cond, tf.map_fn, tf.vectorized_map or tf.function; "
                    "wanted it outside, with a batch of parameters or a sample_shape"
                )
            variables[name], constructors[name] = variable, construct.__name__
            if is_variable:
                check_dims(variable, sizes, label)
        return variable

    with explained(label), trace_variables(record, records=True):
        yield variables


def inherited_tracers() -> list[Tracer]:
    """The active tracers without tapes: those that a program run later still needs."""
    return [tracer for tracer in active_tracers() if not hasattr(tracer, "records")]


@contextlib.contextmanager
def condition(**values: Any) -> Iterator[None]:
    """Observes the named variables: they take these values and count as data.

    Raises ValueError for a variable that already has a value, and at the end of the
    block for a name that no variable has.

    >>> with ppl.condition(x=2.0):
    ...     x = ppl.Normal(0.0, 1.0, name="x")
    >>> float(x), x.observed
    (2.0, True)
    """
    with bind(values, "condition", observed=True):
        yield


@contextlib.contextmanager
def substitute(**values: Any) -> Iterator[None]:
    """Sets the named variables to these values and leaves them latent.

    Raises ValueError as `condition` does.

    >>> with ppl.substitute(x=2.0):
    ...     x = ppl.Normal(0.0, 1.0, name="x")
    >>> float(x), x.observed
    (2.0, False)
    """
    with bind(values, "substitute", observed=False):
        yield


@contextlib.contextmanager
def replay(variables: Mapping[str, Any]) -> Iterator[None]:
    """Gives each variable the value that `variables` has under its name.

    variables: a tape's record, or values by name.  The block draws the variables that
      it lacks.  A variable that already has a value keeps it, so the record of one
      program can run another.

    Raises ValueError for a value of None, and TypeError for what is not given by name.

    >>> with ppl.tape() as first:
    ...     x = ppl.Normal(0.0, 1.0, name="x")
    >>> with ppl.replay(first):
    ...     again = ppl.Normal(5.0, 2.0, name="x")
    >>> float(again) == float(x)
    True
    """

    data.check_by_name(variables, "replay")
    missing = sorted(name for name, value in variables.items() if value is None)
    if missing:
        raise ValueError(f"replay: given None for {missing}, wanted values")

    def set_value(construct: Constructor, *args: Any, **kwargs: Any) -> Any:
        name: Any = kwargs.get("name")
        if name in variables and kwargs.get("value") is None:
            value = variables[name]
            kwargs["value"] = (
                value.value if isinstance(value, RandomVariable) else value
            )
            kwargs.setdefault("observed", False)
        return forward(construct, *args, **kwargs)

    with trace_variables(set_value, fixes=variables.keys(), label="replay"):
        yield


@contextlib.contextmanager
def intervene(**values: Any) -> Iterator[None]:
    """Replaces the named variables: do(name = value).  Tran et al. (2018), figure 8.

    The constructor then returns the value, or the value of the random variable given,
    with a variable's operators.  It has no log prob in the program, and no other tracer
    sees it.  What the program computes from it uses the value.

    Raises ValueError for a value of None, for a function, for a value of another shape
    than the variable's (over scipy.stats every array is accepted), and at the end of
    the block for a name that no variable has.

    >>> with ppl.tape() as variables, ppl.intervene(mu=4.0):
    ...     mu = ppl.Normal(0.0, 1.0, name="mu")
    ...     x = ppl.Normal(mu, 1.0, name="x")
    >>> list(variables), float(x.mean())
    (['x'], 4.0)
    """
    invalid = [
        name
        for name, value in values.items()
        if value is None or callable(value) or isinstance(value, Interval)
    ]
    if invalid:
        raise ValueError(
            f"intervene: given None, a function or an Interval for {invalid}, wanted a "
            "value"
        )
    with expecting(values, "intervene") as present:

        def replace(construct: Constructor, *args: Any, **kwargs: Any) -> Any:
            name: Any = kwargs.get("name")
            present.add(name)
            if name not in values:
                return forward(construct, *args, **kwargs)
            value = construct.to_value(values[name], *args, **kwargs)
            # With a variable's operators, such as an index by an array.
            return unrecorded(value, name) if tf.is_tensor(value) else value

        with trace_variables(replace, replaces=values.keys()):
            yield


@contextlib.contextmanager
def block(*names: str) -> Iterator[None]:
    """Hides the named variables, or all if no name is given, from outer tracers.

    Raises ValueError at the end of the block for a name that no variable has, and for
    a variable that a `replay` around it would give a value.

    >>> with ppl.tape() as variables, ppl.block("noise"):
    ...     noise = ppl.Normal(0.0, 1.0, name="noise")
    ...     x = ppl.Normal(noise, 1.0, name="x")
    >>> list(variables)
    ['x']
    """
    with expecting(names, "block") as present:

        def hide(construct: Constructor, *args: Any, **kwargs: Any) -> Any:
            name: Any = kwargs.get("name")
            present.add(name)
            if names and name not in names:
                return forward(construct, *args, **kwargs)
            fixed = outside("fixes", name) if kwargs.get("value") is None else None
            if fixed is not None and fixed[0].label == "replay":
                raise ValueError(
                    f"block: hides {construct.__name__}(name={name!r}) from a `replay` "
                    "around, which has a value for it; wanted the `block` around"
                )
            return construct(*args, **kwargs)

        with trace_variables(hide):
            yield


@contextlib.contextmanager
def scale(factor: Any, *names: str) -> Iterator[None]:
    """Multiplies the log prob of the named variables, or of all, by `factor`.

    For a minibatch, `factor` is the rows of the data over the rows of the batch.
    Nested factors multiply.

    Raises ValueError at the end of the block for a name that no variable has.

    >>> with ppl.scale(10.0, "x"):
    ...     x = ppl.Normal(0.0, 1.0, value=2.0, name="x")
    >>> round(float(x.log_prob() / x.distribution.log_prob(2.0)), 4)
    10.0
    """
    factor = weights.to_factor(factor)
    with _weigh("log_prob_scale", weights.product, factor, names, "scale"):
        yield


@contextlib.contextmanager
def mask(where: Any, *names: str) -> Iterator[None]:
    """Sets the log prob of the named variables, or of all, to 0 except `where`.

    where: boolean, of a shape that broadcasts with the log prob's.  Nested masks are
      combined with "and".

    Raises ValueError at the end of the block for a name that no variable has.

    >>> with ppl.mask([True, False]):
    ...     x = ppl.Normal(0.0, 1.0, sample_shape=2, value=[0.0, 9.0], name="x")
    >>> x.log_prob().numpy().round(3).tolist()[1]
    0.0
    """
    where = weights.to_mask(where)
    with _weigh("log_prob_mask", weights.both, where, names, "mask"):
        yield


@contextlib.contextmanager
def prefix(scope: str) -> Iterator[None]:
    """Puts `scope` and a slash in front of the names of the block's variables.

    Tracers further out, and what is given by name there, have the whole name.

    >>> with ppl.tape() as variables, ppl.prefix("left"):
    ...     x = ppl.Normal(0.0, 1.0, name="x")
    >>> list(variables), x.name
    (['left/x'], 'left/x')
    """
    if not isinstance(scope, str) or not scope:
        raise ValueError(f"prefix: given {scope!r}, wanted a name")

    def rename(construct: Constructor, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("name") is not None:
            kwargs["name"] = f"{scope}/{kwargs['name']}"
        return forward(construct, *args, **kwargs)

    with trace_variables(rename, scope=scope):
        yield


def outside(mark: str, name: str) -> tuple[Any, str] | None:
    """The first tracer around this call whose `mark` holds the name, and that name.

    mark: `fixes` of those that give values, `replaces` of `intervene`.
    name: as this call has it; what a `prefix` puts in front is added.
    """
    for tracer in reversed(active_tracers()):
        scope = getattr(tracer, "scope", None)
        name = name if scope is None else f"{scope}/{name}"
        if name in getattr(tracer, mark, ()):
            return tracer, name
    return None


def required_name(
    construct: Constructor, kwargs: Mapping[str, Any], tracer: str
) -> str:
    """Returns the name in a call's arguments.

    Raises ValueError, which names the constructor and the tracer, if there is none.
    """
    name = kwargs.get("name")
    if name is None:
        raise ValueError(
            f"{tracer}: a {construct.__name__} has no name; give it name=..."
        )
    return name


@contextlib.contextmanager
def trace_variables(tracer: Tracer, **marks: Any) -> Iterator[None]:
    """`trace` for random variables only: other traceable calls are passed on.

    marks: by which `active_tracers` shows what a tracer is.
    """

    def choose(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        handle = tracer if hasattr(fn, "makes_random_variable") else forward
        return handle(fn, *args, **kwargs)

    vars(choose).update(marks)
    with trace(choose):
        yield


@contextlib.contextmanager
def expecting(names: Iterable[str], tracer: str) -> Iterator[set[str]]:
    """Yields a set for the names in the block; raises if it lacks any of `names`.

    An exception raised by the block itself is left as it is.
    """
    present: set[str] = set()
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{tracer}: given {name!r}, wanted names of variables")
    yield present
    missing = sorted(set(names) - present)
    if missing:
        known = sorted(name for name in present if name is not None)
        near = difflib.get_close_matches(missing[0], known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"{tracer}: no random variable is named {missing}, wanted names among "
            f"{known}{hint}"
        )


@contextlib.contextmanager
def bind(
    values: Mapping[str, Any],
    tracer: str,
    observed: bool,
    *,
    recompute: bool = False,
) -> Iterator[None]:
    """Sets the named variables to `values`; `observed` says whether they are data.

    recompute: whether `deterministic` variables among them are computed anew.

    Raises ValueError for a value of None, which would leave the variable to be drawn.
    """
    missing = sorted(name for name, value in values.items() if value is None)
    if missing:
        raise ValueError(f"{tracer}: given None for {missing}, wanted values")
    with expecting(values, tracer) as present:

        def set_value(construct: Constructor, *args: Any, **kwargs: Any) -> Any:
            name: Any = kwargs.get("name")
            present.add(name)
            is_computed = recompute and hasattr(construct, "computes_value")
            if name in values and not is_computed:
                if kwargs.get("value") is not None:
                    raise ValueError(
                        f"{tracer}: {construct.__name__}(name={name!r}) already has a "
                        "value, wanted one without"
                    )
                kwargs["value"] = values[name]
                kwargs["observed"] = observed
            return forward(construct, *args, **kwargs)

        fixes = () if recompute else values.keys()
        with trace_variables(set_value, fixes=fixes, label=tracer):
            yield


@contextlib.contextmanager
def _weigh(
    option: str,
    combine: Callable[[Any, Any], Any],
    weight: Any,
    names: tuple[str, ...],
    tracer: str,
) -> Iterator[None]:
    """Combines `weight` with the option of the named variables, or of all."""
    with expecting(names, tracer) as present:

        def weigh(construct: Constructor, *args: Any, **kwargs: Any) -> Any:
            name: Any = kwargs.get("name")
            present.add(name)
            if name in names and not getattr(construct, "has_log_prob", True):
                raise ValueError(
                    f"{tracer}: {name!r} is deterministic and has no log prob, wanted "
                    "a random variable, such as the one that it is computed from"
                )
            if not names or name in names:
                kwargs[option] = combine(kwargs.get(option), weight)
            return forward(construct, *args, **kwargs)

        with trace_variables(weigh):
            yield
