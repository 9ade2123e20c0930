import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize
from scipy.special import expit

from experiments.programs import laplace, minibatch
from tests.programs import claims_of


@pytest.fixture(scope="module")
def data():
    """A small regression: features [dim, rows], labels [rows]."""
    random = np.random.default_rng(0)
    features = random.standard_normal([3, 40])
    labels = (random.uniform(size=40) < expit(features.sum(0))).astype(np.int32)
    return features, labels


def negative_log_joint(coeffs, features, labels):
    logits = coeffs @ features
    return 0.5 * coeffs @ coeffs + np.sum(np.logaddexp(0, logits) - labels * logits)


def by_hand(coeffs, features, labels, factor):
    """The gradient of the log joint, with a factor for the rows."""
    return factor * features @ (labels - expit(coeffs @ features)) - coeffs


def test_the_gradient_of_a_minibatch_is_scaled_to_all_rows(data):
    features, labels = data
    coeffs = np.array([0.3, -1.0, 2.0])
    for total, factor in ((None, 1.0), (400, 10.0)):
        found = minibatch.gradient(
            tf.constant(features), tf.constant(labels), tf.constant(coeffs), total=total
        )
        wanted = by_hand(coeffs, features, labels, factor)
        np.testing.assert_allclose(found, wanted, rtol=1e-10)


@pytest.mark.parametrize("program", [minibatch.regression, minibatch.scaled_regression])
def test_the_mean_over_all_minibatches_is_the_full_gradient(program):
    assert minibatch.worst_of_all_minibatches(program, 6, 2, seed=0) < 1e-12


def test_a_wrong_factor_is_seen():
    def biased(features, total=None):
        return minibatch.regression(features, None if total is None else total + 1)

    assert minibatch.worst_of_all_minibatches(biased, 6, 2, seed=0) > 1e-2


def test_the_mean_over_all_windows_is_the_full_gradient(data):
    features, labels = data
    coeffs, wrapped = np.array([0.3, -1.0, 2.0]), minibatch.wrap(*data, 7)
    grads = [
        minibatch.gradient(
            *minibatch.window(*wrapped, first, 7), tf.constant(coeffs), total=40
        )
        for first in range(40)
    ]
    wanted = by_hand(coeffs, features, labels, 1)
    np.testing.assert_allclose(np.mean(grads, axis=0), wanted, rtol=1e-10)


def test_the_laplace_approximation_is_at_the_mode(data):
    features, labels = data
    found = laplace.laplace(features, labels, np.zeros(3))
    mode = optimize.minimize(
        negative_log_joint, np.zeros(3), (features, labels), method="BFGS", tol=1e-8
    ).x
    np.testing.assert_allclose(found.mean, mode, atol=1e-3)
    step, curvature = 1e-4, np.zeros([3, 3])
    for i, unit in enumerate(np.eye(3) * step):
        ahead, behind = (by_hand(mode + s * unit, features, labels, 1) for s in (1, -1))
        curvature[i] = (behind - ahead) / (2 * step)
    np.testing.assert_allclose(np.linalg.inv(found.covariance), curvature, rtol=2e-2)


def test_columns_whose_rows_all_have_one_label_are_left_out():
    measured = np.random.default_rng(0).standard_normal([minibatch.MEASURED, 6])
    labels = np.array([0, 1, 0, 1, 1, 0])
    both, zeros, ones, none = (
        [1, 1, 0, 0, 0, 0],
        [1, 0, 1, 0, 0, 0],
        [0, 1, 0, 1, 0, 0],
        [0] * 6,
    )
    one_hot = np.array([both, zeros, ones, none]) * 3.0 - 0.5
    features = np.concatenate([measured, one_hot, np.ones([1, 6])])
    kept = minibatch.with_both_labels(features, labels)
    assert kept[: minibatch.MEASURED].all()
    assert kept[minibatch.MEASURED :].tolist() == [True, False, False, False, True]


def test_the_fit_is_that_of_all_rows(data):
    """With every row in each minibatch, and a likelihood that is nearly normal."""
    random = np.random.default_rng(1)
    features = random.standard_normal([3, 2000]).astype(np.float32)
    labels = (random.uniform(size=2000) < expit(features.sum(0))).astype(np.int32)
    found = minibatch.fit(
        features, labels, batch_size=200, num_steps=4000, learning_rate=0.05, seed=0
    )
    wanted = laplace.laplace(features, labels, np.zeros(3))
    off = (found.found.mean - wanted.mean) / wanted.spread
    assert np.abs(off).max() < 0.3
    np.testing.assert_allclose(found.found.spread, wanted.spread, rtol=0.15)
    assert found.epochs[-1] == pytest.approx(400)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_rows": 1001}, "num_rows: given 1001, wanted a multiple of 4"),
        ({"num_steps": 30}, "num_steps: given 30, wanted a multiple of 20"),
        (
            {"num_rows": 100, "batch_size": 200},
            "batch_size: given 200, wanted at most the 100 rows",
        ),
        ({"learning_rate": 0}, "learning_rate: given 0, wanted a finite number above"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_done(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        minibatch.run(run_dir=tmp_path, seed=0, dry_run=True, **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_tiny_config_holds_its_claims(tmp_path):
    assert len(claims_of("minibatch_tiny", tmp_path / "run")) >= 5
