"""Which of the processes that train together this one is, and how they meet.

Told by settings of our own, TF_CONFIG or a scheduler.  To be asked, TensorFlow is not
imported, so that the launcher can find a mistake before anything begins.
"""

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from experiments.cluster import rendezvous

# Ours; each says what the flag named beside it does.
COUNT = "PPL_NUM_PROCESSES"  # --num_processes
INDEX = "PPL_PROCESS_INDEX"  # --process_index
ADDRESSES = "PPL_PROCESS_ADDRESSES"  # --process_addresses
JOIN_SECONDS = "PPL_JOIN_SECONDS"  # --join_seconds
PORT = "PPL_PROCESS_PORT"  # the first on each host, where a scheduler names the hosts
CONFIG_DIGEST = (
    "PPL_CONFIG_DIGEST"  # a digest that the launcher wants equal on all processes
)

DEFAULT_PORT = 7070
DEFAULT_JOIN_SECONDS = 300.0
FLAGS = {COUNT: "--num_processes", INDEX: "--process_index"}
FLAGS[ADDRESSES] = "--process_addresses"


@dataclasses.dataclass(frozen=True)
class Process:
    """One of the processes that train together; only that of index 0 writes files."""

    index: int = 0
    count: int = 1
    addresses: tuple[str, ...] = ()  # host:port of each, by index; none of one alone


SINGLE = Process()


@dataclasses.dataclass(frozen=True)
class _Told:
    """What one source says; None where it does not."""

    source: str
    count: int | None = None
    index: int | None = None
    addresses: str | tuple[str, ...] | None = None  # a str may hold {index}


def current() -> Process:
    """This process, by its environment; `SINGLE` where nothing says otherwise.

    Raises ValueError for settings that contradict each other or lack something.
    """
    process = resolve(os.environ)
    if process is None:
        raise ValueError(
            f"{COUNT}={os.environ[COUNT]}: nothing says which of them this process is, "
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
    """The process that flags and environment describe, flags given as arguments.

    None where there are to be several and nothing says which of them this one is: then
    somebody has to start them.  Schedulers are asked only for what is not told, and
    only where several processes are asked for.

    Raises ValueError for settings that contradict each other or lack something.
    """
    sources = [
        _Told("flags", count, index, addresses),
        *_own(environ),
        *_tf_config(environ),
    ]
    told = _merged(sources)
    several = told.count is not None and told.count > 1
    if (several or told.addresses is not None) and (
        told.index is None or told.addresses is None
    ):
        for scheduler in (_slurm, _tpu_pod, _kubernetes):
            told = _merged([told, *scheduler(environ, told)])
    return _checked(told)


def to_environment(process: Process) -> dict[str, str]:
    """The settings that make `resolve` find this process."""
    return {
        COUNT: str(process.count),
        INDEX: str(process.index),
        ADDRESSES: ",".join(process.addresses),
    }


def check_port(process: Process) -> None:
    """Raises ValueError where the port that this process is to listen at is taken."""
    if process.count > 1:
        rendezvous.listen(process.addresses[process.index]).close()


_group: rendezvous.ProcessGroup | None = None


def connect(runtime: str | None = None) -> Process:
    """Waits for all processes, and sets what `runtime` reads of this one's place.

    runtime: "distribute" sets TF_CONFIG, "dtensor" the DTENSOR_ variables; None sets
      nothing.  Called before TensorFlow's first op; where it is called again it does
      not wait again, and one process alone has nothing to wait for.

    Raises ValueError for a port taken and for processes that were started otherwise
    than this one; TimeoutError, with its address, for one that does not come.
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
            seconds=_number(os.environ, JOIN_SECONDS, DEFAULT_JOIN_SECONDS),
        )
    if runtime is not None:
        os.environ.update(_wanted_by(runtime, process))
    return process


def connect_tpu() -> Any:
    """The resolver of the TPU that TPU_NAME names, or of this host's, once started.

    It may be a whole pod slice, driven by this one process.  Imports TensorFlow.
    """
    import tensorflow as tf

    resolver = tf.distribute.cluster_resolver.TPUClusterResolver
    return resolver.connect(os.environ.get("TPU_NAME") or "local")


def stop_before(step: int, *, requested: bool) -> bool:
    """Whether training ends before `step`: the same answer in every process.

    Every process calls this before each step.  requested: whether this one was asked to
    stop.  Once any was, all continue to the first step that none has started, so that
    no process waits in a step for one that has ended.
    """
    if _group is None:
        return requested
    return _group.stop_before(step, requested=requested)


def _wanted_by(runtime: str, process: Process) -> dict[str, str]:
    if runtime == "distribute":
        cluster = {"worker": list(process.addresses)}
        task = {"type": "worker", "index": process.index}
        return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
    if runtime == "dtensor":
        return {
            "DTENSOR_CLIENT_ID": str(process.index),
            "DTENSOR_NUM_CLIENTS": str(process.count),
            "DTENSOR_JOB_NAME": "worker",
            "DTENSOR_JOBS": ",".join(process.addresses),
        }
    raise ValueError(f"runtime: given {runtime!r}, wanted 'distribute' or 'dtensor'")


# The sources.


def _own(environ: Mapping[str, str]) -> Iterator[_Told]:
    if environ.get(COUNT):
        yield _Told(COUNT, count=_whole(environ, COUNT))
    if environ.get(INDEX):
        yield _Told(INDEX, index=_whole(environ, INDEX))
    if environ.get(ADDRESSES):
        yield _Told(ADDRESSES, addresses=environ[ADDRESSES])


def _tf_config(environ: Mapping[str, str]) -> Iterator[_Told]:
    """TensorFlow's own: a chief, where there is one, is the first process."""
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
    yield _Told("TF_CONFIG", len(addresses), index, addresses)


def _slurm(environ: Mapping[str, str], told: _Told) -> Iterator[_Told]:
    """A task of one `srun`; not the batch script, which is one process alone."""
    if not {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"} <= environ.keys():
        return
    count = _whole(environ, "SLURM_STEP_NUM_TASKS")
    if count == 1:
        return
    index = _whole(environ, "SLURM_PROCID")
    if told.addresses is not None:
        yield _Told("Slurm", count, index)
        return
    hosts = expand_hosts(
        environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_NODELIST", "")
    )
    tasks = expand_counts(environ.get("SLURM_STEP_TASKS_PER_NODE", f"1(x{len(hosts)})"))
    if len(tasks) != len(hosts) or sum(tasks) != count:
        raise ValueError(
            f"Slurm: {count} tasks as {tasks} on {len(hosts)} hosts do not agree; "
            f"give {FLAGS[ADDRESSES]}"
        )
    # Jobs that share a host keep apart: 64 ports each, below those lent to clients.
    job = _whole(environ, "SLURM_JOB_ID") if environ.get("SLURM_JOB_ID") else 0
    port = _port(environ, 10000 + job * 64 % 20000)
    placed = [
        (node, f"{host}:{port + number}")
        for node, (host, num) in enumerate(zip(hosts, tasks, strict=True))
        for number in range(num)
    ]
    node = environ.get("SLURM_NODEID")
    if index < count and node is not None and int(node) != placed[index][0]:
        raise ValueError(
            f"Slurm: task {index} is on node {node}, wanted {placed[index][0]}; start "
            "with srun --distribution=block"
        )
    yield _Told("Slurm", count, index, tuple(address for _, address in placed))


def _tpu_pod(environ: Mapping[str, str], told: _Told) -> Iterator[_Told]:
    """A host of a pod slice, as the TPU machines of Kubernetes Engine are told it."""
    if not {"TPU_WORKER_ID", "TPU_WORKER_HOSTNAMES"} <= environ.keys():
        return
    hosts = environ["TPU_WORKER_HOSTNAMES"].split(",")
    if len(hosts) == 1:
        return
    port = _port(environ, DEFAULT_PORT)
    addresses = tuple(f"{host.strip()}:{port}" for host in hosts)
    index = _whole(environ, "TPU_WORKER_ID")
    source = "TPU_WORKER_HOSTNAMES"
    yield _Told(source, len(hosts), index, None if told.addresses else addresses)


def _kubernetes(environ: Mapping[str, str], told: _Told) -> Iterator[_Told]:
    """A pod of an Indexed Job; its addresses are for the job's author to say."""
    if told.index is None and "JOB_COMPLETION_INDEX" in environ:
        index = _whole(environ, "JOB_COMPLETION_INDEX")
        yield _Told("JOB_COMPLETION_INDEX", index=index)


def expand_hosts(text: str) -> list[str]:
    """The hosts of a Slurm list such as "a[01-03,7]b,c", in order."""
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
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not found:
            raise ValueError(f"Slurm: given the hosts {text!r}, cannot read {part!r}")
        first, last = found[1], found[2] or found[1]
        for number in range(int(first), int(last) + 1):
            yield str(number).zfill(len(first))


def expand_counts(text: str) -> list[int]:
    """The numbers of a Slurm list such as "2(x3),1": 2, 2, 2, 1."""
    counts: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not found:
            raise ValueError(f"Slurm: given the tasks {text!r}, cannot read {part!r}")
        counts += [int(found[1])] * int(found[2] or 1)
    return counts


# Their agreement.


def _merged(sources: list[_Told]) -> _Told:
    """What the sources say together.  Raises ValueError where two differ."""
    found: dict[str, tuple[str, object]] = {}
    for source in sources:
        for name in ("count", "index", "addresses"):
            value = getattr(source, name)
            if value is None:
                continue
            if name == "addresses" and isinstance(value, str) and "{" not in value:
                value = tuple(part.strip() for part in value.split(","))
            first, known = found.setdefault(name, (source.source, value))
            if known != value:
                raise ValueError(
                    f"the {_NAMES[name]}: {first} says {_shown(known)} and "
                    f"{source.source} {_shown(value)}, wanted one"
                )
    values = {name: value for name, (_, value) in found.items()}
    named = " and ".join(dict.fromkeys(source for source, _ in found.values()))
    return _Told(named, **values)  # type: ignore[arg-type]


_NAMES = {
    "count": "number of processes",
    "index": "index of this process",
    "addresses": "addresses of the processes",
}


def _shown(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _checked(told: _Told) -> Process | None:
    count, index, addresses = told.count, told.index, told.addresses
    if count is not None and count < 1:
        raise ValueError(f"{FLAGS[COUNT]}: given {count}, wanted 1 or more")
    if count is None:
        if isinstance(addresses, str) or (addresses is None and index):
            given = FLAGS[ADDRESSES if addresses else INDEX]
            raise ValueError(f"{given} is given, wanted {FLAGS[COUNT]} beside it")
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
    for number, address in enumerate(addresses):
        rendezvous.host_and_port(address)
        if address in addresses[:number]:
            raise ValueError(f"{FLAGS[ADDRESSES]}: {address} is given twice")
    return Process(index, count, addresses)


def _whole(environ: Mapping[str, str], name: str) -> int:
    try:
        return int(environ[name])
    except ValueError as error:
        raise ValueError(
            f"{name}: given {environ[name]!r}, wanted a whole number"
        ) from error


def _port(environ: Mapping[str, str], otherwise: int) -> int:
    return _whole(environ, PORT) if environ.get(PORT) else otherwise


def _number(environ: Mapping[str, str], name: str, otherwise: float) -> float:
    try:
        return float(environ.get(name) or otherwise)
    except ValueError as error:
        raise ValueError(f"{name}: given {environ[name]!r}, wanted seconds") from error
