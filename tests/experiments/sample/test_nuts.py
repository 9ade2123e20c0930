"""A user's program in a file is sampled, judged, plotted, and resumed."""

import contextlib
import json
import re
from unittest import mock

import numpy as np
import pytest
import xarray as xr

from experiments.records import metrics
from experiments.records.run_dir import CheckFailed
from experiments.sample import nuts, store
from tests.programs import REPO, ran

GIVEN = {"num_warmup": 150, "num_draws": 300}


@pytest.fixture(scope="module")
def finished(options, tmp_path_factory):
    given = options(tmp_path_factory.mktemp("finished"))
    return given, nuts.sample(**given)


def draws_of(folder):
    return np.concatenate([chunk.draws for chunk in store.chunks([folder])], axis=1)


def test_a_run_leaves_draws_summary_plots_and_curves(finished):
    given, facts = finished
    folder = given["run_dir"]
    with xr.open_datatree(folder / "draws.nc", engine="h5netcdf") as tree:
        assert tree["posterior/x"].shape == (4, 300, 2)
        np.testing.assert_array_equal(tree["observed_data/y"], [0.5, 3.0])
        np.testing.assert_array_equal(tree["constant_data/scale"], [1, 2])
        np.testing.assert_array_equal(tree["posterior/x"], draws_of(folder))
        mean = tree["posterior/x"].mean(["chain", "draw"])
    # Conjugate: precision 1 / scale^2 + 1.
    np.testing.assert_allclose(mean, [0.25, 2.4], atol=5 * 0.9 / 400**0.5)
    assert facts["failures"] == [] == facts["warnings"] and facts["divergences"] == 0
    assert facts["num_warmup"] == 150 and len(facts["step_size"]) == 4
    assert "E-BFMI" in (folder / "summary.txt").read_text()
    assert (folder / "summary.csv").read_text().startswith("variable,mean,mcse_mean")
    assert json.loads((folder / "summary.json").read_text())["max_r_hat"] < 1.01
    pictures = sorted(path.name for path in (folder / "media").iterdir())
    assert [name.split("-")[1] for name in pictures] == [
        *("energy", "pair", "predictive", "rank", "trace")
    ]
    events = metrics.read(folder / "metrics.jsonl")
    timed = ["ms_per_leapfrog" in event for event in events if "depth" in event]
    assert timed == [False] + [True] * (len(timed) - 1)  # compiling is no leapfrog
    told = [event for event in events if event["kind"] == "draws"]
    assert [event["step"] for event in told] == [100, 200, 300]
    assert 0 < told[0]["ess"] < told[-1]["ess"] and told[-1]["divergences"] == 0


def test_a_resumed_run_has_the_draws_of_one_that_was_not_interrupted(
    finished, options, tmp_path
):
    given = options(tmp_path / "run", num_draws=100)
    with contextlib.suppress(CheckFailed):  # for so few draws
        nuts.sample(**given)
    nuts.sample(**{**given, "num_draws": 300, "resume": True, "chunk_size": 70})
    again, wanted = draws_of(given["run_dir"]), draws_of(finished[0]["run_dir"])
    np.testing.assert_array_equal(again, wanted)


def test_a_run_stopped_in_warm_up_goes_on_from_there(finished, options, tmp_path):
    given = options(tmp_path / "run")
    with mock.patch.object(store, "save", side_effect=KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):  # at the first draws to keep
            nuts.sample(**given)
    (given["run_dir"] / "chunks/warmup.npz").write_bytes(b"damaged")
    nuts.sample(**{**given, "resume": True})
    again, wanted = draws_of(given["run_dir"]), draws_of(finished[0]["run_dir"])
    np.testing.assert_array_equal(again, wanted)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"target_accept": 0.9}, "or sampler: target_accept is 0.9, was 0.8"),
        ({"seed": 4}, "seed is 4, was 3"),
        ({"num_draws": 200}, "num_draws: given 200, .* already holds 300"),
        ({"data": "other.json"}, "data is 'other.json'.*data_sha256 is"),
    ],
)
def test_another_run_is_not_continued(finished, files, changed, message):
    (files / "other.json").write_text('{"scale": [1, 2], "y": [0.5, 3.5]}')
    if "data" in changed:
        changed = {"data": str(files / changed["data"])}
    with pytest.raises(ValueError, match=message):
        nuts.sample(**{**finished[0], **changed, "resume": True, "dry_run": True})


def test_starts_are_given_by_name(options, tmp_path):
    given = options(tmp_path / "run", dry_run=True)
    for content, message in (
        ('{"x": [1, 2]}', None),
        ('{"z": 1}', r"given values for \['z'\]"),
        ('{"x": [1, 2, 3]}', r"given 'x' of shape \(3,\)"),
    ):
        (tmp_path / "init.json").write_text(content)
        expected = pytest.raises(ValueError, match=message) if message else None
        with expected or contextlib.nullcontext():
            nuts.sample(**given, init=str(tmp_path / "init.json"))
    assert not any(given["run_dir"].iterdir())


def test_nan_among_the_arguments_is_named(options, tmp_path):
    (tmp_path / "nan.json").write_text('{"scale": [1, "NaN"], "y": [1, 2]}')
    given = options(tmp_path / "run", data=str(tmp_path / "nan.json"))
    with pytest.raises(ValueError, match=r"nan.json: scale: given nan at \(1,\)"):
        nuts.sample(**given, dry_run=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_chains": 0}, "num_chains: given 0, wanted a whole number from 1"),
        ({"num_draws": -1}, "num_draws: given -1, wanted a whole number from 1"),
        ({"num_draws": 10**14}, "num_draws: given 1000.*wanted less: [0-9,]+ bytes"),
        ({"num_chains": 10**10}, "num_chains: given 100.*wanted less: [0-9,]+ bytes"),
        ({"num_warmup": -1}, "num_warmup: given -1, wanted a whole number from 0"),
        ({"num_warmup": 0}, "step_size: given None, wanted one without warm-up"),
        ({"step_size": float("inf")}, "step_size: given inf"),
        ({"target_accept": 1.0}, "target_accept: given 1.0, wanted a number above 0"),
        ({"metric": "round"}, "metric: given 'round', wanted"),
        ({"max_depth": 99}, "max_depth: given 99, wanted a whole number from 1 to 30"),
        ({"dtype": "int8"}, "dtype: given 'int8', wanted float64 or float32"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(options, tmp_path, changed, message):
    given = options(tmp_path / "run", **changed)
    with pytest.raises(ValueError, match=message):
        nuts.sample(**given, dry_run=True)


def command(files, workdir, *more):
    data = f"--data={files}/data.json"
    return [
        "bin/sample",
        f"{files}/models.py:pair",
        data,
        f"--workdir={workdir}",
        *more,
    ]


def test_bin_sample_ends_with_3_where_the_draws_fail(files, tmp_path):
    short = ["--num_warmup=20", "--num_draws=20", "--num_chains=2"]
    done = ran(command(files, tmp_path / "run", *short))
    assert done.returncode == 3, done.stderr
    assert "WARNING: ess_bulk of x[" in done.stdout
    assert "draws: 40 of 40" in done.stderr and "seconds_left" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.search(r"finished after .*: \d checks failed, see the warnings", last)
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["exit_code"] == 3 and "below 400" in record["reason"]
    assert (tmp_path / "run/draws.nc").exists()
    refused = ran(command(files, tmp_path / "run", *short))
    assert refused.returncode == 2 and "holds a failed run" in refused.stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--num_chains=0"], "sample: --num_chains: given 0, wanted a whole number"),
        (["--num_draws=many"], "--num_draws: given 'many', wanted a whole number"),
        (["--data=absent.json"], "sample: --data: absent.json: given no such file"),
        (["--chains=4"], "unknown argument '--chains=4'"),
    ],
)
def test_bin_sample_refuses_mistakes_in_one_line(files, tmp_path, more, message):
    done = ran(command(files, tmp_path / "run", *more))
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_bin_train_runs_a_program_by_its_config(files, tmp_path):
    done = ran(
        [
            "bin/train",
            f"--gin_config={REPO}/configs/nuts/program.gin",
            f"--gin_param=nuts.sample.program='{files}/models.py:pair'",
            f"--gin_param=nuts.sample.data='{files}/data.json'",
            f"--workdir={tmp_path}/run",
            "--dry_run",
        ]
    )
    assert done.returncode == 0, done.stderr
    assert "nuts.sample.num_chains = 4" in done.stdout
