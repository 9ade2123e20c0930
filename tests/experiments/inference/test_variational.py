"""Fits against closed forms: a linear model with normal noise, whose evidence is known.

The posterior is N(MEAN, inverse of PRECISION).
"""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import ppl_core as ppl
from experiments import inference
from experiments.inference import variational

RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(12, 2)) + 0.7
Y = X @ [1.0, -0.5] + RANDOM.normal(size=12)
PRECISION = X.T @ X + np.eye(2)
COVARIANCE = np.linalg.inv(PRECISION)
MEAN = COVARIANCE @ X.T @ Y
LOG_EVIDENCE = stats.multivariate_normal(np.zeros(12), X @ X.T + np.eye(12)).logpdf(Y)
# Of the best normal with independent coordinates, whose precisions are the diagonal's.
MEAN_FIELD_KL = 0.5 * np.log(np.diag(PRECISION).prod() / np.linalg.det(PRECISION))


def line(x):
    beta = ppl.Normal(0.0, 1.0, sample_shape=2, name="beta")
    ppl.deterministic(beta[0] - beta[1], "difference")
    return ppl.Normal(tf.linalg.matvec(x, beta.value), 1.0, name="y")


@pytest.fixture(scope="module")
def posterior():
    return ppl.posterior(line, X, observed={"y": Y})


@pytest.fixture(scope="module")
def full(posterior):
    guide = inference.full_rank(posterior)
    return inference.fit_vi(
        posterior, guide, num_steps=3000, num_samples=8, learning_rate=0.03
    )


@pytest.fixture(scope="module")
def field(posterior):
    return inference.fit_vi(
        posterior, num_steps=3000, num_samples=8, learning_rate=0.03
    )


def test_a_full_rank_guide_becomes_the_exact_posterior(full):
    scale = np.exp(full.params["log_scale"])
    factor = np.tril(full.params["lower"], -1) + np.diag(scale)
    np.testing.assert_allclose(full.params["loc"], MEAN, atol=0.01)
    np.testing.assert_allclose(factor @ factor.T, COVARIANCE, atol=0.005)


def test_its_elbo_is_the_log_evidence(full):
    assert abs(full.elbo - LOG_EVIDENCE) < 4 * full.elbo_error + 1e-3
    assert full.converged and full.pareto_k < 0.5 and full.warnings == []


def test_a_mean_field_guide_becomes_the_closest_one(field):
    # As near as Adam's noise lets a mean of 300 steps come.
    np.testing.assert_allclose(field.params["loc"], MEAN, atol=0.02)
    np.testing.assert_allclose(
        np.exp(field.params["log_scale"]), np.diag(PRECISION) ** -0.5, rtol=0.08
    )
    exact = LOG_EVIDENCE - MEAN_FIELD_KL
    assert abs(field.elbo - exact) < 4 * field.elbo_error + 1e-3


def test_steps_estimate_the_elbo_of_their_guide(field):
    exact = LOG_EVIDENCE - MEAN_FIELD_KL
    last = field.history[-100:]
    assert len(field.history) == 300
    assert abs(last.mean() - exact) < 4 * last.std() / 10 + 0.02  # of Adam's noise


def test_draws_are_a_datatree_of_the_guide(full):
    tree = full.draws(4000, seed=1)
    assert list(tree.children) == [
        *("posterior", "sample_stats", "observed_data", "constant_data"),
    ]
    beta = tree["posterior/beta"].values
    assert beta.shape == (1, 4000, 2)
    np.testing.assert_allclose(np.cov(beta[0].T), COVARIANCE, atol=0.02)
    np.testing.assert_allclose(
        tree["posterior/difference"].values, beta[..., 0] - beta[..., 1]
    )
    # Both densities by SciPy, at the draws.
    joint = stats.norm.logpdf(beta[0]).sum(1)
    joint += stats.norm.logpdf(Y, beta[0] @ X.T).sum(1)
    np.testing.assert_allclose(tree["sample_stats/lp"].values[0], joint)
    log_ratio = (tree["sample_stats/lp"] - tree["sample_stats/log_q"]).values
    # The guide is nearly exact, so their ratio is nearly constant.
    assert abs(log_ratio.mean() - LOG_EVIDENCE) < 0.01 and log_ratio.std() < 0.1
    assert tree["sample_stats"].attrs["guide"] == "full_rank"


def test_draws_of_one_seed_are_the_same_and_of_another_are_not(field):
    one, again, other = (field.draws(5, seed=s)["posterior/beta"] for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).all()


def test_gradients_have_the_exact_ones_as_their_mean(posterior):
    objective = variational.to_objective(posterior, num_samples=2)
    loc, scale = np.array([0.3, -0.2]), np.array([0.5, 0.8])
    params = {"loc": tf.constant(loc), "log_scale": tf.constant(np.log(scale))}

    num = 4000

    @tf.function(jit_compile=True)
    def many():
        types = (tf.float64, {"loc": tf.float64, "log_scale": tf.float64})
        return tf.map_fn(
            lambda numbers: objective.estimate(params, numbers),
            objective.numbers(tf.constant([0, 5]), num),
            fn_output_signature=types,
        )

    elbos, grads = many()
    squares = (loc - MEAN) @ PRECISION @ (loc - MEAN) + np.diag(PRECISION) @ scale**2
    exact = {
        "loc": -PRECISION @ (loc - MEAN),
        "log_scale": 1.0 - np.diag(PRECISION) * scale**2,
    }
    for name, part in grads.items():
        error = part.numpy().std(axis=0) / num**0.5
        assert (abs(part.numpy().mean(0) - exact[name]) < 4 * error).all()
    entropy = np.log(scale).sum() + 1.0 + np.log(2 * np.pi)
    normaliser = 0.5 * np.linalg.slogdet(PRECISION)[1] - np.log(2 * np.pi)
    elbo = LOG_EVIDENCE + normaliser - 0.5 * squares + entropy
    error = elbos.numpy().std() / num**0.5
    assert abs(elbos.numpy().mean() - elbo) < 4 * error


def test_the_elbo_is_that_of_tfps_loss(posterior, field):
    guide = tfp.distributions.MultivariateNormalDiag(
        tf.constant(field.params["loc"]), tf.exp(tf.constant(field.params["log_scale"]))
    )
    losses = tfp.vi.monte_carlo_variational_loss(
        posterior.log_prob, guide, sample_size=4000, seed=(0, 1)
    )
    # The ratios' standard deviation is below 1.
    assert abs(float(losses) + field.elbo) < 4 * (4000**-0.5 + field.elbo_error)


def run(posterior, **options):
    return inference.fit_vi(posterior, num_steps=205, seed=4, **options)


@pytest.fixture(scope="module")
def whole(posterior):
    return run(posterior)


def test_the_fit_does_not_depend_on_how_many_steps_a_call_does(
    posterior, whole, monkeypatch
):
    monkeypatch.setattr(variational, "CALL_SECONDS", 1e-9)  # 10 steps a call
    monkeypatch.setattr(variational, "FIRST_STEPS", 20)
    parts = run(posterior)
    np.testing.assert_array_equal(whole.history, parts.history)
    for name in whole.params:
        np.testing.assert_array_equal(whole.params[name], parts.params[name])


def test_a_run_goes_on_bit_for_bit_and_another_one_is_refused(
    posterior, whole, tmp_path, monkeypatch
):
    monkeypatch.setattr(variational, "CALL_SECONDS", 1e-9)
    seen = []

    def until_step_90(progress):
        seen.append(progress)
        return progress.num_done >= 90

    first = run(posterior, run_dir=tmp_path, on_progress=until_step_90)
    assert first.num_steps == 90 and seen[-1].num_steps == 205
    assert np.isfinite(seen[-1].elbo) and seen[-1].seconds_left > 0.0
    rest = run(posterior, run_dir=tmp_path)
    np.testing.assert_array_equal(whole.history, rest.history)
    np.testing.assert_array_equal(whole.params["loc"], rest.params["loc"])
    again = run(posterior, run_dir=tmp_path)  # of a finished run
    np.testing.assert_array_equal(whole.params["loc"], again.params["loc"])
    with pytest.raises(ValueError, match="num_samples is 2, was 1"):
        run(posterior, run_dir=tmp_path, num_samples=2)
    other = ppl.posterior(line, X, observed={"y": Y + 1.0})
    with pytest.raises(ValueError, match="first_elbo is .*, was"):
        run(other, run_dir=tmp_path)
    (tmp_path / "fit.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="fit.npz: damaged"):
        run(posterior, run_dir=tmp_path)


def test_until_converged_stops_early(posterior):
    fit = inference.fit_vi(
        posterior,
        num_steps=20_000,
        learning_rate=0.05,
        until_converged=True,
        num_samples=4,
    )
    assert fit.converged and fit.num_steps < 20_000
    np.testing.assert_allclose(fit.params["loc"], MEAN, atol=0.05)


def test_a_short_run_says_that_it_has_not_converged(whole):
    assert not whole.converged
    assert "still rises after 205 steps" in whole.warnings[0]
    assert "mean_field: ELBO" in str(whole) and "beta: reparam" in str(whole)


def test_a_learning_rate_may_be_a_function_of_the_step(posterior):
    fit = run(posterior, learning_rate=lambda step: 0.0 * tf.cast(step, tf.float64))
    np.testing.assert_array_equal(fit.params["loc"], [0.0, 0.0])


def test_an_elbo_that_is_not_finite_names_the_variable():
    def model():
        mu = ppl.Normal(0.0, 1.0, name="mu")
        other = ppl.Normal(0.0, 1.0, name="other")
        return ppl.Normal(other, tf.sqrt(mu), name="y")

    posterior = ppl.posterior(model, observed={"y": 0.1})
    guide = inference.mean_field(posterior, start={"mu": 2.0}, scale=0.1)
    with pytest.raises(
        ValueError, match=r"finite at step \d+, by the log prob of \['y'\]"
    ):
        inference.fit_vi(posterior, guide, learning_rate=0.5, num_steps=500)


def test_a_gradient_that_is_not_finite_names_the_variable():
    def model():
        mu = ppl.Normal(0.0, 1.0, name="mu")
        ppl.Normal(0.0, 1.0, name="other")
        # The root's gradient at 0 is infinite, its value is not.
        return ppl.Normal(tf.sqrt(0.0 * mu), 1.0, name="y")

    posterior = ppl.posterior(model, observed={"y": 0.1})
    with pytest.raises(ValueError, match=r"step 0, by the gradient by \['mu'\]"):
        inference.fit_vi(posterior, num_steps=20)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_steps": 0}, "num_steps: given 0, wanted a whole number from 1"),
        ({"num_steps": -3}, "num_steps: given -3"),
        ({"num_samples": 0}, "num_samples: given 0"),
        ({"learning_rate": 0}, "learning_rate: given 0, wanted"),
        ({"learning_rate": float("nan")}, "learning_rate: given nan, wanted"),
        ({"learning_rate": "fast"}, "learning_rate: given 'fast', wanted"),
        ({"learning_rate": True}, "learning_rate: given True, wanted"),
        ({"seed": -1}, "seed: given -1"),
        ({"seed": 0.5}, "seed: given 0.5"),
        ({"rows": ["x"]}, r"rows: given \['x'\] and batch_size None, wanted both"),
        ({"guide": "mean_field"}, "guide: given 'mean_field', wanted"),
    ],
)
def test_wrong_values_are_refused(posterior, options, words):
    with pytest.raises(ValueError, match=words):
        inference.fit_vi(posterior, **options)


def test_unknown_options_and_other_posteriors_are_refused(posterior):
    with pytest.raises(TypeError, match="did you mean 'num_steps'"):
        inference.fit_vi(posterior, num_step=3)
    with pytest.raises(ValueError, match="posterior: given <function line"):
        inference.fit_vi(line)
    small = ppl.posterior(lambda: ppl.Normal(0.0, 1.0, name="x"))
    with pytest.raises(ValueError, match="guide: given a mean_field of dimension 1"):
        inference.fit_vi(posterior, inference.mean_field(small))


def test_wrong_numbers_of_draws_are_refused(field):
    with pytest.raises(ValueError, match="num_draws: given 0"):
        field.draws(0)
    with pytest.raises(ValueError, match="seed: given -1"):
        field.draws(5, seed=-1)
