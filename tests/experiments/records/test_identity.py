"""Draws of something else are not added to, and the differences are told."""

import numpy as np
import pytest

from experiments.records import identity


def test_other_draws_are_not_resumed(tmp_path):
    folder = tmp_path / "run/chunks"
    identity.check(folder, {"seed": 1}, has_draws=False)  # nothing is there yet
    identity.write(folder, {"seed": 1, "metric": None, "scale": np.ones(2)})
    same = {"metric": None, "seed": 1, "scale": [1.0, 1.0]}
    identity.check(folder, same, has_draws=True)
    with pytest.raises(
        ValueError,
        match="run/chunks holds draws of another .* metric is 'dense', was None; seed "
        "is 2, was 1",
    ):
        identity.check(folder, {**same, "seed": 2, "metric": "dense"}, has_draws=True)
    (folder / identity.IDENTITY).write_text("{")
    with pytest.raises(ValueError, match="identity.json is damaged"):
        identity.check(folder, same, has_draws=True)
    (folder / identity.IDENTITY).unlink()
    with pytest.raises(ValueError, match="identity.json is gone: of what"):
        identity.check(folder, same, has_draws=True)
