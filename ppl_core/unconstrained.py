"""A program's posterior as a density over one unconstrained vector, for samplers."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ppl_core import data, preimages
from ppl_core.gradients import draws, has_loops_or_branches, missing_gradients
from ppl_core.precision import cast_tensors, in_dtype
from ppl_core.random_variable import RandomVariable
from ppl_core.sites import Site, bijector_of, find_sites, run_program
from ppl_core.source import Source
from ppl_core.tracers import inherited_tracers
from ppl_core.transformations import Program, add, label_of, total, vectorized


class Posterior(NamedTuple):
    """The posterior of a program's latent variables, given data, on R^dim."""

    dim: int
    names: tuple[str, ...]  # of the latent variables, in the program's order
    sizes: tuple[int, ...]  # coordinates of each, in the vector's order
    # vectors [chains, dim] -> [chains]; the same and its gradient [chains, dim].  All
    # take any leading axes, or none, in place of [chains].
    log_prob: Callable[[tf.Tensor], tf.Tensor]
    log_prob_and_grad: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
    # vectors [chains, dim] -> values [chains, ...] by name, of the latent variables and
    # of what the program names by `deterministic`; and back from those of the first
    constrain: Callable[[tf.Tensor], dict[str, tf.Tensor]]
    unconstrain: Callable[[Mapping[str, Any]], tf.Tensor]
    deterministic: tuple[str, ...] = ()
    dims: Mapping[str, tuple[str, ...]] = {}  # of the variables that name them
    coords: Mapping[str, Any] = {}  # labels by dimension
    source: Source | None = None  # None: not made from one program and its data

    @property
    def dtype(self) -> tf.DType:
        """The dtype of the vectors and of their gradients."""
        return getattr(self.log_prob_and_grad, "dtype", tf.float32)


def posterior(
    program: Program,
    *args: Any,
    observed: Mapping[str, Any] | None = None,
    dtype: tf.DType = tf.float64,
    **kwargs: Any,
) -> Posterior:
    """Returns the posterior of `program(*args, **kwargs)` given data, for samplers.

    Bijectors take each latent variable from its support to R^k, so a sampler sees a
    density over one unconstrained vector; `unconstrain` says how.

    observed: data by name.  Variables whose value the program sets are data as well.
    dtype: of the posterior, float64 or float32.
    kwargs: the program's own.  For one that has parameters named observed or dtype,
      call `unconstrain`.

    Raises ValueError as `unconstrain` does.

    >>> def model(x):
    ...     slope = ppl.Normal(0.0, 1.0, name="slope")
    ...     return ppl.Normal(slope * x, 0.5, name="y")
    >>> x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])
    >>> posterior = ppl.posterior(model, x, observed={"y": y})
    >>> posterior.names, posterior.dim
    (('slope',), 1)
    """
    return unconstrain(program, *args, observed=observed, kwargs=kwargs, dtype=dtype)


def unconstrain(
    program: Program,
    *args: Any,
    observed: Mapping[str, Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    dtype: tf.DType = tf.float64,
    only: Collection[str] | None = None,
) -> Posterior:
    """Returns the posterior of `program(*args, **kwargs)` on unconstrained space.

    Each latent variable x of support S is T(y), where T is a bijector from R^k onto S
    (the variable's own, or else TFP's default, see event_space_bijector).  The log
    prob of y includes log |det dT/dy|.  T may depend on earlier variables, such as a
    random upper bound.

    observed: data by name.  Variables whose value the program sets are data as well.
      So are those that a `condition` around this call sets: the tracers around it,
      except tapes, act on every evaluation of the posterior.
    dtype: of the posterior, float64 or float32.  The variables' parameters, data, and
      the tensors among the arguments are cast to it, and so are the vectors that its
      functions take.  The log prob is added up in float64 in either case, because a
      float32 sum over some hundred thousand rows is too coarse for an energy.
    only: the variables whose terms the log prob contains; None: all, and those of the
      change to unconstrained space.  `unconstrain_shards` adds up such parts.

    No evaluation draws a variable.

    Raises ValueError for a variable that would be drawn because `block` hides it, for a
    discrete latent variable, for a program without any, for a variable whose parts
    keep another dtype, for a density that depends on random numbers or on others that
    each run of the program draws, and for a log prob that is NaN under a mask.

    >>> def model():
    ...     scale = ppl.HalfNormal(1.0, name="scale")
    ...     return ppl.Normal(0.0, scale, sample_shape=3, name="x")
    >>> posterior = ppl.unconstrain(model, observed={"x": [0.1, -2.0, 1.0]})
    >>> log_prob, grad = posterior.log_prob_and_grad(tf.zeros([4, posterior.dim]))
    >>> posterior.names, log_prob.shape.as_list(), grad.shape.as_list()
    (('scale',), [4], [4, 1])
    """
    if not isinstance(observed, Mapping | None):
        raise TypeError(
            f"observed: given {type(observed).__name__}, wanted values by name, such "
            'as {"y": y}'
        )
    data.check_program(program)
    observed, kwargs = (
        data.copied(dict(observed or {})),
        data.copied(dict(kwargs or {})),
    )
    args = data.copied(args)
    if dtype not in (tf.float32, tf.float64):
        raise ValueError(f"dtype: given {dtype}, wanted tf.float64 or tf.float32")
    dtype = tf.as_dtype(dtype)  # also of NumPy's, and of their names
    inherited = inherited_tracers()
    source = Source(program, args, kwargs, observed, inherited, dtype)
    args, kwargs = cast_tensors(args, dtype), cast_tensors(kwargs, dtype)
    with in_dtype(dtype):
        found = find_sites(
            program, args, kwargs, observed, inherited, twice=tf.executing_eagerly()
        )
    sites = found.latent
    if not sites:
        raise ValueError(f"{label_of(program)}: given no latent variable, wanted some")
    names = tuple(site.name for site in sites)
    sizes = tuple(site.size for site in sites)

    def coordinates_of(vector: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(names, tf.split(vector, sizes, axis=-1), strict=True))

    def run(
        coordinates: Mapping[str, tf.Tensor],
    ) -> tuple[dict[str, RandomVariable], list[tf.Tensor], list[preimages.Pair]]:
        """The program at one point: its variables, log determinants and preimages."""
        log_dets: list[tf.Tensor] = []
        pairs: list[preimages.Pair] = []

        def value_at(site: Site) -> Callable[..., tf.Tensor]:
            def value(variable: RandomVariable) -> tf.Tensor:
                bijector: Any = bijector_of(variable)
                y = tf.reshape(coordinates[site.name], site.shape)
                x = bijector.forward(y)
                log_det = bijector.forward_log_det_jacobian(
                    y, event_ndims=bijector.forward_min_event_ndims
                )
                # A log det that is constant over some dimensions lacks them.
                log_dets.append(tf.broadcast_to(log_det, site.log_det_shape))
                pairs.append((x, y, bijector))
                return x

            vars(value)["inside_support"] = True
            return value

        latents = {site.name: value_at(site) for site in sites}
        return evaluate({**latents, **observed}), log_dets, pairs

    def evaluate(values: Mapping[str, Any]) -> dict[str, RandomVariable]:
        """The variables of the program at these values, none of them drawn."""
        with in_dtype(dtype):
            variables, drawn = run_program(
                program, args, kwargs, values, inherited, label_of(program)
            )
        if drawn:
            raise ValueError(
                f"{label_of(program)}: given no value for {drawn}, wanted one: an "
                "evaluation of the density draws nothing"
            )
        return variables

    def terms_at(coordinates: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """The log prob's two terms: of the data, and of the latent variables."""
        variables, log_dets, pairs = run(coordinates)
        latent: list[tf.Tensor] = [*log_dets]
        likelihood: list[tf.Tensor] = []
        with preimages.known(pairs):
            for name, variable in variables.items():
                if only is None or name in only:
                    (latent if name in names else likelihood).append(
                        variable.log_prob()
                    )
        terms = [likelihood, latent] if only is None else [likelihood]
        return [
            add(total(log_prob, tf.float64) for log_prob in log_probs)
            for log_probs in terms
            if log_probs
        ]

    def log_prob_of_one(vector: tf.Tensor) -> tf.Tensor:
        return add(terms_at(coordinates_of(vector)))

    def log_prob_and_grad_of_one(vector: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(persistent=True) as gradient_tape:
            gradient_tape.watch(vector)
            terms = terms_at(coordinates_of(vector))
        # One gradient for each term, added in the log prob's dtype.  With one gradient
        # of the sum, XLA would fuse the addition into the data's last product, which
        # then runs on one thread.
        grads = [
            gradient_tape.gradient(term, vector, unconnected_gradients="zero")
            for term in terms
        ]
        log_prob = add(terms)
        grad = add(tf.cast(grad, log_prob.dtype) for grad in grads)
        return log_prob, tf.cast(grad, vector.dtype)

    def constrain_one(vector: tf.Tensor) -> dict[str, tf.Tensor]:
        variables, _, _ = run(coordinates_of(vector))
        return {name: variables[name].value for name in (*names, *found.deterministic)}

    def unconstrain_one(values: Mapping[str, tf.Tensor]) -> tf.Tensor:
        variables = evaluate({**values, **observed})
        coordinates = []
        for name in names:
            bijector: Any = bijector_of(variables[name])
            coordinates.append(
                tf.reshape(bijector.inverse(variables[name].value), [-1])
            )
        return tf.concat(coordinates, 0)

    def to_tensors(values: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        if not isinstance(values, Mapping):
            raise TypeError(
                f"unconstrain: given {type(values).__name__}, wanted values by name"
            )
        if values.keys() - set(found.deterministic) != set(names):
            raise ValueError(
                f"unconstrain: given values for {sorted(values)}, wanted them for "
                f"{sorted(names)}"
            )
        tensors = {
            site.name: data.to_tensor(values[site.name], dtype, repr(site.name))
            for site in sites
        }
        counts = {name: tuple(part.shape[:1]) for name, part in tensors.items()}
        if () in counts.values() or len(set(counts.values())) != 1:
            raise ValueError(
                f"unconstrain: given values of first dimensions {counts}, wanted "
                "[chains, ...] of each"
            )
        return tensors

    def to_vectors(values: Mapping[str, Any]) -> tf.Tensor:
        vectors = unconstrain_all(to_tensors(values))
        if tf.executing_eagerly():
            for name, part in coordinates_of(vectors).items():
                if not np.isfinite(part).all():
                    raise ValueError(
                        f"unconstrain: given values of {name!r} outside its support or "
                        "on its edge, wanted them inside"
                    )
        return vectors

    def over_chains(fn: Callable[[tf.Tensor], Any]) -> Callable[[Any], Any]:
        """`fn` of one vector as a function of vectors with any leading axes."""
        evaluate_all = traced(fn)

        def evaluate_chains(vectors: Any) -> Any:
            vectors = data.to_tensor(vectors, dtype, f"{label_of(program)}: vectors")
            rank = vectors.shape.rank
            if rank not in (None, 0, 2) and vectors.shape[-1] == sum(sizes):
                flat = tf.reshape(vectors, [-1, sum(sizes)])
                return tf.nest.map_structure(
                    lambda part: tf.reshape(
                        part,
                        tf.concat([tf.shape(vectors)[:-1], tf.shape(part)[1:]], 0),
                    ),
                    evaluate_all(flat),
                )
            if not vectors.shape.is_compatible_with([None, sum(sizes)]):
                raise ValueError(
                    f"{label_of(program)}: given vectors of shape "
                    f"{tuple(vectors.shape)}, wanted [chains, {sum(sizes)}]"
                )
            return evaluate_all(vectors)

        vars(evaluate_chains)["dtype"] = dtype  # for samplers
        return evaluate_chains

    def traced(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """`fn` over the first axis; called eagerly, traced once for each shape."""

        def evaluate_all(arguments: Any) -> Any:
            return vectorized(fn, arguments, one_by_one=one_by_one)

        return tf.function(evaluate_all, autograph=False)

    unconstrain_all = traced(unconstrain_one)
    one_by_one = _inspect_density(label_of(program), sites, terms_at)
    return Posterior(
        dim=sum(sizes),
        names=names,
        sizes=sizes,
        log_prob=over_chains(log_prob_of_one),
        log_prob_and_grad=over_chains(log_prob_and_grad_of_one),
        constrain=over_chains(constrain_one),
        unconstrain=to_vectors,
        deterministic=found.deterministic,
        dims=found.dims,
        coords=found.coords,
        source=source,
    )


def _inspect_density(
    label: str,
    sites: list[Site],
    terms_at: Callable[[Mapping[str, tf.Tensor]], list[tf.Tensor]],
) -> bool:
    """Whether chains have to be evaluated one by one, because of a loop or a branch.

    Raises ValueError if the density depends on a latent variable by an operation that
    has no gradient, or on random numbers.  All are found in a graph that is discarded.
    """

    @tf.function(autograph=False)
    def density(coordinates: dict[str, tf.Tensor]) -> tf.Tensor:
        return add(terms_at(coordinates))

    traced = density.get_concrete_function(
        {site.name: tf.TensorSpec([site.size], site.dtype) for site in sites}
    )
    drawn = draws(traced.graph, traced.outputs[0])
    if drawn:
        raise ValueError(
            f"{label}: the log prob depends on random numbers that each evaluation "
            f"would draw anew, by {drawn}; wanted random variables, or numbers drawn "
            "outside the program"
        )
    (inputs,), _ = traced.structured_input_signature
    tensors = dict(zip(sorted(inputs), traced.inputs, strict=False))
    missing = missing_gradients(traced.graph, tensors, traced.outputs[0])
    if missing:
        raise ValueError(
            f"{label}: the log prob depends on latent variables by operations without "
            f"a gradient, {missing}; wanted ones with a gradient (tf.custom_gradient), "
            "or these variables observed"
        )
    return has_loops_or_branches(traced.graph)
