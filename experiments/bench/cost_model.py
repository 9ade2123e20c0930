"""What a data-parallel step should cost on published hardware: plain arithmetic.

A step is its computation, the slower of arithmetic and memory (the roofline of Williams
et al., 2009), and then one all-reduce of the gradients, of which nothing is hidden
behind the computation.  Bytes and seconds throughout; links are counted one way.
"""

import math
from typing import NamedTuple


class Ring(NamedTuple):
    """Devices in a ring; those of a node in one of their own, if there are nodes."""

    bytes_per_second: float  # that a device sends to its neighbour
    hop_seconds: float
    devices_per_node: int | None = None  # None: all are in one node
    node_bytes_per_second: float = math.inf  # that a node sends to another


class Torus(NamedTuple):
    """Chips in two dimensions, each chip with one link to each of four neighbours."""

    bytes_per_second: float  # of one link
    hop_seconds: float
    closes_at: int  # chips along a dimension that spans the machine, a closed ring


class Hardware(NamedTuple):
    """A chip, and the network between chips."""

    label: str
    flops_per_second: float  # of a chip, the peak
    memory_bytes_per_second: float  # of a chip
    devices_per_chip: int  # which share its arithmetic, memory and links
    network: Ring | Torus
    source: str


class Work(NamedTuple):
    """What one device does in a step."""

    flops: float
    memory_bytes: float  # read and written
    gradient_bytes: float  # to be summed over the devices


class Step(NamedTuple):
    """A step of all devices together."""

    devices: int
    compute_seconds: float
    collective_seconds: float

    @property
    def seconds(self) -> float:
        """The whole step's: computation, and then communication."""
        return self.compute_seconds + self.collective_seconds


# A hop's latency is published for neither: a microsecond is an assumption, and with
# gradients of megabytes it decides nothing.
ASSUMED_HOP_SECONDS = 1e-6

TPU_V2 = Hardware(
    label="TPUv2",
    flops_per_second=46e12,
    memory_bytes_per_second=700e9,
    devices_per_chip=2,
    network=Torus(
        bytes_per_second=496e9 / 8, hop_seconds=ASSUMED_HOP_SECONDS, closes_at=16
    ),
    source=(
        "Jouppi et al. (2020), A Domain-Specific Supercomputer for Training Deep "
        "Neural Networks, CACM 63(7): 46 TFLOPS in bfloat16, 700 GB/s, four links of "
        "496 Gbit/s a chip of two cores, a 16 x 16 torus"
    ),
)
V100 = Hardware(
    label="V100",
    flops_per_second=15.7e12,
    memory_bytes_per_second=900e9,
    devices_per_chip=1,
    network=Ring(
        bytes_per_second=150e9,
        hop_seconds=ASSUMED_HOP_SECONDS,
        devices_per_node=8,
        node_bytes_per_second=4 * 100e9 / 8,
    ),
    source=(
        "NVIDIA, Tesla V100 GPU Architecture (WP-08608-001): 15.7 TFLOPS in float32, "
        "900 GB/s, six NVLinks of 25 GB/s each way; DGX-1 With Tesla V100 System "
        "Architecture (WP-08437-002): eight GPUs a node, four 100 Gbit/s links between "
        "nodes"
    ),
)


def ring_reduce_scatter_seconds(
    num_bytes: float, size: int, bytes_per_second: float, hop_seconds: float
) -> float:
    """Until each of `size` members has its part of the sum; an all-gather is as long.

    Patarasuk and Yuan (2009), section 3: size - 1 steps, a part of the bytes in each.
    """
    return (size - 1) * (num_bytes / size / bytes_per_second + hop_seconds)


def ring_all_reduce_seconds(num_bytes: float, devices: int, ring: Ring) -> float:
    """Within each node, then between nodes, then within again."""
    node = ring.devices_per_node or devices
    # Each device of a node carries its part over its share of the node's links.
    return 2 * sum(
        ring_reduce_scatter_seconds(num_bytes, size, bandwidth, ring.hop_seconds)
        for size, bandwidth in (
            (min(devices, node), ring.bytes_per_second),
            (math.ceil(devices / node), ring.node_bytes_per_second),
        )
    )


def torus_shape(chips: int) -> tuple[int, int]:
    """The most nearly square one, such as (8, 16) for 128."""
    rows = max(r for r in range(1, math.isqrt(chips) + 1) if chips % r == 0)
    return rows, chips // rows


def torus_all_reduce_seconds(num_bytes: float, chips: int, torus: Torus) -> float:
    """Half of the bytes over rows and then columns, the other half the other way.

    So the links of both dimensions are busy at once; Ying et al. (2018), Image
    Classification at Supercomputer Scale, section 3.
    """
    rows, columns = torus_shape(chips)

    def along(part: float, size: int) -> float:
        # Both directions of a closed ring carry; a line is a ring folded over, which
        # takes the one direction there and the other back.  Two chips share one link.
        bandwidth = (2 if size >= torus.closes_at else 1) * torus.bytes_per_second
        return ring_reduce_scatter_seconds(part, size, bandwidth, torus.hop_seconds)

    half = num_bytes / 2
    first = max(along(half, rows), along(half, columns))
    second = max(along(half / rows, columns), along(half / columns, rows))
    return 2 * (first + second)


def all_reduce_seconds(num_bytes: float, devices: int, hardware: Hardware) -> float:
    """The sum of `num_bytes` on each device, held by all in the end; 0 for one device.

    Raises ValueError for devices that do not fill their chips.
    """
    per_chip = hardware.devices_per_chip
    if devices < 1 or devices > per_chip and devices % per_chip:
        raise ValueError(
            f"{hardware.label}: given {devices} devices, wanted 1 or a multiple of "
            f"{per_chip}"
        )
    chips, together = max(1, devices // per_chip), min(devices, per_chip)
    # Devices of one chip read each other's gradients from its memory, and one sum is
    # written.
    moved = (together + 1) * num_bytes if together > 1 else 0
    of_network = (
        torus_all_reduce_seconds
        if isinstance(hardware.network, Torus)
        else ring_all_reduce_seconds
    )
    between = of_network(num_bytes, chips, hardware.network)
    return moved / hardware.memory_bytes_per_second + between


def roofline_seconds(work: Work, hardware: Hardware) -> float:
    """The least time that one device's share of a chip takes for `work`."""
    share = 1 / hardware.devices_per_chip
    return max(
        work.flops / (share * hardware.flops_per_second),
        work.memory_bytes / (share * hardware.memory_bytes_per_second),
    )


def roofline_fraction(measured_seconds: float, work: Work, hardware: Hardware) -> float:
    """The share of the roofline that a measured step reached.

    Raises ValueError for a step faster than the hardware: then one of the two is wrong.
    """
    share = roofline_seconds(work, hardware) / measured_seconds
    if not 0 < share <= 1:
        raise ValueError(
            f"{hardware.label}: a step of {measured_seconds:.3g} s is {share:.3g} of "
            "its roofline, wanted above 0 and at most 1"
        )
    return share


def project_from_chip(
    *,
    chip_seconds: float,
    gradient_bytes: float,
    chips: int,
    hardware: Hardware,
    between_hosts: Ring | None = None,
    chips_per_host: int = 4,
) -> Step:
    """The step on `chips`, when that of one chip, its own sum included, is known.

    between_hosts: a slower network that the gradients also cross, as a supposition.

    Raises ValueError when the chip's step is shorter than the sum within it.
    """
    per_chip = hardware.devices_per_chip
    compute = chip_seconds - all_reduce_seconds(gradient_bytes, per_chip, hardware)
    if compute <= 0:
        raise ValueError(
            f"{hardware.label}: a step of {chip_seconds:.3g} s leaves no time beside "
            f"the sum of {gradient_bytes:.3g} bytes"
        )
    collective = all_reduce_seconds(gradient_bytes, per_chip * chips, hardware)
    if between_hosts is not None:
        hosts = math.ceil(chips / chips_per_host)
        collective += ring_all_reduce_seconds(gradient_bytes, hosts, between_hosts)
    return Step(per_chip * chips, compute, collective)


def host_bytes_per_second(
    gradient_bytes: float, hosts: int, seconds: float
) -> float | None:
    """What a ring between hosts would have to carry to take `seconds`; None for one."""
    if hosts < 2 or seconds <= 0:
        return None
    return 2 * (hosts - 1) / hosts * gradient_bytes / seconds
