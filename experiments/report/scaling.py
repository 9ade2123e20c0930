"""The scaling page as text: what was measured, what was counted, what is projected.

The three have tables of their own, and the published points stand beside projections
alone.
"""

import csv
import io
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.records.record import Record
from experiments.report.speedup import Spread, spread
from experiments.report.tables import (
    NONE,
    cell_of_text,
    field,
    number,
    table_of_numbers,
    three,
    with_range,
)

KINDS = ("measured", "counted", "projected")
SCALINGS = ("weak", "strong")
WITHIN = 0.15  # of a published point, wanted of a projection
CASES = {
    "one_device": "one device",
    "one_process": "one process, a logical CPU device a core",
    "processes": "several processes, one a core",
    "independent": "independent processes (the ceiling)",
}
VARIANTS = {
    "links": "published links",
    "hosts": "and 10 Gbit/s between hosts (supposed)",
}
HOW = (
    "Measured: steps on this machine's cores, one thread a device, every process "
    "pinned to its cores; a cell is the median over the rounds with the lowest and the "
    "highest behind it, and a ratio is taken within each round.",
    "Weak scaling gives every device the same batch; strong scaling divides one batch. "
    "Efficiency is the rate over that of as many times one device's, with that batch.",
    "Communication: the share of a step by which it is longer than that of as many "
    "independent processes in the same round, which share the machine and nothing "
    "else; waiting for the slowest is in it.",
    "Counted: of the programs on logical CPU devices of one machine, for bytes and "
    "operations; their time means nothing and is not shown. Operations are those of "
    "matrix products and convolutions, forward and backward, as traced for one batch "
    "shard. Activations are what the backward pass reads of the forward pass of one "
    "batch shard: countable where the shard is on one device. Collectives are those in "
    "the graph of one device's part of the step, unfused; it sends what a ring would "
    "have it send. Meshes of more devices than this machine's memory allows are "
    "counted by way of one with fewer batch shards, the one stepped on: a device holds "
    "and reduces the same there, and only the devices that reduce together are fewer, "
    "which is put right. Models on more than one logical device may be smaller than "
    "those measured: the weights are beside them.",
    "Where the transformer's step loses in one process, by profiles of it taken apart "
    "from these rounds (a 2-core AMD EPYC, 2026-11-25; two of three steps each, means "
    "in ms a step and device): one device alone 614, of which products 493, Adam 2.6; "
    "two independent processes 635, products 510, for both cores at once are slower "
    "at the same work, which nothing in a step can mend; two devices of one process "
    "646, products 508. Those 11 beyond the independent ones are 9 of other "
    "operations, slowed by the all-reduce that takes 6 to 7 on threads of its own, "
    "and 3 in which a device waits. In turns of processes that persist, efficiency "
    "and in brackets that of independent ones, medians: 0.957 (0.986) in 6 rounds, "
    "0.939 (0.969) in 8, 0.957 (0.966) in 10 and 0.985 (1.023) in 12; one round "
    "differs from another by more than these. Tried: sums of gradients where they lie "
    "instead of a ring, 0.951 beside the ring's 0.957; losses read after the last "
    "step instead of each, 0.980 beside 0.957 and 0.991 beside 0.985, within the "
    "ranges, and the profile has under 1 ms between steps; Adam in several passes "
    "0.951 beside 0.957 with TensorFlow's kernel.",
    "Projected: compute takes the share of the roofline that the measured step of one "
    "core reached, on each hardware alike, which is a supposition; then comes one "
    "all-reduce, with nothing hidden behind the compute.",
)


class Measured(NamedTuple):
    """One case of one model over the rounds."""

    subject: str
    label: str
    source: str  # of the data
    case: str
    scaling: str
    devices: int
    processes: int
    batch: int
    engine: str
    rounds: int
    rate: Spread | None  # examples a second
    efficiency: Spread | None
    communication: Spread | None
    trouble: str


class Projected(NamedTuple):
    """One curve: a model on a hardware, or a published model in one variant."""

    subject: str
    label: str
    on: str
    variant: str  # empty unless held against the paper
    record: Record
    trouble: str


class Page(NamedTuple):
    """All that the records of the newest benchmark of each kind say."""

    measured: tuple[Measured, ...]
    counted: tuple[Record, ...]
    projected: tuple[Projected, ...]
    paper_projected: tuple[Projected, ...]
    paper: Mapping[str, Any]
    records: tuple[Record, ...]


def read_page(records: Sequence[Record], paper_path: Path) -> Page:
    """The rows of every table.

    Raises ValueError for no records, and for one whose kind is not known.
    """
    if not records:
        raise ValueError("records: given none, wanted those of a scaling benchmark")
    for record in records:
        if record.settings.get("kind") not in KINDS:
            raise ValueError(
                f"{record.system}: kind: given {record.settings.get('kind')!r}, "
                f"wanted one of {KINDS}"
            )
    kinds = {kind: _newest(records, kind) for kind in KINDS}
    projected = [_projected(record) for record in kinds["projected"]]
    return Page(
        measured=tuple(_measured(kinds["measured"])),
        counted=tuple(kinds["counted"]),
        projected=tuple(p for p in projected if not p.variant),
        paper_projected=tuple(p for p in projected if p.variant),
        paper=json.loads(paper_path.read_text(encoding="utf-8")),
        records=tuple(record for kind in KINDS for record in kinds[kind]),
    )


def markdown(page: Page) -> str:
    """The whole page."""
    parts = [
        "# Scaling over devices",
        _header(page),
        "## Measured, on this machine's cores",
        *_measured_tables(page),
        "## Counted, on logical devices",
        _counted_table(page),
        "## Projected, from the measured step",
        *_projected_tables(page),
        "## Projected, against the paper's points",
        *_paper_tables(page),
        "## What the projection cannot explain",
        _account(page),
        "## Notes",
        "\n".join(f"- {line}" for line in _notes(page)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def csv_text(page: Page) -> str:
    """One line a row of any table, `kind` first; a line is of one kind alone."""
    lines = [
        *map(_csv_measured, page.measured),
        *map(_csv_counted, page.counted),
        *(line for curve in page.projected for line in _csv_projected(curve)),
        *(line for curve in page.paper_projected for line in _csv_paper(curve, page)),
    ]
    names = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: field(v) for k, v in line.items()} for line in lines)
    return text.getvalue()


def published(page: Page, model: str) -> Mapping[str, Any]:
    """The paper's model of that id; raises ValueError for one that it does not have."""
    for held in page.paper["models"]:
        if held["id"] == model:
            return dict(held)
    raise ValueError(f"model: given {model!r}, wanted one of the paper's")


def machine(page: Page) -> str:
    """The measuring machine: processor and cores."""
    hardware = page.records[0].hardware
    return f"{hardware.get('cpu', 'processor not recorded')}, {hardware['cores']} cores"


# From records to rows.


def _newest(records: Sequence[Record], kind: str) -> list[Record]:
    """Those of the newest benchmark that made any of this kind."""
    found = [record for record in records if record.settings["kind"] == kind]
    if not found:
        return []
    last = found[-1].provenance["bench_id"]
    return [record for record in found if record.provenance["bench_id"] == last]


def _measured(records: Sequence[Record]) -> Iterable[Measured]:
    runs: dict[tuple[str, str, str, int], list[Record]] = {}
    for record in records:
        told = record.settings
        for scaling in told.get("scaling", ()):
            key = (told["subject"], scaling, told["case"], told["devices"])
            runs.setdefault(key, []).append(record)
    order = sorted(
        runs, key=lambda k: (k[0], SCALINGS.index(k[1]), k[3], list(CASES).index(k[2]))
    )
    for key in order:
        subject, scaling, case, devices = key
        held = runs[key]
        rates = _rates(held)
        base = _rates(runs.get((subject, scaling, "one_device", 1), ()))
        ceiling = _rates(runs.get((subject, scaling, "independent", devices), ()))
        common = rates.keys() & base.keys()
        both = rates.keys() & ceiling.keys() if case != "independent" else set()
        trouble = _trouble(held)
        told = held[0].settings
        yield Measured(
            subject=subject,
            label=held[0].problem["label"],
            source=held[0].problem["source"],
            case=case,
            scaling=scaling,
            devices=devices,
            processes=told["processes"],
            batch=told["batch"],
            engine=str(told.get("engine") or "").rpartition(".")[2],
            rounds=len(rates),
            rate=spread(rates.values()) if rates and not trouble else None,
            efficiency=(
                spread(rates[i] / (devices * base[i]) for i in common)
                if common and devices > 1 and not trouble
                else None
            ),
            communication=(
                spread(1 - rates[i] / ceiling[i] for i in both)
                if both and not trouble
                else None
            ),
            trouble=trouble,
        )


def _rates(records: Iterable[Record]) -> dict[int, float]:
    """Examples a second by round: of the median step, which one hiccup moves not."""
    return {
        record.round: statistics.median(
            examples / seconds
            for examples, seconds in zip(
                record.work["examples"], record.seconds["calls"], strict=True
            )
        )
        for record in records
        if not _trouble([record])
    }


def _trouble(records: Iterable[Record]) -> str:
    for record in records:
        if record.status != "ok":
            return f"{record.status}: {record.reason} (round {record.round})"
        if not record.check.get("passed"):
            reason = record.check.get("reason", "its check did not pass")
            return f"wrong: {reason} (round {record.round})"
    return ""


def _projected(record: Record) -> Projected:
    told = record.settings
    return Projected(
        subject=told.get("subject") or told["model"],
        label=record.problem.get("label") or record.problem["name"],
        on=told["on"],
        variant=told.get("variant", ""),
        record=record,
        trouble=_trouble([record]),
    )


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of the least-squares line with an intercept: the figure in the plots' titles."""
    return statistics.linear_regression(x, y).slope


# Markdown.


def _header(page: Page) -> str:
    measured = [r for r in page.records if r.settings["kind"] == "measured"]
    days = sorted(str(r.provenance.get("started_at", ""))[:10] for r in page.records)
    rounds = len({r.round for r in measured})
    return "\n".join(
        (
            f"- Machine: {machine(page)}; {days[-1]}",
            f"- Models: {_models(page)}",
            f"- Rounds: {rounds}, in which the cases take turns, each in fresh "
            "processes",
            f"- Published: {page.paper['source']}; {page.paper['hardware']}; "
            f"{page.paper['protocol']}",
        )
    )


def _models(page: Page) -> str:
    """Each that was measured or counted, and what it was trained on."""
    told = [r for r in page.records if r.settings["kind"] in ("measured", "counted")]
    found: dict[str, str] = {}
    for record in told:
        if "label" in record.problem:  # not the probe
            name, problem = record.problem["label"], record.problem
            found.setdefault(name, f"{name}, on {problem['source']}")
    return "; ".join(found.values()) or "none yet"


def _measured_tables(page: Page) -> Iterable[str]:
    if not page.measured:
        yield "Not measured yet."
    for scaling in SCALINGS:
        rows = [row for row in page.measured if row.scaling == scaling]
        if not rows:
            continue
        head = (
            "model",
            "case",
            "devices (cores)",
            "processes",
            "batch, all devices",
            "examples/s, median (range)",
            "efficiency (range)",
            "communication, share of a step (range)",
        )
        lines = [
            (
                row.label,
                CASES[row.case],
                str(row.devices),
                str(row.processes),
                str(row.batch),
                with_range(row.rate) if row.rate else cell_of_text(row.trouble),
                _ratio(row.efficiency),
                _ratio(row.communication),
            )
            for row in rows
        ]
        yield f"### {scaling.capitalize()} scaling"
        yield table_of_numbers(head, lines)


def _counted_table(page: Page) -> str:
    head = (
        "model",
        "mesh",
        "devices",
        "stepped on",
        "batch a shard",
        "weights, bytes a device",
        "weights and slots held, bytes a device",
        "activations, bytes a device",
        "operations a batch shard",
        "collectives a step",
        "sent a step, bytes a device",
    )
    lines = []
    for record in page.counted:
        work, trouble = record.work, _trouble([record])
        lines.append(
            (
                _with_size(record),
                record.settings["topology"],
                str(record.settings["devices"]),
                str(work.get("stepped_on") or NONE),
                _count(work.get("batch_per_shard")),
                cell_of_text(trouble) if trouble else _count(work["parameter_bytes"]),
                _count(work.get("held_bytes")),
                _count(work.get("activation_bytes")),
                _count(work.get("flops")),
                _count(work.get("num_collectives")),
                _count(work.get("sent_bytes")),
            )
        )
    return table_of_numbers(head, lines) if lines else "Not counted yet."


def _with_size(record: Record) -> str:
    label, num = record.problem["label"], record.work.get("parameters")
    return f"{label}, {num:,} weights" if num else str(label)


def _projected_tables(page: Page) -> Iterable[str]:
    if not page.projected:
        yield "Not projected yet."
    for subject in dict.fromkeys(curve.subject for curve in page.projected):
        curves = [curve for curve in page.projected if curve.subject == subject]
        yield f"### {curves[0].label}"
        said = [f"- {c.on}: {cell_of_text(c.trouble)}" for c in curves if c.trouble]
        usable = [curve for curve in curves if not curve.trouble]
        if usable:
            held = usable[0].record.settings
            calibration = held["calibration"]
            said.append(
                f"- Calibrated by the measured step of one core, batch "
                f"{held['batch_per_device']}: {calibration['step_seconds']:.3g} s, "
                f"{calibration['roofline_share']:.0%} of the core's roofline; "
                f"gradients of {_count(calibration['gradient_bytes'])} bytes"
            )
            said += [f"- {c.on}: {c.record.settings['source']}" for c in usable]
        yield "\n".join(said)
        if not usable:
            continue
        head = ["devices"]
        for curve in usable:
            head += [f"{curve.on}, examples/s", "efficiency"]
        lines = []
        for place, devices in enumerate(usable[0].record.work["devices"]):
            cells = [str(devices)]
            for curve in usable:
                rates = curve.record.work["examples_per_second"]
                cells.append(number(rates[place]))
                cells.append(f"{rates[place] / (devices * rates[0]):.3f}")
            lines.append(tuple(cells))
        yield table_of_numbers(head, lines)


def _paper_tables(page: Page) -> Iterable[str]:
    for model in dict.fromkeys(curve.subject for curve in page.paper_projected):
        held = published(page, model)
        curves = {
            c.variant: c.record for c in page.paper_projected if c.subject == model
        }
        head = [
            "TPUv2 chips",
            "published examples/s",
            "efficiency",
        ]
        for variant in curves:
            head += [f"projected, {VARIANTS[variant]}", "error"]
        head.append("step not explained by published links, ms")
        lines = []
        for chips, rate in zip(held["chips"], held["examples_per_second"], strict=True):
            cells = [
                str(chips),
                number(rate),
                f"{rate / chips / held['examples_per_second'][0]:.2f}",
            ]
            for record in curves.values():
                place = record.work["chips"].index(chips)
                cells.append(number(record.work["examples_per_second"][place]))
                cells.append(_error(record.work["error"][place]))
            links = curves["links"].work
            more = links["unexplained_seconds"][links["chips"].index(chips)]
            cells.append(f"{1000 * more:+.1f}")
            lines.append(tuple(cells))
        yield f"### {held['label']}, the paper's Figure {held['figure']}"
        projected = curves["links"].work
        points = [projected["chips"].index(chips) for chips in held["chips"]]
        ours = slope(
            held["chips"], [projected["examples_per_second"][i] for i in points]
        )
        theirs = slope(held["chips"], held["examples_per_second"])
        yield (
            "Calibrated by the paper's own one-chip figure; "
            f"{held['parameters']:,} weights ({held['parameters_source']}), float32 "
            f"gradients. Least-squares slope: published {theirs:.2f} (printed "
            f"{held['slope']:.2f}), projected {ours:.2f} examples/s a chip."
        )
        yield table_of_numbers(head, lines)


def _account(page: Page) -> str:
    """Which points are off by more than was wanted, and what could make them so."""
    links = [c for c in page.paper_projected if c.variant == "links"]
    if not links:
        return ""
    errors = [
        (c, chips, error)
        for c in links
        for chips, error in zip(
            c.record.work["chips"], c.record.work["error"], strict=True
        )
        if error is not None
    ]
    off = [(c, chips, error) for c, chips, error in errors if abs(error) > WITHIN]
    lines = [
        f"With the published links {len(errors) - len(off)} of {len(errors)} points "
        f"are within {WITHIN:.0%}, the one-chip points among them by construction."
    ]
    if not off:
        return lines[0]
    where = ", ".join(f"{c.label} on {n} chips {e:+.0%}" for c, n, e in off)
    lines[0] += f" The others: {where}."
    off_models = {c.subject for c, _, _ in off}
    for model in off_models:
        curve = next(c for c in links if c.subject == model)
        work, held = curve.record.work, published(page, model)
        longest = max(work["collective_seconds"])
        extra = {
            chips: more
            for chips, more in zip(
                work["chips"], work["unexplained_seconds"], strict=True
            )
            if more is not None and chips > 4
        }
        lines.append(
            f"- Not the links: all the gradients of the {held['label'].split(',')[0]} "
            f"cross them in {1000 * longest:.1f} ms at most, and what is missing is "
            f"{1000 * min(extra.values()):.0f} to {1000 * max(extra.values()):.0f} ms "
            "a step."
        )
        rates = {
            chips: rate
            for chips, rate in zip(
                work["chips"], work["host_bytes_per_second"], strict=True
            )
            if rate is not None and chips > 4
        }
        told = ", ".join(f"{8 * r / 1e9:.0f} on {n}" for n, r in rates.items())
        lines.append(
            "- Nothing is missing on one chip and on four, which are one host; it "
            "begins with several hosts. If the gradients crossed a network between "
            "hosts of four chips as a ring does, it would have to be one of "
            f"{told} chips (Gbit/s). That a 10 Gbit/s network explains the points on "
            "all but 128 chips was seen after the fact; the paper says nothing of it."
        )
        worst = _worst(page, "hosts", model)
        others = [c.subject for c in links if c.subject != model]
        said = "; ".join(
            f"{published(page, other)['label'].split(',')[0]} off by up to "
            f"{_worst(page, 'hosts', other):.0%}"
            for other in others
        )
        lines.append(
            f"- The supposition is not enough: with it the same model is off by up to "
            f"{worst:.0%}"
            + (f", and {said}, which without it is not" if said else "")
            + ". Its count of weights is not the paper's but that of public code."
        )
    lines.append(
        "- Not monotone: on 128 chips a chip does more than on 64 and on 256. A cost "
        "that grows with the number of chips, a collective's or that of waiting for "
        "the slowest of more, cannot make that; the points are means of five runs "
        "without a spread, so that noise of this size is not excluded."
    )
    return "\n".join([lines[0], "", *lines[1:]])


def _worst(page: Page, variant: str, model: str) -> float:
    (curve,) = (
        c for c in page.paper_projected if (c.variant, c.subject) == (variant, model)
    )
    errors: list[float | None] = curve.record.work["error"]
    return max(abs(error) for error in errors if error is not None)


def _checked(page: Page, num_checked: int) -> str:
    measured = [r for r in page.records if r.settings["kind"] == "measured"]
    measured = [r for r in measured if r.settings["case"] != "probe"]
    if num_checked == len(measured):
        return "every case"
    return f"{num_checked} of {len(measured)} turns, whose batch one device had too,"


def _notes(page: Page) -> Iterable[str]:
    yield from HOW
    errors = [r.check["loss_error"] for r in page.records if "loss_error" in r.check]
    if errors:
        yield (
            f"Check: the first losses of {_checked(page, len(errors))} are those of "
            f"one device on the same batch, to {max(errors):.1e} relative at worst."
        )
    commit = page.records[0].provenance.get("commit")
    if commit:
        changed = page.records[0].provenance.get("dirty")
        yield f"Commit: {commit}{', with uncommitted changes' if changed else ''}."
    versions = page.records[0].provenance.get("versions")
    if versions:
        shown = ("python", "tensorflow", "numpy")
        yield "Versions: " + ", ".join(f"{k} {versions[k]}" for k in shown) + "."


def _ratio(values: Spread | None) -> str:
    if values is None:
        return NONE
    low, median, high = (f"{value:.3f}" for value in values)
    return f"{median} ({low}-{high})" if low != high else median


def _error(value: float | None) -> str:
    if value is None:
        return NONE
    return f"**{value:+.1%}**" if abs(value) > WITHIN else f"{value:+.1%}"


def _count(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


# CSV.


def _csv_measured(row: Measured) -> dict[str, Any]:
    return {
        "kind": "measured",
        "subject": row.subject,
        "status": "failed" if row.trouble else "ok",
        "reason": row.trouble,
        "scaling": row.scaling,
        "case": row.case,
        "devices": row.devices,
        "processes": row.processes,
        "batch": row.batch,
        "engine": row.engine,
        "rounds": row.rounds,
        **three("examples_per_second", row.rate),
        **three("efficiency", row.efficiency),
        **three("communication", row.communication),
    }


def _csv_counted(record: Record) -> dict[str, Any]:
    trouble = _trouble([record])
    names = (
        "parameters parameter_bytes held_bytes activation_bytes flops "
        "num_collectives sent_bytes stepped_on"
    ).split()
    return {
        "kind": "counted",
        "subject": record.settings["subject"],
        "status": "failed" if trouble else "ok",
        "reason": trouble,
        "topology": record.settings["topology"],
        "devices": record.settings["devices"],
        "batch": record.settings["batch"],
        "engine": str(record.settings.get("engine") or "").rpartition(".")[2],
    } | {name: record.work.get(name) for name in names}


def _csv_projected(curve: Projected) -> Iterable[dict[str, Any]]:
    head = {"kind": "projected", "subject": curve.subject, "on": curve.on}
    if curve.trouble:
        yield head | {"status": "failed", "reason": curve.trouble}
        return
    work = curve.record.work
    rates = work["examples_per_second"]
    for place, devices in enumerate(work["devices"]):
        yield head | {
            "status": "ok",
            "devices": devices,
            "examples_per_second": rates[place],
            "efficiency": rates[place] / (devices * rates[0]),
            "compute_seconds": work["compute_seconds"][place],
            "collective_seconds": work["collective_seconds"][place],
        }


def _csv_paper(curve: Projected, page: Page) -> Iterable[dict[str, Any]]:
    held = published(page, curve.subject)
    rates = dict(zip(held["chips"], held["examples_per_second"], strict=True))
    work = curve.record.work
    for place, chips in enumerate(work["chips"]):
        yield {
            "kind": "projected",
            "subject": f"paper/{curve.subject}",
            "status": "ok",
            "on": curve.on,
            "variant": curve.variant,
            "chips": chips,
            "examples_per_second": work["examples_per_second"][place],
            "collective_seconds": work["collective_seconds"][place],
            "published_examples_per_second": rates.get(chips),
            "error": work["error"][place],
            "unexplained_seconds": work["unexplained_seconds"][place],
        }
