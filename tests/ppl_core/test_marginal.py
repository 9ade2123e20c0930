"""Summed-out discrete variables, against sums by SciPy."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from scipy.special import logsumexp

import ppl_core as ppl

X = np.float32([-1.0, 0.5, 2.0])
MU, W = np.array([-0.5, 1.5]), np.array([0.3, 0.7])
ROWS = logsumexp(np.log(W) + stats.norm.logpdf(X[:, None], MU), axis=1)


def mixture():
    mu = ppl.Normal([-1.0, 1.0], 1.0, name="mu")
    w = ppl.Dirichlet([1.0, 1.0], name="w")
    with ppl.plate("row", 3):
        z = ppl.Categorical(probs=w, name="z")
        ppl.Normal(mu[z], 1.0, name="x")


MIXTURE = ppl.marginalize(mixture, "z")


def test_a_mixtures_log_joint_and_pointwise_likelihood():
    value = ppl.make_log_joint_fn(MIXTURE)(mu=MU, w=W, x=X)
    prior = stats.norm.logpdf(MU, [-1, 1]).sum() + stats.dirichlet.logpdf(W, [1, 1])
    np.testing.assert_allclose(value, prior + ROWS.sum(), rtol=1e-6)
    log_likelihood = ppl.make_log_likelihood_fn(MIXTURE, observed={"x": X})
    np.testing.assert_allclose(log_likelihood(mu=MU, w=W)["x"], ROWS, rtol=1e-6)


def test_a_mixtures_posterior_and_gradient():
    posterior = ppl.unconstrain(MIXTURE, observed={"x": X})
    assert posterior.names == ("mu", "w")
    vector = posterior.unconstrain({"mu": np.float32([MU]), "w": np.float32([W])})
    log_prob, grad = posterior.log_prob_and_grad(vector)
    # By mu, the gradient is the prior's plus the sum of responsibilities * residuals.
    weights = np.exp(np.log(W) + stats.norm.logpdf(X[:, None], MU) - ROWS[:, None])
    expected = (np.array([-1, 1]) - MU) + (weights * (X[:, None] - MU)).sum(0)
    np.testing.assert_allclose(grad[0, :2], expected, rtol=1e-5)
    both, _ = posterior.log_prob_and_grad(tf.tile(vector, [3, 1]))
    np.testing.assert_allclose(both, [log_prob[0]] * 3, rtol=1e-6)


def test_two_variables_a_vector_of_data_and_a_factor():
    def program():
        z = ppl.Bernoulli(probs=0.3, name="z")
        k = ppl.Binomial(2.0, probs=tf.where(z == 1, 0.5, 0.9), name="k")
        m = 2.0 * tf.cast(z, tf.float32) + k
        ppl.Normal(0.0, 1.0, name="u")
        ppl.Normal(m, 1.0, sample_shape=3, name="x")
        ppl.Normal(-m, 2.0, name="y")
        ppl.factor(-m, "f")

    value = ppl.make_log_prob_parts_fn(ppl.marginalize(program, "z", "k"))(
        x=X, y=0.7, u=0.1
    )
    terms = []
    for z, k in itertools.product((0, 1), (0, 1, 2)):
        m = 2 * z + k
        terms.append(
            stats.bernoulli.logpmf(z, 0.3)
            + stats.binom.logpmf(k, 2, (0.9, 0.5)[z])
            + stats.norm.logpdf(X, m).sum()
            + stats.norm.logpdf(0.7, -m, 2)
            - m
        )
    np.testing.assert_allclose(value["u"], stats.norm.logpdf(0.1), rtol=1e-6)
    np.testing.assert_allclose(value["x"], logsumexp(terms), rtol=1e-5)
    assert float(value["y"]) == float(value["f"]) == 0.0


def test_a_minibatch_and_an_inner_plate():
    y = np.float32([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]])

    def program():
        with ppl.plate("row", 3, total=30):
            z = tf.cast(ppl.Bernoulli(probs=0.3, name="z"), tf.float32)
            ppl.Normal(z, 1.0, name="x")
            with ppl.plate("column", 2):
                ppl.Normal(z[:, None], 1.0, name="y")

    terms = [
        stats.bernoulli.logpmf(z, 0.3)
        + stats.norm.logpdf(X, z)
        + stats.norm.logpdf(y, z).sum(1)
        for z in (0, 1)
    ]
    expected = 10 * logsumexp(terms, axis=0).sum()
    value = ppl.make_log_joint_fn(ppl.marginalize(program, "z"))(x=X, y=y)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


Y = np.float32([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]])


def nested():
    """A class of all, of each row, and of each entry, with data of each."""
    g = tf.cast(ppl.Bernoulli(probs=0.2, name="g"), tf.float32)
    ppl.Normal(g, 2.0, name="u")
    with ppl.plate("row", 3):
        z = tf.cast(ppl.Bernoulli(probs=0.3 + 0.4 * g, name="z"), tf.float32)
        ppl.Normal(z - g, 1.0, name="x")
        with ppl.plate("column", 2):
            w = ppl.Categorical(
                logits=tf.stack([0.0 * z, z, g + 0.0 * z], -1)[:, None], name="w"
            )
            w = tf.cast(w, tf.float32)
            ppl.Normal(w * z[:, None], 1.0, name="y")


def by_hand(x, y, u):
    """The log joint of `nested`, summed by loops."""
    norm, log_joint = stats.norm.logpdf, []
    for g in (0, 1):
        rows = np.log((0.8, 0.2)[g]) + norm(u, g, 2)
        for i in range(3):
            of_z = []
            for z in (0, 1):
                p = 0.3 + 0.4 * g
                one = np.log((1 - p, p)[z]) + norm(x[i], z - g)
                logits = np.array([0.0, z, g])
                logits -= logsumexp(logits)
                for j in range(2):
                    one += logsumexp(
                        [logits[w] + norm(y[i, j], w * z) for w in range(3)]
                    )
                of_z.append(one)
            rows += logsumexp(of_z)
        log_joint.append(rows)
    return logsumexp(log_joint)


@pytest.mark.parametrize("names", [("g", "z", "w"), ("w", "g", "z")])
def test_variables_in_nested_plates(names):
    posterior = ppl.marginalize(nested, *names)
    value = ppl.make_log_joint_fn(posterior)(x=X, y=Y, u=0.4)
    np.testing.assert_allclose(value, by_hand(X, Y, 0.4), rtol=1e-6)


def test_variables_in_plates_side_by_side_are_summed_one_at_a_time():
    def program():
        a = ppl.Normal(0.0, 1.0, name="a")
        for name, data in (("z", "x"), ("w", "y")):
            with ppl.plate(f"{name}s", 3):
                k = tf.cast(ppl.Bernoulli(probs=0.3, name=name), tf.float32)
                ppl.Normal(a + k, 1.0, name=data)

    def expected(a):
        terms = [
            stats.bernoulli.logpmf(k, 0.3) + stats.norm.logpdf(X, a + k) for k in (0, 1)
        ]
        return stats.norm.logpdf(a) + 2 * logsumexp(terms, axis=0).sum()

    with pytest.raises(ValueError, match=r"z.*zs.* beside another in .*ws.*one at a"):
        ppl.make_log_joint_fn(ppl.marginalize(program, "z", "w"))(a=0.5, x=X, y=X)
    twice = ppl.marginalize(ppl.marginalize(program, "z"), "w")
    value = ppl.make_log_joint_fn(twice)(a=0.5, x=X, y=X)
    np.testing.assert_allclose(value, expected(0.5), rtol=1e-6)


def test_a_variable_that_depends_on_those_inside_its_plates_is_refused():
    def program():
        with ppl.plate("row", 3):
            w = ppl.Bernoulli(probs=0.3, name="w")
        ppl.Bernoulli(logits=tf.reduce_sum(tf.cast(w, tf.float32)), name="z")
        with ppl.plate("row", 3):
            ppl.Normal(tf.cast(w, tf.float32), 1.0, name="x")

    with pytest.raises(ValueError, match=r"'z'.*depends on \['w'\], which stand in"):
        ppl.make_log_joint_fn(ppl.marginalize(program, "w", "z"))(x=X)


def test_a_mask_and_a_latent_variable_below_the_sum():
    def program():
        with ppl.plate("row", 3):
            z = tf.cast(ppl.Bernoulli(probs=0.3, name="z"), tf.float32)
            a = ppl.Normal(4.0 * z, 1.0, name="a")
            with ppl.mask([True, True, False]):
                ppl.Normal(a, 1.0, name="x")

    posterior = ppl.unconstrain(ppl.marginalize(program, "z"), observed={"x": X})
    a = np.float32([0.1, 3.0, -1.0])
    terms = [
        stats.bernoulli.logpmf(z, 0.3) + stats.norm.logpdf(a, 4 * z) for z in (0, 1)
    ]
    expected = logsumexp(terms, axis=0).sum() + stats.norm.logpdf(X, a)[:2].sum()
    np.testing.assert_allclose(posterior.log_prob(a[None]), [expected], rtol=1e-6)


def test_finite_discrete_outcomes_and_an_intervention():
    def program():
        rate = ppl.FiniteDiscrete([0.5, 2.0, 8.0], probs=[0.2, 0.3, 0.5], name="rate")
        shift = ppl.Normal(0.0, 1.0, name="shift")
        ppl.Normal(rate + shift, 1.0, name="x")

    program = ppl.mutilate(ppl.marginalize(program, "rate"), shift=1.0)
    value = ppl.make_log_joint_fn(program)(x=2.5)
    rates = np.array([0.5, 2.0, 8.0])
    expected = logsumexp(np.log([0.2, 0.3, 0.5]) + stats.norm.logpdf(2.5, rates + 1.0))
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def refused(kind):
    def program():
        if kind == "no plate":
            z = ppl.Bernoulli(probs=[0.3, 0.4, 0.5], name="z")
            return ppl.Normal(tf.cast(z, tf.float32), 1.0, name="x")
        with ppl.plate("row", 3):
            if kind == "infinite":
                z = ppl.Poisson(1.0, name="z")
            elif kind == "many":
                z = ppl.Binomial(2000.0, probs=0.5, name="z")
            else:
                z = ppl.Bernoulli(probs=0.3, name="z")
            z = tf.cast(z, tf.float32)
            if kind == "deterministic":
                ppl.deterministic(2 * z, "twice")
            if kind != "outside":
                ppl.Normal(z, 1.0, name="x")
        if kind == "outside":
            ppl.Normal(tf.fill([3], tf.reduce_sum(z)), 1.0, name="x")

    return ppl.marginalize(program, "z")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no plate", r"z.*given shape \(3,\) in the plates \(\)"),
        ("infinite", "z.*given a Poisson, wanted a Bernoulli"),
        ("many", "given 2001 joint values, wanted at most 1000"),
        ("deterministic", "twice.*no one value"),
        ("outside", "x.*outside its plates"),
    ],
)
def test_what_cannot_be_summed_is_refused(kind, message):
    with pytest.raises(ValueError, match=message):
        ppl.make_log_joint_fn(refused(kind))(x=X)


def test_draws_other_scales_and_changed_arguments_are_refused():
    with pytest.raises(ValueError, match="x.*drawn; predict with the program itself"):
        ppl.prior_predictive(MIXTURE, num_draws=2, seed=(0, 1))
    with pytest.raises(ValueError, match=r"named \['q'\]"):
        ppl.marginalize(mixture, "q")()
    with pytest.raises(ValueError, match=r"'z'\): given a value by mixture"):
        ppl.make_log_joint_fn(MIXTURE)(mu=MU, w=W, x=X, z=[0, 1, 1])

    def widen(construct, *args, **kwargs):
        if kwargs.get("name") == "x":
            args = (args[0], 2.0)
        return ppl.forward(construct, *args, **kwargs)

    with ppl.trace(widen), pytest.raises(ValueError, match="changes its arguments"):
        with ppl.condition(mu=np.float32(MU), w=np.float32(W), x=X):
            MIXTURE()

    def two():
        z = tf.cast(ppl.Bernoulli(probs=0.3, name="z"), tf.float32)
        ppl.Normal(z, 1.0, name="x")
        with ppl.scale(2.0):
            ppl.Normal(z, 1.0, name="y")

    with pytest.raises(ValueError, match="y.*another scale"):
        ppl.make_log_joint_fn(ppl.marginalize(two, "z"))(x=0.0, y=0.0)


def test_sums_within_sums_supports_and_own_scales_are_refused():
    def two():
        w = ppl.Bernoulli(probs=0.2, name="w")
        z = ppl.Categorical(probs=tf.where(w == 1, [0.1, 0.9], [0.6, 0.4]), name="z")
        ppl.Normal(tf.cast(w + z, tf.float32), 1.0, name="y")

    def by_support():
        z = ppl.Bernoulli(probs=0.3, name="z")
        u = ppl.Uniform(0.0, tf.where(z == 1, 4.0, 1.0), name="u")
        ppl.Normal(u, 1.0, name="y")

    def scaled():
        with ppl.scale(4.0):
            z = tf.cast(ppl.Bernoulli(probs=0.3, name="z"), tf.float32)
        ppl.Normal(z, 1.0, name="y")

    for names in (("w", "z"), ("z", "w")):
        nested = ppl.marginalize(ppl.marginalize(two, names[0]), names[1])
        with pytest.raises(ValueError, match="another sum; give all names to one call"):
            ppl.make_log_joint_fn(nested)(y=0.5)
    with pytest.raises(ValueError, match="u.*by its support"):
        ppl.unconstrain(ppl.marginalize(by_support, "z"), observed={"y": 3.0})
    with pytest.raises(ValueError, match="y.*another scale than it"):
        ppl.make_log_joint_fn(ppl.marginalize(scaled, "z"))(y=0.0)
    # Around the program, a scale is that of the marginal.
    plain = ppl.make_log_joint_fn(ppl.marginalize(by_support, "z"))(u=0.5, y=1.0)
    with ppl.scale(3.0):
        tripled = ppl.make_log_joint_fn(ppl.marginalize(by_support, "z"))(u=0.5, y=1.0)
    np.testing.assert_allclose(tripled, 3 * plain, rtol=1e-6)
