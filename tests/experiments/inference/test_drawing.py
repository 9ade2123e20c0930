"""Warm-up and the draws after it: what stops, what goes on, what is never shared."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from experiments.inference import drawing, starts
from experiments.inference.leapfrog import value_and_gradient
from experiments.inference.samples import Samples, concatenate
from experiments.inference.warmup_state import WarmupSettings
from tests.helpers import TARGETS
from tests.kernels import constant_step, interpreted_kernel, run

SEED = tf.constant([3, 5])
DENSITY = value_and_gradient(TARGETS["correlated normal"].log_prob)
SETTINGS = WarmupSettings(num_warmup=20, max_depth=5)
NUM = 12  # draws kept


def chunks(kernel, **options):
    options = dict(num_draws=NUM, seed=SEED, chunk_size=5) | options
    return list(drawing.chunks(kernel, SETTINGS, **options))


def kept(parts):
    return concatenate([p.samples for p in parts if p.warmup is not None], axis=1)


@pytest.fixture(scope="module")
def kernel():
    return interpreted_kernel(
        DENSITY, num_chains=3, dim=3, max_depth=5, dtype=tf.float64, jit_compile=False
    )


@pytest.fixture(scope="module")
def whole(kernel):
    return chunks(kernel)


def at_fixed_step(kernel, found, *, first_draw):
    """Draws from where a warm-up ended, with its step size and metric as they are."""
    scale = np.broadcast_to(found.scale, (3, 3))
    return run(
        kernel,
        starts.evaluate_start(kernel, found.position, scale=scale, seed=SEED),
        first_draw=first_draw,
        num_draws=NUM,
        step=constant_step(found.step_size, 3),
        scale=scale,
        seed=SEED,
    )[2].samples()


def test_adaptation_stops_with_the_warm_up(kernel, whole):
    """What is kept are draws with the step size and the metric found."""
    wanted = at_fixed_step(kernel, whole[-1].warmup, first_draw=20)
    for name, one, other in zip(Samples._fields, kept(whole), wanted, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)
    steps = [part.warmup.step_size for part in whole if part.warmup is not None]
    assert len(steps) == 3 and all(np.array_equal(s, steps[0]) for s in steps)


def test_kept_draws_share_no_random_numbers_with_those_of_warm_up(kernel, whole):
    found = whole[-1].warmup
    again = at_fixed_step(kernel, found, first_draw=0)
    # The first have one start, so that only their momenta part their energies.
    assert np.all(kept(whole).energy != again.energy)


def test_no_two_transitions_have_one_momentum(kernel, whole):
    """Of no chain and draw, of warm-up or behind it: their kinetic energies differ."""
    every = concatenate([part.samples for part in whole], axis=1)
    kinetic = every.energy[:, 1:] + every.log_prob[:, :-1]
    assert kinetic.shape == (3, 31) and np.all(kinetic > 0)
    # With momentum kept, two would be equal but for rounding.
    gaps = np.diff(np.sort(kinetic, axis=None))
    assert np.min(gaps) > 1e-9


def test_from_any_chunk_a_run_goes_on_without_a_draw_repeated_or_skipped(kernel, whole):
    everything = kept(whole)
    sizes = [part.samples.depth.shape[1] for part in whole]
    assert sizes[-3:] == [5, 5, 2] and sum(sizes) == 20 + NUM
    for number, part in itertools.islice(enumerate(whole), 1, len(whole) - 1, 2):
        rest = chunks(kernel, warmup_state=part.warmup_state, drawing=part.drawing)
        assert len(rest) == len(whole) - number - 1
        found = kept(rest)
        wanted = Samples(*(a[:, -found.depth.shape[1] :] for a in everything))
        for name, one, other in zip(Samples._fields, found, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, err_msg=name)
    finished = whole[-1]
    assert not chunks(
        kernel, warmup_state=finished.warmup_state, drawing=finished.drawing
    )
