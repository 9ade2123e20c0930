"""Cases of constructors of continuous numbers."""

import numpy as np
import tensorflow_probability as tfp
from scipy import special, stats

from tests.ppl_core.constructors import densities
from tests.ppl_core.constructors.values import (
    DISTANCES,
    Case,
    Values,
    above,
    around,
    between,
    listed,
    shifted,
)

tfb, tfd = tfp.bijectors, tfp.distributions

CASES = {
    "Bates": Case(
        dict(low=0.5, high=2.0),
        between(0.5, 2.0),
        fixed=dict(total_count=3.0),
        sweep=dict(low=shifted(0.6, -1.0), high=shifted(1.9)),
    ),
    "Beta": Case(
        dict(concentration1=2.0, concentration0=0.7),
        between(),
        density=lambda x, concentration1, concentration0: stats.beta.logpdf(
            x, concentration1, concentration0
        ),
    ),
    "BetaQuotient": Case(
        dict(
            concentration1_numerator=2.0,
            concentration0_numerator=1.5,
            concentration1_denominator=3.0,
            concentration0_denominator=0.8,
        ),
        above(scale=1.1),  # it has a kink at 1
    ),
    "Cauchy": Case(
        dict(loc=0.5, scale=1.5),
        around(0.5, 1.5),
        density=lambda x, loc, scale: stats.cauchy.logpdf(x, loc, scale),
    ),
    "Chi": Case(dict(df=3.0), above(), density=lambda x, df: stats.chi.logpdf(x, df)),
    "Chi2": Case(dict(df=3.0), above(), density=lambda x, df: stats.chi2.logpdf(x, df)),
    "ContinuousBernoulli": Case(
        dict(logits=0.7),
        between(),
        density=lambda x, logits: (
            logits * x
            - np.maximum(logits, 0)
            - np.log(-np.expm1(-abs(logits)) / abs(logits))
        ),
    ),
    "DoublesidedMaxwell": Case(
        dict(loc=0.5, scale=2.0),
        around(0.5, 2.0),
        density=lambda x, loc, scale: (
            stats.maxwell.logpdf(abs(x - loc), scale=scale) - np.log(2)
        ),
    ),
    "ExpGamma": Case(
        dict(concentration=2.0, rate=3.0),
        around(),
        density=lambda x, concentration, rate: (
            concentration * (x + np.log(rate))
            - rate * np.exp(x)
            - special.gammaln(concentration)
        ),
    ),
    "ExpInverseGamma": Case(
        dict(concentration=2.0, scale=3.0),
        around(),
        density=lambda x, concentration, scale: (
            concentration * (np.log(scale) - x)
            - scale * np.exp(-x)
            - special.gammaln(concentration)
        ),
    ),
    "Exponential": Case(
        dict(rate=2.0),
        above(0.0, 0.5),
        density=lambda x, rate: stats.expon.logpdf(x, scale=1 / rate),
    ),
    "ExponentiallyModifiedGaussian": Case(
        dict(loc=0.5, scale=1.0, rate=2.0),
        around(0.5),
        density=lambda x, loc, scale, rate: (
            np.log(rate)
            + rate * (loc - x)
            + 0.5 * (rate * scale) ** 2
            + special.log_ndtr((x - loc) / scale - rate * scale)
        ),
    ),
    "Flat": Case({}, around(), density=lambda x: 0.0 * x),
    "Gamma": Case(
        dict(concentration=2.0, rate=3.0),
        above(0.0, 0.5),
        density=lambda x, concentration, rate: stats.gamma.logpdf(
            x, concentration, scale=1 / rate
        ),
    ),
    "GammaGamma": Case(
        dict(concentration=2.0, mixing_concentration=3.0, mixing_rate=1.5),
        above(),
        density=lambda x, concentration, mixing_concentration, mixing_rate: (
            stats.betaprime.logpdf(
                x, concentration, mixing_concentration, scale=mixing_rate
            )
        ),
    ),
    "GeneralizedExtremeValue": Case(
        dict(loc=0.5, scale=1.5, concentration=0.2),
        Values(
            0.5 + 1.5 * np.concatenate([-2e-3 * DISTANCES, DISTANCES]),
            np.tile(DISTANCES, 2),
        ),
        sweep=dict(loc=[(d, sign * d) for d in DISTANCES if d < 5 for sign in (-1, 1)]),
        density=lambda x, loc, scale, concentration: stats.genextreme.logpdf(
            x, -concentration, loc, scale
        ),
    ),
    "GeneralizedNormal": Case(
        dict(loc=0.5, scale=1.5, power=1.5),
        around(0.5, 1.5),
        density=lambda x, loc, scale, power: stats.gennorm.logpdf(x, power, loc, scale),
    ),
    "GeneralizedPareto": Case(
        dict(loc=0.5, scale=1.5, concentration=0.2),
        above(0.5, 1.5),
        sweep=dict(loc=shifted(1.9, -1.0)),
        density=lambda x, loc, scale, concentration: stats.genpareto.logpdf(
            x, concentration, loc, scale
        ),
    ),
    "Gumbel": Case(
        dict(loc=0.5, scale=1.5),
        around(0.5, 1.5),
        density=lambda x, loc, scale: stats.gumbel_r.logpdf(x, loc, scale),
    ),
    "HalfCauchy": Case(
        dict(loc=0.5, scale=1.5),
        above(0.5, 1.5),
        sweep=dict(loc=shifted(1.9, -1.0)),
        density=lambda x, loc, scale: stats.halfcauchy.logpdf(x, loc, scale),
    ),
    "HalfFlat": Case({}, above(), density=lambda x: 0.0 * x),
    "HalfNormal": Case(
        dict(scale=1.5),
        above(0.0, 1.5),
        density=lambda x, scale: stats.halfnorm.logpdf(x, scale=scale),
    ),
    "HalfStudentT": Case(
        dict(df=3.0, loc=0.5, scale=2.0),
        above(0.5, 2.0),
        sweep=dict(loc=shifted(2.4, -1.0)),
        density=lambda x, df, loc, scale: stats.t.logpdf(x, df, loc, scale) + np.log(2),
    ),
    "Horseshoe": Case(dict(scale=1.5), around(0.0, 1.5)),
    "InverseGamma": Case(
        dict(concentration=2.0, scale=3.0),
        above(0.0, 3.0),
        density=lambda x, concentration, scale: stats.invgamma.logpdf(
            x, concentration, scale=scale
        ),
    ),
    "InverseGaussian": Case(
        dict(loc=1.0, concentration=3.0),
        above(),
        sweep=dict(loc=shifted(0.0)),  # a loc below 0 is refused
        density=lambda x, loc, concentration: (
            0.5 * (np.log(concentration) - np.log(2 * np.pi) - 3 * np.log(x))
            - concentration * (x - loc) ** 2 / (2 * loc**2 * x)
        ),
    ),
    "JohnsonSU": Case(
        dict(skewness=-0.5, tailweight=1.5, loc=0.3, scale=1.2),
        around(0.3, 1.2),
        density=densities.johnson_su,
    ),
    "Kumaraswamy": Case(
        dict(concentration1=2.0, concentration0=0.7),
        between(),
        density=densities.kumaraswamy,
    ),
    "LambertWDistribution": Case(
        dict(shift=0.3, scale=1.5, tailweight=0.1),
        around(0.3, 1.5),
        make=lambda shift, scale, tailweight: dict(
            distribution=tfd.Normal(shift, scale),
            shift=shift,
            scale=scale,
            tailweight=tailweight,
        ),
    ),
    "LambertWNormal": Case(dict(loc=0.3, scale=1.5, tailweight=0.1), around(0.3, 1.5)),
    "Laplace": Case(
        dict(loc=0.5, scale=1.5),
        around(0.5, 1.5),
        density=lambda x, loc, scale: -abs(x - loc) / scale - np.log(2 * scale),
    ),
    "LogLogistic": Case(
        dict(loc=0.5, scale=0.5),
        above(),
        density=densities.log_logistic,
    ),
    "LogNormal": Case(
        dict(loc=0.5, scale=0.5),
        above(),
        density=lambda x, loc, scale: (
            stats.norm.logpdf(np.log(x), loc, scale) - np.log(x)
        ),
    ),
    "Logistic": Case(
        dict(loc=0.5, scale=1.5),
        around(0.5, 1.5),
        density=lambda x, loc, scale: stats.logistic.logpdf(x, loc, scale),
    ),
    "LogitNormal": Case(
        dict(loc=0.5, scale=1.5), between(), density=densities.logit_normal
    ),
    "Moyal": Case(
        dict(loc=0.5, scale=1.5),
        around(0.5, 1.5),
        density=lambda x, loc, scale: (
            -0.5 * (x - loc) / scale
            - 0.5 * np.exp((loc - x) / scale)
            - 0.5 * np.log(2 * np.pi)
            - np.log(scale)
        ),
    ),
    "NoncentralChi2": Case(
        dict(df=3.0, noncentrality=1.5),
        above(),
        density=lambda x, df, noncentrality: stats.ncx2.logpdf(x, df, noncentrality),
    ),
    "Normal": Case(
        dict(loc=0.5, scale=1.5),
        around(0.5, 1.5),
        density=lambda x, loc, scale: stats.norm.logpdf(x, loc, scale),
    ),
    "NormalInverseGaussian": Case(
        dict(loc=0.5, scale=1.5, tailweight=2.0, skewness=0.5),
        around(0.5, 1.5),
        density=densities.normal_inverse_gaussian,
        sweep=dict(skewness=listed(-1.9, -1.0, 0.0, 1.0, 1.9), tailweight=shifted(0.5)),
    ),
    "PERT": Case(
        dict(low=1.0, peak=3.0, high=7.0, temperature=4.0),
        between(1.0, 7.0),
        density=densities.pert,
        sweep=dict(
            low=shifted(1.5, -1.0), peak=listed(1.1, 2.0, 4.0, 6.9), high=shifted(6.5)
        ),
    ),
    "Pareto": Case(
        dict(concentration=3.0, scale=2.0),
        above(2.0, 2.0),
        density=lambda x, concentration, scale: (
            np.log(concentration)
            + concentration * np.log(scale)
            - (concentration + 1) * np.log(x)
        ),
        sweep=dict(scale=[(d, 3.9 * d) for d in DISTANCES if d <= 1]),
    ),
    "RelaxedBernoulli": Case(dict(temperature=0.5, logits=0.3), between()),
    "SigmoidBeta": Case(
        dict(concentration1=2.0, concentration0=1.5),
        around(),
        density=densities.sigmoid_beta,
    ),
    "SinhArcsinh": Case(
        dict(loc=0.3, scale=1.2, skewness=0.2, tailweight=1.5),
        around(0.3, 1.2),
        density=densities.sinh_arcsinh,
    ),
    "StudentT": Case(
        dict(df=3.0, loc=0.5, scale=1.5),
        around(0.5, 1.5),
        density=lambda x, df, loc, scale: stats.t.logpdf(x, df, loc, scale),
    ),
    "Triangular": Case(
        dict(low=0.5, peak=1.5, high=4.0),
        between(0.5, 4.0),
        density=lambda x, low, peak, high: stats.triang.logpdf(
            x, (peak - low) / (high - low), low, high - low
        ),
        sweep=dict(
            low=shifted(0.6, -1.0), peak=listed(0.6, 1.4, 2.9, 3.9), high=shifted(3.9)
        ),
    ),
    "TruncatedCauchy": Case(
        dict(loc=0.3, scale=1.2, low=-1.0, high=2.0),
        between(-1.0, 2.0),
        density=densities.truncated_cauchy,
        sweep=dict(low=shifted(-0.5, -1.0), high=shifted(1.5)),
    ),
    "TruncatedNormal": Case(
        dict(loc=0.3, scale=1.2, low=-1.0, high=2.0),
        between(-1.0, 2.0),
        density=lambda x, loc, scale, low, high: stats.truncnorm.logpdf(
            x, (low - loc) / scale, (high - loc) / scale, loc, scale
        ),
        sweep=dict(low=shifted(-0.5, -1.0), high=shifted(1.5)),
    ),
    "TwoPieceNormal": Case(
        dict(loc=0.3, scale=1.2, skewness=1.5),
        around(0.3, 1.2),
        density=densities.two_piece(stats.norm.logpdf),
        sweep=dict(skewness=[(d, d) for d in DISTANCES]),
    ),
    "TwoPieceStudentT": Case(
        dict(df=4.0, loc=0.3, scale=1.2, skewness=1.5),
        around(0.3, 1.2),
        density=densities.two_piece(stats.t.logpdf),
        sweep=dict(skewness=[(d, d) for d in DISTANCES]),
    ),
    "Uniform": Case(
        dict(low=0.5, high=2.0),
        between(0.5, 2.0),
        density=lambda x, low, high: 0 * x - np.log(high - low),
        sweep=dict(low=shifted(0.6, -1.0), high=shifted(1.9)),
    ),
    "VonMises": Case(
        dict(loc=0.5, concentration=2.0),
        Values(
            0.5 + 2.5e-3 * np.concatenate([-DISTANCES, DISTANCES]),
            np.tile(DISTANCES, 2),
        ),
        density=densities.von_mises,
        latent_size=2,
    ),
    "Weibull": Case(
        dict(concentration=1.5, scale=2.0),
        above(0.0, 2.0),
        density=lambda x, concentration, scale: stats.weibull_min.logpdf(
            x, concentration, scale=scale
        ),
    ),
}
