"""Named dimensions of a device mesh, and its devices."""

import math
import re
from typing import NamedTuple

import tensorflow as tf

from experiments.training.checks import check_choice

DEVICE_TYPES = ("TPU", "GPU", "CPU")  # a mesh has the first that the machine has


class Topology(NamedTuple):
    """The mesh's dimensions in order, each with its size; "batch" shards examples."""

    dims: tuple[tuple[str, int], ...]

    @property
    def num_devices(self) -> int:
        """Over all processes."""
        return math.prod(size for _, size in self.dims)

    def size(self, dim: str) -> int:
        """The size of a dimension; 1 if the mesh does not have it."""
        return dict(self.dims).get(dim, 1)

    def __str__(self) -> str:
        return ",".join(f"{name}:{size}" for name, size in self.dims)


def parse(text: str) -> Topology:
    """The topology of a setting such as "batch:4,model:2".

    Raises ValueError for anything else, a size below 1 and a name used twice.
    """
    dims: list[tuple[str, int]] = []
    for part in str(text).split(","):
        match = re.fullmatch(r"\s*([a-z_]+)\s*:\s*(\d+)\s*", part)
        if not match or int(match[2]) < 1 or match[1] in dict(dims):
            raise ValueError(
                f"mesh: given {text!r}, wanted names and sizes of at least 1 such "
                "as 'batch:4,model:2', each name once"
            )
        dims.append((match[1], int(match[2])))
    return Topology(tuple(dims))


def resolve_device_type(device_type: str | None = None) -> str:
    """The device type asked for, or the first of DEVICE_TYPES that this machine has."""
    if device_type is None:
        return next(k for k in DEVICE_TYPES if tf.config.list_physical_devices(k))
    check_choice("device_type", device_type, DEVICE_TYPES)
    return device_type


def num_devices(kind: str) -> int | None:
    """How many of a kind this process has; None for the CPU, which can be split."""
    return None if kind == "CPU" else len(tf.config.list_physical_devices(kind))


def check_devices(num: int, kind: str) -> None:
    """Raises ValueError unless this process has so many devices of a kind."""
    available = num_devices(kind)
    if available is not None and num > available:
        raise ValueError(
            f"device_type: wanted {num} of kind {kind}, this machine has {available}"
        )


def local_devices(num: int, device_type: str | None = None) -> list[str]:
    """`num` of this process's devices, such as "GPU:0"; a CPU is split into several.

    Raises ValueError if the machine has too few devices, or TensorFlow has already
    started with fewer logical CPU devices.
    """
    kind = resolve_device_type(device_type)
    if kind == "CPU":
        _split_cpu(num)
    check_devices(num, kind)
    return [f"{kind}:{i}" for i in range(num)]


def _split_cpu(num: int) -> None:
    (cpu,) = tf.config.list_physical_devices("CPU")[:1]
    configured = tf.config.get_logical_device_configuration(cpu)
    if configured is not None and len(configured) >= num or num == 1:
        return
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * num
        )
    except RuntimeError as error:
        raise ValueError(
            f"devices: wanted {num} logical CPU devices, and TensorFlow has begun with "
            f"{len(tf.config.list_logical_devices('CPU'))}; ask before anything runs"
        ) from error
