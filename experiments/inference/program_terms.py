"""A model and a guide, both programs, run together at one draw."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from experiments.inference import prng
from ppl_core.precision import cast_tensors, in_dtype
from ppl_core.random_variable import RandomVariable
from ppl_core.shapes import without_plates
from ppl_core.sites import run_program
from ppl_core.source import Source
from ppl_core.terms import is_deterministic, is_factor
from ppl_core.trace import forward, only_tracers, trace
from ppl_core.tracers import taped
from ppl_core.transformations import align

Variables = dict[str, RandomVariable]
Values = dict[str, tf.Tensor]


class Site(NamedTuple):
    """How one of the guide's variables enters the ELBO and its gradient."""

    name: str
    # "reparameterised": through the draw.  "score function": by the gradient of log q
    # times the ELBO, less its mean over the other draws.  "summed": over all values.
    gradient: str
    # "KL": TFP's exact divergence from the model's variable.  "entropy": TFP's.
    # "draws": log p - log q at the draw.
    term: str
    values: np.ndarray | None  # that a summed variable may have, [values, ...]

    def __str__(self) -> str:
        exact = {"KL": ", exact KL", "entropy": ", exact entropy", "draws": ""}
        return self.gradient + exact[self.term]


class ProgramGuide(NamedTuple):
    """A program that draws values for a model's latent variables."""

    posterior: Any
    program: Callable[[Any], Any]
    params: Any
    alignment: dict[str, str]
    sites: tuple[Site, ...]


def run_guide(
    guide: ProgramGuide,
    params: Any,
    seed: Any,
    values: Mapping[str, np.ndarray],
    sites: Mapping[str, Site],
) -> Variables:
    """The guide's variables: at these values, or drawn."""
    numbers = itertools.count()
    root = tf.convert_to_tensor(seed, tf.int32)

    def draw(construct: Any, *args: Any, **kwargs: Any) -> Any:
        makes = hasattr(construct, "makes_random_variable")
        if not makes or hasattr(construct, "computes_value"):
            return forward(construct, *args, **kwargs)
        name: Any = kwargs.get("name")
        if kwargs.get("value") is not None:
            raise ValueError(
                f"guide: {construct.__name__}(name={name!r}): given a value, wanted it "
                "without one"
            )
        own_seed = prng.fold_in(root, tf.constant(next(numbers)))

        def value(variable: RandomVariable) -> tf.Tensor:
            if variable.bijector is not None:
                raise ValueError(
                    f"guide: {variable.label}: given a bijector, wanted none: it "
                    "cannot be drawn"
                )
            if name in values:
                return tf.constant(values[name], variable.distribution.dtype)
            found = variable.distribution.sample(variable.sample_shape, seed=own_seed)
            through = name not in sites or sites[name].gradient == "reparameterised"
            return found if through else tf.stop_gradient(found)

        vars(value)["inside_support"] = True
        return forward(construct, *args, **kwargs | {"value": value, "observed": False})

    dtype = guide.posterior.source.dtype
    with only_tracers(()), in_dtype(dtype), taped("guide") as variables, trace(draw):
        guide.program(params)
    for variable in variables.values():
        if is_factor(variable):
            raise ValueError(f"guide: given {variable.label}, wanted random variables")
    return {n: v for n, v in variables.items() if not is_deterministic(v)}


def run_aligned(guide: ProgramGuide, own: Variables) -> Variables:
    """The model's variables at the values of the guide's."""
    source = guide.posterior.source
    variables, drawn = run_model(source, align(guide.alignment, own))
    if drawn:
        raise ValueError(f"{source.label}: given no value for {drawn}, wanted one")
    return variables


def run_model(source: Source, values: Values) -> tuple[Variables, list[str]]:
    """The model's variables, and labels of those drawn for want of a value."""
    # Functions, so that a value outside the support has a log prob of -inf.
    points = {name: lambda _, value=value: value for name, value in values.items()}
    with in_dtype(source.dtype):
        return run_program(
            source.program,
            cast_tensors(source.args, source.dtype),
            cast_tensors(source.kwargs, source.dtype),
            {**points, **source.observed},
            source.tracers,
            source.label,
        )


def has_term(variable: RandomVariable) -> bool:
    """Whether the log joint has a term of it."""
    return not is_deterministic(variable)


def _is_plain(variable: RandomVariable) -> bool:
    """Whether its term is the log density of its distribution, as it is."""
    is_other = variable.is_weighted or variable.is_marginal
    return not is_other and variable.interval is None and variable.bijector is None


def kl(variable: RandomVariable, of_model: RandomVariable) -> Any:
    """TFP's KL divergence for each entry of the log prob; None: it has none."""
    shape = variable.log_prob().shape
    plain = _is_plain(variable) and _is_plain(of_model)
    if not plain or of_model.log_prob().shape != shape:
        return None
    parts = (without_plates(v.distribution) for v in (variable, of_model))
    try:
        return _entries(tfd.kl_divergence(*parts), shape)
    except (NotImplementedError, ValueError):
        return None


def entropy(variable: RandomVariable) -> Any:
    """TFP's entropy for each entry of the log prob; None: it has none."""
    if not _is_plain(variable):
        return None
    try:
        found = without_plates(variable.distribution).entropy()
    except (NotImplementedError, ValueError):
        return None
    return _entries(found, variable.log_prob().shape)


def _entries(found: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor | None:
    """One number for each entry of this shape."""
    if tf.broadcast_static_shape(found.shape, shape) != shape:
        return None
    return tf.broadcast_to(found, shape)


def total(terms: Iterable[tf.Tensor]) -> tf.Tensor:
    """The sum of all entries of all terms: float64."""
    totals = [tf.reduce_sum(tf.cast(term, tf.float64)) for term in terms]
    return tf.add_n(totals) if totals else tf.zeros([], tf.float64)


def to_tensors(guide: ProgramGuide) -> Any:
    """The parameters that the guide begins with."""
    dtype = guide.posterior.source.dtype
    return tf.nest.map_structure(lambda part: tf.constant(part, dtype), guide.params)
