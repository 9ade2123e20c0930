"""The scaling page: what was measured, what was counted, what is projected.

The three have tables of their own, and published points are compared with projections
alone.
"""

from collections.abc import Iterable
from typing import Any

from experiments.records.record import Record
from experiments.report import selection, tables
from experiments.report.ratios import Spread
from experiments.report.scaling_rows import (
    CASES,
    SCALINGS,
    VARIANTS,
    WITHIN,
    Measured,
    Page,
    Projected,
    efficiency,
    model_label,
    points,
    slope,
)

DEFINITIONS = (
    "Measured: steps on this machine's cores, one thread per device, every process "
    "pinned to its cores. Values are medians over the rounds with their range; a ratio "
    "is taken within each round.",
    "Weak scaling gives every device the same batch; strong scaling divides one batch. "
    "Efficiency: the rate over the number of devices times the rate of one device. "
    "That device has the batch of one (weak) or the whole batch (strong).",
    "Communication: how much longer a step is than that of as many independent "
    "processes in the same round, as a share of the step. It includes waiting for the "
    "slowest device.",
    "Counted: bytes and operations of the programs on logical devices of one CPU; no "
    "time is shown. Activations are what the backward pass reads of the forward pass "
    "of one batch shard; they can be counted where that shard is on one device. Bytes "
    "sent are those of a ring all-reduce. Meshes beyond this machine's memory are "
    "counted on fewer batch shards ('stepped on' in the CSV), and the bytes sent are "
    "scaled to the full mesh. Counted models may be smaller than measured ones; the "
    "table has their weights.",
    "Projected: on every hardware, compute reaches the share of the roofline that the "
    "measured step of one core reached (an assumption). One all-reduce follows, which "
    "does not overlap with compute.",
)


def markdown(page: Page) -> str:
    """The whole page."""
    counted = tables.markdown_table(map(_counted_line, page.counted))
    return tables.markdown_page(
        "# Scaling over devices",
        _finding(page),
        "## Measured on this machine's cores",
        *_measured_tables(page),
        "## Counted on logical devices",
        counted if page.counted else "Not counted yet.",
        "## Projected from the measured step: efficiency",
        *_projected_tables(page),
        "## Projected against the paper's points",
        *_paper_tables(page),
        "## What the projection does not explain",
        *_unexplained(page),
        *tables.how_measured(_settings(page), DEFINITIONS, _notes(page)),
    )


def csv(page: Page) -> str:
    """One line for each row of any table, `kind` first; a line is of one kind alone."""
    lines = [*map(_csv_measured, page.measured), *map(_csv_counted, page.counted)]
    for curve in (*page.projected, *page.paper_projected):
        lines += _csv_projected(curve, page)
    return tables.csv_text(lines)


def _finding(page: Page) -> str:
    cases: dict[str, list[str]] = {}
    for row in page.measured:
        if row.scaling == "weak" and row.efficiency:
            of = cases.setdefault(f"{row.label}, {row.devices} cores", [])
            of.append(f"{_share(row.efficiency)}, {CASES[row.case]}")
    parts = [f"- {model}: {'; '.join(texts)}" for model, texts in cases.items()]
    if parts:
        parts.insert(0, "Weak scaling efficiency, median and range over the rounds:\n")
    if errors := [abs(error) for *_, error in _errors(page)]:
        within = f"{sum(error <= WITHIN for error in errors)} of {len(errors)}"
        line = f"{within} of the paper's points within {WITHIN:.0%}"
        parts.append(f"- Projection with published links: {line}")
    return "\n".join(parts)


def _settings(page: Page) -> Iterable[str]:
    yield f"Machine: {tables.machine(page.records)}"
    models = {
        model_label(r): r.problem["source"]
        for r in page.records
        if r.settings["kind"] in ("measured", "counted") and "label" in r.problem
    }
    yield from (f"{label}: trained on {source}" for label, source in models.items())
    rounds = len({r.round for r in page.records if r.settings["kind"] == "measured"})
    yield f"Rounds: {rounds}; in each, every case runs once, in fresh processes"
    on = {c.on: c.record.settings["source"] for c in page.projected if not c.failure}
    yield from (f"{name}: {source}" for name, source in on.items())
    paper = page.paper
    yield f"Published: {paper['source']}; {paper['hardware']}; {paper['protocol']}"


def _measured_tables(page: Page) -> Iterable[str]:
    if not page.measured:
        yield "Not measured yet."
    for scaling in SCALINGS:
        rows = [row for row in page.measured if row.scaling == scaling]
        if rows:
            yield f"### {scaling.capitalize()} scaling"
            yield tables.markdown_table(map(_measured_line, rows))


def _measured_line(row: Measured) -> dict[str, str]:
    cores = f"{row.devices} core{'s' if row.devices > 1 else ''}"
    return {
        "model and cores": f"{row.label}, {cores}",
        "case": CASES[row.case],
        "examples/s": tables.cell(row.failure) or tables.median(row.rate),
        "efficiency (range)": _share(row.efficiency),
        "communication (range)": _share(row.communication),
    }


def _counted_line(record: Record) -> dict[str, str | None]:
    label, num = model_label(record), record.work.get("parameters")
    names = ("held_bytes", "activation_bytes", "sent_bytes")
    work = {n: f"{v:,.0f}" for n in names if (v := record.work.get(n)) is not None}
    held = tables.cell(selection.failure([record])) or work.get("held_bytes")
    return {
        "model": f"{label}, {num:,} weights" if num else str(label),
        "mesh": record.settings["topology"],
        "weights and optimizer, bytes per device": held,
        "activations, bytes per device": work.get("activation_bytes"),
        "sent per step, bytes per device": work.get("sent_bytes"),
    }


def _projected_tables(page: Page) -> Iterable[str]:
    if not page.projected:
        yield "Not projected yet."
    for subject in dict.fromkeys(curve.subject for curve in page.projected):
        curves = [curve for curve in page.projected if curve.subject == subject]
        failures = {c.on: tables.cell(c.failure) for c in curves if c.failure}
        usable = {c.on: c.efficiency() for c in curves if not c.failure}
        yield f"### {curves[0].label}"
        yield tables.bullets(f"{on}: {reason}" for on, reason in failures.items())
        if usable:
            settings = next(c for c in curves if not c.failure).record.settings
            calibration = settings["calibration"]
            yield (
                "From the measured step of one core, batch "
                f"{settings['batch_per_device']}: "
                f"{calibration['step_seconds']:.3g} s, "
                f"{calibration['roofline_share']:.0%} of the core's roofline, "
                f"gradients of {calibration['gradient_bytes']:,.0f} bytes."
            )
            yield tables.markdown_table(
                {"devices": str(devices)}
                | {on: f"{values[devices]:.3f}" for on, values in usable.items()}
                for devices in next(iter(usable.values()))
            )


def _paper_tables(page: Page) -> Iterable[str]:
    for subject in dict.fromkeys(curve.subject for curve in page.paper_projected):
        curves = [c for c in page.paper_projected if c.subject == subject]
        rates = {c.variant: c.column("examples_per_second") for c in curves}
        errors = {c.variant: c.column("error") for c in curves}
        paper = page.published(curves[0])
        published = points(paper)
        links = {n: rates["links"][n] for n in published}
        yield f"### {paper['label']}, the paper's Figure {paper['figure']}"
        yield (
            "Calibrated by the paper's own one-chip figure; "
            f"{paper['parameters']:,} weights ({paper['parameters_source']}), float32 "
            f"gradients. Least-squares slope: published {slope(published):.2f} "
            f"(printed {paper['slope']:.2f}), projected {slope(links):.2f} "
            "examples/s per chip."
        )
        yield tables.markdown_table(
            {
                "TPUv2 chips": str(n),
                "published examples/s": tables.number(rate),
                "efficiency": f"{efficiency(published)[n]:.2f}",
            }
            | {
                f"{VARIANTS[variant]}: projected (error)": f"{tables.number(of[n])} "
                f"({_error(errors[variant][n])})"
                for variant, of in rates.items()
            }
            for n, rate in published.items()
        )


def _errors(page: Page) -> list[tuple[Projected, int, float]]:
    """Curve, chips and error of each point projected with the published links."""
    return [
        (curve, chips, error)
        for curve in page.paper_projected
        if curve.variant == "links"
        for chips, error in curve.column("error").items()
        if error is not None
    ]


def _unexplained(page: Page) -> Iterable[str]:
    """Which points are further off than the bound, and what would explain them."""
    errors = _errors(page)
    if not errors:
        yield "Nothing is projected."
        return
    off = [(c, chips, error) for c, chips, error in errors if abs(error) > WITHIN]
    finding = (
        f"With the published links {len(errors) - len(off)} of {len(errors)} points "
        f"are within {WITHIN:.0%}, the one-chip points among them by construction."
    )
    if off:
        named = (f"{c.label} on {n} chips {error:+.0%}" for c, n, error in off)
        finding += f" The others: {', '.join(named)}."
    yield finding
    lines: list[str] = []
    for curve in page.paper_projected:
        chips = [n for c, n, _ in off if c is curve]
        lines += _unexplained_lines(curve, chips, _name(page, curve)) if chips else ()
    worst: dict[str, list[str]] = {}
    for c in page.paper_projected if off else ():
        largest = max((abs(e) for e in c.record.work["error"] if e), default=0.0)
        worst.setdefault(c.variant, []).append(f"{_name(page, c)} {largest:.0%}")
    for variant in sorted(worst.keys() - {"links"}):
        models = ", ".join(worst[variant])
        lines.append(f"Largest error with {VARIANTS[variant]}: {models}.")
    yield tables.bullets(lines)


def _name(page: Page, curve: Projected) -> str:
    return str(page.published(curve)["label"].split(",")[0])


def _unexplained_lines(
    curve: Projected, chips: Iterable[int], name: str
) -> Iterable[str]:
    """What the projection leaves out at these numbers of chips."""
    seconds, rates = (
        {n: curve.column(column)[n] for n in chips}
        for column in ("unexplained_seconds", "host_bytes_per_second")
    )
    missing = [1000 * value for value in seconds.values()]
    gbits = (f"{8 * rate / 1e9:.0f} on {n} chips" for n, rate in rates.items() if rate)
    yield (
        f"{name}: all its gradients cross the published links in at most "
        f"{1000 * max(curve.record.work['collective_seconds']):.1f} ms; the "
        f"projected step is {min(missing):.0f} to {max(missing):.0f} ms too short at "
        "these points."
    )
    yield (
        f"{name}: a ring all-reduce over a network between hosts would explain them at "
        f"these rates, in Gbit/s: {', '.join(gbits)}."
    )


def _notes(page: Page) -> Iterable[str]:
    errors = [r.check["loss_error"] for r in page.records if "loss_error" in r.check]
    if errors:
        cases = sum(
            r.settings["kind"] == "measured" and r.settings["case"] != "probe"
            for r in page.records
        )
        checked = f"{len(errors)} of {cases} runs"
        checked = "every case" if len(errors) == cases else checked
        yield (
            f"Check: the first losses of {checked} agree with those of one device on "
            f"the same batch to {max(errors):.1e} relative."
        )
    yield from tables.origin_lines(page.records)


def _share(values: Spread | None) -> str:
    return tables.with_range(values, digits="{:.3f}".format)


def _error(value: float | None) -> str:
    if value is None:
        return tables.NONE
    return f"**{value:+.1%}**" if abs(value) > WITHIN else f"{value:+.1%}"


def _csv_head(record: Record, subject: str, failure: str) -> dict[str, Any]:
    return {
        "kind": record.settings["kind"],
        "subject": subject,
        "status": "failed" if failure else "ok",
        "reason": failure or None,
    }


def _engine(record: Record) -> str | None:
    return str(record.settings.get("engine") or "").rpartition(".")[2] or None


def _csv_measured(row: Measured) -> dict[str, Any]:
    return _csv_head(row.record, row.subject, row.failure) | {
        "scaling": row.scaling,
        "case": row.case,
        "devices": row.devices,
        "processes": row.record.settings["processes"],
        "batch": row.record.settings["batch"],  # of all devices together
        "engine": _engine(row.record),
        "rounds": row.rounds,
        **tables.columns(
            examples_per_second=row.rate,
            efficiency=row.efficiency,
            communication=row.communication,
        ),
    }


def _csv_counted(record: Record) -> dict[str, Any]:
    names = (
        "parameters parameter_bytes held_bytes activation_bytes flops "
        "batch_per_shard num_collectives sent_bytes stepped_on"
    ).split()
    settings = record.settings
    return (
        _csv_head(record, settings["subject"], selection.failure([record]))
        | {name: settings[name] for name in ("topology", "devices", "batch")}
        | {"engine": _engine(record)}
        | {name: record.work.get(name) for name in names}
    )


def _csv_projected(curve: Projected, page: Page) -> Iterable[dict[str, Any]]:
    """A line for each number of devices, or of chips beside the published rate."""
    subject, devices, head = curve.subject, "devices", {"on": curve.on}
    columns = ["examples_per_second", "compute_seconds", "collective_seconds"]
    if curve.variant:
        subject, devices = f"paper/{subject}", "chips"
        head["variant"] = curve.variant
        columns[1:2] = ["error", "unexplained_seconds"]
    head = _csv_head(curve.record, subject, curve.failure) | head
    if curve.failure:
        yield head
        return
    values = {"efficiency": curve.efficiency()}
    if curve.variant:
        values = {"published_examples_per_second": points(page.published(curve))}
    values |= {name: curve.column(name) for name in columns}
    for n in curve.devices:
        yield head | {devices: n} | {name: of.get(n) for name, of in values.items()}
