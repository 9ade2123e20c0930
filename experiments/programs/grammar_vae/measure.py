"""What a trained grammar VAE does: samples, reconstructions, interpolations."""

import difflib
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.programs.grammar_vae import network, program
from experiments.programs.grammar_vae.grammar import Grammar, to_string
from experiments.programs.grammar_vae.network import Weights
from experiments.programs.grammar_vae.parser import parse

Derivations = Sequence[Sequence[int]]  # strings by their productions
BETWEEN = 7  # latents of an interpolation, both ends counted


class Trained(NamedTuple):
    """A grammar VAE: the arguments of its program."""

    weights: Weights
    grammar: Grammar
    max_productions: int


def samples(vae: Trained, num: int, seed: int) -> list[list[int]]:
    """Strings drawn from the program."""
    drawn = []
    for number in range(num):
        with ppl.seeded((seed, number)):
            drawn.append(program.grammar_vae(*vae))
    return drawn


def reconstructions(vae: Trained, derivations: Derivations) -> list[list[int]]:
    """What the mean latent of each string decodes to."""
    return [program.decode(*vae, latent) for latent in codes(vae, derivations)]


def interpolation(vae: Trained, ends: Derivations) -> list[list[int]]:
    """What decodes from latents on the line between those of two strings."""
    first, last = codes(vae, ends)
    parts = np.linspace(0.0, 1.0, BETWEEN, dtype=np.float32)
    return [program.decode(*vae, first + part * (last - first)) for part in parts]


def bits_given(
    vae: Trained, derivations: Derivations, latents: tf.Tensor
) -> np.ndarray:
    """-log2 p(string | latent) of each string: [strings].

    latents: [strings, latent].
    """
    strings = program.to_strings(vae.grammar, derivations, vae.max_productions)
    prior = -0.5 * tf.reduce_sum(latents**2 + math.log(2 * math.pi), -1)
    return -(
        program.log_joints(vae.weights, strings, latents) - prior
    ).numpy() / math.log(2)


def codes(vae: Trained, derivations: Derivations) -> tf.Tensor:
    """The mean latent of each string: [strings, latent]."""
    strings = program.to_strings(vae.grammar, derivations, vae.max_productions)
    one_hot = tf.one_hot(strings.productions, len(vae.grammar.productions))
    return network.encode(vae.weights, one_hot)[0]


def share_parsed(grammar: Grammar, derivations: Derivations) -> float:
    """The share of derivations that are their strings' parses."""
    same = [
        parse(grammar, to_string(grammar, derivation)) == tuple(derivation)
        for derivation in derivations
    ]
    return float(np.mean(same))


def density_gap(vae: Trained, derivations: Derivations, seed: int) -> float:
    """The greatest relative difference of a string's log joint in the two programs."""
    strings = program.to_strings(vae.grammar, derivations, vae.max_productions)
    size = network.sizes_of(vae.weights)
    latents = tf.random.stateless_normal([len(derivations), size.latent], (seed, 4))
    together = program.log_joints(vae.weights, strings, latents).numpy()
    log_joint = ppl.make_log_joint_fn(program.grammar_vae)
    alone = []
    for latent, derivation in zip(latents, derivations, strict=True):
        productions = {
            f"production{place}": tf.one_hot(index, size.productions, dtype=tf.int32)
            for place, index in enumerate(derivation)
        }
        alone.append(float(log_joint(*vae, latent=latent, **productions)))
    return float(np.max(np.abs(together / alone - 1)))


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> tuple[float, float]:
    """The ratio of two means over the same strings, and its standard error.

    Cochran (1977), Sampling Techniques, section 6.4.
    """
    value = numerator.sum() / denominator.sum()
    rest = numerator - value * denominator
    error = rest.std(ddof=1) / denominator.mean() / len(rest) ** 0.5
    return float(value), float(error)


def num_right(decoded: Derivations, wanted: Derivations) -> np.ndarray:
    """How many productions of each string are decoded at their places: [strings]."""
    pairs = zip(decoded, wanted, strict=True)
    return np.array(
        [sum(a == b for a, b in zip(*pair, strict=False)) for pair in pairs]
    )


def likeness(one: Sequence[int], other: Sequence[int]) -> float:
    """From 0 to 1: the share of two strings' productions that match in order."""
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()


def smoothness(path: Derivations) -> float:
    """How much likelier neighbours on a path are to each other than its two ends."""
    steps = [likeness(*pair) for pair in zip(path, path[1:], strict=False)]
    return float(np.mean(steps)) - likeness(path[0], path[-1])
