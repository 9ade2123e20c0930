"""One traceable constructor for every public distribution class of TFP."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from tensorflow_probability import distributions as tfd

from ppl_core import (
    arguments,
    counts,
    densities,
    edges,
    intervals,
    matrices,
    precision,
    relaxed,
    shapes,
    spheres,
    tails,
)
from ppl_core.data import check_observed
from ppl_core.mending import mend
from ppl_core.random_variable import RandomVariable, label_of
from ppl_core.trace import floating_dtype, forward

_OPTIONS = (
    "sample_shape value seed observed log_prob_scale log_prob_mask bijector dims "
    "coords plates"
).split()


def make_random_variable(
    make_distribution: Callable[..., tfd.Distribution],
) -> Callable[..., RandomVariable]:
    """Returns the traceable constructor of random variables of one distribution class.

    The constructor takes the class's own arguments and, by keyword,
      name: the handle by which tracers find the variable.
      sample_shape: leading i.i.d. dimensions.
      value: the variable's value; None means a draw with `seed`.
      seed: None, an integer (stateful) or a [2] int32 tensor (stateless).
      dims: names of the dimensions.  With the labels that `coords` gives these, a
        sample_shape is not needed.
      bijector, observed, log_prob_scale, log_prob_mask: see RandomVariable.
      coords, plates: what the tracers of these names set.
    Where the class itself has an argument of one of these names (sample_shape of
    tfd.Sample), the argument goes to the class.
    """
    parameters = inspect.signature(
        make_distribution.__init__
        if inspect.isclass(make_distribution)
        else make_distribution
    ).parameters
    option_names = frozenset(_OPTIONS) - parameters.keys()
    names = [parameter for parameter in parameters if parameter != "self"]
    is_class = inspect.isclass(make_distribution)

    def construct(*args: Any, name: str | None = None, **kwargs: Any) -> RandomVariable:
        label = label_of(construct.__name__, name)
        options = {key: kwargs.pop(key) for key in [*kwargs] if key in option_names}
        try:
            if is_class:
                given = dict(zip(names, args, strict=False), **kwargs)
                try:
                    arguments.check(make_distribution, given, label)
                except ValueError:
                    precision.check_signature(make_distribution, args, kwargs, label)
                    raise
            distribution = precision.make_distribution(
                make_distribution, args, kwargs, label
            )
            if not is_class:
                arguments.check(type(distribution), distribution.parameters, label)
            distribution = mend(distribution)
            bijector = options.get("bijector")
            if bijector is not None and floating_dtype() is not None:
                options["bijector"] = precision.cast(bijector, floating_dtype())
            if options.get("plates") or options.get("dims") is not None:
                distribution, options = shapes.expand(
                    distribution, name, options, label
                )
            return RandomVariable(
                distribution, name=name, constructor_name=construct.__name__, **options
            )
        except precision.REFUSALS as error:
            if label in str(error):
                raise
            raise precision.labelled(error, label) from error

    def to_value(value: Any, /, *args: Any, **kwargs: Any) -> Any:
        """`value` as tensors, checked to have the variable's shape."""
        return construct(*args, **kwargs | {"value": value}).value

    required = [
        part for part in names if parameters[part].default is inspect.Parameter.empty
    ]
    limit = _most_by_position(names, parameters)

    def call(*args: Any, **kwargs: Any) -> RandomVariable:
        _check_call(construct.__name__, args, kwargs, limit, names, required)
        return forward(construct, *args, **kwargs)

    construct.__name__ = construct.__qualname__ = make_distribution.__name__
    construct.__doc__ = (
        f"A random variable of tfd.{make_distribution.__name__}'s arguments; "
        "see make_random_variable."
    )
    # Tracers tell constructors from other traceable functions by these two.
    vars(construct).update(to_value=to_value, makes_random_variable=True)
    return functools.wraps(construct)(call)


def _most_by_position(
    names: list[str], parameters: Mapping[str, inspect.Parameter]
) -> int | None:
    """How many arguments may come by position: those in front of TFP's switches."""
    for index, name in enumerate(names):
        part = parameters[name]
        if part.kind is part.VAR_POSITIONAL:
            return None
        if isinstance(part.default, bool) or part.kind not in (
            part.POSITIONAL_ONLY,
            part.POSITIONAL_OR_KEYWORD,
        ):
            return index
    return len(names)


def _check_call(
    constructor: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    limit: int | None,
    names: list[str],
    required: list[str],
) -> None:
    """Raises TypeError for a name, or data, in the wrong place, before tracers act."""
    name, observed = kwargs.get("name"), kwargs.get("observed")
    if "coords" in kwargs or "plates" in kwargs:
        shapes.check_tables(kwargs, label_of(constructor, name))
    if name == "":
        label = label_of(constructor, name)
        raise ValueError(f"{label}: given an empty name, wanted one, or none")
    if not (name is None or isinstance(name, str)):
        label = label_of(constructor, name)
        raise TypeError(f"{label}: given the name {name!r}, wanted a string")
    if observed is not None:
        check_observed(observed, True, label_of(constructor, name))
    for part_name, part in zip(required, args, strict=False):
        if part is None:
            label = label_of(constructor, name)
            raise TypeError(f"{label}: given None for {part_name!r}, wanted numbers")
    if limit is not None and len(args) > limit:
        label = label_of(constructor, name)
        if isinstance(args[0], str):
            raise TypeError(
                f"{label}: given {args[0]!r} as an argument, wanted name={args[0]!r}"
            )
        raise TypeError(
            f"{label}: given {len(args)} arguments by position, wanted at most "
            f"{limit}, {names[:limit]}"
        )


Autoregressive = make_random_variable(tfd.Autoregressive)
BatchBroadcast = make_random_variable(tfd.BatchBroadcast)
BatchConcat = make_random_variable(tfd.BatchConcat)
BatchReshape = make_random_variable(tfd.BatchReshape)
Bates = make_random_variable(intervals.Bates)
Bernoulli = make_random_variable(densities.Bernoulli)
Beta = make_random_variable(edges.Beta)
BetaBinomial = make_random_variable(tfd.BetaBinomial)
BetaQuotient = make_random_variable(edges.BetaQuotient)
Binomial = make_random_variable(counts.Binomial)
Blockwise = make_random_variable(tfd.Blockwise)
Categorical = make_random_variable(tfd.Categorical)
Cauchy = make_random_variable(tfd.Cauchy)
Chi = make_random_variable(edges.Chi)
Chi2 = make_random_variable(edges.Chi2)
CholeskyLKJ = make_random_variable(tfd.CholeskyLKJ)
ContinuousBernoulli = make_random_variable(densities.ContinuousBernoulli)
DeterminantalPointProcess = make_random_variable(tfd.DeterminantalPointProcess)
Deterministic = make_random_variable(tfd.Deterministic)
Dirichlet = make_random_variable(edges.Dirichlet)
DirichletMultinomial = make_random_variable(tfd.DirichletMultinomial)
DoublesidedMaxwell = make_random_variable(densities.DoublesidedMaxwell)
Empirical = make_random_variable(tfd.Empirical)
ExpGamma = make_random_variable(tfd.ExpGamma)
ExpInverseGamma = make_random_variable(tfd.ExpInverseGamma)
ExpRelaxedOneHotCategorical = make_random_variable(relaxed.ExpRelaxedOneHotCategorical)
Exponential = make_random_variable(tfd.Exponential)
ExponentiallyModifiedGaussian = make_random_variable(
    tails.ExponentiallyModifiedGaussian
)
FiniteDiscrete = make_random_variable(tfd.FiniteDiscrete)
FlatDirichlet = make_random_variable(densities.FlatDirichlet)
Gamma = make_random_variable(edges.Gamma)
GammaGamma = make_random_variable(edges.GammaGamma)
GaussianProcess = make_random_variable(tfd.GaussianProcess)
GaussianProcessRegressionModel = make_random_variable(
    tfd.GaussianProcessRegressionModel
)
GeneralizedExtremeValue = make_random_variable(densities.GeneralizedExtremeValue)
GeneralizedNormal = make_random_variable(tfd.GeneralizedNormal)
GeneralizedPareto = make_random_variable(tails.GeneralizedPareto)
Geometric = make_random_variable(tfd.Geometric)
Gumbel = make_random_variable(tfd.Gumbel)
HalfCauchy = make_random_variable(tails.HalfCauchy)
HalfNormal = make_random_variable(tfd.HalfNormal)
HalfStudentT = make_random_variable(tails.HalfStudentT)
HiddenMarkovModel = make_random_variable(tfd.HiddenMarkovModel)
Horseshoe = make_random_variable(tfd.Horseshoe)
Independent = make_random_variable(tfd.Independent)
Inflated = make_random_variable(tfd.Inflated)
InverseGamma = make_random_variable(tails.InverseGamma)
InverseGaussian = make_random_variable(tails.InverseGaussian)
JohnsonSU = make_random_variable(tfd.JohnsonSU)
JointDistributionCoroutine = make_random_variable(tfd.JointDistributionCoroutine)
JointDistributionCoroutineAutoBatched = make_random_variable(
    tfd.JointDistributionCoroutineAutoBatched
)
JointDistributionNamed = make_random_variable(tfd.JointDistributionNamed)
JointDistributionNamedAutoBatched = make_random_variable(
    tfd.JointDistributionNamedAutoBatched
)
JointDistributionSequential = make_random_variable(tfd.JointDistributionSequential)
JointDistributionSequentialAutoBatched = make_random_variable(
    tfd.JointDistributionSequentialAutoBatched
)
Kumaraswamy = make_random_variable(edges.Kumaraswamy)
LKJ = make_random_variable(matrices.LKJ)
LambertWDistribution = make_random_variable(tfd.LambertWDistribution)
LambertWNormal = make_random_variable(tfd.LambertWNormal)
Laplace = make_random_variable(tfd.Laplace)
LinearGaussianStateSpaceModel = make_random_variable(tfd.LinearGaussianStateSpaceModel)
LogLogistic = make_random_variable(edges.LogLogistic)
LogNormal = make_random_variable(tails.LogNormal)
Logistic = make_random_variable(tfd.Logistic)
LogitNormal = make_random_variable(intervals.LogitNormal)
MarkovChain = make_random_variable(tfd.MarkovChain)
Masked = make_random_variable(tfd.Masked)
MatrixNormalLinearOperator = make_random_variable(tfd.MatrixNormalLinearOperator)
MatrixTLinearOperator = make_random_variable(tfd.MatrixTLinearOperator)
Mixture = make_random_variable(tfd.Mixture)
MixtureSameFamily = make_random_variable(tfd.MixtureSameFamily)
Moyal = make_random_variable(tfd.Moyal)
Multinomial = make_random_variable(tfd.Multinomial)
MultivariateNormalDiag = make_random_variable(tfd.MultivariateNormalDiag)
MultivariateNormalDiagPlusLowRank = make_random_variable(
    tfd.MultivariateNormalDiagPlusLowRank
)
MultivariateNormalDiagPlusLowRankCovariance = make_random_variable(
    tfd.MultivariateNormalDiagPlusLowRankCovariance
)
MultivariateNormalFullCovariance = make_random_variable(
    tfd.MultivariateNormalFullCovariance
)
MultivariateNormalLinearOperator = make_random_variable(
    tfd.MultivariateNormalLinearOperator
)
MultivariateNormalTriL = make_random_variable(tfd.MultivariateNormalTriL)
MultivariateStudentTLinearOperator = make_random_variable(
    tfd.MultivariateStudentTLinearOperator
)
NegativeBinomial = make_random_variable(tfd.NegativeBinomial)
NoncentralChi2 = make_random_variable(edges.NoncentralChi2)
Normal = make_random_variable(densities.Normal)
NormalInverseGaussian = make_random_variable(tfd.NormalInverseGaussian)
OneHotCategorical = make_random_variable(tfd.OneHotCategorical)
OrderedLogistic = make_random_variable(counts.OrderedLogistic)
PERT = make_random_variable(intervals.PERT)
Pareto = make_random_variable(tfd.Pareto)
PixelCNN = make_random_variable(tfd.PixelCNN)
PlackettLuce = make_random_variable(tfd.PlackettLuce)
Poisson = make_random_variable(counts.Poisson)
PoissonLogNormalQuadratureCompound = make_random_variable(
    counts.PoissonLogNormalQuadratureCompound
)
PowerSpherical = make_random_variable(spheres.PowerSpherical)
ProbitBernoulli = make_random_variable(tfd.ProbitBernoulli)
QuantizedDistribution = make_random_variable(tfd.QuantizedDistribution)
RelaxedBernoulli = make_random_variable(relaxed.RelaxedBernoulli)
RelaxedOneHotCategorical = make_random_variable(relaxed.RelaxedOneHotCategorical)
Sample = make_random_variable(tfd.Sample)  # sample_shape is the distribution's own
SigmoidBeta = make_random_variable(tfd.SigmoidBeta)
SinhArcsinh = make_random_variable(tfd.SinhArcsinh)
Skellam = make_random_variable(counts.Skellam)
SphericalUniform = make_random_variable(spheres.SphericalUniform)
StoppingRatioLogistic = make_random_variable(counts.StoppingRatioLogistic)
StudentT = make_random_variable(tails.StudentT)
StudentTProcess = make_random_variable(tfd.StudentTProcess)
StudentTProcessRegressionModel = make_random_variable(
    tfd.StudentTProcessRegressionModel
)
TransformedDistribution = make_random_variable(tfd.TransformedDistribution)
Triangular = make_random_variable(intervals.Triangular)
TruncatedCauchy = make_random_variable(densities.TruncatedCauchy)
TruncatedNormal = make_random_variable(densities.TruncatedNormal)
TwoPieceNormal = make_random_variable(tfd.TwoPieceNormal)
TwoPieceStudentT = make_random_variable(tfd.TwoPieceStudentT)
Uniform = make_random_variable(intervals.Uniform)
VariationalGaussianProcess = make_random_variable(tfd.VariationalGaussianProcess)
VectorDeterministic = make_random_variable(tfd.VectorDeterministic)
VonMises = make_random_variable(spheres.VonMises)
VonMisesFisher = make_random_variable(spheres.VonMisesFisher)
Weibull = make_random_variable(edges.Weibull)
WishartLinearOperator = make_random_variable(matrices.WishartLinearOperator)
WishartTriL = make_random_variable(matrices.WishartTriL)
ZeroInflatedNegativeBinomial = make_random_variable(tfd.ZeroInflatedNegativeBinomial)
Zipf = make_random_variable(counts.Zipf)

__all__ = [name for name in dir() if hasattr(globals()[name], "makes_random_variable")]
