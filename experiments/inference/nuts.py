"""The No-U-Turn sampler, multinomial, as one flat loop over many chains at once.

Hoffman & Gelman (2014) found the trajectory by doubling it; Betancourt (2017), appendix
A.4, draws from it by weight and stops by the generalised criterion; Stan adds two
checks across the seam of the halves (stan-dev/stan, pull request 2800).

Recursion becomes counting.  The n-th leaf (from 0) of a subtree completes as many
nested subtrees as n has trailing one bits, so that one finished but still unmatched
subtree is kept for each bit of n, as a binary counter keeps its carries.  One turn of
the loop is one leapfrog of every chain still going, wherever in its own tree it is.
"""

from typing import NamedTuple

import tensorflow as tf

from experiments.inference import prng
from experiments.inference.leapfrog import (
    LogProbAndGrad,
    PhasePoint,
    energy,
    kick,
    kick_and_drift,
)

Packed = tuple[tf.Tensor, ...]

MAX_ENERGY_ERROR = 1000.0  # above it a trajectory has left the level set for good


class NutsState(NamedTuple):
    """What one transition hands the next, and all that it hands it."""

    position: tf.Tensor  # [chains, dim]
    log_prob: tf.Tensor  # [chains]
    grad: tf.Tensor  # [chains, dim], of log_prob at position


class NutsInfo(NamedTuple):
    """What a transition tells of itself; nothing later reads it to sample."""

    leapfrogs: tf.Tensor  # [chains] int32, gradients taken: the unit of cost
    depth: tf.Tensor  # [chains] int32, doublings accepted into the trajectory
    accept: tf.Tensor  # [chains], mean of min(1, exp(-energy error)) over leapfrogs
    diverged: tf.Tensor  # [chains] bool
    energy: tf.Tensor  # [chains], the Hamiltonian at the start, momentum refreshed


class _Tree(NamedTuple):
    """The trajectory so far: its two ends, and the draw from it."""

    left: PhasePoint  # earliest in time
    right: PhasePoint
    sum_momentum: tf.Tensor  # [chains, dim]
    log_weight: tf.Tensor  # [chains], log sum of exp(-energy error)
    draw: NutsState


class _Subtree(NamedTuple):
    """The half being built, in the order in which its leaves come."""

    leaf: tf.Tensor  # [chains] int32, leaves done
    forward: tf.Tensor  # [chains] bool, the direction of time
    tip: PhasePoint  # the last leaf, or the end of the tree that it grows from
    first_momentum: tf.Tensor  # [chains, dim], of its first leaf
    sum_momentum: tf.Tensor  # [chains, dim]
    log_weight: tf.Tensor  # [chains]
    draw: NutsState
    # The unmatched subtrees of 1, 2, 4 ... leaves: [max_depth, chains, dim] each.
    kept_first: tf.Tensor
    kept_last: tf.Tensor
    kept_sum: tf.Tensor


class _Loop(NamedTuple):
    turn: tf.Tensor  # scalar int32, leapfrogs of the batch
    going: tf.Tensor  # [chains] bool
    tree: _Tree
    subtree: _Subtree
    depth: tf.Tensor  # [chains] int32
    leapfrogs: tf.Tensor  # [chains] int32
    sum_accept: tf.Tensor  # [chains]
    diverged: tf.Tensor  # [chains] bool


def init(position: tf.Tensor, log_prob_and_grad: LogProbAndGrad) -> NutsState:
    """The state of chains that begin at `position` [chains, dim]: one gradient each."""
    log_prob, grad = log_prob_and_grad(position)
    return NutsState(position, log_prob, grad)


def step(
    seed: tf.Tensor,  # [2] int32, consumed
    state: NutsState,
    *,
    log_prob_and_grad: LogProbAndGrad,  # [chains, dim] -> [chains], [chains, dim]
    step_size: tf.Tensor,
    inverse_mass: tf.Tensor,  # [dim]: ones for the identity metric
    max_depth: int,  # static: a new value is a new trace
    within_xla: bool = False,
    first_chain: int = 0,
) -> tuple[NutsState, NutsInfo]:
    """One No-U-Turn transition of every chain; chains that are done wait, unchanged.

    within_xla: whether XLA compiles the caller, density and all; what is drawn is the
      same, but the loop is laid out for it.
    first_chain: the number of the first of these chains.  A chain draws by its number
      and by nothing of the others, so that parts of a batch draw as the whole.

    Betancourt (2017), A Conceptual Introduction to Hamiltonian Monte Carlo, A.4.
    """
    chains, dim = state.position.shape  # static, as all of the loop is
    dtype, energy_dtype = state.position.dtype, state.log_prob.dtype
    seeds = prng.split(seed, 4)

    normal = prng.normal(seeds[0], (chains, dim), dtype, first_chain)
    start = PhasePoint(
        state.position, normal * tf.math.rsqrt(inverse_mass), state.log_prob, state.grad
    )
    start_energy = energy(start, inverse_mass)
    # [max_depth, chains]: what each doubling is decided by.
    forwards, doubling_u = (
        tf.transpose(prng.uniform(one, (chains, max_depth), first_chain))
        for one in seeds[1:3]
    )
    forwards = forwards < 0.5
    doubling_u = tf.cast(doubling_u, energy_dtype)

    zeros = tf.zeros([chains], energy_dtype)
    count = tf.zeros([chains], tf.int32)
    no = tf.zeros([chains], tf.bool)
    kept = tf.zeros([max_depth, chains, dim], dtype)
    loop = _Loop(
        turn=tf.constant(0),
        going=tf.ones([chains], tf.bool),
        tree=_Tree(start, start, start.momentum, zeros, state),
        subtree=_Subtree(
            leaf=count,
            forward=no,
            tip=start,
            first_momentum=start.momentum,
            sum_momentum=start.momentum,
            log_weight=zeros,
            draw=state,
            kept_first=kept,
            kept_last=kept,
            kept_sum=kept,
        ),
        depth=count,
        leapfrogs=count,
        sum_accept=zeros,
        diverged=no,
    )

    def advance(current: _Loop) -> tuple[_Subtree, tf.Tensor, tf.Tensor, tf.Tensor]:
        direction = _at_depth(forwards, current.depth)
        subtree = _begin(current.subtree, current.tree, direction)
        signed_step = tf.where(subtree.forward, step_size, -step_size)[:, tf.newaxis]
        position, momentum = kick_and_drift(subtree.tip, signed_step, inverse_mass)
        return subtree, position, momentum, signed_step

    # TensorFlow's own loop hands on a few tensors faster than forty, at some
    # microseconds each; XLA's keeps them in place, which packing would undo.
    def pack(structure: _Loop) -> Packed:
        return tuple(tf.nest.flatten(structure)) if within_xla else _pack(structure)

    def unpack(packed: Packed) -> _Loop:
        if within_xla:
            return tf.nest.pack_sequence_as(loop, packed)
        return _unpack(packed, loop)

    # All but the gradient: some 200 small ops, which XLA makes into two.
    @tf.function(jit_compile=True, autograph=False)
    def next_position(packed: Packed) -> tuple[tf.Tensor, tf.Tensor]:
        _, position, momentum, _ = advance(unpack(packed))
        return position, momentum

    @tf.function(jit_compile=True, autograph=False)
    def account(
        packed: Packed,
        position: tf.Tensor,
        momentum: tf.Tensor,
        log_prob: tf.Tensor,
        grad: tf.Tensor,
    ) -> tuple[tf.Tensor, Packed]:
        current = unpack(packed)
        subtree, _, _, signed_step = advance(current)
        tree, going = current.tree, current.going
        begin = subtree.leaf == 0
        tip = kick(position, momentum, log_prob, grad, signed_step)
        energy_error = energy(tip, inverse_mass) - start_energy
        energy_error = tf.where(
            tf.math.is_nan(energy_error),
            tf.constant(float("inf"), energy_dtype),
            energy_error,
        )
        diverged = energy_error > MAX_ENERGY_ERROR
        leaf_u = tf.cast(
            prng.uniform(prng.fold_in(seeds[3], current.turn), (chains,), first_chain),
            energy_dtype,
        )
        subtree = _add_leaf(subtree, tip, -energy_error, leaf_u, begin)
        subtree, turning = _match(subtree, inverse_mass, max_depth)

        failed = diverged | turning
        full = (subtree.leaf == tf.bitwise.left_shift(1, current.depth)) & ~failed
        grown, tree_turning = _grow(
            tree, subtree, _at_depth(doubling_u, current.depth), inverse_mass
        )
        tree = _select(full & going, grown, tree)
        depth = current.depth + tf.cast(full & going, tf.int32)
        subtree = subtree._replace(leaf=tf.where(full, 0, subtree.leaf))
        accept = tf.exp(tf.minimum(-energy_error, 0.0))
        done = failed | (full & (tree_turning | (depth == max_depth)))
        still_going = going & ~done
        after = _Loop(
            turn=current.turn + 1,
            going=still_going,
            tree=tree,
            subtree=subtree,
            depth=depth,
            leapfrogs=current.leapfrogs + tf.cast(going, tf.int32),
            sum_accept=current.sum_accept + tf.where(going, accept, 0.0),
            diverged=current.diverged | (diverged & going),
        )
        return tf.reduce_any(still_going), pack(after)

    def turn(_: tf.Tensor, packed: Packed) -> tuple[tf.Tensor, Packed]:
        position, momentum = next_position(packed)
        return account(packed, position, momentum, *log_prob_and_grad(position))

    _, packed = tf.while_loop(
        lambda going, _: going,
        turn,
        (tf.constant(True), pack(loop)),
        parallel_iterations=1,
    )
    end = unpack(packed)
    info = NutsInfo(
        leapfrogs=end.leapfrogs,
        depth=end.depth,
        accept=end.sum_accept / tf.cast(end.leapfrogs, energy_dtype),
        diverged=end.diverged,
        energy=start_energy,
    )
    return end.tree.draw, info


def _pack(loop: _Loop) -> Packed:
    """All that a loop carries, in one vector for each dtype."""
    by_dtype: dict[tf.DType, list[tf.Tensor]] = {}
    for tensor in tf.nest.flatten(loop):
        by_dtype.setdefault(tensor.dtype, []).append(tf.reshape(tensor, [-1]))
    return tuple(tf.concat(parts, 0) for parts in by_dtype.values())


def _unpack(packed: Packed, like: _Loop) -> _Loop:
    """What `_pack` packed, in the shapes of `like`."""
    vectors = {vector.dtype: vector for vector in packed}
    at = dict.fromkeys(vectors, 0)
    tensors = []
    for tensor in tf.nest.flatten(like):
        first, size = at[tensor.dtype], tensor.shape.num_elements()
        part = vectors[tensor.dtype][first : first + size]
        tensors.append(tf.reshape(part, tensor.shape))
        at[tensor.dtype] = first + size
    return tf.nest.pack_sequence_as(like, tensors)


def _begin(subtree: _Subtree, tree: _Tree, direction: tf.Tensor) -> _Subtree:
    """Where a doubling begins, the subtree set to the end of the tree it grows from."""
    begin = subtree.leaf == 0
    forward = tf.where(begin, direction, subtree.forward)
    edge = _select(forward, tree.right, tree.left)
    return subtree._replace(forward=forward, tip=_select(begin, edge, subtree.tip))


def _add_leaf(
    subtree: _Subtree,
    tip: PhasePoint,
    log_weight: tf.Tensor,  # [chains], minus the energy error
    uniform: tf.Tensor,  # [chains]
    begin: tf.Tensor,  # [chains] bool
) -> _Subtree:
    """The subtree with one leaf more, which is its draw with probability its weight."""
    before = tf.where(
        begin, tf.constant(-float("inf"), log_weight.dtype), subtree.log_weight
    )
    total = _log_add_exp(before, log_weight)
    # The first leaf is the draw in any case; NaN, where all weights are 0, compares so.
    take = begin | (tf.math.log(uniform) < log_weight - total)
    leaf = NutsState(tip.position, tip.log_prob, tip.grad)
    first = begin[:, tf.newaxis]
    return subtree._replace(
        leaf=subtree.leaf + 1,
        tip=tip,
        first_momentum=tf.where(first, tip.momentum, subtree.first_momentum),
        sum_momentum=tf.where(first, tip.momentum, tip.momentum + subtree.sum_momentum),
        log_weight=total,
        draw=_select(take, leaf, subtree.draw),
    )


def _match(
    subtree: _Subtree, inverse_mass: tf.Tensor, max_depth: int
) -> tuple[_Subtree, tf.Tensor]:
    """Keeps what the last leaf completes; tells which chains turned within it.

    With n the leaf's number and k below n's trailing ones, the leaf completes the right
    half of a subtree of 2^(k+1) leaves whose left half is the one kept for bit k.
    """
    number = subtree.leaf - 1  # [chains]
    momentum = subtree.tip.momentum
    level = tf.range(max_depth)[:, tf.newaxis]  # [max_depth, 1]
    ones = tf.bitwise.left_shift(1, level + 1) - 1
    matched = tf.bitwise.bitwise_and(number, ones) == ones  # [max_depth, chains]

    # Level k's right half ends at this leaf: it begins where the half kept one level
    # below does, and its sum is that of all levels below.
    first = tf.concat([momentum[tf.newaxis], subtree.kept_first[:-1]], 0)
    sums = momentum + tf.cumsum(subtree.kept_sum, axis=0, exclusive=True)
    turning = _is_turning(
        first=subtree.kept_first,
        left_last=subtree.kept_last,
        right_first=first,
        last=momentum[tf.newaxis],
        left_sum=subtree.kept_sum,
        right_sum=sums,
        inverse_mass=inverse_mass,
    )
    turning = tf.reduce_any(matched & turning, axis=0)

    carries = tf.concat([tf.ones_like(matched[:1]), matched[:-1]], 0)
    keep = (carries & ~matched)[:, :, tf.newaxis]  # the lowest bit that is 0
    return (
        subtree._replace(
            kept_first=tf.where(keep, first, subtree.kept_first),
            kept_last=tf.where(keep, momentum[tf.newaxis], subtree.kept_last),
            kept_sum=tf.where(keep, sums, subtree.kept_sum),
        ),
        turning,
    )


def _grow(
    tree: _Tree, subtree: _Subtree, uniform: tf.Tensor, inverse_mass: tf.Tensor
) -> tuple[_Tree, tf.Tensor]:
    """The tree with the finished subtree joined, and whether the whole turns.

    The new half's draw is taken with probability min(1, its weight over the old one's),
    which favours moving away.  Betancourt (2017), A.3.2, biased progressive sampling.
    """
    forward = subtree.forward
    far = _select(forward, tree.left, tree.right).momentum
    near = _select(forward, tree.right, tree.left).momentum
    turning = _is_turning(
        first=far,
        left_last=near,
        right_first=subtree.first_momentum,
        last=subtree.tip.momentum,
        left_sum=tree.sum_momentum,
        right_sum=subtree.sum_momentum,
        inverse_mass=inverse_mass,
    )
    take = tf.math.log(uniform) < subtree.log_weight - tree.log_weight
    grown = _Tree(
        left=_select(forward, tree.left, subtree.tip),
        right=_select(forward, subtree.tip, tree.right),
        sum_momentum=tree.sum_momentum + subtree.sum_momentum,
        log_weight=_log_add_exp(tree.log_weight, subtree.log_weight),
        draw=_select(take, subtree.draw, tree.draw),
    )
    return grown, turning


def _is_turning(
    *,
    first: tf.Tensor,
    left_last: tf.Tensor,
    right_first: tf.Tensor,
    last: tf.Tensor,
    left_sum: tf.Tensor,
    right_sum: tf.Tensor,
    inverse_mass: tf.Tensor,
) -> tf.Tensor:
    """Whether a trajectory of two halves turns back on itself: [...] of [..., dim].

    It goes on while its summed momentum points along the velocity at both its ends; and
    so for the left half with the right's first leaf, and the right half with the left's
    last, without which a half turn that ends in the seam goes unseen.
    """

    def apart(summed: tf.Tensor, one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        direction = inverse_mass * summed
        ends = tf.stack(
            [one + tf.zeros_like(direction), other + tf.zeros_like(direction)]
        )
        return tf.reduce_all(tf.reduce_sum(direction * ends, axis=-1) > 0, axis=0)

    return ~(
        apart(left_sum + right_sum, first, last)
        & apart(left_sum + right_first, first, right_first)
        & apart(right_sum + left_last, left_last, last)
    )


def _at_depth(table: tf.Tensor, depth: tf.Tensor) -> tf.Tensor:
    """Row depth[i] of column i of `table` [max_depth, chains]: [chains]."""
    row = tf.minimum(depth, table.shape[0] - 1)
    hot = tf.range(table.shape[0])[:, tf.newaxis] == row
    if table.dtype == tf.bool:
        return tf.reduce_any(table & hot, axis=0)
    return tf.reduce_sum(tf.where(hot, table, 0.0), axis=0)


def _select[State: NamedTuple](chosen: tf.Tensor, one: State, other: State) -> State:
    """`one` for the chains chosen ([chains] bool) and `other` for the rest."""

    def select(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return tf.where(chosen if a.shape.rank == 1 else chosen[:, tf.newaxis], a, b)

    return tf.nest.map_structure(select, one, other)


def _log_add_exp(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """log(exp(a) + exp(b)), -inf where both are."""
    high = tf.maximum(a, b)
    low = tf.minimum(a, b)
    difference = tf.where(low == -float("inf"), low, low - high)
    return high + tf.math.log1p(tf.exp(difference))
