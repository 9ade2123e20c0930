"""Where chains start: drawn by chain number, or as given."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.inference import philox, step_size

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


def evaluate(kernel: Any, position: Any, *, scale: Any, seed: np.ndarray) -> Any:
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


def evaluate_start(
    kernel: Any, start: np.ndarray, *, scale: np.ndarray, seed: np.ndarray
) -> Any:
    """The log prob and gradient at `start` [chains, dim], by the compiled kernel.

    Raises ValueError when they are not finite.
    """
    state = evaluate(kernel, start, scale=scale, seed=seed)
    unknown = np.isneginf(state.log_prob)
    if unknown.any():
        # The transition tells neither NaN from infinity, nor of gradients.
        chain = int(np.argmax(unknown))
        found = kernel.density_at(np.asarray(start)[chain])
        state.log_prob[chain], state.grad[chain] = found
    _check_start(state)
    return state


def _check_start(state: Any) -> None:
    _, log_prob, grad = state
    bad = ~np.isfinite(log_prob) | ~np.isfinite(grad).all(axis=-1)
    if bad.any():
        chain = int(np.argmax(bad))
        raise ValueError(
            f"start: chain {chain} has log prob {log_prob[chain]} and "
            f"{np.sum(~np.isfinite(grad[chain]))} gradients that are not finite, "
            "wanted finite ones"
        )


def draw_positions(
    seed: np.ndarray, attempt: int, *, num_chains: int, dim: int, first_chain: int = 0
) -> np.ndarray:
    """Positions uniform on (-2, 2): [chains, dim] float64.

    A chain's position depends on the seed, the number of the attempt and the chain's
    own number, and on nothing else.

    seed: [2] int32.
    first_chain: the number of the first of these chains.
    """
    seed = philox.fold_in(seed, attempt)
    uniform = philox.uniform(seed, (num_chains, dim), first_chain)
    return RADIUS * (2 * uniform - 1)


def find_starts(
    evaluate: Evaluate,
    *,
    seed: np.ndarray,
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
