"""The posterior of features kept by their structure is that of the dense ones."""

import numpy as np
import pytest

from experiments.bench import ppl_core_nuts, reference
from experiments.datasets.covertype import load_covertype
from experiments.nuts import structured


@pytest.fixture(scope="module")
def problem():
    return load_covertype(num_rows=3000)


@pytest.mark.parametrize(("num_chains", "block_bytes"), [(1, None), (3, 40 * 800)])
def test_density_and_gradient_are_those_of_float64_numpy(
    problem, num_chains, block_bytes
):
    exact = reference.make(problem, seed=0)
    log_prob, grad = ppl_core_nuts.log_prob_and_grad(
        problem,
        exact.points,
        num_chains=num_chains,
        structured=True,
        block_bytes=block_bytes,
    )
    check = reference.check_density(exact, log_prob, grad, precision="float32")
    assert check["passed"], check


def test_shards_have_every_row_once_and_few_shapes(problem):
    shards = structured.split_design(problem, block_bytes=40 * 300)
    rows = [int(shard.args[0].shape[0]) for shard in shards]
    assert sum(rows) == problem.rows and len(set(rows[:-1])) == 1 < len(rows)
    dense = np.concatenate([shard.args[0].to_dense() for shard in shards])
    labels = np.concatenate([shard.observed["labels"] for shard in shards])
    given = np.column_stack([problem.features, problem.labels])
    found = np.column_stack([dense, labels])
    np.testing.assert_allclose(
        found[np.lexsort(found.T[:11])], given[np.lexsort(given.T[:11])], atol=1e-5
    )


def test_logits_of_many_chains_make_smaller_shards(problem, monkeypatch):
    monkeypatch.setattr(structured, "fits_caches", lambda num_bytes: False)
    monkeypatch.setattr(structured, "LOGITS_BYTES", 4 * 64 * 500)
    monkeypatch.setattr(structured, "MIN_ROWS", 32)
    counts = [
        len(structured.split_design(problem, num_chains=chains)) for chains in (1, 64)
    ]
    assert counts[0] == 1 < counts[1]


def test_covertypes_columns_are_ten_numbers_and_two_codes_of_categories(problem):
    (shard,) = structured.split_design(problem)
    design = shard.args[0]
    assert design.numbers.shape[0] == 10
    assert [table.shape[1] for table in design.tables] == [45]
