"""What a posterior was made from: the data by name, and draws of the program again."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ppl_core.censoring import Interval
from ppl_core.data import check_by_name
from ppl_core.precision import cast_tensors, in_dtype
from ppl_core.random_variable import RandomVariable
from ppl_core.sites import run_in_the_middle
from ppl_core.terms import is_deterministic, is_factor
from ppl_core.trace import Tracer, add_tracers, only_tracers
from ppl_core.transformations import (
    Program,
    label_of,
    make_log_likelihood_fn,
    make_log_prob_parts_fn,
    posterior_predictive,
    prior_predictive,
)

Values = dict[str, tf.Tensor]


def observed_values(variables: Mapping[str, RandomVariable]) -> Values:
    """The data among the variables that are tensors, by name."""
    return {
        name: variable.value
        for name, variable in variables.items()
        if variable.observed
        and tf.is_tensor(variable.value)
        and not is_deterministic(variable)
        and not is_factor(variable)
    }


class Source(NamedTuple):
    """A program, its arguments and its data, for what comes after sampling."""

    program: Program
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    observed: Mapping[str, Any]
    tracers: Sequence[Tracer]  # around the call that made the posterior, without tapes
    dtype: tf.DType  # of variables and of the tensors among the arguments

    @property
    def label(self) -> str:
        """The program's name."""
        return label_of(self.program)

    def observed_data(self) -> dict[str, np.ndarray]:
        """The data by name: what was given, and what program and tracers set.

        A joint distribution's data are left out.

        An entry of an `Interval` that is not known is NaN; its bounds are then there as
        NAME_low and NAME_high.
        """

        @tf.function(autograph=False)
        def run() -> Values:
            variables, _ = run_in_the_middle(self._run, (), {}, self.observed, ())
            return observed_values(variables)

        with only_tracers(()), in_dtype(self.dtype):
            data = {name: value.numpy() for name, value in run().items()}
        for name, value in self.observed.items():
            if isinstance(value, Interval) and not value.is_exact.all():
                data |= {f"{name}_low": value.low, f"{name}_high": value.high}
        return data

    def constant_data(self) -> dict[str, np.ndarray]:
        """The program's arguments that are numbers, by the names of its parameters.

        The columns of a data frame are NAME_COLUMN.  Other arguments are left out.
        """
        signature = inspect.signature(self.program)
        arguments = dict(signature.bind(*self.args, **self.kwargs).arguments)
        for name, parameter in signature.parameters.items():
            if name in arguments and parameter.kind == parameter.VAR_KEYWORD:
                arguments |= arguments.pop(name)
            elif name in arguments and parameter.kind == parameter.VAR_POSITIONAL:
                values = arguments.pop(name)
                arguments |= {f"{name}_{i}": value for i, value in enumerate(values)}
        constants: dict[str, np.ndarray] = {}
        for name, value in arguments.items():
            columns = getattr(value, "columns", None)
            parts = {name: value}
            if columns is not None:
                parts = {f"{name}_{column}": value[column] for column in columns}
            for part, numbers in parts.items():
                if (array := _numbers(numbers)) is not None:
                    constants[part] = array
        return constants

    def log_likelihood(self, draws: Mapping[str, Any]) -> Values:
        """The log prob of every observation, [draws, ...], by the names of the data.

        draws: [draws, ...] by name, of the latent variables.
        """
        pointwise = make_log_likelihood_fn(
            self._run, observed=self.observed, batch_ndims=1
        )

        @tf.function(autograph=False)
        def run(draws: Values) -> Values:
            return pointwise(**draws)

        with only_tracers(()), in_dtype(self.dtype):
            return run(self._tensors(draws))

    def log_prob_parts(self, draws: Mapping[str, Any]) -> Values:
        """The log prob of every variable, data and latent, [draws] each by name.

        draws: [draws, ...] by name, of the latent variables.
        """
        parts = make_log_prob_parts_fn(self._run, observed=self.observed, batch_ndims=1)

        @tf.function(autograph=False)
        def run(draws: Values) -> Values:
            return parts(**draws)

        with only_tracers(()), in_dtype(self.dtype):
            return run(self._tensors(draws))

    def prior_predictive(self, *, num_draws: int, seed: Any) -> Values:
        """Draws of all variables from the prior, [num_draws, ...] by name.

        Of data that program or tracers set, the draws are these data.

        Raises ValueError for a variable that cannot be drawn, such as a flat one.
        """
        try:
            with only_tracers(()), in_dtype(self.dtype):
                return prior_predictive(self._run, num_draws=num_draws, seed=seed)
        except NotImplementedError as error:
            raise ValueError(
                f"{self.label}: no draw from the prior: {error}"
            ) from error

    def posterior_predictive(self, draws: Mapping[str, Any], *, seed: Any) -> Values:
        """Draws of the data given draws of the latent variables, [draws, ...] by name.

        Raises ValueError where no data were given as `observed`: what the program or a
        tracer sets is never drawn.
        """
        if not self.observed:
            raise ValueError(
                f"{self.label}: given data that the program or a `condition` sets, "
                "wanted them as `observed`: only such data are drawn anew"
            )
        with only_tracers(()), in_dtype(self.dtype):
            drawn = posterior_predictive(
                self._run, draws=self._tensors(draws), seed=seed
            )
        return {name: drawn[name] for name in self.observed}

    @property
    def _run(self) -> Program:
        """The program with its arguments and tracers, by its name in errors."""

        def run() -> Any:
            args = cast_tensors(self.args, self.dtype)
            with add_tracers(self.tracers):
                return self.program(*args, **cast_tensors(self.kwargs, self.dtype))

        run.__name__ = self.label
        return run

    def _tensors(self, draws: Mapping[str, Any]) -> Values:
        check_by_name(draws, f"{self.label}: draws")
        return {name: tf.cast(value, self.dtype) for name, value in draws.items()}


def _numbers(value: Any) -> np.ndarray | None:
    """`value` as an array where it is one of numbers."""
    if callable(value) or isinstance(value, (str, bytes, Mapping)):
        return None
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    return array if array.dtype.kind in "biuf" else None
