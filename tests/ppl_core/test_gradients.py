"""Operations without a gradient are refused; loops and branches are sampled."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

import ppl_core as ppl


def float64(x):
    return tf.constant(x, tf.float64)


def numpy_function():
    mu = ppl.Normal(float64(0.0), 1.0, name="mu")
    sine = tf.ensure_shape(tf.numpy_function(np.sin, [mu.value], tf.float64), [])
    ppl.Normal(mu + sine, 1.0, name="y")


def bessel():
    order = ppl.HalfNormal(float64(1.0), name="order")
    ppl.Normal(tfp.math.log_bessel_ive(order, float64(2.0)), 1.0, name="y")


@pytest.mark.parametrize(
    ("program", "variable"),
    [(numpy_function, "mu"), (bessel, "order")],
)
def test_an_operation_without_a_gradient_is_refused_by_name(program, variable):
    with pytest.raises(ValueError, match=f"without a gradient, {{'{variable}': "):
        ppl.unconstrain(program, observed={"y": 2.0})


def test_what_is_behind_a_stopped_gradient_needs_none():
    def model():
        mu = ppl.Normal(float64(0.0), 1.0, name="mu")
        fixed = tf.stop_gradient(mu.value)
        sine = tf.ensure_shape(tf.numpy_function(np.sin, [fixed], tf.float64), [])
        ppl.Normal(mu + sine, 1.0, name="y")

    posterior = ppl.unconstrain(model, observed={"y": 2.0})
    _, grad = posterior.log_prob_and_grad([[0.5]])
    np.testing.assert_allclose(grad, [[-0.5 + (2.0 - 0.5 - np.sin(0.5))]])


def hidden_markov():
    m = ppl.Normal(float64(0.0), 1.0, name="m")
    ppl.HiddenMarkovModel(
        tfd.Categorical(probs=float64([0.5, 0.5])),
        tfd.Categorical(probs=float64([[0.9, 0.1], [0.1, 0.9]])),
        tfd.Normal(tf.stack([m.value, float64(1.0)]), float64(1.0)),
        num_steps=4,
        name="y",
    )


def random_walk():
    m = ppl.HalfNormal(float64(1.0), name="m")
    ppl.LinearGaussianStateSpaceModel(
        num_timesteps=3,
        transition_matrix=float64([[1.0]]),
        transition_noise=tfd.MultivariateNormalDiag(scale_diag=m.value[None]),
        observation_matrix=float64([[1.0]]),
        observation_noise=tfd.MultivariateNormalDiag(scale_diag=float64([1.0])),
        initial_state_prior=tfd.MultivariateNormalDiag(scale_diag=float64([1.0])),
        name="y",
    )


def scan():
    m = ppl.Normal(float64(0.0), 1.0, name="m")
    sums = tf.scan(
        lambda total, x: total * m.value + x, float64([1.0, 2.0, 3.0]), float64(0.0)
    )
    ppl.Normal(sums[-1], 1.0, name="y")


def branch():
    m = ppl.Normal(float64(0.0), 1.0, name="m")
    mean = tf.cond(m.value > 0.6, lambda: m.value**2, lambda: 3.0 * m.value)
    ppl.Normal(mean, 1.0, name="y")


POINTS = float64([[-0.5], [0.7]])
# Of the hidden Markov model by the forward algorithm by hand; of the scan and the
# branch by their closed forms, with y = 1.
LOOPS = {
    "hidden Markov": (hidden_markov, [0.0, 1.0, 2.0, 1.0], [-6.480324, -5.917479]),
    "scan": (scan, 1.0, None),
    "branch": (branch, 1.0, None),
    "state space": (random_walk, [[0.0], [1.0], [2.0]], None),
}


def closed_form(name, m):
    mean = {"scan": m**2 + 2 * m + 3, "branch": m**2 if m > 0.6 else 3 * m}[name]
    return -0.5 * (m**2 + (1 - mean) ** 2) - np.log(2 * np.pi)


@pytest.mark.parametrize(
    ("name", "jit_compile"),
    [
        *((name, False) for name in LOOPS),
        *((name, True) for name in LOOPS if name != "state space"),
        pytest.param("state space", True, marks=pytest.mark.slow),  # long in XLA
    ],
)
def test_two_chains_of_a_program_with_a_loop_have_the_right_density(name, jit_compile):
    program, data, expected = LOOPS[name]
    posterior = ppl.unconstrain(program, observed={"y": np.array(data)})
    evaluate = tf.function(posterior.log_prob_and_grad, jit_compile=jit_compile)
    log_probs, grads = evaluate(POINTS)
    if name in ("scan", "branch"):
        expected = [closed_form(name, m) for m in POINTS.numpy()[:, 0]]
    if expected is not None:
        np.testing.assert_allclose(log_probs, expected, rtol=1e-6)
    single = [posterior.log_prob_and_grad(POINTS[i : i + 1]) for i in range(2)]
    np.testing.assert_allclose(log_probs, tf.concat([s[0] for s in single], 0))
    np.testing.assert_allclose(grads, tf.concat([s[1] for s in single], 0))
    step = 1e-5
    ahead, behind = (posterior.log_prob(POINTS + s) for s in (step, -step))
    slope = (ahead - behind) / (2 * step)
    np.testing.assert_allclose(grads[:, 0], slope, rtol=1e-6, atol=1e-8)


def test_the_hidden_markov_models_gradient_is_the_one_by_hand():
    posterior = ppl.unconstrain(hidden_markov, observed={"y": [0.0, 1.0, 2.0, 1.0]})
    _, grads = posterior.log_prob_and_grad(POINTS)
    np.testing.assert_allclose(grads[:, 0], [0.787984, -0.205423], atol=1e-6)


@pytest.mark.parametrize("loop", ["vectorized_map", "map_fn", "function", "cond"])
def test_a_variable_in_a_loop_branch_or_function_is_refused_by_name(loop):
    def y(mean):
        return ppl.Normal(mean, 1.0, name="y") + 0.0

    def model():
        mu = ppl.Normal(0.0, 1.0, name="mu")
        if loop == "function":
            tf.function(y, autograph=False)(mu.value)
        elif loop == "cond":
            tf.cond(mu > -100.0, lambda: y(mu.value), lambda: 0.0)
        else:
            run = {"vectorized_map": tf.vectorized_map, "map_fn": tf.map_fn}[loop]
            run(lambda i: y(mu + i), tf.range(3.0))

    inside = r"Normal\(name='y'\) is made inside a loop"
    with pytest.raises(Exception, match=inside):
        ppl.unconstrain(model, observed={"y": 1.0})
    if loop in ("vectorized_map", "function"):  # eager, the others are Python
        with pytest.raises(Exception, match=inside):
            ppl.make_log_joint_fn(model)(mu=0.0, y=1.0)


DRAWN = {
    "tf.random": lambda mu: tf.cast(tf.random.normal([]), mu.dtype),
    "tfd": lambda mu: tfd.Normal(mu, float64(1.0)).sample(),
    "variable": lambda mu: mu.sample(),
    "dropout": lambda mu: tf.nn.dropout(tf.fill([4], mu.value), 0.5)[0],
    "shuffle": lambda mu: tf.random.shuffle(float64([1.0, 2.0]))[0],
    "loop": lambda mu: tf.while_loop(
        lambda i, x: i < 2,
        lambda i, x: (i + 1, x + tf.random.normal([], dtype=tf.float64)),
        (0, mu.value),
    )[1],
}


@pytest.mark.parametrize("how", DRAWN)
def test_a_density_that_each_evaluation_would_draw_is_refused(how):
    def model():
        mu = ppl.Normal(float64(0.0), 1.0, name="mu")
        ppl.Normal(mu + DRAWN[how](mu), 1.0, name="y")

    with pytest.raises(ValueError, match="^model: the log prob depends on random numb"):
        ppl.posterior(model, observed={"y": 1.0})


def test_numbers_of_a_seed_and_unused_draws_are_no_draws_of_a_density():
    def model():
        mu = ppl.Normal(float64(0.0), 1.0, name="mu")
        tf.random.normal([])
        noise = tf.random.stateless_normal([2], (0, 1), dtype=tf.float64)
        ppl.deterministic(mu.sample(), "again")
        ppl.Normal(mu + noise, 1.0, name="y")

    posterior = ppl.posterior(model, observed={"y": [1.0, 2.0]})
    noise = tf.random.stateless_normal([2], (0, 1), dtype=tf.float64).numpy()
    wanted = -0.5 * (0.25 + ((np.array([1.0, 2.0]) - 0.5 - noise) ** 2).sum())
    wanted -= 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(posterior.log_prob([[0.5], [0.5]]), [wanted, wanted])


def test_chains_of_a_py_function_are_evaluated_one_by_one():
    def model():
        mu = ppl.Normal(float64(0.0), 1.0, name="mu")
        square = tf.py_function(lambda x: x * x, [mu.value], tf.float64)
        ppl.Normal(tf.ensure_shape(square, []), 1.0, name="y")

    posterior = ppl.posterior(model, observed={"y": 2.0})
    mu = np.array([0.5, -1.0, 2.0])
    log_prob, grad = posterior.log_prob_and_grad(mu[:, None])
    wanted = -0.5 * (mu**2 + (2 - mu**2) ** 2) - np.log(2 * np.pi)
    np.testing.assert_allclose(log_prob, wanted)
    np.testing.assert_allclose(grad[:, 0], -mu + 2 * mu * (2 - mu**2))
