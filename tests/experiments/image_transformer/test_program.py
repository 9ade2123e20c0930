"""The program is a density of images: causal, whole, and the one it is said to be."""

import functools
import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import ppl_core as ppl
from experiments.image_transformer import Sizes, image_transformer, network, program
from experiments.image_transformer.program import image_given_weights
from experiments.training import prng, train_step
from experiments.training.engine import StepSettings
from experiments.training.model import initial_weight
from experiments.training.prng import BatchRng
from tests.experiments.image_transformer import plain
from tests.helpers import ALARM
from tests.programs import told_by

RANDOM = BatchRng(tf.constant([1, 2]), tf.constant(0))
SIZES = dict(
    height=3,
    width=4,
    layers=2,
    heads=2,
    hidden=12,
    key_size=8,
    value_size=6,
    filter_size=20,
    block=8,
)
TWO_D = dict(attention="local_2d", block=(2, 3))
VARIANTS = {  # lengths 36 and 12, 35 and 7: some divide by the block and some do not
    "categorical": dict(),
    "categorical-odd": dict(block=5),
    "categorical-one-block": dict(block=30),
    "categorical-of-1": dict(block=1),
    "categorical-sinusoidal": dict(positions="sinusoidal", block=7),
    "categorical-2d": TWO_D,
    "categorical-2d-odd": dict(attention="local_2d", block=(2, 5), flange=(1, 2)),
    "dmol": dict(likelihood="dmol", block=4),
    "dmol-odd": dict(likelihood="dmol", block=5, num_mixtures=3),
    "dmol-row": dict(likelihood="dmol", height=1, width=7, block=2),
    "dmol-2d": dict(likelihood="dmol", **TWO_D),
    "dmol-2d-odd": dict(
        likelihood="dmol", attention="local_2d", block=(2, 3), flange=(3, 1), height=5
    ),
    "dmol-sinusoidal": dict(likelihood="dmol", positions="sinusoidal", block=3),
}
FAST = """
categorical categorical-one-block categorical-of-1 categorical-2d-odd
dmol-odd dmol-row dmol-2d-odd dmol-sinusoidal
""".split()  # the others are between these
each_variant = pytest.mark.parametrize(
    "given",
    [
        pytest.param(given, id=name, marks=() if name in FAST else pytest.mark.slow)
        for name, given in VARIANTS.items()
    ],
)


def sizes_of(**given):
    return Sizes(**(SIZES | given))


def weights_of(sizes, scale=5.0, seed=0):
    """Large enough that everything has a say."""
    random = np.random.default_rng(seed)
    made = {}
    for name, weight in network.weights(sizes).items():
        value = initial_weight(weight, name, seed)
        if weight.stddev == 0.0:  # biases and scales too
            value = value + 0.3 * random.standard_normal(value.shape)
        else:
            value = value * (scale if name.startswith(("layer", "out")) else 1)
        made[name] = tf.constant(value, tf.float32)
    return made


def images_of(sizes, num, seed=1):
    random = np.random.default_rng(seed)
    shape = (num, sizes.height, sizes.width, 3)
    return random.integers(sizes.num_values, size=shape).astype(np.int32)


def in_order(sizes, weights, images):
    """Log probs of each position as they are generated: [images, positions]."""
    variable = image_given_weights(weights, sizes, 1, draw=lambda *_: no_values(sizes))
    return variable.distribution.position_log_probs(tf.convert_to_tensor(images))


def no_values(sizes):
    rows, columns, depth = network.position_shape(sizes)
    return tf.zeros((1, rows * columns, depth), tf.int32)


@each_variant
def test_log_probs_are_those_of_a_plain_model_under_one_mask(given):
    sizes = sizes_of(**given)
    weights = weights_of(sizes)
    images = images_of(sizes, 2)
    found = in_order(sizes, weights, images)
    wanted = [plain.log_probs(sizes, weights, image) for image in images]
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-4)
    nats, _ = program.model(sizes).loss(weights, {"image": images}, RANDOM)
    np.testing.assert_allclose(nats, -np.sum(wanted, -1), rtol=1e-4)


@each_variant
def test_a_sub_pixel_changes_no_log_prob_before_it(given):
    sizes = sizes_of(**given)
    weights = weights_of(sizes)
    (image,) = images_of(sizes, 1)
    order = plain.places(sizes)
    changed = []
    for row, column in order:
        other = image.copy()
        if sizes.likelihood == "dmol":
            other[row, column] = (other[row, column] + [101, 50, 7]) % 256
        else:
            other[row, column // 3, column % 3] += 101
        changed.append(other % 256)

    @tf.function(autograph=False)
    def compute(images):  # of one at a time: rounding is of a place in the batch
        return in_order(sizes, weights, images)[0]

    before = compute(image[np.newaxis]).numpy()
    for k, other in enumerate(changed):
        log_probs = compute(other[np.newaxis]).numpy()
        np.testing.assert_array_equal(log_probs[:k], before[:k], err_msg=str(k))
        assert log_probs[k] != before[k]
        moved = np.flatnonzero(np.abs(log_probs - before) > 1e-4)
        reach = min(k + 1, len(order) - 1)  # the next one is told of it
        assert reach in moved


@pytest.mark.parametrize(
    ("given", "levels"),
    [
        (dict(height=2, width=1, block=2), 3),
        (dict(height=2, width=1, block=4, positions="sinusoidal"), 3),
        (dict(height=2, width=1, attention="local_2d", block=(1, 2)), 3),
        (dict(height=1, width=3, attention="local_2d", block=(1, 4)), 2),
        (dict(height=1, width=2, block=1, likelihood="dmol"), 3),
        (dict(height=2, width=1, likelihood="dmol", **TWO_D), 3),
        (dict(height=3, width=1, block=1, likelihood="dmol"), 2),
    ],
)
def test_all_images_have_together_probability_one(given, levels):
    sizes = sizes_of(num_values=levels, **given)
    images = every_image(sizes)
    nats, _ = program.model(sizes).loss(weights_of(sizes), {"image": images}, RANDOM)
    assert np.std(nats) > 0.3
    total = np.exp(-nats.numpy().astype(float)).sum()
    assert total == pytest.approx(1.0, abs=2e-5)


def every_image(sizes):
    shape = (sizes.height, sizes.width, 3)
    count = int(np.prod(shape))
    values = itertools.product(range(sizes.num_values), repeat=count)
    return np.array(list(values), np.int32).reshape(-1, *shape)


@pytest.mark.parametrize("kind", ["categorical", "dmol"])
def test_the_log_joint_of_the_program_is_the_models_loss(kind):
    sizes = sizes_of(likelihood=kind)
    weights, images = weights_of(sizes), images_of(sizes, 3)
    nats, _ = program.model(sizes).loss(weights, {"image": images}, RANDOM)
    log_joint = ppl.make_log_joint_fn(image_given_weights)
    found = log_joint(weights, sizes, 3, image=images)
    assert float(found) == pytest.approx(-float(tf.reduce_sum(nats)), rel=1e-5)


@pytest.mark.parametrize("kind", ["categorical", "dmol"])
def test_the_program_adds_no_work_to_that_of_its_layers(kind):
    sizes = sizes_of(likelihood=kind)
    model, weights = program.model(sizes), weights_of(sizes)
    images = tf.constant(images_of(sizes, 2))

    def by_program(images):
        return -model.loss(weights, {"image": images}, RANDOM)[0]

    def by_hand(images):
        values = network.to_generation_order(sizes, images)
        outputs = network.forward(sizes, weights, values)
        if kind == "dmol":
            of = program.likelihood.MixtureOfLogistics(outputs)
            return tf.reduce_sum(of._log_prob(values), -1)
        values = values[..., 0]
        return -tf.reduce_sum(
            tf.nn.sparse_softmax_cross_entropy_with_logits(values, outputs), -1
        )

    def work(fn):
        graph = tf.function(fn, autograph=False).get_concrete_function(images).graph
        idle = ("Const", "Identity", "NoOp", "Neg", "Reshape", "Placeholder")
        made = sorted(op.type for op in graph.get_operations())
        return [kind for kind in made if kind not in idle]

    assert work(by_program) == work(by_hand)


@pytest.mark.parametrize(
    "given",
    [
        dict(num_values=2, height=1, width=1, block=2),
        dict(num_values=2, height=1, width=1, attention="local_2d", block=(1, 2)),
        dict(num_values=2, height=2, width=1, block=1, likelihood="dmol"),
    ],
    ids=["categorical", "2d", "dmol"],
)
def test_images_are_drawn_as_often_as_their_probability_says(given):
    sizes, num = sizes_of(**given), 20_000
    weights = weights_of(sizes, scale=2.0)
    images = every_image(sizes)
    nats, _ = program.model(sizes).loss(weights, {"image": images}, RANDOM)

    @tf.function(autograph=False)
    def draws():
        with ppl.seeded(tf.constant([3, 8])):
            return image_given_weights(weights, sizes, num).value

    made = draws()
    assert made.shape == (num, sizes.height, sizes.width, 3)
    flat = np.reshape(made, (num, -1))
    number = flat @ (2 ** np.arange(flat.shape[1])[::-1])
    counts = np.bincount(number, minlength=len(images))
    expected = np.exp(-nats.numpy().astype(float))
    expected *= num / expected.sum()
    assert expected.min() > 5
    assert stats.chisquare(counts, expected).pvalue > ALARM


def test_a_drawn_image_is_of_the_seed_and_its_number():
    sizes = sizes_of(height=2, width=2, block=4, likelihood="dmol", num_mixtures=2)
    weights = weights_of(sizes)
    naive = tf.function(
        functools.partial(program.sample_naively, sizes, weights), autograph=False
    )
    whole, part = (naive(n, tf.constant([3, 8])) for n in (4, 2))
    np.testing.assert_array_equal(whole[:2], part)
    assert len(np.unique(np.reshape(whole, (4, -1)), axis=0)) == 4
    other = naive(2, tf.constant([4, 8]))
    assert np.any(other.numpy() != part.numpy())


def test_a_program_draws_with_what_it_is_given():
    sizes = sizes_of(**TWO_D)
    rows, columns, depth = network.position_shape(sizes)
    values = tf.reshape(tf.range(rows * columns), (1, -1, depth))
    variable = image_given_weights({}, sizes, 1, draw=lambda *_: values)
    order = [divmod(int(p), columns) for p in network.blocks(sizes).order]
    image = variable.value.numpy().reshape(rows, columns)
    assert [image[place] for place in order] == list(range(rows * columns))
    np.testing.assert_array_equal(
        network.to_generation_order(sizes, variable.value), values
    )


def test_prior_predictive_draws_are_images():
    sizes = sizes_of(height=1, width=2, block=3, num_values=5)
    drawn = ppl.prior_predictive(
        image_given_weights, weights_of(sizes), sizes, 1, num_draws=6, seed=[1, 2]
    )["image"]
    assert drawn.shape == (6, 1, 1, 2, 3)
    assert 0 <= tf.reduce_min(drawn) and tf.reduce_max(drawn) <= 4
    assert len(np.unique(np.reshape(drawn, (6, -1)), axis=0)) > 3


def gradients_of(sizes, weights, images, **settings):
    found = train_step.loss_and_gradients(
        program.model(sizes),
        StepSettings(**settings),
        weights,
        {"image": tf.convert_to_tensor(images)},
        RANDOM,
        num_examples=images.shape[0],
        gradients=True,
    )
    return found.metrics["loss"], found.grads


@pytest.mark.parametrize("kind", ["categorical", "dmol"])
def test_recomputed_layers_have_the_same_gradients(kind):
    given = dict(likelihood=kind, dropout=0.3)
    weights = weights_of(sizes_of(**given))
    images = images_of(sizes_of(), 2)
    compute = tf.function(gradients_of, autograph=False)
    loss, kept = compute(sizes_of(**given), weights, images)
    again, recomputed = compute(sizes_of(recompute=True, **given), weights, images)
    assert float(loss) == pytest.approx(float(again), rel=1e-6)
    assert kept.keys() == weights.keys()
    for name, gradient in kept.items():
        np.testing.assert_allclose(
            gradient, recomputed[name], rtol=1e-4, atol=1e-4, err_msg=name
        )
        assert tf.reduce_max(tf.abs(gradient)) > 1e-4, name


def made_of(tensors):
    """Every operation that these come from."""
    made, found = set(), [tensor.op for tensor in tensors]
    while found:
        op = found.pop()
        if op not in made:
            made.add(op)
            found += [given.op for given in op.inputs]
    return made


def test_a_recomputed_layer_keeps_its_input_alone():
    def numbers_kept(layers, recompute):
        """Of what the loss is made of, that the gradient is made of too."""
        sizes = sizes_of(recompute=recompute, layers=layers, block=9)
        traced = tf.function(gradients_of, autograph=False).get_concrete_function(
            sizes, weights_of(sizes), images_of(sizes, 2)
        )
        forward = made_of(traced.outputs[:1])
        backward = made_of(traced.outputs) - forward
        return sum(
            output.shape.num_elements()
            for op in forward
            if op.type not in ("Placeholder", "Const")
            for output in op.outputs
            if backward.intersection(output.consumers())
        )

    def of_a_layer(recompute):
        return numbers_kept(3, recompute) - numbers_kept(2, recompute)

    assert of_a_layer(True) == 2 * 36 * 12  # batch, positions, hidden
    assert of_a_layer(False) > 10 * 2 * 36 * 12


@pytest.mark.parametrize("kind", ["categorical", "dmol"])
def test_gradients_are_what_small_changes_of_a_weight_do(kind):
    sizes = sizes_of(likelihood=kind)
    weights, images = weights_of(sizes, scale=2.0), images_of(sizes, 1)
    _, gradients = gradients_of(sizes, weights, images)
    random = np.random.default_rng(0)
    for name, weight in weights.items():
        towards = random.standard_normal(weight.shape)
        sides = []
        for step in (-1e-5, 1e-5):
            moved = {n: np.asarray(w, float) for n, w in weights.items()}
            moved[name] = moved[name] + step * towards
            sides.append(-plain.log_probs(sizes, moved, images[0]).sum())
        wanted = (sides[1] - sides[0]) / 2e-5
        found = np.sum(gradients[name] * towards)
        assert found == pytest.approx(wanted, rel=2e-3, abs=2e-2), name


@pytest.mark.parametrize("kind", ["categorical", "dmol"])
def test_bfloat16_is_close_to_float32(kind):
    sizes = sizes_of(likelihood=kind)
    weights, images = weights_of(sizes, scale=1.0), images_of(sizes, 4)
    loss, exact = gradients_of(sizes, weights, images)
    near, rounded = gradients_of(sizes, weights, images, compute_dtype="bfloat16")
    assert near.dtype == tf.float32
    assert float(near) == pytest.approx(float(loss), rel=5e-3)
    for name, gradient in exact.items():
        apart = tf.norm(gradient - rounded[name]) / tf.norm(gradient)
        assert apart < 0.15, name


def test_the_name_tells_dropout_rates_apart():
    names = [program.model(sizes_of(dropout=rate)).name for rate in (0.0, 0.1, 0.3)]
    assert len(set(names)) == 3 and "dropout" not in names[0]
    assert names[1].endswith(", dropout 0.1)")


def test_dropout_is_of_the_seed_and_only_where_asked_for():
    sizes = sizes_of(dropout=0.4)
    weights, images = weights_of(sizes), images_of(sizes, 2)
    loss = program.model(sizes).loss
    first, again = (loss(weights, {"image": images}, RANDOM)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = RANDOM._replace(seed=tf.constant([1, 3]))
    assert np.abs(first - loss(weights, {"image": images}, other)[0]).min() > 1e-3
    whole = -tf.reduce_sum(in_order(sizes, weights, images), -1)
    without = program.model(sizes._replace(dropout=0.0)).loss
    np.testing.assert_allclose(
        whole, without(weights, {"image": images}, RANDOM)[0], rtol=1e-6
    )


def test_units_are_dropped_before_each_addition_every_time_anew():
    sizes = sizes_of(dropout=0.4, block=9)  # no slot is without a position
    weights, images = weights_of(sizes), images_of(sizes, 2)

    def dropped(number, name, x):
        ones = tf.ones((1, *x.shape))
        of = BatchRng(RANDOM.seed, tf.constant(number))
        return x * prng.dropout(of, name, ones, 0.4)[0].numpy()

    wanted = [
        plain.log_probs(sizes, weights, image, functools.partial(dropped, number)).sum()
        for number, image in enumerate(images)
    ]
    nats, _ = program.model(sizes).loss(weights, {"image": images}, RANDOM)
    np.testing.assert_allclose(-nats, wanted, rtol=1e-4)


def test_half_of_a_sinusoidal_signal_is_the_rows_and_half_the_columns():
    sizes = sizes_of(positions="sinusoidal")
    rows, columns, _ = network.position_shape(sizes)
    every = np.arange(rows * columns)
    found = network.position_embedding(sizes, weights_of(sizes), every).numpy()
    found = found.reshape(rows, columns, 2, -1)
    assert (np.ptp(found[:, :, 0], axis=1) == 0).all()
    assert (np.ptp(found[:, :, 1], axis=0) == 0).all()
    assert len(np.unique(found.reshape(rows * columns, -1), axis=0)) == rows * columns


def test_work_is_six_a_weight_and_position_and_the_pairs_in_blocks():
    sizes = sizes_of(block=8)  # 36 positions: blocks of 8, 8, 8, 8 and 4
    weights = network.weights(sizes)
    products = ("query", "key", "value", "out", "filter_in", "filter_out", "outputs")
    used = sum(
        np.prod(weight.shape)
        for name, weight in weights.items()
        if name.split("/")[-1] in products
    )
    pairs = 8 * 8 + 3 * 8 * 16 + 4 * 12
    attended = 2 * pairs * (sizes.key_size + sizes.value_size)  # layers, multiply-adds
    assert program.model(sizes).flops_per_example == 6 * (36 * used + attended)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (dict(likelihood="normal"), "likelihood: given 'normal', wanted one of"),
        (dict(attention="full"), "attention: given 'full', wanted one of"),
        (dict(positions="none"), "positions: given 'none', wanted one of"),
        (dict(width=0), "width: given 0, wanted a whole number of at least 1"),
        (
            dict(num_values=1),
            "num_values: given 1, wanted a whole number of at least 2",
        ),
        (dict(key_size=9), "key_size: given 9, wanted a multiple of the 2 heads"),
        (dict(value_size=5), "value_size: given 5, wanted a multiple of the 2 heads"),
        (
            dict(positions="sinusoidal", hidden=10),
            "hidden: given 10, wanted a multiple of 4",
        ),
        (
            dict(dropout=1.0),
            "dropout: given 1.0, wanted a finite number at least 0 and below 1",
        ),
        (dict(block=0), "block: given 0, wanted a number of positions"),
        (dict(block=(2, 2)), r"block: given \(2, 2\), wanted a number of positions"),
        (dict(flange=(1, 1)), r"flange: given \(1, 1\), wanted None with local_1d"),
        (dict(attention="local_2d"), r"block: given 8, wanted a tuple \(rows, columns"),
        (dict(TWO_D, block=(0, 2)), r"block: given \(0, 2\), wanted a tuple"),
        (dict(TWO_D, flange=(-1, 2)), r"flange: given \(-1, 2\), wanted a tuple"),
    ],
)
def test_sizes_that_no_model_has_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        image_transformer(**(SIZES | given))


def test_images_of_another_size_than_the_models_are_refused():
    sizes = sizes_of()
    images = np.zeros((1, 4, 4, 3), np.int32)
    with pytest.raises(ValueError, match=r"image: given \[4, 4, 3\], wanted \[3, 4, 3"):
        program.model(sizes).loss(weights_of(sizes), {"image": images}, RANDOM)


MESHES = ("batch:1", "batch:2", "model:2")


@pytest.fixture(scope="module")
def losses():
    return told_by(Path(__file__).with_name("on_meshes.py"), *MESHES)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["categorical", "dmol"])
@pytest.mark.parametrize("mesh", MESHES[1:])
def test_losses_on_a_mesh_are_those_of_one_device(losses, kind, mesh):
    one = losses[f"{kind} batch:1"]
    assert losses[f"{kind} {mesh}"] == pytest.approx(one, rel=1e-5)
    assert one[-1] < 0.99 * one[0]
