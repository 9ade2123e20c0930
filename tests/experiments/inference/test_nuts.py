"""NUTS: the same tree as the recursion, the right draw from it, an invariant law.

Each kind of check is also run on kernels with a planted error, and has to see it.
"""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import ppl_core as ppl
from experiments.inference import chain, nuts, prng
from experiments.inference.leapfrog import value_and_gradient
from tests import recursive_nuts
from tests.helpers import (
    ALARM,
    BETA,
    COVARIANCE,
    TARGETS,
    assert_mean_within,
    assert_means_agree,
    distance_allowed,
    distance_from,
)


def compile_step(target, max_depth, *, jit_compile):
    """nuts.step of one target: (seed, position, step_size, inverse_mass)."""
    density = value_and_gradient(target.log_prob)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def step(seed, position, step_size, inverse_mass):
        return nuts.step(
            seed,
            nuts.init(position, density),
            log_prob_and_grad=density,
            step_size=step_size,
            inverse_mass=inverse_mass,
            max_depth=max_depth,
        )

    def run(seed, *numbers):
        told = step(
            tf.constant(seed), *(tf.constant(part, tf.float64) for part in numbers)
        )
        return tf.nest.map_structure(lambda part: part.numpy(), told)

    return run


# The tree, leaf by leaf


def recursions(target, seed, position, step_size, inverse_mass, max_depth):
    """The recursive transition of every chain, by the kernel's own random decisions."""
    chains, dim = position.shape
    seeds = prng.split(tf.constant(seed), 4)
    momentum = prng.normal(seeds[0], (chains, dim), tf.float64).numpy()
    forwards = prng.uniform(seeds[1], (chains, max_depth)).numpy() < 0.5
    doubling_u = prng.uniform(seeds[2], (chains, max_depth)).numpy()
    leaf_u = tf.function(
        lambda turns: tf.map_fn(
            lambda turn: prng.uniform(prng.fold_in(seeds[3], turn), (chains,)),
            turns,
            fn_output_signature=tf.float64,
        )
    )(tf.range(2**max_depth)).numpy()
    return [
        recursive_nuts.multinomial_transition(
            target.log_prob_and_grad,
            position[i],
            momentum=momentum[i] / np.sqrt(inverse_mass),
            forwards=forwards[i],
            doubling_u=doubling_u[i],
            leaf_u=leaf_u[:, i],
            step_size=step_size,
            inverse_mass=np.asarray(inverse_mass),
        )
        for i in range(chains)
    ]


def compare_trees(name, max_depth, step_sizes, *, chains=40, jit_compile=False):
    """What differs from the recursion, by the field, and all that the recursion did."""
    target = TARGETS[name]
    run = compile_step(target, max_depth, jit_compile=jit_compile)
    rng = np.random.default_rng(max_depth)
    unlike = dict.fromkeys(["leapfrogs", "depth", "diverged", "accept", "draw"], 0)
    wanted = []
    metrics = [np.ones(target.dim), rng.uniform(0.3, 3.0, target.dim)]
    for step_size, inverse_mass in itertools.product(step_sizes, metrics):
        seed = rng.integers(-(2**31), 2**31, 2).astype(np.int32)
        position = target.start(rng, chains)
        case = (seed, position, step_size, inverse_mass)
        state, info = run(*case)
        trees = recursions(target, *case, max_depth)
        for i, tree in enumerate(trees):
            for field in ("leapfrogs", "depth", "diverged"):
                unlike[field] += getattr(info, field)[i] != getattr(tree, field)
            unlike["accept"] += not np.isclose(
                info.accept[i], tree.accept, rtol=1e-6, atol=1e-9
            )
            unlike["draw"] += not np.allclose(
                state.position[i], tree.draw, rtol=1e-6, atol=1e-7
            )
        wanted += trees
    return unlike, wanted


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
    unlike, trees = compare_trees(name, max_depth, step_sizes)
    assert not any(unlike.values()), f"{unlike} of {len(trees)}"
    depths = {tree.depth for tree in trees}
    assert depths >= set(range(1, min(max_depth, 4)))
    # A doubling that stops within is where the counting could go wrong.
    if max_depth > 2:
        partial = [t for t in trees if t.leapfrogs & (t.leapfrogs + 1)]
        assert len(partial) > 0.05 * len(trees)
    if name in ("funnel", "gamma"):
        assert sum(tree.diverged for tree in trees) > 0.02 * len(trees)


def test_xla_builds_the_recursions_tree_as_well():
    unlike, _ = compare_trees("correlated normal", 6, [0.1, 0.4], jit_compile=True)
    assert not any(unlike.values()), unlike


@pytest.mark.parametrize("step_size", [0.05, 0.11, 0.2, 0.7])
def test_on_a_circular_orbit_doubling_stops_past_half_a_turn(monkeypatch, step_size):
    """A point that circles in equal steps of angle: the tree is known by hand."""
    normal = TARGETS["normal"]._replace(dim=2)
    shadow = np.sqrt(1 - step_size**2 / 4)  # of |momentum| over |position|
    monkeypatch.setattr(
        prng,
        "normal",
        lambda seed, shape, dtype, first: (
            tf.tile([[0.0, 1.5 * shadow]], [shape[0], 1])
            if dtype is None
            else tf.constant([[0.0, 1.5 * shadow]] * shape[0], dtype)
        ),
    )
    run = compile_step(normal, 8, jit_compile=False)
    state, info = run([1, 2], [[1.5, 0.0]] * 64, step_size, [1.0, 1.0])
    angle = np.arccos(1 - step_size**2 / 2)
    depth = next(d for d in range(9) if (2**d - 1) * angle > np.pi)
    assert set(info.depth) == {depth}
    assert set(info.leapfrogs) == {2**depth - 1}
    np.testing.assert_allclose(np.linalg.norm(state.position, axis=1), 1.5, rtol=1e-9)
    spread = np.unique(np.round(state.position, 6), axis=0)
    assert len(spread) > min(20, 2**depth)  # in both directions of time


# The draw from the tree


def selection_p_value(monkeypatch, num=40_000):
    """Of the draws from one trajectory, against the recursion's exact probabilities."""
    target, step_size, inverse_mass, max_depth = TARGETS["banana"], 0.6, [1.0, 0.5], 3
    position, momentum = np.array([0.8, -0.1]), np.array([-0.9, -3.2])
    forwards = np.array([True, False, True])
    tree = recursive_nuts.multinomial_transition(
        target.log_prob_and_grad,
        position,
        momentum=momentum,
        forwards=forwards,
        doubling_u=np.zeros(max_depth),
        leaf_u=np.zeros(2**max_depth),
        step_size=step_size,
        inverse_mass=np.array(inverse_mass),
    )
    assert tree.depth == 3
    assert np.sum(tree.probabilities) == pytest.approx(1.0)
    assert np.ptp(tree.probabilities) > 0.1

    uniform, calls = prng.uniform, itertools.count()

    def directions_then_uniform(seed, shape, first):
        if next(calls) == 0:  # the first that a transition draws
            return tf.tile(
                tf.constant(np.where(forwards, 0.25, 0.75))[None], [shape[0], 1]
            )
        return uniform(seed, shape, first)

    normal = momentum * np.sqrt(inverse_mass)
    with monkeypatch.context() as patch:
        patch.setattr(prng, "uniform", directions_then_uniform)
        patch.setattr(
            prng,
            "normal",
            lambda seed, shape, dtype, first: tf.tile(
                tf.constant(normal, dtype)[None], [shape[0], 1]
            ),
        )
        run = compile_step(target, max_depth, jit_compile=False)
        state, info = run([3, 4], np.tile(position, (num, 1)), step_size, inverse_mass)
    assert set(info.leapfrogs) == {tree.leapfrogs}
    gaps = np.linalg.norm(state.position[:, None] - tree.leaves, axis=-1)
    assert np.max(np.min(gaps, axis=1)) < 1e-9, "a draw that is no leaf"
    counts = np.bincount(np.argmin(gaps, axis=1), minlength=len(tree.leaves))
    possible = tree.probabilities > 0
    if counts[~possible].any():
        return 0.0
    expected = num * tree.probabilities[possible]
    assert np.min(expected) > 5
    return stats.chisquare(counts[possible], expected).pvalue


def test_leaves_are_drawn_with_the_recursions_probabilities(monkeypatch):
    assert selection_p_value(monkeypatch) > ALARM


# One transition from exact draws


NUM = 50_000
ALLOWED = distance_allowed(NUM)


def statistics_of(name):
    """What is compared with its exact distribution: name: (function of x, cdf)."""
    if name == "normal":
        return {
            "x": (lambda x: x[:, 0], stats.norm.cdf),
            "x^2": (lambda x: x[:, 0] ** 2, stats.chi2(1).cdf),
        }
    if name == "correlated normal":
        precision = np.linalg.inv(COVARIANCE)
        direction = np.array([1.0, -1.0, 2.0])
        spread = np.sqrt(direction @ COVARIANCE @ direction)
        found = {
            f"x{i}": (
                lambda x, i=i: x[:, i],
                stats.norm(0, COVARIANCE[i, i] ** 0.5).cdf,
            )
            for i in range(3)
        }
        found["a sum"] = (lambda x: x @ direction, stats.norm(0, spread).cdf)
        found["log prob"] = (
            lambda x: np.einsum("ni,ij,nj->n", x, precision, x),
            stats.chi2(3).cdf,
        )
        return found
    if name == "beta logits":
        return {
            f"y{i}": (
                lambda y, i=i: 1 / (1 + np.exp(-y[:, i])),
                stats.beta(*BETA[i]).cdf,
            )
            for i in range(2)
        }
    if name == "banana":
        return {
            "x": (lambda x: x[:, 0], stats.norm.cdf),
            "bend": (lambda x: 2 * (x[:, 1] - x[:, 0] ** 2 / 2), stats.norm.cdf),
        }
    raise KeyError(name)


def after_one_transition(name, max_depth, step_size, inverse_mass, run=None):
    """The distances from the exact law, and how far the chains have moved."""
    target = TARGETS[name]
    run = run or compile_step(target, max_depth, jit_compile=False)
    start = target.start(np.random.default_rng(5), NUM)
    state, _ = run([11, max_depth], start, step_size, inverse_mass)
    distances = {
        key: distance_from(cdf, statistic(state.position))
        for key, (statistic, cdf) in statistics_of(name).items()
    }
    moved = np.any(state.position != start, axis=1)
    return distances, moved


@pytest.mark.parametrize(
    ("name", "max_depth", "step_sizes", "inverse_mass"),
    [
        ("normal", 3, [0.3, 1.6], [1.3]),
        ("correlated normal", 1, [0.3, 0.5], [1.0, 3.0, 0.3]),
        ("correlated normal", 2, [0.3, 0.5], [1.0, 3.0, 0.3]),
        ("correlated normal", 3, [0.3, 0.7], [1.0, 1.0, 1.0]),
        ("correlated normal", 6, [0.1, 0.5], [1.0, 3.0, 0.3]),
        ("beta logits", 2, [0.5, 2.0], [1.0, 2.0]),
        ("beta logits", 6, [0.5, 2.0], [1.0, 2.0]),
        ("banana", 6, [0.2, 0.7], [1.0, 0.5]),
    ],
)
def test_a_transition_leaves_exact_draws_exact(
    name, max_depth, step_sizes, inverse_mass
):
    run = compile_step(TARGETS[name], max_depth, jit_compile=False)
    for step_size in step_sizes:
        distances, moved = after_one_transition(
            name, max_depth, step_size, inverse_mass, run
        )
        assert max(distances.values()) < ALLOWED, (step_size, distances)
        assert np.mean(moved) > 0.2


# Planted errors, and what catches them


def takes_every_doubling(monkeypatch):
    grow = nuts._grow
    monkeypatch.setattr(
        nuts, "_grow", lambda tree, sub, u, mass: grow(tree, sub, 0 * u, mass)
    )


def forgets_to_favour_moving(monkeypatch):
    """Uniform over the whole trajectory: invariant too, but not the sampler claimed."""
    grow = nuts._grow

    def share(tree, subtree, uniform, mass):
        total = nuts._log_add_exp(tree.log_weight, subtree.log_weight)
        take = tf.math.log(uniform) < subtree.log_weight - total
        return grow(tree, subtree, tf.where(take, 0.0 * uniform, 1e300), mass)

    monkeypatch.setattr(nuts, "_grow", share)


def adds_weights_wrongly(monkeypatch):
    monkeypatch.setattr(nuts, "_log_add_exp", tf.maximum)


def always_draws_the_last_leaf(monkeypatch):
    add_leaf = nuts._add_leaf
    monkeypatch.setattr(
        nuts,
        "_add_leaf",
        lambda sub, tip, weight, u, begin: add_leaf(sub, tip, weight, 0 * u, begin),
    )


def swaps_the_ends(monkeypatch):
    grow = nuts._grow

    def swapped(*args):
        tree, turning = grow(*args)
        return tree._replace(left=tree.right, right=tree.left), turning

    monkeypatch.setattr(nuts, "_grow", swapped)


def reverses_the_turn_test(monkeypatch):
    is_turning = nuts._is_turning
    monkeypatch.setattr(nuts, "_is_turning", lambda **kwargs: ~is_turning(**kwargs))


def forgets_the_seam(monkeypatch):
    def ends_only(*, first, last, left_sum, right_sum, inverse_mass, **_):
        velocity = inverse_mass * (left_sum + right_sum)
        along = [tf.reduce_sum(velocity * end, -1) for end in (first, last)]
        return ~((along[0] > 0) & (along[1] > 0))

    monkeypatch.setattr(nuts, "_is_turning", ends_only)


def never_looks_within_a_doubling(monkeypatch):
    match = nuts._match

    def blind(*args):
        subtree, turning = match(*args)
        return subtree, tf.zeros_like(turning)

    monkeypatch.setattr(nuts, "_match", blind)


def keeps_the_last_doublings_sum(monkeypatch):
    """The momentum sum is not reset where a new doubling begins."""
    add_leaf = nuts._add_leaf

    def unreset(subtree, tip, *args):
        added = add_leaf(subtree, tip, *args)
        return added._replace(sum_momentum=tip.momentum + subtree.sum_momentum)

    monkeypatch.setattr(nuts, "_add_leaf", unreset)


def ignores_the_metric_in_turns(monkeypatch):
    is_turning = nuts._is_turning
    monkeypatch.setattr(
        nuts,
        "_is_turning",
        lambda **kwargs: is_turning(
            **kwargs | {"inverse_mass": tf.ones_like(kwargs["inverse_mass"])}
        ),
    )


def lets_divergences_pass(monkeypatch):
    monkeypatch.setattr(nuts, "MAX_ENERGY_ERROR", np.inf)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "fields"),
    [
        (takes_every_doubling, {"draw"}),
        (forgets_to_favour_moving, {"draw"}),
        (adds_weights_wrongly, {"draw"}),
        (always_draws_the_last_leaf, {"draw"}),
        (swaps_the_ends, {"leapfrogs", "depth", "accept"}),
        (reverses_the_turn_test, {"leapfrogs", "depth", "accept"}),
        (forgets_the_seam, {"leapfrogs", "depth", "accept"}),
        (never_looks_within_a_doubling, {"leapfrogs", "depth"}),
        (keeps_the_last_doublings_sum, {"leapfrogs", "depth"}),
        (ignores_the_metric_in_turns, {"leapfrogs", "depth"}),
    ],
)
def test_comparing_trees_finds_a_planted_error(monkeypatch, plant, fields):
    plant(monkeypatch)
    unlike, _ = compare_trees("correlated normal", 6, [0.3])
    assert fields <= {field for field, num in unlike.items() if num}, unlike


@pytest.mark.slow
def test_comparing_trees_finds_a_divergence_let_pass(monkeypatch):
    lets_divergences_pass(monkeypatch)
    unlike, _ = compare_trees("funnel", 5, [2.0])
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
    assert selection_p_value(monkeypatch) < ALARM


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant",
    [
        takes_every_doubling,
        adds_weights_wrongly,
        always_draws_the_last_leaf,
        keeps_the_last_doublings_sum,
        never_looks_within_a_doubling,
    ],
)
def test_invariance_from_exact_draws_has_the_power_to_find(monkeypatch, plant):
    plant(monkeypatch)
    distances, _ = after_one_transition("correlated normal", 6, 0.5, [1.0, 3.0, 0.3])
    assert max(distances.values()) > ALLOWED, distances


# Long runs


def long_run(target, *, step_size, num, num_chains=16, max_depth=6, seed=0, start=None):
    density = value_and_gradient(target.log_prob)
    kernel = chain.compile_kernel(
        density,
        num_chains=num_chains,
        dim=target.dim,
        max_depth=max_depth,
        chunk_size=num,
        dtype=tf.float64,
    )
    if start is None:
        start = target.start(np.random.default_rng(seed), num_chains)
    (chunk,) = chain.sample_chunks(
        kernel,
        seed=tf.constant([seed, 1]),
        start=start,
        step_size=step_size,
        num_results=num,
        chunk_size=num,
    )
    return chunk


LONG = {  # name: (step size, exact moments)
    "correlated normal": (
        0.4,
        [(lambda x, i=i: x[..., i], 0.0) for i in range(3)]
        + [
            (lambda x, i=i, j=j: x[..., i] * x[..., j], COVARIANCE[i, j])
            for i, j in itertools.combinations_with_replacement(range(3), 2)
        ],
    ),
    "banana": (
        0.4,
        [
            (lambda x: x[..., 0], 0.0),
            (lambda x: x[..., 0] ** 2, 1.0),
            (lambda x: x[..., 1], 0.5),
            (lambda x: x[..., 1] ** 2, 1.0),
            (lambda x: x[..., 0] ** 2 * x[..., 1], 1.5),
        ],
    ),
}


@pytest.fixture(scope="module")
def long_runs():
    return {
        name: long_run(TARGETS[name], step_size=step_size, num=3000).draws
        for name, (step_size, _) in LONG.items()
    }


@pytest.mark.parametrize("name", LONG)
def test_a_long_run_has_the_exact_moments(name, long_runs):
    for moment, exact in LONG[name][1]:
        assert_mean_within(moment(long_runs[name]), exact, min_ess=3000)


@pytest.mark.parametrize("name", LONG)
def test_a_long_run_agrees_with_the_slice_sampler(name, long_runs):
    """Hoffman & Gelman's own: another weighting, another turn test, one law."""
    target, (step_size, moments) = TARGETS[name], LONG[name]
    rng = np.random.default_rng(8)
    draws = [target.start(rng, 1)[0]]
    for _ in range(2000):
        draws.append(
            recursive_nuts.slice_transition(
                rng, target.log_prob_and_grad, draws[-1], step_size=step_size
            )
        )
    draws = np.array(draws[1:])
    for moment, exact in moments:
        assert_mean_within(moment(draws), exact)
        assert_means_agree(moment(long_runs[name]), moment(draws))


def test_a_long_run_agrees_with_tfps_sampler(long_runs):
    target, (step_size, moments) = TARGETS["banana"], LONG["banana"]

    @tf.function(jit_compile=True, autograph=False)
    def run(start, seed):
        return tfp.mcmc.sample_chain(
            1000,
            start,
            kernel=tfp.mcmc.NoUTurnSampler(
                target.log_prob, tf.constant(step_size, tf.float64), max_tree_depth=6
            ),
            trace_fn=None,
            seed=seed,
        )

    start = tf.constant(target.start(np.random.default_rng(9), 8))
    draws = np.moveaxis(run(start, tf.constant([9, 9])).numpy(), 0, 1)
    for moment, _ in moments:
        assert_means_agree(moment(long_runs["banana"]), moment(draws), min_ess=500)


def test_a_program_with_known_posteriors_is_sampled_right():
    """Beta-Bernoulli, gamma-Poisson and normal-normal, each in closed form."""
    coins = np.array([1, 1, 0, 1, 1, 1, 0, 1, 1, 1])
    counts = np.array([3.0, 5.0, 2.0, 4.0])
    heights = np.array([1.2, 0.4, 2.1])

    def program():
        p = ppl.Beta(tf.constant(2.0, tf.float64), 3.0, name="p")
        rate = ppl.Gamma(tf.constant(2.0, tf.float64), 0.5, name="rate")
        mean = ppl.Normal(tf.constant(0.0, tf.float64), 2.0, name="mean")
        ppl.Bernoulli(probs=p, sample_shape=10, name="coins")
        ppl.Poisson(rate, sample_shape=4, name="counts")
        ppl.Normal(mean, 1.0, sample_shape=3, name="heights")

    posterior = ppl.unconstrain(
        program, observed={"coins": coins, "counts": counts, "heights": heights}
    )
    precision = 1 / 4 + 3
    exact = {
        "p": stats.beta(2 + 8, 3 + 2),
        "rate": stats.gamma(2 + 14, scale=1 / (0.5 + 4)),
        "mean": stats.norm(heights.sum() / precision, precision**-0.5),
    }
    target = TARGETS["normal"]._replace(dim=posterior.dim, log_prob=posterior.log_prob)
    chunk = long_run(target, step_size=0.3, num=1500, start=np.zeros((16, 3)))
    vectors = chunk.draws[:, 100:].reshape(-1, 3)
    values = tf.function(posterior.constrain, autograph=False)(tf.constant(vectors))
    assert not chunk.diverged.any()
    for name, law in exact.items():
        draws = values[name].numpy().reshape(16, -1)
        assert_mean_within(draws, law.mean(), min_ess=2000)
        assert_mean_within((draws - law.mean()) ** 2, law.var(), min_ess=2000)
        for probability in (0.1, 0.5, 0.9):
            below = draws < law.ppf(probability)
            assert_mean_within(below.astype(float), probability, min_ess=2000)
