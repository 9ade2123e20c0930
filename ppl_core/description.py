"""A table of a program's variables: what each is and what it depends on."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from ppl_core.censoring import Interval
from ppl_core.data import check_by_name, check_program
from ppl_core.gradients import reached_from
from ppl_core.random_variable import RandomVariable
from ppl_core.shapes import value_shape
from ppl_core.sites import bijector_of, run_program, to_site
from ppl_core.supports import support_of
from ppl_core.terms import is_deterministic, is_factor, made_from
from ppl_core.trace import forward
from ppl_core.tracers import inherited_tracers
from ppl_core.transformations import Program, label_of


class Description(NamedTuple):
    """One variable of a program."""

    name: str
    constructor: str
    kind: str  # latent, data, deterministic or factor
    shape: tuple[int, ...]
    dtype: str
    support: str
    dims: tuple[str, ...] | None
    depends_on: tuple[str, ...]  # names of variables, directly


class Descriptions(tuple[Description, ...]):
    """The variables of a program in order; printed, a table."""

    def __str__(self) -> str:
        header = [
            *("name", "constructor", "kind", "shape", "dtype", "support", "dims"),
            "depends on",
        ]
        rows = [header]
        for part in self:
            dims = "" if part.dims is None else ", ".join(part.dims)
            rows.append(
                [str(field) for field in part[:6]] + [dims, ", ".join(part.depends_on)]
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows
        )


def describe(
    program: Program,
    *args: Any,
    observed: Mapping[str, Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> Descriptions:
    """Describes the variables of `program(*args, **kwargs)` in order, without drawing.

    observed: data by name, as `unconstrain` takes them.

    What a variable depends on is read off a graph that is discarded: the variables
    whose values its distribution, or the computed value, is made from.

    >>> def model():
    ...     tau = ppl.HalfNormal(1.0, name="tau")
    ...     ppl.Normal(0.0, tau, sample_shape=3, name="x")
    >>> print(ppl.describe(model, observed={"x": [0.0, 1.0, 2.0]}))
    name  constructor  kind    shape  dtype    support             dims  depends on
    tau   HalfNormal   latent  ()     float32  numbers, 0 or more
    x     Normal       data    (3,)   float32  real numbers              tau
    """
    check_program(program)
    observed = {} if observed is None else observed
    check_by_name(observed, f"{label_of(program)}: observed")
    observed, kwargs = dict(observed), dict(kwargs or {})
    inherited = inherited_tracers()
    table: list[Description] = []

    def look() -> None:
        label = f"{label_of(program)}: observed"
        variables, _ = run_program(
            program, args, kwargs, observed, inherited, label, _with_own_tensors
        )
        sources = {name: made_from(part) for name, part in variables.items()}
        values = {name: part.value for name, part in variables.items()}
        places = {tensor.ref() for tensor in values.values() if tf.is_tensor(tensor)}
        reached = {
            name: reached_from(tensor, stop=places)
            for name, tensor in values.items()
            if tf.is_tensor(tensor)
        }
        for name, variable in variables.items():
            parents = [
                other
                for other, tensors in reached.items()
                if other != name and sources[name].ref() in tensors
            ]
            table.append(_describe(name, variable, tuple(parents)))

    tf.function(look, autograph=False).get_concrete_function()
    return Descriptions(table)


def _with_own_tensors(construct: Any, *args: Any, **kwargs: Any) -> Any:
    """A tracer that gives each variable a value of its own place in the graph."""
    if not hasattr(construct, "makes_random_variable"):
        return forward(construct, *args, **kwargs)
    value = kwargs.get("value")
    kwargs.setdefault("observed", value is not None)

    def placed(variable: RandomVariable) -> Any:
        if value is None:
            return _stand_in(variable)
        given = value(variable) if callable(value) else value
        if isinstance(given, Interval):
            return given
        return tf.nest.map_structure(tf.identity, variable._to_tensors(given))

    if hasattr(construct, "computes_value"):
        kwargs["value"] = tf.identity(value)
    else:
        kwargs["value"] = placed
    return forward(construct, *args, **kwargs)


def _stand_in(variable: RandomVariable) -> tf.Tensor:
    """A value of the variable's shape that depends on nothing."""
    distribution = variable.distribution
    shape = value_shape(distribution, variable.sample_shape)
    # Not a constant, which an index would read instead of depending on it.
    return tf.raw_ops.PlaceholderWithDefault(
        input=tf.zeros(shape, distribution.dtype), shape=shape
    )


def _describe(
    name: str, variable: RandomVariable, parents: tuple[str, ...]
) -> Description:
    kind = "data" if variable.observed else "latent"
    for is_kind in (is_deterministic, is_factor):
        if is_kind(variable):
            kind = is_kind.__name__.removeprefix("is_")
    dtype = variable.distribution.dtype
    return Description(
        name,
        variable.constructor_name,
        kind,
        tuple(variable.shape) if tf.is_tensor(variable.value) else (),
        str(tf.nest.map_structure(lambda part: part.name, dtype)),
        "" if kind in ("deterministic", "factor") else _support(variable),
        variable.dims,
        parents,
    )


def _support(variable: RandomVariable) -> str:
    if variable.bijector is not None:
        return f"values of {type(variable.bijector).__name__}"
    rule = support_of(variable.distribution)
    if rule is not None:
        return rule.words
    if tf.nest.is_nested(variable.distribution.dtype):
        return "of its parts"
    if not variable.distribution.dtype.is_floating:
        return "whole numbers"
    try:
        to_site(variable)
        bijector = bijector_of(variable)
    except ValueError:
        return "no bijector"
    is_real = isinstance(bijector, tfb.Identity)
    return "real numbers" if is_real else f"values of {type(bijector).__name__}"
