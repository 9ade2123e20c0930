"""Process identity from the environment, and processes that join and stop together."""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest

from experiments.cluster import processes, rendezvous
from experiments.cluster.processes import SINGLE, Process
from tests.experiments.cluster import small_training

REPO = Path(__file__).resolve().parents[3]
TWO = ("a:1", "b:2")
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_PROCID": "2",
    "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_STEP_NODELIST": "n[08-09]",
    "SLURM_STEP_TASKS_PER_NODE": "2,1",
    "SLURM_NODEID": "1",
}


def tf_config(cluster, kind, index):
    task = {"type": kind, "index": index}
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


# The environment.


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {processes.COUNT: "1"},
        SLURM,  # an srun of many independent runs, unless several are asked for
        {"JOB_COMPLETION_INDEX": "3"},  # and so a sweep of pods
        {"TF_CONFIG": '{"cluster": {}, "task": {}}'},
        {"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}}'},
    ],
)
def test_a_process_is_single_unless_a_setting_says_otherwise(environ):
    assert processes.resolve(environ) == SINGLE


def test_several_processes_without_an_index_resolve_to_none():
    assert processes.resolve({}, count=2) is None
    assert processes.resolve({processes.COUNT: "2"}) is None
    batch_script = {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}
    assert processes.resolve(batch_script, count=2) is None
    one_task = SLURM | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}
    assert processes.resolve(one_task, count=2) is None


@pytest.mark.parametrize(
    ("environ", "flags", "index", "addresses"),
    [
        ({}, {"index": 1, "addresses": "a:1,b:2"}, 1, TWO),
        (processes.to_environment(Process(1, 2, TWO)), {}, 1, TWO),
        (
            {processes.INDEX: "1"},
            {"count": 2, "addresses": "w-{index}.s:7"},
            1,
            ("w-0.s:7", "w-1.s:7"),
        ),
        (
            {"JOB_COMPLETION_INDEX": "1"},
            {"count": 2, "addresses": "w-{index}.s:7"},
            1,
            ("w-0.s:7", "w-1.s:7"),
        ),
        (SLURM, {"count": 3}, 2, ("n08:10448", "n08:10449", "n09:10448")),
        (
            SLURM | {processes.PORT: "90"},
            {"count": 3},
            2,
            ("n08:90", "n08:91", "n09:90"),
        ),
        (SLURM, {"count": 3, "addresses": "a:1,b:2,c:3"}, 2, ("a:1", "b:2", "c:3")),
        (tf_config({"worker": TWO}, "worker", 1), {}, 1, TWO),
        (tf_config({"chief": TWO[:1], "worker": TWO[1:]}, "chief", 0), {}, 0, TWO),
        (tf_config({"chief": TWO[:1], "worker": TWO[1:]}, "worker", 0), {}, 1, TWO),
        (
            {"TPU_WORKER_ID": "1", "TPU_WORKER_HOSTNAMES": "a,b"},
            {"count": 2},
            1,
            ("a:7070", "b:7070"),
        ),
        # The supervisor's settings win over the scheduler that runs the supervisor.
        (SLURM | processes.to_environment(Process(1, 2, TWO)), {"count": 2}, 1, TWO),
    ],
)
def test_every_source_gives_index_and_addresses(environ, flags, index, addresses):
    assert processes.resolve(environ, **flags) == Process(
        index, len(addresses), addresses
    )


@pytest.mark.parametrize(
    ("environ", "flags", "message"),
    [
        ({processes.COUNT: "3"}, {"count": 2}, "flags says 2 and PPL_NUM_PROCESSES 3"),
        (
            tf_config({"worker": TWO}, "worker", 1),
            {"index": 0},
            "flags says 0 and TF_CONFIG 1",
        ),
        (
            tf_config({"worker": TWO}, "worker", 1),
            {"addresses": "a:1,c:3"},
            "flags says a:1,c:3 and TF_CONFIG a:1,b:2",
        ),
        (SLURM, {"count": 4}, "flags says 4 and Slurm 3"),
        (
            SLURM | {"SLURM_NODEID": "0"},
            {"count": 3},
            "task 2 is on node 0, wanted 1; start with srun --distribution=block",
        ),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2(x"}, {"count": 3}, "2(x"),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "3"}, {"count": 3}, "do not agree"),
        (SLURM | {"SLURM_STEP_NODELIST": "n[1-x]"}, {"count": 3}, "'1-x'"),
        ({"TF_CONFIG": "{"}, {}, "TF_CONFIG: not what TensorFlow reads"),
        ({"TF_CONFIG": "[]"}, {}, "TF_CONFIG: not what TensorFlow reads"),
        (tf_config({"worker": TWO, "ps": ["c:3"]}, "worker", 0), {}, "the job 'ps'"),
        ({processes.INDEX: "one"}, {"count": 2}, "given 'one', wanted a whole number"),
        ({}, {"count": 2, "index": 2, "addresses": "a:1,b:2"}, "given 2, wanted 0 to"),
        ({}, {"count": 2, "index": 0}, "nothing says where the others are"),
        ({}, {"index": 1}, "--process_index is given, wanted --num_processes"),
        ({}, {"addresses": "a:1,b:2"}, "wanted --process_index beside it"),
        ({}, {"addresses": "w{index}:1", "index": 0}, "wanted --num_processes beside"),
        ({}, {"count": 3, "index": 0, "addresses": "a:1,b:2"}, "given 2, wanted 3"),
        ({}, {"index": 0, "addresses": "a:1,a:1"}, "a:1 is given twice"),
        ({}, {"index": 0, "addresses": "a:1,b"}, "given 'b', wanted host:port"),
        ({}, {"index": 0, "addresses": "a:1,b:70000"}, "given 'b:70000', wanted"),
        ({}, {"count": 0}, "--num_processes: given 0, wanted 1 or more"),
    ],
)
def test_inconsistent_settings_are_named(environ, flags, message):
    with pytest.raises(ValueError) as error:
        processes.resolve(environ, **flags)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a", ["a"]),
        ("a,b2", ["a", "b2"]),
        ("n[1-3,7]", ["n1", "n2", "n3", "n7"]),
        ("n[08-10].x,c", ["n08.x", "n09.x", "n10.x", "c"]),
        ("r[1-2]n[5,7]", ["r1n5", "r1n7", "r2n5", "r2n7"]),
    ],
)
def test_slurm_host_lists_expand_as_with_scontrol(text, hosts):
    assert processes.expand_hosts(text) == hosts


def test_current_names_what_is_missing(monkeypatch):
    for name in [*os.environ]:
        if name.startswith(("PPL_", "SLURM_", "TF_CONFIG", "JOB_COMPLETION")):
            monkeypatch.delenv(name)
    assert processes.current() == SINGLE
    assert processes.connect() == SINGLE
    assert not processes.stop_before(3, requested=False)
    assert processes.stop_before(3, requested=True)
    monkeypatch.setenv(processes.COUNT, "2")
    with pytest.raises(ValueError, match="wanted PPL_PROCESS_INDEX"):
        processes.current()


@pytest.mark.parametrize(("name", "expected"), [("pod-7", "pod-7"), ("", "local")])
def test_the_named_tpu_is_started(monkeypatch, name, expected):
    """Checks the call to TensorFlow, without a TPU."""
    resolver = types.SimpleNamespace(connect=lambda tpu: f"resolver of {tpu}")
    package = types.SimpleNamespace(TPUClusterResolver=resolver)
    distribute = types.SimpleNamespace(cluster_resolver=package)
    tensorflow = types.SimpleNamespace(distribute=distribute)
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)
    monkeypatch.setenv("TPU_NAME", name)
    assert processes.connect_tpu() == f"resolver of {expected}"


# Joining.


@pytest.fixture
def addresses():
    """Two free addresses."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return tuple(f"127.0.0.1:{one.getsockname()[1]}" for one in sockets)


def joined(*calls):
    """What each call of `join` returns or raises, in threads at the same time."""
    results = [None] * len(calls)

    def run(number, args, kwargs):
        try:
            results[number] = rendezvous.join(*args, **kwargs)
        except Exception as error:
            results[number] = error

    threads = [
        threading.Thread(target=run, args=[n, args, {"seconds": 10.0, **kwargs}])
        for n, (*args, kwargs) in enumerate(calls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_a_port_in_use_is_an_error_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = Process(0, 2, (address, "127.0.0.1:1"))
        with pytest.raises(ValueError, match=f"{address}: port .* in use"):
            processes.check_port(process)
    processes.check_port(process)


@pytest.mark.parametrize("index", [0, 1])
def test_a_process_that_never_joins_is_named_with_its_address(addresses, index):
    start = time.monotonic()
    with pytest.raises(TimeoutError) as error:
        rendezvous.join(index, addresses, digest="", seconds=0.5)
    other = 1 - index
    assert f"never joined: process {other} at {addresses[other]}" in str(error.value)
    assert time.monotonic() - start >= 0.5


def test_the_processes_that_joined_learn_which_did_not(addresses):
    closed = ("127.0.0.1:9",)  # the discard service, which nothing serves
    first, second = joined(
        (0, addresses + closed, {"digest": "", "seconds": 1.0}),
        (1, addresses + closed, {"digest": "", "seconds": 1.0}),
    )
    for error in (first, second):
        assert isinstance(error, TimeoutError)
        assert "never joined: process 2 at 127.0.0.1:9" in str(error)


def test_processes_with_different_configs_do_not_join(addresses):
    first, second = joined(
        (0, addresses, {"digest": "seed 1"}), (1, addresses, {"digest": "seed 2"})
    )
    for error in (first, second):
        assert isinstance(error, ValueError)
        assert "process 1 was started with another config or seed" in str(error)


def test_processes_with_different_addresses_do_not_join(addresses):
    more = (*addresses, "127.0.0.1:9")
    _, second = joined(
        (0, more, {"digest": "", "seconds": 1.0}), (1, addresses, {"digest": ""})
    )
    assert isinstance(second, ValueError)
    assert "process 0 was given the addresses" in str(second)


def test_another_server_is_not_taken_for_a_process(addresses):
    def close_all(server):
        with contextlib.suppress(OSError):
            while True:
                server.accept()[0].close()

    port = int(addresses[1].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)) as server:
        threading.Thread(target=close_all, args=[server], daemon=True).start()
        with pytest.raises(TimeoutError, match="something else answers there"):
            rendezvous.join(0, addresses, digest="", seconds=0.5)
        server.shutdown(socket.SHUT_RDWR)


def test_another_client_is_refused_and_the_processes_still_join(addresses):
    port = int(addresses[1].rpartition(":")[2])

    def request():
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            time.sleep(0.01)
            try:
                client = socket.create_connection(("127.0.0.1", port), 1)
            except OSError:  # not open yet
                continue
            with client, contextlib.suppress(ConnectionResetError):
                client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                refusals.append(client.recv(10))
                return
            refusals.append(b"")
            return

    refusals = []
    other = threading.Thread(target=request)
    other.start()
    second = []
    waiting = threading.Thread(
        target=lambda: second.extend(joined((1, addresses, {"digest": ""})))
    )
    waiting.start()
    other.join(10)
    assert refusals == [b""]
    (first,) = joined((0, addresses, {"digest": ""}))
    waiting.join(10)
    for group in (first, *second):
        assert isinstance(group, rendezvous.ProcessGroup)
        group.close()


# Stopping at the same step.


def train(group, *, lock_step, stop_at, num_steps=50):
    """How many steps were taken, each waiting for the other process's."""
    for step in range(num_steps):
        if group.stop_before(step, requested=stop_at is not None and step >= stop_at):
            return step
        lock_step(step)
    return num_steps


@pytest.mark.parametrize("requests", [(3, None), (None, 3), (4, 9), (0, 0), (49, None)])
@pytest.mark.parametrize("ahead", [0, 2])
def test_all_stop_before_the_same_step_and_none_waits_for_another(
    addresses, requests, ahead
):
    groups = joined((0, addresses, {"digest": ""}), (1, addresses, {"digest": ""}))
    started, changed = [-1, -1], threading.Condition()

    def lock_step(index):
        def take(step):  # ends when the other process is at most `ahead` behind
            with changed:
                started[index] = step
                changed.notify_all()
                assert changed.wait_for(lambda: started[1 - index] >= step - ahead, 20)

        return take

    ended = [None, None]

    def run(index):
        ended[index] = train(
            groups[index], lock_step=lock_step(index), stop_at=requests[index]
        )

    threads = [threading.Thread(target=run, args=[i]) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for group in groups:
        group.close()
    assert ended[0] == ended[1]
    first_request = min(step for step in requests if step is not None)
    assert first_request <= ended[0] <= 50
    if requests[0] == first_request:  # process 0 needs no message from another
        assert ended[0] <= first_request + 1 + ahead


# Two processes give the losses of one device.


def training(process):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.experiments.cluster.small_training"],
        cwd=REPO,
        env=os.environ
        | {"PYTHONPATH": str(REPO), "TF_CPP_MIN_LOG_LEVEL": "3"}
        | processes.to_environment(process)
        | {processes.JOIN_SECONDS: "60"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def test_two_processes_train_as_one_device_does_until_one_dies(addresses):
    pair = [training(Process(index, 2, addresses)) for index in range(2)]
    try:
        together = [json.loads(one.stdout.readline()) for one in pair]
        pair[1].send_signal(signal.SIGKILL)
        left, _ = pair[0].communicate(timeout=60)
    finally:
        for one in pair:
            one.kill()
            one.communicate()
    assert json.loads(left) == "UnavailableError"  # told, and not waited for
    steps = small_training.losses(SINGLE)
    alone = list(itertools.islice(steps, small_training.SHOWN))
    assert together[0] == together[1]
    assert together[0] == pytest.approx(alone, rel=1e-5)
    assert together[0][-1] < together[0][0] - 1
