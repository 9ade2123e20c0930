"""Our sampler with its warm-up, split: chains over processes, rows over devices."""

import multiprocessing
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.bench import ppl_core_posteriors, subprocesses
from experiments.bench.posteriors import MODELS
from experiments.bench.problems import PosteriorProblem, PosteriorRun, Protocol
from experiments.training import topology

NUM_PARTS = 2


class _Share(NamedTuple):
    """What a process is given: some of the chains, and a core."""

    problem: PosteriorProblem
    protocol: Protocol  # of the share
    seed: int
    first_chain: int
    core: int


def over_processes(
    problem: PosteriorProblem, protocol: Protocol, seed: int
) -> PosteriorRun:
    """The chains in two processes of one core each, and a metric for each chain.

    A second is one of the slower process.

    Raises ValueError for a number of chains that is not even.
    """
    num, rest = divmod(protocol.num_chains, NUM_PARTS)
    if rest:
        raise ValueError(
            f"num_chains: given {protocol.num_chains}, wanted a multiple of {NUM_PARTS}"
        )
    cores = sorted(os.sched_getaffinity(0))
    shares = [
        _Share(
            problem,
            protocol._replace(num_chains=num),
            seed,
            i * num,
            cores[i % len(cores)],
        )
        for i in range(NUM_PARTS)
    ]
    # Fresh processes: TensorFlow's threads do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(NUM_PARTS) as pool:
        parts = pool.map(_sample, shares, chunksize=1)
    return PosteriorRun(
        values={
            name: np.concatenate([part.values[name] for part in parts])
            for name in problem.compared
        },
        leapfrogs=np.concatenate([part.leapfrogs for part in parts]),
        diverged=np.concatenate([part.diverged for part in parts]),
        warmup_leapfrogs=sum(part.warmup_leapfrogs for part in parts),
        seconds={
            name: max(part.seconds[name] for part in parts) for name in parts[0].seconds
        },
        settings={
            **parts[0].settings,
            "step_size": sum((part.settings["step_size"] for part in parts), []),
            "processes": NUM_PARTS,
        },
    )


def _sample(share: _Share) -> PosteriorRun:
    """In a process of its own."""
    os.sched_setaffinity(0, {share.core})
    os.environ.update(subprocesses.with_threads(1))  # before TensorFlow starts
    return ppl_core_posteriors.run(
        share.problem,
        share.protocol,
        share.seed,
        first_chain=share.first_chain,
        pooled=False,
    )


def over_devices(
    problem: PosteriorProblem, protocol: Protocol, seed: int
) -> PosteriorRun:
    """The rows of a regression on two logical devices of the CPU.

    Each device adds up its own rows; the sampler's loop is not compiled by XLA.
    """
    devices = topology.local_devices(NUM_PARTS, "CPU")
    return ppl_core_posteriors.run(
        problem,
        protocol,
        seed,
        posterior=_sharded(problem, devices),
        jit_compile=False,
    )


def _sharded(problem: PosteriorProblem, devices: list[str]) -> ppl.Posterior:
    """The posterior given rows of `problem.data` that are kept on several devices."""
    model = MODELS[problem.name]
    parts = np.array_split(np.arange(int(problem.data["N"])), len(devices))
    return ppl.unconstrain_shards(
        model.program,
        [
            ppl.Shard(
                args=tuple(problem.data[name][rows] for name in model.arguments),
                observed={name: problem.data[name][rows] for name in model.observed},
                device=device,
            )
            for rows, device in zip(parts, devices, strict=True)
        ],
        dtype=tf.float64,
    )
