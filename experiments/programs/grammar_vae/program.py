"""The grammar VAE: strings of a grammar from a latent variable.

Tran et al. (2018), appendix B; Kusner, Paige and Hernández-Lobato (2017).

`grammar_vae` is the paper's program.  It samples one production after another, and a
stack says what is still to be replaced, so how often its loop turns depends on what it
draws.  `known_productions` is the same density over a batch of strings whose
productions are known.  No step of the recurrent network reads a production, and the
stacks, and so the masks, follow from the strings alone.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import ppl_core as ppl
from experiments.programs.grammar_vae import network
from experiments.programs.grammar_vae.grammar import (
    Grammar,
    allowed,
    check_budget,
    children,
    derivation,
)
from experiments.programs.grammar_vae.network import Weights

tfd = tfp.distributions

OFF = -1e9  # added to the logits of productions that are not allowed


class Strings(NamedTuple):
    """A batch of strings, by their productions."""

    productions: tf.Tensor  # int32 [strings, places]; -1 after a string's end
    allowed: tf.Tensor  # bool [strings, places, productions]; after the end, all


def grammar_vae(weights: Weights, grammar: Grammar, max_productions: int) -> list[int]:
    """p(latent) p(productions | latent), of one string: its productions by index.

    A production is allowed if the string can still end within `max_productions`.
    """
    latent = ppl.MultivariateNormalDiag(*_standard_normal(weights), name="latent")
    state = network.first_state(weights, latent)
    stack = [grammar.start]
    productions: list[int] = []
    while stack:
        logits, state = network.step(weights, latent.value, state)
        budget = max_productions - len(productions)
        one_hot = ppl.OneHotCategorical(
            _masked(logits, allowed(grammar, stack, budget)),
            name=f"production{len(productions)}",
        )
        index = int(tf.argmax(one_hot))
        productions.append(index)
        stack[-1:] = reversed(children(grammar.productions[index]))
    return productions


def known_productions(weights: Weights, strings: Strings) -> None:
    """The density of `grammar_vae` over a batch of strings."""
    num_strings, num_places = strings.productions.shape
    latent = ppl.MultivariateNormalDiag(
        *_standard_normal(weights), sample_shape=num_strings, name="latent"
    )
    logits = network.decode(weights, latent.value, num_places)
    with ppl.mask(strings.productions >= 0, "productions"):
        ppl.OneHotCategorical(_masked(logits, strings.allowed), name="productions")


def encoder(weights: Weights, strings: Strings, seed: Any = None) -> ppl.RandomVariable:
    """q(latent | string), independent normal distributions: [strings, latent].

    seed: of the dropout; None: there is none.
    """
    one_hot = tf.one_hot(strings.productions, network.sizes_of(weights).productions)
    return ppl.MultivariateNormalDiag(
        *network.encode(weights, one_hot, seed), name="code"
    )


def negative_elbo(
    weights: Weights, strings: Strings, seed: Any, kl_weight: Any = 1.0
) -> tf.Tensor:
    """The negative evidence lower bound, in nats: [strings].

    The divergence from the prior is exact; the rest is of one draw of the latent.

    kl_weight: of the divergence; below 1, latents tell more of the string than pays
      for the bound: Higgins et al. (2017), beta-VAE, equation 4.
    """
    dropout_seed, draw_seed = tf.unstack(tfp.random.split_seed(seed, 2))
    with ppl.tape() as guide, ppl.seeded(draw_seed):
        encoder(weights, strings, dropout_seed)
    model = _at(weights, strings, guide["code"].value)
    divergence = tfd.kl_divergence(
        guide["code"].distribution, model["latent"].distribution
    )
    log_prob = tf.reduce_sum(model["productions"].log_prob(), -1)
    return kl_weight * divergence - log_prob


def log_weights(
    weights: Weights, strings: Strings, num_draws: int, seed: tf.Tensor
) -> tf.Tensor:
    """log p(string, latent) - log q(latent | string): [draws, strings].

    Their mean over draws estimates the evidence lower bound, and the log of the mean
    of their exponentials a tighter one: Burda et al. (2016), Importance Weighted
    Autoencoders, equation 8.
    """
    repeated = Strings(
        *(tf.repeat(part[tf.newaxis], num_draws, axis=0) for part in strings)
    )
    flat = Strings(*(tf.reshape(part, [-1, *part.shape[2:]]) for part in repeated))
    with ppl.seeded(seed):
        code = encoder(weights, flat)
    terms = log_joints(weights, flat, code.value) - code.log_prob()
    return tf.reshape(terms, [num_draws, -1])


def log_joints(weights: Weights, strings: Strings, latents: tf.Tensor) -> tf.Tensor:
    """log p(string, latent): [strings].  latents: [strings, latent]."""
    model = _at(weights, strings, latents)
    productions = tf.reduce_sum(model["productions"].log_prob(), -1)
    return model["latent"].log_prob() + productions


def to_strings(
    grammar: Grammar, derivations: Sequence[Sequence[int]], max_productions: int
) -> Strings:
    """Derivations as a batch, with the masks that sampling them has.

    Raises ValueError for productions that are no derivation, and for a derivation
    that is longer.
    """
    check_budget(grammar, max_productions)
    shape = (len(derivations), max_productions)
    productions = np.full(shape, -1, np.int32)
    masks = np.ones((*shape, len(grammar.productions)), bool)
    for row, given in enumerate(derivations):
        if len(given) > max_productions:
            raise ValueError(
                f"productions: given {len(given)}, wanted at most {max_productions}"
            )
        for place, (stack, index) in enumerate(derivation(grammar, given)):
            productions[row, place] = index
            masks[row, place] = allowed(grammar, stack, max_productions - place)
    return Strings(tf.constant(productions), tf.constant(masks))


def likeliest(construct: Callable, *args: Any, **kwargs: Any) -> Any:
    """A tracer: each production is the likeliest one, instead of a draw."""
    if kwargs["name"].startswith("production"):
        kwargs["value"] = lambda variable: variable.distribution.mode()
        kwargs["observed"] = False
    return ppl.forward(construct, *args, **kwargs)


def decode(
    weights: Weights, grammar: Grammar, max_productions: int, latent: tf.Tensor
) -> list[int]:
    """The productions of the string that `latent` [latent] stands for."""
    with ppl.substitute(latent=latent), ppl.trace(likeliest):
        return grammar_vae(weights, grammar, max_productions)


def _at(
    weights: Weights, strings: Strings, latent: tf.Tensor
) -> dict[str, ppl.RandomVariable]:
    """The variables of `known_productions`, by name, at these strings and latents."""
    size = network.sizes_of(weights).productions
    one_hot = tf.one_hot(strings.productions, size, dtype=tf.int32)
    with (
        ppl.tape() as model,
        ppl.condition(productions=one_hot),
        ppl.substitute(latent=latent),
    ):
        known_productions(weights, strings)
    return model


def _standard_normal(weights: Weights) -> tuple[tf.Tensor, tf.Tensor]:
    size = network.sizes_of(weights).latent
    return tf.zeros(size), tf.ones(size)


def _masked(logits: tf.Tensor, allowed: Any) -> tf.Tensor:
    return logits + tf.where(allowed, 0.0, OFF)
