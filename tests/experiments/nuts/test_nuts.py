"""The NUTS experiment: its density, what the language adds, and its run folder."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from experiments.baselines.nuts import handwritten_tf
from experiments.bench import ppl_core_nuts, reference
from experiments.cluster import processes
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings, Samples
from experiments.inference.samples import concatenate
from experiments.nuts import posterior
from experiments.nuts.experiment import sample


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 6)).astype(np.float32)
    features[:, -1] = 1.0
    labels = (rng.random(400) < 0.4).astype(np.int32)
    start = np.zeros(6, np.float32)
    return RegressionProblem(
        name="made", source="made", features=features, labels=labels, start=start
    )


@pytest.fixture(scope="module")
def settings():
    return SamplerSettings(step_size=0.08, max_depth=5, num_results=7, num_chains=3)


@pytest.mark.parametrize(
    "density",
    [
        ppl_core_nuts.log_prob_and_grad,
        lambda *args: handwritten_tf.log_prob_and_grad(*args, gradient="autodiff"),
        lambda *args: handwritten_tf.log_prob_and_grad(*args, gradient="by_hand"),
    ],
    ids=["traced", "autodiff", "by_hand"],
)
def test_density_and_gradient_are_those_of_float64_numpy(problem, density):
    exact = reference.make(problem, seed=0)
    log_prob, grad = density(problem, exact.points)
    check = reference.check_density(exact, log_prob, grad, precision="float32")
    assert check["passed"], check


def in_small_blocks(monkeypatch):
    monkeypatch.setattr(posterior, "BLOCK_BYTES", 3000)
    monkeypatch.setattr(posterior, "core_cache_bytes", lambda: 0)


def operations(log_prob_and_grad):
    """The operations of a density's graph and of the functions that it calls."""
    function = tf.function(log_prob_and_grad, autograph=False)
    graph = function.get_concrete_function(tf.TensorSpec([1, 6], tf.float32)).graph
    found, graphs = [], [graph]
    while graphs:
        graph = graphs.pop()
        for op in graph.get_operations():
            found.append(op)
            if op.type in ("PartitionedCall", "StatefulPartitionedCall"):
                graphs.append(graph._get_function(op.get_attr("f").name).graph)
    return found


def heavy_ops(log_prob_and_grad):
    """The ops over rows in the graph of a density, by type."""
    counts = {}
    for op in operations(log_prob_and_grad):
        if any(400 in (t.shape.as_list() or []) for t in op.outputs if t.shape.rank):
            counts[op.type] = counts.get(op.type, 0) + 1
    return counts


def test_tracing_leaves_two_products_with_the_features_and_cheap_elementwise_work(
    problem,
):
    whole = posterior.split_rows(problem, one_block=True)
    density = posterior.posterior(problem, whole).log_prob_and_grad
    assert [op.type for op in operations(density)].count("MatMul") == 2
    counts = heavy_ops(density)
    assert counts["Exp"] == 2 and counts["Log1p"] == 1  # XLA shares the exponential
    assert not counts.keys() & {"Softplus", "Sigmoid", "Log"}


def test_blocks_of_rows_give_the_density_of_the_whole(problem, monkeypatch):
    exact = reference.make(problem, seed=0)
    in_small_blocks(monkeypatch)
    assert len(posterior.split_rows(problem)) == 4
    log_prob, grad = ppl_core_nuts.log_prob_and_grad(problem, exact.points)
    check = reference.check_density(exact, log_prob, grad, precision="float32")
    assert check["passed"], check


def test_many_chains_at_once_have_the_density_of_each(problem, monkeypatch):
    exact = reference.make(problem, seed=0)
    in_small_blocks(monkeypatch)
    log_prob, grad = ppl_core_nuts.log_prob_and_grad(
        problem, exact.points, num_chains=8
    )
    check = reference.check_density(exact, log_prob, grad, precision="float32")
    assert check["passed"], check


@pytest.fixture(scope="module")
def calls(problem, settings):
    """The draws of two calls of a prepared system."""
    run = ppl_core_nuts.prepare(problem, settings, 1)
    return run(), run()


def test_chains_on_blocks_draw_as_on_the_whole(calls, problem, settings, monkeypatch):
    whole, _ = calls
    in_small_blocks(monkeypatch)
    blocks = ppl_core_nuts.prepare(problem, settings, 1)()
    np.testing.assert_array_equal(blocks.leapfrogs, whole.leapfrogs)
    np.testing.assert_allclose(blocks.values, whole.values, atol=1e-3)


def test_traced_and_handwritten_densities_draw_the_same_chain(problem):
    one = SamplerSettings(step_size=0.05, max_depth=5, num_results=5)
    ours = ppl_core_nuts.prepare(problem, one, 3)()
    theirs = handwritten_tf.prepare(problem, one, 3, gradient="by_hand")()
    np.testing.assert_array_equal(ours.leapfrogs, theirs.leapfrogs)
    np.testing.assert_allclose(ours.values, theirs.values, atol=1e-3)


def test_a_later_call_of_a_prepared_system_draws_anew(calls):
    first, second = calls
    assert not np.array_equal(first.values, second.values)


@pytest.fixture(scope="module")
def run_dir(problem, settings, tmp_path_factory):
    """The folder of a run of seven draws in chunks of three."""
    folder = tmp_path_factory.mktemp("chunks")
    sample(run_dir=folder, seed=5, problem=problem, settings=settings, chunk_size=3)
    return folder


def read_draws(run_dir):
    parts = [np.load(path) for path in sorted((run_dir / "draws").glob("*.npz"))]
    return np.concatenate([part["draws"] for part in parts], axis=1)


def test_every_chunk_is_a_file_named_by_its_first_draw(run_dir):
    names = sorted(path.name for path in (run_dir / "draws").glob("*.npz"))
    assert read_draws(run_dir).shape == (3, 7, 6)
    assert names == ["000000.npz", "000003.npz", "000006.npz"]


def test_summary_tells_the_draws_and_their_cost(run_dir):
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["chains"] == 3 and summary["draws"] == 7
    assert sum(summary["depth_histogram"].values()) == 21
    assert 0 < summary["energy_error_100_steps"] < 5
    rows = (run_dir / "summary.csv").read_text().splitlines()
    assert len(rows) == 1 + 6


def test_metrics_hold_a_line_for_each_chunk(run_dir):
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [e["step"] for e in events if e["kind"] == "draws"] == [3, 6, 7]


def test_chunk_size_below_one_is_an_error(problem, settings, tmp_path):
    with pytest.raises(ValueError, match="chunk_size: given 0"):
        sample(
            run_dir=tmp_path, seed=0, problem=problem, settings=settings, chunk_size=0
        )


def process(monkeypatch, index, count):
    addresses = tuple(f"127.0.0.1:{7070 + i}" for i in range(count))
    one = processes.Process(index, count, addresses)
    monkeypatch.setattr(processes, "current", lambda: one)


def read_chunk(folder):
    paths = sorted((folder / "draws").glob("*.npz"))
    return concatenate([Samples(**np.load(path)) for path in paths], axis=1)


def test_chains_over_processes_draw_as_in_one(
    run_dir, problem, settings, tmp_path, monkeypatch
):
    told = dict(seed=5, problem=problem, settings=settings, chunk_size=3)
    process(monkeypatch, 1, 2)  # the one that process 0 waits for
    share = sample(run_dir=tmp_path, **told)
    process(monkeypatch, 0, 2)
    merged = sample(run_dir=tmp_path, **told)
    whole = read_chunk(run_dir)
    # Chains of one process take other trajectories than those of another.
    assert np.any(whole.leapfrogs[:1] != whole.leapfrogs[1:].max(axis=0))
    first, rest = read_chunk(tmp_path), read_chunk(tmp_path / "process1")
    assert len(first.draws) == 1 and len(rest.draws) == 2 == share["chains"]
    for name, *parts, wanted in zip(Samples._fields, first, rest, whole, strict=True):
        np.testing.assert_allclose(
            np.concatenate(parts), wanted, rtol=1e-4, atol=1e-5, err_msg=name
        )
    one, written = (
        json.loads((folder / "summary.json").read_text())
        for folder in (run_dir, tmp_path)
    )
    assert merged["chains"] == written["chains"] == 3
    for name in ("leapfrogs", "depth_histogram", "divergences"):
        assert written[name] == one[name], name
    assert merged["max_r_hat"] == pytest.approx(one["max_r_hat"], rel=1e-3)


def test_a_process_that_does_not_end_is_an_error(problem, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "timeout_seconds", lambda own_seconds: 0.3)
    process(monkeypatch, 0, 2)
    two = SamplerSettings(step_size=0.05, max_depth=2, num_results=1, num_chains=2)
    with pytest.raises(TimeoutError, match="process 1: not done 0.3 s after process 0"):
        sample(run_dir=tmp_path, seed=0, problem=problem, settings=two, chunk_size=1)


def test_a_process_without_a_chain_is_an_error(
    problem, settings, tmp_path, monkeypatch
):
    process(monkeypatch, 3, 4)
    with pytest.raises(ValueError, match="num_chains: given 3, wanted at least 4"):
        sample(
            run_dir=tmp_path, seed=0, problem=problem, settings=settings, chunk_size=1
        )
    assert not list(Path(tmp_path).iterdir())


def test_a_stopped_run_goes_on_with_the_draws_it_would_have_made(
    run_dir, problem, settings, tmp_path
):
    (tmp_path / "draws").mkdir()
    shutil.copy(run_dir / "draws" / "identity.json", tmp_path / "draws")
    kept = shutil.copy(run_dir / "draws" / "000000.npz", tmp_path / "draws")
    before = Path(kept).read_bytes()
    told = dict(run_dir=tmp_path, seed=5, problem=problem, chunk_size=7, resume=True)
    for name, given, message in (
        ("num_results", 2, "num_results: given 2, .* already holds 3"),
        ("num_chains", 4, "holds draws of 3 chains of 6 .* wanted 4 of 6"),
        ("step_size", 0.07, "another posterior or sampler: step_size is 0.07, was"),
    ):
        other = SamplerSettings(**vars(settings) | {name: given})
        with pytest.raises(ValueError, match=message):
            sample(settings=other, **told)
    summary = sample(settings=settings, **told)
    names = sorted(path.name for path in (tmp_path / "draws").glob("*.npz"))
    assert names == ["000000.npz", "000003.npz"]
    assert Path(kept).read_bytes() == before
    np.testing.assert_allclose(
        read_draws(tmp_path), read_draws(run_dir), rtol=1e-4, atol=1e-5
    )
    whole = json.loads((run_dir / "summary.json").read_text())
    assert summary["draws"] == 7 and summary["leapfrogs"] == whole["leapfrogs"]


@pytest.mark.parametrize(("cache", "several"), [(1 << 20, False), (100, True)])
def test_rows_are_in_blocks_where_the_data_exceed_the_caches(
    problem, monkeypatch, cache, several
):
    """400 rows of 6 columns have 9,600 bytes."""
    monkeypatch.setattr(posterior, "BLOCK_BYTES", 3000)
    monkeypatch.setattr(posterior, "core_cache_bytes", lambda: cache)
    monkeypatch.setattr(posterior.os, "sched_getaffinity", lambda pid: {0, 1})
    assert len(posterior.split_rows(problem)) == (4 if several else 1)
    assert len(posterior.split_rows(problem, block_bytes=5000)) == 2


def test_a_cores_cache_is_read_from_the_system(monkeypatch, tmp_path):
    monkeypatch.setattr(posterior, "CPU_CACHES", tmp_path)
    assert posterior.core_cache_bytes() == posterior.CACHE_BYTES
    for index, (level, size) in enumerate([("1", "48K"), ("2", "2048K"), ("3", "9M")]):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        (folder / "level").write_text(f"{level}\n")
        (folder / "size").write_text(f"{size}\n")
    assert posterior.core_cache_bytes() == 2 << 20


@pytest.mark.parametrize("num_devices", [0, 1.0, True, "2", 401])
def test_a_wrong_number_of_devices_is_an_error(problem, num_devices):
    with pytest.raises(ValueError, match=f"num_devices: given {num_devices!r}, wanted"):
        posterior.split_rows(problem, num_devices=num_devices)


def test_draws_of_other_data_are_not_continued(run_dir, problem, settings, tmp_path):
    folder = shutil.copytree(run_dir, tmp_path / "run")
    other = dataclasses.replace(problem, labels=1 - problem.labels)
    with pytest.raises(ValueError, match="data_sha256 is .*, was"):
        sample(
            run_dir=folder,
            seed=5,
            problem=other,
            settings=settings,
            chunk_size=3,
            resume=True,
            dry_run=True,
        )
