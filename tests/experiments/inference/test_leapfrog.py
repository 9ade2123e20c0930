"""Hamiltonian dynamics: closed forms, reversibility, volume, order, cost."""

import numpy as np
import pytest
import tensorflow as tf

from experiments.inference.leapfrog import (
    PhasePoint,
    energy,
    leapfrog,
    value_and_gradient,
)
from tests import recursive_nuts
from tests.helpers import TARGETS

# Here points are [chains, dim], and momenta the usual ones, of a diagonal metric.


def to_white(z, inverse_mass):
    """The point as the code has it: [dim, chains], the momentum white."""
    momentum = z.momentum * np.sqrt(inverse_mass)
    position, momentum, grad = map(tf.transpose, (z.position, momentum, z.grad))
    return PhasePoint(position, momentum, z.log_prob, grad)


def from_white(z, inverse_mass):
    position, momentum, grad = map(tf.transpose, (z.position, z.momentum, z.grad))
    return PhasePoint(position, momentum / np.sqrt(inverse_mass), z.log_prob, grad)


def hamiltonian(z, inverse_mass):
    return energy(to_white(z, inverse_mass).momentum, z.log_prob)


def begin(target, *, chains=5, seed=0):
    rng = np.random.default_rng(seed)
    position = tf.constant(target.start(rng, chains))
    momentum = tf.constant(rng.standard_normal(position.shape))
    density = value_and_gradient(target.log_prob)
    return density, PhasePoint(position, momentum, *density(position))


def steps(z, density, step_size, inverse_mass, num):
    step_size = tf.constant(step_size, z.position.dtype)
    inverse_mass = np.broadcast_to(inverse_mass, z.position.shape[1:])
    z = to_white(z, inverse_mass)
    scale = tf.broadcast_to(np.sqrt(inverse_mass)[:, np.newaxis], z.position.shape)

    @tf.function(autograph=False)
    def run(z):
        return tf.while_loop(
            lambda i, z: i < num,
            lambda i, z: (i + 1, leapfrog(z, density, step_size, scale)),
            (0, z),
        )[1]

    return from_white(run(z), inverse_mass)


@pytest.mark.parametrize("name", TARGETS)
def test_value_and_gradient_are_the_handwritten_ones(name):
    target = TARGETS[name]
    density, z = begin(target)
    for i, position in enumerate(z.position.numpy()):
        log_prob, grad = target.log_prob_and_grad(position)
        np.testing.assert_allclose(z.log_prob[i], log_prob, rtol=1e-12)
        np.testing.assert_allclose(z.grad[i], grad, rtol=1e-10)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("step_size", [0.05, -0.05])
def test_steps_are_those_written_in_numpy(name, step_size):
    target = TARGETS[name]
    inverse_mass = np.linspace(0.5, 2.0, target.dim)
    density, start = begin(target)
    end = steps(start, density, step_size, inverse_mass, 10)
    for i in range(5):
        z = recursive_nuts.Point(*(part[i].numpy() for part in start))
        for _ in range(10):
            z = recursive_nuts.leapfrog(
                z, target.log_prob_and_grad, step_size, inverse_mass
            )
        for found, wanted in zip(end, z, strict=True):
            np.testing.assert_allclose(found[i], wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("step_size", [0.1, 0.9, 1.7])
def test_the_orbit_of_a_normal_is_its_closed_form(step_size):
    """One step is a fixed linear map, and 200 of them its 200th power."""
    density, start = begin(TARGETS["normal"])
    found = steps(start, density, step_size, [1.0], 200)
    turn = 1 - step_size**2 / 2
    step = [[turn, step_size], [-step_size * (1 - step_size**2 / 4), turn]]
    wanted = np.linalg.matrix_power(step, 200) @ [
        start.position.numpy()[:, 0],
        start.momentum.numpy()[:, 0],
    ]
    np.testing.assert_allclose(found.position.numpy()[:, 0], wanted[0], atol=1e-11)
    np.testing.assert_allclose(found.momentum.numpy()[:, 0], wanted[1], atol=1e-11)


def test_a_normal_keeps_its_shadow_energy_exactly():
    """Leapfrog conserves p^2 + (1 - step^2 / 4) x^2, and not p^2 + x^2."""
    step_size = 1.2
    density, z = begin(TARGETS["normal"])

    def shadow(z):
        return (z.momentum**2 + (1 - step_size**2 / 4) * z.position**2).numpy()

    before, energy_before = shadow(z), hamiltonian(z, np.ones(1)).numpy()
    z = steps(z, density, step_size, [1.0], 101)
    np.testing.assert_allclose(shadow(z), before, rtol=1e-11)
    change = hamiltonian(z, np.ones(1)).numpy() - energy_before
    assert np.max(np.abs(change)) > 0.01


@pytest.mark.parametrize("name", ["correlated normal", "banana", "beta logits"])
def test_steps_run_back_by_a_negative_step_and_by_a_flipped_momentum(name):
    target = TARGETS[name]
    inverse_mass = np.linspace(0.5, 2.0, target.dim)
    density, start = begin(target)
    end = steps(start, density, 0.1, inverse_mass, 50)
    assert np.min(np.abs(end.position - start.position)) > 1e-3
    back = steps(end, density, -0.1, inverse_mass, 50)
    flipped = steps(
        end._replace(momentum=-end.momentum), density, 0.1, inverse_mass, 50
    )
    for part in (back, flipped._replace(momentum=-flipped.momentum)):
        for found, wanted in zip(part, start, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["banana", "funnel", "beta logits"])
def test_steps_preserve_volume(name):
    target = TARGETS[name]
    rng = np.random.default_rng(1)
    at = np.concatenate([target.start(rng, 1)[0], rng.standard_normal(target.dim)])
    # Central differences, every coordinate of phase space a pair of chains.
    nudge = 1e-5 * np.eye(2 * target.dim)
    position, momentum = np.split(np.concatenate([at + nudge, at - nudge]), 2, axis=1)
    density = value_and_gradient(target.log_prob)
    position = tf.constant(position)
    start = PhasePoint(position, tf.constant(momentum), *density(position))
    end = steps(start, density, 0.2, np.linspace(0.5, 2.0, target.dim), 5)
    above, below = np.split(np.concatenate([end.position, end.momentum], axis=1), 2)
    jacobian = (above - below) / 2e-5
    assert np.max(np.abs(jacobian - np.eye(2 * target.dim))) > 0.1
    np.testing.assert_allclose(np.linalg.det(jacobian), 1.0, atol=1e-6)


@pytest.mark.parametrize("name", ["normal", "banana", "beta logits"])
def test_the_energy_error_is_second_order(name):
    target = TARGETS[name]
    inverse_mass = np.ones(target.dim)
    density, start = begin(target, chains=20)
    before = hamiltonian(start, inverse_mass)

    def worst(step_size, num):
        end = steps(start, density, step_size, inverse_mass, num)
        return np.max(np.abs(hamiltonian(end, inverse_mass) - before))

    coarse, fine = worst(0.02, 50), worst(0.01, 100)  # the same time
    assert 1e-6 < coarse < 1e-2
    assert coarse / fine == pytest.approx(4.0, rel=0.02)


def test_a_diagonal_metric_is_a_change_of_units():
    """With inverse mass s^2, x moves as s times a walk in units of s with none."""
    scale = np.array([0.3, 2.0])
    target = TARGETS["banana"]
    density, start = begin(target)
    end = steps(start, density, 0.1, scale**2, 20)
    unit_density = value_and_gradient(lambda x: target.log_prob(x * scale))
    position = start.position / scale
    unit = PhasePoint(position, start.momentum * scale, *unit_density(position))
    unit = steps(unit, unit_density, 0.1, np.ones(2), 20)
    np.testing.assert_allclose(end.position, unit.position * scale, rtol=1e-10)
    np.testing.assert_allclose(end.momentum, unit.momentum / scale, rtol=1e-10)
    np.testing.assert_allclose(
        hamiltonian(end, scale**2),
        hamiltonian(unit, np.ones(2)),
        rtol=1e-10,
    )


def test_a_step_takes_one_gradient():
    density, z = begin(TARGETS["banana"])
    calls = []

    def counted(position):
        calls.append(position)
        return density(position)

    z = to_white(z, np.ones(2))
    leapfrog(z, counted, tf.constant(0.1, tf.float64), tf.ones_like(z.position))
    assert len(calls) == 1


def test_value_and_gradient_evaluate_the_density_once():
    calls = []

    def log_prob(x):
        calls.append(x)
        return -0.5 * tf.reduce_sum(x * x, -1)

    value_and_gradient(log_prob)(tf.zeros([3, 2]))
    assert len(calls) == 1


def test_the_energy_keeps_the_log_probs_dtype():
    """Float32 positions with a float64 log prob: no digit of a large sum is lost."""
    large = 1e9 + 0.125
    z = PhasePoint(
        position=tf.zeros([2, 1]),
        momentum=tf.constant([[3.0], [2.0]]),
        log_prob=tf.constant([-large], tf.float64),
        grad=tf.zeros([2, 1]),
    )
    found = energy(z.momentum, z.log_prob)
    assert found.dtype == tf.float64
    assert found.numpy() == large + 0.5 * (9 + 4)
    z = leapfrog(
        z,
        lambda x: (tf.constant([-large], tf.float64), tf.zeros_like(x)),
        tf.constant(0.5),
        tf.constant([[1.0], [0.5]]),
    )
    assert [part.dtype for part in z] == [
        tf.float32,
        tf.float32,
        tf.float64,
        tf.float32,
    ]
    np.testing.assert_array_equal(z.position, [[1.5], [0.5]])
