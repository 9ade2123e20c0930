"""An exported folder draws as TensorFlow does, where that cannot be imported."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import xarray as xr

import ppl_core as ppl
from experiments.export.exporting import RUNNER, Plan, export
from experiments.export.folder import write_manifest
from experiments.inference import drawing, sampling, summarize
from experiments.inference.results import constrain_draws
from experiments.inference.samples import concatenate
from experiments.inference.warmup_state import WarmupSettings

REPO = Path(__file__).resolve().parents[3]
BLOCKED = ("tensorflow", "tensorflow_probability", "ppl_core", "xarray", "arviz", "gin")
BLOCKER = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocker())
"""
Y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
SIGMA = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_what_a_folder_runs_imports_numpy_scipy_and_jax_alone():
    copied = {f"experiments.{name.replace('/', '.')}" for name in RUNNER}
    packages = {"experiments", "experiments.inference", "experiments.export"}
    lazy = {"experiments.inference.__init__", "experiments.inference.xla_options"}
    allowed = {*sys.stdlib_module_names, "numpy", "scipy", "jax"}
    for name in copied - lazy:
        path = REPO / f"{name.replace('.', '/')}.py"
        for one in imported(path):
            if one.partition(".")[0] == "experiments":
                places = {one, one.rpartition(".")[0]}
                assert places & copied or one in packages, f"{name} imports {one}"
            else:
                assert one.partition(".")[0] in allowed, f"{name} imports {one}"


def test_the_modules_of_a_folder_are_imported_without_tensorflow():
    names = [f"experiments.{name.replace('/', '.')}" for name in RUNNER]
    of_jax = {"programs", "running", "sampler", "timing"}
    plain = [n for n in names if n.rpartition(".")[2] not in of_jax]
    plain = [n.removesuffix(".__init__") for n in plain]
    code = BLOCKER + "".join(f"import {name}\n" for name in plain)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPO)


def schools(sigma):
    mu = ppl.Normal(0.0, 5.0, name="mu")
    tau = ppl.HalfCauchy(0.0, 5.0, name="tau")
    eta = ppl.Normal(0.0, 1.0, sample_shape=8, name="eta")
    return ppl.Normal(mu + tau * eta, sigma, name="y")


def plan_of(posterior, **options):
    return Plan(
        **dict(
            name="schools",
            posterior=posterior,
            warmup=WarmupSettings(num_warmup=60),
            num_chains=3,
            num_draws=120,
            seed=5,
            start=None,
            config="",
            argv=[],
        )
        | options
    )


def test_what_xla_cannot_compile_is_refused_by_name(tmp_path):
    pytest.importorskip("jax")

    def program():
        x = ppl.Normal(0.0, 1.0, name="x")
        scale = tf.numpy_function(lambda: np.float64(2.0), [], tf.float64)
        return ppl.Normal(x, tf.reshape(scale, []), name="y")

    posterior = ppl.posterior(program, observed={"y": 1.0})
    with pytest.raises(ValueError, match="XLA cannot compile, wanted others: .*PyFunc"):
        export(plan_of(posterior), tmp_path / "out")


def run(folder, *flags, out=None):
    blocker = folder.parent / "blocker"
    blocker.mkdir(exist_ok=True)
    (blocker / "sitecustomize.py").write_text(BLOCKER)
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    environment |= {"PYTHONPATH": str(blocker), "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, str(folder / "run_exported.py"), *flags],
        env=environment,
        cwd=folder.parent,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_folder_draws_as_tensorflow_does_without_it(tmp_path):
    pytest.importorskip("jax")
    posterior = ppl.posterior(schools, SIGMA, observed={"y": Y})
    plan, folder = plan_of(posterior), tmp_path / "schools"
    export(plan, folder)
    done = run(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    kernel = sampling.compile_posterior(posterior, plan.warmup, num_chains=3)
    parts = drawing.chunks(
        kernel, plan.warmup, num_draws=120, seed=drawing.seed_pair(5)
    )
    wanted = concatenate([p.samples for p in parts if p.warmup is not None], axis=1)
    with np.load(folder / "draws/000000.npz") as found:
        np.testing.assert_array_equal(found["leapfrogs"], wanted.leapfrogs)
        np.testing.assert_allclose(found["draws"], wanted.draws, rtol=1e-9, atol=1e-9)
    tree = xr.DataTree.from_dict(
        {path.stem: xr.open_dataset(path) for path in (folder / "draws").glob("*.nc")}
    )
    values = constrain_draws(wanted, posterior.constrain)
    for name, value in values.items():
        np.testing.assert_allclose(tree["posterior"][name], value, rtol=1e-6)
    np.testing.assert_array_equal(tree["observed_data"]["y"], Y)
    assert tree["sample_stats"]["diverging"].dtype == bool
    assert "mu" in str(summarize(tree))

    # Of another number of chains, of which no program is: in tiles that are padded.
    done = run(folder, "--num_chains=5", "--num_draws=10", "--out=five")
    assert done.returncode == 0, done.stdout + done.stderr
    with np.load(tmp_path / "five/000000.npz") as found:
        assert found["draws"].shape == (5, 10, 10)
        np.testing.assert_allclose(
            found["draws"][:3], wanted.draws[:, :10], rtol=1e-9, atol=1e-9
        )

    for flags, text in [
        (["--device=abacus"], "--device: given 'abacus', wanted one of ['cpu:0']"),
        (["--num_draws=1000000000000"], "bytes, wanted at most this machine's"),
        (["--num_chains=0"], "num_chains: given 0, wanted"),
    ]:
        done = run(folder, *flags)
        assert (done.returncode, text in done.stderr) == (2, True), done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    shutil.copytree(folder, tmp_path / "changed")
    with open(tmp_path / "changed/reference.npz", "ab") as file:
        file.write(b" ")
    done = run(tmp_path / "changed")
    assert done.returncode == 2
    assert "reference.npz: changed since the export" in done.stderr

    for change, text, of_mlir in [
        (of_newer_stablehlo, "run_exported: jaxlib: ", 0),
        (cut_short, "cannot compile it for cpu, wanted one like", 2),
    ]:
        broken = tmp_path / change.__name__
        shutil.copytree(folder, broken)
        change(broken)
        done = run(broken)
        *others, line = done.stderr.strip().splitlines()
        assert (done.returncode, text in line) == (2, True), done.stderr
        assert len(others) <= of_mlir  # lines that MLIR writes by itself


def of_newer_stablehlo(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"1.13.0"', '"9.13.0"'))


def cut_short(folder):
    """Programs that are not whole, and a manifest that says that they are."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for file in (folder / "programs").glob("*.mlir"):
        file.write_bytes(file.read_bytes()[:500])
    write_manifest(folder, manifest)
