"""What a posterior of the benchmark is: data, our program and Stan's, by name."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import ppl_core as ppl

Data = dict[str, np.ndarray]
Values = Mapping[str, Any]  # of parameters, by name


class Between(NamedTuple):
    """A parameter between bounds that may depend on those declared before it."""

    low: Callable[[Values], Any]
    high: Callable[[Values], Any]


Constraint = str | Between  # "real", "positive", "unit", "ordered" or "simplex"


class LongRun(NamedTuple):
    """The same posterior in other coordinates, in which a long run of Stan is feasible.

    Its program has what is compared among its transformed parameters.
    """

    stan: str
    make_data: Callable[[Data], Data]  # of the model's data


class BenchModel(NamedTuple):
    """One posterior: the same data and the same model in our language and in Stan's.

    Parameters have the same names in both.  The densities are equal up to a constant.
    """

    name: str
    about: str  # what it exercises, a line
    make_data: Callable[[], Data]  # the same at every call; Stan's names
    program: Callable[..., Any]
    arguments: tuple[str, ...]  # of the program: names of data
    observed: tuple[str, ...]  # the program's observed variables: names of data
    stan: str  # the program in Stan's language
    # Stan's constraint of each parameter, in the order of its parameters block.
    parameters: Mapping[str, Constraint]
    # What is compared between systems: parameters and computed values.  None: all
    # parameters.
    compared: tuple[str, ...] | None = None
    # What the long run of Stan does differently; see bench.posterior_references.
    reference_settings: Mapping[str, Any] = {}
    long_run: LongRun | None = None  # None: of the program itself
    # Whose Stan program makes the reference draws; None: its own.
    reference: str | None = None
    # Mean and mean of squares of what is compared, where they are known without a run.
    exact: Mapping[str, Mapping[str, float]] | None = None
    # Why there is no reference; None: there is one.
    no_reference: str | None = None

    @property
    def compared_names(self) -> tuple[str, ...]:
        return self.compared or tuple(self.parameters)

    @property
    def reference_name(self) -> str:
        return self.reference or self.name


def build(
    model: BenchModel, data: Values | None = None, *, dtype: tf.DType = tf.float64
) -> ppl.Posterior:
    """The model's posterior on unconstrained space, in our language.

    data: of `model.make_data`; None: made here.
    """
    data = model.make_data() if data is None else data
    return ppl.posterior(
        model.program,
        *(data[name] for name in model.arguments),
        observed={name: data[name] for name in model.observed},
        dtype=dtype,
    )
