"""Where chains start: each by its number, again where they cannot, or as given."""

import numpy as np
import pytest
import tensorflow as tf

import ppl_core as ppl
from experiments.inference.given_starts import given_positions
from experiments.inference.starts import (
    MAX_RETRIES,
    check_starts,
    draw_positions,
    find_starts,
    variables_of,
)
from tests.helpers import distance_allowed, distance_from

SEED = tf.constant([3, 5])


def draw(num_chains, dim, attempt=0, first_chain=0, seed=SEED):
    return draw_positions(
        seed, attempt, num_chains=num_chains, dim=dim, first_chain=first_chain
    )


def test_starts_are_uniform_from_minus_2_to_2():
    position = draw(2000, 3)
    assert np.all(np.abs(position) < 2)
    distance = distance_from(lambda x: (x + 2) / 4, position.ravel())
    assert distance < distance_allowed(position.size)


def test_every_chain_attempt_and_seed_starts_elsewhere():
    starts = [draw(50, 2), draw(50, 2, attempt=1), draw(50, 2, seed=SEED + 1)]
    rows = np.concatenate(starts)
    assert len(np.unique(rows, axis=0)) == 150


def test_a_chain_starts_alone_where_it_starts_among_others():
    for attempt in (0, 7):
        together = draw(5, 3, attempt)
        alone = draw(1, 3, attempt, first_chain=3)
        np.testing.assert_array_equal(alone[0], together[3])


class Density:
    """log prob -sum(x) where x[0] is above a bound; NaN, or a NaN gradient, below."""

    def __init__(self, bound, bad_log_prob=np.nan, bad_grad=-1.0):
        self.bound, self.bad_log_prob, self.bad_grad = bound, bad_log_prob, bad_grad
        self.calls = 0

    def __call__(self, position):
        self.calls += 1
        inside = position[:, 0] > self.bound
        grad = -np.ones_like(position)
        grad[:, 1] = np.where(inside, -1.0, self.bad_grad)
        return np.where(inside, -position.sum(1), self.bad_log_prob), grad


def find(density, num_chains=200, **options):
    return find_starts(density, seed=SEED, num_chains=num_chains, dim=2, **options)


@pytest.mark.parametrize(
    "bad",
    [(np.nan, -1.0), (-np.inf, -1.0), (np.inf, -1.0), (0.0, np.nan), (0.0, np.inf)],
)
def test_chains_draw_again_until_log_prob_and_gradient_are_finite(bad):
    density = Density(1.0, *bad)  # a quarter of the starts
    starts = find(density)
    assert np.all(starts.position[:, 0] > 1.0)
    np.testing.assert_array_equal(starts.log_prob, -starts.position.sum(1))
    assert 2 < starts.evaluations == density.calls <= MAX_RETRIES + 1
    # What is left is uniform between the bound and 2.
    distance = distance_from(lambda x: x - 1, starts.position[:, 0])
    assert distance < distance_allowed(200)


def test_a_chain_that_can_start_stays_and_retries_do_not_depend_on_the_others():
    density = Density(1.0)
    starts = find(density, 8)
    first = draw(8, 2)
    kept = first[:, 0] > 1.0
    assert kept.any() and not kept.all()
    np.testing.assert_array_equal(starts.position[kept], first[kept])
    for chain in range(8):
        alone = find(density, 1, first_chain=chain)
        np.testing.assert_array_equal(alone.position[0], starts.position[chain])


def test_a_density_that_is_finite_nowhere_is_an_error_after_the_last_retry():
    density = Density(2.0, bad_grad=np.inf)
    with pytest.raises(ValueError) as error:
        find(density, 2, first_chain=4, variables={"mu": 1, "scale": 1})
    assert density.calls == MAX_RETRIES + 1
    assert str(error.value) == (
        "start: chain 4 (2 of 2 chains fail) has log prob nan and gradients that are "
        "not finite for ['scale'] after 100 retries from uniform(-2, 2), wanted finite "
        "ones: give start, or mend the model's priors"
    )


def test_given_starts_are_evaluated_once_and_the_bad_one_is_named():
    density = Density(0.0, bad_log_prob=-np.inf)
    good = np.array([[1.0, 0.0], [0.5, 0.0]])
    assert check_starts(density, good).log_prob.tolist() == [-1.0, -0.5]
    bad = np.array([[1.0, 0.0], [-0.5, 0.0]])
    with pytest.raises(ValueError, match=r"chain 1 \(1 of 2 .* log prob -inf"):
        check_starts(density, bad)
    # Where the evaluation only says that something is amiss, another explains it.
    with pytest.raises(ValueError, match=r"log prob 3.0 .* for \['x\[1\]'\], wanted"):
        check_starts(density, bad, explain=Density(0.0, 3.0, np.nan))


def test_variables_are_named_by_their_coordinates():
    chosen = np.array([False, True, True, False])
    assert variables_of(chosen, {"a": 2, "b": 1, "c": 1}) == ["a", "b"]
    assert variables_of(chosen, None) == ["x[1]", "x[2]"]


def model():
    scale = ppl.HalfNormal(1.0, name="scale")
    ppl.Normal(0.0, scale, sample_shape=3, name="theta")
    ppl.Dirichlet([1.0, 1.0, 1.0], name="share")


@pytest.fixture(scope="module")
def posterior():
    return ppl.unconstrain(model, dtype=tf.float64)


def given(start, posterior, drawn=None):
    return given_positions(
        start, num_chains=2, dim=posterior.dim, posterior=posterior, drawn=drawn
    )


def values_of(positions, posterior):
    values = posterior.constrain(tf.constant(positions))
    return {name: value.numpy() for name, value in values.items()}


def test_values_by_name_are_for_all_chains_alike_or_one_a_chain(posterior):
    shares = [[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]
    positions = given({"scale": 2.5, "theta": [1, 2, 3], "share": shares}, posterior)
    found = values_of(positions, posterior)
    np.testing.assert_allclose(found["scale"], [2.5, 2.5])
    np.testing.assert_allclose(found["theta"], [[1, 2, 3]] * 2)
    np.testing.assert_allclose(found["share"], shares)


def test_variables_without_a_value_start_where_they_were_drawn(posterior):
    drawn = draw(2, posterior.dim)
    positions = given({"scale": [1.0, 3.0], "theta": 0.5}, posterior, drawn)
    found, others = values_of(positions, posterior), values_of(drawn, posterior)
    np.testing.assert_allclose(found["scale"], [1, 3])
    np.testing.assert_allclose(found["theta"], np.full((2, 3), 0.5))
    np.testing.assert_allclose(found["share"], others["share"])


@pytest.mark.parametrize(
    "start, message",
    [
        ({"scale": 1.0, "nothing": 2.0}, r"values for \['nothing', 'scale'\], wanted"),
        (
            {"scale": [1.0, 2.0, 3.0]},
            r"'scale' of shape \(3,\), wanted \(\), or \(2,\)",
        ),
        ({"theta": np.nan}, "'theta' nan, wanted finite"),
        ({"scale": "one"}, "'scale' 'one', wanted numbers"),
        (np.zeros((3, 2)), r"shape \(3, 2\), wanted \[2, 6\]"),
        ("near", "'near', wanted numbers"),
    ],
)
def test_starts_that_are_none_are_refused(posterior, start, message):
    with pytest.raises(ValueError, match=f"start: given {message}"):
        given(start, posterior, draw(2, posterior.dim))


def test_without_drawn_starts_every_variable_needs_a_value(posterior):
    with pytest.raises(ValueError, match=r"given values for \['scale'\], wanted them"):
        given({"scale": 1.0}, posterior)


def test_values_outside_the_support_are_refused_by_name(posterior):
    with pytest.raises(ValueError, match="'scale' outside its support"):
        given({"scale": -1.0}, posterior, draw(2, posterior.dim))


def test_names_need_a_posterior_that_knows_them():
    with pytest.raises(ValueError, match=r"start: given values for \['mu'\], wanted v"):
        given_positions({"mu": 1.0}, num_chains=1, dim=1)
    vectors = given_positions([[1, 2]], num_chains=1, dim=2)
    np.testing.assert_array_equal(vectors, [[1.0, 2.0]])
