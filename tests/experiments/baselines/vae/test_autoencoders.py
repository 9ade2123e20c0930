"""The autoencoders by hand are the same functions, with the same gradients."""

import numpy as np
import pytest
import tensorflow as tf

from experiments import audio_vae, vq_vae
from experiments.audio_vae import program as audio_program
from experiments.baselines.vae import audio_vae_tf
from experiments.baselines.vae import vq_vae_tf as by_hand
from experiments.bench import models
from experiments.training.model import initial_weight
from experiments.training.prng import BatchRng
from experiments.training.train_step import step_seed
from experiments.vq_vae import program as vq_vae_program

SEED, BATCH = 4, 2
CODEBOOK = vq_vae.Codebook(num_codes=8, code_dim=6, num_samples=4)
IMAGES = vq_vae.Sizes(
    size=8,
    channels=6,
    strides=(2, 1),
    residual_layers=(1, 1),
    kernel_size=3,
    codes_per_position=3,
    num_mixtures=2,
    prior_layers=1,
    prior_heads=2,
    prior_hidden=8,
    prior_filter_size=8,
    prior_block=18,  # of 48 codes: the last block is not full
)
CLIPS = audio_vae.Sizes(
    length=64,
    num_flows=2,
    num_splits=2,
    block_size=4,
    context_blocks=2,
    channels=6,
    context_channels=5,
    prior_channels=4,
    prior_context_channels=3,
    compressor_channels=6,
    refit_every=16,
    linear_predictors=((4, 0.6), (6, 0.8)),
)


def noisy(named, size=0.1):
    """Weights as training begins, and something added so that none is idle."""
    made = {}
    for name, weight in named.items():
        random = np.random.default_rng([SEED, len(made)])
        noise = size * random.standard_normal(weight.shape, np.float32)
        made[name] = tf.constant(initial_weight(weight, name, SEED) + noise)
    return made


def dense(grads):
    return {name: tf.convert_to_tensor(grad) for name, grad in grads.items()}


def pictures():
    random = np.random.default_rng(2)
    images = random.integers(0, 256, (BATCH, 8, 8, 3), np.int32)
    images[:, 0], images[:, 1] = 0, 255
    return tf.constant(images)


def state_after(steps):
    """A codebook in the midst of training: in use, one of its codes dead."""
    random = np.random.default_rng(5)
    counts = random.uniform(1, 9, CODEBOOK.num_codes).astype(np.float32)
    codes = 0.5 * random.standard_normal(
        (CODEBOOK.num_codes, CODEBOOK.code_dim)
    ).astype(np.float32)
    usage = np.full(CODEBOOK.num_codes, 1 / CODEBOOK.num_codes, np.float32)
    usage[3] = 0.0
    made = {
        "codes": codes,
        "counts": counts,
        "sums": codes * counts[:, np.newaxis],
        "usage": usage,
        "age": np.full(CODEBOOK.num_codes, 500.0, np.float32),
        "steps": np.float32(steps),
    }
    return {name: tf.constant(value) for name, value in made.items()}


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 300),
        ({"shortcuts": True}, 0),
        ({"likelihood": "categorical", "prior_start": 301}, 300),
    ],
)
def test_images_by_hand_have_our_loss_gradients_and_codebook(changes, steps):
    sizes = IMAGES._replace(**changes)
    model = vq_vae_program.model(sizes, CODEBOOK)
    weights, state, image = noisy(model.weights), state_after(steps), pictures()
    seed = step_seed(SEED, 0)
    random = BatchRng(tf.constant(seed), tf.constant(0), num_examples=BATCH)
    drawn = models.SUBJECTS["vq_vae"].random_numbers(
        {**sizes._asdict(), **CODEBOOK._asdict()}, SEED, BATCH
    )(0)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        nats, numbers, found = model.loss(
            {**weights, **state}, {"image": image}, random
        )
        wanted = tf.reduce_mean(nats)
    wanted_grads = dense(tape.gradient(wanted, weights, unconnected_gradients="zero"))
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss, made = by_hand.loss_of(
            sizes, CODEBOOK, weights, state, image, drawn["uniform"], drawn["chosen"]
        )
    grads = dense(tape.gradient(loss, weights, unconnected_gradients="zero"))
    np.testing.assert_allclose(loss, wanted, rtol=1e-6)
    for name, grad in wanted_grads.items():
        size = np.abs(grad).max()
        np.testing.assert_allclose(grads[name], grad, atol=1e-4 * size + 1e-6)
    moved = [name for name, grad in grads.items() if np.abs(grad).max() > 0]
    assert len(moved) == len(grads) or sizes.prior_start

    after = model.update_state(state, found)
    assert made.keys() == after.keys()
    for name, value in after.items():
        np.testing.assert_allclose(made[name], value, rtol=1e-5, atol=1e-6)
    begun_anew = after["age"].numpy() == 0
    assert begun_anew[3] and begun_anew.sum() == (1 if steps else CODEBOOK.num_codes)


def test_clips_by_hand_have_our_bound_and_gradients():
    model = audio_program.model(CLIPS)
    weights = noisy(model.weights)
    random = np.random.default_rng(3)
    sound = 4000 * np.sin(0.3 * np.arange(CLIPS.length)) + 200 * random.standard_normal(
        (BATCH, CLIPS.length)
    )
    clips = tf.constant(sound.astype(np.int32))
    drawn = models.SUBJECTS["audio_vae"].random_numbers(CLIPS._asdict(), SEED, BATCH)(0)
    given = BatchRng(tf.constant(step_seed(SEED, 0)), tf.constant(0))
    with tf.GradientTape() as tape:
        tape.watch(weights)
        wanted, _ = model.loss(weights, {"audio": clips}, given)
    wanted_grads = tape.gradient(wanted, weights)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        nats = audio_vae_tf.nats(
            weights, CLIPS, clips, tf.constant(drawn["dequantization"]), drawn["noise"]
        )
    grads = tape.gradient(nats, weights)
    np.testing.assert_allclose(nats, wanted, rtol=1e-5)
    for name, grad in wanted_grads.items():
        size = np.abs(grad).max()
        assert size > 0, name
        np.testing.assert_allclose(grads[name], grad, atol=1e-3 * size, err_msg=name)


@pytest.mark.parametrize(
    ("changes", "codebook", "said"),
    [
        ({}, {"num_samples": 0}, "num_samples: given 0, wanted 1 or more"),
        ({"prior_block": 30}, {}, "prior_block: given 30, wanted two blocks"),
    ],
)
@pytest.mark.parametrize("system", ["vq_vae_tf", "vq_vae_flax"])
def test_what_it_is_not_written_for_is_an_error(system, changes, codebook, said):
    system = pytest.importorskip(f"experiments.baselines.vae.{system}")
    with pytest.raises(ValueError, match=said):
        system.check(IMAGES._replace(**changes), CODEBOOK._replace(**codebook))


def test_flax_wants_a_prior_that_learns_at_once():
    vq_vae_flax = pytest.importorskip("experiments.baselines.vae.vq_vae_flax")
    with pytest.raises(ValueError, match="a prior from step 7, wanted"):
        vq_vae_flax.check(IMAGES._replace(prior_start=7), CODEBOOK)
