"""Plates, named dimensions and their labels."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tensorflow_probability import distributions as tfd

import ppl_core as ppl
from ppl_core import scipy as ps


def nested():
    mu = ppl.Normal(0.0, 1.0, name="mu")
    with ppl.plate("group", ["u", "v"]):
        b = ppl.Normal(mu, 1.0, name="b")
        with ppl.plate("item", 3):
            z = ppl.Normal(b[:, None], 2.0, name="z")
            ppl.HalfNormal(1.0, sample_shape=4, name="w")
            ppl.deterministic(2 * z, "twice")
            ppl.MultivariateNormalDiag(tf.zeros(5), name="v", dims=["part"])


def test_nested_plates_make_a_dimension_each_the_outer_first():
    with ppl.tape() as variables:
        nested()
    shapes = {name: tuple(part.shape) for name, part in variables.items()}
    assert shapes == {
        "mu": (),
        "b": (2,),
        "z": (2, 3),
        "w": (4, 2, 3),
        "twice": (2, 3),
        "v": (2, 3, 5),
    }
    assert {name: part.dims for name, part in variables.items()} == {
        "mu": None,
        "b": ("group",),
        "z": ("group", "item"),
        "w": ("w_dim_0", "group", "item"),
        "twice": ("group", "item"),
        "v": ("group", "item", "part"),
    }
    assert variables["z"].coords["group"].tolist() == ["u", "v"]


def test_the_log_joint_of_nested_plates():
    rng = np.random.default_rng(0)
    shapes = {"mu": (), "b": (2,), "z": (2, 3), "w": (4, 2, 3), "v": (2, 3, 5)}
    values = {name: np.abs(rng.normal(size=shape)) for name, shape in shapes.items()}
    expected = (
        stats.norm.logpdf(values["mu"])
        + stats.norm.logpdf(values["b"], values["mu"]).sum()
        + stats.norm.logpdf(values["z"], values["b"][:, None], 2).sum()
        + stats.halfnorm.logpdf(values["w"]).sum()
        + stats.norm.logpdf(values["v"]).sum()
    )
    log_joint = ppl.make_log_joint_fn(nested)
    given = {name: np.float32(value) for name, value in values.items()}
    np.testing.assert_allclose(log_joint(**given), expected, rtol=1e-5)
    posterior = ppl.unconstrain(nested)
    assert posterior.sizes == (1, 2, 6, 24, 30)
    assert posterior.dims["v"] == ("group", "item", "part")


def test_parameters_of_the_inner_plate_and_the_sampled_spread():
    with ppl.seeded((0, 1)), ppl.plate("a", 1000), ppl.plate("b", 3):
        x = ppl.Normal([-1.0, 0.0, 1.0], 0.1, name="x")
    assert x.shape == (1000, 3)
    np.testing.assert_allclose(np.mean(x.value, axis=0), [-1, 0, 1], atol=0.02)
    with ppl.seeded((0, 1)), ppl.plate("a", 3), ppl.plate("b", 1000):
        y = ppl.Normal(np.float32([[-1.0], [0.0], [1.0]]), 0.1, name="y")
    # Each entry is a draw of its own, also where the parameters are broadcast.
    np.testing.assert_allclose(np.mean(y.value, axis=1), [-1, 0, 1], atol=0.02)
    np.testing.assert_allclose(np.std(y.value, axis=1), 0.1, rtol=0.1)


def test_a_truncated_variable_of_a_broadcast_plate_has_its_bijector_and_support():
    def program():
        with ppl.plate("a", 2), ppl.plate("b", 3):
            ppl.TruncatedNormal([[0.0], [1.0]], 1.0, 0.0, np.inf, name="x")

    posterior = ppl.unconstrain(program)
    value = posterior.constrain(tf.zeros([1, 6]))["x"]
    np.testing.assert_allclose(value, np.full([1, 2, 3], np.log(2)), rtol=1e-6)
    log_jacobian = 6 * np.log(0.5)
    expected = log_jacobian + sum(
        3 * stats.truncnorm.logpdf(np.log(2), -loc, np.inf, loc) for loc in (0.0, 1.0)
    )
    np.testing.assert_allclose(posterior.log_prob(tf.zeros([1, 6])), [expected], 1e-5)
    with pytest.raises(ValueError, match=r"x.*given -1.0 at \(0, 1\)"):
        ppl.unconstrain(program, observed={"x": [[0.0, -1.0, 0.0], [0.0, 0.0, 0.0]]})


def test_a_minibatchs_plate_scales_its_terms():
    def program(total):
        mu = ppl.Normal(0.0, 1.0, name="mu")
        with ppl.plate("row", 3, total=total):
            ppl.Normal(mu, 1.0, name="x")
            ppl.factor(tf.fill([3], mu), "f")

    x = np.float32([0.0, 1.0, 2.0])
    prior, row = stats.norm.logpdf(0.5), stats.norm.logpdf(x, 0.5).sum() + 1.5
    for total in (3, 300):
        value = ppl.make_log_joint_fn(program)(total, mu=0.5, x=x)
        np.testing.assert_allclose(value, prior + total / 3 * row, rtol=1e-5)
    log_likelihood = ppl.make_log_likelihood_fn(program, observed={"x": x})
    expected = stats.norm.logpdf(x, 0.5)
    np.testing.assert_allclose(log_likelihood(300, mu=0.5)["x"], expected, rtol=1e-5)


def test_dims_take_their_sizes_from_the_labels():
    with ppl.coords(school=["A", "B", "C"], year=[2001, 2002]):
        both = ppl.Normal(0.0, 1.0, dims=("school", "year"), name="both")
        given = ppl.Normal([0.0, 1.0, 2.0], 1.0, dims="school", name="given")
        lead = ppl.Normal([0.0, 1.0], 1.0, dims=["school", "year"], name="lead")
        plain = ppl.Normal(0.0, 1.0, name="plain")
    shapes = [tuple(part.shape) for part in (both, given, lead, plain)]
    assert shapes == [(3, 2), (3,), (3, 2), ()]
    assert plain.dims is None and not plain.coords
    assert list(both.coords) == ["school", "year"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ppl.Normal([0.0, 1.0], 1.0, dims="school", name="x"), "2 entries.*3"),
        (lambda: ppl.Normal(0.0, 1.0, dims="town", name="x"), r"x.*\['town'\].*sizes"),
        (
            lambda: ppl.Normal([0.0], 1.0, dims=(), name="x"),
            r"x.*given dims \(\) .*wanted 1 names",
        ),
        (
            lambda: ppl.Normal(0.0, 1.0, dims=["school", "school"], name="x"),
            "each name once",
        ),
        (lambda: ppl.deterministic([1.0, 2.0], "x", dims="school"), "2 entries"),
    ],
)
def test_dims_that_do_not_fit_are_refused(make, message):
    with ppl.coords(school=["A", "B", "C"]):
        with pytest.raises(ValueError, match=message):
            make()


def in_plate(make):
    with ppl.plate("row", 3):
        make()


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (lambda: in_plate(lambda: ppl.Normal([0.0, 1.0], 1.0, name="x")), ValueError,
         r"x.*batch shape \(2,\) inside plates of sizes \(3,\)"),
        (lambda: in_plate(lambda: ppl.Normal(tf.zeros([3, 2]), 1.0, name="x")),
         ValueError, "broadcasts to them"),
        (lambda: in_plate(lambda: in_plate(lambda: ppl.Normal(0.0, 1.0, name="x"))),
         ValueError, "given inside itself"),
        (lambda: in_plate(lambda: ppl.factor(0.0, "f")), ValueError, "f.*in front"),
        (lambda: in_plate(lambda: ps.norm(0.0, 1.0, name="x")), TypeError, "size="),
        (lambda: ppl.plate("row", -1).__enter__(), ValueError, "given the size -1"),
        (lambda: ppl.plate("row", 0, total=5).__enter__(), ValueError, "no entry for"),
        (lambda: ppl.plate("", 3).__enter__(), ValueError, "given an empty name"),
        (lambda: ppl.Normal(0.0, 1.0, dims=["a", ""], name="x"), ValueError,
         "'x'.*an empty name"),
        (lambda: ppl.Normal(0.0, 1.0, name=""), ValueError, "given an empty name"),
        (lambda: ppl.Normal(0.0, 1.0, coords=["a"], name="x"), TypeError,
         r"'x'\): given coords \['a'\], wanted `with ppl.coords\("),
        (lambda: ppl.Normal(0.0, 1.0, plates={"a": 1}, name="x"), TypeError,
         r"'x'\): given plates {'a': 1}, wanted `with ppl.plate\("),
        (lambda: ppl.Normal(0.0, 1.0, plates=(("a", 1.5),), name="x"), TypeError,
         "'x'.*given plates"),
        (lambda: ppl.plate("row", 2.5).__enter__(), ValueError, "given the size 2.5"),
        (lambda: ppl.plate("row", 3, total=2).__enter__(), ValueError, "total 2"),
        (lambda: ppl.plate("row", ["a", "a"]).__enter__(), ValueError, "different"),
        (lambda: ppl.coords(row=[]).__enter__(), ValueError, "list of different"),
    ],
)  # fmt: skip
def test_what_no_plate_can_mean_is_refused(run, error, message):
    with pytest.raises(error, match=message):
        run()


def test_a_name_of_dimensions_has_one_size_in_a_program():
    def program(size):
        a = ppl.Normal(0.0, 1.0, sample_shape=2, dims="group", name="a")
        with ppl.plate("group", size):
            ppl.Normal(0.0, 1.0, name="b")
        ppl.deterministic(a[:1], "first", dims="one")

    wanted = "'group' in 'b', and 2 in 'a'; wanted one size, or two names"
    for run in (ppl.posterior, lambda model, size: ppl.describe(model, size)):
        with pytest.raises(
            ValueError, match=f"^program: given 3 entries along {wanted}"
        ):
            run(program, 3)
    assert ppl.posterior(program, 2).dims["a"] == ("group",)


@pytest.mark.parametrize("size", [0, []])
def test_a_plate_of_no_entries_adds_nothing(size):
    def program():
        mu = ppl.Normal(0.0, 1.0, name="mu")
        with ppl.plate("row", size):
            z = ppl.Normal(mu, 1.0, name="z")
            ppl.MultivariateNormalDiag(tf.fill([2], mu), name="y")
        ppl.deterministic(z + 1.0, "after")

    posterior = ppl.posterior(program, observed={"y": np.zeros([0, 2])})
    log_prob, grad = posterior.log_prob_and_grad([[0.5], [0.7]])
    np.testing.assert_allclose(log_prob, stats.norm.logpdf([0.5, 0.7]))
    np.testing.assert_allclose(grad, [[-0.5], [-0.7]])
    values = posterior.constrain([[0.5], [0.7]])
    assert values["z"].shape == values["after"].shape == (2, 0)


def test_plates_and_labels_pass_other_functions_by():
    square = ppl.traceable(lambda x: x * x)
    with ppl.plate("row", 3) as rows, ppl.coords(town=["A"]):
        assert square(3) == 9 and rows.tolist() == [0, 1, 2]
    with ppl.coords(town=["A"]):
        assert np.shape(ps.norm(0.0, 1.0, size=2, name="x")) == (2,)


def test_a_broadcast_distributions_tracers_and_sharing():
    """`condition`, `intervene` and a tape around see the expanded variable."""

    def program():
        with ppl.plate("row", 3):
            ppl.Normal(0.0, 1.0, name="x")

    with ppl.tape() as variables, ppl.condition(x=[1.0, 2.0, 3.0]):
        program()
    assert variables["x"].observed and variables["x"].shape == (3,)
    with pytest.raises(ValueError, match=r"x.*shape \(\), wanted \(3,\)"):
        with ppl.condition(x=1.0):
            program()
    with pytest.raises(ValueError, match=r"x.*shape \(2,\), wanted \(3,\)"):
        with ppl.intervene(x=[1.0, 2.0]):
            program()
    assert isinstance(variables["x"].distribution, tfd.Normal)


def test_a_minibatch_is_weighted_to_the_last_digit():
    """40 / 7 is not 5.714286, what float32 makes of it."""
    with ppl.plate("row", 7, total=40):
        x = ppl.Normal(tf.zeros(7, tf.float64), 1.0, name="x", value=np.ones(7))
    with ppl.scale(40 / 7):
        y = ppl.Normal(np.float64(0), 1.0, name="y", value=1.0)
    wanted = 40 / 7 * (-0.5 - np.log(2 * np.pi) / 2)
    np.testing.assert_allclose(x.log_prob(), np.full(7, wanted), rtol=1e-14)
    np.testing.assert_allclose(y.log_prob(), wanted, rtol=1e-14)
