"""Gradients of random rows have those of all rows as their mean."""

import numpy as np
import pytest
import tensorflow as tf

import ppl_core as ppl
from experiments import inference
from experiments.inference.minibatch import batches

ROWS, COLUMNS, BATCH = 23, 3, 5
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(ROWS, COLUMNS))
Y = RANDOM.integers(0, 2, size=ROWS)


def program(x, total=ROWS):
    beta = ppl.Normal(0.0, 1.0, sample_shape=COLUMNS, name="beta")
    with ppl.plate("row", x.shape[0], total=total):
        ppl.Bernoulli(logits=tf.linalg.matvec(x, beta.value), name="y")


@pytest.fixture(scope="module")
def posterior():
    return ppl.posterior(program, X, observed={"y": Y})


def test_batches_have_the_log_prob_and_gradient_of_all_rows_as_mean(posterior):
    made = batches(posterior, ["x", "y"], BATCH)
    point = tf.constant([[0.3, -1.0, 0.5]], tf.float64)
    num = 4000

    @tf.function(jit_compile=True)
    def many():
        return tf.map_fn(
            lambda rows: made.posterior_of(rows).log_prob_and_grad(point),
            made.draw(tf.constant([0, 1]), num),
            fn_output_signature=(tf.float64, tf.float64),
        )

    found = many()
    for part, exact in zip(found, posterior.log_prob_and_grad(point), strict=True):
        part = part.numpy()
        assert part.std() > 0.0
        error = part.std(axis=0) / num**0.5
        assert (abs(part.mean(axis=0) - exact.numpy()) < 4 * error).all()


@pytest.mark.slow
def test_a_fit_on_batches_finds_what_a_fit_on_all_rows_finds(posterior):
    options = {"num_steps": 4000, "learning_rate": 0.02}
    some = inference.fit_vi(posterior, rows=["x", "y"], batch_size=BATCH, **options)
    whole = inference.fit_vi(posterior, num_samples=4, **options)
    np.testing.assert_allclose(some.params["loc"], whole.params["loc"], atol=0.1)
    assert abs(some.elbo - whole.elbo) < 0.1
    # Steps on batches are as high in the mean, and noisier.
    last = slice(-100, None)
    assert abs(some.history[last].mean() - whole.elbo) < 1.0
    assert some.history[last].std() > 2 * whole.history[last].std()
    assert some.draws(7)["observed_data/y"].shape == (ROWS,)


def test_rows_without_a_total_are_refused(posterior):
    wrong = ppl.posterior(program, X, observed={"y": Y}, total=None)
    with pytest.raises(ValueError, match=r"put what has an entry .* total=23\)"):
        batches(wrong, ["x", "y"], BATCH)


def test_latent_variables_of_the_rows_are_refused():
    def local(x):
        with ppl.plate("row", x.shape[0], total=ROWS):
            z = ppl.Normal(0.0, 1.0, name="z")
            ppl.Normal(z + x, 1.0, name="y")

    posterior = ppl.posterior(local, X[:, 0], observed={"y": X[:, 1]})
    with pytest.raises(ValueError, match=r"latent variables \['z'\] that change"):
        batches(posterior, ["x", "y"], BATCH)


@pytest.mark.parametrize(
    ("rows", "size", "words"),
    [
        (["x", "z"], BATCH, r"rows: given \['x', 'z'\], wanted a list of names among"),
        ([], BATCH, r"rows: given \[\], wanted a list of names"),
        ("x", BATCH, "rows: given 'x', wanted a list of names"),
        (["x", "y"], 0, "batch_size: given 0, wanted a whole number from 1 to 23"),
        (["x", "y"], ROWS + 1, "batch_size: given 24"),
        (["total"], BATCH, "rows: given 'total', a int, wanted an array"),
    ],
)
def test_wrong_rows_are_refused(rows, size, words):
    posterior = ppl.posterior(program, X, ROWS, observed={"y": Y})
    with pytest.raises(ValueError, match=words):
        batches(posterior, rows, size)


def test_arrays_of_other_lengths_and_designs_are_refused(posterior):
    def other(x, w):
        ppl.Normal(tf.reduce_sum(w), 1.0, name="mu")
        program(x)

    posterior = ppl.posterior(other, X, np.ones(4), observed={"y": Y})
    with pytest.raises(ValueError, match="wanted one number of rows"):
        batches(posterior, ["x", "w", "y"], BATCH)

    def of_design(x):
        beta = ppl.Normal(0.0, 1.0, sample_shape=COLUMNS, name="beta")
        ppl.Bernoulli(logits=x @ beta, name="y")

    posterior = ppl.posterior(of_design, ppl.DesignMatrix(X), observed={"y": Y})
    with pytest.raises(ValueError, match="rows: given 'x', a DesignMatrix"):
        batches(posterior, ["x", "y"], BATCH)


def test_a_posterior_of_no_program_is_refused(posterior):
    with pytest.raises(ValueError, match="posterior: given one of no program"):
        batches(posterior._replace(source=None), ["x"], BATCH)
