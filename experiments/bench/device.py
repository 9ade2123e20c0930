"""Exported samplers on an accelerator or the CPU, beside JAX's loops and samplers.

Its two halves run on two machines if need be: the export needs TensorFlow, and
`experiments.bench.device_worker`, which measures, does not.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.bench import harness
from experiments.bench.subprocesses import REPO
from experiments.datasets.regression import RegressionProblem
from experiments.export.folder import read_manifest
from experiments.inference import SamplerSettings
from experiments.records import record
from experiments.records.run_dir import CheckFailed
from experiments.report import page
from experiments.training.checks import check_number

PLATFORMS = ("cpu", "gpu", "tpu")
SPARE = 120.0  # seconds that the measurements may take beyond their minutes


def measure_device(
    *,
    run_dir: Path,
    seed: int,
    problem: RegressionProblem,
    settings: SamplerSettings,
    chains: Sequence[int],
    minutes: float,
    folder: str,
    out: str,
    device: str | None = None,
    measure: bool = True,
) -> Path:
    """Exports the sampler of a regression, measures it, and renders the page.

    chains: how many a program moves at once; 1 is always exported.
    minutes: of all measurements; the cases of most chains are dropped when they end.
    folder: of the exports, from the repository's root: `dense` and `structured`.  What
      is there of this problem is used again.
    device: one of PLATFORMS; None: JAX's default.
    measure: whether to measure too; without, the exports are for another machine.
    out: see `harness.Benchmark`.

    Returns the table's path, or the exports' without measurements.  Raises ValueError,
    before anything runs, for wrong arguments, and for a folder with other exports;
    CheckFailed when a system failed or did not pass its check.
    """
    bench = harness.start("device", "device_worker", run_dir, seed, 1, out, 60 * 30)
    harness.check_counts("chains", chains)
    check_number("minutes", minutes, above=0)
    if device is not None:
        harness.check_some_of("device", [device], PLATFORMS)
    exports = REPO / folder
    sizes = sorted({1, *chains})
    for design in ("dense", "structured"):
        if (exports / design).exists():
            _check_export(exports / design, problem, settings, sizes)
        else:
            print(f"export: {folder}/{design}", flush=True)
            _export(exports / design, design, problem, settings, sizes, bench)
    (exports / "problem.json").write_text(json.dumps({"source": problem.source}))
    if not measure:
        return exports
    path = run_dir / "device.jsonl"
    command = [sys.executable, "-m", "experiments.bench.device_worker", str(exports)]
    command += [f"--out={path}", f"--chains={','.join(map(str, sorted(set(chains))))}"]
    command += [f"--minutes={minutes}", f"--device={device or ''}"]
    command += [f"--provenance={json.dumps(bench.provenance)}"]
    try:
        code = subprocess.run(
            command, cwd=REPO, timeout=60 * minutes + SPARE, check=False
        ).returncode
        ended = f"exit code {code}"
    except subprocess.TimeoutExpired:
        code, ended = -1, "stopped: its minutes and some spare time have passed"
    if code == 2:
        raise ValueError("device: refused, for what is said above")
    if not path.exists():
        raise CheckFailed(f"device: no case was measured: {ended}")
    if code:
        print(f"device: {ended}; the cases before are kept", flush=True)
    tables = harness.finish(bench, record.read(path), page.render_device)
    return tables / "nuts_device.md"


def _export(
    out: Path,
    design: str,
    problem: RegressionProblem,
    settings: SamplerSettings,
    sizes: Sequence[int],
    bench: harness.Benchmark,
) -> None:
    # With TensorFlow, and here because a folder that is there needs none of it.
    from experiments.export.exporting import export, plan_of_regression
    from experiments.nuts.posterior import posterior, split_rows
    from experiments.nuts.structured import split_design, structured_posterior

    if design == "dense":
        density = posterior(problem, split_rows(problem, one_block=True))
    else:
        # A block that holds all rows, since XLA compiles the loop with one only.
        shards = split_design(problem, block_bytes=8 * problem.features.nbytes)
        density = structured_posterior(shards)
    plan = plan_of_regression(
        problem,
        settings,
        density,
        num_chains=1,
        seed=bench.seed,
        config="",
        argv=bench.provenance.get("argv", []),
    )
    export(plan, out, more_chains=sizes, num_reference=settings.num_results)


def _check_export(
    folder: Path,
    problem: RegressionProblem,
    settings: SamplerSettings,
    sizes: Sequence[int],
) -> None:
    """Raises ValueError for an export of other data, settings or numbers of chains."""
    manifest = read_manifest(folder, kind="nuts")
    data = manifest["data"].values()
    warmup = manifest["settings"]["warmup"]
    given: dict[str, Any] = {
        "name": manifest["name"],
        "rows": max(max(one["shape"], default=0) for one in data),
        "step_size": warmup["step_size"],
        "max_depth": warmup["max_depth"],
        "chains": sorted(
            one["chains"]
            for one in manifest["programs"].values()
            if one["role"] == "transitions"
        ),
    }
    wanted = {
        "name": problem.name,
        "rows": problem.rows,
        "step_size": settings.step_size,
        "max_depth": settings.max_depth,
        "chains": list(sizes),
    }
    if given != wanted:
        raise ValueError(
            f"folder: {folder.name} holds an export of {given}, wanted {wanted}: "
            "remove it or name another folder"
        )
