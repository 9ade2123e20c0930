"""Metrics estimated from warm-up draws, as maps from white momentum to velocity.

A metric's scale is the standard deviation of each coordinate, so that the inverse mass
is its square; or, of a dense metric, the lower Cholesky factor of the inverse mass.
Its first axis has one entry a chain, or a single one that all chains share.
"""

from typing import Literal, NamedTuple

import numpy as np

Kind = Literal["diagonal", "dense", "gradient"]
KINDS: tuple[Kind, ...] = ("diagonal", "dense", "gradient")

POOLED_FROM = 8  # chains, where the caller does not say whether they share a metric
# Stan's shrinkage: an estimate counts as the draws it has, and as 5 of variance 1e-3.
PRIOR_DRAWS = 5.0
PRIOR_VARIANCE = 1e-3
LOWEST, HIGHEST = 1e-20, 1e20  # of a variance; nutpie's too


class Moments(NamedTuple):
    """Running moments of the draws in a window, in a memory that does not grow.

    The vectors are draws, or for the gradient-informed metric draws and gradients side
    by side.
    """

    num_draws: np.ndarray  # scalar int64, draws of each chain
    mean: np.ndarray  # [chains, size] float64
    # Summed squared deviations from each chain's mean: [chains, size]; for a dense
    # metric [chains, dim, dim], and [1, dim, dim], summed over chains, where pooled.
    scatter: np.ndarray


def no_moments(kind: Kind, num_chains: int, dim: int, *, pooled: bool) -> Moments:
    """The moments of a window that has no draws yet."""
    size = 2 * dim if kind == "gradient" else dim
    mean = np.zeros((num_chains, size))
    if kind == "dense":
        scatter = np.zeros((1 if pooled else num_chains, dim, dim))
    else:
        scatter = np.zeros_like(mean)
    return Moments(np.array(0), mean, scatter)


def add_draws(moments: Moments, draws: np.ndarray, grads: np.ndarray) -> Moments:
    """The moments with `draws` and their `grads`, both [chains, num, dim], added.

    One draw of each chain is added at a time (Welford 1962), so that the moments do not
    depend on how the draws are divided into chunks.
    """
    count, mean, scatter = moments
    mean, scatter = mean.copy(), scatter.copy()
    num = draws.shape[1]
    with np.errstate(all="ignore"):  # `estimate` drops what is not finite
        for i in range(num):
            x = np.asarray(draws[:, i], np.float64)
            if mean.shape[1] > x.shape[1]:
                x = np.concatenate([x, np.asarray(grads[:, i], np.float64)], axis=1)
            before = x - mean
            mean += before / (count + i + 1)
            after = x - mean
            if scatter.ndim == 2:
                scatter += before * after
            elif len(scatter) == len(mean):
                scatter += before[:, :, np.newaxis] * after[:, np.newaxis, :]
            else:
                scatter += before.T @ after
    return Moments(np.asarray(count + num), mean, scatter)


def estimate(
    moments: Moments, kind: Kind, old: np.ndarray, *, pooled: bool
) -> np.ndarray:
    """The scale for the next window, float64.

    diagonal, dense: the sample variance or covariance with Stan's shrinkage,
      n / (n + 5) of it and 5 / (n + 5) of 1e-3, for n draws.
    gradient: sqrt(var(draw) / var(gradient)) of each coordinate as the inverse mass,
      which is its variance where the posterior is normal and independent, and an
      estimate that few draws suffice for.  n / (n + 5) of its logarithm count, and
      5 / (n + 5) of that of `old`: unlike a constant, this suits any unit.
    old: the scale in use, which stays where an estimate has fewer than two draws or is
      not finite; of a dense metric, where it is not positive definite.
    pooled: whether all chains share one estimate, of all their draws around their
      common mean.  Chains that are still in different places make it wider, and the
      step size smaller, than around the mean of each, which would hide them.

    Stan: welford_var_estimator.hpp, var_adaptation.hpp, covar_adaptation.hpp; nuts-rs:
    transform/adapt/diagonal.rs.
    """
    num, variance = _variance(moments, pooled)
    if num < 2:
        return old
    weight = num / (num + PRIOR_DRAWS)
    prior = (1 - weight) * PRIOR_VARIANCE
    with np.errstate(all="ignore"):  # what is not finite is dropped
        if kind == "dense":
            covariance = weight * variance + prior * np.eye(variance.shape[-1])
            covariance, old = np.broadcast_arrays(covariance, old)
            return np.stack(
                [_cholesky(*pair) for pair in zip(covariance, old, strict=True)]
            )
        if kind == "gradient":
            of_draws, of_grads = np.split(variance, 2, axis=-1)
            ratio = np.log(of_draws / of_grads) / 2
            inverse_mass = np.exp(weight * ratio + (1 - weight) * np.log(old**2))
        else:
            inverse_mass = weight * variance + prior
        scale = np.sqrt(np.clip(inverse_mass, LOWEST, HIGHEST))
    usable = np.isfinite(inverse_mass)
    if kind == "gradient":  # a coordinate that stood still says nothing
        usable &= inverse_mass > 0
    return np.where(usable, scale, old)


def _variance(moments: Moments, pooled: bool) -> tuple[int, np.ndarray]:
    """The number of draws of an estimate, and their sample (co)variance."""
    count, mean, scatter = moments
    num = int(count)
    with np.errstate(all="ignore"):
        if pooled:
            apart = mean - mean.mean(axis=0)
            if scatter.ndim == 2:
                between = np.sum(apart**2, axis=0)
            else:
                between = apart.T @ apart
            scatter = (scatter.sum(axis=0) + num * between)[np.newaxis]
            num *= len(mean)
        return num, scatter / (num - 1)


def _cholesky(covariance: np.ndarray, old: np.ndarray) -> np.ndarray:
    # The two triangles of a running sum differ in their last bits.
    symmetric = (covariance + covariance.T) / 2
    variances = np.diagonal(symmetric)
    if not (np.isfinite(symmetric).all() and (variances >= LOWEST).all()):
        return old
    try:
        return np.linalg.cholesky(symmetric)
    except np.linalg.LinAlgError:
        return old


def to_scale(
    inverse_mass: np.ndarray | None, kind: Kind, num_chains: int, dim: int
) -> np.ndarray:
    """The scale of a given inverse mass; its first axis is 1 where chains share it.

    inverse_mass: [dim], or [chains, dim]: one per chain; of a dense metric [dim, dim]
      or [chains, dim, dim]; None: the identity.

    Raises ValueError for another shape, and unless every variance is finite and
    positive, or every matrix symmetric and positive definite.
    """
    shape = (dim, dim) if kind == "dense" else (dim,)
    if inverse_mass is None:
        return np.broadcast_to(np.eye(dim) if kind == "dense" else 1.0, (1, *shape))
    given = np.asarray(inverse_mass, np.float64)
    if given.shape == shape:
        given = given[np.newaxis]
    elif given.shape != (num_chains, *shape):
        raise ValueError(
            f"inverse_mass: given shape {given.shape}, wanted {shape}, or one for each "
            f"chain, {(num_chains, *shape)}"
        )
    if kind != "dense":
        if not ((given >= LOWEST) & (given <= HIGHEST)).all():
            raise ValueError(
                f"inverse_mass: given {given.min()} to {given.max()}, wanted variances "
                f"from {LOWEST} to {HIGHEST}"
            )
        return np.sqrt(given)
    asymmetry = np.abs(given - np.swapaxes(given, -1, -2)).max()
    try:
        if asymmetry <= 1e-6 * np.abs(given).max():
            return np.linalg.cholesky(given)
    except np.linalg.LinAlgError:
        pass
    raise ValueError(
        "inverse_mass: given a matrix that is not symmetric and positive definite, "
        "wanted a covariance"
    )


def to_inverse_mass(scale: np.ndarray) -> np.ndarray:
    """The inverse mass of a scale: the squares, or the products with the transposes."""
    if scale.ndim == 2:
        return scale**2
    return scale @ np.swapaxes(scale, -1, -2)
