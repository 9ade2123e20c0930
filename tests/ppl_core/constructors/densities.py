"""Log densities in NumPy, by closed forms that do not cancel or underflow."""

import numpy as np
from scipy import special, stats


def log1mexp(x):
    return np.log(-np.expm1(x))


def logit_normal(x, loc, scale):
    return stats.norm.logpdf(special.logit(x), loc, scale) - np.log(x) - np.log1p(-x)


def kumaraswamy(x, concentration1, concentration0):
    a, b = concentration1, concentration0
    return np.log(a * b) + (a - 1) * np.log(x) + (b - 1) * log1mexp(a * np.log(x))


def truncated_cauchy(x, loc, scale, low, high):
    mass = np.arctan((high - loc) / scale) - np.arctan((low - loc) / scale)
    return -np.log1p(((x - loc) / scale) ** 2) - np.log(scale) - np.log(mass)


def normal_inverse_gaussian(x, loc, scale, tailweight, skewness):
    # Barndorff-Nielsen (1997), with log K_1 from the scaled Bessel function.
    z = x - loc
    root = np.sqrt(scale**2 + z**2)
    gamma = np.sqrt(tailweight**2 - skewness**2)
    log_k = np.log(special.k1e(tailweight * root)) - tailweight * root
    log_norm = np.log(tailweight * scale / np.pi) + scale * gamma
    return log_norm + skewness * z + log_k - np.log(root)


def log_logistic(x, loc, scale):
    z = (np.log(x) - loc) / scale
    return z - 2 * np.logaddexp(0, z) - np.log(scale) - np.log(x)


def johnson_su(x, skewness, tailweight, loc, scale):
    z = (x - loc) / scale
    log_slope = np.log(tailweight / scale) - 0.5 * np.log1p(z**2)
    return stats.norm.logpdf(skewness + tailweight * np.arcsinh(z)) + log_slope


def two_piece(logpdf):
    def log_density(x, loc, scale, skewness, **others):
        z = (x - loc) / scale
        z = np.where(z < 0, z * skewness, z / skewness)
        log_norm = np.log(2.0) - np.log(scale) - np.log(skewness + 1.0 / skewness)
        return logpdf(z, **others) + log_norm

    return log_density


def sigmoid_beta(x, concentration1, concentration0):
    a, b = concentration1, concentration0
    return -a * np.logaddexp(0, -x) - b * np.logaddexp(0, x) - special.betaln(a, b)


def sinh_arcsinh(x, loc, scale, skewness, tailweight):
    # Jones and Pewsey (2009) in TFP's parameters, with its unit of the scale.
    def f(z, skew, tail):
        return np.sinh((np.arcsinh(z) + skew) * tail)

    multiplier = 2.0 / f(2.0, 0.0, tailweight)
    y = (x - loc) / (scale * multiplier)
    z = np.sinh(np.arcsinh(y) / tailweight - skewness)
    slope = np.sqrt(1 + z**2) / (tailweight * np.sqrt(1 + y**2))
    return stats.norm.logpdf(z) + np.log(slope) - np.log(scale * multiplier)


def von_mises_fisher(x, mean_direction, concentration):
    k = concentration  # in three dimensions
    log_norm = np.log(k) - np.log(2 * np.pi) - k - log1mexp(-2.0 * k) + 0.0 * k
    return k * np.sum(mean_direction * x, -1) + log_norm


def power_spherical(x, mean_direction, concentration):
    k = concentration  # De Cao and Aziz (2020), in three dimensions
    log_norm = np.log(2 * np.pi) + (k + 1) * np.log(2.0) - np.log(k + 1)
    return k * np.log1p(np.sum(mean_direction * x, -1)) - log_norm


def von_mises(x, loc, concentration):
    log_norm = np.log(2 * np.pi * special.i0e(concentration))
    # 1 - cos d = 2 sin(d / 2)^2, which does not cancel
    return -2.0 * concentration * np.sin((x - loc) / 2) ** 2 - log_norm


def skellam(x, rate1, rate2):
    root = 2.0 * np.sqrt(rate1 * rate2)
    log_bessel = np.log(special.ive(np.abs(x), root)) + root
    return -rate1 - rate2 + 0.5 * x * np.log(rate1 / rate2) + log_bessel


def multivariate_t(x, df, loc, scale_diag):
    z = np.sum(((x - loc) / scale_diag) ** 2, -1)
    k = x.shape[-1]
    log_norm = special.gammaln(0.5 * (df + k)) - special.gammaln(0.5 * df)
    log_norm -= 0.5 * k * np.log(df * np.pi) + np.sum(np.log(scale_diag), -1)
    return log_norm - 0.5 * (df + k) * np.log1p(z / df)


def normals(x, loc, scale_diag):
    return stats.norm.logpdf(x, loc, scale_diag).sum(-1)


def mixture(x, logits, loc):
    log_weights = special.log_softmax(logits, -1)
    parts = log_weights + stats.norm.logpdf(x[..., None], loc, [0.1, 0.5])
    return special.logsumexp(parts, -1)


def pert(x, low, peak, high, temperature):
    a = 1 + temperature * (peak - low) / (high - low)
    b = 1 + temperature * (high - peak) / (high - low)
    return stats.beta.logpdf((x - low) / (high - low), a, b) - np.log(high - low)


def ordered(x, cutpoints, loc):
    above = -np.logaddexp(0, cutpoints - loc[..., None])
    edges = np.concatenate([0 * loc[..., None], above, 0 * loc[..., None] - np.inf], -1)
    index = x.astype(int)[..., None]
    upper = np.take_along_axis(edges, index, -1)[..., 0]
    lower = np.take_along_axis(edges, index + 1, -1)[..., 0]
    below = -np.logaddexp(0, loc[..., None] - cutpoints)
    first = np.take_along_axis(below, np.minimum(index, 0), -1)[..., 0]
    with np.errstate(divide="ignore"):
        return np.where(x == 0, first, upper + log1mexp(lower - upper))
