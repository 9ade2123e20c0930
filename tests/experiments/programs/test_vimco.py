import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy.special import expit, logsumexp

import ppl_core as ppl
from experiments.programs import vimco
from experiments.programs.vimco import program
from tests.programs import claims_of

NUM_LATENTS, NUM_PIXELS = 3, 4
X = np.array([[1.0, 0, 1, 1], [0, 0, 1, 0]])


@pytest.fixture(scope="module")
def weights():
    random = np.random.default_rng(0)
    shapes = {
        "prior": [NUM_LATENTS],
        "down": [NUM_LATENTS, NUM_PIXELS],
        "visible": [NUM_PIXELS],
        "up": [NUM_PIXELS, NUM_LATENTS],
        "hidden": [NUM_LATENTS],
    }
    return {name: tf.constant(random.normal(size=shapes[name])) for name in shapes}


def bernoulli(x, logits):
    return np.sum(np.where(x > 0, np.log(expit(logits)), np.log(expit(-logits))), -1)


def by_hand(weights, x):
    """log p(x, h) and log q(h | x) of every h, in NumPy: both [values, images]."""
    w = {name: part.numpy() for name, part in weights.items()}
    log_p, log_q = [], []
    for h in itertools.product([0.0, 1.0], repeat=NUM_LATENTS):
        h = np.array(h)
        below = bernoulli(x, h @ w["down"] + w["visible"])
        log_p.append(bernoulli(h, w["prior"]) + below)
        log_q.append(bernoulli(h, x @ w["up"] + w["hidden"]))
    return np.array(log_p), np.array(log_q)


def test_the_exact_likelihood_is_the_sum_over_all_latents(weights):
    log_p, log_q = by_hand(weights, X)
    np.testing.assert_allclose(
        program.exact_log_prob(weights, tf.constant(X)), logsumexp(log_p, 0)
    )
    samples = program.enumerate_samples(weights, tf.constant(X))
    np.testing.assert_allclose(samples.log_q, log_q)
    np.testing.assert_allclose(samples.log_weight, log_p - log_q)


def test_the_exact_bound_is_the_mean_over_all_pairs_of_samples(weights):
    log_p, log_q = by_hand(weights, X)
    w, q = np.exp(log_p - log_q), np.exp(log_q)
    elbo = np.sum(q * (log_p - log_q), 0)
    pairs = np.einsum(
        "ib,jb,ijb->b", q, q, np.log((w[:, np.newaxis] + w[np.newaxis]) / 2)
    )
    x = tf.constant(X)
    np.testing.assert_allclose(program.exact_bound(weights, x, 1), elbo)
    np.testing.assert_allclose(program.exact_bound(weights, x, 2), pairs)
    exact = program.exact_log_prob(weights, x)
    assert np.all(elbo < pairs) and np.all(pairs < exact)


@pytest.mark.parametrize("estimator", [program.vimco, program.score_function])
@pytest.mark.parametrize("num_samples", [2, 3])
def test_the_gradient_is_unbiased_over_all_samples(weights, estimator, num_samples):
    """The probabilities of all tuples of samples weight their gradients exactly."""
    values = program.all_values(NUM_LATENTS, tf.float64).numpy()
    tuples = np.array(list(itertools.product(values, repeat=num_samples)))
    h = tf.constant(np.moveaxis(tuples, 1, 0))  # [samples, tuples, latents]
    x = tf.constant(np.repeat(X[:1], len(tuples), axis=0))

    def mean(weights):
        with ppl.substitute(q_h=h):
            samples = program.draw(weights, x, num_samples)
        probs = tf.stop_gradient(tf.exp(tf.reduce_sum(samples.log_q, 0)))
        return len(tuples) * probs * estimator(samples)

    found = program.gradient(weights, mean)
    exact = program.gradient(
        weights, lambda w: program.exact_bound(w, x[:1], num_samples)
    )
    for name in weights:
        np.testing.assert_allclose(found[name], exact[name], atol=1e-12)


def test_bound_and_gradient_are_those_of_tfp(weights):
    num_samples = 5
    h = tf.constant(np.random.default_rng(1).integers(0, 2, [num_samples, 2, 3]) * 1.0)
    x = tf.constant(X)

    def ours(weights):
        with ppl.substitute(q_h=h):
            samples = program.draw(weights, x, num_samples)
        return program.vimco(samples)

    def tfps(weights):
        class Guide:
            """With these samples in place of random ones, and of one batch of draws."""

            def sample(self, sample_shape, seed):
                return h[:, tf.newaxis]

            def log_prob(self, h):
                logits = x @ weights["up"] + weights["hidden"]
                each = tfp.distributions.Bernoulli(logits=logits).log_prob(h)
                return tf.reduce_sum(each, -1)

        def log_joint(h):
            prior = tfp.distributions.Bernoulli(logits=weights["prior"]).log_prob(h)
            logits = h @ weights["down"] + weights["visible"]
            below = tfp.distributions.Bernoulli(logits=logits).log_prob(x)
            return tf.reduce_sum(prior, -1) + tf.reduce_sum(below, -1)

        return tfp.vi.csiszar_vimco(
            lambda logu: logu, log_joint, Guide(), num_draws=num_samples
        )

    found, wanted = program.gradient(weights, ours), program.gradient(weights, tfps)
    for name in weights:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-10)
    with ppl.substitute(q_h=h):
        samples = program.draw(weights, x, num_samples)
    np.testing.assert_allclose(program.bound_of(samples.log_weight), tfps(weights))


def test_one_sample_has_no_baseline(weights):
    samples = program.draw(weights, tf.constant(X), 1, (0, 1))
    with pytest.raises(ValueError, match="num_samples: given 1, wanted 2 or more"):
        program.vimco(samples)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_latents": 20}, "num_latents: given 20, wanted at most 12"),
        ({"num_samples": 1}, "num_samples: given 1, wanted a whole number of at least"),
        ({"learning_rate": 0.0}, "learning_rate: given 0.0, wanted a finite number"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_done(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        vimco.run(run_dir=tmp_path, seed=0, dry_run=True, **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_tiny_config_holds_its_claims(tmp_path):
    assert len(claims_of("vimco_tiny", tmp_path / "run")) >= 5
