"""Guides: families of normal distributions over a posterior's unconstrained vector."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments.inference.given_starts import given_positions
from experiments.inference.settings import check_count

Params = Mapping[str, tf.Tensor]

INITIAL_SCALE = 0.1  # of every coordinate, as of NumPyro's AutoNormal
_LOG_2PI = math.log(2.0 * math.pi)


class Guide(NamedTuple):
    """A family of distributions over vectors, which standard normal noise makes.

    `fit_vi` moves the parameters.  Gradients reach them through `to_vectors`, and the
    entropy is exact.
    """

    kind: str
    params: dict[str, np.ndarray]  # to begin with
    num_noise: int  # standard normal numbers that make one vector
    # params, noise [draws, num_noise] -> vectors [draws, dim]
    to_vectors: Callable[[Params, tf.Tensor], tf.Tensor]
    # params -> the entropy of one vector, in nats
    entropy: Callable[[Params], tf.Tensor]
    # params, noise [draws, num_noise] -> log q [draws] of the vectors that it makes
    log_prob: Callable[[Params, tf.Tensor], tf.Tensor]


def mean_field(
    posterior: Any, *, start: Any = None, scale: float = INITIAL_SCALE
) -> Guide:
    """Independent normals, one for each coordinate of the unconstrained vector.

    posterior: of `ppl.posterior`.
    start: values by name on the constrained scale, where the means begin; the others
      begin in the middle of their support.
    scale: the standard deviations to begin with.

    Raises ValueError, naming it, for a start or a scale that does not fit.
    Kucukelbir et al. (2017), section 2.4.
    """
    loc = _location(posterior, start)
    log_scale = np.full(len(loc), math.log(_check_scale(scale)))

    def to_vectors(params: Params, noise: tf.Tensor) -> tf.Tensor:
        return params["loc"] + tf.exp(params["log_scale"]) * noise

    def log_det(params: Params) -> tf.Tensor:
        return tf.reduce_sum(params["log_scale"])

    return Guide(
        "mean_field",
        {"loc": loc, "log_scale": log_scale},
        len(loc),
        to_vectors,
        lambda params: _entropy(log_det(params), len(loc)),
        lambda params, noise: _log_prob(log_det(params), noise),
    )


def full_rank(
    posterior: Any, *, start: Any = None, scale: float = INITIAL_SCALE
) -> Guide:
    """A normal with any covariance matrix, by its lower Cholesky factor.

    start, scale: as of `mean_field`.  It begins without correlations.

    Raises ValueError, naming it, for a start or a scale that does not fit.
    """
    loc = _location(posterior, start)
    log_scale = np.full(len(loc), math.log(_check_scale(scale)))

    def to_vectors(params: Params, noise: tf.Tensor) -> tf.Tensor:
        # What is on the diagonal and above it has no part in the factor.
        below = params["lower"] - tf.linalg.band_part(params["lower"], 0, -1)
        factor = tf.linalg.set_diag(below, tf.exp(params["log_scale"]))
        return params["loc"] + tf.matmul(noise, factor, transpose_b=True)

    def log_det(params: Params) -> tf.Tensor:
        return tf.reduce_sum(params["log_scale"])

    return Guide(
        "full_rank",
        {"loc": loc, "log_scale": log_scale, "lower": np.zeros((len(loc), len(loc)))},
        len(loc),
        to_vectors,
        lambda params: _entropy(log_det(params), len(loc)),
        lambda params, noise: _log_prob(log_det(params), noise),
    )


def low_rank(
    posterior: Any,
    rank: int = 2,
    *,
    start: Any = None,
    scale: float = INITIAL_SCALE,
) -> Guide:
    """A normal whose covariance is diagonal plus a product of `rank` vectors.

    start, scale: as of `mean_field`.

    Raises ValueError, naming it, for a rank that is not from 1 to the dimension, and
    for a start or a scale that does not fit.  Ong, Nott & Smith (2018).
    """
    loc = _location(posterior, start)
    dim = len(loc)
    check_count("rank", rank, highest=dim)
    log_scale = np.full(dim, math.log(_check_scale(scale)))
    # Not 0, where its gradient is 0 in expectation.
    factors = 0.1 * scale * np.random.default_rng(0).normal(size=(dim, rank))

    def to_vectors(params: Params, noise: tf.Tensor) -> tf.Tensor:
        own, shared = noise[:, :dim], noise[:, dim:]
        return params["loc"] + _deviations(params, own, shared)

    def capacitance(params: Params) -> tuple[tf.Tensor, tf.Tensor]:
        """The Cholesky factor of I + F' D^-2 F, and D^-1 F."""
        scaled = params["factors"] * tf.exp(-params["log_scale"])[:, tf.newaxis]
        inner = tf.matmul(scaled, scaled, transpose_a=True)
        return tf.linalg.cholesky(inner + tf.eye(rank, dtype=inner.dtype)), scaled

    def log_det(params: Params) -> tf.Tensor:
        """Half the log determinant of the covariance, by the determinant lemma."""
        factor, _ = capacitance(params)
        own = tf.reduce_sum(params["log_scale"])
        return own + tf.reduce_sum(tf.math.log(tf.linalg.diag_part(factor)))

    def log_prob(params: Params, noise: tf.Tensor) -> tf.Tensor:
        # By Woodbury's identity, of the deviations over the diagonal's scale.
        factor, scaled = capacitance(params)
        away = _deviations(params, noise[:, :dim], noise[:, dim:])
        white = away * tf.exp(-params["log_scale"])
        shared = tf.linalg.triangular_solve(
            factor, tf.matmul(scaled, white, transpose_a=True, transpose_b=True)
        )
        squares = tf.reduce_sum(white**2, axis=1) - tf.reduce_sum(shared**2, axis=0)
        return -0.5 * (squares + dim * _LOG_2PI) - log_det(params)

    return Guide(
        "low_rank",
        {"loc": loc, "log_scale": log_scale, "factors": factors},
        dim + rank,
        to_vectors,
        lambda params: _entropy(log_det(params), dim),
        log_prob,
    )


def _deviations(params: Params, own: tf.Tensor, shared: tf.Tensor) -> tf.Tensor:
    return tf.exp(params["log_scale"]) * own + tf.matmul(
        shared, params["factors"], transpose_b=True
    )


def _entropy(log_det: tf.Tensor, dim: int) -> tf.Tensor:
    return log_det + 0.5 * dim * (1.0 + _LOG_2PI)


def _log_prob(log_det: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    squares = tf.reduce_sum(noise**2, axis=1)
    return -0.5 * (squares + noise.shape[1] * _LOG_2PI) - log_det


def _location(posterior: Any, start: Any) -> np.ndarray:
    """Where the means begin, unconstrained: [dim] float64."""
    if not hasattr(posterior, "unconstrain"):
        raise ValueError(f"posterior: given {posterior!r}, wanted one of ppl.posterior")
    middle = np.zeros((1, posterior.dim))
    if start is None:
        return middle[0]
    return given_positions(
        start, num_chains=1, dim=posterior.dim, posterior=posterior, drawn=middle
    )[0]


def _check_scale(scale: Any) -> float:
    is_number = isinstance(scale, int | float | np.floating | np.integer)
    if not is_number or isinstance(scale, bool) or not 0.0 < scale < math.inf:
        raise ValueError(f"scale: given {scale!r}, wanted a finite number above 0")
    return float(scale)
