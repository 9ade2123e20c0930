"""Guide programs: estimators against exact sums, alignment, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import ppl_core as ppl
from experiments import inference
from experiments.inference.variational import to_objective

X = 1.2


def coin():
    z = ppl.Bernoulli(probs=0.3, name="z")
    return ppl.Normal(2.0 * tf.cast(z, tf.float64), 1.0, name="x")


def coin_guide(params):
    return ppl.Bernoulli(logits=params["logit"], name="q_z")


ALIGNMENT = {"z": "q_z"}
LOG_JOINT = np.log([0.7, 0.3]) + stats.norm.logpdf(X, [0.0, 2.0])


@pytest.fixture(scope="module")
def joint():
    return inference.joint(coin, observed={"x": X})


def guide_of(joint, **options):
    return inference.program_guide(
        joint, coin_guide, {"logit": 0.4}, alignment=ALIGNMENT, **options
    )


def estimates(objective, num):
    """The ELBO's estimates and gradients for some seeds."""
    params = tf.nest.map_structure(tf.constant, objective.params)

    @tf.function(jit_compile=True)
    def many():
        types = (tf.float64, tf.nest.map_structure(lambda p: p.dtype, params))
        return tf.map_fn(
            lambda numbers: objective.estimate(params, numbers),
            objective.numbers(tf.constant([0, 5]), num),
            fn_output_signature=types,
        )

    return tf.nest.map_structure(np.asarray, many())


def assert_mean(values, exact):
    error = values.std(axis=0) / len(values) ** 0.5
    assert (abs(values.mean(axis=0) - exact) < 4 * error + 1e-9).all()


def coin_elbo(logit):
    q = special.expit(logit)
    return np.array([1 - q, q]) @ (LOG_JOINT - np.log([1 - q, q]))


COIN_GRADIENT = (coin_elbo(0.4 + 1e-5) - coin_elbo(0.4 - 1e-5)) / 2e-5


def test_a_small_discrete_variable_is_summed_over_exactly(joint):
    guide = guide_of(joint)
    assert str(guide.sites[0]) == "summed"
    elbos, grads = estimates(to_objective(joint, guide), 2)
    np.testing.assert_allclose(elbos, coin_elbo(0.4))
    np.testing.assert_allclose(grads["logit"], COIN_GRADIENT, rtol=1e-6)


def test_the_score_function_has_the_exact_gradient_as_its_mean(joint):
    guide = guide_of(joint, summed=[])
    assert str(guide.sites[0]) == "score function, exact KL"
    elbos, grads = estimates(to_objective(joint, guide, num_samples=3), 4000)
    assert_mean(elbos, coin_elbo(0.4))
    assert_mean(grads["logit"], COIN_GRADIENT)


@pytest.mark.slow
def test_the_fit_finds_the_exact_posterior_of_a_discrete_variable(joint):
    fit = inference.fit_vi(joint, guide_of(joint), num_steps=1000, learning_rate=0.05)
    log_odds = LOG_JOINT[1] - LOG_JOINT[0]
    assert abs(float(fit.params["logit"]) - log_odds) < 0.01
    assert abs(fit.elbo - special.logsumexp(LOG_JOINT)) < 4 * fit.elbo_error + 1e-4
    tree = fit.draws(4000)
    share = float(tree["posterior/z"].mean())
    assert abs(share - special.expit(log_odds)) < 0.03
    assert float(tree["observed_data/x"]) == X
    assert fit.estimators == {"z": "summed"} and "z: summed" in str(fit)


# A variable of each kind, and one that depends on both.
SWITCHES = 5


def mixed():
    mu = ppl.Normal(0.5, 2.0, name="mu")
    on = ppl.Bernoulli(logits=mu, sample_shape=SWITCHES, name="on")
    total = mu + tf.reduce_sum(tf.cast(on, tf.float64))
    return ppl.Normal(total, 1.5, name="x")


def mixed_guide(params):
    mu = ppl.Normal(params["loc"], tf.exp(params["log_scale"]), name="mu")
    ppl.Bernoulli(logits=params["logits"] + 0.3 * mu, name="on")


MIXED = {"loc": 0.2, "log_scale": -0.5, "logits": np.linspace(-1.0, 1.0, SWITCHES)}


def mixed_elbo(params):
    """By quadrature over mu, and the sum over all values of the switches."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    mu = params["loc"] + np.exp(params["log_scale"]) * nodes
    on = np.array(list(np.ndindex(*[2] * SWITCHES)))  # [values, switches]
    logits = params["logits"] + 0.3 * mu[:, None]
    log_q = (on[:, None] * logits - np.logaddexp(0, logits)).sum(-1).T
    log_p = on.sum(-1) * mu[:, None] - SWITCHES * np.logaddexp(0, mu[:, None])
    log_p += stats.norm.logpdf(3.0, mu[:, None] + on.sum(-1), 1.5)
    inner = (np.exp(log_q) * (log_p - log_q)).sum(-1)
    prior = stats.norm.logpdf(mu, 0.5, 2.0)
    entropy = 0.5 * np.log(2 * np.pi * np.e) + params["log_scale"]
    return weights @ (inner + prior) + entropy


@pytest.mark.slow
def test_mixed_estimators_have_the_exact_gradient_as_their_mean():
    joint = inference.joint(mixed, observed={"x": 3.0})
    guide = inference.program_guide(joint, mixed_guide, MIXED)
    assert [str(site) for site in guide.sites] == [
        "reparameterised, exact KL",
        "score function, exact KL",
    ]
    elbos, grads = estimates(to_objective(joint, guide, num_samples=4), 4000)
    assert_mean(elbos, mixed_elbo(MIXED))
    for name, part in grads.items():
        values = np.ravel(MIXED[name])
        for i in range(values.size):
            step = np.zeros_like(values)
            step[i] = 1e-5
            up, down = (
                mixed_elbo(
                    {**MIXED, name: np.reshape(values + s, np.shape(MIXED[name]))}
                )
                for s in (step, -step)
            )
            assert_mean(part.reshape(4000, -1)[:, i], (up - down) / 2e-5)


def chain():
    a = ppl.Normal(0.0, 1.0, name="a")
    b = ppl.Normal(a, 0.5, name="b")
    return ppl.Normal(b, 1.0, name="x")


def reversed_guide(params):
    b = ppl.Normal(params["b"], 0.6, name="b")
    ppl.Normal(0.8 * b + params["a"], 0.4, name="a")


def test_a_guide_in_reversed_order_has_no_kl_where_that_would_be_wrong():
    posterior = ppl.posterior(chain, observed={"x": X})
    guide = inference.program_guide(posterior, reversed_guide, {"a": 0.1, "b": 0.7})
    kinds = {site.name: str(site) for site in guide.sites}
    # The model's b depends on a, which the guide makes from b.
    assert kinds["b"] == "reparameterised, exact entropy"
    elbos, grads = estimates(to_objective(posterior, guide), 4000)

    def elbo(a, b):
        # E log N(b | a, 0.5): of b - a, which is normal
        rest = (0.2 * b - a) ** 2 + (0.2 * 0.6) ** 2 + 0.4**2
        value = -0.5 * rest / 0.25 - np.log(0.5)
        value += -0.5 * ((0.8 * b + a) ** 2 + (0.8 * 0.6) ** 2 + 0.4**2)
        value += -0.5 * ((X - b) ** 2 + 0.36)
        entropies = np.log(0.6) + np.log(0.4) + np.log(2 * np.pi * np.e)
        return value - 1.5 * np.log(2 * np.pi) + entropies

    assert_mean(elbos, elbo(0.1, 0.7))
    assert_mean(grads["a"], (elbo(0.1 + 1e-5, 0.7) - elbo(0.1 - 1e-5, 0.7)) / 2e-5)
    assert_mean(grads["b"], (elbo(0.1, 0.7 + 1e-5) - elbo(0.1, 0.7 - 1e-5)) / 2e-5)


POSITIVE = {"concentration": 1.5, "rate": 2.0}


def positive():
    scale = ppl.Gamma(2.0, 1.0, name="scale")
    return ppl.Normal(scale, 1.0, name="x")


def gamma_guide(params):
    ppl.Gamma(params["concentration"], params["rate"], name="scale")


def gamma_elbo(concentration, rate):
    """By quadrature: log p - log q is that of two gammas and a normal."""
    nodes = (np.arange(400_000) + 0.5) * 5e-5
    q = stats.gamma(concentration, scale=1 / rate)
    log_p = stats.gamma(2.0).logpdf(nodes) + stats.norm.logpdf(X, nodes)
    return 5e-5 * np.sum(q.pdf(nodes) * (log_p - q.logpdf(nodes)))


@pytest.mark.slow
def test_a_gammas_implicit_gradient_is_that_of_quadrature():
    posterior = ppl.posterior(positive, observed={"x": X})
    guide = inference.program_guide(posterior, gamma_guide, POSITIVE)
    assert str(guide.sites[0]) == "reparameterised, exact KL"
    elbos, grads = estimates(to_objective(posterior, guide, num_samples=2), 4000)
    assert_mean(elbos, gamma_elbo(1.5, 2.0))
    for name, part in grads.items():
        up, down = ({**POSITIVE, name: POSITIVE[name] + s} for s in (1e-4, -1e-4))
        exact = (gamma_elbo(**up) - gamma_elbo(**down)) / 2e-4
        assert_mean(part, exact)


@pytest.mark.slow
def test_a_dirichlet_guide_becomes_the_conjugate_posterior_in_float32_too():
    def model():
        shares = ppl.Dirichlet([1.0, 2.0, 3.0], name="shares")
        ppl.Multinomial(10.0, probs=shares, name="counts")

    counts = np.array([2.0, 3.0, 5.0])
    observed = {"counts": counts}
    posterior = ppl.posterior(model, observed=observed, dtype=tf.float32)
    guide = inference.program_guide(
        posterior,
        lambda params: ppl.Dirichlet(tf.exp(params["logs"]), name="shares"),
        {"logs": np.zeros(3)},
    )
    fit = inference.fit_vi(
        posterior, guide, num_steps=3000, num_samples=2, learning_rate=0.02
    )
    wanted = counts + [1.0, 2.0, 3.0]
    np.testing.assert_allclose(np.exp(fit.params["logs"]), wanted, rtol=0.1)
    evidence = stats.dirichlet_multinomial([1.0, 2.0, 3.0], 10).logpmf([2, 3, 5])
    assert abs(fit.elbo - evidence) < 0.02
    assert fit.draws(5)["posterior/shares"].dtype == np.float32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alignment": None}, r"guide: given no variable for \['z'\], wanted one"),
        ({"alignment": {"y": "q_z"}}, r"alignment: given \['y'\], wanted names of lat"),
        ({"alignment": {"z": "q"}}, r"alignment: given \['q'\], wanted names of the g"),
        ({"summed": ["z"]}, r"summed: given \['z'\], wanted a list of the guide's"),
        ({"reparameterized": ["q_z"]}, "whose draws have no gradient, wanted it summ"),
        ({"params": {"logit": np.nan}}, "params: 'logit': given nan, wanted finite"),
        ({"posterior": coin}, "posterior: given <function coin"),
        (
            {"program": lambda p: ppl.Normal(p["logit"], 1.0, name="q_z")},
            "draws of 'q_z' outside the support of 'z'",
        ),
        (
            {
                "program": lambda p: [
                    coin_guide(p),
                    ppl.Normal(0.0, 1.0, name="extra"),
                ]
            },
            r"guide: given \['extra'\], which no latent variable is aligned with",
        ),
        (
            {"program": lambda p: ppl.Bernoulli(logits=[0.0, 1.0], name="q_z")},
            r"Bernoulli\(name='z'\): given a value of shape \(2,\), wanted \(\)",
        ),
        (
            {"program": lambda p: ppl.Bernoulli(0.0, value=1, name="q_z")},
            r"Bernoulli\(name='q_z'\): given a value, wanted it without one",
        ),
        (
            {"program": lambda p: ppl.Categorical(logits=[0.0, 0.0, 5.0], name="q_z")},
            "draws of 'q_z' outside the support of 'z'",
        ),
    ],
)
def test_wrong_guides_are_refused(joint, change, words):
    options = {
        "posterior": joint,
        "program": coin_guide,
        "params": {"logit": 0.4},
        "alignment": ALIGNMENT,
    }
    options |= change
    with pytest.raises(ValueError, match=words):
        inference.program_guide(
            options.pop("posterior"),
            options.pop("program"),
            options.pop("params"),
            **options,
        )


def test_a_normal_for_a_positive_variable_is_refused():
    posterior = ppl.posterior(positive, observed={"x": X})
    with pytest.raises(ValueError, match="outside the support of 'scale'"):
        inference.program_guide(
            posterior, lambda p: ppl.Normal(p["m"], 1.0, name="scale"), {"m": 0.1}
        )


def test_two_latent_variables_for_one_of_the_guide_are_refused():
    posterior = ppl.posterior(chain, observed={"x": X})
    with pytest.raises(ValueError, match=r"alignment: given \['q'\] twice"):
        inference.program_guide(
            posterior,
            lambda p: ppl.Normal(p["m"], 1.0, name="q"),
            {"m": 0.0},
            alignment={"a": "q", "b": "q"},
        )


def test_one_draw_for_the_score_function_and_other_posteriors_are_refused(joint):
    guide = guide_of(joint, summed=[])
    with pytest.raises(ValueError, match="num_samples: given 1, wanted 2 or more"):
        inference.fit_vi(joint, guide)
    other = inference.joint(coin, observed={"x": 0.0})
    with pytest.raises(ValueError, match="another than the guide was made for"):
        inference.fit_vi(other, guide_of(joint))
    with pytest.raises(ValueError, match="rows: given with a guide program"):
        inference.fit_vi(joint, guide_of(joint), rows=["x"], batch_size=1)


def test_a_joint_needs_a_latent_variable():
    with pytest.raises(ValueError, match="no latent variable"):
        inference.joint(coin, observed={"x": X, "z": 1})
