"""Our sampler on the traced program, as one of the systems compared."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from experiments.bench.problems import SystemDraws
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings, chain
from experiments.inference.samples import gradients_computed
from experiments.nuts.posterior import posterior, split_rows, within_xla


def note(
    problem: RegressionProblem, *, one_block: bool = False, num_devices: int = 1
) -> str:
    """How many blocks the rows are in, and of what size."""
    num = len(split_rows(problem, num_devices=num_devices, one_block=one_block))
    megabytes = 4 * problem.rows * problem.dim / 1e6
    size = f"{problem.rows:,} rows, {megabytes:.1f} MB of features"
    if num == num_devices:
        return f"{size}, in one block" + " a device" * (num_devices > 1)
    return (
        f"{size}, in {num} blocks: each is read for the log prob and again for the "
        "gradient while it is in cache. Hand-written code could do the same; 'ours, "
        "data whole' shows what the language costs"
    )


def prepare(
    problem: RegressionProblem,
    settings: SamplerSettings,
    seed: int,
    *,
    one_block: bool = False,
    num_devices: int = 1,
) -> Callable[[], SystemDraws]:
    """Traces and compiles, and returns the function that samples."""
    blocks = split_rows(problem, num_devices=num_devices, one_block=one_block)
    run = chain.prepare(
        posterior(problem, blocks).log_prob_and_grad,
        start=np.repeat(problem.start[np.newaxis], settings.num_chains, 0),
        settings=settings,
        seed=seed,
        jit_compile=within_xla(blocks),
    )

    def sample() -> SystemDraws:
        samples = run()
        return SystemDraws(
            values=samples.draws,
            leapfrogs=samples.leapfrogs,
            gradients=gradients_computed(samples.leapfrogs),
        )

    return sample


def log_prob_and_grad(
    problem: RegressionProblem,
    points: np.ndarray,
    *,
    num_chains: int = 1,
    one_block: bool = False,
    num_devices: int = 1,
    block_bytes: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The log posterior at `points` [points, dim] and its gradient, as NumPy.

    num_chains: points evaluated at once.
    """
    blocks = split_rows(
        problem, num_devices=num_devices, one_block=one_block, block_bytes=block_bytes
    )
    return chain.evaluate(
        posterior(problem, blocks).log_prob_and_grad,
        points,
        num_chains=num_chains,
        jit_compile=within_xla(blocks),
    )


def energy_error(
    problem: RegressionProblem,
    settings: SamplerSettings,
    seed: int,
    *,
    one_block: bool = False,
    num_devices: int = 1,
) -> float:
    """The largest energy error of 100 leapfrogs of one chain from the start."""
    blocks = split_rows(problem, num_devices=num_devices, one_block=one_block)
    errors = chain.energy_error(
        posterior(problem, blocks).log_prob_and_grad,
        seed=tf.constant([0, seed]),
        start=problem.start[np.newaxis],
        step_size=settings.step_size,
        jit_compile=within_xla(blocks),
    )
    return float(np.abs(errors).max())
