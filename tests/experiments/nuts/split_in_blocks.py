"""Splits a problem's rows over two devices, in many blocks, in a process of its own."""

import json

import numpy as np

from experiments.datasets.regression import RegressionProblem
from experiments.nuts import posterior


def main():
    features = np.ones((400, 3), np.float32)
    problem = RegressionProblem(
        name="ones",
        source="synthetic",
        features=features,
        labels=np.zeros(400, np.int32),
        start=np.zeros(3, np.float32),
    )
    blocks = posterior.split_rows(problem, num_devices=2, block_bytes=600)
    told = {"devices": len({b.device for b in blocks}), "blocks": len(blocks)}
    print("RESULT", json.dumps(told))


if __name__ == "__main__":
    main()
