"""EM of a codebook against NumPy, and on clusters against scikit-learn's optimum."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn import cluster, mixture

from experiments.training.prng import BatchRng
from experiments.vq_vae import quantizer
from experiments.vq_vae.quantizer import Codebook

CODEBOOK = Codebook(num_codes=6, code_dim=4, num_samples=3)
BATCH, POSITIONS = 4, 5
PATIENCE = quantizer.RESTART_PATIENCE


def random_at(seed, first=0, num_examples=BATCH):
    return BatchRng(
        tf.constant([seed, 7]), tf.constant(first), num_examples=num_examples
    )


def vectors_of(seed, batch=BATCH, places=POSITIONS, depth=CODEBOOK.code_dim):
    random = np.random.default_rng([3, seed])
    return random.standard_normal((batch, places, depth)).astype(np.float32)


def squares_of(vectors, codes):
    """One pair after another, in float64."""
    flat = vectors.reshape(-1, codes.shape[1]).astype(np.float64)
    return np.array([[((x - code) ** 2).sum() for code in codes] for x in flat])


def plain_shares(squares, uniform):
    """Of each vector, draw by draw: the first code whose odds add up beyond it."""
    found = np.zeros(squares.shape)
    for row, (distances, draws) in enumerate(zip(squares, uniform, strict=True)):
        odds = np.exp(distances.min() - distances)
        below = np.cumsum(odds) / odds.sum()
        for draw in draws:
            found[row, np.argmax(below > draw)] += 1 / len(draws)
    return found


def plain_step(codebook, state, vectors, shares, candidates):
    """The M-step, code by code, in float64."""
    flat = vectors.reshape(-1, codebook.code_dim)
    t = state["steps"]
    decay = min(codebook.decay, (1 + t) / (10 + t))
    after = {name: np.array(array, np.float64) for name, array in state.items()}
    after["steps"] = t + 1
    for code in range(codebook.num_codes):
        count = shares[:, code].sum()
        total = sum(shares[row, code] * flat[row] for row in range(len(flat)))
        after["counts"][code] = decay * state["counts"][code] + (1 - decay) * count
        after["sums"][code] = decay * state["sums"][code] + (1 - decay) * total
        usage = 0.99 * state["usage"][code] + 0.01 * count / shares.sum()
        after["usage"][code] = usage if t else 0
    number = after["counts"].sum()
    for code in range(codebook.num_codes):
        here = codebook.epsilon * state["codes"][code]
        at_code = after["counts"][code] + codebook.epsilon
        after["codes"][code] = (after["sums"][code] + here) / at_code
        idle = after["usage"][code] < codebook.restart_threshold / codebook.num_codes
        after["age"][code] = state["age"][code] + 1
        if t == 0 or (idle and state["age"][code] >= PATIENCE):
            after["codes"][code] = candidates[code]
            after["counts"][code] = number / codebook.num_codes
            after["sums"][code] = candidates[code] * number / codebook.num_codes
            after["age"][code] = 0
    return after


def first_state(codebook=CODEBOOK, seed=0):
    random = np.random.default_rng(seed)
    made = {
        name: random.standard_normal(weight.shape) * weight.stddev + weight.mean
        for name, weight in quantizer.state(codebook).items()
    }
    return {name: np.float32(array) for name, array in made.items()}


@tf.function
def em_step(codebook, state, vectors, random):
    squares = quantizer.distances(
        tf.reshape(vectors, (-1, codebook.code_dim)), state["codes"]
    )
    shares = quantizer.e_step(codebook, squares, vectors.shape[0], random)
    found = quantizer.statistics(codebook, vectors, shares, random)
    return quantizer.m_step(codebook, state, found), shares, found["candidates"]


def tensors(state):
    return {name: tf.constant(array, tf.float32) for name, array in state.items()}


def test_distances_are_the_sums_of_squares():
    codes = vectors_of(9)[:, 0]
    flat = vectors_of(1).reshape(-1, 4)
    np.testing.assert_allclose(
        quantizer.distances(flat, codes), squares_of(flat, codes), rtol=1e-4, atol=1e-5
    )


def test_draws_are_those_of_the_inverse_distribution_function():
    codes, flat = vectors_of(9, batch=6)[:, 0], vectors_of(1).reshape(-1, 4)
    squares = squares_of(flat, codes)
    uniform = np.random.default_rng(0).random((len(flat), 7)).astype(np.float32)
    uniform[0, :2] = 0, np.nextafter(np.float32(1), 0)  # the ends belong to codes too
    found = quantizer.sampled_responsibilities(
        tf.constant(squares, tf.float32), uniform
    )
    np.testing.assert_allclose(found, plain_shares(squares, uniform), atol=1e-6)
    np.testing.assert_allclose(np.sum(found, 1), 1, rtol=1e-6)


def test_sampled_responsibilities_have_the_odds_of_gaussians_of_variance_one_half():
    squares = np.float32([[0.3, 1.0, 2.5, 0.1]])
    odds = np.exp(-squares[0]) / np.exp(-squares[0]).sum()
    num = 20000
    uniform = np.random.default_rng(4).random((1, num)).astype(np.float32)
    found = quantizer.sampled_responsibilities(squares, uniform)[0]
    error = np.sqrt(odds * (1 - odds) / num)
    assert np.all(np.abs(found - odds) < 5 * error)


def test_distances_that_are_no_numbers_are_no_error_of_a_draw():
    squares = np.float32([[0.3, 1.0, 2.5], [np.nan] * 3, [np.inf] * 3])
    uniform = np.full((3, 4), 0.5, np.float32)
    found = quantizer.sampled_responsibilities(squares, uniform)
    np.testing.assert_allclose(np.sum(found, 1), 1)


def test_hard_em_is_the_nearest_code_alone():
    squares = np.float32([[3, 1, 2], [0.5, 1, 2]])
    np.testing.assert_array_equal(
        quantizer.hard_responsibilities(squares), [[0, 1, 0], [1, 0, 0]]
    )
    codebook = CODEBOOK._replace(num_samples=0)
    np.testing.assert_array_equal(
        quantizer.e_step(codebook, tf.constant(squares), 1, random_at(0)),
        quantizer.hard_responsibilities(squares),
    )


@pytest.mark.parametrize(("samples", "epsilon"), [(0, 1e-5), (3, 1e-5), (3, 0.5)])
def test_em_is_that_of_plain_numpy_restarts_among_it(samples, epsilon):
    codebook = CODEBOOK._replace(
        num_samples=samples, restart_threshold=0.9, epsilon=epsilon
    )
    state = first_state(codebook)
    mine = tensors(state)
    began = 0
    for number in range(PATIENCE + 12):
        vectors = vectors_of(number)
        mine, shares, candidates = em_step(
            codebook, mine, tf.constant(vectors), random_at(number)
        )
        state = plain_step(
            codebook,
            state,
            vectors.astype(np.float64),
            shares.numpy(),
            candidates.numpy(),
        )
        began += number > 0 and bool((state["age"] == 0).any())
        for name in state:
            np.testing.assert_allclose(
                mine[name], state[name], rtol=1e-4, atol=1e-5, err_msg=name
            )
    assert began  # of codes that were idle: it happened


def clusters(stddev, apart, num=900, depth=4):
    """Vectors around three centres, [num, 1, depth] as examples of one place."""
    random = np.random.default_rng(5)
    centres = apart * np.eye(3, depth)
    made = centres[np.arange(num) % 3] + stddev * random.standard_normal((num, depth))
    return made.astype(np.float32)[:, np.newaxis]


def trained(codebook, vectors, start, steps):
    """Codes after EM on the same vectors again and again."""
    state = tensors(first_state(codebook))
    state |= {"codes": tf.constant(start, tf.float32), "steps": tf.constant(1.0)}
    for number in range(steps):
        random = random_at(number, num_examples=len(vectors))
        state, _, _ = em_step(codebook, state, tf.constant(vectors), random)
    return state["codes"].numpy()


def in_order(codes):
    return codes[np.lexsort(codes.T.round(1))]


def test_hard_em_finds_the_optimum_of_k_means():
    vectors = clusters(stddev=0.7, apart=2.0)
    flat = vectors[:, 0]
    start, _ = cluster.kmeans_plusplus(flat, 3, random_state=0)
    codebook = Codebook(
        num_codes=3, code_dim=4, num_samples=0, decay=0.0, restart_threshold=0.0
    )
    found = trained(codebook, vectors, start, 40)
    same = cluster.KMeans(3, init=start, n_init=1, tol=0).fit(flat)
    np.testing.assert_allclose(
        in_order(found), in_order(same.cluster_centers_), atol=2e-4
    )
    best = cluster.KMeans(3, n_init=10, tol=0, random_state=1).fit(flat)
    assert squares_of(flat, found).min(1).sum() < 1.001 * best.inertia_


def test_soft_em_finds_the_optimum_of_a_mixture_of_gaussians_where_hard_em_does_not():
    vectors = clusters(stddev=0.5**0.5, apart=1.6, num=3000)
    flat = vectors[:, 0]
    start, _ = cluster.kmeans_plusplus(flat, 3, random_state=0)
    given = dict(num_codes=3, code_dim=4, restart_threshold=0.0)
    soft = trained(Codebook(num_samples=100, decay=0.8, **given), vectors, start, 60)
    hard = trained(Codebook(num_samples=0, decay=0.0, **given), vectors, start, 40)
    best = mixture.GaussianMixture(
        3, covariance_type="spherical", means_init=start, tol=1e-6, max_iter=500
    ).fit(flat)
    wanted = in_order(best.means_)
    off = [np.abs(in_order(found) - wanted).max() for found in (soft, hard)]
    assert off[0] < 0.08 and off[1] > 2 * off[0]


def test_the_first_step_starts_every_code_from_a_vector_of_the_batch():
    vectors = vectors_of(1)
    state, _, _ = em_step(
        CODEBOOK, tensors(first_state()), tf.constant(vectors), random_at(3)
    )
    flat = vectors.reshape(-1, 4)
    for code in state["codes"].numpy():
        assert (flat == code).all(1).any()
    assert len(np.unique(state["codes"].numpy(), axis=0)) > 2
    np.testing.assert_allclose(state["counts"], np.full(6, 0.9 * 20 / 6), rtol=1e-5)


@pytest.mark.parametrize("steps", [1.0, 500.0])
def test_a_code_that_no_vector_uses_stays_where_it_is(steps):
    codebook = CODEBOOK._replace(num_samples=0, restart_threshold=0.0)
    state = tensors(first_state(codebook))
    codes = np.float32(0.1 * np.random.default_rng(0).standard_normal((6, 4)))
    codes[2] = 10.0
    counts = np.full(6, 20 / 6, np.float32)
    state |= {
        "steps": tf.constant(steps),
        "codes": tf.constant(codes),
        "counts": tf.constant(counts),
        "sums": tf.constant(codes * counts[:, np.newaxis]),
    }
    for number in range(400):
        vectors = tf.constant(vectors_of(number))
        state, shares, _ = em_step(codebook, state, vectors, random_at(number))
        assert not np.any(shares[:, 2])
    # The early decay has taken its count far below epsilon, the later one has not.
    assert (steps > 1) == (float(state["counts"][2]) > codebook.epsilon)
    np.testing.assert_allclose(state["codes"][2], codes[2], rtol=1e-4)


@pytest.mark.parametrize("restart", [0.0, 0.03])
def test_a_code_that_nothing_is_near_begins_anew_once_its_time_is_over(restart):
    codebook = CODEBOOK._replace(num_samples=0, restart_threshold=restart)
    state = tensors(first_state(codebook))
    state["steps"] = tf.constant(500.0)
    state["counts"] = tf.fill([6], 20 / 6)
    codes = np.float32(0.1 * np.random.default_rng(0).standard_normal((6, 4)))
    codes[2] = 50.0
    state["codes"] = tf.constant(codes)
    state["sums"] = state["codes"] * 20 / 6
    state["usage"] = tf.constant([1.0, 1, 1e-5, 1, 1, 1]) / 5
    state["age"] = tf.constant([200.0, 200, PATIENCE - 1, 200, 200, 200])
    vectors = tf.constant(vectors_of(1))
    young, _, _ = em_step(codebook, state, vectors, random_at(1))
    assert young["age"][2] == PATIENCE and np.all(young["codes"][2] > 40)
    old, _, candidates = em_step(codebook, young, vectors, random_at(2))
    if restart:
        assert old["age"][2] == 0
        np.testing.assert_array_equal(old["codes"][2], candidates[2])
        assert float(old["counts"][2]) == pytest.approx(20 / 6, rel=0.01)
    else:
        assert np.all(old["codes"][2] > 40)
    others = [0, 1, 3, 4, 5]
    assert np.all(old["age"].numpy()[others] == 202)


def test_statistics_of_parts_add_up_to_those_of_the_whole():
    vectors = vectors_of(1)
    shares = np.random.default_rng(0).random((BATCH * POSITIONS, 6)).astype(np.float32)
    whole = quantizer.statistics(CODEBOOK, tf.constant(vectors), shares, random_at(5))
    parts = [
        quantizer.statistics(
            CODEBOOK,
            tf.constant(vectors[first : first + size]),
            shares[first * POSITIONS : (first + size) * POSITIONS],
            random_at(5, first=first),
        )
        for first, size in ((0, 1), (1, 2), (3, 1))
    ]
    for name, array in whole.items():
        np.testing.assert_allclose(
            array, sum(part[name] for part in parts), rtol=1e-5, atol=1e-6
        )
    np.testing.assert_array_equal(
        whole["candidates"], sum(part["candidates"] for part in parts)
    )
    other = quantizer.statistics(CODEBOOK, tf.constant(vectors), shares, random_at(6))
    assert np.any(whole["candidates"] != other["candidates"])


def test_gradients_go_straight_through():
    x, quantised = tf.constant([[1.0, 2.0]]), tf.constant([[5.0, 7.0]])
    with tf.GradientTape() as tape:
        tape.watch([x, quantised])
        y = quantizer.straight_through(x, quantised)
        total = tf.reduce_sum(y * y)
    by_x, by_quantised = tape.gradient(total, [x, quantised])
    np.testing.assert_array_equal(y, quantised)
    np.testing.assert_array_equal(by_x, 2 * quantised)
    assert by_quantised is None


def test_perplexity_is_the_number_of_codes_where_all_are_alike():
    assert float(quantizer.perplexity(tf.fill([8], 0.3))) == pytest.approx(8, rel=1e-5)
    assert float(quantizer.perplexity(tf.constant([0.0, 2, 0]))) == 1
    assert float(quantizer.perplexity(tf.zeros([8]))) == 1
    shares = np.array([0.5, 0.25, 0.25])
    wanted = np.exp(-(shares * np.log(shares)).sum())
    found = quantizer.perplexity(tf.constant(3 * shares, tf.float32))
    assert float(found) == pytest.approx(wanted, rel=1e-5)
    assert float(quantizer.codes_in_use(tf.constant([1.0, 0.5, 0.001, 0.0]))) == 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"num_codes": 1}, "num_codes: given 1, wanted a whole number of at least 2"),
        ({"code_dim": 0}, "code_dim: given 0"),
        (
            {"num_samples": -1},
            "num_samples: given -1, wanted a whole number of at least 0",
        ),
        (
            {"decay": 1.0},
            "decay: given 1.0, wanted a finite number at least 0 and below 1",
        ),
        ({"restart_threshold": -0.1}, "restart_threshold: given -0.1"),
        ({"epsilon": 0.0}, "epsilon: given 0.0"),
        ({"commitment_cost": float("nan")}, "commitment_cost: given nan"),
    ],
)
def test_what_no_codebook_can_be_made_of_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        quantizer.check(CODEBOOK._replace(**wrong))
