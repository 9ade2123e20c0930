"""Non-centred forms, lifted arguments and prefixes."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import ppl_core as ppl

Y = np.float32([28, 8, -3, 7, -1, 1, 18, 12])
SIGMA = np.float32([15, 10, 16, 11, 9, 11, 10, 18])


def schools(sigma):
    mu = ppl.Normal(0.0, 5.0, name="mu")
    tau = ppl.HalfCauchy(0.0, 5.0, name="tau")
    with ppl.plate("school", 8):
        theta = ppl.Normal(mu, tau, name="theta")
        return ppl.Normal(theta, sigma, name="y")


@pytest.mark.parametrize("centered", [0.0, 0.5, 1.0])
def test_the_posterior_is_the_same_up_to_the_change_of_variables(centered):
    program = ppl.reparam(schools, "theta", centered=centered)
    posterior = ppl.unconstrain(program, SIGMA, observed={"y": Y})
    plain = ppl.unconstrain(schools, SIGMA, observed={"y": Y})
    assert posterior.names == ("mu", "tau", "theta_base")
    assert posterior.deterministic == ("theta",)
    assert posterior.dims["theta"] == posterior.dims["theta_base"] == ("school",)
    vectors = np.random.default_rng(0).normal(size=(3, 10)).astype(np.float32)
    values = posterior.constrain(vectors)
    same_point = plain.unconstrain({name: values[name] for name in plain.names})
    log_jacobian = 8 * (1 - centered) * np.log(values["tau"])
    np.testing.assert_allclose(
        posterior.log_prob(vectors), plain.log_prob(same_point) + log_jacobian, 1e-5
    )


def test_a_base_variable_depends_on_nothing():
    program = ppl.reparam(schools, "theta")
    table = {part.name: part for part in ppl.describe(program, SIGMA)}
    assert table["theta_base"].depends_on == ()
    assert table["theta"].depends_on == ("mu", "tau", "theta_base")
    assert table["theta_base"].constructor == "Normal"


FAMILIES = {
    "normal": (lambda: ppl.Normal([1.0, 2.0], [1.0, 3.0], name="x"), np.asarray),
    "student": (lambda: ppl.StudentT(20.0, [1.0, 2.0], 2.0, name="x"), np.asarray),
    "log normal": (lambda: ppl.LogNormal([1.0, 2.0], [1.0, 2.0], name="x"), np.log),
    "triangular": (
        lambda: ppl.MultivariateNormalTriL(
            [1.0, 2.0], [[1.0, 0.0], [0.5, 2.0]], name="x"
        ),
        np.asarray,
    ),
    "diagonal": (
        lambda: ppl.MultivariateNormalDiag([1.0, 2.0], [1.0, 3.0], name="x"),
        np.asarray,
    ),
    "independent": (
        lambda: ppl.Independent(tfd.Normal([1.0, 2.0], 3.0), 1, name="x"),
        np.asarray,
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_reparametrized_variable_has_the_same_moments(name):
    program, to_normal = FAMILIES[name]
    num = 20_000
    moments = []
    for form in (program, ppl.reparam(program, "x")):
        draws = to_normal(ppl.prior_predictive(form, num_draws=num, seed=(0, 1))["x"])
        moments.append([draws.mean(0), np.cov(draws.T)])
    sd = np.sqrt(np.diag(moments[0][1]))
    np.testing.assert_allclose(moments[0][0], moments[1][0], atol=6 * sd.max() / 141)
    np.testing.assert_allclose(moments[0][1], moments[1][1], rtol=0.1, atol=0.3)


def test_predictions_are_the_same_in_either_form():
    program = ppl.reparam(schools, "theta")
    draws = ppl.prior_predictive(program, SIGMA, num_draws=3, seed=(0, 1))
    given = {name: draws[name] for name in ("mu", "tau", "theta_base", "theta")}
    assert list(ppl.posterior_predictive(program, SIGMA, draws=given, seed=(0, 1))) == [
        "y"
    ]
    plain = {name: draws[name] for name in ("mu", "tau", "theta")}
    one = ppl.posterior_predictive(program, SIGMA, draws=given, seed=(0, 1))
    other = ppl.posterior_predictive(schools, SIGMA, draws=plain, seed=(0, 1))
    np.testing.assert_allclose(one["y"], other["y"], rtol=1e-4, atol=1e-4)
    everything = {name: draws[name] for name in ("mu", "tau", "theta", "y")}
    assert ppl.posterior_predictive(schools, SIGMA, draws=everything, seed=(0, 1)) == {}


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: ppl.reparam(schools, "eta")(SIGMA), r"named \['eta'\]"),
        (lambda: ppl.reparam(lambda: ppl.Gamma(2.0, 1.0, name="g"), "g")(), "Gamma"),
        (lambda: ppl.reparam(schools), "given the names"),
        (lambda: ppl.reparam(schools, "theta", centered=2.0), "centered=2.0"),
        (
            lambda: ppl.unconstrain(
                ppl.reparam(schools, "y"), SIGMA, observed={"y": Y}
            ),
            "y.*already has a value",
        ),
        (
            lambda: ppl.reparam(
                lambda: ppl.Normal(0.0, 1.0, value=1.0, name="x"), "x"
            )(),
            "x.*given a value",
        ),
        (lambda: ppl.lift(schools, scale=ppl.HalfNormal), r"\['scale'\].*sigma"),
        (lambda: ppl.lift(schools), "wanted some"),
    ],
)
def test_what_has_no_other_form_is_refused(run, message):
    with pytest.raises(ValueError, match=message):
        run()


def test_a_lifted_argument_is_a_latent_variable():
    prior = functools.partial(ppl.HalfNormal, 10.0)
    lifted = ppl.lift(schools, sigma=prior)
    posterior = ppl.unconstrain(lifted, observed={"y": Y})
    assert posterior.names == ("sigma", "mu", "tau", "theta")
    log_joint = ppl.make_log_joint_fn(lifted)
    values = {"mu": 1.0, "tau": 2.0, "theta": Y / 2, "y": Y}
    plain = ppl.make_log_joint_fn(schools)(np.float32(3.0), **values)
    term = tfd.HalfNormal(10.0).log_prob(3.0)
    np.testing.assert_allclose(log_joint(sigma=3.0, **values), plain + term, rtol=1e-6)
    with pytest.raises(TypeError, match="sigma"):
        ppl.make_log_joint_fn(lifted)(SIGMA, sigma=3.0, **values)


def test_prefixes_nest_and_outer_tracers_have_the_whole_name():
    def part():
        with ppl.prefix("inner"):
            return ppl.Normal(0.0, 1.0, name="x")

    def program():
        for side in ("left", "right"):
            with ppl.prefix(side):
                part()

    posterior = ppl.unconstrain(program, observed={"left/inner/x": 1.0})
    assert posterior.names == ("right/inner/x",)
    with ppl.prefix("left"), ppl.condition(**{"inner/x": 2.0}):
        x = part()
    assert float(x) == 2.0 and x.name == "left/inner/x"
    with pytest.raises(ValueError, match=r"named \['x'\].*inner/x"):
        with ppl.condition(x=1.0):
            part()
    with pytest.raises(ValueError, match="wanted a name"), ppl.prefix(""):
        pass


def test_a_prefix_around_unconstrain_names_the_posteriors_variables():
    def program():
        x = ppl.Normal(0.0, 1.0, name="x")
        ppl.Normal(x, 1.0, name="y")

    with ppl.prefix("a"):
        posterior = ppl.unconstrain(program, observed={"a/y": 1.0})
    assert posterior.names == ("a/x",)
    assert list(posterior.constrain(tf.zeros([1, 1]))) == ["a/x"]


def test_keyword_arguments_reach_the_program():
    def program(n, *, scale=1.0):
        ppl.Normal(0.0, scale, sample_shape=n, name="x")

    posterior = ppl.unconstrain(program, kwargs={"n": 3, "scale": 2.0})
    expected = 3 * tfd.Normal(0.0, 2.0).log_prob(0.0)
    np.testing.assert_allclose(posterior.log_prob(tf.zeros([1, 3])), [expected], 1e-6)
    draws = ppl.prior_predictive(
        program, 3, kwargs={"scale": 1e-9}, num_draws=2, seed=(0, 1)
    )
    assert np.abs(draws["x"]).max() < 1e-7
    assert ppl.describe(program, kwargs={"n": 3})[0].shape == (3,)


def test_a_variable_that_broadcasts_to_nested_plates():
    def program():
        with ppl.plate("group", 2):
            a = ppl.Normal(0.0, 1.0, name="a")
            with ppl.plate("item", 3):
                ppl.Normal(a[:, None], 2.0, name="theta")

    posterior = ppl.unconstrain(ppl.reparam(program, "theta"))
    vector = np.random.default_rng(0).normal(size=[1, 8])
    values = posterior.constrain(vector)
    base = vector[0, 2:].reshape(2, 3)
    np.testing.assert_allclose(values["theta"][0], vector[0, :2, None] + 2 * base)
    expected = tf.reduce_sum(tfd.Normal(np.float64(0), 1.0).log_prob(vector))
    np.testing.assert_allclose(posterior.log_prob(vector), [expected])
