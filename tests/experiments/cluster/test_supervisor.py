"""bin/train --num_processes=2 as a person meets it: processes killed and stopped."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.cli import main
from experiments.cluster import supervisor
from experiments.cluster.processes import Process
from experiments.records import checkpoint, metrics

REPO = Path(__file__).resolve().parents[3]

# Counts steps and saves how far it is: a training in small, without TensorFlow.  Who
# has lost the other process fails, as a collective would.
TOY = """
import os, signal, time
from experiments.cluster import processes
from experiments.records import run_dir as folder

def count(*, run_dir, seed, mode="ok", num_steps=30, resume=False):
    process = processes.current()
    me = run_dir / f"process-{process.index}"
    here = [run_dir / f"here-{address}" for address in process.addresses]
    cores = sorted(os.sched_getaffinity(0))
    with open(run_dir / f"starts-{process.index}", "a") as file:
        file.write(f"{cores} {os.environ.get('CUDA_VISIBLE_DEVICES')}\\n")
    me.write_text(str(os.getpid()))
    asked = []
    held = signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    saved, once = run_dir / "saved", run_dir / "once"
    start = int(saved.read_text()) if resume and saved.exists() else 0
    print(f"begins at {start}", flush=True)
    dies = mode == "always" or mode == "once" and not once.exists()
    here[process.index].touch()
    while not all(path.exists() for path in here):
        time.sleep(0.01)
    for step in range(start, num_steps):
        if mode != "deaf" and processes.stop_before(step, requested=bool(asked)):
            (run_dir / f"stopped-{process.index}").write_text(str(step))
            signal.signal(signal.SIGTERM, held)
            if asked:  # the launcher has heard it
                held(signal.SIGTERM, None)
            signal.raise_signal(signal.SIGTERM)
        if process.index == 0:
            run_dir.joinpath("partial").write_text(str(step))
            run_dir.joinpath("partial").replace(saved)
        if dies and step >= 12 and process.index == 1:
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "check" and process.index == 0:
            raise folder.CheckFailed("off by 8")
        if mode == "same" and step == 12:
            raise ArithmeticError("step 12: the loss is not finite")
        if mode == "interrupt" and step == 12 and process.index == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        if dies and process.index == 0 and step >= 25:
            time.sleep(1)
            raise RuntimeError("UnavailableError: the other process is gone")
        time.sleep(0.02)
    if process.index == 0:
        saved.write_text(str(num_steps))
"""
CONFIG = """\
from __gin__ import dynamic_registration
import toy

experiment = @toy.count
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "toy.gin").write_text(CONFIG)
    return tmp_path


@contextlib.contextmanager
def started(place, *arguments, environ=None, mode="ok"):
    """bin/train, and nothing of it left behind."""
    command = [
        str(REPO / "bin/train"),
        "--gin_config=toy.gin",
        f"--gin_param=toy.count.mode='{mode}'",
        "--workdir=run",
        *arguments,
    ]
    process = subprocess.Popen(
        command,
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(place)} | (environ or {}),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ran(place, *arguments, environ=None, mode="ok"):
    with started(place, *arguments, environ=environ, mode=mode) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def told(folder):
    return json.loads((folder / "run.json").read_text())


def events(folder):
    lines = (folder / supervisor.EVENTS).read_text().splitlines()
    return [json.loads(line) for line in lines]


def until(condition, seconds=60):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def alive(pid):
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        )
    return False


def pids(folder):
    return [int((folder / f"process-{i}").read_text() or 0) for i in range(2)]


# The toy.


def test_two_processes_run_on_cores_of_their_own_and_are_told_apart(place):
    environ = {"CUDA_VISIBLE_DEVICES": "4,5,6,7"}
    code, out, err = ran(place, "--num_processes=2", environ=environ)
    assert code == main.SUCCESS, err
    assert sorted(out.splitlines()) == ["[0] begins at 0", "[1] begins at 0"]
    assert "train: 2 processes at 127.0.0.1:" in err and "[1] train: " not in err
    run = told(place / "run")
    assert (run["status"], run["exit_code"]) == ("done", 0)
    cores = sorted(os.sched_getaffinity(0))
    for index, gpus in enumerate(("4,5", "6,7")):
        wanted = supervisor.share(cores, Process(index, 2)) or cores
        started_on = (place / f"run/starts-{index}").read_text()
        assert started_on == f"{list(wanted)} {gpus}\n"


def test_shares_are_equal_and_none_where_there_are_too_few():
    assert [supervisor.share(range(5), Process(i, 2)) for i in range(2)] == [
        range(2),
        range(2, 4),
    ]
    assert not supervisor.share(range(2), Process(0, 3))


def test_when_one_dies_all_go_on_from_what_was_saved_and_the_reason_is_told(place):
    code, out, err = ran(place, "--num_processes=2", mode="once")
    assert code == main.SUCCESS, err
    assert "process 1 was ended by SIGKILL; starting all from the last" in err
    assert "[0] begins at 25" in out and "[1] begins at 25" in out
    assert (place / "run/saved").read_text() == "30"
    assert told(place / "run")["status"] == "done"
    (event,) = events(place / "run")
    assert (event["event"], event["restart"]) == ("restart", 1)
    assert event["reason"] == "process 1 was ended by SIGKILL"


def test_restarts_are_bounded(place):
    code, _, err = ran(place, "--num_processes=2", "--max_restarts=1", mode="always")
    assert code == main.FAILED
    assert "process 1 was ended by SIGKILL; no restart is left of 1" in err
    assert [event["event"] for event in events(place / "run")] == [
        "restart",
        "given up",
    ]
    assert (place / "run/starts-1").read_text().count("\n") == 2
    code, _, err = ran(place, "--num_processes=2", "--overwrite", mode="same")
    assert code == main.FAILED
    assert "twice for the same reason: ArithmeticError: step 12: the loss is" in err
    assert (place / "run/starts-1").read_text().count("\n") == 2


def test_what_would_come_again_is_not_started_again(place):
    code, _, err = ran(place, "--num_processes=2", mode="check")
    assert code == main.INACCURATE, err
    assert (place / "run/starts-0").read_text().count("\n") == 1
    assert told(place / "run")["reason"] == "CheckFailed: off by 8"


@pytest.mark.parametrize("to", ["supervisor", "process 1"])
def test_a_signal_stops_all_at_one_step_and_the_run_can_be_resumed(place, to):
    mode = "ok" if to == "supervisor" else "interrupt"
    param = "--gin_param=toy.count.num_steps=1000"
    with started(place, "--num_processes=2", param, mode=mode) as process:
        if to == "supervisor":
            until((place / "run/saved").exists)
            process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == main.INTERRUPTED, err
    run = told(place / "run")
    assert (run["status"], run["exit_code"]) == ("interrupted", main.INTERRUPTED)
    at = [(place / f"run/stopped-{i}").read_text() for i in range(2)]
    assert at[0] == at[1]
    param = f"--gin_param=toy.count.num_steps={int(at[0]) + 5}"
    code, out, err = ran(place, "--num_processes=2", param, "--resume")
    assert code == main.SUCCESS, err
    assert f"[1] begins at {int(at[0]) - 1}" in out


def test_a_second_signal_ends_all_at_once(place):
    param = "--gin_param=toy.count.num_steps=100000"
    with started(place, "--num_processes=2", param, mode="deaf") as process:
        until((place / "run/saved").exists)
        running = pids(place / "run")
        process.send_signal(signal.SIGTERM)
        until(lambda: "SIGTERM: stopping" in process.stderr.readline())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    until(lambda: not any(alive(pid) for pid in running))
    record = json.loads((place / "run/run.json").read_text())
    assert (record["status"], record["reason"]) == ("interrupted", "stopped twice")


def test_processes_end_with_their_supervisor(place):
    param = "--gin_param=toy.count.num_steps=100000"
    with started(place, "--num_processes=2", param) as process:
        until((place / "run/saved").exists)
        running = pids(place / "run")
        assert all(alive(pid) for pid in running)
        process.kill()
        process.wait()
        until(lambda: not any(alive(pid) for pid in running))
    assert told(place / "run")["status"] == "running"


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [
        (["--num_processes=0"], {}, "given '0', wanted a whole number of at least 1"),
        (["--num_processes=2"], {"PPL_NUM_PROCESSES": "3"}, "wanted one"),
        (["--process_index=1"], {}, "wanted --num_processes beside it"),
        (["--num_processes=2", "--process_index=0"], {}, "where the others are"),
        (["--num_processes=2"], {"TF_CONFIG": "{"}, "TF_CONFIG: not what TensorFlow"),
        (
            ["--process_addresses=a:7077,b:2", "--process_index=0", "--seed=-1"],
            {},
            "each process would draw its own",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    place, monkeypatch, capsys, arguments, environ, said
):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    config, folder = f"--gin_config={place / 'toy.gin'}", place / "run"
    code = main.main("train", [config, f"--workdir={folder}", *arguments])
    err = capsys.readouterr().err
    assert code == main.USAGE and err.count("\n") == 1
    assert said in err
    assert not folder.exists()


def addresses(num):
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(num)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in held]


def test_without_a_supervisor_the_same_flags_start_each_process(place):
    common = f"--process_addresses={','.join(addresses(2))}"
    with started(place, common, "--process_index=1") as second:
        code, out, err = ran(place, common, "--process_index=0")
        _, err1 = second.communicate(timeout=60)
    assert (code, second.returncode) == (0, 0), err + err1
    assert out == "begins at 0\n" and told(place / "run")["status"] == "done"


def test_a_port_in_use_and_a_process_that_never_joins_are_named(place):
    first, second = addresses(2)
    common = [f"--process_addresses={first},{second}", "--process_index=0"]
    with socket.create_server(("127.0.0.1", int(first.rpartition(":")[2]))):
        code, _, err = ran(place, *common)
    assert code == main.USAGE and f"{first}: port" in err
    assert not (place / "run").exists()
    code, _, err = ran(place, *common, "--join_seconds=1")
    assert code == main.FAILED
    assert f"waited 1 s, and never joined: process 1 at {second}" in err
    assert f"process 1 at {second}" in told(place / "run")["reason"]
    assert "Traceback" not in err


def test_processes_of_two_seeds_do_not_begin(place):
    common = f"--process_addresses={','.join(addresses(2))}"
    with started(place, common, "--process_index=1", "--seed=1") as second:
        code, _, err = ran(place, common, "--process_index=0", "--seed=2")
        _, err1 = second.communicate(timeout=60)
    assert (code, second.returncode) == (main.FAILED, main.FAILED)
    for text in (err, err1):
        assert "process 1 was started with another config or seed" in text


# A model.

STEPS = 120

# The toy experiment, made small; TensorFlow begins in the processes alone.
MODEL = f"""
def train(*, run_dir, seed, resume=False):
    from experiments import toy_models
    from experiments.training.loop import LoopSettings
    from experiments.training import optimizers
    from experiments.training.engine import StepSettings

    sizes = dict(vocabulary=16, length=8)
    return toy_models.train(
        run_dir=run_dir,
        seed=seed,
        model=toy_models.transformer(
            **sizes, hidden=16, heads=2, filter_size=16, layers=1, dropout=0.1
        ),
        examples=toy_models.token_lines(**sizes),
        optimizer=optimizers.adam(optimizers.constant_schedule(0.01)),
        loop=LoopSettings(
            num_steps={STEPS}, checkpoint_every=5, keep_last=2, measure_peak=False
        ),
        step=StepSettings(clip_norm=1.0, ema_decay=0.9),
        batch_size=8,
        num_held_out=8,
        mesh="batch:2",
        device_type="CPU",
        resume=resume,
    )
"""


def training(folder, *more):
    return [
        str(REPO / "bin/train"),
        "--num_processes=2",
        "--gin_config=model.gin",
        f"--workdir={folder}",
        "--seed=3",
        *more,
    ]


def clients_of(process):
    """The processes that a supervisor runs now."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


@pytest.mark.slow
def test_a_training_killed_twice_ends_as_the_one_that_was_left_alone(tmp_path):
    """One process is killed at a random moment, and later the supervisor with both."""
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "model.gin").write_text(
        CONFIG.replace("toy.count", "model.train").replace("toy", "model")
    )
    where = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(tmp_path)}}
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(training(whole), **where, check=True, capture_output=True)

    random_moment = random.Random(os.urandom(8))
    killed = subprocess.Popen(
        training(folder),
        **where,
        text=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    newest = lambda: checkpoint.latest(folder / "checkpoints")  # noqa: E731
    until(lambda: newest() and newest().name >= "step-000010")
    time.sleep(random_moment.uniform(0, 0.5))
    before, first = newest(), clients_of(killed)
    os.kill(random_moment.choice(first), signal.SIGKILL)
    until(lambda: len(both := clients_of(killed)) == 2 and not {*both} & {*first})
    until(lambda: newest() != before)
    time.sleep(random_moment.uniform(0, 0.5))
    running = clients_of(killed)
    killed.kill()
    _, err = killed.communicate()
    until(lambda: not any(alive(pid) for pid in running))
    assert "was ended by SIGKILL; starting all from the last checkpoint" in err
    assert told(folder)["status"] == "running"

    done = subprocess.run(
        training(folder, "--resume"), **where, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    ends = [
        checkpoint.load(path / f"checkpoints/step-{STEPS:06d}", metadata={}).arrays
        for path in (whole, folder)
    ]
    assert ends[0].keys() == ends[1].keys()
    for name, array in ends[0].items():
        np.testing.assert_array_equal(array, ends[1][name], err_msg=name)
    for kind in ("train", "held_out"):
        losses = [
            [e for e in metrics.read(path / "metrics.jsonl") if e["kind"] == kind][-1]
            for path in (whole, folder)
        ]
        assert losses[0]["step"] == losses[1]["step"] == STEPS
        assert losses[0]["loss"] == losses[1]["loss"]
    assert len(events(folder)) == 1 and told(folder)["status"] == "done"
