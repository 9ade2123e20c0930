"""Vector quantization by a codebook that is learned by expectation maximization (EM).

The codes are the means of a mixture of Gaussians with equal weights and with variance
1/2 in each direction.  The E-step computes the responsibility of each code for each
vector.  The M-step makes each code the mean of the vectors, weighted by responsibility
and averaged over training steps.

Hard EM, where the nearest code has the whole responsibility: van den Oord et al.
(2017), Neural Discrete Representation Learning, appendix A.1.  Soft EM, where
responsibilities are estimated from several samples: Roy et al. (2018), Theory and
Experiments on Vector Quantized Autoencoders, section 3.
"""

from typing import NamedTuple

import tensorflow as tf

from experiments.training import prng
from experiments.training.checks import check_count, check_number
from experiments.training.model import Tensors, Weight
from experiments.training.prng import BatchRng

USAGE_DECAY = 0.99  # of the moving average by which unused codes are found
RESTART_PATIENCE = 100  # steps that a new code has to come into use
IN_USE = 0.01  # share of the average usage from which a code counts as in use
INITIAL_STDDEV = 0.1  # of the codes before the first step, which replaces them all


class Codebook(NamedTuple):
    """The size of a codebook, and how it is learned."""

    num_codes: int = 256
    code_dim: int = 512
    # Samples of a vector's code in the E-step, whose frequencies are the
    # responsibilities.  0: hard EM.
    num_samples: int = 10
    decay: float = 0.999  # per step, of the moving averages of counts and sums
    # Vectors a step that each code counts in addition, at the place where it is: a code
    # that no vector uses stays there.
    epsilon: float = 1e-5
    commitment_cost: float = 0.25  # weight of the encoder's distance to the codes
    # A code below this fraction of the average usage restarts.  0: none does.
    restart_threshold: float = 0.03


def check(codebook: Codebook) -> None:
    """Raises ValueError for settings that no codebook can have."""
    check_count("num_codes", codebook.num_codes, minimum=2)
    check_count("code_dim", codebook.code_dim)
    check_count("num_samples", codebook.num_samples, minimum=0)
    for name in ("decay", "restart_threshold"):
        check_number(name, getattr(codebook, name), at_least=0, below=1)
    check_number("epsilon", codebook.epsilon, above=0)
    check_number("commitment_cost", codebook.commitment_cost, at_least=0)


def state(codebook: Codebook) -> dict[str, Weight]:
    """The variables that the M-step updates, by name, with their initial values."""
    return {
        "codes": Weight((codebook.num_codes, codebook.code_dim), INITIAL_STDDEV),
        "counts": Weight((codebook.num_codes,)),  # moving average, vectors a step
        "sums": Weight((codebook.num_codes, codebook.code_dim)),
        "usage": Weight((codebook.num_codes,)),  # a shorter moving average
        "age": Weight((codebook.num_codes,)),  # steps since the code (re)started
        "steps": Weight(()),
    }


def distances(vectors: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
    """Squared distances [vectors, codes] of vectors [vectors, dim] to codes."""
    product = tf.matmul(vectors, codes, transpose_b=True)
    norms = tf.reduce_sum(vectors * vectors, -1, keepdims=True)
    return norms + tf.reduce_sum(codes * codes, -1) - 2 * product


def hard_responsibilities(squares: tf.Tensor) -> tf.Tensor:
    """1 for each vector's nearest code and 0 for the others: [vectors, codes]."""
    return tf.one_hot(tf.argmin(squares, -1), squares.shape[-1])


def sampled_responsibilities(squares: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """The frequencies of sampled codes, whose odds are exp(-squared distance).

    squares: [vectors, codes], the shape of the result too; its entries are multiples
      of 1 / samples.
    uniform: [vectors, samples]; the inverse of the codes' distribution function turns
      each number into a sample.
    """
    vectors, samples = uniform.shape
    cumulative = tf.cumsum(tf.nn.softmax(-squares), -1)
    cumulative /= cumulative[:, -1:]  # the last is exactly 1, whatever the rounding
    sampled = tf.searchsorted(cumulative, uniform, side="right")
    # With NaN distances every sample would be beyond the last code, and scatter_nd
    # would fail in the middle of a step.  The loss must report the NaN instead.
    sampled = tf.minimum(sampled, squares.shape[-1] - 1)
    rows = tf.range(vectors)[:, tf.newaxis]
    indices = tf.stack([tf.broadcast_to(rows, sampled.shape), sampled], -1)
    updates = tf.fill((vectors * samples,), 1 / samples)
    return tf.scatter_nd(tf.reshape(indices, (-1, 2)), updates, squares.shape)


def e_step(
    codebook: Codebook, squares: tf.Tensor, batch: int, random: BatchRng
) -> tf.Tensor:
    """Responsibilities, [batch * positions, codes], of the shape of `squares`.

    batch: the number of examples that the vectors belong to.
    """
    if not codebook.num_samples:
        return hard_responsibilities(squares)
    per_example = squares.shape[0] // batch * codebook.num_samples
    uniform = prng.uniform(random, "codes", (batch, per_example))
    uniform = tf.reshape(uniform, (-1, codebook.num_samples))
    return sampled_responsibilities(squares, uniform)


def statistics(
    codebook: Codebook,
    vectors: tf.Tensor,
    responsibilities: tf.Tensor,
    random: BatchRng,
) -> dict[str, tf.Tensor]:
    """What the M-step needs of these vectors: sums, which add up over devices.

    vectors: [batch, positions, dim].  responsibilities: [batch * positions, codes].

    `candidates` holds, for each code, the vector that it restarts from if it does.  The
    seed and the code alone select it from the whole batch.  It is zero where these
    vectors do not include it, so candidates add up too.
    """
    batch, positions, dim = vectors.shape
    flat = tf.reshape(vectors, (-1, dim))
    of_step = BatchRng(random.seed, tf.constant(0))
    bits = prng.bits(of_step, "restart", (codebook.num_codes, 1))[:, 0]
    selected = tf.cast(bits, tf.int64) % (random.num_examples * positions)
    index = tf.cast(selected, tf.int32) - random.first_example * positions
    is_local = tf.logical_and(index >= 0, index < batch * positions)
    candidates = tf.gather(flat, tf.clip_by_value(index, 0, batch * positions - 1))
    here = is_local[:, tf.newaxis]
    return {
        "counts": tf.reduce_sum(responsibilities, 0),
        "sums": tf.matmul(responsibilities, flat, transpose_a=True),
        "candidates": tf.where(here, candidates, tf.zeros_like(candidates)),
    }


def m_step(
    codebook: Codebook, before: Tensors, statistics: Tensors
) -> dict[str, tf.Tensor]:
    """The state after a step, from the `statistics` of the whole batch.

    In the first step every code starts as one of the batch's vectors.  After t steps
    the decay is at most (1 + t) / (10 + t).  Early averages are therefore short: EM is
    close to k-means on each batch while the encoder hardly moves.

    Sums and counts of a code that no vector uses shrink alike, and their ratio is the
    code.  `epsilon` is added to both where the code is, so the ratio stays the same
    when they have become too small to divide.  (Laplace smoothing of the counts alone,
    as in Tensor2Tensor, would move such a code to the origin.)
    """
    steps = before["steps"]
    decay = tf.minimum(codebook.decay, (1 + steps) / (10 + steps))
    counts = decay * before["counts"] + (1 - decay) * statistics["counts"]
    sums = decay * before["sums"] + (1 - decay) * statistics["sums"]
    total = tf.reduce_sum(counts)
    codes = sums + codebook.epsilon * before["codes"]
    codes /= counts[:, tf.newaxis] + codebook.epsilon

    fraction = statistics["counts"] / tf.reduce_sum(statistics["counts"])
    usage = USAGE_DECAY * before["usage"] + (1 - USAGE_DECAY) * fraction
    is_first = steps < 1
    usage = tf.where(is_first, tf.zeros_like(usage), usage)  # of the replaced codes
    idle = usage < codebook.restart_threshold / codebook.num_codes
    restarts = (idle & (before["age"] >= RESTART_PATIENCE)) | is_first
    average = total / codebook.num_codes
    rows = restarts[:, tf.newaxis]
    candidates = statistics["candidates"]
    return {
        "codes": tf.where(rows, candidates, codes),
        "counts": tf.where(restarts, average, counts),
        "sums": tf.where(rows, candidates * average, sums),
        "usage": usage,
        "age": tf.where(restarts, 0.0, before["age"] + 1),
        "steps": steps + 1,
    }


def straight_through(vectors: tf.Tensor, quantised: tf.Tensor) -> tf.Tensor:
    """`quantised`, with the gradient passed to `vectors`: Bengio et al. (2013)."""
    return vectors + tf.stop_gradient(quantised - vectors)


def perplexity(usage: tf.Tensor) -> tf.Tensor:
    """exp of the entropy of usage [codes]: as many equally used codes have the same.

    1 where all usage is zero, as it is before the first step.
    """
    fractions = tf.math.divide_no_nan(usage, tf.reduce_sum(usage))
    return tf.exp(-tf.reduce_sum(tf.math.xlogy(fractions, fractions)))


def codes_in_use(usage: tf.Tensor) -> tf.Tensor:
    """The number of codes with at least a hundredth of the average usage, float32."""
    fractions = tf.math.divide_no_nan(usage, tf.reduce_sum(usage))
    least = IN_USE / usage.shape[0]
    return tf.reduce_sum(tf.cast(fractions >= least, tf.float32))
