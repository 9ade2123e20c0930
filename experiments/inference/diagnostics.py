"""Statistics of draws: R-hat, effective sample sizes, Monte Carlo errors, E-BFMI.

All work on many scalars at once, [..., chains, draws], along the last two axes.
"""

import numpy as np
from scipy import special

MIN_DRAWS = 4  # per chain: split in two, each half has two
INTERVAL = (0.05, 0.95)  # the quantiles of the interval, and of the tail's ESS
COLUMNS = ("mean", "mcse_mean", "sd", "q5", "q95", "ess_bulk", "ess_tail", "r_hat")


def statistics(values: np.ndarray) -> np.ndarray:
    """The statistics of each scalar, [scalars, 8], in the order of COLUMNS.

    q5 and q95 are quantiles of all draws.  mcse_mean is sd / sqrt(ESS of the mean).

    All are NaN for draws that are not finite.  The last three and mcse_mean are NaN for
    fewer than 4 draws a chain, and where no chain ever moves.

    values: [scalars, chains, draws].
    """
    values = values.astype(np.float64)
    table = np.full((len(values), len(COLUMNS)), np.nan)
    column = {name: i for i, name in enumerate(COLUMNS)}
    finite = np.isfinite(values).all(axis=(-2, -1))
    draws = values[finite]
    mean = draws.mean(axis=(-2, -1))
    table[finite, column["mean"]] = mean
    quantiles = np.quantile(draws, INTERVAL, axis=(-2, -1))
    table[finite, column["q5"]], table[finite, column["q95"]] = quantiles
    # In units of the largest deviation, whose squares neither vanish nor overflow.
    draws = draws - mean[:, None, None]
    span = np.abs(draws).max(axis=(-2, -1), initial=0.0)
    draws /= np.where(span > 0, span, 1.0)[:, None, None]
    if values[0:1].size > 1:
        sd = span * draws.std(axis=(-2, -1), ddof=1)
        table[finite, column["sd"]] = sd
    moved = ~never_moved(values[finite]).all(axis=-1)
    if values.shape[-1] >= MIN_DRAWS and moved.any():
        draws, rows = draws[moved], np.flatnonzero(finite)[moved]
        ess_mean = effective_sample_size(split_chains(draws))
        table[rows, column["mcse_mean"]] = sd[moved] / np.sqrt(ess_mean)
        table[rows, column["ess_bulk"]] = ess_bulk(draws)
        table[rows, column["ess_tail"]] = ess_tail(draws)
        table[rows, column["r_hat"]] = r_hat(draws)
    return table


def r_hat(values: np.ndarray) -> np.ndarray:
    """The rank-normalised split R-hat, of the bulk or the tails, whichever is larger.

    Chains are split in halves, so that one chain has an R-hat too.  Vehtari et al.
    (2021), "Rank-normalization, folding, and localization", sections 3.1 and 3.2.
    """
    halves = split_chains(values)
    folded = np.abs(halves - np.median(halves, axis=(-2, -1), keepdims=True))
    parts = (_classic_r_hat(normal_scores(part)) for part in (halves, folded))
    return np.fmax(*parts)  # two values only: all equally far from the median


def ess_bulk(values: np.ndarray) -> np.ndarray:
    """The effective sample size of the rank-normalised draws of split chains.

    Vehtari et al. (2021), section 4.1.
    """
    return effective_sample_size(normal_scores(split_chains(values)))


def ess_tail(values: np.ndarray) -> np.ndarray:
    """The smaller one of the effective sample sizes of the 5 % and 95 % quantiles.

    Vehtari et al. (2021), section 4.3.
    """
    sizes = []
    for quantile in np.quantile(values, INTERVAL, axis=(-2, -1), keepdims=True):
        below = values <= quantile
        all_of_them = below.all(axis=(-2, -1), keepdims=True)
        below = np.where(all_of_them, values < quantile, below)  # many at the largest
        sizes.append(effective_sample_size(split_chains(below.astype(np.float64))))
    return np.minimum(*sizes)


def effective_sample_size(values: np.ndarray) -> np.ndarray:
    """The number of independent draws whose mean is as exact; NaN for constants.

    Autocorrelations are those within chains, corrected for differences between them,
    and are added up to Geyer's initial monotone sequence: Vehtari et al. (2021),
    section 3.2.  It exceeds the number of draws where draws repel each other, by a
    factor of log10(number) at most.
    """
    chains, num = values.shape[-2:]
    total = chains * num
    means = values.mean(axis=-1)
    # Autocovariances, averaged over chains by their spectra, which are padded.
    size = 1 << (2 * num - 1).bit_length()
    spectrum = np.fft.rfft(values - means[..., None], size)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    covariance = np.fft.irfft(power.mean(axis=-2), size)[..., :num] / num
    within = covariance[..., :1] * num / (num - 1)
    variance = covariance[..., :1].copy()
    if chains > 1:
        variance += means.var(axis=-1, ddof=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = 1 - (within - covariance) / variance
    correlation[..., 0] = 1.0
    last = max(0, (num - 3) // 2)  # the number of the last pair that is looked at
    pairs = correlation[..., : 2 * last + 2].reshape(*correlation.shape[:-1], -1, 2)
    sums = pairs.sum(axis=-1)
    ends = ~(sums > 0)
    ends[..., last] = True
    end = ends.argmax(axis=-1)[..., None]
    monotone = np.minimum.accumulate(sums, axis=-1)
    before = np.where(np.arange(last + 1) < end, monotone, 0.0).sum(axis=-1)
    even = np.take_along_axis(pairs[..., 0], end, axis=-1)[..., 0]
    time = np.maximum(-1 + 2 * before + np.maximum(even, 0), 1 / np.log10(total))
    constant = ~(variance[..., 0] > 0)
    return np.where(constant, np.nan, total / time)


def split_chains(values: np.ndarray) -> np.ndarray:
    """Each chain as two, without the middle draw of an odd number."""
    half = values.shape[-1] // 2
    return np.concatenate([values[..., :half], values[..., -half:]], axis=-2)


def normal_scores(values: np.ndarray) -> np.ndarray:
    """The normal quantiles of the draws' ranks among all chains; ties share a rank.

    Vehtari et al. (2021), equation 14.
    """
    flat = values.reshape(*values.shape[:-2], -1)
    order = np.argsort(flat, axis=-1)
    ordered = np.take_along_axis(flat, order, axis=-1)
    place = np.broadcast_to(np.arange(flat.shape[-1]), flat.shape)
    differs = ordered[..., 1:] != ordered[..., :-1]
    edge = np.ones_like(differs[..., :1])
    starts, stops = (
        np.concatenate([edge, differs], -1),
        np.concatenate([differs, edge], -1),
    )
    first = np.maximum.accumulate(np.where(starts, place, 0), axis=-1)
    back = np.where(stops, place, flat.shape[-1])[..., ::-1]
    last = np.minimum.accumulate(back, axis=-1)[..., ::-1]
    ranks = np.empty(flat.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=-1)
    scores = special.ndtri((ranks - 3 / 8) / (flat.shape[-1] + 1 / 4))
    return np.asarray(scores).reshape(values.shape)


def never_moved(values: np.ndarray) -> np.ndarray:
    """Which chains stay at their first value, [..., chains]; NaN is one value.

    One draw alone tells nothing: then no chain does.
    """
    if values.shape[-1] < 2:
        return np.zeros(values.shape[:-1], bool)
    first = values[..., :1]
    same = (values == first) | (np.isnan(values) & np.isnan(first))
    return np.asarray(same.all(axis=-1))


def e_bfmi(energy: np.ndarray) -> np.ndarray:
    """The estimated Bayesian fraction of missing information of each chain, [chains].

    Betancourt (2016), "Diagnosing suboptimal cotangent disintegrations": the mean
    square of the energy's changes over its variance.  NaN for fewer than 4 draws and
    for a constant energy.

    energy: [chains, draws].
    """
    energy = energy.astype(np.float64)
    if energy.shape[-1] < MIN_DRAWS:
        return np.full(energy.shape[:-1], np.nan)
    changes = np.square(np.diff(energy)).sum(axis=-1)
    spread = np.square(energy - energy.mean(axis=-1, keepdims=True)).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, changes / spread, np.nan)


def _classic_r_hat(values: np.ndarray) -> np.ndarray:
    """sqrt(pooled variance / mean variance within chains), Gelman and Rubin (1992)."""
    num = values.shape[-1]
    between = values.mean(axis=-1).var(axis=-1, ddof=1)
    within = values.var(axis=-1, ddof=1).mean(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((num - 1) / num + between / within)
