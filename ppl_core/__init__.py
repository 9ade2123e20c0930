"""The language: random variables, tracers, and transformations of programs."""

# ruff: noqa: F401, F403  the imports are the package's public names

from ppl_core.censoring import Interval
from ppl_core.description import describe
from ppl_core.design import DesignMatrix
from ppl_core.dimensions import coords, plate
from ppl_core.distributions import *
from ppl_core.distributions import make_random_variable
from ppl_core.marginal import marginalize
from ppl_core.random_variable import RandomVariable
from ppl_core.reparam import lift, reparam
from ppl_core.seeds import seeded
from ppl_core.sharded import Shard, unconstrain_shards
from ppl_core.terms import Flat, HalfFlat, deterministic, factor
from ppl_core.trace import forward, trace, traceable
from ppl_core.tracers import (
    block,
    condition,
    intervene,
    mask,
    prefix,
    replay,
    scale,
    substitute,
    tape,
)
from ppl_core.transformations import (
    align,
    make_log_joint_fn,
    make_log_likelihood_fn,
    make_log_prob_parts_fn,
    mutilate,
    posterior_predictive,
    prior_predictive,
)
from ppl_core.unconstrained import Posterior, posterior, unconstrain
