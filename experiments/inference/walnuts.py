"""WALNUTS: the No-U-Turn sampler with a step size that changes within a trajectory.

Bou-Rabee, Carpenter, Kleppe & Liu (2026), The Within-Orbit Adaptive Leapfrog No-U-Turn
Sampler, arXiv 2506.18746.  A leaf of the trajectory is a macro step: the chain's step
size h in 2^l leapfrogs of h / 2^l, with the lowest level l along which the energy
ranges over at most a bound.  Everything else is `nuts`.

A macro step of level l counts only if the way back from its end has level l too, for
otherwise the trajectory is another one from there.  The way back at level l is the way
there, so that levels below l are tried, and each has to fail.  If one does not, the
doubling is dropped and the trajectory ends, as where it turns within.

A macro step begins with one leapfrog of level 0.  Level 0 needs no way back: there the
energy's range is the same in both directions.
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from experiments.inference import leapfrog, nuts, stream_lookup, trees
from experiments.inference.loop_state import Draw, End, Loop, Setting
from experiments.inference.nuts import Method
from experiments.inference.settings import check_count
from experiments.inference.streams import Numbers
from experiments.inference.trees import select

MAX_LEVEL = 20  # a million leapfrogs


class Limits(NamedTuple):
    """When a macro step is refined, and how far."""

    max_energy_error: float  # the range of the energy along a macro step, at most
    max_level: int  # its leapfrogs are at most 2^max_level


class MacroStep(NamedTuple):
    """The macro step that each chain is in."""

    point: End  # where the next leapfrog goes from
    back: tf.Tensor  # [chains] bool: on the way back from the end
    level: tf.Tensor  # [chains] int32, which is being tried
    taken: tf.Tensor  # [chains] int32, leapfrogs of this level so far
    low: tf.Tensor  # [chains], the lowest energy along them
    high: tf.Tensor  # [chains]
    end: End  # found by the way there
    end_log_prob: tf.Tensor  # [chains]
    # Energies: at the end, at the start, and at both ends of the tree.
    end_energy: tf.Tensor
    tip_energy: tf.Tensor
    left_energy: tf.Tensor
    right_energy: tf.Tensor
    begun: tf.Tensor  # [chains] int32, macro steps of this transition


class Verdict(NamedTuple):
    """What a leapfrog ends, each [chains] bool."""

    fails: tf.Tensor  # the way at this level, since the energy ranges too far
    complete: tf.Tensor  # the way at this level, within the bound
    found: tf.Tensor  # the way there: its end is the macro step's, if it can come back
    arrives: tf.Tensor  # the macro step: every way back of a lower level has failed
    irreversible: tf.Tensor  # the trajectory: a way back of a lower level has not
    exhausted: tf.Tensor  # the trajectory: no level keeps the energy within the bound


def method(limits: Limits) -> Method:
    """What a turn of the loop does.

    Raises ValueError for a bound that is not above 0, and for levels beyond 20.
    """
    error = limits.max_energy_error
    if isinstance(error, bool) or not isinstance(error, int | float) or not error > 0:
        raise ValueError(f"max_energy_error: given {error!r}, wanted a number above 0")
    check_count("max_level", limits.max_level, lowest=0, highest=MAX_LEVEL)
    return Method(
        extend=extend,
        before=before,
        after=functools.partial(account, limits),
        settings={"sampler": "WALNUTS", **limits._asdict()},
    )


def extend(loop: Loop) -> Loop:
    """The loop with what macro steps keep; the first transition sets it."""
    end, tree = loop.tree.left, loop.tree
    count, energy = np.zeros_like(loop.leapfrogs), np.zeros_like(tree.log_weight)
    return loop._replace(
        macro=MacroStep(
            point=end,
            back=np.zeros_like(loop.idle),
            level=count,
            taken=count,
            low=energy,
            high=energy,
            end=end,
            end_log_prob=energy,
            end_energy=energy,
            tip_energy=energy,
            left_energy=energy,
            right_energy=energy,
            begun=count,
        )
    )


def before(loop: Loop, setting: Setting) -> tuple[tf.Tensor, tf.Tensor]:
    """The half of a turn before its gradient: the new position, and the momentum."""
    point, step = loop.macro.point, _signed_step(loop)
    return leapfrog.kick_and_drift(
        point.position, point.momentum, point.grad, step, setting.scale
    )


def account(
    limits: Limits,
    loop: Loop,
    setting: Setting,
    numbers: Numbers,
    position: tf.Tensor,
    momentum: tf.Tensor,
    log_prob: tf.Tensor,
    grad: tf.Tensor,
) -> Loop:
    """The half after the gradient: one leapfrog more, and what follows from it."""
    macro, going = loop.macro, ~loop.idle
    momentum = leapfrog.kick(momentum, grad, _signed_step(loop), setting.scale)
    here = End(position, momentum, grad)
    energy = leapfrog.energy(momentum, log_prob)
    infinity = tf.constant(float("inf"), energy.dtype)
    energy = tf.where(tf.math.is_nan(energy), infinity, energy)
    low, high = tf.minimum(macro.low, energy), tf.maximum(macro.high, energy)
    verdict = judge(limits, macro, energy, high - low)
    found, arrives = verdict.found, going & verdict.arrives
    level = macro.level

    end = select(found, here, macro.end)
    end_log_prob = tf.where(found, log_prob, macro.end_log_prob)
    end_energy = tf.where(found, energy, macro.end_energy)
    first = going & (level == 0) & ~macro.back
    begun = macro.begun + tf.cast(first, tf.int32)
    energy_error = end_energy - loop.start_energy
    diverged = verdict.exhausted | (arrives & (energy_error > nuts.MAX_ENERGY_ERROR))
    leaf_u = stream_lookup.leaf_uniform(numbers, loop.drawn, begun - 1, setting.chains)
    added = trees.add_leaf(
        loop.subtree,
        end,
        Draw(end.position, end_log_prob, end.grad),
        -energy_error,
        tf.cast(leaf_u, log_prob.dtype),
    )
    changed = {
        name: select(arrives, new, getattr(loop.subtree, name))
        for name, new in added._asdict().items()
        if not name.startswith("kept")  # those that only `match` writes
    }
    subtree = loop.subtree._replace(**changed)
    subtree, turning = trees.match(subtree, arrives)
    failed = going & (diverged | verdict.irreversible | turning)
    full = arrives & ~failed
    full &= subtree.leaf == tf.bitwise.left_shift(1, loop.tree.depth)

    # The next leapfrog: of this level, or the first of another one, either way.
    back = ~arrives & (macro.back | found)
    restarts = verdict.fails | verdict.complete
    other = tf.where(verdict.fails & ~macro.back, level + 1, tf.maximum(level - 1, 0))
    level = tf.where(arrives, 0, tf.where(restarts, other, level))
    tip_energy = tf.where(arrives, end_energy, macro.tip_energy)
    origin_energy = tf.where(back, end_energy, tip_energy)
    # An error in either direction is one: where the energy falls, the way back fails.
    accept = tf.exp(-tf.abs(energy - macro.tip_energy))
    loop = loop._replace(
        turns=loop.turns + 1,
        subtree=subtree,
        leapfrogs=loop.leapfrogs + tf.cast(going, tf.int32),
        sum_accept=loop.sum_accept + tf.where(first, accept, 0.0),
        diverged=loop.diverged | (diverged & going),
        macro=MacroStep(
            point=select(restarts, select(back, end, subtree.tip), here),
            back=back,
            level=level,
            taken=tf.where(restarts, 0, macro.taken + 1),
            low=tf.where(restarts, origin_energy, low),
            high=tf.where(restarts, origin_energy, high),
            end=end,
            end_log_prob=end_log_prob,
            end_energy=end_energy,
            tip_energy=tip_energy,
            left_energy=macro.left_energy,
            right_energy=macro.right_energy,
            begun=begun,
        ),
    )
    can_begin = loop.idle & (loop.drawn < setting.num_draws)
    (loop,) = nuts.if_any(
        full | failed | can_begin,
        lambda loop: (_join(loop, setting, numbers, full, failed),),
        loop,
    )
    return loop


def judge(
    limits: Limits,
    macro: MacroStep,
    energy: tf.Tensor,  # [chains], after this leapfrog
    spread: tf.Tensor,  # [chains], of the energy on this way so far
) -> Verdict:
    """What this leapfrog ends."""
    # From a start of unknown log prob, `nuts.begin`, there is nothing to compare with.
    known = tf.math.is_finite(macro.tip_energy)
    bound = tf.constant(limits.max_energy_error, energy.dtype)
    fails = tf.where(known, spread > bound, ~tf.math.is_finite(energy))
    complete = ~fails & (macro.taken + 1 == tf.bitwise.left_shift(1, macro.level))
    there, lowest = ~macro.back, macro.level == 0
    found = complete & there
    return Verdict(
        fails=fails,
        complete=complete,
        found=found,
        arrives=lowest & (found | (fails & macro.back)),
        irreversible=complete & macro.back,
        exhausted=fails & there & ((macro.level == limits.max_level) | ~known),
    )


def _join(
    loop: Loop, setting: Setting, numbers: Numbers, full: tf.Tensor, failed: tf.Tensor
) -> Loop:
    """`nuts.join`, and the macro step that comes first after it."""
    after = nuts.join(loop, setting, numbers, full, failed)
    begins = (loop.idle | (after.drawn > loop.drawn)) & ~after.idle
    macro, forward = loop.macro, loop.subtree.forward
    left = tf.where(full & ~forward, macro.tip_energy, macro.left_energy)
    right = tf.where(full & forward, macro.tip_energy, macro.right_energy)
    left = tf.where(begins, after.start_energy, left)
    right = tf.where(begins, after.start_energy, right)
    joined = full | begins
    energy = tf.where(after.subtree.forward, right, left)
    energy = tf.where(joined, energy, macro.tip_energy)
    return after._replace(
        macro=macro._replace(
            point=select(joined, after.subtree.tip, macro.point),
            back=macro.back & ~joined,
            level=tf.where(joined, 0, macro.level),
            taken=tf.where(joined, 0, macro.taken),
            low=tf.where(joined, energy, macro.low),
            high=tf.where(joined, energy, macro.high),
            tip_energy=energy,
            left_energy=left,
            right_energy=right,
            begun=tf.where(begins, 0, macro.begun),
        )
    )


def _signed_step(loop: Loop) -> tf.Tensor:
    """The signed length of each chain's leapfrog, 0 for those that are idle."""
    step, macro = nuts.signed_step(loop), loop.macro
    step /= tf.cast(tf.bitwise.left_shift(1, macro.level), step.dtype)
    return tf.where(macro.back, -step, step)
