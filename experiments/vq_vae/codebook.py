"""A codebook learned by expectation maximisation: hard as k-means, or soft.

Codes are the means of a mixture of Gaussians of equal weights and of variance 1/2 in
each direction.  An E-step shares vectors out over codes by their distances, an M-step
makes each code the mean of its shares, averaged over the steps of training: van den
Oord et al. (2017), Neural Discrete Representation Learning, appendix A.1, with one
share a vector; Roy et al. (2018), Theory and Experiments on Vector Quantized
Autoencoders, section 3, with several draws.
"""

from typing import NamedTuple

import tensorflow as tf

from experiments.training import prng
from experiments.training.model import Tensors, Weight
from experiments.training.prng import BatchRng

USAGE_DECAY = 0.99  # of the shares by which a code is known to be dead
PATIENCE = 100  # steps that a code has, after its start, to come into use
IN_USE = 0.01  # of an equal share: what a code has at least that counts as in use
FIRST_STDDEV = 0.1  # of the codes before the first step, which no training meets again


class Codebook(NamedTuple):
    """What a codebook is, and how it learns."""

    num_codes: int = 256
    code_dim: int = 512  # of a code's vector
    # Draws of a vector's E-step, whose mean is its shares; 0: the nearest code has all,
    # which is hard EM.
    num_samples: int = 10
    decay: float = 0.999  # of counts and sums from step to step
    epsilon: float = 1e-5  # of Laplace's smoothing of the counts
    commitment_cost: float = 0.25  # of the encoder's distance to the codes, in the loss
    restart_threshold: float = (
        0.03  # of an equal share: below it, a code begins anew; 0: none
    )


def check(book: Codebook) -> None:
    """Raises ValueError for what no codebook can be made of."""
    for name, least in {"num_codes": 2, "code_dim": 1, "num_samples": 0}.items():
        if getattr(book, name) < least:
            raise ValueError(
                f"{name}: given {getattr(book, name)}, wanted {least} or more"
            )
    for name in ("decay", "restart_threshold"):
        if not 0 <= getattr(book, name) < 1:
            raise ValueError(
                f"{name}: given {getattr(book, name)}, wanted at least 0 and below 1"
            )
    for name in ("epsilon", "commitment_cost"):
        if not getattr(book, name) >= 0:
            raise ValueError(f"{name}: given {getattr(book, name)}, wanted 0 or more")


def state(book: Codebook) -> dict[str, Weight]:
    """What goes from step to step, by name, and how it begins."""
    return {
        "codes": Weight((book.num_codes, book.code_dim), FIRST_STDDEV),
        "counts": Weight((book.num_codes,)),  # averages, of vectors a step
        "sums": Weight((book.num_codes, book.code_dim)),
        "usage": Weight((book.num_codes,)),  # an average of shares, over fewer steps
        "age": Weight((book.num_codes,)),  # steps since the code began
        "steps": Weight(()),
    }


def distances(vectors: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
    """Squares of the distances of vectors [vectors, depth]: [vectors, codes]."""
    product = tf.matmul(vectors, codes, transpose_b=True)
    of_vectors = tf.reduce_sum(vectors * vectors, -1, keepdims=True)
    return of_vectors + tf.reduce_sum(codes * codes, -1) - 2 * product


def hard_responsibilities(squares: tf.Tensor) -> tf.Tensor:
    """All of each vector to its nearest code: [vectors, codes] of 0 and 1."""
    return tf.one_hot(tf.argmin(squares, -1), squares.shape[-1])


def sampled_responsibilities(squares: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """The mean of draws of each vector's code, with odds exp(-distance).

    squares: [vectors, codes], as is what comes back, multiples of 1 / samples.
    uniform: [vectors, samples], each of which is turned into a draw by the inverse of
      the codes' distribution function.
    """
    vectors, samples = uniform.shape
    below = tf.cumsum(tf.nn.softmax(-squares), -1)
    below /= below[:, -1:]  # of which the last is 1, however it rounds
    drawn = tf.searchsorted(below, uniform, side="right")
    # Of distances that are no numbers every draw would be of a code beyond the last:
    # an error in the middle of a step, where the loss is to say that it is no number.
    drawn = tf.minimum(drawn, squares.shape[-1] - 1)
    rows = tf.range(vectors)[:, tf.newaxis]
    places = tf.stack([tf.broadcast_to(rows, drawn.shape), drawn], -1)
    ones = tf.fill((vectors * samples,), 1 / samples)
    return tf.scatter_nd(tf.reshape(places, (-1, 2)), ones, squares.shape)


def e_step(
    book: Codebook, squares: tf.Tensor, batch: int, random: BatchRng
) -> tf.Tensor:
    """Each vector's shares: [batch * places, codes], as `squares` are.

    batch: how many examples the vectors are of.
    """
    if not book.num_samples:
        return hard_responsibilities(squares)
    draws = squares.shape[0] // batch * book.num_samples
    uniform = prng.uniform(random, "codes", (batch, draws))
    return sampled_responsibilities(
        squares, tf.reshape(uniform, (-1, book.num_samples))
    )


def statistics(
    book: Codebook, vectors: tf.Tensor, shares: tf.Tensor, random: BatchRng
) -> dict[str, tf.Tensor]:
    """What an M-step needs of these vectors: sums over them, which add up over devices.

    vectors: [batch, places, depth]; shares: [batch * places, codes].

    Beside counts and sums there is, for each code, the one vector that it begins anew
    from if it does: any of the whole batch, of the step's seed and the code alone.  It
    adds up too, being zero where that vector is not.
    """
    batch, places, depth = vectors.shape
    flat = tf.reshape(vectors, (-1, depth))
    everyone = BatchRng(random.seed, tf.constant(0))
    drawn = prng.bits(everyone, "restart", (book.num_codes, 1))[:, 0]
    chosen = tf.cast(drawn, tf.int64) % (random.num_examples * places)
    here = (
        tf.cast(chosen, tf.int32) - random.first_example * places
    )  # among these, or beyond
    within = tf.logical_and(here >= 0, here < batch * places)
    found = tf.gather(flat, tf.clip_by_value(here, 0, batch * places - 1))
    return {
        "counts": tf.reduce_sum(shares, 0),
        "sums": tf.matmul(shares, flat, transpose_a=True),
        "candidates": tf.where(within[:, tf.newaxis], found, tf.zeros_like(found)),
    }


def m_step(book: Codebook, before: Tensors, found: Tensors) -> dict[str, tf.Tensor]:
    """The state after a step of a whole batch, of which `found` are the statistics.

    Every code begins, in the first step, as one of that batch's vectors; from there the
    average forgets at first faster than by `decay`, by (1 + t) / (10 + t) after t
    steps, so that it is k-means on batch after batch while the encoder hardly moves.
    """
    steps = before["steps"]
    decay = tf.minimum(book.decay, (1 + steps) / (10 + steps))
    counts = decay * before["counts"] + (1 - decay) * found["counts"]
    sums = decay * before["sums"] + (1 - decay) * found["sums"]
    total = tf.reduce_sum(counts)
    smoothed = (counts + book.epsilon) / (total + book.num_codes * book.epsilon) * total
    codes = sums / smoothed[:, tf.newaxis]

    share = found["counts"] / tf.reduce_sum(found["counts"])
    usage = USAGE_DECAY * before["usage"] + (1 - USAGE_DECAY) * share
    first = steps < 1
    usage = tf.where(first, tf.zeros_like(usage), usage)  # of codes that are no more
    idle = usage < book.restart_threshold / book.num_codes
    dead = tf.logical_or(tf.logical_and(idle, before["age"] >= PATIENCE), first)
    equal = total / book.num_codes
    row = dead[:, tf.newaxis]
    return {
        "codes": tf.where(row, found["candidates"], codes),
        "counts": tf.where(dead, equal, counts),
        "sums": tf.where(row, found["candidates"] * equal, sums),
        "usage": usage,
        "age": tf.where(dead, 0.0, before["age"] + 1),
        "steps": steps + 1,
    }


def straight_through(vectors: tf.Tensor, quantised: tf.Tensor) -> tf.Tensor:
    """The quantised ones, whose gradient is the vectors': Bengio et al. (2013)."""
    return vectors + tf.stop_gradient(quantised - vectors)


def perplexity(usage: tf.Tensor) -> tf.Tensor:
    """exp of the entropy of shares [codes]: the codes that as many equal ones would be.

    1 for shares that are all zero, as they are before the first step.
    """
    shares = tf.math.divide_no_nan(usage, tf.reduce_sum(usage))
    return tf.exp(-tf.reduce_sum(tf.math.xlogy(shares, shares)))


def in_use(usage: tf.Tensor) -> tf.Tensor:
    """How many codes have at least a hundredth of an equal share, float32."""
    shares = tf.math.divide_no_nan(usage, tf.reduce_sum(usage))
    least = IN_USE / usage.shape[0]
    return tf.reduce_sum(tf.cast(shares >= least, tf.float32))
