import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy.special import log_softmax, logsumexp

from experiments.programs import mcmc_in_vi
from tests.programs import claims_of

tfd = tfp.distributions
NUM_PIXELS, LEVELS, HIDDEN = 3, 2, 4
X = np.array([[1, 0, 1], [0, 0, 1]], np.int32)
NUTS = mcmc_in_vi.Transitions(num=3, step_size=0.7, max_depth=4)


def weights_of(num_latents):
    random = np.random.default_rng(0)
    shapes = {
        "decoder": [num_latents, HIDDEN],
        "decoder_bias": [HIDDEN],
        "logits": [HIDDEN, NUM_PIXELS, LEVELS],
        "logits_bias": [NUM_PIXELS, LEVELS],
        "encoder": [NUM_PIXELS, HIDDEN],
        "encoder_bias": [HIDDEN],
        "code": [HIDDEN, 2 * num_latents],
        "code_bias": [2 * num_latents],
    }
    return {
        name: tf.constant(random.normal(size=shape), tf.float32)
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def one_latent():
    """Weights, a grid of z, and p(x, z) / the grid's step: of the first image."""
    weights = weights_of(1)
    weights["code"] *= 0.1  # a guide that is wide, as importance weights want it
    weights["code_bias"] = tf.constant([0.0, 1.0])
    w = {name: part.numpy().astype(float) for name, part in weights.items()}
    z = np.linspace(-8, 8, 4001)
    hidden = np.maximum(z[:, np.newaxis] @ w["decoder"] + w["decoder_bias"], 0)
    logits = np.einsum("zh,hpl->zpl", hidden, w["logits"]) + w["logits_bias"]
    log_x = log_softmax(logits, -1)[:, np.arange(NUM_PIXELS), X[0]].sum(-1)
    log_joint = log_x - z**2 / 2 - np.log(2 * np.pi) / 2
    return weights, z, log_joint


def log_prob_of_grid(z, log_joint):
    return logsumexp(log_joint) + np.log(z[1] - z[0])


def test_without_transitions_the_gradient_is_that_of_the_elbo():
    """The log densities are TFP's, of all weights at once."""
    weights, x, seed = weights_of(2), tf.constant(X), tf.constant([0, 1])
    no_moves = NUTS._replace(num=0)
    found = mcmc_in_vi.gradient(weights, x, no_moves, seed)
    guide_seed = tf.random.split(seed)[0]
    with tf.GradientTape() as tape:
        tape.watch(weights)
        z, _ = mcmc_in_vi.guided(weights, x, guide_seed)
        scaled = 2.0 * tf.cast(x, tf.float32) - 1.0
        hidden = tf.nn.relu(scaled @ weights["encoder"] + weights["encoder_bias"])
        code = hidden @ weights["code"] + weights["code_bias"]
        scale = tf.nn.softplus(code[:, 2:]) + 1e-3
        hidden = tf.nn.relu(z @ weights["decoder"] + weights["decoder_bias"])
        logits = tf.einsum("bh,hpl->bpl", hidden, weights["logits"])
        pixels = tfd.Categorical(logits=logits + weights["logits_bias"]).log_prob(x)
        log_joint = tf.reduce_sum(tfd.Normal(0.0, 1.0).log_prob(z), -1)
        log_joint += tf.reduce_sum(pixels, -1)
        entropy = tf.reduce_sum(tfd.Normal(0.0, scale).entropy(), -1)
        loss = -tf.reduce_mean(log_joint + entropy)
    wanted = tape.gradient(loss, weights)
    for name in weights:
        np.testing.assert_allclose(found[name], wanted[name], rtol=2e-4, atol=2e-5)


def test_without_transitions_the_annealed_bound_is_one_term_of_the_elbo():
    weights, x, seed = weights_of(2), tf.constant(X), tf.constant([0, 1])
    z, q = mcmc_in_vi.guided(weights, x, seed)
    wanted = mcmc_in_vi.log_joint(weights, z=z, x=x) - q.log_prob()
    no_moves = NUTS._replace(num=0)
    np.testing.assert_allclose(
        mcmc_in_vi.annealed_bound(weights, x, no_moves, seed), wanted, rtol=1e-5
    )


@pytest.mark.slow
def test_annealed_weights_have_the_likelihood_as_their_mean(one_latent):
    weights, z, log_joint = one_latent

    @tf.function(jit_compile=True, autograph=False)
    def run(num, seed):
        moves = NUTS._replace(num=num)
        return mcmc_in_vi.annealed_weights(weights, tf.constant(X), moves, 4000, seed)

    errors = []
    for num in (0, 3, 10):
        found = run(tf.constant(num), tf.constant([0, 3])).numpy()
        assert found.shape == (4000, 2)
        ratios = np.exp(found[:, 0] - log_prob_of_grid(z, log_joint))
        errors.append(ratios.std(ddof=1) / np.sqrt(len(ratios)))
        assert abs(ratios.mean() - 1) < 5 * errors[-1] < 0.1
        bound = mcmc_in_vi.importance_bound(found)
        np.testing.assert_allclose(bound, np.log(np.exp(found).mean(0)), rtol=1e-4)
    assert errors[2] < errors[0] / 1.5  # what transitions are for


@pytest.mark.slow
def test_transitions_move_the_guides_sample_to_the_posterior(one_latent):
    weights, z, log_joint = one_latent
    images = tf.constant(np.repeat(X[:1], 4000, 0))
    moves = NUTS._replace(num=15)

    @tf.function(jit_compile=True, autograph=False)
    def run(seed):
        start, q = mcmc_in_vi.guided(weights, images, seed)
        return start, mcmc_in_vi.moved(weights, images, start, q, moves, seed)

    start, end = (part.numpy()[:, 0] for part in run(tf.constant([0, 4])))
    prob = np.exp(log_joint - logsumexp(log_joint))
    mean = prob @ z
    spread = np.sqrt(prob @ (z - mean) ** 2)
    error = spread / np.sqrt(len(end))
    assert abs(start.mean() - mean) > 10 * error  # the guide itself is not there
    assert abs(end.mean() - mean) < 5 * error
    assert abs(end.std() / spread - 1) < 0.1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"levels": 1}, "levels: given 1, wanted a whole number of at least 2"),
        ({"levels": 18}, "levels: given 18, wanted at most 17"),
        ({"numbers": (1, 5)}, r"numbers: given \(1, 5\), wanted 0 and more, ascending"),
        ({"num_steps": 75}, "num_steps: given 75, wanted a multiple of 50"),
        ({"step_size": -1.0}, "step_size: given -1.0, wanted a finite number above 0"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_done(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        mcmc_in_vi.run(run_dir=tmp_path, seed=0, dry_run=True, **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_tiny_config_holds_its_claims(tmp_path):
    assert len(claims_of("mcmc_in_vi_tiny", tmp_path / "run")) == 3
