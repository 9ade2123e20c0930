"""Variational inference by preconditioned gradient descent: the paper's Figure 12.

A guide is a program of random variables that stand for the model's latent ones, as an
alignment by name says.  `elbo_terms` has the loss's terms, and `train` descends it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import ppl_core as ppl
from experiments.programs import descent
from experiments.training.optimizers import adam
from ppl_core.terms import is_deterministic

LEARNING_RATE, NUM_STEPS = 0.1, 500  # of Figure 12

Parameters = tf.Tensor | Mapping[str, tf.Tensor]
ALONE = ""  # the name of parameters that are one tensor
Terms = Mapping[str, tf.Tensor]


class State(NamedTuple):
    """What a step hands to the next one, by name."""

    weights: descent.Weights
    slots: descent.Slots  # Adam's

    @property
    def parameters(self) -> Parameters:
        """As they were given to `start`."""
        return self.weights.get(ALONE, self.weights)


class Trained(NamedTuple):
    """What `train` ends with."""

    parameters: Parameters  # after the last step
    losses: tf.Tensor  # [num_steps + 1, ...]: before each step, and after the last


def elbo_terms(
    model: Callable[[], Any],
    guide: Callable[[], Any],
    alignment: Mapping[str, str],
    observed: Mapping[str, Any],
    seed: Any,
    *,
    batch_ndims: int = 0,
) -> dict[str, tf.Tensor]:
    """The terms of the evidence lower bound at a draw of the guide, by name: [batch].

    The energy is the log prob of each of the model's variables.  The entropy is that of
    each of the guide's; where TFP knows none, minus the log prob of the draw.  The
    expectation of their sum is the bound.  Tran et al. (2018), section 3.3.

    model, guide: programs that take no arguments.
    alignment: names of the model's latent variables to names of the guide's.
    observed: the data by name.
    seed: [2] int32, of the draw.
    batch_ndims: the number of leading dimensions of the guide's variables that are
      draws or parameters of their own.  The model is written for one entry of these.

    Raises ValueError for a variable of the guide that stands for none of the model's,
    has draws without a gradient, or is computed; for one under a `scale` or a `mask`;
    and as `ppl.align` and `ppl.make_log_joint_fn` do, for names that fit nothing.
    """
    with ppl.trace(_refuse_weights), ppl.tape() as variables, ppl.seeded(seed):
        guide()
    aligned = set(alignment.values())
    extra = [
        name
        for name, variable in variables.items()
        if name not in aligned and not is_deterministic(variable)
    ]
    if extra:
        raise ValueError(
            f"alignment: given nothing of the model for the guide's {extra}, wanted a "
            "latent variable for each"
        )
    log_probs = ppl.make_log_prob_parts_fn(
        model, batch_ndims=batch_ndims, observed=observed
    )
    terms = log_probs(**ppl.align(alignment, variables))
    terms = {f"log prob of {name}": term for name, term in terms.items()}
    for name in sorted(aligned):
        terms[f"entropy of {name}"] = _entropy(variables[name], batch_ndims)
    return terms


def negative(terms: Terms) -> tf.Tensor:
    """Figure 12's loss, -energy - entropy: [batch]."""
    return -tf.add_n(list(terms.values()))


def start(parameters: Parameters) -> State:
    """The state before the first step."""
    by_name = isinstance(parameters, Mapping)
    given = parameters if by_name else {ALONE: parameters}
    weights = {name: tf.convert_to_tensor(part) for name, part in given.items()}
    return State(weights, descent.first_slots(adam(LEARNING_RATE), weights))


def step(
    loss: Callable[[Parameters], tf.Tensor],
    state: State,
    index: tf.Tensor,
    *,
    preconditioner: tf.Tensor | None = None,
    learning_rate: Any = LEARNING_RATE,
) -> tuple[State, tf.Tensor]:
    """The state after Adam's step along the preconditioned gradient, and the loss.

    loss: of the parameters, of any shape; its sum is descended.
    index: of the step, from 0.
    preconditioner: [dim, dim], for parameters that are one tensor [..., dim].
    learning_rate: a number, a scalar tensor, or a function of the index.
    """
    with tf.GradientTape() as tape:
        tape.watch(state.weights)
        value = loss(state.parameters)
    grads = tape.gradient(
        value,
        dict(state.weights),
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    if preconditioner is not None:
        grads = {ALONE: tf.linalg.matvec(preconditioner, grads[ALONE])}
    rate = learning_rate if callable(learning_rate) else lambda _: learning_rate
    moved = descent.update(adam(rate), index, state.weights, grads, state.slots)
    return State(*moved), value


def train(
    loss: Callable[[Parameters, tf.Tensor], tf.Tensor],
    parameters: Parameters,
    *,
    seed: Any,
    preconditioner: tf.Tensor | None = None,
    learning_rate: Any = LEARNING_RATE,
    num_steps: int = NUM_STEPS,
) -> Trained:
    """Descends the loss by Adam on its preconditioned gradient: Figure 12.

    It is one loop, to be called inside a compiled tf.function.  See `fit`.

    loss: (parameters, [2] int32 seed of the step) -> a tensor, whose sum is descended.
    seed: [2] int32.
    preconditioner: [dim, dim], for parameters that are one tensor [..., dim]; None: the
      identity.
    """

    def loss_at(index: tf.Tensor) -> Callable[[Parameters], tf.Tensor]:
        return lambda parameters: loss(parameters, step_seed(seed, index))

    def take_step(
        index: tf.Tensor, state: State, losses: tf.TensorArray
    ) -> tuple[tf.Tensor, State, tf.TensorArray]:
        state, value = step(
            loss_at(index),
            state,
            index,
            preconditioner=preconditioner,
            learning_rate=learning_rate,
        )
        return index + 1, state, losses.write(index, value)

    first = start(parameters)
    value = loss_at(tf.constant(0))(first.parameters)  # its shape
    losses = tf.TensorArray(value.dtype, num_steps + 1, element_shape=value.shape)
    _, last, losses = tf.while_loop(
        lambda index, *_: index < num_steps,
        take_step,
        (tf.constant(0), first, losses),
        maximum_iterations=num_steps,
        parallel_iterations=1,
    )
    losses = losses.write(num_steps, loss_at(tf.constant(num_steps))(last.parameters))
    return Trained(last.parameters, losses.stack())


def fit(
    terms: Callable[[Parameters, tf.Tensor], Terms],
    parameters: Parameters,
    *,
    seed: Any,
    jit_compile: bool = False,
    **settings: Any,
) -> Trained:
    """`train` in a tf.function, on minus the sum of the terms, checked to be finite.

    terms: (parameters, seed) -> terms by name, such as `elbo_terms`.
    jit_compile: whether XLA compiles it.  Its draws are others.
    settings: those of `train`.

    Raises ValueError for a loss that is not finite, with the step and the term.
    """

    def loss(parameters: Parameters, seed: tf.Tensor) -> tf.Tensor:
        return negative(terms(parameters, seed))

    def called(fn: Callable[..., Any], *arguments: Any) -> Any:
        compiled = tf.function(fn, jit_compile=jit_compile, autograph=False)
        return compiled.get_concrete_function(*arguments)(*arguments)

    first = tf.nest.map_structure(tf.convert_to_tensor, parameters)
    seed = tf.constant(seed, tf.int32)

    def trained(num_steps: int) -> Trained:
        def call(parameters: Parameters, seed: tf.Tensor) -> Trained:
            return train(
                loss, parameters, seed=seed, **settings | {"num_steps": num_steps}
            )

        return called(call, first, seed)

    found = trained(settings.get("num_steps", NUM_STEPS))
    losses = found.losses.numpy()
    finite = np.isfinite(losses).reshape(len(losses), -1).all(1)
    if not finite.all():
        index = int(np.argmin(finite))
        before = trained(index).parameters
        parts = called(terms, before, step_seed(seed, index))
        wrong = {
            name: float(part.numpy()[~np.isfinite(part)].flat[0])
            for name, part in parts.items()
            if not np.isfinite(part).all()
        }
        raise ValueError(f"loss: given {wrong} at step {index}, wanted finite numbers")
    return found


def step_seed(seed: Any, index: Any) -> tf.Tensor:
    """The seed of a step."""
    return tf.random.fold_in(tf.convert_to_tensor(seed, tf.int32), index)


def _refuse_weights(construct: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    for option in ("log_prob_scale", "log_prob_mask"):
        if kwargs.get(option) is not None:
            raise ValueError(
                f"{construct.__name__}(name={kwargs.get('name')!r}): given a {option} "
                "in a guide, wanted none: its entropy would not have it"
            )
    return ppl.forward(construct, *args, **kwargs)


def _entropy(variable: ppl.RandomVariable, batch_ndims: int) -> tf.Tensor:
    """The entropy of one of the guide's variables: [batch]."""
    if is_deterministic(variable):
        raise ValueError(
            f"{variable.label}: given a computed value for a latent variable, wanted a "
            "random variable, which has an entropy"
        )
    distribution = variable.distribution
    kinds = set(tf.nest.flatten(distribution.reparameterization_type))
    if kinds != {tfp.distributions.FULLY_REPARAMETERIZED}:
        raise ValueError(
            f"{variable.label}: given draws without a gradient, wanted a "
            "reparameterised variable, which a discrete one is not"
        )
    try:
        entropy = variable.entropy()
    except NotImplementedError:  # TFP knows no formula
        entropy = -variable.log_prob()
    shape = variable.sample_shape.concatenate(distribution.batch_shape)
    entropy = tf.broadcast_to(entropy, shape)
    return tf.reduce_sum(entropy, axis=list(range(batch_ndims, shape.rank)))
