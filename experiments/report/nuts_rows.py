"""The rows of the NUTS table: time per unit of work and ratios, from the records."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.records.record import Record
from experiments.report import selection
from experiments.report.ratios import Outcome, Spread, at_least, at_most, ratio, spread

ONE_CHAIN = "one chain"
BARE_LOOP = "bare loop"
ALL_CORES = "all cores"
DEVICES = "logical devices"
OF_ONE_CHAIN = (ONE_CHAIN, BARE_LOOP)
FLOAT_BYTES = 4  # ours, hand-written TensorFlow and JAX hold the features in float32


class System(NamedTuple):
    """A row of the table."""

    id: str  # the record's `system`
    label: str
    group: str  # decides the unit and which row is ours


class Row(NamedTuple):
    """One system over all its rounds; numbers are None where `failure` says why."""

    system: System
    records: tuple[Record, ...]  # in order of round
    failure: str  # "" when every round ran and passed its check
    times: dict[int, float]  # ms per unit of work by round, empty after a failure
    failure_of_ours: str
    speedup: Spread | None  # this row's time over that of ours
    speedup_per_leapfrog_used: Spread | None  # of ALL_CORES alone

    @property
    def ms(self) -> Spread | None:
        """Milliseconds per unit of work."""
        return spread(self.times.values())

    @property
    def is_ours(self) -> bool:
        """Whether the ratios of its group are to this row."""
        return self.system.id == OURS[self.system.group]

    @property
    def label(self) -> str:
        """The system's label in Markdown."""
        return f"**{self.system.label}**" if self.is_ours else self.system.label


Paper = Mapping[str, Any]  # the published table, as results/paper.json has it

_BY_HAND_GRADIENT = "hand-written TensorFlow, hand-written gradient"
SYSTEMS = (
    System("stan_plain", "Stan, plain program", ONE_CHAIN),
    System("stan_glm", "Stan, bernoulli_logit_glm", ONE_CHAIN),
    System("pymc_float64", "PyMC, float64", ONE_CHAIN),
    System("pymc_float32", "PyMC, float32", ONE_CHAIN),
    System("tfp_nuts", "TFP NoUTurnSampler", ONE_CHAIN),
    System("handwritten_tf", "hand-written TensorFlow, autodiff", ONE_CHAIN),
    System("handwritten_tf_grad", _BY_HAND_GRADIENT, ONE_CHAIN),
    System("ppl_core_whole", "ours, data whole", ONE_CHAIN),
    System("ppl_core", "ours", ONE_CHAIN),
    System("stan_structured", "Stan, structured data", ONE_CHAIN),
    System("ppl_core_structured", "ours, structured design", ONE_CHAIN),
    System("numpyro", "NumPyro", ONE_CHAIN),
    System("nutpie", "nutpie", ONE_CHAIN),
    System("blackjax", "BlackJAX", ONE_CHAIN),
    System("jax_dim_rows", "bare JAX leapfrogs, [dim, rows]", BARE_LOOP),
    System("jax_rows_dim", "bare JAX leapfrogs, [rows, dim]", BARE_LOOP),
    System("one_pass", "one pass over the features", BARE_LOOP),
    System("stan_glm_all_cores", "Stan, bernoulli_logit_glm, all cores", ALL_CORES),
    System("pymc_float64_all_cores", "PyMC, float64, all cores", ALL_CORES),
    System("ppl_core_64_chains", "ours, 64 chains in one batch", ALL_CORES),
    System("stan_structured_all_cores", "Stan, structured data, all cores", ALL_CORES),
    System(
        "ppl_core_structured_64_chains",
        "ours, structured design, 64 chains in one batch",
        ALL_CORES,
    ),
    System("ppl_core_1_device", "ours, 1 logical CPU device, 1 thread", DEVICES),
    System("ppl_core_2_devices", "ours, 2 logical CPU devices, 1 thread each", DEVICES),
)
OURS = {
    ONE_CHAIN: "ppl_core",
    BARE_LOOP: "ppl_core",
    ALL_CORES: "ppl_core_64_chains",
    DEVICES: "ppl_core_1_device",
}
UNITS = dict.fromkeys((ONE_CHAIN, BARE_LOOP, DEVICES), "ms per leapfrog")
UNITS[ALL_CORES] = "ms per gradient"
TARGETS = (  # the rows whose ratio of times is bounded, and how
    ("ppl_core", "handwritten_tf", at_most, 1.03),
    ("ppl_core", "handwritten_tf_grad", at_most, 1.1),
    ("ppl_core_whole", "handwritten_tf", at_most, 1.03),
    ("ppl_core_whole", "handwritten_tf_grad", at_most, 1.1),
    ("stan_glm", "ppl_core", at_least, 10.0),
    ("pymc_float64", "ppl_core", at_least, 6.0),
    ("ppl_core", "jax_dim_rows", at_most, 1.0),
    ("ppl_core", "one_pass", at_most, 2.3),
    ("ppl_core_structured", "ppl_core", at_most, 0.5),
    ("ppl_core_structured", "one_pass", at_most, 1.0),
    ("stan_glm", "ppl_core_structured", at_least, 20.0),
    ("pymc_float64", "ppl_core_structured", at_least, 10.0),
    ("ppl_core_structured_64_chains", "ppl_core_64_chains", at_most, 0.6),
    ("stan_glm_all_cores", "ppl_core_64_chains", at_least, 15.0),
    ("pymc_float64_all_cores", "ppl_core_64_chains", at_least, 12.0),
)


def newest(records: Sequence[Record]) -> list[Record]:
    """The records of the newest benchmark of one chain, of all cores, and of devices.

    Raises ValueError when there is no record, or one without provenance["bench_id"].
    """
    apart = {s.id: s.group for s in SYSTEMS if s.group in (ALL_CORES, DEVICES)}
    return selection.newest(records, lambda record: apart.get(record.system))


def compare(records: Sequence[Record]) -> list[Row]:
    """One row for each of SYSTEMS, from the records of one benchmark.

    Raises ValueError for a system that is not in SYSTEMS, a round recorded twice, and
    records of more than one problem or machine.
    """
    by_system: dict[str, dict[int, Record]] = {system.id: {} for system in SYSTEMS}
    for record in records:
        given, wanted = _problem_and_machine(record), _problem_and_machine(records[0])
        if given != wanted:
            raise ValueError(
                f"{record.system}, round {record.round}: given {given}, "
                f"wanted {wanted} as in {records[0].system}"
            )
        if record.system not in by_system:
            raise ValueError(
                f"system: given {record.system!r}, wanted one of {list(by_system)}"
            )
        rounds = by_system[record.system]
        if record.round in rounds:
            raise ValueError(f"{record.system}: round {record.round} is recorded twice")
        rounds[record.round] = record
    ordered = {name: sorted(of.items()) for name, of in by_system.items()}
    records_of = {name: [r for _, r in rounds] for name, rounds in ordered.items()}
    return [_row(s, records_of[s.id], records_of[OURS[s.group]]) for s in SYSTEMS]


def _problem_and_machine(record: Record) -> dict[str, Any]:
    problem = {name: record.problem.get(name) for name in ("name", "source", "rows")}
    return problem | {name: record.hardware.get(name) for name in ("cpu", "cores")}


def _row(system: System, records: Sequence[Record], ours: Sequence[Record]) -> Row:
    unit, per_used = "leapfrogs", None
    if system.group == ALL_CORES:
        per_used = ratio(_times(records, unit), _times(ours, unit))
        unit = "gradients"
    times = _times(records, unit)
    return Row(
        system=system,
        records=tuple(records),
        failure=selection.failure(records),
        times=times,
        failure_of_ours=selection.failure(ours),
        speedup=ratio(times, _times(ours, unit)),
        speedup_per_leapfrog_used=per_used,
    )


def _times(records: Sequence[Record], unit: str) -> dict[int, float]:
    if selection.failure(records):
        return {}
    return {r.round: milliseconds_per(r, unit) for r in records}


def milliseconds_per(record: Record, unit: str) -> float:
    """Milliseconds of the record's timed calls per `unit` of their work.

    unit: "leapfrogs" or "gradients"; a record that does not count its gradients apart
      took one per leapfrog.

    Raises ValueError when there is nothing to divide by, or not one count for each
    call.
    """
    calls: list[float] = record.seconds.get("calls") or []
    work: list[int] = record.work.get(unit) or record.work.get("leapfrogs") or []
    if len(calls) != len(work) or not sum(work) > 0:
        raise ValueError(
            f"{record.system}, round {record.round}: given {len(calls)} calls and "
            f"{unit} {work}, wanted a count above 0 for each call"
        )
    return 1000 * math.fsum(calls) / sum(work)


def by_size(records: Iterable[Record]) -> list[tuple[int, Row, Row]]:
    """For each number of rows in the data: that number, ours, and ours, data whole.

    Of the newest benchmark of that size that has both, the smallest size first.
    """
    found: dict[tuple[int, str], list[Record]] = {}
    for record in records:
        if record.system in ("ppl_core", "ppl_core_whole"):
            key = (record.problem["rows"], record.provenance["bench_id"])
            found.setdefault(key, []).append(record)
    pairs = {}
    for (num_rows, _), bench in found.items():
        rows = {row.system.id: row for row in compare(bench)}
        ours, whole = rows["ppl_core"], rows["ppl_core_whole"]
        if ours.records and whole.records:
            pairs[num_rows] = (num_rows, ours, whole)
    return [pairs[num_rows] for num_rows in sorted(pairs)]


def data_mb(problem: dict[str, Any]) -> float | None:
    """Megabytes (10^6 bytes) of the features in float32, where their size is known."""
    size = problem.get("dim") and problem["rows"] * problem["dim"] * FLOAT_BYTES
    return size and float(size / 1e6)


def outcomes(rows: Sequence[Row]) -> list[Outcome]:
    """How each of TARGETS came out in these rows."""
    by_id = {row.system.id: row for row in rows}
    results = []
    for over, under, decide, bound in TARGETS:
        pair = by_id[over], by_id[under]
        claim = " / ".join(row.system.label for row in pair)
        reason = "; ".join(f"{r.system.label}: {r.failure}" for r in pair if r.failure)
        measured = ratio(pair[0].times, pair[1].times)
        results.append(decide(claim, bound, measured, reason))
    return results


def read_paper(path: Path) -> Paper:
    """The published table of `path`.

    Raises ValueError when a row names a system that is not in SYSTEMS.
    """
    content: Paper = json.loads(path.read_text(encoding="utf-8"))
    for row in content["table"]:
        unknown = sorted(set(row["systems"]) - {system.id for system in SYSTEMS})
        if unknown:
            raise ValueError(
                f"{path}: {row['id']} names systems without a row: {unknown}"
            )
    return content


def paper_row(paper: Paper, system: str) -> Mapping[str, Any]:
    """The published row that the row `system` is compared with; {} without one."""
    return next((row for row in paper["table"] if system in row["systems"]), {})


def paper_ratios(paper: Paper, row: Mapping[str, Any]) -> list[float]:
    """The time of `row` over that of each of the paper's own rows."""
    ms = {other["id"]: other["ms_per_leapfrog"] for other in paper["table"]}
    return [row["ms_per_leapfrog"] / ms[name] for name in paper["ours"]]


def is_papers_size(rows: Sequence[Row], paper: Paper) -> bool:
    """Whether the paper's times are of as much data as these."""
    return bool(any_record(rows).problem["rows"] == paper["rows"])


def all_records(rows: Sequence[Row]) -> list[Record]:
    """The records of all rows."""
    return [record for row in rows for record in row.records]


def any_record(rows: Sequence[Row]) -> Record:
    """A record for what all have in common; one that ran, where there is one.

    Raises ValueError when there is none.
    """
    records = all_records(rows)
    if not records:
        raise ValueError("rows: none has a record, wanted at least one that has")
    return next((r for r in records if r.status == "ok"), records[0])


def slowest_first(rows: Iterable[Row], *groups: str) -> list[Row]:
    """The rows of these groups; those without a time are last."""
    chosen = [row for row in rows if row.system.group in groups]
    return sorted(chosen, key=lambda row: -row.ms.median if row.ms else 0.0)


def status(row: Row) -> str:
    """The first words of the row's failure, without the reason; "" without one."""
    return row.failure.split(":")[0].split(" (in round")[0]


def title(rows: Sequence[Row]) -> str:
    """The sampler, the problem and its size."""
    problem = any_record(rows).problem
    dim = f" x {problem['dim']}" if "dim" in problem else ""
    return f"NUTS on {problem['name']}, N = {problem['rows']:,}{dim}"
