"""What the compared systems say when they cannot run, and when they are misused."""

import importlib
import shutil
import sys
import types

import httpstan.utils
import numpy as np
import pytest

from experiments.baselines import stan_services
from experiments.baselines.nuts import pymc, stan
from experiments.bench import worker
from experiments.bench.problems import Unavailable
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings

PROBLEM = RegressionProblem(
    name="tiny",
    source="synthetic",
    features=np.ones((3, 2), np.float32),
    labels=np.array([0, 1, 1], np.int32),
    start=np.zeros(2, np.float32),
)
SETTINGS = SamplerSettings(step_size=0.1)
OF_PEERS = [f"nuts.{name}" for name in ("nutpie", "numpyro", "blackjax")]
OF_PEERS += ["nuts.jax_leapfrog", "image_transformer.flax", "vae.vq_vae_flax"]


def result_of(monkeypatch, load):
    """What a worker writes when its task calls this function."""
    tasks = types.ModuleType("tasks")
    tasks.MODES = {"load": lambda task: load()}
    monkeypatch.setitem(sys.modules, "tasks", tasks)
    return worker.run("tasks", {"mode": "load"})


@pytest.mark.parametrize("system", OF_PEERS)
def test_a_system_that_is_not_installed_is_skipped_and_says_how(monkeypatch, system):
    name = f"experiments.baselines.{system}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    for peer in worker.PEERS:
        monkeypatch.setitem(sys.modules, peer, None)  # as if it were not there
    result = result_of(monkeypatch, lambda: importlib.import_module(name))
    assert result["status"] == "skipped"
    assert "not installed: pip install" in result["reason"]
    assert "make peers" in result["reason"]


def test_a_missing_package_that_is_no_peer_is_a_failure(monkeypatch):
    result = result_of(monkeypatch, lambda: importlib.import_module("no_such_package"))
    assert result["status"] == "failed" and "no_such_package" in result["reason"]


def test_stan_without_a_compiler_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(
        stan_services, "BUILD", tmp_path
    )  # nothing is compiled there yet
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(Unavailable, match=r"g\+\+ not found"):
        stan.prepare(PROBLEM, SETTINGS, 0)


def test_an_unknown_variant_names_the_known_ones():
    with pytest.raises(ValueError, match="'fast'.*plain.*glm"):
        stan.prepare(PROBLEM, SETTINGS, 0, program="fast")
    with pytest.raises(ValueError, match="'float16'.*float64"):
        pymc.prepare(PROBLEM, SETTINGS, 0, dtype="float16")


def test_an_unknown_layout_names_the_known_ones():
    pytest.importorskip("jax")
    from experiments.baselines.nuts import jax_leapfrog

    with pytest.raises(ValueError, match="'dims'.*dim_rows"):
        jax_leapfrog.prepare(PROBLEM, SETTINGS, 0, layout="dims")


def test_pymc_refuses_a_process_of_the_other_precision(monkeypatch):
    loaded = types.ModuleType("pytensor")
    loaded.config = types.SimpleNamespace(floatX="float64")
    monkeypatch.setitem(sys.modules, "pytensor", loaded)
    with pytest.raises(RuntimeError, match="float32.*float64.*fresh process"):
        pymc.prepare(PROBLEM, SETTINGS, 0, dtype="float32")


def test_the_fast_split_of_stans_data_answers_as_httpstans_does():
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    data = {"N": 4, "x": x, "D": 3, "y": np.array([0, 1, 1, 0], np.int32)}
    wanted = [list(part) for part in httpstan.utils._split_data(data)]
    assert [list(part) for part in stan_services._split_data(data)] == wanted


def test_a_stan_run_with_another_step_size_is_refused():
    draw = {"stepsize__": 0.2, "n_leapfrog__": 3, "beta.1": 0.0}
    messages = [{"topic": "sample", "values": draw}]
    with pytest.raises(RuntimeError, match="0.2.*wanted 0.1"):
        stan._read_chain(messages, SETTINGS)
