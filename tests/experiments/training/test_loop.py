"""The training loop over a runtime of one device, and of what it keeps."""

import json
import os
import shutil
import signal
import socket

import numpy as np
import pytest
import tensorflow as tf

from experiments.engines import selection
from experiments.engines.experiment import count_traces, run
from experiments.records import checkpoint, metrics
from experiments.records.media import Image
from experiments.training import loop, optimizers, prng, timing, topology
from experiments.training.checkpoints import NotFinite
from experiments.training.engine import StepSettings
from experiments.training.loop import LoopSettings
from experiments.training.model import Model, Weight
from experiments.training.task import Data, Task

BATCH, DIM = 4, 3


def loss(weights, batch, random):
    """A regression, with dropout, so that a step's randomness shows."""
    x = prng.dropout(random, "x", batch["x"], 0.1)
    hidden = tf.tanh(x @ weights["inner"])
    error = tf.reduce_sum(hidden * weights["outer"], 1) - batch["y"]
    return error * error, {"error": error}


MODEL = Model(
    name="regression",
    weights={"inner": Weight((DIM, 5), 0.5), "outer": Weight((5,), 0.5)},
    loss=loss,
    dims_per_example=2,
    flops_per_example=1000,
)


def batch(number):
    random = np.random.default_rng(number)
    x = random.normal(size=(BATCH, DIM)).astype(np.float32)
    return {"x": x, "y": x.sum(1)}


DATA = Data(
    name="made",
    batch_size=BATCH,
    training_batch=batch,
    held_out_batch=lambda number: batch(1000 + number),
    num_held_out_batches=2,
)


AVERAGED = StepSettings(ema_decay=0.9)


def made(model=MODEL, rate=0.05, step=AVERAGED):
    optimizer = optimizers.adam(optimizers.constant_schedule(rate))
    return selection.make_engine(
        model, optimizer, topology.parse("batch:1"), step, device_type="CPU"
    )


def train(folder, runtime=None, data=DATA, **given):
    settings = {"num_steps": 12, "log_every": 1, "measure_peak": False}
    kept = {"resume", "init_from", "show", "num_traces"}
    settings |= {k: v for k, v in given.items() if k not in kept}
    folder.mkdir(exist_ok=True)
    with metrics.metric_writer(folder, tensorboard=False) as write_event:
        return loop.train(
            runtime or made(),
            data,
            run_dir=folder,
            seed=3,
            settings=LoopSettings(**settings),
            write_event=write_event,
            **{k: v for k, v in given.items() if k in kept},
        )


def lines(folder, kind="train"):
    """The values of the events of a kind, the last of each step."""
    found = [e for e in metrics.read(folder / "metrics.jsonl") if e["kind"] == kind]
    return {e["step"]: e for e in found}


def losses(folder):
    return {step: line["loss"] for step, line in lines(folder).items()}


def saved(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def arrays(folder, step):
    path = folder / "checkpoints" / f"step-{step:06d}"
    return checkpoint.load(path, metadata={}).arrays


def assert_same_bits(one, two):
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], strict=True)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    train(folder, checkpoint_every=5, keep_last=10)
    return folder


def test_a_run_resumed_is_the_uninterrupted_one_bit_for_bit(tmp_path, straight):
    train(tmp_path, num_steps=5)
    summary = train(tmp_path, resume=True)
    assert summary["resumed_from"] == 5 and summary["steps"] == 12
    assert losses(tmp_path) == losses(straight)
    assert_same_bits(arrays(tmp_path, 12), arrays(straight, 12))
    held_out = [lines(f, "held_out")[12]["loss"] for f in (tmp_path, straight)]
    assert held_out[0] == held_out[1]


def test_the_loss_goes_down_and_the_held_out_loss_with_it(tmp_path):
    runtime = made(rate=0.01)
    summary = train(tmp_path, runtime, num_steps=300, log_every=20, evaluate_every=20)
    line, held_out = lines(tmp_path), lines(tmp_path, "held_out")
    assert line[300]["loss"] < 0.5 * line[20]["loss"]
    assert list(held_out) == list(range(20, 301, 20))
    assert held_out[300]["loss"] < 0.5 * held_out[20]["loss"]
    assert summary["held_out"]["loss"] == held_out[300]["loss"]


def test_a_line_is_the_mean_since_the_last_and_its_speeds_agree(
    tmp_path, straight, monkeypatch
):
    monkeypatch.setattr(timing, "PEAK_SIZES", (512,))  # larger ones take seconds
    summary = train(tmp_path, log_every=4, measure_peak=True)
    one_by_one = losses(straight)
    for step, line in lines(tmp_path).items():
        wanted = np.mean([one_by_one[s] for s in range(step - 3, step + 1)])
        assert line["loss"] == pytest.approx(wanted, rel=1e-6)
        assert line["bits_per_dim"] == pytest.approx(line["loss"] / np.log(2) / 2)
        assert {"error", "gradient_norm", "data_seconds"} <= line.keys()
        assert line["rss_bytes"] > 1e6
        # Weights, two slots of each, averages, and the step.
        assert line["device_variable_bytes"] == 4 * (15 + 5) * 4 + 8
        a_second = BATCH / line["step_seconds"]
        assert line["examples_per_second"] == pytest.approx(a_second)
        assert line["mfu"] == pytest.approx(
            1000 * a_second / summary["matmul_flops_per_second"]
        )
    (peak,) = lines(tmp_path, "peak").values()
    assert peak["matmul_flops_per_second"] == summary["matmul_flops_per_second"] > 1e6


def test_checkpoints_come_at_intervals_and_at_both_ends(straight):
    assert saved(straight) == [f"step-{s:06d}" for s in (0, 5, 10, 12)]


def test_each_step_of_the_loop_is_one_of_the_runtime_by_hand(straight):
    runtime = made()
    runtime.initialize(3)
    told = {n + 1: float(runtime.step(batch(n), n, 3)["loss"]) for n in range(12)}
    assert told == losses(straight)
    assert_same_bits(runtime.read_variables(), arrays(straight, 12))


class Watched:
    """A runtime that calls back within each step."""

    def __init__(self, within):
        self._runtime, self._within = made(), within

    def __getattr__(self, name):
        return getattr(self._runtime, name)

    def step(self, batch, number, seed):
        return self._within(number, lambda: self._runtime.step(batch, number, seed))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_within_a_step_saves_that_step_and_is_let_through(
    tmp_path, straight, signum
):
    class Stopped(BaseException):
        pass

    def handle(*_):
        raise Stopped

    def within(number, step):
        if number == 6:
            os.kill(os.getpid(), signum)
        return step()

    before = signal.signal(signum, handle)
    try:
        with pytest.raises(Stopped):
            train(tmp_path, Watched(within), log_every=100)
        assert signal.getsignal(signum) is handle
    finally:
        signal.signal(signum, before)
    assert saved(tmp_path)[-1] == "step-000007"
    assert_same_bits(arrays(tmp_path, 7), until(straight, 7))
    mean = np.mean([losses(straight)[s] for s in range(1, 8)])
    assert losses(tmp_path)[7] == pytest.approx(mean, rel=1e-6)
    train(tmp_path, resume=True)
    assert_same_bits(arrays(tmp_path, 12), arrays(straight, 12))


def until(straight, steps):
    """What the uninterrupted run had after some steps."""
    runtime = made()
    runtime.initialize(3)
    for number in range(steps):
        runtime.step(batch(number), number, 3)
    return runtime.read_variables()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_save_that_fails_after_a_signal_is_told_and_no_stop(
    tmp_path, monkeypatch, signum
):
    def within(number, step):
        if number == 6:
            monkeypatch.setattr(checkpoint, "save", full)
            os.kill(os.getpid(), signum)
        return step()

    def full(*_, **__):
        raise checkpoint.CheckpointError("the disk is full")

    heard = []
    before = signal.signal(signum, lambda *_: heard.append(signum))
    try:
        with pytest.raises(checkpoint.CheckpointError, match="the disk is full"):
            train(tmp_path, Watched(within))
        assert signal.getsignal(signum) is not signal.SIG_DFL and not heard
    finally:
        signal.signal(signum, before)
    assert saved(tmp_path) == ["step-000000"]


def test_nothing_waits_for_the_device_between_two_lines(tmp_path):
    fetched = []

    class Later:
        def __init__(self, value, number):
            self._value, self._number = value, number

        def __float__(self):
            fetched.append((self._number, latest[0]))
            return float(self._value)

    latest = [0]

    def within(number, step):
        latest[0] = number
        return {name: Later(value, number) for name, value in step().items()}

    train(tmp_path, Watched(within), log_every=4)
    when = {number: now for number, now in reversed(fetched)}
    waited_for = [0, 3, 3, 3, 7, 7, 7, 7, 11, 11, 11, 11]  # the first is timed apart
    assert [when[number] for number in range(12)] == waited_for


def test_one_trace_serves_every_step_and_one_every_evaluation(tmp_path):
    model, num_traces = count_traces(MODEL)
    train(tmp_path, made(model), evaluate_every=2, num_traces=num_traces)
    by_step = {step: line["traces"] for step, line in lines(tmp_path).items()}
    assert by_step[1] == by_step[2] and by_step[3] == by_step[12]
    assert by_step[12] - by_step[1] == by_step[1]  # as many for evaluating


def test_batches_are_each_asked_for_once_and_none_beyond_the_end(tmp_path):
    asked = []

    def noted(number):
        asked.append(number)
        return batch(number)

    train(tmp_path, data=DATA._replace(training_batch=noted))
    assert asked == list(range(12))


def test_what_making_a_batch_raises_ends_the_run_as_it_is(tmp_path):
    def broken(number):
        if number == 4:
            raise OSError("the data are gone")
        return batch(number)

    with pytest.raises(OSError, match="the data are gone"):
        train(tmp_path, data=DATA._replace(training_batch=broken), checkpoint_every=3)
    assert saved(tmp_path) == ["step-000000", "step-000003"]


# What goes wrong.

SUM = Model(
    name="sum",
    weights={name: Weight((2,), 1.0) for name in ("a", "b", "c")},
    loss=lambda w, b, _: (tf.reduce_sum(w["a"] + w["b"] * b["x"] + w["c"], 1), {}),
)


def spoilt(at):
    def x(number):
        value = np.ones((BATCH, 2), np.float32)
        if number == at:
            value[1, 1] = np.nan
        return {"x": value}

    return Data("made", BATCH, x, x)


def test_nan_stops_with_step_gradient_and_last_good_checkpoint(tmp_path):
    runtime = made(SUM, step=StepSettings(clip_norm=1.0))  # clipping spreads it to all
    with pytest.raises(NotFinite) as caught:
        train(tmp_path, runtime, spoilt(6), log_every=5, checkpoint_every=2)
    text = str(caught.value)
    assert text.startswith("step 7: the loss is nan, the gradient's norm nan; ")
    assert f"the last good checkpoint is {tmp_path / 'checkpoints/step-000006'}" in text
    assert text.endswith("in the gradient, b is not finite")
    assert saved(tmp_path)[-1] == "step-000006"
    assert all(np.isfinite(a).all() for a in arrays(tmp_path, 6).values())


def test_nan_of_what_is_held_out_stops_after_the_steps_are_saved(tmp_path):
    data = spoilt(None)._replace(
        held_out_batch=spoilt(1).training_batch, num_held_out_batches=2
    )
    said = r"held-out batch 1 after 4 steps: loss nan; the last checkpoint is .*000004"
    with pytest.raises(NotFinite, match=said):
        train(tmp_path, made(SUM), data, checkpoint_every=4, evaluate_every=4)
    assert saved(tmp_path)[-1] == "step-000004"


def test_a_weight_that_overflowed_is_named_and_not_saved(tmp_path):
    def rate(step):
        return tf.where(step < 4, 1.0, np.inf)

    def runtime():
        return selection.make_engine(
            SUM,
            optimizers.adam(rate),
            topology.parse("batch:1"),
            StepSettings(),
            device_type="CPU",
        )

    with pytest.raises(NotFinite, match="step 5: weights/a, .* not finite, though"):
        train(tmp_path / "a", runtime(), spoilt(None), checkpoint_every=1)
    assert saved(tmp_path / "a")[-1] == "step-000004"
    with pytest.raises(NotFinite) as caught:
        train(tmp_path / "b", runtime(), spoilt(None), checkpoint_every=3)
    assert "before the step weights/a, weights/b, weights/c" in str(caught.value)
    assert str(caught.value).startswith("step 6: ")


def test_a_checkpoint_of_another_model_is_refused_and_stays(tmp_path):
    train(tmp_path, num_steps=2)
    with pytest.raises(checkpoint.CheckpointError, match="model is 'regression'"):
        train(tmp_path, made(SUM), spoilt(None), resume=True)
    wider = MODEL._replace(weights=MODEL.weights | {"outer": Weight((6,), 0.5)})
    with pytest.raises(checkpoint.CheckpointError, match=r"outer is float32 \[5\]"):
        train(tmp_path, made(wider), resume=True)
    assert arrays(tmp_path, 2)["step"] == 2


def test_resume_without_a_checkpoint_begins(tmp_path):
    assert train(tmp_path, resume=True)["resumed_from"] == 0


def test_resume_of_a_run_whose_checkpoints_are_gone_is_refused(tmp_path):
    train(tmp_path, num_steps=2)
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(ValueError, match="resume: given .* wanted a checkpoint in"):
        train(tmp_path, resume=True)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"rate": 0.01},
            r"resume: given optimizer adam\(.*=0.01.*, wanted adam.*=0.05",
        ),
        ({"step": StepSettings(ema_decay=0.8)}, "given ema_decay 0.8, wanted 0.9"),
    ],
)
def test_resume_with_other_settings_is_refused(tmp_path, changed, said):
    train(tmp_path, num_steps=2)
    with pytest.raises(ValueError, match=said):
        train(tmp_path, made(**changed), resume=True)
    assert saved(tmp_path)[-1] == "step-000002"


def test_a_checkpoint_that_does_not_say_its_settings_is_resumed(tmp_path):
    train(tmp_path, num_steps=2)
    path = tmp_path / "checkpoints/step-000002/manifest.json"
    manifest = json.loads(path.read_text())
    for name in ("optimizer", "clip_norm", "ema_decay", "compute_dtype"):
        del manifest["about"][name]
    path.write_text(json.dumps(manifest))
    assert train(tmp_path, resume=True)["resumed_from"] == 2


# The best checkpoint, and weights of another run.


def test_the_best_checkpoint_has_the_lowest_held_out_loss(tmp_path):
    train(tmp_path / "whole", evaluate_every=2)
    held_out = {s: e["loss"] for s, e in lines(tmp_path / "whole", "held_out").items()}
    (path,) = (tmp_path / "whole" / "best").iterdir()
    best = checkpoint.load(path, metadata={})
    assert best.metadata["held_out_loss"] == min(held_out.values())
    assert held_out[best.step] == min(held_out.values())

    train(tmp_path / "parts", evaluate_every=2, num_steps=8)
    train(tmp_path / "parts", evaluate_every=2, resume=True)
    (resumed,) = (tmp_path / "parts" / "best").iterdir()
    assert resumed.name == path.name
    assert_same_bits(checkpoint.load(resumed, metadata={}).arrays, best.arrays)


def test_a_worse_evaluation_leaves_the_best_checkpoint(tmp_path):
    worse = DATA._replace(held_out_batch=lambda index: worsening[0](index))
    worsening = [DATA.held_out_batch]

    def within(step, take):
        if step == 4:
            worsening[0] = lambda index: {
                name: 100 * array for name, array in DATA.held_out_batch(index).items()
            }
        return take()

    train(tmp_path, Watched(within), worse, evaluate_every=2)
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["step-000004"]


def test_no_best_checkpoint_is_kept_where_none_is_asked_for(tmp_path):
    train(tmp_path / "a", evaluate_every=2, keep_best=False)
    train(tmp_path / "b")
    assert not list(tmp_path.glob("*/best"))


def test_a_run_starts_from_the_weights_of_another(tmp_path, straight):
    other = made(rate=0.01)
    train(tmp_path, other, num_steps=1, init_from=straight)
    first, last = arrays(tmp_path, 0), arrays(straight, 12)
    for name in first:
        if name.startswith(("weights/", "ema/")):
            np.testing.assert_array_equal(first[name], last[name])
        else:
            assert not first[name].any()


def test_weights_without_an_average_are_their_own_average(tmp_path):
    train(tmp_path / "a", made(step=StepSettings()), num_steps=2)
    train(tmp_path / "b", num_steps=1, init_from=tmp_path / "a")
    first, last = arrays(tmp_path / "b", 0), arrays(tmp_path / "a", 2)
    np.testing.assert_array_equal(first["ema/inner"], last["weights/inner"])


def test_weights_that_do_not_fit_are_named(tmp_path, straight):
    weights = MODEL.weights | {"outer": Weight((6,), 0.5), "more": Weight((2,))}
    with pytest.raises(ValueError) as caught:
        train(tmp_path, made(MODEL._replace(weights=weights)), init_from=straight)
    assert "weights/outer: given [5], wanted [6]" in str(caught.value)
    assert "weights/more is missing" in str(caught.value)
    with pytest.raises(ValueError, match="init_from: given .*nowhere, wanted a check"):
        train(tmp_path, init_from=tmp_path / "nowhere")
    assert not (tmp_path / "checkpoints").exists()


def task(**changed):
    given = {"model": MODEL, "data": DATA, "source": "made"}
    return Task(**(given | changed))


def use(folder, mode, init_from, **changed):
    folder.mkdir()
    return run(
        lambda: task(**changed),
        run_dir=folder,
        seed=3,
        optimizer=optimizers.adam(optimizers.constant_schedule(0.05)),
        loop=LoopSettings(num_steps=12),
        step=AVERAGED,
        batch_size=BATCH,
        device_type="CPU",
        mode=mode,
        init_from=init_from,
    )


def test_a_checkpoint_is_evaluated_as_at_the_end_of_its_run(tmp_path, straight):
    summary = use(tmp_path / "a", "evaluate", straight)
    told = lines(straight, "held_out")[12]
    assert summary["held_out"]["loss"] == told["loss"] and summary["steps"] == 12
    assert lines(tmp_path / "a", "held_out")[12]["loss"] == told["loss"]
    assert not (tmp_path / "a" / "checkpoints").exists()
    assert json.loads((tmp_path / "a" / "summary.json").read_text()) == summary


def test_samples_of_a_checkpoint_are_written_as_files(tmp_path, straight):
    def show(weights):
        return {"inner": Image(np.clip(weights["inner"], 0, 1)[:, :, np.newaxis])}

    place = straight / "checkpoints" / "step-000005"
    use(tmp_path / "a", "sample", place, make_show=lambda: show, num_shown=1)
    assert lines(tmp_path / "a", "samples")[5]["inner"] == (
        "media/samples-inner-000005.png"
    )
    assert (tmp_path / "a/media/samples-inner-000005.png").exists()


@pytest.mark.parametrize(
    ("mode", "place", "said"),
    [
        ("judge", "a", "mode: given 'judge', wanted one of"),
        ("evaluate", None, "init_from: given None, wanted a checkpoint to evaluate"),
        ("sample", 3, "init_from: given 3, wanted a path"),
        ("sample", "here", "num_samples: given none to show"),
    ],
)
def test_a_mode_that_cannot_be_is_refused(tmp_path, straight, mode, place, said):
    with pytest.raises(ValueError, match=said):
        use(tmp_path / "a", mode, straight if place == "here" else place)


def test_a_finished_run_resumed_evaluates_and_changes_nothing(tmp_path, straight):
    first = train(tmp_path)
    again = train(tmp_path, resume=True)
    assert again["held_out"] == first["held_out"]
    assert_same_bits(arrays(tmp_path, 12), arrays(straight, 12))


def test_a_run_resumed_for_fewer_steps_than_it_has_is_refused(tmp_path):
    train(tmp_path)
    with pytest.raises(ValueError, match=r"num_steps: given 5, wanted .* 12 of .*0012"):
        train(tmp_path, resume=True, num_steps=5)
    assert saved(tmp_path)[-1] == "step-000012"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"num_steps": 0}, "num_steps: given 0"),
        ({"log_every": 0}, "log_every: given 0"),
        ({"keep_last": 0}, "keep_last: given 0"),
        ({"checkpoint_every": -1}, "checkpoint_every: given -1"),
        ({"profile_steps": (3, 3)}, "profile_steps: given"),
        ({"profile_steps": 3}, "profile_steps: given 3"),
        ({"num_steps": "10"}, "num_steps: given '10', wanted a whole number of at"),
        ({"num_steps": 3.0}, "num_steps: given 3.0"),
        ({"num_steps": None}, "num_steps: given None"),
        ({"num_steps": True}, "num_steps: given True"),
        ({"num_steps": float("nan")}, "num_steps: given nan"),
        ({"evaluate_every": 0}, "evaluate_every: given 0, .* or None"),
        ({"keep_best": 1}, "keep_best: given 1, wanted True or False"),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        LoopSettings(**({"num_steps": 1} | wrong))


# What else comes of a run.


def test_the_profile_of_chosen_steps_is_in_the_run_folder_and_names_no_host(tmp_path):
    train(tmp_path, profile_steps=(2, 4))
    (path,) = tmp_path.glob("tensorboard/plugins/profile/*/*.xplane.pb")
    assert path.stat().st_size > 0 and path.name == "host.xplane.pb"
    assert socket.gethostname() not in str(path.relative_to(tmp_path))


def test_evaluation_shows_pictures_of_the_average_weights(tmp_path):
    def show(weights):
        assert weights.keys() == MODEL.weights.keys()
        shown.append(weights)
        return {"inner": Image(np.clip(weights["inner"], 0, 1)[:, :, np.newaxis])}

    shown = []
    train(tmp_path, show=show, evaluate_every=6)
    assert [e["inner"] for e in lines(tmp_path, "held_out").values()] == [
        "media/held_out-inner-000006.png",
        "media/held_out-inner-000012.png",
    ]
    np.testing.assert_array_equal(shown[1]["inner"], arrays(tmp_path, 12)["ema/inner"])


def test_progress_tells_the_loss_and_the_time_left(tmp_path, capsys):
    train(tmp_path)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("steps: 12 of 12, ") and last.endswith("left 0:00:00")


def test_the_record_of_a_run_is_strict_json(straight):
    for text in (straight / "metrics.jsonl").read_text().splitlines():
        json.loads(text, parse_constant=lambda what: pytest.fail(what))
