"""NUTS: the same tree as the recursion, the right draw from it, an invariant law.

`make test-mutations` and `test_trees` run these checks on a sampler with a bug in it.
"""

import numpy as np
import pytest

from tests.helpers import ALARM, COVARIANCE
from tests.kernels import shared_transitions, with_numbers
from tests.transitions import (
    ALLOWED,
    CHAINS,
    MAX_DEPTH,
    NUM,
    after_one_transition,
    compare_trees,
    selection_p_value,
)

DENSE = [[2.0, -0.5, 0.3], [-0.5, 0.7, 0.2], [0.3, 0.2, 0.5]]
DIMS = {"normal": 1, "correlated normal": 3}


def few_chains(name):
    return shared_transitions(DIMS.get(name, 2), CHAINS, MAX_DEPTH)


def many_chains(name):
    return shared_transitions(DIMS.get(name, 2), NUM, 6)


@pytest.mark.parametrize(
    ("name", "max_depth", "step_sizes"),
    [
        ("normal", 1, [0.1, 1.0]),
        ("normal", 6, [0.04, 0.3, 1.5]),
        ("correlated normal", 3, [0.1, 0.4]),
        ("correlated normal", 10, [0.02, 0.1, 0.4, 0.9]),
        ("banana", 2, [0.2, 0.8]),
        ("banana", 8, [0.03, 0.15, 0.5]),
        ("funnel", 7, [0.05, 0.4, 2.0]),
        ("gamma", 6, [0.05, 0.3]),
        ("beta logits", 7, [0.05, 0.5, 2.0]),
    ],
)
def test_the_tree_and_the_draw_are_the_recursions(name, max_depth, step_sizes):
    unlike, trees = compare_trees(few_chains(name), name, max_depth, step_sizes)
    assert not any(unlike.values()), f"{unlike} of {len(trees)}"
    depths = {tree.depth for tree in trees}
    assert depths >= set(range(1, min(max_depth, 4)))
    # A doubling that stops within is where the counting could go wrong.
    if max_depth > 2:
        partial = [t for t in trees if t.leapfrogs & (t.leapfrogs + 1)]
        assert len(partial) > 0.05 * len(trees)
    if name in ("funnel", "gamma"):
        assert sum(tree.diverged for tree in trees) > 0.02 * len(trees)


def test_with_a_dense_metric_they_are_those_of_the_transformed_target():
    name = "correlated normal"
    unlike, trees = compare_trees(
        few_chains(name), name, 6, [0.1, 0.4], metrics=[COVARIANCE, np.array(DENSE)]
    )
    assert not any(unlike.values()), unlike
    assert {tree.depth for tree in trees} >= {2, 3, 4}


@pytest.mark.parametrize("step_size", [0.05, 0.11, 0.2, 0.7])
def test_on_a_circular_orbit_doubling_stops_past_half_a_turn(step_size):
    """A point that circles in equal steps of angle: the tree is known by hand."""
    shadow = np.sqrt(1 - step_size**2 / 4)  # of |momentum| over |position|
    transitions = few_chains("banana")
    kernel = with_numbers(transitions.kernel, momenta=[[0.0], [1.5 * shadow]])
    start = [[1.5, 0.0]] * CHAINS
    found = transitions("normal", [1, 2], start, step_size, [1.0, 1.0], 8, kernel)
    angle = np.arccos(1 - step_size**2 / 2)
    depth = next(d for d in range(9) if (2**d - 1) * angle > np.pi)
    assert set(found.depth) == {depth}
    assert set(found.leapfrogs) == {2**depth - 1}
    np.testing.assert_allclose(np.linalg.norm(found.draws, axis=1), 1.5, rtol=1e-9)
    spread = np.unique(np.round(found.draws, 6), axis=0)
    assert len(spread) > min(20, 2**depth)  # in both directions of time


def test_leaves_are_drawn_with_the_recursions_probabilities():
    assert selection_p_value(many_chains("banana")) > ALARM


@pytest.mark.parametrize(
    ("name", "max_depth", "step_sizes", "inverse_mass"),
    [
        ("normal", 3, [0.3, 1.6], [1.3]),
        ("correlated normal", 1, [0.3, 0.5], [1.0, 3.0, 0.3]),
        ("correlated normal", 2, [0.3, 0.5], [1.0, 3.0, 0.3]),
        ("correlated normal", 3, [0.3, 0.7], [1.0, 1.0, 1.0]),
        ("correlated normal", 4, [0.2], DENSE),
        ("correlated normal", 6, [0.5], [1.0, 3.0, 0.3]),
        ("beta logits", 2, [0.5, 2.0], [1.0, 2.0]),
        ("beta logits", 6, [2.0], [1.0, 2.0]),
        ("banana", 6, [0.7], [1.0, 0.5]),
        # 63 leapfrogs of 50,000 chains each.
        pytest.param(
            *("correlated normal", 6, [0.1], [1.0, 3.0, 0.3]), marks=pytest.mark.slow
        ),
        pytest.param("correlated normal", 5, [0.1, 0.4], DENSE, marks=pytest.mark.slow),
        pytest.param("beta logits", 6, [0.5], [1.0, 2.0], marks=pytest.mark.slow),
        pytest.param("banana", 6, [0.2], [1.0, 0.5], marks=pytest.mark.slow),
    ],
)
def test_a_transition_leaves_exact_draws_exact(
    name, max_depth, step_sizes, inverse_mass
):
    for step_size in step_sizes:
        distances, moved = after_one_transition(
            many_chains(name), name, max_depth, step_size, inverse_mass
        )
        assert max(distances.values()) < ALLOWED, (step_size, distances)
        assert np.mean(moved) > 0.2
