"""NUTS on 1 to 8 logical devices, and what is done where: run by test_devices.

    python -m tests.experiments.nuts.on_devices OUT.npz OUT.json

A process of its own, since the CPU is split before TensorFlow begins.
"""

import functools
import itertools
import json
import sys

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

import ppl_core as ppl
from experiments import inference
from experiments.bench import ppl_core_nuts
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings
from experiments.nuts import posterior
from experiments.nuts.program import logistic_regression
from experiments.training import topology

ROWS, DIM = 403, 6  # what neither 2, 4 nor 8 devices divide
COUNTS = (1, 2, 4, 8)
WARMED_UP = (1, 2)  # devices of the runs with a warm-up
CHAINS = 2
SETTINGS = SamplerSettings(
    step_size=0.05, max_depth=5, num_results=4, num_chains=CHAINS
)


def made_problem():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(ROWS, DIM)).astype(np.float32)
    features[:, -1] = 1.0
    labels = (rng.random(ROWS) < 0.4).astype(np.int32)
    start = np.zeros(DIM, np.float32)
    return RegressionProblem(
        name="made", source="made", features=features, labels=labels, start=start
    )


def placed(function):
    """Where the ops are of the loops that are compiled meanwhile.

    Returns function's result, and [device, op, op that made its first input] an op.
    """
    context.enable_run_metadata()
    result = function()
    metadata = context.export_run_metadata()
    context.disable_run_metadata()
    found = []
    for compiled in metadata.function_graphs:
        graphs = compiled.partition_graphs  # one a device
        ops = {node.name: node.op for graph in graphs for node in graph.node}
        if "LoopCond" not in ops.values():
            continue
        for node in itertools.chain(*(graph.node for graph in graphs)):
            maker = node.input[0].lstrip("^").split(":")[0] if node.input else ""
            device = node.device.split("/device:")[-1]
            found.append([device, node.op, ops.get(maker, "")])
    return result, found


def warmed_up(problem, num):
    """Draws and what the warm-up found, by name.

    In float64: a warm-up makes of float32's rounding differences of per cents.
    """
    shards = [
        ppl.Shard(
            args=(problem.features[block.rows].T.astype(np.float64),),
            observed={"labels": problem.labels[block.rows]},
            device=block.device,
        )
        for block in posterior.split_rows(problem, num_devices=num, block_bytes=2000)
    ]
    tree = inference.sample_nuts(
        ppl.unconstrain_shards(logistic_regression, shards, dtype=tf.float64),
        num_chains=CHAINS,
        num_warmup=30,
        num_draws=5,
        max_depth=4,
        seed=3,
        jit_compile=False,
    )
    return {
        "draws": tree["posterior/coeffs"].values,
        "leapfrogs": tree["sample_stats/n_steps"].values,
        "warm-up's leapfrogs": tree["adaptation/leapfrogs"].values,
        "step size": tree["adaptation/step_size"].values,
        "metric": tree["adaptation/inverse_mass"].values,
        "metrics of windows": tree["adaptation/window_inverse_mass"].values,
    }


def refused(function, *args, **kwargs):
    """What the error says that is raised."""
    try:
        function(*args, **kwargs)
    except ValueError as error:
        return str(error)
    return "nothing"


def main(arrays_path, json_path):
    topology.local_devices(max(COUNTS))
    problem = made_problem()
    posterior.core_cache_bytes = lambda: 0  # so that blocks are used
    # 9 rows a block: on 1 and 2 devices more than a call takes.
    posterior.BLOCK_BYTES = 200
    arrays, told = {}, {}
    for num in COUNTS:
        blocks = posterior.split_rows(problem, num_devices=num)
        told[f"blocks{num}"] = [
            [block.rows.start, block.rows.stop, block.device] for block in blocks
        ]
        run, told[f"ops{num}"] = placed(
            functools.partial(
                ppl_core_nuts.prepare, problem, SETTINGS, seed=1, num_devices=num
            )
        )
        for call in ("first", "second"):
            draws = run()
            arrays[f"{call}{num}"] = draws.values
            arrays[f"{call}_leapfrogs{num}"] = draws.leapfrogs
    for num in WARMED_UP:
        for name, array in warmed_up(problem, num).items():
            arrays[f"warmed up {num}: {name}"] = array
    told["more than there are"] = refused(posterior.split_rows, problem, num_devices=9)
    told["more than rows"] = refused(posterior.split_rows, problem, num_devices=404)
    told["none"] = refused(posterior.split_rows, problem, num_devices=0)
    np.savez(arrays_path, **arrays)
    with open(json_path, "w") as file:
        json.dump(told, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
