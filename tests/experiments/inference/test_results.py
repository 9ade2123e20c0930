"""Draws become a DataTree that ArviZ's functions take, and predictions join it."""

import warnings

import arviz
import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot
from scipy import stats

import ppl_core as ppl
from experiments import inference
from experiments.inference import memory
from experiments.inference.results import PREDICTIONS
from experiments.inference.samples import Samples

SIGMA = np.array([1.0, 2.0, 1.5])
Y = np.array([0.3, 2.0, -1.0])
CHAINS, DRAWS = 4, 250


def schools(sigma):
    mu = ppl.Normal(0.0, 5.0, name="mu")
    with ppl.coords(school=["A", "B", "C"]):
        theta = ppl.Normal(mu, 1.0, dims="school", name="theta")
        ppl.deterministic(theta - mu, "effect", dims=["school"])
        return ppl.Normal(theta, sigma, dims="school", name="y")


@pytest.fixture(scope="module")
def posterior():
    return ppl.posterior(schools, SIGMA, observed={"y": Y})


@pytest.fixture(scope="module")
def samples():
    """Draws from the posterior itself: it is normal."""
    precision = np.diag([1 / 25 + 3.0, *(1 + 1 / SIGMA**2)])
    precision[0, 1:] = precision[1:, 0] = -1
    covariance = np.linalg.inv(precision)
    mean = covariance @ [0.0, *(Y / SIGMA**2)]
    rng = np.random.default_rng(0)
    draws = rng.multivariate_normal(mean, covariance, size=(CHAINS, DRAWS))
    shape = (CHAINS, DRAWS)
    depth = rng.integers(2, 5, size=shape).astype(np.int32)
    return Samples(
        draws=draws,
        log_prob=rng.normal(size=shape),
        leapfrogs=2**depth - 1,
        depth=depth,
        accept=rng.uniform(0.7, 1.0, size=shape),
        diverged=np.zeros(shape, bool),
        energy=rng.normal(size=shape),
    )


@pytest.fixture(scope="module")
def tree(posterior, samples):
    tree = inference.to_datatree(samples, posterior, step_size=0.3, max_depth=4)
    return inference.predict(tree, posterior, PREDICTIONS, num_prior_draws=100)


def test_variables_have_their_names_dimensions_and_labels(tree, samples):
    found = tree["posterior"]
    assert set(found.data_vars) == {"mu", "theta", "effect"}
    np.testing.assert_array_equal(found["mu"], samples.draws[..., 0])
    assert found["theta"].dims == ("chain", "draw", "school")
    chosen = found["effect"].sel(school="B")
    np.testing.assert_allclose(chosen, samples.draws[..., 2] - samples.draws[..., 0])
    np.testing.assert_array_equal(tree["observed_data/y"], Y)
    assert tree["observed_data/y"].dims == ("school",)
    np.testing.assert_array_equal(tree["constant_data/sigma"], SIGMA)


def test_the_statistics_have_the_names_of_arviz(tree, samples):
    found = tree["sample_stats"]
    for name, wanted in (
        ("lp", samples.log_prob),
        ("acceptance_rate", samples.accept),
        ("step_size", np.full((CHAINS, DRAWS), 0.3)),
        ("tree_depth", samples.depth),
        ("n_steps", samples.leapfrogs),
        ("diverging", samples.diverged),
        ("energy", samples.energy),
        ("reached_max_treedepth", samples.depth == 4),
    ):
        np.testing.assert_array_equal(found[name], wanted)


def test_the_log_likelihood_is_that_of_each_draw_and_observation(tree):
    theta = tree["posterior/theta"].values
    wanted = stats.norm.logpdf(Y, theta, SIGMA)
    np.testing.assert_allclose(tree["log_likelihood/y"], wanted, rtol=1e-10)
    assert tree["log_likelihood/y"].dims == ("chain", "draw", "school")


def test_predictions_are_of_the_same_draws_and_of_the_prior(tree):
    errors = (tree["posterior_predictive/y"] - tree["posterior/theta"]) / SIGMA
    assert abs(float(errors.std()) - 1) < 5 / (2 * errors.size) ** 0.5
    assert tree["prior/theta"].shape == tree["prior_predictive/y"].shape == (1, 100, 3)
    gap = (tree["prior/theta"] - tree["prior/mu"] - tree["prior/effect"]).max()
    assert abs(float(gap)) < 1e-12


def test_arvizs_statistics_take_it(tree):
    summary = arviz.summary(tree, round_to="none")
    own = inference.summarize(tree).table
    # The two middle draws are as far from the median, but for rounding: a tie, or none.
    np.testing.assert_allclose(own["r_hat"], summary["r_hat"], rtol=1e-4)
    np.testing.assert_allclose(own["ess_bulk"], summary["ess_bulk"], rtol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a Pareto k above 0.7, as three data may have
        loo = arviz.loo(tree)
        compared = arviz.compare({"one": tree, "same": tree})
    assert np.isfinite(loo.elpd) and compared["elpd_diff"].abs().max() == 0


@pytest.mark.parametrize(
    "name", ["plot_trace", "plot_rank", "plot_pair", "plot_energy", "plot_ppc_dist"]
)
def test_arvizs_plots_take_it(tree, name):
    matplotlib.use("Agg")
    more = {} if name in ("plot_energy", "plot_ppc_dist") else {"var_names": ["mu"]}
    if name == "plot_pair":
        more = {"var_names": ["mu", "theta"]}
    assert getattr(arviz, name)(tree, backend="matplotlib", **more)
    pyplot.close("all")


def test_it_is_written_as_netcdf_and_read_again(tree, tmp_path):
    tree.to_netcdf(tmp_path / "draws.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "draws.nc", engine="h5netcdf") as again:
        xr.testing.assert_identical(again.load(), tree)
        assert inference.summarize(again).run == inference.summarize(tree).run


def test_entries_that_the_model_keeps_constant_are_remembered():
    def model():
        ppl.LKJ(2, 1.0, name="correlation")

    draws = np.random.default_rng(0).normal(size=(2, 100, 1))
    samples = Samples(draws, *6 * [np.zeros((2, 100))])
    posterior = ppl.posterior(model)
    tree = inference.to_datatree(samples, posterior, step_size=0.3, max_depth=4)
    summary = inference.summarize(tree)
    assert summary.run["constant"] == [] and summary.run["max_r_hat"] > 0.9


def test_scopes_and_a_plain_density_have_names(samples):
    def model():
        for side in ("left", "right"):
            with ppl.prefix(side):
                ppl.Normal(0.0, 1.0, sample_shape=2, name="x")

    tree = inference.to_datatree(
        samples, ppl.posterior(model), step_size=0.3, max_depth=4
    )
    assert set(tree["posterior"].data_vars) == {"left::x", "right::x"}
    plain = inference.to_datatree(samples, step_size=0.3, max_depth=4)
    np.testing.assert_array_equal(plain["posterior/x"], samples.draws)


def test_a_dimension_named_as_a_variable_is_an_error(samples):
    def model():
        ppl.Normal(0.0, 1.0, sample_shape=4, dims=["theta"], name="theta")

    with pytest.raises(ValueError, match="dims: given 'theta' as a dimension and as"):
        inference.to_datatree(samples, ppl.posterior(model), step_size=0.3, max_depth=4)


def test_values_that_do_not_fit_in_memory_are_refused_before_they_are_made(
    tree, posterior, samples, monkeypatch
):
    monkeypatch.setattr(memory, "memory_bytes", lambda: 1000)
    with pytest.raises(ValueError, match=r"draws of 'mu': given \(\), .* 8,000 bytes"):
        inference.to_datatree(samples, posterior, step_size=0.3, max_depth=4)
    wanted = "1000 draws of 3 observations, wanted less: 48,000 bytes"
    for group in ("log_likelihood", "posterior_predictive", "prior"):
        with pytest.raises(ValueError, match=wanted):
            inference.predict(tree, posterior, [group])


def test_what_cannot_be_predicted_is_refused(tree, posterior):
    with pytest.raises(ValueError, match=r"groups: given \['likelihood'\], wanted"):
        inference.predict(tree, posterior, ["likelihood"])
    with pytest.raises(ValueError, match="num_prior_draws: given 0, wanted"):
        inference.predict(tree, posterior, ["prior"], num_prior_draws=0)
    with pytest.raises(ValueError, match=r"posterior: given one of no program"):
        inference.predict(tree, posterior._replace(source=None))

    def flat():
        ppl.Normal(ppl.Flat(name="mu"), 1.0, name="y")

    improper = ppl.posterior(flat, observed={"y": 0.5})
    with pytest.raises(
        ValueError, match=r"flat: no draw from the prior: Flat\(name='mu'\)"
    ):
        inference.predict(tree, improper, ["prior"])
