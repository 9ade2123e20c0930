"""Trains a small transformer in one process of several, until it is stopped.

    python -m tests.experiments.cluster.small_training

The environment says which process it is.  It prints its first losses as JSON, and what
ended it.  Here nothing is judged: test_processes.py reads the lines.
"""

import itertools
import json
import sys
from collections.abc import Iterator

from experiments.cluster import processes

SHOWN = 20  # losses


def losses(process: processes.Process) -> Iterator[float]:
    """The losses of this process's steps, without end; of the whole batch."""
    # Only now: a process joins the others before TensorFlow begins.
    from experiments.engines.selection import make_engine
    from experiments.training import optimizers, topology
    from experiments.training.engine import StepSettings
    from tests.experiments.engines.small_transformer import small_transformer, tokens

    engine = make_engine(
        small_transformer(layers=1),
        optimizers.adam(optimizers.constant_schedule(1e-2)),
        topology.parse(f"batch:{process.count}"),
        StepSettings(clip_norm=1.0),
        device_type="CPU",
    )
    engine.initialize(0)
    share = 16 // process.count
    part = slice(process.index * share, (process.index + 1) * share)
    for number in itertools.count():
        batch = {name: array[part] for name, array in tokens(number).items()}
        yield float(engine.step(batch, number, 7)["loss"])


def main() -> None:
    steps = losses(processes.connect())
    print(json.dumps(list(itertools.islice(steps, SHOWN))), flush=True)
    try:
        for _ in steps:
            pass
    except Exception as error:
        print(json.dumps(type(error).__name__), flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
