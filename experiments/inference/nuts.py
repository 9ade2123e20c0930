"""The No-U-Turn sampler, multinomial, for many chains that do not wait for each other.

Hoffman & Gelman (2014) found the trajectory by doubling it; Betancourt (2017), appendix
A.4, draws from it by weight and stops by the generalised criterion; Stan adds two
checks across the seam of the halves (stan-dev/stan, pull request 2800).

One turn of the loop is one leapfrog of every chain, wherever each is in its own
sequence of draws.  A chain begins its next transition in the turn in which its last one
ends.  Chains are the minor axis of every array, so that what is done to all of them is
one pass over contiguous memory.

The metric is a linear map from white momentum, N(0, I), to velocity.  With M = S S' the
inverse mass, a kick is S' gradient and a drift is S momentum.  In these coordinates,
energies and the criterion need no metric.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments.inference import step_size, trees
from experiments.inference.leapfrog import (
    LogProbAndGrad,
    energy,
    kick,
    kick_and_drift,
)
from experiments.inference.step_size import StepSize
from experiments.inference.streams import Numbers
from experiments.inference.trees import Draw, End, Subtree, Tree, select

MAX_ENERGY_ERROR = 1000.0  # above it a trajectory has left the level set for good


class Statistics(NamedTuple):
    """What a transition tells of itself; nothing later reads it to sample."""

    log_prob: tf.Tensor  # [chains], at the draw
    leapfrogs: tf.Tensor  # [chains] int32, gradients taken: the unit of cost
    depth: tf.Tensor  # [chains] int32, doublings accepted into the trajectory
    accept: tf.Tensor  # [chains], mean of min(1, exp(-energy error)) over leapfrogs
    diverged: tf.Tensor  # [chains] bool
    energy: tf.Tensor  # [chains], the Hamiltonian at the start, momentum refreshed


class Transition(NamedTuple):
    """A transition's result."""

    position: tf.Tensor  # [dim, chains]
    grad: tf.Tensor  # [dim, chains]
    statistics: Statistics


class Log(NamedTuple):
    """Transitions that have ended, at most one of each chain in a row."""

    rows: tf.Tensor  # scalar int32, those written
    valid: tf.Tensor  # [rows, chains] bool
    transitions: Transition  # [rows, ...]; of no gradients unless they are asked for


class Loop(NamedTuple):
    """All that a turn hands the next; between two runs, all that is kept."""

    turns: tf.Tensor  # scalar int32, of this run
    idle: tf.Tensor  # [chains] bool: its transition has ended, no other begun
    drawn: tf.Tensor  # [chains] int32, transitions that have ended
    step: StepSize  # of [chains]
    tree: Tree
    subtree: Subtree
    leapfrogs: tf.Tensor  # [chains] int32, of this transition
    sum_accept: tf.Tensor  # [chains]
    diverged: tf.Tensor  # [chains] bool
    start_energy: tf.Tensor  # [chains]
    # The last transition that ended before this one.  The log takes that of all chains
    # at once, when one of them needs the room.
    last: Transition
    has_last: tf.Tensor  # [chains] bool: there is one that is not in the log
    log: Log
    macro: Any = ()  # of `walnuts`, a MacroStep


class Setting(NamedTuple):
    """What holds for a whole run of the loop, all given when it is run."""

    chains: tf.Tensor  # [chains] int32: the number of each
    num_draws: tf.Tensor  # scalar int32, of each chain: then it stays idle
    until: tf.Tensor  # scalar int32, draws of every chain at which the run ends
    max_depth: tf.Tensor  # scalar int32, at most that of the tables
    max_turns: tf.Tensor  # scalar int32
    adapting: tf.Tensor  # scalar bool: whether step sizes are adapted
    target_accept: tf.Tensor  # scalar, of the energy's dtype
    scale: tf.Tensor  # the metric: [dim, chains], or [chains, dim, dim], lower


class Method(NamedTuple):
    """How a trajectory comes by its leaves: as here, or as in `walnuts`."""

    extend: Callable[[Loop], Loop]  # a loop of `empty` with what the method keeps
    before: Callable[..., tuple[tf.Tensor, tf.Tensor]]  # a turn's half: loop, setting
    after: Callable[..., Loop]  # its other half: see `_account`
    settings: dict[str, Any]  # to be recorded with the draws


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
            transitions=tf.nest.map_structure(
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


def run(
    loop: Loop,
    setting: Setting,
    numbers: Numbers,
    log_prob_and_grad: LogProbAndGrad,  # [chains, dim] -> [chains], [chains, dim]
    *,
    within_xla: bool,
    method: Method,
) -> Loop:
    """Runs until every chain has `until` draws, or something of this run is used up.

    That is the room in the log, the random numbers of a chain, or the turns.  The loop
    can then be run again, with other numbers, as if it had not stopped.

    within_xla: whether XLA compiles the caller, density and all.  Otherwise it compiles
      the two halves of a turn, and TensorFlow runs the density between them.
    """
    zero = tf.constant(0)
    loop = loop._replace(turns=zero, log=loop.log._replace(rows=zero))
    log_rows, number_rows = loop.log.valid.shape[0], numbers.leaf_seed.shape[0]

    def goes_on(loop: Loop) -> tf.Tensor:
        # A chain that ends in this turn is to find room and numbers.
        used_up = (loop.log.rows == log_rows) | (
            (loop.drawn < setting.num_draws)
            & (loop.drawn - numbers.first + 1 >= number_rows)
        )
        return (
            tf.reduce_any(loop.drawn < setting.until)
            & ~tf.reduce_any(used_up)
            & (loop.turns < setting.max_turns)
        )

    def first_half(loop: Loop) -> tuple[tf.Tensor, tf.Tensor]:
        return method.before(loop, setting)

    def second_half(
        loop: Loop,
        position: tf.Tensor,
        momentum: tf.Tensor,
        log_prob: tf.Tensor,
        grad: tf.Tensor,
    ) -> Loop:
        return method.after(loop, setting, numbers, position, momentum, log_prob, grad)

    if not within_xla:
        first_half = tf.function(first_half, jit_compile=True, autograph=False)
        second_half = tf.function(second_half, jit_compile=True, autograph=False)

    def turn(*parts: tf.Tensor) -> list[tf.Tensor]:
        current = tf.nest.pack_sequence_as(loop, parts)
        position, momentum = first_half(current)
        log_prob, grad = log_prob_and_grad(tf.transpose(position))
        after = second_half(current, position, momentum, log_prob, tf.transpose(grad))
        return tf.nest.flatten(after)

    parts = tf.while_loop(
        lambda *parts: goes_on(tf.nest.pack_sequence_as(loop, parts)),
        turn,
        tf.nest.flatten(loop),
        parallel_iterations=1,
    )
    return tf.nest.pack_sequence_as(loop, parts)


def finished(loop: Loop) -> Transition:
    """The transitions of this loop's chains, as far as they have come."""
    draw, last = loop.tree.draw, loop.last
    return Transition(
        position=draw.position,
        grad=draw.grad[: last.grad.shape[0]],
        statistics=Statistics(
            log_prob=draw.log_prob,
            leapfrogs=loop.leapfrogs,
            depth=loop.tree.depth,
            accept=_mean_accept(loop),
            diverged=loop.diverged,
            energy=loop.start_energy,
        ),
    )


def _before(loop: Loop, setting: Setting) -> tuple[tf.Tensor, tf.Tensor]:
    """The half of a turn before its gradient."""
    tip, step = loop.subtree.tip, signed_step(loop)
    return kick_and_drift(tip.position, tip.momentum, tip.grad, step, setting.scale)


def _account(
    loop: Loop,
    setting: Setting,
    numbers: Numbers,
    position: tf.Tensor,
    momentum: tf.Tensor,
    log_prob: tf.Tensor,
    grad: tf.Tensor,
) -> Loop:
    """The half after the gradient: one leaf more, and what follows from it."""
    going = ~loop.idle
    momentum = kick(momentum, grad, signed_step(loop), setting.scale)
    energy_error = energy(momentum, log_prob) - loop.start_energy
    energy_error = tf.where(
        tf.math.is_nan(energy_error),
        tf.constant(float("inf"), log_prob.dtype),
        energy_error,
    )
    diverged = energy_error > MAX_ENERGY_ERROR
    leaf_u = numbers.leaf_uniform(loop.drawn, loop.leapfrogs, setting.chains)
    subtree = trees.add_leaf(
        loop.subtree,
        End(position, momentum, grad),
        Draw(position, log_prob, grad),
        -energy_error,
        tf.cast(leaf_u, log_prob.dtype),
    )
    subtree, turning = trees.match(subtree, going)
    failed = going & (diverged | turning)
    full = subtree.leaf == tf.bitwise.left_shift(1, loop.tree.depth)
    full &= going & ~failed
    accept = tf.exp(tf.minimum(-energy_error, 0.0))
    loop = loop._replace(
        turns=loop.turns + 1,
        subtree=subtree,
        leapfrogs=loop.leapfrogs + tf.cast(going, tf.int32),
        sum_accept=loop.sum_accept + tf.where(going, accept, 0.0),
        diverged=loop.diverged | (diverged & going),
    )
    can_begin = loop.idle & (loop.drawn < setting.num_draws)
    (loop,) = if_any(
        full | failed | can_begin,
        lambda loop: (join(loop, setting, numbers, full, failed),),
        loop,
    )
    return loop


def join(
    loop: Loop, setting: Setting, numbers: Numbers, full: tf.Tensor, failed: tf.Tensor
) -> Loop:
    """What a full or failed subtree entails: a larger tree, or the next transition.

    Each chain of neither kind is left as it is, but those that are idle begin.
    """
    doubling_u = numbers.doubling_uniform(loop.drawn, loop.tree.depth)
    grown, tree_turning = trees.grow(loop.tree, loop.subtree, doubling_u)
    tree = select(full, grown, loop.tree)
    ends = failed | (full & (tree_turning | (tree.depth >= setting.max_depth)))
    drawn = loop.drawn + tf.cast(ends, tf.int32)
    adapted = step_size.update(loop.step, _mean_accept(loop), setting.target_accept)
    loop = loop._replace(
        tree=tree,
        idle=loop.idle | ends,
        drawn=drawn,
        step=select(ends & setting.adapting, adapted, loop.step),
    )
    begins, last = loop.idle & (drawn < setting.num_draws), loop.last
    log, has_last = if_any(
        begins & loop.has_last,
        lambda log, has_last: _write_log(log, has_last, last),
        loop.log,
        loop.has_last,
    )

    draw, momentum = tree.draw, numbers.momentum(drawn)
    start = End(draw.position, momentum, draw.grad)
    zeros, count = tf.zeros_like(loop.sum_accept), tf.zeros_like(drawn)
    fresh = Tree(start, start, momentum, zeros, count, draw)
    subtree, ended = loop.subtree, finished(loop)
    loop = loop._replace(
        idle=loop.idle & ~begins,
        tree=select(begins, fresh, tree),
        leapfrogs=tf.where(begins, count, loop.leapfrogs),
        sum_accept=tf.where(begins, zeros, loop.sum_accept),
        diverged=loop.diverged & ~begins,
        start_energy=tf.where(
            begins, energy(momentum, draw.log_prob), loop.start_energy
        ),
        last=select(begins, ended, last),
        has_last=tf.where(begins, drawn > 0, has_last),
        log=log,
    )
    tree, joined = loop.tree, full | begins
    forward = tf.where(joined, numbers.is_forward(drawn, tree.depth), subtree.forward)
    edge = select(forward, tree.right, tree.left)
    return loop._replace(
        subtree=subtree._replace(
            leaf=tf.where(joined, 0, subtree.leaf),
            forward=forward,
            tip=select(joined, edge, subtree.tip),
        )
    )


def _write_log(
    log: Log, has_last: tf.Tensor, last: Transition
) -> tuple[Log, tf.Tensor]:
    """The log with the last transitions of all chains in its next row."""

    def put(rows: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        if value.shape.num_elements() == 0:
            return rows
        return tf.tensor_scatter_nd_update(rows, [[log.rows]], value[tf.newaxis])

    log = Log(
        rows=log.rows + 1,
        valid=put(log.valid, has_last),
        transitions=tf.nest.map_structure(put, log.transitions, last),
    )
    return log, tf.zeros_like(has_last)


def if_any(needed: tf.Tensor, function: Callable[..., Any], *parts: Any) -> Any:
    """`function(*parts)` if any chain needs it; else the parts, of the same structure.

    It is a loop of one turn or none: XLA writes into a loop's arrays in place, and
    copies those that a conditional hands on.
    """
    _, parts = tf.while_loop(
        lambda needed, _: needed,
        lambda _, parts: (tf.constant(False), function(*parts)),
        (tf.reduce_any(needed), parts),
        parallel_iterations=1,
    )
    return parts


def _mean_accept(loop: Loop) -> tf.Tensor:
    count = tf.maximum(loop.macro.begun if loop.macro else loop.leapfrogs, 1)
    return loop.sum_accept / tf.cast(count, loop.sum_accept.dtype)


def signed_step(loop: Loop) -> tf.Tensor:
    """The step of each chain in its direction of time, 0 for those that are idle."""
    step = loop.step.value
    step = tf.where(loop.subtree.forward, step, -step)
    step = tf.where(loop.idle, tf.zeros_like(step), step)
    return tf.cast(step, loop.tree.draw.position.dtype)


NUTS = Method(extend=lambda loop: loop, before=_before, after=_account, settings={})
