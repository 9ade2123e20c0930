"""Every tracer alone, and with the others in the orders that matter."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import ppl_core as ppl

tfd = tfp.distributions

SEED = (3, -4)


def model():
    mu = ppl.Normal(0.0, 2.0, name="mu")
    return ppl.Normal(mu, 1.0, sample_shape=3, name="x")


X = np.array([0.5, -1.0, 2.0], np.float32)


def normal_log_prob(x, loc, scale):
    return tfd.Normal(loc, scale).log_prob(x).numpy()


# tape


def test_tape_records_variables_by_name_in_order():
    with ppl.tape() as variables:
        returned = model()
    assert list(variables) == ["mu", "x"]
    assert variables["x"] is returned
    assert variables["x"].shape == (3,)
    with ppl.tape() as nothing:
        pass
    assert nothing == {}


def test_tape_refuses_two_variables_of_one_name_and_says_which():
    with pytest.raises(
        ValueError, match="two random variables are named 'x': Normal and Gamma"
    ):
        with ppl.tape():
            ppl.Normal(0.0, 1.0, name="x")
            ppl.Gamma(1.0, 1.0, name="x")


def test_tape_says_which_constructor_lacks_a_name():
    with pytest.raises(ValueError, match="^tape: a Gamma has no name"), ppl.tape():
        ppl.Gamma(1.0, 1.0)
    assert ppl.Gamma(1.0, 1.0).name is None


def test_tape_ignores_traceable_functions_that_make_no_variable():
    double = ppl.traceable(lambda x: 2 * x)
    with ppl.tape() as variables:
        assert double(3) == 6
    assert variables == {}


def test_nested_tapes_both_record():
    with ppl.tape() as outer:
        ppl.Normal(0.0, 1.0, name="before")
        with ppl.tape() as inner:
            model()
    assert list(inner) == ["mu", "x"]
    assert list(outer) == ["before", "mu", "x"]
    assert outer["mu"] is inner["mu"]


# condition and substitute


@pytest.mark.parametrize(
    "bind, observed", [(ppl.condition, True), (ppl.substitute, False)]
)
def test_a_bound_value_is_scored_and_used_by_descendants(bind, observed):
    with ppl.tape() as variables, bind(mu=1.5, x=X):
        model()
    np.testing.assert_array_equal(variables["mu"].numpy(), np.float32(1.5))
    np.testing.assert_allclose(
        variables["x"].log_prob(), normal_log_prob(X, 1.5, 1.0), rtol=1e-6
    )
    assert [v.observed for v in variables.values()] == [observed, observed]


@pytest.mark.parametrize("bind", [ppl.condition, ppl.substitute])
def test_a_name_that_no_variable_has_is_an_error(bind):
    with pytest.raises(
        ValueError, match=rf"{bind.__name__}: no random variable is named \['odd'\]"
    ):
        with bind(mu=1.0, odd=2.0):
            model()
    with pytest.raises(ValueError, match=r"\['muu'\].*; did you mean 'mu'\?$"):
        with bind(muu=1.0):
            model()


@pytest.mark.parametrize("bind", [ppl.condition, ppl.substitute])
def test_binding_a_variable_that_has_a_value_is_an_error(bind):
    with pytest.raises(
        ValueError, match=rf"{bind.__name__}: Normal\(name='x'\) already has a value"
    ):
        with bind(x=1.0):
            ppl.Normal(0.0, 1.0, value=0.5, name="x")
    with pytest.raises(ValueError, match="already has a value"):
        with ppl.condition(mu=1.0), bind(mu=2.0):
            model()


@pytest.mark.parametrize(
    "tracer",
    [
        lambda: ppl.condition(odd=1.0),
        lambda: ppl.substitute(odd=1.0),
        lambda: ppl.intervene(odd=1.0),
        lambda: ppl.block("odd"),
        lambda: ppl.scale(2.0, "odd"),
        lambda: ppl.mask(True, "odd"),
    ],
)
def test_an_exception_in_the_block_is_not_masked_by_the_unknown_name(tracer):
    with pytest.raises(KeyError, match="mine"), tracer():
        raise KeyError("mine")
    with pytest.raises(ValueError, match=r"named \['odd'\]"), tracer():
        pass


def test_tracers_of_names_ignore_unnamed_variables():
    with ppl.condition(x=5.0), ppl.intervene(y=5.0), ppl.scale(2.0, "x"):
        unnamed = ppl.Normal(0.0, 1e-6)
        ppl.Normal(0.0, 1.0, name="x"), ppl.Normal(0.0, 1.0, name="y")
    assert abs(float(unnamed)) < 1.0
    np.testing.assert_allclose(
        unnamed.log_prob(0.0), normal_log_prob(0.0, 0.0, 1e-6), rtol=1e-6
    )


# replay


def test_replay_runs_a_program_with_another_runs_values():
    with ppl.tape() as first:
        model()
    with ppl.tape() as second, ppl.replay(first):
        model()
    for name in first:
        np.testing.assert_array_equal(first[name].value, second[name].value)
        assert not second[name].observed


def test_replay_accepts_values_and_ignores_missing_and_unused_names():
    with ppl.tape() as variables, ppl.replay({"x": X, "unused": 0.0}):
        model()
    np.testing.assert_array_equal(variables["x"].value, X)
    assert np.isfinite(variables["mu"].numpy())


def test_replay_keeps_an_existing_value():
    with ppl.replay({"x": 1.0}):
        assert float(ppl.Normal(0.0, 1.0, value=0.25, name="x")) == 0.25
        with ppl.condition(x=0.5):
            variable = ppl.Normal(0.0, 1.0, name="x")
    assert float(variable) == 0.5
    assert variable.observed


def test_a_replay_inside_a_condition_sets_the_value_first():
    with pytest.raises(ValueError, match="already has a value"):
        with ppl.condition(x=0.5), ppl.replay({"x": 1.0}):
            ppl.Normal(0.0, 1.0, name="x")


# intervene


def test_an_intervention_replaces_the_variable_for_descendants_and_tapes():
    with ppl.tape() as variables, ppl.intervene(mu=4.0):
        model()
    assert list(variables) == ["x"]
    np.testing.assert_array_equal(variables["x"].distribution.loc, 4.0)


def test_an_intervention_can_use_a_random_variable():
    other = ppl.Gamma(3.0, 1.0, name="other")
    with ppl.tape() as variables, ppl.intervene(mu=other):
        x = model()
    assert list(variables) == ["x"]
    np.testing.assert_array_equal(x.distribution.loc, other.value)


def test_no_tape_records_the_replacement():
    other = ppl.Gamma(3.0, 1.0, name="other")
    with ppl.intervene(mu=other), ppl.tape() as inner:
        model()
    assert list(inner) == ["x"]


def test_an_intervention_has_the_dtype_and_shape_of_what_it_replaces():
    with ppl.intervene(x=np.float64(1.0)):
        assert ppl.Normal(0.0, 1.0, name="x").dtype == tf.float32
    with pytest.raises(ValueError, match=r"shape \(2,\), wanted \(3,\)"):
        with ppl.intervene(x=[1.0, 2.0]):
            ppl.Normal(0.0, 1.0, sample_shape=3, name="x")


@pytest.mark.parametrize("value", [None, lambda *_: 1.0])
def test_an_intervention_without_a_value_is_an_error(value):
    with pytest.raises(ValueError, match=r"a function or an Interval for \['mu'\]"):
        with ppl.intervene(mu=value):
            model()


def test_an_intervention_returns_a_value_with_a_variables_operators():
    with ppl.tape() as variables, ppl.intervene(x=[1.0, 2.0]):
        replaced = ppl.Normal(0.0, 1.0, sample_shape=2, name="x")
    np.testing.assert_array_equal(replaced + 0.0, [1.0, 2.0])
    np.testing.assert_array_equal(replaced[np.array([1, 1, 0])], [2.0, 2.0, 1.0])
    np.testing.assert_allclose(np.eye(2) @ replaced, [1.0, 2.0])
    assert not variables


def test_the_inner_one_of_intervention_and_condition_acts():
    with ppl.tape() as variables, ppl.intervene(mu=4.0), ppl.condition(mu=1.0, x=X):
        model()
    # The condition came first and was satisfied; do(mu) then replaced the variable.
    assert list(variables) == ["x"]
    np.testing.assert_array_equal(variables["x"].distribution.loc, 4.0)
    with pytest.raises(ValueError, match=r"condition: no .* named \['mu'\]"):
        with ppl.condition(mu=1.0), ppl.intervene(mu=4.0):
            model()


# block


def test_block_hides_the_named_variables_only_from_outer_tracers():
    with ppl.tape() as outer, ppl.block("mu"), ppl.tape() as inner:
        model()
    assert list(inner) == ["mu", "x"]
    assert list(outer) == ["x"]


def test_block_without_names_hides_all():
    with ppl.tape() as variables, ppl.block():
        model()
        ppl.Normal(0.0, 1.0)
    assert variables == {}


def test_a_blocked_variable_can_be_conditioned_only_inside_the_block():
    with pytest.raises(ValueError, match=r"named \['mu'\]"):
        with ppl.condition(mu=1.0), ppl.block("mu"):
            model()
    with ppl.block("mu"), ppl.condition(mu=1.0):
        np.testing.assert_array_equal(model().distribution.loc, 1.0)


# scale and mask


def test_scale_multiplies_log_probs_and_nested_scales_multiply():
    with ppl.tape() as variables, ppl.scale(10.0), ppl.condition(mu=1.5, x=X):
        with ppl.scale(0.5, "x"):
            model()
    np.testing.assert_allclose(
        variables["mu"].log_prob(), 10 * normal_log_prob(1.5, 0.0, 2.0), rtol=1e-6
    )
    np.testing.assert_allclose(
        variables["x"].log_prob(), 5 * normal_log_prob(X, 1.5, 1.0), rtol=1e-6
    )


def test_a_scaled_minibatch_estimates_the_full_log_prob():
    data = np.random.default_rng(0).normal(size=8).astype(np.float32)
    terms = []
    for batch in data.reshape(4, 2):
        with ppl.tape() as variables, ppl.scale(len(data) / 2):
            ppl.Normal(0.3, 1.0, sample_shape=2, value=batch, name="x")
        terms.append(tf.reduce_sum(variables["x"].log_prob()).numpy())
    np.testing.assert_allclose(
        np.mean(terms), normal_log_prob(data, 0.3, 1.0).sum(), rtol=1e-6
    )


def test_mask_zeroes_log_probs_and_nested_masks_combine():
    with ppl.tape() as variables, ppl.condition(mu=1.5, x=X):
        with ppl.mask([True, True, False], "x"), ppl.mask([False, True, True], "x"):
            model()
    expected = normal_log_prob(X, 1.5, 1.0) * [0, 1, 0]
    np.testing.assert_allclose(variables["x"].log_prob(), expected, rtol=1e-6)
    assert variables["mu"].log_prob().numpy() != 0


def test_a_mask_of_the_last_dimension_is_one_of_columns_for_the_data_too():
    columns = [True, True, False]
    y = np.arange(6.0).reshape(2, 3)
    y[:, 2] = np.nan

    def table():
        with ppl.plate("group", 2), ppl.plate("row", 3), ppl.mask(columns):
            return ppl.Normal(0.5, 1.0, name="y")

    with ppl.condition(y=y):
        log_prob = table().log_prob()
    np.testing.assert_allclose(
        log_prob[:, :2], normal_log_prob(y[:, :2], 0.5, 1.0), rtol=1e-6
    )
    np.testing.assert_array_equal(log_prob[:, 2], 0.0)


def test_missing_entries_of_a_series_may_stand_under_a_mask():
    y = pd.Series([0.5, np.nan, 2.0], index=[4, 5, 6])
    with ppl.mask(y.notna()):
        x = ppl.Normal(0.0, 1.0, sample_shape=3, value=y, name="x")
    expected = normal_log_prob(np.array([0.5, 0.0, 2.0]), 0.0, 1.0) * [1, 0, 1]
    np.testing.assert_allclose(x.log_prob(), expected, rtol=1e-6)
    with ppl.mask([True, True, False]), pytest.raises(ValueError, match=r"nan at \(1,"):
        ppl.Normal(0.0, 1.0, sample_shape=3, value=y, name="x")


def test_a_mask_of_columns_does_not_hide_a_row():
    y = np.zeros((3, 3))
    y[2, :] = np.nan
    with ppl.mask([True, True, False]), pytest.raises(ValueError, match=r"\(2, 0\)"):
        ppl.Normal(0.0, 1.0, sample_shape=(3, 3), value=y, name="y")


def test_a_masked_entry_has_no_gradient_even_where_its_log_prob_is_infinite():
    rate = tf.constant(2.0)
    with tf.GradientTape() as gradient_tape:
        gradient_tape.watch(rate)
        with ppl.mask([True, False]):
            x = ppl.Exponential(rate, sample_shape=2, value=[1.0, -1.0], name="x")
        log_prob = tf.reduce_sum(x.log_prob())
    np.testing.assert_allclose(log_prob, np.log(2.0) - 2.0, rtol=1e-6)
    np.testing.assert_allclose(gradient_tape.gradient(log_prob, rate), 0.5 - 1.0)


def test_scale_and_mask_commute():
    log_probs = []
    for outer, inner in [
        (ppl.scale(3.0), ppl.mask([True, False, True], "x")),
        (ppl.mask([True, False, True], "x"), ppl.scale(3.0)),
    ]:
        with ppl.condition(mu=1.5, x=X), outer, inner:
            log_probs.append(model().log_prob().numpy())
    np.testing.assert_array_equal(*log_probs)
    np.testing.assert_allclose(
        log_probs[0], 3 * normal_log_prob(X, 1.5, 1.0) * [1, 0, 1], rtol=1e-6
    )


def test_scale_outside_and_inside_a_tape_is_in_the_tapes_log_prob():
    with ppl.condition(mu=1.5, x=X):
        with ppl.scale(2.0), ppl.tape() as inner:
            model()
    with ppl.condition(mu=1.5, x=X):
        with ppl.tape() as outer, ppl.scale(2.0):
            model()
    for variables in (inner, outer):
        np.testing.assert_allclose(
            variables["mu"].log_prob(), 2 * normal_log_prob(1.5, 0.0, 2.0), rtol=1e-6
        )
