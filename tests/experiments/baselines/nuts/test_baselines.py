"""What every compared system promises, asked of each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.datasets.regression import RegressionProblem

REPO = Path(__file__).resolve().parents[4]
STEP_SIZE = 0.0371  # about half of what is stable for the problem below

# name of the case: module, variant, relative tolerance of densities and gradients
CASES = {
    "stan_plain": ("stan", {"program": "plain"}, 1e-8),
    "stan_glm": ("stan", {"program": "glm"}, 1e-8),
    "stan_structured": ("stan", {"program": "structured"}, 1e-8),
    "pymc_float64": ("pymc", {"dtype": "float64"}, 1e-8),
    "pymc_float32": ("pymc", {"dtype": "float32"}, 1e-4),
    "nutpie": ("nutpie", {}, 1e-8),
    "numpyro": ("numpyro", {}, 1e-4),
    "blackjax": ("blackjax", {}, 1e-4),
    "jax_dim_rows": ("jax_leapfrog", {"layout": "dim_rows"}, 1e-4),
    "jax_rows_dim": ("jax_leapfrog", {"layout": "rows_dim"}, 1e-4),
}
NEVER_MISSING = ("stan", "pymc")

# Runs one system as the bench does, and writes what it answered.
CHILD = """
import importlib, json, os, sys
import numpy as np
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings
from experiments.bench.problems import Unavailable

if __name__ == "__main__":
    module, variant, folder = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
    try:
        system = importlib.import_module(f"experiments.baselines.nuts.{module}")
    except ModuleNotFoundError as reason:
        print("UNAVAILABLE", reason)
        sys.exit(0)
    data = dict(np.load(f"{folder}/problem.npz"))
    points = data.pop("points")
    problem = RegressionProblem(name="tiny", source="synthetic", **data)

    def draws(num_results, num_chains, seed, **changed):
        chosen = {"step_size": STEP_SIZE, "max_depth": 6} | changed
        settings = SamplerSettings(
            num_results=num_results, num_chains=num_chains, **chosen
        )
        return system.prepare(problem, settings, seed, **variant)

    try:
        sample = draws(4, 2, 0)
    except Unavailable as reason:
        print("UNAVAILABLE", reason)
        sys.exit(0)
    first, second = sample(), sample()
    other = draws(4, 2, 1)()
    near = draws(1, 1, 0, step_size=1e-7, max_depth=2)()
    log_probs, grads = system.log_prob_and_grad(problem, points, **variant)
    np.savez(
        f"{folder}/answers.npz", log_probs=log_probs, grads=grads,
        first=first.values, second=second.values, other=other.values,
        near=near.values, leapfrogs=first.leapfrogs, near_leapfrogs=near.leapfrogs,
        seconds=np.nan if first.seconds is None else first.seconds,
        gradients=-1 if first.gradients is None else first.gradients,
    )
""".replace("STEP_SIZE", str(STEP_SIZE))


def make_problem() -> RegressionProblem:
    random = np.random.default_rng(20)
    features = random.normal(size=(400, 4)).astype(np.float32)
    features[:, -1] = 1.0
    logits = features @ np.array([1.0, -0.5, 0.25, -1.0])
    labels = (random.random(400) < 1 / (1 + np.exp(-logits))).astype(np.int32)
    start = np.array([0.9, -0.4, 0.3, -0.8], np.float32)
    return RegressionProblem(
        name="tiny", source="synthetic", features=features, labels=labels, start=start
    )


def reference(problem, points):
    """Returns log density, with all constants, and gradient, by NumPy in float64."""
    x = problem.features.astype(np.float64)
    logits = points @ x.T  # [points, rows]
    likelihood = (problem.labels * logits - np.logaddexp(0, logits)).sum(axis=1)
    constant = 0.5 * problem.dim * np.log(2 * np.pi)
    log_probs = likelihood - 0.5 * (points**2).sum(axis=1) - constant
    return log_probs, (problem.labels - 1 / (1 + np.exp(-logits))) @ x - points


def case(name: str):
    """One is fast; those of Stan compile its program for half a minute each."""
    slow = name != "pymc_float64"
    return pytest.param(name, marks=pytest.mark.slow if slow else ())


@pytest.fixture(scope="module", params=[case(name) for name in CASES])
def answers(request, tmp_path_factory):
    module, variant, tolerance = CASES[request.param]
    problem = make_problem()
    points = np.random.default_rng(3).normal(size=(3, problem.dim)).astype(np.float32)
    folder = tmp_path_factory.mktemp(request.param)
    np.savez(
        folder / "problem.npz",
        features=problem.features,
        labels=problem.labels,
        start=problem.start,
        points=points,
    )
    script = folder / "child.py"
    script.write_text(CHILD)
    done = subprocess.run(
        [sys.executable, script, module, json.dumps(variant), folder],
        env=os.environ | {"PYTHONPATH": str(REPO)},
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    if done.stdout.startswith("UNAVAILABLE"):
        if module not in NEVER_MISSING or "g++ not found" in done.stdout:
            pytest.skip(done.stdout.strip())
        pytest.fail(done.stdout.strip())
    with np.load(folder / "answers.npz") as file:
        found = {name: file[name] for name in file.files}
    log_probs, grads = reference(problem, points.astype(np.float64))
    return found | {
        "module": module,
        "tolerance": tolerance,
        "reference_log_probs": log_probs,
        "reference_grads": grads,
    }


def test_log_densities_equal_the_reference_up_to_one_constant(answers):
    difference = answers["log_probs"] - answers["reference_log_probs"]
    assert answers["log_probs"].dtype == np.float64
    scale = np.abs(answers["reference_log_probs"]).max()
    assert np.ptp(difference) < answers["tolerance"] * scale


def test_gradients_equal_the_reference(answers):
    wanted = answers["reference_grads"]
    assert answers["grads"].dtype == np.float64
    error = np.abs(answers["grads"] - wanted).max()
    assert error < answers["tolerance"] * np.abs(wanted).max()


def test_draws_and_leapfrogs_have_chains_then_draws(answers):
    assert answers["first"].shape == (2, 4, 4)
    assert answers["leapfrogs"].shape == (2, 4)
    assert answers["leapfrogs"].dtype.kind == "i"
    assert (answers["leapfrogs"] > 0).all()
    assert np.isfinite(answers["first"]).all()


def test_each_call_chain_and_seed_draws_anew(answers):
    assert not np.array_equal(answers["first"], answers["second"])
    assert not np.array_equal(answers["first"], answers["other"])
    assert not np.array_equal(answers["first"][0], answers["first"][1])


def test_chains_begin_at_the_start(answers):
    start = make_problem().start
    np.testing.assert_allclose(answers["near"][0, 0], start, atol=1e-3)


def test_depth_is_held_to_its_limit(answers):
    if answers["module"] == "jax_leapfrog":
        assert (answers["leapfrogs"] == 255).all()
        return
    assert answers["leapfrogs"].max() <= 2**6 - 1
    assert answers["near_leapfrogs"].tolist() == [[3]]  # so short a step never turns


def test_gradients_computed_are_no_fewer_than_leapfrogs(answers):
    if answers["module"] in ("numpyro", "blackjax"):
        assert answers["gradients"] >= answers["leapfrogs"].sum()
    else:
        assert answers["gradients"] == -1  # nothing wasted: nothing to say


def test_systems_with_a_clock_of_their_own_tell_it(answers):
    if answers["module"] in ("stan", "pymc"):
        assert answers["seconds"] >= 0
    else:
        assert np.isnan(answers["seconds"])
