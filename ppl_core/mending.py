"""This package's densities in place of TFP's, also inside other distributions."""

import inspect
from typing import Any

from tensorflow_probability import distributions as tfd

from ppl_core import densities, edges

_OURS = {
    getattr(tfd, name): kind
    for module in (densities, edges)
    for name, kind in vars(module).items()
    if inspect.isclass(kind) and hasattr(tfd, name) and kind is not getattr(tfd, name)
}


def mend(distribution: Any) -> Any:
    """The distribution, with this package's class where TFP's is mended.

    It looks inside the distributions that are made from others, such as tfd.Sample.
    """
    kind = type(distribution)
    ours = _OURS.get(kind, kind)
    given = distribution.parameters
    parameters = {key: _mend_inside(part) for key, part in given.items()}
    if ours is kind and all(parameters[key] is given[key] for key in given):
        return distribution
    return ours(**parameters)


def _mend_inside(part: Any) -> Any:
    if isinstance(part, tfd.JointDistribution):
        return part
    if isinstance(part, tfd.Distribution):
        return mend(part)
    if isinstance(part, (list, tuple)) and part:
        if all(isinstance(one, tfd.Distribution) for one in part):
            mended = [mend(one) for one in part]
            same = all(a is b for a, b in zip(mended, part, strict=True))
            return part if same else type(part)(mended)
    return part
