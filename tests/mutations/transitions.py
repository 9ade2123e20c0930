"""Bugs of transitions: of the trajectory, the draw from it, and chains side by side.

The first six are slips that samplers have had, or could well have.
"""

from tests.mutations.bug import INFERENCE, Bug

RECURSION = (
    INFERENCE + "test_nuts.py::"
    "test_with_a_dense_metric_they_are_those_of_the_transformed_target"
)
FUNNEL = (
    INFERENCE + "test_nuts.py::"
    "test_the_tree_and_the_draw_are_the_recursions[funnel-7-step_sizes6]"
)
LOCK_STEP = (
    INFERENCE + "test_kernel.py::test_chains_that_do_not_wait_draw_as_in_lock_step"
)
METRIC_IS_LINEAR = (
    INFERENCE + "test_kernel.py::test_a_metric_is_a_linear_transformation_of_the_target"
)
NUMBERS = (
    INFERENCE + "test_streams.py::"
    "test_a_chains_numbers_are_those_of_its_transition_for_all_chains[3-5]"
)
MASS = "tests/ppl_core/test_unconstrained.py::test_the_mass_on_the_real_line_is_one"
NUTS = "experiments/inference/nuts.py"
LEAPFROG = "experiments/inference/leapfrog.py"
TREES = "experiments/inference/trees.py"

BUGS = (
    Bug(
        "the ends of the trajectory are swapped",
        TREES,
        "        left=select(forward, tree.left, subtree.tip),\n"
        "        right=select(forward, subtree.tip, tree.right),\n",
        "        left=select(forward, subtree.tip, tree.right),\n"
        "        right=select(forward, tree.left, subtree.tip),\n",
        (RECURSION,),
    ),
    Bug(
        "the test at the ends is reversed",
        TREES,
        "return (along > 0) & (along_other > 0)",
        "return (along < 0) & (along_other < 0)",
        (RECURSION,),
    ),
    Bug(
        "the new half is not favoured",
        TREES,
        "take = tf.math.log(uniform) < subtree.log_weight - tree.log_weight",
        "take = tf.math.log(uniform) < subtree.log_weight - log_add_exp(\n"
        "        tree.log_weight, subtree.log_weight\n    )",
        (RECURSION,),
    ),
    Bug(
        "acceptance is averaged over accepted leaves only",
        NUTS,
        "sum_accept=loop.sum_accept + tf.where(going, accept, 0.0)",
        "sum_accept=loop.sum_accept + tf.where(going & ~failed, accept, 0.0)",
        (RECURSION,),
    ),
    Bug(
        "the Jacobian of an unconstrained variable is missing",
        "ppl_core/unconstrained.py",
        "log_dets.append(tf.broadcast_to(log_det, site.log_det_shape))",
        "log_dets.append(tf.broadcast_to(0 * log_det, site.log_det_shape))",
        (MASS,),
    ),
    Bug(
        "all chains have the random numbers of chain 0",
        "experiments/inference/streams.py",
        "return philox.consecutive(of_chains, chains * np.int32(num), num)",
        "return philox.consecutive(of_chains, 0 * chains, num)",
        (NUMBERS,),
    ),
    Bug(
        "the momentum sum is not reset where a doubling begins",
        TREES,
        "sum_momentum=tf.where(begin, momentum, momentum + subtree.sum_momentum)",
        "sum_momentum=momentum + subtree.sum_momentum",
        (RECURSION,),
    ),
    # The trajectory
    Bug(
        "the second half kick has the wrong sign",
        NUTS,
        "    momentum = kick(momentum, grad, signed_step(loop), setting.scale)",
        "    momentum = kick(momentum, grad, -signed_step(loop), setting.scale)",
        (RECURSION,),
    ),
    Bug(
        "the first half kick is a whole one",
        LEAPFROG,
        "    momentum = kick(momentum, grad, step, scale)\n",
        "    momentum = kick(momentum, grad, 2 * step, scale)\n",
        (RECURSION,),
    ),
    Bug(
        "no turn is looked for across the seam of two halves",
        TREES,
        "        & apart(left_sum + right_first, first, right_first)\n"
        "        & apart(right_sum + left_last, left_last, last)\n",
        "",
        (RECURSION,),
    ),
    Bug(
        "no turn is looked for within a subtree",
        NUTS,
        "failed = going & (diverged | turning)",
        "failed = going & diverged",
        (RECURSION,),
    ),
    Bug(
        "a subtree kept for a level lacks its left half's sum",
        TREES,
        "tf.where(matched, sums + kept_sum, sums)",
        "sums",
        (RECURSION,),
    ),
    Bug(
        "the draw within a subtree is favoured as that of the top",
        TREES,
        "take = begin | (tf.math.log(uniform) < log_weight - total)",
        "take = begin | (tf.math.log(uniform) < log_weight - before)",
        (RECURSION,),
    ),
    Bug(
        "a failed subtree is joined",
        NUTS,
        "tree = select(full, grown, loop.tree)",
        "tree = select(full | failed, grown, loop.tree)",
        (RECURSION,),
    ),
    Bug(
        "a diverged leaf is accepted",
        NUTS,
        "failed = going & (diverged | turning)",
        "failed = going & turning",
        (FUNNEL,),
    ),
    Bug(
        "one doubling too many at the depth cap",
        NUTS,
        "(tree.depth >= setting.max_depth)",
        "(tree.depth > setting.max_depth)",
        (
            INFERENCE + "test_kernel.py::"
            "test_the_depth_of_a_run_may_be_less_than_the_kernels",
        ),
    ),
    Bug(
        "the energy is that of another draw's log prob",
        NUTS,
        "begins, energy(momentum, draw.log_prob), loop.start_energy",
        "begins, energy(momentum, subtree.draw.log_prob), loop.start_energy",
        (RECURSION,),
    ),
    Bug(
        "a draw has the gradient of the last leaf",
        TREES,
        "draw=select(take, subtree.draw, tree.draw),",
        "draw=select(take, subtree.draw, tree.draw)._replace(grad=subtree.tip.grad),",
        (
            INFERENCE + "test_kernel.py::"
            "test_gradients_kept_are_the_densitys_at_the_draws",
        ),
    ),
    Bug(
        "the direction of the first doubling serves for all",
        "experiments/inference/stream_lookup.py",
        "tf.bitwise.right_shift(bits, depth)",
        "tf.bitwise.right_shift(bits, 0 * depth)",
        (RECURSION,),
    ),
    Bug(
        "weights are added by their maximum",
        TREES,
        "return high + tf.math.log1p(tf.exp(difference))",
        "return high",
        (RECURSION,),
    ),
    Bug(
        "every doubling's draw is taken",
        TREES,
        "draw=select(take, subtree.draw, tree.draw),",
        "draw=select(tf.ones_like(take), subtree.draw, tree.draw),",
        (RECURSION,),
    ),
    Bug(
        "turns of idle chains are looked for, not of the others",
        NUTS,
        "trees.match(subtree, going)",
        "trees.match(subtree, ~going)",
        (RECURSION,),
    ),
    Bug(
        "a transition's first subtree grows from the last one's tip",
        NUTS,
        "tip=select(joined, edge, subtree.tip)",
        "tip=select(full, edge, subtree.tip)",
        (RECURSION,),
    ),
    Bug(
        "a divergence is let pass",
        NUTS,
        "MAX_ENERGY_ERROR = 1000.0",
        "MAX_ENERGY_ERROR = 1e300",
        (FUNNEL,),
    ),
    Bug(
        "a macro step of WALNUTS need not come back",
        "experiments/inference/walnuts.py",
        "arrives=lowest & (found | (fails & macro.back)),",
        "arrives=found,",
        (INFERENCE + "test_walnuts.py::test_a_transition_leaves_exact_draws_exact",),
    ),
    # Chains and their metric
    Bug(
        "kicks forget the metric",
        LEAPFROG,
        '    """S^T times each chain\'s vector [dim, chains]."""\n'
        "    if scale.shape.rank == 2:\n        return scale * vector",
        '    """S^T times each chain\'s vector [dim, chains]."""\n'
        "    if scale.shape.rank == 2:\n        return vector",
        (METRIC_IS_LINEAR,),
    ),
    Bug(
        "a chain has its neighbour's log prob",
        NUTS,
        "        log_prob, grad = log_prob_and_grad(tf.transpose(position))\n",
        "        log_prob, grad = log_prob_and_grad(tf.transpose(position))\n"
        "        log_prob = tf.roll(log_prob, 1, 0)\n",
        (RECURSION,),
    ),
    Bug(
        "a chain has its neighbour's step size",
        NUTS,
        "    step = loop.step.value\n",
        "    step = tf.roll(loop.step.value, 1, 0)\n",
        (INFERENCE + "test_kernel.py::test_each_chain_has_a_step_size_of_its_own",),
    ),
    Bug(
        "the metric is inverted",
        LEAPFROG,
        '    """S times each chain\'s vector [dim, chains]."""\n'
        "    if scale.shape.rank == 2:\n        return scale * vector",
        '    """S times each chain\'s vector [dim, chains]."""\n'
        "    if scale.shape.rank == 2:\n        return vector / scale",
        (METRIC_IS_LINEAR,),
    ),
    Bug(
        "a dense metric's factor is not transposed in kicks",
        LEAPFROG,
        'tf.einsum("cji,jc->ic", scale, vector)',
        'tf.einsum("cij,jc->ic", scale, vector)',
        (METRIC_IS_LINEAR,),
    ),
    Bug(
        "the last transition is written to the log again",
        NUTS,
        "return log, tf.zeros_like(has_last)",
        "return log, has_last",
        (LOCK_STEP,),
    ),
    Bug(
        "transitions that end together share a place",
        "experiments/inference/tile_run.py",
        "index = self._counts - self._start + np.cumsum(valid, axis=0) - 1",
        "index = self._counts - self._start + 0 * np.cumsum(valid, axis=0)",
        (LOCK_STEP,),
    ),
)
