"""The plots of a run show its worst scalars, and bad draws do not stop them."""

import numpy as np
import pytest
import xarray as xr

from experiments import inference
from experiments.inference.samples import Samples
from experiments.sample import plots


def tree_of(draws, *, diverged=0, **more):
    chains, num, _ = draws.shape
    shape = (chains, num)
    bad = np.zeros(shape, bool)
    bad.flat[:diverged] = True
    samples = Samples(
        draws=draws,
        log_prob=np.zeros(shape),
        leapfrogs=np.full(shape, 3, np.int32),
        depth=np.full(shape, 2, np.int32),
        accept=np.full(shape, 0.9),
        diverged=bad,
        energy=np.random.default_rng(0).normal(size=shape),
    )
    return inference.to_datatree(samples, step_size=0.1, max_depth=10, **more)


def images(tree):
    return dict(plots.plots(tree, inference.summarize(tree)))


@pytest.fixture(scope="module")
def draws():
    return np.random.default_rng(0).normal(size=(4, 100, 3))


def test_there_is_a_picture_of_each_kind(draws):
    tree = tree_of(draws, diverged=5)
    predicted = xr.Dataset({"y": (("chain", "draw", "i"), draws)})
    tree["posterior_predictive"] = xr.DataTree(predicted)
    tree["observed_data"] = xr.DataTree(xr.Dataset({"y": ("i", [0.1, 0.2, 0.3])}))
    found = images(tree)
    assert list(found) == ["trace", "rank", "energy", "pair", "predictive"]
    for image in found.values():
        assert image.pixels.shape[1] == 900 and image.pixels.std() > 5


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300, 0.0])
def test_bad_draws_are_plotted_too(draws, bad):
    changed = draws.copy()
    changed[0, 10:, 1] = bad
    changed[..., 2] = bad
    assert {"trace", "rank", "pair"} <= images(tree_of(changed)).keys()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 1), (20, 3, 2)])
def test_few_draws_are_plotted(shape):
    assert "trace" in images(tree_of(np.random.default_rng(0).normal(size=shape)))


def test_the_worst_of_each_variable_is_shown_first():
    rng = np.random.default_rng(0)
    many = rng.normal(size=(4, 200, 40))
    many[0, :, 30] += 5  # the worst entry
    dataset = xr.Dataset(
        {
            "x": (("chain", "draw", "x_dim_0"), many),
            "tau": (("chain", "draw"), rng.normal(size=(4, 200))),
        }
    )
    tree = tree_of(many)
    tree["posterior"] = xr.DataTree(dataset)
    chosen = plots.choose(inference.summarize(tree), 3)
    assert len(chosen) == 3 and {"x[30]", "tau"} <= {*chosen}
