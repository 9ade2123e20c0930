"""The graph of a manually placed step on devices that need not exist."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from experiments.engines.manual_placement import (
    Placement,
    all_reduce_gradients,
    check_placement,
    replica_devices,
    replica_sums,
    variables_of_cores,
)
from experiments.training import state, train_step
from experiments.training.engine import StepSettings
from experiments.training.model import Model
from experiments.training.optimizers import Optimizer
from experiments.training.topology import Topology


def step_graph(
    model: Model,
    optimizer: Optimizer,
    topology: Topology,
    settings: StepSettings,
    placement: Placement,
    batch: Mapping[str, tf.TensorSpec],
) -> tf.Graph:
    """The graph of a step on devices "CPU:0" and so on, which need not exist.

    batch: specs of the global batch.

    Nothing is allocated: the variables are placeholders.
    """
    check_placement(topology, settings, placement)
    num_devices = placement.num_cores * topology.size("batch")
    replicas = replica_devices(placement, [f"CPU:{i}" for i in range(num_devices)])
    specs = state.variable_specs(model, optimizer, ema=settings.ema_decay is not None)
    names_of_cores = variables_of_cores(model, placement, specs)
    clipped = dataclasses.replace(settings, clip_norm=None)
    graph = tf.Graph()
    with graph.as_default():
        seed = tf.compat.v1.placeholder(tf.int32, [2])
        values, sums = [], []
        for replica, devices in enumerate(replicas):
            own = {}
            for name, spec in specs.items():
                core = placement.core_of(spec.weight) if spec.weight else 0
                own[name] = _placeholder_on(devices[core], spec.dtype, spec.shape)
            home = devices[placement.home]
            shard = {
                name: _placeholder_on(
                    home, spec.dtype, (spec.shape[0] // len(replicas), *spec.shape[1:])
                )
                for name, spec in batch.items()
            }
            values.append(own)
            sums.append(
                replica_sums(
                    model,
                    settings,
                    placement,
                    devices,
                    {name: own[state.weight_name(name)] for name in model.weights},
                    shard,
                    seed,
                    replica=replica,
                    num_replicas=len(replicas),
                    gradients=True,
                )
            )
        grads, _ = all_reduce_gradients(
            settings, placement, replicas, [s.grads for s in sums]
        )
        for replica, devices in enumerate(replicas):
            for core, names in names_of_cores.items():
                own = {name: values[replica][name] for name in names}
                with tf.device(devices[core]):
                    train_step.apply_gradients(
                        optimizer, clipped, own, grads[replica][core]
                    )
    return graph


def _placeholder_on(device: str, dtype: Any, shape: Sequence[int]) -> tf.Tensor:
    placeholder = tf.compat.v1.placeholder(dtype, shape)
    with tf.device(device):
        return tf.identity(placeholder)
