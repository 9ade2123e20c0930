"""Runs of many chains: reproducible, independent, counted, refused."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from experiments.inference import (
    SamplerSettings,
    chain,
    nuts,
    philox,
    philox_tensors,
    prng,
)
from experiments.inference.leapfrog import value_and_gradient
from experiments.inference.samples import Samples, concatenate, gradients_computed
from tests import recursive_nuts
from tests.helpers import (
    COVARIANCE,
    TARGETS,
    assert_mean_within,
    distance_allowed,
    distance_from,
)
from tests.kernels import interpreted_kernel, switched

SEED = tf.constant([3, 5])
CORRELATED = TARGETS["correlated normal"]
DENSITY = value_and_gradient(CORRELATED.log_prob)
START = np.array(
    [[0.5, -1.0, 0.2], [2.0, 1.0, -0.4], [-1.0, 0.0, 0.0], [0.0, 3.0, 0.5]] * 2
)
INVERSE_MASS = np.array([1.0, 3.0, 0.3])
STEP_SIZE = 0.2


def compiled(num_chains, density=DENSITY, **options):
    options = dict(dim=3, max_depth=5, dtype=tf.float64) | options
    return chain.compile_kernel(density, num_chains=num_chains, **options)


def interpreted(num_chains, density=DENSITY, **options):
    """A kernel of which XLA compiles nothing."""
    options = dict(dim=3, max_depth=5, dtype=tf.float64) | options
    return interpreted_kernel(
        density, num_chains=num_chains, jit_compile=False, **options
    )


def draws_of(
    kernel,
    start,
    *,
    num=40,
    chunk_size=40,
    seed=SEED,
    step_size=STEP_SIZE,
    inverse_mass=INVERSE_MASS,
):
    """One chunk of all the draws, put together from those yielded."""
    chunks = list(
        chain.sample_chunks(
            kernel,
            seed=seed,
            start=start,
            step_size=step_size,
            num_results=num,
            chunk_size=chunk_size,
            inverse_mass=inverse_mass,
        )
    )
    return concatenate(chunks, axis=1)


def assert_same(found, wanted):
    for name, one, other in zip(Samples._fields, found, wanted, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)


def assert_alike(found, wanted):
    """Equal but for the last digits."""
    for name, one, other in zip(Samples._fields, found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.fixture(scope="module")
def kernel():
    return compiled(4)


@pytest.fixture(scope="module")
def drawn(kernel):
    return draws_of(kernel, START[:4])


@pytest.fixture(scope="module")
def plain_kernel():
    return compiled(4, jit_compile=False)


# What is handed out


def test_every_part_of_a_chunk_has_the_shape_and_dtype_it_says(drawn):
    assert drawn.draws.shape == (4, 40, 3)
    assert {part.shape for part in drawn[1:]} == {(4, 40)}
    kinds = [part.dtype.name for part in drawn]
    wide = "float64"
    assert kinds == [wide, wide, "int32", "int32", wide, "bool", wide]


def test_a_chunks_log_probs_are_those_of_its_draws(drawn):
    wanted = [
        [CORRELATED.log_prob_and_grad(x)[0] for x in one_chain]
        for one_chain in drawn.draws
    ]
    np.testing.assert_allclose(drawn.log_prob, wanted, rtol=1e-10)


def test_the_energy_told_is_that_of_the_start_and_a_fresh_momentum(kernel):
    run = draws_of(kernel, START[:4], num=1000)
    kinetic = run.energy[:, 1:] + run.log_prob[:, :-1]
    law = stats.chi2(3).cdf
    assert distance_from(law, 2 * kinetic.ravel()) < distance_allowed(kinetic.size)


def test_the_kernel_starts_where_it_is_told(kernel):
    """With hardly any step no chain leaves its start."""
    run = draws_of(kernel, START[:4], step_size=1e-9)
    np.testing.assert_allclose(
        run.draws, np.tile(START[:4, None], (1, 40, 1)), atol=1e-5
    )


# Reproducible


@pytest.mark.parametrize("chunk_size", [1, 7, 39, 1000])
def test_the_draws_do_not_depend_on_the_chunks(kernel, drawn, chunk_size):
    assert_same(draws_of(kernel, START[:4], chunk_size=chunk_size), drawn)


def test_a_longer_run_begins_with_the_shorter(kernel, drawn):
    longer = draws_of(kernel, START[:4], num=55)
    assert longer.draws.shape[1] == 55
    assert_same(Samples(*(part[:, :40] for part in longer)), drawn)


def test_a_run_goes_on_from_its_last_draw(plain_kernel):
    whole = draws_of(plain_kernel, START[:4], num=12)
    (rest,) = chain.sample_chunks(
        plain_kernel,
        seed=SEED,
        start=whole.draws[:, 6],
        step_size=STEP_SIZE,
        num_results=12,
        chunk_size=40,
        num_done=7,
        inverse_mass=INVERSE_MASS,
    )
    assert_alike(rest, Samples(*(part[:, 7:] for part in whole)))


def test_another_seed_draws_others(kernel, drawn):
    other = draws_of(kernel, START[:4], seed=tf.constant([3, 6]))
    assert not np.any(np.all(other.draws == drawn.draws, axis=-1))


def test_the_same_program_is_run_for_every_chunk_seed_and_step(kernel, monkeypatch):
    draws_of(kernel, START[:4])
    monkeypatch.setattr(nuts, "run", None)  # of which programs are traced
    for chunk_size, seed, step_size in [(40, 1, 0.2), (3, 2, 0.4), (40, 3, 0.1)]:
        draws_of(
            kernel,
            START[:4],
            chunk_size=chunk_size,
            seed=tf.constant([seed, 0]),
            step_size=step_size,
        )
    draws_of(kernel, START[:4], inverse_mass=None)


def test_xla_and_tensorflows_own_kernels_draw_alike(plain_kernel, drawn):
    assert_alike(draws_of(plain_kernel, START[:4]), drawn)


def test_a_chain_is_the_same_among_four_and_among_eight(drawn):
    among = draws_of(interpreted(8), START)
    assert_alike(Samples(*(part[:4] for part in among)), drawn)


def test_a_chain_draws_alone_as_among_others(drawn):
    """In as many leapfrogs: none is counted while others go on."""
    alone = draws_of(interpreted(1), START[:1])
    assert_alike(alone, Samples(*(part[:1] for part in drawn)))
    assert np.any(drawn.leapfrogs[0] < drawn.leapfrogs.max(axis=0))


def test_a_part_of_the_chains_draws_as_among_all(drawn):
    """By their numbers, however long the trees of the chains elsewhere are."""
    first_two, last_two = interpreted(2), interpreted(2, first_chain=2)
    # One trace serves both.
    last_two = dataclasses.replace(last_two, transitions=first_two.transitions)
    among_all = Samples(*(whole[2:] for whole in drawn))
    assert np.any(drawn.leapfrogs[:2].max(axis=0) > among_all.leapfrogs.max(axis=0))
    assert_alike(draws_of(last_two, START[2:4]), among_all)
    others = draws_of(first_two, START[2:4])
    assert not np.any(np.all(others.draws == among_all.draws, axis=-1))


def all_chains_draw_differently(kernel):
    run = draws_of(kernel, np.zeros((4, 3)), inverse_mass=None)
    return all(
        np.all(np.any(run.draws[i, 10:] != run.draws[j, 10:], axis=-1))
        for i in range(4)
        for j in range(i)
    )


def test_chains_from_one_start_draw_differently(kernel):
    assert all_chains_draw_differently(kernel)


def test_chains_that_share_their_random_numbers_are_found_out(monkeypatch):
    uniform, consecutive = philox_tensors.uniform, philox.consecutive

    def shared(first, second, place):
        return uniform(first, second, tf.zeros_like(place))

    def all_shared(streams, start, num):
        return consecutive(streams, 0 * start, num)

    monkeypatch.setattr(philox_tensors, "uniform", shared)
    monkeypatch.setattr(philox, "consecutive", all_shared)
    assert not all_chains_draw_differently(interpreted(4))


# Right, and counted right


def test_many_chains_have_the_exact_moments(kernel):
    run = draws_of(kernel, START[:4], num=3000).draws[:, 50:]
    for i in range(3):
        assert_mean_within(run[..., i], 0.0, min_ess=1000)
        for j in range(i + 1):
            product = run[..., i] * run[..., j]
            assert_mean_within(product, COVARIANCE[i, j], min_ess=1000)


def test_float32_chains_keep_a_float64_log_prob_and_sample_right():
    def wide(x):
        return CORRELATED.log_prob(tf.cast(x, tf.float64))

    kernel = compiled(4, value_and_gradient(wide), dtype=tf.float32)
    run = draws_of(kernel, START[:4], num=1500)
    kinds = [part.dtype.name for part in run]
    wide = "float64"
    assert kinds == ["float32", wide, "int32", "int32", wide, "bool", wide]
    for i in range(3):
        assert_mean_within(run.draws[:, 50:, i], 0.0)
        assert_mean_within(run.draws[:, 50:, i] ** 2, COVARIANCE[i, i])


def test_a_run_takes_one_gradient_a_leapfrog_and_one_to_begin():
    """Counted where the density is computed: as many as the longest chain needs."""
    traced, calls = [], []

    def counted(x):
        def count(x):
            calls.append(None)
            return x

        traced.append(None)
        shape = x.shape
        x = tf.numpy_function(count, [x], x.dtype)
        x.set_shape(shape)
        return DENSITY(x)

    kernel = interpreted(4, counted)
    traced.clear()
    run = draws_of(kernel, START[:4])
    # The log prob at the start is a transition of one leapfrog.
    wanted = (1 + 1) + (1 + run.leapfrogs.sum(axis=1).max())
    assert len(calls) == wanted
    assert 4 * wanted < gradients_computed(run.leapfrogs)  # those of lock-step
    # In the graph too: once in the loop's body, and nowhere else.
    assert len(traced) == 1


def test_doubling_ends_at_the_depth_cap(kernel):
    run = draws_of(kernel, START[:4], step_size=1e-4, num=5)
    assert set(run.depth.ravel()) == {5}
    assert set(run.leapfrogs.ravel()) == {31}
    assert np.min(run.accept) > 0.999
    assert not run.diverged.any()


def test_depth_and_leapfrogs_fit_each_other(drawn):
    least = 2**drawn.depth - 1
    assert np.all(drawn.leapfrogs >= least)
    assert np.all(drawn.leapfrogs <= 2 * least + 1)
    assert np.all(drawn.depth <= 5)
    assert np.all((drawn.accept > 0) & (drawn.accept <= 1))


# What goes wrong


def walled(x):
    """A wall without a gradient."""
    inside = tf.reduce_all(x > 0, axis=-1)
    minus_infinity = tf.constant(-float("inf"), x.dtype)
    return tf.where(inside, -tf.reduce_sum(x, -1), minus_infinity), -tf.ones_like(x)


DENSITIES = {
    "funnel": value_and_gradient(TARGETS["funnel"].log_prob),
    "gamma": value_and_gradient(TARGETS["gamma"].log_prob),
    "walled": walled,
}


@pytest.fixture(scope="module", params=[tf.float32, tf.float64], ids=lambda d: d.name)
def kernel_of(request):
    """A kernel of one of three densities, by name."""
    density, choose = switched(DENSITIES)
    kernel = interpreted(4, density, dim=2, dtype=request.param)

    def chosen(name):
        choose(name)
        return kernel

    return chosen


def test_a_step_too_large_for_the_funnels_neck_diverges(kernel_of):
    kernel = kernel_of("funnel")
    neck = np.array([[-12.0, 0.0]] * 2 + [[4.0, 1.0]] * 2)
    (first, second) = (
        draws_of(kernel, neck, num=1, step_size=step, inverse_mass=None)
        for step in (0.5, 1e-4)
    )
    assert first.diverged[:, 0].tolist() == [True, True, False, False]
    # The draw stays among what was accepted before, and is a finite one.
    np.testing.assert_array_equal(first.draws[:2, 0], neck[:2])
    assert np.all(first.leapfrogs[:2] == 1)
    assert np.all(first.accept[:2] < 1e-6)
    assert not second.diverged.any()


def test_a_log_prob_that_is_nan_counts_as_a_divergence(kernel_of):
    run = draws_of(
        kernel_of("gamma"),
        np.full((4, 2), 0.5),
        num=100,
        step_size=0.4,
        inverse_mass=None,
    )
    assert 0 < np.mean(run.diverged) < 0.9
    assert np.all(np.isfinite(run.log_prob))
    assert np.all(np.isfinite(run.accept))
    assert np.all(run.draws > 0)


def test_a_log_prob_of_minus_infinity_counts_as_a_divergence(kernel_of):
    """What lies behind the wall is never drawn."""
    run = draws_of(
        kernel_of("walled"), np.ones((4, 2)), step_size=0.5, inverse_mass=None
    )
    assert np.mean(run.diverged) > 0.05
    assert np.all(run.draws > 0)
    assert len(np.unique(run.draws[0, :, 0])) > 10


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (np.nan, "chain 2 has log prob nan"),
        (-1.0, "chain 2 has log prob nan and 0 gradients"),
        (0.0, "chain 2 has log prob -inf and 2 gradients"),
        (np.inf, "chain 2 has log prob"),
    ],
)
def test_a_start_that_is_not_finite_is_refused_by_its_chain(kernel_of, start, message):
    starts = np.ones((4, 2))
    starts[2:] = start
    with pytest.raises(ValueError, match=f"start: {message}.*wanted finite ones"):
        draws_of(kernel_of("gamma"), starts, inverse_mass=None)


@pytest.mark.parametrize("shape", [(8, 3), (2, 3), (1, 3), (4, 2), (4,)])
def test_a_start_of_another_shape_is_refused(kernel, shape):
    with pytest.raises(
        ValueError, match=r"^position: given shape \(.*\), wanted \(4, 3\)$"
    ):
        draws_of(kernel, np.zeros(shape))


# Energy


def test_the_energy_error_is_that_of_the_trajectory_in_numpy():
    found = chain.energy_error(
        DENSITY, seed=SEED, start=START[:4], step_size=0.1, num_steps=30
    )
    assert found.shape == (4, 30)
    momentum = prng.normal(SEED, (4, 3), tf.float64).numpy()
    ones = np.ones(3)
    for i in range(4):
        log_prob, grad = CORRELATED.log_prob_and_grad(START[i])
        z = recursive_nuts.Point(START[i], momentum[i], log_prob, grad)
        start = recursive_nuts.energy(z, ones)
        for error in found[i]:
            z = recursive_nuts.leapfrog(z, CORRELATED.log_prob_and_grad, 0.1, ones)
            wanted = recursive_nuts.energy(z, ones) - start
            np.testing.assert_allclose(error, wanted, atol=1e-11)


def test_the_energy_error_of_100_steps_shrinks_to_the_log_probs_rounding():
    """A constant of 1e6 in a float32 log prob shows, and in a float64 one does not."""

    def shifted(dtype):
        def log_prob(x):
            return 1e6 + CORRELATED.log_prob(tf.cast(x, dtype))

        return value_and_gradient(log_prob)

    def worst(dtype, step_size):
        errors = chain.energy_error(
            shifted(dtype),
            seed=SEED,
            start=START[:4].astype(np.float32),
            step_size=step_size,
            jit_compile=False,
        )
        assert errors.shape == (4, 100)
        return np.max(np.abs(errors))

    assert worst(tf.float64, 0.1) / worst(tf.float64, 0.05) == pytest.approx(4, rel=0.3)
    assert worst(tf.float64, 1e-3) < 1e-4
    assert worst(tf.float32, 1e-3) > 0.03


# For the benchmark


def test_a_prepared_sampler_draws_anew_at_each_call_and_alike_from_one_seed():
    settings = SamplerSettings(step_size=0.3, max_depth=4, num_results=3, num_chains=2)
    start = START[:2].astype(np.float32)

    def prepare(seed):
        return chain.prepare(
            DENSITY, start=start, settings=settings, seed=seed, jit_compile=False
        )

    one, same, other = prepare(1), prepare(1), prepare(2)
    first, second = one(), one()
    np.testing.assert_array_equal(first.draws, same().draws)
    np.testing.assert_array_equal(second.draws, same().draws)
    assert not np.any(first.draws == second.draws)
    assert not np.any(first.draws == other().draws)
    assert first.draws.shape == (2, 3, 3)
    wanted = 2 * first.leapfrogs.max(axis=0).sum()
    assert gradients_computed(first.leapfrogs) == wanted


def test_evaluate_gives_the_density_and_its_gradient():
    log_prob, grad = chain.evaluate(DENSITY, START[:4])
    assert (log_prob.dtype, grad.dtype) == (np.float64, np.float64)
    for i in range(4):
        wanted, wanted_grad = CORRELATED.log_prob_and_grad(START[i])
        np.testing.assert_allclose(log_prob[i], wanted, rtol=1e-5)
        np.testing.assert_allclose(grad[i], wanted_grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk_size", [0, -1, 2.0, True, None])
def test_a_chunk_size_that_is_no_count_is_an_error(kernel, chunk_size):
    with pytest.raises(ValueError, match=f"chunk_size: given {chunk_size}, wanted"):
        draws_of(kernel, START[:4], chunk_size=chunk_size)


@pytest.mark.parametrize(
    "inverse_mass",
    [[1.0, 0.0, 1.0], [-1.0, 1.0, 1.0], [1.0, np.nan, 1.0], [1.0], [[1.0] * 3] * 2],
)
def test_a_metric_that_is_not_positive_is_refused(kernel, inverse_mass):
    with pytest.raises(ValueError, match="inverse_mass: given .*, wanted"):
        draws_of(kernel, START[:4], inverse_mass=np.array(inverse_mass))
