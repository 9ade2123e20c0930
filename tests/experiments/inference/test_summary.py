"""Summaries name the model's variables, and say when a run is bad."""

import re

import numpy as np
import pytest
import tensorflow as tf
import xarray as xr

import ppl_core as ppl
from experiments import inference
from experiments.inference.samples import Samples
from experiments.inference.warmup_state import Warmup

CHAINS, DRAWS = 4, 1000


def made_samples(draws, *, depth=3, diverged=0, accept=0.9, energy=None):
    shape = draws.shape[:2]
    is_diverged = np.zeros(shape, bool)
    is_diverged.flat[:diverged] = True
    return Samples(
        draws=draws,
        log_prob=np.zeros(shape),
        leapfrogs=np.full(shape, 7, np.int32),
        depth=np.full(shape, depth, np.int32),
        accept=np.full(shape, accept),
        diverged=is_diverged,
        energy=np.random.default_rng(1).normal(size=shape)
        if energy is None
        else energy,
    )


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).normal(size=(CHAINS, DRAWS, 3)).astype(np.float32)


def constrain(x):
    return {"scale": tf.exp(x[:, 0]), "means": x[:, 1:]}


def test_a_good_run_has_a_row_a_scalar_variable_and_no_warning(noise):
    summary = inference.summarize(
        made_samples(noise), max_depth=10, constrain=constrain
    )
    assert summary.table.index.tolist() == ["scale", "means[0]", "means[1]"]
    columns = "mean mcse_mean sd q5 q95 ess_bulk ess_tail r_hat".split()
    assert summary.table.columns.tolist() == columns
    wanted = np.exp(noise[..., 0].astype(np.float64))
    assert summary.table.loc["scale", "mean"] == pytest.approx(wanted.mean(), rel=1e-5)
    assert summary.table.loc["scale", "sd"] == pytest.approx(wanted.std(), rel=1e-3)
    assert summary.warnings == []
    assert summary.failures == []
    first = str(summary).splitlines()[0]
    assert "4 chains of 1000 draws: 0 divergences, 0 draws at maximum depth" in first
    assert first.endswith("mean acceptance 0.90")
    second = str(summary).splitlines()[1]
    assert re.match(r"Lowest E-BFMI \d\.\d\d, step size, identity metric, as", second)


def test_constrained_draws_have_chains_then_draws(noise):
    draws = inference.constrain_draws(made_samples(noise), constrain)
    assert draws["scale"].shape == (CHAINS, DRAWS)
    assert draws["means"].shape == (CHAINS, DRAWS, 2)
    np.testing.assert_array_equal(draws["means"], noise[..., 1:])


@pytest.mark.parametrize(
    ("changed", "warning"),
    [
        ({"diverged": 2}, "2 of 4000 draws diverged"),
        ({"depth": 5}, "4000 of 4000 draws reached max_depth 5"),
        ({"apart": True}, r"r_hat of x\[0\] is"),
        ({"num": 60}, r"ess_bulk of x\[\d\] is \d+, below 400"),
        ({"num": 3}, "fewer than 4 draws a chain"),
        ({"stuck": True}, "1 of 4 chains never moved"),
        ({"accept": 0.3}, r"mean acceptance is 0\.30, below 0\.6"),
        ({"chains": 1}, "one chain: nothing shows"),
        ({"still": True}, r"x\[2\] in chain 1 never moved: no draw is usable"),
        ({"energy": True}, r"E-BFMI below 0\.3 in 4 of 4 chains, lowest 0\.0\d"),
    ],
)
def test_a_bad_run_says_so_where_it_is_printed(noise, changed, warning):
    changed_names, changed = [*changed], dict(changed)
    draws = noise[:, : changed.pop("num", DRAWS)].copy()
    draws = draws[: changed.pop("chains", CHAINS)]
    draws[0, :, 0] += 3 * changed.pop("apart", False)
    draws[0] *= not changed.pop("stuck", False)
    if changed.pop("still", False):
        draws[1, :, 2] = 0.3
    if changed.get("energy"):
        changed["energy"] = np.cumsum(noise[..., 0], axis=1)
    summary = inference.summarize(made_samples(draws, **changed), max_depth=5)
    lines = [line for line in str(summary).splitlines() if line.startswith("WARNING")]
    assert any(re.search(warning, line) for line in lines), lines
    only_advice = ("accept", "chains", "depth", "energy")
    failing = [line for line in summary.failures if re.search(warning, line)]
    assert bool(failing) == (not any(name in only_advice for name in changed_names))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_draw_that_is_no_number_is_named_and_no_worst_case_is_given(noise, value):
    draws = noise.copy()
    draws[1, 7, 2] = value
    summary = inference.summarize(made_samples(draws), max_depth=5)
    assert summary.run["not_finite"] == ["x[2]"]
    assert np.isnan(summary.run["max_r_hat"]) and np.isnan(summary.run["min_ess_bulk"])
    assert any("infinite draws of x[2]" in line for line in summary.warnings)


@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_a_coordinate_that_never_moves_is_named_and_no_worst_case_is_given(
    noise, apart
):
    draws = noise.copy()
    draws[..., 1] = apart * np.arange(CHAINS)[:, None]
    summary = inference.summarize(made_samples(draws), max_depth=5)
    assert summary.run["constant"] == ["x[1]"]
    assert np.isnan(summary.run["max_r_hat"]) and np.isnan(summary.run["min_ess_bulk"])
    assert any("x[1] never moved" in line for line in summary.warnings)


def test_entries_that_the_model_keeps_constant_are_no_fault(noise):
    def correlation(x):
        one = tf.ones_like(x[:, 0])
        r = tf.tanh(x[:, 0])
        return {"r": tf.stack([tf.stack([one, r], -1), tf.stack([r, one], -1)], -1)}

    summary = inference.summarize(
        made_samples(noise), max_depth=5, constrain=correlation
    )
    assert summary.run["constant"] == [] and summary.warnings == []
    assert summary.run["max_r_hat"] == summary.table.loc["r[0,1]", "r_hat"] > 0


def test_a_value_that_saturates_is_no_constant_of_the_model(noise):
    summary = inference.summarize(
        made_samples(noise + 100),
        max_depth=5,
        constrain=lambda x: {"p": tf.sigmoid(x[:, 0]), "one": tf.ones_like(x[:, 1])},
    )
    assert summary.run["constant"] == ["p"] and np.isnan(summary.run["max_r_hat"])


def test_warm_up_is_described_and_its_numbers_stay_apart(noise):
    steps = np.full(CHAINS, 0.4)
    warmup = Warmup(
        step_size=steps,
        inverse_mass=np.ones((1, 3)),
        scale=np.ones((1, 3)),
        position=noise[:, 0],
        log_prob=np.zeros(CHAINS),
        grad=noise[:, 0],
        first_draws=np.array([0]),
        step_sizes=steps[np.newaxis],
        inverse_masses=np.ones((1, 1, 3)),
        leapfrogs=np.array([2000, 2500, 2500, 2000]),
        divergences=np.array([3, 0, 4, 0]),
        other_gradients=5,
        seconds=1.5,
    )
    tree = inference.to_datatree(
        made_samples(noise),
        step_size=warmup.step_size,
        max_depth=10,
        warmup=warmup,
        settings={"num_warmup": 500, "metric": "diagonal", "target_accept": 0.8},
    )
    summary = inference.summarize(tree)
    text = str(summary)
    assert "step size 0.4, diagonal metric, found in 500 draws of warm-up" in text
    assert "(7 of them diverged)" in text and "nothing is adapted" not in text
    assert summary.run["warmup_leapfrogs"] == 9000
    assert summary.run["divergences"] == 0 and summary.warnings == []
    assert summary.run["target_accept"] == 0.8
    assert tree["adaptation/inverse_mass"].dims == ("coordinate",)  # of all chains


def test_a_tree_and_its_samples_have_one_summary(noise):
    samples = made_samples(noise, diverged=3)
    summaries = [
        inference.summarize(samples, max_depth=10),
        inference.summarize(inference.to_datatree(samples, step_size=1, max_depth=10)),
    ]
    one, other = (summary.table.to_numpy() for summary in summaries)
    np.testing.assert_array_equal(one, other)
    assert summaries[0].warnings == summaries[1].warnings != []


def test_a_long_table_is_cut_where_it_is_printed():
    draws = np.random.default_rng(0).normal(size=(2, 10, 100))
    lines = str(inference.summarize(made_samples(draws), max_depth=10)).splitlines()
    assert lines[62].startswith("x[59]") and lines[63].startswith(
        "... and 40 more rows"
    )


def test_draws_that_lack_a_group_are_refused():
    with pytest.raises(
        ValueError, match=r"given a DataTree without \['sample_stats'\]"
    ):
        inference.summarize(xr.DataTree.from_dict({"posterior": xr.Dataset()}))


def test_a_users_own_model_is_sampled_and_summarized():
    def model():
        scale = ppl.Gamma(3.0, 2.0, name="scale")
        ppl.Normal(0.0, scale, name="x")

    posterior = ppl.unconstrain(model, observed={"x": np.float32(0.5)})
    settings = inference.SamplerSettings(step_size=0.5, num_chains=4, num_results=20)
    samples = inference.sample(
        posterior.log_prob_and_grad, start=np.zeros([4, 1]), settings=settings, seed=1
    )
    summary = inference.summarize(
        samples, max_depth=settings.max_depth, constrain=posterior.constrain
    )
    assert summary.table.index.tolist() == ["scale"]
    assert summary.table.loc["scale", "mean"] > 0
    assert summary.run["divergences"] == samples.diverged.sum()


def test_a_start_of_another_number_of_chains_is_an_error():
    settings = inference.SamplerSettings(step_size=0.5, num_chains=4)
    with pytest.raises(ValueError, match=r"start: given shape \(3, 2\), wanted \[4"):
        inference.sample(
            lambda x: (-0.5 * tf.reduce_sum(x**2, -1), -x),
            start=np.zeros([3, 2]),
            settings=settings,
            seed=1,
        )


def test_rows_have_the_labels_of_their_dimensions():
    samples = made_samples(np.random.default_rng(0).normal(size=[CHAINS, DRAWS, 6]))
    table = inference.summarize(
        samples,
        max_depth=10,
        constrain=lambda x: {"m": tf.reshape(x, [-1, 2, 3])},
        dims={"m": ("year", "school")},
        coords={"school": np.array(["A", "B", "C"])},
    ).table
    assert table.index.tolist() == [
        *("m[0,A]", "m[0,B]", "m[0,C]", "m[1,A]", "m[1,B]", "m[1,C]")
    ]
