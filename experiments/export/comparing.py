"""Whether draws are those of the reference: bit by bit, or up to rounding."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.inference import starts
from experiments.inference.samples import Samples
from experiments.inference.step_size import constant

# Of the first draw of each chain from the reference's warm-up on: rounding grows along
# a trajectory, and a draw is picked from it by a comparison.
FIRST_TOLERANCE = 1e-3
MAX_Z = 5.0  # of differences of means, in their standard errors
MIN_DRAWS = 100  # of each chain, for a comparison of means


class Reference(NamedTuple):
    """Draws that TensorFlow made when the sampler was exported."""

    samples: Samples
    step_size: np.ndarray  # [chains], of these draws
    scale: np.ndarray
    position: np.ndarray  # [chains, dim], where they begin


class Verdict(NamedTuple):
    """What a comparison found."""

    passed: bool
    rows: list[tuple[str, str]]


def read(path: Path) -> Reference:
    """The reference in a file."""
    with np.load(path, allow_pickle=False) as parts:
        samples = Samples(*(parts[name] for name in Samples._fields))
        return Reference(samples, parts["step_size"], parts["scale"], parts["position"])


def compare(
    kernel: Any,
    manifest: dict[str, Any],
    reference: Reference,
    run: Any,
    seeds: np.ndarray,
    device: Any,
) -> Verdict:
    """Compares a run of the reference's seed and chains with it.

    On a CPU every draw takes as many leapfrogs as the reference's, and is equal to the
    last bit or by rounding.  Elsewhere sums have another order, and chains part after
    some draws: there the first draw of each chain from the reference's warm-up counts,
    and the means of all draws.
    """
    num = min(reference.samples.depth.shape[1], run.samples.depth.shape[1])
    ours = Samples(*(part[:, :num] for part in run.samples))
    theirs = Samples(*(part[:, :num] for part in reference.samples))
    same_counts = ours.leapfrogs == theirs.leapfrogs
    equal = (ours.draws == theirs.draws).all(axis=-1)
    rows = [
        ("leapfrog counts as the reference's", f"{same_counts.sum()} of {equal.size}"),
        ("draws equal to the last bit", f"{equal.sum()} of {equal.size}"),
    ]
    if device.platform == "cpu":
        away = np.abs(ours.draws - theirs.draws).max()
        rows.append(("largest difference of a draw", f"{away:.1e}"))
        # What rounding makes of it: half of the digits are more than it ever took.
        rounding = np.sqrt(np.finfo(theirs.draws.dtype).eps)
        close = away <= rounding * max(1.0, float(np.abs(theirs.draws).max()))
        return Verdict(bool(same_counts.all() and close), rows)
    first = _first_draw(kernel, manifest, reference, seeds)
    scale = np.abs(theirs.draws[:, 0]).max()
    away = float(np.abs(first - theirs.draws[:, 0]).max() / scale)
    rows.append(("first draws, largest relative difference", f"{away:.1e}"))
    passed = away <= FIRST_TOLERANCE
    if min(reference.samples.depth.shape[1], run.samples.depth.shape[1]) >= MIN_DRAWS:
        z = float(z_scores(run.samples.draws, reference.samples.draws).max())
        rows.append(("means, largest difference in standard errors", f"{z:.2f}"))
        passed &= z <= MAX_Z
    return Verdict(passed, rows)


def _first_draw(
    kernel: Any, manifest: dict[str, Any], reference: Reference, seeds: np.ndarray
) -> np.ndarray:
    """The first draw of each chain from the reference's warm-up on, [chains, dim]."""
    chains = kernel.num_chains
    scale = np.broadcast_to(reference.scale, (chains, *reference.scale.shape[1:]))
    warmup = manifest["settings"]["warmup"]
    _, _, draws = kernel.run(
        starts.evaluate_start(kernel, reference.position, scale=scale, seed=seeds),
        first_draw=warmup["num_warmup"],
        num_draws=1,
        step=constant(reference.step_size, chains),
        scale=scale,
        max_depth=warmup["max_depth"],
        adapting=False,
        target_accept=warmup["target_accept"],
        seed=seeds,
    )
    return np.asarray(draws.draws[:, 0])


def z_scores(draws: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Differences of the means of [chains, num, dim] in standard errors: [dim]."""
    means, errors = zip(
        *(_mean_and_error(part) for part in (draws, others)), strict=True
    )
    return np.abs(means[0] - means[1]) / np.sqrt(errors[0] ** 2 + errors[1] ** 2)


def _mean_and_error(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of all draws and its standard error, by means of batches, [dim] each.

    Batches of the square root of their number of draws, Flegal & Jones (2010).
    """
    chains, num, dim = draws.shape
    size = max(1, int(np.sqrt(num)))
    count = num // size
    batches = draws[:, : count * size].reshape(chains * count, size, dim).mean(axis=1)
    error = batches.std(axis=0, ddof=1) / np.sqrt(len(batches))
    return draws.mean(axis=(0, 1)), error
