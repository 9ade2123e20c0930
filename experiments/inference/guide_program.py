"""Guides that are programs of random variables, aligned with a model by name.

Tran et al. (2018), section 3.3 and figures 11 and 12.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from experiments.inference import prng
from experiments.inference.program_terms import (
    ProgramGuide,
    Site,
    Variables,
    entropy,
    has_term,
    kl,
    run_aligned,
    run_guide,
    run_model,
    to_tensors,
)
from ppl_core import support_checks
from ppl_core.gradients import reached_from
from ppl_core.marginal import MAX_ASSIGNMENTS, values_of
from ppl_core.random_variable import RandomVariable
from ppl_core.source import Source, observed_values
from ppl_core.terms import is_deterministic
from ppl_core.tracers import inherited_tracers

MOST_VALUES = 16  # joint values of discrete variables that are summed over unasked
CHECKED_DRAWS = 32  # that the supports are compared by
_SEED = (0, 0)


class _DrawnSource(Source):
    """A source whose latent variables are drawn to see the data, as they may be
    discrete."""

    def observed_data(self) -> dict[str, np.ndarray]:
        @tf.function(autograph=False)
        def run() -> dict[str, tf.Tensor]:
            variables, _ = run_model(self, {})
            return observed_values(variables)

        return {name: value.numpy() for name, value in run().items()}


class Joint(NamedTuple):
    """A program and its data, whose latent variables may be discrete."""

    names: tuple[str, ...]  # of the latent variables
    dtype: tf.DType
    dims: Mapping[str, tuple[str, ...]]
    coords: Mapping[str, Any]
    source: Source


def joint(
    program: Callable[..., Any],
    *args: Any,
    observed: Mapping[str, Any] | None = None,
    dtype: tf.DType = tf.float64,
    **kwargs: Any,
) -> Joint:
    """A program and its data for `program_guide`: as `ppl.posterior`, and latent
    variables may be discrete.

    Raises ValueError for a program without latent variables.

    >>> def model():
    ...     z = ppl.Bernoulli(probs=0.25, name="z")
    ...     return ppl.Normal(tf.cast(z, tf.float64), 1.0, name="x")
    >>> joint(model, observed={"x": 0.5}).names
    ('z',)
    """
    tracers = inherited_tracers()
    source = _DrawnSource(program, args, kwargs, dict(observed or {}), tracers, dtype)
    variables = _discarded(lambda: run_model(source, {})[0])
    latent = {n: v for n, v in variables.items() if _is_latent(v)}
    if not latent:
        raise ValueError(f"{source.label}: given no latent variable, wanted some")
    dims = {n: v.dims for n, v in variables.items() if v.dims is not None}
    coords: dict[str, Any] = {}
    for variable in variables.values():
        coords |= variable.coords
    return Joint(tuple(latent), dtype, dims, coords, source)


def program_guide(
    posterior: Any,
    program: Callable[[Any], Any],
    params: Any,
    *,
    alignment: Mapping[str, str] | None = None,
    summed: Sequence[str] | None = None,
    reparameterized: Sequence[str] = (),
) -> ProgramGuide:
    """A guide that is a program of the parameters: `program(params)`.

    posterior: of `ppl.posterior`, or of `joint` where latent variables are discrete.
    params: a dictionary of arrays, or of such dictionaries: where the parameters begin.
    alignment: names in the model to names in the guide, where they differ.
    summed: the guide's variables whose finitely many values are summed over; None: the
      discrete ones, as long as they have at most 16 joint values.
    reparameterized: the guide's variables whose gradients must go through their draws.

    Other variables whose draws have a gradient go through these; the rest use the score
    function, for which `fit_vi` needs two draws a step or more.  Where TFP knows the KL
    divergence from the model's variable, or the entropy, that is exact.  `guide.sites`
    says what each has become.

    Raises ValueError for a latent variable that the guide lacks, for one too many, for
    one of another shape or support, and for a name in `alignment`, `summed` or
    `reparameterized` that nothing has.

    >>> def model():
    ...     mu = ppl.Normal(0.0, 1.0, name="mu")
    ...     return ppl.Normal(mu, 1.0, name="y")
    >>> def guide(params):
    ...     return ppl.Normal(params["loc"], tf.exp(params["log_scale"]), name="mu")
    >>> posterior = ppl.posterior(model, observed={"y": 1.0})
    >>> guide = program_guide(posterior, guide, {"loc": 0.0, "log_scale": -1.0})
    >>> [f"{site.name}: {site}" for site in guide.sites]
    ['mu: reparameterised, exact KL']
    """
    source = getattr(posterior, "source", None)
    if source is None:
        raise ValueError(f"posterior: given {posterior!r}, wanted one of ppl.posterior")
    params = _to_arrays(params, source.dtype, "params")
    given = dict(alignment or {})
    guide = ProgramGuide(posterior, program, params, {}, ())
    first = _discarded(lambda: run_guide(guide, to_tensors(guide), _SEED, {}, {}))
    aligned = _align(posterior, first, given)
    guide = guide._replace(alignment=aligned)
    sites = _choose(guide, summed, reparameterized)
    _check_supports(guide)
    return guide._replace(sites=sites)


def _align(
    posterior: Any, variables: Variables, given: Mapping[str, str]
) -> dict[str, str]:
    """The guide's name of every latent variable."""
    names = {name for name, part in variables.items() if not is_deterministic(part)}
    unknown = sorted(given.keys() - {*posterior.names})
    if unknown:
        raise ValueError(
            f"alignment: given {unknown}, wanted names of latent variables among "
            f"{sorted(posterior.names)}"
        )
    lacking = sorted({*given.values()} - names)
    if lacking:
        raise ValueError(
            f"alignment: given {lacking}, wanted names of the guide's variables among "
            f"{sorted(names)}"
        )
    aligned = {name: given.get(name, name) for name in posterior.names}
    missing = [name for name, other in aligned.items() if other not in names]
    if missing:
        raise ValueError(
            f"guide: given no variable for {missing}, wanted one of the same name, or "
            "an alignment"
        )
    used = [*aligned.values()]
    if extra := sorted(names - {*used}):
        raise ValueError(
            f"guide: given {extra}, which no latent variable is aligned with, wanted "
            f"variables for {sorted(posterior.names)} alone"
        )
    if twice := sorted({other for other in used if used.count(other) > 1}):
        raise ValueError(f"alignment: given {twice} twice, wanted one for each")
    return aligned


def _choose(
    guide: ProgramGuide, summed: Sequence[str] | None, reparameterized: Sequence[str]
) -> tuple[Site, ...]:
    """How each variable enters, read off a graph that is discarded."""
    names = [*guide.alignment.values()]
    asked = {"summed": summed or (), "reparameterized": reparameterized}
    for label, given in asked.items():
        unknown = sorted({*given} - {*names})
        if isinstance(given, str) or unknown:
            raise ValueError(
                f"{label}: given {given!r}, wanted a list of the guide's variables "
                f"among {sorted(names)}"
            )
    sites: list[Site] = []

    def look() -> None:
        own = run_guide(guide, to_tensors(guide), _SEED, {}, {})
        of_model = run_aligned(guide, own)
        num_values = 1
        for name in names:
            variable = own[name]
            through = _is_reparameterized(variable)
            if name in reparameterized and not through:
                raise ValueError(
                    f"reparameterized: given {variable.label}, whose draws have no "
                    "gradient, wanted it summed or by the score function"
                )
            values = None
            if (name in summed) if summed is not None else not through:
                values = _values_of(variable, name in (summed or ()))
            if values is not None and summed is None:
                if num_values * len(values) > MOST_VALUES:
                    values = None
                else:
                    num_values *= len(values)
            if values is not None:
                sites.append(Site(name, "summed", "draws", values))
                continue
            model_name = next(m for m, g in guide.alignment.items() if g == name)
            term = "draws"
            if entropy(variable) is not None:
                term = "entropy"
            exact = kl(variable, of_model[model_name])
            if exact is not None and exact.ref() not in reached_from(variable.value):
                term = "KL"
            gradient = "reparameterised" if through else "score function"
            sites.append(Site(name, gradient, term, None))

    _discarded(look)
    return tuple(sites)


def _check_supports(guide: ProgramGuide) -> None:
    """Raises ValueError where draws are outside the model's support."""

    def outside(seed: tf.Tensor) -> dict[str, tf.Tensor]:
        own = run_guide(guide, to_tensors(guide), seed, {}, {})
        of_model = run_aligned(guide, own)
        found = {}
        for name in guide.alignment:
            variable = of_model[name]
            wrong = support_checks.outside(variable.distribution, variable.value)
            found[name] = tf.constant(False) if wrong is None else tf.reduce_any(wrong)
        return found

    seeds = tf.random.split(tf.constant(_SEED), CHECKED_DRAWS, alg=prng.RNG)
    types = dict.fromkeys(guide.alignment, tf.TensorSpec([], tf.bool))
    wrong = tf.function(
        lambda: tf.map_fn(outside, seeds, fn_output_signature=types), autograph=False
    )()
    for name, other in guide.alignment.items():
        if np.any(wrong[name]):
            raise ValueError(
                f"guide: given draws of {other!r} outside the support of {name!r}, "
                "wanted a distribution on that support"
            )


def _is_latent(variable: RandomVariable) -> bool:
    return not variable.observed and has_term(variable)


def _is_reparameterized(variable: RandomVariable) -> bool:
    kind = variable.distribution.reparameterization_type
    return bool(kind == tfd.FULLY_REPARAMETERIZED)


def _values_of(variable: RandomVariable, is_asked: bool) -> np.ndarray | None:
    """All values of a finite variable, [values, ...]; None: not asked, and too many."""
    label = f"summed: {variable.label}"
    try:
        table = values_of(variable.distribution, label)
    except ValueError:
        if is_asked:
            raise
        return None
    shape = tuple(variable.shape)
    count = len(table) ** math.prod(shape)
    if count > (MAX_ASSIGNMENTS if is_asked else MOST_VALUES):
        if is_asked:
            raise ValueError(f"{label}: given {count} joint values, wanted fewer")
        return None
    joint_values = itertools.product(table, repeat=math.prod(shape))
    return np.array([np.reshape(one, shape) for one in joint_values])


def _discarded[Result](function: Callable[[], Result]) -> Result:
    """What a function returns, run in a graph that is discarded."""
    found: list[Result] = []
    tf.function(
        lambda: found.append(function()), autograph=False
    ).get_concrete_function()
    return found[0]


def _to_arrays(params: Any, dtype: tf.DType, label: str) -> Any:
    """The parameters, in dictionaries, as arrays."""
    if isinstance(params, Mapping):
        return {
            name: _to_arrays(part, dtype, f"{label}: {name!r}")
            for name, part in params.items()
        }
    array = np.asarray(params)
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise ValueError(f"{label}: given {params!r}, wanted finite numbers")
    return array.astype(dtype.as_numpy_dtype)
