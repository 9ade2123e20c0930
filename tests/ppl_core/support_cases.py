"""Of each constructor with a support: arguments, a value inside, and values outside."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

tfb = tfp.bijectors
_EYE = [[1.0, 0.0], [0.0, 1.0]]
_CORRELATED = [[1.0, 0.6], [0.6, 1.0]]
_LKJ_FACTOR = [[1.0, 0.0], [0.6, 0.8]]
_NO_MATRICES = [
    [[1.0, 0.6], [0.5, 1.0]],  # not symmetric
    [[1.0, 2.0], [2.0, 1.0]],  # not positive definite
    [[-1.0, 0.0], [0.0, 1.0]],
]

# (for events, one each)
OWN = {
    "Bates": (dict(total_count=3.0, low=0.0, high=2.0), 1.0, [-0.1, 2.1]),
    "Bernoulli": (dict(probs=0.3), 1, [2, -1]),
    "Beta": (dict(concentration1=2.0, concentration0=2.0), 0.5, [-0.1, 1.1]),
    "BetaBinomial": (
        dict(total_count=5.0, concentration1=2.0, concentration0=1.5),
        2.0,
        [-1.0, 6.0, 1.5],
    ),
    "BetaQuotient": (
        dict(
            concentration1_numerator=2.0,
            concentration0_numerator=1.5,
            concentration1_denominator=3.0,
            concentration0_denominator=0.8,
        ),
        0.5,
        [-1.0],
    ),
    "Binomial": (dict(total_count=5.0, probs=0.3), 2.0, [-1.0, 6.0, 1.5]),
    "Categorical": (dict(logits=[0.0, 0.0]), 1, [-1, 2]),
    "Chi": (dict(df=3.0), 1.0, [-1.0]),
    "Chi2": (dict(df=3.0), 1.0, [-1.0]),
    "CholeskyLKJ": (
        dict(dimension=2, concentration=1.5),
        _LKJ_FACTOR,
        [_CORRELATED, [[1.0, 0.0], [0.6, 0.9]], [[1.0, 0.0], [0.6, -0.8]]],
    ),
    "ContinuousBernoulli": (dict(probs=0.3), 0.5, [-0.1, 1.1]),
    "Deterministic": (dict(loc=1.0), 1.0, [2.0]),
    "DeterminantalPointProcess": (
        dict(eigenvalues=[0.5, 2.0], eigenvectors=_EYE),
        [0, 1],
        [[0, 2], [-1, 1]],
    ),
    "Dirichlet": (
        dict(concentration=[1.0, 2.0]),
        [0.5, 0.5],
        [[0.7, 0.7], [1.5, -0.5]],
    ),
    "DirichletMultinomial": (
        dict(total_count=4.0, concentration=[1.0, 2.0]),
        [1.0, 3.0],
        [[1.0, 1.0], [5.0, -1.0], [1.5, 2.5]],
    ),
    "Empirical": (dict(samples=[1.0, 2.0, 2.0]), 2.0, [1.5]),
    "ExpRelaxedOneHotCategorical": (
        dict(temperature=0.5, logits=[0.0, 0.0]),
        np.log([0.25, 0.75]).tolist(),
        [[0.5, 0.5], [-1.0, -1.0]],
    ),
    "Exponential": (dict(rate=1.0), 1.0, [-1.0]),
    "FiniteDiscrete": (
        dict(outcomes=[1.0, 2.0, 4.0], probs=[0.2, 0.3, 0.5]),
        2.0,
        [1.5, 5.0],
    ),
    "FlatDirichlet": (dict(concentration_shape=[2]), [0.5, 0.5], [[0.7, 0.7]]),
    "Gamma": (dict(concentration=2.0, rate=1.0), 1.0, [-1.0]),
    "GammaGamma": (
        dict(concentration=2.0, mixing_concentration=3.0, mixing_rate=1.5),
        1.0,
        [-1.0],
    ),
    "GeneralizedExtremeValue": (
        dict(loc=0.0, scale=1.0, concentration=0.5),
        0.0,
        [-2.1],
    ),
    "GeneralizedPareto": (
        dict(loc=1.0, scale=1.0, concentration=-0.5),
        2.0,
        [0.5, 3.1],
    ),
    "Geometric": (dict(probs=0.3), 2.0, [-1.0, 1.5]),
    "HalfCauchy": (dict(loc=1.0, scale=1.0), 2.0, [0.5]),
    "HalfFlat": ({}, 1.0, [-1.0]),
    "HalfNormal": (dict(scale=1.0), 1.0, [-1.0]),
    "HalfStudentT": (dict(df=3.0, loc=1.0, scale=1.0), 2.0, [0.5]),
    "InverseGamma": (dict(concentration=2.0, scale=1.0), 1.0, [-1.0]),
    "InverseGaussian": (dict(loc=1.0, concentration=1.0), 1.0, [-1.0]),
    "Kumaraswamy": (dict(concentration1=2.0, concentration0=2.0), 0.5, [-0.1, 1.1]),
    "LKJ": (
        dict(dimension=2, concentration=1.5),
        _CORRELATED,
        [*_NO_MATRICES, [[1.0, 0.6], [0.6, 2.0]]],
    ),
    "LogLogistic": (dict(loc=0.0, scale=1.0), 1.0, [-1.0]),
    "LogNormal": (dict(loc=0.0, scale=1.0), 1.0, [-1.0]),
    "LogitNormal": (dict(loc=0.0, scale=1.0), 0.5, [-0.1, 1.1]),
    "Multinomial": (
        dict(total_count=4.0, probs=[0.5, 0.5]),
        [1.0, 3.0],
        [[1.0, 1.0], [5.0, -1.0], [1.5, 2.5]],
    ),
    "NegativeBinomial": (dict(total_count=3.0, probs=0.5), 2.0, [-1.0, 1.5]),
    "NoncentralChi2": (dict(df=3.0, noncentrality=1.0), 1.0, [-1.0]),
    "OneHotCategorical": (dict(logits=[0.0, 0.0]), [0, 1], [[1, 1], [0, 0], [2, -1]]),
    "OrderedLogistic": (dict(cutpoints=[-1.0, 1.0], loc=0.0), 2, [-1, 3]),
    "PERT": (dict(low=0.0, peak=1.0, high=2.0, temperature=4.0), 1.0, [-0.1, 2.1]),
    "Pareto": (dict(concentration=2.0, scale=1.0), 2.0, [0.5]),
    "PlackettLuce": (
        dict(scores=[0.5, 1.0, 2.0]),
        [2, 0, 1],
        [[0, 0, 1], [1, 2, 3]],
    ),
    "Poisson": (dict(rate=1.0), 2.0, [-1.0, 1.5]),
    "PoissonLogNormalQuadratureCompound": (
        dict(loc=0.3, scale=0.5, quadrature_size=4),
        2.0,
        [-1.0, 1.5],
    ),
    "PowerSpherical": (
        dict(mean_direction=[0.0, 1.0], concentration=2.0),
        [0.6, 0.8],
        [[3.0, 4.0], [0.0, 0.0]],
    ),
    "ProbitBernoulli": (dict(probs=0.3), 1, [2, -1]),
    "RelaxedBernoulli": (dict(temperature=0.5, probs=0.3), 0.5, [-0.1, 1.1]),
    "RelaxedOneHotCategorical": (
        dict(temperature=0.5, logits=[0.0, 0.0]),
        [0.5, 0.5],
        [[0.7, 0.7], [1.5, -0.5]],
    ),
    "Skellam": (dict(rate1=1.0, rate2=1.0), -2.0, [1.5]),
    "SphericalUniform": (dict(dimension=2), [0.6, 0.8], [[3.0, 4.0]]),
    "StoppingRatioLogistic": (dict(cutpoints=[-1.0, 1.0], loc=0.0), 2, [-1, 3]),
    "Triangular": (dict(low=0.0, peak=1.0, high=2.0), 1.0, [-0.1, 2.1]),
    "TruncatedCauchy": (dict(loc=0.0, scale=1.0, low=0.0, high=2.0), 1.0, [-0.1, 2.1]),
    "TruncatedNormal": (dict(loc=0.0, scale=1.0, low=0.0, high=2.0), 1.0, [-0.1, 2.1]),
    "Uniform": (dict(low=0.0, high=2.0), 1.0, [-0.1, 2.1]),
    "VectorDeterministic": (dict(loc=[1.0, 2.0]), [1.0, 2.0], [[1.0, 3.0]]),
    "VonMisesFisher": (
        dict(mean_direction=[0.0, 1.0], concentration=2.0),
        [0.6, 0.8],
        [[3.0, 4.0], [0.0, 0.0]],
    ),
    "Weibull": (dict(concentration=2.0, scale=1.0), 1.0, [-1.0]),
    "WishartLinearOperator": (
        dict(df=4.0, scale=tf.linalg.LinearOperatorDiag([1.0, 2.0])),
        _CORRELATED,
        _NO_MATRICES,
    ),
    "WishartTriL": (dict(df=4.0, scale_tril=_EYE), _CORRELATED, _NO_MATRICES),
    "ZeroInflatedNegativeBinomial": (
        dict(total_count=3.0, probs=0.5, inflated_loc_probs=0.2),
        2.0,
        [-1.0, 1.5],
    ),
    "Zipf": (dict(power=2.0), 2.0, [0.0, 1.5]),
}


def _gammas(rate=(1.0, 2.0)):
    return tfd.Gamma(2.0, tf.constant(rate))


def _half_normal_steps(x):
    before = tf.concat([tf.ones_like(x[..., :1]), x[..., :-1]], -1)
    return tfd.Independent(tfd.Exponential(1.0 / (1.0 + before**2)), 1)


# Made from others; a function, since some need an eager context.
WRAPPED = {
    "Autoregressive": (
        dict(distribution_fn=_half_normal_steps, sample0=[1.0, 1.0], num_steps=2),
        [1.0, 2.0],
        [[1.0, -1.0], [-1.0, 1.0]],
    ),
    "BatchBroadcast": (
        dict(distribution=tfd.Gamma(2.0, 1.0), with_shape=[2]),
        [1.0, 2.0],
        [[1.0, -1.0]],
    ),
    "BatchConcat": (
        dict(distributions=[_gammas((1.0,)), tfd.Normal([0.0], 1.0)], axis=0),
        [1.0, -1.0],
        [[-1.0, 1.0]],
    ),
    "BatchReshape": (
        dict(distribution=_gammas(), batch_shape=[2, 1]),
        [[1.0], [2.0]],
        [[[1.0], [-1.0]]],
    ),
    "Blockwise": (
        dict(distributions=[tfd.Normal(0.0, 1.0), tfd.Gamma(2.0, 1.0)]),
        [-1.0, 1.0],
        [[1.0, -1.0]],
    ),
    "HiddenMarkovModel": (
        dict(
            initial_distribution=tfd.Categorical(probs=[0.5, 0.5]),
            transition_distribution=tfd.Categorical(probs=[[0.9, 0.1], [0.1, 0.9]]),
            observation_distribution=tfd.Poisson([1.0, 9.0]),
            num_steps=3,
        ),
        [1.0, 8.0, 0.0],
        [[1.0, 1.5, 0.0], [-1.0, 1.0, 0.0]],
    ),
    "Independent": (
        dict(distribution=_gammas(), reinterpreted_batch_ndims=1),
        [1.0, 2.0],
        [[1.0, -1.0]],
    ),
    "Inflated": (
        dict(distribution=tfd.Poisson(3.0), inflated_loc_probs=0.3),
        2.0,
        [1.5, -1.0],
    ),
    "MarkovChain": (
        dict(
            initial_state_prior=tfd.Gamma(2.0, 1.0),
            transition_fn=lambda _, x: tfd.Gamma(2.0, 1.0 / (1.0 + x**2)),
            num_steps=3,
        ),
        [1.0, 2.0, 3.0],
        [[1.0, -1.0, 3.0], [-1.0, 1.0, 3.0]],
    ),
    "Masked": (
        dict(distribution=_gammas(), validity_mask=[True, False]),
        [1.0, -1.0],
        [[-1.0, 1.0]],
    ),
    "Mixture": (
        dict(
            cat=tfd.Categorical(probs=[0.5, 0.5]),
            components=[tfd.Gamma(2.0, 1.0), tfd.Uniform(-2.0, -1.0)],
        ),
        -1.5,
        [-0.5, -3.0],
    ),
    "MixtureSameFamily": (
        dict(
            mixture_distribution=tfd.Categorical(probs=[0.5, 0.5]),
            components_distribution=_gammas(),
        ),
        1.0,
        [-1.0],
    ),
    "QuantizedDistribution": (
        dict(distribution=tfd.Normal(0.0, 3.0), low=-5.0, high=5.0),
        2.0,
        [0.5, -6.0, 6.0],
    ),
    "TransformedDistribution": (
        dict(distribution=tfd.Gamma(2.0, 1.0), bijector=tfb.Exp()),
        2.0,
        [-1.0, 0.5],
    ),
}
CASES = OWN | WRAPPED
