"""The audio VAE on the paper's cores: small, with 100 million weights, and on 512.

    python -m tests.experiments.audio_vae.large_audio [seventeen] [train] [trace]

Holds a small model on 17 logical CPU devices, and on two copies of them, against one
device; trains the sizes of configs/audio_vae/large.gin on 17; and traces the step of as
many copies of the 17 as there are in 16 x 16 x 2, of which nothing runs.  Takes some
minutes and some 6 GB of memory, and says what it took.
"""

import resource
import sys
import time

import numpy as np
import tensorflow as tf

from experiments.audio_vae import network, program
from experiments.audio_vae.network import Sizes
from experiments.bench import counting
from experiments.engines.selection import make_engine
from experiments.training import optimizers, topology
from experiments.training.engine import StepSettings
from experiments.training.model import num_parameters
from experiments.training.state import variable_specs
from tests.experiments.audio_vae import on_cores
from tests.experiments.bench import graph_counts
from tests.experiments.engines.step_graph import step_graph

LARGE = Sizes(
    channels=1024,
    context_channels=1024,
    prior_channels=512,
    prior_context_channels=512,
    compressor_channels=1024,
)
ADAM = optimizers.adam(optimizers.constant_schedule(1e-4))
CORES = 512  # of 16 x 16 x 2
CORE_BYTES = 8 * 10**9  # of a TPUv2 core
CLIPS_A_COPY = 1
CPU_DEVICES = 17


def clips(number, batch):
    random = np.random.default_rng(number)
    shape = (batch, LARGE.length)
    return {"audio": random.integers(-3000, 3000, shape).astype(np.int32)}


def share_of_flows(model, placement):
    """The flows' weights that the fullest core keeps, of all of them."""
    held = np.zeros(placement.num_cores)
    for name, weight in model.weights.items():
        if "/flow" in name:
            held[placement.core_of(name)] += np.prod(weight.shape)
    return held.max() / held.sum()


def train():
    model, placement = program.model(LARGE), network.placement(LARGE)
    settings = StepSettings(clip_norm=1e4)
    runtime = make_engine(
        model,
        ADAM,
        topology.parse("core:17"),
        settings,
        device_type="CPU",
        placement=placement,
    )
    runtime.initialize(0)
    losses, times = [], []
    batch = clips(0, CLIPS_A_COPY)
    for number in range(3):  # the same clips: the loss is to fall
        began = time.perf_counter()
        losses.append(float(runtime.step(batch, number, 0)["loss"]))
        times.append(time.perf_counter() - began)
    share = share_of_flows(model, placement)
    held = runtime.bytes_per_device()
    print(
        f"{num_parameters(model):,} weights; steps of {np.round(times, 1)} s; losses "
        f"{losses}; bytes held {held}; the fullest core has {share:.4f} of "
        "the flows' weights",
        flush=True,
    )
    assert num_parameters(model) >= 100_000_000
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert share <= 1 / 16 + 0.02
    passed = counting.transferred_bytes(runtime.graph(batch))
    print(f"{sum(passed.values()):,} bytes pass between cores a step", flush=True)


def trace():
    """What each of 512 cores would hold, its step's graph traced and counted."""
    model, placement = program.model(LARGE), network.placement(LARGE)
    copies = CORES // placement.num_cores
    mesh = topology.parse(f"batch:{copies},core:{placement.num_cores}")
    settings = StepSettings(clip_norm=1e4, ema_decay=0.998)
    began = time.perf_counter()
    graph = step_graph(
        model,
        ADAM,
        mesh,
        settings,
        placement,
        {"audio": tf.TensorSpec((copies * CLIPS_A_COPY, LARGE.length), tf.int32)},
    )
    made = graph_counts.output_bytes(graph)
    passed = counting.transferred_bytes(graph)
    held = np.zeros(placement.num_cores)
    for variable in variable_specs(model, ADAM, ema=True).values():
        core = placement.core_of(variable.weight) if variable.weight else 0
        held[core] += 4 * np.prod(variable.shape)
    total = {
        device: size + held[int(device.partition(":")[2]) % placement.num_cores]
        for device, size in made.items()
    }
    print(
        f"{mesh}: {mesh.num_devices} of {CORES} cores, {len(graph.get_operations()):,} "
        f"ops traced in {time.perf_counter() - began:.0f} s; variables of the fullest "
        f"core {held.max() / 1e9:.3f} GB, with all that its step makes, nothing freed, "
        f"{max(total.values()) / 1e9:.2f} GB of {CORE_BYTES / 1e9:.0f}; "
        f"{sum(passed.values()) / 1e9:.1f} GB pass between cores a step",
        flush=True,
    )
    assert len(total) == mesh.num_devices
    assert max(total.values()) < CORE_BYTES


def seventeen():
    """A step of a small model on the 17 cores, and on twice as many."""
    for mesh in ("core:17", "batch:2,core:17"):
        found = on_cores.seventeen_cores(mesh)
        one, cores = found["losses"]
        for name, value in one.items():
            np.testing.assert_allclose(cores[name], value, rtol=1e-5, err_msg=name)
        assert found["gradients"] < 1e-5
        assert found["nowhere"] == [] and found["collectives"] == 0
        grid = [n for d, n in found["ops"].items() if int(d[4:]) % 17 != 16]
        # Alike but for nodes at the sides, which have a neighbour less, and for the
        # first row's, after which none comes.
        assert max(grid) < 1.25 * min(grid)
        for source, target, _ in found["passed"]:
            (row, column), (to_row, to_column) = (
                divmod(int(name[4:]) % 17, 4) for name in (source, target)
            )
            if int(source[4:]) // 17 == int(target[4:]) // 17 and 4 not in (
                row,
                to_row,
            ):
                assert abs(row - to_row) <= 1 and abs(column - to_column) <= 1
        passed = sum(size for *_, size in found["passed"])
        print(
            f"{mesh}: loss {cores['loss']:.6f}, one device's {one['loss']:.6f}; "
            f"gradients apart by {found['gradients']:.1e} at most; ops of cores "
            f"{min(grid)} to {max(grid)}; {passed:,} bytes pass a step",
            flush=True,
        )


def main():
    parts = sys.argv[1:] or ["seventeen", "train", "trace"]
    on_cores.prepare(2 * CPU_DEVICES)
    for part in parts:
        {"seventeen": seventeen, "train": train, "trace": trace}[part]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"passed; {peak:.1f} GiB at most")


if __name__ == "__main__":
    main()
