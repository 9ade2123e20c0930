"""A model's state: advanced by sums over the whole batch, kept, and nobody's weight."""

import numpy as np
import pytest
import tensorflow as tf

from experiments.bench import counting
from experiments.engines import selection
from experiments.training import optimizers, topology
from experiments.training.engine import StepSettings
from experiments.training.model import Model, Weight
from tests.experiments.bench import graph_counts

ONE = topology.parse("batch:1")
RATE = 0.5


def loss(weights, batch, random):
    """Half the squares from `w`, and their sums; `mean` is what x had been before."""
    apart = batch["x"] - weights["w"]
    nats = 0.5 * tf.reduce_sum(apart * apart, -1)
    found = {
        "total": tf.reduce_sum(batch["x"], 0),
        "count": tf.cast(tf.shape(apart)[0], tf.float32),
    }
    told = {"before": tf.fill(nats.shape, weights["mean"][0])}
    assert random.num_examples == 8
    return nats, told, found


def advance(state, found):
    mean = found["total"] / found["count"]
    return {"mean": mean, "steps": state["steps"] + 1}


MODEL = Model(
    "mean",
    {"w": Weight((3,), mean=2.0)},
    loss,
    state={"mean": Weight((3,), mean=-1.0), "steps": Weight(())},
    update_state=advance,
)
SGD = optimizers.Optimizer(
    slots=lambda shape: {},
    update=lambda step, weight, grad, slots: (weight - RATE * grad, {}),
)
ADAM = optimizers.adam(optimizers.constant_schedule(0.1))  # whose kernel works in place


def batch(number):
    random = np.random.default_rng(number)
    return {"x": random.standard_normal((8, 3)).astype(np.float32)}


def made(optimizer=SGD, model=MODEL, mesh=ONE, **settings):
    settings = StepSettings(ema_decay=0.5, **settings)
    runtime = selection.make_engine(model, optimizer, mesh, settings, device_type="CPU")
    runtime.initialize(1)
    return runtime


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
@pytest.mark.parametrize(
    "settings", [{}, {"num_microbatches": 4}, {"jit_compile": True}]
)
def test_state_is_made_of_the_sums_of_all_parts_and_seen_a_step_later(
    optimizer, settings
):
    runtime = made(optimizer, **settings)
    for number in range(3):
        told = runtime.step(batch(number), number, 0)
        wanted = -1.0 if number == 0 else batch(number - 1)["x"].mean(0)[0]
        assert float(told["before"]) == pytest.approx(wanted, abs=1e-6)
    arrays = runtime.read_variables()
    np.testing.assert_allclose(
        arrays["state/mean"], batch(2)["x"].mean(0), rtol=1e-5, atol=1e-6
    )
    assert arrays["state/steps"] == 3 and arrays["state/steps"].dtype == np.float32


def test_no_gradient_and_no_average_touches_it():
    runtime = made()
    first = float(runtime.step(batch(0), 0, 0)["loss"])
    x = batch(0)["x"]
    assert first == pytest.approx(0.5 * ((x - 2) ** 2).sum(1).mean(), rel=1e-6)
    arrays = runtime.read_variables()
    wanted = 2 + RATE * (x - 2).mean(0)
    np.testing.assert_allclose(arrays["weights/w"], wanted, rtol=1e-5)
    assert {n for n in arrays if n.startswith(("ema", "slots"))} == {"ema/w"}


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_an_average_forgets_the_first_weights_faster_than_by_its_decay(optimizer):
    runtime = made(optimizer)
    average = runtime.read_variables()["ema/w"].astype(np.float64)
    for number in range(12):
        runtime.step(batch(number), number, 0)
        arrays = runtime.read_variables()
        decay = min(0.5, (1 + number) / (10 + number))
        average = decay * average + (1 - decay) * arrays["weights/w"]
        np.testing.assert_allclose(arrays["ema/w"], average, rtol=1e-5)
    # What the first weights still count for, were they to decay by a half a step.
    assert np.prod([min(0.5, (1 + n) / (10 + n)) for n in range(12)]) < 0.1 * 0.5**12


def test_evaluation_sees_it_and_leaves_it():
    runtime = made()
    runtime.step(batch(0), 0, 0)
    before = runtime.read_variables()
    told = runtime.evaluate(batch(1), 1, 0)
    mean = batch(0)["x"].mean(0)
    assert float(told["before"]) == pytest.approx(mean[0], abs=1e-6)
    for name, array in runtime.read_variables().items():
        np.testing.assert_array_equal(array, before[name])


def test_it_is_written_as_it_was_read():
    one, two = made(), made()
    one.step(batch(0), 0, 0)
    two.write_variables(one.read_variables())
    for runtime in (one, two):
        runtime.step(batch(1), 1, 0)
    for name, array in one.read_variables().items():
        np.testing.assert_array_equal(array, two.read_variables()[name])
    lacking = one.read_variables()
    del lacking["state/mean"]
    with pytest.raises(ValueError, match="state/mean is missing"):
        two.write_variables(lacking)


def test_its_bytes_are_counted():
    counted = counting.device_bytes(MODEL, SGD, ONE, StepSettings())
    assert counted == {"weights": 12, "slots": 0, "ema": 0, "step": 8, "state": 16}
    assert sum(counted.values()) + 12 == made().bytes_per_device()["CPU:0"]  # and ema
    traced = graph_counts.traced_step(
        MODEL, SGD, StepSettings(), {"x": tf.TensorSpec([8, 3])}
    )
    assert traced.structured_outputs[0]["state/mean"].shape == (3,)


def without_statistics(weights, batch, random):
    return loss(weights, batch, random)[:2]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"update_state": None}, "and no update_state, wanted both or neither"),
        ({"state": {}}, "state .. and an update_state"),
        ({"state": {"w": Weight(())}}, "'w'. are names of weights and of state"),
        ({"loss": without_statistics}, "returned 2 values, .*: it has state"),
        (
            {"update_state": lambda state, found: {}},
            "update_state gave .., wanted .'mean'",
        ),
    ],
)
def test_a_model_whose_state_makes_no_sense_is_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        made(model=MODEL._replace(**changed)).step(batch(0), 0, 0)


def test_statistics_without_state_are_refused():
    def plain(weights, batch, random):
        return tf.reduce_sum((batch["x"] - weights["w"]) ** 2, -1), {}, {}

    model = MODEL._replace(loss=plain, state={}, update_state=None)
    with pytest.raises(ValueError, match="returned 3 values, wanted nats, metrics"):
        made(model=model).step(batch(0), 0, 0)
