"""One case of each constructor: arguments, values, and where known its density."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special, stats

tfb, tfd = tfp.bijectors, tfp.distributions
# Distances from a centre or an edge, in units of the scale.
DISTANCES = 10.0 ** np.arange(-3.0, 3.01, 0.5)


class Values(NamedTuple):
    """Points of the support, and how far each is from its centre or edge."""

    points: np.ndarray  # [points, *event]
    distances: np.ndarray  # [points]
    is_count: bool = False


class Case(NamedTuple):
    """How to make a constructor's variables, and values to look at."""

    arguments: dict[str, Any]  # the continuous ones, each with a gradient
    values: Values
    fixed: dict[str, Any] = {}  # the others
    # (**arguments with a batch dimension in front) -> all arguments
    make: Callable[..., dict[str, Any]] | None = None
    density: Callable[..., Any] | None = None  # NumPy (x, **arguments) -> log density
    has_value_gradient: bool = True  # False: of counts and of curved supports
    is_latent: bool | None = None  # None: unless its values are counts
    latent_size: int | None = None  # coordinates, where not those of a value
    no_gradient: tuple[str, ...] = ()  # of these arguments
    # other values of an argument in place of the default, each with its distance
    sweep: dict[str, list[tuple[float, Any]]] = {}


def around(centre: float = 0.0, scale: float = 1.0) -> Values:
    """Both sides of a centre."""
    points = [centre - scale * DISTANCES, centre + scale * DISTANCES]
    return Values(np.concatenate(points), np.tile(DISTANCES, 2))


def above(low: float = 0.0, scale: float = 1.0) -> Values:
    """Above an edge."""
    return Values(low + scale * DISTANCES, DISTANCES)


def between(low: float = 0.0, high: float = 1.0) -> Values:
    """Inside two edges."""
    near = DISTANCES[DISTANCES < 0.5]
    points = [low + (high - low) * near, high - (high - low) * near]
    return Values(np.concatenate(points), np.tile(near, 2))


def along(direction: Any, centre: Any = 0.0) -> Values:
    """Vectors or matrices on both sides of a centre."""
    steps = np.concatenate([-DISTANCES, DISTANCES])
    direction = np.asarray(direction, float)
    points = centre + steps.reshape((-1,) + (1,) * direction.ndim) * direction
    return Values(points, np.tile(DISTANCES, 2))


def counts(up_to: int = 1000, least: int = 0) -> Values:
    """Whole numbers."""
    numbers = np.array([0, 1, 2, 3, 5, 10, 30, 100, 300, 1000], float)
    numbers = numbers[(numbers <= up_to) & (numbers >= least)]
    return Values(numbers, np.ones_like(numbers), is_count=True)


def these(*points: Any) -> Values:
    """Listed values."""
    return Values(np.array(points, float), np.ones(len(points)), is_count=True)


def shifted(start: float, sign: float = 1.0) -> list[tuple[float, Any]]:
    """Other values of an argument, on one side of a number."""
    return [(d, start + sign * d) for d in DISTANCES]


def listed(*others: float) -> list[tuple[float, Any]]:
    """Other values of an argument."""
    return [(1.0, other) for other in others]


def simplex(k: int = 3) -> Values:
    """Parts of 1, the first or the second of them small."""
    near = DISTANCES[DISTANCES < 0.5]
    rest = np.arange(1.0, k) / np.arange(1.0, k).sum()
    small = np.concatenate([near[:, None], (1.0 - near)[:, None] * rest[None]], axis=1)
    small = np.round(small * 2.0**22) / 2.0**22  # so that float32 holds their sum
    small[:, -1] = 1.0 - small[:, :-1].sum(-1)
    return Values(np.concatenate([small, small[:, ::-1]]), np.tile(near, 2))


def matrices(matrix: Any) -> Values:
    """Multiples of a positive definite matrix."""
    matrix = np.array(matrix, float)
    return Values(DISTANCES[:, None, None] * matrix, DISTANCES)


def _log1mexp(x):
    return np.log(-np.expm1(x))


def _logit_normal(x, loc, scale):
    return stats.norm.logpdf(special.logit(x), loc, scale) - np.log(x) - np.log1p(-x)


def _kumaraswamy(x, concentration1, concentration0):
    a, b = concentration1, concentration0
    return np.log(a * b) + (a - 1) * np.log(x) + (b - 1) * _log1mexp(a * np.log(x))


def _truncated_cauchy(x, loc, scale, low, high):
    mass = np.arctan((high - loc) / scale) - np.arctan((low - loc) / scale)
    return -np.log1p(((x - loc) / scale) ** 2) - np.log(scale) - np.log(mass)


def _normal_inverse_gaussian(x, loc, scale, tailweight, skewness):
    # Barndorff-Nielsen (1997), with log K_1 from the scaled Bessel function.
    z = x - loc
    root = np.sqrt(scale**2 + z**2)
    gamma = np.sqrt(tailweight**2 - skewness**2)
    log_k = np.log(special.k1e(tailweight * root)) - tailweight * root
    log_norm = np.log(tailweight * scale / np.pi) + scale * gamma
    return log_norm + skewness * z + log_k - np.log(root)


def _log_logistic(x, loc, scale):
    z = (np.log(x) - loc) / scale
    return z - 2 * np.logaddexp(0, z) - np.log(scale) - np.log(x)


def _johnson_su(x, skewness, tailweight, loc, scale):
    z = (x - loc) / scale
    log_slope = np.log(tailweight / scale) - 0.5 * np.log1p(z**2)
    return stats.norm.logpdf(skewness + tailweight * np.arcsinh(z)) + log_slope


def _two_piece(logpdf):
    def log_density(x, loc, scale, skewness, **others):
        z = (x - loc) / scale
        z = np.where(z < 0, z * skewness, z / skewness)
        log_norm = np.log(2.0) - np.log(scale) - np.log(skewness + 1.0 / skewness)
        return logpdf(z, **others) + log_norm

    return log_density


def _sigmoid_beta(x, concentration1, concentration0):
    a, b = concentration1, concentration0
    return -a * np.logaddexp(0, -x) - b * np.logaddexp(0, x) - special.betaln(a, b)


def _sinh_arcsinh(x, loc, scale, skewness, tailweight):
    # Jones and Pewsey (2009) in TFP's parameters, with its unit of the scale.
    def f(z, skew, tail):
        return np.sinh((np.arcsinh(z) + skew) * tail)

    multiplier = 2.0 / f(2.0, 0.0, tailweight)
    y = (x - loc) / (scale * multiplier)
    z = np.sinh(np.arcsinh(y) / tailweight - skewness)
    slope = np.sqrt(1 + z**2) / (tailweight * np.sqrt(1 + y**2))
    return stats.norm.logpdf(z) + np.log(slope) - np.log(scale * multiplier)


def _von_mises_fisher(x, mean_direction, concentration):
    k = concentration  # in three dimensions
    log_norm = np.log(k) - np.log(2 * np.pi) - k - _log1mexp(-2.0 * k) + 0.0 * k
    return k * np.sum(mean_direction * x, -1) + log_norm


def _power_spherical(x, mean_direction, concentration):
    k = concentration  # De Cao and Aziz (2020), in three dimensions
    log_norm = np.log(2 * np.pi) + (k + 1) * np.log(2.0) - np.log(k + 1)
    return k * np.log1p(np.sum(mean_direction * x, -1)) - log_norm


def _von_mises(x, loc, concentration):
    log_norm = np.log(2 * np.pi * special.i0e(concentration))
    # 1 - cos d = 2 sin(d / 2)^2, which does not cancel
    return -2.0 * concentration * np.sin((x - loc) / 2) ** 2 - log_norm


def _skellam(x, rate1, rate2):
    root = 2.0 * np.sqrt(rate1 * rate2)
    log_bessel = np.log(special.ive(np.abs(x), root)) + root
    return -rate1 - rate2 + 0.5 * x * np.log(rate1 / rate2) + log_bessel


def _multivariate_t(x, df, loc, scale_diag):
    z = np.sum(((x - loc) / scale_diag) ** 2, -1)
    k = x.shape[-1]
    log_norm = special.gammaln(0.5 * (df + k)) - special.gammaln(0.5 * df)
    log_norm -= 0.5 * k * np.log(df * np.pi) + np.sum(np.log(scale_diag), -1)
    return log_norm - 0.5 * (df + k) * np.log1p(z / df)


def _normals(x, loc, scale_diag):
    return stats.norm.logpdf(x, loc, scale_diag).sum(-1)


def _mixture(x, logits, loc):
    log_weights = special.log_softmax(logits, -1)
    parts = log_weights + stats.norm.logpdf(x[..., None], loc, [0.1, 0.5])
    return special.logsumexp(parts, -1)


def _diag(entries):
    return tf.linalg.LinearOperatorDiag(entries)


def _kernel(amplitude):
    return tfp.math.psd_kernels.ExponentiatedQuadratic(
        amplitude, tf.constant(0.5, amplitude.dtype)
    )


def _like(number, tensor):
    return tf.constant(number, tensor.dtype)


_POINTS = [[0.0], [0.7], [1.5]]
_PERT = dict(low=1.0, peak=3.0, high=7.0, temperature=4.0)
_NIG = dict(loc=0.5, scale=1.5, tailweight=2.0, skewness=0.5)
_VECTOR = along([1.0, -0.5], [0.3, 0.7])
_LOW_RANK = dict(loc=[0.3, 0.7], scale_diag=[1.0, 2.0])


def _pert(x, low, peak, high, temperature):
    a = 1 + temperature * (peak - low) / (high - low)
    b = 1 + temperature * (high - peak) / (high - low)
    return stats.beta.logpdf((x - low) / (high - low), a, b) - np.log(high - low)


def _ordered(x, cutpoints, loc):
    above = -np.logaddexp(0, cutpoints - loc[..., None])
    edges = np.concatenate([0 * loc[..., None], above, 0 * loc[..., None] - np.inf], -1)
    index = x.astype(int)[..., None]
    upper = np.take_along_axis(edges, index, -1)[..., 0]
    lower = np.take_along_axis(edges, index + 1, -1)[..., 0]
    below = -np.logaddexp(0, loc[..., None] - cutpoints)
    first = np.take_along_axis(below, np.minimum(index, 0), -1)[..., 0]
    with np.errstate(divide="ignore"):
        return np.where(x == 0, first, upper + _log1mexp(lower - upper))


CASES = {
    "Bates": Case(
        dict(low=0.5, high=2.0),
        between(0.5, 2.0),
        fixed=dict(total_count=3.0),
        sweep=dict(low=shifted(0.6, -1.0), high=shifted(1.9)),
    ),
    "Bernoulli": Case(
        dict(logits=0.3),
        these(0, 1),
        density=lambda x, logits: -np.logaddexp(0, (1 - 2 * x) * logits),
    ),
    "Beta": Case(
        dict(concentration1=2.0, concentration0=0.7),
        between(),
        density=lambda x, concentration1, concentration0: stats.beta.logpdf(
            x, concentration1, concentration0
        ),
    ),
    "BetaBinomial": Case(
        dict(concentration1=2.0, concentration0=1.5),
        counts(100),
        fixed=dict(total_count=100.0),
        density=lambda x, concentration1, concentration0: stats.betabinom.logpmf(
            x, 100, concentration1, concentration0
        ),
    ),
    "BetaQuotient": Case(
        dict(
            concentration1_numerator=2.0,
            concentration0_numerator=1.5,
            concentration1_denominator=3.0,
            concentration0_denominator=0.8,
        ),
        above(scale=1.1),  # it has a kink at 1
    ),
    "Binomial": Case(
        dict(probs=0.3),
        counts(100),
        fixed=dict(total_count=100.0),
        density=lambda x, probs: stats.binom.logpmf(x, 100, probs),
    ),
    "Categorical": Case(
        dict(logits=[0.3, -1.0, 0.5]),
        these(0, 1, 2),
        density=lambda x, logits: np.take_along_axis(
            special.log_softmax(logits, -1), x.astype(int)[:, None], -1
        )[:, 0],
    ),
    "Cauchy": Case(
        dict(loc=0.5, scale=1.5),
        around(0.5, 1.5),
        density=lambda x, loc, scale: stats.cauchy.logpdf(x, loc, scale),
    ),
    "Chi": Case(dict(df=3.0), above(), density=lambda x, df: stats.chi.logpdf(x, df)),
    "Chi2": Case(dict(df=3.0), above(), density=lambda x, df: stats.chi2.logpdf(x, df)),
    "CholeskyLKJ": Case(
        dict(concentration=1.5),
        these([[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.0], [0.8, 0.6]]),
        fixed=dict(dimension=2),
        is_latent=True,
        has_value_gradient=False,
        latent_size=1,
    ),
    "ContinuousBernoulli": Case(
        dict(logits=0.7),
        between(),
        density=lambda x, logits: (
            logits * x
            - np.maximum(logits, 0)
            - np.log(-np.expm1(-abs(logits)) / abs(logits))
        ),
    ),
    "DeterminantalPointProcess": Case(
        dict(eigenvalues=[0.5, 1.0, 2.0]),
        these([0, 0, 0], [1, 0, 1], [1, 1, 1]),
        make=lambda eigenvalues: dict(
            eigenvalues=eigenvalues, eigenvectors=tf.eye(3, dtype=eigenvalues.dtype)
        ),
    ),
    "Dirichlet": Case(
        dict(concentration=[0.5, 2.0, 3.0]),
        simplex(),
        density=lambda x, concentration: (
            np.sum((concentration - 1) * np.log(x), -1)
            + special.gammaln(concentration.sum(-1))
            - special.gammaln(concentration).sum(-1)
        ),
        has_value_gradient=False,
        latent_size=2,
    ),
    "DirichletMultinomial": Case(
        dict(concentration=[1.0, 2.0, 3.0]),
        these([4, 0, 0], [1, 2, 1], [0, 1, 3]),
        fixed=dict(total_count=4.0),
    ),
    "DoublesidedMaxwell": Case(
        dict(loc=0.5, scale=2.0),
        around(0.5, 2.0),
        density=lambda x, loc, scale: (
            stats.maxwell.logpdf(abs(x - loc), scale=scale) - np.log(2)
        ),
    ),
    "ExpGamma": Case(
        dict(concentration=2.0, rate=3.0),
        around(),
        density=lambda x, concentration, rate: (
            concentration * (x + np.log(rate))
            - rate * np.exp(x)
            - special.gammaln(concentration)
        ),
    ),
    "ExpInverseGamma": Case(
        dict(concentration=2.0, scale=3.0),
        around(),
        density=lambda x, concentration, scale: (
            concentration * (np.log(scale) - x)
            - scale * np.exp(-x)
            - special.gammaln(concentration)
        ),
    ),
    "ExpRelaxedOneHotCategorical": Case(
        dict(temperature=0.5, logits=[0.3, -1.0, 0.5]),
        Values(np.log(simplex().points), simplex().distances),
        has_value_gradient=False,
        latent_size=2,
    ),
    "Exponential": Case(
        dict(rate=2.0),
        above(0.0, 0.5),
        density=lambda x, rate: stats.expon.logpdf(x, scale=1 / rate),
    ),
    "ExponentiallyModifiedGaussian": Case(
        dict(loc=0.5, scale=1.0, rate=2.0),
        around(0.5),
        density=lambda x, loc, scale, rate: (
            np.log(rate)
            + rate * (loc - x)
            + 0.5 * (rate * scale) ** 2
            + special.log_ndtr((x - loc) / scale - rate * scale)
        ),
    ),
    "FiniteDiscrete": Case(
        dict(logits=[0.3, -1.0, 0.5]),
        these(1, 2, 4),
        fixed=dict(outcomes=[1.0, 2.0, 4.0]),
    ),
    "FlatDirichlet": Case(
        {},
        simplex(),
        fixed=dict(concentration_shape=[3]),
        has_value_gradient=False,
        latent_size=2,
        density=lambda x: np.full(len(x), np.log(2.0)),
    ),
    "Gamma": Case(
        dict(concentration=2.0, rate=3.0),
        above(0.0, 0.5),
        density=lambda x, concentration, rate: stats.gamma.logpdf(
            x, concentration, scale=1 / rate
        ),
    ),
    "GammaGamma": Case(
        dict(concentration=2.0, mixing_concentration=3.0, mixing_rate=1.5),
        above(),
        density=lambda x, concentration, mixing_concentration, mixing_rate: (
            stats.betaprime.logpdf(
                x, concentration, mixing_concentration, scale=mixing_rate
            )
        ),
    ),
    "GaussianProcess": Case(
        dict(amplitude=1.0),
        along([1.0, -0.5, 0.2]),
        make=lambda amplitude: dict(
            kernel=_kernel(amplitude), index_points=_like(_POINTS, amplitude)
        ),
    ),
    "GaussianProcessRegressionModel": Case(
        dict(amplitude=1.0),
        along([1.0, -0.5, 0.2]),
        make=lambda amplitude: dict(
            kernel=_kernel(amplitude),
            index_points=_like(_POINTS, amplitude),
            observation_index_points=_like([[0.3], [1.0]], amplitude),
            observations=_like([0.5, -0.5], amplitude),
            observation_noise_variance=_like(0.1, amplitude),
        ),
    ),
    "GeneralizedExtremeValue": Case(
        dict(loc=0.5, scale=1.5, concentration=0.2),
        Values(
            0.5 + 1.5 * np.concatenate([-2e-3 * DISTANCES, DISTANCES]),
            np.tile(DISTANCES, 2),
        ),
        sweep=dict(loc=[(d, sign * d) for d in DISTANCES if d < 5 for sign in (-1, 1)]),
        density=lambda x, loc, scale, concentration: stats.genextreme.logpdf(
            x, -concentration, loc, scale
        ),
    ),
    "GeneralizedNormal": Case(
        dict(loc=0.5, scale=1.5, power=1.5),
        around(0.5, 1.5),
        density=lambda x, loc, scale, power: stats.gennorm.logpdf(x, power, loc, scale),
    ),
    "GeneralizedPareto": Case(
        dict(loc=0.5, scale=1.5, concentration=0.2),
        above(0.5, 1.5),
        sweep=dict(loc=shifted(1.9, -1.0)),
        density=lambda x, loc, scale, concentration: stats.genpareto.logpdf(
            x, concentration, loc, scale
        ),
    ),
    "Geometric": Case(
        dict(probs=0.3),
        counts(),
        density=lambda x, probs: x * np.log1p(-probs) + np.log(probs),
    ),
    "Gumbel": Case(
        dict(loc=0.5, scale=1.5),
        around(0.5, 1.5),
        density=lambda x, loc, scale: stats.gumbel_r.logpdf(x, loc, scale),
    ),
    "HalfCauchy": Case(
        dict(loc=0.5, scale=1.5),
        above(0.5, 1.5),
        sweep=dict(loc=shifted(1.9, -1.0)),
        density=lambda x, loc, scale: stats.halfcauchy.logpdf(x, loc, scale),
    ),
    "HalfFlat": Case({}, above(), density=lambda x: 0.0 * x),
    "HalfNormal": Case(
        dict(scale=1.5),
        above(0.0, 1.5),
        density=lambda x, scale: stats.halfnorm.logpdf(x, scale=scale),
    ),
    "HalfStudentT": Case(
        dict(df=3.0, loc=0.5, scale=2.0),
        above(0.5, 2.0),
        sweep=dict(loc=shifted(2.4, -1.0)),
        density=lambda x, df, loc, scale: stats.t.logpdf(x, df, loc, scale) + np.log(2),
    ),
    "HiddenMarkovModel": Case(
        dict(loc=[0.3, 15.0], scale=[5.0, 10.0]),
        along([1.0, 2.0, -1.0, 3.0]),
        make=lambda loc, scale: dict(
            initial_distribution=tfd.Categorical(probs=_like([0.8, 0.2], loc)),
            transition_distribution=tfd.Categorical(
                probs=_like([[0.7, 0.3], [0.2, 0.8]], loc)
            ),
            observation_distribution=tfd.Normal(loc, scale),
            num_steps=4,
        ),
    ),
    "Horseshoe": Case(dict(scale=1.5), around(0.0, 1.5)),
    "Independent": Case(
        dict(loc=[0.3, 0.7], scale_diag=[1.0, 2.0]),
        _VECTOR,
        make=lambda loc, scale_diag: dict(
            distribution=tfd.Normal(loc, scale_diag), reinterpreted_batch_ndims=1
        ),
        density=_normals,
    ),
    "Inflated": Case(
        dict(inflated_loc_probs=0.3, rate=3.0),
        counts(),
        make=lambda inflated_loc_probs, rate: dict(
            distribution=tfd.Poisson(rate),
            inflated_loc_probs=inflated_loc_probs,
            inflated_loc=_like(0.0, rate),
        ),
    ),
    "InverseGamma": Case(
        dict(concentration=2.0, scale=3.0),
        above(0.0, 3.0),
        density=lambda x, concentration, scale: stats.invgamma.logpdf(
            x, concentration, scale=scale
        ),
    ),
    "InverseGaussian": Case(
        dict(loc=1.0, concentration=3.0),
        above(),
        density=lambda x, loc, concentration: (
            0.5 * (np.log(concentration) - np.log(2 * np.pi) - 3 * np.log(x))
            - concentration * (x - loc) ** 2 / (2 * loc**2 * x)
        ),
    ),
    "JohnsonSU": Case(
        dict(skewness=-0.5, tailweight=1.5, loc=0.3, scale=1.2),
        around(0.3, 1.2),
        density=_johnson_su,
    ),
    "Kumaraswamy": Case(
        dict(concentration1=2.0, concentration0=0.7), between(), density=_kumaraswamy
    ),
    "LKJ": Case(
        dict(concentration=1.5),
        these([[1.0, 0.6], [0.6, 1.0]], [[1.0, -0.9], [-0.9, 1.0]]),
        fixed=dict(dimension=2),
        is_latent=True,
        has_value_gradient=False,
        latent_size=1,
    ),
    "LambertWDistribution": Case(
        dict(shift=0.3, scale=1.5, tailweight=0.1),
        around(0.3, 1.5),
        make=lambda shift, scale, tailweight: dict(
            distribution=tfd.Normal(shift, scale),
            shift=shift,
            scale=scale,
            tailweight=tailweight,
        ),
    ),
    "LambertWNormal": Case(dict(loc=0.3, scale=1.5, tailweight=0.1), around(0.3, 1.5)),
    "Laplace": Case(
        dict(loc=0.5, scale=1.5),
        around(0.5, 1.5),
        density=lambda x, loc, scale: -abs(x - loc) / scale - np.log(2 * scale),
    ),
    "LinearGaussianStateSpaceModel": Case(
        dict(scale_diag=[1.0, 1.5]),
        along(np.array([[1.0, 2.0], [-1.0, 0.5], [0.2, 0.1]])),
        make=lambda scale_diag: dict(
            num_timesteps=3,
            transition_matrix=tf.eye(2, dtype=scale_diag.dtype),
            transition_noise=tfd.MultivariateNormalDiag(
                scale_diag=_like([0.5, 0.5], scale_diag)
            ),
            observation_matrix=tf.eye(2, dtype=scale_diag.dtype),
            observation_noise=tfd.MultivariateNormalDiag(scale_diag=scale_diag),
            initial_state_prior=tfd.MultivariateNormalDiag(
                scale_diag=_like([1.0, 1.0], scale_diag)
            ),
        ),
    ),
    "LogLogistic": Case(
        dict(loc=0.5, scale=0.5),
        above(),
        density=_log_logistic,
    ),
    "LogNormal": Case(
        dict(loc=0.5, scale=0.5),
        above(),
        density=lambda x, loc, scale: (
            stats.norm.logpdf(np.log(x), loc, scale) - np.log(x)
        ),
    ),
    "Logistic": Case(
        dict(loc=0.5, scale=1.5),
        around(0.5, 1.5),
        density=lambda x, loc, scale: stats.logistic.logpdf(x, loc, scale),
    ),
    "LogitNormal": Case(dict(loc=0.5, scale=1.5), between(), density=_logit_normal),
    "MatrixNormalLinearOperator": Case(
        dict(scale_diag=[1.0, 2.0, 3.0]),
        along([[1.0, 0.5], [0.2, -0.3], [-1.0, 2.0]]),
        make=lambda scale_diag: dict(
            loc=tf.zeros([3, 2], scale_diag.dtype),
            scale_row=_diag(scale_diag),
            scale_column=_diag(_like([1.0, 2.0], scale_diag)),
        ),
    ),
    "MatrixTLinearOperator": Case(
        dict(df=4.0, scale_diag=[1.0, 2.0, 3.0]),
        along([[1.0, 0.5], [0.2, -0.3], [-1.0, 2.0]]),
        make=lambda df, scale_diag: dict(
            df=df,
            loc=tf.zeros([3, 2], scale_diag.dtype),
            scale_row=_diag(scale_diag),
            scale_column=_diag(_like([1.0, 2.0], scale_diag)),
        ),
    ),
    "Mixture": Case(
        dict(logits=[0.3, -0.4], loc=[-1.0, 1.0]),
        around(),
        make=lambda logits, loc: dict(
            cat=tfd.Categorical(logits=logits),
            components=[
                tfd.Normal(loc[:, 0], _like(0.1, loc)),
                tfd.Normal(loc[:, 1], _like(0.5, loc)),
            ],
        ),
        density=_mixture,
    ),
    "MixtureSameFamily": Case(
        dict(logits=[0.3, -0.4], loc=[-1.0, 1.0]),
        around(),
        make=lambda logits, loc: dict(
            mixture_distribution=tfd.Categorical(logits=logits),
            components_distribution=tfd.Normal(loc, _like([0.1, 0.5], loc)),
        ),
        density=_mixture,
    ),
    "Moyal": Case(
        dict(loc=0.5, scale=1.5),
        around(0.5, 1.5),
        density=lambda x, loc, scale: (
            -0.5 * (x - loc) / scale
            - 0.5 * np.exp((loc - x) / scale)
            - 0.5 * np.log(2 * np.pi)
            - np.log(scale)
        ),
    ),
    "Multinomial": Case(
        dict(logits=[0.3, -1.0, 0.5]),
        these([4, 0, 0], [1, 2, 1], [0, 1, 3]),
        fixed=dict(total_count=4.0),
    ),
    "MultivariateNormalDiag": Case(_LOW_RANK, _VECTOR, density=_normals),
    "MultivariateNormalDiagPlusLowRank": Case(
        dict(**_LOW_RANK, scale_perturb_factor=[[0.5], [0.2]]), _VECTOR
    ),
    "MultivariateNormalDiagPlusLowRankCovariance": Case(
        dict(
            loc=[0.3, 0.7],
            cov_diag_factor=[1.0, 2.0],
            cov_perturb_factor=[[0.5], [0.2]],
        ),
        _VECTOR,
    ),
    "MultivariateNormalFullCovariance": Case(
        dict(loc=[0.3, 0.7], amplitude=2.0),
        _VECTOR,
        make=lambda loc, amplitude: dict(
            loc=loc,
            covariance_matrix=amplitude[:, None, None]
            * _like([[1.0, 0.25], [0.25, 0.5]], loc),
        ),
    ),
    "MultivariateNormalLinearOperator": Case(
        dict(loc=[0.3, 0.7], scale_diag=[1.0, 2.0]),
        _VECTOR,
        make=lambda loc, scale_diag: dict(loc=loc, scale=_diag(scale_diag)),
        density=_normals,
    ),
    "MultivariateNormalTriL": Case(
        dict(loc=[0.3, 0.7], amplitude=2.0),
        _VECTOR,
        make=lambda loc, amplitude: dict(
            loc=loc,
            scale_tril=amplitude[:, None, None] * _like([[1.0, 0.0], [0.25, 0.5]], loc),
        ),
    ),
    "MultivariateStudentTLinearOperator": Case(
        dict(df=3.0, loc=[0.3, 0.7], scale_diag=[1.0, 2.0]),
        _VECTOR,
        make=lambda df, loc, scale_diag: dict(df=df, loc=loc, scale=_diag(scale_diag)),
        density=_multivariate_t,
    ),
    "NegativeBinomial": Case(
        dict(total_count=3.0, probs=0.3),
        counts(),
        density=lambda x, total_count, probs: stats.nbinom.logpmf(
            x, total_count, 1 - probs
        ),
    ),
    "NoncentralChi2": Case(
        dict(df=3.0, noncentrality=1.5),
        above(),
        density=lambda x, df, noncentrality: stats.ncx2.logpdf(x, df, noncentrality),
        no_gradient=("df",),
    ),
    "Normal": Case(
        dict(loc=0.5, scale=1.5),
        around(0.5, 1.5),
        density=lambda x, loc, scale: stats.norm.logpdf(x, loc, scale),
    ),
    "NormalInverseGaussian": Case(
        _NIG,
        around(0.5, 1.5),
        density=_normal_inverse_gaussian,
        sweep=dict(skewness=listed(-1.9, -1.0, 0.0, 1.0, 1.9), tailweight=shifted(0.5)),
    ),
    "OneHotCategorical": Case(
        dict(logits=[0.3, -1.0, 0.5]), these([1, 0, 0], [0, 1, 0], [0, 0, 1])
    ),
    "OrderedLogistic": Case(
        dict(cutpoints=[-1.0, 0.5, 2.0], loc=0.3), these(0, 1, 2, 3), density=_ordered
    ),
    "PERT": Case(
        _PERT,
        between(1.0, 7.0),
        density=_pert,
        sweep=dict(
            low=shifted(1.5, -1.0), peak=listed(1.1, 2.0, 4.0, 6.9), high=shifted(6.5)
        ),
    ),
    "Pareto": Case(
        dict(concentration=3.0, scale=2.0),
        above(2.0, 2.0),
        density=lambda x, concentration, scale: (
            np.log(concentration)
            + concentration * np.log(scale)
            - (concentration + 1) * np.log(x)
        ),
        sweep=dict(scale=[(d, 3.9 * d) for d in DISTANCES if d <= 1]),
    ),
    "PlackettLuce": Case(
        dict(scores=[0.5, 1.0, 2.0]), these([0, 1, 2], [2, 1, 0], [1, 2, 0])
    ),
    "Poisson": Case(
        dict(rate=3.0), counts(), density=lambda x, rate: stats.poisson.logpmf(x, rate)
    ),
    "PoissonLogNormalQuadratureCompound": Case(
        dict(loc=0.3, scale=0.5), counts(), fixed=dict(quadrature_size=4)
    ),
    "PowerSpherical": Case(
        dict(concentration=2.0),
        these([0.0, 1.0, 0.0], [0.6, 0.0, 0.8], [0.0, -0.8, 0.6]),
        fixed=dict(mean_direction=[0.0, 1.0, 0.0]),
        density=lambda x, concentration: _power_spherical(
            x, [0.0, 1.0, 0.0], concentration
        ),
        is_latent=True,
        has_value_gradient=False,
    ),
    "ProbitBernoulli": Case(
        dict(probits=0.3),
        these(0, 1),
        density=lambda x, probits: special.log_ndtr((2 * x - 1) * probits),
    ),
    "QuantizedDistribution": Case(
        dict(loc=0.3, scale=3.0),
        these(-5, -2, 0, 3, 5),
        make=lambda loc, scale: dict(
            distribution=tfd.Normal(loc, scale),
            low=_like(-5.0, loc),
            high=_like(5.0, loc),
        ),
    ),
    "RelaxedBernoulli": Case(dict(temperature=0.5, logits=0.3), between()),
    "RelaxedOneHotCategorical": Case(
        dict(temperature=0.5, logits=[0.3, -1.0, 0.5]),
        simplex(),
        has_value_gradient=False,
        latent_size=2,
    ),
    "SigmoidBeta": Case(
        dict(concentration1=2.0, concentration0=1.5), around(), density=_sigmoid_beta
    ),
    "SinhArcsinh": Case(
        dict(loc=0.3, scale=1.2, skewness=0.2, tailweight=1.5),
        around(0.3, 1.2),
        density=_sinh_arcsinh,
    ),
    "Skellam": Case(
        dict(rate1=2.0, rate2=3.0),
        these(-1000, -300, -100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100, 300, 1000),
        density=_skellam,
    ),
    "SphericalUniform": Case(
        {},
        these([0.0, 1.0, 0.0], [0.6, 0.0, 0.8]),
        fixed=dict(dimension=3),
        density=lambda x: np.full(len(x), -np.log(4 * np.pi)),
        is_latent=True,
        has_value_gradient=False,
    ),
    "StoppingRatioLogistic": Case(
        dict(cutpoints=[-1.0, 0.5, 2.0], loc=0.3), these(0, 1, 2, 3)
    ),
    "StudentT": Case(
        dict(df=3.0, loc=0.5, scale=1.5),
        around(0.5, 1.5),
        density=lambda x, df, loc, scale: stats.t.logpdf(x, df, loc, scale),
    ),
    "StudentTProcess": Case(
        dict(df=4.0, amplitude=1.0),
        along([1.0, -0.5, 0.2]),
        make=lambda df, amplitude: dict(
            df=df, kernel=_kernel(amplitude), index_points=_like(_POINTS, amplitude)
        ),
        sweep=dict(df=shifted(2.0)),
    ),
    "StudentTProcessRegressionModel": Case(
        dict(df=4.0, amplitude=1.0),
        along([1.0, -0.5, 0.2]),
        make=lambda df, amplitude: dict(
            df=df,
            kernel=_kernel(amplitude),
            index_points=_like(_POINTS, amplitude),
            observation_index_points=_like([[0.3], [1.0]], amplitude),
            observations=_like([0.5, -0.5], amplitude),
            observation_noise_variance=_like(0.1, amplitude),
        ),
        sweep=dict(df=shifted(2.0)),
    ),
    "TransformedDistribution": Case(
        dict(loc=0.5, scale=0.5),
        above(),
        make=lambda loc, scale: dict(
            distribution=tfd.Normal(loc, scale), bijector=tfb.Exp()
        ),
        density=lambda x, loc, scale: (
            stats.norm.logpdf(np.log(x), loc, scale) - np.log(x)
        ),
    ),
    "Triangular": Case(
        dict(low=0.5, peak=1.5, high=4.0),
        between(0.5, 4.0),
        density=lambda x, low, peak, high: stats.triang.logpdf(
            x, (peak - low) / (high - low), low, high - low
        ),
        sweep=dict(
            low=shifted(0.6, -1.0), peak=listed(0.6, 1.4, 2.9, 3.9), high=shifted(3.9)
        ),
    ),
    "TruncatedCauchy": Case(
        dict(loc=0.3, scale=1.2, low=-1.0, high=2.0),
        between(-1.0, 2.0),
        density=_truncated_cauchy,
        sweep=dict(low=shifted(-0.5, -1.0), high=shifted(1.5)),
    ),
    "TruncatedNormal": Case(
        dict(loc=0.3, scale=1.2, low=-1.0, high=2.0),
        between(-1.0, 2.0),
        density=lambda x, loc, scale, low, high: stats.truncnorm.logpdf(
            x, (low - loc) / scale, (high - loc) / scale, loc, scale
        ),
        sweep=dict(low=shifted(-0.5, -1.0), high=shifted(1.5)),
    ),
    "TwoPieceNormal": Case(
        dict(loc=0.3, scale=1.2, skewness=1.5),
        around(0.3, 1.2),
        density=_two_piece(stats.norm.logpdf),
        sweep=dict(skewness=[(d, d) for d in DISTANCES]),
    ),
    "TwoPieceStudentT": Case(
        dict(df=4.0, loc=0.3, scale=1.2, skewness=1.5),
        around(0.3, 1.2),
        density=_two_piece(stats.t.logpdf),
        sweep=dict(skewness=[(d, d) for d in DISTANCES]),
    ),
    "Uniform": Case(
        dict(low=0.5, high=2.0),
        between(0.5, 2.0),
        density=lambda x, low, high: 0 * x - np.log(high - low),
        sweep=dict(low=shifted(0.6, -1.0), high=shifted(1.9)),
    ),
    "VariationalGaussianProcess": Case(
        dict(amplitude=1.0),
        along([1.0, -0.5, 0.2]),
        make=lambda amplitude: dict(
            kernel=_kernel(amplitude),
            index_points=_like(_POINTS, amplitude),
            inducing_index_points=_like([[0.2], [1.2]], amplitude),
            variational_inducing_observations_loc=_like([0.1, -0.3], amplitude),
            variational_inducing_observations_scale=_like(
                [[0.5, 0.0], [0.1, 0.4]], amplitude
            ),
            observation_noise_variance=_like(0.1, amplitude),
        ),
    ),
    "VonMises": Case(
        dict(loc=0.5, concentration=2.0),
        Values(
            0.5 + 2.5e-3 * np.concatenate([-DISTANCES, DISTANCES]),
            np.tile(DISTANCES, 2),
        ),
        density=_von_mises,
        latent_size=2,
    ),
    "VonMisesFisher": Case(
        dict(concentration=2.0),
        these([0.0, 1.0, 0.0], [0.6, 0.0, 0.8], [0.0, -0.8, 0.6]),
        fixed=dict(mean_direction=[0.0, 1.0, 0.0]),
        density=lambda x, concentration: _von_mises_fisher(
            x, [0.0, 1.0, 0.0], concentration
        ),
        is_latent=True,
        has_value_gradient=False,
    ),
    "Weibull": Case(
        dict(concentration=1.5, scale=2.0),
        above(0.0, 2.0),
        density=lambda x, concentration, scale: stats.weibull_min.logpdf(
            x, concentration, scale=scale
        ),
    ),
    "WishartLinearOperator": Case(
        dict(df=4.0, scale_diag=[1.0, 2.0]),
        matrices([[1.0, 0.3], [0.3, 2.0]]),
        make=lambda df, scale_diag: dict(df=df, scale=_diag(scale_diag)),
        has_value_gradient=False,
        latent_size=3,
        sweep=dict(df=shifted(2.0)),
    ),
    "WishartTriL": Case(
        dict(df=4.0, amplitude=2.0),
        matrices([[1.0, 0.3], [0.3, 2.0]]),
        make=lambda df, amplitude: dict(
            df=df,
            scale_tril=amplitude[:, None, None] * _like([[1.0, 0.0], [0.25, 0.5]], df),
        ),
        has_value_gradient=False,
        latent_size=3,
        sweep=dict(df=shifted(2.0)),
    ),
    "ZeroInflatedNegativeBinomial": Case(
        dict(inflated_loc_probs=0.3, total_count=3.0, probs=0.4), counts()
    ),
    "Zipf": Case(
        dict(power=3.0),
        counts(least=1),
        density=lambda x, power: -power * np.log(x) - np.log1p(special.zetac(power)),
        no_gradient=("power",),
        sweep=dict(power=shifted(1.0)),
    ),
}
CASES |= {
    "Autoregressive": Case(
        dict(scale=1.5),
        along([1.0, -0.5, 0.2]),
        make=lambda scale: dict(
            distribution_fn=lambda x: tfd.Independent(
                tfd.Normal(
                    tf.concat([tf.zeros_like(x[..., :1]), x[..., :-1]], -1),
                    scale[:, None],
                ),
                1,
            ),
            sample0=tf.zeros(3, scale.dtype),
            num_steps=3,
        ),
        density=lambda x, scale: stats.norm.logpdf(
            np.diff(x, prepend=0.0), scale=scale[:, None]
        ).sum(-1),
    ),
    "BatchBroadcast": Case(
        dict(loc=0.5, scale=1.5),
        along([1.0, -0.5], 0.5),
        make=lambda loc, scale: dict(
            distribution=tfd.Normal(loc[:, None], scale[:, None]),
            with_shape=[loc.shape[0], 2],
        ),
        density=lambda x, loc, scale: _normals(x, loc[:, None], scale[:, None]),
    ),
    "BatchReshape": Case(
        _NORMALS := dict(loc=[0.3, 0.7], scale_diag=[1.0, 2.0]),
        along([[1.0], [-0.5]], 0.5),
        make=lambda loc, scale_diag: dict(
            distribution=tfd.Normal(loc, scale_diag),
            batch_shape=[loc.shape[0], 2, 1],
        ),
        density=lambda x, loc, scale_diag: _normals(x[..., 0], loc, scale_diag),
    ),
    "BatchConcat": Case(
        _NORMALS,
        _VECTOR,
        make=lambda loc, scale_diag: dict(
            distributions=[
                tfd.Normal(loc[:, :1], scale_diag[:, :1]),
                tfd.Normal(loc[:, 1:], scale_diag[:, 1:]),
            ],
            axis=1,
        ),
        density=_normals,
        is_latent=False,
    ),
    "Blockwise": Case(
        _NORMALS,
        _VECTOR,
        make=lambda loc, scale_diag: dict(
            distributions=[
                tfd.Normal(loc[:, 0], scale_diag[:, 0]),
                tfd.Independent(tfd.Normal(loc[:, 1:], scale_diag[:, 1:]), 1),
            ]
        ),
        density=_normals,
        is_latent=False,
    ),
    "Flat": Case({}, around(), density=lambda x: 0.0 * x),
    "MarkovChain": Case(
        dict(scale=1.5),
        along([1.0, -0.5, 0.2]),
        make=lambda scale: dict(
            initial_state_prior=tfd.Normal(tf.zeros_like(scale), scale),
            transition_fn=lambda _, x: tfd.Normal(x, scale),
            num_steps=3,
        ),
        density=lambda x, scale: stats.norm.logpdf(
            np.diff(x, prepend=0.0), scale=scale[:, None]
        ).sum(-1),
    ),
    "Sample": Case(
        dict(loc=0.5, scale=1.5),
        along([1.0, -0.5], 0.5),
        make=lambda loc, scale: dict(
            distribution=tfd.Normal(loc, scale), sample_shape=2
        ),
        density=lambda x, loc, scale: _normals(x, loc[:, None], scale[:, None]),
    ),
}
# Without a search, and why.
PARTS = "as its parts"
OTHERS = {
    "Deterministic": "one value",
    "Empirical": "the samples' frequencies",
    "JointDistributionCoroutine": PARTS,
    "JointDistributionCoroutineAutoBatched": PARTS,
    "JointDistributionNamed": PARTS,
    "JointDistributionNamedAutoBatched": PARTS,
    "JointDistributionSequential": PARTS,
    "JointDistributionSequentialAutoBatched": PARTS,
    "Masked": PARTS,
    "PixelCNN": "a network",
    "VectorDeterministic": "one value",
}
