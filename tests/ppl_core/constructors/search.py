"""Searches a constructor's densities and gradients for wrong numbers.

In float64 a density is compared with its closed form, and its gradient with
differences; in float32 both are compared with float64.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from ppl_core import preimages
from ppl_core.precision import in_dtype
from ppl_core.sites import bijector_of
from tests.ppl_core.constructors.values import DISTANCES, Case

STEP = 1e-5  # of differences, relative
OFFSETS = (-2, -1, 1, 2)
Inputs = dict[str, np.ndarray]  # by name: "x" or "u", and the arguments


class Found(NamedTuple):
    """Where one constructor's densities are right."""

    varied: np.ndarray  # [points] which of the inputs: "x", "u" or an argument
    distances: np.ndarray  # [points] how far it is
    wrong: dict[str, list[str]]  # by dtype, [points]: what is wrong there
    bijector: Any = None


def search(name: str, case: Case, latent: bool) -> Found:
    """Looks at the density of values, or of a latent variable's coordinates."""
    varied, distances, inputs = (_coordinates if latent else _values)(case)
    # Numbers that float32 holds, so that both dtypes are given the same.
    inputs = {key: np.float64(np.float32(part)) for key, part in inputs.items()}
    by = [*case.arguments]
    if latent or (case.has_value_gradient and not case.values.is_count):
        by.append("u" if latent else "x")
    count = len(varied)
    values, grads = _evaluate(name, case, _moved(inputs, by), tf.float64, by)
    single, single_grads = _evaluate(name, case, inputs, tf.float32, by)
    value = values[:count]
    double: dict[str, np.ndarray] = {"the value": np.isfinite(value)}
    with np.errstate(all="ignore"):
        moved = values[count:].reshape(-1, len(OFFSETS), count)
        below2, below, above, above2 = np.moveaxis(moved, 1, 0)
        rough = (above - below) / (2 * STEP)  # derivatives by the inputs' logarithms
        slopes = (below2 - 8 * below + 8 * above - above2) / (12 * STEP)
        spread = np.sum(np.abs(slopes), axis=0)
        if case.density is not None and not latent:
            expected = case.density(**inputs)
            # SciPy's densities underflow, where ours need not.
            near = abs(value - expected) <= 1e-9 * (1 + abs(value) + spread)
            double["the value"] &= near | ~np.isfinite(expected)
        close = abs(single - value) <= 1e-4 * (1 + abs(value) + spread)
        float32 = {"the value": close}
        row = 0
        for key in by:
            unit, shape = _unit(inputs[key]), inputs[key].shape
            size = int(np.prod(shape[1:]))
            own = (grads[key][:count] * unit).reshape(count, size).T
            slope, error = slopes[row : row + size], rough[row : row + size]
            error = 1e-2 * abs(error - slope) + 1e-6 * (1 + abs(slope))
            error += 1e-9 * (abs(value) + spread)
            double[f"the gradient by {key}"] = (abs(own - slope) <= error).all(0)
            # The gradient's own change by the inputs' rounding.
            there = grads[key].reshape((-1, *shape)) * unit
            bend = abs(there[1:] - there[0]).max(0).reshape(count, size).T / STEP
            error = abs((single_grads[key] * unit).reshape(count, size).T - own)
            close = error <= 1e-4 * (1 + abs(own) + bend)
            float32[f"the gradient by {key}"] = close.all(0)
            row += size
    wrong = {
        "float64": _words([double], count),
        "float32": _words([double, float32], count),
    }
    return Found(varied, distances, wrong)


def ranges(found: Found, dtype: str) -> dict[str, tuple[float, float, bool]]:
    """By input, the distances around 1 that are right, and whether all are."""
    result = {}
    good = np.array([not words for words in found.wrong[dtype]])
    for key in dict.fromkeys(found.varied):
        mine = found.varied == key
        distances = np.unique(found.distances[mine])
        right = [good[mine & (found.distances == d)].all() for d in distances]
        middle = int(np.argmin(abs(distances - (0.0 if key == "u" else 1.0))))
        low = high = middle
        while low > 0 and right[low - 1]:
            low -= 1
        while high < len(distances) - 1 and right[high + 1]:
            high += 1
        if not right[middle]:
            result[key] = (np.nan, np.nan, False)
        else:
            result[key] = (distances[low], distances[high], all(right))
    return result


def _words(parts: list[dict[str, np.ndarray]], count: int) -> list[str]:
    found: list[str] = []
    for i in range(count):
        wrong = [key for part in parts for key, right in part.items() if not right[i]]
        found.append(", ".join(dict.fromkeys(wrong)))
    return found


def _unit(part: np.ndarray) -> np.ndarray:
    return np.where(part == 0, 1.0, abs(part))


def _values(case: Case) -> tuple[np.ndarray, np.ndarray, Inputs]:
    """The values at the case's arguments, and some values at other arguments."""
    values = case.values
    middle = np.argmin(abs(np.log(values.distances)))
    near = np.flatnonzero(values.distances == values.distances[middle])
    rows: list[tuple[int, str, float, Any]] = [
        (i, "x", distance, None) for i, distance in enumerate(values.distances)
    ]
    for key in case.arguments:
        for distance, other in _others(case, key):
            rows += [(i, key, distance, other) for i in near]
    inputs = {"x": np.stack([values.points[i] for i, *_ in rows])}
    for key, part in case.arguments.items():
        given = np.asarray(part, float)
        inputs[key] = np.stack(
            [other if varied == key else given for _, varied, _, other in rows]
        )
    varied, distances = [row[1] for row in rows], [row[2] for row in rows]
    return np.array(varied), np.array(distances), inputs


def _others(case: Case, key: str) -> list[tuple[float, Any]]:
    """Other values of an argument, and how far they are."""
    if key in case.sweep:
        return case.sweep[key]
    part = np.asarray(case.arguments[key], float)
    if key in ("probs", "inflated_loc_probs"):
        return [(d, d / (1 + d)) for d in DISTANCES]
    if key in ("loc", "logits", "probits", "shift", "skewness") and not part.ndim:
        return [(d, sign * d) for d in DISTANCES for sign in (-1, 1)]
    return [(d, d * part) for d in DISTANCES]


def _coordinates(case: Case) -> tuple[np.ndarray, np.ndarray, Inputs]:
    """Each coordinate far out, while the others stay."""
    event = case.values.points.shape[1:]
    shape = event if case.latent_size is None else (case.latent_size,)
    size = int(np.prod(shape))
    distances = np.tile(np.concatenate([-DISTANCES, DISTANCES]), size)
    u = np.full([len(distances), size], 0.3)
    u[np.arange(len(u)), np.repeat(np.arange(size), 2 * len(DISTANCES))] = distances
    inputs = {"u": u.reshape((-1, *shape))}
    for key, part in case.arguments.items():
        inputs[key] = np.stack([np.asarray(part, float)] * len(u))
    return np.array(["u"] * len(u)), distances, inputs


def _moved(inputs: Inputs, by: list[str]) -> Inputs:
    """The points, and then all of them with one entry moved, for each and offset."""
    blocks = {key: [part] for key, part in inputs.items()}
    for key in by:
        part = inputs[key].reshape(len(inputs[key]), -1)
        for k in range(part.shape[1]):
            for offset in OFFSETS:
                other = part.copy()
                other[:, k] += offset * STEP * _unit(part[:, k])
                for name, one in inputs.items():
                    is_it = name == key
                    blocks[name].append(other.reshape(one.shape) if is_it else one)
    return {key: np.concatenate(parts) for key, parts in blocks.items()}


def _evaluate(
    name: str, case: Case, inputs: Inputs, dtype: tf.DType, by: list[str]
) -> tuple[np.ndarray, Inputs]:
    """Log densities [points], and their gradients by some of the inputs."""
    tensors = {key: tf.constant(part, dtype) for key, part in inputs.items()}
    watched = {key: tensors[key] for key in by}
    with tf.GradientTape() as tape:
        tape.watch(watched)
        log_density = _log_density(name, case, tensors, dtype)
    grads = tape.gradient(log_density, watched, unconnected_gradients="zero")
    return np.float64(log_density), {
        key: np.float64(tf.convert_to_tensor(grad)) for key, grad in grads.items()
    }


def _log_density(
    name: str, case: Case, tensors: dict[str, tf.Tensor], dtype: tf.DType
) -> tf.Tensor:
    """Of a value or of coordinates, as a posterior evaluates it: [points]."""
    arguments = {key: tensors[key] for key in case.arguments}
    given = case.make(**arguments) if case.make else arguments
    terms: list[tf.Tensor] = []
    pairs: list[preimages.Pair] = []

    def value_at(variable: ppl.RandomVariable) -> tf.Tensor:
        bijector: Any = bijector_of(variable)
        x = bijector.forward(tensors["u"])
        ndims = bijector.forward_min_event_ndims
        terms.append(bijector.forward_log_det_jacobian(tensors["u"], event_ndims=ndims))
        pairs.append((x, tensors["u"], bijector))
        return x

    vars(value_at)["inside_support"] = True
    value = value_at if "u" in tensors else (lambda _: tensors["x"])
    count = len(next(iter(tensors.values())))
    with in_dtype(dtype):
        variable = getattr(ppl, name)(
            **given,
            **case.fixed,
            **({} if case.arguments else {"sample_shape": count}),
            value=value,
            name="x",
        )
        with preimages.known(pairs):
            terms.append(variable.log_prob())
    # A log determinant that is constant lacks the points.
    return sum(
        tf.reduce_sum(tf.reshape(term, [count, -1]), 1)
        if term.shape[:1] == [count]
        else tf.reduce_sum(term)
        for term in terms
    )
