"""Warm-up over the compiled kernel: the same claims, and some of many chains."""

import numpy as np
import pytest
import tensorflow as tf

from experiments.inference import chain, drawing, step_size, summarize, warmup
from experiments.inference.kernel import compile_kernel
from experiments.inference.leapfrog import value_and_gradient
from experiments.inference.results import to_datatree
from experiments.inference.samples import concatenate
from experiments.inference.warmup_state import WarmupSettings
from tests.helpers import COVARIANCE, TARGETS, assert_mean_within

SEED = tf.constant([3, 5])
CORRELATED = TARGETS["correlated normal"]
DENSITY = value_and_gradient(CORRELATED.log_prob)
SETTINGS = WarmupSettings(num_warmup=150, max_depth=6)
SAME = ("step_size", "scale", "position", "log_prob", "grad", "leapfrogs")


def compiled(density=DENSITY, *, num_chains=4, dim=3, **options):
    options = dict(max_depth=6, dtype=tf.float64) | options
    return compile_kernel(density, num_chains=num_chains, dim=dim, **options)


@pytest.fixture(scope="module")
def kernel():
    return compiled()


def finish(kernel, state, settings=SETTINGS, *, chunk_size):
    while state.num_done < settings.num_warmup:
        state, _ = warmup.advance(
            kernel, settings, state, seed=SEED, chunk_size=chunk_size
        )
    return warmup.result(settings, state)


def draws_after(kernel, found, num, *, first_draw):
    chains = kernel.num_chains
    _, _, draws = kernel.run(
        (found.position, found.log_prob, found.grad),
        first_draw=first_draw,
        num_draws=num,
        step=step_size.begin(found.step_size),
        scale=np.broadcast_to(found.scale, (chains, *found.scale.shape[1:])),
        max_depth=kernel.max_depth,
        adapting=False,
        target_accept=0.8,
        seed=SEED,
    )
    return draws


def assert_same(found, wanted):
    for name in SAME:
        one, other = getattr(found, name), getattr(wanted, name)
        np.testing.assert_array_equal(one, other, err_msg=name)


@pytest.fixture(scope="module")
def warm(kernel):
    return finish(kernel, warmup.begin(kernel, SETTINGS, seed=SEED), chunk_size=1000)


def test_a_warm_up_finds_the_variances_and_then_draws_right(kernel, warm):
    variances = np.diag(COVARIANCE)
    assert np.all(
        (warm.inverse_mass > variances / 5) & (warm.inverse_mass < variances * 5)
    )
    draws = draws_after(kernel, warm, 400, first_draw=150).draws
    for i in range(3):
        assert_mean_within(draws[..., i], 0.0)
        assert_mean_within(draws[..., i] ** 2, variances[i])


def test_a_warm_up_stopped_within_a_window_goes_on_as_if_it_had_not(kernel, warm):
    state = warmup.begin(kernel, SETTINGS, seed=SEED)
    for _ in range(5):
        state, _ = warmup.advance(kernel, SETTINGS, state, seed=SEED, chunk_size=20)
    assert state.num_done == 95 and state.moments.num_draws == 20
    assert_same(finish(kernel, state, chunk_size=20), warm)


def test_without_warm_up_draws_are_those_of_a_given_step_size_and_metric(kernel):
    start = CORRELATED.start(np.random.default_rng(1), 4)
    inverse_mass = [1.0, 3.0, 0.3]
    settings = WarmupSettings(num_warmup=0, step_size=0.2, inverse_mass=inverse_mass)
    found = warmup.result(
        settings, warmup.begin(kernel, settings, seed=SEED, start=start)
    )
    (wanted,) = chain.sample_chunks(
        kernel,
        seed=SEED,
        start=start,
        step_size=0.2,
        num_results=30,
        chunk_size=30,
        inverse_mass=inverse_mass,
    )
    draws = draws_after(kernel, found, 30, first_draw=0).samples()
    for one, other in zip(draws, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow  # another kernel; of NumPy's it is fast
def test_a_chain_warms_up_alone_as_it_does_among_others(warm):
    alone = compiled(num_chains=1, first_chain=3)
    found = finish(alone, warmup.begin(alone, SETTINGS, seed=SEED), chunk_size=1000)
    for name in SAME:
        one, other = getattr(found, name)[0], getattr(warm, name)[3]
        # Tiles of other sizes differ in the last bits under XLA.
        np.testing.assert_allclose(one, other, rtol=1e-9, err_msg=name)


def test_warm_up_draws_and_divergences_stay_out_of_the_summary(kernel, warm, tmp_path):
    parts = list(drawing.chunks(kernel, SETTINGS, num_draws=60, seed=SEED))
    discarded = concatenate([p.samples for p in parts if p.warmup is None], axis=1)
    kept = concatenate([p.samples for p in parts if p.warmup is not None], axis=1)
    np.testing.assert_array_equal(
        kept.draws, draws_after(kernel, warm, 60, first_draw=150).draws
    )
    assert discarded.draws.shape == (4, 150, 3) and discarded.diverged.sum() > 0
    tree = to_datatree(
        kept,
        step_size=warm.step_size,
        max_depth=6,
        warmup=warm,
        settings={"num_warmup": 150},
    )
    np.testing.assert_array_equal(tree["posterior/x"].values, kept.draws)
    run = summarize(tree).run
    assert run["draws"] == 60 and run["divergences"] == kept.diverged.sum()
    assert run["warmup_divergences"] == discarded.diverged.sum()
    assert run["warmup_leapfrogs"] == discarded.leapfrogs.sum()
    assert sum(run["depth_histogram"].values()) == 4 * 60
    adaptation = tree["adaptation"].to_dataset()
    assert adaptation["first_draw"].values.tolist() == [0, 100]
    assert adaptation["window_step_size"].dims == ("window", "chain")
    assert np.all(adaptation["window_inverse_mass"][0] == 1.0)
    np.testing.assert_array_equal(
        adaptation["window_inverse_mass"][1], adaptation["inverse_mass"]
    )
    tree.to_netcdf(tmp_path / "draws.nc")


def exponential(x):
    """log prob -x, and NaN with a NaN gradient below 0."""
    nan = tf.constant(float("nan"), x.dtype)
    inside = x[:, 0] > 0
    return tf.where(inside, -x[:, 0], nan), tf.where(
        inside[:, None], -tf.ones_like(x), nan
    )


@pytest.mark.slow
def test_512_chains_beside_a_wall_of_nan_keep_their_steps_and_sample_right():
    kernel = compiled(exponential, num_chains=512, dim=1)
    settings = WarmupSettings(num_warmup=200, max_depth=6)
    state = warmup.begin(kernel, settings, seed=SEED)
    steps = [state.step.value]
    while state.num_done < settings.num_warmup:
        state, _ = warmup.advance(kernel, settings, state, seed=SEED, chunk_size=1)
        steps.append(state.step.value)
    assert np.all(np.isfinite(steps) & (np.array(steps) > 0))
    found = warmup.result(settings, state)
    assert found.inverse_mass.shape == (1, 1) and 0.7 < found.inverse_mass[0, 0] < 1.4
    draws = draws_after(kernel, found, 200, first_draw=200).draws[..., 0]
    # Chains are independent, and their means need no estimate of autocorrelation.
    means = draws.mean(axis=1)
    error = means.std(ddof=1) / len(means) ** 0.5
    assert abs(means.mean() - 1) < 4 * error and error < 0.05
