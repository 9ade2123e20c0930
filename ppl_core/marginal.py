"""Finite discrete variables, summed out of a program."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from ppl_core.gradients import reached_from
from ppl_core.random_variable import RandomVariable
from ppl_core.shapes import Plates, without_plates
from ppl_core.sites import middle, to_site
from ppl_core.terms import is_deterministic, is_factor, made_from
from ppl_core.trace import Tracer, forward, only_tracers, trace
from ppl_core.tracers import Constructor, expecting, outside, required_name
from ppl_core.transformations import Program, add, label_of

MAX_ASSIGNMENTS = 1000  # the program runs once for each
_Variables = dict[str, RandomVariable]
_Assignment = Mapping[str, tf.Tensor]


def marginalize(program: Program, *names: str) -> Program:
    """Returns the program with the named finite discrete variables summed out.

    The log prob of the variables that depend on them becomes
    log sum_z p(z) p(the others | z).  The first of these variables has it as its term,
    and the others have 0, so a pointwise log likelihood is right for one such variable.

    A variable of several entries must stand in a `plate`, which says that its entries
    are independent; the sum is then taken entry by entry, at the cost of one entry.
    What depends on it must stand in the plate as well.  Of several variables, the
    plates of one must be those of the others, or go on inside them; the innermost are
    summed out first.  The program runs once for each joint value of the variables.

    The returned program raises ValueError for a name that no variable has, for a
    variable without finitely many values or with a value, for more than 1,000 joint
    values, and where a variable that depends on the sum is drawn: predict with
    `program` itself.

    >>> def model():
    ...     z = ppl.Bernoulli(probs=0.25, name="z")
    ...     ppl.Normal(3.0 * tf.cast(z, tf.float32), 1.0, name="x")
    >>> log_joint = ppl.make_log_joint_fn(ppl.marginalize(model, "z"))
    >>> round(float(log_joint(x=0.0)), 4)
    -1.2029
    """
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"marginalize: given the names {names}, wanted some")

    @functools.wraps(program)
    def marginalized(*args: Any, **kwargs: Any) -> Any:
        summed: dict[str, _Summed] = {}
        calls: dict[str, _Call] = {}
        with expecting(names, "marginalize") as present:
            with trace(_first_run(names, summed, calls, present)):
                result = program(*args, **kwargs)

        def run(assignment: _Assignment) -> _Variables:
            variables: _Variables = {}
            with only_tracers([_later_run(assignment, calls, variables)]):
                program(*args, **kwargs)
            return variables

        _set_marginal(f"marginalize({label_of(program)})", summed, calls, run)
        return result

    return marginalized


class _Summed(NamedTuple):
    """A variable that is summed out."""

    label: str
    variable: RandomVariable
    scale: Any
    shape: tuple[int, ...]
    values: np.ndarray  # those that one entry may have
    plates: Plates
    dtype: tf.DType


class _Call(NamedTuple):
    """What the first run made of a variable that stays."""

    result: Any
    options: dict[str, Any]  # as the tracers further out leave them
    scale: Any  # as the program itself sets it
    is_computed: bool  # by the program itself
    is_changed: bool  # whether these changed the distribution's arguments


_OPTIONS = ("log_prob_scale", "log_prob_mask", "plates", "coords", "dims")


def _first_run(
    names: tuple[str, ...],
    summed: dict[str, _Summed],
    calls: dict[str, _Call],
    present: set[str],
) -> Tracer:
    """A tracer that finds the variables; those to be summed stand at their first value.

    No other tracer sees the latter.
    """

    def find(construct: Constructor, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(construct, "makes_random_variable"):
            return forward(construct, *args, **kwargs)
        name = required_name(construct, kwargs, "marginalize")
        present.add(name)
        label = f"marginalize: {construct.__name__}(name={name!r})"
        if name in names and not outside("replaces", name):
            fixed = outside("fixes", name)
            if fixed is not None:
                raise ValueError(
                    f"{label}: given a value by {fixed[0].label}, wanted it without one"
                )
            # A tracer further out would have set a value or the plates on the way.
            variable = construct(
                *args, **kwargs | {"value": functools.partial(_at_first, label)}
            )
            if kwargs.get("value") is not None:
                raise ValueError(f"{label}: given a value, wanted it without one")
            if kwargs.get("log_prob_mask") is not None:
                raise ValueError(f"{label}: given a mask, wanted it without one")
            summed[name] = _Summed(
                label,
                variable,
                kwargs.get("log_prob_scale"),
                tuple(variable.shape),
                values_of(variable.distribution, label),
                kwargs.get("plates", ()),
                variable.dtype,
            )
            return variable
        final: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        @functools.wraps(construct)
        def note(*args: Any, **kwargs: Any) -> Any:
            final.append((args, kwargs))
            return construct(*args, **kwargs)

        own_scale = kwargs.get("log_prob_scale")
        result = forward(note, *args, **kwargs)
        last_args, last = final[-1] if final else (args, {})
        calls[name] = _Call(
            result,
            {key: last[key] for key in _OPTIONS if key in last},
            own_scale,
            hasattr(construct, "computes_value"),
            _is_changed((args, kwargs), (last_args, last)),
        )
        return result

    return find


def _is_changed(
    own: tuple[tuple[Any, ...], dict[str, Any]],
    last: tuple[tuple[Any, ...], dict[str, Any]],
) -> bool:
    """Whether the distribution's last arguments are others than the program's own."""
    (args, kwargs), (last_args, last_kwargs) = own, last
    if len(args) != len(last_args):
        return True
    if any(a is not b for a, b in zip(args, last_args, strict=True)):
        return True
    shared = kwargs.keys() & last_kwargs.keys() - set(_SET)
    return any(kwargs[key] is not last_kwargs[key] for key in shared)


_SET = (*_OPTIONS, "value", "seed", "observed", "name")  # that tracers set


def _later_run(
    assignment: _Assignment, calls: Mapping[str, _Call], variables: _Variables
) -> Tracer:
    """A tracer that runs the program at one assignment, the others at their values."""

    def assign(construct: Constructor, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(construct, "makes_random_variable"):
            return forward(construct, *args, **kwargs)
        name = kwargs["name"]
        if name in assignment:
            kwargs["value"] = lambda _: assignment[name]
        else:
            call = calls[name]
            if not isinstance(call.result, RandomVariable) or call.result.replaced:
                return call.result
            kwargs |= call.options
            if not hasattr(construct, "computes_value"):
                known = call.result.interval
                known = call.result.value if known is None else known
                kwargs["value"] = lambda _: known
        variables[name] = construct(*args, **kwargs)
        return variables[name]

    return assign


def _set_marginal(
    label: str,
    summed: Mapping[str, _Summed],
    calls: Mapping[str, _Call],
    run: Callable[[_Assignment], _Variables],
) -> None:
    """Gives the variables that depend on the sum their terms."""
    if not summed:  # `intervene` replaces them all
        return
    levels = sorted({part.plates for part in summed.values()}, key=len)
    for part in summed.values():
        if part.shape != tuple(size for _, size in part.plates):
            raise ValueError(
                f"{part.label}: given shape {part.shape} in the plates {part.plates}, "
                "wanted one entry for each entry of the plates"
            )
        apart = [plates for plates in levels if not _nested(plates, part.plates)]
        if apart:
            raise ValueError(
                f"{part.label}: given in the plates {part.plates} beside another in "
                f"{apart[0]}, wanted one of them inside the other; where nothing "
                "depends on both, marginalize one at a time"
            )
        if part.variable.is_marginal:
            raise ValueError(
                f"{part.label}: depends on another sum; give all names to one call"
            )
    dependent, restricted = _dependent(summed, calls, run)
    for name, plates in dependent.items():
        call = calls[name]
        if is_deterministic(call.result):
            reason = "depends on it, and has no one value"
            if f"{name}_base" in calls or not call.is_computed:
                reason += "; `reparam` made it so, wanted it as the program has it"
        elif call.result.drawn:
            reason = "depends on it and is drawn; predict with the program itself"
        elif call.is_changed:
            reason = "depends on it, and a tracer around changes its arguments"
        elif call.options.get("plates", ())[: len(plates)] != plates:
            reason = f"depends on it, and stands outside its plates {plates}"
        elif call.result.is_marginal:
            reason = "depends on it and on another sum; give all names to one call"
        elif name in restricted:
            reason = (
                "depends on it by its support, which must be one for all its values"
            )
        elif not all(_same(call.scale, part.scale) for part in summed.values()):
            reason = "depends on it, and has another scale than it"
        elif not _same(_outer_scale(call), _outer_scale(calls[next(iter(dependent))])):
            reason = "depends on it, and has another scale than the others that do"
        else:
            continue
        raise ValueError(f"{label}: {call.result.label} {reason}")
    if not dependent:
        return
    counted = {name: part.plates for name, part in summed.items()} | dependent
    terms = []
    for values in _assignments(label, summed, levels):
        variables = run(values)
        terms.append(
            [
                add(
                    _in_plates(variables[name], plates, calls.get(name))
                    for name, own in counted.items()
                    if own == plates
                )
                for plates in levels
            ]
        )
    sizes = [
        math.prod(len(part.values) for part in summed.values() if part.plates == plates)
        for plates in levels
    ]
    log_sum = _sum_out(terms, sizes, [len(plates) for plates in levels])
    first, *others = dependent
    calls[first].result.set_marginal(log_sum)
    for name in others:
        calls[name].result.set_marginal(tf.zeros_like(log_sum))


def _nested(plates: Plates, others: Plates) -> bool:
    """Whether one of the two goes on inside the other."""
    return all(a == b for a, b in zip(plates, others, strict=False))


def _sum_out(
    terms: list[list[tf.Tensor]], sizes: Sequence[int], ranks: Sequence[int]
) -> tf.Tensor:
    """log sum exp over the joint values of all levels, the innermost first.

    terms: for each assignment, the log prob of each level in its plates.  Those of the
      innermost level vary fastest.
    sizes: how many joint values the variables of each level have.
    ranks: the number of each level's plates.
    """
    for level in reversed(range(len(sizes))):
        groups = itertools.batched(terms, sizes[level])
        terms = []
        for group in groups:
            log_sum = tf.reduce_logsumexp(
                tf.stack([part[level] for part in group]), axis=0
            )
            outer = group[0][:level]  # the same in the whole group
            if level:
                inside = list(range(ranks[level - 1], ranks[level]))
                outer[-1] = add([outer[-1], tf.reduce_sum(log_sum, inside)])
            terms.append(outer or [log_sum])
    return terms[0][0]


def _in_plates(
    variable: RandomVariable, plates: Plates, call: _Call | None
) -> tf.Tensor:
    """The log prob, summed over all but the dimensions of the outer plates."""
    log_prob = variable.unscaled_log_prob()
    inside = len(call.options.get("plates", ()) if call else plates)
    # In front of the plates is the sample_shape; but a factor's plates come first.
    lead = 0 if is_factor(variable) else log_prob.shape.rank - inside
    kept = range(lead, lead + len(plates)) if plates else ()
    axes = [axis for axis in range(log_prob.shape.rank) if axis not in kept]
    return tf.reduce_sum(log_prob, axis=axes)


def _outer_scale(call: _Call) -> Any:
    return call.options.get("log_prob_scale")


def _same(scale: Any, other: Any) -> bool:
    """Whether two scales are one."""
    return scale is other or (
        isinstance(scale, (int, float))
        and isinstance(other, (int, float))
        and scale == other
    )


def _dependent(
    summed: Mapping[str, _Summed],
    calls: Mapping[str, _Call],
    run: Callable[[_Assignment], _Variables],
) -> tuple[dict[str, Plates], list[str]]:
    """The variables whose term or value depends on the summed ones, in order, with the
    innermost plates of the latter; and the latent ones whose support does.

    It is read off a graph that is discarded.
    """
    found: dict[str, Plates] = {}
    restricted: list[str] = []

    def look(assignment: dict[str, tf.Tensor]) -> None:
        variables = run(assignment)
        outputs: dict[str, tf.Tensor] = {}
        middles: dict[str, tf.Tensor] = {}
        for name, part in variables.items():
            if name in summed:
                continue
            outputs[name] = made_from(part)
            if not calls[name].result.observed:
                middles[name] = middle(part, to_site(part))
        terms = {name: variables[name].unscaled_log_prob() for name in summed}
        reached = {name: reached_from(value) for name, value in assignment.items()}
        for name, own in summed.items():
            depth = len(own.plates)
            inner = [z for z in summed if len(summed[z].plates) > depth]
            inner = [z for z in inner if terms[name].ref() in reached[z]]
            if inner:
                raise ValueError(
                    f"{own.label}: depends on {inner}, which stand in plates inside "
                    "its own; wanted it to depend on variables outside these"
                )
        for name, out in outputs.items():
            sources = [z for z, tensors in reached.items() if out.ref() in tensors]
            if sources:
                found[name] = max((summed[z].plates for z in sources), key=len)
        tensors = set().union(*reached.values())
        restricted.extend(name for name, out in middles.items() if out.ref() in tensors)

    tf.function(look, autograph=False).get_concrete_function(
        {name: tf.TensorSpec(part.shape, part.dtype) for name, part in summed.items()}
    )
    return found, restricted


def _assignments(
    label: str, summed: Mapping[str, _Summed], levels: Sequence[Plates]
) -> list[_Assignment]:
    """Each joint value of the summed variables, the same in all entries of a plate.

    Those in the innermost plates vary fastest.
    """
    ordered = sorted(summed.items(), key=lambda part: levels.index(part[1].plates))
    count = np.prod([len(part.values) for part in summed.values()], dtype=float)
    if count > MAX_ASSIGNMENTS:
        raise ValueError(
            f"{label}: given {count:.0f} joint values, wanted at most {MAX_ASSIGNMENTS}"
        )
    return [
        {
            name: tf.fill(part.shape, tf.constant(value, part.dtype))
            for (name, part), value in zip(ordered, values, strict=True)
        }
        for values in itertools.product(*(part.values for _, part in ordered))
    ]


def _at_first(label: str, variable: RandomVariable) -> tf.Tensor:
    first = values_of(variable.distribution, label)[0]
    shape = variable.sample_shape.concatenate(variable.distribution.batch_shape)
    return tf.fill(shape, tf.constant(first, variable.distribution.dtype))


def values_of(distribution: tfd.Distribution, label: str) -> np.ndarray:
    """The values that one entry may have.  Raises ValueError if they are not known."""
    distribution = without_plates(distribution)
    if isinstance(distribution, (tfd.Bernoulli, tfd.ProbitBernoulli)):
        return np.arange(2)
    if isinstance(distribution, (tfd.Categorical, tfd.OrderedLogistic)):
        parameter = getattr(distribution, "logits", None)
        if parameter is None:
            parameter = getattr(distribution, "probs", None)
        if parameter is None:
            parameter = distribution.categorical_probs()
        size = parameter.shape[-1]
        if size is not None:
            return np.arange(size)
    if isinstance(distribution, (tfd.Binomial, tfd.BetaBinomial)):
        total = tf.get_static_value(distribution.total_count)
        if total is not None and np.ndim(total) == 0:
            return np.arange(int(total) + 1)
    if isinstance(distribution, tfd.FiniteDiscrete):
        outcomes = tf.get_static_value(distribution.outcomes)
        if outcomes is not None:
            return np.asarray(outcomes)
    raise ValueError(
        f"{label}: given a {type(distribution).__name__}, wanted a Bernoulli, "
        "Categorical or FiniteDiscrete, or a Binomial whose total_count is one number"
    )
