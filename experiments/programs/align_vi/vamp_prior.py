"""A VampPrior: the model's prior has the guide's own network and parameters.

Tomczak and Welling (2018), VAE with a VampPrior: the prior is a mixture of the guide's
distributions at inputs that are parameters too.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy import special, stats
from tensorflow_probability import distributions as tfd

import ppl_core as ppl
from experiments.programs import preconditioned

NOISE = 0.3  # of the data around z
CENTRES = 2.0 * np.array([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]])
SPREAD = 0.2  # of z around its centre
HIDDEN, NUM_PSEUDO_INPUTS = 16, 9
ALIGNMENT = {"z": "q_z"}

Weights = dict[str, tf.Tensor]


class Compared(NamedTuple):
    """Two priors, and the density that the data come from, on the same rows."""

    vamp: np.ndarray  # [rows] bounds on the log density, in nats
    standard: np.ndarray  # [rows]
    true: np.ndarray  # [rows] log density
    rows: np.ndarray  # [rows, 2]
    components: tuple[np.ndarray, np.ndarray]  # means and scales of the VampPrior


def encode(weights: Weights, x: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """The mean and scale of z: both [rows, 2]."""
    hidden = tf.tanh(x @ weights["inner"] + weights["inner_bias"])
    loc, scale = tf.split(hidden @ weights["outer"] + weights["outer_bias"], 2, -1)
    return x + loc, tf.nn.softplus(scale)


def guide(weights: Weights, x: Any) -> None:
    """q(z | x)."""
    ppl.MultivariateNormalDiag(*encode(weights, x), name="q_z")


def vamp_prior(weights: Weights, num_rows: int) -> None:
    """p(z) p(x | z), where p(z) is a mixture of the guide at the pseudo inputs."""
    components = tfd.MultivariateNormalDiag(*encode(weights, weights["pseudo_inputs"]))
    alike = tfd.Categorical(logits=tf.zeros(NUM_PSEUDO_INPUTS))
    z = ppl.MixtureSameFamily(alike, components, sample_shape=num_rows, name="z")
    ppl.MultivariateNormalDiag(z, [NOISE, NOISE], name="x")


def standard_prior(weights: Weights, num_rows: int) -> None:
    """The same with a standard normal prior."""
    del weights  # only the guide has them
    z = ppl.MultivariateNormalDiag([0.0, 0.0], sample_shape=num_rows, name="z")
    ppl.MultivariateNormalDiag(z, [NOISE, NOISE], name="x")


def compare(
    rng: np.random.Generator, *, num_rows: int, num_steps: int, seed: int
) -> Compared:
    """Trains both on some rows, and bounds the log density of as many others."""
    train, held_out = draw_rows(rng, num_rows), draw_rows(rng, num_rows)
    initial = first_weights(rng, train)
    bounds, found = [], {}
    for model in (vamp_prior, standard_prior):

        def terms(weights: Weights, seed: tf.Tensor, model: Any = model) -> Any:
            return preconditioned.elbo_terms(
                lambda: model(weights, num_rows),
                lambda: guide(weights, train),
                ALIGNMENT,
                {"x": train},
                seed,
            )

        trained = preconditioned.fit(
            terms, initial, seed=(seed, 0), num_steps=num_steps
        )
        found[model] = trained.parameters
        bounds.append(row_bounds(model, trained.parameters, held_out, (seed, 1)))
    weights = found[vamp_prior]
    loc, scale = encode(weights, weights["pseudo_inputs"])
    return Compared(
        *bounds,
        true=log_density(held_out),
        rows=held_out,
        components=(loc.numpy(), scale.numpy()),
    )


def row_bounds(
    model: Callable[[Weights, int], Any], weights: Weights, x: np.ndarray, seed: Any
) -> np.ndarray:
    """The bound of each row at one draw: [rows]."""
    with ppl.tape() as guided, ppl.seeded(seed):
        guide(weights, x)
    values = ppl.align(ALIGNMENT, guided)
    with ppl.tape() as variables, ppl.condition(x=x, **values):
        model(weights, len(x))
    energy = variables["z"].log_prob() + variables["x"].log_prob()
    return (energy + guided["q_z"].entropy()).numpy()


def first_weights(rng: np.random.Generator, x: np.ndarray) -> Weights:
    """The weights before training; the pseudo inputs are rows of the data."""
    shapes = {"inner": (2, HIDDEN), "outer": (HIDDEN, 4)}
    weights = {
        name: rng.standard_normal(shape) / np.sqrt(shape[0])
        for name, shape in shapes.items()
    }
    weights["inner_bias"], weights["outer_bias"] = np.zeros(HIDDEN), np.zeros(4)
    weights["pseudo_inputs"] = x[:NUM_PSEUDO_INPUTS]
    return {name: tf.constant(part, tf.float32) for name, part in weights.items()}


def draw_rows(rng: np.random.Generator, num_rows: int) -> np.ndarray:
    """Rows around three centres: [rows, 2] float32."""
    centres = CENTRES[rng.integers(len(CENTRES), size=num_rows)]
    scale = np.hypot(SPREAD, NOISE)
    return np.float32(centres + scale * rng.standard_normal([num_rows, 2]))


def log_density(x: np.ndarray) -> np.ndarray:
    """Of the distribution that the rows come from: [rows]."""
    parts = stats.norm.logpdf(x[:, np.newaxis], CENTRES, np.hypot(SPREAD, NOISE))
    return special.logsumexp(parts.sum(-1), axis=1) - np.log(len(CENTRES))
