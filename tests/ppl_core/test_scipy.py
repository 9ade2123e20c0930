"""Random variables of scipy.stats, against its own densities computed by hand."""

import inspect

import numpy as np
import pytest
from scipy import stats
from scipy.stats import _distr_params

import ppl_core as ppl
from ppl_core import scipy as ps

GENERATORS = {
    name: generator
    for name in dir(stats)
    if not name.startswith("_")
    and hasattr(generator := getattr(stats, name), "rvs")
    and not inspect.isclass(generator)
}
# Slow, or slow to draw from: their densities are integrals.
SLOW = {"levy_stable", "studentized_range"}
PARAMETERS = dict(_distr_params.distcont + _distr_params.distdiscrete)
PARAMETERS |= {"crystalball": (2.0, 3.0), "loguniform": (0.01, 1.25)}


def univariate_names():
    return [
        name
        for name, generator in GENERATORS.items()
        if isinstance(generator, (stats.rv_continuous, stats.rv_discrete))
    ]


def test_every_generator_of_scipy_stats_has_a_function():
    names = {name for name in dir(ps) if hasattr(getattr(ps, name), "generator")}
    assert names == set(GENERATORS)
    for name in names:
        assert getattr(ps, name).generator is GENERATORS[name]
        assert getattr(ps, name).__name__ == name
    assert len(names) > 120


def test_the_module_itself_imports_no_tensorflow():
    source = inspect.getsource(ps)
    assert "tensorflow" not in source


@pytest.mark.parametrize("name", univariate_names())
def test_univariate_log_joint_is_scipys_density(name):
    shapes = PARAMETERS[name]
    generator = GENERATORS[name]
    random_variable = getattr(ps, name)
    size = 1 if name in SLOW else (2, 3)
    loc = 3 if isinstance(generator, stats.rv_discrete) else 0.3
    if name == "wrapcauchy":
        loc = 0.0  # SciPy's rvs of it wraps to a range that its loc does not move
    if name in SLOW:
        value = np.array([2.5])
    else:
        value = random_variable(*shapes, loc=loc, size=size, seed=4)
    assert value.shape == np.atleast_1d(np.zeros(size)).shape
    log_joint = ps.make_log_joint_fn(
        lambda: random_variable(*shapes, loc=loc, size=size, name="x")
    )
    if isinstance(generator, stats.rv_discrete):
        expected = generator.logpmf(value, *shapes, loc=loc).sum()
    else:
        expected = generator.logpdf(value, *shapes, loc=loc).sum()
    actual = log_joint(x=value)
    assert isinstance(actual, float)
    assert np.isfinite(expected)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_a_seeded_draw_equals_the_draw_of_rvs():
    np.testing.assert_array_equal(
        ps.gamma(2.0, size=3, seed=7),
        stats.gamma.rvs(2.0, size=3, random_state=7),
    )
    np.testing.assert_array_equal(
        ps.gamma(2.0, size=3, random_state=np.random.default_rng(1)),
        ps.gamma(2.0, size=3, seed=np.random.default_rng(1)),
    )
    assert isinstance(ps.norm(), np.ndarray)


def linear_regression(features):
    coeffs = ps.norm(0.0, 0.1, size=features.shape[1], name="coeffs")
    return ps.norm(features @ coeffs, 1.0, size=features.shape[0], name="labels")


FEATURES = np.array([[1.0, 0.5], [-2.0, 0.3], [0.1, 4.0]])
COEFFS = np.array([0.2, -0.1])
LABELS = np.array([0.3, -1.0, 0.7])


def test_linear_regression_of_the_appendix():
    expected = np.sum(stats.norm.logpdf(COEFFS, 0.0, 0.1)) + np.sum(
        stats.norm.logpdf(LABELS, FEATURES @ COEFFS, 1.0)
    )
    log_joint = ps.make_log_joint_fn(linear_regression)
    actual = log_joint(FEATURES, coeffs=COEFFS, labels=LABELS)
    np.testing.assert_allclose(actual, expected, rtol=1e-13)
    assert linear_regression(FEATURES).shape == (3,)


def spd(seed, dim=3, many=()):
    root = np.random.default_rng(seed).normal(size=(*many, dim, dim))
    return root @ np.swapaxes(root, -1, -2) + np.eye(dim)


def log_joint_of(random_variable, *args, value, **kwargs):
    program = ps.make_log_joint_fn(lambda: random_variable(*args, name="x", **kwargs))
    return program(x=value)


def test_multivariate_log_joints_are_scipys_densities():
    rng = np.random.default_rng(0)
    mean, cov = rng.normal(size=3), spd(1)
    x = ps.multivariate_normal(mean, cov, size=5, seed=1)
    assert x.shape == (5, 3)
    np.testing.assert_allclose(
        log_joint_of(ps.multivariate_normal, mean, cov=cov, size=5, value=x),
        sum(stats.multivariate_normal.logpdf(row, mean, cov) for row in x),
    )
    x = ps.multivariate_t(mean, cov, df=4, size=5, seed=1)
    np.testing.assert_allclose(
        log_joint_of(ps.multivariate_t, mean, cov, df=4, size=5, value=x),
        sum(stats.multivariate_t.logpdf(row, mean, cov, df=4) for row in x),
    )
    x = ps.multinomial(10, [0.2, 0.3, 0.5], size=4, seed=2)
    np.testing.assert_allclose(
        log_joint_of(ps.multinomial, 10, [0.2, 0.3, 0.5], size=4, value=x),
        sum(stats.multinomial.logpmf(row, 10, [0.2, 0.3, 0.5]) for row in x),
    )
    x = ps.matrix_normal(np.zeros((3, 2)), spd(2), spd(3, 2), size=4, seed=3)
    np.testing.assert_allclose(
        log_joint_of(
            ps.matrix_normal, rowcov=spd(2), colcov=spd(3, 2), size=4, value=x
        ),
        sum(
            stats.matrix_normal.logpdf(part, rowcov=spd(2), colcov=spd(3, 2))
            for part in x
        ),
    )
    x = ps.vonmises_fisher([0.0, 1.0], 3.0, size=4, seed=3)
    np.testing.assert_allclose(
        log_joint_of(ps.vonmises_fisher, [0.0, 1.0], 3.0, size=4, value=x),
        sum(stats.vonmises_fisher.logpdf(part, [0.0, 1.0], 3.0) for part in x),
    )
    table = ps.random_table([3, 4], [2, 5], seed=1)
    np.testing.assert_allclose(
        log_joint_of(ps.random_table, [3, 4], [2, 5], value=table, method="boyett"),
        stats.random_table.logpmf(table, [3, 4], [2, 5]),
    )


@pytest.mark.parametrize(
    "name, args",
    [
        ("dirichlet", ([1.0, 2.0, 3.5],)),
        ("wishart", (5, spd(1))),
        ("invwishart", (5, spd(1))),
    ],
)
@pytest.mark.parametrize("size", [(), (4,), (2, 3)])
def test_densities_that_expect_draws_last_get_them_last(name, args, size):
    generator = GENERATORS[name]
    random_variable = getattr(ps, name)
    if size:
        value = random_variable(*args, size=size, seed=5)
    else:
        value = random_variable(*args, seed=5)
        value = value[0] if name == "dirichlet" else value
    event_ndim = 1 if name == "dirichlet" else 2
    assert value.shape == size + (3,) * event_ndim
    draws = value.reshape(-1, *value.shape[-event_ndim:])
    expected = sum(generator.logpdf(draw, *args) for draw in draws)
    actual = log_joint_of(random_variable, *args, size=size, value=value)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_a_pair_valued_variable_is_drawn_and_scored_as_a_pair():
    x, variance = ps.normal_inverse_gamma(0.5, 2.0, 3.0, 4.0, size=6, seed=1)
    assert x.shape == variance.shape == (6,)
    np.testing.assert_allclose(
        log_joint_of(
            ps.normal_inverse_gamma, 0.5, 2.0, 3.0, 4.0, size=6, value=(x, variance)
        ),
        stats.normal_inverse_gamma.logpdf(x, variance, 0.5, 2.0, 3.0, 4.0).sum(),
    )


@pytest.mark.parametrize(
    "name, args",
    [
        ("ortho_group", (3,)),
        ("special_ortho_group", (3,)),
        ("unitary_group", (3,)),
        ("uniform_direction", (3,)),
        ("random_correlation", ([0.5, 1.0, 1.5],)),
    ],
)
def test_a_generator_without_a_density_samples_and_refuses_to_score(name, args):
    random_variable = getattr(ps, name)
    value = random_variable(*args, seed=1)
    assert value.shape in [(3,), (3, 3)]
    with pytest.raises(ValueError, match=rf"{name}\(name='x'\): SciPy has no density"):
        log_joint_of(random_variable, *args, value=value)


def test_missing_unknown_and_duplicate_names_are_errors():
    log_joint = ps.make_log_joint_fn(linear_regression)
    with pytest.raises(
        ValueError, match=r"linear_regression: given no value.*\['labels'\]"
    ):
        log_joint(FEATURES, coeffs=COEFFS)
    with pytest.raises(ValueError, match=r"no random variable is named \['odd'\]"):
        log_joint(FEATURES, coeffs=COEFFS, labels=LABELS, odd=1.0)
    with pytest.raises(ValueError, match="expon has no name"):
        ps.make_log_joint_fn(lambda: ps.expon())()
    with pytest.raises(ValueError, match="two random variables are named 'x'"):
        ps.make_log_joint_fn(lambda: (ps.expon(name="x"), ps.norm(name="x")))(x=1.0)


def test_a_value_of_another_shape_than_the_size_is_an_error():
    with pytest.raises(ValueError, match=r"norm\(name='x'\).*\(2,\), wanted \(3,\)"):
        log_joint_of(ps.norm, 0.0, 1.0, size=3, value=np.zeros(2))
    with pytest.raises(ValueError, match=r"\(3,\), wanted \(2, 3\)"):
        log_joint_of(ps.norm, np.zeros((2, 3)), 1.0, value=np.zeros(3))


def test_size_by_position_is_an_error():
    with pytest.raises(TypeError, match=r"norm\(name=None\): given 3 .* at most 2"):
        ps.norm(0.0, 1.0, 3)
    with pytest.raises(TypeError, match="given 2 .* at most 1"):
        ps.dirichlet([1.0, 2.0], 3)


def test_a_value_set_by_the_program_is_scored():
    def program():
        ps.norm(ps.norm(name="mu"), 2.0, value=0.7, name="x")

    np.testing.assert_allclose(
        ps.make_log_joint_fn(program)(mu=0.1),
        stats.norm.logpdf(0.1) + stats.norm.logpdf(0.7, 0.1, 2.0),
    )


def test_condition_substitute_and_replay_set_the_value_returned():
    for binding in (
        ppl.condition(coeffs=COEFFS),
        ppl.substitute(coeffs=COEFFS),
        ppl.replay({"coeffs": COEFFS, "unused": 1.0}),
    ):
        with binding:
            np.testing.assert_array_equal(ps.norm(size=2, name="coeffs"), COEFFS)
    with pytest.raises(ValueError, match=r"named \['odd'\]"), ppl.condition(odd=1.0):
        ps.norm(name="x")


def test_an_intervention_gives_an_array_that_has_no_log_prob():
    def mutilated(features):
        with ppl.intervene(coeffs=[1.0, 2.0]):
            coeffs = ps.norm(0.0, 0.1, size=2, name="coeffs")
            assert type(coeffs) is np.ndarray
            return ps.norm(features @ coeffs, 1.0, size=3, name="labels")

    expected = stats.norm.logpdf(LABELS, FEATURES @ [1.0, 2.0], 1.0).sum()
    actual = ps.make_log_joint_fn(mutilated)(FEATURES, labels=LABELS)
    np.testing.assert_allclose(actual, expected)
    log_joint = ps.make_log_joint_fn(ppl.mutilate(linear_regression, coeffs=[1.0, 2.0]))
    np.testing.assert_allclose(log_joint(FEATURES, labels=LABELS), expected)


def test_an_intervention_around_the_log_joint_removes_the_term():
    log_joint = ps.make_log_joint_fn(linear_regression)
    with ppl.intervene(coeffs=[1.0, 2.0]):
        actual = log_joint(FEATURES, coeffs=COEFFS, labels=LABELS)
    expected = stats.norm.logpdf(LABELS, FEATURES @ [1.0, 2.0], 1.0).sum()
    np.testing.assert_allclose(actual, expected)


def test_block_hides_a_variable_from_the_log_joint():
    def program():
        with ppl.block("nuisance"):
            ps.norm(name="nuisance")
        return ps.norm(name="x")

    actual = ps.make_log_joint_fn(program)(x=0.3)
    np.testing.assert_allclose(actual, stats.norm.logpdf(0.3))


def test_scale_and_mask_apply_inside_the_program_and_around_it():
    def program():
        with ppl.scale(3.0, "x"), ppl.mask([True, False], "x"):
            ps.norm(size=2, name="x")

    log_joint = ps.make_log_joint_fn(program)
    expected = 3.0 * stats.norm.logpdf(0.3)
    np.testing.assert_allclose(log_joint(x=[0.3, 5.0]), expected)
    with ppl.scale(2.0):
        np.testing.assert_allclose(log_joint(x=[0.3, 5.0]), 2 * expected)


def test_seeded_draws_depend_only_on_seed_and_name():
    def forwards():
        return {"a": ps.norm(size=3, name="a"), "b": ps.norm(size=3, name="b")}

    def backwards():
        b = ps.norm(size=3, name="b")
        return {"a": ps.norm(size=3, name="a"), "b": b}

    with ppl.seeded([1, -2]):
        one = forwards()
    with ppl.seeded([1, -2]):
        other = backwards()
    with ppl.seeded([1, -3]):
        different = forwards()
    for name in "ab":
        np.testing.assert_array_equal(one[name], other[name])
        assert not np.array_equal(one[name], different[name])
    assert not np.array_equal(one["a"], one["b"])


def test_a_users_own_generator_becomes_a_random_variable():
    class Ramp(stats.rv_continuous):
        def _pdf(self, x):
            return 2.0 * x

    ramp = ps.make_random_variable(Ramp(a=0.0, b=1.0, name="ramp"))
    log_joint = ps.make_log_joint_fn(lambda: ramp(size=2, name="x"))
    np.testing.assert_allclose(log_joint(x=[0.5, 0.25]), np.log(1.0 * 0.5))
    assert ramp.__name__ == "ramp"


def test_a_tape_records_arrays_that_replay_gives_back():
    def program():
        mu = ps.norm(0.0, 1.0, name="mu")
        return mu, ps.norm(mu, 1.0, size=3, name="x")

    with ppl.tape() as variables:
        mu, x = program()
    assert list(variables) == ["mu", "x"] and variables["x"] is x
    with ppl.replay(variables):
        again = program()
    np.testing.assert_array_equal(again[0], mu)
    np.testing.assert_array_equal(again[1], x)


def test_a_tape_lacks_what_intervene_replaces_and_refuses_a_name_used_twice():
    for outer, inner in ((0, 1), (1, 0)):
        blocks = [ppl.tape(), ppl.intervene(mu=2.0)]
        with blocks[outer] as one, blocks[inner] as two:
            ps.norm(ps.norm(name="mu"), name="x")
        assert list(one if one is not None else two) == ["x"]
    with pytest.raises(ValueError, match="two random variables are named 'x'"):
        with ppl.tape():
            ps.norm(name="x")
            ps.norm(name="x")
