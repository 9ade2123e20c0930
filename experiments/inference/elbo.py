"""The evidence lower bound of a posterior and a guide: estimates and gradients.

ELBO = E_q[log p(z, data) - log q(z)], at most the log evidence.  Jordan et al. (1999).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments.inference import prng
from experiments.inference.guides import Guide
from experiments.inference.results import Constrained
from experiments.inference.starts import variables_of

REPARAMETERIZED = "reparameterised, exact entropy"
BATCH_NUMBERS = 1 << 24  # data entries times draws that are evaluated at once
MOST_AT_ONCE = 250  # draws


class Drawn(NamedTuple):
    """Draws from a guide, and what both densities say of them."""

    values: dict[str, np.ndarray]  # [num, ...], constrained, by the model's names
    log_prob: np.ndarray  # [num], of the model with its data
    log_q: np.ndarray  # [num], of the guide, in the same coordinates
    elbo: np.ndarray  # [num], of which the mean is the ELBO


class Batches(NamedTuple):
    """Posteriors of rows drawn at random."""

    draw: Callable[[tf.Tensor, int], tf.Tensor]  # seed, num -> rows [num, batch]
    posterior_of: Callable[[tf.Tensor], Any]  # rows [batch] -> their posterior


class Objective(NamedTuple):
    """What an optimiser of the ELBO needs, whatever the guide."""

    kind: str  # of the guide
    posterior: Any
    params: Any  # structure of arrays: where the parameters begin
    dtype: tf.DType  # of the parameters
    estimators: dict[str, str]  # how the gradient is found, by latent variable
    # whether the gradient costs less without the ELBO: then XLA compiles it twice
    is_apart: bool
    # seed [2] int32, num -> a structure of the random numbers of steps, [num, ...]
    numbers: Callable[[tf.Tensor, int], Any]
    # params, one step's numbers -> the ELBO's estimate, float64, and its gradients
    estimate: Callable[[Any, Any], tuple[tf.Tensor, Any]]
    # params, num, seed -> draws
    draw: Callable[[Any, int, tf.Tensor], Drawn]
    # params, one step's numbers -> what is not finite in the estimate, in words
    explain: Callable[[Any, Any], str]


def of_guide(
    posterior: Any,
    guide: Guide,
    *,
    num_samples: int,
    batches: Batches | None = None,
) -> Objective:
    """The ELBO of a guide over the posterior's unconstrained vector.

    num_samples: draws that each estimate averages over.
    batches: minibatches; None: every step is on all data.

    The entropy is exact, and the gradient of the expected log prob goes through the
    draws.  Kingma & Welling (2014), section 2.3.

    Raises ValueError for a guide of another dimension.
    """
    dtype = posterior.dtype
    example = guide.to_vectors(_tensors(guide.params, dtype), _noise(guide, 1, dtype))
    if example.shape != (1, posterior.dim):
        raise ValueError(
            f"guide: given a {guide.kind} of dimension {example.shape[-1]}, wanted "
            f"{posterior.dim}, the posterior's"
        )

    def numbers(seed: tf.Tensor, num: int) -> dict[str, tf.Tensor]:
        if batches is None:
            return {"noise": _normal(seed, num)}
        seed, rows_seed = prng.split(seed, 2)
        return {"noise": _normal(seed, num), "rows": batches.draw(rows_seed, num)}

    def _normal(seed: tf.Tensor, num: int) -> tf.Tensor:
        return prng.normal(seed, (num, num_samples, guide.num_noise), dtype)

    def estimate(
        params: Any, numbers: Mapping[str, tf.Tensor]
    ) -> tuple[tf.Tensor, Any]:
        noise = numbers["noise"]
        of_step = (
            posterior if batches is None else batches.posterior_of(numbers["rows"])
        )
        with tf.GradientTape() as tape:
            tape.watch(params)
            vectors = guide.to_vectors(params, noise)
            entropy = guide.entropy(params)
        log_prob, grad = of_step.log_prob_and_grad(vectors)
        grads = tape.gradient(
            [vectors, entropy],
            params,
            output_gradients=[grad / num_samples, tf.ones_like(entropy)],
            unconnected_gradients="zero",
        )
        elbo = tf.reduce_mean(tf.cast(log_prob, tf.float64))
        return elbo + tf.cast(entropy, tf.float64), grads

    def draw(params: Any, num: int, seed: tf.Tensor) -> Drawn:
        noise = prng.normal(seed, (num, guide.num_noise), dtype)
        vectors = guide.to_vectors(params, noise)
        log_prob = log_probs(posterior, vectors)
        entropy = float(guide.entropy(params))
        draws = np.asarray(vectors)[np.newaxis]
        values = Constrained(posterior.constrain, draws).by_name(draws)
        return Drawn(
            {name: value[0] for name, value in values.items()},
            log_prob,
            np.asarray(guide.log_prob(params, noise), np.float64),
            log_prob + entropy,
        )

    def explain(params: Any, numbers: Mapping[str, tf.Tensor]) -> str:
        return not_finite(posterior, guide.to_vectors(params, numbers["noise"]))

    return Objective(
        guide.kind,
        posterior,
        guide.params,
        dtype,
        dict.fromkeys(posterior.names, REPARAMETERIZED),
        True,
        numbers,
        estimate,
        draw,
        explain,
    )


def log_probs(posterior: Any, vectors: tf.Tensor) -> np.ndarray:
    """The posterior's log prob of all data at vectors [num, dim]: [num] float64."""
    num = vectors.shape[0]
    size = min(num, MOST_AT_ONCE, max(1, BATCH_NUMBERS // _entries(posterior)))
    parts = []
    for first in range(0, num, size):
        # The last batch ends with earlier draws, so that all have one shape.
        part = vectors[min(first, num - size) :][:size]
        found = np.asarray(posterior.log_prob(part), np.float64)
        parts.append(found[first - min(first, num - size) :])
    return np.concatenate(parts)


def not_finite(posterior: Any, vectors: tf.Tensor) -> str:
    """What is not finite of the log prob and its gradient at vectors [num, dim]."""
    known = dict(zip(posterior.names, posterior.sizes, strict=True))
    outside = ~np.isfinite(vectors).all(axis=0)
    if outside.any():
        return f"the draws of {variables_of(outside, known)}"
    if posterior.source is not None:
        values = posterior.constrain(vectors)
        latents = {name: values[name] for name in posterior.names}
        parts: Mapping[str, Any] = posterior.source.log_prob_parts(latents)
        terms = [name for name, part in parts.items() if not np.isfinite(part).all()]
        if terms:
            return f"the log prob of {terms}"
    _, grad = posterior.log_prob_and_grad(vectors)
    steep = ~np.isfinite(grad).all(axis=0)
    if steep.any():
        return f"the gradient by {variables_of(steep, known)}"
    return "the log prob"


def _entries(posterior: Any) -> int:
    """The number of data entries that each evaluation reads, 1 or more."""
    source = getattr(posterior, "source", None)
    if source is None:
        return 1
    given = [np.size(value) for value in source.observed.values()]
    return max(1, *given, 1)


def _tensors(params: Any, dtype: tf.DType) -> Any:
    return tf.nest.map_structure(lambda part: tf.constant(part, dtype), params)


def _noise(guide: Guide, num: int, dtype: tf.DType) -> tf.Tensor:
    return tf.zeros([num, guide.num_noise], dtype)
