"""Warm-up, over a recursive NumPy kernel that has the compiled one's interface.

What it reaches where the answer is known, test_warmup_targets.py says.
"""

import numpy as np
import pytest
import tensorflow as tf

import ppl_core as ppl
from experiments.inference import warmup
from experiments.inference.given_starts import given_positions
from experiments.inference.warmup_state import WarmupSettings, WarmupState
from tests.helpers import COVARIANCE, TARGETS
from tests.numpy_kernel import NumpyKernel

SEED = tf.constant([3, 5])
CORRELATED = TARGETS["correlated normal"]


def normal_of(variances):
    variances = np.asarray(variances, float)
    return lambda x: (-0.5 * np.sum(x**2 / variances), -x / variances)


def kernel_of(density, dim, *, num_chains=2, first_chain=0):
    return NumpyKernel(density, num_chains=num_chains, dim=dim, first_chain=first_chain)


CORRELATED_KERNEL = kernel_of(CORRELATED.log_prob_and_grad, 3)


def warm(kernel, *, start=None, chunk_size=64, seed=SEED, posterior=None, **settings):
    return warmup.warm_up(
        kernel,
        WarmupSettings(**settings),
        seed=seed,
        chunk_size=chunk_size,
        start=start,
        posterior=posterior,
    )


def states_of(kernel, settings, *, chunk_size, state=None):
    """Every state of a warm-up, the first included, and each chunk's draws."""
    states, chunks = [state], []
    if state is None:
        states = [warmup.begin(kernel, settings, seed=SEED)]
    while states[-1].num_done < settings.num_warmup:
        state, draws = warmup.advance(
            kernel, settings, states[-1], seed=SEED, chunk_size=chunk_size
        )
        states.append(state)
        chunks.append(draws)
    return states, chunks


def assert_same(found, wanted):
    """Two states or results, equal to the last bit; the seconds apart."""
    for name, one, other in zip(found._fields, found, wanted, strict=True):
        if name == "seconds":
            continue
        for a, b in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


def test_a_dense_metric_is_the_covariance_and_one_for_all_chains():
    kernel = kernel_of(CORRELATED.log_prob_and_grad, 3, num_chains=8)
    found = warm(kernel, num_warmup=300, metric="dense")
    assert found.inverse_mass.shape == (1, 3, 3)
    spread = np.sqrt(np.diag(COVARIANCE))
    # Some 1,200 draws: standard errors of 4 % of the spreads' products.
    error = (found.inverse_mass[0] - COVARIANCE) / np.outer(spread, spread)
    assert np.all(np.abs(error) < 0.25)
    # White momenta: one step size suits every direction, and trees are short.
    assert np.all(found.step_size > 0.5)


def test_a_pooled_metric_is_shared_and_step_sizes_are_not():
    kernel = kernel_of(normal_of([1.0, 100.0]), 2)
    found = warm(kernel, num_warmup=100, pooled=True)
    assert found.inverse_mass.shape == (1, 2)
    assert found.step_size[0] != found.step_size[1]
    apart = warm(kernel, num_warmup=100, pooled=False)
    assert np.all(apart.inverse_mass[0] != apart.inverse_mass[1])


@pytest.mark.parametrize("num_warmup", [1, 19])
def test_a_short_warm_up_finds_step_sizes_and_leaves_the_metric(num_warmup):
    found = warm(CORRELATED_KERNEL, num_warmup=num_warmup, inverse_mass=[1, 4, 0.25])
    np.testing.assert_allclose(found.inverse_mass, [[1, 4, 0.25]] * 2)
    assert np.all((found.step_size > 0.01) & (found.step_size < 10))
    assert found.first_draws.tolist() == [0]


def test_without_warm_up_everything_is_as_given():
    start = CORRELATED.start(np.random.default_rng(1), 2)
    found = warm(
        CORRELATED_KERNEL,
        num_warmup=0,
        start=start,
        step_size=0.1,
        inverse_mass=[1.0, 4.0, 0.25],
    )
    assert found.step_size.tolist() == [0.1, 0.1]
    np.testing.assert_array_equal(found.scale, [[1.0, 2.0, 0.5]] * 2)
    np.testing.assert_array_equal(found.position, start)
    assert found.leapfrogs.sum() == 0 and found.other_gradients == 1


SETTINGS = WarmupSettings(num_warmup=150)


@pytest.fixture(scope="module")
def uninterrupted():
    return states_of(CORRELATED_KERNEL, SETTINGS, chunk_size=20)


def test_a_warm_up_stopped_within_a_window_goes_on_as_if_it_had_not(
    uninterrupted, tmp_path
):
    states, _ = uninterrupted
    dones = [int(state.num_done) for state in states]
    assert dones == [0, 20, 40, 60, 75, 95, 100, 120, 140, 150]
    for number in (0, 1, 5, 8):  # before the first draw, and within windows
        parts = tf.nest.flatten(states[number])
        assert all(isinstance(part, np.ndarray) for part in parts)
        np.savez(tmp_path / "state.npz", *parts)
        with np.load(tmp_path / "state.npz") as saved:
            parts = [saved[f"arr_{i}"] for i in range(len(parts))]
        state = tf.nest.pack_sequence_as(states[number], parts)
        resumed, _ = states_of(CORRELATED_KERNEL, SETTINGS, chunk_size=20, state=state)
        assert_same(resumed[-1], states[-1])


@pytest.mark.parametrize("metric", ["diagonal", "dense", "gradient"])
def test_a_warm_up_does_not_depend_on_the_chunks(metric):
    settings = WarmupSettings(num_warmup=40, metric=metric)
    whole = states_of(CORRELATED_KERNEL, settings, chunk_size=1000)[0][-1]
    for chunk_size in (1, 7):
        parts = states_of(CORRELATED_KERNEL, settings, chunk_size=chunk_size)[0][-1]
        assert_same(parts, whole)


@pytest.mark.parametrize("metric", ["diagonal", "dense", "gradient"])
def test_a_chain_warms_up_alone_as_it_does_among_others(metric):
    density = CORRELATED.log_prob_and_grad
    settings = dict(num_warmup=60, metric=metric)
    together = warm(kernel_of(density, 3, num_chains=4), **settings)
    alone = warm(kernel_of(density, 3, num_chains=1, first_chain=3), **settings)
    for name in ("step_size", "scale", "position", "leapfrogs", "divergences"):
        one, all_of = getattr(alone, name), getattr(together, name)
        np.testing.assert_array_equal(one[0], all_of[3], err_msg=name)
    assert len(np.unique(together.position, axis=0)) == 4


def test_what_is_in_force_is_recorded_and_counted(uninterrupted):
    states, chunks = uninterrupted
    found = warmup.result(SETTINGS, states[-1])
    assert found.first_draws.tolist() == [0, 100]
    # The first metric is the identity; the second was in force to the end.
    np.testing.assert_array_equal(found.inverse_masses[0], np.ones((2, 3)))
    np.testing.assert_array_equal(found.inverse_masses[1], found.inverse_mass)
    np.testing.assert_array_equal(found.inverse_mass, found.scale**2)
    steps = np.concatenate([chunk.step_size for chunk in chunks], axis=1)
    np.testing.assert_array_equal(found.step_sizes, steps[:, [0, 100]].T)
    assert np.all(np.isfinite(steps) & (steps > 0))
    for count, name in (("leapfrogs", "leapfrogs"), ("divergences", "diverged")):
        drawn = [getattr(chunk, name).sum(axis=1) for chunk in chunks]
        np.testing.assert_array_equal(getattr(found, count), np.sum(drawn, axis=0))
    assert found.other_gradients >= 1 + 2 * 2 and found.seconds > 0
    np.testing.assert_array_equal(found.position, chunks[-1].draws[:, -1])


def test_step_sizes_adapt_anew_with_each_metric_and_with_nothing_else(uninterrupted):
    steps = {int(state.num_done): state.step for state in uninterrupted[0]}
    # The first phase ends after 75 draws, and the window of a metric after 100.
    for num_done, updates in (
        (0, 0),
        (60, 60),
        (75, 75),
        (95, 95),
        (100, 0),
        (140, 40),
    ):
        np.testing.assert_array_equal(steps[num_done].updates, updates)
    for num_done in (0, 100):
        step = steps[num_done]
        np.testing.assert_allclose(step.log_centre, np.log(10 * step.value))


def test_a_window_estimates_from_its_own_draws():
    settings = WarmupSettings(num_warmup=200)
    states, chunks = states_of(CORRELATED_KERNEL, settings, chunk_size=1000)
    draws = np.concatenate([chunk.draws for chunk in chunks], axis=1)
    scales = {int(state.num_done): state.scale for state in states}
    for first, end in ((75, 100), (100, 150)):
        num, variance = end - first, np.var(draws[:, first:end], axis=1, ddof=1)
        wanted = (num * variance + 5e-3) / (num + 5)
        np.testing.assert_allclose(scales[end] ** 2, wanted, rtol=1e-9)


def test_starts_searches_and_draws_have_random_numbers_of_their_own():
    class Recording(NumpyKernel):
        def run(self, state, *, adapting, seed, **options):
            seeds.append((adapting, *np.asarray(seed)))
            return super().run(state, adapting=adapting, seed=seed, **options)

    seeds = []
    kernel = Recording(CORRELATED.log_prob_and_grad, num_chains=2, dim=3)
    warm(kernel, num_warmup=20)
    drawing = {tuple(seed) for adapting, *seed in seeds if adapting}
    others = {tuple(seed) for adapting, *seed in seeds if not adapting}
    assert drawing == {(3, 5)}
    assert len(others) == 3 and not others & drawing  # starts, and two searches


def test_a_wall_of_nan_leaves_every_step_size_finite_and_positive():
    # An exponential, whose log prob is NaN below 0: any step may run into the wall.
    def exponential(x):
        inside = x[0] > 0
        return (-x[0] if inside else np.nan), np.where(inside, -np.ones(1), np.nan)

    kernel = kernel_of(exponential, 1, num_chains=8)
    states, _ = states_of(kernel, WarmupSettings(num_warmup=100), chunk_size=1)
    steps = np.array([state.step.value for state in states])
    assert np.all(np.isfinite(steps) & (steps > 0))
    found = warmup.result(WarmupSettings(num_warmup=100), states[-1])
    assert np.all((found.step_size > 0.01) & (found.step_size < 10))
    assert 0.2 < found.inverse_mass[0, 0] < 5  # the variance is 1


IMPROPER = {
    "flat": (lambda x: (0.0, np.zeros(2)), "accepted at every step size"),
    "a growing exponential": (lambda x: (x.sum(), np.ones(2)), "accepted at every"),
    # exp(-exp(-x)) tends to 1.
    "flat to one side": (
        lambda x: (-np.exp(-x).sum(), np.exp(-x)),
        "step size of chain",
    ),
    "infinite in one point": (
        lambda x: (np.inf if x[0] > 1 else -0.5 * x @ x, -x),
        "came to log prob inf",
    ),
    "a wrong gradient": (
        lambda x: (-0.5 * x @ x, np.full(2, 1e200)),
        "rejected at every step size",
    ),
}


@pytest.mark.parametrize("case", IMPROPER)
def test_an_improper_posterior_ends_with_an_error(case):
    density, message = IMPROPER[case]
    kernel = kernel_of(density, 2, num_chains=1)
    with pytest.raises(ValueError, match=f"posterior: .*{message}.*, wanted"):
        warm(kernel, num_warmup=1000, max_depth=7)


def test_errors_name_the_variable_of_a_program():
    def model():
        ppl.Normal(0.0, 1.0, name="proper")
        ppl.Normal(0.0, 1e30, name="flat")

    posterior = ppl.unconstrain(model)

    def density(x):
        return -(x[0] ** 2) / 2, np.array([-x[0], 0.0])

    flat = kernel_of(density, 2, num_chains=1)
    with pytest.raises(
        ValueError, match=r"variance of \['flat'\] grew .*, wanted a pro"
    ):
        warm(flat, num_warmup=1000, max_depth=6, posterior=posterior)
    nowhere = kernel_of(lambda x: (np.nan, np.array([0.0, np.nan])), 2)
    with pytest.raises(ValueError, match=r"start: chain 0 .* nan .* for \['flat'\]"):
        warm(nowhere, num_warmup=10, posterior=posterior)


def test_chains_start_where_they_are_told_by_name():
    posterior = ppl.unconstrain(lambda: ppl.HalfNormal(1.0, name="scale"))

    def density(x):
        log_prob, grad = posterior.log_prob_and_grad(tf.constant(x[np.newaxis]))
        return float(log_prob[0]), grad[0].numpy()

    settings = WarmupSettings(num_warmup=10)
    state = warmup.begin(
        kernel_of(density, 1),
        settings,
        seed=SEED,
        start=given_positions(
            {"scale": [0.1, 3.0]}, num_chains=2, dim=1, posterior=posterior
        ),
    )
    found = posterior.constrain(state.position)["scale"]
    np.testing.assert_allclose(found, [0.1, 3.0])


@pytest.mark.parametrize(
    "name, value",
    [
        ("num_warmup", -1),
        ("num_warmup", 10.0),
        ("max_depth", 0),
        ("target_accept", 1.0),
        ("target_accept", 0.0),
        ("target_accept", np.nan),
        ("target_accept", "high"),
        ("metric", "diag"),
        ("pooled", "yes"),
        ("step_size", 0.0),
        ("step_size", np.inf),
        ("step_size", True),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name}: given .*, wanted"):
        WarmupSettings(**{name: value})


def test_without_warm_up_a_step_size_is_asked_for():
    with pytest.raises(ValueError, match="^step_size: given None, wanted one"):
        WarmupSettings(num_warmup=0)


def test_a_gradient_informed_metric_needs_gradients():
    kernel = kernel_of(normal_of(np.ones(2)), 2)
    kernel.keep_grads = False
    with pytest.raises(
        ValueError, match="^metric: given 'gradient' and a kernel witho"
    ):
        warm(kernel, metric="gradient")


def test_a_finished_warm_up_does_not_go_on_and_an_unfinished_has_no_result(
    uninterrupted,
):
    states, _ = uninterrupted
    with pytest.raises(ValueError, match="state: given after all of num_warmup, 150"):
        warmup.advance(CORRELATED_KERNEL, SETTINGS, states[-1], seed=SEED, chunk_size=1)
    with pytest.raises(ValueError, match="state: given after 140 draws, wanted"):
        warmup.result(SETTINGS, states[-2])
    assert isinstance(states[-1], WarmupState)
