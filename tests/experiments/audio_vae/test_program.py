"""The programs of sound, the bound, and what of it a training step computes."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import ppl_core as ppl
from experiments.audio_vae import network, program, resampling
from experiments.audio_vae.network import Sizes
from experiments.training.model import initial_weight
from experiments.training.prng import BatchRng
from tests.experiments.audio_vae.small_audio import SMALL, loud_clips, weights_for

RANDOM = BatchRng(tf.constant([3, 4]), tf.constant(0))


@pytest.fixture(scope="module")
def weights():
    return weights_for(SMALL)


def first_weights(sizes):
    """As training begins."""
    return {
        name: tf.constant(initial_weight(weight, name, 0))
        for name, weight in network.weights(sizes).items()
    }


def bits_at_first(sizes, clips):
    parts = program.negative_elbo(
        first_weights(sizes), sizes, tf.constant(clips), RANDOM
    )
    return np.asarray(tf.add_n(list(parts.values()))) / np.log(2) / sizes.length


def test_the_model_is_a_latent_and_audio_given_it(weights):
    clips = loud_clips(SMALL, 2) / program.FULL_SCALE
    with ppl.tape() as made, ppl.condition(z=np.zeros((2, 32)), audio=clips):
        program.latents_and_audio(weights, SMALL, 2)
    assert list(made) == ["z", "audio"]
    assert [tuple(v.shape) for v in made.values()] == [(2, 32), (2, 64)]
    assert [tuple(v.log_prob().shape) for v in made.values()] == [(2,), (2,)]


def test_the_prior_begins_as_independent_logistic_noise():
    z = np.random.default_rng(0).standard_normal((3, SMALL.latents))
    with ppl.condition(z=z):
        made = program.prior(first_weights(SMALL), SMALL, 3)
    wanted = stats.logistic.logpdf(z, scale=program.LOGISTIC_SCALE).sum(-1)
    np.testing.assert_allclose(made.log_prob(), wanted, rtol=1e-5)


def test_the_latents_move_the_audios_density_and_it_is_of_the_affine_shift(weights):
    """By the pieces: noise, its shift and scale by upsampled z, the tail, the flow."""
    clips = (loud_clips(SMALL, 2) / program.FULL_SCALE).astype(np.float32)
    z = np.random.default_rng(1).standard_normal((2, 32)).astype(np.float32)
    with ppl.condition(audio=clips):
        found = program.decoder(weights, SMALL, tf.constant(z)).log_prob()
        other = program.decoder(weights, SMALL, tf.constant(1 - z)).log_prob()
    flow = network.flow(weights, SMALL, "decoder")
    noise = np.asarray(flow.inverse(tf.constant(clips)), np.float64)
    log_det = np.asarray(flow.inverse_log_det_jacobian(tf.constant(clips)))
    shift, log_scale = (
        np.asarray(x, np.float64) for x in resampling.upsample(weights, tf.constant(z))
    )
    tail = float(weights["decoder/tail"][0])
    stretched = np.arcsinh(noise) / np.exp(tail)
    wanted = stats.logistic.logpdf(stretched, shift, np.exp(log_scale))
    wanted -= 0.5 * np.log1p(noise**2) + tail
    np.testing.assert_allclose(found, wanted.sum(-1) + log_det, rtol=1e-4)
    assert np.abs(np.asarray(found) - np.asarray(other)).min() > 1e-2


def test_the_bound_is_the_dequantized_density_and_the_latents_divergence(weights):
    clips = tf.constant(loud_clips(SMALL, 3))
    parts = program.negative_elbo(weights, SMALL, clips, RANDOM)
    heard = program.dequantize(clips, RANDOM)
    z = program.encoder(weights, heard, program.latent_sampler(RANDOM))
    with ppl.condition(z=z.value):
        prior = program.prior(weights, SMALL, 3).log_prob()
    with ppl.condition(audio=heard):
        given = program.decoder(weights, SMALL, z.value).log_prob()
    entropy = stats.norm.entropy(scale=z.distribution.stddev().numpy()).sum(-1)
    np.testing.assert_allclose(parts["latents"], -prior - entropy, rtol=1e-4)
    # A density of full scale is one of steps, by the number of steps in full scale.
    wanted = -np.asarray(given, np.float64) + SMALL.length * np.log(2**15)
    np.testing.assert_allclose(parts["reconstruction"], wanted, rtol=1e-4)


def test_each_sample_is_anywhere_in_its_step():
    clips = tf.constant(loud_clips(SMALL, 50))
    found = (
        program.dequantize(clips, RANDOM).numpy() * program.FULL_SCALE - clips.numpy()
    )
    assert np.abs(found).max() <= 0.5 and found.min() < -0.49 and found.max() > 0.49
    assert abs(found.mean()) < 0.03  # of 3,200 draws: six deviations


def test_a_latent_has_eight_bits_at_most_of_its_range(weights):
    heavy = {n: 1e4 * w if "compressor/out" in n else w for n, w in weights.items()}
    clips = (loud_clips(SMALL, 2) / program.FULL_SCALE).astype(np.float32)
    made = program.encoder(heavy, tf.constant(clips), lambda mean, _: mean)
    mean, deviation = made.value.numpy(), made.distribution.stddev().numpy()
    limit = resampling.LATENT_LIMIT
    assert np.abs(mean).max() <= limit and np.abs(mean).max() > 0.99 * limit
    # Of which there are, by entropy, 256 in the range: and as narrow as that they are.
    narrowest = 2 * limit / (deviation.min() * np.sqrt(2 * np.pi * np.e))
    assert 235 < narrowest <= 256 * (1 + 1e-5)


def test_a_training_step_has_no_loop_over_time(weights):
    model = program.model(SMALL)

    @tf.function(autograph=False)
    def gradients(weights, clips):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            nats, _ = model.loss(weights, {"audio": clips}, RANDOM)
        return tape.gradient(nats, weights)

    def ops(function, *arguments):
        graph = function.get_concrete_function(*arguments).graph.as_graph_def()
        nodes = list(graph.node)
        for inner in graph.library.function:
            nodes += inner.node_def
        return [node.op for node in nodes]

    found = ops(gradients, weights, tf.constant(loud_clips(SMALL, 2)))
    assert len(found) > 500 and not [op for op in found if "While" in op]
    flow = network.flow(weights, SMALL, "prior")
    serial = tf.function(flow.forward, autograph=False)
    assert [op for op in ops(serial, tf.zeros((1, 32))) if "While" in op]


def test_every_weight_has_a_gradient(weights):
    model = program.model(SMALL)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        nats, numbers = model.loss(
            weights, {"audio": tf.constant(loud_clips(SMALL, 4))}, RANDOM
        )
    assert nats.shape == (4,) and set(numbers) == {"latent_nats"}
    for name, gradient in tape.gradient(nats, weights).items():
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, name


def test_before_training_a_line_through_the_past_is_foretold_almost_as_well_as_can_be():
    """Of an autoregressive process, whose entropy is that of what drives it."""
    sizes = Sizes(
        channels=4, context_channels=4, compressor_channels=8, prior_channels=4
    )
    random = np.random.default_rng(2)
    driven = 100 * random.standard_normal((2, sizes.length + 200))
    sound = np.zeros_like(driven)
    for n in range(2, driven.shape[1]):
        sound[:, n] = 1.8 * sound[:, n - 1] - 0.9 * sound[:, n - 2] + driven[:, n]
    found = bits_at_first(sizes, sound[:, 200:].round().astype(np.int32))
    entropy = np.log2(100 * np.sqrt(2 * np.pi * np.e))  # 8.7; of the values, 12.6
    assert (entropy - 0.05 < found).all() and (found < entropy + 0.45).all()


@pytest.mark.parametrize("kind", ["silent", "one value", "clipped", "burst"])
def test_odd_sounds_have_a_finite_loss_and_gradient(kind):
    clips = np.zeros((1, SMALL.length), np.int32)
    if kind == "one value":
        clips[:] = 12345
    elif kind == "clipped":
        clips[:, ::2], clips[:, 1::2] = 2**15 - 1, -(2**15)
    elif kind == "burst":
        clips[:, 40:] = 30000
    weights, model = first_weights(SMALL), program.model(SMALL)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        nats, _ = model.loss(weights, {"audio": tf.constant(clips)}, RANDOM)
    bits = float(nats[0]) / np.log(2) / SMALL.length
    assert 0 < bits < 16
    if kind == "silent":
        assert bits < 5
    assert all(np.isfinite(g).all() for g in tape.gradient(nats, weights).values())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"length": 100}, "length: given 100, wanted a multiple of 16"),
        ({"length": 72, "refit_every": 9}, "length: given 72, wanted a multiple of 16"),
        ({"refit_every": 12}, "wanted a multiple of 12: samples in blocks of 12"),
        ({"num_flows": 3}, "num_flows: given 3, wanted an even number"),
        ({"context_blocks": 5}, "at most the 16 latents of a part"),
        ({"channels": 0}, "channels: given 0"),
        (
            {"linear_predictors": ()},
            "linear_predictors: given \\(\\), wanted one or more",
        ),
        (
            {"linear_predictors": ((4, 0.0),)},
            "wanted one or more, each of an order from 1",
        ),
    ],
)
def test_sizes_that_do_not_fit_each_other_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        program.model(SMALL._replace(**change))


@pytest.mark.parametrize(
    "clips", [np.zeros((2, 63), np.int32), np.zeros((2, 64), np.float32)]
)
def test_clips_of_another_kind_are_refused(clips, weights):
    with pytest.raises(ValueError, match=r"audio: given .*wanted integers of 16 bits"):
        program.model(SMALL).loss(weights, {"audio": tf.constant(clips)}, RANDOM)


def test_a_steps_flops_are_those_of_its_products_with_weights():
    # By hand: the prior's 3 flows of 32, the decoder's 2 of 64, multiply-adds a value.
    prior = 4 * 4 + 4 * 4 + 4 * 2 + (8 * 3 + 3 * 4 + 3 * 4) / 4
    row = 4 * 6 + 6 * 6 + 6 * 2 + (8 * 5 + 5 * 6 + 5 * 4) / 4
    whole = (32 + 2 + 2 * 3) * 6 + 6 * 6 + 6 * 2 + (6 * 5 + 5 * 6) / 8
    coders = 4 * (48 * 6 + 6 * 6 + 6 * 16) + 4 * (24 * 6 + 6 * 6 + 6 * 32)
    wanted = 6 * (3 * 32 * prior + 2 * 64 * row + 64 * whole + coders)
    assert network.flops(SMALL) == wanted
