import numpy as np
import pytest
import tensorflow as tf

from experiments.engines import selection
from experiments.training import optimizers, topology
from experiments.training.engine import StepSettings
from experiments.training.model import Model, Weight


def run(optimizer, weight, grads):
    """Weights after each step, float32 by TensorFlow."""
    slots = {
        name: tf.zeros([weight.shape[axis] for axis in slot.axes])
        for name, slot in optimizer.slots(weight.shape).items()
    }
    value, after = tf.constant(weight), []
    for step, grad in enumerate(grads):
        value, slots = optimizer.update(
            tf.constant(float(step)), value, tf.constant(grad), slots
        )
        after.append(value.numpy())
    return after


def run_in_place(optimizer, weight, grads):
    """The same, of variables, in a compiled step as the engines have it."""
    slots = {
        name: tf.Variable(tf.zeros([weight.shape[axis] for axis in slot.axes]))
        for name, slot in optimizer.slots(weight.shape).items()
    }
    held, after = tf.Variable(weight), []

    @tf.function
    def step(number, grad):
        optimizer.apply_in_place(number, held, grad, slots)

    for number, grad in enumerate(grads):
        step(tf.constant(float(number)), tf.constant(grad))
        after.append(held.numpy())
    return after


def adam_by_hand(weight, grads, *, rate, beta1, beta2, epsilon):
    """Kingma and Ba (2015), algorithm 1, as it is printed; float64."""
    m = v = np.zeros(weight.shape)
    theta, after = weight.astype(np.float64), []
    for t, g in enumerate(grads, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        theta = theta - rate * m_hat / (np.sqrt(v_hat) + epsilon)
        after.append(theta)
    return after


def adafactor_by_hand(weight, grads, *, rate, relative):
    """Shazeer and Stern (2018), algorithm 4: sums of rows and columns; float64."""
    n, m = weight.shape
    row, column = np.zeros((n, 1)), np.zeros((1, m))
    x, after = weight.astype(np.float64), []
    for t, g in enumerate(grads, 1):
        beta = 1 - t**-0.8
        square = g.astype(np.float64) ** 2 + 1e-30
        row = beta * row + (1 - beta) * square @ np.ones((m, 1))
        column = beta * column + (1 - beta) * np.ones((1, n)) @ square
        second = row @ column / np.sum(row)
        u = g / np.sqrt(second)
        u = u / max(1.0, np.sqrt(np.mean(u**2)))
        alpha = rate * (max(1e-3, np.sqrt(np.mean(x**2))) if relative else 1.0)
        x = x - alpha * u
        after.append(x)
    return after


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    grads = rng.standard_normal((30, 5, 4)) * np.exp(rng.standard_normal((30, 1, 1)))
    return rng.standard_normal((5, 4)).astype(np.float32), grads.astype(np.float32)


# An epsilon that large makes it tell where it is added.
@pytest.mark.parametrize("epsilon", [1e-8, 0.1])
@pytest.mark.parametrize("way", [run, run_in_place])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0.98), (0.0, 0.99)])
def test_adam_is_the_papers(problem, betas, way, epsilon):
    weight, grads = problem
    names = dict(beta1=betas[0], beta2=betas[1], epsilon=epsilon)
    optimizer = optimizers.adam(optimizers.constant_schedule(0.01), **names)
    wanted = adam_by_hand(weight, grads, rate=0.01, **names)
    for found, exact in zip(way(optimizer, weight, grads), wanted, strict=True):
        # Half a step's rounding of a number near 1, thirty times over.
        np.testing.assert_allclose(found, exact, atol=2e-6)


@pytest.mark.parametrize("way", [run, run_in_place])
def test_adams_first_step_is_the_rate_to_six_digits(problem, way):
    weight, grads = problem
    (after,) = way(
        optimizers.adam(optimizers.constant_schedule(1.0)),
        np.zeros_like(weight),
        grads[:1],
    )
    np.testing.assert_allclose(after, -np.sign(grads[0]), rtol=1e-6)


@pytest.mark.parametrize("relative", [False, True])
def test_adafactor_is_the_papers(problem, relative):
    weight, grads = problem
    optimizer = optimizers.adafactor(
        optimizers.constant_schedule(0.02), relative_step=relative
    )
    wanted = adafactor_by_hand(weight, grads, rate=0.02, relative=relative)
    for found, exact in zip(run(optimizer, weight, grads), wanted, strict=True):
        np.testing.assert_allclose(found, exact, atol=3e-6)


def test_adafactor_keeps_rows_and_columns_of_the_last_two_axes_and_all_of_a_vector():
    slots = optimizers.adafactor(optimizers.constant_schedule(1.0)).slots
    assert slots((3, 4, 5)) == {
        "row": optimizers.Slot((0, 1)),
        "column": optimizers.Slot((0, 2)),
    }
    assert slots((7,)) == {"square": optimizers.Slot((0,))}


def test_adafactor_of_a_stack_of_matrices_scales_each_by_its_own_rows(problem):
    weight, grads = problem
    optimizer = optimizers.adafactor(
        optimizers.constant_schedule(0.02), clip_threshold=1e9
    )
    alone = [run(optimizer, weight, scale * grads) for scale in (1.0, 0.01)]
    both = run(
        optimizer,
        np.stack([weight, weight]),
        np.stack([grads, np.float32(0.01) * grads], 1),
    )
    for index in (0, 1):
        np.testing.assert_allclose(both[-1][index], alone[index][-1], atol=2e-6)


def rates(schedule, steps):
    return [float(schedule(tf.constant(float(step)))) for step in steps]


def test_constant_schedule_rises_to_its_peak_and_stays():
    found = rates(optimizers.constant_schedule(0.4, warmup_steps=4), [0, 1, 3, 100])
    np.testing.assert_allclose(found, [0.1, 0.2, 0.4, 0.4], rtol=1e-6)
    assert rates(optimizers.constant_schedule(0.4), [0]) == [pytest.approx(0.4)]


def test_inverse_sqrt_without_linear_warmup_is_flat_and_then_falls_as_a_root():
    schedule = optimizers.inverse_sqrt_schedule(
        0.2, warmup_steps=100, linear_warmup=False
    )
    found = rates(schedule, [0, 99, 399, 9999])
    np.testing.assert_allclose(found, [0.2, 0.2, 0.1, 0.02], rtol=1e-5)


def test_inverse_sqrt_schedule_is_equation_3_of_vaswani():
    hidden, warmup = 512, 4000
    schedule = optimizers.inverse_sqrt_schedule(
        (hidden * warmup) ** -0.5, warmup_steps=warmup
    )
    for step in (0, 10, 3999, 4000, 90_000):
        number = step + 1
        exact = hidden**-0.5 * min(number**-0.5, number * warmup**-1.5)
        (found,) = rates(schedule, [step])
        assert found == pytest.approx(exact, rel=1e-5)


def test_cosine_schedule_rises_and_falls_to_zero():
    schedule = optimizers.cosine_schedule(0.4, warmup_steps=10, num_steps=110)
    found = rates(schedule, [0, 4, 10, 35, 60, 110, 200])
    half = 0.5 * (1 + np.cos(np.pi / 4))
    np.testing.assert_allclose(
        found, [0.04, 0.2, 0.4, 0.4 * half, 0.2, 0, 0], rtol=1e-5, atol=1e-7
    )
    with pytest.raises(ValueError, match="warmup_steps: given 10 of 10 steps"):
        optimizers.cosine_schedule(0.4, warmup_steps=10, num_steps=10)


def test_a_number_is_a_constant_learning_rate():
    weight, grads = np.ones(3, np.float32), np.ones((2, 3), np.float32)
    for optimizer in (optimizers.adam, optimizers.adafactor):
        constant = optimizer(optimizers.constant_schedule(0.1))
        for one, two in zip(
            run(optimizer(0.1), weight, grads),
            run(constant, weight, grads),
            strict=True,
        ):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: optimizers.adam("0.1"), "learning_rate: given '0.1', wanted a finite"),
        (lambda: optimizers.adam(float("nan")), "learning_rate: given nan"),
        (lambda: optimizers.adam(-1.0), "given -1.0, wanted a finite number above 0"),
        (lambda: optimizers.adam(0), "learning_rate: given 0"),
        (lambda: optimizers.adam(None), "learning_rate: given None"),
        (lambda: optimizers.adam(True), "learning_rate: given True"),
        (
            lambda: optimizers.adam(0.1, beta1=1.0),
            "beta1: given 1.0, wanted .* below 1",
        ),
        (lambda: optimizers.adafactor(0.1, epsilon1=0), "epsilon1: given 0"),
        (
            lambda: optimizers.constant_schedule(0.1, warmup_steps=3.0),
            "warmup_steps: given 3.0, wanted a whole number of at least 0",
        ),
        (
            lambda: optimizers.inverse_sqrt_schedule(0.1, warmup_steps=0),
            "warmup_steps: given 0, wanted a whole number of at least 1",
        ),
        (
            lambda: StepSettings(ema_decay=1.0),
            "ema_decay: given 1.0, wanted .* number at least 0 and below 1 or None",
        ),
        (lambda: StepSettings(clip_norm="1"), "clip_norm: given '1'"),
        (lambda: StepSettings(num_microbatches=0), "num_microbatches: given 0"),
        (lambda: StepSettings(jit_compile="yes"), "jit_compile: given 'yes'"),
        (lambda: StepSettings(compute_dtype="int8"), "compute_dtype: given 'int8'"),
    ],
)
def test_settings_of_a_wrong_type_or_value_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


# Weights that begin later.

BEGIN = 5


def begun_late(weights, batch, random):
    """Of `late` nothing until it begins; of `early` always."""
    early = tf.reduce_sum((batch["x"] - weights["early"]) ** 2, -1)
    late = tf.reduce_sum((batch["x"] - weights["late"]) ** 2, -1)
    return early + batch["on"] * late, {}


@pytest.mark.parametrize("optimizer", [optimizers.adam, optimizers.adafactor])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_weights_that_begin_late_learn_as_if_training_began_then(
    optimizer, jit_compile
):
    schedule = optimizers.constant_schedule(0.1, warmup_steps=4)

    def trained(begins, first):
        model = Model(
            "late",
            {"early": Weight((3,), 1.0), "late": Weight((3,), 1.0)},
            begun_late,
            trainable_from=begins,
        )
        runtime = selection.make_engine(
            model,
            optimizer(schedule),
            topology.parse("batch:1"),
            StepSettings(ema_decay=0.99, jit_compile=jit_compile),
            device_type="CPU",
        )
        runtime.initialize(1)
        before = runtime.read_variables()
        for number in range(first, BEGIN + 6):
            x = np.random.default_rng(number).standard_normal((4, 3), np.float32)
            on = np.full(4, float(number >= BEGIN), np.float32)
            runtime.step({"x": x, "on": on}, number - first, 0)
            if number == BEGIN - 1:
                np.testing.assert_array_equal(
                    runtime.read_variables()["weights/late"], before["weights/late"]
                )
        return {n: a for n, a in runtime.read_variables().items() if "/late" in n}

    wanted = trained((), BEGIN)
    found = trained((("l.*", BEGIN),), 0)
    assert wanted.keys() == found.keys() and len(found) >= 3
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-7)
    # Counted from the first step of all they go elsewhere.
    otherwise = trained((), 0)["weights/late"]
    assert np.abs(otherwise - wanted["weights/late"]).max() > 0.01
