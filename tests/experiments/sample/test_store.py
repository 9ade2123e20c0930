"""Chunks of draws become one netCDF file, whatever their sizes."""

import errno

import numpy as np
import pytest
import xarray as xr

import ppl_core as ppl
from experiments import inference
from experiments.inference.samples import Samples, concatenate
from experiments.inference.saved import chunks
from experiments.records import identity
from experiments.sample import store
from experiments.sample.kept import Kept


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
    identity.write(store.folder_of(tmp_path), {"seed": 1})
    for first in range(0, 50, 20):
        store.save(tmp_path, first, part(samples, first, first + 20))
    return tmp_path, samples


def test_the_file_equals_the_draws_at_once(saved):
    run_dir, samples = saved
    posterior = ppl.posterior(model)
    options = {"step_size": 0.3, "max_depth": 5}
    tree = inference.to_datatree(part(samples, 0, 20), posterior, **options)
    path = store.write_netcdf(run_dir, [run_dir], posterior, tree, **options)
    wanted = inference.to_datatree(samples, posterior, **options)
    with xr.open_datatree(path, engine="h5netcdf") as found:
        xr.testing.assert_identical(found.load(), wanted)
    assert sorted(p.name for p in run_dir.iterdir()) == ["chunks", "draws.nc"]


def test_draws_of_several_processes_are_joined_whatever_their_chunks(tmp_path):
    samples = made(50)
    folders = [tmp_path, tmp_path / "process1"]
    for folder, chains, size in zip(folders, ([0], [1, 2]), (20, 50), strict=True):
        identity.write(store.folder_of(folder), {"seed": 1})
        own = Samples(*(array[chains] for array in samples))
        for first in range(0, 50, size):
            store.save(folder, first, part(own, first, first + size))
    assert [store.num_saved(folder) for folder in folders] == [50, 50]
    found = concatenate([*store.chunks(folders)], axis=1)
    for name, one, wanted in zip(Samples._fields, found, samples, strict=True):
        np.testing.assert_array_equal(one, wanted, err_msg=name)


def test_damaged_and_missing_chunks_are_named(saved, capsys):
    run_dir, samples = saved
    folder = store.folder_of(run_dir)
    last = folder / "000000040.npz"
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(ValueError, match="000000040.npz: damaged chunk of draws"):
        list(store.chunks([run_dir]))
    kept = concatenate([*chunks(folder, pass_over_last=True)], axis=1)
    np.testing.assert_array_equal(kept.draws, samples.draws[:, :40])
    assert "going on from draw 40" in capsys.readouterr().out
    path = folder / "000000020.npz"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="000000020.npz: damaged chunk"):
        list(chunks(folder, pass_over_last=True))
    path.unlink()
    with pytest.raises(ValueError, match="000000040.npz: no chunk of draws from 20 on"):
        list(store.chunks([run_dir]))


def test_a_full_disk_keeps_what_was_saved_and_frees_what_was_half_written(
    saved, monkeypatch
):
    run_dir, samples = saved

    def full(file, **arrays):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    before = {path: path.read_bytes() for path in run_dir.rglob("*.*")}
    with pytest.raises(OSError, match="No space left"):
        store.save(run_dir, 50, part(samples, 0, 10))
    assert {path: path.read_bytes() for path in run_dir.rglob("*.*")} == before


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
