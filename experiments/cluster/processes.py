"""Which process of a distributed run this one is, and how the processes connect.

The answer comes from our own settings, TF_CONFIG or a scheduler.  Nothing here but
`connect_tpu` imports TensorFlow, so that the command line finds a mistake in seconds.
That is why `tf.distribute.cluster_resolver` serves for TPUs only: its Slurm resolver
needs TensorFlow and calls `scontrol`, and its Kubernetes resolver calls the API server.
"""

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.cluster import rendezvous

# Our own variables.  Each means the same as the flag named beside it.
COUNT = "PPL_NUM_PROCESSES"  # --num_processes
INDEX = "PPL_PROCESS_INDEX"  # --process_index
ADDRESSES = "PPL_PROCESS_ADDRESSES"  # --process_addresses
JOIN_SECONDS = "PPL_JOIN_SECONDS"  # --join_seconds
PORT = "PPL_PROCESS_PORT"  # the first on each host, where a scheduler names the hosts
CONFIG_DIGEST = "PPL_CONFIG_DIGEST"  # of config and seed, equal in all processes

DEFAULT_PORT = 7070
DEFAULT_JOIN_SECONDS = 300.0
FLAGS = {COUNT: "--num_processes", INDEX: "--process_index"}
FLAGS[ADDRESSES] = "--process_addresses"


@dataclasses.dataclass(frozen=True)
class Process:
    """One process of a distributed run.  Only the process of index 0 writes files."""

    index: int = 0
    count: int = 1
    addresses: tuple[str, ...] = ()  # host:port of each, by index; () of a single one


SINGLE = Process()


_FIELDS = {  # of _Settings, in words
    "count": "number of processes",
    "index": "index of this process",
    "addresses": "addresses of the processes",
}


@dataclasses.dataclass(frozen=True)
class _Settings:
    """What one source says.  None: it does not say."""

    source: str
    count: int | None = None
    index: int | None = None
    addresses: str | tuple[str, ...] | None = None  # a str may hold {index}


def current() -> Process:
    """This process, from its environment.  `SINGLE` if nothing says otherwise.

    Raises ValueError for settings that contradict each other or are incomplete.
    """
    process = resolve(os.environ)
    if process is None:
        raise ValueError(
            f"{COUNT}={os.environ[COUNT]}: given no index of this process, "
            f"wanted {INDEX}"
        )
    return process


def resolve(
    environ: Mapping[str, str],
    *,
    count: int | None = None,
    index: int | None = None,
    addresses: str | None = None,
) -> Process | None:
    """The process that the flags (the arguments) and the environment describe.

    None: there are several processes, and no source gives an index.  The caller then
    starts the others.  A scheduler's variables are read only if several processes are
    asked for, and only for what no other source says.

    Raises ValueError for settings that contradict each other or are incomplete.
    """
    sources = [
        _Settings("flags", count, index, addresses),
        *_own_variables(environ),
        *_tf_config(environ),
    ]
    settings = _merge(sources)
    several = settings.count is not None and settings.count > 1
    if (several or settings.addresses is not None) and (
        settings.index is None or settings.addresses is None
    ):
        for scheduler in (_slurm, _tpu_pod, _kubernetes):
            settings = _merge([settings, *scheduler(environ, settings)])
    return _check(settings)


def to_environment(process: Process) -> dict[str, str]:
    """The environment variables from which `resolve` returns this process."""
    return {
        COUNT: str(process.count),
        INDEX: str(process.index),
        ADDRESSES: ",".join(process.addresses),
    }


def share(name: str, num: int, process: Process) -> tuple[int, int]:
    """The first of this process's share of `num` things in order, and how many it has.

    Raises ValueError, with `name`, where there are fewer than processes.
    """
    if num < process.count:
        raise ValueError(
            f"{name}: given {num}, wanted at least {process.count}, one a process"
        )
    first, end = (i * num // process.count for i in (process.index, process.index + 1))
    return first, end - first


def folder_of(run_dir: Path, index: int) -> Path:
    """Where a process of a run writes what is its own."""
    return run_dir / f"process{index}" if index else run_dir


def timeout_seconds(own_seconds: float) -> float:
    """The time to wait for another process after this one has finished."""
    return max(600.0, 10 * own_seconds)


def check_port(process: Process) -> None:
    """Raises ValueError if the port at which this process listens is taken."""
    if process.count > 1:
        rendezvous.listen(process.addresses[process.index]).close()


_group: rendezvous.ProcessGroup | None = None


def connect() -> Process:
    """Waits for all processes.  Call it before TensorFlow's first op.

    A second call does not wait again, and a single process does not wait.

    Raises ValueError if the port is taken or if a process was started with another
    command; TimeoutError, with the address, for a process that does not join.
    """
    global _group
    process = current()
    if process.count == 1:
        return process
    if _group is None:
        _group = rendezvous.join(
            process.index,
            process.addresses,
            digest=os.environ.get(CONFIG_DIGEST, ""),
            seconds=_number(os.environ, JOIN_SECONDS, DEFAULT_JOIN_SECONDS, float),
        )
    return process


def connect_tpu() -> Any:
    """Starts the TPU that TPU_NAME names, or this host's, and returns its resolver.

    The TPU may be a whole pod slice, driven by this one process.
    """
    import tensorflow as tf

    resolver = tf.distribute.cluster_resolver.TPUClusterResolver
    return resolver.connect(os.environ.get("TPU_NAME") or "local")


def stop_before(step: int, *, requested: bool) -> bool:
    """Whether training ends before `step`.  Every process gets the same answer.

    Every process calls this before each step.  requested: whether this one was asked to
    stop.  Once any was, all continue to the first step that none has started, so that
    no process waits in a step for one that has ended.
    """
    if _group is None:
        return requested
    return _group.stop_before(step, requested=requested)


# The sources of settings.


def _own_variables(environ: Mapping[str, str]) -> Iterator[_Settings]:
    if environ.get(COUNT):
        yield _Settings(COUNT, count=_number(environ, COUNT))
    if environ.get(INDEX):
        yield _Settings(INDEX, index=_number(environ, INDEX))
    if environ.get(ADDRESSES):
        yield _Settings(ADDRESSES, addresses=environ[ADDRESSES])


def _tf_config(environ: Mapping[str, str]) -> Iterator[_Settings]:
    """TensorFlow's own variable.  A chief, if there is one, is the first process."""
    if not environ.get("TF_CONFIG"):
        return
    try:
        config = json.loads(environ["TF_CONFIG"])
        jobs = config.get("cluster") or {}
        task = config.get("task") or {}
        addresses = (*jobs.get("chief", ()), *jobs.get("worker", ()))
        kind, index = str(task.get("type", "worker")), int(task.get("index", 0))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"TF_CONFIG: not what TensorFlow reads: {error}") from error
    if not jobs:
        return
    odd = sorted({*jobs, kind} - {"chief", "worker"})
    if odd:
        raise ValueError(
            f"TF_CONFIG: given the job {odd[0]!r}, wanted 'worker' and 'chief' alone"
        )
    index += len(jobs.get("chief", ())) if kind == "worker" else 0
    yield _Settings("TF_CONFIG", len(addresses), index, addresses)


def _slurm(environ: Mapping[str, str], known: _Settings) -> Iterator[_Settings]:
    """A task of one `srun`.  The batch script is a single process."""
    if not {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"} <= environ.keys():
        return
    count = _number(environ, "SLURM_STEP_NUM_TASKS")
    if count == 1:
        return
    index = _number(environ, "SLURM_PROCID")
    if known.addresses is not None:
        yield _Settings("Slurm", count, index)
        return
    hosts = expand_hosts(
        environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_NODELIST", "")
    )
    tasks = expand_counts(environ.get("SLURM_STEP_TASKS_PER_NODE", f"1(x{len(hosts)})"))
    if len(tasks) != len(hosts) or sum(tasks) != count:
        raise ValueError(
            f"Slurm: {count} tasks, {tasks} per node and {len(hosts)} hosts do not "
            f"agree; wanted {FLAGS[ADDRESSES]}"
        )
    # Jobs on one host use different ports: 64 each, below the ephemeral range.
    job = _number(environ, "SLURM_JOB_ID", 0)
    port = _number(environ, PORT, 10000 + job * 64 % 20000)
    nodes, addresses = zip(
        *(
            (node, f"{host}:{port + local}")
            for node, (host, num_tasks) in enumerate(zip(hosts, tasks, strict=True))
            for local in range(num_tasks)
        ),
        strict=True,
    )
    node = environ.get("SLURM_NODEID")
    if index < count and node is not None and int(node) != nodes[index]:
        raise ValueError(
            f"Slurm: task {index} is on node {node}, wanted {nodes[index]}; start "
            "with srun --distribution=block"
        )
    yield _Settings("Slurm", count, index, addresses)


def _tpu_pod(environ: Mapping[str, str], known: _Settings) -> Iterator[_Settings]:
    """A host of a TPU pod slice, by the variables that Kubernetes Engine sets."""
    if not {"TPU_WORKER_ID", "TPU_WORKER_HOSTNAMES"} <= environ.keys():
        return
    hosts = environ["TPU_WORKER_HOSTNAMES"].split(",")
    if len(hosts) == 1:
        return
    port = _number(environ, PORT, DEFAULT_PORT)
    addresses = tuple(f"{host.strip()}:{port}" for host in hosts)
    index = _number(environ, "TPU_WORKER_ID")
    source = "TPU_WORKER_HOSTNAMES"
    yield _Settings(source, len(hosts), index, None if known.addresses else addresses)


def _kubernetes(environ: Mapping[str, str], known: _Settings) -> Iterator[_Settings]:
    """A pod of an Indexed Job.  The author of the job gives the addresses."""
    if known.index is None and "JOB_COMPLETION_INDEX" in environ:
        index = _number(environ, "JOB_COMPLETION_INDEX")
        yield _Settings("JOB_COMPLETION_INDEX", index=index)


def expand_hosts(text: str) -> list[str]:
    """The hosts of a Slurm list such as "a[01-03,7]b,c", in order.

    >>> expand_hosts("a[01-02]b,c")
    ['a01b', 'a02b', 'c']
    """
    hosts: list[str] = []
    for part in re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+", text):
        names = [""]
        for plain, ranges in re.findall(r"([^\[\]]+)|\[([^\[\]]*)\]", part):
            ends = [plain] if plain else list(_expand_ranges(ranges, text))
            names = [name + end for name in names for end in ends]
        hosts += names
    return hosts


def _expand_ranges(ranges: str, text: str) -> Iterator[str]:
    for part in ranges.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not match:
            raise ValueError(
                f"Slurm: given the hosts {text!r}, wanted numbers in place of {part!r}"
            )
        first, last = match[1], match[2] or match[1]
        for number in range(int(first), int(last) + 1):
            yield str(number).zfill(len(first))


def expand_counts(text: str) -> list[int]:
    """The numbers of a Slurm list of tasks per node.

    >>> expand_counts("2(x3),1")
    [2, 2, 2, 1]
    """
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not match:
            raise ValueError(
                f"Slurm: given the tasks {text!r}, wanted a number in place of {part!r}"
            )
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


# Merging and checking.


def _merge(sources: list[_Settings]) -> _Settings:
    """The settings of all sources.  Raises ValueError if two of them differ."""
    merged: dict[str, tuple[str, object]] = {}  # of each field, its source and value
    for settings in sources:
        for field, description in _FIELDS.items():
            value = getattr(settings, field)
            if value is None:
                continue
            if field == "addresses" and isinstance(value, str) and "{" not in value:
                value = tuple(part.strip() for part in value.split(","))
            source, existing = merged.setdefault(field, (settings.source, value))
            if existing != value:
                raise ValueError(
                    f"the {description}: {source} says {_text(existing)} and "
                    f"{settings.source} {_text(value)}, wanted one"
                )
    values = {field: value for field, (_, value) in merged.items()}
    names = " and ".join(dict.fromkeys(source for source, _ in merged.values()))
    return _Settings(names, **values)  # type: ignore[arg-type]


def _text(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _check(settings: _Settings) -> Process | None:
    count, index, addresses = settings.count, settings.index, settings.addresses
    if count is not None and count < 1:
        raise ValueError(f"{FLAGS[COUNT]}: given {count}, wanted 1 or more")
    if count is None:
        if isinstance(addresses, str) or (addresses is None and index):
            flag = FLAGS[ADDRESSES if addresses else INDEX]
            raise ValueError(f"{flag} is given, wanted {FLAGS[COUNT]} beside it")
        count = len(addresses) if addresses else 1
    if index is not None and not 0 <= index < count:
        raise ValueError(
            f"{FLAGS[INDEX]}: given {index}, wanted 0 to {count - 1} of {count}"
        )
    if count == 1:
        return SINGLE
    if index is None:
        if addresses is None:
            return None
        raise ValueError(
            f"{FLAGS[ADDRESSES]} is given, wanted {FLAGS[INDEX]} beside it"
        )
    if addresses is None:
        raise ValueError(
            f"process {index} of {count}: nothing says where the others are, wanted "
            f"{FLAGS[ADDRESSES]}"
        )
    if isinstance(addresses, str):
        addresses = tuple(addresses.replace("{index}", str(i)) for i in range(count))
    if len(addresses) != count:
        raise ValueError(
            f"{FLAGS[ADDRESSES]}: given {len(addresses)}, wanted {count}: "
            f"{','.join(addresses)}"
        )
    for i, address in enumerate(addresses):
        rendezvous.host_and_port(address)
        if address in addresses[:i]:
            raise ValueError(f"{FLAGS[ADDRESSES]}: {address} is given twice")
    return Process(index, count, addresses)


def _number[Kind: (int, float)](
    environ: Mapping[str, str],
    name: str,
    default: Kind | None = None,
    kind: type[Kind] = int,
) -> Kind:
    """The variable's number; the default where it is empty or missing."""
    if default is not None and not environ.get(name):
        return default
    try:
        return kind(environ[name])
    except ValueError as error:
        wanted = "seconds" if kind is float else "a whole number"
        raise ValueError(f"{name}: given {environ[name]!r}, wanted {wanted}") from error
