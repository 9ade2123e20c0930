"""NUTS transitions as one function of tensors, for use inside other compiled code.

`sample_nuts` and its kernel hold chains between calls and hand their draws out.  A
training loop that moves its samples by some transitions needs neither: it takes where
the chains end.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from experiments.inference import nuts
from experiments.inference.leapfrog import LogProbAndGrad
from experiments.inference.loop_state import Draw, Loop, Setting, Statistics, empty
from experiments.inference.settings import check_count
from experiments.inference.step_size import StepSize
from experiments.inference.streams import Numbers

MAX_DEPTH = 30  # an int32 has a bit for the direction of each doubling


def nuts_transitions(
    log_prob_and_grad: LogProbAndGrad,
    position: tf.Tensor,
    *,
    num_transitions: int,
    step_size: float,
    seed: Any,
    scale: tf.Tensor | None = None,
    max_depth: int = 10,
) -> tuple[tf.Tensor, Statistics]:
    """Where chains are after some NUTS transitions, none of which is adapted or kept.

    log_prob_and_grad: from positions [chains, dim] to log probs [chains] and gradients
      [chains, dim].
    position: [chains, dim], of static shape.
    seed: [2] int32.
    scale: [chains, dim] standard deviations, whose squares are the inverse mass; None:
      ones.

    Returns positions [chains, dim], and the statistics of each chain's last transition.
    Everything is a tensor: call it in a function that XLA compiles.  No gradient flows
    through it.

    Raises ValueError for a number of transitions below 1, and for a depth that is not
    from 1 to 30.

    >>> def standard_normal(x):
    ...     return -0.5 * tf.reduce_sum(x**2, axis=-1), -x
    >>> moved, statistics = nuts_transitions(
    ...     standard_normal, tf.zeros([4, 2]), num_transitions=3, step_size=0.8,
    ...     seed=(0, 1),
    ... )
    >>> moved.shape.as_list(), statistics.accept.shape.as_list()
    ([4, 2], [4])
    """
    check_count("num_transitions", num_transitions)
    check_count("max_depth", max_depth, highest=MAX_DEPTH)
    chains, dim = position.shape
    log_prob, grad = log_prob_and_grad(position)
    numbers = _draw_numbers(
        seed,
        rows=num_transitions + 1,
        dim=dim,
        chains=chains,
        max_depth=max_depth,
        dtype=position.dtype,
        energy_dtype=log_prob.dtype,
    )
    return run(
        log_prob_and_grad,
        position,
        log_prob,
        grad,
        numbers,
        num_transitions=num_transitions,
        step_size=step_size,
        scale=tf.ones_like(position) if scale is None else scale,
        max_depth=max_depth,
    )


def run(
    log_prob_and_grad: LogProbAndGrad,
    position: tf.Tensor,  # [chains, dim]
    log_prob: tf.Tensor,  # [chains]
    grad: tf.Tensor,  # [chains, dim]
    numbers: Numbers,  # rows for one transition more than are made
    *,
    num_transitions: int,
    step_size: float,
    scale: tf.Tensor,  # [chains, dim]
    max_depth: int,
) -> tuple[tf.Tensor, Statistics]:
    """What `nuts_transitions` returns, by these random numbers."""
    chains, dim = position.shape
    zeros_of_loop = empty(
        chains,
        dim,
        max_depth=max_depth,
        rows=1,
        keep_grads=False,
        dtype=position.dtype.as_numpy_dtype,
        energy_dtype=log_prob.dtype.as_numpy_dtype,
    )
    loop: Loop = tf.nest.map_structure(tf.convert_to_tensor, zeros_of_loop)
    start = tf.transpose(position)
    zeros = tf.zeros(chains, tf.float64)
    loop = loop._replace(
        idle=tf.ones(chains, tf.bool),
        step=StepSize(zeros + step_size, zeros, zeros, zeros, zeros),
        tree=loop.tree._replace(draw=Draw(start, log_prob, tf.transpose(grad))),
        subtree=loop.subtree._replace(tip=loop.subtree.tip._replace(position=start)),
    )
    setting = Setting(
        chains=tf.range(chains),
        num_draws=tf.constant(num_transitions),
        until=tf.constant(num_transitions),
        max_depth=tf.constant(max_depth),
        max_turns=tf.constant(np.iinfo(np.int32).max),
        adapting=tf.constant(False),
        target_accept=tf.constant(0.8, tf.float64),
        scale=tf.transpose(scale),
    )
    # A run ends when its log of one row is full, long before the last transition.
    (loop,) = tf.while_loop(
        lambda loop: tf.reduce_any(loop.drawn < num_transitions),
        lambda loop: (
            nuts.run(
                loop,
                setting,
                numbers,
                log_prob_and_grad,
                within_xla=True,
                method=nuts.NUTS,
            ),
        ),
        (loop,),
        parallel_iterations=1,
    )
    ended = nuts.ended(loop)
    return tf.stop_gradient(tf.transpose(ended.position)), ended.statistics


def _draw_numbers(
    seed: Any,
    *,
    rows: int,
    dim: int,
    chains: int,
    max_depth: int,
    dtype: tf.DType,
    energy_dtype: tf.DType,
) -> Numbers:
    momenta, directions, doublings, leaves = tf.unstack(tf.random.split(seed, 4))
    uniform = tf.random.stateless_uniform
    return Numbers(
        first=tf.zeros(chains, tf.int32),
        momenta=tf.random.stateless_normal([rows, dim, chains], momenta, dtype=dtype),
        directions=uniform([rows, chains], directions, 0, 1 << max_depth, tf.int32),
        doublings=uniform([rows, max_depth, chains], doublings, dtype=energy_dtype),
        leaf_seed=uniform([rows, chains], leaves, None, None, tf.int32),
    )
