"""Trains one model on many meshes of logical CPU devices and writes what came out.

    python -m tests.experiments.engines.on_eight_devices results.json

Here nothing is judged: test_engines.py reads the file.
"""

import dataclasses
import json
import sys
import time

import numpy as np

from experiments.bench import counting
from experiments.engines.selection import make_engine
from experiments.training import optimizers, topology
from experiments.training.engine import StepSettings
from tests.experiments.engines.small_transformer import small_transformer, tokens

MESHES = (
    "batch:1",
    "batch:2",
    "batch:4",
    "batch:8",
    "model:2",
    "model:4",
    "model:8",
    "batch:2,model:4",
)
LARGER = ("batch:1", "batch:2", "model:2")  # where another batch shape is tried
EVALUATED = (*LARGER, "batch:2,model:4")
MOVES = (("batch:2,model:4", "batch:1"), ("batch:2", "model:2"), ("model:8", "batch:2"))
STEPS = 20
ADAM = optimizers.adam(optimizers.constant_schedule(0.01, warmup_steps=4))
ADAFACTOR = optimizers.adafactor(optimizers.constant_schedule(0.02), relative_step=True)
SETTINGS = StepSettings(clip_norm=1.0, ema_decay=0.9)
MODEL = small_transformer(layers=1)


def plain(results):
    return {name: float(value) for name, value in results.items()}


def counted(model):
    """The model, and a list that grows whenever its loss is traced."""
    traced = []

    def loss(weights, batch, randomness):
        traced.append(int(batch["tokens"].shape[0]))
        return model.loss(weights, batch, randomness)

    return model._replace(loss=loss), traced


def steps_of(runtime, first, last):
    return [plain(runtime.step(tokens(n), n, 5)) for n in range(first, last)]


def train(mesh, *, optimizer=ADAM, settings=SETTINGS, steps=STEPS, evaluated=False):
    """What came out, the runtime, and what it held halfway."""
    began = time.perf_counter()
    model, traced = counted(MODEL)
    parsed = topology.parse(mesh)
    runtime = make_engine(model, optimizer, parsed, settings, device_type="CPU")
    runtime.initialize(3)
    results = steps_of(runtime, 0, 1)
    first_seconds = time.perf_counter() - began
    out = {"traced_first": len(traced)}
    results += steps_of(runtime, 1, steps // 2)
    halfway = runtime.read_variables()
    results += steps_of(runtime, steps // 2, steps)
    out["traced_steps"] = len(traced)
    for name in ("loss", "gradient_norm", "log_total"):
        out[name] = [result[name] for result in results]
    after = runtime.read_variables()
    if evaluated:
        out["evaluated"] = [plain(runtime.evaluate(tokens(99), n, 6)) for n in (0, 1)]
        again = runtime.read_variables()
        out["changed"] = [n for n in after if np.any(after[n] != again[n])]
    out["step"] = int(after["step"])
    out["variables"] = {n: [str(a.dtype), list(a.shape)] for n, a in after.items()}
    out["local_bytes"] = runtime.bytes_per_device()
    wanted = counting.device_bytes(model, optimizer, parsed, settings)
    out["counted_bytes"] = sum(wanted.values())
    out["engine"] = type(runtime).__name__
    if evaluated and mesh in LARGER:
        before = len(traced)
        runtime.step(tokens(steps, batch=32), steps, 5)
        out["traced_larger"] = len(traced) - before
    seconds = time.perf_counter() - began
    print(f"{mesh:16s} {first_seconds:6.1f} {seconds:6.1f} s", flush=True)
    return out, runtime, halfway


def moved(arrays, runtime):
    """The steps after those that gave `arrays`, on the mesh of another runtime."""
    runtime.write_variables(arrays)
    again = runtime.read_variables()
    same = all(np.array_equal(arrays[name], again[name]) for name in arrays)
    losses = [result["loss"] for result in steps_of(runtime, STEPS // 2, STEPS)]
    runtime.write_variables(arrays)
    twice = [result["loss"] for result in steps_of(runtime, STEPS // 2, STEPS)]
    return {"losses": losses, "same": same, "bit_identical": losses == twice}


def refused(act):
    try:
        act()
    except ValueError as error:
        return str(error)
    return None


def refusals(runtimes):
    def make(mesh, *, settings=SETTINGS, **changed):
        model = MODEL._replace(**changed)
        return make_engine(
            model, ADAM, topology.parse(mesh), settings, device_type="CPU"
        )

    def write(mesh, change):
        arrays = runtimes[mesh].read_variables()
        change(arrays)
        runtimes[mesh].write_variables(arrays)

    def narrower(arrays):
        arrays["weights/table"] = arrays["weights/table"][:, :-1]

    def step_of(runtime, batch):
        runtime.step(batch, 0, 0)

    ruled = tuple(rule for rule in MODEL.sharding_rules if rule[0] != "positions")
    three = ((".*", (None, "model", None)),)
    weights = {n: w for n, w in MODEL.weights.items() if len(w.shape) == 3}
    uneven = {**tokens(0), "more": np.zeros([15, 1], np.float32)}
    halves = make("batch:1", settings=dataclasses.replace(SETTINGS, num_microbatches=2))
    return {
        "mesh larger": refused(lambda: make("batch:16")),
        "sharded mesh larger": refused(lambda: make("batch:4,model:4")),
        "batch": refused(lambda: step_of(runtimes["batch:8"], tokens(0, batch=12))),
        "batch sharded": refused(
            lambda: step_of(runtimes["batch:2,model:4"], tokens(0, batch=7))
        ),
        "batch parts": refused(lambda: step_of(halves, tokens(0, batch=15))),
        "uneven": refused(lambda: step_of(runtimes["batch:1"], uneven)),
        "rule missing": refused(lambda: make("model:2", sharding_rules=ruled)),
        "rule does not divide": refused(
            lambda: make("model:3", sharding_rules=three, weights=weights)
        ),
        "dimension without rule": refused(lambda: make("modle:2")),
        "jit": refused(
            lambda: make(
                "model:2", settings=dataclasses.replace(SETTINGS, jit_compile=True)
            )
        ),
        "dtype": refused(
            lambda: make(
                "batch:1", settings=dataclasses.replace(SETTINGS, compute_dtype="int8")
            )
        ),
        "write missing": refused(lambda: write("batch:1", lambda a: a.pop("step"))),
        "write odd": refused(
            lambda: write("batch:2", lambda a: a.update(b=np.zeros(1)))
        ),
        "write misshapen": refused(lambda: write("model:2", narrower)),
    }


def main(path):
    began = time.perf_counter()
    topology.local_devices(8, "CPU")
    trained = {mesh: train(mesh, evaluated=mesh in EVALUATED) for mesh in MESHES}
    results = {"adam": {mesh: out for mesh, (out, _, _) in trained.items()}}
    runtimes = {mesh: runtime for mesh, (_, runtime, _) in trained.items()}
    results["moved"] = {
        f"{source} {target}": moved(trained[source][2], runtimes[target])
        for source, target in MOVES
    }
    results["refusals"] = refusals(runtimes)

    halves = dataclasses.replace(SETTINGS, num_microbatches=2)
    meshes = {"batch:1": SETTINGS, "batch:1,model:1": halves, "batch:2": halves}
    meshes["batch:2,model:2"] = halves
    results["adafactor"] = {
        mesh: train(mesh, optimizer=ADAFACTOR, settings=settings, steps=4)[0]
        for mesh, settings in meshes.items()
    }
    half = StepSettings(compute_dtype="bfloat16")
    results["bfloat16"] = {
        mesh: train(mesh, settings=half, steps=2)[0]
        for mesh in ("batch:1", "batch:2", "model:2")
    }
    print(f"{time.perf_counter() - began:.1f} s in all", flush=True)
    with open(path, "w") as file:
        json.dump(results, file)


if __name__ == "__main__":
    main(sys.argv[1])
