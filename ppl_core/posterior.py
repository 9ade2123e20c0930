"""A program's latent variables as one unconstrained vector, for samplers."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from ppl_core.bijectors import event_space_bijector
from ppl_core.random_variable import RandomVariable
from ppl_core.tracers import condition, seeded, tape
from ppl_core.transformations import Program, add, total, vectorized


class Posterior(NamedTuple):
    """The posterior of a program's latent variables, given data, on R^dim."""

    dim: int
    names: tuple[str, ...]  # of the latent variables, in the program's order
    sizes: tuple[int, ...]  # coordinates of each: they follow each other in the vector
    log_prob: Callable[[tf.Tensor], tf.Tensor]  # [chains, dim] -> [chains], the dtype's
    log_prob_and_grad: Callable[[tf.Tensor], tuple]  # and [chains, dim], in one pass
    constrain: Callable[[tf.Tensor], dict]  # [chains, dim] -> name: [chains, ...]
    unconstrain: Callable[[Mapping[str, Any]], tf.Tensor]  # its inverse


def unconstrain(
    program: Program,
    *args: Any,
    observed: Mapping[str, Any] | None = None,
    dtype: tf.DType | None = tf.float64,
    include_prior: bool = True,
) -> Posterior:
    """The latent variables of `program(*args)` as one unconstrained vector.

    Each variable x of support S is T(y), where T is a bijector from R^k onto S (TFP's
    default, see event_space_bijector), and the log prob of y has log |det dT/dy| in it.
    T may depend on variables drawn before: an upper bound that is itself random, say.

    observed: data by name; variables whose value the program sets are data as well.
    dtype: what the log prob is summed and returned in.  Float64 by default, since a
      float32 sum over some hundred thousand rows is too coarse for an energy.
    include_prior: whether the log prob contains the latent variables' own terms.
      `unconstrain_shards` adds up parts without them.

    Raises ValueError for a discrete latent variable, for one on a sphere, for latent
    variables of different dtypes, and for a program without any.
    """
    observed = dict(observed or {})
    sites = _latent_sites(program, args, observed)
    if not sites:
        raise ValueError(f"{_called(program)}: no latent variable is left to sample")
    dtypes = {site.dtype for site in sites}
    if len(dtypes) > 1:
        given = {site.name: site.dtype.name for site in sites}
        raise ValueError(
            f"{_called(program)}: latent variables of one dtype wanted, given {given}"
        )
    names = tuple(site.name for site in sites)
    sizes = tuple(site.size for site in sites)

    def run(vector: tf.Tensor) -> tuple[dict[str, RandomVariable], list[tf.Tensor]]:
        """The program at one vector [dim]: its variables and the log determinants."""
        parts = dict(zip(names, tf.split(vector, sizes), strict=True))
        log_dets: list[tf.Tensor] = []

        def from_part(site: _Site) -> Callable:
            def value(distribution: Any, sample_shape: Any) -> tf.Tensor:
                bijector = event_space_bijector(distribution)
                y = tf.reshape(parts[site.name], site.shape)
                x = bijector.forward(y)
                log_det = bijector.forward_log_det_jacobian(
                    y, event_ndims=bijector.forward_min_event_ndims
                )
                # Constant over what it does not depend on: one copy for each.
                log_dets.append(tf.broadcast_to(log_det, site.log_det_shape))
                return x

            return value

        latent = {site.name: from_part(site) for site in sites}
        with tape() as variables, condition(**latent, **observed):
            program(*args)
        return variables, log_dets

    def shares_of_one(vector: tf.Tensor) -> list[tf.Tensor]:
        """The log prob's two summands: of the data, and of the latent variables."""
        variables, log_dets = run(vector)
        latent, data = [*log_dets], []
        for name, variable in variables.items():
            if include_prior or name not in names:
                (latent if name in names else data).append(variable.log_prob())
        summands = [data, latent] if include_prior else [data]
        return [
            add(total(term, dtype) for term in terms) for terms in summands if terms
        ]

    def log_prob_of_one(vector: tf.Tensor) -> tf.Tensor:
        return add(shares_of_one(vector))

    def log_prob_and_grad_of_one(vector: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(persistent=True) as gradient_tape:
            gradient_tape.watch(vector)
            shares = shares_of_one(vector)
        # Apart, and added in the sum's dtype: XLA would fuse the addition into the
        # data's last product, which then runs on one thread.
        grads = [
            gradient_tape.gradient(share, vector, unconnected_gradients="zero")
            for share in shares
        ]
        log_prob = add(shares)
        grad = add(tf.cast(grad, log_prob.dtype) for grad in grads)
        return log_prob, tf.cast(grad, vector.dtype)

    def constrain_one(vector: tf.Tensor) -> dict[str, tf.Tensor]:
        variables, _ = run(vector)
        return {name: variables[name].value for name in names}

    def unconstrain_one(values: Mapping[str, tf.Tensor]) -> tf.Tensor:
        with tape() as variables, condition(**values, **observed):
            program(*args)
        parts = []
        for name in names:
            bijector = event_space_bijector(variables[name].distribution)
            parts.append(tf.reshape(bijector.inverse(variables[name].value), [-1]))
        return tf.concat(parts, 0)

    def to_tensors(values: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        odd = sorted(values.keys() ^ set(names))
        if odd:
            raise ValueError(f"unconstrain: value or latent variable missing: {odd}")
        return {
            site.name: tf.convert_to_tensor(values[site.name], site.dtype)
            for site in sites
        }

    return Posterior(
        dim=sum(sizes),
        names=names,
        sizes=sizes,
        log_prob=lambda vectors: vectorized(log_prob_of_one, vectors),
        log_prob_and_grad=lambda vectors: vectorized(log_prob_and_grad_of_one, vectors),
        constrain=lambda vectors: vectorized(constrain_one, vectors),
        unconstrain=lambda values: vectorized(unconstrain_one, to_tensors(values)),
    )


class _Site(NamedTuple):
    """One latent variable."""

    name: str
    dtype: tf.DType
    shape: tuple[int, ...]  # of its unconstrained value
    log_det_shape: tuple[int, ...]
    size: int


def _latent_sites(
    program: Program, args: tuple, observed: Mapping[str, Any]
) -> list[_Site]:
    """The variables of the program without a value, from one run whose ops are lost."""
    sites: list[_Site] = []

    def look() -> None:
        with tape() as variables, seeded(tfp.random.sanitize_seed(0)):
            with condition(**observed):
                program(*args)
        for variable in variables.values():
            if not variable.observed:
                sites.append(_site(variable))

    tf.function(look, autograph=False).get_concrete_function()
    return sites


def _site(variable: RandomVariable) -> _Site:
    distribution = variable.distribution
    label = f"{variable.constructor_name}(name={variable.name!r})"
    if tf.nest.is_nested(distribution.dtype):
        raise ValueError(
            f"{label}: a joint distribution cannot "
            "be a latent variable; make its parts random variables of their own"
        )
    if not distribution.dtype.is_floating:
        raise ValueError(
            f"{label} is discrete: it cannot be unconstrained; observe it or sum it out"
        )
    try:
        bijector = event_space_bijector(distribution)
    except ValueError as error:
        raise ValueError(f"{label} {error}") from error
    if bijector is None:
        raise ValueError(f"{label} has no default bijector from an unconstrained space")
    shape = bijector.inverse_event_shape(variable.shape)
    if not shape.is_fully_defined():
        raise ValueError(
            f"{label}: shape {variable.shape} is not known when the program is traced"
        )
    ndims = shape.rank - bijector.forward_min_event_ndims
    return _Site(
        name=variable.name,
        dtype=distribution.dtype,
        shape=tuple(shape),
        log_det_shape=tuple(shape[:ndims]),
        size=shape.num_elements(),
    )


def _called(program: Program) -> str:
    return getattr(program, "__name__", repr(program))
