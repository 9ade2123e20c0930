"""The same tracers over scipy.stats: random variables as functions that return arrays.

`norm(0.0, 1.0, size=3, name="x")` is a traceable `scipy.stats.norm.rvs`.  Every
generator of SciPy has such a function.  Tran et al. (2018), appendix A.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import stats

from ppl_core.trace import forward, trace, traceable
from ppl_core.tracers import condition, required_name

# Generators whose densities expect i.i.d. draws along the last axis, although `rvs`
# returns them along the first; and the number of axes of one draw.
_DRAWS_LAST = {stats.dirichlet: 1, stats.wishart: 2, stats.invwishart: 2}


def make_random_variable(generator: Any) -> Callable[..., Any]:
    """Returns the traceable function that draws from one generator of scipy.stats.

    The function takes the arguments of `generator.rvs`, `size` by keyword, and
      name: the handle by which tracers find the variable.
      value: the result, in place of a draw.
      seed: a SciPy `random_state`, or integers that seed a numpy Generator.
      observed: whether the value is data; by default, whether one was given.
      log_prob_scale: a factor of the log prob.
      log_prob_mask: where the log prob counts; elsewhere it is 0.
    It returns an array, or a tuple of arrays where `generator.rvs` does.
    """
    label = getattr(generator, "name", type(generator).__name__.removesuffix("_gen"))
    num_parameters = _num_parameters(generator)

    def construct(
        *args: Any,
        name: str | None = None,
        value: Any = None,
        seed: Any = None,
        observed: bool | None = None,
        log_prob_scale: Any = None,
        log_prob_mask: Any = None,
        **kwargs: Any,
    ) -> Any:
        if len(args) > num_parameters:
            raise TypeError(
                f"{label}(name={name!r}): given {len(args)} positional arguments, "
                f"wanted at most {num_parameters}; give size= by keyword"
            )
        if value is None:
            kwargs.setdefault("random_state", _random_state(seed))
            value = generator.rvs(*args, **kwargs)
        return _to_arrays(value)

    construct.__name__ = construct.__qualname__ = label
    construct.__doc__ = (
        f"A draw by scipy.stats.{label}.rvs, or the value; see make_random_variable."
    )
    # Tracers tell constructors from other traceable functions by the first two.
    vars(construct).update(
        makes_random_variable=True,
        to_value=lambda value, /, *args, **kwargs: _to_arrays(value),
        generator=generator,
    )
    return traceable(construct)


def make_log_joint_fn(program: Callable[..., Any]) -> Callable[..., float]:
    """Returns log p(values): (*program_args, **values) -> float.

    Every random variable of the program needs a value, and every value a variable;
    otherwise ValueError names what is missing.  Tran et al. (2018), figure 7.

    >>> from ppl_core import scipy as ps
    >>> log_joint = ps.make_log_joint_fn(lambda: ps.norm(0.0, 1.0, name="x"))
    >>> round(log_joint(x=0.0), 4)
    -0.9189
    """

    def log_joint(*args: Any, **values: Any) -> float:
        log_probs: dict[str, float] = {}
        missing: list[str] = []

        def score(construct: Any, *args: Any, **kwargs: Any) -> Any:
            if not hasattr(construct, "generator"):
                return forward(construct, *args, **kwargs)
            name = required_name(construct, kwargs, "make_log_joint_fn")

            # Scored after all tracers further out have changed the call.
            @functools.wraps(construct)
            def scored(*args: Any, **kwargs: Any) -> Any:
                value = construct(*args, **kwargs)
                if name in log_probs:
                    raise ValueError(
                        f"make_log_joint_fn: two random variables are named {name!r}"
                    )
                has_value = kwargs.get("value") is not None
                if not kwargs.get("observed", has_value):
                    missing.append(name)
                log_probs[name] = (
                    _log_prob(construct, value, args, kwargs) if has_value else 0.0
                )
                return value

            return forward(scored, *args, **kwargs)

        with trace(score), condition(**values):
            program(*args)
        if missing:
            label = getattr(program, "__name__", repr(program))
            raise ValueError(f"{label}: given no value for {missing}, wanted one")
        return float(sum(log_probs.values()))

    return log_joint


def _log_prob(
    construct: Any, value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> float:
    """The log prob of the value under one call, summed."""
    kwargs = dict(kwargs)
    name, size = kwargs.pop("name"), kwargs.pop("size", None)
    factor = kwargs.pop("log_prob_scale", None)
    where = kwargs.pop("log_prob_mask", None)
    for option in ("value", "seed", "random_state", "observed", "method"):
        kwargs.pop(option, None)
    generator = construct.generator
    label = f"{construct.__name__}(name={name!r})"
    log_density = getattr(generator, "logpdf", getattr(generator, "logpmf", None))
    if log_density is None:
        raise ValueError(f"{label}: SciPy has no density for it")

    if generator in _DRAWS_LAST:
        ndim = _DRAWS_LAST[generator]
        draws_shape = value.shape[: max(value.ndim - ndim, 0)]
        if draws_shape:
            value = value.reshape(-1, *value.shape[-ndim:])
            value = np.moveaxis(value, 0, -1)
        log_prob = np.reshape(log_density(value, *args, **kwargs), draws_shape)
    else:
        parts = value if isinstance(value, tuple) else (value,)
        log_prob = np.asarray(log_density(*parts, *args, **kwargs))

    if isinstance(generator, (stats.rv_continuous, stats.rv_discrete)):
        shape = log_prob.shape if size is None else tuple(np.atleast_1d(size).tolist())
        if not value.shape == log_prob.shape == shape:
            raise ValueError(
                f"{label}: given a value of shape {value.shape}, wanted {shape}"
            )
    if factor is not None:
        log_prob = log_prob * np.asarray(factor)
    if where is not None:
        log_prob = np.where(np.asarray(where), log_prob, 0.0)
    return float(np.sum(log_prob))


def _num_parameters(generator: Any) -> int:
    """How many arguments of `generator.rvs` are the distribution's own."""
    if isinstance(generator, stats.rv_continuous):
        return generator.numargs + 2  # loc and scale
    if isinstance(generator, stats.rv_discrete):
        return generator.numargs + 1  # loc
    parameters = inspect.signature(generator.rvs).parameters
    return list(parameters).index("size" if "size" in parameters else "random_state")


def _random_state(seed: Any) -> Any:
    """A SciPy `random_state`: a single seed as it is, several as a Generator."""
    if np.ndim(seed) == 0:
        return seed
    return np.random.default_rng(np.asarray(seed).astype(np.uint32))


def _to_arrays(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(np.asarray(part) for part in value)
    return np.asarray(value)


alpha = make_random_variable(stats.alpha)
anglit = make_random_variable(stats.anglit)
arcsine = make_random_variable(stats.arcsine)
argus = make_random_variable(stats.argus)
bernoulli = make_random_variable(stats.bernoulli)
beta = make_random_variable(stats.beta)
betabinom = make_random_variable(stats.betabinom)
betanbinom = make_random_variable(stats.betanbinom)
betaprime = make_random_variable(stats.betaprime)
binom = make_random_variable(stats.binom)
boltzmann = make_random_variable(stats.boltzmann)
bradford = make_random_variable(stats.bradford)
burr = make_random_variable(stats.burr)
burr12 = make_random_variable(stats.burr12)
cauchy = make_random_variable(stats.cauchy)
chi = make_random_variable(stats.chi)
chi2 = make_random_variable(stats.chi2)
cosine = make_random_variable(stats.cosine)
crystalball = make_random_variable(stats.crystalball)
dgamma = make_random_variable(stats.dgamma)
dirichlet = make_random_variable(stats.dirichlet)
dlaplace = make_random_variable(stats.dlaplace)
dpareto_lognorm = make_random_variable(stats.dpareto_lognorm)
dweibull = make_random_variable(stats.dweibull)
erlang = make_random_variable(stats.erlang)
expon = make_random_variable(stats.expon)
exponnorm = make_random_variable(stats.exponnorm)
exponpow = make_random_variable(stats.exponpow)
exponweib = make_random_variable(stats.exponweib)
f = make_random_variable(stats.f)
fatiguelife = make_random_variable(stats.fatiguelife)
fisk = make_random_variable(stats.fisk)
foldcauchy = make_random_variable(stats.foldcauchy)
foldnorm = make_random_variable(stats.foldnorm)
gamma = make_random_variable(stats.gamma)
gausshyper = make_random_variable(stats.gausshyper)
genexpon = make_random_variable(stats.genexpon)
genextreme = make_random_variable(stats.genextreme)
gengamma = make_random_variable(stats.gengamma)
genhalflogistic = make_random_variable(stats.genhalflogistic)
genhyperbolic = make_random_variable(stats.genhyperbolic)
geninvgauss = make_random_variable(stats.geninvgauss)
genlogistic = make_random_variable(stats.genlogistic)
gennorm = make_random_variable(stats.gennorm)
genpareto = make_random_variable(stats.genpareto)
geom = make_random_variable(stats.geom)
gibrat = make_random_variable(stats.gibrat)
gompertz = make_random_variable(stats.gompertz)
gumbel_l = make_random_variable(stats.gumbel_l)
gumbel_r = make_random_variable(stats.gumbel_r)
halfcauchy = make_random_variable(stats.halfcauchy)
halfgennorm = make_random_variable(stats.halfgennorm)
halflogistic = make_random_variable(stats.halflogistic)
halfnorm = make_random_variable(stats.halfnorm)
hypergeom = make_random_variable(stats.hypergeom)
hypsecant = make_random_variable(stats.hypsecant)
invgamma = make_random_variable(stats.invgamma)
invgauss = make_random_variable(stats.invgauss)
invweibull = make_random_variable(stats.invweibull)
invwishart = make_random_variable(stats.invwishart)
irwinhall = make_random_variable(stats.irwinhall)
jf_skew_t = make_random_variable(stats.jf_skew_t)
johnsonsb = make_random_variable(stats.johnsonsb)
johnsonsu = make_random_variable(stats.johnsonsu)
kappa3 = make_random_variable(stats.kappa3)
kappa4 = make_random_variable(stats.kappa4)
ksone = make_random_variable(stats.ksone)
kstwo = make_random_variable(stats.kstwo)
kstwobign = make_random_variable(stats.kstwobign)
landau = make_random_variable(stats.landau)
laplace = make_random_variable(stats.laplace)
laplace_asymmetric = make_random_variable(stats.laplace_asymmetric)
levy = make_random_variable(stats.levy)
levy_l = make_random_variable(stats.levy_l)
levy_stable = make_random_variable(stats.levy_stable)
loggamma = make_random_variable(stats.loggamma)
logistic = make_random_variable(stats.logistic)
loglaplace = make_random_variable(stats.loglaplace)
lognorm = make_random_variable(stats.lognorm)
logser = make_random_variable(stats.logser)
loguniform = make_random_variable(stats.loguniform)
lomax = make_random_variable(stats.lomax)
matrix_normal = make_random_variable(stats.matrix_normal)
matrix_t = make_random_variable(stats.matrix_t)
maxwell = make_random_variable(stats.maxwell)
mielke = make_random_variable(stats.mielke)
moyal = make_random_variable(stats.moyal)
multinomial = make_random_variable(stats.multinomial)
multivariate_hypergeom = make_random_variable(stats.multivariate_hypergeom)
multivariate_normal = make_random_variable(stats.multivariate_normal)
multivariate_t = make_random_variable(stats.multivariate_t)
nakagami = make_random_variable(stats.nakagami)
nbinom = make_random_variable(stats.nbinom)
ncf = make_random_variable(stats.ncf)
nchypergeom_fisher = make_random_variable(stats.nchypergeom_fisher)
nchypergeom_wallenius = make_random_variable(stats.nchypergeom_wallenius)
nct = make_random_variable(stats.nct)
ncx2 = make_random_variable(stats.ncx2)
nhypergeom = make_random_variable(stats.nhypergeom)
norm = make_random_variable(stats.norm)
normal_inverse_gamma = make_random_variable(stats.normal_inverse_gamma)
norminvgauss = make_random_variable(stats.norminvgauss)
ortho_group = make_random_variable(stats.ortho_group)
pareto = make_random_variable(stats.pareto)
pearson3 = make_random_variable(stats.pearson3)
planck = make_random_variable(stats.planck)
poisson = make_random_variable(stats.poisson)
poisson_binom = make_random_variable(stats.poisson_binom)
powerlaw = make_random_variable(stats.powerlaw)
powerlognorm = make_random_variable(stats.powerlognorm)
powernorm = make_random_variable(stats.powernorm)
randint = make_random_variable(stats.randint)
random_correlation = make_random_variable(stats.random_correlation)
random_table = make_random_variable(stats.random_table)
rayleigh = make_random_variable(stats.rayleigh)
rdist = make_random_variable(stats.rdist)
recipinvgauss = make_random_variable(stats.recipinvgauss)
reciprocal = make_random_variable(stats.reciprocal)
rel_breitwigner = make_random_variable(stats.rel_breitwigner)
rice = make_random_variable(stats.rice)
semicircular = make_random_variable(stats.semicircular)
skellam = make_random_variable(stats.skellam)
skewcauchy = make_random_variable(stats.skewcauchy)
skewnorm = make_random_variable(stats.skewnorm)
special_ortho_group = make_random_variable(stats.special_ortho_group)
studentized_range = make_random_variable(stats.studentized_range)
t = make_random_variable(stats.t)
trapezoid = make_random_variable(stats.trapezoid)
triang = make_random_variable(stats.triang)
truncexpon = make_random_variable(stats.truncexpon)
truncnorm = make_random_variable(stats.truncnorm)
truncpareto = make_random_variable(stats.truncpareto)
truncweibull_min = make_random_variable(stats.truncweibull_min)
tukeylambda = make_random_variable(stats.tukeylambda)
uniform = make_random_variable(stats.uniform)
uniform_direction = make_random_variable(stats.uniform_direction)
unitary_group = make_random_variable(stats.unitary_group)
vonmises = make_random_variable(stats.vonmises)
vonmises_fisher = make_random_variable(stats.vonmises_fisher)
vonmises_line = make_random_variable(stats.vonmises_line)
wald = make_random_variable(stats.wald)
weibull_max = make_random_variable(stats.weibull_max)
weibull_min = make_random_variable(stats.weibull_min)
wishart = make_random_variable(stats.wishart)
wrapcauchy = make_random_variable(stats.wrapcauchy)
yulesimon = make_random_variable(stats.yulesimon)
zipf = make_random_variable(stats.zipf)
zipfian = make_random_variable(stats.zipfian)
