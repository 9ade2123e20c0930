"""Trains the autoencoder on logical devices; prints, as JSON, what the tests compare.

A process of its own: the CPU can be split only before TensorFlow begins.
"""

import json

import numpy as np

from experiments.parallel import engines, optimizers, topology
from experiments.parallel.runtime import StepSettings
from experiments.vae import vector_quantized
from experiments.vae.codebook import Codebook
from experiments.vae.vector_quantized import ImageSizes

SIZES = ImageSizes(
    size=8,
    channels=6,
    strides=(2, 2),
    residuals=(0, 0),
    kernel=3,
    slots=2,
    num_mixtures=1,
    prior_start=2,
    prior_layers=1,
    prior_heads=2,
    prior_hidden=8,
    prior_filter_size=8,
    prior_block=4,
)
BOOK = Codebook(codes=8, depth=4, samples=3)
STEPS, HALF = 5, 3
SETTINGS = StepSettings(ema_decay=0.9)
PARTS = {"batch:1 in parts": ("batch:1", 4), "batch:2 in parts": ("batch:2", 2)}


def batch(number):
    random = np.random.default_rng([8, number])
    colours = random.integers(256, size=(8, 1, 1, 3))
    noise = random.integers(-20, 20, size=(8, 8, 8, 3))
    return {"image": np.clip(colours + noise, 0, 255).astype(np.int32)}


def made(mesh, accumulate=1):
    return engines.make_runtime(
        vector_quantized.model(SIZES, BOOK),
        optimizers.adam(optimizers.constant(0.003)),
        topology.parse(mesh),
        SETTINGS._replace(accumulate=accumulate),
        kind="CPU",
    )


def steps(runtime, first, last):
    return [
        {name: float(v) for name, v in runtime.step(batch(n), n, 4).items()}
        for n in range(first, last)
    ]


def run(mesh, accumulate=1):
    """Told of every step and of what is held at last; and what was held halfway."""
    runtime = made(mesh, accumulate)
    runtime.start(2)
    told = steps(runtime, 0, HALF)
    halfway = runtime.read()
    told += steps(runtime, HALF, STEPS)
    judged = {n: float(v) for n, v in runtime.evaluate(batch(99), 0, 4).items()}
    return {"steps": told, "judged": judged}, runtime.read(), halfway


def apart(one, two):
    """The largest difference of each kind of variable, of its largest entry."""
    found = {}
    for name, array in one.items():
        kind = name.partition("/")[0]
        kind = name if kind == "state" else kind
        scale = max(1e-3, np.abs(array).max())
        off = float(np.abs(array - two[name]).max() / scale)
        found[kind] = max(found.get(kind, 0.0), off)
    return found


def refused(mesh):
    try:
        made(mesh)
    except ValueError as error:
        return str(error)
    return None


def main():
    topology.local_devices(8, "CPU")
    told, one, _ = run("batch:1")
    results = {"batch:1": told | {"state": sorted(n for n in one if "state" in n)}}
    for name, given in {
        **{mesh: (mesh, 1) for mesh in ("batch:2", "batch:4", "batch:8")},
        **PARTS,
    }.items():
        told, held, halfway = run(*given)
        results[name] = told | {"apart": apart(one, held)}
        if name == "batch:2":
            again = made("batch:2")
            again.start(7)
            again.write(halfway)
            resumed = steps(again, HALF, STEPS)
            results["resumed"] = {
                "steps": resumed == told["steps"][HALF:],
                "arrays": all(
                    np.array_equal(a, again.read()[n]) for n, a in held.items()
                ),
            }
    results["refused"] = {
        mesh: refused(mesh) for mesh in ("model:2", "batch:2,model:2")
    }
    print("RESULT " + json.dumps(results))


if __name__ == "__main__":
    main()
