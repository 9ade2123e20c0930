"""Selects the engine of a topology: one device, tf.distribute, DTensor or cores."""

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
from experiments.training.engine import Engine, StepSettings
from experiments.training.model import Model, check_state
from experiments.training.optimizers import Optimizer
from experiments.training.state import sharding
from experiments.training.topology import Topology, local_devices, resolve_device_type

GROUP_KEYS = 1_000_000  # reserved for each strategy of a process


def make_engine(
    model: Model,
    optimizer: Optimizer,
    topology: Topology,
    settings: StepSettings,
    *,
    device_type: str | None = None,
    placement: Placement | None = None,
) -> Engine:
    """The engine of this topology, over all processes.  No variable exists yet.

    device_type: "TPU", "GPU" or "CPU"; None: the first of these that the machine has.
    placement: of a model whose loss places its parts; used if the topology has their
      dimension.

    Raises ValueError, before anything runs, if the machine lacks the devices, if they
    do not divide over the processes, if a weight has no rule or does not divide by it,
    and for settings that the engine does not support.
    """
    check_state(model)
    optimizer = optimizer._replace(trainable_from=model.trainable_from)
    dims = {name for name, size in topology.dims if size > 1}
    if model.state and not dims <= {"batch"}:
        raise ValueError(
            f"topology {topology}: {model.name} has the state {sorted(model.state)}, "
            "which is whole on every device; wanted 'batch' alone"
        )
    if placement is not None and {name for name, _ in topology.dims} - {"batch"}:
        return _manually_placed(
            model, optimizer, topology, settings, placement, device_type
        )
    sharding(model, topology)
    count = processes.current().count
    if topology.num_devices % count:
        raise ValueError(
            f"topology {topology}: {topology.num_devices} devices do not divide over "
            f"{count} processes"
        )
    if dims <= {"batch"}:
        if count > 1:
            strategy = _multi_worker_strategy(topology, device_type)
        elif topology.num_devices > 1:
            strategy = _local_strategy(topology, device_type)
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


def _manually_placed(
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


def _local_strategy(
    topology: Topology, device_type: str | None
) -> tf.distribute.Strategy:
    if resolve_device_type(device_type) == "TPU":
        return _tpu_strategy(topology)
    devices = local_devices(topology.num_devices, device_type)
    # Every strategy, and DTensor, numbers the groups of its collectives from 1.  Equal
    # numbers in one process make TensorFlow confuse the groups.
    tf.distribute.MirroredStrategy._collective_key_base += GROUP_KEYS
    return tf.distribute.MirroredStrategy(devices)


def _tpu_strategy(topology: Topology) -> tf.distribute.Strategy:
    """Over all cores of this host's TPU, or of the pod slice that TPU_NAME names.

    Most devices of a slice are on other hosts.
    """
    if not tf.config.list_physical_devices("TPU") and not os.environ.get("TPU_NAME"):
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


def _multi_worker_strategy(
    topology: Topology, device_type: str | None
) -> tf.distribute.Strategy:
    """Over all processes, each with its own devices.

    Must be created before TensorFlow initialises its devices.
    """
    process = processes.current()
    device_type = resolve_device_type(device_type)
    local = topology.num_devices // process.count
    if device_type == "TPU":
        raise ValueError(
            f"topology {topology}: given {process.count} processes on TPUs, wanted one "
            "for the whole slice"
        )
    on_cpu = device_type == "CPU"
    available = 1 if on_cpu else len(tf.config.list_physical_devices(device_type))
    if local != available:
        raise ValueError(
            f"topology {topology}: {local} devices in each of {process.count} "
            f"processes, wanted the {available} of kind {device_type} that each has"
        )
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(process.addresses)}),
        task_type="worker",
        task_id=process.index,
        num_accelerators={} if on_cpu else {device_type: available},
        rpc_layer="grpc",
    )
    return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
