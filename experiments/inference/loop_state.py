"""What the compiled loop is given, carries and returns; between two calls, NumPy's.

Its arrays are tensors within the loop, and NumPy arrays or those of another runtime
outside.  Chains are the minor axis of every array.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments.inference.step_size import StepSize

Array = Any  # a tensor, or an array


class Draw(NamedTuple):
    """A position with its log prob and gradient."""

    position: Array  # [dim, chains]
    log_prob: Array  # [chains]
    grad: Array  # [dim, chains]


class End(NamedTuple):
    """An end of a trajectory: what the next leapfrog from it needs."""

    position: Array  # [dim, chains]
    momentum: Array  # [dim, chains], white
    grad: Array  # [dim, chains]


class Tree(NamedTuple):
    """The trajectory so far: its two ends, and the draw from it."""

    left: End  # earliest in time
    right: End
    sum_momentum: Array  # [dim, chains]
    log_weight: Array  # [chains], log sum of exp(-energy error)
    depth: Array  # [chains] int32, doublings
    draw: Draw


class Subtree(NamedTuple):
    """The half being built, in the order in which its leaves come."""

    leaf: Array  # [chains] int32, leaves done
    forward: Array  # [chains] bool, the direction of time
    tip: End  # the last leaf, or where the next one is to be
    first_momentum: Array  # [dim, chains], of its first leaf
    sum_momentum: Array  # [dim, chains]
    log_weight: Array  # [chains]
    draw: Draw
    # The unmatched subtrees of 1, 2, 4 ... leaves: [max_depth, dim, chains] each.
    kept_first: Array
    kept_last: Array
    kept_sum: Array


class Statistics(NamedTuple):
    """What a transition tells of itself; nothing later reads it to sample."""

    log_prob: Array  # [chains], at the draw
    leapfrogs: Array  # [chains] int32, gradients taken: the unit of cost
    depth: Array  # [chains] int32, doublings accepted into the trajectory
    accept: Array  # [chains], mean of min(1, exp(-energy error)) over leapfrogs
    diverged: Array  # [chains] bool
    energy: Array  # [chains], the Hamiltonian at the start, momentum refreshed


class Transition(NamedTuple):
    """A transition's result."""

    position: Array  # [dim, chains]
    grad: Array  # [dim, chains]
    statistics: Statistics


class Log(NamedTuple):
    """Transitions that have ended, at most one of each chain in a row."""

    rows: Array  # scalar int32, those written
    valid: Array  # [rows, chains] bool
    transitions: Transition  # [rows, ...]; of no gradients unless they are asked for


class Loop(NamedTuple):
    """All that a turn hands the next; between two runs, all that is kept."""

    turns: Array  # scalar int32, of this run
    idle: Array  # [chains] bool: its transition has ended, no other begun
    drawn: Array  # [chains] int32, transitions that have ended
    step: StepSize  # of [chains]
    tree: Tree
    subtree: Subtree
    leapfrogs: Array  # [chains] int32, of this transition
    sum_accept: Array  # [chains]
    diverged: Array  # [chains] bool
    start_energy: Array  # [chains]
    # The last transition that ended before this one.  The log takes that of all chains
    # at once, when one of them needs the room.
    last: Transition
    has_last: Array  # [chains] bool: there is one that is not in the log
    log: Log
    macro: Any = ()  # of `walnuts`, a MacroStep


class Setting(NamedTuple):
    """What holds for a whole run of the loop, all given when it is run."""

    chains: Array  # [chains] int32: the number of each
    num_draws: Array  # scalar int32, of each chain: then it stays idle
    until: Array  # scalar int32, draws of every chain at which the run ends
    max_depth: Array  # scalar int32, at most that of the tables
    max_turns: Array  # scalar int32
    adapting: Array  # scalar bool: whether step sizes are adapted
    target_accept: Array  # scalar, of the energy's dtype
    scale: Array  # the metric: [dim, chains], or [chains, dim, dim], lower


def empty(
    chains: int,
    dim: int,
    *,
    max_depth: int,
    rows: int,
    keep_grads: bool,
    dtype: Any,
    energy_dtype: Any,
) -> Loop:
    """A loop of zeros, in NumPy, for `begin`."""
    count = np.zeros(chains, np.int32)
    no = np.zeros(chains, bool)
    zeros = np.zeros(chains, energy_dtype)
    vector = np.zeros((dim, chains), dtype)
    kept = np.zeros((max_depth, dim, chains), dtype)
    draw = Draw(vector, zeros, vector)
    end = End(vector, vector, vector)
    last = Transition(
        vector,
        vector if keep_grads else vector[:0],
        Statistics(zeros, count, count, zeros, no, zeros),
    )
    return Loop(
        turns=np.int32(0),
        idle=no,
        drawn=count,
        step=StepSize(*(np.zeros(chains) for _ in StepSize._fields)),
        tree=Tree(end, end, vector, zeros, count, draw),
        subtree=Subtree(count, no, end, vector, vector, zeros, draw, kept, kept, kept),
        leapfrogs=count,
        sum_accept=zeros,
        diverged=no,
        start_energy=zeros,
        last=last,
        has_last=no,
        log=Log(
            rows=np.int32(0),
            valid=np.zeros((rows, chains), bool),
            transitions=of_transition(
                lambda part: np.zeros((rows, *part.shape), part.dtype), last
            ),
        ),
    )


def begin(
    loop: Loop,
    position: np.ndarray,  # [chains, dim]
    log_prob: np.ndarray,  # [chains]
    grad: np.ndarray,  # [chains, dim]
    step: StepSize,
    drawn: np.ndarray,  # [chains] int32: 0, or all draws for a chain without any to do
) -> Loop:
    """The loop before its first turn, every chain idle at its position.

    loop: any of these shapes.  A chain's first transition sets the rest of it anew.

    A log prob of -inf stands for one that is not known.  With a step size of 0 and one
    doubling, a transition then computes it, and the gradient.
    """
    no = np.zeros(len(log_prob), bool)
    tip = loop.subtree.tip._replace(position=position.T)
    return loop._replace(
        idle=~no,
        drawn=drawn,
        step=step,
        tree=loop.tree._replace(draw=Draw(position.T, log_prob, grad.T)),
        subtree=loop.subtree._replace(tip=tip),
        has_last=no,
    )


def finished(loop: Loop, accept: Array) -> Transition:
    """The transitions of this loop's chains, as far as they have come.

    accept: [chains], the mean acceptance of each.
    """
    draw, last = loop.tree.draw, loop.last
    return Transition(
        position=draw.position,
        grad=draw.grad[: last.grad.shape[0]],
        statistics=Statistics(
            log_prob=draw.log_prob,
            leapfrogs=loop.leapfrogs,
            depth=loop.tree.depth,
            accept=accept,
            diverged=loop.diverged,
            energy=loop.start_energy,
        ),
    )


def mean_accept(loop: Loop) -> np.ndarray:
    """The mean acceptance of each chain's transition so far, of a loop outside XLA."""
    total = np.asarray(loop.sum_accept)
    return total / np.maximum(accept_count(loop), 1).astype(total.dtype)


def accept_count(loop: Loop) -> Array:
    """How many acceptances of each chain's transition have been added up."""
    return loop.macro.begun if loop.macro else loop.leapfrogs


def of_transition(function: Callable[[Any], Any], transition: Transition) -> Transition:
    """The transition with this done to each of its arrays."""
    position, grad, statistics = transition
    return Transition(
        function(position), function(grad), Statistics(*map(function, statistics))
    )
