"""Posteriors of rows drawn at random, in place of one of all rows."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.inference import prng
from experiments.inference.elbo import Batches
from experiments.inference.settings import check_count
from ppl_core.censoring import Interval
from ppl_core.design import DesignMatrix
from ppl_core.source import Source
from ppl_core.trace import checked_data, only_tracers
from ppl_core.unconstrained import Posterior, unconstrain

TOLERANCE = {tf.float64: 1e-6, tf.float32: 1e-3}  # relative, of sums over all rows


def batches(posterior: Any, rows: Sequence[str], batch_size: int) -> Batches:
    """Posteriors of `batch_size` rows, which are drawn with replacement.

    posterior: of all rows, by `ppl.posterior`.  Its program says by
      `ppl.plate(..., total=)` or `ppl.scale` how many rows a batch stands for.
    rows: the arguments of the program and the observed variables whose first axis is
      that of rows, by name.

    The log prob of a random batch has that of all rows as its mean, and so has its
    gradient: what the program says of two parts of the data is compared with what it
    says of all.

    Raises ValueError for names that the posterior lacks, for arrays that do not have
    one number of rows, for a larger batch, for latent variables whose size depends on
    the batch, and where the mean would be another.
    """
    source = getattr(posterior, "source", None)
    if source is None:
        raise ValueError("posterior: given one of no program, wanted ppl.posterior's")
    data = _data(source, rows)
    num_rows = len(next(iter(data.values())))
    check_count("batch_size", batch_size, highest=num_rows, why=", the number of rows")
    # On the device once, and not in graphs.
    tensors = {name: tf.constant(array) for name, array in data.items()}
    _check_mean(posterior, source, tensors, batch_size)

    def draw(seed: tf.Tensor, num: int) -> tf.Tensor:
        places = prng.uniform(seed, (num, batch_size)) * num_rows
        return tf.minimum(tf.cast(places, tf.int32), num_rows - 1)

    def posterior_of(indices: tf.Tensor) -> Any:
        with checked_data():  # by the posterior of all rows
            drawn = {name: tf.gather(part, indices) for name, part in tensors.items()}
            found = _with_rows(source, drawn)
        return found._replace(log_prob_and_grad=_unchecked(found.log_prob_and_grad))

    return Batches(draw, posterior_of)


def _unchecked(function: Callable[..., Any]) -> Callable[..., Any]:
    def evaluate(vectors: tf.Tensor) -> Any:
        with checked_data():
            return function(vectors)

    return evaluate


def _arguments(source: Source) -> inspect.BoundArguments:
    return inspect.signature(source.program).bind(*source.args, **source.kwargs)


def _data(source: Source, rows: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of rows by name."""
    given = _arguments(source).arguments
    known = {**given, **source.observed}
    unknown = [name for name in rows if name not in known]
    if isinstance(rows, str) or not rows or unknown:
        raise ValueError(
            f"rows: given {rows!r}, wanted a list of names among {sorted(known)}"
        )
    twice = sorted({*rows} & given.keys() & source.observed.keys())
    if twice:
        raise ValueError(
            f"rows: given {twice}, an argument and an observed variable, wanted "
            "different names"
        )
    data = {}
    observed = source.observed_data()  # in the variables' dtypes
    for name in rows:
        value = known[name]
        is_other = isinstance(value, (DesignMatrix, Interval))
        array = np.asarray(0 if is_other else observed.get(name, value))
        if array.ndim == 0 or array.dtype.kind not in "biuf":
            raise ValueError(
                f"rows: given {name!r}, a {type(value).__name__}, wanted an array of "
                "numbers with a first axis of rows"
            )
        data[name] = array
    sizes = {name: len(array) for name, array in data.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"rows: given {sizes}, wanted one number of rows")
    return data


def _with_rows(source: Source, rows: Mapping[str, Any]) -> Posterior:
    """The posterior of other rows."""
    bound = _arguments(source)
    for name in bound.arguments:
        if name in rows:
            bound.arguments[name] = rows[name]
    observed = {
        name: rows.get(name, value) if name not in bound.arguments else value
        for name, value in source.observed.items()
    }
    with only_tracers(source.tracers):
        return unconstrain(
            source.program,
            *bound.args,
            observed=observed,
            kwargs=bound.kwargs,
            dtype=source.dtype,
        )


def _check_part(posterior: Any, part: Posterior) -> None:
    own = dict(zip(posterior.names, posterior.sizes, strict=True))
    of_part = dict(zip(part.names, part.sizes, strict=True))
    if own != of_part:
        other = [name for name in own if own[name] != of_part.get(name)]
        raise ValueError(
            f"rows: given latent variables {other} that change with the rows, wanted "
            "all outside the rows' plate"
        )


def _check_mean(
    posterior: Any, source: Source, data: Mapping[str, tf.Tensor], batch_size: int
) -> None:
    """Raises ValueError where batches have another mean log prob than all rows.

    They are the first `batch_size` rows and all others, which have a batch's weight.
    """
    point = tf.zeros([1, posterior.dim], source.dtype)
    whole = float(posterior.log_prob(point)[0])
    num_rows = len(next(iter(data.values())))
    mean = 0.0
    for part in (slice(0, batch_size), slice(batch_size, num_rows)):
        rows = {name: tensor[part] for name, tensor in data.items()}
        num = len(next(iter(rows.values())))
        if num:
            of_part = _with_rows(source, rows)
            _check_part(posterior, of_part)
            mean += num / num_rows * float(of_part.log_prob(point)[0])
    tolerance = TOLERANCE[source.dtype] * (1.0 + abs(whole))
    if np.isfinite([whole, mean]).all() and abs(mean - whole) > tolerance:
        raise ValueError(
            f"rows: given batches whose mean log prob is {mean:.6g} and that of all "
            f"rows is {whole:.6g}, wanted them equal: put what has an entry for each "
            f'row in `ppl.plate("row", SIZE, total={num_rows})`, SIZE being the '
            "number of rows given"
        )
