"""The program that samples and the one over batches are one distribution of strings."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp

import ppl_core as ppl
from experiments.programs.grammar_vae import grammar as grammars
from experiments.programs.grammar_vae import measure, network, program, training
from experiments.programs.grammar_vae.measure import Trained
from tests.experiments.programs.grammar_vae.brute_force import (
    MATCHED,
    SUMS,
    derivations,
)

BUDGET = 6


@functools.cache
def vae(grammar=SUMS, latent=2, budget=BUDGET):
    """A model whose latent matters: weights larger than initial ones."""
    sizes = network.Sizes(len(grammar.productions), latent, 5, (4, 6))
    weights = network.initial_weights(sizes, 3)
    weights = {name: 1.5 * weight for name, weight in weights.items()}
    return Trained(weights, grammar, budget)


def every(grammar=SUMS):
    return [indices for indices, _ in derivations(grammar, BUDGET)]


def one_hots(grammar, indices):
    size = len(grammar.productions)
    return {
        f"production{place}": tf.one_hot(index, size, dtype=tf.int32)
        for place, index in enumerate(indices)
    }


def test_the_log_joint_of_the_batch_is_the_sum_of_those_of_the_sampling_program():
    weights, grammar, budget = vae()
    some = every()[::3]
    strings = program.to_strings(grammar, some, budget)
    latents = tf.random.stateless_normal([len(some), 2], (1, 2))
    alone = [
        ppl.make_log_joint_fn(program.grammar_vae)(
            *vae(), latent=latent, **one_hots(grammar, indices)
        )
        for latent, indices in zip(latents, some, strict=True)
    ]
    each = program.log_joints(weights, strings, latents)
    np.testing.assert_allclose(each, alone, rtol=1e-5)
    together = ppl.make_log_joint_fn(
        program.known_productions,
        observed={
            "productions": tf.one_hot(
                strings.productions, len(grammar.productions), dtype=tf.int32
            )
        },
    )(weights, strings, latent=latents)
    np.testing.assert_allclose(together, np.sum(alone), rtol=1e-5)


@pytest.mark.parametrize("grammar", [SUMS, MATCHED])
def test_the_probabilities_of_all_strings_within_the_budget_add_up_to_one(grammar):
    """At every latent: no mass is lost to strings that would not end."""
    strings = program.to_strings(grammar, every(grammar), BUDGET)
    assert len(every(grammar)) > 5
    for latent in ([0.0, 0.0], [2.0, -1.0], [-3.0, 4.0]):
        latents = tf.repeat([latent], len(every(grammar)), axis=0)
        log_probs = program.log_joints(vae(grammar).weights, strings, latents)
        prior = -0.5 * np.sum(np.square(latent)) - np.log(2 * np.pi)
        np.testing.assert_allclose(logsumexp(log_probs), prior, atol=1e-5)


def test_samples_have_the_programs_probabilities_and_parse():
    given = every()
    with ppl.substitute(latent=[1.0, -0.5]):
        drawn = measure.samples(vae(), 60, 4)
    latents = tf.repeat([[1.0, -0.5]], len(given), axis=0)
    strings = program.to_strings(SUMS, given, BUDGET)
    log_joints = program.log_joints(vae().weights, strings, latents)
    probs = np.exp(log_joints - logsumexp(log_joints))
    counts = np.array([sum(tuple(d) == g for d in drawn) for g in given])
    assert counts.sum() == 60  # all of them are strings within the budget
    error = np.sqrt(60 * probs * (1 - probs))
    assert np.all(np.abs(counts - 60 * probs) < 4.5 * error + 1)
    assert measure.share_parsed(SUMS, drawn) == 1.0
    assert len({tuple(d) for d in drawn}) > 5


def test_samples_end_within_the_smallest_budget_that_there_is():
    least = int(grammars.fewest(SUMS)["sum"])
    for derivation in measure.samples(vae(budget=least), 5, 0):
        assert len(derivation) == least


def test_seeds_decide_the_samples():
    assert measure.samples(vae(), 5, 1) == measure.samples(vae(), 5, 1)
    assert measure.samples(vae(), 5, 1) != measure.samples(vae(), 5, 2)


def test_decoding_takes_the_likeliest_allowed_production_of_each_step():
    latent = tf.constant([0.5, 2.0])
    decoded = program.decode(*vae(), latent)
    logits = network.decode(vae().weights, latent[tf.newaxis], BUDGET)[0].numpy()
    for place, (stack, index) in enumerate(grammars.derivation(SUMS, decoded)):
        allowed = grammars.allowed(SUMS, stack, BUDGET - place)
        assert allowed.sum() >= 1
        assert index == np.argmax(np.where(allowed, logits[place], -np.inf))


def test_productions_of_another_number_are_refused_by_name():
    log_joint = ppl.make_log_joint_fn(program.grammar_vae)
    latent = tf.zeros(2)
    with pytest.raises(ValueError, match="production2"):
        log_joint(*vae(), latent=latent, **one_hots(SUMS, (1, 2, 2)))
    with pytest.raises(ValueError, match="production1"):
        log_joint(*vae(), latent=latent, **one_hots(SUMS, (1,)))
    with pytest.raises(ValueError, match="latent"):
        log_joint(*vae(), **one_hots(SUMS, (1, 2)))


def test_a_production_that_is_not_allowed_has_no_probability():
    log_joint = ppl.make_log_joint_fn(program.grammar_vae)
    found = log_joint(*vae(), latent=tf.zeros(2), **one_hots(SUMS, (2,)))
    assert found < -1e8


def test_strings_that_are_too_long_or_no_derivation_are_refused():
    with pytest.raises(ValueError, match="productions: given 4, wanted at most 3"):
        program.to_strings(SUMS, [(0, 1, 2, 2)], 3)
    with pytest.raises(ValueError, match="max_productions: given 1, wanted at least 2"):
        program.to_strings(SUMS, [(1, 2)], 1)
    with pytest.raises(ValueError, match="wanted one of 'sum'"):
        program.to_strings(SUMS, [(2,)], 3)


def log_evidence(model, given, size=100):
    """log p(string) of a model with one latent number, by quadrature."""
    points, weights = np.polynomial.hermite_e.hermegauss(size)
    strings = program.to_strings(SUMS, [given] * size, BUDGET)
    latents = tf.constant(points[:, np.newaxis], tf.float32)
    log_joints = program.log_joints(model.weights, strings, latents).numpy()
    prior = -0.5 * points**2 - 0.5 * np.log(2 * np.pi)
    kept = weights > 1e-30
    return logsumexp((log_joints - prior + np.log(weights / np.sqrt(2 * np.pi)))[kept])


def test_the_bounds_are_below_the_evidence_and_the_tighter_one_is_near_it():
    """Of an encoder wider than the prior, so that no draw has a large weight."""
    wide = tf.constant([0.2, np.log(np.expm1(1.3))], tf.float32)
    weights = vae(latent=1).weights
    code = {"code/matrix": 0 * weights["code/matrix"], "code/bias": wide}
    model = vae(latent=1)._replace(weights=weights | code)
    given = every()[:3]
    evidence = np.array([log_evidence(model, one) for one in given])
    strings = program.to_strings(SUMS, given, BUDGET)
    plain, tighter = training.evaluate(model.weights, strings, num_draws=2000, seed=1)
    assert np.all(plain < evidence) and np.all(tighter > plain)
    np.testing.assert_allclose(tighter, evidence, atol=0.05)


def test_the_loss_is_minus_the_bound(monkeypatch):
    """With the divergence in closed form; dropout is taken out."""
    model = vae()
    given = every()[:2]
    strings = program.to_strings(SUMS, given * 2000, BUDGET)
    monkeypatch.setattr(network, "DROPPED", 0.0)
    losses = program.negative_elbo(model.weights, strings, (5, 6)).numpy()
    log_weights = program.log_weights(
        model.weights, program.to_strings(SUMS, given, BUDGET), 2000, (7, 8)
    ).numpy()
    for string in range(2):
        one, other = losses[string::2], -log_weights[:, string]
        error = np.hypot(one.std(), other.std()) / 2000**0.5
        assert abs(one.mean() - other.mean()) < 4.5 * error


def trained(weights, derivations, **changed):
    strings = program.to_strings(SUMS, derivations, BUDGET)
    settings = dict(num_steps=120, batch_size=8, learning_rate=0.02, seed=1)
    return training.train(weights, strings, label="sums", **settings | changed)


@pytest.mark.slow
def test_training_raises_the_bound_and_then_what_the_latents_tell():
    model, given = vae(), every()[:4]
    strings = program.to_strings(SUMS, given, BUDGET)
    first, second = trained(model.weights, given, kl_weights=(1.0, 0.0))
    before, after, last = (
        training.evaluate(weights, strings, num_draws=50, seed=1)[0].mean()
        for weights in (model.weights, first, second)
    )
    assert after > before + 0.5 and last < after
    bits = []
    for weights in (first, second):
        one = model._replace(weights=weights)
        bits.append(measure.bits_given(one, given, measure.codes(one, given)).mean())
    assert bits[1] < bits[0] - 0.5


def test_a_loss_that_is_not_finite_ends_training_with_its_steps():
    weights = {**vae().weights, "code/bias": tf.fill([4], np.float32(np.nan))}
    with pytest.raises(FloatingPointError, match="sums: the loss is nan in steps 0 to"):
        trained(weights, every()[:4], kl_weights=(1.0,), num_steps=5)
