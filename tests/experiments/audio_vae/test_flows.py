"""The distributed flow: its inverse, log determinants, orders and parts."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from experiments.audio_vae import block_network, network
from experiments.audio_vae.block_network import BlockNetwork
from experiments.audio_vae.flows import (
    DistributedAutoregressiveFlow,
    LogisticQuantile,
    Part,
    Sinh,
    SplitFlow,
)
from tests.experiments.audio_vae.small_audio import GRID, SMALL, weights_for

NAMES = ("prior", "decoder")


def length_of(sizes, name):
    return sizes.latents if name == "prior" else sizes.length


def noise_of(sizes, name, num=3, seed=1):
    random = np.random.default_rng(seed)
    shape = (num, length_of(sizes, name))
    return tf.constant(random.standard_normal(shape), tf.float32)


@pytest.fixture(scope="module")
def flow_of():
    weights = weights_for(SMALL)
    return lambda name: network.flow(weights, SMALL, name)


@pytest.fixture(scope="module")
def made(flow_of):
    """Noise and what the flow makes of it, once: the forward takes its time."""

    @functools.cache
    def of(name):
        noise = noise_of(SMALL, name)
        return noise, tf.function(flow_of(name).forward, autograph=False)(noise)

    return of


@pytest.mark.parametrize("name", NAMES)
def test_the_inverse_undoes_the_forward_which_changes_much(name, flow_of, made):
    noise, values = made(name)
    np.testing.assert_allclose(flow_of(name).inverse(values), noise, atol=2e-3)
    assert np.abs(values - noise).mean() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_both_log_determinants_are_those_of_the_whole_jacobian(name, flow_of):
    values = noise_of(SMALL, name, num=2, seed=2)
    flow = flow_of(name)
    with tf.GradientTape() as tape:
        tape.watch(values)
        inverted = flow.inverse(values)
    jacobian = tape.batch_jacobian(inverted, values)
    sign, wanted = np.linalg.slogdet(np.asarray(jacobian, np.float64))
    assert (sign == 1).all() and np.abs(wanted).max() > 1
    found = flow.inverse_log_det_jacobian(values)
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-3)


def test_the_forwards_log_determinant_is_the_other_with_its_sign(flow_of, made):
    noise, values = made("prior")
    flow = flow_of("prior")
    found = tf.function(flow.forward_log_det_jacobian, autograph=False)(noise)
    wanted = -flow.inverse_log_det_jacobian(values)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("name", "number"), [(n, i) for n in NAMES for i in range(3)])
def test_no_value_is_told_of_itself_or_of_what_comes_after(name, number, flow_of):
    """Perturbed one by one: shift and scale change after it, not at it or before."""
    flow = flow_of(name).flows[number]
    alone = DistributedAutoregressiveFlow([flow])
    length = length_of(SMALL, name)
    values = tf.repeat(noise_of(SMALL, name, num=1), length, 0)
    base = alone.inverse(values).numpy()
    moved = alone.inverse(values + 0.5 * tf.eye(length)).numpy()
    changed = moved != base  # [perturbed, seen]
    own = np.eye(length, dtype=bool)
    after = np.tri(length, k=-1, dtype=bool).T
    allowed = after.T if flow.backwards else after
    assert changed[own].all()
    assert not (changed & ~own & ~allowed).any()
    # Each but the last is seen by some that come after, across parts too.
    assert (changed & allowed).any(1).sum() == length - 1
    # Its own entry moves in proportion: shift and scale are not of it.
    further = alone.inverse(values + 1.0 * tf.eye(length)).numpy()
    np.testing.assert_allclose(
        (further - base)[own], 2 * (moved - base)[own], rtol=1e-3, atol=1e-5
    )


def test_rows_take_turns_in_order_so_that_both_neighbours_are_read():
    flows = network.flow(weights_for(GRID), GRID, "decoder").flows
    assert [len(flow.parts) for flow in flows] == [4] * 8 + [1]
    assert [flow.backwards for flow in flows] == [True, False] * 4 + [False]
    assert [flows[0].neighbour(c) for c in range(4)] == [1, 2, 3, None]
    assert [flows[1].neighbour(c) for c in range(4)] == [None, 0, 1, 2]


def test_two_consecutive_flows_share_a_core_and_the_last_has_its_own():
    flows = network.flow(weights_for(GRID), GRID, "decoder").flows
    cores = [[part.core for part in flow.parts] for flow in flows]
    assert cores[0] == cores[1] == [0, 1, 2, 3] and cores[6] == cores[7]
    assert cores[7] == [12, 13, 14, 15] and cores[8] == [16]


NETWORK = BlockNetwork(block_size=4, context_blocks=2, channels=5, context_channels=5)


def split(num_parts, *, backwards, same_weights=True, seed=3):
    """A flow of so many parts, each with the same weights or its own."""

    def part(number):
        random = np.random.default_rng([seed, 0 if same_weights else number])
        return Part(
            number,
            {
                name: tf.constant(
                    0.4 * random.standard_normal(weight.shape), tf.float32
                )
                for name, weight in block_network.weights(NETWORK).items()
            },
        )

    network = functools.partial(block_network.shift_and_log_scale, NETWORK)
    return SplitFlow(
        network, NETWORK.receptive_field, tuple(map(part, range(num_parts))), backwards
    )


@pytest.mark.parametrize("backwards", [False, True])
def test_four_parts_of_the_same_weights_are_one_that_was_never_cut(backwards):
    values = tf.constant(np.random.default_rng(4).standard_normal((2, 64)), tf.float32)
    cut, whole = (
        DistributedAutoregressiveFlow([split(num, backwards=backwards)])
        for num in (4, 1)
    )
    np.testing.assert_allclose(cut.inverse(values), whole.inverse(values), atol=1e-5)
    for one, other in ((cut, whole),):
        np.testing.assert_allclose(
            one.inverse_log_det_jacobian(values),
            other.inverse_log_det_jacobian(values),
            rtol=1e-5,
            atol=1e-5,
        )


@pytest.mark.parametrize("backwards", [False, True])
def test_a_part_reads_its_neighbours_edge_and_nothing_further(backwards):
    flow = DistributedAutoregressiveFlow(
        [split(4, backwards=backwards, same_weights=False)]
    )
    values = tf.repeat(
        tf.constant(np.random.default_rng(5).standard_normal((1, 64)), tf.float32),
        64,
        0,
    )
    changed = (
        flow.inverse(values + tf.eye(64)).numpy() != flow.inverse(values).numpy()
    ).reshape(64, 4, 16)
    for number in range(4):
        own = set(range(16 * number, 16 * number + 16))
        edge = set(range(16 * number - 8, 16 * number))
        if backwards:
            edge = set(range(16 * number + 16, 16 * number + 24))
        seen = set(np.flatnonzero(changed[:, number].any(1)))
        assert seen == own | (edge & set(range(64)))


def test_the_density_of_what_a_flow_makes_integrates_to_one():
    sizes = BlockNetwork(block_size=1, context_blocks=1, channels=4, context_channels=4)
    random = np.random.default_rng(6)
    flows = [
        SplitFlow(
            functools.partial(block_network.shift_and_log_scale, sizes),
            sizes.receptive_field,
            tuple(
                Part(
                    number,
                    {
                        name: tf.constant(
                            0.5 * random.standard_normal(weight.shape), tf.float32
                        )
                        for name, weight in block_network.weights(sizes).items()
                    },
                )
                for number in range(num)
            ),
            backwards,
        )
        for num, backwards in ((2, True), (2, False), (1, False))
    ]
    flow = DistributedAutoregressiveFlow(flows)
    axis = np.linspace(-60, 60, 801)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    values = tf.constant(grid, tf.float32)
    noise = flow.inverse(values).numpy().astype(np.float64)
    log_det = flow.inverse_log_det_jacobian(values).numpy()
    density = np.exp(stats.logistic.logpdf(noise).sum(-1) + log_det)
    assert density.sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=3e-3)


def test_the_quantile_is_scipys_and_far_values_stay_inside_the_interval():
    quantile = LogisticQuantile()
    u = np.array([1e-6, 0.1, 0.5, 0.9], np.float32)
    np.testing.assert_allclose(quantile.forward(u), stats.logistic.ppf(u), rtol=1e-5)
    y = np.array([-50.0, -3.0, 0.0, 4.0, 50.0, 1e5], np.float32)
    inside = quantile.inverse(y).numpy()
    assert (inside > 0).all() and (inside < 1).all()
    np.testing.assert_allclose(
        quantile.inverse_log_det_jacobian(y, event_ndims=0),
        stats.logistic.logpdf(y),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        quantile.forward_log_det_jacobian(u, event_ndims=0),
        -stats.logistic.logpdf(stats.logistic.ppf(u)),
        rtol=1e-4,
    )


def test_sinh_has_the_determinants_of_its_derivative():
    x = np.linspace(-9, 9, 7).astype(np.float32)
    y = np.sinh(x.astype(np.float64))
    bijector = Sinh()
    np.testing.assert_allclose(bijector.forward(x), y, rtol=1e-5)
    np.testing.assert_allclose(bijector.inverse(y.astype(np.float32)), x, rtol=1e-5)
    wanted = np.log(np.cosh(x.astype(np.float64)))
    for found, sign in (
        (bijector.forward_log_det_jacobian(x, event_ndims=0), 1),
        (bijector.inverse_log_det_jacobian(y.astype(np.float32), event_ndims=0), -1),
    ):
        np.testing.assert_allclose(found, sign * wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "said"),
    [((64,), "wanted \\[batch, length\\]"), ((2, 66), "66 does not divide into 4")],
)
def test_what_a_flow_cannot_take_is_refused(shape, said):
    flow = DistributedAutoregressiveFlow([split(4, backwards=False)])
    with pytest.raises(ValueError, match=said):
        flow.inverse(tf.zeros(shape))
