"""The scaling page: what was measured, what was counted, what is projected.

The three have tables of their own, and published points are compared with projections
alone.
"""

from collections.abc import Iterable
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
    how_measured,
    machine,
    markdown_page,
    markdown_table,
    number,
    origin_lines,
    with_range,
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
        markdown_table(map(_counted_line, page.counted))
        if page.counted
        else "Not counted yet.",
        "## Projected from the measured step: efficiency",
        *_projected_tables(page),
        "## Projected against the paper's points",
        *_paper_tables(page),
        "## What the projection does not explain",
        *_unexplained(page),
        *how_measured(_settings(page), DEFINITIONS, _notes(page)),
    )


def csv(page: Page) -> str:
    """One line for each row of any table, `kind` first; a line is of one kind alone."""
    return csv_text(
        [
            *map(_csv_measured, page.measured),
            *map(_csv_counted, page.counted),
            *(line for curve in page.projected for line in _csv_projected(curve)),
            *(line for c in page.paper_projected for line in _csv_paper(c, page)),
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
    yield from (f"{label}: trained on {source}" for label, source in models.items())
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
        if rows:
            yield f"### {scaling.capitalize()} scaling"
            yield markdown_table(map(_measured_line, rows))


def _measured_line(row: Measured) -> dict[str, str]:
    cores = f"{row.devices} core{'s' if row.devices > 1 else ''}"
    return {
        "model and cores": f"{row.label}, {cores}",
        "case": CASES[row.case],
        "examples/s": number(row.rate.median) if row.rate else cell(row.failure),
        "efficiency (range)": _share(row.efficiency),
        "communication (range)": _share(row.communication),
    }


def _counted_line(record: Record) -> dict[str, str]:
    label, num = record.problem["label"], record.work.get("parameters")
    held = count(record.work.get("held_bytes"))
    return {
        "model": f"{label}, {num:,} weights" if num else str(label),
        "mesh": record.settings["topology"],
        "weights and optimizer, bytes a device": cell(selection.failure([record]))
        or held,
        "activations, bytes a device": count(record.work.get("activation_bytes")),
        "sent a step, bytes a device": count(record.work.get("sent_bytes")),
    }


def _projected_tables(page: Page) -> Iterable[str]:
    if not page.projected:
        yield "Not projected yet."
    for subject in dict.fromkeys(curve.subject for curve in page.projected):
        curves = [curve for curve in page.projected if curve.subject == subject]
        yield f"### {curves[0].label}"
        yield bullets(f"{c.on}: {cell(c.failure)}" for c in curves if c.failure)
        usable = [curve for curve in curves if not curve.failure]
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
        efficiencies = {curve.on: curve.efficiency() for curve in usable}
        yield markdown_table(
            {"devices": str(devices)}
            | {on: f"{values[place]:.3f}" for on, values in efficiencies.items()}
            for place, devices in enumerate(usable[0].devices)
        )


def _paper_tables(page: Page) -> Iterable[str]:
    for model in dict.fromkeys(curve.subject for curve in page.paper_projected):
        paper = published(page, model)
        chips, rates = paper["chips"], paper["examples_per_second"]
        points = {  # by variant and number of chips: the rate and its error
            c.variant: dict(zip(c.devices, _rates_and_errors(c), strict=True))
            for c in page.paper_projected
            if c.subject == model
        }
        links = [points["links"][n][0] for n in chips]
        yield f"### {paper['label']}, the paper's Figure {paper['figure']}"
        yield (
            "Calibrated by the paper's own one-chip figure; "
            f"{paper['parameters']:,} weights ({paper['parameters_source']}), float32 "
            f"gradients. Least-squares slope: published {slope(chips, rates):.2f} "
            f"(printed {paper['slope']:.2f}), projected {slope(chips, links):.2f} "
            "examples/s a chip."
        )
        yield markdown_table(
            {
                "TPUv2 chips": str(n),
                "published examples/s": number(rate),
                "efficiency": f"{rate / n / rates[0]:.2f}",
            }
            | {
                f"{VARIANTS[variant]}: projected (error)": f"{number(of_chips[n][0])} "
                f"({_error(of_chips[n][1])})"
                for variant, of_chips in points.items()
            }
            for n, rate in zip(chips, rates, strict=True)
        )


def _rates_and_errors(curve: Projected) -> Iterable[tuple[float, float | None]]:
    work = curve.work
    return zip(work["examples_per_second"], work["error"], strict=True)


def _errors(page: Page) -> list[tuple[Projected, int, float]]:
    """Curve, chips and error of each point projected with the published links."""
    return [
        (curve, chips, error)
        for curve in page.paper_projected
        if curve.variant == "links"
        for chips, error in zip(curve.work["chips"], curve.work["error"], strict=True)
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
    lines: list[str] = []
    for subject in dict.fromkeys(c.subject for c, *_ in off):
        curve = next(c for c, *_ in off if c.subject == subject)
        lines += _unexplained_lines(page, curve, [n for c, n, _ in off if c is curve])
    if off:
        for variant in sorted({c.variant for c in page.paper_projected} - {"links"}):
            worst = (
                f"{_name(page, c)} "
                f"{max((abs(e) for e in c.work['error'] if e), default=0.0):.0%}"
                for c in page.paper_projected
                if c.variant == variant
            )
            lines.append(f"Largest error with {VARIANTS[variant]}: {', '.join(worst)}.")
    yield bullets(lines)


def _name(page: Page, curve: Projected) -> str:
    return str(published(page, curve.subject)["label"].split(",")[0])


def _unexplained_lines(
    page: Page, curve: Projected, chips: Iterable[int]
) -> Iterable[str]:
    """What the projection leaves out at these numbers of chips."""
    work, name = curve.work, _name(page, curve)
    places = {n: work["chips"].index(n) for n in chips}
    missing = [1000 * work["unexplained_seconds"][place] for place in places.values()]
    yield (
        f"{name}: all its gradients cross the published links in at most "
        f"{1000 * max(work['collective_seconds']):.1f} ms; the projected step is "
        f"{min(missing):.0f} to {max(missing):.0f} ms too short at these points."
    )
    rates = {n: work["host_bytes_per_second"][place] for n, place in places.items()}
    gbits = (f"{8 * rate / 1e9:.0f} on {n} chips" for n, rate in rates.items() if rate)
    yield (
        f"{name}: a ring over a network between hosts would explain them at these "
        f"rates, in Gbit/s: {', '.join(gbits)}."
    )


def _notes(page: Page) -> Iterable[str]:
    errors = [r.check["loss_error"] for r in page.records if "loss_error" in r.check]
    if errors:
        cases = sum(
            r.settings["kind"] == "measured" and r.settings["case"] != "probe"
            for r in page.records
        )
        checked = f"{len(errors)} of {cases} runs"
        if len(errors) == cases:
            checked = "every case"
        yield (
            f"Check: the first losses of {checked} agree with those of one device on "
            f"the same batch to {max(errors):.1e} relative."
        )
    yield from origin_lines(page.records)


def _share(values: Spread | None) -> str:
    return with_range(values, digits="{:.3f}".format)


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


def _engine(record: Record) -> str | None:
    return str(record.settings.get("engine") or "").rpartition(".")[2] or None


def _csv_measured(row: Measured) -> dict[str, Any]:
    return _csv_head("measured", row.subject, row.failure) | {
        "scaling": row.scaling,
        "case": row.case,
        "devices": row.devices,
        "processes": row.record.settings["processes"],
        "batch": row.record.settings["batch"],  # of all devices together
        "engine": _engine(row.record),
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
        | {name: settings[name] for name in ("topology", "devices", "batch")}
        | {"engine": _engine(record)}
        | {name: record.work.get(name) for name in names}
    )


def _csv_projected(curve: Projected) -> Iterable[dict[str, Any]]:
    head = _csv_head("projected", curve.subject, curve.failure) | {"on": curve.on}
    if curve.failure:
        yield head
        return
    names = ("examples_per_second", "compute_seconds", "collective_seconds")
    efficiency = curve.efficiency()
    for place, devices in enumerate(curve.devices):
        values = {name: curve.work[name][place] for name in names}
        yield head | {"devices": devices, "efficiency": efficiency[place]} | values


def _csv_paper(curve: Projected, page: Page) -> Iterable[dict[str, Any]]:
    paper = published(page, curve.subject)
    rates = dict(zip(paper["chips"], paper["examples_per_second"], strict=True))
    head = _csv_head("projected", f"paper/{curve.subject}", "")
    head |= {"on": curve.on, "variant": curve.variant}
    for place, chips in enumerate(curve.work["chips"]):
        yield head | {
            "chips": chips,
            "examples_per_second": curve.work["examples_per_second"][place],
            "collective_seconds": curve.work["collective_seconds"][place],
            "published_examples_per_second": rates.get(chips),
            "error": curve.work["error"][place],
            "unexplained_seconds": curve.work["unexplained_seconds"][place],
        }
