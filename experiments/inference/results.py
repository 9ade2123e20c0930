"""Draws by the names of the model's variables: as arrays, and as an ArviZ DataTree."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import xarray as xr

from experiments.inference.memory import check_bytes
from experiments.inference.named_statistics import sample_stats
from experiments.inference.samples import Samples
from experiments.inference.settings import check_count
from experiments.inference.warmup_state import Warmup

BATCH_NUMBERS = 1 << 22  # of unconstrained coordinates that are constrained at once
LIBRARY = "accelerated-ppl"
FIXED = "constant_by_the_model"  # an attribute of the group posterior
PREDICTIONS = ("log_likelihood", "prior", "prior_predictive", "posterior_predictive")

Constrain = Callable[[tf.Tensor], Mapping[str, Any]]


def constrain_draws(samples: Samples, constrain: Constrain) -> dict[str, np.ndarray]:
    """The draws of each variable by name: [chains, num, ...].

    constrain: from coordinates [draws, dim] to values by name, [draws, ...] each; of a
      program, `ppl.posterior(...).constrain`.

    Raises ValueError for values that take more memory than this machine has.

    >>> samples = Samples(np.zeros([2, 5, 1]), *6 * [np.zeros([2, 5])])
    >>> constrain_draws(samples, lambda x: {"scale": tf.exp(x[:, 0])})["scale"].shape
    (2, 5)
    """
    return Constrained(constrain, samples.draws).by_name(samples.draws)


class Constrained:
    """A model's values at unconstrained coordinates, in batches by one graph."""

    def __init__(self, constrain: Constrain, like: np.ndarray) -> None:
        """like: coordinates [..., dim] of the dtype that later ones have."""
        self._dim = like.shape[-1]
        self._dtype = tf.as_dtype(like.dtype)
        # As a graph, from which what only the log prob needs is pruned.
        self._constrain = tf.function(
            constrain,
            autograph=False,
            input_signature=[tf.TensorSpec([None, self._dim], self._dtype)],
        )
        # Standard normal coordinates: what is equal at all is so by the model.
        points = np.random.default_rng(0).normal(size=(3, self._dim))
        try:
            self._examples = self._at(points)
        except tf.errors.OpError:  # a decomposition that fails there, for example
            self._examples = self._at(like.reshape(-1, self._dim)[:1])

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each variable."""
        return {name: value.shape[1:] for name, value in self._examples.items()}

    def fixed(self) -> dict[str, np.ndarray]:
        """Which entries of each variable the model keeps constant, as of a diagonal."""
        return {
            name: np.asarray((value == value[:1]).all(axis=0) & (len(value) > 1))
            for name, value in self._examples.items()
        }

    def by_name(self, draws: np.ndarray) -> dict[str, np.ndarray]:
        """The values at coordinates [chains, num, dim]: [chains, num, ...] by name."""
        chains, num, dim = draws.shape
        for name, value in self._examples.items():
            needed = chains * num * value[0].nbytes
            check_bytes(f"draws of {name!r}", value.shape[1:], needed)
        values = {
            name: np.empty((chains * num, *value.shape[1:]), value.dtype)
            for name, value in self._examples.items()
        }
        flat = draws.reshape(-1, dim)
        size = max(1, BATCH_NUMBERS // max(1, dim))
        for first in range(0, len(flat), size):
            for name, part in self._at(flat[first : first + size]).items():
                values[name][first : first + size] = part
        return {
            name: value.reshape(chains, num, *value.shape[1:])
            for name, value in values.items()
        }

    def _at(self, points: np.ndarray) -> dict[str, np.ndarray]:
        values = self._constrain(tf.constant(points, self._dtype))
        return {name: np.asarray(value) for name, value in values.items()}


def to_datatree(
    samples: Samples,
    posterior: Any = None,
    *,
    step_size: Any,
    max_depth: int,
    warmup: Warmup | None = None,
    settings: Mapping[str, Any] | None = None,
) -> xr.DataTree:
    """The draws as an ArviZ DataTree.

    Its groups are posterior (variables by name, also `deterministic` ones, with dims
    and coords), sample_stats (in ArviZ's names), observed_data, constant_data (the
    program's arguments) and, of a run with warm-up, adaptation.  A "/" in a name, as
    `prefix` makes them, becomes "::", since in a DataTree "/" separates groups.

    posterior: of `ppl.posterior`; None: the draws are of one variable, x, and there are
      no data.
    step_size: in force while drawing; one number, or one per chain.
    warmup: step sizes, metrics and costs that warm-up found; None: there was none.
    settings: what else was in force; attributes of sample_stats.

    Raises ValueError for values that take more memory than this machine has, and for a
    name that is both a variable's and a dimension's.

    >>> samples = Samples(np.zeros([2, 5, 3]), *6 * [np.zeros([2, 5])])
    >>> tree = to_datatree(samples, step_size=0.1, max_depth=10)
    >>> list(tree.children), tree["posterior/x"].dims
    (['posterior', 'sample_stats'], ('chain', 'draw', 'x_dim_0'))
    """
    fixed: dict[str, np.ndarray] = {}
    values = {"x": samples.draws}
    if posterior is not None:
        constrained = Constrained(posterior.constrain, samples.draws)
        values, fixed = constrained.by_name(samples.draws), constrained.fixed()
    groups = {
        "posterior": group(values, posterior, ("chain", "draw")),
        "sample_stats": group(
            sample_stats(samples, step_size, max_depth), None, ("chain", "draw")
        ),
        **data_groups(posterior),
    }
    if warmup is not None:
        groups["adaptation"] = adaptation_group(warmup)
    groups["posterior"].attrs |= posterior_attributes(fixed)
    groups["sample_stats"].attrs |= attributes(
        {**(settings or {}), "max_depth": max_depth}
    )
    return xr.DataTree.from_dict(groups)


def group(
    values: Mapping[str, np.ndarray], posterior: Any, leading: Sequence[str] = ()
) -> xr.Dataset:
    """The values by name with the dims and coords of the posterior, if there is one.

    leading: the dimensions in front of the variable's own.

    Raises ValueError for a name that is both a variable's and a dimension's.
    """
    dataset = xr.Dataset()
    for name, value in values.items():
        lead = dict(zip(leading, value.shape, strict=False))
        dims, labels = layout(name, value.shape[len(leading) :], posterior)
        for dim, size in lead.items():
            labels[dim] = np.arange(size)
        variable = xr.DataArray(value, dims=(*lead, *dims), coords=labels)
        if clash := {flat_name(name), *dataset.data_vars} & {*dims, *dataset.dims}:
            raise ValueError(
                f"dims: given {min(clash)!r} as a dimension and as a variable, wanted "
                "different names"
            )
        dataset[flat_name(name)] = variable
    dataset.attrs["inference_library"] = LIBRARY
    return dataset


def layout(
    name: str, shape: Sequence[int], posterior: Any
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The names of a variable's own dimensions, and the labels along them.

    Without names of its own, they are NAME_dim_0, NAME_dim_1 and so on, as in ArviZ,
    and without labels the numbers from 0.
    """
    named = (getattr(posterior, "dims", None) or {}).get(name, ())
    known = getattr(posterior, "coords", None) or {}
    default = (f"{flat_name(name)}_dim_{i}" for i in range(len(shape)))
    dims = tuple((*named, *default)[: len(shape)]) if named else tuple(default)
    labels = {
        dim: np.asarray(known.get(dim, range(size)))
        for dim, size in zip(dims, shape, strict=True)
    }
    return dims, {dim: part for dim, part in labels.items()}


def flat_name(name: str) -> str:
    """A variable's name in a DataTree, where "/" separates groups."""
    return name.replace("/", "::")


def data_groups(posterior: Any) -> dict[str, xr.Dataset]:
    """observed_data and constant_data, as far as there are any."""
    source = getattr(posterior, "source", None)
    if source is None:
        return {}
    values = {
        "observed_data": source.observed_data(),
        "constant_data": source.constant_data(),
    }
    return {name: group(part, posterior) for name, part in values.items() if part}


def adaptation_group(warmup: Warmup) -> xr.Dataset:
    """What warm-up found and took.

    step_size, leapfrogs and divergences are [chain]; inverse_mass is [chain, ...], or
    without chain where all chains share one.  window_step_size and window_inverse_mass
    are those that came into force with draw first_draw of the warm-up, [window, ...];
    a step size was adapted from there on.  The time, in seconds, and the gradients that
    starts and step-size searches took of each chain are attributes.
    """
    axes = ("coordinate", "other_coordinate")[: warmup.inverse_mass.ndim - 1]
    of_metric = ("chain", *axes)
    inverse_mass, in_windows = warmup.inverse_mass, warmup.inverse_masses
    if len(inverse_mass) < len(warmup.step_size):
        of_metric, inverse_mass, in_windows = axes, inverse_mass[0], in_windows[:, 0]
    return xr.Dataset(
        {
            "step_size": ("chain", warmup.step_size),
            "leapfrogs": ("chain", warmup.leapfrogs),
            "divergences": ("chain", warmup.divergences),
            "inverse_mass": (of_metric, inverse_mass),
            "first_draw": ("window", warmup.first_draws),
            "window_step_size": (("window", "chain"), warmup.step_sizes),
            "window_inverse_mass": (("window", *of_metric), in_windows),
        },
        coords={"chain": np.arange(len(warmup.step_size))},
        attrs={
            "seconds": warmup.seconds,
            "other_gradients": warmup.other_gradients,
        },
    )


def posterior_attributes(fixed: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The entries that the model keeps constant, for summaries: indices by name."""
    indices = {
        flat_name(name): np.flatnonzero(where).tolist() for name, where in fixed.items()
    }
    return {FIXED: json.dumps({name: part for name, part in indices.items() if part})}


def attributes(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts in types that netCDF has: text, numbers, and JSON for all others."""
    return {
        name: value if type(value) in (str, int, float) else json.dumps(value)
        for name, value in facts.items()
        if value is not None
    }


def predict(
    draws: xr.DataTree,
    posterior: Any,
    groups: Sequence[str] = ("log_likelihood", "posterior_predictive"),
    *,
    num_prior_draws: int = 1000,
    seed: int = 0,
) -> xr.DataTree:
    """The DataTree with more groups, made from the program: a new tree.

    groups: which of log_likelihood (of every observation, for `arviz.loo`),
      posterior_predictive (data drawn anew, as many as draws), prior and
      prior_predictive (num_prior_draws from the prior, of latent variables and data).
    posterior: the one that was sampled.
    seed: of what is drawn.

    Raises ValueError for an unknown group, for a posterior that was not made from a
    program, for groups that take more memory than this machine has, and where the prior
    cannot be drawn.
    """
    unknown = sorted({*groups} - {*PREDICTIONS})
    if unknown:
        raise ValueError(f"groups: given {unknown}, wanted some of {PREDICTIONS}")
    source = getattr(posterior, "source", None)
    if source is None:
        raise ValueError("posterior: given one of no program, wanted ppl.posterior's")
    latent = {name: draws["posterior"][flat_name(name)] for name in posterior.names}
    shape = (draws["posterior"].sizes["chain"], draws["posterior"].sizes["draw"])
    flat = {
        name: value.transpose("chain", "draw", ...).values.reshape(-1, *value.shape[2:])
        for name, value in latent.items()
    }
    made: dict[str, xr.Dataset] = {}

    def add(name: str, values: Mapping[str, Any], shape: tuple[int, int]) -> None:
        arrays = {part: np.asarray(value) for part, value in values.items()}
        arrays = {
            part: value.reshape(*shape, *value.shape[1:])
            for part, value in arrays.items()
        }
        made[name] = group(arrays, posterior, ("chain", "draw"))

    if "log_likelihood" in groups:
        _check_rows(source, "log_likelihood", math.prod(shape))
        add("log_likelihood", source.log_likelihood(flat), shape)
    if "posterior_predictive" in groups:
        _check_rows(source, "posterior_predictive", math.prod(shape))
        predicted = source.posterior_predictive(flat, seed=(1, seed))
        add("posterior_predictive", predicted, shape)
    if {"prior", "prior_predictive"} & {*groups}:
        check_count("num_prior_draws", num_prior_draws)
        _check_rows(source, "prior_predictive", num_prior_draws)
        drawn = source.prior_predictive(num_draws=num_prior_draws, seed=(2, seed))
        observed = {name: drawn[name] for name in source.observed}
        latent_names = (*posterior.names, *posterior.deterministic)
        prior = {name: drawn[name] for name in latent_names}
        for name, values in (("prior", prior), ("prior_predictive", observed)):
            if name in groups:
                add(name, values, (1, num_prior_draws))
    parts = {name: node.to_dataset() for name, node in draws.children.items()}
    return xr.DataTree.from_dict({**parts, **made})


def _check_rows(source: Any, name: str, num_draws: int) -> None:
    """Raises ValueError where a number for each observation and draw is too much."""
    entries = sum(part.size for part in source.observed_data().values())
    needed = 2 * 8 * num_draws * entries  # once as tensors, once as arrays
    check_bytes(name, f"{num_draws} draws of {entries} observations", needed)
