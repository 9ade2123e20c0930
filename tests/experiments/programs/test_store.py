"""Chunks of draws become one netCDF file, whatever their sizes."""

import numpy as np
import pytest
import xarray as xr

import ppl_core as ppl
from experiments import inference
from experiments.inference.samples import Samples
from experiments.programs import store
from experiments.programs.kept import Kept


def model():
    with ppl.coords(school=["A", "B"]):
        theta = ppl.Normal(0.0, 1.0, dims="school", name="theta")
        ppl.deterministic(theta[0] - theta[1], "gap")


def made(num, chains=3, dim=2):
    rng = np.random.default_rng(0)
    shape = (chains, num)
    return Samples(
        draws=rng.normal(size=(*shape, dim)),
        log_prob=rng.normal(size=shape),
        leapfrogs=rng.integers(1, 8, size=shape).astype(np.int32),
        depth=rng.integers(1, 4, size=shape).astype(np.int32),
        accept=rng.uniform(size=shape),
        diverged=rng.uniform(size=shape) < 0.1,
        energy=rng.normal(size=shape),
    )


def part(samples, first, last):
    return Samples(*(array[:, first:last] for array in samples))


@pytest.fixture
def saved(tmp_path):
    samples = made(50)
    store.begin(tmp_path, {"seed": 1})
    for first in range(0, 50, 20):
        store.save(tmp_path, first, part(samples, first, first + 20))
    return tmp_path, samples


def test_the_file_equals_the_draws_at_once(saved):
    run_dir, samples = saved
    posterior = ppl.posterior(model)
    options = {"step_size": 0.3, "max_depth": 5}
    tree = inference.to_datatree(part(samples, 0, 20), posterior, **options)
    path = store.write_netcdf(run_dir, posterior, tree, **options)
    wanted = inference.to_datatree(samples, posterior, **options)
    with xr.open_datatree(path, engine="h5netcdf") as found:
        xr.testing.assert_identical(found.load(), wanted)
    assert sorted(p.name for p in run_dir.iterdir()) == ["chunks", "draws.nc"]


def test_other_draws_are_not_resumed(saved):
    run_dir, _ = saved
    store.check_resumed(run_dir, {"seed": 1})
    with pytest.raises(ValueError, match="another posterior or sampler: seed is 2"):
        store.check_resumed(run_dir, {"seed": 2})
    (run_dir / "chunks/identity.json").unlink()
    with pytest.raises(ValueError, match="identity.json is gone"):
        store.check_resumed(run_dir, {"seed": 1})


def test_damaged_and_missing_chunks_are_named(saved):
    run_dir, _ = saved
    path = run_dir / "chunks/000000020.npz"
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(ValueError, match="000000020.npz: damaged chunk"):
        list(store.chunks(run_dir))
    path.unlink()
    with pytest.raises(ValueError, match="000000040.npz: no chunk of draws from 20 on"):
        list(store.chunks(run_dir))


@pytest.mark.parametrize("size", [1, 7, 100])
def test_what_is_kept_is_every_nth_draw_however_they_come(size):
    samples = made(5000, chains=2)
    kept = Kept(2, 2)
    for first in range(0, 5000, size):
        kept.add(part(samples, first, first + size))
    found = kept.samples()
    assert kept.step == 4 and found.depth.shape == (2, 1250)
    np.testing.assert_array_equal(found.draws, samples.draws[:, ::4])
    assert 1000 < kept.ess() < 4000


def test_few_draws_of_many_chains_are_kept():
    kept = Kept(8000, 3)
    for _ in range(10):
        kept.add(made(10, chains=8000, dim=3))
    assert kept.samples().depth.shape[1] <= 40
