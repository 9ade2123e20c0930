"""Reference posteriors and densities by Stan: `make reference`.

    python -m experiments.bench.posterior_references [NAME ...] [--num_processes N]

For each model of `bench.posteriors` it writes, unless they are there for the same data
and program,

- results/reference/densities/NAME.npz: Stan's log density and gradient at 100 random
  points of its unconstrained space;
- results/reference/NAME.json: means, standard deviations and means of squares of what
  is compared, each with its Monte Carlo standard error (MCSE), from a long run of Stan
  that passed every check of BAR.  Models that share a posterior share a reference.

Chains that are done are kept in runs/reference, so an interrupted run continues.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from arviz_stats.base import array_stats

from experiments.baselines.posteriors import stan
from experiments.bench import subprocesses
from experiments.bench.posteriors import MODELS, BenchModel
from experiments.records import jsonlines, provenance

FOLDER = subprocesses.REPO / "results" / "reference"
RUNS = subprocesses.REPO / "runs" / "reference"
NUM_POINTS = 100
SETTINGS: dict[str, Any] = {
    "num_warmup": 2000,
    "num_draws": 10000,  # of each chain
    "target_accept": 0.95,
    "max_depth": 12,
    "seed": 20261129,
}
NUM_CHAINS = 4
BAR: dict[str, float] = {
    "max_r_hat": 1.01,
    "min_ess": 8000.0,  # of every value's mean, mean of squares, and bulk
    "divergences": 0,
    "reached_max_depth": 0,
    "min_e_bfmi": 0.3,
}
TIMEOUT_SECONDS = 6 * 3600.0


def digest(model: BenchModel, data: Mapping[str, np.ndarray]) -> str:
    """A digest of the program in Stan and of its data, as float32.

    The last digit of NumPy's exp and sums, of which data are made, depends on the
    processor.
    """
    sha = hashlib.sha256(model.stan.encode())
    for name in sorted(data):
        array = np.asarray(data[name])
        if np.issubdtype(array.dtype, np.floating):
            array = array.astype(np.float32)
        sha.update(f"{name} {array.dtype} {array.shape} ".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def settings_of(model: BenchModel) -> dict[str, Any]:
    """The settings of the long run of Stan."""
    return SETTINGS | dict(model.reference_settings)


def read(model: BenchModel) -> dict[str, Any]:
    """The reference of a model's posterior, as its file has it.

    Raises FileNotFoundError where there is none.
    """
    return json.loads((FOLDER / f"{model.reference_name}.json").read_text())


def check_current(model: BenchModel, data: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError where a model that has a reference lacks it, or has changed."""
    if model.no_reference:
        return
    owner = MODELS[model.reference_name]
    try:
        written = read(model)
    except FileNotFoundError:
        raise ValueError(
            f"{model.name}: no reference {owner.name}.json, wanted one: make reference"
        ) from None
    if written["digest"] != digest(owner, data):
        raise ValueError(
            f"{model.name}: its reference is of another model or other data, wanted "
            "make reference"
        )


def densities_path(name: str) -> Path:
    return FOLDER / "densities" / f"{name}.npz"


def write_densities(model: BenchModel) -> None:
    """Writes Stan's log density and gradient at random points.

    Raises RuntimeError with the reason when Stan's process failed.
    """
    data = model.make_data()
    path, mark = densities_path(model.name), digest(model, data)
    if path.exists():
        with np.load(path) as arrays:
            if str(arrays["digest"]) == mark:
                return
    path.parent.mkdir(parents=True, exist_ok=True)
    parameters = {
        name: kind if isinstance(kind, str) else "between"
        for name, kind in model.parameters.items()
    }
    task = _task(model, data, mark) | {
        "mode": "densities",
        "path": str(path),
        "parameters": parameters,
        "num_points": NUM_POINTS,
        "seed": 0,
    }
    _run(model, mark, [task])


def write_reference(model: BenchModel, num_processes: int = 1) -> None:
    """Runs Stan for long, checks the run and writes the reference.

    Raises RuntimeError when Stan's process failed, or the run did not pass BAR.
    """
    data = model.make_data()
    mark = digest(model, data)
    path = FOLDER / f"{model.name}.json"
    if model.exact is not None:
        jsonlines.write_text(path, _dumps(_exact(model, mark)))
        return
    settings = settings_of(model)
    if path.exists():
        written = json.loads(path.read_text())
        if (written["digest"], written["settings"]) == (mark, settings):
            return
    numbers = list(range(1, NUM_CHAINS + 1))
    folder = _folder(model, mark) / "_".join(map(str, settings.values()))
    folder.mkdir(parents=True, exist_ok=True)
    code, run_data = model.stan, data
    if model.long_run is not None:
        code, run_data = model.long_run.stan, model.long_run.make_data(data)
    task = _task(model, run_data, mark) | {
        "mode": "chains",
        "code": code,
        "folder": str(folder),
        "names": model.compared_names,
        "settings": settings,
    }
    tasks = [task | {"chains": numbers[i::num_processes]} for i in range(num_processes)]
    _run(model, mark, tasks)
    chains = [stan.load_chain(folder / f"chain-{number}.npz") for number in numbers]
    parameters = summarize(chains)
    checks = check(chains, parameters, max_depth=settings["max_depth"])
    failures = failed(checks)
    if failures:
        raise RuntimeError(f"{model.name}: the run of Stan did not pass: {failures}")
    for statistics in parameters.values():
        del statistics["ess_bulk"], statistics["r_hat"]
    content = {
        "schema": 1,
        "posterior": model.name,
        "command": "make reference",
        "digest": mark,  # of Stan's program and the data
        "settings": settings,
        "num_chains": NUM_CHAINS,
        "bar": BAR,
        "checks": checks,
        "versions": {
            name: version
            for name, version in provenance.versions().items()
            if name in ("python", "numpy", "pystan", "httpstan", "arviz")
        },
        "parameters": parameters,
    }
    jsonlines.write_text(path, _dumps(content))


def _exact(model: BenchModel, mark: str) -> dict[str, Any]:
    """The content of a reference without a run: its errors are 0."""
    parameters = {
        name: {
            "mean": statistics["mean"],
            "mean_mcse": 0.0,
            "sd": (statistics["mean_of_squares"] - statistics["mean"] ** 2) ** 0.5,
            "sd_mcse": 0.0,
            "mean_of_squares": statistics["mean_of_squares"],
            "mean_of_squares_mcse": 0.0,
        }
        for name, statistics in (model.exact or {}).items()
    }
    return {
        "schema": 1,
        "posterior": model.name,
        "command": "make reference",
        "digest": mark,
        "exact": True,
        "parameters": parameters,
    }


def summarize(chains: Sequence[stan.Chain]) -> dict[str, dict[str, np.ndarray]]:
    """By name: mean, sd and mean of squares with their MCSEs, bulk ESS and R-hat.

    Each has the variable's shape.  MCSEs as of Vehtari et al. (2021), section 4.
    """
    result = {}
    for name in chains[0].values:
        values = np.stack([chain.values[name] for chain in chains])
        shape = values.shape[2:]
        rows = [
            _statistics(values[(slice(None), slice(None), *index)])
            for index in np.ndindex(shape)
        ]
        result[name] = {
            key: np.reshape([row[key] for row in rows], shape) for key in rows[0]
        }
    return result


def _statistics(x: np.ndarray) -> dict[str, float]:
    """Mean, sd and squares of one scalar [chains, draws], their errors and ESS."""
    squares = x**2
    ess_squares = float(array_stats.ess(squares, method="mean"))
    return {
        "mean": float(x.mean()),
        "mean_mcse": float(array_stats.mcse(x, method="mean")),
        "sd": float(x.std(ddof=1)),
        "sd_mcse": float(array_stats.mcse(x, method="sd")),
        "mean_of_squares": float(squares.mean()),
        "mean_of_squares_mcse": float(squares.std(ddof=1) / ess_squares**0.5),
        "ess_bulk": min(
            float(array_stats.ess(x, method="bulk")),
            float(array_stats.ess(x, method="mean")),
            ess_squares,
        ),
        "r_hat": float(array_stats.rhat(x)),
    }


def check(
    chains: Sequence[stan.Chain],
    parameters: Mapping[str, Mapping[str, np.ndarray]],
    *,
    max_depth: int,
) -> dict[str, float]:
    """The run's worst values, by the names of BAR."""
    energies = np.stack([chain.energy for chain in chains])
    bfmi = np.mean(np.diff(energies) ** 2, axis=1) / np.var(energies, axis=1)
    depths = np.stack([chain.depth for chain in chains])
    return {
        "max_r_hat": max(float(one["r_hat"].max()) for one in parameters.values()),
        "min_ess": min(float(one["ess_bulk"].min()) for one in parameters.values()),
        "divergences": int(sum(chain.diverged.sum() for chain in chains)),
        "reached_max_depth": int((depths >= max_depth).sum()),
        "min_e_bfmi": float(bfmi.min()),
        "deepest": int(depths.max()),
        "leapfrogs": int(sum(chain.leapfrogs.sum() for chain in chains)),
    }


def failed(checks: Mapping[str, float]) -> list[str]:
    """The checks of a run that do not reach BAR, a text each."""
    wrong = []
    for name, bound in BAR.items():
        value = checks[name]
        passed = value >= bound if name.startswith("min_") else value <= bound
        if not passed:
            wrong.append(f"{name} {value:g}, wanted {bound:g}")
    return wrong


def _task(
    model: BenchModel, data: Mapping[str, np.ndarray], mark: str
) -> dict[str, Any]:
    folder = _folder(model, mark)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "data.npz", **data)
    return {
        "name": model.name,
        "code": model.stan,
        "data_path": str(folder / "data.npz"),
        "digest": mark,
    }


def _run(model: BenchModel, mark: str, tasks: Sequence[Mapping[str, Any]]) -> None:
    results = subprocesses.run(
        _folder(model, mark) / str(tasks[0]["mode"]),
        tasks,
        worker="experiments.baselines.posteriors.stan",
        threads=1,
        timeout=TIMEOUT_SECONDS,
    )
    for result in results:
        if result["status"] != "ok":
            raise RuntimeError(f"{model.name}: {result['reason']}")


def _folder(model: BenchModel, mark: str) -> Path:
    return RUNS / f"{model.name}-{mark[:12]}"


def _dumps(content: Mapping[str, Any]) -> str:
    """JSON with a line for each statistic, not one for each number."""
    head = dict(content)
    parameters = head.pop("parameters")
    lines = []
    for name, statistics in parameters.items():
        each = ",\n".join(
            f'      "{key}": {jsonlines.dumps(_rounded(value))}'
            for key, value in statistics.items()
        )
        lines.append(f'    "{name}": {{\n{each}\n    }}')
    text = jsonlines.dumps(head, indent=2).removesuffix("\n}")
    return text + ',\n  "parameters": {\n' + ",\n".join(lines) + "\n  }\n}\n"


def _rounded(value: np.ndarray) -> Any:
    """To 9 significant digits, far below any MCSE."""
    return np.vectorize(lambda x: float(f"{x:.9g}"), otypes=[float])(value)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="make reference", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all by default")
    parser.add_argument("--num_processes", type=int, default=1, help="chains at once")
    parser.add_argument("--densities_only", action="store_true")
    chosen = parser.parse_args(arguments)
    for name in chosen.names:
        if name not in MODELS:
            parser.error(f"NAME: given {name!r}, wanted some of {list(MODELS)}")
    if not 1 <= chosen.num_processes <= NUM_CHAINS:
        parser.error(f"--num_processes: wanted 1 to {NUM_CHAINS}")
    failures = []
    for name in chosen.names or MODELS:
        model = MODELS[name]
        makes_reference = model.reference is None and model.no_reference is None
        try:
            write_densities(model)
            if makes_reference and not chosen.densities_only:
                write_reference(model, chosen.num_processes)
            print(f"{name}: done", flush=True)
        except RuntimeError as error:
            failures.append(str(error))
            print(error, flush=True)
    if failures:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
