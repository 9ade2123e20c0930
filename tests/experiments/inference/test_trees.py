"""Errors planted in the sampler, and the checks of transitions that find each."""

import pytest
import tensorflow as tf

from experiments.inference import trees
from tests.helpers import ALARM
from tests.kernels import compile_transitions
from tests.transitions import (
    ALLOWED,
    NUM,
    after_one_transition,
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


def never_looks_within_a_doubling(monkeypatch):
    match = trees.match

    def blind(*args):
        subtree, turning = match(*args)
        return subtree, tf.zeros_like(turning)

    monkeypatch.setattr(trees, "match", blind)


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
