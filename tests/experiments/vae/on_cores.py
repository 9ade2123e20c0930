"""Trains the audio VAE on one device and on the paper's cores; prints what came out.

A process of its own: the CPU can be split only before TensorFlow begins.  Here nothing
is judged: test_cores.py reads what is printed.
"""

import json

import numpy as np
import tensorflow as tf

from experiments.parallel import accounting, engines, optimizers, topology
from experiments.parallel.runtime import StepSettings
from experiments.vae import audio
from tests.experiments.vae.small_audio import GRID, loud_clips

MESHES = ("batch:1", "core:17", "batch:2,core:17")
STEPS = 3
SETTINGS = StepSettings(clip_norm=100.0, ema_decay=0.9)
ADAM = optimizers.adam(optimizers.constant(0.003))
BATCH = 4


def batch(number):
    return {"audio": loud_clips(GRID, BATCH, seed=number)}


def runtime_of(mesh):
    return engines.make_runtime(
        audio.model(GRID),
        ADAM,
        topology.parse(mesh),
        SETTINGS,
        kind="CPU",
        placement=audio.placement(GRID),
    )


def steps(runtime, first, last):
    made = [runtime.step(batch(n), n, 5) for n in range(first, last)]
    return [{name: float(value) for name, value in m.items()} for m in made]


def apart(one, other, kind):
    """The largest difference of variables of a kind, by the largest of each."""
    names = [name for name in one if name.startswith(kind)]
    differences = [
        float(np.abs(one[n] - other[n]).max() / max(np.abs(one[n]).max(), 1e-12))
        for n in names
    ]
    return max(differences)


def refused(act):
    try:
        act()
    except ValueError as error:
        return str(error)
    return None


def main():
    topology.local_devices(34, "CPU")
    # Or ops would not have the names that they were given, by which sends are found.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    told, runtimes, first = {}, {}, {}
    for mesh in MESHES:
        runtime = runtimes[mesh] = runtime_of(mesh)
        runtime.start(3)
        if mesh == "core:17":
            with accounting.recording() as functions:
                losses = steps(runtime, 0, 1)
            graph = runtime.graph(batch(0))
            told["ops"] = accounting.ops_of_devices(functions)
            told["collectives"] = len(accounting.collectives(functions))
            told["passed"] = listed(accounting.passed_bytes(graph))
            told["sent"] = listed(accounting.sent_bytes(functions, graph))
        else:
            losses = steps(runtime, 0, 1)
        first[mesh] = runtime.read()
        losses += steps(runtime, 1, STEPS)
        evaluated = runtime.evaluate(batch(9), 0, 6)
        told[mesh] = {
            "engine": type(runtime).__name__,
            "losses": losses,
            "evaluated": float(evaluated["loss"]),
            "bytes": runtime.local_bytes(),
            # After one step the mean slot is the gradient, times a constant.
            "gradients": max(
                apart(first["batch:1"], first[mesh], f"slots/{part}")
                for part in ("prior", "decoder", "compressor", "upsampler")
            ),
            "same_variables": list(first[mesh]) == list(first["batch:1"]),
        }
    told["moved"] = {}
    for source, target in (("batch:1", "core:17"), ("batch:2,core:17", "batch:1")):
        runtime = runtimes[target]
        runtime.write(first[source])
        back = runtime.read()
        same = all(np.array_equal(first[source][n], back[n]) for n in back)
        told["moved"][f"{source} {target}"] = {
            "same": same,
            "losses": steps(runtime, 1, STEPS),
        }
    cores = runtimes["core:17"]
    odd = {**first["core:17"]}
    odd.pop("step")
    told["refusals"] = {
        "four cores": refused(lambda: runtime_of("core:4")),
        "another dimension": refused(lambda: runtime_of("model:17")),
        "both": refused(lambda: runtime_of("core:17,model:2")),
        "too many": refused(lambda: runtime_of("batch:3,core:17")),
        "batch": refused(
            lambda: runtimes["batch:2,core:17"].step(
                {"audio": loud_clips(GRID, 3)}, 0, 0
            )
        ),
        "write": refused(lambda: cores.write(odd)),
        **{
            name: refused(
                lambda changed=changed: engines.make_runtime(
                    audio.model(GRID),
                    ADAM,
                    topology.parse("core:17"),
                    SETTINGS._replace(**changed),
                    kind="CPU",
                    placement=audio.placement(GRID),
                )
            )
            for name, changed in (
                ("jit", {"jit_compile": True}),
                ("parts", {"accumulate": 2}),
                ("dtype", {"compute_dtype": "bfloat16"}),
            )
        },
    }
    print("RESULT " + json.dumps(told))


def listed(pairs):
    return sorted([source, target, size] for (source, target), size in pairs.items())


if __name__ == "__main__":
    main()
