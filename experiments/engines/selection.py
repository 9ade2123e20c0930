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
from experiments.training.topology import (
    Topology,
    check_devices,
    local_devices,
    num_devices,
    resolve_device_type,
)

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

    placement: of a model whose loss places its parts; used if the topology has their
      dimension.

    Raises ValueError, before anything runs, if the machine lacks the devices, if they
    do not divide over the processes, if a weight has no rule or does not divide by it,
    and for settings that the engine does not support.
    """
    check_engine(
        model, topology, settings, device_type=device_type, placement=placement
    )
    optimizer = optimizer._replace(trainable_from=model.trainable_from)
    if _is_placed(topology, placement):
        devices = local_devices(topology.num_devices, device_type)
        return ManuallyPlaced(model, optimizer, topology, settings, placement, devices)
    if not _is_batch_alone(topology):
        devices = local_devices(topology.num_devices, device_type)
        return Sharded(model, optimizer, topology, settings, devices)
    if processes.current().count > 1:
        strategy = _multi_worker_strategy(topology, device_type)
    elif topology.num_devices > 1:
        strategy = _local_strategy(topology, device_type)
    else:
        devices = local_devices(1, device_type)
        return SingleDevice(model, optimizer, topology, settings, devices)
    return Replicated(model, optimizer, topology, settings, strategy)


def check_engine(
    model: Model,
    topology: Topology,
    settings: StepSettings,
    *,
    device_type: str | None = None,
    placement: Placement | None = None,
) -> None:
    """Raises what `make_engine` does, and starts no device."""
    check_state(model)
    count = processes.current().count
    if model.state and not _is_batch_alone(topology):
        raise ValueError(
            f"mesh: given {str(topology)!r}, wanted 'batch' alone: {model.name} has "
            f"the state {sorted(model.state)}, which is whole on every device"
        )
    placed = _is_placed(topology, placement)
    if placed:
        check_placement(topology, settings, placement)
    else:
        sharding(model, topology)
    if topology.num_devices % count:
        raise ValueError(
            f"mesh: given {str(topology)!r}, wanted devices that divide over the "
            f"{count} processes"
        )
    if count > 1 and (placed or not _is_batch_alone(topology)):
        raise ValueError(
            f"mesh: given {str(topology)!r} over {count} processes, wanted 'batch' "
            "alone: other dimensions want all devices in one process"
        )
    if settings.jit_compile and not _is_batch_alone(topology):
        raise ValueError(
            f"jit_compile: given True with mesh {str(topology)!r}, wanted False: "
            "DTensor lowers the step itself"
        )
    kind = resolve_device_type(device_type)
    available = num_devices(kind)
    if count > 1 and kind == "TPU":
        raise ValueError(
            f"mesh: given {count} processes on TPUs, wanted one for the whole slice"
        )
    if count > 1 and topology.num_devices // count != (available or 1):
        raise ValueError(
            f"mesh: given {str(topology)!r}, {topology.num_devices // count} devices "
            f"in each of {count} processes, wanted the {available or 1} of kind {kind} "
            "that each has"
        )
    in_slice = kind == "TPU" and topology.num_devices > 1 and os.environ.get("TPU_NAME")
    if count == 1 and not in_slice:  # most devices of a slice are on other hosts
        check_devices(topology.num_devices, kind)


def _is_placed(topology: Topology, placement: Placement | None) -> bool:
    return placement is not None and bool(dict(topology.dims).keys() - {"batch"})


def _is_batch_alone(topology: Topology) -> bool:
    return {name for name, size in topology.dims if size > 1} <= {"batch"}


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
    """Over all cores of this host's TPU, or of the pod slice that TPU_NAME names."""
    strategy = tf.distribute.TPUStrategy(processes.connect_tpu())
    if strategy.num_replicas_in_sync != topology.num_devices:
        raise ValueError(
            f"mesh: given {str(topology)!r}, wanted all "
            f"{strategy.num_replicas_in_sync} cores of the TPU"
        )
    return strategy


def _multi_worker_strategy(
    topology: Topology, device_type: str | None
) -> tf.distribute.Strategy:
    """Over all processes, each with its own devices.

    Must be created before TensorFlow initialises its devices.
    """
    process, kind = processes.current(), resolve_device_type(device_type)
    local = topology.num_devices // process.count
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(process.addresses)}),
        task_type="worker",
        task_id=process.index,
        num_accelerators={} if kind == "CPU" else {kind: local},
        rpc_layer="grpc",
    )
    return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
