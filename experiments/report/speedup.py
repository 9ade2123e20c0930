"""What a benchmark's records say: time per unit of work, ratios round by round."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.records.record import Record

ONE_CHAIN = "one chain"
BARE_LOOP = "bare loop"
ALL_CORES = "all cores"
DEVICES = "logical devices"


class System(NamedTuple):
    """A row of the table."""

    id: str  # the record's `system`
    label: str
    group: str  # decides the unit and which row is ours


class Target(NamedTuple):
    """A ratio of two rows' times that the project set itself to reach."""

    claim: str
    over: str  # id of the row whose time is divided
    under: str  # id of the row whose time it is divided by
    bound: float
    at_most: bool  # otherwise at least


class Spread(NamedTuple):
    """What the rounds gave."""

    low: float
    median: float
    high: float


class Row(NamedTuple):
    """One system over all its rounds; numbers are None where `trouble` says why."""

    system: System
    records: tuple[Record, ...]  # in order of round
    trouble: str  # "" when every round ran and passed its check
    times: dict[int, float]  # ms per unit of work by round, empty in trouble
    ms: Spread | None
    speedup: Spread | None  # how many times faster ours is than this row
    useful_speedup: Spread | None  # all cores: per leapfrog that a chain made use of


class Verdict(NamedTuple):
    """How a target came out."""

    target: Target
    ratio: Spread | None
    reached: bool  # the median decides
    trouble: str  # why there is no ratio


class PaperRow(NamedTuple):
    """A row of the paper's table."""

    id: str
    label: str
    ms: float  # per leapfrog
    hardware: str
    systems: tuple[str, ...]  # ids of our rows that stand beside it


class Paper(NamedTuple):
    """The published table that ours stands beside."""

    source: str
    rows: int  # observations, which is what its times go with
    table: tuple[PaperRow, ...]
    ours: tuple[str, ...]  # ids of the rows that its ratios are against
    notes: tuple[str, ...]


SYSTEMS = (
    System("stan_plain", "Stan, plain program", ONE_CHAIN),
    System("stan_glm", "Stan, bernoulli_logit_glm", ONE_CHAIN),
    System("pymc_float64", "PyMC, float64", ONE_CHAIN),
    System("pymc_float32", "PyMC, float32", ONE_CHAIN),
    System("tfp_nuts", "TFP NoUTurnSampler", ONE_CHAIN),
    System("handwritten_tf", "handwritten TF, autodiff", ONE_CHAIN),
    System("handwritten_tf_grad", "handwritten TF, gradient by hand", ONE_CHAIN),
    System("ppl_core_whole", "ours, data whole", ONE_CHAIN),
    System("ppl_core", "ours", ONE_CHAIN),
    System("numpyro", "NumPyro", ONE_CHAIN),
    System("nutpie", "nutpie", ONE_CHAIN),
    System("blackjax", "BlackJAX", ONE_CHAIN),
    System("jax_dim_rows", "bare JAX leapfrogs, [dim, rows]", BARE_LOOP),
    System("jax_rows_dim", "bare JAX leapfrogs, [rows, dim]", BARE_LOOP),
    System("one_pass", "one pass over the features", BARE_LOOP),
    System("stan_glm_all_cores", "Stan, bernoulli_logit_glm, all cores", ALL_CORES),
    System("pymc_float64_all_cores", "PyMC, float64, all cores", ALL_CORES),
    System("ppl_core_64_chains", "ours, 64 chains in one batch", ALL_CORES),
    System("ppl_core_1_device", "ours, 1 logical CPU device, 1 thread", DEVICES),
    System("ppl_core_2_devices", "ours, 2 logical CPU devices, 1 thread each", DEVICES),
)
OURS = {
    ONE_CHAIN: "ppl_core",
    BARE_LOOP: "ppl_core",
    ALL_CORES: "ppl_core_64_chains",
    DEVICES: "ppl_core_1_device",
}
UNITS = {
    ONE_CHAIN: "ms per leapfrog",
    BARE_LOOP: "ms per leapfrog",  # of one_pass: per pass
    ALL_CORES: "ms per gradient",
    DEVICES: "ms per leapfrog",
}
TARGETS = (
    Target("ours / handwritten TF", "ppl_core", "handwritten_tf", 1.03, True),
    Target(
        "ours / handwritten TF, gradient by hand",
        "ppl_core",
        "handwritten_tf_grad",
        1.1,
        True,
    ),
    Target(
        "ours, data whole / handwritten TF",
        "ppl_core_whole",
        "handwritten_tf",
        1.03,
        True,
    ),
    Target(
        "ours, data whole / handwritten TF, gradient by hand",
        "ppl_core_whole",
        "handwritten_tf_grad",
        1.1,
        True,
    ),
    Target("Stan GLM / ours", "stan_glm", "ppl_core", 10.0, False),
    Target("PyMC float64 / ours", "pymc_float64", "ppl_core", 6.0, False),
    Target("ours / JAX [dim, rows] loop", "ppl_core", "jax_dim_rows", 1.0, True),
    Target("ours / one pass", "ppl_core", "one_pass", 2.3, True),
    Target(
        "Stan GLM, all cores / ours, 64 chains",
        "stan_glm_all_cores",
        "ppl_core_64_chains",
        15.0,
        False,
    ),
    Target(
        "PyMC float64, all cores / ours, 64 chains",
        "pymc_float64_all_cores",
        "ppl_core_64_chains",
        12.0,
        False,
    ),
)


def spread(values: Iterable[float]) -> Spread:
    """Lowest, median and highest of at least one value."""
    ordered = sorted(values)
    return Spread(ordered[0], statistics.median(ordered), ordered[-1])


def speedup(base: Mapping[int, float], other: Mapping[int, float]) -> Spread:
    """How many times faster `other` is than `base`, both times by round.

    The two take turns, so a machine that drifts moves both sides of a round's ratio.
    Raises ValueError when they have no round in common.
    """
    common = base.keys() & other.keys()
    if not common:
        raise ValueError(
            f"no common round: given {sorted(base)} and {sorted(other)}, "
            "wanted at least one in both"
        )
    return spread(base[i] / other[i] for i in common)


def milliseconds_per(record: Record, unit: str) -> float:
    """Milliseconds of the record's later calls per `unit` of their work.

    unit: "leapfrogs" or "gradients"; a record that does not count its gradients apart
    took one a leapfrog.  Raises ValueError when there is nothing to divide by, or not
    one count for each call.
    """
    calls: list[float] = record.seconds.get("calls") or []
    work: list[int] = record.work.get(unit) or record.work.get("leapfrogs") or []
    if len(calls) != len(work) or not sum(work) > 0:
        raise ValueError(
            f"{record.system}, round {record.round}: given {len(calls)} calls and "
            f"{unit} {work}, wanted a count above 0 for each call"
        )
    return 1000 * math.fsum(calls) / sum(work)


def newest_bench(records: Sequence[Record]) -> list[Record]:
    """The records of the newest benchmark of one chain, of all cores, and of devices.

    No ratio is between the three, so that each may have been run by itself.  Raises
    ValueError when there is no record, or one without provenance["bench_id"].
    """
    if not records:
        raise ValueError("records: given none, wanted those of a benchmark")
    for record in records:
        if "bench_id" not in record.provenance:
            raise ValueError(
                f"{record.system}, round {record.round}: no bench_id in its provenance"
            )
    apart = {s.id: s.group for s in SYSTEMS if s.group in (ALL_CORES, DEVICES)}
    last = {apart.get(r.system): r.provenance["bench_id"] for r in records}
    return [r for r in records if r.provenance["bench_id"] == last[apart.get(r.system)]]


def trouble(records: Sequence[Record]) -> str:
    """Why these rounds of one system give no number; empty when they do."""
    if not records:
        return "not run"
    said = {record.round: text for record in records if (text := _amiss(record))}
    if not said:
        return ""
    first = min(said)
    everywhere = len(said) == len(records)
    return said[first] if everywhere else f"{said[first]} (in round {first})"


def _amiss(record: Record) -> str:
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    if "passed" not in record.check:
        return "not checked"
    if record.check["passed"]:
        return ""
    reason = record.check.get("reason")
    wrong = "wrong losses" if "bits_per_dim" in record.check else "wrong posterior"
    return f"{wrong}: {reason}" if reason else wrong


def compare(records: Sequence[Record]) -> list[Row]:
    """One row for each of SYSTEMS, from the records of one benchmark.

    Raises ValueError for a system that is not in SYSTEMS, a round told twice, and
    records of more than one problem or machine.
    """
    by_system: dict[str, dict[int, Record]] = {system.id: {} for system in SYSTEMS}
    for record in records:
        given, wanted = _stage(record), _stage(records[0])
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

    ordered = {
        name: tuple(rounds[i] for i in sorted(rounds))
        for name, rounds in by_system.items()
    }
    return [
        _row(system, ordered[system.id], ordered[OURS[system.group]])
        for system in SYSTEMS
    ]


def _stage(record: Record) -> dict[str, Any]:
    problem = {name: record.problem.get(name) for name in ("name", "source", "rows")}
    return problem | {name: record.hardware.get(name) for name in ("cpu", "cores")}


def _row(system: System, records: Sequence[Record], ours: Sequence[Record]) -> Row:
    said = trouble(records)
    unit = "gradients" if system.group == ALL_CORES else "leapfrogs"
    times = {} if said else _times(records, unit)
    ratio = useful = None
    if times and not trouble(ours):
        base = _times(ours, unit)
        if times.keys() & base.keys():
            ratio = speedup(times, base)
            if system.group == ALL_CORES:
                useful = speedup(
                    _times(records, "leapfrogs"), _times(ours, "leapfrogs")
                )
    return Row(
        system=system,
        records=tuple(records),
        trouble=said,
        times=times,
        ms=spread(times.values()) if times else None,
        speedup=ratio,
        useful_speedup=useful,
    )


def _times(records: Sequence[Record], unit: str) -> dict[int, float]:
    return {r.round: milliseconds_per(r, unit) for r in records}


def judge(rows: Sequence[Row]) -> list[Verdict]:
    """How each of TARGETS came out in these rows."""
    by_id = {row.system.id: row for row in rows}
    verdicts = []
    for target in TARGETS:
        over, under = by_id[target.over], by_id[target.under]
        said = "; ".join(
            f"{row.system.label}: {row.trouble}" for row in (over, under) if row.trouble
        )
        if not said and not over.times.keys() & under.times.keys():
            said = "no common round"
        if said:
            verdicts.append(Verdict(target, None, False, said))
            continue
        ratio = speedup(over.times, under.times)
        reached = (
            ratio.median <= target.bound
            if target.at_most
            else ratio.median >= target.bound
        )
        verdicts.append(Verdict(target, ratio, reached, ""))
    return verdicts


def read_paper(path: Path) -> Paper:
    """The published table of `path`.

    Raises ValueError when a row names a system that is not in SYSTEMS.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    known = {system.id for system in SYSTEMS}
    table = []
    for row in content["table"]:
        odd = sorted(set(row["systems"]) - known)
        if odd:
            raise ValueError(f"{path}: {row['id']} names systems without a row: {odd}")
        table.append(
            PaperRow(
                id=row["id"],
                label=row["label"],
                ms=row["ms_per_leapfrog"],
                hardware=row["hardware"],
                systems=tuple(row["systems"]),
            )
        )
    return Paper(
        source=content["source"],
        rows=content["rows"],
        table=tuple(table),
        ours=tuple(content["ours"]),
        notes=tuple(content["notes"]),
    )


def paper_row(paper: Paper, system: str) -> PaperRow | None:
    """The published row that stands beside the row `system`, or None."""
    for row in paper.table:
        if system in row.systems:
            return row
    return None


def paper_ratios(paper: Paper, row: PaperRow) -> list[float]:
    """How many times faster each of `paper.ours` is than `row`, in the paper."""
    ms = {other.id: other.ms for other in paper.table}
    return [row.ms / ms[name] for name in paper.ours]
