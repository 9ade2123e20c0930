"""Where chains start: drawn by chain number, or given by name or as vectors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments.inference import prng, step_size

RADIUS = 2.0  # starts are uniform(-2, 2), as Stan's
MAX_RETRIES = 100  # per chain, as in Stan

# positions [chains, dim] -> log probs [chains] and gradients [chains, dim]
Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Starts(NamedTuple):
    """Positions with a finite log prob and a finite gradient."""

    position: np.ndarray  # [chains, dim]
    log_prob: np.ndarray  # [chains]
    grad: np.ndarray  # [chains, dim]
    evaluations: int  # gradients of each chain


def evaluate(kernel: Any, position: Any, *, scale: Any, seed: tf.Tensor) -> Any:
    """The kernel's state at positions [chains, dim]: log prob and gradient computed.

    Where they are not finite, the log prob is -inf and the gradient 0.
    """
    chains, dim = kernel.num_chains, kernel.dim
    # From a log prob of -inf, a step of size 0 is accepted where it is finite.
    unknown = (np.asarray(position), np.full(chains, -np.inf), np.zeros((chains, dim)))
    state, _, _ = kernel.run(
        unknown,
        first_draw=0,
        num_draws=1,
        step=step_size.constant(0.0, chains),
        scale=scale,
        max_depth=1,
        adapting=False,
        target_accept=0.8,
        seed=seed,
    )
    return state


def draw_positions(
    seed: tf.Tensor, attempt: int, *, num_chains: int, dim: int, first_chain: int = 0
) -> np.ndarray:
    """Positions uniform on (-2, 2): [chains, dim] float64.

    A chain's position depends on the seed, the number of the attempt and the chain's
    own number, and on nothing else.

    seed: [2] int32.
    first_chain: the number of the first of these chains.
    """
    seed = prng.fold_in(seed, tf.constant(attempt))
    uniform = prng.uniform(seed, (num_chains, dim), first_chain)
    return RADIUS * (2 * uniform.numpy() - 1)


def find_starts(
    evaluate: Evaluate,
    *,
    seed: tf.Tensor,
    num_chains: int,
    dim: int,
    first_chain: int = 0,
    variables: Mapping[str, int] | None = None,
    explain: Evaluate | None = None,
) -> Starts:
    """Starts drawn as `draw_positions` does, again for chains that cannot start there.

    A chain draws again, up to 100 times, while its log prob or its gradient is not
    finite.  Each attempt evaluates all chains, so that one compiled shape serves.

    variables: the number of coordinates of each variable by name, in the vector's
      order: for the error.
    explain: evaluates the position [1, dim] that an error is about, where `evaluate`
      does not say in which way a value is not finite.

    Raises ValueError, naming a chain, its log prob and the variables whose gradients
    are not finite, when all attempts of a chain have failed.
    """
    position = np.zeros((num_chains, dim))
    bad = np.ones(num_chains, bool)
    for attempt in range(MAX_RETRIES + 1):
        drawn = draw_positions(
            seed, attempt, num_chains=num_chains, dim=dim, first_chain=first_chain
        )
        position = np.where(bad[:, np.newaxis], drawn, position)
        log_prob, grad = (np.asarray(part) for part in evaluate(position))
        bad = ~usable(log_prob, grad)
        if not bad.any():
            return Starts(position, log_prob, grad, attempt + 1)
    raise ValueError(
        _describe(position, log_prob, grad, first_chain, variables, explain)
        + f" after {MAX_RETRIES} retries from uniform(-2, 2), wanted finite ones: give "
        "start, or mend the model's priors"
    )


def check_starts(
    evaluate: Evaluate,
    position: np.ndarray,
    *,
    first_chain: int = 0,
    variables: Mapping[str, int] | None = None,
    explain: Evaluate | None = None,
) -> Starts:
    """The starts at given positions [chains, dim].

    Raises ValueError as `find_starts` does, without another attempt.
    """
    log_prob, grad = (np.asarray(part) for part in evaluate(position))
    if not usable(log_prob, grad).all():
        raise ValueError(
            _describe(position, log_prob, grad, first_chain, variables, explain)
            + ", wanted finite ones"
        )
    return Starts(position, log_prob, grad, 1)


def usable(log_prob: np.ndarray, grad: np.ndarray) -> np.ndarray:
    """Which chains can go on: those with a finite log prob and gradient, [chains]."""
    return np.isfinite(log_prob) & np.isfinite(grad).all(axis=-1)


def _describe(
    position: np.ndarray,
    log_prob: np.ndarray,
    grad: np.ndarray,
    first_chain: int,
    variables: Mapping[str, int] | None,
    explain: Evaluate | None,
) -> str:
    bad = ~usable(log_prob, grad)
    chain = int(np.argmax(bad))
    one_log_prob, one_grad = log_prob[chain], grad[chain]
    if explain is not None:
        one_log_prob, one_grad = (
            np.asarray(part)[0] for part in explain(position[chain : chain + 1])
        )
    names = variables_of(~np.isfinite(one_grad), variables)
    return (
        f"start: chain {first_chain + chain} ({bad.sum()} of {len(bad)} chains fail) "
        f"has log prob {one_log_prob} and gradients that are not finite for "
        f"{names or 'no variable'}"
    )


def variables_of(chosen: np.ndarray, variables: Mapping[str, int] | None) -> list[str]:
    """The variables that have any of the coordinates chosen, [dim] bool, by name.

    Without variables, the coordinates as x[0], x[1] and so on.
    """
    if variables is None:
        return [f"x[{i}]" for i in np.flatnonzero(chosen)]
    parts = np.split(chosen, np.cumsum(list(variables.values()))[:-1])
    return [name for name, part in zip(variables, parts, strict=True) if part.any()]


def given_positions(
    start: Mapping[str, Any] | Sequence[Any] | np.ndarray,
    *,
    num_chains: int,
    dim: int,
    posterior: Any = None,
    drawn: np.ndarray | None = None,
) -> np.ndarray:
    """Given starts as vectors: [chains, dim].

    start: vectors [chains, dim], or values by name on the constrained scale.  A value
      is one variable's, for all chains alike, or has a leading axis of chains; a scalar
      fills a variable of any shape.
    posterior: a `ppl.Posterior`, for values by name.
    drawn: [chains, dim], unconstrained: where variables that are not named start.
      None: every variable needs a value.

    Raises ValueError for another shape, an unknown or a missing name, values that are
    not finite, and values outside the variable's support.
    """
    if not isinstance(start, Mapping):
        try:
            vectors = np.asarray(start, np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"start: given {start!r}, wanted numbers [{num_chains}, {dim}], or "
                "values by name"
            ) from error
        if vectors.shape != (num_chains, dim):
            raise ValueError(
                f"start: given shape {vectors.shape}, wanted [{num_chains}, {dim}], "
                "one vector a chain"
            )
        return vectors
    if posterior is None:
        raise ValueError(
            f"start: given values for {sorted(start)}, wanted vectors: a log prob "
            "function has no names"
        )
    missing = sorted(set(posterior.names) - start.keys())
    unknown = sorted(start.keys() - set(posterior.names))
    if unknown or (missing and drawn is None):
        raise ValueError(
            f"start: given values for {sorted(start)}, wanted them for "
            f"{sorted(posterior.names)}"
        )
    at = np.zeros((num_chains, dim)) if drawn is None else drawn
    values = {
        name: np.array(value)
        for name, value in posterior.constrain(tf.constant(at)).items()
        if name in posterior.names
    }
    for name, value in start.items():
        values[name] = _of_chains(name, value, values[name].shape)
    return np.asarray(posterior.unconstrain(values), np.float64)


def _of_chains(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The value of one variable for every chain, of `shape` [chains, ...]."""
    try:
        given = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"start: given {name!r} {value!r}, wanted numbers") from error
    if given.shape not in ((), shape[1:], shape):
        raise ValueError(
            f"start: given {name!r} of shape {given.shape}, wanted {shape[1:]}, or "
            f"{shape} for {shape[0]} chains"
        )
    if not np.isfinite(given).all():
        raise ValueError(f"start: given {name!r} {given}, wanted finite numbers")
    return np.broadcast_to(given, shape)
