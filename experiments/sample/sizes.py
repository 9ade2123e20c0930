"""What a run takes of memory and disk, refused before it is taken."""

import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.inference.memory import check_bytes
from experiments.inference.settings import STATISTICS_BYTES
from experiments.sample.sampler import Settings

STATE_ARRAYS = 64  # of a chain, besides the draws: in the loop and in warm-up
NETCDF_STATISTICS_BYTES = 50  # of a draw in draws.nc
# Of a draw, for the summary: its statistics, and one variable's draws with their ranks.
SUMMARY_BYTES = STATISTICS_BYTES + 10 * 8


def check(
    posterior: ppl.Posterior,
    settings: Settings,
    chunk_size: int,
    run_dir: Path,
    *,
    num_done: int = 0,
) -> None:
    """Raises ValueError, with the bytes, for more than the memory or the disk holds.

    num_done: draws of each chain that the run folder already has.
    """
    dim, chains = posterior.dim, settings.num_chains
    number = posterior.dtype.size
    of_draw = number * dim + STATISTICS_BYTES
    arrays = STATE_ARRAYS + (dim if settings.warmup.metric == "dense" else 0)
    in_memory = chains * (2 * chunk_size * of_draw + arrays * 8 * dim)
    check_bytes("num_chains", chains, in_memory)
    num_draws = chains * settings.num_draws
    check_bytes("num_draws", settings.num_draws, num_draws * SUMMARY_BYTES)
    in_file = num_draws * (_value_bytes(posterior) + NETCDF_STATISTICS_BYTES)
    in_chunks = (num_draws - chains * num_done) * of_draw
    existing = next(path for path in (run_dir, *run_dir.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if in_chunks + in_file > free:
        raise ValueError(
            f"num_draws: given {settings.num_draws}, wanted less: {in_chunks:,} bytes "
            f"of draws in chunks/ and {in_file:,} in draws.nc, and {free:,} are free "
            "where the run folder is"
        )


def _value_bytes(posterior: ppl.Posterior) -> int:
    """The size of one draw's values by name."""
    point = np.random.default_rng(0).normal(size=(1, posterior.dim))
    try:
        values = posterior.constrain(tf.constant(point, posterior.dtype))
    except tf.errors.OpError:  # a decomposition that fails there, for example
        return 8 * posterior.dim
    return sum(np.asarray(value).nbytes for value in values.values())
