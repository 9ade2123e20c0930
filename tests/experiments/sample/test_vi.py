"""A user's program in a file is fitted by variational inference, and resumed."""

import json

import numpy as np
import pytest
import xarray as xr

from experiments.records import metrics
from experiments.sample import vi

GIVEN = {"num_steps": 1500, "learning_rate": 0.03, "num_samples": 4}


@pytest.fixture(scope="module")
def finished(options, tmp_path_factory):
    given = options(tmp_path_factory.mktemp("finished"))
    return given, vi.fit(**given)


def test_a_run_leaves_draws_a_summary_and_curves(finished):
    given, facts = finished
    folder = given["run_dir"]
    with xr.open_datatree(folder / "draws.nc", engine="h5netcdf") as tree:
        x = tree["posterior/x"].values
        np.testing.assert_array_equal(tree["observed_data/y"], [0.5, 3.0])
    # Conjugate: precision 1 / scale^2 + 1, so the guide is exact.
    assert x.shape == (1, 1000, 2)
    np.testing.assert_allclose(x.mean((0, 1)), [0.25, 2.4], atol=0.15)
    np.testing.assert_allclose(x.std((0, 1)), [0.5**0.5, 0.8**0.5], rtol=0.1)
    assert facts == json.loads((folder / "summary.json").read_text())
    assert facts["pareto_k"] < 0.7 and facts["num_steps"] == 1500
    assert (folder / "summary.txt").read_text().startswith("mean_field: ELBO")
    last = metrics.read(folder / "metrics.jsonl")[-1]
    assert (last["kind"], last["step"]) == ("fit", 1500)
    assert last["elbo"] == pytest.approx(facts["elbo"], abs=0.5)
    assert any((folder / "tensorboard").iterdir())


def test_a_resumed_run_is_the_one_that_was_finished(finished):
    given, facts = finished
    again = vi.fit(**given, resume=True)
    assert again["elbo"] == facts["elbo"]
    with pytest.raises(ValueError, match="num_steps is 10, was 1500"):
        vi.fit(**{**given, "num_steps": 10}, resume=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"guide": "normal"}, "guide: given 'normal', wanted one of"),
        ({"guide": "low_rank", "rank": 9}, "rank: given 9, wanted"),
        ({"num_draws": 0}, "num_draws: given 0"),
        ({"num_steps": 0}, "num_steps: given 0"),
        ({"learning_rate": -1.0}, "learning_rate: given -1.0"),
        ({"rows": ["x"], "batch_size": 1}, "rows: given"),
    ],
)
def test_a_dry_run_refuses_wrong_values_and_writes_nothing(
    options, tmp_path, change, words
):
    given = options(tmp_path / "run", **change)
    with pytest.raises(ValueError, match=words):
        vi.fit(**given, dry_run=True)
    assert not any((tmp_path / "run").iterdir())
