"""Cases of constructors of vectors and matrices, or made from others."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special, stats

from tests.ppl_core.constructors import densities
from tests.ppl_core.constructors.values import (
    Case,
    Values,
    above,
    along,
    around,
    matrices,
    shifted,
    simplex,
    these,
)

tfb, tfd = tfp.bijectors, tfp.distributions

_POINTS = [[0.0], [0.7], [1.5]]
_VECTOR = along([1.0, -0.5], [0.3, 0.7])
_NORMALS = dict(loc=[0.3, 0.7], scale_diag=[1.0, 2.0])


def _diag(entries):
    return tf.linalg.LinearOperatorDiag(entries)


def _kernel(amplitude):
    return tfp.math.psd_kernels.ExponentiatedQuadratic(
        amplitude, tf.constant(0.5, amplitude.dtype)
    )


def _like(number, tensor):
    return tf.constant(number, tensor.dtype)


CASES = {
    "Autoregressive": Case(
        dict(scale=1.5),
        along([1.0, -0.5, 0.2]),
        make=lambda scale: dict(
            distribution_fn=lambda x: tfd.Independent(
                tfd.Normal(
                    tf.concat([tf.zeros_like(x[..., :1]), x[..., :-1]], -1),
                    scale[:, None],
                ),
                1,
            ),
            sample0=tf.zeros(3, scale.dtype),
            num_steps=3,
        ),
        density=lambda x, scale: stats.norm.logpdf(
            np.diff(x, prepend=0.0), scale=scale[:, None]
        ).sum(-1),
    ),
    "BatchBroadcast": Case(
        dict(loc=0.5, scale=1.5),
        along([1.0, -0.5], 0.5),
        make=lambda loc, scale: dict(
            distribution=tfd.Normal(loc[:, None], scale[:, None]),
            with_shape=[loc.shape[0], 2],
        ),
        density=lambda x, loc, scale: densities.normals(
            x, loc[:, None], scale[:, None]
        ),
    ),
    "BatchConcat": Case(
        _NORMALS,
        _VECTOR,
        make=lambda loc, scale_diag: dict(
            distributions=[
                tfd.Normal(loc[:, :1], scale_diag[:, :1]),
                tfd.Normal(loc[:, 1:], scale_diag[:, 1:]),
            ],
            axis=1,
        ),
        density=densities.normals,
        is_latent=False,
    ),
    "BatchReshape": Case(
        _NORMALS,
        along([[1.0], [-0.5]], 0.5),
        make=lambda loc, scale_diag: dict(
            distribution=tfd.Normal(loc, scale_diag),
            batch_shape=[loc.shape[0], 2, 1],
        ),
        density=lambda x, loc, scale_diag: densities.normals(
            x[..., 0], loc, scale_diag
        ),
    ),
    "Blockwise": Case(
        _NORMALS,
        _VECTOR,
        make=lambda loc, scale_diag: dict(
            distributions=[
                tfd.Normal(loc[:, 0], scale_diag[:, 0]),
                tfd.Independent(tfd.Normal(loc[:, 1:], scale_diag[:, 1:]), 1),
            ]
        ),
        density=densities.normals,
        is_latent=False,
    ),
    "CholeskyLKJ": Case(
        dict(concentration=1.5),
        these([[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.0], [0.8, 0.6]]),
        fixed=dict(dimension=2),
        is_latent=True,
        has_value_gradient=False,
        latent_size=1,
    ),
    "Dirichlet": Case(
        dict(concentration=[0.5, 2.0, 3.0]),
        simplex(),
        density=lambda x, concentration: (
            np.sum((concentration - 1) * np.log(x), -1)
            + special.gammaln(concentration.sum(-1))
            - special.gammaln(concentration).sum(-1)
        ),
        has_value_gradient=False,
        latent_size=2,
    ),
    "ExpRelaxedOneHotCategorical": Case(
        dict(temperature=0.5, logits=[0.3, -1.0, 0.5]),
        Values(np.log(simplex().points), simplex().distances),
        has_value_gradient=False,
        latent_size=2,
    ),
    "FlatDirichlet": Case(
        {},
        simplex(),
        fixed=dict(concentration_shape=[3]),
        has_value_gradient=False,
        latent_size=2,
        density=lambda x: np.full(len(x), np.log(2.0)),
    ),
    "GaussianProcess": Case(
        dict(amplitude=1.0),
        along([1.0, -0.5, 0.2]),
        make=lambda amplitude: dict(
            kernel=_kernel(amplitude), index_points=_like(_POINTS, amplitude)
        ),
    ),
    "GaussianProcessRegressionModel": Case(
        dict(amplitude=1.0),
        along([1.0, -0.5, 0.2]),
        make=lambda amplitude: dict(
            kernel=_kernel(amplitude),
            index_points=_like(_POINTS, amplitude),
            observation_index_points=_like([[0.3], [1.0]], amplitude),
            observations=_like([0.5, -0.5], amplitude),
            observation_noise_variance=_like(0.1, amplitude),
        ),
    ),
    "HiddenMarkovModel": Case(
        dict(loc=[0.3, 15.0], scale=[5.0, 10.0]),
        along([1.0, 2.0, -1.0, 3.0]),
        make=lambda loc, scale: dict(
            initial_distribution=tfd.Categorical(probs=_like([0.8, 0.2], loc)),
            transition_distribution=tfd.Categorical(
                probs=_like([[0.7, 0.3], [0.2, 0.8]], loc)
            ),
            observation_distribution=tfd.Normal(loc, scale),
            num_steps=4,
        ),
    ),
    "Independent": Case(
        dict(loc=[0.3, 0.7], scale_diag=[1.0, 2.0]),
        _VECTOR,
        make=lambda loc, scale_diag: dict(
            distribution=tfd.Normal(loc, scale_diag), reinterpreted_batch_ndims=1
        ),
        density=densities.normals,
    ),
    "LKJ": Case(
        dict(concentration=1.5),
        these([[1.0, 0.6], [0.6, 1.0]], [[1.0, -0.9], [-0.9, 1.0]]),
        fixed=dict(dimension=2),
        is_latent=True,
        has_value_gradient=False,
        latent_size=1,
    ),
    "LinearGaussianStateSpaceModel": Case(
        dict(scale_diag=[1.0, 1.5]),
        along(np.array([[1.0, 2.0], [-1.0, 0.5], [0.2, 0.1]])),
        make=lambda scale_diag: dict(
            num_timesteps=3,
            transition_matrix=tf.eye(2, dtype=scale_diag.dtype),
            transition_noise=tfd.MultivariateNormalDiag(
                scale_diag=_like([0.5, 0.5], scale_diag)
            ),
            observation_matrix=tf.eye(2, dtype=scale_diag.dtype),
            observation_noise=tfd.MultivariateNormalDiag(scale_diag=scale_diag),
            initial_state_prior=tfd.MultivariateNormalDiag(
                scale_diag=_like([1.0, 1.0], scale_diag)
            ),
        ),
    ),
    "MarkovChain": Case(
        dict(scale=1.5),
        along([1.0, -0.5, 0.2]),
        make=lambda scale: dict(
            initial_state_prior=tfd.Normal(tf.zeros_like(scale), scale),
            transition_fn=lambda _, x: tfd.Normal(x, scale),
            num_steps=3,
        ),
        density=lambda x, scale: stats.norm.logpdf(
            np.diff(x, prepend=0.0), scale=scale[:, None]
        ).sum(-1),
    ),
    "MatrixNormalLinearOperator": Case(
        dict(scale_diag=[1.0, 2.0, 3.0]),
        along([[1.0, 0.5], [0.2, -0.3], [-1.0, 2.0]]),
        make=lambda scale_diag: dict(
            loc=tf.zeros([3, 2], scale_diag.dtype),
            scale_row=_diag(scale_diag),
            scale_column=_diag(_like([1.0, 2.0], scale_diag)),
        ),
    ),
    "MatrixTLinearOperator": Case(
        dict(df=4.0, scale_diag=[1.0, 2.0, 3.0]),
        along([[1.0, 0.5], [0.2, -0.3], [-1.0, 2.0]]),
        make=lambda df, scale_diag: dict(
            df=df,
            loc=tf.zeros([3, 2], scale_diag.dtype),
            scale_row=_diag(scale_diag),
            scale_column=_diag(_like([1.0, 2.0], scale_diag)),
        ),
    ),
    "Mixture": Case(
        dict(logits=[0.3, -0.4], loc=[-1.0, 1.0]),
        around(),
        make=lambda logits, loc: dict(
            cat=tfd.Categorical(logits=logits),
            components=[
                tfd.Normal(loc[:, 0], _like(0.1, loc)),
                tfd.Normal(loc[:, 1], _like(0.5, loc)),
            ],
        ),
        density=densities.mixture,
    ),
    "MixtureSameFamily": Case(
        dict(logits=[0.3, -0.4], loc=[-1.0, 1.0]),
        around(),
        make=lambda logits, loc: dict(
            mixture_distribution=tfd.Categorical(logits=logits),
            components_distribution=tfd.Normal(loc, _like([0.1, 0.5], loc)),
        ),
        density=densities.mixture,
    ),
    "MultivariateNormalDiag": Case(_NORMALS, _VECTOR, density=densities.normals),
    "MultivariateNormalDiagPlusLowRank": Case(
        dict(**_NORMALS, scale_perturb_factor=[[0.5], [0.2]]), _VECTOR
    ),
    "MultivariateNormalDiagPlusLowRankCovariance": Case(
        dict(
            loc=[0.3, 0.7],
            cov_diag_factor=[1.0, 2.0],
            cov_perturb_factor=[[0.5], [0.2]],
        ),
        _VECTOR,
    ),
    "MultivariateNormalFullCovariance": Case(
        dict(loc=[0.3, 0.7], amplitude=2.0),
        _VECTOR,
        make=lambda loc, amplitude: dict(
            loc=loc,
            covariance_matrix=amplitude[:, None, None]
            * _like([[1.0, 0.25], [0.25, 0.5]], loc),
        ),
    ),
    "MultivariateNormalLinearOperator": Case(
        dict(loc=[0.3, 0.7], scale_diag=[1.0, 2.0]),
        _VECTOR,
        make=lambda loc, scale_diag: dict(loc=loc, scale=_diag(scale_diag)),
        density=densities.normals,
    ),
    "MultivariateNormalTriL": Case(
        dict(loc=[0.3, 0.7], amplitude=2.0),
        _VECTOR,
        make=lambda loc, amplitude: dict(
            loc=loc,
            scale_tril=amplitude[:, None, None] * _like([[1.0, 0.0], [0.25, 0.5]], loc),
        ),
    ),
    "MultivariateStudentTLinearOperator": Case(
        dict(df=3.0, loc=[0.3, 0.7], scale_diag=[1.0, 2.0]),
        _VECTOR,
        make=lambda df, loc, scale_diag: dict(df=df, loc=loc, scale=_diag(scale_diag)),
        density=densities.multivariate_t,
    ),
    "PowerSpherical": Case(
        dict(concentration=2.0),
        these([0.0, 1.0, 0.0], [0.6, 0.0, 0.8], [0.0, -0.8, 0.6]),
        fixed=dict(mean_direction=[0.0, 1.0, 0.0]),
        density=lambda x, concentration: densities.power_spherical(
            x, [0.0, 1.0, 0.0], concentration
        ),
        is_latent=True,
        has_value_gradient=False,
    ),
    "RelaxedOneHotCategorical": Case(
        dict(temperature=0.5, logits=[0.3, -1.0, 0.5]),
        simplex(),
        has_value_gradient=False,
        latent_size=2,
    ),
    "Sample": Case(
        dict(loc=0.5, scale=1.5),
        along([1.0, -0.5], 0.5),
        make=lambda loc, scale: dict(
            distribution=tfd.Normal(loc, scale), sample_shape=2
        ),
        density=lambda x, loc, scale: densities.normals(
            x, loc[:, None], scale[:, None]
        ),
    ),
    "SphericalUniform": Case(
        {},
        these([0.0, 1.0, 0.0], [0.6, 0.0, 0.8]),
        fixed=dict(dimension=3),
        density=lambda x: np.full(len(x), -np.log(4 * np.pi)),
        is_latent=True,
        has_value_gradient=False,
    ),
    "StudentTProcess": Case(
        dict(df=4.0, amplitude=1.0),
        along([1.0, -0.5, 0.2]),
        make=lambda df, amplitude: dict(
            df=df, kernel=_kernel(amplitude), index_points=_like(_POINTS, amplitude)
        ),
        sweep=dict(df=shifted(2.0)),
    ),
    "StudentTProcessRegressionModel": Case(
        dict(df=4.0, amplitude=1.0),
        along([1.0, -0.5, 0.2]),
        make=lambda df, amplitude: dict(
            df=df,
            kernel=_kernel(amplitude),
            index_points=_like(_POINTS, amplitude),
            observation_index_points=_like([[0.3], [1.0]], amplitude),
            observations=_like([0.5, -0.5], amplitude),
            observation_noise_variance=_like(0.1, amplitude),
        ),
        sweep=dict(df=shifted(2.0)),
    ),
    "TransformedDistribution": Case(
        dict(loc=0.5, scale=0.5),
        above(),
        make=lambda loc, scale: dict(
            distribution=tfd.Normal(loc, scale), bijector=tfb.Exp()
        ),
        density=lambda x, loc, scale: (
            stats.norm.logpdf(np.log(x), loc, scale) - np.log(x)
        ),
    ),
    "VariationalGaussianProcess": Case(
        dict(amplitude=1.0),
        along([1.0, -0.5, 0.2]),
        make=lambda amplitude: dict(
            kernel=_kernel(amplitude),
            index_points=_like(_POINTS, amplitude),
            inducing_index_points=_like([[0.2], [1.2]], amplitude),
            variational_inducing_observations_loc=_like([0.1, -0.3], amplitude),
            variational_inducing_observations_scale=_like(
                [[0.5, 0.0], [0.1, 0.4]], amplitude
            ),
            observation_noise_variance=_like(0.1, amplitude),
        ),
    ),
    "VonMisesFisher": Case(
        dict(concentration=2.0),
        these([0.0, 1.0, 0.0], [0.6, 0.0, 0.8], [0.0, -0.8, 0.6]),
        fixed=dict(mean_direction=[0.0, 1.0, 0.0]),
        density=lambda x, concentration: densities.von_mises_fisher(
            x, [0.0, 1.0, 0.0], concentration
        ),
        is_latent=True,
        has_value_gradient=False,
    ),
    "WishartLinearOperator": Case(
        dict(df=4.0, scale_diag=[1.0, 2.0]),
        matrices([[1.0, 0.3], [0.3, 2.0]]),
        make=lambda df, scale_diag: dict(df=df, scale=_diag(scale_diag)),
        has_value_gradient=False,
        latent_size=3,
        sweep=dict(df=shifted(2.0)),
    ),
    "WishartTriL": Case(
        dict(df=4.0, amplitude=2.0),
        matrices([[1.0, 0.3], [0.3, 2.0]]),
        make=lambda df, amplitude: dict(
            df=df,
            scale_tril=amplitude[:, None, None] * _like([[1.0, 0.0], [0.25, 0.5]], df),
        ),
        has_value_gradient=False,
        latent_size=3,
        sweep=dict(df=shifted(2.0)),
    ),
}
