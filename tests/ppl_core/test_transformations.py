"""Transformations of programs, against sums of TFP's densities written by hand."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import ppl_core as ppl

tfd = tfp.distributions
SEED = (3, -4)


def linear_regression(features):
    """Written for one draw; its batches are make_log_joint_fn's business."""
    precision = ppl.Gamma(2.0, 3.0, name="precision")
    mu = ppl.Normal(0.5, 2.0, name="mu")
    coeffs = ppl.Normal(
        mu, tf.math.rsqrt(precision), sample_shape=features.shape[1], name="coeffs"
    )
    locs = tf.linalg.matvec(features, coeffs)
    return ppl.MultivariateNormalDiag(locs, 0.5 * tf.ones_like(locs), name="labels")


FEATURES = np.array([[1.0, 0.5], [-2.0, 0.3], [0.1, 4.0]], np.float32)
LABELS = np.array([0.3, -1.0, 0.7], np.float32)


def values(batch=()):
    rng = np.random.default_rng(1)
    return {
        "precision": rng.gamma(2.0, size=batch).astype(np.float32),
        "mu": rng.normal(size=batch).astype(np.float32),
        "coeffs": rng.normal(size=(*batch, 2)).astype(np.float32),
    }


def terms_by_hand(precision, mu, coeffs, labels=LABELS):
    return {
        "precision": tfd.Gamma(2.0, 3.0).log_prob(precision),
        "mu": tfd.Normal(0.5, 2.0).log_prob(mu),
        "coeffs": tf.reduce_sum(
            tfd.Normal(mu, 1.0 / np.sqrt(precision)).log_prob(coeffs)
        ),
        "labels": tf.reduce_sum(tfd.Normal(FEATURES @ coeffs, 0.5).log_prob(labels)),
    }


def by_hand(**entry):
    return sum(float(term) for term in terms_by_hand(**entry).values())


# make_log_joint_fn


def test_log_joint_is_the_sum_of_the_terms_by_hand():
    log_joint = ppl.make_log_joint_fn(linear_regression)
    actual = log_joint(FEATURES, **values(), labels=LABELS)
    assert actual.shape == ()
    np.testing.assert_allclose(actual, by_hand(**values()), rtol=1e-5)


def test_parts_are_the_terms_by_name():
    parts = ppl.make_log_prob_parts_fn(linear_regression)(
        FEATURES, **values(), labels=LABELS
    )
    expected = terms_by_hand(**values())
    assert list(parts) == list(expected)
    for name in expected:
        np.testing.assert_allclose(parts[name], expected[name], rtol=1e-5)


@pytest.mark.parametrize("batch", [(4,), (1,), (2, 3), (1, 1), (1, 3)])
def test_a_batch_has_one_log_prob_per_entry(batch):
    observed = {"labels": LABELS}
    log_joint = ppl.make_log_joint_fn(
        linear_regression, batch_ndims=len(batch), observed=observed
    )
    parts = ppl.make_log_prob_parts_fn(
        linear_regression, batch_ndims=len(batch), observed=observed
    )
    batched = values(batch)
    actual, actual_parts = log_joint(FEATURES, **batched), parts(FEATURES, **batched)
    assert actual.shape == batch
    expected, single = np.zeros(batch), ppl.make_log_joint_fn(linear_regression)
    for index in np.ndindex(batch):
        entry = {name: value[index] for name, value in batched.items()}
        expected[index] = by_hand(**entry)
        np.testing.assert_allclose(
            actual[index], single(FEATURES, **entry, labels=LABELS), rtol=1e-5
        )
        for name, term in terms_by_hand(**entry).items():
            np.testing.assert_allclose(actual_parts[name][index], term, rtol=1e-4)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_values_that_are_data_may_be_batched_too():
    log_joint = ppl.make_log_joint_fn(linear_regression, batch_ndims=1)
    batched = values((3,)) | {"labels": np.stack([LABELS, 2 * LABELS, 3 * LABELS])}
    actual = log_joint(FEATURES, **batched)
    for i in range(3):
        entry = {name: value[i] for name, value in batched.items()}
        np.testing.assert_allclose(actual[i], by_hand(**entry), rtol=1e-5)


def shared_location():
    mu = ppl.Normal(0.0, 1.0, name="mu")
    ppl.Normal(mu, 1.0, sample_shape=2, name="x")


def test_lists_of_numbers_can_be_batches():
    log_joint = ppl.make_log_joint_fn(
        shared_location, batch_ndims=1, observed={"x": [1.0, 2.0]}
    )
    actual = log_joint(mu=[0.0, 0.5, 1.0])
    mu = np.array([0.0, 0.5, 1.0], np.float32)
    expected = tfd.Normal(0.0, 1.0).log_prob(mu) + tf.reduce_sum(
        tfd.Normal(mu[:, None], 1.0).log_prob([1.0, 2.0]), 1
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_a_float32_program_accepts_float64_arrays():
    double = {name: value.astype(np.float64) for name, value in values((3,)).items()}
    observed = {"labels": LABELS.astype(np.float64)}
    log_joint = ppl.make_log_joint_fn(
        linear_regression, batch_ndims=1, observed=observed
    )
    actual = log_joint(FEATURES, **double)
    assert actual.dtype == tf.float32
    for i in range(3):
        entry = {name: value[i] for name, value in values((3,)).items()}
        np.testing.assert_allclose(actual[i], by_hand(**entry), rtol=1e-5)


def test_the_gradient_of_a_batch_equals_that_of_each_entry():
    log_joint = ppl.make_log_joint_fn(
        linear_regression, batch_ndims=1, observed={"labels": LABELS}
    )
    batched = {name: tf.constant(value) for name, value in values((3,)).items()}
    with tf.GradientTape() as tape:
        tape.watch(batched)
        log_prob = log_joint(FEATURES, **batched)
    gradients = tape.gradient(log_prob, batched)
    single = ppl.make_log_joint_fn(linear_regression, observed={"labels": LABELS})
    for i in range(3):
        entry = {name: value[i] for name, value in batched.items()}
        with tf.GradientTape() as tape:
            tape.watch(entry)
            log_prob = single(FEATURES, **entry)
        for name, gradient in tape.gradient(log_prob, entry).items():
            np.testing.assert_allclose(gradients[name][i], gradient, rtol=1e-4)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_batched_log_joint_compiles_and_traces_once(jit_compile):
    log_joint = ppl.make_log_joint_fn(
        linear_regression, batch_ndims=1, observed={"labels": LABELS}
    )
    compiled = tf.function(
        lambda values: log_joint(FEATURES, **values), jit_compile=jit_compile
    )
    for scale in (1.0, 0.5):
        scaled = {k: tf.constant(scale * v) for k, v in values((3,)).items()}
        np.testing.assert_allclose(
            compiled(scaled), log_joint(FEATURES, **scaled), rtol=1e-4
        )
    assert compiled.experimental_get_tracing_count() == 1


def many_rows():
    mu = ppl.Normal(0.0, 1.0, name="mu")
    ppl.Normal(mu, 1.0, sample_shape=1_000_000, name="x")


def test_float64_sums_are_exact_where_float32_sums_are_not():
    x = np.random.default_rng(0).normal(10.0, 1.0, 1_000_000).astype(np.float32)
    float64 = ppl.make_log_joint_fn(many_rows, observed={"x": x}, dtype=tf.float64)
    actual = float64(mu=10.0)
    assert actual.dtype == tf.float64
    terms = tfd.Normal(10.0, 1.0).log_prob(x).numpy()
    expected = (
        terms.astype(np.float64).sum() + tfd.Normal(0.0, 1.0).log_prob(10.0).numpy()
    )
    assert abs(actual - expected) < 1e-6
    float32 = ppl.make_log_joint_fn(many_rows, observed={"x": x})(mu=10.0)
    assert float32.dtype == tf.float32
    assert 1e-4 < abs(float(float32) - expected) < 10.0


def test_terms_of_different_dtypes_are_added_in_the_widest():
    def program():
        ppl.Normal(0.0, 1.0, name="narrow")
        ppl.Normal(np.float64(0.0), 1.0, name="wide")

    actual = ppl.make_log_joint_fn(program)(narrow=0.5, wide=0.25)
    assert actual.dtype == tf.float64
    expected = tfd.Normal(0.0, 1.0).log_prob(0.5), tfd.Normal(0.0, 1.0).log_prob(0.25)
    np.testing.assert_allclose(
        actual, float(expected[0]) + float(expected[1]), rtol=1e-6
    )


def test_missing_unknown_and_repeated_names_are_errors():
    log_joint = ppl.make_log_joint_fn(linear_regression)
    with pytest.raises(
        ValueError, match=r"linear_regression: given no value for \['mu', 'labels'\]"
    ):
        log_joint(FEATURES, precision=1.0, coeffs=[1.0, 2.0])
    with pytest.raises(ValueError, match=r"no random variable is named \['odd'\]"):
        log_joint(FEATURES, **values(), labels=LABELS, odd=1.0)
    observed = ppl.make_log_joint_fn(linear_regression, observed={"labels": LABELS})
    with pytest.raises(ValueError, match=r"given \['labels'\] as observed and"):
        observed(FEATURES, **values(), labels=LABELS)
    with pytest.raises(ValueError, match="^<lambda>: a Normal has no name"):
        ppl.make_log_joint_fn(lambda: ppl.Normal(0.0, 1.0))()
    with pytest.raises(ValueError, match="two random variables are named 'x'"):
        ppl.make_log_joint_fn(
            lambda: (ppl.Normal(0.0, 1.0, name="x"), ppl.Normal(0.0, 1.0, name="x"))
        )(x=0.0)


def test_uneven_or_missing_batches_are_errors_with_their_shapes():
    log_joint = ppl.make_log_joint_fn(
        linear_regression, batch_ndims=1, observed={"labels": LABELS}
    )
    uneven = values((3,)) | {"mu": np.zeros(4, np.float32)}
    with pytest.raises(ValueError, match=r"'mu'.*4.*same 1 batch dimensions"):
        log_joint(FEATURES, **uneven)
    with pytest.raises(ValueError, match="same 1 batch dimensions"):
        log_joint(FEATURES, **values())
    with pytest.raises(ValueError, match="same 1 batch dimensions"):
        log_joint(FEATURES)


def test_values_set_by_the_program_are_optional():
    def program():
        ppl.Normal(ppl.Normal(0.0, 1.0, name="mu"), 1.0, value=2.0, name="x")

    expected = tfd.Normal(0.0, 1.0).log_prob(0.5) + tfd.Normal(0.5, 1.0).log_prob(2.0)
    np.testing.assert_allclose(
        ppl.make_log_joint_fn(program)(mu=0.5), expected, rtol=1e-6
    )


def test_a_scale_inside_the_program_is_in_the_log_joint():
    def minibatch():
        mu = ppl.Normal(0.0, 1.0, name="mu")
        with ppl.scale(50.0):
            ppl.Normal(mu, 1.0, sample_shape=2, name="x")

    actual = ppl.make_log_joint_fn(minibatch)(mu=0.5, x=[1.0, 2.0])
    prior = tfd.Normal(0.0, 1.0).log_prob(0.5)
    likelihood = tf.reduce_sum(tfd.Normal(0.5, 1.0).log_prob([1.0, 2.0]))
    np.testing.assert_allclose(actual, prior + 50 * likelihood, rtol=1e-6)


def test_a_joint_distribution_is_a_term_of_a_log_joint():
    def program():
        ppl.JointDistributionSequential(
            [tfd.Normal(0.0, 1.0), lambda a: tfd.Normal(a, 1.0)], name="pair"
        )

    expected = tfd.Normal(0.0, 1.0).log_prob(0.5) + tfd.Normal(0.5, 1.0).log_prob(2.0)
    actual = ppl.make_log_joint_fn(program)(pair=[0.5, 2.0])
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


# make_log_likelihood_fn


def test_the_log_likelihood_is_pointwise():
    log_likelihood = ppl.make_log_likelihood_fn(
        shared_location, observed={"x": [1.0, 2.0]}
    )
    actual = log_likelihood(mu=0.5)
    assert list(actual) == ["x"]
    np.testing.assert_allclose(
        actual["x"], tfd.Normal(0.5, 1.0).log_prob([1.0, 2.0]), rtol=1e-6
    )
    batched = ppl.make_log_likelihood_fn(
        shared_location, observed={"x": [1.0, 2.0]}, batch_ndims=2
    )(mu=np.array([[0.5, 1.0, 2.0]], np.float32))
    assert batched["x"].shape == (1, 3, 2)
    np.testing.assert_allclose(batched["x"][0, 0], actual["x"], rtol=1e-6)
    # A multivariate observation is one point.
    labels = ppl.make_log_likelihood_fn(linear_regression, observed={"labels": LABELS})
    np.testing.assert_allclose(
        labels(FEATURES, **values())["labels"],
        terms_by_hand(**values())["labels"],
        rtol=1e-5,
    )


# mutilate


def beta_bernoulli():
    p = ppl.Beta(1.0, 1.0, name="p")
    return ppl.Bernoulli(probs=p, sample_shape=50, name="x")


def test_the_mutilated_beta_bernoulli_draws_ones():
    mutilated = ppl.mutilate(beta_bernoulli, p=0.999)
    with ppl.seeded((0, 1)):
        x = mutilated()
    np.testing.assert_array_equal(x.value, np.ones(50))
    with ppl.seeded((0, 1)):
        assert np.sum(beta_bernoulli().value) < 50


def test_the_mutilated_programs_log_joint_lacks_the_replaced_term():
    x = np.array([1] * 49 + [0], np.int32)
    log_joint = ppl.make_log_joint_fn(ppl.mutilate(beta_bernoulli, p=0.9))
    expected = 49 * np.log(0.9) + np.log(0.1)
    np.testing.assert_allclose(log_joint(x=x), expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"no random variable is named \['p'\]"):
        log_joint(x=x, p=0.9)
    with pytest.raises(ValueError, match=r"intervene: .* named \['odd'\]"):
        ppl.mutilate(beta_bernoulli, odd=1.0)()


def test_a_mutilated_program_takes_the_programs_arguments():
    mutilated = ppl.mutilate(linear_regression, coeffs=[1.0, -1.0])
    with ppl.tape() as variables:
        labels = mutilated(features=FEATURES)
    assert set(variables) == {"precision", "mu", "labels"}
    np.testing.assert_allclose(labels.mean(), FEATURES @ [1.0, -1.0], rtol=1e-6)


# predictive draws


def test_prior_predictive_draws_every_variable():
    draws = ppl.prior_predictive(linear_regression, FEATURES, num_draws=4, seed=SEED)
    shapes = {name: tuple(value.shape) for name, value in draws.items()}
    assert shapes == {"precision": (4,), "mu": (4,), "coeffs": (4, 2), "labels": (4, 3)}
    assert len(np.unique(draws["mu"])) == 4


def test_prior_predictive_draws_depend_only_on_seed_and_index():
    few = ppl.prior_predictive(shared_location, num_draws=2, seed=SEED)
    many = ppl.prior_predictive(shared_location, num_draws=5, seed=SEED)
    other = ppl.prior_predictive(shared_location, num_draws=2, seed=(3, -5))
    for name in ("mu", "x"):
        np.testing.assert_array_equal(few[name], many[name][:2])
        assert not np.any(few[name].numpy() == other[name].numpy())


def test_prior_predictive_draws_have_the_programs_distribution():
    def program():
        mu = ppl.Normal(0.0, 3.0, name="mu")
        ppl.Normal(2.0 * mu, 4.0, name="x")

    draws = ppl.prior_predictive(program, num_draws=4000, seed=(1, 2))
    mu, x = draws["mu"].numpy(), draws["x"].numpy()
    assert abs(np.mean(x)) < 5 * np.sqrt(52 / 4000)
    assert abs(np.var(x) / 52 - 1) < 5 * np.sqrt(2 / 4000)
    residual = (x - 2 * mu) / 4
    assert abs(np.mean(residual * mu / 3)) < 5 / np.sqrt(4000)
    assert abs(np.var(residual) - 1) < 5 * np.sqrt(2 / 4000)


def test_prior_predictive_draws_of_integers_and_structures():
    def program():
        ppl.Poisson(3.0, sample_shape=2, name="count")
        ppl.Bernoulli(probs=0.5, name="coin")
        ppl.JointDistributionNamed(
            {"a": tfd.Normal(0.0, 1.0), "b": lambda a: tfd.Normal(a, 1.0)}, name="pair"
        )

    draws = ppl.prior_predictive(program, num_draws=3, seed=SEED)
    assert draws["coin"].dtype == tf.int32 and draws["coin"].shape == (3,)
    assert draws["count"].shape == (3, 2)
    assert draws["pair"]["b"].shape == (3,)


def test_posterior_predictive_samples_the_remaining_variables():
    mu = np.array([-100.0, 0.0, 100.0], np.float32)
    draws = ppl.posterior_predictive(shared_location, draws={"mu": mu}, seed=SEED)
    assert list(draws) == ["x"]
    assert draws["x"].shape == (3, 2)
    assert np.max(np.abs(draws["x"] - mu[:, None])) < 6.0
    noise = draws["x"] - mu[:, None]
    assert len(np.unique(np.round(noise, 4))) == 6


def test_posterior_predictive_draws_given_a_structured_variable():
    def program():
        pair = ppl.JointDistributionNamed(
            {"a": tfd.Normal(0.0, 1.0), "b": lambda a: tfd.Normal(a, 1.0)}, name="pair"
        )
        ppl.Normal(pair.value["a"], 1e-6, name="x")

    actual = {"pair": {"a": np.float32([1.0, 2.0]), "b": np.float32([0.0, 0.0])}}
    draws = ppl.posterior_predictive(program, draws=actual, seed=SEED)
    assert list(draws) == ["x"]
    np.testing.assert_allclose(draws["x"], [1.0, 2.0], rtol=1e-4)


def test_posterior_predictive_draws_do_not_depend_on_their_number():
    mu = np.linspace(-1.0, 1.0, 5).astype(np.float32)
    whole = ppl.posterior_predictive(shared_location, draws={"mu": mu}, seed=SEED)
    first = ppl.posterior_predictive(shared_location, draws={"mu": mu[:2]}, seed=SEED)
    np.testing.assert_array_equal(whole["x"][:2], first["x"])
    # Draw i of a variable is the same whatever the other draws hold.
    changed = mu + np.array([0, 0, 0, 0, 9.0], np.float32)
    again = ppl.posterior_predictive(shared_location, draws={"mu": changed}, seed=SEED)
    np.testing.assert_array_equal(whole["x"][:4], again["x"][:4])


def test_posterior_predictive_refuses_uneven_unknown_and_missing_draws():
    with pytest.raises(ValueError, match="given draws in numbers"):
        ppl.posterior_predictive(
            linear_regression,
            FEATURES,
            draws={"mu": np.zeros(2), "precision": np.ones(3)},
            seed=SEED,
        )
    with pytest.raises(
        ValueError, match="given draws in numbers {}, wanted one number"
    ):
        ppl.posterior_predictive(shared_location, draws={}, seed=SEED)
    with pytest.raises(ValueError, match=r"named \['odd'\]"):
        ppl.posterior_predictive(
            shared_location, draws={"odd": np.zeros(2, np.float32)}, seed=SEED
        )


# align


def test_align_renames_one_programs_values_for_another():
    def guide():
        ppl.Normal(0.0, 1.0, name="q_mu")
        ppl.Normal(0.0, 1.0, sample_shape=2, name="q_x")

    with ppl.tape() as variables:
        guide()
    aligned = ppl.align({"mu": "q_mu", "x": "q_x"}, variables)
    assert set(aligned) == {"mu", "x"}
    np.testing.assert_array_equal(aligned["x"], variables["q_x"].value)
    actual = ppl.make_log_joint_fn(shared_location)(**aligned)
    assert np.isfinite(actual)
    by_value = ppl.align({"x": "q_x"}, {"q_x": [1.0, 2.0], "unused": 0.0})
    np.testing.assert_array_equal(by_value["x"], [1.0, 2.0])
    assert tf.is_tensor(by_value["x"])


def test_align_refuses_unknown_names():
    with pytest.raises(
        ValueError, match=r"align: given \['q_odd'\], wanted .* \['q_mu'\]"
    ):
        ppl.align({"mu": "q_mu", "x": "q_odd"}, {"q_mu": 0.0})


def test_gradients_flow_through_an_alignment():
    loc = tf.Variable(0.7)
    with tf.GradientTape() as gradient_tape:
        with ppl.tape() as variables:
            ppl.Normal(loc, 1.0, seed=(1, 2), name="q")
        value = ppl.align({"mu": "q"}, variables)["mu"]
    np.testing.assert_allclose(gradient_tape.gradient(value, loc), 1.0)
