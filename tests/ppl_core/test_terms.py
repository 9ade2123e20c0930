"""Computed values, factors, flat priors, and bijectors of one's own."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tensorflow_probability import bijectors as tfb

import ppl_core as ppl

X = np.float32([0.1, -2.0, 1.0])


def computed():
    mu = ppl.Normal(0.0, 1.0, name="mu")
    square = ppl.deterministic(mu**2, "square")
    ppl.Normal(square, 1.0, sample_shape=3, name="x")


def test_a_computed_value_adds_nothing_and_is_among_the_draws():
    log_joint = ppl.make_log_joint_fn(computed)
    expected = stats.norm.logpdf(0.5) + stats.norm.logpdf(X, 0.25).sum()
    np.testing.assert_allclose(log_joint(mu=0.5, x=X), expected, rtol=1e-6)
    parts = ppl.make_log_prob_parts_fn(computed)(mu=0.5, x=X)
    assert list(parts) == ["mu", "x"]
    posterior = ppl.unconstrain(computed, observed={"x": X})
    assert (posterior.names, posterior.deterministic) == (("mu",), ("square",))
    values = posterior.constrain(tf.constant([[0.5], [-2.0]]))
    np.testing.assert_allclose(values["square"], [0.25, 4.0])
    np.testing.assert_allclose(posterior.unconstrain(values), [[0.5], [-2.0]])


def test_a_computed_value_is_predicted_and_computed_anew():
    draws = ppl.prior_predictive(computed, num_draws=5, seed=(0, 1))
    np.testing.assert_allclose(draws["square"], draws["mu"] ** 2, rtol=1e-6)
    given = {"mu": draws["mu"], "square": 100.0 * draws["square"]}
    again = ppl.posterior_predictive(computed, draws=given, seed=(0, 1))
    assert list(again) == ["x"] and np.abs(again["x"]).max() < 50


def test_only_an_intervention_sets_a_computed_value():
    mutilated = ppl.mutilate(computed, square=9.0)
    draws = ppl.prior_predictive(mutilated, num_draws=50, seed=(0, 1))
    assert abs(np.mean(draws["x"]) - 9.0) < 0.5 and "square" not in draws
    for tracer in (ppl.condition, ppl.substitute):
        with pytest.raises(ValueError, match="deterministic.*square.*has a value"):
            with tracer(square=1.0):
                computed()
    with pytest.raises(ValueError, match=r"square.*shape \(2,\), wanted \(\)"):
        ppl.mutilate(computed, square=[1.0, 2.0])()


def test_weights_leave_computed_values_alone():
    with ppl.tape() as variables, ppl.mask([True, False]), ppl.scale(7.0):
        ppl.deterministic(tf.zeros(5), "zeros")
        ppl.Normal([0.0, 0.0], 1.0, value=[0.0, 0.0], name="x")
    assert np.all(variables["zeros"].log_prob() == 0)
    expected = [7 * stats.norm.logpdf(0), 0]
    np.testing.assert_allclose(variables["x"].log_prob(), expected, rtol=1e-6)


def test_computed_whole_numbers_keep_their_dtype():
    with ppl.tape() as variables:
        ppl.deterministic(tf.constant([1, 2]), "count")
    assert variables["count"].dtype == tf.int32
    assert float(tf.reduce_sum(variables["count"].log_prob())) == 0


def shrunk():
    x = ppl.Normal(0.0, 1.0, sample_shape=2, name="x")
    ppl.factor(-(x**2), "shrink")


def test_a_factor_is_a_term_with_scale_and_gradient():
    values = np.float32([0.5, 2.0])
    expected = stats.norm.logpdf(values).sum() - (values**2).sum()
    log_joint = ppl.make_log_joint_fn(shrunk)
    np.testing.assert_allclose(log_joint(x=values), expected, rtol=1e-6)
    with ppl.scale(3.0, "shrink"):
        scaled = log_joint(x=values)
    np.testing.assert_allclose(scaled, expected - 2 * (values**2).sum(), rtol=1e-6)
    posterior = ppl.unconstrain(shrunk)
    _, grad = posterior.log_prob_and_grad(values[None])
    np.testing.assert_allclose(grad, [-3 * values], rtol=1e-6)
    assert list(posterior.constrain(values[None])) == ["x"]
    assert list(ppl.prior_predictive(shrunk, num_draws=2, seed=(0, 1))) == ["x"]


def test_a_factor_of_minus_infinity_excludes():
    def program():
        x = ppl.Normal(0.0, 1.0, name="x")
        ppl.factor(tf.where(x > 0, 0.0, -np.inf), "positive")

    log_joint = ppl.make_log_joint_fn(program)
    assert float(log_joint(x=-1.0)) == -np.inf
    np.testing.assert_allclose(log_joint(x=1.0), stats.norm.logpdf(1.0), rtol=1e-6)


def flat():
    loc = ppl.Flat(name="loc")
    scale = ppl.HalfFlat(name="scale")
    ppl.Normal(loc, scale, sample_shape=3, name="x")


def test_flat_priors_add_nothing_but_the_jacobian():
    posterior = ppl.unconstrain(flat, observed={"x": X})
    log_prob = posterior.log_prob(tf.constant([[0.3, -0.2]]))
    scale = np.log1p(np.exp(-0.2))
    likelihood = stats.norm.logpdf(X, 0.3, scale).sum()
    log_jacobian = -np.log1p(np.exp(0.2))  # of softplus
    np.testing.assert_allclose(log_prob, [likelihood + log_jacobian], rtol=1e-6)


def test_flat_priors_are_not_drawn_and_keep_their_support():
    with pytest.raises(NotImplementedError, match="Flat.*loc.*cannot sample"):
        ppl.prior_predictive(flat, num_draws=2, seed=(0, 1))
    parts = ppl.make_log_prob_parts_fn(flat)(loc=0.0, scale=-1.0, x=X)
    assert float(parts["loc"]) == 0 and float(parts["scale"]) == -np.inf
    assert ppl.Flat(tf.float64, name="a", value=1.0).dtype == tf.float64


def ordered():
    cuts = ppl.Normal(0.0, 2.0, sample_shape=3, bijector=tfb.Ascending(), name="cuts")
    ppl.OrderedLogistic(cutpoints=cuts, loc=0.0, name="y")


def test_a_bijector_restricts_a_variable_and_keeps_its_density():
    posterior = ppl.unconstrain(ordered, observed={"y": 1})
    vectors = tf.constant([[0.3, -1.0, 0.4], [-2.0, 0.0, 0.0]])
    values = posterior.constrain(vectors)["cuts"].numpy()
    assert np.all(np.diff(values, axis=1) > 0)
    # Ascending: cut k + 1 is cut k + exp(y[k + 1]), so log |det| = y[1] + y[2].
    cdf = 1 / (1 + np.exp(-values))
    expected = (
        stats.norm.logpdf(values, 0, 2).sum(1)
        + np.log(cdf[:, 1] - cdf[:, 0])
        + np.sum(vectors[:, 1:], axis=1)
    )
    np.testing.assert_allclose(posterior.log_prob(vectors), expected, rtol=1e-5)
    back = posterior.unconstrain({"cuts": values})
    np.testing.assert_allclose(back, vectors, atol=1e-5)


def test_a_restricted_variable_is_neither_drawn_nor_given_other_data():
    with pytest.raises(NotImplementedError, match="cuts.*bijector restricts"):
        ppl.prior_predictive(ordered, num_draws=2, seed=(0, 1))
    with pytest.raises(ValueError, match="cuts.*wanted values of Ascending"):
        with ppl.condition(cuts=[1.0, 0.0, 2.0]):
            ordered()
    posterior = ppl.unconstrain(ordered, observed={"y": 1})
    with pytest.raises(ValueError, match="values of 'cuts' outside its support"):
        posterior.unconstrain({"cuts": tf.constant(2 * [[1.0, 0.0, 2.0]])})


def test_a_weight_by_the_name_of_a_computed_value_is_refused():
    def program():
        tau = ppl.HalfNormal(1.0, name="tau")
        ppl.Normal(0.0, tau, sample_shape=3, name="theta")

    for tracer in (ppl.scale(5.0, "theta"), ppl.mask([True, False, True], "theta")):
        with pytest.raises(ValueError, match="'theta' is deterministic"), tracer:
            ppl.unconstrain(ppl.reparam(program, "theta"))
    with ppl.scale(5.0, "theta_base"):
        posterior = ppl.unconstrain(ppl.reparam(program, "theta"))
    expected = stats.halfnorm.logpdf(np.log(2)) + 15 * stats.norm.logpdf(0) - np.log(2)
    np.testing.assert_allclose(posterior.log_prob(np.zeros([1, 4])), [expected], 1e-6)


def test_draws_of_a_computed_value_want_those_it_is_computed_from():
    draws = ppl.prior_predictive(computed, num_draws=2, seed=(0, 1))
    with pytest.raises(ValueError, match="'square' without those of 'mu'"):
        ppl.posterior_predictive(
            computed, draws={"square": draws["square"]}, seed=(0, 1)
        )


def test_a_replaced_variable_has_a_variables_operators():
    x = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    group = np.array([0, 1, 1])

    def program():
        w = ppl.Normal(0.0, 1.0, sample_shape=2, name="w")
        s = ppl.Normal(0.0, 1.0, name="s")
        ppl.Normal(x @ w + w[group] + s, 1.0, name="y")

    do = ppl.unconstrain(
        ppl.mutilate(program, w=[0.5, 1.0]), observed={"y": np.zeros(3)}
    )
    assert do.names == ("s",)
    mean = x @ [0.5, 1.0] + np.array([0.5, 1.0])[group] + 0.3
    expected = stats.norm.logpdf(0.3) + stats.norm.logpdf(mean).sum()
    np.testing.assert_allclose(do.log_prob([[0.3]]), [expected], rtol=1e-9)
