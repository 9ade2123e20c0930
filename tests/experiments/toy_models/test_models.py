"""The toy models are what they say: densities that sum to one, work that is counted."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from experiments import toy_models
from experiments.toy_models import data
from experiments.toy_models.autoencoder import _pixel_nats as pixel_nats
from experiments.training.model import initial_weight
from experiments.training.prng import BatchRng

RANDOM = BatchRng(tf.constant([1, 2]), tf.constant(0))


def weights_of(model, seed=0, scale=1.0):
    return {
        name: tf.constant(initial_weight(weight, name, seed) * np.float32(scale))
        for name, weight in model.weights.items()
    }


def transformer(**given):
    sizes = dict(
        vocabulary=3, length=4, hidden=8, heads=2, filter_size=12, layers=2, dropout=0.0
    )
    return toy_models.transformer(**(sizes | given))


def test_the_transformer_gives_all_lines_together_probability_one():
    model = transformer()  # which it could not, were a token seen before its turn
    lines = np.array(list(itertools.product(range(3), repeat=4)), np.int32)
    nats, _ = model.loss(weights_of(model, scale=2.0), {"tokens": lines}, RANDOM)
    assert len(nats) == 81 and np.std(nats) > 0.1
    assert float(tf.reduce_sum(tf.exp(-nats))) == pytest.approx(1.0, abs=1e-5)


def test_dropout_changes_the_loss_and_is_of_the_seed():
    model = transformer(dropout=0.5)
    held, lines = weights_of(model), {"tokens": np.zeros((2, 4), np.int32)}
    first, again = (model.loss(held, lines, RANDOM)[0] for _ in range(2))
    other, _ = model.loss(held, lines, RANDOM._replace(seed=tf.constant([1, 3])))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).min() > 1e-3


def test_the_transformers_work_is_six_a_weight_and_token_and_its_attention():
    model = transformer(length=4, hidden=8, layers=2)
    parts = ("query", "key", "value", "out", "filter_in", "filter_out", "embedding")
    used = sum(
        math.prod(weight.shape)
        for name, weight in model.weights.items()
        if name.endswith(parts)
    )
    attention = 12 * 2 * 8 * 4  # 12 layers heads depth length, a token
    assert model.flops_per_example == 4 * (6 * used + attention)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: transformer(heads=3),
            "hidden: given 8, wanted a multiple of the 3 heads",
        ),
        (
            lambda: toy_models.vector_quantized(
                size=6, channels=1, num_codes=2, code_dim=1
            ),
            "size: given 6, wanted a multiple of 4",
        ),
    ],
)
def test_sizes_that_do_not_divide_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_data_of_another_size_than_the_models_are_refused():
    model = transformer()
    with pytest.raises(ValueError, match="tokens: given 5 a line, wanted 4"):
        model.loss(weights_of(model), {"tokens": np.zeros((2, 5), np.int32)}, RANDOM)
    model = toy_models.vector_quantized(size=8, channels=4, num_codes=4, code_dim=2)
    with pytest.raises(ValueError, match="image: given"):
        image = np.zeros((2, 4, 4, 3), np.int32)
        model.loss(weights_of(model), {"image": image}, RANDOM)


@pytest.mark.parametrize("log_scale", [-8.0, -2.0, 1.0])
def test_the_values_of_a_pixel_have_together_probability_one(log_scale):
    values = np.zeros((256, 1, 1, 3), np.int32)
    values[:, 0, 0, 0] = np.arange(256)
    means = np.float32(np.reshape([0.31, -0.9, 0.9], (1, 1, 1, 3)))
    nats = pixel_nats(
        tf.constant(values), tf.constant(means), tf.constant([log_scale] * 3)
    )
    others = pixel_nats(
        tf.zeros((1, 1, 1, 3), tf.int32), tf.constant(means), tf.fill([3], log_scale)
    ) - pixel_nats(
        tf.zeros((1, 1, 1, 1), tf.int32),
        tf.constant(means[..., :1]),
        tf.fill([1], log_scale),
    )
    total = float(tf.reduce_sum(tf.exp(others - nats)))
    assert total == pytest.approx(1.0, abs=1e-3)


def test_the_autoencoders_work_is_three_times_its_forward_products():
    model = toy_models.vector_quantized(size=8, channels=4, num_codes=16, code_dim=2)
    down = 4 * 4 * (4 * 4 * 3 * 4) + 2 * 2 * (4 * 4 * 4 * 4)
    codes = 2 * 2 * (4 * 16 + 16 * 2)
    up = 2 * 2 * (4 * 4 * 2 * 4) + 4 * 4 * (4 * 4 * 4 * 3)  # taps of each given place
    assert model.flops_per_example == 6 * (down + codes + up)


def test_codes_cost_nothing_when_they_are_uniform_and_all_of_it_when_sure():
    model = toy_models.vector_quantized(size=8, channels=4, num_codes=16, code_dim=2)
    batch = {"image": data.blob_images(size=8).make(np.random.default_rng(0))["image"]}
    batch["image"] = batch["image"][np.newaxis]
    weights = weights_of(model)
    _, told = model.loss(weights | {"codes": tf.zeros((4, 16))}, batch, RANDOM)
    assert float(told["codes"][0]) == pytest.approx(0.0, abs=1e-4)
    _, told = model.loss(weights | {"codes": 1e4 * weights["codes"]}, batch, RANDOM)
    assert float(told["codes"][0]) == pytest.approx(4 * math.log(16), rel=1e-3)


@pytest.mark.parametrize(
    "examples",
    [data.token_lines(length=9, vocabulary=20), data.blob_images(size=8)],
    ids=["token_lines", "blob_images"],
)
def test_an_example_is_the_same_whoever_makes_its_batch(examples):
    given = dict(seed=3, split=data.TRAINING, batch_size=4)
    whole = data.batches(examples, **given)(2)
    shares = [
        data.batches(examples, **given, process=i, num_processes=2)(2) for i in range(2)
    ]
    for name, array in whole.items():
        assert array.dtype == np.int32
        np.testing.assert_array_equal(
            array, np.concatenate([share[name] for share in shares])
        )


def test_no_two_examples_are_alike_and_none_is_in_both_splits():
    examples = data.token_lines(length=16, vocabulary=50)
    lines = [
        data.batches(examples, seed=seed, split=split, batch_size=8)(number)["tokens"]
        for seed in (0, 1)
        for split in (data.TRAINING, data.HELD_OUT)
        for number in (0, 1)
    ]
    assert len(np.unique(np.concatenate(lines), axis=0)) == 64


def test_a_batch_that_does_not_divide_over_processes_is_refused():
    with pytest.raises(
        ValueError, match="given 5, wanted a positive multiple of the 2 processes"
    ):
        data.batches(
            data.blob_images(size=8), seed=0, split=0, batch_size=5, num_processes=2
        )
