"""Transformations of programs: log joints, predictive draws, interventions, alignment.

A program is a Python function that makes random variables.  The functions returned
here take the program's arguments by position and the variables' values by name.  They
are built from the tracers alone.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from ppl_core.data import check_by_name, check_program, to_seed, to_tensors
from ppl_core.gradients import reached_from
from ppl_core.random_variable import RandomVariable
from ppl_core.seeds import seeded
from ppl_core.terms import is_deterministic, is_factor
from ppl_core.trace import drawn_variables
from ppl_core.tracers import bind, intervene, taped

Program = Callable[..., Any]


def make_log_joint_fn(
    program: Program,
    *,
    batch_ndims: int = 0,
    observed: Mapping[str, Any] | None = None,
    dtype: tf.DType | None = None,
) -> Callable[..., tf.Tensor]:
    """Returns log p(values): (*program_args, **values) -> [batch] Tensor.

    Every random variable of the program needs a value, and every value a variable.
    Tran et al. (2018), figure 7.

    batch_ndims: the number of leading batch dimensions (such as chains) of every value.
      The program is written for one entry; each entry gets its own log prob.
    observed: values that all entries share.  They and the program's arguments have no
      batch dimensions.
    dtype: of the sum; by default that of each variable's log prob.  A sum of many rows
      in float32 is too coarse to tell energies apart; float64 is not.

    >>> def model():
    ...     mu = ppl.Normal(0.0, 1.0, name="mu")
    ...     return ppl.Normal(mu, 1.0, name="x")
    >>> log_joint = ppl.make_log_joint_fn(model, batch_ndims=1, observed={"x": 1.0})
    >>> log_joint(mu=[0.0, 1.0]).numpy().round(2)
    array([-2.34, -2.34], dtype=float32)
    """
    log_prob_parts = make_log_prob_parts_fn(
        program, batch_ndims=batch_ndims, observed=observed, dtype=dtype
    )

    def log_joint(*args: Any, **values: Any) -> tf.Tensor:
        return add(log_prob_parts(*args, **values).values())

    return log_joint


def make_log_prob_parts_fn(
    program: Program,
    *,
    batch_ndims: int = 0,
    observed: Mapping[str, Any] | None = None,
    dtype: tf.DType | None = None,
) -> Callable[..., dict[str, tf.Tensor]]:
    """As make_log_joint_fn, but returns a [batch] Tensor for each term, by name."""

    def log_prob_parts(*args: Any, **values: Any) -> dict[str, tf.Tensor]:
        return {
            name: total(variable.log_prob(), dtype)
            for name, variable in _scored(program, args, values, observed).items()
            if not is_deterministic(variable)
        }

    return _batched(log_prob_parts, batch_ndims)


def make_log_likelihood_fn(
    program: Program,
    *,
    observed: Mapping[str, Any] | None = None,
    batch_ndims: int = 0,
) -> Callable[..., dict[str, tf.Tensor]]:
    """Returns the pointwise log prob of data: (*program_args, **latents) -> dict.

    observed: data by name.  What the program itself sets is data as well.  The result
      has the names of all data; each entry is not summed and has the shape batch +
      sample + the distribution's batch shape.  A minibatch's `scale` is left out: it is
      no property of an observation.

    >>> model = lambda: ppl.Normal(ppl.Normal(0.0, 1.0, name="m"), [1.0, 1.0], name="x")
    >>> log_likelihood = ppl.make_log_likelihood_fn(model, observed={"x": [0.0, 1.0]})
    >>> log_likelihood(m=0.0)["x"].numpy().round(2)
    array([-0.92, -1.42], dtype=float32)
    """

    def pointwise(*args: Any, **values: Any) -> dict[str, tf.Tensor]:
        return {
            name: variable.unscaled_log_prob()
            for name, variable in _scored(program, args, values, observed).items()
            if name not in values
            and not is_deterministic(variable)
            and not is_factor(variable)
        }

    return _batched(pointwise, batch_ndims)


def mutilate(program: Program, **values: Any) -> Program:
    """Returns the program under do(values).  Tran et al. (2018), figure 8.

    >>> model = lambda: ppl.Normal(ppl.Normal(0.0, 1.0, name="mu"), 1.0, name="x")
    >>> float(ppl.mutilate(model, mu=4.0)().mean())
    4.0
    """

    @functools.wraps(program)
    def mutilated(*args: Any, **kwargs: Any) -> Any:
        with intervene(**values):
            return program(*args, **kwargs)

    return mutilated


def prior_predictive(
    program: Program,
    *args: Any,
    num_draws: int,
    seed: Any,
    kwargs: Mapping[str, Any] | None = None,
) -> dict[str, tf.Tensor]:
    """Draws every variable of the program: a dict of name to [num_draws, ...].

    kwargs: keyword arguments of the program.
    seed: [2] int32.  Draw i of a variable depends only on the seed, i and the name.

    >>> model = lambda: ppl.Normal([0.0, 9.0], 1.0, name="x")
    >>> ppl.prior_predictive(model, num_draws=5, seed=(0, 1))["x"].shape.as_list()
    [5, 2]
    """
    if not isinstance(num_draws, (int, np.integer)) or num_draws < 0:
        raise ValueError(
            f"prior_predictive: given num_draws={num_draws!r}, wanted a whole number"
        )
    counter = tf.zeros([num_draws, 0])
    call = functools.partial(program, *args, **(kwargs or {}))
    return _predict(call, {}, counter, seed)


def posterior_predictive(
    program: Program,
    *args: Any,
    draws: Mapping[str, Any],
    seed: Any,
    kwargs: Mapping[str, Any] | None = None,
) -> dict[str, tf.Tensor]:
    """Draws the variables that `draws` lacks, given `draws`: name to [num_draws, ...].

    draws: [num_draws, ...] by name; the program runs once for each draw, and computes
      `deterministic` variables anew.
    kwargs: keyword arguments of the program.
    seed: [2] int32.

    Raises ValueError when `draws` is empty, when its entries differ in number, or when
    the program has no variable of one of its names.

    >>> model = lambda: ppl.Normal(ppl.Normal(0.0, 1.0, name="mu"), 1e-6, name="x")
    >>> draws = ppl.posterior_predictive(model, draws={"mu": [-3.0, 2.0]}, seed=(0, 1))
    >>> draws["x"].numpy().round().tolist()
    [-3.0, 2.0]
    """
    if not isinstance(draws, Mapping):
        raise TypeError(
            f"posterior_predictive: given {type(draws).__name__} as draws, wanted "
            "values by name"
        )
    draws = {
        name: to_tensors(part, f"posterior_predictive: draws of {name!r}")
        for name, part in draws.items()
    }
    firsts = {name: tf.nest.flatten(part)[0].shape for name, part in draws.items()}
    for name, shape in firsts.items():
        if shape.rank == 0:
            raise ValueError(
                f"posterior_predictive: given one number for {name!r}, wanted draws, "
                "[num_draws, ...]"
            )
    counts = {name: shape[0] for name, shape in firsts.items()}
    if not draws or len(set(counts.values())) > 1:
        raise ValueError(
            f"posterior_predictive: given draws in numbers {counts}, wanted one number"
        )
    counter = tf.zeros([next(iter(counts.values())), 0])
    call = functools.partial(program, *args, **(kwargs or {}))
    return _predict(call, draws, counter, seed)


def align(
    alignment: Mapping[str, str], variables: Mapping[str, Any]
) -> dict[str, tf.Tensor]:
    """Returns values for one program from the trace of another.

    Tran et al. (2018), section 3.3.

    alignment: names in the one program (such as a model) to names in the other (its
      variational program).
    variables: a tape's record of the other program, or values by name.

    Raises ValueError when `variables` lacks a name of the other program, and TypeError
    for what is not given by name.

    >>> with ppl.tape() as variables:
    ...     q = ppl.Normal(3.0, 1e-6, name="q_mu")
    >>> float(ppl.align({"mu": "q_mu"}, variables)["mu"].numpy().round())
    3.0
    """
    check_by_name(alignment, "align: the alignment")
    check_by_name(variables, "align: the variables")
    for name in alignment.values():
        if not isinstance(name, str):
            raise TypeError(f"align: given {name!r}, wanted a name among the variables")
    missing = sorted(set(alignment.values()) - set(variables))
    if missing:
        raise ValueError(
            f"align: given {missing}, wanted names among {sorted(variables)}"
        )
    return {
        name: to_tensors(variables[other], f"align: {other!r}")
        for name, other in alignment.items()
    }


def add(terms: Iterable[tf.Tensor]) -> tf.Tensor:
    """The sum of tensors of any dtypes, in the widest of these."""
    terms = list(terms)
    if not terms:
        return tf.zeros([])
    widest = max((term.dtype for term in terms), key=lambda dtype: dtype.size)
    return tf.add_n([tf.cast(term, widest) for term in terms])


def total(log_prob: tf.Tensor, dtype: tf.DType | None = None) -> tf.Tensor:
    """The sum over all entries of `log_prob`, accumulated in `dtype`."""
    return tf.reduce_sum(log_prob if dtype is None else tf.cast(log_prob, dtype))


def vectorized(
    fn: Callable[[Any], Any], arguments: Any, *, one_by_one: bool = False
) -> Any:
    """Maps `fn` over the first axis of each of `arguments`, as one batch of ops.

    A single entry is not vectorized, so a batch of one costs no more than no batch.

    one_by_one: evaluates the entries in a loop instead.  Gradients of loops and
      branches inside `fn` need it; a batch then takes as long as its entries together.
    """
    shapes = [part.shape for part in tf.nest.flatten(arguments)]
    if len({tuple(shape[:1]) for shape in shapes} | {()}) != 2:
        raise ValueError(f"batch: given shapes {shapes}, wanted one first dimension")
    if shapes[0][0] == 1:
        entry = tf.nest.map_structure(lambda part: part[0], arguments)
        return tf.nest.map_structure(lambda part: part[tf.newaxis], fn(entry))
    if not one_by_one:
        # Not by autograph, which rewrites a program's errors over many lines.
        map_all = tf.function(
            lambda parts: tf.vectorized_map(fn, parts), autograph=False
        )
        return map_all(arguments)
    entry = tf.nest.map_structure(
        lambda part: tf.TensorSpec(part.shape[1:], part.dtype), arguments
    )
    traced = tf.function(fn, autograph=False).get_concrete_function(entry)
    signature = tf.nest.map_structure(
        tf.type_spec_from_value, traced.structured_outputs
    )
    return tf.map_fn(fn, arguments, fn_output_signature=signature)


def label_of(program: Program) -> str:
    """The program's name in error messages."""
    return getattr(program, "__name__", repr(program))


def _scored(
    program: Program,
    args: tuple[Any, ...],
    values: Mapping[str, Any],
    observed: Mapping[str, Any] | None,
) -> dict[str, RandomVariable]:
    """Every variable of the program, by name, at these values."""
    check_program(program)
    observed = {} if observed is None else observed
    check_by_name(observed, f"{label_of(program)}: observed")
    repeated = sorted(values.keys() & observed.keys())
    if repeated:
        raise ValueError(
            f"{label_of(program)}: given {repeated} as observed and as values, wanted "
            "each once"
        )
    # A function, so that a value outside the support has a log prob of -inf, while data
    # there are refused.
    points = {
        name: value if value is None else (lambda *_, value=value: value)
        for name, value in values.items()
    }
    values = {**points, **observed}
    with (
        drawn_variables() as drawn,
        taped(label_of(program)) as variables,
        bind(values, label_of(program), observed=True),
    ):
        program(*args)
    # Variables that the program itself or a `condition` around it observes need no
    # value.  `substitute` and `replay` leave a variable latent, so it still needs one.
    missing = [name for name, variable in variables.items() if not variable.observed]
    recorded = [variable.label for variable in variables.values()]
    missing += [label for label in drawn if label not in recorded]  # hidden by `block`
    if missing:
        raise ValueError(
            f"{label_of(program)}: given no value for {missing}, wanted one"
        )
    return variables


def _batched(
    fn: Callable[..., dict[str, tf.Tensor]], batch_ndims: int
) -> Callable[..., dict[str, tf.Tensor]]:
    """`fn(*args, **values)` for values with `batch_ndims` leading batch dimensions."""
    is_whole = isinstance(batch_ndims, (int, np.integer))
    if not is_whole or batch_ndims < 0:
        raise ValueError(
            f"batch_ndims: given {batch_ndims!r}, wanted a whole number, 0 or more"
        )
    if batch_ndims == 0:
        return fn

    def batched(*args: Any, **values: Any) -> dict[str, tf.Tensor]:
        values = {
            name: to_tensors(value, f"values of {name!r}")
            for name, value in values.items()
        }
        shapes = {tuple(v.shape[:batch_ndims]) for v in tf.nest.flatten(values)}
        if len(shapes) != 1 or len(next(iter(shapes))) != batch_ndims:
            given = {name: value.shape for name, value in values.items()}
            raise ValueError(
                f"values: given shapes {given}, "
                f"wanted the same {batch_ndims} batch dimensions in front"
            )
        batch_shape = tf.shape(tf.nest.flatten(values)[0])[:batch_ndims]
        flat = tf.nest.map_structure(lambda v: _merge(v, batch_ndims), values)
        results = vectorized(lambda entry: fn(*args, **entry), flat)
        static_shape = next(iter(shapes))
        return {
            name: _split(v, batch_shape, static_shape) for name, v in results.items()
        }

    return batched


def _merge(value: tf.Tensor, ndims: int) -> tf.Tensor:
    """`value` with its first `ndims` dimensions as one."""
    if ndims == 1:
        return value
    return tf.reshape(value, tf.concat([[-1], tf.shape(value)[ndims:]], 0))


def _split(
    value: tf.Tensor, batch_shape: tf.Tensor, static_shape: tuple[Any, ...]
) -> tf.Tensor:
    """The inverse of `_merge`."""
    if len(static_shape) == 1:
        return value
    split = tf.reshape(value, tf.concat([batch_shape, tf.shape(value)[1:]], 0))
    return tf.ensure_shape(split, static_shape + tuple(value.shape[1:]))


def _check_computed(
    variables: Mapping[str, RandomVariable], given: Mapping[str, Any]
) -> None:
    """Raises ValueError for a given value that is computed from a variable not given.

    It would be computed from a new draw instead.
    """
    for name, variable in variables.items():
        if not variable.drawn or tf.nest.is_nested(variable.value):
            continue
        reached = reached_from(variable.value)
        for other in given:
            part = variables.get(other)
            if part is None or not is_deterministic(part):
                continue
            if part.value.ref() in reached:
                raise ValueError(
                    f"posterior_predictive: given draws of {other!r} without those of "
                    f"{name!r}, which it is computed from; wanted these too"
                )


def _predict(
    program: Callable[[], Any],
    draws: dict[str, tf.Tensor],
    counter: tf.Tensor,  # [num_draws, 0]: says how many where `draws` is empty
    seed: Any,
) -> dict[str, tf.Tensor]:
    seed = to_seed(seed, "seed")

    def predict_one(inputs: tuple[Any, ...]) -> dict[str, tf.Tensor]:
        index, given, _ = inputs
        with (
            taped("posterior_predictive") as variables,
            bind(given, "posterior_predictive", observed=False, recompute=True),
            seeded(tf.random.fold_in(seed, index)),
        ):
            program()
        if not tf.executing_eagerly():
            _check_computed(variables, given)
        return {
            name: variable.value
            for name, variable in variables.items()
            if name not in given and not is_factor(variable)
        }

    @tf.function(autograph=False)
    def predict(counter: tf.Tensor, draws: dict[str, Any]) -> dict[str, tf.Tensor]:
        indices = tf.range(tf.shape(counter)[0])
        signature: dict[str, Any] = {}

        def describe(given: dict[str, Any]) -> dict[str, tf.Tensor]:
            values = predict_one((tf.constant(0), given, None))
            signature.update(tf.nest.map_structure(tf.type_spec_from_value, values))
            return values

        tf.function(describe, autograph=False).get_concrete_function(
            tf.nest.map_structure(
                lambda part: tf.TensorSpec(part.shape[1:], part.dtype), draws
            )
        )
        if not signature:  # nothing is left to draw
            return {}
        return tf.map_fn(
            predict_one, (indices, draws, counter), fn_output_signature=signature
        )

    return predict(counter, draws)
