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

import tensorflow as tf

from experiments.inference import dual_averaging, stream_lookup, trees
from experiments.inference.leapfrog import (
    LogProbAndGrad,
    energy,
    kick,
    kick_and_drift,
)
from experiments.inference.loop_state import (
    Draw,
    End,
    Log,
    Loop,
    Setting,
    Transition,
    Tree,
    accept_count,
    finished,
)
from experiments.inference.streams import Numbers
from experiments.inference.trees import select

MAX_ENERGY_ERROR = 1000.0  # above it a trajectory has left the level set for good


class Method(NamedTuple):
    """How a trajectory comes by its leaves: as here, or as in `walnuts`."""

    extend: Callable[[Loop], Loop]  # a loop of `empty` with what the method keeps
    before: Callable[..., tuple[tf.Tensor, tf.Tensor]]  # a turn's half: loop, setting
    after: Callable[..., Loop]  # its other half: see `_account`
    settings: dict[str, Any]  # to be recorded with the draws


def run(
    loop: Loop,
    setting: Setting,
    numbers: Numbers,
    log_prob_and_grad: LogProbAndGrad,  # [chains, dim] -> [chains], [chains, dim]
    *,
    within_xla: bool,
    method: Method,
    as_one: bool = True,
) -> Loop:
    """Runs until every chain has `until` draws, or something of this run is used up.

    That is the room in the log, the random numbers of a chain, or the turns.  The loop
    can then be run again, with other numbers, as if it had not stopped.

    within_xla: whether XLA compiles the caller, density and all.  Otherwise it compiles
      the two halves of a turn, and TensorFlow runs the density between them.
    as_one: whether XLA may compile the loop as one function: see `xla_options`.
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
        turns = loop.turns
        if not as_one:  # which XLA does not do where it finds a sort
            turns = tf.sort(tf.stack([turns, setting.max_turns]))[0]
        return (
            tf.reduce_any(loop.drawn < setting.until)
            & ~tf.reduce_any(used_up)
            & (turns < setting.max_turns)
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


def ended(loop: Loop) -> Transition:
    """The transitions of this loop's chains, as far as they have come."""
    return finished(loop, _mean_accept(loop))


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
    leaf_u = stream_lookup.leaf_uniform(
        numbers, loop.drawn, loop.leapfrogs, setting.chains
    )
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
    doubling_u = stream_lookup.doubling_uniform(numbers, loop.drawn, loop.tree.depth)
    grown, tree_turning = trees.grow(loop.tree, loop.subtree, doubling_u)
    tree = select(full, grown, loop.tree)
    ends = failed | (full & (tree_turning | (tree.depth >= setting.max_depth)))
    drawn = loop.drawn + tf.cast(ends, tf.int32)
    adapted = dual_averaging.update(
        loop.step, _mean_accept(loop), setting.target_accept
    )
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

    draw, momentum = tree.draw, stream_lookup.momentum(numbers, drawn)
    start = End(draw.position, momentum, draw.grad)
    zeros, count = tf.zeros_like(loop.sum_accept), tf.zeros_like(drawn)
    fresh = Tree(start, start, momentum, zeros, count, draw)
    subtree, result = loop.subtree, ended(loop)
    loop = loop._replace(
        idle=loop.idle & ~begins,
        tree=select(begins, fresh, tree),
        leapfrogs=tf.where(begins, count, loop.leapfrogs),
        sum_accept=tf.where(begins, zeros, loop.sum_accept),
        diverged=loop.diverged & ~begins,
        start_energy=tf.where(
            begins, energy(momentum, draw.log_prob), loop.start_energy
        ),
        last=select(begins, result, last),
        has_last=tf.where(begins, drawn > 0, has_last),
        log=log,
    )
    tree, joined = loop.tree, full | begins
    forward = tf.where(
        joined, stream_lookup.is_forward(numbers, drawn, tree.depth), subtree.forward
    )
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
    count = tf.maximum(accept_count(loop), 1)
    return loop.sum_accept / tf.cast(count, loop.sum_accept.dtype)


def signed_step(loop: Loop) -> tf.Tensor:
    """The step of each chain in its direction of time, 0 for those that are idle."""
    step = loop.step.value
    step = tf.where(loop.subtree.forward, step, -step)
    step = tf.where(loop.idle, tf.zeros_like(step), step)
    return tf.cast(step, loop.tree.draw.position.dtype)


NUTS = Method(extend=lambda loop: loop, before=_before, after=_account, settings={})
