"""Chains that do not wait, in tiles, by the chunk: each draws as in lock-step.

How the draws are divided, buffered or interrupted never shows in them.
"""

import dataclasses
import itertools
import threading

import numpy as np
import pytest
import tensorflow as tf

from experiments.inference import dual_averaging, step_size, tile_run, tiles
from experiments.inference import kernel as kernels
from experiments.inference.kernel import compile_kernel
from experiments.inference.leapfrog import value_and_gradient
from experiments.inference.starts import evaluate_start
from experiments.inference.tile_run import Draws, TileRun
from tests.helpers import COVARIANCE, TARGETS
from tests.kernels import constant_step, interpreted_kernel, run, scale_of, unknown

CORRELATED = TARGETS["correlated normal"]
START = np.random.default_rng(1).normal(size=(64, 3))
SHEAR = np.linalg.cholesky(COVARIANCE)
NUM = 30
STEP_SIZE = 0.35

matrix = tf.Variable(np.eye(3))


def log_prob_of_transformed(z):
    """The correlated normal's log prob at `matrix` z."""
    return CORRELATED.log_prob(tf.matmul(z, matrix, transpose_b=True))


DENSITY = value_and_gradient(log_prob_of_transformed)


OPTIONS = dict(dim=3, max_depth=5, dtype=tf.float64, keep_grads=True)


def compiled(num_chains=4, **options):
    return compile_kernel(DENSITY, num_chains=num_chains, **OPTIONS | options)


def interpreted(num_chains=4, *, jit_compile=False, **options):
    """A kernel of which XLA compiles nothing; jit_compile: whether it is in tiles."""
    options = OPTIONS | options | dict(jit_compile=jit_compile)
    return interpreted_kernel(DENSITY, num_chains=num_chains, **options)


def draws_of(kernel, *, state=None, num_draws=NUM, step=None, **options):
    """The draws of `NUM` transitions from START, or from a state."""
    if step is None:
        step = constant_step(STEP_SIZE, kernel.num_chains)
    state = state or unknown(START[: kernel.num_chains])
    # Starts are found as elsewhere: by a transition without a step.
    if np.isneginf(state.log_prob).any():
        nothing = constant_step(0.0, kernel.num_chains)
        state, _, _ = run(kernel, state, step=nothing, max_depth=1)
    return run(kernel, state, num_draws=num_draws, step=step, **options)[2]


def assert_same(found, wanted):
    for name, one, other in zip(wanted._fields, found, wanted, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)


def assert_alike(found, wanted):
    """Equal but for the last digits."""
    for name, one, other in zip(Draws._fields, found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7, err_msg=name)


def of_chains(draws, chains):
    return Draws(*(part[chains] for part in draws))


@pytest.fixture(scope="module")
def kernel():
    return interpreted()


@pytest.fixture(scope="module")
def drawn(kernel):
    return draws_of(kernel)


@pytest.fixture(scope="module")
def xla_kernel():
    return compiled()


def in_lock_step(kernel, num=NUM, **options):
    """The draws of chains that all begin each transition at once."""
    chains = kernel.num_chains
    step = options.pop("step", constant_step(STEP_SIZE, chains))
    state, _, _ = run(
        kernel, unknown(START[:chains]), step=constant_step(0.0, chains), max_depth=1
    )
    parts, steps = [], [step]
    for number in range(num):
        state, step, draws = run(kernel, state, first_draw=number, step=step, **options)
        parts.append(draws)
        steps.append(step)
    return Draws(*(np.concatenate(part, 1) for part in zip(*parts, strict=True))), steps


# Chains that do not wait


def test_chains_that_do_not_wait_draw_as_in_lock_step(kernel, drawn):
    lock_step, _ = in_lock_step(kernel)
    assert_same(drawn, lock_step)
    # They were at different draws meanwhile.
    done = np.cumsum(drawn.leapfrogs, axis=1)
    assert np.max(done[:, 9]) > np.min(done[:, 12])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_chains_draw_as_in_lock_step(jit_compile, xla_kernel, drawn):
    kernel = xla_kernel if jit_compile else compiled(jit_compile=False)
    lock_step, _ = in_lock_step(kernel)
    found = draws_of(kernel)
    if not jit_compile:
        assert_same(found, lock_step)
    assert_alike(found, lock_step)
    assert_alike(found, drawn)
    np.testing.assert_array_equal(found.leapfrogs, drawn.leapfrogs)


@pytest.mark.parametrize("metric", ["diagonal", "dense"])
def test_adapted_step_sizes_are_those_of_dual_averaging(kernel, metric):
    """Finite and positive, and in lock-step and not the same to the last bit."""
    scale = None
    if metric == "dense":
        scale = scale_of(COVARIANCE, 4)
    begin = step_size.begin(np.array([0.01, 0.3, 1.0, 30.0]))
    options = dict(adapting=True, target_accept=0.7, scale=scale)
    lock_step, steps = in_lock_step(kernel, step=begin, **options)
    assert_same(draws_of(kernel, step=begin, **options), lock_step)
    wanted, target = begin, tf.constant(0.7, tf.float64)
    update = tf.function(dual_averaging.update, autograph=False)
    for i in range(NUM):
        wanted = update(wanted, tf.constant(lock_step.accept[:, i]), target)
        for found, part in zip(steps[i + 1], wanted, strict=True):
            np.testing.assert_allclose(found, part, rtol=1e-12)
    values = np.array([step.value for step in steps])
    assert np.all(np.isfinite(values) & (values > 0))
    assert np.ptp(values[-1]) > 0


def test_step_sizes_stay_unless_they_are_adapted(kernel):
    _, steps = in_lock_step(kernel, num=2)
    for step in steps:
        np.testing.assert_array_equal(step, constant_step(STEP_SIZE, 4))


def test_each_chain_has_a_step_size_of_its_own(kernel):
    sizes = np.array([0.1, 0.2, 0.4, 0.8])
    together = draws_of(kernel, step=constant_step(sizes, 4))
    for chain, size in enumerate(sizes):
        alike = draws_of(kernel, step=constant_step(size, 4))
        assert_same(of_chains(together, [chain]), of_chains(alike, [chain]))


@pytest.mark.slow  # of a few chains, test_chain.py counts gradients exactly
def test_almost_every_gradient_is_used():
    """64 chains of 1,000 draws of eight schools, counted by the turn."""
    y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    sigma = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

    def log_prob(x):
        mu, log_tau, z = x[:, :1], x[:, 1:2], x[:, 2:]
        tau = tf.exp(log_tau)
        away = (tf.cast(y, x.dtype) - mu - tau * z) / tf.cast(sigma, x.dtype)
        prior = -0.5 * tf.reduce_sum((mu / 5) ** 2 + z**2, -1)
        half_cauchy = log_tau - tf.math.log1p((tau / 5) ** 2)
        return prior + half_cauchy[:, 0] - 0.5 * tf.reduce_sum(away**2, -1)

    kernel = compile_kernel(
        value_and_gradient(log_prob), num_chains=64, dim=10, max_depth=10
    )
    turns = []

    def counted(loop, setting, numbers):
        loop = kernel.transitions(loop, setting, numbers)
        turns.append(int(loop.turns) * loop.drawn.shape[0])
        return loop

    counting = dataclasses.replace(kernel, transitions=counted)
    start = np.random.default_rng(2).uniform(-1, 1, (64, 10))
    draws = draws_of(
        counting,
        state=unknown(start),
        num_draws=1000,
        step=constant_step(0.4, 64),
    )
    used, computed = draws.leapfrogs.sum(), sum(turns)
    assert used <= computed
    assert used > 0.95 * computed, used / computed
    assert 64 * draws.leapfrogs.max(axis=0).sum() > 1.5 * computed  # in lock-step


# However they are divided


@pytest.fixture(scope="module")
def of_18():
    return draws_of(interpreted(18), num_draws=12)


@pytest.mark.parametrize(
    ("num_chains", "max_tile", "cores", "sizes"),
    [
        (1, 64, 2, [1]),
        (5, 2, 1, [2, 2, 1]),
        pytest.param(5, 64, 1, [5], marks=pytest.mark.slow),
        (5, 64, 2, [3, 2]),
        (18, 5, 1, [5, 5, 5, 3]),
    ],
)
def test_tiles_of_any_size_draw_alike(
    monkeypatch, of_18, num_chains, max_tile, cores, sizes
):
    monkeypatch.setattr(kernels, "MAX_TILE", max_tile)
    monkeypatch.setattr(kernels, "TILE_BYTES", 1 << 40)
    monkeypatch.setattr(kernels.os, "sched_getaffinity", lambda pid: range(cores))
    kernel = interpreted(num_chains, jit_compile=True)
    found = [tile.chains.stop - tile.chains.start for tile in kernel.tiles]
    assert found == sizes
    assert len({len(tile.numbers) for tile in kernel.tiles}) == 1
    draws = draws_of(kernel, num_draws=12)
    assert_alike(draws, of_chains(of_18, slice(num_chains)))


def test_a_tile_fits_the_cache_and_no_core_is_without_one(monkeypatch):
    def size(num_chains, dim, cores, max_depth=10, dtype=tf.float32):
        monkeypatch.setattr(kernels.os, "sched_getaffinity", lambda pid: range(cores))
        return kernels._tile_size(num_chains, dim, max_depth, dtype)

    assert size(1024, 2, 2) == kernels.MAX_TILE
    assert size(64, 2, 2) == 32
    assert size(64, 2, 16) == 4
    assert size(3, 2, 16) == 1
    assert size(1, 2, 2) == 1
    assert size(1000, 10_000, 2) == 4
    assert 4 < size(1024, 60, 2) < size(1024, 30, 2) < kernels.MAX_TILE
    assert size(1024, 30, 2, dtype=tf.float64) < size(1024, 30, 2)
    assert size(1024, 30, 2, max_depth=5) > size(1024, 30, 2)


def test_large_data_are_read_once_for_all_chains(monkeypatch):
    monkeypatch.setattr(kernels, "SHARED_DATA_BYTES", 1 << 17)
    monkeypatch.setattr(kernels, "MAX_TILE", 2)
    data = tf.constant(np.ones((3, 10_000)))

    def log_prob(x):
        return -0.5 * tf.reduce_sum(tf.matmul(x, data) ** 2, -1)

    for one, num_tiles in ((value_and_gradient(log_prob), 1), (DENSITY, 4)):
        kernel = interpreted_kernel(
            one, num_chains=8, dim=3, max_depth=5, dtype=tf.float64
        )
        assert len(kernel.tiles) == num_tiles


def test_a_chain_draws_by_its_number(kernel, drawn):
    alone = interpreted(1, first_chain=3)
    state = unknown(START[3:4])
    assert_alike(draws_of(alone, state=state), of_chains(drawn, [3]))


@pytest.mark.parametrize("bound", ["MAX_ROWS", "ROW_BYTES"])
def test_draws_do_not_depend_on_the_room_for_them(monkeypatch, drawn, bound):
    monkeypatch.setattr(kernels, bound, 4)
    kernel = interpreted()
    assert kernel.rows == 4
    assert_same(draws_of(kernel), drawn)


def test_draws_do_not_depend_on_how_long_a_call_takes(monkeypatch, kernel, drawn):
    monkeypatch.setattr(tile_run, "CALL_SECONDS", 1e-12)
    turns = []

    def counted(loop, setting, numbers):
        turns.append(int(setting.max_turns))
        return kernel.transitions(loop, setting, numbers)

    found = draws_of(dataclasses.replace(kernel, transitions=counted, turns_of_call={}))
    assert set(turns) == {tile_run.FIRST_TURNS, 1}
    assert_same(found, drawn)


def streamed(kernel, chunk_size, num_draws=NUM, step_size=STEP_SIZE, **fields):
    """The parts that `stream` yields."""
    chains = kernel.num_chains
    state, _, _ = run(
        kernel, unknown(START[:chains]), step=constant_step(0.0, chains), max_depth=1
    )
    return dataclasses.replace(kernel, **fields).stream(
        state,
        first_draw=0,
        num_draws=num_draws,
        step=constant_step(step_size, chains),
        scale=np.ones((chains, 3)),
        max_depth=5,
        adapting=False,
        target_accept=0.8,
        seed=tf.constant([3, 5]),
        chunk_size=chunk_size,
    )


@pytest.mark.parametrize("chunk_size", [1, 7, 29, 30, 1000])
def test_draws_do_not_depend_on_the_chunks(kernel, drawn, chunk_size):
    parts = list(streamed(kernel, chunk_size))
    sizes = [part.draws.shape[1] for part, _, _ in parts]
    assert sizes[:-1] == [chunk_size] * (len(sizes) - 1) and sum(sizes) == NUM
    joined = zip(*(part for part, _, _ in parts), strict=True)
    assert_same(Draws(*(np.concatenate(part, 1) for part in joined)), drawn)
    _, state, step = parts[-1]
    np.testing.assert_array_equal(state.position, drawn.draws[:, -1])
    np.testing.assert_array_equal(state.log_prob, drawn.log_prob[:, -1])
    np.testing.assert_array_equal(state.grad, drawn.grads[:, -1])
    np.testing.assert_array_equal(step.value, np.full(4, STEP_SIZE))


def test_a_run_goes_on_from_the_state_it_ended_in(kernel, drawn):
    whole = unknown(START[:4])
    state, _, _ = run(kernel, whole, step=constant_step(0.0, 4), max_depth=1)
    step = constant_step(STEP_SIZE, 4)
    state, step, first = run(kernel, state, num_draws=11, step=step)
    _, _, rest = run(kernel, state, first_draw=11, num_draws=NUM - 11, step=step)
    joined = zip(first, rest, strict=True)
    assert_same(Draws(*(np.concatenate(part, 1) for part in joined)), drawn)


def test_two_streams_of_one_kernel_do_not_disturb_each_other(kernel, drawn):
    pairs = zip(streamed(kernel, 5), streamed(kernel, 5), strict=True)
    for number, pair in enumerate(pairs):
        for draws, _, _ in pair:
            rows = slice(5 * number, 5 * number + 5)
            assert_same(draws, Draws(*(part[:, rows] for part in drawn)))


def test_a_stopped_run_yields_what_all_chains_have(monkeypatch, kernel):
    """Stopped within a chunk that would last for long."""
    monkeypatch.setattr(tile_run, "CALL_SECONDS", 0.02)
    asked = itertools.count()
    parts = list(
        streamed(kernel, 100_000, 100_000, should_stop=lambda: next(asked) == 20)
    )
    ((draws, _, _),) = parts
    num = draws.draws.shape[1]
    assert 0 < num < 100_000
    assert_same(draws, draws_of(kernel, num_draws=num))


def test_a_run_stopped_between_chunks_yields_no_more(kernel, drawn):
    stops = []
    chunks = streamed(kernel, 1, 100_000, should_stop=lambda: bool(stops))
    first = next(chunks)
    stops.append(True)
    rest = list(chunks)
    assert len(rest) < 1000
    joined = zip(first[0], *(part for part, _, _ in rest), strict=True)
    for name, part in zip(Draws._fields, joined, strict=True):
        whole = np.concatenate(part, 1)[:, :NUM]
        np.testing.assert_array_equal(
            whole, getattr(drawn, name)[:, : whole.shape[1]], err_msg=name
        )


def test_a_run_is_stopped_while_a_call_does_not_end(monkeypatch, kernel):
    """As the first call does not while XLA compiles."""
    monkeypatch.setattr(tiles, "STOP_SECONDS", 0.05)
    ends, begun = threading.Event(), threading.Event()

    def endless(loop, setting, numbers):
        begun.set()
        assert ends.wait(60)
        return kernel.transitions(loop, setting, numbers)

    fields = {"transitions": endless, "should_stop": begun.is_set}
    try:
        assert list(streamed(kernel, 10, **fields)) == []
        with pytest.raises(tiles.Stopped):
            draws_of(dataclasses.replace(kernel, **fields))
    finally:
        ends.set()


def test_chains_run_ahead_of_a_slow_one_no_further_than_the_memory_is_for(
    monkeypatch, kernel
):
    step_size = np.array([0.05, 1.0, 1.0, 1.0])  # one chain takes many leapfrogs
    free = list(streamed(kernel, 2, 40, step_size))
    sizes = []
    collect = TileRun._collect

    def measured(self, loop):
        loop = collect(self, loop)
        sizes.append(int(self._counts.max()) - self._start)
        return loop

    monkeypatch.setattr(TileRun, "_collect", measured)
    monkeypatch.setattr(tile_run, "AHEAD_BYTES", 1)
    bound = list(streamed(kernel, 2, 40, step_size))
    assert max(sizes) <= 4  # a chunk, and as many ahead
    for (draws, _, _), (before, _, _) in zip(bound, free, strict=True):
        assert_same(draws, before)


def test_an_error_of_the_density_ends_the_run():
    def refuse(x):
        raise ZeroDivisionError("the density's own")

    def failing(x):
        log_prob, grad = DENSITY(x)
        log_prob = tf.numpy_function(refuse, [log_prob], log_prob.dtype)
        log_prob.set_shape([4])
        return log_prob, grad

    kernel = interpreted_kernel(
        failing, num_chains=4, dim=3, max_depth=5, dtype=tf.float64, jit_compile=False
    )
    with pytest.raises(tf.errors.OpError, match="the density's own"):
        draws_of(kernel)


# Metrics and gradients


@pytest.mark.parametrize("metric", ["diagonal", "dense"])
def test_a_metric_is_a_linear_transformation_of_the_target(kernel, metric):
    """x = S z: the same draws, in other coordinates."""
    factor = SHEAR if metric == "dense" else np.diag([0.5, 2.0, 1.5])
    scale = np.tile(SHEAR, (4, 1, 1)) if metric == "dense" else [[0.5, 2.0, 1.5]] * 4
    found = draws_of(kernel, scale=np.array(scale))
    try:
        matrix.assign(factor)
        wanted = draws_of(kernel, state=unknown(np.linalg.solve(factor, START[:4].T).T))
    finally:
        matrix.assign(np.eye(3))
    assert_alike(
        found,
        wanted._replace(
            draws=wanted.draws @ factor.T,
            grads=np.linalg.solve(factor.T, wanted.grads[..., np.newaxis])[..., 0],
        ),
    )


def test_each_chain_has_a_metric_of_its_own(kernel, drawn):
    scale = np.array([[1.0, 1.0, 1.0]] * 3 + [[0.5, 2.0, 1.5]])
    found = draws_of(kernel, scale=scale)
    assert_same(of_chains(found, slice(3)), of_chains(drawn, slice(3)))
    assert np.all(np.any(found.draws[3] != drawn.draws[3], axis=-1)[5:])


def test_gradients_kept_are_the_densitys_at_the_draws(drawn):
    wanted = [
        [CORRELATED.log_prob_and_grad(x)[1] for x in one_chain]
        for one_chain in drawn.draws
    ]
    np.testing.assert_allclose(drawn.grads, wanted, rtol=1e-9, atol=1e-9)


def test_gradients_are_left_out_unless_they_are_asked_for(drawn):
    found = draws_of(interpreted(keep_grads=False))
    assert found.grads.shape == (4, NUM, 0)
    assert_same(found._replace(grads=drawn.grads), drawn)
    assert_same(found.samples(), drawn.samples())


# What is asked for at a run


def test_the_depth_of_a_run_may_be_less_than_the_kernels(kernel):
    run_3 = draws_of(kernel, step=constant_step(1e-4, 4), max_depth=3, num_draws=3)
    assert set(run_3.leapfrogs.ravel()) == {7} and set(run_3.depth.ravel()) == {3}
    whole = draws_of(kernel, step=constant_step(1e-4, 4), num_draws=3)
    assert set(whole.leapfrogs.ravel()) == {31}


@pytest.mark.parametrize("max_depth", [0, 6, 2.0])
def test_a_depth_that_the_kernel_was_not_compiled_for_is_refused(kernel, max_depth):
    with pytest.raises(
        ValueError, match=f"max_depth: given {max_depth}, wanted .* 1 to 5, which"
    ):
        run(kernel, unknown(START[:4]), max_depth=max_depth)


def test_arrays_of_another_shape_are_refused_by_name(kernel):
    with pytest.raises(ValueError, match=r"^scale: given shape \(1, 3\), wanted"):
        run(kernel, unknown(START[:4]), scale=np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"^step.value: given shape \(3,\), wanted"):
        run(kernel, unknown(START[:4]), step=constant_step(0.1, 3))
    with pytest.raises(ValueError, match=r"^log_prob: given shape \(4, 1\), wanted"):
        state = unknown(START[:4])
        run(kernel, state._replace(log_prob=np.zeros((4, 1))))


def test_minimum_and_maximum_do_not_swallow_nan_in_the_compiled_loop():
    """With XLA's own default, the loop takes maximum(0, NaN) for 0."""

    def density(x):
        root = tf.maximum(tf.zeros_like(x), tf.sqrt(x))
        return -tf.reduce_sum(root, axis=-1), -x

    kernel = kernels.compile_kernel(
        density, num_chains=1, dim=1, max_depth=2, dtype=tf.float64
    )
    with pytest.raises(ValueError, match="start: chain 0 has log prob nan"):
        evaluate_start(
            kernel,
            np.array([[-1.0]]),
            scale=np.ones((1, 1)),
            seed=tf.constant([0, 1]),
        )
