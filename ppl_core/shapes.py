"""The shape of a variable's value: sample_shape, plates and named dimensions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

Plates = tuple[tuple[str, int], ...]  # name and size, the outermost first


_SCALAR = tf.TensorShape([])
# By class, its parameters where each is one number an entry; None: not all are.
_parameters: dict[type, tuple[str, ...] | None] = {}


def static_shape(shape: Any, label: str = "sample_shape") -> tf.TensorShape:
    """The static shape of `shape`, a number, sequence or tensor.

    Raises ValueError, which begins with the label, for what is no shape.
    """
    if isinstance(shape, tuple) and not shape:
        return _SCALAR
    static = tf.get_static_value(shape) if tf.is_tensor(shape) else shape
    if static is None and shape is not None:
        return tf.TensorShape(None)
    sizes = np.asarray(static)
    if sizes.size and (sizes.dtype.kind not in "iu" or sizes.min() < 0):
        raise ValueError(f"{label}: given {shape}, wanted whole numbers, 0 or more")
    return tf.TensorShape(np.atleast_1d(np.asarray(static, np.int64)).tolist())


def value_shape(
    distribution: tfd.Distribution, sample_shape: tf.TensorShape
) -> tf.TensorShape:
    """The shape of a value: sample + batch + event."""
    batch_shape = _common_shape(distribution)
    if batch_shape is not None:  # scalars, as events of one-number parameters are
        is_one = sample_shape is _SCALAR
        return batch_shape if is_one else sample_shape.concatenate(batch_shape)
    shape = sample_shape.concatenate(distribution.batch_shape)
    return shape.concatenate(distribution.event_shape)


def without_plates(distribution: tfd.Distribution) -> tfd.Distribution:
    """The distribution that plates have broadcast."""
    while isinstance(distribution, tfd.BatchBroadcast):
        distribution = distribution.distribution
    return distribution


def without_broadcast(
    value: tf.Tensor, shape: tf.TensorShape, distribution: tfd.Distribution
) -> tf.Tensor:
    """`value`, which fails when run if one entry meets a length that is only then known
    to be another; the log prob would repeat the entry."""
    if shape.rank is None or value.shape.rank is None or shape.is_fully_defined():
        return value
    pairs = zip(value.shape, shape, strict=True)
    if not any(given == 1 and wanted is None for given, wanted in pairs):
        return value
    own = tf.concat(
        [distribution.batch_shape_tensor(), distribution.event_shape_tensor()], 0
    )
    lead = tf.shape(value)[: value.shape.rank - own.shape[0]]
    # Not a reshape: one entry fits only one shape, so TensorFlow would leave it out.
    size = tf.concat([lead, own], 0)
    return tf.slice(value, tf.zeros_like(size), size)


def _common_shape(distribution: tfd.Distribution) -> tf.TensorShape | None:
    """The parameters' shape where all have one, which is then the batch shape.

    TFP's own way to the batch shape of such a distribution takes a hundred
    microseconds.
    """
    kind = type(distribution)
    if kind not in _parameters:
        _parameters[kind] = _numbers_of(distribution)
    names = _parameters[kind]
    if names is None:
        return None
    found = None
    for name in names:
        part = getattr(distribution, name)
        if part is None:  # the other one of two ways to give it
            continue
        shape = getattr(part, "shape", None)
        if not isinstance(shape, tf.TensorShape) or (
            found is not None and shape != found
        ):
            return None
        found = shape
    return found


def _numbers_of(distribution: tfd.Distribution) -> tuple[str, ...] | None:
    kind = type(distribution)
    inherits = kind._batch_shape is tfd.Distribution._batch_shape
    if not inherits or distribution.event_shape.rank != 0:
        return None
    try:
        properties = kind.parameter_properties(dtype=distribution.dtype)
    except NotImplementedError:
        return None
    is_plain = all(
        part.event_ndims == 0 and part.is_tensor for part in properties.values()
    )
    return tuple(properties) if is_plain and properties else None


def expand(
    distribution: tfd.Distribution,
    name: str | None,
    options: dict[str, Any],
    label: str,
) -> tuple[tfd.Distribution, dict[str, Any]]:
    """The distribution and the options of a variable inside plates or with `dims`.

    A variable's shape is its sample_shape, then its plates, then the event.  Its
    distribution's batch shape broadcasts to the plates' sizes.

    options: of RandomVariable, and `plates`; the result has a sample_shape with the
      plates, and `dims` with a name for each dimension.

    Raises ValueError for a batch shape that does not broadcast to the plates', and for
    dims that are not as many as the dimensions, or whose sizes are not the labels'.
    """
    options = dict(options)
    plates: Plates = options.pop("plates", ())
    coords = options.get("coords") or {}
    dims = as_names(options.pop("dims", None), label)
    sample = static_shape(options.get("sample_shape", ()))
    batch, event = distribution.batch_shape, distribution.event_shape
    ranks = (sample.rank, batch.rank, event.rank)
    if None in ranks:
        raise ValueError(f"{label}: given an unknown shape, wanted a known one")
    if dims is not None and not plates and not sample.rank:
        sample = _from_coords(dims, batch.rank + event.rank, coords, label)
    own_rank = sample.rank
    if plates:
        distribution, added = _into_plates(distribution, plates, label)
        sample = sample.concatenate(added)
    shape = sample.concatenate(distribution.batch_shape).concatenate(event)
    options["sample_shape"] = tuple(sample)
    if dims is not None or plates:
        options["dims"] = name_dims(dims, plates, own_rank, shape, coords, label, name)
    options["coords"] = labels_of(options.get("dims"), coords)
    return distribution, options


def check_tables(options: Mapping[str, Any], label: str) -> None:
    """Raises TypeError for coords and plates other than the tracers' own."""
    coords, plates = options.get("coords"), options.get("plates")
    is_table = coords is None or (
        isinstance(coords, Mapping)
        and all(isinstance(part, str) for part in coords)
        and all(np.ndim(part) == 1 for part in coords.values())
    )
    if not is_table:
        raise TypeError(
            f"{label}: given coords {coords!r}, wanted `with ppl.coords(...):` around"
        )
    is_plates = plates is None or (
        isinstance(plates, tuple)
        and all(isinstance(part, tuple) and len(part) == 2 for part in plates)
        and all(isinstance(size, int) and size >= 0 for _, size in plates)
        and all(isinstance(part, str) for part, _ in plates)
    )
    if not is_plates:
        raise TypeError(
            f"{label}: given plates {plates!r}, wanted `with ppl.plate(...):` around"
        )


def as_names(dims: Any, label: str) -> tuple[str, ...] | None:
    """Names of dimensions, which may be given as one string; None: not named.

    Raises TypeError for what is no name, and ValueError for an empty one.
    """
    if dims is None:
        return None
    names = (dims,) if isinstance(dims, str) or not np.iterable(dims) else tuple(dims)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"{label}: given dims {dims!r}, wanted names of dimensions")
    if "" in names:
        raise ValueError(
            f"{label}: given dims {dims!r}, an empty name among them; wanted names of "
            "dimensions"
        )
    return names


def check_dims(variable: Any, sizes: dict[str, tuple[int, str]], label: str) -> None:
    """Adds the sizes of a variable's dimensions to `sizes`, by their names.

    sizes: and the name of a variable that has them.

    Raises ValueError, which begins with the label, for a name that has another size.
    """
    if variable.dims is None:
        return
    try:
        shape = variable.shape
    except NotImplementedError:  # it has no value
        return
    for dim, size in zip(variable.dims, shape, strict=False):
        if size is None:
            continue
        known, other = sizes.setdefault(dim, (size, variable.name))
        if size != known:
            raise ValueError(
                f"{label}: given {size} entries along {dim!r} in {variable.name!r}, "
                f"and {known} in {other!r}; wanted one size, or two names"
            )


def labels_of(dims: Sequence[str] | None, coords: Mapping[str, Any]) -> dict[str, Any]:
    """The labels of these dimensions, where they have some."""
    return {dim: coords[dim] for dim in dims or () if dim in coords}


def name_dims(
    dims: Sequence[str] | None,
    plates: Plates,
    own_rank: int,  # dimensions in front of the plates
    shape: tf.TensorShape,
    coords: Mapping[str, Any],
    label: str,
    name: str | None,
) -> tuple[str, ...]:
    """A name for each dimension of a value of `shape`.

    Dimensions that neither `dims` nor a plate names are called as ArviZ calls them.
    """
    inside = tuple(plate for plate, _ in plates)
    others = shape.rank - len(inside)
    if dims is None:
        dims = tuple(f"{name}_dim_{i}" for i in range(others))
    if len(dims) != others:
        beside = f" beside the plates {inside}" if inside else ""
        raise ValueError(
            f"{label}: given dims {tuple(dims)} for a value of shape {shape}, wanted "
            f"{others} names{beside}"
        )
    names = (*dims[:own_rank], *inside, *dims[own_rank:])
    if len(set(names)) < len(names):
        raise ValueError(f"{label}: given dims {names}, wanted each name once")
    for dim, size in zip(names, shape, strict=True):
        if dim in coords and size is not None and len(coords[dim]) != size:
            raise ValueError(
                f"{label}: given {size} entries along {dim!r}, which has "
                f"{len(coords[dim])} labels; wanted as many"
            )
    return names


def _from_coords(
    dims: Sequence[str], rank: int, coords: Mapping[str, Any], label: str
) -> tf.TensorShape:
    """The sample shape that `dims` ask for in front of `rank` dimensions."""
    lead = dims[: max(len(dims) - rank, 0)]
    unknown = [dim for dim in lead if dim not in coords]
    if unknown:
        raise ValueError(
            f"{label}: given dims {unknown} whose sizes are not known, wanted a "
            "sample_shape, or their labels by `coords`"
        )
    return tf.TensorShape([len(coords[dim]) for dim in lead])


def _into_plates(
    distribution: tfd.Distribution, plates: Plates, label: str
) -> tuple[tfd.Distribution, tf.TensorShape]:
    """The distribution with the plates' sizes as its batch shape, in part or whole.

    The second result is the part that is left to the sample shape.
    """
    wanted = tf.TensorShape([size for _, size in plates])
    batch = distribution.batch_shape
    try:
        fits = tf.broadcast_static_shape(batch, wanted) == wanted
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{label}: given a distribution of batch shape {batch} inside plates of "
            f"sizes {tuple(wanted)}, wanted one that broadcasts to them; name what is "
            "no plate by sample_shape or as an event (Independent)"
        )
    lead = wanted.rank - batch.rank
    if batch == wanted[lead:]:
        return distribution, wanted[:lead]
    return tfd.BatchBroadcast(distribution, wanted), tf.TensorShape([])
