"""Searches a constructor's log probabilities of intervals for wrong numbers.

A log probability is compared with the integral of the constructor's density, and its
gradient with differences.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from ppl_core import masses
from ppl_core.precision import in_dtype
from ppl_core.support_checks import outside
from tests.ppl_core.constructors.search import OFFSETS, STEP, _moved, _others, _unit
from tests.ppl_core.constructors.values import Case

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)
# Distances from each end of the interval and from the middles of the density.
_LOG_DISTANCES = np.concatenate(
    [np.arange(-60, 60) * np.log(2.0), 60 * np.log(2.0) + 6.0 * np.arange(100)]
)


class Row(NamedTuple):
    """One interval at one set of arguments, and what is wrong there."""

    low: float
    high: float
    arguments: dict[str, Any]
    log_prob: float
    expected: float
    wrong: str


def search(name: str, case: Case, every: int = 1) -> list[Row]:
    """Looks at every so-many-th interval between the case's points, open or not."""
    lows, highs, inputs = _intervals(case, every)
    by = list(case.arguments)
    count = len(lows)
    moved = _moved(inputs, by)
    times = len(next(iter(moved.values()))) // count if by else 1
    with tf.GradientTape() as tape:
        tensors = {key: tf.constant(part) for key, part in moved.items()}
        tape.watch(tensors)
        distribution = make_distribution(name, case, tensors, np.tile(lows, times))
        span = masses.make(np.tile(lows, times), np.tile(highs, times))
        values = masses.log_mass(distribution, span)
    gradients = tape.gradient(values, tensors, unconnected_gradients="zero")
    values, value = values.numpy(), values.numpy()[:count]
    middles = _middles(distribution, count)
    rows = []
    for i in range(count):
        arguments = {key: part[i] for key, part in inputs.items()}
        one = make_distribution(name, case, arguments, lows[i])
        expected = log_integral(one, lows[i], highs[i], middles[i])
        total = log_integral(one, -np.inf, np.inf, middles[i])
        words = []
        lost = 2 * abs(total) / np.exp(max(expected, -700.0))
        if not (abs(total) < 1e-4 and np.isfinite(expected)):
            expected = np.nan  # not known
        elif not abs(value[i] - expected) <= 1e-9 * (1 + abs(expected)) + lost:
            words.append("the value")
        offsets = values[count:].reshape(len(by), len(OFFSETS), count)[..., i]
        for key, (below2, below, above, above2) in zip(by, offsets, strict=True):
            slope = (below2 - 8 * below + 8 * above - above2) / (12 * STEP)
            rough = (above - below) / (2 * STEP)
            own = gradients[key].numpy()[i] * _unit(inputs[key])[i]
            error = 1e-2 * abs(rough - slope) + 1e-6 * (1 + abs(slope))
            error += 1e-9 * abs(value[i])
            error += abs(above - 2 * value[i] + below) / STEP  # of a kink's slope
            if np.isfinite(slope) and not abs(own - slope) <= error:
                words.append(f"the gradient by {key}: {own}, not {slope}")
            elif not np.isfinite(own):
                words.append(f"the gradient by {key}: {own}")
        rows.append(
            Row(lows[i], highs[i], arguments, value[i], expected, "; ".join(words))
        )
    return rows


def _intervals(case: Case, every: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    points = np.unique(case.values.points)
    middle = np.argmin(abs(np.log(case.values.distances)))
    near = case.values.points[middle]
    ends = [-np.inf, *points, np.inf]
    at_default = [(-np.inf, x) for x in points] + [(x, np.inf) for x in points]
    at_default += list(zip(ends[1:-2], ends[2:-1], strict=True))
    at_default += [(points[0], points[-1]), (near, near + 1e-3 * abs(near))]
    near_ends = [(-np.inf, near), (near, np.inf), (near, near + 0.5 * abs(near))]
    rows: list[tuple[float, float, str, Any]] = [(*ends, "", 0) for ends in at_default]
    for key in case.arguments:
        for _, other in _others(case, key):
            rows += [(*ends, key, other) for ends in near_ends]
    if case.latent_size == 2:  # angles
        rows = [row for row in rows if np.isfinite(row[:2]).all()]
    rows = rows[::every]
    inputs = {
        key: np.stack(
            [
                np.asarray(other if varied == key else given, float)
                for *_, varied, other in rows
            ]
        )
        for key, given in case.arguments.items()
    }
    lows, highs = (np.array([row[k] for row in rows]) for k in (0, 1))
    return lows, highs, inputs


def make_distribution(name: str, case: Case, arguments: Any, at: Any) -> Any:
    """The constructor's distribution in float64, with a value at these points."""
    arguments = {key: tf.convert_to_tensor(part) for key, part in arguments.items()}
    given = case.make(**arguments) if case.make else arguments
    at = tf.constant(np.where(np.isfinite(at), at, 0.0))
    with in_dtype(tf.float64):
        make, value = getattr(ppl, name), lambda _: at
        return make(**given, **case.fixed, value=value, name="x").distribution


def _middles(distribution: Any, count: int) -> np.ndarray:
    found = [np.zeros(count), np.ones(count)]
    for middle in ("mean", "mode"):
        try:
            found.append(np.array(getattr(distribution, middle)()))
        except (NotImplementedError, ValueError, TypeError):
            pass
    names = ("loc", "low", "high", "peak", "scale", "shift")
    found += [
        np.array(getattr(distribution, n)) for n in names if hasattr(distribution, n)
    ]
    parts = [np.resize(part[:count], count) for part in map(np.atleast_1d, found)]
    return np.stack(parts, -1)


def log_integral(distribution: Any, low: float, high: float, middles: Any) -> float:
    """The logarithm of the density's integral, by Gauss's rule on panels.

    The panels are short near the interval's ends and the density's middles.
    """
    centres = [*middles, *(end for end in (low, high) if np.isfinite(end))]
    distances = np.exp(_LOG_DISTANCES)
    with np.errstate(over="ignore"):
        edges = [part for c in centres for part in (c - distances, [c], c + distances)]
    edges = np.unique(np.concatenate(edges))
    edges = edges[np.isfinite(edges) & (edges > low) & (edges < high)]
    ends = [end for end in (low, high) if np.isfinite(end)]
    edges = np.unique(np.concatenate([edges, ends]))
    a, b = edges[:-1, None], edges[1:, None]
    width = b - a
    share = 0.5 + 0.5 * _NODES
    x = np.where(abs(a) < abs(b), a + width * share, b - width * (1.0 - share))
    inside = (x > a) & (x < b)
    x = np.where(inside, x, 0.5 * a + 0.5 * b)
    log_density = np.float64(distribution.log_prob(tf.constant(x)))
    wrong = outside(distribution, tf.constant(x))
    wrong = np.isnan(log_density) if wrong is None else np.array(wrong)
    wrong |= log_density == np.inf  # where rounding meets an edge
    log_density = np.where(wrong, -np.inf, log_density)
    terms = log_density + np.log(width) + np.log(0.5 * _WEIGHTS)
    top = terms.max()
    return float(top + np.log(np.exp(terms - top).sum()))
