"""The graph of an execution: independences, blankets, terms, its claims, bad input."""

import itertools

import networkx as nx
import numpy as np
import pytest
import tensorflow as tf

import ppl_core as ppl
from experiments.programs import execution_graph as program
from tests.programs import claims_of


@pytest.fixture(scope="module")
def graph():
    return program.graph_of(ppl.describe(program.gaussian_mixture, program.ROWS))


@pytest.fixture(scope="module")
def values():
    with ppl.tape() as variables, ppl.seeded((0, 1)):
        program.gaussian_mixture(program.ROWS)
    return {name: variable.value for name, variable in variables.items()}


def test_the_edges_are_those_of_the_program(graph):
    edges = {("pi", f"z{i}") for i in range(3)} | {
        (parent, f"x{i}") for i in range(3) for parent in ("mu", "tau", f"z{i}")
    }
    assert set(graph.edges) == edges and len(graph) == 9


def separated(graph, a, b, given):
    """d-separation by the moral graph of the ancestors (Lauritzen et al., 1990)."""
    kept = {a, b, *given}
    kept |= {above for name in kept for above in nx.ancestors(graph, name)}
    moral = nx.Graph()
    moral.add_nodes_from(kept)
    for name in kept:
        parents = list(graph.predecessors(name))
        moral.add_edges_from((parent, name) for parent in parents)
        moral.add_edges_from(itertools.combinations(parents, 2))
    moral.remove_nodes_from(given)
    return not nx.has_path(moral, a, b)


def test_every_independence_is_that_of_the_moral_graph(graph):
    num = 0
    for a, b in itertools.combinations(graph, 2):
        rest = [name for name in graph if name not in (a, b)]
        for size in (0, 1, 2, len(rest)):
            for given in itertools.combinations(rest, size):
                expected = separated(graph, a, b, given)
                assert program.independent(graph, a, b, given) == expected
                num += 1
    assert num == 36 * (1 + 7 + 21 + 1)


def test_the_queries_and_blankets_by_hand_are_right(graph):
    for a, b, given, answer in program.QUERIES:
        assert separated(graph, a, b, given) == answer, (a, b, given)
    for name, blanket in program.BLANKETS.items():
        assert program.markov_blanket(graph, name) == blanket
        # By definition: given its blanket it is independent of all others.
        for other in set(graph) - blanket - {name}:
            assert separated(graph, name, other, blanket)


def test_terms_that_change_with_a_variable_are_its_own_and_its_childrens(graph, values):
    found = program.changed_terms(values)
    assert found["pi"] == {"pi", "z0", "z1", "z2"}
    assert found["z1"] == {"z1", "x1"} and found["x2"] == {"x2"}
    assert {n: program.energy_terms(graph, n) for n in graph} == found


def test_the_mixed_difference_is_zero_without_a_common_term(values):
    found = program.mixed_differences(values)
    assert len(found) == 36
    assert found["mu", "z0"] > 0 and found["pi", "z2"] > 0
    assert found["pi", "mu"] == found["z0", "z1"] == found["x0", "z1"] == 0


def test_the_log_joint_is_scipys(values):
    found = float(ppl.make_log_joint_fn(program.gaussian_mixture)(3, **values))
    np.testing.assert_allclose(found, program.scipy_log_joint(values), rtol=1e-6)


@pytest.mark.slow
def test_each_factors_gradient_has_the_expectation_of_the_enumerated_one():
    found = program.factor_gradients(4, 4000, 2)
    exact = found["enumerated"]
    assert exact.shape == (4000, 3)
    np.testing.assert_allclose(exact.sum(1), 0.0, atol=1e-4)  # logits: a shift is none
    for name in ("all terms", "energy terms"):
        differences = found[name] - exact
        error = differences.std(0) / 4000**0.5
        assert np.all(np.abs(differences.mean(0)) < 4 * error)


def test_the_alignment_names_every_latent_of_both_programs():
    aligned = program.alignment(2)
    with ppl.tape() as variables:
        program.guide(2, 5)
    assert list(aligned.values()) == list(variables)
    described = ppl.describe(
        program.gaussian_mixture, 2, observed={"x0": 0.0, "x1": tf.constant(1.0)}
    )
    assert set(aligned) == {part.name for part in described if part.kind == "latent"}


@pytest.mark.slow
def test_the_tiny_config_runs_and_its_claims_hold(tmp_path):
    made = claims_of("execution_graph_tiny", tmp_path / "run")
    assert len(made) == 8


@pytest.mark.parametrize("name", ["num_rows", "num_draws"])
def test_wrong_arguments_are_refused_before_anything_runs(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name}: given 1, wanted a whole number of"):
        program.run(run_dir=tmp_path, seed=0, dry_run=True, **{name: 1})
