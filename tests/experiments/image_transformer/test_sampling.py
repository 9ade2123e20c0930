"""Drawing one position at a time gives what computing everything anew gives."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from experiments.image_transformer import network, program, sampling
from experiments.image_transformer.network import Sizes
from experiments.training.model import initial_weight

SEED = tf.constant([3, -4])
SIZES = dict(
    height=4,
    width=5,
    layers=2,
    heads=2,
    hidden=16,
    key_size=8,
    value_size=12,
    filter_size=20,
    block=8,
    num_values=16,
)
DMOL = dict(likelihood="dmol", num_mixtures=4)
TWO_D = dict(attention="local_2d", block=(2, 3))
VARIANTS = {  # 60 positions, or 20 where a pixel is one
    "categorical": dict(),
    "categorical-three-layers": dict(block=6, layers=3),
    "categorical-of-1": dict(block=1),
    "categorical-two-blocks": dict(block=30),
    "categorical-one-block": dict(block=31),
    "categorical-sinusoidal": dict(block=7, positions="sinusoidal"),
    "categorical-bytes": dict(block=8, num_values=256),
    "categorical-2d": dict(**TWO_D),
    "categorical-2d-odd": dict(attention="local_2d", block=(3, 4), flange=(1, 2)),
    "dmol": dict(block=6, **DMOL),
    "dmol-three-layers": dict(block=5, layers=3, **DMOL),
    "dmol-of-1": dict(block=1, **DMOL),
    "dmol-two-blocks": dict(block=10, **DMOL),
    "dmol-one-block": dict(block=16, **DMOL),
    "dmol-one-layer": dict(block=3, layers=1, **DMOL),
    "dmol-2d": dict(**TWO_D, **DMOL),
    "dmol-2d-odd": dict(attention="local_2d", block=(3, 2), flange=(2, 1), **DMOL),
}
FAST = """
categorical categorical-one-block categorical-2d-odd
dmol-three-layers dmol-two-blocks dmol-2d-odd
""".split()  # both likelihoods and attentions, with blocks that divide and not
each_variant = pytest.mark.parametrize(
    "given",
    [
        pytest.param(given, id=name, marks=() if name in FAST else pytest.mark.slow)
        for name, given in VARIANTS.items()
    ],
)


def sizes_of(**given):
    return Sizes(**(SIZES | given))


@functools.cache
def weights_of(sizes):
    """Weights that attend sharply: a place that saw other places would draw others."""
    held = {}
    for name, weight in network.weights(sizes).items():
        louder = 8.0 if name.endswith(("query", "key", "outputs")) else 3.0
        if weight.mean:  # what scales normalised units
            louder = 1.0
        held[name] = tf.constant(initial_weight(weight, name, seed=5) * louder)
    return held


@functools.cache
def drawn(sizes, num_images=2, **options):
    return sampling.sample(weights_of(sizes), sizes, SEED, num_images, **options)


@functools.cache
def naive_step(sizes):
    """What one place draws, all outputs made anew; traced once for all tests."""

    @tf.function
    def step(weights, values, place, temperature):
        outputs = network.forward(sizes, weights, values)[:, place]
        random = program.rng_at(SEED, place)
        return program.sample_values(sizes, outputs, random, temperature)

    return step


def naive(sizes, num_images=2, temperature=1.0, prompt=None, prompt_positions=0):
    """All outputs anew for each position that is not given."""
    values = np.zeros((num_images, *positions_and_depth(sizes)), np.int32)
    if prompt is not None:
        values = network.to_generation_order(sizes, tf.constant(prompt)).numpy()
    for place in range(prompt_positions, values.shape[1]):
        values[:, place:] = 0
        values[:, place] = naive_step(sizes)(
            weights_of(sizes),
            tf.constant(values),
            tf.constant(place),
            tf.constant(temperature),
        )
    return network.to_image(sizes, tf.constant(values)).numpy()


def positions_and_depth(sizes):
    rows, columns, depth = network.position_shape(sizes)
    return rows * columns, depth


def in_order(sizes, images):
    return network.to_generation_order(sizes, tf.constant(images)).numpy()


def images_to_complete(sizes, num_images=2):
    shape = (num_images, sizes.height, sizes.width, 3)
    random = np.random.default_rng(8)
    return random.integers(0, sizes.num_values, shape, dtype=np.int32)


@each_variant
def test_every_value_is_the_naive_samplers(given):
    sizes = sizes_of(**given)
    expected = naive(sizes)
    assert len(np.unique(expected)) > 5
    np.testing.assert_array_equal(drawn(sizes), expected)


@pytest.mark.parametrize("given", [dict(), DMOL, TWO_D], ids=["cat", "dmol", "2d"])
def test_the_programs_own_draws_are_the_naive_samplers(given):
    sizes = sizes_of(**given)
    values = tf.function(program.sample_naively)(sizes, weights_of(sizes), 2, SEED)
    found = network.to_image(sizes, values).numpy()
    np.testing.assert_array_equal(found, drawn(sizes))


@each_variant
@pytest.mark.parametrize("share", [0.1, 0.65, 0.95])
def test_every_value_is_the_naive_samplers_where_some_are_given(given, share):
    sizes = sizes_of(**given)
    given, kept = images_to_complete(sizes), int(share * positions_and_depth(sizes)[0])
    found = sampling.sample(
        weights_of(sizes), sizes, SEED, 2, prompt=given, prompt_positions=kept
    )
    np.testing.assert_array_equal(
        in_order(sizes, found)[:, :kept], in_order(sizes, given)[:, :kept]
    )
    np.testing.assert_array_equal(
        found, naive(sizes, prompt=given, prompt_positions=kept)
    )


@pytest.mark.parametrize("given", [dict(), DMOL], ids=["categorical", "dmol"])
@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.7])
def test_every_value_is_the_naive_samplers_at_any_temperature(given, temperature):
    sizes = sizes_of(**given)
    found = drawn(sizes, temperature=temperature)
    np.testing.assert_array_equal(found, naive(sizes, temperature=temperature))
    assert (found != drawn(sizes)).any()


@pytest.mark.parametrize("given", [dict(), DMOL, TWO_D], ids=["cat", "dmol", "2d"])
@pytest.mark.parametrize("positions_per_call", [1, 7, 19])
def test_the_same_images_come_in_calls_of_any_length(given, positions_per_call):
    sizes = sizes_of(**given)
    found = drawn(sizes, positions_per_call=positions_per_call)
    np.testing.assert_array_equal(found, drawn(sizes))


@pytest.mark.parametrize("given", [dict(), DMOL, TWO_D], ids=["cat", "dmol", "2d"])
def test_a_drawing_that_stopped_anywhere_is_taken_up_to_the_same_images(given):
    sizes = sizes_of(**(dict(block=3) | given))
    stops = {}
    sampling.sample(
        weights_of(sizes),
        sizes,
        SEED,
        2,
        progress=stops.__setitem__,
        positions_per_call=1,
    )
    positions = positions_and_depth(sizes)[0]
    assert list(stops) == list(range(1, positions + 1))
    for done, images in stops.items():
        values = in_order(sizes, images)
        np.testing.assert_array_equal(
            values[:, :done], in_order(sizes, drawn(sizes))[:, :done]
        )
        assert not values[:, done:].any()
    for done in (1, 5, positions // 2, positions - 1, positions):
        resumed = sampling.sample(
            weights_of(sizes),
            sizes,
            SEED,
            2,
            prompt=stops[done],
            prompt_positions=done,
        )
        np.testing.assert_array_equal(resumed, drawn(sizes))


def test_progress_tells_the_positions_made_after_each_call():
    sizes = sizes_of()
    told = []
    options = dict(progress=lambda done, _: told.append(done), positions_per_call=25)
    sampling.sample(weights_of(sizes), sizes, SEED, 1, **options)
    assert told == [25, 50, 60]
    told.clear()
    given = dict(prompt=images_to_complete(sizes, 1), prompt_positions=31)
    sampling.sample(weights_of(sizes), sizes, SEED, 1, **given, **options)
    assert told == [56, 60]


def test_an_image_does_not_depend_on_those_drawn_beside_it():
    sizes = sizes_of()
    many = drawn(sizes, 5)
    np.testing.assert_array_equal(many[:2], drawn(sizes))
    assert len(np.unique(many.reshape(5, -1), axis=0)) == 5


def test_other_seeds_draw_other_images():
    sizes = sizes_of(**DMOL)
    other = sampling.sample(weights_of(sizes), sizes, tf.constant([3, -5]), 2)
    assert (other != drawn(sizes)).mean() > 0.3


def test_one_program_serves_all_calls():
    sizes = sizes_of(block=9)
    for options in (
        dict(positions_per_call=7),
        dict(positions_per_call=100, temperature=0.5),
        dict(prompt=images_to_complete(sizes), prompt_positions=11),
    ):
        sampling.sample(weights_of(sizes), sizes, SEED, 2, **options)
    assert sampling._loop(sizes).experimental_get_tracing_count() == 1


@pytest.mark.parametrize("given", [dict(block=4), dict(block=4, **DMOL)])
def test_the_cache_is_of_two_blocks_whatever_the_image(given):
    for height in (4, 40):
        sizes = sizes_of(**(given | dict(height=height)))
        for keys, values in sampling._empty_cache(sizes, weights_of(sizes), 3):
            assert keys.shape == (8, 3, 2, 4) and values.shape == (8, 3, 2, 6)


@pytest.mark.parametrize("given", [dict(block=4), dict(block=4, **DMOL)])
def test_what_is_given_is_read_back_no_further_than_the_layers_see(given):
    sizes = sizes_of(**(given | dict(height=40)))
    positions = positions_and_depth(sizes)[0]
    for kept in range(positions):
        first = sampling._first_step(sizes, kept)
        assert 0 <= kept - first < 4 * (sizes.layers + 1) and first % 4 == 0


def test_weights_of_16_bits_draw_too():
    sizes = sizes_of()
    half = {n: tf.cast(w, tf.bfloat16) for n, w in weights_of(sizes).items()}
    found = sampling.sample(half, sizes, SEED, 2)
    assert found.dtype == np.int32 and len(np.unique(found)) > 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(num_images=0), "num_images: given 0"),
        (dict(temperature=-0.1), "temperature: given -0.1"),
        (dict(temperature=float("nan")), "temperature: given nan"),
        (dict(positions_per_call=0), "positions_per_call: given 0"),
        (dict(prompt_positions=61), "prompt_positions: given 61, wanted 0 to the 60"),
        (dict(prompt_positions=-1), "prompt_positions: given -1"),
        (dict(prompt_positions=3), "prompt: None, wanted images"),
        (
            dict(prompt=np.zeros((1, 4, 5, 3), np.int32), prompt_positions=3),
            r"prompt: int32 of shape \(1, 4, 5, 3\), wanted integers of \(2, 4, 5, 3\)",
        ),
        (
            dict(prompt=np.zeros((2, 4, 5, 3)), prompt_positions=3),
            "prompt: float64 of shape",
        ),
        (
            dict(prompt=np.full((2, 4, 5, 3), 16), prompt_positions=3),
            "prompt: values from 16 to 16, wanted 0 to 15",
        ),
        (dict(seed=tf.constant(3)), "seed: given int32 of shape ()"),
        (dict(seed=[1.0, 2.0]), "seed: given float32"),
        (dict(sizes=sizes_of(block=0)), "block: given 0"),
        (dict(sizes=sizes_of(layers=3)), r"weights: without \['layer2/"),
        (dict(sizes=sizes_of(filter_size=9)), "weights: layer0/filter_in of shape"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, said):
    arguments = dict(sizes=sizes_of(), seed=SEED, num_images=2) | options
    with pytest.raises(ValueError, match=said):
        sampling.sample(weights_of(sizes_of()), **arguments)


def test_what_is_not_kept_of_given_images_may_be_anything():
    sizes = sizes_of()
    given = images_to_complete(sizes)
    given[:, 2:] = -1
    found = sampling.sample(
        weights_of(sizes), sizes, SEED, 2, prompt=given, prompt_positions=30
    )
    np.testing.assert_array_equal(found[:, :2], given[:, :2])
    assert found.min() >= 0
