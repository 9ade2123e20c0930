"""Trains a transformer of 100 million parameters on eight logical CPU devices.

    python -m tests.experiments.engines.hundred_million

Each device is to hold an eighth of the bytes of weights and optimizer and at most one
in a hundred more, and two steps are to be those of one device.  Takes about 5 GB of
memory, and says what it took.
"""

import resource
import time

import numpy as np

from experiments.bench import counting
from experiments.engines.selection import make_engine
from experiments.training import optimizers, topology
from experiments.training.engine import StepSettings
from tests.experiments.engines.small_transformer import small_transformer, tokens

ADAM = optimizers.adam(optimizers.constant_schedule(1e-3))
MODEL = small_transformer(
    hidden=1024,
    heads=16,
    depth=64,
    filter_size=4096,
    layers=8,
    vocabulary=256,
    length=16,
)


def train(mesh):
    parsed, settings = topology.parse(mesh), StepSettings(clip_norm=1.0)
    runtime = make_engine(MODEL, ADAM, parsed, settings, device_type="CPU")
    began = time.perf_counter()
    runtime.initialize(0)
    times, losses = [time.perf_counter() - began], []
    for number in range(3):
        began = time.perf_counter()
        batch = tokens(number, batch=8, length=16, vocabulary=256)
        losses.append(float(runtime.step(batch, number, 0)["loss"]))
        times.append(time.perf_counter() - began)
    told = ", ".join(f"{seconds:.2f}" for seconds in times)
    print(f"{mesh}: start and three steps in {told} s; losses {losses}", flush=True)
    return losses, runtime.bytes_per_device()


def main():
    topology.local_devices(8, "CPU")
    number = sum(int(np.prod(weight.shape)) for weight in MODEL.weights.values())
    losses, held = train("model:8")
    print(f"{number:,} parameters; bytes held: {held}")
    assert number >= 100_000_000
    assert len(held) == 8
    assert max(held.values()) <= 12 * number * (1 / 8 + 0.01), held
    counted = counting.device_bytes(
        MODEL, ADAM, topology.parse("model:8"), StepSettings()
    )
    assert set(held.values()) == {sum(counted.values())}, counted
    alone, whole = train("batch:1")
    np.testing.assert_allclose(losses, alone, rtol=1e-5)
    assert whole["CPU:0"] >= 12 * number
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"passed; {peak:.1f} GiB at most")


if __name__ == "__main__":
    main()
