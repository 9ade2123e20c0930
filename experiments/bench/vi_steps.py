"""Steps a second of variational inference: ours, NumPyro's and PyMC's in turns.

    python -m experiments.bench.vi_steps [--rounds=3] [--out=results]

Each system fits a mean-field normal guide to the same posterior by the same number of
steps of Adam, one draw a step, in a fresh process.  The guides' ELBOs are then
estimated by one program.  6 minutes on 2 cores.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments.bench import subprocesses
from experiments.bench.posteriors import MODELS
from experiments.bench.ppl_core_vi import posterior_of
from experiments.bench.problems import VariationalProblem
from experiments.bench.vi_worker import SYSTEMS
from experiments.inference.elbo import log_probs
from experiments.records import provenance

OURS = "ppl_core"
TITLES = {
    OURS: "ours, fit_vi",
    "numpyro": "NumPyro, SVI with AutoNormal in lax.scan",
    "pymc": "PyMC, ADVI",
}
TIMEOUT = 600.0  # seconds of one fit
JUDGING_DRAWS = 300  # the same noise for all systems


class Case(NamedTuple):
    """A posterior, and how many steps each system takes on it."""

    name: str
    num_steps: Mapping[str, int]
    judged_steps: int  # of the fits whose ELBOs are compared: the same for all
    batch_size: int | None = None


CASES = (
    Case("eight_schools_noncentred", {OURS: 200_000, "numpyro": 50_000}, 20_000),
    Case("credit", {OURS: 20_000, "numpyro": 20_000}, 10_000),
    Case("covertype", {OURS: 10_000, "numpyro": 10_000}, 5_000, batch_size=1000),
)
OTHER_STEPS = 5_000  # of a system that the case does not name


def measure(case: Case, folder: Path, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """The results of each system, one a round; systems take turns."""
    data = MODELS[case.name].make_data()
    data_path = folder / f"{case.name}.npz"
    np.savez(data_path, **data)
    results: dict[str, list[dict[str, Any]]] = {system: [] for system in SYSTEMS}
    for number in range(rounds + 1):
        for system, kept in results.items():
            # The last round's fits are compared, the others are timed.
            steps = case.num_steps.get(system, OTHER_STEPS)
            steps = case.judged_steps if number == rounds else steps
            problem = {
                "name": case.name,
                "num_steps": steps,
                "batch_size": case.batch_size,
                "seed": number,
            }
            task = {
                "mode": "fit",
                "system": system,
                "problem": problem,
                "data_path": str(data_path),
            }
            (result,) = subprocesses.run(
                folder / f"{case.name}-{system}-{number}",
                [task],
                worker="experiments.bench.vi_worker",
                threads=2,
                timeout=TIMEOUT,
            )
            if result["status"] == "ok":
                result["steps_per_second"] = steps / result["seconds"]["steps"]
            kept.append(result)
            print(case.name, system, json.dumps(_brief(result)), flush=True)
    return results


def elbo(case: Case, data: Mapping[str, np.ndarray], result: Mapping[str, Any]) -> Any:
    """The ELBO of a system's guide, and its standard error, by our density."""
    problem = VariationalProblem(case.name, data, 1, case.batch_size)
    posterior = posterior_of(problem)
    loc, scale = (
        np.concatenate([result[key][name] for name in posterior.names])
        for key in ("means", "deviations")
    )
    noise = np.random.default_rng(0).normal(size=(JUDGING_DRAWS, posterior.dim))
    values = log_probs(posterior, tf.constant(loc + scale * noise))
    entropy = np.log(scale).sum() + 0.5 * posterior.dim * np.log(2 * np.pi * np.e)
    return values.mean() + entropy, values.std(ddof=1) / JUDGING_DRAWS**0.5


def row(
    case: Case, system: str, results: Mapping[str, Sequence[Mapping[str, Any]]]
) -> str:
    """A line of the table; ratios are taken within a round."""
    *timed, judged = results[system]
    failed = [one for one in (*timed, judged) if one["status"] != "ok"]
    if failed:
        reason = failed[0]["reason"]
        return f"| {case.name} | {TITLES[system]} | {failed[0]['status']}: {reason} |"
    rates = [one["steps_per_second"] for one in timed]
    ours = [one.get("steps_per_second", float("nan")) for one in results[OURS][:-1]]
    ratios = [own / other for own, other in zip(ours, rates, strict=True)]
    value, error = elbo(case, MODELS[case.name].make_data(), judged)
    cells = [
        case.name,
        TITLES[system],
        _with_range(rates, ",.0f"),
        "" if system == OURS else _with_range(ratios, ".2f"),
        f"{statistics.median(one['seconds']['build'] for one in timed):.1f}",
        f"{value:.2f} +- {error:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def _with_range(values: Sequence[float], spec: str) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:{spec}} ({low:{spec}}-{high:{spec}})"


def _brief(result: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("status", "reason", "seconds", "steps_per_second")
    return {key: result[key] for key in keys if key in result}


def main() -> None:
    """Prints the table and writes it to tables/vi_steps.md under --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=subprocesses.REPO / "results")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="*", default=[case.name for case in CASES])
    given = parser.parse_args()
    machine = provenance.hardware()
    lines = [
        "# Steps of variational inference",
        "",
        f"{machine['cpu']}, {machine['cores']} cores; {given.rounds} rounds, the "
        "systems in turn, each in a fresh process; one draw a step, Adam at a rate of "
        "0.01, float64. Covertype is fitted on 1,000 random rows a step. ELBO: after "
        "the same number of steps, of the guide found, in nats with its standard "
        "error, by one program. Ours takes the mean of its last parameters.",
        "",
        "| posterior | system | steps a second (range) | ours / this system (range) | "
        "build, s | ELBO |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if case.name in given.cases:
                results = measure(case, Path(folder), given.rounds)
                lines += [row(case, system, results) for system in SYSTEMS]
    text = "\n".join(lines) + "\n"
    path = given.out / "tables" / "vi_steps.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
