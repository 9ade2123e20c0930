"""Errors planted in the sampler, and the checks of transitions that find each."""

import numpy as np
import pytest
import tensorflow as tf

from experiments.inference import nuts, trees
from tests.helpers import ALARM, COVARIANCE
from tests.kernels import compile_transitions
from tests.transitions import (
    ALLOWED,
    CHAINS,
    NUM,
    after_one_transition,
    compare_trees,
    selection_p_value,
)


def takes_every_doubling(monkeypatch):
    grow = trees.grow
    monkeypatch.setattr(trees, "grow", lambda tree, sub, u: grow(tree, sub, 0 * u))


def forgets_to_favour_moving(monkeypatch):
    """Uniform over the whole trajectory: invariant too, but not the sampler claimed."""
    grow = trees.grow

    def share(tree, subtree, uniform):
        total = trees.log_add_exp(tree.log_weight, subtree.log_weight)
        take = tf.math.log(uniform) < subtree.log_weight - total
        return grow(tree, subtree, tf.where(take, 0.0 * uniform, 1e300))

    monkeypatch.setattr(trees, "grow", share)


def adds_weights_wrongly(monkeypatch):
    monkeypatch.setattr(trees, "log_add_exp", tf.maximum)


def always_draws_the_last_leaf(monkeypatch):
    add_leaf = trees.add_leaf
    monkeypatch.setattr(
        trees, "add_leaf", lambda *args: add_leaf(*args[:-1], 0 * args[-1])
    )


def swaps_the_ends(monkeypatch):
    grow = trees.grow

    def swapped(*args):
        tree, turning = grow(*args)
        return tree._replace(left=tree.right, right=tree.left), turning

    monkeypatch.setattr(trees, "grow", swapped)


def reverses_the_turn_test(monkeypatch):
    is_turning = trees.is_turning
    monkeypatch.setattr(trees, "is_turning", lambda **kwargs: ~is_turning(**kwargs))


def forgets_the_seam(monkeypatch):
    def ends_only(*, first, last, left_sum, right_sum, **_):
        whole = left_sum + right_sum
        along = [tf.reduce_sum(whole * end, 0) for end in (first, last)]
        return ~((along[0] > 0) & (along[1] > 0))

    monkeypatch.setattr(trees, "is_turning", ends_only)


def never_looks_within_a_doubling(monkeypatch):
    match = trees.match

    def blind(*args):
        subtree, turning = match(*args)
        return subtree, tf.zeros_like(turning)

    monkeypatch.setattr(trees, "match", blind)


def looks_at_idle_chains_only(monkeypatch):
    match = trees.match
    monkeypatch.setattr(trees, "match", lambda subtree, going: match(subtree, ~going))


def keeps_the_last_doublings_sum(monkeypatch):
    """The momentum sum is not reset where a new doubling begins."""
    add_leaf = trees.add_leaf

    def unreset(subtree, tip, *args):
        added = add_leaf(subtree, tip, *args)
        return added._replace(sum_momentum=tip.momentum + subtree.sum_momentum)

    monkeypatch.setattr(trees, "add_leaf", unreset)


def keeps_the_last_transitions_tree(monkeypatch):
    """The next transition's first subtree grows from the last one's tip."""
    join = nuts._join

    def unreset(loop, *args):
        after = join(loop, *args)
        return after._replace(
            subtree=after.subtree._replace(tip=loop.subtree.tip),
        )

    monkeypatch.setattr(nuts, "_join", unreset)


def weighs_the_metric_twice_in_turns(monkeypatch):
    is_turning = trees.is_turning
    scale = tf.constant([[1.0], [2.0], [0.5]], tf.float64)
    monkeypatch.setattr(
        trees,
        "is_turning",
        lambda **kwargs: is_turning(
            **{name: scale * value for name, value in kwargs.items()}
        ),
    )


def forgets_the_metric_in_kicks(monkeypatch):
    monkeypatch.setattr(nuts, "_transposed_scale", lambda scale, vector: vector)


def forgets_to_transpose(monkeypatch):
    monkeypatch.setattr(nuts, "_transposed_scale", nuts._scale)


def lets_divergences_pass(monkeypatch):
    monkeypatch.setattr(nuts, "MAX_ENERGY_ERROR", np.inf)


SHAPE = {"leapfrogs", "depth", "accept"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "fields"),
    [
        (takes_every_doubling, {"draw"}),
        (forgets_to_favour_moving, {"draw"}),
        (adds_weights_wrongly, {"draw"}),
        (always_draws_the_last_leaf, {"draw"}),
        (swaps_the_ends, SHAPE),
        (reverses_the_turn_test, SHAPE),
        (forgets_the_seam, SHAPE),
        (never_looks_within_a_doubling, {"leapfrogs", "depth"}),
        (looks_at_idle_chains_only, {"leapfrogs", "depth"}),
        (keeps_the_last_doublings_sum, {"leapfrogs", "depth"}),
        (keeps_the_last_transitions_tree, {"accept", "draw"}),
        (weighs_the_metric_twice_in_turns, {"leapfrogs", "depth"}),
        (forgets_the_metric_in_kicks, {"accept", "draw"}),
        (forgets_to_transpose, {"accept", "draw"}),
    ],
)
def test_comparing_trees_finds_a_planted_error(monkeypatch, plant, fields):
    plant(monkeypatch)
    transitions = compile_transitions(3, CHAINS, 6)
    metrics = [COVARIANCE] if plant is forgets_to_transpose else None
    unlike, _ = compare_trees(transitions, "correlated normal", 6, [0.3], metrics)
    assert fields <= {field for field, num in unlike.items() if num}, unlike


@pytest.mark.slow
def test_comparing_trees_finds_a_divergence_let_pass(monkeypatch):
    lets_divergences_pass(monkeypatch)
    transitions = compile_transitions(2, CHAINS, 5)
    unlike, _ = compare_trees(transitions, "funnel", 5, [2.0])
    assert unlike["diverged"] and unlike["leapfrogs"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant",
    [
        takes_every_doubling,
        forgets_to_favour_moving,
        adds_weights_wrongly,
        always_draws_the_last_leaf,
    ],
)
def test_counting_draws_of_leaves_finds_a_planted_error(monkeypatch, plant):
    plant(monkeypatch)
    assert selection_p_value(compile_transitions(2, NUM, 3)) < ALARM


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant",
    [
        takes_every_doubling,
        adds_weights_wrongly,
        always_draws_the_last_leaf,
        never_looks_within_a_doubling,
    ],
)
def test_invariance_from_exact_draws_has_the_power_to_find(monkeypatch, plant):
    plant(monkeypatch)
    distances, _ = after_one_transition(
        compile_transitions(3, NUM, 6),
        "correlated normal",
        6,
        0.5,
        [1.0, 3.0, 0.3],
    )
    assert max(distances.values()) > ALLOWED, distances
