"""The programs of the vector-quantised autoencoder, and what is trained of them."""

import functools
import itertools
import re

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

import ppl_core as ppl
from experiments.image_transformer import program
from experiments.training import train_step
from experiments.training.engine import StepSettings
from experiments.training.model import initial_weight, subset
from experiments.training.prng import BatchRng
from experiments.vq_vae import network, quantizer, sampling
from experiments.vq_vae import program as vq_vae_program
from experiments.vq_vae.network import Sizes
from experiments.vq_vae.quantizer import Codebook

SIZES = Sizes(
    size=8,
    channels=6,
    strides=(2, 2),
    residual_layers=(0, 1),
    kernel_size=3,
    codes_per_position=3,
    num_mixtures=2,
    prior_layers=2,
    prior_heads=2,
    prior_hidden=8,
    prior_filter_size=8,
    prior_block=4,
)
CODEBOOK = Codebook(num_codes=5, code_dim=4, num_samples=3)
# So few codes and values that all of them can be gone through: 9 and 2 ** 12 images.
SMALL = SIZES._replace(
    size=2,
    strides=(2,),
    residual_layers=(0,),
    codes_per_position=2,
    likelihood="categorical",
    num_values=2,
    prior_block=2,
)
SMALL_CODEBOOK = CODEBOOK._replace(num_codes=3)


def arrays_of(sizes=SIZES, codebook=CODEBOOK, **state):
    """Weights and state, by name, as if some steps were done."""
    model = vq_vae_program.model(sizes, codebook)
    made = {
        n: initial_weight(w, n, 3) for n, w in (model.weights | model.state).items()
    }
    random = np.random.default_rng(1)
    made["codes"] = random.standard_normal(made["codes"].shape).astype(np.float32)
    # Priors and pixels that know something: at first all are nearly alike.
    for name in ("prior/outputs", "up0/filter"):
        made[name] = 10 * made[name]
    made["steps"] = np.float32(10)
    return {name: tf.constant(array) for name, array in (made | state).items()}


def images_of(num, sizes=SIZES):
    random = np.random.default_rng(2)
    shape = (num, sizes.size, sizes.size, 3)
    return tf.constant(random.integers(sizes.num_values, size=shape), tf.int32)


@functools.cache
def compiled(sizes, codebook, gradients):
    """Traced once for all tests that compute the same of other arrays."""

    @tf.function(autograph=False)
    def compute(arrays, images):
        return train_step.loss_and_gradients(
            vq_vae_program.model(sizes, codebook),
            StepSettings(),
            arrays,
            {"image": images},
            BatchRng(tf.constant([1, 2]), tf.constant(0), training=gradients),
            num_examples=images.shape[0],
            gradients=gradients,
        )

    return compute


def sums_of(sizes, codebook, arrays, images, *, gradients):
    """What a step is made of, of all of these images."""
    return compiled(sizes, codebook, gradients)(arrays, images)


def test_both_readings_of_the_paper_have_640_codes():
    paper = Sizes(size=64, channels=8)
    assert network.code_shape(paper) == (8, 8, 10)
    other = paper._replace(strides=(2, 2, 2, 2), codes_per_position=40)
    assert network.code_shape(other) == (4, 4, 40)
    for sizes in (paper, other):
        prior = network.prior_sizes(sizes, Codebook())
        assert prior.height * prior.width * prior.channels == 640
        assert (prior.layers, prior.attention, prior.num_values) == (6, "local_1d", 256)
    down = network.weights(paper, Codebook())
    assert down["down3/filter"].shape == (5, 5, 8, 8)
    assert down["encoded"].shape == (8, 10 * 512)


@pytest.mark.parametrize(
    ("kind", "strides", "shortcuts"),
    [  # each with each of the others
        ("dmol", (2, 2), False),
        ("dmol", (2, 4), True),
        ("categorical", (2, 2), True),
        ("categorical", (2, 4), False),
    ],
)
def test_shapes_go_down_to_codes_and_back(kind, strides, shortcuts):
    sizes = SIZES._replace(likelihood=kind, strides=strides, shortcuts=shortcuts)
    arrays, images = arrays_of(sizes), images_of(2)
    side = 8 // np.prod(strides)
    codes = vq_vae_program.codes_given_image(
        arrays, arrays["codes"], sizes, CODEBOOK, images
    )
    assert codes.value.shape == (2, side, side, 3)
    made = sampling.reconstruct(arrays, sizes, CODEBOOK, images)
    assert made.shape == images.shape and made.dtype == tf.int32
    assert 0 <= np.min(made) and np.max(made) <= 255


def test_the_value_of_the_variational_program_is_the_nearest_code():
    arrays, images = arrays_of(), images_of(2)
    vectors = network.encode(arrays, SIZES, CODEBOOK, images).numpy()
    codes = arrays["codes"].numpy()
    apart = ((vectors[..., np.newaxis, :] - codes) ** 2).sum(-1)
    found = vq_vae_program.codes_given_image(
        arrays, arrays["codes"], SIZES, CODEBOOK, images
    )
    np.testing.assert_array_equal(found.value, apart.argmin(-1))
    log_probs = found.distribution.log_prob(found.value)
    wanted = (-apart - special.logsumexp(-apart, -1, keepdims=True)).max(-1)
    np.testing.assert_allclose(log_probs, wanted, rtol=1e-3, atol=1e-4)


def every_code(arrays):
    """Of the few: all codes [9, 1, 1, 2], and the log probs of the prior, [9]."""
    codes = np.array(list(itertools.product(range(3), repeat=2)), np.int32)
    codes = tf.constant(codes.reshape(9, 1, 1, 2))
    of_codes = ppl.make_log_likelihood_fn(
        vq_vae_program.codes_prior, observed={"codes": codes}
    )
    return codes, of_codes(arrays, SMALL, SMALL_CODEBOOK, 9)["codes"].numpy()


def test_the_nats_of_an_image_bound_those_of_all_codes_together():
    arrays = arrays_of(SMALL, SMALL_CODEBOOK)
    codes, of_codes = every_code(arrays)
    assert special.logsumexp(of_codes) == pytest.approx(0, abs=1e-5)
    assert np.ptp(of_codes) > 0.1
    for number in range(3):
        image = images_of(3, SMALL)[number : number + 1]
        found = sums_of(SMALL, SMALL_CODEBOOK, arrays, image, gradients=False).metrics
        both = ppl.make_log_likelihood_fn(
            vq_vae_program.image_and_codes,
            observed={"image": tf.repeat(image, 9, 0), "codes": codes},
        )(arrays, arrays["codes"], SMALL, SMALL_CODEBOOK, 9)
        of_images = tf.reduce_sum(both["image"], (1, 2, 3)).numpy()
        np.testing.assert_allclose(both["codes"], of_codes, rtol=1e-5)
        each = of_images + of_codes  # of the image and each of the codes
        exact = -special.logsumexp(each)
        nearest = vq_vae_program.codes_given_image(
            arrays, arrays["codes"], SMALL, SMALL_CODEBOOK, image
        ).value.numpy()
        at = int(nearest.ravel() @ [3, 1])
        assert float(found["loss"]) == pytest.approx(-each[at], rel=1e-5)
        assert float(found["pixels"] + found["codes"]) == float(found["loss"])
        assert float(found["loss"]) > exact + 1e-3


def test_all_images_of_all_codes_have_probability_one():
    arrays = arrays_of(SMALL, SMALL_CODEBOOK)
    codes, of_codes = every_code(arrays)
    bits = np.array(list(itertools.product(range(2), repeat=12)), np.int32)
    images = bits.reshape(-1, 2, 2, 3)
    vectors = tf.gather(arrays["codes"], codes)
    logits = network.decode(arrays, SMALL, vectors)  # [9, 2, 2, 3, 2]
    chosen = tf.math.log_softmax(logits).numpy()[:, np.newaxis]
    of_images = np.take_along_axis(chosen, images[np.newaxis, ..., np.newaxis], -1)
    total = special.logsumexp(of_images.sum((2, 3, 4, 5)) + of_codes[:, np.newaxis])
    assert total == pytest.approx(0, abs=1e-4)


def test_shortcuts_are_linear_and_of_a_place_s_own_pixels():
    sizes = SIZES._replace(shortcuts=True)
    arrays, images = arrays_of(sizes), images_of(2)
    plain = {n: tf.zeros_like(a) if "filter" in n else a for n, a in arrays.items()}
    changed = images.numpy()
    changed[1, 5, 2, 0] ^= 255  # of the place at row 1, column 0
    one, two = (network.encode(plain, sizes, CODEBOOK, x) for x in (images, changed))
    moved = np.any(one != two, (-2, -1))
    assert moved[1, 1, 0] and moved.sum() == 1
    random = np.random.default_rng(0)
    vectors = np.float32(random.standard_normal((3, 2, 2, 3, 4)))
    once, twice, none = (
        network.decode(plain, sizes, tf.constant(x))
        for x in (vectors, 2 * vectors, 0 * vectors)
    )
    np.testing.assert_allclose(twice - once, once - none, atol=1e-4)
    vectors[1, 0, 1] += 1
    other = network.decode(plain, sizes, tf.constant(vectors))
    moved = np.any(other != once, -1)
    assert moved[1, :4, 4:].any() and not moved[1, 4:].any() and not moved[[0, 2]].any()


def test_cosines_go_back_to_what_they_were_made_of():
    codebook = Codebook(num_codes=5, code_dim=4096)
    sizes = SIZES._replace(
        shortcuts=True, codes_per_position=16, num_mixtures=1
    )  # 48 numbers
    arrays = arrays_of(sizes, codebook)
    arrays = {n: tf.zeros_like(a) if n[:3] == "enc" else a for n, a in arrays.items()}
    images = images_of(1)
    vectors = network.encode(arrays, sizes, codebook, images)
    found = network._inverse_cosines(arrays, sizes, vectors)
    wanted = images.numpy() / 127.5 - 1
    # Random rows of 4096 are at right angles but for 1 / 64.
    assert np.abs(found - wanted).max() < 0.5 * np.abs(wanted).max()
    assert np.corrcoef(np.ravel(found), np.ravel(wanted))[0, 1] > 0.99
    outputs = np.tensordot(wanted, network._as_means(sizes), 1)
    outputs = outputs + network._initial_outputs(1)
    likeliest = sampling.most_likely_pixels(sizes, tf.cast(outputs, tf.float32))
    np.testing.assert_array_equal(likeliest, images)


def test_before_the_prior_starts_all_codes_are_equally_likely():
    images = images_of(2)
    late = SIZES._replace(prior_start=11)
    arrays = arrays_of(late)
    before = sums_of(late, CODEBOOK, arrays, images, gradients=True)
    assert float(before.metrics["codes"]) == pytest.approx(12 * np.log(5), rel=1e-6)
    arrays["steps"] = tf.constant(11.0)
    after = sums_of(late, CODEBOOK, arrays, images, gradients=True)
    always = sums_of(SIZES, CODEBOOK, arrays, images, gradients=True)
    assert float(after.metrics["codes"]) == pytest.approx(
        float(always.metrics["codes"]), rel=1e-6
    )
    assert abs(float(after.metrics["codes"]) - 12 * np.log(5)) > 0.1
    for name, gradient in before.grads.items():
        np.testing.assert_allclose(
            after.grads[name], always.grads[name], rtol=1e-5, atol=1e-6
        )
        if name.startswith("prior/"):
            assert not np.any(gradient), name
            assert np.any(after.grads[name]), name
        else:  # whether the prior learns moves no other weight
            np.testing.assert_allclose(
                gradient, after.grads[name], rtol=1e-4, atol=1e-5, err_msg=name
            )


def test_the_priors_weights_and_no_others_are_told_to_begin_with_it():
    late = vq_vae_program.model(SIZES._replace(prior_start=11), CODEBOOK)
    ((pattern, step),) = late.trainable_from
    assert step == 11
    for name in late.weights:
        assert bool(re.fullmatch(pattern, name)) == name.startswith("prior/"), name
    assert vq_vae_program.model(SIZES, CODEBOOK).trainable_from == ()


def test_the_encoder_learns_by_pixels_and_by_commitment():
    images, arrays = images_of(2), arrays_of()
    norms = []
    for commitment in (0.0, 0.25):
        codebook = CODEBOOK._replace(commitment_cost=commitment)
        found = sums_of(SIZES, codebook, arrays, images, gradients=True)
        norms.append(found.grads["encoded"].numpy())
        total = sum(found.metrics[n] for n in ("pixels", "codes", "commitment"))
        assert float(found.metrics["loss"]) == pytest.approx(float(total), rel=1e-6)
    assert np.any(norms[0]) and np.any(norms[0] != norms[1])


def test_the_commitment_is_a_quarter_of_the_mean_square_times_all_sub_pixels():
    images, arrays = images_of(2), arrays_of()
    codebook = CODEBOOK._replace(
        num_samples=0
    )  # of the nearest codes, which draws are not in
    vectors = network.encode(arrays, SIZES, codebook, images).numpy()
    flat = vectors.reshape(2, -1, codebook.code_dim)
    table = np.asarray(arrays["codes"])
    squares = ((flat[:, :, np.newaxis] - table) ** 2).sum(-1)
    apart = (flat - table[squares.argmin(-1)]) ** 2
    held = codebook._replace(commitment_cost=0.25)
    found = sums_of(SIZES, held, arrays, images, gradients=False)
    wanted = images.shape[1] * images.shape[2] * 3 * 0.25 * apart.mean()
    assert float(found.metrics["commitment"]) == pytest.approx(wanted, rel=1e-4)
    # And it is what the encoder goes down by: a large one draws vectors to their codes.
    held = codebook._replace(commitment_cost=1e4)
    grads = sums_of(SIZES, held, arrays, images, gradients=True).grads
    rate = 1e-3 / np.sqrt(sum(np.sum(np.square(g)) for g in grads.values()))
    nearer = arrays | {n: arrays[n] - rate * g for n, g in grads.items()}
    before, after = (
        float(sums_of(SIZES, held, of, images, gradients=False).metrics["commitment"])
        for of in (arrays, nearer)
    )
    assert after < before


def test_training_decodes_the_mean_of_its_draws_and_counts_them():
    images, arrays = images_of(2), arrays_of()
    found = sums_of(SIZES, CODEBOOK, arrays, images, gradients=True)
    vectors = network.encode(arrays, SIZES, CODEBOOK, images)
    squares = quantizer.distances(tf.reshape(vectors, (-1, 4)), arrays["codes"])
    random = BatchRng(tf.constant([1, 2]), tf.constant(0))
    shares = quantizer.e_step(CODEBOOK, squares, 2, random)
    np.testing.assert_allclose(
        found.statistics["counts"], tf.reduce_sum(shares, 0), rtol=1e-5
    )
    assert np.any((np.array(shares) > 0.01) & (np.array(shares) < 0.99))
    means = tf.reshape(tf.matmul(shares, arrays["codes"]), vectors.shape)
    of_image = ppl.make_log_joint_fn(vq_vae_program.image_given_vectors)
    wanted = -float(of_image(arrays, SIZES, means, image=images)) / 2
    assert float(found.metrics["pixels"]) == pytest.approx(wanted, rel=1e-4)


def test_samples_are_the_priors_codes_one_after_another_decoded():
    arrays, seed = arrays_of(), tf.constant([4, 5])
    made = sampling.sample(arrays, SIZES, CODEBOOK, seed, 3)
    prior = network.prior_sizes(SIZES, CODEBOOK)
    own = subset(arrays, "prior")
    naive = tf.function(
        lambda: program.sample_naively(prior, own, 3, seed), autograph=False
    )()
    codes = tf.reshape(naive, (3, 2, 2, 3))
    assert len(np.unique(codes)) > 2
    outputs = network.decode(arrays, SIZES, tf.gather(arrays["codes"], codes))
    wanted = sampling.most_likely_pixels(SIZES, outputs).numpy()
    # Pixels that round the other way, as compiled arithmetic may, are one value off.
    assert np.abs(made - wanted).max() <= 1 and np.mean(made != wanted) < 0.01


def test_the_program_draws_codes_and_an_image_of_them():
    arrays = arrays_of()
    with ppl.tape() as variables, ppl.seeded([1, 2]):
        vq_vae_program.image_and_codes(arrays, arrays["codes"], SIZES, CODEBOOK, 2)
    assert variables["codes"].shape == (2, 2, 2, 3)
    assert variables["image"].shape == (2, 8, 8, 3)
    assert np.max(variables["codes"]) < 5 and np.max(variables["image"]) > 5


def test_operations_are_counted_for_the_paper_by_hand():
    sizes = Sizes(size=64, channels=128, num_mixtures=5, prior_start=1)
    down = 32**2 * 75 * 128 + 16**2 * 25 * 128**2 + 2 * 8**2 * 25 * 128**2
    up = 32**2 * 25 * 128 * 50 + 16**2 * 25 * 128**2 + 2 * 8**2 * 25 * 128**2
    residual = 4 * 8**2 * 10 * 128**2
    dense = 2 * 8**2 * 128 * 5120
    em = 3 * 640 * 256 * 512
    wanted = 6 * (down + up + residual + dense) + 2 * em
    assert network.flops(sizes, Codebook()) == wanted
    learned = sizes._replace(prior_start=0)
    prior = program.flops(network.prior_sizes(sizes, Codebook()))
    assert network.flops(learned, Codebook()) == wanted + prior
    linear = 8**2 * (2 * 10 * 19 * 512 + 128 * 64 * 50)
    beside = sizes._replace(shortcuts=True)
    assert network.flops(beside, Codebook()) == wanted + 6 * linear


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"size": 10},
            r"size: given 10 pixels, wanted a multiple of 4, .* strides \(2, 2\)",
        ),
        ({"likelihood": "normal"}, "likelihood: given 'normal', wanted one of"),
        ({"strides": ()}, "strides: given"),
        (
            {"residual_layers": (1,)},
            r"residual_layers: given \(1,\), wanted a number for each",
        ),
        (
            {"codes_per_position": 0},
            "codes_per_position: given 0, wanted a whole number of at least 1",
        ),
        ({"prior_start": -1}, "prior_start: given -1"),
        (
            {"prior_heads": 3},
            "prior_hidden: given 8, wanted twice a multiple of the 3 heads",
        ),
    ],
)
def test_what_no_model_can_be_made_of_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        vq_vae_program.model(SIZES._replace(**wrong), CODEBOOK)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"given \[2, 2, 3\], wanted \[8, 8, 3\]"):
        sums_of(SIZES, CODEBOOK, arrays_of(), images_of(1, SMALL), gradients=False)
