"""The committed reference posteriors, and the checks that a run of Stan must pass."""

import json

import numpy as np
import pytest

from experiments.baselines.posteriors import stan
from experiments.bench import posterior_references as references
from experiments.bench.posteriors import MODELS

WITH_REFERENCE = [
    model
    for model in MODELS.values()
    if model.reference is None and model.no_reference is None
]


def chains(num=4, draws=2000, **changes):
    """Chains of independent normal draws of a vector of 2."""
    random = np.random.default_rng(0)
    return [
        stan.Chain(
            values={"x": random.normal([1.0, -2.0], [1.0, 3.0], (draws, 2))},
            leapfrogs=np.full(draws, 7),
            depth=np.full(draws, 3),
            diverged=np.zeros(draws, bool),
            energy=random.normal(size=draws),
            step_size=0.5,
            warmup_leapfrogs=-1,
            warmup_seconds=1.0,
            sampling_seconds=1.0,
        )._replace(**changes)
        for _ in range(num)
    ]


@pytest.mark.parametrize("model", WITH_REFERENCE, ids=lambda model: model.name)
def test_every_reference_is_of_the_model_as_it_is_and_passed_the_bar(model):
    content = references.read(model)
    data = model.make_data()
    assert content["digest"] == references.digest(model, data), "make reference"
    if model.exact is None:
        assert content["settings"] == references.settings_of(model)
        assert content["bar"] == references.BAR
        assert references.failed(content["checks"]) == []
    assert set(content["parameters"]) == set(model.compared_names)
    for statistics in content["parameters"].values():
        shapes = {np.shape(value) for value in statistics.values()}
        assert len(shapes) == 1 and len(statistics) == 6
        # The mean of squares is that of the other two.
        mean, sd = (np.array(statistics[key]) for key in ("mean", "sd"))
        np.testing.assert_allclose(
            statistics["mean_of_squares"], mean**2 + sd**2, rtol=1e-3
        )


def test_a_digest_is_the_same_on_every_processor_and_of_the_data():
    model = MODELS["credit"]
    data = model.make_data()
    digest = references.digest(model, data)
    other = data | {"x": np.nextafter(data["x"], np.inf)}  # by another exp, say
    assert references.digest(model, other) == digest
    assert references.digest(model, data | {"x": data["x"] * 1.00001}) != digest
    assert references.digest(model, data | {"y": 1 - data["y"]}) != digest


def test_statistics_of_independent_draws_are_those_of_theory():
    statistics = references.summarize(chains())["x"]
    num = 4 * 2000
    mean, sd = np.array([1.0, -2.0]), np.array([1.0, 3.0])
    assert np.all(abs(statistics["mean"] - mean) < 5 * sd / num**0.5)
    np.testing.assert_allclose(statistics["mean_mcse"], sd / num**0.5, rtol=0.1)
    np.testing.assert_allclose(statistics["sd_mcse"], sd / (2 * num) ** 0.5, rtol=0.1)
    spread = np.sqrt(2 * sd**4 + 4 * mean**2 * sd**2)  # of the squares
    np.testing.assert_allclose(
        statistics["mean_of_squares_mcse"], spread / num**0.5, rtol=0.1
    )


def test_a_good_run_passes_and_each_fault_is_named():
    def faults(**changes):
        made = chains(draws=4000, **changes)
        summary = references.summarize(made)
        return references.failed(references.check(made, summary, max_depth=12))

    assert faults() == []
    assert faults(diverged=np.arange(4000) == 3) == ["divergences 4, wanted 0"]
    assert faults(depth=np.full(4000, 12)) == ["reached_max_depth 16000, wanted 0"]
    slow = np.cumsum(np.random.default_rng(1).normal(size=4000))
    assert "min_e_bfmi" in faults(energy=slow)[0]
    names = " ".join(faults(values={"x": slow[:, None]}))
    assert "min_ess" in names


def test_a_file_of_chains_is_read_as_it_was_written(tmp_path):
    (chain,) = chains(1)
    stan.save_chain(tmp_path / "chain-1.npz", chain)
    again = stan.load_chain(tmp_path / "chain-1.npz")
    np.testing.assert_array_equal(again.values["x"], chain.values["x"])
    for name in chain._fields:
        if name != "values":
            np.testing.assert_array_equal(getattr(again, name), getattr(chain, name))


def test_the_written_file_is_json_and_keeps_9_digits(tmp_path):
    made = chains(draws=100)
    content = {"schema": 1, "versions": {"stan": "1"}}
    text = references._dumps(content | {"parameters": references.summarize(made)})
    again = json.loads(text)
    assert again["versions"] == {"stan": "1"}
    np.testing.assert_allclose(
        again["parameters"]["x"]["mean"],
        np.mean([chain.values["x"] for chain in made], (0, 1)),
        rtol=1e-8,
    )


def test_draws_by_name_take_stans_indices():
    rows = [{"a": 1.0, "b.1": 2.0, "b.2": 3.0, "c.1.1": 4.0, "c.2.1": 5.0}] * 3
    arrays = stan.by_name(rows, ["c", "a", "b"])
    assert list(arrays) == ["c", "a", "b"]
    assert arrays["a"].tolist() == [1.0] * 3
    assert arrays["b"].tolist() == [[2.0, 3.0]] * 3
    assert arrays["c"].tolist() == [[[4.0], [5.0]]] * 3
    with pytest.raises(ValueError, match="'d'.*wanted some of"):
        stan.by_name(rows, ["d"])
