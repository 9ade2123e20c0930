"""Exact draws stay exact: transitions of chains that do not wait, and Geweke's test.

Chains are independent, so that their distribution after any number of transitions is
compared with the exact one without an estimate of autocorrelation.  A comparison fails
by chance with probability 1e-6, by the bound of Dvoretzky, Kiefer and Wolfowitz; the
fast suite has some 25 of them.
"""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import ppl_core as ppl
from experiments.inference import kernel as kernels
from experiments.inference.tile_run import State
from tests.datasets_as_chains import Datasets
from tests.helpers import ALARM, distance_allowed, distance_from
from tests.kernels import constant_step, interpreted_kernel, run

F64 = tf.float64


# Chains that do not wait, in tiles of odd sizes, each with its step size and metric


def bounded():
    """Heavy tails, a bound on each side, and a bound that is random."""
    ppl.StudentT(tf.constant(5.0, F64), 1.0, 2.0, name="heavy")
    ppl.Logistic(tf.constant(0.0, F64), 1.5, name="logistic")
    ppl.Beta(tf.constant(2.0, F64), 1.5, name="share")
    scale = ppl.HalfNormal(tf.constant(1.0, F64), name="scale")
    ppl.Uniform(tf.constant(0.0, F64), scale, name="below")


LAWS = {  # of what each variable is turned into: (function of all values, cdf)
    "heavy": (lambda x: x["heavy"], stats.t(5, 1.0, 2.0).cdf),
    "logistic": (lambda x: x["logistic"], stats.logistic(0.0, 1.5).cdf),
    "share": (lambda x: x["share"], stats.beta(2.0, 1.5).cdf),
    "scale": (lambda x: x["scale"], stats.halfnorm.cdf),
    "below": (lambda x: x["below"] / x["scale"], stats.uniform.cdf),
}


def scales_of(metric, num, dim):
    """[num, dim] or [num, dim, dim]: two metrics by turns, so that tiles have both."""
    rng = np.random.default_rng(2)
    if metric == "unit":
        return np.ones((num, dim))
    spread = rng.uniform(0.5, 2.0, (2, dim))
    if metric == "diagonal":
        return np.resize(spread, (num, dim))
    factors = np.tril(rng.uniform(-0.5, 0.5, (2, dim, dim)), -1)
    factors += spread[:, :, np.newaxis] * np.eye(dim)
    return np.resize(factors, (num, dim, dim))


def after_transitions(kernel, posterior, *, metric, max_depth, num_draws):
    """The greatest distance from the exact law after each transition, and draws."""
    num, dim = kernel.num_chains, posterior.dim
    exact = ppl.prior_predictive(bounded, num_draws=num, seed=(7, max_depth))
    start = posterior.unconstrain(exact).numpy()
    log_prob, grad = posterior.log_prob_and_grad(start)
    _, _, draws = run(
        kernel,
        State(start, log_prob.numpy(), grad.numpy()),
        num_draws=num_draws,
        step=constant_step(np.resize([0.15, 0.4, 0.9, 1.6], num), num),
        scale=scales_of(metric, num, dim),
        max_depth=max_depth,
        seed=tf.constant([max_depth, 5]),
    )
    fresh = ppl.prior_predictive(bounded, num_draws=num, seed=(8, max_depth))
    other = posterior.log_prob(posterior.unconstrain(fresh)).numpy()
    found = {}
    for draw in range(num_draws):
        values = posterior.constrain(draws.draws[:, draw])
        values = {name: value.numpy() for name, value in values.items()}
        for name, (function, cdf) in LAWS.items():
            found[name, draw] = distance_from(cdf, function(values))
        # Two samples of `num`: the bound of one of half as many.
        apart = stats.ks_2samp(draws.log_prob[:, draw], other).statistic
        found["log prob", draw] = apart / np.sqrt(2)
    assert np.mean(np.any(draws.draws[:, 0] != start, axis=1)) > 0.3
    assert draws.depth.max() == max_depth
    return found, draws


@pytest.fixture(scope="module")
def posterior():
    return ppl.unconstrain(bounded)


def in_three_tiles(monkeypatch, make, posterior, num):
    monkeypatch.setattr(kernels, "MAX_TILE", -(-num // 3))
    monkeypatch.setattr(kernels, "TILE_BYTES", 1 << 40)
    kernel = make(
        posterior.log_prob_and_grad,
        num_chains=num,
        dim=posterior.dim,
        max_depth=6,
        dtype=F64,
        jit_compile=True,
    )
    sizes = [tile.chains.stop - tile.chains.start for tile in kernel.tiles]
    assert len(sizes) == 3 and sizes[0] % 2 == 1 and sizes[-1] < sizes[0]
    return kernel


def assert_exact(found, num):
    worst = max(found, key=found.get)
    assert found[worst] < distance_allowed(num), (worst, found[worst])


def test_chains_of_many_step_sizes_keep_exact_draws_exact(monkeypatch, posterior):
    num = 9_001
    kernel = in_three_tiles(monkeypatch, interpreted_kernel, posterior, num)
    found, draws = after_transitions(
        kernel, posterior, metric="dense", max_depth=4, num_draws=3
    )
    assert_exact(found, num)
    # At one turn they were at different draws.
    taken = np.cumsum(draws.leapfrogs, axis=1)
    assert np.min(taken[:, 2]) < np.max(taken[:, 0])


# Geweke (2004), Getting it right: parameters given data, data given parameters


def line():
    slope = ppl.Normal(tf.constant(0.0, F64), 1.0, name="slope")
    noise = ppl.HalfNormal(tf.constant(1.0, F64), name="noise")
    at = tf.constant([-1.0, 0.5, 2.0], F64)
    ppl.Normal(slope * at, noise, name="y")


def counts():
    share = ppl.Beta(tf.constant(2.0, F64), 3.0, name="share")
    rate = ppl.Gamma(tf.constant(3.0, F64), 1.0, name="rate")
    ppl.Poisson(rate * share * tf.constant([1.0, 4.0, 9.0], F64), name="y")


GEWEKE = {
    "line": (line, {"slope": stats.norm.cdf, "noise": stats.halfnorm.cdf}),
    "counts": (counts, {"share": stats.beta(2, 3).cdf, "rate": stats.gamma(3).cdf}),
}


def joint_statistics(values, y):
    """Functions of parameters and data together, by name."""
    first, second = (np.asarray(value) for value in values.values())
    y = np.asarray(y, float)
    mean = y.mean(axis=1)
    return {
        "first by mean": first * mean,
        "second by spread": second * np.std(y, axis=1),
        "residual": (mean - mean.mean()) - (first - first.mean()),
    }


def alternate(program, num, turns):
    """Parameters [num, dim] and data [num, ...] after turns from prior draws.

    One chain, and data of its own, for each prior draw.
    """
    drawn = ppl.prior_predictive(program, num_draws=num, seed=(1, 2))
    chains = Datasets(program, drawn["y"])
    names = chains.posterior.names
    start = chains.posterior.unconstrain({name: drawn[name] for name in names})
    kernel = interpreted_kernel(
        chains.log_prob_and_grad,
        num_chains=num,
        dim=chains.posterior.dim,
        max_depth=4,
        dtype=F64,
        jit_compile=False,
    )
    evaluate = tf.function(chains.log_prob_and_grad, autograph=False)

    @tf.function(autograph=False)
    def draw_data(position, seed):
        values = chains.posterior.constrain(position)
        return ppl.posterior_predictive(program, draws=values, seed=seed)["y"]

    position = start.numpy()
    for number in range(turns):
        log_prob, grad = evaluate(tf.constant(position))
        _, _, draws = run(
            kernel,
            State(position, log_prob.numpy(), grad.numpy()),
            first_draw=number,
            step=constant_step(np.resize([0.2, 0.5, 1.0], num), num),
        )
        position = draws.draws[:, 0]
        chains.data.assign(draw_data(tf.constant(position), tf.constant([3, number])))
    values = chains.posterior.constrain(tf.constant(position))
    return start.numpy(), position, values, chains.data.numpy()


@pytest.mark.parametrize(
    "name", ["line", pytest.param("counts", marks=pytest.mark.slow)]
)
def test_parameters_and_data_drawn_in_turns_keep_their_joint_law(name):
    num = 5_000
    program, laws = GEWEKE[name]
    start, position, values, data = alternate(program, num, turns=8)
    values = {name: value.numpy() for name, value in values.items()}
    for variable, cdf in laws.items():
        assert distance_from(cdf, values[variable]) < distance_allowed(num), variable
    fresh = ppl.prior_predictive(program, num_draws=num, seed=(5, 6))
    latent = {name: fresh[name].numpy() for name in values}
    found = joint_statistics(values, data)
    for statistic, other in joint_statistics(latent, fresh["y"]).items():
        p_value = stats.ks_2samp(found[statistic], other, method="asymp").pvalue
        assert p_value > ALARM, statistic
    for before, after in zip(start.T, position.T, strict=True):
        assert abs(np.corrcoef(before, after)[0, 1]) < 0.9  # the chains have moved
