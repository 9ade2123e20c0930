"""The program with branches: both branches, quadrature, its claims, and bad input."""

import numpy as np
import pytest
import tensorflow as tf

import ppl_core as ppl
from experiments.programs import implicit_variational as program
from tests.programs import claims_of

NETS = program.make_net(program.OUTPUTS, 0), program.make_net(1, 0)


@pytest.mark.parametrize(
    ("first", "names", "shape", "dtype"),
    [(0.5, ["eps"], (3,), tf.float32), (-0.5, ["eps", "count"], (), tf.int32)],
)
def test_the_branch_decides_on_shape_type_and_trace(first, names, shape, dtype):
    with ppl.tape() as trace, ppl.substitute(eps=[first, 0.3]):
        result = program.variational(*NETS, program.X)
    assert (result.shape, result.dtype, list(trace)) == (shape, dtype, names)
    noise = np.array([0.3])
    if first > 0:
        expected = program.outputs_at(NETS[0], noise, program.X)[0]
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    else:
        rate = program.rates_at(NETS[1], noise, program.X)[0]
        found = trace["count"].distribution.rate_parameter()
        np.testing.assert_allclose(found, rate, rtol=1e-5)


def test_the_program_cannot_be_compiled():
    compiled = tf.function(program.variational, autograph=False)
    with pytest.raises(tf.errors.OperatorNotAllowedInGraphError):
        compiled(*NETS, program.X)


def test_quadrature_finds_known_expectations():
    values = np.stack([program.NODES**4, np.exp(0.5 * program.NODES)], -1)
    expected = [3.0, np.exp(1 / 8)]
    np.testing.assert_allclose(program.expectation(values), expected, rtol=1e-12)
    probs = program.count_probs(NETS[1], program.X, 60)
    np.testing.assert_allclose(probs.sum(), 1.0)
    rates = program.rates_at(NETS[1], program.NODES, program.X)
    mean = program.expectation(rates)
    np.testing.assert_allclose(probs @ np.arange(60), mean, rtol=1e-9)


def test_the_p_value_of_counts_is_small_for_those_of_another_distribution():
    random = np.random.default_rng(0)
    rates = program.rates_at(NETS[1], random.normal(size=4000), program.X)
    counts = random.poisson(rates)
    assert program.count_p_value(counts, NETS[1]) > 0.001
    assert program.count_p_value(random.poisson(rates * 1.3), NETS[1]) < 1e-6
    # About uniform under the exact distribution.
    found = []
    for _ in range(100):
        rates = program.rates_at(NETS[1], random.normal(size=1000), program.X)
        found.append(program.count_p_value(random.poisson(rates), NETS[1]))
    assert abs(np.mean(found) - 0.5) < 4 * 0.29 / 10


@pytest.mark.slow
def test_the_tiny_config_runs_and_its_claims_hold(tmp_path):
    assert len(claims_of("implicit_variational_tiny", tmp_path / "run")) == 7


def test_too_few_runs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="num_runs: given 10, wanted a whole number"):
        program.run(run_dir=tmp_path, seed=0, num_runs=10, dry_run=True)
