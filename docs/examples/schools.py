"""Eight schools, non-centred: Rubin (1981)."""

import ppl_core as ppl


def eight_schools(sigma):
    """The effect of coaching in each school, given its standard error."""
    mu = ppl.Normal(0.0, 5.0, name="mu")
    tau = ppl.HalfCauchy(0.0, 5.0, name="tau")
    eta = ppl.Normal(0.0, 1.0, sample_shape=len(sigma), name="eta")
    theta = ppl.deterministic(mu + tau * eta, "theta")
    return ppl.Normal(theta, sigma, name="y")
