"""The scaling page: what was measured, what was counted, what is projected.

The three have tables of their own, and published points are compared with projections
alone.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from experiments.records.record import Record
from experiments.report import selection
from experiments.report.ratios import Spread
from experiments.report.scaling_rows import (
    CASES,
    SCALINGS,
    VARIANTS,
    WITHIN,
    Measured,
    Page,
    Projected,
    published,
    slope,
)
from experiments.report.tables import (
    NONE,
    bullets,
    cell,
    columns,
    count,
    csv_text,
    machine,
    markdown_page,
    markdown_table,
    number,
    origin_lines,
)

DEFINITIONS = (
    "Measured: steps on this machine's cores, one thread a device, every process "
    "pinned to its cores. Values are medians over the rounds with their range; a ratio "
    "is taken within each round.",
    "Weak scaling gives every device the same batch; strong scaling divides one batch. "
    "Efficiency: the rate over that of as many times one device's, with that batch.",
    "Communication: how much longer a step is than that of as many independent "
    "processes in the same round, as a share of the step. It includes waiting for the "
    "slowest device.",
    "Counted: bytes and operations of the programs on logical devices of one CPU; "
    "their time is not shown. Activations: what the backward pass reads of the forward "
    "pass of one batch shard, countable where the shard is on one device. Sent: what a "
    "ring all-reduce would send. Meshes beyond this machine's memory are counted on "
    "fewer batch shards ('stepped on' in the CSV), and the bytes sent are scaled to "
    "the full mesh. Counted models may be smaller than measured ones; the table has "
    "their weights.",
    "Projected: compute takes the share of the roofline that the measured step of one "
    "core reached, on every hardware (an assumption); then one all-reduce follows, "
    "which no compute hides.",
)


def markdown(page: Page) -> str:
    """The whole page."""
    return markdown_page(
        "# Scaling over devices",
        _finding(page),
        "## Measured on this machine's cores",
        *_measured_tables(page),
        "## Counted on logical devices",
        _counted_table(page),
        "## Projected from the measured step: efficiency",
        *_projected_tables(page),
        "## Projected against the paper's points",
        *_paper_tables(page),
        "## What the projection does not explain",
        *_unexplained(page),
        "## How it was measured",
        bullets(_settings(page)),
        bullets(DEFINITIONS),
        "## Notes",
        bullets(_notes(page)),
    )


def csv(page: Page) -> str:
    """One line for each row of any table, `kind` first; a line is of one kind alone."""
    return csv_text(
        [
            *map(_csv_measured, page.measured),
            *map(_csv_counted, page.counted),
            *(line for curve in page.projected for line in _csv_projected(curve)),
            *(
                line
                for curve in page.paper_projected
                for line in _csv_paper(curve, page)
            ),
        ]
    )


# Markdown.


def _finding(page: Page) -> str:
    parts = []
    for label, devices in dict.fromkeys((r.label, r.devices) for r in page.measured):
        cells = [
            f"{_share(row.efficiency)}, {CASES[row.case]}"
            for row in page.measured
            if (row.label, row.devices, row.scaling) == (label, devices, "weak")
            and row.efficiency
        ]
        if cells:
            parts.append(f"- {label}, {devices} cores: {'; '.join(cells)}")
    if parts:
        parts.insert(0, "Weak scaling efficiency, median and range over the rounds:\n")
    errors = _errors(page)
    if errors:
        within = sum(abs(error) <= WITHIN for *_, error in errors)
        parts.append(
            f"- Projection with published links: {within} of {len(errors)} of the "
            f"paper's points within {WITHIN:.0%}"
        )
    return "\n".join(parts)


def _settings(page: Page) -> Iterable[str]:
    yield f"Machine: {machine(page.records)}"
    models = {
        r.problem["label"]: r.problem["source"]
        for r in page.records
        if r.settings["kind"] in ("measured", "counted") and "label" in r.problem
    }
    for label, source in models.items():
        yield f"{label}: trained on {source}"
    rounds = len({r.round for r in page.records if r.settings["kind"] == "measured"})
    yield f"Rounds: {rounds}; in each, every case runs once, in fresh processes"
    curves = {curve.on: curve for curve in page.projected if not curve.failure}
    for name, curve in curves.items():
        yield f"{name}: {curve.record.settings['source']}"
    paper = page.paper
    yield f"Published: {paper['source']}; {paper['hardware']}; {paper['protocol']}"


def _measured_tables(page: Page) -> Iterable[str]:
    if not page.measured:
        yield "Not measured yet."
    for scaling in SCALINGS:
        rows = [row for row in page.measured if row.scaling == scaling]
        if not rows:
            continue
        head = (
            "model and cores",
            "case",
            "examples/s",
            "efficiency (range)",
            "communication (range)",
        )
        lines = [
            (
                f"{row.label}, {row.devices} core{'s' if row.devices > 1 else ''}",
                CASES[row.case],
                number(row.rate.median) if row.rate else cell(row.failure),
                _share(row.efficiency),
                _share(row.communication),
            )
            for row in rows
        ]
        yield f"### {scaling.capitalize()} scaling"
        yield markdown_table(head, lines)


def _counted_table(page: Page) -> str:
    if not page.counted:
        return "Not counted yet."
    head = (
        "model",
        "mesh",
        "weights and optimizer, bytes a device",
        "activations, bytes a device",
        "sent a step, bytes a device",
    )
    lines = []
    for record in page.counted:
        label, num = record.problem["label"], record.work.get("parameters")
        failure = selection.failure([record])
        lines.append(
            (
                f"{label}, {num:,} weights" if num else str(label),
                record.settings["topology"],
                cell(failure) if failure else count(record.work.get("held_bytes")),
                count(record.work.get("activation_bytes")),
                count(record.work.get("sent_bytes")),
            )
        )
    return markdown_table(head, lines)


def _projected_tables(page: Page) -> Iterable[str]:
    if not page.projected:
        yield "Not projected yet."
    for subject in dict.fromkeys(curve.subject for curve in page.projected):
        curves = [curve for curve in page.projected if curve.subject == subject]
        yield f"### {curves[0].label}"
        failures = [f"{c.on}: {cell(c.failure)}" for c in curves if c.failure]
        usable = [curve for curve in curves if not curve.failure]
        if failures:
            yield bullets(failures)
        if not usable:
            continue
        settings = usable[0].record.settings
        calibration = settings["calibration"]
        yield (
            "From the measured step of one core, batch "
            f"{settings['batch_per_device']}: "
            f"{calibration['step_seconds']:.3g} s, "
            f"{calibration['roofline_share']:.0%} of the core's roofline, gradients of "
            f"{count(calibration['gradient_bytes'])} bytes."
        )
        lines = []
        for place, devices in enumerate(usable[0].record.work["devices"]):
            rates = [curve.record.work["examples_per_second"] for curve in usable]
            lines.append(
                (str(devices), *(f"{r[place] / (devices * r[0]):.3f}" for r in rates))
            )
        yield markdown_table(("devices", *(curve.on for curve in usable)), lines)


def _paper_tables(page: Page) -> Iterable[str]:
    for model in dict.fromkeys(curve.subject for curve in page.paper_projected):
        paper = published(page, model)
        chips, rates = paper["chips"], paper["examples_per_second"]
        work = {
            c.variant: c.record.work for c in page.paper_projected if c.subject == model
        }
        head = [
            "TPUv2 chips",
            "published examples/s",
            "efficiency",
            *(f"{VARIANTS[variant]}: projected (error)" for variant in work),
        ]
        lines = []
        for n, rate in zip(chips, rates, strict=True):
            cells = [str(n), number(rate), f"{rate / n / rates[0]:.2f}"]
            for projected in work.values():
                place = projected["chips"].index(n)
                value = number(projected["examples_per_second"][place])
                cells.append(f"{value} ({_error(projected['error'][place])})")
            lines.append(cells)
        links = work["links"]
        ours = [links["examples_per_second"][links["chips"].index(n)] for n in chips]
        yield f"### {paper['label']}, the paper's Figure {paper['figure']}"
        yield (
            "Calibrated by the paper's own one-chip figure; "
            f"{paper['parameters']:,} weights ({paper['parameters_source']}), float32 "
            f"gradients. Least-squares slope: published {slope(chips, rates):.2f} "
            f"(printed {paper['slope']:.2f}), projected {slope(chips, ours):.2f} "
            "examples/s a chip."
        )
        yield markdown_table(head, lines)


def _errors(page: Page) -> list[tuple[Projected, int, float]]:
    """Curve, chips and error of each point projected with the published links."""
    return [
        (curve, chips, error)
        for curve in page.paper_projected
        if curve.variant == "links"
        for chips, error in zip(
            curve.record.work["chips"], curve.record.work["error"], strict=True
        )
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
        points = (f"{c.label} on {n} chips {error:+.0%}" for c, n, error in off)
        finding += f" The others: {', '.join(points)}."
    yield finding
    yield bullets(
        line
        for subject in dict.fromkeys(c.subject for c, *_ in off)
        for line in _unexplained_lines(page, subject)
    )


def _unexplained_lines(page: Page, subject: str) -> Iterable[str]:
    work = _paper_work(page, subject, "links")
    name = published(page, subject)["label"].split(",")[0]
    errors = dict(zip(work["chips"], work["error"], strict=True))
    off = [n for n, error in errors.items() if error and abs(error) > WITHIN]
    missing = dict(zip(work["chips"], work["unexplained_seconds"], strict=True))
    seconds = [missing[n] for n in off]
    yield (
        f"{name}: all its gradients cross the published links in at most "
        f"{1000 * max(work['collective_seconds']):.1f} ms; the projected step is "
        f"{1000 * min(seconds):.0f} to {1000 * max(seconds):.0f} ms too short at these "
        "points."
    )
    rates = dict(zip(work["chips"], work["host_bytes_per_second"], strict=True))
    gbits = (f"{8 * rates[n] / 1e9:.0f} on {n} chips" for n in off if rates[n])
    yield (
        f"{name}: a ring over a network between hosts would explain them at these "
        f"rates, in Gbit/s: {', '.join(gbits)}."
    )
    variants = {c.variant for c in page.paper_projected} - {"links"}
    for variant in sorted(variants):
        worst = (
            f"{published(page, other)['label'].split(',')[0]} "
            f"{_worst(_paper_work(page, other, variant)):.0%}"
            for other in dict.fromkeys(c.subject for c in page.paper_projected)
        )
        yield f"Largest error with {VARIANTS[variant]}: {', '.join(worst)}."


def _paper_work(page: Page, subject: str, variant: str) -> Mapping[str, Any]:
    return next(
        c.record.work
        for c in page.paper_projected
        if (c.variant, c.subject) == (variant, subject)
    )


def _worst(work: Mapping[str, Any]) -> float:
    return max((abs(error) for error in work["error"] if error), default=0.0)


def _notes(page: Page) -> Iterable[str]:
    errors = [r.check["loss_error"] for r in page.records if "loss_error" in r.check]
    if errors:
        cases = [
            r
            for r in page.records
            if r.settings["kind"] == "measured" and r.settings["case"] != "probe"
        ]
        checked = "every case"
        if len(errors) != len(cases):
            checked = f"{len(errors)} of {len(cases)} runs"
        yield (
            f"Check: the first losses of {checked} agree with those of one device on "
            f"the same batch to {max(errors):.1e} relative."
        )
    yield from origin_lines(page.records)


def _share(values: Spread | None) -> str:
    if values is None:
        return NONE
    low, middle, high = (f"{value:.3f}" for value in values)
    return f"{middle} ({low}-{high})" if low != high else middle


def _error(value: float | None) -> str:
    if value is None:
        return NONE
    return f"**{value:+.1%}**" if abs(value) > WITHIN else f"{value:+.1%}"


# CSV.


def _csv_head(kind: str, subject: str, failure: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "subject": subject,
        "status": "failed" if failure else "ok",
        "reason": failure or None,
    }


def _csv_measured(row: Measured) -> dict[str, Any]:
    return _csv_head("measured", row.subject, row.failure) | {
        "scaling": row.scaling,
        "case": row.case,
        "devices": row.devices,
        "processes": row.processes,
        "batch": row.batch,
        "engine": row.engine,
        "rounds": row.rounds,
        **columns("examples_per_second", row.rate),
        **columns("efficiency", row.efficiency),
        **columns("communication", row.communication),
    }


def _csv_counted(record: Record) -> dict[str, Any]:
    names = (
        "parameters parameter_bytes held_bytes activation_bytes flops "
        "batch_per_shard num_collectives sent_bytes stepped_on"
    ).split()
    settings = record.settings
    return (
        _csv_head("counted", settings["subject"], selection.failure([record]))
        | {
            "topology": settings["topology"],
            "devices": settings["devices"],
            "batch": settings["batch"],
            "engine": str(settings.get("engine") or "").rpartition(".")[2] or None,
        }
        | {name: record.work.get(name) for name in names}
    )


def _csv_projected(curve: Projected) -> Iterable[dict[str, Any]]:
    head = _csv_head("projected", curve.subject, curve.failure) | {"on": curve.on}
    if curve.failure:
        yield head
        return
    work = curve.record.work
    rates = work["examples_per_second"]
    for place, devices in enumerate(work["devices"]):
        yield head | {
            "devices": devices,
            "examples_per_second": rates[place],
            "efficiency": rates[place] / (devices * rates[0]),
            "compute_seconds": work["compute_seconds"][place],
            "collective_seconds": work["collective_seconds"][place],
        }


def _csv_paper(curve: Projected, page: Page) -> Iterable[dict[str, Any]]:
    paper = published(page, curve.subject)
    rates = dict(zip(paper["chips"], paper["examples_per_second"], strict=True))
    work = curve.record.work
    for place, chips in enumerate(work["chips"]):
        yield _csv_head("projected", f"paper/{curve.subject}", "") | {
            "on": curve.on,
            "variant": curve.variant,
            "chips": chips,
            "examples_per_second": work["examples_per_second"][place],
            "collective_seconds": work["collective_seconds"][place],
            "published_examples_per_second": rates.get(chips),
            "error": work["error"][place],
            "unexplained_seconds": work["unexplained_seconds"][place],
        }
