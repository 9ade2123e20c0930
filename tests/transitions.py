"""Checks of single transitions: their trees, the draws from them, and their law."""

import functools
import itertools

import numpy as np
import tensorflow as tf
from scipy import stats

from experiments.inference import prng
from tests import recursive_nuts
from tests.helpers import BETA, COVARIANCE, TARGETS, distance_allowed, distance_from
from tests.kernels import with_numbers

CHAINS, MAX_DEPTH = 40, 10  # of the kernels whose trees are compared
NUM = 50_000  # chains of those whose law is
ALLOWED = distance_allowed(NUM)


# The tree, leaf by leaf


@functools.cache
def _leaf_uniforms(chains):
    """The uniform numbers of a transition's leaves, as `prng` draws them."""
    return tf.function(
        lambda seed, turns: tf.map_fn(
            lambda turn: prng.uniform(prng.fold_in(seed, turn), (chains,)),
            turns,
            fn_output_signature=tf.float64,
        ),
        input_signature=[
            tf.TensorSpec([2], tf.int32),
            tf.TensorSpec([None], tf.int32),
        ],
    )


def recursions(
    target,
    kernel,
    seed,
    position,
    step_size,
    inverse_mass,
    max_depth,
    take_step=recursive_nuts.nuts_step,
):
    """The recursive transition of every chain, by the kernel's own random decisions.

    inverse_mass: [dim], or [dim, dim]: with S its Cholesky factor, the recursion then
      runs over z, x = position + S z.
    """
    chains, dim = position.shape
    seeds = prng.split(prng.fold_in(tf.constant(seed), tf.constant(0)), 4)
    momentum = prng.normal(seeds[0], (chains, dim), tf.float64).numpy()
    wide = (chains, kernel.max_depth)
    forwards = prng.uniform(seeds[1], wide).numpy()[:, :max_depth] < 0.5
    doubling_u = prng.uniform(seeds[2], wide).numpy()[:, :max_depth]
    leaf_u = _leaf_uniforms(chains)(seeds[3], tf.range(2**max_depth)).numpy()
    inverse_mass = np.asarray(inverse_mass, float)

    def transition(i):
        decisions = dict(
            forwards=forwards[i],
            doubling_u=doubling_u[i],
            leaf_u=leaf_u[:, i],
            step_size=step_size,
            take_step=take_step,
        )
        if inverse_mass.ndim == 1:
            return recursive_nuts.multinomial_transition(
                target.log_prob_and_grad,
                position[i],
                momentum=momentum[i] / np.sqrt(inverse_mass),
                inverse_mass=inverse_mass,
                **decisions,
            )
        factor = np.linalg.cholesky(inverse_mass)

        def white(z):
            log_prob, grad = target.log_prob_and_grad(position[i] + factor @ z)
            return log_prob, factor.T @ grad

        found = recursive_nuts.multinomial_transition(
            white,
            np.zeros(dim),
            momentum=momentum[i],
            inverse_mass=np.ones(dim),
            **decisions,
        )
        return found._replace(draw=position[i] + factor @ found.draw)

    return [transition(i) for i in range(chains)]


def compare_trees(
    transitions,
    name,
    max_depth,
    step_sizes,
    metrics=None,
    take_step=recursive_nuts.nuts_step,
):
    """What differs from the recursion, by the field, and all that the recursion did.

    metrics: inverse masses; None: the identity and another diagonal.
    """
    target = TARGETS[name]
    dim, chains = transitions.kernel.dim, transitions.kernel.num_chains
    rng = np.random.default_rng(max_depth)
    unlike = dict.fromkeys(["leapfrogs", "depth", "diverged", "accept", "draw"], 0)
    wanted = []
    metrics = metrics or [np.ones(dim), rng.uniform(0.3, 3.0, dim)]
    for step_size, inverse_mass in itertools.product(step_sizes, metrics):
        seed = rng.integers(-(2**31), 2**31, 2).astype(np.int32)
        position = rng_start(target, rng, chains, dim)
        case = (seed, position, step_size, inverse_mass, max_depth)
        found = transitions(name, *case)
        trees = recursions(target, transitions.kernel, *case, take_step)
        for i, tree in enumerate(trees):
            for field in ("leapfrogs", "depth", "diverged"):
                unlike[field] += getattr(found, field)[i] != getattr(tree, field)
            unlike["accept"] += not np.isclose(
                found.accept[i], tree.accept, rtol=1e-6, atol=1e-9
            )
            unlike["draw"] += not np.allclose(
                found.draws[i], tree.draw, rtol=1e-6, atol=1e-7
            )
        wanted += trees
    return unlike, wanted


def rng_start(target, rng, chains, dim):
    """Exact draws; of the standard normal, of any dimension."""
    return target.start(rng, chains * dim // target.dim).reshape(chains, dim)


# The draw from the tree


def selection_p_value(transitions):
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
    np.testing.assert_allclose(np.sum(tree.probabilities), 1.0)
    assert np.ptp(tree.probabilities) > 0.1
    kernel = with_numbers(
        transitions.kernel,
        momenta=(momentum * np.sqrt(inverse_mass))[:, np.newaxis],
        directions=int(forwards @ [1, 2, 4]),
    )
    start = np.tile(position, (kernel.num_chains, 1))
    found = transitions(
        "banana", [3, 4], start, step_size, inverse_mass, max_depth, kernel
    )
    assert set(found.leapfrogs) == {tree.leapfrogs}
    gaps = np.linalg.norm(found.draws[:, None] - tree.leaves, axis=-1)
    assert np.max(np.min(gaps, axis=1)) < 1e-9, "a draw that is no leaf"
    counts = np.bincount(np.argmin(gaps, axis=1), minlength=len(tree.leaves))
    possible = tree.probabilities > 0
    if counts[~possible].any():
        return 0.0
    expected = len(start) * tree.probabilities[possible]
    assert np.min(expected) > 5
    return stats.chisquare(counts[possible], expected).pvalue


# One transition from exact draws


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


def after_one_transition(transitions, name, max_depth, step_size, inverse_mass):
    """The distances from the exact law, and how far the chains have moved."""
    start = TARGETS[name].start(np.random.default_rng(5), NUM)
    case = ([11, max_depth], start, step_size, inverse_mass, max_depth)
    draws = transitions(name, *case).draws
    distances = {
        key: distance_from(cdf, statistic(draws))
        for key, (statistic, cdf) in statistics_of(name).items()
    }
    return distances, np.any(draws != start, axis=1)
