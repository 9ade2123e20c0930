"""Posterior posteriors: the change of variables, its inverse and its gradients."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import ppl_core as ppl

tfb, tfd = tfp.bijectors, tfp.distributions
F64 = np.float64


def random_bound():
    sigma = ppl.Gamma(F64(3.0), F64(1.0), name="sigma")
    ppl.Uniform(tf.zeros([], tf.float64), sigma, sample_shape=2, name="x")


def hierarchy():
    tau = ppl.HalfCauchy(F64(0.0), F64(1.0), name="tau")
    ppl.Normal(F64(0.0), tau, sample_shape=[2, 2], name="theta")


def ordered():
    base = tfd.Sample(tfd.Normal(F64(0.0), F64(1.0)), 3)
    ppl.TransformedDistribution(base, tfb.Ascending(), name="cuts")


SUPPORTS = {
    "real": lambda: ppl.Normal(F64(1.0), F64(2.0), sample_shape=3, name="x"),
    "real vector": lambda: ppl.MultivariateNormalTriL(
        np.zeros(2), np.array([[1.0, 0.0], [0.5, 2.0]]), name="x"
    ),
    "positive": lambda: ppl.Gamma(F64(2.0), np.array([1.0, 3.0]), name="x"),
    "interval": lambda: ppl.Uniform(F64(-1.0), F64(3.0), sample_shape=2, name="x"),
    "above": lambda: ppl.Pareto(F64(3.0), F64(2.0), name="x"),
    "below a random bound": random_bound,
    "hierarchy": hierarchy,
    "simplex": lambda: ppl.Dirichlet(np.array([1.0, 2.0, 3.0]), name="x"),
    "simplices": lambda: ppl.Dirichlet(np.ones([2, 3]), sample_shape=2, name="x"),
    "ordered": ordered,
    "Cholesky correlation": lambda: ppl.CholeskyLKJ(3, F64(1.5), name="x"),
    "correlation": lambda: ppl.LKJ(3, F64(1.5), name="x"),
    "positive definite": lambda: ppl.WishartTriL(F64(4.0), np.eye(2), name="x"),
    "Cholesky of positive definite": lambda: ppl.WishartTriL(
        F64(4.0), np.eye(2), input_output_cholesky=True, name="x"
    ),
    "independent": lambda: ppl.Independent(
        tfd.Gamma(np.array([2.0, 3.0]), F64(1.0)), 1, name="x"
    ),
    "sample": lambda: ppl.Sample(tfd.Beta(F64(2.0), F64(3.0)), [2, 2], name="x"),
}

# How many coordinates of each value are free, as a mask over its entries.
FREE = {
    "simplex": [True, True, False],
    "simplices": np.broadcast_to([True, True, False], (2, 2, 3)),
    "Cholesky correlation": np.tri(3, k=-1, dtype=bool),
    "correlation": np.tri(3, k=-1, dtype=bool),
    "positive definite": np.tri(2, dtype=bool),
    "Cholesky of positive definite": np.tri(2, dtype=bool),
}


def vectors(dim, chains):
    return tf.constant(np.random.default_rng(dim).normal(size=(chains, dim)))


@pytest.mark.parametrize("support", SUPPORTS)
def test_log_prob_is_the_constrained_log_prob_plus_the_log_determinant(support):
    program = SUPPORTS[support]
    target = ppl.unconstrain(program)
    point = vectors(target.dim, 1)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(point)
        constrained = target.constrain(point)
        free = tf.concat(
            [
                tf.boolean_mask(value[0], FREE[support])
                if support in FREE
                else tf.reshape(value, [-1])
                for value in constrained.values()
            ],
            0,
        )
    jacobian = tape.jacobian(free, point, experimental_use_pfor=False)[:, 0]
    assert jacobian.shape == (target.dim, target.dim)
    _, log_det = np.linalg.slogdet(jacobian)
    log_joint = ppl.make_log_joint_fn(program)
    expected = log_joint(**{name: value[0] for name, value in constrained.items()})
    # The diagonal of a Cholesky correlation, and a symmetric matrix' upper half, are
    # functions of the free entries: the density is with respect to these.
    np.testing.assert_allclose(target.log_prob(point)[0], expected + log_det, rtol=1e-8)


@pytest.mark.parametrize("support", SUPPORTS)
def test_constrain_and_unconstrain_are_inverses(support):
    target = ppl.unconstrain(SUPPORTS[support])
    for chains in (1, 3):
        points = vectors(target.dim, chains)
        values = target.constrain(points)
        assert set(values) == set(target.names)
        assert all(value.shape[0] == chains for value in values.values())
        np.testing.assert_allclose(target.unconstrain(values), points, atol=1e-6)


@pytest.mark.parametrize("support", SUPPORTS)
def test_a_draw_of_the_program_survives_unconstrain_and_constrain(support):
    program = SUPPORTS[support]
    target = ppl.unconstrain(program)
    with ppl.tape() as variables, ppl.seeded((1, 2)):
        program()
    drawn = {name: variable.value[tf.newaxis] for name, variable in variables.items()}
    points = target.unconstrain(drawn)
    assert points.shape == (1, target.dim)
    for name, value in target.constrain(points).items():
        np.testing.assert_allclose(value, drawn[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("support", SUPPORTS)
def test_a_batch_of_chains_equals_single_chains_and_gradients_match_autodiff(support):
    target = ppl.unconstrain(SUPPORTS[support])
    points = vectors(target.dim, 3)
    together, gradients = target.log_prob_and_grad(points)
    assert together.shape == (3,) and gradients.shape == (3, target.dim)
    np.testing.assert_allclose(target.log_prob(points), together, rtol=1e-10)
    for i in range(3):
        one = points[i : i + 1]
        with tf.GradientTape() as tape:
            tape.watch(one)
            log_prob = target.log_prob(one)
        np.testing.assert_allclose(together[i], log_prob[0], rtol=1e-10)
        alone, gradient = target.log_prob_and_grad(one)
        np.testing.assert_allclose(alone, log_prob, rtol=1e-10)
        expected = tape.gradient(log_prob, one)
        np.testing.assert_allclose(gradient, expected, rtol=1e-9)
        np.testing.assert_allclose(gradients[i], expected[0], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    "support", ["positive", "below a random bound", "simplex", "Cholesky correlation"]
)
def test_the_gradient_matches_finite_differences(support):
    target = ppl.unconstrain(SUPPORTS[support])
    point = vectors(target.dim, 1)
    steps = 1e-5 * np.eye(target.dim)
    differences = [
        (target.log_prob(point + s)[0] - target.log_prob(point - s)[0]) / 2e-5
        for s in steps
    ]
    np.testing.assert_allclose(
        target.log_prob_and_grad(point)[1][0], differences, rtol=1e-5, atol=1e-7
    )


# One-dimensional variables whose mass on the real line must be one: the bijector then
# reaches the whole support, and once.
LINES = {
    "Beta": lambda: ppl.Beta(F64(2.0), F64(1.5), name="x"),
    "Chi2": lambda: ppl.Chi2(F64(3.0), name="x"),
    "Exponential": lambda: ppl.Exponential(F64(2.0), name="x"),
    "GeneralizedPareto": lambda: ppl.GeneralizedPareto(
        F64(1.0), F64(1.0), F64(-0.5), name="x"
    ),
    "HalfNormal": lambda: ppl.HalfNormal(F64(2.0), name="x"),
    "InverseGamma": lambda: ppl.InverseGamma(F64(3.0), F64(2.0), name="x"),
    "Kumaraswamy": lambda: ppl.Kumaraswamy(F64(2.0), F64(1.5), name="x"),
    "LogNormal": lambda: ppl.LogNormal(F64(0.0), F64(0.5), name="x"),
    "LogitNormal": lambda: ppl.LogitNormal(F64(0.0), F64(1.0), name="x"),
    "Pareto": lambda: ppl.Pareto(F64(3.0), F64(2.0), name="x"),
    "PERT": lambda: ppl.PERT(F64(1.0), F64(3.0), F64(7.0), name="x"),
    "StudentT": lambda: ppl.StudentT(F64(8.0), F64(0.0), F64(1.0), name="x"),
    "Triangular": lambda: ppl.Triangular(F64(0.0), F64(4.0), F64(1.0), name="x"),
    "TruncatedNormal": lambda: ppl.TruncatedNormal(
        F64(0.0), F64(1.0), F64(-1.0), F64(2.0), name="x"
    ),
    "Uniform": lambda: ppl.Uniform(F64(1.0), F64(3.0), name="x"),
    "Weibull": lambda: ppl.Weibull(F64(1.5), F64(1.0), name="x"),
    "positive definite": lambda: ppl.WishartTriL(F64(3.0), np.eye(1), name="x"),
    "two-dimensional simplex": lambda: ppl.Dirichlet(np.array([2.0, 1.5]), name="x"),
    "Cholesky correlation": lambda: ppl.CholeskyLKJ(2, F64(2.0), name="x"),
    "correlation": lambda: ppl.LKJ(2, F64(2.0), name="x"),
}


@pytest.mark.parametrize("name", LINES)
def test_the_mass_on_the_real_line_is_one(name):
    target = ppl.unconstrain(LINES[name])
    assert target.dim == 1
    line = np.linspace(-45.0, 45.0, 9001)
    density = np.exp(target.log_prob(tf.constant(line[:, np.newaxis])))
    mass = np.trapezoid(np.nan_to_num(density), line)
    np.testing.assert_allclose(mass, 1.0, atol=2e-3)


def test_names_sizes_and_dimensions_follow_the_program():
    target = ppl.unconstrain(random_bound)
    assert target.names == ("sigma", "x")
    assert target.sizes == (1, 2) and target.dim == 3
    assert ppl.unconstrain(SUPPORTS["simplices"]).dim == 8
    assert ppl.unconstrain(SUPPORTS["correlation"]).dim == 3


def regression(features):
    coeffs = ppl.Normal(0.0, 2.0, sample_shape=features.shape[1], name="coeffs")
    ppl.Bernoulli(logits=tf.linalg.matvec(features, coeffs), name="labels")


FEATURES = np.random.default_rng(2).normal(size=(50, 3)).astype(np.float32)
LABELS = (FEATURES[:, 0] > 0).astype(np.int32)


def test_data_may_be_an_argument_or_set_in_the_program():
    actual = ppl.unconstrain(regression, FEATURES, observed={"labels": LABELS})

    def closed(features):
        with ppl.condition(labels=LABELS):
            regression(features)

    points = tf.random.stateless_normal([4, 3], (1, 2))
    expected = [
        tf.reduce_sum(tfd.Normal(0.0, 2.0).log_prob(point))
        + tf.reduce_sum(
            tfd.Bernoulli(logits=FEATURES @ point[:, np.newaxis][:, 0]).log_prob(LABELS)
        )
        for point in points.numpy()
    ]
    assert actual.names == ("coeffs",) and actual.dim == 3
    np.testing.assert_allclose(actual.log_prob(points), expected, rtol=1e-5)
    set_inside = ppl.unconstrain(closed, FEATURES)
    np.testing.assert_array_equal(set_inside.log_prob(points), actual.log_prob(points))


@pytest.mark.parametrize("given", [tf.float32, tf.float64, np.float32, np.float64])
def test_a_posterior_has_one_dtype_and_its_log_prob_is_float64(given):
    points = tf.zeros([2, 3], given)
    log_probs = []
    for dtype in (tf.float64, tf.float32):
        target = ppl.unconstrain(
            regression, FEATURES, observed={"labels": LABELS}, dtype=dtype
        )
        log_prob, gradient = target.log_prob_and_grad(points)
        assert log_prob.dtype == tf.float64 and gradient.dtype == dtype
        values = target.constrain(points)
        assert {value.dtype for value in values.values()} == {dtype}
        assert target.unconstrain(values).dtype == dtype
        assert target.log_prob_and_grad.dtype == dtype
        log_probs.append(log_prob)
    np.testing.assert_allclose(*log_probs, rtol=1e-6)
    with pytest.raises(ValueError, match="dtype: given .*float16.*wanted tf.float64"):
        ppl.unconstrain(regression, FEATURES, dtype=tf.float16)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("chains", [1, 3])
def test_log_prob_and_gradient_compile_and_trace_once(jit_compile, chains):
    target = ppl.unconstrain(regression, FEATURES, observed={"labels": LABELS})
    compiled = tf.function(target.log_prob_and_grad, jit_compile=jit_compile)
    for seed in range(3):
        points = tf.random.stateless_normal([chains, 3], (1, seed))
        for actual, expected in zip(
            compiled(points), target.log_prob_and_grad(points), strict=True
        ):
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
    assert compiled.experimental_get_tracing_count() == 1


def test_scale_applies_to_the_density_and_not_to_the_determinant():
    def scaled():
        with ppl.scale(3.0):
            ppl.Gamma(F64(2.0), F64(1.0), name="x")

    point = tf.constant([[0.3]], tf.float64)
    target = ppl.unconstrain(scaled)
    plain = ppl.unconstrain(lambda: ppl.Gamma(F64(2.0), F64(1.0), name="x"))
    x = plain.constrain(point)["x"][0]
    density = tfd.Gamma(F64(2.0), F64(1.0)).log_prob(x)
    difference = target.log_prob(point) - plain.log_prob(point)
    np.testing.assert_allclose(difference, [2 * density], rtol=1e-8)


def test_errors_say_why_a_program_cannot_be_unconstrained():
    with pytest.raises(ValueError, match=r"Categorical\(name='n'\): given a discrete"):
        ppl.unconstrain(lambda: ppl.Categorical(logits=[0.0, 0.0], name="n"))
    with pytest.raises(ValueError, match=r"Bernoulli\(name='b'\): given a discrete"):
        ppl.unconstrain(lambda: ppl.Bernoulli(logits=0.0, name="b"))
    with pytest.raises(ValueError, match="given no latent variable"):
        ppl.unconstrain(regression, FEATURES, observed={"labels": LABELS, "coeffs": [0.0] * 3})  # fmt: skip  # noqa: E501
    with pytest.raises(ValueError, match="given a joint distribution as a latent"):
        ppl.unconstrain(
            lambda: ppl.JointDistributionNamed({"a": tfd.Normal(0.0, 1.0)}, name="j")
        )


DISCRETE_FLOATS = {
    "Poisson": lambda: ppl.Poisson(3.0, name="n"),
    "Binomial": lambda: ppl.Binomial(5.0, probs=0.5, name="n"),
    "Geometric": lambda: ppl.Geometric(probs=0.5, name="n"),
    "NegativeBinomial": lambda: ppl.NegativeBinomial(3.0, probs=0.5, name="n"),
    "Multinomial": lambda: ppl.Multinomial(4.0, probs=[0.5, 0.5], name="n"),
}


@pytest.mark.parametrize("name", DISCRETE_FLOATS)
def test_discrete_variables_with_float_values_are_refused(name):
    with pytest.raises(ValueError, match=rf"{name}\(name='n'\)"):
        ppl.unconstrain(DISCRETE_FLOATS[name])


def test_subclasses_whose_bijector_is_wrong_are_refused():
    class Wishart(tfd.WishartTriL):
        """One that is not this package's."""

    wishart = Wishart(4.0, np.eye(2, dtype="f"))
    with pytest.raises(
        ValueError, match=r"Sample\(name='w'\) is a Wishart, whose base"
    ):
        ppl.unconstrain(lambda: ppl.Sample(wishart, 2, name="w"))


@pytest.mark.parametrize(
    "distribution",
    [
        tfd.WishartTriL(4.0, np.eye(2, dtype="f")),
        tfd.LKJ(3, 1.5),
        tfd.TruncatedNormal(0.0, 1.0, 0.0, np.inf),
    ],
)
def test_two_of_a_kind_have_the_density_and_bijector_of_each(distribution):
    pair = ppl.unconstrain(lambda: ppl.Sample(distribution, 2, name="x"))
    kind = getattr(ppl, type(distribution).__name__)
    single = ppl.unconstrain(lambda: kind(**distribution.parameters | {"name": "x"}))
    u = tf.random.stateless_normal([3, pair.dim], (1, 2))
    each = single.log_prob(tf.reshape(u, [6, single.dim]))
    expected = tf.reduce_sum(tf.reshape(each, [3, 2]), axis=1)
    np.testing.assert_allclose(pair.log_prob(u), expected, rtol=1e-5)


def test_missing_and_unknown_values_are_errors():
    target = ppl.unconstrain(random_bound)
    with pytest.raises(ValueError, match=r"given values for \['sigma'\], .* 'x'\]"):
        target.unconstrain({"sigma": [1.0]})
    with pytest.raises(ValueError, match=r"given values for \['odd', 'sigma', 'x'\]"):
        target.unconstrain({"sigma": [1.0], "x": [[0.1, 0.2]], "odd": [1.0]})
    with pytest.raises(ValueError, match="given values of first dimensions"):
        target.unconstrain({"sigma": [1.0], "x": [[0.1, 0.2]] * 2})
    with pytest.raises(ValueError, match=r"observed: no .* named \['odd'\]"):
        ppl.unconstrain(random_bound, observed={"odd": 1.0})


# Tracers around the call, and what must never be drawn


def one_mean():
    mu = ppl.Normal(F64(0.0), 1.0, name="mu")
    ppl.Normal(mu, 1.0, name="y")


POINTS = tf.constant(F64([[1.0], [2.0]]))


def test_tracers_around_the_call_act_on_every_evaluation():
    given = ppl.unconstrain(one_mean, observed={"y": 3.0})
    with ppl.condition(y=3.0):
        conditioned = ppl.unconstrain(one_mean)
    with ppl.condition(y=3.0), ppl.scale(10.0, "y"):
        scaled = ppl.unconstrain(one_mean)
    assert conditioned.names == scaled.names == ("mu",)
    mu = POINTS[:, 0].numpy()
    prior, data = (-0.5 * np.array([mu, mu - 3.0]) ** 2) - 0.5 * np.log(2 * np.pi)
    for posterior, factor in ((given, 1), (conditioned, 1), (scaled, 10)):
        for _ in range(2):  # nothing is drawn anew
            np.testing.assert_allclose(
                posterior.log_prob(POINTS), prior + factor * data, rtol=1e-12
            )
    with ppl.scale(5.0):  # of another call: not captured
        np.testing.assert_allclose(conditioned.log_prob(POINTS), prior + data)


def test_an_intervention_around_the_call_leaves_what_it_replaces_out():
    with ppl.intervene(mu=F64(3.0)):
        posterior = ppl.unconstrain(one_mean)
    assert posterior.names == ("y",)
    expected = -0.5 * (POINTS[:, 0] - 3.0) ** 2 - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(posterior.log_prob(POINTS), expected)


def test_a_tape_around_the_call_records_no_evaluation():
    with ppl.tape() as variables:
        posterior = ppl.unconstrain(one_mean, observed={"y": 3.0})
        posterior.log_prob(POINTS)
    assert variables == {}


def test_a_hidden_variable_that_would_be_drawn_is_refused_by_name():
    def program():
        mu = ppl.Normal(0.0, 1.0, name="mu")
        with ppl.block("noise"):
            noise = ppl.Normal(0.0, 1.0, name="noise")
        ppl.Normal(mu + noise, 1.0, name="y")

    with pytest.raises(ValueError, match=r"Normal\(name='noise'\)"):
        ppl.unconstrain(program, observed={"y": 1.0})
    with pytest.raises(ValueError, match=r"no value for .*Normal\(name='noise'\)"):
        ppl.make_log_joint_fn(program)(mu=0.0, y=1.0)


def test_none_is_no_data():
    for call in (
        lambda: ppl.unconstrain(one_mean, observed={"y": None}),
        lambda: ppl.make_log_joint_fn(one_mean)(mu=None, y=1.0),
        lambda: ppl.condition(y=None).__enter__(),
        lambda: ppl.substitute(y=None).__enter__(),
        lambda: ppl.replay({"y": None}).__enter__(),
    ):
        with pytest.raises(ValueError, match="given None for"):
            call()


# Factors of matrices, by quadrature over the unconstrained coordinates


def test_a_wishart_factors_square_has_the_wisharts_mean():
    def program():
        ppl.WishartTriL(F64(3.0), np.eye(1), input_output_cholesky=True, name="L")

    posterior = ppl.unconstrain(program)
    u = tf.constant(np.linspace(-30.0, 12.0, 20001))
    density = np.exp(posterior.log_prob(u[:, None]))
    factors = posterior.constrain(u[:, None])["L"].numpy()[:, 0, 0]
    np.testing.assert_allclose(np.trapezoid(density, u), 1.0, rtol=1e-6)
    np.testing.assert_allclose(np.trapezoid(density * factors**2, u), 3.0, rtol=1e-5)


@pytest.mark.parametrize("cholesky", [False, True])
def test_a_flat_correlations_squared_entries_have_mean_a_quarter(cholesky):
    def program():
        ppl.LKJ(3, F64(1.0), input_output_cholesky=cholesky, name="r")

    posterior = ppl.unconstrain(program)
    axis = np.linspace(-12.0, 12.0, 61)
    grid = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
    density = np.exp(posterior.log_prob(tf.constant(grid)))
    values = posterior.constrain(tf.constant(grid))["r"].numpy()
    matrices = values @ np.swapaxes(values, 1, 2) if cholesky else values
    squares = np.tensordot(density, matrices**2, 1) / density.sum()
    np.testing.assert_allclose(squares[np.tril_indices(3, -1)], 0.25, rtol=0.01)


# What is given


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (1, 1)])
def test_vectors_may_have_any_leading_axes(lead):
    posterior = ppl.unconstrain(one_mean, observed={"y": 3.0})
    points = np.random.default_rng(0).normal(size=(*lead, 1))
    log_prob, grad = posterior.log_prob_and_grad(points)
    expected = -0.5 * (points**2 + (points - 3.0) ** 2)[..., 0] - np.log(2 * np.pi)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)
    np.testing.assert_allclose(grad, 3.0 - 2.0 * points, rtol=1e-12, atol=1e-12)
    assert posterior.constrain(points)["mu"].shape == lead
    assert posterior.log_prob(points.tolist()).shape == lead


def test_data_of_any_dtype_meet_a_program():
    def program(sigma):
        mu = ppl.Normal(0.0, 1.0, name="mu")
        ppl.Normal(mu, sigma, name="y")

    log_probs = []
    for dtype in (np.float32, np.float64, np.int64):
        sigma = np.array([1, 2], dtype)
        posterior = ppl.unconstrain(program, sigma, observed={"y": np.ones(2)})
        log_probs.append(posterior.log_prob([[0.5]]).numpy())
    expected = stats.norm(0.5, [1.0, 2.0]).logpdf(1.0).sum() + stats.norm.logpdf(0.5)
    np.testing.assert_allclose(log_probs, [[expected]] * 3, rtol=1e-6)


def test_what_is_no_seed_no_factor_and_no_mask_is_refused():
    for seed in (3, 2**31, (0, 2**31), (0.5, 1), "a"):
        with pytest.raises(ValueError, match="wanted two numbers of int32"):
            ppl.prior_predictive(one_mean, num_draws=2, seed=seed)
        with pytest.raises(ValueError, match="wanted two numbers of int32"):
            ppl.seeded(seed).__enter__()
    with pytest.raises(ValueError, match="scale: the factor: given 'y', wanted"):
        ppl.scale("y").__enter__()
    for mask in ("y", [0, 1]):
        with pytest.raises(ValueError, match="mask: given .*, wanted booleans"):
            ppl.mask(mask).__enter__()


def test_a_value_that_is_no_data_is_refused_by_name():
    """It would be latent and fixed."""

    def model(**options):
        x = ppl.Normal(0.0, 1.0, name="x", **options)
        ppl.Normal(x, 1.0, name="y")

    wanted = r"Normal\(name='x'\) that is no data, by `substitute`"
    for tracer in (ppl.substitute(x=2.0), ppl.replay({"x": 2.0})):
        with pytest.raises(ValueError, match=wanted), tracer:
            ppl.unconstrain(model, observed={"y": 1.0})
    options = {"value": 2.0, "observed": False}
    with pytest.raises(ValueError, match=wanted):
        ppl.unconstrain(model, observed={"y": 1.0}, kwargs=options)


OUTSIDE = {  # a bijector onto more than the support: no density there
    "Exponential": (lambda **kw: ppl.Exponential(1.0, **kw), stats.expon().logpdf),
    "Gamma": (lambda **kw: ppl.Gamma(2.0, 1.0, **kw), stats.gamma(2).logpdf),
    "Uniform": (lambda **kw: ppl.Uniform(0.0, 2.0, **kw), stats.uniform(0, 2).logpdf),
    "LogNormal": (lambda **kw: ppl.LogNormal(0.0, 1.0, **kw), stats.lognorm(1).logpdf),
    "Weibull": (lambda **kw: ppl.Weibull(2.0, 1.0, **kw), stats.weibull_min(2).logpdf),
    "Beta": (lambda **kw: ppl.Beta(2.0, 3.0, **kw), stats.beta(2, 3).logpdf),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_bijector_onto_more_than_the_support_gives_no_mass_outside(name):
    make, logpdf = OUTSIDE[name]
    posterior = ppl.posterior(lambda: make(bijector=tfb.Shift(F64(0.5)), name="x"))
    u = np.array([[-3.0], [-1.0], [-0.25], [0.25], [3.0]])
    np.testing.assert_allclose(posterior.log_prob(u), logpdf(u[:, 0] + 0.5))


COUNTS = {
    "Poisson": lambda **kw: ppl.Poisson(3.0, **kw),
    "Geometric": lambda **kw: ppl.Geometric(probs=0.5, **kw),
    "Zipf": lambda **kw: ppl.Zipf(3.0, dtype=tf.float32, **kw),
    "Independent": lambda **kw: ppl.Independent(tfd.Poisson([1.0, 2.0]), 1, **kw),
}


@pytest.mark.parametrize("name", COUNTS)
def test_a_bijector_makes_no_count_continuous(name):
    def model():
        COUNTS[name](bijector=tfb.Exp(), name="k")

    with pytest.raises(ValueError, match=r"name='k'\): given a discrete latent"):
        ppl.posterior(model)


def test_a_posterior_keeps_its_data_when_their_arrays_change():
    def model(x, *, parts):
        slope = ppl.Normal(0.0, 1.0, name="slope")
        ppl.Normal(slope * x * parts["a"][0], 1.0, name="y")

    x, y, a = np.array([1.0, 2.0]), pd.Series([1.0, 0.0]), np.array([2.0, 1.0])
    posterior = ppl.posterior(model, x, observed={"y": y}, parts={"a": [a]})
    wanted = float(posterior.log_prob([[0.5]])[0])
    x[0], y[0], a[:] = 7.0, 100.0, -3.0
    # Another number of chains is traced anew.
    np.testing.assert_allclose(posterior.log_prob([[0.5], [0.5]]), [wanted] * 2)
    np.testing.assert_array_equal(posterior.source.observed_data()["y"], [1.0, 0.0])
    likelihood = posterior.source.log_likelihood({"slope": [0.5]})["y"]
    prior = stats.norm.logpdf(0.5)
    np.testing.assert_allclose(np.sum(likelihood) + prior, wanted)
