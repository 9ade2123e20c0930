"""Which engine runs a topology: one device, tf.distribute, DTensor, or placed cores."""

import os

import tensorflow as tf

from experiments.cluster import processes
from experiments.engines.manual_placement import (
    ManuallyPlaced,
    Placement,
    check_placement,
)
from experiments.engines.replicated import Replicated
from experiments.engines.sharded import Sharded
from experiments.engines.single import SingleDevice
from experiments.training import train_step
from experiments.training.engine import Engine, StepSettings
from experiments.training.model import Model, check_state
from experiments.training.optimizers import Optimizer
from experiments.training.state import sharding
from experiments.training.topology import Topology, local_devices, resolve_device_type

GROUP_KEYS = 1_000_000  # set aside for each strategy of a process


def make_engine(
    model: Model,
    optimizer: Optimizer,
    topology: Topology,
    settings: StepSettings,
    *,
    device_type: str | None = None,
    placement: Placement | None = None,
) -> Engine:
    """The runtime of this topology, over all processes; nothing is placed yet.

    device_type: "TPU", "GPU" or "CPU"; None: the first of these that the machine has.
    placement: of a model whose loss places its parts, where the topology has their
      dimension.

    Raises ValueError, before anything runs, where the machine lacks the devices, the
    processes do not divide them, a weight is without a rule or does not divide by it,
    and for settings that the engine cannot obey.
    """
    train_step.check_settings(settings)
    check_state(model)
    optimizer = optimizer._replace(trainable_from=model.trainable_from)
    dims = {name for name, size in topology.dims if size > 1}
    if model.state and not dims <= {"batch"}:
        raise ValueError(
            f"topology {topology}: {model.name} has state, {sorted(model.state)}, that "
            "is whole on every device; wanted 'batch' alone"
        )
    if placement is not None and {name for name, _ in topology.dims} - {"batch"}:
        return _over_cores(model, optimizer, topology, settings, placement, device_type)
    sharding(model, topology)
    count = processes.current().count
    if topology.num_devices % count:
        raise ValueError(
            f"topology {topology}: {topology.num_devices} devices do not divide over "
            f"{count} processes"
        )
    if dims <= {"batch"}:
        if count > 1:
            strategy = _over_processes(topology, device_type)
        elif topology.num_devices > 1:
            strategy = _over_devices(topology, device_type)
        else:
            (device,) = local_devices(1, device_type)
            return SingleDevice(model, optimizer, topology, settings, device)
        return Replicated(model, optimizer, topology, settings, strategy)
    if count > 1:
        raise ValueError(
            f"topology {topology} over {count} processes: several processes share "
            "'batch' alone; other dimensions want all devices in one process"
        )
    if settings.jit_compile:
        raise ValueError(
            f"jit_compile: topology {topology} cannot, wanted False; DTensor lowers "
            "the step itself"
        )
    devices = local_devices(topology.num_devices, device_type)
    return Sharded(model, optimizer, topology, settings, devices)


def _over_cores(
    model: Model,
    optimizer: Optimizer,
    topology: Topology,
    settings: StepSettings,
    placement: Placement,
    device_type: str | None,
) -> Engine:
    check_placement(topology, settings, placement)
    if (count := processes.current().count) > 1:
        raise ValueError(
            f"topology {topology} over {count} processes: {placement.dim!r} wants all "
            "devices in one process"
        )
    devices = local_devices(topology.num_devices, device_type)
    return ManuallyPlaced(model, optimizer, topology, settings, placement, devices)


def _over_devices(
    topology: Topology, device_type: str | None
) -> tf.distribute.Strategy:
    if (
        resolve_device_type(device_type) == "TPU"
    ):  # of a pod slice, most are on other hosts
        return _over_tpus(topology)
    devices = local_devices(topology.num_devices, device_type)
    # TensorFlow numbers the groups of its collectives from 1 anew in every strategy and
    # in DTensor, and two that meet in one process take each other for their own.
    tf.distribute.MirroredStrategy._collective_key_base += GROUP_KEYS
    return tf.distribute.MirroredStrategy(devices)


def _over_tpus(topology: Topology) -> tf.distribute.Strategy:
    """All cores of this host's TPU, or of the slice that TPU_NAME names."""
    here = tf.config.list_physical_devices("TPU")
    if not here and not os.environ.get("TPU_NAME"):
        raise ValueError(
            f"topology {topology}: wanted {topology.num_devices} of kind TPU, this "
            "machine has 0 and TPU_NAME names no slice"
        )
    strategy = tf.distribute.TPUStrategy(processes.connect_tpu())
    if strategy.num_replicas_in_sync != topology.num_devices:
        raise ValueError(
            f"topology {topology}: wanted all {strategy.num_replicas_in_sync} cores "
            "of the TPU"
        )
    return strategy


def _over_processes(
    topology: Topology, device_type: str | None
) -> tf.distribute.Strategy:
    """Each process with its own devices; it must be made before TensorFlow begins."""
    process = processes.current()
    device_type = resolve_device_type(device_type)
    local = topology.num_devices // process.count
    there = (
        1 if device_type == "CPU" else len(tf.config.list_physical_devices(device_type))
    )
    if device_type == "TPU":
        raise ValueError("TPU: wanted one process a pod, which TPUStrategy spans")
    if local != there:
        raise ValueError(
            f"topology {topology}: {local} devices in each of {process.count} "
            f"processes, wanted the {there} of kind {device_type} that each has"
        )
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(process.addresses)}),
        task_type="worker",
        task_id=process.index,
        num_accelerators={} if device_type == "CPU" else {device_type: there},
        rpc_layer="grpc",
    )
    return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
