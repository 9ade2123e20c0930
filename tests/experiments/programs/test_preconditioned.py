"""Figure 12: the terms of the bound, and the descent, against closed forms."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import ppl_core as ppl
from experiments.programs import preconditioned

SEED = (0, 1)
Y = np.float32([0.5, -1.0, 2.0])


def model():
    mu = ppl.Normal(0.0, 2.0, name="mu")
    ppl.Normal(mu, 1.0, sample_shape=3, name="y")


def guide(parameters=(0.3, 0.5)):
    ppl.Normal(parameters[0], parameters[1], name="q_mu")


def terms_of(guide, *, model=model, alignment=None, **settings):
    alignment = {"mu": "q_mu"} if alignment is None else alignment
    return preconditioned.elbo_terms(
        model, guide, alignment, {"y": Y}, SEED, **settings
    )


def test_the_terms_are_the_models_log_probs_at_the_draw_and_the_guides_entropy():
    terms = terms_of(guide)
    with ppl.tape() as variables, ppl.seeded(SEED):
        guide()
    mu = float(variables["q_mu"])
    expected = {
        "log prob of mu": stats.norm.logpdf(mu, 0, 2),
        "log prob of y": stats.norm.logpdf(Y, mu, 1).sum(),
        "entropy of q_mu": stats.norm.entropy(0, 0.5),
    }
    assert list(terms) == list(expected)
    np.testing.assert_allclose([*terms.values()], [*expected.values()], rtol=1e-5)
    total = float(preconditioned.negative(terms))
    np.testing.assert_allclose(total, -sum(expected.values()), rtol=1e-5)


def test_the_mean_of_the_terms_is_the_bound_in_closed_form_and_tfps():
    # E log N(y; mu, 1) = log N(y; l, 1) - s^2 / 2, and so for the prior.
    loc, scale, num = 0.3, 0.5, 20_000
    spread = scale**2
    exact = (
        stats.norm.logpdf(loc, 0, 2)
        - spread / 8
        + np.sum(stats.norm.logpdf(Y, loc, 1) - spread / 2)
        + stats.norm.entropy(0, scale)
    )
    terms = terms_of(
        lambda: ppl.Normal(loc, scale, sample_shape=num, name="q_mu"), batch_ndims=1
    )
    bounds = -preconditioned.negative(terms).numpy()
    error = bounds.std() / num**0.5
    assert bounds.shape == (num,)
    assert abs(bounds.mean() - exact) < 5 * error
    loss = tfp.vi.monte_carlo_variational_loss(
        ppl.make_log_joint_fn(model, batch_ndims=1, observed={"y": Y}),
        tfp.distributions.JointDistributionNamed(
            {"mu": tfp.distributions.Normal(loc, scale)}
        ),
        sample_size=num,
        seed=SEED,
    )
    # TFP takes minus the log prob of a draw for the entropy, which adds to the error.
    assert abs(bounds.mean() + float(loss)) < 5 * error * 3


def test_an_entropy_counts_every_draw_of_a_variable_but_those_of_the_batch():
    def pair():
        mu = ppl.Normal(0.0, 2.0, sample_shape=2, name="mu")
        ppl.Normal(tf.reduce_sum(mu), 1.0, sample_shape=3, name="y")

    of = functools.partial(terms_of, model=pair)
    one = of(lambda: ppl.Normal([0.0, 0.0], 0.5, name="q_mu"))
    two = of(lambda: ppl.Normal(0.0, 0.5, sample_shape=2, name="q_mu"))
    batch = of(
        lambda: ppl.Normal([0.0, 0.0], [[0.5], [1.0]], sample_shape=4, name="q_mu"),
        batch_ndims=2,
    )
    expected = 2 * stats.norm.entropy(0, 0.5)
    for terms in (one, two):
        np.testing.assert_allclose(terms["entropy of q_mu"], expected, rtol=1e-6)
    other = 2 * stats.norm.entropy(0, 1)
    np.testing.assert_allclose(
        batch["entropy of q_mu"], [[expected, other]] * 4, rtol=1e-6
    )
    assert batch["log prob of y"].shape == (4, 2)


def test_an_entropy_without_a_formula_is_minus_the_log_prob_of_the_draw():
    def mixed():
        ppl.MixtureSameFamily(
            tfp.distributions.Categorical([0.0, 0.0]),
            tfp.distributions.Normal([-1.0, 1.0], 0.5),
            reparameterize=True,
            name="q_mu",
        )

    terms = terms_of(mixed)
    with ppl.tape() as variables, ppl.seeded(SEED):
        mixed()
    parts = stats.norm.pdf(float(variables["q_mu"]), [-1, 1], 0.5)
    np.testing.assert_allclose(
        terms["entropy of q_mu"], -np.log(parts.mean()), rtol=1e-5
    )


MATRIX = np.array([[2.0, 0.5], [-0.3, 1.0]])
CURVATURE = np.array([[3.0, 1.0], [1.0, 2.0]])


def quadratic(parameters, seed):
    del seed
    product = tf.linalg.matvec(tf.constant(CURVATURE), parameters)
    return 0.5 * tf.reduce_sum(parameters * product, -1)


def test_training_is_adam_on_the_preconditioned_gradient_as_by_hand():
    start = np.array([1.0, -2.0])
    trained = preconditioned.train(
        quadratic,
        tf.constant(start),
        seed=SEED,
        preconditioner=tf.constant(MATRIX),
        num_steps=5,
    )
    point, mean, square, losses = start, 0.0, 0.0, []
    for step in range(1, 6):
        losses.append(0.5 * point @ CURVATURE @ point)
        gradient = MATRIX @ CURVATURE @ point
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        root = np.sqrt(square / (1 - 0.999**step)) + 1e-8
        point = point - 0.1 * mean / (1 - 0.9**step) / root
    losses.append(0.5 * point @ CURVATURE @ point)
    np.testing.assert_allclose(trained.parameters, point, rtol=1e-10)
    np.testing.assert_allclose(trained.losses, losses, rtol=1e-10)


def test_fits_side_by_side_and_structures_are_as_each_alone():
    starts = np.array([[1.0, -2.0], [0.5, 4.0]])
    together = preconditioned.train(
        quadratic, tf.constant(starts), seed=SEED, num_steps=4
    )
    assert together.losses.shape == (5, 2)
    for index, start in enumerate(starts):
        alone = preconditioned.train(
            lambda parts, seed: quadratic(tf.stack([parts["a"], parts["b"]]), seed),
            {"a": tf.constant(start[0]), "b": tf.constant(start[1])},
            seed=SEED,
            num_steps=4,
        )
        found = [alone.parameters["a"], alone.parameters["b"]]
        np.testing.assert_allclose(found, together.parameters[index], rtol=1e-10)
        np.testing.assert_allclose(alone.losses, together.losses[:, index], rtol=1e-10)


def test_a_learning_rate_may_be_a_function_of_the_step():
    trained = preconditioned.train(
        quadratic,
        tf.constant([1.0, 1.0], tf.float64),
        seed=SEED,
        learning_rate=lambda index: 0.1 * tf.cast(index < 1, tf.float64),
        num_steps=3,
    )
    # Adam's first step is the rate along the gradient's sign.
    np.testing.assert_allclose(trained.parameters, [0.9, 0.9], rtol=1e-6)


def normal_terms(parameters, seed):
    return preconditioned.elbo_terms(
        model,
        lambda: guide((parameters[0], tf.nn.softplus(parameters[1]))),
        {"mu": "q_mu"},
        {"y": Y},
        seed,
    )


def test_a_fit_has_the_loss_of_its_last_parameters_at_the_end():
    fitted = preconditioned.fit(normal_terms, tf.zeros([2]), seed=SEED, num_steps=20)
    assert fitted.losses.shape == (21,)
    last = normal_terms(fitted.parameters, preconditioned.step_seed(SEED, 20))
    np.testing.assert_allclose(
        fitted.losses[-1], preconditioned.negative(last), rtol=1e-5
    )


# Bad input: one line each.


def refused(match, call):
    with pytest.raises(ValueError, match=match) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_a_guide_that_lacks_a_latent_variable_is_refused():
    def two():
        ppl.Normal(0.0, 1.0, name="tau")
        model()

    refused(r"two: given no value for \['tau'\]", lambda: terms_of(guide, model=two))


def test_a_guide_with_a_variable_too_many_is_refused():
    def more():
        guide()
        ppl.Normal(0.0, 1.0, name="q_tau")

    refused(
        r"alignment: given nothing of the model for the guide's \['q_tau'\]",
        lambda: terms_of(more),
    )


def test_an_alignment_that_names_nothing_is_refused():
    refused(
        r"align: given \['q_nu'\], wanted names among \['q_mu'\]",
        lambda: terms_of(guide, alignment={"mu": "q_mu", "nu": "q_nu"}),
    )
    refused(
        r"no random variable is named \['nu'\]",
        lambda: terms_of(guide, alignment={"mu": "q_mu", "nu": "q_mu"}),
    )


def test_a_guide_of_another_shape_is_refused():
    refused(
        r"Normal\(name='mu'\): given a value of shape \(2,\), wanted \(\)",
        lambda: terms_of(lambda: ppl.Normal([0.0, 0.0], 1.0, name="q_mu")),
    )


def test_draws_without_a_gradient_are_refused():
    refused(
        r"Poisson\(name='q_mu'\): given draws without a gradient",
        lambda: terms_of(lambda: ppl.Poisson(1.0, name="q_mu")),
    )


def test_a_computed_value_for_a_latent_variable_is_refused_and_others_are_not():
    def computed():
        ppl.deterministic(tf.constant(1.0), "q_mu")

    refused(r"given a computed value for a latent", lambda: terms_of(computed))

    def beside():
        guide()
        ppl.deterministic(tf.constant(1.0), "scale")

    assert set(terms_of(beside)) == set(terms_of(guide))


@pytest.mark.parametrize("weight", [ppl.scale(2.0), ppl.mask(tf.constant(True))])
def test_a_weight_in_the_guide_is_refused(weight):
    def weighed():
        with weight:
            guide()

    refused(r"Normal\(name='q_mu'\): given a log_prob_", lambda: terms_of(weighed))


def test_a_guide_of_another_support_is_refused_with_the_variable_and_the_step():
    def positive():
        mu = ppl.Exponential(1.0, name="mu")
        ppl.Normal(mu, 1.0, sample_shape=3, name="y")

    def outside(parameters, seed):
        return preconditioned.elbo_terms(
            positive,
            lambda: ppl.Normal(parameters[0] - 9.0, 1.0, name="q_mu"),
            {"mu": "q_mu"},
            {"y": Y},
            seed,
        )

    refused(
        r"loss: given \{'log prob of mu': -inf\} at step 0, wanted finite",
        lambda: preconditioned.fit(outside, tf.zeros([1]), seed=SEED, num_steps=3),
    )


def test_nan_is_refused_with_the_variable_and_the_step():
    def terms(parameters, seed):
        del seed
        # The parameter is 0.1 at step 1, and 0.4 at step 4.
        fixed = tf.stop_gradient(parameters[0])
        return {
            "log prob of mu": parameters[0],
            "log prob of y": tf.math.log(0.35 - fixed),
        }

    refused(
        r"loss: given \{'log prob of y': nan\} at step 4, wanted finite",
        lambda: preconditioned.fit(terms, tf.zeros([1]), seed=SEED, num_steps=9),
    )
