"""Cases of constructors of counts, categories and the like."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special, stats

from tests.ppl_core.constructors import densities
from tests.ppl_core.constructors.values import Case, counts, shifted, these

tfb, tfd = tfp.bijectors, tfp.distributions


def _like(number, tensor):
    return tf.constant(number, tensor.dtype)


CASES = {
    "Bernoulli": Case(
        dict(logits=0.3),
        these(0, 1),
        density=lambda x, logits: -np.logaddexp(0, (1 - 2 * x) * logits),
    ),
    "BetaBinomial": Case(
        dict(concentration1=2.0, concentration0=1.5),
        counts(100),
        fixed=dict(total_count=100.0),
        density=lambda x, concentration1, concentration0: stats.betabinom.logpmf(
            x, 100, concentration1, concentration0
        ),
    ),
    "Binomial": Case(
        dict(probs=0.3),
        counts(100),
        fixed=dict(total_count=100.0),
        density=lambda x, probs: stats.binom.logpmf(x, 100, probs),
    ),
    "Categorical": Case(
        dict(logits=[0.3, -1.0, 0.5]),
        these(0, 1, 2),
        density=lambda x, logits: np.take_along_axis(
            special.log_softmax(logits, -1), x.astype(int)[:, None], -1
        )[:, 0],
    ),
    "DeterminantalPointProcess": Case(
        dict(eigenvalues=[0.5, 1.0, 2.0]),
        these([0, 0, 0], [1, 0, 1], [1, 1, 1]),
        make=lambda eigenvalues: dict(
            eigenvalues=eigenvalues, eigenvectors=tf.eye(3, dtype=eigenvalues.dtype)
        ),
    ),
    "DirichletMultinomial": Case(
        dict(concentration=[1.0, 2.0, 3.0]),
        these([4, 0, 0], [1, 2, 1], [0, 1, 3]),
        fixed=dict(total_count=4.0),
    ),
    "FiniteDiscrete": Case(
        dict(logits=[0.3, -1.0, 0.5]),
        these(1, 2, 4),
        fixed=dict(outcomes=[1.0, 2.0, 4.0]),
    ),
    "Geometric": Case(
        dict(probs=0.3),
        counts(),
        density=lambda x, probs: x * np.log1p(-probs) + np.log(probs),
    ),
    "Inflated": Case(
        dict(inflated_loc_probs=0.3, rate=3.0),
        counts(),
        make=lambda inflated_loc_probs, rate: dict(
            distribution=tfd.Poisson(rate),
            inflated_loc_probs=inflated_loc_probs,
            inflated_loc=_like(0.0, rate),
        ),
    ),
    "Multinomial": Case(
        dict(logits=[0.3, -1.0, 0.5]),
        these([4, 0, 0], [1, 2, 1], [0, 1, 3]),
        fixed=dict(total_count=4.0),
    ),
    "NegativeBinomial": Case(
        dict(total_count=3.0, probs=0.3),
        counts(),
        density=lambda x, total_count, probs: stats.nbinom.logpmf(
            x, total_count, 1 - probs
        ),
    ),
    "OneHotCategorical": Case(
        dict(logits=[0.3, -1.0, 0.5]), these([1, 0, 0], [0, 1, 0], [0, 0, 1])
    ),
    "OrderedLogistic": Case(
        dict(cutpoints=[-1.0, 0.5, 2.0], loc=0.3),
        these(0, 1, 2, 3),
        density=densities.ordered,
    ),
    "PlackettLuce": Case(
        dict(scores=[0.5, 1.0, 2.0]), these([0, 1, 2], [2, 1, 0], [1, 2, 0])
    ),
    "Poisson": Case(
        dict(rate=3.0), counts(), density=lambda x, rate: stats.poisson.logpmf(x, rate)
    ),
    "PoissonLogNormalQuadratureCompound": Case(
        dict(loc=0.3, scale=0.5), counts(), fixed=dict(quadrature_size=4)
    ),
    "ProbitBernoulli": Case(
        dict(probits=0.3),
        these(0, 1),
        density=lambda x, probits: special.log_ndtr((2 * x - 1) * probits),
    ),
    "QuantizedDistribution": Case(
        dict(loc=0.3, scale=3.0),
        these(-5, -2, 0, 3, 5),
        make=lambda loc, scale: dict(
            distribution=tfd.Normal(loc, scale),
            low=_like(-5.0, loc),
            high=_like(5.0, loc),
        ),
    ),
    "Skellam": Case(
        dict(rate1=2.0, rate2=3.0),
        these(-1000, -300, -100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100, 300, 1000),
        density=densities.skellam,
    ),
    "StoppingRatioLogistic": Case(
        dict(cutpoints=[-1.0, 0.5, 2.0], loc=0.3), these(0, 1, 2, 3)
    ),
    "ZeroInflatedNegativeBinomial": Case(
        dict(inflated_loc_probs=0.3, total_count=3.0, probs=0.4), counts()
    ),
    "Zipf": Case(
        dict(power=3.0),
        counts(least=1),
        density=lambda x, power: -power * np.log(x) - np.log1p(special.zetac(power)),
        sweep=dict(power=shifted(1.0)),
    ),
}
