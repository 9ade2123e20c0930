"""Every constructor, made and compared with the plain TFP distribution."""

import inspect

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import ppl_core as ppl
from ppl_core import distributions

tfb, tfd = tfp.bijectors, tfp.distributions
psd_kernels = tfp.math.psd_kernels

ABSTRACT = {
    "Distribution",
    "AutoCompositeTensorDistribution",
    "JointDistribution",
}


def public_classes():
    return {
        name
        for name in dir(tfd)
        if inspect.isclass(getattr(tfd, name))
        and issubclass(getattr(tfd, name), tfd.Distribution)
    }


def diag(*entries):
    return tf.linalg.LinearOperatorDiag(list(entries))


def kernel():
    return psd_kernels.ExponentiatedQuadratic(1.0, 0.5)


POINTS = [[0.0], [0.7], [1.5]]

# The arguments of one distribution of each class, as a function that makes them.
ARGUMENTS = {
    "Autoregressive": lambda: dict(
        distribution_fn=lambda x: tfd.Independent(
            tfd.Normal(tf.concat([0.0 * x[..., :1], x[..., :-1]], -1), 1.0), 1
        ),
        sample0=tf.zeros(3),
        num_steps=3,
    ),
    "BatchBroadcast": lambda: dict(
        distribution=tfd.Normal(0.0, 1.0), with_shape=[2, 3]
    ),
    "BatchConcat": lambda: dict(
        distributions=[tfd.Normal([0.0], 1.0), tfd.Normal([1.0, 2.0], 1.0)], axis=0
    ),
    "BatchReshape": lambda: dict(
        distribution=tfd.Normal([0.0, 1.0, 2.0, 3.0], 1.0), batch_shape=[2, 2]
    ),
    "Bates": lambda: dict(total_count=3.0, low=0.0, high=2.0),
    "Bernoulli": lambda: dict(logits=[0.3, -1.0]),
    "Beta": lambda: dict(concentration1=[2.0, 3.0], concentration0=1.5),
    "BetaBinomial": lambda: dict(
        total_count=5.0, concentration1=2.0, concentration0=1.5
    ),
    "BetaQuotient": lambda: dict(
        concentration1_numerator=2.0,
        concentration0_numerator=1.5,
        concentration1_denominator=3.0,
        concentration0_denominator=1.0,
    ),
    "Binomial": lambda: dict(total_count=5.0, probs=[0.3, 0.6]),
    "Blockwise": lambda: dict(
        distributions=[
            tfd.Independent(tfd.Normal([0.0, 1.0], 1.0), 1),
            tfd.MultivariateNormalDiag([0.0], [1.0]),
        ]
    ),
    "Categorical": lambda: dict(logits=[0.3, -1.0, 0.5]),
    "Cauchy": lambda: dict(loc=[0.0, 1.0], scale=2.0),
    "Chi": lambda: dict(df=3.0),
    "Chi2": lambda: dict(df=3.0),
    "CholeskyLKJ": lambda: dict(dimension=3, concentration=1.5),
    "ContinuousBernoulli": lambda: dict(logits=[0.3, -1.0]),
    "DeterminantalPointProcess": lambda: dict(
        eigenvalues=[0.5, 1.0, 2.0], eigenvectors=tf.eye(3)
    ),
    "Deterministic": lambda: dict(loc=[1.0, 2.0]),
    "Dirichlet": lambda: dict(concentration=[1.0, 2.0, 3.0]),
    "DirichletMultinomial": lambda: dict(
        total_count=4.0, concentration=[1.0, 2.0, 3.0]
    ),
    "DoublesidedMaxwell": lambda: dict(loc=0.5, scale=2.0),
    "Empirical": lambda: dict(samples=[0.0, 1.0, 1.0, 2.0]),
    "ExpGamma": lambda: dict(concentration=2.0, rate=3.0),
    "ExpInverseGamma": lambda: dict(concentration=2.0, scale=3.0),
    "ExpRelaxedOneHotCategorical": lambda: dict(
        temperature=0.5, logits=[0.3, -1.0, 0.5]
    ),
    "Exponential": lambda: dict(rate=[1.0, 2.0]),
    "ExponentiallyModifiedGaussian": lambda: dict(loc=0.0, scale=1.0, rate=2.0),
    "FiniteDiscrete": lambda: dict(outcomes=[1.0, 2.0, 4.0], logits=[0.3, -1.0, 0.5]),
    "FlatDirichlet": lambda: dict(concentration_shape=[3]),
    "Gamma": lambda: dict(concentration=2.0, rate=[3.0, 4.0]),
    "GammaGamma": lambda: dict(
        concentration=2.0, mixing_concentration=3.0, mixing_rate=1.5
    ),
    "GaussianProcess": lambda: dict(kernel=kernel(), index_points=POINTS),
    "GaussianProcessRegressionModel": lambda: dict(
        kernel=kernel(),
        index_points=POINTS,
        observation_index_points=[[0.3], [1.0]],
        observations=[0.5, -0.5],
        observation_noise_variance=0.1,
    ),
    "GeneralizedExtremeValue": lambda: dict(loc=0.0, scale=1.0, concentration=0.2),
    "GeneralizedNormal": lambda: dict(loc=0.0, scale=1.0, power=1.5),
    "GeneralizedPareto": lambda: dict(loc=0.0, scale=1.0, concentration=0.2),
    "Geometric": lambda: dict(probs=[0.3, 0.6]),
    "Gumbel": lambda: dict(loc=0.0, scale=[1.0, 2.0]),
    "HalfCauchy": lambda: dict(loc=0.0, scale=[1.0, 2.0]),
    "HalfNormal": lambda: dict(scale=[1.0, 2.0]),
    "HalfStudentT": lambda: dict(df=3.0, loc=0.0, scale=2.0),
    "HiddenMarkovModel": lambda: dict(
        initial_distribution=tfd.Categorical(probs=[0.8, 0.2]),
        transition_distribution=tfd.Categorical(probs=[[0.7, 0.3], [0.2, 0.8]]),
        observation_distribution=tfd.Normal([0.0, 15.0], [5.0, 10.0]),
        num_steps=4,
    ),
    "Horseshoe": lambda: dict(scale=[1.0, 2.0]),
    "Independent": lambda: dict(
        distribution=tfd.Normal([0.0, 1.0], 1.0), reinterpreted_batch_ndims=1
    ),
    "Inflated": lambda: dict(
        distribution=tfd.Poisson(3.0), inflated_loc_probs=0.3, inflated_loc=0.0
    ),
    "InverseGamma": lambda: dict(concentration=2.0, scale=3.0),
    "InverseGaussian": lambda: dict(loc=1.0, concentration=3.0),
    "JohnsonSU": lambda: dict(skewness=-0.5, tailweight=1.5, loc=0.0, scale=1.0),
    "JointDistributionCoroutine": lambda: dict(model=coroutine),
    "JointDistributionCoroutineAutoBatched": lambda: dict(model=bare_coroutine),
    "JointDistributionNamed": lambda: dict(model=named_model()),
    "JointDistributionNamedAutoBatched": lambda: dict(model=named_model()),
    "JointDistributionSequential": lambda: dict(model=sequential_model()),
    "JointDistributionSequentialAutoBatched": lambda: dict(model=sequential_model()),
    "Kumaraswamy": lambda: dict(concentration1=2.0, concentration0=1.5),
    "LKJ": lambda: dict(dimension=3, concentration=1.5),
    "LambertWDistribution": lambda: dict(
        distribution=tfd.Normal(0.0, 1.0), shift=0.0, scale=1.0, tailweight=0.1
    ),
    "LambertWNormal": lambda: dict(loc=0.0, scale=1.0, tailweight=0.1),
    "Laplace": lambda: dict(loc=[0.0, 1.0], scale=2.0),
    "LinearGaussianStateSpaceModel": lambda: dict(
        num_timesteps=4,
        transition_matrix=tf.linalg.LinearOperatorIdentity(2),
        transition_noise=tfd.MultivariateNormalDiag(scale_diag=[0.5, 0.5]),
        observation_matrix=tf.linalg.LinearOperatorIdentity(2),
        observation_noise=tfd.MultivariateNormalDiag(scale_diag=[1.0, 1.0]),
        initial_state_prior=tfd.MultivariateNormalDiag(scale_diag=[1.0, 1.0]),
    ),
    "LogLogistic": lambda: dict(loc=0.0, scale=0.5),
    "LogNormal": lambda: dict(loc=0.0, scale=[0.5, 1.0]),
    "Logistic": lambda: dict(loc=0.0, scale=[0.5, 1.0]),
    "LogitNormal": lambda: dict(loc=0.0, scale=[0.5, 1.0]),
    "MarkovChain": lambda: dict(
        initial_state_prior=tfd.Normal(0.0, 1.0),
        transition_fn=lambda _, x: tfd.Normal(x, 0.5),
        num_steps=4,
    ),
    "Masked": lambda: dict(
        distribution=tfd.Normal([0.0, 1.0], 1.0), validity_mask=[True, False]
    ),
    "MatrixNormalLinearOperator": lambda: dict(
        loc=tf.zeros([3, 2]), scale_row=diag(1.0, 2.0, 3.0), scale_column=diag(1.0, 2.0)
    ),
    "MatrixTLinearOperator": lambda: dict(
        df=4.0,
        loc=tf.zeros([3, 2]),
        scale_row=diag(1.0, 2.0, 3.0),
        scale_column=diag(1.0, 2.0),
    ),
    "Mixture": lambda: dict(
        cat=tfd.Categorical(probs=[0.3, 0.7]),
        components=[tfd.Normal(-1.0, 0.1), tfd.Normal(1.0, 0.5)],
    ),
    "MixtureSameFamily": lambda: dict(
        mixture_distribution=tfd.Categorical(probs=[0.3, 0.7]),
        components_distribution=tfd.Normal([-1.0, 1.0], [0.1, 0.5]),
    ),
    "Moyal": lambda: dict(loc=0.0, scale=[0.5, 1.0]),
    "Multinomial": lambda: dict(total_count=4.0, probs=[0.2, 0.3, 0.5]),
    "MultivariateNormalDiag": lambda: dict(loc=[0.0, 1.0], scale_diag=[1.0, 2.0]),
    "MultivariateNormalDiagPlusLowRank": lambda: dict(
        loc=[0.0, 1.0], scale_diag=[1.0, 2.0], scale_perturb_factor=[[0.5], [0.2]]
    ),
    "MultivariateNormalDiagPlusLowRankCovariance": lambda: dict(
        loc=[0.0, 1.0],
        cov_diag_factor=[1.0, 2.0],
        cov_perturb_factor=[[0.5], [0.2]],
    ),
    "MultivariateNormalFullCovariance": lambda: dict(
        loc=[0.0, 1.0], covariance_matrix=[[2.0, 0.5], [0.5, 1.0]]
    ),
    "MultivariateNormalLinearOperator": lambda: dict(
        loc=[0.0, 1.0], scale=diag(1.0, 2.0)
    ),
    "MultivariateNormalTriL": lambda: dict(
        loc=[0.0, 1.0], scale_tril=[[1.0, 0.0], [0.5, 2.0]]
    ),
    "MultivariateStudentTLinearOperator": lambda: dict(
        df=3.0, loc=[0.0, 1.0], scale=diag(1.0, 2.0)
    ),
    "NegativeBinomial": lambda: dict(total_count=3.0, probs=[0.3, 0.6]),
    "NoncentralChi2": lambda: dict(df=3.0, noncentrality=1.5),
    "Normal": lambda: dict(loc=[0.0, 1.0], scale=2.0),
    "NormalInverseGaussian": lambda: dict(
        loc=0.0, scale=1.0, tailweight=2.0, skewness=0.5
    ),
    "OneHotCategorical": lambda: dict(logits=[0.3, -1.0, 0.5]),
    "OrderedLogistic": lambda: dict(cutpoints=[-1.0, 0.5, 2.0], loc=0.3),
    "PERT": lambda: dict(low=1.0, peak=3.0, high=7.0, temperature=4.0),
    "Pareto": lambda: dict(concentration=3.0, scale=2.0),
    "PixelCNN": lambda: dict(
        image_shape=(2, 2, 1),
        num_resnet=1,
        num_hierarchies=1,
        num_filters=4,
        num_logistic_mix=2,
        dropout_p=0.0,
        use_weight_norm=False,
        use_data_init=False,
    ),
    "PlackettLuce": lambda: dict(scores=[0.5, 1.0, 2.0]),
    "Poisson": lambda: dict(rate=[1.0, 3.0]),
    "PoissonLogNormalQuadratureCompound": lambda: dict(
        loc=0.0, scale=0.5, quadrature_size=4
    ),
    "PowerSpherical": lambda: dict(mean_direction=[0.0, 1.0, 0.0], concentration=2.0),
    "ProbitBernoulli": lambda: dict(probits=[0.3, -1.0]),
    "QuantizedDistribution": lambda: dict(
        distribution=tfd.Normal(0.0, 3.0), low=-5.0, high=5.0
    ),
    "RelaxedBernoulli": lambda: dict(temperature=0.5, logits=[0.3, -1.0]),
    "RelaxedOneHotCategorical": lambda: dict(temperature=0.5, logits=[0.3, -1.0, 0.5]),
    "Sample": lambda: dict(distribution=tfd.Normal(0.0, 1.0), sample_shape=[2, 3]),
    "SigmoidBeta": lambda: dict(concentration1=2.0, concentration0=1.5),
    "SinhArcsinh": lambda: dict(loc=0.0, scale=1.0, skewness=0.2, tailweight=1.5),
    "Skellam": lambda: dict(rate1=2.0, rate2=3.0),
    "SphericalUniform": lambda: dict(dimension=3),
    "StoppingRatioLogistic": lambda: dict(cutpoints=[-1.0, 0.5, 2.0], loc=0.3),
    "StudentT": lambda: dict(df=3.0, loc=[0.0, 1.0], scale=2.0),
    "StudentTProcess": lambda: dict(df=4.0, kernel=kernel(), index_points=POINTS),
    "StudentTProcessRegressionModel": lambda: dict(
        df=4.0,
        kernel=kernel(),
        index_points=POINTS,
        observation_index_points=[[0.3], [1.0]],
        observations=[0.5, -0.5],
        observation_noise_variance=0.1,
    ),
    "TransformedDistribution": lambda: dict(
        distribution=tfd.Normal([0.0, 1.0], 1.0), bijector=tfb.Exp()
    ),
    "Triangular": lambda: dict(low=0.0, high=4.0, peak=1.0),
    "TruncatedCauchy": lambda: dict(loc=0.0, scale=1.0, low=-1.0, high=2.0),
    "TruncatedNormal": lambda: dict(loc=0.0, scale=1.0, low=-1.0, high=2.0),
    "TwoPieceNormal": lambda: dict(loc=0.0, scale=1.0, skewness=1.5),
    "TwoPieceStudentT": lambda: dict(df=4.0, loc=0.0, scale=1.0, skewness=1.5),
    "Uniform": lambda: dict(low=[0.0, 1.0], high=3.0),
    "VariationalGaussianProcess": lambda: dict(
        kernel=kernel(),
        index_points=POINTS,
        inducing_index_points=[[0.2], [1.2]],
        variational_inducing_observations_loc=[0.1, -0.3],
        variational_inducing_observations_scale=[[0.5, 0.0], [0.1, 0.4]],
        observation_noise_variance=0.1,
    ),
    "VectorDeterministic": lambda: dict(loc=[1.0, 2.0]),
    "VonMises": lambda: dict(loc=[0.0, 1.0], concentration=2.0),
    "VonMisesFisher": lambda: dict(mean_direction=[0.0, 1.0, 0.0], concentration=2.0),
    "Weibull": lambda: dict(concentration=1.5, scale=[1.0, 2.0]),
    "WishartLinearOperator": lambda: dict(df=4.0, scale=diag(1.0, 2.0)),
    "WishartTriL": lambda: dict(df=4.0, scale_tril=[[1.0, 0.0], [0.5, 2.0]]),
    "ZeroInflatedNegativeBinomial": lambda: dict(
        inflated_loc_probs=0.3, total_count=3.0, probs=0.4
    ),
    "Zipf": lambda: dict(power=3.0),
}


def coroutine():
    scale = yield tfd.JointDistributionCoroutine.Root(tfd.Gamma(2.0, 1.0))
    yield tfd.Normal(0.0, scale)


def bare_coroutine():
    scale = yield tfd.Gamma(2.0, 1.0)
    yield tfd.Normal(0.0, scale)


def named_model():
    return dict(scale=tfd.Gamma(2.0, 1.0), x=lambda scale: tfd.Normal(0.0, scale))


def sequential_model():
    return [tfd.Gamma(2.0, 1.0), lambda scale: tfd.Normal(0.0, scale)]


def test_every_public_distribution_class_has_a_constructor():
    names = {
        name
        for name, member in vars(distributions).items()
        if hasattr(member, "makes_random_variable")
    }
    assert names == public_classes() - ABSTRACT
    assert names <= set(vars(ppl))
    assert names == set(ARGUMENTS)
    for name in names:
        assert getattr(ppl, name).__name__ == name


@pytest.mark.filterwarnings("ignore:Saw Tensor seed .*, implying stateless sampling")
@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_a_constructor_makes_a_variable_of_tfps_distribution(name):
    construct, plain = getattr(ppl, name), getattr(tfd, name)
    arguments = ARGUMENTS[name]()
    # Sample's is its own, PixelCNN draws one pixel at a time, and the auto-batched
    # distributions draw many in a slow loop.
    one_draw = name in ("Sample", "PixelCNN") or name.endswith("AutoBatched")
    sample_shape = {} if one_draw else {"sample_shape": 2}
    seed = 1 if name == "PixelCNN" else (1, 2)  # it takes no stateless seed
    with ppl.tape() as variables:
        variable = construct(**arguments, **sample_shape, seed=seed, name="x")
    assert variables == {"x": variable} or variables["x"] is variable
    distribution = variable.distribution
    assert isinstance(distribution, plain)
    # Each PixelCNN has weights of its own; TFP's FlatDirichlet cannot draw, and its
    # PoissonLogNormalQuadratureCompound has a wrong density.
    ours_alone = name in (
        "PixelCNN",
        "FlatDirichlet",
        "PoissonLogNormalQuadratureCompound",
    )
    theirs = distribution if ours_alone else plain(**arguments)

    leading = variable.sample_shape
    assert leading == ((2,) if sample_shape else ())
    shapes = tf.nest.map_structure(
        lambda value: value.shape, variable.value, check_types=False
    )
    expected = tf.nest.map_structure(
        lambda value: value.shape, theirs.sample(leading, seed=seed)
    )
    tf.nest.map_structure(lambda a, b: a.assert_is_compatible_with(b), shapes, expected)
    assert all(np.all(np.isfinite(part)) for part in tf.nest.flatten(variable.numpy()))

    # Observed, the value has the density that TFP gives it.
    observed = construct(**arguments, **sample_shape, value=variable.value, name="x")
    if name == "PixelCNN":  # each instance has weights of its own
        observed.distribution = distribution
    log_prob = theirs.log_prob(variable.value)
    assert observed.observed and not variable.observed
    np.testing.assert_allclose(observed.log_prob(), log_prob, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variable.log_prob(), log_prob, rtol=1e-5, atol=1e-6)
    assert np.all(np.isfinite(log_prob))


def test_a_constructor_takes_tfps_arguments_by_position():
    variable = ppl.Normal([0.0, 1.0], 2.0, value=[0.5, 0.5])
    np.testing.assert_allclose(
        variable.log_prob(), tfd.Normal([0.0, 1.0], 2.0).log_prob([0.5, 0.5]), rtol=1e-6
    )
    assert ppl.Normal(loc=0.0, scale=1.0, validate_args=True).distribution.validate_args


def test_an_unknown_argument_raises_tfps_type_error():
    with pytest.raises(TypeError, match="sclae"):
        ppl.Normal(0.0, 1.0, sclae=1.0)


def test_sample_shape_of_sample_belongs_to_the_distribution():
    variable = ppl.Sample(tfd.Normal(0.0, 1.0), sample_shape=[2, 3], name="x")
    assert variable.distribution.event_shape == (2, 3)
    assert variable.sample_shape == ()
    assert variable.log_prob().shape == ()


def test_bernoulli_is_a_subclass_of_tfps():
    variable = ppl.Bernoulli(logits=[0.3, -1.0], value=[1, 0])
    assert isinstance(variable.distribution, tfd.Bernoulli)
    assert variable.dtype == tf.int32
    assert ppl.Bernoulli(probs=0.5, dtype=tf.float32).dtype == tf.float32


class Ramp(tfd.Distribution):
    """p(x) = 2 x / scale ** 2 on (0, scale)."""

    def __init__(self, scale, validate_args=False, allow_nan_stats=True, name="Ramp"):
        parameters = dict(locals())
        self._scale = tf.convert_to_tensor(scale, tf.float32)
        super().__init__(
            dtype=tf.float32,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    def _batch_shape(self):
        return self._scale.shape

    def _event_shape(self):
        return tf.TensorShape([])

    def _sample_n(self, n, seed=None):
        shape = tf.concat([[n], tf.shape(self._scale)], 0)
        return self._scale * tf.sqrt(tf.random.stateless_uniform(shape, seed))

    def _log_prob(self, value):
        return tf.math.log(2.0 * value / self._scale**2)


def test_a_users_own_class_becomes_a_constructor():
    ramp = ppl.make_random_variable(Ramp)
    assert ramp.__name__ == "Ramp"
    with ppl.tape() as variables, ppl.condition(x=[1.0, 2.0]):
        with ppl.seeded((1, 2)):
            ramp(4.0, sample_shape=2, name="x")
            ramp([1.0, 2.0], sample_shape=3, name="drawn")
    np.testing.assert_allclose(
        variables["x"].log_prob(), np.log([2 / 16, 4 / 16]), rtol=1e-6
    )
    assert variables["drawn"].shape == (3, 2)


def test_a_function_that_makes_distributions_becomes_a_constructor():
    def standard_normal(dim):
        return tfd.MultivariateNormalDiag(tf.zeros(dim), tf.ones(dim))

    make = ppl.make_random_variable(standard_normal)
    variable = make(3, sample_shape=2, name="x")
    assert variable.shape == (2, 3)
    assert "standard_normal(name='x')" in repr(variable)


def test_a_missing_name_is_an_error_that_names_the_constructor():
    assert ppl.Laplace(0.0, 1.0).name is None
    with pytest.raises(ValueError, match="a Laplace has no name"), ppl.tape():
        ppl.Laplace(0.0, 1.0)
    with pytest.raises(ValueError, match="a Ramp has no name"), ppl.seeded((1, 2)):
        ppl.make_random_variable(Ramp)(1.0)
