"""WALNUTS: the recursion's tree and draw, an invariant law, the funnel's neck.

The last tests plant errors, which these checks have to see.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf
from arviz_stats.base import array_stats
from scipy import stats

from experiments import inference
from experiments.inference import walnuts
from experiments.inference.walnuts import Limits
from tests.helpers import COVARIANCE, TARGETS, distance_from
from tests.kernels import compile_transitions, shared_transitions
from tests.recursive_nuts import walnuts_step
from tests.transitions import (
    ALLOWED,
    CHAINS,
    NUM,
    after_one_transition,
    compare_trees,
    rng_start,
)

DIMS = {"correlated normal": 3}


def compile_walnuts(dim, num_chains, limits, max_depth=7):
    return compile_transitions(dim, num_chains, max_depth, walnuts.method(limits))


shared = functools.cache(compile_walnuts)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "max_depth", "step_sizes", "limits"),
    [
        ("correlated normal", 6, [0.3, 0.7], Limits(0.3, 8)),
        ("funnel", 7, [0.3, 1.0], Limits(0.5, 8)),
        ("funnel", 7, [1.0], Limits(0.1, 3)),
        ("gamma", 6, [0.05, 0.3], Limits(0.5, 4)),
    ],
)
def test_the_tree_and_the_draw_are_the_recursions(name, max_depth, step_sizes, limits):
    dim = DIMS.get(name, 2)
    unlike, found = compare_trees(
        shared(dim, CHAINS, limits),
        name,
        max_depth,
        step_sizes,
        [COVARIANCE, np.eye(3)] if dim == 3 else None,
        walnuts_step(*limits),
    )
    assert not any(unlike.values()), f"{unlike} of {len(found)}"
    assert {tree.depth for tree in found} >= {1, 2, 3}
    if limits.max_level < 5:
        assert sum(tree.diverged for tree in found) > 0.02 * len(found)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dim"), [("banana", 2), ("correlated normal", 3)])
def test_without_refinement_it_is_nuts(name, dim):
    position = rng_start(TARGETS[name], np.random.default_rng(1), CHAINS, dim)
    case = (name, [3, 7], position, 0.4, np.ones(dim), 6)
    found = compile_walnuts(dim, CHAINS, Limits(1e9, 0), 10)(*case)
    nuts = shared_transitions(dim, CHAINS, 10)(*case)
    for field in ("draws", "log_prob", "leapfrogs", "depth", "diverged", "energy"):
        np.testing.assert_array_equal(getattr(found, field), getattr(nuts, field))


# Its law

# Steps so long that one in five would not come back by the same leapfrogs.
LONG = {"name": "normal", "step_size": 1.6, "inverse_mass": [1.0]}
LONG_LIMITS = Limits(0.3, 6)


def test_a_transition_leaves_exact_draws_exact():
    transitions = compile_walnuts(1, NUM, LONG_LIMITS, 3)
    for max_depth in (1, 3):
        distances, moved = after_one_transition(
            transitions, max_depth=max_depth, **LONG
        )
        assert max(distances.values()) < ALLOWED, distances
        assert np.mean(moved) > 0.2


@pytest.mark.slow
def test_a_transition_leaves_exact_draws_of_a_correlated_normal_exact():
    distances, moved = after_one_transition(
        shared(3, NUM, Limits(0.3, 8)), "correlated normal", 6, 0.7, [1.0, 1.0, 1.0]
    )
    assert max(distances.values()) < ALLOWED, distances
    assert np.mean(moved) > 0.2


@pytest.mark.slow
def test_a_transition_leaves_exact_draws_of_the_funnel_exact():
    start = TARGETS["funnel"].start(np.random.default_rng(5), NUM)
    transitions = shared(2, NUM, Limits(0.3, 8))
    found = transitions("funnel", [11, 7], start, 1.0, [1.0, 1.0], 7)
    neck, rest = found.draws.T
    assert np.mean(np.any(found.draws != start, axis=1)) > 0.2
    assert distance_from(stats.norm(0, 3).cdf, neck) < ALLOWED
    assert distance_from(stats.norm.cdf, rest * np.exp(-neck / 2)) < ALLOWED


# Errors planted


def never_looks_back(monkeypatch):
    judge = walnuts.judge

    def trusting(*args):
        found = judge(*args)
        return found._replace(
            arrives=found.found, irreversible=tf.zeros_like(found.irreversible)
        )

    monkeypatch.setattr(walnuts, "judge", trusting)


def looks_back_at_one_level_only(monkeypatch):
    judge = walnuts.judge

    def hasty(limits, macro, *args):
        found = judge(limits, macro, *args)
        return found._replace(arrives=found.arrives | (found.fails & macro.back))

    monkeypatch.setattr(walnuts, "judge", hasty)


def takes_the_end_alone(monkeypatch):
    """The range of the energy is looked at behind the last leapfrog only."""
    judge = walnuts.judge

    def late(limits, macro, energy, spread):
        last = macro.taken + 1 == tf.bitwise.left_shift(1, macro.level)
        return judge(limits, macro, energy, tf.where(last, spread, 0 * spread))

    monkeypatch.setattr(walnuts, "judge", late)


def refines_nothing(monkeypatch):
    signed_step = walnuts._signed_step
    monkeypatch.setattr(
        walnuts,
        "_signed_step",
        lambda loop: signed_step(
            loop._replace(
                macro=loop.macro._replace(level=tf.zeros_like(loop.macro.level))
            )
        ),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "fields"),
    [
        (never_looks_back, {"leapfrogs", "depth", "draw"}),
        (looks_back_at_one_level_only, {"leapfrogs"}),
        (takes_the_end_alone, {"leapfrogs"}),
        (refines_nothing, {"leapfrogs", "draw", "diverged"}),
    ],
)
def test_comparing_trees_finds_a_planted_error(monkeypatch, plant, fields):
    plant(monkeypatch)
    limits = Limits(0.5, 6)
    transitions = compile_walnuts(2, CHAINS, limits)
    unlike, _ = compare_trees(
        transitions, "funnel", 7, [1.0], take_step=walnuts_step(*limits)
    )
    assert fields <= {field for field, num in unlike.items() if num}, unlike


@pytest.mark.slow
def test_invariance_from_exact_draws_finds_the_way_back_left_out(monkeypatch):
    never_looks_back(monkeypatch)
    transitions = compile_walnuts(1, NUM, LONG_LIMITS, 3)
    for max_depth in (1, 3):
        distances, _ = after_one_transition(transitions, max_depth=max_depth, **LONG)
        assert max(distances.values()) > 3 * ALLOWED


# The funnel of ten dimensions


def funnel(x):
    """Neal (2003), section 8: the neck's log density is that of N(0, 3)."""
    neck, rest = x[:, 0], x[:, 1:]
    return -(neck**2) / 18 - tf.reduce_sum(rest**2, -1) * tf.exp(-neck) / 2 - 4.5 * neck


def neck_errors(tree):
    """Of the neck's quantiles, in Monte Carlo standard errors."""
    neck = tree["posterior/x"].to_numpy()[..., 0]
    axes = dict(chain_axis=0, draw_axis=1)
    errors = [
        (np.quantile(neck, prob) - 3 * stats.norm.ppf(prob))
        / array_stats.mcse(neck, method="quantile", prob=prob, **axes)
        for prob in (0.01, 0.05, 0.5, 0.95, 0.99)
    ]
    return np.abs(errors)


@pytest.mark.slow
def test_the_funnels_neck_is_right_where_nuts_is_wrong():
    options = dict(dim=10, num_chains=32, num_draws=2000, metric="gradient", seed=1)
    nuts = inference.sample_nuts(funnel, **options)
    assert np.max(neck_errors(nuts)) > 5
    found = inference.sample_walnuts(funnel, **options)
    assert np.max(neck_errors(found)) < 3, neck_errors(found)
    ess = array_stats.ess(
        found["posterior/x"].to_numpy()[..., 0],
        chain_axis=0,
        draw_axis=1,
        method="bulk",
    )
    assert ess > 200  # the errors mean something


# What users are told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_energy_error": 0.0}, "max_energy_error: given 0.0, wanted"),
        ({"max_energy_error": True}, "max_energy_error: given True, wanted"),
        ({"max_energy_error": float("nan")}, "max_energy_error: given nan, wanted"),
        ({"max_level": -1}, "max_level: given -1, wanted a whole number from 0 to 20"),
        ({"max_level": 21}, "max_level: given 21, wanted a whole number from 0 to 20"),
    ],
)
def test_a_limit_out_of_range_is_an_error_that_names_it(options, message):
    with pytest.raises(ValueError, match=message):
        inference.sample_walnuts(funnel, dim=10, **options)


@pytest.mark.slow
def test_leapfrogs_are_the_gradients_of_both_directions_and_settings_are_recorded():
    calls = []

    def density(x):
        tf.py_function(lambda: calls.append(1), [], [])
        return funnel(x)

    tree = inference.sample_walnuts(
        density,
        dim=10,
        num_chains=1,
        num_warmup=0,
        num_draws=5,
        step_size=1.0,
        start=np.zeros((1, 10)),
        jit_compile=False,
        seed=1,
    )
    stats_of = tree["sample_stats"]
    taken = int(stats_of["n_steps"].sum())
    assert taken > 2 ** int(stats_of["tree_depth"].sum())
    # Besides: one for the start, and one turn in which each transition begins.
    assert taken < len(calls) <= taken + 2 + 5 + 2
    assert stats_of.attrs["sampler"] == "WALNUTS"
    assert stats_of.attrs["max_energy_error"] == 1.0
