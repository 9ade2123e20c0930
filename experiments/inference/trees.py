"""The trajectory of a No-U-Turn transition, of many chains at once.

Recursion becomes counting.  The n-th leaf (from 0) of a subtree completes as many
nested subtrees as n has trailing one bits, so that one finished but still unmatched
subtree is kept for each bit of n, as a binary counter keeps its carries.

Chains are the minor axis of every array.
"""

import tensorflow as tf

from experiments.inference.loop_state import Draw, End, Subtree, Tree


def add_leaf(
    subtree: Subtree,
    tip: End,
    leaf: Draw,
    log_weight: tf.Tensor,  # [chains], minus the energy error
    uniform: tf.Tensor,  # [chains]
) -> Subtree:
    """The subtree with one leaf more, which is its draw with probability its weight."""
    begin = subtree.leaf == 0
    before = tf.where(
        begin, tf.constant(-float("inf"), log_weight.dtype), subtree.log_weight
    )
    total = log_add_exp(before, log_weight)
    # The first leaf is the draw in any case; NaN, where all weights are 0, compares so.
    take = begin | (tf.math.log(uniform) < log_weight - total)
    momentum = tip.momentum
    return subtree._replace(
        leaf=subtree.leaf + 1,
        tip=tip,
        first_momentum=tf.where(begin, momentum, subtree.first_momentum),
        sum_momentum=tf.where(begin, momentum, momentum + subtree.sum_momentum),
        log_weight=total,
        draw=select(take, leaf, subtree.draw),
    )


def match(subtree: Subtree, going: tf.Tensor) -> tuple[Subtree, tf.Tensor]:
    """Keeps what the last leaf completes; tells which chains turned within it.

    With n the leaf's number and k below n's trailing ones, the leaf completes the right
    half of a subtree of 2^(k+1) leaves whose left half is the one kept for bit k.  That
    right half begins where the half kept one level below does.

    going: [chains] bool; nothing of the others is read.
    """
    number = subtree.leaf - 1
    momentum = subtree.tip.momentum
    max_depth = subtree.kept_first.shape[0]

    def bit(level: tf.Tensor) -> tf.Tensor:
        return tf.bitwise.bitwise_and(tf.bitwise.right_shift(number, level), 1) == 1

    def check_level(
        level: tf.Tensor,
        matched: tf.Tensor,  # [chains] bool: the leaf ends a right half here
        turning: tf.Tensor,
        first: tf.Tensor,  # of that right half
        sums: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        kept_first, kept_last, kept_sum = (
            tf.gather(kept, level)
            for kept in (subtree.kept_first, subtree.kept_last, subtree.kept_sum)
        )
        turns = is_turning(
            first=kept_first,
            left_last=kept_last,
            right_first=first,
            last=momentum,
            left_sum=kept_sum,
            right_sum=sums,
        )
        return (
            level + 1,
            matched & bit(level + 1),
            turning | (matched & turns),
            tf.where(matched, kept_first, first),
            tf.where(matched, sums + kept_sum, sums),
        )

    # The tables are only read in this loop, and only written in the next: XLA copies
    # whole tables in a loop that does both.
    _, _, turning, first, sums = tf.while_loop(
        lambda level, matched, *_: tf.reduce_any(matched) & (level < max_depth),
        check_level,
        (tf.constant(0), going & bit(0), tf.zeros_like(going), momentum, momentum),
        parallel_iterations=1,
    )
    # The lowest bit that is 0.
    lowest = tf.raw_ops.PopulationCount(
        x=tf.bitwise.bitwise_and(number, tf.bitwise.invert(number + 1))
    )
    lowest = tf.where(going, tf.cast(lowest, tf.int32), -1)

    def keep_level(level: tf.Tensor, *kept: tf.Tensor) -> tuple[tf.Tensor, ...]:
        here = lowest == level

        def put(table: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
            kept = tf.where(here, new, tf.gather(table, level))
            return tf.tensor_scatter_nd_update(table, [[level]], kept[tf.newaxis])

        new = (first, momentum, sums)
        return level + 1, *(put(*pair) for pair in zip(kept, new, strict=True))

    last_level = tf.minimum(tf.reduce_max(lowest), max_depth - 1)
    _, kept_first, kept_last, kept_sum = tf.while_loop(
        lambda level, *_: level <= last_level,
        keep_level,
        (
            tf.maximum(tf.reduce_min(lowest), 0),
            subtree.kept_first,
            subtree.kept_last,
            subtree.kept_sum,
        ),
        parallel_iterations=1,
    )
    kept = {"kept_first": kept_first, "kept_last": kept_last, "kept_sum": kept_sum}
    return subtree._replace(**kept), turning


def grow(tree: Tree, subtree: Subtree, uniform: tf.Tensor) -> tuple[Tree, tf.Tensor]:
    """The tree with the finished subtree joined, and whether the whole turns.

    The new half's draw is taken with probability min(1, its weight over the old one's),
    which favours moving away.  Betancourt (2017), A.3.2, biased progressive sampling.
    """
    forward = subtree.forward
    turning = is_turning(
        first=tf.where(forward, tree.left.momentum, tree.right.momentum),
        left_last=tf.where(forward, tree.right.momentum, tree.left.momentum),
        right_first=subtree.first_momentum,
        last=subtree.tip.momentum,
        left_sum=tree.sum_momentum,
        right_sum=subtree.sum_momentum,
    )
    take = tf.math.log(uniform) < subtree.log_weight - tree.log_weight
    grown = Tree(
        left=select(forward, tree.left, subtree.tip),
        right=select(forward, subtree.tip, tree.right),
        sum_momentum=tree.sum_momentum + subtree.sum_momentum,
        log_weight=log_add_exp(tree.log_weight, subtree.log_weight),
        depth=tree.depth + 1,
        draw=select(take, subtree.draw, tree.draw),
    )
    return grown, turning


def is_turning(
    *,
    first: tf.Tensor,
    left_last: tf.Tensor,
    right_first: tf.Tensor,
    last: tf.Tensor,
    left_sum: tf.Tensor,
    right_sum: tf.Tensor,
) -> tf.Tensor:
    """Whether a trajectory of two halves turns back on itself: [chains].

    It goes on while its summed momentum points along the velocity at both its ends; and
    so for the left half with the right's first leaf, and the right half with the left's
    last, without which a half turn that ends in the seam goes unseen.
    """

    def apart(summed: tf.Tensor, one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        along = tf.reduce_sum(summed * one, axis=0)
        along_other = tf.reduce_sum(summed * other, axis=0)
        return (along > 0) & (along_other > 0)

    return ~(
        apart(left_sum + right_sum, first, last)
        & apart(left_sum + right_first, first, right_first)
        & apart(right_sum + left_last, left_last, last)
    )


def select[State](chosen: tf.Tensor, one: State, other: State) -> State:
    """`one` for the chains chosen ([chains] bool) and `other` for the rest."""
    return tf.nest.map_structure(lambda a, b: tf.where(chosen, a, b), one, other)


def log_add_exp(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """log(exp(a) + exp(b)), -inf where both are."""
    high = tf.maximum(a, b)
    low = tf.minimum(a, b)
    difference = tf.where(low == -float("inf"), low, low - high)
    return high + tf.math.log1p(tf.exp(difference))
