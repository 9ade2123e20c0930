"""Functions of programs: log joints, predictive draws, interventions, alignment.

A program is a Python function that makes random variables.  What is made here takes
the program's arguments by position and the variables' values by name, and is built of
the tracers alone.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf

from ppl_core.random_variable import to_tensors
from ppl_core.tracers import condition, intervene, seeded, substitute, tape

Program = Callable[..., Any]


def make_log_joint_fn(
    program: Program,
    *,
    batch_ndims: int = 0,
    observed: Mapping[str, Any] | None = None,
    dtype: tf.DType | None = None,
) -> Callable[..., tf.Tensor]:
    """Turns `program` into log p(values): (*program_args, **values) -> [batch] Tensor.

    Every random variable of the program needs a value, and every value a variable.
    Tran et al. (2018), figure 7.

    batch_ndims: how many batch dimensions stand in front of every value (chains, say),
      each entry of which gets a log prob of its own.  The program is written for one
      entry, and is vectorized over them.
    observed: values that all entries share, and the program's arguments, have none.
    dtype: what the terms are summed in; by default each site's own dtype.  float64
      keeps the energies of long float32 sums apart.
    """
    parts = make_log_prob_parts_fn(
        program, batch_ndims=batch_ndims, observed=observed, dtype=dtype
    )

    def log_joint(*args: Any, **values: Any) -> tf.Tensor:
        return add(parts(*args, **values).values())

    return log_joint


def make_log_prob_parts_fn(
    program: Program,
    *,
    batch_ndims: int = 0,
    observed: Mapping[str, Any] | None = None,
    dtype: tf.DType | None = None,
) -> Callable[..., dict[str, tf.Tensor]]:
    """As make_log_joint_fn, with the terms apart: a dict of name to [batch] Tensor."""

    def parts(*args: Any, **values: Any) -> dict[str, tf.Tensor]:
        return {
            name: total(log_prob, dtype)
            for name, log_prob in _run(program, args, values, observed).items()
        }

    return _batched(parts, batch_ndims)


def make_log_likelihood_fn(
    program: Program,
    *,
    observed: Mapping[str, Any],
    batch_ndims: int = 0,
) -> Callable[..., dict[str, tf.Tensor]]:
    """The pointwise log prob of data: (*program_args, **latent values) -> dict.

    observed: the data by name; each is a key of what comes back, a tensor of shape
      batch + sample + the distribution's batch, not summed.
    """

    def pointwise(*args: Any, **values: Any) -> dict[str, tf.Tensor]:
        log_probs = _run(program, args, values, observed)
        return {name: log_probs[name] for name in observed}

    return _batched(pointwise, batch_ndims)


def mutilate(program: Program, **values: Any) -> Program:
    """The program under do(values).  Tran et al. (2018), figure 8; see `intervene`."""

    def mutilated(*args: Any, **kwargs: Any) -> Any:
        with intervene(**values):
            return program(*args, **kwargs)

    return mutilated


def prior_predictive(
    program: Program, *args: Any, num_draws: int, seed: Any
) -> dict[str, tf.Tensor]:
    """Draws of every variable of the program: a dict of name to [num_draws, ...].

    seed: [2] int32; draw i of a variable depends on the seed, i and its name alone.
    """
    nothing = tf.zeros([num_draws, 0])
    return _predict(program, args, {}, nothing, seed)


def posterior_predictive(
    program: Program,
    *args: Any,
    draws: Mapping[str, Any],
    seed: Any,
) -> dict[str, tf.Tensor]:
    """Draws of the variables that `draws` lacks, given it: name to [num_draws, ...].

    draws: [num_draws, ...] by name, one program run for each.
    seed: [2] int32.

    Raises ValueError when `draws` is empty, its parts differ in number, or one of its
    names is no variable of the program.
    """
    draws = {name: to_tensors(part) for name, part in draws.items()}
    counts = {name: tf.nest.flatten(part)[0].shape[0] for name, part in draws.items()}
    if not draws or len(set(counts.values())) > 1:
        raise ValueError(
            f"posterior_predictive: draws of equal number wanted, given {counts}"
        )
    nothing = tf.zeros([next(iter(counts.values())), 0])
    return _predict(program, args, draws, nothing, seed)


def align(
    alignment: Mapping[str, str], variables: Mapping[str, Any]
) -> dict[str, tf.Tensor]:
    """Values for one program out of another's trace.  Tran et al. (2018), section 3.3.

    alignment: names in the one (a model, say) to names in the other (its variational
      program).
    variables: a tape's record of the other, or values by name.

    Raises ValueError when a name of the other is not in `variables`.
    """
    missing = sorted(set(alignment.values()) - set(variables))
    if missing:
        raise ValueError(f"align: {missing} not among {sorted(variables)}")
    return {name: to_tensors(variables[other]) for name, other in alignment.items()}


def add(terms: Iterable[tf.Tensor]) -> tf.Tensor:
    """The sum of tensors that may differ in dtype: in the widest of theirs."""
    terms = list(terms)
    if not terms:
        return tf.zeros([])
    widest = max((term.dtype for term in terms), key=lambda dtype: dtype.size)
    return tf.add_n([tf.cast(term, widest) for term in terms])


def total(log_prob: tf.Tensor, dtype: tf.DType | None = None) -> tf.Tensor:
    """The sum of all of `log_prob`, accumulated in `dtype`."""
    return tf.reduce_sum(log_prob if dtype is None else tf.cast(log_prob, dtype))


def vectorized(fn: Callable[[Any], Any], arguments: Any) -> Any:
    """`fn` over the first axis of each of `arguments`, as one batch of ops.

    A single entry is run as it is, so that a batch of one costs no more than none.
    """
    sizes = {part.shape[0] for part in tf.nest.flatten(arguments)}
    if len(sizes) > 1:
        raise ValueError(f"batch dimensions differ: {sorted(sizes, key=str)}")
    if sizes == {1}:
        one = tf.nest.map_structure(lambda part: part[0], arguments)
        return tf.nest.map_structure(lambda part: part[tf.newaxis], fn(one))
    return tf.vectorized_map(fn, arguments)


def _run(
    program: Program,
    args: tuple,
    values: Mapping[str, Any],
    observed: Mapping[str, Any] | None,
) -> dict[str, tf.Tensor]:
    """The log prob of every variable of the program at the values given, by name."""
    observed = observed or {}
    twice = sorted(values.keys() & observed.keys())
    if twice:
        raise ValueError(f"both observed and given as values: {twice}")
    with tape() as variables, condition(**values, **observed):
        program(*args)
    # A value that the program or a `condition` around it set is as good as one given
    # here; `substitute` and `replay` leave a variable latent, and so without one.
    missing = [name for name, variable in variables.items() if not variable.observed]
    if missing:
        raise ValueError(f"{_called(program)}: no value given for {missing}")
    return {name: variable.log_prob() for name, variable in variables.items()}


def _batched(
    fn: Callable[..., dict[str, tf.Tensor]], batch_ndims: int
) -> Callable[..., dict[str, tf.Tensor]]:
    """`fn(*args, **values)` for values with `batch_ndims` dimensions in front."""
    if batch_ndims == 0:
        return fn

    def batched(*args: Any, **values: Any) -> dict[str, tf.Tensor]:
        values = {name: to_tensors(value) for name, value in values.items()}
        shapes = {tuple(v.shape[:batch_ndims]) for v in tf.nest.flatten(values)}
        if len(shapes) != 1 or len(next(iter(shapes))) != batch_ndims:
            raise ValueError(
                f"values with the same {batch_ndims} batch dimensions in front wanted, "
                f"given { {name: v.shape for name, v in values.items()} }"
            )
        batch_shape = tf.shape(tf.nest.flatten(values)[0])[:batch_ndims]
        flat = tf.nest.map_structure(lambda v: _merge(v, batch_ndims), values)
        terms = vectorized(lambda one: fn(*args, **one), flat)
        static = next(iter(shapes))
        return {name: _split(v, batch_shape, static) for name, v in terms.items()}

    return batched


def _merge(value: tf.Tensor, ndims: int) -> tf.Tensor:
    """`value` with its first `ndims` dimensions as one."""
    if ndims == 1:
        return value
    return tf.reshape(value, tf.concat([[-1], tf.shape(value)[ndims:]], 0))


def _split(value: tf.Tensor, batch_shape: tf.Tensor, static: tuple) -> tf.Tensor:
    if len(static) == 1:
        return value
    split = tf.reshape(value, tf.concat([batch_shape, tf.shape(value)[1:]], 0))
    return tf.ensure_shape(split, static + tuple(value.shape[1:]))


def _predict(
    program: Program,
    args: tuple,
    draws: dict[str, tf.Tensor],
    nothing: tf.Tensor,  # [num_draws, 0]: tells the number where `draws` is empty
    seed: Any,
) -> dict[str, tf.Tensor]:
    seed = tf.convert_to_tensor(seed, tf.int32)

    def one(inputs: tuple) -> dict[str, tf.Tensor]:
        index, given, _ = inputs
        with tape() as variables, substitute(**given):
            with seeded(tf.random.fold_in(seed, index)):
                program(*args)
        return {
            name: variable.value
            for name, variable in variables.items()
            if name not in given
        }

    @tf.function(autograph=False)
    def run(nothing: tf.Tensor, draws: dict) -> dict[str, tf.Tensor]:
        indices = tf.range(tf.shape(nothing)[0])
        like: dict[str, Any] = {}

        def describe(given: dict) -> dict[str, tf.Tensor]:
            made = one((tf.constant(0), given, None))
            like.update(tf.nest.map_structure(tf.type_spec_from_value, made))
            return made

        tf.function(describe, autograph=False).get_concrete_function(
            tf.nest.map_structure(
                lambda part: tf.TensorSpec(part.shape[1:], part.dtype), draws
            )
        )
        return tf.map_fn(one, (indices, draws, nothing), fn_output_signature=like)

    return run(nothing, draws)


def _called(program: Program) -> str:
    return getattr(program, "__name__", repr(program))
