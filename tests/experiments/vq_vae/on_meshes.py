"""Trains the autoencoder on logical devices; prints, as JSON, what the tests compare.

A process of its own: the CPU can be split only before TensorFlow begins.
"""

import json

import numpy as np

from experiments.engines import selection
from experiments.training import optimizers, topology
from experiments.training.engine import StepSettings
from experiments.vq_vae import program
from experiments.vq_vae.network import Sizes
from experiments.vq_vae.quantizer import Codebook

SIZES = Sizes(
    size=8,
    channels=6,
    strides=(2, 2),
    residual_layers=(0, 0),
    kernel_size=3,
    codes_per_position=2,
    num_mixtures=1,
    prior_start=2,
    prior_layers=1,
    prior_heads=2,
    prior_hidden=8,
    prior_filter_size=8,
    prior_block=4,
)
CODEBOOK = Codebook(num_codes=8, code_dim=4, num_samples=3)
STEPS, HALF = 5, 3
PARTS = {"batch:2 in parts": ("batch:2", 2)}
AGAIN = ("batch:1", "batch:2")  # where the second half is done twice
# Not in place: it is then traced for one device, not for each.
ADAM = optimizers.adam(optimizers.constant_schedule(0.003))._replace(
    apply_in_place=None
)


def batch(number):
    random = np.random.default_rng([8, number])
    colours = random.integers(256, size=(8, 1, 1, 3))
    noise = random.integers(-20, 20, size=(8, 8, 8, 3))
    return {"image": np.clip(colours + noise, 0, 255).astype(np.int32)}


def made(mesh, accumulate=1):
    return selection.make_engine(
        program.model(SIZES, CODEBOOK),
        ADAM,
        topology.parse(mesh),
        StepSettings(num_microbatches=accumulate),
        device_type="CPU",
    )


def steps(runtime, first, last):
    return [
        {name: float(v) for name, v in runtime.step(batch(n), n, 4).items()}
        for n in range(first, last)
    ]


def run(mesh, accumulate=1):
    """What came of every step, what is held at last, and the runtime gone on with."""
    runtime = made(mesh, accumulate)
    runtime.initialize(2)
    told = steps(runtime, 0, HALF)
    halfway = runtime.read_variables()
    told += steps(runtime, HALF, STEPS)
    held = runtime.read_variables()
    results = {"steps": told}
    if accumulate == 1 and mesh in AGAIN:
        runtime.write_variables(halfway)
        again = steps(runtime, HALF, STEPS) == told[HALF:]
        same = all(
            np.array_equal(a, held[n]) for n, a in runtime.read_variables().items()
        )
        results["resumed"] = [again, same]
    return results, held


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
    told, one = run("batch:1")
    results = {"batch:1": told | {"state": sorted(n for n in one if "state" in n)}}
    meshes = {mesh: (mesh, 1) for mesh in ("batch:2", "batch:4", "batch:8")}
    for name, given in (meshes | PARTS).items():
        told, held = run(*given)
        results[name] = told | {"apart": apart(one, held)}
    results["refused"] = {
        mesh: refused(mesh) for mesh in ("model:2", "batch:2,model:2")
    }
    print("RESULT " + json.dumps(results))


if __name__ == "__main__":
    main()
